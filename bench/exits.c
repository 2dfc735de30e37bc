// SPDX-License-Identifier: GPL-2.0
/*
 * What neighbours wait for when much memory that is tracked goes: the longest
 * time that a write of 0 or inherit to memory.ksm takes, in a cgroup of the same
 * domain and in one of another domain. A write of 0 waits for the mutex of its
 * process's domain, so the first is also how long that is held at most.
 *
 * Prints lines of "name value", in us: before, while the memory is unmapped,
 * while it is switched off, and while the process exits.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "file.h"

#define CG	"/sys/fs/cgroup"
#define BOX	CG "/ksmexits"
#define BIG	BOX "/big"
#define SAME	BOX "/same"
#define ELSE	CG "/ksmelse"
#define KSM	"/sys/kernel/mm/ksm/"
#define PAGE	4096UL
#define PAGES	300000UL
#define SMALL	256UL
#define ROUNDS	200

struct longest {
	double same;
	double other;
};

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static long stat_of(const char *cgroup, const char *key)
{
	char path[96], line[128];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "%s/memory.ksm.stat", cgroup);
	file = fopen(path, "r");
	if (!file)
		die(path);
	while (value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			value = atol(line + strlen(key));
	fclose(file);
	if (value < 0) {
		fprintf(stderr, "no %sin memory.ksm.stat\n", key);
		exit(1);
	}
	return value;
}

/* A process with pages that all differ; SIGUSR1 has it unmap them. */
static pid_t process(const char *cgroup, unsigned long pages)
{
	char path[96];
	sigset_t set;
	pid_t pid;
	int signal;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	put(path, "0");
	for (;;) {
		char *area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (area == MAP_FAILED)
			die("mmap");
		for (unsigned long i = 0; i < pages; i++) {
			unsigned long *page = (void *)(area + i * PAGE);

			page[0] = i + 1;
			page[511] = pages;
		}
		sigwait(&set, &signal);
		munmap(area, pages * PAGE);
		/* once more before it gets new memory */
		sigwait(&set, &signal);
	}
}

static double write_us(const char *cgroup, const char *value)
{
	char path[96];
	double start;

	snprintf(path, sizeof(path), "%s/memory.ksm", cgroup);
	start = now_us();
	put(path, value);
	return now_us() - start;
}

static void measure(struct longest *l)
{
	static const char * const value[] = { "0", "inherit" };
	double us;
	int i;

	for (i = 0; i < 2; i++) {
		us = write_us(SAME, value[i]);
		if (us > l->same)
			l->same = us;
		us = write_us(ELSE "/a", value[i]);
		if (us > l->other)
			l->other = us;
		usleep(1000);
	}
}

/* Until nothing of the memory is remembered. */
static void measure_until_gone(const char *name)
{
	struct longest l = {};
	int i = 0;

	while (i++ < ROUNDS || stat_of(BIG, "ksm_metadata_bytes ") > 65536)
		measure(&l);
	printf("%s_same_us %f\n%s_other_us %f\n", name, l.same, name, l.other);
	fflush(stdout);
}

static void until_tracked(void)
{
	while (stat_of(BIG, "pages_unshared ") < (long)PAGES * 95 / 100)
		usleep(10000);
}

int main(void)
{
	struct longest idle = {};
	pid_t big;
	int i;

	mkdir(BOX, 0755);
	mkdir(ELSE, 0755);
	put(CG "/cgroup.subtree_control", "+memory");
	put(BOX "/cgroup.subtree_control", "+memory");
	put(ELSE "/cgroup.subtree_control", "+memory");
	if (mkdir(BIG, 0755) || mkdir(SAME, 0755) || mkdir(ELSE "/a", 0755))
		die(BIG);
	put(BOX "/memory.ksm", "1");
	put(ELSE "/memory.ksm", "1");
	put(KSM "sleep_millisecs", "0");
	put(KSM "pages_to_scan", "100000");
	process(SAME, SMALL);
	process(ELSE "/a", SMALL);
	big = process(BIG, PAGES);

	until_tracked();
	for (i = 0; i < ROUNDS; i++)
		measure(&idle);
	printf("before_same_us %f\nbefore_other_us %f\n", idle.same,
	       idle.other);

	kill(big, SIGUSR1);
	measure_until_gone("unmap");
	kill(big, SIGUSR1);
	until_tracked();

	if (!fork()) {
		put(BIG "/memory.ksm", "0");
		_exit(0);
	}
	measure_until_gone("off");
	wait(NULL);
	put(BIG "/memory.ksm", "inherit");
	until_tracked();

	kill(big, SIGKILL);
	measure_until_gone("exit");
	waitpid(big, NULL, 0);
	return 0;
}
