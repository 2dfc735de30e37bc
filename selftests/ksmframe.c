// SPDX-License-Identifier: GPL-2.0
/*
 * What the page tables and the frames themselves say, past all counters:
 * /proc/PID/pagemap for the frame, /proc/kpageflags for its kind,
 * /proc/kpagecgroup for its charge, /proc/kpagecount for its mappings.
 */
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>

#include "ksmlib.h"

#define PM_PRESENT	BIT_ULL(63)
#define PM_SWAP		BIT_ULL(62)
#define PM_UFFD_WP	BIT_ULL(57)
#define PM_SOFT_DIRTY	BIT_ULL(55)
#define PM_PFN		(BIT_ULL(55) - 1)
/* of an entry that is not present: a type, then the frame or a place on swap */
#define PM_TYPE_BITS	5
#define PM_TYPE(pm)	((pm) & (BIT(PM_TYPE_BITS) - 1))

/* flags that tell a merged page, and can be relied on */
#define KPF_EXCLUSIVE	BIT_ULL(34)	/* for an anonymous page */
#define KPF_SHARED_SMALL (BIT_ULL(KPF_ANON) | BIT_ULL(KPF_THP) | \
			  BIT_ULL(KPF_HUGE))

static u64 word_of(const char *path, u64 index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	u64 word = 0;

	NEED(fd >= 0, "open %s: %s", path, strerror(errno));
	if (pread(fd, &word, sizeof(word), index * sizeof(word)) !=
	    sizeof(word))
		word = 0;
	close(fd);
	return word;
}

u64 frame_cgroup(u64 pfn)
{
	return word_of("/proc/kpagecgroup", pfn);
}

u64 frame_count(u64 pfn)
{
	return word_of("/proc/kpagecount", pfn);
}

static int open_pagemap(struct worker *w)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", w->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	NEED(fd >= 0, "open %s: %s", path, strerror(errno));
	return fd;
}

static int open_kpageflags(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

	NEED(fd >= 0, "open /proc/kpageflags: %s", strerror(errno));
	return fd;
}

/*
 * Up to 6.12 at least, /proc/kpageflags has KPF_KSM set for every anonymous
 * page. Where a page of our own shows that, a page counts as merged if it is
 * small and anonymous, is not exclusive to its only mapping, and lies in a
 * mapping with merged pages by smaps. That errs for pages which fork left
 * shared among merged ones; the number in smaps tells how many.
 */
static bool flag_is_void(int kfd)
{
	static int known = -1;
	u64 pm = 0, k = 0;
	char *page;
	int fd;

	if (known >= 0)
		return known;
	page = mmap(NULL, PAGE_SZ, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	NEED(page != MAP_FAILED && fd >= 0, "no page of our own to look at");
	*page = 1;
	if (pread(fd, &pm, 8, (unsigned long)page / PAGE_SZ * 8) != 8 ||
	    pread(kfd, &k, 8, (pm & PM_PFN) * 8) != 8)
		k = 0;
	known = !!(k & BIT_ULL(KPF_KSM));
	if (known)
		ksm_note("KPF_KSM is void on this kernel, going by smaps");
	close(fd);
	munmap(page, PAGE_SZ);
	return known;
}

/* Mappings of a process, with the number of merged pages in each. */
struct vmas {
	struct {
		unsigned long from, to;
		long ksm;
		bool special;
	} v[512];
	int nr;
};

static void read_smaps(struct worker *w, struct vmas *m)
{
	unsigned long from, to, kb;
	char path[64], line[512];
	FILE *f;

	m->nr = 0;
	snprintf(path, sizeof(path), "/proc/%d/smaps", w->pid);
	f = fopen(path, "r");
	NEED(f, "open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			NEED(m->nr < 512, "more mappings than a worker has");
			m->v[m->nr].from = from;
			m->v[m->nr].to = to;
			m->v[m->nr].ksm = 0;
			m->v[m->nr++].special = strstr(line, "[v");
		} else if (m->nr && sscanf(line, "KSM: %lu kB", &kb) == 1) {
			m->v[m->nr - 1].ksm = kb / 4;
		}
	}
	fclose(f);
}

static bool in_merged(const struct vmas *m, unsigned long addr)
{
	int i;

	for (i = 0; i < m->nr; i++)
		if (addr >= m->v[i].from && addr < m->v[i].to)
			return m->v[i].ksm;
	return false;
}

/*
 * Is the page on its way to another frame, or its charge to another cgroup? It
 * is mapped again in a moment; one that is lost is not. Of the types, low ones
 * are for swap files, and the last is for markers.
 */
static bool is_moving(u64 pm, int kflags)
{
	u64 k = 0, pfn = (pm & PM_PFN) >> PM_TYPE_BITS;

	return pm & PM_SWAP && PM_TYPE(pm) >= 16 && PM_TYPE(pm) < 31 &&
	       pread(kflags, &k, sizeof(k), pfn * sizeof(k)) == sizeof(k) &&
	       !(k & BIT_ULL(KPF_HWPOISON));
}

