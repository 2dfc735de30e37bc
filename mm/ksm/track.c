// SPDX-License-Identifier: GPL-2.0
/*
 * What is remembered of a page between two visits.
 *
 * Blocks of 64 pages hang on the slot by address: eleven bytes a page, and four
 * more for its bucket in the index. A block goes when nothing is remembered
 * of its pages any more, or when a pass did not come by it: then no eligible
 * memory is there. The cgroup that has the memory pays for them, see books.c.
 *
 * Context: ksm_domain.mutex of the domain that the slot is tracked in.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "ksm.h"

/* A block, and its part of a node of the domain's list of blocks. */
#define KSM_BLOCK_BYTES	((long)(sizeof(struct ksm_block) + \
				sizeof(struct xa_node) / XA_CHUNK_SIZE))

/* Addresses above are only had by asking for them. */
#define KSM_ADDR_TOP	(BITS_PER_LONG == 64 ? (1ULL << 47) - 1 : ULONG_MAX)

static void ksm_track_mod(struct ksm_scan *scan, struct ksm_mm *slot,
			  enum ksm_gauge gauge, long nr)
{
	if (scan && scan->slot == slot)
		scan->delta[gauge] += nr;
	else
		ksm_slot_mod(slot, gauge, nr);
}

/**
 * ksm_array_bytes - memory that an array by address takes for an entry
 * @xa: the array, which has no entry for @addr
 * @addr: the address
 * @shift: an entry is for two to that many bytes
 *
 * What is remembered of pages that lie far apart is small beside this: a node
 * on each level that the entry shares with no other. All levels that user
 * addresses can need are counted, as the stack is high up in every process.
 *
 * Return: bytes that the entry brings along, or has brought.
 */
long ksm_array_bytes(struct xarray *xa, unsigned long addr, int shift)
{
	unsigned long index = addr >> shift, first, mask = 0;
	long bytes = 0;

	/* mostly entries come and go in order, and it has a neighbour */
	if ((index & XA_CHUNK_MASK && xa_load(xa, index - 1)) ||
	    ((index + 1) & XA_CHUNK_MASK && xa_load(xa, index + 1)))
		return 0;
	do {
		mask = mask << XA_CHUNK_SHIFT | XA_CHUNK_MASK;
		first = index & ~mask;
		if (xa_find(xa, &first, index | mask, XA_PRESENT))
			break;
		bytes += sizeof(struct xa_node);
	} while (mask < KSM_ADDR_TOP >> shift);
	return bytes;
}

static struct ksm_domain *ksm_block_domain(struct ksm_block *block)
{
	return block->slot->tracked;
}

/**
 * ksm_block_find - what is remembered around an address
 * @slot: whose memory
 * @addr: any address in the block
 *
 * Return: the block or NULL.
 */
struct ksm_block *ksm_block_find(struct ksm_mm *slot, unsigned long addr)
{
	return xa_load(&slot->blocks, addr >> KSM_BLOCK_SHIFT);
}

/**
 * ksm_block_make - remember something around an address
 * @scan: the scan; its slot is the one
 * @addr: any address in the block
 *
 * Context: may hold a page table lock.
 * Return: the block, NULL where there is no memory for one.
 */
struct ksm_block *ksm_block_make(struct ksm_scan *scan, unsigned long addr)
{
	const gfp_t gfp = GFP_NOWAIT | __GFP_NOWARN;
	struct ksm_mm *slot = scan->slot;
	struct ksm_block *block = ksm_block_find(slot, addr);
	long bytes;

	if (block)
		return block;
	if (!ksm_payer_meta_room(slot))
		return NULL;
	block = kmem_cache_zalloc(ksm_block_cache, gfp);
	if (!block)
		return NULL;
	block->slot = slot;
	block->base = addr & KSM_BLOCK_MASK;
	/* id 0 is left out so that no entry's name is 0 */
	if (xa_alloc(&scan->domain->blocks, &block->id, block,
		     XA_LIMIT(1, U32_MAX / KSM_BLOCK_PAGES - 1), gfp))
		goto free;
	bytes = KSM_BLOCK_BYTES +
		ksm_array_bytes(&slot->blocks, addr, KSM_BLOCK_SHIFT);
	if (xa_err(xa_store(&slot->blocks, addr >> KSM_BLOCK_SHIFT, block, gfp)))
		goto erase;
	ksm_track_mod(scan, slot, KSM_G_METADATA, bytes);
	return block;

erase:
	xa_erase(&scan->domain->blocks, block->id);
free:
	kmem_cache_free(ksm_block_cache, block);
	return NULL;
}

/**
 * ksm_block_whole - make room for whole fingerprints in a block
 * @scan: the scan
 * @block: the block, of the scan's slot
 *
 * Return: 0 or -ENOMEM.
 */
int ksm_block_whole(struct ksm_scan *scan, struct ksm_block *block)
{
	if (block->whole)
		return 0;
	block->whole = kcalloc(KSM_BLOCK_PAGES, sizeof(u32),
			       GFP_NOWAIT | __GFP_NOWARN);
	if (!block->whole)
		return -ENOMEM;
	ksm_track_mod(scan, block->slot, KSM_G_METADATA,
		      KSM_BLOCK_PAGES * sizeof(u32));
	return 0;
}

/**
 * ksm_block_free - forget a block of which nothing is remembered
 * @scan: the scan, or NULL
 * @block: the block
 */
