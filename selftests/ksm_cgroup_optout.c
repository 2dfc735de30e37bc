// SPDX-License-Identifier: GPL-2.0
/*
 * Who can stay out of memory.ksm=1, and what it leaves alone by itself.
 *
 * - PR_SET_MEMORY_MERGE with 0 keeps a process out, its children and what it
 *   executes too; (0, PR_MEMORY_MERGE_DEFAULT) follows the cgroup again
 * - MADV_UNMERGEABLE keeps a range out, whenever it was said; MADV_MERGEABLE
 *   takes that back
 * - ranges marked MADV_DONTDUMP or MADV_WIPEONFORK are merged only if asked
 * - processes that are not dumpable are merged only if whoever wrote the 1 has
 *   CAP_SYS_PTRACE over the host
 *
 * vm: timeout=600
 */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "ksmlib.h"

#define N	32
#define TAG	600

static struct worker *dup_in(const char *cg)
{
	return w_dup(cg, N, TAG, 1);
}

static long set_merge(struct worker *w, long value)
{
	return w_prctl(w, PR_SET_MEMORY_MERGE, value, 0, 0, 0);
}

static long set_default(struct worker *w)
{
	return w_prctl(w, PR_SET_MEMORY_MERGE, 0, PR_MEMORY_MERGE_DEFAULT, 0, 0);
}

