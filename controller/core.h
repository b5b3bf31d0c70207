/* The controller's pure heart behind one door: objects in; table changes and status out. No loop, clock, log or global.
 *
 *   core_put/core_delete → store → graph (who attaches to whom, what is valid, every condition) → compile → table
 *
 * After any sequence of puts, deletes and updates, table and status are byte for byte those of a fresh core given the
 * same objects in any order (core_test.c proves it on random walks). Work per update is proportional to what changed. */
#ifndef HATCHWAY_CORE_H
#define HATCHWAY_CORE_H

#include "controller/object/infra_change.h"
#include "controller/object/object.h"
#include "controller/explain.h"
#include "hatchway/haproxy.h"
#include "hatchway/table.h"

#define CONTROLLER_NAME "hatchway.dev/controller"

struct port_map {
	uint16_t port, bind_port;
};

struct core_options {
	const char *controller_name;      /* CONTROLLER_NAME */
	const char *implicit_class;       /* --class: this GatewayClass is ours; in a folder it exists without being written
	                                     down, unless an object of that name says otherwise. NULL: none */
	const struct port_map *port_map;  /* listener port → bound port; not listed = the same */
	size_t n_port_map;
	const char *const *addresses;     /* addresses of this machine a Gateway's spec.addresses may ask for */
	size_t n_addresses;
	bool implicit_namespaces;         /* a folder: a namespace exists as soon as it is named */
	/* A cluster: each listener port of a Gateway is bound to a port of its own from here on (port_map and addresses do
	 * not matter then), and its addresses are those of its own Service. 0: a folder. */
	uint16_t pool_base;
	const char *pods_namespace, *pods_service; /* the Service of hatchway's own Pods; NULL: no infrastructure is wanted */
};

struct core;
struct core *core_new(const struct core_options *options);
void core_free(struct core *core);

void core_put(struct core *core, struct object *object); /* takes the reference over */
void core_delete(struct core *core, enum object_kind kind, const char *namespace, const char *name);

/* Brings graph and table up to date with all puts and deletes since the last update; appends what changed in the table. */
void core_update(struct core *core, struct table_changes *changes);
const struct table *core_table(const struct core *core);

/* What the proxy refused after the last applied generation (all that is outstanding): becomes conditions, with what was
 * said. A listener's is Programmed=False/Refused (the Gateway's Pending, if no listener is left), and so is that of a
 * listener's own host without routes. A rule's, host's or backend's is PartiallyInvalid=True/UnsupportedValue of every
 * route it concerns; once no rule of a route is left that serves, Accepted=False/UnsupportedValue, and attachedRoutes
 * counts it no more. One that no object wants is a problem of its own. */
void core_refused(struct core *core, const struct haproxy_refusal *refusals, size_t n);
/* As last given; for explain. */
const struct haproxy_refusal *core_refusals(const struct core *core, size_t *ret_n);

/* Does the proxy hold what core_update() produced? why (copied; printable): what people are told while it does not. It
 * does until something else is said. Status documents do not tell: they are written once it does. */
void core_held(struct core *core, bool held, const char *why);
/* The proxy holds the newest of core_update(). From the first time on, a Gateway that an update changed is shown as Unknown
 * until then; the others stay as they are held. */
void core_applied(struct core *core);
/* why (copied; printable): the proxy serves nothing at all, and no Gateway is Programmed, in documents too. NULL: it does. */
void core_down(struct core *core, const char *why);
/* Why it does not; NULL: it does. */
const char *core_not_held(const struct core *core);

/* ---- status: documents as `kubectl get -o yaml` shows them (apiVersion, kind, metadata, status) ---- */

/* A condition that came to be other than one would like it (also: for another reason than before), or that is as one
 * would like it again. */
struct core_condition {
	const char *of; /* "", or which listener or parent of the object */
	const char *type, *reason, *message;
	bool status, good, gone; /* gone: one that is there only while it is bad */
};

struct core_status {
	enum object_kind kind;
	const char *namespace, *name;
	const char *text; /* YAML; NULL: the object is gone or no longer ours, and our status with it */
	const struct core_condition *news;
	size_t n_news;
};

/* Calls cb for objects whose status differs from what cb was last given, looking at no more than `limit` of those that may;
 * true: there are more to look at (a caller with other things to do comes back). now: Unix seconds, for lastTransitionTime,
 * which moves only when a condition's status does. Call it after the proxy holds what core_update() returned. */
bool core_status_changes(struct core *core, int64_t now, size_t limit,
                         void (*cb)(void *ctx, const struct core_status *status), void *ctx);

/* Whatever cb was last given of the object is lost or is not what is there: the next core_status_changes() gives it
 * again, or says that it has none. */
void core_status_again(struct core *core, enum object_kind kind, const char *namespace, const char *name);

/* Of which release the cluster's CRDs are ("v1.6.3"), and of the experimental channel? version NULL: not known, why. Until
 * it is told: the newest, experimental. */
void core_set_release(struct core *core, const char *version, bool experimental, const char *why);

/* ---- infrastructure, in a cluster: the Services and EndpointSlices of Gateways ---- */

/* Moves whenever core_infra() may tell something else. */
uint64_t core_infra_version(const struct core *core);
/* Calls cb for everything that the API server does not have as it should be, as far as objects put tell. */
void core_infra(const struct core *core, infra_cb *cb, void *ctx);
/* This Pod ends: if all of hatchway's Pods do, nobody will be there to say so of the EndpointSlices, which are to be empty. */
void core_leave(struct core *core);
/* The API server's refusal to do so; NULL: it did. A condition of the Gateway. True: it is new, and status has changed. */
bool core_infra_said(struct core *core, const char *namespace, const char *gateway, const char *text);

/* One line of `hatchway status` / kubectl get for every GatewayClass, Gateway and route, then every condition that is not
 * as one would like it, with reason and message. While the proxy does not hold it, a line before says so, and PROGRAMMED
 * is Unknown where it would be True. Returns core_problems(). */
size_t core_status_table(const struct core *core, struct buf *out);
/* What the API allows, and yet nobody means: EndpointSlices that no Service has. No error, as kubectl has none for it.
 * Names each in out, one line each; returns how many. */
size_t core_remarks(const struct core *core, struct buf *out);

/* Why the table answers as it does: for explain.h, whose reasons these are. Each line names an object and its field. */
void core_why(const struct core *core, enum explain_why why, const char *key, size_t ref, struct buf *out);

/* Figures kept, not counted: objects there are; conditions other than one would like them as core_status_changes() last
 * told them. */
size_t core_objects(const struct core *core, enum object_kind kind);
size_t core_bad_conditions(const struct core *core, enum object_kind kind);
/* Counts what `hatchway check` calls an error: conditions with the wrong status, Gateways without a GatewayClass and
 * parentRefs without a Gateway (to which the API gives no status), refusals that no object wants, and a proxy that does
 * not hold the table. Names each in out, one line each. */
size_t core_problems(const struct core *core, struct buf *out);

/* Who attaches to whom, sorted, for `hatchway dump graph` and golden texts. */
void core_dump_graph(const struct core *core, struct buf *out);

#endif
