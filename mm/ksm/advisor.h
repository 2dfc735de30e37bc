/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_ADVISOR_H
#define _MM_KSM_ADVISOR_H

#include <linux/types.h>

/**
 * struct ksm_advisor - the advisor's knobs and state
 * @on: advisor_mode is scan-time
 * @max_cpu: CPU limit of all scanner threads together, in percent of one CPU
 * @min_pages: lower bound of pages_to_scan
 * @max_pages: upper bound of pages_to_scan
 * @target_secs: target duration of a full scan, in seconds
 * @smoothed: smoothed pages_to_scan before bounds; 0: no full scan seen yet
 * @began: start of the current full scan, in ns; 0: not seen yet
 * @cpu: CPU time of the scanner threads at @began, in ns
 * @scans: full_scans at @began
 * @pages: sum of the batches' budgets since @began, in pages
 * @batches: number of batches since @began
 * @most: pages_to_scan as set at @began; the CPU limit may lower it meanwhile
 * @looked: time of the last check of the CPU limit, in ns
 * @looked_cpu: CPU time of the scanner threads at @looked, in ns
 *
 * The knobs, @smoothed, @began and @most are written under
 * ksm_gate_write_lock(), as a change of advisor_mode starts over. The other
 * fields belong to the first scanner thread.
 */
struct ksm_advisor {
	bool on;
	unsigned int max_cpu;
	unsigned int min_pages;
	unsigned int max_pages;
	unsigned int target_secs;
	u64 smoothed;
	u64 began;
	u64 cpu;
	unsigned long scans;
	u64 pages;
	u64 batches;
	unsigned int most;
	u64 looked;
	u64 looked_cpu;
};

extern struct ksm_advisor ksm_advisor;

unsigned int ksm_advise(struct ksm_advisor *a, unsigned int pages, u64 wall_ms,
			u64 cpu_ms);
unsigned int ksm_advise_cpu(const struct ksm_advisor *a, unsigned int pages,
			    u64 wall_ms, u64 cpu_ms);
void ksm_advisor_set(bool on);
void ksm_advisor_check(unsigned int pages, u64 cpu);

#endif /* _MM_KSM_ADVISOR_H */
