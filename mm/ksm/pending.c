// SPDX-License-Identifier: GPL-2.0
/*
 * Pending slots: those whose merging is to be undone.
 *
 * Merging in a slot is to be undone if none of its memory takes part any more,
 * if it maps frames of another domain, if a 1 no longer covers the process or
 * as much of it, and if run is 2. The books count these mappings. The slot is
 * queued here; the worker is in undo-work.c.
 *
 * Each group has a queue of its own, and the scheduler picks the group, by the
 * weights of memory.ksm.weight, in a tree separate from that of the scan. So a
 * cgroup waits for a few turns of others, however much these have to undo. The
 * worker's work is charged to the group in both trees, so it counts against the
 * group's share of the scan.
 *
 * A slot that could not be unshared is retried after a delay that doubles from
 * level to level. Retries end when memory becomes free in the cgroup, or when
 * the process exits.
 */
#include "ksm.h"

/* The delay of the first level. */
#define KSM_UNDO_DELAY		(HZ / 10)
/* Slots that one call moves from the delayed ones to their groups. */
#define KSM_UNDO_RESUME_MAX	256

/*
 * Slots to retry, by level. All slots of a level have the same delay, so each
 * list is in the order of due. ksm_lock.
 */
static struct list_head ksm_undo_later[KSM_UNDO_LEVELS];
struct delayed_work ksm_undo_work;

void __init ksm_pending_init(void)
{
	int i;

	for (i = 0; i < KSM_UNDO_LEVELS; i++)
		INIT_LIST_HEAD(&ksm_undo_later[i]);
}

/**
 * ksm_undo_delay - the delay of a level
 * @level: 1 to KSM_UNDO_LEVELS
 *
 * Context: any.
 * Return: the delay in jiffies.
 */
unsigned long ksm_undo_delay(unsigned int level)
{
	return KSM_UNDO_DELAY << (level - 1);
}

/**
 * ksm_undo_attach - put a slot on the queue of its group
 * @slot: the slot, on no queue; the caller's reference passes to the queue
 *
 * Context: ksm_lock.
 */
void ksm_undo_attach(struct ksm_slot *slot)
{
	struct ksm_group_undo *undo = &slot->books.group->undo;

	lockdep_assert_held(&ksm_lock);
	list_add_tail(&slot->undo.link, &undo->slots);
	slot->undo.level = 0;
	ksm_sched_wake(&undo->own);
}

/**
 * ksm_undo_detach - take a slot off the queue of its group
 * @slot: the slot, before its group changes
 *
 * Context: ksm_lock.
 * Return: true if it was on that queue; the reference passes to the caller.
 */
bool ksm_undo_detach(struct ksm_slot *slot)
{
	struct ksm_group_undo *undo = &slot->books.group->undo;

	lockdep_assert_held(&ksm_lock);
	if (list_empty(&slot->undo.link) || slot->undo.level)
		return false;
	list_del_init(&slot->undo.link);
	if (list_empty(&undo->slots))
		ksm_sched_sleep(&undo->own);
	return true;
}

/**
 * ksm_undo_cancel - take a slot off any queue
 * @slot: the slot
 *
 * Context: ksm_lock.
 * Return: true if it was on one; the reference passes to the caller.
 */
bool ksm_undo_cancel(struct ksm_slot *slot)
{
	if (list_empty(&slot->undo.link))
		return false;
	if (!ksm_undo_detach(slot))
		list_del_init(&slot->undo.link);
	return true;
}

/**
 * ksm_undo_queue_locked - queue a slot for the worker that unshares
 * @slot: the slot
 *
 * A delayed slot is attended to at once, as something has changed.
 *
 * Context: ksm_lock.
 */
void ksm_undo_queue_locked(struct ksm_slot *slot)
{
	lockdep_assert_held(&ksm_lock);
	/* one that is being forked is judged once it is settled */
	if (slot->queue.state == KSM_SLOT_NEW ||
	    slot->queue.state == KSM_SLOT_DEAD)
		return;
	slot->undo.again = true;
	if (list_empty(&slot->undo.link))
		kref_get(&slot->ref);
	else if (!slot->undo.level)
		return;
	ksm_undo_cancel(slot);
	slot->undo.failing = false;
	slot->undo.failures = 0;
	ksm_undo_attach(slot);
	mod_delayed_work(system_unbound_wq, &ksm_undo_work, 0);
}

