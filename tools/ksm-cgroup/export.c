// SPDX-License-Identifier: GPL-2.0
/*
 * export: Prometheus' text format, for node_exporter's textfile collector.
 *
 * Units are those that Prometheus wants, bytes and seconds. What counts up is
 * a counter and ends in _total.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "group.h"
#include "target.h"
#include "tool.h"

enum unit { UNIT_PAGES, UNIT_BYTES, UNIT_COUNT, UNIT_USEC };

struct metric {
	enum stat_key key;
	const char *name;
	bool counter;
	enum unit unit;
	const char *help;
};

static const struct metric metrics[] = {
	{ STAT_MERGING, "merged_bytes", false, UNIT_PAGES,
	  "Memory mapped to merged frames." },
	{ STAT_SHARED, "frames_bytes", false, UNIT_PAGES,
	  "Merged frames charged to the cgroup." },
	{ STAT_SHARING, "sharing_bytes", false, UNIT_PAGES,
	  "Merged memory less the frames charged here." },
	{ STAT_ZERO, "zero_bytes", false, UNIT_PAGES,
	  "Memory mapped to the zero page by merging." },
	{ STAT_UNSHARED, "unique_bytes", false, UNIT_PAGES,
	  "Memory without a twin, watched for one." },
	{ STAT_VOLATILE, "changing_bytes", false, UNIT_PAGES,
	  "Memory seen once, or changed since." },
	{ STAT_FOREIGN, "foreign_bytes", false, UNIT_PAGES,
	  "Merged in another domain, to be unshared." },
	{ STAT_PENDING, "pending_bytes", false, UNIT_PAGES,
	  "To be unshared, as merging was switched off or restricted." },
	{ STAT_SAVED, "saved_bytes", false, UNIT_PAGES,
	  "Memory that would be in use without merging, less what is." },
	{ STAT_METADATA, "metadata_bytes", false, UNIT_BYTES,
	  "Memory that merging itself takes." },
	{ STAT_PROFIT, "profit_bytes", false, UNIT_BYTES,
	  "Memory saved less metadata." },
	{ STAT_PROCESSES, "processes", false, UNIT_COUNT,
	  "Processes that take part." },
	{ STAT_SCANNED, "scanned_bytes_total", true, UNIT_PAGES,
	  "Memory looked at." },
	{ STAT_SKIPPED, "skipped_bytes_total", true, UNIT_PAGES,
	  "Memory passed over as it had not changed." },
	{ STAT_MERGED, "merges_total", true, UNIT_COUNT,
	  "Pages merged." },
	{ STAT_UNMERGED, "unmerges_total", true, UNIT_COUNT,
	  "Pages unshared, as merging was switched off or restricted." },
	{ STAT_COW, "cow_breaks_total", true, UNIT_COUNT,
	  "Merged pages that were written to." },
	{ STAT_FAILURES, "merge_failures_total", true, UNIT_COUNT,
	  "Attempts at a page that was busy." },
	{ STAT_CPU, "scan_seconds_total", true, UNIT_USEC,
	  "CPU time of scanning." },
	{ STAT_FULL_SCANS, "full_scans_total", true, UNIT_COUNT,
	  "Full scans." },
};

/* In a label's value a backslash, a quote and a newline have to be escaped. */
static void put_label(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '\\' || *value == '"')
			fprintf(out, "\\%c", *value);
		else
			putc(*value, out);
	}
}

static void put_header(FILE *out, const char *name, bool counter,
		       const char *help)
{
	fprintf(out, "# HELP ksm_cgroup_%s %s\n# TYPE ksm_cgroup_%s %s\n", name,
		help, name, counter ? "counter" : "gauge");
}

static void put_begin(FILE *out, const char *name, const struct group *group)
{
	fprintf(out, "ksm_cgroup_%s{cgroup=\"", name);
	put_label(out, group->path);
}

static void put_metric(FILE *out, const struct metric *metric,
		       const struct group *group)
{
	long long value = group->stats.value[metric->key];

	put_begin(out, metric->name, group);
	if (metric->unit == UNIT_USEC)
		fprintf(out, "\"} %.6f\n", value / 1e6);
	else
		fprintf(out, "\"} %lld\n",
			metric->unit == UNIT_PAGES ? value * page_bytes() : value);
}

