// SPDX-License-Identifier: GPL-2.0
/*
 * Many cgroups, and cgroups that come and go.
 *
 * - a write reaches every cgroup below, also one that comes online meanwhile
 * - a write to a cgroup with many processes lets other cgroups' writes pass
 * - concurrent writes at several levels end in the result of the last values
 * - a reset of the controller is not lost to a write to another file
 * - rounds wait for, and count in, only cgroups with something to scan,
 *   wherever processes move
 * - sums of events are exact, and never run backwards
 *
 * vm: timeout=600
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksmlib.h"

#define ROWS	20
#define IDLE	100		/* in each row */
#define LATE	32		/* cgroups that come and go */
#define TAG	1000

/* Results of the second process. */
static struct shared {
	bool stop;
	long turn;
	long made;
	long bad;
	char what[128];
} *shared;

/* A second process; nothing in it may use CHECK() and the like. */
static pid_t aside(void (*fn)(const void *arg), const void *arg)
{
	pid_t pid;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(shared != MAP_FAILED, "mmap: %s", strerror(errno));
	memset(shared, 0, sizeof(*shared));
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* if the case ends early */
		alarm(2 * KSM_BOUND);
		fn(arg);
		_exit(0);
	}
	return pid;
}

static void ends(pid_t pid)
{
	int status;

	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	NEED_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "status %#x", status);
	CHECK_EQ(shared->bad, 0, "%s", shared->what);
}

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

/* -------------------------------------------------------- a write reaches */

/* Check that every cgroup below @dir has this value. Returns their number. */
static long below(const char *dir, const char *want)
{
	char path[512], buf[32];
	struct dirent *entry;
	DIR *d = opendir(dir);
	long nr = 0;

	NEED(d, "opendir %s: %s", dir, strerror(errno));
	while ((entry = readdir(d))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%.200s/%.200s/memory.ksm.effective",
			 dir, entry->d_name);
		/* it may have come or gone while it was looked up */
		if (file_get(path, buf, sizeof(buf)) < 0)
			continue;
		buf[strcspn(buf, "\n")] = '\0';
		CHECK_STR(buf, want, "%s", path);
		nr++;
	}
	closedir(d);
	return nr;
}

static void come_and_go(const void *dir)
{
	char path[256];
	int i;

	for (i = 0; !stopped(); i = (i + 1) % LATE) {
		snprintf(path, sizeof(path), "%.200s/%d",
			 (const char *)dir, i);
		if (rmdir(path) && errno != ENOENT && errno != EBUSY)
			shared->bad = errno;
		if (mkdir(path, 0755) && errno != EEXIST)
			shared->bad = errno;
		shared->made++;
	}
	for (i = 0; i < LATE; i++) {
		snprintf(path, sizeof(path), "%.200s/%d",
			 (const char *)dir, i);
		rmdir(path);
	}
}

/* One cgroup with work among many without. */
static void reaches_all(void)
{
	static const char * const values[] = { "1", "0", "1", "madvise" };
	const char *top = cg_ksm(NULL, "a", NULL), *row[ROWS], *late;
	const char *busy = NULL;
	char name[16];
	long made;
	pid_t pid;
	int i, j;

	for (i = 0; i < ROWS; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		row[i] = cg_new(top, name);
		for (j = 0; j < IDLE; j++) {
			snprintf(name, sizeof(name), "%d", j);
			busy = cg_new(row[i], name);
		}
	}
	/* the last one, so that a write takes a while to get there */
	late = cg_new(top, "late");
	cg_set(late, "cgroup.subtree_control", "+memory");
	pid = aside(come_and_go, late);
	for (i = 0; i < (int)ARRAY_SIZE(values); i++) {
		made = shared->made;
		cg_set(top, "memory.ksm", values[i]);
		below(late, values[i]);
		for (j = 0; j < ROWS; j++)
			CHECK_EQ(below(row[j], values[i]), IDLE);
		CHECK_EQ(below(top, values[i]), ROWS + 1);
		NEED_WAIT_GT(shared->made, made + LATE);
		below(late, values[i]);
	}
	ends(pid);

	cg_set(top, "memory.ksm", "1");
	/* in the last row */
	w_dup(busy, 16, TAG, 1);
	NEED_WAIT_EQ(cg_stat(busy, "processes"), 1);
	ksm_pass(3);
	ksm_stop();
	CHECK_GE(cg_stat(busy, "full_scans"), 3);
	for (j = 0; j < ROWS - 1; j++)
		CHECK_EQ(cg_stat(row[j], "full_scans"), 0, "row %d", j);
}

/* ------------------------------------------------------- several writers */

static const char * const settings[] = { "1", "0", "madvise", "inherit" };

struct writes {
	char path[256];
	unsigned int seed;
};

#define WRITES	25

static const char *nth(unsigned int seed, int i)
{
	return settings[(seed >> (2 * (i % 8))) % ARRAY_SIZE(settings)];
}

