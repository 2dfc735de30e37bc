/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Charges, and stubs without memory cgroups; see charge.c. Included by ksm.h.
 */
#ifndef _MM_KSM_CHARGE_H
#define _MM_KSM_CHARGE_H

#include <linux/types.h>

struct folio;
struct ksm_group;
struct ksm_slot;
struct mem_cgroup;
struct obj_cgroup;

#ifdef CONFIG_MEMCG
void ksm_group_charge(struct ksm_group *group);
bool ksm_charge_room(struct ksm_slot *slot);
int ksm_charge_frame(struct ksm_slot *slot, struct folio *old,
		     struct folio *new);
void ksm_charge_move(struct folio *folio, struct mem_cgroup *from,
		     struct mem_cgroup *to);
bool ksm_charged_here(struct ksm_slot *slot, struct folio *folio);
bool ksm_charge_may_be_lost(struct ksm_slot *slot, struct folio *folio);
int ksm_charge_copy(struct ksm_slot *slot, struct folio *folio, gfp_t gfp);
struct obj_cgroup *ksm_charge_orphan(struct ksm_slot *slot);
struct obj_cgroup *ksm_charge_payer(struct folio *folio);
void ksm_uncharge_orphan(struct obj_cgroup *objcg);
#else
static inline void ksm_group_charge(struct ksm_group *group)
{
}

static inline bool ksm_charge_room(struct ksm_slot *slot)
{
	return true;
}

static inline int ksm_charge_frame(struct ksm_slot *slot, struct folio *old,
				   struct folio *new)
{
	return 0;
}

static inline bool ksm_charged_here(struct ksm_slot *slot, struct folio *folio)
{
	return true;
}

static inline bool ksm_charge_may_be_lost(struct ksm_slot *slot,
					  struct folio *folio)
{
	return false;
}

static inline int ksm_charge_copy(struct ksm_slot *slot, struct folio *folio,
				  gfp_t gfp)
{
	return 0;
}

static inline struct obj_cgroup *ksm_charge_orphan(struct ksm_slot *slot)
{
	return NULL;
}

static inline struct obj_cgroup *ksm_charge_payer(struct folio *folio)
{
	return NULL;
}

static inline void ksm_uncharge_orphan(struct obj_cgroup *objcg)
{
}
#endif

#endif /* _MM_KSM_CHARGE_H */
