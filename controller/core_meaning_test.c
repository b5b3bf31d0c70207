/* The table means what the objects say: for random worlds and requests, the rule table_match() finds is the one a plain
 * reading of the specification finds in the Gateways and routes themselves. Who is attached where is taken from the
 * graph's dump; hostnames, isolation and precedence are worked out here, slowly, from facts of the API alone.
 * HATCHWAY_SEED=n replays a world. */
#include "controller/core_world.h"
#include "controller/graph/hostname.h"

#include <regex.h>
#include <strings.h>

struct request {
	const char *host, *method, *path, *query_name, *query_value;
	struct table_header headers[2]; /* the second: the content type */
};

/* ---- what the graph says ---- */

/* Is `word` one of the words of the comma-separated list that ends with the line? */
static bool is_listed(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; p && *p && *p != '\n'; p = strpbrk(p, ",\n"), p = p && *p == ',' ? p + 2 : NULL)
		if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\n' || p[n] == ':'))
			return true;
	return false;
}

static const char *block(const char *dump, const char *kind, const struct object *o)
{
	char head[256];
	snprintf(head, sizeof(head), "%s %s/%s", kind, o->namespace, o->name);
	for (const char *p = dump; (p = strstr(p, head)); p++)
		if ((p == dump || p[-1] == '\n') && strchr(" \n", p[strlen(head)]))
			return p;
	return NULL;
}

/* The line's start of the block's next line, NULL at its end. */
static const char *next_line(const char *line)
{
	line = strchr(line, '\n');
	return line && line[1] == ' ' ? line + 1 : NULL;
}

/* A listener, and the Gateway or ListenerSet it is of. */
struct owned {
	const struct object *owner;
	const struct listener *listener; /* NULL: none */
};

static bool is_serving(const char *dump, const struct owned *l)
{
	char head[256];
	snprintf(head, sizeof(head), "  listener %s:", l->listener->name);
	for (const char *line = block(dump, object_kind_name(l->owner->kind), l->owner); line; line = next_line(line))
		if (strncmp(line, head, strlen(head)) == 0) {
			const char *bound = strstr(line, "bound to");
			return bound && bound < strchr(line, '\n');
		}
	return false;
}

static bool is_attached(const char *dump, const struct http_route *r, const struct owned *l)
{
	char head[256];
	snprintf(head, sizeof(head), "  parent %s %s/%s attached to listener ", object_kind_name(l->owner->kind), l->owner->namespace,
	         l->owner->name);
	for (const char *line = block(dump, object_kind_name(r->object.kind), &r->object); line; line = next_line(line))
		if (strncmp(line, head, strlen(head)) == 0 && is_listed(line + strlen(head), l->listener->name))
			return true;
	return false;
}

/* ---- hostnames ---- */

static bool host_matches(const char *pattern, const char *host)
{
	if (!pattern)
		return true;
	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	size_t n = strlen(host), m = strlen(pattern) - 1;
	return n > m && strcmp(host + n - m, pattern + 1) == 0;
}

/* Characters of a matching non-wildcard hostname, then of any matching hostname. */
static unsigned host_rank(const char *pattern)
{
	return !pattern ? 0 : pattern[0] == '*' ? (unsigned)strlen(pattern) : 1000 + (unsigned)strlen(pattern);
}

static void pick_listener(const char *dump, const struct object *owner, const struct listener *listeners, size_t n, uint16_t port,
                          const char *host, struct owned *best)
{
	for (size_t i = 0; i < n; i++) {
		const struct owned l = {owner, &listeners[i]};
		if (listeners[i].port == port && host_matches(listeners[i].hostname, host) && is_serving(dump, &l) &&
		    (!best->listener || host_rank(listeners[i].hostname) > host_rank(best->listener->hostname)))
			*best = l;
	}
}

/* Of the Gateway's own and those of ListenerSets for it. */
static struct owned listener_for(const struct walk *w, const char *dump, const struct gateway *g, uint16_t port, const char *host)
{
	struct owned best = {0};
	pick_listener(dump, &g->object, g->listeners, g->n_listeners, port, host, &best);
	for (size_t i = 0; i < w->n; i++) {
		const struct listener_set *set = (const struct listener_set *)w->world[i];
		if (set->object.kind == KIND_LISTENERSET && strcmp(set->gateway.name, g->object.name) == 0 &&
		    strcmp(set->gateway.namespace, g->object.namespace) == 0)
			pick_listener(dump, &set->object, set->listeners, set->n_listeners, port, host, &best);
	}
	return best;
}

