// SPDX-License-Identifier: GPL-2.0
/*
 * The memory.ksm files: samepage merging scoped by cgroup.
 *
 * What a user may rely on:
 *  - "1" in memory.ksm merges the memory of every process in the subtree,
 *    present and future, among themselves; the write returns when all present
 *    ones take part. A 0 anywhere above wins.
 *  - A write that takes merging away first makes the new value known to the
 *    scanner and to fork, then unshares. Where memory is too short for that it
 *    fails with ENOMEM, a signal ends it with EINTR, and the old value holds
 *    again; a second write carries on.
 *  - While it unshares, no lock is held that another cgroup's files, or the
 *    removal of this cgroup, would wait for.
 *  - The books of a removed cgroup are its parent's.
 *
 * The engine and its objects are in mm/ksm/; this file has the hierarchy, the
 * callbacks of the memory controller and the parsing.
 */
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/memcontrol.h>
#include <linux/oom.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "../../mm/ksm/ksm.h"

static const char * const ksm_setting_names[] = {
	[KSM_INHERIT] = "inherit",
	[KSM_NEVER] = "0",
	[KSM_MADVISE] = "madvise",
	[KSM_ALWAYS] = "1",
};

static LIST_HEAD(ksm_enlist_groups);
static void ksm_enlist_work_fn(struct work_struct *work);
static DECLARE_WORK(ksm_enlist_work, ksm_enlist_work_fn);

static struct ksm_group *ksm_css_group(struct cgroup_subsys_state *css)
{
	return ksm_group_of(mem_cgroup_from_css(css));
}

/* ------------------------------------------------------------- hierarchy */

/* Settings of a group changed: work out the subtree, parents first. */
static void ksm_subtree_refresh(struct mem_cgroup *memcg)
{
	struct cgroup_subsys_state *css;

	lockdep_assert_held(&ksm_config_mutex);
	rcu_read_lock();
	css_for_each_descendant_pre(css, &memcg->css) {
		struct mem_cgroup *pos = mem_cgroup_from_css(css);

		if (pos->ksm && !pos->ksm->offline)
			ksm_group_refresh(pos->ksm);
	}
	rcu_read_unlock();
}

/**
 * ksm_memcg_sums - the books of a cgroup and everything below it
 * @group: the cgroup's group
 * @sums: filled in
 */
void ksm_memcg_sums(struct ksm_group *group, struct ksm_sums *sums)
{
	struct cgroup_subsys_state *css;

	memset(sums, 0, sizeof(*sums));
	rcu_read_lock();
	css_for_each_descendant_pre(css, &group->memcg->css) {
		struct ksm_group *pos = mem_cgroup_from_css(css)->ksm;

		if (pos && !READ_ONCE(pos->offline))
			ksm_group_sums(pos, sums);
	}
	rcu_read_unlock();
}

/* ----------------------------------------------------------- registration */

