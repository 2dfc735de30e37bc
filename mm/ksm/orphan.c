// SPDX-License-Identifier: GPL-2.0
/*
 * Records that no slot owns any more.
 *
 * A deleted record is freed, unless it leads to the mapping of a relative by
 * fork that has no record of its own. Then it stays with the frame as an
 * orphan, until all such relatives have records or no longer map the frame. A
 * frame has one orphan at most for a place in an anon_vma's tree, so merging
 * and writing over and over makes no more of them.
 *
 * The cost of one page is bounded: the deletion of a record looks at a few
 * VMAs, the check of an orphan at more. Beyond that, the record is taken to be
 * needed. An orphan that is kept too long costs only memory and goes with its
 * frame.
 *
 * An orphan is charged to the cgroup of the process that owned it; a deferred
 * one, whose process is no longer known when it is moved off frame->recs, to
 * the frame's payer. Orphans are not in ksm_metadata_bytes.
 *
 * A check goes through all orphans of a frame, a few at each review, and frees
 * those that are no longer needed. It begins once as many changes were reported
 * as the last check looked at VMAs, or once changes cease. So checks cost no
 * more than the changes that cause them, and end soon after them.
 */
#include <linux/rbtree.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

/* VMAs to look at when a record is deleted. */
#define KSM_UNLINK_VMAS		64
/* VMAs to look at when a review checks one orphan. */
#define KSM_CHECK_VMAS		1024
/* Work after which a review leaves further orphans to the next, a few ms. */
#define KSM_CHECK_WORK		(4096 * KSM_LOOK_CACHELINES)

struct kmem_cache *ksm_rec_cache;

/**
 * ksm_recs_free - free records that were removed
 * @recs: the records
 *
 * Dropping the last reference on an anon_vma waits for a lock that a throttled
 * process may hold.
 *
 * Context: sleeps; no lock that the scan waits for.
 */
void ksm_recs_free(struct hlist_head *recs)
{
	struct hlist_node *next;
	struct ksm_rec *rec;

	hlist_for_each_entry_safe(rec, next, recs, link) {
		put_anon_vma(rec->anon_vma);
		kmem_cache_free(ksm_rec_cache, rec);
		cond_resched();
	}
	INIT_HLIST_HEAD(recs);
}

static void ksm_orphan_dies(struct ksm_rec *rec, struct hlist_head *dead)
{
	ksm_uncharge_orphan(rec->charged);
	hlist_add_head(&rec->link, dead);
}

/* ------------------------------------------------- is a record needed? */

/* Does this process have a record of its own for the frame at this place? */
static bool ksm_vma_has_rec(struct ksm_frame *frame, struct vm_area_struct *vma,
			    unsigned long addr)
{
	struct ksm_slot *slot = vma->vm_mm->ksm;
	struct ksm_rec *own;

	/* the domain's mutex covers only records of slots tracked in it */
	if (!slot || READ_ONCE(slot->track.domain) != frame->domain)
		return false;
	own = xa_load(&slot->track.recs, addr >> PAGE_SHIFT);
	return own && own->frame == frame;
}

/*
 * Is the frame mapped here, or may it be again? It may if the page is in swap
 * or under migration, which frame->mapped does not count.
 */
static bool ksm_vma_may_map(struct ksm_frame *frame, struct vm_area_struct *vma,
			    unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep, pte;

	ptep = ksm_pte_map_lock(vma, pmd, addr, &ptl);
	if (!ptep)
		return false;
	pte = ptep_get(ptep);
	pte_unmap_unlock(ptep, ptl);
	if (pte_present(pte))
		return pte_pfn(pte) == READ_ONCE(frame->pfn);
	return is_swap_pte(pte);
}

/*
 * Does a record that is in no slot any more lead to a mapping without a record,
 * or to more than @vmas VMAs? The record's anon_vma is locked.
 */
