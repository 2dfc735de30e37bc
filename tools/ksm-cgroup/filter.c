// SPDX-License-Identifier: GPL-2.0
/*
 * Filters of "list": COLUMN OPERATOR VALUE, all of which have to hold.
 *
 * The language of libsmartcols for this is newer than the oldest library
 * that the tool is built with, and knows nothing of sizes.
 */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "column.h"
#include "tool.h"

/* The longer ones first, as "<" begins "<=" too. */
static const char * const operators[] = {
	"==", "!=", "<=", ">=", "=~", "!~", "<", ">",
};

static const char *find_operator(const char *text, size_t *at)
{
	size_t i;

	*at = strcspn(text, "=!<>");
	for (i = 0; i < ARRAY_SIZE(operators); i++)
		if (!strncmp(text + *at, operators[i], strlen(operators[i])))
			return operators[i];
	return NULL;
}

static int parse_value(struct filter *filter, const char *text)
{
	bool negative = *text == '-';
	double seconds;
	char *end;

	switch (filter->column->kind) {
	case KIND_TEXT:
		return 0;
	case KIND_SIZE:
		if (parse_size(text + negative, &filter->number))
			return -1;
		filter->number *= negative ? -1 : 1;
		return 0;
	case KIND_COUNT:
		filter->number = strtoll(text, &end, 10);
		return end == text || *end ? -1 : 0;
	case KIND_SECONDS:
		seconds = strtod(text, &end);
		filter->number = (long long)(seconds * 1e6);
		return end == text || *end ? -1 : 0;
	}
	return -1;
}

static int parse_filter(struct filter *filter, const char *expression)
{
	const char *operator, *value;
	size_t at, length;

	expression += strspn(expression, " ");
	operator = find_operator(expression, &at);
	if (!operator)
		return usage_error("filter '%s': %s", expression,
				   "write COLUMN OPERATOR VALUE, with one of == != < <= > >= =~ !~");
	for (length = at; length && expression[length - 1] == ' '; length--)
		;
	filter->column = column_find(expression, length);
	if (!filter->column)
		return usage_error("filter '%s': there is no column '%.*s'",
				   expression, (int)length, expression);
	snprintf(filter->op, sizeof(filter->op), "%s", operator);
	value = expression + at + strlen(operator);
	value += strspn(value, " ");
	filter->text = xstrdup(value);
	if (operator[1] == '~') {
		filter->pattern = xalloc(sizeof(regex_t));
		if (filter->column->kind == KIND_TEXT &&
		    !regcomp(filter->pattern, value, REG_EXTENDED | REG_NOSUB))
			return STATUS_OK;
		free(filter->pattern);
		filter->pattern = NULL;
		return usage_error("filter '%s': %s", expression,
				   filter->column->kind == KIND_TEXT ?
				   "this is no regular expression" :
				   "only text can be matched");
	}
	if (parse_value(filter, value))
		return usage_error("filter '%s': '%s' is no value of %s",
				   expression, value, filter->column->name);
	return STATUS_OK;
}

/* filter_add - returns an exit status, after saying what is wrong */
int filter_add(struct filter **filters, const char *expression)
{
	struct filter *filter = xalloc(sizeof(*filter));

	filter->next = *filters;
	*filters = filter;
	return parse_filter(filter, expression);
}

static bool holds(const struct filter *filter, const struct group *group)
{
	struct cell cell, wanted = { .known = true, .number = filter->number,
				     .text = filter->text };
	int order;

	column_get(filter->column, group, &cell);
	if (!cell.known)
		return false;
	if (filter->pattern)
		return !regexec(filter->pattern, cell.text, 0, NULL, 0) ==
		       (filter->op[0] == '=');
	order = cell_compare(filter->column, &cell, &wanted);
	switch (filter->op[0]) {
	case '=':
		return !order;
	case '!':
		return order;
	case '<':
		return order < 0 || (filter->op[1] && !order);
	default:
		return order > 0 || (filter->op[1] && !order);
	}
}

bool filter_takes(const struct filter *filters, const struct group *group)
{
	for (; filters; filters = filters->next)
		if (!holds(filters, group))
			return false;
	return true;
}

void filter_free(struct filter *filters)
{
	struct filter *next;

	for (; filters; filters = next) {
		next = filters->next;
		if (filters->pattern)
			regfree(filters->pattern);
		free(filters->pattern);
		free(filters->text);
		free(filters);
	}
}
