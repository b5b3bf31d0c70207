/* Backends: the endpoints of the Service ports that rules send requests to, out of all EndpointSlices of the Service. */
#include "controller/compile/compile.h"

#include <ctype.h>
#include <string.h>

const struct graph_certificate *backend_client(const struct port *port)
{
	return port->gateway && node_gateway(port->gateway) ? node_gateway(port->gateway)->client : NULL;
}

const char *backend_key(struct arena *scratch, const struct backend_ref *ref, bool grpc,
                        const struct graph_certificate *client)
{
	const char *own = client ? arena_printf(scratch, "-crt%.10s", client->digest) : "";
	return arena_printf(scratch, "%s.%s:%u%s%s", ref->namespace, ref->name, ref->port, own, grpc ? TABLE_GRPC : "");
}

static void queue(struct compile *compile, struct backend *backend)
{
	if (backend->queued)
		return;
	backend->queued = true;
	if (compile->n_queued_backends == compile->cap_queued_backends) {
		compile->cap_queued_backends = compile->cap_queued_backends ? compile->cap_queued_backends * 2 : 16;
		compile->queued_backends =
		        xrealloc(compile->queued_backends, compile->cap_queued_backends * sizeof(struct backend *));
	}
	compile->queued_backends[compile->n_queued_backends++] = backend;
}

/* The Service a valid reference names has a node: the route's edge. */
static struct backend *find(const struct compile *compile, const struct backend_ref *ref, const char *key)
{
	struct node *service = store_find(compile->graph->store, KIND_SERVICE, ref->namespace, ref->name);
	BUG_ON(!service);
	struct backend *backend = service->compile;
	while (backend && strcmp(backend->key, key) != 0)
		backend = backend->next;
	return backend;
}

static struct backend *make(const struct compile *compile, const struct backend_ref *ref, const char *key, bool grpc,
                            const struct graph_certificate *client)
{
	struct node *service = store_find(compile->graph->store, KIND_SERVICE, ref->namespace, ref->name);
	struct backend *backend = xcalloc(1, sizeof(*backend) + strlen(key) + 1);
	strcpy(backend->key, key);
	backend->port = ref->port;
	backend->grpc = grpc;
	/* Counted where it lies. */
	backend->client = client ? certificate_ref((struct graph_certificate *)(uintptr_t)client) : NULL;
	backend->service = service;
	backend->next = service->compile;
	service->compile = backend;
	return backend;
}

struct use {
	struct compile *compile;
	const struct port *port; /* NULL: one use less */
	bool grpc;
};

static void count(const struct use *use, const struct backend_ref *ref, const char *key)
{
	struct backend *backend = find(use->compile, ref, key);
	if (!backend && use->port)
		backend = make(use->compile, ref, key, use->grpc, backend_client(use->port));
	BUG_ON(!backend || (!use->port && !backend->uses));
	const uint32_t before = backend->uses;
	backend->uses += use->port ? 1 : UINT32_MAX;
	if (!before || !backend->uses)
		queue(use->compile, backend);
}

static void each_ref(const struct use *use, const struct table_rule *rule, const struct http_route *route, size_t index)
{
	const struct http_rule *source = &route->rules[index];
	for (size_t i = 0; i < rule->n_refs; i++)
		if (rule->refs[i].backend)
			count(use, &source->backend_refs[i], rule->refs[i].backend);
	for (size_t i = 0; i < rule->n_mirrors; i++)
		if (rule->mirrors[i].backend)
			count(use, &source->mirrors[i].ref, rule->mirrors[i].backend);
}

void backend_use(struct compile *compile, const struct table_rule *rule, const struct http_route *route, size_t index,
                 const struct port *port)
{
	each_ref(&(struct use){compile, port, route->object.kind == KIND_GRPCROUTE}, rule, route, index);
}

void backend_unuse(struct compile *compile, const struct table_rule *rule, const struct http_route *route, size_t index)
{
	each_ref(&(struct use){compile, NULL, false}, rule, route, index);
}

