/* Owns the order of changes and the rules by which a server or backend gets from one state to another.
 * Reads two images; never talks to HAProxy, never logs, has no clock. */
#include "haproxy/plan.h"

#include "hatchway/base/words.h"

const char *const step_names[STEP_OPS] = {
#define STEP(name, kind, text, effect) [STEP_##name] = text,
#include "haproxy/steps.def"
#undef STEP
};

const enum item_kind step_kinds[STEP_OPS] = {
#define STEP(name, kind, text, effect) [STEP_##name] = ITEM_##kind,
#include "haproxy/steps.def"
#undef STEP
};

enum effect { NOTHING, SET, DELETE, NEW_EMPTY, ADD_BACKEND, ADD_SERVER, SET_ADDRESS, SET_WEIGHT, SET_STATE, UNPUBLISH };

static const enum effect effects[STEP_OPS] = {
#define STEP(name, kind, text, effect) [STEP_##name] = effect,
#include "haproxy/steps.def"
#undef STEP
};

/* Add, set and delete of the kinds that live in maps. */
static const struct {
	enum step_op add, set, del;
} map_ops[ITEM_KINDS] = {
	[ITEM_REGEX] = {STEP_ADD_REGEX, STEP_SET_REGEX, STEP_DEL_REGEX},
	[ITEM_CHAIN] = {STEP_ADD_CHAIN, STEP_SET_CHAIN, STEP_DEL_CHAIN},
	[ITEM_RULE] = {STEP_ADD_RULE, STEP_SET_RULE, STEP_DEL_RULE},
	[ITEM_PATH] = {STEP_ADD_PATH, STEP_SET_PATH, STEP_DEL_PATH},
	[ITEM_HOST] = {STEP_ADD_HOST, STEP_SET_HOST, STEP_DEL_HOST},
	[ITEM_NAME] = {STEP_ADD_NAME, STEP_SET_NAME, STEP_DEL_NAME},
	[ITEM_LISTENER] = {STEP_ADD_LISTENER, STEP_SET_LISTENER, STEP_DEL_LISTENER},
};

void plan_init(struct plan *plan)
{
	*plan = (struct plan){0};
	arena_init(&plan->arena);
}

void plan_done(struct plan *plan)
{
	arena_done(&plan->arena);
	free(plan->steps);
	*plan = (struct plan){0};
}

size_t server_key_backend(const char *key)
{
	return strcspn(key, "/");
}

static void step_add(struct plan *plan, enum step_op op, const char *key, const char *value)
{
	if (plan->n == plan->cap) {
		plan->cap = plan->cap ? plan->cap * 2 : 16;
		plan->steps = xrealloc(plan->steps, plan->cap * sizeof(*plan->steps));
	}
	plan->steps[plan->n++] =
		(struct step){op, step_kinds[op], arena_strdup(&plan->arena, key), arena_strdup(&plan->arena, value)};
}

/* ---- what one key needs ---- */

static void plan_map_item(struct plan *plan, const struct item *held, const struct item *wanted)
{
	if (!wanted)
		step_add(plan, map_ops[held->kind].del, held->key, held->value);
	else if (!held)
		step_add(plan, map_ops[wanted->kind].add, wanted->key, wanted->value);
	else if (strcmp(held->value, wanted->value))
		step_add(plan, map_ops[wanted->kind].set, wanted->key, wanted->value);
}

static void plan_backend(struct plan *plan, const struct item *held, const struct item *wanted)
{
	bool closed = !held || !strcmp(held->value, BACKEND_UNPUBLISHED);

	if (!wanted) {
		if (!closed)
			step_add(plan, STEP_UNPUBLISH, held->key, held->value);
		step_add(plan, STEP_DEL_BACKEND, held->key, held->value);
		return;
	}
	if (!held)
		step_add(plan, STEP_ADD_BACKEND, wanted->key, wanted->value);
	if (closed)
		step_add(plan, STEP_PUBLISH, wanted->key, wanted->value);
}

/* New, set, commit and del of the kinds that HAProxy has as PEM files. */
static const struct {
	enum step_op new, set, commit, del;
} pem_ops[] = {
	[ITEM_CA] = {STEP_NEW_CA, STEP_SET_CA, STEP_COMMIT_CA, STEP_DEL_CA},
	[ITEM_CERT] = {STEP_NEW_CERT, STEP_SET_CERT, STEP_COMMIT_CERT, STEP_DEL_CERT},
};

/* What is held of one, but not known, came from somebody who did not finish. */
static void plan_pem(struct plan *plan, const struct item *held, const struct item *wanted)
{
	enum item_kind kind = (enum item_kind)(wanted ? wanted : held)->kind;

	if (!wanted) {
		step_add(plan, pem_ops[kind].del, held->key, "");
		return;
	}
	if (!held)
		step_add(plan, pem_ops[kind].new, wanted->key, "");
	if (!held || strcmp(held->value, wanted->value)) {
		step_add(plan, pem_ops[kind].set, wanted->key, wanted->value);
		step_add(plan, pem_ops[kind].commit, wanted->key, wanted->value);
	}
}

