/* Status documents. A node remembers, of the document last given: its digest, and of each condition which it was and since
 * when it has that status; nothing else, for there are as many as objects. */
#include "controller/status/status.h"

#include "hatchway/base/hash.h"

#include <string.h>
#include <time.h>

#define STATUS_ADDRESSES 16 /* the CRD's limit */

struct transition {
	int64_t since; /* Unix seconds of the status, times 256, plus the condition's enum */
	uint32_t id;   /* hash of scope and type */
} __attribute__((packed, aligned(4)));

struct given {
	uint64_t digest;
	uint16_t n, bad; /* conditions; those that are not as one would like them */
	struct transition transitions[];
};

struct document {
	const struct graph *graph;
	const struct node *node;
	const struct given *old;
	struct given *new;
	const struct refusals *refusals;
	struct shown_list shown;
	struct status_news *news;
	int64_t now;
	struct buf *out;
};

/* ---- news ---- */

static struct status_new *add_new(struct status_news *news)
{
	if (!(news->n & (news->n - 1))) {
		struct status_new *more = arena_array(news->arena, news->n ? news->n * 2 : 1, sizeof(*more));
		if (news->n)
			memcpy(more, news->items, news->n * sizeof(*more));
		news->items = more;
	}
	return &news->items[news->n++];
}

static void add_news(struct status_news *news, const struct graph *graph, const struct node *node, const struct shown *shown)
{
	struct buf of;
	buf_init(&of, 2048);
	shown_scope(graph, node, shown->scope, &of);
	*add_new(news) = (struct status_new){
	        .of = arena_strdup(news->arena, of.data),
	        .message = arena_strdup(news->arena, condition_text(&shown->condition)),
	        .condition = shown->condition.id,
	        .good = condition_kind(shown->condition.id)->good,
	};
	buf_done(&of);
}

static void add_gone(struct status_news *news, enum condition_id condition)
{
	*add_new(news) = (struct status_new){.of = "", .message = "", .condition = condition, .good = true, .gone = true};
}

/* ---- conditions ---- */

static enum condition_id was(const struct transition *t)
{
	return (enum condition_id)(t->since & 255);
}

/* hint: the same place first, as most documents keep their shape. */
static const struct transition *find(const struct given *given, uint32_t id, size_t hint)
{
	for (size_t i = 0; given && i < given->n; i++)
		if (given->transitions[(hint + i) % given->n].id == id)
			return &given->transitions[(hint + i) % given->n];
	return NULL;
}

/* What was good, or was not there, and is bad, or bad for another reason; what was bad and is good. */
static bool is_news(const struct transition *old, enum condition_id id)
{
	bool was_good = !old || condition_kind(was(old))->good, good = condition_kind(id)->good;
	return good != was_good || (!good && was(old) != id);
}

