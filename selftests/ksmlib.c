// SPDX-License-Identifier: GPL-2.0
/*
 * The frame of a test program: cases and verdicts, files.
 *
 * Whatever a test changes on the machine is put back: knobs and the root's
 * memory.ksm at exit, cgroups and workers after every case.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ksmlib.h"

#define CASE_BOUND	(4 * KSM_BOUND)

unsigned long ksm_seed;
long ksm_steps;
long ksm_bound = 120;

static const char *case_name = "start";
static bool case_bad;
static sigjmp_buf case_end;
static pid_t main_pid;

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

static void say(const char *file, int line, const char *text)
{
	if (file)
		ksft_print_msg("%s: %s:%d: %s\n", case_name, file, line, text);
	else
		ksft_print_msg("%s: %s\n", case_name, text);
}

/* The arguments of a variadic function from its fmt on, as text. */
#define format_args(text) do {						\
	va_list __ap;							\
	va_start(__ap, fmt);						\
	vsnprintf(text, sizeof(text), fmt, __ap);			\
	va_end(__ap);							\
} while (0)

void ksm_note(const char *fmt, ...)
{
	char text[512];

	format_args(text);
	say(NULL, 0, text);
}

static void failed(bool fatal, const char *file, int line, const char *text)
{
	say(file, line, text);
	case_bad = true;
	if (fatal)
		siglongjmp(case_end, KSFT_FAIL);
}

void ksm_failed(const char *file, int line, const char *fmt, ...)
{
	char text[512];

	format_args(text);
	failed(false, file, line, text);
}

void ksm_fatal(const char *file, int line, const char *fmt, ...)
{
	char text[512];

	format_args(text);
	failed(true, file, line, text);
	__builtin_unreachable();
}

/* A check's message, whose format begins with a blank, and what it found. */
static void failed_check(bool fatal, const char *file, int line,
			 const char *message, const char *found)
{
	char text[1024];

	snprintf(text, sizeof(text), "%s%s%s", message + 1,
		 message[1] ? ": " : "", found);
	failed(fatal, file, line, text);
}

void ksm_mismatch(bool fatal, const char *file, int line, const char *text,
		  const char *op, long long got, long long want,
		  const char *fmt, ...)
{
	bool equal = !strcmp(op, "==");
	char message[256], found[512];

	format_args(message);
	snprintf(found, sizeof(found), "%s: got %lld, expected %s%s%lld", text,
		 got, equal ? "" : op, equal ? "" : " ", want);
	failed_check(fatal, file, line, message, found);
}

void ksm_mismatch_str(const char *file, int line, const char *text,
		      const char *got, const char *want, const char *fmt, ...)
{
	char message[256], found[512];

	format_args(message);
	snprintf(found, sizeof(found), "%s: got '%s', expected '%s'", text, got,
		 want);
	failed_check(false, file, line, message, found);
}

void ksm_refused(bool fatal, const char *file, int line, const char *text,
		 long err, const char *fmt, ...)
{
	char message[256], found[512];

	format_args(message);
	snprintf(found, sizeof(found), "%s: got %ld%s%s", text, err,
		 err < 0 ? ", " : ", expected 0",
		 err < 0 ? strerror(-err) : "");
	failed_check(fatal, file, line, message, found);
}

static char skip_reason[256];

void ksm_skip(const char *fmt, ...)
{
	format_args(skip_reason);
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

/* ---- the program ---- */

static char root_old[32];

static void slate_clean(void)
{
	fail_end();
	w_reset();
	trace_reset();
	ksm_unmerge_all();
	if (root_old[0])
		cg_put(CGROOT, "memory.ksm", root_old);
	cg_reset(1);
	swap_off();
	ksm_knobs_during();
}

static void at_end(void)
{
	if (getpid() != main_pid)
		return;
	fail_end();
	w_reset();
	ksm_knobs_restore();
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
	if (getenv("KSM_BOUND"))
		ksm_bound = strtol(getenv("KSM_BOUND"), NULL, 0);
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
			fprintf(stderr,
				"usage: %s [-l] [-n steps] [-s seed] [-t bound] [words]\n",
				argv[0]);
			return KSFT_FAIL;
		}
	}

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root\n");
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
	ksm_knobs_save();
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
