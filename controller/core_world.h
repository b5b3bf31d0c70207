/* A random, small universe of objects: references meet, miss and clash all the time. Objects are made as YAML, so that only
 * what an API server would take gets in. */
#ifndef HATCHWAY_CORE_WORLD_H
#define HATCHWAY_CORE_WORLD_H

#include "controller/core_certificates.h"
#include "controller/core_fixture.h"

#define WORLD 80
#define TEXT 16384

struct walk {
	uint64_t random;
	struct object *world[WORLD];
	size_t n;
	struct core *core;
	struct table *mirror; /* what applying all changes has made */
	char *status[WORLD];  /* "kind namespace/name" and the text behind it: what the callback last gave */
	size_t n_status;
	struct buf *text;
	char deleted[4096];   /* "\nkind namespace/name\n"… since statuses were asked for: one that is there again may need its status anew */
	bool cluster; /* ports from a pool, addresses and ports by Services */
};

static inline unsigned roll(struct walk *w, unsigned n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (unsigned)(w->random >> 33) % n;
}

#define PICK(w, ...)                                                                                                   \
	((const char *const[]){__VA_ARGS__})[roll(w, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))]

/* ---- random objects, as YAML ---- */

PRINTF_LIKE(2, 3) static inline void say(struct walk *w, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	buf_vaddf(w->text, fmt, args);
	va_end(args);
}

static inline void head(struct walk *w, const char *version, const char *kind, const char *namespace, const char *name)
{
	say(w, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  generation: %u\n", version, kind, name, 1 + roll(w, 3));
	if (*namespace)
		say(w, "  namespace: %s\n", namespace);
	if (roll(w, 3))
		say(w, "  creationTimestamp: \"2026-01-0%uT00:00:00Z\"\n", 1 + roll(w, 3));
}

static inline const char *a_namespace(struct walk *w)
{
	return PICK(w, "a", "a", "a", "a-b");
}

static inline const char *a_hostname(struct walk *w)
{
	return PICK(w, "\"*.x.y\"", "a.x.y", "\"*.b.x.y\"", "c.b.x.y", "\"*.c.b.x.y\"", "other.z", "\"*.z\"");
}

static inline void make_namespace(struct walk *w)
{
	head(w, "v1", "Namespace", "", a_namespace(w));
	if (roll(w, 2))
		say(w, "  labels: {team: %s}\n", PICK(w, "red", "blue"));
}

static inline void make_class(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "GatewayClass", "", PICK(w, "hatchway", "extra"));
	say(w, "spec:\n  controllerName: %s\n", roll(w, 6) ? "hatchway.dev/controller" : "x.y/other");
	if (!roll(w, 8))
		say(w, "  parametersRef: {group: %s, kind: HatchwayParameters, name: p%s}\n", PICK(w, "hatchway.dev", "x.y"),
		    PICK(w, ", namespace: a", ", namespace: a", ""));
}

static inline void make_listener(struct walk *w, unsigned i)
{
	bool tls = !roll(w, 3);
	say(w, "  - name: l%u\n    port: %s\n    protocol: %s\n", i,
	    tls ? PICK(w, "443", "443", "443", "80") : PICK(w, "80", "80", "8080", "81"),
	    tls ? "HTTPS" : roll(w, 16) ? "HTTP" : PICK(w, "TCP", "x.y/z"));
	if (tls)
		say(w, "    tls: {certificateRefs: [{%s}%s]}\n", PICK(w, "name: c1", "name: c2", "name: c1, namespace: a"),
		    PICK(w, "", ", {name: c2}", ", {name: c3, kind: ConfigMap}"));
	if (roll(w, 4))
		say(w, "    hostname: %s\n", a_hostname(w));
	say(w, "    allowedRoutes:\n      namespaces:\n        from: %s\n", PICK(w, "All", "Same", "Selector", "All", "All"));
	say(w, "        selector: {%s}\n",
	    PICK(w, "matchLabels: {team: red}", "matchExpressions: [{key: team, operator: Exists}]",
	         "matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [a]}]"));
	if (!roll(w, 12))
		say(w, "      kinds: [{kind: %s}]\n", PICK(w, "HTTPRoute", "GRPCRoute"));
}

