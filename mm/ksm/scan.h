/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Types that only scanning uses: a slice, a visit to a block, a page at hand,
 * and the outcome of an attempt to merge it.
 *
 * All but struct ksm_large, which is also part of a writer's list, live on the
 * stack of the scanning thread, under the mutex of the slot's domain.
 */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

#include "ksm.h"
#include "round.h"

/**
 * enum ksm_outcome - the outcome of an attempt to merge a page
 * @KSM_MERGED: the page is merged
 * @KSM_NO_TWIN: no frame or page with the same content was found
 * @KSM_FRAME_GONE: the frame is gone or may not be used any more
 * @KSM_FRAME_FULL: the frame has max_page_sharing mappings
 * @KSM_DIFFERS: the contents differ
 * @KSM_BUSY: a lock is contended, or the mapping changed meanwhile
 * @KSM_HELD: something other than its mappings holds the page
 * @KSM_FREED: the page was given up with MADV_FREE
 * @KSM_POISONED: the copy hit a memory error
 * @KSM_LEAVING: the slot is leaving the domain
 * @KSM_NO_MEMORY: there is no frame or no record
 * @KSM_NO_ROOM: a limit leaves no room for what merging takes, and it frees no
 *	page
 * @KSM_UNMAPPED: the page has no mapping left; splitting its folio may have
 *	mapped the zero page
 * @KSM_LARGE: a large folio must be split first, and the scan may not sleep
 *
 * Traced as the "error" of ksm_merge_one_page and ksm_merge_with_ksm_page.
 */
enum ksm_outcome {
	KSM_MERGED,
	KSM_NO_TWIN,
	KSM_FRAME_GONE,
	KSM_FRAME_FULL,
	KSM_DIFFERS,
	KSM_BUSY,
	KSM_HELD,
	KSM_FREED,
	KSM_POISONED,
	KSM_LEAVING,
	KSM_NO_MEMORY,
	KSM_NO_ROOM,
	KSM_UNMAPPED,
	KSM_LARGE,
};

/**
 * struct ksm_limits - where a scan ends
 * @pages: pages that may be sampled or skipped
 * @budget: work that may be done, in cache lines
 * @end: address to stop at
 * @window: neighbouring pages that are gathered under one page table lock, at
 *	most KSM_BLOCK_PAGES
 * @may_sleep: large folios may be split, and MMU notifiers may block
 * @may_put_off: without @may_sleep: memory can be put off until large folios
 *	are split
 * @may_resume: the cursor is kept, so a visit may stop before all pages that
 *	are to be read whole were read
 * @count_related: the scan is part of a pass, which counts related mappings
 */
struct ksm_limits {
	unsigned long pages;
	unsigned long budget;
	unsigned long end;
	unsigned int window;
	bool may_sleep;
	bool may_put_off;
	bool may_resume;
	bool count_related;
};

/**
 * struct ksm_large - a page in a large folio
 * @slot: the process that maps it, with a reference
 * @addr: the page's address
 */
struct ksm_large {
	struct ksm_slot *slot;
	unsigned long addr;
};

/**
 * struct ksm_need_split - memory that waits for large folios to be split
 * @from: address of the page that could not be merged
 * @until: end of its folio
 * @large: what has to be split: the page's folio, its twin's, or both
 * @nr: number of them; 0: nothing has to
 */
struct ksm_need_split {
	unsigned long from;
	unsigned long until;
	struct ksm_large large[2];
	unsigned int nr;
};

/**
 * struct ksm_scan - one slice of scanning
 * @slot: whose memory
 * @domain: the domain that @slot is tracked in, whose mutex is held
 * @policy: which memory takes part and what is merged, see ksm_slot_policy()
 * @limit: where it ends
 * @cursor: where it resumes
 * @work: work done, in cache lines
 * @gain: part of @work that merged a page or entered one into the index
 * @holes: empty upper page table entries passed
 * @fresh: frames drawn from the pool
 * @missed: why pages with a twin could not be merged, bits KSM_MISSED_*
 * @need_split: what ended the slice, if limit.may_sleep is not set
 * @delta: changes of gauges, to be booked
 * @event: events, to be booked
 * @dead_recs: records to free once no lock is held
 */
struct ksm_scan {
	struct ksm_slot *slot;
	struct ksm_domain *domain;
	unsigned int policy;
	struct ksm_limits limit;
	struct ksm_cursor cursor;
	unsigned long work;
	unsigned long gain;
	unsigned long holes;
	unsigned int fresh;
	unsigned int missed;
	struct ksm_need_split need_split;
	long delta[NR_KSM_GAUGES];
	unsigned long event[NR_KSM_EVENTS];
	struct hlist_head dead_recs;
};

/**
 * struct ksm_visit - up to KSM_BLOCK_PAGES neighbouring pages
 * @base: address of the first page of the block
 * @block: the block, or NULL if nothing is remembered of its pages
 * @page: pages to sample, by place in the block, while the page table lock
 *	holds them; NULL: nothing to sample
 * @dirty: entries that are dirty
 * @zero: pages whose sample is that of zeroes, with KSM_T_ZERO
 * @stale: pages of which what is remembered no longer holds
 * @read_whole: pages to read whole
 * @writes_hidden: entries do not show every write
 * @flush: entries were cleaned
 * @sample: samples
 *
 * @dirty, @zero, @stale and @read_whole are bit masks.
 */
