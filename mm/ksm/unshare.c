// SPDX-License-Identifier: GPL-2.0
/*
 * Unsharing: the way back, from a merged frame or a zero page that merging
 * placed to a page of one's own.
 *
 * It does not go through a page fault: a fault charges with GFP_KERNEL and, in
 * a cgroup at its limit, ends in the OOM killer. Whoever switches merging off
 * wants to be told that there is too little memory instead. So memory is taken
 * with __GFP_RETRY_MAYFAIL, and what was done so far is kept.
 *
 * Slots that carry mappings of another domain's frames are unshared by a
 * worker of its own, whatever the scanner does or is told to do.
 */
#include <linux/delay.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/task_work.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

#define KSM_UNSHARE_GFP	(__GFP_RETRY_MAYFAIL | __GFP_NOWARN)
#define KSM_UNSHARE_BATCH	(4 * PMD_SIZE)
#define KSM_FOREIGN_RETRY	(HZ / 10)
#define KSM_UNSHARE_AHEAD	4	/* pages asked for before their turn */
#define KSM_CATCH_TRIES		100
#define KSM_CATCH_WORK		1000

static LIST_HEAD(ksm_foreign_slots);
static void ksm_foreign_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(ksm_foreign_work, ksm_foreign_work_fn);

/* Is there something at this entry that merging put there? */
static bool ksm_pte_shared(struct vm_area_struct *vma, unsigned long addr,
			   pte_t pte)
{
	struct page *page;

	if (!pte_present(pte))
		return is_swap_pte(pte) &&
		       is_migration_entry(pte_to_swp_entry(pte)) &&
		       folio_test_ksm(pfn_swap_entry_folio(pte_to_swp_entry(pte)));
	if (is_ksm_zero_pte(pte))
		return true;
	page = vm_normal_page(vma, addr, pte);
	return page && folio_test_ksm(page_folio(page));
}

static struct folio *ksm_unshare_copy(struct vm_area_struct *vma,
				      unsigned long addr, struct page *from)
{
	struct folio *copy;

	copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE | KSM_UNSHARE_GFP, 0, vma,
			       addr, false);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	if (ksm_slot_charge_folio(vma->vm_mm->ksm, copy,
				  GFP_KERNEL | KSM_UNSHARE_GFP)) {
		folio_put(copy);
		return ERR_PTR(-ENOMEM);
	}
	if (!from) {
		clear_user_highpage(folio_page(copy, 0), addr);
	} else if (copy_mc_user_highpage(folio_page(copy, 0), from, addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	__folio_mark_uptodate(copy);
	/* whoever shares it by fork must not lose it to another's MADV_FREE */
	folio_set_dirty(copy);
	return copy;
}

/*
 * Map @copy in place of @old, if that is what the entry still says; @page is
 * what it maps, NULL for the zero page. Returns whether it did.
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
 * struct ksm_shared - an entry to unshare, as it was seen
 * @addr: where
 * @pte: what it said
 * @page: what it maps, with a reference; NULL for the zero page, and for a frame
 *	that is on its way to another place
 *
 * On the stack of who walks the page table.
 */
struct ksm_shared {
	unsigned long addr;
	pte_t pte;
	struct page *page;
};

/* One entry; if it has changed since it was seen, nothing is done. */
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
 * Frames lie anywhere, so each is waited for: ask for the struct page first, then
 * for what is to be copied.
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
		page = ksm_pte_page(vma, near, ptep_get(ptep + KSM_UNSHARE_AHEAD));
	if (page && folio_test_ksm(page_folio(page)))
		prefetch(page_address(page));
}

/* The next entry of this page table to unshare, from @at->addr; false if none. */
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
		/* broken memory stays where it is: whoever reads it will know */
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
 * @killable: a signal ends it
 *
 * Context: mmap_lock, in either way.
 * Return: 0, -ENOMEM or -EINTR; what was done before is kept.
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
 * __ksm_give_up - MADV_FREE comes by an entry, see ksm_give_up()
 * @vma: the mapping's VMA
 * @addr: where
 * @ptep: the entry and
 * @pte: what it says
 *
 * Pages of its own keep their entries, which do not show that they are given
 * up: the scanner is to look at each page once.
 *
 * Context: page table lock held.
 * Return: true if that was merged; the entry is empty now.
 */
