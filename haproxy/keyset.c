/* Owns its entries' memory; nothing else. */
#include "haproxy/keyset.h"

static void make_name(char *out, enum item_kind kind, const char *key)
{
	out[0] = (char)('A' + (int)kind);
	strcpy(out + 1, key);
}

struct keyed *keyset_get(const struct keyset *set, enum item_kind kind, const char *key)
{
	size_t n = strlen(key) + 1;
	char small[512], *name = n < sizeof(small) ? small : xmalloc(n + 1);
	struct keyed *found;

	make_name(name, kind, key);
	HASH_FIND(hh, set->first, name, n, found);
	if (name != small)
		free(name);
	return found;
}

struct keyed *keyset_put(struct keyset *set, enum item_kind kind, const char *key)
{
	struct keyed *entry = keyset_get(set, kind, key);
	size_t n = strlen(key) + 1;

	if (entry)
		return entry;
	entry = xcalloc(1, sizeof(*entry) + n + 1);
	make_name(entry->name, kind, key);
	entry->kind = kind;
	entry->key = entry->name + 1;
	HASH_ADD(hh, set->first, name, n, entry);
	return entry;
}

static void entry_delete(struct keyset *set, struct keyed *entry)
{
	HASH_DEL(set->first, entry);
	free(entry->text);
	free(entry);
}

void keyset_delete(struct keyset *set, enum item_kind kind, const char *key)
{
	struct keyed *entry = keyset_get(set, kind, key);

	if (entry)
		entry_delete(set, entry);
}

void keyset_clear(struct keyset *set)
{
	struct keyed *entry, *next;

	HASH_ITER(hh, set->first, entry, next)
		entry_delete(set, entry);
}
