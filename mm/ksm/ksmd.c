// SPDX-License-Identifier: GPL-2.0
/*
 * ksmd: wakes up, spends its budget on whose turn it is, sleeps.
 *
 * The budget of a batch is pages_to_scan whole pages read; a first look costs
 * a sixteenth of that, an empty page table entry a five-hundredth. It is there to
 * bound what is spent on memory that is known and brings nothing: what is new,
 * and what is merged, takes a KSM_GAIN-th of that from it. So who always makes
 * new memory can have a batch do KSM_GAIN times as much, and no more. Among
 * cgroups all work counts in full. A batch is served in slices, each to one
 * slot, with that slot's domain and mm locked for no longer.
 *
 * One thread, the first, keeps time: it grants the budget and sleeps between
 * two batches. The others help to spend it, so that the number of threads does
 * not change what is spent. A domain is for one thread at a time, as all of its
 * index is under one lock: a thread whose turn falls on a domain that another is
 * in puts that group aside until the other is through with its slice, and takes
 * the next.
 */
#include <linux/cpumask.h>
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <trace/events/ksm.h>

#include "advisor.h"
#include "ksm.h"

/*
 * What a slice costs besides what it looks at: or a process with a single page
 * would take half of the CPU time that it shares with one that has a million.
 */
#define KSM_SLICE_BASE	KSM_PAGE_LINES

/**
 * struct ksm_thread - a scanner thread
 * @link: on ksm_threads (ksm_threads_mutex)
 * @task: the thread; set before it runs, read under ksm_threads_mutex
 * @booked: run time that was booked so far (the thread's alone)
 *
 * Made and freed under ksm_threads_mutex, freed when the thread has ended.
 */
struct ksm_thread {
	struct list_head link;
	struct task_struct *task;
	u64 booked;
};

/* The first one stays for ever, further ones come and go. */
static DEFINE_MUTEX(ksm_threads_mutex);
static LIST_HEAD(ksm_threads);
/* Written under ksm_threads_mutex; read anywhere, for how many to wake. */
static unsigned int ksm_nr_threads;

/* Lines that may still be spent in the present batch. */
static atomic_long_t ksm_budget = ATOMIC_LONG_INIT(0);
/* Run time of all threads, in nanoseconds. */
static atomic64_t ksm_run_time = ATOMIC64_INIT(0);

static DECLARE_WAIT_QUEUE_HEAD(ksm_work_wait);	/* the first thread */
static DECLARE_WAIT_QUEUE_HEAD(ksm_help_wait);	/* the others */
static DECLARE_WAIT_QUEUE_HEAD(ksm_sleep_wait);	/* the pause */
static DECLARE_WAIT_QUEUE_HEAD(ksm_turn_wait);	/* a domain that is free */

/**
 * ksm_wake - there may be something to scan
 *
 * Context: any that allows a spinlock.
 */
void ksm_wake(void)
{
	wake_up_interruptible(&ksm_work_wait);
}

/**
 * ksm_wake_sleeper - the length of the pause between batches changed
 */
void ksm_wake_sleeper(void)
{
	wake_up_interruptible(&ksm_sleep_wait);
}

/**
 * ksm_wake_turn - a domain can be scanned by another thread
 *
 * Context: any that allows a spinlock.
 */
void ksm_wake_turn(void)
{
	if (READ_ONCE(ksm_nr_threads) > 1)
		wake_up_interruptible_all(&ksm_turn_wait);
}

/**
 * ksmd_run_time - CPU time of the scanner threads
 *
 * Return: nanoseconds, including threads that are gone.
 */
u64 ksmd_run_time(void)
{
	return atomic64_read(&ksm_run_time);
}

static bool ksm_has_work(void)
{
	return ksm_running() && READ_ONCE(ksm_root_group.sched.active);
}

/* A slice's worth of what is left of the budget, less if there is less. */
static long ksm_budget_take(void)
{
	long left = atomic_long_read(&ksm_budget), part;

	do {
		if (left <= 0)
			return 0;
		part = min_t(long, left, KSM_SLICE);
	} while (!atomic_long_try_cmpxchg(&ksm_budget, &left, left - part));
	return part;
}

