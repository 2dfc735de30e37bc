// SPDX-License-Identifier: GPL-2.0
/*
 * Charging cgroups for merged frames, for copies, and for metadata.
 *
 * The memory controller's own functions are used where they fit:
 *
 *   mem_cgroup_replace_folio()  a frame takes the place of a page that is freed
 *   mem_cgroup_charge()         any other frame, without reclaim: it fails at
 *                               the limit and raises no event; copies
 *   obj_cgroup_charge()         orphans, see orphan.c: the charge of a removed
 *                               cgroup passes to its parent. At the limit it is
 *                               forced, which counts as an event
 *   mod_memcg_state()           other metadata, as "kernel" in memory.stat
 *
 * Two charges change the page counter directly. At a limit, the controller's
 * functions would fail, raise an event, reclaim or call the OOM killer:
 *
 *   metadata          When a process moves, it is uncharged from one cgroup and
 *                     charged to another, and a move cannot fail. An obj_cgroup
 *                     or an accounted slab stays with the cgroup that allocated
 *                     it, and forces a charge only with an event in
 *                     memory.events.
 *   handing on frames The charge of one folio moves between two cgroups.
 *                     mem_cgroup_migrate() keeps the cgroup; uncharging first
 *                     and charging then could fail in between.
 *
 * If a cgroup is over its limit afterwards, its own next charge reclaims.
 *
 * A merged frame is charged to a cgroup that maps it, at first to the one whose
 * page it was made from. review.c finds out whether that cgroup still maps it.
 *
 * Unsharing stops at a margin below each limit: at the limit itself, the next
 * page fault would invoke the OOM killer.
 *
 * Metadata is charged in whole pages to the cgroup that has the memory, always
 * as much as its books say, so the charge moves with the process. It leaves the
 * same margin free. Where the margin is used up, a cgroup and its descendants
 * together have metadata up to a small part of its limit. Bounds of each kind:
 *
 *   blocks     ask for room, with the index buckets of their pages
 *   digests    ask for room
 *   records    ask for room where fork or swap-in mapped the page, or where a
 *              relative keeps it after the merge. A merge that frees a page
 *              takes less than it frees
 *   frames     as the record of their first mapping; they replace a page
 *   slots      one for each mm; the controller charges the kernel memory of the
 *              mm, which is many times as large
 */
#include <linux/memcontrol.h>
#include <linux/page_counter.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>

#include "ksm.h"

/* Unsharing and metadata leave this part of each limit free, in pages. */
#define KSM_MARGIN_PART	64
/* The least margin, beyond the batch that a CPU charges in advance. */
#define KSM_MARGIN_MIN	(32UL + MEMCG_CHARGE_BATCH)
#define KSM_MARGIN_MAX	1024UL
#define KSM_MARGIN_TRIES	5
/* Where the margin is used up, metadata grows to this part of the limit. */
#define KSM_METADATA_PART	128

/*
 * Change what a group's cgroup is charged for metadata. Callers charge before
 * they uncharge, so the ancestors' totals are never too low.
 */
static void ksm_charge_metadata(struct ksm_group *group, long nr)
{
	struct mem_cgroup *memcg = group->memcg;

	if (nr > 0)
		page_counter_charge(&memcg->memory, nr);
	mod_memcg_state(memcg, MEMCG_KMEM, nr);
	for (; group->parent; group = group->parent)
		atomic_long_add(nr, &group->books.meta_total);
	if (nr < 0)
		page_counter_uncharge(&memcg->memory, -nr);
}

/**
 * ksm_group_charge - charge a group's cgroup for the metadata that it has now
 * @group: the group
 *
 * The counter is raised before books.meta_pages and lowered after it, so that
 * concurrent calls never uncharge more than is charged.
 *
 * Context: any.
 */
void ksm_group_charge(struct ksm_group *group)
{
	struct ksm_group_books *books = &group->books;
	long old, now, new, bytes;

	if (!group->memcg || mem_cgroup_is_root(group->memcg))
		return;
	/* the later of two calls sees the books that the other has changed */
	smp_mb();
	for (;;) {
		old = atomic_long_read(&books->meta_pages);
		bytes = max(ksm_group_metadata(group), 0L);
		new = DIV_ROUND_UP(bytes, PAGE_SIZE);
		if (new == old)
			return;
		if (new > old)
			ksm_charge_metadata(group, new - old);
		now = atomic_long_cmpxchg(&books->meta_pages, old, new);
		if (now == old && new < old)
			ksm_charge_metadata(group, new - old);
		if (now != old && new > old)
			ksm_charge_metadata(group, old - new);
	}
}

