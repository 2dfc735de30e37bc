// SPDX-License-Identifier: GPL-2.0
/*
 * ksmd: wakes up, spends its budget on the slots whose turn it is, sleeps.
 *
 * The budget of a batch is the cost of reading pages_to_scan pages whole. It
 * bounds the work on known memory that gains nothing: work that merges a page,
 * splits a folio for that, or indexes a new page, costs only a KSM_GAIN-th. So
 * a source of ever new memory makes a batch do at most KSM_GAIN times as much
 * work. Between cgroups all work counts in full. A batch is served in slices of
 * one slot each; the slot's domain and mm are locked for one slice only.
 *
 * The first thread keeps time: it grants the budget and sleeps between two
 * batches. The others help to spend the budget, so the number of threads does
 * not change how much is spent. A domain is scanned by one thread at a time, as
 * one mutex covers all of its index; see queue.c.
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
#include "scan.h"

/*
 * The fixed cost of a slice. Without it, a process of one page would get as
 * much CPU time as a sibling of a million pages.
 */
#define KSM_SLICE_BASE	KSM_PAGE_CACHELINES

/**
 * struct ksm_thread - a scanner thread
 * @link: on ksm_threads (ksm_threads_mutex)
 * @task: the thread; set before it runs, read under ksm_threads_mutex
 * @booked: run time that was booked so far, in ns (the thread)
 *
 * Allocated and freed under ksm_threads_mutex; freed after the thread ended.
 */
struct ksm_thread {
	struct list_head link;
	struct task_struct *task;
	u64 booked;
};

/* The first thread never stops, further ones come and go. */
static DEFINE_MUTEX(ksm_threads_mutex);
static LIST_HEAD(ksm_threads);
/* Written under ksm_threads_mutex. */
static unsigned int ksm_nr_threads;

/* Cache lines that may still be spent in the present batch. */
static atomic_long_t ksm_budget = ATOMIC_LONG_INIT(0);
/* Run time of all threads, in ns. */
static atomic64_t ksm_run_time = ATOMIC64_INIT(0);

static DECLARE_WAIT_QUEUE_HEAD(ksm_help_wait);	/* idle further threads */
static DECLARE_WAIT_QUEUE_HEAD(ksm_sleep_wait);	/* the first one's pause */

/**
 * ksmd_wake_sleeper - the length of the pause between batches changed
 *
 * Context: any that allows a spinlock.
 */
void ksmd_wake_sleeper(void)
{
	wake_up_interruptible(&ksm_sleep_wait);
}

/* Take a slice's worth of the budget, or what is left of it. */
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

/*
 * Visit memory for a slice. Returns 1 when all was visited, 0 if there is more,
 * and -EBUSY if the slot cannot be scanned now.
 */
static int ksm_scan_memory(struct ksm_scan *scan)
{
	struct ksm_slot *slot = scan->slot;
	struct ksm_pass *pass = &slot->pass;
	struct mm_struct *mm = slot->mm;
	bool done;

	/* the process is busy mapping, or keeps the lock: not now */
	if (!mmap_read_trylock(mm)) {
		ksm_pass_busy(slot);
		return -EBUSY;
	}
	pass->busy = 0;
	if (!ksm_mm_live(mm)) {
		mmap_read_unlock(mm);
		/* its exit may take long, and no round waits for that */
		ksm_pass_skip(slot);
		return -EBUSY;
	}
	scan->cursor = pass->cursor;
	if (!pass->cursor.addr)
		ksm_pass_begin(slot);
	done = ksm_walk_slot(scan);
	pass->cursor = scan->cursor;
	pass->missed |= scan->missed;
	mmap_read_unlock(mm);
	return done;
}

/* One slice under all locks; true if the slot's siblings are next. */
static bool ksm_scan_locked(struct ksm_scan *scan)
{
	struct ksm_pass *pass = &scan->slot->pass;
	int done;

	ksm_split_reqs_serve(scan);
	done = pass->sweeping ? 1 : ksm_scan_memory(scan);
	if (done <= 0)
		return done;
	pass->sweeping = true;
	if (!ksm_track_sweep(scan))
		return false;
	ksm_pass_end(scan->slot);
	return true;
}

/* One slice under the gate and the domain's mutex; returns the same. */
static bool ksm_scan_domain(struct ksm_scan *scan)
{
	struct ksm_domain *domain = scan->domain;
	struct ksm_slot *slot = scan->slot;
	bool rotate = false;

	ksm_gate_read_lock();
	mutex_lock(&domain->mutex);
	if (ksm_slot_runs(slot) && READ_ONCE(slot->books.domain) == domain &&
	    ksm_track_enter(slot, domain))
		rotate = ksm_scan_locked(scan);
	mutex_unlock(&domain->mutex);
	ksm_gate_read_unlock();
	ksm_recs_free(&scan->dead_recs);

	/* the slot moved here but is still tracked in its old domain */
	if (READ_ONCE(slot->track.domain) &&
	    READ_ONCE(slot->track.domain) != domain &&
	    READ_ONCE(slot->books.domain) == domain)
		ksm_track_drop(slot);
	return rotate;
}

/**
 * ksm_scan_slot - scan one slot for a slice
 * @thread: the thread
 * @slot: the slot
 * @domain: its domain, which no other thread scans; the reference is dropped
 * @budget: cache lines that may be spent
 *
 * Context: sleeps; no locks.
 * Return: what the slice costs the batch, in cache lines.
 */
