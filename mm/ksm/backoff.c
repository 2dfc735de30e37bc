// SPDX-License-Identifier: GPL-2.0
/*
 * How often a page that does not change and has no twin is sampled, or read
 * whole.
 *
 * Such a page is in the index, where a new page of the same content finds it;
 * so nothing is lost by skipping it while its page table entry stays clean.
 * Writes that entries do not show are found by sampling the page all the same:
 * at the first, second, fourth and eighth visit, then at every
 * KSM_BACKOFF_FLOOR-th.
 *
 * A page whose sample is ambiguous must be read whole, which costs sixteen
 * times as much. To bound that, it is read at the first two visits and then at
 * every KSM_BACKOFF_READ-th, and once in between after a write. Otherwise a
 * tenant that writes to such pages outside the sampled cache lines would make
 * each of them that much more expensive than other pages.
 *
 * Pure arithmetic, tested by tests/backoff-kunit.h.
 */
#include <linux/log2.h>

#include "ksm.h"

/**
 * ksm_backoff_due - is an unchanged page sampled, although it looks clean?
 * @visit: visits since its sample last changed, this one included
 *
 * Context: any.
 * Return: true if so.
 */
bool ksm_backoff_due(unsigned int visit)
{
	return is_power_of_2(visit) || !(visit % KSM_BACKOFF_FLOOR);
}

/**
 * ksm_backoff_read_due - does its age have an ambiguous page read whole?
 * @visit: visits since its sample last changed, this one included
 *
 * Context: any.
 * Return: true if so.
 */
bool ksm_backoff_read_due(unsigned int visit)
{
	return visit <= 2 || !(visit % KSM_BACKOFF_READ);
}

/**
 * ksm_backoff_age - count a visit
 * @age: visits so far, 0 for none
 *
 * Context: any.
 * Return: @age + 1; if that does not fit, an age at which the page is due.
 */
u8 ksm_backoff_age(u8 age)
{
	return age == U8_MAX ? KSM_BACKOFF_READ : age + 1;
}

#include "tests/backoff-kunit.h"
