// SPDX-License-Identifier: GPL-2.0
/*
 * The books: every count stands once with the slot it is of and once with the
 * slot's group, and both change together under the slot's lock. So a slot that
 * moves takes exactly its part along, and the figures of the host are the sum
 * over the groups: there is no third place that could disagree.
 *
 * Events stay with the group in which they happened.
 */
#include <linux/math64.h>

#include "ksm.h"

/**
 * ksm_slot_mod - change a gauge
 * @slot: the slot
 * @gauge: which
 * @nr: by how much
 *
 * Context: any that allows a spinlock.
 */
void ksm_slot_mod(struct ksm_mm *slot, enum ksm_gauge gauge, long nr)
{
	spin_lock(&slot->lock);
	slot->gauge[gauge] += nr;
	atomic_long_add(nr, &slot->group->gauge[gauge]);
	if (gauge == KSM_G_METADATA || gauge == KSM_G_UNSHARED)
		ksm_group_charge(slot->group);
	spin_unlock(&slot->lock);
}

/**
 * ksm_slot_event - count an event
 * @slot: to whose memory it happened
 * @event: what
 * @nr: how often
 *
 * Context: any that allows a spinlock.
 */
void ksm_slot_event(struct ksm_mm *slot, enum ksm_event event, unsigned long nr)
{
	spin_lock(&slot->lock);
	atomic_long_add(nr, &slot->group->event[event]);
	spin_unlock(&slot->lock);
}

/**
 * ksm_scan_book - book what a scan gathered for its slot
 * @scan: the scan
 * @nsec: CPU time that it took
 *
 * Time is booked in the unit in which it is shown, or sums would not agree
 * with their parts.
 */
void ksm_scan_book(struct ksm_scan *scan, u64 nsec)
{
	struct ksm_mm *slot = scan->slot;
	u32 rest;
	int i;

	spin_lock(&slot->lock);
	nsec += slot->nsec;
	scan->event[KSM_E_SCAN_USEC] = div_u64_rem(nsec, NSEC_PER_USEC, &rest);
	slot->nsec = rest;
	for (i = 0; i < NR_KSM_GAUGES; i++) {
		if (!scan->delta[i])
			continue;
		slot->gauge[i] += scan->delta[i];
		atomic_long_add(scan->delta[i], &slot->group->gauge[i]);
		scan->delta[i] = 0;
	}
	for (i = 0; i < NR_KSM_EVENTS; i++) {
		if (!scan->event[i])
			continue;
		atomic_long_add(scan->event[i], &slot->group->event[i]);
		scan->event[i] = 0;
	}
	ksm_group_charge(slot->group);
	spin_unlock(&slot->lock);
}

/* How many of the slot's merged mappings are of another domain than its own. */
static long ksm_slot_nr_foreign(const struct ksm_mm *slot)
{
	if (!slot->mixed && slot->merged_in == slot->domain)
		return 0;
	return slot->gauge[KSM_G_MERGING];
}

static void ksm_slot_set(struct ksm_mm *slot, enum ksm_gauge gauge, long to)
{
	atomic_long_add(to - slot->gauge[gauge], &slot->group->gauge[gauge]);
	slot->gauge[gauge] = to;
}

/* Say anew where the slot's merged mappings belong; @slot->lock is held. */
static void ksm_slot_own(struct ksm_mm *slot, struct ksm_domain *domain)
{
	struct ksm_domain *old = slot->merged_in;

	if (old == domain)
		return;
	refcount_inc(&domain->ref);
	slot->merged_in = domain;
	if (old)
		ksm_domain_put(old);
}

/**
 * ksm_slot_charge_folio - charge a folio to the cgroup that a slot belongs to
 * @slot: the slot
 * @folio: the folio
 * @gfp: how hard to try
 *
 * Not by way of mm->owner, which is gone while the mm exits.
 *
 * Return: 0 or -ENOMEM.
 */
int ksm_slot_charge_folio(struct ksm_mm *slot, struct folio *folio, gfp_t gfp)
{
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg = NULL, *old;
	int err;

	spin_lock(&slot->lock);
	if (cgroup_subsys_on_dfl(memory_cgrp_subsys) && slot->group->memcg &&
	    css_tryget(&slot->group->memcg->css))
		memcg = slot->group->memcg;
	spin_unlock(&slot->lock);
	if (memcg) {
		old = set_active_memcg(memcg);
		err = mem_cgroup_charge(folio, NULL, gfp);
		set_active_memcg(old);
		mem_cgroup_put(memcg);
		return err;
	}
#endif
	return mem_cgroup_charge(folio, slot->mm, gfp);
}

/**
 * ksm_slot_claim - may this slot map a frame of that domain?
 * @slot: the slot
 * @domain: the frame's domain
 *
 * Asked before the first mapping is made, when a merge can still be called
 * off. From then on a slot that moves takes the mapping along as a foreign one.
 *
 * Return: true if it may.
 */
bool ksm_slot_claim(struct ksm_mm *slot, struct ksm_domain *domain)
{
	bool may;

	spin_lock(&slot->lock);
	may = slot->domain == domain && !slot->mixed;
	if (may && slot->merged_in != domain) {
		may = !slot->gauge[KSM_G_MERGING];
		if (may)
			ksm_slot_own(slot, domain);
	}
	spin_unlock(&slot->lock);
	return may;
}

