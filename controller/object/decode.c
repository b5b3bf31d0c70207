/* Owns the way from a document to an object: which kind it is, its metadata, the two passes into one block.
 * Reads the tables of the kinds (decode_*.c). Never knows what is inside a spec. */
#include "controller/object/decode.h"

#include "controller/object/decode_reader.h"
#include "hatchway/base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <strings.h>

static const struct decode_kind *const decode_kinds[] = {
    &decode_namespace, &decode_gateway_class,  &decode_gateway, &decode_http_route, &decode_grpc_route,
    &decode_reference_grant, &decode_service, &decode_endpoint_slice, &decode_secret, &decode_config_map, &decode_parameters,
    &decode_backend_tls_policy, &decode_listener_set, &decode_filter,
};

/* ---- shared schemas ---- */

const struct schema schema_group = {SCHEMA_STRING, .max = 253, .format = &format_group};
const struct schema schema_kind = {SCHEMA_STRING, .min = 1, .max = 63, .format = &format_kind};
const struct schema schema_object_name = {SCHEMA_STRING, .min = 1, .max = 253};
const struct schema schema_namespace = {SCHEMA_STRING, .min = 1, .max = 63, .format = &format_dns_label};
const struct schema schema_section_name = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_dns_subdomain};
const struct schema schema_hostname = {SCHEMA_STRING, .min = 1, .max = 253, .format = &format_hostname};
const struct schema schema_port = {SCHEMA_INTEGER, .min = 1, .max = 65535};
const struct schema schema_bool = {.type = SCHEMA_BOOL};
const struct schema schema_any_string = {.type = SCHEMA_STRING};
const struct schema schema_any = {.type = SCHEMA_ANY};
const struct schema schema_strings = {SCHEMA_MAP, .items = &schema_any_string};
const struct schema schema_string_list = {SCHEMA_LIST, .items = &schema_any_string};

