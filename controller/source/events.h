/* Kubernetes Events (events.k8s.io/v1) of type Warning, for who asks `kubectl describe`. Best effort: few at a time and few
 * in all, the same thing about the same object not twice in a while; what cannot be written is dropped. */
#ifndef HATCHWAY_SOURCE_EVENTS_H
#define HATCHWAY_SOURCE_EVENTS_H

#include "controller/object/object.h"
#include "controller/source/kube_client.h"

struct events_options {
	const char *controller, *identity; /* who reports; outlive it */
	unsigned answer_ms;
	unsigned burst, refill_ms; /* so many at once, one more after so long */
	unsigned again_ms;         /* the same may be said again after this */
};

/* controller and identity NULL. */
struct events_options events_defaults(void);

struct events;
struct events *events_open(uv_loop_t *loop, struct kube_client *client, const struct events_options *options);
void events_warn(struct events *events, enum object_kind kind, const char *namespace, const char *name, const char *uid,
                 const char *reason, const char *note);
/* Drops what is not written yet. */
void events_close(struct events *events, void (*cb)(void *ctx), void *ctx);

struct events_counters {
	uint64_t sent, dropped;
};
struct events_counters events_counters(const struct events *events);

#endif
