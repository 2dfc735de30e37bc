// SPDX-License-Identifier: GPL-2.0
/*
 * Which cgroup is scanned next: weighted fair queueing by virtual time.
 *
 * At every level of the tree, the mean of the children's virtual times
 * advances as each of them would if all were served at once by weight. A child
 * is eligible if it is not ahead of that mean; the eligible child with the
 * earliest deadline, the end of its next batch, is picked, and so on down to a
 * leaf. The work is then charged to the leaf and everything above it.
 *
 * Both conditions are needed. The least virtual time alone would serve a
 * hundred children of weight 1 in a row before a child of weight 10000 is
 * served again, and the earliest deadline alone would serve the child of
 * weight 10000 ten thousand times in a row. With both, siblings are never more
 * than a batch behind or ahead, so work over any stretch is within two batches
 * of the share. This share is relative to what the parent gets, whatever goes
 * on below the siblings. Relative to the whole tree, no entity is more than a
 * batch ahead either; lag can add up, by less than a batch for every further
 * level.
 *
 * A subtree without work is not in the tree, so its share goes to its siblings
 * at once. When it comes back it starts level with them: an idle entity earns
 * no credit, and still owes what it received beyond its share.
 *
 * With several servers, a leaf that cannot be served at the moment is held. It
 * still has work and counts in the mean, so its siblings meanwhile get no more
 * than their share plus a slack, even if that leaves a server idle. The slack
 * spares servers from waiting for one another every time: they finish at
 * different times, run at different speeds and take a while to wake up. At
 * each level it adds to how far a child may be ahead or behind, once for each
 * server but the first; so does the batch that each of those servers is
 * working on.
 *
 * O(log n) in the siblings of each level, once more for each held entity.
 *
 * Pure arithmetic: no locks, no time, no memory management; tested on its own
 * by tests/sched-kunit.h.
 */
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/rbtree_augmented.h>

#include "sched.h"

/*
 * One cache line of work at weight 1 is 2^12 of virtual time. The largest
 * charge times a sum of weights of 2^30 then fits in 63 bits.
 */
#define KSM_VTIME_SHIFT		12

#define ksm_sched_entry(rb)	rb_entry_safe(rb, struct ksm_sched, node)

/* Virtual time wraps around: only differences are meaningful. */
static bool ksm_sched_before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static bool ksm_sched_less(struct rb_node *a, const struct rb_node *b)
{
	return ksm_sched_before(ksm_sched_entry(a)->deadline,
				ksm_sched_entry(b)->deadline);
}

/* Update @least; false while the nodes above may need an update, too. */
static bool ksm_sched_settle(struct ksm_sched *e, bool stop)
{
	struct ksm_sched *left = ksm_sched_entry(e->node.rb_left);
	struct ksm_sched *right = ksm_sched_entry(e->node.rb_right);
	u64 least = e->vtime;

	if (left && ksm_sched_before(left->least, least))
		least = left->least;
	if (right && ksm_sched_before(right->least, least))
		least = right->least;
	if (stop && e->least == least)
		return true;
	e->least = least;
	return false;
}

RB_DECLARE_CALLBACKS(static, ksm_sched_augment, struct ksm_sched, node, least,
		     ksm_sched_settle);

/* The virtual time that a batch takes. */
static u64 ksm_sched_batch(const struct ksm_sched *e)
{
	return div_u64((u64)KSM_SCHED_BATCH << KSM_VTIME_SHIFT, e->weight);
}

/* How far the children's mean is past @vtime, times the sum of weights. */
static s64 ksm_sched_past(const struct ksm_sched *parent, u64 vtime)
{
	return parent->sum - parent->weights * vtime;
}

static void ksm_sched_insert(struct ksm_sched *e)
{
	e->least = e->vtime;
	rb_add_augmented_cached(&e->node, &e->parent->children, ksm_sched_less,
				&ksm_sched_augment);
}

static void ksm_sched_remove(struct ksm_sched *e)
{
	e->parent->clock = e->vtime;
	rb_erase_augmented_cached(&e->node, &e->parent->children,
				  &ksm_sched_augment);
}

static void ksm_sched_held_add(struct ksm_sched *e)
{
	e->parent->held_sum += e->weight * e->vtime;
	e->parent->held_weights += e->weight;
}

static void ksm_sched_held_sub(struct ksm_sched *e)
{
	e->parent->held_sum -= e->weight * e->vtime;
	e->parent->held_weights -= e->weight;
}

