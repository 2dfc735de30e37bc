// SPDX-License-Identifier: GPL-2.0
/*
 * No process ever reads other bytes than it wrote, whatever happens at once.
 *
 * In the first case a driver has several processes do things in a random order,
 * while the scanner runs: write duplicates and near duplicates, fork, map,
 * unmap, move, protect, lock, free, swap out, compact and unmerge. In the second
 * the processes write and compare on their own, as fast as they can, with
 * children and O_DIRECT, while the driver disturbs them. The order comes from a
 * seed that is printed; -s repeats it, -n sets the steps.
 *
 * vm: nodes=2 append=movablecore=768M timeout=900
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "ksmlib.h"

#define PROCS	5
#define N	192
#define KINDS	12	/* contents that are the same everywhere */

static const char *cg[2];
static struct worker *w[PROCS];

static long below(long n)
{
	return ksm_random() % n;
}

static struct worker *new_proc(const char *in)
{
	struct worker *m = w_new(in);
	int area = w_map(m, N, MAP_PLAIN);

	if (!ksm_has_cgroup())
		w_madv(m, area, MADV_MERGEABLE);
	w_set(m, area, 0, N, 1 + below(KINDS), below(2));
	return m;
}

static void begin(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		cg[i] = cg_letter(NULL, i);
		if (ksm_has_cgroup())
			cg_set(cg[i], "memory.ksm", "1");
	}
	for (i = 0; i < PROCS; i++)
		w[i] = new_proc(cg[i % 2]);
}

static void replace_by_child(int i)
{
	struct worker *child;
	int j = below(PROCS);

	if (i == j)
		return;
	child = w_spawn(w[i], SPAWN_FORK, below(2) ? cg[below(2)] : NULL);
	w_exit(w[j]);
	w[j] = child;
}

static void to_node(struct worker *m, int node)
{
	long i, first = below(N - 32);
	void *at[32];
	int nodes[32], status[32];

	for (i = 0; i < 32; i++) {
		at[i] = (void *)(m->area[0].addr + (first + i) * PAGE_SZ);
		nodes[i] = node;
	}
	/* MPOL_MF_MOVE_ALL; a missing node is an error, and rightly so */
	syscall(SYS_move_pages, m->pid, 32L, at, nodes, status, 4);
}

static void knobs(void)
{
	switch (below(6)) {
	case 0:
		ksm_set("use_zero_pages", below(2));
		break;
	case 1:
		ksm_set("smart_scan", below(2));
		break;
	case 2:
		ksm_unmerge_all();
		break;
	case 3:
		ksm_unmerge_all();
		/* it may change now only */
		file_put(KSM_SYSFS "max_page_sharing", below(2) ? "3" : "256");
		break;
	case 4:
		ksm_stop();
		break;
	}
	if (below(4))
		ksm_start();
}

static void groups(void)
{
	static const char * const values[] = { "1", "1", "madvise", "0" };
	static const char * const domains[] = { "self", "parent", "@a" };
	static const char * const types[] = {
		"+anon", "-anon", "+zero", "+locked", "-locked -zero", "inherit"
	};

	if (!ksm_has_cgroup())
		return;
	if (below(2))
		cg_put(cg[below(2)], "memory.ksm.scan",
		       below(2) ? "max" : "256K");
	else if (below(4))
		cg_set(cg[below(2)], "memory.ksm", values[below(4)]);
	else if (below(2))
		cg_put(cg[below(2)], "memory.ksm.types", types[below(6)]);
	else
		cg_set(cg[below(2)], "memory.ksm.domain",
		       domains[below(ARRAY_SIZE(domains))]);
}

static void protect(struct worker *m, long first, long nr)
{
	static const int prots[] = { PROT_NONE, PROT_READ };

	w_protect(m, first, nr, prots[below(2)]);
	usleep(1000);
	w_protect(m, first, nr, PROT_READ | PROT_WRITE);
}

/*
 * MADV_FREE that affects this process only: a page that came back clean from
 * swap and is shared by fork is lost to all that share it, on the stock kernel
 * too. A merged frame is not; any other page is written to first.
 */
static void give_up(struct worker *m, long first, long nr)
{
	struct frame f[N];

	for (; nr--; first++) {
		w_frames(m, 0, f);
		if (!(f[first].flags & F_KSM))
			w_dirty(m, first);
		w_madv_at(m, 0, first, 1, MADV_FREE);
	}
}