/* Is less than the margin left below the cgroup's own limit? */
static bool ksm_memcg_full(struct mem_cgroup *memcg)
{
	unsigned long max = READ_ONCE(memcg->memory.max), margin;

	if (max == PAGE_COUNTER_MAX)
		return false;
	margin = clamp(max / KSM_MARGIN_PART, KSM_MARGIN_MIN, KSM_MARGIN_MAX);
	return page_counter_read(&memcg->memory) + margin >= max;
}

/* The nearest full cgroup, from @memcg up; NULL if none. */
static struct mem_cgroup *ksm_memcg_near_limit(struct mem_cgroup *memcg)
{
	for (; memcg && !mem_cgroup_is_root(memcg);
	     memcg = parent_mem_cgroup(memcg)) {
		if (ksm_memcg_full(memcg))
			return memcg;
	}
	return NULL;
}

/* Does the group's own limit allow more metadata in its subtree? */
static bool ksm_group_room(struct ksm_group *group)
{
	return !ksm_memcg_full(group->memcg) ||
	       atomic_long_read(&group->books.meta_total) <
	       READ_ONCE(group->memcg->memory.max) / KSM_METADATA_PART;
}

/**
 * ksm_charge_room - may more be remembered of a slot's memory?
 * @slot: the slot
 *
 * A full cgroup needs merging most, and merging saves more than it takes. So
 * even a limit that is reached allows metadata up to a small part of it, for
 * the cgroup and its descendants together.
 *
 * Context: any that allows a spinlock.
 * Return: true if so.
 */
bool ksm_charge_room(struct ksm_slot *slot)
{
	struct ksm_group *group;
	bool room = true;

	spin_lock(&slot->books.lock);
	for (group = slot->books.group; room && group->parent;
	     group = group->parent)
		room = ksm_group_room(group);
	spin_unlock(&slot->books.lock);
	return room;
}

/*
 * The cgroup to charge for a slot, with a reference; NULL to leave the choice
 * to the controller.
 */
static struct mem_cgroup *ksm_slot_memcg(struct ksm_slot *slot)
{
	struct mem_cgroup *memcg;

	if (mem_cgroup_disabled() || !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return NULL;
	spin_lock(&slot->books.lock);
	memcg = slot->books.group->memcg;
	if (memcg && !css_tryget(&memcg->css))
		memcg = NULL;
	spin_unlock(&slot->books.lock);
	return memcg;
}

static int ksm_charge_folio(struct folio *folio, struct mem_cgroup *memcg,
			    gfp_t gfp)
{
	struct mem_cgroup *old = set_active_memcg(memcg);
	int err = mem_cgroup_charge(folio, NULL, gfp);

	set_active_memcg(old);
	return err;
}

/**
 * ksm_charge_frame - charge a fresh frame
 * @slot: the slot whose page it is made from
 * @old: that page's folio, locked
 * @new: the frame, locked and unmapped
 *
 * If the slot's cgroup pays for the page and nothing else maps it, the frame
 * replaces the page, so there is always room. Otherwise there has to be room,
 * with some to spare: merging pages that fork shares must neither exceed the
 * limit nor use it up.
 *
 * Context: any that allows a spinlock.
 * Return: 0 or -ENOMEM.
 */
int ksm_charge_frame(struct ksm_slot *slot, struct folio *old,
		     struct folio *new)
{
	struct mem_cgroup *memcg = ksm_slot_memcg(slot);
	int err = 0;

	if (!memcg)
		return mem_cgroup_charge(new, slot->mm, KSM_GFP_SCAN);
	if (memcg == folio_memcg(old) && folio_mapcount(old) == 1)
		mem_cgroup_replace_folio(old, new);
	else if (ksm_memcg_near_limit(memcg))
		err = -ENOMEM;
	else
		err = ksm_charge_folio(new, memcg, KSM_GFP_SCAN);
	mem_cgroup_put(memcg);
	return err;
}

/* NR_SWAPCACHE counts a folio for the cgroup that pays for it. */
static void ksm_charge_move_swapcache(struct folio *folio,
				      struct mem_cgroup *from,
				      struct mem_cgroup *to)
{
#ifdef CONFIG_SWAP
	struct pglist_data *pgdat = folio_pgdat(folio);

