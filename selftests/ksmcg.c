// SPDX-License-Identifier: GPL-2.0
/*
 * Control groups below a directory of our own in /sys/fs/cgroup, with the
 * memory controller enabled; they go when the case that made them ends.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ksmlib.h"

#define MAX_CGS		2560

static char cg_base[64];
static char *cgs[MAX_CGS];
static int nr_cgs;

bool ksm_has_cgroup(void)
{
	bool known;
	int old;

	if (nr_cgs && cg_has(cgs[0], "memory.ksm"))
		return true;
	NEED(!getenv("KSM_CGROUP_REQUIRED"), "this kernel has no memory.ksm");
	/*
	 * The prctl and the files come together: a kernel that takes the one
	 * and lacks the others has lost them, which is no reason to skip.
	 */
	old = prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
	known = !prctl(PR_SET_MEMORY_MERGE, 0, PR_MEMORY_MERGE_DEFAULT, 0, 0);
	if (known && old == 1)
		prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	NEED(!known || !nr_cgs,
	     "PR_MEMORY_MERGE_DEFAULT is there, memory.ksm is not");
	return false;
}

void ksm_need_cgroup(void)
{
	if (!ksm_has_cgroup())
		ksm_skip("this kernel has no memory.ksm");
}

static char *cg_path(const char *cg, const char *file)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", cg, file);
	return path;
}

static int cg_make(const char *path)
{
	if (mkdir(path, 0755))
		return -errno;
	cgs[nr_cgs] = strdup(path);
	return nr_cgs++;
}

const char *cg_new(const char *parent, const char *name)
{
	char path[256];
	int ret;

	if (!parent)
		parent = cg_base;
	if (!nr_cgs)
		ksm_skip("no memory controller on " CGROOT);
	NEED(nr_cgs < MAX_CGS, "more cgroups than a test may have");
	cg_set(parent, "cgroup.subtree_control", "+memory");
	snprintf(path, sizeof(path), "%s/%s", parent, name);
	ret = cg_make(path);
	NEED_GE(ret, 0, "mkdir %s", path);
	return cgs[ret];
}

const char *cg_letter(const char *parent, int nr)
{
	return cg_new(parent, (char[]){ 'a' + nr, '\0' });
}

const char *cg_ksm(const char *parent, const char *name, const char *value)
{
	const char *cg;

	ksm_need_cgroup();
	cg = cg_new(parent, name);
	if (value)
		cg_set(cg, "memory.ksm", value);
	return cg;
}

void cg_ksm_row(const char **cg, int nr, const char *value)
{
	int i;

	for (i = 0; i < nr; i++)
		cg[i] = cg_ksm(NULL, (char[]){ 'a' + i, '\0' }, value);
}

int cg_put(const char *cg, const char *file, const char *value)
{
	return file_put(cg_path(cg, file), value);
}

void cg_set(const char *cg, const char *file, const char *value)
{
	NEED_OK(cg_put(cg, file, value), "%s to %s/%s", value, cg, file);
}

const char *cg_get(const char *cg, const char *file)
{
	static char bufs[4][4096];
	static int turn;
	char *buf = bufs[turn++ % 4];

	NEED_GE(file_get(cg_path(cg, file), buf, sizeof(bufs[0])), 0,
		"%s/%s", cg, file);
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

void cg_control(const char *cg, const char *controller)
{
	char path[256];
	size_t len = strlen(CGROOT);

	do {
		snprintf(path, sizeof(path), "%.*s", (int)len, cg);
		cg_put(path, "cgroup.subtree_control", controller);
		if (cg[len])
			len++;
		len += strcspn(cg + len, "/");
	} while (strlen(path) < strlen(cg));
}

bool cg_has(const char *cg, const char *file)
{
	return !access(cg_path(cg, file), F_OK);
}

void cg_need(const char *cg, const char *file)
{
	if (!cg_has(cg, file))
		ksm_skip("this kernel has no %s", file);
}

long long cg_key(const char *cg, const char *file, const char *key)
{
	long long value = 0;

	NEED(file_key(cg_path(cg, file), key, &value), "no %s in %s", key,
	     cg_path(cg, file));
	return value;
}

/*
 * Have each CPU charge a page to the canary's cgroup, for which it gives back
 * what it charged another in advance.
 */
static void charge_canary(void)
{
	long cpu, nr = sysconf(_SC_NPROCESSORS_ONLN);
	pid_t pid = fork();
	cpu_set_t set;

	if (pid > 0)
		waitpid(pid, NULL, 0);
	if (pid)
		return;
	for (cpu = 0; cpu < nr && !cg_put(cgs[0], "cgroup.procs", "0"); cpu++) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		     MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	}
	_exit(0);
}

