// SPDX-License-Identifier: GPL-2.0
/*
 * What is remembered of a page between two visits.
 *
 * A slot has blocks of 64 pages, by address: eleven bytes per page, and four
 * more for its bucket in the index. A block is freed when nothing is remembered
 * of its pages any more, or when a pass did not visit it, as it has no eligible
 * memory then. The cgroup that has the memory pays for its blocks, see
 * charge.c.
 *
 * Context: ksm_domain.mutex of the domain that the slot is tracked in.
 */
#include <linux/slab.h>

#include "scan.h"

struct kmem_cache *ksm_block_cache;

/* Blocks to drop under one hold of the domain's mutex. */
#define KSM_DROP_BLOCKS	8

/*
 * A block, its part of a node of the domain's array of blocks, and a bucket of
 * the index for each page. The buckets count from the beginning, so a block
 * that finds room can also index its pages.
 */
#define KSM_BLOCK_BYTES	((long)(sizeof(struct ksm_block) + \
				sizeof(struct xa_node) / XA_CHUNK_SIZE + \
				sizeof(u32) * KSM_BLOCK_PAGES))

static void ksm_track_mod(struct ksm_scan *scan, struct ksm_slot *slot,
			  enum ksm_gauge gauge, long nr)
{
	if (scan->slot == slot)
		scan->delta[gauge] += nr;
	else
		ksm_slot_mod(slot, gauge, nr);
}

/* ----------------------------------------------------------------- blocks */

static struct ksm_domain *ksm_block_domain(struct ksm_block *block)
{
	return block->slot->track.domain;
}

/**
 * ksm_block_find - find the block of an address
 * @slot: whose memory
 * @addr: any address in the block
 *
 * Context: the domain's mutex.
 * Return: the block or NULL.
 */
struct ksm_block *ksm_block_find(struct ksm_slot *slot, unsigned long addr)
{
	return xa_load(&slot->track.blocks, addr >> KSM_BLOCK_SHIFT);
}

/**
 * ksm_block_make - find or allocate the block of an address
 * @scan: the scan, of the slot that has the memory
 * @addr: any address in the block
 *
 * Context: the domain's mutex; does not sleep.
 * Return: the block; NULL without room under the limit, or without memory,
 * which @scan->missed then says.
 */
struct ksm_block *ksm_block_make(struct ksm_scan *scan, unsigned long addr)
{
	struct ksm_slot *slot = scan->slot;
	struct ksm_block *block = ksm_block_find(slot, addr);
	struct xarray *blocks = &slot->track.blocks;
	long bytes;

	if (block)
		return block;
	if (!ksm_charge_room(slot))
		return NULL;
	block = kmem_cache_zalloc(ksm_block_cache, KSM_GFP_SCAN);
	if (!block)
		goto nomem;
	block->slot = slot;
	block->base = addr & KSM_BLOCK_MASK;
	/* skip id 0, so that no index entry has the name 0 */
	if (xa_alloc(&scan->domain->blocks, &block->id, block,
		     XA_LIMIT(1, U32_MAX / KSM_BLOCK_PAGES - 1), KSM_GFP_SCAN))
		goto free;
	bytes = KSM_BLOCK_BYTES +
		ksm_array_bytes(blocks, addr, KSM_BLOCK_SHIFT);
	if (xa_err(xa_store(blocks, addr >> KSM_BLOCK_SHIFT, block,
			    KSM_GFP_SCAN)))
		goto erase;
	/* at once, not with the slice: the next block asks for room */
	ksm_slot_mod(slot, KSM_G_METADATA, bytes);
	return block;

erase:
	xa_erase(&scan->domain->blocks, block->id);
free:
	kmem_cache_free(ksm_block_cache, block);
nomem:
	scan->missed |= KSM_MISSED_MEMORY;
	return NULL;
}

/**
 * ksm_block_digests - allocate the digests of a block
 * @block: the block
 *
 * Context: the domain's mutex; does not sleep.
 * Return: 0, -ENOMEM, or -EDQUOT without room for them under the limit.
 */
