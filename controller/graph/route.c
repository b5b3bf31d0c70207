/* Judges HTTPRoutes and GRPCRoutes: to which listeners each parentRef attaches it, what of its rules hatchway cannot do, and its
 * references (Gateway API, RouteParentStatus). */
#include "controller/graph/graph.h"
#include "controller/graph/hostname.h"
#include "controller/graph/pattern.h"
#include "controller/graph/selector.h"
#include "hatchway/table.h"

#include <string.h>

void route_state_free(struct route_state *state)
{
	if (!state)
		return;
	condition_done(&state->resolved);
	condition_done(&state->partial);
	for (size_t i = 0; i < state->n_parents; i++)
		condition_done(&state->parents[i].accepted);
	free(state->dropped);
	object_unref(&state->route->object);
	free(state);
}

/* ---- attachment ---- */

static bool is_selected(const struct parent_ref *ref, const struct listener *l)
{
	return (!ref->section_name || strcmp(ref->section_name, l->name) == 0) && (!ref->port || ref->port == l->port);
}

bool graph_namespace_allowed(const struct graph *graph, enum from_namespaces from, const struct label_selector *selector,
                             const char *own, const char *namespace)
{
	switch (from) {
	case FROM_ALL:
		return true;
	case FROM_SAME:
		return strcmp(own, namespace) == 0;
	case FROM_SELECTOR: {
		const struct node *node = store_find(graph->store, KIND_NAMESPACE, "", namespace);
		const struct namespace *object = node ? (const struct namespace *)node->object : NULL;
		if (!object && !graph->options.implicit_namespaces)
			return false;
		return selector_matches(selector, namespace, object);
	}
	default:
		return false;
	}
}

static bool is_hostname_shared(const struct http_route *route, const struct listener *l)
{
	for (size_t i = 0; l->hostname && i < route->n_hostnames; i++)
		if (hostname_intersect(l->hostname, route->hostnames[i]))
			return true;
	return !l->hostname || !route->n_hostnames;
}

struct attachment {
	size_t selected, kind_allowed, allowed;
	uint64_t listeners;
};

static struct attachment attach(const struct graph *graph, const struct graph_parent *to, const struct http_route *route,
                                const struct parent_ref *ref)
{
	struct attachment a = {0};
	for (size_t i = 0; i < to->n; i++) {
		const struct listener_state *s = &to->gateway->listeners[to->first + i];
		const struct listener *l = s->spec;
		if (!is_selected(ref, l))
			continue;
		a.selected++;
		if (!(s->takes >> route->object.kind & 1))
			continue;
		a.kind_allowed++;
		if (!graph_namespace_allowed(graph, l->from, &l->selector, to->node->namespace, route->object.namespace))
			continue;
		a.allowed++;
		if (is_hostname_shared(route, l))
			a.listeners |= UINT64_C(1) << i;
	}
	return a;
}

static void say_nothing_selected(struct condition *c, size_t i, const struct parent_ref *ref)
{
	char port[32] = "";
	if (ref->port)
		snprintf(port, sizeof(port), " port %u", ref->port);
	condition_set(c, COND_ROUTE_NO_MATCHING_PARENT, "spec.parentRefs[%zu]: %s %s/%s has no listener%s%s%s", i, ref->kind,
	              ref->namespace, ref->name, ref->section_name ? " named " : "", ref->section_name ? ref->section_name : "",
	              port);
}

