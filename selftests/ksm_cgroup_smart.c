// SPDX-License-Identifier: GPL-2.0
/*
 * How often unchanged pages are scanned.
 *
 * - smart scan skips pages that are known and unchanged, and reads them all the
 *   same at ever rarer passes; it never skips a new or a changed page
 * - pages that are accessed, or written, at the moment are merged
 * - MADV_FREE gives up merged pages
 *
 * Passes are made by memory.ksm.scan, so that each of them counts.
 *
 * vm: timeout=600
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define N	256
#define FLOOR	8	/* an unchanged page is read once in so many passes */

static const char *cg;

static void need_scan(const char *value)
{
	cg = cg_ksm(NULL, "a", value);
	cg_need(cg, "memory.ksm.scan");
}

static long long scanned, skipped;

static void count_begin(void)
{
	scanned = cg_stat(cg, "pages_scanned");
	skipped = cg_stat(cg, "pages_skipped");
}

/* Passes that the cgroup counts, in the time of the writer. */
static void passes(int nr)
{
	while (nr--)
		cg_scan(cg, "max");
}

static long long scanned_since(void)
{
	return cg_stat(cg, "pages_scanned") - scanned;
}

static long long skipped_since(void)
{
	return cg_stat(cg, "pages_skipped") - skipped;
}

static struct worker *known(int smart)
{
	struct worker *a;

	need_scan("madvise");
	a = w_asker(cg, N, 70000, 1);
	ksmd_idle();
	ksm_set("smart_scan", smart);
	passes(4 * FLOOR);
	CHECK_EQ(cg_stat(cg, "pages_unshared"), N);
	return a;
}

static void less_often(void)
{
	struct worker *a = known(1);

	count_begin();
	passes(FLOOR);
	CHECK_EQ(scanned_since(), N, "in %d passes", FLOOR);
	CHECK_EQ(skipped_since(), (FLOOR - 1) * N, "in %d passes", FLOOR);
	ksm_set("smart_scan", 0);
	count_begin();
	passes(2);
	CHECK_EQ(scanned_since(), 2 * N, "in two passes without smart scan");
	CHECK_EQ(skipped_since(), 0, "without smart scan");
	w_verify(a);
}

static void changed_at_once(void)
{
	struct worker *a = known(1), *b;
	int i;

	/* one byte of some changes at first; the others are skipped */
	passes(1);
	for (i = 0; i < N; i += 2)
		w_poke(a, 0, i, (i * 13) % PAGE_SZ, i + 1);
	count_begin();
	passes(1);
	CHECK_GE(scanned_since(), N / 2, "written");
	/* then by new contents: known again after two samples */
	w_set(a, 0, 0, N, 80000, 1);
	passes(2);
	CHECK_EQ(cg_stat(cg, "pages_unshared"), N);
	passes(3);
	/* a newcomer's pages find those that are skipped */
	b = w_asker(cg, N, 80000, 1);
	NEED_WAIT_EQ((cg_scan(cg, "max"), w_same(a, b, 0)), N);
	w_verify(a);
	w_verify(b);
}

/*
 * Two pages differ outside their samples: the first is known by its sample, the
 * other by its digest.
 */
static struct worker *two_alike(int smart)
{
	struct worker *a;

	need_scan("madvise");
	a = w_asker(cg, N, 70000, 1);
	w_set(a, 0, 0, 2, 70000, 0);
	w_poke(a, 0, 0, 2000, 1);
	w_poke(a, 0, 1, 2000, 2);
	ksmd_idle();
	ksm_set("smart_scan", smart);
	/* so that the next few passes are none that reads all anyway */
	passes(4 * FLOOR + 3);
	return a;
}

/* The first becomes equal to the other. */
static void sample_holder_changes(void)
{
	struct worker *a = two_alike(1);

	CHECK_EQ(w_merged(a), 0, "while they differ");
	w_poke(a, 0, 0, 2000, 2);
	passes(2);
	CHECK_EQ(w_merged(a), 2, "when equal");
	w_verify(a);
}

