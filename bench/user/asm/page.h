/* SPDX-License-Identifier: GPL-2.0 */
/* The page size that mm/ksm/sched.c uses, for user space. */
#ifndef _USER_PAGE_H
#define _USER_PAGE_H

#define PAGE_SIZE	4096UL

#endif /* _USER_PAGE_H */
