// SPDX-License-Identifier: GPL-2.0
//
// The controller is disabled while something still depends on it. Reset the
// settings to their defaults, like those of the other memory files.
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
