// SPDX-License-Identifier: GPL-2.0
/*
 * Cost of scanning per page. Runs as init of a kernel that has nothing else to
 * do. A child process holds the data and sleeps while the scanner is measured.
 * A user mode kernel propagates page table changes to the host only when that
 * child runs, so the figures do not contain them.
 *
 * Arguments: part, data set, size in MiB, and whether to measure smart_scan
 * at the end. Prints lines that begin with "scan:". The reader answers "scan:
 * cpu" with the CPU time that this kernel has used so far, in nanoseconds: the
 * host accounts it more exactly than the kernel does.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

typedef unsigned long long u64;

#define KSM		"/sys/kernel/mm/ksm/"
#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(u64))
#define LEFT_FREE	(64L << 20)	/* bytes that touch_memory() leaves */
#define FINE_US		2000		/* poll interval: one pass */
#define COARSE_US	20000		/* poll interval: many passes */
#define STEADY_MS	1500		/* at least this long */
#define STEADY_PASSES	3		/* and this many passes */
#define SMART_PASSES	72		/* the back-offs are 8 and 9 */
#define ROUNDS		3		/* of changes to the data */
#define PROCESSES	4		/* interpreters */

/* The scanner's counters at the start or end of a measurement. */
struct state {
	long cpu;		/* ns */
	long scanned;
	long skipped;
	long full_scans;
};

static u64 *data;
static unsigned long pages;
static int to_child[2], from_child[2];
static long poll_ns, polls;

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("scan: ", stdout);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	fflush(stdout);
}

static void end(void)
{
	say("end");
	sync();
	reboot(RB_POWER_OFF);
	exit(1);
}

static void die(const char *what)
{
	say("failed %s: %m", what);
	end();
}

static void put(const char *path, long value)
{
	char buf[32];
	int fd = open(path, O_WRONLY);
	int len = snprintf(buf, sizeof(buf), "%ld", value);

	if (fd < 0 || write(fd, buf, len) != len)
		die(path);
	close(fd);
}

/* The number after @word in a file, or the first one if @word is NULL. */
static long get(const char *path, const char *word)
{
	char buf[8192];
	const char *at = buf;
	int fd = open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len < 0)
		return -1;
	buf[len] = '\0';
	if (word) {
		at = strstr(buf, word);
		if (!at)
			return -1;
		at += strlen(word);
	}
	return atol(at);
}

static long ksm(const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), KSM "%s", name);
	return get(path, NULL);
}

static long cpu(void)
{
	char line[64];

	say("cpu");
	if (!fgets(line, sizeof(line), stdin))
		die("no answer");
	return atol(line);
}

/* ------------------------------------------------------------------- data */

static u64 mixed(u64 x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9;
	x ^= x >> 27;
	x *= 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* A pseudorandom permutation of 0 .. pages - 1; pages is a power of two. */
static unsigned long shuffled(unsigned long i)
{
	int round, half = __builtin_ctzl(pages) / 2;

	for (round = 0; round < 4; round++) {
		i ^= i >> half;
		i *= 0x9e3779b97f4a7c15;
		i &= pages - 1;
	}
	return i;
}

static void fill(u64 *page, u64 seed)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		page[i] = mixed(seed * WORDS + i + 1);
}

/*
 * Pages with equal fingerprints whatever the key is: for every second key, the
 * second change of a pair cancels the effect of the first on xxh64. Each page
 * applies one of the 65536 subsets of sixteen such pairs; groups of some
 * hundred of them share a fingerprint.
 */
static void fill_hostile(u64 *page, unsigned long i)
{
	fill(page, 0);
	for (i &= 0xffff; i; page += 32, i >>= 1) {
		if (i & 1) {
			page[0] ^= 1ULL << 63;
			page[4] += 0xce48002dc0000000;
		}
	}
}

static void make_page(const char *set, unsigned long i)
{
	u64 *page = data + i * WORDS;

	if (!strcmp(set, "random")) {
		fill(page, i);
	} else if (!strcmp(set, "half")) {
		fill(page, i % (pages / 2));
	} else if (!strcmp(set, "zero")) {
		memset(page, 0, PAGE);
	} else if (!strcmp(set, "eighth")) {
		if (i % 8)
			fill(page, i);
		else
			memset(page, 0, PAGE);
	} else if (!strcmp(set, "near")) {
		fill(page, 0);
		page[WORDS - 1] = i;
	} else if (!strcmp(set, "hostile")) {
		fill_hostile(page, i);
	} else if (!strcmp(set, "spread")) {
		fill(page, 0);
		page[mixed(i) % WORDS] = i;
	} else {
		_exit(1);
	}
}

