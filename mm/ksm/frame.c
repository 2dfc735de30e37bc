// SPDX-License-Identifier: GPL-2.0
/*
 * Merged frames: from a folio to its struct ksm_frame and back.
 *
 * A frame holds no reference on its folio, so the last unmapping frees the
 * folio, whatever the scanner does, and only queues the frame for review.c.
 * Until the review frees the frame, every path from it to the folio must expect
 * the folio to be gone, reused, or under migration.
 */
#include <linux/hash.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

#define KSM_REVIEW_DELAY	(HZ / 10)
#define KSM_RMAP_SEM_BITS	6

struct kmem_cache *ksm_frame_cache;

/* Each covers the removal of records from frames that hash to it. */
static struct rw_semaphore ksm_rmap_sem[1 << KSM_RMAP_SEM_BITS];

/* Frames to review. The worker is in review.c. */
static LLIST_HEAD(ksm_review_frames);
struct delayed_work ksm_review_work;

void __init ksm_frames_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ksm_rmap_sem); i++)
		init_rwsem(&ksm_rmap_sem[i]);
}

/**
 * ksm_frame_sem - the semaphore that covers the removal of a frame's records
 * @frame: the frame
 *
 * Context: any.
 * Return: the semaphore, which other frames share.
 */
struct rw_semaphore *ksm_frame_sem(const struct ksm_frame *frame)
{
	return &ksm_rmap_sem[hash_ptr(frame, KSM_RMAP_SEM_BITS)];
}

/**
 * ksm_folio_frame - the frame of a merged folio
 * @folio: the folio
 *
 * Context: the folio is mapped or locked, else the answer may be stale.
 * Return: NULL unless the folio is merged.
 */
struct ksm_frame *ksm_folio_frame(const struct folio *folio)
{
	return folio_test_ksm(folio) ? folio_raw_mapping(folio) : NULL;
}

/**
 * ksm_folio_set_frame - make a folio a merged one, or an ordinary one again
 * @folio: the folio, locked
 * @frame: its frame or NULL
 *
 * Context: folio lock.
 */
void ksm_folio_set_frame(struct folio *folio, struct ksm_frame *frame)
{
	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	folio->mapping = (void *)((unsigned long)frame | PAGE_MAPPING_KSM);
}

/**
 * ksm_frame_folio - get a frame's folio
 * @frame: the frame, kept by domain->mutex
 *
 * The folio can be freed or migrated at any time. Migration freezes its
 * references to zero for a moment and writes the frame's new pfn before it
 * changes the old folio's mapping; a zero count with the mapping intact and no
 * swap cache means that the folio is being freed.
 *
 * Context: ksm_gate, so that no pfn names memory that is being taken away.
 * Return: the folio with a reference, NULL if it is gone for good.
 */
struct folio *ksm_frame_folio(struct ksm_frame *frame)
{
	void *mine = (void *)((unsigned long)frame | PAGE_MAPPING_KSM);

	for (;;) {
		unsigned long pfn = READ_ONCE(frame->pfn);
		struct folio *folio;

		if (pfn == KSM_NO_PFN)
			return NULL;
		folio = pfn_folio(pfn);
		if (READ_ONCE(folio->mapping) == mine) {
			if (folio_try_get(folio)) {
				if (READ_ONCE(folio->mapping) == mine)
					return folio;
				folio_put(folio);
			} else if (folio_test_swapcache(folio)) {
				/* frozen by reclaim or migration, not free */
				cpu_relax();
				continue;
			}
		}
		/* pairs with folio_migrate_ksm(): new pfn, then old mapping */
		smp_rmb();
		if (READ_ONCE(frame->pfn) == pfn)
			return NULL;
	}
}

/**
 * ksm_frame_alloc - allocate a frame
 * @domain: its domain
 *
 * Context: any.
 * Return: the frame, without a folio and on no list; NULL without memory.
 */
struct ksm_frame *ksm_frame_alloc(struct ksm_domain *domain)
{
	struct ksm_frame *frame;

	frame = kmem_cache_zalloc(ksm_frame_cache, KSM_GFP_MERGE);
	if (!frame)
		return NULL;
	refcount_inc(&domain->ref);
	frame->domain = domain;
	INIT_LIST_HEAD(&frame->content_link);
	INIT_LIST_HEAD(&frame->link);
	INIT_HLIST_HEAD(&frame->recs);
	return frame;
}

/* Detach a frame from its folio; nothing is merged into it from now on. */
static void ksm_frame_lose_folio(struct ksm_frame *frame)
{
	if (frame->pfn != KSM_NO_PFN)
		trace_ksm_remove_ksm_page(frame->pfn);
	WRITE_ONCE(frame->pfn, KSM_NO_PFN);
	ksm_content_del(frame);
}

/**
 * ksm_frame_free - free a frame
 * @frame: a frame without records, whose folio is gone or never was; queued for
 *	review if it was ever mapped, so that it is never queued again
 *
 * The hook that counted its last mapping may still be in ksm_frame_review().
 *
 * Context: domain->mutex; the caller keeps the domain.
 */
void ksm_frame_free(struct ksm_frame *frame)
{
	WARN_ON_ONCE(!hlist_empty(&frame->recs));
	ksm_frame_lose_folio(frame);
	list_del(&frame->link);
	ksm_domain_put(frame->domain);
	kfree_rcu(frame, rcu);
}

