// SPDX-License-Identifier: GPL-2.0
/*
 * What scanning is to the host: it stops when everything freezes, and where
 * memory is short it goes on merging without reclaiming any itself. The last is
 * tested twice, as a scanner that would reclaim may be lucky and need not.
 *
 * Who did what, and when, is taken from trace events.
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

/* Two domains with two processes each, and as many scanner threads as can be. */
static void busy(void)
{
	int i;

	ksm_need_cgroup();
	for (i = 0; i < 2; i++) {
		cg[i] = cg_new(NULL, i ? "b" : "a");
		cg_set(cg[i], "memory.ksm", "1");
	}
	for (i = 0; i < 4; i++)
		w[i] = w_dup(cg[i / 2], N, 1, 1);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		ksm_set("threads", 2);
}

static pid_t child(void (*fn)(void))
{
	pid_t pid = fork();

	NEED(pid >= 0, "no fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fn();
	_exit(1);
}

static void end(pid_t pid)
{
	int status;

	NEED(waitpid(pid, &status, WNOHANG) == 0, "a child ended with %x", status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* ---- the freezer ---- */

#define POWER	"/sys/power/"

/* Writes to memory.ksm.scan all the time; the freezer is as good as a signal. */
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
static void count_slices(FILE *f, long *slices)
{
	char line[256];
	int phase = 0;

	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "freeze_processes[0] end"))
			phase = 1;
		else if (strstr(line, "thaw_processes[0] begin"))
			phase = 2;
		else if (strstr(line, "ksm_slice: "))
			slices[phase]++;
	}
	fclose(f);
	NEED(phase == 2, "it was not frozen");
}

static void freezes(void)
{
	long slices[3] = { 0 };
	pid_t pid;
	int err;

	if (file_put(POWER "pm_test", "freezer"))
		ksm_skip("no /sys/power/pm_test here");
	file_put("/sys/module/suspend/parameters/pm_test_delay", "1");
	busy();
	ksm_set("smart_scan", 0);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	pid = child(demanding);
	NEED(WAIT_FOR(cg_stat(cg[0], "pages_scanned") > N &&
		      cg_stat(cg[1], "pages_scanned") > N), "nothing is scanned");
	trace_begin("ksm/ksm_slice", "power/suspend_resume");
	err = file_put(POWER "state", "freeze");
	CHECK(!err, "it cannot be frozen: %s", strerror(-err));
	count_slices(trace_end(), slices);
	file_put(POWER "pm_test", "none");
	CHECK(slices[0], "nothing was scanned before");
	CHECK(!slices[1], "%ld slices while all was frozen", slices[1]);
	NEED(WAIT_FOR(cg_stat(cg[1], "pages_scanned") > 4 * N &&
		      cg_stat(cg[0], "pages_scanned") > 4 * N),
	     "nothing is scanned afterwards");
	end(pid);
	for (err = 0; err < 4; err++)
		w_verify(w[err]);
}

/* ---- memory is short ---- */

/* Does one of the flags, as the event prints them, allow to reclaim? */
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
			if (strlen(flags[i]) == len && !strncmp(line, flags[i], len))
				return true;
		}
	}
	return false;
}

static void waits_for_none(void)
{
	struct ksmd_pids ksmd;
	char line[256];
	long nr = 0;
	FILE *f;
	int i;

	busy();
	ksmd_find(&ksmd);
	trace_begin("kmem/mm_page_alloc", NULL);
	trace_only(&ksmd);
	ksm_set("run", 1);
	NEED(WAIT_FOR(w_same(w[0], w[1], 0) == N && w_same(w[2], w[3], 0) == N),
	     "not all is merged");
	f = trace_end();
	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "mm_page_alloc: ") ||
		    trace_ksmd(line, &ksmd) == KSMD_THREADS)
			continue;
		nr++;
		NEED(!may_reclaim(line), "%s", line);
	}
	fclose(f);
	CHECK(nr > N, "%ld allocations for %d frames", nr, 2 * N);
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

/* Together more than there is, again and again: this much has to be on swap. */
#define GREEDY	4
#define OVER	(128UL << 20)

static size_t share;

static void greedy(void)
{
	size_t len = share, i;
	size_t *p;

	file_put("/proc/self/oom_score_adj", "1000");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		_exit(3);
	for (;;) {
		for (i = 0; i < len; i += PAGE_SZ)
			__atomic_store_n(p + i / sizeof(*p), i, __ATOMIC_RELAXED);
	}
}

/* How often somebody had to reclaim before he got memory. */
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
	pid_t pid[GREEDY];
	long long before, all, kb;
	char line[256];
	FILE *f;
	int i, j;

	busy();
	if (!swap_on())
		ksm_skip("no swap on zram here");
	ksm_set("sleep_millisecs", 0);
	ksm_set("pages_to_scan", 10000);
	ksm_set("run", 1);
	ksmd_find(&ksmd);
	trace_begin("vmscan/mm_vmscan_direct_reclaim_begin",
		    "vmscan/mm_vmscan_memcg_reclaim_begin");
	trace_only(&ksmd);
	NEED(file_key("/proc/meminfo", "MemAvailable", &kb), "no MemAvailable");
	share = ((kb << 10) + OVER) / GREEDY / PAGE_SZ * PAGE_SZ;
	kswapd_idle();
	all = stalls();
	before = cg_key("/proc", "vmstat", "pswpout");
	for (i = 0; i < GREEDY; i++)
		pid[i] = child(greedy);
	NEED(WAIT_FOR(stalls() > all &&
		      cg_key("/proc", "vmstat", "pswpout") > before + 1000),
	     "memory does not become short");
	all = stalls();
	/* it takes frames and records to merge all this */
	for (i = 0; i < 5; i++) {
		before = cg_stat(cg[1], "pages_merged");
		for (j = 0; j < 4; j++)
			w_set(w[j], 0, 0, N, 10000 * (i + 1), 1);
		NEED(WAIT_FOR(cg_stat(cg[1], "pages_merged") > before + N / 2),
		     "%lld pages are merged, and that is all",
		     cg_stat(cg[1], "pages_merged") - before);
	}
	CHECK(stalls() > all, "memory was not short");
	f = trace_end();
	while (fgets(line, sizeof(line), f))
		CHECK(!strstr(line, "reclaim_begin: "), "ksmd reclaims: %s", line);
	fclose(f);
	for (i = 0; i < GREEDY; i++)
		end(pid[i]);
	ksm_stop();
	for (i = 0; i < 4; i++)
		w_verify(w[i]);
}

static const struct ksm_case cases[] = {
	{ "frozen with the system", freezes },
	{ "ksmd takes what memory there is", waits_for_none },
	{ "ksmd reclaims nothing where memory is short", short_of_memory },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