static void random_step(long step)
{
	int i = below(PROCS);
	struct worker *m = w[i];
	long first = below(N - 32), nr = 1 + below(32);
	int off;

	switch (below(24)) {
	case 0 ... 4:
		w_set(m, 0, first, nr, 1 + below(KINDS), below(2));
		break;
	case 5:
		w_set(m, 0, first, nr, 0, 0);
		break;
	case 6 ... 8:
		/* nearly a duplicate: one byte, or one in the last word */
		off = below(2) ? below(4096) : 4095 - below(8);
		w_poke(m, 0, first, off, below(3));
		break;
	case 9 ... 10:
		replace_by_child(i);
		break;
	case 11:
		/* an area of several mappings by now does not move as one */
		w_remap(m);
		break;
	case 12:
		w_replace(m, first, nr);
		break;
	case 13:
		w_madv_at(m, 0, first, nr, MADV_DONTNEED);
		break;
	case 14:
		give_up(m, first, nr);
		break;
	case 15:
		protect(m, first, nr);
		break;
	case 16:
		if (below(2))
			w_lock(m, first, nr);
		else
			w_unlock(m, first, nr);
		break;
	case 17:
		w_madv_at(m, 0, first, nr, MADV_PAGEOUT);
		break;
	case 18:
		cg_put(cg[below(2)], "memory.reclaim", "256K");
		break;
	case 19:
		to_node(m, below(2));
		break;
	case 20:
		if (step % 8 == 0)
			file_put("/proc/sys/vm/compact_memory", "1");
		break;
	case 21:
		w_madv_at(m, 0, first, nr,
			  below(2) ? MADV_UNMERGEABLE : MADV_MERGEABLE);
		break;
	case 22:
		knobs();
		break;
	case 23:
		groups();
		break;
	}
}

static void all_intact(const char *when)
{
	long bad, bus;
	int i;

	for (i = 0; i < PROCS; i++) {
		bad = w_bad(w[i], &bus);
		NEED(!bad && !bus, "%s: process %d reads %ld wrong pages", when,
		     w[i]->pid, bad);
	}
}

static void driven(void)
{
	long step, steps = ksm_steps ? ksm_steps : 3000;

	if (!swap_on())
		ksm_note("no swap on zram here");
	begin();
	ksm_pass(1);
	for (step = 0; step < steps; step++) {
		random_step(step);
		if (step % 50 == 49)
			all_intact("on the way");
	}
	all_intact("in the end");
	if (ksm_has_cgroup()) {
		cg_set(cg[0], "memory.ksm", "1");
		cg_set(cg[1], "memory.ksm", "1");
	}
	ksm_settle();
	all_intact("merged");
	ksm_unmerge_all();
	all_intact("unmerged");
}

/* A file with the contents 1 to KINDS, for O_DIRECT reads. */
static bool make_file(char *path)
{
	int area, fd = mkstemp(path), mem;
	struct worker *m;
	static char buf[KINDS * PAGE_SZ];
	char proc[64];
	bool ok;

	if (fd < 0)
		return false;
	m = w_new(NULL);
	area = w_map(m, KINDS, MAP_PLAIN);
	w_set(m, area, 0, KINDS, 1, 1);
	snprintf(proc, sizeof(proc), "/proc/%d/mem", m->pid);
	mem = open(proc, O_RDONLY | O_CLOEXEC);
	ok = mem >= 0 &&
	     pread(mem, buf, sizeof(buf), m->area[area].addr) == sizeof(buf) &&
	     write(fd, buf, sizeof(buf)) == sizeof(buf) && !fsync(fd);
	close(mem);
	close(fd);
	w_exit(m);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		ok = false;
	else
		close(fd);
	return ok;
}

static void disturb(int what)
{
	switch (what) {
	case 0 ... 4:
		ksm_pass(1);
		break;
	case 5:
		file_put("/proc/sys/vm/compact_memory", "1");
		break;
	case 6:
		cg_put(cg[below(2)], "memory.reclaim", "512K");
		break;
	case 7:
		to_node(w[below(PROCS)], below(2));
		break;
	case 8:
		knobs();
		break;
	case 9:
		groups();
		break;
	}
}

static void on_their_own(void)
{
	long rounds = ksm_steps ? ksm_steps : 20000;
	char path[] = "/var/tmp/ksm_stress.XXXXXX";
	bool direct, busy[PROCS];
	int i, left = PROCS;

	if (!swap_on())
		ksm_note("no swap on zram here");
	direct = make_file(path);
	if (!direct)
		ksm_note("no O_DIRECT on /var/tmp");
	begin();
	for (i = 0; i < PROCS; i++) {
		w_churn_start(w[i], rounds, ksm_random() | 1, KINDS,
			      direct ? path : NULL);
		busy[i] = true;
	}
	while (left) {
		disturb(below(10));
		for (i = 0; i < PROCS; i++) {
			if (!busy[i] || !w_ready(w[i]))
				continue;
			CHECK_EQ(w_finish(w[i]), 0, "process %d", w[i]->pid);
			busy[i] = false;
			left--;
		}
	}
	unlink(path);
	all_intact("in the end");
	ksm_settle();
	all_intact("merged");
}

static const struct ksm_case cases[] = {
	{ "driven at random", driven },
	{ "on their own, with children and direct reads", on_their_own },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
