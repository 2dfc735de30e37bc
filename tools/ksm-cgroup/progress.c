// SPDX-License-Identifier: GPL-2.0
/*
 * The bar is on standard error, so that output can be sent elsewhere; it is
 * drawn ten times a second at most and wiped away at the end.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

static bool drawn;

bool progress_wanted(void)
{
	return isatty(STDERR_FILENO);
}

static bool too_soon(void)
{
	static struct timespec last;
	struct timespec now;
	double passed;

	clock_gettime(CLOCK_MONOTONIC, &now);
	passed = now.tv_sec - last.tv_sec + (now.tv_nsec - last.tv_nsec) / 1e9;
	if (drawn && passed < 0.1)
		return true;
	last = now;
	return false;
}

void progress_show(const char *label, double part)
{
	int width = 80 - 8, filled;
	struct winsize window;

	if (!progress_wanted() || too_soon())
		return;
	if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &window) && window.ws_col > 20)
		width = window.ws_col - 8;
	width -= strlen(label);
	if (width > 60)
		width = 60;
	if (width < 4)
		width = 4;
	part = part < 0 ? 0 : part > 1 ? 1 : part;
	filled = part * width;
	fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%", label, filled,
		"############################################################",
		width - filled, "", 100 * part);
	fflush(stderr);
	drawn = true;
}

void progress_end(void)
{
	if (drawn)
		fputs("\r\033[K", stderr);
	drawn = false;
}
