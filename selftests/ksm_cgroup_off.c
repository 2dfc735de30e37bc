// SPDX-License-Identifier: GPL-2.0
/*
 * Off means off.
 *
 * - a write that takes merging away holds whatever comes of it; it goes through
 *   all processes, and what cannot be unshared is pending
 * - what is pending gets no new partners, and ends by itself once there is room
 * - where memory is short, frames charged to another cgroup are unshared first
 * - unsharing does not use up a limit, and gives relatives by fork one page
 * - the same for run=2, for a value that leaves only what was asked for, and
 *   for a split into two domains
 *
 * vm: timeout=600
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksmlib.h"

#define N	1024
#define TAG	1000

/* Two cgroups under one domain, with two processes of equal pages in each. */
static const char *top, *full, *young;
static struct worker *in_full[2], *in_young[2];

static void limit(const char *cg, long pages)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%lld",
		 cg_current(cg) + pages * (long long)PAGE_SZ);
	cg_set(cg, "memory.max", buf);
}

static long room(const char *cg)
{
	return (cg_num(cg, "memory.max") - cg_num(cg, "memory.current")) /
	       PAGE_SZ;
}

/* One of them has room for a part only of what is merged. */
static void nearly_full(void)
{
	top = cg_ksm(NULL, "a", "1");
	full = cg_ksm(top, "b", NULL);
	young = cg_ksm(top, "c", NULL);
	w_twins(in_full, full, N, TAG);
	w_twins(in_young, young, N, 4 * TAG);
	ksm_settle();
	CHECK_EQ(w_same(in_full[0], in_full[1], 0), N);
	CHECK_EQ(w_same(in_young[0], in_young[1], 0), N);
	if (cg_has(full, "memory.swap.max"))
		cg_set(full, "memory.swap.max", "0");
	limit(full, N / 2);
}

static void verify_all(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		w_verify(in_full[i]);
		w_verify(in_young[i]);
	}
}

/* All that is merged is pending; the worker may be about to unshare some. */
static void pending_in(const char *cg, const char *what)
{
	long long before = cg_stat(cg, "ksm_merging_pages");
	long long pending = cg_stat(cg, "pages_pending");

	CHECK_GT(pending, N / 4, "%s", what);
	CHECK_LE(pending, before, "%s", what);
	CHECK_GE(pending, cg_stat(cg, "ksm_merging_pages"), "%s", what);
}

/* Nothing was killed, and there is memory for what comes next. */
static void not_at_the_brink(const char *cg)
{
	int i;

	CHECK_GT(room(cg), 16);
	for (i = 0; i < 2; i++) {
		w_map(in_full[i], 8, MAP_PLAIN);
		w_set(in_full[i], 1, 0, 8, 9 * TAG, 1);
	}
	CHECK_EQ(cg_key(cg, "memory.events", "oom_kill"), 0);
	CHECK(w_alive(in_full[0]) && w_alive(in_full[1]), "killed");
}

static void finishes(const char *cg, const char *what)
{
	cg_set(cg, "memory.max", "max");
	CHECK_WAIT_EQ(cg_stat(cg, "pages_pending"), 0, "%s", what);
	CHECK_EQ(cg_stat(cg, "ksm_merging_pages"), 0, "%s", what);
	CHECK_EQ(w_all_ksm(in_full[0]) + w_all_ksm(in_full[1]), 0, "%s", what);
	verify_all();
}

/* Writing to the cgroup that is full, and to one above it. */
static void zero_to(bool above)
{
	const char *cg;

	nearly_full();
	cg = above ? top : full;
	CHECK_EQ(cg_put(cg, "memory.ksm", "0"), -ENOMEM);
	/* checked at once, before the worker can have done it */
	if (above)
		CHECK_EQ(cg_stat(young, "ksm_merging_pages"), 0);
	else
		CHECK_GE(cg_stat(young, "ksm_merging_pages"), 2 * N);
	CHECK_STR(cg_get(cg, "memory.ksm"), "0");
	CHECK_STR(cg_get(full, "memory.ksm.effective"), "0");
	CHECK_EQ(cg_stat(full, "processes"), 0);
	pending_in(full, "0");
	not_at_the_brink(full);
	/* repeated, it says so again, and takes nothing back */
	CHECK_EQ(cg_put(cg, "memory.ksm", "0"), -ENOMEM);
	pending_in(full, "0 again");
	finishes(full, "room again");
	CHECK_OK(cg_put(cg, "memory.ksm", "0"));
}

