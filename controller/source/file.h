/* Source `file`: a folder of YAML manifests as if it were an API server. Saving a file is `kubectl apply`, removing it
 * is `kubectl delete`. Follows sub-folders; ignores names that begin with "." or end with "~", and what is not .yaml,
 * .yml, .json. A broken file keeps the objects it last gave, across restarts, and is reported with its line; so is an
 * object given by two files (first path in byte order wins). Generation counts up when an object's spec changes. A
 * Gateway or HTTPRoute without creationTimestamp was created when it was first seen, which restarts do not change; the
 * later burst is the younger one. */
#ifndef HATCHWAY_SOURCE_FILE_H
#define HATCHWAY_SOURCE_FILE_H

#include "controller/object/object.h"

#include <uv.h>

struct file_events {
	/* A new or changed object; the reference is the callee's. Unchanged objects are not reported again. */
	void (*put)(void *ctx, struct object *object);
	/* An object that no file gives any more. Comes 0.1 s after its file has vanished: an editor may be at work. */
	void (*delete)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	/* Everything seen so far has been delivered: a good moment to act. After open (the whole folder), then after
	 * every burst of file events; a single save is delivered at once (leading edge). */
	void (*settled)(void *ctx);
	/* One problem of one file (or of a folder that cannot be watched, or of memory_dir); a reading may report
	 * several, one call each. text says all there is to say: what is wrong, and what holds instead. NULL: the file
	 * is fine again, all of it. line 0: unknown. Of a file whose text is no YAML nothing counts; of one with
	 * refused objects the others do, and nothing that it gave before is taken back. */
	void (*problem)(void *ctx, const char *path, unsigned line, const char *text);
	void *ctx;
};

struct file_source;

/* Whether dir is a folder that can be read: for a word before anything is started. */
MUST_CHECK int file_source_check(const char *dir, struct err *reterr);

/* Reads the folder (delivering everything, then settled()) and watches it on the loop. memory_dir: what keeps last good
 * contents and ages for the next run, see file_memory.h; made if its parent is there; NULL: nothing is kept. -errno
 * with *reterr if a folder cannot be read. */
MUST_CHECK int file_source_open(uv_loop_t *loop, const char *dir, const char *memory_dir,
                                const struct file_events *events, struct file_source **ret, struct err *reterr);
void file_source_close(struct file_source *source, void (*cb)(void *ctx), void *ctx);

/* Once, without a loop: for `check`, `dump` and offline `explain`. */
MUST_CHECK int file_source_read(const char *dir, const struct file_events *events, struct err *reterr);

#endif
