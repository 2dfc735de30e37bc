// SPDX-License-Identifier: GPL-2.0
/*
 * The scan-time advisor: sets pages_to_scan so that a full scan takes
 * advisor_target_scan_time, within the limit of advisor_max_cpu.
 *
 * After every full scan the budget of a batch is scaled by the ratio of the
 * scan's duration to the target, smoothed so that one odd scan does not upset
 * it, and cut to what the CPU limit leaves. A full scan ends when the last
 * cgroup has been passed, so the target holds for every cgroup.
 *
 * A full scan can be long, and its parts differ in cost per page; so the CPU
 * limit, which covers all scanner threads together, is checked every second.
 *
 * Pure arithmetic apart from the functions at the end.
 */
#include <linux/kstrtox.h>
#include <linux/math64.h>

#include <trace/events/ksm.h>

#include "advisor.h"
#include "ksm.h"

struct ksm_advisor ksm_advisor = {
	.max_cpu = 70,
	.min_pages = 500,
	.max_pages = 30000,
	.target_secs = 200,
};

/* A new value has a weight of three tenths. */
static u64 ksm_smooth(u64 before, u64 now)
{
	return before ? (7 * before + 3 * now) / 10 : now;
}

/**
 * ksm_advise_cpu - the bound that the CPU limit puts on pages_to_scan
 * @a: the knobs
 * @pages: pages_to_scan during the measured time
 * @wall_ms: elapsed time, in ms
 * @cpu_ms: CPU time used meanwhile, in ms
 *
 * Context: any.
 * Return: upper bound of pages_to_scan, at least 1.
 */
unsigned int ksm_advise_cpu(const struct ksm_advisor *a, unsigned int pages,
			    u64 wall_ms, u64 cpu_ms)
{
	/* cut longer times, so that the quotient fits in 64 bits */
	u64 wall = clamp_t(u64, wall_ms, 1, UINT_MAX);
	u64 most;

	if (!a->max_cpu)
		return 1;
	if (!cpu_ms)
		return UINT_MAX;
	cpu_ms = min(cpu_ms, U64_MAX / 100);
	if (wall_ms > wall)
		cpu_ms = max_t(u64, 1, mul_u64_u64_div_u64(cpu_ms, wall,
							   wall_ms));
	/* CPU time grows with the pages of a batch */
	most = mul_u64_u64_div_u64((u64)pages * a->max_cpu, wall,
				   cpu_ms * 100);
	return clamp_t(u64, most, 1, UINT_MAX);
}

/**
 * ksm_advise - what pages_to_scan should be
 * @a: the knobs and the smoothed value, which is updated
 * @pages: pages_to_scan during the last full scan
 * @wall_ms: duration of that scan, in ms
 * @cpu_ms: CPU time used by that scan, in ms
 *
 * Context: the caller serializes calls on @a.
 * Return: the new pages_to_scan, at least 1.
 */
unsigned int ksm_advise(struct ksm_advisor *a, unsigned int pages, u64 wall_ms,
			u64 cpu_ms)
{
	u64 target_ms = (u64)a->target_secs * MSEC_PER_SEC;
	u64 want, wall;

	/* cut to the largest target, so that the quotient fits in 64 bits */
	wall = clamp_t(u64, wall_ms, 1, (u64)UINT_MAX * MSEC_PER_SEC);
	want = mul_u64_u64_div_u64(pages, wall, target_ms);
	/* pages_to_scan cannot be more, and ten times UINT_MAX still fits */
	want = ksm_smooth(a->smoothed, min_t(u64, want, UINT_MAX));
	a->smoothed = want;
	/* min_pages may exceed max_pages, as they are written one by one */
	want = min_t(u64, max_t(u64, want, a->min_pages), a->max_pages);
	return clamp_t(u64, want, 1, ksm_advise_cpu(a, pages, wall_ms, cpu_ms));
}

/* The initial pages_to_scan. With 0, no full scan would ever end. */
static unsigned int ksm_advisor_first(const struct ksm_advisor *a)
{
	return max(min(a->min_pages, a->max_pages), 1U);
}

/**
 * ksm_advisor_set - switch the advisor on or off
 * @on: true for on
 *
 * Context: ksm_gate_write_lock() held.
 */
void ksm_advisor_set(bool on)
{
	ksm_advisor.on = on;
	ksm_advisor.smoothed = 0;
	ksm_advisor.began = 0;
	ksm_advisor.most = ksm_advisor_first(&ksm_advisor);
	WRITE_ONCE(ksm_knobs.pages_to_scan,
		   on ? ksm_advisor.most : KSM_PAGES_TO_SCAN);
}

/* A full scan is over. */
static void ksm_advisor_scanned(struct ksm_advisor *a, u64 now, u64 cpu)
{
	unsigned int pages = div64_u64(a->pages, max_t(u64, a->batches, 1));
	u64 wall_ms = div_u64(now - a->began, NSEC_PER_MSEC);
	u64 cpu_ms = div_u64(cpu - a->cpu, NSEC_PER_MSEC);

	a->most = ksm_advise(a, pages, wall_ms, cpu_ms);
	WRITE_ONCE(ksm_knobs.pages_to_scan, a->most);
	trace_ksm_advisor(wall_ms, a->most,
			  div64_u64(cpu_ms * 100, max_t(u64, wall_ms, 1)));
}

/* The full scan goes on: apply the CPU limit anew. */
static void ksm_advisor_look(struct ksm_advisor *a, u64 now, u64 cpu)
{
	u64 wall_ms = div_u64(now - a->looked, NSEC_PER_MSEC);
	u64 cpu_ms = div_u64(cpu - a->looked_cpu, NSEC_PER_MSEC);

	WRITE_ONCE(ksm_knobs.pages_to_scan,
		   min(a->most, ksm_advise_cpu(a, ksm_knobs.pages_to_scan,
					       wall_ms, cpu_ms)));
}

static void ksm_advisor_begin(struct ksm_advisor *a, u64 now, u64 cpu,
			      unsigned long scans)
{
	a->began = now;
	a->cpu = cpu;
	a->scans = scans;
	a->pages = 0;
	a->batches = 0;
}

/**
 * ksm_advisor_check - adjust pages_to_scan after a batch, if it is time to
 * @pages: budget of the batch, in pages
 * @cpu: CPU time of all scanner threads since boot, in ns
 *
 * Context: the first scanner thread; takes ksm_gate_write_lock().
 */
void ksm_advisor_check(unsigned int pages, u64 cpu)
{
	struct ksm_advisor *a = &ksm_advisor;
	unsigned long scans = ksm_full_scans();
	u64 now;

	if (!READ_ONCE(a->on))
		return;
	a->pages += pages;
	a->batches++;
	now = ktime_get_ns();
	if (a->began && scans == a->scans && now - a->looked < NSEC_PER_SEC)
		return;
	if (ksm_gate_write_lock())
		return;
	if (a->on && a->began) {
		if (scans != a->scans)
			ksm_advisor_scanned(a, now, cpu);
		else
			ksm_advisor_look(a, now, cpu);
	}
	if (!a->began || scans != a->scans)
		ksm_advisor_begin(a, now, cpu, scans);
	a->looked = now;
	a->looked_cpu = cpu;
	ksm_gate_write_unlock();
}

#include "tests/advisor-kunit.h"
