// SPDX-License-Identifier: GPL-2.0
/*
 * Hooks of page table operations: mappings of merged frames and of the zero
 * page come and go, writes break them, MADV_FREE gives them up, UFFDIO_MOVE has
 * them unshared.
 *
 * Most are called under a page table lock and behind ksm_merging_key, see
 * include/linux/ksm.h.
 */
#include <linux/swap.h>

#include "../internal.h"
#include "scan.h"

/**
 * __ksm_rmap_add - count a mapping of a merged frame
 * @folio: the frame's folio
 * @mm: the mm that maps it
 * @forked: fork copies the mapping
 *
 * Context: page table lock.
 */
void __ksm_rmap_add(struct folio *folio, struct mm_struct *mm, bool forked)
{
	struct ksm_frame *frame = ksm_folio_frame(folio);
	struct ksm_slot *slot = mm->ksm;
	bool first, review, pending;

	if (WARN_ON_ONCE(!frame || !slot))
		return;
	first = atomic_inc_return(&frame->mapped) == 1;
	if (first)
		ksm_books_shared(folio, 1);

	spin_lock(&slot->books.lock);
	/* a swap-in may map the frame in a cgroup that does not pay for it */
	review = first && !ksm_charged_here(slot, folio);
	pending = ksm_books_map(slot, frame->domain, forked);
	spin_unlock(&slot->books.lock);
	if (review)
		ksm_frame_review(frame);
	ksm_frame_changed(frame);
	/* a fault may still map a frame after merging was switched off here */
	if (unlikely(pending ||
		     READ_ONCE(slot->queue.state) == KSM_SLOT_PARKED))
		ksm_undo_queue(slot);
}

/**
 * __ksm_rmap_del - a mapping of a merged frame goes
 * @folio: the frame's folio, still mapped
 * @mm: the mm that maps it
 *
 * Context: page table lock. Once the caller lowers the mapcount, the frame may
 * be gone.
 */
void __ksm_rmap_del(struct folio *folio, struct mm_struct *mm)
{
	struct ksm_frame *frame = ksm_folio_frame(folio);
	struct ksm_slot *slot = mm->ksm;
	bool last, review;

	if (WARN_ON_ONCE(!frame || !slot))
		return;
	last = atomic_dec_and_test(&frame->mapped);
	if (last)
		ksm_books_shared(folio, -1);

	spin_lock(&slot->books.lock);
	review = last || slot->books.gauge[KSM_G_FOREIGN] ||
		 ksm_charge_may_be_lost(slot, folio);
	ksm_books_unmap(slot);
	spin_unlock(&slot->books.lock);
	/* if nothing uses the folio any more, the frame may be freed already */
	if (review)
		ksm_frame_review(frame);
	ksm_frame_changed(frame);
}

/**
 * __ksm_zero_add - count mappings of the zero page that merging placed
 * @mm: the mm that maps it
 * @nr: the change of their number
 * @forked: of these, mappings that fork copied
 *
 * Context: page table lock, or mmap_lock for writing.
 */
void __ksm_zero_add(struct mm_struct *mm, long nr, long forked)
{
	/* a zero page that a driver mapped can look like the engine's */
	if (mm->ksm)
		ksm_books_zero(mm->ksm, nr, forked);
}

/**
 * __ksm_split_zero_page - a split maps the zero page, see ksm_split_zero_page()
 * @vma: the mapping's VMA
 * @pte: the entry for the zero page
 *
 * A relative by fork that takes no part gets an ordinary zero page.
 *
 * Context: page table lock, anon_vma lock.
 * Return: the entry to set.
 */
