/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Objects of the samepage merging engine, the order of their locks, and the
 * functions of each floor. The structures, with their owners, their lives and
 * the lock that covers each field, are in group.h, slot.h and domain.h.
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
 *   ksm_config_mutex            configurations, the shape of the group tree;
 *                               see ksm_config_lock()
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
 * ksm_books_seq is written under ksm_lock, where books move between groups.
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
#include <linux/seqlock.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "charge.h"
#include "domain.h"
#include "group.h"
#include "sched.h"
#include "slot.h"
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
	KSM_RUN_SCAN = 1,
	KSM_RUN_UNMERGE = 2,
};

/**
 * struct ksm_knobs - what /sys/kernel/mm/ksm sets for the host
 * @run: enum ksm_run, for groups that are not owned, see struct ksm_effective;
 *	KSM_RUN_UNMERGE is for all groups
 * @run_cgroups: 1: groups that are owned are served; 0: they are not
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
	unsigned int run_cgroups;
	unsigned int pages_to_scan;
	unsigned int sleep_ms;
	unsigned int max_page_sharing;
	unsigned int prune_ms;
	bool merge_across_nodes;
	bool use_zero_pages;
	bool smart_scan;
};

struct ksm_scan;
struct ksm_page;

/* ------------------------------------------------------------- floor: base */

/*
 * Map and lock a page table, if there is one; undone by pte_unmap_unlock(). The
 * annotation is for sparse, which does not see pte_offset_map_lock() take the
 * RCU read lock.
 */
static inline pte_t *ksm_pte_map_lock(struct vm_area_struct *vma, pmd_t *pmd,
				      unsigned long addr, spinlock_t **ptl)
{
	pte_t *ptep;

	if (!pmd)
		return NULL;
	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, ptl);
	if (ptep)
		__acquire(RCU);
	return ptep;
}

/* policy.c */
/* Bits of a policy, besides KSM_T_*. */
#define KSM_P_ASKED	BIT(NR_KSM_TYPES)	/* MADV_MERGEABLE ranges */
#define KSM_P_ANY	BIT(NR_KSM_TYPES + 1)	/* all: the process asked */
#define KSM_P_FORCED	BIT(NR_KSM_TYPES + 2)	/* all that the types allow */
#define KSM_RUNS_OTHERS		BIT(0)	/* groups that are not owned */
#define KSM_RUNS_CGROUPS	BIT(1)	/* groups that are owned */
extern struct ksm_knobs ksm_knobs;
void ksm_mark_ready(void);
void ksm_merging_begin(void);
unsigned int ksm_running(void);
bool ksm_group_runs(const struct ksm_group *group);
bool ksm_slot_runs(struct ksm_slot *slot);
bool ksm_mm_live(struct mm_struct *mm);
unsigned int ksm_mm_reach(struct mm_struct *mm, struct ksm_group *group);
bool ksm_mm_forced(struct mm_struct *mm, struct ksm_group *group);
bool ksm_mm_wanted(struct mm_struct *mm, struct ksm_group *group);
unsigned int ksm_slot_policy(struct ksm_slot *slot);
bool ksm_vma_able(struct vm_area_struct *vma);
bool ksm_vma_is_single(struct vm_area_struct *vma);
bool ksm_vma_eligible(unsigned int policy, struct vm_area_struct *vma);

/* types.c */
unsigned int ksm_types_resolve(const struct ksm_group *group);

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
struct ksm_domain *ksm_domain_next(struct ksm_domain *domain);

/* content.c */
extern atomic_long_t ksm_nr_chains, ksm_nr_dups;
extern const struct rhashtable_params ksm_sample_params;
struct ksm_content *ksm_content_find(struct ksm_domain *domain, u32 sample,
				     u64 digest);
bool ksm_sample_known(struct ksm_domain *domain, u32 sample);
int ksm_content_add(struct ksm_frame *frame, u32 sample, u64 digest);
void ksm_content_del(struct ksm_frame *frame);
unsigned int ksm_content_sort(struct ksm_content *content);

