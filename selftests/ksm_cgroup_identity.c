// SPDX-License-Identifier: GPL-2.0
/*
 * The books add up, whatever was done.
 *
 * Processes fork, exec, exit, write, move, are swapped out and merged in a tree
 * of cgroups that come and go, whose memory.ksm and memory.ksm.domain change,
 * and which run=2 clears, at random. Whenever the tree is at rest,
 *
 * - each key of the root's memory.ksm.stat, full_scans excepted, is the sum
 *   over the top-level cgroups and what the root had of its own at the start
 * - each key of a cgroup is the sum over its children and the removed ones
 * - the root's are the files in /sys/kernel/mm/ksm
 * - ksm_merging_pages is the sum over the page tables of the cgroup's
 *   processes, ksm_zero_pages over their ksm_stat, processes how many take part
 *
 * and after the last exit all gauges are zero. -n sets the steps, -s the seed.
 *
 * vm: timeout=900
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmlib.h"

#define PROCS	8
#define LEAVES	5
#define N	96

enum key {
	MERGING, SHARED, SHARING, ZERO, UNSHARED, VOLATILE, FOREIGN, PENDING,
	SAVED, METADATA, PROFIT, PROCESSES, GAUGES,
	SCANNED = GAUGES, SKIPPED, MERGED, UNMERGED, COW, FAILURES, USEC, KEYS,
};

static const char * const names[KEYS] = {
	[MERGING] = "ksm_merging_pages",
	[SHARED] = "pages_shared",
	[SHARING] = "pages_sharing",
	[ZERO] = "ksm_zero_pages",
	[UNSHARED] = "pages_unshared",
	[VOLATILE] = "pages_volatile",
	[FOREIGN] = "pages_foreign",
	[PENDING] = "pages_pending",
	[SAVED] = "pages_saved",
	[METADATA] = "ksm_metadata_bytes",
	[PROFIT] = "general_profit",
	[PROCESSES] = "processes",
	[SCANNED] = "pages_scanned",
	[SKIPPED] = "pages_skipped",
	[MERGED] = "pages_merged",
	[UNMERGED] = "pages_unmerged",
	[COW] = "cow_breaks",
	[FAILURES] = "merge_failures",
	[USEC] = "scan_usec",
};

/* The keys that are files in /sys/kernel/mm/ksm, too. */
static const enum key in_sysfs[] = {
	SHARED, SHARING, ZERO, UNSHARED, VOLATILE, SCANNED, SKIPPED, SAVED,
	PROFIT,
};

struct books {
	long long v[KEYS];
};

static struct proc {
	struct worker *w;
	int leaf;
	bool asked;
} procs[PROCS];

static const char *up, *inner, *leaf[LEAVES];	/* the last two are in inner */
static struct books own_root;
static struct books gone_up, gone_inner;	/* events of removed children */

static long below(long n)
{
	return ksm_random() % n;
}

/* ---- reading the books ---- */

static struct books books_of(const char *cg)
{
	struct books b;
	int k;

	for (k = 0; k < KEYS; k++)
		b.v[k] = cg_stat(cg, names[k]);
	return b;
}

static void add(struct books *to, struct books b, int sign)
{
	int k;

	for (k = 0; k < KEYS; k++)
		to->v[k] += sign * b.v[k];
}

static struct books top_level(void)
{
	DIR *dir = opendir(CGROOT);
	struct books sum = { 0 };
	struct dirent *d;
	char path[300];

	NEED(dir, "no " CGROOT);
	while ((d = readdir(dir))) {
		snprintf(path, sizeof(path), CGROOT "/%s", d->d_name);
		if (d->d_name[0] != '.' && d->d_type == DT_DIR &&
		    cg_has(path, "memory.ksm.stat"))
			add(&sum, books_of(path), 1);
	}
	closedir(dir);
	return sum;
}

/* In gauges; the root also has the events of removed children. */
static bool root_owns_nothing(void)
{
	int k;

	own_root = books_of(CGROOT);
	add(&own_root, top_level(), -1);
	for (k = 0; k < GAUGES; k++)
		if (own_root.v[k])
			return false;
	return true;
}

static bool same(const char *what, struct books have, struct books want,
		 bool loud)
{
	bool ok = true;
	int k;

	for (k = 0; k < KEYS; k++) {
		if (have.v[k] == want.v[k])
			continue;
		ok = false;
		if (loud)
			ksm_note("%s: %s: got %lld, expected %lld", what,
				 names[k], have.v[k], want.v[k]);
	}
	return ok;
}