int ksm_block_digests(struct ksm_block *block)
{
	if (block->digest)
		return 0;
	if (!ksm_charge_room(block->slot))
		return -EDQUOT;
	block->digest = kcalloc(KSM_BLOCK_PAGES, sizeof(u32), KSM_GFP_SCAN);
	if (!block->digest)
		return -ENOMEM;
	ksm_slot_mod(block->slot, KSM_G_METADATA,
		     KSM_BLOCK_PAGES * sizeof(u32));
	return 0;
}

/**
 * ksm_block_free - free a block whose pages are all KSM_S_NONE
 * @block: the block
 *
 * Context: the domain's mutex.
 */
void ksm_block_free(struct ksm_block *block)
{
	struct ksm_slot *slot = block->slot;
	long bytes = KSM_BLOCK_BYTES;

	WARN_ON_ONCE(block->nr);
	if (block->digest)
		bytes += KSM_BLOCK_PAGES * sizeof(u32);
	xa_erase(&ksm_block_domain(block)->blocks, block->id);
	xa_erase(&slot->track.blocks, block->base >> KSM_BLOCK_SHIFT);
	bytes += ksm_array_bytes(&slot->track.blocks, block->base,
				 KSM_BLOCK_SHIFT);
	ksm_slot_mod(slot, KSM_G_METADATA, -bytes);
	kfree(block->digest);
	kmem_cache_free(ksm_block_cache, block);
}

/* ------------------------------------------------------------------ pages */

static bool ksm_state_indexed(enum ksm_page_state state)
{
	return state == KSM_S_BY_SAMPLE || state == KSM_S_BY_DIGEST;
}

/* States of unmerged pages, whose visits since a change are counted. */
static bool ksm_state_aging(enum ksm_page_state state)
{
	return state == KSM_S_VOLATILE || ksm_state_indexed(state);
}

/**
 * ksm_page_set - a page goes from one state to another
 * @scan: the scan
 * @block: the page's block; sample and digest are as in the index if the old
 *	state is indexed, and as to be entered if only @state is
 * @i: which page
 * @state: the new state
 *
 * Takes the page out of the index or enters it as the states say; without
 * memory to enter it, the page becomes KSM_S_VOLATILE and is tried again at a
 * later visit. Deletes the rec of a page that was KSM_S_MERGED; the caller adds
 * the rec of one that becomes so.
 *
 * Context: the domain's mutex.
 */
void ksm_page_set(struct ksm_scan *scan, struct ksm_block *block,
		  unsigned int i, enum ksm_page_state state)
{
	struct ksm_domain *domain = ksm_block_domain(block);
	enum ksm_page_state old = block->state[i];

	if (ksm_state_indexed(old)) {
		ksm_index_del(domain, block, i);
		ksm_track_mod(scan, block->slot, KSM_G_UNSHARED, -1);
	} else if (old == KSM_S_VOLATILE) {
		ksm_track_mod(scan, block->slot, KSM_G_VOLATILE, -1);
	} else if (old == KSM_S_MERGED && state != KSM_S_MERGED) {
		ksm_rec_del(scan, block->slot, block->base + i * PAGE_SIZE);
		block->own &= ~BIT_ULL(i);
	}
	block->nr += !!state - !!old;
	block->state[i] = state;
	if (!ksm_state_aging(state) || !ksm_state_aging(old))
		block->age[i] = 0;

	if (ksm_state_indexed(state)) {
		if (!ksm_index_add(domain, block, i)) {
			ksm_track_mod(scan, block->slot, KSM_G_UNSHARED, 1);
		} else {
			block->state[i] = KSM_S_VOLATILE;
			scan->missed |= KSM_MISSED_MEMORY;
		}
	}
	if (block->state[i] == KSM_S_VOLATILE)
		ksm_track_mod(scan, block->slot, KSM_G_VOLATILE, 1);
}

/**
 * ksm_page_forget - forget a page that is gone, or takes no part any more
 * @scan: the scan
 * @block: the page's block
 * @i: which page
 *
 * Context: the domain's mutex.
 */
