// SPDX-License-Identifier: GPL-2.0
/*
 * Scanning on demand: memory.ksm.scan scans a subtree once in the writer's own
 * context, so that the CPU time is the writer's.
 *
 * A writer can be throttled wherever it can be preempted, for as long as its
 * cgroup's cpu.max says. It must not hold a contended lock meanwhile, so it
 * works in steps of a few pages with preemption disabled, and only tries the
 * locks that ksmd waits for. A busy process or domain is tried again a tick
 * later. MMU notifiers are called without blocking. Splitting large folios is
 * left to ksmd: the memory is put off until it has done that, see split-req.c.
 *
 * A step makes the same checks under the same locks as a slice of ksmd. It has
 * a cursor of its own and does not count for full scans.
 *
 * A write that ends early records where it stopped, and the next write to the
 * same file resumes there: even small writes get round the whole subtree.
 *
 * With PREEMPT_RT a spinlock can be held by a throttled task as well, so
 * disabling preemption would gain nothing there.
 */
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "scan.h"

/* Work of a step, in cache lines: about eight whole pages. */
#define KSM_STEP		(8 * KSM_PAGE_CACHELINES)
/* Pages that a step gathers at a time, so that it ends soon. */
#define KSM_STEP_WINDOW		8
/* Frames that a step may add to the stock of each node. */
#define KSM_STEP_FRAMES		16
/* Ticks to wait for a busy process or domain before it is skipped. */
#define KSM_DEMAND_TRIES	(HZ / 10)

/* Ranges put off at a time; each waits for one or two splits. */
#define KSM_DEMAND_RANGES	(KSM_SPLIT_REQS_MAX / 2)

/**
 * struct ksm_range - some memory of a process
 * @slot: the process, with a reference
 * @from: begin
 * @until: end
 */
struct ksm_range {
	struct ksm_slot *slot;
	unsigned long from;
	unsigned long until;
};

/**
 * struct ksm_retry - memory put off until its large folios are split
 * @reqs: what ksmd is to split
 * @nr: number of ranges
 * @range: the memory
 *
 * Allocated and used by the writer only.
 */
struct ksm_retry {
	struct ksm_split_reqs *reqs;
	unsigned int nr;
	struct ksm_range range[KSM_DEMAND_RANGES];
};

/**
 * struct ksm_demand - one write to memory.ksm.scan, on the writer's stack
 * @top: the top of the subtree
 * @runs: what ran at the start, bits KSM_RUNS_*
 * @pages: pages that may still be sampled or skipped
 * @last: seq of the youngest slot at the start; later slots are not scanned
 * @from_seq: seq of the slot in which the previous write ended; 0: none
 * @from_addr: the address in that slot
 * @again: this is the second walk, from the first slot up to @from_seq
 * @ended: the scan ended before it came round
 * @retry: ranges to retry; NULL: none
 * @alone: ksmd did not serve the requests, so nothing more is put off
 * @retrying: ranges are being retried: they neither count for @pages nor are put
 *	off again
 * @booked: run time of this thread that was booked so far, in ns
 */
struct ksm_demand {
	struct ksm_group *top;
	unsigned int runs;
	unsigned long pages;
	unsigned long last;
	unsigned long from_seq;
	unsigned long from_addr;
	bool again;
	bool ended;
	struct ksm_retry *retry;
	bool alone;
	bool retrying;
	u64 booked;
};

static void ksm_step_begin(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
}

