// SPDX-License-Identifier: GPL-2.0
/*
 * Scanning on demand: memory.ksm.scan goes once through the processes of a
 * subtree in the writer's own context, so that the CPU time is the writer's.
 *
 * A writer can be throttled at any point where he could be preempted, for as
 * long as his cgroup's cpu.max says. So he never holds there what others wait
 * for: he works in steps of a few pages without preemption, takes locks only by
 * trying, and sleeps in none of them. What a step cannot have or would have to
 * sleep for is left to ksmd, which comes by sooner or later: huge pages that
 * would have to be split, processes with a secondary MMU, frames that came by
 * fork or from swap, processes that are busy all the time.
 *
 * A step is as safe as one of ksmd's slices and asks the same questions under
 * the same locks. It has a cursor of its own and counts for no full scan.
 *
 * A write that ends before it came round leaves behind where, for the next one
 * to the same file: writes of a size go round the subtree, however small.
 *
 * With PREEMPT_RT a spinlock can be left with somebody who is throttled as
 * well, so nothing would be won there by keeping preemption off.
 */
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "ksm.h"

/* Lines that a step may spend: about eight whole pages. */
#define KSM_STEP		(8 * KSM_PAGE_LINES)

/* Frames that it may take for the stock of each node. */
#define KSM_STEP_FRAMES		16

/* Ticks in a row that a process which is busy is waited for. */
#define KSM_DEMAND_TRIES	(HZ / 10)

/**
 * struct ksm_demand - one write to memory.ksm.scan, on the writer's stack
 * @top: where the subtree begins
 * @pages: pages that may still be passed
 * @last: the youngest slot: those that come meanwhile are for the next write
 * @begin: the slot in which the write before ended, by its born; 0: the first
 * @from: at which address
 * @again: this is the second round, up to @begin
 * @ended: before it came round
 * @booked: run time of this thread that was booked so far
 */
