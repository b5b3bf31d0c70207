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

static const struct kept_service *kept_service_of(const struct node *node)
{
	const struct service *service = node ? (const struct service *)node->object : NULL;
	return service ? service->kept : NULL;
}

static const struct kept *kept_of(const struct node *node)
{
	if (node && node->object && node->kind == KIND_ENDPOINTSLICE)
		return ((const struct endpoint_slice *)node->object)->kept;
	const struct kept_service *service = kept_service_of(node);
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

static void apply(const struct teller *teller, const struct gateway_state *state, enum infra_kind kind, json_t *document)
{
	const struct gateway *gateway = state->gateway;
	const enum object_kind object_kind = kind == INFRA_SERVICE ? KIND_SERVICE : KIND_ENDPOINTSLICE;
	char *text = finish(document);
	const char *name = json_string_value(json_object_get(json_object_get(document, "metadata"), "name"));
	const struct kept *kept = kept_of(store_find(teller->graph->store, object_kind, gateway->object.namespace, name));
	if (!kept || !infra_is_applied(object_kind, document, kept->live)) {
		const struct infra_change change = {
		        .kind = kind,
		        .verb = INFRA_APPLY,
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

/* uids come from the API server itself: they need no escapes. */
static void clear_selector(const struct teller *teller, const struct gateway_state *state, const struct service *service)
{
	struct buf text, note;
	buf_init(&text, 1024);
	buf_init(&note, 1024);
	buf_addf(&text, "{\"metadata\":{\"uid\":\"%s\"},\"spec\":{\"selector\":null}}", service->object.uid);
	buf_addf(&note, "Service %s had a selector, which would lead its clients to other Pods: removed", service->object.name);
	const struct infra_change change = {
	        .kind = INFRA_SERVICE,
	        .verb = INFRA_CLEAR,
	        .namespace = service->object.namespace,
	        .name = service->object.name,
	        .gateway = state->gateway->object.name,
	        .text = text.data,
	        .note = note.data,
	};
	teller->cb(teller->ctx, &change);
	buf_done(&text);
	buf_done(&note);
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
	const struct service *service = graph_service(teller->graph, state->gateway, &foreign);
	if (foreign || !is_serving(state) || !*state->gateway->object.uid)
		return;
	if (service && service->kept->selector)
		clear_selector(teller, state, service);
	else
		apply(teller, state, INFRA_SERVICE, infra_service(teller->graph, state));
	for (int ipv6 = 0; ipv6 < 2 && infra_pods_known(teller->graph); ipv6++) {
		json_t *slice = infra_slice(teller->graph, state, ipv6);
		if (slice)
			apply(teller, state, INFRA_SLICE, slice);
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
	        .kind = node->kind == KIND_SERVICE ? INFRA_SERVICE : INFRA_SLICE,
	        .verb = INFRA_DELETE,
	        .namespace = node->namespace,
	        .name = node->name,
	        .gateway = gateway->name,
	        .uid = node->object->uid,
	};
	teller->cb(teller->ctx, &change);
}

/* What Kubernetes has made of a selector stays when that goes; the Endpoints it made, too, are mirrored into EndpointSlices
 * then, as if a hand had written them. While the selector is there all of it would only be made again. */
static void delete_stray(const struct teller *teller, const struct node *node)
{
	const struct endpoint_slice *slice = (const struct endpoint_slice *)node->object;
	if (!slice || slice->maker == SLICE_BY_OTHERS || !node->n_out)
		return;
	const struct node *service = node->out[0].to;
	const struct kept_service *kept = kept_service_of(service);
	const struct node *gateway = kept && !kept->selector ? owner(teller->graph, service, &kept->kept) : NULL;
	if (!gateway || !is_wanted(teller->graph, gateway, service))
		return;
	const bool mirrored = slice->maker == SLICE_BY_MIRRORING;
	const struct infra_change change = {
	        .kind = mirrored ? INFRA_ENDPOINTS : INFRA_SLICE,
	        .verb = INFRA_DELETE,
	        .namespace = node->namespace,
	        .name = mirrored ? service->name : node->name,
	        .gateway = gateway->name,
	        .uid = mirrored ? NULL : slice->object.uid,
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
	for (size_t i = 0; i < kept.n; i++) {
		delete_unwanted(&teller, kept.items[i]);
		if (kept.items[i]->kind == KIND_ENDPOINTSLICE)
			delete_stray(&teller, kept.items[i]);
	}
	node_list_done(&kept);
}
