// SPDX-License-Identifier: GPL-2.0
/*
 * Fresh frames for merged contents.
 *
 * Which frame a content ends up on must not be for user space to choose:
 * whoever knows which frame comes next can prepare its neighbours. A plain
 * allocation would hand out what was freed last on this CPU. So frames are
 * drawn at random from a small stock for each NUMA node, filled in one go
 * beforehand. The stock also serves when memory is short, which is when
 * merging is wanted most.
 */
#include <linux/random.h>

#include "ksm.h"

#define KSM_POOL_SIZE	(3 * KSM_BLOCK_PAGES)

/**
 * struct ksm_pool - a node's stock
 * @lock: everything
 * @nr: frames in stock
 * @folio: the frames, uncharged and with one reference
 */
struct ksm_pool {
	spinlock_t lock;	/* everything */
	unsigned int nr;
	struct folio *folio[KSM_POOL_SIZE];
};

static struct ksm_pool ksm_pools[MAX_NUMNODES] = {
	[0 ... MAX_NUMNODES - 1] = {
		.lock = __SPIN_LOCK_UNLOCKED(ksm_pools.lock),
	},
};

static bool ksm_pool_add(struct ksm_pool *pool, struct folio *folio)
{
	bool room;

	spin_lock(&pool->lock);
	room = pool->nr < KSM_POOL_SIZE;
	if (room)
		pool->folio[pool->nr++] = folio;
	spin_unlock(&pool->lock);
	return room;
}

/**
 * ksm_pool_refill - stock up
 * @most: frames to take for each node at most
 *
 * Tries once for each frame that is missing and leaves it at that: whoever
 * finds the stock empty skips the merge.
 *
 * Context: any that may allocate without sleeping.
 */
void ksm_pool_refill(unsigned int most)
{
	const gfp_t gfp = (GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN |
			   __GFP_THISNODE) & ~__GFP_DIRECT_RECLAIM;
	int nid;

	/* not while memory goes: what we took could not be moved away */
	if (!ksm_gate_try())
		return;
	for_each_node_state(nid, N_MEMORY) {
		struct ksm_pool *pool = &ksm_pools[nid];
		unsigned int n = most;
		struct folio *folio;

		while (READ_ONCE(pool->nr) < KSM_POOL_SIZE && n--) {
			folio = __folio_alloc_node_noprof(gfp, 0, nid);
			if (!folio)
				break;
			if (!ksm_pool_add(pool, folio)) {
				folio_put(folio);
				break;
			}
		}
	}
	ksm_gate_leave();
}

/**
 * ksm_pool_get - draw a frame
 * @nid: the node that it should be on
 *
 * Return: a frame with one reference, neither charged nor on the LRU; NULL
 * where the node's stock is empty and cannot be refilled now.
 */
struct folio *ksm_pool_get(int nid)
{
	struct ksm_pool *pool = &ksm_pools[nid];
	struct folio *folio = NULL;
	unsigned int i;

	spin_lock(&pool->lock);
	if (pool->nr) {
		i = get_random_u32_below(pool->nr);
		folio = pool->folio[i];
		pool->folio[i] = pool->folio[--pool->nr];
	}
	spin_unlock(&pool->lock);
	/* it may have broken while it lay here; one try less, then */
	if (folio && folio_test_hwpoison(folio)) {
		folio_put(folio);
		folio = NULL;
	}
	return folio;
}

/**
 * ksm_pool_drain - give the stock back
 *
 * Context: any that may free pages.
 */
void ksm_pool_drain(void)
{
	struct folio *folio;
	int nid;

	for_each_node(nid) {
		while (READ_ONCE(ksm_pools[nid].nr)) {
			folio = ksm_pool_get(nid);
			if (folio)
				folio_put(folio);
		}
	}
}
