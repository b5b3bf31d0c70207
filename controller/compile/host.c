/* Hosts: which routes' matches stand in which order on a hostname (Gateway API, HTTPRouteRule.matches), and the wider
 * hostname tried next. */
#include "controller/compile/compile.h"
#include "controller/graph/hostname.h"

#include <string.h>
#include <strings.h>

static char *key_new(const struct port *port, const char *pattern)
{
	size_t n = strlen(port->key) + 1 + strlen(pattern) + 1;
	char *key = xmalloc(n);
	snprintf(key, n, "%s %s", port->key, pattern);
	return key;
}

static struct host *find(const struct compile *compile, const struct port *port, const char *pattern)
{
	char *key = key_new(port, pattern);
	struct host *host;
	HASH_FIND_STR(compile->hosts, key, host);
	free(key);
	return host;
}

struct host *host_want(struct compile *compile, struct port *port, const char *pattern)
{
	struct host *host = find(compile, port, pattern);
	if (!host) {
		char *key = key_new(port, pattern);
		host = xcalloc(1, sizeof(*host) + strlen(key) + 1);
		strcpy(host->key, key);
		free(key);
		host->pattern = host->key + strlen(port->key) + 1;
		host->port = port;
		host->next = port->hosts;
		host->link = &port->hosts;
		if (port->hosts)
			port->hosts->link = &host->next;
		port->hosts = host;
		HASH_ADD_STR(compile->hosts, key, host);
	}
	return host;
}

static void host_free(struct compile *compile, struct host *host)
{
	*host->link = host->next;
	if (host->next)
		host->next->link = host->link;
	HASH_DEL(compile->hosts, host);
	free(host);
}

void host_queue(struct compile *compile, struct host *host)
{
	if (host->queued)
		return;
	host->queued = true;
	if (compile->n_queued_hosts == compile->cap_queued_hosts) {
		compile->cap_queued_hosts = compile->cap_queued_hosts ? compile->cap_queued_hosts * 2 : 16;
		compile->queued_hosts =
		        xrealloc(compile->queued_hosts, compile->cap_queued_hosts * sizeof(struct host *));
	}
	compile->queued_hosts[compile->n_queued_hosts++] = host;
}

void member_link(struct compile *compile, struct membership *member)
{
	struct host *host = member->host;
	member->next = host->members;
	member->link = &host->members;
	if (host->members)
		host->members->link = &member->next;
	host->members = member;
	host_queue(compile, host);
}

void member_unlink(struct compile *compile, struct membership *member)
{
	*member->link = member->next;
	if (member->next)
		member->next->link = member->link;
	host_queue(compile, member->host);
}

static bool shall_exist(const struct host *host)
{
	return host->root || host->members;
}

/* ---- falls_to ---- */

static struct host *wider(const struct compile *compile, const struct host *host)
{
	if (host->root || !shall_exist(host))
		return NULL;
	char *pattern = xmalloc(strlen(host->pattern) + 3);
	struct host *found = NULL;
	const char *next = hostname_widen(host->pattern, pattern);
	while (next && !found) {
		found = find(compile, host->port, next);
		if (found && !shall_exist(found))
			found = NULL;
		next = hostname_widen(next, pattern);
	}
	free(pattern);
	return found;
}

/* A wildcard that comes or goes stands, or stood, between narrower hosts and wider ones. Those of its port that it covers
 * look again; a wildcard is rare, so the port's hosts are simply walked. */
static void requeue_narrower(struct compile *compile, struct port *port, struct host *const *wildcards, size_t n)
{
	for (struct host *host = port->hosts; host; host = host->next) {
		bool below = n > 8;
		for (size_t i = 0; i < n && !below; i++)
			below = wildcards[i]->port == port && hostname_covers(wildcards[i]->pattern, host->pattern);
		if (below && !host->queued && wider(compile, host) != host->falls_to)
			host_queue(compile, host);
	}
}

static void resolve_wildcards(struct compile *compile)
{
	struct host **wildcards = NULL;
	size_t n = 0;
	for (size_t i = 0; i < compile->n_queued_hosts; i++) {
		struct host *host = compile->queued_hosts[i];
		bool wild = *host->pattern == '*' || !*host->pattern;
		if (!wild || (host->exists == shall_exist(host) && !host->port->roots_changed))
			continue;
		if (!(n & (n - 1)))
			wildcards = xrealloc(wildcards, (n ? n * 2 : 1) * sizeof(*wildcards));
		wildcards[n++] = host;
	}
	struct port *port, *next;
	HASH_ITER(hh, compile->ports, port, next)
	{
		bool touched = false;
		for (size_t i = 0; i < n && !touched; i++)
			touched = wildcards[i]->port == port;
		if (touched)
			requeue_narrower(compile, port, wildcards, n);
	}
	free(wildcards);
}

/* ---- entries ---- */

struct candidate {
	struct table_entry entry;
	const struct object *route;
	size_t path_length;
	uint32_t rule, match;
};

static int compare(size_t a, size_t b)
{
	return a < b ? -1 : a > b;
}

static int path_rank(enum table_path type)
{
	return type == TABLE_EXACT ? 0 : type == TABLE_REGEX ? 1 : 2;
}

/* Exact, regular expressions (the longest text first: the specification leaves their order to us), prefixes by falling
 * length; of the same path: method, most headers, most queries, the oldest route, its name, the order in the route. */
