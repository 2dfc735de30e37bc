// SPDX-License-Identifier: GPL-2.0
/*
 * The books: memory.ksm.stat, /proc/PID/ksm_merging_pages and ksm_stat.
 *
 * - every key counts what was done, and the very next read has it: no case lets
 *   the scanner run between an operation and the read of the counters
 * - gauges move with the process, and are zero after the last exit; events stay
 *   where they happened, and with the parent after rmdir
 * - a cgroup's figures are the sum of its children's, the root's are the files
 *   in /sys/kernel/mm/ksm
 *
 * memory.ksm is madvise and the workers ask for one range, so that every figure
 * is known exactly.
 *
 * vm: timeout=600
 */
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define N	128

static const char * const gauges[] = {
	"ksm_merging_pages", "pages_shared", "pages_sharing", "ksm_zero_pages",
	"pages_unshared", "pages_volatile", "pages_foreign", "pages_pending",
	"pages_saved", "ksm_metadata_bytes", "general_profit", "processes",
};

static const char * const events[] = {
	"pages_scanned", "pages_skipped", "pages_merged", "pages_unmerged",
	"cow_breaks", "merge_failures", "scan_usec",
};

static const char *cg;
static struct worker *w[2];

static void stat_is(const char *in, const char *key, long long want,
		    const char *when)
{
	CHECK_EQ(cg_stat(in, key), want, "%s: %s", when, key);
}

static void proc_is(struct worker *p, long merging, const char *when)
{
	CHECK_EQ(w_merging(p), merging, "%s", when);
	CHECK_EQ(w_merged(p), merging, "%s", when);
}

/* Two processes that map the same N merged frames. */
static void pair(void)
{
	int i;

	cg = cg_ksm(NULL, "a", "madvise");
	for (i = 0; i < 2; i++)
		w[i] = w_asker(cg, N, 5000, 1);
	ksm_settle();
	proc_is(w[0], N, "at first");
	proc_is(w[1], N, "at first");
	stat_is(cg, "ksm_merging_pages", 2 * N, "at first");
}

static void frames_are(long mappings, long frames, const char *when)
{
	stat_is(cg, "ksm_merging_pages", mappings, when);
	/* a kernel worker may have to free a frame without mappings */
	CHECK_WAIT_EQ(cg_stat(cg, "pages_shared"), frames, "%s", when);
	stat_is(cg, "pages_sharing", mappings - frames, when);
}

static void all_keys(void)
{
	long long saved;

	pair();
	frames_are(2 * N, N, "merged");
	stat_is(cg, "processes", 2, "merged");
	stat_is(cg, "pages_merged", 2 * N, "merged");
	stat_is(cg, "pages_unmerged", 0, "merged");
	stat_is(cg, "cow_breaks", 0, "merged");
	stat_is(cg, "pages_foreign", 0, "merged");
	stat_is(cg, "pages_pending", 0, "merged");
	stat_is(cg, "ksm_zero_pages", 0, "merged");
	stat_is(cg, "pages_unshared", 0, "merged");
	stat_is(cg, "pages_volatile", 0, "merged");
	CHECK_GE(cg_stat(cg, "pages_scanned"), 2 * N);
	CHECK_GT(cg_stat(cg, "scan_usec"), 0);
	CHECK_GE(cg_stat(cg, "full_scans"), 3);
	CHECK_GT(cg_stat(cg, "ksm_metadata_bytes"), 0);
	/* nothing forked, so each mapping is a gain */
	saved = cg_stat(cg, "pages_sharing") * (long long)PAGE_SZ;
	stat_is(cg, "pages_saved", cg_stat(cg, "pages_sharing"), "merged");
	stat_is(cg, "general_profit", saved - cg_stat(cg, "ksm_metadata_bytes"),
		"saved less metadata");
}

#define FAR_APART	256

