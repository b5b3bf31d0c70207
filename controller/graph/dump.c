/* The graph as text: every Gateway and ListenerSet with its listeners, every route with its parents and references. Sorted. */
#include "controller/graph/graph.h"

static void dump_condition(const struct condition *c, const char *indent, struct buf *out)
{
	if (!c->id || condition_kind(c->id)->good)
		return;
	buf_adds(out, indent);
	condition_dump(c, out);
	buf_addc(out, '\n');
}

static void dump_listener(const struct gateway_state *state, size_t i, struct buf *out)
{
	const struct listener *l = state->listeners[i].spec;
	const struct listener_state *s = &state->listeners[i];
	buf_addf(out, "  listener %s: %s port %u, hostname %s, attached routes %u", l->name, l->protocol, l->port,
	         l->hostname ? l->hostname : "any", s->attached);
	for (size_t b = 0; s->serving && b < state->n_binds; b++)
		buf_addf(out, "%s%s:%u", b ? ", " : ", bound to ", *state->binds[b] ? state->binds[b] : "*",
		         s->bind_port);
	buf_addc(out, '\n');
	dump_condition(&s->accepted, "    ", out);
	dump_condition(&s->conflicted, "    ", out);
	dump_condition(&s->resolved, "    ", out);
	dump_condition(&s->programmed, "    ", out);
}

static void dump_gateway(const struct graph *graph, const struct node *node, struct buf *out)
{
	const struct gateway_state *state = node_gateway(node);
	if (!state) {
		buf_addf(out, "Gateway %s/%s: another controller's\n", node->namespace, node->name);
		return;
	}
	buf_addf(out, "Gateway %s/%s of class %s\n", node->namespace, node->name, state->gateway->gateway_class_name);
	dump_condition(&state->accepted, "  ", out);
	dump_condition(&state->programmed, "  ", out);
	dump_condition(&state->resolved, "  ", out);
	for (size_t i = 0; i < state->n_own; i++)
		dump_listener(state, i, out);
}

static void dump_set(const struct node *node, struct buf *out)
{
	const struct set_state *set = node_set(node);
	if (!set) {
		buf_addf(out, "ListenerSet %s/%s: of no Gateway of ours\n", node->namespace, node->name);
		return;
	}
	const struct node *gateway = set->gateway->node;
	buf_addf(out, "ListenerSet %s/%s of Gateway %s/%s\n", node->namespace, node->name, gateway->namespace, gateway->name);
	dump_condition(&set->accepted, "  ", out);
	dump_condition(&set->programmed, "  ", out);
	for (size_t i = 0; i < set->n; i++)
		dump_listener(set->gateway, set->first + i, out);
}

static void dump_parent(const struct graph *graph, const struct route_state *state, size_t i, struct buf *out)
{
	const struct parent_ref *ref = &state->route->parent_refs[i];
	const struct parent_state *parent = &state->parents[i];
	buf_addf(out, "  parent %s %s/%s", ref->kind, ref->namespace, ref->name);
	if (!parent->accepted.id) {
		buf_adds(out, ": not ours\n");
		return;
	}
	const struct graph_parent to = graph_parent(graph, ref);
	const char *before = " attached to listener ";
	for (size_t l = 0; l < to.n; l++)
		if (parent->listeners >> l & 1) {
			buf_addf(out, "%s%s", before, to.gateway->listeners[to.first + l].spec->name);
			before = ", ";
		}
	buf_addc(out, '\n');
	dump_condition(&parent->accepted, "    ", out);
}

static void dump_ref(const struct graph *graph, const struct http_route *route, const struct backend_ref *ref, size_t r,
                     struct buf *out)
{
	enum condition_id why;
	buf_addf(out, "  rule %zu to %s %s/%s:%u weight %d", r, ref->kind, ref->namespace, ref->name, ref->port,
	         (int)ref->weight);
	if (!graph_ref(graph, &route->object, ref, &why, NULL))
		buf_addf(out, ": %s", condition_kind(why)->reason);
	buf_addc(out, '\n');
}

static void dump_mirror(const struct graph *graph, const struct http_route *route, const struct http_mirror *mirror, size_t r,
                        struct buf *out)
{
	enum condition_id why;
	buf_addf(out, "  rule %zu mirrors to %s %s/%s:%u", r, mirror->ref.kind, mirror->ref.namespace, mirror->ref.name,
	         mirror->ref.port);
	if (!graph_ref(graph, &route->object, &mirror->ref, &why, NULL))
		buf_addf(out, ": %s", condition_kind(why)->reason);
	buf_addc(out, '\n');
}

