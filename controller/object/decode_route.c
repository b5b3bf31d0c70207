/* Owns what HTTPRoute and GRPCRoute have in common: parentRefs, hostnames, tests of values, backendRefs, and the rules about
 * their rules. Source: apis/v1/shared_types.go and what the two CRDs repeat. */
#include "controller/object/decode_route.h"

/* ---- parentRefs ---- */

static bool same_parent(const struct node *a, const struct node *b)
{
	return node_equal(node_get(a, "group"), node_get(b, "group")) &&
	       node_equal(node_get(a, "kind"), node_get(b, "kind")) &&
	       node_equal(node_get(a, "name"), node_get(b, "name")) &&
	       node_equal(node_get(a, "namespace"), node_get(b, "namespace"));
}

static int check_parents(struct schema_walk *walk, const struct node *self)
{
	for (size_t i = 0; i < self->n; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct node *a = self->items[i], *b = self->items[k];
			if (!same_parent(a, b))
				continue;
			if (!node_get(a, "sectionName") != !node_get(b, "sectionName"))
				return schema_fail(walk, a, "",
				                   "sectionName must be specified when parentRefs includes 2 or more "
				                   "references to the same parent");
			if (node_equal(node_get(a, "sectionName"), node_get(b, "sectionName")))
				return schema_fail(walk, a, "",
				                   "sectionName must be unique when parentRefs includes 2 or more "
				                   "references to the same parent");
		}
	}
	return 0;
}