/* A page in each GiB: most metadata is the way to that of the page. */
static void far_apart(void)
{
	/* bytes at least, with 64 bits */
	enum { XA_NODE = 576, BLOCK = 640 };
	long i, gib = 1L << 30;
	char *p, byte;
	int ready[2];
	pid_t pid;

	if (sizeof(long) < 8)
		ksm_skip("no room for %d GiB", FAR_APART);
	cg = cg_ksm(NULL, "a", "madvise");
	NEED(!pipe(ready), "pipe");
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		p = mmap(NULL, FAR_APART * gib, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED || cg_move(cg, getpid()) ||
		    madvise(p, FAR_APART * gib, MADV_NOHUGEPAGE) ||
		    madvise(p, FAR_APART * gib, MADV_MERGEABLE))
			_exit(1);
		for (i = 0; i < FAR_APART; i++)
			*(long *)(p + i * gib) = i + 1;
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	NEED_EQ(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	ksm_settle();
	stat_is(cg, "pages_unshared", FAR_APART, "unique");
	CHECK_GE(cg_stat(cg, "ksm_metadata_bytes"),
		 FAR_APART * (2 * XA_NODE + BLOCK));
	CHECK_LE(cg_stat(cg, "ksm_metadata_bytes"),
		 FAR_APART * (3 * XA_NODE + 2 * BLOCK));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_WAIT_EQ(cg_stat(cg, "ksm_metadata_bytes"), 0);
}

static void no_twin(void)
{
	long i;

	pair();
	/* pages without a twin, and after that some that change */
	w_set(w[0], 0, 0, N, 100000, 1);
	w_set(w[1], 0, 0, N, 200000, 1);
	stat_is(cg, "ksm_merging_pages", 0, "all written");
	stat_is(cg, "cow_breaks", 2 * N, "all written");
	ksm_settle();
	stat_is(cg, "pages_unshared", 2 * N, "unique");
	stat_is(cg, "pages_volatile", 0, "unique");
	stat_is(cg, "pages_merged", 2 * N, "no more were merged");
	for (i = 0; i < 10; i++)
		w_poke_new(w[0], 0, i);
	ksm_pass(1);
	w_exit(w[0]);
	ksm_stop();
	/* a kernel worker frees what was known of a process that exits */
	CHECK_WAIT_EQ(cg_stat(cg, "pages_unshared") +
		      cg_stat(cg, "pages_volatile"), N, "after an exit");
}

static void after_write(void)
{
	long i;

	pair();
	for (i = 0; i < 10; i++) {
		w_poke(w[0], 0, i, 9, 9);
		proc_is(w[0], N - 1 - i, "one written");
		stat_is(cg, "ksm_merging_pages", 2 * N - 1 - i, "one written");
		stat_is(cg, "cow_breaks", i + 1, "one written");
	}
	frames_are(2 * N - 10, N, "ten written");
	for (i = 0; i < 10; i++)
		w_poke(w[1], 0, i, 9, 9);
	frames_are(2 * N - 20, N - 10, "ten written by both");
	stat_is(cg, "pages_unmerged", 0, "a write is no unmerging");
}

static void let_go(void)
{
	pair();
	w_unmap(w[0], 0, 8);
	stat_is(cg, "ksm_merging_pages", 2 * N - 8, "munmap");
	CHECK_EQ(w_merging(w[0]), N - 8, "munmap");
	NEED_OK(w_madv_at(w[0], 0, 8, 8, MADV_DONTNEED));
	stat_is(cg, "ksm_merging_pages", 2 * N - 16, "MADV_DONTNEED");
	CHECK_EQ(w_merging(w[0]), N - 16, "MADV_DONTNEED");
	frames_are(2 * N - 16, N, "one process unmapped");
	stat_is(cg, "cow_breaks", 0, "nothing was written");
	NEED_OK(w_madv_at(w[1], 0, 0, 16, MADV_UNMERGEABLE));
	stat_is(cg, "pages_unmerged", 16, "MADV_UNMERGEABLE");
	frames_are(2 * N - 32, N - 16, "both processes unmapped");
	stat_is(cg, "cow_breaks", 0, "unmerging is no write");
}

static void forked_and_gone(void)
{
	struct worker *child;

	pair();
	child = w_fork(w[0]);
	proc_is(child, N, "fork");
	frames_are(3 * N, N, "fork");
	stat_is(cg, "processes", 3, "fork");
	stat_is(cg, "pages_merged", 2 * N, "a fork is no merging");
	w_set(child, 0, 0, 8, 1, 1);
	frames_are(3 * N - 8, N, "child wrote");
	w_exec(child);
	stat_is(cg, "ksm_merging_pages", 2 * N, "exec");
	w_exit(w[0]);
	frames_are(N, N, "one exit");
	/* after exec, a process has not asked */
	stat_is(cg, "processes", 1, "one exit");
	w_exit(w[1]);
	frames_are(0, 0, "the last exit");
}

static void nothing_left(const char *when)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(gauges); i++)
		CHECK_WAIT_EQ(cg_stat(cg, gauges[i]), 0, "%s: %s", when,
			      gauges[i]);
}

