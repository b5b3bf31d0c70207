/* Who attaches to whom, what is valid, and every condition with its reason: Gateways, their listeners and HTTPRoutes, as the
 * Gateway API judges them. Status documents and the routing table are two readings of it. No word of HAProxy's here, and no
 * error returns: what is wrong with an object is a condition of it.
 *
 * graph_update() judges again only what a dirty node of the store can have changed: a route by itself, its Services,
 * foreign grants, namespace and Gateways; Gateways (few) all together, since they compete for ports. */
#ifndef HATCHWAY_GRAPH_GRAPH_H
#define HATCHWAY_GRAPH_GRAPH_H

#include "controller/graph/condition.h"
#include "controller/store/store.h"

#define GATEWAY_API_GROUP "gateway.networking.k8s.io"
#define GRAPH_LISTENERS 64 /* the CRD's limit, and a route's bit mask */

struct graph_options {
	const char *controller_name;
	const char *implicit_class;           /* NULL */
	const char *const *addresses;         /* canonical text */
	size_t n_addresses;
	const uint16_t *ports, *bind_ports;   /* ports[i] is bound as bind_ports[i]; others as themselves */
	size_t n_ports;
	bool implicit_namespaces;
};

uint16_t graph_bind_port(const struct graph_options *options, uint16_t port);

struct listener_state {
	struct condition accepted, conflicted, resolved, programmed;
	bool http;         /* takes HTTPRoutes */
	bool serving;      /* the table has it */
	uint32_t attached; /* routes whose Accepted is True */
};

struct gateway_state {
	struct node *node;
	struct gateway *gateway; /* the version judged; a reference */
	uint32_t epoch;          /* of the counts: routes counted in another epoch are not in them */
	struct condition accepted, programmed;
	char (*binds)[48];       /* addresses asked for, canonical; "" = every address */
	size_t n_binds;
	size_t n_listeners;
	struct listener_state listeners[];
};

struct parent_state {
	struct condition accepted; /* COND_NONE: the parentRef names no Gateway of ours */
	uint32_t epoch;            /* counted in this epoch of the Gateway; 0: not counted */
	uint64_t listeners;        /* attached to these */
};

struct route_state {
	struct http_route *route; /* the version judged; a reference */
	struct condition resolved, partial;
	uint8_t *dropped;         /* bit per match, counted through all rules: its pattern is no use. NULL: none */
	bool ours;                /* some parentRef names a Gateway of ours */
	uint16_t n_parents;
	struct parent_state parents[]; /* as route.parent_refs */
};

static inline struct gateway_state *node_gateway(const struct node *node)
{
	return node ? node->graph : NULL;
}

static inline struct route_state *node_route(const struct node *node)
{
	return node ? node->graph : NULL;
}

/* Of which release of the Gateway API the cluster's CRDs are. */
struct graph_release {
	char version[64]; /* "": not known */
	char why[256];    /* not */
	bool supported;
	bool features;    /* GatewayClasses have supportedFeatures */
};

struct graph {
	struct graph_options options;
	struct graph_release release; /* a folder's: the newest */
	struct store *store;
	struct node_list gateways; /* of our classes; the oldest first */
	uint32_t epoch;
};

/* What an update judged anew. Nodes may have lost object and state. */
struct graph_delta {
	struct node_list gateways; /* whose listeners, or service of them, changed */
	struct node_list routes;
	struct node_list services; /* themselves or their EndpointSlices */
	struct node_list *status;  /* appended to, each once (NODE_STATUS): whose status may have changed */
};

void graph_init(struct graph *graph, const struct graph_options *options, struct store *store);
void graph_done(struct graph *graph);
void graph_update(struct graph *graph, struct graph_delta *delta);
void graph_delta_done(struct graph_delta *delta);

/* Appends the node to the list that status works through. */
void graph_touch(struct node_list *status, struct node *node);
/* The same for the Gateways a route is attached to. */
void graph_touch_parents(const struct graph *graph, const struct route_state *state, struct node_list *status);

enum class_verdict { CLASS_FOREIGN, CLASS_OURS, CLASS_REFUSED };
enum class_verdict graph_class(const struct graph *graph, const char *name);
/* Of an object, for its status: the Accepted condition; false: a class of another controller. */
bool graph_class_condition(const struct graph *graph, const struct gateway_class *class, enum condition_id *ret);

/* version NULL: not known, why. Touches the classes that are ours, whose status tells. */
void graph_set_release(struct graph *graph, const char *version, const char *why, struct node_list *status);

/* SupportedVersion, of every class of ours. */
void graph_release_condition(const struct graph *graph, struct condition *ret);

/* The port of the Service that a backendRef of a route in `namespace` may be sent to, or NULL: then *ret_why is the
 * condition and `message` (may be NULL) has the sentence. */
const struct service_port *graph_ref(const struct graph *graph, const char *namespace, const struct backend_ref *ref,
                                     enum condition_id *ret_why, struct buf *message);

/* What hatchway does not do of a rule yet, as "field: sentence"; false: nothing. Such a rule answers 500. */
bool graph_rule_unsupported(const struct http_rule *rule, struct buf *message);
bool graph_match_dropped(const struct route_state *state, size_t match);
/* The whole rule is not served: something unsupported, or a match whose pattern is no use. It answers 500. */
bool graph_rule_dropped(const struct route_state *state, size_t rule);
#define DROPPED_RULE "Dropped Rule (it answers 500): " /* how messages of PartiallyInvalid begin */

/* Who wins between objects that want the same: the oldest, then the first by "namespace/name". < 0: a. */
int graph_older(const struct object *a, const struct object *b);

/* The text of an address as inet_ntop() writes it; false: not an IP address. ret has room for 48. */
bool graph_address(const char *text, char *ret);

void graph_dump(const struct graph *graph, struct buf *out);

/* ---- between the files of this room ---- */

/* Judges all Gateways of ours; touched ones are marked in delta, their routes queued. */
void graph_gateways(struct graph *graph, struct graph_delta *delta);
void gateway_state_free(struct gateway_state *state);
void graph_route(struct graph *graph, struct node *node, struct graph_delta *delta);
void route_state_free(struct route_state *state);
void graph_queue(struct node_list *list, struct node *node);

#endif