static long get_merge(struct worker *w)
{
	return w_prctl(w, PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

static void is_out(struct worker *w, const char *what)
{
	CHECK(!w_all_ksm(w), "%s: %ld pages merged", what, w_all_ksm(w));
	CHECK(get_merge(w) == 0, "%s: PR_GET_MEMORY_MERGE is %ld", what,
	      get_merge(w));
	w_verify(w);
}

static void is_in(struct worker *w, const char *what)
{
	CHECK(w_merged(w) == N, "%s: %ld of %d merged", what, w_merged(w), N);
	CHECK(get_merge(w) == 1, "%s: PR_GET_MEMORY_MERGE is %ld", what,
	      get_merge(w));
	w_verify(w);
}

/* A cgroup that says 1 and two processes with equal pages that take part. */
static const char *busy_group(struct worker **w)
{
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	cg_set(cg, "memory.ksm", "1");
	w[0] = dup_in(cg);
	w[1] = dup_in(cg);
	return cg;
}

static void prctl_out(void)
{
	struct worker *w[2], *out, *early, *child;
	const char *cg = busy_group(w);
	int area;

	out = dup_in(cg);
	/* said before the cgroup was entered */
	early = dup_in(NULL);
	NEED(!set_merge(early, 0), "prctl");
	NEED(!cg_move(cg, early->pid), "no move");
	ksm_settle();
	is_in(w[0], "did not opt out");
	is_in(out, "did not opt out yet");
	is_out(early, "opted out elsewhere");

	NEED(!set_merge(out, 0), "prctl");
	is_out(out, "when the call has returned");
	ksm_settle();
	is_out(out, "opted out");

	cg_set(cg, "memory.ksm", "0");
	cg_set(cg, "memory.ksm", "1");
	child = w_fork(out);
	w_set(child, 0, 0, N, TAG, 1);
	ksm_settle();
	is_in(w[0], "after 0 and 1");
	is_out(out, "after 0 and 1");
	is_out(child, "child of one that opted out");
	w_exec(child);
	area = w_map(child, N, MAP_PLAIN);
	w_set(child, area, 0, N, TAG, 1);
	ksm_settle();
	is_out(child, "executed after opting out");

	NEED(!set_default(child), "PR_MEMORY_MERGE_DEFAULT");
	NEED(!set_default(out), "PR_MEMORY_MERGE_DEFAULT");
	ksm_settle();
	is_in(child, "follows the cgroup again");
	is_in(out, "follows the cgroup again");
}

static void prctl_in(void)
{
	struct worker *w, *child;
	const char *cg;
	int area;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	w = dup_in(cg);
	is_out(w, "did not ask");
	NEED(!set_merge(w, 1), "prctl");
	child = w_fork(w);
	w_set(child, 0, 0, N, TAG, 1);
	ksm_settle();
	is_in(w, "asked for all");
	is_in(child, "child of one that asked");
	w_exec(child);
	area = w_map(child, N, MAP_PLAIN);
	w_set(child, area, 0, N, TAG, 1);
	ksm_settle();
	is_in(child, "executed after asking");

	/* the cgroup's rule is madvise: nothing is asked for any more */
	NEED(!set_default(child), "PR_MEMORY_MERGE_DEFAULT");
	ksm_settle();
	is_out(child, "follows a cgroup that merges nothing by itself");

	cg_set(cg, "memory.ksm", "0");
	is_out(w, "asked under a 0");
	NEED(!set_merge(w, 1), "prctl under a 0");
	is_out(w, "asked under a 0");
	cg_set(cg, "memory.ksm", "inherit");
	CHECK(get_merge(w) == 1, "the wish was lost under the 0");
}

static void bad_args(void)
{
	static const long bad[][4] = {
		{ 1, 1, 0, 0 }, { 0, 2, 0, 0 }, { 0, -1, 0, 0 }, { 0, 0, 1, 0 },
		{ 0, 0, 0, 1 }, { 0, 1, 1, 0 }, { 0, 1, 0, 1 }, { 1, 0, 1, 0 },
		{ 1, 0, 0, 1 }, { 1, 2, 0, 0 }, { 0, 3, 0, 0 },
	};
	struct worker *w[2];
	const char *cg = busy_group(w);
	size_t i;
	long ret;

	(void)cg;
	ksm_settle();
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ret = w_prctl(w[0], PR_SET_MEMORY_MERGE, bad[i][0], bad[i][1],
			      bad[i][2], bad[i][3]);
		CHECK(ret == -EINVAL, "(%ld, %ld, %ld, %ld) gives %ld", bad[i][0],
		      bad[i][1], bad[i][2], bad[i][3], ret);
		is_in(w[0], "after a refused call");
	}
	for (i = 0; i < 4; i++) {
		long a[4] = { 0 };

		a[i] = 1;
		ret = w_prctl(w[0], PR_GET_MEMORY_MERGE, a[0], a[1], a[2], a[3]);
		CHECK(ret == -EINVAL, "PR_GET with arg%zu gives %ld", i + 2, ret);
	}
	/* a refusal doesn't end an opt-out either */
	NEED(!set_merge(w[1], 0), "prctl");
	CHECK(w_prctl(w[1], PR_SET_MEMORY_MERGE, 0, 1, 0, 1) == -EINVAL, "taken");
	ksm_settle();
	is_out(w[1], "opted out, then made a mistake");
}

static bool stat_says(struct worker *w, const char *key, const char *value)
{
	char path[64], buf[1024], want[80];

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", w->pid);
	NEED(file_get(path, buf, sizeof(buf)) > 0, "no %s", path);
	snprintf(want, sizeof(want), "\n%s: %s\n", key, value);
	if (strstr(buf, want))
		return true;
	ksm_note("not '%s: %s' in\n%s", key, value, buf);
	return false;
}

static void proc_file(void)
{
	struct worker *w[2], *plain;
	const char *cg = busy_group(w);

	plain = dup_in(cg_new(NULL, "b"));
	CHECK(stat_says(w[0], "ksm_merge_any", "yes"), "under 1");
	CHECK(stat_says(w[0], "ksm_mergeable", "yes"), "under 1");
	CHECK(stat_says(plain, "ksm_merge_any", "no"), "not asked");
	CHECK(stat_says(plain, "ksm_mergeable", "no"), "not asked");
	w_madv(plain, 0, MADV_MERGEABLE);
	CHECK(stat_says(plain, "ksm_merge_any", "no"), "one range");
	CHECK(stat_says(plain, "ksm_mergeable", "yes"), "one range");
	NEED(!set_merge(w[0], 0), "prctl");
	CHECK(stat_says(w[0], "ksm_merge_any", "no"), "opted out");
	cg_set(cg, "memory.ksm", "0");
	CHECK(stat_says(w[1], "ksm_merge_any", "no"), "under 0");
}

/* Half of one's pages refused: the other half goes on. */
static void range_out(void)
{
	struct worker *w[2], *before, *after, *child;
	const char *cg = busy_group(w);
	long n;

	before = dup_in(NULL);
	NEED(!w_madv_at(before, 0, 0, N / 2, MADV_UNMERGEABLE), "madvise");
	NEED(!cg_move(cg, before->pid), "no move");
	after = dup_in(cg);
	ksm_settle();
	n = w_merged(before);
	CHECK(n == N / 2, "refused before 1: %ld of %d merged", n, N / 2);
	CHECK(w_merged(after) == N, "not refused yet: %ld merged", w_merged(after));

	NEED(!w_madv_at(after, 0, 0, N / 2, MADV_UNMERGEABLE), "madvise");
	n = w_merged(after);
	CHECK(n == N / 2, "when the call has returned %ld are merged", n);
	child = w_fork(after);
	w_set(child, 0, 0, N, TAG, 1);
	cg_set(cg, "memory.ksm", "0");
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	n = w_merged(after);
	CHECK(n == N / 2, "refused under 1: %ld of %d merged", n, N / 2);
	CHECK(w_merged(child) == N / 2, "the child's: %ld of %d merged",
	      w_merged(child), N / 2);
	CHECK(!(w_frame(after, 0, 0).flags & F_KSM), "the wrong half");

	w_madv(after, 0, MADV_MERGEABLE);
	w_madv(before, 0, MADV_MERGEABLE);
	ksm_settle();
	CHECK(w_merged(before) == N, "taken back: %ld of %d merged",
	      w_merged(before), N);
	w_verify(before);
	w_verify(after);
	w_verify(child);
}

/* It also holds against the prctl, and with no cgroup having a say. */
static void range_against_prctl(void)
{
	struct worker *w[2];
	int i;

	ksm_need_cgroup();
	for (i = 0; i < 2; i++) {
		w[i] = dup_in(NULL);
		w_madv_at(w[i], 0, 0, 8, MADV_UNMERGEABLE);
		NEED(!set_merge(w[i], 1), "prctl");
		w_madv_at(w[i], 0, 8, 8, MADV_UNMERGEABLE);
	}
	ksm_settle();
	for (i = 0; i < 2; i++)
		CHECK(w_merged(w[i]) == N - 16, "%ld of %d merged",
		      w_merged(w[i]), N - 16);
}

static void leaves_alone(int mark, int unmark, const char *what)
{
	struct worker *w[2], *set, *asked, *all;
	const char *cg = busy_group(w);

	set = dup_in(cg);
	w_madv(set, 0, mark);
	asked = dup_in(cg);
	w_madv(asked, 0, mark);
	w_madv(asked, 0, MADV_MERGEABLE);
	all = dup_in(cg);
	w_madv(all, 0, mark);
	NEED(!set_merge(all, 1), "prctl");
	ksm_settle();
	is_in(w[0], "not marked");
	CHECK(!w_merged(set), "%s: %ld pages merged", what, w_merged(set));
	CHECK(w_merged(asked) == N, "%s, asked: %ld of %d merged", what,
	      w_merged(asked), N);
	CHECK(w_merged(all) == N, "%s, asked by prctl: %ld of %d merged", what,
	      w_merged(all), N);
	w_madv(set, 0, unmark);
	ksm_settle();
	is_in(set, "mark taken back");
}

static void dontdump(void)
{
	leaves_alone(MADV_DONTDUMP, MADV_DODUMP, "MADV_DONTDUMP");
}

static void wipeonfork(void)
{
	leaves_alone(MADV_WIPEONFORK, MADV_KEEPONFORK, "MADV_WIPEONFORK");
}

static void put_as(struct worker *w, const char *cg, const char *value)
{
	struct w_cmd c = { .op = OP_PUT };
	long ret;

	snprintf(c.path, sizeof(c.path), "%s/memory.ksm", cg);
	snprintf(c.text, sizeof(c.text), "%s", value);
	ret = w_do(w, &c);
	NEED(!ret, "%s by the owner: %s", value, strerror(-ret));
}

/*
 * Two open processes and two closed ones with equal pages, in a cgroup whose
 * files belong to writer.
 */
static void closed_ones(struct worker *writer, const char *cg)
{
	struct worker *open[2], *closed[2], *child;
	int i;

	for (i = 0; i < 2; i++) {
		open[i] = dup_in(cg);
		closed[i] = dup_in(cg);
		NEED(!w_prctl(closed[i], PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl");
	}
	put_as(writer, cg, "1");
	child = w_fork(closed[0]);
	w_set(child, 0, 0, N, TAG, 1);
	ksm_settle();
	is_in(open[0], "dumpable");
	is_in(open[1], "dumpable");
	is_out(closed[0], "not dumpable");
	is_out(closed[1], "not dumpable");
	is_out(child, "child of one that is not dumpable");

	/* an asker is not kept out */
	w_madv(closed[1], 0, MADV_MERGEABLE);
	ksm_settle();
	CHECK(w_merged(closed[1]) == N, "asked: %ld of %d merged",
	      w_merged(closed[1]), N);

	cg_set(cg, "memory.ksm", "inherit");
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	is_in(closed[0], "not dumpable, 1 by one who may trace all");
	is_in(child, "its child, 1 by one who may trace all");

	put_as(writer, cg, "0");
	put_as(writer, cg, "1");
	ksm_settle();
	is_in(open[0], "dumpable, at last");
	is_out(closed[0], "not dumpable, at last");
	is_out(child, "its child, at last");
}

static void without_cap(void)
{
	struct worker *writer;
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	writer = w_new(NULL);
	NEED(!W(writer, .op = OP_DROPCAP, .a = { CAP_SYS_PTRACE }), "capset");
	closed_ones(writer, cg);
}

static void by_user(void)
{
	struct worker *writer;
	char path[256];
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED(!chown(path, 1000, 1000), "chown: %s", strerror(errno));
	writer = w_new(NULL);
	NEED(!W(writer, .op = OP_UID, .a = { 1000 }), "setresuid");
	closed_ones(writer, cg);
}

/* A pipe keeps the frames in the swap cache: they are not mapped from there. */
static void refused_in_swap(void)
{
	const char *cg;
	struct worker *w[2];
	int i;

	cg = busy_group(w);
	if (!swap_on())
		ksm_skip("no swap on zram here");
	ksm_settle();
	is_in(w[0], "to begin with");
	NEED(!W(w[1], .op = OP_PIN, .a = { 0, 16 }), "no pin");
	NEED(swap_out(cg, w, 2), "they are not swapped out");
	w_madv(w[0], 0, MADV_UNMERGEABLE);
	for (i = 1; i >= 0; i--)
		W(w[i], .op = OP_READ, .a = { 0, N });
	CHECK(!w_merged(w[0]), "%ld of %d merged after swap-in", w_merged(w[0]), N);
	for (i = 0; i < 2; i++)
		w_verify(w[i]);
	W(w[1], .op = OP_UNPIN);
}

static const struct ksm_case cases[] = {
	{ "prctl 0 keeps out, through fork and exec", prctl_out },
	{ "prctl 1 and the way back", prctl_in },
	{ "bad arguments are EINVAL and change nothing", bad_args },
	{ "/proc/PID/ksm_stat tells who takes part", proc_file },
	{ "MADV_UNMERGEABLE keeps a range out", range_out },
	{ "MADV_UNMERGEABLE against the prctl", range_against_prctl },
	{ "MADV_UNMERGEABLE while it is in swap", refused_in_swap },
	{ "MADV_DONTDUMP ranges are left alone", dontdump },
	{ "MADV_WIPEONFORK ranges are left alone", wipeonfork },
	{ "not dumpable, 1 written without CAP_SYS_PTRACE", without_cap },
	{ "not dumpable, 1 written by a user", by_user },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
