/* Who attaches to whom, what is valid, and every condition with its reason: Gateways, their listeners, HTTPRoutes and GRPCRoutes,
 * as the Gateway API judges them. Status documents and the routing table are two readings of it. No word of HAProxy's here, and no
 * error returns: what is wrong with an object is a condition of it.
 *
 * graph_update() judges again only what a dirty node of the store can have changed: a route by itself, its Services,
 * foreign grants, namespace and Gateways; Gateways (few) all together, since they compete for ports. */
#ifndef HATCHWAY_GRAPH_GRAPH_H
#define HATCHWAY_GRAPH_GRAPH_H

#include "controller/graph/ca.h"
#include "controller/graph/certificate.h"
#include "controller/graph/condition.h"
#include "controller/store/store.h"

#include <uthash.h>

#define GRAPH_LISTENERS 64 /* of one object: the CRDs' limit, and a route's bit mask */
#define GRAPH_MERGED 256   /* of a Gateway with its ListenerSets: what comes behind these is refused */

struct graph_options {
	const char *controller_name;
	const char *implicit_class;           /* NULL */
	const char *const *addresses;         /* canonical text */
	size_t n_addresses;
	const uint16_t *ports, *bind_ports;   /* ports[i] is bound as bind_ports[i]; others as themselves */
	size_t n_ports;
	bool implicit_namespaces;
	uint16_t pool_base;       /* a cluster: listeners are bound from here on, addresses are those of Services; 0: a folder */
	const char *pods_namespace, *pods_service; /* the Service of hatchway's own Pods; NULL */
};

/* So many ports at most: what a targetPort edited by hand can make HAProxy bind. As many for TLS follow. */
#define GRAPH_POOL 4096

struct listener_state {
	const struct listener *spec; /* in the object of owner that was judged */
	const struct node *owner;    /* the Gateway, or a ListenerSet */
	struct condition accepted, conflicted, resolved, programmed;
	uint32_t takes;    /* bit by enum object_kind: the routes that may be attached */
	bool serving;      /* the table has it */
	uint16_t bind_port; /* serving: where HAProxy listens */
	uint32_t attached; /* routes whose Accepted is True */
	struct graph_certificate **certificates; /* with TLS: those that can be served; references */
	size_t n_certificates;
	/* With TLS: whom clients' certificates must come from; none: they are not asked. References. */
	struct graph_ca **cas;
	size_t n_cas;
	bool any_client; /* they are asked, and whatever they show will do */
};

struct gateway_state {
	struct node *node;
	struct gateway *gateway; /* the version judged; a reference */
	uint32_t epoch;          /* of the counts: routes counted in another epoch are not in them */
	struct condition accepted, programmed, resolved; /* resolved: COND_NONE without spec.tls.backend */
	struct graph_certificate *client; /* shown to servers with TLS; NULL: none. A reference */
	char (*binds)[48];       /* addresses bound, canonical; "" = every address, as ever in a cluster */
	size_t n_binds;
	struct set_state **sets; /* that refer to it, in the order of their precedence; their nodes' */
	size_t n_sets;
	size_t n_own, n_listeners; /* the Gateway's own, then those of the ListenerSets it lets in, set by set */
	struct listener_state listeners[];
};

/* A ListenerSet whose Gateway is ours. */
struct set_state {
	struct node *node;
	struct listener_set *set; /* the version judged; a reference */
	struct gateway_state *gateway;
	struct condition accepted, programmed;
	size_t first, n; /* its listeners among the Gateway's; none: the Gateway does not let it in */
	bool stale;      /* while sets are judged */
};

struct parent_state {
	struct condition accepted; /* COND_NONE: the parentRef names no Gateway of ours, nor a ListenerSet of one */
	uint32_t epoch;            /* counted in this epoch of the Gateway; 0: not counted */
	uint64_t listeners;        /* attached to these of the Gateway or ListenerSet */
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

static inline struct set_state *node_set(const struct node *node)
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
	bool sets;        /* Gateways have attachedListenerSets */
	bool experimental; /* the channel: its fields are there, too */
};

