// SPDX-License-Identifier: GPL-2.0
/*
 * ksmd: wakes up, spends its budget on whose turn it is, sleeps.
 *
 * The budget of a batch is pages_to_scan whole pages read; a first look costs
 * a sixteenth of that, an empty page table entry a five-hundredth. A batch is
 * served in slices, each to one slot, with that slot's domain and mm locked
 * for no longer.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

#include "advisor.h"
#include "ksm.h"

struct ksm_knobs ksm_knobs = {
	.run = KSM_RUN_CGROUPS,
	.pages_to_scan = KSM_PAGES_TO_SCAN,
	.sleep_ms = 20,
	.max_page_sharing = 256,
	.prune_ms = 2000,
	.merge_across_nodes = true,
	.smart_scan = true,
};

DEFINE_STATIC_KEY_FALSE(ksm_merging_key);
struct kmem_cache *ksm_block_cache, *ksm_node_cache, *ksm_rec_cache;

static DECLARE_WAIT_QUEUE_HEAD(ksm_work_wait);
static DECLARE_WAIT_QUEUE_HEAD(ksm_sleep_wait);

/*
 * What a slice costs besides what it looks at: or a process with a single page
 * would take half of the CPU time that it shares with one that has a million.
 */
#define KSM_SLICE_BASE	KSM_PAGE_LINES

/**
 * ksm_running - is anything to be scanned and merged?
 */
bool ksm_running(void)
{
	unsigned int run = READ_ONCE(ksm_knobs.run);

	return run == KSM_RUN_ALL || run == KSM_RUN_CGROUPS;
}

static bool ksm_has_work(void)
{
	return ksm_running() && READ_ONCE(ksm_root_group.sched.active);
}

/* The key itself says so already while the kernel is still being patched. */
static bool ksm_merging_began;

static void ksm_merging_work_fn(struct work_struct *work)
{
	static_branch_enable(&ksm_merging_key);
	/* pairs with ksm_merging_begin() */
	smp_store_release(&ksm_merging_began, true);
}

static DECLARE_WORK(ksm_merging_work, ksm_merging_work_fn);

/**
 * ksm_merging_begin - mappings are counted from before the first one is made
 *
 * Context: sleeps. Patching the kernel is a worker's, as who merges may have
 * too little CPU time to be let hold its locks.
 */
void ksm_merging_begin(void)
{
	/* pairs with ksm_merging_work_fn() */
	if (smp_load_acquire(&ksm_merging_began))
		return;
	queue_work(system_unbound_wq, &ksm_merging_work);
	flush_work(&ksm_merging_work);
}

/**
 * ksm_wake - there may be something to scan, or a pause may be too long
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

/*
 * A page on its way to the LRU sits in some CPU's batch, whose reference makes
 * it look busy. Emptying all batches is dear and serves everybody who waits
 * for it, so it is done fifty times a second at most.
 */
static bool ksm_drain_wanted;
static unsigned long ksm_nr_drains;

/**
 * ksm_drains - how often the LRU batches were emptied
 */
unsigned long ksm_drains(void)
{
	return READ_ONCE(ksm_nr_drains);
}

/**
 * ksm_drain_want - some page waits for that
 */
void ksm_drain_want(void)
{
	WRITE_ONCE(ksm_drain_wanted, true);
}

static void ksm_drain_lru(void)
{
	static unsigned long last;

	if (!READ_ONCE(ksm_drain_wanted) ||
	    (ksm_nr_drains && time_before(jiffies, last + HZ / 50)))
		return;
	WRITE_ONCE(ksm_drain_wanted, false);
	lru_add_drain_all();
	WRITE_ONCE(ksm_nr_drains, ksm_nr_drains + 1);
	last = jiffies;
}

static void ksm_drain_work_fn(struct work_struct *work)
{
	lru_add_drain_all();
}

static DECLARE_DELAYED_WORK(ksm_drain_work, ksm_drain_work_fn);

