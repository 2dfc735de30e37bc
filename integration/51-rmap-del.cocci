// SPDX-License-Identifier: GPL-2.0
//
// Every mapping by a page table entry that goes away passes here: unmapping,
// exit, copy on write, reclaim, migration, collapse into a huge page, probes,
// the OOM reaper. Count before the mapcount falls: after that the frame may be
// free.
//
// File: mm/rmap.c
// Function: folio_remove_rmap_ptes
// Expect: 1
//
@@
identifier folio, page, nr, vma;
@@
 folio_remove_rmap_ptes(struct folio *folio, struct page *page, int nr,
 			struct vm_area_struct *vma)
 {
+	ksm_rmap_del(folio, vma);
 	...
 }
