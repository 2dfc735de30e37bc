// SPDX-License-Identifier: GPL-2.0
/*
 * The memory.ksm files: samepage merging scoped by cgroup.
 *
 * What a user may rely on:
 *  - "1" in memory.ksm merges the memory of all processes in the subtree,
 *    present and future, with one another; the write returns when all present
 *    processes take part. A 0 anywhere above wins.
 *  - A 1 or madvise counts only if it is granted, i.e. the file was opened with
 *    CAP_SYS_ADMIN over the host, or if the nearest granted value above is a 1.
 *    Otherwise it reads back and has the effect of "inherit".
 *  - memory.ksm.types says what is merged, and what a 1 takes in that it leaves
 *    alone otherwise. A write that is not granted cannot add a word that the
 *    parent does not have.
 *  - A cgroup with a 1 or madvise that counts shares within its subtree or, if
 *    memory.ksm.domain says so, with its parent's domain or with all cgroups
 *    that have the same @NAME, wherever they are. Only a granted write may set
 *    a name.
 *  - A write that takes merging away, or splits a domain, takes effect before
 *    anything is unshared and is not taken back. It goes through all processes,
 *    and fails with ENOMEM if memory is too short to unshare, with EBUSY if a
 *    process keeps its mmap_lock, and with EINTR on a signal. A worker does the
 *    rest when that is possible; pages_pending says how much is left.
 *  - A write that unshares holds no lock that the files of another cgroup, or
 *    the removal of this one, would wait for.
 *  - The books of a removed cgroup pass to its parent.
 *
 * The hierarchy is in ksm.c, the engine in mm/ksm/.
 */
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/kernfs.h>
#include <linux/ksm_cgroup.h>
#include <linux/memcontrol.h>
#include <linux/page_counter.h>
#include <linux/seq_file.h>

#include "ksm.h"

static const char * const ksm_type_names[] = {
	[KSM_TYPE_ANON] = "anon",
	[KSM_TYPE_ZERO] = "zero",
	[KSM_TYPE_DONTDUMP] = "dontdump",
	[KSM_TYPE_LOCKED] = "locked",
	[KSM_TYPE_UNDUMPABLE] = "undumpable",
};

static const char * const ksm_setting_names[] = {
	[KSM_INHERIT] = "inherit",
	[KSM_NEVER] = "0",
	[KSM_MADVISE] = "madvise",
	[KSM_ALWAYS] = "1",
};

/* ---------------------------------------------------------- configuration */

/* Was the file opened by an administrator of the host? */
static bool ksm_file_grants(struct kernfs_open_file *of)
{
	return file_ns_capable(of->file, &init_user_ns, CAP_SYS_ADMIN);
}

/*
 * Change a configuration, and put that into effect. It stays in effect if
 * registering or unsharing fails, as switching off must not depend on free
 * memory; workers do the rest.
 */
static int ksm_config_apply(struct ksm_group *group, ksm_change_fn change,
			    const struct ksm_config *to)
{
	int err, undo;

	ksm_subtree_configure(group, change, to);
	err = ksm_subtree_register(group);
	if (err)
		ksm_subtree_enlist(group);
	undo = ksm_group_undo(group);
	return err ?: undo;
}

/* Allocate a domain if the group may need one of its own after the change. */
static int ksm_config_prepare(struct ksm_group *group, ksm_change_fn change,
			      const struct ksm_config *to)
{
	/* a concurrent reset can only make the domain unnecessary */
	struct ksm_config config = { .setting = ksm_group_setting(group) };

	change(&config, to);
	if (config.setting != KSM_ALWAYS && config.setting != KSM_MADVISE)
		return 0;
	return ksm_group_need_domain(group);
}

/* Completes the values that a write sets from those in force. */
typedef int (*ksm_edit_fn)(struct ksm_group *group, struct ksm_config *to,
			   const void *arg);

/*
 * Change one part of a group's configuration. Unsharing may take long, and the
 * removal of the cgroup must not wait for it: break the file's active
 * protection, and hold a reference on the cgroup instead.
 */
static int ksm_config_edit(struct kernfs_open_file *of, ksm_change_fn change,
			   struct ksm_config *to, ksm_edit_fn edit,
			   const void *arg)
{
	struct cgroup_subsys_state *css = of_css(of);
	struct ksm_group *group = ksm_css_group(css);
	int err;

	css_get(css);
	kernfs_break_active_protection(of->kn);
	err = ksm_group_write_lock(group);
	if (err)
		goto out;
	err = edit ? edit(group, to, arg) : 0;
	if (!err)
		err = ksm_config_prepare(group, change, to);
	if (!err)
		err = ksm_config_apply(group, change, to);
	ksm_group_write_unlock(group);
out:
	kernfs_unbreak_active_protection(of->kn);
	css_put(css);
	return err;
}