static void judge_parent(const struct graph *graph, struct route_state *state, size_t i)
{
	const struct http_route *route = state->route;
	const struct parent_ref *ref = &route->parent_refs[i];
	struct parent_state *parent = &state->parents[i];
	const struct graph_parent to = graph_parent(graph, ref);
	if (!to.gateway)
		return;
	state->ours = true;
	struct attachment a = attach(graph, &to, route, ref);
	parent->listeners = a.listeners;
	if (a.listeners)
		condition_set(&parent->accepted, COND_ROUTE_ACCEPTED, NULL);
	else if (!to.n)
		condition_set(&parent->accepted, COND_ROUTE_NO_MATCHING_PARENT,
		              "spec.parentRefs[%zu]: ListenerSet %s/%s is not let in by its Gateway", i, ref->namespace, ref->name);
	else if (!a.selected)
		say_nothing_selected(&parent->accepted, i, ref);
	else if (!a.kind_allowed)
		condition_set(&parent->accepted, COND_ROUTE_NOT_ALLOWED,
		              "spec.parentRefs[%zu]: no selected listener of %s %s/%s takes %ss", i, ref->kind, ref->namespace,
		              ref->name, object_kind_name(route->object.kind));
	else if (!a.allowed)
		condition_set(&parent->accepted, COND_ROUTE_NOT_ALLOWED,
		              "spec.parentRefs[%zu]: no selected listener of %s %s/%s allows routes of namespace %s", i,
		              ref->kind, ref->namespace, ref->name, route->object.namespace);
	else
		condition_set(&parent->accepted, COND_ROUTE_NO_HOSTNAME,
		              "spec.hostnames: none is a hostname of a selected listener of %s %s/%s", ref->kind,
		              ref->namespace, ref->name);
}

/* ---- rules ---- */

/* Mirrors and CORS are of the whole rule: they would come too late when a backendRef has been chosen. */
static bool is_ref_unsupported(const struct http_rule *rule, size_t index, struct buf *message)
{
	const struct backend_ref *ref = &rule->backend_refs[index];
	const bool one_prefix = rule->n_matches == 1 && rule->matches[0].path_type == PATH_MATCH_PREFIX;
	for (size_t i = 0; i < ref->n_filters; i++) {
		enum filter_type type = ref->filters[i].type;
		bool leads = type == FILTER_REQUEST_REDIRECT || type == FILTER_URL_REWRITE;
		/* The CRD's rule about it looks at rules with one such filter only. */
		bool vague = leads && ref->filters[i].path.type == PATH_REPLACE_PREFIX && !one_prefix;
		if ((leads && !vague) || type == FILTER_REQUEST_HEADER_MODIFIER || type == FILTER_RESPONSE_HEADER_MODIFIER)
			continue;
		if (message && vague)
			buf_addf(message, "backendRefs[%zu].filters[%zu]: replacePrefixMatch asks for exactly one match, a PathPrefix",
			         index, i);
		else if (message)
			buf_addf(message, "backendRefs[%zu].filters[%zu]: %s is not supported for a backendRef", index, i,
			         ref->filters[i].type_name);
		return true;
	}
	return false;
}

static bool is_retry_unsupported(const struct http_retry *retry, struct buf *message)
{
	if (retry && retry->attempts > TABLE_RETRY_ATTEMPTS) {
		if (message)
			buf_addf(message, "retry.attempts: more than %d are not supported", TABLE_RETRY_ATTEMPTS);
		return true;
	}
	for (size_t i = 0; retry && i < retry->n_codes; i++) {
		const uint16_t *code = table_retry_codes;
		while (*code && *code != retry->codes[i])
			code++;
		if (*code)
			continue;
		if (message)
			buf_addf(message, "retry.codes[%zu]: %u is not supported", i, retry->codes[i]);
		return true;
	}
	return false;
}

static bool redirects(const struct http_filter *filters, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (filters[i].type == FILTER_REQUEST_REDIRECT)
			return true;
	return false;
}

static bool is_mirror_unsupported(const struct http_rule *rule, struct buf *message)
{
	bool beside = redirects(rule->filters, rule->n_filters);
	for (size_t i = 0; i < rule->n_backend_refs; i++)
		beside |= redirects(rule->backend_refs[i].filters, rule->backend_refs[i].n_filters);
	if (!beside || !rule->n_mirrors)
		return false;
	if (message)
		buf_addf(message, "filters[%u]: RequestMirror is not supported beside RequestRedirect", rule->mirrors[0].filter);
	return true;
}

