// SPDX-License-Identifier: GPL-2.0
/*
 * Scanning and the host: it stops when the system freezes, and where memory is
 * short it goes on merging and reclaims none itself. The last is tested twice,
 * as a scanner that would reclaim may be lucky and not have to.
 *
 * Trace events tell which task did what, and when.
 *
 * Wants a fresh machine: where page frames have held code before, an emulator
 * takes milliseconds to write to one.
 *
 * vm: append=ksmt_fresh=2 timeout=600
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define N	2048

static const char *cg[2];
static struct worker *w[4];

/* Two domains with two processes each, and two scanner threads if possible. */
static void busy(void)
{
	int i;

	cg_ksm_row(cg, 2, "1");
	for (i = 0; i < 4; i++)
		w[i] = w_dup(cg[i / 2], N, 1, 1);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		ksm_set("threads", 2);
}

static pid_t child(void (*fn)(void))
{
	pid_t pid = fork();

	NEED_GE(pid, 0, "fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fn();
	_exit(1);
}

static void end(pid_t pid)
{
	int status;

	NEED_EQ(waitpid(pid, &status, WNOHANG), 0, "a child ended");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* ---- the freezer ---- */

#define POWER	"/sys/power/"

/* Write to memory.ksm.scan all the time; the freezer acts as a signal does. */
static void demanding(void)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/memory.ksm.scan", cg[0]);
	fd = open(path, O_WRONLY);
	while (pwrite(fd, "max", 3, 0) == 3 || errno == EINTR)
		;
	_exit(errno);
}

/* Slices while the system froze, was frozen, and was thawed. */
static void count_slices(long *slices)
{
	const char *line;
	int phase = 0;

	while ((line = trace_next())) {
		if (strstr(line, "freeze_processes[0] end"))
			phase = 1;
		else if (strstr(line, "thaw_processes[0] begin"))
			phase = 2;
		else if (strstr(line, "ksm_slice: "))
			slices[phase]++;
	}
	NEED_EQ(phase, 2, "frozen and thawed");
}

static void freezes(void)
{
	long slices[3] = { 0 };
	const char *line;
	long long scanned;
	pid_t pid;
	int i;

	if (file_put(POWER "pm_test", "freezer"))
		ksm_skip("no /sys/power/pm_test here");
	file_put("/sys/module/suspend/parameters/pm_test_delay", "1");
	busy();
	ksm_set("smart_scan", 0);
	ksm_set("sleep_millisecs", 0);
	ksm_start();
	pid = child(demanding);
	NEED_WAIT_GT(cg_stat(cg[0], "pages_scanned"), N);
	NEED_WAIT_GT(cg_stat(cg[1], "pages_scanned"), N);
	/* the buffer may drop slices before the freeze, and no later event */
	trace_begin("ksm/ksm_slice", "power/suspend_resume");
	trace_until("power/suspend_resume", "action == \"thaw_processes\"");
	NEED(WAIT_FOR((line = trace_next()) && strstr(line, "ksm_slice: ")),
	     "nothing is scanned before");
	CHECK_OK(file_put(POWER "state", "freeze"));
	trace_end();
	count_slices(slices);
	file_put(POWER "pm_test", "none");
	CHECK_EQ(slices[1], 0, "while frozen");
	for (i = 0; i < 2; i++) {
		scanned = cg_stat(cg[i], "pages_scanned");
		NEED_WAIT_GT(cg_stat(cg[i], "pages_scanned"), scanned + 2 * N);
	}
	end(pid);
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

/* ---- memory is short ---- */

/* True if one of the flags, as the event prints them, allows reclaim. */
static bool may_reclaim(const char *line)
{
	static const char * const flags[] = {
		"__GFP_DIRECT_RECLAIM", "__GFP_RECLAIM", "GFP_KERNEL",
		"GFP_KERNEL_ACCOUNT", "GFP_USER", "GFP_HIGHUSER",
		"GFP_HIGHUSER_MOVABLE", "GFP_NOFS", "GFP_NOIO", "GFP_TRANSHUGE",
	};
	size_t i, len;

	line = strstr(line, "gfp_flags=");
	NEED(line, "no flags");
	for (line += strlen("gfp_flags="); *line; line += len + !!line[len]) {
		len = strcspn(line, "|\n");
		for (i = 0; i < ARRAY_SIZE(flags); i++) {
			if (strlen(flags[i]) == len &&
			    !strncmp(line, flags[i], len))
				return true;
		}
	}
	return false;
}

/* The number of allocations by ksmd since the last call. */
static long read_allocations(const struct ksmd_pids *ksmd)
{
	const char *line;
	long nr = 0;

	while ((line = trace_next())) {
		if (!strstr(line, "mm_page_alloc: ") ||
		    trace_ksmd(line, ksmd) == KSMD_THREADS)
			continue;
		nr++;
		NEED(!may_reclaim(line), "%s", line);
	}
	return nr;
}

static bool all_merged(void)
{
	return w_same(w[0], w[1], 0) == N && w_same(w[2], w[3], 0) == N;
}

static void waits_for_none(void)
{
	struct ksmd_pids ksmd;
	long nr = 0;
	int i;

	busy();
	ksmd_find(&ksmd);
	trace_begin("kmem/mm_page_alloc", NULL);
	trace_only(&ksmd);
	ksm_start();
	NEED(WAIT_FOR((nr += read_allocations(&ksmd), all_merged())),
	     "not all is merged");
	trace_end();
	nr += read_allocations(&ksmd);
	trace_complete();
	CHECK_GT(nr, N, "allocations for %d frames", 2 * N);
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

/* Kilobytes that a hog leaves free, and by how much that is too little. */
#define ROOM	(48 << 10)
#define LACK	(16 << 10)
#define HOGS	2
/* Pages that each process writes in between. */
#define SOME	(N / 4)

static long mem_free(void)
{
	return cg_key("/proc", "meminfo", "MemFree");
}

static struct hog {
	long kb;
	bool full;	/* all of it was touched */
} *hog_state;

static void hog(void)
{
	size_t len = hog_state->kb << 10, i;
	size_t *p;

	file_put("/proc/self/oom_score_adj", "1000");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		_exit(3);
	for (i = 0; i < len; i += PAGE_SZ)
		p[i / sizeof(*p)] = i;
	__atomic_store_n(&hog_state->full, true, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

/*
 * From here on every allocation has to reclaim first, until what a hog took
 * and does not use is swapped out. Returns the hog. Page cache is left as it
 * is: a system that reads its programs again and again gets nothing done.
 */
static pid_t memory_short(void)
{
	pid_t pid = -1;

	min_free_set(0);
	hog_state->kb = mem_free() - ROOM;
	hog_state->full = false;
	if (hog_state->kb > 0) {
		pid = child(hog);
		NEED(WAIT_FOR(__atomic_load_n(&hog_state->full,
					      __ATOMIC_ACQUIRE)),
		     "%ld kB are not touched", hog_state->kb);
	}
	min_free_set(mem_free() + LACK);
	return pid;
}

/* How often an allocation had to reclaim first. */
static long long stalls(void)
{
	static const char * const zones[] = {
		"allocstall_dma", "allocstall_dma32", "allocstall_normal",
		"allocstall_movable",
	};
	long long sum = 0, value;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(zones); i++) {
		if (file_key("/proc/vmstat", zones[i], &value))
			sum += value;
	}
	return sum;
}

static void short_of_memory(void)
{
	struct ksmd_pids ksmd;
	pid_t pid[HOGS];
	long long before, all;
	const char *line;
	int i, j;

	busy();
	swap_need();
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 10000);
	ksm_start();
	ksmd_find(&ksmd);
	trace_begin("vmscan/mm_vmscan_direct_reclaim_begin",
		    "vmscan/mm_vmscan_memcg_reclaim_begin");
	trace_only(&ksmd);
	hog_state = mmap(NULL, sizeof(*hog_state), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(hog_state != MAP_FAILED, "mmap");
	/* it takes frames and records to merge all this */
	for (i = 0; i < HOGS; i++) {
		all = stalls();
		before = cg_stat(cg[1], "pages_merged");
		pid[i] = memory_short();
		for (j = 0; j < 4; j++)
			w_set(w[j], 0, 0, SOME, 10000 * (i + 1), 1);
		NEED_WAIT_GT(cg_stat(cg[1], "pages_merged"),
			     before + SOME / 2);
		CHECK_GT(stalls(), all, "memory is not short");
	}
	trace_end();
	while ((line = trace_next()))
		CHECK(!strstr(line, "reclaim_begin: "), "by ksmd: %s", line);
	trace_complete();
	for (i = 0; i < HOGS; i++) {
		if (pid[i] > 0)
			end(pid[i]);
	}
	ksm_stop();
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

static const struct ksm_case cases[] = {
	{ "frozen with the system", freezes },
	{ "ksmd takes free memory only", waits_for_none },
	{ "ksmd reclaims nothing where memory is short", short_of_memory },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
