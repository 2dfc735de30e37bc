// SPDX-License-Identifier: GPL-2.0
/*
 * The figures: of memory.ksm.stat, of /proc/PID/ksm_stat and of the host.
 */
#include <stdlib.h>
#include <string.h>

#include "group.h"
#include "tool.h"

const char * const stat_names[NR_STATS] = {
	[STAT_MERGING] = "ksm_merging_pages",
	[STAT_SHARED] = "pages_shared",
	[STAT_SHARING] = "pages_sharing",
	[STAT_ZERO] = "ksm_zero_pages",
	[STAT_UNSHARED] = "pages_unshared",
	[STAT_VOLATILE] = "pages_volatile",
	[STAT_FOREIGN] = "pages_foreign",
	[STAT_PENDING] = "pages_pending",
	[STAT_SAVED] = "pages_saved",
	[STAT_METADATA] = "ksm_metadata_bytes",
	[STAT_PROFIT] = "general_profit",
	[STAT_PROCESSES] = "processes",
	[STAT_SCANNED] = "pages_scanned",
	[STAT_SKIPPED] = "pages_skipped",
	[STAT_MERGED] = "pages_merged",
	[STAT_UNMERGED] = "pages_unmerged",
	[STAT_COW] = "cow_breaks",
	[STAT_FAILURES] = "merge_failures",
	[STAT_CPU] = "scan_usec",
	[STAT_FULL_SCANS] = "full_scans",
};

void stats_set(struct stats *stats, enum stat_key key, long long value)
{
	stats->value[key] = value;
	stats->known |= 1u << key;
}

bool stats_has(const struct stats *stats, enum stat_key key)
{
	return stats->known & 1u << key;
}

void stats_add(struct stats *sum, const struct stats *more)
{
	int key;

	for (key = 0; key < NR_STATS; key++)
		sum->value[key] += more->value[key];
	sum->known |= more->known;
}

/*
 * A kernel without pages_saved does not know what fork shares anyway. There,
 * SAVED is the merged mappings less the frames.
 */
static void set_saved(struct stats *stats)
{
	if (!stats_has(stats, STAT_SAVED) && stats_has(stats, STAT_SHARING) &&
	    stats_has(stats, STAT_ZERO))
		stats_set(stats, STAT_SAVED, stats->value[STAT_SHARING] +
			  stats->value[STAT_ZERO]);
}

/* stats_parse - lines "key value"; keys that nobody knows here are passed over */
void stats_parse(struct stats *stats, const char *text)
{
	int key = 0, tried;

	while (*text) {
		size_t length = strcspn(text, " :\n");

		/* They come in the order of the table, so try the next first. */
		for (tried = 0; tried < NR_STATS; tried++, key = (key + 1) % NR_STATS)
			if (!strncmp(text, stat_names[key], length) &&
			    !stat_names[key][length])
				break;
		if (tried < NR_STATS)
			stats_set(stats, key, strtoll(text + length + 1, NULL, 10));
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	set_saved(stats);
}

/* stats_of_host - /sys/kernel/mm/ksm, which every kernel with KSM has */
void stats_of_host(struct stats *stats)
{
	static const enum stat_key keys[] = {
		STAT_SHARED, STAT_SHARING, STAT_ZERO, STAT_UNSHARED, STAT_VOLATILE,
		STAT_SAVED, STAT_PROFIT, STAT_SCANNED, STAT_SKIPPED, STAT_FULL_SCANS,
	};
	long long value;
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		snprintf(path, sizeof(path), SYSFS_KSM "/%s", stat_names[keys[i]]);
		if (!root_number(path, &value))
			stats_set(stats, keys[i], value);
	}
	if (stats_has(stats, STAT_SHARED) && stats_has(stats, STAT_SHARING))
		stats_set(stats, STAT_MERGING, stats->value[STAT_SHARED] +
			  stats->value[STAT_SHARING]);
	set_saved(stats);
}