static void ksm_step_end(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

/*
 * Under the domain's mutex: 1 at the end of the slot, -EBUSY if it is busy.
 *
 * -EBUSY as well if the slot is no longer served or has left the domain, as the
 * writer may have been throttled since that was known: it looks again.
 */
static int ksm_step_walk(struct ksm_scan *scan, struct ksm_group *top)
{
	struct ksm_slot *slot = scan->slot;
	struct mm_struct *mm = slot->mm;
	int end = 1;

	/* stopped: tried again, unless ksm_demand_check() ends the scan */
	if (!ksm_slot_runs(slot) || !ksm_slot_served(slot, top) ||
	    READ_ONCE(slot->books.domain) != scan->domain)
		return -EBUSY;
	if (READ_ONCE(slot->books.gauge[KSM_G_FOREIGN]))
		return 1;
	if (!ksm_track_enter(slot, scan->domain))
		return -EBUSY;
	if (!mmap_read_trylock(mm))
		return -EBUSY;
	if (ksm_mm_live(mm))
		end = ksm_walk_slot(scan);
	mmap_read_unlock(mm);
	return end;
}

static int ksm_step(struct ksm_scan *scan, struct ksm_group *top)
{
	int end = -EBUSY;

	ksm_pool_refill(KSM_STEP_FRAMES);
	if (!ksm_gate_read_trylock())
		return end;
	if (mutex_trylock(&scan->domain->mutex)) {
		end = ksm_step_walk(scan, top);
		mutex_unlock(&scan->domain->mutex);
	}
	ksm_gate_read_unlock();
	return end;
}

/* Not worth waiting for memory, which may be short. */
static struct ksm_retry *ksm_retry_alloc(void)
{
	struct ksm_retry *retry = kzalloc(sizeof(*retry),
					  KSM_GFP_SCAN | __GFP_ACCOUNT);

	if (!retry)
		return NULL;
	retry->reqs = ksm_split_reqs_alloc();
	if (retry->reqs)
		return retry;
	kfree(retry);
	return NULL;
}

static void ksm_retry_free(struct ksm_retry *retry)
{
	while (retry->nr)
		ksm_slot_put(retry->range[--retry->nr].slot);
	ksm_split_reqs_free(retry->reqs);
	kfree(retry);
}

/* Where ranges can be put off now; NULL: nowhere. */
static struct ksm_retry *ksm_demand_ranges(struct ksm_demand *demand)
{
	if (demand->retrying || demand->alone)
		return NULL;
	if (!demand->retry)
		demand->retry = ksm_retry_alloc();
	return demand->retry;
}

/* Put off the range that ended a step. */
static void ksm_demand_put_off(struct ksm_demand *demand, struct ksm_slot *slot,
			       struct ksm_cursor *cursor,
			       struct ksm_need_split *need)
{
	struct ksm_retry *retry = demand->retry;
	unsigned long until = max(need->until, cursor->addr);
	unsigned long pages = (until - cursor->addr) >> PAGE_SHIFT;

	ksm_split_reqs_add(retry->reqs, slot, need);
	kref_get(&slot->ref);
	retry->range[retry->nr++] = (struct ksm_range) {
		.slot = slot,
		.from = need->from,
		.until = until,
	};
	demand->pages -= min(demand->pages, pages);
	cursor->addr = until;
}

/* Do and book one step; 0 if there is more, else as ksm_step_walk(). */
static int ksm_demand_step(struct ksm_demand *demand, struct ksm_slot *slot,
			   struct ksm_cursor *cursor, unsigned long until)
{
	struct ksm_scan scan = {
		.slot = slot,
		.limit.pages = demand->retrying ? ULONG_MAX : demand->pages,
		.limit.budget = KSM_STEP,
		.limit.end = until,
		.limit.window = KSM_STEP_WINDOW,
		.limit.may_sleep = false,
		.limit.may_put_off = ksm_demand_ranges(demand),
		.limit.may_resume = false,
		.cursor = *cursor,
	};
	int end;
	u64 now;

	spin_lock(&slot->books.lock);
	scan.domain = slot->books.domain;
	refcount_inc(&scan.domain->ref);
	spin_unlock(&slot->books.lock);

	ksm_step_begin();
	end = ksm_step(&scan, demand->top);
	*cursor = scan.cursor;
	if (!demand->retrying)
		demand->pages -= ksm_scan_passed(&scan);
	if (scan.missed & KSM_MISSED_LRU)
		ksm_drain_later();
	/* before preemption is enabled, as books.lock may be contended */
	now = task_sched_runtime(current);
	ksm_books_add(slot, scan.delta, scan.event, now - demand->booked);
	demand->booked = now;
	ksm_step_end();
	ksm_recs_free(&scan.dead_recs);
	ksm_domain_put(scan.domain);
	if (scan.need_split.nr)
		ksm_demand_put_off(demand, slot, cursor, &scan.need_split);
	return end;
}

/*
 * Do the knobs stop the subtree, or a part that was served at the start? If the
 * top is owned, so is everything below it, and run makes no difference.
 */
static bool ksm_demand_stopped(const struct ksm_demand *demand)
{
	unsigned int runs = ksm_running();

	if (READ_ONCE(demand->top->effective.owned))
		return !(runs & KSM_RUNS_CGROUPS);
	return !runs || (demand->runs & ~runs);
}

/* May the scan go on? */
static int ksm_demand_check(struct ksm_demand *demand)
{
	struct ksm_group *top = demand->top;

	if (ksm_group_dying(top))
		return -ENODEV;
	if (signal_pending(current))
		return -EINTR;
	if (ksm_demand_stopped(demand) || ksm_group_effective(top) == KSM_NEVER)
		return -EAGAIN;
	return 0;
}

/* The next write resumes here; 0: at the first slot. */
static void ksm_demand_leave(struct ksm_group *top, unsigned long seq,
			     unsigned long addr)
{
	spin_lock(&ksm_lock);
	top->queue.resume_seq = seq;
	top->queue.resume_addr = addr;
	spin_unlock(&ksm_lock);
}

/* Is there no room for another range? */
static bool ksm_demand_is_full(const struct ksm_demand *demand)
{
	return !demand->retrying && demand->retry &&
	       demand->retry->nr == KSM_DEMAND_RANGES;
}

/*
 * Scan a range of a slot in steps. Returns 1 at its end, or if the slot is no
 * longer served; 0 if the pages are used up or no more ranges can be put off;
 * else the error of ksm_demand_check().
 */
static int ksm_demand_steps(struct ksm_demand *demand, struct ksm_slot *slot,
			    struct ksm_cursor *cursor, unsigned long until)
{
	int tries = 0, end = 0, err;
	bool served;

	while (!end) {
		/* the slot may move to another group or be stopped */
		served = ksm_slot_served(slot, demand->top);
		if (served && !demand->pages && !demand->retrying)
			return 0;
		err = ksm_demand_check(demand);
		if (err)
			return err;
		if (!served)
			break;
		if (ksm_demand_is_full(demand))
			return 0;
		end = ksm_demand_step(demand, slot, cursor, until);
		if (end == -EBUSY && tries++ < KSM_DEMAND_TRIES) {
			schedule_timeout_interruptible(1);
			end = 0;
		} else {
			tries = 0;
		}
		cond_resched();
	}
	return 1;
}

/*
 * The scan ends here, with @err or because the pages are used up. The next write
 * resumes here, or at what is still put off.
 */
static int ksm_demand_end(struct ksm_demand *demand, struct ksm_slot *slot,
			  unsigned long addr, int err)
{
	struct ksm_retry *retry = demand->retry;

	if (err && retry && retry->nr) {
		slot = retry->range[0].slot;
		addr = retry->range[0].from;
	}
	ksm_demand_leave(demand->top, slot->seq, addr);
	demand->ended = true;
	return err ? err : 1;
}

/* Wait for ksmd, and scan once more what was put off. */
static int ksm_demand_retry(struct ksm_demand *demand)
{
	struct ksm_retry *retry = demand->retry;
	unsigned int i;
	int err = 0;

	if (!retry || !retry->nr)
		return 0;
	demand->alone = !ksm_split_reqs_wait(retry->reqs);
	demand->retrying = true;
	for (i = 0; i < retry->nr && err >= 0; i++) {
		struct ksm_range *range = &retry->range[i];
		struct ksm_cursor cursor = { .addr = range->from };

		err = ksm_demand_steps(demand, range->slot, &cursor,
				       range->until);
	}
	demand->retrying = false;
	if (err < 0)
		return ksm_demand_end(demand, NULL, 0, err);
	while (retry->nr)
		ksm_slot_put(retry->range[--retry->nr].slot);
	if (demand->alone) {
		ksm_retry_free(retry);
		demand->retry = NULL;
	}
	return 0;
}

/* Scan a range of a slot: 0 to go on, 1 if the pages are used up, else -errno. */
static int ksm_demand_range(struct ksm_demand *demand, struct ksm_slot *slot,
			    unsigned long from, unsigned long until)
{
	struct ksm_cursor cursor = { .addr = from };
	int end, err;

	for (;;) {
		end = ksm_demand_steps(demand, slot, &cursor, until);
		if (end > 0)
			return 0;
		if (end < 0 || !ksm_demand_is_full(demand))
			return ksm_demand_end(demand, slot, cursor.addr, end);
		err = ksm_demand_retry(demand);
		if (err)
			return err;
	}
}

/* Slots come in the order of seq; anything but 0 ends the walk. */
static int ksm_demand_slot(struct ksm_slot *slot, void *arg)
{
	struct ksm_demand *demand = arg;
	unsigned long from = 0, until = ULONG_MAX;

	if (slot->seq > demand->last)
		return 1;
	if (slot->seq == demand->from_seq) {
		if (demand->again)
			until = demand->from_addr;
		else
			from = demand->from_addr;
	} else if ((slot->seq > demand->from_seq) == demand->again) {
		return demand->again;
	}
	return ksm_demand_range(demand, slot, from, until);
}

/* From where the last write ended to the last slot, then from the first one. */
static int ksm_demand_round(struct ksm_demand *demand)
{
	int err = ksm_slots_walk(demand->top, ksm_demand_slot, demand);

	if (!demand->ended && demand->from_seq) {
		demand->again = true;
		err = ksm_slots_walk(demand->top, ksm_demand_slot, demand);
	}
	if (!demand->ended)
		ksm_demand_leave(demand->top, 0, 0);
	return err < 0 ? err : ksm_demand_retry(demand);
}

/**
 * ksm_scan_subtree - scan the processes of a cgroup and those below it now
 * @top: the cgroup's group; the caller has a reference on the cgroup
 * @pages: pages to sample or skip at most
 *
 * Begins where the last call for the same group ended.
 *
 * Context: the writer's; sleeps.
 * Return: 0 when @pages or all processes were scanned; -EAGAIN if settings
 * forbid it or nothing takes part, -EINTR, -ENODEV when the cgroup goes. What
 * was merged before an error stays merged.
 */
int ksm_scan_subtree(struct ksm_group *top, unsigned long pages)
{
	struct ksm_demand demand = {
		.top = top,
		.runs = ksm_running(),
		.pages = pages,
	};
	int err = ksm_demand_check(&demand);

	if (err)
		return err;
	if (!ksm_queue_served(top))
		return -EAGAIN;
	demand.last = ksm_last_seq();
	spin_lock(&ksm_lock);
	demand.from_seq = top->queue.resume_seq;
	demand.from_addr = top->queue.resume_addr;
	spin_unlock(&ksm_lock);
	ksm_merging_begin();
	demand.booked = task_sched_runtime(current);
	err = ksm_demand_round(&demand);
	if (demand.retry)
		ksm_retry_free(demand.retry);
	return err;
}
