// SPDX-License-Identifier: GPL-2.0
/*
 * Which cgroup pays, for merged frames and for what is remembered of pages.
 *
 * Nothing here goes through the memory controller's way to charge, as that
 * raises an event at the limit, reclaims, or kills. Counters are changed as
 * they are where a page is replaced by another.
 *
 * A merged frame is paid by a cgroup that maps it. The first payer is the one
 * whose page it was made of. When that one loses a mapping, or a process leaves
 * a cgroup with what it has merged, the frame is reviewed by a worker (node.c):
 * if the payer maps it no more, a cgroup that does takes it over. The charge is
 * forced, as it is where memory.max is lowered: it raises no event, reclaims
 * nothing, kills nobody, and the next charge of that cgroup's own reclaims.
 *
 * While the charge changes hands nothing maps the frame: its mappings are
 * migration entries, at which a fault waits for the folio lock, and it is on
 * no LRU list. So lists, the cgroups' statistics and our own books follow from
 * the mappings going and coming, and nobody sees them half changed.
 *
 * Metadata is paid in whole pages by the cgroup that has the memory, as much as
 * its books say at any time, so that the charge moves with the process. Who is
 * at his limit may go over it by a small part for that.
 */
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/page_counter.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

/* The part of a limit that frames which replace nothing leave free. */
#define KSM_SPARE	64

/**
 * ksm_group_charge - charge a group's cgroup for the metadata that it has now
 * @group: the group
 *
 * The counter is raised before @meta_pages and lowered after it, so that two of
 * us at a time never take it below what it is.
 *
 * Context: any.
 */
void ksm_group_charge(struct ksm_group *group)
{
	struct page_counter *counter;
	long old, now, new;

	if (!group->memcg || mem_cgroup_is_root(group->memcg))
		return;
	counter = &group->memcg->memory;
	/* of two at a time, the second sees the books that the first has changed */
	smp_mb();
	for (;;) {
		old = atomic_long_read(&group->meta_pages);
		new = DIV_ROUND_UP(max(ksm_group_metadata(group), 0L), PAGE_SIZE);
		if (new == old)
			return;
		if (new > old)
			page_counter_charge(counter, new - old);
		now = atomic_long_cmpxchg(&group->meta_pages, old, new);
		if (now == old && new < old)
			page_counter_uncharge(counter, old - new);
		if (now != old && new > old)
			page_counter_uncharge(counter, new - old);
	}
}

/*
 * Is a cgroup on the way up full but for the @spare-th part? And the smallest
 * limit there, in pages.
 */
static bool ksm_memcg_full(struct mem_cgroup *memcg, unsigned long spare,
			   unsigned long *limit)
{
	bool full = false;

	*limit = PAGE_COUNTER_MAX;
	for (; memcg && !mem_cgroup_is_root(memcg);
	     memcg = parent_mem_cgroup(memcg)) {
		unsigned long max = READ_ONCE(memcg->memory.max);

		*limit = min(*limit, max);
		full |= page_counter_read(&memcg->memory) >= max - max / spare;
	}
	return full;
}

/**
 * ksm_payer_meta_room - may more be remembered of a slot's memory?
 * @slot: the slot
 *
 * A cgroup that is full is who needs merging most, and what it saves is more
 * than that takes: it may go over its limit for metadata, by 1/128 of it.
 *
 * Context: any that allows a spinlock.
 */
bool ksm_payer_meta_room(struct ksm_mm *slot)
{
	unsigned long limit;
	bool room = true;

	spin_lock(&slot->lock);
	if (ksm_memcg_full(slot->group->memcg, ULONG_MAX, &limit))
		room = atomic_long_read(&slot->group->meta_pages) < limit / 128;
	spin_unlock(&slot->lock);
	return room;
}

/* The folio is locked, mapped by nobody and on no list. */
static void ksm_payer_set(struct folio *folio, struct mem_cgroup *memcg)
{
	if (!mem_cgroup_is_root(memcg))
		page_counter_charge(&memcg->memory, 1);
	css_get(&memcg->css);
	WRITE_ONCE(folio->memcg_data, (unsigned long)memcg);
}

