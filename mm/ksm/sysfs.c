// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/ksm: the knobs and figures of the host.
 *
 * Names, units and formats are the stock kernel's; run_cgroups, threads and
 * pages_saved are new. Figures are sums over the books of all groups at the
 * time of reading. Knobs change with the gate held for writing, so no scan
 * under the old value is still running when the write returns.
 */
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "advisor.h"
#include "ksm.h"

/* The books of the host. */
static void ksm_host_sums(struct ksm_sums *sums)
{
	struct ksm_group *group;
	unsigned int seq;
	int tries = 0;

	do {
		seq = ksm_sums_begin(sums);
		rcu_read_lock();
		/* in the order they came online, so parents come first */
		list_for_each_entry_rcu(group, &ksm_groups, queue.link)
			ksm_group_sums(group, sums);
		rcu_read_unlock();
		cond_resched();
	} while (ksm_sums_moved(seq) && ++tries < KSM_SUMS_TRIES);
	ksm_sums_end(&ksm_root_group, sums);
}

/* A knob that is a number with limits. */
static ssize_t ksm_store_uint(unsigned int *knob, const char *buf, size_t count,
			      unsigned int min, unsigned int max)
{
	unsigned int value;
	int err = kstrtouint(buf, 10, &value);

	if (err || value < min || value > max)
		return -EINVAL;
	if (ksm_gate_write_lock())
		return -EINTR;
	WRITE_ONCE(*knob, value);
	ksm_gate_write_unlock();
	ksmd_wake_sleeper();
	return count;
}

static ssize_t ksm_store_bool(bool *knob, const char *buf, size_t count)
{
	bool value;

	if (kstrtobool(buf, &value))
		return -EINVAL;
	if (ksm_gate_write_lock())
		return -EINTR;
	WRITE_ONCE(*knob, value);
	ksm_gate_write_unlock();
	return count;
}

#define KSM_KNOB(name, variable, min, max)				\
static unsigned int * const name##_knob = &(variable);			\
static ssize_t name##_show(struct kobject *kobj,			\
			   struct kobj_attribute *attr, char *buf)	\
{									\
	return sysfs_emit(buf, "%u\n", READ_ONCE(*name##_knob));	\
}									\
static ssize_t name##_store(struct kobject *kobj,			\
			    struct kobj_attribute *attr,		\
			    const char *buf, size_t count)		\
{									\
	return ksm_store_uint(name##_knob, buf, count, min, max);	\
}									\
static struct kobj_attribute name##_attr = __ATTR_RW(name)

#define KSM_SWITCH(name, variable)					\
static bool * const name##_knob = &(variable);				\
static ssize_t name##_show(struct kobject *kobj,			\
			   struct kobj_attribute *attr, char *buf)	\
{									\
	return sysfs_emit(buf, "%u\n", READ_ONCE(*name##_knob));	\
}									\
static ssize_t name##_store(struct kobject *kobj,			\
			    struct kobj_attribute *attr,		\
			    const char *buf, size_t count)		\
{									\
	return ksm_store_bool(name##_knob, buf, count);			\
}									\
static struct kobj_attribute name##_attr = __ATTR_RW(name)

#define KSM_FIGURE(name, expression)					\
static ssize_t name##_show(struct kobject *kobj,			\
			   struct kobj_attribute *attr, char *buf)	\
{									\
	struct ksm_sums sums;						\
									\
	ksm_host_sums(&sums);						\
	return sysfs_emit(buf, "%ld\n", (long)(expression));		\
}									\
static struct kobj_attribute name##_attr = __ATTR_RO(name)

KSM_KNOB(sleep_millisecs, ksm_knobs.sleep_ms, 0, UINT_MAX);
KSM_KNOB(stable_node_chains_prune_millisecs, ksm_knobs.prune_ms, 0, UINT_MAX);
KSM_KNOB(advisor_max_cpu, ksm_advisor.max_cpu, 0, 100);
KSM_KNOB(advisor_min_pages_to_scan, ksm_advisor.min_pages, 0, UINT_MAX);
KSM_KNOB(advisor_max_pages_to_scan, ksm_advisor.max_pages, 0, UINT_MAX);
KSM_KNOB(advisor_target_scan_time, ksm_advisor.target_secs, 1, UINT_MAX);
KSM_SWITCH(use_zero_pages, ksm_knobs.use_zero_pages);
KSM_SWITCH(smart_scan, ksm_knobs.smart_scan);

KSM_FIGURE(pages_shared, sums.shared);
KSM_FIGURE(pages_sharing, sums.gauge[KSM_G_MERGING] - sums.shared);
KSM_FIGURE(pages_unshared, sums.gauge[KSM_G_UNSHARED]);
KSM_FIGURE(pages_volatile, sums.gauge[KSM_G_VOLATILE]);
KSM_FIGURE(pages_saved, ksm_sums_saved(&sums));
KSM_FIGURE(pages_scanned, sums.event[KSM_E_SCANNED]);
KSM_FIGURE(pages_skipped, sums.event[KSM_E_SKIPPED]);
KSM_FIGURE(ksm_zero_pages, sums.gauge[KSM_G_ZERO]);
KSM_FIGURE(general_profit, ksm_sums_profit(&sums));

static ssize_t threads_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n", ksmd_threads());
}

static ssize_t threads_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t count)
{
	unsigned int nr;
	int err;

	if (kstrtouint(buf, 10, &nr))
		return -EINVAL;
	err = ksmd_set_threads(nr);
	return err ? err : count;
}

