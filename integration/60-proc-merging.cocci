// SPDX-License-Identifier: GPL-2.0
//
// The count is the engine's, and not a member of the mm any more.
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
