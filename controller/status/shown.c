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
static int place_cmp(const struct refused *a, const struct refused *b)
{
	if (a->node != b->node)
		return (uintptr_t)a->node < (uintptr_t)b->node ? -1 : 1;
	return (a->port > b->port) - (a->port < b->port);
}

static int refused_cmp(const void *va, const void *vb)
{
	const struct refused *a = va, *b = vb;
	int c = place_cmp(a, b);
	return c ? c : strcmp(a->text, b->text);
}

void refusals_sort(struct refusals *refusals)
{
	if (refusals->n > 1)
		qsort(refusals->items, refusals->n, sizeof(*refusals->items), refused_cmp);
}

/* The first of them, if any. */
static const char *refusal_of(const struct refusals *refusals, const struct node *node, uint16_t port)
{
	const struct refused like = {.node = node, .port = port};
	size_t low = 0, high = refusals->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (place_cmp(&refusals->items[middle], &like) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < refusals->n && !place_cmp(&refusals->items[low], &like) ? refusals->items[low].text : NULL;
}

static void show_class(struct shown_list *list, const struct graph *graph, const struct node *node)
{
	enum condition_id id;
	if (!graph_class_condition(graph, (const struct gateway_class *)node->object, &id))
		return;
	add(list, 0, &(struct condition){.id = (uint8_t)id});
	add(list, 0, &(struct condition){.id = COND_CLASS_SUPPORTED_VERSION});
}

static void show_gateway(struct shown_list *list, const struct node *node, const struct refusals *refusals)
{
	const struct gateway_state *state = node_gateway(node);
	size_t refused = 0, serving = 0;
	add(list, 0, &state->accepted);
	add(list, 0, &state->programmed);
	for (size_t i = 0; i < state->n_listeners; i++) {
		const struct listener_state *l = &state->listeners[i];
		add(list, i + 1, &l->accepted);
		add(list, i + 1, &l->conflicted);
		struct condition *programmed = add(list, i + 1, &l->programmed);
		const char *text = l->serving ? refusal_of(refusals, node, state->gateway->listeners[i].port) : NULL;
		if (text)
			condition_set(programmed, COND_LISTENER_PENDING, "HAProxy refused %s", text);
		refused += text != NULL;
		serving += l->serving;
		add(list, i + 1, &l->resolved);
	}
	if (refused && refused == serving)
		condition_set(&list->items[1].condition, COND_GATEWAY_NOT_PROGRAMMED, "HAProxy refused every listener");
}

static void show_route(struct shown_list *list, const struct node *node, const struct refusals *refusals)
{
	const struct route_state *state = node_route(node);
	const char *text = refusal_of(refusals, node, 0);
	for (size_t i = 0; i < state->n_parents; i++) {
		if (!state->parents[i].accepted.id)
			continue;
		struct condition *accepted = add(list, i + 1, &state->parents[i].accepted);
		if (text && accepted->id == COND_ROUTE_ACCEPTED)
			condition_set(accepted, COND_ROUTE_PENDING, "HAProxy refused %s", text);
		bool is_accepted = condition_kind(accepted->id)->status;
		if (state->partial.id && is_accepted)
			add(list, i + 1, &state->partial);
		add(list, i + 1, &state->resolved);
	}
}

struct shown_list shown_new(const struct graph *graph, const struct node *node, const struct refusals *refusals)
{
	struct shown_list list = {0};
	if (!node->object)
		return list;
	if (node->kind == KIND_GATEWAYCLASS)
		show_class(&list, graph, node);
	else if (node->kind == KIND_GATEWAY && node_gateway(node))
		show_gateway(&list, node, refusals);
	else if (node->kind == KIND_HTTPROUTE && node_route(node))
		show_route(&list, node, refusals);
	return list;
}
