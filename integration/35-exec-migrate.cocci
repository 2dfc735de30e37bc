// SPDX-License-Identifier: GPL-2.0
//
// Until exec installs it, a new program's mm belongs to no task, so an attach
// to another cgroup does not see it. The task may have moved since
// ksm_execve(), so look again as soon as an attach would find the mm.
//
// File: fs/exec.c
// Function: exec_mmap
// Expect: 1
//
@@
identifier mm, tsk;
@@
 exec_mmap(struct mm_struct *mm)
 {
 	<...
 	lru_gen_add_mm(mm);
 	task_unlock(tsk);
+	ksm_migrate_mm(mm);
 	...>
 }