static inline void make_validation(struct walk *w)
{
	if (!roll(w, 4))
		return;
	say(w, "validation: {caCertificateRefs: [{%s}%s], mode: %s}",
	    PICK(w, "group: \"\", kind: ConfigMap, name: m1", "group: \"\", kind: ConfigMap, name: m2, namespace: a",
	         "group: x.y, kind: Bucket, name: m1"),
	    PICK(w, "", ", {group: \"\", kind: ConfigMap, name: m2}"), PICK(w, "AllowValidOnly", "AllowInsecureFallback"));
}

static inline void make_frontend(struct walk *w)
{
	say(w, "  tls: {frontend: {default: {");
	make_validation(w);
	say(w, "}, perPort: [{port: %s, tls: {", PICK(w, "443", "80"));
	make_validation(w);
	say(w, "}}]}}\n");
}

static inline void make_gateway(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "Gateway", a_namespace(w), PICK(w, "g1", "g2"));
	say(w, "  uid: %s\n", PICK(w, "u1", "u1", "u2"));
	say(w, "spec:\n  gatewayClassName: %s\n", roll(w, 8) ? "hatchway" : PICK(w, "extra", "nobodys"));
	if (!roll(w, 3))
		say(w, "  addresses: [{type: %s, value: %s}]\n", roll(w, 12) ? "IPAddress" : "Hostname",
		    roll(w, 12) ? PICK(w, "127.0.0.9", "10.0.0.1") : "192.0.2.1");
	if (!roll(w, 16))
		say(w, "  infrastructure: {parametersRef: {group: %s, kind: HatchwayParameters, name: p}}\n",
		    PICK(w, "hatchway.dev", "hatchway.dev", "x.y"));
	else if (!roll(w, 6))
		say(w, "  infrastructure: {labels: {l: m}, annotations: {n: o}}\n");
	if (!roll(w, 3))
		say(w, "  tls: {backend: {clientCertificateRef: {%s}}}\n",
		    PICK(w, "name: c1", "name: c2", "name: c1, namespace: a", "name: c3, kind: ConfigMap"));
	else if (!roll(w, 2))
		make_frontend(w);
	if (roll(w, 4))
		say(w, "  allowedListeners: {namespaces: {from: %s, selector: {matchLabels: {team: red}}}}\n",
		    PICK(w, "All", "All", "Same", "Selector", "None"));
	say(w, "  listeners:\n");
	for (unsigned i = 0, n = 1 + roll(w, 5); i < n; i++)
		make_listener(w, i);
}

static inline void make_set(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "ListenerSet", a_namespace(w), PICK(w, "g1", "s1", "s2"));
	say(w, "spec:\n  parentRef: {name: %s%s%s}\n", PICK(w, "g1", "g1", "g2", "none"), PICK(w, "", ", namespace: a", ", namespace: a-b"),
	    roll(w, 16) ? "" : ", kind: Bucket");
	say(w, "  listeners:\n");
	for (unsigned i = 0, n = 1 + roll(w, 4); i < n; i++)
		make_listener(w, i);
}

static inline void make_match(struct walk *w)
{
	if (!roll(w, 8))
		say(w, "    - path: {type: RegularExpression, value: \"%s\"}\n", PICK(w, "/r.*", "/r[", "/(a|b)+", "(*FAIL)"));
	else
		say(w, "    - path: {type: %s, value: %s}\n", PICK(w, "Exact", "PathPrefix", "PathPrefix"),
		    PICK(w, "/", "/", "/a", "/a/", "/a/b", "/abc"));
	if (!roll(w, 3))
		say(w, "      method: %s\n", PICK(w, "GET", "POST"));
	if (!roll(w, 3))
		say(w, "      headers: [{name: %s, value: \"1\"}]\n", PICK(w, "x", "X", "y"));
	if (!roll(w, 4))
		say(w, "      queryParams: [{name: q, value: \"%s\", type: %s}]\n", PICK(w, "1", "[", "a+"),
		    PICK(w, "Exact", "RegularExpression"));
}

