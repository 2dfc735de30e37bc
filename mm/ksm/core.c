// SPDX-License-Identifier: GPL-2.0
/*
 * What the whole engine has once: knobs, caches, the switch that turns counting
 * on, the emptying of LRU batches; and how all of it begins.
 */
#include <linux/slab.h>
#include <linux/swap.h>

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

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

/**
 * ksm_running - is anything to be scanned and merged?
 */
bool ksm_running(void)
{
	unsigned int run = READ_ONCE(ksm_knobs.run);

	return run == KSM_RUN_ALL || run == KSM_RUN_CGROUPS;
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

/*
 * A page on its way to the LRU sits in some CPU's batch, whose reference makes
 * it look busy. Emptying all batches is dear and serves everybody who waits
 * for it, so it is done fifty times a second at most.
 */
static bool ksm_drain_wanted;
static unsigned long ksm_nr_drains, ksm_nr_drains_begun;

/**
 * ksm_drains - how often the LRU batches were emptied
 */
unsigned long ksm_drains(void)
{
	return READ_ONCE(ksm_nr_drains);
}

/**
 * ksm_drains_begun - how often that began
 *
 * A page that came into a batch meanwhile may have been too late for the last.
 */
unsigned long ksm_drains_begun(void)
{
	return READ_ONCE(ksm_nr_drains_begun);
}

/**
 * ksm_drain_want - some page waits for that
 */
void ksm_drain_want(void)
{
	WRITE_ONCE(ksm_drain_wanted, true);
}

/**
 * ksm_drain_lru - empty the batches if that is wanted and time
 *
 * Context: sleeps; the first scanner thread alone calls it.
 */
void ksm_drain_lru(void)
{
	static unsigned long last;

	if (!READ_ONCE(ksm_drain_wanted) ||
	    (ksm_nr_drains && time_before(jiffies, last + HZ / 50)))
		return;
	WRITE_ONCE(ksm_drain_wanted, false);
	WRITE_ONCE(ksm_nr_drains_begun, ksm_nr_drains_begun + 1);
	lru_add_drain_all();
	WRITE_ONCE(ksm_nr_drains, ksm_nr_drains_begun);
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
	err = ksmd_init();
	if (err)
		pr_err("ksm: cannot start ksmd: %d\n", err);
	return err;
}
subsys_initcall(ksm_init);
