// SPDX-License-Identifier: GPL-2.0
/*
 * Reading the memory of processes, which changes nothing in them.
 *
 * smaps says which ranges merging takes, pagemap which pages of them are
 * private, anonymous and in RAM, and /proc/PID/mem has those. A page that goes
 * meanwhile is left out. process_vm_readv() would be quicker, and would change
 * what it reads: it pins pages, and a pin unshares one that several map, merged
 * ones too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "progress.h"
#include "tool.h"

#define BATCH 256
#define ENTRIES 4096

/* Where in a page the first look goes, and how far. */
#define LOOK_BYTES 64
static const unsigned int looks[] = { 1024, 3136 };

/* Of an entry in pagemap: the frame's number, and bits. */
#define PM_FRAME 0x7fffffffffffffULL
#define PM_ALONE 56
#define PM_FILE 61
#define PM_SWAP 62
#define PM_PRESENT 63

/* Bits in /proc/kpageflags. */
#define KPF_KSM 21
#define KPF_ZERO_PAGE 24

struct range {
	unsigned long start, end;
	long long anonymous, swapped;	/* pages that are still to come */
	bool taken;
};

struct batch {
	struct seen pages[BATCH];
	int nr;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

void reader_begin(struct reader *reader)
{
	hash_key_draw(&reader->content_key);
	hash_key_draw(&reader->class_key);
	reader->buf = xalloc((size_t)BATCH * page_bytes());
	reader->began = now();
	reader->flags_fd = root_open("/proc/kpageflags", O_RDONLY);
}

void reader_end(struct reader *reader)
{
	progress_end();
	if (reader->flags_fd >= 0)
		close(reader->flags_fd);
	free(reader->buf);
}

static void keep_rate(struct reader *reader, double bytes)
{
	double ahead;

	reader->bytes += bytes;
	if (!reader->rate)
		return;
	ahead = reader->bytes / reader->rate - (now() - reader->began);
	if (ahead > 0.001)
		usleep(ahead < 1 ? ahead * 1e6 : 1000000);
}

/* How many pages from @first on lie one after the other. */
static int run_length(const struct batch *batch, int first)
{
	int nr = 1;

	while (first + nr < batch->nr && batch->pages[first + nr].address ==
	       batch->pages[first].address + nr * page_bytes())
		nr++;
	return nr;
}

/* To reader->buf, one after the other. A page that is gone has address 0 then. */
static void fetch_pages(struct reader *reader, struct batch *batch)
{
	size_t bytes = page_bytes();
	int first = 0, nr, got;
	ssize_t length;

	while (first < batch->nr) {
		nr = run_length(batch, first);
		length = pread(reader->mem, reader->buf + first * bytes, nr * bytes,
			       batch->pages[first].address);
		got = length < 0 ? 0 : length / bytes;
		first += got;
		if (got < nr)
			batch->pages[first++].address = 0;
	}
}

static void fetch_looks(struct reader *reader, struct batch *batch)
{
	char *to = reader->buf;
	size_t p;
	int i;

	for (i = 0; i < batch->nr; i++)
		for (p = 0; p < ARRAY_SIZE(looks); p++, to += LOOK_BYTES)
			if (pread(reader->mem, to, LOOK_BYTES,
				  batch->pages[i].address + looks[p]) != LOOK_BYTES)
				batch->pages[i].address = 0;
}

static void drop_gone(struct reader *reader, struct batch *batch, size_t whole)
{
	int i, kept = 0;

	for (i = 0; i < batch->nr; i++) {
		if (!batch->pages[i].address)
			continue;
		if (kept != i) {
			batch->pages[kept] = batch->pages[i];
			memcpy(reader->buf + kept * whole, reader->buf + i * whole, whole);
		}
		kept++;
	}
	batch->nr = kept;
}

static bool is_zero(const char *memory, size_t bytes)
{
	return !*memory && !memcmp(memory, memory + 1, bytes - 1);
}

/* Count all, and keep those whose class was drawn. */
static void draw(struct reader *reader, struct batch *batch)
{
	size_t whole = LOOK_BYTES * ARRAY_SIZE(looks);
	struct seen *seen;
	int i, t, kept = 0;

	fetch_looks(reader, batch);
	keep_rate(reader, batch->nr * page_bytes() / 8.0);
	drop_gone(reader, batch, whole);
	for (i = 0; i < batch->nr; i++) {
		seen = &batch->pages[i];
		seen->certain = is_zero(reader->buf + i * whole, whole);
		seen->class = hash_memory(&reader->class_key, reader->buf + i * whole, whole);
		if (seen->certain || seen->class % reader->sample == 0)
			batch->pages[kept++] = *seen;
		else
			for (t = 0; t < reader->nr_tallies; t++)
				tally_new_frame(reader->tallies[t], seen);
	}
	batch->nr = kept;
}

static void read_whole(struct reader *reader, struct batch *batch)
{
	size_t bytes = page_bytes();
	struct seen *seen;
	int i, t;

	fetch_pages(reader, batch);
	keep_rate(reader, (double)batch->nr * bytes);
	drop_gone(reader, batch, bytes);
	for (i = 0; i < batch->nr; i++) {
		seen = &batch->pages[i];
		seen->zero = is_zero(reader->buf + i * bytes, bytes);
		/* Nobody wrote it: it is the zero page already, and no memory. */
		if (seen->zero && !seen->alone && !seen->frame)
			continue;
		seen->content = hash_memory(&reader->content_key,
					    reader->buf + i * bytes, bytes);
		for (t = 0; t < reader->nr_tallies; t++)
			if (tally_new_frame(reader->tallies[t], seen))
				tally_add(reader->tallies[t], seen);
	}
}

static void flush(struct reader *reader, struct batch *batch)
{
	if (!batch->nr)
		return;
	reader->done += batch->nr;
	if (reader->sample > 1)
		draw(reader, batch);
	read_whole(reader, batch);
	batch->nr = 0;
	progress_show(reader->label, reader->total ? reader->done / reader->total : 0);
}

static bool flag(unsigned long long flags, int bit)
{
	return flags >> bit & 1;
}

/* Frames that several map: is it the zero page, or merged already? */
static bool look_at_frame(struct reader *reader, struct seen *seen)
{
	unsigned long long flags;

	if (seen->alone || !seen->frame || reader->flags_fd < 0 ||
	    pread(reader->flags_fd, &flags, sizeof(flags),
		  seen->frame * sizeof(flags)) != sizeof(flags))
		return true;
	seen->merged = flag(flags, KPF_KSM);
	return !flag(flags, KPF_ZERO_PAGE);
}

static void take_entry(struct reader *reader, struct batch *batch,
		       struct range *range, unsigned long address,
		       unsigned long long entry)
{
	struct seen seen = { .address = address };

	if (flag(entry, PM_SWAP)) {
		reader->swapped++;
		range->swapped--;
	}
	if (!flag(entry, PM_PRESENT) || flag(entry, PM_FILE))
		return;
	seen.frame = entry & PM_FRAME;
	seen.alone = flag(entry, PM_ALONE);
	reader->blind |= !seen.frame;
	if (!look_at_frame(reader, &seen))
		return;
	/* The zero page can't be told without its frame, and is not among them. */
	range->anonymous -= seen.alone || seen.frame;
	batch->pages[batch->nr++] = seen;
	if (batch->nr == BATCH)
		flush(reader, batch);
}

/* A large range with little in it is left when that was found. */
static void read_range(struct reader *reader, struct batch *batch, int pagemap,
		       struct range *range)
{
	unsigned long long entries[ENTRIES];
	unsigned long address = range->start;
	size_t wanted, i;
	ssize_t got;

