// SPDX-License-Identifier: GPL-2.0
/*
 * Who is charged for records that no process owns.
 *
 * A process that exits leaves a record behind for each merged page that a child
 * by fork still maps, until the scanner has met the child.
 *
 * - the cgroup of the process is charged for them, as kernel memory
 * - the charge ends with them
 * - if the cgroup is removed, its parent is charged, and nothing keeps it
 *
 * vm: timeout=300
 */
#include "ksmlib.h"

#define N		16384
#define FRAMES		128
#define TAG		1000
/* Bytes of a record, without its place in the array by address. */
#define REC_BYTES	48LL
#define ORPHANS		(N * REC_BYTES)

static const char *up, *a;
static struct worker *kid;

/* What a cgroup is charged for as kernel memory, but for owned metadata. */
static long long kernel_of(const char *cg)
{
	long long bytes;

	/* which flushes the statistics of each CPU */
	cg_key(cg, "cpu.stat", "usage_usec");
	bytes = cg_key(cg, "memory.stat", "kernel");
	return bytes - cg_stat(cg, "ksm_metadata_bytes");
}

/*
 * A process has N merged pages, of few frames, and leaves its records to a
 * child in @to, or in its own cgroup. Returns kernel_of() without the records.
 */
static long long orphaned(const char *of, const char *to)
{
	struct worker *w = w_new(a);
	long long before;
	long i;

	w_map(w, N, MAP_PLAIN);
	for (i = 0; i < N; i += FRAMES)
		w_set(w, 0, i, FRAMES, TAG, 1);
	NEED_WAIT_EQ(cg_stat(a, "processes"), 1);
	before = kernel_of(of);
	ksm_settle();
	NEED_EQ(w_merged(w), N);
	NEED_GE(cg_stat(a, "ksm_metadata_bytes"), ORPHANS);
	kid = w_spawn(w, SPAWN_FORK, to);
	w_exit(w);
	CHECK_WAIT_LE(cg_stat(up, "ksm_metadata_bytes"), ORPHANS / 8,
		      "the process has exited");
	/* not while a frame is handed on */
	CHECK_WAIT_EQ(w_merged(kid), N);
	return before;
}

static void family(void)
{
	up = cg_ksm(NULL, "up", "1");
	cg_need(up, "memory.stat");
	a = cg_new(up, "a");
}

/* The child takes the place of its parent in all else that is charged. */
static void charged(void)
{
	long long before;

	family();
	before = orphaned(a, NULL);
	CHECK_WAIT_GE(kernel_of(a), before + ORPHANS * 3 / 4, "orphans");
	CHECK_LE(kernel_of(a), before + ORPHANS * 5 / 4, "orphans");

	/* the child gets records of its own */
	ksm_settle();
	CHECK_GE(cg_stat(a, "ksm_metadata_bytes"), ORPHANS);
	CHECK_WAIT_LE(kernel_of(a), before + ORPHANS / 4, "no orphans");
	w_verify(kid);
	w_exit(kid);
	CHECK_WAIT_EQ(cg_stat(a, "ksm_metadata_bytes"), 0);
	NEED_WAIT_OK(cg_rmdir(a));
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

static void cgroup_removed(void)
{
	long long before, empty;
	const char *b;

	family();
	b = cg_new(up, "b");
	empty = kernel_of(up);
	before = orphaned(up, b);
	CHECK_WAIT_GE(kernel_of(up), before + ORPHANS * 3 / 4, "orphans");
	CHECK_LE(kernel_of(b), ORPHANS / 2, "where the child is");
	NEED_WAIT_OK(cg_rmdir(a));
	CHECK_GE(kernel_of(up), before + ORPHANS * 3 / 4, "removed");
	CHECK_LE(kernel_of(b), ORPHANS / 2, "removed");
	w_verify(kid);
	/* the orphans go with their frames */
	w_exit(kid);
	CHECK_WAIT_EQ(cg_stat(up, "ksm_metadata_bytes"), 0);
	CHECK_WAIT_LE(kernel_of(up), empty + ORPHANS / 8, "all gone");
	CHECK_WAIT_EQ(cg_dying(up), 0);
}

static const struct ksm_case cases[] = {
	{ "a cgroup is charged for what its processes leave", charged },
	{ "the parent of a removed cgroup is charged", cgroup_removed },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
