// SPDX-License-Identifier: GPL-2.0
/*
 * One process's eligible pages in address order, at a bounded cost.
 *
 * Pages are visited in groups of 64 under the page table lock: entries are
 * gathered and their struct pages prefetched, then the sampled lines, then the
 * index's buckets, so that cache misses overlap; that is what makes looking at
 * a page cheap. No reference is taken: a page that is mapped stays while the
 * lock is held. Pages whose look meets another are looked at closer after the
 * lock is dropped, one by one.
 *
 * A page is entered in the index when it was seen unchanged twice; with a
 * merged frame of its content it is merged at first sight.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "ksm.h"

/* Frames of one content that are tried before a new one is made. */
#define KSM_TRY_FRAMES	3

/* Of a page that is to be read whole, how much is asked for before its turn. */
#define KSM_AHEAD_LINES	8

/* Memory with properties that its frames have, not its entries alone. */
#if defined(VM_SAO)
#define KSM_VM_SPECIAL	VM_SAO
#elif defined(VM_SPARC_ADI)
#define KSM_VM_SPECIAL	VM_SPARC_ADI
#else
#define KSM_VM_SPECIAL	VM_NONE
#endif

/* Pages that a brief scan gathers at a time, so that it soon comes to an end. */
#define KSM_BRIEF_PAGES	8UL

/**
 * struct ksm_visit - up to 64 neighbouring pages while the lock is held
 * @base: address of the first page of the block
 * @block: what is known of it, or NULL
 * @page: pages to look at, by place in the block; NULL: nothing to look at
 * @dirty: bit mask: the entry is dirty
 * @zero: bit mask: the first look is that of zeroes, which are to be merged
 * @blind: entries do not show every write
 * @gone: bit mask: whatever was known no longer holds
 * @closer: bit mask: to be looked at closer
 * @flush: entries were cleaned
 * @look: first looks
 */
struct ksm_visit {
	unsigned long base;
	struct ksm_block *block;
	struct page *page[KSM_BLOCK_PAGES];
	u64 dirty;
	u64 zero;
	u64 gone;
	u64 closer;
	bool blind;
	bool flush;
	u32 look[KSM_BLOCK_PAGES];
};

/**
 * ksm_slot_policy - what of a process takes part now
 * @slot: the process
 *
 * Return: bits KSM_P_*, 0 for nothing.
 */
unsigned int ksm_slot_policy(struct ksm_mm *slot)
{
	struct mm_struct *mm = slot->mm;
	unsigned int policy = 0;

	spin_lock(&slot->lock);
	if (READ_ONCE(slot->group->effective) != KSM_NEVER) {
		policy = KSM_P_ASKED;
		if (test_bit(MMF_VM_MERGE_ANY, &mm->flags))
			policy |= KSM_P_ANY;
		if (ksm_mm_forced(mm, slot->group))
			policy |= KSM_P_FORCED;
	}
	spin_unlock(&slot->lock);
	return policy;
}

/**
 * ksm_vma_able - can pages of this VMA be merged at all?
 * @vma: the VMA
 */
bool ksm_vma_able(struct vm_area_struct *vma)
{
	const unsigned long never = VM_SHARED | VM_MAYSHARE | VM_PFNMAP | VM_IO |
				    VM_DONTEXPAND | VM_HUGETLB | VM_MIXEDMAP |
				    VM_DROPPABLE | KSM_VM_SPECIAL;

	/* exec moves the pages of its stack without a word to us */
	return !(vma->vm_flags & never) && !vma_is_dax(vma) &&
	       !vma_is_temporary_stack(vma);
}

/**
 * ksm_vma_eligible - does this VMA take part?
 * @policy: of its process, see ksm_slot_policy()
 * @vma: the VMA
 *
 * Where the owner asked, everything does that can; where only the cgroup says
 * so, not what the owner marked as secret.
 *
 * Context: mmap_lock.
 */
bool ksm_vma_eligible(unsigned int policy, struct vm_area_struct *vma)
{
	if (!policy || vma->vm_flags & VM_NOMERGE || !ksm_vma_able(vma))
		return false;
	if (vma->vm_flags & VM_MERGEABLE || policy & KSM_P_ANY)
		return true;
	return policy & KSM_P_FORCED &&
	       !(vma->vm_flags & (VM_DONTDUMP | VM_WIPEONFORK));
}

static u32 ksm_look_key(u32 look, struct page *page)
{
	if (READ_ONCE(ksm_knobs.merge_across_nodes))
		return look;
	return ksm_digest_nid(look, page_to_nid(page));
}

static u64 ksm_whole_key(u64 whole, struct page *page)
{
	if (READ_ONCE(ksm_knobs.merge_across_nodes))
		return whole;
	return ksm_digest_nid(whole, page_to_nid(page));
}

