// SPDX-License-Identifier: GPL-2.0
/*
 * Finding the twin of one page and merging the two.
 *
 * The page is read whole and its digest looked up: first among the merged
 * contents, then in the index of pages that wait for a twin. A twin from the
 * index may have changed, moved or gone; the comparison finds that out. The
 * outcome decides what is remembered of the page.
 */
#include <linux/highmem.h>
#include <linux/pagewalk.h>
#include <linux/random.h>

#include "scan.h"

/* Frames of one content that are tried before a new one is made. */
#define KSM_TRY_FRAMES	3

/**
 * struct ksm_match - a page for which a twin is sought, on the stack
 * @kp: the page
 * @block: its block
 * @i: its place in the block
 * @sample: its sample
 * @digest: its digest
 * @zero: it holds zeroes, for which the zero page is mapped
 * @work: scan->work when the match began
 */
struct ksm_match {
	struct ksm_page kp;
	struct ksm_block *block;
	unsigned int i;
	u32 sample;
	u64 digest;
	bool zero;
	unsigned long work;
};

/* ------------------------------------------------------------------- gain */

/* Merging is gain, and so is the sample, unless an earlier visit booked it. */
static void ksm_match_merge_gain(struct ksm_scan *scan,
				 const struct ksm_match *m)
{
	scan->event[KSM_E_MERGED]++;
	scan->gain += scan->work - m->work +
		      (m->block->age[m->i] ? KSM_SAMPLE_CACHELINES : 0);
}

/**
 * ksm_match_index_gain - book work that entered a page into the index
 * @scan: the scan
 * @block: the page's block
 * @i: which page
 * @work: the work, in cache lines
 *
 * Counts as gain only once for each page, as a page that keeps changing is
 * entered again and again.
 *
 * Context: the domain's mutex.
 */
void ksm_match_index_gain(struct ksm_scan *scan, struct ksm_block *block,
			  unsigned int i, unsigned long work)
{
	if ((block->state[i] != KSM_S_BY_SAMPLE &&
	     block->state[i] != KSM_S_BY_DIGEST) ||
	    block->credited & BIT_ULL(i))
		return;
	block->credited |= BIT_ULL(i);
	scan->gain += work;
}

/* ------------------------------------------------------- merged contents */

/* Record a merged frame that is mapped here already, by fork or from swap. */
static void ksm_meet_merged(struct ksm_scan *scan, struct vm_area_struct *vma,
			    struct ksm_block *block, unsigned int i)
{
	struct ksm_page kp = {
		.vma = vma,
		.addr = block->base + i * PAGE_SIZE,
	};
	struct ksm_frame *frame;
	struct folio_walk fw;
	struct folio *folio;
	bool recorded;

	/* work, but no gain: fork can make any number of such mappings */
	scan->work += KSM_MEET_CACHELINES;
	folio = folio_walk_start(&fw, vma, kp.addr, 0);
	if (!folio)
		return;
	frame = ksm_folio_frame(folio);
	if (frame)
		folio_get(folio);
	folio_walk_end(&fw, vma);
	if (!frame)
		return;
	/*
	 * The domain's mutex keeps the frame even if it is unmapped now. A
	 * record frees no page, so it needs room. Until there is some, another
	 * record leads here: a relative's, or an orphan.
	 */
	if (frame->domain == scan->domain) {
		recorded = ksm_charge_room(scan->slot) &&
			   ksm_rec_add(scan, scan->slot, &kp, frame);
		if (!recorded)
			ksm_family_unsure(scan, vma, 1);
		ksm_page_set(scan, block, i,
			     recorded ? KSM_S_MERGED : KSM_S_VOLATILE);
	}
	folio_put(folio);
}

/* Merge with a frame of this content, if there is one. */
static enum ksm_outcome ksm_match_content(struct ksm_scan *scan,
					  struct ksm_match *m)
{
	enum ksm_outcome outcome = KSM_NO_TWIN;
	struct ksm_content *content;
	struct ksm_frame *frame;
	int tries;

	for (tries = 0; tries < KSM_TRY_FRAMES; tries++) {
		content = ksm_content_find(scan->domain, m->sample, m->digest);
		if (!content)
			return KSM_NO_TWIN;
		frame = list_first_entry(&content->frames, struct ksm_frame,
					 content_link);
		scan->work += 2 * KSM_PAGE_CACHELINES;
		outcome = ksm_merge_into(scan, scan->slot, &m->kp, frame);
		if (outcome == KSM_FRAME_GONE) {
			ksm_content_del(frame);
		} else if (outcome == KSM_FRAME_FULL) {
			list_move_tail(&frame->content_link, &content->frames);
			scan->work += ksm_content_sort(content);
		} else {
			break;
		}
	}
	return outcome;
}