static void ksm_sched_enqueue(struct ksm_sched *e)
{
	struct ksm_sched *parent = e->parent;

	e->deadline = e->vtime + ksm_sched_batch(e);
	parent->sum += e->weight * e->vtime;
	parent->weights += e->weight;
	if (e->held)
		ksm_sched_held_add(e);
	else
		ksm_sched_insert(e);
}

static void ksm_sched_dequeue(struct ksm_sched *e)
{
	struct ksm_sched *parent = e->parent;

	if (e->held)
		ksm_sched_held_sub(e);
	else
		ksm_sched_remove(e);
	parent->sum -= e->weight * e->vtime;
	parent->weights -= e->weight;
}

/* The mean of the children's virtual times. */
static u64 ksm_sched_mean(const struct ksm_sched *parent)
{
	struct rb_node *rb = rb_first_cached(&parent->children);
	struct ksm_sched *first = ksm_sched_entry(rb);
	u64 near = first ? first->vtime : parent->clock;

	if (!parent->weights)
		return near;
	return near + div64_s64(ksm_sched_past(parent, near), parent->weights);
}

/**
 * ksm_sched_init - set up an entity without work
 * @e: the entity
 * @parent: the entity's parent, NULL for the root of a tree
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX, relative to its siblings
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_init(struct ksm_sched *e, struct ksm_sched *parent, u32 weight)
{
	*e = (struct ksm_sched) {
		.children = RB_ROOT_CACHED,
		.parent = parent,
		.weight = weight,
	};
	RB_CLEAR_NODE(&e->node);
	if (parent)
		e->vtime = ksm_sched_mean(parent);
}

/*
 * Rejoin the siblings: level with their mean if behind it, else as far ahead as
 * before, within bounds. Their mean excludes @e so far: the heavier @e is, the
 * closer the mean of all gets to it.
 */
static void ksm_sched_enter(struct ksm_sched *e)
{
	u64 mean = ksm_sched_mean(e->parent);
	u64 weights = e->parent->weights, most;
	/* at most: the largest charge to an entity ahead by all of the slack */
	u64 owes = div_u64((u64)(KSM_SCHED_CHARGE_MAX + KSM_SCHED_SLACK_MAX) <<
			   KSM_VTIME_SHIFT, e->weight);

	if (!weights || ksm_sched_before(e->vtime, mean)) {
		e->vtime = mean;
	} else {
		most = div64_u64(owes * (weights + e->weight), weights);
		if (ksm_sched_before(mean + most, e->vtime))
			e->vtime = mean + most;
	}
	ksm_sched_enqueue(e);
}

static void ksm_sched_unhold(struct ksm_sched *e)
{
	if (!e->held)
		return;
	e->held = false;
	e->parent->nr_held--;
	if (e->active) {
		ksm_sched_held_sub(e);
		ksm_sched_insert(e);
	}
}

/**
 * ksm_sched_hold - stop serving an entity for now
 * @e: the entity, active and not held
 *
 * ksm_sched_pick() holds the ancestors as needed.
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_hold(struct ksm_sched *e)
{
	ksm_sched_remove(e);
	ksm_sched_held_add(e);
	e->held = true;
	e->parent->nr_held++;
}

/**
 * ksm_sched_release - let an entity and its ancestors be served again
 * @e: the entity; it need not be held
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_release(struct ksm_sched *e)
{
	for (; e->parent; e = e->parent)
		ksm_sched_unhold(e);
}

/**
 * ksm_sched_wake - an entity has work
 * @e: the entity; nothing happens if it is active
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_wake(struct ksm_sched *e)
{
	struct ksm_sched *leaf = e;

	if (e->active)
		return;
	for (; e && !e->active; e = e->parent) {
		e->active = true;
		if (e->parent)
			ksm_sched_enter(e);
	}
	ksm_sched_release(leaf);
}

/**
 * ksm_sched_sleep - an entity has no more work
 * @e: the entity; nothing happens if it is idle or a descendant has work
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_sleep(struct ksm_sched *e)
{
	if (!e->active || e->weights)
		return;
	ksm_sched_release(e);
	for (; e && !e->weights; e = e->parent) {
		e->active = false;
		if (e->parent)
			ksm_sched_dequeue(e);
	}
}

/*
 * All children that are not ahead are held: a server is in each or in its
 * domain. A child that is ahead may be served while the held children together
 * are behind by no more than @slack.
 */
