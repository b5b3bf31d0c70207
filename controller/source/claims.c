/* Owns the index of all objects of a folder and the order in which files are heard. The objects' memory is shared with
 * whoever was given them; of an object nothing else is kept. */
#include "controller/source/claims.h"

#include "hatchway/base/hashed.h"

struct claim {
	struct hashed hashed; /* by the object's kind, namespace and name: one of each file that gives it */
	uint32_t line : 29, lost : 1, delivered : 1, dated : 1; /* dated: by its file */
	struct object *object;
	struct giver *giver;
};

/* An object whose claims changed since the last delivery. */
struct touched {
	struct hashed hashed; /* as its claims */
	bool delivered, dated;
	struct object *object; /* a reference: the one delivered, or else any with its name */
};

struct claims {
	struct source_events events;
	struct file_memory *memory;
	struct hashed_set index, touched;
	struct touched **order; /* of touching: delivery is deterministic */
	size_t n_order, cap_order;
};

struct claims *claims_new(const struct source_events *events, struct file_memory *memory)
{
	struct claims *claims = xcalloc(1, sizeof(*claims));
	claims->events = *events;
	claims->memory = memory;
	hashed_init(&claims->index);
	hashed_init(&claims->touched);
	return claims;
}

static void forget_touched(struct claims *claims)
{
	for (size_t i = 0; i < claims->n_order; i++) {
		object_unref(claims->order[i]->object);
		free(claims->order[i]);
	}
	free(claims->order);
	claims->order = NULL;
	claims->n_order = claims->cap_order = 0;
	hashed_done(&claims->touched);
}

void claims_free(struct claims *claims)
{
	forget_touched(claims);
	hashed_done(&claims->index);
	free(claims);
}

/* ---- the index ---- */

static uint32_t hash_key(const struct claims *claims, const struct object *object)
{
	uint64_t hash = hash_bytes(object->name, strlen(object->name), claims->index.seed + object->kind);
	return (uint32_t)hash_bytes(object->namespace, strlen(object->namespace), hash);
}

static struct claim *same_object(struct claim *claim, const struct object *object)
{
	while (claim && object_cmp_key(claim->object, object) != 0)
		claim = hashed_next(claim);
	return claim;
}

/* Every claim of the object, in no order. NULL: nobody claims it. */
static struct claim *first_claim(const struct claims *claims, const struct object *object)
{
	return same_object(hashed_first(&claims->index, hash_key(claims, object)), object);
}

static struct claim *next_claim(const struct claim *claim)
{
	return same_object(hashed_next(claim), claim->object);
}

static bool is_touched(const struct claims *claims, const struct object *object, uint32_t hash)
{
	const struct touched *touched = hashed_first(&claims->touched, hash);
	while (touched && object_cmp_key(touched->object, object) != 0)
		touched = hashed_next(touched);
	return touched;
}

