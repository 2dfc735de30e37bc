/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A group: what a memory cgroup is to the engine.
 *
 * The lock order is in ksm.h.
 */
#ifndef _MM_KSM_GROUP_H
#define _MM_KSM_GROUP_H

#include <linux/atomic.h>
#include <linux/ksm_cgroup.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include "sched.h"

struct ksm_domain;

/**
 * struct ksm_effective - what holds in a group
 * @setting: KSM_NEVER, KSM_MADVISE or KSM_ALWAYS
 * @granted: the nearest granted value, here or above, is 1, so ungranted values
 *	below count
 * @owned: an own 1 or madvise counts here or in a group above; the root's only
 *	if it is 1
 * @domain: the domain that slots here merge in: own_domain of this group or one
 *	above, or a named domain that such a group joins
 * @types: words of memory.ksm.types, KSM_T_*
 *
 * That group keeps @domain: it drops the reference only after all groups below
 * have been refreshed. A group that is offline has no slots, is not refreshed,
 * and its @domain may be gone: nothing follows the pointer.
 *
 * Written under ksm_config_mutex and ksm_lock, read under either, or with
 * READ_ONCE() where a stale answer does no harm.
 */
struct ksm_effective {
	enum ksm_setting setting;
	bool granted;
	bool owned;
	struct ksm_domain *domain;
	unsigned int types;
};

/**
 * struct ksm_group_queue - a group as the scanner sees it
 * @link: on ksm_groups; changes under ksm_config_mutex as well, and is read
 *	under that mutex or RCU
 * @slots: slots that take part, the next one to scan first
 * @parked: slots that do not
 * @stale: slots of either kind that still have to follow a change of
 *	@effective; not scanned until they do
 * @busy: on ksm_busy_groups while @served and @nr_slots
 * @nr_slots: slots that take part
 * @round: the round that @unpassed is for
 * @unpassed: slots that take part and that @round has not passed yet; any other
 *	round waits for all of them
 * @served: run, run_cgroups and the group's setting let the scanner serve it;
 *	also read without ksm_lock
 * @wait: on domain->waiting, and held in the scheduler
 * @split_reqs: large folios to split for writers, see split-req.c
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
	struct list_head stale;
	struct list_head busy;
	unsigned long nr_slots;
	unsigned long round;
	unsigned long unpassed;
	bool served;
	struct list_head wait;
	struct list_head split_reqs;
	struct list_head enlist;
	unsigned long resume_seq;
	unsigned long resume_addr;
};

/**
 * struct ksm_group_undo - a group's slots in which merging is to be undone
 * @slots: slots to attend to now, the next one first; see pending.c
 * @sched: the group's subtree among its siblings
 * @own: the group's own slots among its children
 *
 * All under ksm_lock.
 */
struct ksm_group_undo {
	struct list_head slots;
	struct ksm_sched sched;
	struct ksm_sched own;
};

/**
 * struct ksm_group_books - the books of a group
 * @lock: @shared, and ksm_group.offline
 * @shared: merged frames charged here
 * @gauge: sums over the group's slots, changed under the slot's books.lock
 * @meta_pages: pages that the cgroup is charged for metadata
 * @meta_total: sum of @meta_pages over the group's subtree; not kept for the
 *	root, which has no limit
 * @event: events of the group's slots, and of removed children
 * @shown: the highest sums of events of the subtree that were read
 */
struct ksm_group_books {
	spinlock_t lock;	/* shared, ksm_group.offline */
	long shared;
	atomic_long_t gauge[NR_KSM_GAUGES];
	atomic_long_t meta_pages;
	atomic_long_t meta_total;
	atomic_long_t event[NR_KSM_EVENTS];
	atomic_long_t shown[KSM_E_FULL_SCANS];
};

/**
 * struct ksm_group - a memory cgroup's part in merging
 * @memcg: the cgroup; NULL for the root without memory cgroups
 * @parent: next towards the root, NULL for the root; constant
 * @write_mutex: one writer to memory.ksm, memory.ksm.types or memory.ksm.domain
 *	at a time; outside of ksm_config_mutex
 * @config: what was written (ksm_config_mutex)
 * @own_domain: allocated when the group first needs a domain of its own, kept
 *	until the group is freed (ksm_config_mutex)
 * @offline: the cgroup is gone, slots and books moved to @parent (written
 *	under ksm_lock and books.lock)
 * @effective: what holds here
 * @queue: what the scanner sees
 * @undo: what the worker that unshares sees
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
	struct ksm_group_undo undo;
	struct ksm_group_books books;
	struct ksm_sched sched;
	struct ksm_sched own;
};

#endif /* _MM_KSM_GROUP_H */