/* Sessions are kept by a backend of the rule's own, filters of one backendRef need the Service's. */
static bool is_session_unsupported(const struct http_rule *rule, struct buf *message)
{
	for (size_t i = 0; rule->session && i < rule->n_backend_refs; i++) {
		if (!rule->backend_refs[i].n_filters)
			continue;
		if (message)
			buf_addf(message, "sessionPersistence: not supported beside backendRefs[%zu].filters", i);
		return true;
	}
	return false;
}

static bool is_filter_unsupported(const struct http_rule *rule, size_t i, struct buf *message)
{
	const struct http_filter *filter = &rule->filters[i];
	const struct extension_ref *ref = filter->extension;
	bool unsupported = filter->type == FILTER_EXTENSION_REF ? !extension_ref_is_ours(ref) : filter->type >= FILTER_EXTERNAL_AUTH;
	if (unsupported && message && filter->type == FILTER_EXTENSION_REF)
		buf_addf(message, "filters[%zu]: ExtensionRef to a %s of %s is not supported", i, ref->kind, *ref->group ? ref->group : "the core group");
	else if (unsupported && message)
		buf_addf(message, "filters[%zu]: %s is not supported", i, filter->type_name);
	return unsupported;
}

bool graph_rule_unsupported(const struct http_rule *rule, struct buf *message)
{
	for (size_t i = 0; i < rule->n_filters; i++)
		if (is_filter_unsupported(rule, i, message))
			return true;
	for (size_t i = 0; i < rule->n_backend_refs; i++)
		if (is_ref_unsupported(rule, i, message))
			return true;
	if (is_retry_unsupported(rule->retry, message) || is_mirror_unsupported(rule, message))
		return true;
	return is_session_unsupported(rule, message);
}

static bool is_pattern_bad(const char *field, size_t i, const char *pattern, struct buf *message)
{
	struct err err;
	if (!pattern_check(pattern, &err))
		return false;
	if (i == SIZE_MAX)
		buf_addf(message, "%s: %s", field, err.text);
	else
		buf_addf(message, "%s[%zu]: %s", field, i, err.text);
	return true;
}

bool graph_match_bad(const struct http_match *match, struct buf *message)
{
	if (match->path_type == PATH_MATCH_REGEX && is_pattern_bad("path.value", SIZE_MAX, match->path, message))
		return true;
	if (match->grpc_service && is_pattern_bad("method.service", SIZE_MAX, match->grpc_service, message))
		return true;
	if (match->grpc_method && is_pattern_bad("method.method", SIZE_MAX, match->grpc_method, message))
		return true;
	for (size_t i = 0; i < match->n_headers; i++)
		if (match->headers[i].regex && is_pattern_bad("headers", i, match->headers[i].value, message))
			return true;
	for (size_t i = 0; i < match->n_query_params; i++)
		if (match->query_params[i].regex &&
		    is_pattern_bad("queryParams", i, match->query_params[i].value, message))
			return true;
	return false;
}

bool graph_match_dropped(const struct route_state *state, size_t match)
{
	return state->dropped && (state->dropped[match / 8] >> match % 8 & 1);
}

bool graph_rule_dropped(const struct route_state *state, size_t rule)
{
	const struct http_rule *rules = state->route->rules;
	size_t first = 0;
	for (size_t r = 0; r < rule; r++)
		first += rules[r].n_matches;
	for (size_t m = 0; m < rules[rule].n_matches; m++)
		if (graph_match_dropped(state, first + m))
			return true;
	return graph_rule_unsupported(&rules[rule], NULL);
}

static void drop_match(struct route_state *state, size_t match)
{
	if (!state->dropped) {
		size_t n = 0;
		for (size_t r = 0; r < state->route->n_rules; r++)
			n += state->route->rules[r].n_matches;
		state->dropped = xcalloc(n / 8 + 1, 1);
	}
	state->dropped[match / 8] |= (uint8_t)(1 << match % 8);
}

