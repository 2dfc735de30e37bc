// SPDX-License-Identifier: GPL-2.0
//
// The engine prints the whole file, as it does for the cgroup's, so that keys
// are added in one place.
//
// File: fs/proc/base.c
// Function: proc_pid_ksm_stat
// Expect: 1
//
@@
identifier m, mm;
@@
 proc_pid_ksm_stat(struct seq_file *m, ...)
 {
 	<...
+	ksm_proc_stat_show(m, mm);
 	mmput(mm);
 	...>
 }
