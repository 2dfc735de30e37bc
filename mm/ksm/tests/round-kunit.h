/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the verdict on a round.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_ROUND_TEST_H
#define _KSM_ROUND_TEST_H

#include <kunit/test.h>

/* The number of rounds until one counts, if each ends with @missed. */
static int ksm_rt_rounds(struct ksm_round_past *past, unsigned int missed)
{
	int nr = 1;

	while (nr < 100 && ksm_round_judge(past, missed) != KSM_ROUND_COUNTS)
		nr++;
	return nr;
}

/* Nothing missed: every round counts and leaves no trace. */
static void ksm_round_test_clean(struct kunit *test)
{
	struct ksm_round_past past = {};
	int i;

	for (i = 0; i < 1000; i++) {
		KUNIT_ASSERT_EQ(test, ksm_round_judge(&past, 0),
				KSM_ROUND_COUNTS);
		KUNIT_ASSERT_EQ(test, past.drains, 0);
		KUNIT_ASSERT_EQ(test, past.held, 0);
		KUNIT_ASSERT_EQ(test, past.shorts, 0);
	}
}

/* Fresh pages in a batch: drain, and the repeated round counts. */
static void ksm_round_test_lru(struct kunit *test)
{
	struct ksm_round_past past = {};

	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, KSM_MISSED_LRU),
			KSM_ROUND_DRAIN);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, 0), KSM_ROUND_COUNTS);
	/* the next such page causes a drain at once */
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, KSM_MISSED_LRU),
			KSM_ROUND_DRAIN);
}

/* A page that stays off the LRU makes no round wait twice. */
static void ksm_round_test_lru_for_ever(struct kunit *test)
{
	struct ksm_round_past past = {};
	int i;

	for (i = 0; i < 1000; i++) {
		KUNIT_ASSERT_EQ(test, ksm_round_judge(&past, KSM_MISSED_LRU),
				KSM_ROUND_DRAIN);
		KUNIT_ASSERT_EQ(test, ksm_round_judge(&past, KSM_MISSED_LRU),
				KSM_ROUND_COUNTS);
	}
}

/* Pages about to be activated are held by a batch: drain at once. */
static void ksm_round_test_held(struct kunit *test)
{
	struct ksm_round_past past = {};

	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, KSM_MISSED_HELD),
			KSM_ROUND_DRAIN);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, 0), KSM_ROUND_COUNTS);
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_HELD), 2);
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_HELD), 1);
	/* and again at once if they were free meanwhile */
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, 0), KSM_ROUND_COUNTS);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, KSM_MISSED_HELD),
			KSM_ROUND_DRAIN);
}

/* A pin that lasts for ever costs a drain in one of sixteen rounds. */
static void ksm_round_test_held_for_ever(struct kunit *test)
{
	const unsigned int both = KSM_MISSED_HELD | KSM_MISSED_LRU;
	struct ksm_round_past past = {};
	int i, drains = 0;

	for (i = 0; i < 100 * KSM_HELD_ROUNDS; i++)
		drains += ksm_rt_rounds(&past, KSM_MISSED_HELD) - 1;
	KUNIT_EXPECT_EQ(test, drains, 100);
	/* a fresh page beside it causes a drain all the same */
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, both), 2);
}

/* New held pages cause a drain even beside a pin that lasts for ever. */
static void ksm_round_test_held_new(struct kunit *test)
{
	const unsigned int new = KSM_MISSED_HELD | KSM_MISSED_NEW;
	struct ksm_round_past past = {};

	KUNIT_ASSERT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_HELD), 2);
	KUNIT_ASSERT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_HELD), 1);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, new), KSM_ROUND_DRAIN);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, KSM_MISSED_HELD),
			KSM_ROUND_COUNTS);
}

/* A slot that misses pages only after the drain causes another one. */
static void ksm_round_test_lru_new(struct kunit *test)
{
	const unsigned int new = KSM_MISSED_LRU | KSM_MISSED_NEW;
	struct ksm_round_past past = {};

	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, new), KSM_ROUND_DRAIN);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, new), KSM_ROUND_DRAIN);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, KSM_MISSED_LRU),
			KSM_ROUND_COUNTS);
	/* but ever new ones do not keep a round from ending */
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, new), 1 + KSM_DRAINS_MAX);
}

/* The count of held rounds wraps to a round that drains again. */
static void ksm_round_test_held_wraps(struct kunit *test)
{
	struct ksm_round_past past = { .held = U8_MAX };

	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_HELD), 1);
	KUNIT_EXPECT_EQ(test, past.held, 0);
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_HELD), 2);
}

/* Memory ran short: after three repetitions memory counts as short. */
static void ksm_round_test_short(struct kunit *test)
{
	struct ksm_round_past past = {};

	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_MEMORY),
			1 + KSM_SHORT_ROUNDS);
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_MEMORY), 1);
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, 0), 1);
	KUNIT_EXPECT_EQ(test, ksm_rt_rounds(&past, KSM_MISSED_MEMORY),
			1 + KSM_SHORT_ROUNDS);
}

/* Both: the drain comes first, and repetitions do not drain again. */
static void ksm_round_test_short_and_lru(struct kunit *test)
{
	const unsigned int both = KSM_MISSED_MEMORY | KSM_MISSED_LRU;
	struct ksm_round_past past = {};
	int i;

	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, both), KSM_ROUND_DRAIN);
	for (i = 0; i < KSM_SHORT_ROUNDS; i++)
		KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, both),
				KSM_ROUND_AGAIN);
	KUNIT_EXPECT_EQ(test, ksm_round_judge(&past, both), KSM_ROUND_COUNTS);
	KUNIT_EXPECT_EQ(test, past.drains, 0);
}

/* Whatever is missed, some round counts soon. */
static void ksm_round_test_ends(struct kunit *test)
{
	struct ksm_round_past past = {};
	unsigned int i, missed;

	for (i = 0; i < 10000; i++) {
		missed = (i * 2654435761U >> 20) & 15;
		KUNIT_ASSERT_LE(test, ksm_rt_rounds(&past, missed),
				1 + KSM_DRAINS_MAX + KSM_SHORT_ROUNDS);
	}
}

static struct kunit_case ksm_round_test_cases[] = {
	KUNIT_CASE(ksm_round_test_clean),
	KUNIT_CASE(ksm_round_test_lru),
	KUNIT_CASE(ksm_round_test_lru_for_ever),
	KUNIT_CASE(ksm_round_test_held),
	KUNIT_CASE(ksm_round_test_held_for_ever),
	KUNIT_CASE(ksm_round_test_held_new),
	KUNIT_CASE(ksm_round_test_held_wraps),
	KUNIT_CASE(ksm_round_test_lru_new),
	KUNIT_CASE(ksm_round_test_short),
	KUNIT_CASE(ksm_round_test_short_and_lru),
	KUNIT_CASE(ksm_round_test_ends),
	{}
};

static struct kunit_suite ksm_round_test_suite = {
	.name = "ksm-round",
	.test_cases = ksm_round_test_cases,
};

kunit_test_suite(ksm_round_test_suite);

#endif /* _KSM_ROUND_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
