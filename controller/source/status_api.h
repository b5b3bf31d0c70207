/* Status documents to an API server: a merge PATCH of /status for each that differs from what the server has, which is
 * known from the watches. Others' parents[] and conditions survive, see status_merge.h. A few at a time; a server that is
 * slow or away makes the caller wait (busy()), and costs nobody else a thing. Writes nothing unless it leads. */
#ifndef HATCHWAY_SOURCE_STATUS_API_H
#define HATCHWAY_SOURCE_STATUS_API_H

#include "controller/source/api_result.h"
#include "controller/source/status_sink.h"
#include "controller/source/watch.h"

/* Where it writes, and what is known of it; cluster.h's. */
struct status_api_place {
	struct kube_client *client;
	const char *controller; /* controllerName of our parents[] */
	/* Appends an object's URL path; false: its kind is not served. */
	bool (*path)(void *ctx, enum object_kind kind, const char *namespace, const char *name, struct buf *out);
	bool (*seen)(void *ctx, enum object_kind kind, const char *namespace, const char *name, struct watch_seen *ret);
	void (*wrote)(void *ctx, enum object_kind kind, const char *namespace, const char *name, uint64_t digest);
	void *ctx;
};

struct status_api_events {
	/* Time for more: see status_sink.h. */
	void (*done)(void *ctx);
	/* A document was lost, or could not be written for now: it is wanted again. */
	void (*again)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	/* A condition has turned bad, as has just been written. */
	void (*turned)(void *ctx, enum object_kind kind, const char *namespace, const char *name, const char *uid,
	               const char *reason, const char *message);
	void *ctx;
};

struct status_api_times {
	unsigned answer_ms;
	unsigned retry_ms, retry_max_ms; /* back-off while the server is away: doubles between the two */
	unsigned missing_ms;             /* what the server does not know, or does not allow, is tried again after this */
	unsigned forbidden_max_ms;       /* a kind that may not be written: the time doubles up to this */
	unsigned pace_ms, pace_max_ms;   /* between writes to one Gateway that only count routes: doubles in a burst */
};

struct status_api;
struct status_api *status_api_open(uv_loop_t *loop, const struct status_api_place *place,
                                   const struct status_api_times *times, const struct status_api_events *events);
struct status_api_times status_api_defaults(void);
void status_api_lead(struct status_api *api, bool leader);
struct status_sink status_api_sink(struct status_api *api);
/* Cancels everything. */
void status_api_close(struct status_api *api, void (*cb)(void *ctx), void *ctx);

struct status_api_counters {
	uint64_t writes, reads, conflicts, failures;
	uint64_t results[KIND_COUNT][API_RESULT_COUNT]; /* of writes that have ended */
};
struct status_api_counters status_api_counters(const struct status_api *api);

#endif
