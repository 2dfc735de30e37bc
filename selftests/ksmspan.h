/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory whose contents are known.
 *
 * A span remembers of each of its pages what was written there, in memory that
 * is shared and therefore never merged, and rebuilds the bytes from that to
 * compare them.
 */
#ifndef KSMSPAN_H
#define KSMSPAN_H

#include <signal.h>

#include "ksmlib.h"

/* What a page holds; off < 0: nothing but the tag's content. */
struct content {
	u64 tag;
	s16 off;
	u8 value;
	u8 state;
};

enum { HELD, GAP /* not mapped */, GIVEN_UP /* MADV_FREE: this, or zeroes */ };

struct span {
	unsigned char *mem;
	long pages;
	struct content *want;
};

struct content *span_record(long pages);
void span_forget(struct span *s, long first, long nr);
void span_fill(struct span *s, long page, u64 tag);
void span_poke(struct span *s, long page, int off, int value);
/* number of wrong pages; of those that the machine took, in the upper half */
long span_verify(struct span *s);
long span_churn(struct span *s, const struct w_cmd *c);
extern void *span_lost;
void span_bus(int sig, siginfo_t *info, void *context);	/* of SIGBUS */

#endif