/* -------------------------------------------------- twins from the index */

/*
 * Get the twin. If it is in the same huge page and the scan may sleep, split
 * that first: a split allows for one extra reference, and both pages will be
 * held.
 */
static bool ksm_twin_get(struct ksm_scan *scan, struct ksm_page *twin,
			 struct ksm_page *kp, struct vm_area_struct *vma,
			 unsigned long addr)
{
	if (!ksm_page_get(twin, vma, addr))
		return false;
	if (twin->folio != kp->folio || twin->page == kp->page ||
	    !scan->limit.may_sleep)
		return true;
	ksm_page_put(twin);
	if (!ksm_page_split(scan, kp))
		return false;
	return ksm_page_get(twin, vma, addr);
}

/* Does the candidate still hold what the page holds? */
static bool ksm_twin_equal(struct ksm_scan *scan, struct ksm_page *a,
			   struct ksm_page *b)
{
	scan->work += 2 * KSM_PAGE_CACHELINES;
	if (a->page == b->page)
		return false;
	if (!READ_ONCE(ksm_knobs.merge_across_nodes) &&
	    page_to_nid(a->page) != page_to_nid(b->page))
		return false;
	return pages_identical(a->page, b->page);
}

/* Has a candidate that differs still the digest that it is indexed by? */
static bool ksm_twin_collides(struct ksm_scan *scan, struct ksm_block *block,
			      unsigned int i, struct ksm_page *kp)
{
	void *bytes = kmap_local_page(kp->page);
	u64 digest = ksm_digest(&scan->domain->secret, bytes);

	kunmap_local(bytes);
	scan->work += KSM_PAGE_CACHELINES;
	return block->digest[i] == ksm_digest_fold(ksm_key(digest, kp->page));
}

/*
 * The candidate @j of @other differs. If it was found by its digest, it has
 * changed, or the two collide. Of two that collide, chance decides which one
 * leaves the index: if they took turns, some twins would never meet.
 */
static void ksm_twin_differs(struct ksm_scan *scan, struct ksm_block *other,
			     unsigned int j, struct ksm_page *twin)
{
	if (other->state[j] == KSM_S_BY_DIGEST &&
	    (!ksm_twin_collides(scan, other, j, twin) ||
	     get_random_u32_below(2)))
		ksm_page_set(scan, other, j, KSM_S_VOLATILE);
	/* another page with its sample may equal it, now or after a write */
	if (!(other->ambiguous & BIT_ULL(j)))
		ksm_page_revisit(other, j);
	other->ambiguous |= BIT_ULL(j);
}

/* Both folios must be split before a frame is made: note them. */
static enum ksm_outcome ksm_twin_needs_split(struct ksm_scan *scan,
					     struct ksm_page *kp,
					     struct ksm_page *twin)
{
	bool same = kp->folio == twin->folio;
	enum ksm_outcome mine = ksm_page_needs_split(scan, kp, 1 + same);
	enum ksm_outcome other = ksm_page_needs_split(scan, twin, 1 + same);

	if (mine != KSM_MERGED && mine != KSM_LARGE)
		return mine;
	if (other != KSM_MERGED && other != KSM_LARGE)
		return other;
	if (mine == KSM_LARGE)
		ksm_need_split_add(scan, kp);
	if (other == KSM_LARGE && !same)
		ksm_need_split_add(scan, twin);
	return mine == KSM_MERGED ? other : mine;
}

/* The candidate is equal: merge both into a fresh frame. */
static enum ksm_outcome ksm_twin_merge(struct ksm_scan *scan,
				       struct ksm_match *m,
				       struct ksm_block *other, unsigned int j,
				       struct ksm_page *twin)
{
	struct ksm_slot *slot = other->slot;
	struct ksm_frame *frame;
	enum ksm_outcome outcome;

	if (!scan->limit.may_sleep) {
		/* a frame for one of the two alone would free nothing */
		if (READ_ONCE(scan->slot->notifier_blocks) ||
		    READ_ONCE(slot->notifier_blocks))
			return KSM_BUSY;
		outcome = ksm_twin_needs_split(scan, &m->kp, twin);
		if (outcome != KSM_MERGED)
			return outcome;
	}
	outcome = ksm_page_room(scan, slot, twin);
	if (outcome == KSM_MERGED)
		outcome = ksm_merge_fresh(scan, &m->kp, m->sample, m->digest,
					  &frame);
	if (outcome != KSM_MERGED)
		return outcome;
	scan->fresh++;
	scan->work += 2 * KSM_PAGE_CACHELINES;
	if (ksm_merge_into(scan, slot, twin, frame) != KSM_MERGED) {
		/* the next visit can merge it with the frame */
		ksm_page_revisit(other, j);
		return KSM_MERGED;
	}
	ksm_page_set(scan, other, j, KSM_S_MERGED);
	if (slot == scan->slot)
		scan->event[KSM_E_MERGED]++;
	else
		ksm_slot_event(slot, KSM_E_MERGED, 1);
	return KSM_MERGED;
}