/* group.c */
void ksm_config_yield(void);
extern struct list_head ksm_groups;
extern struct ksm_group ksm_root_group;
extern spinlock_t ksm_lock;
extern seqcount_spinlock_t ksm_books_seq;
struct ksm_group *ksm_group_online(struct ksm_group *group);
bool ksm_group_dying(const struct ksm_group *group);
bool ksm_group_below(const struct ksm_group *group,
		     const struct ksm_group *top);
struct ksm_group *ksm_group_pays(struct folio *folio);
struct ksm_group *ksm_mm_group(struct mm_struct *mm);
long ksm_group_metadata(struct ksm_group *group);

/* array.c */
long ksm_array_bytes(struct xarray *xa, unsigned long addr, int shift);

/* books.c */
void ksm_slot_mod(struct ksm_slot *slot, enum ksm_gauge gauge, long nr);
void ksm_slot_event(struct ksm_slot *slot, enum ksm_event event,
		    unsigned long nr);
void ksm_books_add(struct ksm_slot *slot, long *delta, unsigned long *event,
		   u64 nsec);
bool ksm_books_claim(struct ksm_slot *slot, struct ksm_domain *domain);
bool ksm_books_map(struct ksm_slot *slot, struct ksm_domain *domain,
		   bool related);
void ksm_books_unmap(struct ksm_slot *slot);
void ksm_books_zero(struct ksm_slot *slot, long nr, long related);
void ksm_books_relate(struct ksm_slot *slot);
void ksm_books_recount(struct ksm_slot *slot, long related, long unsure);
void ksm_books_set_unwanted(struct ksm_slot *slot, bool unwanted);
bool ksm_books_pending(struct ksm_slot *slot);
bool ksm_books_borrowed(struct ksm_slot *slot, struct folio *folio);
bool ksm_domain_pending(struct ksm_domain *domain);
void ksm_books_shared(struct folio *folio, long nr);
void ksm_books_inherit(struct ksm_slot *child, struct ksm_slot *parent);
void ksm_books_release(struct ksm_slot *slot);
long ksm_books_move(struct ksm_slot *slot, struct ksm_group *group);
void ksm_books_close(struct ksm_group *group);

/* ---------------------------------------------------------- floor: objects */

/* pass.c */
void ksm_round_count(const struct ksm_slot *slot, int nr);
bool ksm_round_waits_for(const struct ksm_slot *slot);
void ksm_round_check(void);
void ksm_round_suspend(void);
void ksm_round_restart(void);
void ksm_round_serve(struct ksm_group *group, bool served);
void ksm_round_drained(void);
void ksm_round_retry(void);
void ksm_pass_begin(struct ksm_slot *slot);
void ksm_pass_end(struct ksm_slot *slot);
void ksm_pass_skip(struct ksm_slot *slot);
void ksm_pass_invalidate(struct ksm_slot *slot);
void ksm_pass_reset(struct ksm_slot *slot);
void ksm_pass_busy(struct ksm_slot *slot);

/* queue.c */
extern wait_queue_head_t ksm_work_wait, ksm_turn_wait;
void ksm_queue_add(struct ksm_slot *slot);
void ksm_queue_del(struct ksm_slot *slot);
void ksm_queue_set_stale(struct ksm_group *group);
unsigned long ksm_queue_followed(void);
struct ksm_slot *ksm_queue_next_stale(struct ksm_group *group,
				      unsigned long since);
struct ksm_slot *ksm_queue_first(struct ksm_group *group);
void ksm_queue_serve(struct ksm_group *group);
bool ksm_queue_served(const struct ksm_group *top);
bool ksm_queue_has_work(void);
unsigned long ksm_queue_turns(void);
struct ksm_slot *ksm_queue_next(struct ksm_domain **domain,
				unsigned int threads);
void ksm_queue_scanned(struct ksm_slot *slot, struct ksm_domain *domain,
		       unsigned long work, bool rotate);
void ksm_queue_charge(struct ksm_group *group, unsigned long work);

