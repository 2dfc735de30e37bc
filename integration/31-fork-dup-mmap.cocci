// SPDX-License-Identifier: GPL-2.0
//
// The child's object has to be there before the first page table is copied, or
// there is nothing to count the copied mappings of merged frames in; and it
// can fail for want of memory, which the stock call at the end of the
// function, being void, cannot say. Both mmap locks are held here, nothing is
// copied yet, and __mt_dup() right after has the same error path: the
// half-made mm goes with an empty tree.
//
// File: kernel/fork.c
// Function: dup_mmap
// Expect: 1
//
@@
identifier mm, oldmm, retval, out;
@@
 dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
 {
 	<...
 	mm->stack_vm = oldmm->stack_vm;
+	retval = ksm_dup_mmap(mm, oldmm);
+	if (unlikely(retval))
+		goto out;
 	retval = __mt_dup(...);
 	if (unlikely(retval))
 		goto out;
 	...>
 }