/* One slice with everything locked; true if the slot's siblings are next. */
static bool ksm_scan_locked(struct ksm_scan *scan)
{
	struct ksm_mm *slot = scan->slot;
	struct mm_struct *mm = slot->mm;
	bool done;

	/* a process in exit, or one that is busy mapping: not now */
	if (!mmap_read_trylock(mm))
		return true;
	if (!atomic_read(&mm->mm_users)) {
		mmap_read_unlock(mm);
		return true;
	}
	scan->cursor = slot->cursor;
	if (!slot->cursor)
		ksm_slot_pass_begin(slot);
	done = ksm_walk_slot(scan);
	slot->cursor = scan->cursor;
	mmap_read_unlock(mm);
	slot->undrained |= scan->drain;
	slot->held |= scan->held;
	slot->unstocked |= scan->unstocked;
	if (done) {
		ksm_track_sweep(scan);
		ksm_slot_pass_end(slot);
	}
	return done;
}

/**
 * ksm_scan_slot - scan one slot for a slice
 * @thread: who
 * @slot: the slot
 * @domain: its domain, which nobody else scans; given back
 * @budget: lines that may be spent
 *
 * Context: sleeps; no locks.
 * Return: lines that it costs the batch.
 */
static unsigned long ksm_scan_slot(struct ksm_thread *thread,
				   struct ksm_mm *slot,
				   struct ksm_domain *domain,
				   unsigned long budget)
{
	struct ksm_scan scan = {
		.slot = slot,
		.domain = domain,
		.pages = ULONG_MAX,
		.budget = budget,
		.end = ULONG_MAX,
	};
	unsigned long work, cost;
	bool rotate = true;
	u64 now;

	/* not before its foreign mappings are gone, but nobody waits for that */
	if (READ_ONCE(slot->gauge[KSM_G_FOREIGN])) {
		if (READ_ONCE(slot->stuck))
			ksm_slot_pass_over(slot);
		goto out;
	}

	ksm_gate_enter();
	mutex_lock(&domain->mutex);
	if (!ksm_running())
		rotate = false;
	else if (ksm_track_enter(slot, domain))
		rotate = ksm_scan_locked(&scan);
	else
		rotate = false;
	mutex_unlock(&domain->mutex);
	ksm_gate_leave();

	/* what it left behind in another domain; nothing is merged there now */
	if (READ_ONCE(slot->tracked) && READ_ONCE(slot->tracked) != domain &&
	    READ_ONCE(slot->domain) == domain)
		ksm_track_drop(slot);
out:
	/* since the last slice, so that what lies between them has its payer */
	now = task_sched_runtime(current);
	ksm_scan_book(&scan, now - thread->booked);
	atomic64_add(now - thread->booked, &ksm_run_time);
	thread->booked = now;
	work = scan.work + KSM_SLICE_BASE;
	scan.gain = min(scan.gain, work);
	cost = work - scan.gain + scan.gain / KSM_GAIN;
	trace_ksm_slice(slot, work, cost);
	ksm_slot_scanned(slot, domain, work, rotate);
	return cost;
}

/* One slice to whose turn it is; false if there is no more for this batch. */
static bool ksm_scan_turn(struct ksm_thread *thread)
{
	unsigned long turns = ksm_turns();
	struct ksm_domain *domain;
	struct ksm_mm *slot;
	long budget, spent;

	budget = ksm_budget_take();
	if (!budget)
		return false;
	slot = ksm_slot_next(&domain);
	if (IS_ERR_OR_NULL(slot)) {
		atomic_long_add(budget, &ksm_budget);
		if (!slot)
			return false;
		/* others are in the domains whose turn it is */
		wait_event_freezable(ksm_turn_wait, turns != ksm_turns() ||
				     kthread_should_stop());
		return true;
	}
	spent = ksm_scan_slot(thread, slot, domain, budget);
	atomic_long_add(budget - spent, &ksm_budget);
	ksm_slot_put(slot);
	return true;
}

static void ksm_scan_batch(struct ksm_thread *thread, bool first)
{
	do {
		if (!ksm_running() || kthread_should_stop())
			break;
		ksm_pool_refill(UINT_MAX);
		if (first)
			ksm_drain_lru();
		cond_resched();
	} while (!try_to_freeze() && ksm_scan_turn(thread));
}

