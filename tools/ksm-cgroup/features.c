// SPDX-License-Identifier: GPL-2.0
/*
 * features: what this kernel and this host offer, and what is missing and why.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "group.h"
#include "tool.h"

#ifndef PR_GET_MEMORY_MERGE
#define PR_GET_MEMORY_MERGE 68
#endif

enum state { STATE_NO, STATE_YES, STATE_UNKNOWN };

/**
 * struct feature - a line of the table
 * @name: what it is
 * @test: is it there; @detail may be set to a sentence
 */
struct feature {
	const char *name;
	enum state (*test)(const char **detail);
};

static enum state no(const char **detail, const char *why)
{
	*detail = why;
	return STATE_NO;
}

static enum state yes(const char **detail, const char *but)
{
	*detail = but;
	return STATE_YES;
}

static enum state test_built_in(const char **detail)
{
	if (root_exists(SYSFS_KSM "/run"))
		return STATE_YES;
	return no(detail,
		  "not built in: boot a kernel with CONFIG_KSM=y");
}

static enum state test_running(const char **detail)
{
	long long run, cgroups = 0;

	if (root_number(SYSFS_KSM "/run", &run) || run < 0 || run > 2)
		return STATE_UNKNOWN;
	if (kernel_is_ours())
		root_number(SYSFS_KSM "/run_cgroups", &cgroups);
	if (run == 2)
		return no(detail,
			  "run is 2, the scanner is stopped and everything is unshared as memory allows: echo 0 >/sys/kernel/mm/ksm/run, or 1 for all that asked");
	if (run == 1 && cgroups)
		return yes(detail,
			   "run and run_cgroups are 1: all that asked, and all cgroups that were switched on");
	if (run == 1 && kernel_is_ours())
		return yes(detail,
			   "run is 1: all that asked, but no cgroup that was switched on");
	if (run == 1)
		return yes(detail, "run is 1: all that asked");
	if (cgroups)
		return yes(detail,
			   "run_cgroups is 1: the cgroups at or below one whose own 1 or madvise counts; run is 0: no others");
	if (kernel_is_ours())
		return no(detail,
			  "run is 0 and so is run_cgroups, the scanner is stopped: echo 1 >/sys/kernel/mm/ksm/run_cgroups");
	return no(detail,
		  "run is 0, the scanner is stopped: echo 1 >/sys/kernel/mm/ksm/run");
}

static enum state test_cgroups(const char **detail)
{
	*detail = cgroup_mount();
	if (*detail)
		return STATE_YES;
	return no(detail,
		  "no cgroup version 2 is mounted: mount -t cgroup2 none /sys/fs/cgroup");
}

static enum state test_controller(const char **detail)
{
	char path[4096], text[4096];

	if (!cgroup_file(path, sizeof(path), "/", "cgroup.controllers"))
		return STATE_NO;
	if (root_read(path, text, sizeof(text)) < 0 || !has_word(text, "memory")) {
		return no(detail,
			  "version 2 does not have it: boot with cgroup_no_v1=memory, and without cgroup_disable=memory");
	}
	cgroup_file(path, sizeof(path), "/", "cgroup.subtree_control");
	if (root_read(path, text, sizeof(text)) >= 0 && has_word(text, "memory"))
		return STATE_YES;
	return no(detail,
		  "the root does not hand it down: echo +memory >/sys/fs/cgroup/cgroup.subtree_control");
}

static enum state test_files(const char **detail)
{
	if (kernel_is_ours())
		return STATE_YES;
	return no(detail,
		  "this kernel can't merge by cgroup: boot a ksm-cgroup kernel; run, estimate and list work here, too");
}

/*
 * may_grant - is a value granted if this process writes it?
 *
 * A user namespace that maps all ids as they are passes for the initial one.
 */
static bool may_grant(void)
{
	enum { CAP_SYS_ADMIN_BIT = 21 };
	long long inside, outside, length;
	char text[8192], value[32];

	if (root_read("/proc/self/uid_map", text, sizeof(text)) < 0 ||
	    sscanf(text, "%lld %lld %lld", &inside, &outside, &length) != 3 ||
	    inside || outside || length != 4294967295LL)
		return false;
	return root_read("/proc/self/status", text, sizeof(text)) > 0 &&
	       find_key(text, "CapEff", value, sizeof(value)) &&
	       strtoull(value, NULL, 16) >> CAP_SYS_ADMIN_BIT & 1;
}

static enum state test_types(const char **detail)
{
	char path[4096];

	if (cgroup_file(path, sizeof(path), "/", "memory.ksm.types") &&
	    root_exists(path))
		return STATE_YES;
	return no(detail,
		  "cgroups can't have zero pages alone, nor take in memory that is locked or marked MADV_DONTDUMP");
}

/* May this user set the cgroup that it is in? */
static enum state test_may_write(const char **detail)
{
	char cgroup[4096], path[8192];
	int fd;

	if (!kernel_is_ours() || process_cgroup(0, cgroup, sizeof(cgroup)))
		return STATE_UNKNOWN;
	cgroup_file(path, sizeof(path), cgroup, "memory.ksm");
	fd = root_open(path, O_WRONLY);
	if (fd >= 0) {
		close(fd);
		if (may_grant())
			return STATE_YES;
		return yes(detail,
			   "not granted: a 1 or madvise written by this user counts only where the nearest granted value above is a 1");
	}
	if (errno == ENOENT)
		return no(detail,
			  "the cgroup that you are in has no memory controller; 'ksm-cgroup doctor' tells why");
	return no(detail,
		  "not delegated: the cgroup that you are in belongs to who made it; ask there, or be root");
}

static enum state test_delegate(const char **detail)
{
	char text[4096];