/**
 * ksm_drain_later - pages that were added to the LRU may be freed at any time
 *
 * One that is freed while it sits in the batch of an idle CPU stays, and with
 * it the cgroup that it is charged to, even one that is removed. For whoever
 * adds pages on behalf of others: they do not empty our CPU's batch.
 */
void ksm_drain_later(void)
{
	queue_delayed_work(system_unbound_wq, &ksm_drain_work, HZ / 10);
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
	if (done) {
		ksm_track_sweep(scan);
		ksm_slot_pass_end(slot);
	}
	return done;
}

/**
 * ksm_scan_slot - scan one slot for a slice
 * @slot: the slot
 * @budget: lines that may be spent
 * @booked: run time of this thread that was booked so far
 *
 * Context: sleeps; no locks.
 * Return: lines that were spent.
 */
static unsigned long ksm_scan_slot(struct ksm_mm *slot, unsigned long budget,
				   u64 *booked)
{
	struct ksm_scan scan = {
		.slot = slot,
		.pages = ULONG_MAX,
		.budget = budget,
	};
	struct ksm_domain *domain;
	bool rotate = true;
	u64 now;

	spin_lock(&slot->lock);
	domain = slot->domain;
	scan.domain = domain;
	refcount_inc(&domain->ref);
	spin_unlock(&slot->lock);

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
	if (READ_ONCE(slot->tracked) && READ_ONCE(slot->tracked) != domain)
		ksm_track_drop(slot);
out:
	/* since the last slice, so that what lies between them has its payer */
	now = task_sched_runtime(current);
	ksm_scan_book(&scan, now - *booked);
	*booked = now;
	ksm_slot_charge(slot, scan.work + KSM_SLICE_BASE, rotate);
	ksm_domain_put(domain);
	return scan.work + KSM_SLICE_BASE;
}

static void ksm_scan_batch(u64 *booked)
{
	unsigned long budget = READ_ONCE(ksm_knobs.pages_to_scan) * KSM_PAGE_LINES;
	unsigned long spent = 0;
	struct ksm_mm *slot;

	ksm_pool_refill(UINT_MAX);
	while (spent < budget && ksm_running() && !kthread_should_stop()) {
		slot = ksm_slot_next();
		if (!slot)
			break;
		spent += ksm_scan_slot(slot, min(budget - spent,
						 (unsigned long)KSM_SLICE),
				       booked);
		ksm_slot_put(slot);
		ksm_drain_lru();
		ksm_pool_refill(UINT_MAX);
		if (try_to_freeze())
			break;
		cond_resched();
	}
	ksm_advisor_check();
}

static int ksmd(void *unused)
{
	u64 booked = 0;
	unsigned int ms;

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
		ksm_scan_batch(&booked);
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

static struct mem_cgroup * __init ksm_root_memcg(void)
{
#ifdef CONFIG_MEMCG
	if (!mem_cgroup_disabled())
		return root_mem_cgroup;
#endif
	return NULL;
}

static int __init ksm_init(void)
{
	struct task_struct *thread;
	int err;

	ksm_rmap_init();
	err = ksm_domain_init(&ksm_root_domain);
	if (err)
		panic("ksm: no memory for the root domain at boot");
	ksm_group_init(&ksm_root_group, NULL, ksm_root_memcg());
	ksm_block_cache = KMEM_CACHE(ksm_block, 0);
	ksm_node_cache = KMEM_CACHE(ksm_node, 0);
	ksm_rec_cache = KMEM_CACHE(ksm_rec, 0);
	if (!ksm_block_cache || !ksm_node_cache || !ksm_rec_cache)
		panic("ksm: no memory for caches at boot");
	err = ksm_sysfs_init();
	if (err) {
		pr_err("ksm: no files in sysfs: %d\n", err);
		return err;
	}
	ksm_hotplug_init();
	thread = kthread_run(ksmd, NULL, "ksmd");
	if (IS_ERR(thread)) {
		pr_err("ksm: cannot start ksmd: %ld\n", PTR_ERR(thread));
		return PTR_ERR(thread);
	}
	return 0;
}
subsys_initcall(ksm_init);