bool __ksm_give_up(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
		   pte_t pte)
{
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = NULL;

	if (!mm->ksm)
		return false;
	WRITE_ONCE(mm->ksm->afresh, true);
	if (!is_ksm_zero_pte(pte)) {
		page = vm_normal_page(vma, addr, pte);
		if (!page || !folio_test_ksm(page_folio(page)))
			return false;
	}
	flush_cache_page(vma, addr, pte_pfn(pte));
	/* what is put off there has to be done before the frame is freed */
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

/* Not even while all its frames are on their way to another place? */
static bool ksm_slot_merged(struct ksm_mm *slot)
{
	return READ_ONCE(slot->gauge[KSM_G_MERGING]) ||
	       READ_ONCE(slot->gauge[KSM_G_ZERO]) || READ_ONCE(slot->tracked);
}

/*
 * The VMA at or after an address, with mmap_lock held; NULL if there is none
 * or the mm is at its end. A fork that failed half way still has its parent's.
 */
static struct vm_area_struct *ksm_unshare_vma(struct mm_struct *mm,
					      unsigned long addr)
{
	if (!atomic_read(&mm->mm_users) || test_bit(MMF_UNSTABLE, &mm->flags))
		return NULL;
	return find_vma(mm, addr);
}

typedef int (*ksm_range_fn)(struct vm_area_struct *vma, unsigned long start,
			    unsigned long end);

/*
 * A worker does not wait for an mmap_lock: a process can keep it for as long as
 * it likes. But one that changes its mappings all the time has to be caught.
 */
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

/* Some of a process's memory, with mmap_lock held; @addr: where to go on. */
static int ksm_some_ranges(struct ksm_mm *slot, ksm_spare_fn spare,
			   ksm_range_fn fn, unsigned long *addr, bool *end)
{
	struct vm_area_struct *vma;
	unsigned long start, stop;
	int err = 0, nr = 0;

	do {
		vma = ksm_unshare_vma(slot->mm, *addr);
		*end = !vma;
		if (*end)
			break;
		start = max(*addr, vma->vm_start);
		stop = vma->vm_end;
		if (vma->anon_vma && !(spare && spare(slot, vma))) {
			/* a piece with page tables counts as a hundred without */
			stop = min(stop, start + KSM_UNSHARE_BATCH);
			err = fn(vma, start, stop);
			nr += 100 * DIV_ROUND_UP(stop - start, PMD_SIZE);
		}
		*addr = stop;
	} while (!err && ++nr < KSM_CATCH_WORK &&
		 (nr < 100 || !mmap_lock_is_contended(slot->mm)));
	return err;
}

/*
 * Call a function for all of a process's anonymous memory from @addr on, piece
 * by piece; mmap_lock is given back now and then.
 */
static int ksm_each_range(struct ksm_mm *slot, ksm_spare_fn spare,
			  ksm_range_fn fn, unsigned long *addr)
{
	bool killable = !(current->flags & (PF_KTHREAD | PF_EXITING));
	struct mm_struct *mm = slot->mm;
	bool end = false;
	int err = 0;

	while (!err && !end) {
		if (killable && mmap_read_lock_killable(mm))
			return -EINTR;
		if (!killable && !ksm_mmap_catch(mm))
			return -EAGAIN;
		err = ksm_some_ranges(slot, spare, fn, addr, &end);
		mmap_read_unlock(mm);
		cond_resched();
	}
	return err;
}

static int ksm_unshare_piece(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end)
{
	return ksm_unshare_range(vma, start, end,
				 !(current->flags & (PF_KTHREAD | PF_EXITING)));
}

/* Signals are no excuse here, and one that kills ends it all. */
static int ksm_unshare_whole(struct vm_area_struct *vma, unsigned long start,
			     unsigned long end)
{
	return ksm_unshare_range(vma, start, end, false);
}

static int ksm_unshare_from(struct ksm_mm *slot, ksm_spare_fn spare,
			    ksm_range_fn fn, unsigned long *addr)
{
	int err;

	if (!ksm_slot_merged(slot))
		return 0;
	err = ksm_each_range(slot, spare, fn, addr);
	ksm_drain_later();
	return err;
}

/**
 * ksm_unshare_mm - unshare what is merged in a process
 * @slot: the process
 * @spare: says which VMAs to leave as they are, or NULL
 *
 * Context: sleeps.
 * Return: 0, -ENOMEM; -EINTR where the caller is a user's task with a signal,
 * -EAGAIN where it is a worker and the process is busy.
 */
int ksm_unshare_mm(struct ksm_mm *slot, ksm_spare_fn spare)
{
	unsigned long addr = 0;

	return ksm_unshare_from(slot, spare, ksm_unshare_piece, &addr);
}

/**
 * ksm_unshare_foreign - a process that forks has mappings that it may not have
 * @mm: the process
 *
 * The child would get them, too, and a chain of forks be faster than any
 * worker. What cannot be done now is left to that.
 *
 * Context: mmap_lock for writing; sleeps.
 */
void ksm_unshare_foreign(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	if (!READ_ONCE(mm->ksm->gauge[KSM_G_FOREIGN]))
		return;
	for_each_vma(vmi, vma) {
		if (vma->anon_vma &&
		    ksm_unshare_range(vma, vma->vm_start, vma->vm_end, true))
			return;
	}
}

/**
 * ksm_unshare_queue - a slot carries mappings that it may not have
 * @slot: the slot
 *
 * Context: any that allows a spinlock.
 */
void ksm_unshare_queue(struct ksm_mm *slot)
{
	/* every entry that fork copies may come by here */
	if (!list_empty_careful(&slot->foreign))
		return;
	spin_lock(&ksm_lock);
	ksm_slot_foreign(slot);
	spin_unlock(&ksm_lock);
}

/**
 * ksm_slot_foreign - the same with ksm_lock held
 * @slot: the slot
 */
void ksm_slot_foreign(struct ksm_mm *slot)
{
	lockdep_assert_held(&ksm_lock);
	if (slot->dead || !list_empty(&slot->foreign))
		return;
	kref_get(&slot->ref);
	list_add_tail(&slot->foreign, &ksm_foreign_slots);
	queue_delayed_work(system_unbound_wq, &ksm_foreign_work, 0);
}

static struct ksm_mm *ksm_foreign_first(void)
{
	struct ksm_mm *slot;

	spin_lock(&ksm_lock);
	slot = list_first_entry_or_null(&ksm_foreign_slots, struct ksm_mm,
					foreign);
	if (slot)
		list_del_init(&slot->foreign);
	spin_unlock(&ksm_lock);
	return slot;
}

/*
 * What is foreign, or of a process that takes no part any more, is undone. What
 * came along from another group may have lost its payer. @addr: where to go on
 * unsharing, for somebody who does not get to the end in one go.
 */
static int ksm_tidy_slot(struct ksm_mm *slot, unsigned long *addr)
{
	unsigned int moves = READ_ONCE(slot->moves);
	int err = 0;

	/* all of it: the page table does not say whose a frame is */
	if (READ_ONCE(slot->gauge[KSM_G_FOREIGN]) || !READ_ONCE(slot->takes_part))
		err = ksm_unshare_from(slot, NULL, ksm_unshare_whole, addr);
	/* what is left, or came behind us, is for the next time */
	if (!err)
		*addr = 0;
	if (!err && moves != READ_ONCE(slot->moves_seen)) {
		/* from the start: it may have moved again since it was begun */
		unsigned long from = 0;

		if (READ_ONCE(slot->gauge[KSM_G_MERGING]))
			err = ksm_each_range(slot, NULL, ksm_payer_review, &from);
		/* where it exits, the end of each mapping has the frame reviewed */
		if (!err && atomic_read(&slot->mm->mm_users) &&
		    !test_bit(MMF_UNSTABLE, &slot->mm->flags))
			WRITE_ONCE(slot->moves_seen, moves);
	}
	if (!err && (!READ_ONCE(slot->takes_part) ||
		     READ_ONCE(slot->tracked) != READ_ONCE(slot->domain)))
		ksm_track_drop(slot);
	return err;
}

#ifdef CONFIG_MEMCG
static void ksm_unshare_self(struct callback_head *self)
{
	struct ksm_mm *slot = container_of(self, struct ksm_mm, self);
	unsigned long addr = 0;

	if (current->mm == slot->mm && !READ_ONCE(slot->dead))
		ksm_tidy_slot(slot, &addr);
	spin_lock(&ksm_lock);
	slot->asked_self = false;
	spin_unlock(&ksm_lock);
	ksm_slot_put(slot);
}

/*
 * A process that keeps its mmap_lock busy is to do the same by itself, before
 * it comes back to user space: it waits for its own lock, at its own cost.
 */
static void ksm_unshare_ask(struct ksm_mm *slot)
{
	struct task_struct *task;
	bool ask = false;

	rcu_read_lock();
	task = rcu_dereference(slot->mm->owner);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return;
	spin_lock(&ksm_lock);
	if (!slot->asked_self && !slot->dead) {
		slot->asked_self = true;
		kref_get(&slot->ref);
		ask = true;
	}
	spin_unlock(&ksm_lock);
	if (ask) {
		init_task_work(&slot->self, ksm_unshare_self);
		if (task_work_add(task, &slot->self, TWA_SIGNAL)) {
			spin_lock(&ksm_lock);
			slot->asked_self = false;
			spin_unlock(&ksm_lock);
			ksm_slot_put(slot);
		}
	}
	put_task_struct(task);
}
#else
static void ksm_unshare_ask(struct ksm_mm *slot)
{
}
#endif

static void ksm_foreign_work_fn(struct work_struct *work)
{
	struct ksm_mm *slot;
	LIST_HEAD(again);

	while ((slot = ksm_foreign_first())) {
		int err = ksm_tidy_slot(slot, &slot->tidy);

		if (err == -EAGAIN)
			ksm_unshare_ask(slot);
		spin_lock(&ksm_lock);
		slot->stuck = !slot->dead &&
			      (err || READ_ONCE(slot->gauge[KSM_G_FOREIGN]));
		if (slot->stuck && list_empty(&slot->foreign)) {
			list_add(&slot->foreign, &again);
			slot = NULL;
		}
		spin_unlock(&ksm_lock);
		if (slot)
			ksm_slot_put(slot);
	}

	spin_lock(&ksm_lock);
	if (!list_empty(&again)) {
		list_splice(&again, &ksm_foreign_slots);
		mod_delayed_work(system_unbound_wq, &ksm_foreign_work,
				 KSM_FOREIGN_RETRY);
	}
	spin_unlock(&ksm_lock);
}

static int ksm_unmerge_slot(struct ksm_mm *slot, void *arg)
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
	int err = ksm_visit_slots(&ksm_root_group, ksm_unmerge_slot, NULL);

	ksm_review_flush();
	ksm_pool_drain();
	return err;
}