static void after_exit(void)
{
	long long had[ARRAY_SIZE(events)];
	struct worker *z;
	size_t i;

	pair();
	ksm_set("use_zero_pages", 1);
	z = w_asker(cg, N, 0, 0);
	w_set(z, 0, 0, 8, 77000, 1);
	ksm_settle();
	w_poke(w[0], 0, 0, 0, 1);
	stat_is(cg, "ksm_zero_pages", N - 8, "before");
	for (i = 0; i < ARRAY_SIZE(events); i++)
		had[i] = cg_stat(cg, events[i]);
	w_exit(z);
	w_exit(w[1]);
	w_exit(w[0]);
	nothing_left("stopped, the last exit");
	for (i = 0; i < ARRAY_SIZE(events); i++)
		stat_is(cg, events[i], had[i], "events stay");
}

static void after_rmdir(void)
{
	long long had[ARRAY_SIZE(events)];
	const char *up, *sub;
	size_t i;

	up = cg_ksm(NULL, "up", "madvise");
	sub = cg_new(up, "a");
	cg = sub;
	w[0] = w_asker(sub, N, 1, 1);
	w[1] = w_asker(cg_new(up, "b"), N, 1, 1);
	ksm_settle();
	w_poke(w[0], 0, 1, 1, 1);
	w_madv(w[0], 0, MADV_UNMERGEABLE);
	for (i = 0; i < ARRAY_SIZE(events); i++)
		had[i] = cg_stat(up, events[i]);
	CHECK_EQ(cg_stat(sub, "pages_unmerged"), N - 1);
	w_exit(w[0]);
	NEED_WAIT_OK(cg_rmdir(sub));
	for (i = 0; i < ARRAY_SIZE(events); i++)
		stat_is(up, events[i], had[i], "after rmdir");
	CHECK_EQ(cg_stat(up, "pages_merged"), 2 * N, "after rmdir");
}

static void move_books(void)
{
	long long scanned, meta;
	const char *up, *a, *b;

	up = cg_ksm(NULL, "up", "madvise");
	a = cg_new(up, "a");
	b = cg_new(up, "b");
	w[0] = w_asker(a, N, 1, 1);
	w[1] = w_asker(a, N, 1, 1);
	ksm_settle();
	scanned = cg_stat(a, "pages_scanned");
	meta = cg_stat(up, "ksm_metadata_bytes");
	NEED_OK(cg_move(b, w[0]->pid));
	/* the move itself only queues */
	CHECK_WAIT_EQ(cg_stat(b, "ksm_merging_pages"), N, "arrived");
	stat_is(a, "ksm_merging_pages", N, "moved away");
	stat_is(a, "processes", 1, "moved away");
	stat_is(b, "processes", 1, "arrived");
	stat_is(a, "pages_scanned", scanned, "events stay");
	stat_is(a, "pages_merged", 2 * N, "events stay");
	stat_is(b, "pages_merged", 0, "events stay");
	stat_is(up, "ksm_merging_pages", 2 * N, "the parent's");
	stat_is(up, "ksm_metadata_bytes", meta, "the parent's");
	CHECK_EQ(cg_stat(a, "ksm_metadata_bytes") +
		 cg_stat(b, "ksm_metadata_bytes"), meta);
	CHECK_EQ(w_same(w[0], w[1], 0), N, "after the move");
}

