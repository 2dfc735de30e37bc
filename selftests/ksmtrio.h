/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Three processes on the same merged frames, for what can happen to these.
 *
 * Where the kernel has memory.ksm they are in a cgroup with a 1 and do not ask;
 * elsewhere they ask by madvise, and the cases hold there too.
 */
#ifndef KSMTRIO_H
#define KSMTRIO_H

#include "ksmlib.h"

#define N	64
#define TAG	40000
#define LONE_TAG 70000

extern const char *trio_cg;
extern struct worker *w[3];
extern struct worker *lone;	/* a fourth one; its pages have no twins */

void trio_group(void);
/* a worker in the cgroup that takes part with all its memory */
struct worker *trio_member(long pages, enum w_map kind);
void trio_fill(void);		/* three members with N equal pages each */
void trio_merge(void);		/* the same, and merged */
void trio_begin(void);		/* trio_group() and trio_merge() */
void trio_asks(struct worker *m);	/* again, where new memory has to */
void trio_shares(const char *when);	/* all three map the same N frames */
void trio_intact(void);		/* all bytes of all three */
/* all can be merged again, and is still right then */
void trio_again(void);
void trio_begin_lone(void);	/* trio_begin(), and the fourth one */
void trio_again_lone(void);

#endif
