// SPDX-License-Identifier: GPL-2.0
//
// UFFDIO_MOVE makes a new entry for the zero page at its destination, without
// the mark that merging placed it: from now on it is an ordinary one.
//
// File: mm/userfaultfd.c
// Function: move_zeropage_pte
// Expect: 1
//
@@
identifier mm, src_vma, src_addr, src_pte, orig_dst_pte, orig_src_pte;
@@
 move_zeropage_pte(struct mm_struct *mm, struct vm_area_struct *dst_vma,
 		  struct vm_area_struct *src_vma, unsigned long dst_addr,
 		  unsigned long src_addr, pte_t *dst_pte, pte_t *src_pte,
 		  pte_t orig_dst_pte, pte_t orig_src_pte, ...)
 {
 	<...
 	ptep_clear_flush(src_vma, src_addr, src_pte);
+	ksm_might_unmap_zero_page(mm, orig_src_pte);
 	...>
 }
