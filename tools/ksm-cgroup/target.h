/* SPDX-License-Identifier: GPL-2.0 */
/* What a CGROUP on the command line is: a path, a unit, a container or a PID. */
#ifndef KSM_TARGET_H
#define KSM_TARGET_H

#include <stddef.h>

int target_cgroup(const char *word, char *buf, size_t size);

#endif /* KSM_TARGET_H */
