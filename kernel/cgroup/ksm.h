/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _CGROUP_KSM_H
#define _CGROUP_KSM_H

#include <linux/ksm_cgroup.h>

struct cgroup_subsys_state;

/* ksm.c, for ksm-files.c. */
struct ksm_group *ksm_css_group(struct cgroup_subsys_state *css);
void ksm_subtree_configure(struct ksm_group *group, ksm_change_fn change,
			   const struct ksm_config *to);
void ksm_subtree_sums(struct ksm_group *group, struct ksm_sums *sums);
int ksm_subtree_register(struct ksm_group *group);
void ksm_subtree_enlist(struct ksm_group *group);

#endif /* _CGROUP_KSM_H */
