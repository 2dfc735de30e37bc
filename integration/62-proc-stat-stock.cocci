// SPDX-License-Identifier: GPL-2.0
//
// Remove what the stock kernel prints there, see 61-proc-stat. The keys are
// adjacent, however many there are by now.
//
// File: fs/proc/base.c
// Function: proc_pid_ksm_stat
// Expect: 1
//
@@
@@
 proc_pid_ksm_stat(...)
 {
 	<...
-	seq_printf(...);
 	...>
 }
