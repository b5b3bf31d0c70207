/* The waist: what the gateway shall do, without a word of Kubernetes objects above it or of HAProxy below it.
 *
 * A table is a set of units, each immutable, refcounted and found by (kind, key). `controller/` makes units, `haproxy/`
 * brings the proxy to them. A change of the world is a list of units replaced, never "everything": work per change is
 * proportional to the change.
 *
 * Meaning (table_match() is its definition, held against HAProxy's real answers by property tests):
 *   1. The connection's destination names the listener; of several with TLS there, the name the client asks for does (SNI),
 *      as a host's pattern would.
 *   2. Of the listener's hosts, the most specific pattern matching the request's host wins: exact, then the wildcard with
 *      the most labels, then "". Host: lower-cased, port and one trailing dot removed. `*.a.b` matches one or more labels
 *      in front of `.a.b` (Gateway API, Hostname: suffix match).
 *   3. Its entries are tried in order, the first whose match holds wins. None: the same with the host `falls_to`. None: 404.
 *   4. The entry's rule is done. An entry whose rule unit does not exist answers 500.
 * Precedence between routes (Gateway API, HTTPRouteRule.matches), hostname intersection, listener isolation and
 * ReferenceGrants are resolved by whoever made the table: order of entries and falls_to are all that is left of them.
 *
 * Strings are NUL-terminated UTF-8, hostile, of any length the object's schema allows. NULL means absent only where said.
 * Times are milliseconds. */
#ifndef HATCHWAY_TABLE_H
#define HATCHWAY_TABLE_H

#include "hatchway/base/arena.h"
#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

enum table_kind { TABLE_LISTENER, TABLE_BACKEND, TABLE_RULE, TABLE_HOST, TABLE_CERTIFICATE, TABLE_CA, TABLE_KINDS };

struct table_unit {
	uint32_t refs;
	enum table_kind kind;
	const char *key;
};

/* An address and port where connections arrive; several listeners of Gateways may share it. Key: id. */
struct table_listener {
	struct table_unit unit;       /* key: "80", or "10.0.0.1:80" where an address was asked for; of a pool's port: "20000" */
	const char *bind_address;     /* "" = every address, else IPv4 or IPv6 text */
	uint16_t port;                /* as clients and the Gateway see it */
	uint16_t bind_port;           /* where HAProxy listens: --port-map, or the pool of a Pod */
	const char *origin;           /* who wants it, for people: "sample-ingress/sample-gateway" */
	const char *sni;              /* NULL: in clear. Else TLS, for the names of this pattern; listeners with one address and
	                               * bind_port are all of TLS, with different patterns, or there is one alone */
	const char **certificates;    /* keys of TABLE_CERTIFICATEs, sorted; with TLS: at least one */
	uint32_t n_certificates;
};

/* Whom to believe: the certificates of authorities that a peer's certificate may come from. Key: content address,
 * [a-z0-9]+, at most 64: other authorities are another unit, so that whoever names one never sees it change. HAProxy holds
 * it for as long as a unit that HAProxy is given names it; one that names a unit there is not is refused. */
struct table_ca {
	struct table_unit unit;
	const char *pem; /* certificates only, as OpenSSL writes them. No secret, but long: no dump has it */
};

/* A certificate, for the names that clients ask for with SNI. Key: content address of all of it, [a-z0-9]+: another
 * certificate, other names or another CA are another unit. */
struct table_certificate {
	struct table_unit unit;
	const char *ca;     /* key of a TABLE_CA: clients must show a certificate of one of these. NULL: they are not asked */
	bool ca_optional;   /* they are asked, and whatever they show, or nothing, will do */
	const char **names; /* "a.b", "*.a.b" (one label), or "*": whoever asks for no name that a certificate has. None: of one
	                     * that backends show */
	uint32_t n_names;
	const char *pem;    /* chain and private key, as OpenSSL writes them. Secret: no dump, log or error has it */
};

enum table_protocol { TABLE_HTTP1, TABLE_H2C, TABLE_WEBSOCKET }; /* Service appProtocol; WEBSOCKET is HTTP/1.1 Upgrade */

struct table_endpoint {
	const char *name;    /* Pod's name where known, unique in its backend; [A-Za-z0-9._:-]+ */
	const char *address; /* IPv4 or IPv6 text, canonical as inet_ntop() writes it */
	uint16_t port;
	bool draining;       /* no new work; what runs may end (EndpointSlice: serving and terminating) */
};

/* How servers are spoken to with TLS: HTTP/2 or HTTP/1.1 as the backend's protocol says. Their certificate must come from one
 * of the authorities and be for the name; else the request is answered 503, and nothing of it is sent. */
