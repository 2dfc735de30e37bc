// SPDX-License-Identifier: GPL-2.0
/*
 * The books: every gauge is kept in its slot and in the slot's group, and both
 * change together under the slot's books.lock. So a slot that moves takes
 * exactly its part along. The host's figures are sums over the groups: there is
 * no third copy that could disagree.
 *
 * Events stay with the group in which they happened.
 */
#include <linux/math64.h>

#include "ksm.h"

/* Pending slots that map frames of several domains. */
static atomic_t ksm_several_pending = ATOMIC_INIT(0);

/**
 * ksm_slot_mod - change a gauge
 * @slot: the slot
 * @gauge: which
 * @nr: by how much
 *
 * Context: any that allows a spinlock.
 */
void ksm_slot_mod(struct ksm_slot *slot, enum ksm_gauge gauge, long nr)
{
	struct ksm_slot_books *books = &slot->books;

	spin_lock(&books->lock);
	books->gauge[gauge] += nr;
	atomic_long_add(nr, &books->group->books.gauge[gauge]);
	if (gauge == KSM_G_METADATA)
		ksm_group_charge(books->group);
	spin_unlock(&books->lock);
}

/**
 * ksm_slot_event - count an event
 * @slot: the slot whose memory it happened to
 * @event: which
 * @nr: how often
 *
 * Context: any that allows a spinlock.
 */
void ksm_slot_event(struct ksm_slot *slot, enum ksm_event event,
		    unsigned long nr)
{
	spin_lock(&slot->books.lock);
	atomic_long_add(nr, &slot->books.group->books.event[event]);
	spin_unlock(&slot->books.lock);
}

/**
 * ksm_books_add - book what a scan gathered for its slot
 * @slot: the slot
 * @delta: changes of gauges; zeroed
 * @event: events; zeroed
 * @nsec: CPU time that the scan took
 *
 * Time is booked in the unit in which it is shown; otherwise sums would differ
 * from their parts.
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_add(struct ksm_slot *slot, long *delta, unsigned long *event,
		   u64 nsec)
{
	struct ksm_slot_books *books = &slot->books;
	struct ksm_group_books *sums;
	u32 rest;
	int i;

	spin_lock(&books->lock);
	sums = &books->group->books;
	nsec += books->nsec;
	event[KSM_E_SCAN_USEC] = div_u64_rem(nsec, NSEC_PER_USEC, &rest);
	books->nsec = rest;
	for (i = 0; i < NR_KSM_GAUGES; i++) {
		if (!delta[i])
			continue;
		books->gauge[i] += delta[i];
		atomic_long_add(delta[i], &sums->gauge[i]);
		delta[i] = 0;
	}
	for (i = 0; i < NR_KSM_EVENTS; i++) {
		if (!event[i])
			continue;
		atomic_long_add(event[i], &sums->event[i]);
		event[i] = 0;
	}
	ksm_group_charge(books->group);
	spin_unlock(&books->lock);
}

static void ksm_books_set(struct ksm_slot_books *books, enum ksm_gauge gauge,
			  long to)
{
	if (books->gauge[gauge] == to)
		return;
	atomic_long_add(to - books->gauge[gauge],
			&books->group->books.gauge[gauge]);
	books->gauge[gauge] = to;
}

static void ksm_pending_add(struct ksm_domain *domain, int nr)
{
	if (IS_ERR(domain))
		atomic_add(nr, &ksm_several_pending);
	else if (domain)
		atomic_add(nr, &domain->pending);
}

/* Count the slot as pending in another domain, or in none. */
static void ksm_books_pend(struct ksm_slot_books *books,
			   struct ksm_domain *domain)
{
	if (books->pending_in == domain)
		return;
	ksm_pending_add(books->pending_in, -1);
	ksm_pending_add(domain, 1);
	books->pending_in = domain;
}

/*
 * Update the gauges that follow from others; books->lock is held. A slot with
 * foreign mappings is unshared as a whole, as page tables do not tell which
 * ones are foreign. Returns the number of foreign mappings.
 */
static long ksm_books_derive(struct ksm_slot_books *books)
{
	long merging = books->gauge[KSM_G_MERGING];
	long foreign = books->merged_in == books->domain ? 0 : merging;
	/* a zero page that a driver mapped may be unmapped as the engine's */
	long all = merging + max(books->gauge[KSM_G_ZERO], 0L);
	long pending = foreign || books->unwanted ? all : 0;

	ksm_books_set(books, KSM_G_FOREIGN, foreign);
	ksm_books_set(books, KSM_G_PENDING, pending);
	ksm_books_set(books, KSM_G_RELATED, min(books->related, all));
	ksm_books_pend(books, pending ? books->merged_in : NULL);
	return foreign;
}

