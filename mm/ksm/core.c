// SPDX-License-Identifier: GPL-2.0
/*
 * Initialization of the engine.
 */
#include <linux/slab.h>

#include "scan.h"

#define CREATE_TRACE_POINTS
#include <trace/events/ksm.h>

static struct mem_cgroup * __init ksm_root_memcg(void)
{
#ifdef CONFIG_MEMCG
	if (!mem_cgroup_disabled())
		return root_mem_cgroup;
#endif
	return NULL;
}

static int __init ksm_init_objects(void)
{
	ksm_frames_init();
	ksm_review_init();
	ksm_undo_init();
	ksm_pool_init();
	ksm_block_cache = KMEM_CACHE(ksm_block, 0);
	ksm_frame_cache = KMEM_CACHE(ksm_frame, 0);
	ksm_rec_cache = KMEM_CACHE(ksm_rec, 0);
	if (!ksm_block_cache || !ksm_frame_cache || !ksm_rec_cache)
		return -ENOMEM;
	return ksm_domain_init(&ksm_root_domain);
}

static int __init ksm_init(void)
{
	int err;

	err = ksm_init_objects();
	if (err)
		goto failed;
	ksm_group_init(&ksm_root_group, NULL, ksm_root_memcg());
	err = ksm_sysfs_init();
	if (err)
		goto failed;
	ksm_hotplug_init();
	ksm_mark_ready();
	err = ksmd_init();
failed:
	if (err)
		pr_err("ksm: cannot start: %d\n", err);
	return err;
}
subsys_initcall(ksm_init);
