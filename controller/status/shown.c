/* The conditions of one object, as they are shown. */
#include "controller/status/status.h"

#include <string.h>

static struct condition *add(struct shown_list *list, size_t scope, const struct condition *condition)
{
	if (!(list->n & (list->n - 1)))
		list->items = xrealloc(list->items, (list->n ? list->n * 2 : 1) * sizeof(*list->items));
	struct shown *shown = &list->items[list->n++];
	*shown = (struct shown){.scope = scope};
	condition_copy(&shown->condition, condition);
	return &shown->condition;
}

void shown_done(struct shown_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		condition_done(&list->items[i].condition);
	free(list->items);
	*list = (struct shown_list){0};
}

/* Where in memory nodes lie decides nothing but where they stand in this list. */
static int node_order(const struct node *a, const struct node *b)
{
	return ((uintptr_t)a > (uintptr_t)b) - ((uintptr_t)a < (uintptr_t)b);
}

static int refused_cmp(const void *va, const void *vb)
{
	const struct refused *a = va, *b = vb;
	int c = node_order(a->node, b->node);
	if (!c)
		c = (a->rule > b->rule) - (a->rule < b->rule);
	if (!c)
		c = (int)a->kind - (int)b->kind;
	if (!c)
		c = strcmp(a->key, b->key);
	return c ? c : strcmp(a->text, b->text);
}

void refusals_sort(struct refusals *refusals)
{
	if (refusals->n > 1)
		qsort(refusals->items, refusals->n, sizeof(*refusals->items), refused_cmp);
}

