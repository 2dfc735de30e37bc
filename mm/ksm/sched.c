// SPDX-License-Identifier: GPL-2.0
/*
 * Which cgroup is scanned next: weighted fair queueing by virtual time.
 *
 * At every level of the tree the child that received least work for its
 * weight is served, down to a leaf; the work is then charged to the leaf and
 * to all above it. A subtree without work is not in the tree, so its share
 * goes to its siblings at once; when it comes back it starts level with the
 * one served last, having saved up nothing. O(log n) in the siblings of each
 * level.
 *
 * Pure arithmetic: no locks, no time, nothing of memory management; tested
 * alone by tests/sched-kunit.h.
 */
#include <linux/math64.h>

#include "sched.h"

/* Virtual time of one unit of work at the largest weight is still 2^6. */
#define KSM_VTIME_SHIFT		20

/* Virtual time wraps around: only differences mean something. */
static bool ksm_sched_before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static bool ksm_sched_less(struct rb_node *a, const struct rb_node *b)
{
	return ksm_sched_before(rb_entry(a, struct ksm_sched, node)->vtime,
				rb_entry(b, struct ksm_sched, node)->vtime);
}

static struct ksm_sched *ksm_sched_first(struct ksm_sched *parent)
{
	struct rb_node *first = rb_first_cached(&parent->children);

	return first ? rb_entry(first, struct ksm_sched, node) : NULL;
}

/**
 * ksm_sched_init - set up an entity without work
 * @e: the entity
 * @parent: where it competes, NULL for the root of a tree
 * @weight: its weight among the children of @parent
 */
void ksm_sched_init(struct ksm_sched *e, struct ksm_sched *parent, u32 weight)
{
	RB_CLEAR_NODE(&e->node);
	e->children = RB_ROOT_CACHED;
	e->parent = parent;
	e->vtime = parent ? parent->floor : 0;
	e->floor = 0;
	e->weight = weight;
	e->active = false;
}

/**
 * ksm_sched_wake - an entity has work
 * @e: the entity; nothing happens if it was known to have
 */
void ksm_sched_wake(struct ksm_sched *e)
{
	for (; e && !e->active; e = e->parent) {
		e->active = true;
		if (!e->parent)
			break;
		if (ksm_sched_before(e->vtime, e->parent->floor))
			e->vtime = e->parent->floor;
		rb_add_cached(&e->node, &e->parent->children, ksm_sched_less);
	}
}

/**
 * ksm_sched_sleep - an entity has no more work
 * @e: the entity, a leaf; nothing happens if it was known to have none
 */
void ksm_sched_sleep(struct ksm_sched *e)
{
	for (; e && e->active; e = e->parent) {
		if (ksm_sched_first(e))
			break;
		e->active = false;
		if (e->parent)
			rb_erase_cached(&e->node, &e->parent->children);
	}
}

/**
 * ksm_sched_pick - whose turn it is
 * @root: the tree
 *
 * Return: the leaf to serve, NULL if there is no work.
 */
struct ksm_sched *ksm_sched_pick(struct ksm_sched *root)
{
	struct ksm_sched *e = root, *child;

	if (!root->active)
		return NULL;
	while ((child = ksm_sched_first(e)))
		e = child;
	return e == root ? NULL : e;
}

/**
 * ksm_sched_charge - book work to a leaf and everything above it
 * @e: the leaf, active or not
 * @work: how much, in any unit
 */
void ksm_sched_charge(struct ksm_sched *e, u64 work)
{
	struct ksm_sched *parent, *first;

	for (; (parent = e->parent); e = parent) {
		if (e->active)
			rb_erase_cached(&e->node, &parent->children);
		e->vtime += div_u64(work << KSM_VTIME_SHIFT, e->weight);
		if (e->active)
			rb_add_cached(&e->node, &parent->children,
				      ksm_sched_less);
		first = ksm_sched_first(parent);
		if (first && ksm_sched_before(parent->floor, first->vtime))
			parent->floor = first->vtime;
	}
}

/**
 * ksm_sched_set_weight - change a weight
 * @e: the entity
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX; holds for work charged from now
 */
void ksm_sched_set_weight(struct ksm_sched *e, u32 weight)
{
	e->weight = weight;
}
