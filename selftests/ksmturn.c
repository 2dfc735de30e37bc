// SPDX-License-Identifier: GPL-2.0
/*
 * Turns of the worker that unshares, and a process that sleeps in a system call
 * or computes.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "ksmturn.h"

#define FILL	0x5a

bool next_turn(struct turn *t)
{
	const char *line, *at;

	while ((line = trace_next())) {
		at = strstr(line, "ksm_undo: ");
		if (at && sscanf(at, "ksm_undo: work %lld err %d cgroup %llu",
				 &t->work, &t->err, &t->cgroup) == 3)
			return true;
	}
	return false;
}

struct told *told;

static void stay(const char *in, enum stays how, long pages)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;
	char *area;
	long i = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* nothing else merges: in a full cgroup, writes would find no room */
	if (fd < 0 || mlockall(MCL_CURRENT))
		_exit(1);
	area = mmap(NULL, pages * PAGE_SZ, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED || cg_move(in, getpid()))
		_exit(1);
	memset(area, FILL, pages * PAGE_SZ);
	__atomic_store_n(&told->ready, true, __ATOMIC_RELEASE);
	for (;;) {
		if (how == COMPUTES)
			told->wrong |= area[i++ % pages * PAGE_SZ] != FILL;
		else if (epoll_wait(fd, &event, 1, -1) < 0 && errno == EINTR)
			__atomic_fetch_add(&told->interrupts, 1,
					   __ATOMIC_RELAXED);
	}
}

pid_t stays(const char *in, enum stays how, long pages)
{
	long long others = cg_stat(in, "processes");
	pid_t pid;

	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(told != MAP_FAILED, "mmap");
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid)
		stay(in, how, pages);
	NEED_WAIT_EQ(__atomic_load_n(&told->ready, __ATOMIC_ACQUIRE), 1);
	NEED_WAIT_GT(cg_stat(in, "processes"), others);
	return pid;
}

void ends(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
