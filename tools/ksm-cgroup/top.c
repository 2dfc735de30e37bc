// SPDX-License-Identifier: GPL-2.0
/*
 * top: the cgroups, live.
 *
 * A look at ten thousand cgroups takes its time. So the delay is stretched
 * where a look takes more than a tenth of it: the view must not be a load.
 */
#include <curses.h>
#include <getopt.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target.h"
#include "tool.h"
#include "top.h"

#define HEAD_LINES 5

struct view {
	struct watch watch;
	enum order order;
	double delay;
	long iterations;
	size_t first;
	size_t chosen;
	bool only_merged;
	bool help;
	bool paused;
	bool quit;
};

static const char * const order_names[NR_ORDERS] = {
	"saved", "share", "merges", "cost", "path",
};

static const char * const help_lines[] = {
	"Keys",
	"  Up Down PgUp PgDn Home End   move",
	"  s p m c n                    sort by saved, share of scanning (p), merges, cost, path (n)",
	"  z                            hide cgroups in which nothing is merged",
	"  + -                          look less or more often",
	"  Space                        look now",
	"  d                            stop, and go on",
	"  h ?                          this help",
	"  q                            quit",
	"",
	"SCAN% is the share of the CPU time of scanning since the last look, MERGES",
	"are pages a second, TREND is what was saved at the last looks.",
};

