// SPDX-License-Identifier: GPL-2.0
/*
 * From a merged frame back to the page tables that map it.
 *
 * An ordinary anonymous folio belongs to one anon_vma, a merged one to any
 * number. So every mapping that the scanner makes or finds gets a record of its
 * anon_vma and its offset there. Mappings that fork makes are found through the
 * parent's record, as the child's VMA is in the parent's anon_vma too. When the
 * parent's mapping goes and such relatives remain, its record stays with the
 * frame as an orphan until they have records of their own.
 *
 * Records may be out of date: rmap_one() checks the page table.
 *
 * The scan never waits here. A record is added under the domain's mutex alone,
 * which does not disturb walkers; it is removed with the walkers' semaphore
 * held for writing, so a removed record needs no grace period. The scan only
 * tries to take that: a record that it cannot remove becomes an orphan, for the
 * worker in review.c to prune.
 */
#include <linux/hash.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "scan.h"

#define KSM_RMAP_SEM_BITS	6
/* VMAs to look at for whether a frame is pending. */
#define KSM_PENDING_VMAS	512

struct kmem_cache *ksm_rec_cache;

/* Each covers the removal of records from frames that hash to it. */
static struct rw_semaphore ksm_rmap_sem[1 << KSM_RMAP_SEM_BITS];

void __init ksm_rmap_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ksm_rmap_sem); i++)
		init_rwsem(&ksm_rmap_sem[i]);
}

static struct rw_semaphore *ksm_frame_sem(const struct ksm_frame *frame)
{
	return &ksm_rmap_sem[hash_ptr(frame, KSM_RMAP_SEM_BITS)];
}

/* ---------------------------------------------------------------- records */

/* Dropping the last reference on an anon_vma may sleep. */
static void ksm_rec_free(struct ksm_rec *rec)
{
	put_anon_vma(rec->anon_vma);
	kmem_cache_free(ksm_rec_cache, rec);
}

/**
 * ksm_recs_free - free records that were removed
 * @recs: the records
 *
 * Context: sleeps.
 */
void ksm_recs_free(struct hlist_head *recs)
{
	struct hlist_node *next;
	struct ksm_rec *rec;

	hlist_for_each_entry_safe(rec, next, recs, link) {
		ksm_rec_free(rec);
		cond_resched();
	}
	INIT_HLIST_HEAD(recs);
}

/* Has this process a record of its own for the frame at this place? */
static bool ksm_vma_has_rec(struct ksm_rec *rec, struct vm_area_struct *vma,
			    unsigned long addr)
{
	struct ksm_slot *slot = vma->vm_mm->ksm;
	struct ksm_rec *own;

	/* the domain's mutex covers only records of slots tracked in it */
	if (!slot || READ_ONCE(slot->track.domain) != rec->frame->domain)
		return false;
	own = xa_load(&slot->track.recs, addr >> PAGE_SHIFT);
	return own && own != rec && own->frame == rec->frame;
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

	if (!pmd)
		return false;
	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!ptep)
		return false;
	pte = ptep_get(ptep);
	pte_unmap_unlock(ptep, ptl);
	if (pte_present(pte))
		return pte_pfn(pte) == READ_ONCE(frame->pfn);
	return is_swap_pte(pte);
}

/*
 * Does this record lead to a mapping that has no record of its own? The
 * record's anon_vma is locked.
 */
static bool ksm_rec_leads(struct ksm_rec *rec)
{
	struct anon_vma_chain *avc;

	anon_vma_interval_tree_foreach(avc, &rec->anon_vma->rb_root, rec->pgoff,
				       rec->pgoff) {
		unsigned long addr = vma_address(avc->vma, rec->pgoff, 1);

		if (addr != -EFAULT && !ksm_vma_has_rec(rec, avc->vma, addr) &&
		    ksm_vma_may_map(rec->frame, avc->vma, addr))
			return true;
	}
	return false;
}

/* Does another record lead where this one does? */
static bool ksm_rec_is_double(struct ksm_frame *frame, struct ksm_rec *rec)
{
	struct ksm_rec *pos;

	hlist_for_each_entry(pos, &frame->recs, link) {
		if (pos != rec && pos->anon_vma == rec->anon_vma &&
		    pos->pgoff == rec->pgoff)
			return true;
	}
	return false;
}

