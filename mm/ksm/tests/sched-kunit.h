/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the scheduler: how much work an entity gets, and when.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_SCHED_TEST_H
#define _KSM_SCHED_TEST_H

#include <kunit/test.h>
#include <linux/prandom.h>

#include "../ksm.h"

#define KSM_ST_MAX	240

/**
 * struct ksm_st - a tree and what each of its entities received
 * @e: the entities, e[0] is the root
 * @nr: number of entities
 * @work: charged to each since ksm_st_begin(), in cache lines
 * @share: each entity's share of all work since then, in 2^-32
 * @low: largest lag behind the share since then, in cache lines, negative
 * @high: largest lead over the share since then, in cache lines
 * @rnd: repeatable randomness
 */
struct ksm_st {
	struct ksm_sched e[KSM_ST_MAX];
	int nr;
	u64 work[KSM_ST_MAX];
	u64 share[KSM_ST_MAX];
	s64 low[KSM_ST_MAX];
	s64 high[KSM_ST_MAX];
	struct rnd_state rnd;
};

static struct ksm_st *ksm_st_make(struct kunit *test)
{
	struct ksm_st *st = kunit_kzalloc(test, sizeof(*st), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, st);
	prandom_seed_state(&st->rnd, 6012);
	ksm_sched_init(&st->e[0], NULL, KSM_WEIGHT_DFL);
	st->nr = 1;
	return st;
}

static u32 ksm_st_below(struct ksm_st *st, u32 n)
{
	return prandom_u32_state(&st->rnd) % n;
}

static int ksm_st_new(struct ksm_st *st, int parent, u32 weight)
{
	ksm_sched_init(&st->e[st->nr], &st->e[parent], weight);
	return st->nr++;
}

static int ksm_st_add(struct ksm_st *st, int parent, u32 weight)
{
	int i = ksm_st_new(st, parent, weight);

	ksm_sched_wake(&st->e[i]);
	return i;
}

/* Begin a stretch without sleeps and wake-ups. Parents precede children. */
static void ksm_st_begin(struct ksm_st *st)
{
	int i, j;

	for (i = 0; i < st->nr; i++) {
		struct ksm_sched *parent = st->e[i].parent;
		u64 weights = 0;

		st->work[i] = 0;
		st->low[i] = 0;
		st->high[i] = 0;
		st->share[i] = parent ? 0 : 1ULL << 32;
		if (!parent || !st->e[i].active)
			continue;
		for (j = 1; j < st->nr; j++) {
			if (st->e[j].parent == parent && st->e[j].active)
				weights += st->e[j].weight;
		}
		st->share[i] = div64_u64(st->share[parent - st->e] *
					 st->e[i].weight, weights);
	}
}

static void ksm_st_book(struct ksm_st *st, struct ksm_sched *e, u64 work)
{
	s64 ahead;
	int i;

	ksm_sched_charge(e, work);
	for (; e; e = e->parent)
		st->work[e - st->e] += work;
	for (i = 1; i < st->nr; i++) {
		ahead = st->work[i] - (st->work[0] * st->share[i] >> 32);
		st->low[i] = min(st->low[i], ahead);
		st->high[i] = max(st->high[i], ahead);
	}
}

/* Serve some turns; each takes a whole batch, or a random part of it. */
static void ksm_st_serve(struct kunit *test, struct ksm_st *st, int turns,
			 bool whole)
{
	struct ksm_sched *e;
	u64 work;

	while (turns--) {
		e = ksm_sched_pick(&st->e[0], KSM_SLICE);
		KUNIT_ASSERT_NOT_NULL(test, e);
		KUNIT_ASSERT_TRUE(test, e->active && !e->weights);
		work = whole ? KSM_SLICE : 1 + ksm_st_below(st, KSM_SLICE);
		ksm_st_book(st, e, work);
	}
}

