// SPDX-License-Identifier: GPL-2.0
/*
 * What merged memory can cost others: with thousands of mappings of a frame by
 * fork, with a poisoned frame, with frames that are pinned, when a process with
 * many merged pages exits, and when one keeps changing its domain.
 *
 * Work is compared as the scheduler counts it, from the trace event ksm_slice;
 * no time is taken.
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmslice.h"

/* ---- a family by fork ---- */

#define KIDS	24
#define PAGES	1024	/* of one content */

/* Work for a merged page that fork mapped: finding it, and recording it. */
#define PAGE_COST	(4 + 6)
/* Bytes of a record, without its place in the array by address. */
#define REC_BYTES	48

static struct worker *kid[KIDS];

/* The first process of a family exits before the scan has met the others. */
static void family_begin(const char *in)
{
	struct worker *first;
	int i;

	/* nothing but the area takes part */
	cg_set(in, "memory.ksm", "madvise");
	first = w_asker(in, PAGES, 90000, 0);
	ksm_settle();
	NEED_EQ(w_merged(first), PAGES);
	for (i = 0; i < KIDS; i++)
		kid[i] = w_fork(first);
	w_exit(first);
	NEED_EQ(w_merged(kid[0]), PAGES, "by fork");
}

static void family(void)
{
	long long pages = (long long)KIDS * PAGES, bytes[3], met, lines;
	struct spent first, s;
	int i;

	slice_groups(2, 0);
	w_dup(cg[0], 2048, 1, 1);
	family_begin(cg[1]);
	bytes[0] = cg_stat(cg[1], "ksm_metadata_bytes");
	slice_begin();
	/* half of the pages are visited, none of them twice */
	NEED_WAIT_GE((slice_batch(), cg_stat(cg[1], "ksm_metadata_bytes")),
		     bytes[0] + pages * REC_BYTES / 2);
	bytes[1] = cg_stat(cg[1], "ksm_metadata_bytes");
	first = slice_so_far();
	/* a round that begins with a batch has to end in it */
	ksm_set("pages_to_scan", 4000);
	slice_pass();
	slice_pass();
	s = slice_end();
	bytes[2] = cg_stat(cg[1], "ksm_metadata_bytes");
	CHECK_GE(bytes[2], pages * REC_BYTES, "a record for each mapping");
	met = pages * (bytes[1] - bytes[0]) / (bytes[2] - bytes[0]);
	CHECK_GE(first.lines[1], met * PAGE_COST, "%lld pages", met);
	/*
	 * No page costs more because thousands of others map its frame. Each
	 * pass looks for relatives, which takes a third of PAGE_COST.
	 */
	CHECK_LE(first.lines[1], met * PAGE_COST * 2, "%lld pages", met);
	lines = s.lines[0] + s.lines[1];
	CHECK_GE(s.lines[0], lines * 48 / 100 - 2 * SLICE,
		 "cache lines for the neighbour, of %lld", lines);

	w_verify(kid[0]);
	for (i = 0; i < KIDS; i++)
		w_exit(kid[i]);
	CHECK_WAIT_EQ(cg_stat(cg[1], "pages_shared"), 0);
	CHECK_WAIT_EQ(cg_stat(cg[1], "ksm_metadata_bytes"), 0);
}

/* ---- the payer ---- */

#define N	8

static const char *up;

/* The cgroup, by inode, that the frame of the first page is charged to. */
static u64 payer(struct worker *w)
{
	return frame_cgroup(w_frame(w, 0, 0).pfn);
}

static void siblings(void)
{
	int i;

	up = cg_ksm(NULL, "up", "1");
	if (access("/proc/kpagecgroup", R_OK))
		ksm_skip("no /proc/kpagecgroup");
	for (i = 0; i < 2; i++)
		cg[i] = cg_letter(up, i);
}

