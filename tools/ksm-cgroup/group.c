// SPDX-License-Identifier: GPL-2.0
/*
 * Reading the tree of cgroups, and whose domain a cgroup is in.
 *
 * A tree changes while it is read: a cgroup that goes is left out, without a
 * word, as it would be if the reading had begun a moment later.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "group.h"
#include "tool.h"

static const char * const setting_names[] = {
	[SETTING_UNKNOWN] = NULL,
	[SETTING_INHERIT] = "inherit",
	[SETTING_OFF] = "0",
	[SETTING_MADVISE] = "madvise",
	[SETTING_ON] = "1",
};

/* setting_name - NULL if it is not known */
const char *setting_name(enum setting setting)
{
	return setting_names[setting];
}

static enum setting read_setting(int dir, const char *file)
{
	char text[32];
	size_t i;

	if (read_at(dir, file, text, sizeof(text)) > 0)
		for (i = SETTING_INHERIT; i < ARRAY_SIZE(setting_names); i++)
			if (!strcmp(text, setting_names[i]))
				return i;
	return SETTING_UNKNOWN;
}

/* kernel_is_ours - the root cgroup has the files, if any has them */
bool kernel_is_ours(void)
{
	char path[4096];

	return cgroup_file(path, sizeof(path), "/", "memory.ksm") &&
	       root_exists(path);
}

/*
 * types_in_force - the words of memory.ksm.types that hold in a cgroup
 *
 * They are those of the nearest cgroup that has a list, or what every kernel
 * does without one. One without the memory controller has no file.
 */
void types_in_force(const char *cgroup, char *buf, size_t size)
{
	char path[8192], name[4096], *slash;

	snprintf(name, sizeof(name), "%s", cgroup);
	for (;;) {
		cgroup_file(path, sizeof(path), name, "memory.ksm.types");
		if (root_read(path, buf, size) >= 0 && strcmp(buf, "inherit"))
			return;
		slash = strrchr(name, '/');
		if (!slash || !name[1])
			break;
		slash[slash == name] = '\0';
	}
	snprintf(buf, size, "anon");
}

static void read_group(struct group *group, int dir, unsigned int parts)
{
	long long weight;
	char text[4096];

	if (parts & TREE_SETTINGS) {
		group->own = read_setting(dir, "memory.ksm");
		group->effective = read_setting(dir, "memory.ksm.effective");
		if (read_at(dir, "memory.ksm.domain", text, sizeof(text)) > 0)
			snprintf(group->join, sizeof(group->join), "%.*s",
				 JOIN_SIZE - 1, text);
		if (read_at(dir, "memory.ksm.types", text, sizeof(text)) >= 0)
			group->types = xstrdup(text);
		if (!read_number_at(dir, "memory.ksm.weight", &weight))
			group->weight = weight;
		if (read_at(dir, "cgroup.type", text, sizeof(text)) > 0)
			group->threaded = !strcmp(text, "threaded");
	}
	if (parts & TREE_STATS &&
	    read_at(dir, "memory.ksm.stat", text, sizeof(text)) > 0)
		stats_parse(&group->stats, text);
	if (parts & TREE_MEMORY)
		read_number_at(dir, "memory.current", &group->memory);
}

static struct group *new_group(struct tree *tree, struct group *parent,
			       const char *path)
{
	struct group *group = xalloc(sizeof(*group));

	group->path = xstrdup(path);
	group->name = *path && path[1] ? strrchr(group->path, '/') + 1 : group->path;
	group->parent = parent;
	group->memory = -1;
	if (tree->nr == tree->room) {
		tree->room = tree->room ? 2 * tree->room : 64;
		tree->groups = xrealloc(tree->groups,
					tree->room * sizeof(*tree->groups));
	}
	tree->groups[tree->nr++] = group;
	return group;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char * const *)a, *(char * const *)b);
}

/* The names of the directories in @dir, sorted, as readdir() has no order. */
static size_t subdirectories(int dir, char ***names)
{
	size_t nr = 0, room = 0;
	struct dirent *entry;
	DIR *stream;
	int fd;

	*names = NULL;
	fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	stream = fd < 0 ? NULL : fdopendir(fd);
	if (!stream)
		return 0;
	while ((entry = readdir(stream))) {
		if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") ||
		    !strcmp(entry->d_name, ".."))
			continue;
		if (nr == room) {
			room = room ? 2 * room : 16;
			*names = xrealloc(*names, room * sizeof(**names));
		}
		(*names)[nr++] = xstrdup(entry->d_name);
	}
	closedir(stream);
	if (nr)
		qsort(*names, nr, sizeof(**names), by_name);
	return nr;
}