static inline bool make_filter(struct walk *w)
{
	const char *filter = PICK(
	        w, "", "", "", "", "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: s, value: v}]}",
	        "type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}",
	        "type: URLRewrite, urlRewrite: {hostname: other.z, path: {type: ReplaceFullPath, replaceFullPath: /f}}",
	        "type: RequestRedirect, requestRedirect: {statusCode: 301}",
	        "type: RequestRedirect, requestRedirect: {scheme: https, hostname: r.z}",
	        "type: RequestRedirect, requestRedirect: {port: 8083}",
	        "type: RequestMirror, requestMirror: {backendRef: {name: s1, port: 80}}",
	        "type: RequestMirror, requestMirror: {percent: 3, backendRef: {name: s2, namespace: a, port: 443}}",
	        "type: CORS, cors: {allowOrigins: ['*'], allowMethods: [PUT]}",
	        "type: ExtensionRef, extensionRef: {group: x.y, kind: K, name: n}",
	        "type: ExtensionRef, extensionRef: {group: hatchway.dev, kind: HatchwayFilter, name: f1}",
	        "type: ExtensionRef, extensionRef: {group: hatchway.dev, kind: HatchwayFilter, name: f2}",
	        "type: ExtensionRef, extensionRef: {group: hatchway.dev, kind: HatchwayFilter, name: f1}}, {type: ExtensionRef, extensionRef: {group: hatchway.dev, kind: HatchwayFilter, name: f2}");
	if (*filter)
		say(w, "    filters: [{%s}]\n", filter);
	return strstr(filter, "requestRedirect") != NULL;
}

static inline void make_backend_ref(struct walk *w)
{
	say(w, "    - name: %s\n      port: %s\n      weight: %u\n", PICK(w, "s1", "s2", "s3"), PICK(w, "80", "80", "443"),
	    roll(w, 3));
	if (roll(w, 2))
		say(w, "      namespace: %s\n", a_namespace(w));
	if (!roll(w, 8))
		say(w, "      filters: [{%s}]\n",
		    PICK(w, "type: RequestHeaderModifier, requestHeaderModifier: {remove: [s]}",
		         "type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /own}}",
		         "type: RequestRedirect, requestRedirect: {hostname: own.z}",
		         "type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 303}",
		         "type: CORS, cors: {allowOrigins: ['*']}"));
	if (!roll(w, 10))
		say(w, "      kind: Bucket\n      group: x.y\n");
}

static inline void make_parents(struct walk *w)
{
	say(w, "spec:\n  parentRefs:\n");
	for (unsigned i = 0, n = 1 + roll(w, 2); i < n; i++) {
		bool set = !roll(w, 3);
		say(w, "  - name: %s\n", set ? PICK(w, "g1", "s1", "s2") : PICK(w, "g1", "g2"));
		if (set)
			say(w, "    kind: ListenerSet\n");
		say(w, "    namespace: %s\n", a_namespace(w));
		if (!roll(w, 4))
			say(w, "    sectionName: %s\n", PICK(w, "l0", "l1", "l2", "l3"));
		if (!roll(w, 6))
			say(w, "    port: %s\n", PICK(w, "80", "8080"));
	}
	if (roll(w, 3))
		say(w, "  hostnames: [%s, %s]\n", a_hostname(w), roll(w, 2) ? "q.z" : a_hostname(w));
}

static inline void make_backend_refs(struct walk *w)
{
	unsigned k = roll(w, 3);
	if (k)
		say(w, "    backendRefs:\n");
	for (unsigned b = 0; b < k; b++)
		make_backend_ref(w);
}

static inline void make_session(struct walk *w)
{
	if (!roll(w, 8))
		say(w, "    sessionPersistence: {%s}\n",
		    PICK(w, "", "sessionName: s, absoluteTimeout: 1h", "type: Header, sessionName: X-S",
		         "absoluteTimeout: 5m, cookieConfig: {lifetimeType: Permanent}", "type: Header, sessionName: Te"));
}

static inline void make_route(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "HTTPRoute", a_namespace(w), PICK(w, "r1", "r2", "r3"));
	make_parents(w);
	say(w, "  rules:\n");
	for (unsigned i = 0, n = 1 + roll(w, 3); i < n; i++) {
		say(w, "  - matches:\n");
		for (unsigned m = 0, k = 1 + roll(w, 2); m < k; m++)
			make_match(w);
		if (make_filter(w))
			continue;
		make_backend_refs(w);
		make_session(w);
		if (!roll(w, 6))
			say(w, "    retry: {attempts: %s, codes: [500]}\n", PICK(w, "1", "2"));
		if (!roll(w, 4))
			say(w, "    timeouts: {request: 2s, backendRequest: %s}\n", PICK(w, "1s", "500ms"));
	}
}

