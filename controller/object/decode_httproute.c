/* Owns what only HTTPRoute has, but its filters: OpenAPI and CEL rules, defaults, and the struct. v1beta1 is v1 by another name.
 * Source: apis/v1/httproute_types.go, shared_types.go, and the standard channel's CRD. retry and
 * sessionPersistence are of the experimental channel. */
#include "controller/object/decode_route.h"

enum { versions = 1 << VERSION_V1 | 1 << VERSION_V1BETA1 };

/* ---- matches ---- */

#define TYPES "when type one of ['Exact', 'PathPrefix']"

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && strcmp(s + n - m, end) == 0;
}

static int check_path(struct schema_walk *walk, const struct node *self)
{
	static const char *const never[] = {"//", "/./", "/../", "%2f", "%2F", "#"};
	static const char *const never_last[] = {"/..", "/."};
	const struct node *value = node_get(self, "value");
	if (node_is(self, "type", "RegularExpression"))
		return 0;
	if (value->text[0] != '/')
		return schema_fail(walk, value, ".value", "value must be an absolute path and start with '/' " TYPES);
	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		if (strstr(value->text, never[i]))
			return schema_fail(walk, value, ".value", "must not contain '%s' " TYPES, never[i]);
	for (size_t i = 0; i < ARRAY_LEN(never_last); i++)
		if (ends_with(value->text, never_last[i]))
			return schema_fail(walk, value, ".value", "must not end with '%s' " TYPES, never_last[i]);
	if (!format_http_path.matches(value->text))
		return schema_fail(walk, value, ".value",
		                   "must only contain valid characters (matching %s) for types "
		                   "['Exact', 'PathPrefix']",
		                   format_http_path.pattern);
	return 0;
}

static const char *const path_types[] = {"Exact", "PathPrefix", "RegularExpression", NULL};
static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",   "DELETE",
                                      "CONNECT", "OPTIONS", "TRACE", "PATCH", NULL};
