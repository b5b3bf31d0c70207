/* Every validation rule, by table: a document's spec in flow YAML and the error it must have (NULL: accepted). Then
 * what decoders fill in, hashes, and the size of things. */
#include "controller/object/decode.h"

#include "controller/source/yaml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct rule_case {
	const char *spec, *error;
};

static int decode(const char *text, struct object **ret, unsigned *ret_line, struct err *err)
{
	struct yaml *yaml = yaml_open_bytes(text, strlen(text));
	struct arena scratch;
	arena_init(&scratch);
	struct node *document;
	int status = yaml_next(yaml, &scratch, &document, ret_line, err);
	if (status != 1)
		fail_msg("the test's own YAML: %s\n%s", err->text, text);
	status = object_decode(document, ret, ret_line, err);
	arena_done(&scratch);
	yaml_close(yaml);
	return status;
}

/* fmt has one %s for the spec; every error must begin with subject. */
static void run(const char *head, const char *tail, const char *subject, const struct rule_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *text = xmalloc(strlen(head) + strlen(cases[i].spec) + strlen(tail) + 1);
		strcpy(stpcpy(stpcpy(text, head), cases[i].spec), tail);
		struct object *object = NULL;
		struct err err = {.text = ""};
		unsigned line = 0;
		int status = decode(text, &object, &line, &err);
		char wanted[512] = "";
		if (cases[i].error)
			snprintf(wanted, sizeof(wanted), "%s: %s", subject, cases[i].error);
		if (status != (cases[i].error ? -EINVAL : 1) || strncmp(err.text, wanted, strlen(wanted)) != 0 ||
		    (cases[i].error && !line))
			fail_msg("%s\nwanted %s\nhave   %d line %u: %s", cases[i].spec, wanted, status, line, err.text);
		object_unref(object);
		free(text);
	}
}

#define API "gateway.networking.k8s.io/v1"
#define ROUTE(cases)                                                                                                   \
	run("{apiVersion: " API ", kind: HTTPRoute, metadata: {name: r, namespace: ns}, spec: ", "}",                  \
	    "HTTPRoute ns/r", cases, ARRAY_LEN(cases))
#define GATEWAY(cases)                                                                                                 \
	run("{apiVersion: " API ", kind: Gateway, metadata: {name: g}, spec: {gatewayClassName: c, ", "}}",            \
	    "Gateway default/g", cases, ARRAY_LEN(cases))
#define CORE(kind, cases)                                                                                              \
	run("{apiVersion: v1, kind: " kind ", metadata: {name: x}, ", "}", kind " default/x", cases, ARRAY_LEN(cases))

static char *repeat(const char *text, size_t n)
{
	char *out = xcalloc(n * strlen(text) + 1, 1), *at = out;
	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, text);
	return out;
}

/* spec with n times piece in the middle. */
static void run_repeated(const char *before, const char *piece, size_t n, const char *after, const char *error)
{
	char *middle = repeat(piece, n), *spec = xmalloc(strlen(before) + strlen(middle) + strlen(after) + 1);
	strcpy(stpcpy(stpcpy(spec, before), middle), after);
	struct rule_case one[] = {{spec, error}};
	ROUTE(one);
	free(middle);
	free(spec);
}

/* ---- metadata ---- */

static void test_metadata(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
	    {"{apiVersion: v1, kind: Namespace, metadata: {name: a}}", NULL},
	    {"{apiVersion: v1, kind: Namespace}", "Namespace ?: metadata: Required value"},
	    {"{apiVersion: v1, kind: Namespace, metadata: {}}", "Namespace ?: metadata.name: Required value"},
	    {"{apiVersion: v1, kind: Namespace, metadata: {name: 1}}",
	     "Namespace 1: metadata.name: Invalid value: \"number\": must be of type string: \"number\""},
	    {"{apiVersion: v1, kind: Namespace, metadata: {name: a.b}}",
	     "Namespace a.b: metadata.name: Invalid value: \"a.b\": should match"},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a.b, namespace: A}}",
	     "ConfigMap A/a.b: metadata.namespace: Invalid value: \"A\": should match"},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a/b}}",
	     "ConfigMap default/a/b: metadata.name: Invalid value: \"a/b\": should match"},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {x y: z}}}",
	     "ConfigMap default/a: metadata.labels: Invalid value: \"x y\": should match"},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {x: true}}}",
	     "ConfigMap default/a: metadata.labels.x: Invalid value: \"boolean\": must be of type string: \"boolean\""},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {x: 'a b'}}}",
	     "ConfigMap default/a: metadata.labels.x: Invalid value: \"a b\": should match"},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, creationTimestamp: today}}",
	     "ConfigMap default/a: metadata.creationTimestamp: Invalid value: \"today\": must be a time"},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: null, creationTimestamp: null}}", NULL},
	    {"{apiVersion: v1, kind: ConfigMap, metadata: [a]}",
	     "ConfigMap default/?: metadata: Invalid value: \"array\": must be of type object: \"array\""},
	    {"{apiVersion: " API ", kind: HTTPRoute, metadata: {name: a}}",
	     "HTTPRoute default/a: spec: Required value"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct object *object = NULL;
		struct err err = {.text = ""};
		unsigned line = 0;
		int status = decode(cases[i].text, &object, &line, &err);
		const char *wanted = cases[i].error ? cases[i].error : "";
		if (status != (cases[i].error ? -EINVAL : 1) || strncmp(err.text, wanted, strlen(wanted)) != 0)
			fail_msg("%s\nwanted %s\nhave   %d %s", cases[i].text, wanted, status, err.text);
		object_unref(object);
	}
}

static void test_unknown(void **state)
{
	static const char *const cases[] = {
	    "{apiVersion: v1, kind: Pod, metadata: {name: a}}",
	    "{apiVersion: v2, kind: Service, metadata: {name: a}}",
	    "{apiVersion: apps/v1, kind: Service}",
	    "{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: Gateway}",
	    "{kind: Service}",
	    "{apiVersion: v1}",
	    "{apiVersion: gateway.networking.k8s.io, kind: Gateway}",
	    "[a]",
	    "text",
	    "{apiVersion: [v1], kind: {a: b}}",
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct object *object = NULL;
		struct err err;
		unsigned line;
		assert_int_equal(decode(cases[i], &object, &line, &err), 0);
		assert_null(object);
	}
}

/* ---- what a person wrote ---- */

static void check_manifest(const char *text, int wanted_status, unsigned wanted_line, const char *wanted)
{
	struct yaml *yaml = yaml_open_bytes(text, strlen(text));
	struct arena scratch;
	arena_init(&scratch);
	struct node *document;
	struct object *object = NULL;
	struct err err = {.text = ""};
	unsigned line = 0;
	assert_int_equal(yaml_next(yaml, &scratch, &document, &line, &err), 1);
	int status = object_decode_manifest(document, &object, &line, &err);
	if (status != wanted_status || strcmp(err.text, wanted) != 0 || (status < 0 && line != wanted_line))
		fail_msg("%s\nwanted %d line %u: %s\nhave   %d line %u: %s", text, wanted_status, wanted_line, wanted,
		         status, line, err.text);
	/* An API server may be newer than we: what it delivers is not refused for a field. */
	struct object *lenient = NULL;
	if (strstr(wanted, "unknown field")) {
		assert_int_equal(object_decode(document, &lenient, &line, &err), 1);
		object_unref(lenient);
	}
	object_unref(object);
	arena_done(&scratch);
	yaml_close(yaml);
}

#define HEAD(kind) "apiVersion: gateway.networking.k8s.io/v1\nkind: " kind "\nmetadata: {name: a}\n"

static void test_strict_fields(void **state)
{
	check_manifest(HEAD("HTTPRoute") "spec:\n  rules:\n  - backendrefs:\n    - {name: x, port: 1}\n", -EINVAL, 6,
	               "HTTPRoute default/a: unknown field \"spec.rules[0].backendrefs\"");
	check_manifest(HEAD("HTTPRoute") "spec:\n  rules:\n  - {}\n  - filters:\n    - type: RequestRedirect\n"
	                                 "      requestRedirect:\n        statuscode: 301\n",
	               -EINVAL, 10,
	               "HTTPRoute default/a: unknown field \"spec.rules[1].filters[0].requestRedirect.statuscode\"");
	check_manifest(HEAD("HTTPRoute") "Spec: {}\nspec: {}\n", -EINVAL, 4,
	               "HTTPRoute default/a: unknown field \"Spec\"");
	check_manifest(HEAD("Gateway") "spec: {gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP, "
	                               "hostnames: a.b}]}\n",
	               -EINVAL, 4, "Gateway default/a: unknown field \"spec.listeners[0].hostnames\"");
	check_manifest(HEAD("GatewayClass") "spec: {controllerName: a.b/c, x: null}\n", -EINVAL, 4,
	               "GatewayClass a: unknown field \"spec.x\"");
	check_manifest(
	    HEAD("ReferenceGrant") "spec: {from: [{group: '', kind: A, namespace: b, name: c}], to: [{group: "
	                           "'', kind: A}]}\n",
	    -EINVAL, 4, "ReferenceGrant default/a: unknown field \"spec.from[0].name\"");
}

static void test_lenient_fields(void **state)
{
	check_manifest("{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a, anyThing: 1, "
	               "annotations: {a: b}}, spec: {}, status: {parents: [], x: 1}}",
	               1, 0, "");
	check_manifest(HEAD("HTTPRoute") "spec: {useDefaultGateways: All, rules: [{retry: {attempts: 3}, "
	                                 "sessionPersistence: {type: Cookie}, filters: [{type: ExternalAuth, "
	                                 "externalAuth: {protocol: HTTP, x: 1}}]}]}\n",
	               1, 0, "");
	check_manifest(
	    HEAD("Gateway") "spec: {defaultScope: All, gatewayClassName: c, infrastructure: {labels: {any: a}}, "
	                    "listeners: [{name: a, port: 1, protocol: HTTP}]}\n",
	    1, 0, "");
	check_manifest("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1, nodePort: 30000, "
	               "any: 1}], any: 2}, any: 3}",
	               1, 0, "");
}

static void test_strict_kinds(void **state)
{
	static const struct {
		const char *version, *kind;
		bool refused;
	} cases[] = {
	    {"gateway.networking.k8s.io/v1alpha2", "HTTPRoute", true},
	    {"gateway.networking.k8s.io/v1", "HttpRoute", true},
	    {"gateway.networking.k8s.io/v1", "Nonsense", true},
	    {"gateway.networking.k8s.io", "Gateway", true},
	    {"gateway.network.k8s.io/v1", "HTTPRoute", true},
	    {"gateway.networking.k8s.oi/v1", "Gateway", true},
	    {"networking.k8s.io/v1", "Gateway", true},
	    {"v1", "HTTPRoute", true},
	    {"v1", "service", true},
	    {"v2", "Service", true},
	    {"apps/v1", "Service", true},
	    {"discovery.k8s.io/v1beta1", "EndpointSlice", true},
	    {"gateway.networking.k8s.io/v1", "TLSRoute", false},
	    {"gateway.networking.k8s.io/v1alpha2", "TLSRoute", false},
	    {"gateway.networking.k8s.io/v1alpha2", "TCPRoute", false},
	    {"gateway.networking.k8s.io/v1alpha2", "UDPRoute", false},
	    {"gateway.networking.k8s.io/v1alpha1", "ListenerSet", true},
	    {"networking.istio.io/v1", "Gateway", false},
	    {"gateway.solo.io/v1", "Gateway", false},
	    {"serving.knative.dev/v1", "Service", false},
	    {"policy.linkerd.io/v1beta3", "HTTPRoute", false},
	    {"apps/v1", "Deployment", false},
	    {"v1", "Pod", false},
	    {"networking.k8s.io/v1", "Ingress", false},
	    {"apiextensions.k8s.io/v1", "CustomResourceDefinition", false},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[200], wanted[200];
		snprintf(text, sizeof(text), "\napiVersion: %s\nkind: %s\nmetadata: {name: a}\n", cases[i].version,
		         cases[i].kind);
		snprintf(wanted, sizeof(wanted), "no matches for kind \"%s\" in version \"%s\"", cases[i].kind,
		         cases[i].version);
		check_manifest(text, cases[i].refused ? -EINVAL : 0, 2, cases[i].refused ? wanted : "");
	}
}