static bool unicode(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/* The last looks as a row of bars, the largest as high as a line. */
static void draw_trend(const struct live *live)
{
	static const char * const bars[] = {
		" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█",
	};
	static const char * const plain[] = {
		" ", "_", "_", ".", ".", "-", "-", "=", "#",
	};
	unsigned int nr = live->looks < HISTORY ? live->looks : HISTORY, i;
	long long most = 1, value;

	for (i = 0; i < nr; i++)
		if (live->history[i] > most)
			most = live->history[i];
	for (i = nr; i < HISTORY; i++)
		addstr(" ");
	for (i = live->looks - nr; i < live->looks; i++) {
		value = live->history[i % HISTORY];
		value = value > 0 ? 1 + value * 7 / most : 0;
		addstr(unicode() ? bars[value] : plain[value]);
	}
}

static void draw_bar(double share)
{
	int filled = share * 6 + 0.5;

	printw("%5.1f ", 100 * share);
	printw("%.*s%*s", filled > 6 ? 6 : filled, "||||||",
	       filled > 6 ? 0 : 6 - filled, "");
}

static void put_size(long long bytes)
{
	char buf[32];

	printw(" %7s", human_size(buf, sizeof(buf), bytes));
}

static void draw_group(const struct live *live)
{
	const struct stats *now = &live->now;
	int room = COLS - 1 - 67;

	addstr(" ");
	draw_bar(live->share);
	printw(" %8.0f", live->merges);
	put_size(now->value[STAT_MERGING] * page_bytes());
	put_size(now->value[STAT_ZERO] * page_bytes());
	if (stats_has(now, STAT_SAVED))
		put_size(live->saved);
	else
		printw(" %7s", "-");
	put_size(now->value[STAT_METADATA]);
	addstr(" ");
	draw_trend(live);
	if (room > 0)
		printw(" %.*s", room, live->path);
}

static void draw_head(const struct view *view, size_t shown)
{
	const struct live *top = NULL;
	long long run = -1, cgroups = -1;
	char buf[32];
	size_t i;

	for (i = 0; i < view->watch.nr; i++)
		if (!strcmp(view->watch.list[i]->path, view->watch.top))
			top = view->watch.list[i];
	root_number(SYSFS_KSM "/run", &run);
	root_number(SYSFS_KSM "/run_cgroups", &cgroups);
	mvprintw(0, 0, "ksm-cgroup top - %s, %zu of %zu cgroups, by %s%s",
		 view->watch.top, shown, view->watch.nr, order_names[view->order],
		 view->paused ? ", stopped" : "");
	mvprintw(1, 0, "run %lld", run);
	if (cgroups >= 0)
		printw(", run_cgroups %lld", cgroups);
	if (run == 2 || (run == 0 && cgroups <= 0))
		addstr(" (the scanner is stopped)");
	if (!view->watch.ours)
		printw(", no memory.ksm: only what processes say is known");
	mvprintw(2, 0, "every %.1f s, a look takes %.3f s", view->delay, view->watch.took);
	if (top)
		printw(", saved %s", human_size(buf, sizeof(buf), top->saved));
	attron(A_REVERSE);
	mvprintw(HEAD_LINES - 1, 0, "%-13s %8s %7s %7s %7s %7s %-16s %s", " SCAN%", "MERGES",
		 "MERGED", "ZERO", "SAVED", "COST", "TREND", "CGROUP");
	for (i = getcurx(stdscr); i < (size_t)COLS; i++)
		addch(' ');
	attroff(A_REVERSE);
}

static bool shown(const struct view *view, const struct live *live)
{
	return !view->only_merged ||
	       live->now.value[STAT_MERGING] + live->now.value[STAT_ZERO] > 0;
}

static void keep_on_screen(struct view *view, size_t nr, size_t lines)
{
	if (view->chosen >= nr)
		view->chosen = nr ? nr - 1 : 0;
	if (view->first > view->chosen)
		view->first = view->chosen;
	if (lines && view->chosen >= view->first + lines)
		view->first = view->chosen - lines + 1;
	if (view->first + lines > nr)
		view->first = nr > lines ? nr - lines : 0;
}

/* How many cgroups the screen has room for. */
static int group_lines(void)
{
	int lines = getmaxy(stdscr) - HEAD_LINES;

	return lines > 0 ? lines : 0;
}

static void draw(struct view *view)
{
	size_t lines = group_lines(), nr = 0, at = 0, i;

	watch_sort(&view->watch, view->order);
	for (i = 0; i < view->watch.nr; i++)
		nr += shown(view, view->watch.list[i]);
	keep_on_screen(view, nr, lines);
	erase();
	draw_head(view, nr);
	for (i = 0; i < ARRAY_SIZE(help_lines) && view->help; i++)
		mvaddnstr(HEAD_LINES + i, 0, help_lines[i], COLS);
	for (i = 0; i < view->watch.nr && !view->help; i++) {
		if (!shown(view, view->watch.list[i]))
			continue;
		if (at >= view->first && at < view->first + lines) {
			move(HEAD_LINES + at - view->first, 0);
			if (at == view->chosen)
				attron(A_BOLD);
			draw_group(view->watch.list[i]);
			attroff(A_BOLD);
		}
		at++;
	}
	refresh();
}

static void move_by(struct view *view, long lines)
{
	if (lines < 0 && view->chosen < (size_t)-lines)
		view->chosen = 0;
	else
		view->chosen += lines;
}

static void set_delay(struct view *view, double factor)
{
	view->delay *= factor;
	if (view->delay < 0.1)
		view->delay = 0.1;
	if (view->delay > 600)
		view->delay = 600;
}

static bool order_key(struct view *view, int key)
{
	static const char keys[NR_ORDERS] = { 's', 'p', 'm', 'c', 'n' };
	int i;

	for (i = 0; i < NR_ORDERS; i++)
		if (key == keys[i])
			view->order = i;
	return key < 256 && memchr(keys, key, sizeof(keys));
}

/* Returns true if it is time for another look. */
static bool take_key(struct view *view, int key)
{
	long page = group_lines();

	if (order_key(view, key))
		return false;
	switch (key) {
	case 'q':
		view->quit = true;
		return false;
	case 'h':
	case '?':
		view->help = !view->help;
		return false;
	case 'z':
		view->only_merged = !view->only_merged;
		return false;
	case 'd':
		view->paused = !view->paused;
		return !view->paused;
	case '+':
		set_delay(view, 2);
		return false;
	case '-':
		set_delay(view, 0.5);
		return false;
	case KEY_UP:
	case KEY_DOWN:
		move_by(view, key == KEY_UP ? -1 : 1);
		return false;
	case KEY_PPAGE:
	case KEY_NPAGE:
		move_by(view, key == KEY_PPAGE ? -page : page);
		return false;
	case KEY_HOME:
	case KEY_END:
		view->chosen = key == KEY_HOME ? 0 : view->watch.nr;
		return false;
	default:
		return key == ' ';
	}
}

/* Until it is time for another look. */
static void wait_and_draw(struct view *view)
{
	double pause = view->delay, left;
	int key;

	if (pause < 10 * view->watch.took)
		pause = 10 * view->watch.took;
	while (!view->quit) {
		draw(view);
		left = view->watch.at + pause - seconds_now();
		if (left <= 0 && !view->paused)
			return;
		timeout(view->paused ? 1000 : left * 1000 + 1);
		key = getch();
		if (key != ERR && take_key(view, key))
			return;
	}
}

static int watch_loop(struct view *view)
{
	while (!view->quit) {
		if (watch_look(&view->watch))
			return STATUS_FAILED;
		if (view->iterations && !--view->iterations)
			view->quit = true;
		draw(view);
		if (!view->quit)
			wait_and_draw(view);
	}
	return STATUS_OK;
}

static int run_view(struct view *view)
{
	int status;

	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
		complain("%s",
			 "top: this is no terminal; 'ksm-cgroup list' or 'ksm-cgroup export' print the figures");
		return STATUS_FAILED;
	}
	if (!newterm(NULL, stdout, stdin)) {
		complain("top: the terminal '%s' is not known: try TERM=vt100",
			 getenv("TERM") ? getenv("TERM") : "");
		return STATUS_FAILED;
	}
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	set_escdelay(25);
	status = watch_loop(view);
	endwin();
	if (status)
		complain("top: %s is gone: the cgroup was removed", view->watch.top);
	return status;
}

