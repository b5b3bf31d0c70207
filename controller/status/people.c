/* Status for people: the table of `hatchway status`, and what is not as one would like it. */
#include "controller/status/status.h"

#include <string.h>

#define COLUMNS 5

/* Rows gathered first, so that columns are as wide as they must be. */
struct grid {
	struct arena arena;
	const char *(*rows)[COLUMNS];
	size_t n;
};

static void grid_add(struct grid *grid, const char *const row[COLUMNS])
{
	if (!(grid->n & (grid->n - 1)))
		grid->rows = xrealloc(grid->rows, (grid->n ? grid->n * 2 : 1) * sizeof(*grid->rows));
	for (size_t c = 0; c < COLUMNS; c++)
		grid->rows[grid->n][c] = row[c];
	grid->n++;
}

static void grid_print(struct grid *grid, struct buf *out)
{
	size_t width[COLUMNS] = {0};
	for (size_t r = 0; r < grid->n; r++)
		for (size_t c = 0; c < COLUMNS && grid->rows[r][c]; c++)
			if (strlen(grid->rows[r][c]) > width[c])
				width[c] = strlen(grid->rows[r][c]);
	for (size_t r = 0; r < grid->n; r++)
		for (size_t c = 0; c < COLUMNS && grid->rows[r][c]; c++) {
			bool last = c + 1 == COLUMNS || !grid->rows[r][c + 1];
			buf_addf(out, "%-*s%s", last ? 0 : (int)width[c], grid->rows[r][c], last ? "\n" : "   ");
		}
	free(grid->rows);
	arena_done(&grid->arena);
}

/* "True", "False", "Unknown", of all conditions of that type: False if any is. */
static const char *verdict(const struct shown_list *list, const char *type)
{
	const char *verdict = "Unknown";
	for (size_t i = 0; i < list->n; i++) {
		const struct condition_kind *kind = condition_kind(list->items[i].condition.id);
		if (strcmp(kind->type, type) != 0)
			continue;
		if (!kind->status)
			return "False";
		verdict = "True";
	}
	return verdict;
}

static const char *verdict_of_object(const struct shown_list *list, const char *type)
{
	struct shown_list own = {list->items, 0};
	while (own.n < list->n && !list->items[own.n].scope)
		own.n++;
	return verdict(&own, type);
}

static void classes(const struct graph *graph, const struct refusals *refusals, struct buf *out)
{
	struct grid grid = {0};
	struct node_list nodes = {0};
	const char *implicit = graph->options.implicit_class;
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){"GATEWAYCLASS", "CONTROLLER", "ACCEPTED"});
	store_list(graph->store, KIND_GATEWAYCLASS, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct gateway_class *class = (const struct gateway_class *)nodes.items[i]->object;
		struct shown_list shown = shown_new(graph, nodes.items[i], refusals);
		grid_add(&grid, (const char *[COLUMNS]){class->object.name, class->controller_name, verdict(&shown, "Accepted")});
		if (implicit && strcmp(implicit, class->object.name) == 0)
			implicit = NULL;
		shown_done(&shown);
	}
	if (implicit)
		grid_add(&grid, (const char *[COLUMNS]){implicit, graph->options.controller_name, "True"});
	node_list_done(&nodes);
	grid_print(&grid, out);
}

struct joined {
	struct buf text;
};

static void join(void *ctx, const char *word)
{
	struct joined *joined = ctx;
	buf_addf(&joined->text, "%s%s", joined->text.len ? "," : "", word);
}

static void join_address(void *ctx, const char *type, const char *address)
{
	join(ctx, address);
}

static const char *joined_take(struct joined *joined, struct arena *arena, const char *none)
{
	const char *text = arena_strdup(arena, joined->text.len ? joined->text.data : none);
	buf_done(&joined->text);
	return text;
}

/* What was, or could be, programmed, while nobody knows what the proxy holds of it. */
static const char *programmed(const struct node *node, const struct shown_list *shown, const char *not_held)
{
	const char *v = verdict_of_object(shown, "Programmed");
	return (not_held || node->flags & NODE_CHANGING) && strcmp(v, "True") == 0 ? "Unknown" : v;
}

static void gateways(const struct graph *graph, const struct refusals *refusals, const char *not_held, struct buf *out)
{
	struct grid grid = {0};
	struct node_list nodes = {0};
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){"GATEWAY", "CLASS", "ADDRESS", "ACCEPTED", "PROGRAMMED"});
	store_list(graph->store, KIND_GATEWAY, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct gateway *gateway = (const struct gateway *)nodes.items[i]->object;
		struct shown_list shown = shown_new(graph, nodes.items[i], refusals);
		struct joined addresses;
		buf_init(&addresses.text, 1024);
		if (nodes.items[i]->graph)
			status_addresses(graph, node_gateway(nodes.items[i]), &shown, join_address, &addresses);
		grid_add(&grid, (const char *[COLUMNS]){
		                        arena_printf(&grid.arena, "%s/%s", gateway->object.namespace, gateway->object.name),
		                        gateway->gateway_class_name, joined_take(&addresses, &grid.arena, "-"),
		                        verdict_of_object(&shown, "Accepted"), programmed(nodes.items[i], &shown, not_held)});
		shown_done(&shown);
	}
	node_list_done(&nodes);
	grid_print(&grid, out);
}

