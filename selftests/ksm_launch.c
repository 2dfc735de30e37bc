// SPDX-License-Identifier: GPL-2.0
/*
 * Start a program that takes part in samepage merging, or stays out of it, and
 * does not know: exec and fork keep the setting.
 *
 * usage: ksm_launch [--off|--default] program [argument ...]
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif
#ifndef PR_MEMORY_MERGE_DEFAULT
#define PR_MEMORY_MERGE_DEFAULT	1
#endif

int main(int argc, char **argv)
{
	unsigned long value = 1, flags = 0;
	int first = 1;

	if (argc > 1 && !strcmp(argv[1], "--off")) {
		value = 0;
		first++;
	} else if (argc > 1 && !strcmp(argv[1], "--default")) {
		value = 0;
		flags = PR_MEMORY_MERGE_DEFAULT;
		first++;
	}
	if (first >= argc) {
		fprintf(stderr,
			"usage: %s [--off|--default] program [argument ...]\n",
			argv[0]);
		return 2;
	}
	if (prctl(PR_SET_MEMORY_MERGE, value, flags, 0, 0)) {
		fprintf(stderr, "%s: PR_SET_MEMORY_MERGE: %s\n", argv[0],
			strerror(errno));
		return 1;
	}
	execvp(argv[first], argv + first);
	fprintf(stderr, "%s: %s: %s\n", argv[0], argv[first], strerror(errno));
	return 127;
}
