// SPDX-License-Identifier: GPL-2.0
/*
 * Scanning on demand, by memory.ksm.scan.
 *
 * - a write scans the subtree once, up to the size that it names, while ksmd
 *   sleeps
 * - it returns EAGAIN, EINTR and ENODEV where the documentation has them
 * - many writers, ksmd and changes of run do not disturb each other; that a
 *   throttled writer holds up nothing is tested by ksm_cgroup_throttle.c
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmwriter.h"

#define N	256

static const char *cg;

static void need_scan(const char *value)
{
	cg = cg_ksm(NULL, "a", value);
	cg_need(cg, "memory.ksm.scan");
}

static void merges(void)
{
	struct worker *a, *b;
	const char *sub;

	need_scan("1");
	sub = cg_new(cg, "sub");
	a = w_dup(cg_new(cg, "other"), N, 100, 1);
	b = w_dup(sub, N, 100, 1);
	ksmd_idle();
	/* pages on their way to the LRU can be merged a little later */
	NEED_WAIT_EQ((cg_scan(cg, "max"), w_same(a, b, 0)), N);
	CHECK_GT(cg_stat(sub, "scan_usec"), 0);
	CHECK_EQ(cg_stat(cg, "pages_shared"), ksm_get("pages_shared"));
	w_poke(a, 0, 3, 5, 1);
	w_verify(a);
	w_verify(b);
	CHECK_EQ(w_same(a, b, 0), N - 1, "after a write");
}

/* Each write scans its own subtree; the domain is in both. */
static void by_name(void)
{
	const char *far = cg_ksm(NULL, "far", NULL);
	struct worker *a, *b;

	need_scan(NULL);
	cg_set(cg, "memory.ksm.domain", "@scan");
	cg_set(cg, "memory.ksm", "1");
	far = cg_new(far, "b");
	cg_set(far, "memory.ksm.domain", "@scan");
	cg_set(far, "memory.ksm", "1");
	a = w_dup(cg, N, 100, 1);
	b = w_dup(far, N, 100, 1);
	ksmd_idle();
	NEED_WAIT_EQ((cg_scan(cg, "max"), cg_scan(far, "max"),
		      w_same(a, b, 0)), N);
	CHECK_GT(cg_stat(cg, "scan_usec"), 0);
	CHECK_GT(cg_stat(far, "scan_usec"), 0);
	w_verify(a);
	w_verify(b);
}

static void zeroes(void)
{
	struct worker *a;

	need_scan("madvise");
	a = w_asker(cg, N, 0, 0);
	ksm_set("use_zero_pages", 1);
	ksmd_idle();
	NEED_WAIT_EQ((cg_scan(cg, "max"), w_zeroes(a)), N);
	w_verify(a);
}

static void sizes(void)
{
	long long before;
	struct worker *a;

	need_scan("madvise");
	a = w_asker(cg, N, 500, 1);
	ksmd_idle();
	before = cg_stat(cg, "pages_scanned");
	cg_scan(cg, "20K");
	CHECK_EQ(cg_stat(cg, "pages_scanned") - before, 5, "20K");
	before = cg_stat(cg, "pages_scanned");
	cg_scan(cg, "0");
	CHECK_EQ(cg_stat(cg, "pages_scanned") - before, 0, "0");
	cg_scan(cg, "1G");
	CHECK_EQ(cg_stat(cg, "pages_scanned") - before, N, "one pass");
	CHECK_EQ(cg_stat(CGROOT, "full_scans"), ksm_get("full_scans"));
	w_verify(a);
}

/* Processes are scanned in the order in which they came. */
static void goes_on(void)
{
	struct worker *a, *b;
	const char *other;
	long long before;
	int i;

	need_scan(NULL);
	other = cg_new(NULL, "b");
	cg_set(other, "memory.ksm", "madvise");
	w_asker(other, N, 1, 1);
	ksmd_idle();
	ksm_set("smart_scan", 0);
	cg_set(cg, "memory.ksm", "madvise");
	a = w_asker(cg, N, 500, 1);
	b = w_asker(cg, N, 5000, 1);
	/* no page is missed or scanned twice, in a process or at its end */
	for (i = 1; i <= 2 * N / 15; i++) {
		cg_scan(cg, "60K");
		NEED_EQ(cg_stat(cg, "pages_volatile"), 15 * i);
	}
	before = cg_stat(cg, "pages_scanned");
	cg_scan(cg, "max");
	CHECK_EQ(cg_stat(cg, "pages_scanned") - before, 2 * N, "one pass");
	CHECK_EQ(cg_stat(cg, "pages_volatile"), 2 * N % 15);
	CHECK_EQ(cg_stat(cg, "pages_unshared"), 2 * N - 2 * N % 15);
	/* the process in which it ended exits: it goes on with the other */
	cg_scan(cg, "1M");
	cg_scan(cg, "20K");
	w_verify(b);
	w_exit(b);
	before = cg_stat(cg, "pages_scanned");
	cg_scan(cg, "max");
	CHECK_EQ(cg_stat(cg, "pages_scanned") - before, N, "one pass");
	w_verify(a);
}

static int put_max(void)
{
	return cg_put(cg, "memory.ksm.scan", "max");
}