/* What the API server answered to a Gateway's infrastructure. */
struct graph_said {
	UT_hash_handle hh;
	char *text;
	char gateway[]; /* "namespace/name" */
};

struct graph {
	struct graph_options options;
	struct graph_release release; /* a folder's: the newest */
	struct store *store;
	struct node_list gateways; /* of our classes; the oldest first */
	struct node_list sets;     /* ListenerSets with a state */
	struct node_list kept;     /* Services hatchway keeps, or with EndpointSlices it keeps; in no order */
	struct graph_said *said;
	bool leaving;              /* this Pod ends */
	uint32_t epoch;
	uint64_t infra_version;    /* moves when what is wanted of Services and their EndpointSlices, or is there, may have */
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
/* And, of a Gateway, its ListenerSets. */
void graph_touch_whole(struct node_list *status, struct node *node);
/* The same for the Gateways and ListenerSets a route is attached to. */
void graph_touch_parents(const struct graph *graph, const struct route_state *state, struct node_list *status);

enum class_verdict { CLASS_FOREIGN, CLASS_OURS, CLASS_REFUSED };
enum class_verdict graph_class(const struct graph *graph, const char *name);
/* Of an object, for its status: the Accepted condition, and its message if it is not the kind's own (may be NULL); false:
 * a class of another controller. */
bool graph_class_condition(const struct graph *graph, const struct gateway_class *class, enum condition_id *ret,
                           struct buf *message);

/* ---- service.c: a Gateway's own Service, in a cluster ---- */

/* As the API server has it, if it is hatchway's. NULL: there is none, or (*ret_foreign) it is somebody else's. */
const struct service *graph_service(const struct graph *graph, const struct gateway *gateway, bool *ret_foreign);
/* Where the Service leads what arrives at its port; 0: it has no such port. */
uint16_t graph_target_port(const struct service *service, uint16_t port);
/* The parameters a reference names; false: it names none, and `message` (may be NULL) says why. ref NULL: true, NULL. */
bool graph_parameters(const struct graph *graph, const struct parameters_ref *ref, const struct parameters **ret,
                      struct buf *message);
/* What the API server answered when the Gateway's infrastructure was written; text NULL: it took it. True: it is new. */
bool graph_say(struct graph *graph, const char *namespace, const char *name, const char *text);
const char *graph_said(const struct graph *graph, const char *namespace, const char *name); /* NULL: nothing */

/* version NULL: not known, why. Touches the classes and Gateways, whose status tells. */
void graph_set_release(struct graph *graph, const char *version, bool experimental, const char *why,
                       struct node_list *status);

/* SupportedVersion, of every class of ours. */
void graph_release_condition(const struct graph *graph, struct condition *ret);

/* The port of the Service that a backendRef of the route may be sent to, or NULL: then *ret_why is the condition and
 * `message` (may be NULL) has the sentence. */
const struct service_port *graph_ref(const struct graph *graph, const struct object *route, const struct backend_ref *ref,
                                     enum condition_id *ret_why, struct buf *message);

/* A port of a Service that a backendRef of the route is in fact sent to: NULL also where a BackendTLSPolicy says how, and it
 * cannot be done (*ret_policy). Such a reference answers 500. */
const struct service_port *graph_ref_served(const struct graph *graph, const struct object *route,
                                            const struct backend_ref *ref, const struct node **ret_policy);

/* What the Gateway asks of clients with TLS at the port; NULL: nothing. */
const struct client_validation *graph_validation(const struct gateway *gateway, uint16_t port);
/* Some listener lets in clients whatever their certificates are, though it has been told whom they come from. */
bool graph_insecure(const struct gateway_state *state);

/* What a reference to certificates of authorities can be no use for, with its reasons. */
struct graph_ca_reasons {
	enum condition_id kind, invalid;
};
/* NULL: `why` (may be NULL; the first one stays) says so. field: the reference's own. */
struct graph_ca *graph_find_ca(const struct graph *graph, const struct certificate_ref *ref, const char *field,
                               const struct graph_ca_reasons *reasons, struct condition *why);

/* ---- policy.c: BackendTLSPolicy ---- */

/* The one that says how this port of a Service is spoken to; NULL: in clear. */
struct node *graph_policy(const struct graph *graph, const struct object *service, const struct service_port *port);
/* Can it be done as the policy says? pem (may be NULL) is given the authorities; nothing: the system's. */
bool graph_policy_good(const struct graph *graph, const struct node *policy, struct buf *pem);
/* For its status; the same for all ancestors. */
void graph_policy_judge(const struct graph *graph, const struct node *policy, struct condition *accepted,
                        struct condition *resolved);
/* The Gateways with routes to its Services, sorted: no more than status has room for. */
void graph_policy_ancestors(const struct graph *graph, const struct node *policy, struct node_list *ret);

/* ---- filter.c: HatchwayFilter ---- */

/* The text of a network, its address without what is behind the prefix; false: it is none. */
#define GRAPH_NETWORK 64
bool graph_network(const char *text, char ret[GRAPH_NETWORK]);
/* For its status. */
void graph_filter_judge(const struct graph *graph, const struct own_filter *filter, struct condition *accepted);
/* The one that filters[i] of the rule, an ExtensionRef, names. NULL: it is no use, *ret_why, and `message` (may be NULL) has the
 * sentence. */
const struct own_filter *graph_filter(const struct graph *graph, const struct object *route, const struct http_rule *rule, size_t i,
                                      enum condition_id *ret_why, struct buf *message);
/* "namespace/name": whose requests it counts, and what its passwords are salted with. */
const char *graph_filter_scope(struct arena *arena, const struct own_filter *filter);
/* All that the rule names are of use; else it answers 500. */
bool graph_rule_filters_good(const struct graph *graph, const struct object *route, const struct http_rule *rule);

/* users.c: of a filter with basicAuth, sorted, as table_auth has them; made once for the filter and its Secret as they are. */
struct graph_users {
	struct arena arena;
	const char **list;
	size_t n;          /* 0: the Secret is no use, see error */
	const char *error; /* the sentence */
};
const struct graph_users *graph_users(const struct graph *graph, const struct own_filter *filter);
void graph_users_free(struct graph_users *users); /* ignores NULL */

/* ---- listener_set.c: ListenerSet ---- */

/* What a parentRef leads to: n listeners of the Gateway from `first` on. gateway NULL: nothing of ours. */
struct graph_parent {
	struct node *node;
	struct gateway_state *gateway;
	size_t first, n;
};
struct graph_parent graph_parent(const struct graph *graph, const struct parent_ref *ref);
/* Of the object, a Gateway or a ListenerSet. */
struct graph_parent graph_parent_of(const struct node *node);
/* ListenerSets with Accepted True. */
uint32_t graph_attached_sets(const struct gateway_state *state);

/* What hatchway does not do of a rule yet, as "field: sentence"; false: nothing. Such a rule answers 500. */
bool graph_rule_unsupported(const struct http_rule *rule, struct buf *message);
/* The same of a match's patterns. */
bool graph_match_bad(const struct http_match *match, struct buf *message);
bool graph_match_dropped(const struct route_state *state, size_t match);
/* The whole rule is not served: something unsupported, or a match whose pattern is no use. It answers 500. */
bool graph_rule_dropped(const struct route_state *state, size_t rule);
#define DROPPED_RULE "Dropped Rule (it answers 500): " /* how messages of PartiallyInvalid begin */

/* Who wins between objects that want the same: the oldest, then the first by "namespace/name". < 0: a. */
int graph_older(const struct object *a, const struct object *b);

/* The text of an address as inet_ntop() writes it; false: not an IP address. ret has room for 48. */
bool graph_address(const char *text, char *ret);

void graph_dump(const struct graph *graph, struct buf *out);

/* From an object to one of the core group. */
struct graph_reference {
	const char *from_kind, *from_namespace, *to_kind, *to_namespace, *to_name;
};
/* Does it stay in its namespace, or does a ReferenceGrant of the other one allow it? */
bool graph_granted(const struct graph *graph, const struct graph_reference *reference);

/* The listener ends TLS: its port is no one's for HTTP. */
bool graph_listener_tls(const struct listener *listener);
/* The listener that a hostname belongs to on a port: of those that serve, the one with the most specific hostname that
 * covers it. SIZE_MAX: none. */
size_t graph_listener_owner(const struct gateway_state *gateway, uint16_t port, const char *hostname);

/* ---- between the files of this room ---- */

/* Judges all Gateways of ours; touched ones are marked in delta, their routes queued. */
void graph_gateways(struct graph *graph, struct graph_delta *delta);
void gateway_state_free(struct gateway_state *state);
void set_state_free(struct set_state *state);
/* listener_set.c: those that refer to the Gateway, in order, each with as many listeners as are let in. */
struct set_state **graph_sets_new(const struct graph *graph, const struct node *gateway, size_t *ret_n);
/* Their conditions, when the Gateway's are judged. */
void graph_judge_sets(struct gateway_state *state);
/* Puts the new verdicts in the place of the old ones, and takes what no Gateway of ours has any more. */
void graph_settle_sets(struct graph *graph, struct gateway_state **states, size_t n, struct graph_delta *delta);
/* Which number it is in its object. */
size_t graph_listener_index(const struct gateway_state *state, size_t i);
/* What could be served if its Gateway is. */
bool graph_listener_valid(const struct listener_state *s);
/* route.c: does this, of an object of namespace `own`, let in what is in the namespace? */
bool graph_namespace_allowed(const struct graph *graph, enum from_namespaces from, const struct label_selector *selector,
                             const char *own, const char *namespace);
void graph_queue_routes(struct node *node, struct graph_delta *delta);
/* pool.c: gives ports of the pool to all listeners that can serve; states[] by age. */
void graph_pool(const struct graph *graph, struct gateway_state **states, size_t n);
/* service.c: spec.addresses, as a cluster has it; then Programmed, by the Service there is. */
void graph_judge_address_types(struct gateway_state *state);
void graph_judge_assigned(const struct graph *graph, struct gateway_state *state);
/* policy.c: those for a Service; those for the Services of a route, its ancestors may have changed. */
void graph_touch_policies(const struct node *service, struct node_list *status);
void graph_touch_route_policies(const struct graph *graph, const struct http_route *route, struct node_list *status);
/* listener_tls.c: spec.tls.backend.clientCertificateRef */
void graph_judge_client_certificate(const struct graph *graph, struct gateway_state *state);
/* listener_tls.c: ResolvedRefs, and what can be served. */
void graph_judge_certificates(const struct graph *graph, struct gateway_state *state, size_t l);
void graph_certificates_done(struct listener_state *s);
/* client_validation.c: ResolvedRefs, and whom clients' certificates must come from. False: they must, and it is not known. */
bool graph_judge_clients(const struct graph *graph, struct gateway_state *state, size_t l);
void graph_cas_done(struct listener_state *s);
bool graph_same_cas(const struct listener_state *a, const struct listener_state *b);
bool graph_same_certificates(const struct listener_state *a, const struct listener_state *b);
/* May this listener be served, as far as its own object tells? */
bool graph_listener_good(const struct gateway_state *state, size_t i);
void graph_route(struct graph *graph, struct node *node, struct graph_delta *delta);
void route_state_free(struct route_state *state);
void graph_queue(struct node_list *list, struct node *node);

#endif
