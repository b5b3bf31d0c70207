/* A region whose pieces die together: an object version, a compiled unit, the scratch of one call.
 *
 * arena_init() grows by chunks and is right for scratch. arena_fixed() carves pieces out of memory the caller owns and
 * is right for things that live long: decode once into scratch to learn arena_used(), then once more into a block of
 * exactly that size. Pieces are aligned to 8 bytes and zeroed; strings stand at the other end, without gaps. Nothing is
 * freed one by one. */
#ifndef HATCHWAY_BASE_ARENA_H
#define HATCHWAY_BASE_ARENA_H

#include "hatchway/base/bug.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
};

struct arena {
	struct arena_chunk *chunks; /* newest first; NULL for a fixed arena */
	char *at, *end;
	size_t used;  /* bytes handed out, gaps between pieces included */
	size_t grow;  /* next chunk's size */
	bool fixed;
};

static inline void arena_init(struct arena *a)
{
	*a = (struct arena){.grow = 4096};
}

/* memory must be 8-byte aligned and outlive the arena's pieces; running out of it is a bug. */
static inline void arena_fixed(struct arena *a, void *memory, size_t size)
{
	*a = (struct arena){.at = memory, .end = (char *)memory + size, .fixed = true};
}

static inline void arena_done(struct arena *a)
{
	while (a->chunks) {
		struct arena_chunk *next = a->chunks->next;
		free(a->chunks);
		a->chunks = next;
	}
	*a = (struct arena){.grow = 4096};
}

static inline size_t arena_used(const struct arena *a)
{
	return a->used;
}

static inline void arena_room(struct arena *a, size_t n)
{
	if ((size_t)(a->end - a->at) < n) {
		BUG_ON(a->fixed);
		size_t size = n > a->grow ? n : a->grow;
		struct arena_chunk *chunk = xmalloc(sizeof(*chunk) + size);
		chunk->next = a->chunks;
		chunk->size = size;
		a->chunks = chunk;
		a->at = (char *)(chunk + 1);
		a->end = a->at + size;
		if (a->grow < ((size_t)1 << 20))
			a->grow *= 2;
	}
	a->used += n;
}

static inline void *arena_alloc(struct arena *a, size_t n)
{
	static uint64_t nothing; /* an empty list: takes nothing, and has an address all the same */
	n = (n + 7) & ~(size_t)7;
	if (!n)
		return &nothing;
	arena_room(a, n);
	void *p = a->at;
	a->at += n;
	return memset(p, 0, n);
}

/* n bytes of no alignment, not zeroed. */
static inline char *arena_text(struct arena *a, size_t n)
{
	arena_room(a, n);
	return a->end -= n;
}

static inline void *arena_array(struct arena *a, size_t n, size_t size)
{
	BUG_ON(size && n > SIZE_MAX / 2 / size);
	return arena_alloc(a, n * size);
}

static inline char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = arena_text(a, n + 1);
	p[n] = 0;
	return memcpy(p, s, n);
}

/* NULL stays NULL. */
static inline char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

PRINTF_LIKE(2, 3) static inline char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	BUG_ON(n < 0);
	char *p = arena_text(a, (size_t)n + 1);
	va_start(args, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, args);
	va_end(args);
	return p;
}

#endif
