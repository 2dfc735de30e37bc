/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __LINUX_KSM_CGROUP_H
#define __LINUX_KSM_CGROUP_H
/*
 * The samepage merging engine as kernel/cgroup/ksm.c and ksm-files.c see it:
 * one group for each memory cgroup, its configuration, its books, and the
 * operations that a write to a memory.ksm* file needs.
 *
 * A group is opaque here. The memory controller owns it through memcg->ksm,
 * from ksm_memcg_online() to ksm_memcg_free().
 */

#include <linux/bits.h>
#include <linux/err.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct ksm_domain;
struct ksm_group;
struct mem_cgroup;
struct mm_struct;

/* Values of memory.ksm. */
enum ksm_setting {
	KSM_INHERIT,
	KSM_NEVER,
	KSM_MADVISE,
	KSM_ALWAYS,
};

/* Words of memory.ksm.types. */
enum ksm_type {
	KSM_TYPE_ANON,
	KSM_TYPE_ZERO,
	KSM_TYPE_DONTDUMP,
	KSM_TYPE_LOCKED,
	KSM_TYPE_UNDUMPABLE,
	NR_KSM_TYPES,
};

/* What is merged: equal pages, pages of zeroes. */
#define KSM_T_ANON		BIT(KSM_TYPE_ANON)
#define KSM_T_ZERO		BIT(KSM_TYPE_ZERO)
/* What a 1 takes in that it leaves alone otherwise. */
#define KSM_T_DONTDUMP		BIT(KSM_TYPE_DONTDUMP)
#define KSM_T_LOCKED		BIT(KSM_TYPE_LOCKED)
#define KSM_T_UNDUMPABLE	BIT(KSM_TYPE_UNDUMPABLE)
#define KSM_T_WIDENING		(KSM_T_DONTDUMP | KSM_T_LOCKED | \
				 KSM_T_UNDUMPABLE)
/* No list of its own: all words that are in force in the parent. */
#define KSM_T_INHERIT		(~0U)

/* The value of ksm_config.join where memory.ksm.domain is "parent". */
#define KSM_JOIN_PARENT		((struct ksm_domain *)ERR_PTR(-EEXIST))

/**
 * struct ksm_config - what the files of a cgroup say
 * @setting: the value of memory.ksm
 * @join: the domain that the cgroup joins: KSM_JOIN_PARENT; one with a name,
 *	with a reference; NULL for "self"
 * @granted: @setting was written through a file opened with CAP_SYS_ADMIN in
 *	the initial user namespace
 * @types: the words of memory.ksm.types, KSM_T_*, or KSM_T_INHERIT
 * @granted_types: those of @types that were in force after a write through such
 *	a file; the others count only if they are in force in the parent
 *
 * Changes under ksm_config_mutex; all but @granted are also read without it, a
 * domain with a name under RCU.
 */
struct ksm_config {
	enum ksm_setting setting;
	struct ksm_domain *join;
	bool granted;
	unsigned int types;
	unsigned int granted_types;
};

/*
 * Makes one change to a configuration. @to holds the new values, and in @granted
 * whether the write is granted, which a change of @types goes by as well.
 */
typedef void (*ksm_change_fn)(struct ksm_config *config,
			      const struct ksm_config *to);

/* Gauges: they move with the process. */
enum ksm_gauge {
	KSM_G_MERGING,		/* mappings of merged frames */
	KSM_G_ZERO,		/* zero page mappings that merging placed */
	KSM_G_UNSHARED,		/* unique and watched */
	KSM_G_VOLATILE,		/* seen once, or changed since */
	KSM_G_FOREIGN,		/* part of MERGING: frames of another domain */
	KSM_G_PENDING,		/* part of MERGING and ZERO: to be unshared */
	KSM_G_RELATED,		/* part of MERGING and ZERO: fork shares it */
	KSM_G_METADATA,		/* bytes */
	KSM_G_PROCESSES,	/* slots that take part */
	NR_KSM_GAUGES,
};

