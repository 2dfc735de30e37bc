// SPDX-License-Identifier: GPL-2.0
/*
 * Samepage merging scoped by cgroup: the hierarchy.
 *
 * The memory controller reports cgroups that come online, go offline or are
 * reset, and processes that are forked in one or moved to one. Each cgroup has
 * a group in the engine, see include/linux/ksm_cgroup.h. A configuration holds
 * for a subtree, so this file evaluates it from the top down, and registers
 * processes that should take part but have no slot yet.
 *
 * ksm-files.c says what a user may rely on.
 */
#include <linux/cgroup.h>
#include <linux/ksm.h>
#include <linux/ksm_cgroup.h>
#include <linux/memcontrol.h>
#include <linux/oom.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "ksm.h"

/* ------------------------------------------------------------- hierarchy */

/**
 * ksm_css_group - the group of a cgroup
 * @css: the cgroup
 *
 * Return: the group.
 */
struct ksm_group *ksm_css_group(struct cgroup_subsys_state *css)
{
	return ksm_group_of(mem_cgroup_from_css(css));
}

/*
 * The next cgroup of a subtree, parents first, with a reference; drops the one
 * on @pos. @skip: leave out those below @pos. A cgroup that is not online yet
 * has no group, and is left out too.
 */
static struct cgroup_subsys_state *
ksm_css_next(struct cgroup_subsys_state *pos, struct cgroup_subsys_state *top,
	     bool skip)
{
	struct cgroup_subsys_state *next = pos;

	rcu_read_lock();
	if (skip)
		next = css_rightmost_descendant(next);
	do {
		next = css_next_descendant_pre(next, top);
	} while (next && (!READ_ONCE(mem_cgroup_from_css(next)->ksm) ||
			  !css_tryget(next)));
	rcu_read_unlock();
	if (pos)
		css_put(pos);
	cond_resched();
	return next;
}

/* Walks of ksm_subtree_refresh() that are under way; ksm_config_mutex. */
static unsigned int ksm_nr_walks;

/*
 * Refresh a subtree, parents first; ksm_config_mutex is dropped at each cgroup
 * and between the processes of one. Cgroups below one in which nothing changes
 * need no visit, unless another walk is on its way there; ksm_nr_walks counts
 * this one.
 *
 * Walks may overlap. Each step derives a cgroup's values from its own setting
 * and its parent's present values, and a walk that changes either goes on to
 * refresh the cgroup. So when a walk ends, its change is in force in the whole
 * subtree, and when all have ended, every cgroup has what follows from the
 * values written last. A cgroup that comes online meanwhile is below its parent
 * before it takes over the parent's values, so a walk that changes the parent
 * later finds it.
 */
static void ksm_subtree_refresh(struct mem_cgroup *memcg)
{
	struct cgroup_subsys_state *css = NULL;
	bool skip = false;

	while ((css = ksm_css_next(css, &memcg->css, skip))) {
		ksm_config_lock();
		skip = !ksm_group_refresh(mem_cgroup_from_css(css)->ksm) &&
		       ksm_nr_walks == 1;
		ksm_config_unlock();
	}
}

/**
 * ksm_subtree_configure - change and publish a configuration
 * @group: the group that it is written to
 * @change: makes the change
 * @to: its argument
 *
 * Writes to one group need no lock of their own for this: a change is made and
 * begins to spread under one ksm_config_mutex.
 *
 * Context: sleeps.
 */
void ksm_subtree_configure(struct ksm_group *group, ksm_change_fn change,
			   const struct ksm_config *to)
{
	struct ksm_domain *left;

	ksm_config_lock();
	left = ksm_group_change_config(group, change, to);
	ksm_nr_walks++;
	ksm_config_unlock();
	ksm_subtree_refresh(ksm_group_memcg(group));
	ksm_config_lock();
	ksm_nr_walks--;
	ksm_config_unlock();
	/* no group of the subtree is in it any more */
	if (left)
		ksm_domain_put(left);
}

