// SPDX-License-Identifier: GPL-2.0
/*
 * From a merged frame back to the page tables that map it.
 *
 * An ordinary anonymous folio belongs to one anon_vma; a merged frame belongs
 * to any number of them. So every mapping that the scanner makes or meets gets
 * a record of the anon_vma and the offset in it. Mappings that fork makes are
 * found through the parent's record, as the child's VMA is in the parent's
 * anon_vma too. When the parent goes and such relatives remain, its record
 * stays with the frame as an orphan until they have records of their own.
 *
 * Records may be out of date: rmap_one() looks at the page table.
 */
#include <linux/hash.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

#define KSM_RMAP_SEM_BITS	6

static struct rw_semaphore ksm_rmap_sem[1 << KSM_RMAP_SEM_BITS];

void __init ksm_rmap_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ksm_rmap_sem); i++)
		init_rwsem(&ksm_rmap_sem[i]);
}

static struct rw_semaphore *ksm_node_sem(const struct ksm_node *node)
{
	return &ksm_rmap_sem[hash_ptr(node, KSM_RMAP_SEM_BITS)];
}

static void ksm_rec_free(struct ksm_rec *rec)
{
	put_anon_vma(rec->anon_vma);
	kmem_cache_free(ksm_rec_cache, rec);
}

static void ksm_recs_free(struct hlist_head *recs)
{
	struct ksm_rec *rec;
	struct hlist_node *next;

	hlist_for_each_entry_safe(rec, next, recs, link)
		ksm_rec_free(rec);
}

/* Has this process a record of its own for the frame at this place? */
static bool ksm_vma_has_rec(struct ksm_rec *rec, struct vm_area_struct *vma,
			    unsigned long addr)
{
	struct ksm_mm *slot = vma->vm_mm->ksm;
	struct ksm_rec *own;

	/* its records are covered by the mutex that we hold, or not for us */
	if (!slot || READ_ONCE(slot->tracked) != rec->node->domain)
		return false;
	own = xa_load(&slot->recs, addr >> PAGE_SHIFT);
	return own && own != rec && own->node == rec->node;
}

/*
 * Is the frame mapped here, or may it be again? It may where it is in swap, or
 * on its way to another place; then node->mapped tells nothing either.
 */
static bool ksm_vma_may_map(struct ksm_node *node, struct vm_area_struct *vma,
			    unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep, pte;

	if (!pmd)
		return false;
	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!ptep)
		return false;
	pte = ptep_get(ptep);
	pte_unmap_unlock(ptep, ptl);
	if (pte_present(pte))
		return pte_pfn(pte) == READ_ONCE(node->pfn);
	return is_swap_pte(pte);
}

/* Does this record lead to a mapping of its frame that no other is for? */
static bool ksm_rec_leads(struct ksm_rec *rec)
{
	struct anon_vma_chain *avc;
	bool leads = false;

	anon_vma_lock_read(rec->anon_vma);
	anon_vma_interval_tree_foreach(avc, &rec->anon_vma->rb_root, rec->pgoff,
				       rec->pgoff) {
		unsigned long addr = vma_address(avc->vma, rec->pgoff, 1);

		leads = addr != -EFAULT &&
			!ksm_vma_has_rec(rec, avc->vma, addr) &&
			ksm_vma_may_map(rec->node, avc->vma, addr);
		if (leads)
			break;
	}
	anon_vma_unlock_read(rec->anon_vma);
	return leads;
}

/* Does another record lead where this one does? */
static bool ksm_rec_double(struct ksm_node *node, struct ksm_rec *rec)
{
	struct ksm_rec *pos;

	hlist_for_each_entry(pos, &node->recs, link) {
		if (pos != rec && pos->anon_vma == rec->anon_vma &&
		    pos->pgoff == rec->pgoff)
			return true;
	}
	return false;
}

/*
 * Take out the orphans of a node that lead nowhere, or @all; its semaphore is
 * held for writing.
 */
