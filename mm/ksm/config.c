// SPDX-License-Identifier: GPL-2.0
/*
 * Configuration: what was written to the memory.ksm* files of a cgroup, and
 * what takes effect.
 *
 * The effective setting of a group follows from its own and its parent's: a 0
 * anywhere above wins, else the nearest value that is not "inherit" and counts.
 * A group with 1 or madvise of its own that counts is the root of a merge
 * domain, unless it joins its parent's or one with a name.
 * kernel/cgroup/ksm-files.c parses the values, and ksm.c there has a subtree
 * worked out from the top down.
 *
 * A group is also created, taken offline and freed here, as that changes what
 * holds below it.
 */
#include <linux/cgroup.h>
#include <linux/memcontrol.h>
#include <linux/slab.h>

#include "ksm.h"

/* Groups, or slots of one, that are updated under one ksm_lock. */
#define KSM_CONFIG_BATCH	64

/* Groups whose processes ksm_enlist_work has to register; ksm_lock. */
static LIST_HEAD(ksm_enlist_groups);
struct work_struct ksm_enlist_work;

/**
 * ksm_group_init - set up a group and publish it
 * @group: zeroed memory
 * @parent: its parent, NULL for the root
 * @memcg: its cgroup or NULL
 *
 * Context: sleeps.
 */
void ksm_group_init(struct ksm_group *group, struct ksm_group *parent,
		    struct mem_cgroup *memcg)
{
	struct ksm_group_queue *queue = &group->queue;

	group->memcg = memcg;
	group->parent = parent;
	INIT_LIST_HEAD(&queue->slots);
	INIT_LIST_HEAD(&queue->parked);
	INIT_LIST_HEAD(&queue->stale);
	INIT_LIST_HEAD(&queue->busy);
	INIT_LIST_HEAD(&queue->split_reqs);
	INIT_LIST_HEAD(&queue->enlist);
	INIT_LIST_HEAD(&queue->wait);
	INIT_LIST_HEAD(&group->undo.slots);
	mutex_init(&group->write_mutex);
	spin_lock_init(&group->books.lock);
	group->config.setting = parent ? KSM_INHERIT : KSM_MADVISE;
	group->config.types = parent ? KSM_T_INHERIT : KSM_T_ANON;
	if (!parent)
		group->own_domain = &ksm_root_domain;
	ksm_config_lock();
	spin_lock(&ksm_lock);
	ksm_sched_init(&group->sched, parent ? &parent->sched : NULL,
		       KSM_WEIGHT_DFL);
	ksm_sched_init(&group->own, &group->sched, KSM_WEIGHT_DFL);
	ksm_sched_init(&group->undo.sched, parent ? &parent->undo.sched : NULL,
		       KSM_WEIGHT_DFL);
	ksm_sched_init(&group->undo.own, &group->undo.sched, KSM_WEIGHT_DFL);
	list_add_tail_rcu(&queue->link, &ksm_groups);
	spin_unlock(&ksm_lock);
	ksm_group_refresh(group);
#ifdef CONFIG_MEMCG
	/*
	 * The group is complete, and the cgroup is in the hierarchy already. A
	 * write to an ancestor either changed the parent before the refresh
	 * above, or changes it later and finds this group.
	 */
	if (memcg) {
		/* pairs with ksm_group_of(), which reads through the pointer */
		smp_store_release(&memcg->ksm, group);
	}
#endif
	ksm_config_unlock();
}

/**
 * ksm_group_create - a cgroup comes online
 * @parent: the parent's group
 * @memcg: the cgroup
 *
 * Context: sleeps; charged to the current cgroup.
 * Return: its group, or NULL without memory.
 */
struct ksm_group *ksm_group_create(struct ksm_group *parent,
				   struct mem_cgroup *memcg)
{
	struct ksm_group *group = kzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);

	if (group)
		ksm_group_init(group, parent, memcg);
	return group;
}

/*
 * Give both locks up after every KSM_CONFIG_BATCH slots: how many there are is
 * up to a tenant.
 */
