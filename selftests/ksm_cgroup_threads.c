// SPDX-License-Identifier: GPL-2.0
/*
 * Several scanner threads: one budget and one order for all of them, and one
 * thread at a time in each domain.
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <string.h>

#include "ksmslice.h"

static int nr_threads(void)
{
	int nr = 0;

	while (ksmd_file(nr, "stat"))
		nr++;
	return nr;
}

static int put_threads(const char *value)
{
	return file_put(KSM_SYSFS "threads", value);
}

static void need_threads(void)
{
	ksm_need_cgroup();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		ksm_skip("one CPU");
	ksm_set("threads", 2);
}

static void threads_file(void)
{
	static const char * const bad[] = { "0", "-1", "x", "2 2", "5000" };
	char many[24];
	size_t i;

	need_threads();
	CHECK_EQ(nr_threads(), 2);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(put_threads(bad[i]), -EINVAL, "'%s'", bad[i]);
		CHECK_EQ(ksm_get("threads"), 2, "'%s'", bad[i]);
		CHECK_EQ(nr_threads(), 2, "'%s'", bad[i]);
	}
	snprintf(many, sizeof(many), "%ld", sysconf(_SC_NPROCESSORS_ONLN) + 1);
	CHECK_EQ(put_threads(many), -EINVAL, "more threads than CPUs");
	ksm_set("threads", 1);
	/* the write does not wait until the other's entry in /proc has gone */
	CHECK_WAIT_EQ(nr_threads(), 1);
}

#define BUDGET	100	/* pages */
/* How far the domain that a thread is in may be behind: ksm_sched_slack(). */
#define SLACK	(BUDGET * PAGE_LINES - SLICE / 2)

/* One budget for both: what one domain gets is taken from the other. */
static void threads_by_weight(void)
{
	static const int weight[] = { 100, 100, 1800 };
	struct spent s;
	int i;

	need_threads();
	slice_groups(3, 2048);
	set_weights(weight);
	ksm_set("pages_to_scan", BUDGET);
	ksm_settle();
	s = scan_traced(cg[2], 120000);
	shares_are(&s, weight, SLACK);
	for (i = 0; i < NR_CGS; i++)
		CHECK_LE(s.threads[i], 3, "bits of threads, cgroup %d", i);
}

/* Both threads have been in both domains. */
static bool both_in_both(void)
{
	struct spent s = slice_so_far();

	return s.threads[0] == 3 && s.threads[1] == 3;
}

static void side_by_side(void)
{
	struct worker *w[4];
	long long until;
	struct spent s;
	int i;

	need_threads();
	slice_groups(2, 0);
	for (i = 0; i < 4; i++)
		w[i] = w_dup(cg[i / 2], 4096, 1, 1);
	until = cg_stat(cg[0], "pages_scanned") + 60000;
	slice_begin();
	NEED_WAIT_GE((slice_batch(), cg_stat(cg[0], "pages_scanned")), until);
	/* where one thread got little CPU time until now, it takes longer */
	WAIT_FOR((slice_batch(), both_in_both()));
	s = slice_end();
	for (i = 0; i < 2; i++)
		CHECK_EQ(s.threads[i], 3, "bits of threads, cgroup %d", i);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), 4096);
	CHECK_EQ(w_same(w[2], w[3], 0), 4096);
	CHECK_EQ(w_common_ksm(w[0], w[2]), 0, "across domains");
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

/* One domain is for one thread at a time; the other does not spoil that. */
static void one_domain(void)
{
	struct worker *w[24];
	const char *sub;
	struct spent s;
	int i;

	need_threads();
	slice_groups(1, 0);
	for (i = 0; i < (int)ARRAY_SIZE(w); i++) {
		sub = cg_letter(cg[0], i);
		w[i] = w_dup(sub, 64, 1, 1);
	}
	ksm_pass(50);
	ksm_settle();
	for (i = 1; i < (int)ARRAY_SIZE(w); i++)
		CHECK_EQ(w_same(w[0], w[i], 0), 64, "process %d", i);
	for (i = 0; i < (int)ARRAY_SIZE(w); i++) {
		w_verify(w[i]);
		if (i >= 2 && i < (int)ARRAY_SIZE(w) - 1)
			w_exit(w[i]);
	}
	/* a turn that comes while the other thread is in the domain is kept */
	cg[1] = sub;
	cg_set(sub, "memory.ksm.weight", "1");
	s = scan_traced(sub, 64);
	CHECK_GT(s.lines[1], 0, "lines for the least weight");
	CHECK_LE(s.lines[1], s.all / 201 + 2 * SLICE, "lines of %lld", s.all);
	w_verify(w[0]);
	w_verify(w[1]);
	w_verify(w[ARRAY_SIZE(w) - 1]);
}

