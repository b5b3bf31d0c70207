/* Rules: what is done with a request that a rule of a route matches (Gateway API, HTTPRouteRule.filters, backendRefs and
 * timeouts). */
#include "controller/compile/compile.h"

#include <string.h>

#define GRPC_RULE "grpc-"

static const struct http_filter *find_in(const struct http_filter *filters, size_t n, enum filter_type type)
{
	for (size_t i = 0; i < n; i++)
		if (filters[i].type == type)
			return &filters[i];
	return NULL;
}

static const struct http_filter *find_filter(const struct http_rule *rule, enum filter_type type)
{
	return find_in(rule->filters, rule->n_filters, type);
}

static const struct http_filter *find_in_ref(const struct backend_ref *ref, enum filter_type type)
{
	return find_in(ref->filters, ref->n_filters, type);
}

/* NULL: no redirect. */
static bool takes_listeners_port(const struct http_filter *redirect)
{
	return redirect && !redirect->redirect_scheme;
}

bool rule_is_per_listener(const struct route_units *units, size_t r)
{
	const struct http_rule *rule = &units->route->rules[r];
	bool redirects = takes_listeners_port(find_filter(rule, FILTER_REQUEST_REDIRECT));
	for (size_t i = 0; i < rule->n_backend_refs; i++)
		redirects |= takes_listeners_port(find_in_ref(&rule->backend_refs[i], FILTER_REQUEST_REDIRECT));
	return units->own_backends || (redirects && !graph_rule_unsupported(rule, NULL));
}

const char *rule_key(struct arena *scratch, const struct route_units *units, size_t rule, const struct port *port)
{
	const struct object *o = &units->route->object;
	const char *grpc = o->kind == KIND_GRPCROUTE ? GRPC_RULE : "";
	if (rule_is_per_listener(units, rule))
		return arena_printf(scratch, "%s/%s/%s%zu@%s", o->namespace, o->name, grpc, rule, port->key);
	return arena_printf(scratch, "%s/%s/%s%zu", o->namespace, o->name, grpc, rule);
}

/* Neither names nor namespaces hold a "/". */
struct node *rule_route(const struct compile *compile, const char *key)
{
	const char *name = strchr(key, '/'), *end = name ? strchr(name + 1, '/') : NULL;
	if (!end)
		return NULL;
	struct arena scratch;
	arena_init(&scratch);
	bool grpc = strncmp(end + 1, GRPC_RULE, strlen(GRPC_RULE)) == 0;
	struct node *node = store_find(compile->graph->store, grpc ? KIND_GRPCROUTE : KIND_HTTPROUTE,
	                               arena_strndup(&scratch, key, (size_t)(name - key)),
	                               arena_strndup(&scratch, name + 1, (size_t)(end - name - 1)));
	arena_done(&scratch);
	return node;
}

bool rule_is_of(const char *key, const struct node *route)
{
	size_t n = strlen(route->namespace), m = strlen(route->name);
	return strncmp(key, route->namespace, n) == 0 && key[n] == '/' && strncmp(key + n + 1, route->name, m) == 0 &&
	       key[n + 1 + m] == '/' &&
	       (strncmp(key + n + m + 2, GRPC_RULE, strlen(GRPC_RULE)) == 0) == (route->kind == KIND_GRPCROUTE);
}

const char *rule_path(struct arena *scratch, const struct http_match *match)
{
	size_t n = strlen(match->path);
	if (match->path_type != PATH_MATCH_PREFIX || n < 2 || match->path[n - 1] != '/')
		return match->path;
	return arena_strndup(scratch, match->path, n - 1);
}

/* A service or method that is not asked for is any. */
const char *rule_path_regex(struct arena *scratch, const struct http_match *match)
{
	const char *any = RULE_ANY, *service = match->grpc_service, *method = match->grpc_method;
	if (!service && !method)
		return NULL;
	return arena_printf(scratch, "%s%s", service ? arena_printf(scratch, "/(?:%s)", service) : any,
	                    method ? arena_printf(scratch, "/(?:%s)", method) : any);
}

static struct table_header *header_list(struct arena *scratch, const struct http_header *from, size_t n)
{
	struct table_header *list = arena_array(scratch, n, sizeof(*list));
	for (size_t i = 0; i < n; i++)
		list[i] = (struct table_header){from[i].name, from[i].value};
	return list;
}

