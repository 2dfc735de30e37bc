// SPDX-License-Identifier: GPL-2.0
/*
 * Who gets how much of the scanning: by weight, beside neighbours that make it
 * hard, and with several scanner threads.
 *
 * What is compared is work as the scheduler counts it, from the trace event
 * ksm_slice; no time is taken.
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define EVENT		"ksm/ksm_slice"
#define SLICE		4096	/* lines */
#define PAGE_LINES	64
#define NR_CGS		3

static const char *cg[NR_CGS];

/* Lines of work that each cgroup had; threads: bits of who did some of it. */
struct spent {
	long long lines[NR_CGS];
	long long all;
	long long cost;		/* of the batch's budget */
	long long costs[NR_CGS];	/* likewise, of each cgroup */
	unsigned int threads[NR_CGS];
};

static struct spent trace_spent(void)
{
	u64 inode[NR_CGS], id;
	struct spent s = { 0 };
	struct ksmd_pids ksmd;
	unsigned long lines, cost;
	char line[256], *at;
	FILE *f = trace_end();
	int i, thread;

	for (i = 0; i < NR_CGS; i++)
		inode[i] = cg[i] ? cg_inode(cg[i]) : 0;
	ksmd_find(&ksmd);
	while (fgets(line, sizeof(line), f)) {
		at = strstr(line, "ksm_slice: ");
		if (!at || sscanf(at, "ksm_slice: work %lu cost %lu cgroup %llu",
				  &lines, &cost, &id) != 3)
			continue;
		s.all += lines;
		s.cost += cost;
		thread = trace_ksmd(line, &ksmd);
		for (i = 0; i < NR_CGS; i++) {
			if (id != inode[i])
				continue;
			s.lines[i] += lines;
			s.costs[i] += cost;
			s.threads[i] |= BIT(thread);
		}
	}
	fclose(f);
	return s;
}

/* Scan until this much was spent on a cgroup's pages, more or less. */
static void scan_pages(const char *of, long long pages)
{
	long long until = cg_stat(of, "pages_scanned") + pages;

	ksm_set("run", 1);
	NEED(WAIT_FOR(cg_stat(of, "pages_scanned") >= until), "nothing is scanned");
	ksm_stop();
}

static struct spent scan_traced(const char *of, long long pages)
{
	trace_begin(EVENT, NULL);
	scan_pages(of, pages);
	return trace_spent();
}

static struct spent one_batch(int pages)
{
	long long before;

	/* or the pause would be one after its last batch */
	NEED(WAIT_FOR(ksmd_waits()), "ksmd goes on with run=0");
	before = cg_stat(CGROOT, "scan_usec");
	ksm_set("pages_to_scan", pages);
	ksm_set("sleep_millisecs", 3600 * 1000);
	trace_begin(EVENT, NULL);
	ksm_set("run", 1);
	NEED(WAIT_FOR(cg_stat(CGROOT, "scan_usec") > before), "no batch");
	/* if more came, it would come now */
	usleep(300000);
	ksm_stop();
	/* the next batch is not to wait for that pause */
	ksm_set("sleep_millisecs", 20);
	return trace_spent();
}

/* Cgroups that are domains of their own, each with a process. */
static void groups(int nr, long pages)
{
	int i;

	ksm_need_cgroup();
	memset(cg, 0, sizeof(cg));
	for (i = 0; i < nr; i++) {
		cg[i] = cg_new(NULL, (char[]){ 'g', '0' + i, 0 });
		cg_set(cg[i], "memory.ksm", "1");
		if (pages)
			w_dup(cg[i], pages, 1 + i * pages, 1);
	}
}

/* ---- by weight ---- */

static void set_weights(const int *weight)
{
	char buf[16];
	int i;

	for (i = 0; i < NR_CGS; i++) {
		snprintf(buf, sizeof(buf), "%d", weight[i]);
		cg_set(cg[i], "memory.ksm.weight", buf);
	}
}

