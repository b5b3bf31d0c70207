/* Owns HatchwayFilter: hatchway's own CRD, crds/hatchwayfilters.yaml, what a rule's ExtensionRef names. What no pattern tells of a
 * network (that it is one) is judged by the graph, and is a condition of the object. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1ALPHA1 };

/* ---- addresses ---- */

static int check_addresses(struct schema_walk *walk, const struct node *self)
{
	if (node_get(self, "allow") || node_get(self, "deny"))
		return 0;
	return schema_fail(walk, self, "", "one of allow and deny must be specified");
}

static const struct schema network_schema = {SCHEMA_STRING, .min = 1, .max = 64, .format = &format_network};
static const struct schema networks_schema = {SCHEMA_LIST, .min = 1, .max = 128, .items = &network_schema, .unique = ""};
static const struct schema_field addresses_fields[] = {
    {"allow", &networks_schema, SCHEMA_OPTIONAL, NULL},
    {"deny", &networks_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema addresses_schema = {SCHEMA_OBJECT, .fields = addresses_fields, .check = check_addresses};

/* ---- rateLimit ---- */

static const char *const units[] = {[LIMIT_SECOND] = "Second", [LIMIT_MINUTE] = "Minute", [LIMIT_HOUR] = "Hour", [LIMIT_UNITS] = NULL};
static const struct schema requests_schema = {SCHEMA_INTEGER, .min = 1, .max = 1000000};
static const struct schema unit_schema = {SCHEMA_STRING, .choices = units};
static const struct schema header_schema = {SCHEMA_STRING, .min = 1, .max = 255, .format = &format_header_name};
static const struct schema_field limit_fields[] = {
    {"requests", &requests_schema, SCHEMA_REQUIRED, NULL},
    {"unit", &unit_schema, SCHEMA_REQUIRED, NULL},
    {"header", &header_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema limit_schema = {SCHEMA_OBJECT, .fields = limit_fields};

/* ---- basicAuth ---- */

static const struct schema realm_schema = {SCHEMA_STRING, .min = 1, .max = 128, .format = &format_realm};
static const struct schema_field secret_fields[] = {{"name", &schema_object_name, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema secret_schema = {SCHEMA_OBJECT, .fields = secret_fields};
static const struct schema_field auth_fields[] = {
    {"secretRef", &secret_schema, SCHEMA_REQUIRED, NULL},
    {"realm", &realm_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema auth_schema = {SCHEMA_OBJECT, .fields = auth_fields};

/* ---- the filter ---- */

static int check_spec(struct schema_walk *walk, const struct node *self)
{
	if (node_get(self, "addresses") || node_get(self, "rateLimit") || node_get(self, "basicAuth"))
		return 0;
	return schema_fail(walk, self, "", "one of addresses, rateLimit and basicAuth must be specified");
}

static const struct schema_field spec_fields[] = {
    {"addresses", &addresses_schema, SCHEMA_OPTIONAL, NULL},
    {"rateLimit", &limit_schema, SCHEMA_OPTIONAL, NULL},
    {"basicAuth", &auth_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields, .check = check_spec};
static const struct schema_field fields[] = {{"spec", &spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema schema = {SCHEMA_OBJECT, .fields = fields};

static enum limit_unit decode_unit(const struct node *limit)
{
	int unit = LIMIT_SECOND;
	while (unit < LIMIT_HOUR && !node_is(limit, "unit", units[unit]))
		unit++;
	return (enum limit_unit)unit;
}

static void decode_filter_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct own_filter *filter = (struct own_filter *)object;
	const struct node *spec = node_get(document, "spec"), *addresses = node_get(spec, "addresses");
	const struct node *limit = node_get(spec, "rateLimit"), *auth = node_get(spec, "basicAuth");
	filter->allow = decode_texts(reader, addresses, "allow", &filter->n_allow);
	filter->deny = decode_texts(reader, addresses, "deny", &filter->n_deny);
	filter->requests = (uint32_t)node_integer(limit, "requests", 0);
	filter->unit = decode_unit(limit);
	filter->header = decode_text(reader, limit, "header");
	filter->secret = decode_text(reader, node_get(auth, "secretRef"), "name");
	filter->realm = auth && !node_get(auth, "realm") ? decode_keep(reader, reader->object->name) : decode_text(reader, auth, "realm");
}

const struct decode_kind decode_filter = {
    KIND_FILTER, versions, &format_dns_subdomain, sizeof(struct own_filter), &schema, decode_filter_into,
};
