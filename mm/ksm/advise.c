// SPDX-License-Identifier: GPL-2.0
/*
 * What a process asks for by madvise() and prctl(), and what /proc/PID shows
 * about it.
 *
 * VM_MERGEABLE means that the owner asked for a range, VM_NOMERGE that it
 * refused; MMF_VM_MERGE_ANY and MMF_KSM_OPT_OUT say the same of the process as
 * a whole. policy.c weighs them against the cgroup.
 */
#include <linux/sched/coredump.h>
#include <linux/seq_file.h>
#include <linux/string_choices.h>
#include <uapi/linux/mman.h>

#include "ksm.h"

/* With mmap_lock for writing; @more: more memory may take part from now on. */
static void ksm_asked_changed(struct mm_struct *mm, bool more)
{
	if (!mm->ksm)
		return;
	spin_lock(&ksm_lock);
	ksm_slot_refresh(mm->ksm);
	if (more)
		ksm_pass_invalidate(mm->ksm);
	spin_unlock(&ksm_lock);
}

/* prctl() restarts after the signal, if its handler allows that. */
static int ksm_restart(int err)
{
	return err == -EINTR ? -ERESTARTSYS : err;
}

static int ksm_madvise_mergeable(struct vm_area_struct *vma,
				 unsigned long *vm_flags)
{
	struct mm_struct *mm = vma->vm_mm;
	int err;

	/* withdraw a refusal even where nothing can be merged */
	*vm_flags &= ~VM_NOMERGE;
	if (*vm_flags & VM_MERGEABLE || !ksm_vma_able(vma))
		return 0;
	err = ksm_mm_register(mm, GFP_KERNEL);
	if (err)
		return err;
	mm->ksm->asked = true;
	ksm_asked_changed(mm, true);
	*vm_flags |= VM_MERGEABLE;
	return 0;
}

static int ksm_madvise_unmergeable(struct vm_area_struct *vma,
				   unsigned long start, unsigned long end,
				   unsigned long *vm_flags)
{
	int err;

	/*
	 * As ksm_unshare_locked(), but only a fatal signal ends it: mremap()
	 * has no EINTR, nor can it restart, as it has unmapped what was at its
	 * new address. Another thread may map memory there once mmap_lock is
	 * free.
	 */
	vma_start_write(vma);
	err = ksm_unshare_range(vma, start, end, 0);
	if (err)
		return err;
	/* mremap() moves pages to addresses of which others are remembered */
	if (vma->vm_mm->ksm)
		WRITE_ONCE(vma->vm_mm->ksm->recheck_next, true);
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
 *	have the range that it moves unshared
 *
 * Context: mmap_lock for writing; sleeps.
 * Return: 0, -ENOMEM, or -EINTR for a fatal signal.
 */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags)
{
	if (advice == MADV_MERGEABLE)
		return ksm_madvise_mergeable(vma, vm_flags);
	return ksm_madvise_unmergeable(vma, start, end, vm_flags);
}

/*
 * Unshare what no longer takes part, or everything if @all. mmap_lock is held
 * for writing, so nothing is merged again meanwhile.
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
		if (!all && ksm_vma_eligible(policy, vma))
			continue;
		err = ksm_unshare_locked(vma, vma->vm_start, vma->vm_end);
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
 * Context: mmap_lock for writing; sleeps.
 * Return: 0 or -ENOMEM.
 */
int ksm_enable_merge_any(struct mm_struct *mm)
{
	int err = ksm_mm_register(mm, GFP_KERNEL);

	if (err)
		return err;
	clear_bit(MMF_KSM_OPT_OUT, &mm->flags);
	set_bit(MMF_VM_MERGE_ANY, &mm->flags);
	ksm_asked_changed(mm, true);
	return 0;
}