struct ksm_visit {
	unsigned long base;
	struct ksm_block *block;
	struct page *page[KSM_BLOCK_PAGES];
	u64 dirty;
	u64 zero;
	u64 stale;
	u64 read_whole;
	bool writes_hidden;
	bool flush;
	u32 sample[KSM_BLOCK_PAGES];
};

/**
 * struct ksm_page - a page of some process, held by a reference on its folio
 * @vma: the VMA, kept by mmap_lock
 * @addr: the address
 * @folio: the folio
 * @page: the page in it
 */
struct ksm_page {
	struct vm_area_struct *vma;
	unsigned long addr;
	struct folio *folio;
	struct page *page;
};

/* Pages that a scan sampled or skipped. */
static inline unsigned long ksm_scan_passed(const struct ksm_scan *scan)
{
	return scan->event[KSM_E_SCANNED] + scan->event[KSM_E_SKIPPED];
}

/* Is the budget spent by work that gained nothing? */
static inline bool ksm_scan_spent(const struct ksm_scan *scan)
{
	/* gain may exceed work: it includes samples of earlier slices */
	return scan->work >= scan->gain + scan->limit.budget;
}

/* Have pages moved or been given up, so that nothing may be skipped? */
static inline bool ksm_slot_rechecks(const struct ksm_slot *slot)
{
	return slot->pass.recheck || READ_ONCE(slot->recheck_next);
}

/* Are only pages of zeroes merged, so that nothing is remembered? */
static inline bool ksm_scan_zeroes(const struct ksm_scan *scan)
{
	return !(scan->policy & KSM_T_ANON);
}

/* A sample's or digest's key in the domain: NUMA nodes may be kept apart. */
static inline u64 ksm_key(u64 digest, struct page *page)
{
	if (READ_ONCE(ksm_knobs.merge_across_nodes))
		return digest;
	return ksm_digest_nid(digest, page_to_nid(page));
}

/* family.c */
void ksm_family_merged(struct ksm_page *kp, bool related);
void ksm_family_unsure(struct ksm_scan *scan, struct vm_area_struct *vma,
		       unsigned long nr);
void ksm_family_count(struct ksm_scan *scan, struct vm_area_struct *vma,
		      pmd_t *pmd, unsigned long addr, unsigned long end);

/* page.c */
bool ksm_splitting(void);
bool ksm_page_get(struct ksm_page *kp, struct vm_area_struct *vma,
		  unsigned long addr);
void ksm_page_put(struct ksm_page *kp);
enum ksm_outcome ksm_page_needs_split(struct ksm_scan *scan,
				      struct ksm_page *kp, int refs);
void ksm_need_split_add(struct ksm_scan *scan, struct ksm_page *kp);
void ksm_need_split_range(struct ksm_scan *scan, struct ksm_page *kp);
enum ksm_outcome ksm_page_lock(struct ksm_scan *scan, struct ksm_page *kp);
bool ksm_page_split(struct ksm_scan *scan, struct ksm_page *kp);

/* merge.c */
enum ksm_outcome ksm_page_room(struct ksm_scan *scan, struct ksm_slot *slot,
			       struct ksm_page *kp);
enum ksm_outcome ksm_merge_zero(struct ksm_scan *scan, struct ksm_page *kp);
enum ksm_outcome ksm_merge_into(struct ksm_scan *scan, struct ksm_slot *slot,
				struct ksm_page *kp, struct ksm_frame *frame);
enum ksm_outcome ksm_merge_fresh(struct ksm_scan *scan, struct ksm_page *kp,
				 u32 sample, u64 digest,
				 struct ksm_frame **result);

/* match.c */
void ksm_match_index_gain(struct ksm_scan *scan, struct ksm_block *block,
			  unsigned int i, unsigned long work);
void ksm_match_page(struct ksm_scan *scan, struct vm_area_struct *vma,
		    struct ksm_block *block, unsigned int i);

/* zero.c */
void ksm_zero_sample(struct ksm_scan *scan, struct ksm_visit *v);
void ksm_zero_merge(struct ksm_scan *scan, struct vm_area_struct *vma,
		    struct ksm_visit *v);

/* visit.c */
bool ksm_visit_skips(struct ksm_scan *scan, struct ksm_visit *v,
		     unsigned int i, bool dirty);
bool ksm_visit_wants_writes(const struct ksm_visit *v, unsigned int i);
bool ksm_visit_excludes(const struct ksm_visit *v, unsigned int i);
void ksm_visit_sample(struct ksm_scan *scan, struct ksm_visit *v);
void ksm_visit_finish(struct ksm_scan *scan, struct vm_area_struct *vma,
		      struct ksm_visit *v);

/* walk.c */
bool ksm_walk_slot(struct ksm_scan *scan);

/* split-req.c */
/* Folios that a writer may list before it waits. */
#define KSM_SPLIT_REQS_MAX	128
struct ksm_split_reqs *ksm_split_reqs_alloc(void);
void ksm_split_reqs_add(struct ksm_split_reqs *reqs, struct ksm_slot *slot,
			struct ksm_need_split *need);
bool ksm_split_reqs_wait(struct ksm_split_reqs *reqs);
void ksm_split_reqs_free(struct ksm_split_reqs *reqs);
void ksm_split_reqs_serve(struct ksm_scan *scan);

#endif /* _MM_KSM_SCAN_H */
