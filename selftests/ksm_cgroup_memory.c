// SPDX-License-Identifier: GPL-2.0
/*
 * No process ever reads other bytes than it wrote: one case for each thing that
 * can happen to a merged page, or to a page while it is merged. Every case ends
 * in comparing all bytes of all processes, and asserts as well that what it is
 * about did happen: that the page was merged, swapped, migrated, pinned.
 *
 * Where the kernel has memory.ksm the processes are in a cgroup that says 1 and
 * do not ask; elsewhere they ask by madvise, and the cases hold there too.
 *
 * vm: nodes=2 append=movablecore=768M timeout=600
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "ksmlib.h"

#define N	64
#define TAG	40000

static const char *cg;
static struct worker *w[3];

static struct worker *man(long pages, enum w_map kind)
{
	struct worker *m = w_new(cg);
	int area = w_map(m, pages, kind);

	if (!ksm_has_cgroup())
		w_madv(m, area, MADV_MERGEABLE);
	return m;
}

static void group(void)
{
	cg = cg_new(NULL, "a");
	if (ksm_has_cgroup())
		cg_set(cg, "memory.ksm", "1");
}

static void three_more(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		w[i] = man(N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 1);
	}
	ksm_settle();
	NEED(w_same(w[0], w[1], 0) == N && w_same(w[1], w[2], 0) == N,
	     "only %ld and %ld of %d merged to begin with",
	     w_same(w[0], w[1], 0), w_same(w[1], w[2], 0), N);
}

/* Three processes on the same N merged frames. */
static void triplets(void)
{
	group();
	three_more();
}

static void all_intact(void)
{
	int i;

	for (i = 0; i < 3; i++)
		w_verify(w[i]);
}

/* Whatever was done: it can be merged again, and is still right then. */
static void again(void)
{
	int i;

	all_intact();
	ksm_settle();
	all_intact();
	for (i = 0; i < 3; i++)
		w_set(w[i], 0, 0, N, TAG + 7, 1);
	ksm_settle();
	CHECK(w_same(w[0], w[1], 0) == N && w_same(w[1], w[2], 0) == N,
	      "afterwards only %ld and %ld of %d merge", w_same(w[0], w[1], 0),
	      w_same(w[1], w[2], 0), N);
	all_intact();
}

static void after_write(void)
{
	struct frame before;
	int i;

	triplets();
	before = w_frame(w[2], 0, 5);
	for (i = 0; i < N; i++)
		w_poke(w[i & 1], 0, i, (i * 67) % PAGE_SZ, i);
	CHECK(w_same(w[0], w[1], 0) == 0, "%ld written pages still shared",
	      w_same(w[0], w[1], 0));
	CHECK(w_frame(w[2], 0, 5).pfn == before.pfn, "a reader's frame changed");
	again();
}

/* One byte is enough to differ, the first, the last, or any between. */
static void near_duplicates(void)
{
	static const int off[] = { 0, 1, 63, 64, 511, 2047, 2048, 4032, 4088, 4095 };
	int nr = ARRAY_SIZE(off), i, j, k;
	struct frame f[2][N];

	group();
	for (i = 0; i < 2; i++) {
		w[i] = man(N, MAP_PLAIN);
		/* pages in pairs: as it was, and with one byte of another kind */
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
				      "byte %d: one frame with page %d", off[j], k);
	CHECK(f[0][nr].pfn == f[1][nr].pfn && f[0][nr].flags & F_KSM,
	      "equal pages were not merged");
	/* now they become equal, or nearly */
	for (j = 0; j < nr; j++)
		w_poke(w[1], 0, j, off[j], 0x11);
	ksm_settle();
	CHECK(w_same(w[0], w[1], 0) == N, "%ld of %d merged when equal",
	      w_same(w[0], w[1], 0), N);
	all_intact();
}

static void forked(void)
{
	struct worker *child;
	int i;

	triplets();
	child = w_fork(w[0]);
	for (i = 0; i < N; i += 4) {
		w_poke(child, 0, i, 100, 1);
		w_poke(w[0], 0, i + 1, 200, 2);
		w_poke(w[1], 0, i + 2, 300, 3);
	}
	w_verify(child);
	all_intact();
	w_exit(w[0]);
	w[0] = child;
	again();
}

