/* A Gateway's infrastructure to an API server: a server-side apply for each Service and EndpointSlice that is not as it
 * should be, a merge patch for what no apply can mend, a DELETE for what is not wanted any more. What that is, is asked for again and again: nothing is remembered
 * here but what is under way, so that a hand's edit, a deletion and a failure are all put right the same way. A few at a
 * time; an object that is never as it was applied (somebody else changes it back) is tried more and more seldom.
 * Does nothing unless it leads. */
#ifndef HATCHWAY_SOURCE_INFRA_API_H
#define HATCHWAY_SOURCE_INFRA_API_H

#include "controller/object/infra_change.h"
#include "controller/source/api_result.h"
#include "hatchway/base/buf.h"

struct infra_api_events {
	/* Calls cb for everything that is not as it should be, as far as the watches have told. */
	void (*ask)(void *ctx, infra_cb *cb, void *cb_ctx);
	/* The API server's refusal to do something for a Gateway; text NULL: it has done it. */
	void (*said)(void *ctx, const char *namespace, const char *gateway, const char *text);
	/* Something was put right that the Gateway's people should know of. */
	void (*noted)(void *ctx, const char *namespace, const char *gateway, const char *note);
	void *ctx;
};

struct infra_api_times {
	unsigned answer_ms;
	unsigned pause_ms;               /* between two askings, for bursts */
	unsigned retry_ms, retry_max_ms; /* after refusals: doubles between the two */
	unsigned away_ms;                /* the longest wait for a server that does not answer */
	unsigned grace_ms;               /* by then the watches have told what was applied */
	unsigned end_ms;                 /* the end waits for its last writes no longer */
	unsigned calm_ms;                /* as long without a need to apply it: not somebody else's any more */
};

struct infra_api_counters {
	uint64_t applied, deleted, failures;
	uint64_t results[INFRA_KIND_COUNT][INFRA_VERB_COUNT][API_RESULT_COUNT];
};

struct infra_api;
struct infra_api_times infra_api_defaults(void);
struct infra_api *infra_api_open(uv_loop_t *loop, struct kube_client *client, const struct infra_api_times *times,
                                 const struct infra_api_events *events);
void infra_api_lead(struct infra_api *api, bool leader);
/* Something may have changed: ask soon, at once if it has been quiet. */
void infra_api_wake(struct infra_api *api);
struct infra_api_counters infra_api_counters(const struct infra_api *api);
/* Asks once more, and waits for what that sends. */
void infra_api_close(struct infra_api *api, void (*cb)(void *ctx), void *ctx);

#endif