/* ---- HTTPRoute ---- */

static void test_route_shape(void **state)
{
	static const struct rule_case cases[] = {
	    {"{}", NULL},
	    {"{unknown: 1, rules: [{alsoUnknown: {}}]}", NULL},
	    {"{rules: null, hostnames: null}", NULL},
	    {"[]", "spec: Invalid value: \"array\": must be of type object: \"array\""},
	    {"{rules: []}", "spec.rules: Invalid value: 0: should have at least 1 items"},
	    {"{rules: {}}", "spec.rules: Invalid value: \"object\": must be of type array: \"object\""},
	    {"{rules: [null]}", "spec.rules[0]: Invalid value: \"null\": must be of type object: \"null\""},
	    {"{rules: [{matches: []}]}", NULL},
	    {"{rules: [{name: A}]}", "spec.rules[0].name: Invalid value: \"A\": should match"},
	    {"{hostnames: [a.b, '*.c']}", NULL},
	    {"{hostnames: [A.b]}", "spec.hostnames[0]: Invalid value: \"A.b\": should match '^(\\*\\.)?[a-z0-9]"},
	    {"{hostnames: ['*']}", "spec.hostnames[0]: Invalid value: \"*\": should match"},
	    {"{hostnames: [a, 'b.*.c']}", "spec.hostnames[1]: Invalid value"},
	    {"{hostnames: ['a:80']}", "spec.hostnames[0]: Invalid value"},
	    {"{hostnames: ['']}", "spec.hostnames[0]: Invalid value: \"\": should be at least 1 chars long"},
	    {"{hostnames: a}", "spec.hostnames: Invalid value: \"string\": must be of type array: \"string\""},
	};
	ROUTE(cases);
	run_repeated("{hostnames: [", "a,", 16, "]}", NULL);
	run_repeated("{hostnames: [", "a,", 17, "]}", "spec.hostnames: Too many: 17: must have at most 16 items");
	run_repeated("{hostnames: [", "a", 254, "]}",
	             "spec.hostnames[0]: Too long: may not be more than 253 characters");
	run_repeated("{rules: [", "{},", 16, "]}", NULL);
	run_repeated("{rules: [", "{},", 17, "]}", "spec.rules: Too many: 17: must have at most 16 items");
	run_repeated("{rules: [{matches: [", "{},", 64, "]}]}", NULL);
	run_repeated("{rules: [{matches: [", "{},", 65, "]}]}", "spec.rules[0].matches: Too many: 65");
	run_repeated("{rules: [", "{matches: [{},{},{},{},{},{},{},{}]},", 16, "]}", NULL);
	run_repeated("{rules: [", "{matches: [{},{},{},{},{},{},{},{},{}]},", 15, "]}",
	             "spec.rules: While 16 rules and 64 matches per rule are allowed, the total number of matches");
}

static void test_route_parents(void **state)
{
	static const struct rule_case cases[] = {
	    {"{parentRefs: [{name: g}]}", NULL},
	    {"{parentRefs: [{}]}", "spec.parentRefs[0].name: Required value"},
	    {"{parentRefs: [{name: ''}]}",
	     "spec.parentRefs[0].name: Invalid value: \"\": should be at least 1 chars long"},
	    {"{parentRefs: [{name: g, port: 0}]}",
	     "spec.parentRefs[0].port: Invalid value: 0: should be greater than or equal to 1"},
	    {"{parentRefs: [{name: g, port: 65536}]}",
	     "spec.parentRefs[0].port: Invalid value: 65536: should be less than or equal to 65535"},
	    {"{parentRefs: [{name: g, port: '80'}]}",
	     "spec.parentRefs[0].port: Invalid value: \"string\": must be of type integer: \"string\""},
	    {"{parentRefs: [{name: g, port: 80.5}]}", "spec.parentRefs[0].port: Invalid value: \"number\""},
	    {"{parentRefs: [{name: g, group: 'A'}]}", "spec.parentRefs[0].group: Invalid value: \"A\""},
	    {"{parentRefs: [{name: g, group: ''}]}", NULL},
	    {"{parentRefs: [{name: g, kind: '1'}]}", "spec.parentRefs[0].kind: Invalid value: \"1\""},
	    {"{parentRefs: [{name: g, namespace: a.b}]}", "spec.parentRefs[0].namespace: Invalid value: \"a.b\""},
	    {"{parentRefs: [{name: g, sectionName: A}]}", "spec.parentRefs[0].sectionName: Invalid value: \"A\""},
	    {"{parentRefs: [{name: g, sectionName: a}, {name: g, sectionName: b}]}", NULL},
	    {"{parentRefs: [{name: g}, {name: g, namespace: other}]}", NULL},
	    {"{parentRefs: [{name: g}, {name: g, sectionName: b}]}",
	     "spec.parentRefs: sectionName must be specified when parentRefs includes 2 or more references to the same "
	     "parent"},
	    {"{parentRefs: [{name: g}, {name: g, port: 80}]}",
	     "spec.parentRefs: sectionName must be unique when parentRefs includes 2 or more references to the same "
	     "parent"},
	    {"{parentRefs: [{name: g, sectionName: a}, {name: h}, {name: g, sectionName: a, kind: Gateway}]}",
	     "spec.parentRefs: sectionName must be unique"},
	};
	ROUTE(cases);
	run_repeated("{parentRefs: [", "{name: g},", 33, "]}",
	             "spec.parentRefs: Too many: 33: must have at most 32 items");
}

#define PATH(type, value) "{rules: [{matches: [{path: {type: " type ", value: '" value "'}}]}]}"
#define AT_PATH "spec.rules[0].matches[0].path.value: "

static void test_route_path(void **state)
{
	static const struct rule_case cases[] = {
	    {PATH("Exact", "/a"), NULL},
	    {PATH("PathPrefix", "/"), NULL},
	    {PATH("RegularExpression", "a//[#"), NULL},
	    {"{rules: [{matches: [{path: {}}]}]}", NULL},
	    {"{rules: [{matches: [{path: {type: Exact}}]}]}", NULL},
	    {PATH("Prefix", "/"),
	     "spec.rules[0].matches[0].path.type: Unsupported value: \"Prefix\": supported values: "
	     "\"Exact\", \"PathPrefix\", \"RegularExpression\""},
	    {PATH("Exact", ""),
	     AT_PATH "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']"},
	    {PATH("PathPrefix", "a"), AT_PATH "value must be an absolute path and start with '/'"},
	    {PATH("Exact", "/a//b"), AT_PATH "must not contain '//' when type one of ['Exact', 'PathPrefix']"},
	    {PATH("Exact", "/a/./b"), AT_PATH "must not contain '/./'"},
	    {PATH("Exact", "/a/../b"), AT_PATH "must not contain '/../'"},
	    {PATH("Exact", "/a%2fb"), AT_PATH "must not contain '%2f'"},
	    {PATH("Exact", "/a%2Fb"), AT_PATH "must not contain '%2F'"},
	    {PATH("Exact", "/a#b"), AT_PATH "must not contain '#'"},
	    {PATH("Exact", "/a/.."), AT_PATH "must not end with '/..'"},
	    {PATH("PathPrefix", "/a/."), AT_PATH "must not end with '/.'"},
	    {PATH("PathPrefix", "/a b"),
	     AT_PATH "must only contain valid characters (matching ^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|"
	             "[%][0-9a-fA-F]{2})+$) for types ['Exact', 'PathPrefix']"},
	    {PATH("PathPrefix", "/a%2"), AT_PATH "must only contain valid characters"},
	    {PATH("PathPrefix", "/a%20"), NULL},
	    {PATH("PathPrefix", "/\xc3\xa9"), AT_PATH "must only contain valid characters"},
	};
	ROUTE(cases);
	run_repeated("{rules: [{matches: [{path: {value: '/", "a", 1023, "'}}]}]}", NULL);
	run_repeated("{rules: [{matches: [{path: {value: '/", "a", 1024, "'}}]}]}",
	             AT_PATH "Too long: may not be more than 1024");
}

#define MATCH(text) "{rules: [{matches: [" text "]}]}"
#define AT_MATCH "spec.rules[0].matches[0]."

static void test_route_matches(void **state)
{
	static const struct rule_case cases[] = {
	    {MATCH("{method: GET}"), NULL},
	    {MATCH("{method: get}"),
	     AT_MATCH "method: Unsupported value: \"get\": supported values: \"GET\", \"HEAD\""},
	    {MATCH("{headers: [{name: a, value: b}]}"), NULL},
	    {MATCH("{headers: [{name: a, value: b}, {name: A, value: b}]}"), NULL},
	    {MATCH("{headers: [{name: a}]}"), AT_MATCH "headers[0].value: Required value"},
	    {MATCH("{headers: [{value: a}]}"), AT_MATCH "headers[0].name: Required value"},
	    {MATCH("{headers: [{name: 'a b', value: b}]}"),
	     AT_MATCH "headers[0].name: Invalid value: \"a b\": should match"},
	    {MATCH("{headers: [{name: a, value: ''}]}"), AT_MATCH "headers[0].value: Invalid value: \"\""},
	    {MATCH("{headers: [{name: a, value: b, type: Regex}]}"),
	     AT_MATCH "headers[0].type: Unsupported value: \"Regex\""},
	    {MATCH("{headers: [{name: a, value: b}, {name: c, value: d}, {name: a, value: e}]}"),
	     AT_MATCH "headers[2]: Duplicate value: {\"name\":\"a\"}"},
	    {MATCH("{queryParams: [{name: a, value: b, type: RegularExpression}]}"), NULL},
	    {MATCH("{queryParams: [{name: 'a[]', value: b}]}"), AT_MATCH "queryParams[0].name: Invalid value: \"a[]\""},
	    {MATCH("{queryParams: [{name: a, value: b}, {name: a, value: c}]}"),
	     AT_MATCH "queryParams[1]: Duplicate value: {\"name\":\"a\"}"},
	    {MATCH("{queryParams: [{name: a, value: 1}]}"), AT_MATCH "queryParams[0].value: Invalid value: \"number\""},
	};
	ROUTE(cases);
	run_repeated("{rules: [{matches: [{headers: [", "{name: a, value: b},", 17, "]}]}]}",
	             AT_MATCH "headers: Too many: 17: must have at most 16 items");
	run_repeated("{rules: [{matches: [{headers: [{name: a, value: ", "v", 4097, "}]}]}]}",
	             AT_MATCH "headers[0].value: Too long");
	run_repeated("{rules: [{matches: [{queryParams: [{name: a, value: ", "v", 1025, "}]}]}]}",
	             AT_MATCH "queryParams[0].value: Too long");
	run_repeated("{rules: [{matches: [{headers: [{name: ", "n", 257, ", value: b}]}]}]}",
	             AT_MATCH "headers[0].name: Too long");
}

