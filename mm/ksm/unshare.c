// SPDX-License-Identifier: GPL-2.0
/*
 * Unsharing: a merged frame, or a zero page that merging placed, is replaced by
 * a page of the process's own.
 *
 * This does not go through a page fault: a fault charges with GFP_KERNEL and,
 * in a cgroup at its limit, ends in the OOM killer. A write that switches
 * merging off must fail with ENOMEM instead. So memory is allocated with
 * __GFP_RETRY_MAYFAIL, and pages that were unshared before an error stay so.
 *
 * Relatives by fork that map the same frame at the same address share one copy
 * if they are pending as well. Otherwise a family would need more memory after
 * merging than before.
 */
#include <linux/delay.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

/* Entries that are prefetched ahead of the one being unshared. */
#define KSM_UNSHARE_AHEAD	4

/* How often a worker tries a lock, at intervals of 50 to 200 us. */
#define KSM_LOCK_TRIES		25

/* VMAs to check for relatives, for each page. */
#define KSM_FAMILY_MAX		64

/**
 * enum ksm_copy_kind - how a copy is mapped
 * @KSM_COPY_EXCLUSIVE: first mapping, for this process alone
 * @KSM_COPY_FIRST: first mapping; relatives may follow
 * @KSM_COPY_AGAIN: further mapping, by a relative
 */
enum ksm_copy_kind {
	KSM_COPY_EXCLUSIVE,
	KSM_COPY_FIRST,
	KSM_COPY_AGAIN,
};

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

static struct page *ksm_pte_page(struct vm_area_struct *vma, unsigned long addr,
				 pte_t pte)
{
	return pte_present(pte) ? vm_normal_page(vma, addr, pte) : NULL;
}

/* Is the merged frame charged to another cgroup than the process's own? */
static bool ksm_pte_borrowed(struct vm_area_struct *vma, unsigned long addr,
			     pte_t pte)
{
	struct page *page = ksm_pte_page(vma, addr, pte);

	return page && ksm_books_borrowed(vma->vm_mm->ksm, page_folio(page));
}

/* Workers do not reclaim, as no cgroup would be charged for the CPU time. */
static gfp_t ksm_unshare_gfp(gfp_t gfp)
{
	if (current->flags & PF_KTHREAD)
		gfp &= ~__GFP_DIRECT_RECLAIM;
	else
		gfp |= __GFP_RETRY_MAYFAIL;
	return gfp | __GFP_NOWARN;
}

