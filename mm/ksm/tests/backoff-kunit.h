/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of how often unchanged pages are sampled and read.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_BACKOFF_TEST_H
#define _KSM_BACKOFF_TEST_H

#include <kunit/test.h>

/* Visits are due ever more rarely, but at least one in @floor. */
static void ksm_backoff_check(struct kunit *test, bool (*due)(unsigned int),
			      unsigned int floor)
{
	unsigned int visit, last = 0, gap, before = 0, i;
	u8 age = 0;

	/* the first two visits make the page known */
	KUNIT_EXPECT_TRUE(test, due(1));
	KUNIT_EXPECT_TRUE(test, due(2));
	KUNIT_EXPECT_FALSE(test, due(3));
	for (visit = 1; visit <= 100 * floor; visit++) {
		if (!due(visit))
			continue;
		gap = visit - last;
		KUNIT_EXPECT_GE(test, gap, before);
		KUNIT_EXPECT_LE(test, gap, floor);
		before = gap;
		last = visit;
	}
	KUNIT_EXPECT_EQ(test, before, floor);

	/* the gap stays below @floor where the count wraps, too */
	for (i = 0, gap = 0; i < 3 * U8_MAX; i++) {
		age = ksm_backoff_age(age);
		KUNIT_EXPECT_NE(test, age, 0);
		gap = due(age) ? 0 : gap + 1;
		KUNIT_EXPECT_LT(test, gap, floor);
	}
}

static void ksm_backoff_test_sample(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, ksm_backoff_age(0), 1);
	ksm_backoff_check(test, ksm_backoff_due, KSM_BACKOFF_FLOOR);
}

static void ksm_backoff_test_read(struct kunit *test)
{
	unsigned int visit;

	ksm_backoff_check(test, ksm_backoff_read_due, KSM_BACKOFF_READ);
	/* a page that smart scan skips is not read */
	for (visit = 1; visit <= U8_MAX; visit++) {
		if (ksm_backoff_read_due(visit))
			KUNIT_EXPECT_TRUE(test, ksm_backoff_due(visit));
	}
}

static struct kunit_case ksm_backoff_test_cases[] = {
	KUNIT_CASE(ksm_backoff_test_sample),
	KUNIT_CASE(ksm_backoff_test_read),
	{}
};

static struct kunit_suite ksm_backoff_test_suite = {
	.name = "ksm_backoff",
	.test_cases = ksm_backoff_test_cases,
};

kunit_test_suite(ksm_backoff_test_suite);

#endif /* _KSM_BACKOFF_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