struct table_tls {
	const char *name;        /* asked for with SNI, too */
	const char **names;      /* "dns:a.b", "dns:*.a.b", "uri:spiffe://a/b": one of these instead; none: the name */
	uint32_t n_names;
	const char *ca;          /* key of a TABLE_CA; NULL: those of the system HAProxy runs on */
	const char *certificate; /* key of a TABLE_CERTIFICATE, shown to servers that ask for one; NULL: none */
};

/* One port of one Service. No endpoints: 503. Key: "namespace.service:port"; for gRPC, whose clients want failures told in
 * their own way, TABLE_GRPC is behind it. */
#define TABLE_GRPC "-grpc"
struct table_backend {
	struct table_unit unit;
	struct table_endpoint *endpoints; /* sorted by name */
	uint32_t n_endpoints;
	enum table_protocol protocol;
	struct table_tls *tls; /* NULL: in clear */
};

struct table_header {
	const char *name;  /* RFC 9110 token, as written by the user */
	const char *value; /* NULL in remove lists */
};

/* Done in this order: set, add, remove (the order of HTTPHeaderFilter's fields). */
struct table_headers {
	struct table_header *set, *add, *remove;
	uint16_t n_set, n_add, n_remove; /* 16 each are the schema's bound */
};

enum table_path_edit { TABLE_PATH_KEEP, TABLE_PATH_FULL, TABLE_PATH_PREFIX_EDIT };

/* Gateway API HTTPPathModifier. The query string is kept always. PREFIX_EDIT takes the matched `prefix` (without its
 * trailing "/") off the path and puts `path` (without its trailing "/") there; an empty result is "/". */
struct table_rewrite {
	const char *hostname; /* NULL: keep */
	enum table_path_edit edit;
	const char *path;     /* FULL: the new path; PREFIX_EDIT: the replacement, may be "" */
	const char *prefix;   /* PREFIX_EDIT: what the entry matched */
};

struct table_names {
	const char **names;
	uint16_t n;
};

enum table_cors_list { TABLE_CORS_ORIGIN, TABLE_CORS_METHOD, TABLE_CORS_HEADER, TABLE_CORS_EXPOSE, TABLE_CORS_LISTS };

/* Gateway API HTTPCORSFilter. A preflight (OPTIONS with Origin and Access-Control-Request-Method) is answered 204 without
 * a backend; of every other answer the Access-Control-* headers are this filter's and nobody else's. An Origin that no
 * entry matches gets none. Origins: "*", or scheme://host[:port] in any case, its host "*" or "*.b" for one or more labels. */
struct table_cors {
	struct table_names lists[TABLE_CORS_LISTS]; /* "*" stands alone, but among EXPOSE */
	int32_t max_age;
	bool credentials;
};

/* Gateway API HTTPRequestMirrorFilter: so many of the rule's requests are sent there, too, as they are after the rule's own
 * filters; what comes of it is nobody's concern. A request whose body is longer than 12,000 bytes, or not whole in time (a second
 * if its length was said beforehand, else 25 ms), is not; it goes on then, and another one gets the share. */
struct table_mirror {
	const char *backend; /* NULL: an invalid reference, which mirrors nothing */
	uint32_t numerator, denominator;
};

/* Gateway API HTTPRouteRetry: more tries after an answer with one of the codes, after a connection that breaks before the
 * answer, and after backend_timeout_ms. Together they end at request_timeout_ms (504). */
struct table_retry {
	uint16_t *codes; /* of table_retry_codes */
	uint16_t n_codes;
	uint8_t attempts;   /* 1..TABLE_RETRY_ATTEMPTS, the first try not counted */
	int64_t backoff_ms; /* waited before each of them; -1 unset */
};

#define TABLE_RETRY_ATTEMPTS 100
extern const uint16_t table_retry_codes[]; /* what may be tried again; 0 ends it */

enum table_action { TABLE_FORWARD, TABLE_REDIRECT, TABLE_STATUS };

/* Gateway API HTTPRequestRedirectFilter, its port rules resolved already; hostname and path are those of the rewrite. */
struct table_redirect {
	const char *scheme; /* "http" or "https"; NULL: "http" */
	uint16_t status;    /* 301 302 303 307 308; 0: no redirect */
	uint16_t port;      /* 0 = none written */
};

/* Gateway API SessionPersistence: a client is given a token with its first answer and, as long as it shows that, stays with the
 * endpoint that answered, whatever the weights, also with weight 0 and while it drains. An endpoint that is gone, or a token of
 * another rule or too old: another endpoint and a new token. */
struct table_session {
	const char *name;    /* of the cookie or header; NULL: one of the rule's own */
	int64_t absolute_ms; /* how old a session may become; -1 unset */
	int64_t idle_ms;     /* how long it may rest; -1 unset */
	bool header;         /* not a cookie */
	bool permanent;      /* the cookie outlives the browser, until absolute_ms */
};

