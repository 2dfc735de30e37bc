// SPDX-License-Identifier: GPL-2.0
/*
 * pages_saved is what merging gains.
 *
 * - it is what the cgroup's anonymous memory, and with it memory.current, falls
 *   by through merging, without metadata: for copies, zeroes, huge pages of
 *   zeroes, one content many times
 * - what fork shares is no gain, before or after merging; what relatives write
 *   separately is
 * - it stays right when a parent exits, or a child writes
 * - general_profit follows it, cgroups add up, and nothing is left at the end
 *
 * vm: timeout=600
 */
#include "ksmlib.h"

#define N		8192
#define TAG		1000
#define CHILDREN	3

static const char *cg;
static struct worker *w[2][1 + CHILDREN];
/* What a cgroup holds, in pages, metadata left out. */
struct held {
	long long anon;		/* exact */
	long long charged;	/* with what is freed late */
};

/* What the cgroup would hold without merging. */
static struct held unmerged;

static struct held held_now(void)
{
	return (struct held) {
		.anon = cg_memory_stat(cg, "anon") / (long long)PAGE_SZ,
		.charged = (cg_current(cg) -
			    cg_stat(cg, "ksm_metadata_bytes")) /
			   (long long)PAGE_SZ,
	};
}

/* Workers of a case that ended early are gone. */
static void new_cgroup(const char *name, const char *value)
{
	memset(w, 0, sizeof(w));
	cg = cg_ksm(NULL, name, value);
}

static void fork_all(void)
{
	int i, j;

	for (i = 0; i < 2; i++) {
		for (j = 1; j <= CHILDREN; j++)
			w[i][j] = w_fork(w[i][0]);
	}
}

/* All is merged, and passes have counted since. */
static void merge(void)
{
	ksm_settle();
	ksm_pass(2);
	ksm_stop();
}

static void begin(void)
{
	unmerged = held_now();
	cg_set(cg, "memory.ksm", "1");
	merge();
}

static void near(long long got, long long want, const char *when)
{
	CHECK_GE(got, want - want / 50, "%s", when);
	CHECK_LE(got, want + want / 50, "%s", when);
}

/*
 * Kernel memory of the two processes that exit, which is freed late: page
 * tables and stack, and records that their children still need.
 */
#define LATE		(2 * (N / 512 + 48 + N * 48 / PAGE_SZ))

/* The same for memory.current. */
static void nearly(long long got, long long want, const char *when)
{
	long long off = want / 50 + LATE;

	CHECK_GE(got, want - off, "%s, memory.current", when);
	CHECK_LE(got, want + off, "%s, memory.current", when);
}

/* At least @least pages are saved, and as many as memory shows. */
static void saved_is(long long least, const char *when)
{
	long long saved = cg_stat(cg, "pages_saved");
	struct held now = held_now();

	CHECK_GE(saved, least - least / 50, "%s", when);
	near(saved, unmerged.anon - now.anon, when);
	nearly(saved, unmerged.charged - now.charged, when);
	CHECK_EQ(cg_stat(cg, "general_profit"),
		 saved * (long long)PAGE_SZ -
		 cg_stat(cg, "ksm_metadata_bytes"), "%s", when);
	CHECK_EQ(ksm_get("pages_saved"), cg_stat(CGROOT, "pages_saved"), "%s",
		 when);
}

/* Memory that a step of the test itself takes is not due to merging. */
static void without_gain(struct held before)
{
	struct held now = held_now();

	unmerged.anon += now.anon - before.anon;
	unmerged.charged += now.charged - before.charged;
}

static void nothing_left(void)
{
	int i, j;

	for (i = 0; i < 2; i++) {
		for (j = 0; j <= CHILDREN; j++) {
			if (w[i][j])
				w_exit(w[i][j]);
			w[i][j] = NULL;
		}
	}
	CHECK_WAIT_EQ(cg_stat(cg, "pages_saved"), 0, "the last exit");
	CHECK_WAIT_EQ(cg_stat(cg, "general_profit"), 0, "the last exit");
}

