// SPDX-License-Identifier: GPL-2.0
/*
 * Groups: the group of a cgroup, of a process, of a charge; their locks, their
 * weights, and sums over their books.
 *
 * Without memory cgroups there is the root group alone.
 */
#include <linux/cgroup.h>
#include <linux/delay.h>
#include <linux/memcontrol.h>

#include "ksm.h"

/* Configurations, what they come to, and the shape of the group tree. */
DEFINE_MUTEX(ksm_config_mutex);
DEFINE_SPINLOCK(ksm_lock);
/* Tasks that wait in ksm_config_lock(). */
static atomic_t ksm_config_waiters = ATOMIC_INIT(0);
LIST_HEAD(ksm_groups);
struct ksm_group ksm_root_group;
/* Books move from one group to another; written under ksm_lock. */
seqcount_spinlock_t ksm_books_seq =
	SEQCNT_SPINLOCK_ZERO(ksm_books_seq, &ksm_lock);

/**
 * ksm_config_lock - take ksm_config_mutex
 *
 * Any tenant's write takes the mutex. A writer that its cgroup throttles must
 * neither hold it nor be handed it while it does not run. So the mutex is only
 * tried, and held with preemption disabled. With PREEMPT_RT a throttled task
 * can hold the spinlocks below as well, so that would gain nothing.
 *
 * Context: sleeps; the caller must not until ksm_config_unlock().
 */
void ksm_config_lock(void)
{
	bool waits = false;

	for (;;) {
		if (!IS_ENABLED(CONFIG_PREEMPT_RT))
			preempt_disable();
		if (mutex_trylock(&ksm_config_mutex))
			break;
		if (!IS_ENABLED(CONFIG_PREEMPT_RT))
			preempt_enable();
		if (!waits)
			atomic_inc(&ksm_config_waiters);
		waits = true;
		usleep_range(50, 200);
	}
	if (waits)
		atomic_dec(&ksm_config_waiters);
}

/**
 * ksm_config_unlock - release ksm_config_mutex
 *
 * Context: after ksm_config_lock().
 */
