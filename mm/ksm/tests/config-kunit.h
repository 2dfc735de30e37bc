/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of which domain follows from the values written to cgroups, and
 * for their slots.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_CONFIG_TEST_H
#define _KSM_CONFIG_TEST_H

#include <kunit/test.h>

/**
 * struct ksm_ct - a path of cgroups, as far as configurations go
 * @top: a child of the root that no test touches
 * @pod: below @top
 * @box: below @pod
 * @own: their own domains
 * @named: two domains with a name
 *
 * Domains are only compared, so the memory that they would need is enough.
 */
struct ksm_ct {
	struct ksm_group top;
	struct ksm_group pod;
	struct ksm_group box;
	struct ksm_domain own[3];
	struct ksm_domain named[2];
};

static struct ksm_ct *ksm_ct_make(struct kunit *test)
{
	struct ksm_ct *ct = kunit_kzalloc(test, sizeof(*ct), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ct);
	ct->top.parent = &ksm_root_group;
	ct->top.own_domain = &ct->own[0];
	ct->top.effective = ksm_host_effective;
	ct->pod.parent = &ct->top;
	ct->pod.own_domain = &ct->own[1];
	ct->box.parent = &ct->pod;
	ct->box.own_domain = &ct->own[2];
	return ct;
}

/* What holds in a group once this was written to it. */
static struct ksm_effective ksm_ct_write(struct ksm_group *group,
					 enum ksm_setting setting, bool granted,
					 struct ksm_domain *join)
{
	group->config = (struct ksm_config) {
		.setting = setting,
		.granted = granted,
		.join = join,
	};
	group->effective = ksm_config_resolve(group);
	return group->effective;
}

/* A value of its own that counts is in the domain that it says. */
static void ksm_config_test_join(struct kunit *test)
{
	static const enum ksm_setting own[] = { KSM_MADVISE, KSM_ALWAYS };
	struct ksm_ct *ct = ksm_ct_make(test);
	struct ksm_effective e;
	int i;

	for (i = 0; i < ARRAY_SIZE(own); i++) {
		e = ksm_ct_write(&ct->pod, own[i], true, NULL);
		KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->own[1]);
		e = ksm_ct_write(&ct->pod, own[i], true, KSM_JOIN_PARENT);
		KUNIT_EXPECT_PTR_EQ(test, e.domain, &ksm_root_domain);
		e = ksm_ct_write(&ct->pod, own[i], true, &ct->named[0]);
		KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->named[0]);
		/* it obeys run_cgroups in each of them */
		KUNIT_EXPECT_TRUE(test, e.owned);
		KUNIT_EXPECT_EQ(test, e.setting, own[i]);
	}
}

/* Without one, the name stands in the file and has no effect. */
static void ksm_config_test_no_effect(struct kunit *test)
{
	struct ksm_ct *ct = ksm_ct_make(test);
	struct ksm_effective e;

	e = ksm_ct_write(&ct->pod, KSM_INHERIT, true, &ct->named[0]);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ksm_root_domain);
	KUNIT_EXPECT_FALSE(test, e.owned);
	e = ksm_ct_write(&ct->pod, KSM_NEVER, true, &ct->named[0]);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ksm_root_domain);
	/* not granted, and nothing above is */
	e = ksm_ct_write(&ct->pod, KSM_ALWAYS, false, &ct->named[0]);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ksm_root_domain);
	KUNIT_EXPECT_FALSE(test, e.owned);
	/* it counts once a granted 1 is above */
	ksm_ct_write(&ct->top, KSM_ALWAYS, true, NULL);
	e = ksm_ct_write(&ct->pod, KSM_ALWAYS, false, &ct->named[0]);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->named[0]);
	e = ksm_ct_write(&ct->pod, KSM_INHERIT, true, &ct->named[0]);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->own[0]);
}

/* What is below follows, unless it has its own value and says otherwise. */
static void ksm_config_test_below(struct kunit *test)
{
	struct ksm_ct *ct = ksm_ct_make(test);
	struct ksm_effective e;

	ksm_ct_write(&ct->top, KSM_ALWAYS, true, NULL);
	ksm_ct_write(&ct->pod, KSM_ALWAYS, true, &ct->named[0]);
	e = ksm_ct_write(&ct->box, KSM_INHERIT, false, NULL);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->named[0]);
	/* a tenant below may split off, or not, and gets no further */
	e = ksm_ct_write(&ct->box, KSM_ALWAYS, false, NULL);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->own[2]);
	e = ksm_ct_write(&ct->box, KSM_ALWAYS, false, KSM_JOIN_PARENT);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->named[0]);
	e = ksm_ct_write(&ct->box, KSM_ALWAYS, true, &ct->named[1]);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->named[1]);
	/* a 0 above hides values, and no domain */
	ksm_ct_write(&ct->pod, KSM_NEVER, true, &ct->named[0]);
	e = ksm_ct_write(&ct->box, KSM_ALWAYS, true, KSM_JOIN_PARENT);
	KUNIT_EXPECT_PTR_EQ(test, e.domain, &ct->own[0]);
	KUNIT_EXPECT_EQ(test, e.setting, KSM_NEVER);
}

