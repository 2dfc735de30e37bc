// SPDX-License-Identifier: GPL-2.0
/*
 * Checks of the doctor: the cgroup's processes, and how far merging has come.
 */
#include <string.h>

#include "findings.h"
#include "tool.h"

static long long value(const struct patient *patient, enum stat_key key)
{
	return patient->group->stats.value[key];
}

static bool has(const struct patient *patient, enum stat_key key)
{
	return stats_has(&patient->group->stats, key);
}

static void check_never(struct patient *patient)
{
	bool all = patient->never == patient->readable;

	if (patient->never) {
		problem(patient, all ? GRADE_BLOCKS : GRADE_NOTE,
			"%lld of %lld %s out by prctl(PR_SET_MEMORY_MERGE, 0); MemoryKSM=no in a unit does that, too",
			patient->never, patient->readable,
			patient->readable == 1 ? "process keeps" :
			patient->never == 1 ? "processes keeps" : "processes keep");
		remedy(patient,
		       "if they need not: drop that from the unit, or start them with 'ksm-cgroup run --default'");
	}
}

static void check_left_out(struct patient *patient)
{
	long long out = patient->readable - patient->taking_part - patient->never;

	if (patient->group->effective != SETTING_ON || out <= 0)
		return;
	problem(patient, patient->taking_part ? GRADE_NOTE : GRADE_BLOCKS,
		"%lld of %lld %s no part: without memory of its own, or not dumpable, which a 1 leaves alone",
		out, patient->readable,
		patient->readable == 1 ? "process takes" :
		out == 1 ? "processes takes" : "processes take");
	remedy(patient,
	       "to merge them, make them ask: prctl(PR_SET_MEMORY_MERGE, 1) or 'ksm-cgroup run'; an exec that gains privilege drops the request; or, for all that are not dumpable: ksm-cgroup types %s +undumpable",
	       patient->group->path);
}

static void check_memory(struct patient *patient)
{
	char path[8192], size[32], more[32];
	long long swapped;

	if (!patient->anonymous) {
		problem(patient, GRADE_BLOCKS,
			"the cgroup has no anonymous memory in RAM: files, tmpfs, shared memory and hugetlb are never merged");
		remedy(patient,
		       "nothing is to be gained here");
	}
	cgroup_file(path, sizeof(path), patient->group->path, "memory.swap.current");
	if (root_number(path, &swapped) || patient->anonymous < 0 ||
	    swapped <= patient->anonymous)
		return;
	problem(patient, GRADE_NOTE,
		"more is swapped out (%s) than in RAM (%s), and what is swapped out is not looked at",
		human_size(size, sizeof(size), swapped),
		human_size(more, sizeof(more), patient->anonymous));
	remedy(patient,
	       "merge before memory is short: with more memory.high, or right after the start");
}

void check_processes(struct patient *patient)
{
	if (!patient->processes) {
		problem(patient, GRADE_BLOCKS,
			"no process is in %s or below",
			patient->group->path);
		remedy(patient,
		       "start some there: ksm-cgroup run --scope %s -- COMMAND, or write a PID to its cgroup.procs",
		       patient->group->path);
		return;
	}
	if (patient->readable) {
		check_never(patient);
		check_left_out(patient);
	}
	if (!patient->tree.ours && patient->readable && !patient->taking_part) {
		problem(patient, GRADE_BLOCKS,
			"none of %lld %s asks for merging, and this kernel merges only what asks",
			patient->readable,
			plural(patient->readable, "process", "processes"));
		remedy(patient,
		       "start them with 'ksm-cgroup run --merge -- COMMAND', or MemoryKSM=yes in the unit (systemd 256)");
	}
	check_memory(patient);
}

/* Unsharing leaves this part of the limit free, within these bounds. */
enum { MARGIN_PART = 64, MARGIN_MIN = 384 << 10, MARGIN_MAX = 4 << 20 };

/* May unsharing have stopped at this cgroup's limit? */
static bool is_full(const struct group *group)
{
	long long current, max, margin;
	char path[8192];

	/* an ancestor was read for its settings alone; "max" is no number */
	cgroup_file(path, sizeof(path), group->path, "memory.current");
	if (root_number(path, &current))
		return false;
	cgroup_file(path, sizeof(path), group->path, "memory.max");
	if (root_number(path, &max))
		return false;
	margin = max / MARGIN_PART;
	if (margin < MARGIN_MIN)
		margin = MARGIN_MIN;
	if (margin > MARGIN_MAX)
		margin = MARGIN_MAX;
	return current + margin >= max;
}

