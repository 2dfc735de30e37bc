// SPDX-License-Identifier: GPL-2.0
/*
 * Checks of the doctor: the kernel, its scanner, and what the cgroup and
 * those above it were told.
 */
#include <stdlib.h>
#include <string.h>

#include "findings.h"
#include "tool.h"

static bool file_has_word(const char *path, const char *word)
{
	char text[4096];

	return root_read(path, text, sizeof(text)) >= 0 && has_word(text, word);
}

static bool group_file_has(const char *cgroup, const char *file, const char *word)
{
	char path[8192];

	return cgroup_file(path, sizeof(path), cgroup, file) &&
	       file_has_word(path, word);
}

/* The processes of our kernel say more than those of others. */
static bool engine_is_ours(void)
{
	char text[1024], value[16];

	return root_read("/proc/self/ksm_stat", text, sizeof(text)) > 0 &&
	       find_key(text, "ksm_policy", value, sizeof(value));
}

/* No cgroup has the files: the kernel, or the memory controller? */
static void no_files_at_all(struct patient *patient)
{
	if (file_has_word("/proc/cmdline", "cgroup_disable=memory")) {
		problem(patient, GRADE_BLOCKS,
			"the memory controller is switched off by cgroup_disable=memory");
		remedy(patient,
		       "boot without it on the kernel's command line");
	} else if (!group_file_has("/", "cgroup.controllers", "memory")) {
		problem(patient, GRADE_BLOCKS,
			"cgroup version 2 has no memory controller; version 1 has it, or the kernel was built without");
		remedy(patient,
		       "boot with cgroup_no_v1=memory, or with systemd.unified_cgroup_hierarchy=1");
	} else if (engine_is_ours()) {
		problem(patient, GRADE_BLOCKS,
			"the kernel knows memory.ksm, but no cgroup has it here");
		remedy(patient,
		       "look from outside of the container: its cgroup namespace hides them");
	} else {
		problem(patient, GRADE_BLOCKS,
			"this kernel has no memory.ksm, so merging can't be switched on for a cgroup");
		remedy(patient,
		       "boot a ksm-cgroup kernel; on this one, start programs with 'ksm-cgroup run --merge -- COMMAND' and write 1 to /sys/kernel/mm/ksm/run");
	}
}

/* On a kernel without memory.ksm, or without the memory controller. */
static void check_run_alone(struct patient *patient)
{
	if (patient->run == 1)
		return;
	problem(patient, GRADE_BLOCKS,
		"the scanner is stopped: /sys/kernel/mm/ksm/run is %lld",
		patient->run);
	remedy(patient,
	       "echo 1 >/sys/kernel/mm/ksm/run");
}

/* Where kubelet puts the pods of all tenants; pods themselves are below. */
static bool has_all_pods(const char *path)
{
	static const char * const paths[] = {
		"/kubepods.slice",
		"/kubepods.slice/kubepods-burstable.slice",
		"/kubepods.slice/kubepods-besteffort.slice",
		"/kubepods", "/kubepods/burstable", "/kubepods/besteffort",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i]))
			return true;
	return false;
}

/* The slice that a virtual machine is in: its neighbours are there, too. */
static const struct group *slice_of(const struct group *group)
{
	const struct group *at;
	size_t length;

	for (at = group; at; at = at->parent) {
		length = strlen(at->path);
		if (length > 6 && !strcmp(at->path + length - 6, ".slice"))
			return at;
	}
	return group;
}

/*
 * how_to_merge - the command that has the cgroup merged
 *
 * Not what lets those share that must not: all tenants of a node, or virtual
 * machines whose owners said no.
 */
static const char *how_to_merge(const struct patient *patient, char *buf,
				size_t size)
{
	const struct group *group = patient->group;

	if (has_all_pods(group->path))
		snprintf(buf, size,
			 "a 1 here would let all tenants share; for each pod: ksm-cgroup domain POD @NAME, with one name for those that may share, and ksm-cgroup on POD");
	else if (is_for_guests(patient))
		snprintf(buf, size, "ksm-cgroup madvise %s",
			 slice_of(group)->path);
	else
		snprintf(buf, size, "ksm-cgroup on %s", group->path);
	return buf;
}

