// SPDX-License-Identifier: GPL-2.0
//
// See 33-exec-undo-locked. This mm is dropped without __mmput(), so undo both
// halves of ksm_execve(). They do nothing if it has failed.
//
// File: fs/exec.c
// Function: __bprm_mm_init
// Expect: 1
//
@@
identifier err_free;
expression mm, bprm;
@@
 	mmap_write_unlock(mm);
+	ksm_exit(mm);
+	ksm_mm_gone(mm);
 err_free:
 	bprm->vma = NULL;
