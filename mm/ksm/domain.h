/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A domain and what belongs to it: the index, samples, contents, frames, their
 * records, and the blocks of the slots in it.
 *
 * The lock order is in ksm.h.
 */
#ifndef _MM_KSM_DOMAIN_H
#define _MM_KSM_DOMAIN_H

#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/rhashtable.h>
#include <linux/xarray.h>

#include "units.h"

struct ksm_slot;

/**
 * struct ksm_secret - the key of a domain's samples and digests
 * @seed: seed of the hash
 * @cacheline: which cache lines of a page a sample reads
 *
 * Part of its domain, constant.
 */
struct ksm_secret {
	u64 seed;
	u16 cacheline[KSM_SAMPLE_CACHELINES];
};

/**
 * struct ksm_index - pages that wait for a twin, by 32 bits of fingerprint
 * @nr: entries
 * @split: buckets that exist
 * @round: largest power of two not above @split
 * @heads: page number to a page of bucket heads
 *
 * A chained hash table that grows and shrinks by one bucket at a time, so no
 * insertion has to rehash the whole table. The links are in the blocks. Part of
 * its domain, all under the domain's mutex.
 */
struct ksm_index {
	unsigned long nr;
	unsigned long split;
	unsigned long round;
	struct xarray heads;
};

/**
 * struct ksm_domain - memory that may be merged
 * @ref: one for the group that has it as own_domain, or for each that joins it
 *	by name; one for each slot and frame, and temporary ones
 * @all: on ksm_domains until it is freed (ksm_domains_lock)
 * @scanned: a thread is scanning a slot of the domain (ksm_lock)
 * @waiting: groups put aside while @scanned (ksm_lock)
 * @pending: slots whose merging is to be undone and that may map frames of the
 *	domain
 * @mutex: everything below, and the tracking of the slots in the domain
 * @secret: key of samples and digests; constant
 * @zero_sample: sample of a page of zeroes; constant
 * @index: pages without a twin: the unstable side
 * @samples: samples of merged contents (struct ksm_sample): the stable side
 * @blocks: block id to block, for @index
 * @frames: all merged frames
 *
 * Freed by a worker after the last reference goes; the root's is static.
 */
struct ksm_domain {
	refcount_t ref;
	struct list_head all;
	bool scanned;
	struct list_head waiting;
	atomic_t pending;
	struct mutex mutex;		/* everything below */
	struct ksm_secret secret;
	u32 zero_sample;
	struct ksm_index index;
	struct rhashtable samples;
	struct xarray blocks;
	struct list_head frames;
};

/**
 * struct ksm_sample - a sample that merged contents have
 * @node: in ksm_domain.samples
 * @value: the sample; constant
 * @contents: contents with this sample, by digest (struct ksm_content)
 * @rcu: in place of @contents once there are none
 *
 * Owned by the domain, lives as long as it has contents. All under the domain's
 * mutex; a resize of the table also reads @node and @value, under RCU.
 */
struct ksm_sample {
	struct rhash_head node;
	u32 value;
	union {
		struct rb_root contents;
		struct rcu_head rcu;
	};
};

/**
 * struct ksm_content - the merged frames of one digest
 * @node: in sample->contents
 * @digest: the digest
 * @sample: its sample
 * @frames: frames, those with room for one more mapping first
 * @nr: length of @frames
 * @sorted: when @frames was last sorted, in jiffies
 *
 * Owned by its sample, lives as long as it has a frame. All under the domain's
 * mutex.
 */
struct ksm_content {
	struct rb_node node;
	u64 digest;
	struct ksm_sample *sample;
	struct list_head frames;
	unsigned int nr;
	unsigned long sorted;
};

/* The value of ksm_frame.pfn once the frame has lost its folio. */
#define KSM_NO_PFN	(~0UL)

/* ksm_frame.flags */
#define KSM_FRAME_QUEUED	BIT(0)	/* on ksm_review_frames, or freed */
#define KSM_FRAME_PAYER		BIT(1)	/* the payer may no longer map it */
#define KSM_FRAME_WAITS		BIT(2)	/* a change queues a review */
#define KSM_FRAME_MOVING	BIT(3)	/* a review replaces its mappings */

