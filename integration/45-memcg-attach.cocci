// SPDX-License-Identifier: GPL-2.0
//
// Tasks came from another cgroup. Pass every task and not only leaders: a
// leader that has exited is not in the set although its threads are, and the
// owner of an mm need not be a leader. When the controller is enabled, a whole
// cgroup comes at once. The engine picks the tasks that own their mm.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_attach
// Expect: 1
//
@@
identifier tset;
iterator name cgroup_taskset_for_each;
@@
 mem_cgroup_attach(struct cgroup_taskset *tset)
 {
+	struct cgroup_subsys_state *css;
+	struct task_struct *task;
+
+	cgroup_taskset_for_each(task, css, tset)
+		ksm_memcg_attach(task);
 	...
 }
