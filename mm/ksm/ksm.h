/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Objects of the samepage merging engine: their owners, their lives, and the
 * lock that covers each field.
 *
 *   group  --- one for each memory cgroup (one in all without CONFIG_MEMCG):
 *              the configuration, the books, the processes to scan
 *   slot   --- one for each mm that ever took part
 *   domain --- memory that may be merged: the index and the merged frames
 *   frame  --- one for each merged page frame, found through folio->mapping
 *   rec    --- one for each merged mapping that the scanner knows: the way
 *              from a frame back to page tables
 *   block  --- what is remembered of 64 neighbouring pages between two visits
 *
 * Mainline's stable tree corresponds to a domain's frames, which are found by
 * sample and digest; its unstable tree corresponds to the domain's index.
 *
 * Lock order, outermost first:
 *
 *   ksm_threads_mutex           start and stop of scanner threads, see ksmd.c;
 *                               held until a stopping thread ends its slice
 *   ksm_config_mutex            configurations, the shape of the group tree
 *   ksm_gate                    held for reading from a pfn to its folio, for
 *                               writing while a knob changes
 *     ksm_domain.mutex          index, frames, blocks and recs of a domain
 *       mmap_lock               the second one of a merge is only tried
 *         folio lock            only tried while an mmap_lock is held
 *           ksm_rmap_sem[]      removal of recs; only tried by the scan
 *             anon_vma lock     only tried by the scan
 *               page table lock
 *                 ksm_lock      lists of groups and slots, rounds
 *                   ksm_slot.books.lock
 *                     ksm_group.books.lock
 *
 * The reverse map is called with the folio lock held and takes nothing above
 * ksm_rmap_sem[].
 *
 * The files stand on floors, see Makefile: no call goes to a floor above.
 */
#ifndef _MM_KSM_H
#define _MM_KSM_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/ksm.h>
#include <linux/ksm_cgroup.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rhashtable.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "sched.h"
#include "units.h"

#define KSM_BLOCK_SHIFT		(PAGE_SHIFT + 6)
#define KSM_BLOCK_SIZE		BIT(KSM_BLOCK_SHIFT)
#define KSM_BLOCK_MASK		(~(KSM_BLOCK_SIZE - 1))

/* Allocations of the scan: without reclaim and without a warning. */
#define KSM_GFP_SCAN		(GFP_NOWAIT | __GFP_NOWARN)
/* Allocations that free a page: these may use the reserves. */
#define KSM_GFP_MERGE		(KSM_GFP_SCAN | __GFP_HIGH)

/* ------------------------------------------------------------------ knobs */

enum ksm_run {
	KSM_RUN_STOP = 0,
	KSM_RUN_ALL = 1,
	KSM_RUN_UNMERGE = 2,
	KSM_RUN_CGROUPS = 3,
};

/**
 * struct ksm_knobs - what /sys/kernel/mm/ksm sets for the host
 * @run: enum ksm_run
 * @pages_to_scan: budget of one batch, in pages
 * @sleep_ms: pause between two batches
 * @max_page_sharing: mappings that one frame may have
 * @prune_ms: least time between two sorts of the frames of one content
 * @merge_across_nodes: a frame may replace memory of another NUMA node
 * @use_zero_pages: map the zero page in place of pages of zeroes
 * @smart_scan: skip pages that did not change since the last visit, see
 *	backoff.c
 *
 * One in all, static. Written with ksm_gate_write_lock(); read anywhere with
 * READ_ONCE().
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

/* ------------------------------------------------------------------ group */

/**
 * struct ksm_effective - what holds in a group
 * @setting: KSM_NEVER, KSM_MADVISE or KSM_ALWAYS
 * @undumpable_ok: @setting covers processes that are not dumpable
 * @owned: this group or one above it has 1 or madvise of its own; the root
 *	counts only with 1
 * @domain: the domain that slots here merge in, an ancestor's own_domain
 *
 * Written under ksm_config_mutex and ksm_lock, read under either, or with
 * READ_ONCE() where a stale answer does no harm.
 */
