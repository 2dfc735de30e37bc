/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The columns of "list": one table that the headers, the help, the JSON, the
 * order and the filters are made from.
 */
#ifndef KSM_COLUMN_H
#define KSM_COLUMN_H

#include <stdbool.h>

#include "group.h"

enum column_kind { KIND_TEXT, KIND_SIZE, KIND_COUNT, KIND_SECONDS };

/**
 * struct cell - a value before it is printed
 * @known: false prints as nothing, or null
 * @number: of all kinds but KIND_TEXT; seconds are in microseconds
 * @text: of KIND_TEXT; it belongs to the group
 */
struct cell {
	bool known;
	long long number;
	const char *text;
};

struct column {
	const char *name;
	enum column_kind kind;
	const char *help;
	void (*get)(const struct group *group, struct cell *cell);
	/* For those that are a key of memory.ksm.stat; pages as bytes. */
	enum stat_key key;
	bool pages;
};

extern const struct column columns[];
extern const size_t nr_columns;

const struct column *column_find(const char *name, size_t length);
void column_get(const struct column *column, const struct group *group,
		struct cell *cell);
const char *cell_text(const struct column *column, const struct cell *cell,
		      bool bytes, char *buf, size_t size);
int cell_compare(const struct column *column, const struct cell *a,
		 const struct cell *b);

/* filter.c */
struct filter {
	const struct column *column;
	char op[3];
	char *text;
	long long number;
	void *pattern;
	struct filter *next;
};

int filter_add(struct filter **filters, const char *expression);
bool filter_takes(const struct filter *filters, const struct group *group);
void filter_free(struct filter *filters);

#endif /* KSM_COLUMN_H */
