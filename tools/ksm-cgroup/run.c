// SPDX-License-Identifier: GPL-2.0
/*
 * run: start a command that is merged, or is not, without its knowing.
 *
 * What is said by prctl goes through exec and fork. With --scope the command
 * gets a cgroup of its own with a value in memory.ksm: of systemd, where that
 * runs, as cgroups are systemd's there; or at a path, by libcgroup.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "findings.h"
#include "group.h"
#include "settings.h"
#include "tool.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#define MEMORY_MERGE_DEFAULT 1

/* env(1) and its like: found but can't be executed, and not found. */
enum { STATUS_NOT_EXECUTED = 126, STATUS_NOT_FOUND = 127 };

enum asked { ASK_NOTHING, ASK_MERGE, ASK_NO_MERGE, ASK_DEFAULT };

static const char * const asked_options[] = {
	NULL, "--merge", "--no-merge", "--default",
};

struct run {
	enum asked asked;
	const char *scope;
	bool in_scope;
	char **command;
};

static int execute(char **command)
{
	int error;

	execvp(command[0], command);
	error = errno;
	complain("%s: %s", command[0], strerror(error));
	return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTED;
}

static int ask(enum asked asked)
{
	unsigned long arguments[2];
	int error;

	if (asked == ASK_NOTHING)
		return 0;
	arguments[0] = asked == ASK_MERGE;
	arguments[1] = asked == ASK_DEFAULT ? MEMORY_MERGE_DEFAULT : 0;
	if (!prctl(PR_SET_MEMORY_MERGE, arguments[0], arguments[1], 0UL, 0UL))
		return 0;
	error = errno;
	if (error == EINVAL && asked == ASK_DEFAULT)
		complain("%s",
			 "prctl(PR_SET_MEMORY_MERGE, 0, DEFAULT): this kernel can't take an opt-out back; boot a ksm-cgroup kernel");
	else if (error == EINVAL)
		complain("%s",
			 "prctl(PR_SET_MEMORY_MERGE): this kernel can't merge a whole process; Linux 6.4 with CONFIG_KSM=y, or later, can");
	else
		complain("prctl(PR_SET_MEMORY_MERGE): %s", strerror(error));
	return -1;
}

/* What memory.ksm of the scope shall be; the prctl says the rest. */
static const char *scope_value(enum asked asked)
{
	return asked == ASK_NO_MERGE ? "0" : asked == ASK_DEFAULT ? "inherit" : "1";
}

static int need_files(void)
{
	if (kernel_is_ours())
		return 0;
	complain("%s",
		 "run: --scope sets memory.ksm, which this kernel does not have ('ksm-cgroup features' tells more); without --scope, --merge works");
	return -1;
}

/* Returns 0, or -1 after saying what is wrong. */
static int set_scope(const struct run *run, const char *cgroup)
{
	const char *value = scope_value(run->asked);

	if (setting_write(cgroup, "memory.ksm", value) == SETTING_FAILED)
		return -1;
	if (!strcmp(value, "1"))
		warn_if_blocked(cgroup);
	return 0;
}

/* The second half of --scope with systemd: we are in the scope now. */
static int run_in_scope(const struct run *run)
{
	char cgroup[4096];

	if (process_cgroup(0, cgroup, sizeof(cgroup))) {
		complain_file("/proc/self/cgroup", USE_READ, errno);
		return STATUS_FAILED;
	}
	if (set_scope(run, cgroup))
		return STATUS_FAILED;
	return execute(run->command);
}

/* systemd makes the scope and starts this program again in it. */
static int run_by_systemd(const struct run *run)
{
	const char *const fixed[] = {
		"systemd-run", geteuid() ? "--user" : "--system", "--scope",
		"--quiet", "--property=MemoryAccounting=yes", "--unit",
		run->scope, "--", "/proc/self/exe", "run", "--in-scope",
	};
	char self[4096], **arguments;
	size_t nr = 0, i;
	ssize_t length;

	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0) {
		complain_file("/proc/self/exe", USE_READ, errno);
		return STATUS_FAILED;
	}
	self[length] = '\0';
	for (i = 0; run->command[i]; i++)
		;
	arguments = xalloc((ARRAY_SIZE(fixed) + i + 3) * sizeof(*arguments));
	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		arguments[nr++] = (char *)(strcmp(fixed[i], "/proc/self/exe") ?
					   fixed[i] : self);
	if (run->asked)
		arguments[nr++] = (char *)asked_options[run->asked];
	arguments[nr++] = (char *)"--";
	for (i = 0; run->command[i]; i++)
		arguments[nr++] = run->command[i];
	return execute(arguments);
}

