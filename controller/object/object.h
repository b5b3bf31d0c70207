/* Immutable typed Kubernetes objects: what of them hatchway uses, and nothing else. One block of memory per version.
 *
 * Field names are the API's, snake-cased. The API server's defaults are filled in by the decoder and its validation has
 * been applied, so readers never see an impossible value. NULL = absent; strings hold no NUL; lists keep the user's order.
 * Objects never point to each other. Counts have the width their schema's bound needs. */
#ifndef HATCHWAY_OBJECT_OBJECT_H
#define HATCHWAY_OBJECT_OBJECT_H

#include "hatchway/base/arena.h"
#include "hatchway/base/err.h"

#define GATEWAY_API_GROUP "gateway.networking.k8s.io"
#define HATCHWAY_GROUP "hatchway.dev"

/* kind, group, "is namespaced", "has a status that hatchway writes" */
#define OBJECT_KINDS(X)                                                                                                \
	X(NAMESPACE, "Namespace", "", false, false)                                                                    \
	X(GATEWAYCLASS, "GatewayClass", GATEWAY_API_GROUP, false, true)                                                \
	X(GATEWAY, "Gateway", GATEWAY_API_GROUP, true, true)                                                           \
	X(LISTENERSET, "ListenerSet", GATEWAY_API_GROUP, true, true)                                                   \
	X(HTTPROUTE, "HTTPRoute", GATEWAY_API_GROUP, true, true)                                                       \
	X(GRPCROUTE, "GRPCRoute", GATEWAY_API_GROUP, true, true)                                                       \
	X(REFERENCEGRANT, "ReferenceGrant", GATEWAY_API_GROUP, true, false)                                            \
	X(BACKENDTLSPOLICY, "BackendTLSPolicy", GATEWAY_API_GROUP, true, true)                                         \
	X(SERVICE, "Service", "", true, false)                                                                         \
	X(ENDPOINTSLICE, "EndpointSlice", "discovery.k8s.io", true, false)                                             \
	X(SECRET, "Secret", "", true, false)                                                                           \
	X(CONFIGMAP, "ConfigMap", "", true, false)                                                                     \
	X(PARAMETERS, "HatchwayParameters", HATCHWAY_GROUP, true, false)                                               \
	X(FILTER, "HatchwayFilter", HATCHWAY_GROUP, true, true)

enum object_kind {
#define X(id, name, group, namespaced, status) KIND_##id,
	OBJECT_KINDS(X)
#undef X
	KIND_COUNT
};

const char *object_kind_name(enum object_kind kind);
const char *object_kind_group(enum object_kind kind);
/* Whose struct is http_route. */
static inline bool object_kind_is_route(enum object_kind kind)
{
	return kind == KIND_HTTPROUTE || kind == KIND_GRPCROUTE;
}
bool object_kind_namespaced(enum object_kind kind);
bool object_kind_has_status(enum object_kind kind);

struct key_value {
	const char *key, *value;
};

/* Of all kinds. */
enum object_version { VERSION_V1, VERSION_V1BETA1, VERSION_V1ALPHA1, VERSION_COUNT };
const char *object_version_name(enum object_version version); /* "v1" */

#define LABEL_SERVICE_NAME "kubernetes.io/service-name"
#define LABEL_SLICE_MAKER "endpointslice.kubernetes.io/managed-by"
#define LABEL_MANAGED_BY "app.kubernetes.io/managed-by"
#define MANAGED_BY "hatchway" /* its value on what hatchway keeps for a Gateway */

struct object {
	uint32_t refs;
	uint8_t kind;          /* enum object_kind */
	uint8_t version;       /* enum object_version */
	const char *namespace; /* "" for kinds without */
	const char *name;
	const char *uid;       /* "" in a folder */
	int64_t generation;    /* of the spec: the API server's, or counted by the folder source from 1 */
	int64_t created;       /* metadata.creationTimestamp, Unix seconds; 0 = not given: all of these are equally old */
	uint64_t spec_hash;    /* equal specs (and labels that matter), equal hash: "nothing changed" without a compare */
};

/* ---- shared pieces ---- */

struct parent_ref {
	const char *group, *kind, *namespace, *name; /* group and kind defaulted; namespace: the referrer's own if not given */
	const char *section_name;                    /* NULL */
	uint16_t port;                               /* 0 = not given */
	bool namespace_given;                        /* status repeats what was written */
};

/* KIND_GATEWAY or KIND_LISTENERSET; KIND_COUNT: something that routes are not attached to here. */
enum object_kind parent_ref_kind(const struct parent_ref *ref);