static void moved_about(void)
{
	long ret;

	triplets();
	ret = W(w[0], .op = OP_REMAP);
	NEED(ret > 0, "mremap: %s", strerror(-ret));
	w[0]->area[0].addr = ret;
	/* the kernel may unshare what it moves */
	all_intact();
	ksm_settle();
	CHECK(w_same(w[0], w[1], 0) == N, "only %ld of %d stay merged",
	      w_same(w[0], w[1], 0), N);
	again();
}

static void unmapped(void)
{
	triplets();
	NEED(!W(w[0], .op = OP_UNMAP, .a = { 8, 16, 1 }), "munmap");
	NEED(!w_madv_at(w[1], 0, 12, 16, MADV_DONTNEED), "madvise");
	CHECK(w_frame(w[1], 0, 12).pfn == FRAME_NONE, "DONTNEED left a page");
	all_intact();
	if (!ksm_has_cgroup())
		w_madv(w[0], 0, MADV_MERGEABLE);
	again();
}

/* Given up, it is either as written or empty; written again it is new. */
static void given_up(void)
{
	long n;
	int i;

	triplets();
	for (i = 0; i < 3; i++) {
		w_set(w[i], 0, 0, N / 2, TAG + 500, 1);
		NEED(!w_madv_at(w[i], 0, 0, N / 2, MADV_FREE), "madvise");
		w_madv_at(w[i], 0, N / 2, N / 4, MADV_FREE);
	}
	ksm_settle();
	all_intact();
	for (i = 0, n = 0; i < N / 2; i++)
		n += !!(w_frame(w[0], 0, i).flags & F_KSM);
	/* today's kernels merge them, and lose what was given up for good */
	CHECK(!n || !ksm_has_cgroup(), "%ld pages merged that were given up", n);
	if (swap_on())
		cg_put(cg, "memory.reclaim", "2M");
	all_intact();
	again();
}

static void inaccessible(void)
{
	triplets();
	NEED(!W(w[0], .op = OP_PROT, .a = { 0, N / 2, PROT_NONE }), "mprotect");
	NEED(!W(w[1], .op = OP_PROT, .a = { 0, N, PROT_READ }), "mprotect");
	w_set(w[2], 0, 0, N, TAG + 900, 1);
	ksm_pass(2);
	NEED(!W(w[0], .op = OP_PROT, .a = { 0, N, PROT_READ | PROT_WRITE }),
	     "mprotect");
	NEED(!W(w[1], .op = OP_PROT, .a = { 0, N, PROT_READ | PROT_WRITE }),
	     "mprotect");
	ksm_stop();
	again();
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
	triplets();
	NEED(!W(w[0], .op = OP_LOCK, .a = { 0, N, 1 }), "mlock");
	CHECK(locked_kb(w[0]) == N * 4, "%ld kB locked", locked_kb(w[0]));
	w_set(w[0], 0, 0, N, TAG + 300, 1);
	w_set(w[1], 0, 0, N, TAG + 300, 1);
	ksm_settle();
	all_intact();
	if (swap_on())
		cg_put(cg, "memory.reclaim", "4M");
	CHECK(w_count(w[0], 0, F_SWAP) == 0, "%ld locked pages swapped out",
	      w_count(w[0], 0, F_SWAP));
	NEED(!W(w[0], .op = OP_LOCK, .a = { 0, N, 0 }), "munlock");
	again();
}

static void out_and_in(void)
{
	int i;

	triplets();
	if (!swap_on())
		ksm_skip("no swap on zram here");
	NEED(swap_out(cg, w, 3), "they are not swapped out");
	for (i = 0; i < N; i += 3)
		w_poke(w[i % 3], 0, i, i, 0xee);
	all_intact();
	ksm_settle();
	NEED(swap_out(cg, w, 3), "they are not swapped out again");
	/* merged again while in part on swap */
	w_set(w[0], 0, 0, N / 2, TAG, 1);
	ksm_settle();
	again();
}

static long migrate(struct worker *m, int node, int *status)
{
	void *at[N];
	int nodes[N], i;

	for (i = 0; i < N; i++) {
		at[i] = (void *)(m->area[0].addr + i * PAGE_SZ);
		nodes[i] = node;
		status[i] = -1;
	}
	return syscall(SYS_move_pages, m->pid, (long)N, at, nodes, status,
		       1 << 2 /* MPOL_MF_MOVE_ALL */);
}

