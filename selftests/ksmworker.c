// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: a small process that maps, fills and checks memory as it is told
 * over a socket, one command at a time, and touches nothing in between. A
 * forked worker opens a connection of its own to the test.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ksmlib.h"
#include "ksmspan.h"
#include "ksmwire.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFDIO_MOVE		/* since 6.8 */
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};

#define UFFDIO_MOVE	_IOWR(UFFDIO, 5, struct uffdio_move)
#endif

static struct span spans[W_AREAS];
static const char *call_back;		/* name of the test's socket */
static int pin_fd[2] = { -1, -1 };
static int uffd = -1;

/* ---- commands ---- */

static long do_map(struct span *s, const struct w_cmd *c)
{
	unsigned long len = c->a[0] * PAGE_SZ, slack = 0;
	unsigned long at;
	void *p;

	if (c->a[1] == MAP_HUGE)
		slack = HUGE_SZ;
	p = mmap(NULL, len + 2 * slack,
		 slack ? PROT_NONE : PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (slack) {
		/* an aligned piece; the rest stays inaccessible */
		at = ((unsigned long)p + slack) & ~(slack - 1);
		p = mmap((void *)at, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (p == MAP_FAILED || madvise(p, len, MADV_HUGEPAGE))
			return -errno;
	} else if (madvise(p, len, MADV_NOHUGEPAGE) && errno != EINVAL) {
		return -errno;
	}
	s->want = span_record(c->a[0]);
	if (!s->want)
		return -ENOMEM;
	s->mem = p;
	s->pages = c->a[0];
	span_forget(s, 0, s->pages);
	return (long)p;
}

static long do_set(struct span *s, const struct w_cmd *c)
{
	long i, first = c->a[0], nr = c->a[1];
	u64 tag = c->a[2];

	for (i = first; i < first + nr; i++, tag += c->a[3])
		span_fill(s, i, tag);
	return 0;
}

/* Advice that destroys; a range that is locked in part is destroyed in part. */
static long give_up(struct span *s, long page, int advice)
{
	if (madvise(s->mem + page * PAGE_SZ, PAGE_SZ, advice))
		return -errno;
	if (advice == MADV_DONTNEED)
		span_forget(s, page, 1);
	else
		s->want[page].state = GIVEN_UP;
	return 0;
}

static long do_madv(struct span *s, const struct w_cmd *c)
{
	long i, ret = 0, err;

	if (c->a[2] == MADV_DONTNEED || c->a[2] == MADV_FREE) {
		for (i = 0; i < c->a[1]; i++) {
			err = give_up(s, c->a[0] + i, c->a[2]);
			if (err)
				ret = err;
		}
		return ret;
	}
	ret = madvise(s->mem + c->a[0] * PAGE_SZ, c->a[1] * PAGE_SZ, c->a[2]);
	return ret ? -errno : 0;
}

static long do_remap(struct span *s)
{
	void *p = mmap(NULL, s->pages * PAGE_SZ, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	p = mremap(s->mem, s->pages * PAGE_SZ, s->pages * PAGE_SZ,
		   MREMAP_MAYMOVE | MREMAP_FIXED, p);
	if (p == MAP_FAILED)
		return -errno;
	s->mem = p;
	return (long)p;
}

/* a[2]: map new, empty memory into the gap */
static long do_unmap(struct span *s, const struct w_cmd *c)
{
	unsigned char *at = s->mem + c->a[0] * PAGE_SZ;
	long i, len = c->a[1] * PAGE_SZ;

	if (munmap(at, len))
		return -errno;
	span_forget(s, c->a[0], c->a[1]);
	if (c->a[2]) {
		if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_FIXED |
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			return -errno;
		return 0;
	}
	for (i = 0; i < c->a[1]; i++)
		s->want[c->a[0] + i].state = GAP;
	return 0;
}

static long do_dropcap(int cap)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	d[cap / 32].effective &= ~(1U << (cap % 32));
	d[cap / 32].permitted &= ~(1U << (cap % 32));
	d[cap / 32].inheritable &= ~(1U << (cap % 32));
	return syscall(SYS_capset, &h, d) ? -errno : 0;
}

static long do_pin(struct span *s, const struct w_cmd *c)
{
	struct iovec iov = {
		.iov_base = s->mem + c->a[0] * PAGE_SZ,
		.iov_len = c->a[1] * PAGE_SZ,
	};

	if (pin_fd[0] < 0 && pipe2(pin_fd, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	return vmsplice(pin_fd[1], &iov, 1, 0) < 0 ? -errno : 0;
}

static long do_unpin(void)
{
	close(pin_fd[0]);
	close(pin_fd[1]);
	pin_fd[0] = -1;
	pin_fd[1] = -1;
	return 0;
}

static long do_uffd(struct span *s, const struct w_cmd *c)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (unsigned long)s->mem, s->pages * PAGE_SZ },
		.mode = c->a[0],
	};

	if (uffd < 0) {
		uffd = syscall(SYS_userfaultfd,
			       O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
		if (uffd < 0)
			return -errno;
		if (ioctl(uffd, UFFDIO_API, &api))
			return -errno;
	}
	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

static long do_uffd_wp(struct span *s, const struct w_cmd *c)
{
	struct uffdio_writeprotect wp = {
		.range = { (unsigned long)s->mem + c->a[0] * PAGE_SZ,
			   c->a[1] * PAGE_SZ },
		.mode = c->a[2] ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

static long do_uffd_zero(struct span *s, const struct w_cmd *c)
{
	struct uffdio_zeropage zero = {
		.range = { (unsigned long)s->mem + c->a[0] * PAGE_SZ,
			   c->a[1] * PAGE_SZ },
	};

	if (ioctl(uffd, UFFDIO_ZEROPAGE, &zero))
		return -errno;
	span_forget(s, c->a[0], c->a[1]);
	return 0;
}

/*
 * To the same pages of area a[2], as garbage collectors do it; one by one, as an
 * error for a later page is told as EAGAIN.
 */
static long do_uffd_move(struct span *s, const struct w_cmd *c)
{
	struct span *to = &spans[c->a[2]];
	struct uffdio_move move = { .len = PAGE_SZ };
	long i;

	for (i = c->a[0]; i < c->a[0] + c->a[1]; i++) {
		move.src = (unsigned long)s->mem + i * PAGE_SZ;
		move.dst = (unsigned long)to->mem + i * PAGE_SZ;
		if (ioctl(uffd, UFFDIO_MOVE, &move))
			return -errno;
		to->want[i] = s->want[i];
		span_forget(s, i, 1);
	}
	return 0;
}

#define SELF	"/proc/self/exe"

static int start_exec(const char *path)
{
	return execl(path, "ksm-worker", call_back, NULL);
}

static int obey(int fd);

/* In a forked worker: its pages are its own now, and so is their record. */
static void own_records(void)
{
	int i;

	for (i = 0; i < W_AREAS; i++) {
		struct content *old = spans[i].want, *own;

		if (!old)
			continue;
		own = span_record(spans[i].pages);
		if (!own)
			_exit(1);
		memcpy(own, old, spans[i].pages * sizeof(*own));
		munmap(old, spans[i].pages * sizeof(*own));
		spans[i].want = own;
	}
}

static int vm_child(void *arg)
{
	(void)arg;
	_exit(obey(w_connect(call_back)));
}

static long do_spawn(int fd, const struct w_cmd *c)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	unsigned long size = 16 * PAGE_SZ;
	int dir = -1;
	long pid;
	char *stack;

	switch (c->a[0]) {
	case SPAWN_VM:
		stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (stack == MAP_FAILED)
			return -errno;
		pid = clone(vm_child, stack + size, CLONE_VM | SIGCHLD, NULL);
		return pid < 0 ? -errno : pid;
	case SPAWN_VFORK_EXEC:
		pid = vfork();
		if (!pid) {
			start_exec(SELF);
			_exit(1);
		}
		return pid < 0 ? -errno : pid;
	}

	if (c->path[0]) {
		dir = open(c->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return -errno;
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = dir;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (!pid) {
		close(fd);
		own_records();
		_exit(obey(w_connect(call_back)));
	}
	if (pid < 0)
		pid = -errno;
	if (dir >= 0)
		close(dir);
	return pid;
}

static void *idle_thread(void *arg)
{
	*(long *)arg = syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static long do_thread(void)
{
	static long tid;
	pthread_t t;
	int err;

	tid = 0;
	err = pthread_create(&t, NULL, idle_thread, &tid);
	while (!err && !__atomic_load_n(&tid, __ATOMIC_ACQUIRE))
		sched_yield();
	return err ? -err : tid;
}

static void *second_thread(void *arg)
{
	struct w_reply r = { .ret = syscall(SYS_gettid) };
	int fd = (long)arg;

	send(fd, &r, sizeof(r), MSG_NOSIGNAL);
	_exit(obey(fd));
}

/* The first thread ends; a second one carries on and sends its id. */
static long do_drop_leader(int fd)
{
	pthread_t t;
	int err = pthread_create(&t, NULL, second_thread, (void *)(long)fd);

	if (err)
		return -err;
	syscall(SYS_exit, 0);
	return 0;
}

static long do_read(struct span *s, const struct w_cmd *c)
{
	unsigned char *p = s->mem + c->a[0] * PAGE_SZ;
	long i, sum = 0;

	for (i = 0; i < c->a[1]; i++)
		sum += p[i * PAGE_SZ];
	return sum;	/* it is sent, so each read is made */
}

static long command(int fd, const struct w_cmd *c)
{
	struct span *s = &spans[c->area];
	void *at;
	w_fn *fn;
	long ret;

	switch (c->op) {
	case OP_MAP:
		return do_map(s, c);
	case OP_SET:
		return do_set(s, c);
	case OP_POKE:
		span_poke(s, c->a[0], c->a[1], c->a[2]);
		return 0;
	case OP_EXPECT:
		s->want[c->a[0]].off = c->a[1];
		s->want[c->a[0]].value = c->a[2];
		return 0;
	case OP_VERIFY:
		return span_verify(s);
	case OP_MADV:
		return do_madv(s, c);
	case OP_PRCTL:
		ret = prctl(c->a[0], c->a[1], c->a[2], c->a[3], c->a[4]);
		return ret < 0 ? -errno : ret;
	case OP_SPAWN:
		return do_spawn(fd, c);
	case OP_EXEC:
		start_exec(c->path[0] ? c->path : SELF);
		return -errno;
	case OP_REMAP:
		return do_remap(s);
	case OP_UNMAP:
		return do_unmap(s, c);
	case OP_PROTECT:
		return mprotect(s->mem + c->a[0] * PAGE_SZ, c->a[1] * PAGE_SZ,
				c->a[2]) ? -errno : 0;
	case OP_LOCK:
		at = s->mem + c->a[0] * PAGE_SZ;
		ret = c->a[2] ? mlock(at, c->a[1] * PAGE_SZ) :
				munlock(at, c->a[1] * PAGE_SZ);
		return ret ? -errno : 0;
	case OP_PUT:
		return file_put(c->path, c->text);
	case OP_SETUID:
		return setresuid(c->a[0], c->a[0], c->a[0]) ? -errno : 0;
	case OP_DROPCAP:
		return do_dropcap(c->a[0]);
	case OP_DROP_LEADER:
		return do_drop_leader(fd);
	case OP_PIN:
		return do_pin(s, c);
	case OP_UNPIN:
		return do_unpin();
	case OP_UFFD:
		return do_uffd(s, c);
	case OP_UFFD_WP:
		return do_uffd_wp(s, c);
	case OP_UFFD_ZERO:
		return do_uffd_zero(s, c);
	case OP_UFFD_MOVE:
		return do_uffd_move(s, c);
	case OP_DIRTY:
		/* a write that leaves the byte as it is */
		__atomic_fetch_or(s->mem + c->a[0] * PAGE_SZ, 0,
				  __ATOMIC_SEQ_CST);
		return 0;
	case OP_READ:
		return do_read(s, c);
	case OP_THREAD:
		return do_thread();
	case OP_CHURN:
		return span_churn(s, c->a[0], c->a[1], c->a[2], c->path);
	case OP_LOST:
		at = __atomic_exchange_n(&span_lost, NULL, __ATOMIC_RELAXED);
		return at ? (long)(((unsigned char *)at - s->mem) / PAGE_SZ) :
			    -ENOENT;
	case OP_RUN:
		fn = (w_fn *)((char *)w_worker + c->a[0]);
		return fn(s->mem, s->pages, c->a[1]);
	case OP_EXIT:
		_exit(0);
	}
	return -EINVAL;
}

static int obey(int fd)
{
	struct w_reply r;
	struct w_cmd c;

	for (;;) {
		if (recv(fd, &c, sizeof(c), 0) != sizeof(c))
			return 0;
		r.ret = command(fd, &c);
		if (send(fd, &r, sizeof(r), MSG_NOSIGNAL) != sizeof(r))
			return 0;
	}
}

int w_worker(int argc, char **argv)
{
	struct sigaction bus = {
		.sa_sigaction = span_bus,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};

	if (argc < 2)
		return 1;
	call_back = argv[1];
	signal(SIGCHLD, SIG_IGN);
	sigaction(SIGBUS, &bus, NULL);
	return obey(w_connect(call_back));
}
