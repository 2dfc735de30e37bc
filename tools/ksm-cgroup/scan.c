// SPDX-License-Identifier: GPL-2.0
/*
 * scan: go over a cgroup's memory now.
 *
 * One write does it all and knows what "all" is; so it isn't cut into pieces for
 * the bar. A child writes, and the cgroup's figures tell how far it has come.
 * They count what ksmd does meanwhile, too: the bar can be ahead.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "findings.h"
#include "progress.h"
#include "target.h"
#include "tool.h"

struct scan {
	char cgroup[4096];
	char file[8192];
	char stat[8192];
	const char *size;
	double pages;
};

static void read_stats(const struct scan *scan, struct stats *stats)
{
	char text[4096];

	memset(stats, 0, sizeof(*stats));
	if (root_read(scan->stat, text, sizeof(text)) > 0)
		stats_parse(stats, text);
}

static double looked_at(const struct stats *stats)
{
	return (double)stats->value[STAT_SCANNED] + stats->value[STAT_SKIPPED];
}

static int write_size(const struct scan *scan)
{
	ssize_t put;
	int error, fd;

	/* In a recorded tree it can be a pipe: a full one refuses as the kernel does. */
	fd = root_open(scan->file, O_WRONLY | O_TRUNC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	put = write(fd, scan->size, strlen(scan->size));
	error = put < 0 ? -errno : 0;
	close(fd);
	return error;
}

/* Ctrl-C is for the child: the write ends, and what it did can be told. */
static int write_with_bar(const struct scan *scan, const struct stats *before)
{
	sighandler_t was = signal(SIGINT, SIG_IGN);
	struct stats now;
	pid_t child, done;
	int status;

	child = fork();
	if (!child) {
		signal(SIGINT, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		_exit(-write_size(scan));
	}
	if (child < 0) {
		signal(SIGINT, was);
		return -errno;
	}
	while (!(done = waitpid(child, &status, WNOHANG))) {
		read_stats(scan, &now);
		progress_show(scan->cgroup, scan->pages > 0 ? (looked_at(&now) -
			      looked_at(before)) / scan->pages : 0);
		usleep(100000);
	}
	progress_end();
	signal(SIGINT, was);
	if (done < 0 || WIFSIGNALED(status))
		return -EINTR;
	return -WEXITSTATUS(status);
}

static void set_extent(struct scan *scan)
{
	struct patient patient;
	long long bytes;

	if (patient_begin(&patient, scan->cgroup))
		return;
	if (patient.anonymous > 0)
		scan->pages = patient.anonymous / page_bytes();
	if (!parse_size(scan->size, &bytes) && bytes / page_bytes() < scan->pages)
		scan->pages = bytes / page_bytes();
	patient_end(&patient);
}

static void report(const struct scan *scan, const struct stats *before)
{
	struct stats after;
	char size[32];

	read_stats(scan, &after);
	printf("%s: %s looked at, %lld pages merged, %.3f s\n", scan->cgroup,
	       human_size(size, sizeof(size), page_bytes() *
			  (after.value[STAT_SCANNED] - before->value[STAT_SCANNED])),
	       after.value[STAT_MERGED] - before->value[STAT_MERGED],
	       (after.value[STAT_CPU] - before->value[STAT_CPU]) / 1e6);
}

static int scan_it(struct scan *scan)
{
	struct stats before;
	int error;

	cgroup_file(scan->file, sizeof(scan->file), scan->cgroup, "memory.ksm.scan");
	cgroup_file(scan->stat, sizeof(scan->stat), scan->cgroup, "memory.ksm.stat");
	read_stats(scan, &before);
	if (progress_wanted()) {
		set_extent(scan);
		error = write_with_bar(scan, &before);
	} else {
		error = write_size(scan);
	}
	if (!error || error == -EINTR)
		report(scan, &before);
	if (!error)
		return STATUS_OK;
	complain_file(scan->file, USE_SCAN, -error);
	if (error == -EAGAIN)
		warn_if_blocked(scan->cgroup);
	return STATUS_FAILED;
}

int cmd_scan(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct scan scan = { .size = "max" };
	long long bytes;
	int option;

	option = getopt_long(argc, argv, "h", options, NULL);
	if (option == 'h') {
		puts("Usage: ksm-cgroup scan CGROUP [SIZE]\n\n"
		     "Scan up to SIZE (such as 512M; default max: all of it once) of the CGROUP's\n"
		     "memory now, on this command's CPU time. New duplicates take two scans.");
		return STATUS_OK;
	}
	if (option >= 0 || argc - optind < 1 || argc - optind > 2)
		return usage_error("scan: a CGROUP and at most a SIZE are needed");
	if (argc - optind == 2)
		scan.size = argv[optind + 1];
	if (strcmp(scan.size, "max") && (parse_size(scan.size, &bytes) || !bytes))
		return usage_error("scan: '%s' is no size: give one such as 512M, or max",
				   scan.size);
	if (target_cgroup(argv[optind], scan.cgroup, sizeof(scan.cgroup)))
		return STATUS_FAILED;
	return scan_it(&scan);
}
