/* Judges Gateways: their class, addresses and listeners (Gateway API, GatewayStatus and ListenerStatus), and which of them
 * has which port. A port on one address belongs to one Gateway: the oldest, then the first by namespace/name. */
#include "controller/graph/graph.h"
#include "controller/graph/hostname.h"

#include <string.h>
#include <uthash.h>

void gateway_state_free(struct gateway_state *state)
{
	if (!state)
		return;
	condition_done(&state->accepted);
	condition_done(&state->programmed);
	condition_done(&state->resolved);
	certificate_unref(state->client);
	for (size_t i = 0; i < state->n_listeners; i++) {
		condition_done(&state->listeners[i].accepted);
		condition_done(&state->listeners[i].conflicted);
		condition_done(&state->listeners[i].resolved);
		condition_done(&state->listeners[i].programmed);
		graph_certificates_done(&state->listeners[i]);
		graph_cas_done(&state->listeners[i]);
	}
	free(state->binds);
	free(state->sets);
	object_unref(&state->gateway->object);
	free(state);
}

/* ---- listeners by themselves ---- */

static const char *hostname_of(const struct listener *l)
{
	return l->hostname ? l->hostname : "";
}

/* j, to the people of i: what another object's listeners are called is not told them. */
static const char *call_other(const struct gateway_state *state, size_t i, size_t j, struct arena *scratch)
{
	return state->listeners[i].owner == state->listeners[j].owner ?
	               arena_printf(scratch, "listener %s", state->listeners[j].spec->name) :
	               "a listener that comes before it";
}

/* Protocols that cannot share a TCP port get one class; UDP and what nobody knows are in nobody's way. */
static int transport(const struct listener *l)
{
	static const struct {
		const char *name;
		int class;
	} known[] = {{"HTTP", 1}, {"HTTPS", 2}, {"TLS", 2}, {"TCP", 3}};
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcmp(l->protocol, known[i].name) == 0)
			return known[i].class;
	return 0;
}

static void set_protocol_conflict(struct gateway_state *state, size_t i, size_t j)
{
	const struct listener *l = state->listeners[i].spec;
	struct arena scratch;
	arena_init(&scratch);
	condition_set(&state->listeners[i].conflicted, COND_LISTENER_CONFLICTED_PROTOCOL,
	              "spec.listeners[%zu].protocol: %s cannot share port %u with %s of %s", graph_listener_index(state, i),
	              l->protocol, l->port, state->listeners[j].spec->protocol, call_other(state, i, j, &scratch));
	arena_done(&scratch);
}

static void set_hostname_conflict(struct gateway_state *state, size_t i, size_t j)
{
	struct arena scratch;
	arena_init(&scratch);
	condition_set(&state->listeners[i].conflicted, COND_LISTENER_CONFLICTED_HOSTNAME,
	              "spec.listeners[%zu].hostname: port %u has the same hostname in %s", graph_listener_index(state, i),
	              state->listeners[i].spec->port, call_other(state, i, j, &scratch));
	arena_done(&scratch);
}

/* A listener that is refused itself is in nobody's way. */
static bool is_in_the_way(const struct listener_state *s)
{
	return s->accepted.id != COND_LISTENER_UNSUPPORTED_PROTOCOL && s->accepted.id != COND_LISTENER_PROTOCOL_CONFLICT &&
	       s->accepted.id != COND_LISTENER_HOSTNAME_CONFLICT;
}

/* Inside one Gateway nobody wins: all its listeners that cannot be told apart are refused. Of a ListenerSet's, those that come
 * behind others are. */
static void judge_conflicts(struct gateway_state *state, size_t i)
{
	struct listener_state *s = &state->listeners[i];
	const struct listener *l = s->spec;
	condition_set(&s->conflicted, COND_LISTENER_NO_CONFLICTS, NULL);
	for (size_t j = 0; j < (i < state->n_own ? state->n_own : i); j++) {
		const struct listener *other = state->listeners[j].spec;
		if (j == i || other->port != l->port || !transport(l) || !transport(other))
			continue;
		if (i >= state->n_own && !is_in_the_way(&state->listeners[j]))
			continue;
		if (transport(l) != transport(other)) {
			set_protocol_conflict(state, i, j);
			return;
		}
		if (strcmp(hostname_of(l), hostname_of(other)) == 0 && strcmp(l->protocol, other->protocol) == 0) {
			set_hostname_conflict(state, i, j);
			return;
		}
	}
}

bool graph_listener_tls(const struct listener *listener)
{
	return strcmp(listener->protocol, "HTTPS") == 0;
}

