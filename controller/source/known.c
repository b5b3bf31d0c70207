/* An open-addressed table with linear probing; a removal closes the gap, so that no marks are left. */
#include "controller/source/known.h"

#include "hatchway/base/hash.h"

void known_init(struct known *known, uint64_t seed)
{
	*known = (struct known){.seed = seed};
}

void known_done(struct known *known)
{
	for (size_t i = 0; i < known->cap; i++)
		object_unref(known->entries[i].object);
	free(known->entries);
	known_init(known, known->seed);
}

static size_t home_of(const struct known *known, const char *namespace, const char *name)
{
	uint64_t hash = hash_bytes(namespace, strlen(namespace) + 1, known->seed);
	return (size_t)hash_bytes(name, strlen(name), hash) & (known->cap - 1);
}

static size_t find_slot(const struct known *known, const char *namespace, const char *name)
{
	size_t at = home_of(known, namespace, name);
	for (const struct object *object; (object = known->entries[at].object); at = (at + 1) & (known->cap - 1))
		if (!strcmp(object->name, name) && !strcmp(object->namespace, namespace))
			break;
	return at;
}

struct known_entry *known_find(const struct known *known, const char *namespace, const char *name)
{
	if (!known->cap)
		return NULL;
	struct known_entry *entry = &known->entries[find_slot(known, namespace, name)];
	return entry->object ? entry : NULL;
}

static void grow(struct known *known)
{
	struct known old = *known;
	known->cap = old.cap ? 2 * old.cap : 16;
	known->entries = xcalloc(known->cap, sizeof(*known->entries));
	for (size_t i = 0; i < old.cap; i++) {
		const struct object *object = old.entries[i].object;
		if (object)
			known->entries[find_slot(known, object->namespace, object->name)] = old.entries[i];
	}
	free(old.entries);
}

struct known_entry *known_put(struct known *known, struct object *object)
{
	if (4 * (known->n + 1) > 3 * known->cap)
		grow(known);
	struct known_entry *entry = &known->entries[find_slot(known, object->namespace, object->name)];
	if (!entry->object) {
		*entry = (struct known_entry){0};
		known->n++;
	}
	object_unref(entry->object);
	entry->object = object;
	return entry;
}

void known_remove(struct known *known, struct known_entry *entry)
{
	size_t mask = known->cap - 1, gap = (size_t)(entry - known->entries);
	object_unref(entry->object);
	entry->object = NULL;
	known->n--;
	for (size_t at = (gap + 1) & mask; known->entries[at].object; at = (at + 1) & mask) {
		const struct object *object = known->entries[at].object;
		size_t home = home_of(known, object->namespace, object->name);
		if (((at - home) & mask) < ((at - gap) & mask))
			continue;
		known->entries[gap] = known->entries[at];
		known->entries[at].object = NULL;
		gap = at;
	}
}

void known_unsee(struct known *known)
{
	for (size_t i = 0; i < known->cap; i++)
		known->entries[i].seen = 0;
}
