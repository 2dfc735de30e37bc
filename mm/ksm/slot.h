/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A slot: what an mm is to the engine.
 *
 * The lock order is in ksm.h.
 */
#ifndef _MM_KSM_SLOT_H
#define _MM_KSM_SLOT_H

#include <linux/kref.h>
#include <linux/ksm_cgroup.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/xarray.h>

struct ksm_domain;

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
 * @pending_in: where the slot counts as pending: @merged_in, or NULL
 * @unwanted: what is merged here is to be undone: nothing takes part, or some
 *	of it no longer does, see ksm_slot_judge(); written under ksm_lock too
 * @crossed: the slot moved to another domain after a merge, so pages that it
 *	shares in swap may be shared because of that merge
 * @moves: how often the slot moved to another group with frames mapped
 * @moves_seen: @moves when all its frames were last reviewed; written without
 *	@lock, as a stale value only has them reviewed once more
 * @related: merged mappings that fork shares with one that is counted, as far
 *	as known; KSM_G_RELATED is the part of it that fits into KSM_G_MERGING
 *	and KSM_G_ZERO, which dip while pages are under migration
 * @nsec: scan time below a microsecond, not booked yet
 * @gauge: this mm's part of the books
 */
struct ksm_slot_books {
	spinlock_t lock;	/* everything here */
	struct ksm_group *group;
	struct ksm_domain *domain;
	struct ksm_domain *merged_in;
	struct ksm_domain *pending_in;
	bool unwanted;
	bool crossed;
	unsigned int moves;
	unsigned int moves_seen;
	long related;
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
 * @link: on the group's @slots while KSM_SLOT_ACTIVE, else on its @parked; on
 *	@stale while a change of its configuration is on its way to the slot
 * @state: also read without ksm_lock, with READ_ONCE()
 * @round: the round that the present pass counts for; 0: none
 * @passed: the round in which the last full pass over the slot ended
 * @counted_in: the round of the next two
 * @invalidated: how often a pass ceased to count
 * @resets: how often the pass had to begin anew
 * @followed: ksm_queue_followed() when it last followed a change
 * @scope: what took part when the slot was last refreshed, see
 *	ksm_slot_scope()
 *
 * All under ksm_lock.
 */
struct ksm_slot_queue {
	struct list_head all;
	struct list_head link;
	enum ksm_slot_state state;
	unsigned long round;
	unsigned long passed;
	unsigned long counted_in;
	unsigned int invalidated;
	unsigned int resets;
	unsigned long followed;
	unsigned int scope;
};

/**
 * struct ksm_undo_at - how far unsharing of a slot has come
 * @addr: where it resumes
 * @flags: what ksm_unshare_range() is to do, KSM_UNSHARE_*
 * @borrowed_done: frames that other cgroups pay for are unshared
 * @failed: the last turn failed
 * @narrowed: ksm_slot_undo.narrowed when it began at address 0
 * @review: where the review of frames resumes
 * @moves: ksm_slot_books.moves when the review began at address 0
 * @unshared: pages unshared in this turn
 * @work: work done in this turn, in cache lines
 * @limit: work after which the turn is over; 0: none
 * @patience: jiffies to wait for busy mmap_locks, beyond a few ms for each
 * @nowait: do not even wait these few ms
 *
 * In the slot for the worker, on the stack of any other task that unshares.
 */
struct ksm_undo_at {
	unsigned long addr;
	unsigned int flags;
	bool borrowed_done;
	bool failed;
	unsigned int narrowed;
	unsigned long review;
	unsigned int moves;
	unsigned long unshared;
	unsigned long work;
	unsigned long limit;
	unsigned long patience;
	bool nowait;
};

/**
 * struct ksm_slot_undo - merging of a slot that has to be undone
 * @link: on group->undo.slots, or with @level on the list of slots to retry
 *	(ksm_lock)
 * @level: the delay of the retry, see pending.c; 0: none (ksm_lock)
 * @due: when the slot is to be retried, in jiffies (ksm_lock)
 * @failures: attempts that failed in a row, up to the highest @level (ksm_lock)
 * @failing: the last attempt failed, so no round waits for the slot (ksm_lock)
 * @again: something changed since the present turn began (ksm_lock)
 * @narrowed: how often the cgroup ceased to decide for the process or for some
 *	of its memory, so that only what is still eligible may stay merged, and
 *	how often a write could not look for memory that the process withheld
 *	(ksm_lock, read without it)
 * @narrowed_done: @narrowed when the rest was last unshared (ksm_lock, read
 *	without it)
 * @work: has the mm's owner unshare; @work.func is set while it is queued,
 *	with a reference on the slot (ksm_lock)
 * @asked: the owner was asked since the slot was last done (the worker)
 * @reviews: reviews of all frames that followed one another closely, up to the
 *	highest @level (the worker)
 * @review_due: when the next one may begin, in jiffies (the worker)
 * @at: where the worker resumes (the worker)
 */
struct ksm_slot_undo {
	struct list_head link;
	unsigned int level;
	unsigned long due;
	unsigned int failures;
	bool failing;
	bool again;
	unsigned int narrowed;
	unsigned int narrowed_done;
	struct callback_head work;
	bool asked;
	unsigned int reviews;
	unsigned long review_due;
	struct ksm_undo_at at;
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
 * @sweeping: all memory was visited; blocks that the pass did not visit are
 *	being dropped
 * @swept: where the next slice resumes the sweep, an index of track.blocks
 * @missed: what the pass could not merge, bits KSM_MISSED_*
 * @missed_before: the same of the previous pass
 * @related: merged mappings found that fork shares with one that is counted
 * @unsure: mappings that may be related, but were not checked or not visited
 * @counted: end of the memory that @related and @unsure cover
 * @nr: number of the pass; stamps blocks
 * @recheck: pages moved or were given up before the pass: skip nothing
 * @busy: attempts in a row that found mmap_lock busy, up to KSM_BUSY_TRIES
 * @busy_since: the first of them, in jiffies
 *
 * All under the mutex of the domain that the slot is tracked in.
 */
struct ksm_pass {
	struct ksm_cursor cursor;
	bool sweeping;
	unsigned long swept;
	unsigned int missed;
	unsigned int missed_before;
	long related;
	long unsure;
	unsigned long counted;
	u8 nr;
	bool recheck;
	unsigned int busy;
	unsigned long busy_since;
};

/**
 * struct ksm_slot - an mm that takes part, or did
 * @mm: the mm, held by mm_count for as long as the slot lives; constant
 * @ref: one for mm->ksm, one for each user outside of locks
 * @seq: slots are numbered in the order they come; constant
 * @asked: some range of the mm was MADV_MERGEABLE at some time (mmap_lock)
 * @recheck_next: pages moved or were given up: the next pass skips nothing;
 *	set anywhere, with WRITE_ONCE()
 * @notifier_blocks: since the last pass began, an MMU notifier of the mm would
 *	have had to block; set anywhere, with WRITE_ONCE()
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
	bool notifier_blocks;
	struct ksm_slot_books books;
	struct ksm_slot_queue queue;
	struct ksm_slot_undo undo;
	struct ksm_slot_track track;
	struct ksm_pass pass;
	struct llist_node reap;
};

#endif /* _MM_KSM_SLOT_H */
