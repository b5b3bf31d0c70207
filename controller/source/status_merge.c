/* Trees of the API server's JSON and of our own YAML documents are compared and combined alike. What the API server says
 * is read with suspicion: any field may be missing or of another type. */
#include "controller/source/status_merge.h"

#include "controller/object/json_write.h"
#include "controller/object/schema.h"
#include "hatchway/base/hash.h"

#define TRANSITION "lastTransitionTime"

/* The fields a document of the kind can have; a route's parents are told apart one by one. */
static const char *const class_fields[] = {"conditions", "supportedFeatures", NULL};
static const char *const gateway_fields[] = {"addresses", "attachedListenerSets", "conditions", "listeners", NULL};
static const char *const set_fields[] = {"conditions", "listeners", NULL};
static const char *const route_fields[] = {"parents", NULL};
static const char *const policy_fields[] = {"ancestors", NULL};
static const char *const filter_fields[] = {"conditions", NULL};

static const char *const *fields_of(enum object_kind kind)
{
	switch (kind) {
	case KIND_GATEWAYCLASS:
		return class_fields;
	case KIND_GATEWAY:
		return gateway_fields;
	case KIND_LISTENERSET:
		return set_fields;
	case KIND_HTTPROUTE:
	case KIND_GRPCROUTE:
		return route_fields;
	case KIND_BACKENDTLSPOLICY:
		return policy_fields;
	case KIND_FILTER:
		return filter_fields;
	default:
		return NULL;
	}
}

/* Of a kind whose status is a list that controllers share: the list, and what tells one entry of a controller from
 * another. NULL: a status of one controller. */
static const char *shared_list(enum object_kind kind)
{
	return fields_of(kind) == route_fields ? "parents" : fields_of(kind) == policy_fields ? "ancestors" : NULL;
}

static const struct node *entry_ref(const struct node *entry)
{
	const struct node *ref = node_get(entry, "parentRef");
	return ref ? ref : node_get(entry, "ancestorRef");
}

static bool is_list(const struct node *node)
{
	return node && node->type == NODE_LIST;
}

static const char *text_of(const struct node *map, const char *key)
{
	const struct node *node = node_get(map, key);
	return node && node->type == NODE_STRING ? node->text : "";
}

static bool is_foreign_condition(const struct node *condition)
{
	return strchr(text_of(condition, "type"), '/') != NULL;
}

/* ---- digests ---- */

/* Nobody's yet: the CRD's own default for an object that no controller has looked at. */
static bool is_unjudged(const struct node *condition)
{
	return !strcmp(text_of(condition, "status"), "Unknown");
}

static uint64_t digest_of(const struct node *node, const char *key, const char *skip)
{
	uint64_t hash = (uint64_t)node->type + 1;
	if (node->type == NODE_MAP) {
		for (size_t i = 0; i < node->n; i++)
			if (strcmp(node->keys[i], TRANSITION) && strcmp(node->keys[i], skip))
				hash += hash_bytes(node->keys[i], strlen(node->keys[i]),
				                   digest_of(node->items[i], node->keys[i], skip));
	} else if (node->type == NODE_LIST) {
		for (size_t i = 0; i < node->n; i++) {
			if (!strcmp(key, "conditions") && is_foreign_condition(node->items[i]))
				continue;
			uint64_t item = digest_of(node->items[i], "", skip);
			hash = hash_bytes(&item, sizeof(item), hash);
		}
	} else if (node->text) {
		hash = hash_bytes(node->text, strlen(node->text), hash);
	}
	return hash;
}

static bool is_ours(const struct node *parent, const char *controller)
{
	return !strcmp(text_of(parent, "controllerName"), controller);
}

static struct status_seen see_parents(const struct node *parents, const char *controller)
{
	struct status_seen seen = {0};
	for (size_t i = 0; is_list(parents) && i < parents->n; i++) {
		if (is_ours(parents->items[i], controller)) {
			uint64_t item = digest_of(parents->items[i], "", "");
			seen.digest = hash_bytes(&item, sizeof(item), seen.digest) | 1;
		} else {
			seen.others = true;
		}
	}
	return seen;
}

static bool has_condition(const struct node *status, bool (*is)(const struct node *))
{
	const struct node *conditions = node_get(status, "conditions");
	for (size_t i = 0; is_list(conditions) && i < conditions->n; i++)
		if (is(conditions->items[i]))
			return true;
	return false;
}

static bool is_judged(const struct node *condition)
{
	return !is_foreign_condition(condition) && !is_unjudged(condition);
}

