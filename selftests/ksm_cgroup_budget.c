// SPDX-License-Identifier: GPL-2.0
/*
 * What scanning costs a batch: new memory next to nothing, memory that changes
 * all the time in full, and pages that are alike are read whole now and then.
 *
 * Work and cost are those of the trace event ksm_slice; no time is taken.
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "ksmslice.h"

/*
 * A batch of 100 pages is 1600 samples: enough for a small process, not for a
 * round through those that are known.
 */
static void new_process_first(void)
{
	struct worker *w[3], *fresh;
	struct spent s;
	int i;

	slice_groups(1, 0);
	for (i = 0; i < 3; i++)
		w[i] = w_dup(cg[0], 2048, 1 + 2048 * i, 1);
	ksm_settle();
	ksm_set("smart_scan", 0);
	fresh = w_dup(cg[0], 256, 90000, 1);
	s = one_batch(100);
	/* four lines each, which took next to nothing from the budget */
	CHECK_GE(s.all - s.cost, 256 * 4 * 9 / 10);
	CHECK_GE(w_stat(fresh, "ksm_rmap_items"), 256);
	for (i = 0; i < 3; i++)
		w_exit(w[i]);
}

/* Pages that are alike, differ, and change all the time, bring nothing. */
static void restless(void)
{
	enum { N = 200 };
	struct worker *w;
	struct spent s;
	int i, round;

	slice_groups(1, 0);
	w = w_dup(cg[0], N, 70000, 0);
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2000, 1 + i);
	ksm_pass(4);
	slice_begin();
	for (round = 1; round <= 6; round++) {
		/* in between, some equal what others still are */
		ksm_stop();
		for (i = 0; i < N; i++)
			w_poke(w, 0, i, 2000, 1 + (i + round * 7) % 251);
		slice_pass();
	}
	s = slice_end();
	CHECK_GE(s.costs[0], s.lines[0] - s.lines[0] / 10);
	w_verify(w);
}

/*
 * Lines that were read in so many passes, less those of the samples; @busy: the
 * first @nr pages change before each; @samples: how many were taken.
 */
static long long whole_lines(struct worker *w, int nr, bool busy, int passes,
			     long long *samples)
{
	enum { SAMPLE = 5 };	/* with the walk's part */
	long long before;
	struct spent s;
	int round, i;

	slice_begin();
	before = cg_stat(cg[0], "pages_scanned");
	for (round = 1; round <= passes; round++) {
		ksm_stop();
		for (i = 0; busy && i < nr; i++)
			w_poke(w, 0, i, 2000, 1 + (i + round * 7) % 251);
		slice_pass();
	}
	s = slice_end();
	*samples = cg_stat(cg[0], "pages_scanned") - before;
	return s.lines[0] - SAMPLE * *samples;
}

/* A page that is read whole: itself, and both that are compared. */
#define READ_LINES	(3 * PAGE_LINES)
/* And the other one again, where it may have changed. */
#define CHANGED_LINES	(4 * PAGE_LINES)

/*
 * Pages that differ outside their samples are read whole now and then, however
 * often they are written to; and at once if they were still.
 */
static void alike(void)
{
	enum { N = 200, EVERY = 16 };
	long long lines, samples;
	struct worker *w;
	int i, round;

	slice_groups(1, 0);
	ksm_set("smart_scan", 0);
	w = w_dup(cg[0], N, 70000, 0);
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2000, 1 + i);
	ksm_pass(2 * EVERY);
	lines = whole_lines(w, N, false, 2 * EVERY, &samples);
	CHECK_LE(lines, READ_LINES * (samples / EVERY + N),
		 "lines in %lld samples of still pages", samples);
	/*
	 * Twice that many because of the writes, before the first and after the
	 * last, too; and once as another page was for a moment what this one
	 * had been.
	 */
	lines = whole_lines(w, N, true, EVERY, &samples);
	CHECK_LE(lines, CHANGED_LINES * (2 * (samples / EVERY + N) + 2 * N),
		 "lines in %lld samples of busy pages", samples);

	/* more than once, as the one visit in sixteen may just have come */
	for (round = 0; round < 3; round++) {
		ksm_stop();
		for (i = 0; i < N; i++)
			w_poke(w, 0, i, 2000, 1 + i);
		ksm_pass(3 * EVERY);
		ksm_stop();
		for (i = 0; i < N; i += 2)
			w_poke(w, 0, i, 2000, 2 + i);
		ksm_pass(3);
		ksm_stop();
		CHECK_EQ(w_merged(w), N);
	}
	w_verify(w);
}

/* ---- one digest, many contents ---- */

#define WORDS	(PAGE_SZ / sizeof(u64))

static struct iovec page_of(struct worker *w, int i)
{
	return (struct iovec){
		.iov_base = (void *)(w->area[0].addr + i * PAGE_SZ),
		.iov_len = PAGE_SZ,
	};
}

static void colliding_read(struct worker *w, int i, u64 *page)
{
	struct iovec to = { page, PAGE_SZ }, from = page_of(w, i);

	NEED_EQ(process_vm_readv(w->pid, &to, 1, &from, 1, 0), PAGE_SZ);
}

/*
 * Change a page in some of sixteen places, so that it may keep its digest: what
 * one change of a pair does to xxh64, the other takes back, for one key of two.
 */