/* The first goes, before a page comes that equals the other. */
static void sample_holder_goes(void)
{
	struct worker *a = two_alike(0), *b;

	w_set(a, 0, 0, 1, 60000, 0);
	passes(2);
	b = w_asker(cg, N, 90000, 1);
	w_set(b, 0, 0, 1, 70000, 0);
	w_poke(b, 0, 0, 2000, 2);
	passes(4);
	CHECK_EQ(w_merged(a), 1);
	CHECK_EQ(w_merged(b), 1);
	w_verify(a);
	w_verify(b);
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		ksm_skip("no CPU %d", cpu);
}

/*
 * The test stays on CPU 0, and what disturbs it runs on CPU 1: shared memory to
 * watch that by.
 */
static void *two_cpus(cpu_set_t *old)
{
	void *shared;

	sched_getaffinity(0, sizeof(*old), old);
	on_cpu(1);
	on_cpu(0);
	shared = mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(shared != MAP_FAILED, "mmap");
	return shared;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#define WRITTEN	32

/* Write the same bytes again, never leave user space, and count. */
static void write_always(long *turns)
{
	long *p = mmap(NULL, WRITTEN * PAGE_SZ, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i, step = PAGE_SZ / sizeof(*p);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (p == MAP_FAILED || madvise(p, WRITTEN * PAGE_SZ, MADV_NOHUGEPAGE) ||
	    madvise(p, WRITTEN * PAGE_SZ, MADV_MERGEABLE) ||
	    cg_move(cg, getpid()))
		_exit(1);
	for (;; __atomic_add_fetch(turns, 1, __ATOMIC_SEQ_CST)) {
		for (i = 0; i < WRITTEN; i++)
			__atomic_store_n(p + i * step, i + 1, __ATOMIC_SEQ_CST);
	}
}

static long written(const long *turns)
{
	return __atomic_load_n(turns, __ATOMIC_SEQ_CST);
}

/* A CPU that has the dirty bit in its TLB must be made to set it again. */
static void without_a_break(void)
{
	long *turns, seen;
	cpu_set_t old;
	pid_t pid;
	int i;

	need_scan("madvise");
	ksm_set("smart_scan", 1);
	turns = two_cpus(&old);
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		on_cpu(1);
		write_always(turns);
	}
	NEED_WAIT_GT(written(turns), 0);
	ksmd_idle();
	passes(FLOOR);
	CHECK_EQ(cg_stat(cg, "pages_unshared"), WRITTEN);
	for (i = 0; i < 4 * FLOOR; i++) {
		seen = written(turns);
		NEED_WAIT_GT(written(turns), seen + 1);
		count_begin();
		passes(1);
		CHECK_EQ(skipped_since(), 0, "pass %d, while it writes", i);
	}
	end_child(pid);
	sched_setaffinity(0, sizeof(old), &old);
}

#define SEEN	8

/* Read pages again and again, and then sleep. */
static void read_on(pid_t pid, long addr, int *done)
{
	static char bytes[SEEN * PAGE_SZ];
	struct iovec to = { bytes, sizeof(bytes) };
	struct iovec from = { (void *)addr, sizeof(bytes) };
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < 4; i++) {
		if (process_vm_readv(pid, &to, 1, &from, 1, 0) != sizeof(bytes))
			_exit(1);
	}
	__atomic_store_n(done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void read_from_once(struct worker *a, struct worker *b, int *done,
			   u64 tag)
{
	pid_t pid;

	ksm_stop();
	w_set(a, 0, 0, N, tag, 1);
	w_set(b, 0, 0, N, tag, 1);
	/* this drains the batches of pages on their way to the LRU */
	NEED_OK(file_put("/proc/sys/vm/drop_caches", "1"));
	*done = 0;
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		on_cpu(1);
		read_on(a->pid, a->area[0].addr, done);
	}
	NEED_WAIT_EQ(__atomic_load_n(done, __ATOMIC_SEQ_CST), 1);
	/* not by ksm_pass(): fresh memory would have the batches drained */
	ksm_start();
	CHECK_WAIT_EQ(w_same(a, b, 0), N);
	end_child(pid);
}

/*
 * Pages that another process reads wait in a batch of its CPU to become active,
 * and the batch holds them. More than once, as anything may drain it.
 */
static void read_from(void)
{
	struct worker *a, *b;
	cpu_set_t old;
	int *done, i;

	/* no other memory takes part, for the same reason */
	need_scan("madvise");
	done = two_cpus(&old);
	a = w_asker(cg, N, 97000, 1);
	b = w_asker(cg, N, 97000, 1);
	for (i = 1; i <= 6; i++)
		read_from_once(a, b, done, 97000 + i * N);
	sched_setaffinity(0, sizeof(old), &old);
	w_verify(a);
	w_verify(b);
}

static void elsewhere(void)
{
	struct worker *a = known(1);

	/* other pages at the same place, whose entries look clean */
	count_begin();
	passes(2);
	w_set(a, w_map(a, N, MAP_PLAIN), 0, N, 90000, 1);
	w_madv(a, 1, MADV_MERGEABLE);
	passes(2 * FLOOR);
	NEED_OK(w_remap(a));
	count_begin();
	passes(1);
	CHECK_EQ(skipped_since(), 0, "after some moved");
	w_verify(a);
}

static void given_up(void)
{
	struct worker *a = known(1);

	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 20000);
	/* MADV_FREE has no effect on a page on its way to the LRU */
	CHECK_WAIT_EQ((w_madv_at(a, 0, 0, N / 2, MADV_FREE), ksm_pass(2),
		       cg_stat(cg, "pages_unshared")), N / 2);
	ksmd_idle();
	ksm_set("smart_scan", 0);
	count_begin();
	passes(1);
	CHECK_EQ(scanned_since(), N / 2);
	w_verify(a);
}