/* The largest deviation from the share in any stretch since ksm_st_begin(). */
static s64 ksm_st_worst(struct ksm_st *st)
{
	s64 worst = 0;
	int i;

	for (i = 1; i < st->nr; i++)
		worst = max(worst, st->high[i] - st->low[i]);
	return worst;
}

static s64 ksm_st_ahead(struct ksm_st *st)
{
	s64 ahead = 0;
	int i;

	for (i = 1; i < st->nr; i++)
		ahead = max(ahead, st->high[i]);
	return ahead;
}

static void ksm_sched_test_empty(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int a = ksm_st_new(st, 0, 100), b = ksm_st_new(st, a, 100);

	KUNIT_EXPECT_NULL(test, ksm_sched_pick(&st->e[0], KSM_SLICE));
	ksm_sched_sleep(&st->e[b]);
	KUNIT_EXPECT_NULL(test, ksm_sched_pick(&st->e[0], KSM_SLICE));
	ksm_sched_wake(&st->e[b]);
	ksm_sched_wake(&st->e[b]);
	KUNIT_EXPECT_PTR_EQ(test, ksm_sched_pick(&st->e[0], KSM_SLICE),
			    &st->e[b]);
	/* a descendant has work: its ancestor cannot sleep */
	ksm_sched_sleep(&st->e[a]);
	KUNIT_EXPECT_PTR_EQ(test, ksm_sched_pick(&st->e[0], KSM_SLICE),
			    &st->e[b]);
	ksm_sched_sleep(&st->e[b]);
	ksm_sched_sleep(&st->e[b]);
	KUNIT_EXPECT_NULL(test, ksm_sched_pick(&st->e[0], KSM_SLICE));
	KUNIT_EXPECT_FALSE(test, st->e[a].active || st->e[0].active);
	KUNIT_EXPECT_EQ(test, st->e[0].weights + st->e[a].weights, 0);
	KUNIT_EXPECT_EQ(test, st->e[0].sum | st->e[a].sum, 0);
}

static void ksm_sched_test_weights(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int a = ksm_st_add(st, 0, 100);
	int b = ksm_st_add(st, 0, 300);
	int c = ksm_st_add(st, 0, 600);

	ksm_st_begin(st);
	ksm_st_serve(test, st, 10000, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
	KUNIT_EXPECT_EQ(test, st->work[a], 1000 * KSM_SLICE);
	KUNIT_EXPECT_EQ(test, st->work[b], 3000 * KSM_SLICE);
	KUNIT_EXPECT_EQ(test, st->work[c], 6000 * KSM_SLICE);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 20000, false);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
}

/* Work too small for a step of virtual time is not lost. */
static void ksm_sched_test_crumbs(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int i;

	ksm_st_add(st, 0, 9999);
	ksm_st_add(st, 0, 9973);
	ksm_st_add(st, 0, 7);
	ksm_st_begin(st);
	for (i = 0; i < 200000; i++)
		ksm_st_book(st, ksm_sched_pick(&st->e[0], KSM_SLICE), 1);
	/* deadlines are for whole batches, but deviations do not add up */
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), KSM_SLICE / 32);
}

static void ksm_sched_test_extremes(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int i, b, a = ksm_st_add(st, 0, KSM_WEIGHT_MIN);

	b = ksm_st_add(st, 0, KSM_WEIGHT_MAX);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 3 * 10001, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
	KUNIT_EXPECT_EQ(test, st->work[a], 3 * KSM_SLICE);
	KUNIT_EXPECT_EQ(test, st->work[b], 30000 * KSM_SLICE);

	/* many small entities do not get their turns all at once */
	for (i = 0; i < 100; i++)
		ksm_st_add(st, 0, KSM_WEIGHT_MIN);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 12000, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
}

