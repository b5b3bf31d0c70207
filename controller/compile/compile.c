/* The order of one update: Gateways give up ports before others take them, routes then find their hosts, and only what was
 * queued on the way is built. */
#include "controller/compile/compile.h"

void compile_init(struct compile *compile, const struct graph *graph)
{
	*compile = (struct compile){.graph = graph, .table = table_new()};
	keyed_init(&compile->hosts, offsetof(struct host, key));
	keyed_init(&compile->backends, offsetof(struct backend, key));
}

void compile_update(struct compile *compile, const struct graph_delta *delta, struct table_changes *changes)
{
	for (size_t i = 0; i < delta->gateways.n; i++)
		ports_withdraw(compile, delta->gateways.items[i]);
	for (size_t i = 0; i < delta->gateways.n; i++)
		ports_claim(compile, delta->gateways.items[i]);
	for (size_t i = 0; i < delta->routes.n; i++)
		route_compile(compile, delta->routes.items[i], changes);
	for (size_t i = 0; i < delta->services.n; i++)
		backends_touch(compile, delta->services.items[i]);
	hosts_build(compile, changes);
	backends_build(compile, changes);
	ports_build(compile, changes);
}

void compile_done(struct compile *compile, struct store *store)
{
	for (size_t i = 0; i < store->n_buckets; i++)
		for (struct node *node = store->buckets[i]; node; node = node->chain) {
			if (node->kind == KIND_HTTPROUTE)
				route_units_free(node->compile);
			else if (node->kind == KIND_GATEWAY)
				free(node->compile);
			node->compile = NULL;
		}
	struct port *port, *next_port;
	HASH_ITER(hh, compile->ports, port, next_port)
	{
		HASH_DEL(compile->ports, port);
		free(port);
	}
	keyed_done(&compile->hosts);
	keyed_done(&compile->backends);
	free(compile->queued_hosts);
	free(compile->queued_backends);
	table_free(compile->table);
}