/* The most specific of the route's own hostnames that matches the host, which the listener's does; -1: none. */
static int route_rank(const struct http_route *r, const char *host)
{
	int best = r->n_hostnames ? -1 : 0;
	for (size_t i = 0; i < r->n_hostnames; i++) {
		if (!host_matches(r->hostnames[i], host))
			continue;
		int rank = (int)host_rank(r->hostnames[i]);
		if (rank > best)
			best = rank;
	}
	return best;
}

/* ---- matches ---- */

static bool is_pattern_fine(const char *pattern)
{
	return strcmp(pattern, "[") != 0 && strcmp(pattern, "/r[") != 0 && strncmp(pattern, "(*", 2) != 0;
}

static bool value_matches(const char *pattern, bool is_regex, const char *value)
{
	if (!is_regex)
		return strcmp(pattern, value) == 0;
	char whole[256];
	regex_t re;
	snprintf(whole, sizeof(whole), "^(%s)$", pattern);
	assert_int_equal(regcomp(&re, whole, REG_EXTENDED | REG_NOSUB), 0);
	bool matches = regexec(&re, value, 0, NULL, 0) == 0;
	regfree(&re);
	return matches;
}

static size_t prefix_length(const char *path)
{
	size_t n = strlen(path);
	return path[n - 1] == '/' ? n - 1 : n;
}

/* "/service/method"; a part that is not asked for is any. */
static bool grpc_matches(const struct http_match *m, const char *path)
{
	char whole[128];
	if (!m->grpc_service && !m->grpc_method)
		return true;
	snprintf(whole, sizeof(whole), "/(%s)/(%s)", m->grpc_service ? m->grpc_service : "[^/]+", m->grpc_method ? m->grpc_method : "[^/]+");
	return value_matches(whole, true, path);
}

static bool path_matches(const struct http_match *m, const char *path)
{
	if (m->path_type == PATH_MATCH_EXACT)
		return strcmp(m->path, path) == 0;
	if (m->path_type == PATH_MATCH_REGEX)
		return value_matches(m->path, true, path);
	size_t n = prefix_length(m->path);
	return strncmp(m->path, path, n) == 0 && (!path[n] || path[n] == '/') && grpc_matches(m, path);
}

static bool is_fine(const struct http_match *m)
{
	if (m->path_type == PATH_MATCH_REGEX && !is_pattern_fine(m->path))
		return false;
	if (m->grpc_method && !is_pattern_fine(m->grpc_method))
		return false;
	for (size_t i = 0; i < m->n_query_params; i++)
		if (m->query_params[i].regex && !is_pattern_fine(m->query_params[i].value))
			return false;
	return true;
}

static bool matches(const struct http_match *m, const struct request *q)
{
	if (!is_fine(m) || !path_matches(m, q->path) || (m->method && strcmp(m->method, q->method) != 0))
		return false;
	for (size_t i = 0; i < m->n_headers; i++)
		if (strcasecmp(m->headers[i].name, q->headers[0].name) != 0 ||
		    !value_matches(m->headers[i].value, m->headers[i].regex, q->headers[0].value))
			return false;
	for (size_t i = 0; i < m->n_query_params; i++)
		if (strcmp(m->query_params[i].name, q->query_name) != 0 ||
		    !value_matches(m->query_params[i].value, m->query_params[i].regex, q->query_value))
			return false;
	return true;
}

static bool is_grpc(const struct request *q)
{
	return strcmp(q->headers[1].value, "text/plain") != 0;
}

/* ---- precedence ---- */

struct found {
	int host;
	const struct http_route *route;
	size_t rule, match;
};

static long path_score(const struct http_match *m)
{
	static const long types[] = {[PATH_MATCH_EXACT] = 3000, [PATH_MATCH_REGEX] = 2000, [PATH_MATCH_PREFIX] = 1000};
	size_t n = m->path_type == PATH_MATCH_PREFIX ? prefix_length(m->path) : strlen(m->path);
	return types[m->path_type] + (m->path_type == PATH_MATCH_EXACT ? 0 : (long)n);
}

/* Of patterns: those that ask for a service first, then the longest. */
static long grpc_score(const struct http_match *m)
{
	if (!m->grpc_service && !m->grpc_method)
		return 0;
	return (m->grpc_service ? 1000 + (long)strlen("(?:)") + (long)strlen(m->grpc_service) : (long)strlen("[^/]+")) +
	       (m->grpc_method ? (long)strlen("(?:)") + (long)strlen(m->grpc_method) : (long)strlen("[^/]+"));
}

