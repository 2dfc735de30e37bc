// SPDX-License-Identifier: GPL-2.0
/*
 * Merging: a page table entry that maps a page of its own is made to map a
 * merged frame of the same content, or the zero page.
 *
 * The entry is cleared and flushed before anything is compared: from then on
 * nobody can write to the page through it, and a fault waits for the page
 * table lock. If then somebody else could hold the page, or a byte differs,
 * the old entry goes back. Nothing is decided by a fingerprint.
 */
#include <linux/highmem.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/swap.h>

#include <trace/events/ksm.h>

#include "../internal.h"
#include "ksm.h"

/**
 * ksm_page_get - find the page of a process at an address
 * @kp: filled in
 * @vma: where
 * @addr: the address, in @vma
 *
 * Context: mmap_lock.
 * Return: true if there is an anonymous page, unmerged and in memory; put it
 * with ksm_page_put().
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

void ksm_page_put(struct ksm_page *kp)
{
	folio_put(kp->folio);
}

/**
 * ksm_page_sleeps - would merging a page take what a brief scan may not do?
 * @scan: the scan
 * @kp: the page
 *
 * A large folio is split first, and who has a secondary MMU is notified. That
 * there is one, or none, mmap_lock keeps as it is.
 */
bool ksm_page_sleeps(struct ksm_scan *scan, struct ksm_page *kp)
{
	return scan->brief && (folio_test_large(kp->folio) ||
			       mm_has_notifiers(kp->vma->vm_mm));
}

/* Lock the page's folio for a merge, and split it to that page if it is large. */
static bool ksm_page_lock(struct ksm_page *kp)
{
	if (!folio_trylock(kp->folio))
		return false;
	if (folio_test_large(kp->folio)) {
		if (split_huge_page(kp->page)) {
			folio_unlock(kp->folio);
			return false;
		}
		kp->folio = page_folio(kp->page);
	}
	return true;
}

/**
 * ksm_page_split - split the huge page that a page is in
 * @kp: the page, the only one that the caller holds of it
 *
 * Return: false if that could not be done now.
 */
bool ksm_page_split(struct ksm_page *kp)
{
	if (!ksm_page_lock(kp))
		return false;
	folio_unlock(kp->folio);
	return true;
}

