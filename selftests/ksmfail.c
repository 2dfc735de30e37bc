// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail, by the kernel's fault injection: those of a certain
 * function of the kernel and of its callees.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmlib.h"

#define DEBUG	"/sys/kernel/debug/"
/* More failures than any test sees. */
#define TIMES	1000000000LL

static const char * const folders[] = {
	[FAIL_SLAB] = DEBUG "failslab",
	[FAIL_PAGES] = DEBUG "fail_page_alloc",
};

static const char *failing;	/* its folder, or NULL */

static const char *fail_file(const char *folder, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void fail_put(const char *name, const char *value)
{
	NEED_OK(file_put(fail_file(failing, name), value), "%s to %s/%s", value,
		failing, name);
}

static void fail_put_num(const char *name, unsigned long long value)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%llu", value);
	fail_put(name, buf);
}

static long long fail_get(const char *name)
{
	char buf[32];

	NEED(failing, "nothing fails");
	NEED_GT(file_get(fail_file(failing, name), buf, sizeof(buf)), 0,
		"%s/%s", failing, name);
	return strtoll(buf, NULL, 10);
}

/* Where the code of a function begins and ends; the list is in that order. */
static bool find_function(const char *function, unsigned long *start,
			  unsigned long *end)
{
	FILE *list = fopen("/proc/kallsyms", "r");
	char line[512], name[128], type;
	unsigned long at;

	*start = 0;
	*end = 0;
	while (list && !*end && fgets(line, sizeof(line), list)) {
		if (sscanf(line, "%lx %c %127s", &at, &type, name) != 3)
			continue;
		if (*start && at > *start)
			*end = at;
		else if (!strcmp(name, function))
			*start = at;
	}
	if (list)
		fclose(list);
	return *end;
}

void fail_below(enum fail_kind kind, const char *function, bool waiting)
{
	unsigned long start, end;

	if (access(fail_file(folders[kind], "require-start"), W_OK))
		ksm_skip("no fault injection by stack trace");
	NEED(find_function(function, &start, &end), "no function %s", function);
	fail_end();
	failing = folders[kind];
	fail_put("verbose", "0");
	fail_put("task-filter", "N");
	fail_put("interval", "1");
	fail_put("space", "0");
	fail_put_num("times", TIMES);
	fail_put("ignore-gfp-wait", waiting ? "N" : "Y");
	if (kind == FAIL_PAGES) {
		fail_put("ignore-gfp-highmem", "N");
		fail_put("min-order", "0");
	}
	fail_put_num("require-start", start);
	fail_put_num("require-end", end);
	fail_put("probability", "100");
}

long long fail_hits(void)
{
	return TIMES - fail_get("times");
}

/* The budget is spent while it is above the size of one. */
void fail_after(long nr)
{
	fail_put_num("space", nr + 1);
}

long fail_spared(void)
{
	return fail_get("space") - 1;
}

void fail_end(void)
{
	if (!failing)
		return;
	file_put(fail_file(failing, "probability"), "0");
	file_put(fail_file(failing, "require-start"), "0");
	file_put(fail_file(failing, "require-end"), "0xffffffffffffffff");
	file_put(fail_file(failing, "ignore-gfp-wait"), "Y");
	/* of pages only */
	file_put(fail_file(failing, "ignore-gfp-highmem"), "Y");
	file_put(fail_file(failing, "min-order"), "1");
	file_put(fail_file(failing, "space"), "0");
	file_put(fail_file(failing, "times"), "1");
	failing = NULL;
}
