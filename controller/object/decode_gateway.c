/* Owns GatewayClass, Gateway and ListenerSet: the CRDs' OpenAPI and CEL rules (standard channel;
 * spec.listeners[].tls.certificateRefs and the like are kept so that later rooms can judge them). Sources:
 * apis/v1/gateway_types.go, gatewayclass_types.go, listenerset_types.go. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1 | 1 << VERSION_V1BETA1 };

/* ---- GatewayClass ---- */

static const struct schema controller_schema = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_controller_name};
static const struct schema description_schema = {SCHEMA_STRING, .max = 64};
static const struct schema_field parameters_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema parameters_schema = {SCHEMA_OBJECT, .fields = parameters_fields};
static const struct schema_field class_spec_fields[] = {
    {"controllerName", &controller_schema, SCHEMA_REQUIRED, NULL},
    {"description", &description_schema, SCHEMA_OPTIONAL, NULL},
    {"parametersRef", &parameters_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema class_spec_schema = {SCHEMA_OBJECT, .fields = class_spec_fields};
static const struct schema_field class_fields[] = {{"spec", &class_spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema class_schema = {SCHEMA_OBJECT, .fields = class_fields};

struct parameters_ref *decode_parameters_ref(struct decode_reader *reader, const struct node *in, const char *namespace)
{
	if (!in)
		return NULL;
	struct parameters_ref *ref = arena_alloc(reader->arena, sizeof(*ref));
	ref->group = decode_text(reader, in, "group");
	ref->kind = decode_text(reader, in, "kind");
	ref->name = decode_text(reader, in, "name");
	ref->namespace = namespace ? namespace : decode_text(reader, in, "namespace");
	return ref;
}

static void decode_class_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct gateway_class *class = (struct gateway_class *)object;
	const struct node *spec = node_get(document, "spec");
	class->controller_name = decode_text(reader, spec, "controllerName");
	class->parameters = decode_parameters_ref(reader, node_get(spec, "parametersRef"), NULL);
}

const struct decode_kind decode_gateway_class = {
    KIND_GATEWAYCLASS, versions, &format_dns_subdomain, sizeof(struct gateway_class), &class_schema, decode_class_into,
};

/* ---- listeners: CEL ---- */

static bool is_one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}

static int check_tls(struct schema_walk *walk, const struct node *self)
{
	if (node_is(self, "mode", "Terminate") && !node_count(self, "certificateRefs") && !node_count(self, "options"))
		return schema_fail(walk, self, "",
		                   "certificateRefs or options must be specified when mode is Terminate");
	return 0;
}

static const char *refused_listener(const struct node *listener)
{
	static const char *const without_tls[] = {"HTTP", "TCP", "UDP", NULL};
	static const char *const without_host[] = {"TCP", "UDP", NULL};
	const char *protocol = node_text(listener, "protocol");
	const struct node *tls = node_get(listener, "tls");
	if (tls && is_one_of(protocol, without_tls))
		return "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']";
	if (tls && strcmp(protocol, "HTTPS") == 0 && !node_is(tls, "mode", "Terminate"))
		return "tls mode must be Terminate for protocol HTTPS";
	if (!tls && strcmp(protocol, "TLS") == 0)
		return "tls mode must be set for protocol TLS";
	if (node_get(listener, "hostname") && is_one_of(protocol, without_host))
		return "hostname must not be specified for protocols ['TCP', 'UDP']";
	return NULL;
}

static const char *refused_pair(const struct node *a, const struct node *b)
{
	if (node_equal(node_get(a, "name"), node_get(b, "name")))
		return "Listener name must be unique within the Gateway";
	if (node_integer(a, "port", 0) == node_integer(b, "port", 0) &&
	    node_equal(node_get(a, "protocol"), node_get(b, "protocol")) &&
	    node_equal(node_get(a, "hostname"), node_get(b, "hostname")))
		return "Combination of port, protocol and hostname must be unique for each listener";
	return NULL;
}

static int check_listeners(struct schema_walk *walk, const struct node *self)
{
	for (size_t i = 0; i < self->n; i++) {
		const char *why = refused_listener(self->items[i]);
		if (why)
			return schema_fail(walk, self->items[i], "", "%s", why);
	}
	for (size_t i = 0; i < self->n; i++) {
		for (size_t k = 0; k < i; k++) {
			const char *why = refused_pair(self->items[i], self->items[k]);
			if (why)
				return schema_fail(walk, self->items[i], "", "%s", why);
		}
	}
	return 0;
}

/* ---- listeners: fields ---- */

static const char *const from_names[] = {"All", "Selector", "Same", NULL};
static const char *const modes[] = {"Terminate", "Passthrough", NULL};
static const struct schema protocol_schema = {SCHEMA_STRING, .min = 1, .max = 255, .format = &format_protocol};
static const struct schema mode_schema = {SCHEMA_STRING, .choices = modes};
static const struct schema long_text_schema = {SCHEMA_STRING, .max = 4096};
static const struct schema options_schema = {SCHEMA_MAP, .max = 16, .items = &long_text_schema};
static const struct schema_field secret_ref_fields[] = {
    {"group", &schema_group, SCHEMA_OPTIONAL, ""},
    {"kind", &schema_kind, SCHEMA_OPTIONAL, "Secret"},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema secret_ref_schema = {SCHEMA_OBJECT, .fields = secret_ref_fields};
static const struct schema secret_refs_schema = {SCHEMA_LIST, .max = 64, .items = &secret_ref_schema};
static const struct schema_field tls_fields[] = {
    {"mode", &mode_schema, SCHEMA_OPTIONAL, "Terminate"},
    {"certificateRefs", &secret_refs_schema, SCHEMA_OPTIONAL, NULL},
    {"options", &options_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema tls_schema = {SCHEMA_OBJECT, .fields = tls_fields, .check = check_tls};
static const struct schema from_schema = {SCHEMA_STRING, .choices = from_names};
static const struct schema_field namespaces_fields[] = {
    {"from", &from_schema, SCHEMA_OPTIONAL, "Same"},
    {"selector", &schema_label_selector, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema namespaces_schema = {SCHEMA_OBJECT, .fields = namespaces_fields};
static const struct schema_field route_kind_fields[] = {
    {"group", &schema_group, SCHEMA_OPTIONAL, GATEWAY_API_GROUP},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema route_kind_schema = {SCHEMA_OBJECT, .fields = route_kind_fields};
static const struct schema route_kinds_schema = {SCHEMA_LIST, .max = 8, .items = &route_kind_schema};
static const struct schema_field allowed_fields[] = {
    {"namespaces", &namespaces_schema, SCHEMA_DEFAULT_EMPTY, NULL},
    {"kinds", &route_kinds_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema allowed_schema = {SCHEMA_OBJECT, .fields = allowed_fields};
static const struct schema_field listener_fields[] = {
    {"name", &schema_section_name, SCHEMA_REQUIRED, NULL},
    {"hostname", &schema_hostname, SCHEMA_OPTIONAL, NULL},
    {"port", &schema_port, SCHEMA_REQUIRED, NULL},
    {"protocol", &protocol_schema, SCHEMA_REQUIRED, NULL},
    {"tls", &tls_schema, SCHEMA_OPTIONAL, NULL},
    {"allowedRoutes", &allowed_schema, SCHEMA_DEFAULT_EMPTY, NULL},
    {.name = NULL},
};
static const struct schema listener_schema = {SCHEMA_OBJECT, .fields = listener_fields};
static const struct schema listeners_schema = {
    SCHEMA_LIST, .min = 1, .max = 64, .items = &listener_schema, .unique = "name", .check = check_listeners};

/* ---- addresses ---- */

static int check_address(struct schema_walk *walk, const struct node *self)
{
	const char *value = node_text(self, "value");
	if (!value)
		return 0;
	if (node_is(self, "type", "IPAddress") && !format_is_ipv4(value) && !format_is_ipv6(value))
		return schema_fail(walk, node_get(self, "value"), ".value",
		                   "Invalid value: \"%.80s\": must be a valid ipv4 or ipv6 address", value);
	if (node_is(self, "type", "Hostname") && !format_hostname.matches(value))
		return schema_fail(walk, node_get(self, "value"), "",
		                   "Hostname value must be empty or contain only valid "
		                   "characters (matching %s)",
		                   format_hostname.pattern);
	return 0;
}

static int check_addresses(struct schema_walk *walk, const struct node *self)
{
	for (size_t i = 0; i < self->n; i++) {
		const struct node *a = self->items[i];
		bool counts = node_is(a, "type", "IPAddress") || node_is(a, "type", "Hostname");
		for (size_t k = 0; counts && node_get(a, "value") && k < i; k++) {
			const struct node *b = self->items[k];
			if (node_equal(node_get(a, "type"), node_get(b, "type")) &&
			    node_equal(node_get(a, "value"), node_get(b, "value")))
				return schema_fail(walk, a, "", "%s values must be unique", node_text(a, "type"));
		}
	}
	return 0;
}

static const struct schema address_type_schema = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_address_type};
static const struct schema address_value_schema = {SCHEMA_STRING, .max = 253};
static const struct schema_field address_fields[] = {
    {"type", &address_type_schema, SCHEMA_OPTIONAL, "IPAddress"},
    {"value", &address_value_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema address_schema = {SCHEMA_OBJECT, .fields = address_fields, .check = check_address};
static const struct schema addresses_schema = {SCHEMA_LIST, .max = 16, .items = &address_schema,
                                               .check = check_addresses};

/* ---- infrastructure ---- */

static int check_keys(struct schema_walk *walk, const struct node *self, const char *what)
{
	for (size_t i = 0; i < self->n; i++) {
		if (!format_qualified_name.matches(self->keys[i]))
			return schema_fail(walk, self->items[i], "",
			                   "%s keys must be in the form of an optional DNS subdomain "
			                   "prefix followed by a required name segment of up to 63 characters.",
			                   what);
		if (strcspn(self->keys[i], "/") >= 253)
			return schema_fail(walk, self->items[i], "",
			                   "If specified, the %s key's prefix must be a DNS subdomain "
			                   "not longer than 253 characters in total.",
			                   what);
	}
	return 0;
}

static int check_label_keys(struct schema_walk *walk, const struct node *self)
{
	return check_keys(walk, self, "Label");
}

static int check_annotation_keys(struct schema_walk *walk, const struct node *self)
{
	return check_keys(walk, self, "Annotation");
}

static const struct schema label_value_schema = {SCHEMA_STRING, .max = 63, .format = &format_label_value};
static const struct schema labels_schema = {SCHEMA_MAP, .max = 8, .items = &label_value_schema,
                                            .check = check_label_keys};
static const struct schema annotations_schema = {SCHEMA_MAP, .max = 16, .items = &long_text_schema,
                                                 .check = check_annotation_keys};
static const struct schema_field local_parameters_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema local_parameters_schema = {SCHEMA_OBJECT, .fields = local_parameters_fields};
static const struct schema_field infrastructure_fields[] = {
    {"labels", &labels_schema, SCHEMA_OPTIONAL, NULL},
    {"annotations", &annotations_schema, SCHEMA_OPTIONAL, NULL},
    {"parametersRef", &local_parameters_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema infrastructure_schema = {SCHEMA_OBJECT, .fields = infrastructure_fields};

/* ---- spec.tls ---- */

static const char *const validation_modes[] = {"AllowValidOnly", "AllowInsecureFallback", NULL};
static const struct schema ca_refs_schema = {SCHEMA_LIST, .min = 1, .max = 16, .items = &parameters_schema};
static const struct schema validation_mode_schema = {SCHEMA_STRING, .choices = validation_modes};
static const struct schema_field validation_fields[] = {
    {"caCertificateRefs", &ca_refs_schema, SCHEMA_REQUIRED, NULL},
    {"mode", &validation_mode_schema, SCHEMA_OPTIONAL, "AllowValidOnly"},
    {.name = NULL},
};
static const struct schema validation_schema = {SCHEMA_OBJECT, .fields = validation_fields};
static const struct schema_field tls_config_fields[] = {
    {"validation", &validation_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema tls_config_schema = {SCHEMA_OBJECT, .fields = tls_config_fields};
static const struct schema_field per_port_fields[] = {
    {"port", &schema_port, SCHEMA_REQUIRED, NULL},
    {"tls", &tls_config_schema, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema per_port_schema = {SCHEMA_OBJECT, .fields = per_port_fields};
static const struct schema per_ports_schema = {SCHEMA_LIST, .max = 64, .items = &per_port_schema, .unique = "port"};
static const struct schema_field frontend_fields[] = {
    {"default", &tls_config_schema, SCHEMA_REQUIRED, NULL},
    {"perPort", &per_ports_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema frontend_schema = {SCHEMA_OBJECT, .fields = frontend_fields};
static const struct schema_field backend_fields[] = {
    {"clientCertificateRef", &secret_ref_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema backend_schema = {SCHEMA_OBJECT, .fields = backend_fields};
static const struct schema_field gateway_tls_fields[] = {
    {"backend", &backend_schema, SCHEMA_OPTIONAL, NULL},
    {"frontend", &frontend_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema gateway_tls_schema = {SCHEMA_OBJECT, .fields = gateway_tls_fields};

/* ---- allowedListeners ---- */

static const char *const listener_from_names[] = {"All", "Selector", "Same", "None", NULL};
static const struct schema listener_from_schema = {SCHEMA_STRING, .choices = listener_from_names};
static const struct schema_field listener_namespaces_fields[] = {
    {"from", &listener_from_schema, SCHEMA_OPTIONAL, "None"},
    {"selector", &schema_label_selector, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema listener_namespaces_schema = {SCHEMA_OBJECT, .fields = listener_namespaces_fields};
static const struct schema_field allowed_listeners_fields[] = {
    {"namespaces", &listener_namespaces_schema, SCHEMA_DEFAULT_EMPTY, NULL},
    {.name = NULL},
};
static const struct schema allowed_listeners_schema = {SCHEMA_OBJECT, .fields = allowed_listeners_fields};

/* ---- Gateway ---- */

static const struct schema_field gateway_spec_fields[] = {
    {"gatewayClassName", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {"listeners", &listeners_schema, SCHEMA_REQUIRED, NULL},
    {"addresses", &addresses_schema, SCHEMA_OPTIONAL, NULL},
    {"infrastructure", &infrastructure_schema, SCHEMA_OPTIONAL, NULL},
    {"tls", &gateway_tls_schema, SCHEMA_OPTIONAL, NULL},
    {"allowedListeners", &allowed_listeners_schema, SCHEMA_OPTIONAL, NULL},
    {"defaultScope", &schema_any, SCHEMA_OPTIONAL, NULL}, /* experimental channel: known, not read */
    {.name = NULL},
};
static const struct schema gateway_spec_schema = {SCHEMA_OBJECT, .fields = gateway_spec_fields};
static const struct schema_field gateway_fields[] = {{"spec", &gateway_spec_schema, SCHEMA_REQUIRED, NULL},
                                                     {.name = NULL}};
static const struct schema gateway_schema = {SCHEMA_OBJECT, .fields = gateway_fields};

static void decode_certificate_ref(struct decode_reader *reader, const struct node *in, struct certificate_ref *ref)
{
	ref->group = decode_text(reader, in, "group");
	ref->kind = decode_text(reader, in, "kind");
	ref->name = decode_text(reader, in, "name");
	ref->namespace = decode_ref_namespace(reader, in);
}

static void decode_tls(struct decode_reader *reader, const struct node *tls, struct listener *listener)
{
	if (!tls)
		return;
	listener->tls_mode = node_is(tls, "mode", "Passthrough") ? TLS_MODE_PASSTHROUGH : TLS_MODE_TERMINATE;
	const struct node *list = node_get(tls, "certificateRefs");
	listener->certificate_refs = DECODE_ARRAY(reader, list, &listener->n_certificate_refs, struct certificate_ref);
	for (size_t i = 0; i < listener->n_certificate_refs; i++)
		decode_certificate_ref(reader, list->items[i], &listener->certificate_refs[i]);
}

static enum from_namespaces decode_from(const struct node *namespaces)
{
	return node_is(namespaces, "from", "All")        ? FROM_ALL
	       : node_is(namespaces, "from", "Selector") ? FROM_SELECTOR
	       : node_is(namespaces, "from", "Same")     ? FROM_SAME
	                                                 : FROM_NONE;
}

static void decode_allowed(struct decode_reader *reader, const struct node *allowed, struct listener *listener)
{
	const struct node *namespaces = node_get(allowed, "namespaces");
	listener->from = decode_from(namespaces);
	decode_selector(reader, node_get(namespaces, "selector"), &listener->selector);
	const struct node *list = node_get(allowed, "kinds");
	listener->kinds = DECODE_ARRAY(reader, list, &listener->n_kinds, struct route_group_kind);
	for (size_t i = 0; i < listener->n_kinds; i++) {
		listener->kinds[i].group = decode_text(reader, list->items[i], "group");
		listener->kinds[i].kind = decode_text(reader, list->items[i], "kind");
	}
}

static void decode_listener(struct decode_reader *reader, const struct node *in, struct listener *listener)
{
	listener->name = decode_text(reader, in, "name");
	listener->hostname = decode_text(reader, in, "hostname");
	listener->port = (uint16_t)node_integer(in, "port", 0);
	listener->protocol = decode_text(reader, in, "protocol");
	decode_tls(reader, node_get(in, "tls"), listener);
	decode_allowed(reader, node_get(in, "allowedRoutes"), listener);
}

static struct listener *decode_listeners(struct decode_reader *reader, const struct node *spec, uint32_t *ret_n)
{
	const struct node *list = node_get(spec, "listeners");
	struct listener *listeners = DECODE_ARRAY(reader, list, ret_n, struct listener);
	for (size_t i = 0; i < *ret_n; i++)
		decode_listener(reader, list->items[i], &listeners[i]);
	return listeners;
}

static void decode_infrastructure(struct decode_reader *reader, const struct node *in, struct gateway *gateway)
{
	gateway->parameters = decode_parameters_ref(reader, node_get(in, "parametersRef"), reader->object->namespace);
	gateway->infrastructure_labels =
	    decode_pairs(reader, node_get(in, "labels"), &gateway->n_infrastructure_labels);
	gateway->infrastructure_annotations =
	    decode_pairs(reader, node_get(in, "annotations"), &gateway->n_infrastructure_annotations);
}

static struct certificate_ref *decode_client_certificate(struct decode_reader *reader, const struct node *in)
{
	if (!in)
		return NULL;
	struct certificate_ref *ref = arena_alloc(reader->arena, sizeof(*ref));
	decode_certificate_ref(reader, in, ref);
	return ref;
}

static struct client_validation *decode_validation(struct decode_reader *reader, const struct node *in)
{
	if (!in)
		return NULL;
	struct client_validation *validation = arena_alloc(reader->arena, sizeof(*validation));
	const struct node *list = node_get(in, "caCertificateRefs");
	validation->ca_refs = DECODE_ARRAY(reader, list, &validation->n_ca_refs, struct certificate_ref);
	for (size_t i = 0; i < validation->n_ca_refs; i++)
		decode_certificate_ref(reader, list->items[i], &validation->ca_refs[i]);
	validation->fallback = node_is(in, "mode", "AllowInsecureFallback");
	return validation;
}

static void decode_frontend(struct decode_reader *reader, const struct node *frontend, struct gateway *gateway)
{
	const struct node *list = node_get(frontend, "perPort");
	gateway->validation = decode_validation(reader, node_get(node_get(frontend, "default"), "validation"));
	gateway->port_validations = DECODE_ARRAY(reader, list, &gateway->n_port_validations, struct port_validation);
	for (size_t i = 0; i < gateway->n_port_validations; i++) {
		gateway->port_validations[i].port = (uint16_t)node_integer(list->items[i], "port", 0);
		gateway->port_validations[i].validation =
		    decode_validation(reader, node_get(node_get(list->items[i], "tls"), "validation"));
	}
}

static void decode_gateway_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct gateway *gateway = (struct gateway *)object;
	const struct node *spec = node_get(document, "spec");
	gateway->gateway_class_name = decode_text(reader, spec, "gatewayClassName");
	gateway->listeners = decode_listeners(reader, spec, &gateway->n_listeners);
	const struct node *list = node_get(spec, "addresses"), *allowed = node_get(spec, "allowedListeners");
	gateway->addresses = DECODE_ARRAY(reader, list, &gateway->n_addresses, struct gateway_address);
	for (size_t i = 0; i < gateway->n_addresses; i++) {
		gateway->addresses[i].type = decode_text(reader, list->items[i], "type");
		gateway->addresses[i].value = decode_text(reader, list->items[i], "value");
	}
	decode_infrastructure(reader, node_get(spec, "infrastructure"), gateway);
	decode_frontend(reader, node_get(node_get(spec, "tls"), "frontend"), gateway);
	gateway->client_certificate =
	    decode_client_certificate(reader, node_get(node_get(node_get(spec, "tls"), "backend"), "clientCertificateRef"));
	gateway->allowed_listeners = allowed != NULL;
	gateway->listeners_from = decode_from(node_get(allowed, "namespaces"));
	decode_selector(reader, node_get(node_get(allowed, "namespaces"), "selector"), &gateway->listeners_selector);
}

const struct decode_kind decode_gateway = {
    KIND_GATEWAY, versions, &format_dns_subdomain, sizeof(struct gateway), &gateway_schema, decode_gateway_into,
};

/* ---- ListenerSet ---- */

static const struct schema_field parent_fields[] = {
    {"group", &schema_group, SCHEMA_OPTIONAL, GATEWAY_API_GROUP},
    {"kind", &schema_kind, SCHEMA_OPTIONAL, "Gateway"},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema parent_schema = {SCHEMA_OBJECT, .fields = parent_fields};
static const struct schema_field set_spec_fields[] = {
    {"parentRef", &parent_schema, SCHEMA_REQUIRED, NULL},
    {"listeners", &listeners_schema, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema set_spec_schema = {SCHEMA_OBJECT, .fields = set_spec_fields};
static const struct schema_field set_fields[] = {{"spec", &set_spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema set_schema = {SCHEMA_OBJECT, .fields = set_fields};

static void decode_set_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct listener_set *set = (struct listener_set *)object;
	const struct node *spec = node_get(document, "spec");
	decode_parent_ref(reader, node_get(spec, "parentRef"), &set->gateway);
	set->listeners = decode_listeners(reader, spec, &set->n_listeners);
}

const struct decode_kind decode_listener_set = {
    KIND_LISTENERSET, 1 << VERSION_V1, &format_dns_subdomain, sizeof(struct listener_set), &set_schema, decode_set_into,
};
