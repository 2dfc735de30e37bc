// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a slot.
 *
 * An mm gets a slot when it first asks for merging, or when 1 takes effect in
 * its cgroup; a child gets one before its page tables are copied, as they may
 * map merged frames, which must be counted. The slot is active while settings
 * say that some of its memory takes part, else parked. It outlives exit_mmap(),
 * which takes down the last merged mappings.
 */
#include <linux/cgroup.h>
#include <linux/slab.h>

#include <trace/events/ksm.h>

#include "ksm.h"

/* Slots to look at under one ksm_lock. */
#define KSM_WALK_STEPS	256

/* All slots, in the order of seq; ksm_lock. */
static LIST_HEAD(ksm_slots);
static unsigned long ksm_seq;

/* ------------------------------------------------------------ come and go */

/**
 * ksm_slot_alloc - allocate a slot
 * @mm: the mm that it is for
 * @gfp: how hard to try
 *
 * Context: as @gfp says.
 * Return: the slot, which belongs to nothing yet, or NULL.
 */
struct ksm_slot *ksm_slot_alloc(struct mm_struct *mm, gfp_t gfp)
{
	struct ksm_slot *slot;

	if (!ksm_ready())
		return NULL;
	slot = kzalloc(sizeof(*slot), gfp);
	if (!slot)
		return NULL;
	slot->mm = mm;
	kref_init(&slot->ref);
	spin_lock_init(&slot->books.lock);
	INIT_LIST_HEAD(&slot->queue.all);
	INIT_LIST_HEAD(&slot->queue.link);
	INIT_LIST_HEAD(&slot->undo.link);
	xa_init(&slot->track.blocks);
	xa_init(&slot->track.recs);
	return slot;
}

static void ksm_slot_release(struct kref *ref)
{
	struct ksm_slot *slot = container_of(ref, struct ksm_slot, ref);

	/* until now the offlining of its cgroup moves the slot to the parent */
	spin_lock(&ksm_lock);
	ksm_queue_del(slot);
	ksm_slot_mod(slot, KSM_G_METADATA, -(long)sizeof(*slot));
	list_del(&slot->queue.all);
	spin_unlock(&ksm_lock);
	/* a scan after the reaper may have set this, but tracked nothing */
	if (slot->track.domain)
		ksm_domain_put(slot->track.domain);
	ksm_books_release(slot);
	mmdrop(slot->mm);
	kfree(slot);
}

/**
 * ksm_slot_put - drop a reference
 * @slot: the slot
 *
 * Context: no spinlock of the engine.
 */
void ksm_slot_put(struct ksm_slot *slot)
{
	kref_put(&slot->ref, ksm_slot_release);
}

/**
 * ksm_slot_inherit - fork: copy what the child inherits from its parent
 * @child: the child's slot, which is not published yet
 * @parent: the parent's
 *
 * The child maps the frames that the parent may no longer have merged.
 *
 * Context: mmap_lock of the parent for writing; takes ksm_lock.
 */
void ksm_slot_inherit(struct ksm_slot *child, struct ksm_slot *parent)
{
	spin_lock(&ksm_lock);
	child->queue.scope = parent->queue.scope;
	child->undo.narrowed = parent->undo.narrowed -
			       parent->undo.narrowed_done;
	spin_unlock(&ksm_lock);
	ksm_books_inherit(child, parent);
}

/**
 * ksm_slot_attach - give an mm its slot, parked in a group
 * @slot: the slot
 * @group: the group, which may be offline
 *
 * Context: takes ksm_lock; the caller keeps @group in memory.
 * Return: false if the mm has got a slot meanwhile.
 */
bool ksm_slot_attach(struct ksm_slot *slot, struct ksm_group *group)
{
	struct mm_struct *mm = slot->mm;

	spin_lock(&ksm_lock);
	if (mm->ksm) {
		spin_unlock(&ksm_lock);
		return false;
	}
	group = ksm_group_online(group);
	slot->books.group = group;
	slot->books.domain = group->effective.domain;
	mmgrab(mm);
	slot->seq = ++ksm_seq;
	list_add_tail(&slot->queue.all, &ksm_slots);
	ksm_queue_add(slot);
	ksm_slot_mod(slot, KSM_G_METADATA, sizeof(*slot));
	/* pairs with the acquires in ksm_slot_make() */
	smp_store_release(&mm->ksm, slot);
	spin_unlock(&ksm_lock);
	trace_ksm_enter(slot, mm);
	return true;
}

/**
 * ksm_slot_make - the slot of an mm, a new one if need be
 * @mm: the mm, whose mm_users the caller keeps
 * @gfp: how hard to try
 *
 * Context: as @gfp says.
 * Return: the slot, which lasts as long as mm_users; NULL without memory.
 */
struct ksm_slot *ksm_slot_make(struct mm_struct *mm, gfp_t gfp)
{
	struct ksm_slot *slot;
	bool attached;

