// SPDX-License-Identifier: GPL-2.0
/*
 * No process ever reads other bytes than it wrote: one case for each thing that
 * a process can do to a merged page, or to a page while it is merged. Every
 * case ends with a comparison of all bytes of all processes, and asserts as
 * well that its subject did happen: that the page was merged, locked, pinned.
 *
 * vm: nodes=2 append=movablecore=768M timeout=600
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ksmtrio.h"

static void after_write(void)
{
	struct frame before;
	int i;

	trio_begin();
	before = w_frame(w[2], 0, 5);
	for (i = 0; i < N; i++)
		w_poke(w[i & 1], 0, i, (i * 67) % PAGE_SZ, i);
	CHECK_EQ(w_same(w[0], w[1], 0), 0, "written");
	CHECK_EQ(w_frame(w[2], 0, 5).pfn, before.pfn, "a reader's frame");
	trio_again();
}

/* One byte is enough to differ, the first, the last, or any between. */
static void near_duplicates(void)
{
	static const int off[] = {
		0, 1, 63, 64, 511, 2047, 2048, 4032, 4088, 4095
	};
	int nr = ARRAY_SIZE(off), i, j, k;
	struct frame f[2][N];

	trio_group();
	for (i = 0; i < 2; i++) {
		w[i] = trio_member(N, MAP_PLAIN);
		/* pages in pairs: equal, and with one byte that differs */
		w_set(w[i], 0, 0, N, TAG, 0);
		for (j = 0; j < nr; j++)
			w_poke(w[i], 0, j, off[j], 0x11 * (i + 1));
	}
	w[2] = w[0];
	ksm_settle();
	for (i = 0; i < 2; i++)
		w_frames(w[i], 0, f[i]);
	for (i = 0; i < 2; i++)
		for (j = 0; j < nr; j++)
			for (k = 0; k < N; k++)
				CHECK((k == j && i == 0) ||
				      f[i][j].pfn != f[0][k].pfn,
				      "byte %d: one frame with page %d",
				      off[j], k);
	CHECK_EQ(f[0][nr].pfn, f[1][nr].pfn, "equal pages");
	CHECK(f[0][nr].flags & F_KSM, "equal pages were not merged");
	/* now they become equal, or nearly */
	for (j = 0; j < nr; j++)
		w_poke(w[1], 0, j, off[j], 0x11);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "when equal");
	trio_intact();
}

static void forked(void)
{
	struct worker *child;
	int i;

	trio_begin();
	child = w_fork(w[0]);
	for (i = 0; i < N; i += 4) {
		w_poke(child, 0, i, 100, 1);
		w_poke(w[0], 0, i + 1, 200, 2);
		w_poke(w[1], 0, i + 2, 300, 3);
	}
	w_verify(child);
	trio_intact();
	w_exit(w[0]);
	w[0] = child;
	trio_again();
}

static void moved_about(void)
{
	trio_begin();
	NEED_OK(w_remap(w[0]));
	/* the kernel may unshare what it moves */
	trio_intact();
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "moved");
	trio_again();
}

static void unmapped(void)
{
	trio_begin();
	w_replace(w[0], 8, 16);
	NEED_OK(w_madv_at(w[1], 0, 12, 16, MADV_DONTNEED));
	CHECK_EQ(w_frame(w[1], 0, 12).pfn, FRAME_NONE, "MADV_DONTNEED");
	trio_intact();
	trio_asks(w[0]);
	trio_again();
}

/* After MADV_FREE a page is as written or zero; written again it is new. */
static void given_up(void)
{
	long n;
	int i;

	trio_begin();
	for (i = 0; i < 3; i++)
		w_set(w[i], 0, 0, N / 2, TAG + 500, 1);
	/* MADV_FREE has no effect on a page on its way to the LRU: drain */
	NEED_OK(file_put("/proc/sys/vm/drop_caches", "1"));
	for (i = 0; i < 3; i++) {
		NEED_OK(w_madv_at(w[i], 0, 0, N / 2, MADV_FREE));
		w_madv_at(w[i], 0, N / 2, N / 4, MADV_FREE);
	}
	ksm_settle();
	trio_intact();
	for (i = 0, n = 0; i < N / 2; i++)
		n += !!(w_frame(w[0], 0, i).flags & F_KSM);
	/* today's kernels merge them, and they are never freed then */
	CHECK(!n || !ksm_has_cgroup(), "%ld pages merged after MADV_FREE", n);
	if (swap_on())
		cg_put(trio_cg, "memory.reclaim", "2M");
	trio_intact();
	trio_again();
}