static uint64_t digest_of_fields(enum object_kind kind, const struct node *status, const char *skip)
{
	uint64_t digest = 0;
	for (const char *const *field = fields_of(kind); *field; field++) {
		const struct node *value = node_get(status, *field);
		if (!strcmp(*field, "conditions") && !has_condition(status, is_judged))
			continue;
		if (value && value->type != NODE_NULL)
			digest = hash_bytes(*field, strlen(*field), digest + digest_of(value, *field, skip)) | 1;
	}
	return digest;
}

struct status_seen status_see(enum object_kind kind, const struct node *status, const char *controller)
{
	struct status_seen seen = {0};
	if (shared_list(kind))
		seen = see_parents(node_get(status, shared_list(kind)), controller);
	else if (object_kind_has_status(kind))
		seen.digest = digest_of_fields(kind, status, "");
	seen.others |= !shared_list(kind) && has_condition(status, is_foreign_condition);
	seen.digest &= UINT64_MAX >> 1;
	return seen;
}

/* One entry of managedFields: another manager has last changed what the Gateway's acceptance says. */
static bool is_others_verdict(const struct node *entry)
{
	static const char *const path[] = {"fieldsV1", "f:status", "f:conditions", "k:{\"type\":\"Accepted\"}", "f:message"};
	const struct node *at = entry;
	for (size_t i = 0; i < ARRAY_LEN(path); i++)
		at = at && at->type == NODE_MAP ? node_get(at, path[i]) : NULL;
	return at && strcmp(text_of(entry, "manager"), STATUS_MANAGER) != 0;
}

bool status_has_listeners(enum object_kind kind)
{
	return fields_of(kind) == gateway_fields || fields_of(kind) == set_fields;
}

struct status_seen status_see_object(enum object_kind kind, const struct node *object, const char *controller)
{
	struct status_seen seen = status_see(kind, node_get(object, "status"), controller);
	const struct node *fields = node_get(node_get(object, "metadata"), "managedFields");
	for (size_t i = 0; status_has_listeners(kind) && is_list(fields) && i < fields->n; i++)
		if (fields->items[i]->type == NODE_MAP && is_others_verdict(fields->items[i]))
			seen.digest = 0;
	return seen;
}

uint64_t status_digest_uncounted(enum object_kind kind, const struct node *status)
{
	return digest_of_fields(kind, status, "attachedRoutes");
}

/* ---- what belongs together in two versions ---- */

static const struct node *find_by(const struct node *list, const char *key, const struct node *like)
{
	for (size_t i = 0; is_list(list) && i < list->n; i++)
		if (!strcmp(text_of(list->items[i], key), text_of(like, key)))
			return list->items[i];
	return NULL;
}

static const struct node *find_parent(const struct node *parents, const struct node *like)
{
	const struct node *ref = entry_ref(like);
	for (size_t i = 0; is_list(parents) && i < parents->n; i++) {
		const struct node *parent = parents->items[i], *other = entry_ref(parent);
		if (is_ours(parent, text_of(like, "controllerName")) && other &&
		    digest_of(other, "", "") == digest_of(ref, "", ""))
			return parent;
	}
	return NULL;
}

typedef void pair_cb(void *ctx, const struct node *wanted, const struct node *old);

static void pair_conditions(const struct node *wanted, const struct node *old, pair_cb *cb, void *ctx)
{
	const struct node *list = node_get(wanted, "conditions"), *others = node_get(old, "conditions");
	for (size_t i = 0; is_list(list) && i < list->n; i++)
		cb(ctx, list->items[i], find_by(others, "type", list->items[i]));
}

/* Every condition of ours, and what it was. */
static void pair_all(const struct node *wanted, const struct node *old, pair_cb *cb, void *ctx)
{
	static const char *const lists[] = {"parents", "ancestors"};
	const struct node *listeners = node_get(wanted, "listeners");
	pair_conditions(wanted, old, cb, ctx);
	for (size_t i = 0; listeners && i < listeners->n; i++)
		pair_conditions(listeners->items[i], find_by(node_get(old, "listeners"), "name", listeners->items[i]),
		                cb, ctx);
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		const struct node *entries = node_get(wanted, lists[l]);
		for (size_t i = 0; entries && i < entries->n; i++)
			pair_conditions(entries->items[i], find_parent(node_get(old, lists[l]), entries->items[i]), cb, ctx);
	}
}

/* ---- merging ---- */

static void keep_time(void *ctx, const struct node *wanted, const struct node *old)
{
	const char *time = text_of(old, TRANSITION);
	if (!*time || strcmp(text_of(wanted, "status"), text_of(old, "status")))
		return;
	for (size_t i = 0; i < wanted->n; i++)
		if (!strcmp(wanted->keys[i], TRANSITION))
			wanted->items[i]->text = time;
}