static struct kobj_attribute threads_attr = __ATTR_RW(threads);

static ssize_t full_scans_show(struct kobject *kobj,
			       struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", ksm_full_scans());
}

static struct kobj_attribute full_scans_attr = __ATTR_RO(full_scans);

static ssize_t stable_node_chains_show(struct kobject *kobj,
				       struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%ld\n", atomic_long_read(&ksm_nr_chains));
}

static struct kobj_attribute stable_node_chains_attr =
	__ATTR_RO(stable_node_chains);

static ssize_t stable_node_dups_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%ld\n", atomic_long_read(&ksm_nr_dups));
}

static struct kobj_attribute stable_node_dups_attr =
	__ATTR_RO(stable_node_dups);

static ssize_t pages_to_scan_show(struct kobject *kobj,
				  struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_knobs.pages_to_scan));
}

/* While the advisor is on, only it sets pages_to_scan. */
static ssize_t pages_to_scan_store(struct kobject *kobj,
				   struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	if (READ_ONCE(ksm_advisor.on))
		return -EINVAL;
	return ksm_store_uint(&ksm_knobs.pages_to_scan, buf, count, 0,
			      UINT_MAX);
}

static struct kobj_attribute pages_to_scan_attr = __ATTR_RW(pages_to_scan);

/* Serializes changes of run and run_cgroups until they have taken effect. */
static DEFINE_MUTEX(ksm_run_mutex);

/*
 * A write of the same value restarts no round: host managers rewrite run every
 * minute, and full_scans would never rise where a round takes longer.
 */
static ssize_t ksm_store_run(unsigned int *knob, const char *buf, size_t count,
			     unsigned int max)
{
	unsigned int old = READ_ONCE(*knob);
	ssize_t ret;

	lockdep_assert_held(&ksm_run_mutex);
	ret = ksm_store_uint(knob, buf, count, 0, max);
	if (ret < 0 || READ_ONCE(*knob) == old)
		return ret;
	ksm_groups_serve();
	ksm_slots_judge();
	return ret;
}

static ssize_t run_show(struct kobject *kobj, struct kobj_attribute *attr,
			char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_knobs.run));
}

static ssize_t run_store(struct kobject *kobj, struct kobj_attribute *attr,
			 const char *buf, size_t count)
{
	ssize_t ret;
	int err = 0;

	if (mutex_lock_killable(&ksm_run_mutex))
		return -EINTR;
	ret = ksm_store_run(&ksm_knobs.run, buf, count, KSM_RUN_UNMERGE);
	if (ret >= 0 && READ_ONCE(ksm_knobs.run) == KSM_RUN_UNMERGE)
		err = ksm_unmerge_all();
	mutex_unlock(&ksm_run_mutex);
	return err ?: ret;
}

static struct kobj_attribute run_attr = __ATTR_RW(run);

static ssize_t run_cgroups_show(struct kobject *kobj,
				struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_knobs.run_cgroups));
}

static ssize_t run_cgroups_store(struct kobject *kobj,
				 struct kobj_attribute *attr,
				 const char *buf, size_t count)
{
	ssize_t ret;

	if (mutex_lock_killable(&ksm_run_mutex))
		return -EINTR;
	ret = ksm_store_run(&ksm_knobs.run_cgroups, buf, count, 1);
	mutex_unlock(&ksm_run_mutex);
	return ret;
}