/* Cgroups in cgroups, each with processes of its own. */
static void ksm_sched_test_nested(struct kunit *test)
{
	static const u32 weight[] = { 100, 300, 600 };
	struct ksm_st *st = ksm_st_make(test);
	int i, j, group;

	for (i = 0; i < 3; i++) {
		group = ksm_st_new(st, 0, weight[i]);
		ksm_st_add(st, group, KSM_WEIGHT_DFL);
		for (j = 0; j < 3; j++)
			ksm_st_add(st, group, weight[j]);
	}
	ksm_st_begin(st);
	ksm_st_serve(test, st, 20000, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 20000, false);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
}

static u32 ksm_st_weight(struct ksm_st *st, int kind)
{
	static const u32 some[] = { 1, 10, 100, 300, 600, 1000, 10000 };

	switch (kind % 4) {
	case 0:
		return 1 + ksm_st_below(st, KSM_WEIGHT_MAX);
	case 1:
		return ksm_st_below(st, 10) ? KSM_WEIGHT_MIN : KSM_WEIGHT_MAX;
	case 2:
		return 1 + ksm_st_below(st, 3);
	default:
		return some[ksm_st_below(st, ARRAY_SIZE(some))];
	}
}

static void ksm_st_reset(struct ksm_st *st)
{
	ksm_sched_init(&st->e[0], NULL, KSM_WEIGHT_DFL);
	st->nr = 1;
}

static void ksm_sched_test_random(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int i, n, trial;

	for (trial = 0; trial < 100; trial++) {
		ksm_st_reset(st);
		n = 2 + ksm_st_below(st, trial % 20 ? 12 : 150);
		for (i = 0; i < n; i++)
			ksm_st_add(st, 0, ksm_st_weight(st, trial));
		ksm_st_begin(st);
		ksm_st_serve(test, st, 2000, trial & 4);
		KUNIT_ASSERT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
		KUNIT_ASSERT_LE(test, ksm_st_ahead(st), KSM_SLICE);
	}
}

static int ksm_st_depth(struct ksm_st *st, int i)
{
	struct ksm_sched *e = &st->e[i];
	int depth = 0;

	while ((e = e->parent))
		depth++;
	return depth;
}

static void ksm_sched_test_random_nested(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int i, n, trial;

	for (trial = 0; trial < 100; trial++) {
		ksm_st_reset(st);
		n = 1 + ksm_st_below(st, 40);
		for (i = 0; i < n; i++)
			ksm_st_new(st, ksm_st_below(st, st->nr),
				   ksm_st_weight(st, trial));
		/* a leaf for each, as every cgroup has processes of its own */
		for (i = 0; i <= n; i++)
			ksm_st_add(st, i, KSM_WEIGHT_DFL);
		ksm_st_begin(st);
		ksm_st_serve(test, st, 2000, trial & 4);
		/* lag adds up over the levels, lead does not */
		for (i = 1; i < st->nr; i++)
			KUNIT_ASSERT_LE(test, st->high[i] - st->low[i],
					(1 + ksm_st_depth(st, i)) * KSM_SLICE);
		KUNIT_ASSERT_LE(test, ksm_st_ahead(st), KSM_SLICE + 1);
	}
}