enum table_unit_of_time { TABLE_SECOND, TABLE_MINUTE, TABLE_HOUR, TABLE_UNITS_OF_TIME };

/* So many requests of one client are let through in any such time (HAProxy's sliding mean over two of them); others are answered
 * 429 (of gRPC: RESOURCE_EXHAUSTED) and not counted. */
struct table_limit {
	const char *scope;  /* requests are counted together by limits of one scope and unit, whichever rule they are of */
	const char *header; /* what tells clients apart is its value; NULL, or where a request has none: the address, of IPv6 its /64 */
	uint32_t requests;  /* at least 1 */
	enum table_unit_of_time unit;
};

/* RFC 7617: who does not show name and password of one of the users is answered 401 (of gRPC: UNAUTHENTICATED), but for CORS
 * preflights, which cannot. A user is "<name>:<verifier>", the verifier the base64 of
 * SHA-256("<salt>:<name>:" base64(SHA-1(password))). No log or error has one. */
struct table_auth {
	const char *realm; /* printable, without '"' and '\\' */
	const char *salt;
	struct table_names users;
};

/* Who may come in: a client whose address is in `deny`, or that is not in `allow` where there is one, is answered 403 (of gRPC:
 * PERMISSION_DENIED). Networks as "10.0.0.0/8", "2001:db8::/32". */
struct table_guard {
	struct table_names allow, deny;
	struct table_limit *limit; /* NULL: none */
	struct table_auth *auth;   /* NULL: none */
};

/* What header modifiers, a rewrite and a redirect do. A reference's are done to requests after the rule's own, to responses
 * before. A rule with references that rewrite or redirect has no rewrite itself: theirs is told in full. */
struct table_edits {
	struct table_headers request;  /* on what the backend sees; FORWARD only */
	struct table_headers response; /* on what the client sees; every action but STATUS */
	struct table_rewrite rewrite;  /* of the request; with a redirect of the location (hostname, path) */
	struct table_redirect redirect; /* of a rule: REDIRECT only; of a reference: instead of its backend's answer */
	struct table_session *session; /* a rule's alone, FORWARD only, and none of its references has edits; NULL: none */
	/* A rule's alone, every action but STATUS; each must let the client in, before anything else is done with the request. First
	 * the addresses of all, then their limits (of a unit of time one at most), then their users. */
	struct table_guard *guards;
	uint32_t n_guards;
};
extern const struct table_edits table_no_edits;

struct table_ref {
	const char *backend;       /* key of a TABLE_BACKEND; NULL: an invalid reference, its share answers 500 */
	struct table_edits *edits; /* NULL: none */
	uint32_t weight;           /* 0..1000000 */
};

/* What to do with a request. Key: whatever is unique and stable, e.g. "sample/helloworld/0". */
struct table_rule {
	struct table_unit unit;
	const char *origin;             /* "namespace.route" for names people read in show stat; [A-Za-z0-9._-]+ */
	const char *name;               /* the rule's own name, or NULL */
	const struct table_edits *edits; /* given NULL, a unit has table_no_edits: most rules have none */
	struct table_cors *cors;        /* NULL: none; every action but STATUS */
	struct table_mirror *mirrors;   /* FORWARD only */
	uint32_t n_mirrors;
	struct table_retry *retry;      /* NULL: none; FORWARD only */
	int64_t request_timeout_ms;     /* HTTPRouteTimeouts; -1 unset, 0 switched off */
	int64_t backend_timeout_ms;
	struct table_ref *refs;         /* FORWARD; in the user's order. None, or all weights 0: 500 */
	uint32_t n_refs;
	enum table_action action;
	uint16_t status;                /* STATUS: e.g. 500 */
};

enum table_path { TABLE_PREFIX, TABLE_EXACT, TABLE_REGEX };

/* REGEX everywhere: PCRE2, must match the whole value. */
struct table_test {
	const char *name;  /* header: compared without case; query: with case, percent-decoded */
	const char *value; /* headers: several lines are joined by ","; query: first occurrence, percent-decoded, "+" = " " */
	bool regex;
};

/* All parts hold, or it does not match. */
struct table_match {
	const char *path;   /* PREFIX: element-wise, a trailing "/" does not count */
	const char *path_regex; /* PREFIX: this REGEX, too, of the whole path; NULL: none */
	const char *method; /* NULL: any */
	struct table_test *headers, *queries;
	uint16_t n_headers, n_queries; /* 16 each are the schema's bound */
	enum table_path path_type;
};

struct table_entry {
	struct table_match match;
	const char *rule; /* key of a TABLE_RULE */
};

