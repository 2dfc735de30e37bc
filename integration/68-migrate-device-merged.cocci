// SPDX-License-Identifier: GPL-2.0
//
// A merged frame must not become memory of a device: the CPU could not read it
// to merge another page with it, and what such an entry maps is not unshared.
//
// File: mm/migrate_device.c
// Function: migrate_vma_collect_pmd
// Expect: 1
//
@@
expression page;
@@
-	if (!page || !page->mapping || PageTransCompound(page)) {
+	if (!page || !page->mapping || PageTransCompound(page) ||
+	    folio_test_ksm(page_folio(page))) {
 		...
 	}