static int route_order(const struct object *a, const struct object *b)
{
	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	char x[512], y[512];
	snprintf(x, sizeof(x), "%s/%s", a->namespace, a->name);
	snprintf(y, sizeof(y), "%s/%s", b->namespace, b->name);
	return strcmp(x, y);
}

static bool is_better(const struct found *a, const struct found *b)
{
	const struct http_match *x = &a->route->rules[a->rule].matches[a->match];
	const struct http_match *y = &b->route->rules[b->rule].matches[b->match];
	const long steps[] = {
	        a->host - b->host,
	        (long)a->route->object.kind - (long)b->route->object.kind, /* gRPC's own before HTTP's */
	        path_score(x) - path_score(y),
	        grpc_score(x) - grpc_score(y),
	        (x->method != NULL) - (y->method != NULL),
	        (long)x->n_headers - (long)y->n_headers,
	        (long)x->n_query_params - (long)y->n_query_params,
	        -route_order(&a->route->object, &b->route->object),
	        (long)b->rule - (long)a->rule,
	        (long)b->match - (long)a->match,
	};
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (steps[i])
			return steps[i] > 0;
	return false;
}

/* A route's hostnames on a listener, as those of the two together. */
static bool stands_on(const struct http_route *r, const struct listener *l, const char *pattern)
{
	const char *own = l->hostname ? l->hostname : "";
	for (size_t i = 0; i < r->n_hostnames; i++) {
		const char *both = hostname_intersect(own, r->hostnames[i]);
		if (both && strcmp(both, pattern) == 0)
			return true;
	}
	return !r->n_hostnames && strcmp(own, pattern) == 0;
}

/* Does an HTTPRoute stand on the host that answers for the name? Then GRPCRoutes there see gRPC's content type only. */
static bool is_shared(const struct walk *w, const char *dump, const struct owned *l, const struct http_route *r, const char *host)
{
	const char *own = l->listener->hostname ? l->listener->hostname : "", *pattern = r->n_hostnames ? NULL : own;
	int best = -1;
	for (size_t i = 0; i < r->n_hostnames; i++) {
		int rank = host_matches(r->hostnames[i], host) ? (int)host_rank(r->hostnames[i]) : -1;
		if (rank > best) {
			best = rank;
			pattern = hostname_intersect(own, r->hostnames[i]);
		}
	}
	for (size_t i = 0; pattern && i < w->n; i++) {
		const struct http_route *other = (const struct http_route *)w->world[i];
		if (other->object.kind == KIND_HTTPROUTE && is_attached(dump, other, l) && stands_on(other, l->listener, pattern))
			return true;
	}
	return false;
}

static struct found search(const struct walk *w, const char *dump, const struct gateway *g, uint16_t port,
                           const struct request *q)
{
	struct found best = {0};
	const struct owned l = listener_for(w, dump, g, port, q->host);
	for (size_t i = 0; l.listener && i < w->n; i++) {
		if (!object_kind_is_route(w->world[i]->kind))
			continue;
		struct found f = {.route = (const struct http_route *)w->world[i]};
		f.host = route_rank(f.route, q->host);
		if (f.host < 0 || !is_attached(dump, f.route, &l))
			continue;
		if (f.route->object.kind == KIND_GRPCROUTE && !is_grpc(q) && is_shared(w, dump, &l, f.route, q->host))
			continue;
		for (f.rule = 0; f.rule < f.route->n_rules; f.rule++)
			for (f.match = 0; f.match < f.route->rules[f.rule].n_matches; f.match++)
				if (matches(&f.route->rules[f.rule].matches[f.match], q) && (!best.route || is_better(&f, &best)))
					best = f;
	}
	return best;
}

/* ---- the comparison ---- */

static const struct gateway *gateway_of(const struct walk *w, const struct table_listener *listener)
{
	for (size_t i = 0; i < w->n; i++) {
		char name[256];
		snprintf(name, sizeof(name), "%s/%s", w->world[i]->namespace, w->world[i]->name);
		if (w->world[i]->kind == KIND_GATEWAY && strcmp(name, listener->origin) == 0)
			return (const struct gateway *)w->world[i];
	}
	fail_msg("listener %s has no Gateway", listener->unit.key);
	return NULL;
}