/* The records of a process that exits still lead to its children. */
static void orphaned(void)
{
	struct worker *first, *second, *third;

	siblings();
	first = w_dup(cg[0], N, 300, 0);
	ksm_settle();
	NEED_EQ(w_merged(first), N);
	NEED_EQ(payer(first), cg_inode(cg[0]));
	second = w_fork(first);
	third = w_spawn(second, SPAWN_FORK, cg[1]);
	/* the scanner has visited neither of the two */
	w_exit(first);
	CHECK_EQ(payer(second), cg_inode(cg[0]));
	w_exit(second);
	CHECK_WAIT_EQ(payer(third), cg_inode(cg[1]), "handed on");
	CHECK_WAIT_EQ(cg_stat(cg[0], "pages_shared"), 0);
	/* with a record of its own, too */
	ksm_settle();
	CHECK_EQ(w_merged(third), N);
	w_verify(third);
	w_exit(third);
	CHECK_WAIT_EQ(cg_stat(up, "ksm_metadata_bytes"), 0);
}

/* ---- frames that are let go ---- */

/* How often the worker that reviews frames was seen to run. */
static int reviews;

/* Was a frame let go, as far as the trace was read? */
static bool let_go(u64 pfn)
{
	unsigned long long got;
	const char *line, *at;

	while ((line = trace_next())) {
		if (strstr(line, "function ksm_review_work_fn"))
			reviews++;
		at = strstr(line, "ksm_remove_ksm_page: ");
		if (at && sscanf(at, "ksm_remove_ksm_page: pfn %llu",
				 &got) == 1 && got == pfn)
			return true;
	}
	return false;
}

/* The memory is never freed, so the frame is gone only if it was let go. */
static void poisoned(void)
{
	struct worker *w[2];
	long err, bus, i;
	u64 pfn;

	up = cg_ksm(NULL, "up", "1");
	w_twins(w, up, N, 1);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N);
	pfn = w_frame(w[0], 0, 0).pfn;
	reviews = 0;
	trace_begin("ksm/ksm_remove_ksm_page",
		    "workqueue/workqueue_execute_start");
	err = w_madv_at(w[0], 0, 0, 1, MADV_HWPOISON);
	if (err == -EINVAL)
		ksm_skip("no memory failure handling");
	NEED_OK(err, "MADV_HWPOISON");
	CHECK(WAIT_FOR(let_go(pfn)), "the frame is kept");
	trace_end();
	trace_complete();
	/* at once: fewer reviews than for a frame that may be mapped again */
	CHECK_LT(reviews, 10);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(w_bad(w[i], &bus), 0, "wrong pages");
		CHECK_EQ(bus, 1, "lost pages");
		w_exit(w[i]);
	}
	CHECK_WAIT_EQ(cg_stat(up, "pages_shared"), 0);
}

/* A reference in a pipe keeps neither the frame nor the charge in place. */
static void pinned(void)
{
	struct worker *w[2], *other;
	const char *last;
	int from;
	u64 pfn;

	siblings();
	w[0] = w_dup(cg[0], N, 1, 1);
	w[1] = w_dup(cg[1], N, 1, 1);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N);
	from = payer(w[0]) == cg_inode(cg[1]);
	other = w[!from];
	last = cg[!from];
	pfn = w_frame(other, 0, 0).pfn;
	w_pin(other, 0, N);
	w_exit(w[from]);
	CHECK_WAIT_EQ(payer(other), cg_inode(last), "handed on");
	CHECK_WAIT_EQ(cg_stat(cg[from], "pages_shared"), 0);
	/* a frame counts for neither while its charge moves */
	CHECK_WAIT_GE(cg_stat(last, "pages_shared"), N);
	NEED_EQ(w_frame(other, 0, 0).pfn, pfn, "pinned");

	trace_begin("ksm/ksm_remove_ksm_page", NULL);
	w_replace(other, 0, N);
	/* each write has the worker review at once and not a second later */
	CHECK(WAIT_FOR((ksm_unmerge_all(), let_go(pfn))),
	      "a frame that nothing maps is kept");
	trace_end();
	trace_complete();
	CHECK_WAIT_EQ(cg_stat(up, "pages_shared"), 0);
	/* it is pinned memory of the cgroup like any other */
	CHECK_EQ(frame_cgroup(pfn), cg_inode(last));
	w_unpin(other);
	w_exit(other);
	NEED_WAIT_OK(cg_rmdir(last));
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

/* ---- freeing what is remembered of a process that exited ---- */

#define BLOCK	64
#define FAR	2048	/* merged pages, each in a block of its own */

