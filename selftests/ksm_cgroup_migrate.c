// SPDX-License-Identifier: GPL-2.0
/*
 * No process ever reads other bytes than it wrote, whatever becomes of the
 * frames below it: swapped out, migrated, taken offline, lost. Every case ends
 * with a comparison of all bytes of all processes, and asserts as well that its
 * subject did happen.
 *
 * vm: nodes=2 append=movablecore=768M timeout=600
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ksmpagemap.h"
#include "ksmtrio.h"

static void out_and_in(void)
{
	int i;

	trio_begin();
	swap_need();
	NEED(swap_out(trio_cg, w, 3), "pages are not swapped out");
	for (i = 0; i < N; i += 3)
		w_poke(w[i % 3], 0, i, i, 0xee);
	trio_intact();
	ksm_settle();
	NEED(swap_out(trio_cg, w, 3), "pages are not swapped out again");
	/* merged again while in part on swap */
	w_set(w[0], 0, 0, N / 2, TAG, 1);
	ksm_settle();
	trio_again();
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

	trio_begin();
	if (access("/sys/devices/system/node/node1", F_OK))
		ksm_skip("one node only");
	for (node = 0; node < 4; node++) {
		w_frames(w[0], 0, before);
		NEED_GE(migrate(w[node % 3], node & 1, status), 0);
		for (i = 0, there = 0; i < N; i++)
			there += status[i] == (node & 1);
		CHECK_EQ(there, N, "pages on node %d", node & 1);
		/* all mappings of a frame move with it */
		trio_shares("migrated");
		CHECK_EQ(w_merged(w[0]), N);
		if (node)
			CHECK_NE(w_frame(w[0], 0, 0).pfn, before[0].pfn);
		trio_intact();
		/* and the index still has it: an equal page finds it */
		w_frames(w[1], 0, before);
		w_set(w[0], 0, 0, N, TAG, 1);
		ksm_settle();
		trio_shares("written and merged again");
		CHECK_EQ(w_frame(w[1], 0, 0).pfn, before[0].pfn);
	}
	trio_again();
}

#define WATCHED	2048		/* pages */

/* Keep moving the parent's pages between two nodes. */
static pid_t mover(void *area)
{
	static int nodes[WATCHED], status[WATCHED];
	static void *at[WATCHED];
	int i, node = 0;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < WATCHED; i++)
		at[i] = area + i * PAGE_SZ;
	for (;; node = !node) {
		for (i = 0; i < WATCHED; i++)
			nodes[i] = node;
		syscall(SYS_move_pages, getppid(), (long)WATCHED, at, nodes, status,
			1 << 1 /* MPOL_MF_MOVE */);
	}
}

/* Have the writes to an area noted for PAGEMAP_SCAN. */
static int watch(void *area)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
	};
	struct uffdio_register reg = {
		.range = { (unsigned long)area, WATCHED * PAGE_SZ },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		ksm_skip("writes cannot be noted: %s", strerror(errno));
	return fd;
}

/* Pages that were written to since the last call; they are protected again. */
static long written(int pagemap, void *area)
{
	static struct page_region region[WATCHED];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (unsigned long)area,
		.end = (unsigned long)area + WATCHED * PAGE_SZ,
		.vec = (unsigned long)region,
		.vec_len = WATCHED,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int i, nr = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	long n = 0;

	NEED_GE(nr, 0, "PAGEMAP_SCAN: %s", strerror(errno));
	for (i = 0; i < nr; i++)
		n += (region[i].end - region[i].start) / PAGE_SZ;
	return n;
}