/* ---- GRPCRoute ---- */

#define GRPC(cases)                                                                                                    \
	run("{apiVersion: " API ", kind: GRPCRoute, metadata: {name: r, namespace: ns}, spec: ", "}",                  \
	    "GRPCRoute ns/r", cases, ARRAY_LEN(cases))
#define METHOD(text) "{rules: [{matches: [{method: {" text "}}]}]}"
#define AT_METHOD "spec.rules[0].matches[0].method: "
#define SESSION(text) "{rules: [{sessionPersistence: {" text "}}]}"
#define AT_SESSION "spec.rules[0].sessionPersistence"
#define GRPC_FILTER(text) "{rules: [{filters: [{" text "}]}]}"

static void test_grpc_route(void **state)
{
	static const struct rule_case cases[] = {
	    {"{}", NULL},
	    {"{rules: []}", NULL},
	    {"{rules: [{}]}", NULL},
	    {"{rules: [{name: one, matches: [{}], sessionPersistence: {}}]}", NULL},
	    {SESSION("sessionName: any thing, type: Header, absoluteTimeout: 1h, idleTimeout: 30m"), NULL},
	    {SESSION("absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}"), NULL},
	    {SESSION("cookieConfig: {}"), NULL},
	    {SESSION("cookieConfig: {lifetimeType: Permanent}"),
	     AT_SESSION ": AbsoluteTimeout must be specified when cookie lifetimeType is Permanent"},
	    {SESSION("type: Header, cookieConfig: {}"), AT_SESSION ": cookieConfig can only be set with type Cookie"},
	    {SESSION("absoluteTimeout: 1d"), AT_SESSION ".absoluteTimeout"},
	    {SESSION("type: cookie"), AT_SESSION ".type"},
	    {SESSION("cookieConfig: {lifetimeType: Always}"), AT_SESSION ".cookieConfig.lifetimeType"},
	    {METHOD("service: foo.Bar, method: Get_2"), NULL},
	    {METHOD("service: .foo._bar"), NULL},
	    {METHOD("type: RegularExpression, service: 'a/[('"), NULL},
	    {METHOD("type: RegularExpression, service: ''"), NULL},
	    {METHOD(""), AT_METHOD "One or both of 'service' or 'method' must be specified"},
	    {METHOD("type: RegularExpression"), AT_METHOD "One or both of 'service' or 'method' must be specified"},
	    {METHOD("service: ''"), AT_METHOD "service must only contain valid characters (matching ^(?i)\\.?[a-z_]"},
	    {METHOD("service: foo/bar"), AT_METHOD "service must only contain valid characters"},
	    {METHOD("service: foo."), AT_METHOD "service must only contain valid characters"},
	    {METHOD("service: foo..bar"), AT_METHOD "service must only contain valid characters"},
	    {METHOD("service: 1foo"), AT_METHOD "service must only contain valid characters"},
	    {METHOD("method: 1a"), AT_METHOD "method must only contain valid characters (matching ^[A-Za-z_][A-Za-z_0-9]*$)"},
	    {METHOD("method: a.b"), AT_METHOD "method must only contain valid characters"},
	    {METHOD("type: Prefix, method: a"), "spec.rules[0].matches[0].method.type: Unsupported value: \"Prefix\""},
	    {"{rules: [{matches: [{headers: [{name: a, value: b}, {name: a, value: c}]}]}]}",
	     "spec.rules[0].matches[0].headers[1]: Duplicate value: {\"name\":\"a\"}"},
	    {"{hostnames: ['a_b']}", "spec.hostnames[0]: Invalid value"},
	    {"{parentRefs: [{name: g}, {name: g}]}", "spec.parentRefs: sectionName must be unique"},
	    {"{rules: [{backendRefs: [{name: s}]}]}", "spec.rules[0].backendRefs[0]: Must have port for Service reference"},
	    {"{rules: [{backendRefs: [{name: s, port: 1, filters: [{type: URLRewrite}]}]}]}",
	     "spec.rules[0].backendRefs[0].filters[0].type: Unsupported value: \"URLRewrite\""},
	    {GRPC_FILTER("type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}"), NULL},
	    {GRPC_FILTER("type: RequestMirror, requestMirror: {backendRef: {name: s, port: 1}}"), NULL},
	    {GRPC_FILTER("type: CORS"), "spec.rules[0].filters[0].type: Unsupported value: \"CORS\""},
	    {GRPC_FILTER("type: RequestHeaderModifier"),
	     "spec.rules[0].filters[0]: filter.requestHeaderModifier must be specified for RequestHeaderModifier filter.type"},
	};
	GRPC(cases);
}

/* What a method becomes: the path it is, a prefix of it, or patterns. */
static void test_grpc_paths(void **state)
{
	static const struct {
		const char *spec;
		enum path_match_type type;
		const char *path, *service, *method;
	} cases[] = {
	    {"{rules: [{}]}", PATH_MATCH_PREFIX, "/", "", ""},
	    {"{rules: [{matches: []}]}", PATH_MATCH_PREFIX, "/", "", ""},
	    {"{rules: [{matches: [{}]}]}", PATH_MATCH_PREFIX, "/", "", ""},
	    {METHOD("service: a.B, method: C"), PATH_MATCH_EXACT, "/a.B/C", "", ""},
	    {METHOD("service: a.B"), PATH_MATCH_PREFIX, "/a.B", "", ""},
	    {METHOD("method: C"), PATH_MATCH_PREFIX, "/", "", "C"},
	    {METHOD("type: RegularExpression, service: a.*, method: C+"), PATH_MATCH_PREFIX, "/", "a.*", "C+"},
	    {METHOD("type: RegularExpression, service: a.*, method: ''"), PATH_MATCH_PREFIX, "/", "a.*", ""},
	    {METHOD("type: RegularExpression, service: '', method: ''"), PATH_MATCH_PREFIX, "/", "", ""},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[512];
		struct object *object = NULL;
		struct err err = {.text = ""};
		unsigned line;
		snprintf(text, sizeof(text), "{apiVersion: " API ", kind: GRPCRoute, metadata: {name: r}, spec: %s}", cases[i].spec);
		assert_int_equal(decode(text, &object, &line, &err), 1);
		const struct http_route *route = (const struct http_route *)object;
		assert_int_equal(route->n_rules, 1);
		assert_int_equal(route->rules[0].n_matches, 1);
		const struct http_match *match = route->rules[0].matches;
		assert_int_equal(match->path_type, cases[i].type);
		assert_string_equal(match->path, cases[i].path);
		assert_string_equal(match->grpc_service ? match->grpc_service : "", cases[i].service);
		assert_string_equal(match->grpc_method ? match->grpc_method : "", cases[i].method);
		object_unref(object);
	}
}

#define FILTERS_OF(text) "{rules: [{filters: [" text "]}]}"
#define AT_FILTER "spec.rules[0].filters[0]"

static void test_filter_union(void **state)
{
	static const char *const kinds[][2] = {
	    /* the second: all the union's field needs */
	    {"RequestHeaderModifier", "requestHeaderModifier: {}"},
	    {"ResponseHeaderModifier", "responseHeaderModifier: {}"},
	    {"RequestRedirect", "requestRedirect: {}"},
	    {"URLRewrite", "urlRewrite: {}"},
	    {"CORS", "cors: {}"},
	    {"RequestMirror", "requestMirror: {backendRef: {name: s, port: 80}}"},
	    {"ExtensionRef", "extensionRef: {group: g, kind: K, name: nm}"},
	    {"ExternalAuth", "externalAuth: {}"},
	};
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
			char spec[400], error[200];
			int field = (int)strcspn(kinds[k][1], ":");
			snprintf(spec, sizeof(spec), "{rules: [{filters: [{type: %s, %s%s%s}]}]}", kinds[i][0],
			         kinds[i][1], i == k ? "" : ", ", i == k ? "" : kinds[k][1]);
			snprintf(error, sizeof(error),
			         AT_FILTER ": filter.%.*s must be nil if the filter.type is not %s", field, kinds[k][1],
			         kinds[k][0]);
			struct rule_case one[] = {{spec, i == k ? NULL : error}};
			ROUTE(one);
		}
		char spec[200], error[200];
		snprintf(spec, sizeof(spec), "{rules: [{filters: [{type: %s}]}]}", kinds[i][0]);
		snprintf(error, sizeof(error), AT_FILTER ": filter.%.*s must be specified for %s filter.type",
		         (int)strcspn(kinds[i][1], ":"), kinds[i][1], kinds[i][0]);
		struct rule_case one[] = {{spec, error}};
		ROUTE(one);
	}
	static const struct rule_case cases[] = {
	    {FILTERS_OF("{}"), AT_FILTER ".type: Required value"},
	    {FILTERS_OF("{type: Foo}"), AT_FILTER ".type: Unsupported value: \"Foo\": supported values: "},
	};
	ROUTE(cases);
}

static void test_filter_lists(void **state)
{
	static const char *const repeated[][2] = {
	    {"RequestHeaderModifier", "requestHeaderModifier"},
	    {"ResponseHeaderModifier", "responseHeaderModifier"},
	    {"RequestRedirect", "requestRedirect"},
	    {"URLRewrite", "urlRewrite"},
	    {"CORS", "cors"},
	};
	for (size_t i = 0; i < ARRAY_LEN(repeated); i++) {
		char spec[300], error[100];
		snprintf(spec, sizeof(spec), "{rules: [{filters: [{type: %s, %s: {}}, {type: %s, %s: {}}]}]}",
		         repeated[i][0], repeated[i][1], repeated[i][0], repeated[i][1]);
		snprintf(error, sizeof(error), "spec.rules[0].filters: %s filter cannot be repeated", repeated[i][0]);
		struct rule_case one[] = {{spec, error}};
		ROUTE(one);
	}
	static const struct rule_case cases[] = {
	    {FILTERS_OF("{type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}}},"
	                "{type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}}}"),
	     NULL},
	    {FILTERS_OF("{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}"),
	     "spec.rules[0].filters: May specify either httpRouteFilterRequestRedirect or "
	     "httpRouteFilterRequestRewrite, "
	     "but not both"},
	    {"{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: s, port: 80}]}]}",
	     "spec.rules[0]: RequestRedirect filter must not be used together with backendRefs"},
	    {"{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: []}]}", NULL},
	};
	ROUTE(cases);
	run_repeated("{rules: [{filters: [", "{type: ExtensionRef, extensionRef: {group: g, kind: K, name: nm}},", 17,
	             "]}]}", "spec.rules[0].filters: Too many: 17");
}

#define HEADERS(text) FILTERS_OF("{type: RequestHeaderModifier, requestHeaderModifier: {" text "}}")
#define REDIRECT(text) FILTERS_OF("{type: RequestRedirect, requestRedirect: {" text "}}")
#define REWRITE(text) FILTERS_OF("{type: URLRewrite, urlRewrite: {" text "}}")
#define MIRROR(text) FILTERS_OF("{type: RequestMirror, requestMirror: {" text "}}")
#define CORS(text) FILTERS_OF("{type: CORS, cors: {" text "}}")
#define EXTENSION(text) FILTERS_OF("{type: ExtensionRef, extensionRef: {" text "}}")