/* Is anything below scanned by a value of its own? */
static bool counts_below(const struct patient *patient)
{
	size_t i;

	for (i = 0; i < patient->tree.nr; i++)
		if (!patient->tree.groups[i]->ancestor &&
		    !obeys_run(patient->tree.groups[i]))
			return true;
	return false;
}

static void check_run(struct patient *patient)
{
	const struct group *group = patient->group;
	char how[8192];

	if (patient->run == 2) {
		problem(patient, GRADE_BLOCKS,
			"the scanner is stopped and everything is unshared: /sys/kernel/mm/ksm/run is 2");
		remedy(patient,
		       "echo 0 >/sys/kernel/mm/ksm/run, or 1 to merge also what asked by madvise or prctl");
	} else if (group->own == SETTING_UNKNOWN || not_granted(group)) {
		return;
	} else if (obeys_run(group) && patient->run != 1) {
		problem(patient, counts_below(patient) ? GRADE_NOTE : GRADE_BLOCKS,
			"/sys/kernel/mm/ksm/run is %lld, so only cgroups at or below one whose own 1 or madvise counts are scanned, and this is none of them",
			patient->run);
		remedy(patient,
		       "%s, or echo 1 >/sys/kernel/mm/ksm/run for all that asked by madvise or prctl",
		       how_to_merge(patient, how, sizeof(how)));
	} else if (!obeys_run(group) && !patient->run_cgroups) {
		problem(patient, GRADE_BLOCKS,
			"the scanner is stopped for cgroups that have a value: /sys/kernel/mm/ksm/run_cgroups is 0");
		remedy(patient,
		       "echo 1 >/sys/kernel/mm/ksm/run_cgroups");
	}
}

/* Pages that are looked at for one of pages_to_scan, most having no twin. */
static int looks_for_page(const struct patient *patient)
{
	return patient->tree.ours ? 15 : 1;
}

static void check_pace(struct patient *patient)
{
	long long pages, sleep, total = patient->anonymous / page_bytes();
	double minutes;

	if (root_number(SYSFS_KSM "/pages_to_scan", &pages) ||
	    root_number(SYSFS_KSM "/sleep_millisecs", &sleep))
		return;
	if (!pages) {
		problem(patient, GRADE_BLOCKS,
			"/sys/kernel/mm/ksm/pages_to_scan is 0, so the scanner looks at nothing");
		remedy(patient,
		       "echo 100 >/sys/kernel/mm/ksm/pages_to_scan");
		return;
	}
	minutes = total / (double)pages / looks_for_page(patient) * sleep / 60000;
	if (patient->anonymous > 0 && minutes > 10) {
		problem(patient, GRADE_NOTE,
			"at %lld pages each %lld ms, going over this cgroup can take %.0f minutes, and merging takes two passes",
			pages, sleep, minutes);
		remedy(patient,
		       "raise /sys/kernel/mm/ksm/pages_to_scan, let the advisor do it (echo scan-time >/sys/kernel/mm/ksm/advisor_mode), or run 'ksm-cgroup scan' for this cgroup");
	}
}

static void check_nodes(struct patient *patient)
{
	long long across;

	if (!root_number(SYSFS_KSM "/merge_across_nodes", &across) && !across &&
	    root_exists("/sys/devices/system/node/node1")) {
		problem(patient, GRADE_NOTE,
			"/sys/kernel/mm/ksm/merge_across_nodes is 0: equal pages of different NUMA nodes are kept apart");
		remedy(patient,
		       "echo 2 >/sys/kernel/mm/ksm/run, then 1 >/sys/kernel/mm/ksm/merge_across_nodes, then run as before; all is unshared in between");
	}
}

void check_host(struct patient *patient)
{
	if (patient->run < 0) {
		problem(patient, GRADE_BLOCKS,
			"the kernel has no KSM: there is no /sys/kernel/mm/ksm");
		remedy(patient,
		       "boot a kernel that was built with CONFIG_KSM=y");
		return;
	}
	if (!patient->tree.ours)
		no_files_at_all(patient);
	if (patient->tree.ours)
		check_run(patient);
	else
		check_run_alone(patient);
	check_pace(patient);
	check_nodes(patient);
}