static bool root_adds_up(bool loud)
{
	struct books want = top_level();
	struct books have = books_of(CGROOT);
	bool ok = true;
	size_t i;

	add(&want, own_root, 1);
	if (!same("the root", have, want, loud))
		ok = false;
	for (i = 0; i < ARRAY_SIZE(in_sysfs); i++) {
		enum key k = in_sysfs[i];
		long long file = ksm_get(names[k]);

		if (file == have.v[k])
			continue;
		ok = false;
		if (loud)
			ksm_note("%s: got %lld from the root, expected %lld",
				 names[k], have.v[k], file);
	}
	return ok;
}

static bool tree_adds_up(bool loud)
{
	struct books want = gone_up, deep = gone_inner;
	int i;

	for (i = 0; i < LEAVES; i++) {
		if (leaf[i])
			add(i < 3 ? &want : &deep, books_of(leaf[i]), 1);
	}
	add(&want, books_of(inner), 1);
	return same("the inner one", books_of(inner), deep, loud) &
	       same("the upper one", books_of(up), want, loud);
}

static bool takes_part(const struct proc *p)
{
	const char *effective = cg_get(leaf[p->leaf], "memory.ksm.effective");

	return !strcmp(effective, "1") ||
	       (!strcmp(effective, "madvise") && p->asked);
}

static bool leaf_is_true(int l, bool loud)
{
	long long merging = 0, zero = 0, part = 0;
	struct books b = books_of(leaf[l]);
	bool ok;
	int i;

	for (i = 0; i < PROCS; i++) {
		if (!procs[i].w || procs[i].leaf != l)
			continue;
		merging += w_all_ksm(procs[i].w);
		zero += w_stat(procs[i].w, "ksm_zero_pages");
		part += takes_part(&procs[i]);
	}
	ok = b.v[MERGING] == merging && b.v[ZERO] == zero &&
	     b.v[PROCESSES] == part && (merging || !b.v[SHARED]);
	if (!ok && loud) {
		ksm_note("%s (%s): got %lld merged, %lld zero, %lld processes",
			 leaf[l], cg_get(leaf[l], "memory.ksm.effective"),
			 b.v[MERGING], b.v[ZERO], b.v[PROCESSES]);
		ksm_note("expected %lld, %lld, %lld; frames: %lld", merging,
			 zero, part, b.v[SHARED]);
	}
	return ok;
}

static bool all_true(bool loud)
{
	struct books b = books_of(up);
	bool ok = root_adds_up(loud) & tree_adds_up(loud);
	int i;

	for (i = 0; i < LEAVES; i++)
		if (leaf[i] && !leaf_is_true(i, loud))
			ok = false;
	if (b.v[FOREIGN] || b.v[PENDING] ||
	    b.v[SHARED] + b.v[SHARING] != b.v[MERGING]) {
		ok = false;
		if (loud)
			ksm_note("%lld foreign, %lld pending; %lld + %lld for %lld mappings",
				 b.v[FOREIGN], b.v[PENDING], b.v[SHARED],
				 b.v[SHARING], b.v[MERGING]);
	}
	return ok;
}

static void at_rest(long step)
{
	int i;

	ksm_stop();
	/* kernel workers hand frames on, and unshare arrivals */
	if (!WAIT_FOR(all_true(false))) {
		all_true(true);
		ksm_fatal(__FILE__, __LINE__, "the books are wrong at step %ld",
			  step);
	}
	for (i = 0; i < PROCS; i++)
		if (procs[i].w)
			w_verify(procs[i].w);
}

/* ---- random steps ---- */

static int some_leaf(void)
{
	int l;

	do {
		l = below(LEAVES);
	} while (!leaf[l]);
	return l;
}

static void make_leaf(int l)
{
	leaf[l] = cg_letter(l < 3 ? up : inner, l);
}

static void new_proc(struct proc *p)
{
	p->leaf = some_leaf();
	p->w = w_dup(leaf[p->leaf], N, 1 + below(4), below(2));
	p->asked = below(2);
	if (p->asked)
		w_madv(p->w, 0, MADV_MERGEABLE);
}

static void fork_proc(struct proc *p)
{
	struct proc *child = &procs[below(PROCS)];
	int to = some_leaf();

	if (child->w)
		return;
	*child = *p;
	if (below(2)) {
		child->leaf = to;
		child->w = w_spawn(p->w, SPAWN_FORK, leaf[to]);
	} else {
		child->w = w_fork(p->w);
	}
}

static void exec_proc(struct proc *p)
{
	w_exec(p->w);
	w_map(p->w, N, MAP_PLAIN);
	w_set(p->w, 0, 0, N, 1 + below(4), below(2));
	p->asked = false;
}