static int take_order(struct view *view, const char *name)
{
	int i;

	for (i = 0; i < NR_ORDERS; i++)
		if (!strcmp(name, order_names[i])) {
			view->order = i;
			return STATUS_OK;
		}
	return usage_error("top: '%s' is no order: saved, share, merges, cost or path",
			   name);
}

static int take_option(struct view *view, int option)
{
	long long number;
	char *end;

	switch (option) {
	case 'd':
		view->delay = strtod(optarg, &end);
		if (end == optarg || *end || !(view->delay >= 0.1 && view->delay <= 600))
			return usage_error("top: '%s' is no delay from 0.1 to 600 seconds",
					   optarg);
		return STATUS_OK;
	case 'n':
		if (parse_number(optarg, 1, 1 << 30, &number))
			return usage_error("top: '%s' is no number of looks", optarg);
		view->iterations = number;
		return STATUS_OK;
	case 'o':
		return take_order(view, optarg);
	default:
		return usage_error("top: bad option");
	}
}

int cmd_top(int argc, char **argv)
{
	static const struct option options[] = {
		{ "delay", required_argument, NULL, 'd' },
		{ "iterations", required_argument, NULL, 'n' },
		{ "order", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct view view = { .delay = 2 };
	char top[4096] = "/";
	int option, status = STATUS_OK;

	while (!status && (option = getopt_long(argc, argv, "d:n:o:h", options,
						NULL)) >= 0) {
		if (option == 'h') {
			puts("Usage: ksm-cgroup top [options] [CGROUP]\n\n"
			     "Show merging live. Key h has the keys.\n\n"
			     " -d, --delay SECONDS   between looks (default 2)\n"
			     " -n, --iterations N    end after N looks\n"
			     " -o, --order NAME      saved (default), share, merges, cost or path\n"
			     " -h, --help            print this");
			return STATUS_OK;
		}
		status = take_option(&view, option);
	}
	if (!status && argc - optind > 1)
		status = usage_error("top: one CGROUP at most");
	if (!status && optind < argc && target_cgroup(argv[optind], top, sizeof(top)))
		status = STATUS_FAILED;
	if (status)
		return status;
	view.watch.top = top;
	status = run_view(&view);
	watch_free(&view.watch);
	return status;
}
