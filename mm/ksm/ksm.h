/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Objects of the samepage merging engine: who owns which, for how long, and
 * which lock covers which field.
 *
 *   group  --- one for each memory cgroup (one in all without CONFIG_MEMCG):
 *              the setting, the books, the processes to scan
 *   slot   --- one for each mm that ever took part: struct ksm_mm
 *   domain --- what may be merged with what: the index, the merged frames
 *   node   --- one for each merged frame, found through folio->mapping
 *   rec    --- one for each merged mapping that the scanner knows: the way
 *              from a frame back to page tables
 *   block  --- what is remembered of 64 neighbouring pages between two visits
 *
 * Lock order, outermost first:
 *
 *   ksm_threads_mutex           scanner threads come and go, see ksmd.c; held
 *                               until one that goes is through with its slice
 *   ksm_config_mutex            settings, the shape of the group tree
 *   ksm_gate_enter()            for whoever goes from a pfn to a folio;
 *                               ksm_gate_hold() for changes of knobs
 *     ksm_domain.mutex          index, nodes, blocks and recs of a domain
 *       mmap_lock               the second one of a merge is only tried
 *         folio lock            only tried while an mmap_lock is held
 *           ksm_rmap_sem[]      a node's list of recs
 *             anon_vma lock
 *               page table lock
 *                 ksm_lock      which slot and group is on which list
 *                   ksm_mm.lock  where a slot belongs and its gauges
 *                     ksm_group.lock
 *
 * The reverse map is called with the folio lock held and takes nothing above
 * ksm_rmap_sem[].
 */
#ifndef _MM_KSM_H
#define _MM_KSM_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/ksm.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rhashtable.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "sched.h"

/* ------------------------------------------------------------------ units */

/*
 * Work is counted in cache lines of user memory: a whole page read is
 * KSM_PAGE_LINES of them, a first look KSM_LOOK_LINES, and eight page table
 * entries are one line, as are four pages that smart scan passes over.
 * pages_to_scan buys KSM_PAGE_LINES a page.
 */
#define KSM_LINE		64
#define KSM_PAGE_LINES		(PAGE_SIZE / KSM_LINE)
#define KSM_LOOK_LINES		4
#define KSM_WALK_ENTRIES	(KSM_LINE / sizeof(pte_t))
/* Pages that are passed over for a line, besides: as measured. */
#define KSM_SKIP_PAGES		4

#define KSM_PAGES_TO_SCAN	100

#define KSM_BLOCK_PAGES		64
#define KSM_BLOCK_SHIFT		(PAGE_SHIFT + 6)
#define KSM_BLOCK_SIZE		BIT(KSM_BLOCK_SHIFT)
#define KSM_BLOCK_MASK		(~(KSM_BLOCK_SIZE - 1))

/* Of so many visits, one at least looks at a page that does not change. */
#define KSM_BACKOFF_FLOOR	8
/* Of so many, one at least reads whole a page whose first look is another's. */
#define KSM_BACKOFF_WHOLE	16
/* Visits after which the next one looks, and reads, in any case. */
#define KSM_BACKOFF_SURE	((u8)1)

/* Of work that merges a page or makes it known, so much costs the budget one. */
#define KSM_GAIN		20

/* What one slot is given before the scheduler is asked again, in lines. */
#define KSM_SLICE		(64 * KSM_PAGE_LINES)

/* --------------------------------------------------------------- settings */

enum ksm_setting {
	KSM_INHERIT,
	KSM_NEVER,
	KSM_MADVISE,
	KSM_ALWAYS,
};

enum ksm_run {
	KSM_RUN_STOP = 0,
	KSM_RUN_ALL = 1,
	KSM_RUN_UNMERGE = 2,
	KSM_RUN_CGROUPS = 3,
};

/**
 * struct ksm_knobs - what /sys/kernel/mm/ksm sets for everybody
 * @run: enum ksm_run
 * @pages_to_scan: budget of one batch, in pages
 * @sleep_ms: pause between two batches
 * @max_page_sharing: mappings that one frame may have
 * @prune_ms: how often a content's frames that nobody maps are looked for
 * @merge_across_nodes: a frame may be mapped from another NUMA node's memory
 * @use_zero_pages: map the zero page for pages of zeroes
 * @smart_scan: pass over pages that did not change since they were looked at,
 *	see backoff.c
 *
 * Written with ksm_gate_hold(); read anywhere with READ_ONCE().
 */
