// SPDX-License-Identifier: GPL-2.0
/*
 * Scanning on demand, and how often what does not change is looked at.
 *
 * - a write to memory.ksm.scan goes once through the subtree, up to the size
 *   that it names, while ksmd sleeps
 * - it says EAGAIN, EINTR and ENODEV where the documentation says so
 * - many writers, ksmd and changes of run do not hurt each other; who is
 *   throttled holds up nobody, which ksm_cgroup_throttle.c is about
 * - smart scan passes over what is known and unchanged, less and less often
 *   looking all the same; what is new or changed it never passes over
 * - MADV_FREE lets go of what is merged
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define N	256
#define FLOOR	8	/* of so many passes, one looks at an unchanged page */

static const char *cg;

/* After a single slice; somebody takes part already. */
static void ksmd_sleeps(void)
{
	long long before;

	ksm_stop();
	NEED(WAIT_FOR(ksmd_waits()), "ksmd goes on with run=0");
	before = cg_stat(CGROOT, "scan_usec");
	ksm_set("pages_to_scan", 1);
	ksm_set("sleep_millisecs", 3600 * 1000);
	ksm_set("run", 1);
	NEED(WAIT_FOR(cg_stat(CGROOT, "scan_usec") > before && ksmd_waits()),
	     "no slice");
}

static struct worker *asker(const char *in, u64 tag, long step)
{
	struct worker *a = w_dup(in, N, tag, step);

	w_madv(a, 0, MADV_MERGEABLE);
	return a;
}

static void need_scan(void)
{
	ksm_need_cgroup();
	cg = cg_new(NULL, "a");
	if (!cg_has(cg, "memory.ksm.scan"))
		ksm_skip("this kernel has no memory.ksm.scan");
}

static bool demand(const char *in, const char *size)
{
	int err = cg_put(in, "memory.ksm.scan", size);

	CHECK(!err, "%s: %s", size, strerror(-err));
	return !err;
}

/* ---- on demand ---- */

static void merges(void)
{
	struct worker *a, *b;
	const char *sub;

	need_scan();
	cg_set(cg, "memory.ksm", "1");
	sub = cg_new(cg, "sub");
	a = w_dup(cg_new(cg, "other"), N, 100, 1);
	b = w_dup(sub, N, 100, 1);
	ksmd_sleeps();
	/* pages on their way to the LRU can be merged a bit later */
	NEED(WAIT_FOR(demand(cg, "max") && w_same(a, b, 0) == N),
	     "%ld of %d are merged", w_same(a, b, 0), N);
	CHECK(cg_stat(sub, "scan_usec") > 0, "scanned in no time");
	CHECK(ksm_get("pages_shared") == cg_stat(cg, "pages_shared"),
	      "%lld frames in all, %lld here", ksm_get("pages_shared"),
	      cg_stat(cg, "pages_shared"));
	w_poke(a, 0, 3, 5, 1);
	w_verify(a);
	w_verify(b);
	CHECK(w_same(a, b, 0) == N - 1, "a write unshared %ld pages",
	      N - w_same(a, b, 0));
}

static void zeroes(void)
{
	struct worker *a;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	a = asker(cg, 0, 0);
	ksm_set("use_zero_pages", 1);
	ksmd_sleeps();
	NEED(WAIT_FOR(demand(cg, "max") && w_count(a, 0, F_ZERO) == N),
	     "%ld zero pages of %d", w_count(a, 0, F_ZERO), N);
	w_verify(a);
}

static void sizes(void)
{
	long long before;
	struct worker *a;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	a = asker(cg, 500, 1);
	ksmd_sleeps();
	before = cg_stat(cg, "pages_scanned");
	demand(cg, "20K");
	CHECK(cg_stat(cg, "pages_scanned") - before == 5,
	      "20K are %lld pages", cg_stat(cg, "pages_scanned") - before);
	before = cg_stat(cg, "pages_scanned");
	demand(cg, "0");
	CHECK(cg_stat(cg, "pages_scanned") == before, "0 scans something");
	demand(cg, "1G");
	CHECK(cg_stat(cg, "pages_scanned") - before == N,
	      "one pass is %lld pages", cg_stat(cg, "pages_scanned") - before);
	CHECK(ksm_get("full_scans") == cg_stat(CGROOT, "full_scans"),
	      "full_scans differ");
	w_verify(a);
}

