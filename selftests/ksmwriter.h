/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes that write "max" to memory.ksm.scan again and again.
 */
#ifndef KSMWRITER_H
#define KSMWRITER_H

#include "ksmlib.h"

/*
 * Start a writer that exits once a write fails with @until. The file is open by
 * then, so the cgroup may be removed. @usec: interval of SIGALRM; 0: none.
 */
pid_t writer_start(const char *cg, int until, long usec);
/* wait for that; @with names the error */
void writer_ends(pid_t pid, const char *with);
/* kill one that must not have exited */
void writer_stop(pid_t pid);

#endif
