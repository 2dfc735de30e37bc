// SPDX-License-Identifier: GPL-2.0
/*
 * Merge domains with a name: memory.ksm.domain takes @NAME.
 *
 * - cgroups of one name share frames wherever they are in the hierarchy, and
 *   with no other; what inherits below them follows
 * - a name has no effect without a value of memory.ksm that counts, and only a
 *   granted write sets one; leaving a domain needs no grant
 * - another name unshares the cgroup's pages alone, before the write returns
 * - processes keep what is merged when they move between cgroups of one name
 * - a domain goes with the last cgroup of its name
 *
 * As with kubelet, pods are below three slices. Frames are compared by number.
 *
 * vm: timeout=600
 */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ksmlib.h"

#define N	64
#define USER	1000
#define NAMES	300
#define TAG	9000

enum { GUARANTEED, BURSTABLE, BESTEFFORT, SLICES };

static const char *slice[SLICES];
static struct worker *w[4];

static void slices(void)
{
	slice[GUARANTEED] = cg_ksm(NULL, "kubepods", NULL);
	slice[BURSTABLE] = cg_new(slice[GUARANTEED], "burstable");
	slice[BESTEFFORT] = cg_new(slice[GUARANTEED], "besteffort");
}

/* The name comes first, so that nothing is merged in another domain before. */
static const char *pod(const char *in, const char *name, const char *domain,
		       const char *value)
{
	const char *cg = cg_ksm(in, name, NULL);

	cg_set(cg, "memory.ksm.domain", domain);
	CHECK_STR(cg_get(cg, "memory.ksm.domain"), domain);
	if (value)
		cg_set(cg, "memory.ksm", value);
	return cg;
}

/* A pod in each slice, with a process of equal pages. */
static void three_pods(const char **cg, const char *domain, const char *value)
{
	int i;

	slices();
	for (i = 0; i < SLICES; i++) {
		cg[i] = pod(slice[i], (char[]){ 'a' + i, '\0' }, domain, value);
		w[i] = w_dup(cg[i], N, TAG, 1);
		if (!strcmp(value, "madvise"))
			w_madv(w[i], 0, MADV_MERGEABLE);
	}
}

static void apart(struct worker *a, struct worker *b, const char *what)
{
	CHECK_EQ(w_common_ksm(a, b), 0, "%s", what);
}

/* A frame is not mapped while its charge moves from one cgroup to another. */
static void together(struct worker *a, struct worker *b, const char *what)
{
	CHECK_WAIT_EQ(w_same(a, b, 0), N, "%s", what);
	CHECK_WAIT_EQ(w_merged(a), N, "%s", what);
}

/* No foreign mapping is left, and the scanner had no part in it. */
static void settled(const char *cg, const char *what)
{
	CHECK_WAIT_EQ(cg_stat(cg, "pages_foreign"), 0, "%s", what);
	CHECK_WAIT_EQ(cg_stat(cg, "pages_pending"), 0, "%s", what);
}

static void all_verify(int nr)
{
	while (nr--)
		w_verify(w[nr]);
}

static void shared_by_name(void)
{
	struct worker *out[5];
	const char *cg[SLICES];
	int i, j;

	three_pods(cg, "@shop", "1");
	out[0] = w_dup(pod(slice[BURSTABLE], "o", "@shop2", "1"), N, TAG, 1);
	out[1] = w_dup(pod(slice[BURSTABLE], "s", "self", "1"), N, TAG, 1);
	out[2] = w_dup(pod(NULL, "c", "@Shop", "1"), N, TAG, 1);
	/* the root domain: a cgroup between the pods, and one that joins */
	out[3] = w_asker(cg_new(slice[BURSTABLE], "plain"), N, TAG, 1);
	out[4] = w_dup(pod(slice[BURSTABLE], "p", "parent", "1"), N, TAG, 1);
	w[3] = w_dup(pod(NULL, "d", "@shop", "1"), N, TAG, 1);
	ksm_settle();
	for (i = 1; i < 4; i++)
		together(w[0], w[i], "one name");
	together(out[3], out[4], "the root domain");
	for (i = 0; i < 5; i++) {
		for (j = 0; j < 4; j++)
			apart(out[i], w[j], "another domain");
		for (j = 0; j < i && i < 4; j++)
			apart(out[i], out[j], "two other domains");
		w_verify(out[i]);
	}
	w_poke(w[1], 0, 5, 5, 5);
	CHECK_WAIT_EQ(w_same(w[0], w[1], 0), N - 1, "one wrote");
	CHECK_WAIT_EQ(w_same(w[0], w[2], 0), N, "the others did not");
	all_verify(4);
}

