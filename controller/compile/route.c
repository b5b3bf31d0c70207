/* Routes: the hosts one is a member of, its rules in the table, the backends they use. */
#include "controller/compile/compile.h"
#include "controller/graph/hostname.h"

#include <string.h>

void route_units_free(struct route_units *units)
{
	if (!units)
		return;
	object_unref(&units->route->object);
	free(units);
}

/* ---- hosts ---- */

struct host_list {
	struct ranked {
		struct host *host;
		uint16_t rank;
	} *items;
	size_t n, cap;
};

/* Of several hostnames that lead to one host, the most specific counts. */
static void add_host(struct host_list *list, struct host *host, uint16_t rank)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->items[i].host == host) {
			if (rank > list->items[i].rank)
				list->items[i].rank = rank;
			return;
		}
	if (list->n == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 4;
		list->items = xrealloc(list->items, list->cap * sizeof(*list->items));
	}
	list->items[list->n++] = (struct ranked){host, rank};
}

static void add_hostname(struct compile *compile, const struct gateway_state *gateway, size_t listener,
                         const char *hostname, size_t rank, struct host_list *list)
{
	uint16_t number = gateway->listeners[listener].spec->port;
	if (graph_listener_owner(gateway, number, hostname) != listener)
		return;
	for (size_t b = 0; b < gateway->n_binds; b++) {
		struct port *port = port_find(compile, gateway, b, listener);
		BUG_ON(!port);
		add_host(list, host_want(port, hostname), (uint16_t)rank);
	}
}

/* See struct membership. "*.b" and "a.b" have as many characters. */
static size_t rank_of(const char *hostname)
{
	return 2 * (strlen(hostname) + (*hostname != '*'));
}

static void add_listener(struct compile *compile, const struct gateway_state *gateway, size_t listener,
                         const struct http_route *route, struct host_list *list)
{
	const char *own = gateway->listeners[listener].spec->hostname;
	const size_t grpc = route->object.kind == KIND_GRPCROUTE;
	if (!own)
		own = "";
	if (!route->n_hostnames)
		add_hostname(compile, gateway, listener, own, grpc, list);
	for (size_t i = 0; i < route->n_hostnames; i++) {
		const char *hostname = hostname_intersect(own, route->hostnames[i]);
		if (hostname)
			add_hostname(compile, gateway, listener, hostname, rank_of(route->hostnames[i]) + grpc, list);
	}
}

/* Every host the route stands on now. Hosts made here are kept or freed by hosts_build(): they are queued. */
static void find_hosts(struct compile *compile, const struct route_state *state, struct host_list *list)
{
	for (size_t p = 0; p < state->n_parents; p++) {
		const uint64_t mask = state->parents[p].listeners;
		if (!mask)
			continue;
		const struct graph_parent to = graph_parent(compile->graph, &state->route->parent_refs[p]);
		for (size_t l = 0; l < to.n; l++)
			if ((mask >> l & 1) && to.gateway->listeners[to.first + l].serving)
				add_listener(compile, to.gateway, to.first + l, state->route, list);
	}
}

/* ---- what of a route its hosts' entries are made from ---- */

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same_tests(const struct value_match *a, size_t n_a, const struct value_match *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (a[i].regex != b[i].regex || strcmp(a[i].name, b[i].name) != 0 || strcmp(a[i].value, b[i].value) != 0)
			return false;
	return true;
}

static bool is_same_match(const struct http_match *a, const struct http_match *b)
{
	return a->path_type == b->path_type && strcmp(a->path, b->path) == 0 && is_same_text(a->method, b->method) &&
	       is_same_text(a->grpc_service, b->grpc_service) && is_same_text(a->grpc_method, b->grpc_method) &&
	       is_same_tests(a->headers, a->n_headers, b->headers, b->n_headers) &&
	       is_same_tests(a->query_params, a->n_query_params, b->query_params, b->n_query_params);
}

static bool is_same_matches(const struct http_rule *a, const struct http_rule *b)
{
	if (a->n_matches != b->n_matches)
		return false;
	for (size_t i = 0; i < a->n_matches; i++)
		if (!is_same_match(&a->matches[i], &b->matches[i]))
			return false;
	return true;
}

static bool is_same_entries(const struct route_units *old, const struct route_units *new)
{
	const struct http_route *a = old->route, *b = new->route;
	if (a == b)
		return old->own_backends == new->own_backends;
	if (a->n_rules != b->n_rules || a->object.created != b->object.created)
		return false;
	for (size_t i = 0; i < a->n_rules; i++)
		if (!is_same_matches(&a->rules[i], &b->rules[i]) || rule_is_per_listener(old, i) != rule_is_per_listener(new, i))
			return false;
	return true;
}