static void ksm_sched_test_sleep(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int group = ksm_st_new(st, 0, 100), a = ksm_st_add(st, group, 100);
	int b = ksm_st_add(st, 0, 300), c = ksm_st_add(st, 0, 600);

	ksm_st_begin(st);
	ksm_st_serve(test, st, 1007, true);

	/* its share goes to the others at once, by their weights */
	ksm_sched_sleep(&st->e[a]);
	KUNIT_EXPECT_FALSE(test, st->e[group].active);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 9000, true);
	KUNIT_EXPECT_EQ(test, st->work[a], 0);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
	KUNIT_EXPECT_GE(test, st->work[b] + KSM_SLICE, 3000 * KSM_SLICE);
	KUNIT_EXPECT_GE(test, st->work[c] + KSM_SLICE, 6000 * KSM_SLICE);

	/* it comes back to its share and nothing more */
	ksm_sched_wake(&st->e[a]);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 10, true);
	KUNIT_EXPECT_LE(test, st->work[a], 2 * KSM_SLICE);
	ksm_st_serve(test, st, 9990, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);

	/* being served alone for long leaves no debt */
	ksm_sched_sleep(&st->e[b]);
	ksm_sched_sleep(&st->e[c]);
	ksm_st_serve(test, st, 5000, true);
	ksm_sched_wake(&st->e[b]);
	ksm_sched_wake(&st->e[c]);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 10000, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);

	/* after a time without any work all start level */
	ksm_sched_sleep(&st->e[b]);
	ksm_sched_sleep(&st->e[a]);
	ksm_st_serve(test, st, 5000, true);
	ksm_sched_sleep(&st->e[c]);
	KUNIT_EXPECT_NULL(test, ksm_sched_pick(&st->e[0], KSM_SLICE));
	ksm_sched_wake(&st->e[b]);
	ksm_sched_wake(&st->e[c]);
	ksm_sched_wake(&st->e[a]);
	KUNIT_EXPECT_EQ(test, st->e[b].vtime, st->e[c].vtime);
	KUNIT_EXPECT_EQ(test, st->e[b].vtime, st->e[group].vtime);
}

/* Sleeping after every turn earns an entity no more than its share. */
static void ksm_sched_test_nap(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	struct ksm_sched *e;
	int i, napper;

	for (napper = 1; napper <= 2; napper++) {
		ksm_st_reset(st);
		ksm_st_add(st, 0, 100);
		ksm_st_add(st, 0, 900);
		ksm_st_begin(st);
		for (i = 0; i < 10000; i++) {
			e = ksm_sched_pick(&st->e[0], KSM_SLICE);
			ksm_st_book(st, e, KSM_SLICE);
			if (e == &st->e[napper]) {
				ksm_sched_sleep(e);
				ksm_sched_wake(e);
			}
		}
		KUNIT_EXPECT_LE(test, st->high[napper], 2 * KSM_SLICE);
	}
}

#define KSM_ST_DEAR	(10 * KSM_SLICE)
#define KSM_ST_SERVERS	4

/**
 * struct ksm_st_servers - several servers, at most one in each domain
 * @busy: the entity that each serves, or NULL
 * @held: held entities, by domain
 * @nr_held: number of held entities, by domain
 * @domains: number of domains; entity i is in domain i % @domains
 * @serving: number of busy servers, added up over all turns
 * @dear: an entity whose turns cost KSM_ST_DEAR, or NULL
 * @slack: for ksm_sched_pick(), in cache lines; 0 stands for KSM_SLICE
 */
struct ksm_st_servers {
	struct ksm_sched *busy[KSM_ST_SERVERS];
	struct ksm_sched *held[KSM_ST_MAX][KSM_ST_MAX];
	int nr_held[KSM_ST_MAX];
	int domains;
	int serving;
	const struct ksm_sched *dear;
	u32 slack;
};

/* An idle server takes an entity in a domain without a server. */
static void ksm_st_take(struct ksm_st *st, struct ksm_st_servers *sv,
			int server)
{
	u32 slack = sv->slack ?: KSM_SLICE;
	struct ksm_sched *e;
	int i, domain;

	while ((e = ksm_sched_pick(&st->e[0], slack))) {
		domain = (e - st->e) % sv->domains;
		for (i = 0; i < KSM_ST_SERVERS; i++) {
			if (sv->busy[i] &&
			    (sv->busy[i] - st->e) % sv->domains == domain)
				break;
		}
		if (i == KSM_ST_SERVERS) {
			sv->busy[server] = e;
			return;
		}
		ksm_sched_hold(e);
		sv->held[domain][sv->nr_held[domain]++] = e;
	}
}