static void pair_of(u64 tag, long step, long long least)
{
	int i;

	new_cgroup("a", NULL);
	for (i = 0; i < 2; i++)
		w[i][0] = w_dup(cg, N, tag, step);
	begin();
	saved_is(least, "merged");
	nothing_left();
}

static void copies(void)
{
	pair_of(TAG, 1, N);
}

static void zeroes(void)
{
	ksm_set("use_zero_pages", 1);
	pair_of(0, 0, 2 * N);
}

static void one_content(void)
{
	pair_of(TAG, 0, 2 * N - N / 50);
}

static void huge_zeroes(void)
{
	int i;

	new_cgroup("a", NULL);
	ksm_set("use_zero_pages", 1);
	for (i = 0; i < 2; i++) {
		w[i][0] = w_new(cg);
		w_map(w[i][0], N, MAP_HUGE);
		w_set(w[i][0], 0, 0, N, 0, 0);
		NEED_GT(w_count(w[i][0], 0, F_HUGE), N / 2);
	}
	begin();
	CHECK_EQ(w_zeroes(w[0][0]), N);
	CHECK_GE(cg_stat(cg, "ksm_zero_pages"), 2 * N);
	CHECK_GE(cg_stat(cg, "pages_merged"), 2 * N);
	saved_is(2 * N, "merged");
	/* switching off unshares the zero pages that the splits mapped */
	CHECK_OK(cg_put(cg, "memory.ksm", "0"));
	CHECK_EQ(w_zeroes(w[0][0]), 0);
	CHECK_EQ(w_zeroes(w[1][0]), 0);
	CHECK_EQ(cg_stat(cg, "ksm_zero_pages"), 0);
	CHECK_WAIT_EQ(cg_stat(cg, "pages_saved"), 0);
	w_verify(w[0][0]);
	nothing_left();
}

static void families(u64 tag, long step)
{
	int i;

	new_cgroup("a", NULL);
	for (i = 0; i < 2; i++)
		w[i][0] = w_dup(cg, N, tag, step);
}

static void forked_before(void)
{
	families(TAG, 1);
	fork_all();
	begin();
	CHECK_GE(cg_stat(cg, "ksm_merging_pages"), 2 * (1 + CHILDREN) * N);
	saved_is(N, "merged");
	nothing_left();
}

static void zeroes_forked_before(void)
{
	ksm_set("use_zero_pages", 1);
	families(0, 0);
	fork_all();
	begin();
	CHECK_GE(cg_stat(cg, "ksm_zero_pages"), 2 * (1 + CHILDREN) * N);
	saved_is(2 * N, "merged");
	nothing_left();
}

static void forked_after_of(u64 tag, long step, const char *key,
			    long long least)
{
	struct held before;
	long long saved;

	families(tag, step);
	begin();
	saved_is(least, "merged");
	before = held_now();
	saved = cg_stat(cg, "pages_saved");
	fork_all();
	without_gain(before);
	CHECK_GE(cg_stat(cg, key), 2 * (1 + CHILDREN) * N);
	near(cg_stat(cg, "pages_saved"), saved, "forked, without a pass");
	merge();
	saved_is(least, "forked");
	nothing_left();
}

static void forked_after(void)
{
	forked_after_of(TAG, 1, "ksm_merging_pages", N);
}

static void zeroes_forked_after(void)
{
	ksm_set("use_zero_pages", 1);
	forked_after_of(0, 0, "ksm_zero_pages", 2 * N);
}

/* A parent that forks its workers and exits; the children keep the gain. */
static void parent_gone(bool merged_first)
{
	struct held before;
	int i, j;

	families(TAG, 1);
	if (!merged_first)
		fork_all();
	begin();
	before = held_now();
	if (merged_first)
		fork_all();
	/* the parents, then the eldest children */
	for (j = 0; j < 2; j++) {
		for (i = 0; i < 2; i++) {
			w_exit(w[i][j]);
			w[i][j] = NULL;
		}
		without_gain(before);
		merge();
		saved_is(N, j ? "without the eldest" : "without parents");
		before = held_now();
	}
	nothing_left();
}

