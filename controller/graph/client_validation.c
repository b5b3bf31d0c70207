/* Judges references to certificates of authorities (ConfigMaps with ca.crt), and what a Gateway asks of clients with TLS
 * (Gateway API, FrontendTLSConfig): one reference that is no use does not keep the others from being believed; none at all, and
 * the listener is not served: nobody is let in whom nobody vouches for. */
#include "controller/graph/graph.h"

#include <string.h>

static struct graph_ca *read_once(struct node *map)
{
	if (!map->graph)
		map->graph = ca_read((const struct config_map *)map->object);
	return map->graph;
}

struct graph_ca *graph_find_ca(const struct graph *graph, const struct certificate_ref *ref, const char *field,
                               const struct graph_ca_reasons *reasons, struct condition *why)
{
	struct condition ignored = {0};
	struct condition *to = why && !why->id ? why : &ignored;
	struct graph_ca *ca = NULL;
	if (strcmp(ref->group, "") != 0 || strcmp(ref->kind, "ConfigMap") != 0) {
		condition_set(to, reasons->kind, "%s: kind %s%s%s is not supported, only ConfigMap is", field, ref->group,
		              *ref->group ? "/" : "", ref->kind);
	} else {
		struct node *map = store_find(graph->store, KIND_CONFIGMAP, ref->namespace, ref->name);
		ca = map && map->object ? read_once(map) : NULL;
		if (!ca || !ca->pem)
			condition_set(to, reasons->invalid, "%s: ConfigMap %s/%s%s%s", field, ref->namespace, ref->name,
			              ca ? ": " : " not found", ca ? ca->error : "");
	}
	condition_done(&ignored);
	return ca && ca->pem ? ca : NULL;
}

/* ---- a Gateway's clients ---- */

/* Of a field's text: "spec.tls.frontend.default", "spec.tls.frontend.perPort[2].tls". */
static const struct client_validation *find(const struct gateway *gateway, uint16_t port, char field[80])
{
	for (size_t i = 0; i < gateway->n_port_validations; i++)
		if (gateway->port_validations[i].port == port) {
			snprintf(field, 80, "spec.tls.frontend.perPort[%zu].tls", i);
			return gateway->port_validations[i].validation;
		}
	snprintf(field, 80, "spec.tls.frontend.default");
	return gateway->validation;
}

const struct client_validation *graph_validation(const struct gateway *gateway, uint16_t port)
{
	char field[80];
	return find(gateway, port, field);
}

bool graph_insecure(const struct gateway_state *state)
{
	for (size_t l = 0; l < state->n_listeners; l++) {
		const struct listener *listener = state->listeners[l].spec;
		const struct client_validation *validation = graph_validation(state->gateway, listener->port);
		if (graph_listener_tls(listener) && validation && validation->fallback)
			return true;
	}
	return false;
}

/* NULL: `why` says so. */
static struct graph_ca *judge(const struct graph *graph, const struct gateway_state *state, const struct certificate_ref *ref,
                              const char *field, struct condition *why)
{
	static const struct graph_ca_reasons reasons = {COND_LISTENER_INVALID_CA_KIND, COND_LISTENER_INVALID_CA};
	const char *own = state->node->namespace;
	const struct graph_reference reference = {object_kind_name(KIND_GATEWAY), own, object_kind_name(KIND_CONFIGMAP), ref->namespace,
	                                          ref->name};
	if (strcmp(ref->kind, reference.to_kind) == 0 && !graph_granted(graph, &reference)) {
		condition_set(why, COND_LISTENER_REF_NOT_PERMITTED,
		              "%s: no ReferenceGrant in namespace %s allows ConfigMap %s to Gateways of namespace %s", field,
		              ref->namespace, ref->name, own);
		return NULL;
	}
	return graph_find_ca(graph, ref, field, &reasons, why);
}

static void take(struct listener_state *s, struct graph_ca *ca)
{
	s->cas = xrealloc(s->cas, (s->n_cas + 1) * sizeof(*s->cas));
	s->cas[s->n_cas++] = ca_ref(ca);
}

bool graph_judge_clients(const struct graph *graph, struct gateway_state *state, size_t l)
{
	struct listener_state *s = &state->listeners[l];
	char at[80], field[160];
	const struct client_validation *validation = find(state->gateway, state->listeners[l].spec->port, at);
	bool any = !validation;
	s->any_client = validation && validation->fallback;
	for (size_t i = 0; validation && i < validation->n_ca_refs; i++) {
		struct condition why = {0};
		snprintf(field, sizeof(field), "%s.validation.caCertificateRefs[%zu]", at, i);
		struct graph_ca *ca = judge(graph, state, &validation->ca_refs[i], field, &why);
		any |= ca != NULL;
		if (ca)
			take(s, ca);
		if (!ca && condition_kind(s->resolved.id)->good)
			condition_copy(&s->resolved, &why);
		condition_done(&why);
	}
	return any;
}

void graph_cas_done(struct listener_state *s)
{
	for (size_t i = 0; i < s->n_cas; i++)
		ca_unref(s->cas[i]);
	free(s->cas);
}

bool graph_same_cas(const struct listener_state *a, const struct listener_state *b)
{
	if (a->n_cas != b->n_cas || a->any_client != b->any_client)
		return false;
	for (size_t i = 0; i < a->n_cas; i++)
		if (strcmp(a->cas[i]->pem, b->cas[i]->pem) != 0)
			return false;
	return true;
}