static void no_files_here(struct patient *patient)
{
	const struct group *group, *above = NULL;

	/* Controllers are handed down: the uppermost that does not comes first. */
	for (group = patient->group->parent; group; group = group->parent)
		if (!group_file_has(group->path, "cgroup.subtree_control", "memory"))
			above = group;
	if (patient->group->threaded) {
		problem(patient, GRADE_BLOCKS,
			"this is a threaded cgroup; its memory belongs to the cgroup at the top of the threaded subtree");
		remedy(patient,
		       "name the nearest cgroup above whose cgroup.type says 'domain threaded'");
	} else if (above) {
		problem(patient, GRADE_BLOCKS,
			"the cgroup has no memory controller: %s does not hand it down",
			above->path);
		remedy(patient,
		       "echo +memory >%s%s/cgroup.subtree_control; in a systemd unit set MemoryAccounting=yes",
		       cgroup_mount(), above->path[1] ? above->path : "");
	} else {
		problem(patient, GRADE_BLOCKS,
			"the cgroup's memory.ksm can't be read");
		remedy(patient,
		       "run this as root");
	}
}

static const struct group *who_says(const struct group *group, enum setting setting)
{
	for (; group; group = group->parent)
		if (group->own == setting)
			return group;
	return NULL;
}

/* Without a grant a value stands in the file and has no effect. */
static void check_grant(struct patient *patient, const struct group *who)
{
	problem(patient, GRADE_BLOCKS,
		"not granted: memory.ksm of %s is %s, but was written through a file that was opened without CAP_SYS_ADMIN over the host, and the nearest granted value above is not 1",
		who->path, setting_name(who->own));
	remedy(patient,
	       "as root of the host: ksm-cgroup %s %s, or on a cgroup above",
	       is_for_guests(patient) ? "madvise" : "on", who->path);
}

/* Below, a value of its own makes a domain of its own. */
static void check_domains_below(struct patient *patient)
{
	const struct group *group, *first = NULL, *named = NULL;
	const char *here = domain_of(patient->group);
	long long apart = 0, by_name = 0;
	size_t i;

	for (i = 0; i < patient->tree.nr; i++) {
		group = patient->tree.groups[i];
		if (group->ancestor || group == patient->group ||
		    !strcmp(domain_of(group), here))
			continue;
		if (!chooses_domain(group))
			continue;
		if (*group->join == '@') {
			if (!by_name++)
				named = group;
		} else if (!apart++) {
			first = group;
		}
	}
	if (named) {
		problem(patient, GRADE_NOTE,
			"%lld %s by name, not with the others here: %s in %s%s",
			by_name, plural(by_name, "cgroup below shares", "cgroups below share"),
			named->path, named->join,
			by_name > 1 ? " and others" : "");
		remedy(patient,
		       "to see who shares with whom: ksm-cgroup list -o CGROUP,KSM,DOMAIN,SAVED %s",
		       patient->group->path);
	}
	if (!first)
		return;
	problem(patient, GRADE_NOTE,
		"%lld %s nothing with the others here, because of a value in memory.ksm: %s%s",
		apart, plural(apart, "cgroup below shares", "cgroups below share"),
		first->path, apart > 1 ? " and others" : "");
	if (has_all_pods(patient->group->path))
		remedy(patient,
		       "if some may know of each other's content: ksm-cgroup domain %s @NAME, and the same name for the others",
		       first->path);
	else
		remedy(patient,
		       "if they may know of each other's content: ksm-cgroup inherit %s, or ksm-cgroup domain %s parent",
		       first->path, first->path);
}

/* What memory.ksm.types leaves to be merged. */
static void check_types(struct patient *patient)
{
	const char *path = patient->group->path;

	if (patient->equal)
		return;
	if (patient->zero)
		problem(patient, GRADE_NOTE,
			"only pages of zeroes are merged: memory.ksm.types has no anon here");
	else
		problem(patient, GRADE_BLOCKS,
			"memory.ksm.types has neither anon nor zero here: nothing more is merged");
	remedy(patient,
	       "to merge equal pages: ksm-cgroup types %s +anon",
	       path);
}

