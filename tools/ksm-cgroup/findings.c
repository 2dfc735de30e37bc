// SPDX-License-Identifier: GPL-2.0
/*
 * Looking at a cgroup, and telling what was found.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "findings.h"
#include "tool.h"

static char *printed(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		text = xstrdup(format);
	return text;
}

/* problem - what is the matter; remedy() has to follow */
void problem(struct patient *patient, enum grade grade, const char *format, ...)
{
	struct findings *findings = &patient->findings;
	struct finding *finding;
	va_list args;

	findings->list = xrealloc(findings->list, (findings->nr + 1) *
				  sizeof(*findings->list));
	finding = &findings->list[findings->nr++];
	finding->grade = grade;
	finding->remedy = NULL;
	va_start(args, format);
	finding->what = printed(format, args);
	va_end(args);
}

/* remedy - what to do about the problem that was told last */
void remedy(struct patient *patient, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	patient->findings.list[patient->findings.nr - 1].remedy =
		printed(format, args);
	va_end(args);
}

static void count_process(pid_t pid, void *data)
{
	struct patient *patient = data;
	struct process process;

	patient->processes++;
	if (process_read(pid, &process) || !process.knows_mergeable)
		return;
	patient->readable++;
	patient->never += !strcmp(process.policy, "never");
	patient->taking_part += process.any || process.mergeable;
}

static long long anonymous_bytes(const char *cgroup)
{
	char path[8192], text[16384], value[32];

	cgroup_file(path, sizeof(path), cgroup, "memory.stat");
	if (root_read(path, text, sizeof(text)) < 0 ||
	    !find_key(text, "anon", value, sizeof(value)))
		return -1;
	return strtoll(value, NULL, 10);
}

static void read_types(struct patient *patient)
{
	char types[256];
	long long used;

	types_in_force(patient->group->path, types, sizeof(types));
	patient->equal = has_word(types, "anon");
	patient->zero = has_word(types, "zero") ||
			(!root_number(SYSFS_KSM "/use_zero_pages", &used) && used);
}

int patient_begin(struct patient *patient, const char *cgroup)
{
	memset(patient, 0, sizeof(*patient));
	if (tree_read(&patient->tree, cgroup, TREE_ALL))
		return -1;
	patient->group = tree_find(&patient->tree, cgroup);
	if (root_number(SYSFS_KSM "/run", &patient->run))
		patient->run = -1;
	if (root_number(SYSFS_KSM "/run_cgroups", &patient->run_cgroups))
		patient->run_cgroups = -1;
	patient->anonymous = anonymous_bytes(cgroup);
	read_types(patient);
	each_pid_below(cgroup, count_process, patient);
	return 0;
}

void patient_end(struct patient *patient)
{
	size_t i;

	for (i = 0; i < patient->findings.nr; i++) {
		free(patient->findings.list[i].what);
		free(patient->findings.list[i].remedy);
	}
	free(patient->findings.list);
	tree_free(&patient->tree);
}

/* print_findings - returns how many of them block */
size_t print_findings(const struct findings *findings, enum grade least)
{
	const struct finding *finding;
	size_t i, blocking = 0;

	for (i = 0; i < findings->nr; i++) {
		finding = &findings->list[i];
		blocking += finding->grade == GRADE_BLOCKS;
		if (finding->grade >= least)
			printf("%s %s\n  -> %s\n",
			       finding->grade == GRADE_BLOCKS ? "!" : "-",
			       finding->what, finding->remedy);
	}
	return blocking;
}

/*
 * warn_if_blocked - after merging was asked for
 *
 * A command that succeeds and changes nothing is what people complain about.
 */
void warn_if_blocked(const char *cgroup)
{
	struct patient patient;
	size_t i;

	if (patient_begin(&patient, cgroup))
		return;
	check_host(&patient);
	check_settings(&patient);
	for (i = 0; i < patient.findings.nr; i++)
		if (patient.findings.list[i].grade == GRADE_BLOCKS)
			complain("%s: nothing is merged yet: %s: %s", cgroup,
				 patient.findings.list[i].what,
				 patient.findings.list[i].remedy);
	patient_end(&patient);
}