static void test_filter_fields(void **state)
{
	static const struct rule_case cases[] = {
	    {HEADERS("set: [{name: a, value: b}], add: [{name: a, value: b}], remove: [c, d]"), NULL},
	    {HEADERS("set: [{name: 'a:', value: b}]"), AT_FILTER ".requestHeaderModifier.set[0].name: Invalid value"},
	    {HEADERS("set: [{name: a, value: ''}]"), AT_FILTER ".requestHeaderModifier.set[0].value: Invalid value"},
	    {HEADERS("add: [{name: a, value: b}, {name: a, value: c}]"),
	     AT_FILTER ".requestHeaderModifier.add[1]: Duplicate value: {\"name\":\"a\"}"},
	    {HEADERS("remove: [a, b, a]"), AT_FILTER ".requestHeaderModifier.remove[2]: Duplicate value: \"a\""},
	    {REDIRECT("scheme: ftp"),
	     AT_FILTER ".requestRedirect.scheme: Unsupported value: \"ftp\": supported values: \"http\", \"https\""},
	    {REDIRECT("scheme: https, hostname: a.b, port: 8443, statusCode: 308"), NULL},
	    {REDIRECT("statusCode: 300"),
	     AT_FILTER ".requestRedirect.statusCode: Unsupported value: 300: supported values: \"301\""},
	    {REDIRECT("statusCode: -302"), AT_FILTER ".requestRedirect.statusCode: Invalid value: -302"},
	    {REDIRECT("hostname: '*.a'"), AT_FILTER ".requestRedirect.hostname: Invalid value: \"*.a\""},
	    {REDIRECT("port: 0"), AT_FILTER ".requestRedirect.port: Invalid value: 0"},
	    {REDIRECT("path: {}"), AT_FILTER ".requestRedirect.path.type: Required value"},
	    {REDIRECT("path: {type: ReplaceFullPath}"),
	     AT_FILTER ".requestRedirect.path: replaceFullPath must be specified when "
	               "type is set to 'ReplaceFullPath'"},
	    {REDIRECT("path: {type: ReplaceFullPath, replaceFullPath: /, replacePrefixMatch: /}"),
	     AT_FILTER ".requestRedirect.path: type must be 'ReplacePrefixMatch' when replacePrefixMatch is set"},
	    {REWRITE("path: {type: ReplacePrefixMatch}"),
	     AT_FILTER ".urlRewrite.path: replacePrefixMatch must be specified when "
	               "type is set to 'ReplacePrefixMatch'"},
	    {REWRITE("path: {type: ReplacePrefixMatch, replaceFullPath: /}"),
	     AT_FILTER ".urlRewrite.path: type must be 'ReplaceFullPath' when replaceFullPath is set"},
	    {REWRITE("hostname: a.b, path: {type: ReplaceFullPath, replaceFullPath: ''}"), NULL},
	    {REWRITE("hostname: 'a b'"), AT_FILTER ".urlRewrite.hostname: Invalid value"},
	    {MIRROR(""), AT_FILTER ".requestMirror.backendRef: Required value"},
	    {MIRROR("backendRef: {name: s}"),
	     AT_FILTER ".requestMirror.backendRef: Must have port for Service reference"},
	    {MIRROR("backendRef: {name: s, kind: Other}"), NULL},
	    {MIRROR("backendRef: {name: s, port: 1}, percent: 101"),
	     AT_FILTER ".requestMirror.percent: Invalid value: 101"},
	    {MIRROR("backendRef: {name: s, port: 1}, percent: 1, fraction: {numerator: 1}"),
	     AT_FILTER ".requestMirror: Only one of percent or fraction may be specified in HTTPRequestMirrorFilter"},
	    {MIRROR("backendRef: {name: s, port: 1}, fraction: {numerator: 101}"),
	     AT_FILTER ".requestMirror.fraction: numerator must be less than or equal to denominator"},
	    {MIRROR("backendRef: {name: s, port: 1}, fraction: {}"),
	     AT_FILTER ".requestMirror.fraction.numerator: Required value"},
	    {MIRROR("backendRef: {name: s, port: 1}, fraction: {numerator: 0, denominator: 0}"),
	     AT_FILTER ".requestMirror.fraction.denominator: Invalid value: 0"},
	    {CORS("allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: [a], maxAge: 1"),
	     NULL},
	    {CORS("allowOrigins: ['https://*.a.com', 'http://b:8080']"), NULL},
	    {CORS("allowOrigins: ['*', 'http://b']"),
	     AT_FILTER ".cors.allowOrigins: AllowOrigins cannot contain '*' alongside other origins"},
	    {CORS("allowOrigins: [a.com]"), AT_FILTER ".cors.allowOrigins[0]: Invalid value: \"a.com\""},
	    {CORS("allowMethods: [GET, '*']"),
	     AT_FILTER ".cors.allowMethods: AllowMethods cannot contain '*' alongside other methods"},
	    {CORS("allowMethods: [get]"), AT_FILTER ".cors.allowMethods[0]: Unsupported value: \"get\""},
	    {CORS("allowHeaders: [a, '*']"),
	     AT_FILTER ".cors.allowHeaders: AllowHeaders cannot contain '*' alongside other methods"},
	    {CORS("exposeHeaders: [a, a]"), AT_FILTER ".cors.exposeHeaders[1]: Duplicate value: \"a\""},
	    {CORS("maxAge: 0"), AT_FILTER ".cors.maxAge: Invalid value: 0"},
	    {CORS("allowCredentials: 'true'"),
	     AT_FILTER ".cors.allowCredentials: Invalid value: \"string\": must be of type boolean"},
	    {EXTENSION("group: g, kind: K"), AT_FILTER ".extensionRef.name: Required value"},
	    {EXTENSION("group: g, kind: '', name: nm"), AT_FILTER ".extensionRef.kind: Invalid value"},
	};
	ROUTE(cases);
	run_repeated(
	    "{rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: ", "a",
	    1025, "}}}]}]}", AT_FILTER ".urlRewrite.path.replaceFullPath: Too long");
}

#define PREFIX_REWRITE                                                                                                 \
	"filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]"
#define PREFIX_REDIRECT                                                                                                \
	"filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: "    \
	"/}}}]"

static void test_replace_prefix(void **state)
{
	static const struct rule_case cases[] = {
	    {"{rules: [{" PREFIX_REWRITE "}]}", NULL},
	    {"{rules: [{" PREFIX_REWRITE ", matches: [{path: {value: /a}}]}]}", NULL},
	    {"{rules: [{" PREFIX_REWRITE ", matches: [{path: {type: Exact, value: /a}}]}]}",
	     "spec.rules[0]: When using URLRewrite filter with path.replacePrefixMatch, exactly one PathPrefix match "
	     "must be specified"},
	    {"{rules: [{" PREFIX_REDIRECT ", matches: [{}, {}]}]}",
	     "spec.rules[0]: When using RequestRedirect filter with path.replacePrefixMatch, exactly one PathPrefix "
	     "match must be specified"},
	    {"{rules: [{" PREFIX_REWRITE ", matches: []}]}", "spec.rules[0]: When using URLRewrite filter"},
	    {"{rules: [{matches: [{}, {}], backendRefs: [{name: s, port: 1, " PREFIX_REWRITE "}]}]}",
	     "spec.rules[0]: Within backendRefs, When using URLRewrite filter with path.replacePrefixMatch, exactly "
	     "one"},
	    {"{rules: [{matches: [{}, {}], backendRefs: [{name: s, port: 1, " PREFIX_REDIRECT "}]}]}",
	     "spec.rules[0]: Within backendRefs, when using RequestRedirect filter with path.replacePrefixMatch, "
	     "exactly one"},
	};
	ROUTE(cases);
}

#define BACKEND(text) "{rules: [{backendRefs: [" text "]}]}"
#define AT_BACKEND "spec.rules[0].backendRefs[0]"

static void test_route_backends(void **state)
{
	static const struct rule_case cases[] = {
	    {BACKEND("{name: s, port: 80}"), NULL},
	    {BACKEND("{name: s}"), AT_BACKEND ": Must have port for Service reference"},
	    {BACKEND("{name: s, group: example.com, kind: Thing}"), NULL},
	    {BACKEND("{port: 80}"), AT_BACKEND ".name: Required value"},
	    {BACKEND("{name: s, port: 80, weight: 0}"), NULL},
	    {BACKEND("{name: s, port: 80, weight: 1000000}"), NULL},
	    {BACKEND("{name: s, port: 80, weight: 1000001}"), AT_BACKEND ".weight: Invalid value: 1000001"},
	    {BACKEND("{name: s, port: 80, weight: -1}"), AT_BACKEND ".weight: Invalid value: -1"},
	    {BACKEND("{name: s, port: 80, weight: ten}"), AT_BACKEND ".weight: Invalid value: \"string\""},
	    {BACKEND("{name: s, port: 80, weight: 99999999999999999999999}"), AT_BACKEND ".weight: Invalid value"},
	    {BACKEND("{name: s, port: 80, filters: [{type: CORS}]}"),
	     AT_BACKEND ".filters[0]: filter.cors must be specified"},
	};
	ROUTE(cases);
	run_repeated("{rules: [{backendRefs: [", "{name: s, port: 80},", 17, "]}]}",
	             "spec.rules[0].backendRefs: Too many: 17");
}

#define TIMEOUTS(text) "{rules: [{timeouts: {" text "}}]}"
#define AT_TIMEOUTS "spec.rules[0].timeouts"

static void test_route_timeouts(void **state)
{
	static const struct rule_case cases[] = {
	    {TIMEOUTS("request: 10s, backendRequest: 10s"), NULL},
	    {TIMEOUTS("request: 0s, backendRequest: 10s"), NULL},
	    {TIMEOUTS("backendRequest: 10s"), NULL},
	    {TIMEOUTS("request: 1s, backendRequest: 1001ms"),
	     AT_TIMEOUTS ": backendRequest timeout cannot be longer than request timeout"},
	    {TIMEOUTS("request: 10"), AT_TIMEOUTS ".request: Invalid value: \"number\": must be of type string"},
	    {TIMEOUTS("request: 1.5s"), AT_TIMEOUTS ".request: Invalid value: \"1.5s\": should match"},
	    {TIMEOUTS("backendRequest: 1d"), AT_TIMEOUTS ".backendRequest: Invalid value: \"1d\": should match"},
	};
	ROUTE(cases);
}

/* ---- Gateway, GatewayClass, ReferenceGrant ---- */

#define LISTENERS(text) "listeners: [" text "]"
#define AT_LISTENER "spec.listeners[0]"

