// SPDX-License-Identifier: GPL-2.0
/*
 * Trace events: in what order things happened, and who did them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmlib.h"

#define TRACING	"/sys/kernel/tracing/"

static char filtered[128];

static void put_enable(const char *event, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "events/%s/enable", event);
	if (file_put(path, value))
		ksm_skip("no trace event %s", event);
}

/* Only these are recorded from now on. */
void trace_begin(const char *event, const char *other)
{
	int fd = open(TRACING "trace", O_WRONLY | O_TRUNC);

	/* names of tasks take a hook in the scheduler */
	if (fd < 0 || file_put(TRACING "options/record-cmd", "0") ||
	    file_put(TRACING "events/enable", "0"))
		ksm_skip("no tracing here");
	close(fd);
	put_enable(event, "1");
	if (other)
		put_enable(other, "1");
}

/* The event is often what others do; set a filter, until trace_end(). */
void trace_only(const char *event, const struct ksmd_pids *k)
{
	char path[128], filter[256] = "0";
	int nr, len = 0;

	for (nr = 0; nr < KSMD_THREADS && k->pid[nr] >= 0; nr++)
		len += snprintf(filter + len, sizeof(filter) - len,
				"%scommon_pid == %d", nr ? " || " : "", k->pid[nr]);
	snprintf(path, sizeof(path), TRACING "events/%s/filter", event);
	NEED(!file_put(path, filter), "no filter %s", filter);
	snprintf(filtered, sizeof(filtered), "%s", path);
}

/* What was recorded, a line for each event; for fclose(). */
FILE *trace_end(void)
{
	FILE *f;

	file_put(TRACING "events/enable", "0");
	if (*filtered)
		file_put(filtered, "0");
	*filtered = 0;
	f = fopen(TRACING "trace", "r");
	NEED(f, "no trace");
	return f;
}

/* Of "NAME-PID [CPU] ..." the pid. */
static int trace_pid(const char *line)
{
	line = strchr(line, '-');
	NEED(line, "a trace without pid");
	return atoi(line + 1);
}

void ksmd_find(struct ksmd_pids *k)
{
	const char *path;
	int nr;

	for (nr = 0; nr < KSMD_THREADS; nr++) {
		path = ksmd_file(nr, "stat");
		k->pid[nr] = path ? atoi(path + strlen("/proc/")) : -1;
	}
}

/* Which scanner thread did that? KSMD_THREADS: none of them. */
int trace_ksmd(const char *line, const struct ksmd_pids *k)
{
	int nr = 0, pid = trace_pid(line);

	while (nr < KSMD_THREADS && k->pid[nr] != pid)
		nr++;
	return nr;
}
