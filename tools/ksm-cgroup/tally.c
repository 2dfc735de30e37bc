// SPDX-License-Identifier: GPL-2.0
/*
 * What merging would save among the pages that were seen.
 *
 * A sample of pages says little about copies: of two equal pages one draws
 * both only with the square of the chance. So contents are drawn, not pages. A
 * page's class is a hash of a few of its lines; all pages of one content are
 * of one class, and one class in N is read whole, all of its pages. What is
 * saved in those classes, times N, is what is saved in all, and the classes
 * are drawn independently, which gives the variance. The class in which these
 * lines are zero, with the zero pages in it, is often most of what is saved: it
 * is read always and counted as it is.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tally.h"
#include "tool.h"

/* Classes that have to have been drawn for a normal distribution to be fair. */
#define ENOUGH 30

static const int certain_bit = 1;

/* tally_new_frame - counts the page's frame; false if it was counted before */
bool tally_new_frame(struct tally *tally, const struct seen *seen)
{
	struct slot *slot;

	if (!seen->alone && seen->frame) {
		slot = table_get(&tally->frames, seen->frame);
		if (slot->first++) {
			tally->merged += seen->merged;
			return false;
		}
	}
	tally->pages++;
	return true;
}

/* tally_add - a page that was read, of a new frame */
void tally_add(struct tally *tally, const struct seen *seen)
{
	struct slot *content = table_get(&tally->contents, seen->content);
	struct slot *class;

	if (seen->zero)
		tally->zero++;
	content->first++;
	content->second = seen->certain ? certain_bit : 0;
	if (seen->certain)
		return;
	class = table_get(&tally->classes, seen->class);
	class->first++;
	class->second += content->first == 1;
}

/* A frame takes so many mappings; then the content gets another frame. */
static long long max_sharing(void)
{
	long long most;

	if (root_number(SYSFS_KSM "/max_page_sharing", &most) || most < 2)
		most = 256;
	return most;
}

static bool zero_pages_used(void)
{
	long long used;

	return !root_number(SYSFS_KSM "/use_zero_pages", &used) && used;
}

static double saved_of(double copies, double most)
{
	return copies < 2 ? 0 : copies - ceil(copies / most);
}

/* The sum over the drawn classes of the squares of what each saves. */
static double squares(const struct tally *tally, long long *drawn)
{
	const struct slot *slot;
	double sum = 0, saved;
	size_t i;

	*drawn = 0;
	for (i = 0; i < tally->classes.room; i++) {
		slot = &tally->classes.slots[i];
		saved = (double)slot->first - slot->second;
		*drawn += saved > 0;
		sum += saved * saved;
	}
	return sum;
}

static void set_interval(const struct tally *tally, int sample, double seen,
			 struct result *result)
{
	double sum, half;
	long long drawn;

	sum = squares(tally, &drawn);
	half = 1.96 * sqrt((double)sample * (sample - 1) * sum);
	result->few = drawn < ENOUGH;
	/* None drawn: with 95% confidence there are less than three times N. */
	if (!drawn)
		half = 3.0 * sample;
	result->low = fmax(result->saved - half, seen);
	result->high = fmin(result->saved + half, tally->pages);
}

/* tally_result - with one content in @sample drawn; 1 for all */
void tally_result(const struct tally *tally, int sample, struct result *result)
{
	double most = max_sharing(), certain = 0, drawn = 0, zero;
	const struct slot *slot;
	size_t i;

	memset(result, 0, sizeof(*result));
	for (i = 0; i < tally->contents.room; i++) {
		slot = &tally->contents.slots[i];
		if (slot->second == certain_bit)
			certain += saved_of(slot->first, most);
		else
			drawn += saved_of(slot->first, most);
	}
	zero = saved_of(tally->zero, most);
	result->zero = zero;
	if (zero_pages_used()) {
		result->zero = tally->zero;
		certain += result->zero - zero;
	}
	result->saved = certain + drawn * sample;
	result->low = result->saved;
	result->high = result->saved;
	if (sample > 1)
		set_interval(tally, sample, certain + drawn, result);
}

void tally_free(struct tally *tally)
{
	table_free(&tally->contents);
	table_free(&tally->classes);
	table_free(&tally->frames);
}
