// SPDX-License-Identifier: GPL-2.0
/*
 * Walk a process's eligible memory in address order, at a bounded cost.
 *
 * The walk gathers entries under the page table lock, a window at a time, and
 * hands them to visit.c. It stops when the budget is spent, when the CPU or the
 * process's mmap_lock is wanted elsewhere, or when it has used so many fresh
 * frames that the stock needs a refill; the next slice resumes at the cursor.
 */
#include <linux/hugetlb.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "scan.h"

/*
 * Make the next write to a page show in its entry: move the dirty bit from the
 * entry to the folio. The caller flushes the TLB.
 */
static void ksm_pte_clean(struct vm_area_struct *vma, unsigned long addr,
			  pte_t *ptep, struct folio *folio)
{
	pte_t pte = ptep_get_and_clear(vma->vm_mm, addr, ptep);

	if (pte_dirty(pte))
		folio_mark_dirty(folio);
	set_pte_at(vma->vm_mm, addr, ptep, pte_mkclean(pte));
}

static void ksm_gather_clean(struct ksm_visit *v, struct vm_area_struct *vma,
			     unsigned long addr, pte_t *ptep, unsigned int i)
{
	struct folio *folio = page_folio(v->page[i]);

	if (!ksm_visit_wants_writes(v, i) || !folio_test_anon(folio))
		return;
	ksm_pte_clean(vma, addr, ptep, folio);
	v->flush = true;
}

/* One entry: a page to sample, a hole, or a merged page swapped out. */
static void ksm_gather_pte(struct ksm_scan *scan, struct ksm_visit *v,
			   struct vm_area_struct *vma, unsigned long addr,
			   pte_t *ptep)
{
	unsigned int i = (addr & ~KSM_BLOCK_MASK) >> PAGE_SHIFT;
	pte_t pte = ptep_get(ptep);

	if (pte_present(pte)) {
		v->page[i] = vm_normal_page(vma, addr, pte);
		if (v->page[i]) {
			if (ksm_visit_skips(scan, v, i, pte_dirty(pte))) {
				v->page[i] = NULL;
				return;
			}
			prefetch(v->page[i]);
			if (pte_dirty(pte)) {
				v->dirty |= BIT_ULL(i);
				ksm_gather_clean(v, vma, addr, ptep, i);
			}
			return;
		}
	} else if (!pte_none(pte) && v->block &&
		   v->block->state[i] == KSM_S_MERGED) {
		/* in swap or under migration: the record is still needed */
		return;
	}
	if (v->block && v->block->state[i] != KSM_S_NONE)
		v->stale |= BIT_ULL(i);
}

/*
 * With zeroes only: pages of zeroes that were written to since the last visit
 * wait for the next one. A TLB entry that is still dirty would hide a write
 * even from MADV_FREE, so flush here as well.
 */
static void ksm_zero_wait(struct ksm_visit *v, struct vm_area_struct *vma,
			  unsigned long addr, unsigned long end, pte_t *ptep)
{
	u64 wait = v->zero & v->dirty;
	unsigned long pos;
	unsigned int i;

	if (!wait)
		return;
	v->zero &= ~wait;
	for (pos = addr; pos < end; pos += PAGE_SIZE, ptep++) {
		i = (pos & ~KSM_BLOCK_MASK) >> PAGE_SHIFT;
		if (wait & BIT_ULL(i))
			ksm_pte_clean(vma, pos, ptep, page_folio(v->page[i]));
	}
	flush_tlb_range(vma, addr, end);
}

static void ksm_gather_ptes(struct ksm_scan *scan, struct ksm_visit *v,
			    struct vm_area_struct *vma, pmd_t *pmd,
			    unsigned long addr, unsigned long end)
{
	spinlock_t *ptl;	/* of the page table */
	unsigned long pos;
	pte_t *start, *ptep;

	start = ksm_pte_map_lock(vma, pmd, addr, &ptl);
	ptep = start;
	if (!start)
		return;
	for (pos = addr; pos < end; pos += PAGE_SIZE, ptep++)
		ksm_gather_pte(scan, v, vma, pos, ptep);
	/* a TLB entry that is still dirty would hide the next write */
	if (v->flush)
		flush_tlb_range(vma, addr, end);
	if (ksm_scan_zeroes(scan)) {
		ksm_zero_sample(scan, v);
		ksm_zero_wait(v, vma, addr, end, start);
	} else {
		ksm_visit_sample(scan, v);
	}
	pte_unmap_unlock(start, ptl);
}