/* What happens in one domain while the records of a process are deleted. */
static struct {
	u64 neighbour;
	long deleted;
	int slices;	/* of the neighbour, up to the last one deleted */
	int later;	/* since then */
} seen;

static void read_deletions(void)
{
	unsigned long lines, cost;
	const char *line, *at;
	u64 id;

	while ((line = trace_next())) {
		if (strstr(line, "ksm_remove_rmap_item: ")) {
			if (seen.deleted++)
				seen.slices += seen.later;
			seen.later = 0;
			continue;
		}
		at = strstr(line, "ksm_slice: ");
		if (at && sscanf(at, "ksm_slice: work %lu cost %lu cgroup %llu",
				 &lines, &cost, &id) == 3)
			seen.later += id == seen.neighbour;
	}
}

/*
 * A process of many merged pages exits while its neighbour is scanned, which
 * keeps their frame, and so the records.
 */
static void exit_beside(const char *beside, struct worker *keeper)
{
	const char *far = cg_new(up, "far");
	struct worker *w = w_new(far);
	char filter[64];
	long i;

	w_map(w, FAR * BLOCK, MAP_PLAIN);
	for (i = 0; i < FAR; i++)
		w_set(w, 0, i * BLOCK, 1, 700, 0);
	ksm_settle();
	NEED_EQ(w_merged(w), FAR);
	NEED_EQ(w_frame(w, 0, 0).pfn, w_frame(keeper, 0, 0).pfn);
	memset(&seen, 0, sizeof(seen));
	seen.neighbour = cg_inode(beside);
	trace_begin("ksm/ksm_slice", "ksm/ksm_remove_rmap_item");
	/* the canary has ten slices for each, faster than they can be read */
	snprintf(filter, sizeof(filter), "cgroup == %llu", seen.neighbour);
	trace_filter(0, filter);
	ksm_start();
	w_exit(w);
	NEED_WAIT_GE((read_deletions(), seen.deleted), FAR);
	ksm_stop();
	trace_end();
	read_deletions();
	trace_complete();
	NEED_WAIT_OK(cg_rmdir(far));
}

/*
 * The scanner and the worker that frees records take turns with the domain's
 * mutex. On a busy machine the worker may be done before the scanner runs, so
 * there are several tries.
 */
static void in_pieces(void)
{
	const char *beside;
	struct worker *w;
	int tries = 3;

	/* one frame for all */
	ksm_set("max_page_sharing", 2 * FAR);
	up = cg_ksm(NULL, "up", "1");
	beside = cg_new(up, "n");
	w = w_dup(beside, 256, 30000, 1);
	w_set(w, 0, 0, 1, 700, 0);
	do {
		exit_beside(beside, w);
	} while (--tries && seen.slices < 3);
	/* a slice that ended before the first deletion may be traced later */
	CHECK_GE(seen.slices, 3, "slices while %ld records are deleted",
		 seen.deleted);
	w_verify(w);
}

/* ---- changes of domain ---- */

/*
 * The pass over a process begins anew at each change of its domain, here before
 * it has ended. The rounds of everybody end all the same.
 */
static void changing(void)
{
	const char *p = cg_ksm(NULL, "p", "1"), *c = cg_ksm(p, "c", "1");
	long long scans;
	int i;

	w_dup(c, 4096, 70000, 1);
	ksm_set("pages_to_scan", 20);
	ksm_batch();
	scans = ksm_get("full_scans");
	for (i = 0; i < 200 && ksm_get("full_scans") < scans + 2; i++) {
		cg_set(c, "memory.ksm.domain", i % 2 ? "self" : "parent");
		ksm_batch();
	}
	CHECK_GE(ksm_get("full_scans"), scans + 2, "%d changes", i);
	CHECK_GE(i, 16, "a pass takes more than a batch");
}

static const struct ksm_case cases[] = {
	{ "a family with thousands of mappings of a frame", family },
	{ "the charge finds the children of processes that exit", orphaned },
	{ "a poisoned frame is let go at once", poisoned },
	{ "a pinned frame that nothing maps is let go", pinned },
	{ "the scanner runs while records of an exited process are freed",
	  in_pieces },
	{ "a process that keeps changing its domain", changing },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