/* A full cgroup that keeps something here from being unshared, or NULL. */
static const struct group *full_group(const struct patient *patient)
{
	const struct group *group;
	size_t i;

	for (i = 0; i < patient->tree.nr; i++) {
		group = patient->tree.groups[i];
		if ((group->ancestor || group->stats.value[STAT_PENDING]) &&
		    is_full(group))
			return group;
	}
	return NULL;
}

/*
 * Memory that is still to be unshared, and the limit that prevents it. This is
 * told even where something else blocks merging.
 */
void check_pending(struct patient *patient)
{
	const struct group *full;
	char size[32];

	if (!value(patient, STAT_PENDING))
		return;
	full = full_group(patient);
	/* what is foreign besides has a note of its own */
	if (!full && patient->group->effective != SETTING_OFF &&
	    value(patient, STAT_PENDING) == value(patient, STAT_FOREIGN))
		return;
	problem(patient, GRADE_NOTE,
		"%s is still to be unshared, as merging was switched off or restricted",
		human_size(size, sizeof(size),
			   value(patient, STAT_PENDING) * page_bytes()));
	if (full)
		remedy(patient,
		       "memory.max of %s is too low: raise it by about %s, and a worker unshares the rest",
		       full->path, size);
	else
		remedy(patient,
		       "a worker unshares it; if the number stays, the host is short of memory");
}

static void remedy_not_scanned(struct patient *patient)
{
	remedy(patient,
	       "look again once full_scans in memory.ksm.stat has risen by two, or run 'ksm-cgroup scan %s' twice; what the program refused, locked or marked as secret is never looked at",
	       patient->group->path);
}

static void nothing_merged(struct patient *patient)
{
	long long unique = value(patient, STAT_UNSHARED);
	long long changing = value(patient, STAT_VOLATILE);
	char size[32];

	if (!value(patient, STAT_SCANNED) && !value(patient, STAT_SKIPPED)) {
		problem(patient, GRADE_BLOCKS,
			"nothing was looked at here until now");
		remedy_not_scanned(patient);
		return;
	}
	if (!patient->equal) {
		problem(patient, GRADE_BLOCKS,
			"there are no pages of zeroes, and others are not merged here");
		remedy(patient,
		       "to merge equal pages: ksm-cgroup types %s +anon",
		       patient->group->path);
		return;
	}
	/* Events stay when the domain changes, and what is known goes. */
	if (!unique && !changing) {
		problem(patient, GRADE_BLOCKS,
			"nothing of what is here was scanned yet, since it came or since its domain changed");
		remedy_not_scanned(patient);
		return;
	}
	if (changing > unique) {
		problem(patient, GRADE_BLOCKS,
			"most of what was looked at (%s) was seen once, or keeps changing",
			human_size(size, sizeof(size), changing * page_bytes()));
		remedy(patient,
		       "run 'ksm-cgroup scan %s' twice; what changes all the time can't be merged",
		       patient->group->path);
	} else {
		problem(patient, GRADE_BLOCKS,
			"all that was looked at (%s) is different",
			human_size(size, sizeof(size), unique * page_bytes()));
		remedy(patient,
		       "nothing is to be gained within %s; 'ksm-cgroup estimate' tells what sharing with others would bring",
		       domain_of(patient->group));
	}
}

/* After full scans, all that takes part is in one of these figures. */
static void check_marked(struct patient *patient)
{
	long long known = (value(patient, STAT_MERGING) + value(patient, STAT_ZERO) +
			   value(patient, STAT_UNSHARED) +
			   value(patient, STAT_VOLATILE)) * page_bytes();
	char size[32], more[32];

	/* of zeroes alone nothing is remembered */
	if (patient->group->effective != SETTING_ON || !patient->equal ||
	    value(patient, STAT_FULL_SCANS) < 2 ||
	    patient->anonymous < 16 << 20 || !known ||
	    known >= patient->anonymous / 4)
		return;
	problem(patient, GRADE_NOTE,
		"of %s of anonymous memory only %s takes part: the rest was refused (MADV_UNMERGEABLE), is locked (mlock), or is marked as secret (MADV_DONTDUMP, MADV_WIPEONFORK), as guest memory is by QEMU with dump-guest-core=off and by cloud-hypervisor",
		human_size(size, sizeof(size), patient->anonymous),
		human_size(more, sizeof(more), known));
	remedy(patient,
	       "if that stays so once full_scans has risen by two: to merge it, make the program ask by MADV_MERGEABLE; for QEMU: -machine mem-merge=on; for cloud-hypervisor: --memory mergeable=on; or take in what is marked or locked: ksm-cgroup types %s +dontdump +locked",
	       patient->group->path);
}