static int ksm_config_change(struct kernfs_open_file *of, ksm_change_fn change,
			     struct ksm_config *to)
{
	return ksm_config_edit(of, change, to, NULL, NULL);
}

/* ------------------------------------------------------------- memory.ksm */

static void ksm_change_setting(struct ksm_config *config,
			       const struct ksm_config *to)
{
	config->setting = to->setting;
	config->granted = to->granted;
}

static ssize_t memory_ksm_write(struct kernfs_open_file *of, char *buf,
				size_t nbytes, loff_t off)
{
	struct ksm_group *group = ksm_css_group(of_css(of));
	struct ksm_config to = {};
	int setting, err;

	setting = match_string(ksm_setting_names, ARRAY_SIZE(ksm_setting_names),
			       strstrip(buf));
	if (setting < 0)
		return -EINVAL;
	if (setting == KSM_INHERIT && ksm_group_is_root(group))
		return -EINVAL;
	to.setting = setting;
	to.granted = ksm_file_grants(of);
	err = ksm_config_change(of, ksm_change_setting, &to);
	return err ?: nbytes;
}

static int memory_ksm_show(struct seq_file *m, void *v)
{
	enum ksm_setting setting = ksm_group_setting(ksm_css_group(seq_css(m)));

	seq_printf(m, "%s\n", ksm_setting_names[setting]);
	return 0;
}

static int memory_ksm_effective_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));
	enum ksm_setting setting = ksm_group_effective(group);

	seq_printf(m, "%s\n", ksm_setting_names[setting]);
	return 0;
}

/* ------------------------------------------------------- memory.ksm.types */

/**
 * struct ksm_types_words - what is written to memory.ksm.types, on the stack
 * @inherit: "inherit" instead of words
 * @add: words with a +
 * @del: words with a -
 * @granted: the write is granted
 */
struct ksm_types_words {
	bool inherit;
	unsigned int add;
	unsigned int del;
	bool granted;
};

/* As in cgroup.subtree_control, the last occurrence of a word counts. */
static int ksm_types_parse(char *buf, struct ksm_types_words *words)
{
	char *word;
	int type;

	words->inherit = !strcmp(buf, "inherit");
	if (words->inherit)
		return 0;
	while ((word = strsep(&buf, " "))) {
		if (!*word)
			continue;
		type = match_string(ksm_type_names, NR_KSM_TYPES, word + 1);
		if (type < 0 || (*word != '+' && *word != '-'))
			return -EINVAL;
		words->add &= ~BIT(type);
		words->del &= ~BIT(type);
		if (*word == '+')
			words->add |= BIT(type);
		else
			words->del |= BIT(type);
	}
	return words->add | words->del ? 0 : -EINVAL;
}

static int ksm_types_edit(struct ksm_group *group, struct ksm_config *to,
			  const void *arg)
{
	const struct ksm_types_words *words = arg;

	to->granted = words->granted;
	if (words->inherit) {
		to->types = KSM_T_INHERIT;
		to->granted_types = 0;
		return 0;
	}
	return ksm_group_edit_types(group, words->add, words->del,
				    words->granted, to);
}

static void ksm_change_types(struct ksm_config *config,
			     const struct ksm_config *to)
{
	config->types = to->types;
	/* a reset may have taken grants away since the edit */
	config->granted_types = to->granted ? to->granted_types :
				to->granted_types & config->granted_types;
}

static ssize_t memory_ksm_types_write(struct kernfs_open_file *of, char *buf,
				      size_t nbytes, loff_t off)
{
	struct ksm_types_words words = { .granted = ksm_file_grants(of) };
	struct ksm_config to = {};
	int err;

	err = ksm_types_parse(strstrip(buf), &words);
	if (err)
		return err;
	if (words.inherit && ksm_group_is_root(ksm_css_group(of_css(of))))
		return -EINVAL;
	err = ksm_config_edit(of, ksm_change_types, &to, ksm_types_edit,
			      &words);
	return err ?: nbytes;
}

/* A list of its own without words reads as an empty line. */
static int memory_ksm_types_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));
	unsigned long types = ksm_group_types(group);
	const char *space = "";
	unsigned int type;

	if (ksm_group_inherits_types(group)) {
		seq_puts(m, "inherit\n");
		return 0;
	}
	for_each_set_bit(type, &types, NR_KSM_TYPES) {
		seq_printf(m, "%s%s", space, ksm_type_names[type]);
		space = " ";
	}
	seq_putc(m, '\n');
	return 0;
}

