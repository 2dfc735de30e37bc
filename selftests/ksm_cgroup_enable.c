// SPDX-License-Identifier: GPL-2.0
/*
 * Whom a value of memory.ksm reaches, and when.
 *
 * - 1 merges what runs in the subtree already and what comes to be there by
 *   fork, exec, clone or a move, without anyone asking; its write returns when
 *   all are registered
 * - madvise merges what asked for it, and no more
 * - 0 unshares completely before its write returns, and keeps everyone out
 * - run=3 serves only cgroups that have a value of their own
 * - a process is where the owner of its memory is, whatever its threads and the
 *   processes that share the memory do
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <string.h>

#include "ksmlib.h"

#define N	48

/* Two processes with the same N contents, all different from one another. */
static void twins(struct worker **w, const char *cg, u64 tag)
{
	w[0] = w_dup(cg, N, tag, 1);
	w[1] = w_dup(cg, N, tag, 1);
}

static void are_merged(struct worker *a, struct worker *b, const char *what)
{
	long n = w_merged(a), m = w_merged(b), same = w_same(a, b, 0);

	CHECK(n == N && m == N && same == N,
	      "%s: %ld and %ld of %d merged, %ld with each other", what, n, m, N,
	      same);
	w_verify(a);
	w_verify(b);
}

static void not_merged(struct worker *w, const char *what)
{
	long n = w_all_ksm(w);

	CHECK(!n, "%s: %ld pages of process %d are merged", what, n, w->pid);
	CHECK(!w_merging(w), "%s: ksm_merging_pages is %lld", what,
	      w_merging(w));
	w_verify(w);
}

/* w, and a new process in cg, get new memory of equal contents: it merges. */
static void takes_part(struct worker *w, const char *cg, const char *what)
{
	struct worker *peer = w_new(cg);
	int mine = w_map(w, N, MAP_PLAIN), its = w_map(peer, N, MAP_PLAIN);
	long n, m;

	w_set(w, mine, 0, N, 0x50000, 1);
	w_set(peer, its, 0, N, 0x50000, 1);
	ksm_settle();
	n = w_count(w, mine, F_KSM);
	m = w_count(peer, its, F_KSM);
	CHECK(n == N && m == N, "%s: %ld and %ld of %d merged", what, n, m, N);
	w_verify(w);
	w_verify(peer);
}

static void running(void)
{
	struct worker *w[2];
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	twins(w, cg, 1000);
	ksm_settle();
	not_merged(w[0], "before anyone asked");
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], w[1], "after 1");
}

static void registered(void)
{
	const char *cg;
	int i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	for (i = 0; i < 20; i++)
		w_dup(cg, 4, 1, 1);
	CHECK(cg_stat(cg, "processes") == 0, "%lld processes took part before",
	      cg_stat(cg, "processes"));
	cg_set(cg, "memory.ksm", "1");
	CHECK(cg_stat(cg, "processes") == 20, "%lld of 20 processes take part",
	      cg_stat(cg, "processes"));
	cg_set(cg, "memory.ksm", "0");
	CHECK(cg_stat(cg, "processes") == 0, "%lld processes still take part",
	      cg_stat(cg, "processes"));
}

/* Two rises of full_scans are all that a test suite can be asked to wait. */
static void two_rises(void)
{
	struct worker *w[2];
	const char *cg;
	int smart;

	ksm_need_cgroup();
	for (smart = 0; smart < 2; smart++) {
		ksm_unmerge_all();
		ksm_set("smart_scan", smart);
		cg = cg_new(NULL, smart ? "b" : "a");
		cg_set(cg, "memory.ksm", "1");
		twins(w, cg, 3000 + 1000 * smart);
		ksm_pass(2);
		ksm_stop();
		are_merged(w[0], w[1], smart ? "two rises, smart" : "two rises");
	}
}

static void later_fork(void)
{
	struct worker *w;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	w = w_new(cg);
	cg_set(cg, "memory.ksm", "1");
	takes_part(w_fork(w_fork(w)), cg, "a child's child");
}

static void later_exec(void)
{
	struct worker *w;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "1");
	w = w_dup(cg, N, 1, 1);
	ksm_settle();
	w_exec(w);
	takes_part(w, cg, "after exec");
}

static void clone_into(void)
{
	struct worker *out, *w;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "1");
	out = w_dup(cg_new(NULL, "b"), N, 1, 1);
	w = w_spawn(out, SPAWN_FORK, cg);
	CHECK(cg_stat(cg, "processes") == 1, "%lld processes take part",
	      cg_stat(cg, "processes"));
	takes_part(w, cg, "cloned into the cgroup");
	not_merged(out, "its parent outside");
}