	if (folio_test_swapcache(folio)) {
		mod_lruvec_state(mem_cgroup_lruvec(from, pgdat),
				 NR_SWAPCACHE, -1);
		mod_lruvec_state(mem_cgroup_lruvec(to, pgdat),
				 NR_SWAPCACHE, 1);
	}
#endif
}

/**
 * ksm_charge_move - charge a frame to another cgroup
 * @folio: the frame, locked, unmapped and isolated from the LRU
 * @from: the cgroup that pays
 * @to: the cgroup that is to pay; the caller holds a reference
 *
 * Context: any.
 */
void ksm_charge_move(struct folio *folio, struct mem_cgroup *from,
		     struct mem_cgroup *to)
{
	ksm_charge_move_swapcache(folio, from, to);
	if (!mem_cgroup_is_root(to))
		page_counter_charge(&to->memory, 1);
	css_get(&to->css);
	WRITE_ONCE(folio->memcg_data, (unsigned long)to);
	if (!mem_cgroup_is_root(from))
		page_counter_uncharge(&from->memory, 1);
	css_put(&from->css);
}

/**
 * ksm_charged_here - does a slot's cgroup pay for this frame?
 * @slot: the slot
 * @folio: the frame
 *
 * Context: slot->books.lock.
 * Return: true if so.
 */
bool ksm_charged_here(struct ksm_slot *slot, struct folio *folio)
{
	lockdep_assert_held(&slot->books.lock);
	return slot->books.group->memcg == folio_memcg(folio);
}

/**
 * ksm_charge_may_be_lost - may unmapping leave a frame to a payer that no
 *	longer maps it?
 * @slot: the slot that unmaps the frame
 * @folio: the frame
 *
 * Frames that a slot brought along from another cgroup count as charged to that
 * cgroup until a worker has reviewed them.
 *
 * Context: slot->books.lock.
 * Return: true if so.
 */
bool ksm_charge_may_be_lost(struct ksm_slot *slot, struct folio *folio)
{
	return ksm_charged_here(slot, folio) ||
	       slot->books.moves != READ_ONCE(slot->books.moves_seen);
}

/* Ensure the margin at every limit; reclaims if @gfp allows it. */
static bool ksm_charge_margin(struct mem_cgroup *memcg, gfp_t gfp)
{
	int tries = gfpflags_allow_blocking(gfp) ? KSM_MARGIN_TRIES : 0;
	struct mem_cgroup *full;

	while ((full = ksm_memcg_near_limit(memcg))) {
		if (!tries-- ||
		    !try_to_free_mem_cgroup_pages(full, KSM_MARGIN_MIN, gfp,
						  MEMCG_RECLAIM_MAY_SWAP, NULL))
			return false;
	}
	return true;
}

/**
 * ksm_charge_copy - charge a copy that unsharing makes
 * @slot: the slot that gets it
 * @folio: the copy
 * @gfp: how hard to try
 *
 * Does not use mm->owner, which is gone while the mm exits.
 *
 * Context: as @gfp says.
 * Return: 0 or -ENOMEM.
 */
int ksm_charge_copy(struct ksm_slot *slot, struct folio *folio, gfp_t gfp)
{
	struct mem_cgroup *memcg = ksm_slot_memcg(slot);
	int err = -ENOMEM;

	if (!memcg)
		return mem_cgroup_charge(folio, slot->mm, gfp);
	if (ksm_charge_margin(memcg, gfp))
		err = ksm_charge_folio(folio, memcg, gfp);
	mem_cgroup_put(memcg);
	return err;
}

/* Force the charge; consumes a reference on @objcg, which may be NULL. */
static struct obj_cgroup *ksm_charge_rec(struct obj_cgroup *objcg)
{
	if (objcg && obj_cgroup_charge(objcg, GFP_ATOMIC | __GFP_NOWARN,
				       sizeof(struct ksm_rec))) {
		obj_cgroup_put(objcg);
		objcg = NULL;
	}
	return objcg;
}

/**
 * ksm_charge_orphan - charge a slot's cgroup for a record that it leaves
 * @slot: the slot; its books no longer count the record
 *
 * Context: any task that holds no spinlock of the books.
 * Return: what ksm_uncharge_orphan() takes; NULL if nothing is charged.
 */
struct obj_cgroup *ksm_charge_orphan(struct ksm_slot *slot)
{
	struct mem_cgroup *memcg = ksm_slot_memcg(slot), *old;
	struct obj_cgroup *objcg;

	if (!memcg)
		return NULL;
	old = set_active_memcg(memcg);
	objcg = get_obj_cgroup_from_current();
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return ksm_charge_rec(objcg);
}

/**
 * ksm_charge_payer - charge the payer of a frame for a record
 * @folio: the frame
 *
 * For an orphan whose former slot is not known any more.
 *
 * Context: any.
 * Return: what ksm_uncharge_orphan() takes; NULL if nothing is charged.
 */
struct obj_cgroup *ksm_charge_payer(struct folio *folio)
{
	return ksm_charge_rec(get_obj_cgroup_from_folio(folio));
}

/**
 * ksm_uncharge_orphan - end the charge for an orphan that is freed
 * @objcg: from ksm_charge_orphan() or ksm_charge_payer()
 *
 * Context: any.
 */
void ksm_uncharge_orphan(struct obj_cgroup *objcg)
{
	if (!objcg)
		return;
	obj_cgroup_uncharge(objcg, sizeof(struct ksm_rec));
	obj_cgroup_put(objcg);
}
