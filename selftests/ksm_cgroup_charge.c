// SPDX-License-Identifier: GPL-2.0
/*
 * The charge of merged frames, and what it does to limits.
 *
 * - a merged frame is charged to a cgroup that maps it, and a kernel worker
 *   hands it on when that cgroup unmaps it or goes
 * - memory.current falls by what is saved, and rises again with the writes
 * - a cgroup filled to its limit with duplicates is merged, not killed; merging
 *   raises no event in memory.events
 * - merging is no way around a limit, alone or with a sibling
 * - no merged frame keeps a removed cgroup
 *
 * vm: timeout=600
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmlib.h"

#define N	256

static const char *up;

static const char *child(const char *name)
{
	return cg_new(up, name);
}

static void family(void)
{
	up = cg_ksm(NULL, "up", "1");
}

/* Frames of w's first pages that are charged to cg. */
static long charged_to(struct worker *w, const char *cg)
{
	struct frame *f = calloc(w->area[0].pages, sizeof(*f));
	u64 inode = cg_inode(cg);
	long i, n = 0;

	NEED(f, "no memory");
	w_frames(w, 0, f);
	for (i = 0; i < w->area[0].pages; i++)
		n += f[i].flags & F_KSM && frame_cgroup(f[i].pfn) == inode;
	free(f);
	return n;
}

static void need_kpagecgroup(void)
{
	if (access("/proc/kpagecgroup", R_OK))
		ksm_skip("no /proc/kpagecgroup");
}

static void payer_maps(void)
{
	struct worker *w[2];
	const char *a, *b;
	long na, nb;

	family();
	need_kpagecgroup();
	a = child("a");
	b = child("b");
	w[0] = w_dup(a, N, 1, 1);
	w[1] = w_dup(b, N, 1, 1);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N);
	na = charged_to(w[0], a);
	nb = charged_to(w[0], b);
	CHECK_EQ(na + nb, N, "%ld frames charged to a, %ld to b", na, nb);
	CHECK_EQ(cg_stat(a, "pages_shared") + cg_stat(b, "pages_shared"),
		 cg_stat(up, "pages_shared"));
	CHECK_GE(cg_stat(a, "pages_shared"), na);
	CHECK_GE(cg_stat(b, "pages_shared"), nb);

	/* the one with more charges exits; the scanner stands still */
	if (nb > na) {
		w_exit(w[1]);
		w[1] = w[0];
		b = a;
	} else {
		w_exit(w[0]);
	}
	CHECK_WAIT_EQ(charged_to(w[1], b), N, "handed on");
	CHECK_WAIT_EQ(cg_stat(b, "pages_shared"), cg_stat(up, "pages_shared"));
	w_verify(w[1]);
}

static void payer_unmaps(void)
{
	struct worker *w[3];
	const char *cg[3];
	int i;

	family();
	need_kpagecgroup();
	for (i = 0; i < 3; i++) {
		cg[i] = cg_letter(up, i);
		w[i] = w_dup(cg[i], N, 1, 1);
	}
	ksm_settle();
	for (i = 0; i < 2; i++) {
		/* a write unmaps the frames, charged here or not */
		w_set(w[i], 0, 0, N, 50000 * (i + 1), 1);
		CHECK(WAIT_FOR(!cg_stat(cg[i], "pages_shared") ||
			       !charged_to(w[2], cg[i])),
		      "frames are still charged to %s", cg[i]);
	}
	CHECK_WAIT_EQ(charged_to(w[2], cg[2]), N, "the last one");
	for (i = 0; i < 3; i++)
		w_verify(w[i]);
}

/*
 * The parent's records lead to a child by fork and, once it was scanned, its
 * own do as well. That must not count as one mapping more.
 */
