/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_ADVISOR_H
#define _MM_KSM_ADVISOR_H

#include <linux/types.h>

/**
 * struct ksm_advisor - the advisor's knobs and what it remembers
 * @on: advisor_mode is scan-time
 * @max_cpu: percent of one CPU
 * @min_pages: least that it sets pages_to_scan to
 * @max_pages: most
 * @target_secs: how long a full scan should take
 * @smoothed: what it found before, 0 for nothing
 * @began: when the present full scan began, in ns; 0: not seen yet
 * @cpu: CPU time of ksmd then, in ns
 * @scans: full_scans then
 * @pages: budgets of the batches since then
 * @batches: how many
 * @most: what it said then: the CPU limit may take from that meanwhile
 * @looked: when the CPU limit was last looked at, in ns
 * @looked_cpu: CPU time of ksmd then, in ns
 *
 * Knobs, @smoothed, @began and @most are written with ksm_gate_hold(), as a
 * change of advisor_mode begins anew. The rest is the first scanner thread's.
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
void ksm_advisor_check(unsigned int pages);

#endif /* _MM_KSM_ADVISOR_H */
