// SPDX-License-Identifier: GPL-2.0
/*
 * A visit to the pages of one block.
 *
 * walk.c gathers up to 64 entries and prefetches their struct pages. With the
 * page table lock still held, the sampled cache lines are prefetched here, then
 * the index's buckets, so that cache misses overlap; this makes a visit cheap.
 * No reference is taken, as the lock keeps mapped pages. Pages that smart scan
 * skips are told by ksm_visit_skips() while entries are gathered. Pages that
 * share their sample with another are read whole, one by one, after the lock is
 * dropped.
 *
 * A page is entered into the index when two visits in a row saw the same
 * sample; it is merged with an existing frame of its content at the first
 * visit.
 */
#include <linux/highmem.h>
#include <linux/mmu_notifier.h>
#include <linux/prefetch.h>

#include "../internal.h"
#include "scan.h"

/* Cache lines of the next page to read whole that are prefetched. */
#define KSM_AHEAD_CACHELINES	8

/* ------------------------------------------- while entries are gathered */

/**
 * ksm_visit_skips - is a page skipped because it did not change?
 * @scan: the scan
 * @v: the visit
 * @i: which page
 * @dirty: its entry is dirty
 *
 * Smart scan skips indexed pages whose entries stayed clean, unless entries
 * hide writes: a secondary MMU writes without making them dirty.
 *
 * Context: page table lock.
 * Return: true if so; it is counted.
 */
bool ksm_visit_skips(struct ksm_scan *scan, struct ksm_visit *v,
		     unsigned int i, bool dirty)
{
	struct ksm_block *block = v->block;
	u8 age;

	if (!block || dirty || !READ_ONCE(ksm_knobs.smart_scan) ||
	    (block->state[i] != KSM_S_BY_SAMPLE &&
	     block->state[i] != KSM_S_BY_DIGEST))
		return false;
	age = ksm_backoff_age(block->age[i]);
	if (ksm_backoff_due(age) || v->writes_hidden ||
	    ksm_slot_rechecks(scan->slot))
		return false;
	block->age[i] = age;
	scan->event[KSM_E_SKIPPED]++;
	return true;
}

/**
 * ksm_visit_wants_writes - will the next visit need to see writes to a page?
 * @v: the visit
 * @i: which page
 *
 * Context: page table lock.
 * Return: true if its entry is to be cleaned.
 */
bool ksm_visit_wants_writes(const struct ksm_visit *v, unsigned int i)
{
	if (!v->block || v->writes_hidden)
		return false;
	if (v->block->state[i] == KSM_S_BY_DIGEST ||
	    v->block->ambiguous & BIT_ULL(i))
		return true;
	return v->block->state[i] == KSM_S_BY_SAMPLE &&
	       READ_ONCE(ksm_knobs.smart_scan);
}

/* ----------------------------------------------- while the lock is held */

/**
 * ksm_visit_excludes - is a page excluded from merging?
 * @v: the visit
 * @i: which page
 *
 * Context: page table lock.
 * Return: true if it is merged already, not anonymous, or given up with
 * MADV_FREE.
 */
bool ksm_visit_excludes(const struct ksm_visit *v, unsigned int i)
{
	struct folio *folio = page_folio(v->page[i]);

	if (!folio_test_anon(folio) || folio_test_ksm(folio) ||
	    folio_is_zone_device(folio) || is_huge_zero_folio(folio) ||
	    PageHWPoison(v->page[i]))
		return true;
	return !folio_test_swapbacked(folio) && !folio_test_dirty(folio) &&
	       !(v->dirty & BIT_ULL(i));
}

/* Keep only pages that can be sampled, and prefetch their sampled lines. */
static void ksm_visit_filter(struct ksm_scan *scan, struct ksm_visit *v)
{
	const struct ksm_secret *secret = &scan->domain->secret;
	unsigned int i, line;

	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		struct page *page = v->page[i];
		bool merged;

		if (!page)
			continue;
		merged = v->block && v->block->state[i] == KSM_S_MERGED;
		if (folio_test_ksm(page_folio(page))) {
			if (!merged)
				v->read_whole |= BIT_ULL(i);
			v->page[i] = NULL;
			continue;
		}
		if (merged)
			v->stale |= BIT_ULL(i);
		if (ksm_visit_excludes(v, i)) {
			v->page[i] = NULL;
			v->stale |= BIT_ULL(i);
			continue;
		}
		if (IS_ENABLED(CONFIG_HIGHMEM))
			continue;
		for (line = 0; line < KSM_SAMPLE_CACHELINES; line++)
			prefetch(page_address(page) +
				 secret->cacheline[line] * KSM_CACHELINE);
	}
}