/**
 * ksm_domain_pending - may pending slots map frames of this domain?
 * @domain: the domain
 *
 * Context: any; the answer may be stale.
 * Return: true if so.
 */
bool ksm_domain_pending(struct ksm_domain *domain)
{
	return atomic_read(&domain->pending) ||
	       atomic_read(&ksm_several_pending);
}

/**
 * ksm_books_pending - is something in this slot still to be unshared?
 * @slot: the slot
 *
 * Context: any; the answer may be stale.
 * Return: true if so.
 */
bool ksm_books_pending(struct ksm_slot *slot)
{
	return READ_ONCE(slot->books.gauge[KSM_G_PENDING]);
}

/**
 * ksm_books_borrowed - is a frame charged to another cgroup than the slot's?
 * @slot: a slot that maps it
 * @folio: the frame
 *
 * Context: page table lock, which keeps the charge from moving.
 * Return: true if so.
 */
bool ksm_books_borrowed(struct ksm_slot *slot, struct folio *folio)
{
	bool borrowed;

	spin_lock(&slot->books.lock);
	borrowed = !ksm_charged_here(slot, folio);
	spin_unlock(&slot->books.lock);
	return borrowed;
}

/**
 * ksm_books_set_unwanted - set whether a slot's merging is to be undone
 * @slot: the slot
 * @unwanted: true if so
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_set_unwanted(struct ksm_slot *slot, bool unwanted)
{
	spin_lock(&slot->books.lock);
	slot->books.unwanted = unwanted;
	ksm_books_derive(&slot->books);
	spin_unlock(&slot->books.lock);
}

/* Set the domain of the slot's merged mappings; books->lock is held. */
static void ksm_books_own(struct ksm_slot_books *books,
			  struct ksm_domain *domain)
{
	struct ksm_domain *old = books->merged_in;

	if (old == domain)
		return;
	if (books->pending_in == old)
		ksm_books_pend(books, NULL);
	if (!IS_ERR_OR_NULL(domain))
		refcount_inc(&domain->ref);
	books->merged_in = domain;
	if (!IS_ERR_OR_NULL(old))
		ksm_domain_put(old);
}

/**
 * ksm_books_claim - may this slot map a frame of a domain?
 * @slot: the slot
 * @domain: the frame's domain
 *
 * Asked before the first mapping is made, when a merge can still be called
 * off. From then on a slot that moves takes the mapping along as a foreign one.
 *
 * Context: any that allows a spinlock.
 * Return: true if it may.
 */
bool ksm_books_claim(struct ksm_slot *slot, struct ksm_domain *domain)
{
	struct ksm_slot_books *books = &slot->books;
	bool may;

	spin_lock(&books->lock);
	may = books->domain == domain;
	if (may && books->merged_in != domain) {
		may = !books->gauge[KSM_G_MERGING];
		if (may)
			ksm_books_own(books, domain);
	}
	spin_unlock(&books->lock);
	return may;
}

/**
 * ksm_books_map - count a mapping of a merged frame
 * @slot: the slot that maps it
 * @domain: the frame's domain
 * @related: fork copied the mapping
 *
 * Context: slot->books.lock.
 * Return: true if the slot is pending now.
 */
bool ksm_books_map(struct ksm_slot *slot, struct ksm_domain *domain,
		   bool related)
{
	struct ksm_slot_books *books = &slot->books;

	lockdep_assert_held(&books->lock);
	if (!books->gauge[KSM_G_MERGING])
		ksm_books_own(books, domain);
	else if (books->merged_in != domain)
		ksm_books_own(books, KSM_SEVERAL_DOMAINS);
	books->related += related;
	ksm_books_set(books, KSM_G_MERGING, books->gauge[KSM_G_MERGING] + 1);
	ksm_books_derive(books);
	return books->gauge[KSM_G_PENDING];
}

/**
 * ksm_books_zero - count mappings of the zero page that merging placed
 * @slot: the slot that maps it
 * @nr: the change of their number
 * @related: of these, mappings that fork copied
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_zero(struct ksm_slot *slot, long nr, long related)
{
	struct ksm_slot_books *books = &slot->books;

	spin_lock(&books->lock);
	books->related += related;
	ksm_books_set(books, KSM_G_ZERO, books->gauge[KSM_G_ZERO] + nr);
	ksm_books_derive(books);
	spin_unlock(&books->lock);
}

/**
 * ksm_books_relate - count a merged page that relatives by fork still have
 * @slot: the slot that had it
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_relate(struct ksm_slot *slot)
{
	spin_lock(&slot->books.lock);
	slot->books.related++;
	ksm_books_derive(&slot->books);
	spin_unlock(&slot->books.lock);
}

/**
 * ksm_books_recount - update the related mappings of a slot after a pass
 * @slot: the slot
 * @related: how many the pass found
 * @unsure: mappings that may be related as well; the earlier number is kept as
 *	far as these allow
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_recount(struct ksm_slot *slot, long related, long unsure)
{
	struct ksm_slot_books *books = &slot->books;

	spin_lock(&books->lock);
	books->related = clamp(books->related, related, related + unsure);
	ksm_books_derive(books);
	spin_unlock(&books->lock);
}

/**
 * ksm_books_unmap - a mapping of a merged frame goes
 * @slot: the slot that has it
 *
 * Context: slot->books.lock.
 */
