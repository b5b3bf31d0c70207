/* What a change costs with 10,000 routes on 10,000 Services present, printed; and that the outcome is right: after all of
 * it, the table is the one of a fresh core. No assertion looks at the clock. */
#include "controller/core_fixture.h"

#include <malloc.h>
#include <time.h>

#define ROUTES 10000
#define ROUNDS 100

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

struct world {
	struct core *core;
	struct object **objects;
	size_t n, cap;
	struct buf text;
};

/* The world keeps its own reference, to build the fresh core from. */
static void put(void *ctx, struct object *object)
{
	struct world *w = ctx;
	if (w->n == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 1024;
		w->objects = xrealloc(w->objects, w->cap * sizeof(struct object *));
	}
	w->objects[w->n++] = object_ref(object);
	core_put(w->core, object);
}

PRINTF_LIKE(2, 3) static void give(struct world *w, const char *fmt, ...)
{
	buf_clear(&w->text);
	va_list args;
	va_start(args, fmt);
	buf_vaddf(&w->text, fmt, args);
	va_end(args);
	assert_int_equal(fixture_objects(w->text.data, false, put, w), 1);
}

static void give_gateway(struct world *w)
{
	give(w, "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw, namespace: s}, spec: "
	        "{gatewayClassName: hatchway, listeners: [{name: http, port: 80, protocol: HTTP}]}}");
}

static void give_service(struct world *w, unsigned i)
{
	give(w, "{apiVersion: v1, kind: Service, metadata: {name: web-%u, namespace: s}, spec: {ports: [{name: http, port: 80}]}}",
	     i);
}

static void give_slice(struct world *w, unsigned i, unsigned address)
{
	give(w,
	     "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-%u-abcde, namespace: s, labels: "
	     "{kubernetes.io/service-name: web-%u}}, addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: "
	     "[{addresses: [10.%u.%u.%u], targetRef: {kind: Pod, name: web-%u-77489ccb5f-8gqmn}}]}",
	     i, i, address >> 16 & 255, address >> 8 & 255, address & 255, i);
}

static void give_route(struct world *w, unsigned i, const char *hostname, const char *path, unsigned weight)
{
	give(w,
	     "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: route-%u, namespace: s}, spec: "
	     "{parentRefs: [{name: gw}], hostnames: [\"%s\"], rules: [{matches: [{path: {value: %s}}], backendRefs: [{name: "
	     "web-%u, port: 80, weight: %u}, {name: web-%u, port: 80, weight: 1}]}]}}",
	     i, hostname, path, i % ROUTES, weight, (i + 1) % ROUTES);
}

static void no_status(void *ctx, const struct core_status *status)
{
	++*(size_t *)ctx;
}

/* Milliseconds of the core itself: what the change was decoded from is not in it. */
static double settle(struct world *w, size_t *ret_units, size_t *ret_documents)
{
	struct table_changes changes = {0};
	size_t documents = 0;
	double start = now_ms();
	core_update(w->core, &changes);
	core_status_changes(w->core, FIXTURE_NOW, SIZE_MAX, no_status, &documents);
	double ms = now_ms() - start;
	*ret_units = changes.n;
	*ret_documents = documents;
	table_changes_done(&changes);
	return ms;
}

