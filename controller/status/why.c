/* Why a request is not answered as somebody meant it to be, for `hatchway explain`: in the words of objects and fields. */
#include "controller/status/status.h"

#include <string.h>

/* ---- rules: 500 ---- */

static void say_extensions(const struct graph *graph, const struct node *node, size_t rule, struct buf *out)
{
	const struct http_rule *source = &node_route(node)->route->rules[rule];
	for (size_t i = 0; i < source->n_filters; i++) {
		const struct extension_ref *ref = source->filters[i].extension;
		enum condition_id id;
		struct buf what;
		if (source->filters[i].type != FILTER_EXTENSION_REF || !extension_ref_is_ours(ref))
			continue;
		buf_init(&what, CONDITION_MESSAGE);
		if (!graph_filter(graph, node->object, source, i, &id, &what))
			buf_addf(out, "%s %s/%s: spec.rules[%zu].filters[%zu].extensionRef: %s: %s\n", object_kind_name(node->kind),
			         node->namespace, node->name, rule, i, condition_kind(id)->reason, what.data);
		buf_done(&what);
	}
}

void status_why_rule(const struct graph *graph, const struct node *node, size_t rule, struct buf *out)
{
	const struct route_state *state = node_route(node);
	const struct http_rule *source = &state->route->rules[rule];
	struct buf what;
	buf_init(&what, CONDITION_MESSAGE);
	if (graph_rule_unsupported(source, &what))
		buf_addf(out, "%s %s/%s: spec.rules[%zu].%s\n", object_kind_name(node->kind), node->namespace, node->name, rule, what.data);
	for (size_t m = 0; m < source->n_matches; m++) {
		buf_clear(&what);
		if (graph_match_bad(&source->matches[m], &what))
			buf_addf(out, "%s %s/%s: spec.rules[%zu].matches[%zu].%s\n", object_kind_name(node->kind), node->namespace,
			         node->name, rule, m, what.data);
	}
	buf_done(&what);
	say_extensions(graph, node, rule, out);
}

void status_why_nowhere(const struct node *node, size_t rule, struct buf *out)
{
	buf_addf(out, "%s %s/%s: spec.rules[%zu].backendRefs: %s\n", object_kind_name(node->kind), node->namespace, node->name, rule,
	         node_route(node)->route->rules[rule].n_backend_refs ? "every weight is 0" : "there are none");
}

static void say_policy(const struct graph *graph, const struct node *policy, struct buf *out)
{
	struct condition accepted = {0}, resolved = {0};
	graph_policy_judge(graph, policy, &accepted, &resolved);
	buf_addf(out, "BackendTLSPolicy %s/%s: ", policy->namespace, policy->name);
	condition_dump(&accepted, out);
	buf_addc(out, '\n');
	condition_done(&accepted);
	condition_done(&resolved);
}

void status_why_ref(const struct graph *graph, const struct node *node, size_t rule, size_t ref, struct buf *out)
{
	const struct http_rule *source = &node_route(node)->route->rules[rule];
	enum condition_id id;
	const struct node *policy = NULL;
	struct buf message;
	buf_init(&message, CONDITION_MESSAGE);
	if (ref < source->n_backend_refs && !graph_ref_served(graph, node->object, &source->backend_refs[ref], &policy) && policy)
		say_policy(graph, policy, out);
	else if (ref < source->n_backend_refs &&
	    !graph_ref(graph, node->object, &source->backend_refs[ref], &id, &message))
		buf_addf(out, "%s %s/%s: spec.rules[%zu].backendRefs[%zu]: %s: %s\n", object_kind_name(node->kind), node->namespace,
		         node->name, rule, ref, condition_kind(id)->reason, message.data);
	buf_done(&message);
}

/* ---- backends: 503 ---- */

static bool has_port(const struct endpoint_slice *slice, const char *name)
{
	for (size_t i = 0; i < slice->n_ports; i++)
		if (slice->ports[i].port && !strcmp(slice->ports[i].name, name) && !strcmp(slice->ports[i].protocol, "TCP"))
			return true;
	return false;
}

void status_why_no_endpoint(const struct node *service, uint16_t port, struct buf *out)
{
	const struct service *object = (const struct service *)service->object;
	const struct service_port *found = object ? service_tcp_port(object, port) : NULL;
	const char *name = found ? found->name : "";
	size_t slices = 0, with_port = 0, endpoints = 0;
	for (const struct edge *e = service->in[EDGE_PART]; e; e = e->next) {
		const struct endpoint_slice *slice = (const struct endpoint_slice *)e->from->object;
		if (!slice)
			continue;
		slices++;
		if (slice->fqdn || !has_port(slice, name))
			continue;
		with_port++;
		endpoints += slice->n_endpoints;
	}
	buf_addf(out, "Service %s/%s: ", service->namespace, service->name);
	if (!slices)
		buf_addf(out, "no EndpointSlice has the label " LABEL_SERVICE_NAME ": %s\n", service->name);
	else if (!with_port)
		buf_addf(out, "none of its %zu EndpointSlices has IP addresses and a TCP port named \"%s\"\n", slices, name);
	else if (!endpoints)
		buf_addf(out, "its EndpointSlices list no endpoints (%zu with port \"%s\")\n", with_port, name);
	else
		buf_addf(out, "none of the %zu endpoints of its EndpointSlices is ready\n", endpoints);
}

