// SPDX-License-Identifier: GPL-2.0
/*
 * The worker that unshares: in which order it serves cgroups, and what it
 * leaves to the processes themselves.
 *
 * - cgroups are served in turns, however much one of them has to undo
 * - a running process unshares its own memory
 * - processes that cannot be unshared do not delay other cgroups
 * - a process that keeps moving takes its frames along in the end; reviews of
 *   them are put off, also where it runs
 * - the worker does not reclaim, interrupts a process once, and retries after
 *   growing delays
 * - its work counts against the cgroup's share of the scan
 *
 * Order and work are those of the trace event ksm_undo; no time is taken.
 *
 * vm: timeout=600
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ksmslice.h"
#include "ksmturn.h"

#define N	1024
#define TAG	1000
/* A turn of the worker, in cache lines; it may end a turn late. */
#define TURN	(16LL * 4096)

/* Two equal processes in a domain, cg[0], and another domain to go to. */
static const char *couple(struct worker **w, const char *name, long pages,
			  u64 tag, const char **cg)
{
	const char *top = cg_ksm(NULL, name, NULL);

	cg[0] = cg_ksm(top, "a", "1");
	cg[1] = cg_ksm(top, "b", "1");
	w_twins(w, cg[0], pages, tag);
	return top;
}

/* Work for a small process; for a large one meanwhile, and after that. */
struct turns {
	long long few, many, later;
};

static struct turns read_turns(u64 few, u64 many)
{
	struct turns sum = {};
	long long meanwhile = 0;
	struct turn t;

	while (next_turn(&t)) {
		if (t.cgroup == few) {
			sum.few += t.work;
			sum.many += meanwhile;
			meanwhile = 0;
			sum.later = 0;
		} else if (t.cgroup == many) {
			meanwhile += sum.few ? t.work : 0;
			sum.later += t.work;
		}
	}
	trace_complete();
	return sum;
}

/*
 * The small process has @times the weight of the large one. More than one try,
 * as the worker may be done with the large one before the other is there.
 */
static void in_turns_of(int times)
{
	const char *many_cg[2], *few_cg[2], *top;
	struct worker *many[2], *few[2];
	struct turns sum;
	long long share;
	int tries = 4;
	char buf[16];

	couple(many, "m", 16 * N, TAG, many_cg);
	top = couple(few, "f", 2 * N, 100 * TAG, few_cg);
	snprintf(buf, sizeof(buf), "%d", 100 * times);
	for (;;) {
		ksm_settle();
		NEED_EQ(w_same(many[0], many[1], 0), 16 * N);
		NEED_EQ(w_same(few[0], few[1], 0), 2 * N);
		cg_set(top, "memory.ksm.weight", buf);
		trace_begin("ksm/ksm_undo", NULL);
		NEED_OK(cg_move(many_cg[1], many[0]->pid));
		NEED_OK(cg_move(few_cg[1], few[0]->pid));
		CHECK_WAIT_EQ(cg_stat(few_cg[1], "pages_foreign"), 0);
		CHECK_WAIT_EQ(cg_stat(many_cg[1], "pages_foreign"), 0);
		trace_end();
		sum = read_turns(cg_inode(few_cg[1]), cg_inode(many_cg[1]));
		/* was enough work left to delay the small process? */
		if (sum.later > TURN || !--tries)
			break;
		NEED_OK(cg_move(many_cg[0], many[0]->pid));
		NEED_OK(cg_move(few_cg[0], few[0]->pid));
	}
	NEED_GT(sum.later, TURN, "the large process was done first");
	CHECK_GE(sum.few, 2 * N * 64, "the small process");
	share = sum.few / times;
	CHECK_LE(sum.many, share + 3 * TURN, "between its turns");
	CHECK_GE(sum.many, share / 2 - 3 * TURN, "between its turns");
	w_verify(many[0]);
	w_verify(few[0]);
}

static void in_turns(void)
{
	in_turns_of(1);
}

static void by_weight(void)
{
	in_turns_of(8);
}

/* ---- what the process does itself ---- */

