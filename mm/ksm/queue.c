// SPDX-License-Identifier: GPL-2.0
/*
 * Which slot is scanned next.
 *
 * A slot that takes part is on its group's list of slots, others are on its
 * list of parked ones. New slots are scanned before known ones are scanned
 * again. The scheduler picks the group by weight; a group whose domain another
 * thread is scanning is put aside, held in the scheduler, until that thread has
 * ended its slice.
 */
#include "ksm.h"

/* With this many groups put aside, a thread waits instead of adding more. */
#define KSM_WAITING_MAX	64

/* The first scanner thread waits here for work. */
DECLARE_WAIT_QUEUE_HEAD(ksm_work_wait);
/* Threads wait here for a domain that no other thread is scanning. */
DECLARE_WAIT_QUEUE_HEAD(ksm_turn_wait);

/* Groups put aside; ksm_lock. */
static unsigned int ksm_nr_waiting;
/* How often work for another thread turned up; changes with ksm_lock. */
static unsigned long ksm_nr_turns;
/* How often a slot followed a change of its group's configuration; ksm_lock. */
static unsigned long ksm_nr_followed;

static void ksm_queue_turn(void)
{
	WRITE_ONCE(ksm_nr_turns, ksm_nr_turns + 1);
	if (wq_has_sleeper(&ksm_turn_wait))
		wake_up_interruptible_all(&ksm_turn_wait);
}

/* The group is next, but another thread is scanning its domain. */
static void ksm_group_put_aside(struct ksm_group *group)
{
	list_add_tail(&group->queue.wait, &group->effective.domain->waiting);
	ksm_nr_waiting++;
	ksm_sched_hold(&group->own);
}

static void ksm_group_take_back(struct ksm_group *group)
{
	if (list_empty(&group->queue.wait))
		return;
	list_del_init(&group->queue.wait);
	ksm_nr_waiting--;
	ksm_sched_release(&group->own);
}

/* Activate the group in the scheduler if it has work, else deactivate it. */
static void ksm_group_kick(struct ksm_group *group)
{
	if (!group->queue.served || list_empty(&group->queue.slots)) {
		ksm_group_take_back(group);
		ksm_sched_sleep(&group->own);
		return;
	}
	if (!group->own.active) {
		ksm_sched_wake(&group->own);
		ksm_queue_turn();
	}
	wake_up_interruptible(&ksm_work_wait);
}

/**
 * ksm_queue_del - take a slot off its group's list
 * @slot: the slot
 *
 * Context: ksm_lock.
 */
void ksm_queue_del(struct ksm_slot *slot)
{
	struct ksm_group *group = slot->books.group;

	lockdep_assert_held(&ksm_lock);
	list_del_init(&slot->queue.link);
	if (slot->queue.state != KSM_SLOT_ACTIVE)
		return;
	ksm_round_count(slot, -1);
	ksm_group_kick(group);
}

/**
 * ksm_queue_add - put a slot on the list of its group that matches its state
 * @slot: the slot, on no list
 *
 * Context: ksm_lock; ksm_round_check() follows.
 */
void ksm_queue_add(struct ksm_slot *slot)
{
	struct ksm_group *group = slot->books.group;

	lockdep_assert_held(&ksm_lock);
	if (slot->queue.state != KSM_SLOT_ACTIVE) {
		list_add(&slot->queue.link, &group->queue.parked);
		return;
	}
	/* at the head: new slots go before known ones */
	list_add(&slot->queue.link, &group->queue.slots);
	ksm_round_count(slot, 1);
	ksm_group_kick(group);
}

/**
 * ksm_queue_set_stale - a group's effective configuration changed
 * @group: the group
 *
 * ksmd scans none of its slots until ksm_queue_next_stale() has returned it or
 * the slot has changed its state, see ksm_slot_set_state().
 *
 * Context: ksm_lock.
 */
void ksm_queue_set_stale(struct ksm_group *group)
{
	struct ksm_group_queue *queue = &group->queue;

	lockdep_assert_held(&ksm_lock);
	list_splice_tail_init(&queue->slots, &queue->stale);
	list_splice_tail_init(&queue->parked, &queue->stale);
	ksm_group_kick(group);
}

/**
 * ksm_queue_followed - how often slots followed a change up to now
 *
 * Context: ksm_lock.
 * Return: a number for ksm_queue_next_stale().
 */
unsigned long ksm_queue_followed(void)
{
	lockdep_assert_held(&ksm_lock);
	return ksm_nr_followed;
}

/**
 * ksm_queue_next_stale - take a slot that has to follow a change
 * @group: the group
 * @since: ksm_queue_followed() from before the first call
 *
 * Slots behind one that has followed since then all became stale later. They
 * are left to the write that made them stale: otherwise other writes could keep
 * this one here for ever.
 *
 * Context: ksm_lock, which may be given up between two calls.
 * Return: the slot, on the list that matches its state; NULL if there are no
 * more.
 */
struct ksm_slot *ksm_queue_next_stale(struct ksm_group *group,
				      unsigned long since)
{
	struct ksm_group_queue *queue = &group->queue;
	struct ksm_slot *slot;

	lockdep_assert_held(&ksm_lock);
	slot = list_first_entry_or_null(&queue->stale, struct ksm_slot,
					queue.link);
	if (!slot || slot->queue.followed > since)
		return NULL;
	slot->queue.followed = ++ksm_nr_followed;
	list_move_tail(&slot->queue.link,
		       slot->queue.state == KSM_SLOT_ACTIVE ?
		       &queue->slots : &queue->parked);
	return slot;
}

