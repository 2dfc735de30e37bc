// SPDX-License-Identifier: GPL-2.0
/*
 * What a program may notice of merging that it did not ask for, in what /proc
 * and the calls for NUMA nodes show: a case for each entry of the list in
 * Documentation/admin-guide/mm/ksm-cgroup.rst. The other calls are in
 * ksm_cgroup_notice.c.
 *
 * vm: nodes=2 append=movablecore=768M timeout=600
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "ksmpagemap.h"
#include "ksmtrio.h"

#define PM_EXCLUSIVE	BIT_ULL(56)
#define LEN	((long)(N * PAGE_SZ))
#define LEN_KB	(LEN / 1024)

/* ---- what is told of a worker's area 0 ---- */

static long smaps_kb(struct worker *m, const char *key)
{
	char path[64], line[512], name[32];
	unsigned long from, to;
	long kb, found = -1;
	bool here = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", m->pid);
	f = fopen(path, "r");
	NEED(f, "open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = m->area[0].addr >= from && m->area[0].addr < to;
		else if (here && sscanf(line, "%31[^:]: %ld", name, &kb) == 2 &&
			 !strcmp(name, key))
			found = kb;
	}
	fclose(f);
	NEED_GE(found, 0, "no %s in %s", key, path);
	return found;
}

static int open_pagemap(struct worker *m)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", m->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	NEED_GE(fd, 0, "open %s", path);
	return fd;
}

/* Pages that pagemap shows as mapped once. */
static long exclusive(struct worker *m)
{
	int fd = open_pagemap(m), i;
	long n = 0;
	u64 pm[N];

	NEED_EQ(pread(fd, pm, sizeof(pm), m->area[0].addr / PAGE_SZ * 8),
		(long)sizeof(pm));
	for (i = 0; i < N; i++)
		n += !!(pm[i] & PM_EXCLUSIVE);
	close(fd);
	return n;
}

/* Pages that PAGEMAP_SCAN finds to be of a category. */
static long scanned(struct worker *m, u64 category)
{
	struct page_region region[N] = {};
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = m->area[0].addr,
		.end = m->area[0].addr + LEN,
		.vec = (unsigned long)region,
		.vec_len = N,
		.category_mask = category,
		.return_mask = category,
	};
	int fd = open_pagemap(m), i, nr = ioctl(fd, PAGEMAP_SCAN, &arg);
	long n = 0;

	close(fd);
	if (nr < 0 && errno == ENOTTY)
		ksm_skip("no PAGEMAP_SCAN");
	NEED_GE(nr, 0, "PAGEMAP_SCAN: %s", strerror(errno));
	for (i = 0; i < nr; i++)
		n += (region[i].end - region[i].start) / PAGE_SZ;
	return n;
}

/* move_pages(); @node: -1 to ask only. Returns the pages with this status. */
static long move(struct worker *m, int node, int flags, int want)
{
	int nodes[N], status[N], i;
	void *at[N];
	long n = 0;

	for (i = 0; i < N; i++) {
		at[i] = (void *)(m->area[0].addr + i * PAGE_SZ);
		nodes[i] = node;
		status[i] = -1000;
	}
	NEED_GE(syscall(SYS_move_pages, m->pid, (long)N, at,
			node < 0 ? NULL : nodes, status, flags), 0,
		"%s", strerror(errno));
	for (i = 0; i < N; i++)
		n += status[i] == want;
	return n;
}

#define on_node(m, node)	move(m, -1, 0, node)

/* ---- /proc ---- */

static void shown(struct worker *m, long alone_kb, long shared_kb)
{
	long pss = smaps_kb(m, "Pss");

	CHECK_EQ(smaps_kb(m, "Rss"), LEN_KB);
	CHECK_EQ(smaps_kb(m, "Private_Dirty") + smaps_kb(m, "Private_Clean"),
		 alone_kb, "mapped once");
	CHECK_EQ(smaps_kb(m, "Shared_Dirty") + smaps_kb(m, "Shared_Clean"),
		 shared_kb, "mapped more than once");
	CHECK_GE(pss, alone_kb + shared_kb / 4, "a share of the shared ones");
	CHECK_LE(pss, alone_kb + shared_kb / 2, "a share of the shared ones");
	CHECK_EQ(exclusive(m), alone_kb / 4, "bit 56 of pagemap");
}