static void check_weight(struct patient *patient)
{
	const struct group *group = patient->group;
	char name[4096], path[8192];
	struct tree tree;
	long long sum = 100;
	size_t i;

	if (!group->parent || !group->weight ||
	    tree_read(&tree, group->parent->path, TREE_SETTINGS))
		return;
	for (i = 0; i < tree.nr; i++)
		if (tree.groups[i]->parent && !tree.groups[i]->ancestor &&
		    !strcmp(tree.groups[i]->parent->path, group->parent->path))
			sum += tree.groups[i]->weight;
	tree_free(&tree);
	if (group->weight * 100LL >= sum || group->weight >= 100)
		return;
	snprintf(name, sizeof(name), "%s", group->parent->path);
	cgroup_file(path, sizeof(path), group->path, "memory.ksm.weight");
	problem(patient, GRADE_NOTE,
		"%s is %d: less than 1%% of the scanning that goes to %s, while its siblings have work",
		path, group->weight, name);
	remedy(patient,
	       "ksm-cgroup weight %s 100",
	       group->path);
}

/* Are there others in the domain, for which it may pay? */
static bool shares(const struct group *group, const char *domain)
{
	if (*domain == '@')
		return others_in(domain, group) > 0;
	return strcmp(domain, group->path) && strcmp(domain, "/");
}

static void check_profit(struct patient *patient)
{
	const struct group *group = patient->group;
	const char *domain = domain_of(group);
	char size[32];

	if (value(patient, STAT_PROFIT) >= 0)
		return;
	human_size(size, sizeof(size), -value(patient, STAT_PROFIT));
	if (!shares(group, domain)) {
		problem(patient, GRADE_NOTE,
			"merging costs %s more memory here than it saves", size);
		remedy(patient,
		       "if that stays so after some passes: ksm-cgroup off %s",
		       group->path);
		return;
	}
	problem(patient, GRADE_NOTE,
		"the profit is -%s here, as a cgroup of domain %s may pay for frames that others map",
		size, domain);
	if (*domain == '@')
		remedy(patient,
		       "the sum over the domain counts: ksm-cgroup list -o CGROUP,SAVED,PROFIT -Q 'domain == %s'",
		       domain);
	else
		remedy(patient,
		       "the profit of the whole domain counts: ksm-cgroup list %s",
		       domain);
}

static void check_books(struct patient *patient)
{
	if (value(patient, STAT_FAILURES) > 1000 &&
	    value(patient, STAT_FAILURES) > value(patient, STAT_MERGED)) {
		problem(patient, GRADE_NOTE,
			"%lld attempts met a page that somebody held or changed at that moment",
			value(patient, STAT_FAILURES));
		remedy(patient,
		       "pages that a device holds (O_DIRECT, RDMA, VFIO) can be merged only when they are let go");
	}
	if (value(patient, STAT_FOREIGN)) {
		problem(patient, GRADE_NOTE,
			"%lld pages came from another domain and are being unshared; their processes are merged with nobody until that is done",
			value(patient, STAT_FOREIGN));
		remedy(patient,
		       "a worker unshares them; if the number stays, memory is short");
	}
	check_profit(patient);
}

void check_progress(struct patient *patient)
{
	if (!has(patient, STAT_MERGING))
		return;
	/* Without our keys there is nothing to tell the reasons apart by. */
	if (!has(patient, STAT_VOLATILE) || !has(patient, STAT_MERGED))
		return;
	if (patient->processes && patient->anonymous &&
	    value(patient, STAT_MERGING) + value(patient, STAT_ZERO) == 0)
		nothing_merged(patient);
	check_marked(patient);
	check_weight(patient);
	check_books(patient);
}