static void ksm_config_give_way(unsigned int *nr)
{
	if (++*nr % KSM_CONFIG_BATCH)
		return;
	spin_unlock(&ksm_lock);
	ksm_config_yield();
	spin_lock(&ksm_lock);
}

/* Move all slots of a group to its parent; both locks, dropped in between. */
static void ksm_group_pass_slots(struct ksm_group *group)
{
	struct ksm_slot *slot;
	unsigned int nr = 0;

	while ((slot = ksm_queue_first(group))) {
		ksm_slot_join(slot, group->parent);
		ksm_config_give_way(&nr);
	}
}

/* The domain that @join names, or NULL. */
static struct ksm_domain *ksm_join_named(struct ksm_domain *join)
{
	return join == KSM_JOIN_PARENT ? NULL : join;
}

/**
 * ksm_group_offline - the cgroup is gone: everything goes to the parent
 * @group: the group, not the root
 *
 * Slots move first, in batches: no process is left in the cgroup, and only
 * exiting mms still have slots here. The reference to a named domain is dropped
 * at once, as pages may stay charged to the cgroup for long.
 *
 * Context: sleeps.
 */
void ksm_group_offline(struct ksm_group *group)
{
	struct ksm_domain *left = NULL;

	ksm_config_lock();
	if (!group->offline) {
		spin_lock(&ksm_lock);
		ksm_group_pass_slots(group);
		ksm_books_close(group);
		ksm_group_charge(group->parent);
		ksm_group_charge(group);
		list_splice_tail_init(&group->queue.split_reqs,
				      &group->parent->queue.split_reqs);
		list_del_init(&group->queue.enlist);
		list_del_rcu(&group->queue.link);
		spin_unlock(&ksm_lock);
		left = ksm_join_named(group->config.join);
		WRITE_ONCE(group->config.join, NULL);
	}
	ksm_config_unlock();
	if (left)
		ksm_domain_put(left);
}

/**
 * ksm_group_destroy - nothing refers to a cgroup any more
 * @group: the group, not the root; freed
 *
 * Context: sleeps; a grace period after the cgroup went offline, so no reader
 * that walks ksm_groups under RCU is here any more.
 */
void ksm_group_destroy(struct ksm_group *group)
{
	int i;

	ksm_group_offline(group);
	/* events counted here after the group went offline */
	for (i = 0; i < KSM_E_FULL_SCANS; i++)
		atomic_long_add(atomic_long_read(&group->books.event[i]),
				&group->parent->books.event[i]);
	WARN_ON_ONCE(group->books.shared);
	if (group->own_domain)
		ksm_domain_put(group->own_domain);
	kfree(group);
}

/**
 * ksm_group_write_lock - become the one writer of a group's configuration
 * @group: the group
 *
 * Context: sleeps.
 * Return: 0; -EINTR on a signal; -ENODEV if the cgroup is gone.
 */
int ksm_group_write_lock(struct ksm_group *group)
{
	int err = mutex_lock_interruptible(&group->write_mutex);

	if (!err && ksm_group_is_offline(group)) {
		mutex_unlock(&group->write_mutex);
		err = -ENODEV;
	}
	return err;
}

/**
 * ksm_group_write_unlock - let the next writer in
 * @group: the group
 *
 * Context: the caller's ksm_group_write_lock().
 */
void ksm_group_write_unlock(struct ksm_group *group)
{
	mutex_unlock(&group->write_mutex);
}

/**
 * ksm_group_setting - the value of memory.ksm
 * @group: the group
 *
 * Context: any.
 * Return: what was written.
 */
enum ksm_setting ksm_group_setting(const struct ksm_group *group)
{
	return READ_ONCE(group->config.setting);
}

/**
 * ksm_group_join - the value of memory.ksm.domain
 * @group: the group
 *
 * Context: RCU read side.
 * Return: as ksm_config.join; without a reference.
 */
struct ksm_domain *ksm_group_join(const struct ksm_group *group)
{
	return READ_ONCE(group->config.join);
}

