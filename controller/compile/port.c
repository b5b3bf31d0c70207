/* Ports: which Gateway serves which address and port, and the hostnames of its listeners there. One is known by its
 * address and port; in a cluster, where every Gateway has addresses of its own, by the port HAProxy binds. */
#include "controller/compile/compile.h"

#include <string.h>

void port_key(const char *address, uint16_t port, char *ret, size_t size)
{
	if (!*address)
		snprintf(ret, size, "%u", port);
	else
		snprintf(ret, size, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
}

static void key_of(const struct compile *compile, const struct gateway_state *gateway, size_t bind, size_t listener,
                   char *ret, size_t size)
{
	bool pool = compile->graph->options.pool_base;
	const struct listener_state *s = &gateway->listeners[listener];
	port_key(gateway->binds[bind], pool ? s->bind_port : s->spec->port, ret, size);
	const size_t n = strlen(ret);
	if (!graph_listener_tls(s->spec))
		return;
	if (s->owner == gateway->node)
		snprintf(ret + n, size - n, "@%s", s->spec->name);
	else
		snprintf(ret + n, size - n, "@%s:%s:%s", s->owner->namespace, s->owner->name, s->spec->name);
}

struct port *port_find(const struct compile *compile, const struct gateway_state *gateway, size_t bind, size_t listener)
{
	char key[sizeof(((struct port *)NULL)->key)];
	key_of(compile, gateway, bind, listener, key, sizeof(key));
	struct port *found;
	HASH_FIND_STR(compile->ports, key, found);
	return found;
}

static struct port *want(struct compile *compile, const struct gateway_state *gateway, size_t bind, size_t listener)
{
	struct port *port = port_find(compile, gateway, bind, listener);
	if (port)
		return port;
	port = xcalloc(1, sizeof(*port));
	snprintf(port->address, sizeof(port->address), "%s", gateway->binds[bind]);
	key_of(compile, gateway, bind, listener, port->key, sizeof(port->key));
	hashed_init(&port->hosts);
	HASH_ADD_STR(compile->ports, key, port);
	return port;
}

void ports_withdraw(struct compile *compile, struct node *gateway)
{
	struct gateway_ports *ports = gateway->compile;
	for (size_t p = 0; ports && p < ports->n; p++) {
		struct port *port = ports->ports[p];
		port->gateway = NULL;
		port->roots_changed = true;
		struct hashed_walk walk = {.set = &port->hosts};
		for (struct host *host; (host = hashed_walk(&walk));)
			if (host->root || host->misdirected) {
				host->root = host->misdirected = false;
				host_queue(compile, host);
			}
	}
	free(ports);
	gateway->compile = NULL;
}

static void claim(struct compile *compile, struct gateway_ports *ports, struct node *gateway, size_t bind, size_t listener)
{
	const struct gateway_state *state = node_gateway(gateway);
	const struct listener *l = state->listeners[listener].spec;
	struct port *port = want(compile, state, bind, listener);
	port->port = l->port;
	port->tls = graph_listener_tls(l);
	port->listener = listener;
	port->bind_port = state->listeners[listener].bind_port;
	struct host *host = host_want(port, l->hostname ? l->hostname : "");
	host->root = true;
	host_queue(compile, host);
	port->roots_changed = true;
	if (port->gateway == gateway)
		return;
	BUG_ON(port->gateway);
	port->gateway = gateway;
	ports->ports[ports->n++] = port;
}

/* With TLS a connection is one listener's. What another one of the port has, is asked for on the wrong connection. */
static void claim_misdirected(struct compile *compile, const struct gateway_state *state, size_t bind, size_t listener)
{
	const struct listener *l = state->listeners[listener].spec, *other;
	struct port *port = port_find(compile, state, bind, listener);
	BUG_ON(!port);
	for (size_t i = 0; i < state->n_listeners; i++) {
		other = state->listeners[i].spec;
		if (i == listener || !state->listeners[i].serving || other->port != l->port)
			continue;
		struct host *host = host_want(port, other->hostname ? other->hostname : "");
		host->misdirected = true;
		host_queue(compile, host);
	}
}

void ports_claim(struct compile *compile, struct node *gateway)
{
	const struct gateway_state *state = node_gateway(gateway);
	if (!state || !state->n_binds)
		return;
	struct gateway_ports *ports = xcalloc(1, sizeof(*ports) + state->n_binds * state->n_listeners * sizeof(struct port *));
	for (size_t i = 0; i < state->n_listeners; i++)
		for (size_t b = 0; b < state->n_binds && state->listeners[i].serving; b++)
			claim(compile, ports, gateway, b, i);
	for (size_t i = 0; i < state->n_listeners; i++)
		for (size_t b = 0; b < state->n_binds && state->listeners[i].serving; b++)
			if (graph_listener_tls(state->listeners[i].spec))
				claim_misdirected(compile, state, b, i);
	gateway->compile = ports;
}

static struct table_unit *build(struct compile *compile, const struct port *port, struct table_changes *changes)
{
	struct arena scratch;
	arena_init(&scratch);
	const struct node *gateway = port->gateway;
	struct table_listener like = {
	        .unit = {.key = port->key},
	        .bind_address = port->address,
	        .port = port->port,
	        .bind_port = port->bind_port,
	        .origin = arena_printf(&scratch, "%s/%s", gateway->namespace, gateway->name),
	};
	if (port->tls) {
		const struct gateway_state *state = node_gateway(gateway);
		const char *hostname = state->listeners[port->listener].spec->hostname;
		like.sni = hostname ? hostname : "";
		certificates_use(compile, state, port->listener, &scratch, &like, changes);
	}
	struct table_listener *unit = table_listener_new(&like);
	arena_done(&scratch);
	return &unit->unit;
}

/* After the hosts: a port nobody has has none left. */
void ports_build(struct compile *compile, struct table_changes *changes)
{
	for (struct port *port = compile->ports, *next; port; port = next) {
		next = port->hh.next;
		if (!port->roots_changed)
			continue;
		port->roots_changed = false;
		struct table_unit *old = table_unit_ref(table_get(compile->table, TABLE_LISTENER, port->key));
		table_change(compile->table, changes, TABLE_LISTENER, port->key,
		             port->gateway ? build(compile, port, changes) : NULL);
		certificates_unuse(compile, (const struct table_listener *)old, changes);
		table_unit_unref(old);
		if (port->gateway)
			continue;
		BUG_ON(port->hosts.n);
		hashed_done(&port->hosts);
		HASH_DEL(compile->ports, port); // NOLINT(clang-analyzer-core.NullDereference): it is in the hash
		free(port);
	}
}