/* Two batches off, or 2%. */
static void shares_are(const struct spent *s, const int *weight)
{
	long long all = 0, part, off;
	int i, weights = 0;

	for (i = 0; i < NR_CGS; i++) {
		all += s->lines[i];
		weights += weight[i];
	}
	for (i = 0; i < NR_CGS; i++) {
		part = all * weight[i] / weights;
		off = part - s->lines[i];
		CHECK(llabs(off) <= 2 * SLICE + part / 50,
		      "%lld lines of %lld, %lld are its share", s->lines[i], all,
		      part);
	}
}

static void by_weight(void)
{
	static const int weight[] = { 100, 300, 600 };
	struct spent s;

	groups(3, 2048);
	set_weights(weight);
	ksm_settle();
	s = scan_traced(cg[2], 60000);
	shares_are(&s, weight);
	/* all is known, and none merged */
	CHECK(s.cost >= s.all - s.all / 100, "%lld lines for %lld", s.all, s.cost);
}

static void weight_changes(void)
{
	static const int weight[][NR_CGS] = {
		{ 1, 1, 1 }, { 10000, 100, 5000 }, { 10, 900, 90 }, { 7, 7, 700 },
	};
	struct spent s;
	size_t i;

	groups(3, 2048);
	ksm_settle();
	for (i = 0; i < ARRAY_SIZE(weight); i++) {
		set_weights(weight[i]);
		s = scan_traced(i ? cg[i - 1] : cg[0], 20000);
		shares_are(&s, weight[i]);
	}
}

static void idle_then_not(void)
{
	static const int equal[] = { 1, 1, 1 };
	struct worker *w;
	struct spent s;

	groups(3, 0);
	w_dup(cg[0], 2048, 1, 1);
	w_dup(cg[1], 2048, 10000, 1);
	ksm_settle();
	/* its share goes to the others */
	s = scan_traced(cg[0], 20000);
	CHECK(!s.lines[2], "%lld lines for nobody", s.lines[2]);
	CHECK(llabs(s.lines[0] - s.lines[1]) <= 2 * SLICE + s.lines[0] / 50,
	      "%lld and %lld lines", s.lines[0], s.lines[1]);
	/* it comes back without a burst */
	w = w_dup(cg[2], 2048, 20000, 1);
	s = scan_traced(cg[0], 20000);
	shares_are(&s, equal);
	w_exit(w);
}

/* ---- what is new ---- */

/*
 * A batch of 100 pages is 1600 first looks: enough for a small process, not for
 * a round through those that are known.
 */
static void new_process_first(void)
{
	struct worker *w[3], *fresh;
	struct spent s;
	int i;

	groups(1, 0);
	for (i = 0; i < 3; i++)
		w[i] = w_dup(cg[0], 2048, 1 + 2048 * i, 1);
	ksm_settle();
	ksm_set("smart_scan", 0);
	fresh = w_dup(cg[0], 256, 90000, 1);
	s = one_batch(100);
	/* four lines each, of which next to nothing was taken from the budget */
	CHECK(s.all - s.cost >= 256 * 4 * 9 / 10, "%lld lines for %lld", s.all,
	      s.cost);
	CHECK(w_stat(fresh, "ksm_rmap_items") >= 256, "%lld of its 256 pages are known",
	      w_stat(fresh, "ksm_rmap_items"));
	for (i = 0; i < 3; i++)
		w_exit(w[i]);
}

/* Pages that look alike, differ, and change all the time, bring nothing. */
static void restless(void)
{
	enum { N = 200 };
	struct worker *w;
	struct spent s;
	int i, round;

	groups(1, 0);
	w = w_dup(cg[0], N, 70000, 0);
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2000, 1 + i);
	ksm_pass(4);
	ksm_stop();
	trace_begin(EVENT, NULL);
	for (round = 1; round <= 6; round++) {
		/* in between, some are what others still are, and would be merged */
		ksm_stop();
		for (i = 0; i < N; i++)
			w_poke(w, 0, i, 2000, 1 + (i + round * 7) % 251);
		ksm_pass(1);
	}
	ksm_stop();
	s = trace_spent();
	CHECK(s.costs[0] >= s.lines[0] - s.lines[0] / 10, "%lld lines for %lld",
	      s.lines[0], s.costs[0]);
	w_verify(w);
}

/*
 * How many lines were read in so many passes, but for the looks; @busy: the first
 * @nr pages change before each; @looks: how often any was looked at.
 */
