/* Judges HatchwayFilters, and the ExtensionRefs of rules that name them. All of it is a function of the objects; only
 * a filter's users are kept, see users.c. */
#include "controller/graph/graph.h"

#include <arpa/inet.h>
#include <string.h>

bool graph_network(const char *text, char ret[GRAPH_NETWORK])
{
	unsigned char raw[16];
	char address[GRAPH_NETWORK], *end;
	const char *slash = strchr(text, '/');
	if (!slash || slash - text >= GRAPH_NETWORK)
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
	const int family = strchr(address, ':') ? AF_INET6 : AF_INET;
	const unsigned long most = family == AF_INET6 ? 128 : 32, bits = strtoul(slash + 1, &end, 10);
	if (inet_pton(family, address, raw) != 1 || end == slash + 1 || *end || bits > most)
		return false;
	/* Clients have IPv4 addresses or IPv6 ones: it would be a network of nobody. */
	if (family == AF_INET6 && bits >= 96 && memcmp(raw, (const unsigned char[12]){[10] = 0xff, [11] = 0xff}, 12) == 0)
		return false;
	for (unsigned long i = bits; i < most; i++)
		raw[i / 8] &= (unsigned char)~(0x80 >> i % 8);
	inet_ntop(family, raw, address, sizeof(address));
	return snprintf(ret, GRAPH_NETWORK, "%s/%lu", address, bits) < GRAPH_NETWORK;
}

/* The first that is none; false: all are. */
static bool find_bad(const char *const *list, size_t n, const char *field, struct buf *message)
{
	char network[GRAPH_NETWORK];
	for (size_t i = 0; i < n; i++) {
		if (graph_network(list[i], network))
			continue;
		if (message)
			buf_addf(message, "spec.addresses.%s[%zu]: \"%s\" is not a network of IPv4 or IPv6%s", field, i, list[i],
			         strncasecmp(list[i], "::ffff:", 7) == 0 ? ": write it as one of IPv4" : "");
		return true;
	}
	return false;
}

static bool has_no_users(const struct graph *graph, const struct own_filter *filter, struct buf *message)
{
	const struct graph_users *users = filter->secret ? graph_users(graph, filter) : NULL;
	if (!users || users->n)
		return false;
	if (message)
		buf_adds(message, users->error);
	return true;
}

static bool is_bad(const struct graph *graph, const struct own_filter *filter, struct buf *message)
{
	return find_bad(filter->allow, filter->n_allow, "allow", message) ||
	       find_bad(filter->deny, filter->n_deny, "deny", message) || has_no_users(graph, filter, message);
}

void graph_filter_judge(const struct graph *graph, const struct own_filter *filter, struct condition *accepted)
{
	struct buf message;
	buf_init(&message, CONDITION_MESSAGE);
	if (is_bad(graph, filter, &message))
		condition_set(accepted, COND_FILTER_INVALID, "%s", message.data);
	else
		condition_set(accepted, COND_FILTER_ACCEPTED, NULL);
	buf_done(&message);
}

const char *graph_filter_scope(struct arena *arena, const struct own_filter *filter)
{
	return arena_printf(arena, "%s/%s", filter->object.namespace, filter->object.name);
}

static void say(struct buf *message, const char *namespace, const char *name, const char *what)
{
	if (message)
		buf_addf(message, "%s %s/%s%s", object_kind_name(KIND_FILTER), namespace, name, what);
}

static const struct own_filter *find_filter(const struct graph *graph, const struct object *route, const struct extension_ref *ref)
{
	const struct node *node =
	        extension_ref_is_ours(ref) ? store_find(graph->store, KIND_FILTER, route->namespace, ref->name) : NULL;
	return node ? (const struct own_filter *)node->object : NULL;
}

/* HAProxy counts a request once for each unit of time: does one of the filters before it have this one's? */
static bool is_counted(const struct graph *graph, const struct object *route, const struct http_rule *rule, size_t i,
                       const struct own_filter *filter)
{
	for (size_t before = 0; before < i && filter->requests; before++) {
		if (rule->filters[before].type != FILTER_EXTENSION_REF)
			continue;
		const struct own_filter *other = find_filter(graph, route, rule->filters[before].extension);
		if (other && other->requests && other->unit == filter->unit)
			return true;
	}
	return false;
}

const struct own_filter *graph_filter(const struct graph *graph, const struct object *route, const struct http_rule *rule, size_t i,
                                      enum condition_id *ret_why, struct buf *message)
{
	const struct extension_ref *ref = rule->filters[i].extension;
	if (!extension_ref_is_ours(ref)) {
		if (message)
			buf_addf(message, "kind %s/%s is not supported, only %s/%s is", ref->group, ref->kind,
			         object_kind_group(KIND_FILTER), object_kind_name(KIND_FILTER));
		*ret_why = COND_ROUTE_INVALID_KIND;
		return NULL;
	}
	const struct own_filter *filter = find_filter(graph, route, ref);
	*ret_why = filter ? COND_ROUTE_INVALID_FILTER : COND_ROUTE_BACKEND_NOT_FOUND;
	if (!filter) {
		say(message, route->namespace, ref->name, " not found");
	} else if (is_bad(graph, filter, NULL)) {
		say(message, route->namespace, ref->name, ": ");
		is_bad(graph, filter, message);
	} else if (is_counted(graph, route, rule, i, filter)) {
		say(message, route->namespace, ref->name, ": spec.rateLimit.unit: the rule has a limit of this unit already");
	} else {
		return filter;
	}
	return NULL;
}

bool graph_rule_filters_good(const struct graph *graph, const struct object *route, const struct http_rule *rule)
{
	enum condition_id why;
	for (size_t i = 0; i < rule->n_filters; i++)
		if (rule->filters[i].type == FILTER_EXTENSION_REF && !graph_filter(graph, route, rule, i, &why, NULL))
			return false;
	return true;
}
