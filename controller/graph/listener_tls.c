/* Judges a Gateway's references to certificates: a listener's (Gateway API, ListenerTLSConfig), and the one that is shown to
 * servers (GatewayBackendTLS): kind, ReferenceGrant, Secret, and what is in it. One that is no use does not keep the others
 * from being served. */
#include "controller/graph/graph.h"

#include <string.h>

static struct graph_certificate *read_once(struct node *secret)
{
	if (!secret->graph)
		secret->graph = certificate_read((const struct secret *)secret->object);
	return secret->graph;
}

/* What a reference can be no use for, with its reasons. */
struct reasons {
	enum condition_id invalid, not_permitted;
};

/* NULL: `why` says so. field: the reference's own. */
static struct graph_certificate *judge(const struct graph *graph, const struct node *from, const struct certificate_ref *ref,
                                       const char *field, const struct reasons *reasons, struct condition *why)
{
	if (strcmp(ref->group, "") != 0 || strcmp(ref->kind, "Secret") != 0) {
		condition_set(why, reasons->invalid, "%s: kind %s%s%s is not supported, only Secret is", field, ref->group,
		              *ref->group ? "/" : "", ref->kind);
		return NULL;
	}
	const struct graph_reference reference = {object_kind_name(from->kind), from->namespace, "Secret", ref->namespace, ref->name};
	if (!graph_granted(graph, &reference)) {
		condition_set(why, reasons->not_permitted,
		              "%s: no ReferenceGrant in namespace %s allows Secret %s to %ss of namespace %s", field,
		              ref->namespace, ref->name, reference.from_kind, from->namespace);
		return NULL;
	}
	struct node *secret = store_find(graph->store, KIND_SECRET, ref->namespace, ref->name);
	struct graph_certificate *certificate = secret && secret->object ? read_once(secret) : NULL;
	if (certificate && certificate->pem)
		return certificate;
	condition_set(why, reasons->invalid, "%s: Secret %s/%s%s%s", field, ref->namespace, ref->name,
	              certificate ? ": " : " not found", certificate ? certificate->error : "");
	return NULL;
}

void graph_judge_client_certificate(const struct graph *graph, struct gateway_state *state)
{
	static const struct reasons reasons = {COND_GATEWAY_INVALID_CLIENT_CERTIFICATE, COND_GATEWAY_REF_NOT_PERMITTED};
	struct graph_certificate *client = judge(graph, state->node, state->gateway->client_certificate,
	                                         "spec.tls.backend.clientCertificateRef", &reasons, &state->resolved);
	if (!client)
		return;
	state->client = certificate_ref(client);
	condition_set(&state->resolved, COND_GATEWAY_RESOLVED_REFS, "The certificate of Secret %s/%s ends %s",
	              state->gateway->client_certificate->namespace, state->gateway->client_certificate->name, client->until);
}

static struct graph_certificate *judge_of_listener(const struct graph *graph, const struct gateway_state *state, size_t l,
                                                   size_t i, struct condition *why)
{
	static const struct reasons reasons = {COND_LISTENER_INVALID_CERTIFICATE, COND_LISTENER_REF_NOT_PERMITTED};
	char field[80];
	snprintf(field, sizeof(field), "spec.listeners[%zu].tls.certificateRefs[%zu]", graph_listener_index(state, l), i);
	return judge(graph, state->listeners[l].owner, &state->listeners[l].spec->certificate_refs[i], field, &reasons, why);
}

void graph_judge_certificates(const struct graph *graph, struct gateway_state *state, size_t l)
{
	const struct listener *listener = state->listeners[l].spec;
	struct listener_state *s = &state->listeners[l];
	struct buf until;
	buf_init(&until, CONDITION_MESSAGE);
	s->certificates = xcalloc(listener->n_certificate_refs + 1, sizeof(*s->certificates));
	for (size_t i = 0; i < listener->n_certificate_refs; i++) {
		const struct certificate_ref *ref = &listener->certificate_refs[i];
		struct condition why = {0};
		struct graph_certificate *certificate = judge_of_listener(graph, state, l, i, &why);
		if (certificate) {
			s->certificates[s->n_certificates++] = certificate_ref(certificate);
			buf_addf(&until, "; the certificate of Secret %s/%s ends %s", ref->namespace, ref->name, certificate->until);
		} else if (s->resolved.id == COND_LISTENER_RESOLVED_REFS) {
			condition_copy(&s->resolved, &why);
		}
		condition_done(&why);
	}
	if (!listener->n_certificate_refs && s->resolved.id == COND_LISTENER_RESOLVED_REFS)
		condition_set(&s->resolved, COND_LISTENER_INVALID_CERTIFICATE, "spec.listeners[%zu].tls: there is no certificateRef",
		              graph_listener_index(state, l));
	if (s->resolved.id == COND_LISTENER_RESOLVED_REFS)
		condition_set(&s->resolved, COND_LISTENER_RESOLVED_REFS, "Every reference is resolved%s", until.data);
	buf_done(&until);
}

void graph_certificates_done(struct listener_state *s)
{
	for (size_t i = 0; i < s->n_certificates; i++)
		certificate_unref(s->certificates[i]);
	free(s->certificates);
}

bool graph_same_certificates(const struct listener_state *a, const struct listener_state *b)
{
	if (a->n_certificates != b->n_certificates)
		return false;
	for (size_t i = 0; i < a->n_certificates; i++)
		if (strcmp(a->certificates[i]->digest, b->certificates[i]->digest) != 0)
			return false;
	return true;
}