static void read_below(struct tree *tree, struct group *group, int dir,
		       unsigned int parts)
{
	struct group *child, **tail = &group->child;
	size_t nr, i;
	char **names;
	char *path;
	int fd;

	nr = subdirectories(dir, &names);
	for (i = 0; i < nr; i++) {
		fd = openat(dir, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			path = xasprintf("%s/%s", group->path[1] ? group->path : "",
					 names[i]);
			child = new_group(tree, group, path);
			free(path);
			read_group(child, fd, parts);
			*tail = child;
			tail = &child->next;
			read_below(tree, child, fd, parts);
			close(fd);
		}
		free(names[i]);
	}
	free(names);
}

/* The ancestors of @top from the root on, without their figures. */
static struct group *read_ancestors(struct tree *tree, const char *top)
{
	struct group *group = NULL, *parent = NULL;
	char path[4096], file[8192];
	size_t length;
	int fd;

	for (length = 0; top[1]; length += strcspn(top + length, "/")) {
		snprintf(path, sizeof(path), "%.*s", (int)length, top);
		cgroup_file(file, sizeof(file), length ? path : "/", "");
		fd = root_open(file, O_RDONLY | O_DIRECTORY);
		if (fd < 0)
			break;
		group = new_group(tree, parent, length ? path : "/");
		group->ancestor = true;
		read_group(group, fd, TREE_SETTINGS);
		close(fd);
		if (parent)
			parent->child = group;
		parent = group;
		length++;
		if (!strchr(top + length, '/'))
			break;
	}
	return group;
}

/*
 * tree_read - @top, what is below it, and its ancestors' settings
 *
 * Returns 0, or -1 after saying what is wrong.
 */
int tree_read(struct tree *tree, const char *top, unsigned int parts)
{
	struct group *parent, *group;
	char path[8192];
	int fd;

	memset(tree, 0, sizeof(*tree));
	if (!cgroup_file(path, sizeof(path), top, "")) {
		complain("%s",
			 "no cgroup version 2 is mounted: mount -t cgroup2 none /sys/fs/cgroup (or boot with systemd.unified_cgroup_hierarchy=1)");
		return -1;
	}
	fd = root_open(path, O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		complain_file(path, USE_READ, errno);
		return -1;
	}
	tree->ours = kernel_is_ours();
	parent = read_ancestors(tree, top);
	group = new_group(tree, parent, top);
	if (parent)
		parent->child = group;
	read_group(group, fd, parts);
	read_below(tree, group, fd, parts);
	close(fd);
	if (parts & TREE_STATS && !tree->ours)
		stats_of_processes(tree);
	return 0;
}

void tree_free(struct tree *tree)
{
	size_t i;

	for (i = 0; i < tree->nr; i++) {
		free(tree->groups[i]->path);
		free(tree->groups[i]->types);
		free(tree->groups[i]);
	}
	free(tree->groups);
	memset(tree, 0, sizeof(*tree));
}

struct group *tree_find(const struct tree *tree, const char *path)
{
	size_t i;

	for (i = 0; i < tree->nr; i++)
		if (!strcmp(tree->groups[i]->path, path))
			return tree->groups[i];
	return NULL;
}

static bool asks(const struct group *group)
{
	return group->own == SETTING_ON || group->own == SETTING_MADVISE;
}

/*
 * counts - does the cgroup's own value have an effect?
 *
 * One that is not granted may have none. That shows in the value in force,
 * unless a 0 hides it. A "madvise" that does not count cannot be told from one
 * that does, as "madvise" is in force there in both cases.
 */
static bool counts(const struct group *group)
{
	return group->effective == group->own ||
	       group->effective == SETTING_OFF ||
	       group->effective == SETTING_UNKNOWN;
}

/*
 * not_granted - the cgroup whose value was to be in force here and is not
 *
 * Returns @group or an ancestor, or NULL. Needs the ancestors, which
 * tree_read() reads.
 */
const struct group *not_granted(const struct group *group)
{
	while (group->own == SETTING_INHERIT && group->parent)
		group = group->parent;
	return asks(group) && !counts(group) ? group : NULL;
}

/* chooses_domain - it does not just follow the cgroup above */
bool chooses_domain(const struct group *group)
{
	return asks(group) && counts(group) && *group->join &&
	       strcmp(group->join, "parent");
}

/*
 * domain_of - the merge domain: "@" and its name, or the cgroup at its top
 *
 * Needs the ancestors, which tree_read() reads.
 */
const char *domain_of(const struct group *group)
{
	while (group->parent && !chooses_domain(group))
		group = group->parent;
	if (*group->join == '@' && chooses_domain(group))
		return group->join;
	return group->path;
}

/*
 * obeys_run - is the cgroup scanned as run says, and not as run_cgroups does?
 *
 * run_cgroups is for cgroups at or below one whose own value counts; the root's
 * only if it is 1. The root of a cgroup namespace may inherit that 1. Needs the
 * ancestors, which tree_read() reads.
 */
bool obeys_run(const struct group *group)
{
	for (; group->parent; group = group->parent)
		if (asks(group) && counts(group))
			return false;
	return group->effective != SETTING_ON;
}
