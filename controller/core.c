/* Wires the rooms together; owns the order of an update and the list of objects whose status may have changed. */
#include "controller/core.h"

#include "controller/compile/compile.h"
#include "controller/graph/graph.h"
#include "controller/infra/infra.h"
#include "controller/status/status.h"

#include <string.h>

#define STATUS_LIMIT ((size_t)4 << 20)

struct core {
	struct arena arena; /* the options' texts */
	struct store store;
	struct graph graph;
	struct compile compile;
	struct node_list status;
	struct haproxy_refusal *refusals; /* owns its texts */
	size_t n_refusals;
	size_t bad[KIND_COUNT];
	bool followed;             /* somebody tells when the proxy holds an update */
	struct node_list changing; /* Gateways it does not hold yet as they are: NODE_CHANGING */
	char *not_held; /* why the proxy does not hold the table; NULL: it does */
	char *down;     /* why it serves nothing; NULL: it does */
};

/* ---- options ---- */

static void copy_addresses(struct core *core, const struct core_options *from, struct graph_options *to)
{
	char **list = arena_array(&core->arena, from->n_addresses, sizeof(char *));
	for (size_t i = 0; i < from->n_addresses; i++) {
		char text[48];
		if (graph_address(from->addresses[i], text))
			list[to->n_addresses++] = arena_strdup(&core->arena, text);
	}
	to->addresses = (const char *const *)list;
}

static void copy_ports(struct core *core, const struct core_options *from, struct graph_options *to)
{
	uint16_t *ports = arena_array(&core->arena, from->n_port_map, sizeof(*ports));
	uint16_t *binds = arena_array(&core->arena, from->n_port_map, sizeof(*binds));
	for (size_t i = 0; i < from->n_port_map; i++) {
		ports[i] = from->port_map[i].port;
		binds[i] = from->port_map[i].bind_port;
	}
	to->ports = ports;
	to->bind_ports = binds;
	to->n_ports = from->n_port_map;
}

struct core *core_new(const struct core_options *options)
{
	struct core *core = xcalloc(1, sizeof(*core));
	arena_init(&core->arena);
	struct graph_options graph = {
	        .implicit_namespaces = options->implicit_namespaces,
	        .pool_base = options->pool_base,
	        .pods_namespace = arena_strdup(&core->arena, options->pods_namespace),
	        .pods_service = arena_strdup(&core->arena, options->pods_service),
	};
	graph.controller_name =
	        arena_strdup(&core->arena, options->controller_name ? options->controller_name : CONTROLLER_NAME);
	graph.implicit_class = arena_strdup(&core->arena, options->implicit_class);
	copy_addresses(core, options, &graph);
	copy_ports(core, options, &graph);
	store_init(&core->store);
	graph_init(&core->graph, &graph, &core->store);
	compile_init(&core->compile, &core->graph);
	return core;
}

static void forget_refusals(struct core *core)
{
	for (size_t i = 0; i < core->n_refusals; i++) {
		free((char *)(uintptr_t)core->refusals[i].key);
		free((char *)(uintptr_t)core->refusals[i].text);
	}
	free(core->refusals);
	core->refusals = NULL;
	core->n_refusals = 0;
}

void core_free(struct core *core)
{
	if (!core)
		return;
	compile_done(&core->compile, &core->store);
	graph_done(&core->graph);
	struct hashed_walk walk = {.set = &core->store.nodes};
	for (struct node *node; (node = hashed_walk(&walk));)
		if (!node_is_leaf(node))
			free(node->status);
	forget_refusals(core);
	free(core->not_held);
	free(core->down);
	node_list_done(&core->status);
	node_list_done(&core->changing);
	store_done(&core->store);
	arena_done(&core->arena);
	free(core);
}

/* ---- objects in, table out ---- */

void core_put(struct core *core, struct object *object)
{
	store_put(&core->store, object);
}

void core_delete(struct core *core, enum object_kind kind, const char *namespace, const char *name)
{
	store_delete(&core->store, kind, namespace, name);
}

static void note_changing(struct core *core, const struct node_list *gateways)
{
	for (size_t i = 0; i < gateways->n; i++) {
		struct node *node = gateways->items[i];
		if (!(node->flags & NODE_CHANGING))
			node_list_add(&core->changing, node);
		node->flags |= NODE_CHANGING;
	}
}

void core_applied(struct core *core)
{
	core->followed = true;
	for (size_t i = 0; i < core->changing.n; i++) {
		struct node *node = core->changing.items[i];
		node->flags &= (uint8_t)~NODE_CHANGING;
		store_release(&core->store, node);
	}
	core->changing.n = 0;
}

