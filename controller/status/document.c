/* Status documents. A node remembers, of the document last given: its digest, and of each condition the status and since
 * when it has it; nothing else, for there are as many as objects. */
#include "controller/status/status.h"

#include "hatchway/base/hash.h"

#include <string.h>
#include <time.h>

#define STATUS_ADDRESSES 16 /* the CRD's limit */

struct transition {
	int64_t since; /* Unix seconds, times two, plus the status */
	uint32_t id;   /* hash of scope and type */
} __attribute__((packed, aligned(4)));

struct given {
	uint64_t digest;
	uint32_t n;
	struct transition transitions[];
};

struct document {
	const struct graph *graph;
	const struct node *node;
	const struct given *old;
	struct given *new;
	const struct refusals *refusals;
	struct shown_list shown;
	int64_t now;
	struct buf *out;
};

/* ---- conditions ---- */

static int64_t since(const struct document *d, uint32_t id, bool status)
{
	const struct given *old = d->old;
	/* The same place first: most documents keep their shape. */
	size_t hint = d->new->n;
	for (size_t i = 0; old && i < old->n; i++) {
		const struct transition *t = &old->transitions[(hint + i) % old->n];
		if (t->id == id)
			return (t->since & 1) == status ? t->since / 2 : d->now;
	}
	return d->now;
}

static void put_condition(struct document *d, const struct condition *c, const char *indent, uint64_t scope)
{
	const struct condition_kind *kind = condition_kind(c->id);
	uint32_t id = (uint32_t)hash_bytes(kind->type, strlen(kind->type), scope);
	int64_t time = since(d, id, kind->status);
	d->new->transitions[d->new->n++] = (struct transition){time * 2 + kind->status, id};
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
			put_condition(d, &d->shown.items[i].condition, indent, id);
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
#include "controller/status/features.def"
#undef FEATURE
}

/* Reachable only with an interface's name beside it, which a status has no place for. */
static bool is_link_local(const char *address)
{
	return strncmp(address, "fe8", 3) == 0 || strncmp(address, "fe9", 3) == 0 || strncmp(address, "fea", 3) == 0 ||
	       strncmp(address, "feb", 3) == 0;
}

void status_addresses(const struct graph *graph, const struct gateway_state *state, const struct shown_list *shown,
                      void (*cb)(void *ctx, const char *address), void *ctx)
{
	size_t n = 0;
	if (!condition_kind(shown->items[1].condition.id)->status)
		return;
	for (size_t i = 0; i < state->n_binds && n < STATUS_ADDRESSES; i++) {
		if (*state->binds[i]) {
			cb(ctx, state->binds[i]);
			n++;
		}
		for (size_t a = 0; !*state->binds[i] && a < graph->options.n_addresses && n < STATUS_ADDRESSES; a++) {
			if (is_link_local(graph->options.addresses[a]))
				continue;
			cb(ctx, graph->options.addresses[a]);
			n++;
		}
	}
}

struct address_list {
	struct buf *out;
	bool any;
};

static void put_address(void *ctx, const char *address)
{
	struct address_list *list = ctx;
	if (!list->any)
		buf_adds(list->out, "  addresses:\n");
	list->any = true;
	buf_adds(list->out, "  - type: IPAddress\n    value: ");
	yaml_text(list->out, address);
	buf_addc(list->out, '\n');
}

static void put_listener(struct document *d, size_t i, uint32_t unattached)
{
	const struct gateway_state *state = node_gateway(d->node);
	const struct listener *l = &state->gateway->listeners[i];
	buf_addf(d->out, "  - attachedRoutes: %u\n", state->listeners[i].attached - unattached);
	put_conditions(d, i + 1, "    ", "    ", hash_bytes(l->name, strlen(l->name), 1));
	put_field(d->out, "    ", "name", l->name);
	if (!state->listeners[i].http)
		buf_adds(d->out, "    supportedKinds: []\n");
	else
		buf_adds(d->out, "    supportedKinds:\n    - group: " GATEWAY_API_GROUP "\n      kind: HTTPRoute\n");
}

static void put_gateway(struct document *d)
{
	const struct gateway_state *state = node_gateway(d->node);
	uint32_t unattached[GRAPH_LISTENERS];
	status_unattached(state, d->refusals, unattached);
	status_addresses(d->graph, state, &d->shown, put_address, &(struct address_list){.out = d->out});
	put_conditions(d, 0, "  ", "  ", 0);
	buf_adds(d->out, "  listeners:\n");
	for (size_t i = 0; i < state->n_listeners; i++)
		put_listener(d, i, unattached[i]);
}

static uint64_t parent_id(const struct parent_ref *ref)
{
	const char *parts[] = {ref->namespace, ref->name, ref->section_name ? ref->section_name : ""};
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
	else
		put_route(d);
}

bool status_document(const struct graph *graph, struct node *node, const struct refusals *refusals, int64_t now,
                     struct buf *out)
{
	struct given *old = node->status;
	struct document d = {
	        .graph = graph, .node = node, .old = old, .refusals = refusals, .now = now, .out = out};
	d.shown = shown_new(graph, node, refusals);
	node->status = NULL;
	if (d.shown.n) {
		d.new = xcalloc(1, sizeof(*d.new) + d.shown.n * sizeof(struct transition));
		put_document(&d);
		d.new->digest = hash_bytes(out->data, out->len, 0);
		node->status = d.new;
	}
	bool differs = !old != !d.new || (old && old->digest != d.new->digest);
	shown_done(&d.shown);
	free(old);
	return differs;
}
