// SPDX-License-Identifier: GPL-2.0
/*
 * Which processes take part: enter, fork, exec, exit, moves between cgroups.
 *
 * An mm gets a slot when merging is first asked for it, or when a cgroup that
 * says 1 finds it; a child gets its parent's before its page tables are
 * copied, as they may map merged frames, which must be counted. The slot is on
 * its group's list of those to scan while settings say so, else it is parked
 * there. It leaves when exit_mmap() is through; what was remembered of its
 * memory is taken back by a worker, so that an exit does not wait for it.
 *
 * New slots are scanned before old ones are scanned again. A round of
 * full_scans ends when every slot that is served was passed whole since the
 * last one did; groups that are scanned faster do not speed it up.
 */
#include <linux/oom.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <trace/events/ksm.h>

#include "ksm.h"

DEFINE_SPINLOCK(ksm_lock);
LIST_HEAD(ksm_groups);
static LIST_HEAD(ksm_slots);
static unsigned long ksm_nr_born;	/* under ksm_lock */

static LLIST_HEAD(ksm_reap_slots);
static void ksm_reap(struct work_struct *work);
static DECLARE_WORK(ksm_reap_work, ksm_reap);

/* Slots that the present round has still to pass; ksm_lock. */
static unsigned long ksm_unpassed;
static unsigned long ksm_round = 1;
static atomic_long_t ksm_rounds = ATOMIC_LONG_INIT(0);

/* Groups whose turn came while another thread was in their domain; ksm_lock. */
static unsigned int ksm_nr_waiting;
/* With so many, a thread waits itself instead of putting aside more. */
#define KSM_WAITING_MAX	64

/* How often something came to be there for a thread; changes with ksm_lock. */
static unsigned long ksm_nr_turns;

/**
 * ksm_full_scans - how often everything was passed whole
 */
unsigned long ksm_full_scans(void)
{
	return atomic_long_read(&ksm_rounds);
}

/* --------------------------------------------------------- who takes part */

/**
 * ksm_mm_forced - does the cgroup decide for this process as a whole?
 * @mm: the process
 * @group: its group
 */
bool ksm_mm_forced(struct mm_struct *mm, struct ksm_group *group)
{
	return READ_ONCE(group->effective) == KSM_ALWAYS &&
	       !test_bit(MMF_KSM_OPT_OUT, &mm->flags) &&
	       (READ_ONCE(group->force_peek) ||
		get_dumpable(mm) == SUID_DUMP_USER);
}

/**
 * ksm_mm_wanted - does this process take part, or could some range of it?
 * @mm: the process, with a slot
 * @group: its group
 */
bool ksm_mm_wanted(struct mm_struct *mm, struct ksm_group *group)
{
	enum ksm_setting effective = READ_ONCE(group->effective);

	if (effective == KSM_NEVER)
		return false;
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags) || mm->ksm->asked)
		return true;
	/* dumpable or not may change: that is asked when it is scanned */
	return effective == KSM_ALWAYS && !test_bit(MMF_KSM_OPT_OUT, &mm->flags);
}

/* ------------------------------------------------------- lists and rounds */

static void ksm_group_count(struct ksm_group *group, long unpassed)
{
	group->unpassed += unpassed;
	if (group->served)
		ksm_unpassed += unpassed;
}

static bool ksm_slot_unpassed(struct ksm_mm *slot)
{
	return slot->takes_part && slot->round != ksm_round;
}

/* Its turn has come, but another thread is in its domain. */
static void ksm_group_wait(struct ksm_group *group)
{
	list_add_tail(&group->wait, &group->domain->waiting);
	ksm_nr_waiting++;
	ksm_sched_hold(&group->own);
}

static void ksm_group_unwait(struct ksm_group *group)
{
	if (list_empty(&group->wait))
		return;
	list_del_init(&group->wait);
	ksm_nr_waiting--;
	ksm_sched_release(&group->own);
}

/* Everything passed? Then a new round begins for everybody. */
static void ksm_round_check(void)
{
	struct ksm_group *group;
	unsigned long served = 0;

	if (ksm_unpassed || !ksm_root_group.sched.active)
		return;
	list_for_each_entry(group, &ksm_groups, link) {
		if (group->served)
			served += group->nr_slots;
	}
	if (!served)
		return;
	ksm_round++;
	atomic_long_inc(&ksm_rounds);
	list_for_each_entry(group, &ksm_groups, link) {
		group->unpassed = group->nr_slots;
		if (!group->served || !group->nr_slots)
			continue;
		ksm_unpassed += group->nr_slots;
		atomic_long_inc(&group->event[KSM_E_FULL_SCANS]);
	}
}

