/* SPDX-License-Identifier: GPL-2.0 */
/* Which processes have one and the same address space. */
#ifndef KSM_SPACE_H
#define KSM_SPACE_H

#include <stddef.h>
#include <sys/types.h>

/**
 * struct spaces - address spaces that were met
 * @list: for each the process it was met with first, and where its stack began
 * @nr: how many
 * @room: for how many there is room
 */
struct spaces {
	struct space {
		pid_t pid;
		unsigned long long stack;
	} *list;
	size_t nr;
	size_t room;
};

pid_t space_first(struct spaces *spaces, pid_t pid);
void spaces_free(struct spaces *spaces);

#endif /* KSM_SPACE_H */