/* The entry that maps @page where @old mapped an equal one; never writable. */
static pte_t ksm_make_pte(struct vm_area_struct *vma, struct page *page,
			  pte_t old)
{
	pte_t pte;

	if (is_zero_pfn(page_to_pfn(page)))
		pte = pte_mkdirty(pte_mkspecial(pfn_pte(page_to_pfn(page),
							vma->vm_page_prot)));
	else
		pte = mk_pte(page, vma->vm_page_prot);
	pte = pte_wrprotect(pte);
	if (!pte_young(old))
		pte = pte_mkold(pte);
	/* who watches writes has seen none */
	if (pte_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

/* Given up with MADV_FREE and not written since. */
static bool ksm_given_up(struct folio *folio, pte_t pte)
{
	return !folio_test_swapbacked(folio) && !pte_dirty(pte) &&
	       !folio_test_dirty(folio);
}

/*
 * With the entry cleared: is the page ours alone, and what we want? The
 * reference count is looked at only now, as get_user_pages_fast() needs no
 * lock to take a reference through an entry that it can see.
 */
static int ksm_check_alone(struct ksm_scan *scan, struct ksm_page *kp, pte_t old)
{
	struct folio *folio = kp->folio;
	int expected = folio_mapcount(folio) + 1 + folio_test_swapcache(folio);

	if (ksm_given_up(folio, old))
		return -ESTALE;
	if (folio_ref_count(folio) == expected)
		return 0;
	/* a CPU's batch, of what is to become active, or anybody else */
	scan->held = true;
	return -EBUSY;
}

static int ksm_take_bytes(struct ksm_page *kp, struct page *to, bool copy)
{
	if (copy)
		return copy_mc_highpage(to, kp->page) ? -EHWPOISON : 0;
	return pages_identical(kp->page, to) ? 0 : -EUCLEAN;
}

/*
 * Make @kp's entry map @to. @kp's folio is locked and small; @to is the zero
 * page or a locked frame; @copy: @to is fresh and gets the content now.
 */
static int ksm_replace(struct ksm_scan *scan, struct ksm_page *kp,
		       struct page *to, bool copy)
{
	struct vm_area_struct *vma = kp->vma;
	struct mm_struct *mm = vma->vm_mm;
	struct mmu_notifier_range range;
	struct folio_walk fw;
	struct folio *folio;
	int err = -EAGAIN;
	pte_t old;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, kp->addr,
				kp->addr + PAGE_SIZE);
	/* in a brief scan there is nobody, see ksm_page_sleeps() */
	if (!scan->brief)
		mmu_notifier_invalidate_range_start(&range);
	folio = folio_walk_start(&fw, vma, kp->addr, 0);
	if (!folio)
		goto out;
	if (folio != kp->folio || fw.level != FW_LEVEL_PTE ||
	    mm_tlb_flush_pending(mm))
		goto end;
	/*
	 * Off the LRU, it is held: if it is fresh, by a CPU's batch that is on its
	 * way there. Who touches many should not have to flush for each of them.
	 */
	if (!folio_test_lru(folio)) {
		scan->drain = true;
		err = -EBUSY;
		goto end;
	}

	flush_cache_page(vma, kp->addr, page_to_pfn(kp->page));
	old = ptep_clear_flush(vma, kp->addr, fw.ptep);
	err = ksm_check_alone(scan, kp, old);
	if (!err)
		err = ksm_take_bytes(kp, to, copy);
	if (copy)
		smp_wmb(); /* bytes before the entry: pairs with any reader's walk */
	if (!err && PageAnonExclusive(kp->page) &&
	    folio_try_share_anon_rmap_pte(folio, kp->page))
		err = -EBUSY;
	if (err) {
		set_pte_at(mm, kp->addr, fw.ptep, old);
		goto end;
	}

	if (is_zero_pfn(page_to_pfn(to))) {
		ksm_map_zero_page(mm);
		dec_mm_counter(mm, MM_ANONPAGES);
	} else {
		folio_get(page_folio(to));
		folio_add_anon_rmap_pte(page_folio(to), to, vma, kp->addr,
					RMAP_NONE);
	}
	set_pte_at(mm, kp->addr, fw.ptep, ksm_make_pte(vma, to, old));

	folio_remove_rmap_pte(folio, kp->page, vma);
	if (!folio_mapped(folio))
		folio_free_swap(folio);
	folio_put(folio);
end:
	folio_walk_end(&fw, vma);
out:
	if (!scan->brief)
		mmu_notifier_invalidate_range_end(&range);
	return err;
}

/**
 * ksm_merge_zero - map the zero page for a page of zeroes
 * @scan: the scan, of the slot that has the page
 * @kp: the page
 *
 * Context: mmap_lock.
 * Return: 0 or an errno that says why not, see ksm_merge_into().
 */
int ksm_merge_zero(struct ksm_scan *scan, struct ksm_page *kp)
{
	int err = -EAGAIN;

	if (ksm_page_lock(kp)) {
		err = ksm_replace(scan, kp, ZERO_PAGE(kp->addr), false);
		folio_unlock(kp->folio);
	}
	trace_ksm_merge_one_page(scan->slot, page_to_pfn(ZERO_PAGE(kp->addr)),
				 NULL, kp->vma->vm_mm, err);
	return err;
}

/**
 * ksm_merge_into - map a merged frame for a page of the same content
 * @scan: the scan
 * @slot: whose page
 * @kp: the page
 * @node: the frame
 *
 * Context: mmap_lock, domain->mutex, ksm_gate.
 * Return: 0, or -ENOENT: the frame is gone or must not be used any more,
 * -EMLINK: it has all the mappings it may have, -EUCLEAN: the contents differ,
 * -EBUSY: somebody holds the page, -EPERM: the slot is leaving the domain,
 * -EAGAIN, -ESTALE, -EHWPOISON.
 */
int ksm_merge_into(struct ksm_scan *scan, struct ksm_mm *slot,
		   struct ksm_page *kp, struct ksm_node *node)
{
	struct folio *frame = ksm_node_folio(node);
	int err = -EAGAIN;

	if (!frame)
		return -ENOENT;
	if (!folio_trylock(frame))
		goto put;
	err = -ENOENT;
	if (ksm_folio_node(frame) != node || folio_test_hwpoison(frame) ||
	    (!READ_ONCE(ksm_knobs.merge_across_nodes) &&
	     folio_nid(frame) != node->nid))
		goto unlock;
	err = -EMLINK;
	if (atomic_read(&node->mapped) >= READ_ONCE(ksm_knobs.max_page_sharing))
		goto unlock;
	err = -EPERM;
	if (!ksm_slot_claim(slot, node->domain))
		goto unlock;
	err = -EAGAIN;
	if (!ksm_page_lock(kp))
		goto unlock;
	if (ksm_recs_hold(scan, slot, kp, node)) {
		err = ksm_replace(scan, kp, folio_page(frame, 0), false);
		if (!err)
			ksm_rec_add(scan, slot, kp, node);
		ksm_recs_release(scan, node);
	}
	folio_unlock(kp->folio);
unlock:
	folio_unlock(frame);
put:
	trace_ksm_merge_with_ksm_page(slot, folio_page(frame, 0),
				      folio_pfn(frame), node, kp->vma->vm_mm,
				      err);
	folio_put(frame);
	return err;
}

/**
 * ksm_merge_fresh - make a merged frame of a page
 * @scan: the scan
 * @slot: whose page
 * @kp: the page
 * @look: first look and
 * @whole: whole fingerprint by which the frame will be found
 *
 * Context: mmap_lock, domain->mutex, ksm_gate.
 * Return: the node of the frame, mapped in place of the page; or an ERR_PTR
 * as from ksm_merge_into(), or -ENOMEM.
 */
struct ksm_node *ksm_merge_fresh(struct ksm_scan *scan, struct ksm_mm *slot,
				 struct ksm_page *kp, u32 look, u64 whole)
{
	struct ksm_domain *domain = scan->domain;
	struct ksm_node *node;
	struct folio *frame;
	int err = -ENOMEM;

	node = ksm_node_alloc(domain);
	if (!node)
		return ERR_PTR(-ENOMEM);
	frame = ksm_pool_get(folio_nid(kp->folio));
	scan->unstocked |= !frame;
	if (!frame)
		goto free;
	__folio_set_locked(frame);
	__folio_set_swapbacked(frame);
	__folio_mark_uptodate(frame);
	/* clean and without a dirty entry, reclaim would take it for lost */
	folio_set_dirty(frame);
	node->pfn = folio_pfn(frame);
	node->nid = folio_nid(frame);
	ksm_folio_set_node(frame, node);

	err = -EPERM;
	if (!ksm_slot_claim(slot, domain))
		goto put;
	err = ksm_content_add(domain, node, look, whole);
	if (err)
		goto put;
	err = -EAGAIN;
	if (!ksm_page_lock(kp))
		goto put;
	if (ksm_recs_hold(scan, slot, kp, node)) {
		err = ksm_payer_first(slot, kp->folio, frame);
		if (!err)
			err = ksm_replace(scan, kp, folio_page(frame, 0), true);
		if (!err)
			ksm_rec_add(scan, slot, kp, node);
		ksm_recs_release(scan, node);
	}
	folio_unlock(kp->folio);
	if (err)
		goto put;

	trace_ksm_merge_one_page(slot, node->pfn, node, slot->mm, 0);
	list_add(&node->link, &domain->nodes);
	folio_add_lru(frame);
	folio_unlock(frame);
	folio_put(frame);
	return node;

put:
	trace_ksm_merge_one_page(slot, node->pfn, node, slot->mm, err);
	frame->mapping = NULL;
	folio_clear_dirty(frame);
	__folio_clear_swapbacked(frame);
	folio_unlock(frame);
	folio_put(frame);
free:
	ksm_node_free(node);
	return ERR_PTR(err);
}