/**
 * struct ksm_frame - a merged page frame; mainline's stable node
 * @pfn: the page frame; changed by migration with the folio locked
 * @domain: with a reference; constant
 * @mapped: mappings, ahead of the folio's mapcount
 * @flags: KSM_FRAME_*
 * @changes: records added, mappings made and ended, since a review last read
 *	it; counted only with KSM_FRAME_WAITS
 * @nid: the NUMA node that @content is for (domain->mutex)
 * @content: what it holds, NULL once nothing more may be merged into it
 *	(domain->mutex)
 * @content_link: on content->frames (domain->mutex)
 * @link: on domain->frames (domain->mutex)
 * @rcu: in place of @link once the frame is freed
 * @recs: records that a slot owns, and @deferred; changed under domain->mutex,
 *	and for removal also with ksm_rmap_sem[] held for writing; walked with
 *	it held for reading
 * @orphans: records that no slot owns, by anon_vma and offset; changed with
 *	domain->mutex, and ksm_rmap_sem[] held for writing
 * @next_orphan: where the check of @orphans resumes, NULL between two checks
 *	(domain->mutex)
 * @deferred: orphans that could not be moved off @recs yet (domain->mutex)
 * @changes_needed: changes to wait for before the next check, which also
 *	begins once changes cease (domain->mutex)
 * @tries: reviews in a row without a result (domain->mutex)
 * @changed: there were changes since the last check began (domain->mutex)
 * @review: on ksm_review_frames while KSM_FRAME_QUEUED
 *
 * folio->mapping points to the frame while the folio lives; the frame holds no
 * reference on the folio. The review worker frees the frame, under
 * domain->mutex, once the folio is gone; so the frame of a mapped or locked
 * folio is valid. A hook that has counted the last mapping may still report
 * that: @flags and @changes stay for an RCU grace period, and a page table lock
 * is an RCU read side section.
 */
struct ksm_frame {
	unsigned long pfn;
	struct ksm_domain *domain;
	atomic_t mapped;
	atomic_t flags;
	atomic_t changes;
	int nid;
	struct ksm_content *content;
	struct list_head content_link;
	union {
		struct list_head link;
		struct rcu_head rcu;
	};
	struct hlist_head recs;
	struct rb_root orphans;
	struct rb_node *next_orphan;
	struct ksm_rec *deferred;
	unsigned int changes_needed;
	unsigned short tries;
	bool changed;
	struct llist_node review;
};

/**
 * struct ksm_rec - where to look for mappings of a merged frame
 * @link: on frame->recs, see there; then on ksm_scan.dead_recs
 * @orphan: in frame->orphans, see there
 * @frame: the frame of a record that a slot owns, NULL once it is gone
 *	(domain->mutex)
 * @next_deferred: next of frame->deferred (domain->mutex)
 * @charged: what an orphan is charged to, or NULL (domain->mutex)
 * @anon_vma: tree of VMAs that may map the frame, with a reference; constant
 * @pgoff: the offset at which they may map it; constant
 *
 * Owned by the slot it was made for. An orphan, which no slot owns any more and
 * which may lead to relatives by fork, is owned by its frame.
 */
struct ksm_rec {
	union {
		struct hlist_node link;
		struct rb_node orphan;
	};
	union {
		struct ksm_frame *frame;
		struct ksm_rec *next_deferred;
		struct obj_cgroup *charged;
	};
	struct anon_vma *anon_vma;
	pgoff_t pgoff;
};

/**
 * enum ksm_page_state - what is known of a page
 * @KSM_S_NONE: not seen, or no page there
 * @KSM_S_VOLATILE: seen once, or changed since
 * @KSM_S_BY_SAMPLE: unique: in the index by its sample
 * @KSM_S_BY_DIGEST: unique: in the index by its digest
 * @KSM_S_MERGED: has a rec
 */
enum ksm_page_state {
	KSM_S_NONE,
	KSM_S_VOLATILE,
	KSM_S_BY_SAMPLE,
	KSM_S_BY_DIGEST,
	KSM_S_MERGED,
};

/**
 * struct ksm_block - what is remembered of KSM_BLOCK_PAGES pages
 * @slot: whose pages
 * @base: address of the first page
 * @id: in domain->blocks
 * @nr: pages with a state other than KSM_S_NONE
 * @pass: slot->pass.nr when last visited
 * @credited: pages whose first entry into the index was counted as gain
 * @ambiguous: pages that share their sample with a page that differs; they are
 *	read whole now and then, indexed or not, so their entries are cleaned
 * @reread: pages that were read whole after a write, or a possible one, since
 *	their age last had them read whole
 * @own: merged mappings, in memory that was ever forked, whose page no relative
 *	had when it was merged, see family.c
 * @digest: folded digests, where some page is KSM_S_BY_DIGEST
 * @sample: samples
 * @next: next entry of the chain in the index, see ksm_loc()
 * @state: enum ksm_page_state
 * @age: visits since the page's sample last changed; 0: the first
 *
 * Owned by its slot; kept while @nr or @own says so. All under
 * slot->track.domain's mutex.
 */
struct ksm_block {
	struct ksm_slot *slot;
	unsigned long base;
	u32 id;
	u8 nr;
	u8 pass;
	u64 credited;
	u64 ambiguous;
	u64 reread;
	u64 own;
	u32 *digest;
	u32 sample[KSM_BLOCK_PAGES];
	u32 next[KSM_BLOCK_PAGES];
	u8 state[KSM_BLOCK_PAGES];
	u8 age[KSM_BLOCK_PAGES];
};

/* Does the block remember anything about its pages? */
static inline bool ksm_block_used(const struct ksm_block *block)
{
	return block->nr || block->own;
}

/* The name of an index entry: block id and page in the block; 0 is none. */
static inline u32 ksm_loc(const struct ksm_block *block, unsigned int i)
{
	return block->id * KSM_BLOCK_PAGES + i;
}

#endif /* _MM_KSM_DOMAIN_H */
