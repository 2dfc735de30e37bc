/* SPDX-License-Identifier: GPL-2.0 */
/* The 64-bit divisions that mm/ksm/sched.c uses, for user space. */
#ifndef _USER_MATH64_H
#define _USER_MATH64_H

#include <linux/types.h>

#define div_u64(a, b)	((u64)(a) / (u32)(b))
#define div64_u64(a, b)	((u64)(a) / (u64)(b))
#define div_s64(a, b)	((s64)(a) / (s32)(b))
#define div64_s64(a, b)	((s64)(a) / (s64)(b))

static inline u64 div_u64_rem(u64 a, u32 b, u32 *remainder)
{
	*remainder = a % b;
	return a / b;
}

#endif /* _USER_MATH64_H */
