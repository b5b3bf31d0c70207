/* What the decoders of all kinds share: the schemas of small pieces, and reading a canonical tree into an object's
 * block. Every decoder runs twice over the same tree, first into scratch to learn the size, then into the object's one
 * block; so decode functions only allocate and copy, and cannot fail. Private to decode*.c. */
#ifndef HATCHWAY_OBJECT_DECODE_READER_H
#define HATCHWAY_OBJECT_DECODE_READER_H

#include "controller/object/schema.h"

struct decode_reader {
	struct arena *arena;
	const struct object *object; /* its header is already filled in */
	const struct node *labels;   /* metadata.labels; NULL */
	const struct node *raw;      /* the document as it came, unchecked */
};

/* A kind: how its document is validated, and how the canonical tree becomes its struct. */
struct decode_kind {
	enum object_kind kind;
	unsigned versions;           /* bits of enum object_version */
	const struct format *name;   /* metadata.name */
	size_t size;                 /* of its struct */
	const struct schema *schema; /* of the whole document, less apiVersion, kind, metadata, status */
	void (*decode)(struct decode_reader *reader, const struct node *document, struct object *object);
};

extern const struct decode_kind decode_namespace, decode_gateway_class, decode_gateway, decode_http_route,
    decode_grpc_route,
    decode_reference_grant, decode_service, decode_endpoint_slice, decode_secret, decode_config_map, decode_parameters,
    decode_backend_tls_policy, decode_listener_set, decode_filter;

/* ---- shared schemas ---- */

extern const struct schema schema_group, schema_kind, schema_object_name, schema_namespace, schema_section_name,
    schema_hostname, schema_port, schema_bool, schema_any_string, schema_any, schema_labels, schema_strings,
    schema_string_list, schema_label_selector, schema_http_filters, schema_grpc_filters;

/* A list item that may carry only the filter x under "type: X": all CEL rules of one filter and of a list of them. */
bool decode_filters_replace_prefix(const struct node *filters, const char *filter);

/* ---- into the block ---- */

/* Copies text unless it is one of the words that occur in nearly every object, or the object's own namespace. */
const char *decode_keep(struct decode_reader *reader, const char *text);
const char *decode_text(struct decode_reader *reader, const struct node *map, const char *key);
/* The map's pairs as key_values; NULL for none. */
struct key_value *decode_pairs(struct decode_reader *reader, const struct node *map, uint32_t *ret_n);
/* The strings of list `key` of map; NULL for none. */
const char **decode_texts(struct decode_reader *reader, const struct node *map, const char *key, uint32_t *ret_n);
void decode_selector(struct decode_reader *reader, const struct node *map, struct label_selector *selector);
/* A parametersRef; NULL if it is not given. */
struct parameters_ref *decode_parameters_ref(struct decode_reader *reader, const struct node *ref,
                                             const char *namespace);
/* What an object that hatchway keeps (or says so) is known by: false, an object of somebody else's. */
bool decode_kept(struct decode_reader *reader, struct kept *kept);
/* The namespace a reference names: the object's own, if it is not given. */
const char *decode_ref_namespace(struct decode_reader *reader, const struct node *ref);
void decode_parent_ref(struct decode_reader *reader, const struct node *in, struct parent_ref *ret);
/* What a backendRef names: not its filters and weight. */
void decode_ref(struct decode_reader *reader, const struct node *in, struct backend_ref *ref);
/* Of the RequestMirrors in a list of filters. */
struct http_mirror *decode_http_mirrors(struct decode_reader *reader, const struct node *list, uint16_t *ret_n);
struct http_filter *decode_http_filters(struct decode_reader *reader, const struct node *list, uint16_t *ret_n);

/* An array for the n items of list (which may be NULL), its length in *ret_n. NULL for none. */
#define DECODE_ARRAY(reader, list, ret_n, type)                                                                         \
	((type *)decode_array((reader), (list), *(ret_n) = (list) ? (list)->n : 0, sizeof(type)))
void *decode_array(struct decode_reader *reader, const struct node *list, size_t n, size_t size);

#endif