/* Services and methods that HTTPRoutes have as paths, too. */
static inline void make_method(struct walk *w)
{
	say(w, "    - method: {%s}\n",
	    PICK(w, "service: a, method: b", "service: a, method: b", "service: a", "service: abc", "method: b",
	         "type: RegularExpression, service: \"a.*\"", "type: RegularExpression, service: \"[ab]+\", method: \"b|c\"",
	         "type: RegularExpression, method: \"[\"", "type: RegularExpression, method: \"b?b\"", "service: a, method: d"));
	if (!roll(w, 3))
		say(w, "      headers: [{name: %s, value: \"1\"}]\n", PICK(w, "x", "X", "y"));
}

static inline void make_grpc_route(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "GRPCRoute", a_namespace(w), PICK(w, "r1", "r2", "r3"));
	make_parents(w);
	say(w, "  rules:\n");
	for (unsigned i = 0, n = 1 + roll(w, 3); i < n; i++) {
		say(w, "  - name: n%u\n", i);
		unsigned matches = roll(w, 4);
		if (matches)
			say(w, "    matches:\n");
		for (unsigned m = 0; m < matches; m++)
			make_method(w);
		if (!roll(w, 4))
			say(w, "    filters: [{%s}]\n",
			    PICK(w, "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: s, value: v}]}",
			         "type: RequestMirror, requestMirror: {backendRef: {name: s1, port: 80}}",
			         "type: RequestMirror, requestMirror: {percent: 3, backendRef: {name: s2, namespace: a, port: 443}}",
			         "type: ExtensionRef, extensionRef: {group: hatchway.dev, kind: HatchwayFilter, name: f1}",
			         "type: ExtensionRef, extensionRef: {group: x.y, kind: K, name: n}"));
		make_backend_refs(w);
		make_session(w);
	}
}

static inline void make_service(struct walk *w)
{
	head(w, "v1", "Service", a_namespace(w), PICK(w, "s1", "s2", "s3"));
	if (!roll(w, 8)) {
		say(w, "spec: {type: ExternalName, externalName: e.z, ports: [{port: 80}]}\n");
		return;
	}
	say(w, "spec:\n  ports:\n  - {name: web, port: 80, protocol: %s", PICK(w, "TCP", "TCP", "TCP", "UDP"));
	if (!roll(w, 3))
		say(w, ", appProtocol: %s", PICK(w, "kubernetes.io/h2c", "kubernetes.io/ws", "http", "mysql", "grpc", "https"));
	say(w, "}\n");
	if (roll(w, 2))
		say(w, "  - {name: tls, port: 443}\n");
}

static inline void make_parameters(struct walk *w)
{
	head(w, "hatchway.dev/v1alpha1", "HatchwayParameters", a_namespace(w), "p");
	say(w, "spec: {service: {%s}}\n", PICK(w, "type: NodePort", "annotations: {a: b}", "externalTrafficPolicy: Local",
	                                     "loadBalancerClass: c, allocateLoadBalancerNodePorts: false", ""));
}

/* Whose it is, or who says so. */
static inline void make_owner(struct walk *w)
{
	if (roll(w, 8))
		say(w, "  ownerReferences: [{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, name: %s, uid: %s, "
		       "controller: true}]\n",
		    PICK(w, "g1", "g2"), PICK(w, "u1", "u1", "u2"));
}

static inline const char *a_gateway_service(struct walk *w)
{
	return PICK(w, "g1-hatchway", "g1-hatchway", "g2-hatchway", "g2-extra");
}

/* The Service of a Gateway, or something in its way. Ports are right, stolen, of no pool, or names. */
static inline void make_gateway_service(struct walk *w)
{
	static const char *const ports[] = {"80", "8080", "81"};
	head(w, "v1", "Service", a_namespace(w), a_gateway_service(w));
	if (roll(w, 8))
		say(w, "  labels: {app.kubernetes.io/managed-by: hatchway}\n");
	make_owner(w);
	say(w, "spec:\n  type: LoadBalancer\n  ports:\n");
	for (unsigned i = 0, n = 1 + roll(w, 3); i < n; i++)
		say(w, "  - {name: port-%s, port: %s, targetPort: %s}\n", ports[i], ports[i],
		    PICK(w, "20000", "20000", "20001", "20002", "20003", "19999", "24095", "24096", "web"));
	if (roll(w, 3))
		say(w, "status: {loadBalancer: {ingress: [{%s}]}}\n",
		    PICK(w, "ip: 10.0.0.1", "ip: 127.0.0.9", "hostname: lb.x.y"));
}