/* One attempt: how much the worker did for a process that runs. */
static long long work_for_running(pid_t pid, const char *to)
{
	long long work = 0;
	struct turn t;

	trace_begin("ksm/ksm_undo", NULL);
	NEED_OK(cg_move(to, pid));
	CHECK_WAIT_EQ(cg_stat(to, "pages_foreign"), 0);
	trace_end();
	while (next_turn(&t)) {
		if (t.cgroup == cg_inode(to))
			work += t.work;
	}
	trace_complete();
	return work;
}

/*
 * After a tenth of a second the worker takes a part in it, of half of what is
 * left: few pages, and less than half is allowed. On a busy machine it may do
 * it now and then: try several times.
 */
static void by_itself(void)
{
	enum { PAGES = 64, HALF = PAGES * 4 * PAGE_LINES / 2 };
	const char *from = cg_ksm(NULL, "a", "1");
	const char *to = cg_ksm(NULL, "b", "1");
	pid_t pid = stays(from, COMPUTES, PAGES);
	long long work = 0;
	int tries = 5;

	while (tries--) {
		ksm_settle();
		NEED_GE(cg_stat(from, "ksm_merging_pages"), PAGES);
		work = work_for_running(pid, to);
		if (work < HALF)
			break;
		NEED_OK(cg_move(from, pid));
	}
	CHECK_LT(work, HALF, "the worker did it");
	CHECK(!told->wrong, "wrong pages");
	ends(pid);
}

#define STUCK	8
#define ROOM	512

static void stuck(void)
{
	const char *from = cg_ksm(NULL, "a", "1");
	const char *full = cg_ksm(NULL, "b", "1");
	struct worker *w[STUCK], *few[2];
	const char *few_cg[2];
	char buf[32];
	int i;

	cg_need(full, "memory.max");
	couple(few, "f", N, 100 * TAG, few_cg);
	w_dup(from, N, TAG, 1);
	w[0] = w_dup(from, N, TAG, 1);
	for (i = 1; i < STUCK; i++)
		w[i] = w_fork(w[0]);
	ksm_settle();
	CHECK_EQ(w_merged(w[STUCK - 1]), N);
	CHECK_EQ(w_same(few[0], few[1], 0), N);
	if (cg_has(full, "memory.swap.max"))
		cg_set(full, "memory.swap.max", "0");
	snprintf(buf, sizeof(buf), "%ld", (long)(ROOM * PAGE_SZ));
	cg_set(full, "memory.max", buf);
	/* their own page faults would find no room, either */
	cg_set(full, "cgroup.freeze", "1");
	for (i = 0; i < STUCK; i++)
		NEED_OK(cg_move(full, w[i]->pid));
	/* a page that there is room for serves all of the family */
	CHECK_GE(cg_stat(full, "pages_foreign"), STUCK * (N - ROOM));
	NEED_OK(cg_move(few_cg[1], few[0]->pid));
	CHECK_WAIT_EQ(cg_stat(few_cg[1], "pages_foreign"), 0);
	CHECK_GE(cg_stat(full, "pages_foreign"), STUCK * (N - ROOM));
	CHECK_EQ(cg_key(full, "memory.events", "oom_kill"), 0);
	/* with room, the worker finishes without a write */
	cg_set(full, "memory.max", "max");
	CHECK_WAIT_EQ(cg_stat(full, "pages_foreign"), 0);
	cg_set(full, "cgroup.freeze", "0");
	for (i = 0; i < STUCK; i++)
		w_verify(w[i]);
	w_verify(few[0]);
}

/* Move a process and wait for its turn. Returns the error of that. */
static int turn_after_move(const char *to, pid_t pid)
{
	u64 inode = cg_inode(to);
	struct turn t = {};

	NEED_OK(cg_move(to, pid));
	NEED(WAIT_FOR(({
		do {
			t.cgroup = 0;
		} while (next_turn(&t) && t.cgroup != inode);
		t.cgroup == inode; })), "no turn");
	return t.err;
}

/*
 * The frames follow a process whose reviews are put off because it moves on. No
 * other process maps them.
 */