static void moved_in(void)
{
	struct worker *w;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "1");
	w = w_new(cg_new(NULL, "b"));
	NEED(!cg_move(cg, w->pid), "no move");
	takes_part(w, cg, "moved in");
}

static void vfork_exec(void)
{
	struct worker *w;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "1");
	w = w_new(cg);
	takes_part(w_spawn(w, SPAWN_VFORK_EXEC, NULL), cg, "vfork and exec");
	takes_part(w, cg, "the parent of a vfork");
}

static void deep(void)
{
	struct worker *w[2];
	const char *a, *b;

	ksm_need_cgroup();
	a = cg_new(NULL, "a");
	b = cg_new(a, "b");
	twins(w, b, 1);
	cg_set(a, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], w[1], "below the 1");
	takes_part(w_new(cg_new(a, "c")), b, "in a cgroup made later");
}

static void only_asked(void)
{
	struct worker *w[2], *asked[2], *all[2];
	const char *cg;
	int i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "madvise");
	twins(w, cg, 1);
	twins(asked, cg, 1);
	twins(all, cg, 1);
	for (i = 0; i < 2; i++) {
		w_madv(asked[i], 0, MADV_MERGEABLE);
		NEED(!w_prctl(all[i], PR_SET_MEMORY_MERGE, 1, 0, 0, 0), "prctl");
	}
	ksm_settle();
	not_merged(w[0], "did not ask");
	not_merged(w[1], "did not ask");
	are_merged(asked[0], asked[1], "asked by madvise");
	are_merged(all[0], all[1], "asked by prctl");
	CHECK(w_same(asked[0], all[0], 0) == N, "the two ways do not meet");

	/* from 1 back to madvise: those who did not ask leave at once */
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], asked[0], "under 1");
	cg_set(cg, "memory.ksm", "madvise");
	not_merged(w[0], "did not ask, after 1");
	not_merged(w[1], "did not ask, after 1");
	ksm_settle();
	not_merged(w[0], "did not ask, after 1");
	are_merged(asked[0], asked[1], "asked by madvise, after 1");
}

static void off(void)
{
	struct worker *w[2], *asked, *all;
	const char *up, *cg;

	ksm_need_cgroup();
	up = cg_new(NULL, "up");
	cg = cg_new(up, "a");
	cg_set(cg, "memory.ksm", "1");
	twins(w, cg, 1);
	asked = w_dup(cg, N, 1, 1);
	w_madv(asked, 0, MADV_MERGEABLE);
	all = w_dup(cg, N, 1, 1);
	NEED(!w_prctl(all, PR_SET_MEMORY_MERGE, 1, 0, 0, 0), "prctl");
	ksm_settle();
	are_merged(w[0], w[1], "under 1");
	are_merged(asked, all, "under 1");

	cg_set(up, "memory.ksm", "0");
	not_merged(w[0], "when the write of 0 has returned");
	not_merged(w[1], "when the write of 0 has returned");
	not_merged(asked, "0 against MADV_MERGEABLE");
	not_merged(all, "0 against the prctl");
	CHECK(w_prctl(all, PR_GET_MEMORY_MERGE, 0, 0, 0, 0) == 0,
	      "PR_GET_MEMORY_MERGE is 1 under a 0");
	CHECK(cg_stat(up, "pages_shared") == 0 &&
	      cg_stat(up, "ksm_merging_pages") == 0, "frames stay: %lld, %lld",
	      cg_stat(up, "pages_shared"), cg_stat(up, "ksm_merging_pages"));
	w_madv(asked, 0, MADV_MERGEABLE);
	w_prctl(all, PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	ksm_settle();
	not_merged(w[0], "after full scans under 0");
	not_merged(asked, "asked again under 0");
	not_merged(all, "asked again under 0");

	cg_set(up, "memory.ksm", "inherit");
	ksm_settle();
	are_merged(w[0], w[1], "after the 0 went");
	are_merged(asked, all, "after the 0 went");
}

/* The same with the scanner running, over and over. */
static void off_and_on(void)
{
	struct worker *w[2];
	const char *cg;
	int i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	twins(w, cg, 1);
	ksm_pass(1);
	for (i = 0; i < 20; i++) {
		cg_set(cg, "memory.ksm", "1");
		if (i % 3)
			ksm_pass(i % 3);
		cg_set(cg, "memory.ksm", i % 2 ? "0" : "inherit");
		not_merged(w[0], "scanner runs");
		not_merged(w[1], "scanner runs");
	}
	ksm_pass(2);
	not_merged(w[0], "scanner ran on");
	CHECK(cg_stat(cg, "pages_merged") == cg_stat(cg, "pages_unmerged"),
	      "%lld merged, %lld unmerged", cg_stat(cg, "pages_merged"),
	      cg_stat(cg, "pages_unmerged"));
}

static void moved_out(void)
{
	static const char * const there[] = { "0", "inherit", "madvise" };
	struct worker *w[2];
	const char *cg, *to;
	size_t i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "1");
	for (i = 0; i < ARRAY_SIZE(there); i++) {
		to = cg_new(NULL, (char[]){ 'b' + i, 0 });
		cg_set(to, "memory.ksm", there[i]);
		twins(w, cg, 1);
		ksm_settle();
		are_merged(w[0], w[1], "before the move");
		NEED(!cg_move(to, w[0]->pid), "no move");
		/* by a worker of the kernel's; the scanner stands still */
		CHECK(WAIT_FOR(!w_all_ksm(w[0])), "%ld pages stay merged in %s",
		      w_all_ksm(w[0]), there[i]);
		ksm_settle();
		not_merged(w[0], "moved out");
		w_verify(w[1]);
		w_exit(w[0]);
		w_exit(w[1]);
	}
}

