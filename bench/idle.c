// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of idle cgroups. Prints lines of "cgroups write-us other-us
 * ksmd-ms": the median time of a write of 0 or 1 to the parent of all of them,
 * the longest time that a write to another cgroup takes meanwhile, and ksmd's
 * CPU time for a number of full scans of one small process elsewhere.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CG	"/sys/fs/cgroup"
#define TOP	CG "/ksmidle"
#define OTHER	CG "/ksmother"
#define KSM	"/sys/kernel/mm/ksm/"
#define WRITES	21
#define SCANS	100
#define PAGES	256

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double put(const char *path, const char *value)
{
	double start = now_us();
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		die(path);
	close(fd);
	return now_us() - start;
}

static long get(const char *path, const char *key)
{
	char buf[4096] = "", *at;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		die(path);
	close(fd);
	at = strstr(buf, key);
	if (!at)
		die(key);
	return atol(at + strlen(key));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double write_us(void)
{
	double us[WRITES];
	int i;

	for (i = 0; i < WRITES; i++)
		us[i] = put(TOP "/memory.ksm", i % 2 ? "0" : "1");
	qsort(us, WRITES, sizeof(*us), compare);
	return us[WRITES / 2];
}

static double other_us(void)
{
	double us, longest = 0;
	pid_t pid = fork();
	int i;

	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			write_us();
	}
	for (i = 0; i < 20 * WRITES; i++) {
		us = put(OTHER "/memory.ksm", i % 2 ? "0" : "1");
		if (us > longest)
			longest = us;
		usleep(5000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	put(OTHER "/memory.ksm", "1");
	put(TOP "/memory.ksm", "1");
	return longest;
}

static double ksmd_ms(void)
{
	long usec = get(CG "/memory.ksm.stat", "scan_usec ");
	long until = get(KSM "full_scans", "") + SCANS;

	put(KSM "run_cgroups", "1");
	while (get(KSM "full_scans", "") < until)
		usleep(10000);
	put(KSM "run_cgroups", "0");
	return (get(CG "/memory.ksm.stat", "scan_usec ") - usec) / 1e3;
}

static void small_process(void)
{
	char *p;
	int i;

	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	put(OTHER "/cgroup.procs", "0");
	p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < PAGES; i++)
		memcpy(p + i * 4096, &i, sizeof(i));
	for (;;)
		pause();
}

int main(void)
{
	static const long counts[] = { 1, 1000, 10000 };
	char path[64];
	long nr = 0;
	size_t i;

	put(CG "/cgroup.subtree_control", "+memory");
	if (mkdir(TOP, 0755) || mkdir(OTHER, 0755))
		die(TOP);
	put(TOP "/cgroup.subtree_control", "+memory");
	put(OTHER "/memory.ksm", "1");
	put(KSM "run_cgroups", "0");
	put(KSM "sleep_millisecs", "0");
	small_process();
	for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		for (; nr < counts[i]; nr++) {
			snprintf(path, sizeof(path), TOP "/%ld", nr);
			if (mkdir(path, 0755))
				die(path);
		}
		printf("%ld %.1f", nr, write_us());
		printf(" %.1f", other_us());
		printf(" %.1f\n", ksmd_ms());
		fflush(stdout);
	}
	return 0;
}