/* A page's look is new, and so is what others with that look have to do with it. */
static void ksm_look_anew(struct ksm_block *block, unsigned int i, u32 look)
{
	block->look[i] = look;
	block->age[i] = 0;
	block->met &= ~BIT_ULL(i);
	block->written &= ~BIT_ULL(i);
}

/* ------------------------------------------------------------ closer look */

/* A merged frame is mapped here already, by fork or from swap: note the way. */
static void ksm_meet_merged(struct ksm_scan *scan, struct vm_area_struct *vma,
			    struct ksm_block *block, unsigned int i)
{
	struct ksm_page kp = { .vma = vma, .addr = block->base + i * PAGE_SIZE };
	struct folio_walk fw;
	struct ksm_node *node = NULL;
	struct folio *folio;

	folio = folio_walk_start(&fw, vma, kp.addr, 0);
	if (!folio)
		return;
	node = ksm_folio_node(folio);
	if (node)
		folio_get(folio);
	folio_walk_end(&fw, vma);
	if (!node)
		return;
	/* the domain's mutex keeps the node, even if it is unmapped meanwhile */
	if (node->domain == scan->domain) {
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
		if (!ksm_rec_add(scan, scan->slot, &kp, node))
			ksm_page_set(scan, block, i, KSM_S_MERGED);
	}
	folio_put(folio);
}

/* Put frames that can take more mappings first again. */
static void ksm_content_sort(struct ksm_content *content)
{
	unsigned int max = READ_ONCE(ksm_knobs.max_page_sharing);
	struct ksm_node *node, *next;

	if (time_before(jiffies, content->sorted +
			msecs_to_jiffies(READ_ONCE(ksm_knobs.prune_ms))))
		return;
	content->sorted = jiffies;
	list_for_each_entry_safe(node, next, &content->nodes, content_link) {
		if (atomic_read(&node->mapped) < max)
			list_move(&node->content_link, &content->nodes);
	}
}

/* Merge with a frame of this content, if there is one. */
static int ksm_try_content(struct ksm_scan *scan, struct ksm_page *kp, u32 look,
			   u64 whole)
{
	struct ksm_content *content;
	struct ksm_node *node;
	int tries, err = -ENOENT;

	for (tries = 0; tries < KSM_TRY_FRAMES; tries++) {
		content = ksm_content_find(scan->domain, look, whole);
		if (!content)
			return -ENOENT;
		node = list_first_entry(&content->nodes, struct ksm_node,
					content_link);
		scan->work += 2 * KSM_PAGE_LINES;
		err = ksm_merge_into(scan, scan->slot, kp, node);
		if (err == -ENOENT) {
			ksm_content_del(node);
		} else if (err == -EMLINK) {
			list_move_tail(&node->content_link, &content->nodes);
			ksm_content_sort(content);
		} else {
			break;
		}
	}
	return err;
}

/* Merged; without memory for the way back it is met again at the next visit. */
static enum ksm_state ksm_merged_state(struct ksm_mm *slot, unsigned long addr)
{
	return xa_load(&slot->recs, addr >> PAGE_SHIFT) ? KSM_S_MERGED :
							  KSM_S_VOLATILE;
}

/*
 * Two equal pages of one huge page: each is held, and a split allows for one
 * holder, so it is split before the other is.
 */
static bool ksm_twin_get(struct ksm_page *twin, struct ksm_page *kp,
			 struct vm_area_struct *vma, unsigned long addr)
{
	if (!ksm_page_get(twin, vma, addr))
		return false;
	if (twin->folio != kp->folio || twin->page == kp->page)
		return true;
	ksm_page_put(twin);
	if (!ksm_page_split(kp))
		return false;
	return ksm_page_get(twin, vma, addr);
}

/* Does the candidate still hold what the page holds? */
static bool ksm_twins(struct ksm_scan *scan, struct ksm_page *a,
		      struct ksm_page *b)
{
	scan->work += 2 * KSM_PAGE_LINES;
	if (a->page == b->page)
		return false;
	if (!READ_ONCE(ksm_knobs.merge_across_nodes) &&
	    page_to_nid(a->page) != page_to_nid(b->page))
		return false;
	return pages_identical(a->page, b->page);
}

/* Is a candidate that differs still what it was when it came into the index? */
static bool ksm_collides(struct ksm_scan *scan, struct ksm_block *block,
			 unsigned int i, struct ksm_page *kp)
{
	void *bytes = kmap_local_page(kp->page);
	u64 whole = ksm_digest_whole(&scan->domain->secret, bytes);

	kunmap_local(bytes);
	scan->work += KSM_PAGE_LINES;
	return block->whole[i] == ksm_digest_fold(ksm_whole_key(whole, kp->page));
}