static struct frame decode(u64 pm, int kflags, const struct vmas *m,
			   unsigned long addr)
{
	struct frame f = { .pfn = FRAME_NONE };
	u64 k = 0, k_small;

	if (pm & PM_SWAP)
		f.flags |= F_SWAP;
	if (pm & PM_SOFT_DIRTY)
		f.flags |= F_SOFTDIRTY;
	if (pm & PM_UFFD_WP)
		f.flags |= F_UFFDWP;
	if (!(pm & PM_PRESENT))
		return f;
	f.pfn = pm & PM_PFN;
	NEED(f.pfn, "pagemap hides the frames");
	if (pread(kflags, &k, sizeof(k), f.pfn * sizeof(k)) != sizeof(k))
		return f;
	k_small = k & (KPF_SHARED_SMALL | KPF_EXCLUSIVE);
	if (m && k_small == BIT_ULL(KPF_ANON) && in_merged(m, addr))
		f.flags |= F_KSM;
	if (!m && k & BIT_ULL(KPF_KSM))
		f.flags |= F_KSM;
	if (k & BIT_ULL(KPF_ZERO_PAGE))
		f.flags |= F_ZERO;
	if (k & BIT_ULL(KPF_THP))
		f.flags |= F_HUGE;
	if (k & BIT_ULL(KPF_HWPOISON))
		f.flags |= F_POISON;
	if (k & BIT_ULL(KPF_REFERENCED))
		f.flags |= F_REFERENCED;
	if (k & BIT_ULL(KPF_ACTIVE))
		f.flags |= F_ACTIVE;
	return f;
}

static void frames_in(struct worker *w, unsigned long addr, long pages,
		      struct frame *f, const struct vmas *m)
{
	int fd = open_pagemap(w), kfd = open_kpageflags();
	u64 pm[512];
	long i, nr;

	if (!flag_is_void(kfd))
		m = NULL;
	while (pages) {
		nr = pages < 512 ? pages : 512;
		NEED(pread(fd, pm, nr * 8, addr / PAGE_SZ * 8) == nr * 8,
		     "pagemap of %d at %lx: %s", w->pid, addr, strerror(errno));
		for (i = 0; i < nr; i++, addr += PAGE_SZ) {
			WAIT_FOR(!is_moving(pm[i], kfd) ||
				 pread(fd, &pm[i], 8, addr / PAGE_SZ * 8) != 8);
			*f++ = decode(pm[i], kfd, m, addr);
		}
		pages -= nr;
	}
	close(fd);
	close(kfd);
}

static void read_frames(struct worker *w, unsigned long addr, long pages,
			struct frame *f)
{
	struct vmas m;

	read_smaps(w, &m);
	frames_in(w, addr, pages, f, &m);
}

void w_frames(struct worker *w, int area, struct frame *f)
{
	read_frames(w, w->area[area].addr, w->area[area].pages, f);
}

struct frame w_frame(struct worker *w, int area, long page)
{
	struct frame f;

	read_frames(w, w->area[area].addr + page * PAGE_SZ, 1, &f);
	return f;
}

static struct frame *all_frames(struct worker *w, int area)
{
	struct frame *f = calloc(w->area[area].pages, sizeof(*f));

	NEED(f, "no memory");
	w_frames(w, area, f);
	return f;
}

long w_count(struct worker *w, int area, unsigned int flags)
{
	struct frame *f = all_frames(w, area);
	long i, n = 0;

	for (i = 0; i < w->area[area].pages; i++)
		n += (f[i].flags & flags) == flags;
	free(f);
	return n;
}

long w_same(struct worker *a, struct worker *b, int area)
{
	struct frame *fa = all_frames(a, area), *fb = all_frames(b, area);
	long i, n = 0;

	for (i = 0; i < a->area[area].pages && i < b->area[area].pages; i++)
		n += fa[i].pfn != FRAME_NONE && fa[i].pfn == fb[i].pfn &&
		     !(fa[i].flags & F_ZERO);
	free(fa);
	free(fb);
	return n;
}

/* ---- merged frames of a whole address space ---- */

struct place {
	u64 pfn;
	unsigned long addr;
	int vma;
};

struct places {
	struct place *p;
	size_t nr, room;
	struct vmas m;
	/* surplus in p, by mapping */
	long spare[ARRAY_SIZE(((struct vmas *)0)->v)];
};

static void add_place(struct places *s, struct place place)
{
	if (s->nr == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->p = realloc(s->p, s->room * sizeof(*s->p));
		NEED(s->p, "no memory");
	}
	s->p[s->nr++] = place;
}

static int by_pfn(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->pfn < y->pfn ? -1 : x->pfn > y->pfn;
}

static void add_mapping(struct worker *w, struct places *s, int v)
{
	struct frame f[512];
	unsigned long at;
	size_t before = s->nr;
	long i, nr;

	for (at = s->m.v[v].from; at < s->m.v[v].to; at += nr * PAGE_SZ) {
		nr = (s->m.v[v].to - at) / PAGE_SZ;
		if (nr > 512)
			nr = 512;
		frames_in(w, at, nr, f, &s->m);
		for (i = 0; i < nr; i++)
			if (f[i].flags & F_KSM)
				add_place(s, (struct place){
					  f[i].pfn, at + i * PAGE_SZ, v });
	}
	s->spare[v] = (long)(s->nr - before) - s->m.v[v].ksm;
	if (s->spare[v] < 0)
		s->spare[v] = 0;
}