static inline void make_pods(struct walk *w)
{
	head(w, "discovery.k8s.io/v1", "EndpointSlice", "a", PICK(w, "p1", "p2"));
	bool v6 = !roll(w, 3);
	say(w, "  labels: {kubernetes.io/service-name: pods}\naddressType: %s\nendpoints:\n", v6 ? "IPv6" : "IPv4");
	for (unsigned i = 0, n = 1 + roll(w, 3); i < n; i++)
		say(w, "- {addresses: [\"%s%u\"], nodeName: n%u, conditions: {ready: %s, terminating: %s}}\n",
		    v6 ? "fd00::" : "10.2.0.", 1 + roll(w, 3), roll(w, 2), PICK(w, "true", "false"), PICK(w, "true", "false"));
}

static inline void make_gateway_slice(struct walk *w)
{
	head(w, "discovery.k8s.io/v1", "EndpointSlice", a_namespace(w), PICK(w, "g1-hatchway-ipv4", "g2-extra-ipv6"));
	say(w, "  labels: {kubernetes.io/service-name: %s, app.kubernetes.io/managed-by: %s}\n", a_gateway_service(w),
	    PICK(w, "hatchway", "x"));
	make_owner(w);
	say(w, "addressType: IPv4\nendpoints: [{addresses: [10.2.0.1]}]\n");
}

static inline void make_slice(struct walk *w)
{
	head(w, "discovery.k8s.io/v1", "EndpointSlice", a_namespace(w), PICK(w, "e1", "e2", "e3"));
	bool v6 = !roll(w, 4);
	say(w, "  labels: {%s: %s}\naddressType: %s\n", PICK(w, "kubernetes.io/service-name", "kubernetes.io/service-name", "x"),
	    PICK(w, "s1", "s2"), v6 ? "IPv6" : "IPv4");
	say(w, "ports: [{name: web, port: %s}, {name: tls, port: 8443}]\nendpoints:\n", PICK(w, "8080", "8081"));
	for (unsigned i = 0, n = 1 + roll(w, 3); i < n; i++) {
		say(w, "- addresses: [\"%s%u\"]\n", v6 ? "fd00::" : "10.1.0.", 1 + roll(w, 4));
		say(w, "  conditions: {ready: %s, serving: %s, terminating: %s}\n", PICK(w, "true", "false"),
		    PICK(w, "true", "false"), PICK(w, "true", "false"));
		if (roll(w, 2))
			say(w, "  targetRef: {kind: Pod, name: pod-%u}\n", roll(w, 3));
	}
}

static inline void make_secret(struct walk *w)
{
	head(w, "v1", "Secret", a_namespace(w), PICK(w, "c1", "c2", "c3"));
	if (!roll(w, 3)) {
		say(w, "stringData: {%s}\n",
		    PICK(w, "auth: 'a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='", "auth: 'b:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='", "auth: 'a:b'",
		         ".htpasswd: 'a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='"));
		return;
	}
	say(w, "type: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n", PICK(w, CORE_A_CRT, CORE_A_CRT, CORE_B_CRT),
	    PICK(w, CORE_A_KEY, CORE_A_KEY, CORE_B_KEY));
}

static inline void make_config_map(struct walk *w)
{
	head(w, "v1", "ConfigMap", a_namespace(w), PICK(w, "m1", "m2"));
	say(w, "%s\n", PICK(w, "binaryData: {ca.crt: " CORE_A_CRT "}", "binaryData: {ca.crt: " CORE_B_CRT "}", "data: {ca.crt: x}",
	                    "data: {ca.pem: x}"));
}

static inline void make_policy(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "BackendTLSPolicy", a_namespace(w), PICK(w, "p1", "p2", "p3"));
	say(w, "spec:\n  targetRefs:\n  - {group: %s, kind: Service, name: %s%s}\n", roll(w, 16) ? "\"\"" : "x.y",
	    PICK(w, "s1", "s1", "s2", "s4"), PICK(w, "", ", sectionName: web", ", sectionName: tls", ", sectionName: no"));
	if (!roll(w, 4))
		say(w, "  - {group: \"\", kind: Service, name: s3}\n");
	say(w, "  validation:\n    hostname: %s\n    %s\n", PICK(w, "a.x.y", "b.x.y"),
	    PICK(w, "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: m1}]",
	         "caCertificateRefs: [{group: \"\", kind: ConfigMap, name: m1}, {group: \"\", kind: ConfigMap, name: m2}]",
	         "caCertificateRefs: [{group: \"\", kind: Secret, name: c1}]", "wellKnownCACertificates: System",
	         "wellKnownCACertificates: x.y/z"));
	if (!roll(w, 4))
		say(w, "    subjectAltNames: [{type: %s}]\n", PICK(w, "Hostname, hostname: a.x.y", "URI, uri: \"spiffe://a/b\""));
}