/**
 * ksm_queue_first - some slot of a group
 * @group: the group
 *
 * Context: ksm_lock.
 * Return: the slot, NULL if there is none.
 */
struct ksm_slot *ksm_queue_first(struct ksm_group *group)
{
	struct ksm_group_queue *queue = &group->queue;
	struct list_head *list = &queue->slots;

	lockdep_assert_held(&ksm_lock);
	if (list_empty(list))
		list = &queue->parked;
	if (list_empty(list))
		list = &queue->stale;
	return list_first_entry_or_null(list, struct ksm_slot, queue.link);
}

/**
 * ksm_queue_serve - update whether a group is served: run, run_cgroups or its
 *	setting changed
 * @group: the group
 *
 * Context: ksm_lock.
 */
void ksm_queue_serve(struct ksm_group *group)
{
	bool served = group->effective.setting != KSM_NEVER &&
		      ksm_group_runs(group);

	lockdep_assert_held(&ksm_lock);
	ksm_round_serve(group, served);
	ksm_group_kick(group);
	ksm_round_check();
}

/**
 * ksm_queue_served - is there a process to scan in a subtree?
 * @top: the top of the subtree
 *
 * Context: takes ksm_lock.
 * Return: true if so.
 */
bool ksm_queue_served(const struct ksm_group *top)
{
	bool served;

	spin_lock(&ksm_lock);
	/* the scheduler knows of each group with work, and those above it */
	served = top->sched.active;
	spin_unlock(&ksm_lock);
	return served;
}

/**
 * ksm_queue_has_work - is there anything to scan?
 *
 * Context: any; without ksm_lock the answer may be stale.
 * Return: true if so.
 */
bool ksm_queue_has_work(void)
{
	return ksm_running() && READ_ONCE(ksm_root_group.sched.active);
}

/**
 * ksm_queue_turns - how often work for another thread turned up
 *
 * Context: any.
 * Return: a number to compare with a later one.
 */
unsigned long ksm_queue_turns(void)
{
	return READ_ONCE(ksm_nr_turns);
}

/**
 * ksm_queue_next - the slot to scan next
 * @domain: set to its domain, with a reference, which no other thread scans
 *	until ksm_queue_scanned()
 * @threads: how many threads share the budget
 *
 * Context: takes ksm_lock.
 * Return: the slot with a reference, which keeps its mm; NULL if there is
 * nothing to scan; -EBUSY if there is nothing until ksm_queue_turns() rises.
 */
struct ksm_slot *ksm_queue_next(struct ksm_domain **domain,
				unsigned int threads)
{
	u32 slack = ksm_sched_slack((u64)READ_ONCE(ksm_knobs.pages_to_scan) *
				    KSM_PAGE_CACHELINES, threads);
	struct ksm_slot *slot = NULL;
	struct ksm_sched *leaf;
	struct ksm_group *group;

	spin_lock(&ksm_lock);
	while ((leaf = ksm_sched_pick(&ksm_root_group.sched, slack))) {
		group = container_of(leaf, struct ksm_group, own);
		if (!group->effective.domain->scanned) {
			slot = list_first_entry(&group->queue.slots,
						struct ksm_slot, queue.link);
			kref_get(&slot->ref);
			*domain = group->effective.domain;
			(*domain)->scanned = true;
			refcount_inc(&(*domain)->ref);
			break;
		}
		if (ksm_nr_waiting >= KSM_WAITING_MAX)
			break;
		ksm_group_put_aside(group);
	}
	if (!slot && ksm_root_group.sched.active)
		slot = ERR_PTR(-EBUSY);
	spin_unlock(&ksm_lock);
	return slot;
}

/**
 * ksm_queue_scanned - a slice is over: charge its work
 * @slot: the slot that was scanned
 * @domain: the domain from ksm_queue_next(); the reference is dropped
 * @work: in cache lines
 * @rotate: the slot's siblings are next
 *
 * Context: takes ksm_lock.
 */
void ksm_queue_scanned(struct ksm_slot *slot, struct ksm_domain *domain,
		       unsigned long work, bool rotate)
{
	struct ksm_group *group, *next;

	spin_lock(&ksm_lock);
	group = slot->books.group;
	ksm_sched_charge(&group->own, work);
	/* a stale slot stays on its list */
	if (rotate && slot->queue.state == KSM_SLOT_ACTIVE &&
	    list_empty(&group->queue.stale))
		list_move_tail(&slot->queue.link, &group->queue.slots);
	domain->scanned = false;
	/* ksm_sched_pick() may have held ancestors of a held group */
	ksm_sched_release(&group->sched);
	list_for_each_entry_safe(group, next, &domain->waiting, queue.wait)
		ksm_group_take_back(group);
	ksm_queue_turn();
	spin_unlock(&ksm_lock);
	ksm_domain_put(domain);
}

/**
 * ksm_queue_charge - charge work that was not part of a slice
 * @group: the group that caused it, which may be offline
 * @work: in cache lines
 *
 * Context: takes ksm_lock; the caller keeps @group in memory.
 */
void ksm_queue_charge(struct ksm_group *group, unsigned long work)
{
	spin_lock(&ksm_lock);
	ksm_sched_charge(&ksm_group_online(group)->own, work);
	spin_unlock(&ksm_lock);
}
