/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_SCHED_H
#define _MM_KSM_SCHED_H

#include <linux/rbtree.h>
#include <linux/types.h>

#include "units.h"

#define KSM_WEIGHT_MIN		1
#define KSM_WEIGHT_DFL		100
#define KSM_WEIGHT_MAX		10000

/* Nominal cost of one turn, in cache lines. */
#define KSM_SCHED_BATCH		KSM_SLICE

/* Largest slack, in cache lines; more would not help. */
#define KSM_SCHED_SLACK_MAX	(4 * KSM_SCHED_BATCH)

/* Largest charge, in cache lines; the excess is dropped. */
#define KSM_SCHED_CHARGE_MAX	0x100000U

/**
 * struct ksm_sched - an entity that is served by weight among its siblings
 * @node: in @parent->children while @active and not @held
 * @children: children that can be served, earliest @deadline leftmost
 * @parent: NULL for the root
 * @vtime: work received divided by @weight, in 2^-12 cache lines
 * @deadline: @vtime after one more batch
 * @least: least @vtime in the rbtree below @node, itself included
 * @sum: sum of weight times @vtime over the active children, modulo 2^64
 * @weights: sum of the weights of the active children
 * @held_sum: what @held children contribute to @sum
 * @held_weights: what @held children contribute to @weights
 * @clock: stands in for the children's @vtime while @children is empty
 * @rest: remainder of the division by @weight, carried to the next charge
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX
 * @nr_held: number of active children that are @held
 * @active: the entity or a descendant has work
 * @held: not served until the entity or a descendant is released
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
