/* A set of structs found by hash, for what there are as many of as objects: 12 bytes per element, a fifth of uthash's.
 * An element begins with struct hashed; what its key is and whether two are equal is the owner's, who walks the few of
 * one hash: for (e = hashed_first(set, hash); e && !is_it(e); e = hashed_next(e)). */
#ifndef HATCHWAY_BASE_HASHED_H
#define HATCHWAY_BASE_HASHED_H

#include "hatchway/base/bug.h"
#include "hatchway/base/hash.h"

/* Packed, so that 4 bytes of the element behind it fill the gap. */
struct hashed {
	struct hashed *chain;
	uint32_t hash;
} __attribute__((packed, aligned(4)));

struct hashed_set {
	struct hashed **buckets;
	size_t n_buckets, n; /* n_buckets: a power of two */
	uint64_t seed;       /* users choose the keys */
};

static inline void hashed_init(struct hashed_set *set)
{
	*set = (struct hashed_set){.n_buckets = 16, .seed = (uint64_t)(uintptr_t)set};
	set->buckets = xcalloc(set->n_buckets, sizeof(struct hashed *));
}

static inline uint32_t hashed_text(const struct hashed_set *set, const char *key)
{
	return (uint32_t)hash_bytes(key, strlen(key), set->seed);
}

/* element itself, or the next of its chain with the hash. */
static inline void *hashed_same(struct hashed *element, uint32_t hash)
{
	while (element && element->hash != hash)
		element = element->chain;
	return element;
}

static inline void *hashed_first(const struct hashed_set *set, uint32_t hash)
{
	return hashed_same(set->buckets[hash & (set->n_buckets - 1)], hash);
}

static inline void *hashed_next(const void *element)
{
	const struct hashed *e = element;
	return hashed_same(e->chain, e->hash);
}

static inline void hashed_grow(struct hashed_set *set)
{
	size_t n = set->n_buckets * 2;
	struct hashed **buckets = xcalloc(n, sizeof(struct hashed *));
	for (size_t i = 0; i < set->n_buckets; i++)
		while (set->buckets[i]) {
			struct hashed *element = set->buckets[i];
			set->buckets[i] = element->chain;
			element->chain = buckets[element->hash & (n - 1)];
			buckets[element->hash & (n - 1)] = element;
		}
	free(set->buckets);
	set->buckets = buckets;
	set->n_buckets = n;
}

static inline void hashed_add(struct hashed_set *set, void *element, uint32_t hash)
{
	struct hashed *e = element;
	if (set->n++ >= set->n_buckets)
		hashed_grow(set);
	e->hash = hash;
	e->chain = set->buckets[hash & (set->n_buckets - 1)];
	set->buckets[hash & (set->n_buckets - 1)] = e;
}

static inline void hashed_delete(struct hashed_set *set, void *element)
{
	struct hashed *e = element, *before = set->buckets[e->hash & (set->n_buckets - 1)];
	set->n--;
	if (before == e) {
		set->buckets[e->hash & (set->n_buckets - 1)] = e->chain;
		return;
	}
	while (before->chain != e)
		before = before->chain;
	before->chain = e->chain;
}

/* Every element, one after the other; the one returned last may be deleted by then. NULL: there are no more.
 * struct hashed_walk walk = {.set = set}; while ((element = hashed_walk(&walk))) … */
struct hashed_walk {
	const struct hashed_set *set;
	size_t bucket;
	struct hashed *next;
};

static inline void *hashed_walk(struct hashed_walk *walk)
{
	while (!walk->next && walk->bucket < walk->set->n_buckets)
		walk->next = walk->set->buckets[walk->bucket++];
	struct hashed *element = walk->next;
	walk->next = element ? element->chain : NULL;
	return element;
}

static inline void hashed_done(struct hashed_set *set)
{
	free(set->buckets);
	*set = (struct hashed_set){0};
}

#endif
