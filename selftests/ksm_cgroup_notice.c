// SPDX-License-Identifier: GPL-2.0
/*
 * What a program may notice of merging that it did not ask for, in the calls
 * that it makes: a case for each entry of the list in
 * Documentation/admin-guide/mm/ksm-cgroup.rst. What /proc and NUMA calls show
 * is in ksm_cgroup_shown.c. Beside three processes on merged frames there is
 * one whose pages have no twin, to which what is documented for merged pages
 * must not apply.
 *
 * vm: timeout=600
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "ksmtrio.h"

#define LEN	((long)(N * PAGE_SZ))

static long minor_faults(struct worker *m)
{
	char path[64], buf[512], *at;
	unsigned long n;

	snprintf(path, sizeof(path), "/proc/%d/stat", m->pid);
	NEED_GT(file_get(path, buf, sizeof(buf)), 0, "%s", path);
	at = strrchr(buf, ')');
	NEED(at && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %lu", &n) == 1,
	     "%s", path);
	return n;
}

static long advise(struct worker *m, int advice)
{
	struct iovec iov = { (void *)m->area[0].addr, LEN };
	long ret = syscall(SYS_process_madvise, m->pidfd, &iov, 1L, advice, 0);

	return ret < 0 ? -errno : ret;
}

/* ---- writing ---- */

static long faults_of_writing(struct worker *m, u64 tag)
{
	long before = minor_faults(m);

	w_set(m, 0, 0, N, tag, 1);
	return minor_faults(m) - before;
}

static void writes(void)
{
	trio_begin_lone();
	CHECK_GE(faults_of_writing(w[0], TAG + 100), N, "merged");
	CHECK_LT(faults_of_writing(w[0], TAG + 200), N / 2, "written before");
	CHECK_LT(faults_of_writing(lone, LONE_TAG), N / 2, "never merged");
	/* what is populated takes no faults, but does not stay so */
	w_madv(w[1], 0, MADV_POPULATE_WRITE);
	CHECK_EQ(w_merged(w[1]), 0, "populated");
	CHECK_LT(faults_of_writing(w[1], TAG), N / 2, "populated");
	ksm_settle();
	CHECK_EQ(w_same(w[1], w[2], 0), N, "populated, and scanned again");
	CHECK_GE(faults_of_writing(w[1], TAG), N, "populated and merged");
	trio_again_lone();
}

/* ---- pinning ---- */

#define FILE_NAME	"/var/tmp/ksm_cgroup_notice"

/* Write the area to a file, past the page cache; is it what is in the file? */
static long in_direct_write(unsigned char *mem, long pages, long arg)
{
	long len = pages * PAGE_SZ, ret = 0;
	void *back = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT |
		      O_CLOEXEC, 0600);

	(void)arg;
	if (fd < 0 || back == MAP_FAILED)
		return -errno;
	unlink(FILE_NAME);
	if (pwrite(fd, mem, len, 0) != len || pread(fd, back, len, 0) != len)
		ret = -EIO;
	else if (memcmp(mem, back, len))
		ret = -EILSEQ;
	munmap(back, len);
	close(fd);
	return ret;
}

static void read_outside(struct worker *m, unsigned char *to)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", m->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	NEED_GE(fd, 0, "open %s", path);
	NEED_EQ(pread(fd, to, LEN, m->area[0].addr), LEN);
	close(fd);
}

static void pinned_to_read(void)
{
	static unsigned char pinned[LEN], plain[LEN];
	struct iovec to = { pinned, LEN }, from = { .iov_len = LEN };
	unsigned char byte = 0x5c;

	trio_begin_lone();
	from.iov_base = (void *)w[0]->area[0].addr;
	NEED_EQ(process_vm_readv(w[0]->pid, &to, 1, &from, 1, 0), LEN);
	read_outside(w[1], plain);
	CHECK(!memcmp(pinned, plain, LEN), "equal pages are read differently");
	CHECK_EQ(w_merged(w[0]), 0, "read by process_vm_readv()");
	CHECK_EQ(w_same(w[1], w[2], 0), N, "read through /proc/PID/mem");
	NEED_OK(w_run(w[1], in_direct_write, 0, 0));
	CHECK_EQ(w_merged(w[1]), 0, "read for O_DIRECT");
	CHECK_EQ(w_merged(w[2]), N, "not read");
	ksm_settle();
	trio_shares("scanned again");
	/* to write takes a page for each that is written, and no more */
	to = (struct iovec){ &byte, 1 };
	from = (struct iovec){ (void *)(w[2]->area[0].addr + 9), 1 };
	NEED_EQ(process_vm_writev(w[2]->pid, &to, 1, &from, 1, 0), 1);
	w_expect(w[2], 0, 9, byte);
	CHECK_EQ(w_merged(w[2]), N - 1, "written by process_vm_writev()");
	trio_again_lone();
}

