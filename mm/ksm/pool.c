// SPDX-License-Identifier: GPL-2.0
/*
 * Fresh frames for merged contents.
 *
 * User space must not choose the page frame that a content ends up in: an
 * attacker that knows the next one can prepare its neighbours. A plain
 * allocation returns the frame that this CPU freed last. So frames are drawn at
 * random from a small stock for each NUMA node, which is filled beforehand. The
 * stock also helps when memory is short, which is when merging is needed most.
 */
#include <linux/nodemask.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "ksm.h"

#define KSM_POOL_SIZE	(3 * KSM_BLOCK_PAGES)

/**
 * struct ksm_pool - a node's stock
 * @lock: everything here
 * @nr: frames in stock
 * @folio: the frames, uncharged and with one reference
 *
 * Allocated at boot, or when the node is first stocked; never freed.
 */
struct ksm_pool {
	spinlock_t lock;	/* everything here */
	unsigned int nr;
	struct folio *folio[KSM_POOL_SIZE];
};

static struct ksm_pool *ksm_pools[MAX_NUMNODES];

static struct ksm_pool *ksm_pool_of(int nid)
{
	/* pairs with the cmpxchg() in ksm_pool_make() */
	return smp_load_acquire(&ksm_pools[nid]);
}

/* Not requested from the node, as that would keep it from going offline. */
static struct ksm_pool *ksm_pool_make(int nid, gfp_t gfp)
{
	struct ksm_pool *pool = ksm_pool_of(nid), *old;

	if (pool)
		return pool;
	pool = kzalloc(sizeof(*pool), gfp);
	if (!pool)
		return NULL;
	spin_lock_init(&pool->lock);
	old = cmpxchg(&ksm_pools[nid], NULL, pool);
	if (!old)
		return pool;
	kfree(pool);
	return old;
}

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
 * ksm_pool_init - make the stocks of the nodes that have memory
 *
 * Nodes that get memory later are tried at each refill.
 *
 * Context: boot.
 */
void __init ksm_pool_init(void)
{
	int nid;

	for_each_node_state(nid, N_MEMORY)
		ksm_pool_make(nid, GFP_KERNEL);
}

/**
 * ksm_pool_refill - stock up
 * @most: limit of frames to add for each node
 *
 * Stops at the first allocation that fails: a merge that finds no frame fails,
 * and its page is tried again.
 *
 * Context: any that may allocate without sleeping.
 */
void ksm_pool_refill(unsigned int most)
{
	const gfp_t gfp = (GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN |
			   __GFP_THISNODE) & ~__GFP_DIRECT_RECLAIM;
	int nid;

	/* frames in stock cannot be migrated: take none while offlining */
	if (!ksm_gate_read_trylock())
		return;
	for_each_node_state(nid, N_MEMORY) {
		struct ksm_pool *pool = ksm_pool_make(nid, KSM_GFP_SCAN);
		unsigned int n = most;
		struct folio *folio;

		while (pool && READ_ONCE(pool->nr) < KSM_POOL_SIZE && n--) {
			folio = __folio_alloc_node_noprof(gfp, 0, nid);
			if (!folio)
				break;
			if (!ksm_pool_add(pool, folio)) {
				folio_put(folio);
				break;
			}
		}
	}
	ksm_gate_read_unlock();
}

/**
 * ksm_pool_get - draw a frame
 * @nid: the node that it should be on
 *
 * Context: any that allows a spinlock.
 * Return: a frame with one reference, neither charged nor on the LRU; NULL if
 * the node's stock is empty.
 */
struct folio *ksm_pool_get(int nid)
{
	struct ksm_pool *pool = ksm_pool_of(nid);
	struct folio *folio = NULL;
	unsigned int i;

	if (!pool)
		return NULL;
	spin_lock(&pool->lock);
	if (pool->nr) {
		i = get_random_u32_below(pool->nr);
		folio = pool->folio[i];
		pool->folio[i] = pool->folio[--pool->nr];
	}
	spin_unlock(&pool->lock);
	/* a memory error may have hit it in stock */
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
	struct ksm_pool *pool;
	struct folio *folio;
	int nid;

	for_each_node(nid) {
		pool = ksm_pool_of(nid);
		while (pool && READ_ONCE(pool->nr)) {
			folio = ksm_pool_get(nid);
			if (folio)
				folio_put(folio);
		}
	}
}
