// SPDX-License-Identifier: GPL-2.0
/*
 * estimate: what merging would save, before anything is changed.
 *
 * Each cgroup or process named is taken as a domain of its own; the last line
 * is about all of them in one.
 */
#include <errno.h>
#include <getopt.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "group.h"
#include "memory.h"
#include "progress.h"
#include "space.h"
#include "target.h"
#include "tool.h"

#define DEFAULT_RATE (512LL << 20)

struct estimate {
	struct reader reader;
	struct tally together;
	struct table seen_pids;
	struct table seen_spaces;
	struct spaces spaces;
	struct libscols_table *table;
	bool bytes;
	bool json;
	long long processes;
	long long swapped;
	long long refused;
	bool few;
};

struct pids {
	pid_t *list;
	size_t nr;
	size_t room;
	double pages;
};

static const char * const headings[] = {
	"DOMAIN", "PROCS", "MEMORY", "SAVES", "PART", "ZERO", "LOW", "HIGH",
	"MERGED", "SWAPPED",
};

/* Anonymous memory in RAM, for the bar only. */
static double anonymous_pages(pid_t pid)
{
	char path[64], text[8192], value[32];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (root_read(path, text, sizeof(text)) < 0 ||
	    !find_key(text, "RssAnon", value, sizeof(value)))
		return 0;
	return strtod(value, NULL) * 1024 / page_bytes();
}

static void add_pid(pid_t pid, void *data)
{
	struct pids *pids = data;

	/* Our own memory is of no interest, and changes while it is read. */
	if (pid == getpid())
		return;
	if (pids->nr == pids->room) {
		pids->room = pids->room ? 2 * pids->room : 64;
		pids->list = xrealloc(pids->list, pids->room * sizeof(*pids->list));
	}
	pids->list[pids->nr++] = pid;
	pids->pages += anonymous_pages(pid);
}

/* A PID is that process here, not its cgroup. */
static int find_pids(const char *word, struct pids *pids)
{
	char cgroup[4096], path[64];
	long long pid;

	if (!parse_number(word, 1, 1 << 30, &pid)) {
		snprintf(path, sizeof(path), "/proc/%lld", pid);
		if (!root_exists(path)) {
			complain("%s: there is no such process", path);
			return -1;
		}
		add_pid(pid, pids);
		return 0;
	}
	if (target_cgroup(word, cgroup, sizeof(cgroup)))
		return -1;
	return each_pid_below(cgroup, add_pid, pids);
}

/* What the process's cgroup takes in. */
static void take_types(struct reader *reader, pid_t pid)
{
	char cgroup[4096], types[256] = "";

	if (!process_cgroup(pid, cgroup, sizeof(cgroup)))
		types_in_force(cgroup, types, sizeof(types));
	reader->locked = has_word(types, "locked");
	reader->marked = has_word(types, "dontdump");
}

/* How many of them were read, or have memory that was. */
static int read_pids(struct estimate *estimate, const struct pids *pids)
{
	struct reader *reader = &estimate->reader;
	struct table here = { .used = 0 };
	int error, read = 0;
	char path[64];
	pid_t first;
	size_t i;

	for (i = 0; i < pids->nr; i++) {
		table_get(&estimate->seen_pids, pids->list[i]);
		first = space_first(&estimate->spaces, pids->list[i]);
		/* Memory that two have is in a domain once. */
		if (table_get(&here, first)->first++) {
			read++;
			continue;
		}
		/* And what was named twice is in "together" once. */
		reader->nr_tallies = table_get(&estimate->seen_spaces,
					       first)->first++ ? 1 : 2;
		take_types(reader, pids->list[i]);
		error = reader_process(reader, pids->list[i]);
		read += !error;
		if (error == -ESRCH || error == -ENOENT)
			continue;
		if (error && !estimate->refused++) {
			snprintf(path, sizeof(path), "/proc/%d/mem", pids->list[i]);
			progress_end();
			complain_file(path, USE_PROCESS, -error);
		}
	}
	table_free(&here);
	return read;
}

static void put_size(struct estimate *estimate, struct libscols_line *line,
		     int column, double pages)
{
	long long bytes = (long long)pages * page_bytes();
	char buf[32];

	if (estimate->bytes)
		snprintf(buf, sizeof(buf), "%lld", bytes);
	else
		human_size(buf, sizeof(buf), bytes);
	scols_line_set_data(line, column, buf);
}

static void put_result(struct estimate *estimate, const char *name,
		       long long processes, const struct tally *tally,
		       long long swapped)
{
	struct libscols_line *line = scols_table_new_line(estimate->table, NULL);
	struct result result;
	char buf[32];

	tally_result(tally, estimate->reader.sample, &result);
	estimate->few |= result.few;
	scols_line_set_data(line, 0, name);
	snprintf(buf, sizeof(buf), "%lld", processes);
	scols_line_set_data(line, 1, buf);
	put_size(estimate, line, 2, tally->pages);
	put_size(estimate, line, 3, result.saved);
	snprintf(buf, sizeof(buf), estimate->json ? "%.1f" : "%.1f%%",
		 tally->pages ? 100 * result.saved / tally->pages : 0);
	scols_line_set_data(line, 4, buf);
	put_size(estimate, line, 5, result.zero);
	if (estimate->reader.sample > 1) {
		put_size(estimate, line, 6, result.low);
		put_size(estimate, line, 7, result.high);
	}
	put_size(estimate, line, 8, tally->merged);
	put_size(estimate, line, 9, swapped);
}

