/* The law of core.h: after any walk of puts, deletes, updates and refusals, table, graph and status are those of a fresh
 * core given the same objects in any order; the changes told are exactly the difference of the tables; and the table is one
 * that table.h allows. The universe is small, so that references meet, miss and clash all the time.
 * HATCHWAY_SEED=n replays a walk; HATCHWAY_STEPS its length. */
#include "controller/core_fixture.h"
#include "controller/graph/condition.h"

#include <unistd.h>

#define WORLD 64
#define TEXT 16384

static bool seen[CONDITION_COUNT]; /* by any walk, so that the universe is known to be rich enough */

struct walk {
	uint64_t random;
	struct object *world[WORLD];
	size_t n;
	struct core *core;
	struct table *mirror; /* what applying all changes has made */
	char *status[WORLD];  /* "kind namespace/name" and the text behind it: what the callback last gave */
	size_t n_status;
	struct buf *text;
};

static unsigned roll(struct walk *w, unsigned n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (unsigned)(w->random >> 33) % n;
}

#define PICK(w, ...)                                                                                                   \
	((const char *const[]){__VA_ARGS__})[roll(w, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))]

/* ---- random objects, as YAML ---- */

PRINTF_LIKE(2, 3) static void say(struct walk *w, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	buf_vaddf(w->text, fmt, args);
	va_end(args);
}

static void head(struct walk *w, const char *version, const char *kind, const char *namespace, const char *name)
{
	say(w, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  generation: %u\n", version, kind, name, 1 + roll(w, 3));
	if (*namespace)
		say(w, "  namespace: %s\n", namespace);
	if (roll(w, 3))
		say(w, "  creationTimestamp: \"2026-01-0%uT00:00:00Z\"\n", 1 + roll(w, 3));
}

static const char *a_namespace(struct walk *w)
{
	return PICK(w, "a", "a", "a", "a-b");
}

static const char *a_hostname(struct walk *w)
{
	return PICK(w, "\"*.x.y\"", "a.x.y", "\"*.b.x.y\"", "c.b.x.y", "\"*.c.b.x.y\"", "other.z", "\"*.z\"");
}

static void make_namespace(struct walk *w)
{
	head(w, "v1", "Namespace", "", a_namespace(w));
	if (roll(w, 2))
		say(w, "  labels: {team: %s}\n", PICK(w, "red", "blue"));
}

static void make_class(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "GatewayClass", "", PICK(w, "hatchway", "extra"));
	say(w, "spec:\n  controllerName: %s\n", roll(w, 6) ? "hatchway.dev/controller" : "x.y/other");
	if (!roll(w, 8))
		say(w, "  parametersRef: {group: x.y, kind: Params, name: p}\n");
}

static void make_listener(struct walk *w, unsigned i)
{
	say(w, "  - name: l%u\n    port: %s\n    protocol: %s\n", i, PICK(w, "80", "80", "8080", "81"),
	    roll(w, 16) ? "HTTP" : PICK(w, "TCP", "x.y/z"));
	if (roll(w, 4))
		say(w, "    hostname: %s\n", a_hostname(w));
	say(w, "    allowedRoutes:\n      namespaces:\n        from: %s\n", PICK(w, "All", "Same", "Selector", "All", "All"));
	say(w, "        selector: {%s}\n",
	    PICK(w, "matchLabels: {team: red}", "matchExpressions: [{key: team, operator: Exists}]",
	         "matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [a]}]"));
	if (!roll(w, 12))
		say(w, "      kinds: [{kind: %s}]\n", PICK(w, "HTTPRoute", "GRPCRoute"));
}