static void run_3(void)
{
	struct worker *own[2], *below[2], *adv[2], *other[2];
	const char *a, *b, *c;
	int i;

	ksm_need_cgroup();
	a = cg_new(NULL, "a");
	b = cg_new(NULL, "b");
	c = cg_new(NULL, "c");
	cg_set(a, "memory.ksm", "1");
	cg_set(b, "memory.ksm", "madvise");
	twins(below, cg_new(a, "below"), 100);
	/* a has a child with the controller on: its own go into a sibling */
	twins(own, cg_new(a, "own"), 200);
	twins(adv, b, 300);
	twins(other, c, 400);
	for (i = 0; i < 2; i++) {
		w_madv(adv[i], 0, MADV_MERGEABLE);
		w_madv(other[i], 0, MADV_MERGEABLE);
	}
	ksm_pass_as(3, 3);
	CHECK(ksm_get("run") == 3, "run is %lld", ksm_get("run"));
	ksm_stop();
	are_merged(below[0], below[1], "inherits a 1, run=3");
	are_merged(own[0], own[1], "inherits a 1, run=3");
	are_merged(adv[0], adv[1], "asked under madvise, run=3");
	not_merged(other[0], "no value of its own, run=3");

	cg_set(CGROOT, "memory.ksm", "1");
	ksm_pass_as(3, 3);
	ksm_stop();
	are_merged(other[0], other[1], "the root says 1, run=3");
	cg_set(CGROOT, "memory.ksm", "madvise");
	ksm_unmerge_all();
	ksm_settle();
	are_merged(other[0], other[1], "asked, run=1");
}

static void thread_cgroup(void)
{
	const char *cg, *t;
	struct worker *w[2];
	char tid[16];
	int i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	t = cg_new(cg, "t");
	cg_set(cg, "cgroup.subtree_control", "-memory");
	cg_set(t, "cgroup.type", "threaded");
	twins(w, cg, 1);
	for (i = 0; i < 2; i++) {
		snprintf(tid, sizeof(tid), "%ld", W(w[i], .op = OP_THREAD));
		cg_set(t, "cgroup.threads", tid);
	}
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	are_merged(w[0], w[1], "a thread in a threaded cgroup");
	/* the first thread too, so that the whole process is below */
	for (i = 0; i < 2; i++) {
		snprintf(tid, sizeof(tid), "%d", w[i]->pid);
		cg_set(t, "cgroup.threads", tid);
	}
	takes_part(w[0], cg, "all threads in a threaded cgroup");
	cg_set(cg, "memory.ksm", "0");
	not_merged(w[0], "threaded, after 0");
}

static void first_thread_gone(void)
{
	struct worker *w[2];
	const char *cg;
	int i;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	twins(w, cg, 1);
	for (i = 0; i < 2; i++) {
		long tid = W(w[i], .op = OP_LEADER);

		NEED(tid > 0, "no second thread");
		w[i]->pid = tid;
	}
	cg_set(cg, "memory.ksm", "1");
	CHECK(cg_stat(cg, "processes") == 2, "%lld of 2 take part",
	      cg_stat(cg, "processes"));
	ksm_settle();
	are_merged(w[0], w[1], "first thread gone");
	cg_set(cg, "memory.ksm", "0");
	not_merged(w[0], "first thread gone, after 0");
	not_merged(w[1], "first thread gone, after 0");
}

