// SPDX-License-Identifier: GPL-2.0
//
// When something that comes after 40-memcg-online fails, the part is taken
// back at once; the css itself is freed later, and then it is no harm to be
// asked again.
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
+	ksm_memcg_free(memcg);
 	mem_cgroup_id_remove(memcg);
 	return -ENOMEM;
 	...>
 }