/**
 * ksm_payer_first - charge a fresh frame
 * @slot: whose page it is made of
 * @old: that page's folio
 * @frame: the frame, locked and mapped by nobody
 *
 * Where the cgroup that has the page pays for it too and nobody else maps it,
 * the page goes as the frame comes, so there is always room. Else there has to
 * be, and some is left for the cgroup itself: merging what is shared by fork
 * must not lead out of its limit, nor into it.
 *
 * Return: 0 or -ENOMEM.
 */
int ksm_payer_first(struct ksm_mm *slot, struct folio *old, struct folio *frame)
{
	struct mem_cgroup *memcg;
	unsigned long limit;
	int err = -ENOMEM;

	if (mem_cgroup_disabled() || !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return mem_cgroup_charge(frame, slot->mm,
					 GFP_NOWAIT | __GFP_NOWARN);
	spin_lock(&slot->lock);
	memcg = slot->group->memcg;
	if ((memcg == folio_memcg(old) && folio_mapcount(old) == 1) ||
	    !ksm_memcg_full(memcg, KSM_SPARE, &limit)) {
		ksm_payer_set(frame, memcg);
		err = 0;
	}
	spin_unlock(&slot->lock);
	return err;
}

/**
 * struct ksm_heirs - who maps a frame, on the stack of whoever asks
 * @payer: the cgroup that it is charged to
 * @heir: another one that maps it, with a reference, or NULL
 * @nr: mappings that were met, some perhaps twice
 * @kept: @payer maps it
 */
struct ksm_heirs {
	struct mem_cgroup *payer;
	struct mem_cgroup *heir;
	int nr;
	bool kept;
};

static bool ksm_heirs_one(struct folio *folio, struct vm_area_struct *vma,
			  unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	struct ksm_heirs *heirs = arg;
	struct mem_cgroup *memcg;
	struct ksm_mm *slot;

	if (!page_vma_mapped_walk(&pvmw))
		return true;
	/* with the page table locked the mapping stays, and so does the slot */
	heirs->nr++;
	slot = vma->vm_mm->ksm;
	spin_lock(&slot->lock);
	memcg = slot->group->memcg;
	if (memcg == heirs->payer)
		heirs->kept = true;
	else if (!heirs->heir && atomic_read(&vma->vm_mm->mm_users) &&
		 css_tryget(&memcg->css))
		heirs->heir = memcg;
	spin_unlock(&slot->lock);
	page_vma_mapped_walk_done(&pvmw);
	return !heirs->kept;
}

/* A frame in the swap cache is counted there for who pays; without swap, none. */
static void ksm_payer_move_swapcache(struct folio *folio, struct mem_cgroup *from,
				     struct mem_cgroup *to)
{
#ifdef CONFIG_SWAP
	struct pglist_data *pgdat = folio_pgdat(folio);

	if (folio_test_swapcache(folio)) {
		mod_lruvec_state(mem_cgroup_lruvec(from, pgdat), NR_SWAPCACHE, -1);
		mod_lruvec_state(mem_cgroup_lruvec(to, pgdat), NR_SWAPCACHE, 1);
	}
#endif
}

static void ksm_payer_change(struct folio *folio, struct mem_cgroup *from,
			     struct mem_cgroup *to)
{
	ksm_payer_move_swapcache(folio, from, to);
	ksm_payer_set(folio, to);
	if (!mem_cgroup_is_root(from))
		page_counter_uncharge(&from->memory, 1);
	css_put(&from->css);
}

static bool ksm_payer_hand_on(struct folio *folio, struct mem_cgroup *from,
			      struct mem_cgroup *to)
{
	bool done = false;

	/* writeback is counted for the cgroup that it began for */
	if (folio_test_writeback(folio) || !folio_isolate_lru(folio))
		return false;
	try_to_migrate(folio, 0);
	if (!folio_mapped(folio)) {
		ksm_payer_change(folio, from, to);
		done = true;
	}
	remove_migration_ptes(folio, folio, 0);
	folio_putback_lru(folio);
	return done;
}

/**
 * ksm_payer_settle - have a merged frame paid by a cgroup that maps it
 * @node: the frame's node
 * @folio: the frame, with a reference
 *
 * Context: domain->mutex, ksm_gate; sleeps.
 * Return: false if it could not be had now and is to be tried again.
 */
bool ksm_payer_settle(struct ksm_node *node, struct folio *folio)
{
	struct ksm_heirs heirs = {};
	struct rmap_walk_control rwc = {
		.rmap_one = ksm_heirs_one,
		.arg = &heirs,
	};
	bool done = true;

	/* without migration there is no way to have a frame to oneself */
	if (mem_cgroup_disabled() || !IS_ENABLED(CONFIG_MIGRATION) ||
	    !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return true;
	if (!folio_trylock(folio))
		return false;
	if (ksm_folio_node(folio) != node || folio_test_hwpoison(folio))
		goto unlock;
	heirs.payer = folio_memcg(folio);
	if (!heirs.payer)
		goto unlock;
	rmap_walk_ksm(folio, &rwc);
	/*
	 * Those who are about to exit inherit nothing, and one whose record could
	 * not be allocated is not met: later, then. A child by fork can be met
	 * twice, by its own record and its parent's.
	 */
	if (!heirs.kept)
		done = heirs.heir && heirs.nr >= atomic_read(&node->mapped) &&
		       ksm_payer_hand_on(folio, heirs.payer, heirs.heir);
	if (heirs.heir)
		mem_cgroup_put(heirs.heir);
unlock:
	folio_unlock(folio);
	return done;
}

/**
 * ksm_payer_fits - does a slot's cgroup pay for this frame?
 * @slot: the slot
 * @folio: the frame
 *
 * Context: @slot->lock.
 */
bool ksm_payer_fits(struct ksm_mm *slot, struct folio *folio)
{
	lockdep_assert_held(&slot->lock);
	return slot->group->memcg == folio_memcg(folio);
}

/**
 * ksm_payer_lost - may a cgroup have stopped mapping a frame that it pays?
 * @slot: who unmaps it
 * @folio: the frame
 *
 * What a slot brought along from another cgroup counts as that one's until a
 * worker has gone through it.
 *
 * Context: @slot->lock.
 */
bool ksm_payer_lost(struct ksm_mm *slot, struct folio *folio)
{
	return ksm_payer_fits(slot, folio) || slot->moves != slot->moves_seen;
}

/*
 * The folio that an entry is for. One that has already moved on to another
 * place is found through that: whoever comes to map it first is looked at.
 */
static struct folio *ksm_pte_folio(struct vm_area_struct *vma,
				   unsigned long addr, pte_t pte)
{
	struct page *page;

	if (pte_present(pte)) {
		page = vm_normal_page(vma, addr, pte);
		return page ? page_folio(page) : NULL;
	}
	if (is_swap_pte(pte) && is_migration_entry(pte_to_swp_entry(pte)))
		return pfn_swap_entry_folio(pte_to_swp_entry(pte));
	return NULL;
}

static int ksm_review_pmd(pmd_t *pmd, unsigned long addr, unsigned long end,
			  struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl;	/* of the page table */
	pte_t *start, *ptep;

	start = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	ptep = start;
	if (!start)
		return 0;
	for (; addr < end; addr += PAGE_SIZE, ptep++) {
		struct folio *folio = ksm_pte_folio(vma, addr, ptep_get(ptep));
		struct ksm_node *node = folio ? ksm_folio_node(folio) : NULL;

		if (node)
			ksm_node_review(node);
	}
	pte_unmap_unlock(start, ptl);
	cond_resched();
	return 0;
}

static const struct mm_walk_ops ksm_review_ops = {
	.pmd_entry = ksm_review_pmd,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_payer_review - a process left a cgroup: have all its frames reviewed
 * @vma: a VMA of the process
 * @start: first address
 * @end: address after the last
 *
 * Context: mmap_lock.
 * Return: 0.
 */
int ksm_payer_review(struct vm_area_struct *vma, unsigned long start,
		     unsigned long end)
{
	return walk_page_range_vma(vma, start, end, &ksm_review_ops, NULL);
}