/*
 * Allocate frames in random order, as on a machine that has been up for long.
 * Writes by system calls avoid page faults, which are slow in user mode.
 */
static void populate(void)
{
	static struct iovec part[IOV_MAX];
	int fd = open("/dev/zero", O_RDONLY), nr = 0;
	unsigned long i;

	for (i = 0; i < pages; i++) {
		part[nr].iov_base = data + shuffled(i) * WORDS;
		part[nr++].iov_len = sizeof(*data);
		if (nr < IOV_MAX && i < pages - 1)
			continue;
		if (readv(fd, part, nr) != (ssize_t)(nr * sizeof(*data)))
			_exit(1);
		nr = 0;
	}
	close(fd);
}

static void child(const char *set)
{
	unsigned long i, round = 0;
	char order;

	data = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		_exit(1);
	populate();
	for (i = 0; i < pages; i++)
		make_page(set, i);
	if (madvise(data, pages * PAGE, MADV_MERGEABLE))
		_exit(1);
	while (write(from_child[1], "", 1) == 1 &&
	       read(to_child[0], &order, 1) == 1) {
		round++;
		for (i = 0; i < pages; i++) {
			if (order == 'w')
				fill(data + i * WORDS, i + round * pages);
			else
				data[i * WORDS + mixed(i + round) % WORDS]++;
		}
	}
	_exit(0);
}

/*
 * The host allocates this kernel's memory on first touch. Do that up front, to
 * keep it out of the figures.
 */
static void touch_memory(void)
{
	long bytes = get("/proc/meminfo", "MemFree:") * 1024 - LEFT_FREE;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		_exit(mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
			   -1, 0) == MAP_FAILED);
	waitpid(pid, NULL, 0);
}

static void child_ready(void)
{
	char byte;

	if (read(from_child[0], &byte, 1) != 1)
		die("child with the data");
}

/*
 * Four Python interpreters side by side, each with its modules and the syntax
 * trees it parses. Merging is enabled before exec, as a launcher does.
 */
static const char program[] =
	"import argparse, ast, asyncio, csv, decimal, email.message, glob, gzip,\\\n"
	" http.client, json, logging, os, re, sqlite3, ssl, sys, xml.dom.minidom\n"
	"trees = []\n"
	"for path in sorted(glob.glob(os.path.dirname(ast.__file__) + '/*.py'))[:60]:\n"
	"    with open(path, encoding='utf-8') as stream:\n"
	"        trees.append(ast.parse(stream.read()))\n"
	"os.write(int(sys.argv[1]), b'.')\n"
	"import signal\n"
	"signal.pause()\n";

static void interpreters(void)
{
	char path[64], fd[16];
	pid_t pid[PROCESSES];
	int i;

	if (pipe(from_child))
		die("pipe");
	snprintf(fd, sizeof(fd), "%d", from_child[1]);
	for (i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork");
		if (!pid[i]) {
			prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
			execl("/usr/bin/python3", "python3", "-Ec", program, fd,
			      NULL);
			_exit(1);
		}
	}
	/* Makes read() fail if an interpreter does not start. */
	close(from_child[1]);
	for (i = 0; i < PROCESSES; i++)
		child_ready();
	for (i = 0; i < PROCESSES; i++) {
		snprintf(path, sizeof(path), "/proc/%d/status", pid[i]);
		pages += get(path, "RssAnon:") / 4;
	}
}

static void child_start(const char *set)
{
	pid_t pid;

	if (!strcmp(set, "interpreters")) {
		interpreters();
		return;
	}
	if (pipe(to_child) || pipe(from_child))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(to_child[1]);
		close(from_child[0]);
		child(set);
	}
	close(to_child[0]);
	close(from_child[1]);
	child_ready();
}

static void child_change(char how)
{
	if (write(to_child[1], &how, 1) != 1)
		die("child with the data");
	child_ready();
}

/* -------------------------------------------------------------- measuring */

static void read_state(struct state *s)
{
	s->cpu = cpu();
	s->scanned = ksm("pages_scanned");
	s->skipped = ksm("pages_skipped");
	s->full_scans = ksm("full_scans");
}