static void keeps_moving(void)
{
	const char *top = cg_ksm(NULL, "a", "1");
	const char *cg[2] = { cg_ksm(top, "b", NULL), cg_ksm(top, "c", NULL) };
	struct worker *w = w_new(cg[0]);
	int i, reviews = 0, at = 0;

	w_map(w, 2 * N, MAP_PLAIN);
	for (i = 0; i < 2; i++)
		w_set(w, 0, i * N, N, TAG, 1);
	ksm_settle();
	NEED_EQ(w_merged(w), 2 * N);
	CHECK_GE(cg_stat(cg[0], "pages_shared"), N);
	trace_begin("ksm/ksm_undo", NULL);
	/* each review makes the next one wait longer */
	while (reviews < 4) {
		at = !at;
		reviews += !turn_after_move(cg[at], w->pid);
	}
	CHECK_WAIT_EQ(cg_stat(cg[!at], "pages_shared"), 0);
	/* the last review was not long ago: this one is put off */
	NEED_OK(cg_move(cg[!at], w->pid));
	CHECK_WAIT_EQ(cg_stat(cg[at], "pages_shared"), 0, "left behind");
	/* a frame counts for neither while its charge moves */
	CHECK_WAIT_GE(cg_stat(cg[!at], "pages_shared"), N, "taken along");
	trace_end();
	trace_complete();
	CHECK_EQ(w_merged(w), 2 * N);
	w_verify(w);
}

/* A process that runs has none of them made in between. */
static void keeps_moving_and_runs(void)
{
	const char *top = cg_ksm(NULL, "a", "1");
	const char *cg[2] = { cg_ksm(top, "b", NULL), cg_ksm(top, "c", NULL) };
	pid_t pid = stays(cg[0], COMPUTES, N);
	int reviews = 0, put_off = 0, at = 0;

	ksm_settle();
	NEED_GE(cg_stat(cg[0], "ksm_merging_pages"), N);
	trace_begin("ksm/ksm_undo", NULL);
	while (reviews < 4) {
		at = !at;
		if (turn_after_move(cg[at], pid))
			put_off++;
		else
			reviews++;
	}
	trace_end();
	CHECK_GT(put_off, 0);
	CHECK(!told->wrong, "wrong pages");
	ends(pid);
}

#define ATTEMPTS	5

/* Wait until the worker has failed ATTEMPTS times for lack of memory. */
static void worker_fails(const char *where)
{
	int failed = 0;
	struct turn t;

	NEED_WAIT_GE(({
		while (next_turn(&t))
			failed += t.cgroup == cg_inode(where) &&
				  t.err == -ENOMEM;
		failed; }), ATTEMPTS);
}

static long long reclaimed(const char *cg)
{
	return cg_memory_stat(cg, "pgscan_direct");
}

/* A stopped process cannot unshare itself, so nothing is reclaimed for it. */
static void no_reclaim(void)
{
	const char *full = cg_ksm(NULL, "b", "1");
	struct worker *w[2], *filler;
	long long before;
	char buf[32];

	cg_need(full, "memory.max");
	swap_need();
	w_twins(w, cg_ksm(NULL, "a", "1"), N, TAG);
	filler = w_dup(full, 4 * N, 100 * TAG, 1);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N);
	/* less than what unsharing leaves free */
	snprintf(buf, sizeof(buf), "%lld",
		 cg_current(full) + 64 * (long long)PAGE_SZ);
	cg_set(full, "memory.max", buf);
	before = reclaimed(full);
	NEED(!kill(w[0]->pid, SIGSTOP), "SIGSTOP");
	trace_begin("ksm/ksm_undo", NULL);
	NEED_OK(cg_move(full, w[0]->pid));
	worker_fails(full);
	trace_end();
	trace_complete();
	CHECK_EQ(reclaimed(full), before, "by the worker");
	CHECK_EQ(w_count(filler, 0, F_SWAP), 0, "by the worker");
	CHECK_EQ(cg_stat(full, "pages_foreign"), cg_stat(full, "ksm_merging_pages"));
	CHECK_GE(cg_stat(full, "pages_foreign"), N);
	/* the process reclaims itself */
	NEED(!kill(w[0]->pid, SIGCONT), "SIGCONT");
	CHECK_WAIT_EQ(cg_stat(full, "pages_foreign"), 0);
	CHECK_GT(w_count(filler, 0, F_SWAP), 0, "by the process");
	CHECK_EQ(cg_key(full, "memory.events", "oom_kill"), 0);
	w_verify(w[0]);
	w_verify(filler);
}

