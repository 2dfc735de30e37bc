// SPDX-License-Identifier: GPL-2.0
/*
 * Who writes to memory.ksm.scan and is throttled by cpu.max holds up nobody:
 * neither ksmd, in the same domain, nor a process that is being scanned.
 *
 * The first cpu.max of a machine patches the scheduler's code. A machine with
 * one CPU, as emulators were seen to run what another CPU is patching.
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

	NEED(pid >= 0, "no fork");
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

	CHECK(!waitpid(pid, &status, WNOHANG), "a writer ended with %x", status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/*
 * Who holds what ksmd needs while he is throttled lets it have a slice or two in
 * each period, and no pass over all of these.
 */
static void slow_writers(void)
{
	struct worker *a, *n[2];
	const char *up, *slow;
	long long periods, scans;
	char above[300];
	pid_t pid[4];
	int i;

	ksm_need_cgroup();
	up = cg_new(NULL, "up");
	if (!cg_has(up, "memory.ksm.scan"))
		ksm_skip("this kernel has no memory.ksm.scan");
	cg_set(up, "memory.ksm", "1");
	cg_put(CGROOT, "cgroup.subtree_control", "+cpu");
	snprintf(above, sizeof(above), "%s", up);
	*strrchr(above, '/') = '\0';
	cg_put(above, "cgroup.subtree_control", "+cpu");
	cg_set(up, "cgroup.subtree_control", "+cpu");
	slow = cg_new(up, "slow");
	cg_set(slow, "cpu.max", "1000 1000000");
	a = w_dup(cg_new(up, "own"), N, 1, 1);
	for (i = 0; i < 2; i++)
		n[i] = w_dup(cg_new(up, i ? "n1" : "n0"), N, 1, 1);
	/* later on, nothing is to wait for pages on their way to the LRU */
	ksm_settle();
	/* or the writer would never find the domain free */
	ksm_set("sleep_millisecs", 4);
	ksm_set("run", 1);
	for (i = 0; i < 4; i++)
		pid[i] = writer(slow, up);
	NEED(WAIT_FOR(cg_key(slow, "cpu.stat", "nr_throttled") >= 2),
	     "the writer is not throttled");
	for (i = 0; i < 8; i++) {
		periods = cg_key(slow, "cpu.stat", "nr_throttled");
		scans = ksm_get("full_scans");
		NEED(WAIT_FOR(cg_key(slow, "cpu.stat", "nr_throttled") > periods),
		     "the writer is not throttled any more");
		scans = ksm_get("full_scans") - scans;
		CHECK(scans >= 2, "%lld full scans in a period", scans);
	}
	for (i = 0; i < 8; i++) {
		/* its mmap_lock for writing */
		long at = W(n[0], .op = OP_REMAP);

		NEED(at > 0, "mremap: %s", strerror(-at));
		n[0]->area[0].addr = at;
	}
	for (i = 0; i < 4; i++)
		stop_writer(pid[i]);
	ksm_settle();
	CHECK(w_same(n[0], n[1], 0) == N, "the neighbours have %ld pages merged",
	      w_same(n[0], n[1], 0));
	w_verify(a);
	w_verify(n[0]);
	w_verify(n[1]);
}

static const struct ksm_case cases[] = {
	{ "throttled writers to memory.ksm.scan hold up nobody", slow_writers },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
