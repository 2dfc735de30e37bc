/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between a test and its workers: one struct w_cmd there, one struct w_reply
 * back, over a sequenced-packet socket that the worker opens to the test.
 */
#ifndef KSMWIRE_H
#define KSMWIRE_H

enum w_op {
	OP_MAP, OP_SET, OP_POKE, OP_EXPECT, OP_DIRTY, OP_READ, OP_VERIFY,
	OP_MADV, OP_REMAP, OP_UNMAP, OP_PROTECT, OP_LOCK, OP_PIN, OP_UNPIN,
	OP_UFFD, OP_UFFD_WP, OP_UFFD_ZERO, OP_UFFD_MOVE, OP_LOST, OP_PRCTL,
	OP_SETUID, OP_DROPCAP, OP_PUT, OP_THREAD, OP_DROP_LEADER, OP_SPAWN,
	OP_EXEC, OP_EXIT, OP_CHURN, OP_RUN,
};

struct w_cmd {
	enum w_op op;
	int area;
	long a[5];		/* of a range: its first page, its length */
	char path[256];
	char text[64];
};

struct w_reply {
	long ret;		/* >= 0, or -errno */
};

int w_connect(const char *name);

#endif