/*
 * Merge with a candidate. The mmap_lock of its process is held; that process
 * may be the scan's own.
 */
static int ksm_pair(struct ksm_scan *scan, struct ksm_page *kp,
		    struct ksm_block *other, unsigned int j, u32 look, u64 whole)
{
	unsigned long addr = other->base + j * PAGE_SIZE;
	struct vm_area_struct *vma = vma_lookup(other->slot->mm, addr);
	struct ksm_page twin;
	struct ksm_node *node;
	int err = -ENOENT;

	/* its process may be leaving the domain: its bytes are no business here */
	if (READ_ONCE(other->slot->domain) != scan->domain ||
	    !vma || !vma->anon_vma ||
	    !ksm_vma_eligible(ksm_slot_policy(other->slot), vma) ||
	    !ksm_twin_get(&twin, kp, vma, addr)) {
		ksm_page_forget(scan, other, j);
		return -ENOENT;
	}
	if (ksm_page_sleeps(scan, &twin)) {
		err = -EAGAIN;
		goto put;
	}
	if (!ksm_twins(scan, kp, &twin)) {
		/*
		 * By its whole fingerprint it would be equal, had it not changed
		 * or did the two not collide. Of those, chance says who stays: in
		 * turn, there would be twins that never meet.
		 */
		if (other->state[j] == KSM_S_WHOLE &&
		    (!ksm_collides(scan, other, j, &twin) ||
		     get_random_u32_below(2)))
			ksm_page_set(scan, other, j, KSM_S_VOLATILE);
		/*
		 * It may be what yet another one with its look is, or become so
		 * when it is written to.
		 */
		if (!(other->met & BIT_ULL(j)))
			other->age[j] = min(other->age[j], KSM_BACKOFF_SURE);
		other->met |= BIT_ULL(j);
		goto put;
	}
	node = ksm_merge_fresh(scan, scan->slot, kp, look, whole);
	if (IS_ERR(node)) {
		err = PTR_ERR(node);
		goto put;
	}
	err = 0;
	scan->fresh++;
	scan->work += 2 * KSM_PAGE_LINES;
	if (!ksm_merge_into(scan, other->slot, &twin, node)) {
		ksm_page_set(scan, other, j, ksm_merged_state(other->slot, addr));
		if (other->slot == scan->slot)
			scan->event[KSM_E_MERGED]++;
		else
			ksm_slot_event(other->slot, KSM_E_MERGED, 1);
	} else {
		/* not to be passed over: it has a frame to be merged with */
		other->age[j] = min(other->age[j], KSM_BACKOFF_SURE);
	}
put:
	ksm_page_put(&twin);
	return err;
}

/* Merge with a page that waits for a twin, if there is one. */
static int ksm_try_pair(struct ksm_scan *scan, struct ksm_page *kp, u32 self,
			u32 look, u64 whole)
{
	struct ksm_block *other;
	struct mm_struct *mm;
	int err;
	u32 loc;

	loc = ksm_index_find(scan->domain, ksm_digest_fold(whole), true);
	if (!loc || loc == self)
		loc = ksm_index_find(scan->domain, look, false);
	if (!loc || loc == self)
		return -ENOENT;
	other = xa_load(&scan->domain->blocks, loc / KSM_BLOCK_PAGES);
	if (other->slot == scan->slot)
		return ksm_pair(scan, kp, other, loc % KSM_BLOCK_PAGES, look,
				whole);

	/* tracked here, so the slot is there, and it holds its mm's memory */
	mm = other->slot->mm;
	if (!mmap_read_trylock(mm))
		return -EAGAIN;
	err = -ENOENT;
	if (atomic_read(&mm->mm_users))
		err = ksm_pair(scan, kp, other, loc % KSM_BLOCK_PAGES, look,
			       whole);
	mmap_read_unlock(mm);
	return err;
}

/* Work merged a page, and the look before it, unless that was booked then. */
static void ksm_gain_merged(struct ksm_scan *scan, struct ksm_block *block,
			    unsigned int i, unsigned long work)
{
	scan->event[KSM_E_MERGED]++;
	scan->gain += work + (block->age[i] ? KSM_LOOK_LINES : 0);
}

/* Work made a page known; once, as one that changes is made known for ever. */
static void ksm_gain_known(struct ksm_scan *scan, struct ksm_block *block,
			   unsigned int i, unsigned long work)
{
	if ((block->state[i] != KSM_S_WATCHED && block->state[i] != KSM_S_WHOLE) ||
	    block->known & BIT_ULL(i))
		return;
	block->known |= BIT_ULL(i);
	scan->gain += work;
}

