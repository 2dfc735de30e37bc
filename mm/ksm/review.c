// SPDX-License-Identifier: GPL-2.0
/*
 * Reviewing merged frames: the folio may be gone, it may have lost its payer,
 * or orphans may lead nowhere.
 *
 * mapping.c queues a frame for review at its last unmapping, at an unmapping by
 * the cgroup that pays or by a process that brought its merged frames from
 * another cgroup, and at a swap-in by a cgroup that does not pay. If the payer
 * no longer maps the frame, it is charged to a cgroup that does.
 *
 * While the charge moves nothing maps the frame: its mappings are migration
 * entries, at which a fault waits for the folio lock, and it is on no LRU list.
 * So the removal and return of the mappings update LRU lists, the cgroups'
 * statistics and the engine's books, and no reader sees them half changed.
 */
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

#define KSM_REVIEW_AGAIN	HZ

/* -------------------------------------------------------------- the payer */

#ifdef CONFIG_MEMCG
/**
 * struct ksm_heirs - the cgroups that map a frame, on the worker's stack
 * @payer: the cgroup that the frame is charged to
 * @heir: another cgroup that maps it, with a reference, or NULL
 * @nr: mappings that were found, some perhaps twice
 * @kept: @payer still maps the frame
 */
struct ksm_heirs {
	struct mem_cgroup *payer;
	struct mem_cgroup *heir;
	int nr;
	bool kept;
};

static bool ksm_heirs_one(struct folio *folio, struct vm_area_struct *vma,
			  unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	struct ksm_heirs *heirs = arg;
	struct mem_cgroup *memcg;
	struct ksm_slot *slot;

	if (!page_vma_mapped_walk(&pvmw))
		return true;
	/* the page table lock keeps the mapping, which keeps the slot */
	heirs->nr++;
	slot = vma->vm_mm->ksm;
	spin_lock(&slot->books.lock);
	memcg = slot->books.group->memcg;
	if (memcg == heirs->payer)
		heirs->kept = true;
	else if (!heirs->heir && ksm_mm_live(vma->vm_mm) &&
		 css_tryget(&memcg->css))
		heirs->heir = memcg;
	spin_unlock(&slot->books.lock);
	page_vma_mapped_walk_done(&pvmw);
	return !heirs->kept;
}

static bool ksm_review_hand_over(struct folio *folio, struct mem_cgroup *from,
				 struct mem_cgroup *to)
{
	bool done = false;

	/* writeback must end in the cgroup whose statistics it began in */
	if (folio_test_writeback(folio) || !folio_isolate_lru(folio))
		return false;
	try_to_migrate(folio, 0);
	if (!folio_mapped(folio)) {
		ksm_charge_move(folio, from, to);
		done = true;
	}
	remove_migration_ptes(folio, folio, 0);
	folio_putback_lru(folio);
	return done;
}

