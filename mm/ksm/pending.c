// SPDX-License-Identifier: GPL-2.0
/*
 * Pending slots: those whose merging is to be undone.
 *
 * Merging in a slot is to be undone if none of its memory takes part any more,
 * if it maps frames of another domain, if a 1 no longer covers the process, and
 * if run is 2. The books count these mappings. The slot is queued here; the
 * worker is in undo.c.
 */
#include "ksm.h"

/* Slots with merging to undo, now or later; ksm_lock. */
LIST_HEAD(ksm_undo_slots);
LIST_HEAD(ksm_undo_later);
struct delayed_work ksm_undo_work;

/**
 * ksm_undo_queue_locked - queue a slot for the worker that unshares
 * @slot: the slot
 *
 * A slot that is backing off is retried at once, as something has changed.
 *
 * Context: ksm_lock.
 */
void ksm_undo_queue_locked(struct ksm_slot *slot)
{
	lockdep_assert_held(&ksm_lock);
	if (slot->queue.state == KSM_SLOT_DEAD)
		return;
	if (list_empty(&slot->undo.link))
		kref_get(&slot->ref);
	else if (!slot->undo.failing)
		return;
	list_move_tail(&slot->undo.link, &ksm_undo_slots);
	slot->undo.failing = false;
	slot->undo.delay = 0;
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
	if (!list_empty_careful(&slot->undo.link))
		return;
	spin_lock(&ksm_lock);
	if (list_empty(&slot->undo.link))
		ksm_undo_queue_locked(slot);
	spin_unlock(&ksm_lock);
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
	/* one that is being forked gets its mappings later, and is judged then */
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
 * ksm_slot_narrowed - how often did the cgroup cease to decide for a process?
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
 * ksm_slot_is_narrowed - is a slot to be unshared but for what it asked for?
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