static void dump_extension(const struct graph *graph, const struct http_route *route, size_t r, size_t i, struct buf *out)
{
	const struct extension_ref *ref = route->rules[r].filters[i].extension;
	enum condition_id why;
	buf_addf(out, "  rule %zu filtered by %s %s/%s", r, ref->kind, route->object.namespace, ref->name);
	if (!graph_filter(graph, &route->object, &route->rules[r], i, &why, NULL))
		buf_addf(out, ": %s", condition_kind(why)->reason);
	buf_addc(out, '\n');
}

static void dump_filter(const struct graph *graph, const struct node *node, struct buf *out)
{
	struct condition accepted = {0};
	buf_addf(out, "HatchwayFilter %s/%s\n", node->namespace, node->name);
	graph_filter_judge(graph, (const struct own_filter *)node->object, &accepted);
	dump_condition(&accepted, "  ", out);
	condition_done(&accepted);
}

static void dump_route(const struct graph *graph, const struct node *node, struct buf *out)
{
	const struct route_state *state = node_route(node);
	if (!state) /* put, but not updated yet */
		return;
	const struct http_route *route = state->route;
	buf_addf(out, "%s %s/%s\n", object_kind_name(node->kind), node->namespace, node->name);
	for (size_t i = 0; i < state->n_parents; i++)
		dump_parent(graph, state, i, out);
	for (size_t r = 0; r < route->n_rules; r++) {
		for (size_t i = 0; i < route->rules[r].n_filters; i++)
			if (route->rules[r].filters[i].type == FILTER_EXTENSION_REF)
				dump_extension(graph, route, r, i, out);
		for (size_t i = 0; i < route->rules[r].n_backend_refs; i++)
			dump_ref(graph, route, &route->rules[r].backend_refs[i], r, out);
		for (size_t i = 0; i < route->rules[r].n_mirrors; i++)
			dump_mirror(graph, route, &route->rules[r].mirrors[i], r, out);
	}
	if (state->ours) {
		dump_condition(&state->resolved, "  ", out);
		dump_condition(&state->partial, "  ", out);
	}
}

static void dump_policy(const struct graph *graph, const struct node *node, struct buf *out)
{
	struct condition accepted = {0}, resolved = {0};
	struct node_list ancestors = {0};
	buf_addf(out, "BackendTLSPolicy %s/%s\n", node->namespace, node->name);
	graph_policy_judge(graph, node, &accepted, &resolved);
	graph_policy_ancestors(graph, node, &ancestors);
	for (size_t i = 0; i < ancestors.n; i++)
		buf_addf(out, "  ancestor %s/%s\n", ancestors.items[i]->namespace, ancestors.items[i]->name);
	dump_condition(&accepted, "  ", out);
	dump_condition(&resolved, "  ", out);
	node_list_done(&ancestors);
	condition_done(&accepted);
	condition_done(&resolved);
}

static void dump_class(const struct graph *graph, const struct node *node, struct buf *out)
{
	static const char *const words[] = {
	        [CLASS_FOREIGN] = "another controller's", [CLASS_OURS] = "ours", [CLASS_REFUSED] = "ours, not accepted"};
	buf_addf(out, "GatewayClass %s: %s\n", node->name, words[graph_class(graph, node->name)]);
}

static void dump_node(const struct graph *graph, const struct node *node, struct buf *out)
{
	if (node->kind == KIND_GATEWAYCLASS)
		dump_class(graph, node, out);
	else if (node->kind == KIND_GATEWAY)
		dump_gateway(graph, node, out);
	else if (node->kind == KIND_LISTENERSET)
		dump_set(node, out);
	else if (node->kind == KIND_BACKENDTLSPOLICY)
		dump_policy(graph, node, out);
	else if (node->kind == KIND_FILTER)
		dump_filter(graph, node, out);
	else
		dump_route(graph, node, out);
}

void graph_dump(const struct graph *graph, struct buf *out)
{
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++) {
		struct node_list nodes = {0};
		if (!object_kind_has_status(kind))
			continue;
		store_list(graph->store, kind, &nodes);
		for (size_t i = 0; i < nodes.n; i++)
			dump_node(graph, nodes.items[i], out);
		node_list_done(&nodes);
	}
}