struct ksm_demand {
	struct ksm_group *top;
	unsigned long pages;
	unsigned long last;
	unsigned long begin;
	unsigned long from;
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

/* With the domain's mutex: 1 at the end of the slot, -EBUSY if it is not to be had. */
static int ksm_step_walk(struct ksm_scan *scan)
{
	struct ksm_mm *slot = scan->slot;
	struct mm_struct *mm = slot->mm;
	int end = 1;

	if (!ksm_running() || READ_ONCE(slot->gauge[KSM_G_FOREIGN]))
		return 1;
	if (!ksm_track_enter(slot, scan->domain))
		return -EBUSY;
	if (!mmap_read_trylock(mm))
		return -EBUSY;
	if (atomic_read(&mm->mm_users))
		end = ksm_walk_slot(scan);
	mmap_read_unlock(mm);
	return end;
}

static int ksm_step(struct ksm_scan *scan)
{
	int end = -EBUSY;

	ksm_pool_refill(KSM_STEP_FRAMES);
	if (!ksm_gate_try())
		return end;
	if (mutex_trylock(&scan->domain->mutex)) {
		end = ksm_step_walk(scan);
		mutex_unlock(&scan->domain->mutex);
	}
	ksm_gate_leave();
	return end;
}

/* One step at @cursor, booked; 0 if there is more, else as ksm_step_walk(). */
static int ksm_demand_step(struct ksm_demand *demand, struct ksm_mm *slot,
			   unsigned long *cursor, unsigned long until)
{
	struct ksm_scan scan = {
		.slot = slot,
		.brief = true,
		.pages = demand->pages,
		.budget = KSM_STEP,
		.cursor = *cursor,
		.end = until,
	};
	int end;
	u64 now;

	spin_lock(&slot->lock);
	scan.domain = slot->domain;
	refcount_inc(&scan.domain->ref);
	spin_unlock(&slot->lock);

	ksm_step_begin();
	end = ksm_step(&scan);
	*cursor = scan.cursor;
	demand->pages -= ksm_scan_passed(&scan);
	if (scan.drain)
		ksm_drain_later();
	/* here, too: others read the books */
	now = task_sched_runtime(current);
	ksm_scan_book(&scan, now - demand->booked);
	demand->booked = now;
	ksm_step_end();
	ksm_domain_put(scan.domain);
	return end;
}

/* May it go on? */
static int ksm_demand_check(struct ksm_demand *demand)
{
	struct ksm_group *top = demand->top;

	if (READ_ONCE(top->offline) || top->memcg->css.flags & CSS_DYING)
		return -ENODEV;
	if (signal_pending(current))
		return -EINTR;
	if (!ksm_running() || READ_ONCE(top->effective) == KSM_NEVER)
		return -EAGAIN;
	return 0;
}

/* The next write goes on there; with 0 it begins with the first slot. */
static void ksm_demand_resume(struct ksm_group *top, unsigned long born,
			      unsigned long at)
{
	spin_lock(&top->lock);
	top->resume_born = born;
	top->resume_at = at;
	spin_unlock(&top->lock);
}

/* Scan a slot in steps; 0 if it was gone through as far as it can be had. */
static int ksm_demand_range(struct ksm_demand *demand, struct ksm_mm *slot,
			    unsigned long cursor, unsigned long until)
{
	int tries = 0, end = 0, err = 0;

	while (!end) {
		err = demand->pages ? ksm_demand_check(demand) : 1;
		if (err) {
			ksm_demand_resume(demand->top, slot->born, cursor);
			demand->ended = true;
			return err;
		}
		/* it may have moved to others meanwhile */
		if (!ksm_slot_served(slot, demand->top))
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

/* Anything but 0 ends the round through the slots, which come by their age. */
static int ksm_demand_slot(struct ksm_mm *slot, void *arg)
{
	struct ksm_demand *demand = arg;
	unsigned long cursor = 0, until = ULONG_MAX;

	if (slot->born > demand->last)
		return 1;
	if (slot->born == demand->begin) {
		if (demand->again)
			until = demand->from;
		else
			cursor = demand->from;
	} else if ((slot->born > demand->begin) == demand->again) {
		return demand->again;
	}
	if (!ksm_slot_served(slot, demand->top))
		return 0;
	return ksm_demand_range(demand, slot, cursor, until);
}

/* From where the last write ended to the end, and from the first one to there. */
static int ksm_demand_round(struct ksm_demand *demand)
{
	int err = ksm_visit_slots(demand->top, ksm_demand_slot, demand);

	if (!demand->ended && demand->begin) {
		demand->again = true;
		err = ksm_visit_slots(demand->top, ksm_demand_slot, demand);
	}
	if (!demand->ended)
		ksm_demand_resume(demand->top, 0, 0);
	return min(err, 0);
}

/**
 * ksm_scan_subtree - scan the processes of a cgroup and those below it now
 * @top: the cgroup's group; the caller has a reference on the cgroup
 * @pages: pages to pass at most
 *
 * Begins where the last call for the same group ended.
 *
 * Context: sleeps; the writer's.
 * Return: 0 when @pages were passed or all processes were gone through; -EAGAIN
 * if settings forbid it or nothing takes part, -EINTR, -ENODEV when the cgroup
 * goes. What was done before is kept.
 */
int ksm_scan_subtree(struct ksm_group *top, unsigned long pages)
{
	struct ksm_demand demand = { .top = top, .pages = pages };
	int err = ksm_demand_check(&demand);

	if (err)
		return err;
	if (!ksm_nr_served(top))
		return -EAGAIN;
	demand.last = ksm_last_born();
	spin_lock(&top->lock);
	demand.begin = top->resume_born;
	demand.from = top->resume_at;
	spin_unlock(&top->lock);
	ksm_merging_begin();
	demand.booked = task_sched_runtime(current);
	return ksm_demand_round(&demand);
}
