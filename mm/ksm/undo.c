// SPDX-License-Identifier: GPL-2.0
/*
 * Undoing merging in whole processes.
 *
 * Slots that map frames of another domain, and slots in which merging ended,
 * are queued (pending.c) for a worker. It unshares what is merged in them,
 * whatever the scanner does, and retries with a growing delay. A write that
 * takes merging away, and run=2, unshare in all slots themselves, so they can
 * return an error and reclaim where a cgroup is full. The worker does the rest.
 *
 * The worker does not wait for an mmap_lock, as a process can keep it for as
 * long as it likes, and does not reclaim. Where it fails, task work has the
 * process unshare its own memory before it returns to user space, at its own
 * cost.
 */
#include <linux/delay.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "ksm.h"

/* Pages to unshare between two checks whether mmap_lock is contended. */
#define KSM_UNDO_PAGES		2048
/* The worker's first and longest delay after a failure. */
#define KSM_UNDO_DELAY		(HZ / 10)
#define KSM_UNDO_DELAY_MAX	(5 * HZ)
#define KSM_CATCH_TRIES		100
/* Work under one mmap_lock: 1 for each VMA, 100 for each page table. */
#define KSM_CATCH_WORK		1000
#define KSM_CATCH_TABLE		100

/* Which VMAs to leave as they are, or NULL. */
typedef bool (*ksm_spare_fn)(struct ksm_slot *slot, struct vm_area_struct *vma);
/* What to do to a range, with mmap_lock held. */
typedef int (*ksm_range_fn)(struct vm_area_struct *vma, unsigned long start,
			    unsigned long end);

/* ------------------------------------------------- ranges of one process */

/*
 * Is anything merged here? Blocks count too: frames that are all under
 * migration are not in the gauges.
 */
static bool ksm_slot_merged(struct ksm_slot *slot)
{
	return READ_ONCE(slot->books.gauge[KSM_G_MERGING]) ||
	       READ_ONCE(slot->books.gauge[KSM_G_ZERO]) ||
	       READ_ONCE(slot->track.domain);
}

/* Take the mmap_lock of a process that may keep changing its mappings. */
static bool ksm_mmap_catch(struct mm_struct *mm)
{
	int tries;

	for (tries = 0; tries < KSM_CATCH_TRIES; tries++) {
		if (mmap_read_trylock(mm))
			return true;
		usleep_range(50, 200);
	}
	return false;
}

/* May a signal end the work of the current task here? */
static bool ksm_undo_killable(void)
{
	return !(current->flags & (PF_KTHREAD | PF_EXITING));
}

/* Some of a process's memory, under mmap_lock; @addr: where to resume. */
static int ksm_undo_some(struct ksm_slot *slot, ksm_spare_fn spare,
			 ksm_range_fn fn, unsigned long *addr, bool *end)
{
	struct mm_struct *mm = slot->mm;
	struct vm_area_struct *vma;
	unsigned long start, stop;
	int err = 0, nr = 0;

	do {
		vma = ksm_mm_live(mm) ? find_vma(mm, *addr) : NULL;
		*end = !vma;
		if (*end)
			break;
		start = max(*addr, vma->vm_start);
		stop = vma->vm_end;
		if (vma->anon_vma && !(spare && spare(slot, vma))) {
			stop = min(stop, start + KSM_UNDO_PAGES * PAGE_SIZE);
			err = fn(vma, start, stop);
			/* the next attempt begins with the piece that failed */
			if (err)
				break;
			nr += KSM_CATCH_TABLE *
			      DIV_ROUND_UP(stop - start, PMD_SIZE);
		}
		*addr = stop;
	} while (++nr < KSM_CATCH_WORK &&
		 (nr < KSM_CATCH_TABLE || !mmap_lock_is_contended(mm)));
	return err;
}

/*
 * Call a function for all of a process's anonymous memory from @addr on, piece
 * by piece; mmap_lock is dropped now and then.
 */
static int ksm_undo_ranges(struct ksm_slot *slot, ksm_spare_fn spare,
			   ksm_range_fn fn, unsigned long *addr)
{
	bool killable = ksm_undo_killable();
	struct mm_struct *mm = slot->mm;
	bool end = false;
	int err = 0;

	while (!err && !end) {
		if (killable && mmap_read_lock_killable(mm))
			return -EINTR;
		if (!killable && !ksm_mmap_catch(mm))
			return -EAGAIN;
		err = ksm_undo_some(slot, spare, fn, addr, &end);
		mmap_read_unlock(mm);
		cond_resched();
	}
	return err;
}

static int ksm_unshare_piece(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end)
{
	return ksm_unshare_range(vma, start, end, ksm_undo_killable());
}

/* Ignore signals; a fatal one tears the mm down anyway. */
static int ksm_unshare_whole(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end)
{
	return ksm_unshare_range(vma, start, end, false);
}

