/* The answers' exit codes, and that they tell of what HAProxy refused. */
#include "controller/core_fixture.h"
#include "controller/question.h"

static const char objects[] =
	"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s}, spec: "
	"{gatewayClassName: hatchway, listeners: [{name: http, port: 80, protocol: HTTP}]}}\n---\n"
	"{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: s}, spec: "
	"{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 80}]}]}}\n---\n"
	"{apiVersion: v1, kind: Service, metadata: {name: web, namespace: s}, spec: {ports: [{port: 80}]}}\n";

static void asks(const struct core *core, const char *words[], int n, int code, const char *told)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	assert_int_equal(question_answer(core, words, n, &out), code);
	if (!strstr(out.data, told))
		fail_msg("expected %s in\n%s", told, out.data);
	buf_done(&out);
}

static void answers(void **state)
{
	const char *status[] = {"status"}, *explain[] = {"explain", "a.b/", "GET", ""}, *nowhere[] = {"explain", "a.b:1/", "GET", ""},
	           *dump[] = {"dump", "graph"}, *what[] = {"what"}, *dump_what[] = {"dump", "what"};
	const struct haproxy_refusal refusal = {TABLE_RULE, "s/r/0", "a value with a line break"};
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	fixture_objects(objects, false, fixture_put, core);
	fixture_update(core);
	asks(core, status, 1, 0, "s/gw");
	asks(core, explain, 4, 0, "answer    forwarded to\n");
	asks(core, dump, 2, 0, "Gateway s/gw of class hatchway");
	asks(core, nowhere, 4, 2, "no listener on port 1");
	asks(core, what, 1, 2, "what: not a question");
	asks(core, dump_what, 2, 2, "not \"what\"");
	core_refused(core, &refusal, 1);
	asks(core, status, 1, 1, "Accepted=False UnsupportedValue: spec.rules[0]: HAProxy refused it: a value with a line break");
	asks(core, explain, 4, 0, "answer    500: HAProxy refused this rule: a value with a line break\n");
	core_refused(core, NULL, 0);
	core_held(core, false, "HAProxy is down");
	asks(core, status, 1, 1, "HAProxy does not hold this: HAProxy is down\n");
	asks(core, explain, 4, 0, "HAProxy does not hold this: HAProxy is down\nrequest ");
	asks(core, dump, 2, 0, "Gateway s/gw of class hatchway");
	core_free(core);
}

static const char broken[] =
	"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s}, spec: "
	"{gatewayClassName: hatchway, listeners: [{name: http, port: 80, protocol: HTTP, hostname: '*.b'}, "
	"{name: tcp, port: 81, protocol: TCP}]}}\n---\n"
	"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: typo, namespace: s}, spec: "
	"{gatewayClassName: hatchwya, listeners: [{name: http, port: 8080, protocol: HTTP}]}}\n---\n"
	"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: foreign, namespace: s}, spec: "
	"{gatewayClassName: other, listeners: [{name: http, port: 8080, protocol: HTTP}]}}\n---\n"
	"{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: other}, spec: {controllerName: other.org/c}}\n---\n"
	"{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: s}, spec: "
	"{parentRefs: [{name: gw}], rules: ["
	"{matches: [{path: {value: /extension}}], filters: [{type: ExtensionRef, extensionRef: {group: a.b, kind: K, name: ext}}]}, "
	"{matches: [{path: {value: /regex, type: RegularExpression}, headers: [{name: x, type: RegularExpression, value: '['}]}]}, "
	"{matches: [{path: {value: /refs}}], backendRefs: [{name: web, port: 80}, {name: gone, port: 80}, "
	"{name: web, namespace: t, port: 80}, {name: web, port: 81}]}, "
	"{matches: [{path: {value: /none}}]}, "
	"{matches: [{path: {value: /zero}}], backendRefs: [{name: web, port: 80, weight: 0}]}, "
	"{matches: [{path: {value: /sliced}}], backendRefs: [{name: sliced, port: 80}]}, "
	"{matches: [{path: {value: /named}}], backendRefs: [{name: named, port: 80}]}]}}\n---\n"
	"{apiVersion: v1, kind: Service, metadata: {name: web, namespace: s}, spec: {ports: [{port: 80}]}}\n---\n"
	"{apiVersion: v1, kind: Service, metadata: {name: sliced, namespace: s}, spec: {ports: [{port: 80}]}}\n---\n"
	"{apiVersion: v1, kind: Service, metadata: {name: named, namespace: s}, spec: {ports: [{port: 80, name: http}]}}\n---\n"
	"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: sliced-1, namespace: s, labels: {kubernetes.io/service-name: "
	"sliced}}, addressType: IPv4, ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1], conditions: {ready: false}}]}\n---\n"
	"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: named-1, namespace: s, labels: {kubernetes.io/service-name: "
	"named}}, addressType: IPv4, ports: [{port: 80, name: web}], endpoints: [{addresses: [10.0.0.1]}]}\n---\n"
	"{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: lost-1, namespace: s, labels: {kubernetes.io/service-name: "
	"wbe}}, addressType: IPv4, endpoints: []}\n";