/*
 * Try the candidate @j of @other. The mmap_lock of its process, which may be
 * the scan's own, is held.
 */
static enum ksm_outcome ksm_match_twin(struct ksm_scan *scan,
				       struct ksm_match *m,
				       struct ksm_block *other, unsigned int j)
{
	unsigned long addr = other->base + j * PAGE_SIZE;
	struct vm_area_struct *vma = vma_lookup(other->slot->mm, addr);
	unsigned int policy = ksm_slot_policy(other->slot);
	enum ksm_outcome outcome = KSM_NO_TWIN;
	struct ksm_page twin;

	/*
	 * Once its process leaves the domain, its bytes must not be read. If
	 * run, run_cgroups or the types in force exclude the page, it must not
	 * be merged, and leaves its place in the index to one that may be.
	 */
	if (READ_ONCE(other->slot->books.domain) != scan->domain ||
	    !ksm_slot_runs(other->slot) || !(policy & KSM_T_ANON) || !vma ||
	    !vma->anon_vma || !ksm_vma_eligible(policy, vma) ||
	    !ksm_twin_get(scan, &twin, &m->kp, vma, addr)) {
		ksm_page_forget(scan, other, j);
		return KSM_NO_TWIN;
	}
	if (ksm_twin_equal(scan, &m->kp, &twin))
		outcome = ksm_twin_merge(scan, m, other, j, &twin);
	else
		ksm_twin_differs(scan, other, j, &twin);
	ksm_page_put(&twin);
	return outcome;
}

/* Merge with a page that waits for a twin, if there is one. */
static enum ksm_outcome ksm_match_index(struct ksm_scan *scan,
					struct ksm_match *m)
{
	enum ksm_outcome outcome = KSM_NO_TWIN;
	u32 self = ksm_loc(m->block, m->i), loc;
	struct ksm_block *other;
	struct mm_struct *mm;

	loc = ksm_index_find(scan->domain, ksm_digest_fold(m->digest), true);
	if (!loc || loc == self)
		loc = ksm_index_find(scan->domain, m->sample, false);
	if (!loc || loc == self)
		return KSM_NO_TWIN;
	other = xa_load(&scan->domain->blocks, loc / KSM_BLOCK_PAGES);
	if (other->slot == scan->slot)
		return ksm_match_twin(scan, m, other, loc % KSM_BLOCK_PAGES);

	/* a tracked block keeps its slot, and the slot keeps the mm_struct */
	mm = other->slot->mm;
	if (!mmap_read_trylock(mm))
		return KSM_BUSY;
	if (ksm_mm_live(mm))
		outcome = ksm_match_twin(scan, m, other, loc % KSM_BLOCK_PAGES);
	mmap_read_unlock(mm);
	return outcome;
}

/* ------------------------------------------------------ read, try, settle */

/* Read the page whole; false if its sample changed: nothing more to do. */
static bool ksm_match_read(struct ksm_scan *scan, struct ksm_match *m)
{
	const struct ksm_secret *secret = &scan->domain->secret;
	void *bytes = kmap_local_page(m->kp.page);
	u32 sample = ksm_sample(secret, bytes);

	m->zero = sample == scan->domain->zero_sample &&
		  !memchr_inv(bytes, 0, PAGE_SIZE);
	m->digest = ksm_key(ksm_digest(secret, bytes), m->kp.page);
	kunmap_local(bytes);
	scan->work += KSM_PAGE_CACHELINES;

	m->sample = ksm_key(sample, m->kp.page);
	if (m->sample == m->block->sample[m->i])
		return true;
	ksm_page_set(scan, m->block, m->i, KSM_S_VOLATILE);
	ksm_page_resample(m->block, m->i, m->sample);
	return false;
}

/* Try all ways to merge the page. */
static enum ksm_outcome ksm_match_try(struct ksm_scan *scan,
				      struct ksm_match *m)
{
	bool still = m->block->age[m->i];
	enum ksm_outcome outcome;