	/* pairs with ksm_slot_attach(): a slot that is seen is set up */
	slot = smp_load_acquire(&mm->ksm);
	if (slot)
		return slot;
	slot = ksm_slot_alloc(mm, gfp);
	if (!slot)
		return NULL;
	rcu_read_lock();
	attached = ksm_slot_attach(slot, ksm_mm_group(mm));
	rcu_read_unlock();
	if (!attached)
		kfree(slot);
	/* pairs as above, if another task attached its slot first */
	return smp_load_acquire(&mm->ksm);
}

/* ----------------------------------------------------------------- states */

static void ksm_slot_set_state(struct ksm_slot *slot, enum ksm_slot_state state)
{
	bool was = slot->queue.state == KSM_SLOT_ACTIVE;
	bool is = state == KSM_SLOT_ACTIVE;

	if (was == is) {
		WRITE_ONCE(slot->queue.state, state);
		return;
	}
	ksm_queue_del(slot);
	WRITE_ONCE(slot->queue.state, state);
	ksm_queue_add(slot);
	/*
	 * A stale slot still has to follow its group to another domain, and is
	 * no longer on the list for that: have it follow now.
	 */
	ksm_books_move(slot, slot->books.group);
	ksm_slot_mod(slot, KSM_G_PROCESSES, is ? 1 : -1);
	if (!is)
		ksm_undo_queue_locked(slot);
	ksm_round_check();
}

/* What the group's configuration covers: ksm_mm_reach(), and what is merged. */
static unsigned int ksm_slot_scope(struct ksm_slot *slot)
{
	struct ksm_group *group = slot->books.group;

	return ksm_mm_reach(slot->mm, group) |
	       (ksm_group_types(group) & (KSM_T_ANON | KSM_T_ZERO));
}

/**
 * ksm_slot_refresh - update a slot's state: its or its group's settings changed
 * @slot: the slot
 *
 * Context: ksm_lock.
 */
void ksm_slot_refresh(struct ksm_slot *slot)
{
	struct ksm_group *group = slot->books.group;
	unsigned int scope = ksm_slot_scope(slot);
	unsigned int was = slot->queue.scope;
	bool more;

	lockdep_assert_held(&ksm_lock);
	if (slot->queue.state == KSM_SLOT_NEW ||
	    slot->queue.state == KSM_SLOT_DEAD)
		return;
	if (was & ~scope & (KSM_P_FORCED | KSM_T_WIDENING))
		WRITE_ONCE(slot->undo.narrowed, slot->undo.narrowed + 1);
	/* the round may have passed it before it was parked */
	more = scope & ~was || slot->queue.state == KSM_SLOT_PARKED;
	slot->queue.scope = scope;
	ksm_slot_set_state(slot, ksm_mm_wanted(slot->mm, group) ?
			   KSM_SLOT_ACTIVE : KSM_SLOT_PARKED);
	if (more)
		ksm_pass_invalidate(slot);
	ksm_slot_judge(slot);
}

/**
 * ksm_slot_join - move a slot to a group, and to the group's domain
 * @slot: the slot
 * @group: the group, which may be offline
 *
 * Context: ksm_lock; the caller keeps @group in memory.
 */
void ksm_slot_join(struct ksm_slot *slot, struct ksm_group *group)
{
	struct ksm_slot_books *books = &slot->books;
	struct ksm_domain *domain = books->domain;
	long foreign;

	group = ksm_group_online(group);
	if (books->group != group) {
		bool pending = ksm_undo_detach(slot);

		ksm_queue_del(slot);
		foreign = ksm_books_move(slot, group);
		ksm_queue_add(slot);
		if (pending)
			ksm_undo_attach(slot);
	} else {
		foreign = ksm_books_move(slot, group);
	}
	if (books->domain != domain)
		ksm_pass_invalidate(slot);
	if (foreign ||
	    READ_ONCE(books->moves) != READ_ONCE(books->moves_seen) ||
	    (slot->track.domain && slot->track.domain != books->domain))
		ksm_undo_queue_locked(slot);
	ksm_slot_refresh(slot);
	ksm_round_check();
}

/* The group of an mm's owner, or @group if the mm has no owner. */
static struct ksm_group *ksm_mm_group_or(struct mm_struct *mm,
					 struct ksm_group *group)
{
#ifdef CONFIG_MEMCG
	if (!rcu_access_pointer(mm->owner))
		return group;
#endif
	return ksm_mm_group(mm);
}

/**
 * ksm_slot_settle - move a slot to the group of its mm's owner
 * @slot: the mm's slot
 *
 * Context: any that allows spinlocks.
 */
void ksm_slot_settle(struct ksm_slot *slot)
{
	struct ksm_group *group;

	rcu_read_lock();
	spin_lock(&ksm_lock);
	if (slot->queue.state != KSM_SLOT_DEAD) {
		if (slot->queue.state == KSM_SLOT_NEW)
			ksm_slot_set_state(slot, KSM_SLOT_PARKED);
		group = ksm_mm_group_or(slot->mm, slot->books.group);
		ksm_slot_join(slot, group);
	}
	spin_unlock(&ksm_lock);
	rcu_read_unlock();
}

