/* Who gives which object: several files may claim one, the first path in byte order is heard. Decides what is new,
 * changed or gone, counts generations, dates what has no creationTimestamp, and says which files are in conflict. Knows
 * no file system. */
#ifndef HATCHWAY_SOURCE_CLAIMS_H
#define HATCHWAY_SOURCE_CLAIMS_H

#include "controller/source/file.h"
#include "controller/source/file_memory.h"

struct claim;

/* One giver: a file. Embedded in its owner; path and this struct outlive its claims. */
struct giver {
	const char *path;
	struct claim *claims; /* one array */
	uint32_t n, n_lost;   /* n_lost: claims another giver won */
	bool leaving;         /* its file just vanished: anybody else goes first, but nothing is deleted yet */
	bool broken;          /* its owner has reported a problem of its own */
};

struct given {
	struct object *object;
	unsigned line;
};

/* Since when objects without a creationTimestamp are there. memory NULL: nobody knows, they keep 0. */
struct claims;
struct claims *claims_new(const struct source_events *events, struct file_memory *memory);
void claims_free(struct claims *claims);

/* What giver gives from now on; takes over the references. keep: what it gave before and does not give now stays (some
 * of its text could not be understood). Returns the index of an object given twice, which is dropped, or -1. */
long claims_replace(struct claims *claims, struct giver *giver, const struct given *given, size_t n, bool keep);
/* Frees the giver's array without a word: everything ends. */
void claims_forget(struct giver *giver);
/* giver->leaving was changed. */
void claims_touch(struct claims *claims, struct giver *giver);
/* Reports all changes since the last call; whether there was one. */
bool claims_deliver(struct claims *claims);

#endif
