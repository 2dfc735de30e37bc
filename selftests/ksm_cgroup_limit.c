// SPDX-License-Identifier: GPL-2.0
/*
 * Metadata under limits and in statistics, and opting out under faults.
 *
 * - the metadata of many cgroups shares one small part of the limit above them,
 *   and pages that are remembered are still merged
 * - memory.stat accounts for all of memory.current, metadata included, whatever
 *   moves or goes
 * - a process that opts out has nothing merged, even if faults map merged
 *   frames from the swap cache meanwhile
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ksmlib.h"

/* Pages of a block, for which the engine allocates metadata as a whole. */
#define BLOCK	64

static const char *up;

/* A worker that has one page in each block, no two of them equal. */
static struct worker *sparse(const char *cg, long blocks, u64 tag)
{
	struct worker *w = w_new(cg);
	long i;

	w_map(w, blocks * BLOCK, MAP_PLAIN);
	for (i = 0; i < blocks; i++)
		w_set(w, 0, i * BLOCK, 1, tag + i, 1);
	return w;
}

/* ---- one allowance for each limit ---- */

static void fill(const char *cg, long pages)
{
	struct worker *w = w_dup(cg, pages, 7000000, 1);

	NEED_OK(w_prctl(w, PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
}

static void one_allowance(void)
{
	enum { CHILDREN = 24, BLOCKS = 512, N = 16, BALLAST = 12288 };
	struct worker *w[2], *template, *child[CHILDREN];
	long long now, max, meta;
	char name[16], line[32];
	int i;

	up = cg_ksm(NULL, "up", "1");
	cg_need(up, "memory.max");
	fill(cg_new(up, "fill"), BALLAST);
	w_twins(w, cg_new(up, "twins"), N, 1);
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N);

	/* the pages are charged outside: only metadata can reach the limit */
	template = sparse(cg_ksm(NULL, "out", "0"), BLOCKS, 100000);
	for (i = 0; i < CHILDREN; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		child[i] = w_spawn(template, SPAWN_FORK, cg_new(up, name));
	}
	CHECK_WAIT_GE(cg_stat(up, "processes"), CHILDREN);
	if (cg_has(up, "memory.swap.max"))
		cg_set(up, "memory.swap.max", "0");
	now = cg_current(up);
	/* leave room for more than the allowance and less than the margin */
	max = now + now / 100;
	snprintf(line, sizeof(line), "%lld", max);
	cg_set(up, "memory.max", line);
	max = cg_num(up, "memory.max");

	ksm_settle();
	meta = cg_stat(up, "ksm_metadata_bytes");
	CHECK_LE(meta, max / 128 + (CHILDREN + 3) * (long long)PAGE_SZ,
		 "with a limit of %lld", max);
	CHECK_LE(cg_num(up, "memory.current"), max);
	/* what is remembered already is merged again */
	for (i = 0; i < 2; i++)
		w_set(w[i], 0, 0, N, 500000, 1);
	NEED_EQ(w_same(w[0], w[1], 0), 0);
	ksm_settle();
	CHECK_EQ(w_same(w[0], w[1], 0), N, "in a full cgroup");
	CHECK_LE(cg_num(up, "memory.current"), max);
	CHECK_EQ(cg_key(up, "memory.events", "oom_kill"), 0);
	for (i = 0; i < CHILDREN; i++)
		CHECK(w_alive(child[i]), "child %d is dead", i);
	w_verify(child[CHILDREN - 1]);

	/* with room again, the rest is remembered */
	cg_set(up, "memory.max", "max");
	ksm_settle();
	CHECK_GE(cg_stat(up, "ksm_metadata_bytes"),
		 CHILDREN * BLOCKS * 8LL * BLOCK);
}

/* ---- memory.stat accounts for memory.current ---- */

/* For what is freed late, and for what changes between two readings. */
#define SLACK	(256 * (long long)PAGE_SZ)

static long long kernel_of(const char *cg)
{
	return cg_memory_stat(cg, "kernel");
}

static long long unaccounted(const char *cg)
{
	static const char * const parts[] = {
		"anon", "file", "kernel", "sock"
	};
	long long sum = cg_current(cg);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parts); i++)
		sum -= cg_memory_stat(cg, parts[i]);
	return llabs(sum);
}

static void balanced(const char *cg, const char *when)
{
	CHECK_WAIT_LE(unaccounted(cg), SLACK, "%s", when);
}

