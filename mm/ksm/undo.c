// SPDX-License-Identifier: GPL-2.0
/*
 * Undoing merging in whole processes.
 *
 * A write that takes merging away, and run=2, unshare in all slots themselves,
 * so they can return an error and reclaim where a cgroup is full. The worker in
 * undo-work.c does the rest.
 */
#include <linux/delay.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "ksm.h"

/* Pages to unshare between two checks whether mmap_lock is contended. */
#define KSM_UNDO_PAGES		256
/* How often a busy mmap_lock is tried, at intervals of 50 to 200 us. */
#define KSM_CATCH_TRIES		25
/* How long a write waits for busy mmap_locks, all processes taken together. */
#define KSM_WRITE_PATIENCE	(2 * HZ)
/* Work under one mmap_lock: 1 for each VMA, 100 for each piece. */
#define KSM_CATCH_WORK		1000
#define KSM_CATCH_TABLE		100

/*
 * Work in cache lines. Unsharing a page reads one page and writes another; the
 * allocation and the charge cost about as much again. Reviewing a mapping reads
 * its entry, folio and frame, and queues the frame.
 */
#define KSM_UNDO_PAGE		(4 * KSM_PAGE_CACHELINES)
#define KSM_UNDO_REVIEW		4

/* Which VMAs to leave as they are, or NULL. */
typedef bool (*ksm_spare_fn)(struct ksm_slot *slot, struct vm_area_struct *vma);
/* What to do to a range, with mmap_lock held. */
typedef int (*ksm_range_fn)(struct vm_area_struct *vma, unsigned long start,
			    unsigned long end, const struct ksm_undo_at *at);

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

/* May a signal end the work of the current task here? */
static bool ksm_undo_killable(void)
{
	return !(current->flags & (PF_KTHREAD | PF_EXITING));
}

/*
 * Take an mmap_lock. That of another process is only tried: the process may
 * keep changing its mappings, or be throttled while it holds the lock.
 */
static int ksm_undo_lock(struct mm_struct *mm, struct ksm_undo_at *at)
{
	bool killable = ksm_undo_killable();
	unsigned long patience = at->patience;
	unsigned long start = jiffies;
	int tries = at->nowait ? 0 : KSM_CATCH_TRIES;

	/* task work runs before a fatal signal is delivered */
	if (killable && fatal_signal_pending(current))
		return -EINTR;
	if (killable && mm == current->mm)
		return mmap_read_lock_killable(mm);
	while (!mmap_read_trylock(mm)) {
		at->patience = patience - min(jiffies - start, patience);
		if (tries <= 0 && !at->patience)
			return -EAGAIN;
		if (killable && signal_pending(current))
			return -EINTR;
		if (tries-- > 0)
			usleep_range(50, 200);
		else
			usleep_range(1000, 2000);
	}
	return 0;
}

/* Mappings that unsharing would replace. */
static long ksm_slot_mappings(struct ksm_slot *slot)
{
	return READ_ONCE(slot->books.gauge[KSM_G_MERGING]) +
	       READ_ONCE(slot->books.gauge[KSM_G_ZERO]);
}

static int ksm_unshare_piece(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end, const struct ksm_undo_at *at)
{
	return ksm_unshare_range(vma, start, end, at->flags);
}

static int ksm_review_piece(struct vm_area_struct *vma, unsigned long start,
			    unsigned long end, const struct ksm_undo_at *at)
{
	return ksm_review_range(vma, start, end);
}

/* Do something to a piece of memory, and count the work. */
static int ksm_undo_piece(struct ksm_slot *slot, struct vm_area_struct *vma,
			  unsigned long start, unsigned long end,
			  ksm_range_fn fn, struct ksm_undo_at *at)
{
	unsigned long pages = (end - start) >> PAGE_SHIFT;
	long before = ksm_slot_mappings(slot), gone;
	int err = fn(vma, start, end, at);

	at->work += DIV_ROUND_UP(pages, KSM_WALK_ENTRIES);
	if (fn == ksm_review_piece) {
		at->work += clamp(before, 0L, (long)pages) * KSM_UNDO_REVIEW;
	} else {
		gone = clamp(before - ksm_slot_mappings(slot), 0L, (long)pages);
		at->unshared += gone;
		at->work += gone * KSM_UNDO_PAGE;
	}
	return err;
}

/*
 * Some of a process's memory, under mmap_lock; @addr: where to resume. VMAs
 * that are skipped count as work, too.
 */
