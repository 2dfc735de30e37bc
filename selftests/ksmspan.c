// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "ksmspan.h"

static u64 scratch[PAGE_SZ / sizeof(u64)];
static sigjmp_buf bus_jmp;
static bool bus_wanted;
/* the address of a frame that was lost without being touched */
void *span_lost;

static void make_content(void *to, const struct content *c)
{
	u64 *p = to, x;
	unsigned int i;

	for (i = 0; i < PAGE_SZ / sizeof(*p); i++) {
		x = (c->tag + i + 1) * 0x9e3779b97f4a7c15ULL + c->tag;
		x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ULL;
		p[i] = c->tag ? x ^ (x >> 32) : 0;
	}
	if (c->off >= 0)
		((unsigned char *)to)[c->off] = c->value;
}

void span_bus(int sig, siginfo_t *info, void *context)
{
	static int news;

	(void)sig;
	(void)context;
	if (bus_wanted && info->si_code != BUS_MCEERR_AO)
		siglongjmp(bus_jmp, 1);
	/* told of a lost frame, unless the same fault repeats for ever */
	if (++news > 1000)
		_exit(7);
	if (info->si_code == BUS_MCEERR_AO)
		__atomic_store_n(&span_lost, info->si_addr, __ATOMIC_RELAXED);
}

/* 1 if the bytes differ, -1 if they cannot be read */
static int differs(const void *want, const void *mem)
{
	int ret = -1;

	bus_wanted = true;
	if (!sigsetjmp(bus_jmp, 1))
		ret = !!memcmp(want, mem, PAGE_SZ);
	bus_wanted = false;
	return ret;
}

static int wrong(struct span *s, long page)
{
	struct content want = s->want[page];
	int ret;

	if (want.state == GAP)
		return 0;
	make_content(scratch, &want);
	ret = differs(scratch, s->mem + page * PAGE_SZ);
	if (ret != 1 || want.state != GIVEN_UP)
		return ret;
	want = (struct content){ .off = -1 };
	make_content(scratch, &want);
	return differs(scratch, s->mem + page * PAGE_SZ);
}

/* What is read instead, to debug with. */
static void tell_wrong(struct span *s, long page)
{
	unsigned char *have = s->mem + page * PAGE_SZ;
	struct content *want = &s->want[page];
	int i, nr = 0, first = -1;

	make_content(scratch, want);
	for (i = 0; i < (int)PAGE_SZ; i++) {
		if (have[i] == ((unsigned char *)scratch)[i])
			continue;
		nr++;
		if (first < 0)
			first = i;
	}
	fprintf(stderr,
		"# worker %d page %ld: expected content %llu, byte %d is %d, state %d: ",
		getpid(), page, want->tag, want->off, want->value, want->state);
	fprintf(stderr,
		"%d bytes differ, the first at %d: got %d; the page begins %llx\n",
		nr, first, first < 0 ? 0 : have[first], *(u64 *)have);
}

long span_verify(struct span *s)
{
	long bad = 0, bus = 0, i;

	for (i = 0; i < s->pages; i++) {
		switch (wrong(s, i)) {
		case 1:
			if (++bad < 4)
				tell_wrong(s, i);
			break;
		case -1:
			bus++;
			break;
		}
	}
	return bad | bus << 32;
}

struct content *span_record(long pages)
{
	void *p = mmap(NULL, pages * sizeof(struct content),
		       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

void span_forget(struct span *s, long first, long nr)
{
	for (; nr--; first++)
		s->want[first] = (struct content){ .off = -1 };
}

void span_fill(struct span *s, long page, u64 tag)
{
	s->want[page] = (struct content){ .tag = tag, .off = -1 };
	make_content(s->mem + page * PAGE_SZ, &s->want[page]);
}

/* One byte differs; a byte that differed before gets its own value back. */
void span_poke(struct span *s, long page, int off, int value)
{
	struct content *want = &s->want[page];
	unsigned char *mem = s->mem + page * PAGE_SZ;
	int old;

	if (want->state == GIVEN_UP)
		span_fill(s, page, want->tag);
	old = want->off;
	want->off = -1;
	if (old >= 0 && old != off) {
		make_content(scratch, want);
		mem[old] = ((unsigned char *)scratch)[old];
	}
	want->off = off;
	want->value = value;
	mem[off] = value;
}

/* ---- write and compare at random, as fast as it goes ---- */

static unsigned long dice(u64 *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x >> 11;
}

/* A child that compares all and exits; the number of wrong pages. */
static long look_in_child(struct span *s)
{
	long *seen = mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long bad;
	pid_t pid;

	if (seen == MAP_FAILED)
		return 1;
	*seen = -1;
	pid = fork();
	if (!pid) {
		*seen = span_verify(s);
		_exit(0);
	}
	/* SIGCHLD is ignored: this returns when the child is gone */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	bad = *seen;
	munmap(seen, PAGE_SZ);
	return bad;
}

long span_churn(struct span *s, long rounds, u64 x, long kinds,
		const char *path)
{
	long bad = 0, page;
	int fd = -1, off;
	u64 tag;

	if (path[0]) {
		fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	while (rounds-- && !bad) {
		page = dice(&x) % s->pages;
		tag = dice(&x) % kinds + 1;
		switch (dice(&x) % 8) {
		case 0:
			if (fd < 0)
				break;
			if (pread(fd, s->mem + page * PAGE_SZ, PAGE_SZ,
				  (tag - 1) * PAGE_SZ) != PAGE_SZ)
				return -errno;
			s->want[page] = (struct content){ tag, -1, 0, HELD };
			break;
		case 1:
			off = dice(&x) % PAGE_SZ;
			span_poke(s, page, off, dice(&x) & 0xff);
			break;
		case 2:
			if (rounds % 64 == 0)
				bad += look_in_child(s);
			break;
		default:
			span_fill(s, page, tag);
		}
		bad += !!wrong(s, dice(&x) % s->pages);
	}
	if (fd >= 0)
		close(fd);
	return bad;
}
