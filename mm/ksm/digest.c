// SPDX-License-Identifier: GPL-2.0
/*
 * Fingerprints of pages.
 *
 * A first look reads a few cache lines, which is enough to tell most pages
 * apart; a page whose look meets another is read whole. Both are keyed with
 * the secret of the domain, so that nobody outside of the kernel can say which
 * lines are looked at, or what a page's fingerprint is. Pages of equal
 * fingerprint can be made all the same: of two changes to 64 bytes the second
 * can undo what the first does to xxh64, for one key of two. So such pages must
 * be cheap, see ksm_pair(). Nothing is ever merged for its fingerprint: bytes
 * are compared in the end.
 */
#include <linux/hash.h>
#include <linux/random.h>
#include <linux/xxhash.h>

#include "ksm.h"

/**
 * ksm_secret_init - draw a new secret
 * @secret: to be filled in
 *
 * One line is drawn from each quarter of the page, as data that differs
 * somewhere tends to differ in more than one place.
 */
void ksm_secret_init(struct ksm_secret *secret)
{
	unsigned int i, quarter = KSM_PAGE_LINES / KSM_LOOK_LINES;

	secret->seed = get_random_u64();
	for (i = 0; i < KSM_LOOK_LINES; i++)
		secret->line[i] = i * quarter + get_random_u32_below(quarter);
}

/**
 * ksm_digest_look - first look at a page
 * @secret: the domain's
 * @page: its bytes
 */
u32 ksm_digest_look(const struct ksm_secret *secret, const void *page)
{
	u64 digest = secret->seed;
	unsigned int i;

	for (i = 0; i < KSM_LOOK_LINES; i++)
		digest = xxh64(page + secret->line[i] * KSM_LINE, KSM_LINE,
			       digest);
	return ksm_digest_fold(digest);
}

/**
 * ksm_digest_whole - fingerprint of all of a page
 * @secret: the domain's
 * @page: its bytes
 */
u64 ksm_digest_whole(const struct ksm_secret *secret, const void *page)
{
	return xxh64(page, PAGE_SIZE, ~secret->seed);
}

/**
 * ksm_digest_fold - what the index keeps of a fingerprint
 * @whole: the fingerprint
 */
u32 ksm_digest_fold(u64 whole)
{
	return whole ^ whole >> 32;
}

/**
 * ksm_digest_nid - keep the pages of one NUMA node to themselves
 * @digest: a fingerprint
 * @nid: the node
 *
 * Return: a fingerprint that differs between nodes.
 */
u64 ksm_digest_nid(u64 digest, int nid)
{
	return digest ^ hash_64(nid + 1, 64);
}

#include "tests/digest-kunit.h"
