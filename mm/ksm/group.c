// SPDX-License-Identifier: GPL-2.0
/*
 * Groups: what a cgroup's settings come to, and its books.
 *
 * What holds in a group follows from its own setting and its parent's result:
 * a 0 anywhere above wins, else the nearest value counts. A group with 1 or
 * madvise of its own is the root of a merge domain, unless it joins its
 * parent's. kernel/cgroup/ksm.c has the files; without memory cgroups there is
 * the root group alone.
 */
#include <linux/cgroup.h>
#include <linux/memcontrol.h>

#include "ksm.h"

/* Settings, and the shape of the group tree; see ksm.h for its place. */
DEFINE_MUTEX(ksm_config_mutex);
struct ksm_group ksm_root_group;

/**
 * ksm_group_init - set up a group and let it take part
 * @group: zeroed memory
 * @parent: its parent, NULL for the root
 * @memcg: its cgroup or NULL
 *
 * Context: sleeps.
 */
void ksm_group_init(struct ksm_group *group, struct ksm_group *parent,
		    struct mem_cgroup *memcg)
{
	group->memcg = memcg;
	group->parent = parent;
	INIT_LIST_HEAD(&group->slots);
	INIT_LIST_HEAD(&group->parked);
	INIT_LIST_HEAD(&group->enlist);
	INIT_LIST_HEAD(&group->wait);
	mutex_init(&group->write_mutex);
	spin_lock_init(&group->lock);
	if (!parent) {
		group->setting = KSM_MADVISE;
		group->own_domain = &ksm_root_domain;
	}
	mutex_lock(&ksm_config_mutex);
#ifdef CONFIG_MEMCG
	/* from here on a write above reaches it */
	if (memcg)
		WRITE_ONCE(memcg->ksm, group);
#endif
	spin_lock(&ksm_lock);
	ksm_sched_init(&group->sched, parent ? &parent->sched : NULL,
		       KSM_WEIGHT_DFL);
	ksm_sched_init(&group->own, &group->sched, KSM_WEIGHT_DFL);
	list_add_tail(&group->link, &ksm_groups);
	spin_unlock(&ksm_lock);
	ksm_group_refresh(group);
	mutex_unlock(&ksm_config_mutex);
}

static bool ksm_group_owns(const struct ksm_group *group)
{
	return group->setting == KSM_ALWAYS || group->setting == KSM_MADVISE;
}

/**
 * ksm_group_refresh - work out anew what holds in a group
 * @group: the group; its parent is up to date
 *
 * Moves the group's slots along: into another domain, among those that are
 * scanned or out of them.
 *
 * Context: ksm_config_mutex; sleeps not.
 */
void ksm_group_refresh(struct ksm_group *group)
{
	struct ksm_group *parent = group->parent;
	struct ksm_mm *slot, *next;
	LIST_HEAD(slots);

	lockdep_assert_held(&ksm_config_mutex);
	spin_lock(&ksm_lock);
	if (parent && (group->setting == KSM_INHERIT ||
		       parent->effective == KSM_NEVER)) {
		WRITE_ONCE(group->effective, parent->effective);
		WRITE_ONCE(group->force_peek, parent->force_peek);
	} else {
		WRITE_ONCE(group->effective, group->setting);
		WRITE_ONCE(group->force_peek, group->peek);
	}
	if (parent)
		group->owned = ksm_group_owns(group) || parent->owned;
	else
		group->owned = group->setting == KSM_ALWAYS;
	if (parent && (!ksm_group_owns(group) || group->join))
		group->domain = parent->domain;
	else
		group->domain = group->own_domain;

	list_splice_init(&group->slots, &slots);
	list_splice_init(&group->parked, &slots);
	list_for_each_entry_safe(slot, next, &slots, link) {
		list_move_tail(&slot->link, slot->takes_part ? &group->slots :
							       &group->parked);
		ksm_slot_join(slot, group);
	}
	ksm_groups_serve();
	spin_unlock(&ksm_lock);
}

/**
 * ksm_group_offline - the cgroup is gone: everything goes to the parent
 * @group: the group, not the root
 *
 * Context: sleeps.
 */