static void migrated(void)
{
	int status[N], i, node, there;
	struct frame before[N];

	triplets();
	if (access("/sys/devices/system/node/node1", F_OK))
		ksm_skip("one node only");
	for (node = 0; node < 4; node++) {
		w_frames(w[0], 0, before);
		NEED(migrate(w[node % 3], node & 1, status) >= 0, "move_pages: %s",
		     strerror(errno));
		for (i = 0, there = 0; i < N; i++)
			there += status[i] == (node & 1);
		CHECK(there == N, "%d of %d pages went to node %d", there, N,
		      node & 1);
		/* all mappings of a frame went with it */
		CHECK(w_same(w[0], w[1], 0) == N && w_same(w[1], w[2], 0) == N,
		      "%ld and %ld of %d still share", w_same(w[0], w[1], 0),
		      w_same(w[1], w[2], 0), N);
		CHECK(w_merged(w[0]) == N, "%ld of %d still merged",
		      w_merged(w[0]), N);
		CHECK(!node || w_frame(w[0], 0, 0).pfn != before[0].pfn,
		      "the frame did not move");
		all_intact();
		/* and it is still found: what was written comes back to it */
		w_frames(w[1], 0, before);
		w_set(w[0], 0, 0, N, TAG, 1);
		ksm_settle();
		CHECK(w_same(w[0], w[1], 0) == N && w_same(w[1], w[2], 0) == N,
		      "%ld of %d came back, %ld stayed", w_same(w[0], w[1], 0),
		      N, w_same(w[1], w[2], 0));
		CHECK(w_frame(w[1], 0, 0).pfn == before[0].pfn,
		      "to another frame");
	}
	again();
}

static void compacted(void)
{
	int i, j;

	triplets();
	if (access("/proc/sys/vm/compact_memory", W_OK))
		ksm_skip("no compaction");
	ksm_pass(1);
	for (i = 0; i < 12; i++) {
		NEED(!file_put("/proc/sys/vm/compact_memory", "1"), "compaction");
		for (j = 0; j < 3; j++)
			w_set(w[j], 0, (i * 5) % (N / 2), N / 4, TAG + i, 1);
	}
	ksm_stop();
	again();
}

static long block_of(u64 pfn)
{
	char buf[32];

	if (file_get("/sys/devices/system/memory/block_size_bytes", buf,
		     sizeof(buf)) < 0)
		return -1;
	return pfn * PAGE_SZ / strtoul(buf, NULL, 16);
}

static int set_block(long block, const char *state)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%ld/state",
		 block);
	return file_put(path, state);
}

/*
 * A block of the movable zone that can go, from @block on: one that belongs to
 * two zones can't, nor one that has memory of the boot in it.
 */
static long block_that_goes(long block)
{
	char path[80], zones[80];

	for (; block < 256; block++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/memory/memory%ld/valid_zones", block);
		if (file_get(path, zones, sizeof(zones)) < 0 ||
		    strncmp(zones, "Movable", 7) || set_block(block, "offline"))
			continue;
		NEED(!set_block(block, "online_movable"),
		     "block %ld does not come back", block);
		return block;
	}
	return -1;
}

/* Whoever is started from now on takes memory from the block's node. */
static void memory_near(long block)
{
	unsigned long node;
	char path[80];

	for (node = 0; node < 8 * sizeof(node); node++) {
		unsigned long mask = 1UL << node;

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu/memory%ld",
			 node, block);
		if (!access(path, F_OK))
			syscall(SYS_set_mempolicy, 1 /* MPOL_PREFERRED */, &mask,
				8 * sizeof(mask));
	}
}

static bool frames_in(long block)
{
	struct frame f[N];
	int i;

	w_frames(w[0], 0, f);
	for (i = 0; i < N; i++) {
		if (block_of(f[i].pfn) == block)
			return true;
	}
	return false;
}