static long poll_ksm(long us, const char *name)
{
	polls++;
	usleep(us);
	return ksm(name);
}

/* CPU time of one poll, to be subtracted from the figures. */
static void calibrate(void)
{
	long began = cpu(), i;

	for (i = 0; i < 500; i++)
		poll_ksm(FINE_US, "full_scans");
	poll_ns = (cpu() - began) / 500;
	say("poll_ns %ld", poll_ns);
}

/* Scan for at least @ms and at least @passes passes. */
static void scan_passes(struct state *from, struct state *to, long passes,
			long ms)
{
	long asked = polls;

	put(KSM "pages_to_scan", 4096);
	read_state(from);
	put(KSM "run", 1);
	while (poll_ksm(COARSE_US, "full_scans") < from->full_scans + passes ||
	       (polls - asked) * (COARSE_US / 1000) < ms)
		;
	put(KSM "run", 0);
	read_state(to);
	to->cpu -= (polls - asked) * poll_ns;
}

/*
 * Scan until every page is scanned once, wherever the last scan stopped.
 * full_scans does not tell: it only counts passes that began after run was set
 * to 1.
 */
static void scan_once(struct state *from, struct state *to)
{
	long asked = polls;

	put(KSM "pages_to_scan", 256);
	read_state(from);
	put(KSM "run", 1);
	while (poll_ksm(FINE_US, "pages_scanned") - from->scanned < (long)pages)
		;
	put(KSM "run", 0);
	read_state(to);
	to->cpu -= (polls - asked) * poll_ns;
}

static void report(const char *name, struct state *from, struct state *to)
{
	say("%s cpu_ns %ld scanned %ld skipped %ld passes %ld", name,
	    to->cpu - from->cpu, to->scanned - from->scanned,
	    to->skipped - from->skipped, to->full_scans - from->full_scans);
}

static void measure(const char *name, long passes)
{
	struct state from, to;

	scan_passes(&from, &to, passes, STEADY_MS);
	report(name, &from, &to);
}

static void measure_once(const char *name)
{
	struct state from, to;

	scan_once(&from, &to);
	report(name, &from, &to);
}

static void measure_smart(void)
{
	struct state from, to;

	put(KSM "smart_scan", 1);
	scan_passes(&from, &to, SMART_PASSES / 2, 0);
	measure("smart", SMART_PASSES);
	put(KSM "smart_scan", 0);
}

/* Free memory, including the per-CPU lists. */
static long memory_free(void)
{
	long now = get("/proc/meminfo", "MemFree:") * 1024;
	char line[256];
	FILE *zones = fopen("/proc/zoneinfo", "r");
	long count;

	while (zones && fgets(line, sizeof(line), zones)) {
		if (sscanf(line, " count: %ld", &count) == 1)
			now += count * PAGE;
	}
	if (zones)
		fclose(zones);
	return now;
}

static long memory_taken(void)
{
	static long before = -1;
	long now = memory_free(), taken = before - now;

	if (before < 0)
		before = now;
	return taken;
}

/* The kernel's own figure, or the stock kernel's slab objects. */
static void report_metadata(void)
{
	long own = get("/sys/fs/cgroup/memory.ksm.stat", "ksm_metadata_bytes ");
	char buf[16384], *at;
	long objects, all, size;
	int fd;

	if (own < 0) {
		fd = open("/proc/slabinfo", O_RDONLY);
		if (fd >= 0) {
			ssize_t len = read(fd, buf, sizeof(buf) - 1);

			buf[len < 0 ? 0 : len] = '\0';
			at = strstr(buf, "ksm_rmap_item");
			if (at && sscanf(at, "%*s %ld %ld %ld", &objects, &all,
					 &size) == 3)
				own = objects * size;
			close(fd);
		}
	}
	say("metadata own %ld taken %ld", own, memory_taken());
}

/* No twins: first pass, steady state, smart_scan. */
static void unique(bool smart)
{
	memory_taken();
	measure_once("first");
	measure_once("second");
	measure("steady", STEADY_PASSES);
	report_metadata();
	if (smart)
		measure_smart();
}

/*
 * Every eighth page holds zeroes. memory.ksm.types restricts merging to them;
 * the stock kernel can only be told to use the zero page.
 */
