// SPDX-License-Identifier: GPL-2.0
/*
 * The scan-time advisor: sets pages_to_scan so that a full scan takes as long
 * as the administrator wants it to, for as much CPU as he allows.
 *
 * After every full scan the budget of a batch is scaled by how much longer
 * than wanted the scan took, smoothed so that one odd scan does not upset it,
 * and cut to what the CPU limit leaves. Pure arithmetic apart from the two
 * functions at the end.
 */
#include <linux/kstrtox.h>
#include <linux/math64.h>
#include <linux/sched/cputime.h>

#include <trace/events/ksm.h>

#include "advisor.h"
#include "ksm.h"

struct ksm_advisor ksm_advisor = {
	.max_cpu = 70,
	.min_pages = 500,
	.max_pages = 30000,
	.target_secs = 200,
};

/* A new value counts for three tenths against what went before. */
static u64 ksm_smooth(u64 before, u64 now)
{
	return before ? (7 * before + 3 * now) / 10 : now;
}

/**
 * ksm_advise - what pages_to_scan should be
 * @a: knobs, and the past, which is updated
 * @pages: what it was during the last full scan
 * @wall_ms: how long that took
 * @cpu_ms: CPU time that it took
 *
 * Return: pages for a batch.
 */
unsigned int ksm_advise(struct ksm_advisor *a, unsigned int pages, u64 wall_ms,
			u64 cpu_ms)
{
	u64 want, limit, wall;

	/* as much as a target can be, so that the quotient has 64 bits */
	wall = clamp_t(u64, wall_ms, 1, (u64)UINT_MAX * MSEC_PER_SEC);
	want = mul_u64_u64_div_u64(pages, wall, (u64)a->target_secs * MSEC_PER_SEC);
	/* more is never set, and ten times as much still fits */
	want = ksm_smooth(a->smoothed, min_t(u64, want, UINT_MAX));
	a->smoothed = want;
	/* min_pages may be above max_pages, as they are written one by one */
	want = min_t(u64, max_t(u64, want, a->min_pages), a->max_pages);

	/* CPU grows with the pages of a batch */
	if (cpu_ms * 100 > wall * a->max_cpu) {
		limit = mul_u64_u64_div_u64((u64)pages * a->max_cpu, wall,
					    cpu_ms * 100);
		want = min(want, limit);
	}
	return max_t(u64, want, 1);
}

/* Where to begin. Without a page a batch no full scan would ever end. */
static unsigned int ksm_advisor_first(const struct ksm_advisor *a)
{
	return max(min(a->min_pages, a->max_pages), 1U);
}

/**
 * ksm_advisor_set - switch the advisor on or off
 * @on: which
 *
 * Context: ksm_gate_hold().
 */
void ksm_advisor_set(bool on)
{
	ksm_advisor.on = on;
	ksm_advisor.smoothed = 0;
	ksm_advisor.began = 0;
	WRITE_ONCE(ksm_knobs.pages_to_scan,
		   on ? ksm_advisor_first(&ksm_advisor) : KSM_PAGES_TO_SCAN);
}

/**
 * ksm_advisor_check - after a batch: was that the end of a full scan?
 *
 * Context: ksmd.
 */
void ksm_advisor_check(void)
{
	struct ksm_advisor *a = &ksm_advisor;
	unsigned long scans = ksm_full_scans();
	u64 now, cpu, wall_ms, cpu_ms;

	if (!READ_ONCE(a->on) || (a->began && scans == a->scans))
		return;
	now = ktime_get_ns();
	cpu = task_sched_runtime(current);
	if (ksm_gate_hold())
		return;
	if (a->on && a->began) {
		wall_ms = div_u64(now - a->began, NSEC_PER_MSEC);
		cpu_ms = div_u64(cpu - a->cpu, NSEC_PER_MSEC);
		WRITE_ONCE(ksm_knobs.pages_to_scan,
			   ksm_advise(a, ksm_knobs.pages_to_scan, wall_ms, cpu_ms));
		trace_ksm_advisor(wall_ms, ksm_knobs.pages_to_scan,
				  div64_u64(cpu_ms * 100, max_t(u64, wall_ms, 1)));
	}
	a->began = now;
	a->cpu = cpu;
	a->scans = scans;
	ksm_gate_release();
}

#include "tests/advisor-kunit.h"