static void test_gateway_listeners(void **state)
{
	static const struct rule_case cases[] = {
	    {LISTENERS("{name: a, port: 80, protocol: HTTP}"), NULL},
	    {LISTENERS(""), "spec.listeners: Invalid value: 0: should have at least 1 items"},
	    {"x: y", "spec.listeners: Required value"},
	    {LISTENERS("{port: 80, protocol: HTTP}"), AT_LISTENER ".name: Required value"},
	    {LISTENERS("{name: a, protocol: HTTP}"), AT_LISTENER ".port: Required value"},
	    {LISTENERS("{name: a, port: 80}"), AT_LISTENER ".protocol: Required value"},
	    {LISTENERS("{name: A, port: 80, protocol: HTTP}"), AT_LISTENER ".name: Invalid value: \"A\""},
	    {LISTENERS("{name: a, port: 65536, protocol: HTTP}"), AT_LISTENER ".port: Invalid value: 65536"},
	    {LISTENERS("{name: a, port: 80, protocol: 'a b'}"), AT_LISTENER ".protocol: Invalid value: \"a b\""},
	    {LISTENERS("{name: a, port: 80, protocol: example.com/bar}"), NULL},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, hostname: '*.com'}"), NULL},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, hostname: '*'}"),
	     AT_LISTENER ".hostname: Invalid value: \"*\""},
	    {LISTENERS("{name: a, port: 80, protocol: TCP, hostname: a}"),
	     "spec.listeners: hostname must not be specified for protocols ['TCP', 'UDP']"},
	    {LISTENERS("{name: a, port: 80, protocol: UDP, hostname: a}"),
	     "spec.listeners: hostname must not be specified"},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}"),
	     "spec.listeners[1]: Duplicate value: {\"name\":\"a\"}"},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}"),
	     "spec.listeners: Combination of port, protocol and hostname must be unique for each listener"},
	    {LISTENERS(
	         "{name: a, port: 80, protocol: HTTP, hostname: x}, {name: b, port: 80, protocol: HTTP, hostname: x}"),
	     "spec.listeners: Combination of port, protocol and hostname must be unique for each listener"},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, hostname: x}, {name: b, port: 80, protocol: HTTP}"), NULL},
	    {LISTENERS("{name: a, port: 53, protocol: TCP}, {name: b, port: 53, protocol: UDP}"), NULL},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: s}]}}"),
	     "spec.listeners: tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']"},
	    {LISTENERS("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}}"), NULL},
	    {LISTENERS("{name: a, port: 443, protocol: HTTPS, tls: {options: {a: b}}}"), NULL},
	    {LISTENERS("{name: a, port: 443, protocol: HTTPS}"), NULL},
	    {LISTENERS("{name: a, port: 443, protocol: HTTPS, tls: {}}"),
	     AT_LISTENER ".tls: certificateRefs or options must be specified when mode is Terminate"},
	    {LISTENERS("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}"),
	     "spec.listeners: tls mode must be Terminate for protocol HTTPS"},
	    {LISTENERS("{name: a, port: 443, protocol: TLS}"), "spec.listeners: tls mode must be set for protocol TLS"},
	    {LISTENERS("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}"), NULL},
	    {LISTENERS("{name: a, port: 443, protocol: TLS, tls: {mode: Other}}"),
	     AT_LISTENER ".tls.mode: Unsupported value: \"Other\""},
	    {LISTENERS("{name: a, port: 443, protocol: TLS, tls: {certificateRefs: [{}]}}"),
	     AT_LISTENER ".tls.certificateRefs[0].name: Required value"},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}"),
	     AT_LISTENER ".allowedRoutes.namespaces.from: Unsupported value: \"None\""},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {selector: {matchExpressions: "
	               "[{key: a}]}}}}"),
	     AT_LISTENER ".allowedRoutes.namespaces.selector.matchExpressions[0].operator: Required value"},
	    {LISTENERS("{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{group: g}]}}"),
	     AT_LISTENER ".allowedRoutes.kinds[0].kind: Required value"},
	};
	GATEWAY(cases);
}

#define ONE_LISTENER "listeners: [{name: a, port: 80, protocol: HTTP}], "

static void test_gateway_rest(void **state)
{
	static const struct rule_case cases[] = {
	    {ONE_LISTENER
	     "addresses: [{value: 10.0.0.1}, {value: '::1'}, {type: Hostname, value: a.b}, {type: IPAddress}, {}]",
	     NULL},
	    {ONE_LISTENER "addresses: [{value: a}]",
	     "spec.addresses[0].value: Invalid value: \"a\": must be a valid ipv4 or ipv6 address"},
	    {ONE_LISTENER "addresses: [{type: Hostname, value: 'a b'}]",
	     "spec.addresses[0]: Hostname value must be empty or contain only"},
	    {ONE_LISTENER "addresses: [{type: example.com/pool, value: anything}]", NULL},
	    {ONE_LISTENER "addresses: [{type: pool}]", "spec.addresses[0].type: Invalid value: \"pool\": should match"},
	    {ONE_LISTENER "addresses: [{value: 10.0.0.1}, {value: 10.0.0.1}]",
	     "spec.addresses: IPAddress values must be unique"},
	    {ONE_LISTENER "addresses: [{type: Hostname, value: a}, {type: Hostname, value: a}]",
	     "spec.addresses: Hostname values must be unique"},
	    {ONE_LISTENER "infrastructure: {labels: {a/b: c}, annotations: {a: 'b c'}}", NULL},
	    {ONE_LISTENER "infrastructure: {labels: {'a b': c}}",
	     "spec.infrastructure.labels: Label keys must be in the form"},
	    {ONE_LISTENER "infrastructure: {labels: {a: 'b c'}}",
	     "spec.infrastructure.labels.a: Invalid value: \"b c\""},
	    {ONE_LISTENER "infrastructure: {labels: {a: a, b: b, c: c, d: d, e: e, f: f, g: g, h: h, i: i}}",
	     "spec.infrastructure.labels: Too many: 9: must have at most 8 items"},
	    {ONE_LISTENER "infrastructure: {annotations: {/a: b}}",
	     "spec.infrastructure.annotations: Annotation keys must be in the form"},
	    {ONE_LISTENER "infrastructure: {parametersRef: {group: g, kind: K}}",
	     "spec.infrastructure.parametersRef.name: Required value"},
	    {ONE_LISTENER "tls: {frontend: {}}", "spec.tls.frontend.default: Required value"},
	    {ONE_LISTENER "tls: {frontend: {default: {validation: {}}}}",
	     "spec.tls.frontend.default.validation.caCertificateRefs: Required"},
	    {ONE_LISTENER "tls: {frontend: {default: {validation: {caCertificateRefs: []}}}}",
	     "spec.tls.frontend.default.validation.caCertificateRefs: Invalid value: 0: should have at least 1 items"},
	    {ONE_LISTENER "tls: {frontend: {default: {}, perPort: [{port: 1, tls: {}}, {port: 1, tls: {}}]}}",
	     "spec.tls.frontend.perPort[1]: Duplicate value: {\"port\":\"1\"}"},
	    {ONE_LISTENER "tls: {backend: {clientCertificateRef: {}}}",
	     "spec.tls.backend.clientCertificateRef.name: Required value"},
	    {ONE_LISTENER "allowedListeners: {namespaces: {from: Some}}",
	     "spec.allowedListeners.namespaces.from: Unsupported value"},
	    {ONE_LISTENER "allowedListeners: {}", NULL},
	};
	GATEWAY(cases);
}

static void test_class_and_grant(void **state)
{
	static const struct rule_case classes[] = {
	    {"{controllerName: hatchway.dev/controller}", NULL},
	    {"{}", "spec.controllerName: Required value"},
	    {"{controllerName: hatchway}", "spec.controllerName: Invalid value: \"hatchway\": should match"},
	    {"{controllerName: a.b/c, parametersRef: {group: g, kind: K}}", "spec.parametersRef.name: Required value"},
	    {"{controllerName: a.b/c, description: 0123456789012345678901234567890123456789012345678901234567890123a}",
	     "spec.description: Too long: may not be more than 64 characters"},
	};
	run("{apiVersion: " API "beta1, kind: GatewayClass, metadata: {name: c}, spec: ", "}", "GatewayClass c",
	    classes, ARRAY_LEN(classes));
	static const struct rule_case grants[] = {
	    {"{from: [{group: g, kind: K, namespace: ns}], to: [{group: '', kind: Service}]}", NULL},
	    {"{to: [{group: '', kind: Service}]}", "spec.from: Required value"},
	    {"{from: [], to: [{group: '', kind: Service}]}",
	     "spec.from: Invalid value: 0: should have at least 1 items"},
	    {"{from: [{group: g, kind: K}], to: [{group: '', kind: Service}]}",
	     "spec.from[0].namespace: Required value"},
	    {"{from: [{kind: K, namespace: ns}], to: [{group: '', kind: Service}]}",
	     "spec.from[0].group: Required value"},
	    {"{from: [{group: g, kind: K, namespace: ns}], to: [{kind: Service}]}", "spec.to[0].group: Required value"},
	    {"{from: [{group: g, kind: K, namespace: ns}], to: [{group: '', kind: Service, name: ''}]}",
	     "spec.to[0].name: Invalid"},
	};
	run("{apiVersion: " API "beta1, kind: ReferenceGrant, metadata: {name: g}, spec: ", "}",
	    "ReferenceGrant default/g", grants, ARRAY_LEN(grants));
	run("{apiVersion: " API ", kind: ReferenceGrant, metadata: {name: g}, spec: ", "}", "ReferenceGrant default/g",
	    grants, ARRAY_LEN(grants));
}

static void test_own_filter(void **state)
{
	static const struct rule_case cases[] = {
	    {"{addresses: {allow: [10.0.0.0/8, '2001:DB8::/32']}}", NULL},
	    {"{addresses: {deny: [10.0.0.0/8], allow: [0.0.0.0/0]}}", NULL},
	    {"{addresses: {deny: [10.0.0.0/99]}}", NULL}, /* the graph's concern, as the API server lets it in */
	    {"{rateLimit: {requests: 1, unit: Second}}", NULL},
	    {"{rateLimit: {requests: 1000000, unit: Hour, header: X-Key}, basicAuth: {secretRef: {name: s}, realm: 'a b'}}", NULL},
	    {"{}", "spec: one of addresses, rateLimit and basicAuth must be specified"},
	    {"{rateLimit: {}}", "spec.rateLimit.requests: Required value"},
	    {"{rateLimit: {requests: 0, unit: Second}}", "spec.rateLimit.requests: Invalid value: 0: should be greater than or equal to 1"},
	    {"{rateLimit: {requests: 1000001, unit: Second}}", "spec.rateLimit.requests: Invalid value"},
	    {"{rateLimit: {requests: 1, unit: second}}", "spec.rateLimit.unit: Unsupported value: \"second\""},
	    {"{rateLimit: {requests: 1, unit: Day}}", "spec.rateLimit.unit: Unsupported value"},
	    {"{rateLimit: {requests: 1, unit: Second, header: 'a b'}}", "spec.rateLimit.header: Invalid value"},
	    {"{basicAuth: {}}", "spec.basicAuth.secretRef: Required value"},
	    {"{basicAuth: {secretRef: {}}}", "spec.basicAuth.secretRef.name: Required value"},
	    {"{basicAuth: {secretRef: {name: s}, realm: ''}}", "spec.basicAuth.realm: Invalid value"},
	    {"{basicAuth: {secretRef: {name: s}, realm: 'a\"b'}}", "spec.basicAuth.realm: Invalid value"},
	    {"{addresses: {}}", "spec.addresses: one of allow and deny must be specified"},
	    {"{addresses: {allow: []}}", "spec.addresses.allow: Invalid value: 0: should have at least 1 items"},
	    {"{addresses: {allow: [10.0.0.1]}}", "spec.addresses.allow[0]: Invalid value: \"10.0.0.1\""},
	    {"{addresses: {deny: ['10.0.0.0/8 ']}}", "spec.addresses.deny[0]: Invalid value"},
	    {"{addresses: {deny: [\"10.0.0.0/8\\n\"]}}", "spec.addresses.deny[0]: Invalid value"},
	    {"{addresses: {deny: ['10.0.0.0/8;allow=0.0.0.0/0']}}", "spec.addresses.deny[0]: Invalid value"},
	    {"{addresses: {deny: ['fe80::1%eth0/64']}}", "spec.addresses.deny[0]: Invalid value"},
	    {"{addresses: {deny: [10.0.0.0/8, 10.0.0.0/8]}}", "spec.addresses.deny[1]: Duplicate value: \"10.0.0.0/8\""},
	};
	run("{apiVersion: hatchway.dev/v1alpha1, kind: HatchwayFilter, metadata: {name: f}, spec: ", "}", "HatchwayFilter default/f",
	    cases, ARRAY_LEN(cases));
	/* A slip must not open what was to be closed. */
	check_manifest("\napiVersion: hatchway.dev/v1alpha1\nkind: HatchwayFilter\nmetadata: {name: f}\nspec:\n  addresses:\n"
	               "    deny: [10.0.0.0/8]\n    alow: [10.0.0.0/8]\n",
	               -EINVAL, 8, "HatchwayFilter default/f: unknown field \"spec.addresses.alow\"");
}

