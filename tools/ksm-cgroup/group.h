/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A cgroup as this tool knows it, and the tree of them.
 *
 * It is called a group here since libcgroup has a struct cgroup of its own.
 */
#ifndef KSM_GROUP_H
#define KSM_GROUP_H

#include <stdbool.h>
#include <sys/types.h>

enum setting {
	SETTING_UNKNOWN,
	SETTING_INHERIT,
	SETTING_OFF,
	SETTING_MADVISE,
	SETTING_ON,
};

/* The keys of memory.ksm.stat; stat_names[] has their names. */
enum stat_key {
	STAT_MERGING,
	STAT_SHARED,
	STAT_SHARING,
	STAT_ZERO,
	STAT_UNSHARED,
	STAT_VOLATILE,
	STAT_FOREIGN,
	STAT_PENDING,
	STAT_SAVED,
	STAT_METADATA,
	STAT_PROFIT,
	STAT_PROCESSES,
	STAT_SCANNED,
	STAT_SKIPPED,
	STAT_MERGED,
	STAT_UNMERGED,
	STAT_COW,
	STAT_FAILURES,
	STAT_CPU,
	STAT_FULL_SCANS,
	NR_STATS,
};

/**
 * struct stats - figures of one cgroup or of one process
 * @value: by stat_key
 * @known: bit n is set where @value[n] was read
 */
struct stats {
	long long value[NR_STATS];
	unsigned int known;
};

/* "self", "parent", or "@" and a name of at most 63 characters. */
#define JOIN_SIZE	65

/**
 * struct group - one cgroup
 * @path: from the mount on; "/" is the root
 * @name: the last part of @path
 * @parent: NULL for the root, and for the top where no ancestors were read
 * @child: the first child, in the order of the list; @next is its sibling
 * @own: what memory.ksm says
 * @effective: what memory.ksm.effective says
 * @join: what memory.ksm.domain says; "" if there is no such file
 * @types: what memory.ksm.types says; NULL if there is no such file
 * @weight: memory.ksm.weight; 0 if there is no such file
 * @memory: memory.current in bytes; -1 if there is no such file
 * @threaded: it can't have files of the memory controller
 * @ancestor: read for the sake of what is below; not asked for
 * @stats: memory.ksm.stat, or what the processes say on other kernels
 */
struct group {
	char *path;
	const char *name;
	struct group *parent;
	struct group *child;
	struct group *next;
	enum setting own;
	enum setting effective;
	char join[JOIN_SIZE];
	char *types;
	int weight;
	long long memory;
	bool threaded;
	bool ancestor;
	struct stats stats;
};

/**
 * struct tree - a cgroup, all below it and the line of its ancestors
 * @groups: parents come before their children
 * @nr: how many
 * @room: how many fit into @groups
 * @ours: the kernel has memory.ksm
 */
struct tree {
	struct group **groups;
	size_t nr;
	size_t room;
	bool ours;
};

/* What tree_read() reads besides names. */
enum tree_parts {
	TREE_SETTINGS = 1,
	TREE_STATS = 2,
	TREE_MEMORY = 4,
	TREE_ALL = 7,
};

extern const char * const stat_names[NR_STATS];

/* stats.c */
void stats_parse(struct stats *stats, const char *text);
void stats_set(struct stats *stats, enum stat_key key, long long value);
void stats_add(struct stats *sum, const struct stats *more);
bool stats_has(const struct stats *stats, enum stat_key key);
void stats_of_host(struct stats *stats);

/* group.c */
int tree_read(struct tree *tree, const char *top, unsigned int parts);
void tree_free(struct tree *tree);
struct group *tree_find(const struct tree *tree, const char *path);
const struct group *not_granted(const struct group *group);
bool chooses_domain(const struct group *group);
const char *domain_of(const struct group *group);
bool obeys_run(const struct group *group);
const char *setting_name(enum setting setting);
bool kernel_is_ours(void);
void types_in_force(const char *cgroup, char *buf, size_t size);

/* process.c */
struct process {
	pid_t pid;
	char name[32];
	char policy[16];
	bool any;
	bool mergeable;
	bool knows_any;
	bool knows_mergeable;
	struct stats stats;
};

typedef void (*pid_fn)(pid_t pid, void *data);

int process_read(pid_t pid, struct process *process);
int process_cgroup(pid_t pid, char *buf, size_t size);
int each_pid(int dir, pid_fn fn, void *data);
int each_pid_below(const char *cgroup, pid_fn fn, void *data);
void stats_of_processes(struct tree *tree);

#endif /* KSM_GROUP_H */
