/* Judges BackendTLSPolicies (Gateway API, BackendTLSPolicySpec): which of several says how a Service's port is spoken to, and
 * whether it can be done. All of it is a function of the policy, its Services and ConfigMaps: nothing is kept. */
#include "controller/graph/graph.h"

#include <string.h>

/* Status has room for so many ancestors, those of other controllers among them. */
#define ANCESTORS 16

static const struct backend_tls_policy *policy_of(const struct node *node)
{
	return (const struct backend_tls_policy *)node->object;
}

static bool is_of(const struct policy_target *target, const char *service)
{
	return strcmp(target->group, "") == 0 && strcmp(target->kind, "Service") == 0 && strcmp(target->name, service) == 0;
}

/* section NULL: the whole Service. */
static bool selects(const struct backend_tls_policy *policy, const char *service, const char *section)
{
	for (size_t i = 0; i < policy->n_targets; i++) {
		const char *own = policy->targets[i].section_name;
		if (is_of(&policy->targets[i], service) && (section ? own && strcmp(own, section) == 0 : !own))
			return true;
	}
	return false;
}

/* Of the policies for exactly this: the oldest. */
static struct node *winner(const struct node *service, const char *section)
{
	struct node *best = NULL;
	for (const struct edge *e = service ? service->in[EDGE_POLICY] : NULL; e; e = e->next)
		if (e->from->object && selects(policy_of(e->from), service->name, section) &&
		    (!best || graph_older(e->from->object, best->object) < 0))
			best = e->from;
	return best;
}

struct node *graph_policy(const struct graph *graph, const struct object *service, const struct service_port *port)
{
	if (!graph->store->n_objects[KIND_BACKENDTLSPOLICY])
		return NULL;
	const struct node *node = store_find(graph->store, KIND_SERVICE, service->namespace, service->name);
	struct node *policy = *port->name ? winner(node, port->name) : NULL;
	return policy ? policy : winner(node, NULL);
}

/* ---- authorities ---- */

static const struct graph_ca *find_ca(const struct graph *graph, const struct certificate_ref *ref, size_t i,
                                      struct condition *why)
{
	static const struct graph_ca_reasons reasons = {COND_POLICY_INVALID_KIND, COND_POLICY_INVALID_CA};
	char field[80];
	snprintf(field, sizeof(field), "spec.validation.caCertificateRefs[%zu]", i);
	return graph_find_ca(graph, ref, field, &reasons, why);
}

/* What of the references is good, one text after the other; pem may be NULL. False: nothing. */
static bool find_cas(const struct graph *graph, const struct backend_tls_policy *policy, struct buf *pem,
                     struct condition *why)
{
	bool any = policy->well_known != NULL;
	for (size_t i = 0; i < policy->n_ca_refs; i++) {
		const struct graph_ca *ca = find_ca(graph, &policy->ca_refs[i], i, why);
		any |= ca != NULL;
		if (ca && pem)
			buf_adds(pem, ca->pem);
	}
	return any;
}

/* ---- verdicts ---- */

static bool is_unsupported(const struct backend_tls_policy *policy, struct condition *why)
{
	if (policy->well_known && strcmp(policy->well_known, "System") != 0) {
		if (why)
			condition_set(why, COND_POLICY_INVALID, "spec.validation.wellKnownCACertificates: %s is not known, only System is",
			              policy->well_known);
		return true;
	}
	return false;
}

bool graph_policy_good(const struct graph *graph, const struct node *node, struct buf *pem)
{
	const struct backend_tls_policy *policy = policy_of(node);
	return !is_unsupported(policy, NULL) && find_cas(graph, policy, pem, NULL);
}

static bool has_port(const struct service *service, const char *name)
{
	for (size_t i = 0; i < service->n_ports; i++)
		if (strcmp(service->ports[i].name, name) == 0)
			return true;
	return false;
}