static void let_go(void)
{
	struct worker *a, *b;

	need_scan("madvise");
	ksm_set("use_zero_pages", 1);
	a = w_asker(cg, N, 100, 1);
	b = w_asker(cg, N, 100, 1);
	w_set(a, 0, 0, 16, 0, 0);
	ksm_settle();
	NEED_EQ(w_same(a, b, 0), N - 16, "to begin with");
	NEED_EQ(w_zeroes(a), 16, "to begin with");
	NEED_OK(w_madv_at(a, 0, 0, N / 2, MADV_FREE));
	CHECK_EQ(w_merging(a), N / 2);
	CHECK_EQ(cg_stat(cg, "ksm_merging_pages"), N / 2 + N - 16);
	CHECK_EQ(cg_stat(cg, "ksm_zero_pages"), 0);
	CHECK_EQ(w_frame(a, 0, 3).pfn, FRAME_NONE, "a zero page");
	CHECK_EQ(w_frame(a, 0, 20).pfn, FRAME_NONE, "a merged page");
	CHECK_EQ(w_merging(b), N - 16);
	w_verify(a);
	w_verify(b);
	/* the last mapping goes */
	NEED_OK(w_madv_at(b, 0, 0, N / 2, MADV_FREE));
	CHECK_WAIT_EQ(cg_stat(cg, "pages_shared"), N / 2);
	w_set(a, 0, 0, N / 2, 100, 1);
	w_set(b, 0, 0, N / 2, 100, 1);
	ksm_settle();
	CHECK_EQ(w_same(a, b, 0), N, "again");
	w_verify(a);
	w_verify(b);
}

/*
 * A page may be written after it was read and before it is replaced. The frame
 * then holds the new bytes and has to be found by these, or the twin, which
 * gets the same bytes, would not be merged with it.
 */
static void written_meanwhile(void)
{
	struct worker *p[2];
	int i, round;

	need_scan("1");
	w_twins(p, cg, 48, 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 20000);
	for (round = 1; round <= 600; round++) {
		ksm_stop();
		for (i = 0; i < 4; i++) {
			w_set(p[i % 2], 0, 0, 48, 1000 * (2 * round + i / 2), 1);
			if (i == 1)
				ksm_start();
		}
		NEED_WAIT_EQ(w_same(p[0], p[1], 0), 48, "round %d", round);
	}
	w_verify(p[0]);
	w_verify(p[1]);
}

static const struct ksm_case cases[] = {
	{ "smart scan reads unchanged pages ever more rarely", less_often },
	{ "smart scan never skips a changed page", changed_at_once },
	{ "smart scan and a change of one of two equal samples",
	  sample_holder_changes },
	{ "one of two pages with equal samples goes", sample_holder_goes },
	{ "smart scan and a write that never pauses", without_a_break },
	{ "pages that another process reads are merged", read_from },
	{ "pages that are written while they are merged", written_meanwhile },
	{ "smart scan after mremap", elsewhere },
	{ "smart scan and MADV_FREE", given_up },
	{ "MADV_FREE gives up merged pages", let_go },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
