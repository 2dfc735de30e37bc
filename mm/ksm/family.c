// SPDX-License-Identifier: GPL-2.0
/*
 * Families: merged mappings that fork would share anyway.
 *
 * Without merging, relatives by fork share a page until one of them writes to
 * it. So one of the mappings that replaced this page is a gain. The others are
 * related, and counted in KSM_G_RELATED.
 *
 * Two events tell for certain. When a page is merged, its mapping is related if
 * the page has other mappings. If not, the mapping stands for the page from now
 * on and is its block's own, even if relatives have a page of equal content at
 * the same place, as they wrote it separately. When fork copies a merged
 * mapping, the child's is related.
 *
 * When the mapping that stands for a page goes, nothing tells which one takes
 * its place. So each pass over a slot counts again. A mapping that is not its
 * block's own is related if a relative maps the same content at the same place,
 * and either owns that mapping or is older. It is also related if a relative
 * that does not merge it still has the page. An exiting relative does not count.
 *
 * The places are looked up in the anon_vma tree, whose lock is only tried. As
 * many mappings as could not be checked, or were not visited, the pass leaves as
 * they were counted before. Memory that was never forked costs nothing.
 */
#include <linux/bitops.h>
#include <linux/pagewalk.h>

#include "../internal.h"
#include "scan.h"

/* Work to find relatives for a window, in VMAs looked at. */
#define KSM_WIN_WORK	256
/* Additional work for each page table of a relative. */
#define KSM_WIN_TABLE	3

/**
 * struct ksm_window - the merged mappings of a window, on the stack
 * @scan: the scan
 * @vma: the window's VMA
 * @block: its block or NULL
 * @addr: the window's first address
 * @nr: pages in the window
 * @what: what each page maps, only to be compared: the zero page, a content, or
 *	a frame that is the last of its content
 * @merged: pages with a @what
 * @zero: of these, those that map the zero page
 * @want: of these, those to find a relative for
 * @left: work that may still be done, may become negative
 *
 * @merged, @zero and @want are bit masks of pages, the window's first one in
 * bit 0.
 */
struct ksm_window {
	struct ksm_scan *scan;
	struct vm_area_struct *vma;
	struct ksm_block *block;
	unsigned long addr;
	unsigned int nr;
	const void *what[KSM_BLOCK_PAGES];
	u64 merged;
	u64 zero;
	u64 want;
	int left;
};

static unsigned int ksm_block_place(unsigned long addr)
{
	return (addr & ~KSM_BLOCK_MASK) >> PAGE_SHIFT;
}

/* The bits from @first to before @end, @first < @end. */
static u64 ksm_win_bits(unsigned int first, unsigned int end)
{
	return GENMASK_ULL(end - 1, first);
}

/**
 * ksm_family_merged - a page was merged
 * @kp: the page
 * @related: it still has other mappings
 *
 * Context: page table lock, the mutex of the domain.
 */
void ksm_family_merged(struct ksm_page *kp, bool related)
{
	struct ksm_slot *slot = kp->vma->vm_mm->ksm;
	struct ksm_block *block = ksm_block_find(slot, kp->addr);
	u64 bit = BIT_ULL(ksm_block_place(kp->addr));

	if (block)
		block->own &= ~bit;
	if (related) {
		ksm_books_relate(slot);
		/* the pass has been here already */
		if (kp->addr < slot->pass.counted)
			slot->pass.related++;
	} else if (block && !ksm_vma_is_single(kp->vma)) {
		block->own |= bit;
	}
}

/* ------------------------------------------------------------- the window */

/* What an entry maps that was merged in this domain; NULL if nothing. */
static const void *ksm_win_what(struct ksm_domain *domain,
				struct vm_area_struct *vma, unsigned long addr,
				pte_t pte)
{
	struct ksm_frame *frame;
	struct page *page;

	page = vm_normal_page(vma, addr, pte);
	if (!page)
		return is_ksm_zero_pte(pte) ? ZERO_PAGE(0) : NULL;
	frame = ksm_folio_frame(page_folio(page));
	if (!frame || frame->domain != domain)
		return NULL;
	/* relatives may have different frames of one content */
	return frame->content ?: (const void *)frame;
}

/*
 * Gather the merged mappings. Returns the pages that are merged, or in swap.
 * The states that the visit left save reading the struct page of the others.
 */