/* Messages list what is wrong until they are full. */
static void also(struct buf *message)
{
	if (message->len)
		buf_adds(message, "; ");
}

static bool judge_rule(struct route_state *state, size_t r, size_t first_match, struct buf *message)
{
	const struct http_rule *rule = &state->route->rules[r];
	struct buf what;
	buf_init(&what, CONDITION_MESSAGE);
	bool bad = graph_rule_unsupported(rule, &what);
	if (bad) {
		also(message);
		buf_addf(message, "spec.rules[%zu].%s", r, what.data);
	}
	for (size_t m = 0; m < rule->n_matches; m++) {
		buf_clear(&what);
		if (!graph_match_bad(&rule->matches[m], &what))
			continue;
		bad = true;
		drop_match(state, first_match + m);
		also(message);
		buf_addf(message, "spec.rules[%zu].matches[%zu].%s", r, m, what.data);
	}
	buf_done(&what);
	return bad;
}

/* What hatchway cannot do. All rules: the route is not accepted; some: it is partially invalid. */
static void judge_rules(struct route_state *state)
{
	const struct http_route *route = state->route;
	struct buf message;
	buf_init(&message, CONDITION_MESSAGE);
	size_t bad = 0, match = 0;
	for (size_t r = 0; r < route->n_rules; r++) {
		bad += judge_rule(state, r, match, &message);
		match += route->rules[r].n_matches;
	}
	if (bad && bad < route->n_rules)
		condition_set(&state->partial, COND_ROUTE_PARTIALLY_INVALID, DROPPED_RULE "%s", message.data);
	for (size_t i = 0; bad && bad == route->n_rules && i < state->n_parents; i++)
		if (state->parents[i].accepted.id == COND_ROUTE_ACCEPTED)
			condition_set(&state->parents[i].accepted, COND_ROUTE_UNSUPPORTED_VALUE, "%s", message.data);
	buf_done(&message);
}

static void bad_ref(enum condition_id id, const char *where, const char *what, enum condition_id *first, struct buf *message)
{
	also(message);
	buf_addf(message, "%s: %s", where, what);
	if (*first == COND_ROUTE_RESOLVED_REFS)
		*first = id;
}

/* What is wrong with a reference, said behind where it stands. */
static void judge_ref(const struct graph *graph, const struct route_state *state, const struct backend_ref *ref,
                      const char *where, enum condition_id *first, struct buf *message)
{
	enum condition_id id;
	struct buf what;
	if (graph_ref(graph, &state->route->object, ref, &id, NULL))
		return;
	buf_init(&what, CONDITION_MESSAGE);
	graph_ref(graph, &state->route->object, ref, &id, &what);
	bad_ref(id, where, what.data, first, message);
	buf_done(&what);
}

static void judge_extensions(const struct graph *graph, const struct route_state *state, size_t r, enum condition_id *first,
                             struct buf *message)
{
	const struct http_rule *rule = &state->route->rules[r];
	for (size_t i = 0; i < rule->n_filters; i++) {
		enum condition_id id;
		char where[96];
		struct buf what;
		if (rule->filters[i].type != FILTER_EXTENSION_REF)
			continue;
		buf_init(&what, CONDITION_MESSAGE);
		snprintf(where, sizeof(where), "spec.rules[%zu].filters[%zu].extensionRef", r, i);
		if (!graph_filter(graph, &state->route->object, rule, i, &id, &what))
			bad_ref(id, where, what.data, first, message);
		buf_done(&what);
	}
}

