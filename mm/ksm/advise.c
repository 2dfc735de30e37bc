// SPDX-License-Identifier: GPL-2.0
/*
 * What a process says itself, by madvise() and prctl(), and what /proc/PID
 * tells about it.
 *
 * VM_MERGEABLE means that the owner asked for a range, VM_NOMERGE that he
 * refused; MMF_VM_MERGE_ANY and MMF_KSM_OPT_OUT say the same of the process as
 * a whole. What a cgroup wants is nowhere written down in the mm: it is looked
 * up when needed, so nothing has to be undone when the cgroup changes.
 */
#include <linux/sched/coredump.h>
#include <linux/seq_file.h>
#include <uapi/linux/mman.h>

#include "ksm.h"

static void ksm_asked_changed(struct mm_struct *mm)
{
	if (!mm->ksm)
		return;
	spin_lock(&ksm_lock);
	ksm_slot_refresh(mm->ksm);
	spin_unlock(&ksm_lock);
}

/* System calls that do not know of EINTR begin again after the signal. */
static int ksm_restart(int err)
{
	return err == -EINTR ? -ERESTARTSYS : err;
}

static int ksm_madvise_mergeable(struct vm_area_struct *vma,
				 unsigned long *vm_flags)
{
	struct mm_struct *mm = vma->vm_mm;
	int err;

	/* taken back even where asking for merging has no meaning */
	*vm_flags &= ~VM_NOMERGE;
	if (*vm_flags & VM_MERGEABLE || !ksm_vma_able(vma))
		return 0;
	err = ksm_mm_register(mm);
	if (err)
		return err;
	mm->ksm->asked = true;
	ksm_asked_changed(mm);
	*vm_flags |= VM_MERGEABLE;
	return 0;
}

static int ksm_madvise_unmergeable(struct vm_area_struct *vma,
				   unsigned long start, unsigned long end,
				   unsigned long *vm_flags)
{
	int err = ksm_unshare_range(vma, start, end, true);

	if (err)
		return ksm_restart(err);
	/* mremap() puts pages where others may be remembered */
	if (vma->vm_mm->ksm)
		WRITE_ONCE(vma->vm_mm->ksm->afresh, true);
	*vm_flags &= ~VM_MERGEABLE;
	if (ksm_vma_able(vma))
		*vm_flags |= VM_NOMERGE;
	return 0;
}

/**
 * ksm_madvise - MADV_MERGEABLE and MADV_UNMERGEABLE
 * @vma: the VMA
 * @start: first address
 * @end: address after the last
 * @advice: which of the two
 * @vm_flags: the flags that the range will have; mremap() passes a copy, to
 *	have a range unshared that moves
 *
 * Context: mmap_lock for writing.
 * Return: 0, -ENOMEM or -ERESTARTSYS.
 */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags)
{
	if (advice == MADV_MERGEABLE)
		return ksm_madvise_mergeable(vma, vm_flags);
	return ksm_madvise_unmergeable(vma, start, end, vm_flags);
}

/*
 * Unshare what no longer takes part, @all: whatever does. mmap_lock is held for
 * writing, so that nothing is merged again meanwhile.
 */
static int ksm_unshare_unasked(struct mm_struct *mm, bool all)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	unsigned int policy;
	int err;

	if (!mm->ksm)
		return 0;
	policy = ksm_slot_policy(mm->ksm);
	for_each_vma(vmi, vma) {
		if (!vma->anon_vma || (!all && ksm_vma_eligible(policy, vma)))
			continue;
		err = ksm_unshare_range(vma, vma->vm_start, vma->vm_end, true);
		if (err)
			return err;
	}
	return 0;
}

static void ksm_unask(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	for_each_vma(vmi, vma) {
		if (vma->vm_flags & VM_MERGEABLE)
			vm_flags_clear(vma, VM_MERGEABLE);
	}
}

/**
 * ksm_enable_merge_any - prctl: merge everything of this process
 * @mm: the process
 *
 * Context: mmap_lock for writing.
 * Return: 0 or -ENOMEM.
 */
int ksm_enable_merge_any(struct mm_struct *mm)
{
	int err = ksm_mm_register(mm);

	if (err)
		return err;
	clear_bit(MMF_KSM_OPT_OUT, &mm->flags);
	set_bit(MMF_VM_MERGE_ANY, &mm->flags);
	ksm_asked_changed(mm);
	return 0;
}

/* Change who decides for the process as a whole, and act on it or undo it. */
static int ksm_change_any(struct mm_struct *mm, bool opt_out)
{
	bool was_any = test_bit(MMF_VM_MERGE_ANY, &mm->flags);
	bool was_out = test_bit(MMF_KSM_OPT_OUT, &mm->flags);
	bool unask = was_any && opt_out;
	int err;

	/* first no more is merged, then what is merged is undone */
	clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	assign_bit(MMF_KSM_OPT_OUT, &mm->flags, opt_out);
	err = ksm_unshare_unasked(mm, unask);
	if (err) {
		assign_bit(MMF_VM_MERGE_ANY, &mm->flags, was_any);
		assign_bit(MMF_KSM_OPT_OUT, &mm->flags, was_out);
	} else if (unask) {
		ksm_unask(mm);
	}
	ksm_asked_changed(mm);
	return ksm_restart(err);
}