static bool shown(const struct group *group)
{
	return !group->ancestor && !group->threaded;
}

static void put_metrics(FILE *out, const struct tree *tree)
{
	const struct group *group;
	size_t m, i;
	bool begun;

	for (m = 0; m < ARRAY_SIZE(metrics); m++) {
		begun = false;
		for (i = 0; i < tree->nr; i++) {
			group = tree->groups[i];
			if (!shown(group) || !stats_has(&group->stats, metrics[m].key))
				continue;
			if (!begun)
				put_header(out, metrics[m].name, metrics[m].counter,
					   metrics[m].help);
			begun = true;
			put_metric(out, &metrics[m], group);
		}
	}
}

/* What was set, as labels of a metric that is always 1. */
static void put_settings(FILE *out, const struct tree *tree)
{
	const struct group *group;
	size_t i;

	put_header(out, "info", false, "Settings of the cgroup, as labels.");
	for (i = 0; i < tree->nr; i++) {
		group = tree->groups[i];
		if (!shown(group) || group->own == SETTING_UNKNOWN)
			continue;
		put_begin(out, "info", group);
		fprintf(out, "\",ksm=\"%s\",effective=\"%s\",domain=\"",
			setting_name(group->own), group->effective ?
			setting_name(group->effective) : "");
		put_label(out, domain_of(group));
		fputs("\"} 1\n", out);
	}
	put_header(out, "weight", false, "Share of the scanning against siblings.");
	for (i = 0; i < tree->nr; i++)
		if (shown(tree->groups[i]) && tree->groups[i]->weight) {
			put_begin(out, "weight", tree->groups[i]);
			fprintf(out, "\"} %d\n", tree->groups[i]->weight);
		}
}

static void put_all(FILE *out, const struct tree *tree)
{
	long long run, cgroups;

	put_metrics(out, tree);
	if (tree->ours)
		put_settings(out, tree);
	if (!root_number(SYSFS_KSM "/run", &run)) {
		put_header(out, "run", false, SYSFS_KSM "/run.");
		fprintf(out, "ksm_cgroup_run %lld\n", run);
	}
	if (!root_number(SYSFS_KSM "/run_cgroups", &cgroups)) {
		put_header(out, "run_cgroups", false, SYSFS_KSM "/run_cgroups.");
		fprintf(out, "ksm_cgroup_run_cgroups %lld\n", cgroups);
	}
}

/* Whole or not at all: the collector may read at any moment. */
static int put_file(const char *path, const struct tree *tree)
{
	char *partial = xasprintf("%s.XXXXXX", path);
	int fd = mkstemp(partial), status = STATUS_FAILED;
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	if (!out) {
		complain("%s: %s: does its directory exist, and may you write there?",
			 path, strerror(errno));
		free(partial);
		return STATUS_FAILED;
	}
	put_all(out, tree);
	fchmod(fd, 0644);
	if (ferror(out) | fclose(out) || rename(partial, path)) {
		complain("%s: %s", path, strerror(errno));
		unlink(partial);
	} else {
		status = STATUS_OK;
	}
	free(partial);
	return status;
}

static int export(const char *cgroup, const char *path)
{
	int status = STATUS_OK;
	struct tree tree;

	if (tree_read(&tree, cgroup, TREE_ALL))
		return STATUS_FAILED;
	if (path)
		status = put_file(path, &tree);
	else
		put_all(stdout, &tree);
	tree_free(&tree);
	return status;
}

int cmd_export(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *path = NULL;
	char cgroup[4096] = "/";
	int option;

	while ((option = getopt_long(argc, argv, "o:h", options, NULL)) >= 0) {
		if (option == 'h') {
			puts("Usage: ksm-cgroup export [-o FILE] [CGROUP]\n\n"
			     "Print the figures of CGROUP (default: of all) for Prometheus.\n\n"
			     " -o, --output FILE     replace FILE as a whole, such as one in the directory of\n"
			     "                       node_exporter's textfile collector\n"
			     " -h, --help            print this");
			return STATUS_OK;
		}
		if (option != 'o')
			return usage_error("export: bad option");
		path = optarg;
	}
	if (argc - optind > 1)
		return usage_error("export: one CGROUP at most");
	if (optind < argc && target_cgroup(argv[optind], cgroup, sizeof(cgroup)))
		return STATUS_FAILED;
	return export(cgroup, path);
}
