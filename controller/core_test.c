/* Golden texts: controller/testdata/NAME.in.yaml → NAME.table, NAME.status.yaml, NAME.graph. The inputs are written to be
 * read: each opens with the rule it shows. HATCHWAY_BLESS=1 rewrites what is expected. In a cluster also NAME.infra: what the
 * API server is asked for.
 *
 * Comment lines of an input may give options and refusals:
 *   #: addresses 10.0.0.1 10.0.0.2        the machine's
 *   #: port-map 80:8080
 *   #: cluster 20000 hatchway-system hatchway    the pool's first port, the Service of the Pods
 *   #: refused rule sample/a/0 text …     what the proxy answered: listener, backend, rule or host (80_a.b for "80 a.b") */
#include "controller/core_fixture.h"

#include <dirent.h>
#include <jansson.h>

#define TESTDATA "controller/testdata"

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	struct buf text;
	buf_init(&text, FIXTURE_LIMIT);
	char chunk[4096];
	for (size_t n; f && (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
		buf_add(&text, chunk, n);
	if (f)
		fclose(f);
	return f ? buf_take(&text) : NULL;
}

static void hold_against(const char *name, const char *suffix, const char *got)
{
	char path[512];
	snprintf(path, sizeof(path), TESTDATA "/%s.%s", name, suffix);
	if (getenv("HATCHWAY_BLESS")) {
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fputs(got, f) < 0, 0);
		assert_int_equal(fclose(f), 0);
		return;
	}
	char *expected = read_file(path);
	if (!expected)
		fail_msg("%s is missing: HATCHWAY_BLESS=1 writes it", path);
	if (strcmp(expected, got) != 0)
		fail_msg("%s differs; got:\n%s", path, got);
	free(expected);
}

/* ---- the comment lines ---- */

#define MOST 24

struct directives {
	struct arena arena;
	const char *addresses[MOST];
	struct port_map ports[MOST];
	struct haproxy_refusal refusals[MOST];
	size_t n_addresses, n_ports, n_refusals;
	uint16_t pool_base;
	const char *pods_namespace, *pods_service;
};

static void refusal_directive(struct directives *d, char *rest)
{
	static const char *const kinds[TABLE_KINDS] = {"listener", "backend", "rule", "host", "certificate", "ca"};
	char *kind = strtok_r(NULL, " ", &rest), *key = strtok_r(NULL, " ", &rest);
	assert_true(kind && key && d->n_refusals < MOST);
	if (strcmp(kind, "host") == 0)
		key[strcspn(key, "_")] = ' ';
	for (size_t i = 0; i < TABLE_KINDS; i++)
		if (strcmp(kinds[i], kind) == 0)
			d->refusals[d->n_refusals++] = (struct haproxy_refusal){(enum table_kind)i, key, rest};
}

static void directive(struct directives *d, char *line)
{
	char *rest, *word = strtok_r(line, " ", &rest);
	if (strcmp(word, "refused") == 0) {
		refusal_directive(d, rest);
		return;
	}
	if (strcmp(word, "cluster") == 0) {
		d->pool_base = (uint16_t)atoi(strtok_r(NULL, " ", &rest));
		d->pods_namespace = strtok_r(NULL, " ", &rest);
		d->pods_service = strtok_r(NULL, " ", &rest);
		return;
	}
	for (char *value; (value = strtok_r(NULL, " ", &rest));) {
		if (strcmp(word, "addresses") == 0 && d->n_addresses < MOST)
			d->addresses[d->n_addresses++] = value;
		else if (strcmp(word, "port-map") == 0 && d->n_ports < MOST)
			assert_int_equal(
			        sscanf(value, "%hu:%hu", &d->ports[d->n_ports].port, &d->ports[d->n_ports].bind_port), 2);
		else
			fail_msg("what is %s?", word);
		d->n_ports += strcmp(word, "port-map") == 0;
	}
}

static void directives_read(struct directives *d, const char *text)
{
	*d = (struct directives){0};
	arena_init(&d->arena);
	char *copy = arena_strdup(&d->arena, text), *rest;
	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (strncmp(line, "#: ", 3) == 0)
			directive(d, line + 3);
}

/* ---- one case ---- */