	m->zero = m->zero && still && scan->policy & KSM_T_ZERO &&
		  !mm_forbids_zeropage(m->kp.vma->vm_mm);
	if (m->zero) {
		outcome = ksm_merge_zero(scan, &m->kp);
		/* written since: it is no page of zeroes any more */
		return outcome == KSM_DIFFERS ? KSM_BUSY : outcome;
	}
	outcome = ksm_match_content(scan, m);
	/* only for unchanged pages: make a frame, or one more copy */
	if (still && (outcome == KSM_NO_TWIN || outcome == KSM_FRAME_GONE ||
		      outcome == KSM_FRAME_FULL))
		outcome = ksm_match_index(scan, m);
	return outcome;
}

/* Nothing to merge with: index the page if it did not change. */
static void ksm_match_watch(struct ksm_scan *scan, struct ksm_match *m)
{
	struct ksm_block *block = m->block;
	u32 fold = ksm_digest_fold(m->digest);
	unsigned int i = m->i;
	int err = 0;

	if (block->state[i] == KSM_S_BY_SAMPLE || !block->age[i])
		return;
	if (block->state[i] == KSM_S_BY_DIGEST) {
		if (block->digest[i] == fold)
			return;
		ksm_page_set(scan, block, i, KSM_S_VOLATILE);
	}
	if (!ksm_index_find(scan->domain, block->sample[i], false)) {
		ksm_page_set(scan, block, i, KSM_S_BY_SAMPLE);
	} else if (ksm_index_find(scan->domain, fold, true)) {
		/* a page that collides with it stayed in the index */
		block->ambiguous |= BIT_ULL(i);
	} else {
		err = ksm_block_digests(block);
		if (!err) {
			block->digest[i] = fold;
			ksm_page_set(scan, block, i, KSM_S_BY_DIGEST);
		}
	}
	if (err == -ENOMEM) {
		scan->missed |= KSM_MISSED_MEMORY;
		ksm_page_revisit(block, i);
	} else if (err) {
		/* no room: read again at ever rarer visits */
		block->ambiguous |= BIT_ULL(i);
	}
}

/* Remember the outcome. */
static void ksm_match_settle(struct ksm_scan *scan, struct ksm_match *m,
			     enum ksm_outcome outcome)
{
	struct ksm_block *block = m->block;
	unsigned int i = m->i;

	switch (outcome) {
	case KSM_MERGED:
		ksm_match_merge_gain(scan, m);
		if (m->zero)
			ksm_page_forget(scan, block, i);
		else
			ksm_page_set(scan, block, i, KSM_S_MERGED);
		break;
	case KSM_NO_TWIN:
	case KSM_FRAME_GONE:
	case KSM_FRAME_FULL:
		ksm_match_watch(scan, m);
		ksm_match_index_gain(scan, block, i, scan->work - m->work);
		break;
	case KSM_DIFFERS:
		/* written since, or it collides with the frame */
		if (block->state[i] == KSM_S_BY_DIGEST)
			ksm_page_set(scan, block, i, KSM_S_VOLATILE);
		fallthrough;
	case KSM_NO_ROOM:
		/* no failure: read again at ever rarer visits */
		block->ambiguous |= BIT_ULL(i);
		break;
	case KSM_UNMAPPED:
		/* most likely, the split mapped the zero page */
		scan->gain += scan->work - m->work;
		ksm_page_forget(scan, block, i);
		break;
	case KSM_LARGE:
		ksm_need_split_range(scan, &m->kp);
		ksm_page_revisit(block, i);
		break;
	case KSM_NO_MEMORY:
		scan->missed |= KSM_MISSED_MEMORY;
		fallthrough;
	default:
		/* it has a twin, or may have one: the next visit tries again */
		ksm_page_revisit(block, i);
		scan->event[KSM_E_FAILED]++;
		break;
	}
}

/**
 * ksm_match_page - read a page whole and merge it if it has a twin
 * @scan: the scan
 * @vma: the page's VMA
 * @block: its block
 * @i: its place there
 *
 * Context: ksm_gate, domain->mutex, mmap_lock; sleeps if scan->limit says so.
 */
void ksm_match_page(struct ksm_scan *scan, struct vm_area_struct *vma,
		    struct ksm_block *block, unsigned int i)
{
	struct ksm_match m = { .block = block, .i = i, .work = scan->work };

	if (!ksm_page_get(&m.kp, vma, block->base + i * PAGE_SIZE)) {
		ksm_meet_merged(scan, vma, block, i);
		if (block->state[i] != KSM_S_MERGED)
			ksm_page_revisit(block, i);
		return;
	}
	if (ksm_match_read(scan, &m))
		ksm_match_settle(scan, &m, ksm_match_try(scan, &m));
	ksm_page_put(&m.kp);
}
