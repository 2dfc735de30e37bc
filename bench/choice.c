// SPDX-License-Identifier: GPL-2.0
/*
 * Cost of choosing the next cgroup. The scheduler's source, mm/ksm/sched.c, is
 * compiled into this program, so the figure contains nothing else.
 *
 * Prints "cgroups ns" for each number of cgroups: the median over many rounds
 * of one pick and one charge of a slice's work. The cgroups are siblings with
 * weights from 1 to 10000. Their entities lie as far apart as in the kernel, so
 * that the tree does not fit in the cache when there are many.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <linux/rbtree_augmented.h>

/* tools/include/linux/rbtree_augmented.h does not have this function yet. */
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

#define STRIDE		1024	/* bytes, about the size of struct ksm_group */
#define PICKS		20000
#define ROUNDS		51
#define MAX_GROUPS	10000

/* As in struct ksm_group: @sched is the subtree, @own the group's processes. */
struct group {
	struct ksm_sched sched;
	struct ksm_sched own;
	char pad[STRIDE - 2 * sizeof(struct ksm_sched)];
};

static struct group root, groups[MAX_GROUPS];

static void add_groups(int from, int to)
{
	for (; from < to; from++) {
		struct group *g = &groups[from];

		ksm_sched_init(&g->sched, &root.sched,
			       1 + (u32)rand() % KSM_WEIGHT_MAX);
		ksm_sched_init(&g->own, &g->sched, KSM_WEIGHT_DFL);
		ksm_sched_wake(&g->own);
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
	static const int numbers[] = { 10, 100, 1000, MAX_GROUPS };
	double ns[ROUNDS];
	int i, r, have = 0;

	ksm_sched_init(&root.sched, NULL, KSM_WEIGHT_DFL);
	for (i = 0; i < 4; i++) {
		add_groups(have, numbers[i]);
		have = numbers[i];
		for (r = 0; r < ROUNDS; r++)
			ns[r] = pick_ns();
		qsort(ns, ROUNDS, sizeof(*ns), compare);
		printf("%d %.1f\n", have, ns[ROUNDS / 2]);
	}
	return 0;
}
