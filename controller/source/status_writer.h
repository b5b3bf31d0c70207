/* Status documents into a status_dir, in a worker thread: a file system that is busy with HAProxy's files must not hold up
 * the loop. One batch is under way at a time; who has more to say waits for done(), so that memory stays small. */
#ifndef HATCHWAY_SOURCE_STATUS_WRITER_H
#define HATCHWAY_SOURCE_STATUS_WRITER_H

#include "controller/source/status_dir.h"
#include "controller/source/status_sink.h"

#include <uv.h>

struct status_writer_events {
	/* The batch is written. */
	void (*done)(void *ctx);
	/* One document is not; the others are. */
	void (*failed)(void *ctx, const char *kind, const char *namespace, const char *name, const char *error);
	void *ctx;
};

/* Takes the folder over. The first batch that is the last of what there is to say also removes what an earlier run
 * left. Closing waits for the batch under way; done() is not called any more. */
struct status_sink status_writer_open(uv_loop_t *loop, struct status_dir *dir, const struct status_writer_events *events);

#endif
