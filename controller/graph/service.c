/* Judges what a Gateway has in a cluster: its own Service, the addresses that come from there, the parameters for it. */
#include "controller/graph/graph.h"

#include <string.h>

/* ---- the Service ---- */

const struct service *graph_service(const struct graph *graph, const struct gateway *gateway, bool *ret_foreign)
{
	char name[SERVICE_NAME_MAX + 1];
	gateway_service_name(gateway, name);
	const struct node *node = store_find(graph->store, KIND_SERVICE, gateway->object.namespace, name);
	const struct service *service = node ? (const struct service *)node->object : NULL;
	const struct kept *kept = service && service->kept ? &service->kept->kept : NULL;
	*ret_foreign = service && !(kept && (kept->managed || strcmp(kept->owner_uid, gateway->object.uid) == 0));
	return *ret_foreign ? NULL : service;
}

uint16_t graph_target_port(const struct service *service, uint16_t port)
{
	const struct service_port *found = service_tcp_port(service, port);
	return found ? service->kept->target_ports[found - service->ports] : 0;
}

/* ---- parameters ---- */

bool graph_parameters(const struct graph *graph, const struct parameters_ref *ref, const struct parameters **ret,
                      struct buf *message)
{
	*ret = NULL;
	if (!ref)
		return true;
	if (!graph->options.pool_base)
		return false;
	const struct node *node = NULL;
	bool known = strcmp(ref->group, object_kind_group(KIND_PARAMETERS)) == 0 &&
	             strcmp(ref->kind, object_kind_name(KIND_PARAMETERS)) == 0;
	if (known && ref->namespace)
		node = store_find(graph->store, KIND_PARAMETERS, ref->namespace, ref->name);
	if (node && node->object) {
		*ret = (const struct parameters *)node->object;
		return true;
	}
	if (message && !known)
		buf_addf(message, "kind %s of group %s is not supported, %s of group %s is", ref->kind, ref->group,
		         object_kind_name(KIND_PARAMETERS), object_kind_group(KIND_PARAMETERS));
	else if (message && !ref->namespace)
		buf_adds(message, "namespace is missing");
	else if (message)
		buf_addf(message, "%s %s/%s does not exist", ref->kind, ref->namespace, ref->name);
	return false;
}

/* ---- addresses ---- */

void graph_judge_address_types(struct gateway_state *state)
{
	const struct gateway *gateway = state->gateway;
	state->binds = xcalloc(1, sizeof(state->binds[0]));
	state->n_binds = 1;
	for (size_t i = 0; i < gateway->n_addresses; i++)
		if (strcmp(gateway->addresses[i].type, "IPAddress") != 0) {
			condition_set(&state->accepted, COND_GATEWAY_UNSUPPORTED_ADDRESS,
			              "spec.addresses[%zu].type: %s is not supported, only IPAddress is", i,
			              gateway->addresses[i].type);
			return;
		}
}

static bool has_address(const struct service *service, const char *wanted)
{
	char a[48], b[48];
	for (size_t i = 0; service && i < service->kept->n_addresses; i++)
		if (graph_address(wanted, a) && graph_address(service->kept->addresses[i].value, b) && strcmp(a, b) == 0)
			return true;
	return false;
}

static void judge_wanted(struct gateway_state *state, const struct service *service, const char *name)
{
	const struct gateway *gateway = state->gateway;
	for (size_t i = 0; i < gateway->n_addresses; i++)
		if (gateway->addresses[i].value && !has_address(service, gateway->addresses[i].value)) {
			condition_set(&state->programmed, COND_GATEWAY_ADDRESS_NOT_USABLE,
			              "spec.addresses[%zu].value: Service %s has not been given %s", i, name,
			              gateway->addresses[i].value);
			return;
		}
}

void graph_judge_assigned(const struct graph *graph, struct gateway_state *state)
{
	const struct gateway *gateway = state->gateway;
	char name[SERVICE_NAME_MAX + 1];
	bool foreign;
	const struct service *service = graph_service(graph, gateway, &foreign);
	gateway_service_name(gateway, name);
	for (size_t i = 0; i < state->n_listeners; i++)
		if (state->listeners[i].serving &&
		    (!service || graph_target_port(service, state->listeners[i].spec->port) != state->listeners[i].bind_port))
			condition_set(&state->listeners[i].programmed, COND_LISTENER_PENDING, "Service %s does not lead to it yet", name);
	if (foreign)
		condition_set(&state->programmed, COND_GATEWAY_NO_RESOURCES,
		              "Service %s/%s is in the way: it is not hatchway's, and is left as it is", gateway->object.namespace,
		              name);
	else
		judge_wanted(state, service, name);
	if (!state->programmed.id && !(service && service->kept->n_addresses))
		condition_set(&state->programmed, COND_GATEWAY_ADDRESS_NOT_ASSIGNED, "Service %s has no address yet", name);
}

/* ---- what the API server said ---- */

static struct graph_said *find_said(const struct graph *graph, const char *namespace, const char *name)
{
	char key[2 * 253 + 2];
	struct graph_said *said;
	snprintf(key, sizeof(key), "%s/%s", namespace, name);
	HASH_FIND_STR(graph->said, key, said);
	return said;
}

const char *graph_said(const struct graph *graph, const char *namespace, const char *name)
{
	const struct graph_said *said = find_said(graph, namespace, name);
	return said ? said->text : NULL;
}

bool graph_say(struct graph *graph, const char *namespace, const char *name, const char *text)
{
	struct graph_said *said = find_said(graph, namespace, name);
	if (!said ? !text : text && strcmp(said->text, text) == 0)
		return false;
	if (said) {
		HASH_DEL(graph->said, said);
		free(said->text);
		free(said);
	}
	if (!text)
		return true;
	size_t n = strlen(namespace) + strlen(name) + 2;
	said = xcalloc(1, sizeof(*said) + n);
	snprintf(said->gateway, n, "%s/%s", namespace, name);
	said->text = xstrdup(text);
	HASH_ADD_STR(graph->said, gateway, said);
	return true;
}
