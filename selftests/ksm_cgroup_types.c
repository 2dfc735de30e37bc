// SPDX-License-Identifier: GPL-2.0
/*
 * memory.ksm.types: what is merged, and what a 1 takes in besides.
 *
 * - words are edited with + and -, read back in one order and inherited; a
 *   write that is refused changes nothing
 * - only a granted write may add a word that the parent does not have, and a
 *   word that was kept without a grant goes when the parent loses it
 * - without their words, ranges that are locked or marked MADV_DONTDUMP and
 *   processes that are not dumpable are left alone; with them they are merged;
 *   when a word is taken away, they are unshared before the write returns
 * - zero alone remembers nothing, and leaves pages alone that are in use
 * - taking anon or zero away unshares nothing and ends merging of that kind
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>

#include "ksmlib.h"

#define TYPES	"memory.ksm.types"
#define N	32
#define USER	1000
#define TAG	40000

static const char *typed(const char *parent, const char *name,
			 const char *value, const char *types)
{
	const char *cg = cg_ksm(parent, name, value);

	cg_need(cg, TYPES);
	if (types)
		cg_set(cg, TYPES, types);
	return cg;
}

static void reads(const char *cg, const char *want, const char *when)
{
	CHECK_STR(cg_get(cg, TYPES), want, "%s", when);
}

/* The words in force in a cgroup that inherits, of which anon is one. */
static void inherits(const char *cg, const char *want, const char *when)
{
	reads(cg, "inherit", when);
	cg_set(cg, TYPES, "+anon");
	reads(cg, want, when);
	cg_set(cg, TYPES, "inherit");
}

/* ---- the file ---- */

static void words(void)
{
	const char *cg = typed(NULL, "a", NULL, NULL);

	inherits(cg, "anon", "a new cgroup");
	cg_set(cg, TYPES, "+undumpable +zero\n");
	reads(cg, "anon zero undumpable", "words are added");
	cg_set(cg, TYPES, "  +locked   -anon +dontdump");
	reads(cg, "zero dontdump locked undumpable", "added and taken away");
	cg_set(cg, TYPES, "-zero +zero -undumpable");
	reads(cg, "zero dontdump locked", "the last one of a word counts");
	cg_set(cg, TYPES, "+zero -anon");
	reads(cg, "zero dontdump locked", "nothing to change");
	cg_set(cg, TYPES, "-zero -dontdump -locked");
	reads(cg, "", "no word is left");
	cg_set(cg, TYPES, "+anon");
	reads(cg, "anon", "the first word again");
}

static void refused(void)
{
	static const char * const bad[] = {
		"\n", " ", "anon", "+", "-", "+all", "+anon,zero", "+ANON",
		"++anon", "+anonymous", "+an", "inherit +zero", "+inherit",
		"-zero bogus", "+locked -bogus", "0", "1", "+anon\n+zero",
	};
	const char *cg = typed(NULL, "a", NULL, "-anon +zero");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(cg_put(cg, TYPES, bad[i]), -EINVAL, "'%s'", bad[i]);
		reads(cg, "zero", bad[i]);
	}
	CHECK_EQ(cg_put(CGROOT, TYPES, "inherit"), -EINVAL);
	reads(CGROOT, "anon", "the root");
}

static void hierarchy(void)
{
	const char *p = typed(NULL, "p", NULL, NULL);
	const char *c = cg_new(p, "c"), *g = cg_new(c, "g");

	cg_set(p, TYPES, "+zero");
	inherits(g, "anon zero", "from two levels up");
	cg_set(c, TYPES, "-anon +dontdump");
	cg_set(p, TYPES, "+locked -zero");
	reads(c, "zero dontdump", "a list of its own");
	inherits(g, "anon zero dontdump", "the nearest list");
	cg_set(c, TYPES, "inherit");
	inherits(g, "anon locked", "the list above");
	cg_set(p, TYPES, "inherit");
	inherits(g, "anon", "the root's list");
	cg_set(CGROOT, TYPES, "+zero");
	inherits(g, "anon zero", "the root's new list");
	cg_set(CGROOT, TYPES, "-zero");
	reads(CGROOT, "anon", "the root's first list");
	/* disabled and enabled again, the controller brings the default */
	cg_set(g, TYPES, "+zero");
	cg_set(c, "cgroup.subtree_control", "-memory");
	cg_set(c, "cgroup.subtree_control", "+memory");
	inherits(g, "anon", "after a reset");
}