/**
 * ksm_subtree_sums - the books of a cgroup and everything below it
 * @group: the cgroup's group
 * @sums: filled in
 *
 * Context: sleeps.
 */
void ksm_subtree_sums(struct ksm_group *group, struct ksm_sums *sums)
{
	struct cgroup_subsys_state *css, *top = &ksm_group_memcg(group)->css;
	struct ksm_group *pos;
	unsigned int seq;
	int tries = 0;

	do {
		seq = ksm_sums_begin(sums);
		css = NULL;
		while ((css = ksm_css_next(css, top, false))) {
			pos = mem_cgroup_from_css(css)->ksm;
			if (!ksm_group_is_offline(pos))
				ksm_group_sums(pos, sums);
		}
	} while (ksm_sums_moved(seq) && ++tries < KSM_SUMS_TRIES);
	ksm_sums_end(group, sums);
}

/* ----------------------------------------------------------- registration */

/* Register the process of a task; its leader may be a zombie. */
static int ksm_register_task(struct task_struct *leader)
{
	struct task_struct *task = find_lock_task_mm(leader);
	struct mm_struct *mm = NULL;
	int err = 0;

	if (!task)
		return 0;
	__acquire(&task->alloc_lock);
	if (!(task->flags & PF_KTHREAD) && mmget_not_zero(task->mm))
		mm = task->mm;
	task_unlock(task);
	if (mm) {
		err = ksm_mm_register(mm, GFP_KERNEL);
		mmput_async(mm);
	}
	return err;
}

static int ksm_register_css(struct cgroup_subsys_state *css)
{
	struct css_task_iter it;
	struct task_struct *task;
	int err = 0;

	css_task_iter_start(css, CSS_TASK_ITER_PROCS, &it);
	while (!err && (task = css_task_iter_next(&it)))
		err = ksm_register_task(task);
	css_task_iter_end(&it);
	return err;
}

/**
 * ksm_subtree_register - register all processes of cgroups in which 1 holds
 * @group: the top of the subtree
 *
 * This includes cgroups whose own 1 takes effect only now. New processes are
 * registered by fork, attach and exec.
 *
 * Context: sleeps.
 * Return: 0, -ENOMEM or -EINTR.
 */
int ksm_subtree_register(struct ksm_group *group)
{
	struct cgroup_subsys_state *css = NULL;
	int err = 0;

	while ((css = ksm_css_next(css, &ksm_group_memcg(group)->css, false))) {
		if (ksm_group_effective(ksm_css_group(css)) != KSM_ALWAYS)
			continue;
		err = ksm_register_css(css);
		if (!err && signal_pending(current))
			err = -EINTR;
		if (err) {
			css_put(css);
			break;
		}
	}
	return err;
}

/**
 * ksm_subtree_enlist - have a worker register the processes of a subtree
 * @group: the top of the subtree
 *
 * For a write that failed to register them all, and for a reset, which must not
 * fail.
 *
 * Context: sleeps.
 */
void ksm_subtree_enlist(struct ksm_group *group)
{
	struct cgroup_subsys_state *css = NULL;

	while ((css = ksm_css_next(css, &ksm_group_memcg(group)->css, false)))
		ksm_group_enlist(ksm_css_group(css));
}

static void ksm_enlist_work_fn(struct work_struct *work)
{
	struct cgroup_subsys_state *css;
	struct ksm_group *group;
	int err;

	while ((group = ksm_enlist_next())) {
		css = &ksm_group_memcg(group)->css;
		err = ksm_register_css(css);
		if (err) {
			/* out of memory: try again later */
			rcu_read_lock();
			ksm_group_enlist(group);
			rcu_read_unlock();
		}
		css_put(css);
		if (err) {
			schedule_timeout_uninterruptible(HZ / 10);
			return;
		}
	}
}

/* ------------------------------------------- callbacks of the controller */

