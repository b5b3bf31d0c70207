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
	assert_non_null(strstr(out.data, told));
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
	asks(core, dump, 2, 0, "Gateway s/gw of class hatchway");
	core_free(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(answers)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
