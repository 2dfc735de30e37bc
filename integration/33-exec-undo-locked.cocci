// SPDX-License-Identifier: GPL-2.0
//
// If a new program's mm cannot get its stack, the stock code takes it out of
// merging with its mmap lock held for writing. ksm_exit() waits for the scanner
// by taking that very lock, so 34-exec-undo moves the call behind the unlock.
//
// File: fs/exec.c
// Function: __bprm_mm_init
// Expect: 1
//
@@
@@
 __bprm_mm_init(...)
 {
 	<...
-	ksm_exit(...);
 	...>
 }
