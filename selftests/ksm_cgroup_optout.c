// SPDX-License-Identifier: GPL-2.0
/*
 * How processes stay out of memory.ksm=1, and what it leaves alone by itself.
 *
 * - PR_SET_MEMORY_MERGE with 0 keeps a process out, its children and the
 *   programs that it executes too; (0, PR_MEMORY_MERGE_DEFAULT) follows the
 *   cgroup again
 * - MADV_UNMERGEABLE keeps a range out, before the 1 and after it;
 *   MADV_MERGEABLE takes that back
 * - ranges marked MADV_DONTDUMP or MADV_WIPEONFORK are merged only if they ask
 * - processes that are not dumpable are merged only if they ask, whether root
 *   or a user wrote the 1
 * - PR_GET_MEMORY_MERGE and ksm_policy give what the process asked for, which
 *   the cgroup does not change
 *
 * vm: timeout=600
 */
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
	return w_prctl(w, PR_SET_MEMORY_MERGE, 0, PR_MEMORY_MERGE_DEFAULT, 0,
		       0);
}

static long get_merge(struct worker *w)
{
	return w_prctl(w, PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

/* The value of a key in /proc/PID/ksm_stat. */
static const char *proc_stat(struct worker *w, const char *key)
{
	static char buf[1024];
	char path[64], line[80], *at;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", w->pid);
	NEED_GT(file_get(path, buf, sizeof(buf)), 0, "%s", path);
	snprintf(line, sizeof(line), "\n%s: ", key);
	at = strstr(buf, line);
	NEED(at, "no %s in %s", key, path);
	at += strlen(line);
	at[strcspn(at, "\n")] = '\0';
	return at;
}

static void is_out(struct worker *w, const char *what)
{
	CHECK_EQ(w_all_ksm(w), 0, "%s", what);
	CHECK_STR(proc_stat(w, "ksm_merge_any"), "no", "%s", what);
	w_verify(w);
}

static void is_in(struct worker *w, const char *what)
{
	CHECK_EQ(w_merged(w), N, "%s", what);
	CHECK_STR(proc_stat(w, "ksm_merge_any"), "yes", "%s", what);
	w_verify(w);
}

/* A cgroup with a 1 and two processes with equal pages in it. */
static const char *busy_group(struct worker **w)
{
	const char *cg = cg_ksm(NULL, "a", "1");

	w_twins(w, cg, N, TAG);
	return cg;
}

/* Another program, and new memory with the same contents. */
static void exec_and_fill(struct worker *w)
{
	w_exec(w);
	w_map(w, N, MAP_PLAIN);
	w_set(w, 0, 0, N, TAG, 1);
}

static void prctl_out(void)
{
	struct worker *w[2], *out, *early, *child;
	const char *cg = busy_group(w);

	out = dup_in(cg);
	/* before it enters the cgroup */
	early = dup_in(NULL);
	NEED_OK(set_merge(early, 0));
	NEED_OK(cg_move(cg, early->pid));
	ksm_settle();
	is_in(w[0], "did not opt out");
	is_in(out, "did not opt out yet");
	is_out(early, "opted out elsewhere");

	NEED_OK(set_merge(out, 0));
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
	is_out(child, "child of a process that opted out");
	exec_and_fill(child);
	ksm_settle();
	is_out(child, "executed after opting out");

	NEED_OK(set_default(child));
	NEED_OK(set_default(out));
	ksm_settle();
	is_in(child, "follows the cgroup again");
	is_in(out, "follows the cgroup again");
}

static void prctl_in(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	struct worker *w = dup_in(cg), *child;

	is_out(w, "did not ask");
	NEED_OK(set_merge(w, 1));
	child = w_fork(w);
	w_set(child, 0, 0, N, TAG, 1);
	ksm_settle();
	is_in(w, "asked for all");
	is_in(child, "child of a process that asked");
	exec_and_fill(child);
	ksm_settle();
	is_in(child, "executed after asking");

	/* the effective value is madvise: the process does not ask any more */
	NEED_OK(set_default(child));
	ksm_settle();
	is_out(child, "follows a cgroup that merges nothing by itself");

	cg_set(cg, "memory.ksm", "0");
	is_out(w, "asked under a 0");
	NEED_OK(set_merge(w, 1), "under a 0");
	is_out(w, "asked under a 0");
	cg_set(cg, "memory.ksm", "inherit");
	CHECK_STR(proc_stat(w, "ksm_merge_any"), "yes", "the 0 is gone");
}

static void asked_is(struct worker *w, long get, const char *policy,
		     const char *what)
{
	CHECK_EQ(get_merge(w), get, "%s", what);
	CHECK_STR(proc_stat(w, "ksm_policy"), policy, "%s", what);
}

/* So saving it and setting it again changes nothing. */
static void what_was_asked(void)
{
	static const char * const values[] = { "1", "madvise", "0", "inherit" };
	const char *cg = cg_ksm(NULL, "a", NULL);
	struct worker *w = dup_in(cg), *child;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		cg_set(cg, "memory.ksm", values[i]);
		asked_is(w, 0, "default", "did not ask");
		NEED_OK(set_merge(w, 1));
		asked_is(w, 1, "merge", "asked");
		child = w_fork(w);
		asked_is(child, 1, "merge", "child of a process that asked");
		w_exec(child);
		asked_is(child, 1, "merge", "executed after asking");
		NEED_OK(set_merge(w, 0));
		asked_is(w, 0, "never", "opted out");
		child = w_fork(w);
		asked_is(child, 0, "never", "child of one that opted out");
		w_exec(child);
		asked_is(child, 0, "never", "executed after opting out");
		NEED_OK(set_default(w));
		asked_is(w, 0, "default", "follows the cgroup again");
	}
}

static void bad_args(void)
{
	static const long bad[][4] = {
		{ 1, 1, 0, 0 }, { 0, 2, 0, 0 }, { 0, -1, 0, 0 }, { 0, 0, 1, 0 },
		{ 0, 0, 0, 1 }, { 0, 1, 1, 0 }, { 0, 1, 0, 1 }, { 1, 0, 1, 0 },
		{ 1, 0, 0, 1 }, { 1, 2, 0, 0 }, { 0, 3, 0, 0 },
	};
	struct worker *w[2];
	size_t i;

	busy_group(w);
	ksm_settle();
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(w_prctl(w[0], PR_SET_MEMORY_MERGE, bad[i][0],
				 bad[i][1], bad[i][2], bad[i][3]), -EINVAL,
			 "(%ld, %ld, %ld, %ld)", bad[i][0], bad[i][1],
			 bad[i][2], bad[i][3]);
		is_in(w[0], "after a refused call");
		CHECK_EQ(get_merge(w[0]), 0, "after a refused call");
	}
	for (i = 0; i < 4; i++) {
		long a[4] = { 0 };

		a[i] = 1;
		CHECK_EQ(w_prctl(w[0], PR_GET_MEMORY_MERGE, a[0], a[1], a[2],
				 a[3]), -EINVAL, "with arg%zu", i + 2);
	}
	/* a refused call does not end an opt-out either */
	NEED_OK(set_merge(w[1], 0));
	CHECK_EQ(w_prctl(w[1], PR_SET_MEMORY_MERGE, 0, 1, 0, 1), -EINVAL);
	ksm_settle();
	is_out(w[1], "opted out, then a refused call");
}