/* The same key, the same names and CA: they are in the certificate's digest. */
static void plan_sni(struct plan *plan, const struct item *held, const struct item *wanted)
{
	if (!wanted)
		step_add(plan, STEP_DEL_SNI, held->key, held->value);
	else if (!held)
		step_add(plan, STEP_ADD_SNI, wanted->key, wanted->value);
}

static bool is_local(const char *address)
{
	return !strncmp(address, "unix@", 5) || !strncmp(address, "abns@", 5);
}

static bool same_address(const char *held, const char *wanted)
{
	return !strcmp(held, wanted) || (!strcmp(held, ADDRESS_UNIX) && is_local(wanted));
}

static struct server_value server_value(const struct item *item)
{
	struct server_value value = {.state = SERVER_MAINT};

	/* Values are made by server_value_dump(), in render and reader. */
	BUG_ON(!server_value_parse(item->value, &value));
	return value;
}

static void step_server(struct plan *plan, enum step_op op, const char *key, const struct server_value *value)
{
	struct buf text;

	buf_init(&text, 1024);
	server_value_dump(value, &text);
	step_add(plan, op, key, text.data);
	buf_done(&text);
}

/* An endpoint that left a living backend must get no more requests now; one of a backend that nothing points to any more
 * may still get those that were on their way. */
static void plan_server_removal(struct plan *plan, const struct item *held, bool backend_wanted)
{
	struct server_value value = server_value(held);

	if (value.state != SERVER_MAINT) {
		value.state = SERVER_MAINT;
		step_server(plan, backend_wanted ? STEP_STOP_SERVER : STEP_RETIRE_SERVER, held->key, &value);
	}
	step_add(plan, STEP_DEL_SERVER, held->key, held->value);
}

static void plan_server(struct plan *plan, const struct item *held, const struct item *wanted, bool backend_wanted)
{
	if (!wanted) {
		plan_server_removal(plan, held, backend_wanted);
		return;
	}
	struct server_value want = server_value(wanted);
	if (!held) {
		step_add(plan, STEP_ADD_SERVER, wanted->key, wanted->value);
		if (want.state != SERVER_MAINT)
			step_add(plan, STEP_RAISE_STATE, wanted->key, wanted->value);
		return;
	}
	struct server_value have = server_value(held);
	/* Neither the protocol nor the kind of address of a living server can change. */
	if (have.h2c != want.h2c || is_local(have.address) != is_local(want.address)) {
		plan_server_removal(plan, held, true);
		return;
	}
	if (!same_address(have.address, want.address)) {
		if (is_local(want.address)) {
			plan_server_removal(plan, held, true);
			return;
		}
		step_add(plan, STEP_SET_ADDRESS, wanted->key, wanted->value);
	}
	/* Enums of states rise from taking requests to taking none. */
	bool more = want.state != have.state ? want.state < have.state : want.weight > have.weight;
	if (have.weight != want.weight)
		step_add(plan, more ? STEP_RAISE_WEIGHT : STEP_LOWER_WEIGHT, wanted->key, wanted->value);
	if (have.state != want.state)
		step_add(plan, more ? STEP_RAISE_STATE : STEP_LOWER_STATE, wanted->key, wanted->value);
}

static bool is_backend_of_server(const struct image *wanted, const char *key)
{
	char name[512];
	size_t n = server_key_backend(key);

	if (n >= sizeof(name))
		return false;
	memcpy(name, key, n);
	name[n] = 0;
	return image_get(wanted, ITEM_BACKEND, name) != NULL;
}

static void plan_pair(struct plan *plan, const struct item *held, const struct item *wanted, const struct image *want)
{
	const struct item *any = wanted ? wanted : held;

	if (!any || held == wanted)
		return;
	switch ((enum item_kind)any->kind) {
	case ITEM_CA:
	case ITEM_CERT:
		plan_pem(plan, held, wanted);
		break;
	case ITEM_SNI:
		plan_sni(plan, held, wanted);
		break;
	case ITEM_BACKEND:
		plan_backend(plan, held, wanted);
		break;
	case ITEM_SERVER:
		plan_server(plan, held, wanted, is_backend_of_server(want, any->key));
		break;
	default:
		plan_map_item(plan, held, wanted);
	}
}

/* ---- order ---- */

/* One certificate after the other, and one CA: HAProxy has one under way at a time. */
static int step_rank(enum step_op op)
{
	for (unsigned kind = 0; kind < ARRAY_LEN(pem_ops); kind++)
		if (op == pem_ops[kind].set || op == pem_ops[kind].commit)
			return (int)pem_ops[kind].new;
	return (int)op;
}

