/* From what is dirty in the store to what must be judged again. */
#include "controller/graph/graph.h"

#include <arpa/inet.h>
#include <string.h>

bool graph_address(const char *text, char *ret)
{
	unsigned char raw[16];
	if (inet_pton(AF_INET, text, raw) == 1)
		return inet_ntop(AF_INET, raw, ret, 48) != NULL;
	if (inet_pton(AF_INET6, text, raw) == 1)
		return inet_ntop(AF_INET6, raw, ret, 48) != NULL;
	return false;
}

/* The letters of "namespace/name", one by one: "/" sorts after "-", so "a-b/c" comes before "a/c". */
static unsigned char key_letter(const struct object *o, size_t n_namespace, size_t i)
{
	return (unsigned char)(i < n_namespace ? o->namespace[i] : i == n_namespace ? '/' : o->name[i - n_namespace - 1]);
}

int graph_older(const struct object *a, const struct object *b)
{
	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	size_t n_a = strlen(a->namespace), n_b = strlen(b->namespace);
	for (size_t i = 0;; i++) {
		unsigned char x = key_letter(a, n_a, i), y = key_letter(b, n_b, i);
		if (x != y)
			return x < y ? -1 : 1;
		if (!x)
			return 0;
	}
}

/* ---- classes ---- */

bool graph_class_condition(const struct graph *graph, const struct gateway_class *class, enum condition_id *ret,
                           struct buf *message)
{
	const struct parameters *parameters;
	if (strcmp(class->controller_name, graph->options.controller_name) != 0)
		return false;
	bool good = graph_parameters(graph, class->parameters, &parameters, message);
	*ret = good ? COND_CLASS_ACCEPTED : COND_CLASS_INVALID_PARAMETERS;
	return true;
}

enum class_verdict graph_class(const struct graph *graph, const char *name)
{
	const struct node *node = store_find(graph->store, KIND_GATEWAYCLASS, "", name);
	if (!node || !node->object) {
		const char *implicit = graph->options.implicit_class;
		return implicit && strcmp(implicit, name) == 0 ? CLASS_OURS : CLASS_FOREIGN;
	}
	enum condition_id id;
	if (!graph_class_condition(graph, (const struct gateway_class *)node->object, &id, NULL))
		return CLASS_FOREIGN;
	return id == COND_CLASS_ACCEPTED ? CLASS_OURS : CLASS_REFUSED;
}

/* ---- the release ---- */

#define RELEASE_FIRST 1u /* v1.N.x that are supported; named below, too */
#define RELEASE_LAST 6u
#define RELEASE_FEATURES 4u /* supportedFeatures is a list of objects, and in the standard channel, since this one */
#define RELEASE_SETS 5u     /* status.attachedListenerSets */

void graph_set_release(struct graph *graph, const char *version, bool experimental, const char *why,
                       struct node_list *status)
{
	struct graph_release *release = &graph->release;
	struct node_list nodes = {0};
	unsigned minor = 0;
	bool first = version && sscanf(version, "v1.%u.", &minor) == 1;
	*release = (struct graph_release){.supported = first && minor >= RELEASE_FIRST && minor <= RELEASE_LAST,
	                                  .features = first && minor >= RELEASE_FEATURES,
	                                  .sets = first && minor >= RELEASE_SETS, .experimental = experimental};
	snprintf(release->version, sizeof(release->version), "%s", version ? version : "");
	snprintf(release->why, sizeof(release->why), "%s", version ? "" : why);
	store_list(graph->store, KIND_GATEWAYCLASS, &nodes);
	store_list(graph->store, KIND_GATEWAY, &nodes);
	for (size_t i = 0; i < nodes.n; i++)
		graph_touch(status, nodes.items[i]);
	node_list_done(&nodes);
}

void graph_release_condition(const struct graph *graph, struct condition *ret)
{
	static const char supported[] = "hatchway supports the CRDs of Gateway API v1.1 to v1.6 and does what it can with others";
	const struct graph_release *release = &graph->release;
	if (release->supported)
		condition_set(ret, COND_CLASS_SUPPORTED_VERSION, NULL);
	else if (*release->version)
		condition_set(ret, COND_CLASS_UNSUPPORTED_VERSION, "The CRDs are of %s; %s", release->version, supported);
	else
		condition_set(ret, COND_CLASS_UNSUPPORTED_VERSION, "The version of the CRDs is not known (%s); %s",
		              release->why, supported);
}

/* ---- updates ---- */

void graph_touch(struct node_list *status, struct node *node)
{
	if (node->flags & NODE_STATUS)
		return;
	node->flags |= NODE_STATUS;
	node_list_add(status, node);
}

