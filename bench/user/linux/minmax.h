/* SPDX-License-Identifier: GPL-2.0 */
/* min() and max() are in <linux/kernel.h> of tools/include. */
#ifndef _USER_MINMAX_H
#define _USER_MINMAX_H

#include <linux/kernel.h>

#define clamp_t(type, value, low, high)	\
	min_t(type, max_t(type, value, low), high)

#endif /* _USER_MINMAX_H */
