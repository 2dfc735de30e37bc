// SPDX-License-Identifier: GPL-2.0
//
// What the stock kernel prints there goes, see 61-proc-stat: however many keys
// it has by now, they stand together.
//
// File: fs/proc/base.c
// Function: proc_pid_ksm_stat
// Expect: 1
//
@@
@@
 proc_pid_ksm_stat(...)
 {
 	<...
-	seq_printf(...);
 	...>
 }