static struct table_headers headers(struct arena *scratch, const struct http_filter *filter)
{
	if (!filter)
		return (struct table_headers){0};
	const struct header_filter *from = &filter->headers;
	return (struct table_headers){
	        .set = header_list(scratch, from->set, from->n_set),
	        .add = header_list(scratch, from->add, from->n_add),
	        .remove = header_list(scratch, from->remove, from->n_remove),
	        .n_set = from->n_set,
	        .n_add = from->n_add,
	        .n_remove = from->n_remove,
	};
}

static struct table_cors *cors(struct arena *scratch, const struct http_filter *filter)
{
	if (!filter)
		return NULL;
	const struct cors_filter *from = filter->cors;
	struct table_cors *to = arena_alloc(scratch, sizeof(*to));
	*to = (struct table_cors){
	        .lists =
	                {
	                        [TABLE_CORS_ORIGIN] = {from->origins, (uint16_t)from->n_origins},
	                        [TABLE_CORS_METHOD] = {from->methods, (uint16_t)from->n_methods},
	                        [TABLE_CORS_HEADER] = {from->headers, (uint16_t)from->n_headers},
	                        [TABLE_CORS_EXPOSE] = {from->expose, (uint16_t)from->n_expose},
	                },
	        .max_age = from->max_age,
	        .credentials = from->credentials,
	};
	return to;
}

/* ReplacePrefixMatch stands only in rules with one match, a PathPrefix (the CRD's rule). */
static struct table_rewrite rewrite(struct arena *scratch, const struct http_rule *rule, const struct http_filter *filter)
{
	struct table_rewrite r = {.hostname = filter->hostname};
	if (filter->path.type == PATH_NONE)
		return r;
	r.path = filter->path.value ? filter->path.value : "";
	r.edit = TABLE_PATH_FULL;
	if (filter->path.type == PATH_REPLACE_PREFIX) {
		r.edit = TABLE_PATH_PREFIX_EDIT;
		r.prefix = rule->n_matches && rule->matches[0].path_type == PATH_MATCH_PREFIX ?
		                   rule_path(scratch, &rule->matches[0]) :
		                   "/";
	}
	return r;
}

/* HTTPRequestRedirectFilter.port: the one given; else with a scheme its well-known port; else the listener's. A port
 * that is the scheme's own is not written. */
static uint16_t location_port(const struct http_filter *filter, const struct port *port)
{
	const char *scheme = filter->redirect_scheme ? filter->redirect_scheme : port->tls ? "https" : "http";
	uint16_t own = strcmp(scheme, "https") == 0 ? 443 : 80;
	uint16_t number = filter->redirect_port ? filter->redirect_port : filter->redirect_scheme ? own : port->port;
	return number == own ? 0 : number;
}

/* filter: NULL: none. */
static struct table_redirect redirect(const struct http_filter *filter, const struct port *port)
{
	if (!filter)
		return (struct table_redirect){0};
	return (struct table_redirect){
	        .status = filter->redirect_status ? filter->redirect_status : 302,
	        .scheme = filter->redirect_scheme || !port->tls ? filter->redirect_scheme : "https",
	        .port = location_port(filter, port),
	};
}

/* Do references lead elsewhere than to where the rule does? */
static bool refs_lead(const struct http_rule *rule)
{
	for (size_t i = 0; i < rule->n_backend_refs; i++)
		if (find_in_ref(&rule->backend_refs[i], FILTER_URL_REWRITE) ||
		    find_in_ref(&rule->backend_refs[i], FILTER_REQUEST_REDIRECT))
			return true;
	return false;
}

/* A reference's rewrite is of what the client asked for, so what it does not rewrite is left as the rule's has it, and the
 * rule's own is not done. A redirect tells the client where to go: what the rule makes of requests is not its concern. */
static struct table_rewrite ref_rewrite(struct arena *scratch, const struct http_rule *rule, const struct backend_ref *ref)
{
	const struct http_filter *all = find_filter(rule, FILTER_URL_REWRITE);
	const struct http_filter *to = find_in_ref(ref, FILTER_REQUEST_REDIRECT), *own = find_in_ref(ref, FILTER_URL_REWRITE);
	if (to)
		return rewrite(scratch, rule, to);
	struct table_rewrite ret = all && refs_lead(rule) ? rewrite(scratch, rule, all) : (struct table_rewrite){0};
	if (!own)
		return ret;
	struct table_rewrite r = rewrite(scratch, rule, own);
	const char *hostname = r.hostname ? r.hostname : ret.hostname;
	ret = r.edit == TABLE_PATH_KEEP ? ret : r;
	ret.hostname = hostname;
	return ret;
}