/* Processes that are gone through in the order in which they came. */
static void goes_on(void)
{
	struct worker *a, *b;
	const char *other;
	long long before;
	int i;

	need_scan();
	other = cg_new(NULL, "b");
	cg_set(other, "memory.ksm", "madvise");
	asker(other, 1, 1);
	ksmd_sleeps();
	ksm_set("smart_scan", 0);
	cg_set(cg, "memory.ksm", "madvise");
	a = asker(cg, 500, 1);
	b = asker(cg, 5000, 1);
	/* neither in a process nor at its end is any missed, or seen twice */
	for (i = 1; i <= 2 * N / 15; i++) {
		demand(cg, "60K");
		NEED(cg_stat(cg, "pages_volatile") == 15 * i,
		     "after %d pages %lld were seen once", 15 * i,
		     cg_stat(cg, "pages_volatile"));
	}
	before = cg_stat(cg, "pages_scanned");
	demand(cg, "max");
	CHECK(cg_stat(cg, "pages_scanned") - before == 2 * N,
	      "one pass is %lld pages", cg_stat(cg, "pages_scanned") - before);
	CHECK(cg_stat(cg, "pages_volatile") == 2 * N % 15 &&
	      cg_stat(cg, "pages_unshared") == 2 * N - 2 * N % 15,
	      "%lld pages seen once, %lld again", cg_stat(cg, "pages_volatile"),
	      cg_stat(cg, "pages_unshared"));
	/* the process in which it ended is gone: then with another one */
	demand(cg, "1M");
	demand(cg, "20K");
	w_verify(b);
	w_exit(b);
	before = cg_stat(cg, "pages_scanned");
	demand(cg, "max");
	CHECK(cg_stat(cg, "pages_scanned") - before == N,
	      "one pass is %lld pages", cg_stat(cg, "pages_scanned") - before);
	w_verify(a);
}

static void refused(void)
{
	struct worker *a;
	int i;

	need_scan();
	ksm_set("run", 1);
	CHECK(cg_put(cg, "memory.ksm.scan", "max") == -EAGAIN,
	      "nothing takes part, and it scans");
	cg_set(cg, "memory.ksm", "madvise");
	a = w_dup(cg, N, 1, 1);
	CHECK(cg_put(cg, "memory.ksm.scan", "max") == -EAGAIN,
	      "nobody asked, and it scans");
	w_madv(a, 0, MADV_MERGEABLE);
	for (i = 0; i <= 3; i++) {
		int want = i == 0 || i == 2 ? -EAGAIN : 0, err;

		ksm_set("run", i);
		err = cg_put(cg, "memory.ksm.scan", "max");
		CHECK(err == want, "run=%d: %d", i, err);
	}
	cg_set(cg, "memory.ksm", "inherit");
	/* of the root domain run=3 serves nobody who has no value of his own */
	CHECK(cg_put(cg, "memory.ksm.scan", "max") == -EAGAIN,
	      "run=3: a cgroup that inherits from the root is scanned");
	cg_set(cg, "memory.ksm", "0");
	ksm_set("run", 1);
	CHECK(cg_put(cg, "memory.ksm.scan", "max") == -EAGAIN,
	      "under a 0 it scans");
	CHECK(cg_put(cg, "memory.ksm.scan", "") == -EINVAL ||
	      cg_put(cg, "memory.ksm.scan", " ") == -EINVAL, "nothing is a size");
}

static void nothing(int sig)
{
	(void)sig;
}

/* A child that writes to an open memory.ksm.scan until it gets @until. */
static pid_t writer(const char *to, int until)
{
	struct itimerval often = { { 0, 500 }, { 0, 500 } };
	struct sigaction act = { .sa_handler = nothing };
	char path[300];
	pid_t pid;
	int fd;

	/* before anybody can remove the cgroup */
	snprintf(path, sizeof(path), "%s/memory.ksm.scan", to);
	fd = open(path, O_WRONLY);
	NEED(fd >= 0, "%s: %m", path);
	pid = fork();
	NEED(pid >= 0, "no fork");
	if (pid) {
		close(fd);
		return pid;
	}
	if (until == EINTR) {
		sigaction(SIGALRM, &act, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
	}
	for (;;) {
		int err = pwrite(fd, "max", 3, 0) == 3 ? 0 : errno;

		if (err == until)
			_exit(0);
		if (err && err != EAGAIN)
			_exit(100 + err);
	}
}

static bool ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

static void ends_well(pid_t pid, const char *with)
{
	int status = -1;

	if (!WAIT_FOR(ended(pid, &status))) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		ksm_fatal(__FILE__, __LINE__, "no %s", with);
	}
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "%s: status %x", with,
	      status);
}