/* ---- who may add a word ---- */

static const char *users(const char *parent, const char *name,
			 const char *types)
{
	const char *cg = typed(parent, name, NULL, types);
	char path[256];

	snprintf(path, sizeof(path), "%s/" TYPES, cg);
	NEED(!chown(path, USER, USER), "chown: %s", strerror(errno));
	return cg;
}

static long user_puts(struct worker *user, const char *cg, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/" TYPES, cg);
	return w_put(user, path, value);
}

static void not_granted(void)
{
	const char *top = typed(NULL, "a", NULL, NULL);
	const char *cg = users(top, "b", NULL);
	struct worker *user = w_new(NULL);

	w_setuid(user, USER);
	CHECK_EQ(user_puts(user, cg, "+zero"), -EPERM);
	CHECK_EQ(user_puts(user, cg, "-anon +locked"), -EPERM);
	reads(cg, "inherit", "refused");
	CHECK_OK(user_puts(user, cg, "+anon"), "in force already");
	reads(cg, "anon", "a list without a new word");
	CHECK_OK(user_puts(user, cg, "-anon"));
	reads(cg, "", "narrowed");
	CHECK_OK(user_puts(user, cg, "+anon"), "the parent has it");
	CHECK_EQ(user_puts(user, cg, "+zero"), -EPERM, "a list of its own");
	reads(cg, "anon", "refused");

	cg_set(top, TYPES, "+locked +zero");
	reads(cg, "anon", "words come above");
	CHECK_OK(user_puts(user, cg, "+locked"));
	reads(cg, "anon locked", "the parent's word");
	cg_set(top, TYPES, "-locked");
	reads(cg, "anon", "the word goes above");
	CHECK_EQ(user_puts(user, cg, "+locked"), -EPERM, "it is gone");
	CHECK_OK(user_puts(user, cg, "inherit"));
	inherits(cg, "anon zero", "inherit");
}

/* A granted word stays, whatever holds above, until it is taken away. */
static void granted_stays(void)
{
	const char *top = typed(NULL, "a", NULL, "+zero");
	const char *cg = users(top, "b", "+dontdump");
	struct worker *user = w_new(NULL);

	w_setuid(user, USER);
	reads(cg, "anon zero dontdump", "granted");
	cg_set(top, TYPES, "-zero");
	reads(cg, "anon zero dontdump", "granted, gone above");
	CHECK_OK(user_puts(user, cg, "-anon"));
	reads(cg, "zero dontdump", "narrowed by a user");
	CHECK_OK(user_puts(user, cg, "-zero +anon"));
	reads(cg, "anon dontdump", "narrowed by a user");
	CHECK_EQ(user_puts(user, cg, "+zero"), -EPERM, "given up");
	cg_set(top, TYPES, "-anon");
	reads(cg, "dontdump", "anon was not granted here any more");
}

static void opener_decides(void)
{
	const char *cg = users(NULL, "a", NULL);
	struct worker *root = w_new(NULL);
	char path[256];
	int fd;

	w_dropcap(root, CAP_SYS_ADMIN);
	CHECK_EQ(user_puts(root, cg, "+zero"), -EPERM, "without CAP_SYS_ADMIN");
	CHECK_EQ(user_puts(root, CGROOT, "+zero"), -EPERM, "the root's");

	snprintf(path, sizeof(path), "%s/" TYPES, cg);
	NEED(!seteuid(USER), "seteuid");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	NEED(!seteuid(0), "seteuid");
	NEED_GE(fd, 0, "open");
	CHECK_EQ(write(fd, "+zero", 5), -1);
	CHECK_EQ(errno, EPERM, "opened by a user, written by root");
	close(fd);
	reads(cg, "inherit", "refused");
}

