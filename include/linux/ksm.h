/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __LINUX_KSM_H
#define __LINUX_KSM_H
/*
 * Interface between the samepage merging engine in mm/ksm/ and the kernel.
 *
 * Three kinds of callers:
 *  - the life cycle of an mm: fork, exec, exit, a change of owner or cgroup;
 *  - the mappings of merged frames and of the zero page, which are counted
 *    where they come and go, so that the counters need no scan to be right;
 *  - users of the reverse map: reclaim, migration, memory failure.
 *
 * The hooks on mappings cost a patched-out branch each until KSM merges for the
 * first time after boot.
 */

#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>

struct cgroup_subsys_state;
struct mem_cgroup;
struct seq_file;
struct task_struct;

#ifdef CONFIG_KSM

/* For madvise(), mremap(), prctl() and architecture code. */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags);
int ksm_enable_merge_any(struct mm_struct *mm);
int ksm_disable_merge_any(struct mm_struct *mm);
int ksm_default_merge_any(struct mm_struct *mm);
int ksm_disable(struct mm_struct *mm);

/**
 * ksm_leave_merge_any - prctl: withdraw the request of the whole process
 * @mm: the process
 * @follow: true to follow the cgroup from now on, false to stay out
 *
 * Context: mmap_lock for writing; sleeps.
 * Return: 0, or -ENOMEM or -ERESTARTSYS if nothing has changed.
 */
static inline int ksm_leave_merge_any(struct mm_struct *mm, bool follow)
{
	return follow ? ksm_default_merge_any(mm) : ksm_disable_merge_any(mm);
}

/**
 * ksm_add_vma - a VMA is added
 * @vma: the VMA
 *
 * Nothing to do: whether a whole process is merged is a property of its mm.
 *
 * Context: any.
 */
static inline void ksm_add_vma(struct vm_area_struct *vma)
{
}

/* The life cycle of an mm. */
int __ksm_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm);
int __ksm_execve(struct mm_struct *mm);
void __ksm_exit(struct mm_struct *mm);
void __ksm_mm_gone(struct mm_struct *mm);
void ksm_migrate_mm(struct mm_struct *mm);

/**
 * ksm_mm_init - set up an mm
 * @mm: the new mm, perhaps a copy of another
 *
 * Context: any.
 */
static inline void ksm_mm_init(struct mm_struct *mm)
{
	mm->ksm = NULL;
}

/**
 * ksm_dup_mmap - fork: before page tables are copied
 * @mm: the child
 * @oldmm: the parent
 *
 * Context: mmap_lock of both for writing; sleeps.
 * Return: 0 or -ENOMEM.
 */
static inline int ksm_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
{
	return oldmm->ksm ? __ksm_dup_mmap(mm, oldmm) : 0;
}

/**
 * ksm_fork - fork: after page tables are copied
 * @mm: the child
 * @oldmm: the parent
 *
 * ksm_dup_mmap() makes the slot before there is a page table to account for.
 * With memory cgroups, ksm_memcg_fork() settles it, as the child's cgroup is
 * not known before.
 *
 * Context: mmap_lock of both for writing.
 */
static inline void ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
	if (!IS_ENABLED(CONFIG_MEMCG) && mm->ksm)
		ksm_migrate_mm(mm);
}

/**
 * ksm_execve - exec: a new mm is made
 * @mm: the new mm
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
static inline int ksm_execve(struct mm_struct *mm)
{
	return __ksm_execve(mm);
}

/**
 * ksm_exec_gained - exec: a program with privilege, or that is not readable
 * @mm: the new mm, which is not in use yet
 *
 * Drops the caller's request to merge, and keeps its opt-out.
 *
 * Context: any; ksm_migrate_mm() follows.
 */
static inline void ksm_exec_gained(struct mm_struct *mm)
{
	clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
}

/**
 * ksm_exit - the last user of an mm is gone
 * @mm: the mm, with all its page tables
 *
 * Context: sleeps.
 */
static inline void ksm_exit(struct mm_struct *mm)
{
	if (mm->ksm)
		__ksm_exit(mm);
}

/**
 * ksm_mm_gone - after exit_mmap(): nothing is mapped any more
 * @mm: the mm
 *
 * Context: any.
 */
static inline void ksm_mm_gone(struct mm_struct *mm)
{
	if (mm->ksm)
		__ksm_mm_gone(mm);
}

/* Mappings of merged frames. */
DECLARE_STATIC_KEY_FALSE(ksm_merging_key);
void __ksm_rmap_add(struct folio *folio, struct mm_struct *mm, bool forked);
void __ksm_rmap_del(struct folio *folio, struct mm_struct *mm);

/**
 * ksm_rmap_add - a page table entry is about to map a folio
 * @folio: the folio, merged or not
 * @vma: the mapping's VMA
 *
 * Context: page table lock; before the mapcount rises.
 */
static inline void ksm_rmap_add(struct folio *folio, struct vm_area_struct *vma)
{
	if (static_branch_unlikely(&ksm_merging_key) && folio_test_ksm(folio))
		__ksm_rmap_add(folio, vma->vm_mm, false);
}

