/* Owns nodes and edges. Reads an object's references once, when it comes; never judges them. */
#include "controller/store/store.h"

#include <string.h>

/* ---- lists ---- */

void node_list_add(struct node_list *list, struct node *node)
{
	if (list->n == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->items = xrealloc(list->items, list->cap * sizeof(*list->items));
	}
	list->items[list->n++] = node;
}

int node_cmp(const struct node *a, const struct node *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	int c = strcmp(a->namespace, b->namespace);
	return c ? c : strcmp(a->name, b->name);
}

static int node_cmp_pointers(const void *a, const void *b)
{
	return node_cmp(*(struct node *const *)a, *(struct node *const *)b);
}

void node_list_sort(struct node_list *list)
{
	if (list->n > 1)
		qsort(list->items, list->n, sizeof(*list->items), node_cmp_pointers);
}

void node_list_done(struct node_list *list)
{
	free(list->items);
	*list = (struct node_list){0};
}

/* ---- nodes ---- */

static uint32_t node_hash(const struct store *store, enum object_kind kind, const char *namespace, const char *name)
{
	uint64_t h = hash_bytes(namespace, strlen(namespace), store->nodes.seed + (uint64_t)kind);
	return (uint32_t)hash_bytes(name, strlen(name), h);
}

static struct node *find(const struct store *store, uint32_t hash, enum object_kind kind, const char *namespace,
                         const char *name)
{
	struct node *node = hashed_first(&store->nodes, hash);
	while (node &&
	       (node->kind != kind || strcmp(node->name, name) != 0 || strcmp(node->namespace, namespace) != 0))
		node = hashed_next(node);
	return node;
}

struct node *store_find(const struct store *store, enum object_kind kind, const char *namespace, const char *name)
{
	return find(store, node_hash(store, kind, namespace, name), kind, namespace, name);
}

static void own_names(struct node *node, const char *namespace, const char *name)
{
	size_t n_namespace = strlen(namespace) + 1, n_name = strlen(name) + 1;
	char *block = xmalloc(n_namespace + n_name);
	node->namespace = memcpy(block, namespace, n_namespace);
	node->name = memcpy(block + n_namespace, name, n_name);
}

/* Takes the reference over; NULL: there is no object any more. The node's names go along. */
static void set_object(struct store *store, struct node *node, struct object *object)
{
	struct object *old = node->object;
	store->n_objects[node->kind] += (object != NULL) - (old != NULL);
	char *own = old ? NULL : (char *)(uintptr_t)node->namespace;
	node->object = object;
	if (!object) {
		own_names(node, node->namespace, node->name);
	} else {
		node->namespace = object->namespace;
		node->name = object->name;
	}
	free(own);
	object_unref(old);
}

static void free_out(struct node *node)
{
	if (node->out != &node->only)
		free(node->out);
	node->out = NULL;
}

static void node_free(struct node *node)
{
	if (!node->object)
		free((char *)(uintptr_t)node->namespace);
	object_unref(node->object);
	free_out(node);
	free(node);
}

static bool is_needed(const struct node *node)
{
	if (node->object || node->flags)
		return true;
	return !node_is_leaf(node) &&
	       (node->in[EDGE_USER] || node->in[EDGE_PART] || node->in[EDGE_POLICY] || node->graph || node->compile || node->status);
}

static struct node *want(struct store *store, enum object_kind kind, const char *namespace, const char *name)
{
	uint32_t hash = node_hash(store, kind, namespace, name);
	struct node *node = find(store, hash, kind, namespace, name);
	if (node)
		return node;
	const struct node like = {.kind = (uint8_t)kind};
	node = xcalloc(1, node_is_leaf(&like) ? offsetof(struct node, only) + sizeof(node->only) : sizeof(*node));
	node->kind = (uint8_t)kind;
	own_names(node, namespace, name);
	hashed_add(&store->nodes, node, hash);
	return node;
}