static long long whole_lines(struct worker *w, int nr, bool busy, int passes,
			     long long *looks)
{
	enum { LOOK = 5 };	/* with what the walk takes */
	long long lines;
	int round, i;

	ksm_stop();
	*looks = cg_stat(cg[0], "pages_scanned");
	trace_begin(EVENT, NULL);
	for (round = 1; round <= passes; round++) {
		ksm_stop();
		for (i = 0; busy && i < nr; i++)
			w_poke(w, 0, i, 2000, 1 + (i + round * 7) % 251);
		ksm_pass(1);
	}
	ksm_stop();
	*looks = cg_stat(cg[0], "pages_scanned") - *looks;
	lines = trace_spent().lines[0] - LOOK * *looks;
	NEED(!trace_lost(), "%lld events are lost", trace_lost());
	return lines;
}

/* Of a page that is read whole: itself, and both that are compared. */
#define READ_LINES	(3 * PAGE_LINES)
/* And the other one again, where it may have changed. */
#define CHANGED_LINES	(4 * PAGE_LINES)

/*
 * Pages that differ where the first look does not see it are read whole now and
 * then, however often they are written to; and at once if they were still.
 */
static void alike(void)
{
	enum { N = 200, EVERY = 16 };
	long long lines, looks;
	struct worker *w;
	int i, round;

	groups(1, 0);
	ksm_set("smart_scan", 0);
	w = w_dup(cg[0], N, 70000, 0);
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2000, 1 + i);
	ksm_pass(2 * EVERY);
	lines = whole_lines(w, N, false, 2 * EVERY, &looks);
	CHECK(lines <= READ_LINES * (looks / EVERY + N),
	      "%lld lines in %lld looks at still pages", lines, looks);
	/*
	 * As often again as they were written to, before the first and after the
	 * last, too; and once as another was for a moment what this one had been.
	 */
	lines = whole_lines(w, N, true, EVERY, &looks);
	CHECK(lines <= CHANGED_LINES * (2 * (looks / EVERY + N) + 2 * N),
	      "%lld lines in %lld looks at busy pages", lines, looks);

	/* more than once, as now and then may just have come */
	for (round = 0; round < 3; round++) {
		ksm_stop();
		for (i = 0; i < N; i++)
			w_poke(w, 0, i, 2000, 1 + i);
		ksm_pass(3 * EVERY);
		ksm_stop();
		for (i = 0; i < N; i += 2)
			w_poke(w, 0, i, 2000, 2 + i);
		ksm_pass(3);
		ksm_stop();
		CHECK(w_count(w, 0, F_KSM) == N, "%ld merged of %d",
		      w_count(w, 0, F_KSM), N);
	}
	w_verify(w);
}

#define WORDS	(PAGE_SZ / sizeof(u64))

static void colliding_read(struct worker *w, int i, u64 *page)
{
	struct iovec to = { page, PAGE_SZ };
	struct iovec from = { (void *)(w->area[0].addr + i * PAGE_SZ), PAGE_SZ };

	NEED(process_vm_readv(w->pid, &to, 1, &from, 1, 0) == PAGE_SZ,
	     "page %d cannot be read", i);
}

/*
 * Change a page in some of sixteen places, so that it may have the fingerprint
 * that it had: what one change of a pair does to xxh64, the other takes back, for
 * one key of two.
 */
static void colliding_make(struct worker *w, int i, int bits, u64 *page)
{
	struct iovec from = { page, PAGE_SZ };
	struct iovec to = { (void *)(w->area[0].addr + i * PAGE_SZ), PAGE_SZ };
	u64 *at;

	colliding_read(w, i, page);
	for (at = page; bits; bits >>= 1, at += WORDS / 16) {
		if (bits & 1) {
			at[0] ^= 1ULL << 63;
			at[4] += 0xce48002dc0000000;
		}
	}
	NEED(process_vm_writev(w->pid, &from, 1, &to, 1, 0) == PAGE_SZ,
	     "page %d cannot be written", i);
}

/*
 * Pages of which many have one fingerprint, and no two are equal, leave the index
 * for one another. They are read whole now and then, too, and not at each visit.
 */
