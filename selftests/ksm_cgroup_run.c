// SPDX-License-Identifier: GPL-2.0
/*
 * run and run_cgroups: which processes are served, i.e. scanned and merged.
 *
 * - run_cgroups is for cgroups with a value that counts, the root's 1 included;
 *   run is for all others, where processes have to ask
 * - a host manager that writes 0 and 1 to run, as ksmtuned does, does not stop
 *   a cgroup with a 1
 * - no page of a stopped process is merged, not even with a page of a served
 *   process in the same domain
 * - run=2 unmerges everything and serves nothing until another value is written
 * - any other value is EINVAL and changes nothing
 *
 * vm: timeout=300
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksmlib.h"

#define N	48

static const char *one, *none;	/* cgroups with a 1, and with no value */
static struct worker *in[2];	/* twins in the first */
static struct worker *out[2];	/* twins in the other, which asked */

static void are_merged(struct worker **w, const char *what)
{
	int i;

	for (i = 0; i < 2; i++) {
		CHECK_EQ(w_merged(w[i]), N, "%s", what);
		w_verify(w[i]);
	}
	CHECK_EQ(w_same(w[0], w[1], 0), N, "%s", what);
}

static void not_merged(struct worker **w, const char *what)
{
	int i;

	for (i = 0; i < 2; i++) {
		CHECK_EQ(w_all_ksm(w[i]), 0, "%s", what);
		w_verify(w[i]);
	}
}

static void ask(struct worker **w)
{
	w_madv(w[0], 0, MADV_MERGEABLE);
	w_madv(w[1], 0, MADV_MERGEABLE);
}

static void pairs(void)
{
	one = cg_ksm(NULL, "one", "1");
	none = cg_ksm(NULL, "none", NULL);
	w_twins(in, one, N, 100);
	w_twins(out, none, N, 200);
	ask(out);
}

/* New contents, which are in no merged frame yet. */
static void write_anew(struct worker **w, u64 tag)
{
	w_set(w[0], 0, 0, N, tag, 1);
	w_set(w[1], 0, 0, N, tag, 1);
}

static void rises(int nr)
{
	long long start = ksm_get("full_scans");

	NEED_WAIT_GE(ksm_get("full_scans"), start + nr);
}

/* The scan goes on and leaves these out. */
static void not_served(struct worker **w, const char *cg, const char *what)
{
	long long scanned;

	/* the last slice before the write may be booked after it */
	rises(1);
	scanned = cg_stat(cg, "pages_scanned");
	rises(2);
	CHECK_EQ(cg_stat(cg, "pages_scanned"), scanned, "%s", what);
	not_merged(w, what);
}

/* Nothing is scanned although memory changes. */
static void stands_still(const char *what)
{
	long long scanned;
	int i, busy = 0;

	NEED(WAIT_FOR(ksmd_waits()), "ksmd goes on, %s", what);
	scanned = cg_stat(CGROOT, "pages_scanned");
	for (i = 0; i < 50; i++) {
		write_anew(in, 5000 + i * N);
		write_anew(out, 9000 + i * N);
		busy += !ksmd_waits();
	}
	CHECK_EQ(busy, 0, "%s", what);
	CHECK_EQ(cg_stat(CGROOT, "pages_scanned"), scanned, "%s", what);
	CHECK_EQ(cg_put(one, "memory.ksm.scan", "max"), -EAGAIN, "%s", what);
	CHECK_EQ(cg_put(none, "memory.ksm.scan", "max"), -EAGAIN, "%s", what);
	not_merged(in, what);
	not_merged(out, what);
}

/* ---- which processes are served ---- */

static void by_value(void)
{
	struct worker *own[2], *below[2], *adv[2];
	const char *a;

	pairs();
	a = cg_ksm(NULL, "a", "1");
	w_twins(below, cg_new(a, "below"), N, 300);
	/* the controller is enabled below a, so a itself takes no process */
	w_twins(own, cg_new(a, "own"), N, 400);
	w_twins(adv, cg_ksm(NULL, "b", "madvise"), N, 500);
	ask(adv);
	ksm_pass_as(0, 1, 3);
	CHECK_EQ(ksm_get("run"), 0);
	CHECK_EQ(ksm_get("run_cgroups"), 1);
	ksm_stop();
	are_merged(below, "inherits a 1");
	are_merged(own, "inherits a 1");
	are_merged(adv, "asked under madvise");
	not_merged(out, "no value of its own");

	cg_set(CGROOT, "memory.ksm", "1");
	ksm_pass_as(0, 1, 3);
	ksm_stop();
	are_merged(out, "the root has a 1");
	cg_set(CGROOT, "memory.ksm", "madvise");
	ksm_unmerge_all();
	ksm_pass_as(1, 0, 3);
	ksm_stop();
	are_merged(out, "asked, run=1");
	not_merged(own, "run_cgroups=0");
	not_merged(adv, "run_cgroups=0");
}