static int candidate_cmp(const void *va, const void *vb)
{
	const struct candidate *a = va, *b = vb;
	const struct table_match *x = &a->entry.match, *y = &b->entry.match;
	int c = path_rank(x->path_type) - path_rank(y->path_type);
	if (!c && x->path_type != TABLE_EXACT)
		c = compare(b->path_length, a->path_length);
	if (!c && x->path_type != TABLE_REGEX)
		c = strcmp(x->path, y->path);
	if (!c)
		c = compare(y->method != NULL, x->method != NULL);
	if (!c)
		c = compare(y->n_headers, x->n_headers);
	if (!c)
		c = compare(y->n_queries, x->n_queries);
	if (!c)
		c = graph_older(a->route, b->route);
	if (!c)
		c = compare(a->rule, b->rule);
	return c ? c : compare(a->match, b->match);
}

/* Of several tests of one name the first counts (HTTPHeaderMatch.name, HTTPQueryParamMatch.name). */
static struct table_test *tests(struct arena *scratch, const struct value_match *from, size_t n, bool any_case,
                                size_t *ret_n)
{
	struct table_test *list = arena_array(scratch, n, sizeof(*list));
	size_t used = 0;
	for (size_t i = 0; i < n; i++) {
		bool seen = false;
		for (size_t j = 0; j < used && !seen; j++)
			seen = any_case ? strcasecmp(list[j].name, from[i].name) == 0 : strcmp(list[j].name, from[i].name) == 0;
		if (!seen)
			list[used++] = (struct table_test){from[i].name, from[i].value, from[i].regex};
	}
	*ret_n = used;
	return list;
}

static void fill(struct arena *scratch, struct candidate *c, const struct http_match *match)
{
	static const enum table_path types[] = {
	        [PATH_MATCH_EXACT] = TABLE_EXACT, [PATH_MATCH_PREFIX] = TABLE_PREFIX, [PATH_MATCH_REGEX] = TABLE_REGEX};
	struct table_match *m = &c->entry.match;
	m->path_type = types[match->path_type];
	m->path = rule_path(scratch, match);
	m->method = match->method;
	m->headers = tests(scratch, match->headers, match->n_headers, true, &m->n_headers);
	m->queries = tests(scratch, match->query_params, match->n_query_params, false, &m->n_queries);
	c->path_length = strcmp(m->path, "/") == 0 && m->path_type == TABLE_PREFIX ? 0 : strlen(m->path);
}

static size_t count_matches(const struct host *host)
{
	size_t n = 0;
	for (const struct membership *m = host->members; m; m = m->next) {
		const struct http_route *route = node_route(m->route)->route;
		for (size_t r = 0; r < route->n_rules; r++)
			n += route->rules[r].n_matches;
	}
	return n;
}

static size_t add_route(struct arena *scratch, const struct host *host, const struct route_state *state,
                        struct candidate *list)
{
	const struct http_route *route = state->route;
	size_t n = 0, match = 0;
	for (size_t r = 0; r < route->n_rules; r++) {
		const struct http_rule *rule = &route->rules[r];
		const char *key = rule_key(scratch, route, r, host->port);
		for (size_t m = 0; m < rule->n_matches; m++, match++) {
			if (graph_match_dropped(state, match))
				continue;
			struct candidate *c = &list[n++];
			*c = (struct candidate){.route = &route->object, .rule = (uint32_t)r, .match = (uint32_t)m};
			c->entry.rule = key;
			fill(scratch, c, &rule->matches[m]);
		}
	}
	return n;
}

static struct table_unit *build(const struct host *host)
{
	struct arena scratch;
	arena_init(&scratch);
	struct candidate *list = arena_array(&scratch, count_matches(host), sizeof(*list));
	size_t n = 0;
	for (const struct membership *m = host->members; m; m = m->next)
		n += add_route(&scratch, host, node_route(m->route), list + n);
	if (n > 1)
		qsort(list, n, sizeof(*list), candidate_cmp);
	struct table_entry *entries = arena_array(&scratch, n, sizeof(*entries));
	for (size_t i = 0; i < n; i++)
		entries[i] = list[i].entry;
	struct table_host *unit = table_host_new(&(struct table_host){
	        .unit.key = host->key,
	        .listener = host->port->key,
	        .pattern = host->pattern,
	        .falls_to = host->falls_to ? host->falls_to->pattern : NULL,
	        .entries = entries,
	        .n_entries = n,
	});
	arena_done(&scratch);
	return &unit->unit;
}

/* Hosts that go are freed last: until then others may compare their falls_to with them. */
void hosts_build(struct compile *compile, struct table_changes *changes)
{
	resolve_wildcards(compile);
	for (size_t i = 0; i < compile->n_queued_hosts; i++)
		compile->queued_hosts[i]->falls_to = wider(compile, compile->queued_hosts[i]);
	for (size_t i = 0; i < compile->n_queued_hosts; i++) {
		struct host *host = compile->queued_hosts[i];
		host->queued = false;
		host->exists = shall_exist(host);
		table_change(compile->table, changes, TABLE_HOST, host->key, host->exists ? build(host) : NULL);
	}
	for (size_t i = 0; i < compile->n_queued_hosts; i++)
		if (!compile->queued_hosts[i]->exists)
			host_free(compile, compile->queued_hosts[i]);
	compile->n_queued_hosts = 0;
	if (compile->cap_queued_hosts > 1024) {
		free(compile->queued_hosts);
		compile->queued_hosts = NULL;
		compile->cap_queued_hosts = 0;
	}
}
