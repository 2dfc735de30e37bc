/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of how often unchanged pages are looked at.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_BACKOFF_TEST_H
#define _KSM_BACKOFF_TEST_H

#include <kunit/test.h>

static void ksm_backoff_test_less(struct kunit *test)
{
	unsigned int visit, last = 0, gap, before = 0;

	/* the first two make it known; then less and less often */
	KUNIT_EXPECT_TRUE(test, ksm_backoff_due(1));
	KUNIT_EXPECT_TRUE(test, ksm_backoff_due(2));
	KUNIT_EXPECT_FALSE(test, ksm_backoff_due(3));
	for (visit = 1; visit <= 100 * KSM_BACKOFF_FLOOR; visit++) {
		if (!ksm_backoff_due(visit))
			continue;
		gap = visit - last;
		KUNIT_EXPECT_GE(test, gap, before);
		KUNIT_EXPECT_LE(test, gap, KSM_BACKOFF_FLOOR);
		before = gap;
		last = visit;
	}
	KUNIT_EXPECT_EQ(test, before, KSM_BACKOFF_FLOOR);
}

static void ksm_backoff_test_age(struct kunit *test)
{
	unsigned int i, gap = 0;
	u8 age = 0;

	KUNIT_EXPECT_EQ(test, ksm_backoff_age(0), 1);
	/* also where it does not fit the gap never grows beyond the floor */
	for (i = 0; i < 3 * U8_MAX; i++) {
		age = ksm_backoff_age(age);
		KUNIT_EXPECT_NE(test, age, 0);
		gap = ksm_backoff_due(age) ? 0 : gap + 1;
		KUNIT_EXPECT_LT(test, gap, KSM_BACKOFF_FLOOR);
	}
}

static struct kunit_case ksm_backoff_test_cases[] = {
	KUNIT_CASE(ksm_backoff_test_less),
	KUNIT_CASE(ksm_backoff_test_age),
	{}
};

static struct kunit_suite ksm_backoff_test_suite = {
	.name = "ksm_backoff",
	.test_cases = ksm_backoff_test_cases,
};

kunit_test_suite(ksm_backoff_test_suite);

#endif /* _KSM_BACKOFF_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