static u64 ksm_win_gather(struct ksm_window *win, pmd_t *pmd)
{
	const u8 *state = win->block ? win->block->state +
				       ksm_block_place(win->addr) : NULL;
	spinlock_t *ptl;	/* of the page table */
	pte_t *start, pte;
	unsigned int i;
	u64 away = 0;

	start = ksm_pte_map_lock(win->vma, pmd, win->addr, &ptl);
	if (!start)
		return 0;
	for (i = 0; i < win->nr; i++) {
		pte = ptep_get(start + i);
		if (!pte_present(pte)) {
			if (!pte_none(pte))
				away |= BIT_ULL(i);
			continue;
		}
		if (!is_ksm_zero_pte(pte) &&
		    !(state && state[i] == KSM_S_MERGED))
			continue;
		win->what[i] = ksm_win_what(win->scan->domain, win->vma,
					    win->addr + i * PAGE_SIZE, pte);
		if (win->what[i])
			win->merged |= BIT_ULL(i);
		if (win->what[i] == ZERO_PAGE(0))
			win->zero |= BIT_ULL(i);
	}
	pte_unmap_unlock(start, ptl);
	win->scan->work += DIV_ROUND_UP(win->nr, KSM_WALK_ENTRIES) +
			   hweight64(win->merged);
	return win->merged | away;
}

/* -------------------------------------------------------------- relatives */

/* Mappings from @addr on, in one or two blocks, that are their block's own. */
static u64 ksm_win_own(struct ksm_window *win, struct ksm_slot *slot,
		       unsigned long addr)
{
	unsigned int shift = ksm_block_place(addr);
	struct ksm_block *block;
	u64 own;

	if (READ_ONCE(slot->track.domain) != win->scan->domain)
		return 0;
	block = ksm_block_find(slot, addr);
	own = block ? block->own >> shift : 0;
	if (!shift)
		return own;
	block = ksm_block_find(slot, addr + KSM_BLOCK_SIZE);
	return block ? own | block->own << (KSM_BLOCK_PAGES - shift) : own;
}

/* The pages of the window that this memory of a relative does not merge. */
static u64 ksm_win_unmerged(struct ksm_window *win, struct vm_area_struct *vma,
			    struct ksm_slot *slot)
{
	unsigned int policy;

	if (!slot || READ_ONCE(slot->queue.state) != KSM_SLOT_ACTIVE)
		return U64_MAX;
	policy = ksm_slot_policy(slot);
	if (!ksm_vma_eligible(policy, vma))
		return U64_MAX;
	return policy & KSM_T_ANON ? 0 : ~win->zero;
}

/* Is this an anonymous page that fork shared and nothing wrote since? */
static bool ksm_win_kept(struct vm_area_struct *vma, unsigned long addr,
			 pte_t pte)
{
	struct page *page = vm_normal_page(vma, addr, pte);

	return page && folio_test_anon(page_folio(page)) &&
	       !folio_test_ksm(page_folio(page)) && !PageAnonExclusive(page);
}

/*
 * Compare with one page table of a relative, which has page @i of the window at
 * @addr: the pages of @same and @kept from @i to before @end. Returns those of
 * @same that have the same content there, and those of @kept that are kept.
 */
static u64 ksm_win_table(struct ksm_window *win, struct vm_area_struct *vma,
			 unsigned long addr, unsigned int i, unsigned int end,
			 u64 same, u64 kept)
{
	spinlock_t *ptl;	/* of the page table */
	pte_t *start, *ptep, pte;
	u64 found = 0;
	pmd_t *pmd;

	pmd = mm_find_pmd(vma->vm_mm, addr);
	start = ksm_pte_map_lock(vma, pmd, addr, &ptl);
	if (!start)
		return 0;
	win->left -= KSM_WIN_TABLE;
	win->scan->work += DIV_ROUND_UP(end - i, KSM_WALK_ENTRIES);
	for (ptep = start; i < end; i++, ptep++, addr += PAGE_SIZE) {
		pte = ptep_get(ptep);
		if (!((same | kept) & BIT_ULL(i)) || !pte_present(pte))
			continue;
		if ((same & BIT_ULL(i) &&
		     ksm_win_what(win->scan->domain, vma, addr, pte) ==
		     win->what[i]) ||
		    (kept & BIT_ULL(i) && ksm_win_kept(vma, addr, pte)))
			found |= BIT_ULL(i);
	}
	pte_unmap_unlock(start, ptl);
	return found;
}

