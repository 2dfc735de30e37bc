// SPDX-License-Identifier: GPL-2.0
/*
 * Reading the kernel's files below a root directory.
 *
 * The root is / unless KSM_CGROUP_ROOT names another one, in which a copy of
 * the files was recorded. That is how the tests run without a kernel of ours,
 * and how a report from somebody else's machine can be looked at. It is also
 * why trees are read here and not by libcgroup, which knows mounted ones only
 * and opens every file of every controller in them.
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

bool root_recorded(void)
{
	const char *root = getenv("KSM_CGROUP_ROOT");

	return root && *root;
}

static int root_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(root_recorded() ? getenv("KSM_CGROUP_ROOT") : "/",
			  O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd;
}

/* root_open - an absolute path, below the root */
int root_open(const char *path, int flags)
{
	while (*path == '/')
		path++;
	return openat(root_fd(), *path ? path : ".", flags | O_CLOEXEC);
}

FILE *root_fopen(const char *path)
{
	int fd = root_open(path, O_RDONLY);

	return fd < 0 ? NULL : fdopen(fd, "r");
}

bool root_exists(const char *path)
{
	while (*path == '/')
		path++;
	return !faccessat(root_fd(), *path ? path : ".", F_OK, 0);
}

/*
 * read_at - a small file, without its last newline
 *
 * Longer files are cut. Returns the length, or -1 with errno set.
 */
ssize_t read_at(int dir, const char *name, char *buf, size_t size)
{
	ssize_t got, length = 0;
	int error, fd;

	buf[0] = '\0';
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	do {
		got = read(fd, buf + length, size - 1 - length);
		if (got > 0)
			length += got;
	} while (got > 0 && length < (ssize_t)size - 1);
	error = errno;
	close(fd);
	if (got < 0) {
		errno = error;
		return -1;
	}
	if (length && buf[length - 1] == '\n')
		length--;
	buf[length] = '\0';
	return length;
}

int read_number_at(int dir, const char *name, long long *number)
{
	char buf[64], *end;

	if (read_at(dir, name, buf, sizeof(buf)) <= 0)
		return -1;
	*number = strtoll(buf, &end, 10);
	return *end ? -1 : 0;
}

ssize_t root_read(const char *path, char *buf, size_t size)
{
	while (*path == '/')
		path++;
	return read_at(root_fd(), path, buf, size);
}

int root_number(const char *path, long long *number)
{
	while (*path == '/')
		path++;
	return read_number_at(root_fd(), path, number);
}

/* find_key - the value in a line "key value" or "key: value" */
bool find_key(const char *text, const char *key, char *value, size_t size)
{
	size_t length = strlen(key);
	const char *line, *end;

	for (line = text; line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (strncmp(line, key, length) || !line[length] ||
		    !strchr(" \t:", line[length]))
			continue;
		line += length;
		line += strspn(line, " \t:");
		length = strcspn(line, "\n");
		snprintf(value, size, "%.*s", (int)length, line);
		return true;
	}
	return false;
}

/* has_word - is it in a list that spaces part, as cgroup.controllers is one */
bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	while (*text) {
		size_t found = strcspn(text, " \t\n");

		if (found == length && !strncmp(text, word, length))
			return true;
		text += found;
		text += strspn(text, " \t\n");
	}
	return false;
}

/* cgroup_mount - where version 2 of the cgroups is mounted; NULL if nowhere */
const char *cgroup_mount(void)
{
	static char *mount;
	struct mntent entry;
	char buf[4096];
	FILE *mounts;

	if (mount)
		return mount;
	mounts = root_fopen("/proc/mounts");
	if (!mounts)
		return NULL;
	while (getmntent_r(mounts, &entry, buf, sizeof(buf)))
		if (!strcmp(entry.mnt_type, "cgroup2")) {
			mount = xstrdup(entry.mnt_dir);
			break;
		}
	fclose(mounts);
	return mount;
}

/* cgroup_file - the path of a cgroup's file; false if no cgroups are mounted */
bool cgroup_file(char *buf, size_t size, const char *cgroup, const char *file)
{
	const char *mount = cgroup_mount();

	snprintf(buf, size, "%s%s%s%s", mount ? mount : "",
		 strcmp(cgroup, "/") ? cgroup : "", *file ? "/" : "", file);
	return mount;
}
