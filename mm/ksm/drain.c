// SPDX-License-Identifier: GPL-2.0
/*
 * Draining the per-CPU batches that hold pages on their way to the LRU.
 *
 * A batch holds a reference on each of its pages, which makes them look busy:
 * a page that was just touched, or is about to be activated, cannot be merged
 * until its batch is drained. Draining interrupts every CPU, so it is done on
 * demand, for everything that waits at once, and at most every KSM_DRAIN_MS.
 */
#include <linux/swap.h>

#include "ksm.h"

#define KSM_DRAIN_DELAY	(HZ / 10)

static bool ksm_drain_wanted;

/**
 * ksm_drain_want - request that the batches be drained
 *
 * Context: any; ksm_drain_lru() follows in the first scanner thread.
 */
void ksm_drain_want(void)
{
	WRITE_ONCE(ksm_drain_wanted, true);
}

/**
 * ksm_drain_lru - drain the batches if that is wanted and due
 * @force: it is due, as a pause of at least KSM_DRAIN_MS follows
 *
 * Context: sleeps; only the first scanner thread.
 * Return: true if they were drained.
 */
bool ksm_drain_lru(bool force)
{
	static u64 next;

	if (!READ_ONCE(ksm_drain_wanted) ||
	    (!force && time_before64(get_jiffies_64(), next)))
		return false;
	WRITE_ONCE(ksm_drain_wanted, false);
	lru_add_drain_all();
	next = get_jiffies_64() + msecs_to_jiffies(KSM_DRAIN_MS);
	return true;
}

static void ksm_drain_work_fn(struct work_struct *work)
{
	lru_add_drain_all();
}

static DECLARE_DELAYED_WORK(ksm_drain_work, ksm_drain_work_fn);

/**
 * ksm_drain_later - drain soon: pages were added to the LRU for another process
 *
 * A page whose last user goes while it sits in the batch of an idle CPU stays
 * allocated, and with it the cgroup that it is charged to, even a removed one.
 * The process that the page was made for runs elsewhere and does not drain this
 * CPU's batch.
 *
 * Context: any.
 */
void ksm_drain_later(void)
{
	queue_delayed_work(system_unbound_wq, &ksm_drain_work,
			   KSM_DRAIN_DELAY);
}
