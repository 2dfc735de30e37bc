// SPDX-License-Identifier: GPL-2.0
/*
 * What is said when something fails: which file it was, what the errno means
 * for that file, and what to do about it.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "tool.h"

struct advice {
	enum file_use use;
	int error;
	const char *text;
};

/* strerror() is for all files alike; these are for the kernel's few. */
static const struct advice advices[] = {
	{ USE_SETTING, EACCES,
	  "it belongs to whoever made the cgroup: run this as root or as that user" },
	{ USE_SETTING, EPERM,
	  "it belongs to whoever made the cgroup: run this as root or as that user" },
	{ USE_NAME, EPERM,
	  "a name reaches beyond the cgroup: run this as root on the host" },
	{ USE_SETTING, EROFS,
	  "cgroups are mounted read-only here, as in most containers: set it on the host" },
	{ USE_SETTING, ENOENT,
	  "the cgroup has no such file; 'ksm-cgroup doctor' tells why" },
	{ USE_SETTING, EINVAL,
	  "the kernel does not take this value here (the root takes no 'inherit')" },
	{ USE_SETTING, ENOMEM,
	  "the new value is in force, but memory is too short to unshare the rest (pages_pending in memory.ksm.stat). A worker retries: raise memory.max"
	},
	{ USE_SETTING, EINTR,
	  "interrupted, but the new value is in force, and a worker unshares the rest (pages_pending in memory.ksm.stat)"
	},
	{ USE_SETTING, EBUSY,
	  "the new value is in force, but a process keeps its memory map locked, and a worker unshares the rest (pages_pending in memory.ksm.stat). Is the process throttled by cpu.max?"
	},
	{ USE_UNCHANGED, ENOMEM,
	  "nothing was changed: memory was too short even to begin. Try again, or raise memory.max where this command runs"
	},
	{ USE_UNCHANGED, EBUSY,
	  "nothing was changed: try again" },
	{ USE_UNCHANGED, EINTR,
	  "interrupted before anything was changed" },
	{ USE_SETTING, ENODEV,
	  "the cgroup was removed meanwhile; nothing is left to do" },
	{ USE_SCAN, EAGAIN,
	  "nothing here may be scanned; 'ksm-cgroup doctor' tells why" },
	{ USE_SCAN, EINTR,
	  "interrupted; what was scanned until then is kept" },
	{ USE_SCAN, ENODEV,
	  "the cgroup was removed meanwhile; nothing is left to do" },
	{ USE_SCAN, EINVAL,
	  "the kernel does not take this size: give one such as 512M, or max" },
	{ USE_SCAN, EACCES,
	  "run this as root or as the user to whom the cgroup is delegated" },
	{ USE_SCAN, EPERM,
	  "run this as root or as the user to whom the cgroup is delegated" },
	{ USE_SCAN, ENOENT,
	  "the cgroup has no such file; 'ksm-cgroup doctor' tells why" },
	{ USE_PROCESS, EACCES,
	  "another user's process: run this as root" },
	{ USE_PROCESS, EPERM,
	  "another user's process, or one that may not be read: run this as root" },
	{ USE_PROCESS, ENOENT,
	  "there is no such process, or the kernel was built without CONFIG_PROC_PAGE_MONITOR" },
	{ USE_PROCESS, ESRCH,
	  "the process has ended" },
	{ USE_READ, EACCES,
	  "run this as root" },
	{ USE_READ, EPERM,
	  "run this as root" },
	{ USE_READ, ENOENT,
	  "check the name; 'ksm-cgroup list' shows the cgroups there are" },
	{ USE_READ, ENODEV,
	  "the cgroup was removed meanwhile" },
};

const char *errno_advice(enum file_use use, int error)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++)
		if (advices[i].use == use && advices[i].error == error)
			return advices[i].text;
	/* else a name is a setting as any other */
	return use == USE_NAME ? errno_advice(USE_SETTING, error) : NULL;
}

static void say(const char *format, va_list args)
{
	/* What was printed comes before what is said about it. */
	fflush(stdout);
	fputs("ksm-cgroup: ", stderr);
	vfprintf(stderr, format, args);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	fputc('\n', stderr);
}

void complain_file(const char *path, enum file_use use, int error)
{
	const char *advice = errno_advice(use, error);

	if (advice)
		complain("%s: %s: %s", path, strerror(error), advice);
	else
		complain("%s: %s", path, strerror(error));
}

/* Returns what main() shall return. */
int usage_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	fputs("\nTry 'ksm-cgroup --help'.\n", stderr);
	return STATUS_USAGE;
}