static void relative_inherits(void)
{
	const char *a, *b;
	struct worker *parent, *kid;

	family();
	need_kpagecgroup();
	a = child("a");
	b = child("b");
	parent = w_dup(a, N, 300, 0);
	ksm_settle();
	kid = w_spawn(parent, SPAWN_FORK, b);
	ksm_settle();
	NEED_EQ(w_same(parent, kid, 0), N);
	NEED_EQ(charged_to(kid, a), N);
	/* the parent's records stay until it is scanned again */
	w_set(parent, 0, 0, N, 7000, 1);
	CHECK_WAIT_EQ(charged_to(kid, b), N, "handed on");
	CHECK_EQ(cg_stat(a, "pages_shared"), 0);
	w_verify(kid);
}

static void payer_removed(void)
{
	struct worker *w[2];
	const char *a, *b;

	family();
	need_kpagecgroup();
	a = child("a");
	b = child("b");
	w_twins(w, a, N, 1);
	ksm_settle();
	NEED_EQ(charged_to(w[0], a), N);
	NEED_OK(cg_move(b, w[0]->pid));
	NEED_OK(cg_move(b, w[1]->pid));
	CHECK_WAIT_EQ(charged_to(w[0], b), N, "moved");
	NEED_WAIT_OK(cg_rmdir(a));
	CHECK_EQ(w_same(w[0], w[1], 0), N, "after rmdir");
	CHECK_EQ(charged_to(w[0], b), N, "after rmdir");
	w_verify(w[0]);
	w_verify(w[1]);
	/* their ordinary memory is charged where it was allocated */
	w_exit(w[0]);
	w_exit(w[1]);
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

/*
 * Another process goes on mapping the frames that it shared with those that
 * exit: that must not keep their cgroups, nor must zero pages.
 */
static void nothing_pinned(void)
{
	struct worker *w[3], *heir;
	const char *a;
	int i;

	family();
	ksm_set("use_zero_pages", 1);
	heir = w_dup(child("heir"), N, 1, 1);
	for (i = 0; i < 10; i++) {
		a = child("a");
		w[0] = w_dup(a, N, 0, 0);
		w_twins(w + 1, a, N, 1);
		ksm_pass(i % 3 + 1);
		NEED_OK(cg_move(CGROOT, w[0]->pid));
		NEED_OK(cg_move(CGROOT, w[1]->pid));
		w_exit(w[2]);
		NEED_WAIT_OK(cg_rmdir(a));
		w_exit(w[0]);
		w_exit(w[1]);
	}
	ksm_stop();
	CHECK_WAIT_EQ(cg_dying(up), 0);
	w_verify(heir);
}

static long long current_pages(const char *cg)
{
	return cg_current(cg) / (long long)PAGE_SZ;
}

static void current_falls(void)
{
	/* kernel memory of the workers' beginnings, which is freed late */
	enum { PAGES = 8192, LATE = 128 };
	long long before, merged, after, meta;
	struct worker *w[2];
	const char *a;

	family();
	a = child("a");
	w_twins(w, a, PAGES, 1);
	before = current_pages(a);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), PAGES);
	merged = current_pages(a);
	meta = cg_stat(a, "ksm_metadata_bytes") / (long long)PAGE_SZ;
	CHECK_GE(before - merged, PAGES - meta - LATE,
		 "from %lld pages, metadata %lld", before, meta);
	CHECK_LE(before - merged, cg_stat(a, "pages_sharing") + LATE,
		 "from %lld pages", before);
	w_set(w[0], 0, 0, PAGES, 70000, 1);
	after = current_pages(a);
	CHECK_GE(after - merged, PAGES - LATE, "after %d writes", PAGES);
	CHECK_LE(after - merged, PAGES + LATE, "after %d writes", PAGES);
	w_verify(w[0]);
	w_verify(w[1]);
}

static long long events_of(const char *cg, char *line, size_t size)
{
	static const char * const keys[] = {
		"low", "high", "max", "oom", "oom_kill", "oom_group_kill"
	};
	long long sum = 0;
	size_t i;

	line[0] = '\0';
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		long long v = cg_key(cg, "memory.events", keys[i]);

		sum += v;
		snprintf(line + strlen(line), size - strlen(line), "%s %lld ",
			 keys[i], v);
	}
	return sum;
}