static void refused(void)
{
	struct worker *a;
	int i, j;

	need_scan(NULL);
	ksm_start();
	CHECK_EQ(put_max(), -EAGAIN, "nothing takes part");
	cg_set(cg, "memory.ksm", "madvise");
	a = w_dup(cg, N, 1, 1);
	CHECK_EQ(put_max(), -EAGAIN, "no process asked");
	w_madv(a, 0, MADV_MERGEABLE);
	for (i = 0; i <= 2; i++) {
		for (j = 0; j <= 1; j++) {
			ksm_run_as(i, j);
			CHECK_EQ(put_max(), i < 2 && j ? 0 : -EAGAIN,
				 "run=%d, run_cgroups=%d", i, j);
		}
	}
	cg_set(cg, "memory.ksm", "inherit");
	for (i = 0; i <= 2; i++) {
		ksm_run_as(i, 1);
		CHECK_EQ(put_max(), i == 1 ? 0 : -EAGAIN,
			 "run=%d, inherits from the root", i);
	}
	cg_set(cg, "memory.ksm", "0");
	ksm_start();
	CHECK_EQ(put_max(), -EAGAIN, "under a 0");
	CHECK(cg_put(cg, "memory.ksm.scan", "") == -EINVAL ||
	      cg_put(cg, "memory.ksm.scan", " ") == -EINVAL,
	      "no text is taken for a size");
}

static void interrupted(void)
{
	struct worker *a;

	need_scan("madvise");
	a = w_dup(cg, 16 * N, 1, 1);
	w_madv(a, 0, MADV_MERGEABLE);
	ksm_start();
	writer_ends(writer_start(cg, EINTR, 500), "EINTR");
	/* what it did is kept, and the next write goes on */
	cg_scan(cg, "max");
	CHECK_GE(cg_stat(cg, "pages_scanned"), 16 * N);
	w_verify(a);
}

static void cgroup_goes(void)
{
	struct worker *a;
	const char *sub;
	pid_t pid;
	int i;

	need_scan("1");
	for (i = 0; i < 5; i++) {
		sub = cg_new(cg, (char[]){ 's', '0' + i, '\0' });
		a = w_dup(sub, N, 1, 1);
		ksm_start();
		pid = writer_start(sub, ENODEV, 0);
		NEED_WAIT_GT(cg_stat(sub, "pages_scanned"), 0);
		w_exit(a);
		NEED_WAIT_OK(cg_rmdir(sub), "the writer keeps its cgroup");
		writer_ends(pid, "ENODEV");
	}
	CHECK_WAIT_EQ(cg_dying(cg), 0);
}

/* Writers, ksmd, changes of run and the processes all at once. */
static void together(void)
{
	static const int runs[] = { 1, 0, 1, 2, 0, 1 };
	const char *sub[2];
	struct worker *w[4];
	pid_t pid[3];
	int i, j;

	need_scan("1");
	for (i = 0; i < 2; i++)
		sub[i] = cg_new(cg, i ? "y" : "x");
	cg_set(sub[1], "memory.ksm", "1");	/* a domain of its own */
	for (i = 0; i < 4; i++)
		w[i] = w_dup(sub[i / 2], N, 900, 1);
	ksm_set("smart_scan", 1);
	ksm_start();
	for (i = 0; i < 3; i++)
		pid[i] = writer_start(i ? sub[i - 1] : cg, ENODEV, 0);
	for (i = 0; i < 120; i++) {
		ksm_run_as(runs[i % 6], i % 5 != 2);
		w_set(w[i % 4], 0, i, 8, 900 + i, 1);
		for (j = 0; j < 64; j++)
			w_poke(w[(i + 1) % 4], 0, (i + j) % N, j, i);
		w_verify(w[i % 4]);
		if (i % 10 == 5)
			cg_set(sub[1], "memory.ksm.domain",
			       i % 20 == 5 ? "parent" : "self");
	}
	for (i = 0; i < 3; i++)
		writer_stop(pid[i]);
	for (i = 0; i < 4; i++)
		w_set(w[i], 0, 0, N, 900, 1);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N);
	CHECK_EQ(w_same(w[2], w[3], 0), N);
	for (i = 0; i < 4; i++) {
		w_verify(w[i]);
		w_exit(w[i]);
	}
	CHECK_WAIT_EQ(cg_stat(cg, "ksm_metadata_bytes"), 0);
	CHECK_EQ(cg_stat(cg, "ksm_merging_pages"), 0);
	CHECK_EQ(cg_stat(cg, "processes"), 0);
}

static const struct ksm_case cases[] = {
	{ "memory.ksm.scan merges while ksmd sleeps", merges },
	{ "memory.ksm.scan: twins in a domain with a name", by_name },
	{ "memory.ksm.scan: zero pages", zeroes },
	{ "memory.ksm.scan: as much as it says, one pass at most", sizes },
	{ "memory.ksm.scan: the next write goes on", goes_on },
	{ "memory.ksm.scan: EAGAIN", refused },
	{ "memory.ksm.scan: EINTR", interrupted },
	{ "memory.ksm.scan: ENODEV, and the cgroup can go", cgroup_goes },
	{ "memory.ksm.scan: many at once, and run changes", together },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