/* Paths: what is new comes longest first, what goes goes shortest first, so that at no time a request falls from a long
 * path to a shorter one that was not there before. Everything else: by key, for the same plan every time. */
static int step_cmp(const void *a, const void *b)
{
	const struct step *x = a, *y = b;

	if (step_rank(x->op) != step_rank(y->op))
		return step_rank(x->op) < step_rank(y->op) ? -1 : 1;
	if (x->kind <= ITEM_CERT && x->op != y->op && !strcmp(x->key, y->key))
		return x->op < y->op ? -1 : 1;
	if (x->kind == ITEM_PATH) {
		size_t m = strlen(x->key), n = strlen(y->key);
		if (m != n)
			return (m > n ? -1 : 1) * (x->op == STEP_DEL_PATH ? -1 : 1);
	}
	return strcmp(x->key, y->key);
}

static int key_cmp(const void *a, const void *b)
{
	const struct plan_key *x = a, *y = b;

	return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : strcmp(x->key, y->key);
}

static void plan_keys(struct plan *plan, const struct image *held, const struct image *wanted,
                      const struct plan_key *keys, size_t n)
{
	struct plan_key *sorted = xcalloc(n, sizeof(*sorted));

	if (n) {
		memcpy(sorted, keys, n * sizeof(*sorted));
		qsort(sorted, n, sizeof(*sorted), key_cmp);
	}
	for (size_t i = 0; i < n; i++) {
		if (i && !key_cmp(&sorted[i - 1], &sorted[i]))
			continue;
		enum item_kind kind = sorted[i].kind;
		plan_pair(plan, image_get(held, kind, sorted[i].key), image_get(wanted, kind, sorted[i].key), wanted);
	}
	free(sorted);
}

/* In any order: the steps are sorted in the end. Without a list of either image: the plan of equals needs no memory. */
static void plan_all(struct plan *plan, const struct image *held, const struct image *wanted)
{
	const struct item *item;
	size_t cursor = 0;

	while ((item = image_next(wanted, &cursor)))
		plan_pair(plan, image_get(held, (enum item_kind)item->kind, item->key), item, wanted);
	cursor = 0;
	while ((item = image_next(held, &cursor)))
		if (!image_get(wanted, (enum item_kind)item->kind, item->key))
			plan_pair(plan, item, NULL, wanted);
}

void plan_build(struct plan *plan, const struct image *held, const struct image *wanted, const struct plan_key *keys,
                size_t n_keys)
{
	if (keys)
		plan_keys(plan, held, wanted, keys, n_keys);
	else
		plan_all(plan, held, wanted);
	if (plan->n)
		qsort(plan->steps, plan->n, sizeof(*plan->steps), step_cmp);
}

/* ---- effect ---- */

static void set_item(struct image *held, const struct image *wanted, const struct step *step, const char *value)
{
	const struct item *item = wanted ? image_get(wanted, step->kind, step->key) : NULL;

	if (item && !strcmp(item->value, value))
		image_share(held, item);
	else
		image_set(held, step->kind, step->key, value);
}

static void apply_server(const struct step *step, struct image *held, const struct image *wanted, enum effect effect)
{
	const struct item *item = image_get(held, ITEM_SERVER, step->key);
	struct server_value to, value;
	struct buf text;

	BUG_ON(!server_value_parse(step->value, &to));
	value = item ? server_value(item) : to;
	if (effect == ADD_SERVER) {
		value = to;
		value.state = SERVER_MAINT;
	} else if (effect == SET_ADDRESS) {
		memcpy(value.address, to.address, sizeof(value.address));
	} else if (effect == SET_WEIGHT) {
		value.weight = to.weight;
	} else {
		value.state = to.state;
	}
	buf_init(&text, 1024);
	server_value_dump(&value, &text);
	set_item(held, wanted, step, text.data);
	buf_done(&text);
}

void plan_apply(const struct step *step, struct image *held, const struct image *wanted)
{
	switch (effects[step->op]) {
	case NOTHING:
		break;
	case SET:
		set_item(held, wanted, step, step->value);
		break;
	case NEW_EMPTY:
		image_set(held, step->kind, step->key, "");
		break;
	case DELETE:
		image_delete(held, step->kind, step->key);
		break;
	case ADD_BACKEND:
	case UNPUBLISH:
		image_set(held, step->kind, step->key, BACKEND_UNPUBLISHED);
		break;
	case ADD_SERVER:
	case SET_ADDRESS:
	case SET_WEIGHT:
	case SET_STATE:
		apply_server(step, held, wanted, effects[step->op]);
		break;
	}
}

void plan_dump(const struct plan *plan, struct buf *out)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct step *step = &plan->steps[i];
		buf_adds(out, step_names[step->op]);
		word_add(out, step->key);
		word_add(out, item_shown(step->kind, step->value));
		buf_addc(out, '\n');
	}
}