static void no_new_events(const char *cg, long long before)
{
	char line[200];
	long long now = events_of(cg, line, sizeof(line));

	CHECK_EQ(now, before, "merging raised %s", line);
}

static void no_swap(const char *cg)
{
	if (cg_has(cg, "memory.swap.max"))
		cg_set(cg, "memory.swap.max", "0");
}

/* Filled until the next page would not fit; merging then makes room. */
static void at_the_limit(void)
{
	enum { MAX = 48 << 20, STEP = 64 };
	struct worker *w[3];
	char line[200];
	const char *a;
	long long now, before;
	long done = 0;
	int i;

	family();
	a = child("a");
	for (i = 0; i < 3; i++) {
		w[i] = w_new(a);
		w_map(w[i], 3 * MAX / PAGE_SZ / 8, MAP_PLAIN);
	}
	cg_set(a, "memory.max", "48M");
	no_swap(a);
	do {
		for (i = 0; i < 3; i++)
			w_set(w[i], 0, done, STEP, 1 + done, 1);
		done += STEP;
		now = cg_num(a, "memory.current");
	} while (now < MAX - (2 << 20) && done + STEP <= w[0]->area[0].pages);
	/* and to the brim: charge in stock would make the limit soft */
	now = cg_current(a);
	NEED_GE(now, MAX - (3 << 20), "the cgroup is not full");
	before = events_of(a, line, sizeof(line));
	snprintf(line, sizeof(line), "%lld", now);
	cg_set(a, "memory.max", line);
	ksm_settle();
	no_new_events(a, before);
	CHECK_EQ(cg_key(a, "memory.events", "oom_kill"), 0);
	for (i = 0; i < 3; i++) {
		CHECK(w_alive(w[i]), "process %d is dead", i);
		w_verify(w[i]);
	}
	CHECK_LT(cg_num(a, "memory.current"), MAX / 2, "from %lld", now);
}

/*
 * Merging does not free pages that a child by fork holds outside the cgroup, so
 * the frames for them have to find room.
 */
static void shared_by_fork(void)
{
	enum { PAGES = 8192 };
	long long now, then, before;
	struct worker *w[2], *c[2];
	const char *a, *out;
	char line[200];
	int i;

	family();
	a = child("a");
	out = cg_ksm(NULL, "out", "0");
	for (i = 0; i < 2; i++) {
		w[i] = w_dup(a, PAGES, 1, 1);
		c[i] = w_spawn(w[i], SPAWN_FORK, out);
	}
	no_swap(a);
	before = events_of(a, line, sizeof(line));
	/* room for what the processes need to answer */
	now = cg_current(a) + (1 << 20);
	snprintf(line, sizeof(line), "%lld", now);
	cg_set(a, "memory.max", line);
	ksm_settle();
	then = cg_current(a);
	/* with a part for metadata */
	CHECK_LE(then, now + now / 128, "with a limit of %lld", now);
	no_new_events(a, before);
	for (i = 0; i < 2; i++) {
		w_verify(w[i]);
		w_verify(c[i]);
	}
}

/*
 * One member writes every page twice, or each of two writes it once, until the
 * OOM killer ends that. The different contents that they hold never take more
 * than their limits add up to.
 */
