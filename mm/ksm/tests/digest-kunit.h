/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of fingerprints.
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
	KUNIT_EXPECT_EQ(test, ksm_digest_look(&one, a), ksm_digest_look(&one, b));
	KUNIT_EXPECT_EQ(test, ksm_digest_whole(&one, a), ksm_digest_whole(&one, b));

	/* the seed alone makes the difference, and to both */
	KUNIT_EXPECT_NE(test, one.seed, other.seed);
	memcpy(other.line, one.line, sizeof(one.line));
	other.seed = one.seed ^ 1;
	KUNIT_EXPECT_NE(test, ksm_digest_look(&one, a), ksm_digest_look(&other, a));
	KUNIT_EXPECT_NE(test, ksm_digest_whole(&one, a), ksm_digest_whole(&other, a));
}

static void ksm_digest_test_lines(struct kunit *test)
{
	DECLARE_BITMAP(drawn, KSM_PAGE_LINES);
	const unsigned int quarter = KSM_PAGE_LINES / KSM_LOOK_LINES;
	struct ksm_secret secret;
	unsigned int i, n;

	bitmap_zero(drawn, KSM_PAGE_LINES);
	for (n = 0; n < 100 * quarter; n++) {
		ksm_secret_init(&secret);
		for (i = 0; i < KSM_LOOK_LINES; i++) {
			KUNIT_ASSERT_EQ(test, secret.line[i] / quarter, i);
			__set_bit(secret.line[i], drawn);
		}
	}
	/* no line is safe from being looked at */
	KUNIT_EXPECT_TRUE(test, bitmap_full(drawn, KSM_PAGE_LINES));
}

static void ksm_digest_test_look(struct kunit *test)
{
	u8 *page = ksm_dt_random(test);
	struct ksm_secret secret;
	unsigned int i, byte;
	bool sampled;
	u64 whole;
	u32 look;

	ksm_secret_init(&secret);
	look = ksm_digest_look(&secret, page);
	whole = ksm_digest_whole(&secret, page);
	for (byte = 0; byte < PAGE_SIZE; byte++) {
		sampled = false;
		for (i = 0; i < KSM_LOOK_LINES; i++)
			sampled |= byte / KSM_LINE == secret.line[i];
		page[byte] ^= 0x10;
		KUNIT_ASSERT_EQ_MSG(test, ksm_digest_look(&secret, page) != look,
				    sampled, "byte %u", byte);
		KUNIT_ASSERT_NE_MSG(test, ksm_digest_whole(&secret, page), whole,
				    "byte %u", byte);
		page[byte] ^= 0x10;
	}

	/* the same bytes elsewhere are another page */
	for (i = 0; i < KSM_LINE; i++)
		swap(page[secret.line[0] * KSM_LINE + i],
		     page[secret.line[1] * KSM_LINE + i]);
	KUNIT_EXPECT_NE(test, ksm_digest_look(&secret, page), look);
	KUNIT_EXPECT_NE(test, ksm_digest_whole(&secret, page), whole);
}

static void ksm_digest_test_zero(struct kunit *test)
{
	void *zero = page_address(ZERO_PAGE(0));
	struct ksm_secret secret, other;
	u8 *page = ksm_dt_page(test);
	u32 look;

	ksm_secret_init(&secret);
	ksm_secret_init(&other);
	look = ksm_digest_look(&secret, zero);
	KUNIT_EXPECT_EQ(test, look, ksm_digest_look(&secret, page));
	KUNIT_EXPECT_NE(test, look, ksm_digest_look(&other, zero));
	page[secret.line[KSM_LOOK_LINES - 1] * KSM_LINE + KSM_LINE - 1] = 1;
	KUNIT_EXPECT_NE(test, look, ksm_digest_look(&secret, page));
	/* zeroes are not the digest 0, nor is the seed to be read off it */
	KUNIT_EXPECT_NE(test, look, ksm_digest_fold(secret.seed));
}

static void ksm_digest_test_fold(struct kunit *test)
{
	unsigned int bit;
	u64 whole = 0x0123456789abcdefULL;

	for (bit = 0; bit < 64; bit++)
		KUNIT_EXPECT_NE_MSG(test, ksm_digest_fold(whole ^ BIT_ULL(bit)),
				    ksm_digest_fold(whole), "bit %u", bit);
}

static void ksm_digest_test_nid(struct kunit *test)
{
	u64 whole = 0x0123456789abcdefULL, a, b;
	int m, n;

	for (m = 0; m < 64; m++) {
		a = ksm_digest_nid(whole, m);
		KUNIT_EXPECT_NE(test, a, whole);
		KUNIT_EXPECT_EQ(test, a, ksm_digest_nid(whole, m));
		KUNIT_EXPECT_EQ(test, whole, ksm_digest_nid(a, m));
		for (n = 0; n < m; n++) {
			b = ksm_digest_nid(whole, n);
			KUNIT_EXPECT_NE(test, a, b);
			KUNIT_EXPECT_NE(test, ksm_digest_fold(a),
					ksm_digest_fold(b));
			/* first looks are keyed this way too: 32 bits of it */
			KUNIT_EXPECT_NE(test, (u32)a, (u32)b);
		}
	}
}

static struct kunit_case ksm_digest_test_cases[] = {
	KUNIT_CASE(ksm_digest_test_same),
	KUNIT_CASE(ksm_digest_test_lines),
	KUNIT_CASE(ksm_digest_test_look),
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
