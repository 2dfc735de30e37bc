// SPDX-License-Identifier: GPL-2.0
//
// In fork the new mm begins as a copy of the parent's, including the pointer to
// the engine's object. Reset the pointer first: every error path of this
// function and of its callers may look at it.
//
// File: kernel/fork.c
// Function: mm_init
// Expect: 1
//
@@
identifier mm;
@@
 mm_init(struct mm_struct *mm, ...)
 {
+	ksm_mm_init(mm);
 	...
 }
