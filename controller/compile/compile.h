/* Graph → routing table. Keeps, beside the table, who contributes to which unit, so that an update compiles only the
 * hosts, rules and backends it touches:
 *
 *   port      an address and port of one Gateway;                → TABLE_LISTENER
 *             with TLS: and one listener, which SNI chooses       → TABLE_CERTIFICATE
 *   host      a hostname on a port; listeners' hostnames always, → TABLE_HOST
 *             others while a route is a member
 *   route     its memberships in hosts, its rules                → TABLE_RULE, "namespace/route/index[@listener]",
 *                                                                  of a GRPCRoute "namespace/route/grpc-index"
 *   backend   a Service port that some rule sends requests to    → TABLE_BACKEND, "namespace.service:port[-crt<digest>][-grpc]"
 *             (of a Gateway with a client certificate: its own);
 *             with TLS: whom to believe, what to show           → TABLE_CA, TABLE_CERTIFICATE
 *
 * Isolation of listeners: a hostname belongs to the listener with the most specific hostname that covers it; a route
 * gets only those of its hostnames that belong to a listener it is attached to. So no two listeners share a host, and the
 * next wider host of the same listener (falls_to) is simply the next wider one that exists, up to the listener's own.
 *
 * Precedence by hostname (HTTPRouteSpec.hostnames) is that of the routes' own hostnames. On a listener's own host, routes
 * for "a.b", "*.b" and no hostname may meet: each rank is a unit of its own there and falls to the next, the first under
 * the host's pattern, the others under patterns that no request asks for.
 *
 * GRPCRoutes and HTTPRoutes are never merged (GRPCRouteRule.matches): where both stand on one host, those for gRPC are a
 * rank of their own just above, and see requests of gRPC's content type only. A host without HTTPRoutes gives its GRPCRoutes
 * every request, and so needs no test. */
#ifndef HATCHWAY_COMPILE_COMPILE_H
#define HATCHWAY_COMPILE_COMPILE_H

#include "controller/graph/graph.h"
#include "hatchway/table.h"

#include <uthash.h>

/* rank: how specific the route's own hostname is, of which the host's is the intersection with the listener's: all of
 * them cover the host, so the longer is the narrower. Twice that, and 1 more for a GRPCRoute. */
struct membership {
	struct host *host;
	struct node *route;
	struct membership *next, **link; /* of the host */
	uint16_t rank;
};

/* Routes that joined, left or changed on a host since it was built; only while it is queued. */
#define TOUCHED 8

struct touched {
	size_t n; /* more than TOUCHED: too many to list */
	const struct node *routes[TOUCHED];
};

struct host {
	struct hashed hashed; /* by pattern, in its port */
	bool root;            /* a listener's own hostname */
	bool misdirected;     /* with TLS: the hostname of another listener, whose connections are others: 421 */
	bool exists;          /* the table has it */
	bool queued;
	struct port *port;
	struct membership *members;
	struct host *falls_to;
	struct touched *touched;
	uint16_t *ranks; /* of the members in the table, the highest first; NULL while they have one rank at most */
	size_t n_ranks;
	char pattern[];
};

struct port {
	UT_hash_handle hh;    /* by key, "80" or "10.0.0.1:80"; in a cluster "20000", the bind port; with TLS "443@name", of a ListenerSet
	                         "443@namespace:set:name" */
	struct node *gateway; /* NULL: nobody's, about to go */
	struct hashed_set hosts;
	uint16_t port, bind_port;
	bool roots_changed;
	bool tls;
	size_t listener;      /* with TLS: the one of the Gateway */
	char address[48];
	char key[700];
};

struct backend {
	struct node *service;
	struct backend *next; /* of the Service: node->compile */
	struct graph_certificate *client; /* shown to servers with TLS; NULL: none. A reference */
	uint32_t uses;
	uint16_t port;
	bool grpc; /* for GRPCRoutes */
	bool queued;
	char key[];
};

/* node->compile of a Gateway. */
struct gateway_ports {
	size_t n;
	struct port *ports[];
};

/* node->compile of a route. */
struct route_units {
	struct http_route *route; /* the version compiled; a reference */
	bool own_backends;        /* of some Gateway that shows a certificate to servers: a unit of each rule for each listener */
	size_t n_members;
	struct membership members[];
};

/* A certificate or CA. Units are shared: uses are by TABLE_LISTENERs and TABLE_BACKENDs. */
struct certificate {
	UT_hash_handle hh;
	uint32_t uses;
	enum table_kind kind;
	char key[40];
};

struct compile {
	const struct graph *graph;
	struct table *table;
	struct port *ports;
	struct host **queued_hosts;
	struct backend **queued_backends;
	struct certificate *certificates;
	uint32_t n_misdirected; /* hosts */
	size_t n_queued_hosts, cap_queued_hosts, n_queued_backends, cap_queued_backends;
};