static void kernel_memory(void)
{
	enum { BLOCKS_PER_CPU = 2048, N = 1024 };
	long long before, meta;
	struct worker *w, *twin[2];
	const char *a, *b;

	up = cg_ksm(NULL, "up", "1");
	cg_need(up, "memory.stat");
	a = cg_new(up, "a");
	b = cg_new(up, "b");
	w_twins(twin, a, N, 1);
	w = sparse(a, BLOCKS_PER_CPU * sysconf(_SC_NPROCESSORS_ONLN), 100000);
	balanced(a, "before");
	before = kernel_of(a);
	ksm_settle();
	NEED_EQ(w_same(twin[0], twin[1], 0), N);
	meta = cg_stat(a, "ksm_metadata_bytes");
	NEED_GE(meta, 3 * SLACK, "too little to tell");
	CHECK_WAIT_GE(kernel_of(a), before + meta - SLACK, "settled");
	balanced(a, "settled");

	NEED_OK(cg_move(b, w->pid));
	CHECK_WAIT_LE(cg_stat(a, "ksm_metadata_bytes"), meta / 3, "moved away");
	CHECK_WAIT_LE(kernel_of(a), before + meta / 3 + SLACK, "moved away");
	CHECK_WAIT_GE(kernel_of(b), meta - meta / 3 - SLACK, "arrived");
	balanced(a, "moved away");
	/* its pages stay charged to a, its metadata does not */
	balanced(b, "arrived");

	w_exit(twin[0]);
	w_exit(twin[1]);
	NEED_WAIT_OK(cg_rmdir(a));
	balanced(up, "a removed");
	balanced(b, "a removed");
	w_exit(w);
	CHECK_WAIT_EQ(cg_stat(up, "ksm_metadata_bytes"), 0, "all exited");
	CHECK_WAIT_LE(kernel_of(up), SLACK, "all exited");
	CHECK_WAIT_LE(kernel_of(b), SLACK, "all exited");
	balanced(up, "all exited");
	balanced(b, "all exited");
}

/* ---- opting out while faults map merged frames ---- */

/*
 * A process that has CACHED pages, FILLER pages and twins of the cached ones in
 * one mapping, and does one step for each byte that it reads. The cached pages
 * are merged, kept in the swap cache by a reference, and touched by a thread
 * once the walk that unshares has reached the filler.
 */
#define CACHED	128L
#define FILLER	8192L
#define PAGES	(CACHED + FILLER + CACHED)

enum step { WRITE = 'w', PAGE_OUT = 'o', OPT_OUT = 'x' };

static struct {
	char *area;
	int pipe[2];
	bool by_prctl;
	bool done;		/* the system call has returned */
	bool during;		/* a page was touched before that */
} racer;

static char *racer_page(long i)
{
	return racer.area + i * PAGE_SZ;
}

static long racer_merging(void)
{
	char buf[32];

	if (file_get("/proc/self/ksm_merging_pages", buf, sizeof(buf)) <= 0)
		_exit(1);
	return atol(buf);
}

static void *racer_toucher(void *arg)
{
	long all = *(long *)arg, i;

	/* a falling count shows that the walk has passed the cached pages */
	while (racer_merging() == all) {
		if (__atomic_load_n(&racer.done, __ATOMIC_ACQUIRE))
			return NULL;
	}
	racer.during = !__atomic_load_n(&racer.done, __ATOMIC_ACQUIRE);
	for (i = 0; i < CACHED; i++)
		__atomic_load_n((char *)racer_page(i), __ATOMIC_RELAXED);
	return NULL;
}