/* ------------------------------------------------------ memory.ksm.domain */

static void ksm_change_join(struct ksm_config *config,
			    const struct ksm_config *to)
{
	config->join = to->join;
}

/* The domain of a name, with a reference. */
static int memory_ksm_domain_named(struct kernfs_open_file *of,
				   const char *name, struct ksm_domain **domain)
{
	if (!ksm_domain_name_valid(name))
		return -EINVAL;
	if (!ksm_file_grants(of))
		return -EPERM;
	*domain = ksm_domain_get(name);
	return *domain ? 0 : -ENOMEM;
}

static ssize_t memory_ksm_domain_write(struct kernfs_open_file *of, char *buf,
				       size_t nbytes, loff_t off)
{
	struct ksm_domain *named = NULL;
	struct ksm_config to = {};
	int err = 0;

	buf = strstrip(buf);
	if (*buf == '@') {
		err = memory_ksm_domain_named(of, buf + 1, &named);
		to.join = named;
	} else if (!strcmp(buf, "parent")) {
		to.join = KSM_JOIN_PARENT;
	} else if (strcmp(buf, "self")) {
		err = -EINVAL;
	}
	if (!err)
		err = ksm_config_change(of, ksm_change_join, &to);
	if (named)
		ksm_domain_put(named);
	return err ?: nbytes;
}

static int memory_ksm_domain_show(struct seq_file *m, void *v)
{
	struct ksm_domain *join;

	rcu_read_lock();
	join = ksm_group_join(ksm_css_group(seq_css(m)));
	if (!join)
		seq_puts(m, "self\n");
	else if (join == KSM_JOIN_PARENT)
		seq_puts(m, "parent\n");
	else
		seq_printf(m, "@%s\n", ksm_domain_name(join));
	rcu_read_unlock();
	return 0;
}

/* ------------------------------------------------------ memory.ksm.weight */

static int memory_ksm_weight_write(struct cgroup_subsys_state *css,
				   struct cftype *cft, u64 weight)
{
	return ksm_group_set_weight(ksm_css_group(css), weight);
}

static u64 memory_ksm_weight_read(struct cgroup_subsys_state *css,
				  struct cftype *cft)
{
	return ksm_group_weight(ksm_css_group(css));
}

/* -------------------------------------------------------- memory.ksm.scan */

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
	/* the removal of the cgroup must not wait for the scan */
	css_get(css);
	kernfs_break_active_protection(of->kn);
	err = ksm_scan_subtree(ksm_css_group(css), pages);
	kernfs_unbreak_active_protection(of->kn);
	css_put(css);
	return err ?: nbytes;
}

/* -------------------------------------------------------- memory.ksm.stat */

static int memory_ksm_stat_show(struct seq_file *m, void *v)
{
	struct ksm_group *group = ksm_css_group(seq_css(m));
	struct ksm_sums s;

	ksm_subtree_sums(group, &s);
	seq_printf(m, "ksm_merging_pages %ld\n", s.gauge[KSM_G_MERGING]);
	seq_printf(m, "pages_shared %ld\n", s.shared);
	seq_printf(m, "pages_sharing %ld\n", s.gauge[KSM_G_MERGING] - s.shared);
	seq_printf(m, "ksm_zero_pages %ld\n", s.gauge[KSM_G_ZERO]);
	seq_printf(m, "pages_unshared %ld\n", s.gauge[KSM_G_UNSHARED]);
	seq_printf(m, "pages_volatile %ld\n", s.gauge[KSM_G_VOLATILE]);
	seq_printf(m, "pages_foreign %ld\n", s.gauge[KSM_G_FOREIGN]);
	seq_printf(m, "pages_pending %ld\n", s.gauge[KSM_G_PENDING]);
	seq_printf(m, "pages_saved %ld\n", ksm_sums_saved(&s));
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
	seq_printf(m, "full_scans %lu\n", ksm_group_is_root(group) ?
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
		.name = "ksm.types",
		.seq_show = memory_ksm_types_show,
		.write = memory_ksm_types_write,
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

/* Runs after the engine's own initcall. */
static int __init ksm_files_init(void)
{
	if (mem_cgroup_disabled() || !ksm_ready())
		return 0;
	WARN_ON(cgroup_add_dfl_cftypes(&memory_cgrp_subsys, ksm_files));
	return 0;
}
fs_initcall(ksm_files_init);
