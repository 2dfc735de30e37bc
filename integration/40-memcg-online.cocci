// SPDX-License-Identifier: GPL-2.0
//
// Create the memory cgroup's part before anything else of it is online, so that
// its tasks find the settings from the first one on.
//
// File: mm/memcontrol.c
// Function: mem_cgroup_css_online
// Expect: 1
//
@@
identifier memcg, fail;
@@
 mem_cgroup_css_online(...)
 {
 	<...
+	if (ksm_memcg_online(memcg))
+		goto fail;
 	if (memcg_online_kmem(memcg))
 		goto fail;
 	...>
 }