static void ksm_orphans_take(struct ksm_node *node, struct hlist_head *orphans,
			     bool all)
{
	struct ksm_rec *rec;
	struct hlist_node *next;

	hlist_for_each_entry_safe(rec, next, &node->recs, link) {
		if (rec->orphan && (all || !ksm_rec_leads(rec))) {
			hlist_del(&rec->link);
			hlist_add_head(&rec->link, orphans);
			node->nr_orphans--;
		}
	}
}

/**
 * ksm_recs_hold - will a brief scan be able to add a record?
 * @scan: the scan
 * @slot: the slot
 * @kp: where
 * @node: the frame
 *
 * It cannot wait for that when the mapping is made, and nobody could find the
 * mapping without.
 *
 * Return: true if so, and for any other scan; ksm_recs_release() follows.
 */
bool ksm_recs_hold(struct ksm_scan *scan, struct ksm_mm *slot,
		   struct ksm_page *kp, struct ksm_node *node)
{
	if (!scan->brief)
		return true;
	/* one that is out of date is to be deleted first */
	return !xa_load(&slot->recs, kp->addr >> PAGE_SHIFT) &&
	       down_write_trylock(ksm_node_sem(node));
}

/**
 * ksm_recs_release - the record was added, or is not needed
 * @scan: the scan
 * @node: the frame
 */
void ksm_recs_release(struct ksm_scan *scan, struct ksm_node *node)
{
	if (scan->brief)
		up_write(ksm_node_sem(node));
}

/**
 * ksm_rec_add - a slot maps a frame here
 * @scan: the scan
 * @slot: the slot
 * @kp: where
 * @node: the frame
 *
 * Context: domain->mutex, mmap_lock of the slot's mm; the frame is locked or
 * mapped by the slot; a brief scan has ksm_recs_hold().
 * Return: 0 or -ENOMEM; then the mapping is found when it is visited again.
 */
int ksm_rec_add(struct ksm_scan *scan, struct ksm_mm *slot,
		struct ksm_page *kp, struct ksm_node *node)
{
	const gfp_t gfp = GFP_NOWAIT | __GFP_HIGH | __GFP_NOWARN;
	unsigned long index = kp->addr >> PAGE_SHIFT;
	struct anon_vma *anon_vma = kp->vma->anon_vma;
	struct ksm_rec *rec = xa_load(&slot->recs, index);
	long bytes = sizeof(*rec);
	HLIST_HEAD(orphans);

	if (rec && rec->node == node && rec->anon_vma == anon_vma)
		return 0;
	if (rec)
		ksm_rec_del(scan, slot, kp->addr);

	if (!scan->brief)
		down_write(ksm_node_sem(node));
	rec = kmem_cache_alloc(ksm_rec_cache, gfp);
	if (!rec)
		goto unlock;
	bytes += ksm_array_bytes(&slot->recs, kp->addr, PAGE_SHIFT);
	if (xa_err(xa_store(&slot->recs, index, rec, gfp))) {
		kmem_cache_free(ksm_rec_cache, rec);
		rec = NULL;
		goto unlock;
	}
	get_anon_vma(anon_vma);
	rec->node = node;
	rec->anon_vma = anon_vma;
	rec->pgoff = linear_page_index(kp->vma, kp->addr);
	rec->orphan = false;

	hlist_add_head(&rec->link, &node->recs);
	if (node->nr_orphans && !scan->brief)
		ksm_orphans_take(node, &orphans, false);
unlock:
	if (!scan->brief)
		up_write(ksm_node_sem(node));
	if (!rec)
		return -ENOMEM;
	ksm_recs_free(&orphans);
	ksm_slot_mod(slot, KSM_G_METADATA, bytes);
	return 0;
}

/**
 * ksm_rec_del - a slot no longer maps a frame here
 * @scan: the scan, or NULL
 * @slot: the slot
 * @addr: where
 *
 * Context: domain->mutex; sleeps.
 */
