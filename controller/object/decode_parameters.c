/* Owns HatchwayParameters: hatchway's own small CRD, crds/hatchwayparameters.yaml, what a GatewayClass or a Gateway wants of
 * the Service that is made for a Gateway. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1ALPHA1 };

static int check_service(struct schema_walk *walk, const struct node *self)
{
	static const char *const balanced[] = {"loadBalancerClass", "loadBalancerSourceRanges",
	                                       "allocateLoadBalancerNodePorts"};
	const char *type = node_text(self, "type");
	if (type && strcmp(type, "ClusterIP") == 0 && node_get(self, "externalTrafficPolicy"))
		return schema_fail(walk, self, "", "externalTrafficPolicy must not be specified for type ClusterIP");
	for (size_t i = 0; type && strcmp(type, "LoadBalancer") != 0 && i < ARRAY_LEN(balanced); i++)
		if (node_get(self, balanced[i]))
			return schema_fail(walk, self, "", "%s must not be specified for other types than LoadBalancer",
			                   balanced[i]);
	return 0;
}

static const char *const types[] = {"LoadBalancer", "NodePort", "ClusterIP", NULL};
static const char *const traffic_policies[] = {"Cluster", "Local", NULL};
static const char *const family_policies[] = {"SingleStack", "PreferDualStack", "RequireDualStack", NULL};
static const struct schema type_schema = {SCHEMA_STRING, .choices = types};
static const struct schema traffic_policy_schema = {SCHEMA_STRING, .choices = traffic_policies};
static const struct schema family_policy_schema = {SCHEMA_STRING, .choices = family_policies};
static const struct schema class_schema = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_qualified_name};
static const struct schema range_schema = {SCHEMA_STRING, .min = 1, .max = 64};
static const struct schema ranges_schema = {SCHEMA_LIST, .max = 64, .items = &range_schema};
static const struct schema value_schema = {SCHEMA_STRING, .max = 4096};
static const struct schema annotations_schema = {SCHEMA_MAP, .max = 64, .format = &format_qualified_name,
                                                 .items = &value_schema};
static const struct schema_field service_fields[] = {
    {"type", &type_schema, SCHEMA_OPTIONAL, NULL},
    {"labels", &schema_labels, SCHEMA_OPTIONAL, NULL},
    {"annotations", &annotations_schema, SCHEMA_OPTIONAL, NULL},
    {"externalTrafficPolicy", &traffic_policy_schema, SCHEMA_OPTIONAL, NULL},
    {"ipFamilyPolicy", &family_policy_schema, SCHEMA_OPTIONAL, NULL},
    {"loadBalancerClass", &class_schema, SCHEMA_OPTIONAL, NULL},
    {"loadBalancerSourceRanges", &ranges_schema, SCHEMA_OPTIONAL, NULL},
    {"allocateLoadBalancerNodePorts", &schema_bool, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema service_schema = {SCHEMA_OBJECT, .fields = service_fields, .check = check_service};
static const struct schema_field spec_fields[] = {{"service", &service_schema, SCHEMA_OPTIONAL, NULL}, {.name = NULL}};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields};
static const struct schema_field fields[] = {{"spec", &spec_schema, SCHEMA_DEFAULT_EMPTY, NULL}, {.name = NULL}};
static const struct schema schema = {SCHEMA_OBJECT, .fields = fields};

static void decode_parameters_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct parameters *p = (struct parameters *)object;
	const struct node *service = node_get(node_get(document, "spec"), "service");
	p->service_type = decode_text(reader, service, "type");
	p->external_traffic_policy = decode_text(reader, service, "externalTrafficPolicy");
	p->ip_family_policy = decode_text(reader, service, "ipFamilyPolicy");
	p->load_balancer_class = decode_text(reader, service, "loadBalancerClass");
	p->labels = decode_pairs(reader, node_get(service, "labels"), &p->n_labels);
	p->annotations = decode_pairs(reader, node_get(service, "annotations"), &p->n_annotations);
	p->source_ranges = decode_texts(reader, service, "loadBalancerSourceRanges", &p->n_source_ranges);
	p->no_node_ports = !node_bool(service, "allocateLoadBalancerNodePorts", true);
}

const struct decode_kind decode_parameters = {
    KIND_PARAMETERS, versions, &format_dns_subdomain, sizeof(struct parameters), &schema, decode_parameters_into,
};
