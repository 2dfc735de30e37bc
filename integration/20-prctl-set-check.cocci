// SPDX-License-Identifier: GPL-2.0
//
// PR_SET_MEMORY_MERGE accepts PR_MEMORY_MERGE_DEFAULT as its third argument, if
// the second one is 0. The lines that follow distinguish this check from that
// of PR_SET_THP_DISABLE.
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
