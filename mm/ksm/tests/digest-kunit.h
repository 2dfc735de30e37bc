/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of samples and digests.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_DIGEST_TEST_H
#define _KSM_DIGEST_TEST_H

#include <kunit/test.h>
#include <linux/prandom.h>

static u8 *ksm_dt_page(struct kunit *test)
{
	u8 *page = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	return page;
}

static u8 *ksm_dt_random(struct kunit *test)
{
	u8 *page = ksm_dt_page(test);
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 6012);
	prandom_bytes_state(&rnd, page, PAGE_SIZE);
	return page;
}

static void ksm_digest_test_same(struct kunit *test)
{
	u8 *a = ksm_dt_random(test), *b = ksm_dt_page(test);
	struct ksm_secret one, other;

	memcpy(b, a, PAGE_SIZE);
	ksm_secret_init(&one);
	ksm_secret_init(&other);
	KUNIT_EXPECT_EQ(test, ksm_sample(&one, a), ksm_sample(&one, b));
	KUNIT_EXPECT_EQ(test, ksm_digest(&one, a), ksm_digest(&one, b));

	/* the seed alone makes a difference, to both fingerprints */
	KUNIT_EXPECT_NE(test, one.seed, other.seed);
	memcpy(other.cacheline, one.cacheline, sizeof(one.cacheline));
	other.seed = one.seed ^ 1;
	KUNIT_EXPECT_NE(test, ksm_sample(&one, a), ksm_sample(&other, a));
	KUNIT_EXPECT_NE(test, ksm_digest(&one, a), ksm_digest(&other, a));
}

static void ksm_digest_test_cachelines(struct kunit *test)
{
	DECLARE_BITMAP(drawn, KSM_PAGE_CACHELINES);
	const unsigned int quarter = KSM_PAGE_CACHELINES /
				     KSM_SAMPLE_CACHELINES;
	struct ksm_secret secret;
	unsigned int i, n;

	bitmap_zero(drawn, KSM_PAGE_CACHELINES);
	for (n = 0; n < 100 * quarter; n++) {
		ksm_secret_init(&secret);
		for (i = 0; i < KSM_SAMPLE_CACHELINES; i++) {
			KUNIT_ASSERT_EQ(test, secret.cacheline[i] / quarter, i);
			__set_bit(secret.cacheline[i], drawn);
		}
	}
	/* any cache line may be sampled */
	KUNIT_EXPECT_TRUE(test, bitmap_full(drawn, KSM_PAGE_CACHELINES));
}

static void ksm_digest_test_sample(struct kunit *test)
{
	u8 *page = ksm_dt_random(test);
	struct ksm_secret secret;
	unsigned int i, byte;
	bool sampled;
	u64 digest;
	u32 sample;

	ksm_secret_init(&secret);
	sample = ksm_sample(&secret, page);
	digest = ksm_digest(&secret, page);
	for (byte = 0; byte < PAGE_SIZE; byte++) {
		sampled = false;
		for (i = 0; i < KSM_SAMPLE_CACHELINES; i++)
			sampled |= byte / KSM_CACHELINE == secret.cacheline[i];
		page[byte] ^= 0x10;
		KUNIT_ASSERT_EQ_MSG(test, ksm_sample(&secret, page) != sample,
				    sampled, "byte %u", byte);
		KUNIT_ASSERT_NE_MSG(test, ksm_digest(&secret, page), digest,
				    "byte %u", byte);
		page[byte] ^= 0x10;
	}

	/* swapped cache lines make a different page */
	for (i = 0; i < KSM_CACHELINE; i++)
		swap(page[secret.cacheline[0] * KSM_CACHELINE + i],
		     page[secret.cacheline[1] * KSM_CACHELINE + i]);
	KUNIT_EXPECT_NE(test, ksm_sample(&secret, page), sample);
	KUNIT_EXPECT_NE(test, ksm_digest(&secret, page), digest);
}

static void ksm_digest_test_zero(struct kunit *test)
{
	void *zero = page_address(ZERO_PAGE(0));
	struct ksm_secret secret, other;
	u8 *page = ksm_dt_page(test);
	u32 sample;

	ksm_secret_init(&secret);
	ksm_secret_init(&other);
	sample = ksm_sample(&secret, zero);
	KUNIT_EXPECT_EQ(test, sample, ksm_sample(&secret, page));
	KUNIT_EXPECT_NE(test, sample, ksm_sample(&other, zero));
	page[secret.cacheline[KSM_SAMPLE_CACHELINES - 1] * KSM_CACHELINE +
	     KSM_CACHELINE - 1] = 1;
	KUNIT_EXPECT_NE(test, sample, ksm_sample(&secret, page));
	/* the sample of a zero page does not give the seed away */
	KUNIT_EXPECT_NE(test, sample, ksm_digest_fold(secret.seed));
}

static void ksm_digest_test_fold(struct kunit *test)
{
	u64 digest = 0x0123456789abcdefULL, other;
	unsigned int bit;

	for (bit = 0; bit < 64; bit++) {
		other = digest ^ BIT_ULL(bit);
		KUNIT_EXPECT_NE_MSG(test, ksm_digest_fold(other),
				    ksm_digest_fold(digest), "bit %u", bit);
	}
}

static void ksm_digest_test_nid(struct kunit *test)
{
	u64 digest = 0x0123456789abcdefULL, a, b;
	int m, n;

	for (m = 0; m < 64; m++) {
		a = ksm_digest_nid(digest, m);
		KUNIT_EXPECT_NE(test, a, digest);
		KUNIT_EXPECT_EQ(test, a, ksm_digest_nid(digest, m));
		KUNIT_EXPECT_EQ(test, digest, ksm_digest_nid(a, m));
		for (n = 0; n < m; n++) {
			b = ksm_digest_nid(digest, n);
			KUNIT_EXPECT_NE(test, a, b);
			KUNIT_EXPECT_NE(test, ksm_digest_fold(a),
					ksm_digest_fold(b));
			/* also in the 32 bits that key samples */
			KUNIT_EXPECT_NE(test, (u32)a, (u32)b);
		}
	}
}

static struct kunit_case ksm_digest_test_cases[] = {
	KUNIT_CASE(ksm_digest_test_same),
	KUNIT_CASE(ksm_digest_test_cachelines),
	KUNIT_CASE(ksm_digest_test_sample),
	KUNIT_CASE(ksm_digest_test_zero),
	KUNIT_CASE(ksm_digest_test_fold),
	KUNIT_CASE(ksm_digest_test_nid),
	{}
};

static struct kunit_suite ksm_digest_test_suite = {
	.name = "ksm-digest",
	.test_cases = ksm_digest_test_cases,
};

kunit_test_suite(ksm_digest_test_suite);

#endif /* _KSM_DIGEST_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