struct http_header {
	const char *name, *value; /* value NULL in remove lists */
};

struct header_filter {
	struct http_header *set, *add, *remove;
	uint16_t n_set, n_add, n_remove;
};

enum path_modifier_type { PATH_NONE, PATH_REPLACE_FULL, PATH_REPLACE_PREFIX };

struct path_modifier {
	enum path_modifier_type type;
	const char *value; /* "" allowed */
};

enum filter_type {
	FILTER_REQUEST_HEADER_MODIFIER,
	FILTER_RESPONSE_HEADER_MODIFIER,
	FILTER_REQUEST_REDIRECT,
	FILTER_URL_REWRITE,
	FILTER_CORS,
	FILTER_REQUEST_MIRROR, /* see http_rule.mirrors */
	FILTER_EXTENSION_REF,
	FILTER_EXTERNAL_AUTH,  /* these are decoded by name only so far: the graph refuses them */
	FILTER_UNKNOWN
};

struct cors_filter {
	const char **origins, **methods, **headers, **expose; /* "*" stands alone, but in expose */
	uint32_t n_origins, n_methods, n_headers, n_expose;
	int32_t max_age; /* seconds, default 5 */
	bool credentials;
};

/* To an object of the route's own namespace. */
struct extension_ref {
	const char *group, *kind, *name;
};

/* It is a HatchwayFilter. */
bool extension_ref_is_ours(const struct extension_ref *ref);

struct http_filter {
	enum filter_type type;
	const char *type_name;     /* as written */
	struct header_filter headers;   /* the two header modifiers */
	const char *redirect_scheme;    /* NULL */
	const char *hostname;           /* redirect, rewrite; NULL */
	uint16_t redirect_port;         /* 0 = not given */
	uint16_t redirect_status;       /* default 302 */
	struct path_modifier path;      /* redirect, rewrite */
	struct cors_filter *cors;       /* of CORS only */
	struct extension_ref *extension; /* of ExtensionRef only */
};

struct backend_ref {
	const char *group, *kind, *namespace, *name; /* group "" and kind Service by default; namespace: the route's own */
	struct http_filter *filters;
	int32_t weight;                              /* default 1 */
	uint16_t port;                               /* 0 = not given */
	uint16_t n_filters;
};

/* ---- kinds ---- */

/* Of a Service or EndpointSlice that is, or says it is, kept by hatchway for a Gateway. */
struct kept {
	const char *owner_uid, *owner_name; /* the Gateway that metadata.ownerReferences has as controller; "": none */
	bool managed;          /* MANAGED_BY is there */
	const char *live;      /* the object as the API server shows it, JSON, less status and what only it writes */
};

struct parameters_ref {
	const char *group, *kind, *namespace, *name; /* namespace: a Gateway's own; NULL of a class' if not given */
};

struct namespace {
	struct object object;
	struct key_value *labels; /* of Namespaces only: nothing else is selected by them */
	uint32_t n_labels;
};

struct gateway_class {
	struct object object;
	const char *controller_name;
	struct parameters_ref *parameters; /* NULL */
};

enum from_namespaces { FROM_SAME, FROM_ALL, FROM_SELECTOR, FROM_NONE };

struct label_expression {
	const char *key;
	const char *op; /* In NotIn Exists DoesNotExist */
	const char **values;
	uint32_t n_values;
};

struct label_selector {
	struct key_value *match_labels;
	struct label_expression *match_expressions;
	uint32_t n_match_labels, n_match_expressions;
};

struct route_group_kind {
	const char *group, *kind;
};

enum tls_mode { TLS_MODE_NONE, TLS_MODE_TERMINATE, TLS_MODE_PASSTHROUGH }; /* NONE: listener.tls is not given */

struct certificate_ref {
	const char *group, *kind, *namespace, *name; /* "" and Secret by default; namespace: the referrer's own */
};

struct listener {
	const char *name;
	const char *hostname; /* NULL = any */
	uint16_t port;
	const char *protocol; /* HTTP, HTTPS, TLS, TCP, UDP, or a domain-prefixed one */
	enum from_namespaces from;
	struct label_selector selector;
	struct route_group_kind *kinds; /* allowedRoutes.kinds; none = the protocol's */
	uint32_t n_kinds;
	enum tls_mode tls_mode;
	struct certificate_ref *certificate_refs;
	uint32_t n_certificate_refs;
};

/* Whom clients' certificates must come from (FrontendTLSValidation). */
struct client_validation {
	struct certificate_ref *ca_refs;
	uint32_t n_ca_refs;
	bool fallback; /* AllowInsecureFallback: no, or any, certificate will do */
};