static void routes(const struct graph *graph, enum object_kind kind, const char *title, const struct refusals *refusals, struct buf *out)
{
	struct grid grid = {0};
	struct node_list nodes = {0};
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){title, "HOSTNAMES", "ACCEPTED", "RESOLVEDREFS"});
	store_list(graph->store, kind, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct http_route *route = (const struct http_route *)nodes.items[i]->object;
		struct shown_list shown = shown_new(graph, nodes.items[i], refusals);
		struct joined hostnames;
		buf_init(&hostnames.text, 8192);
		for (size_t h = 0; h < route->n_hostnames; h++)
			join(&hostnames, route->hostnames[h]);
		grid_add(&grid, (const char *[COLUMNS]){
		                        arena_printf(&grid.arena, "%s/%s", route->object.namespace, route->object.name),
		                        joined_take(&hostnames, &grid.arena, "*"), verdict(&shown, "Accepted"),
		                        verdict(&shown, "ResolvedRefs")});
		shown_done(&shown);
	}
	node_list_done(&nodes);
	grid_print(&grid, out);
}

static void sets(const struct graph *graph, const struct refusals *refusals, const char *not_held, struct buf *out)
{
	struct grid grid = {0};
	struct node_list nodes = {0};
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){"LISTENERSET", "GATEWAY", "ACCEPTED", "PROGRAMMED"});
	store_list(graph->store, KIND_LISTENERSET, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct listener_set *set = (const struct listener_set *)nodes.items[i]->object;
		const struct set_state *state = node_set(nodes.items[i]);
		struct shown_list shown = shown_new(graph, nodes.items[i], refusals);
		grid_add(&grid, (const char *[COLUMNS]){
		                        arena_printf(&grid.arena, "%s/%s", set->object.namespace, set->object.name),
		                        arena_printf(&grid.arena, "%s/%s", set->gateway.namespace, set->gateway.name),
		                        verdict_of_object(&shown, "Accepted"),
		                        programmed(state ? state->gateway->node : nodes.items[i], &shown, not_held)});
		shown_done(&shown);
	}
	node_list_done(&nodes);
	grid_print(&grid, out);
}

static void policies(const struct graph *graph, const struct refusals *refusals, struct buf *out)
{
	struct grid grid = {0};
	struct node_list nodes = {0};
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){"BACKENDTLSPOLICY", "SERVICES", "ACCEPTED", "RESOLVEDREFS"});
	store_list(graph->store, KIND_BACKENDTLSPOLICY, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct backend_tls_policy *policy = (const struct backend_tls_policy *)nodes.items[i]->object;
		struct shown_list shown = shown_new(graph, nodes.items[i], refusals);
		struct joined services;
		buf_init(&services.text, 8192);
		for (size_t t = 0; t < policy->n_targets; t++)
			join(&services, policy->targets[t].name);
		grid_add(&grid, (const char *[COLUMNS]){
		                        arena_printf(&grid.arena, "%s/%s", policy->object.namespace, policy->object.name),
		                        joined_take(&services, &grid.arena, "-"), verdict(&shown, "Accepted"),
		                        verdict(&shown, "ResolvedRefs")});
		shown_done(&shown);
	}
	node_list_done(&nodes);
	grid_print(&grid, out);
}

static void filters(const struct graph *graph, const struct refusals *refusals, struct buf *out)
{
	struct grid grid = {0};
	struct node_list nodes = {0};
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){"HATCHWAYFILTER", "KIND", "ACCEPTED"});
	store_list(graph->store, KIND_FILTER, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		struct shown_list shown = shown_new(graph, nodes.items[i], refusals);
		grid_add(&grid, (const char *[COLUMNS]){arena_printf(&grid.arena, "%s/%s", nodes.items[i]->namespace, nodes.items[i]->name),
		                                       "addresses", verdict_of_object(&shown, "Accepted")});
		shown_done(&shown);
	}
	node_list_done(&nodes);
	grid_print(&grid, out);
}

/* ---- problems ---- */

static void say_node(const struct node *node, struct buf *out)
{
	buf_adds(out, object_kind_name(node->kind));
	buf_addf(out, *node->namespace ? " %s/%s" : " %s%s", node->namespace, node->name);
}

static size_t bad_conditions(const struct graph *graph, const struct node *node, const struct refusals *refusals,
                             struct buf *out)
{
	struct shown_list shown = shown_new(graph, node, refusals);
	size_t n = 0;
	for (size_t i = 0; i < shown.n; i++) {
		const struct shown *s = &shown.items[i];
		if (condition_kind(s->condition.id)->good)
			continue;
		n++;
		say_node(node, out);
		buf_adds(out, s->scope ? ", " : "");
		shown_scope(graph, node, s->scope, out);
		buf_adds(out, ": ");
		condition_dump(&s->condition, out);
		buf_addc(out, '\n');
	}
	shown_done(&shown);
	return n;
}