/* Clear the pages of @win->want that are related to this relative's. */
static void ksm_win_check(struct ksm_window *win, struct vm_area_struct *vma)
{
	/* pairs with ksm_slot_attach(); valid while the VMA is in the tree */
	struct ksm_slot *slot = smp_load_acquire(&vma->vm_mm->ksm);
	pgoff_t pgoff = linear_page_index(win->vma, win->addr);
	unsigned long base = vma->vm_start +
			     ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
	unsigned int i = vma->vm_pgoff > pgoff ? vma->vm_pgoff - pgoff : 0;
	unsigned int end = min_t(pgoff_t, win->nr,
				 vma->vm_pgoff + vma_pages(vma) - pgoff);
	u64 same = win->want & ksm_win_bits(i, end), kept;
	unsigned int next;
	unsigned long at;

	/* what an exiting relative still maps, it loses soon */
	if (slot && READ_ONCE(slot->queue.state) == KSM_SLOT_DEAD)
		return;
	kept = same & ksm_win_unmerged(win, vma, slot);
	if (!slot)
		same = 0;
	else if (slot->seq > win->scan->slot->seq)
		same &= ksm_win_own(win, slot, base);
	for (; (same | kept) && i < end; i = next) {
		at = base + i * PAGE_SIZE;
		next = i + ((pmd_addr_end(at, base + end * PAGE_SIZE) - at) >>
			    PAGE_SHIFT);
		win->want &= ~ksm_win_table(win, vma, at, i, next, same, kept);
	}
}

/* Check the relatives; the anon_vma is locked. */
static void ksm_win_walk(struct ksm_window *win)
{
	pgoff_t first = linear_page_index(win->vma, win->addr);
	struct anon_vma *root = win->vma->anon_vma->root;
	struct anon_vma_chain *avc;

	anon_vma_interval_tree_foreach(avc, &root->rb_root, first,
				       first + win->nr - 1) {
		if (!win->want)
			return;
		if (win->left <= 0) {
			win->scan->slot->pass.unsure += hweight64(win->want);
			return;
		}
		win->left--;
		win->scan->work++;
		if (avc->vma->vm_mm != win->vma->vm_mm)
			ksm_win_check(win, avc->vma);
	}
}

/* Is anything merged in this process? */
static bool ksm_win_any(struct ksm_slot *slot)
{
	return READ_ONCE(slot->books.gauge[KSM_G_MERGING]) ||
	       READ_ONCE(slot->books.gauge[KSM_G_ZERO]);
}

/* Count the mappings of @win->want. */
static void ksm_win_count(struct ksm_window *win)
{
	struct ksm_pass *pass = &win->scan->slot->pass;
	unsigned int nr = hweight64(win->want);

	if (!nr)
		return;
	if (!anon_vma_trylock_read(win->vma->anon_vma)) {
		pass->unsure += nr;
		return;
	}
	ksm_win_walk(win);
	anon_vma_unlock_read(win->vma->anon_vma);
	pass->related += nr - hweight64(win->want);
}

/**
 * ksm_family_unsure - mappings that may be merged were not looked at
 * @scan: the scan
 * @vma: their VMA
 * @nr: how many there are at most
 *
 * A pass keeps the earlier count as far as these allow.
 *
 * Context: domain->mutex, mmap_lock; does not sleep.
 */
void ksm_family_unsure(struct ksm_scan *scan, struct vm_area_struct *vma,
		       unsigned long nr)
{
	if (nr && scan->limit.count_related && vma->anon_vma &&
	    !ksm_vma_is_single(vma) && ksm_win_any(scan->slot))
		scan->slot->pass.unsure += nr;
}

/**
 * ksm_family_count - count the related mappings of a window
 * @scan: the scan, of a pass
 * @vma: the window's VMA
 * @pmd: the window's page table
 * @addr: its first address, in one block with its last
 * @end: the address after its last
 *
 * Context: domain->mutex, mmap_lock; does not sleep.
 */
void ksm_family_count(struct ksm_scan *scan, struct vm_area_struct *vma,
		      pmd_t *pmd, unsigned long addr, unsigned long end)
{
	struct ksm_slot *slot = scan->slot;
	struct ksm_block *block = ksm_block_find(slot, addr);
	unsigned int place = ksm_block_place(addr);
	struct ksm_window win = {
		.scan = scan,
		.vma = vma,
		.block = block,
		.addr = addr,
		.nr = (end - addr) >> PAGE_SHIFT,
		.left = KSM_WIN_WORK,
	};
	u64 keep = 0;

	slot->pass.counted = end;
	if (!ksm_vma_is_single(vma) && ksm_win_any(slot))
		keep = ksm_win_gather(&win, pmd);
	if (ksm_scan_zeroes(scan))
		ksm_family_unsure(scan, vma, win.nr);
	else
		ksm_family_unsure(scan, vma, hweight64(scan->cursor.unread));
	if (block)
		block->own &= ~(ksm_win_bits(0, win.nr) << place) |
			      keep << place;
	win.want = win.merged & ~(block ? block->own >> place : 0);
	ksm_win_count(&win);
}
