// SPDX-License-Identifier: GPL-2.0
//
// A new program's mm that cannot get its stack is taken out of merging here
// with its mmap lock held for writing. ksm_exit() waits for the scanner by
// taking that very lock, so the call is moved behind the unlock
// (34-exec-undo).
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