/* ksmtuned writes 0 or 1 every minute, mostly the same value again. */
static void host_manager(void)
{
	static const int runs[] = { 0, 0, 1, 1, 0, 1, 0 };
	char what[32];
	size_t i;

	pairs();
	ksm_run_as(0, 1);
	for (i = 0; i < ARRAY_SIZE(runs); i++) {
		snprintf(what, sizeof(what), "run=%d, step %zu", runs[i], i);
		ksm_set("run", runs[i]);
		write_anew(in, 1000 * (i + 1));
		write_anew(out, 20000 + 1000 * (i + 1));
		CHECK_WAIT_EQ(w_same(in[0], in[1], 0), N, "%s", what);
		if (runs[i])
			CHECK_WAIT_EQ(w_same(out[0], out[1], 0), N, "%s", what);
		else
			not_served(out, none, what);
	}
	w_verify(in[0]);
	w_verify(in[1]);
}

/* Scan on demand until that fails. */
static void scans(void)
{
	char path[300];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), "%s/memory.ksm.scan", one);
	fd = open(path, O_WRONLY);
	while (pwrite(fd, "max", 3, 0) == 3)
		;
	_exit(errno);
}

static void host_manager_and_scan(void)
{
	int i, status = 0;
	pid_t pid;

	pairs();
	w_dup(one, 16 * N, 50000, 1);
	ksm_run_as(0, 1);
	pid = fork();
	NEED_GE(pid, 0, "fork");
	if (!pid)
		scans();
	for (i = 0; i < 300; i++) {
		ksm_set("run", i & 1);
		write_anew(in, 1000 + i * N);
	}
	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0, "the scan ended: %#x", status);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Stopping unshares nothing. */
static void stays_merged(void)
{
	pairs();
	ksm_pass_as(1, 1, 3);
	ksm_set("run", 0);
	rises(2);
	are_merged(in, "run=0");
	are_merged(out, "run=0");
	ksm_run_as(1, 0);
	rises(2);
	are_merged(in, "run_cgroups=0");
	are_merged(out, "run_cgroups=0");
}

static void cgroups_stopped(void)
{
	pairs();
	ksm_pass_as(1, 0, 3);
	are_merged(out, "run=1");
	not_served(in, one, "run_cgroups=0");
	CHECK_EQ(cg_put(one, "memory.ksm.scan", "max"), -EAGAIN);
	CHECK_OK(cg_put(none, "memory.ksm.scan", "max"));
	/* the root's 1 counts, so run_cgroups is for all cgroups */
	cg_set(CGROOT, "memory.ksm", "1");
	stands_still("run_cgroups=0, and the root has a 1");
	ksm_set("run_cgroups", 1);
	CHECK_WAIT_EQ(w_same(in[0], in[1], 0), N, "run_cgroups=1");
	CHECK_WAIT_EQ(w_same(out[0], out[1], 0), N, "run_cgroups=1");
}

static void alone(struct worker **w, const char *what)
{
	CHECK_EQ(w_merged(w[0]), 0, "%s", what);
	CHECK_EQ(w_merged(w[1]), 0, "%s", what);
}

/*
 * Pages of a stopped process may be in the index of its domain. They are not
 * merged, and do not keep other pages of the domain from merging.
 */
