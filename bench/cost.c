// SPDX-License-Identifier: GPL-2.0
/*
 * What merging costs those who live with it, on any kernel that has
 * PR_SET_MEMORY_MERGE. Prints "name value" for each figure of one part:
 *
 *   faults   latency of first touches, of pages that differ and of twins, and of
 *            copies on write, 99th percentile in ns, in a process that is scanned
 *            at full speed and with run=0
 *   unmerge  ns for each page that run=2 gives back
 *   rmap     ns of one way from a frame to the 10,000 places where it is mapped,
 *            in 100 forked processes of which some map and unmap all the time
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/types.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

typedef __u64 u64;

#define KSM	"/sys/kernel/mm/ksm/"
#define PAGE	4096UL
#define LINE	64

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), KSM "%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		die(path);
	close(fd);
}

static long get(const char *name)
{
	char path[128], buf[32] = "";
	int fd;

	snprintf(path, sizeof(path), KSM "%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		die(path);
	close(fd);
	return atol(buf);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* A page of noise that is told by its number. */
static void fill(char *page, u64 number)
{
	u64 *word = (u64 *)page, x = number * 0x9e3779b97f4a7c15ULL + 1;
	size_t i;

	for (i = 0; i < PAGE / sizeof(*word); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = x;
	}
}

static char *map(long pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static void take_part(void)
{
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		die("PR_SET_MEMORY_MERGE");
}

/* As it booted, and nothing is merged. */
static void afresh(void)
{
	put("run", "2");
	put("run", "0");
	put("sleep_millisecs", "20");
	put("pages_to_scan", "100");
	put("max_page_sharing", "256");
}

static void full_speed(void)
{
	put("sleep_millisecs", "0");
	put("pages_to_scan", "10000");
}

#define SAMPLES	8192

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/* With what tells pages apart wherever one looks, or @twins: what makes them equal. */
static void touch_each(char *p, bool twins, long long *ns)
{
	static u64 number;
	long long before;
	size_t at;
	u64 value;
	long i;

	for (i = 0; i < SAMPLES; i++) {
		value = twins ? 1 : ++number;
		before = now();
		__atomic_store_n((u64 *)(p + i * PAGE), value, __ATOMIC_RELAXED);
		ns[i] = now() - before;
		for (at = LINE; at < PAGE && !twins; at += LINE)
			*(u64 *)(p + i * PAGE + at) = value;
	}
}

static long long p99(long long *ns)
{
	qsort(ns, SAMPLES, sizeof(*ns), by_value);
	return ns[SAMPLES * 99 / 100];
}

static void first_touches(bool twins, long long *ns)
{
	char *p = map(SAMPLES);

	touch_each(p, twins, ns);
	munmap(p, SAMPLES * PAGE);
}

/* The child that shares the pages waits until they were copied. */
static void copies(long long *ns)
{
	char *p = map(SAMPLES);
	int status;
	pid_t pid;
	long i;

	for (i = 0; i < SAMPLES; i++)
		fill(p + i * PAGE, 1000000 + i);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		pause();
		_exit(0);
	}
	touch_each(p, false, ns);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	munmap(p, SAMPLES * PAGE);
}

static void faults(void)
{
	static const char * const runs[] = { "0", "1" };
	static long long ns[SAMPLES];
	long pages = 65536, i;
	char *p = map(pages);
	const char *when;
	int round, run;

	take_part();
	full_speed();
	for (i = 0; i < pages; i++)
		fill(p + i * PAGE, i);
	for (round = 0; round < 9; round++) {
		for (run = 0; run < 2; run++) {
			put("run", runs[run]);
			sleep(1);
			when = run ? "scanned" : "alone";
			first_touches(false, ns);
			printf("touch_%s_ns %lld\n", when, p99(ns));
			first_touches(true, ns);
			printf("twin_%s_ns %lld\n", when, p99(ns));
			copies(ns);
			printf("cow_%s_ns %lld\n", when, p99(ns));
		}
	}
}

static void merge_all(long pages)
{
	full_speed();
	put("run", "1");
	while (get("pages_sharing") + get("pages_shared") < pages)
		usleep(100000);
	put("run", "0");
}

static void unmerge(void)
{
	long pages = 32768, i;
	char *p = map(pages);
	long long began;

	take_part();
	for (i = 0; i < pages; i++)
		fill(p + i * PAGE, i / 2);
	merge_all(pages);
	began = now();
	put("run", "2");
	printf("unmerge_ns %lld\n", (now() - began) / pages);
}

/* The frame behind an address. */
static u64 pfn_of(char *p)
{
	u64 entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8)
		die("pagemap");
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

static void child(bool churn)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!churn)
		pause();
	for (;;) {
		char *p = map(16);

		*p = 1;
		munmap(p, 16 * PAGE);
	}
}

/* Idle page tracking goes all the way to say whether a page was used. */
static long long way(int fd, u64 pfn)
{
	u64 bit = 1ULL << pfn % 64, got;
	long long began;

	if (pwrite(fd, &bit, 8, pfn / 64 * 8) != 8)
		die("page_idle");
	began = now();
	if (pread(fd, &got, 8, pfn / 64 * 8) != 8)
		die("page_idle");
	return now() - began;
}

static void rmap(void)
{
	enum { HERE = 100, OTHERS = 99, CHURN = 8, WAYS = 101 };
	static long long ns[WAYS];
	char *p = map(HERE);
	pid_t pid[OTHERS];
	int i, fd;

	put("max_page_sharing", "20000");
	take_part();
	for (i = 0; i < HERE; i++)
		fill(p + i * PAGE, 1);
	merge_all(HERE);
	for (i = 0; i < OTHERS; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork");
		if (!pid[i])
			child(i < CHURN);
	}
	fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR);
	if (fd < 0)
		die("page_idle");
	sleep(2);
	for (i = 0; i < WAYS; i++)
		ns[i] = way(fd, pfn_of(p));
	qsort(ns, WAYS, sizeof(*ns), by_value);
	printf("rmap_ns %lld\n", ns[WAYS / 2]);
	for (i = 0; i < OTHERS; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} parts[] = {
		{ "faults", faults }, { "unmerge", unmerge }, { "rmap", rmap },
	};
	size_t i;

	for (i = 0; argc == 2 && i < sizeof(parts) / sizeof(*parts); i++) {
		if (strcmp(argv[1], parts[i].name))
			continue;
		afresh();
		parts[i].fn();
		return 0;
	}
	fprintf(stderr, "usage: cost faults|unmerge|rmap\n");
	return 2;
}