	if (root_read("/sys/kernel/cgroup/delegate", text, sizeof(text)) < 0)
		return STATE_UNKNOWN;
	if (has_word(text, "memory.ksm.scan"))
		return STATE_YES;
	return no(detail,
		  "managers of delegated cgroups can't scan on demand");
}

static enum state self_says(const char *key)
{
	char text[1024], value[32];

	if (root_read("/proc/self/ksm_stat", text, sizeof(text)) < 0)
		return STATE_NO;
	return find_key(text, key, value, sizeof(value)) ? STATE_YES : STATE_NO;
}

static enum state test_ksm_stat(const char **detail)
{
	if (self_says("ksm_rmap_items") == STATE_YES)
		return STATE_YES;
	return no(detail,
		  "no /proc/PID/ksm_stat (Linux 6.1): list has no figures");
}

static enum state test_mergeable(const char **detail)
{
	if (self_says("ksm_mergeable") == STATE_YES)
		return STATE_YES;
	return no(detail,
		  "processes don't tell whether they take part: doctor knows less");
}

static enum state test_prctl(const char **detail)
{
	if (root_recorded())
		return STATE_UNKNOWN;
	if (prctl(PR_GET_MEMORY_MERGE, 0UL, 0UL, 0UL, 0UL) >= 0)
		return STATE_YES;
	return no(detail,
		  "'run --merge' needs Linux 6.4 with CONFIG_KSM=y");
}

static enum state test_take_back(const char **detail)
{
	if (self_says("ksm_policy") == STATE_YES)
		return STATE_YES;
	return no(detail,
		  "'run --default' needs a ksm-cgroup kernel");
}

static enum state test_smart_scan(const char **detail)
{
	long long on;

	if (root_number(SYSFS_KSM "/smart_scan", &on))
		return STATE_NO;
	if (!on)
		return no(detail,
			  "switched off: echo 1 >/sys/kernel/mm/ksm/smart_scan saves looking at what does not change");
	return STATE_YES;
}

static enum state test_advisor(const char **detail)
{
	char text[256];

	if (root_read(SYSFS_KSM "/advisor_mode", text, sizeof(text)) < 0)
		return STATE_NO;
	if (!strstr(text, "[none]"))
		return STATE_YES;
	return no(detail,
		  "switched off, the pace is fixed: echo scan-time >/sys/kernel/mm/ksm/advisor_mode");
}

static enum state test_zero_pages(const char **detail)
{
	long long on;

	if (root_number(SYSFS_KSM "/use_zero_pages", &on))
		return STATE_NO;
	if (!on)
		return no(detail,
			  "zero pages are merged as others, except in cgroups with zero in memory.ksm.types: echo 1 >/sys/kernel/mm/ksm/use_zero_pages puts all on the kernel's");
	return STATE_YES;
}

static enum state test_swap(const char **detail)
{
	char text[4096];

	if (root_read("/proc/swaps", text, sizeof(text)) < 0)
		return STATE_UNKNOWN;
	/* The first line is a heading. */
	if (strchr(text, '\n'))
		return STATE_YES;
	return no(detail,
		  "no swap: when merged pages are written to, RAM has to have room for all of them");
}

static enum state test_pagemap(const char **detail)
{
	if (root_recorded())
		return STATE_UNKNOWN;
	if (!access("/proc/self/pagemap", R_OK))
		return STATE_YES;
	return no(detail,
		  "estimate needs CONFIG_PROC_PAGE_MONITOR=y");
}

static const struct feature features[] = {
	{ "samepage merging", test_built_in },
	{ "scanner", test_running },
	{ "cgroup version 2", test_cgroups },
	{ "memory controller", test_controller },
	{ "memory.ksm", test_files },
	{ "memory.ksm.types", test_types },
	{ "may set own cgroup", test_may_write },
	{ "scan is delegatable", test_delegate },
	{ "process figures", test_ksm_stat },
	{ "process takes part", test_mergeable },
	{ "merge by prctl", test_prctl },
	{ "follow cgroup again", test_take_back },
	{ "smart scan", test_smart_scan },
	{ "advisor", test_advisor },
	{ "zero pages", test_zero_pages },
	{ "swap", test_swap },
	{ "estimate", test_pagemap },
};

static int print_table(bool json)
{
	static const char * const states[] = { "no", "yes", NULL };
	struct libscols_table *table;
	struct libscols_line *line;
	const char *detail;
	int failed;
	size_t i;

	table = scols_new_table();
	scols_table_enable_json(table, json);
	scols_table_set_name(table, "features");
	scols_table_new_column(table, "FEATURE", 0, 0);
	scols_table_new_column(table, "THERE", 0, 0);
	scols_table_new_column(table, "DETAIL", 0, SCOLS_FL_WRAP);
	for (i = 0; i < ARRAY_SIZE(features); i++) {
		line = scols_table_new_line(table, NULL);
		detail = NULL;
		scols_line_set_data(line, 0, features[i].name);
		scols_line_set_data(line, 1, states[features[i].test(&detail)]);
		scols_line_set_data(line, 2, detail);
	}
	failed = scols_print_table(table);
	scols_unref_table(table);
	return failed ? STATUS_FAILED : STATUS_OK;
}

int cmd_features(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'J' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "Jh", options, NULL)) >= 0) {
		if (option == 'h') {
			puts("Usage: ksm-cgroup features [--json]\n\n"
			     "Show what this kernel and this host offer, and what is missing and why.\n"
			     "THERE is empty where that can't be told.");
			return STATUS_OK;
		}
		if (option != 'J')
			return usage_error("features: bad option");
		json = true;
	}
	if (optind < argc)
		return usage_error("features: no arguments are needed");
	return print_table(json);
}
