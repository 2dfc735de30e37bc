/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the ksm_cgroup tests share.
 *
 * A test program is a table of cases; ksm_main() prints the plan, runs each
 * case on a clean slate (scanner stopped, everything unmerged, no cgroup and
 * no worker of the case before) and prints one TAP line for it. CHECK() and its
 * kind note a failure and go on, NEED() and its kind fail and leave the case,
 * ksm_skip() leaves it because the kernel lacks a precondition. A case with a
 * noted failure fails, even if it skips afterwards.
 *
 * No case is decided by a clock: what has to become true is waited for, with a
 * bound that only ends a test that hangs.
 */
#ifndef KSMLIB_H
#define KSMLIB_H

#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

#include "../kselftest.h"

typedef __u64 u64;
typedef __s16 s16;
typedef __u8 u8;

#define BIT(nr)		(1U << (nr))
#define BIT_ULL(nr)	(1ULL << (nr))

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#define PR_GET_MEMORY_MERGE	68
#endif
#ifndef PR_MEMORY_MERGE_DEFAULT
#define PR_MEMORY_MERGE_DEFAULT	1
#endif

#define CGROOT		"/sys/fs/cgroup"
#define KSM_SYSFS	"/sys/kernel/mm/ksm/"
#define PAGE_SZ		4096UL
#define HUGE_SZ		(512 * PAGE_SZ)
#define KSM_BOUND	ksm_bound	/* seconds until a wait is a hang */

/* ---- cases ---- */

struct ksm_case {
	const char *name;
	void (*fn)(void);
};

int ksm_main(int argc, char **argv, const struct ksm_case *cases, int nr);
__noreturn __printf(1, 2) void ksm_skip(const char *fmt, ...);
__printf(1, 2) void ksm_note(const char *fmt, ...);

extern unsigned long ksm_seed;	/* seeds every random choice; -s sets it */
extern long ksm_steps;		/* -n; 0: the program's default */
extern long ksm_bound;		/* -t; KSM_BOUND in the environment sets it */
unsigned long ksm_random(void);

/* ---- checks ---- */

/*
 * CHECK(cond, fmt, ...) and NEED(cond, fmt, ...) are for what is true or not.
 * The message must not read again what the condition has read.
 */
#define CHECK(cond, ...)						\
	((cond) ? (void)0 : ksm_failed(__FILE__, __LINE__, __VA_ARGS__))
#define NEED(cond, ...)							\
	((cond) ? (void)0 : ksm_fatal(__FILE__, __LINE__, __VA_ARGS__))

/*
 * CHECK_EQ(got, want[, fmt, ...]) and the like compare integers. Each argument
 * is evaluated once, and the values that were compared are printed, with the
 * expression; the message only has to say what is special about this check.
 */