static int cmp_double(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* Either every route has a hostname of its own, or all share one and differ in their paths. */
static void place(bool own_hosts, unsigned i, char host[64], char path[64])
{
	snprintf(host, 64, own_hosts ? "host-%u.example.com" : "www.example.com", i);
	snprintf(path, 64, own_hosts ? "/" : "/path-%u", i);
}

enum change { ADD_ROUTE, ADD_WILDCARD, NEW_WEIGHT, NEW_ENDPOINT, NO_ENDPOINT, DROP_ROUTE, CHANGES };

static void change(struct world *w, enum change kind, unsigned i, bool own_hosts)
{
	char host[64], path[64];
	place(own_hosts, i, host, path);
	switch (kind) {
	case ADD_ROUTE:
		place(own_hosts, ROUTES + i, host, path);
		give_route(w, ROUTES + i, host, path, 1);
		break;
	case ADD_WILDCARD:
		snprintf(host, sizeof(host), "*.wild-%u.example.com", i);
		give_route(w, 2 * ROUTES + i, host, path, 1);
		break;
	case NEW_WEIGHT:
		give_route(w, i, host, path, 7 + i);
		break;
	case NEW_ENDPOINT:
		give_slice(w, i, 0x800000 + i);
		break;
	case NO_ENDPOINT:
		snprintf(host, sizeof(host), "web-%u-abcde", i);
		core_delete(w->core, KIND_ENDPOINTSLICE, "s", host);
		break;
	default:
		snprintf(host, sizeof(host), "route-%u", ROUTES + i);
		core_delete(w->core, KIND_HTTPROUTE, "s", host);
	}
}

static void measure_change(struct world *w, enum change kind, bool own_hosts)
{
	static const char *const names[CHANGES] = {"a new route",    "a new wildcard",  "a new weight",
	                                           "a new endpoint", "an endpoint less", "a route less"};
	double ms[ROUNDS];
	size_t units = 0, documents = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		change(w, kind, i * 7, own_hosts);
		ms[i] = settle(w, &units, &documents);
	}
	qsort(ms, ROUNDS, sizeof(*ms), cmp_double);
	print_message("  %-17s p50 %7.3f ms  p99 %7.3f ms  (%zu units, %zu documents)\n", names[kind], ms[ROUNDS / 2],
	              ms[ROUNDS - 2], units, documents);
}

/* Everything given, in the order given, without what was deleted: the newest version of each remains. */
static void check_against_scratch(struct world *w)
{
	struct core *fresh = core_new(&(struct core_options){.controller_name = CONTROLLER_NAME, .implicit_class = "hatchway"});
	for (size_t i = 0; i < w->n; i++)
		core_put(fresh, object_ref(w->objects[i]));
	for (unsigned i = 0; i < ROUNDS; i++) {
		char name[64];
		snprintf(name, sizeof(name), "web-%u-abcde", i * 7);
		core_delete(fresh, KIND_ENDPOINTSLICE, "s", name);
		snprintf(name, sizeof(name), "route-%u", ROUTES + i * 7);
		core_delete(fresh, KIND_HTTPROUTE, "s", name);
	}
	fixture_update(fresh);
	char *got = fixture_table(w->core), *expected = fixture_table(fresh);
	assert_true(strcmp(got, expected) == 0);
	free(got);
	free(expected);
	core_free(fresh);
}

static void measure(bool own_hosts)
{
	struct world w = {0};
	buf_init(&w.text, 1 << 16);
	w.core = core_new(&(struct core_options){.controller_name = CONTROLLER_NAME, .implicit_class = "hatchway"});
	size_t before = in_use();
	give_gateway(&w);
	for (unsigned i = 0; i < ROUTES; i++) {
		char host[64], path[64];
		place(own_hosts, i, host, path);
		give_service(&w, i);
		give_slice(&w, i, i);
		give_route(&w, i, host, path, 1);
	}
	size_t objects = in_use() - before, units, documents;
	double ms = settle(&w, &units, &documents);
	print_message("  from nothing: %.0f ms (%zu units, %zu documents); objects with nodes and edges %.1f MiB, graph, table and "
	              "the rest %.1f MiB\n",
	              ms, units, documents, (double)objects / 1048576, (double)(in_use() - before - objects) / 1048576);
	for (int kind = 0; kind < CHANGES; kind++)
		measure_change(&w, (enum change)kind, own_hosts);
	check_against_scratch(&w);
	for (size_t i = 0; i < w.n; i++)
		object_unref(w.objects[i]);
	free(w.objects);
	buf_done(&w.text);
	core_free(w.core);
}

static void test_own_hosts(void **state)
{
	measure(true);
}

static void test_one_host(void **state)
{
	measure(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_own_hosts), cmocka_unit_test(test_one_host)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