/* Nothing to merge with: wait for a twin, if the page holds still. */
static void ksm_watch(struct ksm_scan *scan, struct ksm_block *block,
		      unsigned int i, u64 whole)
{
	u32 fold = ksm_digest_fold(whole);

	if (block->state[i] == KSM_S_WATCHED || !block->age[i])
		return;
	if (block->state[i] == KSM_S_WHOLE) {
		if (block->whole[i] == fold)
			return;
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
	}
	if (!ksm_index_find(scan->domain, block->look[i], false)) {
		ksm_page_set(scan, block, i, KSM_S_WATCHED);
	} else if (ksm_index_find(scan->domain, fold, true)) {
		/* one that collides with it stayed */
		block->met |= BIT_ULL(i);
	} else if (!ksm_block_whole(scan, block)) {
		block->whole[i] = fold;
		ksm_page_set(scan, block, i, KSM_S_WHOLE);
	} else {
		block->age[i] = min(block->age[i], KSM_BACKOFF_SURE);
	}
}

/* Its first look met another: read the page whole and act on it. */
static void ksm_look_closer(struct ksm_scan *scan, struct vm_area_struct *vma,
			    struct ksm_block *block, unsigned int i)
{
	const struct ksm_secret *secret = &scan->domain->secret;
	bool zero = false;
	unsigned long before = scan->work;
	struct ksm_page kp;
	int err = -ENOENT;
	u64 whole;
	void *bytes;
	u32 look;

	/* merged with its neighbour just now, or to be forgotten first */
	if (scan->brief && block->state[i] == KSM_S_MERGED)
		return;
	if (!ksm_page_get(&kp, vma, block->base + i * PAGE_SIZE)) {
		if (!scan->brief)
			ksm_meet_merged(scan, vma, block, i);
		if (block->state[i] != KSM_S_MERGED)
			block->age[i] = min(block->age[i], KSM_BACKOFF_SURE);
		return;
	}
	if (ksm_page_sleeps(scan, &kp)) {
		/* ksmd is to look at it, which passes over what was just seen */
		block->age[i] = min(block->age[i], KSM_BACKOFF_SURE);
		goto put;
	}
	bytes = kmap_local_page(kp.page);
	look = ksm_digest_look(secret, bytes);
	if (look == scan->domain->zero_look)
		zero = !memchr_inv(bytes, 0, PAGE_SIZE);
	whole = ksm_whole_key(ksm_digest_whole(secret, bytes), kp.page);
	kunmap_local(bytes);
	scan->work += KSM_PAGE_LINES;

	look = ksm_look_key(look, kp.page);
	if (look != block->look[i]) {
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
		ksm_look_anew(block, i, look);
		goto put;
	}
	if (zero && block->age[i] && READ_ONCE(ksm_knobs.use_zero_pages) &&
	    !mm_forbids_zeropage(vma->vm_mm)) {
		err = ksm_merge_zero(scan, &kp);
		if (!err) {
			ksm_gain_merged(scan, block, i, scan->work - before);
			ksm_page_forget(scan, block, i);
			goto put;
		}
		/* written to since, it is no twin of any page of zeroes either */
		if (err == -EUCLEAN)
			err = -EAGAIN;
	}
	if (err == -ENOENT)
		err = ksm_try_content(scan, &kp, look, whole);
	/* a new frame only for what held still, or for one copy too many */
	if ((err == -ENOENT || err == -EMLINK) && block->age[i])
		err = ksm_try_pair(scan, &kp, ksm_loc(block, i), look, whole);
	if (!err) {
		ksm_gain_merged(scan, block, i, scan->work - before);
		ksm_page_set(scan, block, i, ksm_merged_state(scan->slot, kp.addr));
		goto put;
	}
	/* what has a twin, but could not be had now, is tried again as it is */
	if (err == -ENOENT || err == -EMLINK) {
		ksm_watch(scan, block, i, whole);
		ksm_gain_known(scan, block, i, scan->work - before);
	} else if (err == -EUCLEAN) {
		/* written to since, or it collides with what is merged */
		if (block->state[i] == KSM_S_WHOLE)
			ksm_page_set(scan, block, i, KSM_S_VOLATILE);
		block->met |= BIT_ULL(i);
	} else {
		/* and not passed over: at its age every visit looks */
		block->age[i] = min(block->age[i], KSM_BACKOFF_SURE);
		scan->event[KSM_E_FAILED]++;
	}
put:
	ksm_page_put(&kp);
}

/* ------------------------------------------------------------- first look */