void compile_init(struct compile *compile, const struct graph *graph);
void compile_done(struct compile *compile, struct store *store);
/* Compiles what delta names; appends what changed in compile->table. */
void compile_update(struct compile *compile, const struct graph_delta *delta, struct table_changes *changes);

/* What asked for a unit. */
struct origin {
	struct node *node; /* a Gateway or a route */
	uint16_t port;     /* of the Gateway's listener; 0 for routes */
	size_t rule;       /* of a route: the rule that the unit is, or that uses the backend; ORIGIN_WHOLE for hosts */
	size_t of;         /* a rule's unit is one of so many */
};
#define ORIGIN_WHOLE SIZE_MAX
typedef void origin_cb(void *ctx, const struct origin *origin);

/* Back from a unit's key: calls cb for the Gateway of a listener, and for every route of a rule, host or backend (for a
 * listener's own host without routes: the Gateway). False: nobody wants the unit, or it is not one. */
bool compile_origins(const struct compile *compile, enum table_kind kind, const char *key, origin_cb *cb, void *ctx);

/* The Service and port that a backend's key names; NULL: it is not one, or there is no such Service. */
struct node *compile_service(const struct compile *compile, const char *key, uint16_t *ret_port);

/* ---- between the files of this room ---- */

/* port.c */
void ports_withdraw(struct compile *compile, struct node *gateway);
void ports_claim(struct compile *compile, struct node *gateway);
void ports_build(struct compile *compile, struct table_changes *changes);
void port_key(const char *address, uint16_t port, char *ret, size_t size);
/* Of a listener that serves, at one of its Gateway's addresses. */
struct port *port_find(const struct compile *compile, const struct gateway_state *gateway, size_t bind, size_t listener);

/* certificate.c */
/* Those of a listener of the graph, for *like. */
void certificates_use(struct compile *compile, const struct gateway_state *gateway, size_t l, struct arena *scratch,
                      struct table_listener *like, struct table_changes *changes);
void certificates_unuse(struct compile *compile, const struct table_listener *listener, struct table_changes *changes);
/* For a backend: how a policy has its servers spoken to. In scratch. */
struct table_tls *tls_use(struct compile *compile, const struct node *policy, const struct graph_certificate *client,
                          struct arena *scratch, struct table_changes *changes);
void tls_unuse(struct compile *compile, const struct table_tls *tls, struct table_changes *changes);

/* host.c */
#define MISDIRECTED "misdirected" /* the key of the one rule for all of them */
struct host *host_want(struct port *port, const char *pattern);
void host_queue(struct compile *compile, struct host *host);
void member_link(struct compile *compile, struct membership *member);
void member_unlink(struct compile *compile, struct membership *member);
void hosts_build(struct compile *compile, struct table_changes *changes);
void hosts_free(struct port *port);
#define HOST_RANK ".R" /* and the rank: behind the pattern of units that are only fallen to */
/* NULL: there is none. */
struct host *host_find(const struct port *port, const char *pattern);

/* route.c */
void route_compile(struct compile *compile, struct node *route, struct table_changes *changes);
/* One of a route's units; found again by its key, not kept. */
struct route_rule {
	size_t index;
	const struct port *port;
	const char *key;
};
/* All of them, in scratch. */
struct route_rule *route_rules(struct arena *scratch, const struct route_units *units, size_t *ret_n);
void route_units_free(struct route_units *units);

/* rule.c */
/* The outcome depends on the listener: a redirect that does not name the scheme, backends of its Gateway's own. */
bool rule_is_per_listener(const struct route_units *units, size_t rule);
const char *rule_key(struct arena *scratch, const struct route_units *units, size_t rule, const struct port *port);
/* Back from a key; NULL: there is no such route. */
struct node *rule_route(const struct compile *compile, const char *key);
bool rule_is_of(const char *key, const struct node *route);
struct table_rule *rule_build(const struct compile *compile, const struct route_state *state, size_t rule,
                              const struct port *port, const char *key);
/* A prefix without its trailing "/"; others as they are. */
const char *rule_path(struct arena *scratch, const struct http_match *match);
#define RULE_ANY "/[^/]+"
/* What a GRPCRoute asks of service and method that no path says; one it does not ask for is RULE_ANY. NULL: nothing. */
const char *rule_path_regex(struct arena *scratch, const struct http_match *match);

/* backend.c */
/* client: the certificate that its Gateway shows to servers; NULL: none. */
const char *backend_key(struct arena *scratch, const struct backend_ref *ref, bool grpc,
                        const struct graph_certificate *client);
const struct graph_certificate *backend_client(const struct port *port);
/* A rule's references that are valid; source: what it was built from, rule `index` of `route`. */
void backend_use(struct compile *compile, const struct table_rule *rule, const struct http_route *route, size_t index,
                 const struct port *port);
void backend_unuse(struct compile *compile, const struct table_rule *rule, const struct http_route *route, size_t index);
void backends_touch(struct compile *compile, const struct node *service);
void backends_build(struct compile *compile, struct table_changes *changes);
void backends_free(struct backend *first);

#endif
