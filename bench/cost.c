// SPDX-License-Identifier: GPL-2.0
/*
 * Cost to the processes that are scanned and merged, on any kernel that has
 * PR_SET_MEMORY_MERGE. Prints "name value" for each figure of one part:
 *
 *   faults   99th percentile latency in ns of first touches, of unique pages
 *            and of twins, and of copy on write, both in a process that is
 *            scanned at full speed and with run=0
 *   unmerge  ns per page that run=2 unmerges
 *   rmap     ns per reverse map walk over the 10,000 mappings of a frame, in
 *            100 forked processes, some of which map and unmap all the time
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

/* Pseudorandom contents, a different page for each number. */
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

static void enable_merging(void)
{
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		die("PR_SET_MEMORY_MERGE");
}

/* Unmerge everything and restore the defaults. */
static void reset_ksm(void)
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

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/*
 * Time the first write to each page. Unique pages differ in every cache line;
 * @twins are all equal.
 */
static void touch_each(char *p, bool twins, long long *ns)
{
	static u64 number;
	long long before;
	u64 value, *word;
	size_t at;
	long i;

	for (i = 0; i < SAMPLES; i++) {
		word = (u64 *)(p + i * PAGE);
		value = twins ? 1 : ++number;
		before = now();
		__atomic_store_n(word, value, __ATOMIC_RELAXED);
		ns[i] = now() - before;
		for (at = LINE; at < PAGE && !twins; at += LINE)
			word[at / sizeof(*word)] = value;
	}
}

static long long p99(long long *ns)
{
	qsort(ns, SAMPLES, sizeof(*ns), compare);
	return ns[SAMPLES * 99 / 100];
}

static void first_touches(bool twins, long long *ns)
{
	char *p = map(SAMPLES);

	touch_each(p, twins, ns);
	munmap(p, SAMPLES * PAGE);
}

/* The child shares the pages until all of them are copied. */
static void copy_on_write(long long *ns)
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

	enable_merging();
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
			copy_on_write(ns);
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

	enable_merging();
	for (i = 0; i < pages; i++)
		fill(p + i * PAGE, i / 2);
	merge_all(pages);
	began = now();
	put("run", "2");
	printf("unmerge_ns %lld\n", (now() - began) / pages);
}

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

/* Idle page tracking walks all mappings to tell whether the page was used. */
static long long walk_ns(int fd, u64 pfn)
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
	enum { NR_PAGES = 100, NR_CHILDREN = 99, CHURN = 8, NR_WALKS = 101 };
	static long long ns[NR_WALKS];
	char *p = map(NR_PAGES);
	pid_t pid[NR_CHILDREN];
	int i, fd;

	put("max_page_sharing", "20000");
	enable_merging();
	for (i = 0; i < NR_PAGES; i++)
		fill(p + i * PAGE, 1);
	merge_all(NR_PAGES);
	for (i = 0; i < NR_CHILDREN; i++) {
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
	for (i = 0; i < NR_WALKS; i++)
		ns[i] = walk_ns(fd, pfn_of(p));
	qsort(ns, NR_WALKS, sizeof(*ns), compare);
	printf("rmap_ns %lld\n", ns[NR_WALKS / 2]);
	for (i = 0; i < NR_CHILDREN; i++) {
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
		reset_ksm();
		parts[i].fn();
		return 0;
	}
	fprintf(stderr, "usage: cost faults|unmerge|rmap\n");
	return 2;
}
