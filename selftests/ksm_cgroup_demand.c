// SPDX-License-Identifier: GPL-2.0
/*
 * What memory.ksm.scan merges although it may sleep: huge pages, which ksmd
 * splits for the writer, and memory with MMU notifiers.
 *
 * - two writes merge what can be merged, whatever ksmd itself scans meanwhile
 * - a write ends if ksmd does nothing for it, on a signal, when its cgroup goes
 *   and when a process exits; nothing stays behind
 * - writers, writes to the memory and exits at once: no byte is wrong
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ksmwriter.h"

#define HUGE_NR	512		/* pages of a huge page */
#define N	(4 * HUGE_NR)
#define MOST	(N * 95 / 100)

static const char *cg;

/*
 * ksmd splits for writers but scans next to nothing: each batch begins one
 * slice.
 */
static void ksmd_lazy(void)
{
	ksm_set("pages_to_scan", 1);
	ksm_set("sleep_millisecs", 1);
	ksm_start();
}

static void need_demand(const char *value)
{
	cg = cg_ksm(NULL, "a", value);
	cg_need(cg, "memory.ksm.scan");
	/* what earlier cases freed has to be huge again */
	file_put("/proc/sys/vm/compact_memory", "1");
}

/* Memory that may be huge, with the contents @tag, @tag + @step, ... */
static struct worker *thp_worker(const char *in, long pages, u64 tag, long step)
{
	struct worker *m = w_new(in);

	w_map(m, pages, MAP_HUGE);
	w_set(m, 0, 0, pages, tag, step);
	return m;
}

/* The same, all huge now; what is split stays split. */
static struct worker *huge_worker(const char *in, long pages, u64 tag,
				  long step)
{
	struct worker *m = thp_worker(in, pages, tag, step);

	if (w_count(m, 0, F_HUGE) != pages)
		ksm_skip("no huge pages");
	/* khugepaged would undo merges */
	NEED_OK(w_prctl(m, PR_SET_THP_DISABLE, 1, 0, 0, 0));
	return m;
}

static void two_writes(void)
{
	cg_scan(cg, "max");
	cg_scan(cg, "max");
}

/*
 * Two writes are enough, unless ksmd gets no CPU for so long that they give up:
 * some more are allowed for a busy machine.
 */
#define WRITE_UNTIL(cond) do {						\
	int __nr;							\
									\
	two_writes();							\
	for (__nr = 0; __nr < 3 && !(cond); __nr++)			\
		cg_scan(cg, "max");					\
} while (0)

/* Of two with the same contents, at least one has huge pages. */
static void share(struct worker *a, struct worker *b)
{
	ksmd_lazy();
	WRITE_UNTIL(w_same(a, b, 0) >= MOST);
	CHECK_GE(w_same(a, b, 0), MOST);
	ksm_stop();
	w_verify(a);
	w_verify(b);
}

static void huge_pages(void)
{
	need_demand("1");
	share(huge_worker(cg, N, 100, 1), huge_worker(cg, N, 100, 1));
}

/* Only one of the two has to be split. */
static void huge_and_small(void)
{
	need_demand("1");
	share(huge_worker(cg, N, 100, 1), w_dup(cg, N, 100, 1));
}

/* Twins within one huge page. */
static void within(void)
{
	struct worker *a;

	need_demand("1");
	a = w_new(cg);
	w_map(a, HUGE_NR, MAP_HUGE);
	w_set(a, 0, 0, HUGE_NR / 2, 100, 1);
	w_set(a, 0, HUGE_NR / 2, HUGE_NR / 2, 100, 1);
	if (w_count(a, 0, F_HUGE) != HUGE_NR)
		ksm_skip("no huge pages");
	ksmd_lazy();
	WRITE_UNTIL(w_merged(a) >= HUGE_NR * 95 / 100);
	CHECK_GE(w_merged(a), HUGE_NR * 95 / 100);
	ksm_stop();
	w_verify(a);
}

/* A huge page without twins is not split. */
static void kept(void)
{
	struct worker *a;

	need_demand("1");
	a = huge_worker(cg, N, 100, 1);
	ksmd_lazy();
	two_writes();
	CHECK_EQ(w_count(a, 0, F_HUGE), N);
	ksm_stop();
}