/**
 * ksm_rmap_dup - fork is about to copy a page table entry that maps a folio
 * @folio: the folio, merged or not
 * @vma: the child's VMA
 *
 * Context: page table lock; before the entry is set.
 */
static inline void ksm_rmap_dup(struct folio *folio, struct vm_area_struct *vma)
{
	if (static_branch_unlikely(&ksm_merging_key) && folio_test_ksm(folio))
		__ksm_rmap_add(folio, vma->vm_mm, true);
}

/**
 * ksm_rmap_del - a page table entry that maps a folio is going away
 * @folio: the folio, merged or not
 * @vma: the mapping's VMA
 *
 * Context: page table lock; before the mapcount falls.
 */
static inline void ksm_rmap_del(struct folio *folio, struct vm_area_struct *vma)
{
	if (static_branch_unlikely(&ksm_merging_key) && folio_test_ksm(folio))
		__ksm_rmap_del(folio, vma->vm_mm);
}

/**
 * is_ksm_zero_pte - does an entry map the zero page because of merging?
 * @pte: a present entry
 *
 * The dirty bit of its (read-only, special) entry tells a zero page that KSM
 * placed from one that a read fault placed. /proc/PID/smaps and pagemap show
 * the difference to user space, as on the stock kernel.
 *
 * Context: any.
 * Return: true if so.
 */
static inline bool is_ksm_zero_pte(pte_t pte)
{
	return is_zero_pfn(pte_pfn(pte)) && pte_dirty(pte);
}

void __ksm_zero_add(struct mm_struct *mm, long nr, long forked);

/**
 * ksm_map_zero_page - merging makes an entry map the zero page
 * @mm: the mm that maps it
 *
 * Context: page table lock.
 */
static inline void ksm_map_zero_page(struct mm_struct *mm)
{
	__ksm_zero_add(mm, 1, 0);
}

/**
 * ksm_might_unmap_zero_page - an entry that maps no ordinary page is going away
 * @mm: the entry's mm
 * @pte: the entry
 *
 * Context: page table lock.
 */
static inline void ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte)
{
	if (static_branch_unlikely(&ksm_merging_key) && is_ksm_zero_pte(pte))
		__ksm_zero_add(mm, -1, 0);
}

int __ksm_unshare_moved(struct vm_area_struct *vma, pmd_t *pmd,
			unsigned long addr);

/**
 * ksm_unshare_moved - unshare a page that UFFDIO_MOVE refuses
 * @vma: the source's VMA
 * @pmd: the source's page table
 * @addr: the source's address
 *
 * UFFDIO_MOVE moves only pages that are mapped exclusively. A program that
 * never shared a page must be able to move it although it is merged.
 *
 * Context: mmap_lock or the VMA's lock; sleeps.
 * Return: -EAGAIN to try again, -EBUSY if the page is pinned or shared but not
 * merged, -ENOMEM, or -EHWPOISON.
 */
static inline int ksm_unshare_moved(struct vm_area_struct *vma, pmd_t *pmd,
				    unsigned long addr)
{
	if (static_branch_unlikely(&ksm_merging_key))
		return __ksm_unshare_moved(vma, pmd, addr);
	return -EBUSY;
}

/**
 * ksm_dup_zero_page - fork copied an entry that maps no ordinary page
 * @mm: the child's mm
 * @pte: the copied entry
 *
 * Context: page table lock, or mmap_lock for writing.
 */
static inline void ksm_dup_zero_page(struct mm_struct *mm, pte_t pte)
{
	if (static_branch_unlikely(&ksm_merging_key) && is_ksm_zero_pte(pte))
		__ksm_zero_add(mm, 1, 1);
}

pte_t __ksm_split_zero_page(struct vm_area_struct *vma, pte_t pte);

/**
 * ksm_split_zero_page - a split maps the zero page for a page of zeroes
 * @vma: the mapping's VMA
 * @pte: the entry for the zero page
 *
 * Context: page table lock, anon_vma lock.
 * Return: the entry to set, which tells if merging placed the zero page.
 */
static inline pte_t ksm_split_zero_page(struct vm_area_struct *vma, pte_t pte)
{
	return static_branch_unlikely(&ksm_merging_key) ?
	       __ksm_split_zero_page(vma, pte) : pte;
}

void __ksm_count_cow(struct mm_struct *mm);

/**
 * ksm_count_cow - a write breaks the mapping of a merged frame
 * @mm: the mm that writes
 *
 * Context: page fault; no page table lock is needed.
 */
static inline void ksm_count_cow(struct mm_struct *mm)
{
	if (static_branch_unlikely(&ksm_merging_key))
		__ksm_count_cow(mm);
}

/**
 * ksm_count_cow_zero - a write breaks a mapping that may be of the zero page
 * @mm: the mm that writes
 * @pte: the entry that the write replaces
 *
 * Context: page table lock.
 */