void graph_touch_whole(struct node_list *status, struct node *node)
{
	const struct gateway_state *state = node->kind == KIND_GATEWAY ? node_gateway(node) : NULL;
	graph_touch(status, node);
	for (size_t i = 0; state && i < state->n_sets; i++)
		graph_touch(status, state->sets[i]->node);
}

void graph_queue(struct node_list *list, struct node *node)
{
	if (node->flags & NODE_IN_DELTA)
		return;
	node->flags |= NODE_IN_DELTA;
	node_list_add(list, node);
}

void graph_queue_routes(struct node *node, struct graph_delta *delta)
{
	for (struct edge *e = node->in[EDGE_USER]; e; e = e->next)
		if (object_kind_is_route(e->from->kind))
			graph_queue(&delta->routes, e->from);
}

/* Or by a ListenerSet, which is judged with its Gateway. */
static bool is_used_by_gateway(const struct node *node)
{
	bool found = false;
	for (const struct edge *e = node->in[EDGE_USER]; e && !found; e = e->next)
		found = e->from->kind == KIND_GATEWAY || e->from->kind == KIND_LISTENERSET;
	return found;
}

/* A Gateway's own Service, or one that a Gateway may have had. */
static bool is_of_gateway(const struct node *service)
{
	return (service->flags & NODE_KEPT) || is_used_by_gateway(service);
}

static bool is_kept(const struct node *service)
{
	bool kept = service->object && ((const struct service *)service->object)->kept;
	for (const struct edge *e = service->in[EDGE_PART]; e && !kept; e = e->next)
		kept = e->from->object && ((const struct endpoint_slice *)e->from->object)->kept;
	return kept;
}

static void list_kept(struct graph *graph, struct node *service)
{
	struct node_list *list = &graph->kept;
	bool kept = is_kept(service);
	if (kept == !!(service->flags & NODE_KEPT))
		return;
	service->flags ^= NODE_KEPT;
	if (kept) {
		node_list_add(list, service);
		return;
	}
	size_t i = 0;
	while (list->items[i] != service)
		i++;
	list->items[i] = list->items[--list->n];
}

static bool is_pods_service(const struct graph_options *options, const struct node *node)
{
	return options->pods_service && strcmp(node->name, options->pods_service) == 0 &&
	       strcmp(node->namespace, options->pods_namespace) == 0;
}

/* In a cluster: a Service, or its EndpointSlices, as something hatchway keeps. True: Gateways must be judged again. */
static bool expand_infrastructure(struct graph *graph, struct node *node)
{
	if (!graph->options.pool_base || !(node->flags & (NODE_OBJECT | NODE_PARTS)))
		return false;
	bool before = is_of_gateway(node);
	list_kept(graph, node);
	bool ours = before || is_of_gateway(node);
	graph->infra_version += ours || is_pods_service(&graph->options, node);
	return ours && (node->flags & NODE_OBJECT);
}

static void touch_classes(const struct node *parameters, struct graph_delta *delta)
{
	for (const struct edge *e = parameters->in[EDGE_USER]; e; e = e->next)
		if (e->from->kind == KIND_GATEWAYCLASS)
			graph_touch(delta->status, e->from);
}

/* Authorities changed: how Services are spoken to. */
static void expand_config_map(struct node *node, struct graph_delta *delta)
{
	ca_unref(node->graph);
	node->graph = NULL;
	for (const struct edge *e = node->in[EDGE_POLICY]; e; e = e->next) {
		graph_touch(delta->status, e->from);
		for (size_t i = 0; i < e->from->n_out; i++) {
			struct node *service = e->from->out[i].to;
			if (service->kind != KIND_SERVICE)
				continue;
			graph_queue_routes(service, delta);
			graph_queue(&delta->services, service);
		}
	}
}

/* A HatchwayFilter changed, or who may come in by it. */
static void expand_filter(struct node *filter, struct graph_delta *delta)
{
	graph_users_free(filter->graph);
	filter->graph = NULL;
	graph_touch(delta->status, filter);
	graph_queue_routes(filter, delta);
}

static void expand_users(struct node *secret, struct graph_delta *delta)
{
	for (const struct edge *e = secret->in[EDGE_USER]; e; e = e->next)
		if (e->from->kind == KIND_FILTER)
			expand_filter(e->from, delta);
}