pte_t __ksm_split_zero_page(struct vm_area_struct *vma, pte_t pte)
{
	struct ksm_slot *slot = vma->vm_mm->ksm;
	bool written = pte_soft_dirty(pte);

	if (!slot || !ksm_splitting() ||
	    !ksm_vma_eligible(ksm_slot_policy(slot), vma))
		return pte;
	ksm_books_zero(slot, 1, 0);
	ksm_slot_event(slot, KSM_E_MERGED, 1);
	/* merging may be switched off here at the same time */
	if (unlikely(ksm_books_pending(slot) ||
		     READ_ONCE(slot->queue.state) == KSM_SLOT_PARKED))
		ksm_undo_queue(slot);
	pte = pte_mkdirty(pte);
	return written ? pte : pte_clear_soft_dirty(pte);
}

/* A write breaks what was merged, see ksm_count_cow(). */
void __ksm_count_cow(struct mm_struct *mm)
{
	if (mm->ksm)
		ksm_slot_event(mm->ksm, KSM_E_COW, 1);
}

/*
 * Another thread or a worker may have unshared the page meanwhile. A page that
 * is pinned cannot be moved even if it is exclusive.
 */
static bool ksm_entry_movable(struct vm_area_struct *vma, pmd_t *pmd,
			      unsigned long addr)
{
	struct page *page = NULL;
	spinlock_t *ptl;	/* of the page table */
	bool movable;
	pte_t *ptep;

	ptep = ksm_pte_map_lock(vma, pmd, addr, &ptl);
	if (!ptep)
		return false;
	if (pte_present(ptep_get(ptep)))
		page = vm_normal_page(vma, addr, ptep_get(ptep));
	movable = page && PageAnon(page) && PageAnonExclusive(page) &&
		  !folio_test_large(page_folio(page)) &&
		  !folio_maybe_dma_pinned(page_folio(page));
	pte_unmap_unlock(ptep, ptl);
	return movable;
}

/**
 * __ksm_unshare_moved - see ksm_unshare_moved()
 * @vma: the source's VMA
 * @pmd: the source's page table
 * @addr: the source's address
 *
 * Context: mmap_lock or the VMA's lock; sleeps.
 * Return: -EAGAIN if the page can be moved now or the entry changes, -EBUSY if
 * it is pinned or shared but not merged, -ENOMEM, or -EHWPOISON.
 */
int __ksm_unshare_moved(struct vm_area_struct *vma, pmd_t *pmd,
			unsigned long addr)
{
	int err = -ENOENT;

	if (vma->vm_mm->ksm)
		err = ksm_unshare_entry(vma, pmd, addr);
	if (err == -ENOENT)
		return ksm_entry_movable(vma, pmd, addr) ? -EAGAIN : -EBUSY;
	return err ?: -EAGAIN;
}

/**
 * __ksm_madv_free - MADV_FREE reaches an entry, see ksm_madv_free()
 * @vma: the mapping's VMA
 * @addr: the mapping's address
 * @ptep: the entry
 * @pte: the entry's value
 *
 * An unmerged page keeps its entry, which does not show that the page was given
 * up. So the next pass skips nothing.
 *
 * Context: page table lock.
 * Return: true if the page was merged; the entry is empty now.
 */
bool __ksm_madv_free(struct vm_area_struct *vma, unsigned long addr,
		     pte_t *ptep, pte_t pte)
{
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = NULL;

	if (!mm->ksm)
		return false;
	WRITE_ONCE(mm->ksm->recheck_next, true);
	if (!is_ksm_zero_pte(pte)) {
		page = vm_normal_page(vma, addr, pte);
		if (!page || !folio_test_ksm(page_folio(page)))
			return false;
	}
	flush_cache_page(vma, addr, pte_pfn(pte));
	/* the entry must be cleared before the frame is freed, not deferred */
	arch_leave_lazy_mmu_mode();
	ptep_clear_flush(vma, addr, ptep);
	arch_enter_lazy_mmu_mode();
	if (page) {
		folio_remove_rmap_pte(page_folio(page), page, vma);
		dec_mm_counter(mm, MM_ANONPAGES);
		free_page_and_swap_cache(page);
	} else {
		ksm_might_unmap_zero_page(mm, pte);
	}
	return true;
}