/* NULL: it has none. */
static struct table_edits *ref_edits(struct arena *scratch, const struct http_rule *rule, const struct backend_ref *ref,
                                     const struct port *port)
{
	if (!ref->n_filters && !(refs_lead(rule) && find_filter(rule, FILTER_URL_REWRITE)))
		return NULL;
	struct table_edits *to = arena_alloc(scratch, sizeof(*to));
	to->request = headers(scratch, find_in_ref(ref, FILTER_REQUEST_HEADER_MODIFIER));
	to->response = headers(scratch, find_in_ref(ref, FILTER_RESPONSE_HEADER_MODIFIER));
	to->rewrite = ref_rewrite(scratch, rule, ref);
	to->redirect = redirect(find_in_ref(ref, FILTER_REQUEST_REDIRECT), port);
	return to;
}

static struct table_retry *retry(struct arena *scratch, const struct http_retry *from)
{
	if (!from)
		return NULL;
	struct table_retry *to = arena_alloc(scratch, sizeof(*to));
	*to = (struct table_retry){
	        .codes = from->codes,
	        .n_codes = (uint16_t)from->n_codes,
	        .attempts = (uint8_t)from->attempts,
	        .backoff_ms = from->backoff_ms,
	};
	return to;
}

/* NULL: the reference is no use. */
static const char *backend_of(struct arena *scratch, const struct compile *compile, const struct http_route *route,
                              const struct backend_ref *ref, const struct port *port)
{
	if (!graph_ref_served(compile->graph, &route->object, ref, NULL))
		return NULL;
	return backend_key(scratch, ref, route->object.kind == KIND_GRPCROUTE, backend_client(port));
}

/* One for each RequestMirror, in their order: what backend_use() counts on. */
static void fill_mirrors(struct arena *scratch, const struct compile *compile, const struct http_route *route,
                         const struct http_rule *rule, const struct port *port, struct table_rule *like)
{
	like->mirrors = arena_array(scratch, rule->n_mirrors, sizeof(*like->mirrors));
	like->n_mirrors = rule->n_mirrors;
	for (size_t i = 0; i < rule->n_mirrors; i++) {
		const struct http_mirror *from = &rule->mirrors[i];
		like->mirrors[i].numerator = (uint32_t)from->numerator;
		like->mirrors[i].denominator = (uint32_t)from->denominator;
		like->mirrors[i].backend = backend_of(scratch, compile, route, &from->ref, port);
	}
}

static void fill_refs(struct arena *scratch, const struct compile *compile, const struct http_route *route,
                      const struct http_rule *rule, const struct port *port, struct table_rule *like)
{
	like->refs = arena_array(scratch, rule->n_backend_refs, sizeof(*like->refs));
	like->n_refs = rule->n_backend_refs;
	for (size_t i = 0; i < rule->n_backend_refs; i++) {
		const struct backend_ref *ref = &rule->backend_refs[i];
		like->refs[i].weight = ref->weight > 0 ? (uint32_t)ref->weight : 0;
		like->refs[i].edits = ref_edits(scratch, rule, ref, port);
		like->refs[i].backend = backend_of(scratch, compile, route, ref, port);
	}
}

static struct table_session *session(struct arena *scratch, const struct http_session *from)
{
	if (!from)
		return NULL;
	struct table_session *to = arena_alloc(scratch, sizeof(*to));
	*to = (struct table_session){
	        .name = from->name,
	        .absolute_ms = from->absolute_ms,
	        .idle_ms = from->idle_ms,
	        .header = from->header,
	        .permanent = from->permanent,
	};
	return to;
}

static struct table_names networks(struct arena *scratch, const char *const *list, size_t n)
{
	const char **names = arena_array(scratch, n, sizeof(*names));
	for (size_t i = 0; i < n; i++) {
		char network[GRAPH_NETWORK];
		BUG_ON(!graph_network(list[i], network)); /* graph_rule_filters_good() */
		names[i] = arena_strdup(scratch, network);
	}
	return (struct table_names){names, (uint16_t)n};
}

/* NULL: it has none. */
static struct table_limit *limit(struct arena *scratch, const struct own_filter *filter)
{
	static const enum table_unit_of_time units[] = {
	        [LIMIT_SECOND] = TABLE_SECOND, [LIMIT_MINUTE] = TABLE_MINUTE, [LIMIT_HOUR] = TABLE_HOUR};
	if (!filter->requests)
		return NULL;
	struct table_limit *to = arena_alloc(scratch, sizeof(*to));
	*to = (struct table_limit){graph_filter_scope(scratch, filter), filter->header, filter->requests, units[filter->unit]};
	return to;
}