static void colliding(void)
{
	enum { N = 250, COPIES = 50, EVERY = 16 };
	static u64 want[N][WORDS], page[WORDS];
	long long lines, looks;
	struct worker *w;
	int i;

	groups(1, 0);
	ksm_set("smart_scan", 0);
	w = w_dup(cg[0], N, 70000, 0);
	/* and some are merged with the next, with which others collide then */
	for (i = 0; i < N; i++)
		colliding_make(w, i, i < 2 * COPIES ? i / 2 : i - COPIES, want[i]);
	ksm_pass(2 * EVERY);
	lines = whole_lines(w, N, false, 4 * EVERY, &looks);
	CHECK(lines <= CHANGED_LINES * (looks / EVERY + N),
	      "%lld lines in %lld looks at still pages", lines, looks);
	for (i = 0; i < N; i++) {
		colliding_read(w, i, page);
		CHECK(!memcmp(page, want[i], PAGE_SZ), "page %d changed", i);
	}
}

#define EACH	4

/* In how many of the groups of pages are some merged? */
static int groups_merged(struct worker *w, int nr)
{
	struct frame f[nr * EACH];
	int i, merged = 0;

	w_frames(w, 0, f);
	for (i = 0; i < nr * EACH; i += EACH) {
		if ((f[i].flags & f[i + 2].flags & F_KSM) ||
		    (f[i + 1].flags & f[i + 3].flags & F_KSM))
			merged++;
	}
	return merged;
}

/*
 * Nor do they keep all apart that are equal: here, of four the first and third,
 * and the second and fourth.
 */
static void colliding_twins(void)
{
	enum { N = 16 };
	static u64 want[N * EACH][WORDS], page[WORDS];
	struct worker *w;
	int i;

	groups(1, 0);
	ksm_set("smart_scan", 0);
	w = w_dup(cg[0], N * EACH, 70000, 1);
	for (i = 0; i < N * EACH; i++) {
		w_set(w, 0, i, 1, 80000 + i / EACH, 0);
		colliding_make(w, i, i & 1 ? 1 << i / EACH : 0, want[i]);
	}
	ksm_set("run", 1);
	NEED(WAIT_FOR(groups_merged(w, N) == N), "%d of %d groups have merged pages",
	     groups_merged(w, N), N);
	ksm_stop();
	for (i = 0; i < N * EACH; i++) {
		colliding_read(w, i, page);
		CHECK(!memcmp(page, want[i], PAGE_SZ), "page %d changed", i);
	}
}

/* Reading whole is dear: a slice ends in the midst of what it looked at. */
static void alike_batch(void)
{
	enum { N = 1000 };
	struct worker *w;
	struct spent s;
	int i;

	groups(1, 0);
	w = w_dup(cg[0], N, 70000, 0);
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2000 + i / 250, 1 + i % 250);
	ksm_pass(4);
	ksm_stop();
	/* all are read whole again, and still differ */
	for (i = 0; i < N; i++)
		w_poke(w, 0, i, 2010, 1);
	s = one_batch(100);
	CHECK(s.cost <= 100 * PAGE_LINES + SLICE, "%lld lines in a batch", s.cost);
	CHECK(s.cost >= 100 * PAGE_LINES / 2, "%lld lines in a batch", s.cost);
	/* and goes on there, with however small a batch */
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 1);
	ksm_pass(1);
	ksm_stop();
	w_verify(w);
}

/* Where a slice ends among pages that were seen once, they still were. */
static void seen_once(void)
{
	struct worker *w;

	groups(1, 0);
	ksm_set("use_zero_pages", 1);
	w = w_dup(cg[0], 1000, 0, 0);
	one_batch(100);
	CHECK(w_stat(w, "ksm_rmap_items") > 0, "nothing was looked at");
	CHECK(!w_count(w, 0, F_ZERO), "%ld zero pages at first sight",
	      w_count(w, 0, F_ZERO));
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 2000);
	ksm_settle();
	CHECK(w_count(w, 0, F_ZERO) == 1000, "%ld zero pages in the end",
	      w_count(w, 0, F_ZERO));
	w_verify(w);
}