static void out_and_in(void)
{
	pair();
	swap_need();
	NEED(swap_out(cg, w, 2), "pages are not swapped out");
	stat_is(cg, "ksm_merging_pages", 0, "swapped out");
	CHECK_EQ(w_merging(w[0]), 0, "swapped out");
	CHECK_WAIT_EQ(cg_stat(cg, "pages_shared"), 0, "swapped out");
	stat_is(cg, "cow_breaks", 0, "swapped out");
	w_verify(w[0]);
	w_verify(w[1]);
	w_exit(w[0]);
	w_exit(w[1]);
	nothing_left("after swap");
}

/* ---- zero pages ---- */

/* A process whose N pages map the zero page. */
static struct worker *zero_worker(void)
{
	struct worker *z;

	cg = cg_ksm(NULL, "a", "madvise");
	ksm_set("use_zero_pages", 1);
	z = w_asker(cg, N, 0, 0);
	ksm_settle();
	return z;
}

static void zero_is(struct worker *z, long own, long all, const char *when)
{
	CHECK_EQ(w_stat(z, "ksm_zero_pages"), own, "%s", when);
	stat_is(cg, "ksm_zero_pages", all, when);
}

static void zero_pages(void)
{
	struct worker *z = zero_worker(), *child;

	zero_is(z, N, N, "merged");
	stat_is(cg, "pages_merged", N, "merged");
	stat_is(cg, "ksm_merging_pages", 0, "merged");
	w_set(z, 0, 0, 4, 88, 1);
	zero_is(z, N - 4, N - 4, "written");
	stat_is(cg, "cow_breaks", 4, "written");
	w_unmap(z, 4, 4);
	zero_is(z, N - 8, N - 8, "munmap");
	NEED_OK(w_madv_at(z, 0, 8, 4, MADV_DONTNEED));
	zero_is(z, N - 12, N - 12, "MADV_DONTNEED");
	child = w_fork(z);
	zero_is(child, N - 12, 2 * (N - 12), "fork");
	w_poke(child, 0, 20, 0, 1);
	zero_is(child, N - 13, 2 * (N - 12) - 1, "child wrote");
	zero_is(z, N - 12, 2 * (N - 12) - 1, "child wrote");
	NEED_OK(w_madv_at(z, 0, 30, 10, MADV_UNMERGEABLE));
	zero_is(z, N - 22, 2 * (N - 12) - 11, "MADV_UNMERGEABLE");
	w_exit(child);
	zero_is(z, N - 22, N - 22, "child exited");
	w_exec(z);
	stat_is(cg, "ksm_zero_pages", 0, "exec");
}

/* Pages that fork does not copy do not count for the child. */
static void zero_not_forked(void)
{
	struct worker *z = zero_worker(), *child;

	NEED_OK(w_madv_at(z, 0, 0, 16, MADV_DONTFORK));
	NEED_OK(w_madv_at(z, 0, 16, 16, MADV_WIPEONFORK));
	child = w_fork(z);
	zero_is(child, N - 32, 2 * N - 32, "fork");
	zero_is(z, N, 2 * N - 32, "fork");
	w_exit(child);
	zero_is(z, N, N, "child exited");
}

