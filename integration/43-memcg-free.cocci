// SPDX-License-Identifier: GPL-2.0
//
// Nothing refers to the cgroup any more.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_css_free
// Expect: 1
//
@@
identifier css, memcg;
@@
 mem_cgroup_css_free(struct cgroup_subsys_state *css)
 {
 	<...
+	ksm_memcg_free(memcg);
 	mem_cgroup_free(memcg);
 	...>
 }
