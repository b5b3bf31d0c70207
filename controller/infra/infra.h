/* A Gateway's infrastructure in a cluster: what Services and EndpointSlices shall stand in the API server. Documents for a
 * server-side apply: they hold hatchway's own fields, so that everybody else's stay as they are.
 *
 *   Service         GATEWAY-CLASS in the Gateway's namespace, without a selector; each of its ports leads to the pool's
 *   EndpointSlice   one for each IP family: the endpoints that Kubernetes itself lists for hatchway's Pods
 *
 * A selector that a hand gives the Service is nobody's to apply away, and would send a Gateway's clients to other Pods: it is
 * cleared, and what Kubernetes has made of it is deleted. EndpointSlices that somebody else made for the Service are his.
 *
 * The Gateway owns both: they go when it goes, by Kubernetes' garbage collection. A Gateway that is not accepted, or whose
 * listeners are all invalid, keeps what it has: a mistake shall not cost it its address. Pure. */
#ifndef HATCHWAY_INFRA_INFRA_H
#define HATCHWAY_INFRA_INFRA_H

#include "controller/graph/graph.h"
#include "controller/object/infra_change.h"

#include <jansson.h>

#define INFRA_SLICE_MAX 1000  /* Kubernetes' limit for one slice */
#define ANNOTATION_APPLIED "hatchway.dev/applied"

/* Calls cb for everything that is not as it should be; what is to be deleted comes last. */
void infra_changes(const struct graph *graph, infra_cb *cb, void *ctx);

/* ---- between the files of this room ---- */

/* Everything but ANNOTATION_APPLIED; new references. */
json_t *infra_service(const struct graph *graph, const struct gateway_state *state);
/* Kubernetes lists endpoints of hatchway's Pods, if only none: of a Service without Pods it keeps an EndpointSlice, an empty
 * one. When it does not tell (the Service or its EndpointSlices are being made anew, a kind may not be read), the EndpointSlices
 * that stand are better than what could be made. */
bool infra_pods_known(const struct graph *graph);
#define INFRA_SLICE_NAME (SERVICE_NAME_MAX + 8)
void infra_slice_name(const struct gateway *gateway, bool ipv6, char ret[INFRA_SLICE_NAME]);
/* ipv6: the other family. NULL: there is to be none. */
json_t *infra_slice(const struct graph *graph, const struct gateway_state *state, bool ipv6);

/* metadata of what is kept for a Gateway: names, labels, annotations, owner. The items of arrays are merged in order. */
struct infra_pairs {
	const struct key_value *pairs;
	size_t n;
};
json_t *infra_metadata(const struct gateway *gateway, const char *name, const struct infra_pairs *labels, size_t n_labels,
                       const struct infra_pairs *annotations, size_t n_annotations);
/* The listener ports that are served, each once, ascending; calls cb(ctx, port, bind_port). */
void infra_ports(const struct gateway_state *state, void (*cb)(void *ctx, uint16_t port, uint16_t bind_port), void *ctx);
void infra_port_name(uint16_t port, char ret[16]);

/* Is everything that the document says so in the live object? */
bool infra_is_applied(enum object_kind kind, const json_t *document, const char *live);

#endif
