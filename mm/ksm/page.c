// SPDX-License-Identifier: GPL-2.0
/*
 * A page at hand: find it, and lock its folio for a merge. A large folio is
 * split first; a scan that must not sleep only notes which folios need it.
 *
 * A split maps the shared zero page for each page of zeroes, wherever the folio
 * is mapped. If the engine splits the folio, that is merging, and counted as
 * such; if reclaim or anything else does, it is not. The hook in the page table
 * walk sees only the current task, so tasks that split for a merge are listed.
 */
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "scan.h"

/**
 * struct ksm_split - a split under way, on the stack
 * @link: on ksm_splits
 * @task: the task that splits
 */
struct ksm_split {
	struct list_head link;
	struct task_struct *task;
};

/* Hardly more entries than scanner threads. */
static LIST_HEAD(ksm_splits);
static DEFINE_SPINLOCK(ksm_splits_lock);	/* ksm_splits */

/* The page's folio is locked; afterwards only its new folio is. */
static bool ksm_split_folio(struct ksm_scan *scan, struct page *page)
{
	struct ksm_split split = { .task = current };
	int err;

	spin_lock(&ksm_splits_lock);
	list_add(&split.link, &ksm_splits);
	spin_unlock(&ksm_splits_lock);
	scan->work += compound_nr(compound_head(page)) * KSM_SPLIT_CACHELINES;
	err = split_huge_page(page);
	spin_lock(&ksm_splits_lock);
	list_del(&split.link);
	spin_unlock(&ksm_splits_lock);
	return !err;
}

/**
 * ksm_splitting - does the current task split a folio for a merge?
 *
 * Context: any that allows a spinlock.
 * Return: true if so.
 */
bool ksm_splitting(void)
{
	struct ksm_split *split;
	bool found = false;

	/* the task's own entry cannot come or go meanwhile */
	if (list_empty(&ksm_splits))
		return false;
	spin_lock(&ksm_splits_lock);
	list_for_each_entry(split, &ksm_splits, link)
		found |= split->task == current;
	spin_unlock(&ksm_splits_lock);
	return found;
}

/**
 * ksm_page_get - find the page of a process at an address
 * @kp: filled in
 * @vma: where
 * @addr: the address, in @vma
 *
 * Context: mmap_lock; does not sleep.
 * Return: true if there is an anonymous page, unmerged and in memory;
 * ksm_page_put() follows.
 */
bool ksm_page_get(struct ksm_page *kp, struct vm_area_struct *vma,
		  unsigned long addr)
{
	struct folio_walk fw;
	struct folio *folio;
	bool fit = false;

	folio = folio_walk_start(&fw, vma, addr, 0);
	if (!folio)
		return false;
	if (folio_test_anon(folio) && !folio_test_ksm(folio) &&
	    !folio_is_zone_device(folio) && !PageHWPoison(fw.page)) {
		folio_get(folio);
		kp->vma = vma;
		kp->addr = addr;
		kp->folio = folio;
		kp->page = fw.page;
		fit = true;
	}
	folio_walk_end(&fw, vma);
	return fit;
}

/**
 * ksm_page_put - drop the reference on a page
 * @kp: the page
 *
 * Context: any that may free a page.
 */
void ksm_page_put(struct ksm_page *kp)
{
	folio_put(kp->folio);
}

/**
 * ksm_page_needs_split - must the folio of a page be split before a merge?
 * @scan: the scan
 * @kp: the page
 * @refs: references that the caller holds on the folio
 *
 * Context: mmap_lock; does not sleep.
 * Return: KSM_MERGED if not, KSM_LARGE if so, KSM_HELD if something else holds
 * the folio, so that it cannot be split, KSM_BUSY if the scan cannot wait.
 */
enum ksm_outcome ksm_page_needs_split(struct ksm_scan *scan,
				      struct ksm_page *kp, int refs)
{
	if (!folio_test_large(kp->folio))
		return KSM_MERGED;
	if (can_split_folio(kp->folio, refs, NULL))
		return scan->limit.may_sleep || scan->limit.may_put_off ?
		       KSM_LARGE : KSM_BUSY;
	scan->missed |= KSM_MISSED_HELD;
	return KSM_HELD;
}

/**
 * ksm_need_split_add - note a large folio that a scan may not split
 * @scan: the scan
 * @kp: a page in it
 *
 * Context: mmap_lock, which keeps the slot; does not sleep.
 */
void ksm_need_split_add(struct ksm_scan *scan, struct ksm_page *kp)
{
	struct ksm_need_split *need = &scan->need_split;
	struct ksm_slot *slot = kp->vma->vm_mm->ksm;

	if (need->nr == ARRAY_SIZE(need->large))
		return;
	kref_get(&slot->ref);
	need->large[need->nr++] = (struct ksm_large) {
		.slot = slot,
		.addr = kp->addr,
	};
}

/**
 * ksm_need_split_range - note which memory waits until folios are split
 * @scan: the scan, after ksm_need_split_add()
 * @kp: the page of its slot that could not be merged
 *
 * Context: mmap_lock; does not sleep.
 */
void ksm_need_split_range(struct ksm_scan *scan, struct ksm_page *kp)
{
	unsigned long nr = folio_nr_pages(kp->folio) -
			   folio_page_idx(kp->folio, kp->page);

	scan->need_split.from = kp->addr;
	scan->need_split.until = min(kp->addr + nr * PAGE_SIZE,
				     kp->vma->vm_end);
}

/**
 * ksm_page_lock - lock a page's folio for a merge
 * @scan: the scan
 * @kp: the page; if its folio is large, that is split first
 *
 * Context: mmap_lock; sleeps if scan->limit says so.
 * Return: KSM_MERGED if it is locked, else why not.
 */
enum ksm_outcome ksm_page_lock(struct ksm_scan *scan, struct ksm_page *kp)
{
	enum ksm_outcome outcome = ksm_page_needs_split(scan, kp, 1);

	if (outcome != KSM_MERGED && outcome != KSM_LARGE)
		return outcome;
	if (outcome == KSM_LARGE && !scan->limit.may_sleep) {
		ksm_need_split_add(scan, kp);
		return outcome;
	}
	if (!folio_trylock(kp->folio))
		return KSM_BUSY;
	if (outcome == KSM_LARGE) {
		if (!ksm_split_folio(scan, kp->page)) {
			folio_unlock(kp->folio);
			return KSM_BUSY;
		}
		kp->folio = page_folio(kp->page);
	}
	return KSM_MERGED;
}

/**
 * ksm_page_split - split the large folio that a page is in
 * @scan: the scan, which may sleep
 * @kp: the page; the caller holds no other reference on the folio
 *
 * Context: sleeps.
 * Return: false if that is not possible now.
 */
bool ksm_page_split(struct ksm_scan *scan, struct ksm_page *kp)
{
	if (ksm_page_lock(scan, kp) != KSM_MERGED)
		return false;
	folio_unlock(kp->folio);
	return true;
}
