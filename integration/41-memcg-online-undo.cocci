// SPDX-License-Identifier: GPL-2.0
//
// When something that comes after 40-memcg-online fails, the part is taken
// back at once; it is freed with the css, when nobody walks the tree any more
// who could still come by it.
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
