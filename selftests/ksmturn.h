/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Turns of the worker that unshares, from the trace event ksm_undo, and a
 * process for it that, unlike the test's workers, takes no commands.
 */
#ifndef KSMTURN_H
#define KSMTURN_H

#include "ksmlib.h"

struct turn {
	u64 cgroup;
	long long work;
	int err;
};

/* the next turn in the trace; false if there is no more by now */
bool next_turn(struct turn *t);

enum stays { WAITS, COMPUTES };

/* Shared with that process. */
struct told {
	bool ready;
	bool wrong;
	int interrupts;		/* of a system call */
};

extern struct told *told;	/* of the one that was started last */

/* it has pages of one content, and never forks */
pid_t stays(const char *in, enum stays how, long pages);
void ends(pid_t pid);

#endif