void ksm_books_unmap(struct ksm_slot *slot)
{
	struct ksm_slot_books *books = &slot->books;

	lockdep_assert_held(&books->lock);
	ksm_books_set(books, KSM_G_MERGING, books->gauge[KSM_G_MERGING] - 1);
	ksm_books_derive(books);
}

/* Lock the nearest online group that answers for frames charged to @group. */
static struct ksm_group *ksm_books_lock_online(struct ksm_group *group)
	__acquires(group->books.lock)
{
	for (;;) {
		spin_lock(&group->books.lock);
		if (!group->offline)
			return group;
		spin_unlock(&group->books.lock);
		group = group->parent;
	}
}

/**
 * ksm_books_shared - a merged frame gets its first mapping, or loses its last
 * @folio: the frame, whose charge keeps its cgroup
 * @nr: 1 or -1
 *
 * Context: page table lock.
 */
void ksm_books_shared(struct folio *folio, long nr)
{
	struct ksm_group *group;

	group = ksm_books_lock_online(ksm_group_pays(folio));
	group->books.shared += nr;
	ksm_group_charge(group);
	spin_unlock(&group->books.lock);
}

/**
 * ksm_books_close - a group goes offline: its parent takes over its books
 * @group: the group, which has no slots left
 *
 * Context: ksm_lock.
 */
void ksm_books_close(struct ksm_group *group)
{
	struct ksm_group_books *books = &group->books;
	struct ksm_group_books *to = &group->parent->books;
	int i;

	lockdep_assert_held(&ksm_lock);
	write_seqcount_begin(&ksm_books_seq);
	spin_lock(&books->lock);
	WRITE_ONCE(group->offline, true);
	spin_lock_nested(&to->lock, SINGLE_DEPTH_NESTING);
	to->shared += books->shared;
	books->shared = 0;
	spin_unlock(&to->lock);
	spin_unlock(&books->lock);
	/* the parent has full scans of its own, see ksm_group_sums() */
	for (i = 0; i < KSM_E_FULL_SCANS; i++)
		atomic_long_add(atomic_long_xchg(&books->event[i], 0),
				&to->event[i]);
	write_seqcount_end(&ksm_books_seq);
}

/**
 * ksm_books_inherit - fork: copy what the child inherits from its parent
 * @child: the child's slot, which is not published yet
 * @parent: the parent's
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_inherit(struct ksm_slot *child, struct ksm_slot *parent)
{
	spin_lock(&parent->books.lock);
	child->books.crossed = parent->books.crossed;
	ksm_books_own(&child->books, parent->books.merged_in);
	spin_unlock(&parent->books.lock);
}

/**
 * ksm_books_release - a slot is about to be freed
 * @slot: the slot, which maps nothing
 *
 * Context: any that allows a spinlock.
 */
void ksm_books_release(struct ksm_slot *slot)
{
	ksm_books_own(&slot->books, NULL);
}

/**
 * ksm_books_move - a slot belongs to another group, or its group to another
 *	domain
 * @slot: the slot
 * @group: the group
 *
 * The gauges go along; mappings that are foreign in the new domain are counted
 * as foreign from now on.
 *
 * Context: ksm_lock.
 * Return: how many mappings are foreign now.
 */
long ksm_books_move(struct ksm_slot *slot, struct ksm_group *group)
{
	struct ksm_slot_books *books = &slot->books;
	struct ksm_group *old;
	long foreign, nr;
	int i;

	lockdep_assert_held(&ksm_lock);
	spin_lock(&books->lock);
	old = books->group;
	if (old != group) {
		write_seqcount_begin(&ksm_books_seq);
		for (i = 0; i < NR_KSM_GAUGES; i++) {
			nr = books->gauge[i];
			atomic_long_sub(nr, &old->books.gauge[i]);
			atomic_long_add(nr, &group->books.gauge[i]);
		}
		write_seqcount_end(&ksm_books_seq);
		books->group = group;
		if (books->gauge[KSM_G_MERGING])
			books->moves++;
		/* in this order, or the total of a common ancestor dips */
		ksm_group_charge(group);
		ksm_group_charge(old);
	}
	if (books->domain != group->effective.domain && books->merged_in)
		books->crossed = true;
	books->domain = group->effective.domain;
	foreign = ksm_books_derive(books);
	spin_unlock(&books->lock);
	return foreign;
}