/**
 * ksm_memcg_online - a cgroup comes online
 * @memcg: the cgroup
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
int ksm_memcg_online(struct mem_cgroup *memcg)
{
	struct mem_cgroup *parent = parent_mem_cgroup(memcg);

	/* the root's group is static and outlasts everything */
	if (!parent || !ksm_ready())
		return 0;
	return ksm_group_create(ksm_group_of(parent), memcg) ? 0 : -ENOMEM;
}

/**
 * ksm_memcg_offline - a cgroup is removed; pages may still be charged to it
 * @memcg: the cgroup
 *
 * Context: sleeps.
 */
void ksm_memcg_offline(struct mem_cgroup *memcg)
{
	if (memcg->ksm)
		ksm_group_offline(memcg->ksm);
}

/**
 * ksm_memcg_free - nothing refers to a cgroup any more
 * @memcg: the cgroup, which may never have been online
 *
 * Context: sleeps.
 */
void ksm_memcg_free(struct mem_cgroup *memcg)
{
	struct ksm_group *group = memcg->ksm;

	if (!group || ksm_group_is_root(group))
		return;
	WRITE_ONCE(memcg->ksm, NULL);
	ksm_group_destroy(group);
}

static void ksm_change_to_default(struct ksm_config *config,
				  const struct ksm_config *to)
{
	*config = *to;
}

/**
 * ksm_memcg_reset - the controller is disabled here: back to defaults
 * @memcg: the cgroup
 *
 * The worker unshares what this takes away: cgroup_mutex is held, so this
 * neither unshares nor waits for a writer that does.
 *
 * Context: sleeps.
 */
void ksm_memcg_reset(struct mem_cgroup *memcg)
{
	const struct ksm_config defaults = {
		.setting = KSM_INHERIT,
		.types = KSM_T_INHERIT,
	};
	struct ksm_group *group = memcg->ksm;

	/* the root is not reset */
	if (!group || ksm_group_is_root(group))
		return;
	ksm_group_reset_weight(group);
	ksm_subtree_configure(group, ksm_change_to_default, &defaults);
	ksm_subtree_enlist(group);
}

static void ksm_memcg_task(struct task_struct *task)
{
	task_lock(task);
	if (task->mm && !(task->flags & PF_KTHREAD) &&
	    rcu_access_pointer(task->mm->owner) == task)
		ksm_migrate_mm(task->mm);
	task_unlock(task);
}

/**
 * ksm_memcg_attach - a process was moved here
 * @task: one of its tasks
 *
 * Context: cgroup_threadgroup_rwsem; cannot fail.
 */
void ksm_memcg_attach(struct task_struct *task)
{
	ksm_memcg_task(task);
}

/* Is a new process without a slot covered by a 1? */
static bool ksm_fork_registers(struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	bool covered;

	if (!mm || mm->ksm || rcu_access_pointer(mm->owner) != task)
		return false;
	rcu_read_lock();
	covered = ksm_group_effective(ksm_group_of(mem_cgroup_from_task(task)))
		  == KSM_ALWAYS;
	rcu_read_unlock();
	return covered;
}

/**
 * ksm_memcg_fork - a process was forked here
 * @task: one of its tasks, which does not run yet
 *
 * A child that is cloned into a cgroup from outside may have no slot. It is
 * registered here, on the parent's CPU time: the worker would go through all
 * processes of the cgroup, and no cgroup would be charged for that.
 *
 * Context: cgroup_threadgroup_rwsem for reading. Does not reclaim, as the next
 * move would wait for that, and all forks would wait for the move. Cannot fail:
 * if the allocation does, the worker registers the process.
 */
void ksm_memcg_fork(struct task_struct *task)
{
	if (ksm_fork_registers(task))
		ksm_mm_register(task->mm, GFP_NOWAIT | __GFP_NOWARN);
	ksm_memcg_task(task);
}

/* Runs before the engine's own initcall, so nothing is enlisted before. */
static int __init ksm_hierarchy_init(void)
{
	INIT_WORK(&ksm_enlist_work, ksm_enlist_work_fn);
	return 0;
}
core_initcall(ksm_hierarchy_init);
