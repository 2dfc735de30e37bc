// SPDX-License-Identifier: GPL-2.0
/*
 * Reviewing merged frames: the folio may be gone, it may have lost its payer,
 * or orphans may lead nowhere.
 *
 * No frame is reviewed forever:
 *  - if the payer no longer maps a frame and no other cgroup is found, it is
 *    reviewed KSM_REVIEW_TRIES times in a row, and from then on when a record
 *    is added or a mapping made or ended, see ksm_frame_changed();
 *  - an unmapped frame whose folio lives on, in the swap cache or pinned, is
 *    let go after as many reviews, and a poisoned one at once; that needs the
 *    folio lock, which is tried until it is free;
 *  - orphans are checked when mappings change, see orphan.c;
 *  - the LRU batches are drained for as many reviews of a frame, and at most
 *    once in KSM_REVIEW_AGAIN for all frames.
 * The work of a review is charged in the scheduler to the group that pays for
 * the frame.
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
/* Reviews of one frame in a row without a result. */
#define KSM_REVIEW_TRIES	30
/* Replacing a mapping by a migration entry and back, after it was found. */
#define KSM_REVIEW_MOVES	2

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

	while (page_vma_mapped_walk(&pvmw)) {
		/* the page table lock keeps the mapping, and that the slot */
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
	}
	return !heirs->kept;
}

static bool ksm_review_hand_over(struct ksm_frame *frame, struct folio *folio,
				 struct mem_cgroup *from, struct mem_cgroup *to)
{
	bool done = false;

	/* writeback must end in the cgroup whose statistics it began in */
	if (folio_test_writeback(folio) || !folio_isolate_lru(folio))
		return false;
	atomic_or(KSM_FRAME_MOVING, &frame->flags);
	try_to_migrate(folio, 0);
	if (!folio_mapped(folio)) {
		ksm_charge_move(folio, from, to);
		done = true;
	}
	remove_migration_ptes(folio, folio, 0);
	atomic_andnot(KSM_FRAME_MOVING, &frame->flags);
	folio_putback_lru(folio);
	return done;
}

/*
 * Hand a frame over with no lock that the scan needs, as a throttled process
 * may hold the lock of an anon_vma for long. Only this worker frees frames.
 * Unlocks the folio, as the domain's mutex is taken before folio locks.
 */
static bool ksm_review_hand_over_unlocked(struct ksm_frame *frame,
					  struct folio *folio,
					  struct ksm_heirs *heirs)
{
	bool done;

	mutex_unlock(&frame->domain->mutex);
	ksm_gate_read_unlock();
	done = ksm_review_hand_over(frame, folio, heirs->payer, heirs->heir);
	folio_unlock(folio);
	ksm_gate_read_lock();
	mutex_lock(&frame->domain->mutex);
	return done;
}

/*
 * Charge a frame to a cgroup that maps it; false: try again later. @work is
 * raised by what that takes, in cache lines.
 */
static bool ksm_review_payer(struct ksm_frame *frame, struct folio *folio,
			     unsigned long *work)
{
	struct ksm_heirs heirs = {};
	struct rmap_walk_control rwc = {
		.rmap_one = ksm_heirs_one,
		.arg = &heirs,
		.try_lock = true,
	};
	unsigned long looks;
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
	looks = ksm_rmap_walk(folio, &rwc);
	/*
	 * An exiting process cannot become the payer, and a mapping that has
	 * no record yet may not be found: try again later. A mapping that
	 * fork made can be found twice, by its own record and by the parent's.
	 */
	if (!heirs.kept)
		done = heirs.heir && !rwc.contended &&
		       heirs.nr >= atomic_read(&frame->mapped);
	if (!heirs.kept && done) {
		looks += KSM_REVIEW_MOVES * heirs.nr;
		done = ksm_review_hand_over_unlocked(frame, folio, &heirs);
	} else {
		folio_unlock(folio);
	}
	*work += looks * KSM_LOOK_CACHELINES;
	if (heirs.heir)
		mem_cgroup_put(heirs.heir);
	return done;

unlock:
	folio_unlock(folio);
	return done;
}
#else
static bool ksm_review_payer(struct ksm_frame *frame, struct folio *folio,
			     unsigned long *work)
{
	return true;
}
#endif

/* ------------------------------------------------------------- the worker */

/*
 * An unmapped frame whose folio lives on: in the swap cache, pinned, poisoned,
 * or just being freed. Returns false if it is to be reviewed again.
 *
 * A pinned folio that nothing maps stays charged to its cgroup, as any
 * anonymous page does. It only can no longer be mapped as a merged frame.
 */
static bool ksm_review_unmapped(struct ksm_frame *frame, struct folio *folio)
{
	bool done;

	if (!folio_test_hwpoison(folio) && frame->tries < KSM_REVIEW_TRIES)
		return false;
	/* held while the folio is migrated, or read from or written to swap */
	if (!folio_trylock(folio))
		return false;
	done = ksm_frame_let_go(frame, folio);
	folio_unlock(folio);
	return done;
}

/**
 * struct ksm_review - a run of the worker, on its stack
 * @again: frames to review again
 * @drain: an LRU batch may hold one of these
 * @dead: records to free once no lock is held
 */