static const struct schema_field parent_fields[] = {
    {"group", &schema_group, SCHEMA_OPTIONAL, GATEWAY_API_GROUP},
    {"kind", &schema_kind, SCHEMA_OPTIONAL, "Gateway"},
    {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {"sectionName", &schema_section_name, SCHEMA_OPTIONAL, NULL},
    {"port", &schema_port, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema parent_schema = {SCHEMA_OBJECT, .fields = parent_fields};
const struct schema schema_parent_refs = {SCHEMA_LIST, .max = 32, .items = &parent_schema, .check = check_parents};
const struct schema schema_hostnames = {SCHEMA_LIST, .max = 16, .items = &schema_hostname};

/* ---- tests of values ---- */

static const char *const value_types[] = {"Exact", "RegularExpression", NULL};
const struct schema schema_value_type = {SCHEMA_STRING, .choices = value_types};
const struct schema schema_header_name = {SCHEMA_STRING, .min = 1, .max = 256, .format = &format_header_name};
static const struct schema header_value_schema = {SCHEMA_STRING, .min = 1, .max = 4096};
static const struct schema_field header_fields[] = {
    {"type", &schema_value_type, SCHEMA_OPTIONAL, "Exact"},
    {"name", &schema_header_name, SCHEMA_REQUIRED, NULL},
    {"value", &header_value_schema, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema header_schema = {SCHEMA_OBJECT, .fields = header_fields};
const struct schema schema_header_tests = {SCHEMA_LIST, .max = 16, .items = &header_schema, .unique = "name"};

/* ---- backendRefs ---- */

int decode_check_backend_ref(struct schema_walk *walk, const struct node *self)
{
	if (node_is(self, "group", "") && node_is(self, "kind", "Service") && !node_get(self, "port"))
		return schema_fail(walk, self, "", "Must have port for Service reference");
	return 0;
}

const struct schema schema_weight = {SCHEMA_INTEGER, .min = 0, .max = 1000000};

/* ---- rules ---- */

int decode_check_rules(struct schema_walk *walk, const struct node *self)
{
	size_t n = 0;
	for (size_t i = 0; i < self->n; i++)
		n += node_count(self->items[i], "matches");
	if (n > 128)
		return schema_fail(walk, self, "",
		                   "While 16 rules and 64 matches per rule are allowed, the total number of "
		                   "matches across all rules in a route must be less than 128");
	return 0;
}

/* ---- sessions: of the experimental channel. idleTimeout is what CRDs before 1.4 have beside it ---- */

static int check_session(struct schema_walk *walk, const struct node *self)
{
	const struct node *cookie = node_get(self, "cookieConfig");
	if (node_is(cookie, "lifetimeType", "Permanent") && !node_get(self, "absoluteTimeout"))
		return schema_fail(walk, self, "", "AbsoluteTimeout must be specified when cookie lifetimeType is Permanent");
	if (cookie && !node_is(self, "type", "Cookie"))
		return schema_fail(walk, self, "", "cookieConfig can only be set with type Cookie");
	return 0;
}

const struct schema schema_duration = {SCHEMA_STRING, .format = &format_duration};
static const char *const session_types[] = {"Cookie", "Header", NULL};
static const char *const lifetimes[] = {"Permanent", "Session", NULL};
static const struct schema session_name_schema = {SCHEMA_STRING, .max = 128};
static const struct schema session_type_schema = {SCHEMA_STRING, .choices = session_types};
static const struct schema lifetime_schema = {SCHEMA_STRING, .choices = lifetimes};
static const struct schema_field cookie_fields[] = {
    {"lifetimeType", &lifetime_schema, SCHEMA_OPTIONAL, "Session"},
    {.name = NULL},
};
static const struct schema cookie_schema = {SCHEMA_OBJECT, .fields = cookie_fields};
static const struct schema_field session_fields[] = {
    {"sessionName", &session_name_schema, SCHEMA_OPTIONAL, NULL},
    {"absoluteTimeout", &schema_duration, SCHEMA_OPTIONAL, NULL},
    {"idleTimeout", &schema_duration, SCHEMA_OPTIONAL, NULL},
    {"type", &session_type_schema, SCHEMA_OPTIONAL, "Cookie"},
    {"cookieConfig", &cookie_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
const struct schema schema_session = {SCHEMA_OBJECT, .fields = session_fields, .check = check_session};

/* ---- into the block ---- */

int64_t decode_duration_ms(const struct node *in, const char *key)
{
	const char *text = node_text(in, key);
	return text ? format_duration_ms(text) : -1;
}

/* An empty name is none. */
static struct http_session *decode_session(struct decode_reader *reader, const struct node *in)
{
	if (!in)
		return NULL;
	struct http_session *session = arena_alloc(reader->arena, sizeof(*session));
	const char *name = node_text(in, "sessionName");
	session->name = name && *name ? decode_keep(reader, name) : NULL;
	session->absolute_ms = decode_duration_ms(in, "absoluteTimeout");
	session->idle_ms = decode_duration_ms(in, "idleTimeout");
	session->header = node_is(in, "type", "Header");
	session->permanent = node_is(node_get(in, "cookieConfig"), "lifetimeType", "Permanent");
	return session;
}

static void decode_parent_refs(struct decode_reader *reader, const struct node *list, struct http_route *route)
{
	route->parent_refs = DECODE_ARRAY(reader, list, &route->n_parent_refs, struct parent_ref);
	for (size_t i = 0; i < route->n_parent_refs; i++)
		decode_parent_ref(reader, list->items[i], &route->parent_refs[i]);
}

struct value_match *decode_value_tests(struct decode_reader *reader, const struct node *list, uint16_t *ret_n)
{
	struct value_match *values = DECODE_ARRAY(reader, list, ret_n, struct value_match);
	for (size_t i = 0; i < *ret_n; i++) {
		values[i].name = decode_text(reader, list->items[i], "name");
		values[i].value = decode_text(reader, list->items[i], "value");
		values[i].regex = node_is(list->items[i], "type", "RegularExpression");
	}
	return values;
}

static void decode_backend_refs(struct decode_reader *reader, const struct node *list, struct http_rule *rule)
{
	rule->backend_refs = DECODE_ARRAY(reader, list, &rule->n_backend_refs, struct backend_ref);
	for (size_t i = 0; i < rule->n_backend_refs; i++) {
		const struct node *in = list->items[i];
		struct backend_ref *ref = &rule->backend_refs[i];
		decode_ref(reader, in, ref);
		ref->weight = (int32_t)node_integer(in, "weight", 1);
		ref->filters = decode_http_filters(reader, node_get(in, "filters"), &ref->n_filters);
	}
}

static void decode_rule(struct decode_reader *reader, const struct node *in, struct http_rule *rule)
{
	rule->name = decode_text(reader, in, "name");
	rule->filters = decode_http_filters(reader, node_get(in, "filters"), &rule->n_filters);
	rule->mirrors = decode_http_mirrors(reader, node_get(in, "filters"), &rule->n_mirrors);
	decode_backend_refs(reader, node_get(in, "backendRefs"), rule);
	rule->request_timeout_ms = rule->backend_timeout_ms = -1;
	rule->session = decode_session(reader, node_get(in, "sessionPersistence"));
}

void decode_route(struct decode_reader *reader, const struct node *document, decode_rule_cb *more, struct http_route *route)
{
	const struct node *spec = node_get(document, "spec"), *list = node_get(spec, "rules");
	decode_parent_refs(reader, node_get(spec, "parentRefs"), route);
	route->hostnames = decode_texts(reader, spec, "hostnames", &route->n_hostnames);
	route->rules = DECODE_ARRAY(reader, list, &route->n_rules, struct http_rule);
	for (size_t i = 0; i < route->n_rules; i++) {
		decode_rule(reader, list->items[i], &route->rules[i]);
		more(reader, list->items[i], &route->rules[i]);
	}
}
