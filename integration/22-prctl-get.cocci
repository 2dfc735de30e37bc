// SPDX-License-Identifier: GPL-2.0
//
// PR_GET_MEMORY_MERGE tells whether the whole process takes part, for whatever
// reason. The flag only covers the process's own prctl; the engine also knows
// the cgroup's setting.
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