/*
 * Prefetch the bucket of the index that will be needed: to enter a page that
 * did not change, or to remove one that did. A page that stays indexed by its
 * sample needs none; one that is indexed by its digest needs that of its
 * sample.
 */
static void ksm_visit_prefetch_bucket(struct ksm_scan *scan,
				      struct ksm_visit *v, unsigned int i)
{
	const struct ksm_block *block = v->block;
	bool same;

	if (!block)
		return;
	same = block->sample[i] == v->sample[i];
	if ((block->state[i] == KSM_S_BY_DIGEST && same) ||
	    block->state[i] == (same ? KSM_S_VOLATILE : KSM_S_BY_SAMPLE))
		ksm_index_prefetch(&scan->domain->index, block->sample[i]);
}

static void ksm_visit_read_samples(struct ksm_scan *scan, struct ksm_visit *v)
{
	unsigned int i;

	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		void *bytes;
		u32 sample;

		if (!v->page[i])
			continue;
		bytes = kmap_local_page(v->page[i]);
		sample = ksm_sample(&scan->domain->secret, bytes);
		kunmap_local(bytes);
		scan->work += KSM_SAMPLE_CACHELINES;
		scan->event[KSM_E_SCANNED]++;
		if (sample == scan->domain->zero_sample &&
		    scan->policy & KSM_T_ZERO)
			v->zero |= BIT_ULL(i);
		v->sample[i] = ksm_key(sample, v->page[i]);
		ksm_visit_prefetch_bucket(scan, v, i);
	}
}

/*
 * For a page that is indexed by its digest: is the page that is indexed by
 * their common sample known to differ? That one may have gone, and an equal one
 * taken its place. If no page is indexed by the sample, this one is from now
 * on.
 */
static bool ksm_sample_taken(struct ksm_scan *scan, struct ksm_block *block,
			     unsigned int i)
{
	u32 loc = ksm_index_find(scan->domain, block->sample[i], false);
	struct ksm_block *holder;

	if (!loc) {
		ksm_page_set(scan, block, i, KSM_S_BY_SAMPLE);
		block->ambiguous |= BIT_ULL(i);
		/* without memory for that, reading it enters it again */
		return block->state[i] == KSM_S_BY_SAMPLE;
	}
	holder = xa_load(&scan->domain->blocks, loc / KSM_BLOCK_PAGES);
	return holder->ambiguous & BIT_ULL(loc % KSM_BLOCK_PAGES);
}

/*
 * A page shares its sample with another, or did before: is it read whole? It is
 * if the sample is new, at ever rarer visits, and once in between after a
 * write.
 */
static bool ksm_visit_reads(struct ksm_scan *scan, struct ksm_visit *v,
			    unsigned int i, bool same)
{
	struct ksm_block *block = v->block;
	u64 bit = BIT_ULL(i);

	if (!same || ksm_backoff_read_due(block->age[i]) ||
	    (v->writes_hidden && (!READ_ONCE(ksm_knobs.smart_scan) ||
				  ksm_backoff_due(block->age[i])))) {
		block->reread &= ~bit;
		return true;
	}
	if (block->state[i] == KSM_S_BY_DIGEST &&
	    !ksm_sample_taken(scan, block, i))
		return true;
	if (block->reread & bit ||
	    !((v->dirty & bit && !v->writes_hidden) ||
	      ksm_slot_rechecks(scan->slot)))
		return false;
	block->reread |= bit;
	return true;
}

/* Store the sample; returns whether it is that of the last visit. */
static bool ksm_visit_note(struct ksm_scan *scan, struct ksm_visit *v,
			   unsigned int i)
{
	struct ksm_block *block = v->block;
	u32 sample = v->sample[i];

	if (block->state[i] == KSM_S_NONE) {
		ksm_page_resample(block, i, sample);
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
		scan->gain += KSM_SAMPLE_CACHELINES;
		return false;
	}
	if (block->sample[i] == sample) {
		block->age[i] = ksm_backoff_age(block->age[i]);
		return true;
	}
	if (block->state[i] != KSM_S_VOLATILE)
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
	ksm_page_resample(block, i, sample);
	return false;
}