size_t graph_listener_owner(const struct gateway_state *gateway, uint16_t port, const char *hostname)
{
	size_t best = SIZE_MAX;
	const char *best_hostname = NULL;
	for (size_t i = 0; i < gateway->n_listeners; i++) {
		const struct listener *l = gateway->listeners[i].spec;
		const char *own = hostname_of(l);
		if (!gateway->listeners[i].serving || l->port != port || !hostname_covers(own, hostname))
			continue;
		if (!best_hostname || hostname_covers(best_hostname, own)) {
			best = i;
			best_hostname = own;
		}
	}
	return best;
}

static bool is_supported(const struct listener *l)
{
	return strcmp(l->protocol, "HTTP") == 0 || graph_listener_tls(l);
}

static uint32_t kind_bit(const char *name)
{
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++)
		if (object_kind_is_route(kind) && strcmp(object_kind_name(kind), name) == 0)
			return 1u << kind;
	return 0;
}

/* allowedRoutes.kinds: what of it we know. None given: the protocol's kinds. */
static void judge_kinds(struct gateway_state *state, size_t i)
{
	const struct listener *l = state->listeners[i].spec;
	struct listener_state *s = &state->listeners[i];
	const uint32_t fits = is_supported(l) ? 1u << KIND_HTTPROUTE | 1u << KIND_GRPCROUTE : 0;
	condition_set(&s->resolved, COND_LISTENER_RESOLVED_REFS, NULL);
	s->takes = l->n_kinds ? 0 : fits;
	for (size_t k = 0; k < l->n_kinds; k++) {
		const struct route_group_kind *kind = &l->kinds[k];
		const uint32_t bit = strcmp(kind->group, GATEWAY_API_GROUP) == 0 ? fits & kind_bit(kind->kind) : 0;
		s->takes |= bit;
		if (bit)
			continue;
		if (s->resolved.id == COND_LISTENER_RESOLVED_REFS)
			condition_set(&s->resolved, COND_LISTENER_INVALID_ROUTE_KINDS,
			              "spec.listeners[%zu].allowedRoutes.kinds[%zu]: %s cannot be attached to protocol %s",
			              graph_listener_index(state, i), k,
			              kind->kind, l->protocol);
	}
}

static void judge_one_too_many(struct listener_state *s)
{
	condition_set(&s->conflicted, COND_LISTENER_NO_CONFLICTS, NULL);
	condition_set(&s->resolved, COND_LISTENER_RESOLVED_REFS, NULL);
	condition_set(&s->accepted, COND_LISTENER_TOO_MANY, "The Gateway and its ListenerSets have more than %d listeners", GRAPH_MERGED);
}

static void judge_listener(const struct graph *graph, struct gateway_state *state, size_t i)
{
	if (i >= GRAPH_MERGED) {
		judge_one_too_many(&state->listeners[i]);
		return;
	}
	const struct listener *l = state->listeners[i].spec;
	struct listener_state *s = &state->listeners[i];
	judge_conflicts(state, i);
	judge_kinds(state, i);
	bool clients = true;
	if (graph_listener_tls(l)) {
		graph_judge_certificates(graph, state, i);
		clients = graph_judge_clients(graph, state, i);
	}
	if (s->conflicted.id == COND_LISTENER_CONFLICTED_PROTOCOL)
		condition_set(&s->accepted, COND_LISTENER_PROTOCOL_CONFLICT, "%s", condition_text(&s->conflicted));
	else if (!is_supported(l))
		condition_set(&s->accepted, COND_LISTENER_UNSUPPORTED_PROTOCOL,
		              "spec.listeners[%zu].protocol: %s is not supported", graph_listener_index(state, i), l->protocol);
	else if (s->conflicted.id == COND_LISTENER_CONFLICTED_HOSTNAME)
		condition_set(&s->accepted, COND_LISTENER_HOSTNAME_CONFLICT, "%s", condition_text(&s->conflicted));
	else if (!clients)
		condition_set(&s->accepted, COND_LISTENER_NO_VALID_CA, "No certificate of an authority is left: %s",
		              condition_text(&s->resolved));
	else
		condition_set(&s->accepted, COND_LISTENER_ACCEPTED, NULL);
}

/* ---- addresses ---- */

static bool is_usable(const struct graph_options *options, const char *address)
{
	for (size_t i = 0; i < options->n_addresses; i++)
		if (strcmp(options->addresses[i], address) == 0)
			return true;
	return strncmp(address, "127.", 4) == 0;
}

static void add_bind(struct gateway_state *state, const char *address)
{
	for (size_t i = 0; i < state->n_binds; i++)
		if (strcmp(state->binds[i], address) == 0)
			return;
	snprintf(state->binds[state->n_binds++], sizeof(state->binds[0]), "%s", address);
}

