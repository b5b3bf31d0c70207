/* What a watch has delivered of its kind: 24 bytes an object beside the object itself, which is shared with the store.
 * Tells what is unchanged, and after a new list what has gone. */
#ifndef HATCHWAY_SOURCE_KNOWN_H
#define HATCHWAY_SOURCE_KNOWN_H

#include "controller/object/object.h"

struct known_entry {
	struct object *object; /* NULL: free */
	uint64_t version : 63; /* metadata.resourceVersion; 0: not a number */
	uint64_t seen : 1;     /* in the list that is being read */
	uint64_t status : 63;  /* struct status_seen's; of kinds we write none to, 0 */
	uint64_t status_others : 1;
};

struct known {
	struct known_entry *entries;
	size_t n, cap; /* cap: 0 or a power of two */
	uint64_t seed; /* users name objects */
};

void known_init(struct known *known, uint64_t seed);
void known_done(struct known *known);
struct known_entry *known_find(const struct known *known, const char *namespace, const char *name); /* NULL */
/* In place of the object of the same name, if there is one. Takes the reference over. Entries move. */
struct known_entry *known_put(struct known *known, struct object *object);
void known_remove(struct known *known, struct known_entry *entry);
void known_unsee(struct known *known);

#endif
