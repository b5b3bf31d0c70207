/* The newest version of every object, and who refers to whom.
 *
 * A node is an object's place, (kind, namespace, name). It exists while the object does, and while anything refers to it:
 * a Service that does not exist yet has a node with the routes that wait for it. Edges lead from the referrer to what it
 * refers to and are found from both ends, so a change reaches its dependents without a search:
 *
 *   HTTPRoute, GRPCRoute → Gateway, ListenerSet, Service, its Namespace, the grants of a foreign namespace,  users of the target
 *     HatchwayFilters
 *   Gateway → GatewayClass, its Service, its parameters, the Secrets of its listeners   users of the target
 *     and its own, ConfigMaps (whom clients come from), the grants of a foreign namespace
 *   ListenerSet → its Gateway, its Namespace, the Secrets of its listeners              users of the target
 *   GatewayClass → its parameters, HatchwayFilter → its Secret                          users of the target
 *   EndpointSlice → Service (by label), ReferenceGrant → the grants of its namespace    parts of the target
 *   BackendTLSPolicy → Services, ConfigMaps                                             policies of the target
 *
 * "The grants of a namespace" is the node of kind ReferenceGrant with that namespace and the name "", which no object has.
 * Knows which fields are references; never what they mean. */
#ifndef HATCHWAY_STORE_STORE_H
#define HATCHWAY_STORE_STORE_H

#include "controller/object/object.h"
#include "hatchway/base/hashed.h"

struct node;

struct edge {
	struct node *from, *to;
	struct edge *next;  /* the next edge to `to`, of the same role */
	struct edge **link; /* what points to this one */
};

enum edge_role { EDGE_USER, EDGE_PART, EDGE_POLICY, EDGE_ROLES };

enum node_flags {
	NODE_OBJECT = 1,  /* dirty: the object changed, came or went */
	NODE_PARTS = 2,   /* dirty: a part changed, came or went */
	NODE_QUEUED = 4,  /* is in store.dirty */
	NODE_IN_DELTA = 8,     /* is in the lists of graph's delta */
	NODE_STATUS = 16, /* is in status' list of what may have changed */
	NODE_KEPT = 32,   /* of a Service: is in graph's list of those that hatchway keeps, or that have such parts */
	NODE_CHANGING = 32, /* the same bit of a Gateway: a change of it is on its way to the proxy */
	NODE_AGAIN = 64,  /* its status is to be given even if it has not */
	NODE_POLICY = 128, /* dirty: a policy of it changed, came or went */
};

struct node {
	struct hashed hashed; /* by kind, namespace and name */
	uint16_t n_out;
	uint8_t kind, flags;
	struct object *object; /* newest; NULL: none */
	const char *namespace, *name; /* the object's; without one, a block of the node's own at `namespace` */
	struct edge *out;      /* n_out in one block */
	union {
		struct edge only; /* of a leaf, whose block ends here: `out` */
		struct {
			struct edge *in[EDGE_ROLES];
			/* What later rooms keep about the object; while one is set the node stays. */
			void *graph, *compile, *status;
		};
	};
};

/* Of a kind that nothing refers to, that refers to one thing at most, and no room keeps anything about. */
static inline bool node_is_leaf(const struct node *node)
{
	return node->kind == KIND_ENDPOINTSLICE;
}

struct node_list {
	struct node **items;
	size_t n, cap;
};

void node_list_add(struct node_list *list, struct node *node);
void node_list_sort(struct node_list *list); /* by kind, namespace, name */
void node_list_done(struct node_list *list);
int node_cmp(const struct node *a, const struct node *b);

struct store {
	struct hashed_set nodes;
	struct node_list dirty; /* since store_clean() */
	size_t n_objects[KIND_COUNT];
};

void store_init(struct store *store);
void store_done(struct store *store);

/* Takes the reference over. An object that says nothing new is dropped. */
void store_put(struct store *store, struct object *object);
void store_delete(struct store *store, enum object_kind kind, const char *namespace, const char *name);

/* NULL: neither such an object nor a reference to it. */
struct node *store_find(const struct store *store, enum object_kind kind, const char *namespace, const char *name);

/* Nothing is dirty any more; nodes that nobody needs are freed. */
void store_clean(struct store *store);
/* Frees the node if nobody needs it. */
void store_release(struct store *store, struct node *node);

/* Every node of the kind that has an object, sorted. For dumps: it walks everything. */
void store_list(const struct store *store, enum object_kind kind, struct node_list *ret);

#endif