struct ksm_effective {
	enum ksm_setting setting;
	bool undumpable_ok;
	bool owned;
	struct ksm_domain *domain;
};

/**
 * struct ksm_group_queue - a group as the scanner sees it
 * @link: on ksm_groups
 * @slots: slots that take part, the next one to scan first
 * @parked: slots that do not
 * @nr_slots: length of @slots
 * @unpassed: slots of @slots that the present round has still to pass
 * @served: run and the group's setting let the scanner serve it
 * @wait: on domain->waiting, and held in the scheduler
 * @enlist: on ksm_enlist_groups while processes may have to be registered
 * @resume_seq: seq of the slot in which the last write to memory.ksm.scan
 *	ended early; 0 if it visited all slots
 * @resume_addr: address in that slot
 *
 * All under ksm_lock.
 */
struct ksm_group_queue {
	struct list_head link;
	struct list_head slots;
	struct list_head parked;
	unsigned long nr_slots;
	unsigned long unpassed;
	bool served;
	struct list_head wait;
	struct list_head enlist;
	unsigned long resume_seq;
	unsigned long resume_addr;
};

/**
 * struct ksm_group_books - the books of a group
 * @lock: @shared, and ksm_group.offline
 * @shared: merged frames charged here
 * @gauge: sums over the group's slots, changed under the slot's books.lock
 * @meta_pages: pages that the cgroup is charged for metadata
 * @event: events of the group's slots, and of removed children
 */
struct ksm_group_books {
	spinlock_t lock;	/* shared, ksm_group.offline */
	long shared;
	atomic_long_t gauge[NR_KSM_GAUGES];
	atomic_long_t meta_pages;
	atomic_long_t event[NR_KSM_EVENTS];
};

/**
 * struct ksm_group - a memory cgroup's part in merging
 * @memcg: the cgroup; NULL for the root without memory cgroups
 * @parent: next towards the root, NULL for the root; constant
 * @write_mutex: one writer to memory.ksm or memory.ksm.domain at a time;
 *	outside of ksm_config_mutex
 * @config: what was written (ksm_config_mutex)
 * @own_domain: allocated when the group first needs a domain of its own, kept
 *	until the group is freed (ksm_config_mutex)
 * @offline: the cgroup is gone, slots and books moved to @parent (written
 *	under ksm_lock and books.lock)
 * @effective: what holds here
 * @queue: what the scanner sees
 * @books: counts
 * @sched: the group's subtree among its siblings (ksm_lock)
 * @own: the group's own slots among its children (ksm_lock)
 *
 * Owned by the cgroup through memcg->ksm. Allocated by ksm_group_create(),
 * freed by ksm_group_destroy() when nothing refers to the cgroup any more; the
 * root's is static.
 */
struct ksm_group {
	struct mem_cgroup *memcg;
	struct ksm_group *parent;
	struct mutex write_mutex;	/* config, one writer at a time */
	struct ksm_config config;
	struct ksm_domain *own_domain;
	bool offline;
	struct ksm_effective effective;
	struct ksm_group_queue queue;
	struct ksm_group_books books;
	struct ksm_sched sched;
	struct ksm_sched own;
};

/* ------------------------------------------------------------------- slot */

/* The value of ksm_slot_books.merged_in for frames of several domains. */
#define KSM_SEVERAL_DOMAINS	((struct ksm_domain *)ERR_PTR(-EXDEV))

/**
 * struct ksm_slot_books - where a slot belongs, and its part of the books
 * @lock: everything here
 * @group: the group of mm->owner's cgroup, never an offline one
 * @domain: group->effective.domain, moved together with the gauges
 * @merged_in: the domain of the frames that are or were mapped here or in an
 *	ancestor by fork, with a reference; KSM_SEVERAL_DOMAINS if there are
 *	several; NULL if there were none. While frames are mapped, changes only
 *	to KSM_SEVERAL_DOMAINS
 * @crossed: the slot moved to another domain after a merge, so pages that it
 *	shares in swap may be shared because of that merge
 * @moves: how often the slot moved to another group with frames mapped
 * @moves_seen: @moves when all its frames were last reviewed; written without
 *	@lock, as a stale value only has them reviewed once more
 * @nsec: scan time below a microsecond, not booked yet
 * @gauge: this mm's part of the books
 */