/* The same for a huge page, whose last window cleans the entry for all. */
static void ksm_zero_wait_huge(struct ksm_visit *v, struct vm_area_struct *vma,
			       pmd_t *pmd, unsigned long end)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	unsigned long addr = end - HPAGE_PMD_SIZE;
	pmd_t old;

	if (!v->dirty)
		return;
	v->zero = 0;
	if (!IS_ALIGNED(end, HPAGE_PMD_SIZE) ||
	    !folio_test_anon(pmd_folio(*pmd)))
		return;
	/* meanwhile, MADV_DONTNEED still takes the entry for a huge one */
	old = pmdp_invalidate(vma, addr, pmd);
	if (pmd_dirty(old))
		folio_mark_dirty(pmd_folio(old));
	set_pmd_at(vma->vm_mm, addr, pmd, pmd_mkclean(old));
#endif
}

static bool ksm_gather_huge(struct ksm_scan *scan, struct ksm_visit *v,
			    struct vm_area_struct *vma, pmd_t *pmd,
			    unsigned long addr, unsigned long end)
{
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, vma);
	struct page *page;

	if (!ptl)
		return false;
	__acquire(ptl);
	if (pmd_present(*pmd)) {
		page = pmd_page(*pmd) +
		       ((addr & ~HPAGE_PMD_MASK) >> PAGE_SHIFT);
		if (pmd_dirty(*pmd))
			v->dirty = ~0ULL;
		/* the entry of a huge page is not cleaned */
		v->writes_hidden = true;
		for (; addr < end; addr += PAGE_SIZE, page++)
			v->page[(addr & ~KSM_BLOCK_MASK) >> PAGE_SHIFT] = page;
		if (ksm_scan_zeroes(scan)) {
			ksm_zero_sample(scan, v);
			ksm_zero_wait_huge(v, vma, pmd, end);
		} else {
			ksm_visit_sample(scan, v);
		}
	}
	spin_unlock(ptl);
	return true;
}

static void ksm_walk_window(struct ksm_scan *scan, struct vm_area_struct *vma,
			    pmd_t *pmd, unsigned long addr, unsigned long end)
{
	struct ksm_visit v = {
		.base = addr & KSM_BLOCK_MASK,
		.writes_hidden = mm_has_notifiers(vma->vm_mm),
	};
	unsigned long skipped = scan->event[KSM_E_SKIPPED];

	if (!ksm_scan_zeroes(scan))
		v.block = ksm_block_find(scan->slot, addr);
	scan->work += DIV_ROUND_UP((end - addr) >> PAGE_SHIFT,
				   KSM_WALK_ENTRIES);
	if (!ksm_gather_huge(scan, &v, vma, pmd, addr, end))
		ksm_gather_ptes(scan, &v, vma, pmd, addr, end);
	skipped = scan->event[KSM_E_SKIPPED] - skipped;
	scan->work += DIV_ROUND_UP(skipped, KSM_SKIP_PAGES);
	if (ksm_scan_zeroes(scan))
		ksm_zero_merge(scan, vma, &v);
	else
		ksm_visit_finish(scan, vma, &v);
	if (scan->limit.count_related)
		ksm_family_count(scan, vma, pmd, addr, end);
}

/* Is the slice over, for one of the reasons above or a limit? */
static bool ksm_walk_enough(struct ksm_scan *scan)
{
	return scan->cursor.unread || scan->need_split.nr ||
	       scan->work >= scan->limit.budget || need_resched() ||
	       ksm_scan_passed(scan) >= scan->limit.pages ||
	       scan->fresh >= KSM_BLOCK_PAGES ||
	       mmap_lock_is_contended(scan->slot->mm);
}

static int ksm_walk_pmd(pmd_t *pmd, unsigned long addr, unsigned long next,
			struct mm_walk *walk)
{
	struct ksm_scan *scan = walk->private;
	unsigned long end, pages;

