// SPDX-License-Identifier: GPL-2.0
/*
 * A process that holds its mmap_lock for long, as it may if cpu.max throttles
 * it in a system call.
 *
 * - full_scans rises without it
 * - a write of 0, and run=2, fail with EBUSY, take effect all the same, and
 *   unshare all other processes
 * - a signal ends such a write while it waits
 * - once the lock is free, the process is unshared without a further write,
 *   even if only a range that it withheld meanwhile is to be unshared
 *
 * One CPU, as the first write to cpu.max patches the scheduler's code, and
 * emulators were seen to fail where a CPU executes what another one patches.
 *
 * vm: cpus=1 timeout=300
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ksmspan.h"

#define N	256
#define TAG	1000
/* Maps the zero page, so it takes page tables only. */
#define LARGE	(2UL << 30)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif

/* ---- the process that holds its mmap_lock ---- */

static struct holder {
	bool withholds;		/* its memory, once that is merged */
	bool ready;
	long calls;		/* of both threads */
	bool stop;
	long wrong;		/* pages, in the end; -1: not known yet */
} *holder;

static const char *up, *held;
static struct worker *other;
static pid_t pid;

static void *large;

static void *keep_lock(void *arg)
{
	while (!__atomic_load_n(&holder->stop, __ATOMIC_RELAXED)) {
		if (mprotect(large, LARGE, PROT_READ | PROT_WRITE) ||
		    mprotect(large, LARGE, PROT_READ))
			_exit(3);
		__atomic_fetch_add(&holder->calls, 1, __ATOMIC_RELAXED);
	}
	return arg;
}

/*
 * Two threads take the lock in turn. While one holds it the other waits, so a
 * trylock for reading fails at any time.
 */
static void hold(int go)
{
	struct span span = { .pages = N };
	pthread_t second;
	char byte;
	long i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	large = mmap(NULL, LARGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
		     MAP_NORESERVE, -1, 0);
	span.mem = mmap(NULL, N * PAGE_SZ, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	span.want = span_record(N);
	if (large == MAP_FAILED || span.mem == MAP_FAILED || !span.want ||
	    madvise(large, LARGE, MADV_NOHUGEPAGE) ||
	    madvise(large, LARGE, MADV_POPULATE_READ) ||
	    madvise(span.mem, N * PAGE_SZ, MADV_NOHUGEPAGE))
		_exit(1);
	for (i = 0; i < N; i++)
		span_fill(&span, i, TAG + i);
	__atomic_store_n(&holder->ready, true, __ATOMIC_RELEASE);
	if (read(go, &byte, 1) != 1 ||
	    (holder->withholds &&
	     madvise(span.mem, N * PAGE_SZ, MADV_DONTDUMP)) ||
	    pthread_create(&second, NULL, keep_lock, NULL))
		_exit(2);
	keep_lock(NULL);
	pthread_join(second, NULL);
	__atomic_store_n(&holder->wrong, span_verify(&span), __ATOMIC_RELEASE);
	pause();
}

/*
 * From here to release(), no check may end the case: the setup of the next case
 * would wait for the lock.
 */
static void begin_as(bool withholds)
{
	int go[2];

	up = cg_ksm(NULL, "up", "1");
	held = cg_new(up, "held");
	cg_control(up, "+cpu");
	cg_need(held, "cpu.max");
	if (!holder)
		holder = mmap(NULL, sizeof(*holder), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(holder != MAP_FAILED && !pipe2(go, O_CLOEXEC), "%s",
	     strerror(errno));
	*holder = (struct holder){ .withholds = withholds, .wrong = -1 };
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		close(go[1]);
		if (!cg_move(held, getpid()))
			hold(go[0]);
		_exit(4);
	}
	close(go[0]);
	NEED(WAIT_FOR(__atomic_load_n(&holder->ready, __ATOMIC_ACQUIRE)),
	     "the process is not ready");
	/* before the other one, so that a write comes to it first */
	NEED_WAIT_EQ(cg_stat(held, "processes"), 1);
	other = w_dup(cg_new(up, "other"), N, TAG, 1);
	ksm_settle();
	NEED_EQ(w_merged(other), N);
	NEED_GE(cg_stat(held, "ksm_merging_pages"), N);
	NEED_EQ(write(go[1], "", 1), 1);
	close(go[1]);
	NEED_WAIT_GE(__atomic_load_n(&holder->calls, __ATOMIC_RELAXED), 4);
	cg_set(held, "cpu.max", "1000 1000000");
	CHECK_WAIT_GE(cg_key(held, "cpu.stat", "nr_throttled"), 2);
}

static void begin(void)
{
	begin_as(false);
}

static void release(void)
{
	CHECK_OK(cg_put(held, "cpu.max", "max"));
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0, "the process has ended");
}