static void parent_gone_merged_before(void)
{
	parent_gone(false);
}

static void parent_gone_merged_after(void)
{
	parent_gone(true);
}

/* Ranges that were never merged do not keep passes from counting anew. */
static void refused_range(void)
{
	int i, area;

	families(TAG, 1);
	for (i = 0; i < 2; i++) {
		area = w_map(w[i][0], 2 * N, MAP_PLAIN);
		w_set(w[i][0], area, 0, 2 * N, 20 * N, 1);
		w_madv(w[i][0], area, MADV_UNMERGEABLE);
	}
	begin();
	saved_is(N, "merged");
	fork_all();
	for (i = 0; i < 2; i++) {
		w_exit(w[i][0]);
		w[i][0] = NULL;
	}
	merge();
	near(cg_stat(cg, "pages_saved"), N, "without parents");
	nothing_left();
}

/* A child gets pages of its own by writing, merged or not. */
static void child_writes(void)
{
	struct held before;
	int i;

	families(TAG, 1);
	fork_all();
	begin();
	saved_is(N, "merged");
	before = held_now();
	for (i = 0; i < 2; i++)
		w_set(w[i][1], 0, 0, N / 2, (7 + i) * 10 * N, 1);
	CHECK_GE(held_now().anon - before.anon, N - N / 50);
	without_gain(before);
	merge();
	saved_is(N, "a child wrote half");
	nothing_left();
}

/* Equal pages at the same place, which each child wrote for itself. */
static void written_separately_of(u64 tag, long step, long long least)
{
	int i;

	new_cgroup("a", NULL);
	w[0][0] = w_dup(cg, N, 90 * N, 1);
	for (i = 1; i <= CHILDREN; i++) {
		w[0][i] = w_fork(w[0][0]);
		w_set(w[0][i], 0, 0, N, tag, step);
	}
	begin();
	saved_is(least, "merged");
	merge();
	saved_is(least, "passed again");
	nothing_left();
}

static void written_separately(void)
{
	written_separately_of(TAG, 1, (CHILDREN - 1) * N);
}

static void zeroed_separately(void)
{
	ksm_set("use_zero_pages", 1);
	written_separately_of(0, 0, CHILDREN * N);
}

