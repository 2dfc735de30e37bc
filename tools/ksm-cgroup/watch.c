// SPDX-License-Identifier: GPL-2.0
/*
 * Figures over time, for the live view.
 *
 * Each look reads the whole tree anew, as cgroups come and go, and joins it
 * with what is known from before by path. A cgroup that was removed and made
 * again under the same name is noticed by its counters, which went back.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"
#include "top.h"

double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int by_path(const void *a, const void *b)
{
	return strcmp((*(struct live * const *)a)->path,
		      (*(struct live * const *)b)->path);
}

static struct live *find(const struct watch *watch, size_t nr, const char *path)
{
	struct live key = { .path = (char *)path }, *wanted = &key, **got;

	got = nr ? bsearch(&wanted, watch->list, nr, sizeof(*watch->list), by_path) : NULL;
	return got ? *got : NULL;
}

static double delta(const struct live *live, enum stat_key key)
{
	return (double)live->now.value[key] - live->before.value[key];
}

static void take(struct live *live, const struct stats *stats, unsigned int look)
{
	bool anew = stats->value[STAT_SCANNED] < live->now.value[STAT_SCANNED] ||
		    stats->value[STAT_CPU] < live->now.value[STAT_CPU];

	if (anew)
		live->looks = 0;
	live->before = live->looks ? live->now : *stats;
	live->now = *stats;
	live->seen = look;
	live->saved = stats->value[STAT_SAVED] * page_bytes();
	live->history[live->looks++ % HISTORY] = live->saved;
}

static void take_tree(struct watch *watch, const struct tree *tree)
{
	size_t known = watch->nr, i;
	struct live *live;

	watch->list = xrealloc(watch->list, (known + tree->nr + 1) * sizeof(*watch->list));
	for (i = 0; i < tree->nr; i++) {
		if (tree->groups[i]->ancestor || tree->groups[i]->threaded)
			continue;
		live = find(watch, known, tree->groups[i]->path);
		if (!live) {
			live = xalloc(sizeof(*live));
			live->path = xstrdup(tree->groups[i]->path);
			watch->list[watch->nr++] = live;
		}
		take(live, &tree->groups[i]->stats, watch->looks);
	}
}

static void drop_gone(struct watch *watch)
{
	size_t i, kept = 0;

	for (i = 0; i < watch->nr; i++) {
		if (watch->list[i]->seen == watch->looks) {
			watch->list[kept++] = watch->list[i];
		} else {
			free(watch->list[i]->path);
			free(watch->list[i]);
		}
	}
	watch->nr = kept;
}

/* Shares are of what was scanned below the top, which counts all of it. */
static void set_rates(struct watch *watch)
{
	struct live *top = find(watch, watch->nr, watch->top), *live;
	double whole = top ? delta(top, STAT_CPU) : 0;
	size_t i;

	for (i = 0; i < watch->nr; i++) {
		live = watch->list[i];
		live->share = whole > 0 ? delta(live, STAT_CPU) / whole : 0;
		live->merges = watch->seconds > 0 ?
			       delta(live, STAT_MERGED) / watch->seconds : 0;
	}
}

/* watch_look - 0, or -1 if there is no such cgroup any more */
int watch_look(struct watch *watch)
{
	double began = seconds_now();
	struct tree tree;
	char path[8192];

	watch_sort(watch, ORDER_PATH);
	/* Asked first, as messages would go to the screen that is drawn on. */
	cgroup_file(path, sizeof(path), watch->top, "");
	if (!root_exists(path) || tree_read(&tree, watch->top, TREE_STATS))
		return -1;
	watch->looks++;
	watch->ours = tree.ours;
	watch->seconds = watch->at > 0 ? began - watch->at : 0;
	watch->at = began;
	take_tree(watch, &tree);
	tree_free(&tree);
	drop_gone(watch);
	watch_sort(watch, ORDER_PATH);
	set_rates(watch);
	watch->took = seconds_now() - began;
	return 0;
}

static int compare(double a, double b, const struct live *one, const struct live *two)
{
	if (a != b)
		return a < b ? 1 : -1;
	return strcmp(one->path, two->path);
}

static int by_saved(const void *a, const void *b)
{
	const struct live *one = *(struct live * const *)a;
	const struct live *two = *(struct live * const *)b;

	return compare(one->saved, two->saved, one, two);
}

static int by_share(const void *a, const void *b)
{
	const struct live *one = *(struct live * const *)a;
	const struct live *two = *(struct live * const *)b;

	return compare(one->share, two->share, one, two);
}

static int by_merges(const void *a, const void *b)
{
	const struct live *one = *(struct live * const *)a;
	const struct live *two = *(struct live * const *)b;

	return compare(one->merges, two->merges, one, two);
}

static int by_cost(const void *a, const void *b)
{
	const struct live *one = *(struct live * const *)a;
	const struct live *two = *(struct live * const *)b;

	return compare(one->now.value[STAT_METADATA], two->now.value[STAT_METADATA],
		       one, two);
}

void watch_sort(struct watch *watch, enum order order)
{
	static int (* const orders[NR_ORDERS])(const void *, const void *) = {
		[ORDER_SAVED] = by_saved,
		[ORDER_SHARE] = by_share,
		[ORDER_MERGES] = by_merges,
		[ORDER_COST] = by_cost,
		[ORDER_PATH] = by_path,
	};

	if (watch->nr)
		qsort(watch->list, watch->nr, sizeof(*watch->list), orders[order]);
}

void watch_free(struct watch *watch)
{
	size_t i;

	for (i = 0; i < watch->nr; i++) {
		free(watch->list[i]->path);
		free(watch->list[i]);
	}
	free(watch->list);
}
