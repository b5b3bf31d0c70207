/* What the decoders of HTTPRoute and GRPCRoute share. Private to them. */
#ifndef HATCHWAY_OBJECT_DECODE_ROUTE_H
#define HATCHWAY_OBJECT_DECODE_ROUTE_H

#include "controller/object/decode_reader.h"

extern const struct schema schema_parent_refs, schema_hostnames, schema_value_type, schema_header_name, schema_header_tests,
    schema_weight, schema_duration, schema_session;

int decode_check_backend_ref(struct schema_walk *walk, const struct node *self);
/* The matches of all rules together. */
int decode_check_rules(struct schema_walk *walk, const struct node *self);

/* The fields of a backendRef; only the kinds of its filters differ. */
#define DECODE_BACKEND_REF_FIELDS(filters_schema)                                                                      \
	{"group", &schema_group, SCHEMA_OPTIONAL, ""}, {"kind", &schema_kind, SCHEMA_OPTIONAL, "Service"},             \
	    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL}, {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL}, \
	    {"port", &schema_port, SCHEMA_OPTIONAL, NULL}, {"weight", &schema_weight, SCHEMA_OPTIONAL, "1"},           \
	    {"filters", filters_schema, SCHEMA_OPTIONAL, NULL}, {.name = NULL}

struct value_match *decode_value_tests(struct decode_reader *reader, const struct node *list, uint16_t *ret_n);

/* -1: not given. */
int64_t decode_duration_ms(const struct node *in, const char *key);

/* What a kind's rule has beside name, filters, backendRefs and sessionPersistence. Timeouts are not given yet. */
typedef void decode_rule_cb(struct decode_reader *reader, const struct node *in, struct http_rule *rule);
void decode_route(struct decode_reader *reader, const struct node *document, decode_rule_cb *more, struct http_route *route);

#endif