struct ksm_slot_books {
	spinlock_t lock;	/* everything here */
	struct ksm_group *group;
	struct ksm_domain *domain;
	struct ksm_domain *merged_in;
	bool crossed;
	unsigned int moves;
	unsigned int moves_seen;
	u32 nsec;
	long gauge[NR_KSM_GAUGES];
};

/**
 * enum ksm_slot_state - the state of a slot
 * @KSM_SLOT_NEW: the mm belongs to no process yet; its cgroup is not settled
 * @KSM_SLOT_PARKED: settled; none of its memory takes part
 * @KSM_SLOT_ACTIVE: settled, and to be scanned
 * @KSM_SLOT_DEAD: __ksm_exit() was called
 */
enum ksm_slot_state {
	KSM_SLOT_NEW,
	KSM_SLOT_PARKED,
	KSM_SLOT_ACTIVE,
	KSM_SLOT_DEAD,
};

/**
 * struct ksm_slot_queue - a slot as the scanner sees it
 * @all: on ksm_slots, in the order of seq, until the last reference goes
 * @link: on the group's @slots while KSM_SLOT_ACTIVE, else on its @parked
 * @state: also read without ksm_lock, with READ_ONCE()
 * @passed: the round in which the last full pass over the slot ended
 *
 * All under ksm_lock.
 */
struct ksm_slot_queue {
	struct list_head all;
	struct list_head link;
	enum ksm_slot_state state;
	unsigned long passed;
};

/**
 * struct ksm_slot_undo - merging of a slot that has to be undone
 * @link: on ksm_undo_slots (ksm_lock)
 * @failing: the last attempt failed, so no round waits for the slot (ksm_lock)
 * @work: has the mm's owner unshare; @work.func is set while it is queued,
 *	with a reference on the slot (ksm_lock)
 * @addr: where the worker resumes (the worker)
 */
struct ksm_slot_undo {
	struct list_head link;
	bool failing;
	struct callback_head work;
	unsigned long addr;
};

/**
 * struct ksm_slot_track - what is remembered of a slot's memory
 * @domain: the domain whose index and frames @blocks and @recs refer to, with
 *	a reference; changes under its mutex
 * @blocks: address >> KSM_BLOCK_SHIFT to block
 * @recs: address >> PAGE_SHIFT to rec
 *
 * All under @domain's mutex.
 */
struct ksm_slot_track {
	struct ksm_domain *domain;
	struct xarray blocks;
	struct xarray recs;
};

/**
 * struct ksm_cursor - where a scan resumes
 * @addr: next address to visit
 * @unread: pages of the block before @addr that are still to be read whole, as
 *	a bit mask
 */
struct ksm_cursor {
	unsigned long addr;
	u64 unread;
};

/**
 * struct ksm_pass - the present pass over a slot's memory
 * @cursor: where the next slice begins; @cursor.addr 0: with a new pass
 * @round: the round in which the pass began
 * @missed: what the pass could not merge, bits KSM_MISSED_*
 * @missed_before: the same of the previous pass
 * @nr: number of the pass; stamps blocks
 * @recheck: pages moved or were given up before the pass: skip nothing
 *
 * All under the mutex of the domain that the slot is tracked in.
 */
struct ksm_pass {
	struct ksm_cursor cursor;
	unsigned long round;
	unsigned int missed;
	unsigned int missed_before;
	u8 nr;
	bool recheck;
};

/**
 * struct ksm_slot - an mm that takes part, or did
 * @mm: the mm, held by mm_count for as long as the slot lives; constant
 * @ref: one for mm->ksm, one for each user outside of locks
 * @seq: slots are numbered in the order they come; constant
 * @asked: some range of the mm was MADV_MERGEABLE at some time (mmap_lock)
 * @recheck_next: pages moved or were given up: the next pass skips nothing;
 *	set anywhere, with WRITE_ONCE()
 * @books: where it belongs, and counts
 * @queue: what the scanner sees
 * @undo: merging to undo
 * @track: what is remembered of its memory
 * @pass: the present pass
 * @reap: on ksm_reap_slots
 *
 * Allocated when merging is first wanted for the mm, or by fork. mm->ksm refers
 * to it until exit_mmap() is done; the reaper then frees what was remembered,
 * and the last reference frees the slot.
 */