void core_update(struct core *core, struct table_changes *changes)
{
	const size_t before = changes->n;
	struct graph_delta delta = {.status = &core->status};
	graph_update(&core->graph, &delta);
	compile_update(&core->compile, &delta, changes);
	if (core->followed && changes->n != before)
		note_changing(core, &delta.gateways);
	graph_delta_done(&delta);
	store_clean(&core->store);
}

const struct table *core_table(const struct core *core)
{
	return core->compile.table;
}

/* ---- refusals ---- */

struct refusal_walk {
	struct refusals *found;
	const struct haproxy_refusal *refusal;
};

static void gather(void *ctx, const struct origin *origin)
{
	struct refusal_walk *walk = ctx;
	struct refusals *found = walk->found;
	if (!(found->n & (found->n - 1)))
		found->items = xrealloc(found->items, (found->n ? found->n * 2 : 1) * sizeof(*found->items));
	found->items[found->n++] = (struct refused){
	        .node = origin->node,
	        .port = origin->port,
	        .rule = origin->rule,
	        .of = origin->of,
	        .kind = walk->refusal->kind,
	        .key = walk->refusal->key,
	        .text = walk->refusal->text,
	};
}

static struct refusals refusals_find(const struct core *core)
{
	struct refusals found = {.down = core->down};
	struct refusal_walk walk = {.found = &found};
	for (size_t i = 0; i < core->n_refusals; i++) {
		walk.refusal = &core->refusals[i];
		if (!compile_origins(&core->compile, walk.refusal->kind, walk.refusal->key, gather, &walk))
			gather(&walk, &(struct origin){.rule = ORIGIN_WHOLE});
	}
	refusals_sort(&found);
	return found;
}

/* A route's Gateways count it, or not. */
static void touch(void *ctx, const struct origin *origin)
{
	struct core *core = ctx;
	graph_touch_whole(&core->status, origin->node);
	if (object_kind_is_route(origin->node->kind) && node_route(origin->node))
		graph_touch_parents(&core->graph, node_route(origin->node), &core->status);
}

static void touch_refused(struct core *core)
{
	for (size_t i = 0; i < core->n_refusals; i++)
		compile_origins(&core->compile, core->refusals[i].kind, core->refusals[i].key, touch, core);
}

static bool is_same_refusals(const struct core *core, const struct haproxy_refusal *refusals, size_t n)
{
	if (n != core->n_refusals)
		return false;
	for (size_t i = 0; i < n; i++)
		if (refusals[i].kind != core->refusals[i].kind || strcmp(refusals[i].key, core->refusals[i].key) != 0 ||
		    strcmp(refusals[i].text, core->refusals[i].text) != 0)
			return false;
	return true;
}

void core_refused(struct core *core, const struct haproxy_refusal *refusals, size_t n)
{
	if (is_same_refusals(core, refusals, n))
		return;
	touch_refused(core);
	forget_refusals(core);
	core->refusals = xcalloc(n, sizeof(*core->refusals));
	core->n_refusals = n;
	for (size_t i = 0; i < n; i++)
		core->refusals[i] =
		        (struct haproxy_refusal){refusals[i].kind, xstrdup(refusals[i].key), xstrdup(refusals[i].text)};
	touch_refused(core);
}

const struct haproxy_refusal *core_refusals(const struct core *core, size_t *ret_n)
{
	*ret_n = core->n_refusals;
	return core->refusals;
}

void core_held(struct core *core, bool held, const char *why)
{
	free(core->not_held);
	core->not_held = held ? NULL : xstrdup(why);
}

void core_down(struct core *core, const char *why)
{
	struct node_list gateways = {0};
	if (!core->down && !why)
		return;
	free(core->down);
	core->down = why ? xstrdup(why) : NULL;
	store_list(&core->store, KIND_GATEWAY, &gateways);
	for (size_t i = 0; i < gateways.n; i++)
		graph_touch_whole(&core->status, gateways.items[i]);
	node_list_done(&gateways);
}

const char *core_not_held(const struct core *core)
{
	return core->not_held;
}

/* ---- infrastructure out ---- */

uint64_t core_infra_version(const struct core *core)
{
	return core->graph.infra_version;
}

void core_infra(const struct core *core, infra_cb *cb, void *ctx)
{
	infra_changes(&core->graph, cb, ctx);
}

void core_leave(struct core *core)
{
	core->graph.leaving = true;
}

bool core_infra_said(struct core *core, const char *namespace, const char *gateway, const char *text)
{
	struct node *node = store_find(&core->store, KIND_GATEWAY, namespace, gateway);
	bool changed = graph_say(&core->graph, namespace, gateway, text);
	if (changed && node)
		graph_touch_whole(&core->status, node);
	return changed && node;
}

/* ---- status out ---- */

