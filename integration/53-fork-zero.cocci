// SPDX-License-Identifier: GPL-2.0
//
// The zero page is not an ordinary page: fork copies its entry unchanged,
// including the mark that merging placed it. Counting at the copy leaves out
// what fork leaves out (MADV_DONTFORK, MADV_WIPEONFORK).
//
// File: mm/memory.c
// Function: copy_present_ptes
// Expect: 1
//
@@
identifier dst_vma, src_vma, dst_pte, src_pte, pte, page, copy_pte;
@@
 copy_present_ptes(struct vm_area_struct *dst_vma,
 		  struct vm_area_struct *src_vma, pte_t *dst_pte,
 		  pte_t *src_pte, pte_t pte, ...)
 {
 	<...
-	if (unlikely(!page))
+	if (unlikely(!page)) {
+		ksm_dup_zero_page(dst_vma->vm_mm, pte);
 		goto copy_pte;
+	}
 	...>
 }
