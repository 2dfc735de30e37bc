// SPDX-License-Identifier: GPL-2.0
//
// The controller was disabled while something still depends on it: the
// settings go back to their defaults, as those of the other memory files do.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_css_reset
// Expect: 1
//
@@
identifier css, memcg;
@@
 mem_cgroup_css_reset(struct cgroup_subsys_state *css)
 {
 	struct mem_cgroup *memcg = mem_cgroup_from_css(css);
+
+	ksm_memcg_reset(memcg);
 	...
 }
