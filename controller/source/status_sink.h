/* Where status documents go, whatever it is: a folder (status_writer.h) or an API server (status_api.h). */
#ifndef HATCHWAY_SOURCE_STATUS_SINK_H
#define HATCHWAY_SOURCE_STATUS_SINK_H

#include "controller/object/object.h"

struct status_sink {
	const struct status_sink_ops *ops; /* NULL: nowhere */
	void *ctx;
};

struct status_sink_ops {
	unsigned at_once; /* documents a batch may have, so that the loop is not held up */
	/* Nothing may be added now; the owner's done() event says when. */
	bool (*busy)(void *ctx);
	/* Into the next batch; texts are copied. text NULL: no status of ours any more. Not while busy. */
	void (*add)(void *ctx, enum object_kind kind, const char *namespace, const char *name, const char *text);
	/* Begins with what was added. last: everything there is to say has been said since the beginning. */
	void (*start)(void *ctx, bool last);
	void (*close)(void *ctx, void (*cb)(void *ctx), void *cb_ctx);
};

#endif
