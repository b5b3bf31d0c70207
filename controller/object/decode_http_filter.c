/* Owns the filters of an HTTPRoute's or GRPCRoute's rules and backendRefs: the union, its CEL rules, and what each filter keeps.
 * ExternalAuth is of the experimental channel and kept by type only: let in so that the route gets its condition instead of a refusal. */
#include "controller/object/decode_reader.h"

/* ---- header modifiers ---- */

static const struct schema header_name_schema = {SCHEMA_STRING, .min = 1, .max = 256, .format = &format_header_name};
static const struct schema header_value_schema = {SCHEMA_STRING, .min = 1, .max = 4096};
static const struct schema_field header_fields[] = {
    {"name", &header_name_schema, SCHEMA_REQUIRED, NULL},
    {"value", &header_value_schema, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema header_schema = {SCHEMA_OBJECT, .fields = header_fields};
static const struct schema headers_schema = {SCHEMA_LIST, .max = 16, .items = &header_schema, .unique = "name"};
static const struct schema removes_schema = {SCHEMA_LIST, .max = 16, .items = &schema_any_string, .unique = ""};
static const struct schema_field modifier_fields[] = {
    {"set", &headers_schema, SCHEMA_OPTIONAL, NULL},
    {"add", &headers_schema, SCHEMA_OPTIONAL, NULL},
    {"remove", &removes_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema modifier_schema = {SCHEMA_OBJECT, .fields = modifier_fields};

/* ---- redirect and rewrite ---- */

static int check_path_modifier(struct schema_walk *walk, const struct node *self)
{
	static const struct {
		const char *type, *field;
	} pairs[] = {{"ReplaceFullPath", "replaceFullPath"}, {"ReplacePrefixMatch", "replacePrefixMatch"}};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		bool is = node_is(self, "type", pairs[i].type), has = node_get(self, pairs[i].field) != NULL;
		if (is && !has)
			return schema_fail(walk, self, "", "%s must be specified when type is set to '%s'",
			                   pairs[i].field, pairs[i].type);
		if (has && !is)
			return schema_fail(walk, self, "", "type must be '%s' when %s is set", pairs[i].type,
			                   pairs[i].field);
	}
	return 0;
}

static int check_status(struct schema_walk *walk, const struct node *self)
{
	static const int64_t codes[] = {301, 302, 303, 307, 308};
	int64_t code = strtoll(self->text, NULL, 10);
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (code == codes[i])
			return 0;
	return schema_fail(walk, self, "",
	                   "Unsupported value: %s: supported values: \"301\", \"302\", \"303\", \"307\", "
	                   "\"308\"",
	                   self->text);
}

static const char *const path_types[] = {"ReplaceFullPath", "ReplacePrefixMatch", NULL};
static const char *const schemes[] = {"http", "https", NULL};
static const struct schema path_type_schema = {SCHEMA_STRING, .choices = path_types};
static const struct schema path_value_schema = {SCHEMA_STRING, .max = 1024};
static const struct schema_field path_fields[] = {
    {"type", &path_type_schema, SCHEMA_REQUIRED, NULL},
    {"replaceFullPath", &path_value_schema, SCHEMA_OPTIONAL, NULL},
    {"replacePrefixMatch", &path_value_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema path_schema = {SCHEMA_OBJECT, .fields = path_fields, .check = check_path_modifier};
static const struct schema precise_hostname_schema = {SCHEMA_STRING, .min = 1, .max = 253,
                                                      .format = &format_dns_subdomain};
static const struct schema scheme_schema = {SCHEMA_STRING, .choices = schemes};
static const struct schema status_schema = {SCHEMA_INTEGER, .max = INT32_MAX, .check = check_status};
static const struct schema_field redirect_fields[] = {
    {"scheme", &scheme_schema, SCHEMA_OPTIONAL, NULL},
    {"hostname", &precise_hostname_schema, SCHEMA_OPTIONAL, NULL},
    {"path", &path_schema, SCHEMA_OPTIONAL, NULL},
    {"port", &schema_port, SCHEMA_OPTIONAL, NULL},
    {"statusCode", &status_schema, SCHEMA_OPTIONAL, "302"},
    {.name = NULL},
};
static const struct schema redirect_schema = {SCHEMA_OBJECT, .fields = redirect_fields};
static const struct schema_field rewrite_fields[] = {
    {"hostname", &precise_hostname_schema, SCHEMA_OPTIONAL, NULL},
    {"path", &path_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema rewrite_schema = {SCHEMA_OBJECT, .fields = rewrite_fields};

/* ---- CORS ---- */

static int check_star(struct schema_walk *walk, const struct node *self, const char *list, const char *others)
{
	for (size_t i = 0; self->n > 1 && i < self->n; i++)
		if (strcmp(self->items[i]->text, "*") == 0)
			return schema_fail(walk, self, "", "%s cannot contain '*' alongside other %s", list, others);
	return 0;
}

static int check_allow_headers(struct schema_walk *walk, const struct node *self)
{
	return check_star(walk, self, "AllowHeaders", "methods"); /* the CRD's own wording */
}

static int check_allow_methods(struct schema_walk *walk, const struct node *self)
{
	return check_star(walk, self, "AllowMethods", "methods");
}

static int check_allow_origins(struct schema_walk *walk, const struct node *self)
{
	return check_star(walk, self, "AllowOrigins", "origins");
}

static const char *const cors_methods[] = {"GET",     "HEAD",  "POST",  "PUT", "DELETE", "CONNECT",
                                           "OPTIONS", "TRACE", "PATCH", "*",   NULL};
static const struct schema cors_method_schema = {SCHEMA_STRING, .choices = cors_methods};
static const struct schema origin_schema = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_origin};
static const struct schema allow_headers_schema = {SCHEMA_LIST, .max = 64, .items = &header_name_schema, .unique = "",
                                                   .check = check_allow_headers};
static const struct schema expose_headers_schema = {SCHEMA_LIST, .max = 64, .items = &header_name_schema, .unique = ""};
static const struct schema allow_methods_schema = {SCHEMA_LIST, .max = 9, .items = &cors_method_schema, .unique = "",
                                                   .check = check_allow_methods};
static const struct schema allow_origins_schema = {SCHEMA_LIST, .max = 64, .items = &origin_schema, .unique = "",
                                                   .check = check_allow_origins};
static const struct schema max_age_schema = {SCHEMA_INTEGER, .min = 1, .max = INT32_MAX};
static const struct schema_field cors_fields[] = {
    {"allowCredentials", &schema_bool, SCHEMA_OPTIONAL, NULL},
    {"allowHeaders", &allow_headers_schema, SCHEMA_OPTIONAL, NULL},
    {"allowMethods", &allow_methods_schema, SCHEMA_OPTIONAL, NULL},
    {"allowOrigins", &allow_origins_schema, SCHEMA_OPTIONAL, NULL},
    {"exposeHeaders", &expose_headers_schema, SCHEMA_OPTIONAL, NULL},
    {"maxAge", &max_age_schema, SCHEMA_OPTIONAL, "5"},
    {.name = NULL},
};
static const struct schema cors_schema = {SCHEMA_OBJECT, .fields = cors_fields};

/* ---- mirror, extension ---- */

static int check_mirror_ref(struct schema_walk *walk, const struct node *self)
{
	if (node_is(self, "group", "") && node_is(self, "kind", "Service") && !node_get(self, "port"))
		return schema_fail(walk, self, "", "Must have port for Service reference");
	return 0;
}

static int check_fraction(struct schema_walk *walk, const struct node *self)
{
	if (node_integer(self, "numerator", 0) > node_integer(self, "denominator", 100))
		return schema_fail(walk, self, "", "numerator must be less than or equal to denominator");
	return 0;
}

static int check_mirror(struct schema_walk *walk, const struct node *self)
{
	if (node_get(self, "percent") && node_get(self, "fraction"))
		return schema_fail(walk, self, "",
		                   "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter");
	return 0;
}

static const struct schema_field mirror_ref_fields[] = {
    {"group", &schema_group, SCHEMA_OPTIONAL, ""},        {"kind", &schema_kind, SCHEMA_OPTIONAL, "Service"},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL}, {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL},
    {"port", &schema_port, SCHEMA_OPTIONAL, NULL},        {.name = NULL},
};
static const struct schema mirror_ref_schema = {SCHEMA_OBJECT, .fields = mirror_ref_fields, .check = check_mirror_ref};
static const struct schema numerator_schema = {SCHEMA_INTEGER, .min = 0, .max = INT32_MAX};
static const struct schema denominator_schema = {SCHEMA_INTEGER, .min = 1, .max = INT32_MAX};
static const struct schema_field fraction_fields[] = {
    {"numerator", &numerator_schema, SCHEMA_REQUIRED, NULL},
    {"denominator", &denominator_schema, SCHEMA_OPTIONAL, "100"},
    {.name = NULL},
};
static const struct schema fraction_schema = {SCHEMA_OBJECT, .fields = fraction_fields, .check = check_fraction};
static const struct schema percent_schema = {SCHEMA_INTEGER, .min = 0, .max = 100};
static const struct schema_field mirror_fields[] = {
    {"backendRef", &mirror_ref_schema, SCHEMA_REQUIRED, NULL},
    {"percent", &percent_schema, SCHEMA_OPTIONAL, NULL},
    {"fraction", &fraction_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema mirror_schema = {SCHEMA_OBJECT, .fields = mirror_fields, .check = check_mirror};
static const struct schema_field extension_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema extension_schema = {SCHEMA_OBJECT, .fields = extension_fields};

/* ---- the union ---- */

static const struct {
	const char *type, *field;
	enum filter_type id;
	bool once; /* at most one of it in a list */
} kinds[] = {
    {"CORS", "cors", FILTER_CORS, true},
    {"RequestHeaderModifier", "requestHeaderModifier", FILTER_REQUEST_HEADER_MODIFIER, true},
    {"ResponseHeaderModifier", "responseHeaderModifier", FILTER_RESPONSE_HEADER_MODIFIER, true},
    {"RequestMirror", "requestMirror", FILTER_REQUEST_MIRROR, false},
    {"RequestRedirect", "requestRedirect", FILTER_REQUEST_REDIRECT, true},
    {"URLRewrite", "urlRewrite", FILTER_URL_REWRITE, true},
    {"ExtensionRef", "extensionRef", FILTER_EXTENSION_REF, false},
    {"ExternalAuth", "externalAuth", FILTER_EXTERNAL_AUTH, true},
};

static int check_filter(struct schema_walk *walk, const struct node *self)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		bool is = node_is(self, "type", kinds[i].type), has = node_get(self, kinds[i].field) != NULL;
		if (has && !is)
			return schema_fail(walk, self, "", "filter.%s must be nil if the filter.type is not %s",
			                   kinds[i].field, kinds[i].type);
		if (is && !has)
			return schema_fail(walk, self, "", "filter.%s must be specified for %s filter.type",
			                   kinds[i].field, kinds[i].type);
	}
	return 0;
}

static size_t count_type(const struct node *filters, const char *type)
{
	size_t n = 0;
	for (size_t i = 0; i < filters->n; i++)
		n += node_is(filters->items[i], "type", type);
	return n;
}

static int check_filters(struct schema_walk *walk, const struct node *self)
{
	if (count_type(self, "RequestRedirect") && count_type(self, "URLRewrite"))
		return schema_fail(walk, self, "",
		                   "May specify either httpRouteFilterRequestRedirect or "
		                   "httpRouteFilterRequestRewrite, but not both");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].once && count_type(self, kinds[i].type) > 1)
			return schema_fail(walk, self, "", "%s filter cannot be repeated", kinds[i].type);
	return 0;
}

static const char *const filter_types[] = {"RequestHeaderModifier",
                                           "ResponseHeaderModifier",
                                           "RequestMirror",
                                           "RequestRedirect",
                                           "URLRewrite",
                                           "ExtensionRef",
                                           "CORS",
                                           "ExternalAuth",
                                           NULL};
static const struct schema filter_type_schema = {SCHEMA_STRING, .choices = filter_types};
static const struct schema_field filter_fields[] = {
    {"type", &filter_type_schema, SCHEMA_REQUIRED, NULL},
    {"requestHeaderModifier", &modifier_schema, SCHEMA_OPTIONAL, NULL},
    {"responseHeaderModifier", &modifier_schema, SCHEMA_OPTIONAL, NULL},
    {"requestRedirect", &redirect_schema, SCHEMA_OPTIONAL, NULL},
    {"urlRewrite", &rewrite_schema, SCHEMA_OPTIONAL, NULL},
    {"requestMirror", &mirror_schema, SCHEMA_OPTIONAL, NULL},
    {"cors", &cors_schema, SCHEMA_OPTIONAL, NULL},
    {"extensionRef", &extension_schema, SCHEMA_OPTIONAL, NULL},
    {"externalAuth", &schema_any, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema filter_schema = {SCHEMA_OBJECT, .fields = filter_fields, .check = check_filter};
const struct schema schema_http_filters = {SCHEMA_LIST, .max = 16, .items = &filter_schema, .check = check_filters};

static const char *const grpc_filter_types[] = {"ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef",
                                                NULL};
static const struct schema grpc_filter_type_schema = {SCHEMA_STRING, .choices = grpc_filter_types};
static const struct schema_field grpc_filter_fields[] = {
    {"type", &grpc_filter_type_schema, SCHEMA_REQUIRED, NULL},
    {"requestHeaderModifier", &modifier_schema, SCHEMA_OPTIONAL, NULL},
    {"responseHeaderModifier", &modifier_schema, SCHEMA_OPTIONAL, NULL},
    {"requestMirror", &mirror_schema, SCHEMA_OPTIONAL, NULL},
    {"extensionRef", &extension_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema grpc_filter_schema = {SCHEMA_OBJECT, .fields = grpc_filter_fields, .check = check_filter};
const struct schema schema_grpc_filters = {SCHEMA_LIST, .max = 16, .items = &grpc_filter_schema, .check = check_filters};

/* exists_one(): a type that may not be repeated is there once or not at all. */
bool decode_filters_replace_prefix(const struct node *filters, const char *filter)
{
	for (size_t i = 0; filters && i < filters->n; i++) {
		const struct node *path = node_get(node_get(filters->items[i], filter), "path");
		if (node_is(path, "type", "ReplacePrefixMatch") && node_get(path, "replacePrefixMatch"))
			return true;
	}
	return false;
}

/* ---- into the block ---- */

static struct http_header *decode_headers(struct decode_reader *reader, const struct node *list, uint16_t *ret_n)
{
	struct http_header *headers = DECODE_ARRAY(reader, list, ret_n, struct http_header);
	for (size_t i = 0; i < *ret_n; i++) {
		bool pair = list->items[i]->type == NODE_MAP;
		headers[i].name =
		    pair ? decode_text(reader, list->items[i], "name") : decode_keep(reader, list->items[i]->text);
		headers[i].value = pair ? decode_text(reader, list->items[i], "value") : NULL;
	}
	return headers;
}

static void decode_modifier(struct decode_reader *reader, const struct node *in, struct header_filter *headers)
{
	headers->set = decode_headers(reader, node_get(in, "set"), &headers->n_set);
	headers->add = decode_headers(reader, node_get(in, "add"), &headers->n_add);
	headers->remove = decode_headers(reader, node_get(in, "remove"), &headers->n_remove);
}

static void decode_path(struct decode_reader *reader, const struct node *in, struct path_modifier *path)
{
	if (!in)
		return;
	bool full = node_is(in, "type", "ReplaceFullPath");
	path->type = full ? PATH_REPLACE_FULL : PATH_REPLACE_PREFIX;
	path->value = decode_text(reader, in, full ? "replaceFullPath" : "replacePrefixMatch");
}

static struct cors_filter *decode_cors(struct decode_reader *reader, const struct node *in)
{
	struct cors_filter *cors = arena_alloc(reader->arena, sizeof(*cors));
	cors->origins = decode_texts(reader, in, "allowOrigins", &cors->n_origins);
	cors->methods = decode_texts(reader, in, "allowMethods", &cors->n_methods);
	cors->headers = decode_texts(reader, in, "allowHeaders", &cors->n_headers);
	cors->expose = decode_texts(reader, in, "exposeHeaders", &cors->n_expose);
	cors->max_age = (int32_t)node_integer(in, "maxAge", 5);
	cors->credentials = node_bool(in, "allowCredentials", false);
	return cors;
}

static struct extension_ref *decode_extension(struct decode_reader *reader, const struct node *in)
{
	struct extension_ref *ref = arena_alloc(reader->arena, sizeof(*ref));
	ref->group = decode_text(reader, in, "group");
	ref->kind = decode_text(reader, in, "kind");
	ref->name = decode_text(reader, in, "name");
	return ref;
}

static void decode_one(struct decode_reader *reader, const struct node *in, struct http_filter *filter)
{
	const struct node *body = NULL;
	filter->type = FILTER_UNKNOWN;
	filter->type_name = decode_text(reader, in, "type");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strcmp(filter->type_name, kinds[i].type) != 0)
			continue;
		filter->type = kinds[i].id;
		body = node_get(in, kinds[i].field);
	}
	if (filter->type == FILTER_REQUEST_HEADER_MODIFIER || filter->type == FILTER_RESPONSE_HEADER_MODIFIER)
		decode_modifier(reader, body, &filter->headers);
	if (filter->type == FILTER_CORS)
		filter->cors = decode_cors(reader, body);
	if (filter->type == FILTER_EXTENSION_REF)
		filter->extension = decode_extension(reader, body);
	if (filter->type != FILTER_REQUEST_REDIRECT && filter->type != FILTER_URL_REWRITE)
		return;
	filter->hostname = decode_text(reader, body, "hostname");
	decode_path(reader, node_get(body, "path"), &filter->path);
	filter->redirect_scheme = decode_text(reader, body, "scheme");
	filter->redirect_port = (uint16_t)node_integer(body, "port", 0);
	filter->redirect_status = (uint16_t)node_integer(body, "statusCode", 302);
}

struct http_filter *decode_http_filters(struct decode_reader *reader, const struct node *list, uint16_t *ret_n)
{
	struct http_filter *filters = DECODE_ARRAY(reader, list, ret_n, struct http_filter);
	for (size_t i = 0; i < *ret_n; i++)
		decode_one(reader, list->items[i], &filters[i]);
	return filters;
}

struct http_mirror *decode_http_mirrors(struct decode_reader *reader, const struct node *list, uint16_t *ret_n)
{
	*ret_n = list ? (uint16_t)count_type(list, "RequestMirror") : 0;
	struct http_mirror *mirrors = arena_array(reader->arena, *ret_n, sizeof(*mirrors)), *mirror = mirrors;
	for (size_t i = 0; list && i < list->n; i++) {
		if (!node_is(list->items[i], "type", "RequestMirror"))
			continue;
		const struct node *in = node_get(list->items[i], "requestMirror"), *fraction = node_get(in, "fraction");
		decode_ref(reader, node_get(in, "backendRef"), &mirror->ref);
		mirror->numerator = fraction ? node_integer(fraction, "numerator", 0) : node_integer(in, "percent", 100);
		mirror->denominator = node_integer(fraction, "denominator", 100);
		mirror->filter = (uint16_t)i;
		mirror++;
	}
	return mirrors;
}
