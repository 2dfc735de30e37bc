// SPDX-License-Identifier: GPL-2.0
#include "ksmtrio.h"

const char *trio_cg;
struct worker *w[3];
struct worker *lone;

void trio_group(void)
{
	trio_cg = cg_new(NULL, "a");
	if (ksm_has_cgroup())
		cg_set(trio_cg, "memory.ksm", "1");
}

void trio_asks(struct worker *m)
{
	if (!ksm_has_cgroup())
		w_madv(m, 0, MADV_MERGEABLE);
}

struct worker *trio_member(long pages, enum w_map kind)
{
	struct worker *m = w_new(trio_cg);

	w_map(m, pages, kind);
	trio_asks(m);
	return m;
}

void trio_fill(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		w[i] = trio_member(N, MAP_PLAIN);
		w_set(w[i], 0, 0, N, TAG, 1);
	}
}

void trio_merge(void)
{
	trio_fill();
	ksm_settle();
	NEED_EQ(w_same(w[0], w[1], 0), N, "to begin with");
	NEED_EQ(w_same(w[1], w[2], 0), N, "to begin with");
}

void trio_begin(void)
{
	trio_group();
	trio_merge();
}

void trio_shares(const char *when)
{
	CHECK_EQ(w_same(w[0], w[1], 0), N, "%s", when);
	CHECK_EQ(w_same(w[1], w[2], 0), N, "%s", when);
}

void trio_intact(void)
{
	int i;

	for (i = 0; i < 3; i++)
		w_verify(w[i]);
}

void trio_again(void)
{
	int i;

	trio_intact();
	ksm_settle();
	trio_intact();
	for (i = 0; i < 3; i++)
		w_set(w[i], 0, 0, N, TAG + 7, 1);
	ksm_settle();
	trio_shares("afterwards");
	trio_intact();
}

void trio_begin_lone(void)
{
	trio_begin();
	lone = w_dup(trio_cg, N, LONE_TAG, 1);
}

void trio_again_lone(void)
{
	w_verify(lone);
	trio_again();
}
