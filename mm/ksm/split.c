// SPDX-License-Identifier: GPL-2.0
/*
 * Splitting large folios for a merge.
 *
 * A split maps the shared zero page for each page of zeroes, wherever the folio
 * is mapped. If the engine splits the folio, that is merging, and counted as
 * such; if reclaim or anything else does, it is not. The hook in the page table
 * walk sees only the current task, so tasks that split for a merge are listed.
 */
#include <linux/list.h>
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

/**
 * ksm_split_folio - split the large folio that a page is in
 * @page: the page; its folio is locked, and afterwards only that of @page alone
 *
 * Context: sleeps.
 * Return: false if that is not possible now.
 */
bool ksm_split_folio(struct page *page)
{
	struct ksm_split split = { .task = current };
	int err;

	spin_lock(&ksm_splits_lock);
	list_add(&split.link, &ksm_splits);
	spin_unlock(&ksm_splits_lock);
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
