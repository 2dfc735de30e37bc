// SPDX-License-Identifier: GPL-2.0
//
// In fork the new mm begins as a copy of the parent's, its pointer to the
// engine's object included. That is undone first of all: every way out of this
// function, and of the ones that call it, may look at it.
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
