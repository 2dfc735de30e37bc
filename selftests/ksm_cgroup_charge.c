// SPDX-License-Identifier: GPL-2.0
/*
 * Who pays for what is merged, and what that does to limits.
 *
 * - a merged frame is charged to a cgroup that maps it, and handed on by the
 *   kernel's own worker when that one stops or goes
 * - memory.current falls by what was saved, and rises again with the writes
 * - a group filled to its limit with duplicates is merged, not killed; merging
 *   raises no event in memory.events
 * - nobody escapes a limit by having pages merged, alone or with a sibling
 * - a removed cgroup is kept by nothing that was merged
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
	ksm_need_cgroup();
	up = cg_new(NULL, "up");
	cg_set(up, "memory.ksm", "1");
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
	NEED(w_same(w[0], w[1], 0) == N, "%ld of %d merged",
	     w_same(w[0], w[1], 0), N);
	na = charged_to(w[0], a);
	nb = charged_to(w[0], b);
	CHECK(na + nb == N, "%ld and %ld of %d frames have a payer who maps them",
	      na, nb, N);
	CHECK(cg_stat(a, "pages_shared") + cg_stat(b, "pages_shared") ==
	      cg_stat(up, "pages_shared"), "%lld and %lld of %lld",
	      cg_stat(a, "pages_shared"), cg_stat(b, "pages_shared"),
	      cg_stat(up, "pages_shared"));
	CHECK(cg_stat(a, "pages_shared") >= na && cg_stat(b, "pages_shared") >= nb,
	      "%lld and %lld in the books, %ld and %ld in truth",
	      cg_stat(a, "pages_shared"), cg_stat(b, "pages_shared"), na, nb);

	/* who pays more goes, the other pays on; the scanner stands still */
	if (nb > na) {
		w_exit(w[1]);
		w[1] = w[0];
		b = a;
	} else {
		w_exit(w[0]);
	}
	CHECK(WAIT_FOR(charged_to(w[1], b) == N), "%ld of %d handed on",
	      charged_to(w[1], b), N);
	CHECK(WAIT_FOR(cg_stat(b, "pages_shared") == cg_stat(up, "pages_shared")),
	      "%lld frames of %lld", cg_stat(b, "pages_shared"),
	      cg_stat(up, "pages_shared"));
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
		cg[i] = child((char[]){ 'a' + i, 0 });
		w[i] = w_dup(cg[i], N, 1, 1);
	}
	ksm_settle();
	for (i = 0; i < 2; i++) {
		/* whoever pays gives the frames up by writing */
		w_set(w[i], 0, 0, N, 50000 * (i + 1), 1);
		CHECK(WAIT_FOR(!cg_stat(cg[i], "pages_shared") ||
			       !charged_to(w[2], cg[i])),
		      "%ld frames still charged to %s", charged_to(w[2], cg[i]),
		      cg[i]);
	}
	CHECK(WAIT_FOR(charged_to(w[2], cg[2]) == N),
	      "%ld of %d frames came to the last", charged_to(w[2], cg[2]), N);
	for (i = 0; i < 3; i++)
		w_verify(w[i]);
}

/*
 * A child by fork is led to from its parent's side and, once it was scanned,
 * from its own. That must not look like one mapping too many.
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
	NEED(w_same(parent, kid, 0) == N && charged_to(kid, a) == N,
	     "%ld pages are shared, %ld charged to the parent's",
	     w_same(parent, kid, 0), charged_to(kid, a));
	/* the parent's records stay until it is scanned again */
	w_set(parent, 0, 0, N, 7000, 1);
	CHECK(WAIT_FOR(charged_to(kid, b) == N), "%ld pages were handed on",
	      charged_to(kid, b));
	CHECK(!cg_stat(a, "pages_shared"), "%lld frames stay",
	      cg_stat(a, "pages_shared"));
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
	w[0] = w_dup(a, N, 1, 1);
	w[1] = w_dup(a, N, 1, 1);
	ksm_settle();
	NEED(charged_to(w[0], a) == N, "%ld of %d charged", charged_to(w[0], a), N);
	NEED(!cg_move(b, w[0]->pid) && !cg_move(b, w[1]->pid), "no move");
	CHECK(WAIT_FOR(charged_to(w[0], b) == N), "%ld of %d moved along",
	      charged_to(w[0], b), N);
	NEED(WAIT_FOR(!cg_rmdir(a)), "rmdir");
	CHECK(w_same(w[0], w[1], 0) == N, "the move has unshared pages");
	CHECK(charged_to(w[0], b) == N, "%ld of %d charged after rmdir",
	      charged_to(w[0], b), N);
	w_verify(w[0]);
	w_verify(w[1]);
	/* what they have of their own is charged where it was made */
	w_exit(w[0]);
	w_exit(w[1]);
	CHECK(WAIT_FOR(!cg_dying(up)), "%lld cgroups do not die", cg_dying(up));
}

