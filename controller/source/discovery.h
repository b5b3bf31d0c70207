/* Which kinds the API server serves, and in which version: asked now and then, sooner while one is missing. The same
 * questions tell whether the connection is alive. */
#ifndef HATCHWAY_SOURCE_DISCOVERY_H
#define HATCHWAY_SOURCE_DISCOVERY_H

#include "controller/object/object.h"
#include "controller/source/kube_client.h"

struct discovery_events {
	/* kind is served as version under this plural. Told whenever it changes. version NULL: it is not served; told
	 * after several answers in a row said so, since a server that has just started does not know its CRDs yet. */
	void (*served)(void *ctx, enum object_kind kind, const char *version, const char *plural);
	/* Of which release the CRDs are ("v1.6.3"), and of the experimental channel? NULL: they do not say, or it cannot be
	 * read: why. Told before a kind is first, and whenever it changes. */
	void (*release)(void *ctx, const char *version, bool experimental, const char *why);
	/* Questions went unanswered: the connection may be dead. */
	void (*silent)(void *ctx, const char *why);
	void *ctx;
};

struct discovery_times {
	unsigned poll_ms, missing_ms; /* between questions: all is served, something is not */
	unsigned answer_ms;           /* deadline of one question */
};

struct discovery;
struct discovery *discovery_open(uv_loop_t *loop, struct kube_client *client, const struct discovery_times *times,
                                 const struct discovery_events *events);
void discovery_close(struct discovery *discovery, void (*cb)(void *ctx), void *ctx);
/* Ask at once: a list has said 404. */
void discovery_now(struct discovery *discovery);

#endif
