// SPDX-License-Identifier: GPL-2.0
/*
 * Checks of the doctor: virtual machines that are merged although they were
 * started with mem-merge=off, and those of which nothing can be merged.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "findings.h"
#include "guest.h"
#include "tool.h"

/**
 * struct fixed - memory of one kind that is never merged
 * @nr: virtual machines with much of it
 * @bytes: what they have
 * @pid: one of them
 */
struct fixed {
	long long nr;
	long long bytes;
	pid_t pid;
};

/**
 * struct guests - what the virtual machines of a cgroup have in common
 * @at: the cgroup that is read
 * @refused: under a 1, with mem-merge=off and without an opt-out
 * @marked: of them, those with dump-guest-core=off
 * @refuser: one of them, rather one that is not @marked
 * @refuser_at: its cgroup
 * @shared: in shared mappings
 * @hugetlb: of hugetlb
 */
struct guests {
	const struct group *at;
	long long refused;
	long long marked;
	pid_t refuser;
	const struct group *refuser_at;
	struct fixed shared;
	struct fixed hugetlb;
};

static void add_refused(struct guests *guests, const struct guest *guest)
{
	struct process process;

	if (process_read(guest->pid, &process) ||
	    !strcmp(process.policy, "never"))
		return;
	if (!guests->refused || guests->marked == guests->refused) {
		guests->refuser = guest->pid;
		guests->refuser_at = guests->at;
	}
	guests->refused++;
	guests->marked += guest->dump_off;
}

/* A little beside the other kind is that of a display or a device. */
static void add_fixed(struct fixed *fixed, const struct guest *guest,
		      long long bytes)
{
	if (bytes * 8 <= guest->shared + guest->hugetlb)
		return;
	fixed->nr++;
	fixed->bytes += bytes;
	fixed->pid = guest->pid;
}

static void add_guest(pid_t pid, void *data)
{
	struct guests *guests = data;
	struct guest guest;

	if (!guest_read(pid, &guest))
		return;
	if (guest.merge_off && guests->at->effective == SETTING_ON)
		add_refused(guests, &guest);
	if (guest.shared + guest.hugetlb <= guest.anonymous)
		return;
	add_fixed(&guests->shared, &guest, guest.shared);
	add_fixed(&guests->hugetlb, &guest, guest.hugetlb);
}

static void tell_refused(struct patient *patient, const struct guests *guests)
{
	long long merged = guests->refused - guests->marked;

	if (!guests->refused)
		return;
	if (!merged)
		problem(patient, GRADE_NOTE,
			"%lld virtual %s mem-merge=off, of which QEMU tells the kernel nothing, PID %d in %s for one: what keeps the 1 from merging that is MADV_DONTDUMP, by dump-guest-core=off",
			guests->refused,
			plural(guests->refused, "machine has", "machines have"),
			guests->refuser,
			guests->refuser_at->path);
	else
		problem(patient, GRADE_NOTE,
			"%lld virtual %s mem-merge=off, of which QEMU tells the kernel nothing, PID %d in %s for one: the 1 merges that all the same",
			merged, plural(merged, "machine has", "machines have"),
			guests->refuser,
			guests->refuser_at->path);
	remedy(patient,
	       "to follow each machine's own setting: ksm-cgroup madvise %s; to keep one out of a 1, start it with 'ksm-cgroup run --no-merge -- COMMAND'",
	       guests->refuser_at->path);
}

static void tell_fixed(struct patient *patient, enum grade grade,
		       const struct fixed *fixed, const char *kind,
		       const char *advice)
{
	char size[32];

	if (!fixed->nr)
		return;
	problem(patient, grade,
		"%s of the memory of %lld virtual %s is %s, PID %d for one, which is never merged",
		human_size(size, sizeof(size), fixed->bytes), fixed->nr,
		plural(fixed->nr, "machine", "machines"), kind, fixed->pid);
	remedy(patient, "%s", advice);
}

static void tell_all_fixed(struct patient *patient, const struct guests *guests)
{
	const struct fixed *shared = &guests->shared, *hugetlb = &guests->hugetlb;
	bool most = patient->anonymous >= 0 &&
		    shared->bytes + hugetlb->bytes > patient->anonymous;
	enum grade grade = most ? GRADE_BLOCKS : GRADE_NOTE;

	tell_fixed(patient, grade, shared,
		   "shared (memfd, virtio-fs, vhost-user)",
		   "give them private memory: memory-backend-ram, or share=off; for libvirt no <access mode='shared'/>; what needs shared memory, such as virtio-fs, can't be merged");
	tell_fixed(patient, grade, hugetlb, "hugetlb",
		   "use transparent huge pages instead; for libvirt no <hugepages/>");
}

/* Told even where something else blocks merging. */
void check_guests(struct patient *patient)
{
	struct guests guests = { .at = NULL };
	char path[8192];
	size_t i;
	int dir;

	for (i = 0; i < patient->tree.nr; i++) {
		guests.at = patient->tree.groups[i];
		if (guests.at->ancestor)
			continue;
		cgroup_file(path, sizeof(path), guests.at->path, "");
		dir = root_open(path, O_RDONLY | O_DIRECTORY);
		if (dir < 0)
			continue;
		each_pid(dir, add_guest, &guests);
		close(dir);
	}
	tell_refused(patient, &guests);
	tell_all_fixed(patient, &guests);
}

struct count {
	long long guests;
	long long merge_off;
};

static void count_guest(pid_t pid, void *data)
{
	struct count *count = data;
	struct guest guest;

	if (!guest_read(pid, &guest))
		return;
	count->guests++;
	count->merge_off += guest.merge_off;
}

/* count_guests - in the cgroup and below; of them, those with mem-merge=off */
void count_guests(const struct patient *patient, long long *guests,
		  long long *merge_off)
{
	struct count count = { .guests = 0 };

	each_pid_below(patient->group->path, count_guest, &count);
	*guests = count.guests;
	*merge_off = count.merge_off;
}

/* is_for_guests - are virtual machines there, or is it where they are put? */
bool is_for_guests(const struct patient *patient)
{
	static const char * const slices[] = { "/machine.slice", "/qemu.slice" };
	const char *path = patient->group->path;
	long long guests, merge_off;
	size_t i, length;

	for (i = 0; i < ARRAY_SIZE(slices); i++) {
		length = strlen(slices[i]);
		if (!strncmp(path, slices[i], length) &&
		    (!path[length] || path[length] == '/'))
			return true;
	}
	count_guests(patient, &guests, &merge_off);
	return guests;
}