/* Key: "<listener key> <pattern>". Entries come in this order of paths: EXACT, then REGEX, then PREFIX by falling length
 * (without trailing "/"); inside one path the order is the compiler's. haproxy/ relies on it. */
struct table_host {
	struct table_unit unit;
	const char *listener;
	const char *pattern;  /* "a.b", "*.a.b", or "" = any; lower case. One with upper case matches no request: fallen to */
	const char *falls_to; /* pattern of the host tried next when no entry matches, less specific than this; NULL: none */
	struct table_entry *entries;
	uint32_t n_entries;
};

/* ---- units ---- */

/* Deep copies of what *like says (its refs and kind fields are ignored) into one block with one reference. */
struct table_listener *table_listener_new(const struct table_listener *like);
struct table_backend *table_backend_new(const struct table_backend *like);
struct table_rule *table_rule_new(const struct table_rule *like);
struct table_host *table_host_new(const struct table_host *like);
struct table_certificate *table_certificate_new(const struct table_certificate *like);
struct table_ca *table_ca_new(const struct table_ca *like);

struct table_unit *table_unit_ref(struct table_unit *unit); /* NULL stays NULL */
void table_unit_unref(struct table_unit *unit);             /* ignores NULL */
bool table_unit_equal(const struct table_unit *a, const struct table_unit *b);

/* One line for the unit and one, indented, for each of its parts; parse(dump(x)) = x, but for the PEM of a
 * certificate or CA, which no dump has. The golden text of a table. */
void table_unit_dump(const struct table_unit *unit, struct buf *out);

/* ---- tables ---- */

struct table;
struct table *table_new(void);
void table_free(struct table *table);

/* NULL if there is none. The table keeps its reference. */
struct table_unit *table_get(const struct table *table, enum table_kind kind, const char *key);
const struct table_listener *table_listener(const struct table *table, const char *key);
const struct table_backend *table_backend(const struct table *table, const char *key);
const struct table_rule *table_rule(const struct table *table, const char *key);
const struct table_host *table_host(const struct table *table, const char *listener, const char *pattern);
const struct table_certificate *table_certificate(const struct table *table, const char *key);
const struct table_ca *table_ca(const struct table *table, const char *key);

/* Puts the unit in the place of the one of its kind and key; takes over the caller's reference. */
void table_put(struct table *table, struct table_unit *unit);
void table_delete(struct table *table, enum table_kind kind, const char *key);
size_t table_count(const struct table *table, enum table_kind kind);

/* Every unit of the kind, sorted by key, in an array to free(); units are not referenced. */
struct table_unit **table_sorted(const struct table *table, enum table_kind kind, size_t *ret_n);

/* Listeners, backends, rules, hosts, certificates, CAs; each sorted by key: any order of puts, same bytes. */
void table_dump(const struct table *table, struct buf *out);
/* 0, or -EINVAL with the line in *reterr and the table as far as it came. */
MUST_CHECK int table_parse(struct table *table, const char *text, struct err *reterr);

/* ---- changes ---- */

/* One unit replaced: old NULL = new one, new NULL = gone. Both referenced. Applied in order. (Both NULL: made and unmade
 * in one list, nothing to do. A unit deleted and then made again stands twice.) */
struct table_change {
	struct table_unit *old, *new;
};

struct table_changes {
	struct table_change *list;
	size_t n, cap;
};

/* Sets the unit of (kind, key) to `unit` (a reference taken over; NULL deletes) and appends the change, if it is one:
 * equal units leave table and list alone. A later change of the same unit is merged into the earlier one. */
void table_change(struct table *table, struct table_changes *changes, enum table_kind kind, const char *key,
                  struct table_unit *unit);
/* Appends every difference between two tables. */
void table_diff(const struct table *from, const struct table *to, struct table_changes *changes);
void table_changes_done(struct table_changes *changes);

/* ---- meaning ---- */

struct table_request {
	const char *listener; /* key */
	const char *host;     /* as in the Host header or :authority */
	const char *method;
	const char *path;     /* without query */
	const char *query;    /* without "?"; "" = none */
	const struct table_header *headers;
	uint32_t n_headers;
};

/* What table_match() tells about each thing it looks at, in order; for `hatchway explain`. */
struct table_walk {
	void (*host)(void *ctx, const struct table_host *host);
	/* why: NULL = matches, else what did not hold, e.g. "path", "method", "header x-version". */
	void (*entry)(void *ctx, const struct table_entry *entry, const char *why);
	void *ctx;
};

/* The winning entry, or NULL (404). walk may be NULL. Plain and slow on purpose. */
const struct table_entry *table_match(const struct table *table, const struct table_request *request,
                                      const struct table_walk *walk);
/* The listener's most specific host matching the name, or NULL. */
const struct table_host *table_match_host(const struct table *table, const char *listener, const char *host);

#endif
