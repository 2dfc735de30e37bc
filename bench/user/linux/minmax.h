/* SPDX-License-Identifier: GPL-2.0 */
/* tools/include has most of it elsewhere. */
#ifndef _USER_MINMAX_H
#define _USER_MINMAX_H

#include <linux/kernel.h>

#define clamp_t(type, value, low, high)	\
	min_t(type, max_t(type, value, low), high)

#endif /* _USER_MINMAX_H */