static void ksm_st_done(struct ksm_st *st, struct ksm_st_servers *sv,
			int server)
{
	struct ksm_sched *e = sv->busy[server];
	int domain = (e - st->e) % sv->domains;

	sv->busy[server] = NULL;
	ksm_st_book(st, e, e == sv->dear ? KSM_ST_DEAR : KSM_SLICE);
	ksm_sched_release(e);
	while (sv->nr_held[domain])
		ksm_sched_release(sv->held[domain][--sv->nr_held[domain]]);
}

/* Check @least of every node. */
static bool ksm_st_sound(struct ksm_st *st)
{
	int i;

	for (i = 1; i < st->nr; i++) {
		struct ksm_sched *e = &st->e[i];
		struct ksm_sched *left = ksm_sched_entry(e->node.rb_left);
		struct ksm_sched *right = ksm_sched_entry(e->node.rb_right);
		u64 least = e->vtime;

		if (!e->active || e->held)
			continue;
		if (left && ksm_sched_before(left->least, least))
			least = left->least;
		if (right && ksm_sched_before(right->least, least))
			least = right->least;
		if (least != e->least)
			return false;
	}
	return true;
}

/* Serve with several servers that finish in random order. */
static void ksm_st_parallel(struct kunit *test, struct ksm_st *st,
			    struct ksm_st_servers *sv,
			    int servers, int turns)
{
	int i, j;

	memset(sv->busy, 0, sizeof(sv->busy));
	sv->serving = 0;
	while (turns) {
		for (i = 0; i < servers; i++) {
			if (!sv->busy[i])
				ksm_st_take(st, sv, i);
		}
		i = ksm_st_below(st, servers);
		if (!sv->busy[i])
			continue;
		for (j = 0; j < servers; j++)
			sv->serving += !!sv->busy[j];
		ksm_st_done(st, sv, i);
		KUNIT_ASSERT_TRUE(test, ksm_st_sound(st));
		turns--;
	}
	for (i = 0; i < servers; i++) {
		if (sv->busy[i])
			ksm_st_done(st, sv, i);
	}
}

/* Shares do not depend on the number of servers. */
static void ksm_sched_test_servers(struct kunit *test)
{
	static const u32 weight[][6] = {
		{ 900, 100, 0 }, { 1, 10000, 0 },
		{ 600, 100, 100, 100, 100, 0 },
	};
	struct ksm_st_servers *sv;
	struct ksm_st *st = ksm_st_make(test);
	int i, servers, set;

	sv = kunit_kzalloc(test, sizeof(*sv), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sv);
	for (servers = 1; servers <= KSM_ST_SERVERS; servers++) {
		for (set = 0; set < 2 * ARRAY_SIZE(weight); set++) {
			ksm_st_reset(st);
			for (i = 0; weight[set / 2][i]; i++)
				ksm_st_add(st, 0, weight[set / 2][i]);
			sv->domains = st->nr;
			sv->slack = set % 2 ? KSM_SCHED_SLACK_MAX : KSM_SLICE;
			ksm_st_begin(st);
			ksm_st_parallel(test, st, sv, servers, 30000);
			KUNIT_EXPECT_LE(test, ksm_st_worst(st),
					2 * KSM_SLICE + servers * sv->slack);
		}
	}
	sv->slack = KSM_SLICE;
	/* two servers with turns of unequal length seldom wait */
	ksm_st_reset(st);
	for (i = 0; i < 2; i++)
		ksm_st_add(st, 0, 100);
	sv->domains = st->nr;
	ksm_st_begin(st);
	ksm_st_parallel(test, st, sv, 2, 10000);
	KUNIT_EXPECT_GE(test, sv->serving, 10000 * 2 * 8 / 10);
	KUNIT_EXPECT_LE(test, ksm_st_ahead(st), 2 * KSM_SLICE);
	/* and hardly ever with more slack */
	ksm_st_reset(st);
	for (i = 0; i < 2; i++)
		ksm_st_add(st, 0, 100);
	ksm_st_begin(st);
	sv->slack = KSM_SCHED_SLACK_MAX;
	ksm_st_parallel(test, st, sv, 2, 10000);
	KUNIT_EXPECT_GE(test, sv->serving, 10000 * 2 * 93 / 100);
	KUNIT_EXPECT_LE(test, ksm_st_ahead(st), 5 * KSM_SLICE);
	KUNIT_EXPECT_GE(test, ksm_st_ahead(st), 3 * KSM_SLICE);
	sv->slack = KSM_SLICE;
	/* equal weights: all servers are busy nearly all the time */
	ksm_st_reset(st);
	for (i = 0; i < 2 * KSM_ST_SERVERS; i++)
		ksm_st_add(st, 0, 100);
	sv->domains = st->nr;
	ksm_st_begin(st);
	ksm_st_parallel(test, st, sv, KSM_ST_SERVERS, 10000);
	KUNIT_EXPECT_GE(test, sv->serving, 10000 * KSM_ST_SERVERS * 8 / 10);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st),
			(2 + KSM_ST_SERVERS) * KSM_SLICE);
}

