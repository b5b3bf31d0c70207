/* Owns what only GRPCRoute has. gRPC is HTTP/2 whose path is "/service/method": a GRPCRoute becomes the struct that an
 * HTTPRoute becomes, told from it by its kind. Source: apis/v1/grpcroute_types.go and the standard channel's CRD.
 * sessionPersistence is of the experimental channel. */
#include "controller/object/decode_route.h"

enum { versions = 1 << VERSION_V1 };

/* ---- matches ---- */

static int check_method(struct schema_walk *walk, const struct node *self)
{
	static const struct {
		const char *field;
		const struct format *format;
	} words[] = {{"service", &format_grpc_service}, {"method", &format_grpc_method}};
	if (!node_get(self, "service") && !node_get(self, "method"))
		return schema_fail(walk, self, "", "One or both of 'service' or 'method' must be specified");
	for (size_t i = 0; i < ARRAY_LEN(words) && node_is(self, "type", "Exact"); i++) {
		const char *text = node_text(self, words[i].field);
		if (text && !words[i].format->matches(text))
			return schema_fail(walk, self, "", "%s must only contain valid characters (matching %s)",
			                   words[i].field, words[i].format->pattern);
	}
	return 0;
}

static const struct schema word_schema = {SCHEMA_STRING, .max = 1024};
static const struct schema_field method_fields[] = {
    {"type", &schema_value_type, SCHEMA_OPTIONAL, "Exact"},
    {"service", &word_schema, SCHEMA_OPTIONAL, NULL},
    {"method", &word_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema method_schema = {SCHEMA_OBJECT, .fields = method_fields, .check = check_method};
static const struct schema_field match_fields[] = {
    {"method", &method_schema, SCHEMA_OPTIONAL, NULL},
    {"headers", &schema_header_tests, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema match_schema = {SCHEMA_OBJECT, .fields = match_fields};
static const struct schema matches_schema = {SCHEMA_LIST, .max = 64, .items = &match_schema};

/* ---- rules ---- */

static const struct schema_field backend_fields[] = {DECODE_BACKEND_REF_FIELDS(&schema_grpc_filters)};
static const struct schema backend_schema = {SCHEMA_OBJECT, .fields = backend_fields, .check = decode_check_backend_ref};
static const struct schema backends_schema = {SCHEMA_LIST, .max = 16, .items = &backend_schema};
static const struct schema_field rule_fields[] = {
    {"name", &schema_section_name, SCHEMA_OPTIONAL, NULL},
    {"matches", &matches_schema, SCHEMA_OPTIONAL, NULL},
    {"filters", &schema_grpc_filters, SCHEMA_OPTIONAL, NULL},
    {"backendRefs", &backends_schema, SCHEMA_OPTIONAL, NULL},
    {"sessionPersistence", &schema_session, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema rule_schema = {SCHEMA_OBJECT, .fields = rule_fields};
static const struct schema rules_schema = {SCHEMA_LIST, .max = 16, .items = &rule_schema, .check = decode_check_rules};
static const struct schema_field spec_fields[] = {
    {"parentRefs", &schema_parent_refs, SCHEMA_OPTIONAL, NULL},
    {"hostnames", &schema_hostnames, SCHEMA_OPTIONAL, NULL},
    {"rules", &rules_schema, SCHEMA_OPTIONAL, NULL},
    {"useDefaultGateways", &schema_any, SCHEMA_OPTIONAL, NULL}, /* experimental channel: known, not read */
    {.name = NULL},
};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields};
static const struct schema_field route_fields[] = {{"spec", &spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema route_schema = {SCHEMA_OBJECT, .fields = route_fields};

/* ---- into the block ---- */

/* An empty pattern matches any service, or method, as none does. */
static const char *decode_pattern(struct decode_reader *reader, const struct node *method, const char *key)
{
	const char *text = node_text(method, key);
	return text && *text ? decode_keep(reader, text) : NULL;
}

/* Exactly one method, every method of one service, and what only patterns can tell of any path. */
static void decode_match(struct decode_reader *reader, const struct node *in, struct http_match *match)
{
	const struct node *method = node_get(in, "method");
	const char *service = node_text(method, "service"), *rpc = node_text(method, "method");
	bool patterns = node_is(method, "type", "RegularExpression") || (rpc && !service);
	match->path_type = rpc && !patterns ? PATH_MATCH_EXACT : PATH_MATCH_PREFIX;
	if (patterns || !service)
		match->path = "/";
	else
		match->path = arena_printf(reader->arena, "/%s%s%s", service, rpc ? "/" : "", rpc ? rpc : "");
	match->grpc_service = patterns ? decode_pattern(reader, method, "service") : NULL;
	match->grpc_method = patterns ? decode_pattern(reader, method, "method") : NULL;
	match->headers = decode_value_tests(reader, node_get(in, "headers"), &match->n_headers);
}

/* None: every request. */
static void decode_matches(struct decode_reader *reader, const struct node *in, struct http_rule *rule)
{
	const struct node *list = node_get(in, "matches");
	rule->n_matches = list && list->n ? (uint16_t)list->n : 1;
	rule->matches = arena_array(reader->arena, rule->n_matches, sizeof(*rule->matches));
	for (size_t i = 0; i < rule->n_matches; i++)
		decode_match(reader, list && list->n ? list->items[i] : NULL, &rule->matches[i]);
}

static void decode_route_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	decode_route(reader, document, decode_matches, (struct http_route *)object);
}

const struct decode_kind decode_grpc_route = {
    KIND_GRPCROUTE, versions, &format_dns_subdomain, sizeof(struct http_route), &route_schema, decode_route_into,
};