static void add_status(void *ctx, const struct core_status *status)
{
	struct buf *out = ctx;
	assert_non_null(status->text);
	buf_addf(out, "%s%s", out->len ? "---\n" : "", status->text);
}

static void add_infra(void *ctx, const struct infra_change *change)
{
	struct buf *out = ctx;
	static const char *const verbs[INFRA_VERB_COUNT] = {"apply", "clear", "delete"};
	buf_addf(out, "%s %s %s/%s of Gateway %s%s%s\n", verbs[change->verb], infra_kind_name(change->kind), change->namespace,
	         change->name, change->gateway, change->uid ? ", uid " : "", change->uid ? change->uid : "");
	if (change->note)
		buf_addf(out, "note: %s\n", change->note);
	if (!change->text)
		return;
	json_t *document = json_loads(change->text, 0, NULL);
	char *text = json_dumps(document, JSON_INDENT(2) | JSON_SORT_KEYS);
	buf_addf(out, "%s\n", text);
	free(text);
	json_decref(document);
}

static void hold_infra(const char *name, const struct core *core)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	core_infra(core, add_infra, &out);
	hold_against(name, "infra", out.data);
	buf_done(&out);
}

static void run_case(const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), TESTDATA "/%s.in.yaml", name);
	char *text = read_file(path);
	assert_non_null(text);
	struct directives d;
	directives_read(&d, text);
	struct core *core = core_new(&(struct core_options){
	        .controller_name = CONTROLLER_NAME,
	        .implicit_class = "hatchway",
	        .port_map = d.ports,
	        .n_port_map = d.n_ports,
	        .addresses = d.addresses,
	        .n_addresses = d.n_addresses,
	        .implicit_namespaces = true,
	        .pool_base = d.pool_base,
	        .pods_namespace = d.pods_namespace,
	        .pods_service = d.pods_service,
	});
	fixture_objects(text, false, fixture_put, core);
	fixture_update(core);
	core_refused(core, d.refusals, d.n_refusals);
	struct buf status;
	buf_init(&status, FIXTURE_LIMIT);
	core_status_changes(core, FIXTURE_NOW, SIZE_MAX, add_status, &status);
	char *table = fixture_table(core), *graph = fixture_graph(core);
	hold_against(name, "table", table);
	hold_against(name, "graph", graph);
	hold_against(name, "status.yaml", status.data);
	if (d.pool_base)
		hold_infra(name, core);
	free(table);
	free(graph);
	free(text);
	buf_done(&status);
	core_free(core);
	arena_done(&d.arena);
}

static int only_inputs(const struct dirent *entry)
{
	const char *end = strstr(entry->d_name, ".in.yaml");
	return end && !end[strlen(".in.yaml")];
}