/* Leave only pages that can be looked at, and fetch the lines to look at. */
static void ksm_visit_sieve(struct ksm_scan *scan, struct ksm_visit *v)
{
	const struct ksm_secret *secret = &scan->domain->secret;
	unsigned int i, l;

	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		struct page *page = v->page[i];
		struct folio *folio;

		if (!page)
			continue;
		folio = page_folio(page);
		if (folio_test_ksm(folio)) {
			if (!v->block || v->block->state[i] != KSM_S_MERGED)
				v->closer |= BIT_ULL(i);
			v->page[i] = NULL;
			continue;
		}
		if (v->block && v->block->state[i] == KSM_S_MERGED)
			v->gone |= BIT_ULL(i);
		/* not ours, or given up with MADV_FREE: its bytes mean nothing */
		if (!folio_test_anon(folio) || folio_is_zone_device(folio) ||
		    is_huge_zero_folio(folio) || PageHWPoison(page) ||
		    (!folio_test_swapbacked(folio) && !folio_test_dirty(folio) &&
		     !(v->dirty & BIT_ULL(i)))) {
			v->page[i] = NULL;
			v->gone |= BIT_ULL(i);
			continue;
		}
		if (IS_ENABLED(CONFIG_HIGHMEM))
			continue;
		for (l = 0; l < KSM_LOOK_LINES; l++)
			prefetch(page_address(page) + secret->line[l] * KSM_LINE);
	}
}

/*
 * Ask for the bucket of the index that is needed: where a page held still for the
 * first time, or does no longer. Of what stays in the index by its first look none
 * is, but who is in it by all its bytes asks for the one that holds its look.
 */
static void ksm_visit_prefetch_bucket(struct ksm_scan *scan,
				      struct ksm_visit *v, unsigned int i)
{
	const struct ksm_block *block = v->block;
	bool same;

	if (!block)
		return;
	same = block->look[i] == v->look[i];
	if ((block->state[i] == KSM_S_WHOLE && same) ||
	    block->state[i] == (same ? KSM_S_VOLATILE : KSM_S_WATCHED))
		ksm_index_prefetch(&scan->domain->index, block->look[i]);
}

static void ksm_visit_look(struct ksm_scan *scan, struct ksm_visit *v)
{
	unsigned int i;

	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		void *bytes;

		if (!v->page[i])
			continue;
		bytes = kmap_local_page(v->page[i]);
		v->look[i] = ksm_digest_look(&scan->domain->secret, bytes);
		kunmap_local(bytes);
		scan->work += KSM_LOOK_LINES;
		scan->event[KSM_E_SCANNED]++;
		if (v->look[i] == scan->domain->zero_look &&
		    READ_ONCE(ksm_knobs.use_zero_pages))
			v->zero |= BIT_ULL(i);
		v->look[i] = ksm_look_key(v->look[i], v->page[i]);
		ksm_visit_prefetch_bucket(scan, v, i);
	}
}

/*
 * A page that is in the index by all its bytes: is the one that holds its look
 * known to differ? That may have gone, and another come that is equal. Where
 * nobody holds the look, the page does from now on.
 */
static bool ksm_look_held(struct ksm_scan *scan, struct ksm_block *block,
			  unsigned int i)
{
	u32 loc = ksm_index_find(scan->domain, block->look[i], false);
	struct ksm_block *holder;

	if (!loc) {
		ksm_page_set(scan, block, i, KSM_S_WATCHED);
		block->met |= BIT_ULL(i);
		/* or there was no memory, and it is to be read to be entered again */
		return block->state[i] == KSM_S_WATCHED;
	}
	holder = xa_load(&scan->domain->blocks, loc / KSM_BLOCK_PAGES);
	return holder->met & BIT_ULL(loc % KSM_BLOCK_PAGES);
}

/*
 * The first look of a page meets another's, or did so before. Is it read whole?
 * If the look is new, and now and then; between, once if it was written to.
 */
static bool ksm_visit_whole(struct ksm_scan *scan, struct ksm_visit *v,
			    unsigned int i, bool same)
{
	struct ksm_block *block = v->block;
	u64 bit = BIT_ULL(i);

	if (!same || ksm_backoff_whole_due(block->age[i]) ||
	    (v->blind && (!READ_ONCE(ksm_knobs.smart_scan) ||
			  ksm_backoff_due(block->age[i])))) {
		block->written &= ~bit;
		return true;
	}
	if (block->state[i] == KSM_S_WHOLE && !ksm_look_held(scan, block, i))
		return true;
	if (block->written & bit ||
	    !((v->dirty & bit && !v->blind) || scan->slot->careful ||
	      READ_ONCE(scan->slot->afresh)))
		return false;
	block->written |= bit;
	return true;
}