struct ksm_knobs {
	unsigned int run;
	unsigned int pages_to_scan;
	unsigned int sleep_ms;
	unsigned int max_page_sharing;
	unsigned int prune_ms;
	bool merge_across_nodes;
	bool use_zero_pages;
	bool smart_scan;
};

/* ------------------------------------------------------------------ books */

/* Gauges that move with the slot. */
enum ksm_gauge {
	KSM_G_MERGING,		/* mappings of merged frames */
	KSM_G_ZERO,		/* mappings of the zero page placed here */
	KSM_G_UNSHARED,		/* unique and watched */
	KSM_G_VOLATILE,		/* seen once, or changed since */
	KSM_G_FOREIGN,		/* of MERGING: frames of another domain */
	KSM_G_METADATA,		/* bytes */
	KSM_G_PROCESSES,	/* slots that take part */
	NR_KSM_GAUGES,
};

/* Events that stay where they happened. */
enum ksm_event {
	KSM_E_SCANNED,
	KSM_E_SKIPPED,
	KSM_E_MERGED,
	KSM_E_UNMERGED,
	KSM_E_COW,
	KSM_E_FAILED,
	KSM_E_SCAN_USEC,
	KSM_E_FULL_SCANS,
	NR_KSM_EVENTS,
};

/**
 * struct ksm_sums - the books of a group and everything below it
 * @gauge: sums of the slots' gauges
 * @event: sums of events
 * @shared: merged frames charged here
 */
struct ksm_sums {
	long gauge[NR_KSM_GAUGES];
	unsigned long event[NR_KSM_EVENTS];
	long shared;
};

/**
 * struct ksm_group - a memory cgroup's share in merging
 * @memcg: the cgroup, which owns the group; NULL where there is none
 * @parent: next towards the root, NULL for the root; set once
 * @setting: what was written to memory.ksm (ksm_config_mutex)
 * @join: memory.ksm.domain says parent (ksm_config_mutex)
 * @peek: the writer of @setting may merge undumpable processes (ksm_config_mutex)
 * @own_domain: made when @setting first asked for one, kept until the group
 *	is freed (ksm_config_mutex)
 * @effective: what holds here (written under ksm_config_mutex and ksm_lock)
 * @force_peek: @peek of the group that decided @effective (likewise)
 * @owned: some group up to here except the root has a value (likewise)
 * @domain: the domain that slots here merge in, an ancestor's @own_domain
 *	(likewise)
 * @link: on ksm_groups (ksm_lock)
 * @slots: slots that take part, next to be scanned first (ksm_lock)
 * @parked: slots that do not (ksm_lock)
 * @nr_slots: how many are on @slots (ksm_lock)
 * @unpassed: of these, how many the present round has still to pass (ksm_lock)
 * @served: run lets the scanner serve this group (ksm_lock)
 * @offline: the cgroup is gone; slots and books moved to @parent (ksm_lock
 *	and @lock)
 * @wait: on domain->waiting, and held in the scheduler (ksm_lock)
 * @sched: stands for the group's subtree among its siblings (ksm_lock)
 * @own: stands for the group's own slots among its children (ksm_lock)
 * @enlist: on ksm_enlist_groups: tasks may wait to be registered (ksm_lock)
 * @write_mutex: one writer to the group's files at a time; outside of
 *	ksm_config_mutex
 * @lock: @shared against @offline; @resume_born with @resume_at
 * @shared: merged frames charged here
 * @resume_born: the slot in which the last write to memory.ksm.scan ended early,
 *	by its @born, as it may be gone; 0: it went through all
 * @resume_at: at which address of it
 * @gauge: sums over the group's slots, changed under the slot's lock
 * @meta_pages: what the cgroup is charged for metadata
 * @event: what happened to the group's slots, and to those of removed children
 */
struct ksm_group {
	struct mem_cgroup *memcg;
	struct ksm_group *parent;

	enum ksm_setting setting;
	bool join;
	bool peek;
	struct ksm_domain *own_domain;

	enum ksm_setting effective;
	bool force_peek;
	bool owned;
	struct ksm_domain *domain;

