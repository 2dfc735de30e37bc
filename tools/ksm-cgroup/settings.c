// SPDX-License-Identifier: GPL-2.0
/*
 * Writing to cgroups, and making them, by libcgroup: it knows where what is
 * mounted, and switches the memory controller on from the root down to a
 * cgroup that it makes.
 *
 * A recorded tree is no mount, so its files are written as files.
 */
#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"
#include "tool.h"

static int write_file(const char *path, const char *value)
{
	ssize_t put;
	int error, fd;

	fd = root_open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	put = write(fd, value, strlen(value));
	error = put < 0 ? -errno : 0;
	/* a failed write leaves a recorded file as it was, as the kernel would */
	if (!error && root_recorded() && ftruncate(fd, put))
		error = -errno;
	close(fd);
	return error;
}

static int library_begin(void)
{
	static bool begun;
	int error;

	if (begun)
		return 0;
	error = cgroup_init();
	if (error) {
		complain("libcgroup: %s: are cgroups mounted here?",
			 cgroup_strerror(error));
		return -1;
	}
	begun = true;
	return 0;
}

/* A cgroup of the library; its names begin below the mount. */
static struct cgroup *library_group(const char *cgroup,
				    struct cgroup_controller **memory)
{
	struct cgroup *group;

	if (library_begin())
		return NULL;
	group = cgroup_new_cgroup(cgroup[1] ? cgroup + 1 : cgroup);
	*memory = group ? cgroup_add_controller(group, "memory") : NULL;
	if (group && !*memory)
		cgroup_free(&group);
	if (!group)
		complain("libcgroup: out of memory");
	return group;
}

/* The library's errors are its own; where it kept an errno, that says more. */
static int library_errno(int error)
{
	switch (error) {
	case 0:
		return 0;
	case ECGOTHER:
		return -cgroup_get_last_errno();
	case ECGROUPNOTALLOWED:
		return -EPERM;
	case ECGROUPVALUENOTEXIST:
	case ECGROUPNOTEXIST:
	case ECGROUPSUBSYSNOTMOUNTED:
		return -ENOENT;
	default:
		return -EIO;
	}
}

static int write_by_library(const char *cgroup, const char *file,
			    const char *value)
{
	struct cgroup_controller *memory;
	struct cgroup *group;
	int error;

	group = library_group(cgroup, &memory);
	if (!group)
		return -EIO;
	error = cgroup_add_value_string(memory, file, value);
	if (!error)
		error = cgroup_modify_cgroup(group);
	cgroup_free(&group);
	return library_errno(error);
}

/* Does a list show what words with + and - made of it? The last one counts. */
static bool shows_words(const char *text, const char *words)
{
	char name[32], later[64];
	size_t length;

	for (; *words; words += length, words += strspn(words, " ")) {
		length = strcspn(words, " ");
		snprintf(name, sizeof(name), "%.*s", (int)length - 1, words + 1);
		snprintf(later, sizeof(later), "%c%s", *words == '+' ? '-' : '+', name);
		if (has_word(words + length, later))
			continue;
		if (has_word(text, name) != (*words == '+'))
			return false;
	}
	return true;
}

/* Does the file have this value? False only if it was read and has another. */
static bool has_value(const char *path, const char *value)
{
	char buf[128];

	if (root_read(path, buf, sizeof(buf)) < 0)
		return true;
	if (*value == '+' || *value == '-')
		return shows_words(buf, value);
	return !strcmp(buf, value);
}

/*
 * setting_write - returns SETTING_DONE, or another one after saying what is wrong
 *
 * After ENOMEM, EBUSY and EINTR the new value is in force, and a worker in the
 * kernel does the rest, unless the write failed earlier. The file tells which.
 *
 * The library answers that a file which it may not open is not there, so that
 * is asked first.
 */
int setting_write(const char *cgroup, const char *file, const char *value)
{
	enum file_use use = *value == '@' ? USE_NAME : USE_SETTING;
	char path[8192];
	int error = 0;

	cgroup_file(path, sizeof(path), cgroup, file);
	if (root_recorded())
		error = write_file(path, value);
	else if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS))
		error = -errno;
	else
		error = write_by_library(cgroup, file, value);
	if (!error)
		return SETTING_DONE;
	if (error != -ENOMEM && error != -EBUSY && error != -EINTR) {
		complain_file(path, use, -error);
		return SETTING_FAILED;
	}
	if (has_value(path, value)) {
		complain_file(path, USE_SETTING, -error);
		return SETTING_UNDONE;
	}
	complain_file(path, USE_UNCHANGED, -error);
	return SETTING_FAILED;
}

/*
 * group_make - with the memory controller
 *
 * The library hands it down from the cgroups below the root only. If the root
 * can't either, that shows when the file is not there.
 */
int group_make(const char *cgroup)
{
	struct cgroup_controller *memory;
	struct cgroup *group;
	char path[8192];
	int error;

	cgroup_file(path, sizeof(path), "/", "cgroup.subtree_control");
	write_file(path, "+memory");
	group = library_group(cgroup, &memory);
	if (!group)
		return -1;
	error = cgroup_create_cgroup(group, 1);
	cgroup_free(&group);
	if (!error)
		return 0;
	cgroup_file(path, sizeof(path), cgroup, "");
	complain_file(path, USE_SETTING, -library_errno(error));
	return -1;
}

/* group_enter - the calling process goes in */
int group_enter(const char *cgroup)
{
	struct cgroup_controller *memory;
	struct cgroup *group;
	char path[8192];
	int error;

	group = library_group(cgroup, &memory);
	if (!group)
		return -1;
	error = cgroup_attach_task_pid(group, getpid());
	cgroup_free(&group);
	if (!error)
		return 0;
	cgroup_file(path, sizeof(path), cgroup, "cgroup.procs");
	complain_file(path, USE_SETTING, -library_errno(error));
	return -1;
}

/*
 * group_remove - an empty one
 *
 * Not by the library, which would move what is left in it to the cgroup above.
 */
int group_remove(const char *cgroup)
{
	char path[8192];

	cgroup_file(path, sizeof(path), cgroup, "");
	return rmdir(path);
}