/* The group that answers for frames charged to @group: the next one online. */
static struct ksm_group *ksm_group_lock_payer(struct ksm_group *group)
{
	for (;;) {
		spin_lock(&group->lock);
		if (!group->offline)
			return group;
		spin_unlock(&group->lock);
		group = group->parent;
	}
}

static void ksm_payer_mod(struct folio *folio, long nr)
{
	struct ksm_group *group;

	/* charged, so the cgroup stays; offline ones answer by their parent */
	group = ksm_group_lock_payer(ksm_group_pays(folio));
	group->shared += nr;
	ksm_group_charge(group);
	spin_unlock(&group->lock);
}

/**
 * __ksm_rmap_add - count a mapping of a merged frame
 * @folio: the frame
 * @mm: who maps it
 *
 * Context: page table lock.
 */
void __ksm_rmap_add(struct folio *folio, struct mm_struct *mm)
{
	struct ksm_node *node = ksm_folio_node(folio);
	struct ksm_mm *slot = mm->ksm;
	bool first, review;
	long foreign;

	if (WARN_ON_ONCE(!node || !slot))
		return;
	first = atomic_inc_return(&node->mapped) == 1;
	if (first)
		ksm_payer_mod(folio, 1);

	spin_lock(&slot->lock);
	/* from the swap cache it may come to others than those who pay */
	review = first && !ksm_payer_fits(slot, folio);
	if (!slot->gauge[KSM_G_MERGING]) {
		slot->mixed = false;
		ksm_slot_own(slot, node->domain);
	} else if (slot->merged_in != node->domain) {
		slot->mixed = true;
	}
	slot->merged_ever = true;
	ksm_slot_set(slot, KSM_G_MERGING, slot->gauge[KSM_G_MERGING] + 1);
	foreign = ksm_slot_nr_foreign(slot);
	ksm_slot_set(slot, KSM_G_FOREIGN, foreign);
	spin_unlock(&slot->lock);
	if (review)
		ksm_node_review(node);
	/* also what a fault had in hand when merging was switched off here */
	if (unlikely(foreign || (READ_ONCE(slot->listed) &&
				 !READ_ONCE(slot->takes_part))))
		ksm_unshare_queue(slot);
}

/**
 * __ksm_rmap_del - a mapping of a merged frame goes
 * @folio: the frame, still mapped
 * @mm: who maps it
 *
 * Context: page table lock. Once the caller lowers the mapcount, the node may
 * be gone.
 */
void __ksm_rmap_del(struct folio *folio, struct mm_struct *mm)
{
	struct ksm_node *node = ksm_folio_node(folio);
	struct ksm_mm *slot = mm->ksm;
	bool last, review;

	if (WARN_ON_ONCE(!node || !slot))
		return;
	last = atomic_dec_and_test(&node->mapped);
	if (last)
		ksm_payer_mod(folio, -1);

	spin_lock(&slot->lock);
	review = last || slot->gauge[KSM_G_FOREIGN] ||
		 ksm_payer_lost(slot, folio);
	ksm_slot_set(slot, KSM_G_MERGING, slot->gauge[KSM_G_MERGING] - 1);
	if (!slot->gauge[KSM_G_MERGING])
		slot->mixed = false;
	ksm_slot_set(slot, KSM_G_FOREIGN, ksm_slot_nr_foreign(slot));
	spin_unlock(&slot->lock);
	if (review)
		ksm_node_review(node);
}

/**
 * __ksm_zero_add - count mappings of the zero page that merging placed
 * @mm: who maps it
 * @nr: how many more, or less
 *
 * Context: page table lock, or mmap_lock for writing.
 */
void __ksm_zero_add(struct mm_struct *mm, long nr)
{
	/* a driver's mapping of the zero page can look like ours */
	if (mm->ksm)
		ksm_slot_mod(mm->ksm, KSM_G_ZERO, nr);
}

/* A write breaks what was merged, see ksm_count_cow(). */
void __ksm_count_cow(struct mm_struct *mm)
{
	if (mm->ksm)
		ksm_slot_event(mm->ksm, KSM_E_COW, 1);
}

/**
 * ksm_slot_move - a slot belongs to another group, or its group to another domain
 * @slot: the slot
 * @group: the group
 *
 * The gauges go along; mappings that are foreign in the new domain are counted
 * so from this moment on.
 *
 * Context: ksm_lock.
 * Return: how many mappings are foreign now.
 */
long ksm_slot_move(struct ksm_mm *slot, struct ksm_group *group)
{
	struct ksm_group *old;
	long foreign;
	int i;

	lockdep_assert_held(&ksm_lock);
	spin_lock(&slot->lock);
	old = slot->group;
	if (old != group) {
		for (i = 0; i < NR_KSM_GAUGES; i++) {
			atomic_long_sub(slot->gauge[i], &old->gauge[i]);
			atomic_long_add(slot->gauge[i], &group->gauge[i]);
		}
		slot->group = group;
		if (slot->gauge[KSM_G_MERGING])
			slot->moves++;
		ksm_group_charge(old);
		ksm_group_charge(group);
	}
	if (slot->domain != group->domain && slot->merged_ever)
		slot->crossed = true;
	slot->domain = group->domain;
	foreign = ksm_slot_nr_foreign(slot);
	ksm_slot_set(slot, KSM_G_FOREIGN, foreign);
	spin_unlock(&slot->lock);
	return foreign;
}