static struct request a_request(struct walk *w)
{
	return (struct request){
	        .host = PICK(w, "a.x.y", "q.x.y", "c.b.x.y", "d.c.b.x.y", "e.b.x.y", "other.z", "r.z", "x.y"),
	        .method = PICK(w, "GET", "POST", "PUT"),
	        .path = PICK(w, "/", "/a", "/a/", "/a/b", "/ab", "/abc", "/abc/d", "/rx", "/a/b/c"),
	        .query_name = PICK(w, "q", "q", "p"),
	        .query_value = PICK(w, "1", "aa"),
	        .headers = {{PICK(w, "x", "Y", "z"), PICK(w, "1", "1", "2")},
	                    {"content-type", PICK(w, "text/plain", "application/grpc", "application/grpc+proto")}},
	};
}

/* With TLS the connection is one listener's, "443@name" or "443@namespace:set:name"; what belongs to another one of the port is
 * misdirected. */
static bool is_misdirected(const struct table_listener *to, const struct owned *of)
{
	const char *name = strchr(to->unit.key, '@');
	char own[256];
	if (!to->sni || !of->listener)
		return false;
	if (of->owner->kind == KIND_GATEWAY)
		snprintf(own, sizeof(own), "%s", of->listener->name);
	else
		snprintf(own, sizeof(own), "%s:%s:%s", of->owner->namespace, of->owner->name, of->listener->name);
	return strcmp(name + 1, own) != 0;
}

static bool ask(struct walk *w, const char *dump, const struct table_listener *listener)
{
	struct request q = a_request(w);
	char query[64], expected[512];
	snprintf(query, sizeof(query), "%s=%s", q.query_name, q.query_value);
	const struct table_entry *entry = table_match(
	        core_table(w->core),
	        &(struct table_request){listener->unit.key, q.host, q.method, q.path, query, q.headers, 2}, NULL);
	struct found found = search(w, dump, gateway_of(w, listener), listener->port, &q);
	snprintf(expected, sizeof(expected), "%s/%s/%s%zu", found.route ? found.route->object.namespace : "",
	         found.route ? found.route->object.name : "",
	         found.route && found.route->object.kind == KIND_GRPCROUTE ? "grpc-" : "", found.rule);
	const struct owned owned = listener_for(w, dump, gateway_of(w, listener), listener->port, q.host);
	if (is_misdirected(listener, &owned))
		snprintf(expected, sizeof(expected), "misdirected");
	const char *got = entry ? entry->rule : "//0";
	size_t n = strlen(expected);
	if (strncmp(got, expected, n) != 0 || (got[n] && got[n] != '@')) {
		char *table = fixture_table(w->core);
		fail_msg("%s %s%s?%s %s: %s on port %s: table says %s, the objects %s\n%s%s", q.method, q.host, q.path, query,
		         q.headers[0].name, q.headers[0].value, listener->unit.key, got, expected, table, dump);
	}
	return entry != NULL;
}

static void world_check(uint64_t seed, size_t *asked, size_t *answered)
{
	struct buf text;
	buf_init(&text, TEXT);
	struct walk w = {.random = seed * 0x9e3779b97f4a7c15ull + 1, .core = core_for_walk(seed % 2), .text = &text};
	for (unsigned i = 0; i < 60; i++)
		step(&w);
	for (unsigned round = 0; round < 20; round++) {
		step(&w);
		fixture_update(w.core);
		char *dump = fixture_graph(w.core);
		size_t n;
		struct table_unit **listeners = table_sorted(core_table(w.core), TABLE_LISTENER, &n);
		for (unsigned i = 0; n && i < 50; i++, ++*asked)
			*answered += ask(&w, dump, (const struct table_listener *)listeners[roll(&w, (unsigned)n)]);
		free(listeners);
		free(dump);
	}
	while (w.n)
		world_drop(&w, 0);
	core_free(w.core);
	buf_done(&text);
}

static void test_table_means_what_objects_say(void **state)
{
	const char *given = getenv("HATCHWAY_SEED");
	uint64_t first = given ? strtoull(given, NULL, 10) : 1;
	size_t asked = 0, answered = 0;
	for (uint64_t seed = first; seed < first + (given ? 1 : 60); seed++) {
		print_message("  HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
		world_check(seed, &asked, &answered);
	}
	print_message("  %zu requests, %zu with a rule\n", asked, answered);
	assert_true(given || answered > asked / 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table_means_what_objects_say)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