/* ResolvedRefs: the first bad reference gives the reason, all of them the message. */
static void judge_refs(const struct graph *graph, struct route_state *state)
{
	const struct http_route *route = state->route;
	struct buf message;
	char where[96];
	buf_init(&message, CONDITION_MESSAGE);
	enum condition_id first = COND_ROUTE_RESOLVED_REFS;
	for (size_t r = 0; r < route->n_rules; r++) {
		const struct http_rule *rule = &route->rules[r];
		judge_extensions(graph, state, r, &first, &message);
		for (size_t i = 0; i < rule->n_backend_refs; i++) {
			snprintf(where, sizeof(where), "spec.rules[%zu].backendRefs[%zu]", r, i);
			judge_ref(graph, state, &rule->backend_refs[i], where, &first, &message);
		}
		for (size_t i = 0; i < rule->n_mirrors; i++) {
			snprintf(where, sizeof(where), "spec.rules[%zu].filters[%u].requestMirror.backendRef", r,
			         rule->mirrors[i].filter);
			judge_ref(graph, state, &rule->mirrors[i].ref, where, &first, &message);
		}
	}
	if (message.len)
		condition_set(&state->resolved, first, "%s", message.data);
	else
		condition_set(&state->resolved, first, NULL);
	buf_done(&message);
}

/* ---- counting ---- */

static uint64_t attached_before(const struct route_state *state, size_t i)
{
	uint64_t seen = 0;
	const struct parent_ref *refs = state->route->parent_refs;
	for (size_t j = 0; j < i; j++)
		if (state->parents[j].epoch && strcmp(refs[j].name, refs[i].name) == 0 && strcmp(refs[j].kind, refs[i].kind) == 0 &&
		    strcmp(refs[j].namespace, refs[i].namespace) == 0)
			seen |= state->parents[j].listeners;
	return seen;
}

/* Adds the route to (or takes it from) attachedRoutes of its listeners: once, however many parentRefs lead there. */
static void count(const struct graph *graph, struct route_state *state, bool add, struct graph_delta *delta)
{
	graph_touch_parents(graph, state, delta->status);
	for (size_t i = 0; i < state->n_parents; i++) {
		struct parent_state *parent = &state->parents[i];
		if (add ? parent->accepted.id != COND_ROUTE_ACCEPTED : !parent->epoch)
			continue;
		const struct graph_parent to = graph_parent(graph, &state->route->parent_refs[i]);
		if (!to.gateway || (!add && to.gateway->epoch != parent->epoch))
			continue;
		parent->epoch = to.gateway->epoch;
		uint64_t fresh = parent->listeners & ~attached_before(state, i);
		for (size_t l = 0; l < to.n; l++)
			if (fresh >> l & 1)
				to.gateway->listeners[to.first + l].attached += add ? 1 : UINT32_MAX;
	}
}

void graph_touch_parents(const struct graph *graph, const struct route_state *state, struct node_list *status)
{
	for (size_t i = 0; i < state->n_parents; i++) {
		if (!state->parents[i].listeners)
			continue;
		const struct graph_parent to = graph_parent(graph, &state->route->parent_refs[i]);
		if (to.gateway)
			graph_touch(status, to.node);
	}
}

void graph_route(struct graph *graph, struct node *node, struct graph_delta *delta)
{
	struct route_state *old = node->graph;
	if (old) {
		count(graph, old, false, delta);
		graph_touch_route_policies(graph, old->route, delta->status);
	}
	route_state_free(old);
	node->graph = NULL;
	graph_touch(delta->status, node);
	struct http_route *route = (struct http_route *)node->object;
	if (!route)
		return;
	struct route_state *state = xcalloc(1, sizeof(*state) + route->n_parent_refs * sizeof(state->parents[0]));
	object_ref(&route->object);
	state->route = route;
	state->n_parents = route->n_parent_refs;
	for (size_t i = 0; i < state->n_parents; i++)
		judge_parent(graph, state, i);
	judge_rules(state);
	judge_refs(graph, state);
	count(graph, state, true, delta);
	graph_touch_route_policies(graph, route, delta->status);
	node->graph = state;
}
