// SPDX-License-Identifier: GPL-2.0
/*
 * The gate between page frame numbers and memory.
 *
 * Every path from a frame's pfn to a folio takes the gate for reading; a change
 * of a knob takes it for writing. While memory is taken offline it is closed to
 * both, by a flag: a semaphore held for that long would come before all locks
 * that offlining takes meanwhile.
 */
#include <linux/rwsem.h>
#include <linux/wait.h>

#include "ksm.h"

static DECLARE_RWSEM(ksm_gate);
static DECLARE_WAIT_QUEUE_HEAD(ksm_gate_wait);
/* Changes with ksm_gate held for writing. */
static bool ksm_gate_closed;

/**
 * ksm_gate_read_trylock - pass the gate if that is possible now
 *
 * Context: any that may try a semaphore.
 * Return: true if so; ksm_gate_read_unlock() follows.
 */
bool ksm_gate_read_trylock(void)
{
	if (!down_read_trylock(&ksm_gate))
		return false;
	if (!ksm_gate_closed)
		return true;
	up_read(&ksm_gate);
	return false;
}

/**
 * ksm_gate_read_lock - pass the gate: from here on pfns name memory
 *
 * Context: sleeps, for as long as memory is being taken offline.
 */
void ksm_gate_read_lock(void)
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
 * ksm_gate_read_unlock - leave the gate
 *
 * Context: any.
 */
void ksm_gate_read_unlock(void)
{
	up_read(&ksm_gate);
}

/**
 * ksm_gate_write_lock - keep everything else from passing the gate
 *
 * Context: sleeps.
 * Return: 0, or -EINTR when a fatal signal is pending.
 */
int ksm_gate_write_lock(void)
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
 * ksm_gate_write_unlock - let others pass again
 *
 * Context: any.
 */
void ksm_gate_write_unlock(void)
{
	up_write(&ksm_gate);
}

/**
 * ksm_gate_set_closed - close or open the gate
 * @closed: true to close it
 *
 * Context: sleeps until all holders have left the gate.
 */
void ksm_gate_set_closed(bool closed)
{
	down_write(&ksm_gate);
	WRITE_ONCE(ksm_gate_closed, closed);
	up_write(&ksm_gate);
	wake_up_all(&ksm_gate_wait);
}
