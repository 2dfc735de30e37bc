// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail, by fault injection in one function of the engine.
 *
 * - a round that finds no memory is repeated, and counts in the end
 * - no page is merged without a record of it
 * - a process that fork could not register is registered by a worker
 * - after a failure, frames charged to another cgroup are unshared first if
 *   something has changed since
 * - a page that UFFDIO_MOVE moves while its family is pending is unshared for
 *   the process alone
 *
 * vm: timeout=300
 */
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ksmturn.h"

#define N	1024
#define TAG	1000

/* ---- rounds ---- */

/* Batches until full_scans rises; they are small beside a round. */
static void round_counts(void)
{
	long long scans = ksm_get("full_scans");

	NEED_WAIT_GT((ksm_batch(), ksm_get("full_scans")), scans);
}

/*
 * Nothing can be allocated in @function. The first round in which it is called
 * is repeated three times; it is one of the first @rounds that count. The next
 * one is not, as memory is short for longer: that is what a round takes.
 */
static void short_rounds(const char *function, int pages, int rounds)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	long long first, next;
	struct worker *w[2];

	w_twins(w, cg, N, TAG);
	/* no page is on its way to the LRU: that would repeat rounds, too */
	file_put("/proc/sys/vm/drop_caches", "1");
	ksm_set("pages_to_scan", pages);
	fail_below(FAIL_SLAB, function, false);
	while (rounds--)
		round_counts();
	first = fail_hits();
	round_counts();
	next = fail_hits() - first;
	fail_end();
	NEED_GT(next, 0);
	CHECK_GE(first, 3 * next, "tries until the round counts");
	CHECK_LT(w_same(w[0], w[1], 0), N);
	ksm_set("sleep_millisecs", 0);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N);
	w_verify(w[0]);
	w_verify(w[1]);
}

/* A page is tried when it was seen twice. */
static void no_frames(void)
{
	short_rounds("ksm_merge_fresh", 300, 2);
}

/* Nothing is remembered of any page. */
static void no_blocks(void)
{
	short_rounds("ksm_block_make", 20, 1);
}

/* Nothing is mapped that the reverse map would not lead to. */
static void no_records(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *w[2];

	w_twins(w, cg, N, TAG);
	fail_below(FAIL_SLAB, "ksm_rec_prepare", false);
	ksm_pass(3);
	ksm_stop();
	NEED_GT(fail_hits(), 0);
	fail_end();
	CHECK_EQ(w_merged(w[0]), 0);
	CHECK_EQ(w_merged(w[1]), 0);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N);
	w_verify(w[0]);
	w_verify(w[1]);
}

/* ---- fork ---- */

static void fork_fails(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *out = w_dup(cg_new(NULL, "b"), N, TAG, 1), *in[2];
	int i;

	fail_below(FAIL_SLAB, "ksm_memcg_fork", false);
	for (i = 0; i < 2; i++)
		in[i] = w_spawn(out, SPAWN_FORK, cg);
	CHECK_EQ(fail_hits(), 2);
	fail_end();
	CHECK_WAIT_EQ(cg_stat(cg, "processes"), 2, "by a worker");
	for (i = 0; i < 2; i++)
		w_set(in[i], 0, 0, N, 3 * TAG, 1);
	ksm_settle();
	CHECK_EQ(w_same(in[0], in[1], 0), N);
	CHECK_EQ(w_merged(out), 0, "its parent outside");
	for (i = 0; i < 2; i++)
		w_verify(in[i]);
	w_verify(out);
}

/* ---- unsharing ---- */

#define OWN	1024
#define LENT	256
#define MORE	64

/* Pages of the first area that are merged, and charged to this cgroup. */
static long merged_in(struct worker *w, long first, long nr, u64 payer)
{
	struct frame f;
	long i, n = 0;

	for (i = first; i < first + nr; i++) {
		f = w_frame(w, 0, i);
		n += f.flags & F_KSM && frame_cgroup(f.pfn) == payer;
	}
	return n;
}

/* Wait until the worker that unshares has failed twice more. */
static void worker_fails(const char *cg)
{
	struct turn t;
	int failed = 0;

	while (next_turn(&t))
		;
	NEED_WAIT_GE(({
		while (next_turn(&t))
			failed += t.cgroup == cg_inode(cg) && t.err == -ENOMEM;
		failed; }), 2);
}