static int ksm_undo_some(struct ksm_slot *slot, ksm_spare_fn spare,
			 ksm_range_fn fn, struct ksm_undo_at *at,
			 unsigned long *addr, bool *end)
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
		at->work++;
		start = max(*addr, vma->vm_start);
		stop = vma->vm_end;
		if (vma->anon_vma && !(spare && spare(slot, vma))) {
			stop = min(stop, start + KSM_UNDO_PAGES * PAGE_SIZE);
			err = ksm_undo_piece(slot, vma, start, stop, fn, at);
			/* the next attempt begins with the piece that failed */
			if (err)
				break;
			nr += KSM_CATCH_TABLE;
		}
		*addr = stop;
		if (at->limit && at->work >= at->limit)
			break;
	} while (++nr < KSM_CATCH_WORK &&
		 (nr < KSM_CATCH_TABLE || !mmap_lock_is_contended(mm)));
	return err;
}

/*
 * Call a function for all of a process's anonymous memory from @addr on, piece
 * by piece; mmap_lock is dropped now and then. Returns -EINPROGRESS when the
 * turn is over.
 */
static int ksm_undo_ranges(struct ksm_slot *slot, ksm_spare_fn spare,
			   ksm_range_fn fn, struct ksm_undo_at *at,
			   unsigned long *addr)
{
	struct mm_struct *mm = slot->mm;
	bool end = false;
	int err = 0;

	while (!err && !end) {
		err = ksm_undo_lock(mm, at);
		if (err)
			return err;
		err = ksm_undo_some(slot, spare, fn, at, addr, &end);
		mmap_read_unlock(mm);
		cond_resched();
		if (!err && !end && at->limit && at->work >= at->limit)
			err = -EINPROGRESS;
	}
	return err;
}

static int ksm_unshare_from(struct ksm_slot *slot, ksm_spare_fn spare,
			    struct ksm_undo_at *at)
{
	int err;

	if (!ksm_slot_merged(slot))
		return 0;
	err = ksm_undo_ranges(slot, spare, ksm_unshare_piece, at, &at->addr);
	ksm_drain_later();
	return err;
}

static bool ksm_spare_eligible(struct ksm_slot *slot,
			       struct vm_area_struct *vma)
{
	return ksm_vma_eligible(ksm_slot_policy(slot), vma);
}

/* Is all that is merged in a slot to be unshared, eligible or not? */
static bool ksm_undo_whole(struct ksm_slot *slot)
{
	return READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE ||
	       READ_ONCE(ksm_knobs.run) == KSM_RUN_UNMERGE;
}

/*
 * Unshare what a slot may not have merged, from @at on. @all: also what the
 * process withheld after it was merged. Returns 0; -ENOMEM; -EAGAIN if
 * mmap_lock is busy; -EINTR if a signal ended it; -EINPROGRESS at its limit.
 */
static int ksm_undo_merged(struct ksm_slot *slot, bool all,
			   struct ksm_undo_at *at)
{
	ksm_spare_fn spare = NULL;
	int err;

	if (!at->addr)
		at->narrowed = ksm_slot_narrowed(slot);
	/* page tables do not tell which mappings are foreign */
	if (!READ_ONCE(slot->books.gauge[KSM_G_FOREIGN]) &&
	    !ksm_undo_whole(slot)) {
		bool narrowed = ksm_slot_is_narrowed(slot);

		if (!all && !narrowed && !ksm_books_pending(slot)) {
			at->addr = 0;
			return 0;
		}
		/* a slice that began before may still merge what it saw */
		if (narrowed)
			ksm_track_sync(slot);
		spare = ksm_spare_eligible;
	}
	err = ksm_unshare_from(slot, spare, at);
	if (err)
		return err;
	at->addr = 0;
	/* what was mapped meanwhile is unshared the next time */
	if (!(at->flags & KSM_UNSHARE_BORROWED))
		ksm_slot_undone(slot, at->narrowed);
	return 0;
}

/**
 * ksm_undo_pending - unshare what is pending in a slot
 * @slot: the slot
 * @at: where to resume, and where to stop
 *
 * Borrowed frames come first, as in ksm_group_undo(): otherwise a write that
 * follows would find the memory spent on the cgroup's own. Signals do not end
 * it; a fatal one tears the mm down anyway.
 *
 * Context: sleeps.
 * Return: 0; -ENOMEM; -EAGAIN or -ENOLCK if a lock is busy; -EINTR if a signal
 * ended the wait for mmap_lock; -EINPROGRESS at the limit.
 */
int ksm_undo_pending(struct ksm_slot *slot, struct ksm_undo_at *at)
{
	int err;

	if (!at->borrowed_done) {
		at->flags = KSM_UNSHARE_BORROWED;
		err = ksm_undo_merged(slot, false, at);
		if (err)
			return err;
		at->borrowed_done = true;
	}
	at->flags = 0;
	err = ksm_undo_merged(slot, false, at);
	if (!err)
		at->borrowed_done = false;
	return err;
}

