// SPDX-License-Identifier: GPL-2.0
//
// If a step after 40-memcg-online fails, take the part offline at once. It is
// freed with the css, when no walker of the tree can reach it any more.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_css_online
// Expect: 1
//
@@
identifier memcg;
@@
 mem_cgroup_css_online(...)
 {
 	<...
+	ksm_memcg_offline(memcg);
 	mem_cgroup_id_remove(memcg);
 	return -ENOMEM;
 	...>
 }
