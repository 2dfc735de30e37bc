/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events of samepage merging.
 *
 * Names and fields are the stock kernel's. Events of a process add the id of
 * the cgroup that its memory belongs to, which is the inode number of the
 * cgroup's directory. Pointers only tell one object from another.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ksm

#if !defined(_TRACE_KSM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KSM_H

#include <linux/tracepoint.h>

struct ksm_slot;
u64 ksm_slot_cgroup(struct ksm_slot *slot);

/* The outcome of an attempt to merge a page; KSM_MERGED is 0. */
TRACE_DEFINE_ENUM(KSM_MERGED);
TRACE_DEFINE_ENUM(KSM_NO_TWIN);
TRACE_DEFINE_ENUM(KSM_FRAME_GONE);
TRACE_DEFINE_ENUM(KSM_FRAME_FULL);
TRACE_DEFINE_ENUM(KSM_DIFFERS);
TRACE_DEFINE_ENUM(KSM_BUSY);
TRACE_DEFINE_ENUM(KSM_HELD);
TRACE_DEFINE_ENUM(KSM_FREED);
TRACE_DEFINE_ENUM(KSM_POISONED);
TRACE_DEFINE_ENUM(KSM_LEAVING);
TRACE_DEFINE_ENUM(KSM_NO_MEMORY);
TRACE_DEFINE_ENUM(KSM_NO_ROOM);
TRACE_DEFINE_ENUM(KSM_UNMAPPED);
TRACE_DEFINE_ENUM(KSM_LARGE);

#define show_ksm_outcome(outcome)					\
	__print_symbolic(outcome,					\
			 { KSM_MERGED, "merged" },			\
			 { KSM_NO_TWIN, "no_twin" },			\
			 { KSM_FRAME_GONE, "frame_gone" },		\
			 { KSM_FRAME_FULL, "frame_full" },		\
			 { KSM_DIFFERS, "differs" },			\
			 { KSM_BUSY, "busy" },				\
			 { KSM_HELD, "held" },				\
			 { KSM_FREED, "freed" },			\
			 { KSM_POISONED, "poisoned" },			\
			 { KSM_LEAVING, "leaving" },			\
			 { KSM_NO_MEMORY, "no_memory" },		\
			 { KSM_NO_ROOM, "no_room" },			\
			 { KSM_UNMAPPED, "unmapped" },			\
			 { KSM_LARGE, "large" })

/* A pass over one process: the round that it began in, and tracked pages. */
DECLARE_EVENT_CLASS(ksm_scan_template,
		    TP_PROTO(struct ksm_slot *slot, int seq, u32 rmap_entries),
		    TP_ARGS(slot, seq, rmap_entries),
		    TP_STRUCT__entry(__field(int, seq)
				     __field(u32, rmap_entries)
				     __field(u64, cgroup)),
		    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
				   __entry->rmap_entries = rmap_entries;
				   __entry->seq = seq;),
		    TP_printk("seq %d rmap size %d cgroup %llu", __entry->seq,
			      __entry->rmap_entries, __entry->cgroup)
);

DEFINE_EVENT(ksm_scan_template, ksm_start_scan,
	     TP_PROTO(struct ksm_slot *slot, int seq, u32 rmap_entries),
	     TP_ARGS(slot, seq, rmap_entries));

DEFINE_EVENT(ksm_scan_template, ksm_stop_scan,
	     TP_PROTO(struct ksm_slot *slot, int seq, u32 rmap_entries),
	     TP_ARGS(slot, seq, rmap_entries));

/*
 * A slice of scanning ended: its work, which counts between cgroups, and what
 * that costs the batch, both in cache lines.
 */
TRACE_EVENT(ksm_slice,
	    TP_PROTO(struct ksm_slot *slot, unsigned long work,
		     unsigned long cost),
	    TP_ARGS(slot, work, cost),
	    TP_STRUCT__entry(__field(unsigned long, work)
			     __field(unsigned long, cost)
			     __field(u64, cgroup)),
	    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
			   __entry->cost = cost;
			   __entry->work = work;),
	    TP_printk("work %lu cost %lu cgroup %llu", __entry->work,
		      __entry->cost, __entry->cgroup)
);

TRACE_EVENT(ksm_undo,
	    TP_PROTO(struct ksm_slot *slot, unsigned long work, int err),
	    TP_ARGS(slot, work, err),
	    TP_STRUCT__entry(__field(unsigned long, work)
			     __field(u64, cgroup)
			     __field(int, err)),
	    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
			   __entry->work = work;
			   __entry->err = err;),
	    TP_printk("work %lu err %d cgroup %llu", __entry->work,
		      __entry->err, __entry->cgroup)
);

