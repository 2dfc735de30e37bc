// SPDX-License-Identifier: GPL-2.0
/*
 * Does this memory take part?
 *
 * Three parties have a say: the host by its knobs, the cgroup by its effective
 * setting, and the process by madvise() and prctl(). What a cgroup wants is not
 * stored in the mm but looked up each time, so the mm needs no update when the
 * cgroup's configuration changes.
 */
#include <linux/hugetlb.h>
#include <linux/sched/coredump.h>

#include "ksm.h"

/* Memory with properties of its page frames, not of its entries. */
#if defined(VM_SAO)
#define KSM_VM_SPECIAL	VM_SAO
#elif defined(VM_SPARC_ADI)
#define KSM_VM_SPECIAL	VM_SPARC_ADI
#else
#define KSM_VM_SPECIAL	VM_NONE
#endif

struct ksm_knobs ksm_knobs = {
	.run = KSM_RUN_STOP,
	.run_cgroups = 1,
	.pages_to_scan = KSM_PAGES_TO_SCAN,
	.sleep_ms = 20,
	.max_page_sharing = 256,
	.prune_ms = 2000,
	.merge_across_nodes = true,
	.smart_scan = true,
};

/* Set at boot once everything is set up; until then nothing takes part. */
static bool ksm_is_ready;

/**
 * ksm_ready - is there an engine?
 *
 * Context: any.
 * Return: false if its initialization failed at boot.
 */
bool ksm_ready(void)
{
	return READ_ONCE(ksm_is_ready);
}

/**
 * ksm_mark_ready - everything is set up
 *
 * Context: boot.
 */
void __init ksm_mark_ready(void)
{
	WRITE_ONCE(ksm_is_ready, true);
}

/*
 * Mappings are counted by hooks in page table operations behind this key, which
 * is enabled before the first mapping of a merged frame is made.
 */
DEFINE_STATIC_KEY_FALSE(ksm_merging_key);

/* The key itself reads as enabled while the kernel is still being patched. */
static bool ksm_merging_began;

static void ksm_merging_work_fn(struct work_struct *work)
{
	static_branch_enable(&ksm_merging_key);
	/* pairs with ksm_merging_begin() */
	smp_store_release(&ksm_merging_began, true);
}

static DECLARE_WORK(ksm_merging_work, ksm_merging_work_fn);

/**
 * ksm_merging_begin - enable counting before the first mapping is made
 *
 * A worker enables the static key: the caller may be throttled, and must not be
 * while it holds the text-patching locks.
 *
 * Context: sleeps.
 */
void ksm_merging_begin(void)
{
	/* pairs with ksm_merging_work_fn() */
	if (smp_load_acquire(&ksm_merging_began))
		return;
	queue_work(system_unbound_wq, &ksm_merging_work);
	flush_work(&ksm_merging_work);
}

/**
 * ksm_running - which groups may be scanned and merged under the knobs?
 *
 * Context: any.
 * Return: bits KSM_RUNS_*, 0 if the engine is stopped.
 */
unsigned int ksm_running(void)
{
	unsigned int run = READ_ONCE(ksm_knobs.run);
	unsigned int runs = 0;

	if (run == KSM_RUN_UNMERGE)
		return 0;
	if (run == KSM_RUN_SCAN)
		runs |= KSM_RUNS_OTHERS;
	if (READ_ONCE(ksm_knobs.run_cgroups))
		runs |= KSM_RUNS_CGROUPS;
	return runs;
}

/**
 * ksm_group_runs - may a group be scanned and merged under the knobs?
 * @group: the group
 *
 * run is written by host managers and meant for processes that asked, so it
 * does not stop groups that are owned.
 *
 * Context: any.
 * Return: true if so; the group's setting is not considered.
 */
bool ksm_group_runs(const struct ksm_group *group)
{
	return ksm_running() & (READ_ONCE(group->effective.owned) ?
				KSM_RUNS_CGROUPS : KSM_RUNS_OTHERS);
}

/**
 * ksm_slot_runs - may a process be scanned and merged under the knobs?
 * @slot: the process
 *
 * Context: any that allows a spinlock. Within ksm_gate, the knobs stay as they
 * are.
 * Return: true if so.
 */
bool ksm_slot_runs(struct ksm_slot *slot)
{
	bool runs;

	spin_lock(&slot->books.lock);
	runs = ksm_group_runs(slot->books.group);
	spin_unlock(&slot->books.lock);
	return runs;
}

/**
 * ksm_mm_live - may the memory of an mm still be scanned?
 * @mm: the mm
 *
 * Not once its last user is gone, as exit_mmap() follows; nor while the OOM
 * reaper takes its memory, or after a failed fork left it with VMAs of its
 * parent.
 *
 * Context: mmap_lock or a page table lock, which exit_mmap() waits for.
 * Return: true if so.
 */
bool ksm_mm_live(struct mm_struct *mm)
{
	return atomic_read(&mm->mm_users) &&
	       !test_bit(MMF_UNSTABLE, &mm->flags);
}

/**
 * ksm_mm_reach - how far does the cgroup decide for a process?
 * @mm: the process
 * @group: its group
 *
 * Ignores whether the process is dumpable, as that may change.
 *
 * Context: any.
 * Return: KSM_P_FORCED and those of KSM_T_WIDENING that are in force, if the
 * cgroup says 1 and the process has not opted out; else 0.
 */