static void zero(void)
{
	zero_to(false);
}

static void zero_above(void)
{
	zero_to(true);
}

static void run_2(void)
{
	nearly_full();
	CHECK_EQ(file_put(KSM_SYSFS "run", "2"), -ENOMEM);
	CHECK_EQ(cg_stat(young, "ksm_merging_pages"), 0, "run=2");
	CHECK_EQ(ksm_get("run"), 2);
	pending_in(full, "run=2");
	not_at_the_brink(full);
	finishes(full, "run=2, room again");
	/* and merging begins again */
	ksm_settle();
	CHECK_EQ(w_same(in_full[0], in_full[1], 0), N, "run=1");
	CHECK_EQ(cg_stat(top, "pages_pending"), 0, "run=1");
}

/* run=2 that is taken back leaves merged what it could not unshare. */
static void run_2_and_back(void)
{
	nearly_full();
	CHECK_EQ(file_put(KSM_SYSFS "run", "2"), -ENOMEM);
	pending_in(full, "run=2");
	ksm_stop();
	CHECK_EQ(cg_stat(full, "pages_pending"), 0, "run=0");
	CHECK_GT(cg_stat(full, "ksm_merging_pages"), 0, "run=0");
	verify_all();
}

/*
 * Of a process that asked for a part, the rest is unshared; also where that is
 * no change of domain, which would have the whole process unshared.
 */
static void only_what_was_asked_in(const char *domain)
{
	nearly_full();
	cg_set(full, "memory.ksm.domain", domain);
	w_map(in_full[0], 16, MAP_PLAIN);
	w_madv(in_full[0], 1, MADV_MERGEABLE);
	CHECK_EQ(cg_put(full, "memory.ksm", "madvise"), -ENOMEM);
	CHECK_STR(cg_get(full, "memory.ksm.effective"), "madvise");
	CHECK_EQ(cg_stat(full, "processes"), 1);
	pending_in(full, "madvise");
	/* two attempts of the worker */
	usleep(500000);
	pending_in(full, "madvise, later");
	finishes(full, "madvise, room again");
}

static void only_what_was_asked(void)
{
	only_what_was_asked_in("self");
}

static void only_what_was_asked_in_one_domain(void)
{
	only_what_was_asked_in("parent");
}

static void split(void)
{
	struct worker *out;

	nearly_full();
	out = w_dup(young, N, TAG, 1);
	ksm_settle();
	CHECK_EQ(w_same(out, in_full[0], 0), N);
	CHECK_EQ(cg_put(full, "memory.ksm", "1"), -ENOMEM);
	CHECK_STR(cg_get(full, "memory.ksm"), "1");
	CHECK_GT(cg_stat(full, "pages_foreign"), 0);
	pending_in(full, "split");
	cg_set(full, "memory.max", "max");
	CHECK_WAIT_EQ(cg_stat(full, "pages_pending"), 0, "split, room again");
	CHECK_EQ(cg_stat(full, "pages_foreign"), 0);
	CHECK_EQ(w_common_ksm(out, in_full[0]), 0);
	ksm_settle();
	CHECK_EQ(w_same(in_full[0], in_full[1], 0), N);
	CHECK_EQ(w_common_ksm(out, in_full[0]), 0);
	w_verify(out);
	verify_all();
}

/* Equal pages elsewhere in the domain merge, but not with what is pending. */
static void no_new_partners(void)
{
	struct worker *late[3];
	long merged;
	int i;

	nearly_full();
	CHECK_EQ(cg_put(full, "memory.ksm", "0"), -ENOMEM);
	merged = cg_stat(full, "pages_pending");
	for (i = 0; i < 3; i++)
		late[i] = w_dup(young, N, TAG, 1);
	ksm_settle();
	CHECK_EQ(w_same(late[0], late[1], 0), N);
	CHECK_EQ(w_same(late[0], late[2], 0), N);
	for (i = 0; i < 2; i++)
		CHECK_EQ(w_common_ksm(late[0], in_full[i]), 0, "process %d", i);
	CHECK_LE(cg_stat(full, "pages_pending"), merged);
	finishes(full, "room again");
	w_verify(late[0]);
}

