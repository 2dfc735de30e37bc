// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing merges that no administrator asked for.
 *
 * - a 1 or madvise from a user counts only below a cgroup in which 1 is the
 *   last word of an administrator; until then it reads back and has no effect
 * - a user can narrow, split up and end what an administrator switched on
 * - each value below each other one comes to what the engine's code says
 * - the credentials at open decide, and the last write
 * - a program that gains privilege by exec is not merged because its caller
 *   asked for that
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksmlib.h"
#include "ksmpairs.h"

#define N	48
#define USER	1000
#define TAG	1000

/* A cgroup whose memory.ksm the user may write; root's are not of that kind. */
static const char *users(const char *parent, const char *name)
{
	const char *cg = cg_ksm(parent, name, NULL);
	char path[256];

	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED(!chown(path, USER, USER), "chown: %s", strerror(errno));
	return cg;
}

static void user_sets(const char *cg, const char *value)
{
	struct worker *user = w_new(NULL);
	char path[256];

	w_setuid(user, USER);
	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED_OK(w_put(user, path, value), "%s", value);
	w_exit(user);
	CHECK_STR(cg_get(cg, "memory.ksm"), value);
}

static void holds(const char *cg, const char *value, const char *what)
{
	CHECK_STR(cg_get(cg, "memory.ksm.effective"), value, "%s", what);
}

/* Two processes with equal pages: are they merged after full scans? */
static void twins(struct worker **w, bool merged, const char *what)
{
	int i;

	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), merged ? N : 0, "%s", what);
	for (i = 0; i < 2; i++) {
		CHECK_EQ(w_merged(w[i]), merged ? N : 0, "%s", what);
		w_verify(w[i]);
	}
}

static void nothing_granted(void)
{
	const char *cg = users(NULL, "a");
	const char *below = users(cg, "b");
	struct worker *w[2];

	w_twins(w, below, N, TAG);
	user_sets(cg, "1");
	holds(cg, "madvise", "a user's 1");
	user_sets(below, "1");
	holds(below, "madvise", "a user's 1 below a user's 1");
	CHECK_EQ(cg_stat(cg, "processes"), 0);
	twins(w, false, "a user's 1");
	user_sets(below, "0");
	holds(below, "0", "a user's 0");
	user_sets(below, "inherit");
	holds(below, "madvise", "a user's inherit");
}

static void no_domain(void)
{
	const char *cg[2] = { users(NULL, "a"), users(NULL, "b") };
	struct worker *w[2];
	int i;

	for (i = 0; i < 2; i++) {
		user_sets(cg[i], "madvise");
		w[i] = w_asker(cg[i], N, TAG, 1);
	}
	ksm_pass_as(1, 1, 3);
	ksm_stop();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "a user's madvise");
}

static void below_a_grant(void)
{
	const char *top = cg_ksm(NULL, "a", "1");
	const char *cg = users(top, "b");
	struct worker *in[2], *out;

	w_twins(in, cg, N, TAG);
	out = w_dup(cg_ksm(top, "c", NULL), N, TAG, 1);
	twins(in, true, "inherit");
	CHECK_EQ(w_same(in[0], out, 0), N, "inherit");

	user_sets(cg, "1");
	holds(cg, "1", "a user's 1");
	twins(in, true, "1");
	CHECK_EQ(w_same(in[0], out, 0), 0, "split off");

	user_sets(cg, "madvise");
	holds(cg, "madvise", "a user's madvise");
	twins(in, false, "madvise");

	user_sets(cg, "0");
	holds(cg, "0", "a user's 0");
	twins(in, false, "0");

	user_sets(cg, "inherit");
	holds(cg, "1", "a user's inherit");
	twins(in, true, "inherit again");
	CHECK_EQ(w_same(in[0], out, 0), N, "inherit again");
}

struct pair {
	const char *cg;
	struct worker *above, *in[2];
};

static const char *says(const char *parent, int nr, const struct said *said)
{
	const char *cg = users(parent, (char[]){ 'a' + nr, '\0' });

	if (said->granted)
		cg_set(cg, "memory.ksm", said->value);
	else
		user_sets(cg, said->value);
	return cg;
}

/*
 * All three have the same contents, which no other pair has, and ask. A cgroup
 * with children has no processes, so @beside, which inherits, has the one that
 * is in the domain above.
 */
static void pair_begin(struct pair *pair, const char *above,
		       const char *beside, int own, u64 tag)
{
	int i;

	pair->cg = says(above, own, &said_own[own]);
	pair->above = w_asker(beside, N, tag, 1);
	for (i = 0; i < 2; i++)
		pair->in[i] = w_asker(pair->cg, N, tag, 1);
}