/**
 * ksm_undo_queue - queue a slot for a mapping that was just added
 * @slot: the slot
 *
 * Context: any that allows a spinlock.
 */
void ksm_undo_queue(struct ksm_slot *slot)
{
	/* fork calls this for every entry that it copies */
	if (!list_empty_careful(&slot->undo.link) &&
	    (READ_ONCE(slot->undo.failing) || !READ_ONCE(slot->undo.level)))
		return;
	spin_lock(&ksm_lock);
	if (list_empty(&slot->undo.link) || !slot->undo.failing)
		ksm_undo_queue_locked(slot);
	spin_unlock(&ksm_lock);
}

/**
 * ksm_undo_resume - queue the slots whose delay is over
 *
 * Context: the worker; takes ksm_lock.
 * Return: jiffies to the next slot, 0 if there is one now; -1 if there is none.
 */
long ksm_undo_resume(void)
{
	unsigned int level, nr = 0;
	struct ksm_slot *slot;
	long left, delay = -1;

	spin_lock(&ksm_lock);
	for (level = 0; level < KSM_UNDO_LEVELS; level++) {
		while (!list_empty(&ksm_undo_later[level])) {
			slot = list_first_entry(&ksm_undo_later[level],
						struct ksm_slot, undo.link);
			left = slot->undo.due - jiffies;
			if (left > 0 && (delay < 0 || left < delay))
				delay = left;
			if (left > 0 || nr++ >= KSM_UNDO_RESUME_MAX)
				break;
			list_del_init(&slot->undo.link);
			ksm_undo_attach(slot);
		}
	}
	if (ksm_root_group.undo.sched.active)
		delay = 0;
	spin_unlock(&ksm_lock);
	return delay;
}

/*
 * A turn begins. If memory was short and something has changed since, more
 * frames may be borrowed: start over, as borrowed frames come first. A mere
 * retry does not start over: it would walk a large process each time only to
 * fail again.
 */
static void ksm_undo_begins(struct ksm_slot_undo *undo)
{
	if (undo->again && undo->at.failed) {
		undo->at.addr = 0;
		undo->at.borrowed_done = false;
	}
	undo->again = false;
}

/**
 * ksm_undo_next - the slot whose turn it is
 *
 * It stays on the queue, as a group whose queue is empty would lose its place
 * among its siblings.
 *
 * Context: the worker; takes ksm_lock.
 * Return: the slot with a reference, or NULL.
 */
struct ksm_slot *ksm_undo_next(void)
{
	struct ksm_slot *slot = NULL;
	struct ksm_group *group;
	struct ksm_sched *leaf;

	spin_lock(&ksm_lock);
	leaf = ksm_sched_pick(&ksm_root_group.undo.sched, KSM_SCHED_BATCH);
	if (leaf) {
		group = container_of(leaf, struct ksm_group, undo.own);
		slot = list_first_entry(&group->undo.slots, struct ksm_slot,
					undo.link);
		list_move_tail(&slot->undo.link, &group->undo.slots);
		ksm_undo_begins(&slot->undo);
		kref_get(&slot->ref);
	}
	spin_unlock(&ksm_lock);
	return slot;
}

/* Retry a slot, which is on no queue, after the delay of a level. */
static void ksm_undo_delay_slot(struct ksm_slot *slot, unsigned int level)
{
	slot->undo.level = level;
	slot->undo.due = jiffies + ksm_undo_delay(level);
	list_add_tail(&slot->undo.link, &ksm_undo_later[level - 1]);
}

/**
 * ksm_undo_ended - a turn is over: charge its work, queue the slot as needed
 * @slot: the slot from ksm_undo_next()
 * @outcome: the outcome
 * @level: the delay if it is KSM_UNDO_PUT_OFF
 *
 * Context: the worker; takes ksm_lock.
 * Return: true if the slot left the queues: their reference passes to the
 * caller.
 */
