/* SPDX-License-Identifier: GPL-2.0 */
/* A keyed hash of memory, and a table by such hashes. */
#ifndef KSM_HASH_H
#define KSM_HASH_H

#include <stdbool.h>
#include <stddef.h>

struct hash_key {
	unsigned long long word[2];
};

/**
 * struct table - counts by a number that is as good as random
 * @slots: open addressing; a slot with a zero key is free
 * @used: how many are taken
 * @room: a power of two
 */
struct table {
	struct slot {
		unsigned long long key;
		unsigned int first;
		unsigned int second;
	} *slots;
	size_t used;
	size_t room;
};

void hash_key_draw(struct hash_key *key);
unsigned long long hash_memory(const struct hash_key *key, const void *memory,
			       size_t bytes);
struct slot *table_get(struct table *table, unsigned long long key);
void table_free(struct table *table);

#endif /* KSM_HASH_H */
