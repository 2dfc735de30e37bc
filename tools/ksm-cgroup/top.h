/* SPDX-License-Identifier: GPL-2.0 */
/* The live view: what is kept from one look to the next, and how it is drawn. */
#ifndef KSM_TOP_H
#define KSM_TOP_H

#include "group.h"

#define HISTORY 16

/**
 * struct live - a cgroup over time
 * @path: from the mount on
 * @now: the last figures, @before those of the look before
 * @own: what memory.ksm says; only of those that are on the screen
 * @seen: the number of the last look that found it
 * @looks: how many looks found it
 * @share: of all scanning since the look before, 0 to 1; below its parent's
 * @merges: pages merged a second
 * @saved: bytes
 * @history: what was saved, HISTORY looks at most, the last one at @looks - 1
 */
struct live {
	char *path;
	struct stats now;
	struct stats before;
	unsigned int seen;
	unsigned int looks;
	double share;
	double merges;
	long long saved;
	long long history[HISTORY];
};

enum order { ORDER_SAVED, ORDER_SHARE, ORDER_MERGES, ORDER_COST, ORDER_PATH, NR_ORDERS };

/**
 * struct watch - all of them
 * @list: sorted by path after watch_look(), by @order after watch_sort()
 * @seconds: between the last two looks
 * @took: how long the last one took
 */
struct watch {
	const char *top;
	struct live **list;
	size_t nr;
	unsigned int looks;
	double at;
	double seconds;
	double took;
	bool ours;
};

/* watch.c */
int watch_look(struct watch *watch);
void watch_sort(struct watch *watch, enum order order);
void watch_free(struct watch *watch);
double seconds_now(void);

#endif /* KSM_TOP_H */
