// SPDX-License-Identifier: GPL-2.0
/*
 * A keyed hash of memory, and a table by such hashes.
 *
 * The hash is SipHash with one round for each word and three at the end, on
 * whole words. It is keyed anew in each run, as whoever is looked at must not
 * be able to make pages that collide.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "hash.h"
#include "tool.h"

struct lanes {
	unsigned long long a, b, c, d;
};

static unsigned long long turn(unsigned long long word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static void round_once(struct lanes *v)
{
	v->a += v->b;
	v->b = turn(v->b, 13) ^ v->a;
	v->a = turn(v->a, 32);
	v->c += v->d;
	v->d = turn(v->d, 16) ^ v->c;
	v->a += v->d;
	v->d = turn(v->d, 21) ^ v->a;
	v->c += v->b;
	v->b = turn(v->b, 17) ^ v->c;
	v->c = turn(v->c, 32);
}

void hash_key_draw(struct hash_key *key)
{
	if (getrandom(key, sizeof(*key), 0) != sizeof(*key)) {
		complain("getrandom: no random numbers");
		exit(STATUS_FAILED);
	}
}

/* hash_memory - @bytes is a multiple of 8 */
unsigned long long hash_memory(const struct hash_key *key, const void *memory,
			       size_t bytes)
{
	struct lanes v = {
		0x736f6d6570736575ULL ^ key->word[0],
		0x646f72616e646f6dULL ^ key->word[1],
		0x6c7967656e657261ULL ^ key->word[0],
		0x7465646279746573ULL ^ key->word[1],
	};
	unsigned long long word;
	size_t at;

	for (at = 0; at < bytes; at += sizeof(word)) {
		memcpy(&word, (const char *)memory + at, sizeof(word));
		v.d ^= word;
		round_once(&v);
		v.a ^= word;
	}
	v.c ^= 0xff;
	round_once(&v);
	round_once(&v);
	round_once(&v);
	return v.a ^ v.b ^ v.c ^ v.d;
}

/* Where @key is, or would be. */
static struct slot *find(const struct table *table, unsigned long long key)
{
	/* Frame numbers come in rows; a multiplication spreads them. */
	size_t at = (key * 0x9e3779b97f4a7c15ULL >> 20) & (table->room - 1);

	while (table->slots[at].key && table->slots[at].key != key)
		at = (at + 1) & (table->room - 1);
	return &table->slots[at];
}

static void grow(struct table *table)
{
	struct table more = { .room = table->room ? 2 * table->room : 1024 };
	size_t i;

	more.slots = xalloc(more.room * sizeof(*more.slots));
	for (i = 0; i < table->room; i++)
		if (table->slots[i].key)
			*find(&more, table->slots[i].key) = table->slots[i];
	more.used = table->used;
	free(table->slots);
	*table = more;
}

/* table_get - the slot of @key, which is new if both counts are zero */
struct slot *table_get(struct table *table, unsigned long long key)
{
	struct slot *slot;

	if (4 * table->used >= 3 * table->room)
		grow(table);
	key += !key;
	slot = find(table, key);
	if (!slot->key) {
		slot->key = key;
		table->used++;
	}
	return slot;
}

void table_free(struct table *table)
{
	free(table->slots);
	memset(table, 0, sizeof(*table));
}