/* One dirty node; true: Gateways must be judged again. */
static bool expand(struct graph *graph, struct node *node, struct graph_delta *delta)
{
	bool object = node->flags & NODE_OBJECT;
	switch ((enum object_kind)node->kind) {
	case KIND_GATEWAYCLASS:
		if (object)
			graph_touch(delta->status, node);
		return object;
	case KIND_GATEWAY:
	case KIND_LISTENERSET:
		return object;
	case KIND_NAMESPACE:
		if (object)
			graph_queue_routes(node, delta);
		return object && is_used_by_gateway(node);
	case KIND_HTTPROUTE:
	case KIND_GRPCROUTE:
		if (object)
			graph_queue(&delta->routes, node);
		return false;
	case KIND_REFERENCEGRANT:
		if (node->flags & NODE_PARTS)
			graph_queue_routes(node, delta);
		return (node->flags & NODE_PARTS) && is_used_by_gateway(node);
	case KIND_SECRET:
		if (!object)
			return false;
		certificate_unref(node->graph);
		node->graph = NULL;
		expand_users(node, delta);
		return is_used_by_gateway(node);
	case KIND_SERVICE:
		if (object || (node->flags & NODE_POLICY)) {
			graph_queue_routes(node, delta);
			graph_touch_policies(node, delta->status);
		}
		if (node->flags & (NODE_OBJECT | NODE_PARTS | NODE_POLICY))
			graph_queue(&delta->services, node);
		return expand_infrastructure(graph, node);
	case KIND_BACKENDTLSPOLICY:
		if (object)
			graph_touch(delta->status, node);
		return false;
	case KIND_CONFIGMAP:
		if (object)
			expand_config_map(node, delta);
		return object && is_used_by_gateway(node);
	case KIND_FILTER:
		if (object)
			expand_filter(node, delta);
		return false;
	case KIND_PARAMETERS:
		touch_classes(node, delta);
		return object;
	default:
		return false;
	}
}

/* The list of our Gateways, after classes or Gateways changed. Those that are no longer ours lose their state here. */
static void enlist_gateway(struct graph *graph, struct node *node, struct graph_delta *delta)
{
	const struct gateway *gateway = (const struct gateway *)node->object;
	bool ours = gateway && graph_class(graph, gateway->gateway_class_name) != CLASS_FOREIGN;
	struct node_list *list = &graph->gateways;
	size_t i = 0;
	while (i < list->n && list->items[i] != node)
		i++;
	if (ours && i == list->n)
		node_list_add(list, node);
	if (ours || i == list->n)
		return;
	list->items[i] = list->items[--list->n];
	gateway_state_free(node->graph);
	node->graph = NULL;
	graph_queue(&delta->gateways, node);
	graph_touch(delta->status, node);
	graph_queue_routes(node, delta);
}

static void enlist(struct graph *graph, struct node *node, struct graph_delta *delta)
{
	if (!(node->flags & NODE_OBJECT))
		return;
	if (node->kind == KIND_GATEWAY)
		enlist_gateway(graph, node, delta);
	if (node->kind == KIND_GATEWAYCLASS)
		for (struct edge *e = node->in[EDGE_USER]; e; e = e->next)
			enlist_gateway(graph, e->from, delta);
}

void graph_update(struct graph *graph, struct graph_delta *delta)
{
	const struct node_list *dirty = &graph->store->dirty;
	bool gateways = false;
	for (size_t i = 0; i < dirty->n; i++)
		gateways |= expand(graph, dirty->items[i], delta);
	if (gateways) {
		for (size_t i = 0; i < dirty->n; i++)
			enlist(graph, dirty->items[i], delta);
		graph_gateways(graph, delta);
		graph->infra_version++;
	}
	for (size_t i = 0; i < delta->routes.n; i++)
		graph_route(graph, delta->routes.items[i], delta);
}

void graph_delta_done(struct graph_delta *delta)
{
	struct node_list *lists[] = {&delta->gateways, &delta->routes, &delta->services};
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		for (size_t i = 0; i < lists[l]->n; i++)
			lists[l]->items[i]->flags &= (uint8_t)~NODE_IN_DELTA;
		node_list_done(lists[l]);
	}
}

void graph_init(struct graph *graph, const struct graph_options *options, struct store *store)
{
	*graph = (struct graph){.options = *options, .store = store};
	graph->release = (struct graph_release){.supported = true, .features = true, .sets = true, .experimental = true};
}

void graph_done(struct graph *graph)
{
	struct hashed_walk walk = {.set = &graph->store->nodes};
	for (struct node *node; (node = hashed_walk(&walk));) {
		if (node->kind == KIND_GATEWAY)
			gateway_state_free(node->graph);
		else if (node->kind == KIND_LISTENERSET)
			set_state_free(node->graph);
		else if (object_kind_is_route(node->kind))
			route_state_free(node->graph);
		else if (node->kind == KIND_SECRET)
			certificate_unref(node->graph);
		else if (node->kind == KIND_CONFIGMAP)
			ca_unref(node->graph);
		else if (node->kind == KIND_FILTER)
			graph_users_free(node->graph);
		else
			continue;
		node->graph = NULL;
	}
	node_list_done(&graph->gateways);
	node_list_done(&graph->sets);
	node_list_done(&graph->kept);
	struct graph_said *said, *next;
	HASH_ITER(hh, graph->said, said, next)
	{
		HASH_DEL(graph->said, said);
		free(said->text);
		free(said);
	}
}