/* ---- what a 1 takes in ---- */

static void lock_all(struct worker *w)
{
	NEED_OK(w_lock(w, 0, N));
}

static void dont_dump(struct worker *w)
{
	w_madv(w, 0, MADV_DONTDUMP);
}

static void not_dumpable(struct worker *w)
{
	NEED_OK(w_prctl(w, PR_SET_DUMPABLE, 0, 0, 0, 0));
}

static void are_merged(struct worker **w, int nr, bool all, const char *when)
{
	int i;

	for (i = 0; i < nr; i++) {
		CHECK_EQ(w_merged(w[i]), all ? N : 0, "%d: %s", i, when);
		w_verify(w[i]);
	}
}

/* Two processes that are left alone; one that asks, and two others. */
static void widened(void (*mark)(struct worker *w), const char *word)
{
	const char *cg = typed(NULL, "a", "1", NULL);
	struct worker *alone[2], *others[3];
	char line[32];
	int i;

	w_twins(others, cg, N, TAG);
	others[2] = w_dup(cg, N, TAG, 1);
	w_madv(others[2], 0, MADV_MERGEABLE);
	mark(others[2]);
	w_twins(alone, cg, N, TAG);
	for (i = 0; i < 2; i++)
		mark(alone[i]);
	ksm_settle();
	are_merged(alone, 2, false, "without the word");
	are_merged(others, 3, true, "without the word");

	snprintf(line, sizeof(line), "+%s", word);
	cg_set(cg, TYPES, line);
	ksm_settle();
	are_merged(alone, 2, true, line);
	are_merged(others, 3, true, line);

	line[0] = '-';
	cg_set(cg, TYPES, line);
	are_merged(alone, 2, false, "when the word is taken away");
	are_merged(others, 3, true, "when the word is taken away");
	CHECK_EQ(cg_stat(cg, "pages_pending"), 0, "%s", line);
	ksm_settle();
	are_merged(alone, 2, false, "after full scans");
	are_merged(others, 3, true, "after full scans");
}

static void locked(void)
{
	widened(lock_all, "locked");
}

static void dontdump(void)
{
	widened(dont_dump, "dontdump");
}

static void undumpable(void)
{
	widened(not_dumpable, "undumpable");
}

/* From one cgroup to another in one domain; the scanner is stopped. */
static void between_cgroups(void)
{
	const char *p = cg_ksm(NULL, "p", "1"), *to = cg_new(p, "b");
	const char *from = typed(p, "a", NULL, "+locked");
	struct worker *w[2];
	int i;

	w_twins(w, from, N, TAG);
	for (i = 0; i < 2; i++)
		lock_all(w[i]);
	ksm_settle();
	are_merged(w, 2, true, "with locked");
	NEED_OK(cg_move(to, w[1]->pid));
	CHECK_WAIT_EQ(w_merged(w[1]), 0, "moved to where it is left alone");
	CHECK_WAIT_EQ(cg_stat(p, "pages_pending"), 0);
	are_merged(w, 1, true, "stayed");
	w_verify(w[1]);
}

/* ---- what is merged ---- */