/* A parked slot of a process that asks for nothing, as far as lists go. */
static struct ksm_slot *ksm_ct_slot(struct kunit *test, struct ksm_group *group)
{
	struct ksm_slot *slot = kunit_kzalloc(test, sizeof(*slot), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, slot);
	slot->mm = kunit_kzalloc(test, sizeof(*slot->mm), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, slot->mm);
	slot->mm->ksm = slot;
	kref_init(&slot->ref);
	spin_lock_init(&slot->books.lock);
	INIT_LIST_HEAD(&slot->queue.link);
	INIT_LIST_HEAD(&slot->undo.link);
	slot->books.group = group;
	slot->books.domain = group->effective.domain;
	slot->queue.state = KSM_SLOT_PARKED;
	INIT_LIST_HEAD(&group->queue.slots);
	INIT_LIST_HEAD(&group->queue.parked);
	INIT_LIST_HEAD(&group->queue.stale);
	INIT_LIST_HEAD(&group->queue.busy);
	INIT_LIST_HEAD(&group->queue.wait);
	list_add(&slot->queue.link, &group->queue.parked);
	return slot;
}

/*
 * Once all stale slots have followed, nothing keeps the domain that the group
 * left. One that is no longer on the list must have followed, too.
 */
static void ksm_config_test_stale(struct kunit *test)
{
	struct ksm_ct *ct = ksm_ct_make(test);
	struct ksm_group *group = &ct->pod;
	struct ksm_slot *slot;

	ksm_ct_write(group, KSM_MADVISE, true, &ct->named[0]);
	slot = ksm_ct_slot(test, group);

	/* madvise() comes first */
	ksm_ct_write(group, KSM_MADVISE, true, &ct->named[1]);
	spin_lock(&ksm_lock);
	ksm_queue_set_stale(group);
	slot->asked = true;
	ksm_slot_refresh(slot);
	spin_unlock(&ksm_lock);
	KUNIT_EXPECT_EQ(test, slot->queue.state, KSM_SLOT_ACTIVE);
	KUNIT_EXPECT_TRUE(test, list_empty(&group->queue.stale));
	KUNIT_EXPECT_PTR_EQ(test, slot->books.domain, &ct->named[1]);

	/* exit does */
	ksm_ct_write(group, KSM_MADVISE, true, &ct->named[0]);
	spin_lock(&ksm_lock);
	ksm_queue_set_stale(group);
	spin_unlock(&ksm_lock);
	ksm_slot_die(slot);
	KUNIT_EXPECT_EQ(test, slot->queue.state, KSM_SLOT_DEAD);
	KUNIT_EXPECT_TRUE(test, list_empty(&group->queue.stale));
	KUNIT_EXPECT_PTR_EQ(test, slot->books.domain, &ct->named[0]);
}

/* Does the round wait for a slot that it had passed before this change? */
static bool ksm_ct_invalidates(struct ksm_slot *slot)
{
	struct ksm_group *group = slot->books.group;
	bool waits;

	ksm_pass_skip(slot);
	spin_lock(&ksm_lock);
	ksm_slot_join(slot, group);
	waits = ksm_round_waits_for(slot);
	spin_unlock(&ksm_lock);
	/* no pass that began earlier counts */
	return waits && !slot->queue.round &&
	       group->queue.unpassed == group->queue.nr_slots;
}

/*
 * Where more takes part, the round waits for a new pass: two rises of full_scans
 * after the change are enough.
 */
static void ksm_config_test_invalidate(struct kunit *test)
{
	struct ksm_ct *ct = ksm_ct_make(test);
	struct ksm_group *group = &ct->pod;
	struct ksm_slot *slot;
	int i, nr = 0;

	ksm_ct_write(group, KSM_MADVISE, true, &ct->named[0]);
	slot = ksm_ct_slot(test, group);
	slot->asked = true;
	KUNIT_EXPECT_TRUE(test, ksm_ct_invalidates(slot));
	KUNIT_EXPECT_FALSE(test, ksm_ct_invalidates(slot));
	ksm_ct_write(group, KSM_ALWAYS, true, &ct->named[0]);
	KUNIT_EXPECT_TRUE(test, ksm_ct_invalidates(slot));
	KUNIT_EXPECT_FALSE(test, ksm_ct_invalidates(slot));
	group->effective.types = KSM_T_ANON | KSM_T_ZERO;
	KUNIT_EXPECT_TRUE(test, ksm_ct_invalidates(slot));
	group->effective.types = KSM_T_ANON;
	KUNIT_EXPECT_FALSE(test, ksm_ct_invalidates(slot));
	/* off and on within the round; the worker must not see this mm */
	ksm_pass_skip(slot);
	spin_lock(&ksm_lock);
	ksm_queue_del(slot);
	slot->queue.state = KSM_SLOT_PARKED;
	ksm_queue_add(slot);
	spin_unlock(&ksm_lock);
	KUNIT_EXPECT_TRUE(test, ksm_ct_invalidates(slot));
	/* other memory to merge with */
	ksm_ct_write(group, KSM_ALWAYS, true, &ct->named[1]);
	KUNIT_EXPECT_TRUE(test, ksm_ct_invalidates(slot));
	KUNIT_EXPECT_FALSE(test, ksm_ct_invalidates(slot));

	/* changes without end keep no round from ending */
	for (i = 0; i < 100; i++) {
		ksm_ct_write(group, KSM_ALWAYS, true, &ct->named[i % 2]);
		nr += ksm_ct_invalidates(slot);
	}
	KUNIT_EXPECT_GT(test, nr, 0);
	KUNIT_EXPECT_LE(test, nr, 16);
	ksm_slot_die(slot);
}

static struct kunit_case ksm_config_test_cases[] = {
	KUNIT_CASE(ksm_config_test_join),
	KUNIT_CASE(ksm_config_test_no_effect),
	KUNIT_CASE(ksm_config_test_below),
	KUNIT_CASE(ksm_config_test_stale),
	KUNIT_CASE(ksm_config_test_invalidate),
	{}
};

static struct kunit_suite ksm_config_test_suite = {
	.name = "ksm-config",
	.test_cases = ksm_config_test_cases,
};

kunit_test_suite(ksm_config_test_suite);

#endif /* _KSM_CONFIG_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
