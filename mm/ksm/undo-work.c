// SPDX-License-Identifier: GPL-2.0
/*
 * The worker that undoes merging.
 *
 * Slots that map frames of another domain, slots in which merging ended, and
 * slots that brought merged frames from another cgroup are queued (pending.c).
 * The worker unshares what is pending in them, whatever the scanner does, and
 * has the frames reviewed that may have lost their payer. It serves the groups
 * in turns.
 *
 * Where the process runs, task work has it unshare its own memory, at its own
 * cost. Otherwise the worker does it, and the group is charged. The worker does
 * not wait for mmap_lock, as a process can keep it for any time, and does not
 * reclaim. If it fails, the next attempt is task work, which does both.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

#include "ksm.h"

#include <trace/events/ksm.h>

/* A turn, in cache lines. */
#define KSM_UNDO_TURN	(16 * KSM_SLICE)

/*
 * While a slot keeps moving, the worker reviews all its frames at growing
 * intervals. Returns true if it is too early for the next review.
 */
static bool ksm_undo_review_early(struct ksm_slot *slot)
{
	return slot->undo.reviews &&
	       time_before(jiffies, slot->undo.review_due);
}

static void ksm_undo_review_begins(struct ksm_slot *slot)
{
	struct ksm_slot_undo *undo = &slot->undo;
	bool soon = undo->reviews &&
		    time_before(jiffies, undo->review_due +
				ksm_undo_delay(undo->reviews));

	undo->reviews = soon ? min(undo->reviews + 1, KSM_UNDO_LEVELS) : 1;
	undo->review_due = jiffies + ksm_undo_delay(undo->reviews);
}

/*
 * Have the frames reviewed that the slot brought from another group. Returns
 * -EBUSY if that was done shortly before.
 */
static int ksm_undo_moved(struct ksm_slot *slot, struct ksm_undo_at *at)
{
	unsigned int moves = READ_ONCE(slot->books.moves);
	int err;

	if (moves == READ_ONCE(slot->books.moves_seen))
		return 0;
	/* from the start if the slot has moved again */
	if (at->moves != moves)
		at->review = 0;
	if (!at->review) {
		if (ksm_undo_review_early(slot))
			return -EBUSY;
		ksm_undo_review_begins(slot);
	}
	at->moves = moves;
	err = ksm_undo_review(slot, at);
	if (err)
		return err;
	at->review = 0;
	/* of an exiting mm, each unmapping has its frame reviewed */
	if (ksm_mm_live(slot->mm))
		WRITE_ONCE(slot->books.moves_seen, moves);
	return 0;
}

/*
 * Unshare what is pending in a slot, and have its frames reviewed if they may
 * have lost their payer. @at: where to resume.
 */
static int ksm_undo_slot(struct ksm_slot *slot, struct ksm_undo_at *at)
{
	struct ksm_slot_books *books = &slot->books;
	int err;

	err = ksm_undo_pending(slot, at);
	if (err)
		return err;
	if (READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE ||
	    READ_ONCE(slot->track.domain) != READ_ONCE(books->domain))
		ksm_undo_drop(slot, at);
	return ksm_undo_moved(slot, at);
}

#ifdef CONFIG_MEMCG
/*
 * The worker does the rest: dropping takes the domain's mutex, and reviews
 * make work for yet another worker, bounded only by the back-off of this one.
 */
static void ksm_undo_by_owner(struct callback_head *work)
{
	struct ksm_slot *slot = container_of(work, struct ksm_slot, undo.work);
	struct ksm_undo_at at = {};

	if (current->mm == slot->mm &&
	    READ_ONCE(slot->queue.state) != KSM_SLOT_DEAD)
		ksm_undo_pending(slot, &at);
	spin_lock(&ksm_lock);
	work->func = NULL;
	spin_unlock(&ksm_lock);
	ksm_slot_put(slot);
}

