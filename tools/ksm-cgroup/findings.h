/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why nothing is merged: a list of findings, each a sentence and a remedy.
 */
#ifndef KSM_FINDINGS_H
#define KSM_FINDINGS_H

#include "group.h"
#include "tool.h"

enum grade {
	GRADE_NOTE,	/* worth knowing */
	GRADE_BLOCKS,	/* nothing is merged for this reason */
};

struct finding {
	enum grade grade;
	char *what;
	char *remedy;
};

struct findings {
	struct finding *list;
	size_t nr;
};

/**
 * struct patient - what the checks look at
 * @tree: the cgroup, its ancestors and all below it
 * @group: the cgroup
 * @run: of /sys/kernel/mm/ksm; -1 if there is none
 * @run_cgroups: as @run
 * @processes: below the cgroup
 * @readable: of them, those that say something of merging
 * @never: of them, those that opted out
 * @taking_part: of them, those of which something may be merged
 * @anonymous: bytes of anonymous memory in memory.stat; -1 if not known
 * @equal: equal pages are merged: "anon" in memory.ksm.types
 * @zero: pages of zeroes are: "zero" there, or use_zero_pages
 * @findings: what was found
 */
struct patient {
	struct tree tree;
	struct group *group;
	long long run;
	long long run_cgroups;
	long long processes;
	long long readable;
	long long never;
	long long taking_part;
	long long anonymous;
	bool equal;
	bool zero;
	struct findings findings;
};

/* "1 process", "2 processes" */
static inline const char *plural(long long nr, const char *one, const char *many)
{
	return nr == 1 ? one : many;
}

/* findings.c: what was found, and what to look at */
void problem(struct patient *patient, enum grade grade, const char *format, ...)
	__printf(3, 4);
void remedy(struct patient *patient, const char *format, ...) __printf(2, 3);
int patient_begin(struct patient *patient, const char *cgroup);
void patient_end(struct patient *patient);
size_t print_findings(const struct findings *findings, enum grade least);
void warn_if_blocked(const char *cgroup);

/* check-host.c */
void check_host(struct patient *patient);
void check_settings(struct patient *patient);
long long others_in(const char *domain, const struct group *group);

/* check-cgroup.c */
void check_processes(struct patient *patient);
void check_pending(struct patient *patient);
void check_progress(struct patient *patient);

/* check-guest.c */
void check_guests(struct patient *patient);
bool is_for_guests(const struct patient *patient);
void count_guests(const struct patient *patient, long long *guests,
		  long long *merge_off);

#endif /* KSM_FINDINGS_H */
