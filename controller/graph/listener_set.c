/* Judges ListenerSets (Gateway API, ListenerSetSpec): which of them a Gateway lets in, and where their listeners stand behind
 * its own: the oldest set first, then the first by namespace/name. The listeners themselves are judged with the Gateway's. */
#include "controller/graph/graph.h"

#include <string.h>

void set_state_free(struct set_state *state)
{
	if (!state)
		return;
	condition_done(&state->accepted);
	condition_done(&state->programmed);
	object_unref(&state->set->object);
	free(state);
}

/* ---- parents ---- */

struct graph_parent graph_parent_of(const struct node *node)
{
	struct gateway_state *gateway = node && node->kind == KIND_GATEWAY ? node_gateway(node) : NULL;
	const struct set_state *set = node && node->kind == KIND_LISTENERSET ? node_set(node) : NULL;
	if (gateway)
		return (struct graph_parent){gateway->node, gateway, 0, gateway->n_own};
	return set ? (struct graph_parent){set->node, set->gateway, set->first, set->n} : (struct graph_parent){0};
}

struct graph_parent graph_parent(const struct graph *graph, const struct parent_ref *ref)
{
	const enum object_kind kind = parent_ref_kind(ref);
	return graph_parent_of(kind == KIND_COUNT ? NULL : store_find(graph->store, kind, ref->namespace, ref->name));
}

size_t graph_listener_index(const struct gateway_state *state, size_t i)
{
	const struct listener_state *s = &state->listeners[i];
	if (i < state->n_own)
		return i;
	return (size_t)(s->spec - ((const struct listener_set *)s->owner->object)->listeners);
}

/* ---- which there are ---- */

static int older(const void *a, const void *b)
{
	return graph_older(&(*(struct set_state *const *)a)->set->object, &(*(struct set_state *const *)b)->set->object);
}

static struct set_state *set_new(const struct graph *graph, const struct node *gateway, struct node *node)
{
	const struct gateway *object = (const struct gateway *)gateway->object;
	struct set_state *state = xcalloc(1, sizeof(*state));
	state->node = node;
	state->set = (struct listener_set *)object_ref(node->object);
	if (graph_namespace_allowed(graph, object->listeners_from, &object->listeners_selector, gateway->namespace, node->namespace))
		state->n = state->set->n_listeners;
	return state;
}

struct set_state **graph_sets_new(const struct graph *graph, const struct node *gateway, size_t *ret_n)
{
	struct set_state **sets = NULL;
	size_t n = 0;
	for (const struct edge *e = gateway->in[EDGE_USER]; e; e = e->next) {
		if (e->from->kind != KIND_LISTENERSET || !e->from->object)
			continue;
		if (!(n & (n - 1)))
			sets = xrealloc(sets, (n ? n * 2 : 1) * sizeof(struct set_state *));
		sets[n++] = set_new(graph, gateway, e->from);
	}
	if (n > 1)
		qsort(sets, n, sizeof(struct set_state *), older);
	*ret_n = n;
	return sets;
}

/* ---- verdicts ---- */

static void judge_programmed(struct set_state *set)
{
	const struct gateway_state *gateway = set->gateway;
	size_t serving = 0, programmed = 0;
	for (size_t i = set->first; i < set->first + set->n; i++) {
		serving += gateway->listeners[i].serving;
		programmed += gateway->listeners[i].programmed.id == COND_LISTENER_PROGRAMMED;
	}
	if (!condition_kind(gateway->programmed.id)->status)
		condition_set(&set->programmed, COND_SET_PARENT_NOT_PROGRAMMED, "Gateway %s/%s is not programmed",
		              gateway->node->namespace, gateway->node->name);
	else if (programmed && programmed == serving)
		condition_set(&set->programmed, COND_SET_PROGRAMMED, NULL);
	else
		condition_set(&set->programmed, COND_SET_PENDING, "Some listeners are not programmed yet");
}

static void judge_set(struct set_state *set)
{
	const struct node *gateway = set->gateway->node;
	size_t valid = 0;
	for (size_t i = set->first; i < set->first + set->n; i++)
		valid += graph_listener_valid(&set->gateway->listeners[i]);
	if (!set->n) {
		condition_set(&set->accepted, COND_SET_NOT_ALLOWED,
		              "spec.parentRef: Gateway %s/%s lets in no ListenerSet of namespace %s (spec.allowedListeners)",
		              gateway->namespace, gateway->name, set->node->namespace);
		condition_set(&set->programmed, COND_SET_REFUSED, NULL);
	} else if (!valid) {
		condition_set(&set->accepted, COND_SET_NO_LISTENERS, NULL);
		condition_set(&set->programmed, COND_SET_INVALID, NULL);
	} else if (!condition_kind(set->gateway->accepted.id)->status) {
		condition_set(&set->accepted, COND_SET_PARENT_NOT_ACCEPTED, "Gateway %s/%s is not accepted", gateway->namespace,
		              gateway->name);
		judge_programmed(set);
	} else {
		condition_set(&set->accepted, valid == set->n ? COND_SET_ACCEPTED : COND_SET_SOME_LISTENERS, NULL);
		judge_programmed(set);
	}
}

void graph_judge_sets(struct gateway_state *state)
{
	for (size_t i = 0; i < state->n_sets; i++)
		judge_set(state->sets[i]);
}

uint32_t graph_attached_sets(const struct gateway_state *state)
{
	uint32_t n = 0;
	for (size_t i = 0; i < state->n_sets; i++)
		n += condition_kind(state->sets[i]->accepted.id)->status;
	return n;
}

/* ---- from one verdict to the next ---- */

/* Routes look again at a set that comes, goes or moves; what its listeners are is the Gateway's to tell them. */
static void settle_set(struct graph *graph, struct set_state *set, struct graph_delta *delta)
{
	struct set_state *old = set->node->graph;
	if (!old || old->n != set->n)
		graph_queue_routes(set->node, delta);
	set_state_free(old);
	set->node->graph = set;
	node_list_add(&graph->sets, set->node);
	graph_touch(delta->status, set->node);
}

void graph_settle_sets(struct graph *graph, struct gateway_state **states, size_t n, struct graph_delta *delta)
{
	struct node_list before = graph->sets;
	graph->sets = (struct node_list){0};
	for (size_t i = 0; i < before.n; i++)
		node_set(before.items[i])->stale = true;
	for (size_t g = 0; g < n; g++)
		for (size_t i = 0; i < states[g]->n_sets; i++)
			settle_set(graph, states[g]->sets[i], delta);
	for (size_t i = 0; i < before.n; i++) {
		struct node *node = before.items[i];
		if (!node_set(node)->stale)
			continue;
		set_state_free(node->graph);
		node->graph = NULL;
		graph_queue_routes(node, delta);
		graph_touch(delta->status, node);
	}
	node_list_done(&before);
}