static int ring = -1;

static long in_register(unsigned char *mem, long pages, long nr)
{
	struct iovec iov = { mem, nr * PAGE_SZ };
	struct io_uring_params p = {};

	(void)pages;
	ring = syscall(SYS_io_uring_setup, 4, &p);
	if (ring < 0)
		return -errno;
	return syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
		       &iov, 1) ? -errno : 0;
}

static long in_unregister(unsigned char *mem, long pages, long arg)
{
	long ret = syscall(SYS_io_uring_register, ring,
			   IORING_UNREGISTER_BUFFERS, NULL, 0);

	(void)mem;
	(void)pages;
	(void)arg;
	close(ring);
	return ret ? -errno : 0;
}

/* A registered buffer is the memory that the process goes on writing to. */
static void registered(void)
{
	enum { NR = 8 };
	struct frame before[N];
	int i;

	if (access("/proc/sys/kernel/io_uring_disabled", F_OK))
		ksm_skip("no io_uring");
	trio_begin_lone();
	NEED_OK(w_run(w[0], in_register, 0, NR), "IORING_REGISTER_BUFFERS");
	CHECK_EQ(w_merged(w[0]), N - NR, "registered");
	w_frames(w[0], 0, before);
	ksm_settle();
	w_set(w[0], 0, 0, NR, TAG + 300, 1);
	for (i = 0; i < NR; i++)
		CHECK_EQ(w_frame(w[0], 0, i).pfn, before[i].pfn, "page %d", i);
	CHECK_EQ(w_same(w[1], w[2], 0), N);
	trio_intact();
	NEED_OK(w_run(w[0], in_unregister, 0, 0));
	trio_again_lone();
}

/* UFFDIO_MOVE refuses a pinned page, whether or not it was merged before. */
static void registered_moves(void)
{
	enum { NR = 4 };
	struct worker *m[2];
	long ret;
	int i, to;

	if (access("/proc/sys/kernel/io_uring_disabled", F_OK))
		ksm_skip("no io_uring");
	w_twins(m, cg_ksm(NULL, "a", "1"), N, TAG);
	to = w_map(m[0], NR, MAP_PLAIN);
	ret = w_uffd(m[0], to, UFFDIO_REGISTER_MODE_MISSING);
	if (ret)
		ksm_skip("no userfaultfd: %s", strerror(-ret));
	ksm_settle();
	NEED_EQ(w_same(m[0], m[1], 0), N);
	NEED_OK(w_run(m[0], in_register, 0, NR), "IORING_REGISTER_BUFFERS");
	for (i = 0; i < NR; i++)
		CHECK_EQ(w_uffd_move(m[0], 0, i, 1, to), -EBUSY, "page %d", i);
	NEED_OK(w_run(m[0], in_unregister, 0, 0));
	CHECK_OK(w_uffd_move(m[0], 0, 0, NR, to), "not pinned any more");
	CHECK_EQ(w_same(m[0], m[1], 0), N - NR);
	w_verify(m[0]);
	w_verify(m[1]);
}

/* Pass a page to a pipe, then write to it; bit 8: the reader saw the write. */
static long in_splice(unsigned char *mem, long pages, long page)
{
	unsigned char *at = mem + page * PAGE_SZ, value = *at ^ 0xff, got;
	struct iovec iov = { at, PAGE_SZ };
	long ret = -EIO;
	int fd[2];

	(void)pages;
	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	if (vmsplice(fd[1], &iov, 1, SPLICE_F_GIFT) == (long)PAGE_SZ) {
		*at = value;
		if (read(fd[0], &got, 1) == 1)
			ret = value | (got == value) << 8;
	}
	close(fd[0]);
	close(fd[1]);
	return ret;
}

