// SPDX-License-Identifier: GPL-2.0
/*
 * Merge domains: which cgroups may share a frame.
 *
 * - a cgroup with a 1 or madvise of its own shares no frame outside its
 *   subtree, memory.ksm.domain=parent excepted; a cgroup that inherits shares
 *   with the one it inherits from
 * - the split of a domain unshares before the write returns
 * - a process that arrives from another domain with merged pages loses them
 *   without the scanner: pages_foreign and pages_pending return to 0
 * - swap-in brings no frame across, though both hold the same swap entry
 *
 * Frames are compared by number, over whole address spaces, while the scanner
 * runs and pages are written; ordinary sharing by fork is not merging.
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <string.h>

#include "ksmlib.h"

#define N	64

static struct worker *dup_in(const char *cg)
{
	return w_dup(cg, N, 9000, 1);
}

static void apart(struct worker *a, struct worker *b, const char *what)
{
	CHECK_EQ(w_common_ksm(a, b), 0, "%s", what);
}

static void together(struct worker *a, struct worker *b, const char *what)
{
	CHECK_EQ(w_same(a, b, 0), N, "%s", what);
	CHECK_EQ(w_merged(a), N, "%s", what);
}

/* No foreign mapping is left, and the scanner had no part in it. */
static void settled(const char *cg, const char *what)
{
	CHECK_WAIT_EQ(cg_stat(cg, "pages_foreign"), 0, "%s", what);
	CHECK_WAIT_EQ(cg_stat(cg, "pages_pending"), 0, "%s", what);
}

static void siblings(void)
{
	struct worker *w[2][3];
	const char *cg[2];
	int i, j, k, round;

	cg_ksm_row(cg, 2, "1");
	for (i = 0; i < 2; i++)
		for (j = 0; j < 3; j++)
			w[i][j] = dup_in(cg[i]);
	for (round = 0; round < 12; round++) {
		ksm_pass(round % 3 + 1);
		/* the scanner runs on while frames are compared and written */
		for (j = 0; j < 9; j++)
			apart(w[0][j / 3], w[1][j % 3], "scanner runs");
		for (k = 0; k < 40; k++)
			w_set(w[k & 1][ksm_random() % 3], 0, ksm_random() % N,
			      1, 9000 + ksm_random() % 8, 0);
	}
	for (i = 0; i < 2; i++)
		for (j = 0; j < 3; j++)
			w_set(w[i][j], 0, 0, N, 9000, 1);
	ksm_settle();
	for (j = 0; j < 9; j++)
		apart(w[0][j / 3], w[1][j % 3], "at rest");
	for (i = 0; i < 2; i++) {
		together(w[i][0], w[i][1], "within one");
		together(w[i][0], w[i][2], "within one");
		for (j = 0; j < 3; j++)
			w_verify(w[i][j]);
	}
}

static void inheriting(void)
{
	struct worker *x, *y, *z;
	const char *p, *c;

	p = cg_ksm(NULL, "p", "1");
	x = dup_in(cg_new(p, "x"));
	c = cg_new(p, "c");
	y = dup_in(cg_new(c, "y"));
	z = dup_in(cg_new(c, "z"));
	ksm_settle();
	together(x, y, "parent's 1, two depths");
	together(y, z, "parent's 1, siblings");
}

static void nested(void)
{
	struct worker *outer, *deep, *inner, *low, *root, *asked;
	const char *a, *c, *d;

	a = cg_ksm(NULL, "a", "1");
	outer = dup_in(cg_new(a, "x"));
	deep = dup_in(cg_new(cg_new(a, "b"), "y"));
	c = cg_ksm(a, "c", "1");
	inner = dup_in(cg_new(c, "z"));
	d = cg_new(c, "d");
	low = dup_in(cg_new(d, "w"));
	/* the root is a domain too */
	root = dup_in(cg_new(NULL, "r"));
	asked = dup_in(cg_new(NULL, "s"));
	w_madv(root, 0, MADV_MERGEABLE);
	w_madv(asked, 0, MADV_MERGEABLE);
	ksm_settle();
	together(outer, deep, "the outer domain");
	together(inner, low, "the inner domain");
	together(root, asked, "the root domain");
	apart(outer, inner, "outer and inner");
	apart(outer, root, "outer and root");
	apart(inner, root, "inner and root");

	/* madvise makes a domain as 1 does, and merges what asked */
	cg_set(d, "memory.ksm", "madvise");
	w_madv(low, 0, MADV_MERGEABLE);
	apart(inner, low, "split off by madvise");
	ksm_settle();
	apart(inner, low, "split off by madvise, scanned");
}

