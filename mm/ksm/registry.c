// SPDX-License-Identifier: GPL-2.0
/*
 * Hooks of the life cycle of an mm: fork, exec, a change of owner or cgroup,
 * exit.
 *
 * slot.c has the life of an mm's slot. A worker here, the reaper, frees what
 * was remembered of an mm's memory, so that exit does not wait for that.
 */
#include <linux/sched/coredump.h>
#include <linux/slab.h>

#include "ksm.h"

/* Slots of mms that are gone. */
static LLIST_HEAD(ksm_reap_slots);

/* Forget a slot; the work is charged by the memory that this frees. */
static void ksm_reap_one(struct ksm_slot *slot)
{
	long bytes = READ_ONCE(slot->books.gauge[KSM_G_METADATA]);

	ksm_track_drop(slot);
	bytes -= READ_ONCE(slot->books.gauge[KSM_G_METADATA]);
	rcu_read_lock();
	ksm_queue_charge(READ_ONCE(slot->books.group),
			 max(bytes, 0L) / KSM_CACHELINE);
	rcu_read_unlock();
}

static void ksm_reap(struct work_struct *work)
{
	struct ksm_slot *slot, *next;

	llist_for_each_entry_safe(slot, next, llist_del_all(&ksm_reap_slots),
				  reap) {
		ksm_reap_one(slot);
		ksm_slot_put(slot);
		cond_resched();
	}
}

static DECLARE_WORK(ksm_reap_work, ksm_reap);

/*
 * Unshare foreign mappings before fork copies them: a chain of forks would
 * outrun the worker. What cannot be unshared now is left to the worker.
 *
 * Context: mmap_lock for writing; sleeps.
 */
static void ksm_unshare_foreign(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	if (!READ_ONCE(mm->ksm->books.gauge[KSM_G_FOREIGN]))
		return;
	for_each_vma(vmi, vma) {
		if (ksm_unshare_locked(vma, vma->vm_start, vma->vm_end))
			return;
	}
}

/**
 * __ksm_dup_mmap - fork: before page tables are copied
 * @mm: the child
 * @oldmm: the parent, which has a slot
 *
 * The child may map what the parent maps, so it needs a slot now. Its cgroup is
 * not known before ksm_migrate_mm(); until then the slot is in the parent's
 * group.
 *
 * Context: mmap_lock of both for writing; sleeps.
 * Return: 0 or -ENOMEM.
 */
int __ksm_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
{
	struct ksm_slot *slot = ksm_slot_alloc(mm, GFP_KERNEL);
	struct ksm_slot *parent = oldmm->ksm;

	if (!slot)
		return -ENOMEM;
	slot->asked = parent->asked;
	ksm_slot_inherit(slot, parent);
	ksm_unshare_foreign(oldmm);
	rcu_read_lock();
	ksm_slot_attach(slot, READ_ONCE(parent->books.group));
	rcu_read_unlock();
	return 0;
}

/**
 * __ksm_execve - exec: a new mm is made
 * @mm: the new mm
 *
 * Nothing else uses @mm before exec_mmap(), where ksm_migrate_mm() settles its
 * slot.
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
int __ksm_execve(struct mm_struct *mm)
{
	struct ksm_group *group;
	bool wanted;

	rcu_read_lock();
	group = ksm_mm_group(mm);
	wanted = test_bit(MMF_VM_MERGE_ANY, &mm->flags) ||
		 ksm_group_effective(group) == KSM_ALWAYS;
	rcu_read_unlock();
	if (wanted && !ksm_slot_make(mm, GFP_KERNEL))
		return -ENOMEM;
	return 0;
}

/**
 * ksm_migrate_mm - a process began, or its owner or cgroup changed
 * @mm: the process
 *
 * Cannot fail: a worker registers a process that should have a slot and has
 * none.
 *
 * Context: any that allows spinlocks.
 */
void ksm_migrate_mm(struct mm_struct *mm)
{
	if (mm->ksm) {
		ksm_slot_settle(mm->ksm);
		return;
	}
	rcu_read_lock();
	ksm_group_enlist(ksm_mm_group(mm));
	rcu_read_unlock();
}

/**
 * __ksm_exit - the last user of an mm is gone
 * @mm: the mm, with all its page tables
 *
 * Afterwards no scanner or worker uses the mm: they check mm_users under
 * mmap_lock, and this waits for that lock. An exec that fails before its slot
 * is settled calls this with mmap_lock held; nothing else knows that mm, so
 * there is nothing to wait for.
 *
 * Context: sleeps.
 */
void __ksm_exit(struct mm_struct *mm)
{
	bool new = ksm_slot_die(mm->ksm);

	if (new && atomic_read(&mm->mm_users)) {
		__ksm_mm_gone(mm);
		return;
	}
	mmap_write_lock(mm);
	mmap_write_unlock(mm);
}

/**
 * __ksm_mm_gone - after exit_mmap(): nothing is mapped any more
 * @mm: the mm
 *
 * Context: any.
 */
void __ksm_mm_gone(struct mm_struct *mm)
{
	struct ksm_slot *slot = mm->ksm;

	WARN_ON_ONCE(slot->books.gauge[KSM_G_MERGING]);
	WARN_ON_ONCE(slot->books.gauge[KSM_G_ZERO]);
	WRITE_ONCE(mm->ksm, NULL);
	if (llist_add(&slot->reap, &ksm_reap_slots))
		queue_work(system_unbound_wq, &ksm_reap_work);
}
