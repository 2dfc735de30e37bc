// SPDX-License-Identifier: GPL-2.0
/*
 * The test's side of the workers: start them, tell them what to do, and read
 * what the kernel has on them.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ksmlib.h"
#include "ksmwire.h"

static struct worker *workers;
static int listener = -1;
static char name[32];

static socklen_t address(struct sockaddr_un *sun, const char *to)
{
	/* abstract: nothing in a file system that would have to be removed */
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	snprintf(sun->sun_path + 1, sizeof(sun->sun_path) - 1, "%s", to);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(to);
}

int w_connect(const char *to)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un sun;
	socklen_t len = address(&sun, to);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, len))
		_exit(1);
	return fd;
}

static void listen_once(void)
{
	struct sockaddr_un sun;
	socklen_t len;

	if (listener >= 0)
		return;
	snprintf(name, sizeof(name), "ksmtest.%d", getpid());
	len = address(&sun, name);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	NEED(listener >= 0 && !bind(listener, (struct sockaddr *)&sun, len) &&
	     !listen(listener, 64), "socket for workers: %s", strerror(errno));
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* Wait until process @pid connects. */
static void answer(struct worker *w, pid_t pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	NEED(readable(listener, KSM_BOUND * 1000),
	     "worker %d does not connect", pid);
	w->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	NEED(w->fd >= 0, "accept: %s", strerror(errno));
	NEED(!getsockopt(w->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len),
	     "SO_PEERCRED: %s", strerror(errno));
	NEED_EQ(peer.pid, pid, "the wrong process connects");
	w->pid = pid;
	if (w->pidfd < 0)
		w->pidfd = syscall(SYS_pidfd_open, pid, 0);
	NEED(w->pidfd >= 0, "pidfd of %d: %s", pid, strerror(errno));
}

static struct worker *handle(void)
{
	struct worker *w = calloc(1, sizeof(*w));

	NEED(w, "no memory");
	w->fd = -1;
	w->pidfd = -1;
	w->next = workers;
	workers = w;
	return w;
}

struct worker *w_new(const char *cg)
{
	struct worker *w;
	pid_t pid;

	listen_once();
	w = handle();
	pid = fork();
	NEED(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		/* enter the cgroup before exec */
		if (cg && cg_put(cg, "cgroup.procs", "0"))
			_exit(2);
		signal(SIGALRM, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		execl("/proc/self/exe", "ksm-worker", name, NULL);
		_exit(3);
	}
	answer(w, pid);
	return w;
}

/* ---- commands ---- */

static void w_start(struct worker *w, const struct w_cmd *cmd)
{
	NEED(send(w->fd, cmd, sizeof(*cmd), MSG_NOSIGNAL) == sizeof(*cmd),
	     "worker %d is gone", w->pid);
}

bool w_ready(struct worker *w)
{
	return readable(w->fd, 0);
}

/* What the kernel says of a hang, on the console. */
static void tell_blocked(void)
{
	static const char * const keys[] = { "w", "l", "m" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		file_put("/proc/sysrq-trigger", keys[i]);
}

bool w_answers(struct worker *w, long *ret)
{
	bool answers = readable(w->fd, KSM_BOUND * 1000);
	struct w_reply r;

	if (!answers)
		tell_blocked();
	NEED(answers, "worker %d hangs", w->pid);
	if (recv(w->fd, &r, sizeof(r), 0) != sizeof(r))
		return false;
	*ret = r.ret;
	return true;
}

long w_finish(struct worker *w)
{
	int status = 0;
	long ret = 0;

	if (!w_answers(w, &ret)) {
		readable(w->pidfd, KSM_BOUND * 1000);
		waitpid(w->pid, &status, WNOHANG);
		NEED(false, "worker %d died, status %x", w->pid, status);
	}
	return ret;
}

static long w_do(struct worker *w, const struct w_cmd *cmd)
{
	w_start(w, cmd);
	return w_finish(w);
}

#define W(w, ...)	w_do(w, &(struct w_cmd){ __VA_ARGS__ })

int w_map(struct worker *w, long pages, enum w_map kind)
{
	int i;
	long ret;

	for (i = 0; i < W_AREAS && w->area[i].pages; i++)
		;
	NEED(i < W_AREAS, "no area left");
	ret = W(w, .op = OP_MAP, .area = i, .a = { pages, kind });
	NEED_GT(ret, 0, "mapping %ld pages", pages);
	w->area[i].addr = ret;
	w->area[i].pages = pages;
	return i;
}

void w_set(struct worker *w, int area, long first, long nr, u64 tag,
	   long step)
{
	NEED_OK(W(w, .op = OP_SET, .area = area,
		  .a = { first, nr, tag, step }));
}

void w_set_start(struct worker *w, long first, long nr, u64 tag, long step)
{
	const struct w_cmd cmd = { .op = OP_SET, .a = { first, nr, tag, step } };

	w_start(w, &cmd);
}

void w_poke(struct worker *w, int area, long page, int off, int value)
{
	NEED_OK(W(w, .op = OP_POKE, .area = area, .a = { page, off, value }));
}

void w_poke_new(struct worker *w, int area, long page)
{
	static u64 fresh = 0x7700000000000000ULL;

	w_set(w, area, page, 1, ++fresh, 0);
}

void w_expect(struct worker *w, long page, int off, int value)
{
	NEED_OK(W(w, .op = OP_EXPECT, .a = { page, off, value }));
}

void w_dirty(struct worker *w, long page)
{
	NEED_OK(W(w, .op = OP_DIRTY, .a = { page }));
}

void w_read(struct worker *w, int area, long first, long nr)
{
	NEED_GE(W(w, .op = OP_READ, .area = area, .a = { first, nr }), 0);
}

long w_bad_in(struct worker *w, int area)
{
	return W(w, .op = OP_VERIFY, .area = area);
}

long w_bad(struct worker *w, long *sigbus)
{
	long bad = 0, bus = 0, ret;
	int i;

	for (i = 0; i < W_AREAS; i++) {
		if (!w->area[i].pages)
			continue;
		ret = w_bad_in(w, i);
		NEED_GE(ret, 0);
		bad += ret & 0xffffffff;
		bus += ret >> 32;
	}
	if (sigbus)
		*sigbus = bus;
	return bad;
}

void w_verify(struct worker *w)
{
	long bus = 0, bad = w_bad(w, &bus);

	CHECK(!bad && !bus, "worker %d reads %ld wrong pages, %ld lost ones",
	      w->pid, bad, bus);
}

long w_madv_at(struct worker *w, int area, long first, long nr, int advice)
{
	return W(w, .op = OP_MADV, .area = area, .a = { first, nr, advice });
}

void w_madv(struct worker *w, int area, int advice)
{
	NEED_OK(w_madv_at(w, area, 0, w->area[area].pages, advice),
		"advice %d", advice);
}

long w_remap(struct worker *w)
{
	long ret = W(w, .op = OP_REMAP);

	if (ret < 0)
		return ret;
	w->area[0].addr = ret;
	return 0;
}

void w_unmap(struct worker *w, long first, long nr)
{
	NEED_OK(W(w, .op = OP_UNMAP, .a = { first, nr, false }));
}

void w_replace(struct worker *w, long first, long nr)
{
	NEED_OK(W(w, .op = OP_UNMAP, .a = { first, nr, true }));
}

void w_protect(struct worker *w, long first, long nr, int prot)
{
	NEED_OK(W(w, .op = OP_PROTECT, .a = { first, nr, prot }));
}

long w_lock(struct worker *w, long first, long nr)
{
	return W(w, .op = OP_LOCK, .a = { first, nr, true });
}

long w_unlock(struct worker *w, long first, long nr)
{
	return W(w, .op = OP_LOCK, .a = { first, nr, false });
}

void w_pin(struct worker *w, long first, long nr)
{
	NEED_OK(W(w, .op = OP_PIN, .a = { first, nr }));
}

void w_unpin(struct worker *w)
{
	NEED_OK(W(w, .op = OP_UNPIN));
}

long w_uffd(struct worker *w, int area, int mode)
{
	return W(w, .op = OP_UFFD, .area = area, .a = { mode });
}

void w_uffd_wp(struct worker *w, long first, long nr, bool protect)
{
	NEED_OK(W(w, .op = OP_UFFD_WP, .a = { first, nr, protect }));
}

void w_uffd_zero(struct worker *w, int area, long first, long nr)
{
	NEED_OK(W(w, .op = OP_UFFD_ZERO, .area = area, .a = { first, nr }));
}

long w_uffd_move(struct worker *w, int area, long page, long nr, int to)
{
	return W(w, .op = OP_UFFD_MOVE, .area = area, .a = { page, nr, to });
}

long w_lost(struct worker *w)
{
	return W(w, .op = OP_LOST);
}

long w_prctl(struct worker *w, int op, long a2, long a3, long a4, long a5)
{
	return W(w, .op = OP_PRCTL, .a = { op, a2, a3, a4, a5 });
}

void w_setuid(struct worker *w, uid_t uid)
{
	NEED_OK(W(w, .op = OP_SETUID, .a = { uid }));
}

void w_dropcap(struct worker *w, int cap)
{
	NEED_OK(W(w, .op = OP_DROPCAP, .a = { cap }));
}

long w_put(struct worker *w, const char *path, const char *text)
{
	struct w_cmd cmd = { .op = OP_PUT };

	snprintf(cmd.path, sizeof(cmd.path), "%s", path);
	snprintf(cmd.text, sizeof(cmd.text), "%s", text);
	return w_do(w, &cmd);
}

long w_thread(struct worker *w)
{
	long tid = W(w, .op = OP_THREAD);

	NEED_GT(tid, 0);
	return tid;
}

void w_drop_leader(struct worker *w)
{
	long tid = W(w, .op = OP_DROP_LEADER);

	NEED_GT(tid, 0);
	w->pid = tid;
}

long w_run(struct worker *w, w_fn *fn, int area, long arg)
{
	/* the same program, at another address */
	long place = (char *)fn - (char *)w_worker;

	return W(w, .op = OP_RUN, .area = area, .a = { place, arg });
}

void w_churn_start(struct worker *w, long rounds, u64 seed, long kinds,
		   const char *path)
{
	struct w_cmd cmd = { .op = OP_CHURN, .a = { rounds, seed, kinds } };

	if (path)
		snprintf(cmd.path, sizeof(cmd.path), "%s", path);
	w_start(w, &cmd);
}

struct worker *w_spawn(struct worker *w, enum w_spawn kind, const char *cg)
{
	struct w_cmd cmd = { .op = OP_SPAWN, .a = { kind } };
	struct worker *child = handle();
	long pid;

	if (cg)
		snprintf(cmd.path, sizeof(cmd.path), "%s", cg);
	pid = w_do(w, &cmd);
	NEED_GT(pid, 0, "kind %d", kind);
	if (kind != SPAWN_VFORK_EXEC)
		memcpy(child->area, w->area, sizeof(w->area));
	answer(child, pid);
	return child;
}

void w_exec_file(struct worker *w, const char *path)
{
	struct w_cmd c = { .op = OP_EXEC };

	snprintf(c.path, sizeof(c.path), "%s", path);
	w_start(w, &c);
	close(w->fd);
	w->fd = -1;
	memset(w->area, 0, sizeof(w->area));
	answer(w, w->pid);
}

bool w_alive(struct worker *w)
{
	return w->pidfd >= 0 && !readable(w->pidfd, 0);
}

/* A process's end is signalled after its memory was freed. */
static bool gone(struct worker *w)
{
	if (w->pidfd < 0)
		return true;
	if (!readable(w->pidfd, KSM_BOUND * 1000))
		return false;
	waitpid(w->pid, NULL, WNOHANG);
	close(w->pidfd);
	if (w->fd >= 0)
		close(w->fd);
	w->pidfd = -1;
	w->fd = -1;
	return true;
}

void w_exit(struct worker *w)
{
	w_start(w, &(struct w_cmd){ .op = OP_EXIT });
	NEED(gone(w), "worker %d does not exit", w->pid);
}

void w_reset(void)
{
	struct worker *w;

	while (workers) {
		w = workers;
		workers = w->next;
		if (w->pidfd >= 0) {
			syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL,
				0);
			gone(w);
		}
		free(w);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}