static void shown_as_shared(void)
{
	trio_begin_lone();
	shown(w[0], 0, LEN_KB);
	CHECK_EQ(smaps_kb(w[0], "KSM"), LEN_KB);
	shown(lone, LEN_KB, 0);
	CHECK_EQ(smaps_kb(lone, "KSM"), 0);
	/* the last one that maps a frame has it alone */
	w_poke(w[1], 0, 5, 5, 1);
	w_poke(w[2], 0, 5, 5, 2);
	shown(w[0], 4, LEN_KB - 4);
	trio_again_lone();
}

static long in_mincore(unsigned char *mem, long pages, long arg)
{
	unsigned char in[N];
	long i, n = 0;

	(void)arg;
	if (mincore(mem, pages * PAGE_SZ, in))
		return -errno;
	for (i = 0; i < pages; i++)
		n += in[i] & 1;
	return n;
}

static void shown_alike(void)
{
	struct worker *m;
	int i;

	trio_begin_lone();
	for (i = 0; i < 2; i++) {
		m = i ? lone : w[0];
		CHECK_EQ(w_run(m, in_mincore, 0, 0), N);
		CHECK_EQ(scanned(m, PAGE_IS_PRESENT), N);
		CHECK_EQ(scanned(m, PAGE_IS_FILE), 0);
		CHECK_EQ(scanned(m, PAGE_IS_PFNZERO), 0);
	}
	trio_again_lone();
}

static void zero_pages(void)
{
	trio_begin_lone();
	ksm_set("use_zero_pages", 1);
	w_set(w[0], 0, 0, N / 2, 0, 0);
	CHECK_EQ(smaps_kb(w[0], "Rss"), LEN_KB, "written");
	ksm_settle();
	NEED_EQ(w_zeroes(w[0]), N / 2);
	CHECK_EQ(smaps_kb(w[0], "Rss"), LEN_KB / 2, "replaced");
	CHECK_EQ(w_run(w[0], in_mincore, 0, 0), N);
	CHECK_EQ(move(w[0], -1, 0, -EFAULT), N / 2, "move_pages()");
	CHECK_EQ(scanned(w[0], PAGE_IS_PRESENT), N);
	CHECK_EQ(scanned(w[0], PAGE_IS_PFNZERO), N / 2);
	trio_intact();
	ksm_set("use_zero_pages", 0);
	trio_again_lone();
}

/* ---- NUMA nodes ---- */

#define BIND(node, flags)	((node) | (flags) << 8)

static long in_bind(unsigned char *mem, long pages, long arg)
{
	unsigned long mask = 1UL << (arg & 0xff);

	return syscall(SYS_mbind, mem, pages * PAGE_SZ, MPOL_BIND, &mask,
		       8 * sizeof(mask), arg >> 8) ? -errno : 0;
}

/* All that the process has, to node @to */
static long in_migrate(unsigned char *mem, long pages, long to)
{
	unsigned long old = 1UL << !to, new = 1UL << to;
	long ret = syscall(SYS_migrate_pages, 0, 8 * sizeof(old), &old, &new);

	(void)mem;
	(void)pages;
	return ret < 0 ? -errno : ret;
}

static struct worker *member_on(int node, u64 tag)
{
	struct worker *m = trio_member(N, MAP_PLAIN);

	NEED_OK(w_run(m, in_bind, 0, BIND(node, 0)));
	w_set(m, 0, 0, N, tag, 1);
	NEED_EQ(on_node(m, node), N);
	return m;
}

static void need_nodes(void)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		ksm_skip("one node only");
}