struct ksm_review {
	struct llist_head again;
	bool drain;
	struct hlist_head dead;
};

/* A review had no result: repeat it without waiting for a change? */
static bool ksm_review_retry(struct ksm_review *review, struct ksm_frame *frame,
			     struct folio *folio)
{
	bool mapped = atomic_read(&frame->mapped);

	if (!folio_test_lru(folio) && !folio_test_hwpoison(folio))
		review->drain = true;
	if (frame->tries < KSM_REVIEW_TRIES)
		frame->tries++;
	atomic_or(KSM_FRAME_PAYER, &frame->flags);
	if (!mapped || frame->tries < KSM_REVIEW_TRIES)
		return true;
	frame->tries = 0;
	return false;
}

static void ksm_review_charge(struct folio *folio, unsigned long work)
{
	/* memory failure may uncharge the folio at any time */
	rcu_read_lock();
	ksm_queue_charge(ksm_group_pays(folio), work);
	rcu_read_unlock();
}

/* Returns true if the frame is to be reviewed again without a change. */
static bool ksm_review_folio(struct ksm_review *review, struct ksm_frame *frame,
			     struct folio *folio, bool payer)
{
	bool mapped = atomic_read(&frame->mapped), settled = true;
	unsigned long work = KSM_LOOK_CACHELINES;
	bool again = false;

	/* before the last try, which sees the changes that were not reported */
	if (frame->tries + 1 >= KSM_REVIEW_TRIES)
		atomic_fetch_or(KSM_FRAME_WAITS, &frame->flags);
	if (!mapped)
		settled = ksm_review_unmapped(frame, folio);
	else if (payer)
		settled = ksm_review_payer(frame, folio, &work);

	if (settled)
		frame->tries = 0;
	else
		again = ksm_review_retry(review, frame, folio);
	if (mapped)
		again |= ksm_frame_check_orphans(frame, folio, &review->dead,
						 &work);
	if (settled && !ksm_frame_has_orphans(frame))
		atomic_andnot(KSM_FRAME_WAITS, &frame->flags);
	ksm_review_charge(folio, work);
	return again;
}

/*
 * The folio is gone: free the frame unless it was queued again. Returns true if
 * it is to be reviewed again, as a walker holds its records.
 */
static bool ksm_review_gone(struct ksm_review *review, struct ksm_frame *frame)
{
	if (atomic_read(&frame->mapped) ||
	    atomic_fetch_or(KSM_FRAME_QUEUED, &frame->flags) & KSM_FRAME_QUEUED)
		return false;
	if (!ksm_frame_drop_recs(frame, &review->dead))
		return true;
	ksm_frame_free(frame);
	return false;
}

/* Returns true if the frame is to be reviewed again. */
static bool ksm_review_one(struct ksm_review *review, struct ksm_frame *frame)
{
	struct ksm_domain *domain = frame->domain;
	struct folio *folio;
	bool again = false;
	int flags;

	refcount_inc(&domain->ref);
	mutex_lock(&domain->mutex);
	/* and a barrier: what is reported later queues the frame again */
	flags = atomic_fetch_andnot(KSM_FRAME_QUEUED | KSM_FRAME_PAYER,
				    &frame->flags);
	folio = ksm_frame_folio(frame);
	if (folio) {
		again = ksm_review_folio(review, frame, folio,
					 flags & KSM_FRAME_PAYER);
		folio_put(folio);
	}
	if (!folio || READ_ONCE(frame->pfn) == KSM_NO_PFN)
		again = ksm_review_gone(review, frame);
	else if (again)
		again = !(atomic_fetch_or(KSM_FRAME_QUEUED, &frame->flags) &
			  KSM_FRAME_QUEUED);
	mutex_unlock(&domain->mutex);
	ksm_domain_put(domain);
	return again;
}

/* Frames are scattered, so each struct page is a cache miss. */
static void ksm_review_prefetch(struct ksm_frame *frame)
{
	unsigned long pfn = READ_ONCE(frame->pfn);

	if (pfn != KSM_NO_PFN)
		prefetch(pfn_to_page(pfn));
}

/* Review what is queued, once. */
static void ksm_review_pass(struct ksm_review *review)
{
	struct ksm_frame *frame, *next;

	llist_for_each_entry_safe(frame, next, ksm_review_take(), review) {
		ksm_gate_read_lock();
		if (frame->review.next)
			ksm_review_prefetch(next);
		if (ksm_review_one(review, frame))
			llist_add(&frame->review, &review->again);
		ksm_gate_read_unlock();
		ksm_recs_free(&review->dead);
		cond_resched();
	}
}

/* A drain runs on every CPU, so limit how often. */
static void ksm_review_drain(void)
{
	static u64 next;

	if (time_before64(get_jiffies_64(), next))
		return;
	lru_add_drain_all();
	next = get_jiffies_64() + KSM_REVIEW_AGAIN;
}

static void ksm_review_work_fn(struct work_struct *work)
{
	struct ksm_review review = {};

	ksm_review_pass(&review);
	if (llist_empty(&review.again))
		return;
	ksm_review_return(&review.again);
	if (review.drain)
		ksm_review_drain();
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

	start = ksm_pte_map_lock(vma, pmd, addr, &ptl);
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
