/* Owns BackendTLSPolicy: the CRD's OpenAPI and CEL rules. Source: apis/v1/backendtlspolicy_types.go. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1 };

/* ---- CEL ---- */

static bool is_same_target(const struct node *a, const struct node *b)
{
	return node_equal(node_get(a, "group"), node_get(b, "group")) && node_equal(node_get(a, "kind"), node_get(b, "kind")) &&
	       node_equal(node_get(a, "name"), node_get(b, "name"));
}

static const char *refused_pair(const struct node *a, const struct node *b)
{
	const char *x = node_text(a, "sectionName"), *y = node_text(b, "sectionName");
	if (!is_same_target(a, b))
		return NULL;
	if (!x != !y)
		return "sectionName must be specified when targetRefs includes 2 or more references to the same target";
	if (!x || strcmp(x, y) == 0)
		return "sectionName must be unique when targetRefs includes 2 or more references to the same target";
	return NULL;
}

static int check_targets(struct schema_walk *walk, const struct node *self)
{
	for (size_t i = 0; i < self->n; i++) {
		for (size_t k = 0; k < i; k++) {
			const char *why = refused_pair(self->items[i], self->items[k]);
			if (why)
				return schema_fail(walk, self, "", "%s", why);
		}
	}
	return 0;
}

static int check_name(struct schema_walk *walk, const struct node *self)
{
	bool host = node_is(self, "type", "Hostname");
	if (host && !node_get(self, "hostname"))
		return schema_fail(walk, self, "", "SubjectAltName element must contain Hostname, if Type is set to Hostname");
	if (!host && node_get(self, "hostname"))
		return schema_fail(walk, self, "",
		                   "SubjectAltName element must not contain Hostname, if Type is not set to Hostname");
	if (!host && !node_get(self, "uri"))
		return schema_fail(walk, self, "", "SubjectAltName element must contain URI, if Type is set to URI");
	if (host && node_get(self, "uri"))
		return schema_fail(walk, self, "", "SubjectAltName element must not contain URI, if Type is not set to URI");
	return 0;
}

static int check_validation(struct schema_walk *walk, const struct node *self)
{
	bool refs = node_count(self, "caCertificateRefs"), known = node_get(self, "wellKnownCACertificates");
	if (refs && known)
		return schema_fail(walk, self, "", "must not contain both CACertificateRefs and WellKnownCACertificates");
	if (!refs && !known)
		return schema_fail(walk, self, "", "must specify either CACertificateRefs or WellKnownCACertificates");
	return 0;
}

/* ---- fields ---- */

static const struct schema_field target_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {"sectionName", &schema_section_name, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema target_schema = {SCHEMA_OBJECT, .fields = target_fields};
static const struct schema targets_schema = {SCHEMA_LIST, .min = 1, .max = 16, .items = &target_schema,
                                             .check = check_targets};
static const struct schema_field ca_ref_fields[] = {
    {"group", &schema_group, SCHEMA_REQUIRED, NULL},
    {"kind", &schema_kind, SCHEMA_REQUIRED, NULL},
    {"name", &schema_object_name, SCHEMA_REQUIRED, NULL},
    {.name = NULL},
};
static const struct schema ca_ref_schema = {SCHEMA_OBJECT, .fields = ca_ref_fields};
static const struct schema ca_refs_schema = {SCHEMA_LIST, .max = 8, .items = &ca_ref_schema};
static const char *const name_types[] = {"Hostname", "URI", NULL};
static const struct schema name_type_schema = {SCHEMA_STRING, .choices = name_types};
static const struct schema uri_schema = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_absolute_uri};
static const struct schema_field name_fields[] = {
    {"type", &name_type_schema, SCHEMA_REQUIRED, NULL},
    {"hostname", &schema_hostname, SCHEMA_OPTIONAL, NULL},
    {"uri", &uri_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema name_schema = {SCHEMA_OBJECT, .fields = name_fields, .check = check_name};
static const struct schema names_schema = {SCHEMA_LIST, .max = 5, .items = &name_schema};
static const struct schema known_schema = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_well_known_ca};
static const struct schema precise_hostname_schema = {SCHEMA_STRING, .min = 1, .max = 253,
                                                      .format = &format_dns_subdomain};
static const struct schema_field validation_fields[] = {
    {"caCertificateRefs", &ca_refs_schema, SCHEMA_OPTIONAL, NULL},
    {"wellKnownCACertificates", &known_schema, SCHEMA_OPTIONAL, NULL},
    {"hostname", &precise_hostname_schema, SCHEMA_REQUIRED, NULL},
    {"subjectAltNames", &names_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema validation_schema = {SCHEMA_OBJECT, .fields = validation_fields, .check = check_validation};
static const struct schema option_schema = {SCHEMA_STRING, .max = 4096};
static const struct schema options_schema = {SCHEMA_MAP, .max = 16, .items = &option_schema};
static const struct schema_field spec_fields[] = {
    {"targetRefs", &targets_schema, SCHEMA_REQUIRED, NULL},
    {"validation", &validation_schema, SCHEMA_REQUIRED, NULL},
    {"options", &options_schema, SCHEMA_OPTIONAL, NULL}, /* none is ours */
    {.name = NULL},
};
static const struct schema spec_schema = {SCHEMA_OBJECT, .fields = spec_fields};
static const struct schema_field policy_fields[] = {{"spec", &spec_schema, SCHEMA_REQUIRED, NULL}, {.name = NULL}};
static const struct schema policy_schema = {SCHEMA_OBJECT, .fields = policy_fields};

static void decode_validation(struct decode_reader *reader, const struct node *in, struct backend_tls_policy *policy)
{
	const struct node *list = node_get(in, "caCertificateRefs");
	policy->ca_refs = DECODE_ARRAY(reader, list, &policy->n_ca_refs, struct certificate_ref);
	for (size_t i = 0; i < policy->n_ca_refs; i++) {
		struct certificate_ref *ref = &policy->ca_refs[i];
		ref->group = decode_text(reader, list->items[i], "group");
		ref->kind = decode_text(reader, list->items[i], "kind");
		ref->name = decode_text(reader, list->items[i], "name");
		ref->namespace = reader->object->namespace;
	}
	policy->well_known = decode_text(reader, in, "wellKnownCACertificates");
	policy->hostname = decode_text(reader, in, "hostname");
	list = node_get(in, "subjectAltNames");
	policy->names = DECODE_ARRAY(reader, list, &policy->n_names, struct subject_alt_name);
	for (size_t i = 0; i < policy->n_names; i++) {
		policy->names[i].hostname = decode_text(reader, list->items[i], "hostname");
		policy->names[i].uri = decode_text(reader, list->items[i], "uri");
	}
}

static void decode_policy_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct backend_tls_policy *policy = (struct backend_tls_policy *)object;
	const struct node *spec = node_get(document, "spec"), *list = node_get(spec, "targetRefs");
	policy->targets = DECODE_ARRAY(reader, list, &policy->n_targets, struct policy_target);
	for (size_t i = 0; i < policy->n_targets; i++) {
		policy->targets[i].group = decode_text(reader, list->items[i], "group");
		policy->targets[i].kind = decode_text(reader, list->items[i], "kind");
		policy->targets[i].name = decode_text(reader, list->items[i], "name");
		policy->targets[i].section_name = decode_text(reader, list->items[i], "sectionName");
	}
	decode_validation(reader, node_get(spec, "validation"), policy);
}

const struct decode_kind decode_backend_tls_policy = {
    KIND_BACKENDTLSPOLICY, versions, &format_dns_subdomain, sizeof(struct backend_tls_policy), &policy_schema,
    decode_policy_into,
};