static struct places *ksm_places(struct worker *w)
{
	struct places *s = calloc(1, sizeof(*s));
	int v;

	NEED(s, "no memory");
	read_smaps(w, &s->m);
	for (v = 0; v < s->m.nr; v++)
		if (!s->m.v[v].special && s->m.v[v].ksm)
			add_mapping(w, s, v);
	if (s->nr)
		qsort(s->p, s->nr, sizeof(*s->p), by_pfn);
	return s;
}

static void free_places(struct places *s)
{
	free(s->p);
	free(s);
}

long w_all_ksm(struct worker *w)
{
	struct vmas m;
	long n = 0;

	read_smaps(w, &m);
	while (m.nr--)
		n += m.v[m.nr].ksm;
	return n;
}

/*
 * The two processes are read one after the other, so a frame that the one gave
 * up and the other got would seem shared. A frame that seems so is read again
 * from both ends, until it is refuted or has stood three times.
 */
static bool stands(struct worker *a, struct worker *b, struct place *pa,
		   struct place *pb)
{
	struct frame fa, fb;
	int i;

	for (i = 0; i < 3; i++) {
		read_frames(a, pa->addr, 1, &fa);
		read_frames(b, pb->addr, 1, &fb);
		if (fa.pfn != pa->pfn || fb.pfn != pb->pfn ||
		    !(fa.flags & fb.flags & F_KSM))
			return false;
	}
	return true;
}

long w_common_ksm(struct worker *a, struct worker *b)
{
	struct places *pa = ksm_places(a), *pb = ksm_places(b);
	size_t i = 0, j = 0;
	long n = 0;

	while (i < pa->nr && j < pb->nr) {
		if (pa->p[i].pfn < pb->p[j].pfn) {
			i++;
		} else if (pa->p[i].pfn > pb->p[j].pfn) {
			j++;
		} else {
			/* the first ones may be the spare ones */
			if (stands(a, b, &pa->p[i], &pb->p[j]) &&
			    --pa->spare[pa->p[i].vma] < 0)
				n++;
			j++;
		}
	}
	free_places(pa);
	free_places(pb);
	return n;
}

/* ---- swap on zram, and memory that is short ---- */

#define MIN_FREE	"/proc/sys/vm/min_free_kbytes"

static bool swapping;
static char min_free[64];	/* as it was found, if it was changed */

static bool has_swap(void)
{
	char buf[4096];

	return file_get("/proc/swaps", buf, sizeof(buf)) > 0 &&
	       strstr(buf, "/dev/");
}

/* The header that swapon() looks for: version 1 and the last page. */
static bool write_header(const char *dev, unsigned long pages)
{
	static unsigned char page[PAGE_SZ];
	unsigned int *info = (unsigned int *)(page + 1024);
	int fd = open(dev, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	info[0] = 1;
	info[1] = pages - 1;
	memcpy(page + PAGE_SZ - 10, "SWAPSPACE2", 10);
	ok = pwrite(fd, page, PAGE_SZ, 0) == PAGE_SZ && !fsync(fd);
	close(fd);
	return ok;
}

void swap_need(void)
{
	if (!swap_on())
		ksm_skip("no swap on zram here");
}

bool swap_on(void)
{
	if (has_swap())
		return true;
	file_put("/sys/block/zram0/reset", "1");
	if (file_put("/sys/block/zram0/disksize", "512M") ||
	    !write_header("/dev/zram0", (512UL << 20) / PAGE_SZ) ||
	    swapon("/dev/zram0", 0))
		return false;
	swapping = true;
	return true;
}

void min_free_set(long kb)
{
	char buf[64];

	if (!*min_free)
		NEED_GT(file_get(MIN_FREE, min_free, sizeof(min_free)), 0);
	snprintf(buf, sizeof(buf), "%ld", kb);
	NEED_OK(file_put(MIN_FREE, kb ? buf : min_free));
}

void swap_off(void)
{
	if (*min_free)
		file_put(MIN_FREE, min_free);
	*min_free = 0;
	if (!swapping)
		return;
	swapoff("/dev/zram0");
	file_put("/sys/block/zram0/reset", "1");
	swapping = false;
}

static long resident(struct worker **w, int nr)
{
	long left = 0;

	while (nr--)
		left += w[nr]->area[0].pages - w_count(w[nr], 0, F_SWAP);
	return left;
}

/*
 * Pages that were accessed go to the active list first, and reclaim takes them
 * off it only when its statistics, seconds late, show the list too long.
 */
bool swap_out(const char *cg, struct worker **w, int nr)
{
	return WAIT_FOR((cg_put(cg, "memory.reclaim", "4M"),
			 !resident(w, nr)));
}