static void joining(void)
{
	struct worker *x, *join, *own, *adv[2];
	const char *p, *j, *m, *top;

	p = cg_ksm(NULL, "p", "1");
	x = dup_in(cg_new(p, "x"));
	j = cg_ksm(p, "j", "1");
	join = dup_in(j);
	m = cg_ksm(p, "m", "1");
	own = dup_in(m);
	ksm_settle();
	CHECK_EQ(w_merged(join), 0, "alone in its domain");
	cg_set(j, "memory.ksm.domain", "parent");
	ksm_settle();
	together(x, join, "domain=parent");
	apart(x, own, "domain=self");
	cg_set(j, "memory.ksm.domain", "self");
	apart(x, join, "back to self");
	ksm_settle();
	apart(x, join, "back to self, scanned");
	w_verify(x);
	w_verify(join);

	/* madvise joins its parent's domain with what asked */
	cg_set(j, "memory.ksm", "madvise");
	cg_set(j, "memory.ksm.domain", "parent");
	adv[0] = dup_in(j);
	w_madv(adv[0], 0, MADV_MERGEABLE);
	ksm_settle();
	together(x, adv[0], "madvise, domain=parent");
	CHECK_EQ(w_merged(join), 0, "did not ask");

	/* at the top the enclosing domain is the root's */
	top = cg_ksm(NULL, "top", "1");
	cg_set(top, "memory.ksm.domain", "parent");
	own = dup_in(top);
	adv[1] = dup_in(cg_new(NULL, "r"));
	w_madv(adv[1], 0, MADV_MERGEABLE);
	ksm_settle();
	together(own, adv[1], "domain=parent at the top");
	apart(own, x, "joined the root, not its other children");
}

static void splitting(void)
{
	const char *p, *cg[2];
	struct worker *w[2][2];
	int i, round;

	p = cg_ksm(NULL, "p", "1");
	for (i = 0; i < 4; i++) {
		if (i < 2)
			cg[i] = cg_new(p, i ? "b" : "a");
		w[i & 1][i / 2] = dup_in(cg[i & 1]);
	}
	ksm_settle();
	together(w[0][0], w[1][0], "before the split");
	cg_set(cg[0], "memory.ksm", "1");
	for (i = 0; i < 4; i++)
		apart(w[0][i & 1], w[1][i / 2], "when the split has returned");
	settled(p, "split");
	ksm_settle();
	together(w[0][0], w[0][1], "the part that split off");
	together(w[1][0], w[1][1], "the part that stayed");
	apart(w[0][0], w[1][0], "the two parts");
	cg_set(cg[0], "memory.ksm", "inherit");
	ksm_settle();
	together(w[0][0], w[1][0], "joined again");

	/* and with the scanner running */
	cg_set(cg[0], "memory.ksm", "1");
	for (round = 0; round < 10; round++) {
		cg_set(cg[0], "memory.ksm.domain", "parent");
		ksm_pass(round % 3 + 1);
		cg_set(cg[0], "memory.ksm.domain", "self");
		for (i = 0; i < 4; i++)
			apart(w[0][i & 1], w[1][i / 2], "split under way");
	}
	ksm_stop();
	for (i = 0; i < 4; i++)
		w_verify(w[i & 1][i / 2]);
}

/* A 0 between the two leaves nothing to merge below it. */
static void zero_between(void)
{
	struct worker *w[2];
	const char *p, *z, *g;

	p = cg_ksm(NULL, "p", "1");
	z = cg_ksm(p, "z", "0");
	g = cg_ksm(z, "g", "1");
	w[0] = dup_in(g);
	w[1] = dup_in(g);
	ksm_settle();
	CHECK_EQ(w_all_ksm(w[0]), 0, "below a 0");
	CHECK_EQ(w_all_ksm(w[1]), 0, "below a 0");
	cg_set(z, "memory.ksm", "inherit");
	ksm_settle();
	together(w[0], w[1], "the 0 is gone");
}

