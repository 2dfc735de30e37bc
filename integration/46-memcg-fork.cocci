// SPDX-License-Identifier: GPL-2.0
//
// The cgroup of a new task is final only here (CLONE_INTO_CGROUP, or a parent
// that is moved meanwhile), after its mm is made.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_fork
// Expect: 1
//
@@
identifier task;
@@
 mem_cgroup_fork(struct task_struct *task)
 {
+	ksm_memcg_fork(task);
 	...
 }
