/* All that is written to an API server: status, Events, and the Lease that says who may. */
#ifndef HATCHWAY_WRITER_H
#define HATCHWAY_WRITER_H

#include "controller/source/cluster.h"
#include "controller/source/status_sink.h"

struct writer_options {
	const char *lease_namespace, *lease_name; /* NULL: there is no other, we lead */
	const char *identity;                     /* outlives the writer, as do the names */
};

struct writer_events {
	void (*status_done)(void *ctx); /* see status_sink.h */
	void (*status_again)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	/* Whether we lead, whenever it changes; never while opening. Who does not lead writes nothing. */
	void (*leader)(void *ctx, bool leader);
	void *ctx;
};

struct writer;
/* cluster outlives it. */
struct writer *writer_open(uv_loop_t *loop, struct cluster *cluster, const struct writer_options *options,
                           const struct writer_events *events);
struct status_sink writer_sink(struct writer *writer);
/* An Event of type Warning for an object that the cluster has. */
void writer_warn(struct writer *writer, enum object_kind kind, const char *namespace, const char *name, const char *reason,
                 const char *note);
bool writer_leads(const struct writer *writer);
/* Figures, a line each. */
void writer_describe(const struct writer *writer, struct buf *out);
/* The same as metrics. */
void writer_metrics(const struct writer *writer, struct buf *out);
/* Cancels what is under way, gives the lease up. */
void writer_close(struct writer *writer, void (*cb)(void *ctx), void *ctx);

#endif
