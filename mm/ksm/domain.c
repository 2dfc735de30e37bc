// SPDX-License-Identifier: GPL-2.0
/*
 * Merge domains: memory within which equal pages may become one frame.
 *
 * The groups that a domain belongs to, the slots in it and its frames refer to
 * a domain; a worker frees it when the last of them is gone.
 *
 * A domain that belongs to one group has no name. A domain that any number of
 * groups can join is found by its name for as long as anything refers to it.
 */
#include <linux/ctype.h>
#include <linux/slab.h>

#include "ksm.h"

struct ksm_domain ksm_root_domain;

static LLIST_HEAD(ksm_dead_domains);
static LIST_HEAD(ksm_domains);
static struct rb_root ksm_names = RB_ROOT;
static DEFINE_SPINLOCK(ksm_domains_lock);	/* ksm_domains, ksm_names */

/**
 * struct ksm_dynamic_domain - a domain in memory of its own
 * @domain: the domain
 * @by_name: in ksm_names; empty without a name, or once another domain has it
 *	(ksm_domains_lock)
 * @dead: on ksm_dead_domains once the last reference is gone
 * @rcu: frees it, as readers of memory.ksm.domain look at @name under RCU
 * @name: its name, "" for none; constant
 *
 * Every domain but the root's is embedded in one.
 */
struct ksm_dynamic_domain {
	struct ksm_domain domain;
	struct rb_node by_name;
	struct llist_node dead;
	struct rcu_head rcu;
	char name[];
};

#define ksm_name_entry(node) rb_entry(node, struct ksm_dynamic_domain, by_name)

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

static struct ksm_dynamic_domain *ksm_domain_new(const char *name)
{
	struct ksm_dynamic_domain *new;
	size_t size = strlen(name) + 1;

	new = kzalloc(struct_size(new, name, size), GFP_KERNEL_ACCOUNT);
	if (!new)
		return NULL;
	RB_CLEAR_NODE(&new->by_name);
	memcpy(new->name, name, size);
	if (!ksm_domain_init(&new->domain))
		return new;
	kfree(new);
	return NULL;
}

/**
 * ksm_domain_alloc - make a domain without a name
 *
 * Context: sleeps; charged to the current cgroup.
 * Return: the domain with one reference, or NULL.
 */
struct ksm_domain *ksm_domain_alloc(void)
{
	struct ksm_dynamic_domain *new = ksm_domain_new("");

	return new ? &new->domain : NULL;
}

static void ksm_name_del(struct ksm_dynamic_domain *pos)
{
	lockdep_assert_held(&ksm_domains_lock);
	if (RB_EMPTY_NODE(&pos->by_name))
		return;
	rb_erase(&pos->by_name, &ksm_names);
	RB_CLEAR_NODE(&pos->by_name);
}

static void ksm_domains_free(struct work_struct *work)
{
	struct ksm_dynamic_domain *pos, *next;

	llist_for_each_entry_safe(pos, next, llist_del_all(&ksm_dead_domains),
				  dead) {
		struct ksm_domain *domain = &pos->domain;

		spin_lock(&ksm_domains_lock);
		list_del(&domain->all);
		ksm_name_del(pos);
		spin_unlock(&ksm_domains_lock);
		WARN_ON_ONCE(!list_empty(&domain->waiting));
		WARN_ON_ONCE(!list_empty(&domain->frames));
		WARN_ON_ONCE(!xa_empty(&domain->blocks));
		WARN_ON_ONCE(atomic_read(&domain->samples.nelems));
		ksm_index_destroy(&domain->index);
		rhashtable_destroy(&domain->samples);
		xa_destroy(&domain->blocks);
		mutex_destroy(&domain->mutex);
		kfree_rcu(pos, rcu);
		cond_resched();
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
	struct ksm_dynamic_domain *pos;

	if (!refcount_dec_and_test(&domain->ref))
		return;
	if (WARN_ON_ONCE(domain == &ksm_root_domain))
		return;
	pos = container_of(domain, struct ksm_dynamic_domain, domain);
	if (llist_add(&pos->dead, &ksm_dead_domains))
		queue_work(system_unbound_wq, &ksm_domains_work);
}

/* ------------------------------------------------------------------ names */

/**
 * ksm_domain_name_valid - may a domain have this name?
 * @name: the name
 *
 * Context: any.
 * Return: true if it has 1 to KSM_DOMAIN_NAME_MAX of the characters allowed.
 */
bool ksm_domain_name_valid(const char *name)
{
	size_t len;

	/* isalnum() accepts the letters of Latin-1, too */
	for (len = 0; name[len]; len++) {
		if (len == KSM_DOMAIN_NAME_MAX || !isascii(name[len]) ||
		    !(isalnum(name[len]) || strchr("._-", name[len])))
			return false;
	}
	return len;
}

/**
 * ksm_domain_name - the name of a domain
 * @domain: a domain that ksm_domain_get() returned
 *
 * Context: the caller has a reference, or is in an RCU read side critical
 * section that began before the last one was dropped.
 * Return: the name.
 */
const char *ksm_domain_name(const struct ksm_domain *domain)
{
	return container_of(domain, struct ksm_dynamic_domain, domain)->name;
}

static int ksm_name_cmp(const void *name, const struct rb_node *node)
{
	return strcmp(name, ksm_name_entry(node)->name);
}

static bool ksm_name_less(struct rb_node *a, const struct rb_node *b)
{
	return ksm_name_cmp(ksm_name_entry(a)->name, b) < 0;
}

/*
 * Find a domain and get a reference. A domain that the worker is about to free
 * loses its name.
 */
static struct ksm_domain *ksm_name_find(const char *name)
{
	struct rb_node *node = rb_find(name, &ksm_names, ksm_name_cmp);
	struct ksm_dynamic_domain *found;

	lockdep_assert_held(&ksm_domains_lock);
	if (!node)
		return NULL;
	found = ksm_name_entry(node);
	if (refcount_inc_not_zero(&found->domain.ref))
		return &found->domain;
	ksm_name_del(found);
	return NULL;
}

/**
 * ksm_domain_get - the domain of a name, a new one if need be
 * @name: a valid name
 *
 * Context: sleeps; charged to the current cgroup.
 * Return: the domain with a reference, or NULL if memory is short.
 */
struct ksm_domain *ksm_domain_get(const char *name)
{
	struct ksm_dynamic_domain *new;
	struct ksm_domain *domain;

	spin_lock(&ksm_domains_lock);
	domain = ksm_name_find(name);
	spin_unlock(&ksm_domains_lock);
	if (domain)
		return domain;
	new = ksm_domain_new(name);
	if (!new)
		return NULL;
	spin_lock(&ksm_domains_lock);
	/* another task may have been faster */
	domain = ksm_name_find(name);
	if (!domain)
		rb_add(&new->by_name, &ksm_names, ksm_name_less);
	spin_unlock(&ksm_domains_lock);
	if (!domain)
		return &new->domain;
	ksm_domain_put(&new->domain);
	return domain;
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

#include "tests/domain-kunit.h"
