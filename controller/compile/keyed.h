/* A set of structs found by a string they hold. Half of uthash's size per element: there are as many as routes.
 * An element begins with struct keyed; its key is the char array at `offset`. */
#ifndef HATCHWAY_COMPILE_KEYED_H
#define HATCHWAY_COMPILE_KEYED_H

#include "hatchway/base/bug.h"
#include "hatchway/base/hash.h"

struct keyed {
	struct keyed *chain;
	uint32_t hash;
};

struct keyed_set {
	struct keyed **buckets;
	size_t n_buckets, n, offset;
	uint64_t seed;
};

static inline void keyed_init(struct keyed_set *set, size_t offset)
{
	*set = (struct keyed_set){.n_buckets = 16, .offset = offset, .seed = (uint64_t)(uintptr_t)set};
	set->buckets = xcalloc(set->n_buckets, sizeof(struct keyed *));
}

/* Frees the elements too. */
static inline void keyed_done(struct keyed_set *set)
{
	for (size_t i = 0; i < set->n_buckets; i++)
		while (set->buckets[i]) {
			struct keyed *next = set->buckets[i]->chain;
			free(set->buckets[i]);
			set->buckets[i] = next;
		}
	free(set->buckets);
}

static inline const char *keyed_key(const struct keyed_set *set, const struct keyed *element)
{
	return (const char *)element + set->offset;
}

static inline uint32_t keyed_hash(const struct keyed_set *set, const char *key)
{
	return (uint32_t)hash_bytes(key, strlen(key), set->seed);
}

static inline void *keyed_find(const struct keyed_set *set, const char *key)
{
	uint32_t hash = keyed_hash(set, key);
	struct keyed *at = set->buckets[hash & (set->n_buckets - 1)];
	while (at && (at->hash != hash || strcmp(keyed_key(set, at), key) != 0))
		at = at->chain;
	return at;
}

static inline void keyed_grow(struct keyed_set *set)
{
	size_t n = set->n_buckets * 2;
	struct keyed **buckets = xcalloc(n, sizeof(struct keyed *));
	for (size_t i = 0; i < set->n_buckets; i++)
		while (set->buckets[i]) {
			struct keyed *element = set->buckets[i];
			set->buckets[i] = element->chain;
			element->chain = buckets[element->hash & (n - 1)];
			buckets[element->hash & (n - 1)] = element;
		}
	free(set->buckets);
	set->buckets = buckets;
	set->n_buckets = n;
}

static inline void keyed_add(struct keyed_set *set, struct keyed *element)
{
	if (set->n++ >= set->n_buckets)
		keyed_grow(set);
	element->hash = keyed_hash(set, keyed_key(set, element));
	element->chain = set->buckets[element->hash & (set->n_buckets - 1)];
	set->buckets[element->hash & (set->n_buckets - 1)] = element;
}

static inline void keyed_delete(struct keyed_set *set, struct keyed *element)
{
	struct keyed **at = &set->buckets[element->hash & (set->n_buckets - 1)];
	while (*at != element)
		at = &(*at)->chain;
	*at = element->chain;
	set->n--;
}

#endif
