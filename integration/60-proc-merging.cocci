// SPDX-License-Identifier: GPL-2.0
//
// The engine keeps this count; it is no longer a member of the mm.
//
// File: fs/proc/base.c
// Function: proc_pid_ksm_merging_pages
// Expect: 1
//
@@
identifier mm;
@@
 proc_pid_ksm_merging_pages(...)
 {
 	<...
-	mm->ksm_merging_pages
+	mm_ksm_merging_pages(mm)
 	...>
 }