static void proc_file(void)
{
	struct worker *w[2], *plain;
	const char *cg = busy_group(w);

	plain = dup_in(cg_new(NULL, "b"));
	CHECK_STR(proc_stat(w[0], "ksm_merge_any"), "yes", "under 1");
	CHECK_STR(proc_stat(w[0], "ksm_mergeable"), "yes", "under 1");
	CHECK_STR(proc_stat(plain, "ksm_merge_any"), "no", "did not ask");
	CHECK_STR(proc_stat(plain, "ksm_mergeable"), "no", "did not ask");
	w_madv(plain, 0, MADV_MERGEABLE);
	CHECK_STR(proc_stat(plain, "ksm_merge_any"), "no", "one range");
	CHECK_STR(proc_stat(plain, "ksm_mergeable"), "yes", "one range");
	NEED_OK(set_merge(w[0], 0));
	CHECK_STR(proc_stat(w[0], "ksm_merge_any"), "no", "opted out");
	cg_set(cg, "memory.ksm", "0");
	CHECK_STR(proc_stat(w[1], "ksm_merge_any"), "no", "under 0");
}

/* Half of the pages are kept out: the other half goes on. */
static void range_out(void)
{
	struct worker *w[2], *before, *after, *child;
	const char *cg = busy_group(w);

	before = dup_in(NULL);
	NEED_OK(w_madv_at(before, 0, 0, N / 2, MADV_UNMERGEABLE));
	NEED_OK(cg_move(cg, before->pid));
	/* by a kernel worker */
	NEED_WAIT_EQ(cg_stat(cg, "processes"), 3);
	after = dup_in(cg);
	ksm_settle();
	CHECK_EQ(w_merged(before), N / 2, "kept out before the 1");
	CHECK_EQ(w_merged(after), N, "not kept out yet");

	NEED_OK(w_madv_at(after, 0, 0, N / 2, MADV_UNMERGEABLE));
	CHECK_EQ(w_merged(after), N / 2, "when the call has returned");
	child = w_fork(after);
	w_set(child, 0, 0, N, TAG, 1);
	cg_set(cg, "memory.ksm", "0");
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	CHECK_EQ(w_merged(after), N / 2, "kept out under the 1");
	CHECK_EQ(w_merged(child), N / 2, "the child");
	CHECK_EQ(w_frame(after, 0, 0).flags & F_KSM, 0, "the wrong half");

	w_madv(after, 0, MADV_MERGEABLE);
	w_madv(before, 0, MADV_MERGEABLE);
	ksm_settle();
	CHECK_EQ(w_merged(before), N, "taken back");
	w_verify(before);
	w_verify(after);
	w_verify(child);
}