/* A block of memory goes offline with merged frames in it. */
static void offlined(void)
{
	enum { HOG = 4096, HOGS = 24 };
	struct frame f[N];
	int i, hogs;
	long block;

	if (access("/sys/devices/system/memory/memory0/state", W_OK))
		ksm_skip("no memory hot-remove");
	block = block_that_goes(0);
	if (block < 0)
		ksm_skip("no block of movable memory that goes offline");
	/* until frames come from there, fill what they come from instead */
	memory_near(block);
	triplets();
	for (hogs = 0; hogs < HOGS && !frames_in(block); hogs++) {
		struct worker *hog = w_new(NULL);

		w_map(hog, HOG, MAP_PLAIN);
		w_set(hog, 0, 0, HOG, 1, 1);
		for (i = 0; i < 3; i++)
			w_exit(w[i]);
		three_more();
	}
	syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0);
	NEED(frames_in(block), "no frame in block %ld", block);
	/* what holds a page for a moment makes it fail */
	NEED(WAIT_FOR(!set_block(block, "offline")), "block %ld does not go", block);
	w_frames(w[0], 0, f);
	for (i = 0; i < N; i++)
		CHECK(block_of(f[i].pfn) != block, "page %d is still there", i);
	all_intact();
	CHECK(w_same(w[0], w[1], 0) == N, "%ld of %d still share",
	      w_same(w[0], w[1], 0), N);
	ksm_pass(2);
	ksm_stop();
	all_intact();
	NEED(!set_block(block, "online_movable"), "block %ld does not come back",
	     block);
	again();
}

/* What the scanner has in stock stands in no block's way. */
static void offlined_from_stock(void)
{
	long block[32], scanned, pause;
	int i, nr = 0;

	if (access("/sys/devices/system/memory/memory0/state", W_OK))
		ksm_skip("no memory hot-remove");
	group();
	for (nr = 0; nr < (int)ARRAY_SIZE(block); nr++) {
		block[nr] = block_that_goes(nr ? block[nr - 1] + 1 : 0);
		if (block[nr] < 0)
			break;
	}
	if (!nr)
		ksm_skip("no block of movable memory that goes offline");
	three_more();
	/* one batch, and then it sleeps over its stock */
	scanned = ksm_get("pages_scanned");
	pause = ksm_get("sleep_millisecs");
	ksm_set("sleep_millisecs", 600000);
	ksm_set("run", 1);
	NEED(WAIT_FOR(ksm_get("pages_scanned") > scanned), "nothing is scanned");
	for (i = 0; i < nr; i++) {
		CHECK(WAIT_FOR(!set_block(block[i], "offline")),
		      "block %ld does not go", block[i]);
		NEED(!set_block(block[i], "online_movable"),
		     "block %ld does not come back", block[i]);
	}
	ksm_stop();
	ksm_set("sleep_millisecs", pause);
	again();
}

static void soft_offlined(void)
{
	struct frame before, after;
	long ret;
	int i;

	triplets();
	for (i = 0; i < 8; i++) {
		before = w_frame(w[0], 0, i);
		ret = w_madv_at(w[0], 0, i, 1, MADV_SOFT_OFFLINE);
		if (ret == -EINVAL && !i)
			ksm_skip("no memory failure handling");
		NEED(!ret, "MADV_SOFT_OFFLINE: %s", strerror(-ret));
		after = w_frame(w[0], 0, i);
		CHECK(after.pfn != before.pfn, "page %d did not move", i);
	}
	CHECK(w_same(w[0], w[1], 0) == N && w_same(w[1], w[2], 0) == N,
	      "%ld and %ld of %d still share", w_same(w[0], w[1], 0),
	      w_same(w[1], w[2], 0), N);
	again();
}

