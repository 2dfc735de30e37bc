/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit test of mm/mmu_notifier.c: where a notifier refuses to be called without
 * blocking, nothing stays begun.
 */
#if defined(CONFIG_KSM_KUNIT_TEST) && defined(CONFIG_MMU_NOTIFIER)

#ifndef _KSM_NOTIFIER_TEST_H
#define _KSM_NOTIFIER_TEST_H

#include <kunit/test.h>
#include <linux/sched/mm.h>

#define KSM_NT_SIZE	(16 * PAGE_SIZE)

static int ksm_nt_refuse(struct mmu_notifier *notifier,
			 const struct mmu_notifier_range *range)
{
	return mmu_notifier_range_blockable(range) ? 0 : -EAGAIN;
}

static const struct mmu_notifier_ops ksm_nt_refuser_ops = {
	.invalidate_range_start = ksm_nt_refuse,
};

static bool ksm_nt_agree(struct mmu_interval_notifier *interval,
			 const struct mmu_notifier_range *range,
			 unsigned long seq)
{
	mmu_interval_set_seq(interval, seq);
	return true;
}

static const struct mmu_interval_notifier_ops ksm_nt_interval_ops = {
	.invalidate = ksm_nt_agree,
};

/* An interval that comes during an invalidation is not in the tree yet. */
static bool ksm_nt_invalidating(struct kunit *test, struct mm_struct *mm)
{
	struct mmu_interval_notifier probe;
	int err = mmu_interval_notifier_insert(&probe, mm, 0, KSM_NT_SIZE,
					       &ksm_nt_interval_ops);
	bool outside;

	KUNIT_EXPECT_EQ(test, err, 0);
	if (err)
		return false;
	outside = RB_EMPTY_NODE(&probe.interval_tree.rb);
	mmu_interval_notifier_remove(&probe);
	return outside;
}

/* With both notifiers on @mm: the first one agrees, the second one refuses. */
static void ksm_nt_refusal(struct kunit *test, struct mm_struct *mm,
			   struct mmu_interval_notifier *interval)
{
	struct mmu_notifier_range range;
	unsigned long seq;
	bool left;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, 0, PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	KUNIT_EXPECT_TRUE(test, ksm_nt_invalidating(test, mm));
	mmu_notifier_invalidate_range_end(&range);

	seq = mmu_interval_read_begin(interval);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			mmu_notifier_invalidate_range_start_nonblock(&range));
	KUNIT_EXPECT_TRUE(test, mmu_interval_read_retry(interval, seq));
	left = ksm_nt_invalidating(test, mm);
	KUNIT_EXPECT_FALSE(test, left);
	if (left)
		mmu_notifier_invalidate_range_end(&range);
}

static void ksm_notifier_test_refusal(struct kunit *test)
{
	struct mmu_notifier refuser = { .ops = &ksm_nt_refuser_ops };
	struct mmu_interval_notifier interval;
	struct mm_struct *mm = mm_alloc();
	int err;

	KUNIT_ASSERT_NOT_NULL(test, mm);
	err = mmu_interval_notifier_insert(&interval, mm, 0, KSM_NT_SIZE,
					   &ksm_nt_interval_ops);
	KUNIT_EXPECT_EQ(test, err, 0);
	if (err)
		goto put;
	err = mmu_notifier_register(&refuser, mm);
	KUNIT_EXPECT_EQ(test, err, 0);
	if (!err) {
		ksm_nt_refusal(test, mm, &interval);
		mmu_notifier_unregister(&refuser, mm);
	}
	mmu_interval_notifier_remove(&interval);
put:
	mmput(mm);
}

static struct kunit_case ksm_notifier_test_cases[] = {
	KUNIT_CASE(ksm_notifier_test_refusal),
	{}
};

static struct kunit_suite ksm_notifier_test_suite = {
	.name = "ksm-notifier",
	.test_cases = ksm_notifier_test_cases,
};

kunit_test_suite(ksm_notifier_test_suite);

#endif /* _KSM_NOTIFIER_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST && CONFIG_MMU_NOTIFIER */
