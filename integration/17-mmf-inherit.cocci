// SPDX-License-Identifier: GPL-2.0
//
// The opt-out of 16-mmf-opt-out is inherited by fork and exec, as the opt-in
// of the same prctl is: both go through this function.
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
