/* Hosts: which routes' matches stand in which order on a hostname (Gateway API, HTTPRouteSpec.hostnames,
 * HTTPRouteRule.matches and GRPCRouteRule.matches), and the wider hostname tried next. */
#include "controller/compile/compile.h"
#include "controller/graph/hostname.h"

#include <string.h>
#include <strings.h>

/* Requests' hosts are lower case: only another host leads to one of a lower rank. */
static const char *lower_pattern(struct arena *scratch, const struct host *host, uint16_t rank)
{
	return arena_printf(scratch, "%s" HOST_RANK "%u", host->pattern, rank);
}

static const char *rank_pattern(struct arena *scratch, const struct host *host, size_t i)
{
	return i ? lower_pattern(scratch, host, host->ranks[i]) : host->pattern;
}

static const char *unit_key(struct arena *scratch, const struct host *host, const char *pattern)
{
	return arena_printf(scratch, "%s %s", host->port->key, pattern);
}

struct host *host_find(const struct port *port, const char *pattern)
{
	struct host *host = hashed_first(&port->hosts, hashed_text(&port->hosts, pattern));
	while (host && strcmp(host->pattern, pattern) != 0)
		host = hashed_next(host);
	return host;
}

struct host *host_want(struct port *port, const char *pattern)
{
	struct host *host = host_find(port, pattern);
	if (!host) {
		host = xcalloc(1, sizeof(*host) + strlen(pattern) + 1);
		strcpy(host->pattern, pattern);
		host->port = port;
		hashed_add(&port->hosts, host, hashed_text(&port->hosts, pattern));
	}
	return host;
}

static void host_free(struct host *host)
{
	hashed_delete(&host->port->hosts, host);
	free(host->ranks);
	free(host);
}