/* The API writes no status for a parent or class that does not exist; people still want to hear of it. */
static size_t missing_references(const struct graph *graph, const struct node *node, struct buf *out)
{
	size_t n = 0;
	if (node->kind == KIND_GATEWAY && !node->graph) {
		const char *class = ((const struct gateway *)node->object)->gateway_class_name;
		const struct node *found = store_find(graph->store, KIND_GATEWAYCLASS, "", class);
		if (found && found->object)
			return 0;
		say_node(node, out);
		buf_addf(out, ": spec.gatewayClassName: GatewayClass %s not found\n", class);
		return 1;
	}
	if (node->kind == KIND_LISTENERSET) {
		const struct listener_set *set = (const struct listener_set *)node->object;
		const struct node *found = store_find(graph->store, KIND_GATEWAY, set->gateway.namespace, set->gateway.name);
		if (found && found->object)
			return 0;
		say_node(node, out);
		buf_addf(out, ": spec.parentRef: %s %s/%s not found\n", set->gateway.kind, set->gateway.namespace, set->gateway.name);
		return 1;
	}
	const struct http_route *route = object_kind_is_route(node->kind) ? (const struct http_route *)node->object : NULL;
	for (size_t i = 0; route && i < route->n_parent_refs; i++) {
		const struct parent_ref *ref = &route->parent_refs[i];
		const enum object_kind kind = parent_ref_kind(ref);
		const struct node *found = kind == KIND_COUNT ? NULL : store_find(graph->store, kind, ref->namespace, ref->name);
		if (kind == KIND_COUNT || (found && found->object))
			continue;
		n++;
		say_node(node, out);
		buf_addf(out, ": spec.parentRefs[%zu]: %s %s/%s not found\n", i, ref->kind, ref->namespace, ref->name);
	}
	return n;
}

/* What the proxy refused, but no object wants alone. */
static size_t nobodys_refusals(const struct refusals *refusals, struct buf *out)
{
	size_t n = 0;
	while (n < refusals->n && !refusals->items[n].node) {
		buf_addf(out, "HAProxy refused %s: %s\n", refusals->items[n].key, refusals->items[n].text);
		n++;
	}
	return n;
}

static size_t say_not_held(const char *not_held, struct buf *out)
{
	if (not_held)
		buf_addf(out, "HAProxy does not hold this: %s\n", not_held);
	return not_held != NULL;
}

static size_t problems(const struct graph *graph, const struct refusals *refusals, struct buf *out)
{
	static const enum object_kind kinds[] = {KIND_GATEWAYCLASS, KIND_GATEWAY, KIND_LISTENERSET, KIND_HTTPROUTE, KIND_GRPCROUTE,
	                                         KIND_BACKENDTLSPOLICY, KIND_FILTER};
	size_t n = nobodys_refusals(refusals, out);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct node_list nodes = {0};
		store_list(graph->store, kinds[k], &nodes);
		for (size_t i = 0; i < nodes.n; i++)
			n += bad_conditions(graph, nodes.items[i], refusals, out) +
			     missing_references(graph, nodes.items[i], out);
		node_list_done(&nodes);
	}
	return n;
}

size_t status_problems(const struct graph *graph, const struct refusals *refusals, const char *not_held, struct buf *out)
{
	return say_not_held(not_held, out) + problems(graph, refusals, out);
}

size_t status_table(const struct graph *graph, const struct refusals *refusals, const char *not_held, struct buf *out)
{
	size_t n = say_not_held(not_held, out);
	if (n)
		buf_addc(out, '\n');
	classes(graph, refusals, out);
	buf_addc(out, '\n');
	gateways(graph, refusals, not_held, out);
	buf_addc(out, '\n');
	if (graph->store->n_objects[KIND_LISTENERSET]) {
		sets(graph, refusals, not_held, out);
		buf_addc(out, '\n');
	}
	routes(graph, KIND_HTTPROUTE, "HTTPROUTE", refusals, out);
	if (graph->store->n_objects[KIND_GRPCROUTE]) {
		buf_addc(out, '\n');
		routes(graph, KIND_GRPCROUTE, "GRPCROUTE", refusals, out);
	}
	if (graph->store->n_objects[KIND_BACKENDTLSPOLICY]) {
		buf_addc(out, '\n');
		policies(graph, refusals, out);
	}
	if (graph->store->n_objects[KIND_FILTER]) {
		buf_addc(out, '\n');
		filters(graph, refusals, out);
	}
	struct buf named;
	buf_init(&named, out->limit);
	size_t n_named = problems(graph, refusals, &named);
	if (n_named)
		buf_addf(out, "\n%s", named.data);
	buf_done(&named);
	return n + n_named;
}