struct ksm_slot {
	struct mm_struct *mm;
	struct kref ref;
	unsigned long seq;
	bool asked;
	bool recheck_next;
	struct ksm_slot_books books;
	struct ksm_slot_queue queue;
	struct ksm_slot_undo undo;
	struct ksm_slot_track track;
	struct ksm_pass pass;
	struct llist_node reap;
};

/* ----------------------------------------------------------------- domain */

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
 * @ref: one for the group that has it as own_domain, one for each slot and
 *	frame, and temporary ones
 * @all: on ksm_domains until it is freed (ksm_domains_lock)
 * @scanned: a thread is scanning a slot of the domain (ksm_lock)
 * @waiting: groups put aside while @scanned (ksm_lock)
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

/**
 * struct ksm_frame - a merged page frame; mainline's stable node
 * @pfn: the page frame; changed by migration with the folio locked
 * @domain: with a reference; constant
 * @content: what it holds, NULL once nothing more may be merged into it
 *	(domain->mutex)
 * @content_link: on content->frames (domain->mutex)
 * @link: on domain->frames (domain->mutex)
 * @nid: the NUMA node that @content is for (domain->mutex)
 * @mapped: mappings, ahead of the folio's mapcount
 * @recs: records; changed under domain->mutex, and for removal also with
 *	ksm_rmap_sem[] held for writing; walked with it held for reading
 * @nr_orphans: records of @recs that no slot owns (domain->mutex)
 * @review: on ksm_review_frames while @review_queued
 * @review_queued: bit 0: a worker has to see whether the folio is gone, has
 *	lost its payer, or has orphans that lead nowhere
 *
 * folio->mapping points to the frame while the folio lives; the frame holds no
 * reference on the folio. The review worker frees the frame, under
 * domain->mutex, once the folio is gone; so the frame of a mapped or locked
 * folio is valid.
 */
struct ksm_frame {
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
 * @link: on frame->recs, see there; then on ksm_scan.dead_recs
 * @frame: the frame, NULL once it is gone (domain->mutex)
 * @anon_vma: tree of VMAs that may map the frame, with a reference; constant
 * @pgoff: the offset at which they may map it; constant
 * @orphan: no slot owns the record any more, but relatives by fork may need it
 *	(domain->mutex)
 *
 * Owned by the slot it was made for; an orphan is owned by its frame.
 */
struct ksm_rec {
	struct hlist_node link;
	struct ksm_frame *frame;
	struct anon_vma *anon_vma;
	pgoff_t pgoff;
	bool orphan;
};

/* ------------------------------------------------------------------ block */

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
 * @digest: folded digests, where some page is KSM_S_BY_DIGEST
 * @sample: samples
 * @next: next entry of the chain in the index, see ksm_loc()
 * @state: enum ksm_page_state
 * @age: visits since the page's sample last changed; 0: the first
 *
 * Owned by its slot. All under slot->track.domain's mutex.
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
	u32 *digest;
	u32 sample[KSM_BLOCK_PAGES];
	u32 next[KSM_BLOCK_PAGES];
	u8 state[KSM_BLOCK_PAGES];
	u8 age[KSM_BLOCK_PAGES];
};

/* The name of an index entry: block id and page in the block; 0 is none. */
static inline u32 ksm_loc(const struct ksm_block *block, unsigned int i)
{
	return block->id * KSM_BLOCK_PAGES + i;
}

struct ksm_scan;
struct ksm_page;

/* ------------------------------------------------------------- floor: base */

