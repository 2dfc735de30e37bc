// SPDX-License-Identifier: GPL-2.0
/*
 * How often a page is looked at that does not change and has no twin.
 *
 * Such a page is in the index, where a new page of its content finds it; so
 * nothing is lost by passing over it, as long as its page table entry stays
 * clean. What entries do not show is found out by looking all the same: at the
 * first, second, fourth and eighth visit, then at every KSM_BACKOFF_FLOOR-th.
 *
 * Where the first look does not tell a page from another one, it has to be read
 * whole, which is sixteen times as much. So that is done at the first two visits
 * and then at every KSM_BACKOFF_WHOLE-th, and in between once at most when the
 * entry says that it was written to: or who writes to such pages all the time,
 * where the look does not see it, could make each of his pages that much dearer
 * than others' are.
 *
 * Pure arithmetic, tested alone by tests/backoff-kunit.h.
 */
#include <linux/log2.h>

#include "ksm.h"

/**
 * ksm_backoff_due - is an unchanged page looked at, although it looks clean?
 * @visit: visits since its look was last seen changed, this one included
 */
bool ksm_backoff_due(unsigned int visit)
{
	return is_power_of_2(visit) || !(visit % KSM_BACKOFF_FLOOR);
}

/**
 * ksm_backoff_whole_due - is a page read whole whose look is as it was?
 * @visit: visits since the look changed, this one included
 */
bool ksm_backoff_whole_due(unsigned int visit)
{
	return visit <= 2 || !(visit % KSM_BACKOFF_WHOLE);
}

/**
 * ksm_backoff_age - count a visit
 * @age: visits so far, 0 for none
 *
 * Return: one more; where that does not fit, one that is due again.
 */
u8 ksm_backoff_age(u8 age)
{
	return age == U8_MAX ? KSM_BACKOFF_WHOLE : age + 1;
}

#include "tests/backoff-kunit.h"