/* Has the group something to scan? */
static void ksm_group_kick(struct ksm_group *group)
{
	if (!group->served || list_empty(&group->slots)) {
		ksm_group_unwait(group);
		ksm_sched_sleep(&group->own);
		return;
	}
	if (!group->own.active) {
		ksm_sched_wake(&group->own);
		WRITE_ONCE(ksm_nr_turns, ksm_nr_turns + 1);
		ksm_wake_turn();
	}
	ksm_wake();
}

static void ksm_slot_unlist(struct ksm_mm *slot)
{
	struct ksm_group *group = slot->group;

	list_del_init(&slot->link);
	if (slot->takes_part) {
		if (ksm_slot_unpassed(slot))
			ksm_group_count(group, -1);
		group->nr_slots--;
		ksm_group_kick(group);
	}
}

static void ksm_slot_list(struct ksm_mm *slot)
{
	struct ksm_group *group = slot->group;

	if (!slot->takes_part) {
		list_add(&slot->link, &group->parked);
		return;
	}
	/* at the head: what is new goes before what is known */
	list_add(&slot->link, &group->slots);
	group->nr_slots++;
	if (ksm_slot_unpassed(slot))
		ksm_group_count(group, 1);
	ksm_group_kick(group);
}

/**
 * ksm_slot_refresh - the slot's settings or its group's changed
 * @slot: the slot
 *
 * Context: ksm_lock.
 */
void ksm_slot_refresh(struct ksm_mm *slot)
{
	bool part;

	lockdep_assert_held(&ksm_lock);
	part = slot->listed && !slot->dead && ksm_mm_wanted(slot->mm, slot->group);
	if (part == slot->takes_part)
		return;
	ksm_slot_unlist(slot);
	WRITE_ONCE(slot->takes_part, part);
	ksm_slot_list(slot);
	ksm_slot_mod(slot, KSM_G_PROCESSES, part ? 1 : -1);
	if (!part)
		ksm_slot_foreign(slot);
	ksm_round_check();
}

/**
 * ksm_slot_join - a slot belongs to another group from now on
 * @slot: the slot
 * @group: the group, which may have gone offline
 *
 * Context: ksm_lock; the caller keeps @group in memory.
 */
void ksm_slot_join(struct ksm_mm *slot, struct ksm_group *group)
{
	long foreign;

	lockdep_assert_held(&ksm_lock);
	while (group->offline)
		group = group->parent;
	if (slot->group != group) {
		ksm_slot_unlist(slot);
		foreign = ksm_slot_move(slot, group);
		ksm_slot_list(slot);
	} else {
		foreign = ksm_slot_move(slot, group);
	}
	if (foreign || READ_ONCE(slot->moves) != READ_ONCE(slot->moves_seen) ||
	    (slot->tracked && slot->tracked != slot->domain))
		ksm_slot_foreign(slot);
	ksm_slot_refresh(slot);
	ksm_round_check();
}

/**
 * ksm_round_restart - somebody begins to wait for full scans
 *
 * Whoever writes to run wants everything to be passed from now on: what was
 * passed before counts no more, nor does a pass that is under way.
 *
 * Context: ksm_lock; ksm_groups_serve() follows.
 */
void ksm_round_restart(void)
{
	struct ksm_group *group;

	lockdep_assert_held(&ksm_lock);
	ksm_round++;
	list_for_each_entry(group, &ksm_groups, link)
		group->unpassed = group->nr_slots;
}

/**
 * ksm_groups_serve - run changed, or which groups have a value of their own
 *
 * Context: ksm_lock.
 */
void ksm_groups_serve(void)
{
	unsigned int run = READ_ONCE(ksm_knobs.run);
	struct ksm_group *group;

	lockdep_assert_held(&ksm_lock);
	ksm_unpassed = 0;
	list_for_each_entry(group, &ksm_groups, link) {
		group->served = group->effective != KSM_NEVER &&
				(run == KSM_RUN_ALL ||
				 (run == KSM_RUN_CGROUPS && group->owned));
		if (group->served)
			ksm_unpassed += group->unpassed;
		ksm_group_kick(group);
	}
	ksm_round_check();
}

static bool ksm_group_below(const struct ksm_group *group,
			    const struct ksm_group *top)
{
	while (group && group != top)
		group = group->parent;
	return group;
}

