// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmslice.h"

/* Pages to scan in a traced batch: no more slices than half a trace buffer. */
#define BATCH	1000

const char *cg[NR_CGS];

static struct spent sum;
static u64 inode[NR_CGS];
static struct ksmd_pids ksmd;

void slice_groups(int nr, long pages)
{
	int i;

	memset(cg, 0, sizeof(cg));
	cg_ksm_row(cg, nr, "1");
	for (i = 0; i < nr && pages; i++)
		w_dup(cg[i], pages, 1 + i * pages, 1);
}

void slice_begin(void)
{
	int i;

	ksm_stop();
	if (ksm_get("pages_to_scan") > BATCH)
		ksm_set("pages_to_scan", BATCH);
	memset(&sum, 0, sizeof(sum));
	for (i = 0; i < NR_CGS; i++)
		inode[i] = cg[i] ? cg_inode(cg[i]) : 0;
	ksmd_find(&ksmd);
	trace_begin("ksm/ksm_slice", NULL);
}

static void add_slice(const char *line)
{
	unsigned long lines, cost;
	const char *at;
	u64 id;
	int i;

	at = strstr(line, "ksm_slice: ");
	if (!at || sscanf(at, "ksm_slice: work %lu cost %lu cgroup %llu",
			  &lines, &cost, &id) != 3)
		return;
	sum.all += lines;
	sum.cost += cost;
	for (i = 0; i < NR_CGS; i++) {
		if (id != inode[i])
			continue;
		sum.lines[i] += lines;
		sum.costs[i] += cost;
		sum.threads[i] |= BIT(trace_ksmd(line, &ksmd));
	}
}

static void collect(void)
{
	const char *line;

	while ((line = trace_next()))
		add_slice(line);
}

void slice_batch(void)
{
	ksm_batch();
	collect();
}

void slice_pass(void)
{
	long long before = ksm_get("full_scans");

	NEED_WAIT_GT((slice_batch(), ksm_get("full_scans")), before);
}

struct spent slice_so_far(void)
{
	return sum;
}

struct spent slice_end(void)
{
	ksm_stop();
	trace_end();
	collect();
	trace_complete();
	/* what comes next is not to wait for the long pause */
	ksm_set("sleep_millisecs", 0);
	return sum;
}

void scan_pages(const char *of, long long pages)
{
	long long until = cg_stat(of, "pages_scanned") + pages;

	NEED_WAIT_GE((ksm_batch(), cg_stat(of, "pages_scanned")), until);
	ksm_stop();
	ksm_set("sleep_millisecs", 0);
}

struct spent scan_traced(const char *of, long long pages)
{
	long long until = cg_stat(of, "pages_scanned") + pages;

	slice_begin();
	NEED_WAIT_GE((slice_batch(), cg_stat(of, "pages_scanned")), until);
	return slice_end();
}

struct spent one_batch(int pages)
{
	ksm_set("pages_to_scan", pages);
	slice_begin();
	slice_batch();
	return slice_end();
}

void set_weights(const int *weight)
{
	char buf[16];
	int i;

	for (i = 0; i < NR_CGS; i++) {
		snprintf(buf, sizeof(buf), "%d", weight[i]);
		cg_set(cg[i], "memory.ksm.weight", buf);
	}
}

/* To within two batches of the scheduler, and 2%. */
void shares_are(const struct spent *s, const int *weight, long slack)
{
	long long all = 0, part;
	int i, weights = 0;

	for (i = 0; i < NR_CGS; i++) {
		all += s->lines[i];
		weights += weight[i];
	}
	for (i = 0; i < NR_CGS; i++) {
		part = all * weight[i] / weights;
		CHECK_LE(llabs(part - s->lines[i]),
			 2 * SLICE + slack + part / 50,
			 "cgroup %d has %lld lines of %lld, its share is %lld",
			 i, s->lines[i], all, part);
	}
}
