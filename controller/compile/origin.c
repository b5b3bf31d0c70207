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
	struct host *host = keyed_find(&compile->hosts, key);
	if (host && host->root)
		cb(ctx, host->port->gateway, host->port->port);
	for (struct membership *m = host ? host->members : NULL; m; m = m->next)
		cb(ctx, m->route, 0);
}

static bool uses(const struct route_units *units, const char *backend)
{
	for (size_t i = 0; units && i < units->n_rules; i++)
		for (size_t r = 0; r < units->rules[i]->n_refs; r++)
			if (units->rules[i]->refs[r].backend && strcmp(units->rules[i]->refs[r].backend, backend) == 0)
				return true;
	return false;
}

static void origin_backend(const struct compile *compile, const char *key, origin_cb *cb, void *ctx)
{
	struct backend *backend = keyed_find(&compile->backends, key);
	for (struct edge *e = backend ? backend->service->in[EDGE_USER] : NULL; e; e = e->next)
		if (uses(e->from->compile, key))
			cb(ctx, e->from, 0);
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