static void write_some(struct proc *p)
{
	long first = below(N - 16);

	if (below(3))
		w_set(p->w, 0, first, 1 + below(16), below(6), below(2));
	else
		w_poke(p->w, 0, first, below(4096), 1);
}

static void change_value(void)
{
	static const char * const values[] = {
		"1", "1", "1", "madvise", "inherit", "0"
	};
	static const char * const domains[] = { "self", "parent", "@a", "@b" };
	const char *cg = leaf[some_leaf()];

	switch (below(8)) {
	case 0:
		cg = inner;
		break;
	case 1:
		cg = up;
		break;
	}
	if (below(3))
		cg_set(cg, "memory.ksm", values[below(ARRAY_SIZE(values))]);
	else
		cg_set(cg, "memory.ksm.domain",
		       domains[below(ARRAY_SIZE(domains))]);
}

/* Its processes move first; the events that it counted stay with its parent. */
static void remove_leaf(long step)
{
	int i, l = some_leaf(), to = some_leaf();
	struct books had;

	if (l == to)
		return;
	for (i = 0; i < PROCS; i++) {
		if (!procs[i].w || procs[i].leaf != l)
			continue;
		NEED_OK(cg_move(leaf[to], procs[i].w->pid));
		procs[i].leaf = to;
	}
	at_rest(step);
	had = books_of(leaf[l]);
	memset(had.v, 0, GAUGES * sizeof(*had.v));
	add(l < 3 ? &gone_up : &gone_inner, had, 1);
	NEED_WAIT_OK(cg_rmdir(leaf[l]));
	leaf[l] = NULL;
	at_rest(step);
	make_leaf(l);
	ksm_start();
}

static void random_step(long step)
{
	struct proc *p = &procs[below(PROCS)];
	int l = some_leaf();

	if (!p->w) {
		new_proc(p);
		return;
	}
	switch (below(20)) {
	case 0:
		w_exit(p->w);
		p->w = NULL;
		break;
	case 1 ... 2:
		fork_proc(p);
		break;
	case 3:
		exec_proc(p);
		break;
	case 4 ... 8:
		write_some(p);
		break;
	case 9:
		w_madv_at(p->w, 0, below(N - 8), 8, MADV_DONTNEED);
		break;
	case 10:
		w_madv(p->w, 0, MADV_MERGEABLE);
		p->asked = true;
		break;
	case 11 ... 12:
		NEED_OK(cg_move(leaf[l], p->w->pid));
		p->leaf = l;
		break;
	case 13 ... 14:
		change_value();
		break;
	case 15:
		cg_put(leaf[l], "memory.reclaim", "128K");
		break;
	case 16:
		if (!below(4))
			ksm_unmerge_all();
		ksm_set("use_zero_pages", below(2));
		ksm_set("smart_scan", below(2));
		ksm_start();
		break;
	case 17:
		if (!below(3))
			remove_leaf(step);
		break;
	default:
		ksm_pass(1);
	}
}

static void random_walk(void)
{
	long step, steps = ksm_steps ? ksm_steps : 1500;
	int i, k;

	ksm_need_cgroup();
	if (!swap_on())
		ksm_note("no swap on zram here");
	memset(procs, 0, sizeof(procs));
	memset(&gone_up, 0, sizeof(gone_up));
	memset(&gone_inner, 0, sizeof(gone_inner));
	/* what processes do elsewhere must not count as the root's own */
	ksm_stop();
	if (!WAIT_FOR(root_owns_nothing())) {
		for (k = 0; k < GAUGES; k++)
			CHECK_EQ(own_root.v[k], 0, "the root's own %s",
				 names[k]);
	}

	up = cg_ksm(NULL, "up", "1");
	inner = cg_new(up, "inner");
	for (i = 0; i < LEAVES; i++)
		make_leaf(i);
	ksm_pass(1);
	for (step = 1; step <= steps; step++) {
		random_step(step);
		if (step % 25)
			continue;
		at_rest(step);
		ksm_start();
	}

	at_rest(step);
	for (i = 0; i < PROCS; i++)
		if (procs[i].w)
			w_exit(procs[i].w);
	memset(procs, 0, sizeof(procs));
	for (k = 0; k < GAUGES; k++)
		CHECK_WAIT_EQ(cg_stat(up, names[k]), 0, "%s", names[k]);
	at_rest(step);
	/* free swap entries may wait for reuse, and hold their cgroup */
	swap_off();
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

static const struct ksm_case cases[] = {
	{ "a random walk keeps the books", random_walk },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
