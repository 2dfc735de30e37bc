// SPDX-License-Identifier: GPL-2.0
/*
 * The scanner: its knobs, which come back at exit, and passes and batches to
 * wait for.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksmlib.h"

static struct worker *canary;

static struct knob {
	const char *name;
	const char *during;	/* NULL: as it was found */
	char old[64];
} knobs[] = {
	/* in the order in which they can be put back */
	{ .name = "advisor_mode", .during = "none" },
	{ .name = "max_page_sharing" },
	{ .name = "merge_across_nodes" },
	{ .name = "use_zero_pages", .during = "0" },
	{ .name = "smart_scan", .during = "0" },
	{ .name = "sleep_millisecs", .during = "0" },
	{ .name = "pages_to_scan", .during = "20000" },
	{ .name = "threads" },
	{ .name = "run_cgroups", .during = "0" },
	{ .name = "run", .during = "0" },
};

static void knob_path(char *path, size_t size, const char *name)
{
	snprintf(path, size, KSM_SYSFS "%s", name);
}

long long ksm_get(const char *name)
{
	char path[128], buf[64];
	int ret;

	knob_path(path, sizeof(path), name);
	ret = file_get(path, buf, sizeof(buf));
	NEED(ret > 0, "reading %s: %s", path, strerror(-ret));
	return strtoll(buf, NULL, 10);
}

void ksm_set(const char *name, long long value)
{
	char path[128], buf[32];

	knob_path(path, sizeof(path), name);
	snprintf(buf, sizeof(buf), "%lld", value);
	NEED_OK(file_put(path, buf), "%s to %s", buf, path);
}

/*
 * full_scans rises only while something takes part. The canary always does, so
 * that a case in which nothing must be merged can wait for a full scan too.
 */
static void canary_sing(void)
{
	if (!canary || !w_alive(canary))
		canary = w_asker(cg_canary(), 1, 0xca9a41, 0);
}

void ksm_pass(int rises)
{
	canary_sing();
	ksm_pass_as(1, 1, rises);
}

/*
 * Without the canary: something else must take part under these values. Stops
 * first, as only a change of the values begins a round.
 */
void ksm_pass_as(int run, int cgroups, int rises)
{
	long long start;

	ksm_stop();
	ksm_run_as(run, cgroups);
	start = ksm_get("full_scans");
	NEED_WAIT_GE(ksm_get("full_scans"), start + rises);
}

/*
 * The first rise may come early in a pass that was under way and had been over
 * our pages; the two after it are whole passes.
 */
void ksm_settle(void)
{
	ksm_pass(3);
	ksm_stop();
}

/* End ksmd's pause; the next one is longer than any test. */
static void pause_anew(void)
{
	static bool odd;

	odd = !odd;
	ksm_set("sleep_millisecs", 3600 * 1000 + odd);
}

/* ksmd must not scan between the two writes of a start: give it no budget. */
static void start_in_pause(void)
{
	long long pages = ksm_get("pages_to_scan");

	if (ksm_get("run") == 1 && ksm_get("run_cgroups") == 1)
		return;
	ksm_set("pages_to_scan", 0);
	pause_anew();
	ksm_start();
	NEED(WAIT_FOR(ksmd_waits()), "the empty batch does not end");
	ksm_set("pages_to_scan", pages);
}

/*
 * ksmd does one batch, of pages_to_scan, and no more until the next call.
 * Something must take part.
 */
void ksm_batch(void)
{
	long long before;

	NEED(WAIT_FOR(ksmd_waits()), "ksmd does not come to rest");
	start_in_pause();
	before = cg_stat(CGROOT, "scan_usec");
	pause_anew();
	NEED_WAIT_GT(cg_stat(CGROOT, "scan_usec"), before);
	NEED(WAIT_FOR(ksmd_waits()), "the batch does not end");
}

/* After a single slice; something takes part already. */
void ksmd_idle(void)
{
	ksm_stop();
	ksm_set("pages_to_scan", 1);
	ksm_batch();
}