/* A migration, or the split of a huge page, does not look like a write. */
static void watched_and_migrated(void)
{
	char *area = mmap(NULL, WATCHED * PAGE_SZ, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), fd, i;
	pid_t pid;
	long round, noted = 0;

	NEED(area != MAP_FAILED && pagemap >= 0, "%s", strerror(errno));
	if (access("/sys/devices/system/node/node1", F_OK))
		ksm_skip("one node only");
	for (i = 0; i < WATCHED; i++)
		area[i * PAGE_SZ] = 1;
	fd = watch(area);
	pid = mover(area);
	NEED_GE(pid, 0, "fork");
	for (round = 0; round < 200; round++) {
		for (i = 0; i < WATCHED; i++)
			area[i * PAGE_SZ]++;
		/* writes wait for a migration; be anywhere in the next one */
		usleep(ksm_random() % 8000);
		CHECK_EQ(written(pagemap, area), WATCHED, "written");
		usleep(2000);
		noted += written(pagemap, area);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_EQ(noted, 0, "pages to which nothing was written");
	close(fd);
	close(pagemap);
	munmap(area, WATCHED * PAGE_SZ);
}

static void compacted(void)
{
	int i, j;

	trio_begin();
	if (access("/proc/sys/vm/compact_memory", W_OK))
		ksm_skip("no compaction");
	ksm_pass(1);
	for (i = 0; i < 12; i++) {
		NEED_OK(file_put("/proc/sys/vm/compact_memory", "1"));
		for (j = 0; j < 3; j++)
			w_set(w[j], 0, (i * 5) % (N / 2), N / 4, TAG + i, 1);
	}
	ksm_stop();
	trio_again();
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

	snprintf(path, sizeof(path),
		 "/sys/devices/system/memory/memory%ld/state", block);
	return file_put(path, state);
}

/*
 * A block of the movable zone that can go offline, from @block on: a block that
 * spans two zones cannot, nor one with memory of the boot in it.
 */
static long block_that_goes(long block)
{
	char path[80], zones[80];

	for (; block < 256; block++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/memory/memory%ld/valid_zones",
			 block);
		if (file_get(path, zones, sizeof(zones)) < 0 ||
		    strncmp(zones, "Movable", 7) || set_block(block, "offline"))
			continue;
		NEED_OK(set_block(block, "online_movable"), "block %ld", block);
		return block;
	}
	return -1;
}

/* Workers that are started from now on take memory from the block's node. */
static void memory_near(long block)
{
	unsigned long node;
	char path[80];

	for (node = 0; node < 8 * sizeof(node); node++) {
		unsigned long mask = 1UL << node;

		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%lu/memory%ld",
			 node, block);
		if (!access(path, F_OK))
			syscall(SYS_set_mempolicy, 1 /* MPOL_PREFERRED */,
				&mask, 8 * sizeof(mask));
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

/*
 * Merge frames in a block that can go offline, and return the block: memory is
 * filled until the frames come from one.
 */
static long merged_in_block(void)
{
	enum { HOG = 4096, HOGS = 24 };
	long block;
	int i, hogs;

	if (access("/sys/devices/system/memory/memory0/state", W_OK))
		ksm_skip("no memory hot-remove");
	block = block_that_goes(0);
	if (block < 0)
		ksm_skip("no block of movable memory that goes offline");
	memory_near(block);
	trio_begin();
	for (hogs = 0; hogs < HOGS && !frames_in(block); hogs++) {
		struct worker *hog = w_new(NULL);

		w_map(hog, HOG, MAP_PLAIN);
		w_set(hog, 0, 0, HOG, 1, 1);
		for (i = 0; i < 3; i++)
			w_exit(w[i]);
		trio_merge();
	}
	syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0);
	NEED(frames_in(block), "no frame in block %ld", block);
	return block;
}

/* A block of memory goes offline with merged frames in it. */
static void offlined(void)
{
	long block = merged_in_block();
	struct frame f[N];
	int i;

	/* a transient reference on a page makes it fail */
	NEED_WAIT_OK(set_block(block, "offline"), "block %ld", block);
	w_frames(w[0], 0, f);
	for (i = 0; i < N; i++)
		CHECK_NE(block_of(f[i].pfn), block, "page %d", i);
	trio_intact();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "offlined");
	ksm_pass(2);
	ksm_stop();
	trio_intact();
	NEED_OK(set_block(block, "online_movable"), "block %ld", block);
	trio_again();
}

/*
 * The frames that the scanner has in stock keep no block online. Merged frames
 * are drawn at random from the stock, so if one came from the block, so do
 * others.
 */
