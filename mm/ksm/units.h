/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_UNITS_H
#define _MM_KSM_UNITS_H

#include <asm/page.h>

/*
 * Work is counted in cache lines of user memory. Reading a whole page counts as
 * KSM_PAGE_CACHELINES, sampling one as KSM_SAMPLE_CACHELINES; KSM_WALK_ENTRIES
 * page table entries are one cache line, and so are KSM_SKIP_PAGES pages that
 * smart scan skips. The budget is KSM_PAGE_CACHELINES for each of
 * pages_to_scan.
 */
#define KSM_CACHELINE		64
#define KSM_PAGE_CACHELINES	(PAGE_SIZE / KSM_CACHELINE)
#define KSM_SAMPLE_CACHELINES	4
#define KSM_WALK_ENTRIES	(KSM_CACHELINE / sizeof(pte_t))
/* Skipped pages per cache line, besides that of their entries; measured. */
#define KSM_SKIP_PAGES		4

/*
 * Reading and sampling are prefetched or sequential. Work on objects is counted
 * in the cache lines that it touches and that are unlikely to be cached.
 */
/* Finding a merged page: page table entry, struct page, frame, record. */
#define KSM_MEET_CACHELINES	4
/*
 * Adding or deleting a record: its memory, two of the array by address, the
 * anon_vma, and the frame or the neighbours on its list.
 */
#define KSM_REC_CACHELINES	6
/*
 * Looking where a record leads, for each VMA: the link in the anon_vma's tree,
 * two of the VMA, the mm, and four of its page table or of its record.
 */
#define KSM_LOOK_CACHELINES	8

/*
 * Splitting a large folio, for each page: struct page, the entry cleared and set
 * again, and the first bytes, which are checked for zeroes.
 */
#define KSM_SPLIT_CACHELINES	4

/* Pages of a block, see struct ksm_block. */
#define KSM_BLOCK_PAGES		64

/* A slot's turn, after which the scheduler is asked again; in cache lines. */
#define KSM_SLICE		(KSM_BLOCK_PAGES * KSM_PAGE_CACHELINES)

/* One cache line of the budget buys this much work that merges or indexes. */
#define KSM_GAIN		20

/* pages_to_scan at boot. */
#define KSM_PAGES_TO_SCAN	100

#endif /* _MM_KSM_UNITS_H */