/* pending.c */
/**
 * enum ksm_undo_outcome - the outcome of a turn of the worker that unshares
 * @KSM_UNDO_DONE: nothing is left to undo
 * @KSM_UNDO_MORE: the turn is over, work is left
 * @KSM_UNDO_FAILED: memory was too short, or a lock was contended
 * @KSM_UNDO_PUT_OFF: the process does the work, or has to wait for a review
 */
enum ksm_undo_outcome {
	KSM_UNDO_DONE,
	KSM_UNDO_MORE,
	KSM_UNDO_FAILED,
	KSM_UNDO_PUT_OFF,
};

#define KSM_UNDO_LEVELS	7
extern struct delayed_work ksm_undo_work;
unsigned long ksm_undo_delay(unsigned int level);
void ksm_undo_queue_locked(struct ksm_slot *slot);
void ksm_undo_queue(struct ksm_slot *slot);
bool ksm_undo_detach(struct ksm_slot *slot);
void ksm_undo_attach(struct ksm_slot *slot);
bool ksm_undo_cancel(struct ksm_slot *slot);
long ksm_undo_resume(void);
struct ksm_slot *ksm_undo_next(void);
bool ksm_undo_ended(struct ksm_slot *slot, enum ksm_undo_outcome outcome,
		    unsigned int level);
void ksm_slot_judge(struct ksm_slot *slot);
void ksm_slot_narrow(struct ksm_slot *slot);
unsigned int ksm_slot_narrowed(struct ksm_slot *slot);
bool ksm_slot_is_narrowed(struct ksm_slot *slot);
void ksm_slot_undone(struct ksm_slot *slot, unsigned int narrowed);
void ksm_pending_init(void);

/* slot.c */
typedef int (*ksm_slot_fn)(struct ksm_slot *slot, void *arg);
struct ksm_slot *ksm_slot_alloc(struct mm_struct *mm, gfp_t gfp);
void ksm_slot_inherit(struct ksm_slot *child, struct ksm_slot *parent);
bool ksm_slot_attach(struct ksm_slot *slot, struct ksm_group *group);
struct ksm_slot *ksm_slot_make(struct mm_struct *mm, gfp_t gfp);
void ksm_slot_put(struct ksm_slot *slot);
void ksm_slot_refresh(struct ksm_slot *slot);
void ksm_slot_join(struct ksm_slot *slot, struct ksm_group *group);
void ksm_slot_settle(struct ksm_slot *slot);
bool ksm_slot_die(struct ksm_slot *slot);
bool ksm_slot_served(struct ksm_slot *slot, struct ksm_group *top);
unsigned long ksm_last_seq(void);
int ksm_slots_walk(struct ksm_group *group, ksm_slot_fn fn, void *arg);
u64 ksm_slot_cgroup(struct ksm_slot *slot);
void ksm_slots_judge(void);

/* config.c */
void ksm_group_init(struct ksm_group *group, struct ksm_group *parent,
		    struct mem_cgroup *memcg);
void ksm_groups_serve(void);

/* frame.c */
extern struct kmem_cache *ksm_frame_cache;
extern struct delayed_work ksm_review_work;
void ksm_frames_init(void);
struct rw_semaphore *ksm_frame_sem(const struct ksm_frame *frame);
struct ksm_frame *ksm_folio_frame(const struct folio *folio);
void ksm_folio_set_frame(struct folio *folio, struct ksm_frame *frame);
struct folio *ksm_frame_folio(struct ksm_frame *frame);
struct ksm_frame *ksm_frame_alloc(struct ksm_domain *domain);
void ksm_frame_free(struct ksm_frame *frame);
bool ksm_frame_let_go(struct ksm_frame *frame, struct folio *folio);
bool ksm_frames_forget(void);
void ksm_frames_prune(unsigned long start, unsigned long end);
void ksm_frame_review(struct ksm_frame *frame);
void ksm_frame_changed(struct ksm_frame *frame);
struct llist_node *ksm_review_take(void);
void ksm_review_return(struct llist_head *frames);

