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

/* What the tables are made of. */
struct view {
	const struct graph *graph;
	const struct refusals *refusals;
	const char *not_held; /* NULL: the proxy holds it */
};

/* One object's columns. */
typedef void row_cb(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                    const char *row[COLUMNS]);

static void fill(struct grid *grid, const struct view *view, enum object_kind kind, row_cb *cb)
{
	struct node_list nodes = {0};
	store_list(view->graph->store, kind, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const char *row[COLUMNS] = {arena_printf(&grid->arena, "%s/%s", nodes.items[i]->namespace, nodes.items[i]->name)};
		struct shown_list shown = shown_new(view->graph, nodes.items[i], view->refusals);
		cb(view, nodes.items[i], &shown, &grid->arena, row);
		grid_add(grid, row);
		shown_done(&shown);
	}
	node_list_done(&nodes);
}

/* Of namespaced objects. */
static void table(const struct view *view, enum object_kind kind, const char *const titles[COLUMNS], row_cb *cb, struct buf *out)
{
	struct grid grid = {0};
	arena_init(&grid.arena);
	grid_add(&grid, titles);
	fill(&grid, view, kind, cb);
	grid_print(&grid, out);
}

static void class_row(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                      const char *row[COLUMNS])
{
	row[0] = node->name;
	row[1] = ((const struct gateway_class *)node->object)->controller_name;
	row[2] = verdict(shown, "Accepted");
}

/* And the one that is there without an object. */
static void classes(const struct view *view, struct buf *out)
{
	const char *implicit = view->graph->options.implicit_class;
	const struct node *node = implicit ? store_find(view->graph->store, KIND_GATEWAYCLASS, "", implicit) : NULL;
	struct grid grid = {0};
	arena_init(&grid.arena);
	grid_add(&grid, (const char *[COLUMNS]){"GATEWAYCLASS", "CONTROLLER", "ACCEPTED"});
	fill(&grid, view, KIND_GATEWAYCLASS, class_row);
	if (implicit && (!node || !node->object))
		grid_add(&grid, (const char *[COLUMNS]){implicit, view->graph->options.controller_name, "True"});
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

static void gateway_row(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                        const char *row[COLUMNS])
{
	struct joined addresses;
	buf_init(&addresses.text, 1024);
	if (node->graph)
		status_addresses(view->graph, node_gateway(node), shown, join_address, &addresses);
	row[1] = ((const struct gateway *)node->object)->gateway_class_name;
	row[2] = joined_take(&addresses, arena, "-");
	row[3] = verdict_of_object(shown, "Accepted");
	row[4] = programmed(node, shown, view->not_held);
}

static void set_row(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                    const char *row[COLUMNS])
{
	const struct parent_ref *gateway = &((const struct listener_set *)node->object)->gateway;
	const struct set_state *state = node_set(node);
	row[1] = arena_printf(arena, "%s/%s", gateway->namespace, gateway->name);
	row[2] = verdict_of_object(shown, "Accepted");
	row[3] = programmed(state ? state->gateway->node : node, shown, view->not_held);
}

static void route_row(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                      const char *row[COLUMNS])
{
	const struct http_route *route = (const struct http_route *)node->object;
	struct joined hostnames;
	buf_init(&hostnames.text, 8192);
	for (size_t h = 0; h < route->n_hostnames; h++)
		join(&hostnames, route->hostnames[h]);
	row[1] = joined_take(&hostnames, arena, "*");
	row[2] = verdict(shown, "Accepted");
	row[3] = verdict(shown, "ResolvedRefs");
}

static void policy_row(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                       const char *row[COLUMNS])
{
	const struct backend_tls_policy *policy = (const struct backend_tls_policy *)node->object;
	struct joined services;
	buf_init(&services.text, 8192);
	for (size_t t = 0; t < policy->n_targets; t++)
		join(&services, policy->targets[t].name);
	row[1] = joined_take(&services, arena, "-");
	row[2] = verdict(shown, "Accepted");
	row[3] = verdict(shown, "ResolvedRefs");
}

static void filter_row(const struct view *view, const struct node *node, const struct shown_list *shown, struct arena *arena,
                       const char *row[COLUMNS])
{
	const struct own_filter *filter = (const struct own_filter *)node->object;
	struct joined parts;
	buf_init(&parts.text, 8192);
	if (filter->n_allow || filter->n_deny)
		join(&parts, "addresses");
	if (filter->requests)
		join(&parts, "rateLimit");
	if (filter->secret)
		join(&parts, "basicAuth");
	row[1] = joined_take(&parts, arena, "-");
	row[2] = verdict_of_object(shown, "Accepted");
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
	size_t n = nobodys_refusals(refusals, out);
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++) {
		struct node_list nodes = {0};
		if (!object_kind_has_status(kind))
			continue;
		store_list(graph->store, kind, &nodes);
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
	/* In this order; of some kinds there is no table while there are no objects. */
	static const struct {
		enum object_kind kind;
		bool always;
		row_cb *row;
		const char *titles[COLUMNS];
	} tables[] = {
	    {KIND_GATEWAY, true, gateway_row, {"GATEWAY", "CLASS", "ADDRESS", "ACCEPTED", "PROGRAMMED"}},
	    {KIND_LISTENERSET, false, set_row, {"LISTENERSET", "GATEWAY", "ACCEPTED", "PROGRAMMED"}},
	    {KIND_HTTPROUTE, true, route_row, {"HTTPROUTE", "HOSTNAMES", "ACCEPTED", "RESOLVEDREFS"}},
	    {KIND_GRPCROUTE, false, route_row, {"GRPCROUTE", "HOSTNAMES", "ACCEPTED", "RESOLVEDREFS"}},
	    {KIND_BACKENDTLSPOLICY, false, policy_row, {"BACKENDTLSPOLICY", "SERVICES", "ACCEPTED", "RESOLVEDREFS"}},
	    {KIND_FILTER, false, filter_row, {"HATCHWAYFILTER", "KIND", "ACCEPTED"}},
	};
	const struct view view = {graph, refusals, not_held};
	size_t n = say_not_held(not_held, out);
	if (n)
		buf_addc(out, '\n');
	classes(&view, out);
	for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
		if (!tables[t].always && !graph->store->n_objects[tables[t].kind])
			continue;
		buf_addc(out, '\n');
		table(&view, tables[t].kind, tables[t].titles, tables[t].row, out);
	}
	struct buf named;
	buf_init(&named, out->limit);
	size_t n_named = problems(graph, refusals, &named);
	if (n_named)
		buf_addf(out, "\n%s", named.data);
	buf_done(&named);
	return n + n_named;
}
