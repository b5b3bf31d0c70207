/* Owns Service and EndpointSlice: the parts of the API server's validation that concern what hatchway reads.
 * One difference, wanted: loopback endpoint addresses are accepted, for folders on one machine. */
#include "controller/object/decode_reader.h"

#include <arpa/inet.h>

enum { versions = 1 << VERSION_V1 };
static const char *const protocols[] = {"TCP", "UDP", "SCTP", NULL};

static const struct schema protocol_schema = {SCHEMA_STRING, .choices = protocols};
static const struct schema app_protocol_schema = {SCHEMA_STRING, .min = 1, .max = 317,
                                                  .format = &format_qualified_name};
static const struct schema port_name_schema = {SCHEMA_STRING, .max = 63};

/* "" is the absence of a name; anything else is a DNS label. */
static int check_port_name(struct schema_walk *walk, const struct node *port, size_t i)
{
	const struct node *name = node_get(port, "name");
	if (!name || !*name->text || format_dns_label.matches(name->text))
		return 0;
	char below[48];
	snprintf(below, sizeof(below), "[%zu].name", i);
	return schema_fail(walk, name, below, "Invalid value: \"%.80s\": should match '%s'", name->text,
	                   format_dns_label.pattern);
}

static bool same_text(const struct node *a, const struct node *b, const char *key)
{
	const char *x = node_text(a, key), *y = node_text(b, key);
	return strcmp(x ? x : "", y ? y : "") == 0;
}

static int check_port_names(struct schema_walk *walk, const struct node *ports)
{
	for (size_t i = 0; i < ports->n; i++) {
		const struct node *port = ports->items[i];
		if (check_port_name(walk, port, i))
			return -1;
		for (size_t k = 0; k < i; k++) {
			if (!same_text(port, ports->items[k], "name"))
				continue;
			char below[48];
			snprintf(below, sizeof(below), "[%zu].name", i);
			const char *name = node_text(port, "name");
			return schema_fail(walk, port, below, "Duplicate value: \"%.80s\"", name ? name : "");
		}
	}
	return 0;
}

/* ---- Service ---- */

static int check_service_ports(struct schema_walk *walk, const struct node *ports)
{
	char below[48];
	for (size_t i = 0; ports->n > 1 && i < ports->n; i++) {
		const char *name = node_text(ports->items[i], "name");
		snprintf(below, sizeof(below), "[%zu].name", i);
		if (!name || !*name)
			return schema_fail(walk, ports->items[i], below, "Required value");
	}
	if (check_port_names(walk, ports))
		return -1;
	for (size_t i = 0; i < ports->n; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct node *port = ports->items[i];
			if (!same_text(port, ports->items[k], "port") || !same_text(port, ports->items[k], "protocol"))
				continue;
			snprintf(below, sizeof(below), "[%zu]", i);
			return schema_fail(walk, port, below, "Duplicate value: {\"port\":%s,\"protocol\":\"%s\"}",
			                   node_text(port, "port"), node_text(port, "protocol"));
		}
	}
	return 0;
}

static int check_service_spec(struct schema_walk *walk, const struct node *spec)
{
	bool external = node_is(spec, "type", "ExternalName");
	const char *external_name = node_text(spec, "externalName");
	if (external && (!external_name || !*external_name))
		return schema_fail(walk, spec, ".externalName", "Required value");
	if (external && !format_dns_subdomain.matches(external_name))
		return schema_fail(walk, node_get(spec, "externalName"), ".externalName",
		                   "Invalid value: \"%.80s\": should match '%s'", external_name,
		                   format_dns_subdomain.pattern);
	if (!external && !node_count(spec, "ports") && !node_is(spec, "clusterIP", "None"))
		return schema_fail(walk, spec, ".ports", "Required value");
	return 0;
}

static int check_target_port(struct schema_walk *walk, const struct node *self)
{
	if (self->type == NODE_NUMBER)
		return 0;
	size_t len = strlen(self->text);
	bool letter = false;
	for (const char *p = self->text; *p; p++)
		letter |= *p >= 'a' && *p <= 'z';
	if (!format_dns_label.matches(self->text) || len > 15 || !letter || strstr(self->text, "--"))
		return schema_fail(walk, self, "",
		                   "Invalid value: \"%.80s\": must be a port number or the name of a "
		                   "container's port",
		                   self->text);
	return 0;
}

