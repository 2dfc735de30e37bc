// SPDX-License-Identifier: GPL-2.0
/*
 * Undoing merging in whole processes.
 *
 * Slots that map frames of another domain, and slots that no longer take part,
 * are queued (slot.c) for a worker, which unshares what is merged in them
 * whatever the scanner does, and retries a little later if that failed. A write
 * that takes merging away, and run=2, unshare in all slots themselves, so that
 * they can return an error.
 *
 * The worker does not wait for an mmap_lock, as a process can keep it for as
 * long as it likes. If a process keeps its mmap_lock busy, task work has it
 * unshare its own memory before it returns to user space, at its own cost.
 */
#include <linux/delay.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "ksm.h"

/* Pages to unshare between two checks whether mmap_lock is contended. */
#define KSM_UNDO_PAGES		2048
#define KSM_UNDO_RETRY		(HZ / 10)
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
			nr += KSM_CATCH_TABLE *
			      DIV_ROUND_UP(stop - start, PMD_SIZE);
		}
		*addr = stop;
	} while (!err && ++nr < KSM_CATCH_WORK &&
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

/*
 * Unshare what is merged in a process, except in VMAs that @spare spares.
 * Returns 0; -ENOMEM; -EINTR if a signal ended it.
 */
static int ksm_unshare_mm(struct ksm_slot *slot, ksm_spare_fn spare)
{
	unsigned long addr = 0;

	return ksm_unshare_from(slot, spare, ksm_unshare_piece, &addr);
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
 * Unshare a slot that has foreign mappings or takes no part any more; have its
 * frames reviewed if they may have lost their payer. @addr: where to resume.
 */
static int ksm_undo_slot(struct ksm_slot *slot, unsigned long *addr)
{
	struct ksm_slot_books *books = &slot->books;
	int err = 0;

	/* everything: page tables do not tell which mappings are foreign */
	if (READ_ONCE(books->gauge[KSM_G_FOREIGN]) ||
	    READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE)
		err = ksm_unshare_from(slot, NULL, ksm_unshare_whole, addr);
	/* mappings that came meanwhile are unshared the next time */
	if (!err)
		*addr = 0;
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
	unsigned long addr = 0;

	if (current->mm == slot->mm &&
	    READ_ONCE(slot->queue.state) != KSM_SLOT_DEAD)
		ksm_undo_slot(slot, &addr);
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

/* Have the owner of a busy mm unshare before it returns to user space. */
static void ksm_undo_ask_owner(struct ksm_slot *slot)
{
	struct task_struct *task;

	rcu_read_lock();
	task = rcu_dereference(slot->mm->owner);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return;
	if (ksm_undo_claim_work(slot) &&
	    task_work_add(task, &slot->undo.work, TWA_SIGNAL)) {
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

static void ksm_undo_work_fn(struct work_struct *work)
{
	struct ksm_slot *slot;
	LIST_HEAD(again);

	while ((slot = ksm_undo_first())) {
		int err = ksm_undo_slot(slot, &slot->undo.addr);

		if (err == -EAGAIN)
			ksm_undo_ask_owner(slot);
		spin_lock(&ksm_lock);
		slot->undo.failing =
			slot->queue.state != KSM_SLOT_DEAD &&
			(err || READ_ONCE(slot->books.gauge[KSM_G_FOREIGN]));
		if (slot->undo.failing && list_empty(&slot->undo.link)) {
			list_add(&slot->undo.link, &again);
			slot = NULL;
		}
		spin_unlock(&ksm_lock);
		if (slot)
			ksm_slot_put(slot);
	}

	spin_lock(&ksm_lock);
	if (!list_empty(&again)) {
		list_splice(&again, &ksm_undo_slots);
		mod_delayed_work(system_unbound_wq, &ksm_undo_work,
				 KSM_UNDO_RETRY);
	}
	spin_unlock(&ksm_lock);
}

void __init ksm_undo_init(void)
{
	INIT_DELAYED_WORK(&ksm_undo_work, ksm_undo_work_fn);
}

/* ----------------------------------------------------------------- writes */

static bool ksm_spare_eligible(struct ksm_slot *slot,
			       struct vm_area_struct *vma)
{
	return ksm_vma_eligible(ksm_slot_policy(slot), vma);
}

/* Unshare what the slot may not have under the present configuration. */
static int ksm_undo_for_write(struct ksm_slot *slot, void *arg)
{
	struct ksm_group *top = arg;
	bool foreign;
	int err;

	if (signal_pending(current))
		return -EINTR;
	if (ksm_group_dying(top))
		return -ENODEV;
	foreign = READ_ONCE(slot->books.gauge[KSM_G_FOREIGN]);
	err = ksm_unshare_mm(slot, foreign ? NULL : ksm_spare_eligible);
	if (!err && READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE)
		ksm_track_drop(slot);
	cond_resched();
	return err;
}

/**
 * ksm_group_undo - unshare what a new configuration takes away
 * @top: the group whose configuration changed
 *
 * Context: sleeps; ksm_domains_sync() has followed its publication.
 * Return: 0; -ENOMEM; -EINTR on a signal; -ENODEV if the cgroup goes.
 */
int ksm_group_undo(struct ksm_group *top)
{
	return ksm_slots_walk(top, ksm_undo_for_write, top);
}

static int ksm_unmerge_slot(struct ksm_slot *slot, void *arg)
{
	int err = ksm_unshare_mm(slot, NULL);

	if (!err)
		ksm_track_drop(slot);
	return err;
}

/**
 * ksm_unmerge_all - unshare everything and forget everything
 *
 * Context: sleeps; the scanner does not run, see ksm_knobs.run.
 * Return: 0, -ENOMEM or -EINTR.
 */
int ksm_unmerge_all(void)
{
	int err = ksm_slots_walk(&ksm_root_group, ksm_unmerge_slot, NULL);

	ksm_review_flush();
	ksm_pool_drain();
	return err;
}