/* Decide from its sample whether a page is indexed, read whole, or neither. */
static void ksm_visit_judge(struct ksm_scan *scan, struct ksm_visit *v,
			    unsigned int i)
{
	struct ksm_block *block = v->block;
	bool same, met;

	/* must be forgotten first, which is not possible under the lock */
	if (block->state[i] == KSM_S_MERGED)
		return;
	same = ksm_visit_note(scan, v, i);
	met = block->state[i] == KSM_S_BY_DIGEST ||
	      (block->ambiguous | v->zero) & BIT_ULL(i) ||
	      ksm_sample_known(scan->domain, v->sample[i]);
	if (!met && same && block->state[i] == KSM_S_VOLATILE) {
		met = ksm_index_find(scan->domain, v->sample[i], false);
		if (!met) {
			ksm_page_set(scan, block, i, KSM_S_BY_SAMPLE);
			ksm_match_index_gain(scan, block, i,
					     KSM_SAMPLE_CACHELINES);
		}
	}
	if (met && ksm_visit_reads(scan, v, i, same))
		v->read_whole |= BIT_ULL(i);
}

/**
 * ksm_visit_sample - sample the pages that were gathered, and judge them
 * @scan: the scan
 * @v: the visit; gets what is to be done after the lock is dropped
 *
 * Context: page table lock, domain->mutex.
 */
void ksm_visit_sample(struct ksm_scan *scan, struct ksm_visit *v)
{
	unsigned int i;

	ksm_visit_filter(scan, v);
	ksm_visit_read_samples(scan, v);
	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		if (!v->page[i] && !(v->read_whole & BIT_ULL(i)))
			continue;
		if (!v->block)
			v->block = ksm_block_make(scan, v->base);
		if (!v->block)
			return;
		if (v->page[i])
			ksm_visit_judge(scan, v, i);
	}
}

/* ------------------------------------------------------------- afterwards */

/* Prefetch the page that is read whole next, if it is still there. */
static void ksm_visit_prefetch_next(struct ksm_visit *v)
{
	struct page *page = v->read_whole ?
			    v->page[__ffs64(v->read_whole)] : NULL;
	unsigned int line;

	if (!page || IS_ENABLED(CONFIG_HIGHMEM))
		return;
	for (line = 0; line < KSM_AHEAD_CACHELINES; line++)
		prefetch(page_address(page) + line * KSM_CACHELINE);
}

/* The slice ends here: have the pages that are not read visited again. */
static void ksm_visit_revisit_rest(struct ksm_visit *v)
{
	for (; v->read_whole; v->read_whole &= v->read_whole - 1)
		ksm_page_revisit(v->block, __ffs64(v->read_whole));
}

/*
 * Reading pages whole is costly: the slice may end before all were read. The
 * next slice then begins with the rest.
 */
static void ksm_visit_read(struct ksm_scan *scan, struct vm_area_struct *vma,
			   struct ksm_visit *v)
{
	while (v->read_whole) {
		unsigned int i = __ffs64(v->read_whole);

		v->read_whole &= v->read_whole - 1;
		ksm_visit_prefetch_next(v);
		ksm_match_page(scan, vma, v->block, i);
		/* after one at least, so that a small budget makes progress */
		if (scan->limit.may_resume && ksm_scan_spent(scan))
			break;
		if (scan->need_split.nr)
			ksm_visit_revisit_rest(v);
	}
	scan->cursor.unread = v->read_whole;
}

/**
 * ksm_visit_finish - what a visit does once the page table lock is dropped
 * @scan: the scan
 * @vma: the VMA
 * @v: the visit
 *
 * Context: ksm_gate, domain->mutex, mmap_lock; sleeps if scan->limit says so.
 */
void ksm_visit_finish(struct ksm_scan *scan, struct vm_area_struct *vma,
		      struct ksm_visit *v)
{
	unsigned int i;

	if (!v->block) {
		ksm_family_unsure(scan, vma, hweight64(v->read_whole));
		return;
	}
	v->block->pass = scan->slot->pass.nr;
	for (; v->stale; v->stale &= v->stale - 1) {
		i = __ffs64(v->stale);
		ksm_page_forget(scan, v->block, i);
		/* written since it was merged: this is its first sample */
		if (v->page[i])
			ksm_visit_judge(scan, v, i);
	}
	ksm_visit_read(scan, vma, v);
	if (!ksm_block_used(v->block) && !scan->cursor.unread)
		ksm_block_free(v->block);
}