/* policy.c */
#define KSM_P_ASKED	BIT(0)	/* MADV_MERGEABLE ranges */
#define KSM_P_ANY	BIT(1)	/* all memory: the process asked */
#define KSM_P_FORCED	BIT(2)	/* all but secrets: the cgroup decides */
extern struct ksm_knobs ksm_knobs;
void ksm_mark_ready(void);
bool ksm_running(void);
bool ksm_mm_live(struct mm_struct *mm);
bool ksm_mm_forced(struct mm_struct *mm, struct ksm_group *group);
bool ksm_mm_wanted(struct mm_struct *mm, struct ksm_group *group);
unsigned int ksm_slot_policy(struct ksm_slot *slot);
bool ksm_vma_able(struct vm_area_struct *vma);
bool ksm_vma_eligible(unsigned int policy, struct vm_area_struct *vma);

/* gate.c */
bool ksm_gate_read_trylock(void);
void ksm_gate_read_lock(void);
void ksm_gate_read_unlock(void);
int ksm_gate_write_lock(void);
void ksm_gate_write_unlock(void);
void ksm_gate_set_closed(bool closed);

/* drain.c */
#define KSM_DRAIN_MS	20	/* between two drains of the LRU batches */
void ksm_drain_want(void);
bool ksm_drain_lru(bool force);
void ksm_drain_later(void);

/* digest.c */
void ksm_secret_init(struct ksm_secret *secret);
u32 ksm_sample(const struct ksm_secret *secret, const void *page);
u64 ksm_digest(const struct ksm_secret *secret, const void *page);
u32 ksm_digest_fold(u64 digest);
u64 ksm_digest_nid(u64 digest, int nid);

/* index.c */
void ksm_index_init(struct ksm_index *index);
void ksm_index_destroy(struct ksm_index *index);
void ksm_index_prefetch(struct ksm_index *index, u32 key);
u32 ksm_index_find(struct ksm_domain *domain, u32 key, bool by_digest);
int ksm_index_add(struct ksm_domain *domain, struct ksm_block *block,
		  unsigned int i);
void ksm_index_del(struct ksm_domain *domain, struct ksm_block *block,
		   unsigned int i);

/* backoff.c */
#define KSM_BACKOFF_FLOOR	8	/* visits per sample of a clean page */
#define KSM_BACKOFF_READ	16	/* visits per read if ambiguous */
#define KSM_AGE_REVISIT		((u8)1)	/* the next visit samples and reads */
bool ksm_backoff_due(unsigned int visit);
bool ksm_backoff_read_due(unsigned int visit);
u8 ksm_backoff_age(u8 age);

/* ------------------------------------------------------------ floor: books */

/* pool.c */
void ksm_pool_init(void);
void ksm_pool_refill(unsigned int most);
struct folio *ksm_pool_get(int nid);
void ksm_pool_drain(void);

/* domain.c */
extern struct ksm_domain ksm_root_domain;
int ksm_domain_init(struct ksm_domain *domain);
struct ksm_domain *ksm_domain_alloc(void);
void ksm_domain_put(struct ksm_domain *domain);
struct ksm_domain *ksm_domain_next(struct ksm_domain *domain);

/* content.c */
extern atomic_long_t ksm_nr_chains, ksm_nr_dups;
extern const struct rhashtable_params ksm_sample_params;
struct ksm_content *ksm_content_find(struct ksm_domain *domain, u32 sample,
				     u64 digest);
bool ksm_sample_known(struct ksm_domain *domain, u32 sample);
int ksm_content_add(struct ksm_frame *frame, u32 sample, u64 digest);
void ksm_content_del(struct ksm_frame *frame);
void ksm_content_sort(struct ksm_content *content);

/* group.c */
extern struct list_head ksm_groups;
extern struct ksm_group ksm_root_group;
extern spinlock_t ksm_lock;
struct ksm_group *ksm_group_online(struct ksm_group *group);
bool ksm_group_dying(const struct ksm_group *group);
bool ksm_group_below(const struct ksm_group *group,
		     const struct ksm_group *top);
struct ksm_group *ksm_group_pays(struct folio *folio);
struct ksm_group *ksm_mm_group(struct mm_struct *mm);
long ksm_group_metadata(struct ksm_group *group);

