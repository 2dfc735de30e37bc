// SPDX-License-Identifier: GPL-2.0
/*
 * What an xarray by address takes, for the books of metadata.
 */
#include "ksm.h"

/* Higher addresses are only handed out on request. */
#define KSM_ADDR_TOP	(BITS_PER_LONG == 64 ? (1ULL << 47) - 1 : ULONG_MAX)

/**
 * ksm_array_bytes - memory that an xarray by address takes for an entry
 * @xa: the array, which has no entry for @addr
 * @addr: the address
 * @shift: an entry stands for 2^@shift bytes
 *
 * Most of the memory for scattered pages is this: the nodes that the entry
 * shares with no other, one on each level. All levels that user addresses can
 * need are counted, as the stack is high up in every process.
 *
 * Context: any.
 * Return: bytes that adding the entry takes, or removing it has freed.
 */
long ksm_array_bytes(struct xarray *xa, unsigned long addr, int shift)
{
	unsigned long index = addr >> shift, first, mask = 0;
	long bytes = 0;

	/* entries mostly come and go in order, so there is a neighbour */
	if ((index & XA_CHUNK_MASK && xa_load(xa, index - 1)) ||
	    ((index + 1) & XA_CHUNK_MASK && xa_load(xa, index + 1)))
		return 0;
	do {
		mask = mask << XA_CHUNK_SHIFT | XA_CHUNK_MASK;
		first = index & ~mask;
		if (xa_find(xa, &first, index | mask, XA_PRESENT))
			break;
		bytes += sizeof(struct xa_node);
	} while (mask < KSM_ADDR_TOP >> shift);
	return bytes;
}