/* Compare with what is known. */
static void ksm_visit_judge(struct ksm_scan *scan, struct ksm_visit *v,
			    unsigned int i)
{
	struct ksm_block *block = v->block;
	u32 look = v->look[i];
	bool same = block->look[i] == look;
	bool met;

	switch (block->state[i]) {
	case KSM_S_NONE:
		ksm_look_anew(block, i, look);
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
		same = false;
		scan->gain += KSM_LOOK_LINES;
		break;
	case KSM_S_MERGED:
		/* to be forgotten first, which cannot be done here */
		return;
	default:
		if (!same) {
			if (block->state[i] != KSM_S_VOLATILE)
				ksm_page_set(scan, block, i, KSM_S_VOLATILE);
			ksm_look_anew(block, i, look);
		} else {
			block->age[i] = ksm_backoff_age(block->age[i]);
		}
	}

	met = block->state[i] == KSM_S_WHOLE ||
	      (block->met | v->zero) & BIT_ULL(i) ||
	      ksm_look_known(scan->domain, look);
	if (!met && same && block->state[i] == KSM_S_VOLATILE) {
		met = ksm_index_find(scan->domain, look, false);
		if (!met) {
			ksm_page_set(scan, block, i, KSM_S_WATCHED);
			ksm_gain_known(scan, block, i, KSM_LOOK_LINES);
		}
	}
	if (met && ksm_visit_whole(scan, v, i, same))
		v->closer |= BIT_ULL(i);
}

/* Everything that is done while the page table lock holds the pages. */
static void ksm_visit(struct ksm_scan *scan, struct ksm_visit *v)
{
	unsigned int i;

	ksm_visit_sieve(scan, v);
	ksm_visit_look(scan, v);
	for (i = 0; i < KSM_BLOCK_PAGES; i++) {
		if (!v->page[i] && !(v->closer & BIT_ULL(i)))
			continue;
		if (!v->block)
			v->block = ksm_block_make(scan, v->base);
		if (!v->block) {
			v->closer = 0;
			return;
		}
		if (v->page[i])
			ksm_visit_judge(scan, v, i);
	}
}

/* Is the budget spent, by work that brought nothing? */
static bool ksm_scan_spent(const struct ksm_scan *scan)
{
	return !scan->brief && scan->work - scan->gain >= scan->budget;
}

/* Asks for the page that is read whole after this one, if it is still there. */
static void ksm_visit_prefetch(struct ksm_visit *v)
{
	struct page *page = v->closer ? v->page[__ffs64(v->closer)] : NULL;
	unsigned int l;

	if (!page || IS_ENABLED(CONFIG_HIGHMEM))
		return;
	for (l = 0; l < KSM_AHEAD_LINES; l++)
		prefetch(page_address(page) + l * KSM_LINE);
}

/*
 * Pages are read whole one by one, and that is dear: the slice may end before all
 * were. Then the next one goes on with the others, see ksm_visit_resume().
 */
static unsigned long ksm_visit_closer(struct ksm_scan *scan,
				      struct vm_area_struct *vma,
				      struct ksm_visit *v, unsigned long end)
{
	if (!v->closer)
		return end;
	/* one in any case, or a small budget would never get anywhere */
	do {
		unsigned int i = __ffs64(v->closer);

		v->closer &= v->closer - 1;
		ksm_visit_prefetch(v);
		ksm_look_closer(scan, vma, v->block, i);
	} while (v->closer && !ksm_scan_spent(scan));
	if (!v->closer)
		return end;
	v->block->later = v->closer;
	return v->base + __ffs64(v->closer) * PAGE_SIZE;
}

/*
 * Did the last slice end here, in this pass? Then the pages were looked at, and
 * some are to be read whole that were not.
 */
static bool ksm_visit_resume(struct ksm_scan *scan, struct ksm_visit *v,
			     unsigned long addr, unsigned long end)
{
	unsigned int first = (addr & ~KSM_BLOCK_MASK) >> PAGE_SHIFT;
	unsigned int nr = (end - addr) >> PAGE_SHIFT;
	struct ksm_block *block = v->block;

	if (!block || !block->later || scan->brief)
		return false;
	if (block->pass == scan->slot->pass)
		v->closer = block->later &
			    GENMASK_ULL(first + nr - 1, first);
	block->later = 0;
	return v->closer;
}

/* And afterwards; returns where the visit ends, @end unless the budget does. */
static unsigned long ksm_visit_finish(struct ksm_scan *scan,
				      struct vm_area_struct *vma,
				      struct ksm_visit *v, unsigned long end)
{
	unsigned long bit;