void ksm_rec_del(struct ksm_scan *scan, struct ksm_mm *slot, unsigned long addr)
{
	unsigned long index = addr >> PAGE_SHIFT;
	struct ksm_rec *rec = xa_erase(&slot->recs, index);
	struct ksm_node *node;

	if (!rec)
		return;
	ksm_slot_mod(slot, KSM_G_METADATA, -(long)sizeof(*rec) -
		     ksm_array_bytes(&slot->recs, addr, PAGE_SHIFT));
	node = rec->node;
	if (node) {
		trace_ksm_remove_rmap_item(slot, READ_ONCE(node->pfn), rec,
					   slot->mm);
		down_write(ksm_node_sem(node));
		/* somebody may map the frame whom no record but this leads to */
		if (ksm_rec_leads(rec) && !ksm_rec_double(node, rec)) {
			rec->orphan = true;
			node->nr_orphans++;
			rec = NULL;
		} else {
			hlist_del(&rec->link);
		}
		up_write(ksm_node_sem(node));
	}
	if (rec)
		ksm_rec_free(rec);
}

/**
 * ksm_node_drop_recs - a node goes: nothing leads to its frame any more
 * @node: the node
 *
 * Context: domain->mutex; sleeps.
 */
void ksm_node_drop_recs(struct ksm_node *node)
{
	struct ksm_rec *rec;
	HLIST_HEAD(orphans);

	if (hlist_empty(&node->recs))
		return;
	down_write(ksm_node_sem(node));
	ksm_orphans_take(node, &orphans, true);
	while (!hlist_empty(&node->recs)) {
		rec = hlist_entry(node->recs.first, struct ksm_rec, link);
		hlist_del_init(&rec->link);
		rec->node = NULL;
	}
	up_write(ksm_node_sem(node));
	ksm_recs_free(&orphans);
}

static bool ksm_rmap_walk_rec(struct folio *folio, struct ksm_rec *rec,
			      struct rmap_walk_control *rwc)
{
	struct anon_vma *anon_vma = rec->anon_vma;
	struct anon_vma_chain *avc;
	bool go_on = true;

	if (!anon_vma_trylock_read(anon_vma)) {
		if (rwc->try_lock) {
			rwc->contended = true;
			return false;
		}
		anon_vma_lock_read(anon_vma);
	}
	anon_vma_interval_tree_foreach(avc, &anon_vma->rb_root, rec->pgoff,
				       rec->pgoff) {
		struct vm_area_struct *vma = avc->vma;
		unsigned long addr = vma_address(vma, rec->pgoff, 1);

		cond_resched();
		if (addr == -EFAULT ||
		    (rwc->invalid_vma && rwc->invalid_vma(vma, rwc->arg)))
			continue;
		go_on = rwc->rmap_one(folio, vma, addr, rwc->arg) &&
			!(rwc->done && rwc->done(folio));
		if (!go_on)
			break;
	}
	anon_vma_unlock_read(anon_vma);
	return go_on;
}

/**
 * rmap_walk_ksm - visit the mappings of a merged frame
 * @folio: the frame, locked
 * @rwc: what to do there
 */
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct ksm_node *node = ksm_folio_node(folio);
	struct ksm_rec *rec;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio), folio);
	if (!node)
		return;
	if (!down_read_trylock(ksm_node_sem(node))) {
		if (rwc->try_lock) {
			rwc->contended = true;
			return;
		}
		down_read(ksm_node_sem(node));
	}
	hlist_for_each_entry(rec, &node->recs, link) {
		if (!ksm_rmap_walk_rec(folio, rec, rwc))
			break;
	}
	up_read(ksm_node_sem(node));
}

#ifdef CONFIG_MEMORY_FAILURE
static void ksm_collect_rec(struct ksm_rec *rec, struct page *page,
			    struct list_head *to_kill, int force_early)
{
	struct anon_vma_chain *avc;
	struct task_struct *p, *t;

	for_each_process(p) {
		t = task_early_kill(p, force_early);
		if (!t)
			continue;
		anon_vma_interval_tree_foreach(avc, &rec->anon_vma->rb_root,
					       rec->pgoff, rec->pgoff) {
			struct vm_area_struct *vma = avc->vma;
			unsigned long addr = vma_address(vma, rec->pgoff, 1);

			if (vma->vm_mm == t->mm && addr != -EFAULT)
				add_to_kill_ksm(t, page, vma, to_kill, addr);
		}
	}
}