struct port_validation {
	uint16_t port;
	struct client_validation *validation; /* NULL: clients are not asked */
};

struct gateway_address {
	const char *type; /* default IPAddress */
	const char *value; /* NULL = any of that type */
};

struct gateway {
	struct object object;
	const char *gateway_class_name;
	struct listener *listeners;
	uint32_t n_listeners;
	struct gateway_address *addresses; /* spec.addresses */
	uint32_t n_addresses;
	struct parameters_ref *parameters; /* spec.infrastructure.parametersRef, NULL */
	struct key_value *infrastructure_labels, *infrastructure_annotations;
	uint32_t n_infrastructure_labels, n_infrastructure_annotations;
	struct certificate_ref *client_certificate; /* spec.tls.backend.clientCertificateRef, NULL */
	struct client_validation *validation;       /* spec.tls.frontend.default.validation, NULL */
	struct port_validation *port_validations;   /* spec.tls.frontend.perPort: instead of the default */
	uint32_t n_port_validations;
	bool allowed_listeners;             /* spec.allowedListeners is given */
	enum from_namespaces listeners_from; /* of these namespaces ListenerSets are let in */
	struct label_selector listeners_selector;
};

/* Listeners beside a Gateway's own. */
struct listener_set {
	struct object object;
	struct parent_ref gateway; /* sectionName and port are never given */
	struct listener *listeners;
	uint32_t n_listeners;
};

enum path_match_type { PATH_MATCH_EXACT, PATH_MATCH_PREFIX, PATH_MATCH_REGEX };

struct value_match {
	const char *name, *value;
	bool regex;
};

struct http_match {
	const char *path;
	const char *method; /* NULL */
	struct value_match *headers, *query_params;
	uint16_t n_headers, n_query_params;
	enum path_match_type path_type; /* default PathPrefix "/" */
	/* Of a GRPCRoute whose path says less than its method: regular expressions of the path's two parts; NULL: any. */
	const char *grpc_service, *grpc_method;
};

struct http_mirror {
	struct backend_ref ref;
	int64_t numerator, denominator; /* default 100 of 100 */
	uint16_t filter;                /* index in filters */
};

struct http_retry {
	uint16_t *codes;
	uint32_t n_codes;
	int64_t attempts;   /* default 1 */
	int64_t backoff_ms; /* -1 not given */
};

struct http_session {
	const char *name;    /* NULL: a name of our own */
	int64_t absolute_ms, idle_ms; /* -1 not given */
	bool header;         /* type Header; else Cookie */
	bool permanent;      /* cookieConfig.lifetimeType */
};

struct http_rule {
	const char *name; /* NULL */
	struct http_match *matches; /* never none: the default is one PathPrefix "/" */
	struct http_filter *filters;
	struct backend_ref *backend_refs;
	struct http_mirror *mirrors;
	struct http_retry *retry; /* NULL */
	struct http_session *session; /* NULL */
	uint16_t n_matches, n_filters, n_backend_refs, n_mirrors;
	int64_t request_timeout_ms, backend_timeout_ms; /* -1 not given */
};

/* HTTPRoute or GRPCRoute, as object.kind says: gRPC is HTTP, "/service/method" its path. */
struct http_route {
	struct object object;
	struct parent_ref *parent_refs;
	const char **hostnames; /* lower case */
	struct http_rule *rules; /* HTTPRoute's default: one rule with the default match and no backends */
	uint32_t n_hostnames;
	uint16_t n_parent_refs, n_rules;
};

struct reference_grant_from {
	const char *group, *kind, *namespace;
};

struct reference_grant_to {
	const char *group, *kind, *name; /* name NULL: every one */
};

struct reference_grant {
	struct object object;
	struct reference_grant_from *from;
	struct reference_grant_to *to;
	uint32_t n_from, n_to;
};

/* Of a BackendTLSPolicy: what is in the policy's own namespace. */
struct policy_target {
	const char *group, *kind, *name;
	const char *section_name; /* a port's name; NULL: all ports */
};

struct subject_alt_name {
	const char *hostname, *uri; /* one of them; the other NULL */
};

struct backend_tls_policy {
	struct object object;
	struct policy_target *targets;
	struct certificate_ref *ca_refs;
	const char *well_known; /* NULL: ca_refs are given */
	const char *hostname;
	struct subject_alt_name *names; /* none: the hostname is what the certificate must have */
	uint32_t n_targets, n_ca_refs, n_names;
};

struct service_port {
	const char *name;         /* "" if the only one has none */
	const char *protocol;     /* TCP, UDP, SCTP */
	const char *app_protocol; /* NULL */
	uint16_t port;
};

