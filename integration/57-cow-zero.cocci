// SPDX-License-Identifier: GPL-2.0
//
// The same for a zero page that merging placed.
//
// File: mm/memory.c
// Function: wp_page_copy
// Expect: 1
//
@@
expression mm, pte;
@@
 wp_page_copy(...)
 {
 	<...
+	ksm_count_cow_zero(mm, pte);
 	ksm_might_unmap_zero_page(mm, pte);
 	...>
 }