#define PAIRED		(4 * N)

/* Pages of the first area that are merged, and charged to this cgroup. */
static long merged_in(struct worker *w, long first, long nr, u64 payer)
{
	struct frame *f = calloc(w->area[0].pages, sizeof(*f));
	long i, n = 0;

	NEED(f, "no memory");
	w_frames(w, 0, f);
	for (i = first; i < first + nr; i++)
		n += f[i].flags & F_KSM && frame_cgroup(f[i].pfn) == payer;
	free(f);
	return n;
}

/*
 * The process has pairs of equal pages, charged to its own cgroup, and after
 * them pages that are charged to another one. There is room to unshare the
 * latter, and to unshare a quarter of the pairs.
 */
static void borrowed_first(void)
{
	u64 lender;

	top = cg_ksm(NULL, "a", "1");
	full = cg_ksm(top, "b", NULL);
	young = cg_ksm(top, "c", NULL);
	if (access("/proc/kpagecgroup", R_OK))
		ksm_skip("no /proc/kpagecgroup");
	lender = cg_inode(young);
	w_twins(in_young, young, N, TAG);
	ksm_settle();
	in_full[0] = w_new(full);
	w_map(in_full[0], PAIRED + N, MAP_PLAIN);
	w_set(in_full[0], 0, 0, PAIRED / 2, 8 * TAG, 1);
	w_set(in_full[0], 0, PAIRED / 2, PAIRED / 2, 8 * TAG, 1);
	w_set(in_full[0], 0, PAIRED, N, TAG, 1);
	ksm_settle();
	NEED_EQ(merged_in(in_full[0], 0, PAIRED, cg_inode(full)), PAIRED);
	NEED_EQ(merged_in(in_full[0], PAIRED, N, lender), N);
	if (cg_has(full, "memory.swap.max"))
		cg_set(full, "memory.swap.max", "0");
	limit(full, N + N / 2);
	CHECK_EQ(cg_put(full, "memory.ksm", "0"), -ENOMEM);
	CHECK_EQ(merged_in(in_full[0], PAIRED, N, lender), 0, "borrowed");
	CHECK_GE(merged_in(in_full[0], 0, PAIRED, cg_inode(full)), PAIRED / 4,
		 "its own");
	CHECK_EQ(w_same(in_young[0], in_young[1], 0), N);
	cg_set(full, "memory.max", "max");
	CHECK_WAIT_EQ(cg_stat(full, "pages_pending"), 0);
	w_verify(in_full[0]);
	w_verify(in_young[0]);
	w_verify(in_young[1]);
}

/* A signal ends the write and not what it began. */
static void interrupted(void)
{
	char path[256];
	int status;
	pid_t pid;
	int i;

	top = cg_ksm(NULL, "a", "1");
	for (i = 0; i < 2; i++)
		in_full[i] = w_dup(top, 16 * N, TAG, 1);
	ksm_settle();
	CHECK_EQ(w_same(in_full[0], in_full[1], 0), 16 * N);
	snprintf(path, sizeof(path), "%s/memory.ksm", top);
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		signal(SIGTERM, SIG_DFL);
		_exit(-file_put(path, "0"));
	}
	/* it comes while pages are unshared */
	NEED(WAIT_FOR(!strcmp(cg_get(top, "memory.ksm.effective"), "0")),
	     "the value is not published");
	kill(pid, SIGTERM);
	NEED_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) || !WEXITSTATUS(status) ||
	      WEXITSTATUS(status) == EINTR, "status %#x", status);
	CHECK_STR(cg_get(top, "memory.ksm.effective"), "0");
	CHECK_WAIT_EQ(cg_stat(top, "pages_pending"), 0);
	CHECK_EQ(cg_stat(top, "ksm_merging_pages"), 0);
	for (i = 0; i < 2; i++)
		w_verify(in_full[i]);
}