/**
 * ksm_undo_review - have all frames reviewed that a slot maps
 * @slot: the slot
 * @at: where to resume, and where to stop
 *
 * Context: sleeps.
 * Return: 0, -EAGAIN, -EINTR or -EINPROGRESS, as above.
 */
int ksm_undo_review(struct ksm_slot *slot, struct ksm_undo_at *at)
{
	if (!READ_ONCE(slot->books.gauge[KSM_G_MERGING]))
		return 0;
	return ksm_undo_ranges(slot, NULL, ksm_review_piece, at, &at->review);
}

/**
 * ksm_undo_drop - forget what is remembered of a slot
 * @slot: the slot
 * @at: its work is raised, in proportion to the memory that is freed
 *
 * Context: sleeps.
 */
void ksm_undo_drop(struct ksm_slot *slot, struct ksm_undo_at *at)
{
	long bytes = READ_ONCE(slot->books.gauge[KSM_G_METADATA]);

	ksm_track_drop(slot);
	bytes -= READ_ONCE(slot->books.gauge[KSM_G_METADATA]);
	at->work += max(bytes, 0L) / KSM_CACHELINE;
}

/* ----------------------------------------------------------------- writes */

/**
 * struct ksm_undo_write - a write that takes merging away, on its stack
 * @top: the group that it was written to
 * @synced: the domain that was waited for last, so no slice of it began before
 *	the write; with a reference
 * @borrowed: this walk unshares only borrowed frames
 * @patience: jiffies that remain to wait for busy mmap_locks
 * @err: the last error after which the walk went on
 */
struct ksm_undo_write {
	struct ksm_group *top;
	struct ksm_domain *synced;
	bool borrowed;
	unsigned long patience;
	int err;
};

/*
 * Unshare what the slot may not have under the present configuration. ENOMEM or
 * a busy mmap_lock in one slot does not end the walk: the other slots are not
 * affected.
 */
static int ksm_undo_for_write(struct ksm_slot *slot, void *arg)
{
	struct ksm_undo_write *write = arg;
	struct ksm_undo_at at = { .patience = write->patience };
	bool known;
	int err;

	if (signal_pending(current))
		return -EINTR;
	if (ksm_group_dying(write->top))
		return -ENODEV;
	/* one that is being forked gets its mappings, and is judged, later */
	if (READ_ONCE(slot->queue.state) == KSM_SLOT_NEW)
		return 0;
	ksm_track_sync_unless(slot, &write->synced);
	at.nowait = !at.patience;
	at.flags = (ksm_undo_killable() ? KSM_UNSHARE_SIGNAL : 0) |
		   (write->borrowed ? KSM_UNSHARE_BORROWED : 0);
	err = ksm_undo_merged(slot, !write->borrowed, &at);
	write->patience = at.patience;
	if (err == -EINTR)
		return err;
	/* nothing is known that this slot would have to unshare: no failure */
	known = ksm_books_pending(slot) || ksm_slot_is_narrowed(slot);
	/* the worker looks for what the process withheld, behind it as well */
	if (err && !write->borrowed && !ksm_undo_whole(slot))
		ksm_slot_narrow(slot);
	if (err == -EAGAIN && !known)
		err = 0;
	if (err && write->err != -ENOMEM)
		write->err = err == -EAGAIN ? -EBUSY : err;
	else if (!err && !write->borrowed && ksm_undo_whole(slot))
		ksm_track_drop(slot);
	cond_resched();
	return 0;
}

/**
 * ksm_group_undo - unshare what a new configuration takes away
 * @top: the group whose configuration changed
 *
 * Borrowed frames, those that another cgroup is charged for, come first: if
 * memory runs out, what stays merged is shared within the cgroup that pays, as
 * far as possible. After an error the rest is pending and left to the worker.
 *
 * Context: sleeps; the configuration is published.
 * Return: 0; -ENOMEM; -EINTR on a signal; -EBUSY if an mmap_lock stayed busy;
 * -ENODEV if the cgroup goes.
 */
int ksm_group_undo(struct ksm_group *top)
{
	struct ksm_undo_write write = {
		.top = top,
		.borrowed = true,
	};
	int err;

	/* pairs with ksm_track_enter() */
	smp_mb();
	err = ksm_slots_walk(top, ksm_undo_for_write, &write);
	if (!err) {
		write.borrowed = false;
		write.patience = KSM_WRITE_PATIENCE;
		write.err = 0;
		err = ksm_slots_walk(top, ksm_undo_for_write, &write);
	}
	if (write.synced)
		ksm_domain_put(write.synced);
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
