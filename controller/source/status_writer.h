/* Status documents into a status_dir, in a worker thread: a file system that is busy with HAProxy's files must not hold up
 * the loop. One batch is under way at a time; who has more to say waits for done(), so that memory stays small. */
#ifndef HATCHWAY_SOURCE_STATUS_WRITER_H
#define HATCHWAY_SOURCE_STATUS_WRITER_H

#include "controller/source/status_dir.h"

#include <uv.h>

struct status_writer;

struct status_writer_events {
	/* The batch is written. */
	void (*done)(void *ctx);
	/* One document is not; the others are. */
	void (*failed)(void *ctx, const char *kind, const char *namespace, const char *name, const char *error);
	void *ctx;
};

/* Takes the folder over. */
struct status_writer *status_writer_open(uv_loop_t *loop, struct status_dir *dir, const struct status_writer_events *events);

bool status_writer_busy(const struct status_writer *writer);
/* Into the next batch; texts are copied. text NULL removes. Not while busy. */
void status_writer_add(struct status_writer *writer, const char *kind, const char *namespace, const char *name,
                       const char *text);
/* Begins with what was added; sweep: and then removes what an earlier run left. false: there is nothing to do. */
bool status_writer_start(struct status_writer *writer, bool sweep);

/* Waits for the batch under way (done() is not called any more), then frees; cb once. */
void status_writer_close(struct status_writer *writer, void (*cb)(void *ctx), void *ctx);

#endif