void store_release(struct store *store, struct node *node)
{
	if (is_needed(node))
		return;
	hashed_delete(&store->nodes, node);
	node_free(node);
}

static void mark(struct store *store, struct node *node, unsigned flags)
{
	if (!(node->flags & NODE_QUEUED))
		node_list_add(&store->dirty, node);
	node->flags |= (uint8_t)(flags | NODE_QUEUED);
}

/* ---- edges ---- */

static enum edge_role role_of(const struct node *from)
{
	if (from->kind == KIND_BACKENDTLSPOLICY)
		return EDGE_POLICY;
	return from->kind == KIND_ENDPOINTSLICE || from->kind == KIND_REFERENCEGRANT ? EDGE_PART : EDGE_USER;
}

/* The nodes an object refers to, each once. */
struct targets {
	struct store *store;
	struct node_list list;
};

static void target(struct targets *targets, enum object_kind kind, const char *namespace, const char *name)
{
	struct node *node = want(targets->store, kind, namespace, name);
	for (size_t i = 0; i < targets->list.n; i++)
		if (targets->list.items[i] == node)
			return;
	if (targets->list.n < UINT16_MAX)
		node_list_add(&targets->list, node);
}

/* And, if it is in another namespace than its own, the grants there. */
static void target_granted(struct targets *targets, const char *own, enum object_kind kind, const char *namespace,
                           const char *name)
{
	target(targets, kind, namespace, name);
	if (strcmp(namespace, own) != 0)
		target(targets, KIND_REFERENCEGRANT, namespace, "");
}

static void target_ref(struct targets *targets, const char *own, const struct backend_ref *ref)
{
	if (strcmp(ref->group, "") == 0 && strcmp(ref->kind, "Service") == 0)
		target_granted(targets, own, KIND_SERVICE, ref->namespace, ref->name);
}

static void targets_of_rule(struct targets *targets, const char *own, const struct http_rule *rule)
{
	for (size_t i = 0; i < rule->n_backend_refs; i++)
		target_ref(targets, own, &rule->backend_refs[i]);
	for (size_t i = 0; i < rule->n_mirrors; i++)
		target_ref(targets, own, &rule->mirrors[i].ref);
	for (size_t i = 0; i < rule->n_filters; i++)
		if (rule->filters[i].type == FILTER_EXTENSION_REF && extension_ref_is_ours(rule->filters[i].extension))
			target(targets, KIND_FILTER, own, rule->filters[i].extension->name);
}

static void targets_of_route(struct targets *targets, const struct http_route *route)
{
	const char *own = route->object.namespace;
	target(targets, KIND_NAMESPACE, "", own);
	for (size_t i = 0; i < route->n_parent_refs; i++) {
		const struct parent_ref *ref = &route->parent_refs[i];
		const enum object_kind kind = parent_ref_kind(ref);
		if (kind != KIND_COUNT)
			target(targets, kind, ref->namespace, ref->name);
	}
	for (size_t i = 0; i < route->n_rules; i++)
		targets_of_rule(targets, own, &route->rules[i]);
}

static void target_parameters(struct targets *targets, const struct parameters_ref *ref)
{
	if (ref && ref->namespace && strcmp(ref->group, object_kind_group(KIND_PARAMETERS)) == 0 &&
	    strcmp(ref->kind, object_kind_name(KIND_PARAMETERS)) == 0)
		target(targets, KIND_PARAMETERS, ref->namespace, ref->name);
}

static void target_certificate(struct targets *targets, const char *own, const struct certificate_ref *ref)
{
	if (strcmp(ref->group, "") == 0 && strcmp(ref->kind, "Secret") == 0)
		target_granted(targets, own, KIND_SECRET, ref->namespace, ref->name);
}

static void targets_of_listener(struct targets *targets, const char *own, const struct listener *listener)
{
	for (size_t i = 0; i < listener->n_certificate_refs; i++)
		target_certificate(targets, own, &listener->certificate_refs[i]);
}

