// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to split a large folio, from a writer of memory.ksm.scan to ksmd.
 *
 * A split sleeps while holding locks that others need, so a writer that may be
 * throttled leaves it to ksmd, see demand.c. The writer lists the folios, goes
 * on with other memory and waits when its walk ends, or when its list is full.
 * ksmd serves the requests in slices of the group that the writer was scanning,
 * whichever process maps the folio: they are that group's work, and part of
 * the batch's budget. They take half of a slice at most, so the scan itself goes
 * on.
 *
 * A request that fails is done, too: its memory is then left to ksmd's scan. If
 * ksmd serves none for three seconds, the rest is left to its scan, too.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "scan.h"

/* Without any progress, a writer gives up after this time. */
#define KSM_SPLIT_REQS_WAIT	(3 * HZ)

/**
 * struct ksm_split_req - a folio to split
 * @link: on the @split_reqs of a group until ksmd serves it or the writer
 *	withdraws it (ksm_lock)
 * @reqs: the list that it is part of; constant
 * @large: a page in the folio; the side that unlinks @link drops the reference
 *	on the slot
 */
struct ksm_split_req {
	struct list_head link;
	struct ksm_split_reqs *reqs;
	struct ksm_large large;
};

/**
 * struct ksm_split_reqs - a writer's list
 * @ref: one for the writer, one for each request that ksmd is serving
 * @wait: where the writer waits for @left to become 0
 * @left: requests that are not done (ksm_lock, read without it)
 * @nr: requests in @req (the writer)
 * @req: the requests
 *
 * Allocated by the writer and charged to its cgroup; the last reference frees
 * it.
 */
struct ksm_split_reqs {
	refcount_t ref;
	wait_queue_head_t wait;
	unsigned int left;
	unsigned int nr;
	struct ksm_split_req req[KSM_SPLIT_REQS_MAX];
};

/**
 * ksm_split_reqs_alloc - allocate an empty list
 *
 * Context: any.
 * Return: the list; NULL if out of memory.
 */
struct ksm_split_reqs *ksm_split_reqs_alloc(void)
{
	struct ksm_split_reqs *reqs = kzalloc(sizeof(*reqs),
					      KSM_GFP_SCAN | __GFP_ACCOUNT);

	if (!reqs)
		return NULL;
	refcount_set(&reqs->ref, 1);
	init_waitqueue_head(&reqs->wait);
	return reqs;
}

static void ksm_split_reqs_put(struct ksm_split_reqs *reqs)
{
	if (refcount_dec_and_test(&reqs->ref))
		kfree(reqs);
}

/**
 * ksm_split_reqs_add - request the splits that a scan needs
 * @reqs: the list
 * @slot: the slot that is being scanned
 * @need: what is to be split, with room for it on the list; the references move
 *	to the list
 *
 * Context: takes ksm_lock.
 */
void ksm_split_reqs_add(struct ksm_split_reqs *reqs, struct ksm_slot *slot,
			struct ksm_need_split *need)
{
	struct ksm_split_req *req;

	spin_lock(&ksm_lock);
	while (need->nr) {
		req = &reqs->req[reqs->nr++];
		req->reqs = reqs;
		req->large = need->large[--need->nr];
		list_add_tail(&req->link,
			      &slot->books.group->queue.split_reqs);
		reqs->left++;
	}
	spin_unlock(&ksm_lock);
}

/* Take back what ksmd is not serving. */
static void ksm_split_reqs_withdraw(struct ksm_split_reqs *reqs)
{
	unsigned int i;

	for (i = 0; i < reqs->nr; i++) {
		struct ksm_split_req *req = &reqs->req[i];
		bool mine;

		spin_lock(&ksm_lock);
		mine = !list_empty(&req->link);
		if (mine) {
			list_del_init(&req->link);
			WRITE_ONCE(reqs->left, reqs->left - 1);
		}
		spin_unlock(&ksm_lock);
		if (mine)
			ksm_slot_put(req->large.slot);
	}
}