/* charge.c */
#ifdef CONFIG_MEMCG
void ksm_group_charge(struct ksm_group *group);
bool ksm_charge_room(struct ksm_slot *slot);
int ksm_charge_frame(struct ksm_slot *slot, struct folio *old,
		     struct folio *new);
void ksm_charge_move(struct folio *folio, struct mem_cgroup *from,
		     struct mem_cgroup *to);
bool ksm_charged_here(struct ksm_slot *slot, struct folio *folio);
bool ksm_charge_may_be_lost(struct ksm_slot *slot, struct folio *folio);
int ksm_charge_copy(struct ksm_slot *slot, struct folio *folio, gfp_t gfp);
#else
static inline void ksm_group_charge(struct ksm_group *group)
{
}

static inline bool ksm_charge_room(struct ksm_slot *slot)
{
	return true;
}

static inline int ksm_charge_frame(struct ksm_slot *slot, struct folio *old,
				   struct folio *new)
{
	return 0;
}

static inline bool ksm_charged_here(struct ksm_slot *slot, struct folio *folio)
{
	return true;
}

static inline bool ksm_charge_may_be_lost(struct ksm_slot *slot,
					  struct folio *folio)
{
	return false;
}

static inline int ksm_charge_copy(struct ksm_slot *slot, struct folio *folio,
				  gfp_t gfp)
{
	return 0;
}
#endif

/* books.c */
void ksm_merging_begin(void);
long ksm_array_bytes(struct xarray *xa, unsigned long addr, int shift);
void ksm_slot_mod(struct ksm_slot *slot, enum ksm_gauge gauge, long nr);
void ksm_slot_event(struct ksm_slot *slot, enum ksm_event event,
		    unsigned long nr);
void ksm_books_add(struct ksm_slot *slot, long *delta, unsigned long *event,
		   u64 nsec);
bool ksm_books_claim(struct ksm_slot *slot, struct ksm_domain *domain);
bool ksm_books_map(struct ksm_slot *slot, struct ksm_domain *domain);
void ksm_books_unmap(struct ksm_slot *slot);
void ksm_books_shared(struct folio *folio, long nr);
void ksm_books_inherit(struct ksm_slot *child, struct ksm_slot *parent);
void ksm_books_release(struct ksm_slot *slot);
long ksm_books_move(struct ksm_slot *slot, struct ksm_group *group);

/* ---------------------------------------------------------- floor: objects */

/* pass.c */
void ksm_round_count(struct ksm_group *group, long unpassed);
bool ksm_round_waits_for(const struct ksm_slot *slot);
void ksm_round_check(void);
void ksm_round_restart(void);
void ksm_round_serve(void);
void ksm_round_drained(void);
void ksm_pass_begin(struct ksm_slot *slot);
void ksm_pass_end(struct ksm_slot *slot);
void ksm_pass_skip(struct ksm_slot *slot);

/* queue.c */
extern wait_queue_head_t ksm_work_wait, ksm_turn_wait;
void ksm_queue_add(struct ksm_slot *slot);
void ksm_queue_del(struct ksm_slot *slot);
void ksm_queue_serve(void);
unsigned long ksm_queue_served(struct ksm_group *top);
bool ksm_queue_has_work(void);
unsigned long ksm_queue_turns(void);
struct ksm_slot *ksm_queue_next(struct ksm_domain **domain,
				unsigned int threads);
void ksm_queue_scanned(struct ksm_slot *slot, struct ksm_domain *domain,
		       unsigned long work, bool rotate);

/* slot.c */
extern struct list_head ksm_undo_slots;
extern struct delayed_work ksm_undo_work;
typedef int (*ksm_slot_fn)(struct ksm_slot *slot, void *arg);
struct ksm_slot *ksm_slot_alloc(struct mm_struct *mm);
bool ksm_slot_attach(struct ksm_slot *slot, struct ksm_group *group);
struct ksm_slot *ksm_slot_make(struct mm_struct *mm);
void ksm_slot_put(struct ksm_slot *slot);
void ksm_slot_refresh(struct ksm_slot *slot);
void ksm_slot_join(struct ksm_slot *slot, struct ksm_group *group);
void ksm_slot_settle(struct ksm_slot *slot);
bool ksm_slot_die(struct ksm_slot *slot);
bool ksm_slot_served(struct ksm_slot *slot, struct ksm_group *top);
unsigned long ksm_last_seq(void);
int ksm_slots_walk(struct ksm_group *group, ksm_slot_fn fn, void *arg);
u64 ksm_slot_cgroup(struct ksm_slot *slot);
void ksm_undo_queue(struct ksm_slot *slot);