/* Events: they stay with the group in which they happened. */
enum ksm_event {
	KSM_E_SCANNED,
	KSM_E_SKIPPED,
	KSM_E_MERGED,
	KSM_E_UNMERGED,
	KSM_E_COW,
	KSM_E_FAILED,
	KSM_E_SCAN_USEC,
	KSM_E_FULL_SCANS,
	NR_KSM_EVENTS,
};

/**
 * struct ksm_sums - the books of one or more groups
 * @gauge: sums of the slots' gauges, in pages; KSM_G_METADATA in bytes
 * @event: sums of events; KSM_E_SCAN_USEC in microseconds
 * @shared: merged frames charged to the groups, in pages
 *
 * Lives on the reader's stack.
 */
struct ksm_sums {
	long gauge[NR_KSM_GAUGES];
	unsigned long event[NR_KSM_EVENTS];
	long shared;
};

/* Settings and the shape of the group tree. */
extern struct mutex ksm_config_mutex;
void ksm_config_lock(void);
void ksm_config_unlock(void);

/* Life of a group. */
bool ksm_ready(void);
struct ksm_group *ksm_group_of(struct mem_cgroup *memcg);
bool ksm_group_is_root(const struct ksm_group *group);
struct mem_cgroup *ksm_group_memcg(const struct ksm_group *group);
struct ksm_group *ksm_group_create(struct ksm_group *parent,
				   struct mem_cgroup *memcg);
bool ksm_group_is_offline(const struct ksm_group *group);
void ksm_group_offline(struct ksm_group *group);
void ksm_group_destroy(struct ksm_group *group);

/* Configuration. */
int ksm_group_write_lock(struct ksm_group *group);
void ksm_group_write_unlock(struct ksm_group *group);
enum ksm_setting ksm_group_setting(const struct ksm_group *group);
struct ksm_domain *ksm_group_join(const struct ksm_group *group);
struct ksm_domain *ksm_group_change_config(struct ksm_group *group,
					   ksm_change_fn change,
					   const struct ksm_config *to);
bool ksm_group_refresh(struct ksm_group *group);
int ksm_group_need_domain(struct ksm_group *group);
enum ksm_setting ksm_group_effective(const struct ksm_group *group);
bool ksm_group_inherits_types(const struct ksm_group *group);
unsigned int ksm_group_types(const struct ksm_group *group);
int ksm_group_edit_types(const struct ksm_group *group, unsigned int add,
			 unsigned int del, bool granted, struct ksm_config *to);
u32 ksm_group_weight(const struct ksm_group *group);
int ksm_group_set_weight(struct ksm_group *group, u64 weight);
void ksm_group_reset_weight(struct ksm_group *group);

/* Merge domains with a name. */
#define KSM_DOMAIN_NAME_MAX	63
bool ksm_domain_name_valid(const char *name);
struct ksm_domain *ksm_domain_get(const char *name);
const char *ksm_domain_name(const struct ksm_domain *domain);
void ksm_domain_put(struct ksm_domain *domain);

/* What a change of configuration takes. */
int ksm_mm_register(struct mm_struct *mm, gfp_t gfp);
int ksm_group_undo(struct ksm_group *top);

/* Groups whose processes a worker in kernel/cgroup/ksm.c has to register. */
extern struct work_struct ksm_enlist_work;
void ksm_group_enlist(struct ksm_group *group);
struct ksm_group *ksm_enlist_next(void);

/* Scanning on demand. */
int ksm_scan_subtree(struct ksm_group *top, unsigned long pages);

/* Books. */
#define KSM_SUMS_TRIES	3
unsigned int ksm_sums_begin(struct ksm_sums *sums);
void ksm_group_sums(struct ksm_group *group, struct ksm_sums *sums);
bool ksm_sums_moved(unsigned int seq);
void ksm_sums_end(struct ksm_group *top, struct ksm_sums *sums);
long ksm_sums_saved(const struct ksm_sums *sums);
long ksm_sums_profit(const struct ksm_sums *sums);
unsigned long ksm_full_scans(void);

#endif /* __LINUX_KSM_CGROUP_H */