void ksm_config_unlock(void)
{
	mutex_unlock(&ksm_config_mutex);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

/**
 * ksm_config_yield - let others have ksm_config_mutex for a while
 *
 * A waiting task tries the mutex now and then, and would not find it free
 * between two holds that follow one another at once.
 *
 * Context: ksm_config_lock(), dropped in between.
 */
void ksm_config_yield(void)
{
	ksm_config_unlock();
	if (atomic_read(&ksm_config_waiters))
		usleep_range(200, 300);
	else
		cond_resched();
	ksm_config_lock();
}

/**
 * ksm_group_of - the group of a cgroup
 * @memcg: the cgroup or NULL
 *
 * A cgroup has no group before it comes online. It counts as a part of its
 * parent then: no process is in it or charges memory to it yet.
 *
 * Context: any; the caller keeps @memcg.
 * Return: the group; that of the nearest ancestor if the cgroup has none.
 */
struct ksm_group *ksm_group_of(struct mem_cgroup *memcg)
{
#ifdef CONFIG_MEMCG
	for (; memcg; memcg = parent_mem_cgroup(memcg)) {
		/* pairs with ksm_group_init(): a visible group is set up */
		struct ksm_group *group = READ_ONCE(memcg->ksm);

		if (group)
			return group;
	}
#endif
	return &ksm_root_group;
}

/**
 * ksm_group_is_root - is this the root's group?
 * @group: the group
 *
 * Return: true if so.
 */
bool ksm_group_is_root(const struct ksm_group *group)
{
	return group == &ksm_root_group;
}

/**
 * ksm_group_memcg - the cgroup of a group
 * @group: the group
 *
 * Return: the cgroup; NULL for the root without memory cgroups.
 */
struct mem_cgroup *ksm_group_memcg(const struct ksm_group *group)
{
	return group->memcg;
}

/**
 * ksm_group_is_offline - was the cgroup removed?
 * @group: the group
 *
 * Context: any; without ksm_lock the answer may be stale.
 * Return: true if so.
 */
bool ksm_group_is_offline(const struct ksm_group *group)
{
	return READ_ONCE(group->offline);
}

/**
 * ksm_group_dying - is the cgroup removed, or about to be?
 * @group: the group
 *
 * Context: the caller keeps the group.
 * Return: true if so.
 */
bool ksm_group_dying(const struct ksm_group *group)
{
#ifdef CONFIG_MEMCG
	if (group->memcg && group->memcg->css.flags & CSS_DYING)
		return true;
#endif
	return ksm_group_is_offline(group);
}

/**
 * ksm_group_online - the group that took over from one that went offline
 * @group: the group
 *
 * Context: ksm_lock.
 * Return: @group, or the next one towards the root that is online.
 */
struct ksm_group *ksm_group_online(struct ksm_group *group)
{
	lockdep_assert_held(&ksm_lock);
	while (group->offline)
		group = group->parent;
	return group;
}

/**
 * ksm_group_below - is a group in a subtree?
 * @group: the group
 * @top: the top of the subtree
 *
 * Return: true if @group is @top or below it.
 */
bool ksm_group_below(const struct ksm_group *group, const struct ksm_group *top)
{
	while (group && group != top)
		group = group->parent;
	return group;
}

/**
 * ksm_group_pays - the group of the cgroup that a frame is charged to
 * @folio: the frame
 *
 * Context: the caller keeps the charge from moving.
 * Return: the group; the root's without memory cgroups, and on cgroup v1, where
 * a charge may move with a process.
 */
struct ksm_group *ksm_group_pays(struct folio *folio)
{
#ifdef CONFIG_MEMCG
	if (!mem_cgroup_disabled() && cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return ksm_group_of(folio_memcg(folio));
#endif
	return &ksm_root_group;
}

/**
 * ksm_mm_group - the group of a process
 * @mm: the process
 *
 * Context: RCU read side; the group may be offline.
 * Return: the group of the owner's cgroup, the root's without an owner.
 */
struct ksm_group *ksm_mm_group(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	if (!mem_cgroup_disabled() &&
	    cgroup_subsys_on_dfl(memory_cgrp_subsys)) {
		struct task_struct *owner = rcu_dereference(mm->owner);

		return ksm_group_of(owner ? mem_cgroup_from_task(owner) : NULL);
	}
#endif
	return &ksm_root_group;
}

/**
 * ksm_group_weight - a group's weight among its siblings
 * @group: the group
 *
 * Context: any.
 * Return: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX.
 */
u32 ksm_group_weight(const struct ksm_group *group)
{
	return READ_ONCE(group->sched.weight);
}

/**
 * ksm_group_set_weight - change a group's weight
 * @group: the group
 * @weight: KSM_WEIGHT_MIN to KSM_WEIGHT_MAX
 *
 * Context: takes ksm_lock.
 * Return: 0, or -EINVAL for any other weight.
 */
int ksm_group_set_weight(struct ksm_group *group, u64 weight)
{
	if (weight < KSM_WEIGHT_MIN || weight > KSM_WEIGHT_MAX)
		return -EINVAL;
	spin_lock(&ksm_lock);
	ksm_sched_set_weight(&group->sched, weight);
	ksm_sched_set_weight(&group->undo.sched, weight);
	spin_unlock(&ksm_lock);
	return 0;
}

/**
 * ksm_group_reset_weight - put the default weight back
 * @group: the group
 *
 * Context: takes ksm_lock.
 */
void ksm_group_reset_weight(struct ksm_group *group)
{
	ksm_group_set_weight(group, KSM_WEIGHT_DFL);
}

/**
 * ksm_group_metadata - memory that merging takes in a group
 * @group: the group
 *
 * What the slots account themselves, and the objects of the frames that are
 * charged here.
 *
 * Context: any.
 * Return: bytes.
 */
long ksm_group_metadata(struct ksm_group *group)
{
	const long frame = sizeof(struct ksm_frame) +
			   sizeof(struct ksm_content) +
			   sizeof(struct ksm_sample);
	struct ksm_group_books *books = &group->books;

	return atomic_long_read(&books->gauge[KSM_G_METADATA]) +
	       READ_ONCE(books->shared) * frame;
}

/**
 * ksm_group_sums - add a group's own books to a sum
 * @group: the group
 * @sums: where to
 *
 * Full scans of parts of a tree do not add up to scans of the tree: the sum has
 * the highest number among them.
 *
 * Context: any; between ksm_sums_begin() and ksm_sums_moved(), parents first.
 */
void ksm_group_sums(struct ksm_group *group, struct ksm_sums *sums)
{
	struct ksm_group_books *books = &group->books;
	int i;

	for (i = 0; i < NR_KSM_GAUGES; i++)
		sums->gauge[i] += i == KSM_G_METADATA ?
				  ksm_group_metadata(group) :
				  atomic_long_read(&books->gauge[i]);
	for (i = 0; i < NR_KSM_EVENTS; i++) {
		unsigned long nr = atomic_long_read(&books->event[i]);

		if (i == KSM_E_FULL_SCANS)
			sums->event[i] = max(sums->event[i], nr);
		else
			sums->event[i] += nr;
	}
	sums->shared += READ_ONCE(books->shared);
	/* see ksm_sums_end() */
	smp_rmb();
}

/**
 * ksm_sums_begin - begin to add up the books of a subtree
 * @sums: zeroed
 *
 * Context: any.
 * Return: a number for ksm_sums_moved().
 */
unsigned int ksm_sums_begin(struct ksm_sums *sums)
{
	memset(sums, 0, sizeof(*sums));
	return read_seqcount_begin(&ksm_books_seq);
}

/**
 * ksm_sums_moved - did books move from one group to another meanwhile?
 * @seq: from ksm_sums_begin()
 *
 * A tenant can move books all the time, so try KSM_SUMS_TRIES times at most.
 *
 * Context: any.
 * Return: true if some may be missing, or counted twice.
 */
bool ksm_sums_moved(unsigned int seq)
{
	return read_seqcount_retry(&ksm_books_seq, seq);
}

/**
 * ksm_sums_end - keep sums of events from running backwards
 * @top: the top of the subtree
 * @sums: the sums of its books
 *
 * Events of a group that goes offline are taken from it before they are added
 * to its parent, and are read in the reverse order. So a sum may miss some, but
 * counts none twice, and the highest one that was ever read was not too high.
 *
 * Context: any.
 */
void ksm_sums_end(struct ksm_group *top, struct ksm_sums *sums)
{
	int i;

	for (i = 0; i < KSM_E_FULL_SCANS; i++) {
		atomic_long_t *shown = &top->books.shown[i];
		long old = atomic_long_read(shown);
		long sum = sums->event[i];

		while (sum > old) {
			if (atomic_long_try_cmpxchg(shown, &old, sum))
				old = sum;
		}
		sums->event[i] = old;
	}
}

/**
 * ksm_sums_saved - frames that merging saves
 * @sums: the books
 *
 * Return: frames that would exist without merging, less frames that exist.
 * Negative where frames are charged here that save memory elsewhere, or where
 * relatives by fork that take no part keep the page.
 */
long ksm_sums_saved(const struct ksm_sums *sums)
{
	return sums->gauge[KSM_G_MERGING] + sums->gauge[KSM_G_ZERO] -
	       sums->gauge[KSM_G_RELATED] - sums->shared;
}

/**
 * ksm_sums_profit - memory that merging saves, less what it takes
 * @sums: the books
 *
 * Return: bytes; negative if merging costs more than it saves.
 */
long ksm_sums_profit(const struct ksm_sums *sums)
{
	return ksm_sums_saved(sums) * (long)PAGE_SIZE -
	       sums->gauge[KSM_G_METADATA];
}
