/* What every source of objects tells: a folder (file.h) and a cluster (cluster.h) alike. */
#ifndef HATCHWAY_SOURCE_SOURCE_H
#define HATCHWAY_SOURCE_SOURCE_H

#include "controller/object/object.h"

struct source_events {
	/* A new or changed object; the reference is the callee's. Unchanged objects are not reported again. */
	void (*put)(void *ctx, struct object *object);
	/* An object that is not there any more. A folder: comes 0.1 s after its file has vanished, in case an editor is at
	 * work. */
	void (*delete)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	/* Everything seen so far has been delivered: a good moment to act. First when all there is has been read, then after
	 * every burst; a single change is delivered at once (leading edge). */
	void (*settled)(void *ctx);
	/* One problem of one file (or of a folder that cannot be watched, or of memory_dir), or of one object of a cluster; a
	 * reading may report several, one call each. text says all there is to say: what is wrong, and what holds instead. NULL: path is fine again, all of it. line 0: unknown. Of a file whose text
	 * is no YAML nothing counts; of one with refused objects the others do, and nothing that it gave before is taken
	 * back. */
	void (*problem)(void *ctx, const char *path, unsigned line, const char *text);
	void *ctx;
};

#endif
