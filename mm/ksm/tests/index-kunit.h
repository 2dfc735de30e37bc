/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the index, against a model: a page is in the index if and only
 * if its block says so.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_INDEX_TEST_H
#define _KSM_INDEX_TEST_H

#include <kunit/test.h>
#include <linux/prandom.h>
#include <linux/slab.h>

#define KSM_IT_BLOCKS	1000
#define KSM_IT_ENTRIES	(KSM_IT_BLOCKS * KSM_BLOCK_PAGES)

struct ksm_it {
	struct ksm_domain domain;
	struct ksm_block *block[KSM_IT_BLOCKS];
	unsigned long nr;
	struct rnd_state rnd;
};

/* A bijection without visible regularity. */
static u32 ksm_it_key(u32 n)
{
	n ^= n >> 16;
	n *= 0x7feb352d;
	n ^= n >> 15;
	n *= 0x846ca68b;
	return n ^ n >> 16;
}

static void ksm_it_free(void *arg)
{
	struct ksm_it *it = arg;
	int n;

	for (n = 0; n < KSM_IT_BLOCKS; n++) {
		if (it->block[n])
			kfree(it->block[n]->digest);
		kfree(it->block[n]);
	}
	xa_destroy(&it->domain.blocks);
}

static struct ksm_it *ksm_it_make(struct kunit *test)
{
	struct ksm_it *it = kunit_kzalloc(test, sizeof(*it), GFP_KERNEL);
	struct ksm_block *block;
	int n, i, err;

	KUNIT_ASSERT_NOT_NULL(test, it);
	prandom_seed_state(&it->rnd, 6012);
	xa_init(&it->domain.blocks);
	ksm_index_init(&it->domain.index);
	err = kunit_add_action_or_reset(test, ksm_it_free, it);
	KUNIT_ASSERT_EQ(test, err, 0);
	for (n = 0; n < KSM_IT_BLOCKS; n++) {
		block = kzalloc(sizeof(*block), GFP_KERNEL);
		it->block[n] = block;
		KUNIT_ASSERT_NOT_NULL(test, block);
		block->digest = kcalloc(KSM_BLOCK_PAGES, sizeof(u32),
					GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, block->digest);
		/* ids with gaps */
		block->id = 1 + 3 * n;
		err = xa_err(xa_store(&it->domain.blocks, block->id, block,
				      GFP_KERNEL));
		KUNIT_ASSERT_EQ(test, err, 0);
		for (i = 0; i < KSM_BLOCK_PAGES; i++) {
			/* a page's sample is its neighbour's digest */
			block->sample[i] = ksm_it_key(n * KSM_BLOCK_PAGES + i);
			block->digest[i] = ksm_it_key(n * KSM_BLOCK_PAGES +
						      (i ^ 1));
		}
	}
	return it;
}

/* Invariants after every change, unless memory runs out. */
static void ksm_it_check(struct kunit *test, struct ksm_it *it)
{
	struct ksm_index *index = &it->domain.index;

	KUNIT_ASSERT_EQ(test, index->nr, it->nr);
	if (!index->nr) {
		KUNIT_ASSERT_EQ(test, index->split, 0);
		KUNIT_ASSERT_TRUE(test, xa_empty(&index->heads));
		return;
	}
	KUNIT_ASSERT_GE(test, index->split, KSM_INDEX_MIN);
	/* at most one entry per bucket, at least three per four */
	KUNIT_ASSERT_LE(test, index->nr, index->split);
	if (index->split > KSM_INDEX_MIN)
		KUNIT_ASSERT_GE(test, index->nr + 2, index->split / 4 * 3);
	KUNIT_ASSERT_GE(test, index->split, index->round);
	KUNIT_ASSERT_LE(test, index->split, 2 * index->round);
}

static void ksm_it_add(struct kunit *test, struct ksm_it *it, unsigned int n)
{
	struct ksm_block *block = it->block[n / KSM_BLOCK_PAGES];
	unsigned int i = n % KSM_BLOCK_PAGES;

	block->state[i] = prandom_u32_state(&it->rnd) & 1 ? KSM_S_BY_SAMPLE :
							    KSM_S_BY_DIGEST;
	KUNIT_ASSERT_EQ(test, ksm_index_add(&it->domain, block, i), 0);
	it->nr++;
	ksm_it_check(test, it);
}

static void ksm_it_del(struct kunit *test, struct ksm_it *it, unsigned int n)
{
	struct ksm_block *block = it->block[n / KSM_BLOCK_PAGES];
	unsigned int i = n % KSM_BLOCK_PAGES;

	ksm_index_del(&it->domain, block, i);
	block->state[i] = KSM_S_NONE;
	it->nr--;
	ksm_it_check(test, it);
}

static bool ksm_it_has(struct ksm_it *it, unsigned int n)
{
	return it->block[n / KSM_BLOCK_PAGES]->state[n % KSM_BLOCK_PAGES];
}