/* A child that opted out keeps the pages: merging the others gains nothing. */
static void child_opted_out(void)
{
	int i;

	families(TAG, 1);
	for (i = 0; i < 2; i++) {
		w[i][1] = w_fork(w[i][0]);
		NEED_OK(w_prctl(w[i][1], PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	}
	begin();
	CHECK_GE(cg_stat(cg, "ksm_merging_pages"), 2 * N);
	/* it costs a frame for each content */
	CHECK_LE(cg_stat(cg, "pages_saved"), -N + N / 20);
	CHECK_GE(unmerged.anon - held_now().anon, -N - N / 20);
	nothing_left();
}

/* So does one in whose cgroup only zeroes are merged. */
static void child_without_anon(void)
{
	const char *zeroes;
	int i;

	families(TAG, 1);
	zeroes = cg_ksm(NULL, "z", "1");
	if (!cg_has(zeroes, "memory.ksm.types"))
		ksm_skip("no memory.ksm.types");
	cg_set(zeroes, "memory.ksm.types", "+zero -anon");
	for (i = 0; i < 2; i++) {
		w[i][1] = w_fork(w[i][0]);
		NEED_OK(cg_move(zeroes, w[i][1]->pid));
	}
	begin();
	CHECK_GE(cg_stat(cg, "ksm_merging_pages"), 2 * N);
	CHECK_LE(cg_stat(cg, "pages_saved"), -N + N / 20);
	CHECK_GE(unmerged.anon - held_now().anon, -N - N / 20);
	nothing_left();
}

static void merged_and_forked(void)
{
	families(TAG, 1);
	begin();
	saved_is(N, "merged");
	fork_all();
	merge();
	near(cg_stat(cg, "pages_saved"), N, "forked");
}

/* What passes do not look at any more stays merged, and counted. */
static void not_visited(const char *types)
{
	merged_and_forked();
	cg_need(cg, "memory.ksm.types");
	cg_set(cg, "memory.ksm.types", types);
	ksm_pass(3);
	ksm_stop();
	NEED_GE(cg_stat(cg, "ksm_merging_pages"), 2 * (1 + CHILDREN) * N);
	near(cg_stat(cg, "pages_saved"), N, types);
	cg_set(cg, "memory.ksm.types", "inherit");
	merge();
	near(cg_stat(cg, "pages_saved"), N, "again");
	nothing_left();
}

static void without_types(void)
{
	not_visited("-anon");
}

static void zeroes_alone(void)
{
	not_visited("+zero -anon");
}

/* In one relative of each family, and then in all. */
static void set_aside(void)
{
	int i, j;

	merged_and_forked();
	for (j = CHILDREN; j >= 0; j--) {
		for (i = 0; i < 2; i++)
			w_madv(w[i][j], 0, MADV_DONTDUMP);
		ksm_pass(2);
		near(cg_stat(cg, "pages_saved"), N, "MADV_DONTDUMP");
	}
	ksm_stop();
	nothing_left();
}

/* Mappings that fork made cannot be recorded. */
static void no_records(void)
{
	families(TAG, 1);
	begin();
	fail_below(FAIL_SLAB, "ksm_rec_add", false);
	fork_all();
	ksm_pass(2);
	ksm_stop();
	NEED_GT(fail_hits(), 0);
	fail_end();
	NEED_GE(cg_stat(cg, "ksm_merging_pages"), 2 * (1 + CHILDREN) * N);
	near(cg_stat(cg, "pages_saved"), N, "no records");
	merge();
	near(cg_stat(cg, "pages_saved"), N, "all recorded");
	nothing_left();
}

/* The figures move with the process, and add up. */
static void sums(void)
{
	struct worker *child;
	long long sum = 0;
	const char *sub[2];
	int i;

	new_cgroup("up", "1");
	for (i = 0; i < 2; i++) {
		sub[i] = cg_letter(cg, i);
		w[i][0] = w_dup(sub[i], N / 8, TAG, 1);
	}
	child = w_fork(w[0][0]);
	merge();
	for (i = 0; i < 2; i++)
		sum += cg_stat(sub[i], "pages_saved");
	CHECK_EQ(cg_stat(cg, "pages_saved"), sum);
	CHECK_GE(sum, N / 8);
	CHECK_LT(sum, 2 * N / 8);
	CHECK_EQ(ksm_get("pages_saved"), cg_stat(CGROOT, "pages_saved"));
	CHECK_OK(cg_move(sub[1], child->pid));
	CHECK_WAIT_EQ(cg_stat(cg, "pages_saved"), sum, "moved");
	w_exit(child);
	nothing_left();
}

static const struct ksm_case cases[] = {
	{ "copies", copies },
	{ "zeroes", zeroes },
	{ "zeroes in huge pages", huge_zeroes },
	{ "one content many times", one_content },
	{ "two families forked before merging", forked_before },
	{ "two families of zeroes", zeroes_forked_before },
	{ "two families forked after merging", forked_after },
	{ "two families of zeroes forked after merging", zeroes_forked_after },
	{ "merged, and the parent gone", parent_gone_merged_before },
	{ "merged, forked, and the parent gone", parent_gone_merged_after },
	{ "the parent gone, and a range that was refused", refused_range },
	{ "a child that writes half", child_writes },
	{ "equal pages that children wrote separately", written_separately },
	{ "zeroes that children wrote separately", zeroed_separately },
	{ "a child that opted out keeps its pages", child_opted_out },
	{ "a child without \"anon\" keeps its pages", child_without_anon },
	{ "types without \"anon\"", without_types },
	{ "types with \"zero\" alone", zeroes_alone },
	{ "merged, and then set aside", set_aside },
	{ "forked without memory for records", no_records },
	{ "cgroups add up", sums },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, sizeof(cases) / sizeof(*cases));
}
