/* Judges one backendRef (Gateway API, HTTPBackendRef and GRPCBackendRef): its kind, the ReferenceGrant it needs, the Service, its port. */
#include "controller/graph/graph.h"

#include <string.h>

static bool grant_allows(const struct reference_grant *grant, const struct graph_reference *reference)
{
	bool from = false, to = false;
	for (size_t i = 0; i < grant->n_from; i++)
		from |= strcmp(grant->from[i].group, GATEWAY_API_GROUP) == 0 && strcmp(grant->from[i].kind, reference->from_kind) == 0 &&
		        strcmp(grant->from[i].namespace, reference->from_namespace) == 0;
	for (size_t i = 0; i < grant->n_to; i++)
		to |= strcmp(grant->to[i].group, "") == 0 && strcmp(grant->to[i].kind, reference->to_kind) == 0 &&
		      (!grant->to[i].name || strcmp(grant->to[i].name, reference->to_name) == 0);
	return from && to;
}

bool graph_granted(const struct graph *graph, const struct graph_reference *reference)
{
	if (strcmp(reference->from_namespace, reference->to_namespace) == 0)
		return true;
	const struct node *grants = store_find(graph->store, KIND_REFERENCEGRANT, reference->to_namespace, "");
	for (const struct edge *e = grants ? grants->in[EDGE_PART] : NULL; e; e = e->next)
		if (e->from->object && grant_allows((const struct reference_grant *)e->from->object, reference))
			return true;
	return false;
}

PRINTF_LIKE(3, 4) static enum condition_id why(struct buf *message, enum condition_id id, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	if (message)
		buf_vaddf(message, fmt, args);
	va_end(args);
	return id;
}

static const struct service_port *find_port(const struct service *service, uint16_t port)
{
	const struct service_port *found = service_tcp_port(service, port);
	for (size_t i = 0; i < service->n_ports && !found; i++)
		if (service->ports[i].port == port)
			found = &service->ports[i];
	return found;
}

static bool is_among(const char *word, const char *const *known)
{
	for (size_t i = 0; known[i]; i++)
		if (strcmp(word, known[i]) == 0)
			return true;
	return false;
}

/* What HAProxy can speak to a server: HTTP/1.1, also upgraded to WebSocket, and HTTP/2, which is all that gRPC is spoken over;
 * with TLS only where a BackendTLSPolicy says whom to believe. */
static bool is_spoken(enum object_kind route, const char *app_protocol, bool tls)
{
	static const char *const secure[] = {"https", "HTTPS", "kubernetes.io/wss", NULL};
	static const char *const http[] = {"", "http", "kubernetes.io/ws", "kubernetes.io/h2c", NULL};
	static const char *const grpc[] = {"", "grpc", "kubernetes.io/h2c", NULL};
	const char *const *known = route == KIND_GRPCROUTE ? grpc : http;
	return !app_protocol || is_among(app_protocol, known) || (tls && is_among(app_protocol, secure));
}

static enum condition_id judge(const struct graph *graph, const struct object *route, const struct backend_ref *ref,
                               const struct service_port **ret, struct buf *message)
{
	if (strcmp(ref->group, "") != 0 || strcmp(ref->kind, "Service") != 0)
		return why(message, COND_ROUTE_INVALID_KIND, "kind %s%s%s is not supported, only Service is", ref->group,
		           *ref->group ? "/" : "", ref->kind);
	const struct graph_reference reference = {object_kind_name(route->kind), route->namespace, "Service", ref->namespace,
	                                          ref->name};
	if (!graph_granted(graph, &reference))
		return why(message, COND_ROUTE_REF_NOT_PERMITTED,
		           "Service %s/%s: no ReferenceGrant in namespace %s allows it to %ss of namespace %s",
		           ref->namespace, ref->name, ref->namespace, object_kind_name(route->kind), route->namespace);
	const struct node *node = store_find(graph->store, KIND_SERVICE, ref->namespace, ref->name);
	const struct service *service = node ? (const struct service *)node->object : NULL;
	if (!service)
		return why(message, COND_ROUTE_BACKEND_NOT_FOUND, "Service %s/%s not found", ref->namespace, ref->name);
	if (service->external_name)
		return why(message, COND_ROUTE_BACKEND_NOT_FOUND,
		           "Service %s/%s is of type ExternalName, which names no endpoints", ref->namespace, ref->name);
	const struct service_port *port = find_port(service, ref->port);
	if (!port)
		return why(message, COND_ROUTE_BACKEND_NOT_FOUND, "Service %s/%s has no port %u", ref->namespace, ref->name,
		           ref->port);
	if (strcmp(port->protocol, "TCP") != 0)
		return why(message, COND_ROUTE_UNSUPPORTED_PROTOCOL, "Service %s/%s: port %u is for %s", ref->namespace,
		           ref->name, ref->port, port->protocol);
	if (!is_spoken(route->kind, port->app_protocol, graph_policy(graph, &service->object, port)))
		return why(message, COND_ROUTE_UNSUPPORTED_PROTOCOL, "Service %s/%s: port %u: appProtocol %s is not supported",
		           ref->namespace, ref->name, ref->port, port->app_protocol);
	*ret = port;
	return COND_ROUTE_RESOLVED_REFS;
}

const struct service_port *graph_ref(const struct graph *graph, const struct object *route, const struct backend_ref *ref,
                                     enum condition_id *ret_why, struct buf *message)
{
	const struct service_port *port = NULL;
	enum condition_id id = judge(graph, route, ref, &port, message);
	if (ret_why)
		*ret_why = id;
	return port;
}

const struct service_port *graph_ref_served(const struct graph *graph, const struct object *route,
                                            const struct backend_ref *ref, const struct node **ret_policy)
{
	const struct service_port *port = graph_ref(graph, route, ref, NULL, NULL);
	if (!port)
		return NULL;
	const struct node *service = store_find(graph->store, KIND_SERVICE, ref->namespace, ref->name);
	const struct node *policy = graph_policy(graph, service->object, port);
	if (ret_policy)
		*ret_policy = policy;
	return policy && !graph_policy_good(graph, policy, NULL) ? NULL : port;
}