static void write_often(const void *arg)
{
	const struct writes *w = arg;
	int i, err;

	for (i = 0; i < WRITES; i++) {
		err = file_put(w->path, nth(w->seed, i));
		if (err)
			_exit(-err);
	}
}

static void converge(void)
{
	const char *cg[3] = { cg_ksm(NULL, "a", NULL) }, *want;
	pid_t pid[3];
	int i, round, status;
	char name[16];

	for (i = 1; i < 3; i++)
		cg[i] = cg_new(cg[i - 1], "b");
	for (i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "%d", i);
		cg_new(cg[2], name);
	}
	for (round = 0; round < 20; round++) {
		struct writes w[3];

		for (i = 0; i < 3; i++) {
			snprintf(w[i].path, sizeof(w[i].path), "%.200s/memory.ksm",
				 cg[i]);
			w[i].seed = ksm_random();
			pid[i] = aside(write_often, &w[i]);
		}
		want = cg_get(CGROOT, "memory.ksm");
		for (i = 0; i < 3; i++) {
			const char *last = nth(w[i].seed, WRITES - 1);

			NEED_EQ(waitpid(pid[i], &status, 0), pid[i]);
			CHECK_EQ(status, 0);
			if (strcmp(want, "0") && strcmp(last, "inherit"))
				want = last;
			CHECK_STR(cg_get(cg[i], "memory.ksm"), last);
		}
		CHECK_EQ(below(cg[2], want), 50, "round %d", round);
	}
}

/* ---------------------------------------------------------- many processes */

#define CROWD	1000

/* Fork until all are there; they end with the test, or with their cgroup. */
static void crowd(const void *cg)
{
	int i;

	if (cg_move(cg, getpid()))
		_exit(1);
	for (i = 1; i < CROWD; i++) {
		pid_t pid = fork();

		if (pid < 0)
			_exit(2);
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
			_exit(0);
		}
	}
	while (!stopped())
		usleep(10000);
}

/* One write for each turn: shared->made follows shared->turn. */
static void write_in_turns(const void *path)
{
	long turn = 0, next;
	int err;

	while (!stopped()) {
		next = __atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE);
		if (next == turn)
			continue;
		err = file_put(path, next % 2 ? "madvise" : "1");
		if (err) {
			shared->bad = -err;
			return;
		}
		turn = next;
		__atomic_store_n(&shared->made, turn, __ATOMIC_RELEASE);
	}
}

/* Are some of the crowd's processes past the change and others not? */
static bool half_way(const char *cg)
{
	long long nr = cg_stat(cg, "processes");

	return nr > 0 && nr < CROWD;
}

/*
 * A write that begins while the processes of another cgroup follow a change,
 * and ends before they all have, was not held up by that.
 */
static long writes_during_turn(const char *cg, const char *other, long turn)
{
	long passed = 0;
	bool began;

	__atomic_store_n(&shared->turn, turn, __ATOMIC_RELEASE);
	while (__atomic_load_n(&shared->made, __ATOMIC_ACQUIRE) != turn &&
	       !shared->bad) {
		began = half_way(cg);
		cg_set(other, "memory.ksm", "1");
		passed += began && half_way(cg);
	}
	return passed;
}

static void gives_way(void)
{
	const char *cg = cg_ksm(NULL, "a", "1"), *other = cg_ksm(NULL, "b", "1");
	long turn = 0, passed = 0;
	pid_t people, writer;
	char path[256];

	snprintf(path, sizeof(path), "%.200s/memory.ksm", cg);
	people = aside(crowd, cg);
	NEED_WAIT_EQ(cg_stat(cg, "processes"), CROWD);
	writer = aside(write_in_turns, path);
	while (!passed && !shared->bad && turn < 50)
		passed = writes_during_turn(cg, other, ++turn);
	CHECK_GT(passed, 0, "in %ld turns", turn);
	ends(writer);
	ends(people);
}

/* ----------------------------------------------------------------- reset */

static void write_domain(const void *path)
{
	static const char * const values[] = {
		"self", "@reset", "parent", "@reset", "@again"
	};
	int i, err;

	for (i = 0; !stopped(); i++) {
		err = file_put(path, values[i % ARRAY_SIZE(values)]);
		/* the file is removed and created again */
		if (err && err != -ENOENT && err != -ENODEV) {
			shared->bad = -err;
			return;
		}
		shared->made += !err;
	}
}

/*
 * The io controller depends on the memory controller. While io is enabled,
 * disabling memory hides and resets it and does not take it down.
 */