static void switched_on_first(void)
{
	struct worker *fresh;

	groups(2, 0);
	cg_set(cg[1], "memory.ksm", "0");
	fresh = w_dup(cg[1], 256, 90000, 1);
	w_dup(cg[0], 2048, 1, 1);
	w_dup(cg[0], 2048, 3000, 1);
	ksm_settle();
	ksm_set("smart_scan", 0);
	one_batch(100);
	CHECK(!w_stat(fresh, "ksm_rmap_items"), "scanned under a 0");
	cg_set(cg[1], "memory.ksm", "1");
	/* half of the batch is its due, and it comes at once */
	one_batch(100);
	CHECK(w_stat(fresh, "ksm_rmap_items") >= 256, "%lld of its 256 pages are known",
	      w_stat(fresh, "ksm_rmap_items"));
}

/* ---- neighbours ---- */

/* Runs in a cgroup, says when it is ready, and stays until it is killed. */
static pid_t neighbour(const char *in, void (*fn)(int ready))
{
	int ready[2];
	char byte;
	pid_t pid;

	NEED(!pipe(ready), "pipe");
	pid = fork();
	NEED(pid >= 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		if (cg_move(in, getpid()))
			_exit(1);
		fn(ready[1]);
		_exit(2);
	}
	setpgid(pid, pid);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		ksm_fatal(__FILE__, __LINE__, "it could not begin beside us");
	}
	close(ready[0]);
	return pid;
}

static void is_ready(int ready)
{
	if (write(ready, "", 1) != 1)
		_exit(3);
}

