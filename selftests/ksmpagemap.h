/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PAGEMAP_SCAN and what it needs of userfaultfd, for headers that do not have
 * them yet.
 */
#ifndef KSMPAGEMAP_H
#define KSMPAGEMAP_H

#include <linux/fs.h>
#include <sys/ioctl.h>

#ifndef PAGEMAP_SCAN		/* since 6.7 */
struct page_region {
	__u64 start, end, categories;
};

struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN	_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN	BIT(1)
#define PAGE_IS_FILE	BIT(2)
#define PAGE_IS_PRESENT	BIT(3)
#define PAGE_IS_PFNZERO	BIT(5)
#define PM_SCAN_WP_MATCHING	BIT(0)
#define PM_SCAN_CHECK_WPASYNC	BIT(1)
#endif

#ifndef UFFD_FEATURE_WP_ASYNC	/* since 6.7 */
#define UFFD_FEATURE_WP_UNPOPULATED BIT(13)
#define UFFD_FEATURE_WP_ASYNC	BIT(15)
#endif

#endif
