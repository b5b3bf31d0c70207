/* Owns HatchwayFilter: hatchway's own CRD, crds/hatchwayfilters.yaml, what a rule's ExtensionRef names. What no pattern tells of a
 * network (that it is one) is judged by the graph, and is a condition of the object. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1ALPHA1 };

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
static const struct schema_field spec_fields[] = {{"addresses", &addresses_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields};
static const struct schema_field fields[] = {{"spec", &spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema schema = {SCHEMA_OBJECT, .fields = fields};

static void decode_filter_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct own_filter *filter = (struct own_filter *)object;
	const struct node *addresses = node_get(node_get(document, "spec"), "addresses");
	filter->allow = decode_texts(reader, addresses, "allow", &filter->n_allow);
	filter->deny = decode_texts(reader, addresses, "deny", &filter->n_deny);
}

const struct decode_kind decode_filter = {
    KIND_FILTER, versions, &format_dns_subdomain, sizeof(struct own_filter), &schema, decode_filter_into,
};