static void explains(const struct core *core, const char *url, int code, const char *told)
{
	const char *words[] = {"explain", url, "GET", ""};
	asks(core, words, 4, code, told);
}

/* Whatever answers 500, 503 or nothing: object and field are named. */
static void tells_why(void **state)
{
	const char *status[] = {"status"};
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway", .implicit_namespaces = true});
	fixture_objects(broken, false, fixture_put, core);
	fixture_update(core);
	explains(core, "a.b/extension", 0, "answer    500\n          HTTPRoute s/r: spec.rules[0].filters[0]: ExtensionRef to a K of a.b is not supported\n");
	explains(core, "a.b/refs", 0,
	         "s.web:80                                 weight 1     25.00 %  no ready endpoint: answers 503\n"
	         "            Service s/web: no EndpointSlice has the label kubernetes.io/service-name: web\n"
	         "          invalid reference: answers 500           weight 1     25.00 %\n"
	         "            HTTPRoute s/r: spec.rules[2].backendRefs[1]: BackendNotFound: Service s/gone not found\n"
	         "          invalid reference: answers 500           weight 1     25.00 %\n"
	         "            HTTPRoute s/r: spec.rules[2].backendRefs[2]: RefNotPermitted: Service t/web: no ReferenceGrant in namespace t "
	         "allows it to HTTPRoutes of namespace s\n"
	         "          invalid reference: answers 500           weight 1     25.00 %\n"
	         "            HTTPRoute s/r: spec.rules[2].backendRefs[3]: BackendNotFound: Service s/web has no port 81\n");
	explains(core, "a.b/none", 0, "answer    500: no backend to send it to\n          HTTPRoute s/r: spec.rules[3].backendRefs: there are none\n");
	explains(core, "a.b/zero", 0, "          HTTPRoute s/r: spec.rules[4].backendRefs: every weight is 0\n");
	explains(core, "a.b/sliced", 0, "            Service s/sliced: none of the 1 endpoints of its EndpointSlices is ready\n");
	explains(core, "a.b/named", 0, "            Service s/named: none of its 1 EndpointSlices has IP addresses and a TCP port named \"http\"\n");
	explains(core, "a.b:99/", 2,
	         "no listener on port 99; there are: 80\n"
	         "Gateway s/foreign: GatewayClass other is of controller other.org/c, not hatchway.dev/controller\n"
	         "Gateway s/gw: class hatchway\n"
	         "  listener http: port 80, hostname *.b\n"
	         "  listener tcp: port 81, hostname any; Accepted=False UnsupportedProtocol: ");
	explains(core, "a.b:99/", 2, "Gateway s/typo: GatewayClass hatchwya not found\n");
	explains(core, "a.c/", 0,
	         "answer    404: no rule matches\n"
	         "          no listener of port 80 has such a hostname\n"
	         "          Gateway s/foreign: ");
	asks(core, status, 1, 1, "\nRemarks:\nEndpointSlice s/lost-1: label kubernetes.io/service-name: Service s/wbe not found\n");
	core_free(core);
	core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	fixture_update(core);
	explains(core, "a.b/", 2, "no listener on port 80; there are: none\nThere is no Gateway.\n");
	core_free(core);
}

static void on_refusals(void *ctx, const struct haproxy_refusal *refusals, size_t n)
{
	core_refused(ctx, refusals, n);
}

/* What cannot be expressed is known without a HAProxy: `check` and `run` agree. */
static void refuses_offline(void **state)
{
	static const char route[] =
		"{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: s}, spec: {parentRefs: "
		"[{name: gw}], rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [Content-Length]}}], "
		"backendRefs: [{name: web, port: 80}]}]}}\n";
	const char *status[] = {"status"};
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	fixture_objects(objects, false, fixture_put, core);
	fixture_update(core);
	haproxy_check(core_table(core), on_refusals, core);
	asks(core, status, 1, 0, "s/gw");
	fixture_objects(route, false, fixture_put, core);
	fixture_update(core);
	haproxy_check(core_table(core), on_refusals, core);
	asks(core, status, 1, 1, "spec.rules[0]: HAProxy refused it: header Content-Length frames the message");
	core_free(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(tells_why),
	                                   cmocka_unit_test(refuses_offline)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