/**
 * ksm_group_change_config - change a part of what was written to a cgroup
 * @group: the group
 * @change: makes the change, does not sleep
 * @to: its argument
 *
 * A group that is offline keeps its values, and gets no reference to a domain.
 *
 * Context: ksm_config_mutex; ksm_group_refresh() of the subtree follows.
 * Return: the named domain that the group left, or NULL. Its reference passes
 * to the caller, which drops it once the subtree is refreshed.
 */
struct ksm_domain *ksm_group_change_config(struct ksm_group *group,
					   ksm_change_fn change,
					   const struct ksm_config *to)
{
	struct ksm_config config = group->config;
	struct ksm_domain *old = ksm_join_named(config.join), *new;

	lockdep_assert_held(&ksm_config_mutex);
	if (group->offline)
		return NULL;
	change(&config, to);
	new = ksm_join_named(config.join);
	if (new)
		refcount_inc(&new->ref);
	WRITE_ONCE(group->config.setting, config.setting);
	/* pairs with ksm_group_join(), which reads through the pointer */
	smp_store_release(&group->config.join, config.join);
	WRITE_ONCE(group->config.granted, config.granted);
	WRITE_ONCE(group->config.types, config.types);
	WRITE_ONCE(group->config.granted_types, config.granted_types);
	return old;
}

/**
 * ksm_groups_serve - run or run_cgroups changed: update which groups are served
 *
 * No round ends meanwhile, so each covers all groups that the new value serves.
 * Only the host's administrator can write these, so ksm_config_mutex is held
 * for the whole walk, in which this task may be throttled.
 *
 * Context: sleeps.
 */
void ksm_groups_serve(void)
{
	struct ksm_group *group;
	unsigned int nr = 0;

	mutex_lock(&ksm_config_mutex);
	spin_lock(&ksm_lock);
	ksm_round_suspend();
	/* ksm_config_mutex keeps the list as it is */
	list_for_each_entry(group, &ksm_groups, queue.link) {
		ksm_queue_serve(group);
		if (++nr % KSM_CONFIG_BATCH)
			continue;
		spin_unlock(&ksm_lock);
		cond_resched();
		spin_lock(&ksm_lock);
	}
	ksm_round_restart();
	spin_unlock(&ksm_lock);
	mutex_unlock(&ksm_config_mutex);
}

/* What holds above the root: mainline's rule. */
static const struct ksm_effective ksm_host_effective = {
	.setting = KSM_MADVISE,
	.domain = &ksm_root_domain,
};

/*
 * A group's own setting, or KSM_INHERIT if that does not count. An ungranted
 * setting may narrow or split what a granted 1 above enables, but not enable
 * merging. A 0 needs no grant.
 */
static enum ksm_setting ksm_config_own(const struct ksm_group *group,
				       const struct ksm_effective *above)
{
	const struct ksm_config *config = &group->config;

	if (config->setting == KSM_NEVER || config->granted || above->granted)
		return config->setting;
	return KSM_INHERIT;
}

/* A group's effective configuration, from its own and its parent's. */
static struct ksm_effective ksm_config_resolve(const struct ksm_group *group)
{
	const struct ksm_effective *above = group->parent ?
					    &group->parent->effective :
					    &ksm_host_effective;
	struct ksm_domain *named = ksm_join_named(group->config.join);
	enum ksm_setting own = ksm_config_own(group, above);
	struct ksm_effective result = *above;

	result.types = ksm_types_resolve(group);
	if (own == KSM_INHERIT)
		return result;
	if (above->setting != KSM_NEVER)
		result.setting = own;
	/* the nearest granted value decides if ungranted ones below count */
	if (group->config.granted)
		result.granted = own == KSM_ALWAYS;
	if (own == KSM_NEVER)
		return result;
	/* the root's madvise is the boot default, so it owns nothing */
	if (own == KSM_ALWAYS || group->parent)
		result.owned = true;
	if (named)
		result.domain = named;
	else if (!group->config.join)
		result.domain = group->own_domain;
	return result;
}

static bool ksm_effective_same(const struct ksm_effective *a,
			       const struct ksm_effective *b)
{
	return a->setting == b->setting && a->granted == b->granted &&
	       a->owned == b->owned && a->domain == b->domain &&
	       a->types == b->types;
}