void ksm_page_forget(struct ksm_scan *scan, struct ksm_block *block,
		     unsigned int i)
{
	block->credited &= ~BIT_ULL(i);
	block->ambiguous &= ~BIT_ULL(i);
	block->reread &= ~BIT_ULL(i);
	if (block->state[i] != KSM_S_NONE)
		ksm_page_set(scan, block, i, KSM_S_NONE);
}

/**
 * ksm_page_resample - set a page's new sample and reset what depends on it
 * @block: the page's block
 * @i: which page, not in the index by its sample
 * @sample: the sample
 *
 * Context: the domain's mutex.
 */
void ksm_page_resample(struct ksm_block *block, unsigned int i, u32 sample)
{
	block->sample[i] = sample;
	block->age[i] = 0;
	block->ambiguous &= ~BIT_ULL(i);
	block->reread &= ~BIT_ULL(i);
}

/**
 * ksm_page_revisit - have the next visit sample a page, and read it whole
 * @block: the page's block
 * @i: which page
 *
 * Context: the domain's mutex.
 */
void ksm_page_revisit(struct ksm_block *block, unsigned int i)
{
	block->age[i] = min(block->age[i], KSM_AGE_REVISIT);
}

/* --------------------------------------------------------------- tracking */

static void ksm_block_drop(struct ksm_scan *scan, struct ksm_block *block)
{
	unsigned int i;

	for (i = 0; block->nr && i < KSM_BLOCK_PAGES; i++)
		ksm_page_forget(scan, block, i);
	ksm_block_free(block);
}

/**
 * ksm_track_sweep - after a pass: drop the blocks that it did not visit
 * @scan: the scan, at the end of its slot's pass
 *
 * The work is one cache line for each block, and one for each page to forget.
 *
 * Context: the domain's mutex.
 * Return: true at the end; false if the slice is over first and the next one
 * has to resume.
 */
bool ksm_track_sweep(struct ksm_scan *scan)
{
	struct ksm_slot *slot = scan->slot;
	struct ksm_pass *pass = &slot->pass;
	struct ksm_block *block;
	unsigned long index;

	xa_for_each_start(&slot->track.blocks, index, block, pass->swept) {
		scan->work++;
		if (block->pass != pass->nr || !ksm_block_used(block)) {
			scan->work += block->nr;
			ksm_block_drop(scan, block);
		}
		if (scan->work >= scan->limit.budget || need_resched()) {
			pass->swept = index + 1;
			return false;
		}
	}
	pass->sweeping = false;
	pass->swept = 0;
	return true;
}

/**
 * ksm_track_enter - track a slot in a domain
 * @slot: the slot
 * @domain: the domain
 *
 * Context: domain->mutex.
 * Return: false while the slot is tracked in another domain: call
 * ksm_track_drop() without the mutex and try again.
 */
bool ksm_track_enter(struct ksm_slot *slot, struct ksm_domain *domain)
{
	struct ksm_domain *old = cmpxchg(&slot->track.domain, NULL, domain);

	/*
	 * Pairs with ksm_group_undo(): either that finds the domain in which
	 * the slot, or a twin, is tracked, or the caller sees what it
	 * published. A cmpxchg() that failed, or that another task did, orders
	 * nothing.
	 */
	smp_mb();
	if (!old)
		refcount_inc(&domain->ref);
	return !old || old == domain;
}

/*
 * The domain that a slot is tracked in, with a reference that keeps its mutex
 * when the slot's goes; NULL if there is none.
 */
static struct ksm_domain *ksm_track_domain(struct ksm_slot *slot)
{
	struct ksm_domain *domain;

	spin_lock(&slot->books.lock);
	domain = slot->track.domain;
	if (domain && !refcount_inc_not_zero(&domain->ref))
		domain = NULL;
	spin_unlock(&slot->books.lock);
	return domain;
}

/**
 * struct ksm_track_call - what a worker does for a task, on the task's stack
 * @work: the work
 * @slot: the slot
 * @domain: the domain that it is tracked in, with the task's reference
 *
 * A task that its cgroup throttles may keep a domain's mutex for long, or be
 * handed it while it does not run. So it has a worker take the mutex.
 */