void backends_touch(struct compile *compile, const struct node *service)
{
	for (struct backend *backend = service->compile; backend; backend = backend->next)
		queue(compile, backend);
}

/* ---- endpoints ---- */

/* What the EndpointSlices say of one address and port. */
struct found {
	char address[48];
	uint16_t port;
	bool ready, v6;
	const char *target; /* targetRef.name, NULL */
	const char *name;   /* given last */
};

struct found_list {
	struct found *items;
	size_t n, cap;
};

static void add_endpoint(struct found_list *list, const struct endpoint *e, uint16_t port)
{
	bool ending = !e->ready && e->serving && e->terminating;
	struct found f = {.port = port, .ready = e->ready, .target = e->target_name};
	if ((!e->ready && !ending) || !graph_address(e->address, f.address))
		return;
	f.v6 = strchr(f.address, ':') != NULL;
	if (list->n == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 8;
		list->items = xrealloc(list->items, list->cap * sizeof(*list->items));
	}
	list->items[list->n++] = f;
}

static void add_slice(struct found_list *list, const struct endpoint_slice *slice, const struct service_port *port)
{
	if (slice->fqdn)
		return;
	for (size_t p = 0; p < slice->n_ports; p++) {
		const struct endpoint_port *ep = &slice->ports[p];
		if (!ep->port || strcmp(ep->name, port->name) != 0 || strcmp(ep->protocol, "TCP") != 0)
			continue;
		for (size_t i = 0; i < slice->n_endpoints; i++)
			add_endpoint(list, &slice->endpoints[i], ep->port);
	}
}

static int found_cmp_place(const void *va, const void *vb)
{
	const struct found *a = va, *b = vb;
	int c = strcmp(a->address, b->address);
	if (!c)
		c = (a->port > b->port) - (a->port < b->port);
	if (!c)
		c = b->ready - a->ready;
	return c ? c : strcmp(a->target ? a->target : "", b->target ? b->target : "");
}

/* An address and port is one server, and ready if any slice says so. */
static void remove_repeats(struct found_list *list)
{
	size_t n = 0;
	if (list->n > 1)
		qsort(list->items, list->n, sizeof(*list->items), found_cmp_place);
	for (size_t i = 0; i < list->n; i++)
		if (!n || strcmp(list->items[n - 1].address, list->items[i].address) != 0 ||
		    list->items[n - 1].port != list->items[i].port)
			list->items[n++] = list->items[i];
	list->n = n;
}

/* Ending endpoints get no new work while others do; they are all there is: better they than nobody. */
static bool has_ready(const struct found_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].ready)
			return true;
	return false;
}

/* ---- names ---- */

