/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_SCHED_H
#define _MM_KSM_SCHED_H

#include <linux/rbtree.h>
#include <linux/types.h>

#define KSM_WEIGHT_MIN		1
#define KSM_WEIGHT_DFL		100
#define KSM_WEIGHT_MAX		10000

/**
 * struct ksm_sched - one that is served by weight among its siblings
 * @node: in @parent->children while @active
 * @children: active children, the one owed most first
 * @parent: NULL for the root
 * @vtime: work received divided by weight
 * @floor: no child that wakes up starts before this: the least @vtime among
 *	the children when one was last served
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX
 * @active: it, or something below it, has work
 *
 * The caller serializes all calls on one tree.
 */
struct ksm_sched {
	struct rb_node node;
	struct rb_root_cached children;
	struct ksm_sched *parent;
	u64 vtime;
	u64 floor;
	u32 weight;
	bool active;
};

void ksm_sched_init(struct ksm_sched *e, struct ksm_sched *parent, u32 weight);
void ksm_sched_wake(struct ksm_sched *e);
void ksm_sched_sleep(struct ksm_sched *e);
struct ksm_sched *ksm_sched_pick(struct ksm_sched *root);
void ksm_sched_charge(struct ksm_sched *e, u64 work);
void ksm_sched_set_weight(struct ksm_sched *e, u32 weight);

#endif /* _MM_KSM_SCHED_H */
