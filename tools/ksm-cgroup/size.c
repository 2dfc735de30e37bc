// SPDX-License-Identifier: GPL-2.0
/*
 * Sizes and numbers as people write and read them, and memory that is there
 * or else the program ends.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const char units[] = "KMGTPE";

/* parse_size - "512M", "4096", "1.5G"; 0, or -1 for what is no size */
int parse_size(const char *text, long long *bytes)
{
	const char *unit;
	double value;
	char *end;
	int power;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || errno || value < 0)
		return -1;
	if (*end) {
		unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
		if (!unit || !*unit)
			return -1;
		for (power = unit - units; power >= 0; power--)
			value *= 1024;
		end++;
		if (!strcmp(end, "iB") || !strcmp(end, "B"))
			end = "";
	}
	if (*end || !(value < 9.2e18))
		return -1;
	*bytes = (long long)value;
	return 0;
}

int parse_number(const char *text, long long low, long long high,
		 long long *number)
{
	char *end;

	errno = 0;
	*number = strtoll(text, &end, 10);
	if (end == text || *end || errno || *number < low || *number > high)
		return -1;
	return 0;
}

/* human_size - three digits and a unit, as other tools print sizes */
const char *human_size(char *buf, size_t size, long long bytes)
{
	double value = bytes < 0 ? -(double)bytes : bytes;
	const char *sign = bytes < 0 ? "-" : "";
	int unit = -1;

	/* What would be printed as 1024 of a unit is 1 of the next. */
	while (value >= 1023.5 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buf, size, "%s%.0f%s", sign, value, bytes ? "B" : "");
	else
		snprintf(buf, size, "%s%.*f%c", sign, value < 99.95 ? 1 : 0,
			 value, units[unit]);
	return buf;
}

static void *there(void *memory)
{
	if (!memory) {
		complain("out of memory");
		exit(STATUS_FAILED);
	}
	return memory;
}

/* xalloc - zeroed */
void *xalloc(size_t size)
{
	return there(calloc(1, size ? size : 1));
}

void *xrealloc(void *old, size_t size)
{
	return there(realloc(old, size));
}

char *xstrdup(const char *text)
{
	return there(strdup(text));
}

char *xasprintf(const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return there(text);
}

long page_bytes(void)
{
	return sysconf(_SC_PAGESIZE);
}