static struct core_condition *conditions(const struct status_news *news)
{
	struct core_condition *list = arena_array(news->arena, news->n, sizeof(*list));
	for (size_t i = 0; i < news->n; i++) {
		const struct status_new *new = &news->items[i];
		const struct condition_kind *kind = condition_kind(new->condition);
		list[i] = (struct core_condition){new->of, kind->type, kind->reason, new->message, kind->status, new->good, new->gone};
	}
	return list;
}

static void give(struct core *core, struct node *node, const struct refusals *refusals, int64_t now, struct buf *text,
                 void (*cb)(void *ctx, const struct core_status *status), void *ctx)
{
	bool again = node->flags & NODE_AGAIN;
	node->flags &= (uint8_t)~NODE_AGAIN;
	struct arena scratch;
	arena_init(&scratch);
	struct status_news news = {.arena = &scratch};
	size_t bad = status_bad(node);
	buf_clear(text);
	bool differs = status_document(&core->graph, node, refusals, now, text, &news);
	core->bad[node->kind] += status_bad(node) - bad;
	const struct core_status status = {
	        .kind = node->kind,
	        .namespace = node->namespace,
	        .name = node->name,
	        .text = text->len ? text->data : NULL,
	        .news = conditions(&news),
	        .n_news = news.n,
	};
	if (differs || again)
		cb(ctx, &status);
	arena_done(&scratch);
}

size_t core_objects(const struct core *core, enum object_kind kind)
{
	return core->store.n_objects[kind];
}

size_t core_bad_conditions(const struct core *core, enum object_kind kind)
{
	return core->bad[kind];
}

void core_status_again(struct core *core, enum object_kind kind, const char *namespace, const char *name)
{
	struct node *node = store_find(&core->store, kind, namespace, name);
	if (!node || node_is_leaf(node))
		return;
	node->flags |= NODE_AGAIN;
	graph_touch(&core->status, node);
}

void core_set_release(struct core *core, const char *version, bool experimental, const char *why)
{
	graph_set_release(&core->graph, version, experimental, why, &core->status);
}

bool core_status_changes(struct core *core, int64_t now, size_t limit,
                         void (*cb)(void *ctx, const struct core_status *status), void *ctx)
{
	size_t n = core->status.n < limit ? core->status.n : limit;
	if (!n)
		return false;
	struct refusals refusals = refusals_find(core);
	struct node_list slice = {0};
	struct buf text;
	buf_init(&text, STATUS_LIMIT);
	while (slice.n < n)
		node_list_add(&slice, core->status.items[--core->status.n]);
	node_list_sort(&slice);
	for (size_t i = 0; i < slice.n; i++) {
		struct node *node = slice.items[i];
		node->flags &= (uint8_t)~NODE_STATUS;
		give(core, node, &refusals, now, &text, cb, ctx);
		store_release(&core->store, node);
	}
	if (!core->status.n)
		node_list_done(&core->status);
	buf_done(&text);
	node_list_done(&slice);
	free(refusals.items);
	return core->status.n > 0;
}

size_t core_status_table(const struct core *core, struct buf *out)
{
	struct refusals refusals = refusals_find(core);
	size_t n = status_table(&core->graph, &refusals, core->not_held, out);
	free(refusals.items);
	return n;
}

size_t core_problems(const struct core *core, struct buf *out)
{
	struct refusals refusals = refusals_find(core);
	size_t n = status_problems(&core->graph, &refusals, core->not_held, out);
	free(refusals.items);
	return n;
}

size_t core_remarks(const struct core *core, struct buf *out)
{
	return status_remarks(&core->graph, out);
}

struct why_walk {
	const struct core *core;
	enum explain_why why;
	size_t ref;
	struct buf *out;
};

static void why_rule(void *ctx, const struct origin *origin)
{
	const struct why_walk *walk = ctx;
	if (walk->why == WHY_RULE)
		status_why_rule(&walk->core->graph, origin->node, origin->rule, walk->out);
	else if (walk->why == WHY_NOWHERE)
		status_why_nowhere(origin->node, origin->rule, walk->out);
	else
		status_why_ref(&walk->core->graph, origin->node, origin->rule, walk->ref, walk->out);
}

/* Once for the backend, whoever uses it. */
static void why_backend(const struct core *core, const char *key, struct buf *out)
{
	uint16_t port;
	const struct node *service = compile_service(&core->compile, key, &port);
	if (service)
		status_why_no_endpoint(service, port, out);
}

void core_why(const struct core *core, enum explain_why why, const char *key, size_t ref, struct buf *out)
{
	struct why_walk walk = {core, why, ref, out};
	if (why == WHY_NO_LISTENER)
		status_gateways(&core->graph, out);
	else if (why == WHY_NO_ENDPOINT)
		why_backend(core, key, out);
	else
		compile_origins(&core->compile, TABLE_RULE, key, why_rule, &walk);
}

void core_dump_graph(const struct core *core, struct buf *out)
{
	graph_dump(&core->graph, out);
}
