// SPDX-License-Identifier: GPL-2.0
/*
 * Merge domains: the memory within which equal pages may become one frame,
 * and what that memory's merged contents are.
 *
 * Before a page is read whole, its first look is asked for in a table of the
 * looks that merged contents have. By that, and its whole fingerprint, a content
 * is found: a look has one content, unless somebody made pages so alike.
 * A content has one frame for every max_page_sharing mappings; the ones that
 * can take more come first, so that the number of copies costs nothing.
 */
#include <linux/slab.h>

#include "ksm.h"

static const struct rhashtable_params ksm_look_params = {
	.key_len = sizeof_field(struct ksm_look, digest),
	.key_offset = offsetof(struct ksm_look, digest),
	.head_offset = offsetof(struct ksm_look, node),
	.automatic_shrinking = true,
};

struct ksm_domain ksm_root_domain;

/* Contents with more than one frame, and the frames of those. */
atomic_long_t ksm_nr_chains, ksm_nr_dups;

static LLIST_HEAD(ksm_dead_domains);
static LIST_HEAD(ksm_domains);
static DEFINE_SPINLOCK(ksm_domains_lock);

struct ksm_dead_domain {
	struct ksm_domain domain;
	struct llist_node dead;
};

/**
 * ksm_domain_init - set up a domain
 * @domain: zeroed memory
 *
 * Return: 0 or -ENOMEM; then nothing is to be undone.
 */
int ksm_domain_init(struct ksm_domain *domain)
{
	int err;

	err = rhashtable_init(&domain->looks, &ksm_look_params);
	if (err)
		return err;
	refcount_set(&domain->ref, 1);
	INIT_LIST_HEAD(&domain->waiting);
	mutex_init(&domain->mutex);
	ksm_secret_init(&domain->secret);
	domain->zero_look = ksm_digest_look(&domain->secret,
					    page_address(ZERO_PAGE(0)));
	ksm_index_init(&domain->index);
	xa_init_flags(&domain->blocks, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&domain->nodes);
	spin_lock(&ksm_domains_lock);
	list_add_tail(&domain->all, &ksm_domains);
	spin_unlock(&ksm_domains_lock);
	return 0;
}

/**
 * ksm_domain_alloc - make a domain
 *
 * Context: sleeps.
 * Return: the domain with one reference, or NULL.
 */
struct ksm_domain *ksm_domain_alloc(void)
{
	struct ksm_dead_domain *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);

	if (new && ksm_domain_init(&new->domain)) {
		kfree(new);
		new = NULL;
	}
	return new ? &new->domain : NULL;
}

static void ksm_domains_free(struct work_struct *work)
{
	struct ksm_dead_domain *dead, *next;

	llist_for_each_entry_safe(dead, next, llist_del_all(&ksm_dead_domains),
				  dead) {
		struct ksm_domain *domain = &dead->domain;

		spin_lock(&ksm_domains_lock);
		list_del(&domain->all);
		spin_unlock(&ksm_domains_lock);
		WARN_ON_ONCE(!list_empty(&domain->nodes));
		WARN_ON_ONCE(!xa_empty(&domain->blocks));
		WARN_ON_ONCE(atomic_read(&domain->looks.nelems));
		ksm_index_destroy(&domain->index);
		rhashtable_destroy(&domain->looks);
		xa_destroy(&domain->blocks);
		mutex_destroy(&domain->mutex);
		kfree(dead);
	}
}

static DECLARE_WORK(ksm_domains_work, ksm_domains_free);

/**
 * ksm_domain_put - drop a reference
 * @domain: the domain
 *
 * Context: any: a domain without references is freed by a worker.
 */
void ksm_domain_put(struct ksm_domain *domain)
{
	struct ksm_dead_domain *dead;

	if (!refcount_dec_and_test(&domain->ref))
		return;
	if (WARN_ON_ONCE(domain == &ksm_root_domain))
		return;
	dead = container_of(domain, struct ksm_dead_domain, domain);
	if (llist_add(&dead->dead, &ksm_dead_domains))
		queue_work(system_unbound_wq, &ksm_domains_work);
}

/**
 * ksm_domain_next - go through all domains
 * @domain: the last one, whose reference is dropped; NULL to begin
 *
 * Return: the next one with a reference, or NULL.
 */
struct ksm_domain *ksm_domain_next(struct ksm_domain *domain)
{
	struct ksm_domain *pos, *next = NULL;

	spin_lock(&ksm_domains_lock);
	pos = list_prepare_entry(domain, &ksm_domains, all);
	list_for_each_entry_continue(pos, &ksm_domains, all) {
		if (refcount_inc_not_zero(&pos->ref)) {
			next = pos;
			break;
		}
	}
	spin_unlock(&ksm_domains_lock);
	if (domain)
		ksm_domain_put(domain);
	return next;
}

/**
 * ksm_domains_sync - wait until no slice runs that began under old settings
 *
 * A slice asks once, with its domain's mutex held, what of a process takes
 * part. So after this nothing is merged any more that settings published
 * before exclude.
 *
 * Context: sleeps.
 */
void ksm_domains_sync(void)
{
	struct ksm_domain *domain = NULL;

	while ((domain = ksm_domain_next(domain))) {
		mutex_lock(&domain->mutex);
		mutex_unlock(&domain->mutex);
	}
}

