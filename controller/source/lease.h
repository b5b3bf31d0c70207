/* Who of several controllers leads, by a Lease (coordination.k8s.io/v1) as client-go's leader election has it: the holder
 * renews it, anybody may take it over once nobody has renewed it for its duration. Clocks need not agree: how long ago a
 * renewal was is measured from when we saw it. */
#ifndef HATCHWAY_SOURCE_LEASE_H
#define HATCHWAY_SOURCE_LEASE_H

#include "controller/source/kube_client.h"

struct lease_options {
	const char *namespace, *name;
	const char *identity;     /* ours, of nobody else; outlives the lease, as do the names */
	unsigned duration_ms;     /* whole seconds: others may take over after this */
	unsigned renew_ms;        /* not renewed for so long: we do not lead any more; shorter than duration */
	unsigned retry_ms;        /* between tries */
};

/* client-go's times; names NULL. */
struct lease_options lease_defaults(void);

struct lease;
/* changed: whether we lead, told when it changes; at the beginning we do not. client outlives it. */
struct lease *lease_open(uv_loop_t *loop, struct kube_client *client, const struct lease_options *options,
                         void (*changed)(void *ctx, bool leader), void *ctx);
/* Gives the lease up, if it is ours, so that the next one need not wait; a server that does not answer is not waited for
 * long. changed() is not called any more. */
void lease_close(struct lease *lease, void (*cb)(void *ctx), void *ctx);
/* For people: who holds it. */
const char *lease_holder(const struct lease *lease);

/* A time as Kubernetes' MicroTime has it: 2026-11-23T15:04:05.000006Z. ret has room for 32. */
void lease_time(int64_t seconds, unsigned microseconds, char *ret);

#endif