/**
 * ksm_rec_add - record that a slot maps a frame
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
	struct xarray *recs = &slot->track.recs;
	unsigned long index = kp->addr >> PAGE_SHIFT;
	struct anon_vma *anon_vma = kp->vma->anon_vma;
	struct ksm_rec *rec = xa_load(recs, index);
	long bytes = sizeof(*rec);

	if (rec && rec->frame == frame && rec->anon_vma == anon_vma)
		return true;
	if (rec)
		ksm_rec_del(scan, slot, kp->addr);

	rec = kmem_cache_alloc(ksm_rec_cache, KSM_GFP_MERGE);
	if (!rec)
		return false;
	bytes += ksm_array_bytes(recs, kp->addr, PAGE_SHIFT);
	if (xa_err(xa_store(recs, index, rec, KSM_GFP_MERGE))) {
		kmem_cache_free(ksm_rec_cache, rec);
		return false;
	}
	get_anon_vma(anon_vma);
	rec->frame = frame;
	rec->anon_vma = anon_vma;
	rec->pgoff = linear_page_index(kp->vma, kp->addr);
	rec->orphan = false;
	/* concurrent walkers see the record initialized or not at all */
	hlist_add_head_rcu(&rec->link, &frame->recs);
	ksm_slot_mod(slot, KSM_G_METADATA, bytes);
	/* an orphan that led here may no longer be needed */
	if (frame->nr_orphans)
		ksm_frame_review(frame);
	return true;
}

/*
 * Take a record off its frame. Returns false if it stays as an orphan, because
 * it is the only one that leads to some mapping, or that is not known now.
 */
static bool ksm_rec_unlink(struct ksm_frame *frame, struct ksm_rec *rec)
{
	struct rw_semaphore *sem = ksm_frame_sem(frame);
	bool known = false, keep = true;

	if (down_write_trylock(sem)) {
		known = anon_vma_trylock_read(rec->anon_vma);
		if (known) {
			keep = ksm_rec_leads(rec) &&
			       !ksm_rec_is_double(frame, rec);
			anon_vma_unlock_read(rec->anon_vma);
		}
		if (!keep)
			hlist_del(&rec->link);
		up_write(sem);
	}
	if (keep) {
		rec->orphan = true;
		frame->nr_orphans++;
	}
	if (!known)
		ksm_frame_review(frame);
	return !keep;
}

/**
 * ksm_rec_del - delete the record of a slot's mapping
 * @scan: the scan, or NULL if the caller may sleep
 * @slot: the slot
 * @addr: where
 *
 * Context: domain->mutex. Does not sleep with a @scan.
 */
void ksm_rec_del(struct ksm_scan *scan, struct ksm_slot *slot,
		 unsigned long addr)
{
	struct ksm_rec *rec = xa_erase(&slot->track.recs, addr >> PAGE_SHIFT);
	struct ksm_frame *frame;

	if (!rec)
		return;
	ksm_slot_mod(slot, KSM_G_METADATA, -(long)sizeof(*rec) -
		     ksm_array_bytes(&slot->track.recs, addr, PAGE_SHIFT));
	frame = rec->frame;
	if (frame) {
		trace_ksm_remove_rmap_item(slot, READ_ONCE(frame->pfn), rec,
					   slot->mm);
		if (!ksm_rec_unlink(frame, rec))
			return;
	}
	if (scan)
		hlist_add_head(&rec->link, &scan->dead_recs);
	else
		ksm_rec_free(rec);
}

/**
 * ksm_frame_prune_orphans - free the orphans of a frame that lead nowhere
 * @frame: the frame
 *
 * Only tries locks, as reclaim may be throttled while it holds them.
 *
 * Context: domain->mutex; sleeps.
 * Return: false if some could not be checked.
 */
bool ksm_frame_prune_orphans(struct ksm_frame *frame)
{
	struct hlist_node *next;
	struct ksm_rec *rec;
	bool known = true;
	HLIST_HEAD(dead);

	if (!frame->nr_orphans)
		return true;
	if (!down_write_trylock(ksm_frame_sem(frame)))
		return false;
	hlist_for_each_entry_safe(rec, next, &frame->recs, link) {
		bool keep;

		if (!rec->orphan)
			continue;
		if (!anon_vma_trylock_read(rec->anon_vma)) {
			known = false;
			continue;
		}
		keep = ksm_rec_leads(rec) && !ksm_rec_is_double(frame, rec);
		anon_vma_unlock_read(rec->anon_vma);
		if (keep)
			continue;
		hlist_del(&rec->link);
		hlist_add_head(&rec->link, &dead);
		frame->nr_orphans--;
	}
	up_write(ksm_frame_sem(frame));
	ksm_recs_free(&dead);
	return known;
}

