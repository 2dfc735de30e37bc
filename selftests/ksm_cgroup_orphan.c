// SPDX-License-Identifier: GPL-2.0
/*
 * Orphans: which cgroup is charged for reverse map records without a process.
 *
 * A process that exits leaves a record behind for each merged page that a child
 * still maps, until the scanner has visited the child.
 *
 * - orphans are charged to the cgroup of that process, as kernel memory
 * - the charge ends when they are freed
 * - if the cgroup is removed, the charge passes to its parent, and the removed
 *   cgroup is not kept
 * - where a walk of the reverse map defers them, the payer of the frame is
 *   charged
 *
 * vm: timeout=300
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define N		16384
#define FRAMES		128
#define TAG		1000
/* Bytes of a record, without its place in the array by address. */
#define REC_BYTES	48LL
#define ORPHANS		(N * REC_BYTES)

static const char *up, *a;
static struct worker *kid;

/* The kernel memory that a cgroup is charged for, less ksm_metadata_bytes. */
static long long kernel_of(const char *cg)
{
	return cg_memory_stat(cg, "kernel") - cg_stat(cg, "ksm_metadata_bytes");
}

/*
 * A process with N merged pages of few frames leaves a child in @to or its own
 * cgroup, and exits. Returns kernel_of() without orphans.
 */
static long long orphaned(const char *of, const char *to)
{
	struct worker *w = w_new(a);
	long long before;
	long i;

	w_map(w, N, MAP_PLAIN);
	for (i = 0; i < N; i += FRAMES)
		w_set(w, 0, i, FRAMES, TAG, 1);
	NEED_WAIT_EQ(cg_stat(a, "processes"), 1);
	before = kernel_of(of);
	ksm_settle();
	NEED_EQ(w_merged(w), N);
	NEED_GE(cg_stat(a, "ksm_metadata_bytes"), ORPHANS);
	kid = w_spawn(w, SPAWN_FORK, to);
	w_exit(w);
	CHECK_WAIT_LE(cg_stat(up, "ksm_metadata_bytes"), ORPHANS / 8,
		      "the process has exited");
	/* frames are not mapped while their charge moves */
	CHECK_WAIT_EQ(w_merged(kid), N);
	return before;
}

static void family(void)
{
	up = cg_ksm(NULL, "up", "1");
	cg_need(up, "memory.stat");
	a = cg_new(up, "a");
}

/*
 * A process's page tables, 40 of them, its stack and its task_struct are freed
 * a grace period after its end: wait for what is too much. What is not freed
 * then is still there.
 */
static void orphans_in(const char *cg, long long before, const char *what)
{
	CHECK_WAIT_GE(kernel_of(cg), before + ORPHANS * 3 / 4, "%s", what);
	CHECK_WAIT_LE(kernel_of(cg), before + ORPHANS * 5 / 4, "%s", what);
	CHECK_GE(kernel_of(cg), before + ORPHANS * 3 / 4, "%s", what);
}

/* The child is charged as its parent was, but for the orphans. */
static void charged(void)
{
	long long before;

	family();
	before = orphaned(a, NULL);
	orphans_in(a, before, "orphans");

	/* the child gets records of its own */
	ksm_settle();
	CHECK_GE(cg_stat(a, "ksm_metadata_bytes"), ORPHANS);
	CHECK_WAIT_LE(kernel_of(a), before + ORPHANS / 4, "no orphans");
	w_verify(kid);
	w_exit(kid);
	CHECK_WAIT_EQ(cg_stat(a, "ksm_metadata_bytes"), 0);
	NEED_WAIT_OK(cg_rmdir(a));
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

static void cgroup_removed(void)
{
	long long before, empty;
	const char *b;

	family();
	b = cg_new(up, "b");
	empty = kernel_of(up);
	before = orphaned(up, b);
	CHECK_WAIT_GE(kernel_of(up), before + ORPHANS * 3 / 4, "orphans");
	CHECK_LE(kernel_of(b), ORPHANS / 2, "where the child is");
	NEED_WAIT_OK(cg_rmdir(a));
	CHECK_GE(kernel_of(up), before + ORPHANS * 3 / 4, "removed");
	CHECK_LE(kernel_of(b), ORPHANS / 2, "removed");
	w_verify(kid);
	/* the orphans go with their frames */
	w_exit(kid);
	CHECK_WAIT_EQ(cg_stat(up, "ksm_metadata_bytes"), 0);
	CHECK_WAIT_LE(kernel_of(up), empty + ORPHANS / 8, "all gone");
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

#define IDLE_PAGES	"/sys/kernel/mm/page_idle/bitmap"

/* Mark a page as idle; false if it is on no LRU list. */
static bool make_idle(int fd, u64 pfn)
{
	u64 bits = 1ULL << pfn % 64, found = 0;
	off_t at = pfn / 64 * sizeof(bits);

	return pwrite(fd, &bits, sizeof(bits), at) == sizeof(bits) &&
	       pread(fd, &found, sizeof(found), at) == sizeof(found) &&
	       found & bits;
}

/*
 * Walk the reverse map of a frame all the time: to find out whether it is idle,
 * the kernel looks at each of its mappings.
 */
static pid_t walk(u64 pfn)
{
	int fd = open(IDLE_PAGES, O_RDWR | O_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		ksm_skip("no " IDLE_PAGES);
	NEED(WAIT_FOR((file_put("/proc/sys/vm/drop_caches", "1"),
		       make_idle(fd, pfn))), "the frame is on no LRU list");
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			make_idle(fd, pfn);
	}
	close(fd);
	return pid;
}

/*
 * One frame has all records. Its payer has two of them, and the process that
 * exits has the others.
 */
static void deferred(void)
{
	struct worker *w, *payer;
	long long before;
	const char *b;
	pid_t pid;
	u64 pfn;

	family();
	b = cg_new(up, "b");
	ksm_set("max_page_sharing", 2 * N);
	payer = w_dup(a, 2, TAG, 0);
	ksm_settle();
	NEED_EQ(w_merged(payer), 2);
	pfn = w_frame(payer, 0, 0).pfn;
	w = w_dup(b, N, TAG, 0);
	ksm_settle();
	NEED_EQ(w_merged(w), N);
	NEED_EQ(w_frame(w, 0, N - 1).pfn, pfn);
	NEED_GE(cg_stat(b, "ksm_metadata_bytes"), ORPHANS);
	kid = w_fork(w);
	before = kernel_of(a);
	pid = walk(pfn);
	w_exit(w);
	CHECK_WAIT_LE(cg_stat(b, "ksm_metadata_bytes"), ORPHANS / 8,
		      "the process has exited");
	kill(pid, SIGKILL);
	NEED_EQ(waitpid(pid, NULL, 0), pid);
	/* between two walks, some are not deferred */
	CHECK_WAIT_GE(kernel_of(a), before + ORPHANS / 2, "deferred");
	CHECK_LE(kernel_of(a), before + ORPHANS * 5 / 4, "deferred");

	/* the child gets records of its own */
	ksm_settle();
	CHECK_WAIT_LE(kernel_of(a), before + ORPHANS / 8, "no orphans");
	w_verify(kid);
	w_verify(payer);
}

static const struct ksm_case cases[] = {
	{ "orphans are charged to the cgroup of their process", charged },
	{ "orphans of a removed cgroup are charged to its parent",
	  cgroup_removed },
	{ "deferred orphans are charged to the payer", deferred },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