/* One of the domains named. Returns an exit status. */
static int estimate_one(struct estimate *estimate, const char *word)
{
	struct reader *reader = &estimate->reader;
	struct tally tally = { .pages = 0 };
	struct pids pids = { .nr = 0 };
	int status = STATUS_FAILED;

	if (!find_pids(word, &pids)) {
		reader->tallies[0] = &tally;
		reader->label = word;
		reader->done = 0;
		reader->total = pids.pages;
		reader->swapped = 0;
		if (read_pids(estimate, &pids) || !pids.nr) {
			put_result(estimate, word, pids.nr, &tally, reader->swapped);
			status = STATUS_OK;
		}
		estimate->processes += pids.nr;
		estimate->swapped += reader->swapped;
	}
	progress_end();
	tally_free(&tally);
	free(pids.list);
	return status;
}

static void make_table(struct estimate *estimate)
{
	struct libscols_column *column;
	size_t i;
	bool text;

	estimate->table = scols_new_table();
	scols_table_enable_json(estimate->table, estimate->json);
	scols_table_set_name(estimate->table, "estimates");
	for (i = 0; i < ARRAY_SIZE(headings); i++) {
		/* Without a sample there is no interval to show. */
		column = scols_table_new_column(estimate->table, headings[i], 0,
						i ? SCOLS_FL_RIGHT : 0);
		if ((i == 6 || i == 7) && estimate->reader.sample == 1)
			scols_column_set_flags(column, SCOLS_FL_HIDDEN);
		text = !i || (i != 1 && i != 4 && !estimate->bytes);
		if (!text && estimate->json)
			scols_column_set_json_type(column, SCOLS_JSON_NUMBER);
	}
}

static void tell_limits(const struct estimate *estimate)
{
	if (estimate->refused)
		complain("%lld processes could not be read: what is theirs is missing",
			 estimate->refused);
	if (estimate->reader.blind)
		complain("%s",
			 "frames can't be told apart without CAP_SYS_ADMIN: memory that was shared by fork is counted for each process, run this as root");
	if (estimate->few)
		complain("%s",
			 "few contents with copies were drawn, so LOW and HIGH are rough: use a smaller --sample");
}

static int estimate_all(struct estimate *estimate, int nr, char **words)
{
	int i, status = STATUS_OK, done = 0;

	make_table(estimate);
	reader_begin(&estimate->reader);
	estimate->reader.tallies[1] = &estimate->together;
	for (i = 0; i < nr; i++) {
		if (estimate_one(estimate, words[i]))
			status = STATUS_FAILED;
		else
			done++;
	}
	reader_end(&estimate->reader);
	if (done > 1)
		put_result(estimate, "together", estimate->seen_pids.used,
			   &estimate->together, estimate->swapped);
	if (done && scols_print_table(estimate->table))
		status = STATUS_FAILED;
	tell_limits(estimate);
	scols_unref_table(estimate->table);
	tally_free(&estimate->together);
	table_free(&estimate->seen_pids);
	table_free(&estimate->seen_spaces);
	spaces_free(&estimate->spaces);
	return status;
}

static void print_help(void)
{
	puts("Usage: ksm-cgroup estimate [options] CGROUP|PID...\n\n"
	     "Read memory of processes and tell what merging it would save: in a domain for\n"
	     "each CGROUP or process named, and together. Nothing is changed.\n\n"
	     " -b, --bytes           print sizes in bytes\n"
	     " -J, --json            print JSON; sizes are numbers with --bytes\n"
	     " -r, --rate SIZE       read at most so much a second (default 512M; max: no limit)\n"
	     " -s, --sample N        read one content in N whole, and of the others only where\n"
	     "                       they begin; LOW and HIGH are a 95% confidence interval\n"
	     " -h, --help            print this\n\n"
	     "MEMORY is private anonymous memory that a 1 would merge under the present\n"
	     "memory.ksm.types, each frame once; ZERO is the part of SAVES that is zero pages;\n"
	     "MERGED shares merged frames already, which includes what fork shares anyway.");
}

static const struct option options[] = {
	{ "bytes", no_argument, NULL, 'b' },
	{ "json", no_argument, NULL, 'J' },
	{ "rate", required_argument, NULL, 'r' },
	{ "sample", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 }
};

static int take_option(struct estimate *estimate, int option)
{
	long long number;

	switch (option) {
	case 'b':
		estimate->bytes = true;
		return STATUS_OK;
	case 'J':
		estimate->json = true;
		return STATUS_OK;
	case 'r':
		if (!strcmp(optarg, "max")) {
			estimate->reader.rate = 0;
			return STATUS_OK;
		}
		if (parse_size(optarg, &estimate->reader.rate) ||
		    estimate->reader.rate < page_bytes())
			return usage_error("estimate: '%s' is no rate, such as 512M or max",
					   optarg);
		return STATUS_OK;
	case 's':
		if (parse_number(optarg, 1, 1000000, &number))
			return usage_error("estimate: '%s' is not a number from 1 to 1000000",
					   optarg);
		estimate->reader.sample = number;
		return STATUS_OK;
	default:
		return usage_error("estimate: bad option");
	}
}

int cmd_estimate(int argc, char **argv)
{
	struct estimate estimate = {
		.reader = { .sample = 1, .rate = DEFAULT_RATE },
	};
	int option, status;

	while ((option = getopt_long(argc, argv, "bJr:s:h", options, NULL)) >= 0) {
		if (option == 'h') {
			print_help();
			return STATUS_OK;
		}
		status = take_option(&estimate, option);
		if (status)
			return status;
	}
	if (optind == argc)
		return usage_error("estimate: which CGROUP or PID?");
	return estimate_all(&estimate, argc - optind, argv + optind);
}