static const struct schema_field expression_fields[] = {
    {"key", &schema_any_string, SCHEMA_REQUIRED, NULL},
    {"operator", &schema_any_string, SCHEMA_REQUIRED, NULL},
    {"values", &schema_string_list, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema expression_schema = {SCHEMA_OBJECT, .fields = expression_fields};
static const struct schema expressions_schema = {SCHEMA_LIST, .items = &expression_schema};
static const struct schema_field selector_fields[] = {
    {"matchLabels", &schema_strings, SCHEMA_OPTIONAL, NULL},
    {"matchExpressions", &expressions_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
const struct schema schema_label_selector = {SCHEMA_OBJECT, .fields = selector_fields};

/* ---- into the block ---- */

const char *decode_keep(struct decode_reader *reader, const char *text)
{
	static const char *const words[] = {
	    "",
	    "/",
	    "v1",
	    "v1beta1",
	    GATEWAY_API_GROUP,
	    "Gateway",
	    "Service",
	    "Secret",
	    "HTTPRoute",
	    "default",
	    "Opaque",
	    "ClusterIP",
	    "IPv4",
	    "IPv6",
	    "IPAddress",
	    "TCP",
	    "UDP",
	    "HTTP",
	    "HTTPS",
	    "http",
	    "https",
	    "GET",
	    "POST",
	    "RequestHeaderModifier",
	    "ResponseHeaderModifier",
	    "RequestRedirect",
	    "URLRewrite",
	    "app",
	    "name",
	    "app.kubernetes.io/name",
	    "app.kubernetes.io/instance",
	    "app.kubernetes.io/component",
	    "app.kubernetes.io/part-of",
	    "app.kubernetes.io/version",
	    "app.kubernetes.io/managed-by",
	    "helm.sh/chart",
	    "Helm",
	    LABEL_SERVICE_NAME,
	    "kubernetes.io/metadata.name",
	    "endpointslice.kubernetes.io/managed-by",
	    "endpointslice-controller.k8s.io",
	};
	if (!text)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (text[0] == words[i][0] && strcmp(text, words[i]) == 0)
			return words[i];
	const struct object *object = reader->object;
	if (object->namespace && strcmp(text, object->namespace) == 0)
		return object->namespace;
	if (object->name && strcmp(text, object->name) == 0)
		return object->name;
	return arena_strdup(reader->arena, text);
}

const char *decode_text(struct decode_reader *reader, const struct node *map, const char *key)
{
	return decode_keep(reader, node_text(map, key));
}

void *decode_array(struct decode_reader *reader, const struct node *list, size_t n, size_t size)
{
	BUG_ON(list && n != list->n); /* the schema's bound does not fit the field */
	return n ? arena_array(reader->arena, n, size) : NULL;
}

const char *decode_ref_namespace(struct decode_reader *reader, const struct node *ref)
{
	const char *namespace = decode_text(reader, ref, "namespace");
	return namespace ? namespace : reader->object->namespace;
}

void decode_parent_ref(struct decode_reader *reader, const struct node *in, struct parent_ref *ret)
{
	ret->group = decode_text(reader, in, "group");
	ret->kind = decode_text(reader, in, "kind");
	ret->name = decode_text(reader, in, "name");
	ret->namespace_given = node_get(in, "namespace") != NULL;
	ret->namespace = decode_ref_namespace(reader, in);
	ret->section_name = decode_text(reader, in, "sectionName");
	ret->port = (uint16_t)node_integer(in, "port", 0);
}

void decode_ref(struct decode_reader *reader, const struct node *in, struct backend_ref *ref)
{
	ref->group = decode_text(reader, in, "group");
	ref->kind = decode_text(reader, in, "kind");
	ref->namespace = decode_ref_namespace(reader, in);
	ref->name = decode_text(reader, in, "name");
	ref->port = (uint16_t)node_integer(in, "port", 0);
}

struct key_value *decode_pairs(struct decode_reader *reader, const struct node *map, uint32_t *ret_n)
{
	struct key_value *pairs = DECODE_ARRAY(reader, map, ret_n, struct key_value);
	for (size_t i = 0; i < *ret_n; i++) {
		pairs[i].key = decode_keep(reader, map->keys[i]);
		pairs[i].value = decode_keep(reader, map->items[i]->text);
	}
	return pairs;
}

const char **decode_texts(struct decode_reader *reader, const struct node *map, const char *key, uint32_t *ret_n)
{
	const struct node *list = node_get(map, key);
	const char **texts = DECODE_ARRAY(reader, list, ret_n, const char *);
	for (size_t i = 0; i < *ret_n; i++)
		texts[i] = decode_keep(reader, list->items[i]->text);
	return texts;
}

void decode_selector(struct decode_reader *reader, const struct node *map, struct label_selector *selector)
{
	selector->match_labels = decode_pairs(reader, node_get(map, "matchLabels"), &selector->n_match_labels);
	const struct node *list = node_get(map, "matchExpressions");
	selector->match_expressions =
	    DECODE_ARRAY(reader, list, &selector->n_match_expressions, struct label_expression);
	for (size_t i = 0; i < selector->n_match_expressions; i++) {
		struct label_expression *expression = &selector->match_expressions[i];
		expression->key = decode_text(reader, list->items[i], "key");
		expression->op = decode_text(reader, list->items[i], "operator");
		expression->values = decode_texts(reader, list->items[i], "values", &expression->n_values);
	}
}

/* ---- metadata ---- */

static const struct schema name_schema = {SCHEMA_STRING, .min = 1, .max = 253};
static const struct schema label_value_schema = {SCHEMA_STRING, .max = 63, .format = &format_label_value};
const struct schema schema_labels = {SCHEMA_MAP, .format = &format_qualified_name, .items = &label_value_schema};

static int check_timestamp(struct schema_walk *walk, const struct node *self)
{
	int64_t seconds;
	if (format_timestamp(self->text, &seconds))
		return 0;
	return schema_fail(walk, self, "", "Invalid value: \"%.80s\": must be a time as RFC 3339 has it", self->text);
}

static const struct schema timestamp_schema = {SCHEMA_STRING, .check = check_timestamp};
static const struct schema generation_schema = {SCHEMA_INTEGER, .max = INT64_MAX};
static const struct schema uid_schema = {SCHEMA_STRING, .max = 128};

static const struct schema_field metadata_fields[] = {
    {"name", &name_schema, SCHEMA_REQUIRED, NULL},
    {"namespace", &schema_namespace, SCHEMA_OPTIONAL, NULL},
    {"uid", &uid_schema, SCHEMA_OPTIONAL, NULL},
    {"generation", &generation_schema, SCHEMA_OPTIONAL, NULL},
    {"creationTimestamp", &timestamp_schema, SCHEMA_OPTIONAL, NULL},
    {"labels", &schema_labels, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema metadata_schema = {SCHEMA_OBJECT, .fields = metadata_fields};
static const struct schema_field head_fields[] = {{"metadata", &metadata_schema, SCHEMA_REQUIRED, NULL},
                                                  {.name = NULL}};
static const struct schema head_schema = {SCHEMA_OBJECT, .fields = head_fields};

/* "group/version" or, for the core group, "version". */
static bool is_version(const struct decode_kind *kind, const char *api_version, uint8_t *ret_version)
{
	const char *group = object_kind_group(kind->kind);
	size_t len = strlen(group);
	if (len && (strncmp(api_version, group, len) != 0 || api_version[len] != '/'))
		return false;
	const char *version = api_version + (len ? len + 1 : 0);
	for (unsigned v = 0; v < VERSION_COUNT; v++) {
		if ((kind->versions >> v & 1) && strcmp(object_version_name((enum object_version)v), version) == 0) {
			*ret_version = v;
			return true;
		}
	}
	return false;
}

static const struct decode_kind *find_kind(const struct node *document, uint8_t *ret_version)
{
	const char *api_version = node_text(document, "apiVersion"), *kind = node_text(document, "kind");
	if (!api_version || !kind)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(decode_kinds); i++)
		if (strcmp(object_kind_name(decode_kinds[i]->kind), kind) == 0)
			return is_version(decode_kinds[i], api_version, ret_version) ? decode_kinds[i] : NULL;
	return NULL;
}

static bool is_gateway_group(const char *api_version)
{
	return strncmp(api_version, GATEWAY_API_GROUP "/", strlen(GATEWAY_API_GROUP "/")) == 0;
}

/* Whether no such kind can be meant by this group but ours: Kubernetes' own groups have no dot or end with k8s.io.
 * Others' (Istio's Gateway, Knative's Service, Linkerd's HTTPRoute) are theirs. */
static bool is_slip(const char *api_version)
{
	size_t len = strcspn(api_version, "/");
	return !api_version[len] || !memchr(api_version, '.', len) ||
	       (len >= 6 && strncmp(api_version + len - 6, "k8s.io", 6) == 0) ||
	       strncmp(api_version, "gateway.net", 11) == 0;
}

static bool is_our_kind(const char *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(decode_kinds); i++)
		if (strcasecmp(object_kind_name(decode_kinds[i]->kind), kind) == 0)
			return true;
	return false;
}

/* Of a document that find_kind() does not know: 0 if it is nothing to us, -EINVAL if it was meant for us. */
static int refuse_kind(const struct node *document, struct err *reterr)
{
	static const char *const not_read[] = {"TLSRoute", "TCPRoute", "UDPRoute"};
	const char *api_version = node_text(document, "apiVersion"), *kind = node_text(document, "kind");
	if (!api_version || !kind)
		return 0;
	if (!is_gateway_group(api_version) && !(is_our_kind(kind) && is_slip(api_version)))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(not_read); i++)
		if (strcmp(kind, not_read[i]) == 0)
			return 0;
	return err_set(reterr, -EINVAL, "no matches for kind \"%.80s\" in version \"%.120s\"", kind, api_version);
}

static void name_subject(const struct node *document, const struct decode_kind *kind, char *out, size_t size)
{
	const struct node *metadata = node_get(document, "metadata");
	const char *name = node_text(metadata, "name"), *namespace = node_text(metadata, "namespace");
	if (!name)
		name = "?";
	if (!object_kind_namespaced(kind->kind))
		snprintf(out, size, "%s %.63s", object_kind_name(kind->kind), name);
	else
		snprintf(out, size, "%s %.63s/%.63s", object_kind_name(kind->kind), namespace ? namespace : "default",
		         name);
}

static int check_name(struct schema_walk *walk, const struct decode_kind *kind, const struct node *metadata)
{
	const struct node *name = node_get(metadata, "name");
	if (!kind->name->matches(name->text))
		return schema_fail(walk, name, "metadata.name", "Invalid value: \"%.80s\": should match '%s'",
		                   name->text, kind->name->pattern);
	bool short_name = kind->name != &format_dns_subdomain;
	if (short_name && strlen(name->text) > 63)
		return schema_fail(walk, name, "metadata.name", "Too long: may not be more than 63 characters");
	return 0;
}

/* ---- two passes ---- */

static void fill_header(struct decode_reader *reader, const struct decode_kind *kind, const struct node *metadata,
                        uint8_t version, struct object *object)
{
	object->refs = 1;
	object->kind = (uint8_t)kind->kind;
	object->version = version;
	const char *namespace = node_text(metadata, "namespace");
	object->namespace = !object_kind_namespaced(kind->kind) ? ""
	                    : namespace                         ? decode_keep(reader, namespace)
	                                                        : "default";
	object->name = decode_text(reader, metadata, "name");
	object->uid = node_get(metadata, "uid") ? decode_text(reader, metadata, "uid") : "";
	object->generation = node_integer(metadata, "generation", 1);
	if (object->generation < 1)
		object->generation = 1;
	const char *created = node_text(metadata, "creationTimestamp");
	if (created && !format_timestamp(created, &object->created))
		BUG_ON("the schema accepted a bad time");
}

static struct object *decode_into(struct arena *arena, const struct decode_kind *kind, const struct node *document,
                                  const struct node *metadata, const struct node *raw, uint8_t version)
{
	struct object *object = arena_alloc(arena, kind->size);
	struct decode_reader reader = {arena, object, node_get(metadata, "labels"), raw};
	fill_header(&reader, kind, metadata, version, object);
	kind->decode(&reader, document, object);
	return object;
}

static struct object *decode_twice(struct arena *scratch, const struct decode_kind *kind, const struct node *document,
                                   const struct node *metadata, const struct node *raw, uint8_t version)
{
	size_t before = arena_used(scratch);
	decode_into(scratch, kind, document, metadata, raw, version);
	size_t size = arena_used(scratch) - before;
	void *block = xmalloc(size);
	struct arena exact;
	arena_fixed(&exact, block, size);
	struct object *object = decode_into(&exact, kind, document, metadata, raw, version);
	BUG_ON(block != (void *)object || arena_used(&exact) != size);
	return object;
}

static int decode_document(struct schema_walk *walk, const struct decode_kind *kind, uint8_t version, bool strict,
                           const struct node *in, struct object **ret)
{
	const struct node *head = schema_apply(walk, &head_schema, in);
	if (!head)
		return -EINVAL;
	const struct node *metadata = node_get(head, "metadata");
	if (check_name(walk, kind, metadata))
		return -EINVAL;
	walk->hash = 0;
	const char *group = object_kind_group(kind->kind);
	walk->strict = strict && (strcmp(group, GATEWAY_API_GROUP) == 0 || strcmp(group, HATCHWAY_GROUP) == 0);
	const struct node *document = schema_apply(walk, kind->schema, in);
	if (!document)
		return -EINVAL;
	*ret = decode_twice(walk->scratch, kind, document, metadata, in, version);
	(*ret)->spec_hash = walk->hash + object_labels_hash(*ret);
	return 1;
}

static int decode_as(const struct node *document, const struct decode_kind *kind, uint8_t version, bool strict,
                     struct object **ret, unsigned *ret_line, struct err *reterr)
{
	char subject[192];
	name_subject(document, kind, subject, sizeof(subject));
	struct arena scratch;
	arena_init(&scratch);
	struct schema_walk walk = {.scratch = &scratch, .subject = subject, .err = reterr};
	int status = decode_document(&walk, kind, version, strict, document, ret);
	if (status < 0 && ret_line)
		*ret_line = walk.line;
	arena_done(&scratch);
	return status;
}

int object_decode(const struct node *document, struct object **ret, unsigned *ret_line, struct err *reterr)
{
	uint8_t version;
	const struct decode_kind *kind = find_kind(document, &version);
	return kind ? decode_as(document, kind, version, false, ret, ret_line, reterr) : 0;
}

int object_decode_manifest(const struct node *document, struct object **ret, unsigned *ret_line, struct err *reterr)
{
	uint8_t version;
	const struct decode_kind *kind = find_kind(document, &version);
	if (kind)
		return decode_as(document, kind, version, true, ret, ret_line, reterr);
	if (ret_line)
		*ret_line = document->line;
	return refuse_kind(document, reterr);
}