/**
 * ksm_disable_merge_any - prctl: keep out, whatever the cgroup says
 * @mm: the process
 *
 * Ranges that were asked for with MADV_MERGEABLE stay in, unless the process
 * as a whole had asked before: then they go as well.
 *
 * Context: mmap_lock for writing.
 * Return: 0, -ENOMEM or -ERESTARTSYS; then nothing has changed.
 */
int ksm_disable_merge_any(struct mm_struct *mm)
{
	return ksm_change_any(mm, true);
}

/**
 * ksm_default_merge_any - prctl: follow the cgroup again
 * @mm: the process
 *
 * Context: mmap_lock for writing.
 * Return: 0, -ENOMEM or -ERESTARTSYS; then nothing has changed.
 */
int ksm_default_merge_any(struct mm_struct *mm)
{
	int err = ksm_change_any(mm, false);
	bool forced;

	if (err)
		return err;
	rcu_read_lock();
	forced = ksm_mm_forced(mm, ksm_mm_group(mm));
	rcu_read_unlock();
	return forced ? ksm_mm_register(mm) : 0;
}

/**
 * ksm_disable - an architecture cannot have merged pages in this process
 * @mm: the process
 *
 * Context: mmap_lock for writing.
 * Return: 0, -ENOMEM or -ERESTARTSYS.
 */
int ksm_disable(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	int err = ksm_change_any(mm, true);

	if (err)
		return err;
	for_each_vma(vmi, vma) {
		err = ksm_unshare_range(vma, vma->vm_start, vma->vm_end, true);
		if (err)
			return err;
		vm_flags_mod(vma, VM_NOMERGE, VM_MERGEABLE);
	}
	return 0;
}

/**
 * ksm_merges_any - does this process as a whole take part?
 * @mm: the process
 */
bool ksm_merges_any(struct mm_struct *mm)
{
	struct ksm_group *group;
	bool any;

	rcu_read_lock();
	group = ksm_mm_group(mm);
	any = READ_ONCE(group->effective) != KSM_NEVER &&
	      (test_bit(MMF_VM_MERGE_ANY, &mm->flags) ||
	       ksm_mm_forced(mm, group));
	rcu_read_unlock();
	return any;
}

static long ksm_mm_gauge(struct mm_struct *mm, enum ksm_gauge gauge)
{
	struct ksm_mm *slot;
	long nr = 0;

	/* an mm that is held may be exiting: the slot is freed after that */
	spin_lock(&ksm_lock);
	slot = mm->ksm;
	if (slot)
		nr = READ_ONCE(slot->gauge[gauge]);
	spin_unlock(&ksm_lock);
	return nr;
}

/* Mappings of the zero page that merging placed in this process. */
long mm_ksm_zero_pages(struct mm_struct *mm)
{
	return ksm_mm_gauge(mm, KSM_G_ZERO);
}

/* Mappings of merged frames in this process. */
unsigned long mm_ksm_merging_pages(struct mm_struct *mm)
{
	return ksm_mm_gauge(mm, KSM_G_MERGING);
}

/* Pages of this process that something is remembered of. */
unsigned long mm_ksm_rmap_items(struct mm_struct *mm)
{
	return ksm_mm_gauge(mm, KSM_G_UNSHARED) +
	       ksm_mm_gauge(mm, KSM_G_VOLATILE) +
	       ksm_mm_gauge(mm, KSM_G_MERGING);
}

/**
 * ksm_process_profit - what merging brings this process
 * @mm: the process
 *
 * Return: bytes mapped from merged frames and zero pages, less bytes of
 * metadata.
 */
long ksm_process_profit(struct mm_struct *mm)
{
	return (mm_ksm_merging_pages(mm) + mm_ksm_zero_pages(mm)) * PAGE_SIZE -
	       ksm_mm_gauge(mm, KSM_G_METADATA);
}

static bool ksm_mm_mergeable(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	bool mergeable = false;
	unsigned int policy;

	if (!mm->ksm)
		return false;
	policy = ksm_slot_policy(mm->ksm);
	for_each_vma(vmi, vma) {
		mergeable = ksm_vma_eligible(policy, vma);
		if (mergeable)
			break;
	}
	return mergeable;
}

/**
 * ksm_proc_stat_show - the content of /proc/PID/ksm_stat
 * @m: the file
 * @mm: the process
 */
void ksm_proc_stat_show(struct seq_file *m, struct mm_struct *mm)
{
	const char *policy = "default";
	bool mergeable = false;

	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		policy = "merge";
	else if (test_bit(MMF_KSM_OPT_OUT, &mm->flags))
		policy = "never";
	if (!mmap_read_lock_killable(mm)) {
		if (atomic_read(&mm->mm_users))
			mergeable = ksm_mm_mergeable(mm);
		mmap_read_unlock(mm);
	}
	seq_printf(m, "ksm_rmap_items %lu\n", mm_ksm_rmap_items(mm));
	seq_printf(m, "ksm_zero_pages %ld\n", mm_ksm_zero_pages(mm));
	seq_printf(m, "ksm_merging_pages %lu\n", mm_ksm_merging_pages(mm));
	seq_printf(m, "ksm_process_profit %ld\n", ksm_process_profit(mm));
	seq_printf(m, "ksm_merge_any: %s\n",
		   ksm_merges_any(mm) ? "yes" : "no");
	seq_printf(m, "ksm_mergeable: %s\n", mergeable ? "yes" : "no");
	seq_printf(m, "ksm_policy: %s\n", policy);
}
