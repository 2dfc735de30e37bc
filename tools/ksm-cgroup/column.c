// SPDX-License-Identifier: GPL-2.0
/*
 * The table of columns, and a value's way from a cgroup to its text.
 */
#include <string.h>
#include <strings.h>

#include "column.h"
#include "tool.h"

static void set_text(struct cell *cell, const char *text)
{
	cell->known = text;
	cell->text = text;
}

static void set_number(struct cell *cell, long long number)
{
	cell->known = true;
	cell->number = number;
}

static void get_path(const struct group *group, struct cell *cell)
{
	set_text(cell, group->path);
}

static void get_own(const struct group *group, struct cell *cell)
{
	set_text(cell, setting_name(group->own));
}

static void get_effective(const struct group *group, struct cell *cell)
{
	set_text(cell, setting_name(group->effective));
}

static void get_domain(const struct group *group, struct cell *cell)
{
	if (group->own != SETTING_UNKNOWN)
		set_text(cell, domain_of(group));
}

static void get_join(const struct group *group, struct cell *cell)
{
	if (*group->join)
		set_text(cell, group->join);
}

static void get_types(const struct group *group, struct cell *cell)
{
	set_text(cell, group->types);
}

static void get_weight(const struct group *group, struct cell *cell)
{
	if (group->weight)
		set_number(cell, group->weight);
}

static void get_memory(const struct group *group, struct cell *cell)
{
	if (group->memory >= 0)
		set_number(cell, group->memory);
}

static void get_parent(const struct group *group, struct cell *cell)
{
	if (group->parent)
		set_text(cell, group->parent->path);
}

#define TEXT(name, fn, help) { name, KIND_TEXT, help, fn, 0, false }
#define PAGES(name, key, help) { name, KIND_SIZE, help, NULL, key, true }
#define BYTES(name, key, help) { name, KIND_SIZE, help, NULL, key, false }
#define COUNT(name, key, help) { name, KIND_COUNT, help, NULL, key, false }

const struct column columns[] = {
	TEXT("CGROUP", get_path, "the cgroup; as a tree unless --list is given"),
	TEXT("KSM", get_own, "what memory.ksm says"),
	TEXT("EFFECTIVE", get_effective, "what holds: 0, 1 or madvise"),
	TEXT("DOMAIN", get_domain, "where pages are shared: in that cgroup, or by @NAME"),
	TEXT("JOIN", get_join, "memory.ksm.domain: self, parent or @NAME"),
	TEXT("TYPES", get_types, "memory.ksm.types: what is merged, and taken in by a 1"),
	{ "WEIGHT", KIND_COUNT, "share of the scanning against siblings",
	  get_weight, 0, false },
	PAGES("MERGED", STAT_MERGING, "memory that is on merged frames"),
	PAGES("ZERO", STAT_ZERO, "memory that is on the zero page by merging"),
	PAGES("SAVED", STAT_SAVED, "memory that would be in use without merging, less what is"),
	BYTES("COST", STAT_METADATA, "memory that merging itself takes"),
	BYTES("PROFIT", STAT_PROFIT, "saved less cost"),
	PAGES("SHARED", STAT_SHARED, "merged frames that are paid for here"),
	PAGES("SHARING", STAT_SHARING, "MERGED less SHARED"),
	PAGES("UNIQUE", STAT_UNSHARED, "memory without a twin, watched for one"),
	PAGES("CHANGING", STAT_VOLATILE, "memory seen once, or changed since"),
	PAGES("FOREIGN", STAT_FOREIGN, "merged in another domain, to be unshared"),
	PAGES("PENDING", STAT_PENDING, "to be unshared, as merging was switched off or restricted"),
	COUNT("PROCS", STAT_PROCESSES, "processes that take part"),
	PAGES("SCANNED", STAT_SCANNED, "memory that was looked at, each time"),
	PAGES("SKIPPED", STAT_SKIPPED, "memory that was passed over, each time"),
	COUNT("MERGES", STAT_MERGED, "pages that were merged so far"),
	COUNT("UNMERGES", STAT_UNMERGED, "pages that were unshared so far"),
	COUNT("COW", STAT_COW, "pages that were written to while merged"),
	COUNT("FAILURES", STAT_FAILURES, "attempts at a page that was busy"),
	{ "CPU", KIND_SECONDS, "seconds of CPU time for scanning", NULL,
	  STAT_CPU, false },
	COUNT("PASSES", STAT_FULL_SCANS, "full scans"),
	{ "MEMORY", KIND_SIZE, "memory.current", get_memory, 0, false },
	TEXT("PARENT", get_parent, "the cgroup above"),
};

const size_t nr_columns = ARRAY_SIZE(columns);

const struct column *column_find(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < nr_columns; i++)
		if (!strncasecmp(columns[i].name, name, length) &&
		    !columns[i].name[length])
			return &columns[i];
	return NULL;
}

void column_get(const struct column *column, const struct group *group,
		struct cell *cell)
{
	memset(cell, 0, sizeof(*cell));
	if (column->get)
		column->get(group, cell);
	else if (stats_has(&group->stats, column->key))
		set_number(cell, group->stats.value[column->key] *
			   (column->pages ? page_bytes() : 1));
}

/* cell_text - as it is printed; NULL for what is not known */
const char *cell_text(const struct column *column, const struct cell *cell,
		      bool bytes, char *buf, size_t size)
{
	if (!cell->known)
		return NULL;
	switch (column->kind) {
	case KIND_TEXT:
		return cell->text;
	case KIND_SECONDS:
		snprintf(buf, size, "%.3f", cell->number / 1e6);
		return buf;
	case KIND_SIZE:
		if (!bytes)
			return human_size(buf, size, cell->number);
		break;
	case KIND_COUNT:
		break;
	}
	snprintf(buf, size, "%lld", cell->number);
	return buf;
}

/* cell_compare - what is not known is less than all that is */
int cell_compare(const struct column *column, const struct cell *a,
		 const struct cell *b)
{
	if (!a->known || !b->known)
		return a->known - b->known;
	if (column->kind == KIND_TEXT)
		return strcmp(a->text, b->text);
	return (a->number > b->number) - (a->number < b->number);
}