static bool ksm_rec_leads(struct ksm_frame *frame, struct ksm_rec *rec,
			  unsigned int vmas, unsigned long *work)
{
	struct anon_vma_chain *avc;

	anon_vma_interval_tree_foreach(avc, &rec->anon_vma->rb_root, rec->pgoff,
				       rec->pgoff) {
		unsigned long addr = vma_address(avc->vma, rec->pgoff, 1);

		if (!vmas--)
			return true;
		*work += KSM_LOOK_CACHELINES;
		if (addr != -EFAULT &&
		    !ksm_vma_has_rec(frame, avc->vma, addr) &&
		    ksm_vma_may_map(frame, avc->vma, addr))
			return true;
	}
	return false;
}

/* -------------------------------------------------------- making orphans */

static int ksm_orphan_cmp(struct rb_node *new, const struct rb_node *other)
{
	const struct ksm_rec *a = rb_entry(new, struct ksm_rec, orphan);
	const struct ksm_rec *b = rb_entry(other, struct ksm_rec, orphan);

	if (a->anon_vma != b->anon_vma)
		return a->anon_vma < b->anon_vma ? -1 : 1;
	return (a->pgoff > b->pgoff) - (a->pgoff < b->pgoff);
}

/*
 * With ksm_rmap_sem[] held for writing: make a record that is on no list an
 * orphan; false if another one leads where it does.
 */
static bool ksm_orphan_add(struct ksm_frame *frame, struct ksm_rec *rec)
{
	return !rb_find_add(&rec->orphan, &frame->orphans, ksm_orphan_cmp);
}

/* Walkers are on the frame's records: leave one there for a review to move. */
static void ksm_rec_defer(struct ksm_frame *frame, struct ksm_rec *rec)
{
	rec->next_deferred = frame->deferred;
	frame->deferred = rec;
}

/**
 * ksm_rec_unlink - take a record that was deleted off its frame
 * @rec: the record, in no slot any more
 * @slot: the slot that owned it, whose books no longer count it
 * @work: raised by what that takes, in cache lines
 *
 * Context: domain->mutex. Does not sleep.
 * Return: false if the record stays with the frame, because no other one leads
 * to some mapping, or because that is not known yet.
 */
bool ksm_rec_unlink(struct ksm_rec *rec, struct ksm_slot *slot,
		    unsigned long *work)
{
	struct ksm_frame *frame = rec->frame;
	struct rw_semaphore *sem = ksm_frame_sem(frame);
	bool known = false, keep = true;

	if (down_write_trylock(sem)) {
		known = anon_vma_trylock_read(rec->anon_vma);
		if (known) {
			keep = ksm_rec_leads(frame, rec, KSM_UNLINK_VMAS, work);
			anon_vma_unlock_read(rec->anon_vma);
		}
		hlist_del(&rec->link);
		keep = keep && ksm_orphan_add(frame, rec);
		if (keep)
			rec->charged = ksm_charge_orphan(slot);
		up_write(sem);
	} else {
		ksm_rec_defer(frame, rec);
	}
	if (!keep)
		return true;
	atomic_or(KSM_FRAME_WAITS, &frame->flags);
	if (!known)
		ksm_frame_changed(frame);
	return false;
}

/* ------------------------------------------------------ checking orphans */

/**
 * ksm_frame_has_orphans - does a frame have records that no slot owns?
 * @frame: the frame
 *
 * Context: domain->mutex.
 * Return: true if so.
 */
bool ksm_frame_has_orphans(const struct ksm_frame *frame)
{
	return !RB_EMPTY_ROOT(&frame->orphans) || frame->deferred;
}

/* Is a check of all orphans due, or under way? */
static bool ksm_orphans_due(struct ksm_frame *frame)
{
	unsigned int changes;

	if (frame->next_orphan)
		return true;
	changes = atomic_xchg(&frame->changes, 0);
	frame->changed |= changes;
	if (!frame->changed)
		return false;
	if (changes && changes < frame->changes_needed) {
		frame->changes_needed -= changes;
		return false;
	}
	return true;
}

/* With ksm_rmap_sem[] held for writing: move the deferred ones off @recs. */
static void ksm_deferred_move(struct ksm_frame *frame, struct folio *folio,
			      struct hlist_head *dead)
{
	struct ksm_rec *rec;

	while ((rec = frame->deferred)) {
		frame->deferred = rec->next_deferred;
		hlist_del(&rec->link);
		rec->charged = NULL;
		if (ksm_orphan_add(frame, rec))
			rec->charged = ksm_charge_payer(folio);
		else
			hlist_add_head(&rec->link, dead);
	}
}

