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

static const char *events[2];
static bool filtered;

static int put_event(const char *event, const char *file, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "events/%s/%s", event, file);
	return file_put(path, value);
}

/* Only these are recorded from now on. */
void trace_begin(const char *event, const char *other)
{
	int fd = open(TRACING "trace", O_WRONLY | O_TRUNC), i;

	/* names of tasks take a hook in the scheduler */
	if (fd < 0 || file_put(TRACING "options/record-cmd", "0") ||
	    file_put(TRACING "events/enable", "0"))
		ksm_skip("no tracing here");
	close(fd);
	events[0] = event;
	events[1] = other;
	for (i = 0; i < 2 && events[i]; i++) {
		if (put_event(events[i], "enable", "1"))
			ksm_skip("no trace event %s", events[i]);
	}
}

/* Events that others do as well would drive ours out of the buffer. */
void trace_only(const struct ksmd_pids *k)
{
	char filter[256] = "0";
	int nr, len = 0;

	for (nr = 0; nr < KSMD_THREADS && k->pid[nr] >= 0; nr++)
		len += snprintf(filter + len, sizeof(filter) - len,
				"%scommon_pid == %d", nr ? " || " : "", k->pid[nr]);
	for (nr = 0; nr < 2 && events[nr]; nr++)
		NEED(!put_event(events[nr], "filter", filter), "no filter %s", filter);
	filtered = true;
}

/* What was recorded, a line for each event; for fclose(). */
FILE *trace_end(void)
{
	FILE *f;
	int i;

	file_put(TRACING "events/enable", "0");
	for (i = 0; filtered && i < 2 && events[i]; i++)
		put_event(events[i], "filter", "0");
	filtered = false;
	f = fopen(TRACING "trace", "r");
	NEED(f, "no trace");
	return f;
}

/* Events for which there was no place any more, of those since trace_begin(). */
long long trace_lost(void)
{
	long long lost = 0, nr;
	char path[64];
	long cpu;

	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
		snprintf(path, sizeof(path), TRACING "per_cpu/cpu%ld/stats", cpu);
		if (file_key(path, "overrun:", &nr))
			lost += nr;
	}
	return lost;
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