static void escape(int members)
{
	enum { LIMIT = 16 << 20, STEP = 256, ROOM = 6 * LIMIT / PAGE_SZ };
	struct worker *w[2], *honest;
	long long limits = (long long)members * LIMIT / PAGE_SZ;
	long held = 0, ret = 0;
	const char *cg[2];
	bool alive = true;
	int i;

	family();
	honest = w_dup(child("honest"), N, 1, 1);
	for (i = 0; i < members; i++) {
		cg[i] = child(i ? "b" : "a");
		cg_set(cg[i], "memory.max", "16M");
		cg_set(cg[i], "memory.oom.group", "1");
		no_swap(cg[i]);
		w[i] = w_new(cg[i]);
		w_map(w[i], (3 - members) * ROOM, MAP_PLAIN);
	}
	while (alive && held + STEP <= ROOM) {
		for (i = 0; i < 2 && alive; i++) {
			struct worker *writer = w[members == 2 ? i : 0];
			long first = held + (members == 2 ? 0 : i * ROOM);

			w_set_start(writer, first, STEP, 1000000 + held, 1);
			alive = w_answers(writer, &ret);
		}
		if (!alive)
			break;
		held += STEP;
		ksm_pass(2);
		CHECK_LE(held, limits + 512, "limits of %lld pages", limits);
		if (held > limits + 512)
			break;
	}
	ksm_stop();
	CHECK(!alive, "no limit stopped them at %ld pages", held);
	/* all frames may be charged to one, so no sooner than at one limit */
	CHECK_GE(held, limits / members / 2);
	CHECK(w_alive(honest), "a neighbour was killed");
	w_verify(honest);
}

static void escape_alone(void)
{
	escape(1);
}

static void escape_together(void)
{
	escape(2);
}

/* ---- the scanner's time ---- */

/* In microseconds; without schedstat to 10 ms. */
static long long thread_runtime(int nr)
{
	unsigned long long user, system;
	char buf[512], *at;

	if (file_get(ksmd_file(nr, "schedstat"), buf, sizeof(buf)) > 0)
		return strtoll(buf, NULL, 10) / 1000;
	NEED_GT(file_get(ksmd_file(nr, "stat"), buf, sizeof(buf)), 0);
	at = strrchr(buf, ')');
	NEED(at && sscanf(at + 1,
			  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
			  &user, &system) == 2, "unknown format '%s'", buf);
	return (user + system) * 1000000 / sysconf(_SC_CLK_TCK);
}

static long long ksmd_runtime(void)
{
	long long sum = 0;
	int nr;

	for (nr = 0; ksmd_file(nr, "stat"); nr++)
		sum += thread_runtime(nr);
	return sum;
}

static void scan_time(void)
{
	enum { PAGES = 24576, ENOUGH = 2000000 /* us */ };
	long long scan, real, start;

	family();
	w_dup(child("a"), PAGES, 1, 1);
	w_dup(child("b"), PAGES, 900000, 1);
	ksm_settle();
	scan = cg_stat(CGROOT, "scan_usec");
	start = ksmd_runtime();
	do {
		ksm_pass(4);
		ksm_stop();
		real = ksmd_runtime() - start;
	} while (real < ENOUGH);
	scan = cg_stat(CGROOT, "scan_usec") - scan;
	CHECK_LE(scan, real + real / 20, "ksmd ran for %lld us", real);
	CHECK_GE(scan, real - real / 20, "ksmd ran for %lld us", real);
	/* the canary has as much weight as all of these */
	CHECK_GT(cg_stat(up, "scan_usec"), scan / 4);
}

static const struct ksm_case cases[] = {
	{ "a frame is charged to a cgroup that maps it", payer_maps },
	{ "a frame goes on to a cgroup that still maps it", payer_unmaps },
	{ "a frame goes on to a child by fork", relative_inherits },
	{ "frames leave a removed cgroup", payer_removed },
	{ "no merged frame keeps a removed cgroup", nothing_pinned },
	{ "memory.current falls by what is saved", current_falls },
	{ "a cgroup at its limit is merged, not killed", at_the_limit },
	{ "pages shared by fork are no way around a limit", shared_by_fork },
	{ "no way around a limit, alone", escape_alone },
	{ "no way around a limit, in collusion", escape_together },
	{ "scan_usec is the CPU time of ksmd", scan_time },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
