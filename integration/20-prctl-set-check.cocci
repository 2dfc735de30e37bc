// SPDX-License-Identifier: GPL-2.0
//
// The arguments of PR_SET_MEMORY_MERGE. The third may now be
// PR_MEMORY_MERGE_DEFAULT, and only together with a second one of 0. The check
// is told from the one of PR_SET_THP_DISABLE by what follows it.
//
// File: kernel/sys.c
// Function: prctl
// Expect: 1
//
@@
symbol arg2, arg3, arg4, arg5;
@@
-	if (arg3 || arg4 || arg5)
+	if ((arg2 && arg3) || arg3 > PR_MEMORY_MERGE_DEFAULT || arg4 || arg5)
 		return -EINVAL;
 	if (...)
 		return -EINTR;
 	if (arg2)
 		error = ksm_enable_merge_any(...);
 	else
 		error = ...;