	if (!v->block)
		return end;
	v->block->pass = scan->slot->pass;
	for (; v->gone; v->gone &= v->gone - 1) {
		bit = __ffs64(v->gone);
		if (scan->brief && v->block->state[bit] == KSM_S_MERGED)
			continue;
		ksm_page_forget(scan, v->block, bit);
		/* written to since it was merged: this was the first look */
		if (v->page[bit])
			ksm_visit_judge(scan, v, bit);
	}
	end = ksm_visit_closer(scan, vma, v, end);
	if (!v->block->nr)
		ksm_block_free(scan, v->block);
	return end;
}

/* ------------------------------------------------------------ page tables */

/*
 * Smart scan: is a page in the index whose entry stayed clean passed over? A
 * secondary MMU writes without making an entry dirty.
 */
static bool ksm_pass_over(struct ksm_scan *scan, struct ksm_visit *v,
			  unsigned int i, bool dirty)
{
	struct ksm_block *block = v->block;
	u8 age;

	if (!block || dirty || !READ_ONCE(ksm_knobs.smart_scan) ||
	    (block->state[i] != KSM_S_WATCHED && block->state[i] != KSM_S_WHOLE))
		return false;
	age = ksm_backoff_age(block->age[i]);
	if (ksm_backoff_due(age) || scan->slot->careful ||
	    READ_ONCE(scan->slot->afresh) || mm_has_notifiers(scan->slot->mm))
		return false;
	block->age[i] = age;
	scan->event[KSM_E_SKIPPED]++;
	return true;
}

/* Does anybody ask at the next visit whether a page was written to? */
static bool ksm_writes_matter(const struct ksm_visit *v, unsigned int i)
{
	if (!v->block || v->blind)
		return false;
	if (v->block->state[i] == KSM_S_WHOLE || v->block->met & BIT_ULL(i))
		return true;
	return v->block->state[i] == KSM_S_WATCHED &&
	       READ_ONCE(ksm_knobs.smart_scan);
}

/*
 * Have the next write to a page show in its entry: move the dirty bit from there
 * to the folio. The caller flushes before the page is read.
 */
static void ksm_gather_clean(struct ksm_visit *v, struct vm_area_struct *vma,
			     unsigned long addr, pte_t *ptep, unsigned int i)
{
	struct mm_struct *mm = vma->vm_mm;
	struct folio *folio = page_folio(v->page[i]);
	pte_t pte;

	if (!ksm_writes_matter(v, i) || !folio_test_anon(folio))
		return;
	pte = ptep_get_and_clear(mm, addr, ptep);
	if (pte_dirty(pte))
		folio_mark_dirty(folio);
	set_pte_at(mm, addr, ptep, pte_mkclean(pte));
	v->flush = true;
}

/* One entry: a page to look at, nothing, or something that will come back. */
static void ksm_gather_pte(struct ksm_scan *scan, struct ksm_visit *v,
			   struct vm_area_struct *vma, unsigned long addr,
			   pte_t *ptep)
{
	unsigned int i = (addr & ~KSM_BLOCK_MASK) >> PAGE_SHIFT;
	pte_t pte = ptep_get(ptep);

	if (pte_present(pte)) {
		v->page[i] = vm_normal_page(vma, addr, pte);
		if (v->page[i]) {
			if (ksm_pass_over(scan, v, i, pte_dirty(pte))) {
				v->page[i] = NULL;
				return;
			}
			prefetch(v->page[i]);
			if (pte_dirty(pte)) {
				v->dirty |= BIT_ULL(i);
				ksm_gather_clean(v, vma, addr, ptep, i);
			}
			return;
		}
	} else if (!pte_none(pte) && v->block &&
		   v->block->state[i] == KSM_S_MERGED) {
		/* swapped out or migrating: the way to it is still needed */
		return;
	}
	if (v->block && v->block->state[i] != KSM_S_NONE)
		v->gone |= BIT_ULL(i);
}

static void ksm_gather_ptes(struct ksm_scan *scan, struct ksm_visit *v,
			    struct vm_area_struct *vma, pmd_t *pmd,
			    unsigned long addr, unsigned long end)
{
	spinlock_t *ptl;	/* of the page table */
	unsigned long pos;
	pte_t *start, *ptep;

	start = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	ptep = start;
	if (!start)
		return;
	for (pos = addr; pos < end; pos += PAGE_SIZE, ptep++)
		ksm_gather_pte(scan, v, vma, pos, ptep);
	/* who has the dirty bit in his TLB writes without setting it */
	if (v->flush)
		flush_tlb_range(vma, addr, end);
	ksm_visit(scan, v);
	pte_unmap_unlock(start, ptl);
}