#define TARGET "targetRefs: [{group: '', kind: Service, name: s}], "
#define CA "caCertificateRefs: [{group: '', kind: ConfigMap, name: c}], "
#define NAMES(list) "{" TARGET "validation: {hostname: a.b, " CA "subjectAltNames: [" list "]}}"

static void test_policy(void **state)
{
	static const struct rule_case cases[] = {
	    {"{" TARGET "validation: {hostname: a.b, " CA "}}", NULL},
	    {"{" TARGET "validation: {hostname: a.b, wellKnownCACertificates: System}, options: {x.y/z: v}}", NULL},
	    {"{validation: {hostname: a.b, " CA "}}", "spec.targetRefs: Required value"},
	    {"{targetRefs: [], validation: {hostname: a.b, " CA "}}", "spec.targetRefs: Invalid value: 0: should have at least 1 items"},
	    {"{targetRefs: [{kind: Service, name: s}], validation: {hostname: a.b, " CA "}}", "spec.targetRefs[0].group: Required value"},
	    {"{targetRefs: [{group: '', kind: Service, name: s, sectionName: a}, {group: '', kind: Service, name: s, sectionName: b}], "
	     "validation: {hostname: a.b, " CA "}}", NULL},
	    {"{targetRefs: [{group: '', kind: Service, name: s, sectionName: a}, {group: '', kind: Service, name: s}], "
	     "validation: {hostname: a.b, " CA "}}",
	     "spec.targetRefs: sectionName must be specified when targetRefs includes 2 or more references to the same"},
	    {"{targetRefs: [{group: '', kind: Service, name: s}, {group: '', kind: Service, name: s}], "
	     "validation: {hostname: a.b, " CA "}}",
	     "spec.targetRefs: sectionName must be unique when targetRefs includes 2 or more references to the same"},
	    {"{" TARGET "validation: {" CA "}}", "spec.validation.hostname: Required value"},
	    {"{" TARGET "validation: {hostname: \"*.b\", " CA "}}", "spec.validation.hostname: Invalid value"},
	    {"{" TARGET "validation: {hostname: a.b}}",
	     "spec.validation: must specify either CACertificateRefs or WellKnownCACertificates"},
	    {"{" TARGET "validation: {hostname: a.b, caCertificateRefs: []}}",
	     "spec.validation: must specify either CACertificateRefs or WellKnownCACertificates"},
	    {"{" TARGET "validation: {hostname: a.b, " CA "wellKnownCACertificates: System}}",
	     "spec.validation: must not contain both CACertificateRefs and WellKnownCACertificates"},
	    {"{" TARGET "validation: {hostname: a.b, wellKnownCACertificates: Mine}}",
	     "spec.validation.wellKnownCACertificates: Invalid value"},
	    {NAMES("{type: Hostname, hostname: \"*.a.b\"}, {type: URI, uri: \"spiffe://a/b\"}"), NULL},
	    {NAMES("{type: Hostname}"),
	     "spec.validation.subjectAltNames[0]: SubjectAltName element must contain Hostname, if Type is set to"},
	    {NAMES("{type: URI, hostname: a.b, uri: \"spiffe://a/b\"}"),
	     "spec.validation.subjectAltNames[0]: SubjectAltName element must not contain Hostname, if Type is not"},
	    {NAMES("{type: URI}"),
	     "spec.validation.subjectAltNames[0]: SubjectAltName element must contain URI, if Type is set to URI"},
	    {NAMES("{type: Hostname, hostname: a.b, uri: \"spiffe://a/b\"}"),
	     "spec.validation.subjectAltNames[0]: SubjectAltName element must not contain URI, if Type is not set to"},
	    {NAMES("{type: URI, uri: \"/a\"}"), "spec.validation.subjectAltNames[0].uri: Invalid value"},
	    {NAMES("{type: IP, uri: \"a://b\"}"), "spec.validation.subjectAltNames[0].type: Unsupported value"},
	};
	run("{apiVersion: " API ", kind: BackendTLSPolicy, metadata: {name: p}, spec: ", "}", "BackendTLSPolicy default/p", cases,
	    ARRAY_LEN(cases));
}

/* ---- ListenerSet ---- */

static void test_listener_set_rules(void **state)
{
	static const struct rule_case cases[] = {
	    {"{parentRef: {name: g}, listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: x.y}]}", NULL},
	    {"{parentRef: {name: g, kind: Bucket, group: x.y, namespace: teams}, listeners: [{name: a, port: 443, protocol: HTTPS}]}", NULL},
	    {"{listeners: [{name: a, port: 80, protocol: HTTP}]}", "spec.parentRef: Required value"},
	    {"{parentRef: {namespace: n}, listeners: [{name: a, port: 80, protocol: HTTP}]}", "spec.parentRef.name: Required value"},
	    {"{parentRef: {name: g}}", "spec.listeners: Required value"},
	    {"{parentRef: {name: g}, listeners: []}", "spec.listeners: Invalid value: 0: should have at least 1 items"},
	    {"{parentRef: {name: g}, listeners: [{name: a, protocol: HTTP}]}", "spec.listeners[0].port: Required value"},
	    {"{parentRef: {name: g}, listeners: [{name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: c}]}}]}",
	     "spec.listeners: tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']"},
	    {"{parentRef: {name: g}, listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}]}",
	     "spec.listeners: Combination of port, protocol and hostname must be unique for each listener"},
	    {"{parentRef: {name: g}, listeners: [{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}]}",
	     "spec.listeners[0].allowedRoutes.namespaces.from: Unsupported value"},
	};
	run("{apiVersion: " API ", kind: ListenerSet, metadata: {name: l}, spec: ", "}", "ListenerSet default/l", cases, ARRAY_LEN(cases));
}

/* ---- Service, EndpointSlice, Secret, ConfigMap ---- */

static void test_service(void **state)
{
	static const struct rule_case cases[] = {
	    {"spec: {ports: [{port: 80}]}", NULL},
	    {"spec: {ports: [{port: 80, targetPort: web}]}", NULL},
	    {"spec: {}", "spec.ports: Required value"},
	    {"spec: {clusterIP: None}", NULL},
	    {"spec: {type: ExternalName, externalName: a.b}", NULL},
	    {"spec: {type: ExternalName}", "spec.externalName: Required value"},
	    {"spec: {type: Other, ports: [{port: 80}]}", "spec.type: Unsupported value: \"Other\""},
	    {"spec: {ports: [{}]}", "spec.ports[0].port: Required value"},
	    {"spec: {ports: [{port: 0}]}", "spec.ports[0].port: Invalid value: 0"},
	    {"spec: {ports: [{port: 80, protocol: tcp}]}", "spec.ports[0].protocol: Unsupported value: \"tcp\""},
	    {"spec: {ports: [{port: 80, targetPort: 70000}]}", "spec.ports[0].targetPort: Invalid value: 70000"},
	    {"spec: {ports: [{port: 80, targetPort: 'a b'}]}", "spec.ports[0].targetPort: Invalid value: \"a b\""},
	    {"spec: {ports: [{port: 80, targetPort: '80'}]}", "spec.ports[0].targetPort: Invalid value: \"80\""},
	    {"spec: {ports: [{port: 80, appProtocol: 'a b'}]}", "spec.ports[0].appProtocol: Invalid value"},
	    {"spec: {ports: [{port: 80, name: A}]}", "spec.ports[0].name: Invalid value: \"A\""},
	    {"spec: {ports: [{port: 80, name: a}, {port: 81}]}", "spec.ports[1].name: Required value"},
	    {"spec: {ports: [{port: 80, name: a}, {port: 81, name: a}]}", "spec.ports[1].name: Duplicate value: \"a\""},
	    {"spec: {ports: [{port: 80, name: a}, {port: 80, name: b}]}",
	     "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"},
	    {"spec: {ports: [{port: 80, name: a}, {port: 80, name: b, protocol: UDP}]}", NULL},
	};
	CORE("Service", cases);
	struct object *object = NULL;
	struct err err;
	unsigned line;
	assert_int_equal(decode("{apiVersion: v1, kind: Service, metadata: {name: 1a}, spec: {clusterIP: None}}",
	                        &object, &line, &err),
	                 -EINVAL);
	assert_non_null(strstr(err.text, "Service default/1a: metadata.name: Invalid value"));
}

static void test_slice(void **state)
{
	static const struct rule_case cases[] = {
	    {"addressType: IPv4, endpoints: [{addresses: [127.0.0.1]}], ports: [{port: 80}]", NULL},
	    {"endpoints: []", "addressType: Required value"},
	    {"addressType: IPv5", "addressType: Unsupported value: \"IPv5\""},
	    {"addressType: IPv4, endpoints: null, ports: null", NULL},
	    {"addressType: IPv4, endpoints: [{}]", "endpoints[0].addresses: Required value"},
	    {"addressType: IPv4, endpoints: [{addresses: []}]",
	     "endpoints[0].addresses: Invalid value: 0: should have at least 1 items"},
	    {"addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2, 'x']}]",
	     "endpoints[1].addresses[1]: Invalid value: \"x\": must be a valid IPv4 address"},
	    {"addressType: IPv4, endpoints: [{addresses: [a, a]}]",
	     "endpoints[0].addresses[1]: Duplicate value: \"a\""},
	    {"addressType: IPv4, endpoints: [{addresses: [0.0.0.0]}]",
	     "endpoints[0].addresses[0]: Invalid value: \"0.0.0.0\": may not be unspecified"},
	    {"addressType: IPv4, endpoints: [{addresses: [169.254.1.1]}]", "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: IPv4, endpoints: [{addresses: [224.0.0.1]}]", "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: IPv4, endpoints: [{addresses: ['::1']}]", "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: IPv6, endpoints: [{addresses: ['::1', 'fd00::2']}]", NULL},
	    {"addressType: IPv6, endpoints: [{addresses: ['fe80::1']}]", "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: IPv6, endpoints: [{addresses: ['::']}]", "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: IPv6, endpoints: [{addresses: ['::ffff:1.2.3.4']}]",
	     "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: FQDN, endpoints: [{addresses: [a.b]}]", NULL},
	    {"addressType: FQDN, endpoints: [{addresses: ['a_b']}]", "endpoints[0].addresses[0]: Invalid value"},
	    {"addressType: IPv4, endpoints: [{addresses: [10.0.0.1], conditions: {ready: 'true'}}]",
	     "endpoints[0].conditions.ready: Invalid value: \"string\": must be of type boolean"},
	    {"addressType: IPv4, ports: [{name: a}, {name: a}]", "ports[1].name: Duplicate value: \"a\""},
	    {"addressType: IPv4, ports: [{}, {}]", "ports[1].name: Duplicate value: \"\""},
	    {"addressType: IPv4, ports: [{name: A}]", "ports[0].name: Invalid value: \"A\""},
	    {"addressType: IPv4, ports: [{protocol: X}]", "ports[0].protocol: Unsupported value: \"X\""},
	};
	run("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: x}, ", "}",
	    "EndpointSlice default/x", cases, ARRAY_LEN(cases));
}