/* Claim the slot's task work, with a reference. */
static bool ksm_undo_claim_work(struct ksm_slot *slot)
{
	bool claimed;

	spin_lock(&ksm_lock);
	claimed = !slot->undo.work.func &&
		  slot->queue.state != KSM_SLOT_DEAD;
	if (claimed) {
		init_task_work(&slot->undo.work, ksm_undo_by_owner);
		kref_get(&slot->ref);
	}
	spin_unlock(&ksm_lock);
	return claimed;
}

/*
 * Have the owner unshare, and reclaim, before it returns to user space.
 * @running: only if it runs. Returns true if the owner was asked.
 */
static bool ksm_undo_ask_owner(struct ksm_slot *slot,
			       enum task_work_notify_mode mode, bool running)
{
	struct task_struct *task;
	bool asked = false;

	/* fork drops the task work of a child, and may free the child */
	if (READ_ONCE(slot->queue.state) == KSM_SLOT_NEW)
		return false;
	rcu_read_lock();
	task = rcu_dereference(slot->mm->owner);
	if (task && running && !task_is_running(task))
		task = NULL;
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return false;
	if (ksm_undo_claim_work(slot)) {
		asked = !task_work_add(task, &slot->undo.work, mode);
		if (!asked) {
			spin_lock(&ksm_lock);
			slot->undo.work.func = NULL;
			spin_unlock(&ksm_lock);
			ksm_slot_put(slot);
		}
	}
	put_task_struct(task);
	return asked;
}
#else
static bool ksm_undo_ask_owner(struct ksm_slot *slot,
			       enum task_work_notify_mode mode, bool running)
{
	return false;
}
#endif

/*
 * A turn of the worker. The first attempt is left to an owner that is about to
 * run anyway. After a failure the owner may reclaim: the first request then
 * interrupts system calls, as the owner may sleep for long. Later ones do not:
 * while a cgroup stays full, each retry would interrupt them.
 */
static enum ksm_undo_outcome ksm_undo_turn(struct ksm_slot *slot,
					   unsigned int *level)
{
	struct ksm_slot_undo *undo = &slot->undo;
	struct ksm_undo_at *at = &undo->at;
	int err;

	*level = 1;
	at->unshared = 0;
	at->work = KSM_PAGE_CACHELINES;
	at->limit = KSM_UNDO_TURN;
	if (!undo->asked && ksm_books_pending(slot)) {
		undo->asked = true;
		if (ksm_undo_ask_owner(slot, TWA_RESUME, true))
			return KSM_UNDO_PUT_OFF;
	}
	err = ksm_undo_slot(slot, at);
	trace_ksm_undo(slot, at->work, err);
	if (err == -EINPROGRESS)
		return KSM_UNDO_MORE;
	if (err == -EBUSY) {
		*level = undo->reviews;
		return KSM_UNDO_PUT_OFF;
	}
	/* pending mappings that are left without an error are new */
	if (!err && !READ_ONCE(slot->books.gauge[KSM_G_PENDING])) {
		undo->asked = false;
		return KSM_UNDO_DONE;
	}
	if (err && ksm_books_pending(slot))
		ksm_undo_ask_owner(slot, READ_ONCE(undo->failures) ?
				   TWA_RESUME : TWA_SIGNAL, false);
	return KSM_UNDO_FAILED;
}

static void ksm_undo_work_fn(struct work_struct *work)
{
	enum ksm_undo_outcome outcome;
	struct ksm_slot *slot;
	unsigned int level;
	long delay;

	ksm_undo_resume();
	while ((slot = ksm_undo_next())) {
		outcome = ksm_undo_turn(slot, &level);
		if (ksm_undo_ended(slot, outcome, level))
			ksm_slot_put(slot);
		ksm_slot_put(slot);
		cond_resched();
		/* delayed slots do not wait until the queues are empty */
		ksm_undo_resume();
	}
	delay = ksm_undo_resume();
	if (delay >= 0)
		queue_delayed_work(system_unbound_wq, &ksm_undo_work, delay);
}

void __init ksm_undo_init(void)
{
	ksm_pending_init();
	INIT_DELAYED_WORK(&ksm_undo_work, ksm_undo_work_fn);
}
