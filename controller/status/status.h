/* Graph and what the proxy refused → status: documents as `kubectl get -o yaml` shows them, and tables for people. */
#ifndef HATCHWAY_STATUS_STATUS_H
#define HATCHWAY_STATUS_STATUS_H

#include "controller/graph/graph.h"
#include "hatchway/table.h"

/* What the proxy refused, by the object it concerns: see struct origin of compile.h. */
struct refused {
	const struct node *node; /* NULL: nobody's */
	uint16_t port;
	size_t rule, of;
	enum table_kind kind;
	const char *key, *text;
};

struct refusals {
	struct refused *items; /* sorted, see refusals_sort() */
	size_t n;
	const char *down;      /* the proxy serves nothing: why; NULL: it does */
};

/* So that one is found fast however many there are. */
void refusals_sort(struct refusals *refusals);

/* A condition as it is shown: what the graph found, unless the proxy refused it. scope 0: of the object itself; 1 + i: of
 * its i-th listener, parentRef or ancestor. */
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
/* Which listener or parent a scope of the object is, for people; nothing for 0. */
void shown_scope(const struct graph *graph, const struct node *node, size_t scope, struct buf *out);

/* A condition that came to be other than one would like it, or as one would like it again. */
struct status_new {
	const char *of;              /* "", or which listener or parent */
	const char *message;
	enum condition_id condition; /* what it is now; of one that is gone: what it was */
	bool good, gone;
};

/* Of one object; in the caller's arena. */
struct status_news {
	struct arena *arena;
	struct status_new *items;
	size_t n;
};

/* Appends the node's document, if it has a status of ours, and remembers when each condition last changed (node->status).
 * True: it differs from what this was last called with for the node; an empty `out` then means that it is gone. `news`
 * (empty) is filled with what happened to its conditions since. */
bool status_document(const struct graph *graph, struct node *node, const struct refusals *refusals, int64_t now,
                     struct buf *out, struct status_news *news);
/* How many conditions of the last document are not as one would like them. */
size_t status_bad(const struct node *node);

/* See core.h. not_held: why the proxy does not hold what core_update() produced; NULL: it does. */
size_t status_table(const struct graph *graph, const struct refusals *refusals, const char *not_held, struct buf *out);
size_t status_problems(const struct graph *graph, const struct refusals *refusals, const char *not_held, struct buf *out);

/* Lists for people end here, and count the rest. */
#define STATUS_NAMED 50

/* For `explain`, each a line or more that names object and field: why a rule (node: its route) is not served at all; why it
 * has nowhere to send to; why its backendRef is no use (nothing, if it is); why a Service's port has no endpoint; which
 * Gateways there are, with their listeners, and what is wrong with them. */
void status_why_rule(const struct graph *graph, const struct node *node, size_t rule, struct buf *out);
void status_why_nowhere(const struct node *node, size_t rule, struct buf *out);
void status_why_ref(const struct graph *graph, const struct node *node, size_t rule, size_t ref, struct buf *out);
void status_why_no_endpoint(const struct node *service, uint16_t port, struct buf *out);
void status_gateways(const struct graph *graph, struct buf *out);
/* See core_remarks(). */
size_t status_remarks(const struct graph *graph, struct buf *out);

/* How many routes counted as attached to each listener are not, because the proxy refused all of them. */
void status_unattached(const struct graph_parent *parent, const struct refusals *refusals, uint32_t ret[GRAPH_LISTENERS]);

/* status.addresses of a Gateway whose conditions are `shown`: calls cb for each. type: "IPAddress" or "Hostname". */
void status_addresses(const struct graph *graph, const struct gateway_state *state, const struct shown_list *shown,
                      void (*cb)(void *ctx, const char *type, const char *address), void *ctx);

/* A YAML scalar, quoted if it has to be. */
void yaml_text(struct buf *out, const char *text);

#endif
