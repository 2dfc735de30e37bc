/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _USER_PAGE_H
#define _USER_PAGE_H

#define PAGE_SIZE	4096UL

#endif /* _USER_PAGE_H */