/* Two on the same frames in one domain, a third in another, of equal bytes. */
static void two_and_one(const char **cg, struct worker **w)
{
	cg_ksm_row(cg, 2, "1");
	w[0] = dup_in(cg[0]);
	w[1] = dup_in(cg[0]);
	w[2] = dup_in(cg[1]);
	ksm_settle();
	together(w[0], w[1], "at first");
}

static void arrived(const char **cg, struct worker **w, struct worker *new,
		    const char *what)
{
	settled(cg[1], what);
	apart(new, w[0], what);
	apart(new, w[1], what);
	w_verify(new);
	together(w[0], w[1], "the two that stayed");
	w_poke(new, 0, 3, 17, 0x5a);
	w_verify(w[0]);
	w_verify(w[1]);
	ksm_settle();
	apart(new, w[0], what);
	apart(new, w[1], what);
	CHECK_EQ(w_same(new, w[2], 0), N - 1, "%s", what);
	w_verify(new);
	w_verify(w[2]);
}

static void fork_across(void)
{
	struct worker *w[3], *child;
	const char *cg[2];

	two_and_one(cg, w);
	child = w_spawn(w[0], SPAWN_FORK, cg[1]);
	arrived(cg, w, child, "forked into another domain");
}

static void move_across(void)
{
	struct worker *w[3], *child;
	const char *cg[2];

	two_and_one(cg, w);
	/* a child's mappings are not foreign as long as it stays */
	child = w_fork(w[0]);
	CHECK_EQ(cg_stat(cg[0], "pages_foreign"), 0, "a child at home");
	CHECK_EQ(cg_stat(cg[0], "pages_pending"), 0, "a child at home");
	together(child, w[1], "a child at home");
	NEED_OK(cg_move(cg[1], child->pid));
	arrived(cg, w, child, "moved to another domain");
}

static void heir_across(void)
{
	struct worker *w[3], *owner, *heir;
	const char *cg[2];

	two_and_one(cg, w);
	owner = w_fork(w[0]);
	heir = w_spawn(owner, SPAWN_VM, NULL);
	NEED_OK(cg_move(cg[1], heir->pid));
	together(heir, w[1], "as long as the owner lives");
	w_exit(owner);
	CHECK_WAIT_EQ(w_common_ksm(heir, w[0]), 0);
	arrived(cg, w, heir, "its owner exited");
}

/* Unsharing goes on while the arrival itself forks and writes. */
static void busy_arrival(void)
{
	struct worker *w[3], *child[6];
	const char *cg[2];
	int i;

	two_and_one(cg, w);
	for (i = 0; i < 6; i++) {
		child[i] = w_spawn(i ? child[i - 1] : w[0], SPAWN_FORK,
				   i ? NULL : cg[1]);
		w_set(child[i], 0, 7 * i, 7, 70000 + i, 1);
	}
	settled(cg[1], "a chain of forks");
	for (i = 0; i < 6; i++) {
		apart(child[i], w[0], "a chain of forks");
		apart(child[i], w[2], "scanner stands");
		w_verify(child[i]);
	}
	together(w[0], w[1], "the two that stayed");
}

/* The zero page may be in all domains, and it is not foreign in any. */
static void zero_page(void)
{
	struct worker *w[2], *child;
	const char *cg[2];
	int i;

	cg_ksm_row(cg, 2, "1");
	ksm_set("use_zero_pages", 1);
	for (i = 0; i < 2; i++)
		w[i] = w_dup(cg[i], N, 0, 0);
	ksm_settle();
	for (i = 0; i < 2; i++)
		CHECK_EQ(w_zeroes(w[i]), N);
	child = w_spawn(w[0], SPAWN_FORK, cg[1]);
	settled(cg[1], "zero pages");
	CHECK_EQ(w_zeroes(child), N, "forked into another domain");
	w_verify(child);
}

/*
 * A pipe's reference keeps the merged frame in the swap cache when all its
 * mappings have become swap entries. The first fault maps that frame again; the
 * child in the other domain holds the same entry and must get a copy.
 */