/* What of old's list is somebody else's, and behind it ours, as far as there is room. */
static struct node *with_others(struct node *list, const struct node *old, bool (*foreign)(const struct node *, const char *),
                                const char *controller, size_t limit, struct arena *scratch)
{
	struct node *all = arena_alloc(scratch, sizeof(*all));
	size_t n = list ? list->n : 0, n_old = is_list(old) ? old->n : 0;
	all->type = NODE_LIST;
	all->items = arena_array(scratch, n + n_old, sizeof(*all->items));
	for (size_t i = 0; i < n_old; i++)
		if (foreign(old->items[i], controller))
			all->items[all->n++] = old->items[i];
	for (size_t i = 0; i < n && all->n < limit; i++)
		all->items[all->n++] = list->items[i];
	return all;
}

static bool is_others_parent(const struct node *parent, const char *controller)
{
	return !is_ours(parent, controller);
}

static bool is_others_condition(const struct node *condition, const char *controller)
{
	return is_foreign_condition(condition);
}

/* The CRD's limit, where our own document does not keep it alone: a route has no more parents than parentRefs. */
static size_t list_limit(enum object_kind kind)
{
	return kind == KIND_BACKENDTLSPOLICY ? 16 : SIZE_MAX;
}

static void write_field(enum object_kind kind, const char *field, struct node *wanted, const struct node *old,
                        const char *controller, struct arena *scratch, struct buf *out)
{
	struct node *value = (struct node *)(uintptr_t)node_get(wanted, field); /* wanted is the caller's to change */
	const struct node *before = node_get(old, field);
	if (shared_list(kind))
		value = with_others(value, before, is_others_parent, controller, list_limit(kind), scratch);
	else if (!strcmp(field, "conditions") && (value || has_condition(old, is_foreign_condition)))
		value = with_others(value, before, is_others_condition, controller, SIZE_MAX, scratch);
	if (!value && !before)
		return;
	if (out->data[out->len - 1] != '{')
		buf_addc(out, ',');
	json_write_text(out, field);
	buf_addc(out, ':');
	if (value)
		json_write(out, value);
	else
		buf_adds(out, "null");
}

void status_merge(enum object_kind kind, struct node *wanted, const struct node *old, const char *controller,
                  const char *version, struct arena *scratch, struct buf *out)
{
	if (wanted)
		pair_all(wanted, old, keep_time, NULL);
	buf_adds(out, "{\"metadata\":{\"resourceVersion\":");
	json_write_text(out, version);
	buf_adds(out, "},\"status\":{");
	for (const char *const *field = fields_of(kind); *field; field++)
		write_field(kind, *field, wanted, old, controller, scratch, out);
	buf_adds(out, "}}");
}

/* ---- what has turned bad ---- */

struct turned {
	void (*cb)(void *ctx, const char *type, const char *reason, const char *message);
	void *ctx;
};

/* Conflicted and PartiallyInvalid are bad when they are true, all others of ours when they are false. */
static bool is_bad(const struct node *condition)
{
	const char *type = text_of(condition, "type"), *status = text_of(condition, "status");
	bool negative = !strcmp(type, "Conflicted") || !strcmp(type, "PartiallyInvalid");
	return !strcmp(status, negative ? "True" : "False");
}

/* Nothing is refused: the Gateway's Service or its load balancer is not there yet. */
static bool is_waiting(const struct node *condition)
{
	const char *reason = text_of(condition, "reason");
	return !strcmp(text_of(condition, "type"), "Programmed") &&
	       (!strcmp(reason, "AddressNotAssigned") || !strcmp(reason, "Pending"));
}

static void tell_turned(void *ctx, const struct node *wanted, const struct node *old)
{
	const struct turned *turned = ctx;
	const char *reason = text_of(wanted, "reason"), *message = text_of(wanted, "message");
	if (!is_bad(wanted) || is_waiting(wanted))
		return;
	if (old && is_bad(old) && !strcmp(reason, text_of(old, "reason")) && !strcmp(message, text_of(old, "message")))
		return;
	turned->cb(turned->ctx, text_of(wanted, "type"), reason, message);
}

void status_turned(const struct node *wanted, const struct node *old,
                   void (*cb)(void *ctx, const char *type, const char *reason, const char *message), void *ctx)
{
	struct turned turned = {cb, ctx};
	pair_all(wanted, old, tell_turned, &turned);
}
