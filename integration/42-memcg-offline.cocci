// SPDX-License-Identifier: GPL-2.0
//
// A cgroup that goes away hands its remaining processes and merged frames to
// its parent here, at the same time as its other charges.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_css_offline
// Expect: 1
//
@@
identifier css, memcg;
@@
 mem_cgroup_css_offline(struct cgroup_subsys_state *css)
 {
 	struct mem_cgroup *memcg = mem_cgroup_from_css(css);
+
+	ksm_memcg_offline(memcg);
 	...
 }
