// SPDX-License-Identifier: GPL-2.0
//
// MADV_FREE marks the page itself as given up, which does not work for a frame
// with other mappings. Unmap merged pages here instead, which MADV_FREE allows
// at any time.
//
// File: mm/madvise.c
// Function: madvise_free_pte_range
// Expect: 1
//
@@
expression folio, vma, addr, entry;
@@
+	if (ksm_madv_free(vma, addr, pte, entry))
+		continue;
 	folio = vm_normal_folio(vma, addr, entry);
