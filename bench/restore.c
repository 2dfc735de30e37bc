// SPDX-License-Identifier: GPL-2.0
/*
 * Sharing after a restore: 1 GiB of huge pages, half of them copies, appears at
 * once. Measures time and CPU time: of two writes, or until 90% of the copies
 * are shared.
 *
 * Argument: "writes" for two writes of max to memory.ksm.scan, with ksmd at its
 * defaults; "alone" for two writes while ksmd scans next to nothing, but splits
 * huge pages for them; "ksmd" for ksmd alone at its defaults; "fast" for ksmd
 * alone without a pause. The stock kernel knows only the last two. Prints lines
 * of "name value".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif

#define CG	"/sys/fs/cgroup"
#define BOX	CG "/restored"
#define KSM	"/sys/kernel/mm/ksm/"
#define PAGE	4096UL
#define HUGE	(512 * PAGE)
#define SIZE	(512 * HUGE)
#define COPIES	(SIZE / PAGE / 2)
#define GOAL	(COPIES * 9 / 10)
#define LONGEST	900	/* seconds */

static bool ours;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* CPU time of the scanner's threads, in seconds. */
static double ksmd_cpu(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	double sum = 0;

	while ((entry = readdir(proc))) {
		char path[300], line[512];
		unsigned long user, system;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file) && strstr(line, "(ksmd") &&
		    sscanf(strrchr(line, ')'),
			   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			   &user, &system) == 2)
			sum += (double)(user + system) / sysconf(_SC_CLK_TCK);
		fclose(file);
	}
	closedir(proc);
	return sum;
}

static double own_cpu(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}

/* What a restore leaves: the second half equals the first. */
static void restore(void)
{
	char *area = mmap(NULL, SIZE + HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long i, j, *page;

	if (area == MAP_FAILED)
		die("mmap");
	area += -(unsigned long)area % HUGE;
	if (madvise(area, SIZE, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE");
	for (i = 0; i < SIZE / PAGE; i++) {
		page = (unsigned long *)(area + i * PAGE);
		for (j = 0; j < PAGE / sizeof(*page); j++)
			page[j] = i % COPIES + 1;
	}
}

static void begin(void)
{
	if (ours)
		put(BOX "/memory.ksm", "1");
	else if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		die("PR_SET_MEMORY_MERGE");
	if (!ours)
		put(KSM "run", "1");
}

static long shared(void)
{
	return get(KSM "pages_sharing");
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	bool alone = !strcmp(how, "alone");
	double start, cpu, ksmd;
	char pages[16];

	mkdir(BOX, 0755);
	put(CG "/cgroup.subtree_control", "+memory");
	ours = !access(BOX "/memory.ksm", F_OK);
	put(BOX "/cgroup.procs", "0");
	if (ours)
		put(BOX "/memory.ksm", "0");
	restore();
	if (!strcmp(how, "fast")) {
		put(KSM "pages_to_scan", "1000000");
		put(KSM "sleep_millisecs", "0");
	}
	snprintf(pages, sizeof(pages), "%ld", get(KSM "pages_to_scan"));
	if (alone)
		put(KSM "pages_to_scan", "1");
	ksmd = ksmd_cpu();
	start = now();
	begin();
	if (alone || !strcmp(how, "writes")) {
		cpu = own_cpu();
		put(BOX "/memory.ksm.scan", "max");
		put(BOX "/memory.ksm.scan", "max");
		printf("%s_percent %f\n", how, 100.0 * shared() / COPIES);
		printf("%s_own_s %f\n", how, own_cpu() - cpu);
	} else {
		while (shared() < (long)GOAL) {
			if (now() - start > LONGEST) {
				fprintf(stderr, "%ld of %lu are shared\n",
					shared(), COPIES);
				return 1;
			}
			usleep(5000);
		}
	}
	printf("%s_s %f\n", how, now() - start);
	printf("%s_ksmd_s %f\n", how, ksmd_cpu() - ksmd);
	put(KSM "pages_to_scan", pages);
	return 0;
}
