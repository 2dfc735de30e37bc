/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What holds in a cgroup for each value above it and each of its own, as the
 * engine's code decides: printed by vm/pairs.py --header. "own" before a value
 * says that the cgroup is the root of a merge domain.
 */
#ifndef KSMPAIRS_H
#define KSMPAIRS_H

struct said {
	const char *value;
	bool granted;
};

/* One above that is not granted is below a granted 1. */
static const struct said said_above[] = {
	{ "0", true },
	{ "madvise", true },
	{ "1", true },
	{ "madvise", false },
	{ "1", false },
};

static const struct said said_own[] = {
	{ "inherit", true },
	{ "0", true },
	{ "madvise", true },
	{ "1", true },
	{ "madvise", false },
	{ "1", false },
};

static const char * const said_holds[][6] = {
	{ "0", "0", "0", "0", "0", "0" },
	{ "madvise", "0", "own madvise", "own 1", "madvise", "madvise" },
	{ "1", "0", "own madvise", "own 1", "own madvise", "own 1" },
	{ "madvise", "0", "own madvise", "own 1", "own madvise", "own 1" },
	{ "1", "0", "own madvise", "own 1", "own madvise", "own 1" },
};

#endif /* KSMPAIRS_H */