/* Every entry is found by its key, and nothing else is found. */
static void ksm_it_compare(struct kunit *test, struct ksm_it *it)
{
	struct ksm_index *index = &it->domain.index;
	unsigned long i, pages = 0, chain, longest = 0, entries = 0;
	struct ksm_block *block;
	unsigned int n, k;
	void *page;
	u32 loc, found;

	for (n = 0; n < KSM_IT_ENTRIES; n++) {
		block = it->block[n / KSM_BLOCK_PAGES];
		k = n % KSM_BLOCK_PAGES;
		loc = ksm_loc(block, k);
		found = ksm_index_find(&it->domain, block->sample[k], false);
		KUNIT_ASSERT_EQ(test, found,
				block->state[k] == KSM_S_BY_SAMPLE ? loc : 0);
		found = ksm_index_find(&it->domain, block->digest[k], true);
		KUNIT_ASSERT_EQ(test, found,
				block->state[k] == KSM_S_BY_DIGEST ? loc : 0);
	}

	xa_for_each(&index->heads, i, page)
		pages++;
	KUNIT_ASSERT_EQ(test, pages, DIV_ROUND_UP(index->split, KSM_HEADS));
	for (i = 0; i < index->split; i++) {
		chain = 0;
		for (loc = *ksm_index_head(index, i); loc;
		     loc = block->next[loc % KSM_BLOCK_PAGES]) {
			block = ksm_loc_block(&it->domain, loc);
			chain++;
		}
		longest = max(longest, chain);
		entries += chain;
	}
	KUNIT_ASSERT_EQ(test, entries, it->nr);
	KUNIT_ASSERT_LE(test, longest, 20);
}

static void ksm_index_test_empty(struct kunit *test)
{
	struct ksm_it *it = ksm_it_make(test);

	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, 0, false), 0);
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, 0, true), 0);
	ksm_index_prefetch(&it->domain.index, 0);
	ksm_it_check(test, it);
	ksm_it_add(test, it, 5);
	ksm_it_compare(test, it);
	ksm_it_del(test, it, 5);
	ksm_it_compare(test, it);
}

/* The same number as a sample and as a digest: two keys. */
static void ksm_index_test_apart(struct kunit *test)
{
	struct ksm_it *it = ksm_it_make(test);
	struct ksm_block *block = it->block[7];
	u32 key = block->sample[0];

	KUNIT_ASSERT_EQ(test, key, block->digest[1]);
	block->state[0] = KSM_S_BY_SAMPLE;
	KUNIT_ASSERT_EQ(test, ksm_index_add(&it->domain, block, 0), 0);
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, key, false),
			ksm_loc(block, 0));
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, key, true), 0);
	block->state[1] = KSM_S_BY_DIGEST;
	KUNIT_ASSERT_EQ(test, ksm_index_add(&it->domain, block, 1), 0);
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, key, false),
			ksm_loc(block, 0));
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, key, true),
			ksm_loc(block, 1));
	ksm_index_del(&it->domain, block, 0);
	block->state[0] = KSM_S_NONE;
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, key, false), 0);
	KUNIT_EXPECT_EQ(test, ksm_index_find(&it->domain, key, true),
			ksm_loc(block, 1));
	ksm_index_del(&it->domain, block, 1);
	block->state[1] = KSM_S_NONE;
	ksm_it_check(test, it);
}

/* Entries of one bucket with the same key are deleted one by one. */
static void ksm_index_test_same_key(struct kunit *test)
{
	struct ksm_it *it = ksm_it_make(test);
	struct ksm_block *block = it->block[3];
	unsigned int i, n;

	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		block->sample[i] = 42;
		block->state[i] = KSM_S_BY_SAMPLE;
		KUNIT_ASSERT_EQ(test, ksm_index_add(&it->domain, block, i), 0);
	}
	for (n = 0; n < KSM_BLOCK_PAGES; n++) {
		/* from the middle, the ends last */
		i = (n * 37 + 20) % KSM_BLOCK_PAGES;
		KUNIT_EXPECT_NE(test, ksm_index_find(&it->domain, 42, false),
				0);
		ksm_index_del(&it->domain, block, i);
		block->state[i] = KSM_S_NONE;
		KUNIT_EXPECT_NE(test, ksm_index_find(&it->domain, 42, false),
				ksm_loc(block, i));
	}
	ksm_it_check(test, it);
}

static void ksm_index_test_rounds(struct kunit *test)
{
	/* number of entries at the end of each round */
	static const unsigned int want[] = { KSM_IT_ENTRIES, 3000, 40000, 900,
					     1100, 20000, 0, 30000, 0 };
	struct ksm_it *it = ksm_it_make(test);
	const unsigned int part = KSM_IT_ENTRIES / 8;
	unsigned int round, n;
	bool grow, back, del;

	for (round = 0; round < ARRAY_SIZE(want); round++) {
		grow = want[round] > it->nr;
		while (it->nr != want[round]) {
			n = prandom_u32_state(&it->rnd) % KSM_IT_ENTRIES;
			/* mix both, except close to full or empty */
			back = !(prandom_u32_state(&it->rnd) % 16) &&
			       it->nr > part && it->nr < part * 7;
			del = grow == back;
			if (ksm_it_has(it, n) != del)
				continue;
			if (del)
				ksm_it_del(test, it, n);
			else
				ksm_it_add(test, it, n);
		}
		ksm_it_compare(test, it);
	}
	ksm_index_destroy(&it->domain.index);
}

static struct kunit_case ksm_index_test_cases[] = {
	KUNIT_CASE(ksm_index_test_empty),
	KUNIT_CASE(ksm_index_test_apart),
	KUNIT_CASE(ksm_index_test_same_key),
	KUNIT_CASE_SLOW(ksm_index_test_rounds),
	{}
};

static struct kunit_suite ksm_index_test_suite = {
	.name = "ksm-index",
	.test_cases = ksm_index_test_cases,
};

kunit_test_suite(ksm_index_test_suite);

#endif /* _KSM_INDEX_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