/* Is the orphan still needed? If the lock is contended, check again later. */
static bool ksm_orphan_needed(struct ksm_frame *frame, struct ksm_rec *rec,
			      unsigned long *work)
{
	bool needed;

	if (!anon_vma_trylock_read(rec->anon_vma)) {
		frame->changed = true;
		return true;
	}
	needed = ksm_rec_leads(frame, rec, KSM_CHECK_VMAS, work);
	anon_vma_unlock_read(rec->anon_vma);
	return needed;
}

/* With ksm_rmap_sem[] held for writing: check the next orphans. */
static void ksm_orphans_check(struct ksm_frame *frame, struct hlist_head *dead,
			      unsigned long *work)
{
	struct rb_node *node = frame->next_orphan, *next;
	unsigned long enough = *work + KSM_CHECK_WORK;

	if (!node) {
		frame->changed = false;
		frame->changes_needed = 0;
		node = rb_first(&frame->orphans);
	}
	for (; node && *work < enough; node = next) {
		struct ksm_rec *rec = rb_entry(node, struct ksm_rec, orphan);

		next = rb_next(node);
		*work += KSM_LOOK_CACHELINES;
		if (ksm_orphan_needed(frame, rec, work))
			continue;
		rb_erase(node, &frame->orphans);
		ksm_orphan_dies(rec, dead);
	}
	frame->next_orphan = node;
}

/**
 * ksm_frame_check_orphans - free the orphans of a frame that lead nowhere
 * @frame: the frame
 * @folio: its folio, with a reference
 * @dead: records to free are added
 * @work: raised by what that takes, in cache lines
 *
 * Only tries locks, as reclaim may be throttled while it holds them.
 *
 * Context: domain->mutex; sleeps.
 * Return: true if the frame is to be reviewed again: not all orphans were
 * checked, changes go on, or a lock was contended.
 */
bool ksm_frame_check_orphans(struct ksm_frame *frame, struct folio *folio,
			     struct hlist_head *dead, unsigned long *work)
{
	unsigned long before = *work;

	if (!ksm_frame_has_orphans(frame))
		return false;
	if (!ksm_orphans_due(frame))
		return frame->changed;
	if (!down_write_trylock(ksm_frame_sem(frame)))
		return true;
	ksm_deferred_move(frame, folio, dead);
	ksm_orphans_check(frame, dead, work);
	up_write(ksm_frame_sem(frame));
	frame->changes_needed += (*work - before) / KSM_LOOK_CACHELINES;
	return frame->next_orphan || frame->changed ||
	       atomic_read(&frame->changes);
}

/**
 * ksm_frame_drop_recs - take all records off a frame that is about to be freed
 * @frame: the frame
 * @dead: those that no slot owns are added, to be freed
 *
 * Context: domain->mutex; sleeps.
 * Return: false if a walker holds the records: nothing has changed.
 */
bool ksm_frame_drop_recs(struct ksm_frame *frame, struct hlist_head *dead)
{
	struct rb_root orphans = frame->orphans;
	struct hlist_node *next;
	struct ksm_rec *rec, *pos;
	HLIST_HEAD(recs);

	if (hlist_empty(&frame->recs) && !ksm_frame_has_orphans(frame))
		return true;
	/* reclaim may be throttled while it holds the semaphore */
	if (!down_write_trylock(ksm_frame_sem(frame)))
		return false;
	hlist_move_list(&frame->recs, &recs);
	frame->orphans = RB_ROOT;
	frame->next_orphan = NULL;
	up_write(ksm_frame_sem(frame));

	while ((rec = frame->deferred)) {
		frame->deferred = rec->next_deferred;
		hlist_del(&rec->link);
		hlist_add_head(&rec->link, dead);
		cond_resched();
	}
	hlist_for_each_entry_safe(rec, next, &recs, link) {
		hlist_del_init(&rec->link);
		rec->frame = NULL;
		cond_resched();
	}
	rbtree_postorder_for_each_entry_safe(rec, pos, &orphans, orphan) {
		ksm_orphan_dies(rec, dead);
		cond_resched();
	}
	return true;
}
