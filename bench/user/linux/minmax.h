/* SPDX-License-Identifier: GPL-2.0 */
/* tools/include has it elsewhere. */
#include <linux/kernel.h>