static void colliding_make(struct worker *w, int i, int bits, u64 *page)
{
	struct iovec from = { page, PAGE_SZ }, to = page_of(w, i);
	u64 *at;

	colliding_read(w, i, page);
	for (at = page; bits; bits >>= 1, at += WORDS / 16) {
		if (bits & 1) {
			at[0] ^= 1ULL << 63;
			at[4] += 0xce48002dc0000000;
		}
	}
	NEED_EQ(process_vm_writev(w->pid, &from, 1, &to, 1, 0), PAGE_SZ);
}

static void colliding_intact(struct worker *w, u64 (*want)[WORDS], int nr)
{
	u64 page[WORDS];
	int i;

	for (i = 0; i < nr; i++) {
		colliding_read(w, i, page);
		CHECK(!memcmp(page, want[i], PAGE_SZ), "page %d changed", i);
	}
}

/*
 * Pages with one digest and different contents leave the index for one another.
 * They are read whole now and then, too, and not at each visit.
 */
static void colliding(void)
{
	enum { N = 250, COPIES = 50, EVERY = 16 };
	static u64 want[N][WORDS];
	long long lines, samples;
	struct worker *w;
	int i;

	slice_groups(1, 0);
	ksm_set("smart_scan", 0);
	w = w_dup(cg[0], N, 70000, 0);
	/* and some are merged with the next, with which others collide then */
	for (i = 0; i < N; i++)
		colliding_make(w, i, i < 2 * COPIES ? i / 2 : i - COPIES,
			       want[i]);
	ksm_pass(2 * EVERY);
	lines = whole_lines(w, N, false, 4 * EVERY, &samples);
	CHECK_LE(lines, CHANGED_LINES * (samples / EVERY + N),
		 "lines in %lld samples of still pages", samples);
	colliding_intact(w, want, N);
}

#define EACH	4

/* The number of groups of pages with merged ones in them. */
static int groups_merged(struct worker *w, int nr)
{
	struct frame f[nr * EACH];
	int i, merged = 0;

	w_frames(w, 0, f);
	for (i = 0; i < nr * EACH; i += EACH) {
		if ((f[i].flags & f[i + 2].flags & F_KSM) ||
		    (f[i + 1].flags & f[i + 3].flags & F_KSM))
			merged++;
	}
	return merged;
}

/*
 * Nor do they keep equal pages apart: here, in a group of four, the first and
 * third are equal, and the second and fourth.
 */
static void colliding_twins(void)
{
	enum { N = 16 };
	static u64 want[N * EACH][WORDS];
	struct worker *w;
	int i;

	slice_groups(1, 0);
	ksm_set("smart_scan", 0);
	w = w_dup(cg[0], N * EACH, 70000, 1);
	for (i = 0; i < N * EACH; i++) {
		w_set(w, 0, i, 1, 80000 + i / EACH, 0);
		colliding_make(w, i, i & 1 ? 1 << i / EACH : 0, want[i]);
	}
	ksm_start();
	NEED_WAIT_EQ(groups_merged(w, N), N);
	ksm_stop();
	colliding_intact(w, want, N * EACH);
}

/* ---- where a batch ends ---- */

/* A whole read is dear: a slice ends in the midst of the pages it sampled. */
static void alike_batch(void)
{
	enum { N = 1000 };
	struct worker *w;
	struct spent s;
	int i;

	slice_groups(1, 0);
	w = w_dup(cg[0], N, 70000, 0);
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2000 + i / 250, 1 + i % 250);
	ksm_pass(4);
	ksm_stop();
	/* all are read whole again, and still differ */
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2010, 1);
	s = one_batch(100);
	CHECK_LE(s.cost, 100 * PAGE_LINES + SLICE);
	CHECK_GE(s.cost, 100 * PAGE_LINES / 2);
	/* the next goes on there, however small the batch */
	ksm_set("pages_to_scan", 1);
	ksm_pass(1);
	ksm_stop();
	w_verify(w);
}

/* Pages that were sampled once when a slice ended were sampled once still. */
static void seen_once(void)
{
	struct worker *w;

	slice_groups(1, 0);
	ksm_set("use_zero_pages", 1);
	w = w_dup(cg[0], 1000, 0, 0);
	one_batch(100);
	CHECK_GT(w_stat(w, "ksm_rmap_items"), 0);
	CHECK_EQ(w_zeroes(w), 0, "at first sight");
	ksm_set("pages_to_scan", 2000);
	ksm_settle();
	CHECK_EQ(w_zeroes(w), 1000);
	w_verify(w);
}

static void switched_on_first(void)
{
	struct worker *fresh;

	slice_groups(2, 0);
	cg_set(cg[1], "memory.ksm", "0");
	fresh = w_dup(cg[1], 256, 90000, 1);
	w_dup(cg[0], 2048, 1, 1);
	w_dup(cg[0], 2048, 3000, 1);
	ksm_settle();
	ksm_set("smart_scan", 0);
	one_batch(100);
	CHECK_EQ(w_stat(fresh, "ksm_rmap_items"), 0, "under a 0");
	cg_set(cg[1], "memory.ksm", "1");
	/* half of the batch is its due, and it comes at once */
	one_batch(100);
	CHECK_GE(w_stat(fresh, "ksm_rmap_items"), 256);
}

static const struct ksm_case cases[] = {
	{ "a new process goes before those that are known", new_process_first },
	{ "a cgroup that is switched on is served at once", switched_on_first },
	{ "memory that changes all the time costs its work in full", restless },
	{ "pages with equal samples are read whole now and then", alike },
	{ "pages with equal digests are not read whole each time", colliding },
	{ "pages with equal digests are merged all the same", colliding_twins },
	{ "a batch keeps its length where all samples are equal", alike_batch },
	{ "a page is not merged at its first sample", seen_once },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