void ksm_group_offline(struct ksm_group *group)
{
	struct ksm_group *parent = group->parent;
	struct ksm_mm *slot, *next;
	int i;

	mutex_lock(&ksm_config_mutex);
	spin_lock(&ksm_lock);
	if (group->offline)
		goto unlock;
	spin_lock(&group->lock);
	group->offline = true;
	spin_lock_nested(&parent->lock, SINGLE_DEPTH_NESTING);
	parent->shared += group->shared;
	group->shared = 0;
	spin_unlock(&parent->lock);
	spin_unlock(&group->lock);

	list_for_each_entry_safe(slot, next, &group->slots, link)
		ksm_slot_join(slot, group);
	list_for_each_entry_safe(slot, next, &group->parked, link)
		ksm_slot_join(slot, group);
	/* of full scans the parent has its own; see ksm_group_sums() */
	for (i = 0; i < KSM_E_FULL_SCANS; i++)
		atomic_long_add(atomic_long_xchg(&group->event[i], 0),
				&parent->event[i]);
	ksm_group_charge(group);
	ksm_group_charge(parent);
	list_del_init(&group->enlist);
	list_del(&group->link);
	ksm_groups_serve();
unlock:
	spin_unlock(&ksm_lock);
	mutex_unlock(&ksm_config_mutex);
}

/**
 * ksm_group_of - the group of a cgroup
 * @memcg: the cgroup or NULL
 *
 * Return: the group; the root's where there is none.
 */
struct ksm_group *ksm_group_of(struct mem_cgroup *memcg)
{
#ifdef CONFIG_MEMCG
	if (memcg && READ_ONCE(memcg->ksm))
		return READ_ONCE(memcg->ksm);
#endif
	return &ksm_root_group;
}

/**
 * ksm_slot_cgroup - the id of the cgroup that a process's memory belongs to
 * @slot: the process
 *
 * Return: as for the directory's inode number; 0 without memory cgroups.
 */
u64 ksm_slot_cgroup(struct ksm_mm *slot)
{
	u64 id = 0;

#ifdef CONFIG_MEMCG
	spin_lock(&slot->lock);
	if (slot->group->memcg)
		id = cgroup_id(slot->group->memcg->css.cgroup);
	spin_unlock(&slot->lock);
#endif
	return id;
}

/**
 * ksm_group_pays - the group of the cgroup that a frame is charged to
 * @folio: the frame
 *
 * Return: the group; the root's where cgroups have no say, as on v1, where a
 * charge may move with a process.
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
 * Context: RCU; the group may be offline.
 */
struct ksm_group *ksm_mm_group(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	if (!mem_cgroup_disabled() && cgroup_subsys_on_dfl(memory_cgrp_subsys)) {
		struct task_struct *owner = rcu_dereference(mm->owner);

		return ksm_group_of(owner ? mem_cgroup_from_task(owner) : NULL);
	}
#endif
	return &ksm_root_group;
}

/**
 * ksm_group_metadata - memory that merging takes in a group
 * @group: the group
 *
 * What the slots count, a place in the index for each page that waits in it,
 * and what belongs to a merged frame, which is with its payer.
 *
 * Return: bytes.
 */
long ksm_group_metadata(struct ksm_group *group)
{
	return atomic_long_read(&group->gauge[KSM_G_METADATA]) +
	       atomic_long_read(&group->gauge[KSM_G_UNSHARED]) * (long)sizeof(u32) +
	       READ_ONCE(group->shared) *
	       (long)(sizeof(struct ksm_node) + sizeof(struct ksm_content) +
		      sizeof(struct ksm_look));
}

/**
 * ksm_group_sums - a group's own books
 * @group: the group
 * @sums: they are added here
 */
void ksm_group_sums(struct ksm_group *group, struct ksm_sums *sums)
{
	int i;

	for (i = 0; i < NR_KSM_GAUGES; i++)
		sums->gauge[i] += i == KSM_G_METADATA ?
				  ksm_group_metadata(group) :
				  atomic_long_read(&group->gauge[i]);
	for (i = 0; i < NR_KSM_EVENTS; i++) {
		unsigned long nr = atomic_long_read(&group->event[i]);

		/* scans of parts of a tree do not add up to scans of the tree */
		if (i == KSM_E_FULL_SCANS)
			sums->event[i] = max(sums->event[i], nr);
		else
			sums->event[i] += nr;
	}
	sums->shared += READ_ONCE(group->shared);
}

/**
 * ksm_sums_profit - memory that merging saves, less what it takes
 * @sums: the books
 *
 * Return: bytes; negative where it costs more than it brings.
 */
long ksm_sums_profit(const struct ksm_sums *sums)
{
	long pages = sums->gauge[KSM_G_MERGING] - sums->shared +
		     sums->gauge[KSM_G_ZERO];

	return pages * (long)PAGE_SIZE - sums->gauge[KSM_G_METADATA];
}