static void pair_check(struct pair *pair, const char *holds_there)
{
	bool own = !strncmp(holds_there, "own ", 4);
	const char *value = holds_there + (own ? 4 : 0);
	bool merges = strcmp(value, "0");

	holds(pair->cg, value, pair->cg);
	CHECK_EQ(w_same(pair->in[0], pair->in[1], 0), merges ? N : 0, "%s: %s",
		 pair->cg, holds_there);
	CHECK_EQ(w_same(pair->in[0], pair->above, 0), merges && !own ? N : 0,
		 "%s: %s", pair->cg, holds_there);
}

static void every_pair(void)
{
	enum { ABOVE = ARRAY_SIZE(said_above), OWN = ARRAY_SIZE(said_own) };
	const char *top = cg_ksm(NULL, "top", "1"), *above, *beside;
	struct pair pairs[ABOVE][OWN];
	int i, k;

	for (i = 0; i < ABOVE; i++) {
		above = says(said_above[i].granted ? NULL : top, i,
			     &said_above[i]);
		beside = cg_ksm(above, "beside", NULL);
		for (k = 0; k < OWN; k++)
			pair_begin(&pairs[i][k], above, beside, k,
				   TAG * (1 + i * OWN + k));
	}
	ksm_settle();
	for (i = 0; i < ABOVE; i++)
		for (k = 0; k < OWN; k++)
			pair_check(&pairs[i][k], said_holds[i][k]);
}

static void grant_comes_and_goes(void)
{
	const char *top = cg_ksm(NULL, "a", NULL);
	const char *middle = users(top, "b"), *cg = users(middle, "c");
	struct worker *w[2];

	w_twins(w, cg, N, TAG);
	user_sets(cg, "1");
	twins(w, false, "not yet");
	cg_set(top, "memory.ksm", "1");
	holds(cg, "1", "granted above");
	twins(w, true, "granted above");

	/* the nearest word of an administrator decides */
	cg_set(middle, "memory.ksm", "madvise");
	holds(cg, "madvise", "madvise granted between");
	CHECK_EQ(w_merged(w[0]), 0, "madvise granted between");
	user_sets(middle, "madvise");
	holds(cg, "1", "a user's madvise between");
	user_sets(middle, "0");
	holds(cg, "0", "a user's 0 between");
	user_sets(middle, "inherit");
	holds(cg, "1", "inherit between");
	twins(w, true, "inherit between");

	cg_set(top, "memory.ksm", "inherit");
	CHECK_STR(cg_get(cg, "memory.ksm"), "1");
	holds(cg, "madvise", "no longer granted");
	CHECK_EQ(w_all_ksm(w[0]) + w_all_ksm(w[1]), 0, "no longer granted");
	twins(w, false, "no longer granted");
}

static void rewrite_drops_grant(void)
{
	const char *cg = users(NULL, "a");
	struct worker *w[2];

	w_twins(w, cg, N, TAG);
	cg_set(cg, "memory.ksm", "1");
	twins(w, true, "granted");
	user_sets(cg, "1");
	holds(cg, "madvise", "written over");
	CHECK_EQ(w_all_ksm(w[0]) + w_all_ksm(w[1]), 0, "written over");
	cg_set(cg, "memory.ksm", "1");
	holds(cg, "1", "granted again");
}

/* As @opener opens memory.ksm and as @writer writes 1 to it. */
static void open_and_write(const char *cg, uid_t opener, uid_t writer)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED(!seteuid(opener), "seteuid");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	NEED(!seteuid(0), "seteuid");
	NEED_GE(fd, 0, "open");
	NEED(!seteuid(writer), "seteuid");
	CHECK_EQ(write(fd, "1", 1), 1);
	NEED(!seteuid(0), "seteuid");
	close(fd);
}

static void opener_decides(void)
{
	const char *cg = users(NULL, "a");

	open_and_write(cg, USER, 0);
	holds(cg, "madvise", "opened by a user, written by root");
	open_and_write(cg, 0, USER);
	holds(cg, "1", "opened by root, written by a user");
}

static void root_without_caps(void)
{
	const char *cg = cg_ksm(NULL, "a", NULL);
	struct worker *root = w_new(NULL);
	char path[256];

	w_dropcap(root, CAP_SYS_ADMIN);
	snprintf(path, sizeof(path), "%s/memory.ksm", cg);
	NEED_OK(w_put(root, path, "1"));
	holds(cg, "madvise", "written without CAP_SYS_ADMIN");
	/* the host's own value is no exception */
	NEED_OK(w_put(root, CGROOT "/memory.ksm", "1"));
	holds(CGROOT, "madvise", "the root's, without CAP_SYS_ADMIN");
	NEED_OK(w_put(root, CGROOT "/memory.ksm", "0"));
	holds(CGROOT, "0", "the root's, without CAP_SYS_ADMIN");
	cg_set(CGROOT, "memory.ksm", "madvise");
	holds(CGROOT, "madvise", "the root's");
}

