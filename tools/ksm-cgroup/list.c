// SPDX-License-Identifier: GPL-2.0
/*
 * list: the cgroups as a table, a tree, JSON or raw.
 */
#include <getopt.h>
#include <libsmartcols.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "column.h"
#include "target.h"
#include "tool.h"

#define MOST_COLUMNS 64
#define DEFAULT_COLUMNS \
	"CGROUP,KSM,EFFECTIVE,DOMAIN,WEIGHT,MERGED,ZERO,SAVED,COST,PROFIT"

struct list {
	const struct column *column[MOST_COLUMNS];
	size_t nr;
	const struct column *sort;
	bool descending;
	bool json;
	bool raw;
	bool bytes;
	bool flat;
	bool no_headings;
	struct filter *filters;
	struct libscols_table *table;
};

/* qsort() takes no data for its function. */
static const struct list *sorting;

static int compare(const void *a, const void *b)
{
	const struct group *one = *(struct group * const *)a;
	const struct group *two = *(struct group * const *)b;
	struct cell left, right;
	int order;

	column_get(sorting->sort, one, &left);
	column_get(sorting->sort, two, &right);
	order = cell_compare(sorting->sort, &left, &right);
	if (!order)
		return strcmp(one->path, two->path);
	return sorting->descending ? -order : order;
}

static int add_columns(struct list *list, const char *names)
{
	size_t length;

	if (*names == '+')
		names++;
	else
		list->nr = 0;
	for (; *names; names += length + (names[length] == ',')) {
		length = strcspn(names, ",");
		if (list->nr == MOST_COLUMNS)
			return usage_error("more than %d columns", MOST_COLUMNS);
		list->column[list->nr] = column_find(names, length);
		if (!list->column[list->nr])
			return usage_error("no column '%.*s'; 'ksm-cgroup list --help' lists them",
					   (int)length, names);
		list->nr++;
	}
	return list->nr ? STATUS_OK : usage_error("no column is named");
}

static int json_type(const struct list *list, const struct column *column)
{
	if (column->kind == KIND_TEXT ||
	    (column->kind == KIND_SIZE && !list->bytes))
		return SCOLS_JSON_STRING;
	return SCOLS_JSON_NUMBER;
}

static int make_table(struct list *list)
{
	struct libscols_column *made;
	size_t i;
	int flags;

	scols_init_debug(0);
	list->table = scols_new_table();
	if (!list->table)
		return STATUS_FAILED;
	scols_table_enable_json(list->table, list->json);
	scols_table_enable_raw(list->table, list->raw);
	scols_table_enable_noheadings(list->table, list->no_headings);
	if (list->json)
		scols_table_set_name(list->table, "cgroups");
	for (i = 0; i < list->nr; i++) {
		flags = list->column[i]->kind == KIND_TEXT ? 0 : SCOLS_FL_RIGHT;
		if (!list->flat && list->column[i] == &columns[0])
			flags |= SCOLS_FL_TREE;
		made = scols_table_new_column(list->table, list->column[i]->name,
					      0, flags);
		if (!made)
			return STATUS_FAILED;
		if (list->json)
			scols_column_set_json_type(made, json_type(list, list->column[i]));
	}
	return STATUS_OK;
}

/* In a tree the name says enough, unless the cgroup above is not shown. */
static const char *tree_name(const struct group *group,
			     const struct group *shown)
{
	if (!shown)
		return group->path;
	return group->path + strlen(shown->path) + (shown->path[1] ? 1 : 0);
}

static struct libscols_line *add_line(struct list *list, struct group *group,
				      struct libscols_line *parent,
				      const struct group *shown)
{
	struct libscols_line *line;
	struct cell cell;
	char buf[64];
	size_t i;

	line = scols_table_new_line(list->table, parent);
	for (i = 0; line && i < list->nr; i++) {
		column_get(list->column[i], group, &cell);
		if (!list->flat && !list->json && list->column[i] == &columns[0])
			cell.text = tree_name(group, shown);
		scols_line_set_data(line, i, cell_text(list->column[i], &cell,
						       list->bytes, buf, sizeof(buf)));
	}
	return line;
}

static void add_below(struct list *list, struct group *group,
		      struct libscols_line *parent, const struct group *shown)
{
	struct group *child;

	if (!group->ancestor && !group->threaded &&
	    filter_takes(list->filters, group)) {
		parent = add_line(list, group, parent, shown);
		shown = group;
	}
	for (child = group->child; child; child = child->next)
		add_below(list, child, parent, shown);
}

/* Chains the children anew, in the order of the sorted array. */
static void sort_children(struct tree *tree)
{
	struct group *group;
	size_t i;

	for (i = 0; i < tree->nr; i++)
		tree->groups[i]->child = NULL;
	for (i = tree->nr; i-- > 0;) {
		group = tree->groups[i];
		if (!group->parent)
			continue;
		group->next = group->parent->child;
		group->parent->child = group;
	}
}