static void zero_by_cgroup(void)
{
	const char *a = typed(NULL, "a", "1", "+zero");
	const char *b = cg_ksm(NULL, "b", "1");
	struct worker *with = w_dup(a, N, 0, 0), *without = w_dup(b, N, 0, 0);
	struct worker *w[2];

	w_twins(w, a, N, TAG);
	ksm_settle();
	CHECK_EQ(w_zeroes(with), N, "+zero");
	CHECK_EQ(w_zeroes(without), 0, "without zero");
	CHECK_EQ(w_merged(without), N, "without zero");
	are_merged(w, 2, true, "anon besides zero");

	cg_set(a, TYPES, "-zero");
	CHECK_EQ(w_zeroes(with), N, "taken away");
	w_set(with, 0, 0, N / 2, 0, 0);
	ksm_settle();
	CHECK_EQ(w_zeroes(with), N / 2, "not written to since");
	CHECK_EQ(w_merged(with), N / 2, "written to since");
	w_verify(with);
}

static void nothing_known(const char *cg, const char *when)
{
	CHECK_EQ(cg_stat(cg, "pages_unshared"), 0, "%s", when);
	CHECK_EQ(cg_stat(cg, "pages_volatile"), 0, "%s", when);
}

static void zero_alone(void)
{
	const char *cg = typed(NULL, "a", "1", "-anon +zero");
	struct worker *w[2];
	long long metadata;
	int i;

	w_twins(w, cg, N, TAG);
	for (i = 0; i < 2; i++) {
		w_set(w[i], 0, 0, N / 2, 0, 0);
		/* a byte that samples hardly see */
		w_poke(w[i], 0, 3, 4095, 1);
	}
	metadata = cg_stat(cg, "ksm_metadata_bytes");
	ksm_settle();
	for (i = 0; i < 2; i++) {
		CHECK_EQ(w_zeroes(w[i]), N / 2 - 1, "zero alone");
		CHECK_EQ(w_all_ksm(w[i]), 0, "equal pages");
		CHECK_EQ(w_frame(w[i], 0, 3).flags & F_ZERO, 0, "not zero");
		CHECK_EQ(w_stat(w[i], "ksm_rmap_items"), 0);
		w_verify(w[i]);
	}
	CHECK_EQ(cg_stat(cg, "ksm_metadata_bytes"), metadata);
	nothing_known(cg, "zero alone");
	CHECK_GE(cg_stat(cg, "pages_saved"), N - 2);
	w_poke(w[0], 0, 0, 0, 7);
	w_verify(w[0]);

	cg_set(cg, TYPES, "-zero");
	w_set(w[1], 0, 0, 2, 0, 0);
	ksm_settle();
	CHECK_EQ(w_zeroes(w[1]), N / 2 - 3, "no word at all");
	ksm_set("use_zero_pages", 1);
	ksm_settle();
	CHECK_EQ(w_zeroes(w[1]), N / 2 - 1, "zero for everybody");
	CHECK_EQ(w_all_ksm(w[1]), 0, "zero for everybody");
	nothing_known(cg, "zero for everybody");
	w_verify(w[1]);
}

/* One visit after a write to the first page. */
static long visit_in_use(const char *cg, struct worker *w)
{
	w_dirty(w, 0);
	cg_scan(cg, "max");
	CHECK_EQ(w_frame(w, 0, 0).flags & F_ZERO, 0, "in use");
	return w_zeroes(w);
}

/* One write to memory.ksm.scan is one visit; ksmd sleeps. */
static void zero_in_use(void)
{
	const char *cg = typed(NULL, "a", "1", "-anon +zero");
	struct worker *w = w_dup(cg, N, 0, 0);

	ksmd_idle();
	/* ksmd may have been here just now */
	w_set(w, 0, 0, N, 0, 0);
	CHECK_EQ(visit_in_use(cg, w), 0, "first seen");
	/* pages on their way to the LRU can be merged a little later */
	CHECK_WAIT_EQ(visit_in_use(cg, w), N - 1, "one in use");
	CHECK_WAIT_EQ((cg_scan(cg, "max"), w_zeroes(w)), N, "at rest");
	w_verify(w);
}

