// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to choose the next cgroup: the scanner's own arithmetic,
 * mm/ksm/sched.c, built as a program, so that nothing else is in the figure.
 *
 * Prints "cgroups ns" for each number of cgroups: a pick and the booking of a
 * slice's work, the median of many rounds. The cgroups are children of one, of
 * weights from 1 to 10000, and each has more on its mind than to stay in the
 * cache: their entities lie as far apart as in the kernel.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <linux/rbtree_augmented.h>

/* The tree's copy for programs is older than this function. */
static void rb_add_augmented_cached(struct rb_node *node,
				    struct rb_root_cached *tree,
				    bool (*less)(struct rb_node *a,
						 const struct rb_node *b),
				    const struct rb_augment_callbacks *augment)
{
	struct rb_node **at = &tree->rb_root.rb_node, *above = NULL;
	bool first = true;

	while (*at) {
		above = *at;
		if (less(node, above)) {
			at = &above->rb_left;
		} else {
			at = &above->rb_right;
			first = false;
		}
	}
	rb_link_node(node, above, at);
	augment->propagate(above, NULL);
	rb_insert_augmented_cached(node, tree, first, augment);
}

#include "../mm/ksm/sched.c"

#define APART	1024		/* bytes, about what struct ksm_group takes */
#define PICKS	20000
#define ROUNDS	51
#define MOST	10000

/* As in struct ksm_group: the subtree among its siblings, its own processes. */
struct group {
	struct ksm_sched sched;
	struct ksm_sched own;
	char rest[APART - 2 * sizeof(struct ksm_sched)];
};

static struct group root, group[MOST];

static void more_groups(int from, int to)
{
	for (; from < to; from++) {
		ksm_sched_init(&group[from].sched, &root.sched,
			       1 + (u32)rand() % KSM_WEIGHT_MAX);
		ksm_sched_init(&group[from].own, &group[from].sched,
			       KSM_WEIGHT_DFL);
		ksm_sched_wake(&group[from].own);
	}
}

static double pick_ns(void)
{
	struct timespec t[2];
	int i;

	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	for (i = 0; i < PICKS; i++)
		ksm_sched_charge(ksm_sched_pick(&root.sched, KSM_SCHED_BATCH),
				 KSM_SCHED_BATCH);
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	return ((t[1].tv_sec - t[0].tv_sec) * 1e9 +
		(t[1].tv_nsec - t[0].tv_nsec)) / PICKS;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	static const int numbers[] = { 10, 100, 1000, MOST };
	double ns[ROUNDS];
	int i, r, have = 0;

	ksm_sched_init(&root.sched, NULL, KSM_WEIGHT_DFL);
	for (i = 0; i < 4; i++) {
		more_groups(have, numbers[i]);
		have = numbers[i];
		for (r = 0; r < ROUNDS; r++)
			ns[r] = pick_ns();
		qsort(ns, ROUNDS, sizeof(*ns), compare);
		printf("%d %.1f\n", have, ns[ROUNDS / 2]);
	}
	return 0;
}
