// SPDX-License-Identifier: GPL-2.0
/*
 * Merged frames: from the folio to its node and back, and the end of a node.
 *
 * A node holds no reference on its frame, so that the last unmapping frees the
 * frame. The node is taken back later: the last unmapping puts it on a list
 * that a worker goes through, whatever the scanner does. Until then anybody
 * who comes from the node must be prepared to find the frame gone, reused or
 * on its way to another place. The same worker looks after frames that may
 * have lost their payer, see payer.c.
 */
#include <linux/prefetch.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

#define KSM_REVIEW_DELAY	(HZ / 10)
#define KSM_REVIEW_AGAIN	HZ

static LLIST_HEAD(ksm_review_nodes);
static void ksm_review_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(ksm_review_work, ksm_review_work_fn);

/**
 * ksm_folio_node - the node of a merged frame
 * @folio: the frame
 *
 * Return: NULL for any other folio.
 */
struct ksm_node *ksm_folio_node(const struct folio *folio)
{
	return folio_test_ksm(folio) ? folio_raw_mapping(folio) : NULL;
}

/**
 * ksm_folio_set_node - make a folio a merged frame, or no longer
 * @folio: a locked folio
 * @node: its node or NULL
 */
void ksm_folio_set_node(struct folio *folio, struct ksm_node *node)
{
	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	folio->mapping = (void *)((unsigned long)node | PAGE_MAPPING_KSM);
}

/**
 * ksm_node_folio - get hold of a node's frame
 * @node: the node, kept by domain->mutex
 *
 * The frame can be freed or migrated at any time. Migration freezes its
 * references to zero for a moment and writes the node's new pfn before it
 * changes the old folio's mapping; a zero count with the mapping intact and no
 * swap cache means that the frame is being freed.
 *
 * Context: ksm_gate, so that no pfn names memory that is being taken away.
 * Return: the folio with a reference, NULL if it is gone for good.
 */
struct folio *ksm_node_folio(struct ksm_node *node)
{
	void *mine = (void *)((unsigned long)node | PAGE_MAPPING_KSM);

	for (;;) {
		unsigned long pfn = READ_ONCE(node->pfn);
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
				/* frozen, not free: reclaim or migration has it */
				cpu_relax();
				continue;
			}
		}
		/* pairs with folio_migrate_ksm(): new pfn, then old mapping */
		smp_rmb();
		if (READ_ONCE(node->pfn) == pfn)
			return NULL;
	}
}

/* Frames lie anywhere, so that each struct page is to be waited for. */
static void ksm_node_prefetch(struct ksm_node *node)
{
	unsigned long pfn = READ_ONCE(node->pfn);

	if (pfn != KSM_NO_PFN)
		prefetch(pfn_to_page(pfn));
}

/**
 * ksm_node_alloc - make a node
 * @domain: whose frame it will be
 *
 * Return: the node, without a frame and in no list; NULL without memory.
 */
struct ksm_node *ksm_node_alloc(struct ksm_domain *domain)
{
	struct ksm_node *node;

	node = kmem_cache_zalloc(ksm_node_cache,
				 GFP_NOWAIT | __GFP_HIGH | __GFP_NOWARN);
	if (!node)
		return NULL;
	refcount_inc(&domain->ref);
	node->domain = domain;
	INIT_LIST_HEAD(&node->content_link);
	INIT_LIST_HEAD(&node->link);
	INIT_HLIST_HEAD(&node->recs);
	return node;
}

/**
 * ksm_node_free - take a node back
 * @node: a node whose frame is gone, or never was
 *
 * Context: domain->mutex; the caller keeps the domain.
 */
void ksm_node_free(struct ksm_node *node)
{
	trace_ksm_remove_ksm_page(node->pfn);
	ksm_content_del(node);
	list_del(&node->link);
	ksm_node_drop_recs(node);
	ksm_domain_put(node->domain);
	kmem_cache_free(ksm_node_cache, node);
}

/**
 * ksm_node_review - a node is to be looked at
 * @node: the node: its frame lost its last mapping, or perhaps its payer
 *
 * Context: page table lock of a mapping that the caller takes away or has.
 */
