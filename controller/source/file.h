/* Source `file`: a folder of YAML manifests as if it were an API server. Saving a file is `kubectl apply`, removing it is
 * `kubectl delete`. Follows sub-folders; ignores names that begin with "." or end with "~", and what is not .yaml, .yml, .json.
 * A broken file keeps the objects it last gave and is reported with its line; so is an object given by two files (first path
 * in byte order wins). Generation counts up when an object's spec changes. */
#ifndef HATCHWAY_SOURCE_FILE_H
#define HATCHWAY_SOURCE_FILE_H

#include "controller/source/source.h"

#include <uv.h>

struct file_source;

/* Reads the folder (delivering everything, then settled()) and watches it on the loop. -errno with *reterr if the folder
 * cannot be read. */
MUST_CHECK int file_source_open(uv_loop_t *loop, const char *dir, const struct source_events *events,
                                struct file_source **ret, struct err *reterr);
void file_source_close(struct file_source *source, void (*cb)(void *ctx), void *ctx);

/* Once, without a loop: for `check`, `dump` and offline `explain`. */
MUST_CHECK int file_source_read(const char *dir, const struct source_events *events, struct err *reterr);

#endif