static const char *policy_of(struct worker *w)
{
	static char policy[32];
	char path[64], buf[1024], *line;
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", w->pid);
	ret = file_get(path, buf, sizeof(buf));
	NEED_GT(ret, 0, "%s", path);
	line = strstr(buf, "ksm_policy: ");
	NEED(line && sscanf(line, "ksm_policy: %31s", policy) == 1, "%s", buf);
	return policy;
}

/* This program, owned by root. */
#define COPY	"/var/tmp/ksm_cgroup_grant"

static void make_copy(mode_t mode)
{
	char buf[65536];
	int from, to;
	ssize_t len;

	from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	unlink(COPY);
	to = open(COPY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	NEED(from >= 0 && to >= 0, "open: %s", strerror(errno));
	while ((len = read(from, buf, sizeof(buf))) > 0)
		NEED_EQ(write(to, buf, len), len);
	NEED(!fchown(to, 0, 0) && !fchmod(to, mode), "chmod");
	close(from);
	close(to);
}

/*
 * A user's process that asked, or opted out, becomes a program of root's. It
 * is made dumpable, so that only what was asked for keeps it out.
 */
static void exec_of(mode_t mode)
{
	const char *cg = cg_ksm(NULL, "a", "madvise");
	struct worker *w[2];
	int i;

	make_copy(mode);
	for (i = 0; i < 2; i++) {
		w[i] = w_new(cg);
		w_setuid(w[i], USER);
		NEED_OK(w_prctl(w[i], PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
		if (i)
			NEED_OK(w_prctl(w[i], PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
		w_exec_file(w[i], COPY);
	}
	unlink(COPY);
	CHECK_EQ(w_prctl(w[0], PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 0);
	CHECK_STR(policy_of(w[0]), "default");
	CHECK_STR(policy_of(w[1]), "never");
	CHECK_EQ(cg_stat(cg, "processes"), 0);
	for (i = 0; i < 2; i++) {
		w_map(w[i], N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 1);
	}
	twins(w, false, "gained by exec");
	/* it can ask itself */
	NEED_OK(w_prctl(w[0], PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	CHECK_EQ(w_prctl(w[0], PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1);
	CHECK_EQ(cg_stat(cg, "processes"), 1);
}

static void exec_gains(void)
{
	exec_of(04755);
}

static void exec_unreadable(void)
{
	exec_of(0711);
}

/* Without more privilege, exec inherits what was asked for. */
static void exec_gains_nothing(void)
{
	const char *cg = cg_ksm(NULL, "a", "madvise");
	struct worker *w = w_new(cg);

	NEED_OK(w_prctl(w, PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	w_exec(w);
	CHECK_EQ(w_prctl(w, PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1);
	CHECK_STR(policy_of(w), "merge");
	CHECK_EQ(cg_stat(cg, "processes"), 1);
}

/* PR_GET_MEMORY_MERGE gives what was asked, not what comes of it. */
static void get_is_what_was_asked(void)
{
	const char *cg = cg_ksm(NULL, "a", "1");
	struct worker *w = w_dup(cg, N, TAG, 1);

	CHECK_EQ(w_prctl(w, PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 0, "under 1");
	CHECK_EQ(cg_stat(cg, "processes"), 1);
	NEED_OK(w_prctl(w, PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	CHECK_EQ(w_prctl(w, PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1, "asked");
	cg_set(cg, "memory.ksm", "0");
	CHECK_EQ(w_prctl(w, PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 1, "under 0");
}

static const struct ksm_case cases[] = {
	{ "a user's 1 has no effect where nothing is granted", nothing_granted },
	{ "a user's madvise makes no domain", no_domain },
	{ "below a granted 1 a user narrows, splits and ends", below_a_grant },
	{ "every value below every other one", every_pair },
	{ "a grant comes and goes", grant_comes_and_goes },
	{ "an ungranted write replaces a granted value", rewrite_drops_grant },
	{ "the opener's credentials decide, not the writer's", opener_decides },
	{ "root without CAP_SYS_ADMIN is a user", root_without_caps },
	{ "exec that gains privilege drops the request", exec_gains },
	{ "exec of what the user may not read drops it", exec_unreadable },
	{ "any other exec keeps it", exec_gains_nothing },
	{ "PR_GET_MEMORY_MERGE is what was asked", get_is_what_was_asked },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