/* A cgroup in which nothing can be unshared. */
static const char *without_room(const char *name)
{
	const char *cg = cg_ksm(NULL, name, "1");
	char buf[32];

	cg_need(cg, "memory.max");
	if (cg_has(cg, "memory.swap.max"))
		cg_set(cg, "memory.swap.max", "0");
	snprintf(buf, sizeof(buf), "%ld", (long)(64 * PAGE_SZ));
	cg_set(cg, "memory.max", buf);
	return cg;
}

/* Only the first attempt is task work, which interrupts a system call. */
static void interrupts_once(void)
{
	const char *from = cg_ksm(NULL, "a", "1");
	const char *full = without_room("b");
	pid_t pid = stays(from, WAITS, 2 * N);

	ksm_settle();
	NEED_GE(cg_stat(from, "ksm_merging_pages"), 2 * N);
	CHECK_EQ(told->interrupts, 0, "merged");
	trace_begin("ksm/ksm_undo", NULL);
	NEED_OK(cg_move(full, pid));
	worker_fails(full);
	trace_end();
	trace_complete();
	/* it may have to wait for its CPU */
	CHECK_WAIT_GE(__atomic_load_n(&told->interrupts, __ATOMIC_RELAXED), 1);
	CHECK_EQ(told->interrupts, 1, "after %d attempts", ATTEMPTS);
	CHECK_GE(cg_stat(full, "pages_foreign"), N);
	ends(pid);
}

/* A process that failed often is retried less often than a new one. */
static void back_off(void)
{
	const char *from = cg_ksm(NULL, "a", "1");
	const char *known = without_room("b"), *new = without_room("c");
	pid_t pid[2] = { stays(from, WAITS, 2 * N), stays(from, WAITS, 2 * N) };
	int of_known = 0, of_new = 0;
	struct turn t;

	ksm_settle();
	NEED_GE(cg_stat(from, "ksm_merging_pages"), 4 * N);
	trace_begin("ksm/ksm_undo", NULL);
	NEED_OK(cg_move(known, pid[0]));
	worker_fails(known);
	NEED_OK(cg_move(new, pid[1]));
	NEED_WAIT_GE(({
		while (of_known < 2 && next_turn(&t)) {
			of_new += t.cgroup == cg_inode(new);
			of_known += of_new && t.cgroup == cg_inode(known);
		}
		of_known; }), 2);
	trace_end();
	trace_complete();
	CHECK_GE(of_new, 4, "attempts, beside %d", of_known);
	ends(pid[0]);
	ends(pid[1]);
}

/* The neighbour is scanned alone until it has caught up. */
static void counts_as_scan(void)
{
	const long long work = 4 * PAGE_LINES * N;
	struct spent before, s;
	struct worker *w[2];

	slice_groups(2, 2 * N);
	w_twins(w, cg_ksm(NULL, "c", "1"), N, 100 * TAG);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N);
	slice_begin();
	/* from here on, both have work */
	slice_batch();
	NEED_OK(cg_move(cg[0], w[0]->pid));
	NEED_WAIT_EQ(cg_stat(cg[0], "pages_foreign"), 0);
	before = slice_so_far();
	NEED_WAIT_GE((slice_batch(),
		      slice_so_far().lines[1] - before.lines[1]), work);
	s = slice_end();
	CHECK_LE(s.lines[0] - before.lines[0],
		 s.lines[1] - before.lines[1] - work + 2 * SLICE + work / 50);
	w_verify(w[0]);
}

static const struct ksm_case cases[] = {
	{ "cgroups have their memory unshared in turns", in_turns },
	{ "memory is unshared by weight", by_weight },
	{ "a running process unshares its own memory", by_itself },
	{ "processes that cannot be unshared delay no other cgroup", stuck },
	{ "a process that keeps moving takes its frames along", keeps_moving },
	{ "reviews of a process that runs and moves are put off",
	  keeps_moving_and_runs },
	{ "the worker does not reclaim", no_reclaim },
	{ "retries interrupt a system call once", interrupts_once },
	{ "retries back off", back_off },
	{ "the worker's work counts against the share of the scan",
	  counts_as_scan },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