static inline void make_grant(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1beta1", "ReferenceGrant", a_namespace(w), PICK(w, "t1", "t2"));
	say(w, "spec:\n  from: [{group: gateway.networking.k8s.io, kind: %s, namespace: %s}]\n",
	    PICK(w, "HTTPRoute", "HTTPRoute", "GRPCRoute", "Gateway", "ListenerSet"), a_namespace(w));
	say(w, "  to: [{group: \"\", kind: %s%s}]\n", PICK(w, "Service", "Service", "Secret", "ConfigMap"),
	    PICK(w, "", ", name: s1", ", name: s2"));
}

/* ---- the world ---- */

static inline void make_own_filter(struct walk *w)
{
	head(w, "hatchway.dev/v1alpha1", "HatchwayFilter", a_namespace(w), PICK(w, "f1", "f2"));
	say(w, "spec: {%s}\n",
	    PICK(w, "addresses: {allow: [10.0.0.0/8]}", "addresses: {allow: ['::/0', 10.1.2.3/8], deny: [10.1.0.0/16]}",
	         "addresses: {deny: ['2001:db8::1/32']}", "addresses: {allow: [1.2.3.4/33]}", "addresses: {deny: ['::ffff:10.0.0.0/104']}",
	         "rateLimit: {requests: 5, unit: Second}", "rateLimit: {requests: 9, unit: Hour, header: X-Key}",
	         "basicAuth: {secretRef: {name: c1}}", "basicAuth: {secretRef: {name: c2}}, rateLimit: {requests: 6, unit: Second}"));
}

static inline void world_drop(struct walk *w, size_t i)
{
	object_unref(w->world[i]);
	w->world[i] = w->world[--w->n];
}

static inline void world_put(void *ctx, struct object *object)
{
	struct walk *w = ctx;
	size_t i = 0;
	while (i < w->n && object_cmp_key(w->world[i], object) != 0)
		i++;
	if (i < w->n)
		world_drop(w, i);
	assert_true(w->n < WORLD);
	w->world[w->n++] = object_ref(object);
	core_put(w->core, object);
}

static inline void step(struct walk *w)
{
	static void (*const make[])(struct walk *w) = {make_namespace, make_class, make_gateway, make_route,   make_route,
	                                               make_route,     make_route, make_route,   make_grpc_route, make_grpc_route, make_service, make_service,
	                                               make_slice,     make_slice, make_grant, make_gateway, make_secret,
	                                               make_parameters, make_gateway_service, make_gateway_service,
	                                               make_gateway_slice, make_pods, make_policy, make_policy, make_config_map, make_set, make_set,
	                                               make_own_filter, make_own_filter};
	if (w->n && !roll(w, 8)) {
		size_t i = roll(w, (unsigned)w->n);
		const struct object *o = w->world[i];
		size_t n = strlen(w->deleted);
		core_delete(w->core, o->kind, o->namespace, o->name);
		assert_true(snprintf(w->deleted + n, sizeof(w->deleted) - n, "\n%d %s/%s\n", (int)o->kind, o->namespace, o->name) <
		            (int)(sizeof(w->deleted) - n));
		world_drop(w, i);
		return;
	}
	buf_clear(w->text);
	make[roll(w, ARRAY_LEN(make))](w);
	fixture_objects(w->text->data, true, world_put, w);
}

static inline struct core *core_for_walk(bool cluster)
{
	static const char *const addresses[] = {"10.0.0.1"};
	static const struct port_map ports[] = {{81, 8080}, {80, 18080}};
	return core_new(&(struct core_options){
	        .controller_name = CONTROLLER_NAME,
	        .implicit_class = "hatchway",
	        .port_map = ports,
	        .n_port_map = ARRAY_LEN(ports),
	        .addresses = addresses,
	        .n_addresses = ARRAY_LEN(addresses),
	        .implicit_namespaces = true,
	        .pool_base = cluster ? 20000 : 0,
	        .pods_namespace = "a",
	        .pods_service = "pods",
	});
}

#endif
