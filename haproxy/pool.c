/* Owns which ports a pool has; never asks the system about one. */
#include "haproxy/pool.h"

#include <errno.h>

void pool_done(struct pool *pool)
{
	free(pool->errors);
	*pool = (struct pool){.tls = pool->tls};
}

void pool_resize(struct pool *pool, unsigned size)
{
	BUG_ON(size && (!pool->base || pool->base + size > 65536u));
	int *errors = xcalloc(size, sizeof(*errors));
	unsigned n = size < pool->size ? size : pool->size;

	if (n)
		memcpy(errors, pool->errors, n * sizeof(*errors));
	free(pool->errors);
	pool->errors = errors;
	pool->size = size;
}

void pool_copy(struct pool *pool, const struct pool *from)
{
	pool->base = from->base;
	pool_resize(pool, from->size);
	if (from->size)
		memcpy(pool->errors, from->errors, from->size * sizeof(*from->errors));
}

bool pool_covers(const struct pool *pool, uint16_t port)
{
	return port >= pool->base && port - pool->base < (int)pool->size;
}

bool pool_binds(const struct pool *pool, uint16_t port)
{
	return pool_covers(pool, port) && !pool->errors[port - pool->base];
}

bool pool_grow(struct pool *pool, uint16_t port)
{
	unsigned size = pool->size * 2, most = 65536u - pool->base;

	if (most > HAPROXY_POOL_TLS)
		most = HAPROXY_POOL_TLS;
	if (size > most)
		size = most;
	if (!pool->size || pool_covers(pool, port) || port < pool->base || port - pool->base >= (int)size)
		return false;
	pool_resize(pool, size);
	return true;
}

struct config_bind *pool_ranges(const struct pool *pool, size_t *ret_n)
{
	struct config_bind *list = xcalloc(pool->size, sizeof(*list));
	size_t n = 0;

	for (unsigned i = 0; i < pool->size; i++) {
		uint16_t port = (uint16_t)(pool->base + i);
		if (pool->errors[i])
			continue;
		if (!i || pool->errors[i - 1])
			list[n++] = (struct config_bind){"", port, port, pool->tls};
		list[n - 1].last = port;
	}
	*ret_n = n;
	return list;
}

void pool_mark(const struct pool *pool, size_t max, struct buf *out)
{
	if (!pool->size)
		return;
	const char *tag = pool->tls ? "t" : "";
	buf_addf(out, "/%s%u+%u", tag, pool->base, pool->size);
	for (unsigned i = 0; i < pool->size && out->len < max; i++)
		if (pool->errors[i])
			buf_addf(out, "/%s-%u", tag, pool->base + i);
}

void pool_parse(struct pool *pool, const char *mark)
{
	unsigned base, size, port;

	pool_done(pool);
	for (const char *next = strchr(mark, '/'); next; next = strchr(next + 1, '/')) {
		const char *word = next + 1;
		if ((*word == 't') != pool->tls)
			continue;
		word += pool->tls;
		if (!pool->size && sscanf(word, "%5u+%5u", &base, &size) == 2 && base && base + size <= 65536) {
			pool->base = (uint16_t)base;
			pool_resize(pool, size);
		} else if (sscanf(word, "-%5u", &port) == 1 && port < 65536 && pool_covers(pool, (uint16_t)port)) {
			pool->errors[port - pool->base] = -EADDRINUSE;
		}
	}
}