unsigned int ksm_mm_reach(struct mm_struct *mm, struct ksm_group *group)
{
	if (READ_ONCE(group->effective.setting) != KSM_ALWAYS ||
	    test_bit(MMF_KSM_OPT_OUT, &mm->flags))
		return 0;
	return KSM_P_FORCED | (ksm_group_types(group) & KSM_T_WIDENING);
}

/**
 * ksm_mm_forced - does the cgroup decide for this process as a whole?
 * @mm: the process
 * @group: its group
 *
 * A process that is not dumpable keeps secrets from its own user.
 *
 * Context: any.
 * Return: true if the cgroup says 1, the process has not opted out, and it is
 * dumpable or KSM_T_UNDUMPABLE is in force.
 */
bool ksm_mm_forced(struct mm_struct *mm, struct ksm_group *group)
{
	unsigned int reach = ksm_mm_reach(mm, group);

	return reach & KSM_T_UNDUMPABLE ||
	       (reach && get_dumpable(mm) == SUID_DUMP_USER);
}

/**
 * ksm_mm_wanted - does this process take part, or could some range of it?
 * @mm: the process, with a slot
 * @group: its group
 *
 * Does not check whether the process is dumpable, as that may change: each
 * slice checks it, see ksm_slot_policy().
 *
 * Context: any.
 * Return: true if the process is to be scanned.
 */
bool ksm_mm_wanted(struct mm_struct *mm, struct ksm_group *group)
{
	enum ksm_setting setting = READ_ONCE(group->effective.setting);

	if (setting == KSM_NEVER)
		return false;
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags) || mm->ksm->asked)
		return true;
	return ksm_mm_reach(mm, group);
}

/**
 * ksm_slot_policy - which memory of a process takes part now, and how
 * @slot: the process
 *
 * Context: any that allows a spinlock.
 * Return: bits KSM_P_* and KSM_T_*, 0 for nothing.
 */
unsigned int ksm_slot_policy(struct ksm_slot *slot)
{
	struct mm_struct *mm = slot->mm;
	struct ksm_group *group;
	unsigned int policy = 0;

	spin_lock(&slot->books.lock);
	group = slot->books.group;
	if (READ_ONCE(group->effective.setting) != KSM_NEVER) {
		policy = KSM_P_ASKED | ksm_group_types(group);
		if (test_bit(MMF_VM_MERGE_ANY, &mm->flags))
			policy |= KSM_P_ANY;
		if (ksm_mm_forced(mm, group))
			policy |= KSM_P_FORCED;
		if (READ_ONCE(ksm_knobs.use_zero_pages))
			policy |= KSM_T_ZERO;
	}
	spin_unlock(&slot->books.lock);
	return policy;
}

/**
 * ksm_vma_able - can pages of this VMA be merged at all?
 * @vma: the VMA
 *
 * Context: mmap_lock.
 * Return: true if its kind allows it, whatever the settings.
 */
bool ksm_vma_able(struct vm_area_struct *vma)
{
	const unsigned long never = VM_SHARED | VM_MAYSHARE | VM_PFNMAP |
				    VM_IO | VM_DONTEXPAND | VM_HUGETLB |
				    VM_MIXEDMAP | VM_DROPPABLE | KSM_VM_SPECIAL;

	/* exec moves the pages of its stack without telling the engine */
	return !(vma->vm_flags & never) && !vma_is_dax(vma) &&
	       !vma_is_temporary_stack(vma);
}

/**
 * ksm_vma_eligible - does this VMA take part?
 * @policy: its process's, see ksm_slot_policy()
 * @vma: the VMA
 *
 * Where the process asked, all memory that can be merged takes part. Where only
 * the cgroup decides, ranges that the process marked as secret do not, nor do
 * locked ones, as a write to a merged page faults.
 *
 * Context: mmap_lock.
 * Return: true if its pages may be merged now.
 */
bool ksm_vma_eligible(unsigned int policy, struct vm_area_struct *vma)
{
	unsigned long not_forced = VM_WIPEONFORK;

	if (!policy || vma->vm_flags & VM_NOMERGE || !ksm_vma_able(vma))
		return false;
	if (vma->vm_flags & VM_MERGEABLE || policy & KSM_P_ANY)
		return true;
	if (!(policy & KSM_T_DONTDUMP))
		not_forced |= VM_DONTDUMP;
	if (!(policy & KSM_T_LOCKED))
		not_forced |= VM_LOCKED;
	return policy & KSM_P_FORCED && !(vma->vm_flags & not_forced);
}

/**
 * ksm_vma_is_single - does a VMA have no relatives by fork?
 * @vma: a VMA with an anon_vma
 *
 * Context: mmap_lock, which keeps its process from forking.
 * Return: true if the anon_vma tree has no other process's VMAs.
 */
bool ksm_vma_is_single(struct vm_area_struct *vma)
{
	struct anon_vma *anon_vma = vma->anon_vma;

	/* a root counts as its own child */
	return anon_vma->root == anon_vma &&
	       READ_ONCE(anon_vma->num_children) == 1;
}