/* Change the setting of the whole process; restore it if unsharing fails. */
static int ksm_change_any(struct mm_struct *mm, bool opt_out)
{
	bool was_any = test_bit(MMF_VM_MERGE_ANY, &mm->flags);
	bool was_out = test_bit(MMF_KSM_OPT_OUT, &mm->flags);
	bool unask = was_any && opt_out;
	int err;

	/* first stop merging, then unshare */
	clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	assign_bit(MMF_KSM_OPT_OUT, &mm->flags, opt_out);
	err = ksm_unshare_unasked(mm, unask);
	if (err) {
		assign_bit(MMF_VM_MERGE_ANY, &mm->flags, was_any);
		assign_bit(MMF_KSM_OPT_OUT, &mm->flags, was_out);
	} else if (unask) {
		ksm_unask(mm);
	}
	ksm_asked_changed(mm, !opt_out);
	return ksm_restart(err);
}

/**
 * ksm_disable_merge_any - prctl: keep out, whatever the cgroup says
 * @mm: the process
 *
 * MADV_MERGEABLE ranges still take part, unless the process as a whole had
 * asked before: then they are unshared as well.
 *
 * Context: mmap_lock for writing; sleeps.
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
 * Context: mmap_lock for writing; sleeps.
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
	return forced ? ksm_mm_register(mm, GFP_KERNEL) : 0;
}

/**
 * ksm_disable - an architecture cannot have merged pages in this process
 * @mm: the process
 *
 * Context: mmap_lock for writing; sleeps.
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
		err = ksm_unshare_locked(vma, vma->vm_start, vma->vm_end);
		if (err)
			return err;
		vm_flags_mod(vma, VM_NOMERGE, VM_MERGEABLE);
	}
	return 0;
}

/* Does this process as a whole take part? */
static bool ksm_merges_any(struct mm_struct *mm)
{
	struct ksm_group *group;
	bool any;

	rcu_read_lock();
	group = ksm_mm_group(mm);
	any = ksm_group_effective(group) != KSM_NEVER &&
	      (test_bit(MMF_VM_MERGE_ANY, &mm->flags) ||
	       ksm_mm_forced(mm, group));
	rcu_read_unlock();
	return any;
}

static long ksm_mm_gauge(struct mm_struct *mm, enum ksm_gauge gauge)
{
	struct ksm_slot *slot;
	long nr = 0;

	/* the mm may be exiting, which frees its slot; ksm_lock keeps it */
	spin_lock(&ksm_lock);
	slot = mm->ksm;
	if (slot)
		nr = READ_ONCE(slot->books.gauge[gauge]);
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

/* Pages of this process that the engine tracks. */
unsigned long mm_ksm_rmap_items(struct mm_struct *mm)
{
	return ksm_mm_gauge(mm, KSM_G_UNSHARED) +
	       ksm_mm_gauge(mm, KSM_G_VOLATILE) +
	       ksm_mm_gauge(mm, KSM_G_MERGING);
}

/**
 * ksm_process_profit - what merging gains this process
 * @mm: the process
 *
 * Context: any.
 * Return: bytes mapped from merged frames and zero pages that fork would not
 * share anyway, less bytes of metadata.
 */
long ksm_process_profit(struct mm_struct *mm)
{
	long pages = ksm_mm_gauge(mm, KSM_G_MERGING) +
		     ksm_mm_gauge(mm, KSM_G_ZERO) -
		     ksm_mm_gauge(mm, KSM_G_RELATED);

	return pages * (long)PAGE_SIZE - ksm_mm_gauge(mm, KSM_G_METADATA);
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
 *
 * Context: takes mmap_lock; sleeps.
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
		if (ksm_mm_live(mm))
			mergeable = ksm_mm_mergeable(mm);
		mmap_read_unlock(mm);
	}
	seq_printf(m, "ksm_rmap_items %lu\n", mm_ksm_rmap_items(mm));
	seq_printf(m, "ksm_zero_pages %ld\n", mm_ksm_zero_pages(mm));
	seq_printf(m, "ksm_merging_pages %lu\n", mm_ksm_merging_pages(mm));
	seq_printf(m, "ksm_process_profit %ld\n", ksm_process_profit(mm));
	seq_printf(m, "ksm_merge_any: %s\n", str_yes_no(ksm_merges_any(mm)));
	seq_printf(m, "ksm_mergeable: %s\n", str_yes_no(mergeable));
	seq_printf(m, "ksm_policy: %s\n", policy);
}