static void zeroes(void)
{
	struct worker *a;

	need_demand("madvise");
	a = huge_worker(cg, N, 0, 0);
	w_madv(a, 0, MADV_MERGEABLE);
	ksm_set("use_zero_pages", 1);
	ksmd_lazy();
	WRITE_UNTIL(w_zeroes(a) >= MOST);
	CHECK_GE(w_zeroes(a), MOST);
	ksm_stop();
	w_verify(a);
}

/* Zero mode: the first write finds the entries dirty. */
static void only_zeroes(void)
{
	struct worker *a;

	need_demand("1");
	cg_set(cg, "memory.ksm.types", "+zero -anon");
	a = huge_worker(cg, N, 0, 0);
	ksmd_lazy();
	WRITE_UNTIL(w_zeroes(a) >= MOST);
	CHECK_GE(w_zeroes(a), MOST);
	ksm_stop();
	w_verify(a);
}

/* More huge pages than a writer lists at a time, in one process and in many. */
static void many(void)
{
	struct worker *a, *b[8];
	long pages = 140 * HUGE_NR;
	int i;

	need_demand("1");
	a = huge_worker(cg, pages, 7, 0);
	for (i = 0; i < 8; i++)
		b[i] = huge_worker(cg, HUGE_NR, 100, 1);
	ksmd_lazy();
	WRITE_UNTIL(w_merged(a) >= pages * 95 / 100);
	CHECK_GE(w_merged(a), pages * 95 / 100);
	for (i = 1; i < 8; i++)
		CHECK_GE(w_same(b[0], b[i], 0), HUGE_NR * 95 / 100, "%d", i);
	ksm_stop();
	w_verify(a);
	for (i = 0; i < 8; i++)
		w_verify(b[i]);
}

/*
 * What is put off counts for the size, a huge page for all of its pages. ksmd
 * sleeps, so all that is scanned is the writer's: two huge pages up to the first
 * page that has a twin, and once more as a whole.
 */
static void sizes(void)
{
	struct worker *a;
	long long before;

	need_demand("1");
	a = huge_worker(cg, 16 * HUGE_NR, 7, 0);
	ksmd_idle();
	cg_scan(cg, "max");
	before = cg_stat(cg, "pages_scanned");
	cg_scan(cg, "3M");
	CHECK_GE(cg_stat(cg, "pages_scanned") - before, 2 * HUGE_NR);
	CHECK_LE(cg_stat(cg, "pages_scanned") - before, 3 * HUGE_NR);
	w_verify(a);
}

/* ---- MMU notifiers ---- */

/* The argument of the device's calls, see lib/test_hmm_uapi.h. */
struct mirror_cmd {
	__u64 addr, ptr, npages, cpages, faults;
};

#define MIRROR_TO_DEVICE _IOWR('H', 0x02, struct mirror_cmd)

static int mirror_fd;

/* The device mirrors the address space of the process that opens it. */
static long mirror(unsigned char *mem, long pages, long arg)
{
	(void)mem;
	(void)pages;
	(void)arg;
	mirror_fd = open("/dev/hmm_dmirror0", O_RDWR);
	return mirror_fd < 0 ? -errno : 0;
}

/* Have the device take over memory; -ENOENT if it does not get all of it. */
static long to_device(unsigned char *mem, long pages, long first)
{
	struct mirror_cmd cmd = {
		.addr = (unsigned long)mem + first * PAGE_SZ,
		.ptr = (unsigned long)malloc(pages * PAGE_SZ),
		.npages = first ? 1 : pages,
	};
	long ret = ioctl(mirror_fd, MIRROR_TO_DEVICE, &cmd) ? -errno : 0;

	free((void *)cmd.ptr);
	return ret;
}

static void mirrored(struct worker *m)
{
	if (access("/dev/hmm_dmirror0", F_OK))
		ksm_skip("no device with MMU notifiers");
	NEED_OK(w_run(m, mirror, 0, 0), "/dev/hmm_dmirror0");
}

/* ksmd sleeps: the writer merges such memory itself. */
static void mirrored_twins(struct worker **m)
{
	int i;

	need_demand("1");
	for (i = 0; i < 2; i++) {
		m[i] = w_dup(cg, N, 100, 1);
		mirrored(m[i]);
	}
	ksmd_idle();
	NEED_WAIT_EQ((cg_scan(cg, "max"), w_same(m[0], m[1], 0)), N);
	w_poke(m[0], 0, 3, 5, 1);
}