/* Both bounds, and between them what two budgets leave to each server. */
static void ksm_sched_test_slack(struct kunit *test)
{
	const u32 least = KSM_SLICE, most = KSM_SCHED_SLACK_MAX;
	const u64 budget = (u64)UINT_MAX * KSM_PAGE_CACHELINES;

	KUNIT_EXPECT_EQ(test, ksm_sched_slack(0, 2), least);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(KSM_SLICE, 2), least);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(2 * KSM_SLICE, 2),
			2 * KSM_SLICE - KSM_SLICE / 2);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(6 * KSM_SLICE, 4),
			2 * KSM_SLICE - KSM_SLICE / 2);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(5 * KSM_SLICE, 2), most);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(5 * KSM_SLICE, 5), least);
	/* a single server never uses the slack; no number is too large */
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(5 * KSM_SLICE, 1), most);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(budget, 2), most);
	KUNIT_EXPECT_EQ(test, ksm_sched_slack(budget, UINT_MAX), least);
}

/* Nor does an entity earn more by it while the others are held. */
static void ksm_st_napper(struct kunit *test, struct ksm_st *st,
			  struct ksm_st_servers *sv, bool dear)
{
	struct ksm_sched *e, *napper;
	int i, server, n;

	ksm_st_reset(st);
	n = ksm_st_add(st, 0, 100);
	ksm_st_add(st, 0, 900);
	napper = &st->e[n];
	sv->domains = st->nr;
	sv->dear = dear ? napper : NULL;
	ksm_st_begin(st);
	for (i = 0; i < 20000; i++) {
		for (server = 0; server < 2; server++) {
			if (!sv->busy[server])
				ksm_st_take(st, sv, server);
		}
		server = ksm_st_below(st, 2);
		e = sv->busy[server];
		if (!e)
			continue;
		ksm_st_done(st, sv, server);
		if (e == napper) {
			ksm_sched_sleep(e);
			ksm_sched_wake(e);
		}
	}
	for (server = 0; server < 2; server++) {
		if (sv->busy[server])
			ksm_st_done(st, sv, server);
	}
	KUNIT_EXPECT_LE(test, st->high[n],
			(dear ? KSM_ST_DEAR : KSM_SLICE) + KSM_SLICE);
}

static void ksm_sched_test_servers_nap(struct kunit *test)
{
	struct ksm_st_servers *sv;
	struct ksm_st *st = ksm_st_make(test);

	sv = kunit_kzalloc(test, sizeof(*sv), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sv);
	ksm_st_napper(test, st, sv, false);
	/* the excess of a turn is still owed after a nap, however large */
	ksm_st_napper(test, st, sv, true);
}

/*
 * Trees in which entities share domains. Deviations add up over servers and
 * levels, but not over time, and everything is released in the end.
 */