static void spliced(void)
{
	long ret;
	int i;

	trio_begin_lone();
	for (i = 0; i < 4; i++) {
		ret = w_run(w[0], in_splice, 0, i);
		NEED_GE(ret, 0, "vmsplice");
		w_expect(w[0], i, 0, ret & 0xff);
		CHECK_EQ(ret >> 8, 0, "a write to a merged page shows");
		ret = w_run(lone, in_splice, 0, i);
		NEED_GE(ret, 0, "vmsplice");
		w_expect(lone, i, 0, ret & 0xff);
		CHECK_EQ(ret >> 8, 1, "a write to another page shows");
	}
	CHECK_EQ(w_merged(w[0]), N - 4);
	trio_again_lone();
}

/* ---- advice, huge pages, mremap() ---- */

static void paged_out(void)
{
	trio_begin_lone();
	swap_need();
	CHECK_EQ(advise(w[0], MADV_COLD), LEN);
	CHECK_EQ(advise(w[0], MADV_PAGEOUT), LEN);
	/* pages in an LRU batch of another CPU are not reclaimed yet */
	NEED_WAIT_EQ((advise(lone, MADV_PAGEOUT), w_count(lone, 0, F_SWAP)), N);
	w_madv(w[0], 0, MADV_PAGEOUT);
	CHECK_EQ(advise(w[0], MADV_PAGEOUT), LEN);
	CHECK_EQ(w_merged(w[0]), N, "MADV_PAGEOUT has no effect");
	NEED(swap_out(trio_cg, w, 3), "merged pages are not reclaimed");
	trio_again_lone();
}

#define HUGE_NR	512

static void collapsed(void)
{
	int i;

	trio_group();
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		ksm_skip("no transparent huge pages");
	for (i = 0; i < 2; i++) {
		w[i] = trio_member(HUGE_NR, MAP_HUGE);
		w_set(w[i], 0, 0, HUGE_NR, TAG, 1);
	}
	w[2] = w[0];
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), HUGE_NR);
	/* EAGAIN for a page that is locked or referenced at the moment */
	CHECK_WAIT_EQ(w_madv_at(w[0], 0, 0, HUGE_NR, MADV_COLLAPSE), -EINVAL,
		      "all pages are merged");
	CHECK_EQ(w_merged(w[0]), HUGE_NR);
	w_poke(w[0], 0, 7, 7, 7);
	NEED_WAIT_OK(w_madv_at(w[0], 0, 0, HUGE_NR, MADV_COLLAPSE));
	CHECK_EQ(w_count(w[0], 0, F_HUGE), HUGE_NR);
	CHECK_EQ(w_count(w[1], 0, F_HUGE), 0);
	trio_intact();
}

#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"

/* Set a number in a file; returns the one that it replaces. */
static long long exchange(const char *path, long long value)
{
	char buf[32];
	long long old;

	NEED_GT(file_get(path, buf, sizeof(buf)), 0, "%s", path);
	old = strtoll(buf, NULL, 10);
	snprintf(buf, sizeof(buf), "%lld", value);
	NEED_OK(file_put(path, buf), "%lld to %s", value, path);
	return old;
}

static long long khugepaged_scans(void)
{
	char buf[32];

	NEED_GT(file_get(KHUGEPAGED "full_scans", buf, sizeof(buf)), 0);
	return strtoll(buf, NULL, 10);
}

/* khugepaged looks at everything twice: the first scan began earlier. */
static void khugepaged_twice(void)
{
	long long sleep = exchange(KHUGEPAGED "scan_sleep_millisecs", 1);
	long long pages = exchange(KHUGEPAGED "pages_to_scan", 1 << 20);
	long long before = khugepaged_scans();

	CHECK_WAIT_GE(khugepaged_scans(), before + 2);
	exchange(KHUGEPAGED "pages_to_scan", pages);
	exchange(KHUGEPAGED "scan_sleep_millisecs", sleep);
}