static void notifiers(void)
{
	struct worker *m[2];

	mirrored_twins(m);
	w_verify(m[0]);
	w_verify(m[1]);
	CHECK_EQ(w_same(m[0], m[1], 0), N - 1, "after a write");
}

/* What is merged stays in the memory of the CPU. */
static void device_memory(void)
{
	struct worker *m[3];
	int i;

	mirrored_twins(m);
	NEED_OK(w_run(m[0], to_device, 0, 3), "a page that is not merged");
	CHECK_EQ(w_run(m[0], to_device, 0, 0), -ENOENT, "merged ones");
	CHECK_EQ(w_same(m[0], m[1], 0), N - 1);
	m[2] = w_dup(cg, N, 100, 1);
	NEED_WAIT_EQ((cg_scan(cg, "max"), w_same(m[1], m[2], 0)), N);
	CHECK_OK(cg_put(cg, "memory.ksm", "0"));
	CHECK_EQ(cg_stat(cg, "ksm_merging_pages"), 0);
	for (i = 0; i < 3; i++)
		w_verify(m[i]);
}

static void huge_with_notifiers(void)
{
	struct worker *a, *b;

	need_demand("1");
	a = huge_worker(cg, N, 100, 1);
	b = huge_worker(cg, N, 100, 1);
	mirrored(a);
	mirrored(b);
	share(a, b);
}

/* ---- huge pages that cannot be split now ---- */

/* A reference in a pipe keeps a huge page whole. */
static void pinned(void)
{
	struct worker *a, *b;

	need_demand("1");
	a = huge_worker(cg, N, 100, 1);
	b = w_dup(cg, N, 100, 1);
	w_pin(a, 0, 1);
	ksmd_lazy();
	WRITE_UNTIL(w_same(a, b, 0) >= MOST - HUGE_NR);
	CHECK_EQ(w_count(a, 0, F_HUGE), HUGE_NR);
	CHECK_GE(w_same(a, b, 0), MOST - HUGE_NR);
	w_unpin(a);
	share(a, b);
}

/* Without memory to put anything off, huge pages are left to ksmd. */
static void no_memory(void)
{
	struct worker *a, *b;

	need_demand("1");
	a = huge_worker(cg, N, 100, 1);
	b = huge_worker(cg, N, 100, 1);
	ksmd_idle();
	cg_scan(cg, "max");
	fail_below(FAIL_SLAB, "ksm_scan_subtree", false);
	cg_scan(cg, "max");
	CHECK_GT(fail_hits(), 0);
	fail_end();
	CHECK_EQ(w_merged(a), 0);
	CHECK_EQ(w_count(a, 0, F_HUGE), N);
	share(a, b);
}

/* ---- waits for ksmd that end early ---- */

/* ksmd sleeps: the write ends, and leaves huge pages as they are. */
static void asleep(void)
{
	struct worker *a, *b;

	need_demand("1");
	a = huge_worker(cg, N, 100, 1);
	b = huge_worker(cg, N, 100, 1);
	ksmd_idle();
	two_writes();
	CHECK_EQ(w_merged(a), 0);
	CHECK_EQ(w_count(a, 0, F_HUGE), N);
	ksm_set("pages_to_scan", 1000);
	ksm_set("sleep_millisecs", 1);
	ksm_settle();
	CHECK_EQ(w_same(a, b, 0), N, "left to ksmd");
	w_verify(a);
	w_verify(b);
}

/* Every eighth page has its twin in a huge page, the others in small ones. */
static void beside(void)
{
	struct worker *a, *b;
	int i;

	need_demand("1");
	huge_worker(cg, HUGE_NR, 100, 1);
	a = w_dup(cg, 64, 5000, 1);
	b = w_dup(cg, 64, 5000, 1);
	for (i = 0; i < 8; i++) {
		w_set(a, 0, i * 8, 1, 100 + i, 0);
		w_set(b, 0, i * 8, 1, 9000 + i, 0);
	}
	ksmd_idle();
	two_writes();
	two_writes();
	CHECK_EQ(w_same(a, b, 0), 56);
	w_verify(a);
	w_verify(b);
}