static void put_condition(struct document *d, const struct shown *shown, const char *indent, uint64_t scope)
{
	const struct condition *c = &shown->condition;
	const struct condition_kind *kind = condition_kind(c->id);
	uint32_t id = (uint32_t)hash_bytes(kind->type, strlen(kind->type), scope);
	const struct transition *old = find(d->old, id, d->new->n);
	int64_t time = old && condition_kind(was(old))->status == kind->status ? old->since / 256 : d->now;
	if (is_news(old, c->id))
		add_news(d->news, d->graph, d->node, shown);
	d->new->bad += !kind->good;
	d->new->transitions[d->new->n++] = (struct transition){time * 256 + c->id, id};
	time_t seconds = (time_t)time;
	struct tm tm;
	char stamp[64] = "";
	if (gmtime_r(&seconds, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
	buf_addf(d->out, "%s- lastTransitionTime: \"%s\"\n%s  message: ", indent, stamp, indent);
	yaml_text(d->out, condition_text(c));
	buf_addf(d->out, "\n%s  observedGeneration: %lld\n%s  reason: %s\n%s  status: \"%s\"\n%s  type: %s\n", indent,
	         (long long)d->node->object->generation, indent, kind->reason, indent, kind->status ? "True" : "False", indent,
	         kind->type);
}

static void put_conditions(struct document *d, size_t scope, const char *first_indent, const char *indent, uint64_t id)
{
	buf_addf(d->out, "%sconditions:\n", first_indent);
	for (size_t i = 0; i < d->shown.n; i++)
		if (d->shown.items[i].scope == scope)
			put_condition(d, &d->shown.items[i], indent, id);
}

/* A condition that is only there while it is bad (PartiallyInvalid) is good when it is gone. */
static void find_gone(const struct document *d)
{
	for (size_t i = 0; d->old && i < d->old->n; i++) {
		const struct transition *old = &d->old->transitions[i];
		if (!condition_kind(was(old))->good && !find(d->new, old->id, i))
			add_gone(d->news, was(old));
	}
}

static void put_field(struct buf *out, const char *indent, const char *name, const char *value)
{
	buf_addf(out, "%s%s: ", indent, name);
	yaml_text(out, value);
	buf_addc(out, '\n');
}

/* ---- kinds ---- */

static void put_class(struct document *d)
{
	put_conditions(d, 0, "  ", "  ", 0);
	if (!d->graph->release.features)
		return; /* CRDs that do not have the field, or of another type */
	buf_adds(d->out, "  supportedFeatures:\n");
#define FEATURE(name) buf_adds(d->out, "  - name: " #name "\n");
#define EXPERIMENTAL(name)                                                                                             \
	if (d->graph->release.experimental)                                                                                \
		FEATURE(name)
#include "controller/status/features.def"
#undef EXPERIMENTAL
#undef FEATURE
}

/* Reachable only with an interface's name beside it, which a status has no place for. */
static bool is_link_local(const char *address)
{
	return strncmp(address, "fe8", 3) == 0 || strncmp(address, "fe9", 3) == 0 || strncmp(address, "fea", 3) == 0 ||
	       strncmp(address, "feb", 3) == 0;
}

/* A folder: those of this machine that the Gateway is bound to. */
static void machine_addresses(const struct graph *graph, const struct gateway_state *state,
                              void (*cb)(void *ctx, const char *type, const char *address), void *ctx)
{
	size_t n = 0;
	for (size_t i = 0; i < state->n_binds && n < STATUS_ADDRESSES; i++) {
		if (*state->binds[i]) {
			cb(ctx, "IPAddress", state->binds[i]);
			n++;
		}
		for (size_t a = 0; !*state->binds[i] && a < graph->options.n_addresses && n < STATUS_ADDRESSES; a++) {
			if (is_link_local(graph->options.addresses[a]))
				continue;
			cb(ctx, "IPAddress", graph->options.addresses[a]);
			n++;
		}
	}
}

/* A cluster: those of the Gateway's own Service, for as long as it has them: whoever follows them (DNS) shall not lose
 * them over a condition. */
static void service_addresses(const struct graph *graph, const struct gateway_state *state,
                              void (*cb)(void *ctx, const char *type, const char *address), void *ctx)
{
	bool foreign;
	const struct service *service = graph_service(graph, state->gateway, &foreign);
	for (size_t i = 0; service && i < service->kept->n_addresses && i < STATUS_ADDRESSES; i++) {
		const struct service_address *address = &service->kept->addresses[i];
		cb(ctx, address->hostname ? "Hostname" : "IPAddress", address->value);
	}
}

void status_addresses(const struct graph *graph, const struct gateway_state *state, const struct shown_list *shown,
                      void (*cb)(void *ctx, const char *type, const char *address), void *ctx)
{
	if (graph->options.pool_base)
		service_addresses(graph, state, cb, ctx);
	else if (condition_kind(shown->items[1].condition.id)->status)
		machine_addresses(graph, state, cb, ctx);
}

struct address_list {
	struct buf *out;
	bool any;
};

static void put_address(void *ctx, const char *type, const char *address)
{
	struct address_list *list = ctx;
	if (!list->any)
		buf_adds(list->out, "  addresses:\n");
	list->any = true;
	buf_addf(list->out, "  - type: %s\n    value: ", type);
	yaml_text(list->out, address);
	buf_addc(list->out, '\n');
}

static void put_listener(struct document *d, const struct listener_state *s, size_t i, uint32_t unattached)
{
	const struct listener *l = s->spec;
	buf_addf(d->out, "  - attachedRoutes: %u\n", s->attached - unattached);
	put_conditions(d, i + 1, "    ", "    ", hash_bytes(l->name, strlen(l->name), 1));
	put_field(d->out, "    ", "name", l->name);
	const uint32_t takes = s->takes;
	buf_addf(d->out, "    supportedKinds:%s\n", takes ? "" : " []");
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++)
		if (takes >> kind & 1)
			buf_addf(d->out, "    - group: " GATEWAY_API_GROUP "\n      kind: %s\n", object_kind_name(kind));
}

/* Of a Gateway or a ListenerSet. */
static void put_listeners(struct document *d)
{
	const struct graph_parent own = graph_parent_of(d->node);
	uint32_t unattached[GRAPH_LISTENERS];
	status_unattached(&own, d->refusals, unattached);
	put_conditions(d, 0, "  ", "  ", 0);
	if (own.n)
		buf_adds(d->out, "  listeners:\n");
	for (size_t i = 0; i < own.n; i++)
		put_listener(d, &own.gateway->listeners[own.first + i], i, unattached[i]);
}

static void put_gateway(struct document *d)
{
	const struct gateway_state *state = node_gateway(d->node);
	status_addresses(d->graph, state, &d->shown, put_address, &(struct address_list){.out = d->out});
	if (state->gateway->allowed_listeners && d->graph->release.sets)
		buf_addf(d->out, "  attachedListenerSets: %u\n", graph_attached_sets(state));
	put_listeners(d);
}

static uint64_t parent_id(const struct parent_ref *ref)
{
	const char *parts[] = {ref->kind, ref->namespace, ref->name, ref->section_name ? ref->section_name : ""};
	uint64_t id = ref->port;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		id = hash_bytes(parts[i], strlen(parts[i]) + 1, id);
	return id;
}

static void put_parent(struct document *d, const struct parent_ref *ref, size_t scope)
{
	put_conditions(d, scope, "  - ", "    ", parent_id(ref));
	put_field(d->out, "    ", "controllerName", d->graph->options.controller_name);
	buf_adds(d->out, "    parentRef:\n");
	put_field(d->out, "      ", "group", ref->group);
	put_field(d->out, "      ", "kind", ref->kind);
	put_field(d->out, "      ", "name", ref->name);
	if (ref->namespace_given)
		put_field(d->out, "      ", "namespace", ref->namespace);
	if (ref->port)
		buf_addf(d->out, "      port: %u\n", ref->port);
	if (ref->section_name)
		put_field(d->out, "      ", "sectionName", ref->section_name);
}

static void put_route(struct document *d)
{
	const struct route_state *state = node_route(d->node);
	buf_adds(d->out, "  parents:\n");
	for (size_t i = 0; i < state->n_parents; i++)
		if (state->parents[i].accepted.id)
			put_parent(d, &state->route->parent_refs[i], i + 1);
}

static void put_ancestor(struct document *d, const struct node *gateway, size_t scope)
{
	buf_adds(d->out, "  - ancestorRef:\n");
	put_field(d->out, "      ", "group", GATEWAY_API_GROUP);
	put_field(d->out, "      ", "kind", object_kind_name(KIND_GATEWAY));
	put_field(d->out, "      ", "name", gateway->name);
	put_field(d->out, "      ", "namespace", gateway->namespace);
	uint64_t id = hash_bytes(gateway->namespace, strlen(gateway->namespace) + 1, 0);
	put_conditions(d, scope, "    ", "    ", hash_bytes(gateway->name, strlen(gateway->name), id));
	put_field(d->out, "    ", "controllerName", d->graph->options.controller_name);
}

static void put_policy(struct document *d)
{
	struct node_list ancestors = {0};
	graph_policy_ancestors(d->graph, d->node, &ancestors);
	buf_adds(d->out, "  ancestors:\n");
	for (size_t i = 0; i < ancestors.n; i++)
		put_ancestor(d, ancestors.items[i], i + 1);
	node_list_done(&ancestors);
}

static void put_document(struct document *d)
{
	const struct object *o = d->node->object;
	buf_addf(d->out, "apiVersion: %s/%s\nkind: %s\nmetadata:\n  generation: %lld\n", object_kind_group(o->kind), object_version_name(o->version),
	         object_kind_name(o->kind), (long long)o->generation);
	put_field(d->out, "  ", "name", o->name);
	if (object_kind_namespaced(o->kind))
		put_field(d->out, "  ", "namespace", o->namespace);
	buf_adds(d->out, "status:\n");
	if (o->kind == KIND_GATEWAYCLASS)
		put_class(d);
	else if (o->kind == KIND_GATEWAY)
		put_gateway(d);
	else if (o->kind == KIND_LISTENERSET)
		put_listeners(d);
	else if (o->kind == KIND_BACKENDTLSPOLICY)
		put_policy(d);
	else if (o->kind == KIND_FILTER)
		put_conditions(d, 0, "  ", "  ", 0);
	else
		put_route(d);
}

size_t status_bad(const struct node *node)
{
	const struct given *given = node->status;
	return given ? given->bad : 0;
}

bool status_document(const struct graph *graph, struct node *node, const struct refusals *refusals, int64_t now,
                     struct buf *out, struct status_news *news)
{
	struct given *old = node->status;
	struct document d = {
	        .graph = graph, .node = node, .old = old, .refusals = refusals, .now = now, .out = out, .news = news};
	d.shown = shown_new(graph, node, refusals);
	node->status = NULL;
	if (d.shown.n) {
		d.new = xcalloc(1, sizeof(*d.new) + d.shown.n * sizeof(struct transition));
		put_document(&d);
		find_gone(&d);
		d.new->digest = hash_bytes(out->data, out->len, 0);
		node->status = d.new;
	}
	bool differs = !old != !d.new || (old && old->digest != d.new->digest);
	shown_done(&d.shown);
	free(old);
	return differs;
}