static void ksm_sched_test_servers_nested(struct kunit *test)
{
	struct ksm_st_servers *sv;
	struct ksm_st *st = ksm_st_make(test);
	int i, n, trial, servers;

	sv = kunit_kzalloc(test, sizeof(*sv), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, sv);
	for (trial = 0; trial < 60; trial++) {
		ksm_st_reset(st);
		n = 1 + ksm_st_below(st, 30);
		for (i = 0; i < n; i++)
			ksm_st_new(st, ksm_st_below(st, st->nr),
				   ksm_st_weight(st, trial));
		for (i = 0; i <= n; i++)
			ksm_st_add(st, i, KSM_WEIGHT_DFL);
		sv->domains = 1 + ksm_st_below(st, st->nr);
		sv->slack = trial % 2 ? KSM_SCHED_SLACK_MAX : KSM_SLICE;
		servers = 1 + ksm_st_below(st, KSM_ST_SERVERS);
		ksm_st_begin(st);
		ksm_st_parallel(test, st, sv, servers, 5000);
		for (i = 1; i < st->nr; i++)
			KUNIT_ASSERT_LE(test, st->high[i] - st->low[i],
					(2 * KSM_SLICE + servers * sv->slack) *
					(2 + ksm_st_depth(st, i)));
		for (i = 0; i < st->nr; i++)
			KUNIT_ASSERT_TRUE(test,
					  !st->e[i].held && !st->e[i].nr_held);
		/* a held entity can sleep, and wakes without the hold */
		ksm_sched_hold(&st->e[n + 1]);
		ksm_sched_sleep(&st->e[n + 1]);
		KUNIT_ASSERT_FALSE(test, st->e[n + 1].held || st->e[0].nr_held);
		ksm_sched_wake(&st->e[n + 1]);
		ksm_st_begin(st);
		ksm_st_serve(test, st, 500, true);
	}
}

/* Groups appear, sleep, wake and go; in between, all get their share. */
static void ksm_sched_test_churn(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	struct ksm_sched *e;
	int i, n, trial, change, active;

	for (trial = 0; trial < 40; trial++) {
		ksm_st_reset(st);
		n = 3 + ksm_st_below(st, trial % 10 ? 12 : 100);
		for (i = 0; i < n; i++)
			ksm_st_add(st, 0, ksm_st_weight(st, trial));
		active = n;
		for (change = 0; change < 100; change++) {
			e = &st->e[1 + ksm_st_below(st, n)];
			if (e->active && active > 1) {
				ksm_sched_sleep(e);
				active--;
			} else if (!e->active) {
				if (ksm_st_below(st, 2))
					ksm_sched_init(e, &st->e[0],
						       ksm_st_weight(st,
								     trial));
				ksm_sched_wake(e);
				active++;
			}
			ksm_st_begin(st);
			ksm_st_serve(test, st, 1 + ksm_st_below(st, 100),
				     trial & 4);
			KUNIT_ASSERT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
		}
	}
}

static void ksm_sched_test_set_weight(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int i, n = 8, change;

	for (i = 0; i < n; i++)
		ksm_st_add(st, 0, ksm_st_weight(st, 3));
	for (change = 0; change < 1000; change++) {
		i = 1 + ksm_st_below(st, n);
		ksm_sched_set_weight(&st->e[i], ksm_st_weight(st, change));
		ksm_st_begin(st);
		ksm_st_serve(test, st, 1 + ksm_st_below(st, 100), false);
		KUNIT_ASSERT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
	}

	/* a debt of one batch is not multiplied by the weight */
	ksm_st_reset(st);
	ksm_st_add(st, 0, KSM_WEIGHT_DFL);
	i = ksm_st_add(st, 0, KSM_WEIGHT_MIN);
	ksm_sched_charge(&st->e[i], KSM_SLICE);
	ksm_sched_sleep(&st->e[i]);
	ksm_sched_set_weight(&st->e[i], KSM_WEIGHT_MAX);
	ksm_sched_wake(&st->e[i]);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 1000, true);
	KUNIT_EXPECT_LE(test, ksm_st_worst(st), 2 * KSM_SLICE);
}