/**
 * ksm_nr_served - how many processes there are to scan
 * @top: in this group and below
 */
unsigned long ksm_nr_served(struct ksm_group *top)
{
	struct ksm_group *group;
	unsigned long nr = 0;

	spin_lock(&ksm_lock);
	list_for_each_entry(group, &ksm_groups, link) {
		if (group->served && ksm_group_below(group, top))
			nr += group->nr_slots;
	}
	spin_unlock(&ksm_lock);
	return nr;
}

/**
 * ksm_last_born - the @born of the youngest slot, or of one that is gone
 */
unsigned long ksm_last_born(void)
{
	return READ_ONCE(ksm_nr_born);
}

/**
 * ksm_slot_served - is this process to be scanned?
 * @slot: the process
 * @top: in this group or below
 */
bool ksm_slot_served(struct ksm_mm *slot, struct ksm_group *top)
{
	bool served;

	spin_lock(&slot->lock);
	served = READ_ONCE(slot->takes_part) && READ_ONCE(slot->group->served) &&
		 ksm_group_below(slot->group, top);
	spin_unlock(&slot->lock);
	return served;
}

/**
 * ksm_turns - how often something came to be there for a thread
 */
unsigned long ksm_turns(void)
{
	return READ_ONCE(ksm_nr_turns);
}

/**
 * ksm_slot_next - which slot is scanned next
 * @domain: set to its domain, with a reference, which is no other thread's
 *	until ksm_slot_scanned()
 *
 * Return: the slot with a reference on it, which keeps its mm; NULL if nothing is
 * to be scanned; -EBUSY if it is not before ksm_turns() rises.
 */
struct ksm_mm *ksm_slot_next(struct ksm_domain **domain)
{
	u32 slack = ksm_sched_slack((u64)READ_ONCE(ksm_knobs.pages_to_scan) *
				    KSM_PAGE_LINES, ksmd_threads());
	struct ksm_mm *slot = NULL;
	struct ksm_sched *leaf;
	struct ksm_group *group;

	spin_lock(&ksm_lock);
	while ((leaf = ksm_sched_pick(&ksm_root_group.sched, slack))) {
		group = container_of(leaf, struct ksm_group, own);
		if (!group->domain->scanned) {
			slot = list_first_entry(&group->slots, struct ksm_mm, link);
			kref_get(&slot->ref);
			*domain = group->domain;
			group->domain->scanned = true;
			refcount_inc(&group->domain->ref);
			break;
		}
		if (ksm_nr_waiting >= KSM_WAITING_MAX)
			break;
		ksm_group_wait(group);
	}
	if (!slot && ksm_root_group.sched.active)
		slot = ERR_PTR(-EBUSY);
	spin_unlock(&ksm_lock);
	return slot;
}

/* Pages of a slot that something is remembered of. */
static u32 ksm_slot_tracked(struct ksm_mm *slot)
{
	return READ_ONCE(slot->gauge[KSM_G_UNSHARED]) +
	       READ_ONCE(slot->gauge[KSM_G_VOLATILE]) +
	       READ_ONCE(slot->gauge[KSM_G_MERGING]);
}

/**
 * ksm_slot_pass_begin - a pass over a slot's memory begins at its start
 * @slot: the slot
 */
void ksm_slot_pass_begin(struct ksm_mm *slot)
{
	spin_lock(&ksm_lock);
	slot->pass_round = ksm_round;
	spin_unlock(&ksm_lock);
	trace_ksm_start_scan(slot, slot->pass_round, ksm_slot_tracked(slot));
	slot->pass++;
	/* set before the entry changes, and we come to look at that later */
	slot->careful = READ_ONCE(slot->afresh);
	if (slot->careful)
		WRITE_ONCE(slot->afresh, false);
	slot->drains = ksm_drains();
}

/* Passes in a row that do not count as frames ran short. */
#define KSM_SHORT_PASSES	3

/* Of passes in a row in which pages are held, one of so many waits for a drain. */
#define KSM_HELD_PASSES		16

/*
 * At the end of a pass: are the LRU batches to be emptied for what it met? Those
 * may hold a page that is on the LRU, too; who else does may do so for ever, and
 * then it is of no use.
 */
static bool ksm_slot_drain_due(struct ksm_mm *slot)
{
	bool undrained = slot->undrained ||
			 (slot->held && (!slot->held_before ||
					 !(slot->pass % KSM_HELD_PASSES) ||
					 slot->drains < slot->drains_due));

	slot->held_before = slot->held;
	slot->held = false;
	slot->undrained = false;
	return undrained;
}

