// SPDX-License-Identifier: GPL-2.0
//
// Notifiers may refuse to be called without blocking. Nobody ends what others
// have begun by then, and interval notifiers would wait for that end for ever.
// The OOM reaper does this only to processes that die; a writer to
// memory.ksm.scan does it to any.
//
// File: mm/mmu_notifier.c
// Function: __mmu_notifier_invalidate_range_start
// Expect: 1
//
@@
expression subscriptions, range;
@@
-	return mn_hlist_invalidate_range_start(subscriptions, range);
+	ret = mn_hlist_invalidate_range_start(subscriptions, range);
+	if (ret && subscriptions->has_itree)
+		mn_itree_inv_end(subscriptions);
+	return ret;
