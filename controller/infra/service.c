/* The Service of a Gateway. */
#include "controller/infra/infra.h"

#include <string.h>

/* What class and Gateway ask for; where both do, the Gateway's counts. */
struct asked {
	const struct parameters *of_class, *of_gateway; /* NULL */
};

static struct asked asked_of(const struct graph *graph, const struct gateway *gateway)
{
	struct asked asked = {0};
	const struct node *node = store_find(graph->store, KIND_GATEWAYCLASS, "", gateway->gateway_class_name);
	const struct gateway_class *class = node ? (const struct gateway_class *)node->object : NULL;
	if (class && !graph_parameters(graph, class->parameters, &asked.of_class, NULL))
		asked.of_class = NULL;
	if (!graph_parameters(graph, gateway->parameters, &asked.of_gateway, NULL))
		asked.of_gateway = NULL;
	return asked;
}

#define ASKED(asked, field)                                                                                            \
	((asked)->of_gateway && (asked)->of_gateway->field ? (asked)->of_gateway->field :                              \
	 (asked)->of_class                                 ? (asked)->of_class->field :                                \
	                                                     NULL)

static void put(json_t *map, const char *key, const char *value)
{
	if (value)
		json_object_set_new(map, key, json_string(value));
}

static void put_port(void *ctx, uint16_t port, uint16_t bind_port)
{
	char name[16];
	infra_port_name(port, name);
	json_array_append_new(ctx, json_pack("{s:s, s:i, s:s, s:i}", "name", name, "port", (int)port, "protocol", "TCP",
	                                     "targetPort", (int)bind_port));
}

/* Only a load balancer's. The field is the only one that every load balancer may know, and takes one address. */
static void put_balanced(json_t *spec, const struct gateway *gateway, const struct asked *asked)
{
	const struct parameters *ranges = asked->of_gateway && asked->of_gateway->n_source_ranges ? asked->of_gateway :
	                                                                                            asked->of_class;
	for (size_t i = 0; i < gateway->n_addresses; i++)
		if (gateway->addresses[i].value) {
			put(spec, "loadBalancerIP", gateway->addresses[i].value);
			break;
		}
	put(spec, "loadBalancerClass", ASKED(asked, load_balancer_class));
	if ((asked->of_gateway && asked->of_gateway->no_node_ports) || (asked->of_class && asked->of_class->no_node_ports))
		json_object_set_new(spec, "allocateLoadBalancerNodePorts", json_false());
	if (!ranges || !ranges->n_source_ranges)
		return;
	json_t *list = json_array();
	for (size_t i = 0; i < ranges->n_source_ranges; i++)
		json_array_append_new(list, json_string(ranges->source_ranges[i]));
	json_object_set_new(spec, "loadBalancerSourceRanges", list);
}

json_t *infra_service(const struct graph *graph, const struct gateway_state *state)
{
	const struct gateway *gateway = state->gateway;
	const struct asked asked = asked_of(graph, gateway);
	const struct parameters none = {0}, *a = asked.of_class ? asked.of_class : &none,
	                        *b = asked.of_gateway ? asked.of_gateway : &none;
	const struct infra_pairs labels[] = {{a->labels, a->n_labels},
	                                     {b->labels, b->n_labels},
	                                     {gateway->infrastructure_labels, gateway->n_infrastructure_labels}};
	const struct infra_pairs annotations[] = {{a->annotations, a->n_annotations},
	                                          {b->annotations, b->n_annotations},
	                                          {gateway->infrastructure_annotations, gateway->n_infrastructure_annotations}};
	const char *type = ASKED(&asked, service_type);
	json_t *spec = json_object(), *ports = json_array();
	char name[SERVICE_NAME_MAX + 1];
	gateway_service_name(gateway, name);
	put(spec, "type", type ? type : "LoadBalancer");
	put(spec, "ipFamilyPolicy", ASKED(&asked, ip_family_policy));
	if (!type || strcmp(type, "ClusterIP") != 0)
		put(spec, "externalTrafficPolicy", ASKED(&asked, external_traffic_policy));
	if (!type || strcmp(type, "LoadBalancer") == 0)
		put_balanced(spec, gateway, &asked);
	infra_ports(state, put_port, ports);
	json_object_set_new(spec, "ports", ports);
	json_t *metadata = infra_metadata(gateway, name, labels, ARRAY_LEN(labels), annotations, ARRAY_LEN(annotations));
	return json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", "v1", "kind", "Service", "metadata", metadata, "spec", spec);
}
