// SPDX-License-Identifier: GPL-2.0
/*
 * doctor: why nothing is merged in a cgroup, and what to do about it.
 */
#include <getopt.h>
#include <stdlib.h>

#include "findings.h"
#include "target.h"
#include "tool.h"

static bool blocked(const struct patient *patient)
{
	size_t i;

	for (i = 0; i < patient->findings.nr; i++)
		if (patient->findings.list[i].grade == GRADE_BLOCKS)
			return true;
	return false;
}

/* The first line: what there is, before what there is to say about it. */
static void print_state(const struct patient *patient)
{
	const struct stats *stats = &patient->group->stats;
	const char *own = setting_name(patient->group->own);
	const char *effective = setting_name(patient->group->effective);
	char merged[32], zero[32], saved[32];

	printf("%s: %lld %s", patient->group->path, patient->processes,
	       plural(patient->processes, "process", "processes"));
	if (own)
		printf(", memory.ksm %s, effective %s, domain %s", own,
		       effective ? effective : "unknown",
		       domain_of(patient->group));
	if (stats_has(stats, STAT_MERGING))
		printf(", merged %s", human_size(merged, sizeof(merged),
						 stats->value[STAT_MERGING] * page_bytes()));
	if (stats_has(stats, STAT_ZERO))
		printf(", zero %s", human_size(zero, sizeof(zero),
					       stats->value[STAT_ZERO] * page_bytes()));
	if (stats_has(stats, STAT_SAVED))
		printf(", saved %s", human_size(saved, sizeof(saved),
						stats->value[STAT_SAVED] * page_bytes()));
	putchar('\n');
}

static int examine(const char *cgroup)
{
	struct patient patient;
	size_t blocking;

	if (patient_begin(&patient, cgroup))
		return STATUS_FAILED;
	check_host(&patient);
	check_settings(&patient);
	check_processes(&patient);
	check_guests(&patient);
	check_pending(&patient);
	/* What was scanned until now says little of what can't be scanned now. */
	if (!blocked(&patient))
		check_progress(&patient);
	print_state(&patient);
	blocking = print_findings(&patient.findings, GRADE_NOTE);
	if (!blocking)
		puts("Nothing stands in the way of merging here.");
	patient_end(&patient);
	return blocking ? STATUS_FAILED : STATUS_OK;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	char cgroup[4096];
	int option;

	option = getopt_long(argc, argv, "h", options, NULL);
	if (option == 'h') {
		puts("Usage: ksm-cgroup doctor CGROUP\n\n"
		     "Say why nothing is merged in CGROUP, and what to do about it. '!' marks what\n"
		     "stands in the way (exit status 1), '-' what is worth knowing.");
		return STATUS_OK;
	}
	if (option >= 0 || argc - optind != 1)
		return usage_error("doctor: one CGROUP is needed");
	if (target_cgroup(argv[optind], cgroup, sizeof(cgroup)))
		return STATUS_FAILED;
	return examine(cgroup);
}