/* Let the process of a task take part; the leader may be a zombie. */
static int ksm_register_task(struct task_struct *leader)
{
	struct task_struct *task = find_lock_task_mm(leader);
	struct mm_struct *mm = NULL;
	int err = 0;

	if (!task)
		return 0;
	if (!(task->flags & PF_KTHREAD) && mmget_not_zero(task->mm))
		mm = task->mm;
	task_unlock(task);
	if (mm) {
		err = ksm_mm_register(mm);
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

/*
 * Everybody below a cgroup where 1 holds now, be it by a value that only took
 * effect with this one; new ones come by fork, attach and exec.
 */
static int ksm_register_subtree(struct mem_cgroup *memcg)
{
	struct cgroup_subsys_state *css;
	int err = 0;

	rcu_read_lock();
	css_for_each_descendant_pre(css, &memcg->css) {
		if (READ_ONCE(ksm_css_group(css)->effective) != KSM_ALWAYS ||
		    !css_tryget_online(css))
			continue;
		rcu_read_unlock();
		err = ksm_register_css(css);
		if (!err && signal_pending(current))
			err = -EINTR;
		rcu_read_lock();
		css_put(css);
		if (err)
			break;
	}
	rcu_read_unlock();
	return err;
}

/**
 * ksm_memcg_enlist - a process without slot came to a group
 * @group: the group
 *
 * Called where nothing can be allocated and nothing may fail: if the group
 * says 1, a worker goes through its processes.
 *
 * Context: RCU.
 */
void ksm_memcg_enlist(struct ksm_group *group)
{
	if (READ_ONCE(group->effective) != KSM_ALWAYS)
		return;
	spin_lock(&ksm_lock);
	while (group->offline)
		group = group->parent;
	if (list_empty(&group->enlist))
		list_add_tail(&group->enlist, &ksm_enlist_groups);
	spin_unlock(&ksm_lock);
	queue_work(system_unbound_wq, &ksm_enlist_work);
}

/* The same for a whole subtree, whose settings were put back. */
static void ksm_enlist_subtree(struct mem_cgroup *memcg)
{
	struct cgroup_subsys_state *css;

	rcu_read_lock();
	css_for_each_descendant_pre(css, &memcg->css)
		ksm_memcg_enlist(ksm_css_group(css));
	rcu_read_unlock();
}

static struct cgroup_subsys_state *ksm_enlist_next(void)
{
	struct cgroup_subsys_state *css = NULL;
	struct ksm_group *group;

	spin_lock(&ksm_lock);
	while (!css && !list_empty(&ksm_enlist_groups)) {
		group = list_first_entry(&ksm_enlist_groups, struct ksm_group,
					 enlist);
		list_del_init(&group->enlist);
		if (css_tryget_online(&group->memcg->css))
			css = &group->memcg->css;
	}
	spin_unlock(&ksm_lock);
	return css;
}

static void ksm_enlist_work_fn(struct work_struct *work)
{
	struct cgroup_subsys_state *css;

	while ((css = ksm_enlist_next())) {
		if (ksm_register_css(css)) {
			/* no memory now: try again when there may be some */
			rcu_read_lock();
			ksm_memcg_enlist(ksm_css_group(css));
			rcu_read_unlock();
			css_put(css);
			schedule_timeout_uninterruptible(HZ / 10);
			return;
		}
		css_put(css);
	}
}

/* ------------------------------------------- callbacks of the controller */

/**
 * ksm_memcg_online - a cgroup comes
 * @memcg: the cgroup
 *
 * Return: 0 or -ENOMEM.
 */
int ksm_memcg_online(struct mem_cgroup *memcg)
{
	struct mem_cgroup *parent = parent_mem_cgroup(memcg);
	struct ksm_group *group;

	/* the root's is static and there before and after us */
	if (!parent)
		return 0;
	group = kzalloc(sizeof(*group), GFP_KERNEL_ACCOUNT);
	if (!group)
		return -ENOMEM;
	ksm_group_init(group, ksm_group_of(parent), memcg);
	return 0;
}

/**
 * ksm_memcg_offline - a cgroup is removed; pages may still be charged to it
 * @memcg: the cgroup
 */
void ksm_memcg_offline(struct mem_cgroup *memcg)
{
	if (memcg->ksm)
		ksm_group_offline(memcg->ksm);
}

/**
 * ksm_memcg_free - nothing refers to a cgroup any more
 * @memcg: the cgroup, which may never have been online
 */
void ksm_memcg_free(struct mem_cgroup *memcg)
{
	struct ksm_group *group = memcg->ksm;
	int i;

	if (!group || group == &ksm_root_group)
		return;
	ksm_group_offline(group);
	/* what was counted by somebody who still saw it online */
	for (i = 0; i < KSM_E_FULL_SCANS; i++)
		atomic_long_add(atomic_long_read(&group->event[i]),
				&group->parent->event[i]);
	WARN_ON_ONCE(group->shared);
	if (group->own_domain)
		ksm_domain_put(group->own_domain);
	WRITE_ONCE(memcg->ksm, NULL);
	kfree(group);
}

/**
 * ksm_memcg_reset - the controller is disabled here: back to defaults
 * @memcg: the cgroup
 */
void ksm_memcg_reset(struct mem_cgroup *memcg)
{
	struct ksm_group *group = memcg->ksm;

	if (!group)
		return;
	mutex_lock(&ksm_config_mutex);
	group->setting = group->parent ? KSM_INHERIT : KSM_MADVISE;
	group->join = false;
	group->peek = false;
	spin_lock(&ksm_lock);
	ksm_sched_set_weight(&group->sched, KSM_WEIGHT_DFL);
	spin_unlock(&ksm_lock);
	ksm_subtree_refresh(memcg);
	mutex_unlock(&ksm_config_mutex);
	ksm_enlist_subtree(memcg);
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
 */
void ksm_memcg_attach(struct task_struct *task)
{
	ksm_memcg_task(task);
}

/**
 * ksm_memcg_fork - a process was born here
 * @task: one of its tasks
 */
void ksm_memcg_fork(struct task_struct *task)
{
	ksm_memcg_task(task);
}

/* ---------------------------------------------------------------- writing */

/* What can be written to memory.ksm and memory.ksm.domain. */
struct ksm_config {
	enum ksm_setting setting;
	bool join;
	bool peek;
};

static void ksm_config_get(struct ksm_group *group, struct ksm_config *config)
{
	mutex_lock(&ksm_config_mutex);
	config->setting = group->setting;
	config->join = group->join;
	config->peek = group->peek;
	mutex_unlock(&ksm_config_mutex);
}

static void ksm_config_publish(struct ksm_group *group,
			       const struct ksm_config *config)
{
	mutex_lock(&ksm_config_mutex);
	group->setting = config->setting;
	group->join = config->join;
	group->peek = config->peek;
	if (!group->offline)
		ksm_subtree_refresh(group->memcg);
	mutex_unlock(&ksm_config_mutex);
}

static bool ksm_spare_eligible(struct ksm_mm *slot, struct vm_area_struct *vma)
{
	return ksm_vma_eligible(ksm_slot_policy(slot), vma);
}

/* Unshare what the slot may not have under the values that hold now. */
static int ksm_undo_slot(struct ksm_mm *slot, void *arg)
{
	struct ksm_group *top = arg;
	int err;

	if (signal_pending(current))
		return -EINTR;
	if (READ_ONCE(top->offline) || top->memcg->css.flags & CSS_DYING)
		return -ENODEV;
	err = ksm_unshare_mm(slot, READ_ONCE(slot->gauge[KSM_G_FOREIGN]) ?
			     NULL : ksm_spare_eligible);
	if (!err && !READ_ONCE(slot->takes_part))
		ksm_track_drop(slot);
	cond_resched();
	return err;
}

/* Make a configuration hold, or leave the old one. */
static int ksm_config_apply(struct ksm_group *group,
			    const struct ksm_config *config)
{
	struct ksm_config old;
	int err;

	ksm_config_get(group, &old);
	ksm_config_publish(group, config);
	ksm_domains_sync();
	err = ksm_register_subtree(group->memcg);
	if (!err)
		err = ksm_visit_slots(group, ksm_undo_slot, group);
	if (err) {
		/* who came meanwhile has not heard of the old value */
		ksm_config_publish(group, &old);
		ksm_enlist_subtree(group->memcg);
	}
	return err;
}

static int ksm_own_domain(struct ksm_group *group)
{
	struct ksm_domain *domain;

	if (group->own_domain)
		return 0;
	domain = ksm_domain_alloc();
	if (!domain)
		return -ENOMEM;
	mutex_lock(&ksm_config_mutex);
	group->own_domain = domain;
	mutex_unlock(&ksm_config_mutex);
	return 0;
}

/*
 * Change one thing of a group's configuration. Unsharing may take long: the
 * removal of the cgroup must not wait for it, so the file's protection is given
 * up and the cgroup is held by a reference instead.
 */
static int ksm_config_change(struct kernfs_open_file *of,
			     void (*change)(struct ksm_config *config,
					    const struct ksm_config *to),
			     const struct ksm_config *to)
{
	struct cgroup_subsys_state *css = of_css(of);
	struct ksm_group *group = ksm_css_group(css);
	struct ksm_config config;
	int err;

	css_get(css);
	kernfs_break_active_protection(of->kn);
	err = mutex_lock_interruptible(&group->write_mutex);
	if (err)
		goto out;
	if (READ_ONCE(group->offline)) {
		err = -ENODEV;
		goto unlock;
	}
	ksm_config_get(group, &config);
	change(&config, to);
	if (config.setting == KSM_ALWAYS || config.setting == KSM_MADVISE)
		err = ksm_own_domain(group);
	if (!err)
		err = ksm_config_apply(group, &config);
unlock:
	mutex_unlock(&group->write_mutex);
out:
	kernfs_unbreak_active_protection(of->kn);
	css_put(css);
	return err;
}

static void ksm_change_setting(struct ksm_config *config,
			       const struct ksm_config *to)
{
	config->setting = to->setting;
	config->peek = to->peek;
}

static ssize_t memory_ksm_write(struct kernfs_open_file *of, char *buf,
				size_t nbytes, loff_t off)
{
	struct ksm_config to;
	int setting, err;

	setting = match_string(ksm_setting_names, ARRAY_SIZE(ksm_setting_names),
			       strstrip(buf));
	if (setting < 0)
		return -EINVAL;
	if (setting == KSM_INHERIT && ksm_css_group(of_css(of)) == &ksm_root_group)
		return -EINVAL;
	to.setting = setting;
	/* both whoever opened the file and whoever writes to it */
	to.peek = capable(CAP_SYS_PTRACE) &&
		  file_ns_capable(of->file, &init_user_ns, CAP_SYS_PTRACE);
	err = ksm_config_change(of, ksm_change_setting, &to);
	return err ?: nbytes;
}

static int memory_ksm_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));

	seq_printf(m, "%s\n", ksm_setting_names[READ_ONCE(group->setting)]);
	return 0;
}

