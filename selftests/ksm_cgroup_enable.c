// SPDX-License-Identifier: GPL-2.0
/*
 * Which processes a value of memory.ksm reaches, and when.
 *
 * - 1 merges what runs in the subtree already and what comes to be there by
 *   fork, exec, clone or a move, without asking; its write returns when all are
 *   registered
 * - madvise merges what asked for it, and no more
 * - 0 unshares completely before its write returns, and keeps all processes out
 * - a process is where the owner of its memory is, whatever its threads and the
 *   processes that share the memory do
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmlib.h"

#define N	48

static struct worker *w[2];

/* Two processes with the same N contents in a cgroup @name of this value. */
static const char *twins_in(const char *parent, const char *name,
			    const char *value, u64 tag)
{
	const char *cg = cg_ksm(parent, name, value);

	w_twins(w, cg, N, tag);
	return cg;
}

static void are_merged(struct worker *a, struct worker *b, const char *what)
{
	CHECK_EQ(w_merged(a), N, "%s", what);
	CHECK_EQ(w_merged(b), N, "%s", what);
	CHECK_EQ(w_same(a, b, 0), N, "%s", what);
	w_verify(a);
	w_verify(b);
}

static void not_merged(struct worker *m, const char *what)
{
	CHECK_EQ(w_all_ksm(m), 0, "%s", what);
	CHECK_EQ(w_merging(m), 0, "%s", what);
	w_verify(m);
}

static void twins_not_merged(const char *what)
{
	not_merged(w[0], what);
	not_merged(w[1], what);
}

/* m, and a new process in cg, get new memory of equal contents: it merges. */
static void takes_part(struct worker *m, const char *cg, const char *what)
{
	struct worker *peer = w_new(cg);
	int mine = w_map(m, N, MAP_PLAIN), its = w_map(peer, N, MAP_PLAIN);

	w_set(m, mine, 0, N, 0x50000, 1);
	w_set(peer, its, 0, N, 0x50000, 1);
	ksm_settle();
	CHECK_EQ(w_count(m, mine, F_KSM), N, "%s", what);
	CHECK_EQ(w_count(peer, its, F_KSM), N, "%s", what);
	w_verify(m);
	w_verify(peer);
}

static void running(void)
{
	const char *cg = twins_in(NULL, "a", NULL, 1000);

	ksm_settle();
	not_merged(w[0], "before any process asked");
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], w[1], "after 1");
}

static void registered(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	int i;

	for (i = 0; i < 20; i++)
		w_dup(cg, 4, 1, 1);
	CHECK_EQ(cg_stat(cg, "processes"), 0, "before");
	cg_set(cg, "memory.ksm", "1");
	CHECK_EQ(cg_stat(cg, "processes"), 20, "1");
	cg_set(cg, "memory.ksm", "0");
	CHECK_EQ(cg_stat(cg, "processes"), 0, "0");
}

/* Two rises of full_scans are all that other tests wait for. */
static void two_rises(void)
{
	int smart;

	for (smart = 0; smart < 2; smart++) {
		ksm_unmerge_all();
		ksm_set("smart_scan", smart);
		twins_in(NULL, smart ? "b" : "a", "1", 3000 + 1000 * smart);
		ksm_pass(2);
		ksm_stop();
		are_merged(w[0], w[1],
			   smart ? "two rises, smart" : "two rises");
	}
}

/* The same, in batches far smaller than a pass. */
static void wait_two_rises(void)
{
	long long scans = ksm_get("full_scans");

	NEED_WAIT_GE((ksm_batch(), ksm_get("full_scans")), scans + 2);
}

#define MANY	4096	/* pages of different contents, more than a batch */

/*
 * A process of 2 * MANY pages that take part, amid a pass over them. Between
 * the two halves are N equal pages that do not, and the pass has gone past
 * them.
 */
static struct worker *amid_pass(const char *cg)
{
	struct worker *m = w_new(cg);
	long long known;

	w_map(m, MANY + N + MANY, MAP_PLAIN);
	w_set(m, 0, 0, MANY, 50000, 1);
	w_set(m, 0, MANY, N, 7, 0);
	w_set(m, 0, MANY + N, MANY, 60000, 1);
	NEED_OK(w_madv_at(m, 0, 0, MANY, MADV_MERGEABLE));
	NEED_OK(w_madv_at(m, 0, MANY + N, MANY, MADV_MERGEABLE));
	ksm_set("pages_to_scan", 20);
	do {
		ksm_batch();
		known = w_stat(m, "ksm_rmap_items");
	} while (known <= MANY);
	NEED(known < 2 * MANY, "a batch is a pass");
	return m;
}

