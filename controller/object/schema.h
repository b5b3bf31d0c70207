/* A CustomResourceDefinition's structural schema as static tables, and the walk an API server does with it: prune (or,
 * strict, refuse) unknown fields, prune nulls, fill in defaults, check types, bounds, patterns, enums, unique lists, then the CEL rules (a
 * function per place). The result is a canonical tree, fields in the schema's order, that decoders read without any
 * doubt. Pure; stops at the first error, which names the field and the line. */
#ifndef HATCHWAY_OBJECT_SCHEMA_H
#define HATCHWAY_OBJECT_SCHEMA_H

#include "controller/object/decode.h"
#include "controller/object/format.h"

enum schema_type {
	SCHEMA_STRING,
	SCHEMA_INTEGER,
	SCHEMA_BOOL,
	SCHEMA_INT_OR_STRING,
	SCHEMA_LIST,
	SCHEMA_OBJECT,
	SCHEMA_MAP, /* additionalProperties: any key, values of one schema */
	SCHEMA_ANY  /* presence is all that counts; kept as it is */
};

struct schema_walk;

/* CEL rules of one place. self has its defaults. 0, or what schema_fail() returned. */
typedef int schema_check(struct schema_walk *walk, const struct node *self);

struct schema {
	enum schema_type type;
	int64_t min, max;                  /* characters, value, items or properties; max 0: no bound */
	const struct format *format;       /* STRING; MAP: of the keys */
	const char *const *choices;        /* STRING: the enum, NULL-ended */
	const struct schema *items;        /* LIST, MAP */
	const char *unique;                /* LIST: this field of the items is a key; "": the items themselves are */
	const struct schema_field *fields; /* OBJECT; ended by a name of NULL */
	schema_check *check;
};

enum schema_presence {
	SCHEMA_OPTIONAL,
	SCHEMA_REQUIRED,
	SCHEMA_DEFAULT_EMPTY /* absent means {} for an object and [{}] for a list: their own fields have the defaults */
};

struct schema_field {
	const char *name;
	const struct schema *schema;
	enum schema_presence presence;
	const char *fallback; /* default of a scalar */
};

struct schema_path;

struct schema_walk {
	struct arena *scratch;
	struct schema_path *path;
	const char *subject; /* "HTTPRoute sample/helloworld": begins every error */
	bool strict;         /* a field that no table has is an error, as `kubectl apply` has it; else it is pruned */
	unsigned line;       /* of the error */
	struct err *err;
	uint64_t hash; /* over the canonical tree; map order does not count */
};

/* The canonical tree, or NULL: walk->err and walk->line are set. */
MUST_CHECK const struct node *schema_apply(struct schema_walk *walk, const struct schema *schema,
                                           const struct node *in);

/* Sets the error at the field the walk is in; below ("" or ".name", "[3].port") is added to its path. Returns -EINVAL.
 */
PRINTF_LIKE(4, 5)
int schema_fail(struct schema_walk *walk, const struct node *at, const char *below, const char *fmt, ...);

/* ---- reading trees (canonical or not) ---- */

const struct node *node_get(const struct node *map, const char *key); /* NULL: absent (or map is) */
const char *node_text(const struct node *map, const char *key);       /* NULL: absent */
bool node_is(const struct node *map, const char *key, const char *text);
int64_t node_integer(const struct node *map, const char *key, int64_t absent);
bool node_bool(const struct node *map, const char *key, bool absent);
size_t node_count(const struct node *map, const char *key);  /* items; 0: absent or empty */
bool node_equal(const struct node *a, const struct node *b); /* scalars; NULL equals NULL */

#endif