/* It also holds against the prctl, where no cgroup has a value. */
static void range_against_prctl(void)
{
	struct worker *w[2];
	int i;

	ksm_need_cgroup();
	for (i = 0; i < 2; i++) {
		w[i] = dup_in(NULL);
		w_madv_at(w[i], 0, 0, 8, MADV_UNMERGEABLE);
		NEED_OK(set_merge(w[i], 1));
		w_madv_at(w[i], 0, 8, 8, MADV_UNMERGEABLE);
	}
	ksm_settle();
	for (i = 0; i < 2; i++)
		CHECK_EQ(w_merged(w[i]), N - 16);
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
	NEED_OK(set_merge(all, 1));
	ksm_settle();
	is_in(w[0], "not marked");
	CHECK_EQ(w_merged(set), 0, "%s", what);
	CHECK_EQ(w_merged(asked), N, "%s, asked by madvise", what);
	CHECK_EQ(w_merged(all), N, "%s, asked by prctl", what);
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
	char path[256];

	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED_OK(w_put(w, path, value), "%s", value);
}

/*
 * Two processes that are dumpable and two that are not, with equal pages, in a
 * cgroup whose memory.ksm the writer may write.
 */
static void not_dumpable(struct worker *writer, const char *cg)
{
	struct worker *open[2], *closed[2], *child;
	int i;

	for (i = 0; i < 2; i++) {
		open[i] = dup_in(cg);
		closed[i] = dup_in(cg);
		NEED_OK(w_prctl(closed[i], PR_SET_DUMPABLE, 0, 0, 0, 0));
	}
	put_as(writer, cg, "1");
	child = w_fork(closed[0]);
	w_set(child, 0, 0, N, TAG, 1);
	ksm_settle();
	is_in(open[0], "dumpable");
	is_in(open[1], "dumpable");
	is_out(closed[0], "not dumpable");
	is_out(closed[1], "not dumpable");
	is_out(child, "child of a process that is not dumpable");

	/* a process that asks is not kept out */
	w_madv(closed[1], 0, MADV_MERGEABLE);
	NEED_OK(set_merge(closed[0], 1));
	ksm_settle();
	CHECK_EQ(w_merged(closed[1]), N, "asked by madvise");
	is_in(closed[0], "asked by prctl");
	is_out(child, "its child, which did not ask");
	NEED_OK(set_default(closed[0]));
	is_out(closed[0], "asks no more");

	/* written by the test, with all capabilities */
	cg_set(cg, "memory.ksm", "inherit");
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	is_in(open[0], "dumpable, 1 written by root");
	is_out(closed[0], "not dumpable, 1 written by root");
	is_out(child, "its child, 1 written by root");

	put_as(writer, cg, "0");
	put_as(writer, cg, "1");
	ksm_settle();
	is_in(open[0], "dumpable, at last");
	is_out(closed[0], "not dumpable, at last");
	is_out(child, "its child, at last");

	NEED_OK(w_prctl(closed[0], PR_SET_DUMPABLE, 1, 0, 0, 0));
	ksm_settle();
	is_in(closed[0], "dumpable again");
}

static void by_root(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);

	not_dumpable(w_new(NULL), cg);
}

/* Below a granted 1, or the user's would not count. */
static void by_user(void)
{
	const char *cg = cg_ksm(cg_ksm(NULL, "up", "1"), "a", NULL);
	struct worker *writer;
	char path[256];

	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED(!chown(path, 1000, 1000), "chown: %s", strerror(errno));
	writer = w_new(NULL);
	w_setuid(writer, 1000);
	not_dumpable(writer, cg);
}

/* A pipe keeps the frames in the swap cache; they are not mapped from there. */
static void refused_in_swap(void)
{
	struct worker *w[2];
	const char *cg = busy_group(w);
	int i;

	swap_need();
	ksm_settle();
	is_in(w[0], "to begin with");
	w_pin(w[1], 0, 16);
	NEED(swap_out(cg, w, 2), "pages are not swapped out");
	w_madv(w[0], 0, MADV_UNMERGEABLE);
	for (i = 1; i >= 0; i--)
		w_read(w[i], 0, 0, N);
	CHECK_EQ(w_merged(w[0]), 0, "after swap-in");
	for (i = 0; i < 2; i++)
		w_verify(w[i]);
	w_unpin(w[1]);
}

static const struct ksm_case cases[] = {
	{ "prctl 0 keeps out, through fork and exec", prctl_out },
	{ "prctl 1 and the way back", prctl_in },
	{ "PR_GET_MEMORY_MERGE gives what was asked", what_was_asked },
	{ "bad arguments are EINVAL and change nothing", bad_args },
	{ "/proc/PID/ksm_stat tells whether a process takes part", proc_file },
	{ "MADV_UNMERGEABLE keeps a range out", range_out },
	{ "MADV_UNMERGEABLE against the prctl", range_against_prctl },
	{ "MADV_UNMERGEABLE on a range in swap", refused_in_swap },
	{ "MADV_DONTDUMP ranges are left alone", dontdump },
	{ "MADV_WIPEONFORK ranges are left alone", wipeonfork },
	{ "not dumpable, 1 written by root", by_root },
	{ "not dumpable, 1 written by a user", by_user },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
