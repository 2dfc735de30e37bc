// SPDX-License-Identifier: GPL-2.0
//
// ksm_exit(), called earlier, removes the mm from the scanner. The counters
// have to live until exit_mmap() takes down the last merged mapping. Only then
// is the object released.
//
// File: kernel/fork.c
// Function: __mmput
// Expect: 1
//
@@
identifier mm;
@@
 __mmput(struct mm_struct *mm)
 {
 	...
 	exit_mmap(mm);
+	ksm_mm_gone(mm);
 	...
 }