/*
 * A domain whose groups are in several subtrees, beside one in each subtree: a
 * thread that meets the busy domain goes on with another, wherever the group
 * that it leaves behind is.
 */
static void spread_domain(void)
{
	struct worker *w[6][2];
	const char *top = NULL, *sub;
	int i, j;

	need_threads();
	for (i = 0; i < 6; i++) {
		if (i % 2 == 0)
			top = cg_ksm(NULL, (char[]){ 'p', '0' + i, '\0' }, NULL);
		sub = cg_letter(top, i);
		cg_set(sub, "memory.ksm.domain", i % 2 ? "self" : "@spread");
		cg_set(sub, "memory.ksm", "1");
		cg_set(sub, "memory.ksm.weight", i % 3 ? "100" : "1000");
		for (j = 0; j < 2; j++)
			w[i][j] = w_dup(sub, 256, 1, 1);
	}
	ksm_pass(20);
	ksm_settle();
	for (i = 0; i < 6; i++) {
		CHECK_EQ(w_same(w[i][0], w[i][1], 0), 256, "cgroup %d", i);
		if (i % 2)
			CHECK_EQ(w_common_ksm(w[i][0], w[0][0]), 0, "%d", i);
		else
			CHECK_EQ(w_same(w[i][0], w[0][0], 0), 256, "%d", i);
		for (j = 0; j < 2; j++)
			w_verify(w[i][j]);
	}
}

static void threads_come_and_go(void)
{
	static const int runs[] = { 1, 0, 1, 0, 1, 2, 1 };
	struct worker *w[6];
	const char *in, *sub[2];
	int i;

	need_threads();
	slice_groups(3, 0);
	sub[0] = cg_letter(cg[2], 0);
	sub[1] = cg_letter(cg[2], 1);
	for (i = 0; i < 6; i++) {
		in = i < 4 ? cg[i / 2] : sub[i - 4];
		w[i] = w_dup(in, 256, 700, 1);
	}
	ksm_start();
	for (i = 0; i < 200; i++) {
		ksm_set("threads", 1 + (i & 1));
		ksm_run_as(runs[i % 7], i % 5 != 2);
		w_set(w[i % 6], 0, i, 32, 700 + i, 1);
		if (i % 10 == 3)
			cg_set(cg[1], "memory.ksm", i % 20 == 3 ? "0" : "1");
		if (i % 10 == 5)
			cg_set(sub[1], "memory.ksm",
			       i % 20 == 5 ? "1" : "inherit");
		/* from domain to domain while they are scanned */
		CHECK_OK(cg_move(cg[i & 1], w[i & 3]->pid));
		w_verify(w[(i + 1) % 6]);
	}
	cg_set(cg[1], "memory.ksm", "1");
	cg_set(sub[1], "memory.ksm", "inherit");
	for (i = 0; i < 4; i++)
		CHECK_OK(cg_move(cg[i / 2], w[i]->pid));
	for (i = 0; i < 6; i++)
		w_set(w[i], 0, 0, 256, 700, 1);
	ksm_settle();
	for (i = 0; i < 6; i += 2)
		CHECK_EQ(w_same(w[i], w[i + 1], 0), 256, "process %d", i);
	for (i = 0; i < 6; i++) {
		w_verify(w[i]);
		w_exit(w[i]);
	}
	for (i = 0; i < 3; i++)
		CHECK_WAIT_EQ(cg_stat(cg[i], "ksm_metadata_bytes"), 0);
}

static const struct ksm_case cases[] = {
	{ "threads takes 1 to the number of CPUs", threads_file },
	{ "weights hold with two threads", threads_by_weight },
	{ "two threads in two domains", side_by_side },
	{ "two threads and one domain", one_domain },
	{ "two threads and a domain in several subtrees", spread_domain },
	{ "threads come and go", threads_come_and_go },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
