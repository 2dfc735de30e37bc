// SPDX-License-Identifier: GPL-2.0
/*
 * Charging cgroups for merged frames, for copies, and for metadata.
 *
 * At the limit, the memory controller's charge functions raise an event,
 * reclaim, or kill. So the counters are changed here as the controller changes
 * them to replace one page by another: unconditionally and without an event;
 * the cgroup's own next charge reclaims.
 *
 * A merged frame is charged to a cgroup that maps it, at first to the one whose
 * page it was made from. review.c finds out whether that cgroup still maps it.
 *
 * Unsharing stops at a margin below each limit: at the limit itself, the next
 * page fault would invoke the OOM killer.
 *
 * Metadata is charged in whole pages to the cgroup that has the memory, always
 * as much as its books say, so the charge moves with the process. A cgroup may
 * exceed its limit by a small part for metadata.
 */
#include <linux/memcontrol.h>
#include <linux/page_counter.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>

#include "ksm.h"

/* Frames that replace no page leave this part of the limit free. */
#define KSM_SPARE_PART	64
/* Unsharing leaves this part of each limit free. Bounds are in pages. */
#define KSM_MARGIN_PART	64
#define KSM_MARGIN_MIN	32UL
#define KSM_MARGIN_MAX	1024UL
#define KSM_MARGIN_TRIES	5
/* In a full cgroup, metadata grows no further than this part of the limit. */
#define KSM_METADATA_PART	128

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
	struct page_counter *counter;
	long old, now, new, bytes;

	if (!group->memcg || mem_cgroup_is_root(group->memcg))
		return;
	counter = &group->memcg->memory;
	/* the later of two calls sees the books that the other has changed */
	smp_mb();
	for (;;) {
		old = atomic_long_read(&books->meta_pages);
		bytes = max(ksm_group_metadata(group), 0L);
		new = DIV_ROUND_UP(bytes, PAGE_SIZE);
		if (new == old)
			return;
		if (new > old)
			page_counter_charge(counter, new - old);
		now = atomic_long_cmpxchg(&books->meta_pages, old, new);
		if (now == old && new < old)
			page_counter_uncharge(counter, old - new);
		if (now != old && new > old)
			page_counter_uncharge(counter, new - old);
	}
}

/*
 * Is a cgroup or an ancestor full, but for a @spare-th part of its limit?
 * @limit is set to the lowest limit of these, in pages.
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
 * ksm_charge_room - may more be remembered of a slot's memory?
 * @slot: the slot
 *
 * A full cgroup needs merging most, and merging saves more than it takes: each
 * group may have metadata up to a small part of the lowest limit above it, even
 * if that limit is reached.
 *
 * Context: any that allows a spinlock.
 * Return: true if so.
 */
bool ksm_charge_room(struct ksm_slot *slot)
{
	struct ksm_group *group;
	unsigned long limit;
	bool room = true;

	spin_lock(&slot->books.lock);
	group = slot->books.group;
	/* full means full, with no part to spare */
	if (ksm_memcg_full(group->memcg, ULONG_MAX, &limit))
		room = atomic_long_read(&group->books.meta_pages) <
		       limit / KSM_METADATA_PART;
	spin_unlock(&slot->books.lock);
	return room;
}

/* The folio is locked, unmapped and on no list. */
static void ksm_charge_set(struct folio *folio, struct mem_cgroup *memcg)
{
	if (!mem_cgroup_is_root(memcg))
		page_counter_charge(&memcg->memory, 1);
	css_get(&memcg->css);
	WRITE_ONCE(folio->memcg_data, (unsigned long)memcg);
}

/**
 * ksm_charge_frame - charge a fresh frame
 * @slot: the slot whose page it is made from
 * @old: that page's folio
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
	struct mem_cgroup *memcg;
	unsigned long limit;
	int err = -ENOMEM;

	if (mem_cgroup_disabled() || !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return mem_cgroup_charge(new, slot->mm, KSM_GFP_SCAN);
	spin_lock(&slot->books.lock);
	memcg = slot->books.group->memcg;
	if ((memcg == folio_memcg(old) && folio_mapcount(old) == 1) ||
	    !ksm_memcg_full(memcg, KSM_SPARE_PART, &limit)) {
		ksm_charge_set(new, memcg);
		err = 0;
	}
	spin_unlock(&slot->books.lock);
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
	ksm_charge_set(folio, to);
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

/* The nearest cgroup, from @memcg up, without that margin; NULL if none. */
static struct mem_cgroup *ksm_memcg_near_limit(struct mem_cgroup *memcg)
{
	for (; memcg && !mem_cgroup_is_root(memcg);
	     memcg = parent_mem_cgroup(memcg)) {
		unsigned long max = READ_ONCE(memcg->memory.max), margin;

		if (max == PAGE_COUNTER_MAX)
			continue;
		margin = clamp(max / KSM_MARGIN_PART, KSM_MARGIN_MIN,
			       KSM_MARGIN_MAX);
		if (page_counter_read(&memcg->memory) + margin >= max)
			return memcg;
	}
	return NULL;
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
	struct mem_cgroup *memcg = NULL, *old;
	struct ksm_group *group;
	int err;

	spin_lock(&slot->books.lock);
	group = slot->books.group;
	if (cgroup_subsys_on_dfl(memory_cgrp_subsys) && group->memcg &&
	    css_tryget(&group->memcg->css))
		memcg = group->memcg;
	spin_unlock(&slot->books.lock);
	if (!memcg)
		return mem_cgroup_charge(folio, slot->mm, gfp);
	err = -ENOMEM;
	if (ksm_charge_margin(memcg, gfp)) {
		old = set_active_memcg(memcg);
		err = mem_cgroup_charge(folio, NULL, gfp);
		set_active_memcg(old);
	}
	mem_cgroup_put(memcg);
	return err;
}
