/* Owns Namespace, Secret and ConfigMap. Secrets' values are never part of a message. */
#include "controller/object/decode_reader.h"

enum { versions = 1 << VERSION_V1 };

/* ---- Namespace ---- */

static const struct schema_field no_fields[] = {{.name = NULL}};
static const struct schema namespace_schema = {SCHEMA_OBJECT, .fields = no_fields};

static void decode_namespace_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct namespace *namespace = (struct namespace *)object;
	namespace->labels = decode_pairs(reader, reader->labels, &namespace->n_labels);
}

const struct decode_kind decode_namespace = {
    KIND_NAMESPACE,    versions, &format_dns_label, sizeof(struct namespace), &namespace_schema,
    decode_namespace_into,
};

/* ---- data ---- */

#define DATA_CEILING (1024 * 1024) /* the API server's, over all values */

static int check_data_size(struct schema_walk *walk, const struct node *self)
{
	size_t size = 0;
	for (size_t i = 0; i < self->n; i++)
		size += strlen(self->items[i]->text);
	if (size > DATA_CEILING / 3 * 4)
		return schema_fail(walk, self, "", "Too long: may not be more than %d bytes", DATA_CEILING);
	return 0;
}

static int check_data_keys(struct schema_walk *walk, const struct node *self)
{
	for (size_t i = 0; i < self->n; i++)
		if (strlen(self->keys[i]) > 253 || strcmp(self->keys[i], ".") == 0 ||
		    strncmp(self->keys[i], "..", 2) == 0)
			return schema_fail(walk, self->items[i], "", "Invalid value: \"%.80s\": not a valid key",
			                   self->keys[i]);
	return check_data_size(walk, self);
}

static int check_base64(struct schema_walk *walk, const struct node *self)
{
	if (format_base64(self->text, NULL) < 0)
		return schema_fail(walk, self, "", "Invalid value: must be base64");
	return 0;
}

static const struct schema base64_schema = {SCHEMA_STRING, .check = check_base64};
static const struct schema bytes_schema = {SCHEMA_MAP, .format = &format_data_key, .items = &base64_schema,
                                           .check = check_data_keys};
static const struct schema texts_schema = {SCHEMA_MAP, .format = &format_data_key, .items = &schema_any_string,
                                           .check = check_data_keys};

static void decode_item(struct decode_reader *reader, const char *key, const char *text, bool base64,
                        struct data_item *item)
{
	BUG_ON(!item);
	item->key = decode_keep(reader, key);
	item->size = base64 ? (size_t)format_base64(text, NULL) : strlen(text);
	char *bytes = arena_alloc(reader->arena, item->size + 1);
	if (base64)
		(void)format_base64(text, bytes);
	else
		memcpy(bytes, text, item->size);
	item->bytes = bytes;
}

/* The values of `encoded` (base64) and of `plain`; what plain gives replaces what encoded does. */
static struct data_item *decode_data(struct decode_reader *reader, const struct node *encoded, const struct node *plain,
                                     uint32_t *ret_n)
{
	size_t room = (encoded ? encoded->n : 0) + (plain ? plain->n : 0), n = 0;
	struct data_item *items = room ? arena_array(reader->arena, room, sizeof(*items)) : NULL;
	for (size_t i = 0; encoded && i < encoded->n; i++)
		if (!node_get(plain, encoded->keys[i]))
			decode_item(reader, encoded->keys[i], encoded->items[i]->text, true, &items[n++]);
	for (size_t i = 0; plain && i < plain->n; i++)
		decode_item(reader, plain->keys[i], plain->items[i]->text, false, &items[n++]);
	*ret_n = n;
	return items;
}

/* ---- Secret ---- */

static int check_secret(struct schema_walk *walk, const struct node *self)
{
	static const char *const tls_keys[] = {"tls.crt", "tls.key"};
	if (!node_is(self, "type", "kubernetes.io/tls"))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(tls_keys); i++) {
		if (node_get(node_get(self, "data"), tls_keys[i]) ||
		    node_get(node_get(self, "stringData"), tls_keys[i]))
			continue;
		char below[32];
		snprintf(below, sizeof(below), "data[%s]", tls_keys[i]);
		return schema_fail(walk, self, below, "Required value");
	}
	return 0;
}

static const struct schema_field secret_fields[] = {
    {"type", &schema_any_string, SCHEMA_OPTIONAL, "Opaque"},
    {"data", &bytes_schema, SCHEMA_OPTIONAL, NULL},
    {"stringData", &texts_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema secret_schema = {SCHEMA_OBJECT, .fields = secret_fields, .check = check_secret};

static void decode_secret_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct secret *secret = (struct secret *)object;
	secret->type = decode_text(reader, document, "type");
	secret->data =
	    decode_data(reader, node_get(document, "data"), node_get(document, "stringData"), &secret->n_data);
}

const struct decode_kind decode_secret = {
    KIND_SECRET, versions, &format_dns_subdomain, sizeof(struct secret), &secret_schema, decode_secret_into,
};

/* ---- ConfigMap ---- */

static int check_config_map(struct schema_walk *walk, const struct node *self)
{
	const struct node *data = node_get(self, "data"), *binary = node_get(self, "binaryData");
	for (size_t i = 0; binary && i < binary->n; i++)
		if (node_get(data, binary->keys[i]))
			return schema_fail(walk, binary->items[i], "binaryData",
			                   "Invalid value: \"%.80s\": duplicate of key "
			                   "present in data",
			                   binary->keys[i]);
	return 0;
}

static const struct schema_field config_map_fields[] = {
    {"data", &texts_schema, SCHEMA_OPTIONAL, NULL},
    {"binaryData", &bytes_schema, SCHEMA_OPTIONAL, NULL},
    {.name = NULL},
};
static const struct schema config_map_schema = {SCHEMA_OBJECT, .fields = config_map_fields, .check = check_config_map};

static void decode_config_map_into(struct decode_reader *reader, const struct node *document, struct object *object)
{
	struct config_map *map = (struct config_map *)object;
	map->data = decode_data(reader, node_get(document, "binaryData"), node_get(document, "data"), &map->n_data);
}

const struct decode_kind decode_config_map = {
    KIND_CONFIGMAP,         versions, &format_dns_subdomain, sizeof(struct config_map), &config_map_schema,
    decode_config_map_into,
};
