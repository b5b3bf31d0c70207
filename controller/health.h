/* /healthz, /readyz and /metrics over HTTP, on the caller's loop. Nobody is asked who they are: what is answered names
 * kinds of objects and counts, never their contents. */
#ifndef HATCHWAY_HEALTH_H
#define HATCHWAY_HEALTH_H

#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

#include <uv.h>

struct health_events {
	/* True: ready. Either way, `out` is what a person should know; false: why not. */
	bool (*ready)(void *ctx, struct buf *out);
	/* Appends metric families (metrics.h). */
	void (*metrics)(void *ctx, struct buf *out);
	void *ctx;
};

struct health;
/* address: "ADDR:PORT", "[ADDR]:PORT" or ":PORT", which is every address. -errno with *reterr: not an address, or taken. */
MUST_CHECK int health_open(uv_loop_t *loop, const char *address, const struct health_events *events, struct health **ret,
                           struct err *reterr);
void health_close(struct health *health, void (*cb)(void *ctx), void *ctx);
/* Can it be an address at all? For the command line. */
MUST_CHECK int health_check_address(const char *address, struct err *reterr);

#endif