static void test_data(void **state)
{
	static const struct rule_case secrets[] = {
	    {"data: {a: aGk=}, stringData: {b: c}", NULL},
	    {"data: {a: '*'}", "data.a: Invalid value: must be base64"},
	    {"data: {a b: ''}", "data: Invalid value: \"a b\": should match"},
	    {"data: {..: ''}", "data: Invalid value: \"..\": not a valid key"},
	    {"type: kubernetes.io/tls, data: {tls.crt: ''}", "data[tls.key]: Required value"},
	    {"type: kubernetes.io/tls, data: {tls.crt: ''}, stringData: {tls.key: ''}", NULL},
	};
	CORE("Secret", secrets);
	static const struct rule_case maps[] = {
	    {"data: {a: b}, binaryData: {c: aGk=}", NULL},
	    {"data: {a: 1}", "data.a: Invalid value: \"number\": must be of type string"},
	    {"data: {a: b}, binaryData: {a: aGk=}",
	     "binaryData: Invalid value: \"a\": duplicate of key present in data"},
	    {"binaryData: {a: 'a'}", "binaryData.a: Invalid value: must be base64"},
	};
	CORE("ConfigMap", maps);
}

/* ---- what is decoded ---- */

static struct object *decode_good(const char *text)
{
	struct object *object = NULL;
	struct err err = {.text = ""};
	unsigned line;
	if (decode(text, &object, &line, &err) != 1)
		fail_msg("%s\n%s", text, err.text);
	return object;
}

static void test_route_decoded(void **state)
{
	struct http_route *route = (struct http_route *)decode_good(
	    "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: HTTPRoute\n"
	    "metadata: {name: r, generation: 7, uid: u, creationTimestamp: '1970-01-01T00:01:00Z', labels: {a: b}}\n"
	    "spec:\n  parentRefs: [{name: g}, {name: h, namespace: i, sectionName: s, port: 80}]\n  hostnames: [x.y]\n"
	    "  rules:\n  - {}\n  - name: two\n    matches: [{path: {type: Exact, value: /a}, method: GET, headers: "
	    "[{name: h, "
	    "value: v, type: RegularExpression}]}]\n    timeouts: {request: 1s500ms}\n    retry: {attempts: 3, codes: [500, 504], backoff: 25ms}\n"
	    "    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: b}], remove: "
	    "[c]}}]\n"
	    "    backendRefs: [{name: s, port: 8080}, {name: t, namespace: o, port: 1, weight: 9}]\n"
	    "  - filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, "
	    "replacePrefixMatch: ''}}}]\n");
	const struct object *object = &route->object;
	assert_int_equal(object->kind, KIND_HTTPROUTE);
	assert_int_equal(object->version, VERSION_V1BETA1);
	assert_string_equal(object->namespace, "default");
	assert_int_equal(object->generation, 7);
	assert_int_equal(object->created, 60);
	assert_string_equal(route->parent_refs[0].namespace, "default");
	assert_false(route->parent_refs[0].namespace_given);
	assert_string_equal(route->parent_refs[0].group, "gateway.networking.k8s.io");
	assert_string_equal(route->parent_refs[0].kind, "Gateway");
	assert_null(route->parent_refs[0].section_name);
	assert_true(route->parent_refs[1].namespace_given);
	assert_string_equal(route->parent_refs[1].namespace, "i");
	assert_int_equal(route->parent_refs[1].port, 80);
	assert_int_equal(route->n_rules, 3);
	const struct http_rule *rule = &route->rules[0];
	assert_int_equal(rule->n_matches, 1);
	assert_int_equal(rule->matches[0].path_type, PATH_MATCH_PREFIX);
	assert_string_equal(rule->matches[0].path, "/");
	assert_int_equal(rule->request_timeout_ms, -1);
	assert_int_equal(rule->n_backend_refs, 0);
	rule = &route->rules[1];
	assert_string_equal(rule->name, "two");
	assert_int_equal(rule->matches[0].path_type, PATH_MATCH_EXACT);
	assert_string_equal(rule->matches[0].method, "GET");
	assert_true(rule->matches[0].headers[0].regex);
	assert_int_equal(rule->request_timeout_ms, 1500);
	assert_int_equal(rule->retry->n_codes, 2);
	assert_int_equal(rule->retry->codes[1], 504);
	assert_int_equal(rule->retry->attempts, 3);
	assert_int_equal(rule->retry->backoff_ms, 25);
	assert_null(rule->session);
	assert_int_equal(rule->filters[0].type, FILTER_RESPONSE_HEADER_MODIFIER);
	assert_string_equal(rule->filters[0].headers.set[0].value, "b");
	assert_string_equal(rule->filters[0].headers.remove[0].name, "c");
	assert_null(rule->filters[0].headers.remove[0].value);
	assert_string_equal(rule->backend_refs[0].namespace, "default");
	assert_int_equal(rule->backend_refs[0].weight, 1);
	assert_string_equal(rule->backend_refs[1].namespace, "o");
	assert_int_equal(rule->backend_refs[1].weight, 9);
	rule = &route->rules[2];
	assert_int_equal(rule->filters[0].type, FILTER_REQUEST_REDIRECT);
	assert_int_equal(rule->filters[0].redirect_status, 302);
	assert_int_equal(rule->filters[0].path.type, PATH_REPLACE_PREFIX);
	assert_string_equal(rule->filters[0].path.value, "");
	object_unref(&route->object);
}

static void test_cors_decoded(void **state)
{
	struct http_route *route = (struct http_route *)decode_good(
	    "apiVersion: " API "\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{filters: [{type: CORS, cors: {}}]}, "
	    "{filters: [{type: CORS, cors: {allowOrigins: ['http://a', 'https://*.b'], allowMethods: [GET], allowHeaders: "
	    "[a, b, z], exposeHeaders: ['*'], allowCredentials: true, maxAge: 7}}]}]}\n");
	const struct cors_filter *cors = route->rules[0].filters[0].cors;
	assert_int_equal(cors->n_origins + cors->n_methods + cors->n_headers + cors->n_expose, 0);
	assert_int_equal(cors->max_age, 5);
	assert_false(cors->credentials);
	cors = route->rules[1].filters[0].cors;
	assert_int_equal(cors->n_origins, 2);
	assert_string_equal(cors->origins[1], "https://*.b");
	assert_string_equal(cors->methods[0], "GET");
	assert_int_equal(cors->n_headers, 3);
	assert_string_equal(cors->headers[2], "z");
	assert_string_equal(cors->expose[0], "*");
	assert_int_equal(cors->max_age, 7);
	assert_true(cors->credentials);
	object_unref(&route->object);
}

static void check_mirrors(const char *text)
{
	struct http_route *route = (struct http_route *)decode_good(text);
	const struct http_rule *rule = &route->rules[0];
	assert_int_equal(rule->n_mirrors, 3);
	assert_string_equal(rule->mirrors[0].ref.name, "a");
	assert_string_equal(rule->mirrors[0].ref.kind, "Service");
	assert_string_equal(rule->mirrors[0].ref.namespace, "default");
	assert_int_equal(rule->mirrors[0].filter, 1);
	assert_int_equal(rule->mirrors[0].numerator, 100);
	assert_int_equal(rule->mirrors[0].denominator, 100);
	assert_string_equal(rule->mirrors[1].ref.namespace, "o");
	assert_int_equal(rule->mirrors[1].ref.port, 81);
	assert_int_equal(rule->mirrors[1].numerator, 20);
	assert_int_equal(rule->mirrors[2].filter, 3);
	assert_int_equal(rule->mirrors[2].numerator, 1);
	assert_int_equal(rule->mirrors[2].denominator, 100);
	object_unref(&route->object);
}

#define MIRRORS(kind, filter)                                                                                          \
	"apiVersion: " API "\nkind: " kind "\nmetadata: {name: r}\nspec: {rules: [{filters: [{" filter "}, "             \
	"{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}}}, "                                    \
	"{type: RequestMirror, requestMirror: {backendRef: {name: b, namespace: o, port: 81}, percent: 20}}, "         \
	"{type: RequestMirror, requestMirror: {backendRef: {name: c, port: 82}, fraction: {numerator: 1}}}]}]}\n"

static void test_mirrors_decoded(void **state)
{
	check_mirrors(MIRRORS("HTTPRoute", "type: CORS, cors: {}"));
	check_mirrors(MIRRORS("GRPCRoute", "type: RequestHeaderModifier, requestHeaderModifier: {}"));
}

static void test_route_defaults(void **state)
{
	struct http_route *route =
	    (struct http_route *)decode_good("{apiVersion: " API ", kind: HTTPRoute, metadata: {name: r}, spec: {}}");
	assert_int_equal(route->n_rules, 1);
	assert_int_equal(route->rules[0].n_matches, 1);
	assert_int_equal(route->object.generation, 1);
	assert_int_equal(route->object.created, 0);
	assert_string_equal(route->object.uid, "");
	object_unref(&route->object);
	route = (struct http_route *)decode_good(
	    "{apiVersion: " API ", kind: HTTPRoute, metadata: {name: r}, spec: {rules: [{matches: []}]}}");
	assert_int_equal(route->rules[0].n_matches, 1);
	assert_string_equal(route->rules[0].matches[0].path, "/");
	object_unref(&route->object);
}

static void test_gateway_decoded(void **state)
{
	struct gateway *gateway = (struct gateway *)decode_good(
	    "{apiVersion: " API
	    ", kind: Gateway, metadata: {name: g, namespace: infra}, spec: {gatewayClassName: c, addresses: [{value: "
	    "10.0.0.1}, {type: Hostname}], infrastructure: {labels: {a: b}, parametersRef: {group: g, kind: K, name: "
	    "nm}}, listeners: ["
	    "{name: a, port: 80, protocol: HTTP}, {name: b, port: 443, protocol: HTTPS, hostname: '*.x', tls: "
	    "{certificateRefs: [{name: s}]},"
	    "allowedRoutes: {kinds: [{kind: HTTPRoute}], namespaces: {from: Selector, selector: {matchLabels: {l: m}, "
	    "matchExpressions: "
	    "[{key: k, operator: In, values: [v, w]}]}}}}]}}");
	assert_int_equal(gateway->n_listeners, 2);
	const struct listener *listener = &gateway->listeners[0];
	assert_null(listener->hostname);
	assert_int_equal(listener->from, FROM_SAME);
	assert_int_equal(listener->tls_mode, TLS_MODE_NONE);
	assert_int_equal(listener->n_kinds, 0);
	listener = &gateway->listeners[1];
	assert_string_equal(listener->hostname, "*.x");
	assert_int_equal(listener->tls_mode, TLS_MODE_TERMINATE);
	assert_string_equal(listener->certificate_refs[0].kind, "Secret");
	assert_string_equal(listener->certificate_refs[0].namespace, "infra");
	assert_int_equal(listener->from, FROM_SELECTOR);
	assert_string_equal(listener->selector.match_labels[0].value, "m");
	assert_string_equal(listener->selector.match_expressions[0].values[1], "w");
	assert_string_equal(listener->kinds[0].group, "gateway.networking.k8s.io");
	assert_string_equal(gateway->addresses[0].type, "IPAddress");
	assert_null(gateway->addresses[1].value);
	assert_string_equal(gateway->parameters->kind, "K");
	assert_false(gateway->allowed_listeners);
	assert_int_equal(gateway->listeners_from, FROM_NONE);
	object_unref(&gateway->object);
}

