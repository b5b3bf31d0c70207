/* Graph and what the proxy refused → status: documents as `kubectl get -o yaml` shows them, and tables for people. */
#ifndef HATCHWAY_STATUS_STATUS_H
#define HATCHWAY_STATUS_STATUS_H

#include "controller/graph/graph.h"

/* What the proxy refused, by the object it concerns. port: a Gateway's, 0 for routes. */
struct refused {
	const struct node *node;
	uint16_t port;
	const char *text; /* "rule a/b/0: what HAProxy said" */
};

struct refusals {
	struct refused *items; /* sorted, see refusals_sort() */
	size_t n;
};

/* So that one is found fast however many there are. */
void refusals_sort(struct refusals *refusals);

/* A condition as it is shown: what the graph found, unless the proxy refused it. scope 0: of the object itself; 1 + i: of
 * its i-th listener or parentRef. */
struct shown {
	size_t scope;
	struct condition condition;
};

struct shown_list {
	struct shown *items;
	size_t n;
};

/* All conditions of the object, by scope, then type. None: no status of ours. Owns its messages. */
struct shown_list shown_new(const struct graph *graph, const struct node *node, const struct refusals *refusals);
void shown_done(struct shown_list *list);

/* Appends the node's document, if it has a status of ours, and remembers when each condition last changed (node->status).
 * True: it differs from what this was last called with for the node; an empty `out` then means that it is gone. */
bool status_document(const struct graph *graph, struct node *node, const struct refusals *refusals, int64_t now,
                     struct buf *out);

/* See core.h. */
void status_table(const struct graph *graph, const struct refusals *refusals, struct buf *out);
size_t status_problems(const struct graph *graph, const struct refusals *refusals, struct buf *out);

/* status.addresses of a Gateway: calls cb for each. */
void status_addresses(const struct graph *graph, const struct gateway_state *state,
                      void (*cb)(void *ctx, const char *address), void *ctx);

/* A YAML scalar, quoted if it has to be. */
void yaml_text(struct buf *out, const char *text);

#endif
