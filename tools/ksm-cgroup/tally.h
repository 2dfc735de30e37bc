/* SPDX-License-Identifier: GPL-2.0 */
/* What merging would save among the pages that were seen. */
#ifndef KSM_TALLY_H
#define KSM_TALLY_H

#include "hash.h"

/**
 * struct seen - a page of some process
 * @address: where
 * @frame: its frame's number; 0 if we may not know it
 * @alone: nobody else maps the frame
 * @merged: the frame is merged already
 * @class: by which it was drawn, see tally.c
 * @content: its hash
 * @certain: of a class that is always drawn
 * @zero: all of it is zero
 */
struct seen {
	unsigned long address;
	unsigned long long frame;
	bool alone;
	bool merged;
	unsigned long long class;
	unsigned long long content;
	bool certain;
	bool zero;
};

/**
 * struct tally - one set of processes that could share
 * @pages: frames that were seen, each once
 * @zero: of those that were read, zero pages
 * @merged: mappings of merged frames beyond the first of each
 * @contents: by content, how many frames have it
 * @classes: by class, how many frames and how many contents it has
 * @frames: those that several processes map; which were seen
 */
struct tally {
	long long pages;
	long long zero;
	long long merged;
	struct table contents;
	struct table classes;
	struct table frames;
};

/**
 * struct result - what a tally comes to, in pages
 * @saved: what merging would save
 * @zero: of it, by zero pages
 * @low: with 95% confidence it is not less
 * @high: nor more
 * @few: too few were drawn for such a statement
 */
struct result {
	double saved;
	double zero;
	double low;
	double high;
	bool few;
};

bool tally_new_frame(struct tally *tally, const struct seen *seen);
void tally_add(struct tally *tally, const struct seen *seen);
void tally_result(const struct tally *tally, int sample, struct result *result);
void tally_free(struct tally *tally);

#endif /* KSM_TALLY_H */
