/* Owns the index of all objects of a folder and the order in which files are heard. The objects' memory is shared with
 * whoever was given them; of an object nothing else is kept. */
#include "controller/source/claims.h"

#include "hatchway/base/hash.h"

/* The table's keys are objects themselves: kind, namespace and name, compared where they are. */
#define HASH_KEYCMP(a, b, n) object_cmp_key((a), (b))
#include <uthash.h>

struct claim {
	struct object *object;
	struct entry *entry;
	struct giver *giver;
	struct claim *next; /* of the same object, by path */
	unsigned line;
	bool lost;
};

struct entry {
	UT_hash_handle hh;
	struct object *object; /* a reference: the one delivered, or the first ever claimed */
	struct claim *claims;
	struct entry *next_touched;
	bool delivered, touched;
};

struct claims {
	struct source_events events;
	struct entry *entries;
	struct entry *touched, **touched_end; /* in order of touching: delivery is deterministic */
	uint64_t seed;
};

struct claims *claims_new(const struct source_events *events)
{
	struct claims *claims = xcalloc(1, sizeof(*claims));
	claims->events = *events;
	claims->touched_end = &claims->touched;
	claims->seed = (uint64_t)(uintptr_t)claims; /* users choose the names */
	return claims;
}

static void free_entry(struct claims *claims, struct entry *entry)
{
	HASH_DEL(claims->entries, entry);
	object_unref(entry->object);
	free(entry);
}

void claims_free(struct claims *claims)
{
	struct entry *entry, *next;
	HASH_ITER(hh, claims->entries, entry, next)
	free_entry(claims, entry);
	free(claims);
}

/* ---- the index ---- */

static unsigned hash_key(const struct claims *claims, const struct object *object)
{
	uint64_t hash = hash_bytes(object->name, strlen(object->name), claims->seed + object->kind);
	return (unsigned)hash_bytes(object->namespace, strlen(object->namespace), hash);
}

static struct entry *find_or_add(struct claims *claims, struct object *object)
{
	unsigned hash = hash_key(claims, object);
	struct entry *entry;
	HASH_FIND_BYHASHVALUE(hh, claims->entries, object, sizeof(*object), hash, entry);
	if (entry)
		return entry;
	entry = xcalloc(1, sizeof(*entry));
	entry->object = object_ref(object);
	HASH_ADD_KEYPTR_BYHASHVALUE(hh, claims->entries, entry->object, sizeof(*object), hash, entry);
	return entry;
}

static void touch(struct claims *claims, struct entry *entry)
{
	if (entry->touched)
		return;
	entry->touched = true;
	entry->next_touched = NULL;
	*claims->touched_end = entry;
	claims->touched_end = &entry->next_touched;
}

/* ---- claims ---- */

static void set_lost(struct claims *claims, struct claim *claim, bool lost)
{
	if (claim->lost == lost)
		return;
	struct giver *giver = claim->giver;
	claim->lost = lost;
	giver->n_lost += lost ? 1 : -1u;
	if (!giver->n_lost && !giver->broken)
		claims->events.problem(claims->events.ctx, giver->path, 0, NULL);
}

static void link_claim(struct claims *claims, struct claim *claim, struct entry *entry)
{
	claim->entry = entry;
	struct claim **at = &entry->claims;
	while (*at && strcmp((*at)->giver->path, claim->giver->path) < 0)
		at = &(*at)->next;
	claim->next = *at;
	*at = claim;
	touch(claims, entry);
}

static void unlink_claim(struct claims *claims, struct claim *claim)
{
	struct claim **at = &claim->entry->claims;
	while (*at != claim)
		at = &(*at)->next;
	*at = claim->next;
	touch(claims, claim->entry);
}

static bool has_giver(const struct entry *entry, const struct giver *giver)
{
	for (const struct claim *claim = entry->claims; claim; claim = claim->next)
		if (claim->giver == giver)
			return true;
	return false;
}

static void add_claim(struct claims *claims, struct giver *giver, struct object *object, unsigned line)
{
	struct claim *claim = &giver->claims[giver->n++];
	claim->object = object;
	claim->giver = giver;
	claim->line = line;
	link_claim(claims, claim, find_or_add(claims, object));
}

/* What the giver said before, unlinked: either said again, or kept because it may only be unreadable now, or gone. */
static void settle_old(struct claims *claims, struct giver *giver, struct claim *old, size_t n_old, bool keep)
{
	for (size_t i = 0; i < n_old; i++) {
		if (keep && !has_giver(old[i].entry, giver))
			add_claim(claims, giver, old[i].object, old[i].line);
		else
			object_unref(old[i].object);
	}
	free(old);
}