/*
 * Could this pass merge what there was to merge? Not if pages with a twin sat
 * in LRU batches: then the batches are emptied, and the pass after that counts.
 * Nor if other threads took all frames in stock; but if that goes on, memory is
 * short, and nobody waits for that.
 */
static bool ksm_slot_pass_counts(struct ksm_mm *slot)
{
	bool undrained = ksm_slot_drain_due(slot), unstocked = slot->unstocked;

	slot->unstocked = false;
	if (undrained && !slot->drains_due)
		slot->drains_due = ksm_drains_begun() + 1;
	if (undrained && slot->drains < slot->drains_due) {
		ksm_drain_want();
		return false;
	}
	if (unstocked && slot->shorts < KSM_SHORT_PASSES) {
		slot->shorts++;
		return false;
	}
	if (!unstocked)
		slot->shorts = 0;
	slot->drains_due = 0;
	return true;
}

/**
 * ksm_slot_pass_end - a slot was passed whole
 * @slot: the slot
 *
 * What the pass has to say for the round counts only if it began in it.
 */
void ksm_slot_pass_end(struct ksm_mm *slot)
{
	trace_ksm_stop_scan(slot, slot->pass_round, ksm_slot_tracked(slot));
	if (!ksm_slot_pass_counts(slot))
		return;
	spin_lock(&ksm_lock);
	if (slot->takes_part && slot->pass_round == ksm_round &&
	    slot->round != ksm_round) {
		slot->round = ksm_round;
		ksm_group_count(slot->group, -1);
		ksm_round_check();
	}
	spin_unlock(&ksm_lock);
}

/**
 * ksm_slot_pass_over - the round need not wait for this slot
 * @slot: a slot that cannot be scanned now
 */
void ksm_slot_pass_over(struct ksm_mm *slot)
{
	spin_lock(&ksm_lock);
	if (ksm_slot_unpassed(slot)) {
		slot->round = ksm_round;
		ksm_group_count(slot->group, -1);
		ksm_round_check();
	}
	spin_unlock(&ksm_lock);
}

/**
 * ksm_slot_scanned - a slice is over: book its work
 * @slot: the slot that was scanned
 * @domain: as from ksm_slot_next(); its reference is dropped
 * @work: lines, see ksm.h
 * @rotate: the slot's siblings are next
 */
void ksm_slot_scanned(struct ksm_mm *slot, struct ksm_domain *domain,
		      unsigned long work, bool rotate)
{
	struct ksm_group *group, *next;

	spin_lock(&ksm_lock);
	ksm_sched_charge(&slot->group->own, work);
	if (rotate && slot->takes_part)
		list_move_tail(&slot->link, &slot->group->slots);
	domain->scanned = false;
	/* what is above was held as this one could not be had */
	ksm_sched_release(&slot->group->sched);
	list_for_each_entry_safe(group, next, &domain->waiting, wait)
		ksm_group_unwait(group);
	WRITE_ONCE(ksm_nr_turns, ksm_nr_turns + 1);
	spin_unlock(&ksm_lock);
	ksm_wake_turn();
	ksm_domain_put(domain);
}

/* The next slot after @slot, with a reference; drops the one on @slot. */
static struct ksm_mm *ksm_slot_after(struct ksm_mm *slot, struct ksm_group *top)
{
	struct ksm_mm *next = NULL, *pos;

	spin_lock(&ksm_lock);
	pos = list_prepare_entry(slot, &ksm_slots, all);
	list_for_each_entry_continue(pos, &ksm_slots, all) {
		if (ksm_group_below(pos->group, top) &&
		    kref_get_unless_zero(&pos->ref)) {
			next = pos;
			break;
		}
	}
	spin_unlock(&ksm_lock);
	if (slot)
		ksm_slot_put(slot);
	return next;
}

/**
 * ksm_visit_slots - call a function for every slot
 * @group: for those of this group and below; the root group for all
 * @fn: the function; it may sleep; anything but 0 ends the walk
 * @arg: its argument
 *
 * In the order of their birth; a slot that comes meanwhile is visited too.
 *
 * Return: what @fn returned last.
 */
