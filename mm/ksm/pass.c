// SPDX-License-Identifier: GPL-2.0
/*
 * Passes over processes, and rounds of full_scans.
 *
 * Every process is passed at its own pace. A round ends when a pass that began
 * in it has gone over the whole of each slot that takes part and is served;
 * groups that are scanned faster do not speed it up. Slots that cannot be
 * scanned are passed over. round.c decides whether the round counts as a full
 * scan.
 */
#include <trace/events/ksm.h>

#include "ksm.h"
#include "round.h"

/*
 * A round leaves out a slot whose mmap_lock was busy at this many attempts in a
 * row, over more than this time.
 */
#define KSM_BUSY_TRIES	4
#define KSM_BUSY_TIME	HZ

/*
 * A round waits for another pass over a slot this often, at most, for each of
 * two reasons: the pass ceased to count, or had to begin anew.
 */
#define KSM_RESTARTS_MAX	16

/* Before a round that ran short of memory is repeated: time for kswapd. */
#define KSM_SHORT_WAIT	(HZ / 10)

/**
 * struct ksm_round - the present round
 * @nr: its number; stamps passes, slots and groups
 * @slots: slots that take part and are served
 * @unpassed: those of @slots that are not passed yet
 * @missed: what its passes missed, bits KSM_MISSED_*
 * @draining: it is to be repeated once the LRU batches were drained
 * @waiting: it is to be repeated at @again
 * @again: a time in jiffies
 * @suspended: it does not end, as run or run_cgroups is being changed
 * @past: what round.c remembers of earlier rounds
 * @full_scans: rounds that counted
 *
 * One in all, static. Under ksm_lock, @full_scans also read without.
 */
struct ksm_round {
	unsigned long nr;
	unsigned long slots;
	unsigned long unpassed;
	unsigned int missed;
	bool draining;
	bool waiting;
	unsigned long again;
	bool suspended;
	struct ksm_round_past past;
	unsigned long full_scans;
};

static struct ksm_round ksm_round = { .nr = 1 };

/* Groups that are served and have slots that take part; ksm_lock. */
static LIST_HEAD(ksm_busy_groups);

/**
 * ksm_full_scans - the number of rounds that counted as full scans
 *
 * Context: any.
 * Return: the number since boot.
 */
unsigned long ksm_full_scans(void)
{
	return READ_ONCE(ksm_round.full_scans);
}

/**
 * ksm_round_waits_for - has the round still to pass this slot?
 * @slot: the slot
 *
 * Context: ksm_lock.
 * Return: true if so.
 */
bool ksm_round_waits_for(const struct ksm_slot *slot)
{
	lockdep_assert_held(&ksm_lock);
	return slot->queue.state == KSM_SLOT_ACTIVE &&
	       slot->queue.passed != ksm_round.nr;
}

/*
 * A new round waits for every slot, so idle groups need no visit when it
 * begins: the count that a group kept for another round is stale.
 */
static void ksm_round_note(struct ksm_group_queue *queue)
{
	if (queue->round == ksm_round.nr)
		return;
	queue->round = ksm_round.nr;
	queue->unpassed = queue->nr_slots;
}

static void ksm_round_list(struct ksm_group_queue *queue)
{
	if (!queue->served || !queue->nr_slots)
		list_del_init(&queue->busy);
	else if (list_empty(&queue->busy))
		list_add_tail(&queue->busy, &ksm_busy_groups);
}

/**
 * ksm_round_count - count a slot that begins or ceases to take part
 * @slot: the slot, in its group
 * @nr: 1 or -1
 *
 * Context: ksm_lock; slot->queue.state is KSM_SLOT_ACTIVE.
 */
void ksm_round_count(const struct ksm_slot *slot, int nr)
{
	struct ksm_group_queue *queue = &slot->books.group->queue;
	int unpassed = ksm_round_waits_for(slot) ? nr : 0;

	ksm_round_note(queue);
	queue->nr_slots += nr;
	queue->unpassed += unpassed;
	if (queue->served) {
		ksm_round.slots += nr;
		ksm_round.unpassed += unpassed;
	}
	ksm_round_list(queue);
}

/**
 * ksm_round_serve - update the round for whether a group is served
 * @group: the group
 * @served: true if it is served from now on
 *
 * Context: ksm_lock; ksm_round_check() follows.
 */
void ksm_round_serve(struct ksm_group *group, bool served)
{
	struct ksm_group_queue *queue = &group->queue;

	lockdep_assert_held(&ksm_lock);
	if (queue->served == served)
		return;
	ksm_round_note(queue);
	WRITE_ONCE(queue->served, served);
	if (served) {
		ksm_round.slots += queue->nr_slots;
		ksm_round.unpassed += queue->unpassed;
	} else {
		ksm_round.slots -= queue->nr_slots;
		ksm_round.unpassed -= queue->unpassed;
	}
	ksm_round_list(queue);
}

