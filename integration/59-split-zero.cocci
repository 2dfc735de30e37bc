// SPDX-License-Identifier: GPL-2.0
//
// The split of a large folio maps the shared zero page for pages of zeroes. A
// split for a merge is merging: mark the entry and count it. Other splits come
// here too; the hook tells them apart.
//
// File: mm/migrate.c
// Function: try_to_map_unused_to_zeropage
// Expect: 1
//
@@
identifier pvmw, newpte;
@@
 try_to_map_unused_to_zeropage(struct page_vma_mapped_walk *pvmw, ...)
 {
 	<...
+	newpte = ksm_split_zero_page(pvmw->vma, newpte);
 	set_pte_at(pvmw->vma->vm_mm, pvmw->address, pvmw->pte, newpte);
 	...>
 }