static void targets_of_validation(struct targets *targets, const char *own, const struct client_validation *validation)
{
	for (size_t i = 0; validation && i < validation->n_ca_refs; i++) {
		const struct certificate_ref *ref = &validation->ca_refs[i];
		if (strcmp(ref->group, "") == 0 && strcmp(ref->kind, "ConfigMap") == 0)
			target_granted(targets, own, KIND_CONFIGMAP, ref->namespace, ref->name);
	}
}

static void targets_of_gateway(struct targets *targets, const struct gateway *gateway)
{
	char service[SERVICE_NAME_MAX + 1];
	gateway_service_name(gateway, service);
	target(targets, KIND_GATEWAYCLASS, "", gateway->gateway_class_name);
	target(targets, KIND_SERVICE, gateway->object.namespace, service);
	target_parameters(targets, gateway->parameters);
	for (size_t i = 0; i < gateway->n_listeners; i++)
		targets_of_listener(targets, gateway->object.namespace, &gateway->listeners[i]);
	targets_of_validation(targets, gateway->object.namespace, gateway->validation);
	for (size_t i = 0; i < gateway->n_port_validations; i++)
		targets_of_validation(targets, gateway->object.namespace, gateway->port_validations[i].validation);
	if (gateway->client_certificate)
		target_certificate(targets, gateway->object.namespace, gateway->client_certificate);
}

static void targets_of_set(struct targets *targets, const struct listener_set *set)
{
	const char *own = set->object.namespace;
	target(targets, KIND_NAMESPACE, "", own);
	if (parent_ref_kind(&set->gateway) == KIND_GATEWAY)
		target(targets, KIND_GATEWAY, set->gateway.namespace, set->gateway.name);
	for (size_t i = 0; i < set->n_listeners; i++)
		targets_of_listener(targets, own, &set->listeners[i]);
}

static void targets_of_policy(struct targets *targets, const struct backend_tls_policy *policy)
{
	const char *own = policy->object.namespace;
	for (size_t i = 0; i < policy->n_targets; i++)
		if (strcmp(policy->targets[i].group, "") == 0 && strcmp(policy->targets[i].kind, "Service") == 0)
			target(targets, KIND_SERVICE, own, policy->targets[i].name);
	for (size_t i = 0; i < policy->n_ca_refs; i++)
		if (strcmp(policy->ca_refs[i].group, "") == 0 && strcmp(policy->ca_refs[i].kind, "ConfigMap") == 0)
			target(targets, KIND_CONFIGMAP, own, policy->ca_refs[i].name);
}

static void targets_of(struct targets *targets, const struct object *object)
{
	switch (object->kind) {
	case KIND_GATEWAYCLASS:
		target_parameters(targets, ((const struct gateway_class *)object)->parameters);
		break;
	case KIND_GATEWAY:
		targets_of_gateway(targets, (const struct gateway *)object);
		break;
	case KIND_LISTENERSET:
		targets_of_set(targets, (const struct listener_set *)object);
		break;
	case KIND_HTTPROUTE:
	case KIND_GRPCROUTE:
		targets_of_route(targets, (const struct http_route *)object);
		break;
	case KIND_BACKENDTLSPOLICY:
		targets_of_policy(targets, (const struct backend_tls_policy *)object);
		break;
	case KIND_FILTER:
		if (((const struct own_filter *)object)->secret)
			target(targets, KIND_SECRET, object->namespace, ((const struct own_filter *)object)->secret);
		break;
	case KIND_REFERENCEGRANT:
		target(targets, KIND_REFERENCEGRANT, object->namespace, "");
		break;
	case KIND_ENDPOINTSLICE: {
		const char *service = ((const struct endpoint_slice *)object)->service;
		if (service)
			target(targets, KIND_SERVICE, object->namespace, service);
		break;
	}
	default:
		break;
	}
}

static void link_edge(struct edge *edge, struct node *from, struct node *to)
{
	BUG_ON(node_is_leaf(to));
	struct edge **head = &to->in[role_of(from)];
	*edge = (struct edge){.from = from, .to = to, .next = *head, .link = head};
	if (*head)
		(*head)->link = &edge->next;
	*head = edge;
}

