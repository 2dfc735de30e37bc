// SPDX-License-Identifier: GPL-2.0
//
// Allocate the child's object before the first page table is copied, so that
// copied mappings of merged frames can be counted. The allocation can fail,
// which the stock call at the end of the function cannot report, as it returns
// void. Both mmap locks are held here, nothing is copied yet, and __mt_dup()
// right after uses the same error path: the half-made mm is torn down with an
// empty tree.
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