static bool ksm_gather_huge(struct ksm_scan *scan, struct ksm_visit *v,
			    struct vm_area_struct *vma, pmd_t *pmd,
			    unsigned long addr, unsigned long end)
{
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, vma);
	struct page *page;

	if (!ptl)
		return false;
	if (pmd_present(*pmd)) {
		page = pmd_page(*pmd) + ((addr & ~HPAGE_PMD_MASK) >> PAGE_SHIFT);
		if (pmd_dirty(*pmd))
			v->dirty = ~0ULL;
		/* nobody cleans it */
		v->blind = true;
		for (; addr < end; addr += PAGE_SIZE, page++)
			v->page[(addr & ~KSM_BLOCK_MASK) >> PAGE_SHIFT] = page;
		ksm_visit(scan, v);
	}
	spin_unlock(ptl);
	return true;
}

static unsigned long ksm_visit_range(struct ksm_scan *scan,
				     struct vm_area_struct *vma, pmd_t *pmd,
				     unsigned long addr, unsigned long end)
{
	struct ksm_visit v = {
		.base = addr & KSM_BLOCK_MASK,
		.blind = mm_has_notifiers(vma->vm_mm),
	};
	unsigned long skipped = scan->event[KSM_E_SKIPPED];

	scan->work += DIV_ROUND_UP((end - addr) >> PAGE_SHIFT, KSM_WALK_ENTRIES);
	v.block = ksm_block_find(scan->slot, addr);
	if (!ksm_visit_resume(scan, &v, addr, end) &&
	    !ksm_gather_huge(scan, &v, vma, pmd, addr, end))
		ksm_gather_ptes(scan, &v, vma, pmd, addr, end);
	skipped = scan->event[KSM_E_SKIPPED] - skipped;
	scan->work += DIV_ROUND_UP(skipped, KSM_SKIP_PAGES);
	return ksm_visit_finish(scan, vma, &v, end);
}

/**
 * ksm_scan_passed - pages that a scan came by
 * @scan: the scan
 */
unsigned long ksm_scan_passed(const struct ksm_scan *scan)
{
	return scan->event[KSM_E_SCANNED] + scan->event[KSM_E_SKIPPED];
}

/* Time to let others have the process or the CPU, or to stock up on frames? */
static bool ksm_scan_enough(struct ksm_scan *scan)
{
	return scan->work >= scan->budget || need_resched() ||
	       ksm_scan_passed(scan) >= scan->pages ||
	       scan->fresh >= KSM_BLOCK_PAGES ||
	       mmap_lock_is_contended(scan->slot->mm);
}

static int ksm_walk_pmd(pmd_t *pmd, unsigned long addr, unsigned long next,
			struct mm_walk *walk)
{
	struct ksm_scan *scan = walk->private;
	unsigned long end;

	for (; addr < next; addr = end) {
		end = min(next, (addr & KSM_BLOCK_MASK) + KSM_BLOCK_SIZE);
		if (scan->brief)
			end = min(end, addr + PAGE_SIZE *
				  min(KSM_BRIEF_PAGES,
				      scan->pages - ksm_scan_passed(scan)));
		end = ksm_visit_range(scan, walk->vma, pmd, addr, end);
		if (ksm_scan_enough(scan)) {
			scan->cursor = end;
			return 1;
		}
	}
	return 0;
}

static int ksm_walk_hole(unsigned long addr, unsigned long next, int depth,
			 struct mm_walk *walk)
{
	struct ksm_scan *scan = walk->private;

	if (++scan->holes % KSM_WALK_ENTRIES == 0)
		scan->work++;
	if (!ksm_scan_enough(scan))
		return 0;
	scan->cursor = next;
	return 1;
}

static const struct mm_walk_ops ksm_walk_ops = {
	.pmd_entry = ksm_walk_pmd,
	.pte_hole = ksm_walk_hole,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_walk_slot - visit pages from where the last visit stopped
 * @scan: the scan
 *
 * Context: ksm_gate, domain->mutex, mmap_lock for reading.
 * Return: true if the end of the address space, or scan->end, was reached; then
 * the cursor is 0 again.
 */
bool ksm_walk_slot(struct ksm_scan *scan)
{
	unsigned int policy = ksm_slot_policy(scan->slot);
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	vma_iter_init(&vmi, scan->slot->mm, scan->cursor);
	for_each_vma(vmi, vma) {
		unsigned long start = max(scan->cursor, vma->vm_start);

		if (start >= scan->end)
			break;
		scan->work++;
		if (vma->anon_vma && ksm_vma_eligible(policy, vma) &&
		    walk_page_range_vma(vma, start, min(vma->vm_end, scan->end),
					&ksm_walk_ops, scan) > 0)
			return false;
		scan->cursor = vma->vm_end;
		if (ksm_scan_enough(scan))
			return false;
	}
	scan->cursor = 0;
	return true;
}
