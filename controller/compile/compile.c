/* The order of one update: Gateways give up ports before others take them, routes then find their hosts, and only what was
 * queued on the way is built. */
#include "controller/compile/compile.h"

void compile_init(struct compile *compile, const struct graph *graph)
{
	*compile = (struct compile){.graph = graph, .table = table_new()};
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
	struct hashed_walk walk = {.set = &store->nodes};
	for (struct node *node; (node = hashed_walk(&walk));) {
		if (object_kind_is_route(node->kind))
			route_units_free(node->compile);
		else if (node->kind == KIND_GATEWAY)
			free(node->compile);
		else if (node->kind == KIND_SERVICE)
			backends_free(node->compile);
		else
			continue;
		node->compile = NULL;
	}
	struct port *port, *next_port;
	HASH_ITER(hh, compile->ports, port, next_port)
	{
		HASH_DEL(compile->ports, port);
		hosts_free(port);
		free(port);
	}
	free(compile->queued_hosts);
	free(compile->queued_backends);
	table_free(compile->table);
}
