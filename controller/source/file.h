/* Source `file`: a folder of YAML manifests as if it were an API server. Saving a file is `kubectl apply`, removing it
 * is `kubectl delete`. Follows sub-folders; ignores names that begin with "." or end with "~", and what is not .yaml,
 * .yml, .json. A broken file keeps the objects it last gave, across restarts, and is reported with its line; so is an
 * object given by two files (first path in byte order wins). Generation counts up when an object's spec changes. A
 * Gateway or route without creationTimestamp was created when it was first seen, which restarts do not change; the
 * later burst is the younger one. */
#ifndef HATCHWAY_SOURCE_FILE_H
#define HATCHWAY_SOURCE_FILE_H

#include "controller/source/source.h"

#include <uv.h>

struct file_source;

/* Whether dir is a folder that can be read: for a word before anything is started. */
MUST_CHECK int file_source_check(const char *dir, struct err *reterr);

/* Reads the folder (delivering everything, then settled()) and watches it on the loop. memory_dir: what keeps last good
 * contents and ages for the next run, see file_memory.h; made if its parent is there; NULL: nothing is kept. -errno
 * with *reterr if a folder cannot be read. */
MUST_CHECK int file_source_open(uv_loop_t *loop, const char *dir, const char *memory_dir,
                                const struct source_events *events, struct file_source **ret, struct err *reterr);
void file_source_close(struct file_source *source, void (*cb)(void *ctx), void *ctx);

/* Once, without a loop: for `check`, `dump` and offline `explain`. */
MUST_CHECK int file_source_read(const char *dir, const struct source_events *events, struct err *reterr);

#endif
