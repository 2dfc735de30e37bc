// SPDX-License-Identifier: GPL-2.0
/*
 * Does a round count as a full scan?
 *
 * full_scans tells its readers that what could be merged was merged. A round
 * that missed pages with a twin because they sat in LRU batches does not count;
 * it is repeated after the batches were drained. A page that even then is not
 * on the LRU is off it for another reason.
 *
 * A page that is on the LRU may be held by a batch as well, but also by a pin
 * that lasts for ever, as in a pipe that is never read. So the batches are
 * drained when pages of a slot come to be held, and while they stay held, in
 * one of KSM_HELD_ROUNDS rounds.
 *
 * Another slot may touch its pages after the drain. The round is then repeated
 * with another drain, at most KSM_DRAINS_MAX times, as ever new processes would
 * keep it from ending.
 *
 * A round in which memory ran short is repeated too: no frame was in stock, or
 * an allocation failed that was for a frame or to remember a page. The caller
 * waits before that. After KSM_SHORT_ROUNDS repetitions memory is short for
 * longer, and the round counts. A cgroup without room under its limit is no
 * such case, as that may last for ever.
 *
 * Pure arithmetic, tested by tests/round-kunit.h.
 */
#include "round.h"

/**
 * ksm_round_judge - decide about a round in which everything was passed
 * @past: what is remembered of earlier rounds; updated
 * @missed: what its passes missed, bits KSM_MISSED_*
 *
 * Context: any; the caller serializes.
 * Return: the verdict.
 */
enum ksm_verdict ksm_round_judge(struct ksm_round_past *past,
				 unsigned int missed)
{
	bool new = missed & KSM_MISSED_NEW;
	bool drain = missed & KSM_MISSED_LRU ||
		     (missed & KSM_MISSED_HELD &&
		      (new || !(past->held % KSM_HELD_ROUNDS)));

	if (drain && past->drains < (new ? KSM_DRAINS_MAX : 1)) {
		past->drains++;
		return KSM_ROUND_DRAIN;
	}
	if (missed & KSM_MISSED_MEMORY && past->shorts < KSM_SHORT_ROUNDS) {
		past->shorts++;
		return KSM_ROUND_AGAIN;
	}
	if (!(missed & KSM_MISSED_MEMORY))
		past->shorts = 0;
	past->held = missed & KSM_MISSED_HELD ? past->held + 1 : 0;
	past->drains = 0;
	return KSM_ROUND_COUNTS;
}

#include "tests/round-kunit.h"