	struct list_head link;
	struct list_head slots;
	struct list_head parked;
	unsigned long nr_slots;
	unsigned long unpassed;
	bool served;
	bool offline;
	struct list_head wait;
	struct ksm_sched sched;
	struct ksm_sched own;
	struct list_head enlist;

	struct mutex write_mutex;	/* one writer at a time */
	spinlock_t lock;		/* shared, offline, resume_* */
	long shared;
	unsigned long resume_born;
	unsigned long resume_at;
	atomic_long_t gauge[NR_KSM_GAUGES];
	atomic_long_t meta_pages;
	atomic_long_t event[NR_KSM_EVENTS];
};

/**
 * struct ksm_mm - an mm that takes part, or did: the slot
 * @mm: the mm, held by mm_count for as long as the slot lives
 * @ref: one for mm->ksm, one for each user outside of locks
 * @lock: @group, @domain, @merged_in, @mixed, @merged_ever, @crossed, @gauge
 * @group: the group of mm->owner's cgroup, never an offline one
 * @domain: group->domain, moved together with the gauges
 * @merged_in: the domain of the frames mapped here, with a reference; may
 *	only change while no frame is mapped
 * @mixed: frames of more than one domain are mapped
 * @merged_ever: some frame was mapped here, or in what this was forked from
 * @crossed: since then it came to another domain; what it shares in swap it may
 *	share by merging
 * @gauge: this mm's part of the books
 * @moves: how often it came to another group with frames mapped (@lock)
 * @moves_seen: @moves when all its frames were last reviewed; written by who
 *	reviewed them, and a value too old only has them reviewed once more
 * @all: on ksm_slots until the last reference goes (ksm_lock)
 * @born: slots that there were before, with itself; in order on ksm_slots; set once
 * @link: on the group's slots or parked (ksm_lock)
 * @listed: the mm belongs to a process: its cgroup is settled (ksm_lock)
 * @dead: __ksm_exit() was here (ksm_lock)
 * @takes_part: it is on slots rather than on parked (ksm_lock)
 * @asked: some range of it was MADV_MERGEABLE at some time (mmap_lock)
 * @round: the round in which it was last passed whole (ksm_lock)
 * @pass_round: the round in which the present pass began (ksm_lock)
 * @foreign: on ksm_foreign_slots (ksm_lock)
 * @tidy: where the worker that unshares goes on (that worker)
 * @self: asks the mm's owner to unshare, with a reference, while @asked_self
 * @asked_self: (ksm_lock)
 * @stuck: unsharing failed, so that the scanner need not wait (ksm_lock)
 * @reap: on ksm_reap_slots
 * @tracked: the domain whose index and recs this slot's blocks are in, with a
 *	reference; set under its mutex, cleared under its mutex
 * @blocks: address >> KSM_BLOCK_SHIFT to block (tracked->mutex)
 * @recs: address >> PAGE_SHIFT to rec (tracked->mutex)
 * @cursor: next address to visit (tracked->mutex)
 * @undrained: in the present pass, a page with a twin was not on the LRU: it sat
 *	in some CPU's batch (tracked->mutex)
 * @held: and one that is on it was held by somebody, such a batch perhaps
 *	(tracked->mutex)
 * @held_before: likewise in the pass before (tracked->mutex)
 * @unstocked: in the present pass, there was no frame for a page with a twin
 *	(tracked->mutex)
 * @shorts: passes in a row that did not count because of that (tracked->mutex)
 * @drains: drains of those batches before the present pass (tracked->mutex)
 * @drains_due: as many are needed before a pass may say that such pages cannot
 *	be merged; 0: none is waited for (tracked->mutex)
 * @nsec: scan time that makes no whole microsecond yet (ksm_mm.lock)
 * @pass: counts passes, stamps blocks (tracked->mutex)
 * @afresh: pages moved or were given up: the next pass passes over nothing
 * @careful: @afresh was set when the present pass began (tracked->mutex)
 *
 * Born by the first call that asks for merging, or with fork; dies after
 * exit_mmap(), when the reaper took back what it had tracked.
 */
struct ksm_mm {
	struct mm_struct *mm;
	struct kref ref;