/*
 * Somebody else goes on mapping what was merged with those who are gone: it
 * must not keep their cgroups. Zero pages neither.
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
		w[1] = w_dup(a, N, 1, 1);
		w[2] = w_dup(a, N, 1, 1);
		ksm_pass(i % 3 + 1);
		NEED(!cg_move(CGROOT, w[0]->pid) && !cg_move(CGROOT, w[1]->pid),
		     "no move");
		w_exit(w[2]);
		NEED(WAIT_FOR(!cg_rmdir(a)), "rmdir");
		w_exit(w[0]);
		w_exit(w[1]);
	}
	ksm_stop();
	CHECK(WAIT_FOR(!cg_dying(up)), "%lld cgroups do not die", cg_dying(up));
	w_verify(heir);
}

static void current_falls(void)
{
	enum { PAGES = 8192 };
	long long before, merged, after, meta;
	struct worker *w[2];
	const char *a;

	family();
	a = child("a");
	w[0] = w_dup(a, PAGES, 1, 1);
	w[1] = w_dup(a, PAGES, 1, 1);
	before = cg_num(a, "memory.current") / (long long)PAGE_SZ;
	ksm_settle();
	NEED(w_same(w[0], w[1], 0) == PAGES, "%ld of %d merged",
	     w_same(w[0], w[1], 0), PAGES);
	merged = cg_num(a, "memory.current") / (long long)PAGE_SZ;
	meta = cg_stat(a, "ksm_metadata_bytes") / (long long)PAGE_SZ;
	/* each CPU holds up to 64 pages of charge in stock */
	CHECK(before - merged >= PAGES - meta - 64 * sysconf(_SC_NPROCESSORS_ONLN),
	      "memory.current: %lld, then %lld pages, metadata %lld", before,
	      merged, meta);
	CHECK(before - merged <= cg_stat(a, "pages_sharing") + 256,
	      "fell by %lld, saved are %lld", before - merged,
	      cg_stat(a, "pages_sharing"));
	w_set(w[0], 0, 0, PAGES, 70000, 1);
	after = cg_num(a, "memory.current") / (long long)PAGE_SZ;
	CHECK(after - merged >= PAGES - 256 && after - merged <= PAGES + 256,
	      "%lld pages after %d were written, from %lld", after, PAGES, merged);
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

/* Filled until the next page would not fit; merging then makes the room. */
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
	if (cg_has(a, "memory.swap.max"))
		cg_set(a, "memory.swap.max", "0");
	do {
		for (i = 0; i < 3; i++)
			w_set(w[i], 0, done, STEP, 1 + done, 1);
		done += STEP;
		now = cg_num(a, "memory.current");
	} while (now < MAX - (2 << 20) && done + STEP <= w[0]->area[0].pages);
	NEED(now >= MAX - (3 << 20), "the group is not full: %lld", now);
	/* and to the brim: charge in stock would make the limit soft */
	before = events_of(a, line, sizeof(line));
	snprintf(line, sizeof(line), "%lld", now);
	cg_set(a, "memory.max", line);
	ksm_settle();
	CHECK(events_of(a, line, sizeof(line)) == before, "merging raised: %s", line);
	CHECK(cg_key(a, "memory.events", "oom_kill") == 0, "killed: %s", line);
	for (i = 0; i < 3; i++) {
		CHECK(w_alive(w[i]), "process %d is dead", i);
		w_verify(w[i]);
	}
	CHECK(cg_num(a, "memory.current") < MAX / 2, "from %lld to %lld", now,
	      cg_num(a, "memory.current"));
}