#define CHILDREN	3

/*
 * Two equal processes, each with @children that share its memory by fork: after
 * 1 and 0 they take what they took before, within a fifth.
 */
static void family_of(int children, bool zeroes)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	struct worker *w[2][1 + CHILDREN];
	long long before, after;
	int i, j;

	if (zeroes)
		ksm_set("use_zero_pages", 1);
	for (i = 0; i < 2; i++) {
		w[i][0] = w_dup(cg, N, zeroes ? 0 : TAG, zeroes ? 0 : 1);
		for (j = 1; j <= children; j++)
			w[i][j] = w_fork(w[i][0]);
	}
	before = cg_current(cg);
	cg_set(cg, "memory.ksm", "1");
	ksm_settle();
	CHECK_EQ(w_count(w[0][0], 0, zeroes ? F_ZERO : F_KSM), N);
	CHECK_EQ(w_count(w[1][children], 0, zeroes ? F_ZERO : F_KSM), N);
	CHECK_LT(cg_current(cg), before - N / 2 * (long long)PAGE_SZ);
	CHECK_OK(cg_put(cg, "memory.ksm", "0"));
	CHECK_EQ(cg_stat(cg, "ksm_merging_pages"), 0);
	CHECK_EQ(cg_stat(cg, "ksm_zero_pages"), 0);
	CHECK_WAIT_EQ(cg_stat(cg, "ksm_metadata_bytes") < 64 << 10, 1);
	after = cg_current(cg);
	CHECK_LE(after, before + before / 5, "with %d children", children);
	CHECK_GE(after, before - before / 5, "with %d children", children);
	for (i = 0; i < 2; i++) {
		for (j = 0; j <= children; j++)
			w_verify(w[i][j]);
		/* what they share, a write breaks for the writer alone */
		w_set(w[i][0], 0, 0, 16, 7 * TAG, 1);
		for (j = 0; j <= children; j++)
			w_verify(w[i][j]);
	}
	if (children) {
		w_exit(w[0][0]);
		for (j = 1; j <= children; j++)
			w_verify(w[0][j]);
	}
}

static void family(void)
{
	family_of(CHILDREN, false);
}

static void no_family(void)
{
	family_of(0, false);
}

static void family_of_zeroes(void)
{
	family_of(CHILDREN, true);
}

/* A relative that goes on merging, or is in another domain, is left alone. */
static void family_apart(void)
{
	const char *one = cg_ksm(NULL, "a", "1");
	const char *in = cg_ksm(one, "b", NULL), *off = cg_ksm(one, "c", NULL);
	struct worker *parent = w_dup(in, N, TAG, 1), *child;

	w_dup(in, N, TAG, 1);
	child = w_spawn(parent, SPAWN_FORK, off);
	ksm_settle();
	CHECK_EQ(w_same(parent, child, 0), N);
	CHECK_OK(cg_put(off, "memory.ksm", "0"));
	CHECK_EQ(w_merged(child), 0);
	CHECK_EQ(w_merged(parent), N, "goes on");
	w_verify(parent);
	w_verify(child);
}

static const struct ksm_case cases[] = {
	{ "0 holds where memory is too short to unshare", zero },
	{ "0 above a cgroup that is full reaches all others", zero_above },
	{ "run=2 holds where memory is too short", run_2 },
	{ "run=2 is taken back", run_2_and_back },
	{ "madvise leaves only what was asked for", only_what_was_asked },
	{ "madvise leaves only that in one domain as well",
	  only_what_was_asked_in_one_domain },
	{ "a split holds where memory is too short", split },
	{ "no page is merged with a pending one", no_new_partners },
	{ "frames charged to another cgroup are unshared first",
	  borrowed_first },
	{ "a signal ends the write and not what it began", interrupted },
	{ "a family by fork takes what it took before", family },
	{ "unrelated processes take what they took before", no_family },
	{ "a family of zero pages takes what it took before", family_of_zeroes },
	{ "relatives that go on merging are left alone", family_apart },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
