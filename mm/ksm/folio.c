// SPDX-License-Identifier: GPL-2.0
/*
 * Merged folios in reclaim, migration, memory failure and swap-in.
 */
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "ksm.h"

/**
 * rmap_walk_ksm - visit the mappings of a merged folio
 * @folio: the folio, locked
 * @rwc: what to do there
 *
 * Context: folio lock; sleeps, unless @rwc says to try.
 */
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	ksm_rmap_walk(folio, rwc);
}

#ifdef CONFIG_MEMORY_FAILURE
/**
 * struct ksm_victims - arguments of collect_procs_ksm(), on its stack
 * @page: the poisoned page
 * @to_kill: list to add to
 * @force_early: see mm/memory-failure.c
 */
struct ksm_victims {
	struct page *page;
	struct list_head *to_kill;
	int force_early;
};

static void ksm_collect_vma(struct ksm_rec *rec, struct ksm_victims *victims,
			    struct task_struct *task)
{
	struct anon_vma_chain *avc;

	anon_vma_interval_tree_foreach(avc, &rec->anon_vma->rb_root,
				       rec->pgoff, rec->pgoff) {
		struct vm_area_struct *vma = avc->vma;
		unsigned long addr = vma_address(vma, rec->pgoff, 1);

		if (vma->vm_mm == task->mm && addr != -EFAULT)
			add_to_kill_ksm(task, victims->page, vma,
					victims->to_kill, addr);
	}
}

static bool ksm_collect_rec(struct ksm_rec *rec, void *arg)
{
	struct ksm_victims *victims = arg;
	struct task_struct *process, *task;

	anon_vma_lock_read(rec->anon_vma);
	rcu_read_lock();
	for_each_process(process) {
		task = task_early_kill(process, victims->force_early);
		if (task)
			ksm_collect_vma(rec, victims, task);
	}
	rcu_read_unlock();
	anon_vma_unlock_read(rec->anon_vma);
	return true;
}

/**
 * collect_procs_ksm - the processes that map a poisoned merged folio
 * @folio: the folio, locked
 * @page: its page
 * @to_kill: list to add to
 * @force_early: see mm/memory-failure.c
 *
 * Context: folio lock; sleeps.
 */
void collect_procs_ksm(struct folio *folio, struct page *page,
		       struct list_head *to_kill, int force_early)
{
	struct ksm_frame *frame = ksm_folio_frame(folio);
	struct ksm_victims victims = {
		.page = page,
		.to_kill = to_kill,
		.force_early = force_early,
	};

	if (frame)
		ksm_rmap_for_each(frame, ksm_collect_rec, &victims);
}
#endif

#ifdef CONFIG_MIGRATION
/**
 * folio_migrate_ksm - a merged folio is moved to another
 * @newfolio: where to; its mapping is set already
 * @folio: where from
 *
 * Context: both locked.
 */
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio)
{
	struct ksm_frame *frame = ksm_folio_frame(folio);

	if (!frame)
		return;
	VM_WARN_ON_FOLIO(newfolio->mapping != folio->mapping, newfolio);
	WRITE_ONCE(frame->pfn, folio_pfn(newfolio));
	/* pairs with ksm_frame_folio(): new pfn, then old mapping */
	smp_wmb();
	ksm_folio_set_frame(folio, NULL);
}
#endif

/* May a merged folio in the swap cache be mapped here as it is? */
static bool ksm_swapin_merged_fits(struct ksm_frame *frame,
				   struct vm_area_struct *vma)
{
	struct ksm_slot *slot = vma->vm_mm->ksm;

	return frame && slot &&
	       READ_ONCE(slot->queue.state) == KSM_SLOT_ACTIVE &&
	       READ_ONCE(slot->books.domain) == frame->domain &&
	       READ_ONCE(ksm_knobs.run) != KSM_RUN_UNMERGE &&
	       ksm_vma_eligible(ksm_slot_policy(slot), vma);
}

/* May a folio in the swap cache be mapped here as it is? */
static bool ksm_swapin_fits(struct folio *folio, struct vm_area_struct *vma,
			    unsigned long addr)
{
	struct anon_vma *anon_vma = folio_anon_vma(folio);
	struct ksm_slot *slot = vma->vm_mm->ksm;

	if (folio_test_ksm(folio))
		return ksm_swapin_merged_fits(ksm_folio_frame(folio), vma);
	/* sharing in swap may come from merging in another domain */
	if (slot && READ_ONCE(slot->books.crossed) &&
	    folio_test_swapcache(folio) &&
	    (folio_mapped(folio) || __swap_count(folio->swap) > 1))
		return false;
	/* just read from swap, it belongs to no anon_vma yet */
	if (!anon_vma)
		return true;
	return anon_vma->root == vma->anon_vma->root &&
	       folio->index == linear_page_index(vma, addr);
}

/**
 * ksm_might_need_to_copy - a folio found in the swap cache is to be mapped
 * @folio: the folio, locked
 * @vma: where
 * @addr: at which address
 *
 * A folio that was swapped in for one process belongs to that process's
 * anon_vma, so another process that shared it as a merged frame cannot map it.
 * Nor may a merged frame be mapped in another domain.
 *
 * Context: page fault; sleeps.
 * Return: @folio, or a locked copy for this mapping alone; NULL without
 * memory, ERR_PTR(-EHWPOISON) if the copy met poisoned memory.
 */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr)
{
	struct folio *copy;

	if (folio_test_large(folio) || ksm_swapin_fits(folio, vma, addr))
		return folio;
	if (folio_test_hwpoison(folio))
		return ERR_PTR(-EHWPOISON);
	/* the fault reports the error in more detail */
	if (!folio_test_uptodate(folio))
		return folio;

	copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vma, addr, false);
	if (!copy)
		return NULL;
	if (mem_cgroup_charge(copy, vma->vm_mm, GFP_KERNEL)) {
		folio_put(copy);
		return NULL;
	}
	if (copy_mc_user_highpage(folio_page(copy, 0), folio_page(folio, 0),
				  addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	__folio_set_locked(copy);
	__folio_mark_uptodate(copy);
	folio_set_dirty(copy);
#ifdef CONFIG_SWAP
	count_vm_event(KSM_SWPIN_COPY);
#endif
	return copy;
}
