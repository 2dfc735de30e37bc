// SPDX-License-Identifier: GPL-2.0
//
// A write to a merged frame. The rmap hooks count that the mapping goes away,
// but only this place knows that a write is the reason.
//
// File: mm/memory.c
// Function: do_wp_page
// Expect: 1
//
@@
identifier vmf;
@@
 do_wp_page(struct vm_fault *vmf)
 {
 	<...
+	ksm_count_cow(vmf->vma->vm_mm);
 	count_vm_event(COW_KSM);
 	...>
 }