static void ksm_frame_queue(struct ksm_frame *frame, int flags)
{
	flags = atomic_fetch_or(flags | KSM_FRAME_QUEUED, &frame->flags);
	if (flags & KSM_FRAME_QUEUED)
		return;
	if (llist_add(&frame->review, &ksm_review_frames))
		queue_delayed_work(system_unbound_wq, &ksm_review_work,
				   KSM_REVIEW_DELAY);
}

/**
 * ksm_frame_review - have the worker review a frame
 * @frame: the frame: its folio lost its last mapping, or perhaps its payer
 *
 * Context: domain->mutex, or the page table lock of a mapping of the folio,
 * which may have been counted as gone already.
 */
void ksm_frame_review(struct ksm_frame *frame)
{
	ksm_frame_queue(frame, KSM_FRAME_PAYER);
}

/**
 * ksm_frame_changed - a record was added, or a mapping made or ended
 * @frame: the frame
 *
 * Queues a review of a frame with orphans that may lead nowhere now, or of one
 * for which no payer was found before.
 *
 * Context: as ksm_frame_review().
 */
void ksm_frame_changed(struct ksm_frame *frame)
{
	int flags = atomic_read(&frame->flags);

	/* a review replaces mappings: do not have that queue the next one */
	if (!(flags & KSM_FRAME_WAITS) || flags & KSM_FRAME_MOVING)
		return;
	atomic_inc(&frame->changes);
	ksm_frame_queue(frame, 0);
}

/**
 * ksm_review_take - take the frames that are to be reviewed
 *
 * Context: the worker.
 * Return: the list of them.
 */
struct llist_node *ksm_review_take(void)
{
	return llist_del_all(&ksm_review_frames);
}

/**
 * ksm_review_return - requeue frames that are to be reviewed again
 * @frames: the frames, still marked as queued
 *
 * Context: the worker, which queues itself.
 */
void ksm_review_return(struct llist_head *frames)
{
	struct llist_node *first = llist_del_all(frames), *last = first;

	while (last && last->next)
		last = last->next;
	if (first)
		llist_add_batch(first, last, &ksm_review_frames);
}

/**
 * ksm_frame_let_go - make an unmapped frame's folio an ordinary one
 * @frame: the frame
 * @folio: its folio, locked, so that no fault maps it from the swap cache
 *
 * The frame can be freed then. If the folio lives on, in the swap cache or
 * pinned, it stays charged as it is, and swap-in copies it.
 *
 * Context: domain->mutex, folio lock.
 * Return: false if it is mapped, or no longer the frame's folio.
 */
bool ksm_frame_let_go(struct ksm_frame *frame, struct folio *folio)
{
	if (ksm_folio_frame(folio) != frame || atomic_read(&frame->mapped) ||
	    folio_mapped(folio))
		return false;
	ksm_folio_set_frame(folio, NULL);
	ksm_frame_lose_folio(frame);
	return true;
}

/* Let go of an unmapped frame, whatever holds it; false if it is mapped. */
static bool ksm_frame_forget(struct ksm_frame *frame)
{
	struct folio *folio;
	bool mapped = false;

	while (!mapped && (folio = ksm_frame_folio(frame))) {
		folio_lock(folio);
		/* if not, it was migrated before it was locked: try again */
		if (ksm_folio_frame(folio) == frame)
			mapped = !ksm_frame_let_go(frame, folio);
		folio_unlock(folio);
		folio_put(folio);
	}
	return !mapped;
}

static bool ksm_domain_forget(struct ksm_domain *domain)
{
	struct ksm_frame *frame;

	list_for_each_entry(frame, &domain->frames, link) {
		if (atomic_read(&frame->mapped) || !ksm_frame_forget(frame))
			return false;
		cond_resched();
	}
	return true;
}

/**
 * ksm_frames_forget - let go of all merged folios that nothing maps
 *
 * They may live on in the swap cache, but nothing is merged with them again.
 * Ends at the first mapped folio, so a domain's mutex is held only for those
 * that are not.
 *
 * Context: ksm_gate_write_lock(), so that no new one is made; sleeps.
 * Return: false if some folio is mapped.
 */
bool ksm_frames_forget(void)
{
	struct ksm_domain *domain = NULL;
	bool all;

	while ((domain = ksm_domain_next(domain))) {
		mutex_lock(&domain->mutex);
		all = ksm_domain_forget(domain);
		mutex_unlock(&domain->mutex);
		if (!all) {
			ksm_domain_put(domain);
			return false;
		}
	}
	return true;
}

static void ksm_domain_prune(struct ksm_domain *domain, unsigned long start,
			     unsigned long end)
{
	struct ksm_frame *frame;

	list_for_each_entry(frame, &domain->frames, link) {
		cond_resched();
		if (frame->pfn < start || frame->pfn >= end)
			continue;
		ksm_frame_lose_folio(frame);
		/* of a poisoned folio, the last unmapping queues the frame */
		if (!atomic_read(&frame->mapped))
			ksm_frame_review(frame);
	}
}

/**
 * ksm_frames_prune - let go of the folios in memory that went offline
 * @start: first pfn
 * @end: pfn after the last
 *
 * Context: the gate is closed; sleeps.
 */
void ksm_frames_prune(unsigned long start, unsigned long end)
{
	struct ksm_domain *domain = NULL;

	while ((domain = ksm_domain_next(domain))) {
		mutex_lock(&domain->mutex);
		ksm_domain_prune(domain, start, end);
		mutex_unlock(&domain->mutex);
	}
}