static void make_gateway(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "Gateway", a_namespace(w), PICK(w, "g1", "g2"));
	say(w, "spec:\n  gatewayClassName: %s\n", roll(w, 8) ? "hatchway" : PICK(w, "extra", "nobodys"));
	if (!roll(w, 3))
		say(w, "  addresses: [{type: %s, value: %s}]\n", roll(w, 12) ? "IPAddress" : "Hostname",
		    roll(w, 12) ? PICK(w, "127.0.0.9", "10.0.0.1") : "192.0.2.1");
	if (!roll(w, 16))
		say(w, "  infrastructure: {parametersRef: {group: x.y, kind: K, name: n}}\n");
	say(w, "  listeners:\n");
	for (unsigned i = 0, n = 1 + roll(w, 5); i < n; i++)
		make_listener(w, i);
}

static void make_match(struct walk *w)
{
	if (!roll(w, 8))
		say(w, "    - path: {type: RegularExpression, value: \"%s\"}\n", PICK(w, "/r.*", "/r[", "/(a|b)+", "(*FAIL)"));
	else
		say(w, "    - path: {type: %s, value: %s}\n", PICK(w, "Exact", "PathPrefix"),
		    PICK(w, "/", "/a", "/a/", "/a/b", "/abc"));
	if (!roll(w, 3))
		say(w, "      method: %s\n", PICK(w, "GET", "POST"));
	if (!roll(w, 3))
		say(w, "      headers: [{name: %s, value: \"1\"}]\n", PICK(w, "x", "X", "y"));
	if (!roll(w, 4))
		say(w, "      queryParams: [{name: q, value: \"%s\", type: %s}]\n", PICK(w, "1", "[", "a+"),
		    PICK(w, "Exact", "RegularExpression"));
}

static bool make_filter(struct walk *w)
{
	const char *filter = PICK(
	        w, "", "", "", "", "type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: s, value: v}]}",
	        "type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}",
	        "type: URLRewrite, urlRewrite: {hostname: other.z, path: {type: ReplaceFullPath, replaceFullPath: /f}}",
	        "type: RequestRedirect, requestRedirect: {statusCode: 301}",
	        "type: RequestRedirect, requestRedirect: {scheme: https, hostname: r.z}",
	        "type: RequestRedirect, requestRedirect: {port: 8083}",
	        "type: RequestMirror, requestMirror: {backendRef: {name: s1, port: 80}}",
	        "type: ExtensionRef, extensionRef: {group: x.y, kind: K, name: n}");
	if (*filter)
		say(w, "    filters: [{%s}]\n", filter);
	return strstr(filter, "requestRedirect") != NULL;
}

static void make_backend_ref(struct walk *w)
{
	say(w, "    - name: %s\n      port: %s\n      weight: %u\n", PICK(w, "s1", "s2", "s3"), PICK(w, "80", "80", "443"),
	    roll(w, 3));
	if (roll(w, 2))
		say(w, "      namespace: %s\n", a_namespace(w));
	if (!roll(w, 10))
		say(w, "      kind: Bucket\n      group: x.y\n");
}

static void make_route(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1", "HTTPRoute", a_namespace(w), PICK(w, "r1", "r2", "r3"));
	say(w, "spec:\n  parentRefs:\n");
	for (unsigned i = 0, n = 1 + roll(w, 2); i < n; i++) {
		say(w, "  - name: %s\n", PICK(w, "g1", "g2"));
		say(w, "    namespace: %s\n", a_namespace(w));
		if (!roll(w, 4))
			say(w, "    sectionName: %s\n", PICK(w, "l0", "l1", "l2", "l3"));
		if (!roll(w, 6))
			say(w, "    port: %s\n", PICK(w, "80", "8080"));
	}
	if (roll(w, 3))
		say(w, "  hostnames: [%s, %s]\n", a_hostname(w), roll(w, 2) ? "q.z" : a_hostname(w));
	say(w, "  rules:\n");
	for (unsigned i = 0, n = 1 + roll(w, 3); i < n; i++) {
		say(w, "  - matches:\n");
		for (unsigned m = 0, k = 1 + roll(w, 2); m < k; m++)
			make_match(w);
		if (make_filter(w))
			continue;
		unsigned k = roll(w, 3);
		if (k)
			say(w, "    backendRefs:\n");
		for (unsigned b = 0; b < k; b++)
			make_backend_ref(w);
		if (!roll(w, 4))
			say(w, "    timeouts: {request: 2s, backendRequest: %s}\n", PICK(w, "1s", "500ms"));
	}
}

