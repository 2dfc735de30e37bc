// SPDX-License-Identifier: GPL-2.0
/*
 * Unsharing: a merged frame, or a zero page that merging placed, is replaced by
 * a page of the process's own.
 *
 * This does not go through a page fault: a fault charges with GFP_KERNEL and,
 * in a cgroup at its limit, ends in the OOM killer. A write that switches
 * merging off must fail with ENOMEM instead. So memory is allocated with
 * __GFP_RETRY_MAYFAIL, and pages that were unshared before an error stay so.
 */
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

#define KSM_UNSHARE_GFP		(__GFP_RETRY_MAYFAIL | __GFP_NOWARN)
/* Entries that are prefetched ahead of the one being unshared. */
#define KSM_UNSHARE_AHEAD	4

/* Does this entry map a merged frame, or a zero page that merging placed? */
static bool ksm_pte_shared(struct vm_area_struct *vma, unsigned long addr,
			   pte_t pte)
{
	struct page *page;

	if (!pte_present(pte)) {
		swp_entry_t entry = pte_to_swp_entry(pte);

		return is_swap_pte(pte) && is_migration_entry(entry) &&
		       folio_test_ksm(pfn_swap_entry_folio(entry));
	}
	if (is_ksm_zero_pte(pte))
		return true;
	page = vm_normal_page(vma, addr, pte);
	return page && folio_test_ksm(page_folio(page));
}