static void zero_huge(void)
{
	const char *cg = typed(NULL, "a", "1", "-anon +zero");
	struct worker *w;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		ksm_skip("no transparent huge pages");
	w = w_new(cg);
	w_map(w, 512, MAP_HUGE);
	w_set(w, 0, 0, 512, TAG, 1);
	w_set(w, 0, 64, 100, 0, 0);
	if (w_count(w, 0, F_HUGE) != 512)
		ksm_skip("no huge page");
	ksm_settle();
	CHECK_EQ(w_zeroes(w), 100);
	CHECK_EQ(w_count(w, 0, F_HUGE), 0);
	nothing_known(cg, "a huge page");
	w_verify(w);
}

/* What was merged stays, and reclaim reaches it though nothing is known. */
static void anon_taken_away(void)
{
	const char *cg = typed(NULL, "a", "1", NULL);
	struct worker *w[2], *late;

	w_twins(w, cg, N, TAG);
	ksm_settle();
	cg_set(cg, TYPES, "-anon +zero");
	are_merged(w, 2, true, "taken away");
	late = w_dup(cg, N, TAG, 1);
	ksm_settle();
	are_merged(w, 2, true, "taken away, after full scans");
	CHECK_EQ(w_merged(late), 0, "after anon was taken away");
	nothing_known(cg, "anon taken away");
	if (swap_on()) {
		NEED(swap_out(cg, w, 2), "pages are not swapped out");
		w_verify(w[0]);
		w_verify(w[1]);
		w_verify(late);
	}
	cg_set(cg, TYPES, "+anon");
	ksm_settle();
	CHECK_EQ(w_merged(late), N, "anon again");
	CHECK_EQ(w_same(w[0], late, 0), N, "anon again");
	w_poke(late, 0, 1, 1, 1);
	are_merged(w, 2, true, "anon again");
	w_verify(late);
}

/* Pages that wait for a twin are not merged by the scan of a sibling. */
static void anon_below(void)
{
	const char *p = typed(NULL, "p", "1", NULL);
	const char *c = cg_new(p, "c"), *d = cg_new(p, "d");
	struct worker *in = w_dup(c, N, TAG, 1), *out;

	ksm_settle();
	CHECK_GE(cg_stat(c, "pages_unshared"), N, "unique so far");
	ksmd_idle();
	cg_set(c, TYPES, "-anon");
	out = w_dup(d, N, TAG, 1);
	/* c is not visited, so its pages are known as before */
	CHECK_WAIT_GE((cg_scan(d, "max"), cg_stat(d, "pages_unshared")), N);
	CHECK_EQ(w_merged(in) + w_merged(out), 0, "by a scan of d");
	ksm_knobs_during();
	ksm_settle();
	CHECK_EQ(w_merged(in) + w_merged(out), 0, "no anon below");
	cg_set(c, TYPES, "inherit");
	ksm_settle();
	CHECK_EQ(w_same(in, out, 0), N, "anon below");
	w_verify(in);
	w_verify(out);
}

static const struct ksm_case cases[] = {
	{ "words are edited and read back", words },
	{ "other values are EINVAL and change nothing", refused },
	{ "a cgroup without a list has its parent's", hierarchy },
	{ "only a granted write may add a word", not_granted },
	{ "a granted word stays until it is taken away", granted_stays },
	{ "the opener's credentials decide", opener_decides },
	{ "locked: mlocked ranges", locked },
	{ "dontdump: MADV_DONTDUMP ranges", dontdump },
	{ "undumpable: processes that are not dumpable", undumpable },
	{ "a process moves to where its memory is left alone", between_cgroups },
	{ "zero: the zero page, for one cgroup", zero_by_cgroup },
	{ "zero alone remembers nothing", zero_alone },
	{ "zero alone: pages in use are left alone", zero_in_use },
	{ "zero alone: huge pages", zero_huge },
	{ "anon taken away unshares nothing", anon_taken_away },
	{ "anon taken away below", anon_below },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