static void unlink_edge(struct edge *edge)
{
	*edge->link = edge->next;
	if (edge->next)
		edge->next->link = edge->link;
}

/* Lets the node refer to what its object refers to now. Targets of parts are dirty before and after; a target that
 * nobody needs any more is freed with the next store_clean(). */
static void relink(struct store *store, struct node *node)
{
	struct targets targets = {.store = store};
	if (node->object)
		targets_of(&targets, node->object);
	static const unsigned dirty[EDGE_ROLES] = {[EDGE_PART] = NODE_PARTS, [EDGE_POLICY] = NODE_POLICY};
	unsigned flags = dirty[role_of(node)];
	for (size_t i = 0; i < node->n_out; i++) {
		struct node *to = node->out[i].to;
		unlink_edge(&node->out[i]);
		if (flags || !to->object)
			mark(store, to, flags);
	}
	free_out(node);
	BUG_ON(node_is_leaf(node) && targets.list.n > 1);
	if (targets.list.n)
		node->out = node_is_leaf(node) ? &node->only : xmalloc(targets.list.n * sizeof(*node->out));
	node->n_out = (uint16_t)targets.list.n;
	for (size_t i = 0; i < targets.list.n; i++) {
		link_edge(&node->out[i], node, targets.list.items[i]);
		if (flags)
			mark(store, targets.list.items[i], flags);
	}
	node_list_done(&targets.list);
}

/* ---- objects ---- */

/* spec_hash 0 is an object made without one: always new. */
static bool says_nothing_new(const struct object *a, const struct object *b)
{
	return a->spec_hash && a->spec_hash == b->spec_hash && a->generation == b->generation && a->created == b->created &&
	       strcmp(a->uid, b->uid) == 0 && a->version == b->version;
}

void store_put(struct store *store, struct object *object)
{
	struct node *node = want(store, object->kind, object->namespace, object->name);
	if (node->object && says_nothing_new(node->object, object)) {
		object_unref(object);
		return;
	}
	/* Another object under a name that had one: what it was told is not told this one. */
	if (!node_is_leaf(node) && node->status && (!node->object || strcmp(node->object->uid, object->uid) != 0))
		node->flags |= NODE_AGAIN;
	set_object(store, node, object);
	relink(store, node);
	mark(store, node, NODE_OBJECT);
}

void store_delete(struct store *store, enum object_kind kind, const char *namespace, const char *name)
{
	struct node *node = store_find(store, kind, namespace, name);
	if (!node || !node->object)
		return;
	set_object(store, node, NULL);
	relink(store, node);
	mark(store, node, NODE_OBJECT);
}

void store_clean(struct store *store)
{
	for (size_t i = 0; i < store->dirty.n; i++) {
		struct node *node = store->dirty.items[i];
		node->flags &= (uint8_t) ~(NODE_OBJECT | NODE_PARTS | NODE_POLICY | NODE_QUEUED);
		store_release(store, node);
	}
	store->dirty.n = 0;
	if (store->dirty.cap > 1024)
		node_list_done(&store->dirty);
}

void store_list(const struct store *store, enum object_kind kind, struct node_list *ret)
{
	struct hashed_walk walk = {.set = &store->nodes};
	for (struct node *node; (node = hashed_walk(&walk));)
		if (node->kind == kind && node->object)
			node_list_add(ret, node);
	node_list_sort(ret);
}

void store_init(struct store *store)
{
	*store = (struct store){0};
	hashed_init(&store->nodes);
}

/* The other rooms have let go of their parts of the nodes. */
void store_done(struct store *store)
{
	struct hashed_walk walk = {.set = &store->nodes};
	for (struct node *node; (node = hashed_walk(&walk));)
		node_free(node);
	hashed_done(&store->nodes);
	node_list_done(&store->dirty);
}