static void moved_between_nodes(void)
{
	const long strict = BIND(1, MPOL_MF_MOVE | MPOL_MF_STRICT);
	int i;

	need_nodes();
	trio_group();
	for (i = 0; i < 3; i++)
		w[i] = member_on(0, TAG);
	lone = member_on(0, LONE_TAG);
	ksm_settle();
	trio_shares("to begin with");
	CHECK_EQ(move(w[0], 1, MPOL_MF_MOVE, -EACCES), N, "merged");
	CHECK_EQ(move(lone, 1, MPOL_MF_MOVE, 1), N, "not merged");
	CHECK_EQ(move(lone, 0, MPOL_MF_MOVE, 0), N, "not merged");
	/* these pass over shared pages without a word */
	CHECK_OK(w_run(w[0], in_bind, 0, strict));
	CHECK_OK(w_run(lone, in_bind, 0, strict));
	CHECK_EQ(on_node(lone, 1), N, "mbind()");
	w_dropcap(w[1], CAP_SYS_NICE);
	w_dropcap(lone, CAP_SYS_NICE);
	CHECK_GE(w_run(w[1], in_migrate, 0, 1), 0);
	CHECK_GE(w_run(lone, in_migrate, 0, 0), 0);
	CHECK_EQ(on_node(lone, 0), N, "migrate_pages()");
	CHECK_EQ(on_node(w[0], 0), N, "merged");
	trio_shares("after all");
	/* with a page of their own they are moved as any */
	w_madv(w[0], 0, MADV_UNMERGEABLE);
	CHECK_EQ(move(w[0], 0, MPOL_MF_MOVE, 0), N, "unshared");
	CHECK_EQ(move(w[0], 1, MPOL_MF_MOVE, 1), N, "unshared");
	w_madv(w[0], 0, MADV_MERGEABLE);
	trio_again_lone();
}

static void bound_to_nodes(void)
{
	long away = 0, nr;
	int i;

	need_nodes();
	trio_group();
	for (i = 0; i < 3; i++)
		w[i] = member_on(i > 0, TAG);
	ksm_settle();
	trio_shares("merged across nodes");
	for (i = 0; i < 3; i++) {
		nr = on_node(w[i], !i);
		away += nr;
		CHECK_EQ(w_run(w[i], in_bind, 0, BIND(i > 0, MPOL_MF_STRICT)),
			 nr ? -EIO : 0, "%ld pages on the other node", nr);
	}
	CHECK_GE(away, N, "pages that are not where their policy says");
	trio_intact();
	/* 0 keeps the nodes apart */
	ksm_unmerge_all();
	ksm_set("merge_across_nodes", 0);
	for (i = 0; i < 3; i++)
		w_set(w[i], 0, 0, N, TAG + 400, 1);
	ksm_settle();
	CHECK_EQ(w_same(w[1], w[2], 0), N, "on one node");
	CHECK_EQ(w_same(w[0], w[1], 0), 0, "on two nodes");
	for (i = 0; i < 3; i++)
		CHECK_OK(w_run(w[i], in_bind, 0, BIND(i > 0, MPOL_MF_STRICT)));
	trio_intact();
	ksm_unmerge_all();
	ksm_set("merge_across_nodes", 1);
	trio_again();
}

/* As bound_to_nodes(), by cpuset.mems. */
static void in_cpusets(void)
{
	const char *cg[2];
	long away = 0;
	int i;

	need_nodes();
	trio_group();
	cg[0] = cg_letter(trio_cg, 0);
	cg[1] = cg_letter(trio_cg, 1);
	cg_control(trio_cg, "+cpuset");
	cg_need(cg[0], "cpuset.mems");
	cg_set(cg[0], "cpuset.mems", "0");
	cg_set(cg[1], "cpuset.mems", "1");
	for (i = 0; i < 3; i++) {
		w[i] = w_new(cg[i > 0]);
		w_map(w[i], N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 1);
		NEED_EQ(on_node(w[i], i > 0), N);
	}
	ksm_settle();
	trio_shares("merged across cpusets");
	for (i = 0; i < 3; i++)
		away += on_node(w[i], !i);
	CHECK_GE(away, N, "pages on a node that their cpuset leaves out");
	/* what the process unshares follows its cpuset */
	for (i = 0; i < 3; i++) {
		w_set(w[i], 0, 0, N, LONE_TAG, 1);
		CHECK_EQ(on_node(w[i], i > 0), N, "process %d, written", i);
	}
	trio_again();
}

static const struct ksm_case cases[] = {
	{ "smaps and pagemap show sharing", shown_as_shared },
	{ "mincore and PAGEMAP_SCAN answer alike", shown_alike },
	{ "the zero page is not in Rss", zero_pages },
	{ "not moved between nodes", moved_between_nodes },
	{ "bound to a node, and merged across nodes", bound_to_nodes },
	{ "merged across cpusets", in_cpusets },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