/*
 * Pages that a child by fork holds outside are not given back by merging, so
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
	out = cg_new(NULL, "out");
	cg_set(out, "memory.ksm", "0");
	for (i = 0; i < 2; i++) {
		w[i] = w_dup(a, PAGES, 1, 1);
		c[i] = w_spawn(w[i], SPAWN_FORK, out);
	}
	if (cg_has(a, "memory.swap.max"))
		cg_set(a, "memory.swap.max", "0");
	before = events_of(a, line, sizeof(line));
	/* room for what the processes need to answer */
	now = cg_num(a, "memory.current") + (1 << 20);
	snprintf(line, sizeof(line), "%lld", now);
	cg_set(a, "memory.max", line);
	ksm_settle();
	then = cg_num(a, "memory.current");
	/* a part for metadata is allowed, and each CPU's stock of charge */
	CHECK(then <= now + now / 128 +
	      64 * (long long)PAGE_SZ * sysconf(_SC_NPROCESSORS_ONLN),
	      "to %lld with a limit of %lld", then, now);
	CHECK(events_of(a, line, sizeof(line)) == before, "merging raised: %s", line);
	for (i = 0; i < 2; i++) {
		w_verify(w[i]);
		w_verify(c[i]);
	}
}

/*
 * Members write every page twice, or one writes it and the other its twin, for
 * as long as they live. What they hold in different contents can never be more
 * than what their limits add up to.
 */
static void escape(int members)
{
	enum { LIMIT = 16 << 20, STEP = 256, ROOM = 6 * LIMIT / PAGE_SZ };
	struct worker *w[2], *honest;
	long long limits = (long long)members * LIMIT / PAGE_SZ;
	long held = 0, ret = 0;
	const char *cg[2];
	int i, pipe_open = 1;

	family();
	honest = w_dup(child("honest"), N, 1, 1);
	for (i = 0; i < members; i++) {
		cg[i] = child(i ? "b" : "a");
		cg_set(cg[i], "memory.max", "16M");
		cg_set(cg[i], "memory.oom.group", "1");
		if (cg_has(cg[i], "memory.swap.max"))
			cg_set(cg[i], "memory.swap.max", "0");
		w[i] = w_new(cg[i]);
		w_map(w[i], (3 - members) * ROOM, MAP_PLAIN);
	}
	while (pipe_open && held + STEP <= ROOM) {
		for (i = 0; i < 2 && pipe_open; i++) {
			struct worker *who = w[members == 2 ? i : 0];
			long first = held + (members == 2 ? 0 : i * ROOM);

			w_start(who, &(struct w_cmd){
				.op = OP_SET,
				.a = { first, STEP, 1000000 + held, 1 } });
			pipe_open = w_answers(who, &ret);
		}
		if (!pipe_open)
			break;
		held += STEP;
		ksm_pass(2);
		CHECK(held <= limits + 512, "%ld pages held, the limits say %lld",
		      held, limits);
		if (held > limits + 512)
			break;
	}
	ksm_stop();
	CHECK(!pipe_open, "nobody stopped them at %ld pages", held);
	/* all frames may be on one bill, so no sooner than at one limit */
	CHECK(held >= limits / members / 2, "stopped at %ld already", held);
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
	NEED(file_get(ksmd_file(nr, "stat"), buf, sizeof(buf)) > 0, "no stat");
	at = strrchr(buf, ')');
	NEED(at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
			  &user, &system) == 2, "what is '%s'?", buf);
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
	CHECK(scan <= real + real / 20 && scan >= real - real / 20,
	      "%lld us in the books, ksmd ran for %lld", scan, real);
	CHECK(cg_stat(up, "scan_usec") > scan / 2, "%lld us for those who have the memory",
	      cg_stat(up, "scan_usec"));
}

static const struct ksm_case cases[] = {
	{ "who pays maps the frame", payer_maps },
	{ "a frame goes on to one who still maps it", payer_unmaps },
	{ "a frame goes on to a child by fork", relative_inherits },
	{ "frames leave a cgroup that is removed", payer_removed },
	{ "nothing merged keeps a removed cgroup", nothing_pinned },
	{ "memory.current falls by what is saved", current_falls },
	{ "a group at its limit is merged, not killed", at_the_limit },
	{ "pages shared by fork lead out of no limit", shared_by_fork },
	{ "no escape from a limit, alone", escape_alone },
	{ "no escape from a limit, in collusion", escape_together },
	{ "scan_usec is what ksmd used", scan_time },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