/* spec.addresses into binds. An address without a value, as no address at all, is every address of the machine. */
static void judge_addresses(const struct graph *graph, struct gateway_state *state)
{
	const struct gateway *gateway = state->gateway;
	state->binds = xcalloc(gateway->n_addresses + 1, sizeof(state->binds[0]));
	for (size_t i = 0; i < gateway->n_addresses; i++) {
		const struct gateway_address *a = &gateway->addresses[i];
		char text[48] = "";
		if (strcmp(a->type, "IPAddress") != 0) {
			condition_set(&state->accepted, COND_GATEWAY_UNSUPPORTED_ADDRESS,
			              "spec.addresses[%zu].type: %s is not supported, only IPAddress is", i, a->type);
			return;
		}
		if (a->value && (!graph_address(a->value, text) || !is_usable(&graph->options, text))) {
			if (!state->programmed.id)
				condition_set(&state->programmed, COND_GATEWAY_ADDRESS_NOT_USABLE,
				              "spec.addresses[%zu].value: %s is not an address of this machine", i, a->value);
			continue;
		}
		add_bind(state, text);
	}
	if (!gateway->n_addresses)
		add_bind(state, "");
}

/* ---- ports ---- */

struct claim_key {
	char address[48];
	uint16_t bind_port;
};

struct claim {
	struct claim_key key;
	const struct gateway_state *owner;
	uint16_t port;
	UT_hash_handle hh;
};

static struct claim *claim_find(struct claim *claims, const char *address, uint16_t bind_port)
{
	struct claim_key key;
	memset(&key, 0, sizeof(key));
	snprintf(key.address, sizeof(key.address), "%s", address);
	key.bind_port = bind_port;
	struct claim *claim;
	HASH_FIND(hh, claims, &key, sizeof(key), claim);
	return claim;
}

static void claim_add(struct claim **claims, const char *address, uint16_t bind_port, const struct gateway_state *owner,
                      uint16_t port)
{
	if (claim_find(*claims, address, bind_port))
		return;
	struct claim *claim = xcalloc(1, sizeof(*claim));
	snprintf(claim->key.address, sizeof(claim->key.address), "%s", address);
	claim->key.bind_port = bind_port;
	claim->owner = owner;
	claim->port = port;
	HASH_ADD(hh, *claims, key, sizeof(claim->key), claim);
}

static void claims_free(struct claim **claims)
{
	struct claim *claim, *next;
	HASH_ITER(hh, *claims, claim, next)
	{
		HASH_DEL(*claims, claim);
		free(claim);
	}
}

/* The claim in this listener's way, if there is one. */
static const struct claim *port_taken(struct claim *claims, const struct gateway_state *state, uint16_t port,
                                      uint16_t bind_port)
{
	for (size_t b = 0; b < state->n_binds; b++) {
		const struct claim *claim = claim_find(claims, state->binds[b], bind_port);
		if (claim && (claim->owner != state || claim->port != port))
			return claim;
	}
	return NULL;
}

static uint16_t mapped_port(const struct graph_options *options, uint16_t port)
{
	for (size_t i = 0; i < options->n_ports; i++)
		if (options->ports[i] == port)
			return options->bind_ports[i];
	return port;
}

bool graph_listener_valid(const struct listener_state *s)
{
	return s->accepted.id == COND_LISTENER_ACCEPTED && s->takes && (!graph_listener_tls(s->spec) || s->n_certificates);
}

bool graph_listener_good(const struct gateway_state *state, size_t i)
{
	return !state->accepted.id && !state->programmed.id && graph_listener_valid(&state->listeners[i]);
}

static void judge_port(const struct graph *graph, struct gateway_state *state, size_t i, struct claim **claims)
{
	uint16_t port = state->listeners[i].spec->port;
	struct listener_state *s = &state->listeners[i];
	if (!graph_listener_good(state, i))
		return;
	uint16_t bind_port = mapped_port(&graph->options, port);
	const struct claim *taken = port_taken(*claims, state, port, bind_port);
	if (taken && taken->owner != state)
		condition_set(&s->accepted, COND_LISTENER_PORT_UNAVAILABLE,
		              "spec.listeners[%zu].port: %u is taken by Gateway %s/%s; ask for another address in spec.addresses",
		              graph_listener_index(state, i),
		              port, taken->owner->node->namespace, taken->owner->node->name);
	else if (taken)
		condition_set(&s->accepted, COND_LISTENER_PORT_UNAVAILABLE,
		              "spec.listeners[%zu].port: %u is bound as %u, which port %u has already", graph_listener_index(state, i), port, bind_port,
		              taken->port);
	if (taken)
		return;
	for (size_t b = 0; b < state->n_binds; b++)
		claim_add(claims, state->binds[b], bind_port, state, port);
	s->serving = true;
	s->bind_port = bind_port;
}