/**
 * ksm_frame_drop_recs - take all records off a frame that is about to be freed
 * @frame: the frame
 *
 * Context: domain->mutex; sleeps.
 */
void ksm_frame_drop_recs(struct ksm_frame *frame)
{
	struct hlist_node *next;
	struct ksm_rec *rec;
	HLIST_HEAD(orphans);

	if (hlist_empty(&frame->recs))
		return;
	down_write(ksm_frame_sem(frame));
	hlist_for_each_entry_safe(rec, next, &frame->recs, link) {
		hlist_del_init(&rec->link);
		if (rec->orphan)
			hlist_add_head(&rec->link, &orphans);
		else
			rec->frame = NULL;
	}
	frame->nr_orphans = 0;
	up_write(ksm_frame_sem(frame));
	ksm_recs_free(&orphans);
}

/* ---------------------------------------------------------------- walking */

static bool ksm_rmap_walk_rec(struct folio *folio, struct ksm_rec *rec,
			      struct rmap_walk_control *rwc)
{
	struct anon_vma *anon_vma = rec->anon_vma;
	struct anon_vma_chain *avc;
	bool go_on = true;

	if (!anon_vma_trylock_read(anon_vma)) {
		if (rwc->try_lock) {
			rwc->contended = true;
			return false;
		}
		anon_vma_lock_read(anon_vma);
	}
	anon_vma_interval_tree_foreach(avc, &anon_vma->rb_root, rec->pgoff,
				       rec->pgoff) {
		struct vm_area_struct *vma = avc->vma;
		unsigned long addr = vma_address(vma, rec->pgoff, 1);

		/* a walk that only tries may come from a step of demand.c */
		if (!rwc->try_lock)
			cond_resched();
		if (addr == -EFAULT ||
		    (rwc->invalid_vma && rwc->invalid_vma(vma, rwc->arg)))
			continue;
		go_on = rwc->rmap_one(folio, vma, addr, rwc->arg) &&
			!(rwc->done && rwc->done(folio));
		if (!go_on)
			break;
	}
	anon_vma_unlock_read(anon_vma);
	return go_on;
}

/**
 * ksm_rmap_walk - visit the mappings of a merged folio
 * @folio: the folio, locked
 * @rwc: what to do there
 *
 * Context: sleeps, unless @rwc says to try.
 */
void ksm_rmap_walk(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct ksm_frame *frame = ksm_folio_frame(folio);
	struct rw_semaphore *sem;
	struct ksm_rec *rec;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!frame)
		return;
	sem = ksm_frame_sem(frame);
	if (!down_read_trylock(sem)) {
		if (rwc->try_lock) {
			rwc->contended = true;
			return;
		}
		down_read(sem);
	}
	hlist_for_each_entry_rcu(rec, &frame->recs, link,
				 lockdep_is_held(sem)) {
		if (!ksm_rmap_walk_rec(folio, rec, rwc))
			break;
	}
	up_read(sem);
}

/* @arg: how many more VMAs to look at; 0 if one is pending */
static bool ksm_pending_one(struct folio *folio, struct vm_area_struct *vma,
			    unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	unsigned int *left = arg;

	--*left;
	if (page_vma_mapped_walk(&pvmw)) {
		/* the page table lock keeps the mapping, which keeps the slot */
		if (ksm_books_pending(vma->vm_mm->ksm))
			*left = 0;
		page_vma_mapped_walk_done(&pvmw);
	}
	return *left;
}

/**
 * ksm_frame_pending - does a pending slot map a frame?
 * @frame: the frame
 * @folio: its folio, locked
 *
 * No page is merged into such a frame, as it would share with a process in
 * which merging has ended.
 *
 * Context: frame->domain->mutex; does not sleep.
 * Return: true if so, or if the reverse map is contended or long.
 */
bool ksm_frame_pending(struct ksm_frame *frame, struct folio *folio)
{
	unsigned int left = KSM_PENDING_VMAS;
	struct rmap_walk_control rwc = {
		.rmap_one = ksm_pending_one,
		.arg = &left,
		.try_lock = true,
	};

	if (!ksm_domain_pending(frame->domain))
		return false;
	ksm_rmap_walk(folio, &rwc);
	return !left || rwc.contended;
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
	struct ksm_rec *rec;

	down_read(sem);
	hlist_for_each_entry_rcu(rec, &frame->recs, link,
				 lockdep_is_held(sem)) {
		if (!fn(rec, arg))
			break;
	}
	up_read(sem);
}
