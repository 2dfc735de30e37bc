// SPDX-License-Identifier: GPL-2.0
/*
 * Ready-made workers, and their figures in /proc.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ksmlib.h"

struct worker *w_dup(const char *cg, long pages, u64 tag, long step)
{
	struct worker *w = w_new(cg);
	int area = w_map(w, pages, MAP_PLAIN);

	w_set(w, area, 0, pages, tag, step);
	return w;
}

struct worker *w_asker(const char *cg, long pages, u64 tag, long step)
{
	struct worker *w = w_dup(cg, pages, tag, step);

	w_madv(w, 0, MADV_MERGEABLE);
	return w;
}

void w_twins(struct worker **w, const char *cg, long pages, u64 tag)
{
	w[0] = w_dup(cg, pages, tag, 1);
	w[1] = w_dup(cg, pages, tag, 1);
}

long long w_stat(struct worker *w, const char *key)
{
	char path[64];
	long long value = 0;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", w->pid);
	NEED(file_key(path, key, &value), "no %s in %s", key, path);
	return value;
}

long long w_merging(struct worker *w)
{
	char path[64], buf[32];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", w->pid);
	NEED_GT(file_get(path, buf, sizeof(buf)), 0, "%s", path);
	return strtoll(buf, NULL, 10);
}
