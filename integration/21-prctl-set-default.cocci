// SPDX-License-Identifier: GPL-2.0
//
// The third setting of the prctl, see 18-prctl-uapi. It runs under the mmap
// lock, like the other two.
//
// File: kernel/sys.c
// Function: prctl
// Expect: 1
//
@@
symbol arg3;
expression mm;
@@
-	error = ksm_disable_merge_any(mm);
+	error = ksm_leave_merge_any(mm, arg3);