/**
 * ksm_split_reqs_wait - wait until ksmd has served the whole list
 * @reqs: the list, which is empty afterwards
 *
 * Gives up after KSM_SPLIT_REQS_WAIT without progress.
 *
 * Context: sleeps; a signal ends the wait.
 * Return: true if all were served; if not, @reqs can only be freed.
 */
bool ksm_split_reqs_wait(struct ksm_split_reqs *reqs)
{
	unsigned int *nr = &reqs->left, left = READ_ONCE(*nr), before;

	do {
		before = left;
		wait_event_interruptible_timeout(reqs->wait, !READ_ONCE(*nr),
						 KSM_SPLIT_REQS_WAIT);
		left = READ_ONCE(*nr);
	} while (left && left < before && !signal_pending(current));
	ksm_split_reqs_withdraw(reqs);
	reqs->nr = 0;
	return !left;
}

/**
 * ksm_split_reqs_free - a writer is done with its list
 * @reqs: the list
 *
 * Context: takes ksm_lock.
 */
void ksm_split_reqs_free(struct ksm_split_reqs *reqs)
{
	ksm_split_reqs_withdraw(reqs);
	ksm_split_reqs_put(reqs);
}

static struct ksm_split_req *ksm_split_req_take(struct ksm_slot *slot)
{
	struct ksm_split_req *req;

	spin_lock(&ksm_lock);
	req = list_first_entry_or_null(&slot->books.group->queue.split_reqs,
				       struct ksm_split_req, link);
	if (req) {
		list_del_init(&req->link);
		refcount_inc(&req->reqs->ref);
	}
	spin_unlock(&ksm_lock);
	return req;
}

static void ksm_split_req_done(struct ksm_split_req *req)
{
	struct ksm_split_reqs *reqs = req->reqs;

	ksm_slot_put(req->large.slot);
	spin_lock(&ksm_lock);
	WRITE_ONCE(reqs->left, reqs->left - 1);
	if (!reqs->left)
		wake_up_interruptible(&reqs->wait);
	spin_unlock(&ksm_lock);
	ksm_split_reqs_put(reqs);
}

/*
 * With the mmap_lock of its process: split the folio, unless the page may not
 * be merged any more.
 */
static void ksm_split_req_run(struct ksm_scan *scan, struct ksm_large *large)
{
	unsigned int policy = ksm_slot_policy(large->slot);
	unsigned long work = scan->work;
	struct vm_area_struct *vma;
	struct ksm_page kp;

	if (!ksm_mm_live(large->slot->mm) || !ksm_slot_runs(large->slot) ||
	    READ_ONCE(large->slot->books.domain) != scan->domain ||
	    !(policy & (KSM_T_ANON | KSM_T_ZERO)))
		return;
	vma = vma_lookup(large->slot->mm, large->addr);
	if (!vma || !vma->anon_vma || !ksm_vma_eligible(policy, vma) ||
	    !ksm_page_get(&kp, vma, large->addr))
		return;
	if (folio_test_large(kp.folio) && ksm_page_split(scan, &kp))
		scan->gain += scan->work - work;
	ksm_page_put(&kp);
}

/**
 * ksm_split_reqs_serve - serve requests of the group whose turn it is
 * @scan: the slice, which may sleep
 *
 * Context: ksm_gate, domain->mutex; sleeps.
 */
void ksm_split_reqs_serve(struct ksm_scan *scan)
{
	struct ksm_split_req *req;
	struct mm_struct *mm;

	while (scan->work < scan->limit.budget / 2 && !need_resched()) {
		req = ksm_split_req_take(scan->slot);
		if (!req)
			break;
		scan->work += KSM_LOOK_CACHELINES;
		mm = req->large.slot->mm;
		if (mmap_read_trylock(mm)) {
			ksm_split_req_run(scan, &req->large);
			mmap_read_unlock(mm);
		}
		ksm_split_req_done(req);
	}
	/* what was held is no miss of the pass over the scanned slot */
	scan->missed = 0;
}