struct ksm_track_call {
	struct work_struct work;
	struct ksm_slot *slot;
	struct ksm_domain *domain;
};

static void ksm_track_call(struct ksm_slot *slot, struct ksm_domain *domain,
			   work_func_t fn)
{
	struct ksm_track_call call = { .slot = slot, .domain = domain };

	INIT_WORK_ONSTACK(&call.work, fn);
	if (current->flags & PF_KTHREAD) {
		fn(&call.work);
	} else {
		queue_work(system_unbound_wq, &call.work);
		flush_work(&call.work);
	}
	destroy_work_on_stack(&call.work);
}

static void ksm_track_sync_fn(struct work_struct *work)
{
	struct ksm_track_call *call = container_of(work, struct ksm_track_call,
						   work);

	mutex_lock(&call->domain->mutex);
	mutex_unlock(&call->domain->mutex);
}

/**
 * ksm_track_sync_unless - wait for the slice that may be scanning a slot
 * @slot: the slot
 * @last: the domain that was waited for last, with a reference, or NULL;
 *	updated
 *
 * A slice reads which memory takes part after it has entered the slot, and a
 * twin is tracked in the same domain. So a slice that begins after the caller
 * has published a change, followed by a full barrier, sees the change, and one
 * wait for a domain covers all slots that are tracked in it.
 *
 * Context: takes the mutex of the domain that the slot is tracked in, unless
 * that is @last; sleeps.
 */
void ksm_track_sync_unless(struct ksm_slot *slot, struct ksm_domain **last)
{
	struct ksm_domain *domain = ksm_track_domain(slot);

	if (domain && domain != *last) {
		ksm_track_call(slot, domain, ksm_track_sync_fn);
		swap(domain, *last);
	}
	if (domain)
		ksm_domain_put(domain);
}

/**
 * ksm_track_sync - wait for the slice that may be scanning a slot
 * @slot: the slot
 *
 * Context: takes the mutex of the domain that the slot is tracked in; sleeps.
 */
void ksm_track_sync(struct ksm_slot *slot)
{
	struct ksm_domain *domain = NULL;

	ksm_track_sync_unless(slot, &domain);
	if (domain)
		ksm_domain_put(domain);
}

/* Drop a batch of blocks under the domain's mutex; true if there is more. */
static bool ksm_track_drop_some(struct ksm_scan *scan, struct ksm_slot *slot,
				struct ksm_domain *domain)
{
	struct ksm_block *block;
	unsigned int nr = 0;
	unsigned long index;

	if (slot->track.domain != domain)
		return false;
	xa_for_each(&slot->track.blocks, index, block) {
		if (nr++ == KSM_DROP_BLOCKS)
			return true;
		ksm_block_drop(scan, block);
	}
	ksm_pass_reset(slot);
	spin_lock(&slot->books.lock);
	WRITE_ONCE(slot->track.domain, NULL);
	spin_unlock(&slot->books.lock);
	ksm_domain_put(domain);
	return false;
}

static void ksm_track_drop_fn(struct work_struct *work)
{
	struct ksm_track_call *call = container_of(work, struct ksm_track_call,
						   work);
	/* of no slot: what changes is booked at once */
	struct ksm_scan scan = {};
	bool more = true;

	while (more) {
		mutex_lock(&call->domain->mutex);
		more = ksm_track_drop_some(&scan, call->slot, call->domain);
		mutex_unlock(&call->domain->mutex);
		ksm_recs_free(&scan.dead_recs);
		cond_resched();
	}
}

/**
 * ksm_track_drop - forget all that is remembered of a slot
 * @slot: the slot
 *
 * Drops the mutex between batches of blocks. A scan of the slot in between adds
 * less than is dropped.
 *
 * Context: takes the mutex of the domain that the slot is tracked in; sleeps.
 */
void ksm_track_drop(struct ksm_slot *slot)
{
	struct ksm_domain *domain = ksm_track_domain(slot);

	if (!domain)
		return;
	ksm_track_call(slot, domain, ksm_track_drop_fn);
	ksm_domain_put(domain);
}
