/* A growing string of bytes that is born with a ceiling. Going over it makes the buffer fail for good: what was added
 * stays, nothing more is, and buf_failed() tells. data is always NUL-terminated (and "" before the first byte). */
#ifndef HATCHWAY_BASE_BUF_H
#define HATCHWAY_BASE_BUF_H

#include "hatchway/base/bug.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct buf {
	char *data;
	size_t len, cap, limit;
	bool over;
};

static inline void buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf){.data = (char *)(uintptr_t) "", .limit = limit};
}

static inline void buf_done(struct buf *b)
{
	if (b->cap)
		free(b->data);
	buf_init(b, b->limit);
}

/* Keeps the memory. */
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
	b->over = false;
	if (b->cap)
		b->data[0] = 0;
}

MUST_CHECK static inline bool buf_failed(const struct buf *b)
{
	return b->over;
}

static inline bool buf_room(struct buf *b, size_t n)
{
	if (b->over || n > b->limit || b->len > b->limit - n) {
		b->over = true;
		return false;
	}
	if (b->len + n + 1 > b->cap) {
		size_t cap = b->cap ? b->cap : 64;
		while (cap < b->len + n + 1)
			cap *= 2;
		char *data = xrealloc(b->cap ? b->data : NULL, cap);
		b->data = data;
		b->cap = cap;
		data[b->len] = 0;
	}
	return true;
}

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!buf_room(b, n))
		return;
	memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = 0;
}

static inline void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

static inline void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

PRINTF_LIKE(2, 0) static inline void buf_vaddf(struct buf *b, const char *fmt, va_list args)
{
	va_list again;
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, args);
	BUG_ON(n < 0);
	if (buf_room(b, (size_t)n)) {
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

PRINTF_LIKE(2, 3) static inline void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	buf_vaddf(b, fmt, args);
	va_end(args);
}

/* Takes the string out (free() it); the buffer is empty afterwards. */
static inline char *buf_take(struct buf *b)
{
	char *s = b->cap ? b->data : xstrdup("");
	b->cap = 0;
	buf_init(b, b->limit);
	return s;
}

#endif
