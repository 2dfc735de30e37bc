/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory whose contents are known.
 *
 * A span records what was written to each of its pages, in memory that is
 * shared and therefore never merged, and rebuilds the bytes from that to
 * compare them.
 */
#ifndef KSMSPAN_H
#define KSMSPAN_H

#include <signal.h>

#include "ksmlib.h"

/* The content of a page; off < 0: what the tag makes, and no more. */
struct content {
	u64 tag;
	s16 off;
	u8 value;
	u8 state;
};

/* not mapped; after MADV_FREE: this content, or zeroes */
enum { HELD, GAP, GIVEN_UP };

struct span {
	unsigned char *mem;
	long pages;
	struct content *want;
};

struct content *span_record(long pages);
void span_forget(struct span *s, long first, long nr);
void span_fill(struct span *s, long page, u64 tag);
void span_poke(struct span *s, long page, int off, int value);
/* number of wrong pages; of lost ones, which raise SIGBUS, in the upper half */
long span_verify(struct span *s);
/* write and compare at random; path: as w_churn_start() has it, or "" */
long span_churn(struct span *s, long rounds, u64 x, long kinds,
		const char *path);
extern void *span_lost;
void span_bus(int sig, siginfo_t *info, void *context);	/* of SIGBUS */

#endif
