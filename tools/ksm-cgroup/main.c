// SPDX-License-Identifier: GPL-2.0
/*
 * ksm-cgroup: the table of commands.
 */
#include <locale.h>
#include <string.h>

#include "tool.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *arguments;
	const char *help;
};

static const struct command commands[] = {
	{ "list", cmd_list, "[CGROUP]",
	  "what is merged where; also without any command" },
	{ "top", cmd_top, "[CGROUP]", "the same, live" },
	{ "on", cmd_set, "CGROUP...", "merge all that is eligible" },
	{ "off", cmd_set, "CGROUP...", "merge nothing, unshare what is merged" },
	{ "madvise", cmd_set, "CGROUP...", "merge only what asks for it" },
	{ "inherit", cmd_set, "CGROUP...", "do as the cgroup above" },
	{ "weight", cmd_weight, "CGROUP N", "share of the scanning, 1 to 10000" },
	{ "domain", cmd_domain, "CGROUP self|parent|@NAME",
	  "share apart, with the cgroup above, or by name" },
	{ "types", cmd_types, "CGROUP inherit|+TYPE|-TYPE...",
	  "what is merged, and taken in" },
	{ "scan", cmd_scan, "CGROUP [SIZE]", "scan its memory now" },
	{ "run", cmd_run, "[--scope NAME] -- COMMAND...",
	  "start a command that is merged, or is not" },
	{ "features", cmd_features, "", "what this kernel offers" },
	{ "doctor", cmd_doctor, "CGROUP", "why nothing is merged there" },
	{ "estimate", cmd_estimate, "CGROUP|PID...",
	  "what merging would save, on any kernel" },
	{ "export", cmd_export, "[CGROUP]", "figures for Prometheus" },
	{ NULL }
};

static void print_help(void)
{
	const struct command *command;
	char usage[64];

	puts("Usage: ksm-cgroup [COMMAND] [options] [arguments]\n\n"
	     "Samepage merging by control group: see it, set it, find out what it brings.\n\n"
	     "Commands:");
	for (command = commands; command->name; command++) {
		snprintf(usage, sizeof(usage), "%s %s", command->name,
			 command->arguments);
		printf("  %-36s %s\n", usage, command->help);
	}
	puts("\nA CGROUP is a path, a systemd unit, a container's name or id, or a PID.\n"
	     "COMMAND --help tells the options of a command; see also ksm-cgroup(1).");
}

int main(int argc, char **argv)
{
	const struct command *command;

	setlocale(LC_ALL, "");
	/* What is printed is read by programs, too: a point is a point. */
	setlocale(LC_NUMERIC, "C");
	if (argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
		print_help();
		return STATUS_OK;
	}
	if (argc > 1 && (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version"))) {
		puts("ksm-cgroup " VERSION);
		return STATUS_OK;
	}
	if (argc < 2 || argv[1][0] == '-')
		return cmd_list(argc, argv);
	for (command = commands; command->name; command++)
		if (!strcmp(command->name, argv[1]))
			return command->run(argc - 1, argv + 1);
	return usage_error("there is no command '%s'", argv[1]);
}
