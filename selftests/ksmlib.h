/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the ksm_cgroup tests share.
 *
 * A test program is a table of cases; ksm_main() prints the plan, runs each
 * case on a clean slate (scanner stopped, everything unmerged, no cgroup and
 * no worker of the case before) and prints one TAP line for it. A case says
 * CHECK() to note a failure and go on, NEED() to fail and leave, ksm_skip() to
 * leave because the kernel lacks a precondition. A case that noted a failure
 * fails, even if it skips afterwards.
 *
 * No case is decided by a clock: what has to become true is waited for with
 * WAIT_FOR(), whose bound only ends a test that hangs.
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
#define KSM_BOUND	ksm_bound	/* seconds until a wait counts as a hang */

/* ---- cases ---- */

struct ksm_case {
	const char *name;
	void (*fn)(void);
};

int ksm_main(int argc, char **argv, const struct ksm_case *cases, int nr);
__printf(3, 4)
void ksm_failed(const char *file, int line, const char *fmt, ...);
__noreturn __printf(3, 4)
void ksm_fatal(const char *file, int line, const char *fmt, ...);
__noreturn __printf(1, 2) void ksm_skip(const char *fmt, ...);
__printf(1, 2) void ksm_note(const char *fmt, ...);

#define CHECK(cond, ...)						\
	((cond) ? (void)0 : ksm_failed(__FILE__, __LINE__, __VA_ARGS__))
#define NEED(cond, ...)							\
	((cond) ? (void)0 : ksm_fatal(__FILE__, __LINE__, __VA_ARGS__))

long ksm_now(void);		/* seconds, monotonic */
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

extern unsigned long ksm_seed;	/* of every random choice; -s sets it */
extern long ksm_steps;		/* -n; 0: the program's default */
extern long ksm_bound;		/* -t */
unsigned long ksm_random(void);

/* ---- files ---- */

int file_put(const char *path, const char *value);	/* 0 or -errno */
int file_get(const char *path, char *buf, size_t size);	/* length or -errno */
bool file_key(const char *path, const char *key, long long *value);

/* ---- the scanner's knobs; the old values come back at exit ---- */

long long ksm_get(const char *name);
void ksm_set(const char *name, long long value);
void ksm_settle(void);		/* run until all is merged that can be; stop */
void ksm_pass(int rises);	/* let full_scans rise so often; run stays 1 */
void ksm_pass_as(int run, int rises);	/* the same with another run value */
void ksm_stop(void);		/* run = 0 */
void ksm_unmerge_all(void);	/* run = 2 */
const char *task_file(const char *task, const char *name); /* path in /proc or NULL */
const char *ksmd_file(int nr, const char *name);
bool ksmd_waits(void);		/* the first thread, for work or in its pause */
bool ksm_has_cgroup(void);	/* this kernel has memory.ksm */
void ksm_need_cgroup(void);	/* else skip */

/* ---- trace events, recorded by group/name ---- */

#define KSMD_THREADS	8

struct ksmd_pids {
	int pid[KSMD_THREADS];
};

void trace_begin(const char *event, const char *other);	/* other: or NULL */
void ksmd_find(struct ksmd_pids *k);
void trace_only(const struct ksmd_pids *k);	/* what they do, until trace_end() */
FILE *trace_end(void);
long long trace_lost(void);
int trace_ksmd(const char *line, const struct ksmd_pids *k);

/* ---- control groups, named by their full path ---- */

const char *cg_new(const char *parent, const char *name); /* parent or NULL */
int cg_put(const char *cg, const char *file, const char *value);
void cg_set(const char *cg, const char *file, const char *value);
const char *cg_get(const char *cg, const char *file);	/* static, no newline */
bool cg_has(const char *cg, const char *file);
long long cg_stat(const char *cg, const char *key);	/* memory.ksm.stat */
long long cg_dying(const char *cg);
long long cg_key(const char *cg, const char *file, const char *key);
long long cg_num(const char *cg, const char *file);
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

enum w_op {
	OP_MAP, OP_SET, OP_POKE, OP_VERIFY, OP_MADV, OP_PRCTL, OP_SPAWN,
	OP_EXEC, OP_REMAP, OP_UNMAP, OP_PROT, OP_LOCK, OP_PUT, OP_UID,
	OP_DROPCAP, OP_LEADER, OP_PIN, OP_UNPIN, OP_UFFD, OP_UFFD_WP,
	OP_UFFD_ZERO, OP_UFFD_MOVE, OP_DIRTY, OP_READ, OP_THREAD, OP_KNOW, OP_CHURN,
	OP_LOST, OP_EXIT,
};

enum w_map { MAP_PLAIN, MAP_HUGE };
enum w_spawn { SPAWN_FORK, SPAWN_VM, SPAWN_VFORK_EXEC };

struct w_cmd {
	enum w_op op;
	int area;
	long a[5];
	char path[256];
	char text[64];
};

struct worker *w_new(const char *cg);	/* a fresh program, inside cg or NULL */
long w_do(struct worker *w, const struct w_cmd *cmd);	/* >= 0 or -errno */
#define W(w, ...)	w_do(w, &(struct w_cmd){ __VA_ARGS__ })
void w_start(struct worker *w, const struct w_cmd *cmd);	/* and don't wait */
long w_finish(struct worker *w);
bool w_answers(struct worker *w, long *ret);	/* or has died */
bool w_ready(struct worker *w);			/* w_finish() won't wait */

int w_map(struct worker *w, long pages, enum w_map kind);
/* pages first .. first+nr-1 get the contents tag, tag+step, ...; 0 is zeroes */
void w_set(struct worker *w, int area, long first, long nr, u64 tag,
	   long step);
void w_poke(struct worker *w, int area, long page, int off, int value);
void w_poke_new(struct worker *w, int area, long page);	/* a new content */
void w_verify(struct worker *w);	/* every page as written, or the case fails */
long w_bad(struct worker *w, long *sigbus);	/* the same as a number */
void w_madv(struct worker *w, int area, int advice);
long w_madv_at(struct worker *w, int area, long first, long nr, int advice);
long w_prctl(struct worker *w, int op, long a2, long a3, long a4, long a5);
struct worker *w_spawn(struct worker *w, enum w_spawn kind, const char *cg);
#define w_fork(w)	w_spawn(w, SPAWN_FORK, NULL)
void w_exec(struct worker *w);
void w_exit(struct worker *w);		/* returns when its memory is gone */
bool w_alive(struct worker *w);
struct worker *w_dup(const char *cg, long pages, u64 tag, long step);
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

struct frame {
	u64 pfn;		/* FRAME_NONE: not present */
	unsigned int flags;
};

struct frame w_frame(struct worker *w, int area, long page);
void w_frames(struct worker *w, int area, struct frame *f);
long w_count(struct worker *w, int area, unsigned int flags);
#define w_merged(w)	w_count(w, 0, F_KSM)
long w_all_ksm(struct worker *w);	/* merged pages of the whole process */
/* pages of b's area that stand on a frame of a's, compared page by page */
long w_same(struct worker *a, struct worker *b, int area);
/* merged frames that both processes map, over their whole address spaces */
long w_common_ksm(struct worker *a, struct worker *b);
u64 frame_cgroup(u64 pfn);	/* inode of who pays; 0: nobody */
u64 frame_count(u64 pfn);	/* /proc/kpagecount */
bool swap_on(void);		/* zram; off again after the case */
void kswapd_idle(void);		/* reclaims when nobody else runs; until swap_off() */
bool swap_out(const char *cg, struct worker **w, int nr); /* area 0 of all */
void swap_off(void);

#endif