int ksm_visit_slots(struct ksm_group *group, ksm_slot_fn fn, void *arg)
{
	struct ksm_mm *slot = NULL;
	int err = 0;

	while ((slot = ksm_slot_after(slot, group))) {
		err = fn(slot, arg);
		if (err) {
			ksm_slot_put(slot);
			break;
		}
		cond_resched();
	}
	return err;
}

/* ------------------------------------------------------------ life of one */

static struct ksm_mm *ksm_slot_alloc(struct mm_struct *mm)
{
	struct ksm_mm *slot = kzalloc(sizeof(*slot), GFP_KERNEL);

	if (!slot)
		return NULL;
	slot->mm = mm;
	kref_init(&slot->ref);
	spin_lock_init(&slot->lock);
	INIT_LIST_HEAD(&slot->link);
	INIT_LIST_HEAD(&slot->all);
	INIT_LIST_HEAD(&slot->foreign);
	xa_init(&slot->blocks);
	xa_init(&slot->recs);
	return slot;
}

static void ksm_slot_release(struct kref *ref)
{
	struct ksm_mm *slot = container_of(ref, struct ksm_mm, ref);

	/* until now a cgroup that went moved it to its parent */
	spin_lock(&ksm_lock);
	ksm_slot_unlist(slot);
	ksm_slot_mod(slot, KSM_G_METADATA, -(long)sizeof(*slot));
	list_del(&slot->all);
	spin_unlock(&ksm_lock);
	/* a scan that came after the reaper left nothing but this */
	if (slot->tracked)
		ksm_domain_put(slot->tracked);
	if (slot->merged_in)
		ksm_domain_put(slot->merged_in);
	mmdrop(slot->mm);
	kfree(slot);
}

/**
 * ksm_slot_put - drop a reference
 * @slot: the slot
 *
 * Context: no spinlock of ours.
 */
void ksm_slot_put(struct ksm_mm *slot)
{
	kref_put(&slot->ref, ksm_slot_release);
}

/* Give the mm its slot in a group, parked; false if somebody else did. */
static bool ksm_slot_attach(struct ksm_mm *slot, struct ksm_group *group)
{
	struct mm_struct *mm = slot->mm;

	spin_lock(&ksm_lock);
	if (mm->ksm) {
		spin_unlock(&ksm_lock);
		return false;
	}
	while (group->offline)
		group = group->parent;
	slot->group = group;
	slot->domain = group->domain;
	mmgrab(mm);
	slot->born = ++ksm_nr_born;
	list_add_tail(&slot->all, &ksm_slots);
	list_add(&slot->link, &group->parked);
	ksm_slot_mod(slot, KSM_G_METADATA, sizeof(*slot));
	/* pairs with the acquires in ksm_slot_make() */
	smp_store_release(&mm->ksm, slot);
	spin_unlock(&ksm_lock);
	return true;
}

/**
 * ksm_slot_make - the slot of an mm, a new one if need be
 * @mm: the mm, whose mm_users the caller keeps
 *
 * Context: sleeps.
 * Return: the slot, NULL without memory; it lasts as long as mm_users.
 */
struct ksm_mm *ksm_slot_make(struct mm_struct *mm)
{
	struct ksm_mm *slot;
	bool mine;

	/* pairs with ksm_slot_attach(): a slot that is seen is set up */
	slot = smp_load_acquire(&mm->ksm);
	if (slot)
		return slot;
	slot = ksm_slot_alloc(mm);
	if (!slot)
		return NULL;
	rcu_read_lock();
	mine = ksm_slot_attach(slot, ksm_mm_group(mm));
	rcu_read_unlock();
	if (!mine)
		kfree(slot);
	else
		trace_ksm_enter(slot, mm);
	/* as above, if somebody else was quicker */
	return smp_load_acquire(&mm->ksm);
}

/* The group of an mm's owner; without one it stays where it is. */
static struct ksm_group *ksm_mm_group_or(struct mm_struct *mm,
					 struct ksm_group *group)
{
#ifdef CONFIG_MEMCG
	if (!rcu_access_pointer(mm->owner))
		return group;
#endif
	return ksm_mm_group(mm);
}

/* The mm belongs to a process: its cgroup counts from now on. */
static void ksm_slot_settle(struct mm_struct *mm)
{
	struct ksm_mm *slot = mm->ksm;

	rcu_read_lock();
	spin_lock(&ksm_lock);
	if (!slot->dead) {
		slot->listed = true;
		ksm_slot_join(slot, ksm_mm_group_or(mm, slot->group));
	}
	spin_unlock(&ksm_lock);
	rcu_read_unlock();
}

