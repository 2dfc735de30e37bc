// SPDX-License-Identifier: GPL-2.0
/*
 * From a merged frame back to the page tables that map it.
 *
 * An ordinary anonymous folio belongs to one anon_vma, a merged one to any
 * number. So every mapping that the scanner makes or finds gets a record of its
 * anon_vma and its offset there. The record is allocated before the mapping is
 * made. Mappings that fork makes are found through the parent's record, as the
 * child's VMA is in the parent's anon_vma too. When the parent's mapping goes
 * and such relatives remain, its record stays with the frame as an orphan, see
 * orphan.c.
 *
 * Records may be out of date: rmap_one() checks the page table.
 *
 * The scan never waits here. A record is added under the domain's mutex alone,
 * which does not disturb walkers; it is removed with the walkers' semaphore
 * held for writing, so a removed record needs no grace period. The scan only
 * tries to take that: a record that it cannot remove is left to the worker in
 * review.c.
 */
#include <linux/rbtree.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "scan.h"

/* Records and VMAs to look at to tell whether a frame is pending. */
#define KSM_PENDING_LOOKS	256

/* ---------------------------------------------------------------- records */

/**
 * ksm_rec_prepare - allocate the record of a mapping that is to be made
 * @scan: the scan
 * @slot: the slot
 * @kp: where
 *
 * The record of an earlier mapping there is deleted.
 *
 * Context: domain->mutex, mmap_lock of the slot's mm. Does not sleep.
 * Return: what ksm_rec_commit() or ksm_rec_cancel() takes; NULL without memory.
 */
struct ksm_rec *ksm_rec_prepare(struct ksm_scan *scan, struct ksm_slot *slot,
				struct ksm_page *kp)
{
	struct ksm_rec *rec;

	ksm_rec_del(scan, slot, kp->addr);
	rec = kmem_cache_alloc(ksm_rec_cache, KSM_GFP_MERGE);
	if (!rec)
		return NULL;
	if (!xa_reserve(&slot->track.recs, kp->addr >> PAGE_SHIFT,
			KSM_GFP_MERGE))
		return rec;
	kmem_cache_free(ksm_rec_cache, rec);
	return NULL;
}

/**
 * ksm_rec_cancel - the mapping was not made
 * @slot: the slot
 * @kp: where
 * @rec: from ksm_rec_prepare()
 *
 * Context: domain->mutex, since ksm_rec_prepare().
 */
void ksm_rec_cancel(struct ksm_slot *slot, struct ksm_page *kp,
		    struct ksm_rec *rec)
{
	xa_release(&slot->track.recs, kp->addr >> PAGE_SHIFT);
	kmem_cache_free(ksm_rec_cache, rec);
}

/**
 * ksm_rec_commit - record that a slot maps a frame
 * @scan: the scan
 * @slot: the slot
 * @kp: where
 * @frame: the frame
 * @rec: from ksm_rec_prepare()
 *
 * Context: domain->mutex, since ksm_rec_prepare(); the frame's folio is locked,
 * or mapped by the slot. Does not sleep.
 */
void ksm_rec_commit(struct ksm_scan *scan, struct ksm_slot *slot,
		    struct ksm_page *kp, struct ksm_frame *frame,
		    struct ksm_rec *rec)
{
	struct xarray *recs = &slot->track.recs;
	long bytes = sizeof(*rec) + ksm_array_bytes(recs, kp->addr, PAGE_SHIFT);

	rec->frame = frame;
	rec->anon_vma = kp->vma->anon_vma;
	rec->pgoff = linear_page_index(kp->vma, kp->addr);
	get_anon_vma(rec->anon_vma);
	/* reserved, so this allocates nothing */
	xa_store(recs, kp->addr >> PAGE_SHIFT, rec, 0);
	/* concurrent walkers see the record initialized or not at all */
	hlist_add_head_rcu(&rec->link, &frame->recs);
	ksm_slot_mod(slot, KSM_G_METADATA, bytes);
	scan->work += KSM_REC_CACHELINES;
	/* an orphan may no longer be needed, or a new payer be found */
	ksm_frame_changed(frame);
}

