// SPDX-License-Identifier: GPL-2.0
//
// A page is merged if all bits of the merged kind of mapping are set. Every
// anonymous page has one of them, so /proc/kpageflags showed KPF_KSM for all of
// these. Operators and tests identify merged frames by this flag.
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
