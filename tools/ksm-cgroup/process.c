// SPDX-License-Identifier: GPL-2.0
/*
 * What processes say of themselves: /proc/PID/ksm_stat, and on kernels
 * without memory.ksm the sums of that over the cgroups.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "group.h"
#include "tool.h"

/* What a page costs that the stock kernel looks at: its struct ksm_rmap_item. */
#define STOCK_ITEM_BYTES 64

static bool key_number(const char *text, const char *key, long long *number)
{
	char value[32];

	if (!find_key(text, key, value, sizeof(value)))
		return false;
	*number = strtoll(value, NULL, 10);
	return true;
}

static bool key_yes(const char *text, const char *key, bool *yes)
{
	char value[16];

	if (!find_key(text, key, value, sizeof(value)))
		return false;
	*yes = !strcmp(value, "yes");
	return true;
}

/*
 * process_read - the figures of one process
 *
 * Returns 0, or -1 with errno if the process can't be read or the kernel has
 * nothing to say of it.
 */
int process_read(pid_t pid, struct process *process)
{
	char path[64], text[1024];
	long long number;

	memset(process, 0, sizeof(*process));
	process->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	root_read(path, process->name, sizeof(process->name));
	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid);
	if (root_read(path, text, sizeof(text)) < 0)
		return -1;
	if (key_number(text, "ksm_merging_pages", &number))
		stats_set(&process->stats, STAT_MERGING, number);
	if (key_number(text, "ksm_zero_pages", &number))
		stats_set(&process->stats, STAT_ZERO, number);
	if (key_number(text, "ksm_rmap_items", &number))
		stats_set(&process->stats, STAT_METADATA, number * STOCK_ITEM_BYTES);
	if (key_number(text, "ksm_process_profit", &number))
		stats_set(&process->stats, STAT_PROFIT, number);
	process->knows_any = key_yes(text, "ksm_merge_any", &process->any);
	process->knows_mergeable = key_yes(text, "ksm_mergeable",
					   &process->mergeable);
	find_key(text, "ksm_policy", process->policy, sizeof(process->policy));
	if (process->knows_mergeable)
		stats_set(&process->stats, STAT_PROCESSES,
			  process->any || process->mergeable);
	return 0;
}

/* process_cgroup - the path in version 2's hierarchy, of us if @pid is 0 */
int process_cgroup(pid_t pid, char *buf, size_t size)
{
	char path[64] = "/proc/self/cgroup", text[8192], *line;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (root_read(path, text, sizeof(text)) < 0)
		return -1;
	line = strstr(text, "0::/");
	if (!line || (line != text && line[-1] != '\n')) {
		errno = ENOENT;
		return -1;
	}
	line[strcspn(line, "\n")] = '\0';
	snprintf(buf, size, "%s", line + 3);
	return 0;
}

/* each_pid - the processes of one cgroup, by its open directory */
int each_pid(int dir, pid_fn fn, void *data)
{
	long long pid;
	FILE *procs;
	int fd;

	fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	procs = fd < 0 ? NULL : fdopen(fd, "r");
	if (!procs)
		return -1;
	/* One of another pid namespace shows as 0. */
	while (fscanf(procs, "%lld", &pid) == 1)
		if (pid > 0)
			fn(pid, data);
	fclose(procs);
	return 0;
}

/* each_pid_below - those of a cgroup and of all below it */
int each_pid_below(const char *cgroup, pid_fn fn, void *data)
{
	char path[8192];
	struct tree tree;
	size_t i;
	int dir;

	if (tree_read(&tree, cgroup, 0))
		return -1;
	for (i = 0; i < tree.nr; i++) {
		if (tree.groups[i]->ancestor)
			continue;
		cgroup_file(path, sizeof(path), tree.groups[i]->path, "");
		dir = root_open(path, O_RDONLY | O_DIRECTORY);
		if (dir < 0)
			continue;
		each_pid(dir, fn, data);
		close(dir);
	}
	tree_free(&tree);
	return 0;
}

static void add_process(pid_t pid, void *data)
{
	struct process process;

	if (!process_read(pid, &process))
		stats_add(data, &process.stats);
}

/*
 * stats_of_processes - on a kernel without memory.ksm.stat
 *
 * Only what processes say can be added up. The root has the host's figures.
 */
void stats_of_processes(struct tree *tree)
{
	struct group *group;
	char path[8192];
	size_t i;
	int dir;

	for (i = 0; i < tree->nr; i++) {
		group = tree->groups[i];
		cgroup_file(path, sizeof(path), group->path, "");
		dir = group->ancestor ? -1 : root_open(path, O_RDONLY | O_DIRECTORY);
		if (dir < 0)
			continue;
		each_pid(dir, add_process, &group->stats);
		close(dir);
	}
	for (i = tree->nr; i-- > 0;)
		if (tree->groups[i]->parent && !tree->groups[i]->ancestor)
			stats_add(&tree->groups[i]->parent->stats,
				  &tree->groups[i]->stats);
	for (i = 0; i < tree->nr; i++) {
		group = tree->groups[i];
		if (!group->parent && !group->ancestor)
			stats_of_host(&group->stats);
	}
}
