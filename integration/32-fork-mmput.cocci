// SPDX-License-Identifier: GPL-2.0
//
// ksm_exit(), called further up, takes the mm from the scanner. The counters
// have to live until the last merged mapping was taken down, by exit_mmap():
// only then is the object let go.
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
