// SPDX-License-Identifier: GPL-2.0
/*
 * The controller's side of the workers: starting them, telling them what to do
 * and looking at what the kernel says of them.
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

/* Wait for pid's call; w is filled in with it. */
static void answer(struct worker *w, pid_t pid)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	NEED(readable(listener, KSM_BOUND * 1000), "worker %d does not call", pid);
	w->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	NEED(w->fd >= 0, "accept: %s", strerror(errno));
	NEED(!getsockopt(w->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) &&
	     who.pid == pid, "%d called instead of %d", who.pid, pid);
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
		/* settle in before the program that is tested starts */
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

void w_start(struct worker *w, const struct w_cmd *cmd)
{
	NEED(send(w->fd, cmd, sizeof(*cmd), MSG_NOSIGNAL) == sizeof(*cmd),
	     "worker %d is gone", w->pid);
}

bool w_ready(struct worker *w)
{
	return readable(w->fd, 0);
}

bool w_answers(struct worker *w, long *ret)
{
	struct w_reply r;

	NEED(readable(w->fd, KSM_BOUND * 1000), "worker %d hangs", w->pid);
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

long w_do(struct worker *w, const struct w_cmd *cmd)
{
	w_start(w, cmd);
	return w_finish(w);
}

int w_map(struct worker *w, long pages, enum w_map kind)
{
	int i;
	long ret;

	for (i = 0; i < W_AREAS && w->area[i].pages; i++)
		;
	NEED(i < W_AREAS, "no area left");
	ret = W(w, .op = OP_MAP, .area = i, .a = { pages, kind });
	NEED(ret > 0, "mapping %ld pages: %s", pages, strerror(-ret));
	w->area[i].addr = ret;
	w->area[i].pages = pages;
	return i;
}

void w_set(struct worker *w, int area, long first, long nr, u64 tag,
	   long step)
{
	long ret = W(w, .op = OP_SET, .area = area,
		     .a = { first, nr, tag, step });

	NEED(!ret, "filling: %s", strerror(-ret));
}

void w_poke(struct worker *w, int area, long page, int off, int value)
{
	long ret = W(w, .op = OP_POKE, .area = area, .a = { page, off, value });

	NEED(!ret, "poking: %s", strerror(-ret));
}

void w_poke_new(struct worker *w, int area, long page)
{
	static u64 fresh = 0x7700000000000000ULL;

	w_set(w, area, page, 1, ++fresh, 0);
}

long w_bad(struct worker *w, long *sigbus)
{
	long bad = 0, bus = 0, ret;
	int i;

	for (i = 0; i < W_AREAS; i++) {
		if (!w->area[i].pages)
			continue;
		ret = W(w, .op = OP_VERIFY, .area = i);
		NEED(ret >= 0, "verifying: %s", strerror(-ret));
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
	long ret = w_madv_at(w, area, 0, w->area[area].pages, advice);

	NEED(!ret, "madvise(%d): %s", advice, strerror(-ret));
}

long w_prctl(struct worker *w, int op, long a2, long a3, long a4, long a5)
{
	return W(w, .op = OP_PRCTL, .a = { op, a2, a3, a4, a5 });
}

struct worker *w_spawn(struct worker *w, enum w_spawn kind, const char *cg)
{
	struct w_cmd cmd = { .op = OP_SPAWN, .a = { kind } };
	struct worker *child = handle();
	long pid;

	if (cg)
		snprintf(cmd.path, sizeof(cmd.path), "%s", cg);
	pid = w_do(w, &cmd);
	NEED(pid > 0, "spawning (%d): %s", kind, strerror(-pid));
	if (kind != SPAWN_VFORK_EXEC)
		memcpy(child->area, w->area, sizeof(w->area));
	answer(child, pid);
	return child;
}

void w_exec(struct worker *w)
{
	w_start(w, &(struct w_cmd){ .op = OP_EXEC });
	close(w->fd);
	w->fd = -1;
	memset(w->area, 0, sizeof(w->area));
	answer(w, w->pid);
}

bool w_alive(struct worker *w)
{
	return w->pidfd >= 0 && !readable(w->pidfd, 0);
}

/* A process's end is told after its memory was given back. */
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
			syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
			gone(w);
		}
		free(w);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

struct worker *w_dup(const char *cg, long pages, u64 tag, long step)
{
	struct worker *w = w_new(cg);
	int area = w_map(w, pages, MAP_PLAIN);

	w_set(w, area, 0, pages, tag, step);
	return w;
}

long long w_stat(struct worker *w, const char *key)
{
	char path[64];
	long long value = 0;

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", w->pid);
	NEED(file_key(path, key, &value), "no %s in %s", key, path);
	return value;
}

long long w_merging(struct worker *w)
{
	char path[64], buf[32];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", w->pid);
	NEED(file_get(path, buf, sizeof(buf)) > 0, "reading %s", path);
	return strtoll(buf, NULL, 10);
}