/* ---- no listener, or none with such a hostname ---- */

static void say_class(const struct graph *graph, const struct gateway *gateway, struct buf *out)
{
	const char *class = gateway->gateway_class_name;
	const struct node *node = store_find(graph->store, KIND_GATEWAYCLASS, "", class);
	const struct gateway_class *object = node ? (const struct gateway_class *)node->object : NULL;
	if (!object)
		buf_addf(out, "GatewayClass %s not found\n", class);
	else if (strcmp(object->controller_name, graph->options.controller_name) != 0)
		buf_addf(out, "GatewayClass %s is of controller %s, not %s\n", class, object->controller_name,
		         graph->options.controller_name);
	else
		buf_addf(out, "GatewayClass %s is not accepted\n", class);
}

static void say_listener(const struct gateway_state *state, size_t i, const char *indent, struct buf *out)
{
	const struct listener *l = state->listeners[i].spec;
	const struct listener_state *s = &state->listeners[i];
	buf_addf(out, "%slistener %s: port %u, hostname %s", indent, l->name, l->port, l->hostname ? l->hostname : "any");
	const struct condition *const conditions[] = {&s->accepted, &s->conflicted, &s->programmed};
	for (size_t c = 0; c < ARRAY_LEN(conditions); c++) {
		if (condition_kind(conditions[c]->id)->good)
			continue;
		buf_adds(out, "; ");
		condition_dump(conditions[c], out);
	}
	buf_addc(out, '\n');
}

static void say_set(const struct set_state *set, struct buf *out)
{
	buf_addf(out, "  ListenerSet %s/%s", set->node->namespace, set->node->name);
	if (!condition_kind(set->accepted.id)->status) {
		buf_adds(out, ": ");
		condition_dump(&set->accepted, out);
	}
	buf_addc(out, '\n');
	for (size_t i = 0; i < set->n; i++)
		say_listener(set->gateway, set->first + i, "    ", out);
}

static void say_gateway(const struct graph *graph, const struct node *node, struct buf *out)
{
	const struct gateway *gateway = (const struct gateway *)node->object;
	const struct gateway_state *state = node_gateway(node);
	buf_addf(out, "Gateway %s/%s: ", node->namespace, node->name);
	if (!state) {
		say_class(graph, gateway, out);
		return;
	}
	if (condition_kind(state->accepted.id)->good)
		buf_addf(out, "class %s", gateway->gateway_class_name);
	else
		condition_dump(&state->accepted, out);
	buf_addc(out, '\n');
	for (size_t i = 0; i < state->n_own; i++)
		say_listener(state, i, "  ", out);
	for (size_t i = 0; i < state->n_sets && i < STATUS_NAMED; i++)
		say_set(state->sets[i], out);
	if (state->n_sets > STATUS_NAMED)
		buf_addf(out, "  and %zu more ListenerSets\n", state->n_sets - STATUS_NAMED);
}

void status_gateways(const struct graph *graph, struct buf *out)
{
	struct node_list nodes = {0};
	store_list(graph->store, KIND_GATEWAY, &nodes);
	if (!nodes.n)
		buf_adds(out, "There is no Gateway.\n");
	for (size_t i = 0; i < nodes.n && i < STATUS_NAMED; i++)
		say_gateway(graph, nodes.items[i], out);
	if (nodes.n > STATUS_NAMED)
		buf_addf(out, "and %zu more Gateways\n", nodes.n - STATUS_NAMED);
	node_list_done(&nodes);
}

/* ---- remarks: right by the API, and yet nobody means it ---- */

static bool is_orphan(const struct graph *graph, const struct endpoint_slice *slice)
{
	const struct node *service =
	        slice->service ? store_find(graph->store, KIND_SERVICE, slice->object.namespace, slice->service) : NULL;
	return !service || !service->object;
}

size_t status_remarks(const struct graph *graph, struct buf *out)
{
	struct node_list nodes = {0};
	size_t n = 0;
	store_list(graph->store, KIND_ENDPOINTSLICE, &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		const struct endpoint_slice *slice = (const struct endpoint_slice *)nodes.items[i]->object;
		if (!is_orphan(graph, slice) || ++n > STATUS_NAMED)
			continue;
		buf_addf(out, "EndpointSlice %s/%s: ", slice->object.namespace, slice->object.name);
		if (slice->service)
			buf_addf(out, "label " LABEL_SERVICE_NAME ": Service %s/%s not found\n", slice->object.namespace, slice->service);
		else
			buf_adds(out, "has no label " LABEL_SERVICE_NAME " and so belongs to no Service\n");
	}
	if (n > STATUS_NAMED)
		buf_addf(out, "and %zu more EndpointSlices\n", n - STATUS_NAMED);
	node_list_done(&nodes);
	return n;
}
