// SPDX-License-Identifier: GPL-2.0
/*
 * The share of the scanning that each cgroup gets: by weight, and beside
 * neighbours that make it hard.
 *
 * The cases compare work as the scheduler counts it, from the trace event
 * ksm_slice; no time is taken.
 *
 * vm: timeout=600
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ksmslice.h"

/* ---- by weight ---- */

static void by_weight(void)
{
	static const int weight[] = { 100, 300, 600 };
	struct spent s;

	slice_groups(3, 2048);
	set_weights(weight);
	ksm_settle();
	s = scan_traced(cg[2], 60000);
	shares_are(&s, weight, 0);
	/* all is known, and none merged */
	CHECK_GE(s.cost, s.all - s.all / 100);
}

static void weight_changes(void)
{
	static const int weight[][NR_CGS] = {
		{ 1, 1, 1 }, { 10000, 100, 5000 }, { 10, 900, 90 },
		{ 7, 7, 700 },
	};
	struct spent s;
	size_t i;

	slice_groups(3, 2048);
	ksm_settle();
	for (i = 0; i < ARRAY_SIZE(weight); i++) {
		set_weights(weight[i]);
		s = scan_traced(i ? cg[i - 1] : cg[0], 20000);
		shares_are(&s, weight[i], 0);
	}
}

static void idle_then_not(void)
{
	static const int equal[] = { 1, 1, 1 };
	struct worker *w;
	struct spent s;

	slice_groups(3, 0);
	w_dup(cg[0], 2048, 1, 1);
	w_dup(cg[1], 2048, 10000, 1);
	ksm_settle();
	/* the others get the share of an idle cgroup */
	s = scan_traced(cg[0], 20000);
	CHECK_EQ(s.lines[2], 0, "an empty cgroup");
	CHECK_LE(llabs(s.lines[0] - s.lines[1]), 2 * SLICE + s.lines[0] / 50,
		 "%lld and %lld lines", s.lines[0], s.lines[1]);
	/* it comes back without a burst */
	w = w_dup(cg[2], 2048, 20000, 1);
	s = scan_traced(cg[0], 20000);
	shares_are(&s, equal, 0);
	w_exit(w);
}

/* ---- neighbours ---- */

/* Run fn() in a cgroup until the end of the case; returns when it is ready. */
static pid_t neighbour(const char *in, void (*fn)(int ready))
{
	int ready[2];
	char byte;
	pid_t pid;

	NEED(!pipe(ready), "pipe");
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		if (cg_move(in, getpid()))
			_exit(1);
		fn(ready[1]);
		_exit(2);
	}
	setpgid(pid, pid);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		ksm_fatal(__FILE__, __LINE__, "the process beside cannot begin");
	}
	close(ready[0]);
	return pid;
}

static void is_ready(int ready)
{
	if (write(ready, "", 1) != 1)
		_exit(3);
}

static void *reserve(unsigned long len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		_exit(4);
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

/* 32 TiB with a page here and there. */
static void sparse(int ready)
{
	unsigned long len = 32UL << 40, i;
	char *p = reserve(len);

	for (i = 0; i < 3000; i++)
		*(long *)(p + (len / 3000 & ~7UL) * i) = 1 + i;
	is_ready(ready);
	for (;;)
		pause();
}

static void many_vmas(int ready)
{
	enum { VMAS = 60000 };
	char *p = reserve(2 * VMAS * PAGE_SZ);
	long i;

	for (i = 0; i < VMAS; i++) {
		*(long *)(p + 2 * i * PAGE_SZ) = 1 + i;
		/* a hole on either side */
		if (munmap(p + (2 * i + 1) * PAGE_SZ, PAGE_SZ))
			_exit(5);
	}
	is_ready(ready);
	for (;;)
		pause();
}

static void *lock_hog(void *mem)
{
	long i;

	for (i = 0;; i++) {
		if (mprotect(mem, 256 * PAGE_SZ, i & 1 ? PROT_READ :
			     PROT_READ | PROT_WRITE))
			_exit(6);
	}
	return NULL;
}

static void mmap_lock_hog(int ready)
{
	char *p = reserve(256 * PAGE_SZ);
	pthread_t t;

	memset(p, 1, 256 * PAGE_SZ);
	if (pthread_create(&t, NULL, lock_hog, reserve(256 * PAGE_SZ)))
		_exit(7);
	is_ready(ready);
	lock_hog(p);
}

static void forker(int ready)
{
	char *p = reserve(64 * PAGE_SZ);
	long i;

	for (i = 0; i < 64; i++)
		p[i * PAGE_SZ] = 1 + i;
	is_ready(ready);
	for (;;) {
		pid_t pid = fork();

		if (!pid) {
			p[0] = i++;
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}

/*
 * An honest cgroup keeps half beside one of equal weight. A page of the
 * neighbour costs at least @page lines, with the way to it.
 */
static void beside(void (*fn)(int ready), int page, bool batch)
{
	long long lines, scanned;
	struct spent s;
	pid_t pid;

	slice_groups(2, 0);
	w_dup(cg[0], 2048, 1, 1);
	pid = neighbour(cg[1], fn);
	/* a round may scan the honest one several times */
	scan_pages(cg[0], 8192);
	scanned = cg_stat(cg[1], "pages_scanned");
	s = scan_traced(cg[0], 60000);
	scanned = cg_stat(cg[1], "pages_scanned") - scanned;
	CHECK_GE(s.lines[1], scanned * page - scanned * page / 20,
		 "lines for %lld pages", scanned);
	lines = s.lines[0] + s.lines[1];
	CHECK_GE(s.lines[0], lines * 48 / 100 - 2 * SLICE,
		 "lines of %lld for the honest one", lines);
	CHECK_GT(s.lines[1], 0, "lines for the neighbour");

	/* no longer than it may be */
	if (batch) {
		s = one_batch(1000);
		CHECK_LE(s.cost, 1000 * PAGE_LINES + SLICE);
	}
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void beside_sparse(void)
{
	/* a page table and those above it, eight entries to a line */
	beside(sparse, 2 * PAGE_LINES, true);
}

static void beside_vmas(void)
{
	/* four for the sample, one for the VMA, one for the entry */
	beside(many_vmas, 6, true);
}

static void beside_hog(void)
{
	beside(mmap_lock_hog, 4, true);
}

static void beside_forker(void)
{
	beside(forker, 4, false);
}

static const struct ksm_case cases[] = {
	{ "scanning goes by weight", by_weight },
	{ "a change of weight holds at once", weight_changes },
	{ "an idle cgroup's share goes to others, and comes back", idle_then_not },
	{ "beside a sparse mapping of 32 TiB", beside_sparse },
	{ "beside 60000 VMAs", beside_vmas },
	{ "beside a process that keeps its mmap lock", beside_hog },
	{ "beside a process that forks all the time", beside_forker },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