struct service_address {
	const char *value;
	bool hostname; /* else an IP address */
};

/* What of a Service matters only if hatchway keeps it. */
struct kept_service {
	struct kept kept;
	uint16_t *target_ports; /* as service.ports; 0: a name, or none */
	struct service_address *addresses; /* status.loadBalancer.ingress; of a type without load balancer its cluster IPs */
	uint32_t n_addresses;
	bool selector; /* spec.selector is there: Kubernetes lists endpoints for it */
};

struct service {
	struct object object;
	struct service_port *ports;
	struct kept_service *kept; /* NULL: nothing of hatchway's */
	uint32_t n_ports;
	bool external_name; /* of type ExternalName: it has no endpoints */
};

struct endpoint {
	const char *address;              /* the first of addresses: consumers use no other (EndpointSlice API) */
	const char *target_name;          /* targetRef.name, NULL */
	const char *node_name, *zone;     /* NULL */
	bool ready, serving, terminating; /* conditions; absent ready = true, serving = ready, terminating = false */
};

struct endpoint_port {
	const char *name; /* "" */
	const char *protocol;
	uint16_t port;    /* 0 = not given: "all ports", not usable here */
};

/* By its label endpointslice.kubernetes.io/managed-by. */
enum slice_maker {
	SLICE_BY_OTHERS,
	SLICE_BY_SELECTOR, /* Kubernetes, of the Pods that the Service selects, or has selected */
	SLICE_BY_MIRRORING /* Kubernetes, of the Endpoints of the Service's name */
};

struct endpoint_slice {
	struct object object;
	const char *service; /* label kubernetes.io/service-name, NULL: belongs to none */
	struct endpoint *endpoints;
	struct endpoint_port *ports;
	struct kept *kept; /* NULL: nothing of hatchway's */
	uint16_t n_endpoints, n_ports;
	uint8_t maker; /* enum slice_maker */
	bool fqdn; /* addressType: not IPv4 or IPv6 */
};

struct data_item {
	const char *key;
	const char *bytes; /* decoded from base64; NUL-terminated behind */
	size_t size;
};

struct secret { /* never logged, never dumped */
	struct object object;
	const char *type;
	struct data_item *data;
	uint32_t n_data;
};

const struct data_item *secret_item(const struct secret *secret, const char *key); /* NULL: it has none */

struct config_map {
	struct object object;
	struct data_item *data;
	uint32_t n_data;
};

/* hatchway's own: what a GatewayClass or a Gateway wants of the Service of a Gateway. NULL or none: not said. */
struct parameters {
	struct object object;
	const char *service_type, *external_traffic_policy, *load_balancer_class, *ip_family_policy;
	struct key_value *labels, *annotations;
	const char **source_ranges; /* loadBalancerSourceRanges */
	uint32_t n_labels, n_annotations, n_source_ranges;
	bool no_node_ports; /* allocateLoadBalancerNodePorts: false */
};

enum limit_unit { LIMIT_SECOND, LIMIT_MINUTE, LIMIT_HOUR, LIMIT_UNITS };

/* hatchway's own: what rules name with ExtensionRef. Networks as written. */
struct own_filter {
	struct object object;
	const char **allow, **deny; /* spec.addresses */
	const char *header;         /* spec.rateLimit: whose value tells clients apart; NULL: their addresses do */
	const char *realm, *secret; /* spec.basicAuth; NULL: none. The Secret is of the filter's namespace */
	uint32_t n_allow, n_deny;
	uint32_t requests;          /* spec.rateLimit; 0: none */
	enum limit_unit unit;
};

/* The name of the Service that belongs to a Gateway, GATEWAY-CLASS (GEP-1762); longer ones are cut and end in a digest. */
#define SERVICE_NAME_MAX 63
void gateway_service_name(const struct gateway *gateway, char ret[SERVICE_NAME_MAX + 1]);

/* Its TCP port of that number; NULL. */
const struct service_port *service_tcp_port(const struct service *service, uint16_t port);

struct object *object_ref(struct object *object);
void object_unref(struct object *object); /* ignores NULL */
/* Orders by kind, namespace, name. */
int object_cmp_key(const struct object *a, const struct object *b);
/* spec_hash is the hash of the defaulted, pruned spec plus this: of a Namespace's labels, an EndpointSlice's Service, all
 * of what hatchway keeps. */
uint64_t object_labels_hash(const struct object *object);
/* Whether generation stays: labels do not count. */
bool object_same_spec(const struct object *a, const struct object *b);

#endif
