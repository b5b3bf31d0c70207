/* FNV-1a: for hash tables filled by trusted-size input and for seeds in tests. Never for content addresses: those are
 * digests a tenant must not be able to collide, see haproxy/digest.h. Tables that hold users' keys mix in a seed. */
#ifndef HATCHWAY_BASE_HASH_H
#define HATCHWAY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *c = p;
	uint64_t h = 0xcbf29ce484222325ull ^ seed;
	for (size_t i = 0; i < n; i++) {
		h ^= c[i];
		h *= 0x100000001b3ull;
	}
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ (h >> 32);
}

#endif
