/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the advisor's arithmetic.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_ADVISOR_TEST_H
#define _KSM_ADVISOR_TEST_H

#include <kunit/test.h>

#define KSM_AT_DEFAULTS { .max_cpu = 70, .min_pages = 500, \
			  .max_pages = 30000, .target_secs = 200 }

static void ksm_advisor_test_target(struct kunit *test)
{
	struct ksm_advisor a = KSM_AT_DEFAULTS;

	/* on target: nothing changes */
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 200000, 1000), 1000);
	/* twice as long: twice the pages, without an earlier scan to smooth */
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 400000, 1000), 2000);
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 2000, 100000, 1000), 1000);
}

static void ksm_advisor_test_smooth(struct kunit *test)
{
	struct ksm_advisor a = KSM_AT_DEFAULTS;
	int i;

	ksm_advise(&a, 1000, 200000, 0);
	KUNIT_EXPECT_EQ(test, a.smoothed, 1000);
	/* 7/10 of 1000 and 3/10 of 2000 */
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 400000, 0), 1300);
	KUNIT_EXPECT_EQ(test, a.smoothed, 1300);
	for (i = 0; i < 40; i++)
		ksm_advise(&a, 1000, 400000, 0);
	KUNIT_EXPECT_GE(test, a.smoothed, 1990);
	KUNIT_EXPECT_LE(test, a.smoothed, 2000);
}

static void ksm_advisor_test_bounds(struct kunit *test)
{
	struct ksm_advisor a = KSM_AT_DEFAULTS;

	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 1, 0), 500);
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 30000, 20000000, 0), 30000);

	/* knobs are written one by one: if they cross, max_pages wins */
	a.min_pages = 40000;
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 1, 0), 30000);
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 30000, 20000000, 0), 30000);
	KUNIT_EXPECT_EQ(test, ksm_advisor_first(&a), 30000);
	a.min_pages = 500;
	KUNIT_EXPECT_EQ(test, ksm_advisor_first(&a), 500);
	/* with 0 no full scan would ever end: at least 1 */
	a.min_pages = 0;
	KUNIT_EXPECT_EQ(test, ksm_advisor_first(&a), 1);
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1, 1, 0), 1);
	a.max_pages = 0;
	KUNIT_EXPECT_EQ(test, ksm_advisor_first(&a), 1);
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 200000, 0), 1);
}

static void ksm_advisor_test_cpu(struct kunit *test)
{
	struct ksm_advisor a = KSM_AT_DEFAULTS;

	/* exactly at the limit */
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 2000, 200000, 140000), 2000);
	/* all of a CPU where 70 percent are allowed */
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 2000, 200000, 200000), 1400);
	/* the limit takes precedence over min_pages */
	a.max_cpu = 10;
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 600, 200000, 200000), 60);
	a.max_cpu = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 600, 200000, 200000), 1);
	/* a limit is not a target */
	a.max_cpu = 100;
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 200000, 200000), 1000);
}

static void ksm_advisor_test_huge(struct kunit *test)
{
	struct ksm_advisor a = KSM_AT_DEFAULTS;
	const u64 longest = UINT_MAX * 1000ULL;

	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 0, 0, 0), 500);
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000, 0, 1), 500);

	/* the product of pages and milliseconds does not fit in 64 bits */
	a.smoothed = 0;
	a.max_pages = UINT_MAX;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1U << 31, 1ULL << 33, 0),
			UINT_MAX);
	a.target_secs = 1;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, UINT_MAX, longest, 0), UINT_MAX);
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, UINT_MAX, U64_MAX, 0), UINT_MAX);
	KUNIT_EXPECT_EQ(test, a.smoothed, UINT_MAX);
	/* limited by CPU: 70 percent of the previous pages_to_scan */
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, UINT_MAX, longest, longest),
			div_u64(UINT_MAX * 70ULL, 100));

	/* a target of 136 years, met and missed by half */
	a.target_secs = UINT_MAX;
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000000, longest, 0), 1000000);
	a.smoothed = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise(&a, 1000000, longest / 2, 0), 500000);
}

/* The CPU limit alone, as it is checked during a scan as well. */
static void ksm_advisor_test_limit(struct kunit *test)
{
	struct ksm_advisor a = KSM_AT_DEFAULTS;

	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1000, 0), UINT_MAX);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 2000, 1000, 700), 2000);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1000, 350), 2000);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1000, 1400), 500);
	/* several threads */
	a.max_cpu = 20;
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1000, 4000), 50);
	/* a millisecond of CPU time in months, and the largest values */
	a.max_cpu = 100;
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, UINT_MAX, 1ULL << 42, 1),
			UINT_MAX);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1ULL << 42, 1ULL << 43),
			500);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1, U64_MAX), 1);
	/* never 0 */
	a.max_cpu = 0;
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1000, 0), 1);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 1000, 1000), 1);
	KUNIT_EXPECT_EQ(test, ksm_advise_cpu(&a, 1000, 0, 1), 1);
}

static struct kunit_case ksm_advisor_test_cases[] = {
	KUNIT_CASE(ksm_advisor_test_target),
	KUNIT_CASE(ksm_advisor_test_smooth),
	KUNIT_CASE(ksm_advisor_test_bounds),
	KUNIT_CASE(ksm_advisor_test_cpu),
	KUNIT_CASE(ksm_advisor_test_limit),
	KUNIT_CASE(ksm_advisor_test_huge),
	{}
};

static struct kunit_suite ksm_advisor_test_suite = {
	.name = "ksm-advisor",
	.test_cases = ksm_advisor_test_cases,
};

kunit_test_suite(ksm_advisor_test_suite);

#endif /* _KSM_ADVISOR_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
