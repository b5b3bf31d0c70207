/* From unit keys back to objects. */
#include "controller/compile/compile.h"

#include <stdlib.h>
#include <string.h>

static bool origin_listener(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	struct port *port;
	HASH_FIND_STR(compile->ports, key, port);
	if (!port || !port->gateway)
		return false;
	cb(ctx, &(struct origin){port->gateway, port->port, ORIGIN_WHOLE, 1});
	return true;
}

static bool origin_rule(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	struct arena scratch;
	arena_init(&scratch);
	struct node *node = rule_route(compile, key);
	size_t n, rule = ORIGIN_WHOLE, of = 0;
	const struct route_rule *rules = route_rules(&scratch, node ? node->compile : NULL, &n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(rules[i].key, key) == 0)
			rule = rules[i].index;
	for (size_t i = 0; i < n; i++)
		of += rules[i].index == rule;
	arena_done(&scratch);
	if (rule != ORIGIN_WHOLE)
		cb(ctx, &(struct origin){node, 0, rule, of});
	return rule != ORIGIN_WHOLE;
}

static bool origin_host(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	struct arena scratch;
	arena_init(&scratch);
	const char *pattern = strchr(key, ' ');
	struct port *port = NULL;
	if (pattern)
		HASH_FIND_STR(compile->ports, arena_strndup(&scratch, key, (size_t)(pattern - key)), port);
	const char *rank = pattern ? strstr(pattern, HOST_RANK) : NULL, *own = pattern ? pattern + 1 : NULL;
	if (rank)
		own = arena_strndup(&scratch, own, (size_t)(rank - own));
	struct host *host = port ? host_find(port, own) : NULL;
	arena_done(&scratch);
	if (!host)
		return false;
	for (struct membership *m = host->members; m; m = m->next)
		cb(ctx, &(struct origin){m->route, 0, ORIGIN_WHOLE, 1});
	if (!host->members && host->root)
		cb(ctx, &(struct origin){port->gateway, port->port, ORIGIN_WHOLE, 1});
	return true;
}

static bool uses(const struct table_rule *rule, const char *backend)
{
	for (size_t r = 0; r < rule->n_refs; r++)
		if (rule->refs[r].backend && strcmp(rule->refs[r].backend, backend) == 0)
			return true;
	for (size_t m = 0; m < rule->n_mirrors; m++)
		if (rule->mirrors[m].backend && strcmp(rule->mirrors[m].backend, backend) == 0)
			return true;
	return false;
}

/* Once for each rule, whatever units it has. */
static bool origin_backend_of(const struct compile *compile, struct node *route, const char *backend, origin_cb *cb,
                              void *ctx)
{
	struct arena scratch;
	arena_init(&scratch);
	size_t n;
	const struct route_rule *rules = route_rules(&scratch, route->compile, &n);
	bool found = false;
	size_t told = ORIGIN_WHOLE;
	for (size_t i = 0; i < n; i++)
		if (rules[i].index != told && uses(table_rule(compile->table, rules[i].key), backend)) {
			told = rules[i].index;
			cb(ctx, &(struct origin){route, 0, told, 1});
			found = true;
		}
	arena_done(&scratch);
	return found;
}

/* "namespace.service:port[-grpc]": a namespace holds no ".". */
struct node *compile_service(const struct compile *compile, const char *key, uint16_t *ret_port)
{
	const char *name = strchr(key, '.'), *end = strrchr(key, ':');
	if (!name || !end || end < name)
		return NULL;
	struct arena scratch;
	arena_init(&scratch);
	struct node *service = store_find(compile->graph->store, KIND_SERVICE,
	                                  arena_strndup(&scratch, key, (size_t)(name - key)),
	                                  arena_strndup(&scratch, name + 1, (size_t)(end - name - 1)));
	arena_done(&scratch);
	if (service)
		*ret_port = (uint16_t)strtoul(end + 1, NULL, 10);
	return service;
}

static bool origin_backend(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	uint16_t port;
	const struct node *service = compile_service(compile, key, &port);
	bool found = false;
	for (struct edge *e = service ? service->in[EDGE_USER] : NULL; e; e = e->next)
		found |= object_kind_is_route(e->from->kind) && origin_backend_of(compile, e->from, key, cb, ctx);
	return found;
}

/* What backends with TLS need is their routes'. */
static bool origin_tls(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	size_t n;
	bool found = false;
	struct table_unit **backends = table_sorted(compile->table, TABLE_BACKEND, &n);
	for (size_t i = 0; i < n; i++) {
		const struct table_tls *tls = ((const struct table_backend *)backends[i])->tls;
		if (tls && ((tls->ca && strcmp(tls->ca, key) == 0) || (tls->certificate && strcmp(tls->certificate, key) == 0)))
			found |= origin_backend(compile, backends[i]->key, cb, ctx);
	}
	free(backends);
	return found;
}

static bool origin_certificate(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	bool found = origin_tls(compile, key, cb, ctx);
	for (const struct port *port = compile->ports; port; port = port->hh.next) {
		const struct table_listener *listener = table_listener(compile->table, port->key);
		for (uint32_t i = 0; listener && port->gateway && i < listener->n_certificates; i++)
			if (strcmp(listener->certificates[i], key) == 0) {
				cb(ctx, &(struct origin){port->gateway, port->port, ORIGIN_WHOLE, 1});
				found = true;
			}
	}
	return found;
}

bool compile_origins(const struct compile *compile, enum table_kind kind, const char *key, origin_cb *cb, void *ctx)
{
	switch (kind) {
	case TABLE_LISTENER:
		return origin_listener(compile, key, cb, ctx);
	case TABLE_RULE:
		return origin_rule(compile, key, cb, ctx);
	case TABLE_HOST:
		return origin_host(compile, key, cb, ctx);
	case TABLE_CERTIFICATE:
		return origin_certificate(compile, key, cb, ctx);
	case TABLE_CA:
		return origin_tls(compile, key, cb, ctx);
	case TABLE_BACKEND:
		return origin_backend(compile, key, cb, ctx);
	default:
		return false;
	}
}