	spinlock_t lock;		/* where it belongs, and gauges */
	struct ksm_group *group;
	struct ksm_domain *domain;
	struct ksm_domain *merged_in;
	bool mixed;
	bool merged_ever;
	bool crossed;
	long gauge[NR_KSM_GAUGES];
	unsigned int moves;
	unsigned int moves_seen;

	struct list_head all;
	unsigned long born;
	struct list_head link;
	bool listed;
	bool dead;
	bool takes_part;
	bool asked;
	unsigned long round;
	unsigned long pass_round;
	struct list_head foreign;
	unsigned long tidy;
	struct callback_head self;
	bool asked_self;
	bool stuck;
	struct llist_node reap;

	struct ksm_domain *tracked;
	struct xarray blocks;
	struct xarray recs;
	unsigned long cursor;
	bool undrained;
	bool held;
	bool held_before;
	bool unstocked;
	u8 shorts;
	unsigned long drains;
	unsigned long drains_due;
	u32 nsec;
	u8 pass;
	bool afresh;
	bool careful;
};

/* ----------------------------------------------------------------- domain */

/**
 * struct ksm_secret - the key of a domain's fingerprints
 * @seed: seed of the digests
 * @line: which cache lines of a page the first look reads
 *
 * Drawn when the domain is made, constant afterwards.
 */
struct ksm_secret {
	u64 seed;
	u16 line[KSM_LOOK_LINES];
};

/**
 * struct ksm_index - pages that wait for a twin, by 32 bits of fingerprint
 * @nr: entries
 * @split: buckets that exist
 * @round: largest power of two not above @split
 * @heads: page number to a page of bucket heads
 *
 * A chained hash table that grows and shrinks by one bucket at a time, so
 * that no insertion ever stops for a large move. The links are in the blocks.
 * Covered by ksm_domain.mutex.
 */
struct ksm_index {
	unsigned long nr;
	unsigned long split;
	unsigned long round;
	struct xarray heads;
};

/**
 * struct ksm_domain - memory that may be merged
 * @ref: groups with it as own_domain, slots, nodes and passing users
 * @all: on the list of all domains, while it has references
 * @scanned: some thread has a slot of it in hand (ksm_lock)
 * @waiting: groups that are put aside until it has not (ksm_lock)
 * @mutex: everything below, and the tracking of the slots in it
 * @secret: key of the fingerprints; constant
 * @zero_look: first look of a page of zeroes; constant
 * @index: pages without twin
 * @looks: first looks of merged contents (struct ksm_look), with these
 * @blocks: block id to block, for @index
 * @nodes: all merged frames
 */
struct ksm_domain {
	refcount_t ref;
	struct list_head all;
	bool scanned;
	struct list_head waiting;
	struct mutex mutex;		/* everything below */
	struct ksm_secret secret;
	u32 zero_look;
	struct ksm_index index;
	struct rhashtable looks;
	struct xarray blocks;
	struct list_head nodes;
};

/**
 * struct ksm_look - a first look that merged contents have
 * @node: in ksm_domain.looks
 * @digest: the look; constant
 * @contents: those that have it, by whole fingerprint (struct ksm_content)
 * @rcu: in place of @contents when there are none any more
 *
 * Owned by the domain; lives as long as there is a content. All under
 * ksm_domain.mutex, but @node and @digest, which resizing of the table reads
 * with RCU.
 */
struct ksm_look {
	struct rhash_head node;
	u32 digest;
	union {
		struct rb_root contents;
		struct rcu_head rcu;
	};
};

/**
 * struct ksm_content - the merged frames of one whole fingerprint
 * @node: in look->contents
 * @whole: the fingerprint
 * @look: its first look
 * @nodes: frames; those that can take one more mapping come first
 * @nr: how many
 * @sorted: when the order of @nodes was last put right, in jiffies
 *
 * Owned by its look; lives as long as it has a frame. All under
 * ksm_domain.mutex.
 */
struct ksm_content {
	struct rb_node node;
	u64 whole;
	struct ksm_look *look;
	struct list_head nodes;
	unsigned int nr;
	unsigned long sorted;
};