/* Two rises are also enough for what takes part only from now on. */
static void two_rises_amid_pass(void)
{
	const char *cg = cg_ksm(NULL, "a", "madvise");
	struct worker *m = amid_pass(cg);

	NEED_OK(w_madv_at(m, 0, MANY, N, MADV_MERGEABLE));
	wait_two_rises();
	CHECK_EQ(w_merged(m), N, "MADV_MERGEABLE");
	w_verify(m);
	w_exit(m);

	m = amid_pass(cg);
	NEED_OK(w_prctl(m, PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	wait_two_rises();
	CHECK_EQ(w_merged(m), N, "PR_SET_MEMORY_MERGE");
	w_verify(m);
	w_exit(m);

	m = amid_pass(cg);
	cg_set(cg, "memory.ksm", "1");
	wait_two_rises();
	CHECK_EQ(w_merged(m), N, "memory.ksm");
	w_verify(m);
}

static void later_fork(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	struct worker *m = w_new(cg);

	cg_set(cg, "memory.ksm", "1");
	takes_part(w_fork(w_fork(m)), cg, "a child's child");
}

static void later_exec(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *m = w_dup(cg, N, 1, 1);

	ksm_settle();
	w_exec(m);
	takes_part(m, cg, "after exec");
}

/* The task that registered the only process since trace_begin(). */
static int registrar(void)
{
	const char *line, *at;
	int task = 0, nr = 0;

	while ((line = trace_next())) {
		at = strchr(line, '-');
		if (!at || !strstr(line, "ksm_enter: "))
			continue;
		task = atoi(at + 1);
		nr++;
	}
	trace_end();
	trace_complete();
	CHECK_EQ(nr, 1);
	return task;
}

static void clone_into(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *out = w_dup(cg_new(NULL, "b"), N, 1, 1), *m;

	trace_begin("ksm/ksm_enter", NULL);
	m = w_spawn(out, SPAWN_FORK, cg);
	CHECK_EQ(cg_stat(cg, "processes"), 1);
	/* on the CPU time of the parent, and not of a kernel worker */
	CHECK_EQ(registrar(), out->pid);
	takes_part(m, cg, "cloned into the cgroup");
	not_merged(out, "its parent outside");
}

static void moved_in(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *m = w_new(cg_new(NULL, "b"));

	NEED_OK(cg_move(cg, m->pid));
	/* by a kernel worker */
	NEED_WAIT_EQ(cg_stat(cg, "processes"), 1, "moved in");
	takes_part(m, cg, "moved in");
}

static void vfork_exec(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *m = w_new(cg);

	takes_part(w_spawn(m, SPAWN_VFORK_EXEC, NULL), cg, "vfork and exec");
	takes_part(m, cg, "the parent of a vfork");
}

static void deep(void)
{
	const char *a = cg_ksm(NULL, "a", NULL);
	const char *b = twins_in(a, "b", NULL, 1);

	cg_set(a, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], w[1], "below the 1");
	takes_part(w_new(cg_new(a, "c")), b, "in a cgroup made later");
}

static void only_asked(void)
{
	const char *cg = twins_in(NULL, "a", "madvise", 1);
	struct worker *asked[2], *all[2];
	int i;

	w_twins(asked, cg, N, 1);
	w_twins(all, cg, N, 1);
	for (i = 0; i < 2; i++) {
		w_madv(asked[i], 0, MADV_MERGEABLE);
		NEED_OK(w_prctl(all[i], PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	}
	ksm_settle();
	twins_not_merged("did not ask");
	are_merged(asked[0], asked[1], "asked by madvise");
	are_merged(all[0], all[1], "asked by prctl");
	CHECK_EQ(w_same(asked[0], all[0], 0), N, "by madvise and by prctl");

	/* from 1 back to madvise: processes that did not ask leave at once */
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], asked[0], "under 1");
	cg_set(cg, "memory.ksm", "madvise");
	twins_not_merged("did not ask, after 1");
	ksm_settle();
	not_merged(w[0], "did not ask, after 1");
	are_merged(asked[0], asked[1], "asked by madvise, after 1");
}

static void off(void)
{
	const char *up = cg_ksm(NULL, "up", NULL);
	const char *cg = twins_in(up, "a", "1", 1);
	struct worker *asked, *all;

	asked = w_asker(cg, N, 1, 1);
	all = w_dup(cg, N, 1, 1);
	NEED_OK(w_prctl(all, PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	ksm_settle();
	are_merged(w[0], w[1], "under 1");
	are_merged(asked, all, "under 1");
	CHECK_EQ(cg_stat(up, "pages_pending"), 0, "under 1");

	cg_set(up, "memory.ksm", "0");
	twins_not_merged("when the write of 0 has returned");
	not_merged(asked, "0 against MADV_MERGEABLE");
	not_merged(all, "0 against the prctl");
	CHECK_EQ(w_prctl(all, PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1, "under a 0");
	CHECK_EQ(cg_stat(up, "pages_shared"), 0, "under a 0");
	CHECK_EQ(cg_stat(up, "ksm_merging_pages"), 0, "under a 0");
	CHECK_EQ(cg_stat(up, "pages_pending"), 0, "under a 0");
	w_madv(asked, 0, MADV_MERGEABLE);
	w_prctl(all, PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	ksm_settle();
	not_merged(w[0], "after full scans under 0");
	not_merged(asked, "asked again under 0");
	not_merged(all, "asked again under 0");

	cg_set(up, "memory.ksm", "inherit");
	ksm_settle();
	are_merged(w[0], w[1], "the 0 is gone");
	are_merged(asked, all, "the 0 is gone");
}

/* A 1 that was written below a 0 takes effect when that one goes. */
static void zero_lifted(void)
{
	const char *up = cg_ksm(NULL, "up", "0");
	const char *in = twins_in(up, "in", NULL, 1);

	cg_set(in, "memory.ksm", "1");
	CHECK_EQ(cg_stat(in, "processes"), 0, "under a 0");
	cg_set(up, "memory.ksm", "madvise");
	CHECK_EQ(cg_stat(in, "processes"), 2, "when the write has returned");
	ksm_settle();
	are_merged(w[0], w[1], "the 0 above is gone");
}

/* The same with the scanner running, over and over. */
static void off_and_on(void)
{
	const char *cg = twins_in(NULL, "a", NULL, 1);
	int i;

	ksm_pass(1);
	for (i = 0; i < 20; i++) {
		cg_set(cg, "memory.ksm", "1");
		if (i % 3)
			ksm_pass(i % 3);
		cg_set(cg, "memory.ksm", i % 2 ? "0" : "inherit");
		twins_not_merged("scanner runs");
	}
	ksm_pass(2);
	not_merged(w[0], "scanner ran on");
	CHECK_EQ(cg_stat(cg, "pages_unmerged"), cg_stat(cg, "pages_merged"));
}

static void moved_out(void)
{
	static const char * const there[] = { "0", "inherit", "madvise" };
	const char *cg = cg_ksm(NULL, "a", "1"), *to;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(there); i++) {
		to = cg_letter(NULL, 1 + i);
		cg_set(to, "memory.ksm", there[i]);
		w_twins(w, cg, N, 1);
		ksm_settle();
		are_merged(w[0], w[1], "before the move");
		NEED_OK(cg_move(to, w[0]->pid));
		/* by a kernel worker; the scanner stands still */
		CHECK_WAIT_EQ(w_all_ksm(w[0]), 0, "moved to %s", there[i]);
		ksm_settle();
		not_merged(w[0], "moved out");
		w_verify(w[1]);
		w_exit(w[0]);
		w_exit(w[1]);
	}
}

static void move_thread(const char *to, long tid)
{
	char text[16];

	snprintf(text, sizeof(text), "%ld", tid);
	cg_set(to, "cgroup.threads", text);
}

static void thread_cgroup(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL), *t;
	int i;

	t = cg_new(cg, "t");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	cg_set(t, "cgroup.type", "threaded");
	w_twins(w, cg, N, 1);
	for (i = 0; i < 2; i++)
		move_thread(t, w_thread(w[i]));
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], w[1], "a thread in a threaded cgroup");
	/* the first thread too, so that the whole process is below */
	for (i = 0; i < 2; i++)
		move_thread(t, w[i]->pid);
	takes_part(w[0], cg, "all threads in a threaded cgroup");
	cg_set(cg, "memory.ksm", "0");
	not_merged(w[0], "threaded, after 0");
}

static void first_thread_gone(void)
{
	const char *cg = twins_in(NULL, "a", NULL, 1);
	int i;

	for (i = 0; i < 2; i++)
		w_drop_leader(w[i]);
	cg_set(cg, "memory.ksm", "1");
	CHECK_EQ(cg_stat(cg, "processes"), 2);
	ksm_settle();
	are_merged(w[0], w[1], "first thread gone");
	cg_set(cg, "memory.ksm", "0");
	twins_not_merged("first thread gone, after 0");
}

/* Two processes, one memory: it is where its owner is, the older one. */
static void shared_memory(void)
{
	const char *off = cg_ksm(NULL, "off", "0");
	struct worker *part;

	twins_in(NULL, "on", "1", 1);
	part = w_spawn(w[0], SPAWN_VM, NULL);
	NEED_OK(cg_move(off, part->pid));
	ksm_settle();
	are_merged(w[0], w[1], "its partner elsewhere");
	w_verify(part);

	/* the owner exits: the memory follows its heir, into the 0 */
	w_exit(w[0]);
	CHECK_WAIT_EQ(w_all_ksm(part), 0, "the heir under 0");
	ksm_settle();
	not_merged(part, "the heir under 0");
	w_verify(w[1]);
}

static void heir_inside(void)
{
	const char *on = cg_ksm(NULL, "on", "1");
	struct worker *m, *part;

	m = w_new(cg_new(NULL, "off"));
	part = w_spawn(m, SPAWN_VM, NULL);
	NEED_OK(cg_move(on, part->pid));
	w_exit(m);
	NEED_WAIT_EQ(cg_stat(on, "processes"), 1, "the heir under 1");
	takes_part(part, on, "the heir under 1");
}

/* Cgroups that come and go under a running scanner leave nothing behind. */
static void taken_away(void)
{
	const char *up = cg_ksm(NULL, "up", NULL), *cg;
	int i;

	ksm_pass(1);
	for (i = 0; i < 30; i++) {
		cg = twins_in(up, "a", "1", i + 1);
		if (i % 4)
			ksm_pass(i % 4);
		w_exit(w[0]);
		if (i % 2)
			w_exit(w[1]);
		else	/* it is moved out with its merged pages */
			NEED_OK(cg_move(CGROOT, w[1]->pid));
		NEED_WAIT_OK(cg_rmdir(cg));
		if (w_alive(w[1])) {
			CHECK_WAIT_EQ(w_all_ksm(w[1]), 0, "moved out");
			w_verify(w[1]);
			w_exit(w[1]);
		}
	}
	ksm_stop();
	CHECK_EQ(cg_stat(up, "processes"), 0);
	CHECK_WAIT_EQ(cg_stat(up, "pages_shared"), 0);
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

static const struct ksm_case cases[] = {
	{ "1 merges processes that run already", running },
	{ "the write of 1 registers all processes", registered },
	{ "two rises of full_scans are enough", two_rises },
	{ "two rises are enough for memory added during a pass", two_rises_amid_pass },
	{ "1 reaches later forks", later_fork },
	{ "1 reaches a program after exec", later_exec },
	{ "1 reaches clone3(CLONE_INTO_CGROUP)", clone_into },
	{ "1 reaches a process that is moved in", moved_in },
	{ "1 reaches vfork and exec", vfork_exec },
	{ "1 reaches the whole subtree, cgroups made later too", deep },
	{ "madvise merges only what asked", only_asked },
	{ "0 unshares all and keeps all processes out", off },
	{ "a 1 below a 0 that goes", zero_lifted },
	{ "0 and 1 in turn while the scanner runs", off_and_on },
	{ "a process that is moved out is unshared", moved_out },
	{ "threads in threaded cgroups", thread_cgroup },
	{ "a process whose first thread has gone", first_thread_gone },
	{ "CLONE_VM: the memory is where its owner is", shared_memory },
	{ "CLONE_VM: the memory follows an heir inside", heir_inside },
	{ "cgroups removed while the scanner runs", taken_away },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