static int wait_for(pid_t child)
{
	int status;

	/* They are for the command; we end when it does. */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return STATUS_FAILED;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A cgroup that we made goes when the command does, unless others moved in. */
static int run_by_library(const struct run *run, const char *cgroup)
{
	char path[8192];
	bool made;
	pid_t child;
	int status;

	cgroup_file(path, sizeof(path), cgroup, "");
	made = !root_exists(path);
	if (made && group_make(cgroup))
		return STATUS_FAILED;
	if (set_scope(run, cgroup)) {
		if (made)
			group_remove(cgroup);
		return STATUS_FAILED;
	}
	child = fork();
	if (!child) {
		if (group_enter(cgroup))
			_exit(STATUS_FAILED);
		_exit(execute(run->command));
	}
	if (child < 0) {
		complain("fork: %s", strerror(errno));
		return STATUS_FAILED;
	}
	status = wait_for(child);
	if (made)
		group_remove(cgroup);
	return status;
}

static int run_scope(const struct run *run)
{
	char cgroup[4096];

	if (need_files())
		return STATUS_FAILED;
	snprintf(cgroup, sizeof(cgroup), "%s%s", *run->scope == '/' ? "" : "/",
		 run->scope);
	if (*run->scope != '/' && root_exists("/run/systemd/system"))
		return run_by_systemd(run);
	return run_by_library(run, cgroup);
}

static void print_help(void)
{
	puts("Usage: ksm-cgroup run [options] -- COMMAND [ARGUMENT...]\n\n"
	     "Start COMMAND so that its memory is merged, or is not.\n\n"
	     " -m, --merge           merge all of it, and of what it starts (the default)\n"
	     " -N, --no-merge        keep it out, also where its cgroup says 1\n"
	     " -d, --default         follow the cgroup, also where an opt-out was inherited\n"
	     " -s, --scope NAME      give it a cgroup of its own with that value in memory.ksm,\n"
	     "                       instead of asking by prctl: a scope of systemd, or with\n"
	     "                       a path (/NAME) a cgroup made by libcgroup\n"
	     " -h, --help            print this\n\n"
	     "Exit status: that of COMMAND; 127 if it is not found, 126 if it can't be executed.");
}

enum { OPT_IN_SCOPE = 256 };

static const struct option options[] = {
	{ "merge", no_argument, NULL, 'm' },
	{ "no-merge", no_argument, NULL, 'N' },
	{ "default", no_argument, NULL, 'd' },
	{ "scope", required_argument, NULL, 's' },
	{ "in-scope", no_argument, NULL, OPT_IN_SCOPE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 }
};

static int take_asked(struct run *run, enum asked asked)
{
	if (run->asked && run->asked != asked)
		return usage_error("run: %s and %s exclude each other",
				   asked_options[run->asked], asked_options[asked]);
	run->asked = asked;
	return STATUS_OK;
}

static int take_option(struct run *run, int option)
{
	switch (option) {
	case 'm':
		return take_asked(run, ASK_MERGE);
	case 'N':
		return take_asked(run, ASK_NO_MERGE);
	case 'd':
		return take_asked(run, ASK_DEFAULT);
	case 's':
		run->scope = optarg;
		return STATUS_OK;
	case OPT_IN_SCOPE:
		run->in_scope = true;
		return STATUS_OK;
	default:
		return usage_error("run: bad option");
	}
}

int cmd_run(int argc, char **argv)
{
	struct run run = { 0 };
	int option, status;

	while ((option = getopt_long(argc, argv, "+mNds:h", options, NULL)) >= 0) {
		if (option == 'h') {
			print_help();
			return STATUS_OK;
		}
		status = take_option(&run, option);
		if (status)
			return status;
	}
	if (optind == argc)
		return usage_error("run: which COMMAND?");
	run.command = argv + optind;
	if (run.in_scope)
		return run_in_scope(&run);
	if (run.scope)
		return run_scope(&run);
	if (ask(run.asked ? run.asked : ASK_MERGE))
		return STATUS_FAILED;
	return execute(run.command);
}
