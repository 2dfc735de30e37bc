// SPDX-License-Identifier: GPL-2.0
/*
 * The frame of a test program: its cases, the scanner's knobs, control groups.
 *
 * Everything that is changed on the machine is put back: knobs and the root's
 * memory.ksm at exit, cgroups and workers after every case.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ksmlib.h"

#define CASE_BOUND	(4 * KSM_BOUND)

unsigned long ksm_seed;
long ksm_steps;
long ksm_bound = 120;

static const char *case_name = "start";
static bool case_bad;
static sigjmp_buf case_end;
static struct worker *canary;
static pid_t main_pid;

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
	{ .name = "run", .during = "0" },
};

long ksm_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

unsigned long ksm_random(void)
{
	static unsigned long x;

	if (!x)
		x = ksm_seed * 0x9e3779b97f4a7c15UL + 1;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 11;
}

/* ---- verdicts ---- */

static void say(const char *fmt, va_list ap, const char *file, int line)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (file)
		ksft_print_msg("%s: %s:%d: %s\n", case_name, file, line, text);
	else
		ksft_print_msg("%s: %s\n", case_name, text);
}

void ksm_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, NULL, 0);
	va_end(ap);
}

void ksm_failed(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, file, line);
	va_end(ap);
	case_bad = true;
}

void ksm_fatal(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap, file, line);
	va_end(ap);
	case_bad = true;
	siglongjmp(case_end, KSFT_FAIL);
}

static char skip_reason[256];

void ksm_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(skip_reason, sizeof(skip_reason), fmt, ap);
	va_end(ap);
	siglongjmp(case_end, KSFT_SKIP);
}

/* ---- files ---- */

int file_put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		err = -errno;
	close(fd);
	return err;
}

int file_get(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		got = read(fd, buf + len, size - 1 - len);
		if (got < 0) {
			got = -errno;
			close(fd);
			return got;
		}
		if (!got)
			break;
		len += got;
	}
	close(fd);
	buf[len] = '\0';
	return len;
}

bool file_key(const char *path, const char *key, long long *value)
{
	char buf[8192], *line, *save;
	size_t len = strlen(key);

	if (file_get(path, buf, sizeof(buf)) < 0)
		return false;
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, key, len))
			continue;
		if (line[len] != ' ' && line[len] != ':' && line[len] != '\t')
			continue;
		*value = strtoll(line + len + 1, NULL, 10);
		return true;
	}
	return false;
}

/* ---- the scanner ---- */

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
	int ret;

	knob_path(path, sizeof(path), name);
	snprintf(buf, sizeof(buf), "%lld", value);
	ret = file_put(path, buf);
	NEED(!ret, "writing %s to %s: %s", buf, path, strerror(-ret));
}

/*
 * full_scans rises only while somebody takes part. The canary always does, so
 * that a case in which nothing must be merged can wait for a full scan too.
 */
static void canary_sing(void)
{
	int area;

	if (canary && w_alive(canary))
		return;
	canary = w_new(cg_canary());
	area = w_map(canary, 1, MAP_PLAIN);
	w_set(canary, area, 0, 1, 0xca9a41, 0);
	w_madv(canary, area, MADV_MERGEABLE);
}

void ksm_pass(int rises)
{
	canary_sing();
	ksm_pass_as(1, rises);
}

/* Without the canary: somebody must take part under that value. */
void ksm_pass_as(int run, int rises)
{
	long long start = ksm_get("full_scans");

	ksm_set("run", run);
	NEED(WAIT_FOR(ksm_get("full_scans") >= start + rises),
	     "full_scans stalls at %lld, from %lld", ksm_get("full_scans"),
	     start);
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

void ksm_stop(void)
{
	ksm_set("run", 0);
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

/* The path of a file in /proc of a scanner thread, of which 0 is always there. */
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

bool ksmd_waits(void)
{
	char buf[512], *at;

	NEED(file_get(ksmd_file(0, "stat"), buf, sizeof(buf)) > 0, "no stat");
	at = strrchr(buf, ')');
	return at && at[2] == 'S';
}

static void knobs_save(void)
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

static void knobs_during(void)
{
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		const char *value = knobs[i].during;

		if (!knobs[i].old[0])
			continue;
		knob_path(path, sizeof(path), knobs[i].name);
		file_put(path, value ? value : knobs[i].old);
	}
}

static void knobs_restore(void)
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

/* ---- the program ---- */

static char root_old[32];

static void slate_clean(void)
{
	w_reset();
	canary = NULL;
	ksm_unmerge_all();
	if (root_old[0])
		cg_put(CGROOT, "memory.ksm", root_old);
	cg_reset(1);
	swap_off();
	knobs_during();
}

static void at_end(void)
{
	if (getpid() != main_pid)
		return;
	w_reset();
	knobs_restore();
	if (root_old[0])
		cg_put(CGROOT, "memory.ksm", root_old);
	cg_end();
	swap_off();
}

static void on_signal(int sig)
{
	const char *why = strsignal(sig);

	if (sig == SIGALRM)
		why = "hangs";
	ksft_exit_fail_msg("%s: %s\n", case_name, why);
}

static void run_case(const struct ksm_case *c)
{
	int how;

	case_name = c->name;
	case_bad = false;
	alarm(CASE_BOUND);
	how = sigsetjmp(case_end, 1);
	if (!how) {
		slate_clean();
		c->fn();
	}
	alarm(0);
	if (case_bad || (how && how != KSFT_SKIP))
		ksft_test_result_fail("%s\n", c->name);
	else if (how == KSFT_SKIP)
		ksft_test_result_skip("%s: %s\n", c->name, skip_reason);
	else
		ksft_test_result_pass("%s\n", c->name);
}

static bool chosen(const char *name, char **words)
{
	if (!*words)
		return true;
	for (; *words; words++) {
		if (strstr(name, *words))
			return true;
	}
	return false;
}

int ksm_main(int argc, char **argv, const struct ksm_case *cases, int nr)
{
	int i, opt, plan = 0;

	if (!strcmp(argv[0], "ksm-worker"))
		return w_worker(argc, argv);

	ksm_seed = time(NULL);
	while ((opt = getopt(argc, argv, "ln:s:t:")) != -1) {
		switch (opt) {
		case 'l':
			for (i = 0; i < nr; i++)
				puts(cases[i].name);
			return 0;
		case 'n':
			ksm_steps = strtol(optarg, NULL, 0);
			break;
		case 't':
			ksm_bound = strtol(optarg, NULL, 0);
			break;
		case 's':
			ksm_seed = strtoul(optarg, NULL, 0);
			break;
		default:
			fprintf(stderr, "usage: %s [-l] [-n steps] [-s seed] [-t bound] [words]\n",
				argv[0]);
			return KSFT_FAIL;
		}
	}

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("only root may do this\n");
	if (access(KSM_SYSFS "run", W_OK))
		ksft_exit_skip("this kernel has no KSM\n");
	for (i = 0; i < nr; i++)
		plan += chosen(cases[i].name, argv + optind);
	ksft_set_plan(plan);
	ksft_print_msg("seed %lu\n", ksm_seed);

	main_pid = getpid();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	knobs_save();
	cg_start();
	if (file_get(CGROOT "/memory.ksm", root_old, sizeof(root_old)) < 0)
		root_old[0] = '\0';
	atexit(at_end);

	for (i = 0; i < nr; i++) {
		if (chosen(cases[i].name, argv + optind))
			run_case(&cases[i]);
	}
	ksft_finished();
}