static void make_service(struct walk *w)
{
	head(w, "v1", "Service", a_namespace(w), PICK(w, "s1", "s2", "s3"));
	if (!roll(w, 8)) {
		say(w, "spec: {type: ExternalName, externalName: e.z, ports: [{port: 80}]}\n");
		return;
	}
	say(w, "spec:\n  ports:\n  - {name: web, port: 80, protocol: %s", PICK(w, "TCP", "TCP", "TCP", "UDP"));
	if (!roll(w, 3))
		say(w, ", appProtocol: %s", PICK(w, "kubernetes.io/h2c", "kubernetes.io/ws", "http", "mysql"));
	say(w, "}\n");
	if (roll(w, 2))
		say(w, "  - {name: tls, port: 443}\n");
}

static void make_slice(struct walk *w)
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

static void make_grant(struct walk *w)
{
	head(w, "gateway.networking.k8s.io/v1beta1", "ReferenceGrant", a_namespace(w), PICK(w, "t1", "t2"));
	say(w, "spec:\n  from: [{group: gateway.networking.k8s.io, kind: %s, namespace: %s}]\n",
	    PICK(w, "HTTPRoute", "HTTPRoute", "Gateway"), a_namespace(w));
	say(w, "  to: [{group: \"\", kind: %s%s}]\n", PICK(w, "Service", "Service", "Secret"),
	    PICK(w, "", ", name: s1", ", name: s2"));
}

/* ---- the world ---- */

static void world_drop(struct walk *w, size_t i)
{
	object_unref(w->world[i]);
	w->world[i] = w->world[--w->n];
}

static void world_put(void *ctx, struct object *object)
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

static void step(struct walk *w)
{
	static void (*const make[])(struct walk *w) = {make_namespace, make_class, make_gateway, make_route,   make_route,
	                                               make_route,     make_route, make_route,   make_service, make_service,
	                                               make_slice,     make_slice, make_grant};
	if (w->n && !roll(w, 8)) {
		size_t i = roll(w, (unsigned)w->n);
		core_delete(w->core, w->world[i]->kind, w->world[i]->namespace, w->world[i]->name);
		world_drop(w, i);
		return;
	}
	buf_clear(w->text);
	make[roll(w, ARRAY_LEN(make))](w);
	fixture_objects(w->text->data, true, world_put, w);
}

/* ---- status as it stands after all callbacks ---- */

static void status_given(void *ctx, const struct core_status *status)
{
	struct walk *w = ctx;
	char key[256];
	int n = snprintf(key, sizeof(key), "%u %s/%s\n", status->kind, status->namespace, status->name);
	size_t i = 0;
	while (i < w->n_status && strncmp(w->status[i], key, (size_t)n) != 0)
		i++;
	if (i == w->n_status && !status->text)
		fail_msg("%s is gone, but was never there", key);
	if (i < w->n_status) {
		if (status->text && strcmp(w->status[i] + n, status->text) == 0)
			fail_msg("%s was given again, unchanged", key);
		free(w->status[i]);
		w->status[i] = w->status[--w->n_status];
	}
	if (!status->text)
		return;
	size_t size = (size_t)n + strlen(status->text) + 1;
	w->status[w->n_status] = xmalloc(size);
	snprintf(w->status[w->n_status++], size, "%s%s", key, status->text);
}

static int cmp_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *status_text(struct walk *w)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	if (w->n_status > 1)
		qsort(w->status, w->n_status, sizeof(char *), cmp_text);
	for (size_t i = 0; i < w->n_status; i++)
		buf_adds(&out, w->status[i]);
	return buf_take(&out);
}

static char *people_text(const struct core *core)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	core_status_table(core, &out);
	buf_addf(&out, "%zu\n", core_problems(core, &out));
	return buf_take(&out);
}