static void inaccessible(void)
{
	trio_begin();
	w_protect(w[0], 0, N / 2, PROT_NONE);
	w_protect(w[1], 0, N, PROT_READ);
	w_set(w[2], 0, 0, N, TAG + 900, 1);
	ksm_pass(2);
	w_protect(w[0], 0, N, PROT_READ | PROT_WRITE);
	w_protect(w[1], 0, N, PROT_READ | PROT_WRITE);
	ksm_stop();
	trio_again();
}

static long locked_kb(struct worker *m)
{
	char path[64];
	long long kb = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", m->pid);
	file_key(path, "VmLck", &kb);
	return kb;
}

static void mlocked(void)
{
	trio_begin();
	NEED_OK(w_lock(w[0], 0, N));
	/* a 1 alone leaves locked memory alone */
	w_madv(w[0], 0, MADV_MERGEABLE);
	CHECK_EQ(locked_kb(w[0]), N * 4);
	w_set(w[0], 0, 0, N, TAG + 300, 1);
	w_set(w[1], 0, 0, N, TAG + 300, 1);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "locked, and asked");
	trio_intact();
	if (swap_on())
		cg_put(trio_cg, "memory.reclaim", "4M");
	CHECK_EQ(w_count(w[0], 0, F_SWAP), 0, "locked pages on swap");
	NEED_OK(w_unlock(w[0], 0, N));
	trio_again();
}

static void huge_pages(void)
{
	long pages = 4 * 512, i, before;

	trio_group();
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		ksm_skip("no transparent huge pages");
	for (i = 0; i < 2; i++) {
		w[i] = trio_member(pages, MAP_HUGE);
		w_set(w[i], 0, 0, pages, TAG + 100000 * (i + 1), 1);
	}
	w[2] = w[0];
	before = w_count(w[0], 0, F_HUGE);
	if (before != pages)
		ksm_skip("only %ld of %ld pages are huge", before, pages);
	/* or khugepaged may make one of what a split leaves */
	for (i = 0; i < 2; i++)
		NEED_OK(w_prctl(w[i], PR_SET_THP_DISABLE, 1, 0, 0, 0));
	/* two equal pages, in the first and the third huge page */
	w_set(w[0], 0, 17, 1, TAG, 0);
	w_set(w[0], 0, 2 * 512 + 300, 1, TAG, 0);
	ksm_settle();
	CHECK_EQ(w_frame(w[0], 0, 17).pfn, w_frame(w[0], 0, 1324).pfn,
		 "frames of equal pages in huge pages");
	CHECK_EQ(w_count(w[0], 0, F_HUGE), pages / 2);
	CHECK_EQ(w_count(w[1], 0, F_HUGE), pages, "without equal pages");
	trio_intact();
}

/* A page that a device may be writing to stays where it is. */
static void pinned_pages(void)
{
	struct frame before;
	int i;

	trio_group();
	trio_fill();
	before = w_frame(w[0], 0, 2);
	w_pin(w[0], 0, 8);
	ksm_settle();
	for (i = 0; i < 8; i++)
		CHECK_EQ(w_frame(w[0], 0, i).flags & F_KSM, 0, "page %d", i);
	CHECK_EQ(w_frame(w[0], 0, 2).pfn, before.pfn, "a pinned page");
	CHECK_EQ(w_merged(w[0]), N - 8);
	trio_intact();
	w_unpin(w[0]);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "unpinned");
	trio_again();
}

