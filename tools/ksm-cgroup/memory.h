/* SPDX-License-Identifier: GPL-2.0 */
/* Reading the memory of processes, which changes nothing in them. */
#ifndef KSM_MEMORY_H
#define KSM_MEMORY_H

#include <sys/types.h>

#include "tally.h"

#define MOST_TALLIES 2

/**
 * struct reader - reads processes and feeds tallies
 * @sample: one content in so many is read whole; 1 for all
 * @rate: bytes a second at most; 0 for no limit
 * @tallies: each page goes to all of them
 * @nr_tallies: how many; the second one can be switched off for a process
 * @done: pages that were passed, for the bar
 * @total: pages to be expected
 * @swapped: pages that are swapped out, which are not looked at
 * @marked: ranges marked MADV_DONTDUMP are read: the word dontdump
 * @locked: locked ranges are read: the word locked
 * @blind: frames can't be told apart, as we lack CAP_SYS_ADMIN
 */
struct reader {
	int sample;
	long long rate;
	struct tally *tallies[MOST_TALLIES];
	int nr_tallies;
	double done;
	double total;
	long long swapped;
	bool marked;
	bool locked;
	bool blind;
	/* memory.c's own */
	struct hash_key content_key;
	struct hash_key class_key;
	double bytes;
	double began;
	char *buf;
	int flags_fd;
	int mem;
	const char *label;
};

void reader_begin(struct reader *reader);
int reader_process(struct reader *reader, pid_t pid);
void reader_end(struct reader *reader);

#endif /* KSM_MEMORY_H */
