// SPDX-License-Identifier: GPL-2.0
/*
 * on, off, madvise, inherit, weight, domain, types: one file of each cgroup
 * named.
 */
#include <getopt.h>
#include <string.h>

#include "findings.h"
#include "group.h"
#include "settings.h"
#include "target.h"
#include "tool.h"

static const struct {
	const char *command;
	const char *value;
} values[] = {
	{ "on", "1" },
	{ "off", "0" },
	{ "madvise", "madvise" },
	{ "inherit", "inherit" },
};

static const struct option options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 }
};

/* take_help - true if that was all; @status says what to return then */
static bool take_help(int argc, char **argv, const char *usage, int *status)
{
	int option = getopt_long(argc, argv, "+h", options, NULL);

	if (option < 0)
		return false;
	*status = option == 'h' ? STATUS_OK : STATUS_USAGE;
	if (option == 'h')
		printf("Usage: ksm-cgroup %s\n", usage);
	else
		usage_error("usage: ksm-cgroup %s", usage);
	return true;
}

/* A PID or a name stands for a cgroup with maybe more in it: tell which. */
static void tell_set(const char *word, const char *cgroup, const char *value)
{
	if (!strchr(word, '/') && strcmp(word, cgroup + 1))
		printf("%s: memory.ksm of %s is %s now\n", word, cgroup, value);
	if (strcmp(value, "0"))
		warn_if_blocked(cgroup);
}

/* All are tried, as with chmod: one that fails does not stop the others. */
int cmd_set(int argc, char **argv)
{
	int i, written, status = STATUS_OK;
	char usage[64], cgroup[4096];
	const char *value = "";
	size_t v;

	snprintf(usage, sizeof(usage), "%s CGROUP...", argv[0]);
	if (take_help(argc, argv, usage, &status))
		return status;
	if (optind == argc)
		return usage_error("%s: which CGROUP?", argv[0]);
	for (v = 0; v < ARRAY_SIZE(values); v++)
		if (!strcmp(values[v].command, argv[0]))
			value = values[v].value;
	for (i = optind; i < argc; i++) {
		written = target_cgroup(argv[i], cgroup, sizeof(cgroup)) ?
			  SETTING_FAILED : setting_write(cgroup, "memory.ksm", value);
		if (written != SETTING_DONE)
			status = STATUS_FAILED;
		if (written != SETTING_FAILED)
			tell_set(argv[i], cgroup, value);
	}
	return status;
}

int cmd_weight(int argc, char **argv)
{
	char cgroup[4096], text[16];
	long long weight;
	int status;

	if (take_help(argc, argv, "weight CGROUP N (1 to 10000, default 100)", &status))
		return status;
	if (argc - optind != 2)
		return usage_error("weight: a CGROUP and a number are needed");
	if (parse_number(argv[optind + 1], 1, 10000, &weight))
		return usage_error("weight: '%s' is not a number from 1 to 10000",
				   argv[optind + 1]);
	if (target_cgroup(argv[optind], cgroup, sizeof(cgroup)))
		return STATUS_FAILED;
	snprintf(text, sizeof(text), "%lld", weight);
	return setting_write(cgroup, "memory.ksm.weight", text) ?
	       STATUS_FAILED : STATUS_OK;
}

static bool is_domain(const char *text)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t length;

	if (*text != '@')
		return !strcmp(text, "self") || !strcmp(text, "parent");
	length = strspn(text + 1, letters);
	return length && !text[1 + length] && length < JOIN_SIZE - 1;
}

int cmd_domain(int argc, char **argv)
{
	char cgroup[4096];
	int status;

	if (take_help(argc, argv, "domain CGROUP self|parent|@NAME", &status))
		return status;
	if (argc - optind != 2)
		return usage_error("domain: a CGROUP and self, parent or @NAME are needed");
	if (!is_domain(argv[optind + 1]))
		return usage_error("domain: '%s': self, parent or @NAME, of A-Z a-z 0-9 . _ -",
				   argv[optind + 1]);
	if (target_cgroup(argv[optind], cgroup, sizeof(cgroup)))
		return STATUS_FAILED;
	return setting_write(cgroup, "memory.ksm.domain", argv[optind + 1]) ?
	       STATUS_FAILED : STATUS_OK;
}

#define TYPES "anon, zero, dontdump, locked, undumpable"

/* Words as the file takes them, or inherit alone. */
static bool are_types(int nr, char **words)
{
	static const char * const names[] = {
		"anon", "zero", "dontdump", "locked", "undumpable",
	};
	size_t n;
	int i;

	if (nr == 1 && !strcmp(words[0], "inherit"))
		return true;
	for (i = 0; i < nr; i++) {
		if (*words[i] != '+' && *words[i] != '-')
			return false;
		for (n = 0; n < ARRAY_SIZE(names); n++)
			if (!strcmp(words[i] + 1, names[n]))
				break;
		if (n == ARRAY_SIZE(names))
			return false;
	}
	return nr;
}

int cmd_types(int argc, char **argv)
{
	char cgroup[4096], text[256] = "";
	int i, status;

	if (take_help(argc, argv,
		      "types CGROUP inherit|+TYPE|-TYPE... (" TYPES ")", &status))
		return status;
	if (argc - optind < 2)
		return usage_error("types: a CGROUP and words such as +zero are needed");
	if (!are_types(argc - optind - 1, argv + optind + 1))
		return usage_error("types: + or - and one of " TYPES "; or inherit alone");
	for (i = optind + 1; i < argc; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			 *text ? " " : "", argv[i]);
	if (target_cgroup(argv[optind], cgroup, sizeof(cgroup)))
		return STATUS_FAILED;
	return setting_write(cgroup, "memory.ksm.types", text) ?
	       STATUS_FAILED : STATUS_OK;
}
