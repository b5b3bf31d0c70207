/* Ports bound in advance, in a Pod: a listener there comes to life by one item of maps/listener.map. A port that cannot be
 * had is left out, so that HAProxy starts without it. */
#ifndef HATCHWAY_HAPROXY_POOL_H
#define HATCHWAY_HAPROXY_POOL_H

#include "haproxy/config.h"
#include "hatchway/haproxy.h"

struct pool {
	uint16_t base;
	unsigned size; /* ports; 0: no pool */
	int *errors;   /* for each: 0, or -errno: it is left out */
	bool tls;
};

void pool_done(struct pool *pool);
/* New ports are taken to be good. */
void pool_resize(struct pool *pool, unsigned size);
void pool_copy(struct pool *pool, const struct pool *from);

bool pool_covers(const struct pool *pool, uint16_t port); /* bound or left out */
bool pool_binds(const struct pool *pool, uint16_t port);

/* Doubles it, if the port lies in what is added. The ports end at 65535, and there are HAPROXY_POOL_TLS at most. */
bool pool_grow(struct pool *pool, uint16_t port);

/* Its runs of ports, at most `size`; *ret_n of them in an array to free(). */
struct config_bind *pool_ranges(const struct pool *pool, size_t *ret_n);

/* "/20000+64/-20010": the ports left out have a minus; they end when `out` has max bytes. With TLS: "/t24096+64/t-24100".
 * Parsing takes the first such words of a mark; none: size 0. */
void pool_mark(const struct pool *pool, size_t max, struct buf *out);
void pool_parse(struct pool *pool, const char *mark);

#endif