static void *reserve(unsigned long len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		_exit(4);
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

/* 32 TiB with a page here and there. */
static void sparse(int ready)
{
	unsigned long len = 32UL << 40, i;
	char *p = reserve(len);

	for (i = 0; i < 3000; i++)
		*(long *)(p + (len / 3000 & ~7UL) * i) = 1 + i;
	is_ready(ready);
	for (;;)
		pause();
}

static void many_vmas(int ready)
{
	enum { VMAS = 60000 };
	char *p = reserve(2 * VMAS * PAGE_SZ);
	long i;

	for (i = 0; i < VMAS; i++) {
		*(long *)(p + 2 * i * PAGE_SZ) = 1 + i;
		/* a hole on either side */
		if (munmap(p + (2 * i + 1) * PAGE_SZ, PAGE_SZ))
			_exit(5);
	}
	is_ready(ready);
	for (;;)
		pause();
}

static void *lock_hog(void *mem)
{
	long i;

	for (i = 0;; i++) {
		if (mprotect(mem, 256 * PAGE_SZ, i & 1 ? PROT_READ :
			     PROT_READ | PROT_WRITE))
			_exit(6);
	}
	return NULL;
}

static void mmap_lock_hog(int ready)
{
	char *p = reserve(256 * PAGE_SZ);
	pthread_t t;

	memset(p, 1, 256 * PAGE_SZ);
	if (pthread_create(&t, NULL, lock_hog, reserve(256 * PAGE_SZ)))
		_exit(7);
	is_ready(ready);
	lock_hog(p);
}

static void forker(int ready)
{
	char *p = reserve(64 * PAGE_SZ);
	long i;

	for (i = 0; i < 64; i++)
		p[i * PAGE_SZ] = 1 + i;
	is_ready(ready);
	for (;;) {
		pid_t pid = fork();

		if (!pid) {
			p[0] = i++;
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}

/*
 * An honest cgroup keeps half beside one of equal weight. A page of the
 * neighbour's costs so many lines at least, with the way to it.
 */
static void beside(void (*fn)(int ready), int page, bool batch)
{
	long long lines, scanned;
	struct spent s;
	pid_t pid;

	groups(2, 0);
	w_dup(cg[0], 2048, 1, 1);
	pid = neighbour(cg[1], fn);
	/* the honest one may be gone through several times in each round */
	scan_pages(cg[0], 8192);
	scanned = cg_stat(cg[1], "pages_scanned");
	s = scan_traced(cg[0], 60000);
	scanned = cg_stat(cg[1], "pages_scanned") - scanned;
	CHECK(s.lines[1] >= scanned * page - scanned * page / 20, "%lld pages for %lld lines",
	      scanned, s.lines[1]);
	lines = s.lines[0] + s.lines[1];
	CHECK(s.lines[0] >= lines * 48 / 100 - 2 * SLICE,
	      "%lld of %lld lines for the honest one", s.lines[0], lines);
	CHECK(s.lines[1], "the neighbour was not served at all");

	/* no longer than it may be */
	if (batch) {
		s = one_batch(1000);
		CHECK(s.cost <= 1000 * PAGE_LINES + SLICE, "%lld lines in a batch",
		      s.cost);
	}
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void beside_sparse(void)
{
	/* a page table and what is above it, eight entries to a line */
	beside(sparse, 2 * PAGE_LINES, true);
}

static void beside_vmas(void)
{
	/* four for the look, one for the VMA, one for the entry */
	beside(many_vmas, 6, true);
}

static void beside_hog(void)
{
	beside(mmap_lock_hog, 4, true);
}

static void beside_forker(void)
{
	beside(forker, 4, false);
}

/* ---- several threads ---- */

static int nr_threads(void)
{
	int nr = 0;

	while (ksmd_file(nr, "stat"))
		nr++;
	return nr;
}

static int put_threads(const char *value)
{
	return file_put(KSM_SYSFS "threads", value);
}

static void need_threads(void)
{
	ksm_need_cgroup();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		ksm_skip("one CPU");
	ksm_set("threads", 2);
}

static void threads_file(void)
{
	static const char * const bad[] = { "0", "-1", "x", "2 2", "5000" };
	char many[24];
	size_t i;

	need_threads();
	CHECK(nr_threads() == 2, "%d threads", nr_threads());
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK(put_threads(bad[i]) == -EINVAL, "'%s' is taken", bad[i]);
		CHECK(ksm_get("threads") == 2 && nr_threads() == 2,
		      "'%s': %lld threads", bad[i], ksm_get("threads"));
	}
	snprintf(many, sizeof(many), "%ld", sysconf(_SC_NPROCESSORS_ONLN) + 1);
	CHECK(put_threads(many) == -EINVAL, "more threads than CPUs");
	ksm_set("threads", 1);
	CHECK(nr_threads() == 1, "%d threads", nr_threads());
}

/* One budget for both: what one domain gets is taken from the other. */
static void threads_by_weight(void)
{
	static const int weight[] = { 100, 100, 1800 };
	struct spent s;
	int i;

	need_threads();
	groups(3, 2048);
	set_weights(weight);
	/* threads may be off by two batches */
	ksm_set("pages_to_scan", 100);
	ksm_settle();
	s = scan_traced(cg[2], 60000);
	shares_are(&s, weight);
	for (i = 0; i < NR_CGS; i++)
		CHECK(s.threads[i] <= 3, "threads %x", s.threads[i]);
}

static void side_by_side(void)
{
	struct worker *w[4];
	struct spent s;
	int i;

	need_threads();
	groups(2, 0);
	for (i = 0; i < 4; i++)
		w[i] = w_dup(cg[i / 2], 4096, 1, 1);
	s = scan_traced(cg[0], 60000);
	for (i = 0; i < 2; i++)
		CHECK(s.threads[i] == 3, "cgroup %d: threads %x", i, s.threads[i]);
	ksm_settle();
	CHECK(w_same(w[0], w[1], 0) == 4096 && w_same(w[2], w[3], 0) == 4096,
	      "%ld and %ld pages are merged", w_same(w[0], w[1], 0),
	      w_same(w[2], w[3], 0));
	CHECK(!w_common_ksm(w[0], w[2]), "merged across domains");
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

/* A domain is one thread's at a time; the other does not spoil that. */
static void one_domain(void)
{
	struct worker *w[24];
	const char *sub;
	struct spent s;
	int i;

	need_threads();
	groups(1, 0);
	for (i = 0; i < (int)ARRAY_SIZE(w); i++) {
		sub = cg_new(cg[0], (char[]){ 's', 'a' + i, 0 });
		w[i] = w_dup(sub, 64, 1, 1);
	}
	ksm_pass(50);
	ksm_settle();
	for (i = 1; i < (int)ARRAY_SIZE(w); i++)
		CHECK(w_same(w[0], w[i], 0) == 64, "%d: %ld pages are merged", i,
		      w_same(w[0], w[i], 0));
	for (i = 0; i < (int)ARRAY_SIZE(w); i++) {
		w_verify(w[i]);
		if (i >= 2 && i < (int)ARRAY_SIZE(w) - 1)
			w_exit(w[i]);
	}
	/* whose turn it was while the other had the domain still gets it */
	cg[1] = sub;
	cg_set(sub, "memory.ksm.weight", "1");
	s = scan_traced(sub, 64);
	CHECK(s.lines[1], "the least of them is not served");
	CHECK(s.lines[1] <= s.all / 201 + 2 * SLICE, "%lld lines of %lld",
	      s.lines[1], s.all);
	w_verify(w[0]);
	w_verify(w[1]);
	w_verify(w[ARRAY_SIZE(w) - 1]);
}

static void threads_come_and_go(void)
{
	static const int runs[] = { 1, 0, 1, 3, 1, 2, 1 };
	struct worker *w[6];
	const char *in, *sub[2];
	int i;

	need_threads();
	groups(3, 0);
	sub[0] = cg_new(cg[2], "a");
	sub[1] = cg_new(cg[2], "b");
	for (i = 0; i < 6; i++) {
		in = i < 4 ? cg[i / 2] : sub[i - 4];
		w[i] = w_dup(in, 256, 700, 1);
	}
	ksm_set("run", 1);
	for (i = 0; i < 200; i++) {
		ksm_set("threads", 1 + (i & 1));
		ksm_set("run", runs[i % 7]);
		w_set(w[i % 6], 0, i, 32, 700 + i, 1);
		if (i % 10 == 3)
			cg_set(cg[1], "memory.ksm", i % 20 == 3 ? "0" : "1");
		if (i % 10 == 5)
			cg_set(sub[1], "memory.ksm",
			       i % 20 == 5 ? "1" : "inherit");
		/* from domain to domain while they are scanned */
		CHECK(!cg_move(cg[i & 1], w[i & 3]->pid), "cannot be moved");
		w_verify(w[(i + 1) % 6]);
	}
	cg_set(cg[1], "memory.ksm", "1");
	cg_set(sub[1], "memory.ksm", "inherit");
	for (i = 0; i < 4; i++)
		CHECK(!cg_move(cg[i / 2], w[i]->pid), "cannot be moved back");
	for (i = 0; i < 6; i++)
		w_set(w[i], 0, 0, 256, 700, 1);
	ksm_settle();
	for (i = 0; i < 6; i += 2)
		CHECK(w_same(w[i], w[i + 1], 0) == 256, "%d: %ld pages are merged",
		      i, w_same(w[i], w[i + 1], 0));
	for (i = 0; i < 6; i++) {
		w_verify(w[i]);
		w_exit(w[i]);
	}
	for (i = 0; i < 3; i++)
		CHECK(WAIT_FOR(!cg_stat(cg[i], "ksm_metadata_bytes")),
		      "%lld bytes stay", cg_stat(cg[i], "ksm_metadata_bytes"));
}

static const struct ksm_case cases[] = {
	{ "scanning goes by weight", by_weight },
	{ "a change of weight holds at once", weight_changes },
	{ "an idle cgroup's share goes on, and comes back", idle_then_not },
	{ "a new process goes before those that are known", new_process_first },
	{ "what changes all the time costs the budget in full", restless },
	{ "what looks alike is read whole now and then", alike },
	{ "what has one fingerprint is not read whole each time", colliding },
	{ "what has one fingerprint is merged all the same", colliding_twins },
	{ "a batch is as long as it may be where all look alike", alike_batch },
	{ "what is seen for the first time is not merged", seen_once },
	{ "a cgroup that is switched on is served at once", switched_on_first },
	{ "beside a sparse mapping of 32 TiB", beside_sparse },
	{ "beside 60000 VMAs", beside_vmas },
	{ "beside one that keeps its mmap lock", beside_hog },
	{ "beside one that forks all the time", beside_forker },
	{ "threads takes 1 to the number of CPUs", threads_file },
	{ "weights hold with two threads", threads_by_weight },
	{ "two threads in two domains", side_by_side },
	{ "two threads and one domain", one_domain },
	{ "threads come and go", threads_come_and_go },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
