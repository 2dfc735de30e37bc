/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The work of the scanner by cgroup, from the trace event ksm_slice.
 *
 * A traced scan goes batch by batch. The size of a batch bounds how many slices
 * it has, and they are read while ksmd sleeps: none is lost on a machine that
 * is slow, or busy with others.
 */
#ifndef KSMSLICE_H
#define KSMSLICE_H

#include "ksmlib.h"

#define SLICE		4096	/* cachelines */
#define PAGE_LINES	64
#define NR_CGS		3

extern const char *cg[NR_CGS];	/* whose slices are told apart; NULL: unused */

struct spent {
	long long lines[NR_CGS];	/* work on each cgroup, in cachelines */
	long long costs[NR_CGS];	/* what it took from the budget */
	unsigned int threads[NR_CGS];	/* bits of the threads that did it */
	long long all;			/* work on all cgroups of the host */
	long long cost;
};

/* cgroups that are domains of their own, with a process of @pages, if any */
void slice_groups(int nr, long pages);
void slice_begin(void);
void slice_batch(void);			/* one batch more */
void slice_pass(void);			/* batches until full_scans rises */
struct spent slice_so_far(void);
struct spent slice_end(void);		/* ksmd is stopped */
/* batches, until so many pages of a cgroup were scanned */
void scan_pages(const char *of, long long pages);
struct spent scan_traced(const char *of, long long pages);
struct spent one_batch(int pages);	/* of this size */
void set_weights(const int *weight);
/* @slack: lines more that a cgroup may be behind or ahead */
void shares_are(const struct spent *s, const int *weight, long slack);

#endif