/* orphan.c */
extern struct kmem_cache *ksm_rec_cache;
void ksm_recs_free(struct hlist_head *recs);
bool ksm_rec_unlink(struct ksm_rec *rec, struct ksm_slot *slot,
		    unsigned long *work);
bool ksm_frame_has_orphans(const struct ksm_frame *frame);
bool ksm_frame_check_orphans(struct ksm_frame *frame, struct folio *folio,
			     struct hlist_head *dead, unsigned long *work);
bool ksm_frame_drop_recs(struct ksm_frame *frame, struct hlist_head *dead);

/* rmap.c */
struct ksm_rec *ksm_rec_prepare(struct ksm_scan *scan, struct ksm_slot *slot,
				struct ksm_page *kp);
void ksm_rec_cancel(struct ksm_slot *slot, struct ksm_page *kp,
		    struct ksm_rec *rec);
void ksm_rec_commit(struct ksm_scan *scan, struct ksm_slot *slot,
		    struct ksm_page *kp, struct ksm_frame *frame,
		    struct ksm_rec *rec);
bool ksm_rec_add(struct ksm_scan *scan, struct ksm_slot *slot,
		 struct ksm_page *kp, struct ksm_frame *frame);
void ksm_rec_del(struct ksm_scan *scan, struct ksm_slot *slot,
		 unsigned long addr);
typedef bool (*ksm_rec_fn)(struct ksm_rec *rec, void *arg);
unsigned long ksm_rmap_walk(struct folio *folio, struct rmap_walk_control *rwc);
bool ksm_frame_pending(struct ksm_scan *scan, struct ksm_frame *frame,
		       struct folio *folio);
void ksm_rmap_for_each(struct ksm_frame *frame, ksm_rec_fn fn, void *arg);

/* track.c */
extern struct kmem_cache *ksm_block_cache;
struct ksm_block *ksm_block_find(struct ksm_slot *slot, unsigned long addr);
struct ksm_block *ksm_block_make(struct ksm_scan *scan, unsigned long addr);
void ksm_block_free(struct ksm_block *block);
int ksm_block_digests(struct ksm_block *block);
void ksm_page_set(struct ksm_scan *scan, struct ksm_block *block,
		  unsigned int i, enum ksm_page_state state);
void ksm_page_forget(struct ksm_scan *scan, struct ksm_block *block,
		     unsigned int i);
void ksm_page_resample(struct ksm_block *block, unsigned int i, u32 sample);
void ksm_page_revisit(struct ksm_block *block, unsigned int i);
bool ksm_track_sweep(struct ksm_scan *scan);
bool ksm_track_enter(struct ksm_slot *slot, struct ksm_domain *domain);
void ksm_track_sync_unless(struct ksm_slot *slot, struct ksm_domain **last);
void ksm_track_sync(struct ksm_slot *slot);
void ksm_track_drop(struct ksm_slot *slot);

/* unshare.c */
#define KSM_UNSHARE_SIGNAL	BIT(0)	/* any signal ends it */
#define KSM_UNSHARE_BORROWED	BIT(1)	/* only what another cgroup pays for */
#define KSM_UNSHARE_ALONE	BIT(2)	/* not for relatives: exclusive pages */
int ksm_unshare_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, unsigned int flags);
int ksm_unshare_locked(struct vm_area_struct *vma, unsigned long start,
		       unsigned long end);
int ksm_unshare_entry(struct vm_area_struct *vma, pmd_t *pmd,
		      unsigned long addr);

/* ---------------------------------------------------------- floor: drivers */

/* review.c */
void ksm_review_flush(void);
int ksm_review_range(struct vm_area_struct *vma, unsigned long start,
		     unsigned long end);
void ksm_review_init(void);

/* undo.c */
int ksm_undo_pending(struct ksm_slot *slot, struct ksm_undo_at *at);
int ksm_undo_review(struct ksm_slot *slot, struct ksm_undo_at *at);
void ksm_undo_drop(struct ksm_slot *slot, struct ksm_undo_at *at);
int ksm_unmerge_all(void);

/* undo-work.c */
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