/*
 * Memory is short when a range ceases to be eligible, and its cgroup pays for
 * all that is merged there. Then a 0 takes in what another one pays for, and
 * there is memory for little more than that.
 */
static void borrowed_since(void)
{
	const char *top = cg_ksm(NULL, "a", "1");
	const char *lender = cg_new(top, "b"), *cg = cg_new(top, "c");
	struct worker *twin[2], *w;

	if (access("/proc/kpagecgroup", R_OK))
		ksm_skip("no /proc/kpagecgroup");
	cg_set(cg, "memory.ksm.types", "+dontdump");
	w_twins(twin, lender, LENT, TAG);
	ksm_settle();
	w = w_new(cg);
	w_map(w, OWN + LENT, MAP_PLAIN);
	w_set(w, 0, 0, OWN / 2, 8 * TAG, 1);
	w_set(w, 0, OWN / 2, OWN / 2, 8 * TAG, 1);
	w_set(w, 0, OWN, LENT, TAG, 1);
	NEED_OK(w_madv_at(w, 0, 0, OWN, MADV_DONTDUMP));
	ksm_settle();
	NEED_EQ(merged_in(w, 0, OWN, cg_inode(cg)), OWN);
	NEED_EQ(merged_in(w, OWN, LENT, cg_inode(lender)), LENT);

	/* or it would begin anew itself, for the worker */
	NEED(!kill(w->pid, SIGSTOP), "SIGSTOP");
	fail_below(FAIL_PAGES, "ksm_unshare_pmd", true);
	trace_begin("ksm/ksm_undo", NULL);
	CHECK_EQ(cg_put(cg, "memory.ksm.types", "-dontdump"), -ENOMEM);
	worker_fails(cg);
	CHECK_EQ(cg_put(cg, "memory.ksm", "0"), -ENOMEM);
	worker_fails(cg);
	fail_after(LENT + MORE);
	CHECK_WAIT_EQ(fail_spared(), 0);
	CHECK_EQ(merged_in(w, OWN, LENT, cg_inode(lender)), 0, "borrowed");
	CHECK_GE(merged_in(w, 0, OWN, cg_inode(cg)), OWN - MORE, "its own");
	trace_end();
	fail_end();
	NEED(!kill(w->pid, SIGCONT), "SIGCONT");
	CHECK_WAIT_EQ(cg_stat(cg, "pages_pending"), 0);
	w_verify(w);
	CHECK_EQ(w_same(twin[0], twin[1], 0), LENT);
}

/* A page is moved only where one process maps it alone. */
static void moved_while_pending(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *parent = w_dup(cg, N, TAG, 1), *child, *twin;
	long ret;
	int to;

	child = w_fork(parent);
	twin = w_dup(cg, N, TAG, 1);
	to = w_map(parent, N / 2, MAP_PLAIN);
	ret = w_uffd(parent, to, UFFDIO_REGISTER_MODE_MISSING);
	if (ret)
		ksm_skip("no userfaultfd: %s", strerror(-ret));
	ksm_settle();
	NEED_EQ(w_same(parent, child, 0), N);
	NEED_EQ(w_same(parent, twin, 0), N);
	fail_below(FAIL_PAGES, "ksm_unshare_pmd", true);
	CHECK_EQ(cg_put(cg, "memory.ksm", "0"), -ENOMEM);
	CHECK_GE(cg_stat(cg, "pages_pending"), 3 * N);
	CHECK_OK(w_uffd_move(parent, 0, 0, N / 2, to));
	CHECK_EQ(w_count(parent, to, F_KSM), 0, "moved");
	CHECK_EQ(w_merged(parent), N / 2, "not moved");
	CHECK_EQ(w_same(child, twin, 0), N, "the others still share");
	fail_end();
	CHECK_WAIT_EQ(cg_stat(cg, "pages_pending"), 0);
	CHECK_EQ(w_all_ksm(parent) + w_all_ksm(child) + w_all_ksm(twin), 0);
	w_verify(parent);
	w_verify(child);
	w_verify(twin);
}

static const struct ksm_case cases[] = {
	{ "a round without memory for frames is repeated", no_frames },
	{ "a round without memory for blocks is repeated", no_blocks },
	{ "a page whose record cannot be allocated is not merged", no_records },
	{ "a worker registers what fork could not", fork_fails },
	{ "frames that are borrowed since are unshared first",
	  borrowed_since },
	{ "a page of a pending family is moved", moved_while_pending },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