/* End the process, after checking its memory. */
static void finish(void)
{
	__atomic_store_n(&holder->stop, true, __ATOMIC_RELAXED);
	CHECK_WAIT_EQ(__atomic_load_n(&holder->wrong, __ATOMIC_ACQUIRE), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	w_verify(other);
}

/* ---- writes ---- */

static void on_signal(int sig)
{
	(void)sig;
}

/* Write in a child; with @again, repeat that while it fails with EBUSY. */
static pid_t writer(const char *path, const char *value, bool again)
{
	struct sigaction act = { .sa_handler = on_signal };
	pid_t child = fork();
	int err;

	if (child)
		return child;
	sigaction(SIGUSR1, &act, NULL);
	do {
		err = file_put(path, value);
	} while (again && err == -EBUSY);
	_exit(-err);
}

/* Send @sig until the write ends. Returns its error; 0 if it does not end. */
static int write_ends(pid_t child, int sig)
{
	int status = 0;
	bool ends;

	ends = WAIT_FOR((kill(child, sig),
			 waitpid(child, &status, WNOHANG) == child));
	CHECK(ends, "the write does not end");
	if (!ends) {
		/* it ends with the process that it waits for */
		release();
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		return 0;
	}
	CHECK(WIFEXITED(status), "status %#x", status);
	return WEXITSTATUS(status);
}

static const char *ksm_file(void)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/memory.ksm", up);
	return path;
}

/* Only the process that holds its lock still has merged pages. */
static void all_but_held(void)
{
	long long pending = cg_stat(held, "pages_pending");

	CHECK_GE(pending, N);
	CHECK_EQ(cg_stat(up, "pages_pending"), pending);
	CHECK_EQ(cg_stat(up, "ksm_merging_pages"), pending);
	CHECK_EQ(w_all_ksm(other), 0);
}

static void unshared(void)
{
	CHECK_WAIT_EQ(cg_stat(held, "pages_pending"), 0);
	CHECK_EQ(cg_stat(up, "ksm_merging_pages"), 0);
}

/* ---- cases ---- */

static void rounds(void)
{
	long long scans;

	begin();
	scans = ksm_get("full_scans");
	ksm_start();
	CHECK_WAIT_GE(ksm_get("full_scans"), scans + 2);
	ksm_stop();
	release();
	finish();
}

static void zero(void)
{
	begin();
	CHECK_EQ(write_ends(writer(ksm_file(), "0", false), 0), EBUSY);
	CHECK_STR(cg_get(up, "memory.ksm"), "0");
	CHECK_STR(cg_get(held, "memory.ksm.effective"), "0");
	all_but_held();
	release();
	unshared();
	finish();
}

static void run_2(void)
{
	begin();
	CHECK_EQ(write_ends(writer(KSM_SYSFS "run", "2", false), 0), EBUSY);
	CHECK_EQ(ksm_get("run"), 2);
	all_but_held();
	release();
	unshared();
	finish();
}

/* The write takes nothing away, and is not known to have missed anything. */
static void withheld(void)
{
	long long merged;

	begin_as(true);
	merged = cg_stat(held, "ksm_merging_pages");
	CHECK_EQ(cg_stat(held, "pages_pending"), 0);
	CHECK_EQ(write_ends(writer(ksm_file(), "1", false), 0), 0);
	CHECK_EQ(cg_stat(held, "ksm_merging_pages"), merged);
	CHECK_EQ(cg_stat(held, "pages_pending"), merged);
	release();
	CHECK_WAIT_LE(cg_stat(held, "ksm_merging_pages"), merged - N);
	CHECK_WAIT_EQ(cg_stat(held, "pages_pending"), 0);
	CHECK_EQ(w_merged(other), N);
	finish();
}

static void interrupted(void)
{
	pid_t child;

	begin();
	child = writer(ksm_file(), "0", true);
	CHECK(WAIT_FOR(!strcmp(cg_get(held, "memory.ksm.effective"), "0")),
	      "the value is not published");
	CHECK_EQ(write_ends(child, SIGUSR1), EINTR);
	CHECK_STR(cg_get(up, "memory.ksm"), "0");
	CHECK_GE(cg_stat(held, "pages_pending"), N);
	release();
	CHECK_WAIT_EQ(cg_stat(up, "pages_pending"), 0);
	unshared();
	finish();
}

static const struct ksm_case cases[] = {
	{ "full_scans rises while a process holds its mmap_lock", rounds },
	{ "0 is EBUSY and unshares that process once its lock is free", zero },
	{ "run=2 is EBUSY and unshares it once its lock is free", run_2 },
	{ "what such a process withheld is unshared once its lock is free",
	  withheld },
	{ "a signal ends a write that waits for mmap_lock", interrupted },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