/* memory.ksm is madvise, so that every figure is known exactly. */
static void books(void)
{
	static const char * const keys[] = {
		"ksm_merging_pages", "pages_shared", "pages_sharing",
		"pages_saved", "pages_merged", "ksm_metadata_bytes",
	};
	const char *cg[SLICES], *up;
	long long sum;
	size_t i;
	int j;

	three_pods(cg, "@shop", "madvise");
	ksm_settle();
	up = slice[GUARANTEED];
	for (j = 0; j < SLICES; j++)
		CHECK_EQ(cg_stat(cg[j], "ksm_merging_pages"), N, "pod %d", j);
	CHECK_WAIT_EQ(cg_stat(up, "pages_shared"), N);
	CHECK_EQ(cg_stat(up, "pages_sharing"), 2 * N);
	CHECK_EQ(cg_stat(up, "pages_saved"), 2 * N);
	CHECK_EQ(cg_stat(CGROOT, "pages_saved"), ksm_get("pages_saved"));
	CHECK_EQ(cg_stat(up, "pages_foreign"), 0);
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		for (sum = 0, j = 0; j < SLICES; j++)
			sum += cg_stat(cg[j], keys[i]);
		CHECK_EQ(cg_stat(up, keys[i]), sum, "%s", keys[i]);
	}
	for (j = 0; j < SLICES; j++)
		w_exit(w[j]);
	CHECK_WAIT_EQ(cg_stat(up, "pages_shared"), 0);
	CHECK_WAIT_EQ(cg_stat(up, "ksm_metadata_bytes"), 0);
}

static void subtree_follows(void)
{
	const char *top, *far;
	struct worker *in;

	slices();
	top = pod(slice[BURSTABLE], "a", "@shop", "1");
	far = pod(slice[BESTEFFORT], "b", "@shop", "1");
	in = w_dup(cg_new(cg_new(top, "i"), "j"), N, TAG, 1);
	w[0] = w_dup(far, N, TAG, 1);
	w[1] = w_dup(pod(top, "p", "parent", "1"), N, TAG, 1);
	w[2] = w_dup(pod(top, "s", "self", "1"), N, TAG, 1);
	w[3] = w_dup(pod(top, "o", "@other", "1"), N, TAG, 1);
	ksm_settle();
	together(in, w[0], "a container inherits");
	together(w[1], w[0], "domain=parent below a name");
	apart(w[2], w[0], "domain=self below a name");
	apart(w[3], w[0], "another name below");
	apart(w[3], w[2], "another name below");
	/* the pod leaves with what follows it, and with nothing else */
	cg_set(top, "memory.ksm.domain", "self");
	apart(in, w[0], "the pod has left");
	apart(w[1], w[0], "the pod has left");
	settled(top, "the pod has left");
	ksm_settle();
	together(in, w[1], "the pod alone");
	apart(in, w[0], "the pod alone");
	w_verify(in);
	all_verify(4);
}

static void no_effect(void)
{
	const char *cg[2], *up;

	slices();
	up = cg_ksm(slice[BURSTABLE], "up", "1");
	cg[0] = pod(up, "a", "@shop", NULL);
	cg[1] = pod(slice[BESTEFFORT], "b", "@shop", "1");
	w[0] = w_dup(cg[0], N, TAG, 1);
	w[1] = w_dup(cg_new(up, "x"), N, TAG, 1);
	w[2] = w_dup(cg[1], N, TAG, 1);
	ksm_settle();
	together(w[0], w[1], "inherit: the domain above");
	apart(w[0], w[2], "inherit");
	cg_set(cg[0], "memory.ksm", "1");
	apart(w[0], w[1], "1: it has left the domain above");
	ksm_settle();
	together(w[0], w[2], "1");
	cg_set(cg[0], "memory.ksm", "0");
	CHECK_EQ(w_all_ksm(w[0]), 0, "0");
	CHECK_STR(cg_get(cg[0], "memory.ksm.domain"), "@shop", "0");
	cg_set(cg[0], "memory.ksm", "inherit");
	ksm_settle();
	together(w[0], w[1], "inherit again");
	apart(w[0], w[2], "inherit again");
	all_verify(3);
}

