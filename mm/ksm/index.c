// SPDX-License-Identifier: GPL-2.0
/*
 * The index of pages that wait for a twin: the unstable side.
 *
 * A chained hash table by linear hashing: it grows by splitting one bucket for
 * every further entry, and shrinks the same way, so its memory follows its
 * contents and no single insertion pays for all. An entry is the name of a page
 * in a block (ksm_loc()), and chains are threaded through the blocks: four
 * bytes per page and four per bucket.
 *
 * A sample is in the index at most once, for the first page seen with it. Other
 * pages with that sample are entered by their digest. Entries may be out of
 * date; the comparison finds that out.
 *
 * Context: ksm_domain.mutex.
 */
#include <linux/hash.h>
#include <linux/prefetch.h>

#include "ksm.h"

#define KSM_HEADS_SHIFT		(PAGE_SHIFT - 2)
#define KSM_HEADS		BIT(KSM_HEADS_SHIFT)
#define KSM_INDEX_MIN		KSM_HEADS

/**
 * ksm_index_init - set up an index
 * @index: the index
 */
void ksm_index_init(struct ksm_index *index)
{
	index->nr = 0;
	index->split = 0;
	index->round = 1;
	xa_init(&index->heads);
}

/**
 * ksm_index_destroy - free an index without entries
 * @index: the index
 */
void ksm_index_destroy(struct ksm_index *index)
{
	unsigned long i;
	void *page;

	WARN_ON_ONCE(index->nr);
	xa_for_each(&index->heads, i, page)
		free_page((unsigned long)page);
	xa_destroy(&index->heads);
}

/* Samples and digests share the table, so equal keys hash differently. */
static u32 ksm_index_hash(u32 key, bool by_digest)
{
	return by_digest ? hash_32(key, 32) : key * GOLDEN_RATIO_32 + 1;
}

static unsigned long ksm_index_bucket(const struct ksm_index *index, u32 hash)
{
	unsigned long bucket = hash & (2 * index->round - 1);

	return bucket < index->split ? bucket : hash & (index->round - 1);
}

static u32 *ksm_index_head(struct ksm_index *index, unsigned long bucket)
{
	u32 *heads = xa_load(&index->heads, bucket >> KSM_HEADS_SHIFT);

	return heads + (bucket & (KSM_HEADS - 1));
}

static struct ksm_block *ksm_loc_block(struct ksm_domain *domain, u32 loc)
{
	return xa_load(&domain->blocks, loc / KSM_BLOCK_PAGES);
}

static bool ksm_entry_by_digest(const struct ksm_block *block, unsigned int i)
{
	return block->state[i] == KSM_S_BY_DIGEST;
}

static u32 ksm_entry_key(const struct ksm_block *block, unsigned int i)
{
	return ksm_entry_by_digest(block, i) ? block->digest[i] :
					       block->sample[i];
}

static u32 ksm_entry_hash(const struct ksm_block *block, unsigned int i)
{
	return ksm_index_hash(ksm_entry_key(block, i),
			      ksm_entry_by_digest(block, i));
}

/* Split the bucket that is due, or allocate the first ones. */
static int ksm_index_grow(struct ksm_domain *domain)
{
	struct ksm_index *index = &domain->index;
	unsigned long bucket = index->split;
	u32 *from, *to, loc;

	if (!(bucket & (KSM_HEADS - 1))) {
		void *page = (void *)get_zeroed_page(GFP_NOWAIT | __GFP_NOWARN);

		if (!page)
			return -ENOMEM;
		if (xa_err(xa_store(&index->heads, bucket >> KSM_HEADS_SHIFT,
				    page, GFP_NOWAIT | __GFP_NOWARN))) {
			free_page((unsigned long)page);
			return -ENOMEM;
		}
	}
	if (index->split < KSM_INDEX_MIN) {
		index->split = KSM_INDEX_MIN;
		index->round = KSM_INDEX_MIN;
		return 0;
	}

	if (index->split == 2 * index->round)
		index->round *= 2;
	index->split++;
	from = ksm_index_head(index, bucket - index->round);
	to = ksm_index_head(index, bucket);
	while ((loc = *from)) {
		struct ksm_block *block = ksm_loc_block(domain, loc);
		unsigned int i = loc % KSM_BLOCK_PAGES;
		u32 hash = ksm_entry_hash(block, i);

		if (ksm_index_bucket(index, hash) == bucket) {
			*from = block->next[i];
			block->next[i] = *to;
			*to = loc;
		} else {
			from = &block->next[i];
		}
	}
	return 0;
}