static long racer_write(long round)
{
	long i, k;

	for (i = 0; i < PAGES; i++) {
		long *p = (long *)racer_page(i), tag = i;

		if (i >= CACHED + FILLER)
			tag = i - CACHED - FILLER;
		else if (i >= CACHED)
			tag = CACHED + (i - CACHED) / 2;
		for (k = 0; k < (long)(PAGE_SZ / sizeof(*p)); k++)
			p[k] = (round << 32) + tag * 4096 + k + 1;
	}
	/* ranges that asked take part until the call has gone through all */
	if (racer.by_prctl && prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		return -1;
	return madvise(racer.area, PAGES * PAGE_SZ, MADV_MERGEABLE);
}

static long racer_swapped(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long i, nr = 0;
	u64 entry;

	for (i = 0; i < CACHED; i++) {
		if (pread(fd, &entry, sizeof(entry),
			  (long)racer_page(i) / PAGE_SZ * sizeof(entry)) !=
		    sizeof(entry))
			_exit(1);
		nr += entry >> 62 & 1;
	}
	close(fd);
	return nr;
}

/* Returns how many of the cached pages are paged out, to the swap cache. */
static long racer_page_out(void)
{
	struct iovec v = { racer.area, CACHED * PAGE_SZ };
	long i, tries;

	/* only pages that are mapped once are paged out */
	for (i = 0; i < CACHED; i++)
		racer_page(CACHED + FILLER + i)[0] ^= 1;
	if (pipe(racer.pipe) ||
	    fcntl(racer.pipe[1], F_SETPIPE_SZ, CACHED * PAGE_SZ) < 0 ||
	    vmsplice(racer.pipe[1], &v, 1, 0) != (ssize_t)v.iov_len)
		return -1;
	for (tries = 0; tries < 100 && racer_swapped() < CACHED; tries++) {
		madvise(racer.area, CACHED * PAGE_SZ, MADV_PAGEOUT);
		usleep(10000);
	}
	return racer_swapped();
}

/* Returns twice the pages still merged, plus 1 if a touch raced; or -1. */
static long racer_opt_out(void)
{
	long all = racer_merging(), left;
	pthread_t toucher;
	int err;

	racer.done = false;
	racer.during = false;
	if (pthread_create(&toucher, NULL, racer_toucher, &all))
		return -1;
	if (racer.by_prctl)
		err = prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	else
		err = madvise(racer.area, PAGES * PAGE_SZ, MADV_UNMERGEABLE);
	__atomic_store_n(&racer.done, true, __ATOMIC_RELEASE);
	pthread_join(toucher, NULL);
	left = racer_merging();
	close(racer.pipe[0]);
	close(racer.pipe[1]);
	return err ? -1 : left * 2 + racer.during;
}

static void racer_run(int in, int out)
{
	long round = 0, ret;
	char step;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	racer.area = mmap(NULL, PAGES * PAGE_SZ, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (racer.area == MAP_FAILED ||
	    madvise(racer.area, PAGES * PAGE_SZ, MADV_NOHUGEPAGE))
		_exit(1);
	while (read(in, &step, 1) == 1) {
		if (step == WRITE)
			ret = racer_write(++round);
		else if (step == PAGE_OUT)
			ret = racer_page_out();
		else
			ret = racer_opt_out();
		if (write(out, &ret, sizeof(ret)) != sizeof(ret))
			_exit(1);
	}
	_exit(0);
}

static long racer_step(const int *to, const int *from, char step)
{
	long ret;

	NEED_EQ(write(to[1], &step, 1), 1);
	NEED_EQ(read(from[0], &ret, sizeof(ret)), (long)sizeof(ret),
		"step %c: the process is dead", step);
	NEED_GE(ret, 0, "step %c", step);
	return ret;
}

static void opt_out(bool by_prctl)
{
	enum { ROUNDS = 5 };
	int to[2], from[2], round, races = 0;
	const char *cg;
	pid_t pid;
	long ret;

	swap_need();
	cg = cg_ksm(NULL, "a", "madvise");
	racer.by_prctl = by_prctl;
	NEED(!pipe2(to, O_CLOEXEC) && !pipe2(from, O_CLOEXEC), "pipe");
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		close(to[1]);
		close(from[0]);
		if (cg_move(cg, getpid()))
			_exit(1);
		racer_run(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	for (round = 0; round < ROUNDS; round++) {
		racer_step(to, from, WRITE);
		ksm_settle();
		NEED_GE(cg_stat(cg, "ksm_merging_pages"), PAGES);
		NEED_GE(racer_step(to, from, PAGE_OUT), CACHED / 2,
			"paged out in round %d", round);
		ret = racer_step(to, from, OPT_OUT);
		races += ret & 1;
		CHECK_EQ(ret >> 1, 0, "pages merged after round %d", round);
	}
	CHECK_GT(races, 0, "no page was touched during the call");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(to[1]);
	close(from[0]);
}

static void opt_out_range(void)
{
	opt_out(false);
}

static void opt_out_process(void)
{
	opt_out(true);
}

static const struct ksm_case cases[] = {
	{ "many cgroups share the allowance of their limit", one_allowance },
	{ "memory.stat has the metadata", kernel_memory },
	{ "a range that opts out stays unshared", opt_out_range },
	{ "a process that opts out stays unshared", opt_out_process },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
