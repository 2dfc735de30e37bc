// SPDX-License-Identifier: GPL-2.0
/*
 * From what a person calls a cgroup to its path.
 *
 * A path, a PID, a systemd unit, a container's id or its name: tried in this
 * order. What fits in two ways is refused and both are named, as merging the
 * wrong container's memory would be worse than asking again.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "group.h"
#include "target.h"
#include "tool.h"

#define MOST_FOUND 8

struct search {
	const char *word;
	bool (*fits)(const struct group *group, const char *word);
	const struct group *found[MOST_FOUND];
	size_t nr;
};

static bool group_exists(const char *cgroup)
{
	char path[8192];

	return cgroup_file(path, sizeof(path), cgroup, "cgroup.procs") &&
	       root_exists(path);
}

/* "/sys/fs/cgroup/box/" and "/box" are the same, and so is "box". */
static bool as_path(const char *word, char *buf, size_t size)
{
	const char *mount = cgroup_mount();
	char full[4096];
	size_t length;

	if (*word == '.' && !root_recorded() && realpath(word, full))
		word = full;
	length = mount ? strlen(mount) : 0;
	if (length > 1 && !strncmp(word, mount, length) &&
	    (!word[length] || word[length] == '/'))
		word += length;
	snprintf(buf, size, "%s%s", *word == '/' ? "" : "/", word);
	length = strlen(buf);
	while (length > 1 && buf[length - 1] == '/')
		buf[--length] = '\0';
	return group_exists(buf);
}

static bool all(const char *word, int (*is)(int))
{
	const char *at;

	for (at = word; *at; at++)
		if (!is((unsigned char)*at))
			return false;
	return at > word;
}

static bool is_unit(const struct group *group, const char *word)
{
	size_t length = strlen(word);

	return !strcmp(group->name, word) ||
	       (!strncmp(group->name, word, length) &&
		!strcmp(group->name + length, ".service"));
}

/*
 * The directory of a container is named by its id: libpod-ID.scope,
 * docker-ID.scope, libpod-ID, docker/ID and the like. podman's conmon-ID is
 * the process that looks after it, not the container.
 */
static bool is_container(const struct group *group, const char *word)
{
	const char *id = strrchr(group->name, '-');
	size_t length;

	if (strstr(group->name, "conmon"))
		return false;
	id = id ? id + 1 : group->name;
	for (length = 0; isxdigit((unsigned char)id[length]); length++)
		;
	return length == 64 && !strncmp(id, word, strlen(word)) &&
	       (!id[length] || !strcmp(id + length, ".scope"));
}

static bool is_below(const struct group *group, const struct group *above)
{
	for (; group; group = group->parent)
		if (group == above)
			return true;
	return false;
}

/* What is below one that was found belongs to it: a unit's own subgroups. */
static void look(const struct tree *tree, struct search *search)
{
	const struct group *group;
	size_t i, k;

	for (i = 0; i < tree->nr; i++) {
		group = tree->groups[i];
		if (!search->fits(group, search->word))
			continue;
		for (k = 0; k < search->nr; k++)
			if (is_below(group, search->found[k]))
				break;
		if (k == search->nr && search->nr < MOST_FOUND)
			search->found[search->nr++] = group;
	}
}

/* Returns how many were found, or -1; one of them is in @buf. */
static int search_tree(const char *word, const char *by,
		       bool (*fits)(const struct group *, const char *),
		       char *buf, size_t size)
{
	struct search search = { .word = by, .fits = fits };
	struct tree tree;
	size_t i;

	if (tree_read(&tree, "/", 0))
		return -1;
	look(&tree, &search);
	if (search.nr)
		snprintf(buf, size, "%s", search.found[0]->path);
	if (search.nr > 1) {
		complain("'%s' fits more than one cgroup; give the path of the one that is meant:",
			 word);
		for (i = 0; i < search.nr; i++)
			fprintf(stderr, "  %s\n", search.found[i]->path);
	}
	i = search.nr;
	tree_free(&tree);
	return i;
}

/* The runtime's own answer, as only it knows its containers' names. */
static bool ask_runtime(const char *runtime, const char *name, char *id,
			size_t size)
{
	int fds[2], status, null;
	size_t nr = 0;
	ssize_t got;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC))
		return false;
	child = fork();
	if (!child) {
		null = open("/dev/null", O_RDWR);
		dup2(null, STDIN_FILENO);
		dup2(null, STDERR_FILENO);
		dup2(fds[1], STDOUT_FILENO);
		execlp(runtime, runtime, "inspect", "--type", "container",
		       "--format", "{{.Id}}", "--", name, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	/* To the end: who writes to a pipe that was closed is killed. */
	while (child > 0 && nr < size - 1) {
		got = read(fds[0], id + nr, size - 1 - nr);
		if (got <= 0)
			break;
		nr += got;
	}
	close(fds[0]);
	if (child < 0 || waitpid(child, &status, 0) < 0 || status || !nr)
		return false;
	id[nr] = '\0';
	id[strcspn(id, "\n")] = '\0';
	return strlen(id) == 64 && all(id, isxdigit);
}

static int search_runtimes(const char *name, char *buf, size_t size)
{
	static const char * const runtimes[] = { "podman", "docker" };
	char id[128];
	size_t i;
	int nr;

	for (i = 0; i < ARRAY_SIZE(runtimes); i++) {
		if (!ask_runtime(runtimes[i], name, id, sizeof(id)))
			continue;
		nr = search_tree(name, id, is_container, buf, size);
		if (!nr)
			complain("%s knows a container '%s', but it is not running: %s start %s",
				 runtimes[i], name, runtimes[i], name);
		return nr ? nr : -1;
	}
	return 0;
}

static int from_pid(const char *word, char *buf, size_t size)
{
	char path[64];

	if (!process_cgroup(strtol(word, NULL, 10), buf, size))
		return 0;
	snprintf(path, sizeof(path), "/proc/%s/cgroup", word);
	if (errno == ENOENT && root_exists(path))
		complain("%s: the process is in no cgroup of version 2", path);
	else
		complain("%s: there is no such process", path);
	return -1;
}

/*
 * target_cgroup - the path in @buf
 *
 * Returns 0, or -1 after saying what is wrong.
 */
int target_cgroup(const char *word, char *buf, size_t size)
{
	char path[8192];
	int nr;

	if (!cgroup_mount()) {
		complain("%s",
			 "/proc/mounts: no cgroup version 2 is mounted: mount -t cgroup2 none /sys/fs/cgroup");
		return -1;
	}
	if (all(word, isdigit) && strlen(word) < 10)
		return from_pid(word, buf, size);
	if (as_path(word, buf, size))
		return 0;
	if (*word == '/' || *word == '.') {
		cgroup_file(path, sizeof(path), buf, "");
		complain_file(path, USE_READ, ENOENT);
		return -1;
	}
	nr = search_tree(word, word, is_unit, buf, size);
	if (!nr && strlen(word) >= 4 && all(word, isxdigit))
		nr = search_tree(word, word, is_container, buf, size);
	if (!nr)
		nr = search_runtimes(word, buf, size);
	if (!nr)
		complain("'%s': %s", word,
			 "no cgroup, unit, running container or process has this name; 'ksm-cgroup list' shows the cgroups there are");
	return nr == 1 ? 0 : -1;
}