/**
 * ksm_domains_forget - let go of merged frames that nobody maps
 *
 * They may live on in the swap cache, but nothing is merged with them again.
 *
 * Context: ksm_gate_hold(), so that none is made; sleeps.
 * Return: false if some frame is mapped.
 */
bool ksm_domains_forget(void)
{
	struct ksm_domain *domain = NULL;
	struct ksm_node *node;
	bool all = true;

	while ((domain = ksm_domain_next(domain))) {
		mutex_lock(&domain->mutex);
		list_for_each_entry(node, &domain->nodes, link)
			all &= ksm_node_forget(node);
		mutex_unlock(&domain->mutex);
	}
	return all;
}

/**
 * ksm_look_known - does any merged content have this first look?
 * @domain: where
 * @look: the look
 *
 * Context: domain->mutex, or a stale answer.
 */
bool ksm_look_known(struct ksm_domain *domain, u32 look)
{
	return rhashtable_lookup_fast(&domain->looks, &look, ksm_look_params);
}

static int ksm_content_cmp(const void *key, const struct rb_node *rb)
{
	const u64 *a = key, *b = &rb_entry(rb, struct ksm_content, node)->whole;

	return (*a > *b) - (*a < *b);
}

static bool ksm_content_less(struct rb_node *a, const struct rb_node *b)
{
	return ksm_content_cmp(&rb_entry(a, struct ksm_content, node)->whole,
			       b) < 0;
}

static struct ksm_content *ksm_look_content(struct ksm_look *look, u64 whole)
{
	return rb_entry_safe(rb_find(&whole, &look->contents, ksm_content_cmp),
			     struct ksm_content, node);
}

/**
 * ksm_content_find - the content with a fingerprint
 * @domain: where
 * @digest: its first look
 * @whole: the whole fingerprint
 *
 * Context: domain->mutex.
 */
struct ksm_content *ksm_content_find(struct ksm_domain *domain, u32 digest,
				     u64 whole)
{
	struct ksm_look *look;

	look = rhashtable_lookup_fast(&domain->looks, &digest, ksm_look_params);
	return look ? ksm_look_content(look, whole) : NULL;
}

static struct ksm_look *ksm_look_make(struct ksm_domain *domain, u32 digest,
				      gfp_t gfp)
{
	struct ksm_look *look = kzalloc(sizeof(*look), gfp);

	if (!look)
		return NULL;
	look->digest = digest;
	if (!rhashtable_insert_fast(&domain->looks, &look->node,
				    ksm_look_params))
		return look;
	kfree(look);
	return NULL;
}

/* A look without contents goes. */
static void ksm_look_settle(struct ksm_domain *domain, struct ksm_look *look)
{
	if (!RB_EMPTY_ROOT(&look->contents))
		return;
	rhashtable_remove_fast(&domain->looks, &look->node, ksm_look_params);
	kfree_rcu(look, rcu);
}

static struct ksm_content *ksm_content_get(struct ksm_domain *domain,
					   u32 digest, u64 whole, gfp_t gfp)
{
	struct ksm_content *content;
	struct ksm_look *look;

	look = rhashtable_lookup_fast(&domain->looks, &digest, ksm_look_params);
	if (!look)
		look = ksm_look_make(domain, digest, gfp);
	if (!look)
		return NULL;
	content = ksm_look_content(look, whole);
	if (content)
		return content;
	content = kzalloc(sizeof(*content), gfp);
	if (!content) {
		ksm_look_settle(domain, look);
		return NULL;
	}
	content->whole = whole;
	content->look = look;
	INIT_LIST_HEAD(&content->nodes);
	rb_add(&content->node, &look->contents, ksm_content_less);
	return content;
}

/**
 * ksm_content_add - a frame with this content can be merged with
 * @domain: where
 * @node: the frame
 * @look: its first look
 * @whole: its whole fingerprint
 *
 * Context: domain->mutex.
 * Return: 0 or -ENOMEM.
 */
int ksm_content_add(struct ksm_domain *domain, struct ksm_node *node, u32 look,
		    u64 whole)
{
	const gfp_t gfp = GFP_NOWAIT | __GFP_HIGH | __GFP_NOWARN;
	struct ksm_content *content;

	content = ksm_content_get(domain, look, whole, gfp);
	if (!content)
		return -ENOMEM;
	node->content = content;
	list_add(&node->content_link, &content->nodes);
	if (++content->nr == 2) {
		atomic_long_inc(&ksm_nr_chains);
		atomic_long_add(2, &ksm_nr_dups);
	} else if (content->nr > 2) {
		atomic_long_inc(&ksm_nr_dups);
	}
	return 0;
}

/**
 * ksm_content_del - nothing more is to be merged with this frame
 * @node: the frame; it may have been out of the index before
 *
 * Context: domain->mutex.
 */
void ksm_content_del(struct ksm_node *node)
{
	struct ksm_content *content = node->content;

	if (!content)
		return;
	node->content = NULL;
	list_del_init(&node->content_link);
	if (--content->nr == 1) {
		atomic_long_dec(&ksm_nr_chains);
		atomic_long_sub(2, &ksm_nr_dups);
	} else if (content->nr > 1) {
		atomic_long_dec(&ksm_nr_dups);
	}
	if (content->nr)
		return;
	rb_erase(&content->node, &content->look->contents);
	ksm_look_settle(node->domain, content->look);
	kfree(content);
}
