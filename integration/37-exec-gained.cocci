// SPDX-License-Identifier: GPL-2.0
//
// A request to merge is inherited over exec. A program that gains privilege
// must not have its memory merged because its unprivileged caller asked for
// that, as such a caller could find out its content; nor one that its user may
// not read. Both are known here, and the new mm is not in use yet.
//
// File: fs/exec.c
// Function: begin_new_exec
// Expect: 1
//
@@
identifier bprm, retval;
@@
 begin_new_exec(struct linux_binprm *bprm)
 {
 	<...
+	if (bprm->secureexec || bprm->interp_flags & BINPRM_FLAGS_ENFORCE_NONDUMP)
+		ksm_exec_gained(bprm->mm);
 	retval = exec_mmap(bprm->mm);
 	...>
 }
