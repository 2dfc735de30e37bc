// SPDX-License-Identifier: GPL-2.0
/*
 * Time to read memory.ksm.stat as the number of processes, pages and cgroups
 * grows. Prints lines of "cgroups processes pages top-us leaf-us": the median
 * time to read the file of the parent of all cgroups, and of one child with a
 * hundredth of the processes.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "file.h"

#define TOP	"/sys/fs/cgroup/ksmbench"
#define KSM	"/sys/kernel/mm/ksm/"
#define PAGE	4096UL
#define READS	101
#define BUSY	100		/* cgroups with processes */

static long cgroups, processes, pages;

static void add_cgroups(long nr)
{
	char path[64];

	for (; cgroups < nr; cgroups++) {
		snprintf(path, sizeof(path), TOP "/%ld", cgroups);
		if (mkdir(path, 0755))
			die(path);
	}
}

/* Half of each process's pages are unique, half are the same in all of them. */
static void child(long nr, int ready)
{
	long *p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long i, unique = 1000000 * (processes + 1);
	char path[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), TOP "/%ld/cgroup.procs", processes % BUSY);
	put(path, "0");
	for (i = 0; i < nr; i++)
		p[i * PAGE / sizeof(*p)] = i & 1 ? i : i + unique;
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void add_processes(long nr, long each)
{
	int ready[2];
	char byte;

	if (pipe(ready))
		die("pipe");
	for (; processes < nr; processes++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid)
			child(each, ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			die("child process");
		pages += each;
	}
	close(ready[0]);
	close(ready[1]);
}

static void scan(void)
{
	long until = get(KSM "full_scans") + 4;

	put(KSM "run_cgroups", "1");
	while (get(KSM "full_scans") < until)
		usleep(10000);
	put(KSM "run_cgroups", "0");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double read_us(const char *path)
{
	struct timespec t[2];
	double us[READS];
	char buf[4096];
	int i, fd;

	for (i = 0; i < READS; i++) {
		clock_gettime(CLOCK_MONOTONIC, &t[0]);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, buf, sizeof(buf)) <= 0)
			die(path);
		close(fd);
		clock_gettime(CLOCK_MONOTONIC, &t[1]);
		us[i] = (t[1].tv_sec - t[0].tv_sec) * 1e6 +
			(t[1].tv_nsec - t[0].tv_nsec) / 1e3;
	}
	qsort(us, READS, sizeof(*us), compare);
	return us[READS / 2];
}

static void measure(void)
{
	scan();
	printf("%ld %ld %ld %.1f %.1f\n", cgroups, processes, pages,
	       read_us(TOP "/memory.ksm.stat"),
	       read_us(TOP "/0/memory.ksm.stat"));
	fflush(stdout);
}

int main(void)
{
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(TOP, 0755))
		die(TOP);
	put(TOP "/cgroup.subtree_control", "+memory");
	put(TOP "/memory.ksm", "1");
	put(KSM "run_cgroups", "0");
	put(KSM "sleep_millisecs", "0");
	put(KSM "pages_to_scan", "20000");
	add_cgroups(BUSY);
	add_processes(BUSY, 20);
	measure();
	add_processes(10 * BUSY, 20);
	measure();
	add_processes(10 * BUSY + 10, 10000);
	measure();
	add_cgroups(1000);
	measure();
	add_cgroups(10000);
	measure();
	return 0;
}
