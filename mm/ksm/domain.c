// SPDX-License-Identifier: GPL-2.0
/*
 * Merge domains: memory within which equal pages may become one frame.
 *
 * The group that a domain belongs to, the slots in it and its frames refer to a
 * domain; a worker frees it when the last of them is gone.
 */
#include <linux/slab.h>

#include "ksm.h"

struct ksm_domain ksm_root_domain;

static LLIST_HEAD(ksm_dead_domains);
static LIST_HEAD(ksm_domains);
static DEFINE_SPINLOCK(ksm_domains_lock);	/* ksm_domains */

/**
 * struct ksm_dead_domain - a domain in memory of its own
 * @domain: the domain
 * @dead: on ksm_dead_domains once the last reference is gone
 *
 * Every domain but the root's is embedded in one.
 */
struct ksm_dead_domain {
	struct ksm_domain domain;
	struct llist_node dead;
};

/**
 * ksm_domain_init - set up a domain
 * @domain: zeroed memory
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM; after -ENOMEM there is nothing to undo.
 */
int ksm_domain_init(struct ksm_domain *domain)
{
	int err;

	err = rhashtable_init(&domain->samples, &ksm_sample_params);
	if (err)
		return err;
	refcount_set(&domain->ref, 1);
	INIT_LIST_HEAD(&domain->waiting);
	mutex_init(&domain->mutex);
	ksm_secret_init(&domain->secret);
	domain->zero_sample = ksm_sample(&domain->secret,
					 page_address(ZERO_PAGE(0)));
	ksm_index_init(&domain->index);
	xa_init_flags(&domain->blocks, XA_FLAGS_ALLOC1);
	INIT_LIST_HEAD(&domain->frames);
	spin_lock(&ksm_domains_lock);
	list_add_tail(&domain->all, &ksm_domains);
	spin_unlock(&ksm_domains_lock);
	return 0;
}

/**
 * ksm_domain_alloc - make a domain
 *
 * Context: sleeps; charged to the current cgroup.
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
		WARN_ON_ONCE(!list_empty(&domain->frames));
		WARN_ON_ONCE(!xa_empty(&domain->blocks));
		WARN_ON_ONCE(atomic_read(&domain->samples.nelems));
		ksm_index_destroy(&domain->index);
		rhashtable_destroy(&domain->samples);
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
 * Context: any: a worker frees a domain without references.
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
 * @domain: the previous one, whose reference is dropped; NULL to begin
 *
 * Context: any that allows a spinlock.
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
