/* From unit keys back to objects. */
#include "controller/compile/compile.h"

#include <string.h>

typedef void origin_cb(void *ctx, struct node *node, uint16_t port);

static void origin_listener(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	struct port *port;
	HASH_FIND_STR(compile->ports, key, port);
	if (port && port->gateway)
		cb(ctx, port->gateway, port->port);
}

/* "namespace/route/index…": neither names nor namespaces hold a "/". */
static void origin_rule(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	const char *name = strchr(key, '/'), *end = name ? strchr(name + 1, '/') : NULL;
	if (!end)
		return;
	struct arena scratch;
	arena_init(&scratch);
	struct node *node = store_find(compile->graph->store, KIND_HTTPROUTE,
	                               arena_strndup(&scratch, key, (size_t)(name - key)),
	                               arena_strndup(&scratch, name + 1, (size_t)(end - name - 1)));
	if (node && node->compile)
		cb(ctx, node, 0);
	arena_done(&scratch);
}

static void origin_host(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	struct arena scratch;
	arena_init(&scratch);
	const char *pattern = strchr(key, ' ');
	struct port *port = NULL;
	if (pattern)
		HASH_FIND_STR(compile->ports, arena_strndup(&scratch, key, (size_t)(pattern - key)), port);
	arena_done(&scratch);
	struct host *host = port ? host_find(port, pattern + 1) : NULL;
	if (host && host->root)
		cb(ctx, host->port->gateway, host->port->port);
	for (struct membership *m = host ? host->members : NULL; m; m = m->next)
		cb(ctx, m->route, 0);
}

static bool uses(const struct compile *compile, const struct route_units *route, const char *backend)
{
	struct arena scratch;
	arena_init(&scratch);
	size_t n;
	const struct route_rule *rules = route_rules(&scratch, route, &n);
	bool found = false;
	for (size_t i = 0; i < n && !found; i++) {
		const struct table_rule *rule = table_rule(compile->table, rules[i].key);
		for (size_t r = 0; r < rule->n_refs && !found; r++)
			found = rule->refs[r].backend && strcmp(rule->refs[r].backend, backend) == 0;
	}
	arena_done(&scratch);
	return found;
}

/* "namespace.service:port": a namespace holds no ".". */
static void origin_backend(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	const char *name = strchr(key, '.'), *end = strrchr(key, ':');
	if (!name || !end || end < name)
		return;
	struct arena scratch;
	arena_init(&scratch);
	const struct node *service = store_find(compile->graph->store, KIND_SERVICE,
	                                        arena_strndup(&scratch, key, (size_t)(name - key)),
	                                        arena_strndup(&scratch, name + 1, (size_t)(end - name - 1)));
	for (struct edge *e = service ? service->in[EDGE_USER] : NULL; e; e = e->next)
		if (uses(compile, e->from->compile, key))
			cb(ctx, e->from, 0);
	arena_done(&scratch);
}

void compile_origins(const struct compile *compile, enum table_kind kind, const char *key,
                     void (*cb)(void *ctx, struct node *node, uint16_t port), void *ctx)
{
	switch (kind) {
	case TABLE_LISTENER:
		origin_listener(compile, key, cb, ctx);
		break;
	case TABLE_RULE:
		origin_rule(compile, key, cb, ctx);
		break;
	case TABLE_HOST:
		origin_host(compile, key, cb, ctx);
		break;
	case TABLE_BACKEND:
		origin_backend(compile, key, cb, ctx);
		break;
	default:
		break;
	}
}