static long put_as(struct worker *by, const char *cg, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/memory.ksm.domain", cg);
	return w_put(by, path, value);
}

static void tenant(void)
{
	struct worker *user = w_new(NULL), *root = w_new(NULL);
	const char *cg, *far;
	char path[256];

	slices();
	cg = pod(slice[BURSTABLE], "a", "@shop", "1");
	far = pod(slice[BESTEFFORT], "b", "@shop", "1");
	w[0] = w_dup(cg, N, TAG, 1);
	w[1] = w_dup(far, N, TAG, 1);
	ksm_settle();
	together(w[0], w[1], "root's name");
	snprintf(path, sizeof(path), "%s/memory.ksm.domain", cg);
	NEED(!chown(path, USER, USER), "chown: %s", strerror(errno));
	w_setuid(user, USER);
	w_dropcap(root, CAP_SYS_ADMIN);

	CHECK_EQ(put_as(user, cg, "@shop2"), -EPERM);
	CHECK_EQ(put_as(user, cg, "@shop"), -EPERM, "the name that is there");
	CHECK_EQ(put_as(user, cg, "@"), -EINVAL);
	CHECK_EQ(put_as(user, cg, "@a b"), -EINVAL);
	CHECK_EQ(put_as(root, cg, "@shop2"), -EPERM, "no CAP_SYS_ADMIN");
	CHECK_STR(cg_get(cg, "memory.ksm.domain"), "@shop", "refused");
	together(w[0], w[1], "refused");

	CHECK_OK(put_as(user, cg, "self"));
	CHECK_STR(cg_get(cg, "memory.ksm.domain"), "self");
	apart(w[0], w[1], "a user left");
	settled(cg, "a user left");
	CHECK_EQ(put_as(user, cg, "@shop"), -EPERM, "no way back");
	ksm_settle();
	apart(w[0], w[1], "a user left, scanned");
	all_verify(2);
}

static void name_changes(void)
{
	static const char * const names[] = { "@y", "@x", "self", "@x" };
	const char *cg[SLICES];
	int i, round;

	three_pods(cg, "@x", "1");
	w[3] = w_dup(cg[0], N, TAG, 1);
	ksm_settle();
	together(w[0], w[1], "@x");
	cg_set(cg[0], "memory.ksm.domain", "@x");
	together(w[0], w[1], "the same name");

	cg_set(cg[0], "memory.ksm.domain", "@y");
	for (i = 1; i < 3; i++) {
		apart(w[0], w[i], "when the write has returned");
		apart(w[3], w[i], "when the write has returned");
	}
	settled(cg[0], "@y");
	together(w[1], w[2], "those that stayed");
	ksm_settle();
	together(w[0], w[3], "@y");
	apart(w[0], w[1], "@y, scanned");
	cg_set(cg[1], "memory.ksm.domain", "@y");
	apart(w[1], w[2], "the second one came");
	ksm_settle();
	together(w[0], w[1], "both are @y");
	apart(w[2], w[0], "left alone");

	/* and with the scanner running */
	for (round = 0; round < 12; round++) {
		cg_set(cg[1], "memory.ksm.domain", "@x");
		ksm_pass(round % 3 + 1);
		cg_set(cg[1], "memory.ksm.domain", names[round % 4]);
		for (i = 0; i < 3; i += 2)
			if (strcmp(names[round % 4], i ? "@x" : "@y"))
				apart(w[1], w[i], "renamed while scanned");
	}
	ksm_stop();
	all_verify(4);
}