/* NULL: it has none. */
static struct table_auth *auth(struct arena *scratch, const struct compile *compile, const struct own_filter *filter)
{
	if (!filter->secret)
		return NULL;
	const struct graph_users *users = graph_users(compile->graph, filter);
	BUG_ON(!users->n); /* graph_rule_filters_good() */
	struct table_auth *to = arena_alloc(scratch, sizeof(*to));
	*to = (struct table_auth){filter->realm, graph_filter_scope(scratch, filter), {users->list, (uint16_t)users->n}};
	return to;
}

/* The HatchwayFilters that the rule names, in their order. */
static void fill_guards(struct arena *scratch, const struct compile *compile, const struct http_route *route,
                        const struct http_rule *rule, struct table_edits *to)
{
	to->guards = arena_array(scratch, rule->n_filters, sizeof(*to->guards));
	for (size_t i = 0; i < rule->n_filters; i++) {
		enum condition_id why;
		if (rule->filters[i].type != FILTER_EXTENSION_REF)
			continue;
		const struct own_filter *filter = graph_filter(compile->graph, &route->object, rule, i, &why, NULL);
		to->guards[to->n_guards++] = (struct table_guard){
		        .allow = networks(scratch, filter->allow, filter->n_allow),
		        .deny = networks(scratch, filter->deny, filter->n_deny),
		        .limit = limit(scratch, filter),
		        .auth = auth(scratch, compile, filter),
		};
	}
}

/* NULL: the rule has no such filter. */
static const struct table_edits *edits(struct arena *scratch, const struct compile *compile, const struct http_route *route,
                                       const struct http_rule *rule, const struct port *port)
{
	const struct http_filter *request = find_filter(rule, FILTER_REQUEST_HEADER_MODIFIER);
	const struct http_filter *response = find_filter(rule, FILTER_RESPONSE_HEADER_MODIFIER);
	const struct http_filter *to_location = find_filter(rule, FILTER_REQUEST_REDIRECT);
	const struct http_filter *url = to_location ? to_location : refs_lead(rule) ? NULL : find_filter(rule, FILTER_URL_REWRITE);
	if (!request && !response && !url && !rule->session && !find_filter(rule, FILTER_EXTENSION_REF))
		return NULL;
	struct table_edits *to = arena_alloc(scratch, sizeof(*to));
	fill_guards(scratch, compile, route, rule, to);
	to->response = headers(scratch, response);
	if (!to_location) {
		to->request = headers(scratch, request);
		to->session = session(scratch, rule->session);
	}
	to->redirect = redirect(to_location, port);
	if (url)
		to->rewrite = rewrite(scratch, rule, url);
	return to;
}

static void fill(struct arena *scratch, const struct compile *compile, const struct http_route *route,
                 const struct http_rule *rule, const struct port *port, struct table_rule *like)
{
	like->edits = edits(scratch, compile, route, rule, port);
	like->cors = cors(scratch, find_filter(rule, FILTER_CORS));
	if (find_filter(rule, FILTER_REQUEST_REDIRECT)) {
		like->action = TABLE_REDIRECT;
		return;
	}
	like->action = TABLE_FORWARD;
	like->retry = retry(scratch, rule->retry);
	like->request_timeout_ms = rule->request_timeout_ms;
	like->backend_timeout_ms = rule->backend_timeout_ms;
	fill_refs(scratch, compile, route, rule, port, like);
	fill_mirrors(scratch, compile, route, rule, port, like);
}

struct table_rule *rule_build(const struct compile *compile, const struct route_state *state, size_t r,
                              const struct port *port, const char *key)
{
	const struct http_route *route = state->route;
	const struct http_rule *rule = &route->rules[r];
	struct arena scratch;
	arena_init(&scratch);
	struct table_rule like = {
	        .unit = {.key = key},
	        .origin = arena_printf(&scratch, "%s.%s", route->object.namespace, route->object.name),
	        .name = rule->name,
	        .action = TABLE_STATUS,
	        .status = 500,
	        .request_timeout_ms = -1,
	        .backend_timeout_ms = -1,
	};
	if (!graph_rule_dropped(state, r) && graph_rule_filters_good(compile->graph, &route->object, rule)) {
		like.status = 0;
		fill(&scratch, compile, route, rule, port, &like);
	}
	struct table_rule *unit = table_rule_new(&like);
	arena_done(&scratch);
	return unit;
}