static void one_domain_with(int run, int cgroups)
{
	struct worker **stopped = run ? in : out, **served = run ? out : in;
	u64 tag = run ? 100 : 300;
	struct worker *late;
	int i;

	one = cg_ksm(NULL, "one", "1");
	none = cg_ksm(NULL, "none", NULL);
	cg_set(one, "memory.ksm.domain", "parent");
	for (i = 0; i < 2; i++) {
		in[i] = w_dup(one, N, 100 + 100 * i, 1);
		out[i] = w_dup(none, N, 300 + 100 * i, 1);
	}
	ask(out);
	ksm_pass_as(1, 1, 3);
	alone(in, "unique");
	alone(out, "unique");
	ksm_run_as(run, cgroups);
	w_set(served[0], 0, 0, N, tag, 1);
	rises(3);
	alone(stopped, "stopped");
	alone(served, "the twin is stopped");
	late = w_asker(run ? none : one, N, tag, 1);
	CHECK_WAIT_EQ(w_same(late, served[0], 0), N, "both are served");
	alone(stopped, "stopped");
	ksm_start();
	CHECK_WAIT_EQ(w_same(stopped[0], served[0], 0), N, "all are served");
	w_verify(stopped[0]);
	w_verify(served[0]);
	w_verify(late);
}

static void one_domain(void)
{
	one_domain_with(0, 1);
}

static void one_domain_without_cgroups(void)
{
	one_domain_with(1, 0);
}

/* ---- run=2, invalid values, and the same value ---- */

static void unmerge(void)
{
	int run;

	pairs();
	for (run = 0; run < 2; run++) {
		ksm_pass_as(1, 1, 3);
		are_merged(in, "before");
		are_merged(out, "before");
		ksm_set("run", 2);
		CHECK_EQ(ksm_get("run"), 2);
		not_merged(in, "run=2");
		not_merged(out, "run=2");
		stands_still("run=2");
		ksm_set("run_cgroups", 0);
		ksm_set("run_cgroups", 1);
		ksm_set("run", 2);
		stands_still("run=2, run_cgroups=1");
		write_anew(in, 3000);
		write_anew(out, 4000);
		ksm_set("run", run);
		CHECK_WAIT_EQ(w_same(in[0], in[1], 0), N, "run=%d", run);
		if (run)
			CHECK_WAIT_EQ(w_same(out[0], out[1], 0), N, "run=1");
		else
			not_served(out, none, "run=0");
	}
}

static void bad_values(void)
{
	static const char * const bad[] = { "3", "-1", "x", "\n", "4294967296" };
	size_t i;
	int run;

	pairs();
	for (run = 0; run <= 2; run++) {
		ksm_run_as(run, 1);
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			CHECK_EQ(file_put(KSM_SYSFS "run", bad[i]), -EINVAL,
				 "'%s'", bad[i]);
			CHECK_EQ(file_put(KSM_SYSFS "run_cgroups", bad[i]),
				 -EINVAL, "'%s'", bad[i]);
		}
		CHECK_EQ(file_put(KSM_SYSFS "run_cgroups", "2"), -EINVAL);
		CHECK_EQ(ksm_get("run"), run);
		CHECK_EQ(ksm_get("run_cgroups"), 1);
		if (run == 2) {
			stands_still("run=2");
			break;
		}
		write_anew(in, 1000 * (run + 1));
		CHECK_WAIT_EQ(w_same(in[0], in[1], 0), N, "run=%d", run);
	}
}

/*
 * Writes that come faster than full scans end: full_scans would not rise if
 * each of them began a scan anew.
 */
static void same_value(void)
{
	long long start;

	pairs();
	w_dup(one, 4096, 50000, 1);
	ksm_set("pages_to_scan", 10);
	ksm_set("sleep_millisecs", 10);
	ksm_start();
	start = ksm_get("full_scans");
	CHECK_WAIT_GE((ksm_start(), ksm_get("full_scans")), start + 3);
	CHECK_WAIT_EQ(w_same(in[0], in[1], 0), N);
}

static const struct ksm_case cases[] = {
	{ "run_cgroups serves cgroups with a value, run the others", by_value },
	{ "0 and 1 in run do not stop a cgroup with a 1", host_manager },
	{ "0 and 1 in run do not end a write to memory.ksm.scan",
	  host_manager_and_scan },
	{ "stopping leaves merged pages merged", stays_merged },
	{ "run_cgroups=0 stops cgroups with a value only", cgroups_stopped },
	{ "run=0: no merge with a cgroup in the root domain", one_domain },
	{ "run_cgroups=0: no merge with others in the root domain",
	  one_domain_without_cgroups },
	{ "run=2 unmerges all and stops until another value", unmerge },
	{ "invalid values are EINVAL and change nothing", bad_values },
	{ "writing the same value begins no full scan anew", same_value },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