/*
 * Cgroups below @cg that were removed and still exist. For as long as nothing
 * happens one may be kept by the batches of pages that each CPU collects for
 * the LRU lists, by page cache, and by a CPU that charged it last and has used
 * up what it charged in advance. All that is dropped.
 */
long long cg_dying(const char *cg)
{
	file_put("/proc/sys/vm/drop_caches", "1");
	charge_canary();
	return cg_key(cg, "cgroup.stat", "nr_dying_descendants");
}

long long cg_stat(const char *cg, const char *key)
{
	return cg_key(cg, "memory.ksm.stat", key);
}

/*
 * From memory.stat. CPUs hold a part of it back, together up to 128 pages each;
 * reading cpu.stat collects that first, up to 6.15.
 */
long long cg_memory_stat(const char *cg, const char *key)
{
	cg_key(cg, "cpu.stat", "usage_usec");
	return cg_key(cg, "memory.stat", key);
}

long long cg_num(const char *cg, const char *file)
{
	return strtoll(cg_get(cg, file), NULL, 10);
}

/*
 * memory.current without what CPUs charged in advance, up to 64 pages each. What
 * processes that exited leave to RCU is still in it.
 */
long long cg_current(const char *cg)
{
	charge_canary();
	return cg_num(cg, "memory.current");
}

bool cg_scan(const char *cg, const char *size)
{
	int err = cg_put(cg, "memory.ksm.scan", size);

	CHECK_OK(err, "%s to memory.ksm.scan", size);
	return !err;
}

int cg_move(const char *cg, pid_t pid)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%d", pid);
	return cg_put(cg, "cgroup.procs", buf);
}

int cg_rmdir(const char *cg)
{
	int i, err = rmdir(cg) ? -errno : 0;

	for (i = 1; !err && i < nr_cgs; i++) {
		if (cgs[i] != cg)
			continue;
		/* the string stays: callers print it */
		memmove(&cgs[i], &cgs[i + 1], (nr_cgs - i - 1) * sizeof(*cgs));
		nr_cgs--;
		break;
	}
	return err;
}

u64 cg_inode(const char *cg)
{
	struct stat st;

	NEED(!stat(cg, &st), "stat %s: %s", cg, strerror(errno));
	return st.st_ino;
}

/* Remove all but the first few, and kill the processes in them. */
void cg_reset(int keep)
{
	while (nr_cgs > keep) {
		const char *cg = cgs[nr_cgs - 1];
		bool gone;

		cg_put(cg, "cgroup.kill", "1");
		gone = WAIT_FOR(!rmdir(cg) || errno == ENOENT);
		if (!gone)
			ksft_print_msg("rmdir %s: %s\n", cg, strerror(errno));
		free(cgs[--nr_cgs]);
	}
}

/* The base, and in it a cgroup for the canary, which stays cgs[0]. */
void cg_start(void)
{
	char path[128];

	snprintf(cg_base, sizeof(cg_base), CGROOT "/ksmtest.%d", getpid());
	file_put(CGROOT "/cgroup.subtree_control", "+memory");
	if (mkdir(cg_base, 0755))
		return;
	if (file_put(cg_path(cg_base, "cgroup.subtree_control"), "+memory"))
		return;
	snprintf(path, sizeof(path), "%s/canary", cg_base);
	cg_make(path);
}

const char *cg_canary(void)
{
	return nr_cgs ? cgs[0] : NULL;
}

void cg_end(void)
{
	cg_reset(0);
	rmdir(cg_base);
}