static void add_all(struct list *list, struct tree *tree)
{
	struct group *top = tree->groups[0];
	size_t i;

	sorting = list;
	if (list->sort)
		qsort(tree->groups, tree->nr, sizeof(*tree->groups), compare);
	if (!list->flat) {
		sort_children(tree);
		add_below(list, top, NULL, NULL);
		return;
	}
	for (i = 0; i < tree->nr; i++)
		if (!tree->groups[i]->ancestor && !tree->groups[i]->threaded &&
		    filter_takes(list->filters, tree->groups[i]))
			add_line(list, tree->groups[i], NULL, NULL);
}

static void print_help(void)
{
	size_t i;

	fputs("Usage: ksm-cgroup list [options] [CGROUP]\n\n"
	      "Show what samepage merging does for each control group.\n\n"
	      " -b, --bytes           print sizes in bytes\n"
	      " -J, --json            print JSON; sizes are numbers with --bytes\n"
	      " -l, --list            print paths instead of a tree\n"
	      " -n, --noheadings      print no headings\n"
	      " -o, --output LIST     columns to print; +LIST adds to the default ones\n"
	      "     --output-all      print all columns\n"
	      " -Q, --filter EXPR     only where COLUMN OPERATOR VALUE holds; may be repeated\n"
	      " -r, --raw             print without alignment\n"
	      " -x, --sort COLUMN     sort by it; -COLUMN: the largest first\n"
	      " -h, --help            print this\n\n"
	      "Operators: == != < <= > >= and, for text, =~ !~ (regular expressions)\n\n"
	      "Columns:\n", stdout);
	for (i = 0; i < nr_columns; i++)
		printf(" %10s  %s\n", columns[i].name, columns[i].help);
	puts("\nDefault: " DEFAULT_COLUMNS);
}

enum { OPT_ALL = 256 };

static const struct option options[] = {
	{ "bytes", no_argument, NULL, 'b' },
	{ "json", no_argument, NULL, 'J' },
	{ "list", no_argument, NULL, 'l' },
	{ "noheadings", no_argument, NULL, 'n' },
	{ "output", required_argument, NULL, 'o' },
	{ "output-all", no_argument, NULL, OPT_ALL },
	{ "filter", required_argument, NULL, 'Q' },
	{ "raw", no_argument, NULL, 'r' },
	{ "sort", required_argument, NULL, 'x' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 }
};

static int take_sort(struct list *list, const char *name)
{
	list->descending = *name == '-';
	name += list->descending;
	list->sort = column_find(name, strlen(name));
	if (!list->sort)
		return usage_error("there is no column '%s' to sort by", name);
	return STATUS_OK;
}

static int take_option(struct list *list, int option)
{
	switch (option) {
	case 'b':
		list->bytes = true;
		return STATUS_OK;
	case 'J':
		list->json = true;
		return STATUS_OK;
	case 'l':
		list->flat = true;
		return STATUS_OK;
	case 'n':
		list->no_headings = true;
		return STATUS_OK;
	case 'o':
		return add_columns(list, optarg);
	case OPT_ALL:
		for (list->nr = 0; list->nr < nr_columns; list->nr++)
			list->column[list->nr] = &columns[list->nr];
		return STATUS_OK;
	case 'Q':
		return filter_add(&list->filters, optarg);
	case 'r':
		list->raw = true;
		list->flat = true;
		return STATUS_OK;
	case 'x':
		return take_sort(list, optarg);
	default:
		return usage_error("list: bad option");
	}
}

static int show(struct list *list, const char *top)
{
	int status = STATUS_FAILED;
	struct tree tree;

	if (tree_read(&tree, top, TREE_ALL))
		return STATUS_FAILED;
	if (!make_table(list)) {
		add_all(list, &tree);
		if (!scols_print_table(list->table))
			status = STATUS_OK;
	}
	if (!tree.ours && !list->json && !list->raw)
		complain("%s",
			 "this kernel has no memory.ksm. Figures are sums of what the processes say; what frames are shared, and so SAVED, is known for the host only, and PROFIT is what it is at most");
	scols_unref_table(list->table);
	tree_free(&tree);
	return status;
}

int cmd_list(int argc, char **argv)
{
	struct list list = { 0 };
	char top[4096] = "/";
	int option, status;

	status = add_columns(&list, DEFAULT_COLUMNS);
	while (!status && (option = getopt_long(argc, argv, "bJlno:Q:rx:h",
						options, NULL)) >= 0) {
		if (option == 'h') {
			print_help();
			filter_free(list.filters);
			return STATUS_OK;
		}
		status = take_option(&list, option);
	}
	if (!status && list.json && list.raw)
		status = usage_error("list: --json and --raw exclude each other");
	if (!status && argc - optind > 1)
		status = usage_error("list: one CGROUP at most");
	if (!status && optind < argc && target_cgroup(argv[optind], top, sizeof(top)))
		status = STATUS_FAILED;
	if (!status)
		status = show(&list, top);
	filter_free(list.filters);
	return status;
}
