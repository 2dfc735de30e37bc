// SPDX-License-Identifier: GPL-2.0
/*
 * Trace events: in what order things happened, and which thread did them.
 *
 * Events are consumed through trace_pipe, so that a test can empty the buffer
 * between the pieces of work that fill it. A test that bounds these pieces
 * loses no event, however slow it is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ksmlib.h"

#define TRACING	"/sys/kernel/tracing/"

static const char *events[2];
static FILE *from;
static bool filtered;
static char stopper[64], stop[128];	/* an event and its trigger */

static int put_event(const char *event, const char *file, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "events/%s/%s", event, file);
	return file_put(path, value);
}

/* Record these events, and no others, from now on. */
void trace_begin(const char *event, const char *other)
{
	int fd, i;

	trace_reset();
	fd = open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	/* names of tasks take a hook in the scheduler */
	if (fd < 0 || file_put(TRACING "options/record-cmd", "0") ||
	    file_put(TRACING "events/enable", "0"))
		ksm_skip("no tracing here");
	close(fd);
	fd = open(TRACING "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	NEED_GE(fd, 0, "trace_pipe");
	from = fdopen(fd, "r");
	NEED(from, "trace_pipe has no stream");
	events[0] = event;
	events[1] = other;
	for (i = 0; i < 2 && events[i]; i++) {
		if (put_event(events[i], "enable", "1"))
			ksm_skip("no trace event %s", events[i]);
	}
}

/* Record the first event, or the other one, only where this holds. */
void trace_filter(int nr, const char *filter)
{
	filtered = true;
	NEED_OK(put_event(events[nr], "filter", filter), "%s", filter);
}

/* Events of other tasks would drive ours out of the buffer. */
void trace_only(const struct ksmd_pids *k)
{
	char filter[256] = "0";
	int nr, len = 0;

	for (nr = 0; nr < KSMD_THREADS && k->pid[nr] >= 0; nr++)
		len += snprintf(filter + len, sizeof(filter) - len,
				"%scommon_pid == %d", nr ? " || " : "",
				k->pid[nr]);
	for (nr = 0; nr < 2 && events[nr]; nr++)
		trace_filter(nr, filter);
}

/*
 * An event that is the last to be recorded, so that what comes after it drives
 * none out of the buffer, however late trace_end() is.
 */
void trace_until(const char *event, const char *filter)
{
	snprintf(stopper, sizeof(stopper), "%s", event);
	snprintf(stop, sizeof(stop), "!traceoff if %s", filter);
	NEED_OK(put_event(stopper, "trigger", stop + 1), "%s", stop + 1);
}

/* The oldest event that was not read yet, as a line. */
const char *trace_next(void)
{
	static char line[512];

	NEED(from, "no trace was begun");
	if (fgets(line, sizeof(line), from))
		return line;
	clearerr(from);
	return NULL;
}

void trace_end(void)
{
	int i;

	file_put(TRACING "events/enable", "0");
	for (i = 0; filtered && i < 2 && events[i]; i++)
		put_event(events[i], "filter", "0");
	filtered = false;
	if (stopper[0]) {
		put_event(stopper, "trigger", stop);
		file_put(TRACING "tracing_on", "1");
	}
	stopper[0] = '\0';
}

/* For a case that ended in the middle of a trace, too. */
void trace_reset(void)
{
	if (!from)
		return;
	trace_end();
	fclose(from);
	from = NULL;
}

/* Events since trace_begin() that found no place, or lost it before a read. */
static long long lost(void)
{
	static const char * const keys[] = {
		"overrun:", "commit overrun:", "dropped events:",
	};
	long long sum = 0, nr;
	char path[64];
	size_t i;
	long cpu;

	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
		snprintf(path, sizeof(path),
			 TRACING "per_cpu/cpu%ld/stats", cpu);
		for (i = 0; i < ARRAY_SIZE(keys); i++) {
			if (file_key(path, keys[i], &nr))
				sum += nr;
		}
	}
	return sum;
}

void trace_complete(void)
{
	NEED_EQ(lost(), 0, "events are lost");
}

/* The pid in "NAME-PID [CPU] ..." */
static int trace_pid(const char *line)
{
	line = strchr(line, '-');
	NEED(line, "a trace without pid");
	return atoi(line + 1);
}

void ksmd_find(struct ksmd_pids *k)
{
	const char *path = "";
	int nr;

	for (nr = 0; nr < KSMD_THREADS; nr++) {
		path = path ? ksmd_file(nr, "stat") : NULL;
		k->pid[nr] = path ? atoi(path + strlen("/proc/")) : -1;
	}
}

/* The number of the scanner thread that did that; KSMD_THREADS: none. */
int trace_ksmd(const char *line, const struct ksmd_pids *k)
{
	int nr = 0, pid = trace_pid(line);

	while (nr < KSMD_THREADS && k->pid[nr] != pid)
		nr++;
	return nr;
}