/* Those of one object. */
static struct refusals refusals_of(const struct refusals *all, const struct node *node)
{
	size_t low = 0, high = all->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (node_order(all->items[middle].node, node) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	struct refusals own = {.items = all->n ? all->items + low : NULL};
	while (low + own.n < all->n && all->items[low + own.n].node == node)
		own.n++;
	return own;
}

static void show_class(struct shown_list *list, const struct graph *graph, const struct node *node)
{
	enum condition_id id;
	struct buf message;
	buf_init(&message, CONDITION_MESSAGE);
	if (graph_class_condition(graph, (const struct gateway_class *)node->object, &id, &message)) {
		struct condition *accepted = add(list, 0, &(struct condition){.id = (uint8_t)id});
		if (message.len)
			condition_set(accepted, id, "spec.parametersRef: %s", message.data);
		graph_release_condition(graph, add(list, 0, &(struct condition){0}));
	}
	buf_done(&message);
}

static const struct refused *refused_port(const struct refusals *own, uint16_t port)
{
	for (size_t i = 0; i < own->n; i++)
		if (own->items[i].port == port)
			return &own->items[i];
	return NULL;
}

/* What is not Programmed for another reason keeps that. */
static void show_down(struct shown_list *list, const char *why)
{
	for (size_t i = 0; i < list->n; i++) {
		struct condition *c = &list->items[i].condition;
		if (c->id == COND_GATEWAY_PROGRAMMED)
			condition_set(c, COND_GATEWAY_NOT_PROGRAMMED, "HAProxy does not serve: %s", why);
		else if (c->id == COND_LISTENER_PROGRAMMED)
			condition_set(c, COND_LISTENER_PENDING, "HAProxy does not serve");
		else if (c->id == COND_SET_PROGRAMMED)
			condition_set(c, COND_SET_PENDING, "HAProxy does not serve: %s", why);
	}
}

static const struct refused *refused_listener(const struct refusals *of_gateway, const struct listener_state *s)
{
	return s->serving ? refused_port(of_gateway, s->spec->port) : NULL;
}

/* Those of one object. */
static void show_listeners(struct shown_list *list, const struct graph_parent *parent, const struct refusals *of_gateway)
{
	for (size_t i = 0; i < parent->n; i++) {
		const struct listener_state *l = &parent->gateway->listeners[parent->first + i];
		add(list, i + 1, &l->accepted);
		add(list, i + 1, &l->conflicted);
		struct condition *programmed = add(list, i + 1, &l->programmed);
		const struct refused *refused = refused_listener(of_gateway, l);
		if (refused)
			condition_set(programmed, COND_LISTENER_REFUSED, "HAProxy refused %s %s: %s",
			              refused->kind == TABLE_HOST ? "host" : "port", refused->key, refused->text);
		add(list, i + 1, &l->resolved);
	}
}

/* HAProxy has none of what could be served. */
static bool is_all_refused(const struct graph_parent *parent, const struct refusals *of_gateway)
{
	size_t refused = 0, serving = 0;
	for (size_t i = parent->first; i < parent->first + parent->n; i++) {
		serving += parent->gateway->listeners[i].serving;
		refused += refused_listener(of_gateway, &parent->gateway->listeners[i]) != NULL;
	}
	return refused && refused == serving;
}

static bool is_serving(const struct gateway_state *state)
{
	bool serving = false;
	for (size_t i = 0; i < state->n_listeners && !serving; i++)
		serving = state->listeners[i].serving;
	return serving;
}

static void show_gateway(struct shown_list *list, const struct graph *graph, const struct node *node,
                         const struct refusals *refusals)
{
	struct gateway_state *state = node_gateway(node);
	const struct refusals own = refusals_of(refusals, node);
	const struct graph_parent parent = graph_parent_of(node), whole = {state->node, state, 0, state->n_listeners};
	add(list, 0, &state->accepted);
	add(list, 0, &state->programmed);
	if (state->resolved.id)
		add(list, 0, &state->resolved);
	if (graph_insecure(state))
		add(list, 0, &(struct condition){.id = COND_GATEWAY_INSECURE});
	show_listeners(list, &parent, &own);
	if (refusals->down)
		show_down(list, refusals->down);
	const char *said = is_serving(state) ? graph_said(graph, node->namespace, node->name) : NULL;
	if (said)
		condition_set(&list->items[1].condition, COND_GATEWAY_NO_RESOURCES, "The API server refuses the Gateway's Service: %s",
		              said);
	if (is_all_refused(&whole, &own))
		condition_set(&list->items[1].condition, COND_GATEWAY_NOT_PROGRAMMED, "HAProxy refused every listener");
}

static void show_set(struct shown_list *list, const struct graph *graph, const struct node *node,
                     const struct refusals *refusals)
{
	const struct set_state *set = node_set(node);
	const struct node *gateway = set->gateway->node;
	const struct refusals of_gateway = refusals_of(refusals, gateway);
	const struct graph_parent parent = graph_parent_of(node);
	add(list, 0, &set->accepted);
	add(list, 0, &set->programmed);
	show_listeners(list, &parent, &of_gateway);
	if (refusals->down)
		show_down(list, refusals->down);
	struct condition *programmed = &list->items[1].condition;
	if (programmed->id == COND_SET_PROGRAMMED && graph_said(graph, gateway->namespace, gateway->name))
		condition_set(programmed, COND_SET_PARENT_NOT_PROGRAMMED, "Gateway %s/%s is not programmed", gateway->namespace,
		              gateway->name);
	else if (programmed->id == COND_SET_PROGRAMMED && is_all_refused(&parent, &of_gateway))
		condition_set(programmed, COND_SET_PENDING, "HAProxy refused every listener");
}

/* ---- routes ---- */

/* All units of the rule are refused. */
static bool is_rule_refused(const struct refusals *own, size_t rule)
{
	size_t n = 0, of = 0;
	for (size_t i = 0; i < own->n; i++) {
		const struct refused *r = &own->items[i];
		if (r->kind != TABLE_RULE || r->rule != rule)
			continue;
		n += !i || r[-1].kind != TABLE_RULE || strcmp(r[-1].key, r->key) != 0; /* sorted: once for each key */
		of = r->of;
	}
	return n && n == of;
}

/* No rule is left that serves, and it is the proxy's doing. */
static bool is_route_refused(const struct route_state *state, const struct refusals *own)
{
	bool any = false;
	if (!own->n)
		return false;
	for (size_t r = 0; r < state->route->n_rules; r++) {
		bool refused = is_rule_refused(own, r);
		if (!refused && !graph_rule_dropped(state, r))
			return false;
		any |= refused;
	}
	return any;
}

static void say_refused(const struct refused *r, struct buf *message)
{
	if (message->len)
		buf_adds(message, "; ");
	if (r->kind == TABLE_HOST)
		buf_addf(message, "host %s: HAProxy refused some of it: %s", r->key, r->text);
	else if (r->kind == TABLE_BACKEND)
		buf_addf(message, "spec.rules[%zu]: HAProxy refused backend %s: %s", r->rule, r->key, r->text);
	else if (strchr(r->key, '@'))
		buf_addf(message, "spec.rules[%zu]: HAProxy refused it on %s: %s", r->rule, strchr(r->key, '@') + 1,
		         r->text);
	else
		buf_addf(message, "spec.rules[%zu]: HAProxy refused it: %s", r->rule, r->text);
}

/* What the graph and what the proxy dropped, one after the other. */
static void say_dropped(const struct route_state *state, const struct refusals *own, struct buf *message)
{
	if (state->partial.id)
		buf_adds(message, condition_text(&state->partial) + strlen(DROPPED_RULE));
	for (size_t i = 0; i < own->n; i++)
		say_refused(&own->items[i], message);
}

static bool answers_500(const struct route_state *state, const struct refusals *own)
{
	bool found = state->partial.id;
	for (size_t i = 0; i < own->n; i++)
		found |= own->items[i].kind == TABLE_RULE;
	return found;
}

static void show_route(struct shown_list *list, const struct node *node, const struct refusals *refusals)
{
	const struct route_state *state = node_route(node);
	const struct refusals own = refusals_of(refusals, node);
	const bool refused = is_route_refused(state, &own);
	struct condition partial = {0};
	struct buf message;
	buf_init(&message, CONDITION_MESSAGE);
	say_dropped(state, &own, &message);
	if (message.len)
		condition_set(&partial, COND_ROUTE_PARTIALLY_INVALID, "%s%s",
		              answers_500(state, &own) ? DROPPED_RULE : "Dropped Rule: ", message.data);
	for (size_t i = 0; i < state->n_parents; i++) {
		if (!state->parents[i].accepted.id)
			continue;
		struct condition *accepted = add(list, i + 1, &state->parents[i].accepted);
		if (refused && accepted->id == COND_ROUTE_ACCEPTED)
			condition_set(accepted, COND_ROUTE_UNSUPPORTED_VALUE, "%s", message.data);
		bool is_accepted = condition_kind(accepted->id)->status;
		if (partial.id && is_accepted)
			add(list, i + 1, &partial);
		add(list, i + 1, &state->resolved);
	}
	condition_done(&partial);
	buf_done(&message);
}

/* The listeners that count the route, however many parentRefs lead there. */
static uint64_t counted_at(const struct route_state *route, const struct graph_parent *parent)
{
	uint64_t listeners = 0;
	for (size_t i = 0; i < route->n_parents; i++) {
		const struct parent_ref *ref = &route->route->parent_refs[i];
		if (route->parents[i].epoch == parent->gateway->epoch && parent_ref_kind(ref) == parent->node->kind &&
		    strcmp(ref->name, parent->node->name) == 0 && strcmp(ref->namespace, parent->node->namespace) == 0)
			listeners |= route->parents[i].listeners;
	}
	return listeners;
}

void status_unattached(const struct graph_parent *parent, const struct refusals *refusals, uint32_t ret[GRAPH_LISTENERS])
{
	memset(ret, 0, GRAPH_LISTENERS * sizeof(*ret));
	for (size_t i = 0, next; i < refusals->n; i = next) {
		const struct node *node = refusals->items[i].node;
		for (next = i + 1; next < refusals->n && refusals->items[next].node == node;)
			next++;
		const struct refusals own = {.items = refusals->items + i, .n = next - i};
		const struct route_state *route = node && object_kind_is_route(node->kind) ? node_route(node) : NULL;
		uint64_t listeners = route && is_route_refused(route, &own) ? counted_at(route, parent) : 0;
		for (size_t l = 0; l < parent->n; l++)
			ret[l] += listeners >> l & 1;
	}
}

/* ---- policies ---- */

static void show_policy(struct shown_list *list, const struct graph *graph, const struct node *node)
{
	struct node_list ancestors = {0};
	struct condition accepted = {0}, resolved = {0};
	graph_policy_ancestors(graph, node, &ancestors);
	if (ancestors.n)
		graph_policy_judge(graph, node, &accepted, &resolved);
	for (size_t i = 0; i < ancestors.n; i++) {
		add(list, i + 1, &accepted);
		add(list, i + 1, &resolved);
	}
	condition_done(&accepted);
	condition_done(&resolved);
	node_list_done(&ancestors);
}

static void show_filter(struct shown_list *list, const struct graph *graph, const struct node *node)
{
	struct condition accepted = {0};
	graph_filter_judge(graph, (const struct own_filter *)node->object, &accepted);
	add(list, 0, &accepted);
	condition_done(&accepted);
}

struct shown_list shown_new(const struct graph *graph, const struct node *node, const struct refusals *refusals)
{
	struct shown_list list = {0};
	if (!node->object)
		return list;
	if (node->kind == KIND_GATEWAYCLASS)
		show_class(&list, graph, node);
	else if (node->kind == KIND_GATEWAY && node_gateway(node))
		show_gateway(&list, graph, node, refusals);
	else if (node->kind == KIND_LISTENERSET && node_set(node))
		show_set(&list, graph, node, refusals);
	else if (object_kind_is_route(node->kind) && node_route(node))
		show_route(&list, node, refusals);
	else if (node->kind == KIND_BACKENDTLSPOLICY)
		show_policy(&list, graph, node);
	else if (node->kind == KIND_FILTER)
		show_filter(&list, graph, node);
	return list;
}

static void say_ancestor(const struct graph *graph, const struct node *policy, size_t i, struct buf *out)
{
	struct node_list ancestors = {0};
	graph_policy_ancestors(graph, policy, &ancestors);
	buf_addf(out, "ancestor %s/%s", ancestors.items[i]->namespace, ancestors.items[i]->name);
	node_list_done(&ancestors);
}

void shown_scope(const struct graph *graph, const struct node *node, size_t scope, struct buf *out)
{
	if (!scope)
		return;
	if (node->kind == KIND_BACKENDTLSPOLICY) {
		say_ancestor(graph, node, scope - 1, out);
		return;
	}
	const struct graph_parent own = graph_parent_of(node);
	if (own.gateway) {
		buf_addf(out, "listener %s", own.gateway->listeners[own.first + scope - 1].spec->name);
		return;
	}
	const struct parent_ref *ref = &node_route(node)->route->parent_refs[scope - 1];
	buf_addf(out, "parent %s/%s", ref->namespace, ref->name);
	if (ref->section_name)
		buf_addf(out, " %s", ref->section_name);
	if (ref->port)
		buf_addf(out, " port %u", ref->port);
}