static int ksm_unshare_from(struct ksm_slot *slot, ksm_spare_fn spare,
			    ksm_range_fn fn, unsigned long *addr)
{
	int err;

	if (!ksm_slot_merged(slot))
		return 0;
	err = ksm_undo_ranges(slot, spare, fn, addr);
	ksm_drain_later();
	return err;
}

static bool ksm_spare_eligible(struct ksm_slot *slot,
			       struct vm_area_struct *vma)
{
	return ksm_vma_eligible(ksm_slot_policy(slot), vma);
}

/*
 * Unshare with @fn what a slot may not have merged, from @at on. @all: also
 * what the process withheld after it was merged. Returns 0; -ENOMEM; -EAGAIN if
 * mmap_lock is busy; -EINTR if a signal ended it.
 */
static int ksm_undo_merged(struct ksm_slot *slot, ksm_range_fn fn, bool all,
			   struct ksm_undo_at *at)
{
	ksm_spare_fn spare = NULL;
	int err;

	if (!at->addr)
		at->narrowed = ksm_slot_narrowed(slot);
	/* page tables do not tell which mappings are foreign */
	if (!READ_ONCE(slot->books.gauge[KSM_G_FOREIGN]) &&
	    READ_ONCE(slot->queue.state) == KSM_SLOT_ACTIVE &&
	    READ_ONCE(ksm_knobs.run) != KSM_RUN_UNMERGE) {
		bool narrowed = ksm_slot_is_narrowed(slot);

		if (!all && !narrowed && !ksm_books_pending(slot))
			return 0;
		/* a slice that began before may still merge what it saw */
		if (narrowed)
			ksm_track_sync(slot);
		spare = ksm_spare_eligible;
	}
	err = ksm_unshare_from(slot, spare, fn, &at->addr);
	/* what was mapped meanwhile is unshared the next time */
	if (!err) {
		at->addr = 0;
		ksm_slot_undone(slot, at->narrowed);
	}
	return err;
}

/* ------------------------------------------------------------- the worker */

/* Have the frames reviewed that the slot brought from another group. */
static int ksm_undo_review(struct ksm_slot *slot)
{
	unsigned int moves = READ_ONCE(slot->books.moves);
	/* from the start, as the slot may have moved again */
	unsigned long addr = 0;
	int err = 0;

	if (moves == READ_ONCE(slot->books.moves_seen))
		return 0;
	if (READ_ONCE(slot->books.gauge[KSM_G_MERGING]))
		err = ksm_undo_ranges(slot, NULL, ksm_review_range, &addr);
	/* of an exiting mm, each unmapping has its frame reviewed */
	if (!err && ksm_mm_live(slot->mm))
		WRITE_ONCE(slot->books.moves_seen, moves);
	return err;
}

/*
 * Unshare what is pending in a slot, and have its frames reviewed if they may
 * have lost their payer. @at: where to resume.
 */
static int ksm_undo_slot(struct ksm_slot *slot, struct ksm_undo_at *at)
{
	struct ksm_slot_books *books = &slot->books;
	int err;

	err = ksm_undo_merged(slot, ksm_unshare_whole, false, at);
	if (!err)
		err = ksm_undo_review(slot);
	if (!err && (READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE ||
		     READ_ONCE(slot->track.domain) != READ_ONCE(books->domain)))
		ksm_track_drop(slot);
	return err;
}

