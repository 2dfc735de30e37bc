// SPDX-License-Identifier: GPL-2.0
//
// PR_GET_MEMORY_MERGE: whether the process as a whole takes part, by whichever
// way. The flag knows only of its own prctl; the cgroup's word is the engine's
// to judge.
//
// File: kernel/sys.c
// Function: prctl
// Expect: 1
//
@@
expression mm;
@@
-	!!test_bit(MMF_VM_MERGE_ANY, &mm->flags)
+	ksm_merges_any(mm)