static void swap_in(void)
{
	struct worker *w[3], *child;
	const char *cg[2];
	long i;

	two_and_one(cg, w);
	swap_need();
	w_pin(w[1], 0, 16);
	NEED(swap_out(cg[0], w, 2), "pages are not swapped out");
	child = w_spawn(w[0], SPAWN_FORK, cg[1]);
	for (i = 0; i < N; i++) {
		w_read(i & 1 ? child : w[0], 0, i, 1);
		w_read(i & 1 ? w[0] : child, 0, i, 1);
	}
	apart(child, w[0], "swapped in");
	apart(child, w[1], "swapped in");
	settled(cg[1], "swapped in");
	w_verify(child);
	w_verify(w[0]);
	w_verify(w[1]);
	ksm_settle();
	apart(child, w[0], "swapped in and merged");
	w_verify(child);
	w_verify(w[0]);
	w_unpin(w[1]);
}

/*
 * Relatives by fork with bytes that only merging made the same. An ordinary
 * page that comes back from swap would do for both in one domain.
 */
static void swap_in_relatives(void)
{
	struct worker *w[2], *parent;
	const char *cg[2];
	int i, first;

	ksm_need_cgroup();
	swap_need();
	for (first = 0; first < 2; first++) {
		for (i = 0; i < 2; i++) {
			cg[i] = cg_letter(NULL, 2 * first + i);
			cg_set(cg[i], "memory.ksm", "1");
		}
		parent = w_dup(cg[0], N, 1, 1);
		for (i = 0; i < 2; i++) {
			w[i] = w_spawn(parent, SPAWN_FORK, cg[0]);
			w_set(w[i], 0, 0, N, 9000, 1);
		}
		ksm_settle();
		together(w[0], w[1], "relatives");
		NEED(swap_out(cg[0], w, 2), "pages are not swapped out");
		NEED_OK(cg_move(cg[1], w[1]->pid));
		for (i = 0; i < 2; i++)
			w_read(w[i ^ first], 0, 0, N);
		CHECK_EQ(w_same(w[0], w[1], 0), 0, "%d is the first", first);
		for (i = 0; i < 2; i++)
			w_verify(w[i]);
	}
}

/* Processes fork, move and write at random; no frame crosses domains. */
static void storm(void)
{
	enum { GROUPS = 4, PROCS = 10 };
	struct worker *w[PROCS];
	const char *cg[GROUPS];
	int home[PROCS], i, j;
	long step, steps = ksm_steps ? ksm_steps : 300;

	cg_ksm_row(cg, GROUPS, "1");
	for (i = 0; i < PROCS; i++) {
		home[i] = i % GROUPS;
		w[i] = dup_in(cg[home[i]]);
	}
	ksm_pass(1);
	for (step = 0; step < steps; step++) {
		i = ksm_random() % PROCS;
		j = ksm_random() % GROUPS;
		switch (ksm_random() % 5) {
		case 0:
			NEED_OK(cg_move(cg[j], w[i]->pid));
			home[i] = j;
			break;
		case 1:
			j = ksm_random() % PROCS;
			if (i == j)
				break;
			w_exit(w[j]);
			home[j] = ksm_random() % GROUPS;
			w[j] = w_spawn(w[i], SPAWN_FORK, cg[home[j]]);
			break;
		default:
			w_set(w[i], 0, ksm_random() % (N - 8), 8,
			      9000 + ksm_random() % 16, 1);
		}
		if (step % 100 == 99) {
			ksm_stop();
			for (j = 0; j < GROUPS; j++)
				settled(cg[j], "at rest");
			for (i = 0; i < PROCS * PROCS; i++)
				if (home[i / PROCS] != home[i % PROCS])
					apart(w[i / PROCS], w[i % PROCS],
					      "at rest");
			ksm_pass(1);
		}
	}
	ksm_stop();
	for (i = 0; i < PROCS; i++)
		w_verify(w[i]);
}

static const struct ksm_case cases[] = {
	{ "siblings with a 1 each share no frame", siblings },
	{ "children that inherit share frames", inheriting },
	{ "domains within domains, and the root domain", nested },
	{ "domain=parent joins", joining },
	{ "a domain is split and joined under its processes", splitting },
	{ "a 0 between two domains", zero_between },
	{ "fork into another domain", fork_across },
	{ "a move to another domain", move_across },
	{ "an owner's heir in another domain", heir_across },
	{ "an arrival that forks and writes on", busy_arrival },
	{ "the zero page crosses domains", zero_page },
	{ "swap-in does not cross", swap_in },
	{ "swap-in does not cross between relatives", swap_in_relatives },
	{ "random forks, moves and writes over four domains", storm },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