/* Begin a round; passes that are under way do not count for it. */
static void ksm_round_begin(void)
{
	ksm_round.nr++;
	WRITE_ONCE(ksm_round.waiting, false);
	ksm_round.missed = 0;
	ksm_round.unpassed = ksm_round.slots;
}

/**
 * ksm_round_suspend - keep rounds from ending while a new value takes effect
 *
 * Groups follow one by one. A round that ended before ksm_round_restart() would
 * not wait for groups that are still to be served.
 *
 * Context: ksm_lock.
 */
void ksm_round_suspend(void)
{
	lockdep_assert_held(&ksm_lock);
	ksm_round.suspended = true;
}

/**
 * ksm_round_restart - begin a round anew
 *
 * For a change of run or run_cgroups, whose writer may wait for full scans:
 * earlier passes and drains no longer count.
 *
 * Context: ksm_lock.
 */
void ksm_round_restart(void)
{
	lockdep_assert_held(&ksm_lock);
	ksm_round.suspended = false;
	ksm_round.past.drains = 0;
	ksm_round_begin();
}

/* The round counts: count it for the groups that it served. */
static void ksm_round_credit(void)
{
	struct ksm_group *group;

	WRITE_ONCE(ksm_round.full_scans, ksm_round.full_scans + 1);
	list_for_each_entry(group, &ksm_busy_groups, queue.busy)
		atomic_long_inc(&group->books.event[KSM_E_FULL_SCANS]);
}

/**
 * ksm_round_check - end the round if everything was passed
 *
 * Context: ksm_lock.
 */
void ksm_round_check(void)
{
	lockdep_assert_held(&ksm_lock);
	if (ksm_round.unpassed || ksm_round.draining || ksm_round.waiting ||
	    ksm_round.suspended || !ksm_root_group.sched.active ||
	    !ksm_round.slots)
		return;
	switch (ksm_round_judge(&ksm_round.past, ksm_round.missed)) {
	case KSM_ROUND_DRAIN:
		ksm_round.draining = true;
		ksm_drain_want();
		return;
	case KSM_ROUND_COUNTS:
		ksm_round_credit();
		break;
	case KSM_ROUND_AGAIN:
		ksm_round.again = jiffies + KSM_SHORT_WAIT;
		WRITE_ONCE(ksm_round.waiting, true);
		return;
	}
	ksm_round_begin();
}

/**
 * ksm_round_drained - the LRU batches were drained
 *
 * Passes that began before do not count for a round that waits for this.
 *
 * Context: takes ksm_lock.
 */
void ksm_round_drained(void)
{
	spin_lock(&ksm_lock);
	if (ksm_round.draining) {
		ksm_round.draining = false;
		ksm_round_begin();
	}
	spin_unlock(&ksm_lock);
}

/**
 * ksm_round_retry - repeat a round that ran short of memory, if that is due
 *
 * Rounds that follow one another at once would all find the same shortage.
 *
 * Context: takes ksm_lock.
 */
void ksm_round_retry(void)
{
	if (!READ_ONCE(ksm_round.waiting))
		return;
	spin_lock(&ksm_lock);
	if (ksm_round.waiting && time_after_eq(jiffies, ksm_round.again))
		ksm_round_begin();
	spin_unlock(&ksm_lock);
}

/* Pages of a slot that are tracked. */
static u32 ksm_slot_tracked(struct ksm_slot *slot)
{
	const long *gauge = slot->books.gauge;

	return READ_ONCE(gauge[KSM_G_UNSHARED]) +
	       READ_ONCE(gauge[KSM_G_VOLATILE]) +
	       READ_ONCE(gauge[KSM_G_MERGING]);
}

/**
 * ksm_pass_begin - a pass over a slot's memory begins
 * @slot: the slot
 *
 * Context: the mutex of the slot's domain, mmap_lock.
 */
void ksm_pass_begin(struct ksm_slot *slot)
{
	struct ksm_pass *pass = &slot->pass;
	unsigned long round;

	spin_lock(&ksm_lock);
	/* a pass in a domain that the slot is leaving counts for nothing */
	round = slot->books.domain == slot->track.domain ? ksm_round.nr : 0;
	slot->queue.round = round;
	spin_unlock(&ksm_lock);
	trace_ksm_start_scan(slot, round, ksm_slot_tracked(slot));
	pass->nr++;
	pass->missed_before = pass->missed;
	pass->missed = 0;
	pass->related = 0;
	pass->unsure = 0;
	pass->counted = 0;
	WRITE_ONCE(slot->notifier_blocks, false);
	/* writers set it before they change an entry; entries are read later */
	pass->recheck = READ_ONCE(slot->recheck_next);
	if (pass->recheck)
		WRITE_ONCE(slot->recheck_next, false);
}

