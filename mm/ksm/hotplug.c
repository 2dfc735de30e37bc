// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is taken offline: from before its pages are moved away until it
 * is gone, nobody may go from a node's pfn to a folio.
 */
#include <linux/memory.h>

#include "ksm.h"

#ifdef CONFIG_MEMORY_HOTREMOVE
static void ksm_forget_range(unsigned long start, unsigned long end)
{
	struct ksm_domain *domain = NULL;

	while ((domain = ksm_domain_next(domain))) {
		mutex_lock(&domain->mutex);
		ksm_nodes_prune(domain, start, end);
		mutex_unlock(&domain->mutex);
	}
}

/* Whoever was asked before us may have refused: then we closed nothing. */
static bool ksm_gate_closed;

static int ksm_memory_callback(struct notifier_block *self,
			       unsigned long action, void *arg)
{
	struct memory_notify *mn = arg;

	switch (action) {
	case MEM_GOING_OFFLINE:
		down_write(&ksm_gate);
		ksm_gate_closed = true;
		/* spare frames cannot be moved, only freed */
		ksm_pool_drain();
		break;
	case MEM_OFFLINE:
		ksm_forget_range(mn->start_pfn, mn->start_pfn + mn->nr_pages);
		fallthrough;
	case MEM_CANCEL_OFFLINE:
		if (ksm_gate_closed) {
			ksm_gate_closed = false;
			up_write(&ksm_gate);
		}
		break;
	}
	return NOTIFY_OK;
}

int __init ksm_hotplug_init(void)
{
	/* before slab's, which has to find no user of what it takes down */
	return hotplug_memory_notifier(ksm_memory_callback,
				       KSM_CALLBACK_PRI);
}
#else
int __init ksm_hotplug_init(void)
{
	return 0;
}
#endif
