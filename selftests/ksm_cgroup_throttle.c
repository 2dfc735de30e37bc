// SPDX-License-Identifier: GPL-2.0
/*
 * Writers that cpu.max throttles.
 *
 * - to memory.ksm.scan: they hold up neither ksmd, in the same domain, nor a
 *   process that is being scanned
 * - to memory.ksm: while one is unsharing a process, another write unshares it
 *
 * The first cpu.max of a machine patches the scheduler's code. The machine has
 * one CPU, as emulators were seen to execute code that another CPU patches.
 *
 * vm: cpus=1 timeout=300
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define N	256

static pid_t writer(const char *in, const char *to)
{
	pid_t pid = fork();
	char path[300];
	int fd;

	NEED_GE(pid, 0, "fork");
	if (pid)
		return pid;
	snprintf(path, sizeof(path), "%s/memory.ksm.scan", to);
	fd = open(path, O_WRONLY);
	if (fd < 0 || cg_move(in, getpid()))
		_exit(2);
	while (pwrite(fd, "max", 3, 0) == 3 || errno == EAGAIN)
		;
	_exit(3);
}

static void stop_writer(pid_t pid)
{
	int status = -1;

	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0, "a writer ended");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Full scans in a period, at least. */
#define SCANS	2
/* Looks, at least 10 ms apart, in a period in which the machine runs. */
#define LOOKS	20

/*
 * Wait until the cgroup was throttled once more. Returns how often full_scans
 * rose meanwhile; -1 if that is too few, but the machine stood still for most
 * of the time.
 */
static long long scans_in_period(const char *cg)
{
	long long periods = cg_key(cg, "cpu.stat", "nr_throttled");
	long long scans = ksm_get("full_scans");
	int looks = 0;

	NEED_WAIT_GT((looks++, cg_key(cg, "cpu.stat", "nr_throttled")),
		     periods);
	scans = ksm_get("full_scans") - scans;
	return scans < SCANS && looks < LOOKS ? -1 : scans;
}

static const char *up, *slow;

/* A cgroup for writers, and one for its siblings. */
static void slow_group(void)
{
	up = cg_ksm(NULL, "up", "1");
	cg_control(up, "+cpu");
	slow = cg_new(up, "slow");
	cg_set(slow, "cpu.max", "1000 1000000");
}

/*
 * A writer that holds a lock while it is throttled would leave ksmd a slice or
 * two in each period, and no pass over all of these processes.
 */
static void slow_writers(void)
{
	struct worker *a, *n[2];
	long long scans;
	pid_t pid[4];
	int i;

	slow_group();
	cg_need(up, "memory.ksm.scan");
	a = w_dup(cg_new(up, "own"), N, 1, 1);
	for (i = 0; i < 2; i++)
		n[i] = w_dup(cg_new(up, i ? "n1" : "n0"), N, 1, 1);
	/* later on, no page must be on its way to the LRU */
	ksm_settle();
	/* pauses, in which the writer finds the domain free */
	ksm_set("sleep_millisecs", 4);
	ksm_start();
	for (i = 0; i < 4; i++)
		pid[i] = writer(slow, up);
	NEED_WAIT_GE(cg_key(slow, "cpu.stat", "nr_throttled"), 2);
	/* ksmd runs when this does: where it cannot, that tells nothing */
	for (i = 0; i < 8; i += scans >= 0) {
		scans = scans_in_period(slow);
		if (scans >= 0)
			CHECK_GE(scans, SCANS, "full scans in a period");
	}
	/* takes the mmap_lock for writing */
	for (i = 0; i < 8; i++)
		NEED_OK(w_remap(n[0]));
	for (i = 0; i < 4; i++)
		stop_writer(pid[i]);
	ksm_settle();
	CHECK_EQ(w_same(n[0], n[1], 0), N);
	w_verify(a);
	w_verify(n[0]);
	w_verify(n[1]);
}

#define MANY	8192

/* Write 0 to a cgroup in a child, which is throttled from the beginning. */
static pid_t slow_zero(const char *to)
{
	pid_t pid = fork();

	NEED_GE(pid, 0, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cg_move(slow, getpid()))
		_exit(255);
	_exit(-cg_put(to, "memory.ksm", "0"));
}

/*
 * The first write is throttled in the middle of a family, the second one walks
 * all of it. Nothing else unshares: the processes are stopped, and the worker
 * gets no memory.
 */
static void walks_overlap(void)
{
	long long merged, unmerged, done;
	struct worker *m[3];
	const char *in;
	int i, status;
	pid_t pid;

	slow_group();
	in = cg_new(up, "in");
	m[0] = w_dup(in, MANY, 1, 1);
	m[1] = w_fork(m[0]);
	m[2] = w_dup(in, MANY, 1, 1);
	ksm_settle();
	NEED_EQ(w_same(m[0], m[1], 0), MANY);
	NEED_EQ(w_same(m[0], m[2], 0), MANY);
	merged = cg_stat(in, "ksm_merging_pages");
	unmerged = cg_stat(in, "pages_unmerged");
	for (i = 0; i < 3; i++)
		NEED(!kill(m[i]->pid, SIGSTOP), "SIGSTOP");
	fail_below(FAIL_PAGES, "ksm_unshare_pmd", false);
	/* enough to get to the first page soon */
	cg_set(slow, "cpu.max", "2000 100000");
	pid = slow_zero(in);
	NEED_WAIT_GT(cg_stat(in, "pages_unmerged"), unmerged);
	done = cg_stat(in, "pages_unmerged") - unmerged;
	CHECK_LT(done, merged, "before the second write");
	CHECK_OK(cg_put(up, "memory.ksm", "0"));
	CHECK_EQ(cg_stat(in, "ksm_merging_pages"), 0);
	CHECK_EQ(cg_stat(in, "pages_pending"), 0);
	cg_set(slow, "cpu.max", "max");
	NEED_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	fail_end();
	CHECK_EQ(cg_stat(in, "pages_unmerged") - unmerged, merged,
		 "once each");
	for (i = 0; i < 3; i++)
		NEED(!kill(m[i]->pid, SIGCONT), "SIGCONT");
	for (i = 0; i < 3; i++)
		w_verify(m[i]);
	/* as relatives, two of them had one copy */
	w_poke(m[1], 0, 0, 0, 77);
	w_verify(m[0]);
	w_verify(m[1]);
}

static const struct ksm_case cases[] = {
	{ "throttled writers to memory.ksm.scan delay nothing", slow_writers },
	{ "two writes unshare one process at a time", walks_overlap },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
