/* Source `cluster`: the API server of a Kubernetes. Watches Namespaces, Services, EndpointSlices and the Gateway API's
 * kinds that are served; of Secrets each one alone that a Gateway refers to. ConfigMaps are not watched: nothing refers to
 * them yet. */
#ifndef HATCHWAY_SOURCE_CLUSTER_H
#define HATCHWAY_SOURCE_CLUSTER_H

#include "controller/source/discovery.h"
#include "controller/source/source.h"
#include "controller/source/watch.h"

struct cluster_options {
	const char *kubeconfig; /* NULL: in a Pod its service account, else ~/.kube/config */
	const char *context;    /* NULL: the current one */
	const char *controller; /* controllerName of routes' parents[] that are ours; must outlive the cluster */
	struct discovery_times discovery;
	struct watch_times watch;
};

struct cluster_events {
	struct source_events source;
	/* Of an object we may write status to, our part of it: see watch.h. settled() follows. */
	void (*status)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	/* Of the CRDs, see discovery.h. */
	void (*release)(void *ctx, const char *version, bool experimental, const char *why);
	void *ctx; /* source's too */
};

/* What is right for a real cluster; kubeconfig, context and controller NULL. */
struct cluster_options cluster_defaults(void);

struct cluster;

/* settled() comes first when every kind has been told: it is listed, or not served, or forbidden for a while. Until
 * then an API server that is away is only waited for. problem()'s path is "Kind namespace/name". -errno: the
 * configuration is no good. */
MUST_CHECK int cluster_open(uv_loop_t *loop, const struct cluster_options *options, const struct cluster_events *events,
                            struct cluster **ret, struct err *reterr);
void cluster_close(struct cluster *cluster, void (*cb)(void *ctx), void *ctx);
/* A line for each watch. */
void cluster_describe(const struct cluster *cluster, struct buf *out);
/* Calls cb for each watch. */
void cluster_figures(const struct cluster *cluster, void (*cb)(void *ctx, const struct watch_figures *figures), void *ctx);
/* For who writes: the client all share, and an object's URL path (appended; false: its kind is not served). */
struct kube_client *cluster_client(struct cluster *cluster);
bool cluster_object_path(const struct cluster *cluster, enum object_kind kind, const char *namespace, const char *name,
                         struct buf *out);
/* False: no such object is known. */
bool cluster_seen(const struct cluster *cluster, enum object_kind kind, const char *namespace, const char *name,
                  struct watch_seen *ret);
/* A status of this digest has been written. */
void cluster_wrote(struct cluster *cluster, enum object_kind kind, const char *namespace, const char *name,
                   uint64_t digest);

#endif
