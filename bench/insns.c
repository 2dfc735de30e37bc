// SPDX-License-Identifier: GPL-2.0
/*
 * Cost of the engine's hooks where nothing is merged: instructions per page
 * fault, fork, copy on write and munmap. Must run in a VM that counts
 * instructions, where the time stamp counter is the number executed so far.
 *
 * Prints "name instructions" for each operation, per page or per fork. The
 * median over many rounds drops those that a timer interrupt hits.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGES	512
#define ROUNDS	201
#define PAGE	4096UL

enum { FAULT, READ_FAULT, MUNMAP, DONTNEED, FORK, COW, NR };

static const char * const names[NR] = {
	"fault", "read_fault", "munmap", "dontneed", "fork", "cow",
};

static double taken[NR][ROUNDS];

static char *map(void)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static void write_pages(volatile char *p)
{
	long i;

	for (i = 0; i < PAGES; i++)
		p[i * PAGE] = 1;
}

static long read_pages(volatile char *p)
{
	long i, sum = 0;

	for (i = 0; i < PAGES; i++)
		sum += p[i * PAGE];
	return sum;
}

static void one_round(int r)
{
	unsigned long long t;
	char *p = map(), *q = map();
	pid_t pid;

	t = __rdtsc();
	write_pages(p);
	taken[FAULT][r] = (double)(__rdtsc() - t) / PAGES;

	t = __rdtsc();
	read_pages(q);
	taken[READ_FAULT][r] = (double)(__rdtsc() - t) / PAGES;

	t = __rdtsc();
	pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	taken[FORK][r] = __rdtsc() - t;

	/* While the child shares the pages, each write copies one. */
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	t = __rdtsc();
	write_pages(p);
	taken[COW][r] = (double)(__rdtsc() - t) / PAGES;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);

	t = __rdtsc();
	madvise(q, PAGES * PAGE, MADV_DONTNEED);
	taken[DONTNEED][r] = (double)(__rdtsc() - t) / PAGES;

	t = __rdtsc();
	munmap(p, PAGES * PAGE);
	taken[MUNMAP][r] = (double)(__rdtsc() - t) / PAGES;
	munmap(q, PAGES * PAGE);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	int i, r;

	for (r = 0; r < ROUNDS; r++)
		one_round(r);
	for (i = 0; i < NR; i++) {
		qsort(taken[i], ROUNDS, sizeof(double), compare);
		printf("%s %.2f\n", names[i], taken[i][ROUNDS / 2]);
	}
	return 0;
}
