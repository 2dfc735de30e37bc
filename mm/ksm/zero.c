// SPDX-License-Identifier: GPL-2.0
/*
 * Zeroes only: the zero page replaces pages of zeroes, and nothing else is
 * merged.
 *
 * This is what memory.ksm.types says with "zero" and without "anon". No page is
 * compared with another one, so nothing is indexed and nothing is remembered:
 * there are no blocks. Blocks from before are dropped by the sweep at the end
 * of a pass; records that are still needed become orphans. One cache line tells
 * most pages from a page of zeroes.
 *
 * A page that was just allocated holds zeroes, too, so a page is only replaced
 * if it was not written to since an earlier visit. Its own entry remembers
 * that: the visit that finds zeroes behind a dirty entry moves the dirty bit to
 * the folio, and the page waits for a visit that finds the entry clean. Where
 * entries do not show writes, as with virtual machines, that is simply the
 * second visit. The bytes are compared in the end, so a write that does not
 * show costs a fault at worst.
 *
 * The entry of a huge page stands for all its pages, so a huge page is split
 * only if none of it was written to.
 */
#include <linux/highmem.h>
#include <linux/mmu_notifier.h>
#include <linux/prefetch.h>

#include "scan.h"

/* Do the sampled cache lines hold zeroes? Most pages differ in the first. */
static bool ksm_zero_sampled(struct ksm_scan *scan, struct page *page)
{
	const struct ksm_secret *secret = &scan->domain->secret;
	void *bytes = kmap_local_page(page);
	bool zero = true;
	unsigned int i;

	for (i = 0; zero && i < KSM_SAMPLE_CACHELINES; i++) {
		zero = !memchr_inv(bytes + secret->cacheline[i] * KSM_CACHELINE,
				   0, KSM_CACHELINE);
		scan->work++;
	}
	kunmap_local(bytes);
	return zero;
}

/**
 * ksm_zero_sample - find the pages of zeroes among those that were gathered
 * @scan: the scan
 * @v: the visit; @zero is set, and pages that cannot be merged are taken out
 *
 * Context: page table lock, domain->mutex.
 */
void ksm_zero_sample(struct ksm_scan *scan, struct ksm_visit *v)
{
	unsigned int first = scan->domain->secret.cacheline[0], i;

	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		struct page *page = v->page[i];

		if (!page)
			continue;
		if (ksm_visit_excludes(v, i))
			v->page[i] = NULL;
		else if (!IS_ENABLED(CONFIG_HIGHMEM))
			prefetch(page_address(page) + first * KSM_CACHELINE);
	}
	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		if (!v->page[i])
			continue;
		scan->event[KSM_E_SCANNED]++;
		if (ksm_zero_sampled(scan, v->page[i]))
			v->zero |= BIT_ULL(i);
	}
}

/* Read a page whole, up to the first byte that is not zero. */
static bool ksm_zero_read(struct ksm_scan *scan, struct page *page)
{
	void *bytes = kmap_local_page(page);
	void *other = memchr_inv(bytes, 0, PAGE_SIZE);

	scan->work += other ? (other - bytes) / KSM_CACHELINE + 1 :
			      KSM_PAGE_CACHELINES;
	kunmap_local(bytes);
	return !other;
}

static void ksm_zero_merge_page(struct ksm_scan *scan, struct ksm_page *kp,
				unsigned long work)
{
	switch (ksm_merge_zero(scan, kp)) {
	case KSM_MERGED:
		scan->event[KSM_E_MERGED]++;
		scan->gain += scan->work - work + KSM_SAMPLE_CACHELINES;
		break;
	case KSM_UNMAPPED:
		/* most likely, the split mapped the zero page */
		scan->gain += scan->work - work;
		break;
	case KSM_DIFFERS:
		/* written to since */
		break;
	case KSM_LARGE:
		ksm_need_split_range(scan, kp);
		break;
	default:
		scan->event[KSM_E_FAILED]++;
		break;
	}
}

/**
 * ksm_zero_merge - map the zero page for the pages of zeroes that were found
 * @scan: the scan
 * @vma: the VMA
 * @v: the visit
 *
 * Context: ksm_gate, domain->mutex, mmap_lock; sleeps if scan->limit says so.
 */
void ksm_zero_merge(struct ksm_scan *scan, struct vm_area_struct *vma,
		    struct ksm_visit *v)
{
	struct ksm_page kp;

	if (mm_forbids_zeropage(vma->vm_mm))
		return;
	for (; v->zero && !scan->need_split.nr; v->zero &= v->zero - 1) {
		unsigned long work = scan->work;

		/* the split of a huge page may have replaced it already */
		scan->work += KSM_MEET_CACHELINES;
		if (!ksm_page_get(&kp, vma, v->base +
				  __ffs64(v->zero) * PAGE_SIZE))
			continue;
		if (ksm_zero_read(scan, kp.page))
			ksm_zero_merge_page(scan, &kp, work);
		ksm_page_put(&kp);
	}
}
