/* Owns ReferenceGrant. Source: apis/v1/referencegrant_types.go. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1 | 1 << VERSION_V1BETA1 };

static const struct schema_field from_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"namespace", &schema_namespace, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema from_schema = {SCHEMA_OBJECT, .fields = from_fields};
static const struct schema from_list_schema = {SCHEMA_LIST, .min = 1, .max = 16, .items = &from_schema};
static const struct schema_field to_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"name", &schema_object_name, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema to_schema = {SCHEMA_OBJECT, .fields = to_fields};
static const struct schema to_list_schema = {SCHEMA_LIST, .min = 1, .max = 16, .items = &to_schema};
static const struct schema_field spec_fields[] = {
    {"from", &from_list_schema, SCHEMA_REQUIRED, NULL},
    {"to", &to_list_schema, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields};
static const struct schema_field grant_fields[] = {{"spec", &spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema grant_schema = {SCHEMA_OBJECT, .fields = grant_fields};

static void decode_grant_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct reference_grant *grant = (struct reference_grant *)object;
	const struct node *from = node_get(node_get(document, "spec"), "from"),
	                  *to = node_get(node_get(document, "spec"), "to");
	grant->from = DECODE_ARRAY(reader, from, &grant->n_from, struct reference_grant_from);
	for (size_t i = 0; i < grant->n_from; i++) {
		grant->from[i].group = decode_text(reader, from->items[i], "group");
		grant->from[i].kind = decode_text(reader, from->items[i], "kind");
		grant->from[i].namespace = decode_text(reader, from->items[i], "namespace");
	}
	grant->to = DECODE_ARRAY(reader, to, &grant->n_to, struct reference_grant_to);
	for (size_t i = 0; i < grant->n_to; i++) {
		grant->to[i].group = decode_text(reader, to->items[i], "group");
		grant->to[i].kind = decode_text(reader, to->items[i], "kind");
		grant->to[i].name = decode_text(reader, to->items[i], "name");
	}
}

const struct decode_kind decode_reference_grant = {
    KIND_REFERENCEGRANT, versions,          &format_dns_subdomain, sizeof(struct reference_grant),
    &grant_schema,       decode_grant_into,
};
