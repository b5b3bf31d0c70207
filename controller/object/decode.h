/* A parsed YAML or JSON document into an object: defaults filled in, the CRD's OpenAPI and CEL rules held, so that a
 * folder behaves as an API server does. Pure. */
#ifndef HATCHWAY_OBJECT_DECODE_H
#define HATCHWAY_OBJECT_DECODE_H

#include "controller/object/object.h"

/* A neutral tree, made by source/ from YAML or JSON. Lives in some scratch arena. */
enum node_type { NODE_NULL, NODE_BOOL, NODE_NUMBER, NODE_STRING, NODE_LIST, NODE_MAP };

struct node {
	enum node_type type;
	unsigned line;      /* 1-based; 0 unknown */
	const char *text;   /* scalars: as written, after unquoting; no NUL inside */
	size_t n;           /* list items, map pairs */
	struct node **items; /* LIST: n items; MAP: n values */
	const char **keys;   /* MAP: n keys, unique */
};

/* 1: *ret is a new object with one reference. 0: a kind (or version) hatchway does not read; *ret untouched.
 * -EINVAL: *reterr says "Kind namespace/name: field.path: what is wrong", *ret_line the line (0 unknown).
 * Objects without metadata.namespace get "default". generation is metadata.generation or 1. */
MUST_CHECK int object_decode(const struct node *document, struct object **ret, unsigned *ret_line, struct err *reterr);

/* The same for what a person wrote, refusing what `kubectl apply` refuses: unknown fields in a Gateway API kind; a kind
 * or version that Gateway API does not have, in its group or in one that looks like a slip of it. 0 also for the Gateway
 * API kinds that hatchway does not read. What an API server delivers is never refused for these: it may be newer. */
MUST_CHECK int object_decode_manifest(const struct node *document, struct object **ret, unsigned *ret_line,
                                      struct err *reterr);

#endif
