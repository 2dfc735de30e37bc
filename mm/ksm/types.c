// SPDX-License-Identifier: GPL-2.0
/*
 * The words of memory.ksm.types: what is merged, and what a 1 takes in that it
 * leaves alone otherwise.
 *
 * A word is in force in a group if it is in the group's own list, and a granted
 * write put it in force here or it is in force in the parent. So a list that
 * was written without a grant can narrow what holds above, but not keep a word
 * that is taken away there. The same rule serves groups without a list of their
 * own: their list is KSM_T_INHERIT, which has all words, none granted.
 */
#include "ksm.h"

static unsigned int ksm_types_above(const struct ksm_group *group)
{
	return group->parent ? ksm_group_types(group->parent) : KSM_T_ANON;
}

/**
 * ksm_types_resolve - the words that a group's and its parent's lists come to
 * @group: the group
 *
 * Context: ksm_config_mutex.
 * Return: words, KSM_T_*.
 */
unsigned int ksm_types_resolve(const struct ksm_group *group)
{
	return group->config.types &
	       (group->config.granted_types | ksm_types_above(group));
}

/**
 * ksm_group_types - the words in force in a group
 * @group: the group
 *
 * Context: any.
 * Return: words, KSM_T_*.
 */
unsigned int ksm_group_types(const struct ksm_group *group)
{
	return READ_ONCE(group->effective.types);
}

/**
 * ksm_group_inherits_types - does a group lack a list of its own?
 * @group: the group
 *
 * Context: any.
 * Return: true for "inherit".
 */
bool ksm_group_inherits_types(const struct ksm_group *group)
{
	return READ_ONCE(group->config.types) == KSM_T_INHERIT;
}

/**
 * ksm_group_edit_types - the list that a write makes of the words in force
 * @group: the group
 * @add: words to add
 * @del: words to take away
 * @granted: the write is granted
 * @to: @types and @granted_types are set
 *
 * A write that is not granted may add words that the parent has, to take back
 * its own narrowing. The check only serves to report the error:
 * ksm_types_resolve() decides, whatever becomes of the parent's words.
 *
 * Context: ksm_group_write_lock().
 * Return: 0, or -EPERM if a word may not be added.
 */
int ksm_group_edit_types(const struct ksm_group *group, unsigned int add,
			 unsigned int del, bool granted, struct ksm_config *to)
{
	unsigned int now = ksm_group_types(group);

	if (!granted && add & ~(now | ksm_types_above(group)))
		return -EPERM;
	to->types = (now | add) & ~del;
	to->granted_types = granted ? to->types :
			    to->types & READ_ONCE(group->config.granted_types);
	return 0;
}