static void moves_within(void)
{
	const char *cg[SLICES], *out;
	int i;

	three_pods(cg, "@x", "madvise");
	out = pod(slice[BESTEFFORT], "o", "@y", "madvise");
	ksm_settle();
	together(w[0], w[1], "at first");
	NEED_OK(cg_move(cg[1], w[0]->pid));
	CHECK_WAIT_EQ(cg_stat(cg[1], "ksm_merging_pages"), 2 * N, "arrived");
	w[3] = w_spawn(w[0], SPAWN_FORK, cg[2]);
	CHECK_WAIT_EQ(cg_stat(cg[2], "ksm_merging_pages"), 2 * N, "forked");
	for (i = 0; i < SLICES; i++) {
		settled(cg[i], "within the name");
		CHECK_EQ(cg_stat(cg[i], "pages_unmerged"), 0, "pod %d", i);
	}
	together(w[0], w[2], "moved within the name");
	together(w[3], w[2], "forked within the name");
	/* a frame is paid for where it is mapped */
	CHECK_WAIT_EQ(cg_stat(cg[0], "pages_shared"), 0, "nothing is left");
	CHECK_WAIT_EQ(cg_stat(cg[1], "pages_shared") +
		      cg_stat(cg[2], "pages_shared"), N);
	NEED_OK(cg_move(out, w[0]->pid));
	settled(out, "moved to another name");
	CHECK_WAIT_EQ(w_common_ksm(w[0], w[1]), 0, "moved to another name");
	together(w[1], w[2], "those that stayed");
	all_verify(4);
}

static void cgroup_goes(void)
{
	const char *cg[SLICES], *again;

	three_pods(cg, "@x", "1");
	ksm_settle();
	together(w[0], w[1], "at first");
	w_exit(w[0]);
	NEED_WAIT_OK(cg_rmdir(cg[0]));
	together(w[1], w[2], "one cgroup was removed");
	CHECK_WAIT_EQ(cg_stat(cg[1], "pages_shared") +
		      cg_stat(cg[2], "pages_shared"),
		      cg_stat(slice[GUARANTEED], "pages_shared"));
	again = pod(slice[GUARANTEED], "a", "@x", "1");
	w[0] = w_dup(again, N, TAG, 1);
	ksm_settle();
	together(w[0], w[2], "a new one came");

	/* without the controller, its processes are in the cgroup above */
	cg_set(slice[BURSTABLE], "cgroup.subtree_control", "-memory");
	CHECK_WAIT_EQ(w_common_ksm(w[1], w[2]), 0, "no controller");
	together(w[0], w[2], "the others");
	cg_set(slice[BURSTABLE], "cgroup.subtree_control", "+memory");
	CHECK_STR(cg_get(cg[1], "memory.ksm.domain"), "self", "reset");
	CHECK_STR(cg_get(cg[1], "memory.ksm"), "inherit", "reset");
	all_verify(3);
}

static const char *says[4];

static bool differ(int i, int j)
{
	return i != j && (strcmp(says[i], says[j]) || !strcmp(says[i], "self"));
}

/* Whatever comes first, no frame crosses domains. */
static void storm(void)
{
	static const char * const values[] = { "self", "parent", "@x", "@y" };
	enum { PODS = ARRAY_SIZE(values), PROCS = 8 };
	long step, steps = ksm_steps ? ksm_steps : 240;
	int home[PROCS], i, j;
	struct worker *m[PROCS];
	const char *cg[PODS];

	slices();
	for (i = 0; i < PODS; i++) {
		says[i] = "@x";
		cg[i] = pod(slice[i % SLICES], (char[]){ 'a' + i, '\0' },
			    says[i], "1");
	}
	for (i = 0; i < PROCS; i++) {
		home[i] = i % PODS;
		m[i] = w_dup(cg[home[i]], N, TAG, 1);
	}
	ksm_pass(1);
	for (step = 0; step < steps; step++) {
		i = ksm_random() % PROCS;
		j = ksm_random() % PODS;
		switch (ksm_random() % 6) {
		case 0:
			NEED_OK(cg_move(cg[j], m[i]->pid));
			home[i] = j;
			break;
		case 1:
			says[j] = values[ksm_random() % PODS];
			cg_set(cg[j], "memory.ksm.domain", says[j]);
			break;
		default:
			w_set(m[i], 0, ksm_random() % (N - 8), 8,
			      TAG + ksm_random() % 16, 1);
		}
		if (step % 80 != 79)
			continue;
		ksm_stop();
		for (j = 0; j < PODS; j++)
			settled(cg[j], "at rest");
		for (i = 0; i < PROCS * PROCS; i++)
			if (differ(home[i / PROCS], home[i % PROCS]))
				apart(m[i / PROCS], m[i % PROCS], "at rest");
		ksm_pass(1);
	}
	ksm_stop();
	for (i = 0; i < PROCS; i++) {
		w_verify(m[i]);
		w_exit(m[i]);
	}
	CHECK_WAIT_EQ(cg_stat(slice[GUARANTEED], "ksm_metadata_bytes"), 0);
	CHECK_WAIT_EQ(cg_stat(slice[GUARANTEED], "ksm_merging_pages"), 0);
}

