/* SPDX-License-Identifier: GPL-2.0 */
/* Writing to cgroups, and making them. */
#ifndef KSM_SETTINGS_H
#define KSM_SETTINGS_H

/* What setting_write() returns: @SETTING_UNDONE holds, and is not yet done. */
enum { SETTING_FAILED = -1, SETTING_DONE, SETTING_UNDONE };

int setting_write(const char *cgroup, const char *file, const char *value);
int group_make(const char *cgroup);
int group_enter(const char *cgroup);
int group_remove(const char *cgroup);

#endif /* KSM_SETTINGS_H */