static void test_golden(void **state)
{
	struct dirent **list;
	int n = scandir(TESTDATA, &list, only_inputs, alphasort);
	assert_true(n >= 40);
	for (int i = 0; i < n; i++) {
		list[i]->d_name[strlen(list[i]->d_name) - strlen(".in.yaml")] = 0;
		print_message("  %s\n", list[i]->d_name);
		run_case(list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

/* ---- what no YAML can say ---- */

static struct gateway *gateway_by_hand(const char *name, struct listener *listeners, size_t n)
{
	struct gateway *g = xcalloc(1, sizeof(*g));
	g->object = (struct object){.refs = 1,
	                            .kind = KIND_GATEWAY,
	                            .version = VERSION_V1,
	                            .namespace = "s",
	                            .name = name,
	                            .uid = "",
	                            .generation = 1};
	g->gateway_class_name = "hatchway";
	g->listeners = listeners;
	g->n_listeners = n;
	return g;
}

/* The CRD's rules refuse two listeners of one port and hostname; should they come all the same, neither serves. */
static void test_hostname_conflict(void **state)
{
	static struct listener listeners[] = {
	        {.name = "one", .port = 80, .protocol = "HTTP", .hostname = "a.b"},
	        {.name = "two", .port = 80, .protocol = "HTTP", .hostname = "a.b"},
	        {.name = "three", .port = 80, .protocol = "HTTP"},
	};
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	core_put(core, &gateway_by_hand("gw", listeners, ARRAY_LEN(listeners))->object);
	fixture_update(core);
	char *graph = fixture_graph(core), *table = fixture_table(core);
	assert_non_null(strstr(graph, "Conflicted=True HostnameConflict: spec.listeners[0].hostname"));
	assert_non_null(strstr(graph, "Accepted=False HostnameConflict: spec.listeners[1].hostname"));
	assert_string_equal(table, "listener 80 port 80 bind 80 origin s/gw\nhost 80 \"\"\n");
	free(graph);
	free(table);
	core_free(core);
}

/* ---- infrastructure ---- */

static void count_infra(void *ctx, const struct infra_change *change)
{
	++*(size_t *)ctx;
}

static void collect_infra(void *ctx, const struct infra_change *change)
{
	buf_addf(ctx, "---\n%s\n", change->text);
}

/* The API server takes what was asked for and adds its own; `edit` (NULL) becomes `by` somewhere in it. Counts what is
 * then still to be done. */
static size_t left_to_do(const char *edit, const char *by)
{
	struct core *core = core_new(&(struct core_options){
	        .implicit_class = "hatchway", .pool_base = 20000, .pods_namespace = "h", .pods_service = "h"});
	struct buf text, edited;
	size_t n = 0;
	buf_init(&text, FIXTURE_LIMIT);
	buf_init(&edited, FIXTURE_LIMIT);
	fixture_objects("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s, uid: u}, "
	                "spec: {gatewayClassName: hatchway, infrastructure: {labels: {l: m}}, listeners: [{name: http, port: "
	                "80, protocol: HTTP}]}}",
	                false, fixture_put, core);
	fixture_objects("{apiVersion: v1, kind: Service, metadata: {name: h, namespace: h}, spec: {ports: [{port: 1}]}}\n---\n"
	                "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: h, namespace: h, labels: "
	                "{kubernetes.io/service-name: h}}, addressType: IPv4, endpoints: []}",
	                false, fixture_put, core);
	fixture_update(core);
	core_infra(core, collect_infra, &text);
	const char *at = edit ? strstr(text.data, edit) : text.data;
	assert_non_null(at);
	buf_add(&edited, text.data, (size_t)(at - text.data));
	buf_addf(&edited, "%s%s", edit ? by : "", at + (edit ? strlen(edit) : 0));
	fixture_objects(edited.data, false, fixture_put, core);
	fixture_update(core);
	core_infra(core, count_infra, &n);
	buf_done(&text);
	buf_done(&edited);
	core_free(core);
	return n;
}

static void test_infrastructure_is_kept(void **state)
{
	assert_int_equal(left_to_do(NULL, NULL), 0);
	/* Others' fields stay as they are. */
	assert_int_equal(left_to_do("\"port\":80,", "\"port\":80,\"nodePort\":30000,"), 0);
	assert_int_equal(left_to_do("\"l\":\"m\"", "\"l\":\"m\",\"other\":\"x\""), 0);
	assert_int_equal(left_to_do("\"ports\":[", "\"ports\":[{\"name\":\"x\",\"port\":1},"), 0);
	/* Ours are put right. */
	assert_int_equal(left_to_do("\"l\":\"m\"", "\"l\":\"n\""), 1);
	assert_int_equal(left_to_do("\"controller\":true,", ""), 1);
	assert_int_equal(left_to_do("\"targetPort\":20000", "\"targetPort\":80"), 1);
	/* What was ours and is not wanted any more: told by the digest. */
	assert_int_equal(left_to_do("\"hatchway.dev/applied\":\"", "\"hatchway.dev/applied\":\"0"), 1);
	/* What is left over at 81 still leads to the old port: the listener, and so the EndpointSlice, has a new one. */
	assert_int_equal(left_to_do("\"port\":80,", "\"port\":81,"), 2);
	/* Another port by hand, in the pool: the Service is right, HAProxy and the EndpointSlice follow. */
	assert_int_equal(left_to_do("\"targetPort\":20000", "\"targetPort\":20007"), 2);
}

/* What is there is as it should be; then this Pod leaves, while `others` stay. */
static size_t left_at_the_end(const char *others)
{
	struct core *core = core_new(&(struct core_options){
	        .implicit_class = "hatchway", .pool_base = 20000, .pods_namespace = "h", .pods_service = "h"});
	struct buf text;
	size_t n = 0;
	buf_init(&text, FIXTURE_LIMIT);
	buf_addf(&text, "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s, uid: u}, "
	                "spec: {gatewayClassName: hatchway, listeners: [{name: http, port: 80, protocol: HTTP}]}}\n---\n"
	                "{apiVersion: v1, kind: Service, metadata: {name: h, namespace: h}, spec: {ports: [{port: 1}]}}\n---\n"
	                "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: h, namespace: h, labels: "
	                "{kubernetes.io/service-name: h}}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1], conditions: "
	                "{ready: false, serving: true, terminating: true}}%s]}", others);
	fixture_objects(text.data, false, fixture_put, core);
	fixture_update(core);
	buf_clear(&text);
	core_infra(core, collect_infra, &text);
	fixture_objects(text.data, false, fixture_put, core);
	fixture_update(core);
	core_infra(core, count_infra, &n);
	assert_int_equal(n, 0);
	core_leave(core);
	buf_clear(&text);
	core_infra(core, collect_infra, &text);
	core_infra(core, count_infra, &n);
	assert_int_equal(n, strstr(text.data, "\"endpoints\":[]") != NULL);
	buf_done(&text);
	core_free(core);
	return n;
}

static void test_the_last_pod_leaves_nothing_behind(void **state)
{
	assert_int_equal(left_at_the_end(""), 1);
	assert_int_equal(left_at_the_end(", {addresses: [10.0.0.2], conditions: {ready: false, terminating: true}}"), 1);
	assert_int_equal(left_at_the_end(", {addresses: [10.0.0.2]}"), 0);
	assert_int_equal(left_at_the_end(", {addresses: [10.0.0.2], conditions: {ready: false}}"), 0);
}

/* ---- times ---- */

static void keep_status(void *ctx, const struct core_status *status)
{
	struct buf *out = ctx;
	if (status->kind == KIND_HTTPROUTE)
		buf_adds(out, status->text ? status->text : "gone\n");
}

static void count_status(void *ctx, const struct core_status *status)
{
	++*(size_t *)ctx;
}

static size_t times(const char *text, const char *what)
{
	size_t n = 0;
	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* ---- what people are told ---- */

static void check_table(const struct core *core, size_t problems, const char *expected)
{
	struct buf table, named;
	buf_init(&table, FIXTURE_LIMIT);
	buf_init(&named, FIXTURE_LIMIT);
	assert_int_equal(core_status_table(core, &table), problems);
	assert_int_equal(core_problems(core, &named), problems);
	assert_int_equal(times(named.data, "\n"), problems);
	assert_string_equal(table.data, expected);
	buf_done(&table);
	buf_done(&named);
}

#define TIMES_GATEWAY                                                                                                  \
	"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s}, spec: "         \
	"{gatewayClassName: hatchway, listeners: [{name: http, port: 80, protocol: HTTP}]}}"
#define TIMES_ROUTE                                                                                                    \
	"{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: s}, spec: "        \
	"{parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 80}]}]}}"
#define TIMES_SERVICE "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: s}, spec: {ports: [{port: 80}]}}"

/* lastTransitionTime moves with the status of its own condition only; nothing new, nothing given. */
static void test_transition_times(void **state)
{
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	struct buf text;
	size_t given = 0;
	buf_init(&text, FIXTURE_LIMIT);
	fixture_objects(TIMES_GATEWAY, false, fixture_put, core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 1000, SIZE_MAX, keep_status, &text);
	assert_int_equal(times(text.data, "\"1970-01-01T00:16:40Z\""), 2);
	assert_non_null(strstr(text.data, "reason: BackendNotFound"));

	buf_clear(&text);
	fixture_objects(TIMES_SERVICE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 2000, SIZE_MAX, keep_status, &text);
	assert_int_equal(times(text.data, "\"1970-01-01T00:16:40Z\""), 1); /* Accepted */
	assert_int_equal(times(text.data, "\"1970-01-01T00:33:20Z\""), 1); /* ResolvedRefs */

	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 3000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 0);

	buf_clear(&text);
	core_delete(core, KIND_HTTPROUTE, "s", "r");
	fixture_update(core);
	core_status_changes(core, 4000, SIZE_MAX, keep_status, &text);
	assert_string_equal(text.data, "gone\n");
	buf_done(&text);
	core_free(core);
}

/* What was lost is given once more, what there is not is said once. */
static void test_status_again(void **state)
{
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	struct buf text;
	size_t given = 0;
	buf_init(&text, FIXTURE_LIMIT);
	fixture_objects(TIMES_GATEWAY, false, fixture_put, core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 1000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);
	core_status_again(core, KIND_HTTPROUTE, "s", "r");
	core_status_again(core, KIND_HTTPROUTE, "s", "no-such");
	core_status_changes(core, 2000, SIZE_MAX, keep_status, &text);
	assert_int_equal(times(text.data, "\"1970-01-01T00:16:40Z\""), 2); /* times stay */
	core_status_changes(core, 3000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);
	buf_clear(&text);
	fixture_objects("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: s}\n"
	                "spec: {parentRefs: [{name: foreign}]}\n", false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 4000, SIZE_MAX, keep_status, &text);
	core_status_changes(core, 4000, SIZE_MAX, keep_status, &text);
	core_status_again(core, KIND_HTTPROUTE, "s", "r");
	core_status_changes(core, 5000, SIZE_MAX, keep_status, &text);
	assert_int_equal(times(text.data, "gone\n"), 2);
	buf_done(&text);
	core_free(core);
}

/* Deleted and made anew between two looks: the new one has been told nothing. */
static void test_status_of_another(void **state)
{
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	size_t given = 0;
	fixture_objects(TIMES_GATEWAY, false, fixture_put, core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 1000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);
	core_delete(core, KIND_HTTPROUTE, "s", "r");
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 2000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 3);
	core_status_changes(core, 3000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 3);
	core_free(core);
}

static void tell_news(void *ctx, const struct core_status *status)
{
	for (size_t i = 0; i < status->n_news; i++) {
		const struct core_condition *c = &status->news[i];
		buf_addf(ctx, "%s %s/%s [%s] %s=%s %s %s%s\n", object_kind_name(status->kind), status->namespace, status->name,
		         c->of, c->type, c->status ? "True" : "False", c->reason, c->good ? "good" : "bad", c->gone ? " gone" : "");
	}
}

static void check_news(struct core *core, const char *objects, const char *expected, size_t bad)
{
	struct buf news;
	buf_init(&news, FIXTURE_LIMIT);
	fixture_objects(objects, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 1000, SIZE_MAX, tell_news, &news);
	assert_string_equal(news.data, expected);
	assert_int_equal(core_bad_conditions(core, KIND_HTTPROUTE), bad);
	buf_done(&news);
}

#define NEWS_ROUTE(rules)                                                                                              \
	"{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: s}, spec: "        \
	"{parentRefs: [{name: gw}], rules: [" rules "]}}"
#define NEWS_GOOD "{backendRefs: [{name: web, port: 80}]}"
#define NEWS_EXTENSION "{filters: [{type: ExtensionRef, extensionRef: {group: a.b, kind: K, name: ext}}]}"

/* Told once when a condition turns bad, for another reason, or good again; nothing of what stays as it was. */
static void test_news(void **state)
{
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	check_news(core, TIMES_GATEWAY, "", 0);
	check_news(core, NEWS_ROUTE("{backendRefs: [{name: web, port: 80}]}"),
	           "HTTPRoute s/r [parent s/gw] ResolvedRefs=False BackendNotFound bad\n", 1);
	check_news(core, NEWS_ROUTE("{backendRefs: [{name: web, port: 81}]}"), "", 1);
	check_news(core, NEWS_ROUTE("{backendRefs: [{name: web, namespace: t, port: 80}]}"),
	           "HTTPRoute s/r [parent s/gw] ResolvedRefs=False RefNotPermitted bad\n", 1);
	check_news(core, TIMES_SERVICE, "", 1);
	check_news(core, NEWS_ROUTE(NEWS_GOOD), "HTTPRoute s/r [parent s/gw] ResolvedRefs=True ResolvedRefs good\n", 0);
	check_news(core, NEWS_ROUTE(NEWS_GOOD ", " NEWS_EXTENSION),
	           "HTTPRoute s/r [parent s/gw] PartiallyInvalid=True UnsupportedValue bad\n"
	           "HTTPRoute s/r [parent s/gw] ResolvedRefs=False InvalidKind bad\n", 2);
	check_news(core, NEWS_ROUTE(NEWS_GOOD),
	           "HTTPRoute s/r [parent s/gw] ResolvedRefs=True ResolvedRefs good\n"
	           "HTTPRoute s/r [] PartiallyInvalid=True UnsupportedValue good gone\n", 0);
	check_news(core, NEWS_ROUTE(NEWS_EXTENSION),
	           "HTTPRoute s/r [parent s/gw] Accepted=False UnsupportedValue bad\n"
	           "HTTPRoute s/r [parent s/gw] ResolvedRefs=False InvalidKind bad\n", 2);
	assert_int_equal(core_objects(core, KIND_HTTPROUTE), 1);
	core_delete(core, KIND_HTTPROUTE, "s", "r");
	check_news(core, TIMES_SERVICE, "", 0);
	assert_int_equal(core_objects(core, KIND_HTTPROUTE), 0);
	assert_int_equal(core_objects(core, KIND_SERVICE), 1);
	core_free(core);
}

#define TOLD(column, address, programmed)                                                                              \
	"GATEWAYCLASS   CONTROLLER                ACCEPTED\n"                                                          \
	"hatchway       hatchway.dev/controller   True\n\n"                                                            \
	"GATEWAY   CLASS      " column "   ACCEPTED   PROGRAMMED\n"                                                    \
	"s/gw      hatchway   " address "   True       " programmed "\n\n"                                             \
	"HTTPROUTE   HOSTNAMES   ACCEPTED   RESOLVEDREFS\n"                                                            \
	"s/r         *           True       True\n"
#define NOT_HELD "HAProxy does not hold this: HAProxy is down: it would not start\n"

/* Nobody is told that a proxy serves what it does not hold; documents stay as they were. */
static void test_held(void **state)
{
	static const char *const addresses[] = {"10.0.0.1"};
	struct core *core =
	        core_new(&(struct core_options){.implicit_class = "hatchway", .addresses = addresses, .n_addresses = 1});
	size_t given = 0;
	fixture_objects(TIMES_GATEWAY, false, fixture_put, core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_objects(TIMES_SERVICE, false, fixture_put, core);
	fixture_update(core);
	core_status_changes(core, 1000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);
	check_table(core, 0, TOLD("ADDRESS ", "10.0.0.1", "True"));

	char why[] = "HAProxy is down: it would not start";
	core_held(core, false, why);
	*why = 'X'; /* it was copied */
	check_table(core, 1, NOT_HELD "\n" TOLD("ADDRESS ", "10.0.0.1", "Unknown"));
	core_status_changes(core, 2000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);

	const struct haproxy_refusal refusals[] = {{TABLE_LISTENER, "80", "taken"}, {TABLE_RULE, "7f00.p", "nobody's"}};
	core_refused(core, refusals, ARRAY_LEN(refusals));
	check_table(core, 4, NOT_HELD "\n" TOLD("ADDRESS", "-      ", "False") "\nHAProxy refused 7f00.p: nobody's\n"
	            "Gateway s/gw: Programmed=False Pending: HAProxy refused every listener\n"
	            "Gateway s/gw, listener http: Programmed=False Refused: HAProxy refused port 80: taken\n");

	core_held(core, true, NULL);
	core_refused(core, NULL, 0);
	check_table(core, 0, TOLD("ADDRESS ", "10.0.0.1", "True"));

	/* A change on its way is told of what it changes, and of nothing else. */
	core_applied(core);
	core_delete(core, KIND_HTTPROUTE, "s", "r");
	fixture_update(core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	check_table(core, 0, TOLD("ADDRESS ", "10.0.0.1", "True"));
	fixture_objects("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s}, spec: "
	                "{gatewayClassName: hatchway, listeners: [{name: http, port: 81, protocol: HTTP}]}}",
	                false, fixture_put, core);
	fixture_update(core);
	check_table(core, 0, TOLD("ADDRESS ", "10.0.0.1", "Unknown"));
	core_applied(core);
	check_table(core, 0, TOLD("ADDRESS ", "10.0.0.1", "True"));
	core_delete(core, KIND_GATEWAY, "s", "gw"); /* gone before it is applied: nothing is kept of it */
	fixture_update(core);
	core_applied(core);
	core_free(core);
}

/* A proxy that is down serves nothing: then documents tell, of the Gateways alone. */
static void test_down(void **state)
{
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	struct buf text;
	size_t given = 0;
	buf_init(&text, FIXTURE_LIMIT);
	fixture_objects(TIMES_GATEWAY, false, fixture_put, core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_objects(TIMES_SERVICE, false, fixture_put, core);
	fixture_update(core);
	core_down(core, NULL);
	core_status_changes(core, 1000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);

	char why[] = "it would not start";
	core_down(core, why);
	*why = 'X'; /* it was copied */
	core_status_changes(core, 2000, SIZE_MAX, add_status, &text);
	assert_non_null(strstr(text.data, "kind: Gateway\n"));
	assert_null(strstr(text.data, "kind: HTTPRoute\nmetadata"));
	assert_non_null(strstr(text.data, "message: \"HAProxy does not serve: it would not start\""));
	assert_null(strstr(text.data, "reason: Programmed"));
	core_down(core, "it would not start");
	core_status_changes(core, 3000, SIZE_MAX, count_status, &given);
	assert_int_equal(given, 2);

	buf_clear(&text);
	core_down(core, NULL);
	core_status_changes(core, 4000, SIZE_MAX, add_status, &text);
	assert_non_null(strstr(text.data, "reason: Programmed"));
	assert_null(strstr(text.data, "reason: Pending"));
	buf_done(&text);
	core_free(core);
}

static size_t attached(struct core *core)
{
	struct buf text;
	buf_init(&text, FIXTURE_LIMIT);
	core_status_changes(core, 1000, SIZE_MAX, add_status, &text);
	const char *at = strstr(text.data, "attachedRoutes: ");
	size_t n = at ? strtoul(at + strlen("attachedRoutes: "), NULL, 10) : SIZE_MAX;
	buf_done(&text);
	return n;
}

/* The Gateway's document follows refusals that come and go, and is not given where it says the same. */
static void test_attached_follows_refusals(void **state)
{
	const struct haproxy_refusal refusal = {TABLE_RULE, "s/r/0", "no"}, other = {TABLE_BACKEND, "s.web:80", "no"};
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	fixture_objects(TIMES_GATEWAY, false, fixture_put, core);
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_objects(TIMES_SERVICE, false, fixture_put, core);
	fixture_update(core);
	assert_int_equal(attached(core), 1);
	core_refused(core, &refusal, 1);
	assert_int_equal(attached(core), 0);
	core_refused(core, &refusal, 1);
	assert_int_equal(attached(core), SIZE_MAX);
	core_refused(core, &other, 1); /* the rule stands */
	assert_int_equal(attached(core), 1);
	core_refused(core, NULL, 0);
	assert_int_equal(attached(core), SIZE_MAX);
	core_refused(core, &refusal, 1);
	assert_int_equal(attached(core), 0);
	core_delete(core, KIND_HTTPROUTE, "s", "r"); /* no longer counted, nor taken off */
	fixture_update(core);
	core_status_changes(core, 1000, SIZE_MAX, count_status, &(size_t){0});
	fixture_objects(TIMES_ROUTE, false, fixture_put, core);
	fixture_update(core);
	core_refused(core, NULL, 0);
	assert_int_equal(attached(core), 1);
	core_free(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_golden),
	        cmocka_unit_test(test_hostname_conflict),
	        cmocka_unit_test(test_infrastructure_is_kept),
	        cmocka_unit_test(test_the_last_pod_leaves_nothing_behind),
	        cmocka_unit_test(test_transition_times),
	        cmocka_unit_test(test_status_again),
	        cmocka_unit_test(test_status_of_another),
	        cmocka_unit_test(test_news),
	        cmocka_unit_test(test_held),
	        cmocka_unit_test(test_down),
	        cmocka_unit_test(test_attached_follows_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
