// SPDX-License-Identifier: GPL-2.0
//
// A device takes over an address that maps the zero page. A page of its own
// replaces it, so a zero page placed by merging is gone.
//
// File: mm/migrate_device.c
// Function: migrate_vma_insert_page
// Expect: 1
//
@@
identifier vma, addr, ptep, orig_pte;
@@
 migrate_vma_insert_page(...)
 {
 	<...
 	flush_cache_page(vma, addr, pte_pfn(orig_pte));
 	ptep_clear_flush(vma, addr, ptep);
+	ksm_might_unmap_zero_page(vma->vm_mm, orig_pte);
 	...>
 }
