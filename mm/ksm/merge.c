// SPDX-License-Identifier: GPL-2.0
/*
 * Merging: a page table entry that maps a page of its own is made to map a
 * merged frame of the same content, or the zero page.
 *
 * The entry is cleared and flushed before the bytes are compared: from then on
 * nothing writes to the page through it, and a fault waits for the page table
 * lock. If the page may then be held in another way, or a byte differs, the old
 * entry is restored. Fingerprints decide nothing.
 *
 * Only splitting a large folio and calling MMU notifiers may sleep here. For a
 * scan that must not, notifiers are called without blocking, and large folios
 * are left as they are: see struct ksm_need_split.
 */
#include <linux/highmem.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/swap.h>

#include "../internal.h"
#include "scan.h"

#include <trace/events/ksm.h>

/* --------------------------------------------------------- replacing a page */

/* The entry to map @page, which equals the page that @old maps; read-only. */
static pte_t ksm_make_pte(struct vm_area_struct *vma, struct page *page,
			  pte_t old)
{
	pte_t pte;

	if (is_zero_pfn(page_to_pfn(page)))
		pte = pte_mkdirty(pte_mkspecial(pfn_pte(page_to_pfn(page),
							vma->vm_page_prot)));
	else
		pte = mk_pte(page, vma->vm_page_prot);
	pte = pte_wrprotect(pte);
	if (!pte_young(old))
		pte = pte_mkold(pte);
	/* nothing was written: soft-dirty must not report a write */
	if (pte_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

/* Was the page given up with MADV_FREE and not written since? */
static bool ksm_madv_freed(struct folio *folio, pte_t pte)
{
	return !folio_test_swapbacked(folio) && !pte_dirty(pte) &&
	       !folio_test_dirty(folio);
}

/*
 * With the entry cleared: do only mappings hold the page? The reference count
 * is read only now, as get_user_pages_fast() takes a reference without a lock
 * as long as it finds the entry.
 */
static enum ksm_outcome ksm_check_alone(struct ksm_scan *scan,
					struct ksm_page *kp, pte_t old)
{
	struct folio *folio = kp->folio;
	int expected = folio_mapcount(folio) + 1 + folio_test_swapcache(folio);

	if (ksm_madv_freed(folio, old))
		return KSM_FREED;
	if (folio_ref_count(folio) == expected)
		return KSM_MERGED;
	/* held by an LRU batch of pages to be activated, or by a pin */
	scan->missed |= KSM_MISSED_HELD;
	return KSM_HELD;
}

static enum ksm_outcome ksm_take_bytes(struct ksm_page *kp, struct page *to,
				       bool copy)
{
	if (copy)
		return copy_mc_highpage(to, kp->page) ? KSM_POISONED :
							KSM_MERGED;
	return pages_identical(kp->page, to) ? KSM_MERGED : KSM_DIFFERS;
}

/*
 * With the page table locked: make @kp's entry map @to. If @copy, @to is fresh
 * and gets the content now.
 */
static enum ksm_outcome ksm_replace_locked(struct ksm_scan *scan,
					   struct ksm_page *kp,
					   struct page *to, bool copy,
					   pte_t *ptep)
{
	struct vm_area_struct *vma = kp->vma;
	struct mm_struct *mm = vma->vm_mm;
	struct folio *folio = kp->folio;
	enum ksm_outcome outcome;
	pte_t old;

	/*
	 * A page that is not on the LRU is held; a fresh one by an LRU batch.
	 * Check that before the flush: a program that touches many pages
	 * should not pay for a flush of each.
	 */
	if (!folio_test_lru(folio)) {
		scan->missed |= KSM_MISSED_LRU;
		return KSM_HELD;
	}

	flush_cache_page(vma, kp->addr, page_to_pfn(kp->page));
	old = ptep_clear_flush(vma, kp->addr, ptep);
	outcome = ksm_check_alone(scan, kp, old);
	if (outcome == KSM_MERGED)
		outcome = ksm_take_bytes(kp, to, copy);
	if (copy)
		smp_wmb(); /* bytes before the entry: pairs with page walks */
	if (outcome == KSM_MERGED && PageAnonExclusive(kp->page) &&
	    folio_try_share_anon_rmap_pte(folio, kp->page))
		outcome = KSM_HELD;
	if (outcome != KSM_MERGED) {
		set_pte_at(mm, kp->addr, ptep, old);
		return outcome;
	}

	if (is_zero_pfn(page_to_pfn(to))) {
		ksm_map_zero_page(mm);
		dec_mm_counter(mm, MM_ANONPAGES);
	} else {
		folio_get(page_folio(to));
		folio_add_anon_rmap_pte(page_folio(to), to, vma, kp->addr,
					RMAP_NONE);
	}
	set_pte_at(mm, kp->addr, ptep, ksm_make_pte(vma, to, old));

	folio_remove_rmap_pte(folio, kp->page, vma);
	ksm_family_merged(kp, folio_mapped(folio));
	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
	return KSM_MERGED;
}

/*
 * Before a notifier is called: most pages that are held are told here. Some
 * notifiers cost far more than this, and what a device uses stays held.
 */
static enum ksm_outcome ksm_check_held(struct ksm_scan *scan,
				       struct folio *folio)
{
	if (!folio_test_lru(folio)) {
		scan->missed |= KSM_MISSED_LRU;
		return KSM_HELD;
	}
	if (folio_ref_count(folio) <= folio_mapcount(folio) + 1 +
				      folio_test_swapcache(folio))
		return KSM_MERGED;
	scan->missed |= KSM_MISSED_HELD;
	return KSM_HELD;
}

/* Call the MMU notifiers; KSM_MERGED if the end is to follow. */
static enum ksm_outcome ksm_notify_start(struct ksm_scan *scan,
					 struct ksm_page *kp,
					 struct mmu_notifier_range *range)
{
	struct mm_struct *mm = kp->vma->vm_mm;
	enum ksm_outcome outcome = ksm_check_held(scan, kp->folio);

	if (outcome != KSM_MERGED)
		return outcome;
	if (!scan->limit.may_sleep && READ_ONCE(mm->ksm->notifier_blocks))
		return KSM_BUSY;
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, mm, kp->addr,
				kp->addr + PAGE_SIZE);
	if (scan->limit.may_sleep) {
		mmu_notifier_invalidate_range_start(range);
		return KSM_MERGED;
	}
	if (!mmu_notifier_invalidate_range_start_nonblock(range))
		return KSM_MERGED;
	WRITE_ONCE(mm->ksm->notifier_blocks, true);
	return KSM_BUSY;
}

/*
 * Make @kp's entry map @to, the zero page or a locked frame. The folio of @kp
 * is locked and small.
 */
static enum ksm_outcome ksm_replace(struct ksm_scan *scan, struct ksm_page *kp,
				    struct page *to, bool copy)
{
	struct vm_area_struct *vma = kp->vma;
	struct mm_struct *mm = vma->vm_mm;
	/* mmap_lock keeps notifiers from coming or going */
	bool notify = mm_has_notifiers(mm);
	enum ksm_outcome outcome = KSM_BUSY;
	struct mmu_notifier_range range;
	struct folio_walk fw;
	struct folio *folio;

	if (!folio_mapped(kp->folio))
		return KSM_UNMAPPED;
	if (notify) {
		outcome = ksm_notify_start(scan, kp, &range);
		if (outcome != KSM_MERGED)
			return outcome;
		outcome = KSM_BUSY;
	}
	folio = folio_walk_start(&fw, vma, kp->addr, 0);
	if (folio) {
		if (folio == kp->folio && fw.level == FW_LEVEL_PTE &&
		    !mm_tlb_flush_pending(mm))
			outcome = ksm_replace_locked(scan, kp, to, copy,
						     fw.ptep);
		folio_walk_end(&fw, vma);
	}
	if (notify)
		mmu_notifier_invalidate_range_end(&range);
	return outcome;
}

/* ---------------------------------------------------------- ways to merge */

/**
 * ksm_page_room - do the limits allow the metadata of merging a page?
 * @scan: the scan
 * @slot: the slot that has the page
 * @kp: the page
 *
 * Merging takes less than a page, so there is room if it frees one. It frees
 * none where a relative by fork maps the page too, and perhaps none where
 * something else holds a reference. For a huge page only references matter, as
 * it is split first.
 *
 * Context: mmap_lock; any that allows a spinlock.
 * Return: KSM_MERGED if so, else why not.
 */
enum ksm_outcome ksm_page_room(struct ksm_scan *scan, struct ksm_slot *slot,
			       struct ksm_page *kp)
{
	struct folio *folio = kp->folio;
	int mappings = folio_mapcount(folio);
	bool forked = mappings > 1 && !folio_test_large(folio);
	int expected = mappings + 1;	/* and @kp's */

	if (folio_test_swapcache(folio))
		expected += folio_nr_pages(folio);
	if ((!forked && folio_ref_count(folio) <= expected) ||
	    ksm_charge_room(slot))
		return KSM_MERGED;
	if (forked)
		return KSM_NO_ROOM;
	scan->missed |= KSM_MISSED_HELD;
	return KSM_HELD;
}

/* A frame is as young as the youngest page it replaces. @fresh: on no LRU yet */
static void ksm_frame_age(struct folio *folio, struct folio *old, bool fresh)
{
	if (folio_test_workingset(old))
		folio_set_workingset(folio);
	if (folio_test_referenced(old) || folio_test_active(old))
		folio_set_referenced(folio);
	if (!folio_test_active(old) || folio_test_active(folio))
		return;
	if (fresh)
		folio_set_active(folio);
	else
		folio_mark_accessed(folio);
}

/*
 * Map a locked frame for a page, as ksm_replace() does. The record comes first:
 * without it, reclaim and migration would not find the mapping.
 */
static enum ksm_outcome ksm_map_frame(struct ksm_scan *scan,
				      struct ksm_slot *slot,
				      struct ksm_page *kp,
				      struct ksm_frame *frame,
				      struct folio *folio, bool copy)
{
	struct ksm_rec *rec = ksm_rec_prepare(scan, slot, kp);
	enum ksm_outcome outcome;

	if (!rec) {
		scan->missed |= KSM_MISSED_MEMORY;
		return KSM_NO_MEMORY;
	}
	outcome = ksm_replace(scan, kp, folio_page(folio, 0), copy);
	if (outcome == KSM_MERGED) {
		ksm_rec_commit(scan, slot, kp, frame, rec);
		ksm_frame_age(folio, kp->folio, copy);
	} else {
		ksm_rec_cancel(slot, kp, rec);
	}
	return outcome;
}

/**
 * ksm_merge_zero - map the zero page for a page of zeroes
 * @scan: the scan, of the slot that has the page
 * @kp: the page
 *
 * Context: mmap_lock.
 * Return: the outcome.
 */
enum ksm_outcome ksm_merge_zero(struct ksm_scan *scan, struct ksm_page *kp)
{
	enum ksm_outcome outcome = ksm_page_lock(scan, kp);

	if (outcome == KSM_MERGED) {
		outcome = ksm_replace(scan, kp, ZERO_PAGE(kp->addr), false);
		folio_unlock(kp->folio);
	}
	trace_ksm_merge_one_page(scan->slot, page_to_pfn(ZERO_PAGE(kp->addr)),
				 NULL, kp->vma->vm_mm, outcome);
	return outcome;
}

/* The frame's folio is locked: may this slot map it? */
static enum ksm_outcome ksm_frame_usable(struct ksm_scan *scan,
					 struct ksm_frame *frame,
					 struct folio *folio,
					 struct ksm_slot *slot)
{
	if (ksm_folio_frame(folio) != frame || folio_test_hwpoison(folio) ||
	    (!READ_ONCE(ksm_knobs.merge_across_nodes) &&
	     folio_nid(folio) != frame->nid))
		return KSM_FRAME_GONE;
	if (atomic_read(&frame->mapped) >=
	    READ_ONCE(ksm_knobs.max_page_sharing) ||
	    ksm_frame_pending(scan, frame, folio))
		return KSM_FRAME_FULL;
	if (!ksm_books_claim(slot, frame->domain))
		return KSM_LEAVING;
	return KSM_MERGED;
}

/**
 * ksm_merge_into - map a merged frame for a page of the same content
 * @scan: the scan
 * @slot: whose page
 * @kp: the page
 * @frame: the frame
 *
 * Context: mmap_lock, domain->mutex, ksm_gate.
 * Return: the outcome.
 */
enum ksm_outcome ksm_merge_into(struct ksm_scan *scan, struct ksm_slot *slot,
				struct ksm_page *kp, struct ksm_frame *frame)
{
	struct folio *folio = ksm_frame_folio(frame);
	enum ksm_outcome outcome = KSM_BUSY;

	if (!folio)
		return KSM_FRAME_GONE;
	if (!folio_trylock(folio))
		goto put;
	outcome = ksm_frame_usable(scan, frame, folio, slot);
	if (outcome != KSM_MERGED)
		goto unlock;
	outcome = ksm_page_lock(scan, kp);
	if (outcome == KSM_MERGED) {
		outcome = ksm_page_room(scan, slot, kp);
		if (outcome == KSM_MERGED)
			outcome = ksm_map_frame(scan, slot, kp, frame, folio,
						false);
		folio_unlock(kp->folio);
	}
unlock:
	folio_unlock(folio);
put:
	trace_ksm_merge_with_ksm_page(slot, folio_page(folio, 0),
				      folio_pfn(folio), frame, kp->vma->vm_mm,
				      outcome);
	folio_put(folio);
	return outcome;
}

static void ksm_frame_fill(struct ksm_frame *frame, struct folio *folio)
{
	__folio_set_locked(folio);
	__folio_set_swapbacked(folio);
	__folio_mark_uptodate(folio);
	/* otherwise reclaim would drop it, as if given up with MADV_FREE */
	folio_set_dirty(folio);
	frame->pfn = folio_pfn(folio);
	frame->nid = folio_nid(folio);
	ksm_folio_set_frame(folio, frame);
}

static void ksm_frame_empty(struct folio *folio)
{
	folio->mapping = NULL;
	folio_clear_dirty(folio);
	__folio_clear_swapbacked(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/* Copy a page to a frame and map the frame in its place. */
static enum ksm_outcome ksm_merge_first(struct ksm_scan *scan,
					struct ksm_page *kp,
					struct ksm_frame *frame,
					struct folio *folio)
{
	enum ksm_outcome outcome = ksm_page_lock(scan, kp);

	if (outcome != KSM_MERGED)
		return outcome;
	outcome = ksm_page_room(scan, scan->slot, kp);
	if (outcome == KSM_MERGED &&
	    ksm_charge_frame(scan->slot, kp->folio, folio))
		outcome = KSM_NO_ROOM;
	if (outcome == KSM_MERGED)
		outcome = ksm_map_frame(scan, scan->slot, kp, frame, folio,
					true);
	folio_unlock(kp->folio);
	return outcome;
}

/*
 * The page may have been written between its reading and its replacement. A
 * frame under the key of another content would keep pages of that content from
 * being merged, and would not be found by pages of its own.
 */
static void ksm_frame_check_key(struct ksm_domain *domain,
				struct ksm_page *kp, struct ksm_frame *frame,
				struct folio *folio, u64 digest)
{
	const struct ksm_secret *secret = &domain->secret;
	void *bytes = kmap_local_folio(folio, 0);
	u64 now = ksm_key(ksm_digest(secret, bytes), kp->page);
	u32 sample = ksm_sample(secret, bytes);

	kunmap_local(bytes);
	if (now == digest)
		return;
	ksm_content_del(frame);
	/* if that fails, nothing more is merged into the frame */
	ksm_content_add(frame, ksm_key(sample, kp->page), now);
}

/**
 * ksm_merge_fresh - make a merged frame from a page
 * @scan: the scan, of the slot that has the page
 * @kp: the page
 * @sample: the page's sample when it was read
 * @digest: the page's digest when it was read
 * @result: set to the frame, which is mapped in place of the page
 *
 * Context: mmap_lock, domain->mutex, ksm_gate.
 * Return: the outcome.
 */
enum ksm_outcome ksm_merge_fresh(struct ksm_scan *scan, struct ksm_page *kp,
				 u32 sample, u64 digest,
				 struct ksm_frame **result)
{
	struct ksm_domain *domain = scan->domain;
	enum ksm_outcome outcome = KSM_LEAVING;
	struct ksm_frame *frame;
	struct folio *folio;

	frame = ksm_frame_alloc(domain);
	if (!frame)
		return KSM_NO_MEMORY;
	folio = ksm_pool_get(folio_nid(kp->folio));
	if (!folio) {
		ksm_frame_free(frame);
		return KSM_NO_MEMORY;
	}
	ksm_frame_fill(frame, folio);
	if (ksm_books_claim(scan->slot, domain))
		outcome = ksm_content_add(frame, sample, digest) ?
			  KSM_NO_MEMORY :
			  ksm_merge_first(scan, kp, frame, folio);
	trace_ksm_merge_one_page(scan->slot, frame->pfn, frame, scan->slot->mm,
				 outcome);
	if (outcome != KSM_MERGED) {
		ksm_frame_empty(folio);
		ksm_frame_free(frame);
		return outcome;
	}
	ksm_frame_check_key(domain, kp, frame, folio, digest);
	list_add(&frame->link, &domain->frames);
	folio_add_lru(folio);
	folio_unlock(folio);
	folio_put(folio);
	*result = frame;
	return KSM_MERGED;
}

#include "tests/notifier-kunit.h"
