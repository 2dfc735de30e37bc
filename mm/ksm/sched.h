/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_SCHED_H
#define _MM_KSM_SCHED_H

#include <linux/rbtree.h>
#include <linux/types.h>

#include <asm/page.h>

#define KSM_WEIGHT_MIN		1
#define KSM_WEIGHT_DFL		100
#define KSM_WEIGHT_MAX		10000

/* What one turn is taken to cost: KSM_SLICE, in lines. */
#define KSM_SCHED_BATCH		PAGE_SIZE

/* Those who are held may be behind by so much; more slack helps no further. */
#define KSM_SCHED_SLACK_MAX	(4 * KSM_SCHED_BATCH)

/* More than this at once is not held against anybody. */
#define KSM_SCHED_CHARGE_MAX	0x100000U

/**
 * struct ksm_sched - one that is served by weight among its siblings
 * @node: in @parent->children while @active and not @held
 * @children: children that can be served, the one to be through first leftmost
 * @parent: NULL for the root
 * @vtime: work received divided by weight
 * @deadline: @vtime after one more batch
 * @least: least @vtime in the part of the tree that hangs on @node
 * @sum: of weight times @vtime of the active children, modulo 2^64
 * @weights: sum of the weights of the active children
 * @held_sum: the part of @sum that is of children which are @held
 * @held_weights: likewise of @weights
 * @clock: where @vtime of the children stands while none is in @children
 * @rest: work that @vtime does not show yet, as too little
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX
 * @nr_held: active children that are @held
 * @active: it, or something below it, has work
 * @held: it is not to be served before something changes below it
 *
 * The caller serializes all calls on one tree.
 */
struct ksm_sched {
	struct rb_node node;
	struct rb_root_cached children;
	struct ksm_sched *parent;
	u64 vtime;
	u64 deadline;
	u64 least;
	u64 sum;
	u64 weights;
	u64 held_sum;
	u64 held_weights;
	u64 clock;
	u32 rest;
	u32 weight;
	u32 nr_held;
	bool active;
	bool held;
};

void ksm_sched_init(struct ksm_sched *e, struct ksm_sched *parent, u32 weight);
void ksm_sched_wake(struct ksm_sched *e);
void ksm_sched_sleep(struct ksm_sched *e);
void ksm_sched_hold(struct ksm_sched *e);
void ksm_sched_release(struct ksm_sched *e);
u32 ksm_sched_slack(u64 budget, unsigned int servers);
struct ksm_sched *ksm_sched_pick(struct ksm_sched *root, u32 slack);
void ksm_sched_charge(struct ksm_sched *e, u64 work);
void ksm_sched_set_weight(struct ksm_sched *e, u32 weight);

#endif /* _MM_KSM_SCHED_H */