/* Two processes, one memory: it is where its owner is, the older one. */
static void shared_memory(void)
{
	struct worker *w[2], *part;
	const char *on, *off;

	ksm_need_cgroup();
	on = cg_new(NULL, "on");
	off = cg_new(NULL, "off");
	cg_set(on, "memory.ksm", "1");
	cg_set(off, "memory.ksm", "0");
	twins(w, on, 1);
	part = w_spawn(w[0], SPAWN_VM, NULL);
	NEED(!cg_move(off, part->pid), "no move");
	ksm_settle();
	are_merged(w[0], w[1], "its partner elsewhere");
	w_verify(part);

	/* the owner goes: the memory follows its heir, into the 0 */
	w_exit(w[0]);
	CHECK(WAIT_FOR(!w_all_ksm(part)), "%ld pages stay merged under the heir",
	      w_all_ksm(part));
	ksm_settle();
	not_merged(part, "the heir under 0");
	w_verify(w[1]);
}

static void heir_inside(void)
{
	struct worker *w, *part;
	const char *on, *off;

	ksm_need_cgroup();
	on = cg_new(NULL, "on");
	off = cg_new(NULL, "off");
	cg_set(on, "memory.ksm", "1");
	w = w_new(off);
	part = w_spawn(w, SPAWN_VM, NULL);
	NEED(!cg_move(on, part->pid), "no move");
	w_exit(w);
	takes_part(part, on, "the heir under 1");
}

/* Cgroups that come and go under a running scanner leave nothing behind. */
static void taken_away(void)
{
	const char *up, *cg;
	struct worker *w[2];
	int i;

	ksm_need_cgroup();
	up = cg_new(NULL, "up");
	ksm_pass(1);
	for (i = 0; i < 30; i++) {
		cg = cg_new(up, "a");
		cg_set(cg, "memory.ksm", "1");
		twins(w, cg, i + 1);
		if (i % 4)
			ksm_pass(i % 4);
		w_exit(w[0]);
		if (i % 2)
			w_exit(w[1]);
		else	/* it is moved out with what it has merged */
			NEED(!cg_move(CGROOT, w[1]->pid), "no move");
		NEED(WAIT_FOR(!cg_rmdir(cg)), "the cgroup can't be removed");
		if (w_alive(w[1])) {
			CHECK(WAIT_FOR(!w_all_ksm(w[1])), "%ld pages stay merged",
			      w_all_ksm(w[1]));
			w_verify(w[1]);
			w_exit(w[1]);
		}
	}
	ksm_stop();
	CHECK(cg_stat(up, "processes") == 0, "%lld processes are left",
	      cg_stat(up, "processes"));
	CHECK(WAIT_FOR(!cg_stat(up, "pages_shared")), "%lld frames are left",
	      cg_stat(up, "pages_shared"));
	CHECK(WAIT_FOR(!cg_dying(up)), "%lld cgroups do not die", cg_dying(up));
}

/* A 1 that was written below a 0 takes effect when that one goes. */
static void zero_lifted(void)
{
	const char *up, *in;
	struct worker *w[2];

	ksm_need_cgroup();
	up = cg_new(NULL, "up");
	in = cg_new(up, "in");
	cg_set(up, "memory.ksm", "0");
	twins(w, in, 1);
	cg_set(in, "memory.ksm", "1");
	CHECK(cg_stat(in, "processes") == 0, "%lld take part under a 0",
	      cg_stat(in, "processes"));
	cg_set(up, "memory.ksm", "madvise");
	CHECK(cg_stat(in, "processes") == 2, "%lld of 2 take part when the write returned",
	      cg_stat(in, "processes"));
	ksm_settle();
	are_merged(w[0], w[1], "the 0 above is gone");
}

static const struct ksm_case cases[] = {
	{ "1 merges processes that run already", running },
	{ "the write of 1 registers everyone", registered },
	{ "two rises of full_scans are enough", two_rises },
	{ "1 reaches later forks", later_fork },
	{ "1 reaches what is exec'd", later_exec },
	{ "1 reaches clone3(CLONE_INTO_CGROUP)", clone_into },
	{ "1 reaches a process that is moved in", moved_in },
	{ "1 reaches vfork and exec", vfork_exec },
	{ "1 reaches the whole subtree, cgroups made later too", deep },
	{ "madvise merges only what asked", only_asked },
	{ "0 unshares all and keeps everyone out", off },
	{ "a 1 below a 0 that goes", zero_lifted },
	{ "0 and 1 in turn while the scanner runs", off_and_on },
	{ "a process that is moved out is unshared", moved_out },
	{ "run=3 serves only cgroups with a value", run_3 },
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