static const char *clean_name(struct arena *scratch, const struct found *f)
{
	if (!f->target || !*f->target)
		return arena_printf(scratch, "%s:%u", f->address, f->port);
	char *name = arena_strdup(scratch, f->target);
	for (char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._:-", *p))
			*p = '_';
	return name;
}

static int found_cmp_name(const void *va, const void *vb)
{
	const struct found *a = va, *b = vb;
	int c = strcmp(a->name, b->name);
	if (!c)
		c = a->v6 - b->v6;
	return c ? c : found_cmp_place(a, b);
}

static void sort_by_name(struct found_list *list)
{
	if (list->n > 1)
		qsort(list->items, list->n, sizeof(*list->items), found_cmp_name);
}

static bool has_repeats(const struct found_list *list)
{
	for (size_t i = 1; i < list->n; i++)
		if (strcmp(list->items[i - 1].name, list->items[i].name) == 0)
			return true;
	return false;
}

/* A Pod's name belongs to its first address, IPv4 before IPv6; its others (dual stack, several ports) add the address.
 * Should a name made so be somebody's name already, then all are named by address, which is unique. */
static void give_names(struct arena *scratch, struct found_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		list->items[i].name = clean_name(scratch, &list->items[i]);
	sort_by_name(list);
	const char *last = "";
	for (size_t i = 0; i < list->n; i++) {
		struct found *f = &list->items[i];
		bool repeats = strcmp(last, f->name) == 0;
		last = f->name;
		if (repeats)
			f->name = arena_printf(scratch, "%s:%s:%u", f->name, f->address, f->port);
	}
	sort_by_name(list);
	if (!has_repeats(list))
		return;
	for (size_t i = 0; i < list->n; i++)
		list->items[i].name = arena_printf(scratch, "%s:%u", list->items[i].address, list->items[i].port);
	sort_by_name(list);
}

/* ---- units ---- */

static const struct service_port *find_port(const struct backend *backend)
{
	const struct service *service = (const struct service *)backend->service->object;
	return service ? service_tcp_port(service, backend->port) : NULL;
}

static enum table_protocol protocol_of(const struct service_port *port, bool grpc)
{
	if (grpc || (port->app_protocol && strcmp(port->app_protocol, "kubernetes.io/h2c") == 0))
		return TABLE_H2C;
	if (port->app_protocol && strncmp(port->app_protocol, "kubernetes.io/ws", 16) == 0) /* and wss */
		return TABLE_WEBSOCKET;
	return TABLE_HTTP1;
}

static struct table_unit *build(struct compile *compile, const struct backend *backend, struct table_changes *changes)
{
	const struct service_port *port = find_port(backend);
	BUG_ON(!port); /* or no rule would use it */
	const struct node *policy = graph_policy(compile->graph, backend->service->object, port);
	struct arena scratch;
	arena_init(&scratch);
	struct found_list list = {0};
	for (const struct edge *e = backend->service->in[EDGE_PART]; e; e = e->next)
		if (e->from->object)
			add_slice(&list, (const struct endpoint_slice *)e->from->object, port);
	remove_repeats(&list);
	give_names(&scratch, &list);
	bool drain = has_ready(&list);
	struct table_endpoint *endpoints = arena_array(&scratch, list.n, sizeof(*endpoints));
	for (size_t i = 0; i < list.n; i++) {
		const struct found *f = &list.items[i];
		endpoints[i] = (struct table_endpoint){f->name, f->address, f->port, !f->ready && drain};
	}
	const struct table_backend like = {
	        .unit = {.key = backend->key},
	        .protocol = protocol_of(port, backend->grpc),
	        .tls = policy ? tls_use(compile, policy, backend->client, &scratch, changes) : NULL,
	        .endpoints = endpoints,
	        .n_endpoints = list.n,
	};
	struct table_backend *unit = table_backend_new(&like);
	free(list.items);
	arena_done(&scratch);
	return &unit->unit;
}

static void backend_free(struct backend *backend)
{
	struct backend *first = backend->service->compile;
	if (first == backend)
		backend->service->compile = backend->next;
	else {
		while (first->next != backend)
			first = first->next;
		first->next = backend->next;
	}
	certificate_unref(backend->client);
	free(backend);
}

void backends_free(struct backend *first)
{
	for (struct backend *next; first; first = next) {
		next = first->next;
		certificate_unref(first->client);
		free(first);
	}
}

/* What the new unit needs is used before the old one lets go of it: what both need is not touched. */
static void put(struct compile *compile, const struct backend *backend, struct table_changes *changes)
{
	struct table_unit *old = table_unit_ref(table_get(compile->table, TABLE_BACKEND, backend->key));
	struct table_unit *new = backend->uses ? build(compile, backend, changes) : NULL;
	table_change(compile->table, changes, TABLE_BACKEND, backend->key, new);
	if (old)
		tls_unuse(compile, ((const struct table_backend *)old)->tls, changes);
	table_unit_unref(old);
}

void backends_build(struct compile *compile, struct table_changes *changes)
{
	for (size_t i = 0; i < compile->n_queued_backends; i++) {
		struct backend *backend = compile->queued_backends[i];
		backend->queued = false;
		put(compile, backend, changes);
		if (!backend->uses)
			backend_free(backend);
	}
	compile->n_queued_backends = 0;
	if (compile->cap_queued_backends > 1024) {
		free(compile->queued_backends);
		compile->queued_backends = NULL;
		compile->cap_queued_backends = 0;
	}
}