static int ksmd(void *data)
{
	struct ksm_thread *thread = data;
	unsigned int ms;
	u64 pages;

	set_freezable();
	set_user_nice(current, 5);
	while (!kthread_should_stop()) {
		if (!ksm_has_work()) {
			ksm_pool_drain();
			wait_event_freezable(ksm_work_wait, ksm_has_work() ||
					     kthread_should_stop());
			continue;
		}
		ksm_merging_begin();
		/* of what is left of the last one, no more than a slice is kept */
		pages = READ_ONCE(ksm_knobs.pages_to_scan);
		atomic_long_set(&ksm_budget, min_t(u64, pages * KSM_PAGE_LINES,
						   LONG_MAX / 2));
		if (READ_ONCE(ksm_nr_threads) > 1)
			wake_up_interruptible_all(&ksm_help_wait);
		ksm_scan_batch(thread, true);
		ksm_drain_lru();
		ksm_advisor_check(pages);
		ms = READ_ONCE(ksm_knobs.sleep_ms);
		if (ms)
			wait_event_freezable_timeout(ksm_sleep_wait,
						     ms != READ_ONCE(ksm_knobs.sleep_ms),
						     msecs_to_jiffies(ms));
		else
			cond_resched();
	}
	return 0;
}

static bool ksm_help_wanted(void)
{
	return ksm_has_work() && atomic_long_read(&ksm_budget) > 0;
}

static int ksmd_helper(void *data)
{
	struct ksm_thread *thread = data;

	set_freezable();
	set_user_nice(current, 5);
	while (!kthread_should_stop()) {
		wait_event_freezable(ksm_help_wait, ksm_help_wanted() ||
				     kthread_should_stop());
		ksm_scan_batch(thread, false);
		/* the first thread may have seen that before we stocked up */
		if (!ksm_has_work())
			ksm_pool_drain();
	}
	return 0;
}

static int ksm_thread_start(void)
{
	struct ksm_thread *thread = kzalloc(sizeof(*thread), GFP_KERNEL);
	unsigned int nr = ksm_nr_threads;

	if (!thread)
		return -ENOMEM;
	/* the name that is looked for is the first one's */
	if (!nr)
		thread->task = kthread_create(ksmd, thread, "ksmd");
	else
		thread->task = kthread_create(ksmd_helper, thread, "ksmd/%u", nr);
	if (IS_ERR(thread->task)) {
		int err = PTR_ERR(thread->task);

		kfree(thread);
		return err;
	}
	list_add_tail(&thread->link, &ksm_threads);
	WRITE_ONCE(ksm_nr_threads, nr + 1);
	wake_up_process(thread->task);
	return 0;
}

static void ksm_thread_stop(void)
{
	struct ksm_thread *thread = list_last_entry(&ksm_threads,
						    struct ksm_thread, link);

	kthread_stop(thread->task);
	list_del(&thread->link);
	kfree(thread);
	WRITE_ONCE(ksm_nr_threads, ksm_nr_threads - 1);
}

/**
 * ksmd_threads - how many scanner threads there are
 */
unsigned int ksmd_threads(void)
{
	return READ_ONCE(ksm_nr_threads);
}

/**
 * ksmd_set_threads - start or stop scanner threads
 * @nr: how many there are to be
 *
 * Context: sleeps, until a thread that goes is through with its slice; the
 * caller does not hold the gate.
 * Return: 0; -EINVAL unless @nr is from 1 to the number of CPUs; -ENOMEM, or
 * -EINTR for a signal that kills: then there are fewer than wanted.
 */
int ksmd_set_threads(unsigned int nr)
{
	int err = 0;

	if (!nr || nr > num_online_cpus())
		return -EINVAL;
	if (mutex_lock_killable(&ksm_threads_mutex))
		return -EINTR;
	while (!err && ksm_nr_threads < nr)
		err = ksm_thread_start();
	while (ksm_nr_threads > nr)
		ksm_thread_stop();
	mutex_unlock(&ksm_threads_mutex);
	return err;
}

/**
 * ksmd_init - start the scanner: a thread for each node that has memory
 *
 * Return: 0 or the reason why it cannot scan.
 */
int __init ksmd_init(void)
{
	int err = ksmd_set_threads(1);

	/* without the others it is slower and no worse */
	if (!err)
		ksmd_set_threads(min_t(unsigned int, num_node_state(N_MEMORY),
				       num_online_cpus()));
	return err;
}