/* Of two ranges, the first one has a merged page too many. */
static void left_by_khugepaged(void)
{
	char most[32];
	long shared;
	int i;

	trio_group();
	if (file_get(KHUGEPAGED "max_ptes_shared", most, sizeof(most)) <= 0)
		ksm_skip("no transparent huge pages");
	shared = strtol(most, NULL, 10);
	for (i = 0; i < 2; i++) {
		w[i] = trio_member(2 * HUGE_NR, MAP_HUGE);
		w_set(w[i], 0, 0, 2 * HUGE_NR, TAG, 1);
	}
	w[2] = w[1];
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), 2 * HUGE_NR);
	w_set(w[0], 0, 0, HUGE_NR - shared - 1, LONE_TAG, 1);
	w_set(w[0], 0, HUGE_NR, HUGE_NR - shared, LONE_TAG + HUGE_NR, 1);
	NEED_EQ(w_same(w[0], w[1], 0), 2 * shared + 1);
	khugepaged_twice();
	CHECK_EQ(w_count(w[0], 0, F_HUGE), HUGE_NR);
	CHECK(!(w_frame(w[0], 0, 0).flags & F_HUGE), "with a page too many");
	CHECK_EQ(w_same(w[0], w[1], 0), shared + 1);
	CHECK_EQ(w_count(w[1], 0, F_HUGE), 0, "all merged");
	trio_intact();
}

#define BIG	2048

static int ticks;

static void tick(int sig)
{
	(void)sig;
	__atomic_fetch_add(&ticks, 1, __ATOMIC_RELAXED);
}

/* mremap() there and back; the number of signals on the way there. */
static long in_remap(unsigned char *mem, long pages, long usec)
{
	const struct itimerval every = { { 0, usec }, { 0, usec } }, never = {};
	const struct sigaction sa = { .sa_handler = tick }; /* no SA_RESTART */
	const int fixed = MREMAP_MAYMOVE | MREMAP_FIXED;
	long len = pages * PAGE_SZ, err = 0, nr;
	void *to = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);

	if (to == MAP_FAILED || sigaction(SIGALRM, &sa, NULL))
		return -errno;
	__atomic_store_n(&ticks, 0, __ATOMIC_RELAXED);
	setitimer(ITIMER_REAL, &every, NULL);
	if (mremap(mem, len, len, fixed, to) == MAP_FAILED)
		err = -errno;
	nr = __atomic_load_n(&ticks, __ATOMIC_RELAXED);
	setitimer(ITIMER_REAL, &never, NULL);
	if (!err && mremap(to, len, len, fixed, mem) == MAP_FAILED)
		err = -errno;
	return err ? err : nr;
}

static void remapped(void)
{
	char limit[32];
	long ret, usec;
	int i;

	trio_group();
	for (i = 0; i < 2; i++) {
		w[i] = trio_member(BIG, MAP_PLAIN);
		w_set(w[i], 0, 0, BIG, TAG, 1);
	}
	w[2] = w[0];
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), BIG);
	if (ksm_has_cgroup()) {
		/* the stock kernel calls the OOM killer here */
		snprintf(limit, sizeof(limit), "%lld",
			 cg_current(trio_cg) + (1 << 20));
		cg_set(trio_cg, "memory.max", limit);
		CHECK_EQ(w_remap(w[0]), -ENOMEM, "no room for the pages");
		cg_set(trio_cg, "memory.max", "max");
		trio_intact();
	}
	/* a signal does not end the call, whatever its handler says */
	for (usec = 1000, ret = 0; !ret && usec; usec /= 8) {
		ksm_settle();
		NEED_EQ(w_same(w[0], w[1], 0), BIG);
		ret = w_run(w[0], in_remap, 0, usec);
	}
	if (ret == -EINTR && !ksm_has_cgroup())
		ksm_skip("the stock kernel's mremap() is interrupted");
	CHECK_GT(ret, 0, "signals during mremap()");
	CHECK_EQ(w_merged(w[0]), 0, "moved");
	trio_intact();
}

static const struct ksm_case cases[] = {
	{ "writes take faults, populated or not", writes },
	{ "pinning to read unshares", pinned_to_read },
	{ "registered buffers of io_uring", registered },
	{ "registered buffers under UFFDIO_MOVE", registered_moves },
	{ "vmsplice", spliced },
	{ "MADV_COLD and MADV_PAGEOUT", paged_out },
	{ "MADV_COLLAPSE", collapsed },
	{ "khugepaged and max_ptes_shared", left_by_khugepaged },
	{ "mremap takes memory, and no signal ends it", remapped },
};

int main(int argc, char **argv)
{
	return ksm_main(argc, argv, cases, ARRAY_SIZE(cases));
}