/**
 * struct ksm_node - a merged frame
 * @pfn: the frame; changed by migration with the folio locked
 * @domain: with a reference; constant
 * @content: what it holds, NULL once nothing more may be merged into it
 *	(domain->mutex)
 * @content_link: on content->nodes (domain->mutex)
 * @link: on domain->nodes (domain->mutex)
 * @nid: the NUMA node that @content is for (domain->mutex)
 * @mapped: mappings, ahead of the mapcount
 * @recs: reverse-map records (ksm_rmap_sem[])
 * @nr_orphans: how many of them no slot owns (ksm_rmap_sem[])
 * @review: on ksm_review_nodes while @review_queued
 * @review_queued: bit 0: a worker is to look whether the frame is gone, or has
 *	lost its payer
 *
 * folio->mapping points to it while the folio lives, without a reference to
 * the folio. It is freed, under domain->mutex, when the folio was seen to be
 * gone; hence whoever sees the folio mapped or locked may use it.
 */
struct ksm_node {
	unsigned long pfn;
	struct ksm_domain *domain;
	struct ksm_content *content;
	struct list_head content_link;
	struct list_head link;
	int nid;
	atomic_t mapped;
	struct hlist_head recs;
	unsigned int nr_orphans;
	struct llist_node review;
	unsigned long review_queued;
};

/**
 * struct ksm_rec - where to look for mappings of a merged frame
 * @link: on node->recs (ksm_rmap_sem[])
 * @node: the frame
 * @anon_vma: with a reference: trees of VMAs that may map it
 * @pgoff: at this offset
 * @orphan: no slot owns it any more: kept for relatives by fork (ksm_rmap_sem[])
 *
 * Owned by the slot that it was made for; an orphan by its node.
 */
struct ksm_rec {
	struct hlist_node link;
	struct ksm_node *node;
	struct anon_vma *anon_vma;
	pgoff_t pgoff;
	bool orphan;
};

/* --------------------------------------------------------------- tracking */

enum ksm_state {
	KSM_S_NONE,		/* not seen, or nothing there */
	KSM_S_VOLATILE,		/* seen once, or changed since */
	KSM_S_WATCHED,		/* unique: in the index by its first look */
	KSM_S_WHOLE,		/* unique: in the index by its whole fingerprint */
	KSM_S_MERGED,		/* has a rec */
};

/**
 * struct ksm_block - what is remembered of KSM_BLOCK_PAGES pages
 * @slot: whose
 * @base: address of the first page
 * @id: in domain->blocks
 * @nr: pages with a state other than KSM_S_NONE
 * @pass: slot->pass when last visited
 * @known: pages that came to be known, in the index, since they came
 * @met: pages whose first look was met in a page that differs: read whole now
 *	and then, in the index or not, so their entries are cleaned
 * @written: pages that were read whole as they had been written to, or may have
 *	been, since they were last read whole in any case
 * @later: pages that are still to be read whole in the pass of @pass, in which a
 *	slice ended before they were
 * @whole: folded whole fingerprints, where some page is KSM_S_WHOLE
 * @look: first looks
 * @next: chain in the index, an entry's name as made by ksm_loc()
 * @state: enum ksm_state
 * @age: visits since the page's look last changed; 0: the first
 *
 * All under slot->tracked->mutex.
 */
struct ksm_block {
	struct ksm_mm *slot;
	unsigned long base;
	u32 id;
	u8 nr;
	u8 pass;
	u64 known;
	u64 met;
	u64 written;
	u64 later;
	u32 *whole;
	u32 look[KSM_BLOCK_PAGES];
	u32 next[KSM_BLOCK_PAGES];
	u8 state[KSM_BLOCK_PAGES];
	u8 age[KSM_BLOCK_PAGES];
};

/* An entry of the index: block id and page in the block; 0 is none. */
static inline u32 ksm_loc(const struct ksm_block *block, unsigned int i)
{
	return block->id * KSM_BLOCK_PAGES + i;
}

/**
 * struct ksm_scan - one slice of scanning, on the scanner's stack
 * @slot: whose memory
 * @domain: its domain, whose mutex is held
 * @brief: nothing may sleep; what would have to is left to another scan
 * @pages: pages that may be passed
 * @work: lines spent
 * @gain: of these, what merged a page or made it known
 * @budget: lines that may be spent
 * @cursor: next address to visit
 * @end: address to stop at
 * @holes: empty upper page table entries met
 * @fresh: frames drawn from the pool
 * @delta: changes of gauges to be booked
 * @event: events to be booked
 * @drain: a page could not be merged as it was not on the LRU, but in some CPU's
 *	batch
 * @held: one that was on it could not, as somebody held it
 * @unstocked: one could not as there was no frame in stock
 */