static struct kobj_attribute run_cgroups_attr = __ATTR_RW(run_cgroups);

/* Knobs that restrict sharing change only while no frame is mapped. */
static ssize_t ksm_store_unshared(void (*set)(unsigned int value),
				  const char *buf, size_t count,
				  unsigned int min, unsigned int max,
				  unsigned int now)
{
	ssize_t ret = count;
	unsigned int value;

	if (kstrtouint(buf, 10, &value) || value < min || value > max)
		return -EINVAL;
	if (value == now)
		return count;
	if (ksm_gate_write_lock())
		return -EINTR;
	if (ksm_frames_forget())
		set(value);
	else
		ret = -EBUSY;
	ksm_gate_write_unlock();
	return ret;
}

static void ksm_set_max_page_sharing(unsigned int value)
{
	WRITE_ONCE(ksm_knobs.max_page_sharing, value);
}

static ssize_t max_page_sharing_show(struct kobject *kobj,
				     struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_knobs.max_page_sharing));
}

static ssize_t max_page_sharing_store(struct kobject *kobj,
				      struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	/* a frame is made to be shared by two */
	return ksm_store_unshared(ksm_set_max_page_sharing, buf, count, 2,
				  INT_MAX,
				  READ_ONCE(ksm_knobs.max_page_sharing));
}

static struct kobj_attribute max_page_sharing_attr =
	__ATTR_RW(max_page_sharing);

#ifdef CONFIG_NUMA
static void ksm_set_merge_across_nodes(unsigned int value)
{
	WRITE_ONCE(ksm_knobs.merge_across_nodes, value);
}

static ssize_t merge_across_nodes_show(struct kobject *kobj,
				       struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_knobs.merge_across_nodes));
}

static ssize_t merge_across_nodes_store(struct kobject *kobj,
					struct kobj_attribute *attr,
					const char *buf, size_t count)
{
	return ksm_store_unshared(ksm_set_merge_across_nodes, buf, count, 0, 1,
				  READ_ONCE(ksm_knobs.merge_across_nodes));
}

static struct kobj_attribute merge_across_nodes_attr =
	__ATTR_RW(merge_across_nodes);
#endif

static ssize_t advisor_mode_show(struct kobject *kobj,
				 struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", READ_ONCE(ksm_advisor.on) ?
			  "none [scan-time]" : "[none] scan-time");
}

static ssize_t advisor_mode_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	bool on = sysfs_streq(buf, "scan-time");

	if (!on && !sysfs_streq(buf, "none"))
		return -EINVAL;
	if (ksm_gate_write_lock())
		return -EINTR;
	if (on != ksm_advisor.on)
		ksm_advisor_set(on);
	ksm_gate_write_unlock();
	return count;
}

static struct kobj_attribute advisor_mode_attr = __ATTR_RW(advisor_mode);

static struct attribute *ksm_attrs[] = {
	&advisor_max_cpu_attr.attr,
	&advisor_max_pages_to_scan_attr.attr,
	&advisor_min_pages_to_scan_attr.attr,
	&advisor_mode_attr.attr,
	&advisor_target_scan_time_attr.attr,
	&full_scans_attr.attr,
	&general_profit_attr.attr,
	&ksm_zero_pages_attr.attr,
	&max_page_sharing_attr.attr,
#ifdef CONFIG_NUMA
	&merge_across_nodes_attr.attr,
#endif
	&pages_saved_attr.attr,
	&pages_scanned_attr.attr,
	&pages_shared_attr.attr,
	&pages_sharing_attr.attr,
	&pages_skipped_attr.attr,
	&pages_to_scan_attr.attr,
	&pages_unshared_attr.attr,
	&pages_volatile_attr.attr,
	&run_attr.attr,
	&run_cgroups_attr.attr,
	&sleep_millisecs_attr.attr,
	&smart_scan_attr.attr,
	&stable_node_chains_attr.attr,
	&stable_node_chains_prune_millisecs_attr.attr,
	&stable_node_dups_attr.attr,
	&threads_attr.attr,
	&use_zero_pages_attr.attr,
	NULL,
};

static const struct attribute_group ksm_attr_group = {
	.name = "ksm",
	.attrs = ksm_attrs,
};

int __init ksm_sysfs_init(void)
{
	return sysfs_create_group(mm_kobj, &ksm_attr_group);
}
