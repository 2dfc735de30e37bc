// SPDX-License-Identifier: GPL-2.0
/*
 * Which processes have one and the same address space, by CLONE_VM or vfork():
 * its memory is there once, whoever is asked for it.
 *
 * Nothing in /proc names an address space. kcmp() tells of two processes whether
 * theirs is the same; those are asked about whose stacks begin at one address,
 * which a fork leaves as it is and an exec draws anew.
 */
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "space.h"
#include "tool.h"

/* Where in /proc/PID/stat, counted from the state, which follows the name. */
#define FIELD_STACK 25

/* 0 if that is not for us to know; nor is the memory then. */
static unsigned long long stack_of(pid_t pid)
{
	char path[64], text[2048], *at;
	int field;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (root_read(path, text, sizeof(text)) < 0)
		return 0;
	at = strrchr(text, ')');
	for (field = 0; at && field <= FIELD_STACK; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static bool same_space(pid_t a, pid_t b)
{
	return !syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0);
}

/* space_first - the process that has @pid's memory and was met first, or @pid */
pid_t space_first(struct spaces *spaces, pid_t pid)
{
	unsigned long long stack = stack_of(pid);
	size_t i;

	for (i = 0; stack && i < spaces->nr; i++)
		if (spaces->list[i].pid == pid ||
		    (spaces->list[i].stack == stack &&
		     same_space(spaces->list[i].pid, pid)))
			return spaces->list[i].pid;
	if (spaces->nr == spaces->room) {
		spaces->room = spaces->room ? 2 * spaces->room : 64;
		spaces->list = xrealloc(spaces->list,
					spaces->room * sizeof(*spaces->list));
	}
	spaces->list[spaces->nr++] = (struct space){ .pid = pid, .stack = stack };
	return pid;
}

void spaces_free(struct spaces *spaces)
{
	free(spaces->list);
}