/* ---- laws ---- */

static struct core *core_for_walk(void)
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
	});
}

static void mirror_changes(struct walk *w, const struct table_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		const struct table_change *c = &changes->list[i];
		const struct table_unit *unit = c->new ? c->new : c->old;
		struct table_unit *held = table_get(w->mirror, unit->kind, unit->key);
		assert_true(!held == !c->old);
		assert_true(!held || table_unit_equal(held, c->old));
		assert_false(c->old && c->new && table_unit_equal(c->old, c->new));
		if (c->new)
			table_put(w->mirror, table_unit_ref(c->new));
		else
			table_delete(w->mirror, unit->kind, unit->key);
	}
}

static int path_rank(enum table_path type)
{
	return type == TABLE_EXACT ? 0 : type == TABLE_REGEX ? 1 : 2;
}

static void check_host(const struct table *table, const struct table_host *host)
{
	assert_non_null(table_listener(table, host->listener));
	assert_true(!host->falls_to || table_host(table, host->listener, host->falls_to));
	for (size_t i = 0; i < host->n_entries; i++) {
		const struct table_entry *e = &host->entries[i];
		assert_non_null(table_rule(table, e->rule));
		if (!i)
			continue;
		const struct table_entry *before = e - 1;
		int c = path_rank(before->match.path_type) - path_rank(e->match.path_type);
		assert_true(c <= 0);
		if (!c && e->match.path_type == TABLE_PREFIX)
			assert_true(strlen(before->match.path) >= strlen(e->match.path));
	}
}

static void check_rule(const struct table *table, const struct table_rule *rule)
{
	for (size_t i = 0; i < rule->n_refs; i++)
		assert_true(!rule->refs[i].backend || table_backend(table, rule->refs[i].backend));
}

/* Endpoints sorted by unique names. */
static void check_backend(const struct table_backend *backend)
{
	for (size_t i = 1; i < backend->n_endpoints; i++)
		assert_true(strcmp(backend->endpoints[i - 1].name, backend->endpoints[i].name) < 0);
}

static void check_table(const struct table *table)
{
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		size_t n;
		struct table_unit **units = table_sorted(table, (enum table_kind)kind, &n);
		for (size_t i = 0; i < n; i++) {
			if (kind == TABLE_HOST)
				check_host(table, (const struct table_host *)units[i]);
			else if (kind == TABLE_RULE)
				check_rule(table, (const struct table_rule *)units[i]);
			else if (kind == TABLE_BACKEND)
				check_backend((const struct table_backend *)units[i]);
		}
		free(units);
	}
}

static void same(const char *what, char *got, char *expected)
{
	if (strcmp(got, expected) != 0)
		fail_msg("%s: incremental:\n%s\nfrom scratch:\n%s", what, got, expected);
	free(got);
	free(expected);
}

/* Sometimes the proxy refuses a unit or two of the table. */
static size_t some_refusals(struct walk *w, struct haproxy_refusal *refusals, size_t most)
{
	size_t n = 0;
	for (int kind = 0; kind < TABLE_KINDS && n < most && !roll(w, 4); kind++) {
		size_t n_units;
		struct table_unit **units = table_sorted(core_table(w->core), (enum table_kind)kind, &n_units);
		if (n_units)
			refusals[n++] = (struct haproxy_refusal){(enum table_kind)kind, units[roll(w, (unsigned)n_units)]->key, "no"};
		free(units);
	}
	return n;
}

static void note_reasons(const char *status)
{
	for (int id = COND_CLASS_ACCEPTED; id < CONDITION_COUNT; id++) {
		const struct condition_kind *kind = condition_kind((enum condition_id)id);
		char text[256];
		for (int indent = 4; indent < 7; indent += 2) {
			snprintf(text, sizeof(text), "%*sreason: %s\n%*sstatus: \"%s\"\n%*stype: %s\n", indent, "", kind->reason,
			         indent, "", kind->status ? "True" : "False", indent, "", kind->type);
			seen[id] |= strstr(status, text) != NULL;
		}
	}
}