/* The zero page counts only where KSM mapped it. */
static void zero_of_others(void)
{
	struct worker *z = zero_worker();
	int a = w_map(z, 32, MAP_PLAIN), b = w_map(z, 32, MAP_PLAIN);
	long ret;

	w_read(z, a, 0, 32);
	CHECK_EQ(w_count(z, a, F_ZERO), 32, "read faults");
	zero_is(z, N, N, "read faults");
	w_set(z, a, 0, 16, 5, 1);
	w_madv_at(z, a, 16, 16, MADV_DONTNEED);
	zero_is(z, N, N, "written and unmapped");

	ret = w_uffd(z, b, UFFDIO_REGISTER_MODE_MISSING);
	if (ret)
		ksm_skip("no userfaultfd: %s", strerror(-ret));
	w_uffd_zero(z, b, 0, 16);
	CHECK(w_frame(z, b, 3).flags & F_ZERO,
	      "UFFDIO_ZEROPAGE maps another page");
	zero_is(z, N, N, "UFFDIO_ZEROPAGE");
	NEED_OK(w_madv_at(z, b, 0, 16, MADV_DONTNEED));
	zero_is(z, N, N, "UFFDIO_ZEROPAGE, unmapped");

	/* a page that KSM mapped, moved: it still counts, or is given up */
	ret = w_uffd_move(z, 0, 0, 4, b);
	if (ret) {
		ksm_note("UFFDIO_MOVE: %s", strerror(-ret));
	} else {
		long long zero = w_stat(z, "ksm_zero_pages");

		CHECK(zero == N || zero == N - 4, "%lld after a move", zero);
		stat_is(cg, "ksm_zero_pages", zero, "after a move");
	}
	/* not area b, where a missing page would wait for userfaultfd */
	CHECK_EQ(w_bad_in(z, 0), 0);
	CHECK_EQ(w_bad_in(z, a), 0);
	w_exit(z);
	stat_is(cg, "ksm_zero_pages", 0, "the last exit");
}

static void sums(void)
{
	static const char * const files[] = {
		"pages_shared", "pages_sharing", "pages_unshared",
		"pages_volatile", "ksm_zero_pages", "pages_scanned",
		"pages_skipped", "pages_saved", "general_profit",
	};
	const char *up, *sub[3];
	long long sum;
	size_t i, j;

	up = cg_ksm(NULL, "up", "madvise");
	ksm_set("use_zero_pages", 1);
	for (i = 0; i < 3; i++) {
		sub[i] = cg_letter(up, i);
		w_asker(sub[i], N, 1000 * (i / 2), 1);
		w[0] = w_asker(sub[i], N, 1000 * i, 1);
		w_set(w[0], 0, 0, N / 4, 0, 0);
	}
	ksm_settle();
	w_poke(w[0], 0, N / 2, 5, 5);
	for (i = 0; i < ARRAY_SIZE(gauges) + ARRAY_SIZE(events); i++) {
		const char *key = i < ARRAY_SIZE(gauges) ? gauges[i] :
				  events[i - ARRAY_SIZE(gauges)];

		for (sum = 0, j = 0; j < 3; j++)
			sum += cg_stat(sub[j], key);
		stat_is(up, key, sum, "sum of the children");
	}
	for (i = 0; i < ARRAY_SIZE(files); i++)
		CHECK_EQ(cg_stat(CGROOT, files[i]), ksm_get(files[i]), "%s",
			 files[i]);
}

static const struct ksm_case cases[] = {
	{ "every key after a merge", all_keys },
	{ "pages without a twin", no_twin },
	{ "pages far apart", far_apart },
	{ "copy on write", after_write },
	{ "munmap, MADV_DONTNEED, MADV_UNMERGEABLE", let_go },
	{ "fork, exec and exit", forked_and_gone },
	{ "gauges are zero after the last exit", after_exit },
	{ "events stay with the parent after rmdir", after_rmdir },
	{ "gauges move with the process, events stay", move_books },
	{ "swap", out_and_in },
	{ "zero pages", zero_pages },
	{ "zero pages that fork does not copy", zero_not_forked },
	{ "zero pages that KSM did not map", zero_of_others },
	{ "sums over children and the root's files", sums },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