static struct folio *ksm_unshare_copy(struct vm_area_struct *vma,
				      unsigned long addr, struct page *from)
{
	struct folio *copy;
	struct page *page;

	copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE | KSM_UNSHARE_GFP, 0, vma,
			       addr, false);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	page = folio_page(copy, 0);
	if (ksm_charge_copy(vma->vm_mm->ksm, copy,
			    GFP_KERNEL | KSM_UNSHARE_GFP)) {
		folio_put(copy);
		return ERR_PTR(-ENOMEM);
	}
	if (!from) {
		clear_user_highpage(page, addr);
	} else if (copy_mc_user_highpage(page, from, addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	__folio_mark_uptodate(copy);
	/* or MADV_FREE by one process could drop it after a fork shared it */
	folio_set_dirty(copy);
	return copy;
}

/*
 * Map @copy if the entry is still @old, which maps @page, or the zero page if
 * @page is NULL. Returns whether it was mapped.
 */
static bool ksm_unshare_install(struct vm_area_struct *vma, pmd_t *pmd,
				unsigned long addr, pte_t old,
				struct page *page, struct folio *copy)
{
	unsigned long end = addr + PAGE_SIZE;
	struct mm_struct *mm = vma->vm_mm;
	struct mmu_notifier_range range;
	bool done = false;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep, pte;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, addr, end);
	mmu_notifier_invalidate_range_start(&range);
	ptep = pte_offset_map_lock(mm, pmd, addr, &ptl);
	if (!ptep)
		goto out;
	if (!pte_same(ptep_get(ptep), old))
		goto unlock;

	pte = pte_wrprotect(mk_pte(folio_page(copy, 0), vma->vm_page_prot));
	if (pte_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	flush_cache_page(vma, addr, pte_pfn(old));
	ptep_clear_flush(vma, addr, ptep);
	folio_add_new_anon_rmap(copy, vma, addr, RMAP_EXCLUSIVE);
	folio_add_lru_vma(copy, vma);
	set_pte_at(mm, addr, ptep, pte);
	if (page) {
		folio_remove_rmap_pte(page_folio(page), page, vma);
		folio_put(page_folio(page));
	} else {
		ksm_might_unmap_zero_page(mm, old);
		inc_mm_counter(mm, MM_ANONPAGES);
	}
	done = true;
unlock:
	pte_unmap_unlock(ptep, ptl);
out:
	mmu_notifier_invalidate_range_end(&range);
	return done;
}

/**
 * struct ksm_shared - an entry to unshare, as it was read
 * @addr: its address
 * @pte: its value
 * @page: the page that it maps, with a reference; NULL for the zero page, and
 *	for a frame under migration
 *
 * On the stack of the page table walk.
 */
struct ksm_shared {
	unsigned long addr;
	pte_t pte;
	struct page *page;
};

/* Unshare one entry; -EAGAIN if it changed meanwhile. */
static int ksm_unshare_one(struct vm_area_struct *vma, pmd_t *pmd,
			   struct ksm_shared *at)
{
	struct folio *copy;
	int err = 0;

	if (!pte_present(at->pte)) {
		migration_entry_wait(vma->vm_mm, pmd, at->addr);
		return -EAGAIN;
	}
	copy = ksm_unshare_copy(vma, at->addr, at->page);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	if (ksm_unshare_install(vma, pmd, at->addr, at->pte, at->page, copy)) {
		ksm_slot_event(vma->vm_mm->ksm, KSM_E_UNMERGED, 1);
	} else {
		folio_put(copy);
		err = -EAGAIN;
	}
	return err;
}

static struct page *ksm_pte_page(struct vm_area_struct *vma, unsigned long addr,
				 pte_t pte)
{
	return pte_present(pte) ? vm_normal_page(vma, addr, pte) : NULL;
}

/*
 * Frames are scattered, so each one is a cache miss: prefetch the struct page
 * first, then the bytes to copy.
 */
static void ksm_unshare_prefetch(struct vm_area_struct *vma, unsigned long addr,
				 unsigned long end, pte_t *ptep)
{
	unsigned long far = addr + 2 * KSM_UNSHARE_AHEAD * PAGE_SIZE;
	unsigned long near = addr + KSM_UNSHARE_AHEAD * PAGE_SIZE;
	struct page *page = NULL;

	if (far < end)
		page = ksm_pte_page(vma, far,
				    ptep_get(ptep + 2 * KSM_UNSHARE_AHEAD));
	if (page)
		prefetch(page);
	page = NULL;
	if (near < end && !IS_ENABLED(CONFIG_HIGHMEM))
		page = ksm_pte_page(vma, near,
				    ptep_get(ptep + KSM_UNSHARE_AHEAD));
	if (page && folio_test_ksm(page_folio(page)))
		prefetch(page_address(page));
}

/* Find the next entry to unshare in this page table, from @at->addr on. */
static bool ksm_unshare_next(struct vm_area_struct *vma, pmd_t *pmd,
			     unsigned long end, struct ksm_shared *at)
{
	spinlock_t *ptl;	/* of the page table */
	pte_t *start, *ptep;
	bool found = false;

	start = pte_offset_map_lock(vma->vm_mm, pmd, at->addr, &ptl);
	if (!start)
		return false;
	for (ptep = start; at->addr < end; at->addr += PAGE_SIZE, ptep++) {
		ksm_unshare_prefetch(vma, at->addr, end, ptep);
		at->pte = ptep_get(ptep);
		found = ksm_pte_shared(vma, at->addr, at->pte);
		if (found)
			break;
	}
	at->page = found ? ksm_pte_page(vma, at->addr, at->pte) : NULL;
	if (at->page)
		get_page(at->page);
	pte_unmap_unlock(start, ptl);
	return found;
}

static int ksm_unshare_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
			   struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct ksm_shared at = { .addr = addr };
	bool killable = walk->private;
	int err = 0;

	if (pmd_trans_huge(pmdp_get_lockless(pmd)) ||
	    pmd_none(pmdp_get_lockless(pmd)))
		return 0;
	while (ksm_unshare_next(vma, pmd, end, &at)) {
		if (killable && signal_pending(current))
			err = -EINTR;
		else
			err = ksm_unshare_one(vma, pmd, &at);
		if (at.page)
			put_page(at.page);
		/* poisoned memory stays: the next access reports it */
		if (err && err != -EAGAIN && err != -EHWPOISON)
			return err;
		if (err != -EAGAIN)
			at.addr += PAGE_SIZE;
		cond_resched();
	}
	return 0;
}

static const struct mm_walk_ops ksm_unshare_ops = {
	.pmd_entry = ksm_unshare_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_unshare_range - unshare what is merged in a part of a VMA
 * @vma: the VMA
 * @start: first address
 * @end: address after the last
 * @killable: a pending signal ends it
 *
 * Context: mmap_lock, for reading or writing; sleeps.
 * Return: 0, -ENOMEM or -EINTR; pages unshared before an error stay so.
 */
int ksm_unshare_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool killable)
{
	if (!vma->anon_vma || !vma->vm_mm->ksm)
		return 0;
	return walk_page_range_vma(vma, start, end, &ksm_unshare_ops,
				   (void *)(unsigned long)killable);
}

/**
 * ksm_unshare_foreign - unshare before a process forks with foreign mappings
 * @mm: the process
 *
 * The child would get them too, and a chain of forks would outrun the worker.
 * What cannot be unshared now is left to the worker.
 *
 * Context: mmap_lock for writing; sleeps.
 */
void ksm_unshare_foreign(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	if (!READ_ONCE(mm->ksm->books.gauge[KSM_G_FOREIGN]))
		return;
	for_each_vma(vmi, vma) {
		if (vma->anon_vma &&
		    ksm_unshare_range(vma, vma->vm_start, vma->vm_end, true))
			return;
	}
}
