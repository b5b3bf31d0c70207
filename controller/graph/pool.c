/* Which port of the pool has a listener port of a Gateway: a function of the objects, so that every replica, before and
 * after every restart, comes to the same.
 *
 *   1. What the Gateway's own Service says (targetPort). Where two say the same, the older Gateway's does.
 *   2. Else the lowest port that no Service leads to; the older Gateway first.
 *   3. Else one that only Services without such a listener lead to: clients of a Gateway that is just going shall not
 *      arrive at another one's, as long as there is a choice. */
#include "controller/graph/graph.h"

enum { FREE, STALE, TAKEN };

struct pool {
	const struct graph *graph;
	struct gateway_state **states;
	size_t n;
	unsigned base, size;
	uint8_t ports[2 * GRAPH_POOL]; /* FREE, STALE, TAKEN; those for TLS from GRAPH_POOL on */
};

static bool is_in_pool(const struct pool *pool, unsigned port)
{
	return port >= pool->base && (port - pool->base) % GRAPH_POOL < pool->size && port - pool->base < 2 * GRAPH_POOL;
}

static bool is_for_tls(const struct pool *pool, unsigned port)
{
	return port - pool->base >= GRAPH_POOL;
}

/* All listeners of one port share it. */
static void give(struct pool *pool, struct gateway_state *state, uint16_t port, unsigned bind_port)
{
	pool->ports[bind_port - pool->base] = TAKEN;
	for (size_t i = 0; i < state->n_listeners; i++)
		if (state->listeners[i].spec->port == port && graph_listener_good(state, i)) {
			state->listeners[i].bind_port = (uint16_t)bind_port;
			state->listeners[i].serving = true;
		}
}

static void give_by_service(struct pool *pool, struct gateway_state *state)
{
	bool foreign;
	const struct service *service = graph_service(pool->graph, state->gateway, &foreign);
	for (size_t i = 0; service && i < state->n_listeners; i++) {
		uint16_t port = state->listeners[i].spec->port, target = graph_target_port(service, port);
		if (!state->listeners[i].serving && graph_listener_good(state, i) && is_in_pool(pool, target) &&
		    is_for_tls(pool, target) == graph_listener_tls(state->listeners[i].spec) &&
		    pool->ports[target - pool->base] == FREE)
			give(pool, state, port, target);
	}
}

static void mark_stale(struct pool *pool, const struct service *service)
{
	for (size_t i = 0; service && service->kept && i < service->n_ports; i++) {
		unsigned target = service->kept->target_ports[i];
		if (is_in_pool(pool, target) && pool->ports[target - pool->base] == FREE)
			pool->ports[target - pool->base] = STALE;
	}
}

/* 0: there is none. */
static unsigned lowest(const struct pool *pool, int kind, bool tls)
{
	unsigned first = tls ? GRAPH_POOL : 0;
	for (unsigned i = first; i < first + pool->size; i++)
		if (pool->ports[i] == kind)
			return pool->base + i;
	return 0;
}

static void give_free(struct pool *pool, struct gateway_state *state)
{
	for (size_t i = 0; i < state->n_listeners; i++) {
		if (state->listeners[i].serving || !graph_listener_good(state, i))
			continue;
		bool tls = graph_listener_tls(state->listeners[i].spec);
		unsigned port = lowest(pool, FREE, tls);
		if (!port)
			port = lowest(pool, STALE, tls);
		if (port)
			give(pool, state, state->listeners[i].spec->port, port);
		else
			condition_set(&state->listeners[i].accepted, COND_LISTENER_PORT_UNAVAILABLE,
			              "spec.listeners[%zu].port: all %u ports of the Pods are taken by older Gateways",
			              graph_listener_index(state, i), pool->size);
	}
}

void graph_pool(const struct graph *graph, struct gateway_state **states, size_t n)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));
	pool->graph = graph;
	pool->base = graph->options.pool_base;
	/* A base so high that there is no room for two has none for TLS; --pool-ports refuses it. */
	unsigned room = 65536 - pool->base;
	pool->size = room < GRAPH_POOL ? room : room < 2 * GRAPH_POOL ? room - GRAPH_POOL : GRAPH_POOL;
	for (size_t g = 0; g < n; g++)
		give_by_service(pool, states[g]);
	for (size_t i = 0; i < graph->kept.n; i++)
		mark_stale(pool, (const struct service *)graph->kept.items[i]->object);
	for (size_t g = 0; g < n; g++)
		give_free(pool, states[g]);
	free(pool);
}