bool ksm_undo_ended(struct ksm_slot *slot, enum ksm_undo_outcome outcome,
		    unsigned int level)
{
	struct ksm_slot_undo *undo = &slot->undo;
	struct ksm_group *group;
	bool left = false;

	spin_lock(&ksm_lock);
	group = slot->books.group;
	ksm_sched_charge(&group->undo.own, undo->at.work);
	ksm_sched_charge(&group->own, undo->at.work);
	undo->at.failed = outcome == KSM_UNDO_FAILED;
	if (!undo->at.failed || undo->at.unshared)
		undo->failures = 0;
	undo->failing = undo->at.failed && !undo->again;
	if (undo->failing) {
		undo->failures = min(undo->failures + 1, KSM_UNDO_LEVELS);
		level = undo->failures;
	}
	/* an exiting process has left the queue */
	if (!undo->again && outcome != KSM_UNDO_MORE && ksm_undo_detach(slot)) {
		left = outcome == KSM_UNDO_DONE;
		if (!left)
			ksm_undo_delay_slot(slot, level);
	}
	spin_unlock(&ksm_lock);
	return left;
}

/**
 * ksm_slot_judge - update whether a slot's merging is to be undone
 * @slot: the slot, after a change of its state, its cgroup's setting or run
 *
 * If so, it is queued, and nothing is merged with it any more, see
 * ksm_frame_pending().
 *
 * Context: ksm_lock.
 */
void ksm_slot_judge(struct ksm_slot *slot)
{
	bool unwanted, changed;

	lockdep_assert_held(&ksm_lock);
	/* one that is being forked gets its mappings, and is judged, later */
	if (slot->queue.state == KSM_SLOT_NEW)
		return;
	unwanted = slot->queue.state == KSM_SLOT_PARKED ||
		   ksm_slot_is_narrowed(slot) ||
		   READ_ONCE(ksm_knobs.run) == KSM_RUN_UNMERGE;
	changed = unwanted != slot->books.unwanted;
	if (changed)
		ksm_books_set_unwanted(slot, unwanted);
	if (ksm_books_pending(slot) || ksm_slot_is_narrowed(slot)) {
		if (changed || list_empty(&slot->undo.link))
			ksm_undo_queue_locked(slot);
	}
}

/**
 * ksm_slot_narrow - have the worker unshare all but what is eligible
 * @slot: the slot, which may have merged pages that are not
 *
 * Context: takes ksm_lock.
 */
void ksm_slot_narrow(struct ksm_slot *slot)
{
	spin_lock(&ksm_lock);
	WRITE_ONCE(slot->undo.narrowed, slot->undo.narrowed + 1);
	ksm_slot_judge(slot);
	spin_unlock(&ksm_lock);
}

/**
 * ksm_slot_narrowed - how often did a 1 come to cover less of a process?
 * @slot: the process
 *
 * Context: any.
 * Return: a number for ksm_slot_undone().
 */
unsigned int ksm_slot_narrowed(struct ksm_slot *slot)
{
	return READ_ONCE(slot->undo.narrowed);
}

/**
 * ksm_slot_is_narrowed - is a slot to be unshared but for what is eligible?
 * @slot: the slot
 *
 * Context: any; without ksm_lock the answer may be stale.
 * Return: true if so.
 */
bool ksm_slot_is_narrowed(struct ksm_slot *slot)
{
	return READ_ONCE(slot->undo.narrowed) !=
	       READ_ONCE(slot->undo.narrowed_done);
}

/**
 * ksm_slot_undone - note that a slot was unshared as far as required
 * @slot: the slot
 * @narrowed: ksm_slot_narrowed() from before unsharing began
 *
 * Context: takes ksm_lock.
 */
void ksm_slot_undone(struct ksm_slot *slot, unsigned int narrowed)
{
	if (narrowed == READ_ONCE(slot->undo.narrowed_done))
		return;
	spin_lock(&ksm_lock);
	WRITE_ONCE(slot->undo.narrowed_done, narrowed);
	ksm_slot_judge(slot);
	spin_unlock(&ksm_lock);
}