static inline void ksm_count_cow_zero(struct mm_struct *mm, pte_t pte)
{
	if (static_branch_unlikely(&ksm_merging_key) && is_ksm_zero_pte(pte))
		__ksm_count_cow(mm);
}

bool __ksm_madv_free(struct vm_area_struct *vma, unsigned long addr,
		     pte_t *ptep, pte_t pte);

/**
 * ksm_madv_free - MADV_FREE reaches an entry that maps a page
 * @vma: the mapping's VMA
 * @addr: the mapping's address
 * @ptep: the entry
 * @pte: the entry's value
 *
 * Context: page table lock.
 * Return: true if the page was merged; it is unmapped and the entry is empty.
 */
static inline bool ksm_madv_free(struct vm_area_struct *vma, unsigned long addr,
				 pte_t *ptep, pte_t pte)
{
	return static_branch_unlikely(&ksm_merging_key) &&
	       __ksm_madv_free(vma, addr, ptep, pte);
}

/* For /proc/PID. */
long mm_ksm_zero_pages(struct mm_struct *mm);
unsigned long mm_ksm_merging_pages(struct mm_struct *mm);
unsigned long mm_ksm_rmap_items(struct mm_struct *mm);
long ksm_process_profit(struct mm_struct *mm);
void ksm_proc_stat_show(struct seq_file *m, struct mm_struct *mm);

/* For the reverse map, swap-in, migration and memory failure. */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr);
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc);
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio);
void collect_procs_ksm(struct folio *folio, struct page *page,
		       struct list_head *to_kill, int force_early);

#else  /* !CONFIG_KSM */

static inline void ksm_add_vma(struct vm_area_struct *vma)
{
}

static inline int ksm_disable(struct mm_struct *mm)
{
	return 0;
}

static inline void ksm_mm_init(struct mm_struct *mm)
{
}

static inline int ksm_dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
{
	return 0;
}

static inline void ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
}

static inline int ksm_execve(struct mm_struct *mm)
{
	return 0;
}

static inline void ksm_exec_gained(struct mm_struct *mm)
{
}

static inline void ksm_exit(struct mm_struct *mm)
{
}

static inline void ksm_mm_gone(struct mm_struct *mm)
{
}

static inline void ksm_migrate_mm(struct mm_struct *mm)
{
}

static inline void ksm_rmap_add(struct folio *folio, struct vm_area_struct *vma)
{
}

static inline void ksm_rmap_dup(struct folio *folio, struct vm_area_struct *vma)
{
}

static inline void ksm_rmap_del(struct folio *folio, struct vm_area_struct *vma)
{
}

static inline void ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte)
{
}

static inline int ksm_unshare_moved(struct vm_area_struct *vma, pmd_t *pmd,
				    unsigned long addr)
{
	return -EBUSY;
}

static inline void ksm_dup_zero_page(struct mm_struct *mm, pte_t pte)
{
}

static inline pte_t ksm_split_zero_page(struct vm_area_struct *vma, pte_t pte)
{
	return pte;
}

static inline void ksm_count_cow(struct mm_struct *mm)
{
}

static inline void ksm_count_cow_zero(struct mm_struct *mm, pte_t pte)
{
}

static inline bool ksm_madv_free(struct vm_area_struct *vma, unsigned long addr,
				 pte_t *ptep, pte_t pte)
{
	return false;
}

static inline void collect_procs_ksm(struct folio *folio, struct page *page,
				     struct list_head *to_kill, int force_early)
{
}

#ifdef CONFIG_MMU
static inline int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, int advice,
			      unsigned long *vm_flags)
{
	return 0;
}

static inline struct folio *ksm_might_need_to_copy(struct folio *folio,
						   struct vm_area_struct *vma,
						   unsigned long addr)
{
	return folio;
}

static inline void rmap_walk_ksm(struct folio *folio,
				 struct rmap_walk_control *rwc)
{
}

static inline void folio_migrate_ksm(struct folio *newfolio, struct folio *old)
{
}
#endif /* CONFIG_MMU */
#endif /* !CONFIG_KSM */

/* For mm/memcontrol.c, see kernel/cgroup/ksm.c. */
#if defined(CONFIG_KSM) && defined(CONFIG_MEMCG)
int ksm_memcg_online(struct mem_cgroup *memcg);
void ksm_memcg_offline(struct mem_cgroup *memcg);
void ksm_memcg_free(struct mem_cgroup *memcg);
void ksm_memcg_reset(struct mem_cgroup *memcg);
void ksm_memcg_attach(struct task_struct *task);
void ksm_memcg_fork(struct task_struct *task);
#else
static inline int ksm_memcg_online(struct mem_cgroup *memcg)
{
	return 0;
}

static inline void ksm_memcg_offline(struct mem_cgroup *memcg)
{
}

static inline void ksm_memcg_free(struct mem_cgroup *memcg)
{
}

static inline void ksm_memcg_reset(struct mem_cgroup *memcg)
{
}

static inline void ksm_memcg_attach(struct task_struct *task)
{
}

static inline void ksm_memcg_fork(struct task_struct *task)
{
}
#endif

#endif /* __LINUX_KSM_H */
