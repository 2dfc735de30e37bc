// SPDX-License-Identifier: GPL-2.0
//
// Every new mapping of an anonymous folio by a page table entry passes here:
// swap-in, the end of a migration, the engine's own merging. The exception is
// fork, see 52-fork-merged. Count before the mapcount rises, so that a frame
// that looks mapped is counted.
//
// File: mm/rmap.c
// Function: folio_add_anon_rmap_ptes
// Expect: 1
//
@@
identifier folio, page, nr, vma;
@@
 folio_add_anon_rmap_ptes(struct folio *folio, struct page *page, int nr,
 			 struct vm_area_struct *vma, ...)
 {
+	ksm_rmap_add(folio, vma);
 	...
 }