static void offlined_from_stock(void)
{
	long block = merged_in_block(), scanned, pause;

	/* one batch, and then it sleeps and has a stock */
	scanned = ksm_get("pages_scanned");
	pause = ksm_get("sleep_millisecs");
	ksm_set("sleep_millisecs", 600000);
	ksm_start();
	NEED_WAIT_GT(ksm_get("pages_scanned"), scanned);
	NEED_WAIT_OK(set_block(block, "offline"), "block %ld", block);
	NEED_OK(set_block(block, "online_movable"), "block %ld", block);
	ksm_stop();
	ksm_set("sleep_millisecs", pause);
	trio_again();
}

static void soft_offlined(void)
{
	struct frame before, after;
	long ret;
	int i;

	trio_begin();
	for (i = 0; i < 8; i++) {
		before = w_frame(w[0], 0, i);
		ret = w_madv_at(w[0], 0, i, 1, MADV_SOFT_OFFLINE);
		if (ret == -EINVAL && !i)
			ksm_skip("no memory failure handling");
		NEED_OK(ret, "MADV_SOFT_OFFLINE");
		after = w_frame(w[0], 0, i);
		CHECK_NE(after.pfn, before.pfn, "page %d", i);
	}
	trio_shares("soft-offlined");
	trio_again();
}

#define LOST	4

/* Does a process map one of these frames? */
static int maps_one_of(const u64 *pfn)
{
	struct frame now[N];
	int i, j, k, nr = 0;

	for (i = 0; i < 3; i++) {
		w_frames(w[i], 0, now);
		for (j = 0; j < N; j++) {
			for (k = 0; k < LOST; k++)
				nr += now[j].pfn == pfn[k];
		}
	}
	return nr;
}

/*
 * All mappings of the frame are lost; no process reads other bytes. The frame
 * leaves the books and is never mapped again, also not for its content.
 */
static void poisoned(void)
{
	long long mappings = 0, frames = 0;
	bool books = ksm_has_cgroup();
	long ret, bus, bad;
	u64 pfn[LOST];
	int i;

	trio_begin();
	if (books) {
		mappings = cg_stat(trio_cg, "ksm_merging_pages");
		frames = cg_stat(trio_cg, "pages_shared");
	}
	/* one of them asks for SIGBUS at once, not when it touches the page */
	w_prctl(w[1], PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	for (i = 0; i < LOST; i++) {
		pfn[i] = w_frame(w[0], 0, i).pfn;
		ret = w_madv_at(w[i % 3], 0, i, 1, MADV_HWPOISON);
		if (ret == -EINVAL && !i)
			ksm_skip("no memory failure handling");
		NEED_OK(ret, "MADV_HWPOISON");
		/* the process that injects the error gets no signal */
		CHECK_EQ(w_lost(w[1]), i == 1 ? -ENOENT : i, "page %d", i);
		CHECK_EQ(w_lost(w[2]), -ENOENT, "without asking");
	}
	if (books) {
		CHECK_WAIT_EQ(cg_stat(trio_cg, "ksm_merging_pages"),
			      mappings - 3 * LOST);
		CHECK_WAIT_EQ(cg_stat(trio_cg, "pages_shared"), frames - LOST);
	}
	for (i = 0; i < 3; i++) {
		bad = w_bad(w[i], &bus);
		CHECK_EQ(bad, 0, "wrong pages");
		CHECK_EQ(bus, LOST, "lost pages");
		w_replace(w[i], 0, LOST);
		trio_asks(w[i]);
		w_set(w[i], 0, 0, LOST, TAG, 1);
	}
	/* the same content has a new frame */
	ksm_settle();
	trio_shares("after the loss");
	CHECK_EQ(maps_one_of(pfn), 0, "the lost frames are mapped");
	if (books) {
		CHECK_GE(cg_stat(trio_cg, "ksm_merging_pages"), mappings);
		CHECK_GE(cg_stat(trio_cg, "pages_shared"), frames);
	}
	trio_again();
}

static const struct ksm_case cases[] = {
	{ "swapped out and in", out_and_in },
	{ "migrated to another node", migrated },
	{ "only writes are noted while pages migrate", watched_and_migrated },
	{ "compaction", compacted },
	{ "memory offlined", offlined },
	{ "memory offlined under the scanner's stock", offlined_from_stock },
	{ "MADV_SOFT_OFFLINE", soft_offlined },
	{ "MADV_HWPOISON", poisoned },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