/**
 * ksm_slot_die - an mm is about to be taken down
 * @slot: the mm's slot
 *
 * Context: takes ksm_lock.
 * Return: true if the mm belonged to no process yet.
 */
bool ksm_slot_die(struct ksm_slot *slot)
{
	bool new, queued;

	spin_lock(&ksm_lock);
	new = slot->queue.state == KSM_SLOT_NEW;
	ksm_slot_set_state(slot, KSM_SLOT_DEAD);
	/* a delayed slot would keep its mm_struct until the retry */
	queued = ksm_undo_cancel(slot);
	spin_unlock(&ksm_lock);
	trace_ksm_exit(slot, slot->mm);
	if (queued)
		ksm_slot_put(slot);
	return new;
}

/**
 * ksm_mm_register - let a process take part as its settings say
 * @mm: the process, whose mm_users the caller keeps
 * @gfp: how hard to try
 *
 * Context: as @gfp says.
 * Return: 0 or -ENOMEM.
 */
int ksm_mm_register(struct mm_struct *mm, gfp_t gfp)
{
	struct ksm_slot *slot = ksm_slot_make(mm, gfp);

	if (!slot)
		return -ENOMEM;
	ksm_slot_settle(slot);
	return 0;
}

/* -------------------------------------------------------------- questions */

/**
 * ksm_slot_served - is this process to be scanned?
 * @slot: the process
 * @top: a group; the process must be in it or below it
 *
 * Context: any that allows a spinlock.
 * Return: true if so.
 */
bool ksm_slot_served(struct ksm_slot *slot, struct ksm_group *top)
{
	bool served;

	spin_lock(&slot->books.lock);
	served = READ_ONCE(slot->queue.state) == KSM_SLOT_ACTIVE &&
		 READ_ONCE(slot->books.group->queue.served) &&
		 ksm_group_below(slot->books.group, top);
	spin_unlock(&slot->books.lock);
	return served;
}

/**
 * ksm_slot_cgroup - the id of the cgroup that a process's memory belongs to
 * @slot: the process
 *
 * Context: any that allows a spinlock.
 * Return: the directory's inode number; 0 without memory cgroups.
 */
u64 ksm_slot_cgroup(struct ksm_slot *slot)
{
	u64 id = 0;

#ifdef CONFIG_MEMCG
	spin_lock(&slot->books.lock);
	if (slot->books.group->memcg)
		id = cgroup_id(slot->books.group->memcg->css.cgroup);
	spin_unlock(&slot->books.lock);
#endif
	return id;
}

/**
 * ksm_last_seq - the seq of the youngest slot, which may be gone
 *
 * Context: any.
 * Return: the number; 0 if there was none.
 */
unsigned long ksm_last_seq(void)
{
	return READ_ONCE(ksm_seq);
}

/*
 * A slot after @slot, with a reference; drops the one on @slot. It is the next
 * one below @top, or, after KSM_WALK_STEPS others, one to continue from.
 */
static struct ksm_slot *ksm_slot_after(struct ksm_slot *slot,
				       struct ksm_group *top, bool *below)
{
	struct ksm_slot *next = NULL, *pos;
	unsigned int steps = 0;

	spin_lock(&ksm_lock);
	pos = list_prepare_entry(slot, &ksm_slots, queue.all);
	list_for_each_entry_continue(pos, &ksm_slots, queue.all) {
		*below = ksm_group_below(pos->books.group, top);
		if (!*below && ++steps < KSM_WALK_STEPS)
			continue;
		if (kref_get_unless_zero(&pos->ref)) {
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
 * ksm_slots_walk - call a function for every slot of a subtree
 * @group: the top of the subtree
 * @fn: the function; it may sleep; anything but 0 ends the walk
 * @arg: its argument
 *
 * Slots come in the order of seq; one that is added meanwhile is visited too.
 *
 * Context: sleeps.
 * Return: what @fn returned last.
 */
int ksm_slots_walk(struct ksm_group *group, ksm_slot_fn fn, void *arg)
{
	struct ksm_slot *slot = NULL;
	bool below;
	int err = 0;

	while ((slot = ksm_slot_after(slot, group, &below))) {
		if (below)
			err = fn(slot, arg);
		if (err) {
			ksm_slot_put(slot);
			break;
		}
		cond_resched();
	}
	return err;
}

static int ksm_slot_judge_one(struct ksm_slot *slot, void *arg)
{
	spin_lock(&ksm_lock);
	ksm_slot_judge(slot);
	spin_unlock(&ksm_lock);
	return 0;
}

/**
 * ksm_slots_judge - run was changed: is what is merged to be undone?
 *
 * Context: takes ksm_lock; sleeps.
 */
void ksm_slots_judge(void)
{
	ksm_slots_walk(&ksm_root_group, ksm_slot_judge_one, NULL);
}