static void name_all(struct worker *by, const char **cg, bool named)
{
	char name[80] = "self";
	int i;

	for (i = 0; i < NAMES; i++) {
		if (named)
			snprintf(name, sizeof(name), "@%055d", i);
		NEED_OK(put_as(by, cg[i], name), "%d", i);
		CHECK_STR(cg_get(cg[i], "memory.ksm.domain"), name);
	}
}

/* The writer's cgroup is charged: some 300 bytes a domain at least. */
static void many_names(void)
{
	const char *writers = cg_ksm(NULL, "w", NULL), *cg[NAMES];
	struct worker *by = w_new(writers);
	long long before;
	char name[16];
	int i, round;

	slices();
	for (i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "%d", i);
		cg[i] = cg_new(slice[i % SLICES], name);
		/* the file's inode stays charged to who looks first */
		cg_get(cg[i], "memory.ksm.domain");
	}
	w[0] = w_dup(cg[NAMES / 2], N, TAG, 1);
	w[1] = w_dup(cg[NAMES - 1], N, TAG, 1);
	NEED_OK(put_as(by, cg[0], "self"));
	before = cg_memory_stat(writers, "kernel");
	for (round = 0; round < 2; round++) {
		name_all(by, cg, true);
		CHECK_GE(cg_memory_stat(writers, "kernel") - before,
			 NAMES * 256LL);
		cg_set(cg[NAMES / 2], "memory.ksm", "1");
		cg_set(cg[NAMES - 1], "memory.ksm", "1");
		ksm_settle();
		apart(w[0], w[1], "two of many names");
		cg_set(cg[NAMES - 1], "memory.ksm.domain",
		       cg_get(cg[NAMES / 2], "memory.ksm.domain"));
		ksm_settle();
		together(w[0], w[1], "one of many names");
		cg_set(cg[NAMES / 2], "memory.ksm", "inherit");
		cg_set(cg[NAMES - 1], "memory.ksm", "inherit");
		name_all(by, cg, false);
		CHECK_WAIT_LE(cg_memory_stat(writers, "kernel") - before,
			      NAMES * 64LL, "no file says a name");
	}
	all_verify(2);
	name_all(by, cg, true);
	w_exit(w[0]);
	w_exit(w[1]);
	for (i = 0; i < NAMES; i++)
		NEED_WAIT_OK(cg_rmdir(cg[i]));
	CHECK_WAIT_LE(cg_memory_stat(writers, "kernel") - before,
		      NAMES * 64LL, "no cgroup has a name");
}

static const struct ksm_case cases[] = {
	{ "cgroups of one name share, wherever they are", shared_by_name },
	{ "the books of a name add up", books },
	{ "what is below a name follows", subtree_follows },
	{ "a name has no effect without a value of its own", no_effect },
	{ "a tenant's name is EPERM, its self is not", tenant },
	{ "another name unshares before the write returns", name_changes },
	{ "moves within a name unshare nothing", moves_within },
	{ "one cgroup of a name is removed, one is reset", cgroup_goes },
	{ "random names, moves and writes over four cgroups", storm },
	{ "many names, and nothing is left of them", many_names },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