/* config.c */
void ksm_group_init(struct ksm_group *group, struct ksm_group *parent,
		    struct mem_cgroup *memcg);

/* frame.c */
extern struct kmem_cache *ksm_frame_cache;
extern struct delayed_work ksm_review_work;
struct ksm_frame *ksm_folio_frame(const struct folio *folio);
void ksm_folio_set_frame(struct folio *folio, struct ksm_frame *frame);
struct folio *ksm_frame_folio(struct ksm_frame *frame);
struct ksm_frame *ksm_frame_alloc(struct ksm_domain *domain);
void ksm_frame_free(struct ksm_frame *frame);
bool ksm_frames_forget(void);
void ksm_frames_prune(unsigned long start, unsigned long end);
void ksm_frame_review(struct ksm_frame *frame);
struct llist_node *ksm_review_take(void);
void ksm_review_return(struct llist_head *frames);

/* rmap.c */
extern struct kmem_cache *ksm_rec_cache;
void ksm_rmap_init(void);
bool ksm_rec_add(struct ksm_scan *scan, struct ksm_slot *slot,
		 struct ksm_page *kp, struct ksm_frame *frame);
void ksm_rec_del(struct ksm_scan *scan, struct ksm_slot *slot,
		 unsigned long addr);
void ksm_recs_free(struct hlist_head *recs);
void ksm_frame_drop_recs(struct ksm_frame *frame);
bool ksm_frame_prune_orphans(struct ksm_frame *frame);
typedef bool (*ksm_rec_fn)(struct ksm_rec *rec, void *arg);
void ksm_rmap_walk(struct folio *folio, struct rmap_walk_control *rwc);
void ksm_rmap_for_each(struct ksm_frame *frame, ksm_rec_fn fn, void *arg);

/* track.c */
extern struct kmem_cache *ksm_block_cache;
struct ksm_block *ksm_block_find(struct ksm_slot *slot, unsigned long addr);
struct ksm_block *ksm_block_make(struct ksm_scan *scan, unsigned long addr);
void ksm_block_free(struct ksm_scan *scan, struct ksm_block *block);
int ksm_block_digests(struct ksm_scan *scan, struct ksm_block *block);
void ksm_page_set(struct ksm_scan *scan, struct ksm_block *block,
		  unsigned int i, enum ksm_page_state state);
void ksm_page_forget(struct ksm_scan *scan, struct ksm_block *block,
		     unsigned int i);
void ksm_page_resample(struct ksm_block *block, unsigned int i, u32 sample);
void ksm_page_revisit(struct ksm_block *block, unsigned int i);
void ksm_track_sweep(struct ksm_scan *scan);
bool ksm_track_enter(struct ksm_slot *slot, struct ksm_domain *domain);
void ksm_track_drop(struct ksm_slot *slot);

/* unshare.c */
int ksm_unshare_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool killable);
void ksm_unshare_foreign(struct mm_struct *mm);

/* ---------------------------------------------------------- floor: drivers */

/* review.c */
void ksm_review_flush(void);
int ksm_review_range(struct vm_area_struct *vma, unsigned long start,
		     unsigned long end);
void ksm_review_init(void);

/* undo.c */
int ksm_unmerge_all(void);
void ksm_undo_init(void);

/* ksmd.c */
void ksmd_wake_sleeper(void);
unsigned int ksmd_threads(void);
int ksmd_set_threads(unsigned int nr);
int ksmd_init(void);

/* ------------------------------------------------------------ floor: doors */

int ksm_hotplug_init(void);
int ksm_sysfs_init(void);

#endif /* _MM_KSM_H */