/**
 * collect_procs_ksm - whom a broken merged frame hits
 * @folio: the frame, locked
 * @page: its page
 * @to_kill: list to add to
 * @force_early: see mm/memory-failure.c
 */
void collect_procs_ksm(struct folio *folio, struct page *page,
		       struct list_head *to_kill, int force_early)
{
	struct ksm_node *node = ksm_folio_node(folio);
	struct ksm_rec *rec;

	if (!node)
		return;
	down_read(ksm_node_sem(node));
	hlist_for_each_entry(rec, &node->recs, link) {
		anon_vma_lock_read(rec->anon_vma);
		rcu_read_lock();
		ksm_collect_rec(rec, page, to_kill, force_early);
		rcu_read_unlock();
		anon_vma_unlock_read(rec->anon_vma);
	}
	up_read(ksm_node_sem(node));
}
#endif

#ifdef CONFIG_MIGRATION
/**
 * folio_migrate_ksm - a merged frame is moved to another
 * @newfolio: where to; its mapping is set already
 * @folio: where from
 *
 * Context: both locked.
 */
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio)
{
	struct ksm_node *node = ksm_folio_node(folio);

	if (!node)
		return;
	VM_WARN_ON_FOLIO(newfolio->mapping != folio->mapping, newfolio);
	WRITE_ONCE(node->pfn, folio_pfn(newfolio));
	/* pairs with ksm_node_folio(): whoever sees the old mapping gone sees this */
	smp_wmb();
	ksm_folio_set_node(folio, NULL);
}
#endif

/* May a folio found in the swap cache be mapped here as it is? */
static bool ksm_swapin_fits(struct folio *folio, struct vm_area_struct *vma,
			    unsigned long addr)
{
	struct anon_vma *anon_vma = folio_anon_vma(folio);
	struct ksm_node *node = ksm_folio_node(folio);
	struct ksm_mm *slot = vma->vm_mm->ksm;

	if (folio_test_ksm(folio))
		return node && slot && READ_ONCE(slot->takes_part) &&
		       READ_ONCE(slot->domain) == node->domain &&
		       READ_ONCE(ksm_knobs.run) != KSM_RUN_UNMERGE &&
		       ksm_vma_eligible(ksm_slot_policy(slot), vma);
	/* what others have in swap, they may have from merging in another domain */
	if (slot && READ_ONCE(slot->crossed) && folio_test_swapcache(folio) &&
	    (folio_mapped(folio) || __swap_count(folio->swap) > 1))
		return false;
	/* it was merged when it went out; fresh from swap it belongs nowhere */
	if (!anon_vma)
		return true;
	return anon_vma->root == vma->anon_vma->root &&
	       folio->index == linear_page_index(vma, addr);
}

/**
 * ksm_might_need_to_copy - a folio found in the swap cache is to be mapped
 * @folio: the folio, locked
 * @vma: where
 * @addr: at which address
 *
 * A folio that came back for one process stands in that process's anon_vma;
 * another one that swapped it out as a merged frame cannot map it, and neither
 * may a merged frame get into another domain.
 *
 * Return: @folio, or a locked copy for this mapping alone; NULL without
 * memory, ERR_PTR(-EHWPOISON) where the copy met broken memory.
 */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr)
{
	struct folio *copy;

	if (folio_test_large(folio) || ksm_swapin_fits(folio, vma, addr))
		return folio;
	if (folio_test_hwpoison(folio))
		return ERR_PTR(-EHWPOISON);
	/* the fault reports the error better than we could */
	if (!folio_test_uptodate(folio))
		return folio;

	copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vma, addr, false);
	if (!copy)
		return NULL;
	if (mem_cgroup_charge(copy, vma->vm_mm, GFP_KERNEL)) {
		folio_put(copy);
		return NULL;
	}
	if (copy_mc_user_highpage(folio_page(copy, 0), folio_page(folio, 0),
				  addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	__folio_set_locked(copy);
	__folio_mark_uptodate(copy);
	folio_set_dirty(copy);
#ifdef CONFIG_SWAP
	count_vm_event(KSM_SWPIN_COPY);
#endif
	return copy;
}