static void test_allowed_listeners(void **state)
{
	static const struct {
		const char *allowed;
		enum from_namespaces from;
	} cases[] = {{"{}", FROM_NONE}, {"{namespaces: {}}", FROM_NONE}, {"{namespaces: {from: None}}", FROM_NONE},
	             {"{namespaces: {from: All}}", FROM_ALL}, {"{namespaces: {from: Same}}", FROM_SAME},
	             {"{namespaces: {from: Selector, selector: {matchLabels: {l: m}}}}", FROM_SELECTOR}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[400];
		snprintf(text, sizeof(text), "{apiVersion: " API ", kind: Gateway, metadata: {name: g}, spec: {gatewayClassName: c, "
		         "listeners: [{name: a, port: 80, protocol: HTTP}], allowedListeners: %s}}", cases[i].allowed);
		struct gateway *gateway = (struct gateway *)decode_good(text);
		assert_true(gateway->allowed_listeners);
		assert_int_equal(gateway->listeners_from, cases[i].from);
		if (cases[i].from == FROM_SELECTOR)
			assert_string_equal(gateway->listeners_selector.match_labels[0].value, "m");
		object_unref(&gateway->object);
	}
}

static void test_listener_set(void **state)
{
	struct listener_set *set = (struct listener_set *)decode_good(
	    "{apiVersion: " API ", kind: ListenerSet, metadata: {name: l, namespace: teams}, spec: {parentRef: {name: g}, listeners: ["
	    "{name: a, port: 443, protocol: HTTPS, hostname: a.b, tls: {certificateRefs: [{name: c}]}}]}}");
	assert_string_equal(set->gateway.group, GATEWAY_API_GROUP);
	assert_string_equal(set->gateway.kind, "Gateway");
	assert_string_equal(set->gateway.namespace, "teams");
	assert_string_equal(set->gateway.name, "g");
	assert_int_equal(set->n_listeners, 1);
	assert_string_equal(set->listeners[0].hostname, "a.b");
	assert_string_equal(set->listeners[0].certificate_refs[0].namespace, "teams");
	assert_int_equal(set->listeners[0].from, FROM_SAME);
	object_unref(&set->object);
}

static void test_own_filter_decoded(void **state)
{
	struct own_filter *filter = (struct own_filter *)decode_good(
	    "{apiVersion: hatchway.dev/v1alpha1, kind: HatchwayFilter, metadata: {name: f}, spec: {addresses: {allow: ['::/0'], deny: [1.2.3.4/5, 2.3.4.5/6]}}}");
	assert_int_equal(filter->n_allow, 1);
	assert_string_equal(filter->allow[0], "::/0");
	assert_int_equal(filter->n_deny, 2);
	assert_string_equal(filter->deny[1], "2.3.4.5/6");
	assert_int_equal(filter->requests, 0);
	assert_null(filter->secret);
	assert_null(filter->realm);
	object_unref(&filter->object);
	filter = (struct own_filter *)decode_good(
	    "{apiVersion: hatchway.dev/v1alpha1, kind: HatchwayFilter, metadata: {name: f}, spec: {rateLimit: {requests: 7, unit: Hour, header: X}, basicAuth: {secretRef: {name: s}}}}");
	assert_int_equal(filter->requests, 7);
	assert_int_equal(filter->unit, LIMIT_HOUR);
	assert_string_equal(filter->header, "X");
	assert_string_equal(filter->secret, "s");
	assert_string_equal(filter->realm, "f");
	object_unref(&filter->object);
}

/* An absent `ready` is ready; `serving` follows ready; an absent port is 0. */
static void test_slice_decoded(void **state)
{
	struct endpoint_slice *slice =
	    (struct endpoint_slice *)decode_good("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: "
	                                         "{name: s, labels: {kubernetes.io/service-name: svc}}, addressType: "
	                                         "IPv4, ports: [{name: null}], endpoints: [{addresses: [10.0.0.1]}, "
	                                         "{addresses: [10.0.0.2], conditions: {ready: false}, targetRef: "
	                                         "{kind: Pod, name: p}}, {addresses: [10.0.0.3], conditions: {ready: "
	                                         "false, serving: true, terminating: true}}, {addresses: [10.0.0.4], "
	                                         "conditions: {ready: null}}]}");
	assert_string_equal(slice->service, "svc");
	assert_int_equal(slice->ports[0].port, 0);
	assert_string_equal(slice->ports[0].name, "");
	assert_string_equal(slice->ports[0].protocol, "TCP");
	static const bool wanted[4][3] = {
	    {true, true, false}, {false, false, false}, {false, true, true}, {true, true, false}};
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(slice->endpoints[i].ready, wanted[i][0]);
		assert_int_equal(slice->endpoints[i].serving, wanted[i][1]);
		assert_int_equal(slice->endpoints[i].terminating, wanted[i][2]);
	}
	assert_string_equal(slice->endpoints[1].target_name, "p");
	object_unref(&slice->object);
}

static void test_secret_decoded(void **state)
{
	struct secret *secret = (struct secret *)decode_good(
	    "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: aGVsbG8=, b: AAE=}, stringData: {a: bye}}");
	assert_string_equal(secret->type, "Opaque");
	assert_int_equal(secret->n_data, 2);
	assert_string_equal(secret->data[0].key, "b");
	assert_int_equal(secret->data[0].size, 2);
	assert_memory_equal(secret->data[0].bytes, "\0\1", 3);
	assert_string_equal(secret->data[1].bytes, "bye");
	object_unref(&secret->object);
}

/* ---- hashes ---- */

static uint64_t hash_of(const char *rest)
{
	char text[1000];
	snprintf(text, sizeof(text), "{apiVersion: " API ", kind: HTTPRoute, metadata: {name: r%s}", rest);
	struct object *object = decode_good(text);
	uint64_t hash = object->spec_hash;
	object_unref(object);
	return hash;
}

static uint64_t hash_of_labels(const char *labels)
{
	char text[1000];
	snprintf(text, sizeof(text), "{apiVersion: v1, kind: Namespace, metadata: {name: space, labels: {%s}}}",
	         labels);
	struct object *object = decode_good(text);
	uint64_t hash = object->spec_hash;
	object_unref(object);
	return hash;
}

static void test_hashes(void **state)
{
	static const char *const equal[] = {
	    "}, spec: {}}",
	    "}, spec: {rules: [{}]}}",
	    "}, spec: {rules: [{matches: [{}]}]}}",
	    "}, spec: {rules: [{matches: [{path: {value: /, type: PathPrefix}}]}], hostnames: null, unknown: 1}}",
	    ", generation: 9, annotations: {a: b}, labels: {a: b}}, status: {x: y}, spec: {}}",
	};
	for (size_t i = 1; i < ARRAY_LEN(equal); i++)
		assert_true(hash_of(equal[i]) == hash_of(equal[0]));
	static const char *const different[] = {
	    "}, spec: {}}",
	    "}, spec: {hostnames: [a]}}",
	    "}, spec: {hostnames: [a, b]}}",
	    "}, spec: {hostnames: [b, a]}}",
	    "}, spec: {parentRefs: [{name: a}]}}",
	    "}, spec: {rules: [{}, {}]}}",
	    "}, spec: {rules: [{matches: [{method: GET}]}]}}",
	    "}, spec: {rules: [{filters: [{type: CORS, cors: {maxAge: 6}}]}]}}",
	    "}, spec: {rules: [{filters: [{type: CORS, cors: {maxAge: 7}}]}]}}",
	    "}, spec: {rules: [{retry: {attempts: 1}}]}}",
	    "}, spec: {rules: [{retry: {attempts: 2}}]}}",
	};
	for (size_t i = 0; i < ARRAY_LEN(different); i++)
		for (size_t k = 0; k < i; k++)
			assert_true(hash_of(different[i]) != hash_of(different[k]));
	static const char *const labels[] = {"", "a: b", "b: a", "a: b, b: a"};
	for (size_t i = 1; i < ARRAY_LEN(labels); i++)
		for (size_t k = 0; k < i; k++)
			assert_true(hash_of_labels(labels[i]) != hash_of_labels(labels[k]));
	assert_true(hash_of_labels("a: b, c: d") == hash_of_labels("c: d, a: b"));
}

static void test_same_spec(void **state)
{
	static const char *const texts[] = {
	    "{name: s, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, ports: [{port: 80}]",
	    "{name: s, labels: {kubernetes.io/service-name: b}}, addressType: IPv4, ports: [{port: 80, protocol: TCP}]",
	    "{name: s, labels: {kubernetes.io/service-name: b}}, addressType: IPv4, ports: [{port: 81}]",
	};
	struct object *slices[ARRAY_LEN(texts)];
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char text[1000];
		snprintf(text, sizeof(text), "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: %s}",
		         texts[i]);
		slices[i] = decode_good(text);
	}
	struct object *a = slices[0], *b = slices[1], *c = slices[2];
	assert_true(a->spec_hash != b->spec_hash);
	assert_true(object_same_spec(a, b));
	assert_false(object_same_spec(b, c));
	assert_int_equal(object_cmp_key(a, c), 0);
	object_unref(a);
	object_unref(b);
	object_unref(c);
}

static void test_lines(void **state)
{
	struct object *object = NULL;
	struct err err;
	unsigned line = 0;
	assert_int_equal(
	    decode("apiVersion: " API
	           "\nkind: HTTPRoute\nmetadata:\n  name: helloworld\n  namespace: sample\nspec:\n  rules:\n"
	           "  - matches:\n    - path:\n        type: Exact\n        value: hello\n",
	           &object, &line, &err),
	    -EINVAL);
	assert_int_equal(line, 11);
	assert_string_equal(
	    err.text,
	    "HTTPRoute sample/helloworld: spec.rules[0].matches[0].path.value: value must be an absolute path "
	    "and start with '/' when type one of ['Exact', 'PathPrefix']");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_metadata),       cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_strict_fields),  cmocka_unit_test(test_lenient_fields),
	    cmocka_unit_test(test_strict_kinds),   cmocka_unit_test(test_route_shape),
	    cmocka_unit_test(test_route_parents),  cmocka_unit_test(test_route_path),
	    cmocka_unit_test(test_route_matches),  cmocka_unit_test(test_grpc_route),
	    cmocka_unit_test(test_grpc_paths),  cmocka_unit_test(test_filter_union),
	    cmocka_unit_test(test_filter_lists),   cmocka_unit_test(test_filter_fields),
	    cmocka_unit_test(test_replace_prefix), cmocka_unit_test(test_route_backends),
	    cmocka_unit_test(test_route_timeouts), cmocka_unit_test(test_gateway_listeners),
	    cmocka_unit_test(test_gateway_rest),   cmocka_unit_test(test_class_and_grant),
	    cmocka_unit_test(test_policy), cmocka_unit_test(test_own_filter), cmocka_unit_test(test_own_filter_decoded),
	    cmocka_unit_test(test_listener_set_rules), cmocka_unit_test(test_listener_set), cmocka_unit_test(test_allowed_listeners),
	    cmocka_unit_test(test_service),        cmocka_unit_test(test_slice),
	    cmocka_unit_test(test_data),           cmocka_unit_test(test_route_decoded),
	    cmocka_unit_test(test_cors_decoded),
	    cmocka_unit_test(test_mirrors_decoded),
	    cmocka_unit_test(test_route_defaults), cmocka_unit_test(test_gateway_decoded),
	    cmocka_unit_test(test_slice_decoded),  cmocka_unit_test(test_secret_decoded),
	    cmocka_unit_test(test_hashes),         cmocka_unit_test(test_same_spec),
	    cmocka_unit_test(test_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