static int memory_ksm_effective_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));

	seq_printf(m, "%s\n", ksm_setting_names[READ_ONCE(group->effective)]);
	return 0;
}

static void ksm_change_join(struct ksm_config *config,
			    const struct ksm_config *to)
{
	config->join = to->join;
}

static ssize_t memory_ksm_domain_write(struct kernfs_open_file *of, char *buf,
				       size_t nbytes, loff_t off)
{
	struct ksm_config to;
	int err;

	buf = strstrip(buf);
	if (!strcmp(buf, "parent"))
		to.join = true;
	else if (!strcmp(buf, "self"))
		to.join = false;
	else
		return -EINVAL;
	err = ksm_config_change(of, ksm_change_join, &to);
	return err ?: nbytes;
}

static int memory_ksm_domain_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));

	seq_puts(m, READ_ONCE(group->join) ? "parent\n" : "self\n");
	return 0;
}

static int memory_ksm_weight_write(struct cgroup_subsys_state *css,
				   struct cftype *cft, u64 weight)
{
	struct ksm_group *group = ksm_css_group(css);

	if (weight < KSM_WEIGHT_MIN || weight > KSM_WEIGHT_MAX)
		return -EINVAL;
	spin_lock(&ksm_lock);
	ksm_sched_set_weight(&group->sched, weight);
	spin_unlock(&ksm_lock);
	return 0;
}