/* A folder: all Gateways share the machine's addresses. */
static void judge_ports(const struct graph *graph, struct gateway_state **states, size_t n)
{
	struct claim *claims = NULL;
	for (size_t g = 0; g < n; g++)
		for (size_t i = 0; i < states[g]->n_listeners; i++)
			judge_port(graph, states[g], i, &claims);
	claims_free(&claims);
}

/* ---- Gateways ---- */

static void judge_parameters(const struct graph *graph, struct gateway_state *state)
{
	const struct parameters *parameters;
	struct buf message;
	buf_init(&message, CONDITION_MESSAGE);
	if (!graph_parameters(graph, state->gateway->parameters, &parameters, &message) && message.len)
		condition_set(&state->accepted, COND_GATEWAY_INVALID_PARAMETERS, "spec.infrastructure.parametersRef: %s",
		              message.data);
	else if (state->gateway->parameters && !parameters)
		condition_set(&state->accepted, COND_GATEWAY_INVALID_PARAMETERS, NULL);
	buf_done(&message);
}

/* Which listeners there are, its own and those of its ListenerSets; nothing of them is judged. */
static struct gateway_state *state_new(const struct graph *graph, struct node *node)
{
	struct gateway *gateway = (struct gateway *)object_ref(node->object);
	size_t n_sets, n = gateway->n_listeners;
	struct set_state **sets = graph_sets_new(graph, node, &n_sets);
	for (size_t k = 0; k < n_sets; k++) {
		sets[k]->first = n;
		n += sets[k]->n;
	}
	struct gateway_state *state = xcalloc(1, sizeof(*state) + n * sizeof(state->listeners[0]));
	*state = (struct gateway_state){.node = node, .gateway = gateway, .sets = sets, .n_sets = n_sets,
	                                .n_own = gateway->n_listeners, .n_listeners = n};
	for (size_t i = 0; i < state->n_own; i++) {
		state->listeners[i].spec = &gateway->listeners[i];
		state->listeners[i].owner = node;
	}
	for (size_t k = 0; k < n_sets; k++) {
		sets[k]->gateway = state;
		for (size_t i = 0; i < sets[k]->n; i++) {
			state->listeners[sets[k]->first + i].spec = &sets[k]->set->listeners[i];
			state->listeners[sets[k]->first + i].owner = sets[k]->node;
		}
	}
	return state;
}

/* Everything that does not depend on other Gateways. accepted or programmed stay empty where nothing is wrong yet. */
static struct gateway_state *judge_alone(const struct graph *graph, struct node *node)
{
	struct gateway_state *state = state_new(graph, node);
	const struct gateway *gateway = state->gateway;
	for (size_t i = 0; i < state->n_listeners; i++)
		judge_listener(graph, state, i);
	if (gateway->client_certificate)
		graph_judge_client_certificate(graph, state);
	if (graph_class(graph, gateway->gateway_class_name) == CLASS_REFUSED)
		condition_set(&state->accepted, COND_GATEWAY_PENDING, "spec.gatewayClassName: GatewayClass %s is not accepted",
		              gateway->gateway_class_name);
	else
		judge_parameters(graph, state);
	if (!state->accepted.id && graph->options.pool_base)
		graph_judge_address_types(state);
	else if (!state->accepted.id)
		judge_addresses(graph, state);
	return state;
}

static void judge_listeners_programmed(struct gateway_state *state)
{
	for (size_t i = 0; i < state->n_listeners; i++) {
		struct listener_state *s = &state->listeners[i];
		if (s->serving)
			condition_set(&s->programmed, COND_LISTENER_PROGRAMMED, NULL);
		else if (s->accepted.id == COND_LISTENER_HOSTNAME_CONFLICT)
			condition_set(&s->programmed, COND_LISTENER_NOT_PROGRAMMED_HOSTNAME, NULL);
		else if (s->accepted.id == COND_LISTENER_PROTOCOL_CONFLICT)
			condition_set(&s->programmed, COND_LISTENER_NOT_PROGRAMMED_PROTOCOL, NULL);
		else if (s->accepted.id != COND_LISTENER_ACCEPTED)
			condition_set(&s->programmed, COND_LISTENER_INVALID, "The listener is not accepted");
		else if (!s->takes)
			condition_set(&s->programmed, COND_LISTENER_INVALID, "No kind of route can be attached");
		else if (graph_listener_tls(state->listeners[i].spec) && !s->n_certificates)
			condition_set(&s->programmed, COND_LISTENER_INVALID, "No certificate can be served");
		else
			condition_set(&s->programmed, COND_LISTENER_PENDING, "The Gateway is not programmed");
	}
}