static const struct schema path_type_schema = {SCHEMA_STRING, .choices = path_types};
static const struct schema path_value_schema = {SCHEMA_STRING, .max = 1024};
static const struct schema_field path_fields[] = {
    {"type", &path_type_schema, SCHEMA_OPTIONAL, "PathPrefix"},
    {"value", &path_value_schema, SCHEMA_OPTIONAL, "/"},
    {.name = NULL},
};
static const struct schema path_schema = {SCHEMA_OBJECT, .fields = path_fields, .check = check_path};
static const struct schema param_value_schema = {SCHEMA_STRING, .min = 1, .max = 1024};
static const struct schema_field param_fields[] = {
    {"type", &schema_value_type, SCHEMA_OPTIONAL, "Exact"},
    {"name", &schema_header_name, SCHEMA_REQUIRED, NULL},
    {"value", &param_value_schema, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema param_schema = {SCHEMA_OBJECT, .fields = param_fields};
static const struct schema params_schema = {SCHEMA_LIST, .max = 16, .items = &param_schema, .unique = "name"};
static const struct schema method_schema = {SCHEMA_STRING, .choices = methods};
static const struct schema_field match_fields[] = {
    {"path", &path_schema, SCHEMA_DEFAULT_EMPTY, NULL},
    {"headers", &schema_header_tests, SCHEMA_OPTIONAL, NULL},
    {"queryParams", &params_schema, SCHEMA_OPTIONAL, NULL},
    {"method", &method_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema match_schema = {SCHEMA_OBJECT, .fields = match_fields};
static const struct schema matches_schema = {SCHEMA_LIST, .max = 64, .items = &match_schema};

/* ---- rules ---- */

static int check_timeouts(struct schema_walk *walk, const struct node *self)
{
	const char *request = node_text(self, "request"), *backend = node_text(self, "backendRequest");
	if (!request || !backend || !format_duration_ms(request))
		return 0;
	if (format_duration_ms(backend) > format_duration_ms(request))
		return schema_fail(walk, self, "", "backendRequest timeout cannot be longer than request timeout");
	return 0;
}

static bool one_prefix_match(const struct node *rule)
{
	const struct node *matches = node_get(rule, "matches");
	return matches && matches->n == 1 && node_is(node_get(matches->items[0], "path"), "type", "PathPrefix");
}

/* exists_one() of the CRD: several backendRefs with such filters make its rule pass; kept as the API server has it. */
static bool one_backend_replaces_prefix(const struct node *rule, const char *filter)
{
	const struct node *backends = node_get(rule, "backendRefs");
	size_t n = 0;
	for (size_t i = 0; backends && i < backends->n; i++)
		n += decode_filters_replace_prefix(node_get(backends->items[i], "filters"), filter);
	return n == 1;
}

static int check_prefix_filters(struct schema_walk *walk, const struct node *rule)
{
	static const struct {
		const char *field, *rule_text, *backend_text;
	} filters[] = {
	    {"requestRedirect", "When using RequestRedirect", "Within backendRefs, when using RequestRedirect"},
	    {"urlRewrite", "When using URLRewrite", "Within backendRefs, When using URLRewrite"},
	};
	for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
		const char *text = NULL;
		if (decode_filters_replace_prefix(node_get(rule, "filters"), filters[i].field))
			text = filters[i].rule_text;
		else if (one_backend_replaces_prefix(rule, filters[i].field))
			text = filters[i].backend_text;
		if (text && !one_prefix_match(rule))
			return schema_fail(walk, rule, "",
			                   "%s filter with path.replacePrefixMatch, exactly one PathPrefix match "
			                   "must be specified",
			                   text);
	}
	return 0;
}

static int check_rule(struct schema_walk *walk, const struct node *self)
{
	const struct node *filters = node_get(self, "filters");
	for (size_t i = 0; node_count(self, "backendRefs") && filters && i < filters->n; i++)
		if (node_get(filters->items[i], "requestRedirect"))
			return schema_fail(walk, self, "",
			                   "RequestRedirect filter must not be used together with backendRefs");
	return check_prefix_filters(walk, self);
}

static const struct schema_field backend_fields[] = {DECODE_BACKEND_REF_FIELDS(&schema_http_filters)};
static const struct schema backend_schema = {SCHEMA_OBJECT, .fields = backend_fields, .check = decode_check_backend_ref};
static const struct schema backends_schema = {SCHEMA_LIST, .max = 16, .items = &backend_schema};
static const struct schema_field timeouts_fields[] = {
    {"request", &schema_duration, SCHEMA_OPTIONAL, NULL},
    {"backendRequest", &schema_duration, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema code_schema = {SCHEMA_INTEGER, .min = 400, .max = 599};
static const struct schema codes_schema = {SCHEMA_LIST, .max = 200, .items = &code_schema, .unique = ""};
static const struct schema attempts_schema = {SCHEMA_INTEGER, .min = 1, .max = INT64_MAX};
static const struct schema_field retry_fields[] = {
    {"codes", &codes_schema, SCHEMA_OPTIONAL, NULL},
    {"attempts", &attempts_schema, SCHEMA_OPTIONAL, NULL},
    {"backoff", &schema_duration, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema retry_schema = {SCHEMA_OBJECT, .fields = retry_fields};
static const struct schema timeouts_schema = {SCHEMA_OBJECT, .fields = timeouts_fields, .check = check_timeouts};
static const struct schema_field rule_fields[] = {
    {"name", &schema_section_name, SCHEMA_OPTIONAL, NULL},
    {"matches", &matches_schema, SCHEMA_DEFAULT_EMPTY, NULL},
    {"filters", &schema_http_filters, SCHEMA_OPTIONAL, NULL},
    {"backendRefs", &backends_schema, SCHEMA_OPTIONAL, NULL},
    {"timeouts", &timeouts_schema, SCHEMA_OPTIONAL, NULL},
    {"retry", &retry_schema, SCHEMA_OPTIONAL, NULL},
    {"sessionPersistence", &schema_session, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema rule_schema = {SCHEMA_OBJECT, .fields = rule_fields, .check = check_rule};
static const struct schema rules_schema = {SCHEMA_LIST, .min = 1, .max = 16, .items = &rule_schema,
                                           .check = decode_check_rules};
static const struct schema_field spec_fields[] = {
    {"parentRefs", &schema_parent_refs, SCHEMA_OPTIONAL, NULL},
    {"hostnames", &schema_hostnames, SCHEMA_OPTIONAL, NULL},
    {"rules", &rules_schema, SCHEMA_DEFAULT_EMPTY, NULL},
    {"useDefaultGateways", &schema_any, SCHEMA_OPTIONAL, NULL}, /* experimental channel: known, not read */
    {.name = NULL},
};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields};
static const struct schema_field route_fields[] = {{"spec", &spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema route_schema = {SCHEMA_OBJECT, .fields = route_fields};

/* ---- into the block ---- */

static void decode_match(struct decode_reader *reader, const struct node *in, struct http_match *match)
{
	const struct node *path = node_get(in, "path");
	match->path_type = node_is(path, "type", "Exact")               ? PATH_MATCH_EXACT
	                   : node_is(path, "type", "RegularExpression") ? PATH_MATCH_REGEX
	                                                                : PATH_MATCH_PREFIX;
	match->path = decode_text(reader, path, "value");
	match->method = decode_text(reader, in, "method");
	match->headers = decode_value_tests(reader, node_get(in, "headers"), &match->n_headers);
	match->query_params = decode_value_tests(reader, node_get(in, "queryParams"), &match->n_query_params);
}

/* `matches: []` passes the CRD; the specification reads it as the default match. */
static void decode_matches(struct decode_reader *reader, const struct node *list, struct http_rule *rule)
{
	rule->matches = DECODE_ARRAY(reader, list, &rule->n_matches, struct http_match);
	for (size_t i = 0; i < rule->n_matches; i++)
		decode_match(reader, list->items[i], &rule->matches[i]);
	if (rule->n_matches)
		return;
	rule->n_matches = 1;
	rule->matches = arena_alloc(reader->arena, sizeof(*rule->matches));
	rule->matches[0].path_type = PATH_MATCH_PREFIX;
	rule->matches[0].path = "/";
}

static struct http_retry *decode_retry(struct decode_reader *reader, const struct node *in)
{
	if (!in)
		return NULL;
	struct http_retry *retry = arena_alloc(reader->arena, sizeof(*retry));
	const struct node *codes = node_get(in, "codes");
	retry->codes = DECODE_ARRAY(reader, codes, &retry->n_codes, uint16_t);
	for (size_t i = 0; i < retry->n_codes; i++)
		retry->codes[i] = (uint16_t)strtoul(codes->items[i]->text, NULL, 10);
	retry->attempts = node_integer(in, "attempts", 1);
	retry->backoff_ms = decode_duration_ms(in, "backoff");
	return retry;
}

static void decode_rule(struct decode_reader *reader, const struct node *in, struct http_rule *rule)
{
	decode_matches(reader, node_get(in, "matches"), rule);
	rule->request_timeout_ms = decode_duration_ms(node_get(in, "timeouts"), "request");
	rule->backend_timeout_ms = decode_duration_ms(node_get(in, "timeouts"), "backendRequest");
	rule->retry = decode_retry(reader, node_get(in, "retry"));
}

static void decode_route_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	decode_route(reader, document, decode_rule, (struct http_route *)object);
}

const struct decode_kind decode_http_route = {
    KIND_HTTPROUTE, versions, &format_dns_subdomain, sizeof(struct http_route), &route_schema, decode_route_into,
};