/* Virtual time wraps around without effect. */
static void ksm_sched_test_wrap(struct kunit *test)
{
	struct ksm_st *near = ksm_st_make(test), *far = ksm_st_make(test);
	int group, i, turn, a = 0;
	struct ksm_sched *e;

	near->e[0].clock = -((u64)KSM_SLICE << KSM_VTIME_SHIFT);
	for (i = 0; i < 3; i++) {
		group = ksm_st_new(near, 0, 100 << i);
		near->e[group].clock = near->e[0].clock;
		ksm_st_new(far, 0, 100 << i);
		a = ksm_st_add(near, group, 10);
		ksm_st_add(far, group, 10);
		ksm_st_add(near, group, 1000);
		ksm_st_add(far, group, 1000);
	}
	ksm_st_begin(near);
	for (turn = 0; turn < 20000; turn++) {
		e = ksm_sched_pick(&near->e[0], KSM_SLICE);
		KUNIT_ASSERT_EQ(test, e - near->e,
				ksm_sched_pick(&far->e[0], KSM_SLICE) - far->e);
		ksm_st_book(near, e, KSM_SLICE);
		ksm_sched_charge(&far->e[e - near->e], KSM_SLICE);
		if (turn % 100 == 50) {
			ksm_sched_sleep(&near->e[a]);
			ksm_sched_sleep(&far->e[a]);
		} else if (turn % 100 == 60) {
			ksm_sched_wake(&near->e[a]);
			ksm_sched_wake(&far->e[a]);
		}
	}
	for (i = 1; i < near->nr; i++)
		KUNIT_EXPECT_LT_MSG(test, near->e[i].vtime, S64_MAX + 0ULL,
				    "%d is not past the end", i);
}

/* An impossible charge neither stops the scheduler nor starves an entity. */
static void ksm_sched_test_huge(struct kunit *test)
{
	struct ksm_st *st = ksm_st_make(test);
	int a = ksm_st_add(st, 0, 1);
	int b = ksm_st_add(st, 0, 100);

	ksm_sched_charge(&st->e[a], U64_MAX);
	ksm_sched_charge(&st->e[b], U64_MAX);
	ksm_st_begin(st);
	ksm_st_serve(test, st, 2 * 100 * (KSM_SCHED_CHARGE_MAX / KSM_SLICE),
		     true);
	KUNIT_EXPECT_GT(test, st->work[a], 0);
	KUNIT_EXPECT_GT(test, st->work[b], 0);
}

static struct kunit_case ksm_sched_test_cases[] = {
	KUNIT_CASE(ksm_sched_test_empty),
	KUNIT_CASE(ksm_sched_test_weights),
	KUNIT_CASE(ksm_sched_test_crumbs),
	KUNIT_CASE(ksm_sched_test_extremes),
	KUNIT_CASE(ksm_sched_test_nested),
	KUNIT_CASE(ksm_sched_test_random),
	KUNIT_CASE(ksm_sched_test_random_nested),
	KUNIT_CASE(ksm_sched_test_sleep),
	KUNIT_CASE(ksm_sched_test_nap),
	KUNIT_CASE(ksm_sched_test_servers),
	KUNIT_CASE(ksm_sched_test_slack),
	KUNIT_CASE(ksm_sched_test_servers_nap),
	KUNIT_CASE(ksm_sched_test_servers_nested),
	KUNIT_CASE(ksm_sched_test_churn),
	KUNIT_CASE(ksm_sched_test_set_weight),
	KUNIT_CASE(ksm_sched_test_wrap),
	KUNIT_CASE(ksm_sched_test_huge),
	{}
};

static struct kunit_suite ksm_sched_test_suite = {
	.name = "ksm-sched",
	.test_cases = ksm_sched_test_cases,
};

kunit_test_suite(ksm_sched_test_suite);

#endif /* _KSM_SCHED_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