struct ksm_scan {
	struct ksm_mm *slot;
	struct ksm_domain *domain;
	bool brief;
	unsigned long pages;
	unsigned long work;
	unsigned long gain;
	unsigned long budget;
	unsigned long cursor;
	unsigned long end;
	unsigned long holes;
	unsigned int fresh;
	long delta[NR_KSM_GAUGES];
	unsigned long event[NR_KSM_EVENTS];
	bool drain;
	bool held;
	bool unstocked;
};

/* What a node's pfn is when the memory was taken away. */
#define KSM_NO_PFN	(~0UL)

/* A page of some process, held by a reference on its folio. */
struct ksm_page {
	struct vm_area_struct *vma;
	unsigned long addr;
	struct folio *folio;
	struct page *page;
};

/* core.c */
extern struct ksm_knobs ksm_knobs;
extern struct kmem_cache *ksm_block_cache, *ksm_node_cache, *ksm_rec_cache;
bool ksm_running(void);
void ksm_merging_begin(void);
unsigned long ksm_drains(void);
unsigned long ksm_drains_begun(void);
void ksm_drain_want(void);
void ksm_drain_lru(void);
void ksm_drain_later(void);

/* ksmd.c */
void ksm_wake(void);
void ksm_wake_sleeper(void);
void ksm_wake_turn(void);
u64 ksmd_run_time(void);
unsigned int ksmd_threads(void);
int ksmd_set_threads(unsigned int nr);
int ksmd_init(void);

/* registry.c */
extern spinlock_t ksm_lock;
extern struct list_head ksm_groups;
extern struct ksm_group ksm_root_group;

struct ksm_mm *ksm_slot_make(struct mm_struct *mm);
void ksm_slot_put(struct ksm_mm *slot);
void ksm_slot_join(struct ksm_mm *slot, struct ksm_group *group);
void ksm_slot_refresh(struct ksm_mm *slot);
int ksm_mm_register(struct mm_struct *mm);
unsigned long ksm_full_scans(void);
unsigned long ksm_turns(void);
struct ksm_mm *ksm_slot_next(struct ksm_domain **domain);
void ksm_slot_pass_begin(struct ksm_mm *slot);
void ksm_slot_pass_end(struct ksm_mm *slot);
void ksm_slot_pass_over(struct ksm_mm *slot);
unsigned long ksm_nr_served(struct ksm_group *top);
unsigned long ksm_last_born(void);
bool ksm_slot_served(struct ksm_mm *slot, struct ksm_group *top);
void ksm_slot_scanned(struct ksm_mm *slot, struct ksm_domain *domain,
		      unsigned long work, bool rotate);
bool ksm_mm_wanted(struct mm_struct *mm, struct ksm_group *group);
bool ksm_mm_forced(struct mm_struct *mm, struct ksm_group *group);
void ksm_round_restart(void);
void ksm_groups_serve(void);
typedef int (*ksm_slot_fn)(struct ksm_mm *slot, void *arg);
int ksm_visit_slots(struct ksm_group *group, ksm_slot_fn fn, void *arg);
void ksm_slot_foreign(struct ksm_mm *slot);

/* group.c */
extern struct mutex ksm_config_mutex;
void ksm_group_init(struct ksm_group *group, struct ksm_group *parent,
		    struct mem_cgroup *memcg);
void ksm_group_refresh(struct ksm_group *group);
void ksm_group_offline(struct ksm_group *group);
struct ksm_group *ksm_group_of(struct mem_cgroup *memcg);
u64 ksm_slot_cgroup(struct ksm_mm *slot);
struct ksm_group *ksm_group_pays(struct folio *folio);
struct ksm_group *ksm_mm_group(struct mm_struct *mm);
void ksm_group_sums(struct ksm_group *group, struct ksm_sums *sums);
long ksm_group_metadata(struct ksm_group *group);
long ksm_sums_profit(const struct ksm_sums *sums);
#ifdef CONFIG_MEMCG
void ksm_memcg_enlist(struct ksm_group *group);
void ksm_memcg_sums(struct ksm_group *group, struct ksm_sums *sums);
#else
static inline void ksm_memcg_enlist(struct ksm_group *group)
{
}
#endif