/* Charge a frame to a cgroup that maps it; false: try again later. */
static bool ksm_review_payer(struct ksm_frame *frame, struct folio *folio)
{
	struct ksm_heirs heirs = {};
	struct rmap_walk_control rwc = {
		.rmap_one = ksm_heirs_one,
		.arg = &heirs,
	};
	bool done = true;

	/* without migration entries a frame cannot be unmapped for a while */
	if (mem_cgroup_disabled() || !IS_ENABLED(CONFIG_MIGRATION) ||
	    !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return true;
	if (!folio_trylock(folio))
		return false;
	if (ksm_folio_frame(folio) != frame || folio_test_hwpoison(folio))
		goto unlock;
	heirs.payer = folio_memcg(folio);
	if (!heirs.payer)
		goto unlock;
	ksm_rmap_walk(folio, &rwc);
	/*
	 * An exiting process cannot become the payer, and a mapping without
	 * memory for its record is not found: try again later. A mapping that
	 * fork made can be found twice, by its own record and by the parent's.
	 */
	if (!heirs.kept)
		done = heirs.heir && heirs.nr >= atomic_read(&frame->mapped) &&
		       ksm_review_hand_over(folio, heirs.payer, heirs.heir);
	if (heirs.heir)
		mem_cgroup_put(heirs.heir);
unlock:
	folio_unlock(folio);
	return done;
}
#else
static bool ksm_review_payer(struct ksm_frame *frame, struct folio *folio)
{
	return true;
}
#endif

/* ------------------------------------------------------------- the worker */

/* The folio is gone: free the frame unless it was queued again. */
static void ksm_review_gone(struct ksm_frame *frame)
{
	if (atomic_read(&frame->mapped) ||
	    test_and_set_bit(0, &frame->review_queued))
		return;
	ksm_frame_drop_recs(frame);
	ksm_frame_free(frame);
}

/* Returns false if the frame is to be reviewed again. */
static bool ksm_review_one(struct ksm_frame *frame, bool *drain)
{
	struct ksm_domain *domain = frame->domain;
	struct folio *folio;
	bool done = true;

	refcount_inc(&domain->ref);
	mutex_lock(&domain->mutex);
	clear_bit(0, &frame->review_queued);
	/* pairs with ksm_frame_review(): later reports queue the frame again */
	smp_mb__after_atomic();
	folio = ksm_frame_folio(frame);
	if (folio) {
		/* unmapped: the folio is in the swap cache, or being freed */
		done = atomic_read(&frame->mapped) &&
		       ksm_review_payer(frame, folio);
		*drain |= !done && !folio_test_lru(folio);
		done &= ksm_frame_prune_orphans(frame);
		if (!done && test_and_set_bit(0, &frame->review_queued))
			done = true;
		folio_put(folio);
	} else {
		ksm_review_gone(frame);
	}
	mutex_unlock(&domain->mutex);
	ksm_domain_put(domain);
	return done;
}

/* Frames are scattered, so each struct page is a cache miss. */
static void ksm_review_prefetch(struct ksm_frame *frame)
{
	unsigned long pfn = READ_ONCE(frame->pfn);

	if (pfn != KSM_NO_PFN)
		prefetch(pfn_to_page(pfn));
}

/*
 * Review what is queued, once. @again gets frames to review again; @drain is
 * set if an LRU batch may hold one of these.
 */
static void ksm_review_pass(struct llist_head *again, bool *drain)
{
	struct ksm_frame *frame, *next;

	llist_for_each_entry_safe(frame, next, ksm_review_take(), review) {
		ksm_gate_read_lock();
		if (frame->review.next)
			ksm_review_prefetch(next);
		if (!ksm_review_one(frame, drain))
			llist_add(&frame->review, again);
		ksm_gate_read_unlock();
		cond_resched();
	}
}

static void ksm_review_work_fn(struct work_struct *work)
{
	LLIST_HEAD(again);
	bool drain = false;

	ksm_review_pass(&again, &drain);
	if (llist_empty(&again))
		return;
	ksm_review_return(&again);
	if (drain)
		lru_add_drain_all();
	queue_delayed_work(system_unbound_wq, &ksm_review_work,
			   KSM_REVIEW_AGAIN);
}

void __init ksm_review_init(void)
{
	INIT_DELAYED_WORK(&ksm_review_work, ksm_review_work_fn);
}

/**
 * ksm_review_flush - free the frames whose folios are gone, now
 *
 * Context: sleeps; no locks.
 */
void ksm_review_flush(void)
{
	mod_delayed_work(system_unbound_wq, &ksm_review_work, 0);
	flush_delayed_work(&ksm_review_work);
}

/* ----------------------------------------------- frames of a whole process */

/*
 * The folio that an entry is for. If it was migrated already, this is the old
 * folio; the first mapping of the new one has the frame reviewed.
 */
static struct folio *ksm_pte_folio(struct vm_area_struct *vma,
				   unsigned long addr, pte_t pte)
{
	struct page *page;

	if (pte_present(pte)) {
		page = vm_normal_page(vma, addr, pte);
		return page ? page_folio(page) : NULL;
	}
	if (is_swap_pte(pte) && is_migration_entry(pte_to_swp_entry(pte)))
		return pfn_swap_entry_folio(pte_to_swp_entry(pte));
	return NULL;
}

static int ksm_review_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
			  struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl;	/* of the page table */
	pte_t *start, *ptep;

	start = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	ptep = start;
	if (!start)
		return 0;
	for (; addr < end; addr += PAGE_SIZE, ptep++) {
		struct folio *folio = ksm_pte_folio(vma, addr, ptep_get(ptep));
		struct ksm_frame *frame = folio ? ksm_folio_frame(folio) : NULL;

		if (frame)
			ksm_frame_review(frame);
	}
	pte_unmap_unlock(start, ptl);
	cond_resched();
	return 0;
}

static const struct mm_walk_ops ksm_review_ops = {
	.pmd_entry = ksm_review_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_review_range - have all frames reviewed that a range maps
 * @vma: a VMA of a process that left a cgroup
 * @start: first address
 * @end: address after the last
 *
 * Context: mmap_lock; sleeps.
 * Return: 0.
 */
int ksm_review_range(struct vm_area_struct *vma, unsigned long start,
		     unsigned long end)
{
	return walk_page_range_vma(vma, start, end, &ksm_review_ops, NULL);
}