/**
 * ksm_rec_add - record that a slot maps a frame already
 * @scan: the scan
 * @slot: the slot
 * @kp: where
 * @frame: the frame
 *
 * Context: domain->mutex, mmap_lock of the slot's mm; the frame's folio is
 * locked, or mapped by the slot. Does not sleep.
 * Return: false without memory; the mapping then gets its record at the next
 * visit.
 */
bool ksm_rec_add(struct ksm_scan *scan, struct ksm_slot *slot,
		 struct ksm_page *kp, struct ksm_frame *frame)
{
	struct ksm_rec *rec = xa_load(&slot->track.recs,
				      kp->addr >> PAGE_SHIFT);

	if (rec && rec->frame == frame && rec->anon_vma == kp->vma->anon_vma)
		return true;
	rec = ksm_rec_prepare(scan, slot, kp);
	if (!rec)
		return false;
	ksm_rec_commit(scan, slot, kp, frame, rec);
	return true;
}

/**
 * ksm_rec_del - delete the record of a slot's mapping
 * @scan: the scan
 * @slot: the slot
 * @addr: where
 *
 * Context: domain->mutex. Does not sleep.
 */
void ksm_rec_del(struct ksm_scan *scan, struct ksm_slot *slot,
		 unsigned long addr)
{
	struct ksm_rec *rec = xa_erase(&slot->track.recs, addr >> PAGE_SHIFT);
	unsigned long work = KSM_REC_CACHELINES;
	bool unlinked = true;

	if (!rec)
		return;
	ksm_slot_mod(slot, KSM_G_METADATA, -(long)sizeof(*rec) -
		     ksm_array_bytes(&slot->track.recs, addr, PAGE_SHIFT));
	if (rec->frame) {
		trace_ksm_remove_rmap_item(slot, READ_ONCE(rec->frame->pfn),
					   rec, slot->mm);
		unlinked = ksm_rec_unlink(rec, slot, &work);
	}
	scan->work += work;
	if (unlinked)
		hlist_add_head(&rec->link, &scan->dead_recs);
}

/* ---------------------------------------------------------------- walking */

/* Call a function for each record; the semaphore is held. */
static void ksm_recs_walk(struct ksm_frame *frame, ksm_rec_fn fn, void *arg)
{
	struct rb_node *node;
	struct ksm_rec *rec;

	hlist_for_each_entry_rcu(rec, &frame->recs, link,
				 lockdep_is_held(ksm_frame_sem(frame))) {
		if (!fn(rec, arg))
			return;
	}
	for (node = rb_first(&frame->orphans); node; node = rb_next(node)) {
		if (!fn(rb_entry(node, struct ksm_rec, orphan), arg))
			return;
	}
}

/**
 * ksm_rmap_for_each - call a function for every record of a frame
 * @frame: the frame
 * @fn: the function; false ends the walk
 * @arg: its argument
 *
 * Context: the folio is locked; sleeps.
 */
void ksm_rmap_for_each(struct ksm_frame *frame, ksm_rec_fn fn, void *arg)
{
	struct rw_semaphore *sem = ksm_frame_sem(frame);

	down_read(sem);
	ksm_recs_walk(frame, fn, arg);
	up_read(sem);
}

/**
 * struct ksm_rmap - a walk over the mappings of a frame, on the stack
 * @folio: the frame's folio, locked
 * @rwc: what to do there
 * @looks: how many more records and VMAs to look at
 */
struct ksm_rmap {
	struct folio *folio;
	struct rmap_walk_control *rwc;
	unsigned long looks;
};