/* others_in - how many other cgroups have the same name, and are in its domain? */
long long others_in(const char *domain, const struct group *group)
{
	struct tree tree;
	long long nr = 0;
	size_t i;

	if (tree_read(&tree, "/", TREE_SETTINGS))
		return -1;
	for (i = 0; i < tree.nr; i++)
		if (!strcmp(tree.groups[i]->join, domain) &&
		    chooses_domain(tree.groups[i]) &&
		    strcmp(tree.groups[i]->path, group->path))
			nr++;
	tree_free(&tree);
	return nr;
}

/* A name needs a second cgroup that has it, and a value of memory.ksm. */
static void check_name(struct patient *patient)
{
	const struct group *group = patient->group;
	const char *domain = domain_of(group);
	char how[8192];

	if (*group->join == '@' && group->own == SETTING_INHERIT) {
		problem(patient, GRADE_NOTE,
			"memory.ksm.domain of %s is %s, which has no effect where memory.ksm is inherit: it shares in the domain of the cgroup above, %s",
			group->path, group->join, domain);
		remedy(patient, "%s",
		       how_to_merge(patient, how, sizeof(how)));
	}
	if (*domain != '@')
		return;
	while (!chooses_domain(group))
		group = group->parent;
	if (!others_in(domain, group)) {
		problem(patient, GRADE_NOTE,
			"no cgroup but %s is in domain %s", group->path, domain);
		remedy(patient,
		       "if there should be others: ksm-cgroup list -o CGROUP,KSM,EFFECTIVE,JOIN -Q 'join =~ @'");
	}
}

/* A 0 that is in the way: take it back rather than have a domain apart. */
static void remedy_off(struct patient *patient, const struct group *who)
{
	const struct group *above;
	char how[8192];

	for (above = who->parent; above; above = above->parent)
		if (above->parent && above->own != SETTING_INHERIT)
			break;
	how_to_merge(patient, how, sizeof(how));
	if (who != patient->group || above)
		remedy(patient, "ksm-cgroup inherit %s", who->path);
	else if (is_for_guests(patient) && slice_of(who) != who)
		remedy(patient, "ksm-cgroup inherit %s, and %s", who->path, how);
	else
		remedy(patient, "%s", how);
}

static void nobody_asks(struct patient *patient)
{
	long long guests, off;
	char how[8192];

	count_guests(patient, &guests, &off);
	if (off && off == guests) {
		problem(patient, GRADE_BLOCKS,
			"only what asks is merged here, and %lld virtual %s not, by mem-merge=off: that is what the owner chose",
			off, plural(off, "machine does", "machines do"));
		remedy(patient,
		       "nothing is to be done here; the owner can start it with -machine mem-merge=on, for libvirt without <nosharepages/>");
		return;
	}
	problem(patient, GRADE_BLOCKS,
		"only what asks is merged here, and none of %lld %s asks",
		patient->readable,
		plural(patient->readable, "process", "processes"));
	if (guests)
		remedy(patient,
		       "start the machines so that they ask: QEMU does by default, cloud-hypervisor with --memory mergeable=on");
	else if (is_for_guests(patient))
		remedy(patient,
		       "start the programs with 'ksm-cgroup run --merge'");
	else
		remedy(patient,
		       "%s, or start the programs with 'ksm-cgroup run --merge'",
		       how_to_merge(patient, how, sizeof(how)));
}

void check_settings(struct patient *patient)
{
	const struct group *who;

	if (!patient->tree.ours)
		return;
	if (patient->group->own == SETTING_UNKNOWN) {
		no_files_here(patient);
		return;
	}
	who = who_says(patient->group, SETTING_OFF);
	if (who) {
		problem(patient, GRADE_BLOCKS,
			"memory.ksm of %s is 0, which wins over all that is said below",
			who->path);
		remedy_off(patient, who);
	} else if (not_granted(patient->group)) {
		check_grant(patient, not_granted(patient->group));
	} else if (patient->group->effective == SETTING_MADVISE &&
		 patient->readable && !patient->taking_part) {
		nobody_asks(patient);
	}
	check_types(patient);
	check_name(patient);
	check_domains_below(patient);
}