static struct ksm_sched *ksm_sched_ahead(const struct ksm_sched *parent,
					 u32 slack)
{
	struct rb_node *first = rb_first_cached(&parent->children);
	struct ksm_sched *e = ksm_sched_entry(first);
	s64 mean, held;

	if (!e)
		return NULL;
	/* relative to the first child, as virtual times wrap around */
	mean = div64_s64(ksm_sched_past(parent, e->vtime), parent->weights);
	held = parent->held_sum - parent->held_weights * e->vtime;
	if ((s64)parent->held_weights * mean - held >
	    (s64)slack << KSM_VTIME_SHIFT)
		return NULL;
	return e;
}

/* The earliest deadline among the children that are not ahead. */
static struct ksm_sched *ksm_sched_child(const struct ksm_sched *parent,
					 u32 slack)
{
	struct ksm_sched *e = ksm_sched_entry(parent->children.rb_root.rb_node);
	struct ksm_sched *left;

	while (e) {
		left = ksm_sched_entry(e->node.rb_left);
		if (left && ksm_sched_past(parent, left->least) >= 0) {
			e = left;
			continue;
		}
		if (ksm_sched_past(parent, e->vtime) >= 0)
			return e;
		e = ksm_sched_entry(e->node.rb_right);
	}
	if (parent->nr_held)
		return ksm_sched_ahead(parent, slack);
	/* not reached unless the sums are broken: some child is not ahead */
	return ksm_sched_entry(rb_first_cached(&parent->children));
}

/**
 * ksm_sched_slack - how far held entities may be behind
 * @budget: work should be within twice this of the share, in cache lines
 * @servers: number of servers
 *
 * While one server is in a child, each of the others may use up the slack and
 * is then working on one more batch. With a small budget or many servers, even
 * the least slack exceeds @budget.
 *
 * Context: any.
 * Return: the slack for ksm_sched_pick(), in cache lines.
 */
u32 ksm_sched_slack(u64 budget, unsigned int servers)
{
	s64 slack = div_u64(budget, max(servers, 2U) - 1) - KSM_SCHED_BATCH / 2;

	return clamp_t(s64, slack, KSM_SCHED_BATCH, KSM_SCHED_SLACK_MAX);
}

/**
 * ksm_sched_pick - choose the leaf to serve next
 * @root: the tree
 * @slack: how far held entities may be behind at each level, in cache lines
 *
 * Context: the caller serializes calls on the tree.
 * Return: the leaf, or NULL if there is no work, or if all work is held or too
 * far ahead of what is held.
 */
struct ksm_sched *ksm_sched_pick(struct ksm_sched *root, u32 slack)
{
	struct ksm_sched *e = root, *child;

	while (e->weights) {
		child = ksm_sched_child(e, slack);
		if (!child && e == root)
			return NULL;
		if (!child) {
			/* until a descendant is released; start over */
			ksm_sched_hold(e);
			child = root;
		}
		e = child;
	}
	return e == root ? NULL : e;
}

/**
 * ksm_sched_charge - charge work to a leaf and everything above it
 * @e: the leaf, active or not
 * @work: the work, in cache lines; at most KSM_SCHED_CHARGE_MAX counts
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_charge(struct ksm_sched *e, u64 work)
{
	work = min_t(u64, work, KSM_SCHED_CHARGE_MAX) << KSM_VTIME_SHIFT;
	for (; e->parent; e = e->parent) {
		if (e->active)
			ksm_sched_dequeue(e);
		e->vtime += div_u64_rem(work + e->rest, e->weight, &e->rest);
		if (e->active)
			ksm_sched_enqueue(e);
	}
}

/**
 * ksm_sched_set_weight - change a weight
 * @e: the entity
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX
 *
 * The new weight applies to work charged from now on: the amount of work by
 * which the entity is behind or ahead stays the same.
 *
 * Context: the caller serializes calls on the tree.
 */
void ksm_sched_set_weight(struct ksm_sched *e, u32 weight)
{
	u64 mean;
	s64 behind;

	if (!e->parent) {
		WRITE_ONCE(e->weight, weight);
		return;
	}
	mean = ksm_sched_mean(e->parent);
	/* an idle entity earns no credit, however long it idled */
	if (!e->active && ksm_sched_before(e->vtime, mean))
		e->vtime = mean;
	behind = (s64)(mean - e->vtime) * e->weight;
	if (e->active)
		ksm_sched_dequeue(e);
	WRITE_ONCE(e->weight, weight);
	e->vtime = mean - div_s64(behind, weight);
	if (e->active)
		ksm_sched_enqueue(e);
}

#include "tests/sched-kunit.h"