/* Visit a VMA that a record leads to; false ends the walk. */
static bool ksm_rmap_vma(struct ksm_rmap *walk, struct vm_area_struct *vma,
			 pgoff_t pgoff)
{
	struct rmap_walk_control *rwc = walk->rwc;
	unsigned long addr = vma_address(vma, pgoff, 1);

	if (!walk->looks)
		return false;
	walk->looks--;
	/* a walk that only tries may come from a step of demand.c */
	if (!rwc->try_lock)
		cond_resched();
	if (addr == -EFAULT ||
	    (rwc->invalid_vma && rwc->invalid_vma(vma, rwc->arg)))
		return true;
	return rwc->rmap_one(walk->folio, vma, addr, rwc->arg) &&
	       !(rwc->done && rwc->done(walk->folio));
}

static bool ksm_rmap_rec(struct ksm_rec *rec, void *arg)
{
	struct anon_vma *anon_vma = rec->anon_vma;
	struct anon_vma_chain *avc;
	struct ksm_rmap *walk = arg;
	bool go_on = true;

	if (!walk->looks)
		return false;
	walk->looks--;
	if (!anon_vma_trylock_read(anon_vma)) {
		if (walk->rwc->try_lock) {
			walk->rwc->contended = true;
			return false;
		}
		anon_vma_lock_read(anon_vma);
	}
	anon_vma_interval_tree_foreach(avc, &anon_vma->rb_root, rec->pgoff,
				       rec->pgoff) {
		go_on = ksm_rmap_vma(walk, avc->vma, rec->pgoff);
		if (!go_on)
			break;
	}
	anon_vma_unlock_read(anon_vma);
	return go_on;
}

/* As ksm_rmap_walk(), over a bounded part; returns the number of looks. */
static unsigned long ksm_rmap_walk_part(struct folio *folio,
					struct rmap_walk_control *rwc,
					unsigned long looks)
{
	struct ksm_frame *frame = ksm_folio_frame(folio);
	struct ksm_rmap walk = {
		.folio = folio,
		.rwc = rwc,
		.looks = looks,
	};
	struct rw_semaphore *sem;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!frame)
		return 0;
	sem = ksm_frame_sem(frame);
	if (!down_read_trylock(sem)) {
		if (rwc->try_lock) {
			rwc->contended = true;
			return 0;
		}
		down_read(sem);
	}
	ksm_recs_walk(frame, ksm_rmap_rec, &walk);
	up_read(sem);
	return looks - walk.looks;
}

/**
 * ksm_rmap_walk - visit the mappings of a merged folio
 * @folio: the folio, locked
 * @rwc: what to do there
 *
 * Context: sleeps, unless @rwc says to try.
 * Return: the number of records and VMAs that were looked at.
 */
unsigned long ksm_rmap_walk(struct folio *folio, struct rmap_walk_control *rwc)
{
	return ksm_rmap_walk_part(folio, rwc, ULONG_MAX);
}

/* @arg: set to true if the VMA's slot is pending */
static bool ksm_pending_one(struct folio *folio, struct vm_area_struct *vma,
			    unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	bool *pending = arg;

	while (page_vma_mapped_walk(&pvmw)) {
		/* the page table lock keeps the mapping, and that the slot */
		*pending = ksm_books_pending(vma->vm_mm->ksm);
	}
	return !*pending;
}

/**
 * ksm_frame_pending - does a pending slot map a frame?
 * @scan: the scan
 * @frame: the frame
 * @folio: its folio, locked
 *
 * No page is merged into such a frame, as it would share with a process in
 * which merging has ended.
 *
 * Context: frame->domain->mutex; does not sleep.
 * Return: true if so, or if the reverse map is contended or long.
 */
bool ksm_frame_pending(struct ksm_scan *scan, struct ksm_frame *frame,
		       struct folio *folio)
{
	bool pending = false;
	struct rmap_walk_control rwc = {
		.rmap_one = ksm_pending_one,
		.arg = &pending,
		.try_lock = true,
	};
	unsigned long looks;

	if (!ksm_domain_pending(frame->domain))
		return false;
	looks = ksm_rmap_walk_part(folio, &rwc, KSM_PENDING_LOOKS);
	scan->work += looks * KSM_LOOK_CACHELINES;
	return pending || rwc.contended || looks == KSM_PENDING_LOOKS;
}