/* To be called before the claims of the object change. */
static void touch(struct claims *claims, struct object *object)
{
	uint32_t hash = hash_key(claims, object);
	if (is_touched(claims, object, hash))
		return;
	const struct claim *claim = first_claim(claims, object);
	while (claim && !claim->delivered)
		claim = next_claim(claim);
	struct touched *touched = xcalloc(1, sizeof(*touched));
	touched->delivered = claim != NULL;
	touched->dated = claim && claim->dated;
	touched->object = object_ref(claim ? claim->object : object);
	hashed_add(&claims->touched, touched, hash);
	if (claims->n_order == claims->cap_order) {
		claims->cap_order = claims->cap_order ? claims->cap_order * 2 : 16;
		claims->order = xrealloc(claims->order, claims->cap_order * sizeof(struct touched *));
	}
	claims->order[claims->n_order++] = touched;
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

static bool is_given(const struct claims *claims, const struct object *object, const struct giver *giver)
{
	for (const struct claim *claim = first_claim(claims, object); claim; claim = next_claim(claim))
		if (claim->giver == giver)
			return true;
	return false;
}

static void add_claim(struct claims *claims, struct giver *giver, struct object *object, unsigned line, bool dated)
{
	BUG_ON(!giver->claims);
	struct claim *claim = &giver->claims[giver->n++];
	claim->object = object;
	claim->giver = giver;
	claim->line = line;
	claim->dated = dated;
	touch(claims, object);
	hashed_add(&claims->index, claim, hash_key(claims, object));
}

/* What the giver said before, unlinked: either said again, or kept because it may only be unreadable now, or gone. */
static void settle_old(struct claims *claims, struct giver *giver, struct claim *old, size_t n_old, bool keep)
{
	for (size_t i = 0; i < n_old; i++) {
		if (keep && !is_given(claims, old[i].object, giver))
			add_claim(claims, giver, old[i].object, old[i].line, old[i].dated);
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
		touch(claims, old[i].object);
		hashed_delete(&claims->index, &old[i]);
	}
	giver->claims = room ? xcalloc(room, sizeof(*giver->claims)) : NULL;
	giver->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_given(claims, given[i].object, giver)) {
			add_claim(claims, giver, given[i].object, given[i].line, given[i].object->created);
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
		touch(claims, giver->claims[i].object);
}

/* ---- delivery ---- */

/* If all are leaving, what was last delivered stays until they are gone. */
static int rank(const struct claim *claim, const struct object *delivered)
{
	return !claim->giver->leaving ? 0 : claim->object == delivered ? 1 : 2;
}

static struct claim *find_winner(struct claim *first, const struct object *delivered)
{
	struct claim *winner = first;
	for (struct claim *claim = first; claim; claim = next_claim(claim)) {
		int order = rank(claim, delivered) - rank(winner, delivered);
		if (order < 0 || (!order && strcmp(claim->giver->path, winner->giver->path) < 0))
			winner = claim;
	}
	return winner;
}

static bool is_same(const struct object *a, const struct object *b)
{
	return a->spec_hash == b->spec_hash && a->created == b->created && a->version == b->version &&
	       strcmp(a->uid, b->uid) == 0;
}

static void report_losers(struct claims *claims, struct claim *first, const struct claim *winner)
{
	for (struct claim *claim = first; claim; claim = next_claim(claim)) {
		bool lost = claim != winner && !claim->giver->leaving;
		if (lost && !claim->lost) {
			const struct object *object = claim->object;
			struct err err;
			err_set(&err, 0, "%s %s%s%s is already given by %s; this one is ignored",
			        object_kind_name(object->kind), object->namespace, *object->namespace ? "/" : "",
			        object->name, winner->giver->path);
			claims->events.problem(claims->events.ctx, claim->giver->path, claim->line, err.text);
		}
		set_lost(claims, claim, lost);
	}
}

/* As the API server does at creation: an object without a date has that of its first version. (Who may look at the
 * object by now: see deliver_winner().) */
static void date(struct claims *claims, const struct touched *touched, const struct claim *winner)
{
	struct object *object = winner->object;
	const struct object *before = touched->delivered ? touched->object : NULL;
	if (!claims->memory || winner->dated || object == before || !file_memory_dates(object->kind))
		return;
	object->created = before ? before->created : 0;
	if (!before || touched->dated)
		object->created = file_memory_born(claims->memory, object, object->created);
}

/* Whether there was anything new to tell. */
static bool deliver_winner(struct claims *claims, const struct touched *touched, struct claim *winner)
{
	struct object *before = touched->delivered ? touched->object : NULL;
	if (winner->object == before)
		return false;
	date(claims, touched, winner);
	if (before && is_same(winner->object, before)) {
		/* One copy is enough: the one everybody has. */
		object_unref(winner->object);
		winner->object = object_ref(before);
		return false;
	}
	if (before) {
		/* The object is still ours alone, or one we gave before: then nobody but us looks at it any more. */
		int64_t generation = before->generation + !object_same_spec(winner->object, before);
		if (winner->object->generation < generation)
			winner->object->generation = generation;
	}
	claims->events.put(claims->events.ctx, object_ref(winner->object));
	return true;
}

static bool deliver(struct claims *claims, const struct touched *touched)
{
	const struct object *object = touched->object;
	struct claim *first = first_claim(claims, object);
	struct claim *winner = find_winner(first, touched->delivered ? object : NULL);
	if (!winner) {
		if (touched->delivered && claims->memory && file_memory_dates(object->kind))
			file_memory_died(claims->memory, object);
		if (touched->delivered)
			claims->events.delete(claims->events.ctx, object->kind, object->namespace, object->name);
		return touched->delivered;
	}
	report_losers(claims, first, winner);
	for (struct claim *claim = first; claim; claim = next_claim(claim))
		claim->delivered = claim == winner;
	return deliver_winner(claims, touched, winner);
}

bool claims_deliver(struct claims *claims)
{
	bool any = false;
	for (size_t i = 0; i < claims->n_order; i++)
		any |= deliver(claims, claims->order[i]);
	forget_touched(claims);
	hashed_init(&claims->touched);
	return any;
}
