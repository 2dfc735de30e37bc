// SPDX-License-Identifier: GPL-2.0
//
// An mm follows the memory cgroup of its owner. When the owner exits, the next
// owner may be in another cgroup (CLONE_VM without CLONE_THREAD), and no attach
// reports that. This runs under task_lock() and RCU, so the engine may only
// note it.
//
// File: kernel/exit.c
// Function: __try_to_set_owner
// Expect: 1
//
@@
identifier tsk != NULL;
expression mm;
@@
 	WRITE_ONCE(mm->owner, tsk);
+	ksm_migrate_mm(mm);