static void stop_writer(pid_t pid)
{
	int status = -1;

	CHECK(!ended(pid, &status), "a writer ended with %x", status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void interrupted(void)
{
	struct worker *a;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	a = w_dup(cg, 16 * N, 1, 1);
	w_madv(a, 0, MADV_MERGEABLE);
	ksm_set("run", 1);
	ends_well(writer(cg, EINTR), "EINTR");
	/* what was done is kept, and the next write goes on */
	demand(cg, "max");
	CHECK(cg_stat(cg, "pages_scanned") >= 16 * N, "%lld pages scanned",
	      cg_stat(cg, "pages_scanned"));
	w_verify(a);
}

static void cgroup_goes(void)
{
	struct worker *a;
	const char *sub;
	pid_t pid;
	int i;

	need_scan();
	cg_set(cg, "memory.ksm", "1");
	for (i = 0; i < 5; i++) {
		sub = cg_new(cg, (char[]){ 's', '0' + i, 0 });
		a = w_dup(sub, N, 1, 1);
		ksm_set("run", 1);
		pid = writer(sub, ENODEV);
		NEED(WAIT_FOR(cg_stat(sub, "pages_scanned") > 0), "no scan");
		w_exit(a);
		NEED(WAIT_FOR(!cg_rmdir(sub)), "the writer keeps its cgroup");
		ends_well(pid, "ENODEV");
	}
	CHECK(WAIT_FOR(!cg_dying(cg)), "%lld cgroups do not die", cg_dying(cg));
}

/* Writers, ksmd, run and the processes all at once. */
static void together(void)
{
	static const int runs[] = { 1, 0, 1, 2, 3, 1 };
	const char *sub[2];
	struct worker *w[4];
	pid_t pid[3];
	int i, j;

	need_scan();
	cg_set(cg, "memory.ksm", "1");
	for (i = 0; i < 2; i++)
		sub[i] = cg_new(cg, i ? "y" : "x");
	cg_set(sub[1], "memory.ksm", "1");	/* a domain of its own */
	for (i = 0; i < 4; i++)
		w[i] = w_dup(sub[i / 2], N, 900, 1);
	ksm_set("smart_scan", 1);
	ksm_set("run", 1);
	for (i = 0; i < 3; i++)
		pid[i] = writer(i ? sub[i - 1] : cg, ENODEV);
	for (i = 0; i < 120; i++) {
		ksm_set("run", runs[i % 6]);
		w_set(w[i % 4], 0, i, 8, 900 + i, 1);
		for (j = 0; j < 64; j++)
			w_poke(w[(i + 1) % 4], 0, (i + j) % N, j, i);
		w_verify(w[i % 4]);
		if (i % 10 == 5)
			cg_set(sub[1], "memory.ksm.domain",
			       i % 20 == 5 ? "parent" : "self");
	}
	for (i = 0; i < 3; i++)
		stop_writer(pid[i]);
	for (i = 0; i < 4; i++)
		w_set(w[i], 0, 0, N, 900, 1);
	ksm_settle();
	CHECK(w_same(w[0], w[1], 0) == N && w_same(w[2], w[3], 0) == N,
	      "%ld and %ld pages are merged", w_same(w[0], w[1], 0),
	      w_same(w[2], w[3], 0));
	for (i = 0; i < 4; i++) {
		w_verify(w[i]);
		w_exit(w[i]);
	}
	CHECK(WAIT_FOR(!cg_stat(cg, "ksm_metadata_bytes")), "%lld bytes stay",
	      cg_stat(cg, "ksm_metadata_bytes"));
	CHECK(!cg_stat(cg, "ksm_merging_pages") && !cg_stat(cg, "processes"),
	      "something stays");
}

/* ---- what is passed over ---- */

static long long scanned, skipped;

static void count(void)
{
	scanned = cg_stat(cg, "pages_scanned");
	skipped = cg_stat(cg, "pages_skipped");
}

/* One pass more by the cgroup's own count, in the writer's time. */
static void passes(int nr)
{
	while (nr--)
		demand(cg, "max");
}

static struct worker *known(int smart)
{
	struct worker *a;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	a = asker(cg, 70000, 1);
	ksmd_sleeps();
	ksm_set("smart_scan", smart);
	passes(4 * FLOOR);
	CHECK(cg_stat(cg, "pages_unshared") == N, "%lld pages are known",
	      cg_stat(cg, "pages_unshared"));
	return a;
}

static void less_often(void)
{
	struct worker *a = known(1);

	count();
	passes(FLOOR);
	CHECK(cg_stat(cg, "pages_scanned") - scanned == N,
	      "%lld looks in %d passes at %d pages",
	      cg_stat(cg, "pages_scanned") - scanned, FLOOR, N);
	CHECK(cg_stat(cg, "pages_skipped") - skipped == (FLOOR - 1) * N,
	      "%lld passed over", cg_stat(cg, "pages_skipped") - skipped);
	ksm_set("smart_scan", 0);
	count();
	passes(2);
	CHECK(cg_stat(cg, "pages_scanned") - scanned == 2 * N,
	      "without smart scan %lld looks in two passes at %d pages",
	      cg_stat(cg, "pages_scanned") - scanned, N);
	CHECK(cg_stat(cg, "pages_skipped") == skipped, "some were passed over");
	w_verify(a);
}

static void changed_at_once(void)
{
	struct worker *a = known(1), *b;
	int i;

	/* some written, the others passed over: first by one byte each */
	passes(1);
	for (i = 0; i < N; i += 2)
		w_poke(a, 0, i, (i * 13) % PAGE_SZ, i + 1);
	count();
	passes(1);
	CHECK(cg_stat(cg, "pages_scanned") - scanned >= N / 2,
	      "%lld looks at %d pages that were written",
	      cg_stat(cg, "pages_scanned") - scanned, N / 2);
	/* then by new contents: known again after two looks */
	w_set(a, 0, 0, N, 80000, 1);
	passes(2);
	CHECK(cg_stat(cg, "pages_unshared") == N, "%lld pages are known",
	      cg_stat(cg, "pages_unshared"));
	passes(3);
	/* who comes meets what is passed over */
	b = asker(cg, 80000, 1);
	NEED(WAIT_FOR(demand(cg, "max") && w_same(a, b, 0) == N),
	     "%ld of %d are merged", w_same(a, b, 0), N);
	w_verify(a);
	w_verify(b);
}

/*
 * Of two pages that differ where the first look does not see it, the first is
 * known by its look, the other by all its bytes.
 */
static struct worker *two_alike(int smart)
{
	struct worker *a;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	a = asker(cg, 70000, 1);
	w_set(a, 0, 0, 2, 70000, 0);
	w_poke(a, 0, 0, 2000, 1);
	w_poke(a, 0, 1, 2000, 2);
	ksmd_sleeps();
	ksm_set("smart_scan", smart);
	/* so that the next few are none at which all is read anyway */
	passes(4 * FLOOR + 3);
	return a;
}

/* The first becomes what the other is. */
static void look_holder_changes(void)
{
	struct worker *a = two_alike(1);

	CHECK(!w_count(a, 0, F_KSM), "merged while they differed");
	w_poke(a, 0, 0, 2000, 2);
	passes(2);
	CHECK(w_count(a, 0, F_KSM) == 2, "%ld are merged", w_count(a, 0, F_KSM));
	w_verify(a);
}

/* The first goes, before one comes that is what the other is. */
static void look_holder_goes(void)
{
	struct worker *a = two_alike(0), *b;

	w_set(a, 0, 0, 1, 60000, 0);
	passes(2);
	b = asker(cg, 90000, 1);
	w_set(b, 0, 0, 1, 70000, 0);
	w_poke(b, 0, 0, 2000, 2);
	passes(4);
	CHECK(w_count(a, 0, F_KSM) == 1 && w_count(b, 0, F_KSM) == 1,
	      "%ld and %ld are merged", w_count(a, 0, F_KSM),
	      w_count(b, 0, F_KSM));
	w_verify(a);
	w_verify(b);
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		ksm_skip("no CPU %d", cpu);
}

#define WRITTEN	32

/* Writes what is there already, never leaves user space, and counts. */
static void write_always(long *turns)
{
	long *p = mmap(NULL, WRITTEN * PAGE_SZ, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i, step = PAGE_SZ / sizeof(*p);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (p == MAP_FAILED || madvise(p, WRITTEN * PAGE_SZ, MADV_NOHUGEPAGE) ||
	    madvise(p, WRITTEN * PAGE_SZ, MADV_MERGEABLE) || cg_move(cg, getpid()))
		_exit(1);
	for (;; __atomic_add_fetch(turns, 1, __ATOMIC_SEQ_CST)) {
		for (i = 0; i < WRITTEN; i++)
			__atomic_store_n(p + i * step, i + 1, __ATOMIC_SEQ_CST);
	}
}

static long written(const long *turns)
{
	return __atomic_load_n(turns, __ATOMIC_SEQ_CST);
}

/* A CPU that has the dirty bit in its TLB must come back for it. */
static void without_a_break(void)
{
	long *turns, seen;
	cpu_set_t old;
	pid_t pid;
	int i;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	ksm_set("smart_scan", 1);
	sched_getaffinity(0, sizeof(old), &old);
	on_cpu(1);
	on_cpu(0);
	turns = mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(turns != MAP_FAILED, "mmap");
	*turns = 0;
	pid = fork();
	NEED(pid >= 0, "fork");
	if (!pid) {
		on_cpu(1);
		write_always(turns);
	}
	NEED(WAIT_FOR(written(turns)), "nothing is written");
	ksmd_sleeps();
	passes(FLOOR);
	CHECK(cg_stat(cg, "pages_unshared") == WRITTEN, "%lld pages are known",
	      cg_stat(cg, "pages_unshared"));
	for (i = 0; i < 4 * FLOOR; i++) {
		seen = written(turns);
		NEED(WAIT_FOR(written(turns) > seen + 1), "the writer stopped");
		count();
		passes(1);
		CHECK(cg_stat(cg, "pages_skipped") == skipped,
		      "pass %d: %lld pages passed over that are being written", i,
		      cg_stat(cg, "pages_skipped") - skipped);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	sched_setaffinity(0, sizeof(old), &old);
}

#define SEEN	8

/* Reads pages again and again, and is silent. */
static void look_on(pid_t pid, long addr, int *done)
{
	static char bytes[SEEN * PAGE_SZ];
	struct iovec to = { bytes, sizeof(bytes) }, from = { (void *)addr, sizeof(bytes) };
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < 4; i++) {
		if (process_vm_readv(pid, &to, 1, &from, 1, 0) != sizeof(bytes))
			_exit(1);
	}
	__atomic_store_n(done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

static void looked_at_once(struct worker *a, struct worker *b, int *done, u64 tag)
{
	pid_t pid;

	ksm_stop();
	w_set(a, 0, 0, N, tag, 1);
	w_set(b, 0, 0, N, tag, 1);
	/* that empties the batches in which they are on their way to the LRU */
	NEED(!file_put("/proc/sys/vm/drop_caches", "1"), "no drop_caches");
	*done = 0;
	pid = fork();
	NEED(pid >= 0, "fork");
	if (!pid) {
		on_cpu(1);
		look_on(a->pid, a->area[0].addr, done);
	}
	NEED(WAIT_FOR(__atomic_load_n(done, __ATOMIC_SEQ_CST)), "nothing is read");
	/* not by ksm_pass(): what is fresh would have the batches emptied */
	ksm_set("run", 1);
	CHECK(WAIT_FOR(w_same(a, b, 0) == N), "%ld merged of %d", w_same(a, b, 0), N);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/*
 * Such pages wait in a batch of his CPU to become active, and are held by it.
 * More than once, as somebody else may come and empty it.
 */
static void looked_at(void)
{
	struct worker *a, *b;
	cpu_set_t old;
	int *done, i;

	need_scan();
	/* and nothing else of theirs, for the same reason */
	cg_set(cg, "memory.ksm", "madvise");
	sched_getaffinity(0, sizeof(old), &old);
	on_cpu(1);
	on_cpu(0);
	done = mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(done != MAP_FAILED, "mmap");
	a = asker(cg, 97000, 1);
	b = asker(cg, 97000, 1);
	for (i = 1; i <= 6; i++)
		looked_at_once(a, b, done, 97000 + i * N);
	sched_setaffinity(0, sizeof(old), &old);
	w_verify(a);
	w_verify(b);
}

static void elsewhere(void)
{
	struct worker *a = known(1);
	long at;

	/* other pages at the same place, whose entries look clean */
	count();
	passes(2);
	w_set(a, w_map(a, N, MAP_PLAIN), 0, N, 90000, 1);
	w_madv(a, 1, MADV_MERGEABLE);
	passes(2 * FLOOR);
	at = W(a, .op = OP_REMAP);
	NEED(at > 0, "mremap: %s", strerror(-at));
	a->area[0].addr = at;
	count();
	passes(1);
	CHECK(cg_stat(cg, "pages_skipped") == skipped,
	      "%lld pages passed over after some moved",
	      cg_stat(cg, "pages_skipped") - skipped);
	w_verify(a);
}

static void given_up(void)
{
	struct worker *a = known(1);

	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 20000);
	/* a page that is on its way to the LRU cannot be given up yet */
	CHECK(WAIT_FOR((w_madv_at(a, 0, 0, N / 2, MADV_FREE), ksm_pass(2),
			cg_stat(cg, "pages_unshared") == N / 2)),
	      "%lld pages are known", cg_stat(cg, "pages_unshared"));
	ksmd_sleeps();
	ksm_set("smart_scan", 0);
	count();
	passes(1);
	CHECK(cg_stat(cg, "pages_scanned") - scanned == N / 2,
	      "%lld looks at %d pages that were not given up",
	      cg_stat(cg, "pages_scanned") - scanned, N / 2);
	w_verify(a);
}

static void let_go(void)
{
	struct worker *a, *b;

	need_scan();
	cg_set(cg, "memory.ksm", "madvise");
	ksm_set("use_zero_pages", 1);
	a = asker(cg, 100, 1);
	b = asker(cg, 100, 1);
	w_set(a, 0, 0, 16, 0, 0);
	ksm_settle();
	NEED(w_same(a, b, 0) == N - 16 && w_count(a, 0, F_ZERO) == 16,
	     "not merged to begin with");
	NEED(!w_madv_at(a, 0, 0, N / 2, MADV_FREE), "madvise");
	CHECK(w_merging(a) == N / 2, "%lld pages stay merged", w_merging(a));
	CHECK(cg_stat(cg, "ksm_merging_pages") == N / 2 + N - 16,
	      "the cgroup has %lld merged", cg_stat(cg, "ksm_merging_pages"));
	CHECK(!cg_stat(cg, "ksm_zero_pages"), "%lld zero pages stay",
	      cg_stat(cg, "ksm_zero_pages"));
	CHECK(w_frame(a, 0, 3).pfn == FRAME_NONE &&
	      w_frame(a, 0, 20).pfn == FRAME_NONE, "there is something still");
	CHECK(w_merging(b) == N - 16, "the other one lost some");
	w_verify(a);
	w_verify(b);
	/* nobody maps these any more */
	NEED(!w_madv_at(b, 0, 0, N / 2, MADV_FREE), "madvise");
	CHECK(WAIT_FOR(cg_stat(cg, "pages_shared") == N / 2), "%lld frames stay",
	      cg_stat(cg, "pages_shared"));
	w_set(a, 0, 0, N / 2, 100, 1);
	w_set(b, 0, 0, N / 2, 100, 1);
	ksm_settle();
	CHECK(w_same(a, b, 0) == N, "%ld pages merge again", w_same(a, b, 0));
	w_verify(a);
	w_verify(b);
}

static const struct ksm_case cases[] = {
	{ "memory.ksm.scan merges while ksmd sleeps", merges },
	{ "memory.ksm.scan: zero pages", zeroes },
	{ "memory.ksm.scan: as much as it says, one pass at most", sizes },
	{ "memory.ksm.scan: the next write goes on", goes_on },
	{ "memory.ksm.scan: EAGAIN", refused },
	{ "memory.ksm.scan: EINTR", interrupted },
	{ "memory.ksm.scan: ENODEV, and the cgroup can go", cgroup_goes },
	{ "memory.ksm.scan: many at once, and run changes", together },
	{ "smart scan looks less and less often", less_often },
	{ "smart scan never passes over what changed", changed_at_once },
	{ "smart scan and a change where two look alike", look_holder_changes },
	{ "of two that look alike one goes", look_holder_goes },
	{ "smart scan and a write that never pauses", without_a_break },
	{ "what somebody looks at is merged", looked_at },
	{ "smart scan after mremap", elsewhere },
	{ "smart scan and MADV_FREE", given_up },
	{ "MADV_FREE lets go of what is merged", let_go },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
