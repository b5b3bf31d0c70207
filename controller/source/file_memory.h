/* What source `file` remembers across restarts, in a folder of its own (mode 700: manifests may hold Secrets): a copy
 * of the text of every file that was read well, and since when each Gateway and route without a creationTimestamp
 * has been there. Writing is done by a worker thread, after delivery; nothing is synced to disk, so a power cut may
 * cost what is new. */
#ifndef HATCHWAY_SOURCE_FILE_MEMORY_H
#define HATCHWAY_SOURCE_FILE_MEMORY_H

#include "controller/object/object.h"

#include <sys/stat.h>
#include <uv.h>

struct file_memory_events {
	/* The next file to copy, and the signature of what was read of it. false: no more. path is the callee's. */
	bool (*next)(void *ctx, const char **ret_path, uint64_t *ret_signature);
	/* What cannot be written; NULL: it can again. */
	void (*problem)(void *ctx, const char *dir, const char *text);
	void *ctx;
};

struct file_memory;

/* Of what is below root. Makes dir if need be; its parent must be there. -errno. */
MUST_CHECK int file_memory_open(uv_loop_t *loop, const char *dir, const char *root,
                                const struct file_memory_events *events, struct file_memory **ret, struct err *reterr);
/* Writes what is outstanding, but no more than a few copies. */
void file_memory_close(struct file_memory *memory, void (*cb)(void *ctx), void *ctx);

/* Of a regular file: differs when its content may. */
uint64_t file_signature(const struct stat *st);

/* A descriptor that stands where the copy of the file's text begins; -ENOENT: there is none. */
MUST_CHECK int file_memory_recall(const struct file_memory *memory, const char *path);
/* Calls cb for every file below folder that has a copy. */
void file_memory_below(const struct file_memory *memory, const char *folder, void (*cb)(void *ctx, const char *path),
                       void *ctx);
/* The file is gone: so will be its copy. */
void file_memory_forget(struct file_memory *memory, const char *path);

/* Whether objects of this kind have their beginning remembered: those that compete by age. */
bool file_memory_dates(enum object_kind kind);
/* Since when the object is there, in Unix seconds: since (if not 0), or what is remembered, or this burst's time: now,
 * but later than all before. */
MUST_CHECK int64_t file_memory_born(struct file_memory *memory, const struct object *object, int64_t since);
void file_memory_died(struct file_memory *memory, const struct object *object);
/* A burst has been delivered, the first one is the whole folder; so many files are still to be copied. */
void file_memory_settled(struct file_memory *memory, size_t n_copies);

#endif