	for (; addr < next; addr = end) {
		pages = min_t(unsigned long, scan->limit.window,
			      scan->limit.pages - ksm_scan_passed(scan));
		end = min3(next, (addr & KSM_BLOCK_MASK) + KSM_BLOCK_SIZE,
			   addr + pages * PAGE_SIZE);
		ksm_walk_window(scan, walk->vma, pmd, addr, end);
		scan->cursor.addr = end;
		if (ksm_walk_enough(scan))
			return 1;
	}
	return 0;
}

static int ksm_walk_hole(unsigned long addr, unsigned long next, int depth,
			 struct mm_walk *walk)
{
	struct ksm_scan *scan = walk->private;

	if (++scan->holes % KSM_WALK_ENTRIES == 0)
		scan->work++;
	if (!ksm_walk_enough(scan))
		return 0;
	scan->cursor.addr = next;
	return 1;
}

static const struct mm_walk_ops ksm_walk_ops = {
	.pmd_entry = ksm_walk_pmd,
	.pte_hole = ksm_walk_hole,
	.walk_lock = PGWALK_RDLOCK,
};

static bool ksm_walk_takes(struct ksm_scan *scan, struct vm_area_struct *vma)
{
	return vma->anon_vma && scan->policy & (KSM_T_ANON | KSM_T_ZERO) &&
	       ksm_vma_eligible(scan->policy, vma);
}

/*
 * A VMA takes no part. May it have merged pages nevertheless? A range that is
 * marked or locked after it was merged, and the memory of a process that ceases
 * to be dumpable, are not unshared, nor is anything when types are taken away.
 */
static bool ksm_walk_left(struct ksm_scan *scan, struct vm_area_struct *vma)
{
	unsigned int before = KSM_T_DONTDUMP | KSM_T_LOCKED |
			      (READ_ONCE(scan->slot->queue.scope) &
			       KSM_P_FORCED);

	return ksm_vma_eligible(scan->policy | before, vma);
}

/* Read the pages that the last slice sampled but had no budget to read. */
static void ksm_walk_unread(struct ksm_scan *scan)
{
	unsigned long base = (scan->cursor.addr - 1) & KSM_BLOCK_MASK;
	struct ksm_block *block = ksm_block_find(scan->slot, base);
	u64 *unread = &scan->cursor.unread;
	struct vm_area_struct *vma;
	unsigned int i;

	if (!block)
		*unread = 0;
	while (*unread) {
		i = __ffs64(*unread);
		*unread &= *unread - 1;
		vma = vma_lookup(scan->slot->mm, base + i * PAGE_SIZE);
		if (vma && ksm_walk_takes(scan, vma))
			ksm_match_page(scan, vma, block, i);
		if (ksm_scan_spent(scan))
			break;
	}
	if (block && !ksm_block_used(block) && !*unread)
		ksm_block_free(block);
}

/**
 * ksm_walk_slot - visit pages from where the last slice stopped
 * @scan: the scan
 *
 * Context: ksm_gate, domain->mutex, mmap_lock for reading; sleeps if
 * scan->limit says so.
 * Return: true at the end of the address space, or at scan->limit.end; the
 * cursor is then back at the start.
 */
bool ksm_walk_slot(struct ksm_scan *scan)
{
	struct ksm_cursor *cursor = &scan->cursor;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	scan->policy = ksm_slot_policy(scan->slot);
	if (ksm_scan_zeroes(scan))
		cursor->unread = 0;
	if (cursor->unread) {
		ksm_walk_unread(scan);
		if (ksm_walk_enough(scan))
			return false;
	}
	vma_iter_init(&vmi, scan->slot->mm, cursor->addr);
	for_each_vma(vmi, vma) {
		unsigned long start = max(cursor->addr, vma->vm_start);

		if (start >= scan->limit.end)
			break;
		scan->work++;
		if (ksm_walk_takes(scan, vma)) {
			if (walk_page_range_vma(vma, start,
						min(vma->vm_end,
						    scan->limit.end),
						&ksm_walk_ops, scan) > 0)
				return false;
		} else if (ksm_walk_left(scan, vma)) {
			ksm_family_unsure(scan, vma, vma_pages(vma));
		}
		cursor->addr = vma->vm_end;
		if (ksm_walk_enough(scan))
			return false;
	}
	cursor->addr = 0;
	return true;
}
