// SPDX-License-Identifier: GPL-2.0
//
// /sys/kernel/cgroup/delegate tells managers which files to delegate, but lists
// only a controller's first table of files. memory.ksm* is in a table that is
// added later.
//
// File: kernel/cgroup/cgroup.c
// Function: delegate_show
// Expect: 2
//
@@
identifier ss;
expression sum, at, room, prefix;
assignment operator add;
iterator name list_for_each_entry;
@@
 delegate_show(...)
 {
 	struct cgroup_subsys *ss;
+	struct cftype *files;
 	<...
-	sum add show_delegatable_files(ss->dfl_cftypes, at, room, prefix);
+	{
+		cgroup_lock();
+		list_for_each_entry(files, &ss->cfts, node)
+			sum add show_delegatable_files(files, at, room, ss->name);
+		cgroup_unlock();
+	}
 	...>
 }
