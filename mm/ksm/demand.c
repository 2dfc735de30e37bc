// SPDX-License-Identifier: GPL-2.0
/*
 * Scanning on demand: memory.ksm.scan scans a subtree once in the writer's own
 * context, so that the CPU time is the writer's.
 *
 * A writer can be throttled wherever it can be preempted, for as long as its
 * cgroup's cpu.max says. It must not hold a contended lock meanwhile, so it
 * works in steps of a few pages with preemption disabled, and only tries the
 * locks that ksmd waits for. A busy process or domain is tried again a tick
 * later. What may sleep in spite of that, splitting huge pages and calling MMU
 * notifiers, is left to ksmd.
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

#include "scan.h"

/* Work of a step, in cache lines: about eight whole pages. */
#define KSM_STEP		(8 * KSM_PAGE_CACHELINES)
/* Pages that a step gathers at a time, so that it ends soon. */
#define KSM_STEP_WINDOW		8
/* Frames that a step may add to the stock of each node. */
#define KSM_STEP_FRAMES		16
/* Ticks to wait for a busy process or domain before it is skipped. */
#define KSM_DEMAND_TRIES	(HZ / 10)

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

/* Under the domain's mutex: 1 at the end of the slot, -EBUSY if it is busy. */
static int ksm_step_walk(struct ksm_scan *scan)
{
	struct ksm_slot *slot = scan->slot;
	struct mm_struct *mm = slot->mm;
	int end = 1;

	/* stopped: tried again, unless ksm_demand_check() ends the scan */
	if (!ksm_slot_runs(slot))
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

static int ksm_step(struct ksm_scan *scan)
{
	int end = -EBUSY;

	ksm_pool_refill(KSM_STEP_FRAMES);
	if (!ksm_gate_read_trylock())
		return end;
	if (mutex_trylock(&scan->domain->mutex)) {
		end = ksm_step_walk(scan);
		mutex_unlock(&scan->domain->mutex);
	}
	ksm_gate_read_unlock();
	return end;
}

/* Do and book one step; 0 if there is more, else as ksm_step_walk(). */
static int ksm_demand_step(struct ksm_demand *demand, struct ksm_slot *slot,
			   struct ksm_cursor *cursor, unsigned long until)
{
	struct ksm_scan scan = {
		.slot = slot,
		.limit.pages = demand->pages,
		.limit.budget = KSM_STEP,
		.limit.end = until,
		.limit.window = KSM_STEP_WINDOW,
		.limit.may_sleep = false,
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
	end = ksm_step(&scan);
	*cursor = scan.cursor;
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

/* Scan a slot in steps while it is served; 0 once there is no more to do. */
static int ksm_demand_range(struct ksm_demand *demand, struct ksm_slot *slot,
			    unsigned long from, unsigned long until)
{
	struct ksm_cursor cursor = { .addr = from };
	int tries = 0, end = 0, err;
	bool served;

	while (!end) {
		/* the slot may move to another group or be stopped */
		served = ksm_slot_served(slot, demand->top);
		err = demand->pages || !served ? ksm_demand_check(demand) : 1;
		if (err) {
			ksm_demand_leave(demand->top, slot->seq, cursor.addr);
			demand->ended = true;
			return err;
		}
		if (!served)
			break;
		end = ksm_demand_step(demand, slot, &cursor, until);
		if (end == -EBUSY && tries++ < KSM_DEMAND_TRIES) {
			schedule_timeout_interruptible(1);
			end = 0;
		} else {
			tries = 0;
		}
		cond_resched();
	}
	return 0;
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
	return min(err, 0);
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
	return ksm_demand_round(&demand);
}
