// SPDX-License-Identifier: GPL-2.0
//
// UFFDIO_MOVE refuses a page that is not mapped exclusively. A merged page is
// one, though its process never shared it: unshare it and try again.
//
// File: mm/userfaultfd.c
// Function: move_pages
// Expect: 1
//
@@
identifier err, mm, dst_pmd, src_pmd, dst_vma, src_vma, dst_addr, src_addr, mode;
@@
 err = move_pages_pte(mm, dst_pmd, src_pmd, dst_vma, src_vma, dst_addr,
 		     src_addr, mode);
+if (err == -EBUSY)
+	err = ksm_unshare_moved(src_vma, src_pmd, src_addr);