/* books.c */
void ksm_slot_mod(struct ksm_mm *slot, enum ksm_gauge gauge, long nr);
void ksm_slot_event(struct ksm_mm *slot, enum ksm_event event, unsigned long nr);
void ksm_scan_book(struct ksm_scan *scan, u64 nsec);
int ksm_slot_charge_folio(struct ksm_mm *slot, struct folio *folio, gfp_t gfp);
bool ksm_slot_claim(struct ksm_mm *slot, struct ksm_domain *domain);
long ksm_slot_move(struct ksm_mm *slot, struct ksm_group *group);

/* domain.c */
extern struct ksm_domain ksm_root_domain;
int ksm_domain_init(struct ksm_domain *domain);
struct ksm_domain *ksm_domain_alloc(void);
void ksm_domain_put(struct ksm_domain *domain);
struct ksm_domain *ksm_domain_next(struct ksm_domain *domain);
void ksm_domains_sync(void);
bool ksm_domains_forget(void);
struct ksm_content *ksm_content_find(struct ksm_domain *domain, u32 digest,
				     u64 whole);
bool ksm_look_known(struct ksm_domain *domain, u32 look);
int ksm_content_add(struct ksm_domain *domain, struct ksm_node *node, u32 look,
		    u64 whole);
void ksm_content_del(struct ksm_node *node);
extern atomic_long_t ksm_nr_chains, ksm_nr_dups;

/* digest.c */
void ksm_secret_init(struct ksm_secret *secret);
u32 ksm_digest_look(const struct ksm_secret *secret, const void *page);
u64 ksm_digest_whole(const struct ksm_secret *secret, const void *page);
u32 ksm_digest_fold(u64 whole);
u64 ksm_digest_nid(u64 digest, int nid);

/* index.c */
void ksm_index_init(struct ksm_index *index);
void ksm_index_destroy(struct ksm_index *index);
void ksm_index_prefetch(struct ksm_index *index, u32 key);
u32 ksm_index_find(struct ksm_domain *domain, u32 key, bool whole);
int ksm_index_add(struct ksm_domain *domain, struct ksm_block *block,
		  unsigned int i);
void ksm_index_del(struct ksm_domain *domain, struct ksm_block *block,
		   unsigned int i);

/* backoff.c */
bool ksm_backoff_due(unsigned int visit);
bool ksm_backoff_whole_due(unsigned int visit);
u8 ksm_backoff_age(u8 age);

/* track.c */
long ksm_array_bytes(struct xarray *xa, unsigned long addr, int shift);
struct ksm_block *ksm_block_find(struct ksm_mm *slot, unsigned long addr);
struct ksm_block *ksm_block_make(struct ksm_scan *scan, unsigned long addr);
void ksm_block_free(struct ksm_scan *scan, struct ksm_block *block);
int ksm_block_whole(struct ksm_scan *scan, struct ksm_block *block);
void ksm_page_set(struct ksm_scan *scan, struct ksm_block *block,
		  unsigned int i, enum ksm_state state);
void ksm_page_forget(struct ksm_scan *scan, struct ksm_block *block,
		     unsigned int i);
void ksm_track_sweep(struct ksm_scan *scan);
bool ksm_track_enter(struct ksm_mm *slot, struct ksm_domain *domain);
void ksm_track_drop(struct ksm_mm *slot);

/* walk.c */
#define KSM_P_ASKED	1	/* ranges that were asked for */
#define KSM_P_ANY	2	/* everything: the process asked */
#define KSM_P_FORCED	4	/* what is no secret: the cgroup says so */
unsigned int ksm_slot_policy(struct ksm_mm *slot);
bool ksm_vma_able(struct vm_area_struct *vma);
bool ksm_vma_eligible(unsigned int policy, struct vm_area_struct *vma);
unsigned long ksm_scan_passed(const struct ksm_scan *scan);
bool ksm_walk_slot(struct ksm_scan *scan);

/* merge.c */
bool ksm_page_get(struct ksm_page *kp, struct vm_area_struct *vma,
		  unsigned long addr);