/* A process gets a slot, or exits. */
DECLARE_EVENT_CLASS(ksm_enter_exit_template,
		    TP_PROTO(struct ksm_slot *slot, void *mm),
		    TP_ARGS(slot, mm),
		    TP_STRUCT__entry(__field(void *, mm)
				     __field(u64, cgroup)),
		    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
				   __entry->mm = mm;),
		    TP_printk("mm %p cgroup %llu", __entry->mm, __entry->cgroup)
);

DEFINE_EVENT(ksm_enter_exit_template, ksm_enter,
	     TP_PROTO(struct ksm_slot *slot, void *mm), TP_ARGS(slot, mm));

DEFINE_EVENT(ksm_enter_exit_template, ksm_exit,
	     TP_PROTO(struct ksm_slot *slot, void *mm), TP_ARGS(slot, mm));

/* A page is copied to a fresh frame, or replaced by the zero page. */
TRACE_EVENT(ksm_merge_one_page,
	    TP_PROTO(struct ksm_slot *slot, unsigned long pfn, void *rmap_item,
		     void *mm, int err),
	    TP_ARGS(slot, pfn, rmap_item, mm, err),
	    TP_STRUCT__entry(__field(unsigned long, pfn)
			     __field(void *, rmap_item)
			     __field(void *, mm)
			     __field(int, err)
			     __field(u64, cgroup)),
	    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
			   __entry->err = err;
			   __entry->mm = mm;
			   __entry->rmap_item = rmap_item;
			   __entry->pfn = pfn;),
	    TP_printk("ksm pfn %lu rmap_item %p mm %p error %d cgroup %llu %s",
		      __entry->pfn, __entry->rmap_item, __entry->mm,
		      __entry->err, __entry->cgroup,
		      show_ksm_outcome(__entry->err))
);

/* A page is replaced by a merged frame that exists already. */
TRACE_EVENT(ksm_merge_with_ksm_page,
	    TP_PROTO(struct ksm_slot *slot, void *ksm_page, unsigned long pfn,
		     void *rmap_item, void *mm, int err),
	    TP_ARGS(slot, ksm_page, pfn, rmap_item, mm, err),
	    TP_STRUCT__entry(__field(u64, cgroup)
			     __field(int, err)
			     __field(void *, mm)
			     __field(void *, rmap_item)
			     __field(unsigned long, pfn)
			     __field(void *, ksm_page)),
	    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
			   __entry->err = err;
			   __entry->mm = mm;
			   __entry->rmap_item = rmap_item;
			   __entry->pfn = pfn;
			   __entry->ksm_page = ksm_page;),
	    TP_printk("%spfn %lu rmap_item %p mm %p error %d cgroup %llu %s",
		      __entry->ksm_page ? "ksm " : "", __entry->pfn,
		      __entry->rmap_item, __entry->mm, __entry->err,
		      __entry->cgroup,
		      show_ksm_outcome(__entry->err))
);

/* A frame is freed; nothing maps it any more. */
TRACE_EVENT(ksm_remove_ksm_page,
	    TP_PROTO(unsigned long pfn),
	    TP_ARGS(pfn),
	    TP_STRUCT__entry(__field(unsigned long, pfn)),
	    TP_fast_assign(__entry->pfn = pfn;),
	    TP_printk("pfn %lu", __entry->pfn)
);

/* A process no longer maps a frame at an address. */
TRACE_EVENT(ksm_remove_rmap_item,
	    TP_PROTO(struct ksm_slot *slot, unsigned long pfn, void *rmap_item,
		     void *mm),
	    TP_ARGS(slot, pfn, rmap_item, mm),
	    TP_STRUCT__entry(__field(unsigned long, pfn)
			     __field(void *, rmap_item)
			     __field(void *, mm)
			     __field(u64, cgroup)),
	    TP_fast_assign(__entry->cgroup = ksm_slot_cgroup(slot);
			   __entry->mm = mm;
			   __entry->rmap_item = rmap_item;
			   __entry->pfn = pfn;),
	    TP_printk("pfn %lu rmap_item %p mm %p cgroup %llu", __entry->pfn,
		      __entry->rmap_item, __entry->mm, __entry->cgroup)
);

/* The scan-time advisor sets pages_to_scan. */
TRACE_EVENT(ksm_advisor,
	    TP_PROTO(s64 ms, unsigned long pages, unsigned int percent),
	    TP_ARGS(ms, pages, percent),
	    TP_STRUCT__entry(__field(unsigned int, cpu_percent)
			     __field(unsigned long, pages_to_scan)
			     __field(s64, scan_time)),
	    TP_fast_assign(__entry->cpu_percent = percent;
			   __entry->pages_to_scan = pages;
			   __entry->scan_time = ms;),
	    TP_printk("ksm scan time %lld pages_to_scan %lu cpu percent %u",
		      __entry->scan_time, __entry->pages_to_scan,
		      __entry->cpu_percent)
);

#endif /* _TRACE_KSM_H */

#include <trace/define_trace.h>
