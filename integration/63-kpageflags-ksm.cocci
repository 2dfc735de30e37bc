// SPDX-License-Identifier: GPL-2.0
//
// Merged is who has all bits of the merged kind of mapping: one of them every
// anonymous page has, so that KPF_KSM in /proc/kpageflags was set for all.
// Operators and tests tell merged frames by it.
//
// File: fs/proc/page.c
// Function: stable_page_flags
// Expect: 1
//
@@
expression mapping;
@@
- mapping & PAGE_MAPPING_KSM
+ (mapping & PAGE_MAPPING_FLAGS) == PAGE_MAPPING_KSM
