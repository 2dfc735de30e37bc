// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is taken offline.
 *
 * Nothing keeps memory in place between a frame's pfn and its folio. So the
 * gate is closed first, and opened again when the memory is offline or the
 * attempt was given up. Merged frames are migrated like other memory; frames
 * that are still in the range afterwards lose their folios.
 */
#include <linux/memory.h>

#include "ksm.h"

#ifdef CONFIG_MEMORY_HOTREMOVE
static int ksm_memory_callback(struct notifier_block *self,
			       unsigned long action, void *arg)
{
	struct memory_notify *mn = arg;

	switch (action) {
	case MEM_GOING_OFFLINE:
		ksm_gate_set_closed(true);
		/* frames in stock cannot be moved, only freed */
		ksm_pool_drain();
		break;
	case MEM_OFFLINE:
		ksm_frames_prune(mn->start_pfn, mn->start_pfn + mn->nr_pages);
		fallthrough;
	case MEM_CANCEL_OFFLINE:
		/* the gate may be open: an earlier callback may have refused */
		ksm_gate_set_closed(false);
		break;
	}
	return NOTIFY_OK;
}

int __init ksm_hotplug_init(void)
{
	/* before slab's, which must find no user of what it takes down */
	return hotplug_memory_notifier(ksm_memory_callback, KSM_CALLBACK_PRI);
}
#else
int __init ksm_hotplug_init(void)
{
	return 0;
}
#endif