	while (address < range->end && range->anonymous + range->swapped > 0) {
		wanted = (range->end - address) / page_bytes();
		if (wanted > ENTRIES)
			wanted = ENTRIES;
		got = pread(pagemap, entries, wanted * sizeof(*entries),
			    address / page_bytes() * sizeof(*entries));
		if (got <= 0)
			return;
		for (i = 0; i < got / sizeof(*entries); i++) {
			take_entry(reader, batch, range, address, entries[i]);
			address += page_bytes();
		}
	}
	flush(reader, batch);
}

/*
 * What a 1 takes: not what can't be merged, what was refused, nor what is
 * marked as a key or locked, unless that was asked for or is taken in.
 */
static bool flags_taken(const struct reader *reader, const char *flags)
{
	static const char * const never[] = {
		"sh", "ms", "pf", "io", "de", "ht", "mm", "dp", "nm",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(never); i++)
		if (has_word(flags, never[i]))
			return false;
	if (has_word(flags, "mg"))
		return true;
	return !has_word(flags, "wf") &&
	       (reader->marked || !has_word(flags, "dd")) &&
	       (reader->locked || !has_word(flags, "lo"));
}

static bool line_pages(const char *line, const char *key, long long *pages)
{
	size_t length = strlen(key);

	if (strncmp(line, key, length))
		return false;
	*pages = strtoll(line + length, NULL, 10) * 1024 / page_bytes();
	return true;
}

/* next_range - from smaps; VmFlags is the last line of each */
static bool next_range(const struct reader *reader, FILE *smaps,
		       struct range *range)
{
	unsigned long start, end;
	char line[8192];

	memset(range, 0, sizeof(*range));
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			range->start = start;
			range->end = end;
		} else if (!strncmp(line, "VmFlags:", 8)) {
			range->taken = flags_taken(reader, line + 8);
			return true;
		} else if (!line_pages(line, "Anonymous:", &range->anonymous)) {
			line_pages(line, "Swap:", &range->swapped);
		}
	}
	return false;
}

static int open_file(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = root_open(path, O_RDONLY);
	return fd < 0 ? -errno : fd;
}

static void read_ranges(struct reader *reader, FILE *smaps, int pagemap)
{
	struct batch batch = { .nr = 0 };
	struct range range;

	while (next_range(reader, smaps, &range))
		if (range.taken && range.anonymous + range.swapped > 0)
			read_range(reader, &batch, pagemap, &range);
}

/* reader_process - 0 or a negative errno; what ends meanwhile is no error */
int reader_process(struct reader *reader, pid_t pid)
{
	int ranges = open_file(pid, "smaps"), pagemap = open_file(pid, "pagemap");
	FILE *smaps = ranges < 0 ? NULL : fdopen(ranges, "r");
	int error = ranges < 0 ? ranges : pagemap < 0 ? pagemap : 0;

	reader->mem = open_file(pid, "mem");
	if (reader->mem < 0)
		error = reader->mem;
	if (smaps && !error)
		read_ranges(reader, smaps, pagemap);
	if (smaps)
		fclose(smaps);
	if (pagemap >= 0)
		close(pagemap);
	if (reader->mem >= 0)
		close(reader->mem);
	return error;
}
