// SPDX-License-Identifier: GPL-2.0
//
// Fork and exec inherit the opt-out of 16-mmf-opt-out, as they inherit the
// opt-in of the same prctl. Both call this function.
//
// File: include/linux/sched/coredump.h
// Function: mmf_init_flags
// Expect: 1
//
@@
expression flags;
@@
 mmf_init_flags(...)
 {
 	...
-	return flags & MMF_INIT_MASK;
+	return flags & (MMF_INIT_MASK | MMF_KSM_OPT_OUT_MASK);
 }
