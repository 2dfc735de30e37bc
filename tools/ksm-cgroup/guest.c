// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual machines among the processes: what QEMU's command line says of
 * merging, and how much of the memory is of a kind that is never merged.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "tool.h"

/* Long enough for what libvirt writes for hundreds of devices. */
#define CMDLINE_BYTES (256 << 10)

static bool is_one_of(const char *word, const char * const *list, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (!strcmp(word, list[i]))
			return true;
	return false;
}

/* Under emulation, only the program's name tells that it runs a machine. */
static bool named_as_machine(const char *program)
{
	static const char * const names[] = {
		"kvm", "qemu-kvm", "cloud-hypervisor", "firecracker", "crosvm",
	};
	const char *slash = strrchr(program, '/');
	const char *name = slash ? slash + 1 : program;

	return !strncmp(name, "qemu-system-", 12) ||
	       is_one_of(name, names, ARRAY_SIZE(names));
}

/* Does the process hold a machine of KVM's? */
static bool has_machine(pid_t pid)
{
	char path[64], target[64];
	struct dirent *entry;
	bool found = false;
	ssize_t length;
	DIR *stream;
	int dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = root_open(path, O_RDONLY | O_DIRECTORY);
	stream = dir < 0 ? NULL : fdopendir(dir);
	if (!stream)
		return false;
	while (!found && (entry = readdir(stream))) {
		length = readlinkat(dir, entry->d_name, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		found = !strcmp(target, "anon_inode:kvm-vm");
	}
	closedir(stream);
	return found;
}

/* QEMU takes an underscore for a dash in a name. */
static bool is_option(const char *name, size_t length, const char *wanted)
{
	size_t i;

	if (length != strlen(wanted))
		return false;
	for (i = 0; i < length; i++)
		if (name[i] != wanted[i] && (name[i] != '_' || wanted[i] != '-'))
			return false;
	return true;
}

/* The spellings are QEMU's, which refuses any other. */
static void read_bool(const char *value, size_t length, bool *off)
{
	static const char * const yes[] = { "on", "yes", "true", "y" };
	static const char * const no[] = { "off", "no", "false", "n" };
	char word[8];

	snprintf(word, sizeof(word), "%.*s", (int)length, value);
	if (is_one_of(word, no, ARRAY_SIZE(no)))
		*off = true;
	else if (is_one_of(word, yes, ARRAY_SIZE(yes)))
		*off = false;
}

/* "q35,mem-merge=off,...": the last occurrence of a property counts. */
static void read_machine(const char *list, struct guest *guest)
{
	size_t length, name;

	for (;; list += length + 1) {
		length = strcspn(list, ",");
		name = strcspn(list, "=,");
		if (name < length && is_option(list, name, "mem-merge"))
			read_bool(list + name + 1, length - name - 1,
				  &guest->merge_off);
		if (name < length && is_option(list, name, "dump-guest-core"))
			read_bool(list + name + 1, length - name - 1,
				  &guest->dump_off);
		if (!list[length])
			return;
	}
}

static void read_arguments(const char *argument, const char *end,
			   struct guest *guest)
{
	static const char * const options[] = { "-machine", "-M" };
	bool value = false;

	for (; argument < end; argument += strlen(argument) + 1) {
		if (value)
			read_machine(argument, guest);
		value = is_one_of(argument + !strncmp(argument, "--", 2),
				  options, ARRAY_SIZE(options));
	}
}

static long long status_bytes(const char *text, const char *key)
{
	char value[32];

	return find_key(text, key, value, sizeof(value)) ?
	       strtoll(value, NULL, 10) * 1024 : 0;
}

static void read_status(pid_t pid, struct guest *guest)
{
	char path[64], text[8192];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (root_read(path, text, sizeof(text)) < 0)
		return;
	guest->anonymous = status_bytes(text, "RssAnon");
	guest->shared = status_bytes(text, "RssShmem");
	guest->hugetlb = status_bytes(text, "HugetlbPages");
}

/* guest_read - false if the process is no virtual machine, or is gone */
bool guest_read(pid_t pid, struct guest *guest)
{
	char path[64], *text = xalloc(CMDLINE_BYTES);
	ssize_t length;
	bool is_guest;

	memset(guest, 0, sizeof(*guest));
	guest->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	length = root_read(path, text, CMDLINE_BYTES);
	is_guest = length > 0 && (named_as_machine(text) || has_machine(pid));
	if (is_guest) {
		read_arguments(text + strlen(text) + 1, text + length, guest);
		read_status(pid, guest);
	}
	free(text);
	return is_guest;
}