void ksm_page_put(struct ksm_page *kp);
bool ksm_page_sleeps(struct ksm_scan *scan, struct ksm_page *kp);
bool ksm_page_split(struct ksm_page *kp);
int ksm_merge_zero(struct ksm_scan *scan, struct ksm_page *kp);
int ksm_merge_into(struct ksm_scan *scan, struct ksm_mm *slot,
		   struct ksm_page *kp, struct ksm_node *node);
struct ksm_node *ksm_merge_fresh(struct ksm_scan *scan, struct ksm_mm *slot,
				 struct ksm_page *kp, u32 look, u64 whole);

/* unshare.c */
int ksm_unshare_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool killable);
typedef bool (*ksm_spare_fn)(struct ksm_mm *slot, struct vm_area_struct *vma);
int ksm_unshare_mm(struct ksm_mm *slot, ksm_spare_fn spare);
void ksm_unshare_foreign(struct mm_struct *mm);
void ksm_unshare_queue(struct ksm_mm *slot);
int ksm_unmerge_all(void);

/* pool.c */
void ksm_pool_refill(unsigned int most);
struct folio *ksm_pool_get(int nid);
void ksm_pool_drain(void);

/* rmap.c, node.c */
void ksm_rmap_init(void);
struct ksm_node *ksm_folio_node(const struct folio *folio);
void ksm_folio_set_node(struct folio *folio, struct ksm_node *node);
struct folio *ksm_node_folio(struct ksm_node *node);
struct ksm_node *ksm_node_alloc(struct ksm_domain *domain);
void ksm_node_free(struct ksm_node *node);
void ksm_node_review(struct ksm_node *node);
void ksm_nodes_prune(struct ksm_domain *domain, unsigned long start,
		     unsigned long end);
bool ksm_node_forget(struct ksm_node *node);
void ksm_review_flush(void);
bool ksm_recs_hold(struct ksm_scan *scan, struct ksm_mm *slot,
		   struct ksm_page *kp, struct ksm_node *node);
void ksm_recs_release(struct ksm_scan *scan, struct ksm_node *node);
int ksm_rec_add(struct ksm_scan *scan, struct ksm_mm *slot,
		struct ksm_page *kp, struct ksm_node *node);
void ksm_rec_del(struct ksm_scan *scan, struct ksm_mm *slot,
		 unsigned long addr);
void ksm_node_drop_recs(struct ksm_node *node);

/* payer.c, demand.c */
#ifdef CONFIG_MEMCG
int ksm_scan_subtree(struct ksm_group *top, unsigned long pages);
void ksm_group_charge(struct ksm_group *group);
bool ksm_payer_meta_room(struct ksm_mm *slot);
int ksm_payer_first(struct ksm_mm *slot, struct folio *old, struct folio *frame);
bool ksm_payer_settle(struct ksm_node *node, struct folio *folio);
bool ksm_payer_fits(struct ksm_mm *slot, struct folio *folio);
bool ksm_payer_lost(struct ksm_mm *slot, struct folio *folio);
int ksm_payer_review(struct vm_area_struct *vma, unsigned long start,
		     unsigned long end);
#else
static inline void ksm_group_charge(struct ksm_group *group)
{
}

static inline bool ksm_payer_meta_room(struct ksm_mm *slot)
{
	return true;
}

static inline int ksm_payer_first(struct ksm_mm *slot, struct folio *old,
				  struct folio *frame)
{
	return 0;
}

static inline bool ksm_payer_settle(struct ksm_node *node, struct folio *folio)
{
	return true;
}

static inline bool ksm_payer_fits(struct ksm_mm *slot, struct folio *folio)
{
	return true;
}

static inline bool ksm_payer_lost(struct ksm_mm *slot, struct folio *folio)
{
	return false;
}

static inline int ksm_payer_review(struct vm_area_struct *vma,
				   unsigned long start, unsigned long end)
{
	return 0;
}
#endif

/* hotplug.c, sysfs.c */
bool ksm_gate_try(void);
void ksm_gate_enter(void);
void ksm_gate_leave(void);
int ksm_gate_hold(void);
void ksm_gate_release(void);
int ksm_hotplug_init(void);
int ksm_sysfs_init(void);
void ksm_host_sums(struct ksm_sums *sums);

#endif /* _MM_KSM_H */
