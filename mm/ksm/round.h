/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KSM_ROUND_H
#define _MM_KSM_ROUND_H

#include <linux/bits.h>
#include <linux/types.h>

/* Why a pass could not merge a page that has a twin, or may have one. */
#define KSM_MISSED_LRU		BIT(0)	/* not on the LRU: in a batch */
#define KSM_MISSED_HELD		BIT(1)	/* held: in a batch or pinned */
#define KSM_MISSED_MEMORY	BIT(2)	/* for a frame, or to remember it */
/* LRU or HELD, in a slot whose previous pass had missed neither. */
#define KSM_MISSED_NEW		BIT(3)

/* Rounds in a row that are repeated because memory ran short. */
#define KSM_SHORT_ROUNDS	3
/* Rounds per drain while pages stay held. */
#define KSM_HELD_ROUNDS		16
/* Drains in a row before a round counts, while new slots miss pages. */
#define KSM_DRAINS_MAX		3

/**
 * enum ksm_verdict - the decision at the end of a round
 * @KSM_ROUND_COUNTS: it counts as a full scan
 * @KSM_ROUND_AGAIN: it is repeated after a while
 * @KSM_ROUND_DRAIN: it is repeated once the LRU batches were drained
 */
enum ksm_verdict {
	KSM_ROUND_COUNTS,
	KSM_ROUND_AGAIN,
	KSM_ROUND_DRAIN,
};

/**
 * struct ksm_round_past - what the verdict remembers of earlier rounds
 * @drains: drains in a row that the present round was repeated for
 * @held: rounds in a row that counted although pages were held
 * @shorts: rounds in a row that were repeated because memory ran short
 *
 * Owned by the caller, which serializes.
 */
struct ksm_round_past {
	u8 drains;
	u8 held;
	u8 shorts;
};

enum ksm_verdict ksm_round_judge(struct ksm_round_past *past,
				 unsigned int missed);

#endif /* _MM_KSM_ROUND_H */