static void ksm_round_passed(struct ksm_slot *slot)
{
	struct ksm_group_queue *queue = &slot->books.group->queue;

	ksm_round_note(queue);
	slot->queue.passed = ksm_round.nr;
	queue->unpassed--;
	if (queue->served)
		ksm_round.unpassed--;
	ksm_round_check();
}

/**
 * ksm_pass_end - a pass over a slot's memory is complete
 * @slot: the slot
 *
 * A pass counts for the round that it began in, unless it was invalidated.
 *
 * Context: the mutex of the slot's domain.
 */
void ksm_pass_end(struct ksm_slot *slot)
{
	const unsigned int batch = KSM_MISSED_LRU | KSM_MISSED_HELD;
	struct ksm_pass *pass = &slot->pass;
	unsigned int missed = pass->missed;
	unsigned long round;

	if (missed & batch && !(pass->missed_before & batch))
		missed |= KSM_MISSED_NEW;
	ksm_books_recount(slot, pass->related, pass->unsure);
	pass->counted = 0;
	spin_lock(&ksm_lock);
	round = slot->queue.round;
	if (ksm_round_waits_for(slot) && round == ksm_round.nr) {
		ksm_round.missed |= missed;
		ksm_round_passed(slot);
	}
	spin_unlock(&ksm_lock);
	trace_ksm_stop_scan(slot, round, ksm_slot_tracked(slot));
}

/**
 * ksm_pass_skip - the round need not wait for a slot
 * @slot: a slot that cannot be scanned now
 *
 * Context: takes ksm_lock.
 */
void ksm_pass_skip(struct ksm_slot *slot)
{
	spin_lock(&ksm_lock);
	if (ksm_round_waits_for(slot))
		ksm_round_passed(slot);
	spin_unlock(&ksm_lock);
}

/* May the round wait for another pass over the slot? Counted, as it must end. */
static bool ksm_round_may_restart(struct ksm_slot_queue *queue,
				  unsigned int *nr)
{
	if (queue->counted_in != ksm_round.nr) {
		queue->counted_in = ksm_round.nr;
		queue->invalidated = 0;
		queue->resets = 0;
	}
	return (*nr)++ < KSM_RESTARTS_MAX;
}

/**
 * ksm_pass_invalidate - more of a slot's memory takes part from now on
 * @slot: the slot
 *
 * Its pass in this round may be beyond that memory already, and the change may
 * be followed by a wait for full_scans: have the round wait for a new pass.
 *
 * Context: ksm_lock.
 */
void ksm_pass_invalidate(struct ksm_slot *slot)
{
	struct ksm_group_queue *group = &slot->books.group->queue;
	struct ksm_slot_queue *queue = &slot->queue;
	bool waits = ksm_round_waits_for(slot);

	lockdep_assert_held(&ksm_lock);
	if (queue->state != KSM_SLOT_ACTIVE)
		return;
	/* the pass that the round waits for has not begun yet */
	if (waits && queue->round != ksm_round.nr)
		return;
	if (!ksm_round_may_restart(queue, &queue->invalidated))
		return;
	queue->round = 0;
	if (waits)
		return;
	ksm_round_note(group);
	queue->passed = 0;
	group->unpassed++;
	if (group->served)
		ksm_round.unpassed++;
}

/**
 * ksm_pass_reset - what was remembered is gone: the next pass begins anew
 * @slot: the slot
 *
 * This happens whenever a process changes its domain. One that does so all the
 * time would never be passed whole, so the round eventually leaves it out.
 *
 * Context: the mutex of the domain that the slot leaves; takes ksm_lock.
 */
void ksm_pass_reset(struct ksm_slot *slot)
{
	struct ksm_slot_queue *queue = &slot->queue;
	struct ksm_pass *pass = &slot->pass;

	memset(&pass->cursor, 0, sizeof(pass->cursor));
	pass->sweeping = false;
	pass->swept = 0;
	spin_lock(&ksm_lock);
	if (ksm_round_waits_for(slot) &&
	    !ksm_round_may_restart(queue, &queue->resets))
		ksm_round_passed(slot);
	spin_unlock(&ksm_lock);
}

/**
 * ksm_pass_busy - a slot's mmap_lock is busy
 * @slot: the slot
 *
 * A process may hold its mmap_lock for any length of time, for example while it
 * is throttled. The round waits for about a second and then passes it over.
 * pass.busy is cleared when the lock is found free.
 *
 * Context: the mutex of the slot's domain; takes ksm_lock.
 */
void ksm_pass_busy(struct ksm_slot *slot)
{
	struct ksm_pass *pass = &slot->pass;

	if (!pass->busy)
		pass->busy_since = jiffies;
	if (pass->busy < KSM_BUSY_TRIES)
		pass->busy++;
	if (pass->busy >= KSM_BUSY_TRIES &&
	    time_after(jiffies, pass->busy_since + KSM_BUSY_TIME))
		ksm_pass_skip(slot);
}