/**
 * ksm_mm_register - let a process take part as its settings say
 * @mm: the process, whose mm_users the caller keeps
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
int ksm_mm_register(struct mm_struct *mm)
{
	if (!ksm_slot_make(mm))
		return -ENOMEM;
	ksm_slot_settle(mm);
	return 0;
}

/**
 * __ksm_dup_mmap - fork: before page tables are copied
 * @mm: the child
 * @oldmm: the parent, which has a slot
 *
 * The child may map what the parent maps, so it needs its slot now. Which
 * cgroup it will be in is known later, see ksm_migrate_mm(); until then it is
 * counted with the parent.
 *
 * Return: 0 or -ENOMEM.
 */
int __ksm_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
{
	struct ksm_mm *slot = ksm_slot_alloc(mm);
	struct ksm_group *group;

	if (!slot)
		return -ENOMEM;
	slot->asked = oldmm->ksm->asked;
	slot->merged_ever = READ_ONCE(oldmm->ksm->merged_ever);
	slot->crossed = READ_ONCE(oldmm->ksm->crossed);
	ksm_unshare_foreign(oldmm);
	rcu_read_lock();
	group = READ_ONCE(oldmm->ksm->group);
	ksm_slot_attach(slot, group);
	rcu_read_unlock();
	trace_ksm_enter(slot, mm);
	return 0;
}

/**
 * __ksm_execve - exec: a new mm is made
 * @mm: the new one
 *
 * Nobody but the caller sees it before exec_mmap(), where ksm_migrate_mm()
 * settles it.
 *
 * Return: 0 or -ENOMEM.
 */
int __ksm_execve(struct mm_struct *mm)
{
	struct ksm_group *group;
	bool wanted;

	rcu_read_lock();
	group = ksm_mm_group(mm);
	wanted = test_bit(MMF_VM_MERGE_ANY, &mm->flags) ||
		 READ_ONCE(group->effective) == KSM_ALWAYS;
	rcu_read_unlock();
	if (wanted && !ksm_slot_make(mm))
		return -ENOMEM;
	return 0;
}

/**
 * ksm_migrate_mm - a process began, changed its owner or its cgroup
 * @mm: the process
 *
 * Context: any that allows spinlocks; never fails: a process that should have
 * a slot and has none is found by a worker.
 */
void ksm_migrate_mm(struct mm_struct *mm)
{
	if (mm->ksm) {
		ksm_slot_settle(mm);
		return;
	}
	rcu_read_lock();
	ksm_memcg_enlist(ksm_mm_group(mm));
	rcu_read_unlock();
}

/**
 * __ksm_exit - the last user of an mm is gone
 * @mm: the mm, with all its page tables
 *
 * Afterwards neither scanner nor worker is in it or will come into it: they
 * take mmap_lock for reading and then look whether mm_users is 0. An exec that
 * fails before it was settled calls this with mmap_lock held; nobody knows
 * that mm.
 */
void __ksm_exit(struct mm_struct *mm)
{
	struct ksm_mm *slot = mm->ksm;
	bool listed;

	spin_lock(&ksm_lock);
	listed = slot->listed;
	slot->dead = true;
	ksm_slot_refresh(slot);
	spin_unlock(&ksm_lock);
	trace_ksm_exit(slot, mm);
	if (!listed && atomic_read(&mm->mm_users)) {
		__ksm_mm_gone(mm);
		return;
	}
	mmap_write_lock(mm);
	mmap_write_unlock(mm);
}

/**
 * __ksm_mm_gone - after exit_mmap(): nothing is mapped any more
 * @mm: the mm
 */
void __ksm_mm_gone(struct mm_struct *mm)
{
	struct ksm_mm *slot = mm->ksm;

	WARN_ON_ONCE(slot->gauge[KSM_G_MERGING]);
	WARN_ON_ONCE(slot->gauge[KSM_G_ZERO]);
	WRITE_ONCE(mm->ksm, NULL);
	if (llist_add(&slot->reap, &ksm_reap_slots))
		queue_work(system_unbound_wq, &ksm_reap_work);
}

/* Take back what was remembered of mms that are gone. */
static void ksm_reap(struct work_struct *work)
{
	struct ksm_mm *slot, *next;

	llist_for_each_entry_safe(slot, next, llist_del_all(&ksm_reap_slots),
				  reap) {
		ksm_track_drop(slot);
		ksm_slot_put(slot);
		cond_resched();
	}
}
