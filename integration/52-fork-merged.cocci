// SPDX-License-Identifier: GPL-2.0
//
// Fork raises the mapcount without knowing the child's VMA
// (folio_try_dup_anon_rmap_pte()), so its caller counts the copied mapping of a
// merged frame. Merged folios are never large, so the batched path has none.
//
// File: mm/memory.c
// Function: copy_present_ptes
// Expect: 1
//
@@
identifier dst_vma, src_vma, folio, page;
symbol rss;
@@
 copy_present_ptes(struct vm_area_struct *dst_vma,
 		  struct vm_area_struct *src_vma, ...)
 {
 	<...
 	if (unlikely(folio_try_dup_anon_rmap_pte(folio, page, src_vma))) { ... }
 	rss[MM_ANONPAGES]++;
+	ksm_rmap_dup(folio, dst_vma);
 	...>
 }
