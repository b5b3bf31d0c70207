/* A set of (kind, key) with a time and a text: what was refused, what waits for its removal. */
#ifndef HATCHWAY_HAPROXY_KEYSET_H
#define HATCHWAY_HAPROXY_KEYSET_H

#include "haproxy/image.h"

#include <uthash.h>

struct keyed {
	uint64_t due;   /* ms of the loop's clock */
	unsigned tries;
	char *text;     /* NULL: none */
	enum item_kind kind;
	const char *key;
	UT_hash_handle hh;
	char name[]; /* the kind's letter, then the key */
};

struct keyset {
	struct keyed *first; /* uthash */
};

struct keyed *keyset_get(const struct keyset *set, enum item_kind kind, const char *key);
struct keyed *keyset_put(struct keyset *set, enum item_kind kind, const char *key); /* the old one, or a new one */
void keyset_delete(struct keyset *set, enum item_kind kind, const char *key);
void keyset_clear(struct keyset *set);
static inline size_t keyset_count(const struct keyset *set)
{
	return HASH_COUNT(set->first);
}

#endif