/* Undo the last split. */
static void ksm_index_shrink(struct ksm_domain *domain)
{
	struct ksm_index *index = &domain->index;
	unsigned long bucket = index->split - 1;
	u32 *tail, *from;

	if (index->split <= KSM_INDEX_MIN) {
		if (!index->nr && index->split) {
			free_page((unsigned long)xa_erase(&index->heads, 0));
			index->split = 0;
			index->round = 1;
		}
		return;
	}
	if (bucket < index->round)
		index->round /= 2;
	tail = ksm_index_head(index, bucket - index->round);
	while (*tail) {
		struct ksm_block *block = ksm_loc_block(domain, *tail);

		tail = &block->next[*tail % KSM_BLOCK_PAGES];
	}
	from = ksm_index_head(index, bucket);
	*tail = *from;
	*from = 0;
	index->split = bucket;
	if (!(bucket & (KSM_HEADS - 1)))
		free_page((unsigned long)xa_erase(&index->heads,
						  bucket >> KSM_HEADS_SHIFT));
}

/**
 * ksm_index_prefetch - prefetch the bucket of a coming lookup
 * @index: where
 * @key: sample
 *
 * Context: the domain's mutex.
 */
void ksm_index_prefetch(struct ksm_index *index, u32 key)
{
	u32 hash = ksm_index_hash(key, false);

	if (index->split)
		prefetch(ksm_index_head(index, ksm_index_bucket(index, hash)));
}

/**
 * ksm_index_find - a page that had this sample or digest when last visited
 * @domain: where
 * @key: sample or folded digest
 * @by_digest: which of the two
 *
 * Context: the domain's mutex.
 * Return: its name, see ksm_loc(), or 0.
 */
u32 ksm_index_find(struct ksm_domain *domain, u32 key, bool by_digest)
{
	struct ksm_index *index = &domain->index;
	u32 loc, hash = ksm_index_hash(key, by_digest);

	if (!index->split)
		return 0;
	loc = *ksm_index_head(index, ksm_index_bucket(index, hash));
	while (loc) {
		struct ksm_block *block = ksm_loc_block(domain, loc);
		unsigned int i = loc % KSM_BLOCK_PAGES;

		if (ksm_entry_by_digest(block, i) == by_digest &&
		    ksm_entry_key(block, i) == key)
			return loc;
		loc = block->next[i];
	}
	return 0;
}

/**
 * ksm_index_add - enter a page
 * @domain: where
 * @block: the page's block; its state says by which of sample and digest
 * @i: which page of it
 *
 * Context: the domain's mutex; does not sleep.
 * Return: 0 or -ENOMEM.
 */
int ksm_index_add(struct ksm_domain *domain, struct ksm_block *block,
		  unsigned int i)
{
	struct ksm_index *index = &domain->index;
	u32 *head, hash = ksm_entry_hash(block, i);

	/* another bucket is an optimization, only the first ones are needed */
	if (index->nr >= index->split && ksm_index_grow(domain) &&
	    !index->split)
		return -ENOMEM;
	head = ksm_index_head(index, ksm_index_bucket(index, hash));
	block->next[i] = *head;
	*head = ksm_loc(block, i);
	index->nr++;
	return 0;
}

/**
 * ksm_index_del - take a page out
 * @domain: where
 * @block: the page's block, with state, sample and digest as when entered
 * @i: which page of it
 *
 * Context: the domain's mutex.
 */
void ksm_index_del(struct ksm_domain *domain, struct ksm_block *block,
		   unsigned int i)
{
	struct ksm_index *index = &domain->index;
	u32 loc = ksm_loc(block, i), hash = ksm_entry_hash(block, i), *link;
	int n;

	link = ksm_index_head(index, ksm_index_bucket(index, hash));
	while (*link != loc) {
		struct ksm_block *pos;

		if (WARN_ON_ONCE(!*link))
			return;
		pos = ksm_loc_block(domain, *link);
		link = &pos->next[*link % KSM_BLOCK_PAGES];
	}
	*link = block->next[i];
	block->next[i] = 0;
	index->nr--;
	/* two, to catch up; the slack keeps one entry from thrashing */
	for (n = 0; n < 2 && index->nr < index->split - index->split / 4; n++)
		ksm_index_shrink(domain);
}

#include "tests/index-kunit.h"
