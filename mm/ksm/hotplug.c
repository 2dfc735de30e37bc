// SPDX-License-Identifier: GPL-2.0
/*
 * The gate before memory: who goes from a node's pfn to a folio takes it for
 * reading, who changes how the engine runs takes it for himself. It is closed
 * for both from before memory is taken offline until that is done.
 */
#include <linux/memory.h>
#include <linux/rwsem.h>
#include <linux/wait.h>

#include "ksm.h"

static DECLARE_RWSEM(ksm_gate);
static DECLARE_WAIT_QUEUE_HEAD(ksm_gate_wait);
/* Changes with ksm_gate held for writing. */
static bool ksm_gate_closed;

/**
 * ksm_gate_try - go through the gate if that is possible now
 *
 * Return: true if so; then ksm_gate_leave() follows.
 */
bool ksm_gate_try(void)
{
	if (!down_read_trylock(&ksm_gate))
		return false;
	if (!ksm_gate_closed)
		return true;
	up_read(&ksm_gate);
	return false;
}

/**
 * ksm_gate_enter - go through the gate: from here on pfns name memory
 *
 * Context: sleeps, for as long as memory is being taken offline.
 */
void ksm_gate_enter(void)
{
	for (;;) {
		down_read(&ksm_gate);
		if (!ksm_gate_closed)
			return;
		up_read(&ksm_gate);
		wait_event_idle(ksm_gate_wait, !READ_ONCE(ksm_gate_closed));
	}
}

/**
 * ksm_gate_leave - back from behind the gate
 */
void ksm_gate_leave(void)
{
	up_read(&ksm_gate);
}

/**
 * ksm_gate_hold - be behind the gate alone
 *
 * Context: sleeps.
 * Return: 0, or -EINTR where a signal is about to kill the caller.
 */
int ksm_gate_hold(void)
{
	for (;;) {
		if (down_write_killable(&ksm_gate))
			return -EINTR;
		if (!ksm_gate_closed)
			return 0;
		up_write(&ksm_gate);
		if (wait_event_killable(ksm_gate_wait,
					!READ_ONCE(ksm_gate_closed)))
			return -EINTR;
	}
}

/**
 * ksm_gate_release - let others through again
 */
void ksm_gate_release(void)
{
	up_write(&ksm_gate);
}

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

/*
 * The semaphore is not kept from one call to the next: it would stand before
 * all locks that taking memory offline needs in between.
 */
static void ksm_gate_set(bool closed)
{
	down_write(&ksm_gate);
	WRITE_ONCE(ksm_gate_closed, closed);
	up_write(&ksm_gate);
	wake_up_all(&ksm_gate_wait);
}

static int ksm_memory_callback(struct notifier_block *self,
			       unsigned long action, void *arg)
{
	struct memory_notify *mn = arg;

	switch (action) {
	case MEM_GOING_OFFLINE:
		ksm_gate_set(true);
		/* spare frames cannot be moved, only freed */
		ksm_pool_drain();
		break;
	case MEM_OFFLINE:
		ksm_forget_range(mn->start_pfn, mn->start_pfn + mn->nr_pages);
		fallthrough;
	case MEM_CANCEL_OFFLINE:
		/* whoever was asked before us may have refused: it is open then */
		ksm_gate_set(false);
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