#define CHECK_EQ(got, want, ...)					\
	KSM_COMPARE(false, #got, got, ==, want, ##__VA_ARGS__)
#define CHECK_NE(got, want, ...)					\
	KSM_COMPARE(false, #got, got, !=, want, ##__VA_ARGS__)
#define CHECK_GE(got, want, ...)					\
	KSM_COMPARE(false, #got, got, >=, want, ##__VA_ARGS__)
#define CHECK_GT(got, want, ...)					\
	KSM_COMPARE(false, #got, got, >, want, ##__VA_ARGS__)
#define CHECK_LE(got, want, ...)					\
	KSM_COMPARE(false, #got, got, <=, want, ##__VA_ARGS__)
#define CHECK_LT(got, want, ...)					\
	KSM_COMPARE(false, #got, got, <, want, ##__VA_ARGS__)
#define NEED_EQ(got, want, ...)						\
	KSM_COMPARE(true, #got, got, ==, want, ##__VA_ARGS__)
#define NEED_GE(got, want, ...)						\
	KSM_COMPARE(true, #got, got, >=, want, ##__VA_ARGS__)
#define NEED_GT(got, want, ...)						\
	KSM_COMPARE(true, #got, got, >, want, ##__VA_ARGS__)

/* The same for strings. */
#define CHECK_STR(got, want, ...) do {					\
	const char *__got = (got), *__want = (want);			\
	if (strcmp(__got, __want))					\
		ksm_mismatch_str(__FILE__, __LINE__, #got, __got,	\
				 __want, " " __VA_ARGS__);		\
} while (0)

/* For calls that return 0 or a negative errno, which is printed by name. */
#define CHECK_OK(err, ...)						\
	KSM_SUCCEED(false, #err, err, ##__VA_ARGS__)
#define NEED_OK(err, ...)						\
	KSM_SUCCEED(true, #err, err, ##__VA_ARGS__)

/*
 * Wait until it is so. Both arguments are evaluated once at each look, and the
 * values of the last look are printed.
 */
#define CHECK_WAIT_EQ(got, want, ...)					\
	KSM_AWAIT(false, #got, got, ==, want, ##__VA_ARGS__)
#define CHECK_WAIT_GE(got, want, ...)					\
	KSM_AWAIT(false, #got, got, >=, want, ##__VA_ARGS__)
#define CHECK_WAIT_LE(got, want, ...)					\
	KSM_AWAIT(false, #got, got, <=, want, ##__VA_ARGS__)
#define NEED_WAIT_EQ(got, want, ...)					\
	KSM_AWAIT(true, #got, got, ==, want, ##__VA_ARGS__)
#define NEED_WAIT_GE(got, want, ...)					\
	KSM_AWAIT(true, #got, got, >=, want, ##__VA_ARGS__)
#define NEED_WAIT_GT(got, want, ...)					\
	KSM_AWAIT(true, #got, got, >, want, ##__VA_ARGS__)
#define NEED_WAIT_OK(err, ...)						\
	KSM_AWAIT(true, #err, err, ==, 0, ##__VA_ARGS__)

/* The same for a condition; false after the bound. */
#define WAIT_FOR(cond) ({						\
	long __end = ksm_now() + KSM_BOUND;				\
	bool __ok;							\
	for (;;) {							\
		__ok = (cond);						\
		if (__ok || ksm_now() >= __end)				\
			break;						\
		usleep(10000);						\
	}								\
	__ok; })

/* The leading blank makes a format of no message, too. */
#define KSM_COMPARE(fatal, text, got, op, want, ...) do {		\
	long long __got = (got), __want = (want);			\
	if (!(__got op __want))						\
		ksm_mismatch(fatal, __FILE__, __LINE__, text, #op,	\
			     __got, __want, " " __VA_ARGS__);		\
} while (0)
#define KSM_SUCCEED(fatal, text, err, ...) do {				\
	long __err = (err);						\
	if (__err)							\
		ksm_refused(fatal, __FILE__, __LINE__, text, __err,	\
			    " " __VA_ARGS__);				\
} while (0)
#define KSM_AWAIT(fatal, text, got, op, want, ...) do {			\
	long __end = ksm_now() + KSM_BOUND;				\
	for (;;) {							\
		long long __got = (got), __want = (want);		\
		if (__got op __want)					\
			break;						\
		if (ksm_now() >= __end) {				\
			ksm_mismatch(fatal, __FILE__, __LINE__, text,	\
				     #op, __got, __want,		\
				     " " __VA_ARGS__);			\
			break;						\
		}							\
		usleep(10000);						\
	}								\
} while (0)

long ksm_now(void);		/* seconds, monotonic */
__printf(3, 4)
void ksm_failed(const char *file, int line, const char *fmt, ...);
__noreturn __printf(3, 4)
void ksm_fatal(const char *file, int line, const char *fmt, ...);
__printf(8, 9)
void ksm_mismatch(bool fatal, const char *file, int line, const char *text,
		  const char *op, long long got, long long want,
		  const char *fmt, ...);
__printf(6, 7)
void ksm_mismatch_str(const char *file, int line, const char *text,
		      const char *got, const char *want, const char *fmt, ...);
__printf(6, 7)
void ksm_refused(bool fatal, const char *file, int line, const char *text,
		 long err, const char *fmt, ...);

/* ---- files ---- */

int file_put(const char *path, const char *value);	/* 0 or -errno */
int file_get(const char *path, char *buf, size_t size);	/* length or -errno */
bool file_key(const char *path, const char *key, long long *value);

/* ---- the scanner's knobs; the old values come back at exit ---- */

long long ksm_get(const char *name);
void ksm_set(const char *name, long long value);
void ksm_settle(void);		/* run until all is merged that can be; stop */
void ksm_pass(int rises);	/* let full_scans rise so often; ksmd goes on */
void ksm_pass_as(int run, int cgroups, int rises);	/* as ksm_run_as() */
void ksm_batch(void);		/* one batch, then ksmd sleeps */
void ksmd_idle(void);		/* start, and let ksmd sleep for the case */
void ksm_run_as(int run, int cgroups);	/* set run and run_cgroups */
void ksm_start(void);		/* both are 1 */
void ksm_stop(void);		/* both are 0, and all work is booked */
void ksm_unmerge_all(void);	/* run = 2 */
/* path of a file in /proc, or NULL */
const char *task_file(const char *task, const char *name);
const char *ksmd_file(int nr, const char *name);
bool ksmd_waits(void);		/* all threads, for work or in the pause */
bool ksm_has_cgroup(void);	/* this kernel has memory.ksm */
void ksm_need_cgroup(void);	/* else skip */
void ksm_knobs_save(void);
void ksm_knobs_during(void);	/* as a case finds them */
void ksm_knobs_restore(void);

/* ---- trace events, recorded by group/name ---- */

#define KSMD_THREADS	8

struct ksmd_pids {
	int pid[KSMD_THREADS];
};

void trace_begin(const char *event, const char *other);	/* other: or NULL */
void trace_filter(int nr, const char *filter);	/* of an event: 0 or 1 */
void trace_only(const struct ksmd_pids *k);	/* events of these threads */
void trace_until(const char *event, const char *filter); /* the last one */
const char *trace_next(void);	/* reads one event; NULL: no more by now */
void trace_end(void);		/* what is recorded can still be read */
void trace_complete(void);	/* fails the case if an event was lost */
void trace_reset(void);
void ksmd_find(struct ksmd_pids *k);
int trace_ksmd(const char *line, const struct ksmd_pids *k);

/* ---- allocations that fail ---- */

enum fail_kind { FAIL_SLAB, FAIL_PAGES };

/*
 * Until fail_end(), all allocations of a kind by a function of the kernel and
 * its callees fail; unless @waiting, only those that must not wait for memory.
 */
void fail_below(enum fail_kind kind, const char *function, bool waiting);
long long fail_hits(void);	/* so many have failed */
void fail_after(long nr);	/* let so many pages pass first */
long fail_spared(void);		/* so many still pass */
void fail_end(void);

/* ---- control groups, named by their full path ---- */

const char *cg_new(const char *parent, const char *name); /* parent or NULL */
const char *cg_letter(const char *parent, int nr);	/* "a" for 0, ... */
/* skips without memory.ksm; value: NULL leaves the default */
const char *cg_ksm(const char *parent, const char *name, const char *value);
void cg_ksm_row(const char **cg, int nr, const char *value); /* siblings */
int cg_put(const char *cg, const char *file, const char *value);
void cg_set(const char *cg, const char *file, const char *value);
const char *cg_get(const char *cg, const char *file);	/* static, no newline */
bool cg_has(const char *cg, const char *file);
void cg_need(const char *cg, const char *file);		/* else skip */
/* "+cpu" for the children of @cg; it may not exist here */
void cg_control(const char *cg, const char *controller);
long long cg_stat(const char *cg, const char *key);	/* memory.ksm.stat */
long long cg_dying(const char *cg);
long long cg_key(const char *cg, const char *file, const char *key);
long long cg_num(const char *cg, const char *file);
long long cg_memory_stat(const char *cg, const char *key);	/* exact */
long long cg_current(const char *cg);	/* memory.current, exact */
/* write to memory.ksm.scan; false, and a failure of the case, on an error */
bool cg_scan(const char *cg, const char *size);
int cg_move(const char *cg, pid_t pid);			/* 0 or -errno */
int cg_rmdir(const char *cg);				/* 0 or -errno */
u64 cg_inode(const char *cg);
void cg_start(void);
const char *cg_canary(void);
void cg_reset(int keep);
void cg_end(void);

/* ---- workers: processes that do what they are told, and no more ---- */

#define W_AREAS	8

struct worker {
	int fd;			/* control socket */
	int pidfd;
	pid_t pid;		/* names it in /proc (a thread's id at times) */
	struct {
		unsigned long addr;
		long pages;
	} area[W_AREAS];
	struct worker *next;
};

enum w_map { MAP_PLAIN, MAP_HUGE };
enum w_spawn { SPAWN_FORK, SPAWN_VM, SPAWN_VFORK_EXEC };

/*
 * One function for each thing that a worker can do. A range is @nr pages from
 * page @first on; a function without @area means area 0. What returns void
 * fails the case when the worker cannot do it; what returns a long gives 0, or
 * what is said here, or -errno.
 */

/* a fresh program, in @cg if that is not NULL */
struct worker *w_new(const char *cg);
/* map an area; returns its number */
int w_map(struct worker *w, long pages, enum w_map kind);
/* write the contents @tag, @tag + @step, ...; 0 is zeroes */
void w_set(struct worker *w, int area, long first, long nr, u64 tag,
	   long step);
/* the same, not waited for: w_answers() tells whether it survived */
void w_set_start(struct worker *w, long first, long nr, u64 tag, long step);
/* write one byte */
void w_poke(struct worker *w, int area, long page, int off, int value);
/* write a content that is nowhere else */
void w_poke_new(struct worker *w, int area, long page);
/* another process wrote this byte */
void w_expect(struct worker *w, long page, int off, int value);
/* write without changing the content */
void w_dirty(struct worker *w, long page);
/* read a byte of each page */
void w_read(struct worker *w, int area, long first, long nr);
/* compare all pages with what was written; a difference fails the case */
void w_verify(struct worker *w);
/* the same as the number of wrong pages; @sigbus: of lost ones, or NULL */
long w_bad(struct worker *w, long *sigbus);
/* the same for one area, with lost pages in the upper half */
long w_bad_in(struct worker *w, int area);
/* madvise() on a whole area */
void w_madv(struct worker *w, int area, int advice);
/* madvise() on a range */
long w_madv_at(struct worker *w, int area, long first, long nr, int advice);
/* mremap() area 0 to another address; -EFAULT if it is several mappings */
long w_remap(struct worker *w);
/* munmap(), leaving a gap */
void w_unmap(struct worker *w, long first, long nr);
/* munmap(), and new empty memory in its place */
void w_replace(struct worker *w, long first, long nr);
/* mprotect() */
void w_protect(struct worker *w, long first, long nr, int prot);
/* mlock() */
long w_lock(struct worker *w, long first, long nr);
/* munlock() */
long w_unlock(struct worker *w, long first, long nr);
/* take a reference on the pages by vmsplice() into a pipe */
void w_pin(struct worker *w, long first, long nr);
/* drop all references of w_pin() */
void w_unpin(struct worker *w);
/* UFFDIO_REGISTER an area with these modes */
long w_uffd(struct worker *w, int area, int mode);
/* UFFDIO_WRITEPROTECT */
void w_uffd_wp(struct worker *w, long first, long nr, bool protect);
/* UFFDIO_ZEROPAGE */
void w_uffd_zero(struct worker *w, int area, long first, long nr);
/* UFFDIO_MOVE to the same pages of area @to */
long w_uffd_move(struct worker *w, int area, long page, long nr, int to);
/* the page that SIGBUS told about since the last call; -ENOENT for none */
long w_lost(struct worker *w);
/* prctl() */
long w_prctl(struct worker *w, int op, long a2, long a3, long a4, long a5);
/* setresuid() */
void w_setuid(struct worker *w, uid_t uid);
/* give up a capability */
void w_dropcap(struct worker *w, int cap);
/* write to a file; 0 or -errno */
long w_put(struct worker *w, const char *path, const char *text);
/*
 * call a function of the test in the worker, for what is not in this list; what
 * it writes to the area has to be told by w_expect()
 */
typedef long w_fn(unsigned char *mem, long pages, long arg);
long w_run(struct worker *w, w_fn *fn, int area, long arg);
/* a thread that sleeps; returns its id */
long w_thread(struct worker *w);
/* end the first thread: a second one carries on, and names the worker */
void w_drop_leader(struct worker *w);
/* a child by fork, vfork and exec, or clone; @cg: into that cgroup, or NULL */
struct worker *w_spawn(struct worker *w, enum w_spawn kind, const char *cg);
#define w_fork(w)	w_spawn(w, SPAWN_FORK, NULL)
/* execve(): areas are gone */
#define w_exec(w)	w_exec_file(w, "")
/* the same with a copy of this program, which may be set-user-ID */
void w_exec_file(struct worker *w, const char *path);
/* exit; returns when the memory is gone */
void w_exit(struct worker *w);
/*
 * Write and compare at random, @rounds times, contents 1 to @kinds. @path: a
 * file that holds these, for O_DIRECT reads, or NULL. Not waited for:
 * w_finish() returns the number of wrong pages.
 */
void w_churn_start(struct worker *w, long rounds, u64 seed, long kinds,
		   const char *path);

bool w_ready(struct worker *w);			/* w_finish() won't wait */
long w_finish(struct worker *w);
bool w_answers(struct worker *w, long *ret);	/* or has died */
bool w_alive(struct worker *w);

/* a new worker whose area 0 has the contents @tag, @tag + @step, ... */
struct worker *w_dup(const char *cg, long pages, u64 tag, long step);
/* the same with MADV_MERGEABLE on it */
struct worker *w_asker(const char *cg, long pages, u64 tag, long step);
/* two with equal contents, no two pages of one being equal */
void w_twins(struct worker **w, const char *cg, long pages, u64 tag);
long long w_stat(struct worker *w, const char *key);	/* /proc/PID/ksm_stat */
long long w_merging(struct worker *w);	/* /proc/PID/ksm_merging_pages */
int w_worker(int argc, char **argv);	/* the other side */
void w_reset(void);

/* ---- frames: what the page tables really say ---- */

#define FRAME_NONE	0
#define F_KSM		BIT(0)
#define F_ZERO		BIT(1)
#define F_SWAP		BIT(2)
#define F_HUGE		BIT(3)
#define F_SOFTDIRTY	BIT(4)
#define F_UFFDWP	BIT(5)
#define F_POISON	BIT(6)
#define F_REFERENCED	BIT(7)
#define F_ACTIVE	BIT(8)

struct frame {
	u64 pfn;		/* FRAME_NONE: not present */
	unsigned int flags;
};

struct frame w_frame(struct worker *w, int area, long page);
void w_frames(struct worker *w, int area, struct frame *f);
long w_count(struct worker *w, int area, unsigned int flags);
#define w_merged(w)	w_count(w, 0, F_KSM)
#define w_zeroes(w)	w_count(w, 0, F_ZERO)
long w_all_ksm(struct worker *w);	/* merged pages of the whole process */
/* pages of b's area that map the same frame as in a's, page by page */
long w_same(struct worker *a, struct worker *b, int area);
/* merged frames that both processes map, over their whole address spaces */
long w_common_ksm(struct worker *a, struct worker *b);
u64 frame_cgroup(u64 pfn);	/* inode of the cgroup that is charged, or 0 */
u64 frame_count(u64 pfn);	/* /proc/kpagecount */
bool swap_on(void);		/* zram; off again after the case */
void swap_need(void);		/* else skip */
/* vm.min_free_kbytes until swap_off(); 0: as it was found */
void min_free_set(long kb);
bool swap_out(const char *cg, struct worker **w, int nr); /* area 0 of all */
void swap_off(void);

#endif