/**
 * ksm_group_refresh - update the effective configuration of a group
 * @group: the group
 *
 * Has the group's slots follow: to another domain, and between active and
 * parked. The locks are dropped between batches of slots. A change that another
 * call has begun is completed as well, so on return no slot is behind the
 * values that were in force at the beginning.
 *
 * Context: ksm_config_lock(), dropped in between; the caller keeps @group in
 * memory.
 * Return: true if it changed, so the groups below may change too.
 */
bool ksm_group_refresh(struct ksm_group *group)
{
	struct ksm_effective new;
	struct ksm_slot *slot;
	unsigned int nr = 0;
	unsigned long since;
	bool changes;

	lockdep_assert_held(&ksm_config_mutex);
	new = ksm_config_resolve(group);
	changes = !ksm_effective_same(&group->effective, &new);
	/* the mutex keeps slots from being added to the stale ones */
	if (group->offline || (!changes && list_empty(&group->queue.stale)))
		return false;
	spin_lock(&ksm_lock);
	if (changes) {
		WRITE_ONCE(group->effective.setting, new.setting);
		WRITE_ONCE(group->effective.granted, new.granted);
		WRITE_ONCE(group->effective.owned, new.owned);
		WRITE_ONCE(group->effective.domain, new.domain);
		WRITE_ONCE(group->effective.types, new.types);
		ksm_queue_set_stale(group);
	}
	since = ksm_queue_followed();
	while ((slot = ksm_queue_next_stale(group, since))) {
		ksm_slot_join(slot, group);
		ksm_config_give_way(&nr);
	}
	if (!group->offline)
		ksm_queue_serve(group);
	spin_unlock(&ksm_lock);
	return changes;
}

/**
 * ksm_group_need_domain - make sure that a group has a domain of its own
 * @group: the group
 *
 * Context: ksm_group_write_lock(); sleeps.
 * Return: 0 or -ENOMEM.
 */
int ksm_group_need_domain(struct ksm_group *group)
{
	struct ksm_domain *domain;

	if (group->own_domain)
		return 0;
	domain = ksm_domain_alloc();
	if (!domain)
		return -ENOMEM;
	ksm_config_lock();
	group->own_domain = domain;
	ksm_config_unlock();
	return 0;
}

/**
 * ksm_group_effective - what holds in a group
 * @group: the group
 *
 * Context: any.
 * Return: KSM_NEVER, KSM_MADVISE or KSM_ALWAYS.
 */
enum ksm_setting ksm_group_effective(const struct ksm_group *group)
{
	return READ_ONCE(group->effective.setting);
}

/**
 * ksm_group_enlist - a process without a slot came to a group
 * @group: the group
 *
 * Called where no memory can be allocated and nothing may fail: if 1 holds in
 * the group, a worker registers its processes.
 *
 * Context: RCU read side.
 */
void ksm_group_enlist(struct ksm_group *group)
{
	if (!IS_ENABLED(CONFIG_MEMCG) ||
	    READ_ONCE(group->effective.setting) != KSM_ALWAYS)
		return;
	spin_lock(&ksm_lock);
	group = ksm_group_online(group);
	if (list_empty(&group->queue.enlist))
		list_add_tail(&group->queue.enlist, &ksm_enlist_groups);
	spin_unlock(&ksm_lock);
	queue_work(system_unbound_wq, &ksm_enlist_work);
}

/**
 * ksm_enlist_next - take a group whose processes are to be registered
 *
 * Context: takes ksm_lock.
 * Return: the group with a reference on its cgroup's css, or NULL.
 */
struct ksm_group *ksm_enlist_next(void)
{
	struct ksm_group *found = NULL;
#ifdef CONFIG_MEMCG
	struct ksm_group *group;

	spin_lock(&ksm_lock);
	while (!found && !list_empty(&ksm_enlist_groups)) {
		group = list_first_entry(&ksm_enlist_groups, struct ksm_group,
					 queue.enlist);
		list_del_init(&group->queue.enlist);
		if (css_tryget_online(&group->memcg->css))
			found = group;
	}
	spin_unlock(&ksm_lock);
#endif
	return found;
}

#include "tests/config-kunit.h"