/*
 * Groups that wake or sleep earlier set the level for later ones. The canary has
 * no value and a usual weight, so it is to be the first, i.e. run is written
 * before run_cgroups. The stock kernel has no run_cgroups.
 */
void ksm_run_as(int run, int cgroups)
{
	ksm_set("run", run);
	if (!access(KSM_SYSFS "run_cgroups", F_OK))
		ksm_set("run_cgroups", cgroups);
}

void ksm_start(void)
{
	ksm_run_as(1, 1);
}

/*
 * The writes wait for slices to end, and a slice is booked a moment later. A
 * failure does not end the case, which may have something to let go first.
 */
void ksm_stop(void)
{
	ksm_run_as(0, 0);
	CHECK(WAIT_FOR(ksmd_waits()), "ksmd goes on when stopped");
}

void ksm_unmerge_all(void)
{
	ksm_set("run", 2);
}

const char *task_file(const char *task, const char *name)
{
	static char path[300];
	DIR *proc = opendir("/proc");
	struct dirent *d;
	char comm[32];
	bool found = false;

	NEED(proc, "no /proc");
	while (!found && (d = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		found = file_get(path, comm, sizeof(comm)) > 0;
		if (found) {
			comm[strcspn(comm, "\n")] = 0;
			found = !strcmp(comm, task);
		}
		snprintf(path, sizeof(path), "/proc/%s/%s", d->d_name, name);
	}
	closedir(proc);
	return found ? path : NULL;
}

/* A file in /proc of a scanner thread; thread 0 is always there. */
const char *ksmd_file(int nr, const char *name)
{
	char task[32] = "ksmd";
	const char *path;

	if (nr)
		snprintf(task, sizeof(task), "ksmd/%d", nr);
	path = task_file(task, name);
	NEED(path || nr, "no ksmd");
	return path;
}

static bool sleeps(const char *stat)
{
	char buf[512], *at;

	NEED_GT(file_get(stat, buf, sizeof(buf)), 0, "%s", stat);
	at = strrchr(buf, ')');
	return at && at[2] == 'S';
}

/*
 * The first thread is looked at again after the others: it may have waited for
 * a domain that another one was scanning.
 */
bool ksmd_waits(void)
{
	static char first[32];	/* this one never ends */
	const char *path;
	int nr, threads = 1;

	if (!first[0])
		snprintf(first, sizeof(first), "%s", ksmd_file(0, "stat"));
	if (!sleeps(first))
		return false;
	/* the stock kernel has one */
	if (!access(KSM_SYSFS "threads", F_OK))
		threads = ksm_get("threads");
	for (nr = 1; nr < threads; nr++) {
		path = ksmd_file(nr, "stat");
		if (path && !sleeps(path))
			return false;
	}
	return sleeps(first);
}

void ksm_knobs_save(void)
{
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		struct knob *k = &knobs[i];
		char *end;

		knob_path(path, sizeof(path), k->name);
		if (file_get(path, k->old, sizeof(k->old)) < 0) {
			k->old[0] = '\0';
			continue;
		}
		k->old[strcspn(k->old, "\n")] = '\0';
		/* "none [scan-time]": the value is the one in brackets */
		end = strchr(k->old, ']');
		if (end) {
			char *from = strchr(k->old, '[') + 1;

			*end = '\0';
			memmove(k->old, from, end - from + 1);
		}
	}
}

/* For a new case, in which no worker is left, the canary neither. */
void ksm_knobs_during(void)
{
	char path[128];
	size_t i;

	canary = NULL;
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		const char *value = knobs[i].during;

		if (!knobs[i].old[0])
			continue;
		knob_path(path, sizeof(path), knobs[i].name);
		file_put(path, value ? value : knobs[i].old);
	}
}

void ksm_knobs_restore(void)
{
	char path[128];
	size_t i;

	knob_path(path, sizeof(path), "run");
	file_put(path, "2");
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		if (!knobs[i].old[0])
			continue;
		knob_path(path, sizeof(path), knobs[i].name);
		file_put(path, knobs[i].old);
	}
}