long claims_replace(struct claims *claims, struct giver *giver, const struct given *given, size_t n, bool keep)
{
	struct claim *old = giver->claims;
	size_t n_old = giver->n, room = n + (keep ? n_old : 0);
	long twice = -1;
	for (size_t i = 0; i < n_old; i++) {
		set_lost(claims, &old[i], false);
		unlink_claim(claims, &old[i]);
	}
	giver->claims = room ? xcalloc(room, sizeof(*giver->claims)) : NULL;
	giver->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (!has_giver(find_or_add(claims, given[i].object), giver)) {
			add_claim(claims, giver, given[i].object, given[i].line);
			continue;
		}
		object_unref(given[i].object);
		twice = (long)i;
	}
	settle_old(claims, giver, old, n_old, keep);
	return twice;
}

void claims_forget(struct giver *giver)
{
	for (size_t i = 0; i < giver->n; i++)
		object_unref(giver->claims[i].object);
	free(giver->claims);
	giver->claims = NULL;
	giver->n = 0;
}

void claims_touch(struct claims *claims, struct giver *giver)
{
	for (size_t i = 0; i < giver->n; i++)
		touch(claims, giver->claims[i].entry);
}

/* ---- delivery ---- */

/* If all are leaving, what was last delivered stays until they are gone. */
static struct claim *find_winner(const struct entry *entry)
{
	struct claim *fallback = entry->claims;
	for (struct claim *claim = entry->claims; claim; claim = claim->next) {
		if (!claim->giver->leaving)
			return claim;
		if (claim->object == entry->object)
			fallback = claim;
	}
	return fallback;
}

static bool is_same(const struct object *a, const struct object *b)
{
	return a->spec_hash == b->spec_hash && a->created == b->created && strcmp(a->version, b->version) == 0 &&
	       strcmp(a->uid, b->uid) == 0;
}

static void report_losers(struct claims *claims, const struct entry *entry, const struct claim *winner)
{
	for (struct claim *claim = entry->claims; claim; claim = claim->next) {
		bool lost = claim != winner && !claim->giver->leaving;
		if (lost && !claim->lost) {
			const struct object *object = claim->object;
			struct err err;
			err_set(&err, 0, "%s %s%s%s is also given by %s, which counts", object_kind_name(object->kind),
			        object->namespace, *object->namespace ? "/" : "", object->name, winner->giver->path);
			claims->events.problem(claims->events.ctx, claim->giver->path, claim->line, err.text);
		}
		set_lost(claims, claim, lost);
	}
}

/* The index's key is the object: it moves along. Equal keys, equal hash. */
static void replace_object(struct entry *entry, struct object *object)
{
	struct object *old = entry->object;
	entry->object = object_ref(object);
	entry->hh.key = object;
	object_unref(old);
}

static bool deliver_winner(struct claims *claims, struct entry *entry, struct claim *winner)
{
	if (entry->delivered && winner->object == entry->object)
		return false;
	if (entry->delivered && is_same(winner->object, entry->object)) {
		/* One copy is enough: the one everybody has. */
		object_unref(winner->object);
		winner->object = object_ref(entry->object);
		return false;
	}
	if (entry->delivered) {
		/* The object is still ours alone, or one we gave before: then nobody but us looks at it any more. */
		int64_t generation = entry->object->generation + !object_same_spec(winner->object, entry->object);
		if (winner->object->generation < generation)
			winner->object->generation = generation;
	}
	replace_object(entry, winner->object);
	entry->delivered = true;
	claims->events.put(claims->events.ctx, object_ref(entry->object));
	return true;
}

static bool deliver_entry(struct claims *claims, struct entry *entry)
{
	struct claim *winner = find_winner(entry);
	if (winner) {
		report_losers(claims, entry, winner);
		return deliver_winner(claims, entry, winner);
	}
	bool gone = entry->delivered;
	struct object *object = entry->object;
	if (gone)
		claims->events.delete(claims->events.ctx, object->kind, object->namespace, object->name);
	free_entry(claims, entry);
	return gone;
}

bool claims_deliver(struct claims *claims)
{
	bool any = false;
	while (claims->touched) {
		struct entry *entry = claims->touched;
		claims->touched = entry->next_touched;
		if (!claims->touched)
			claims->touched_end = &claims->touched;
		entry->touched = false;
		any |= deliver_entry(claims, entry);
	}
	return any;
}