static void reset(void)
{
	const char *top = cg_ksm(NULL, "a", "1"), *cg;
	char base[256], path[256];
	bool had_io;
	pid_t pid;
	int i;

	cg = cg_new(top, "b");
	if (!strstr(cg_get(CGROOT, "cgroup.controllers"), "io"))
		ksm_skip("this kernel has no io controller");
	had_io = strstr(cg_get(CGROOT, "cgroup.subtree_control"), "io");
	snprintf(base, sizeof(base), "%.200s", top);
	*strrchr(base, '/') = '\0';
	cg_set(CGROOT, "cgroup.subtree_control", "+io");
	cg_set(base, "cgroup.subtree_control", "+io");
	cg_set(top, "cgroup.subtree_control", "+io");
	snprintf(path, sizeof(path), "%.200s/memory.ksm.domain", cg);
	pid = aside(write_domain, path);
	for (i = 0; i < 100; i++) {
		long made = shared->made;

		cg_set(cg, "memory.ksm", "0");
		CHECK_STR(cg_get(cg, "memory.ksm.effective"), "0");
		NEED_WAIT_GT(shared->made, made);
		cg_set(top, "cgroup.subtree_control", "-memory");
		cg_set(top, "cgroup.subtree_control", "+memory");
		CHECK_STR(cg_get(cg, "memory.ksm"), "inherit", "%d", i);
		CHECK_STR(cg_get(cg, "memory.ksm.effective"), "1", "%d", i);
	}
	ends(pid);
	cg_set(top, "cgroup.subtree_control", "-io");
	cg_set(base, "cgroup.subtree_control", "-io");
	if (!had_io)
		cg_set(CGROOT, "cgroup.subtree_control", "-io");
}

/* ------------------------------------------------------- moves and rounds */

/* Does not change run, as ksm_pass() does, which would begin a round anew. */
static void rounds_end(void)
{
	long long start = ksm_get("full_scans");

	NEED_WAIT_GE(ksm_get("full_scans"), start + 2);
}

/* A slot that is counted twice, or not at all, keeps rounds from ending. */
static void moves(void)
{
	const char *cg[3];
	struct worker *w[2];
	int i;

	cg_ksm_row(cg, 3, "1");
	for (i = 0; i < 2; i++)
		w[i] = w_dup(cg[0], 16, TAG, 1);
	ksm_pass(1);
	for (i = 0; i < 24; i++) {
		NEED_OK(cg_move(cg[i % 3], w[0]->pid));
		if (i % 2)
			cg_set(cg[1], "memory.ksm", i % 4 == 1 ? "0" : "1");
		rounds_end();
	}
	ksm_stop();
	w_verify(w[0]);
	w_verify(w[1]);
}

/* ------------------------------------------------------------------- sums */

static long long read_key(const char *path)
{
	long long value = -1;

	return file_key(path, "pages_scanned", &value) ? value : -1;
}

/* Two files; that of the host is a single number. */
static void read_sums(const void *stat)
{
	long long last[2] = {}, now;
	char buf[32];

	while (!stopped()) {
		now = read_key(stat);
		if (now < last[0])
			snprintf(shared->what, sizeof(shared->what),
				 "cgroup: %lld after %lld", now, last[0]);
		shared->bad += now < last[0];
		last[0] = now;
		if (file_get(KSM_SYSFS "pages_scanned", buf, sizeof(buf)) < 0)
			_exit(1);
		now = strtoll(buf, NULL, 10);
		if (now < last[1])
			snprintf(shared->what, sizeof(shared->what),
				 "host: %lld after %lld", now, last[1]);
		shared->bad += now < last[1];
		last[1] = now;
		shared->made++;
	}
}

static void sums(void)
{
	const char *top = cg_ksm(NULL, "a", "1"), *out = cg_new(NULL, "b"), *cg;
	long long scanned = 0, seen = 0;
	struct worker *w = w_dup(out, 64, TAG, 1);
	char path[256];
	pid_t pid;
	int i;

	w_dup(cg_ksm(NULL, "d", "1"), 16, 2 * TAG, 1);
	ksmd_idle();
	cg_set(top, "cgroup.subtree_control", "+memory");
	snprintf(path, sizeof(path), "%.200s/memory.ksm.stat", top);
	pid = aside(read_sums, path);
	for (i = 0; i < 100; i++) {
		cg = cg_new(top, "c");
		NEED_OK(cg_move(cg, w->pid));
		NEED_WAIT_EQ(cg_stat(cg, "processes"), 1);
		cg_scan(cg, "max");
		seen = cg_stat(cg, "pages_scanned");
		CHECK_GT(seen + cg_stat(cg, "pages_skipped"), 0);
		scanned += seen;
		NEED_OK(cg_move(out, w->pid));
		NEED_OK(cg_rmdir(cg));
		/* the cgroup is taken down by a worker */
		CHECK_WAIT_EQ(cg_stat(top, "pages_scanned"), scanned);
	}
	CHECK_GT(shared->made, 0);
	ends(pid);
	CHECK_GT(scanned, 0);
	CHECK_EQ(cg_stat(CGROOT, "pages_scanned"), ksm_get("pages_scanned"));
	w_verify(w);
}

static const struct ksm_case cases[] = {
	{ "a write reaches all cgroups, and idle ones count no full scans",
	  reaches_all },
	{ "writes at several levels converge", converge },
	{ "a cgroup with many processes lets others' writes pass", gives_way },
	{ "a reset is not lost to a write", reset },
	{ "rounds end wherever processes move", moves },
	{ "sums are exact and never run backwards", sums },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