/* A signal ends the wait while ksmd sleeps. */
static void interrupted(void)
{
	struct worker *a;

	need_demand("1");
	a = huge_worker(cg, N, 100, 1);
	huge_worker(cg, N, 100, 1);
	ksmd_idle();
	cg_scan(cg, "max");
	writer_ends(writer_start(cg, EINTR, 20000), "EINTR");
	w_verify(a);
}

/* Processes exit and the cgroup goes while a writer waits for a split. */
static void they_go(void)
{
	struct worker *a, *b;
	const char *sub;
	pid_t pid;
	int i;

	need_demand("1");
	for (i = 0; i < 3; i++) {
		sub = cg_new(cg, (char[]){ 's', '0' + i, '\0' });
		a = huge_worker(sub, N, 100, 1);
		b = huge_worker(sub, N, 100, 1);
		ksmd_idle();
		cg_scan(sub, "max");
		pid = writer_start(sub, ENODEV, 0);
		NEED_WAIT_GT(cg_stat(sub, "pages_scanned"), 2 * N);
		w_exit(a);
		w_exit(b);
		NEED_WAIT_OK(cg_rmdir(sub), "the writer keeps its cgroup");
		writer_ends(pid, "ENODEV");
	}
	CHECK_WAIT_EQ(cg_dying(cg), 0);
	CHECK_WAIT_EQ(cg_stat(cg, "ksm_metadata_bytes"), 0);
	CHECK_EQ(cg_stat(cg, "processes"), 0);
}

/* Writers, ksmd, writes to the memory, collapses and exits all at once. */
static void together(void)
{
	static const char * const domain[] = { "self", "parent" };
	const char *sub[2];
	struct worker *m[4];
	long long scans;
	pid_t pid[3];
	int i;

	need_demand("1");
	for (i = 0; i < 2; i++)
		sub[i] = cg_new(cg, i ? "y" : "x");
	cg_set(sub[1], "memory.ksm", "1");
	for (i = 0; i < 4; i++)
		m[i] = thp_worker(sub[i / 2], 2 * HUGE_NR, 900, 1);
	ksm_set("sleep_millisecs", 1);
	ksm_start();
	scans = ksm_get("full_scans");
	for (i = 0; i < 3; i++)
		pid[i] = writer_start(i ? sub[i - 1] : cg, ENODEV, 0);
	for (i = 0; i < 60; i++) {
		struct worker *w = m[i % 4];

		w_set(w, 0, i * 16, 16, 900 + i, 1);
		w_madv_at(w, 0, i % 2 * HUGE_NR, HUGE_NR, MADV_COLLAPSE);
		w_verify(w);
		if (i % 10 == 5)
			cg_set(sub[1], "memory.ksm.domain",
			       domain[i % 20 == 5]);
		if (i % 20 == 19) {
			w_exit(m[3]);
			m[3] = thp_worker(sub[1], 2 * HUGE_NR, 900, 1);
		}
	}
	CHECK_WAIT_GE(ksm_get("full_scans"), scans + 2);
	for (i = 0; i < 3; i++)
		writer_stop(pid[i]);
	ksm_settle();
	for (i = 0; i < 4; i++) {
		w_verify(m[i]);
		w_exit(m[i]);
	}
	CHECK_WAIT_EQ(cg_stat(cg, "ksm_metadata_bytes"), 0);
	CHECK_EQ(cg_stat(cg, "ksm_merging_pages"), 0);
	CHECK_EQ(cg_stat(cg, "processes"), 0);
}

static const struct ksm_case cases[] = {
	{ "huge pages", huge_pages },
	{ "a huge page and small ones", huge_and_small },
	{ "twins within a huge page", within },
	{ "huge pages without twins stay", kept },
	{ "huge pages of zeroes", zeroes },
	{ "huge pages of zeroes, with nothing else merged", only_zeroes },
	{ "more huge pages than are listed at a time", many },
	{ "huge pages count for the size of a write", sizes },
	{ "memory with MMU notifiers, while ksmd sleeps", notifiers },
	{ "huge pages with MMU notifiers", huge_with_notifiers },
	{ "a device that takes memory over", device_memory },
	{ "a huge page that something holds", pinned },
	{ "without memory to put anything off", no_memory },
	{ "huge pages while ksmd sleeps", asleep },
	{ "pages beside those that wait, while ksmd sleeps", beside },
	{ "EINTR while it waits for ksmd", interrupted },
	{ "processes and the cgroup go while it waits", they_go },
	{ "writers, collapses and exits at once", together },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