/* Accepted and Programmed of the Gateway, once its listeners are judged: one that can be served is enough, also if it is of a
 * ListenerSet; what is wrong with those of ListenerSets is not the Gateway's to tell. */
static void judge_whole(const struct graph *graph, struct gateway_state *state)
{
	size_t accepted = 0, own = 0, serving = 0;
	BUG_ON(!state);
	for (size_t i = 0; i < state->n_listeners; i++) {
		accepted += state->listeners[i].accepted.id == COND_LISTENER_ACCEPTED;
		own += i < state->n_own && state->listeners[i].accepted.id == COND_LISTENER_ACCEPTED;
		serving += state->listeners[i].serving;
	}
	judge_listeners_programmed(state);
	if (graph->options.pool_base && serving)
		graph_judge_assigned(graph, state);
	if (state->accepted.id == COND_GATEWAY_PENDING)
		condition_set(&state->programmed, COND_GATEWAY_NOT_PROGRAMMED, "The GatewayClass is not accepted");
	else if (state->accepted.id)
		condition_set(&state->programmed, COND_GATEWAY_INVALID, "The Gateway is not accepted");
	else if (own == state->n_own)
		condition_set(&state->accepted, COND_GATEWAY_ACCEPTED, NULL);
	else
		condition_set(&state->accepted, accepted ? COND_GATEWAY_SOME_LISTENERS : COND_GATEWAY_NO_LISTENERS, NULL);
	if (!state->programmed.id && serving)
		condition_set(&state->programmed, COND_GATEWAY_PROGRAMMED, NULL);
	else if (!state->programmed.id)
		condition_set(&state->programmed, COND_GATEWAY_INVALID, "No listener can be served");
	graph_judge_sets(state);
}

static int older(const void *a, const void *b)
{
	return graph_older((*(struct node *const *)a)->object, (*(struct node *const *)b)->object);
}

/* Nothing a route or the table would see is different. */
static bool is_as_before(const struct gateway_state *old, const struct gateway_state *new)
{
	if (!old || old->gateway != new->gateway || old->n_listeners != new->n_listeners || !old->client != !new->client ||
	    (old->client && strcmp(old->client->digest, new->client->digest) != 0))
		return false;
	for (size_t i = 0; i < new->n_listeners; i++)
		if (old->listeners[i].spec != new->listeners[i].spec || old->listeners[i].serving != new->listeners[i].serving ||
		    old->listeners[i].bind_port != new->listeners[i].bind_port ||
		    old->listeners[i].takes != new->listeners[i].takes)
			return false;
	return true;
}

/* Puts the new verdict in the place of the old one. Where it changed, all routes are judged, and counted, again. */
static void settle(struct graph *graph, struct gateway_state *state, struct graph_delta *delta)
{
	struct node *node = state->node;
	struct gateway_state *old = node->graph;
	if (is_as_before(old, state)) {
		state->epoch = old->epoch;
		for (size_t i = 0; i < state->n_listeners; i++) {
			state->listeners[i].attached = old->listeners[i].attached;
			if (!graph_same_certificates(&old->listeners[i], &state->listeners[i]) ||
			    !graph_same_cas(&old->listeners[i], &state->listeners[i]))
				graph_queue(&delta->gateways, node);
		}
	} else {
		state->epoch = ++graph->epoch;
		graph_queue(&delta->gateways, node);
		graph_queue_routes(node, delta);
		for (size_t i = 0; i < state->n_sets; i++)
			graph_queue_routes(state->sets[i]->node, delta);
	}
	gateway_state_free(old);
	node->graph = state;
	graph_touch(delta->status, node);
}

void graph_gateways(struct graph *graph, struct graph_delta *delta)
{
	struct node_list *list = &graph->gateways;
	if (list->n > 1)
		qsort(list->items, list->n, sizeof(*list->items), older);
	struct gateway_state **states = xcalloc(list->n, sizeof(struct gateway_state *));
	for (size_t g = 0; g < list->n; g++)
		states[g] = judge_alone(graph, list->items[g]);
	if (graph->options.pool_base)
		graph_pool(graph, states, list->n);
	else
		judge_ports(graph, states, list->n);
	for (size_t g = 0; g < list->n; g++) {
		judge_whole(graph, states[g]);
		settle(graph, states[g], delta);
	}
	graph_settle_sets(graph, states, list->n, delta);
	free(states);
}
