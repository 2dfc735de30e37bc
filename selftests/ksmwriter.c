// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that write to memory.ksm.scan.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "ksmwriter.h"

static void nothing(int sig)
{
	(void)sig;
}

static __noreturn void write_until(int fd, int until, long usec)
{
	struct itimerval often = { { 0, usec }, { 0, usec } };
	struct sigaction act = { .sa_handler = nothing };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (usec) {
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

pid_t writer_start(const char *cg, int until, long usec)
{
	char path[300];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/memory.ksm.scan", cg);
	fd = open(path, O_WRONLY);
	NEED_GE(fd, 0, "%s", path);
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid)
		write_until(fd, until, usec);
	close(fd);
	return pid;
}

static bool ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

void writer_ends(pid_t pid, const char *with)
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

void writer_stop(pid_t pid)
{
	int status = -1;

	CHECK(!ended(pid, &status), "a writer ended with %x", status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}