/* Another process writes through /proc/PID/mem, as debuggers do. */
static void from_outside(void)
{
	unsigned char byte = 0x3c;
	char path[64];
	int fd, i;

	trio_begin();
	snprintf(path, sizeof(path), "/proc/%d/mem", w[1]->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	NEED_GE(fd, 0, "%s", path);
	for (i = 0; i < N; i += 2) {
		NEED_EQ(pwrite(fd, &byte, 1,
			       w[1]->area[0].addr + i * PAGE_SZ + i), 1);
		w_expect(w[1], i, i, byte);
	}
	close(fd);
	CHECK_EQ(w_merged(w[1]), N / 2);
	trio_again();
}

static void uffd_wp(void)
{
	long ret;
	int i;

	trio_group();
	trio_fill();
	ret = w_uffd(w[0], 0, UFFDIO_REGISTER_MODE_WP);
	if (ret)
		ksm_skip("no userfaultfd write protection: %s", strerror(-ret));
	w_uffd_wp(w[0], 4, 8, true);
	ksm_settle();
	for (i = 0; i < N; i++)
		CHECK_EQ(!!(w_frame(w[0], 0, i).flags & F_UFFDWP),
			 i >= 4 && i < 12, "page %d", i);
	CHECK_EQ(w_merged(w[1]), N);
	trio_intact();
	w_uffd_wp(w[0], 4, 8, false);
	trio_again();
}

/* UFFDIO_MOVE is for pages that one process maps alone: merging must not show. */
static void uffd_moved(void)
{
	long ret;
	int to;

	trio_begin();
	to = w_map(w[0], N, MAP_PLAIN);
	ret = w_uffd(w[0], to, UFFDIO_REGISTER_MODE_MISSING);
	if (ret)
		ksm_skip("no userfaultfd: %s", strerror(-ret));
	ret = w_uffd_move(w[0], 0, 0, N, to);
	if (ret == -EBUSY && !ksm_has_cgroup())
		ksm_skip("the stock kernel refuses a merged page");
	NEED_OK(ret, "UFFDIO_MOVE");
	CHECK_EQ(w_count(w[0], to, F_KSM), 0, "moved");
	CHECK_EQ(w_same(w[1], w[2], 0), N, "the others still share");
	trio_intact();
	trio_again();
}

#define ROUNDS	40

/* Write 0 to the cgroup, once for each rise of turn[0]; then turn[1] follows. */
static pid_t switcher(int *turn)
{
	pid_t pid = fork();
	int i;

	NEED_GE(pid, 0, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 1; i <= ROUNDS; i++) {
		while (__atomic_load_n(&turn[0], __ATOMIC_ACQUIRE) < i)
			;
		if (cg_put(trio_cg, "memory.ksm", "0"))
			_exit(1);
		__atomic_store_n(&turn[1], i, __ATOMIC_RELEASE);
	}
	_exit(0);
}

/*
 * A page is merged, or is being unshared by the write, or just has been when
 * the move looks again.
 */
static void uffd_moved_meanwhile(void)
{
	int i, area[2], status, *turn;
	pid_t pid;
	long ret;

	if (!ksm_has_cgroup())
		ksm_skip("no memory.ksm to write to");
	turn = mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(turn != MAP_FAILED, "mmap: %s", strerror(errno));
	trio_begin();
	area[0] = 0;
	area[1] = w_map(w[0], N, MAP_PLAIN);
	for (i = 0; i < 2; i++) {
		ret = w_uffd(w[0], area[i], UFFDIO_REGISTER_MODE_MISSING);
		if (ret)
			ksm_skip("no userfaultfd: %s", strerror(-ret));
	}
	ksm_start();
	pid = switcher(turn);
	for (i = 0; i < ROUNDS; i++) {
		cg_set(trio_cg, "memory.ksm", "1");
		NEED_WAIT_GE(w_count(w[0], area[i & 1], F_KSM), N / 2);
		__atomic_store_n(&turn[0], i + 1, __ATOMIC_RELEASE);
		ret = w_uffd_move(w[0], area[i & 1], 0, N, area[!(i & 1)]);
		NEED_OK(ret, "round %d", i);
		NEED_WAIT_EQ(__atomic_load_n(&turn[1], __ATOMIC_ACQUIRE), i + 1);
	}
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0, "the writer");
	ksm_stop();
	/* the other area is empty, and a read of it would wait */
	CHECK_EQ(w_bad_in(w[0], area[ROUNDS & 1]), 0);
	w_verify(w[1]);
	w_verify(w[2]);
	munmap(turn, PAGE_SZ);
}

static void soft_dirty(void)
{
	char path[64];
	int i;

	trio_begin();
	for (i = 0; i < 2; i++)
		w_set(w[i], 0, 0, N, TAG + 64, 1);
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", w[0]->pid);
	NEED_OK(file_put(path, "4"));
	w_poke(w[0], 0, 3, 0, 0x77);
	w_poke(w[1], 0, 3, 0, 0x77);
	if (!(w_frame(w[0], 0, 3).flags & F_SOFTDIRTY) ||
	    w_frame(w[0], 0, 4).flags & F_SOFTDIRTY)
		ksm_skip("no soft-dirty bits");
	ksm_settle();
	CHECK_EQ(w_frame(w[0], 0, 3).flags & (F_KSM | F_SOFTDIRTY),
		 F_KSM | F_SOFTDIRTY, "flags of the written page");
	CHECK_EQ(w_frame(w[0], 0, 4).flags & (F_KSM | F_SOFTDIRTY),
		 F_KSM, "flags of another page");
	trio_again();
}

static void zeroes(void)
{
	int i;

	trio_begin();
	ksm_set("use_zero_pages", 1);
	for (i = 0; i < 3; i++)
		w_set(w[i], 0, 0, N / 2, 0, 0);
	w_poke(w[0], 0, 1, 4095, 1);
	ksm_settle();
	CHECK_EQ(w_zeroes(w[1]), N / 2);
	CHECK_EQ(w_frame(w[0], 0, 1).flags & F_ZERO, 0,
		 "its last byte is not zero");
	for (i = 0; i < N / 2; i++)
		w_poke(w[i % 3], 0, i, 8 * i, 0x44);
	trio_intact();
	ksm_set("use_zero_pages", 0);
	trio_again();
}