static u64 memory_ksm_weight_read(struct cgroup_subsys_state *css,
				  struct cftype *cft)
{
	return READ_ONCE(ksm_css_group(css)->sched.weight);
}

static ssize_t memory_ksm_scan_write(struct kernfs_open_file *of, char *buf,
				     size_t nbytes, loff_t off)
{
	struct cgroup_subsys_state *css = of_css(of);
	unsigned long pages;
	int err;

	buf = strstrip(buf);
	err = *buf ? page_counter_memparse(buf, "max", &pages) : -EINVAL;
	if (err)
		return err;
	/* as long as it may take: the removal of the cgroup does not wait */
	css_get(css);
	kernfs_break_active_protection(of->kn);
	err = ksm_scan_subtree(ksm_css_group(css), pages);
	kernfs_unbreak_active_protection(of->kn);
	css_put(css);
	return err ?: nbytes;
}

static int memory_ksm_stat_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));
	struct ksm_sums s;

	ksm_memcg_sums(group, &s);
	seq_printf(m, "ksm_merging_pages %ld\n", s.gauge[KSM_G_MERGING]);
	seq_printf(m, "pages_shared %ld\n", s.shared);
	seq_printf(m, "pages_sharing %ld\n", s.gauge[KSM_G_MERGING] - s.shared);
	seq_printf(m, "ksm_zero_pages %ld\n", s.gauge[KSM_G_ZERO]);
	seq_printf(m, "pages_unshared %ld\n", s.gauge[KSM_G_UNSHARED]);
	seq_printf(m, "pages_volatile %ld\n", s.gauge[KSM_G_VOLATILE]);
	seq_printf(m, "pages_foreign %ld\n", s.gauge[KSM_G_FOREIGN]);
	seq_printf(m, "ksm_metadata_bytes %ld\n", s.gauge[KSM_G_METADATA]);
	seq_printf(m, "general_profit %ld\n", ksm_sums_profit(&s));
	seq_printf(m, "processes %ld\n", s.gauge[KSM_G_PROCESSES]);
	seq_printf(m, "pages_scanned %lu\n", s.event[KSM_E_SCANNED]);
	seq_printf(m, "pages_skipped %lu\n", s.event[KSM_E_SKIPPED]);
	seq_printf(m, "pages_merged %lu\n", s.event[KSM_E_MERGED]);
	seq_printf(m, "pages_unmerged %lu\n", s.event[KSM_E_UNMERGED]);
	seq_printf(m, "cow_breaks %lu\n", s.event[KSM_E_COW]);
	seq_printf(m, "merge_failures %lu\n", s.event[KSM_E_FAILED]);
	seq_printf(m, "scan_usec %lu\n", s.event[KSM_E_SCAN_USEC]);
	seq_printf(m, "full_scans %lu\n", group == &ksm_root_group ?
		   ksm_full_scans() : s.event[KSM_E_FULL_SCANS]);
	return 0;
}

static struct cftype ksm_files[] = {
	{
		.name = "ksm",
		.seq_show = memory_ksm_show,
		.write = memory_ksm_write,
	},
	{
		.name = "ksm.effective",
		.seq_show = memory_ksm_effective_show,
	},
	{
		.name = "ksm.domain",
		.flags = CFTYPE_NOT_ON_ROOT,
		.seq_show = memory_ksm_domain_show,
		.write = memory_ksm_domain_write,
	},
	{
		.name = "ksm.weight",
		.flags = CFTYPE_NOT_ON_ROOT,
		.read_u64 = memory_ksm_weight_read,
		.write_u64 = memory_ksm_weight_write,
	},
	{
		.name = "ksm.scan",
		.flags = CFTYPE_NS_DELEGATABLE,
		.write = memory_ksm_scan_write,
	},
	{
		.name = "ksm.stat",
		.seq_show = memory_ksm_stat_show,
	},
	{ }	/* terminate */
};

static int __init ksm_cgroup_init(void)
{
	if (mem_cgroup_disabled())
		return 0;
	WARN_ON(cgroup_add_dfl_cftypes(&memory_cgrp_subsys, ksm_files));
	return 0;
}
subsys_initcall(ksm_cgroup_init);