static bool is_same_hosts(const struct route_units *units, const struct host_list *list)
{
	if (units->n_members != list->n)
		return false;
	for (size_t i = 0; i < list->n; i++)
		if (units->members[i].host != list->items[i].host || units->members[i].rank != list->items[i].rank)
			return false;
	return true;
}

/* ---- rules ---- */

static bool has_port_before(const struct route_units *units, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (units->members[j].host->port == units->members[i].host->port)
			return true;
	return false;
}

/* One unit per rule, or per rule and port. */
struct route_rule *route_rules(struct arena *scratch, const struct route_units *units, size_t *ret_n)
{
	*ret_n = 0;
	if (!units)
		return NULL;
	const struct http_route *route = units->route;
	struct route_rule *rules = arena_array(scratch, route->n_rules * units->n_members, sizeof(*rules));
	for (size_t r = 0; r < route->n_rules; r++) {
		bool per_listener = rule_is_per_listener(units, r);
		for (size_t i = 0; i < (per_listener ? units->n_members : 1); i++) {
			const struct port *port = units->members[i].host->port;
			if (!has_port_before(units, i))
				rules[(*ret_n)++] = (struct route_rule){
				        r, port, rule_key(scratch, units, r, port)};
		}
	}
	return rules;
}

static void put_rule(struct compile *compile, const struct route_state *state, const struct route_rule *r,
                     struct table_changes *changes)
{
	struct table_rule *rule = rule_build(compile, state, r->index, r->port, r->key);
	backend_use(compile, rule, state->route, r->index, r->port);
	table_change(compile->table, changes, TABLE_RULE, r->key, &rule->unit);
}

static bool has_rule(const struct route_rule *rules, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(rules[i].key, key) == 0)
			return true;
	return false;
}

/* Backends are used by the new rules before the old ones let go of them: those of both are not touched. */
static void replace_rules(struct compile *compile, const struct route_units *old, const struct route_units *new,
                          const struct route_state *state, struct table_changes *changes)
{
	struct arena scratch;
	arena_init(&scratch);
	size_t n_old, n_new;
	struct route_rule *gone = route_rules(&scratch, old, &n_old), *rules = route_rules(&scratch, new, &n_new);
	struct table_unit **units = arena_array(&scratch, n_old, sizeof(struct table_unit *));
	for (size_t i = 0; i < n_old; i++)
		units[i] = table_unit_ref(table_get(compile->table, TABLE_RULE, gone[i].key));
	for (size_t i = 0; i < n_new; i++)
		put_rule(compile, state, &rules[i], changes);
	for (size_t i = 0; i < n_old; i++) {
		backend_unuse(compile, (struct table_rule *)units[i], old->route, gone[i].index);
		table_unit_unref(units[i]);
		if (!has_rule(rules, n_new, gone[i].key))
			table_change(compile->table, changes, TABLE_RULE, gone[i].key, NULL);
	}
	arena_done(&scratch);
}

/* ---- the whole route ---- */

static struct route_units *units_new(struct node *node, struct http_route *route, const struct host_list *hosts)
{
	struct route_units *units = xcalloc(1, sizeof(*units) + hosts->n * sizeof(struct membership));
	object_ref(&route->object);
	units->route = route;
	units->n_members = hosts->n;
	for (size_t i = 0; i < hosts->n; i++) {
		units->members[i] =
		        (struct membership){.host = hosts->items[i].host, .route = node, .rank = hosts->items[i].rank};
		units->own_backends |= backend_client(hosts->items[i].host->port) != NULL;
	}
	return units;
}

/* Takes the place of another version on the same hosts, none of which need to be built again. */
static void inherit(struct route_units *units, const struct route_units *old)
{
	for (size_t i = 0; i < units->n_members; i++) {
		struct membership *m = &units->members[i];
		*m = old->members[i];
		*m->link = m;
		if (m->next)
			m->next->link = &m->next;
	}
}

void route_compile(struct compile *compile, struct node *node, struct table_changes *changes)
{
	struct route_units *old = node->compile, *units = NULL;
	const struct route_state *state = node_route(node);
	struct host_list hosts = {0};
	if (state)
		find_hosts(compile, state, &hosts);
	if (hosts.n)
		units = units_new(node, state->route, &hosts);
	if (old && units && is_same_hosts(old, &hosts) && is_same_entries(old, units)) {
		inherit(units, old);
	} else {
		for (size_t i = 0; old && i < old->n_members; i++)
			member_unlink(compile, &old->members[i]);
		for (size_t i = 0; units && i < units->n_members; i++)
			member_link(compile, &units->members[i]);
	}
	replace_rules(compile, old, units, state, changes);
	node->compile = units;
	route_units_free(old);
	free(hosts.items);
}
