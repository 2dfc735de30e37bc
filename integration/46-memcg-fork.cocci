// SPDX-License-Identifier: GPL-2.0
//
// Only here is it settled which cgroup a new task is in (CLONE_INTO_CGROUP, or
// a parent that was moved meanwhile); its mm was made before.
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