void ksm_node_review(struct ksm_node *node)
{
	if (test_and_set_bit(0, &node->review_queued))
		return;
	if (llist_add(&node->review, &ksm_review_nodes))
		queue_delayed_work(system_unbound_wq, &ksm_review_work,
				   KSM_REVIEW_DELAY);
}

/* Returns false if the node is to be looked at again. */
static bool ksm_review_one(struct ksm_node *node, bool *drain)
{
	struct ksm_domain *domain = node->domain;
	struct folio *folio;
	bool done;

	refcount_inc(&domain->ref);
	mutex_lock(&domain->mutex);
	clear_bit(0, &node->review_queued);
	/* pairs with ksm_node_review(): what it tells of now comes again */
	smp_mb__after_atomic();
	folio = ksm_node_folio(node);
	if (!folio) {
		/* unless the last unmapping has put it on the list again */
		if (!atomic_read(&node->mapped) &&
		    !test_and_set_bit(0, &node->review_queued))
			ksm_node_free(node);
		done = true;
	} else {
		/* not mapped: it is in the swap cache, or about to be freed */
		done = atomic_read(&node->mapped) &&
		       ksm_payer_settle(node, folio);
		if (!done && test_and_set_bit(0, &node->review_queued))
			done = true;
		*drain |= !done && !folio_test_lru(folio);
		folio_put(folio);
	}
	mutex_unlock(&domain->mutex);
	ksm_domain_put(domain);
	return done;
}

/*
 * Go through the list once; true if some are to be looked at again, @drain if
 * some CPU's batch on the way to the LRU may be what keeps one.
 */
static bool ksm_review_pass(bool *drain)
{
	struct ksm_node *node, *next;
	bool more = false;

	llist_for_each_entry_safe(node, next, llist_del_all(&ksm_review_nodes),
				  review) {
		ksm_gate_enter();
		if (node->review.next)
			ksm_node_prefetch(next);
		if (!ksm_review_one(node, drain)) {
			llist_add(&node->review, &ksm_review_nodes);
			more = true;
		}
		ksm_gate_leave();
		cond_resched();
	}
	return more;
}

static void ksm_review_work_fn(struct work_struct *work)
{
	bool drain = false;

	if (!ksm_review_pass(&drain))
		return;
	if (drain)
		lru_add_drain_all();
	queue_delayed_work(system_unbound_wq, &ksm_review_work,
			   KSM_REVIEW_AGAIN);
}

/**
 * ksm_node_forget - make a frame that nobody maps an ordinary folio
 * @node: its node
 *
 * Context: ksm_gate, domain->mutex; sleeps.
 * Return: false if it is mapped.
 */
bool ksm_node_forget(struct ksm_node *node)
{
	struct folio *folio = ksm_node_folio(node);
	bool forgotten;

	if (!folio)
		return true;
	folio_lock(folio);
	/* with the folio locked, nobody maps it anew from the swap cache */
	forgotten = !atomic_read(&node->mapped) && !folio_mapped(folio);
	if (forgotten && ksm_folio_node(folio) == node) {
		ksm_folio_set_node(folio, NULL);
		WRITE_ONCE(node->pfn, KSM_NO_PFN);
		ksm_content_del(node);
	}
	folio_unlock(folio);
	folio_put(folio);
	return forgotten;
}

/**
 * ksm_review_flush - take back the nodes of frames that are gone, now
 *
 * Context: sleeps; no locks.
 */
void ksm_review_flush(void)
{
	mod_delayed_work(system_unbound_wq, &ksm_review_work, 0);
	flush_delayed_work(&ksm_review_work);
}

/**
 * ksm_nodes_prune - let go of frames in a range of memory that is going away
 * @domain: where
 * @start: first pfn
 * @end: pfn after the last
 *
 * Context: the gate is closed; domain->mutex.
 */
void ksm_nodes_prune(struct ksm_domain *domain, unsigned long start,
		     unsigned long end)
{
	struct ksm_node *node;

	list_for_each_entry(node, &domain->nodes, link) {
		if (node->pfn >= start && node->pfn < end) {
			WRITE_ONCE(node->pfn, KSM_NO_PFN);
			ksm_content_del(node);
			/* a broken frame may still be mapped: until it is not */
			if (!atomic_read(&node->mapped))
				ksm_node_review(node);
		}
	}
}
