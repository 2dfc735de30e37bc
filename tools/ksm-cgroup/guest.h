/* SPDX-License-Identifier: GPL-2.0 */
/* Virtual machines among the processes. */
#ifndef KSM_GUEST_H
#define KSM_GUEST_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * struct guest - a process that runs a virtual machine
 * @pid: the process
 * @merge_off: its command line has mem-merge=off, of which QEMU tells the
 *	kernel nothing
 * @dump_off: its command line has dump-guest-core=off: MADV_DONTDUMP
 * @anonymous: bytes in RAM that may be merged
 * @shared: bytes in RAM of shared mappings, which are never merged
 * @hugetlb: bytes of hugetlb, which are never merged
 */
struct guest {
	pid_t pid;
	bool merge_off;
	bool dump_off;
	long long anonymous;
	long long shared;
	long long hugetlb;
};

bool guest_read(pid_t pid, struct guest *guest);

#endif /* KSM_GUEST_H */
