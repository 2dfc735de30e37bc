// SPDX-License-Identifier: GPL-2.0
/*
 * Samples and digests: fingerprints of pages.
 *
 * A sample reads a few cache lines, which is enough to tell most pages apart; a
 * page that shares its sample with another is read whole, for its digest. Both
 * are keyed with the domain's secret, so user space cannot tell which lines are
 * sampled, or what a page's fingerprint is. It can make pages of equal
 * fingerprint all the same: the second of two changes to 64 bytes can undo what
 * the first does to xxh64, for one key in two. So such pages must be cheap, see
 * match.c. A fingerprint never decides a merge: the bytes are compared.
 */
#include <linux/hash.h>
#include <linux/random.h>
#include <linux/xxhash.h>

#include "ksm.h"

/**
 * ksm_secret_init - draw a new secret
 * @secret: to be filled in
 *
 * One cache line is drawn from each quarter of the page, as data that differs
 * somewhere tends to differ in more than one place.
 *
 * Context: any.
 */
void ksm_secret_init(struct ksm_secret *secret)
{
	unsigned int i, quarter = KSM_PAGE_CACHELINES / KSM_SAMPLE_CACHELINES;

	secret->seed = get_random_u64();
	for (i = 0; i < KSM_SAMPLE_CACHELINES; i++)
		secret->cacheline[i] = i * quarter +
				       get_random_u32_below(quarter);
}

/**
 * ksm_sample - fingerprint of a few cache lines of a page
 * @secret: the domain's
 * @page: the page's bytes
 *
 * Context: any.
 * Return: the sample.
 */
u32 ksm_sample(const struct ksm_secret *secret, const void *page)
{
	u64 digest = secret->seed;
	unsigned int i;

	for (i = 0; i < KSM_SAMPLE_CACHELINES; i++)
		digest = xxh64(page + secret->cacheline[i] * KSM_CACHELINE,
			       KSM_CACHELINE, digest);
	return ksm_digest_fold(digest);
}

/**
 * ksm_digest - fingerprint of a whole page
 * @secret: the domain's
 * @page: the page's bytes
 *
 * Context: any.
 * Return: the digest.
 */
u64 ksm_digest(const struct ksm_secret *secret, const void *page)
{
	return xxh64(page, PAGE_SIZE, ~secret->seed);
}

/**
 * ksm_digest_fold - what the index keeps of a digest
 * @digest: the digest
 *
 * Context: any.
 * Return: 32 bits.
 */
u32 ksm_digest_fold(u64 digest)
{
	return digest ^ digest >> 32;
}

/**
 * ksm_digest_nid - keep the pages of NUMA nodes apart
 * @digest: a digest or a sample
 * @nid: the page's node
 *
 * Context: any.
 * Return: a key that differs between nodes.
 */
u64 ksm_digest_nid(u64 digest, int nid)
{
	return digest ^ hash_64(nid + 1, 64);
}

#include "tests/digest-kunit.h"
