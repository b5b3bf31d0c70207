/* Goes through what is wanted and what is there, and tells the difference. */
#include "controller/infra/infra.h"

#include "hatchway/base/hash.h"

#include <string.h>

struct teller {
	const struct graph *graph;
	infra_cb *cb;
	void *ctx;
};

/* ---- what is there ---- */

static const struct kept *kept_of(const struct node *node)
{
	const struct object *object = node ? node->object : NULL;
	if (object && object->kind == KIND_ENDPOINTSLICE)
		return ((const struct endpoint_slice *)object)->kept;
	const struct kept_service *service = object ? ((const struct service *)object)->kept : NULL;
	return service ? &service->kept : NULL;
}

/* ---- what is wanted ---- */

/* The digest tells a document that has lost a field from the one that was applied: what is left is in the object, and so
 * is, still ours, what is to go. A tenant who makes two documents collide keeps a field of his own Service. */
static char *finish(json_t *document)
{
	char digest[24];
	json_t *metadata = json_object_get(document, "metadata"), *annotations = json_object_get(metadata, "annotations");
	char *text = json_dumps(document, JSON_COMPACT | JSON_SORT_KEYS);
	BUG_ON(!text);
	snprintf(digest, sizeof(digest), "%016llx", (unsigned long long)hash_bytes(text, strlen(text), 0));
	free(text);
	json_object_set_new(annotations, ANNOTATION_APPLIED, json_string(digest));
	text = json_dumps(document, JSON_COMPACT | JSON_SORT_KEYS);
	BUG_ON(!text);
	return text;
}

static void apply(const struct teller *teller, const struct gateway_state *state, enum object_kind kind, json_t *document)
{
	const struct gateway *gateway = state->gateway;
	char *text = finish(document);
	const char *name = json_string_value(json_object_get(json_object_get(document, "metadata"), "name"));
	const struct kept *kept = kept_of(store_find(teller->graph->store, kind, gateway->object.namespace, name));
	if (!kept || !infra_is_applied(kind, document, kept->live)) {
		const struct infra_change change = {
		        .kind = kind,
		        .namespace = gateway->object.namespace,
		        .name = name,
		        .gateway = gateway->object.name,
		        .text = text,
		};
		teller->cb(teller->ctx, &change);
	}
	free(text);
	json_decref(document);
}

static bool is_serving(const struct gateway_state *state)
{
	for (size_t i = 0; i < state->n_listeners; i++)
		if (state->listeners[i].serving)
			return true;
	return false;
}

static void apply_gateway(const struct teller *teller, const struct gateway_state *state)
{
	bool foreign;
	graph_service(teller->graph, state->gateway, &foreign);
	if (foreign || !is_serving(state) || !*state->gateway->object.uid)
		return;
	apply(teller, state, KIND_SERVICE, infra_service(teller->graph, state));
	for (int ipv6 = 0; ipv6 < 2 && infra_pods_known(teller->graph); ipv6++) {
		json_t *slice = infra_slice(teller->graph, state, ipv6);
		if (slice)
			apply(teller, state, KIND_ENDPOINTSLICE, slice);
	}
}

/* ---- what is not wanted any more ---- */

/* The Gateway that owns the object, if it still stands. What nobody owns is the garbage collection's. */
static const struct node *owner(const struct graph *graph, const struct node *node, const struct kept *kept)
{
	const struct node *gateway = store_find(graph->store, KIND_GATEWAY, node->namespace, kept->owner_name);
	bool same = gateway && gateway->object && *kept->owner_uid && strcmp(gateway->object->uid, kept->owner_uid) == 0;
	return same ? gateway : NULL;
}

static bool is_wanted(const struct graph *graph, const struct node *gateway, const struct node *node)
{
	const struct gateway_state *state = node_gateway(gateway);
	char service[SERVICE_NAME_MAX + 1], slice[INFRA_SLICE_NAME];
	if (!state)
		return false; /* of another controller's class now */
	gateway_service_name(state->gateway, service);
	if (node->kind == KIND_SERVICE)
		return strcmp(node->name, service) == 0;
	infra_slice_name(state->gateway, false, slice);
	if (strcmp(node->name, slice) == 0)
		return true;
	infra_slice_name(state->gateway, true, slice);
	if (strcmp(node->name, slice) != 0)
		return false;
	if (!infra_pods_known(graph))
		return true;
	json_t *ipv6 = infra_slice(graph, state, true);
	json_decref(ipv6);
	return ipv6 != NULL;
}

static void delete_unwanted(const struct teller *teller, const struct node *node)
{
	const struct kept *kept = kept_of(node);
	const struct node *gateway = kept && kept->managed ? owner(teller->graph, node, kept) : NULL;
	if (!gateway || is_wanted(teller->graph, gateway, node))
		return;
	const struct infra_change change = {
	        .kind = (enum object_kind)node->kind,
	        .namespace = node->namespace,
	        .name = node->name,
	        .gateway = gateway->name,
	        .uid = node->object->uid,
	};
	teller->cb(teller->ctx, &change);
}

void infra_changes(const struct graph *graph, infra_cb *cb, void *ctx)
{
	const struct teller teller = {graph, cb, ctx};
	struct node_list kept = {0};
	if (!graph->options.pool_base || !graph->options.pods_service)
		return;
	for (size_t i = 0; i < graph->gateways.n; i++)
		apply_gateway(&teller, node_gateway(graph->gateways.items[i]));
	for (size_t i = 0; i < graph->kept.n; i++) {
		node_list_add(&kept, graph->kept.items[i]);
		for (const struct edge *e = graph->kept.items[i]->in[EDGE_PART]; e; e = e->next)
			node_list_add(&kept, e->from);
	}
	node_list_sort(&kept);
	for (size_t i = 0; i < kept.n; i++)
		delete_unwanted(&teller, kept.items[i]);
	node_list_done(&kept);
}