/* The first target that this policy is no use for. */
static void judge_target(const struct graph *graph, const struct node *node, size_t i, struct condition *accepted)
{
	const struct policy_target *target = &policy_of(node)->targets[i];
	const bool service = is_of(target, target->name);
	const struct node *to = service ? store_find(graph->store, KIND_SERVICE, node->namespace, target->name) : NULL;
	const struct node *best = to ? winner(to, target->section_name) : NULL;
	if (!service)
		condition_set(accepted, COND_POLICY_TARGET_NOT_FOUND, "spec.targetRefs[%zu]: kind %s%s%s is not supported, only Service is",
		              i, target->group, *target->group ? "/" : "", target->kind);
	else if (!to || !to->object)
		condition_set(accepted, COND_POLICY_TARGET_NOT_FOUND, "spec.targetRefs[%zu]: Service %s not found", i, target->name);
	else if (target->section_name && !has_port((const struct service *)to->object, target->section_name))
		condition_set(accepted, COND_POLICY_TARGET_NOT_FOUND, "spec.targetRefs[%zu].sectionName: Service %s has no port named %s",
		              i, target->name, target->section_name);
	else if (best != node)
		condition_set(accepted, COND_POLICY_CONFLICTED, "spec.targetRefs[%zu]: BackendTLSPolicy %s has it already", i,
		              best->name);
}

void graph_policy_judge(const struct graph *graph, const struct node *node, struct condition *accepted,
                        struct condition *resolved)
{
	const struct backend_tls_policy *policy = policy_of(node);
	const bool any = find_cas(graph, policy, NULL, resolved);
	if (!resolved->id)
		condition_set(resolved, COND_POLICY_RESOLVED_REFS, NULL);
	for (size_t i = 0; i < policy->n_targets && !accepted->id; i++)
		judge_target(graph, node, i, accepted);
	if (!accepted->id && !is_unsupported(policy, accepted) && !any)
		condition_set(accepted, COND_POLICY_NO_VALID_CA, "%s", condition_text(resolved));
	if (!accepted->id)
		condition_set(accepted, COND_POLICY_ACCEPTED, NULL);
}

/* ---- ancestors ---- */

static void add_gateways(const struct graph *graph, const struct route_state *route, struct node_list *ret)
{
	for (size_t i = 0; i < route->n_parents; i++) {
		if (route->parents[i].accepted.id != COND_ROUTE_ACCEPTED)
			continue;
		const struct graph_parent to = graph_parent(graph, &route->route->parent_refs[i]);
		struct node *gateway = to.gateway ? to.gateway->node : NULL;
		size_t g = 0;
		while (g < ret->n && ret->items[g] != gateway)
			g++;
		if (gateway && g == ret->n)
			node_list_add(ret, gateway);
	}
}

void graph_policy_ancestors(const struct graph *graph, const struct node *policy, struct node_list *ret)
{
	for (size_t i = 0; i < policy->n_out; i++) {
		const struct node *service = policy->out[i].to;
		for (const struct edge *e = service->kind == KIND_SERVICE ? service->in[EDGE_USER] : NULL; e; e = e->next)
			if (object_kind_is_route(e->from->kind) && node_route(e->from))
				add_gateways(graph, node_route(e->from), ret);
	}
	node_list_sort(ret);
	if (ret->n > ANCESTORS)
		ret->n = ANCESTORS;
}

/* ---- what changes with what ---- */

void graph_touch_policies(const struct node *service, struct node_list *status)
{
	for (const struct edge *e = service->in[EDGE_POLICY]; e; e = e->next)
		graph_touch(status, e->from);
}

static void touch_of_ref(const struct graph *graph, const struct backend_ref *ref, struct node_list *status)
{
	const struct node *service = store_find(graph->store, KIND_SERVICE, ref->namespace, ref->name);
	if (service)
		graph_touch_policies(service, status);
}

void graph_touch_route_policies(const struct graph *graph, const struct http_route *route, struct node_list *status)
{
	if (!graph->store->n_objects[KIND_BACKENDTLSPOLICY])
		return;
	for (size_t r = 0; r < route->n_rules; r++) {
		for (size_t i = 0; i < route->rules[r].n_backend_refs; i++)
			touch_of_ref(graph, &route->rules[r].backend_refs[i], status);
		for (size_t i = 0; i < route->rules[r].n_mirrors; i++)
			touch_of_ref(graph, &route->rules[r].mirrors[i].ref, status);
	}
}