void ksm_block_free(struct ksm_scan *scan, struct ksm_block *block)
{
	long bytes = KSM_BLOCK_BYTES;

	WARN_ON_ONCE(block->nr);
	if (block->whole)
		bytes += KSM_BLOCK_PAGES * sizeof(u32);
	xa_erase(&ksm_block_domain(block)->blocks, block->id);
	xa_erase(&block->slot->blocks, block->base >> KSM_BLOCK_SHIFT);
	bytes += ksm_array_bytes(&block->slot->blocks, block->base,
				 KSM_BLOCK_SHIFT);
	ksm_track_mod(scan, block->slot, KSM_G_METADATA, -bytes);
	kfree(block->whole);
	kmem_cache_free(ksm_block_cache, block);
}

static bool ksm_state_indexed(enum ksm_state state)
{
	return state == KSM_S_WATCHED || state == KSM_S_WHOLE;
}

/* A page of its own, whose visits are counted from when its look changed. */
static bool ksm_state_aging(enum ksm_state state)
{
	return state == KSM_S_VOLATILE || ksm_state_indexed(state);
}

/**
 * ksm_page_set - a page goes from one state to another
 * @scan: the scan, or NULL
 * @block: the page's block; its fingerprint for @state is set already, unless
 *	the page is in the index by the old one
 * @i: which page
 * @state: the new state
 *
 * Takes the page out of the index or enters it as the states say; where there
 * is no memory to enter it, it stays KSM_S_VOLATILE and is tried again at a
 * later visit. A rec is the caller's to add and is deleted here.
 */
void ksm_page_set(struct ksm_scan *scan, struct ksm_block *block,
		  unsigned int i, enum ksm_state state)
{
	struct ksm_domain *domain = ksm_block_domain(block);
	enum ksm_state old = block->state[i];

	if (ksm_state_indexed(old)) {
		ksm_index_del(domain, block, i);
		ksm_track_mod(scan, block->slot, KSM_G_UNSHARED, -1);
	} else if (old == KSM_S_VOLATILE) {
		ksm_track_mod(scan, block->slot, KSM_G_VOLATILE, -1);
	} else if (old == KSM_S_MERGED && state != KSM_S_MERGED) {
		ksm_rec_del(scan, block->slot, block->base + i * PAGE_SIZE);
	}
	block->nr += !!state - !!old;
	block->state[i] = state;
	if (!ksm_state_aging(state) || !ksm_state_aging(old))
		block->age[i] = 0;

	if (ksm_state_indexed(state)) {
		if (ksm_index_add(domain, block, i))
			block->state[i] = KSM_S_VOLATILE;
		else
			ksm_track_mod(scan, block->slot, KSM_G_UNSHARED, 1);
	}
	if (block->state[i] == KSM_S_VOLATILE)
		ksm_track_mod(scan, block->slot, KSM_G_VOLATILE, 1);
}

/**
 * ksm_page_forget - nothing is there any more, or nothing that takes part
 * @scan: the scan, or NULL
 * @block: the page's block
 * @i: which page
 */
void ksm_page_forget(struct ksm_scan *scan, struct ksm_block *block,
		     unsigned int i)
{
	block->known &= ~BIT_ULL(i);
	block->met &= ~BIT_ULL(i);
	block->written &= ~BIT_ULL(i);
	block->later &= ~BIT_ULL(i);
	if (block->state[i] != KSM_S_NONE)
		ksm_page_set(scan, block, i, KSM_S_NONE);
}

static void ksm_block_drop(struct ksm_scan *scan, struct ksm_block *block)
{
	unsigned int i;

	for (i = 0; block->nr && i < KSM_BLOCK_PAGES; i++)
		ksm_page_forget(scan, block, i);
	ksm_block_free(scan, block);
}

/**
 * ksm_track_sweep - after a pass: forget what the pass did not come by
 * @scan: the scan, at the end of its slot's pass
 */
void ksm_track_sweep(struct ksm_scan *scan)
{
	struct ksm_mm *slot = scan->slot;
	struct ksm_block *block;
	unsigned long index;

	xa_for_each(&slot->blocks, index, block) {
		if (block->pass != slot->pass || !block->nr)
			ksm_block_drop(scan, block);
	}
}

/**
 * ksm_track_enter - begin to track a slot in a domain
 * @slot: the slot
 * @domain: the domain, whose mutex is held
 *
 * Return: false where the slot is still tracked in another domain: call
 * ksm_track_drop() without the mutex and try again.
 */
bool ksm_track_enter(struct ksm_mm *slot, struct ksm_domain *domain)
{
	struct ksm_domain *old = cmpxchg(&slot->tracked, NULL, domain);

	if (!old)
		refcount_inc(&domain->ref);
	return !old || old == domain;
}

/**
 * ksm_track_drop - forget all that is remembered of a slot
 * @slot: the slot
 *
 * Context: takes the mutex of the domain that it was tracked in; sleeps.
 */
void ksm_track_drop(struct ksm_mm *slot)
{
	struct ksm_domain *domain;
	struct ksm_block *block;
	unsigned long index;

	/* the reference is the slot's: hold one more over the mutex */
	spin_lock(&slot->lock);
	domain = slot->tracked;
	if (domain && !refcount_inc_not_zero(&domain->ref))
		domain = NULL;
	spin_unlock(&slot->lock);
	if (!domain)
		return;

	mutex_lock(&domain->mutex);
	if (slot->tracked == domain) {
		xa_for_each(&slot->blocks, index, block) {
			ksm_block_drop(NULL, block);
			cond_resched();
		}
		slot->cursor = 0;
		spin_lock(&slot->lock);
		WRITE_ONCE(slot->tracked, NULL);
		spin_unlock(&slot->lock);
		ksm_domain_put(domain);
	}
	mutex_unlock(&domain->mutex);
	ksm_domain_put(domain);
}