#ifdef CONFIG_MEMCG
static void ksm_undo_by_owner(struct callback_head *work)
{
	struct ksm_slot *slot = container_of(work, struct ksm_slot, undo.work);
	struct ksm_undo_at at = {};

	if (current->mm == slot->mm &&
	    READ_ONCE(slot->queue.state) != KSM_SLOT_DEAD)
		ksm_undo_slot(slot, &at);
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
 * Have the owner unshare, and reclaim, before it returns to user space. The
 * first request interrupts system calls, as the owner may sleep for long. Later
 * ones do not: while a cgroup stays full, each retry would interrupt them.
 */
static void ksm_undo_ask_owner(struct ksm_slot *slot)
{
	enum task_work_notify_mode mode = READ_ONCE(slot->undo.delay) ?
					  TWA_RESUME : TWA_SIGNAL;
	struct task_struct *task;

	rcu_read_lock();
	task = rcu_dereference(slot->mm->owner);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return;
	if (ksm_undo_claim_work(slot) &&
	    task_work_add(task, &slot->undo.work, mode)) {
		spin_lock(&ksm_lock);
		slot->undo.work.func = NULL;
		spin_unlock(&ksm_lock);
		ksm_slot_put(slot);
	}
	put_task_struct(task);
}
#else
static void ksm_undo_ask_owner(struct ksm_slot *slot)
{
}
#endif

/* Queue the slots that are due. Returns the delay to the next one, or -1. */
static long ksm_undo_resume(void)
{
	struct ksm_slot *slot, *next;
	long left, delay = -1;

	spin_lock(&ksm_lock);
	list_for_each_entry_safe(slot, next, &ksm_undo_later, undo.link) {
		left = slot->undo.due - jiffies;
		if (left <= 0)
			list_move_tail(&slot->undo.link, &ksm_undo_slots);
		else if (delay < 0 || left < delay)
			delay = left;
	}
	if (!list_empty(&ksm_undo_slots))
		delay = 0;
	spin_unlock(&ksm_lock);
	return delay;
}

static struct ksm_slot *ksm_undo_first(void)
{
	struct ksm_slot *slot;

	spin_lock(&ksm_lock);
	slot = list_first_entry_or_null(&ksm_undo_slots, struct ksm_slot,
					undo.link);
	if (slot)
		list_del_init(&slot->undo.link);
	spin_unlock(&ksm_lock);
	return slot;
}

/* Finish an attempt: back off after a failure, else drop the reference. */
static void ksm_undo_ended(struct ksm_slot *slot, bool failed, bool progress)
{
	struct ksm_slot_undo *undo = &slot->undo;

	spin_lock(&ksm_lock);
	undo->failing = failed && slot->queue.state != KSM_SLOT_DEAD &&
			list_empty(&undo->link);
	if (!failed || progress)
		undo->delay = 0;
	if (undo->failing) {
		undo->delay = clamp(2 * undo->delay, KSM_UNDO_DELAY,
				    KSM_UNDO_DELAY_MAX);
		undo->due = jiffies + undo->delay;
		list_add_tail(&undo->link, &ksm_undo_later);
		slot = NULL;
	}
	spin_unlock(&ksm_lock);
	if (slot)
		ksm_slot_put(slot);
}

static void ksm_undo_work_fn(struct work_struct *work)
{
	struct ksm_slot *slot;
	long delay;

	ksm_undo_resume();
	while ((slot = ksm_undo_first())) {
		long left = READ_ONCE(slot->books.gauge[KSM_G_PENDING]), now;
		int err = ksm_undo_slot(slot, &slot->undo.at);

		now = READ_ONCE(slot->books.gauge[KSM_G_PENDING]);
		if (err)
			ksm_undo_ask_owner(slot);
		ksm_undo_ended(slot, err || now, now < left);
		cond_resched();
	}
	delay = ksm_undo_resume();
	if (delay >= 0)
		queue_delayed_work(system_unbound_wq, &ksm_undo_work, delay);
}

void __init ksm_undo_init(void)
{
	INIT_DELAYED_WORK(&ksm_undo_work, ksm_undo_work_fn);
}

/* ----------------------------------------------------------------- writes */

/**
 * struct ksm_undo_write - a write that takes merging away, on its stack
 * @top: the group that it was written to
 * @err: the last error after which the walk went on
 */
struct ksm_undo_write {
	struct ksm_group *top;
	int err;
};

/*
 * Unshare what the slot may not have under the present configuration. ENOMEM in
 * one slot does not end the walk, as other cgroups may have memory.
 */
static int ksm_undo_for_write(struct ksm_slot *slot, void *arg)
{
	struct ksm_undo_write *write = arg;
	struct ksm_undo_at at = {};
	int err;

	if (signal_pending(current))
		return -EINTR;
	if (ksm_group_dying(write->top))
		return -ENODEV;
	/* one that is being forked gets its mappings later, and is judged then */
	if (READ_ONCE(slot->queue.state) == KSM_SLOT_NEW)
		return 0;
	err = ksm_undo_merged(slot, ksm_unshare_piece, true, &at);
	/* an exiting writer does not wait for a busy mmap_lock */
	if (err == -EINTR || err == -EAGAIN)
		return -EINTR;
	if (err)
		write->err = err;
	else if (READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE ||
		 READ_ONCE(ksm_knobs.run) == KSM_RUN_UNMERGE)
		ksm_track_drop(slot);
	cond_resched();
	return 0;
}

/**
 * ksm_group_undo - unshare what a new configuration takes away
 * @top: the group whose configuration changed
 *
 * What is left after an error is pending, and the worker's.
 *
 * Context: sleeps; ksm_domains_sync() has followed its publication.
 * Return: 0; -ENOMEM; -EINTR on a signal; -ENODEV if the cgroup goes.
 */
int ksm_group_undo(struct ksm_group *top)
{
	struct ksm_undo_write write = { .top = top };
	int err;

	err = ksm_slots_walk(top, ksm_undo_for_write, &write);
	return err ?: write.err;
}

/**
 * ksm_unmerge_all - unshare everything and forget everything
 *
 * Context: sleeps; the scanner does not run, see ksm_knobs.run.
 * Return: as ksm_group_undo().
 */
int ksm_unmerge_all(void)
{
	int err = ksm_group_undo(&ksm_root_group);

	ksm_review_flush();
	ksm_pool_drain();
	return err;
}