static unsigned long ksm_scan_slot(struct ksm_thread *thread,
				   struct ksm_slot *slot,
				   struct ksm_domain *domain,
				   unsigned long budget)
{
	struct ksm_scan scan = {
		.slot = slot,
		.domain = domain,
		.limit.pages = ULONG_MAX,
		.limit.budget = budget,
		.limit.end = ULONG_MAX,
		.limit.window = KSM_BLOCK_PAGES,
		.limit.may_sleep = true,
		.limit.may_resume = true,
		.limit.count_related = true,
	};
	unsigned long work, gain, cost;
	bool rotate = true;
	u64 now;

	/* foreign mappings must go first; if that fails, no round waits */
	if (!READ_ONCE(slot->books.gauge[KSM_G_FOREIGN]))
		rotate = ksm_scan_domain(&scan);
	else if (READ_ONCE(slot->undo.failing))
		ksm_pass_skip(slot);
	/* since the last slice, so that the time in between is booked too */
	now = task_sched_runtime(current);
	ksm_books_add(slot, scan.delta, scan.event, now - thread->booked);
	atomic64_add(now - thread->booked, &ksm_run_time);
	thread->booked = now;
	work = scan.work + KSM_SLICE_BASE;
	gain = min(scan.gain, work);
	cost = work - gain + gain / KSM_GAIN;
	trace_ksm_slice(slot, work, cost);
	ksm_queue_scanned(slot, domain, work, rotate);
	return cost;
}

/* One slice for the slot whose turn it is; false if the batch is over. */
static bool ksm_scan_turn(struct ksm_thread *thread)
{
	unsigned long turns = ksm_queue_turns();
	struct ksm_domain *domain;
	struct ksm_slot *slot;
	long budget, spent;

	budget = ksm_budget_take();
	if (!budget)
		return false;
	slot = ksm_queue_next(&domain, ksmd_threads());
	if (IS_ERR_OR_NULL(slot)) {
		atomic_long_add(budget, &ksm_budget);
		if (!slot)
			return false;
		/* other threads are scanning the domains whose turn it is */
		wait_event_freezable(ksm_turn_wait,
				     turns != ksm_queue_turns() ||
				     kthread_should_stop());
		return true;
	}
	spent = ksm_scan_slot(thread, slot, domain, budget);
	atomic_long_add(budget - spent, &ksm_budget);
	ksm_slot_put(slot);
	return true;
}

static void ksmd_drain_lru(bool force)
{
	if (ksm_drain_lru(force))
		ksm_round_drained();
}

static void ksm_scan_batch(struct ksm_thread *thread, bool first)
{
	do {
		if (!ksm_running() || kthread_should_stop())
			break;
		ksm_pool_refill(UINT_MAX);
		if (first) {
			ksmd_drain_lru(false);
			ksm_round_retry();
		}
		cond_resched();
	} while (!try_to_freeze() && ksm_scan_turn(thread));
}

static int ksmd(void *data)
{
	const unsigned int *sleep_ms = &ksm_knobs.sleep_ms;
	struct ksm_thread *thread = data;
	unsigned int ms;
	u64 pages;

	set_freezable();
	set_user_nice(current, 5);
	while (!kthread_should_stop()) {
		if (!ksm_queue_has_work()) {
			ksm_pool_drain();
			wait_event_freezable(ksm_work_wait,
					     ksm_queue_has_work() ||
					     kthread_should_stop());
			continue;
		}
		ksm_merging_begin();
		pages = READ_ONCE(ksm_knobs.pages_to_scan);
		atomic_long_set(&ksm_budget,
				min_t(u64, pages * KSM_PAGE_CACHELINES,
				      LONG_MAX / 2));
		if (READ_ONCE(ksm_nr_threads) > 1)
			wake_up_interruptible_all(&ksm_help_wait);
		ksm_scan_batch(thread, true);
		ksm_advisor_check(pages, atomic64_read(&ksm_run_time));
		ms = READ_ONCE(*sleep_ms);
		/* a long pause limits the rate of drains as well */
		ksmd_drain_lru(ms >= KSM_DRAIN_MS);
		if (ms)
			wait_event_freezable_timeout(ksm_sleep_wait,
						     ms != READ_ONCE(*sleep_ms),
						     msecs_to_jiffies(ms));
		else
			cond_resched();
	}
	return 0;
}

static bool ksm_help_wanted(void)
{
	return ksm_queue_has_work() && atomic_long_read(&ksm_budget) > 0;
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
		/* the first thread may have drained before this one refilled */
		if (!ksm_queue_has_work())
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
	/* tools look for a thread of this name */
	if (!nr)
		thread->task = kthread_create(ksmd, thread, "ksmd");
	else
		thread->task = kthread_create(ksmd_helper, thread, "ksmd/%u",
					      nr);
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
 * ksmd_threads - the number of scanner threads
 *
 * Context: any.
 * Return: the number.
 */
unsigned int ksmd_threads(void)
{
	return READ_ONCE(ksm_nr_threads);
}

/**
 * ksmd_set_threads - start or stop scanner threads
 * @nr: the number wanted
 *
 * Context: sleeps until a stopping thread ends its slice; the caller does not
 * hold the gate.
 * Return: 0; -EINVAL unless @nr is from 1 to the number of CPUs; -EINTR for a
 * fatal signal; -ENOMEM, also with fewer threads started than wanted.
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
 * Context: boot.
 * Return: 0, or an errno if not even the first thread starts.
 */
int __init ksmd_init(void)
{
	int err = ksmd_set_threads(1);

	/* without the other threads scanning is slower, no worse */
	if (!err)
		ksmd_set_threads(min_t(unsigned int, num_node_state(N_MEMORY),
				       num_online_cpus()));
	return err;
}