static void compare_with_scratch(struct walk *w)
{
	struct haproxy_refusal refusals[TABLE_KINDS];
	size_t n = some_refusals(w, refusals, TABLE_KINDS);
	struct walk fresh = {.core = core_for_walk()};
	for (size_t i = w->n; i > 1; i--) { /* any order */
		size_t j = roll(w, (unsigned)i);
		struct object *object = w->world[j];
		w->world[j] = w->world[i - 1];
		w->world[i - 1] = object;
	}
	for (size_t i = 0; i < w->n; i++)
		core_put(fresh.core, object_ref(w->world[i]));
	fixture_update(fresh.core);
	core_refused(fresh.core, refusals, n);
	core_refused(w->core, refusals, n);
	core_status_changes(w->core, FIXTURE_NOW, status_given, w);
	core_status_changes(fresh.core, FIXTURE_NOW, status_given, &fresh);
	for (size_t i = 0; i < w->n_status; i++)
		note_reasons(w->status[i]);
	same("table", fixture_table(w->core), fixture_table(fresh.core));
	same("graph", fixture_graph(w->core), fixture_graph(fresh.core));
	same("status", status_text(w), status_text(&fresh));
	same("for people", people_text(w->core), people_text(fresh.core));
	for (size_t i = 0; i < fresh.n_status; i++)
		free(fresh.status[i]);
	core_free(fresh.core);
}

static void update(struct walk *w)
{
	struct table_changes changes = {0};
	core_update(w->core, &changes);
	mirror_changes(w, &changes);
	table_changes_done(&changes);
	struct buf mirror;
	buf_init(&mirror, FIXTURE_LIMIT);
	table_dump(w->mirror, &mirror);
	same("changes", buf_take(&mirror), fixture_table(w->core));
}

static void walk(uint64_t seed, unsigned steps)
{
	struct buf text;
	buf_init(&text, TEXT);
	struct walk w = {.random = seed * 0x9e3779b97f4a7c15ull + 1, .core = core_for_walk(), .mirror = table_new(), .text = &text};
	for (unsigned i = 0; i < 30; i++)
		step(&w);
	for (unsigned i = 0; i < steps; i++) {
		for (unsigned k = 1 + roll(&w, 3); k; k--)
			step(&w);
		update(&w);
		check_table(core_table(w.core));
		if (!roll(&w, 3))
			compare_with_scratch(&w);
	}
	compare_with_scratch(&w);
	while (w.n) {
		core_delete(w.core, w.world[0]->kind, w.world[0]->namespace, w.world[0]->name);
		world_drop(&w, 0);
	}
	update(&w);
	compare_with_scratch(&w);
	assert_int_equal(w.n_status, 0);
	core_free(w.core);
	table_free(w.mirror);
	buf_done(&text);
}

static void test_incremental_is_from_scratch(void **state)
{
	const char *given = getenv("HATCHWAY_SEED"), *steps = getenv("HATCHWAY_STEPS");
	uint64_t first = given ? strtoull(given, NULL, 10) : 1;
	for (uint64_t seed = first; seed < first + (given ? 1 : 20); seed++) {
		print_message("  HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
		walk(seed, steps ? (unsigned)strtoul(steps, NULL, 10) : 150);
	}
	/* The CRD's rules keep hostname conflicts out of a single Gateway: those two are only met by ListenerSets. */
	seen[COND_LISTENER_HOSTNAME_CONFLICT] = seen[COND_LISTENER_CONFLICTED_HOSTNAME] = true;
	for (int id = COND_CLASS_ACCEPTED; !given && !steps && id < CONDITION_COUNT; id++)
		if (!seen[id])
			fail_msg("no walk met %s %s", condition_kind((enum condition_id)id)->type,
			         condition_kind((enum condition_id)id)->reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_incremental_is_from_scratch)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