static struct folio *ksm_unshare_copy(struct vm_area_struct *vma,
				      unsigned long addr, struct page *from)
{
	struct folio *copy;
	struct page *page;

	copy = vma_alloc_folio(ksm_unshare_gfp(GFP_HIGHUSER_MOVABLE), 0, vma,
			       addr, false);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	page = folio_page(copy, 0);
	if (ksm_charge_copy(vma->vm_mm->ksm, copy,
			    ksm_unshare_gfp(GFP_KERNEL))) {
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

/* The entry for a copy of what @old maps, whose page table is locked. */
static pte_t ksm_unshare_pte(struct vm_area_struct *vma, struct folio *copy,
			     pte_t old)
{
	pte_t pte = mk_pte(folio_page(copy, 0), READ_ONCE(vma->vm_page_prot));

	pte = pte_wrprotect(pte);
	if (pte_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

/*
 * Map @copy if the entry is still @old, which maps @page, or the zero page if
 * @page is NULL. Returns whether it was mapped.
 */
static bool ksm_unshare_replace(struct vm_area_struct *vma, pmd_t *pmd,
				unsigned long addr, pte_t old,
				struct page *page, struct folio *copy,
				enum ksm_copy_kind kind)
{
	struct mm_struct *mm = vma->vm_mm;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;

	ptep = ksm_pte_map_lock(vma, pmd, addr, &ptl);
	if (!ptep)
		return false;
	if (!pte_same(ptep_get(ptep), old)) {
		pte_unmap_unlock(ptep, ptl);
		return false;
	}
	flush_cache_page(vma, addr, pte_pfn(old));
	ptep_clear_flush(vma, addr, ptep);
	if (kind == KSM_COPY_AGAIN) {
		folio_get(copy);
		folio_add_anon_rmap_pte(copy, folio_page(copy, 0), vma, addr,
					RMAP_NONE);
	} else {
		folio_add_new_anon_rmap(copy, vma, addr,
					kind == KSM_COPY_EXCLUSIVE ?
					RMAP_EXCLUSIVE : RMAP_NONE);
		folio_add_lru_vma(copy, vma);
	}
	set_pte_at(mm, addr, ptep, ksm_unshare_pte(vma, copy, old));
	if (page) {
		folio_remove_rmap_pte(page_folio(page), page, vma);
		folio_put(page_folio(page));
	} else {
		ksm_might_unmap_zero_page(mm, old);
		inc_mm_counter(mm, MM_ANONPAGES);
	}
	pte_unmap_unlock(ptep, ptl);
	return true;
}

/* As ksm_unshare_replace(), and call the notifiers and count the event. */
static bool ksm_unshare_install(struct vm_area_struct *vma, pmd_t *pmd,
				unsigned long addr, pte_t old,
				struct page *page, struct folio *copy,
				enum ksm_copy_kind kind)
{
	unsigned long end = addr + PAGE_SIZE;
	struct mm_struct *mm = vma->vm_mm;
	struct mmu_notifier_range range;
	bool done;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, addr, end);
	mmu_notifier_invalidate_range_start(&range);
	done = ksm_unshare_replace(vma, pmd, addr, old, page, copy, kind);
	mmu_notifier_invalidate_range_end(&range);
	if (done)
		ksm_slot_event(mm->ksm, KSM_E_UNMERGED, 1);
	return done;
}

/**
 * struct ksm_family - a copy that relatives may map as well, on the stack
 * @slot: the slot for which the copy was made
 * @pfn: what the entries to replace map
 * @page: the page of @pfn, with a reference; NULL for the zero page
 * @left: the number of VMAs still to check
 */
struct ksm_family {
	struct ksm_slot *slot;
	unsigned long pfn;
	struct page *page;
	int left;
};

/* Is memory of this relative to be unshared, in the same domain? */
static bool ksm_relative_fits(struct ksm_family *family,
			      struct vm_area_struct *vma)
{
	struct ksm_slot *slot = vma->vm_mm->ksm;

	/* replacing an entry does not keep the page counts of mlock() */
	return slot && slot != family->slot && !(vma->vm_flags & VM_LOCKED) &&
	       ksm_books_pending(slot) &&
	       READ_ONCE(slot->books.domain) ==
	       READ_ONCE(family->slot->books.domain);
}

/*
 * Map @copy where a relative maps what it was made from. As with migration, the
 * page table lock is enough: the entry names what is replaced.
 */
static bool ksm_relative_one(struct folio *copy, struct vm_area_struct *vma,
			     unsigned long addr, void *arg)
{
	struct ksm_family *family = arg;
	pte_t old, *ptep;
	spinlock_t *ptl;	/* of the page table */
	bool fits;
	pmd_t *pmd;

	if (!ksm_relative_fits(family, vma))
		return --family->left > 0;
	pmd = mm_find_pmd(vma->vm_mm, addr);
	ptep = ksm_pte_map_lock(vma, pmd, addr, &ptl);
	if (!ptep)
		return --family->left > 0;
	old = ptep_get(ptep);
	pte_unmap_unlock(ptep, ptl);
	fits = pte_present(old) && pte_pfn(old) == family->pfn &&
	       (family->page || is_ksm_zero_pte(old));
	if (fits)
		ksm_unshare_install(vma, pmd, addr, old, family->page, copy,
				    KSM_COPY_AGAIN);
	return --family->left > 0;
}

/**
 * struct ksm_shared - an entry to unshare, as it was read
 * @addr: its address
 * @pte: its value
 * @page: the page that it maps, with a reference; NULL for the zero page, and
 *	for a frame under migration
 * @tries: how often a worker still waits for migration to end
 *
 * On the stack of the page table walk.
 */
struct ksm_shared {
	unsigned long addr;
	pte_t pte;
	struct page *page;
	int tries;
};

/* A throttled process may hold a lock for long, so a worker gives up soon. */
static bool ksm_worker_waits(int *tries)
{
	usleep_range(50, 200);
	return (*tries)--;
}

static bool ksm_lock_relatives(struct anon_vma *anon_vma)
{
	int tries = KSM_LOCK_TRIES;

	if (!(current->flags & PF_KTHREAD)) {
		anon_vma_lock_write(anon_vma);
		return true;
	}
	while (!anon_vma_trylock_write(anon_vma)) {
		if (!ksm_worker_waits(&tries))
			return false;
	}
	return true;
}

/* Map @copy for the process and its relatives. */
static int ksm_unshare_relatives(struct vm_area_struct *vma, pmd_t *pmd,
				 struct ksm_shared *at, struct folio *copy,
				 struct rmap_walk_control *rwc)
{
	bool done;

	/* of two relatives that are unshared now, one makes the copy */
	if (!ksm_lock_relatives(vma->anon_vma))
		return -ENOLCK;
	/* locked, the copy stays in memory until all have it */
	__folio_set_locked(copy);
	done = ksm_unshare_install(vma, pmd, at->addr, at->pte, at->page, copy,
				   KSM_COPY_FIRST);
	if (done)
		rmap_walk_locked(copy, rwc);
	anon_vma_unlock_write(vma->anon_vma);
	folio_unlock(copy);
	return done ? 0 : -EAGAIN;
}

/* Unshare one entry; -EAGAIN if it changed meanwhile, -ENOLCK in a worker. */
static int ksm_unshare_one(struct vm_area_struct *vma, pmd_t *pmd,
			   struct ksm_shared *at, unsigned int flags)
{
	struct ksm_family family = {
		.slot = vma->vm_mm->ksm,
		.pfn = pte_pfn(at->pte),
		.page = at->page,
		.left = KSM_FAMILY_MAX,
	};
	struct rmap_walk_control rwc = {
		.rmap_one = ksm_relative_one,
		.arg = &family,
	};
	bool single = flags & KSM_UNSHARE_ALONE || ksm_vma_is_single(vma) ||
		      !ksm_books_pending(family.slot);
	struct folio *copy;
	int err;

	if (!pte_present(at->pte)) {
		if (!(current->flags & PF_KTHREAD))
			migration_entry_wait(vma->vm_mm, pmd, at->addr);
		else if (!ksm_worker_waits(&at->tries))
			return -ENOLCK;
		return -EAGAIN;
	}
	copy = ksm_unshare_copy(vma, at->addr, at->page);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	if (!single)
		err = ksm_unshare_relatives(vma, pmd, at, copy, &rwc);
	else
		err = ksm_unshare_install(vma, pmd, at->addr, at->pte, at->page,
					  copy, KSM_COPY_EXCLUSIVE) ?
		      0 : -EAGAIN;
	if (err)
		folio_put(copy);
	return err;
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
			     unsigned long end, unsigned int flags,
			     struct ksm_shared *at)
{
	spinlock_t *ptl;	/* of the page table */
	pte_t *start, *ptep;
	bool found = false;

	start = ksm_pte_map_lock(vma, pmd, at->addr, &ptl);
	if (!start)
		return false;
	for (ptep = start; at->addr < end; at->addr += PAGE_SIZE, ptep++) {
		ksm_unshare_prefetch(vma, at->addr, end, ptep);
		at->pte = ptep_get(ptep);
		found = ksm_pte_shared(vma, at->addr, at->pte) &&
			(!(flags & KSM_UNSHARE_BORROWED) ||
			 ksm_pte_borrowed(vma, at->addr, at->pte));
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
	struct ksm_shared at = { .addr = addr, .tries = KSM_LOCK_TRIES };
	unsigned int flags = (unsigned long)walk->private;
	int err;

	if (pmd_trans_huge(pmdp_get_lockless(pmd)) ||
	    pmd_none(pmdp_get_lockless(pmd)))
		return 0;
	while (ksm_unshare_next(vma, pmd, end, flags, &at)) {
		err = ksm_unshare_one(vma, pmd, &at, flags);
		if (at.page)
			put_page(at.page);
		/* poisoned memory stays: the next access reports it */
		if (err && err != -EAGAIN && err != -EHWPOISON)
			return err;
		if (err != -EAGAIN)
			at.addr += PAGE_SIZE;
		/* after a page: a call that restarts makes progress */
		if (fatal_signal_pending(current) ||
		    (flags & KSM_UNSHARE_SIGNAL && signal_pending(current)))
			return -EINTR;
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
 * @flags: KSM_UNSHARE_SIGNAL: any signal ends it, not only a fatal one;
 *	KSM_UNSHARE_BORROWED: only frames that another cgroup pays for
 *
 * Context: mmap_lock, for reading or writing; sleeps.
 * Return: 0, -ENOMEM, -EINTR, or -ENOLCK in a worker that would have to wait.
 */
int ksm_unshare_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, unsigned int flags)
{
	if (!vma->anon_vma || !vma->vm_mm->ksm)
		return 0;
	return walk_page_range_vma(vma, start, end, &ksm_unshare_ops,
				   (void *)(unsigned long)flags);
}

/**
 * ksm_unshare_locked - unshare a part of a VMA, with faults kept out
 * @vma: the VMA
 * @start: first address
 * @end: address after the last
 *
 * A fault that holds the VMA's own lock maps a merged frame from the swap cache
 * without mmap_lock, behind the walk. The VMA's lock keeps such faults out
 * until mmap_lock is dropped.
 *
 * Context: mmap_lock for writing; sleeps.
 * Return: as ksm_unshare_range(); a pending signal ends it.
 */
int ksm_unshare_locked(struct vm_area_struct *vma, unsigned long start,
		       unsigned long end)
{
	vma_start_write(vma);
	return ksm_unshare_range(vma, start, end, KSM_UNSHARE_SIGNAL);
}

/**
 * ksm_unshare_entry - replace what one entry shares by an exclusive page
 * @vma: the VMA
 * @pmd: the entry's page table
 * @addr: the entry's address
 *
 * Context: mmap_lock or the VMA's lock; sleeps.
 * Return: 0, -ENOENT if nothing is merged there, -EAGAIN if the entry changes,
 * -ENOMEM, or -EHWPOISON.
 */
int ksm_unshare_entry(struct vm_area_struct *vma, pmd_t *pmd,
		      unsigned long addr)
{
	struct ksm_shared at = { .addr = addr };
	int err;

	if (!ksm_unshare_next(vma, pmd, addr + PAGE_SIZE, 0, &at))
		return -ENOENT;
	err = ksm_unshare_one(vma, pmd, &at, KSM_UNSHARE_ALONE);
	if (at.page)
		put_page(at.page);
	return err;
}