static void zeroes(void)
{
	const char *types = "/sys/fs/cgroup/memory.ksm.types";
	static const char words[] = "-anon +zero";
	int fd = open(types, O_WRONLY);

	put(KSM "use_zero_pages", 1);
	if (fd >= 0 && write(fd, words, strlen(words)) != (ssize_t)strlen(words))
		die(types);
	close(fd);
	memory_taken();
	measure_once("first");
	measure_once("second");
	measure("steady", STEADY_PASSES);
	say("placed pages %ld", ksm("ksm_zero_pages"));
	report_metadata();
}

/* All of each page, or one word of it, changes between two passes. */
static void changing(void)
{
	struct state from, to, sum;
	const char *how;
	int i;

	for (how = "wo"; *how; how++) {
		memset(&sum, 0, sizeof(sum));
		memset(&from, 0, sizeof(from));
		for (i = -1; i < ROUNDS; i++) {
			struct state a, b;

			child_change(*how);
			scan_once(&a, &b);
			if (i < 0)
				continue;
			sum.cpu += b.cpu - a.cpu;
			sum.scanned += b.scanned - a.scanned;
			sum.skipped += b.skipped - a.skipped;
			sum.full_scans += b.full_scans - a.full_scans;
		}
		to = sum;
		report(*how == 'w' ? "changed_whole" : "changed_word", &from,
		       &to);
	}
}

static long merged(void)
{
	return ksm("pages_shared") + ksm("pages_sharing");
}

/* Merge everything, scan the merged pages, unmerge everything. */
static void merging(void)
{
	long want = pages - pages / 100, began = cpu(), asked = polls;
	long i, nr = 0;

	put(KSM "pages_to_scan", 4096);
	put(KSM "run", 1);
	for (i = 0; i < 6000 && nr < want; i++) {
		polls++;
		nr = poll_ksm(COARSE_US, "pages_shared") + ksm("pages_sharing");
	}
	put(KSM "run", 0);
	say("merge cpu_ns %ld pages %ld shared %ld",
	    cpu() - began - (polls - asked) * poll_ns, merged(),
	    ksm("pages_shared"));
	measure("merged", STEADY_PASSES);
	nr = merged();
	began = cpu();
	put(KSM "run", 2);
	say("unmerge cpu_ns %ld pages %ld", cpu() - began, nr - merged());
}

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Time until 95% of the possible savings, with the defaults at boot. */
static void settling(void)
{
	long want = pages / 2 * 95 / 100, asked = polls;
	long began = cpu(), at = now_us();

	put(KSM "pages_to_scan", 100);
	put(KSM "sleep_millisecs", 20);
	put(KSM "smart_scan", 1);
	put(KSM "run", 1);
	while (poll_ksm(COARSE_US, "pages_sharing") < want)
		;
	at = now_us() - at;
	put(KSM "run", 0);
	say("settle cpu_ns %ld wall_us %ld",
	    cpu() - began - (polls - asked) * poll_ns, at);
}

/* What real programs share, and the cost of finding it. */
static void real(void)
{
	struct state from, to;

	scan_passes(&from, &to, STEADY_PASSES, 0);
	report("found", &from, &to);
	say("saved pages %ld all %ld", ksm("pages_sharing"), pages);
	measure("steady", STEADY_PASSES);
}

static void prepare(void)
{
	struct termios tty;

	if (!tcgetattr(0, &tty)) {
		tty.c_lflag &= ~ECHO;
		tcsetattr(0, TCSANOW, &tty);
	}
	if (mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL))
		die("mount");
	put(KSM "run", 0);
	put(KSM "smart_scan", 0);
	put(KSM "sleep_millisecs", 0);
}

int main(int argc, char **argv)
{
	/* The kernel appends arguments of its own. */
	if (argc < 5)
		die("usage: scan unique|zeroes|changing|merging|settle|real set MiB smart");
	prepare();
	pages = atol(argv[3]) * 256;
	touch_memory();
	calibrate();
	if (!strcmp(argv[1], "real"))
		pages = 0;
	child_start(argv[2]);
	say("pages %ld", pages);
	if (!strcmp(argv[1], "unique"))
		unique(atoi(argv[4]));
	else if (!strcmp(argv[1], "zeroes"))
		zeroes();
	else if (!strcmp(argv[1], "changing"))
		changing();
	else if (!strcmp(argv[1], "settle"))
		settling();
	else if (!strcmp(argv[1], "real"))
		real();
	else
		merging();
	end();
}