void hosts_free(struct port *port)
{
	struct hashed_walk walk = {.set = &port->hosts};
	for (struct host *host; (host = hashed_walk(&walk));) {
		free(host->ranks);
		free(host);
	}
	hashed_done(&port->hosts);
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

static void touch(struct compile *compile, struct host *host, const struct node *route)
{
	host_queue(compile, host);
	if (!host->touched)
		host->touched = xcalloc(1, sizeof(*host->touched));
	struct touched *t = host->touched;
	if (t->n && t->n <= TOUCHED && t->routes[t->n - 1] == route)
		return;
	if (t->n < TOUCHED)
		t->routes[t->n] = route;
	t->n += t->n <= TOUCHED;
}

void member_link(struct compile *compile, struct membership *member)
{
	struct host *host = member->host;
	member->next = host->members;
	member->link = &host->members;
	if (host->members)
		host->members->link = &member->next;
	host->members = member;
	touch(compile, host, member->route);
}

void member_unlink(struct compile *compile, struct membership *member)
{
	*member->link = member->next;
	if (member->next)
		member->next->link = member->link;
	touch(compile, member->host, member->route);
}

static bool shall_exist(const struct host *host)
{
	return host->root || host->misdirected || host->members;
}

/* ---- falls_to ---- */

static struct host *wider(const struct host *host)
{
	if (host->root || host->misdirected || !shall_exist(host))
		return NULL;
	char *pattern = xmalloc(strlen(host->pattern) + 3);
	struct host *found = NULL;
	const char *next = hostname_widen(host->pattern, pattern);
	while (next && !found) {
		found = host_find(host->port, next);
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
	struct hashed_walk walk = {.set = &port->hosts};
	for (struct host *host; (host = hashed_walk(&walk));) {
		bool below = n > 8;
		for (size_t i = 0; i < n && !below; i++)
			below = wildcards[i]->port == port && hostname_covers(wildcards[i]->pattern, host->pattern);
		if (below && !host->queued && wider(host) != host->falls_to)
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
	for (struct port *port = compile->ports; port; port = port->hh.next) {
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

static size_t path_length(const struct table_match *m)
{
	return m->path_type == TABLE_PREFIX && strcmp(m->path, "/") == 0 ? 0 : strlen(m->path);
}

/* The most characters of a matching service, then method. Patterns: a service that is asked for, then the longest text. */
static int path_regex_cmp(const char *a, const char *b)
{
	if (!a || !b)
		return compare(!a, !b);
	int c = compare(strncmp(a, RULE_ANY, strlen(RULE_ANY)) == 0, strncmp(b, RULE_ANY, strlen(RULE_ANY)) == 0);
	return c ? c : compare(strlen(b), strlen(a));
}

/* Exact, regular expressions (the longest text first: the specification leaves their order to us), prefixes by falling
 * length; of the same path: method, most headers, most queries. This is GRPCRoute's order, too: its services and methods
 * are paths. */
static int match_cmp(const struct table_match *a, const struct table_match *b)
{
	int c = path_rank(a->path_type) - path_rank(b->path_type);
	if (!c && a->path_type != TABLE_EXACT)
		c = compare(path_length(b), path_length(a));
	if (!c && a->path_type != TABLE_REGEX)
		c = strcmp(a->path, b->path);
	if (!c)
		c = path_regex_cmp(a->path_regex, b->path_regex);
	if (!c)
		c = compare(b->method != NULL, a->method != NULL);
	if (!c)
		c = compare(b->n_headers, a->n_headers);
	return c ? c : compare(b->n_queries, a->n_queries);
}

/* Then the oldest route, its name, the order in the route. */
static int candidate_cmp(const void *va, const void *vb)
{
	const struct candidate *a = va, *b = vb;
	int c = match_cmp(&a->entry.match, &b->entry.match);
	if (!c)
		c = graph_older(a->route, b->route);
	if (!c)
		c = compare(a->rule, b->rule);
	return c ? c : compare(a->match, b->match);
}

/* Of several tests of one name the first counts (HTTPHeaderMatch.name, HTTPQueryParamMatch.name). */
static struct table_test *tests(struct arena *scratch, const struct value_match *from, size_t n, bool any_case,
                                uint16_t *ret_n)
{
	struct table_test *list = arena_array(scratch, n + 1, sizeof(*list)); /* see only_grpc() */
	uint16_t used = 0;
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
	m->path_regex = rule_path_regex(scratch, match);
	m->method = match->method;
	m->headers = tests(scratch, match->headers, match->n_headers, true, &m->n_headers);
	m->queries = tests(scratch, match->query_params, match->n_query_params, false, &m->n_queries);
}

/* RFC of the protocol: "application/grpc", or that and "+proto", "+json"…; gRPC-Web is another protocol. */
static void only_grpc(struct table_match *m)
{
	m->headers[m->n_headers++] = (struct table_test){"content-type", "(?i)application/grpc([+;].*)?", true};
}

static bool has_http_routes(const struct host *host)
{
	for (const struct membership *m = host->members; m; m = m->next)
		if (m->route->kind == KIND_HTTPROUTE)
			return true;
	return false;
}

static size_t count_matches(const struct http_route *route)
{
	size_t n = 0;
	for (size_t r = 0; r < route->n_rules; r++)
		n += route->rules[r].n_matches;
	return n;
}

static size_t add_route(struct arena *scratch, const struct host *host, const struct node *node,
                        struct candidate *list)
{
	const struct route_state *state = node_route(node);
	const struct http_route *route = state->route;
	const bool guarded = route->object.kind == KIND_GRPCROUTE && has_http_routes(host);
	size_t n = 0, match = 0;
	for (size_t r = 0; r < route->n_rules; r++) {
		const struct http_rule *rule = &route->rules[r];
		const char *key = rule_key(scratch, node->compile, r, host->port);
		for (size_t m = 0; m < rule->n_matches; m++, match++) {
			if (graph_match_dropped(state, match))
				continue;
			struct candidate *c = &list[n++];
			*c = (struct candidate){.route = &route->object, .rule = (uint32_t)r, .match = (uint32_t)m};
			c->entry.rule = key;
			fill(scratch, c, &rule->matches[m]);
			if (guarded)
				only_grpc(&c->entry.match);
		}
	}
	return n;
}

/* In scratch. */
struct entries {
	struct table_entry *items;
	size_t n;
};

static struct entries sorted(struct arena *scratch, struct candidate *list, size_t n)
{
	if (n > 1)
		qsort(list, n, sizeof(*list), candidate_cmp);
	struct entries entries = {arena_array(scratch, n, sizeof(*entries.items)), n};
	for (size_t i = 0; i < n; i++)
		entries.items[i] = list[i].entry;
	return entries;
}

/* All routes of the host that have the rank. */
static struct entries gather(struct arena *scratch, const struct host *host, uint16_t rank)
{
	size_t n = 0;
	for (const struct membership *m = host->members; m; m = m->next)
		n += m->rank == rank ? count_matches(node_route(m->route)->route) : 0;
	struct candidate *list = arena_array(scratch, n, sizeof(*list));
	n = 0;
	for (const struct membership *m = host->members; m; m = m->next)
		n += m->rank == rank ? add_route(scratch, host, m->route, list + n) : 0;
	return sorted(scratch, list, n);
}

/* ---- entries, from those of the host's last unit and the few routes touched since ---- */

static bool is_member(const struct host *host, const struct node *route)
{
	const struct route_units *units = route->compile;
	for (size_t i = 0; units && i < units->n_members; i++)
		if (units->members[i].host == host)
			return true;
	return false;
}

static struct entries gather_touched(struct arena *scratch, const struct host *host)
{
	size_t n = 0;
	const struct touched *touched = host->touched;
	struct candidate *list;
	for (size_t i = 0; touched && i < touched->n; i++)
		if (is_member(host, touched->routes[i]))
			n += count_matches(node_route(touched->routes[i])->route);
	list = arena_array(scratch, n, sizeof(*list));
	n = 0;
	for (size_t i = 0; touched && i < touched->n; i++)
		if (is_member(host, touched->routes[i]))
			n += add_route(scratch, host, touched->routes[i], list + n);
	return sorted(scratch, list, n);
}

static struct entries untouched(struct arena *scratch, const struct host *host, const struct table_host *last)
{
	struct entries kept = {arena_array(scratch, last->n_entries, sizeof(*kept.items)), 0};
	for (size_t i = 0; i < last->n_entries; i++) {
		bool gone = false;
		for (size_t t = 0; host->touched && t < host->touched->n && !gone; t++)
			gone = rule_is_of(last->entries[i].rule, host->touched->routes[t]);
		if (!gone)
			kept.items[kept.n++] = last->entries[i];
	}
	return kept;
}

/* The route a rule's key names. */
static const struct object *owner(const struct compile *compile, const char *key)
{
	const struct node *node = rule_route(compile, key);
	BUG_ON(!node || !node->object);
	return node->object;
}

/* Never of the same route: those are replaced as a whole. */
static bool comes_before(const struct compile *compile, const struct table_entry *a, const struct table_entry *b)
{
	int c = match_cmp(&a->match, &b->match);
	return c ? c < 0 : graph_older(owner(compile, a->rule), owner(compile, b->rule)) < 0;
}

/* Few new among many old: each new one finds its place by halving. */
static struct entries merged(struct arena *scratch, const struct compile *compile, struct entries old, struct entries new)
{
	struct entries all = {arena_array(scratch, old.n + new.n, sizeof(*all.items)), 0};
	size_t at = 0;
	for (size_t i = 0; i < new.n; i++) {
		size_t low = at, high = old.n;
		while (low < high) {
			size_t middle = low + (high - low) / 2;
			if (comes_before(compile, &old.items[middle], &new.items[i]))
				low = middle + 1;
			else
				high = middle;
		}
		memcpy(all.items + all.n, old.items + at, (low - at) * sizeof(*all.items));
		all.n += low - at;
		all.items[all.n++] = new.items[i];
		at = low;
	}
	memcpy(all.items + all.n, old.items + at, (old.n - at) * sizeof(*all.items));
	all.n += old.n - at;
	return all;
}

static void put_unit(struct compile *compile, struct host *host, const char *key, const char *pattern,
                     const char *falls_to, struct entries entries, struct table_changes *changes)
{
	const struct table_host like = {
	        .unit = {.key = key},
	        .listener = host->port->key,
	        .pattern = pattern,
	        .falls_to = falls_to,
	        .entries = entries.items,
	        .n_entries = entries.n,
	};
	table_change(compile->table, changes, TABLE_HOST, key, &table_host_new(&like)->unit);
}

static const struct table_entry misdirected = {{.path = "/", .path_type = TABLE_PREFIX}, MISDIRECTED};

static bool is_misdirected(const struct table_host *host)
{
	return host->n_entries == 1 && strcmp(host->entries[0].rule, MISDIRECTED) == 0;
}

/* The rule that answers them, as long as there are any. */
static void build_misdirected(struct compile *compile, struct table_changes *changes)
{
	const struct table_rule rule = {.unit.key = MISDIRECTED, .origin = MISDIRECTED, .action = TABLE_STATUS, .status = 421,
	                                .request_timeout_ms = -1, .backend_timeout_ms = -1};
	table_change(compile->table, changes, TABLE_RULE, MISDIRECTED,
	             compile->n_misdirected ? &table_rule_new(&rule)->unit : NULL);
}

/* Members of one rank, as nearly always. */
static void build(struct compile *compile, struct host *host, const char *key, struct table_changes *changes)
{
	struct arena scratch;
	arena_init(&scratch);
	struct entries entries;
	const struct table_host *last = (struct table_host *)table_get(compile->table, TABLE_HOST, key);
	if (host->misdirected)
		entries = (struct entries){arena_array(&scratch, 1, sizeof(*entries.items)), 0};
	else if (!last || is_misdirected(last) || host->n_ranks || (host->touched && host->touched->n > TOUCHED))
		entries = gather(&scratch, host, host->members ? host->members->rank : 0);
	else
		entries = merged(&scratch, compile, untouched(&scratch, host, last), gather_touched(&scratch, host));
	if (host->misdirected)
		entries.items[entries.n++] = misdirected;
	put_unit(compile, host, key, host->pattern, host->falls_to ? host->falls_to->pattern : NULL, entries, changes);
	arena_done(&scratch);
}

/* ---- members of several ranks ---- */

static int rank_cmp(const void *a, const void *b)
{
	return *(const uint16_t *)b - *(const uint16_t *)a;
}

/* In scratch, each once, the highest first. */
static uint16_t *list_ranks(struct arena *scratch, const struct host *host, size_t *ret_n)
{
	size_t n = 0, used = 0;
	for (const struct membership *m = host->members; m; m = m->next)
		n++;
	uint16_t *ranks = arena_array(scratch, n, sizeof(*ranks));
	for (const struct membership *m = host->members; m; m = m->next) {
		bool seen = false;
		for (size_t i = 0; i < used && !seen; i++)
			seen = ranks[i] == m->rank;
		if (!seen)
			ranks[used++] = m->rank;
	}
	if (used > 1)
		qsort(ranks, used, sizeof(*ranks), rank_cmp);
	*ret_n = used;
	return ranks;
}

static bool has_rank(const struct host *host, uint16_t rank)
{
	for (size_t i = 1; i < host->n_ranks; i++)
		if (host->ranks[i] == rank)
			return true;
	return false;
}

/* The units of `old` ranks that the host no longer has. */
static void drop_ranks(struct compile *compile, const struct host *host, const uint16_t *old, size_t n_old,
                       struct table_changes *changes)
{
	struct arena scratch;
	arena_init(&scratch);
	for (size_t i = 1; i < n_old; i++)
		if (!has_rank(host, old[i]))
			table_change(compile->table, changes, TABLE_HOST,
			             unit_key(&scratch, host, lower_pattern(&scratch, host, old[i])), NULL);
	arena_done(&scratch);
}

static void build_ranks(struct compile *compile, struct host *host, struct table_changes *changes)
{
	struct arena scratch;
	arena_init(&scratch);
	for (size_t i = host->n_ranks; i--;) { /* what is fallen to first */
		const char *falls_to = i + 1 < host->n_ranks ? rank_pattern(&scratch, host, i + 1) :
		                       host->falls_to        ? host->falls_to->pattern :
		                                               NULL;
		const char *pattern = rank_pattern(&scratch, host, i);
		put_unit(compile, host, unit_key(&scratch, host, pattern), pattern, falls_to,
		         gather(&scratch, host, host->ranks[i]), changes);
	}
	arena_done(&scratch);
}

/* All units of the host. */
static void build_all(struct compile *compile, struct host *host, struct table_changes *changes)
{
	struct arena scratch;
	arena_init(&scratch);
	uint16_t *old = host->ranks;
	size_t n_old = host->n_ranks, n;
	const uint16_t *ranks = list_ranks(&scratch, host, &n);
	const char *key = unit_key(&scratch, host, host->pattern);
	const struct table_host *last = (struct table_host *)table_get(compile->table, TABLE_HOST, key);
	compile->n_misdirected += host->misdirected;
	compile->n_misdirected -= last && is_misdirected(last);
	host->exists = shall_exist(host);
	if (!host->exists)
		table_change(compile->table, changes, TABLE_HOST, key, NULL);
	else if (n < 2)
		build(compile, host, key, changes);
	host->ranks = NULL;
	host->n_ranks = n < 2 ? 0 : n;
	if (host->n_ranks) {
		host->ranks = xcalloc(n, sizeof(*ranks));
		memcpy(host->ranks, ranks, n * sizeof(*ranks));
		build_ranks(compile, host, changes);
	}
	drop_ranks(compile, host, old, n_old, changes);
	free(old);
	arena_done(&scratch);
}

/* Hosts that go are freed last: until then others may compare their falls_to with them. */
void hosts_build(struct compile *compile, struct table_changes *changes)
{
	resolve_wildcards(compile);
	for (size_t i = 0; i < compile->n_queued_hosts; i++)
		compile->queued_hosts[i]->falls_to = wider(compile->queued_hosts[i]);
	for (size_t i = 0; i < compile->n_queued_hosts; i++) {
		struct host *host = compile->queued_hosts[i];
		host->queued = false;
		build_all(compile, host, changes);
		free(host->touched);
		host->touched = NULL;
	}
	build_misdirected(compile, changes);
	for (size_t i = 0; i < compile->n_queued_hosts; i++)
		if (!compile->queued_hosts[i]->exists)
			host_free(compile->queued_hosts[i]);
	compile->n_queued_hosts = 0;
	if (compile->cap_queued_hosts > 1024) {
		free(compile->queued_hosts);
		compile->queued_hosts = NULL;
		compile->cap_queued_hosts = 0;
	}
}
