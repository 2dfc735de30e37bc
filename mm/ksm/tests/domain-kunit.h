/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of domains with a name: which names there can be, and that a name
 * is one domain for as long as anything refers to it.
 */
#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_DOMAIN_TEST_H
#define _KSM_DOMAIN_TEST_H

#include <kunit/test.h>
#include <linux/prandom.h>

#define KSM_DT_NAMES	10000

/* Wait until what has no references is freed, and forgotten. */
static void ksm_dt_flush(void)
{
	flush_work(&ksm_domains_work);
}

static void ksm_domain_test_valid(struct kunit *test)
{
	static const char * const good[] = {
		"a", "Z", "0", ".", "_", "-", "kube-system", "a.b_c-D.9",
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_",
	};
	static const char * const bad[] = {
		"", " ", "a ", " a", "a b", "a\nb", "@", "@a", "a@b", "a/b", "a:b",
		"a,b", "a+b", "a~", "a\x7f", "\xe9", "caf\xc3\xa9", "a\x80", "\x01",
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_x",
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(good); i++)
		KUNIT_EXPECT_TRUE_MSG(test, ksm_domain_name_valid(good[i]),
				      "'%s'", good[i]);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_FALSE_MSG(test, ksm_domain_name_valid(bad[i]),
				       "'%s'", bad[i]);
}

/* One name, one domain; another name, and none, another domain. */
static void ksm_domain_test_same(struct kunit *test)
{
	struct ksm_domain *domain[4];
	int i;

	domain[0] = ksm_domain_get("kunit.a");
	domain[1] = ksm_domain_get("kunit.a");
	domain[2] = ksm_domain_get("kunit.A");
	domain[3] = ksm_domain_alloc();
	for (i = 0; i < ARRAY_SIZE(domain); i++)
		KUNIT_ASSERT_NOT_NULL(test, domain[i]);
	KUNIT_EXPECT_PTR_EQ(test, domain[0], domain[1]);
	KUNIT_EXPECT_PTR_NE(test, domain[0], domain[2]);
	KUNIT_EXPECT_PTR_NE(test, domain[0], domain[3]);
	KUNIT_EXPECT_STREQ(test, ksm_domain_name(domain[0]), "kunit.a");
	KUNIT_EXPECT_STREQ(test, ksm_domain_name(domain[2]), "kunit.A");
	/* pages of two domains have nothing in common, not even the key */
	KUNIT_EXPECT_NE(test, domain[0]->secret.seed, domain[2]->secret.seed);

	/* the other reference keeps the name */
	ksm_domain_put(domain[1]);
	ksm_dt_flush();
	domain[1] = ksm_domain_get("kunit.a");
	KUNIT_EXPECT_PTR_EQ(test, domain[0], domain[1]);
	for (i = 0; i < ARRAY_SIZE(domain); i++)
		ksm_domain_put(domain[i]);
	ksm_dt_flush();
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&ksm_names));
}

/* Without a reference the next one that asks gets a new domain. */
static void ksm_domain_test_gone(struct kunit *test)
{
	struct ksm_domain *domain;
	u64 seed = 0;
	int i;

	for (i = 0; i < 100; i++) {
		domain = ksm_domain_get("kunit.a");
		KUNIT_ASSERT_NOT_NULL(test, domain);
		KUNIT_EXPECT_NE(test, domain->secret.seed, seed);
		seed = domain->secret.seed;
		ksm_domain_put(domain);
		/* with and without the worker in between */
		if (i % 2)
			ksm_dt_flush();
	}
	ksm_dt_flush();
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&ksm_names));
}

/* One of very many is found; in the end nothing is left. */
static void ksm_domain_test_many(struct kunit *test)
{
	struct ksm_domain **domain, *again;
	struct rnd_state rnd;
	char name[32];
	int i, n;

	domain = kunit_kcalloc(test, KSM_DT_NAMES, sizeof(*domain), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domain);
	prandom_seed_state(&rnd, 6012);
	for (i = 0; i < KSM_DT_NAMES; i++) {
		snprintf(name, sizeof(name), "kunit.%d", i);
		domain[i] = ksm_domain_get(name);
		KUNIT_EXPECT_NOT_NULL(test, domain[i]);
		if (!domain[i])
			break;
	}
	for (n = 0; n < i; n++) {
		int nr = prandom_u32_state(&rnd) % i;

		snprintf(name, sizeof(name), "kunit.%d", nr);
		again = ksm_domain_get(name);
		if (again != domain[nr])
			KUNIT_FAIL(test, "%s is another domain", name);
		if (again)
			ksm_domain_put(again);
	}
	while (i--)
		ksm_domain_put(domain[i]);
	ksm_dt_flush();
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&ksm_names));
}

static struct kunit_case ksm_domain_test_cases[] = {
	KUNIT_CASE(ksm_domain_test_valid),
	KUNIT_CASE(ksm_domain_test_same),
	KUNIT_CASE(ksm_domain_test_gone),
	KUNIT_CASE_SLOW(ksm_domain_test_many),
	{}
};

static struct kunit_suite ksm_domain_test_suite = {
	.name = "ksm-domain",
	.test_cases = ksm_domain_test_cases,
};

kunit_test_suite(ksm_domain_test_suite);

#endif /* _KSM_DOMAIN_TEST_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