static const char *const service_types[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName", NULL};
static const struct schema service_type_schema = {SCHEMA_STRING, .choices = service_types};
static const struct schema target_port_schema = {SCHEMA_INT_OR_STRING, .min = 0, .max = 65535,
                                                 .check = check_target_port};
static const struct schema_field service_port_fields[] = {
    {"name", &port_name_schema, SCHEMA_OPTIONAL, NULL},
    {"port", &schema_port, SCHEMA_REQUIRED, NULL},
    {"protocol", &protocol_schema, SCHEMA_OPTIONAL, "TCP"},
    {"targetPort", &target_port_schema, SCHEMA_OPTIONAL, NULL},
    {"appProtocol", &app_protocol_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema service_port_schema = {SCHEMA_OBJECT, .fields = service_port_fields};
/* The bound is ours (etcd's object size is the API server's): uniqueness is checked pair by pair. */
static const struct schema service_ports_schema = {SCHEMA_LIST, .max = 1000, .items = &service_port_schema,
                                                   .check = check_service_ports};
static const struct schema_field service_spec_fields[] = {
    {"type", &service_type_schema, SCHEMA_OPTIONAL, "ClusterIP"},
    {"clusterIP", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {"clusterIPs", &schema_string_list, SCHEMA_OPTIONAL, NULL},
    {"externalName", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {"ports", &service_ports_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema service_spec_schema = {SCHEMA_OBJECT, .fields = service_spec_fields,
                                                  .check = check_service_spec};
static const struct schema_field ingress_fields[] = {
    {"ip", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {"hostname", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema ingress_schema = {SCHEMA_OBJECT, .fields = ingress_fields};
static const struct schema ingresses_schema = {SCHEMA_LIST, .max = 1000, .items = &ingress_schema};
static const struct schema_field load_balancer_fields[] = {{"ingress", &ingresses_schema, SCHEMA_OPTIONAL, NULL},
                                                           {.name = NULL}};
static const struct schema load_balancer_schema = {SCHEMA_OBJECT, .fields = load_balancer_fields};
static const struct schema_field service_status_fields[] = {
    {"loadBalancer", &load_balancer_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema service_status_schema = {SCHEMA_OBJECT, .fields = service_status_fields};
static const struct schema_field service_fields[] = {{"spec", &service_spec_schema, SCHEMA_DEFAULT_EMPTY, NULL},
                                                     {"status", &service_status_schema, SCHEMA_OPTIONAL, NULL},
                                                     {.name = NULL}};
static const struct schema service_schema = {SCHEMA_OBJECT, .fields = service_fields};

/* Where clients reach it: the load balancer's addresses, of a type without one the cluster's own. */
static void decode_addresses(struct decode_reader *reader, const struct node *document, struct kept_service *kept)
{
	const struct node *spec = node_get(document, "spec");
	bool balanced = node_is(spec, "type", "LoadBalancer");
	const struct node *list = balanced ? node_get(node_get(node_get(document, "status"), "loadBalancer"), "ingress") :
	                                     node_get(spec, "clusterIPs");
	struct service_address *addresses = DECODE_ARRAY(reader, list, &kept->n_addresses, struct service_address);
	size_t n = 0;
	for (size_t i = 0; i < kept->n_addresses; i++) {
		const struct node *in = list->items[i];
		const char *ip = balanced ? node_text(in, "ip") : in->text, *hostname = balanced ? node_text(in, "hostname") : NULL;
		if (ip && *ip && strcmp(ip, "None") != 0)
			addresses[n++].value = decode_keep(reader, ip);
		else if (hostname && *hostname)
			addresses[n++] = (struct service_address){decode_keep(reader, hostname), true};
	}
	kept->addresses = addresses;
	kept->n_addresses = n;
}

static struct kept_service *decode_kept_service(struct decode_reader *reader, const struct node *document)
{
	struct kept kept;
	if (!decode_kept(reader, &kept))
		return NULL;
	struct kept_service *service = arena_alloc(reader->arena, sizeof(*service));
	const struct node *list = node_get(node_get(document, "spec"), "ports");
	uint32_t n;
	service->kept = kept;
	service->target_ports = DECODE_ARRAY(reader, list, &n, uint16_t);
	for (size_t i = 0; i < n; i++) {
		const struct node *target = node_get(list->items[i], "targetPort");
		if (target && target->type == NODE_NUMBER)
			service->target_ports[i] = (uint16_t)node_integer(list->items[i], "targetPort", 0);
	}
	const struct node *selector = node_get(node_get(reader->raw, "spec"), "selector");
	service->selector = selector && selector->type == NODE_MAP && selector->n;
	decode_addresses(reader, document, service);
	return service;
}

static void decode_service_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct service *service = (struct service *)object;
	const struct node *spec = node_get(document, "spec"), *list = node_get(spec, "ports");
	service->external_name = node_is(spec, "type", "ExternalName");
	service->ports = DECODE_ARRAY(reader, list, &service->n_ports, struct service_port);
	for (size_t i = 0; i < service->n_ports; i++) {
		const struct node *in = list->items[i];
		struct service_port *port = &service->ports[i];
		port->name = node_get(in, "name") ? decode_text(reader, in, "name") : "";
		port->port = (uint16_t)node_integer(in, "port", 0);
		port->protocol = decode_text(reader, in, "protocol");
		port->app_protocol = decode_text(reader, in, "appProtocol");
	}
	service->kept = decode_kept_service(reader, document);
}

const struct decode_kind decode_service = {
    KIND_SERVICE, versions, &format_dns1035_label, sizeof(struct service), &service_schema, decode_service_into,
};

/* ---- EndpointSlice ---- */

static const char *refused_ipv4(const char *text)
{
	struct in_addr addr;
	if (inet_pton(AF_INET, text, &addr) != 1)
		return "must be a valid IPv4 address";
	uint32_t ip = ntohl(addr.s_addr);
	if (!ip)
		return "may not be unspecified (0.0.0.0)";
	if (ip >> 16 == 0xa9fe)
		return "may not be in the link-local range (169.254.0.0/16)";
	if (ip >> 8 == 0xe00000)
		return "may not be in the link-local multicast range (224.0.0.0/24)";
	return NULL;
}

static const char *refused_ipv6(const char *text)
{
	struct in6_addr addr;
	if (inet_pton(AF_INET6, text, &addr) != 1)
		return "must be a valid IPv6 address";
	if (IN6_IS_ADDR_V4MAPPED(&addr))
		return "must be a valid IPv6 address";
	if (IN6_IS_ADDR_UNSPECIFIED(&addr))
		return "may not be unspecified (::)";
	if (IN6_IS_ADDR_LINKLOCAL(&addr))
		return "may not be in the link-local range (fe80::/10)";
	if (IN6_IS_ADDR_MC_LINKLOCAL(&addr))
		return "may not be in the link-local multicast range (ff02::/10)";
	return NULL;
}

static const char *refused_fqdn(const char *text)
{
	return format_dns_subdomain.matches(text) ? NULL : "must be a fully qualified domain name";
}

static int check_addresses(struct schema_walk *walk, const struct node *endpoint, size_t i,
                           const char *(*refused)(const char *))
{
	const struct node *list = node_get(endpoint, "addresses");
	for (size_t k = 0; k < list->n; k++) {
		const char *why = refused(list->items[k]->text);
		if (!why)
			continue;
		char below[80];
		snprintf(below, sizeof(below), "endpoints[%zu].addresses[%zu]", i, k);
		return schema_fail(walk, list->items[k], below, "Invalid value: \"%.80s\": %s", list->items[k]->text,
		                   why);
	}
	return 0;
}

static int check_slice(struct schema_walk *walk, const struct node *self)
{
	const char *(*refused)(const char *) = refused_fqdn;
	if (node_is(self, "addressType", "IPv4"))
		refused = refused_ipv4;
	else if (node_is(self, "addressType", "IPv6"))
		refused = refused_ipv6;
	const struct node *list = node_get(self, "endpoints");
	for (size_t i = 0; list && i < list->n; i++)
		if (check_addresses(walk, list->items[i], i, refused))
			return -1;
	return 0;
}

static const char *const address_types[] = {"IPv4", "IPv6", "FQDN", NULL};
static const struct schema address_type_schema = {SCHEMA_STRING, .choices = address_types};
static const struct schema addresses_schema = {SCHEMA_LIST, .min = 1, .max = 100, .items = &schema_any_string,
                                               .unique = ""};
static const struct schema_field conditions_fields[] = {
    {"ready", &schema_bool, SCHEMA_OPTIONAL, NULL},
    {"serving", &schema_bool, SCHEMA_OPTIONAL, NULL},
    {"terminating", &schema_bool, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema conditions_schema = {SCHEMA_OBJECT, .fields = conditions_fields};
static const struct schema_field target_fields[] = {
    {"kind", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {"name", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema target_schema = {SCHEMA_OBJECT, .fields = target_fields};
static const struct schema_field endpoint_fields[] = {
    {"addresses", &addresses_schema, SCHEMA_REQUIRED, NULL},
    {"conditions", &conditions_schema, SCHEMA_OPTIONAL, NULL},
    {"targetRef", &target_schema, SCHEMA_OPTIONAL, NULL},
    {"nodeName", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {"zone", &schema_any_string, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema endpoint_schema = {SCHEMA_OBJECT, .fields = endpoint_fields};
static const struct schema endpoints_schema = {SCHEMA_LIST, .max = 1000, .items = &endpoint_schema};
static const struct schema_field endpoint_port_fields[] = {
    {"name", &port_name_schema, SCHEMA_OPTIONAL, NULL},
    {"port", &schema_port, SCHEMA_OPTIONAL, NULL},
    {"protocol", &protocol_schema, SCHEMA_OPTIONAL, "TCP"},
    {"appProtocol", &app_protocol_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema endpoint_port_schema = {SCHEMA_OBJECT, .fields = endpoint_port_fields};
static const struct schema endpoint_ports_schema = {SCHEMA_LIST, .max = 100, .items = &endpoint_port_schema,
                                                    .check = check_port_names};
static const struct schema_field slice_fields[] = {
    {"addressType", &address_type_schema, SCHEMA_REQUIRED, NULL},
    {"endpoints", &endpoints_schema, SCHEMA_OPTIONAL, NULL},
    {"ports", &endpoint_ports_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema slice_schema = {SCHEMA_OBJECT, .fields = slice_fields, .check = check_slice};

static void decode_endpoint(struct decode_reader *reader, const struct node *in, struct endpoint *endpoint)
{
	const struct node *conditions = node_get(in, "conditions");
	endpoint->address = decode_keep(reader, node_get(in, "addresses")->items[0]->text);
	endpoint->ready = node_bool(conditions, "ready", true);
	endpoint->serving = node_bool(conditions, "serving", endpoint->ready);
	endpoint->terminating = node_bool(conditions, "terminating", false);
	endpoint->target_name = decode_text(reader, node_get(in, "targetRef"), "name");
	endpoint->node_name = decode_text(reader, in, "nodeName");
	endpoint->zone = decode_text(reader, in, "zone");
}

static void decode_slice_ports(struct decode_reader *reader, const struct node *list, struct endpoint_slice *slice)
{
	slice->ports = DECODE_ARRAY(reader, list, &slice->n_ports, struct endpoint_port);
	for (size_t i = 0; i < slice->n_ports; i++) {
		const struct node *in = list->items[i];
		struct endpoint_port *port = &slice->ports[i];
		port->name = node_get(in, "name") ? decode_text(reader, in, "name") : "";
		port->port = (uint16_t)node_integer(in, "port", 0);
		port->protocol = decode_text(reader, in, "protocol");
	}
}

static enum slice_maker maker_of(const struct node *labels)
{
	if (node_is(labels, LABEL_SLICE_MAKER, "endpointslice-controller.k8s.io"))
		return SLICE_BY_SELECTOR;
	if (node_is(labels, LABEL_SLICE_MAKER, "endpointslicemirroring-controller.k8s.io"))
		return SLICE_BY_MIRRORING;
	return SLICE_BY_OTHERS;
}

static void decode_slice_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct endpoint_slice *slice = (struct endpoint_slice *)object;
	slice->service = decode_text(reader, reader->labels, LABEL_SERVICE_NAME);
	slice->maker = maker_of(reader->labels);
	slice->fqdn = node_is(document, "addressType", "FQDN");
	const struct node *list = node_get(document, "endpoints");
	slice->endpoints = DECODE_ARRAY(reader, list, &slice->n_endpoints, struct endpoint);
	for (size_t i = 0; i < slice->n_endpoints; i++)
		decode_endpoint(reader, list->items[i], &slice->endpoints[i]);
	decode_slice_ports(reader, node_get(document, "ports"), slice);
	struct kept kept;
	if (!decode_kept(reader, &kept))
		return;
	slice->kept = arena_alloc(reader->arena, sizeof(*slice->kept));
	*slice->kept = kept;
}

const struct decode_kind decode_endpoint_slice = {
    KIND_ENDPOINTSLICE, versions,          &format_dns_subdomain, sizeof(struct endpoint_slice),
    &slice_schema,      decode_slice_into,
};