/* All who map the frame lose it, nobody reads anything else. */
static void poisoned(void)
{
	long ret, bus, bad;
	int i;

	triplets();
	/* one of them wants to be told at once, not when it touches the page */
	w_prctl(w[1], PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	for (i = 0; i < 4; i++) {
		ret = w_madv_at(w[i % 3], 0, i, 1, MADV_HWPOISON);
		if (ret == -EINVAL && !i)
			ksm_skip("no memory failure handling");
		NEED(!ret, "MADV_HWPOISON: %s", strerror(-ret));
		/* who was at it is told in another way */
		ret = W(w[1], .op = OP_LOST);
		CHECK(ret == (i == 1 ? -ENOENT : i), "page %d was lost, told: %ld",
		      i, ret);
		ret = W(w[2], .op = OP_LOST);
		CHECK(ret == -ENOENT, "told of page %ld without asking", ret);
	}
	for (i = 0; i < 3; i++) {
		bad = w_bad(w[i], &bus);
		CHECK(!bad && bus == 4, "%ld wrong pages, %ld of 4 lost", bad, bus);
		NEED(!W(w[i], .op = OP_UNMAP, .a = { 0, 4, 1 }), "munmap");
		if (!ksm_has_cgroup())
			w_madv(w[i], 0, MADV_MERGEABLE);
	}
	again();
}

static void huge_pages(void)
{
	long pages = 4 * 512, i, before, after;

	group();
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		ksm_skip("no transparent huge pages");
	for (i = 0; i < 2; i++) {
		w[i] = man(pages, MAP_HUGE);
		w_set(w[i], 0, 0, pages, TAG + 100000 * (i + 1), 1);
	}
	w[2] = w[0];
	before = w_count(w[0], 0, F_HUGE);
	if (before != pages)
		ksm_skip("only %ld of %ld pages are huge", before, pages);
	/* two pages alike, in the first and the third huge page */
	w_set(w[0], 0, 17, 1, TAG, 0);
	w_set(w[0], 0, 2 * 512 + 300, 1, TAG, 0);
	ksm_settle();
	CHECK(w_frame(w[0], 0, 17).pfn == w_frame(w[0], 0, 1324).pfn,
	      "equal pages in huge pages were not merged");
	after = w_count(w[0], 0, F_HUGE);
	CHECK(after == pages / 2, "%ld of %ld pages are still huge", after, pages);
	after = w_count(w[1], 0, F_HUGE);
	CHECK(after == pages, "%ld of %ld pages of another are still huge", after,
	      pages);
	all_intact();
}

/* A page that a device may be writing to stays where it is. */
static void pinned_pages(void)
{
	struct frame before;
	int i;

	group();
	for (i = 0; i < 3; i++) {
		w[i] = man(N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 1);
	}
	before = w_frame(w[0], 0, 2);
	NEED(!W(w[0], .op = OP_PIN, .a = { 0, 8 }), "no pin");
	ksm_settle();
	for (i = 0; i < 8; i++)
		CHECK(!(w_frame(w[0], 0, i).flags & F_KSM), "page %d merged", i);
	CHECK(w_frame(w[0], 0, 2).pfn == before.pfn, "a pinned page moved");
	CHECK(w_merged(w[0]) == N - 8, "%ld of %d merged", w_merged(w[0]), N - 8);
	all_intact();
	NEED(!W(w[0], .op = OP_UNPIN), "no unpin");
	ksm_settle();
	CHECK(w_same(w[0], w[1], 0) == N, "%ld of %d merged when let go",
	      w_same(w[0], w[1], 0), N);
	again();
}

/* Another process writes through /proc/PID/mem, as debuggers do. */
static void from_outside(void)
{
	unsigned char byte = 0x3c;
	char path[64];
	int fd, i;

	triplets();
	snprintf(path, sizeof(path), "/proc/%d/mem", w[1]->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	NEED(fd >= 0, "open %s: %s", path, strerror(errno));
	for (i = 0; i < N; i += 2) {
		NEED(pwrite(fd, &byte, 1, w[1]->area[0].addr + i * PAGE_SZ + i) == 1,
		     "writing %s: %s", path, strerror(errno));
		W(w[1], .op = OP_KNOW, .a = { i, i, byte });
	}
	close(fd);
	CHECK(w_merged(w[1]) == N / 2, "%ld pages still merged", w_merged(w[1]));
	again();
}

static void uffd_wp(void)
{
	long ret;
	int i;

	group();
	for (i = 0; i < 3; i++) {
		w[i] = man(N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 1);
	}
	ret = W(w[0], .op = OP_UFFD, .a = { UFFDIO_REGISTER_MODE_WP });
	if (ret)
		ksm_skip("no userfaultfd write protection: %s", strerror(-ret));
	NEED(!W(w[0], .op = OP_UFFD_WP, .a = { 4, 8, 1 }), "write protection");
	ksm_settle();
	for (i = 0; i < N; i++)
		CHECK(!!(w_frame(w[0], 0, i).flags & F_UFFDWP) ==
		      (i >= 4 && i < 12), "page %d has the mark wrong", i);
	CHECK(w_merged(w[1]) == N, "%ld of %d merged", w_merged(w[1]), N);
	all_intact();
	NEED(!W(w[0], .op = OP_UFFD_WP, .a = { 4, 8, 0 }), "end of protection");
	again();
}

static void soft_dirty(void)
{
	char path[64];
	int i;

	triplets();
	for (i = 0; i < 2; i++)
		w_set(w[i], 0, 0, N, TAG + 64, 1);
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", w[0]->pid);
	NEED(!file_put(path, "4"), "clear_refs");
	w_poke(w[0], 0, 3, 0, 0x77);
	w_poke(w[1], 0, 3, 0, 0x77);
	if (!(w_frame(w[0], 0, 3).flags & F_SOFTDIRTY) ||
	    w_frame(w[0], 0, 4).flags & F_SOFTDIRTY)
		ksm_skip("no soft-dirty bits");
	ksm_settle();
	CHECK(w_frame(w[0], 0, 3).flags & F_KSM, "the written page did not merge");
	CHECK(w_frame(w[0], 0, 3).flags & F_SOFTDIRTY, "the mark is lost");
	CHECK(w_frame(w[0], 0, 4).flags & F_KSM, "the other page did not merge");
	CHECK(!(w_frame(w[0], 0, 4).flags & F_SOFTDIRTY), "a mark is made up");
	again();
}

static void zeroes(void)
{
	int i;

	triplets();
	ksm_set("use_zero_pages", 1);
	for (i = 0; i < 3; i++)
		w_set(w[i], 0, 0, N / 2, 0, 0);
	w_poke(w[0], 0, 1, 4095, 1);
	ksm_settle();
	CHECK(w_count(w[1], 0, F_ZERO) == N / 2, "%ld of %d zero pages",
	      w_count(w[1], 0, F_ZERO), N / 2);
	CHECK(!(w_frame(w[0], 0, 1).flags & F_ZERO), "its last byte is not zero");
	for (i = 0; i < N / 2; i++)
		w_poke(w[i % 3], 0, i, 8 * i, 0x44);
	all_intact();
	ksm_set("use_zero_pages", 0);
	again();
}

static void few_sharers(void)
{
	struct frame f[3][N];
	int i, j, k, same;

	group();
	ksm_unmerge_all();
	ksm_set("max_page_sharing", 2);
	for (i = 0; i < 3; i++) {
		w[i] = man(N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 0);
	}
	ksm_settle();
	for (i = 0; i < 3; i++)
		w_frames(w[i], 0, f[i]);
	for (k = 0; k < N; k++) {
		for (same = 0, i = 0; i < 3; i++)
			for (j = 0; j < N; j++)
				same += f[i][j].pfn == f[0][k].pfn;
		CHECK(same == 2, "%d pages on the frame of page %d", same, k);
	}
	w_exit(w[2]);
	w_poke(w[0], 0, 3, 3, 3);
	w_verify(w[0]);
	w_verify(w[1]);
}

static void unmerged(void)
{
	int i;

	triplets();
	ksm_unmerge_all();
	for (i = 0; i < 3; i++)
		CHECK(!w_all_ksm(w[i]), "run=2 left %ld pages merged",
		      w_all_ksm(w[i]));
	again();
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
	{ "swapped out and in", out_and_in },
	{ "migrated to another node", migrated },
	{ "compaction", compacted },
	{ "memory offlined", offlined },
	{ "memory offlined from under the scanner's stock", offlined_from_stock },
	{ "MADV_SOFT_OFFLINE", soft_offlined },
	{ "MADV_HWPOISON", poisoned },
	{ "huge pages: only those are split that must be", huge_pages },
	{ "pinned pages", pinned_pages },
	{ "written from outside", from_outside },
	{ "userfaultfd write protection is kept", uffd_wp },
	{ "soft-dirty bits are kept", soft_dirty },
	{ "zero pages", zeroes },
	{ "max_page_sharing", few_sharers },
	{ "run=2", unmerged },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
