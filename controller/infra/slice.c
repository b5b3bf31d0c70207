/* The EndpointSlices of a Gateway's Service: hatchway's own Pods, as Kubernetes lists them for the Service that selects
 * them. Readiness, termination, node and zone are theirs, so that rollouts, externalTrafficPolicy: Local and topology work
 * as with a selector; the ports are the Gateway's. */
#include "controller/infra/infra.h"

#include <string.h>

struct endpoints {
	const struct endpoint **items;
	size_t n;
};

static int text_cmp(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* One that moves from slice to slice may be in two for a moment: the first in this order is kept, the most ready one. */
static int by_address(const void *a, const void *b)
{
	const struct endpoint *x = *(const struct endpoint *const *)a, *y = *(const struct endpoint *const *)b;
	int c = strcmp(x->address, y->address);
	c = c ? c : (int)y->ready - (int)x->ready;
	c = c ? c : (int)y->serving - (int)x->serving;
	c = c ? c : (int)x->terminating - (int)y->terminating;
	c = c ? c : text_cmp(x->target_name, y->target_name);
	c = c ? c : text_cmp(x->node_name, y->node_name);
	return c ? c : text_cmp(x->zone, y->zone);
}

static const struct node *pods_service(const struct graph *graph)
{
	const struct graph_options *options = &graph->options;
	return store_find(graph->store, KIND_SERVICE, options->pods_namespace, options->pods_service);
}

bool infra_pods_known(const struct graph *graph)
{
	const struct node *service = pods_service(graph);
	return service && service->object && service->in[EDGE_PART];
}

/* The last to leave puts out the lights: what a Service still has when all of them have gone is dead. */
static bool is_over(const struct graph *graph, const struct endpoints *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (!all->items[i]->terminating)
			return false;
	return graph->leaving;
}

static struct endpoints pods(const struct graph *graph, bool ipv6)
{
	const struct node *service = pods_service(graph);
	struct endpoints all = {0};
	size_t room = 0, n = 0;
	for (const struct edge *e = service ? service->in[EDGE_PART] : NULL; e; e = e->next)
		room += ((const struct endpoint_slice *)e->from->object)->n_endpoints;
	all.items = xcalloc(room, sizeof(struct endpoint *));
	for (const struct edge *e = service ? service->in[EDGE_PART] : NULL; e; e = e->next) {
		const struct endpoint_slice *slice = (const struct endpoint_slice *)e->from->object;
		for (size_t i = 0; i < slice->n_endpoints && !slice->fqdn; i++)
			if (ipv6 == (strchr(slice->endpoints[i].address, ':') != NULL))
				all.items[all.n++] = &slice->endpoints[i];
	}
	if (all.n > 1)
		qsort(all.items, all.n, sizeof(struct endpoint *), by_address);
	for (size_t i = 0; i < all.n && n < INFRA_SLICE_MAX; i++)
		if (!n || strcmp(all.items[n - 1]->address, all.items[i]->address) != 0)
			all.items[n++] = all.items[i];
	all.n = n;
	if (is_over(graph, &all))
		all.n = 0;
	return all;
}

static json_t *endpoint(const struct graph *graph, const struct endpoint *from)
{
	json_t *to = json_pack("{s:[s], s:{s:b, s:b, s:b}}", "addresses", from->address, "conditions", "ready",
	                       (int)from->ready, "serving", (int)from->serving, "terminating", (int)from->terminating);
	if (from->node_name)
		json_object_set_new(to, "nodeName", json_string(from->node_name));
	if (from->zone)
		json_object_set_new(to, "zone", json_string(from->zone));
	if (from->target_name)
		json_object_set_new(to, "targetRef", json_pack("{s:s, s:s, s:s}", "kind", "Pod", "namespace",
		                                               graph->options.pods_namespace, "name", from->target_name));
	return to;
}

static void put_port(void *ctx, uint16_t port, uint16_t bind_port)
{
	char name[16];
	infra_port_name(port, name);
	json_array_append_new(ctx, json_pack("{s:s, s:i, s:s}", "name", name, "port", (int)bind_port, "protocol", "TCP"));
}

void infra_slice_name(const struct gateway *gateway, bool ipv6, char ret[INFRA_SLICE_NAME])
{
	char service[SERVICE_NAME_MAX + 1];
	gateway_service_name(gateway, service);
	snprintf(ret, INFRA_SLICE_NAME, "%s-ipv%c", service, ipv6 ? '6' : '4');
}

static json_t *metadata_of(const struct gateway *gateway, bool ipv6)
{
	char service[SERVICE_NAME_MAX + 1], name[INFRA_SLICE_NAME];
	gateway_service_name(gateway, service);
	infra_slice_name(gateway, ipv6, name);
	const struct key_value own[] = {{LABEL_SERVICE_NAME, service}, {LABEL_SLICE_MAKER, "hatchway.dev"}};
	const struct infra_pairs labels[] = {{gateway->infrastructure_labels, gateway->n_infrastructure_labels},
	                                     {own, ARRAY_LEN(own)}};
	const struct infra_pairs annotations[] = {{gateway->infrastructure_annotations,
	                                           gateway->n_infrastructure_annotations}};
	return infra_metadata(gateway, name, labels, ARRAY_LEN(labels), annotations, ARRAY_LEN(annotations));
}

json_t *infra_slice(const struct graph *graph, const struct gateway_state *state, bool ipv6)
{
	struct endpoints all = pods(graph, ipv6);
	json_t *endpoints = json_array(), *ports = json_array();
	for (size_t i = 0; i < all.n; i++)
		json_array_append_new(endpoints, endpoint(graph, all.items[i]));
	free(all.items);
	infra_ports(state, put_port, ports);
	if (ipv6 && !json_array_size(endpoints)) {
		json_decref(endpoints);
		json_decref(ports);
		return NULL;
	}
	return json_pack("{s:s, s:s, s:o, s:s, s:o, s:o}", "apiVersion", "discovery.k8s.io/v1", "kind", "EndpointSlice",
	                 "metadata", metadata_of(state->gateway, ipv6), "addressType", ipv6 ? "IPv6" : "IPv4", "endpoints",
	                 endpoints, "ports", ports);
}