/* Access pages as the kernel does for others, which marks them. */
static void touch(struct worker *m, long first, long nr)
{
	static char to[N * PAGE_SZ];
	struct iovec here = { to, nr * PAGE_SZ }, there = {
		(void *)(m->area[0].addr + first * PAGE_SZ), nr * PAGE_SZ
	};

	NEED_EQ(process_vm_readv(m->pid, &here, 1, &there, 1, 0), nr * PAGE_SZ);
}

static long flagged(struct worker *m, long first, long nr, unsigned int flag)
{
	struct frame f[N];
	long n = 0;

	w_frames(m, 0, f);
	while (nr--)
		n += !!(f[first++].flags & flag);
	return n;
}

/* What is in LRU batches gets on its list. */
static void drain(void)
{
	NEED_OK(file_put("/proc/sys/vm/drop_caches", "1"));
}

/* Of each quarter, another process has the active or referenced pages. */
static void ages(void)
{
	enum { Q = N / 4 };
	char mglru[16] = "";
	int i;

	file_get("/sys/kernel/mm/lru_gen/enabled", mglru, sizeof(mglru));
	if (strtol(mglru, NULL, 0))
		ksm_skip("there is no active list with the multi-gen LRU");
	trio_group();
	trio_fill();
	drain();
	for (i = 0; i < 2; i++) {
		touch(w[i], i * Q, Q);
		touch(w[i], i * Q, Q);
		touch(w[i], (2 + i) * Q, Q / 2);
	}
	drain();
	for (i = 0; i < 2; i++) {
		NEED_EQ(flagged(w[i], i * Q, Q, F_ACTIVE), Q);
		NEED_EQ(flagged(w[!i], i * Q, Q, F_ACTIVE), 0);
		NEED_EQ(flagged(w[i], (2 + i) * Q, Q, F_REFERENCED), Q / 2);
	}
	ksm_settle();
	trio_shares("merged");
	drain();
	CHECK_EQ(flagged(w[0], 0, 2 * Q, F_ACTIVE), 2 * Q);
	CHECK_EQ(flagged(w[0], 2 * Q, 2 * Q, F_ACTIVE), 0);
	for (i = 2; i < 4; i++)
		CHECK_EQ(flagged(w[0], i * Q, Q, F_REFERENCED), Q / 2);
	trio_again();
}

static void few_sharers(void)
{
	struct frame f[3][N];
	int i, j, k, same;

	trio_group();
	ksm_unmerge_all();
	ksm_set("max_page_sharing", 2);
	for (i = 0; i < 3; i++) {
		w[i] = trio_member(N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 0);
	}
	ksm_settle();
	for (i = 0; i < 3; i++)
		w_frames(w[i], 0, f[i]);
	for (k = 0; k < N; k++) {
		for (same = 0, i = 0; i < 3; i++)
			for (j = 0; j < N; j++)
				same += f[i][j].pfn == f[0][k].pfn;
		CHECK_EQ(same, 2, "mappings of the frame of page %d", k);
	}
	w_exit(w[2]);
	w_poke(w[0], 0, 3, 3, 3);
	w_verify(w[0]);
	w_verify(w[1]);
}

static void unmerged(void)
{
	int i;

	trio_begin();
	ksm_unmerge_all();
	for (i = 0; i < 3; i++)
		CHECK_EQ(w_all_ksm(w[i]), 0, "after run=2");
	trio_again();
}

static const struct ksm_case cases[] = {
	{ "written", after_write },
	{ "near duplicates stay apart", near_duplicates },
	{ "forked", forked },
	{ "moved by mremap", moved_about },
	{ "unmapped and MADV_DONTNEED", unmapped },
	{ "MADV_FREE", given_up },
	{ "PROT_NONE and PROT_READ", inaccessible },
	{ "mlock", mlocked },
	{ "huge pages are split only where they must be", huge_pages },
	{ "pinned pages", pinned_pages },
	{ "written from outside", from_outside },
	{ "userfaultfd write protection is kept", uffd_wp },
	{ "moved by UFFDIO_MOVE", uffd_moved },
	{ "moved by UFFDIO_MOVE while unshared", uffd_moved_meanwhile },
	{ "soft-dirty bits are kept", soft_dirty },
	{ "zero pages", zeroes },
	{ "a frame is as young as the pages it replaces", ages },
	{ "max_page_sharing", few_sharers },
	{ "run=2", unmerged },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
