/* Owns the watches of all kinds, the client they share, and when the whole has settled: at the end of the loop's turn
 * in which bytes came, so that one change is told at once and a burst in as many steps as it came in. */
#include "controller/source/cluster.h"

#include "controller/source/secrets.h"

#include "hatchway/base/log.h"

struct cluster {
	struct kube_access access;
	struct kube_client *client;
	struct discovery *discovery;
	struct watch *watches[KIND_COUNT]; /* NULL: not a kind we watch */
	struct secrets secrets;
	uv_loop_t *loop;
	struct watch_times times;
	const char *controller;
	struct cluster_events events;
	unsigned unsynced;
	bool dirty, complete;
	uv_check_t turn; /* after a turn's bytes */
	uv_idle_t hurry; /* while dirty: the loop must not sleep before that */
	unsigned open;   /* parts that are to be closed */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* Of every Kubernetes; the other kinds are discovered. */
static const struct {
	enum object_kind kind;
	const char *version, *plural;
} fixed_kinds[] = {
    {KIND_NAMESPACE, "v1", "namespaces"},
    {KIND_SERVICE, "v1", "services"},
    {KIND_ENDPOINTSLICE, "v1", "endpointslices"},
};

static const enum object_kind found_kinds[] = {KIND_GATEWAYCLASS, KIND_GATEWAY, KIND_LISTENERSET, KIND_HTTPROUTE, KIND_GRPCROUTE, KIND_REFERENCEGRANT,
                                               KIND_BACKENDTLSPOLICY, KIND_PARAMETERS, KIND_FILTER};

struct cluster_options cluster_defaults(void)
{
	return (struct cluster_options){
	    .discovery = {.poll_ms = 10000, .missing_ms = 2000, .answer_ms = 10000},
	    .watch = {.connect_ms = 10000,
	              .list_silence_s = 20,
	              .list_total_ms = 120000,
	              .watch_s = 300,
	              .watch_silence_s = 180,
	              .retry_ms = 50,
	              .retry_max_ms = 10000,
	              .forbidden_ms = 10000,
	              .page = 500},
	};
}

/* ---- settling ---- */

static void on_hurry(uv_idle_t *idle)
{
}

static void set_dirty(struct cluster *cluster)
{
	if (!cluster->dirty)
		uv_idle_start(&cluster->hurry, on_hurry);
	cluster->dirty = true;
}

static void on_turn(uv_check_t *check)
{
	struct cluster *cluster = check->data;
	if (!cluster->dirty)
		return;
	cluster->dirty = false;
	uv_idle_stop(&cluster->hurry);
	/* Before everything is known, what is there is not the truth: a route without its Service would answer 500. */
	if (cluster->complete)
		cluster->events.source.settled(cluster->events.ctx);
}

/* ---- watches ---- */

static void on_put(void *ctx, struct object *object)
{
	struct cluster *cluster = ctx;
	set_dirty(cluster);
	secrets_refer(&cluster->secrets, (enum object_kind)object->kind, object->namespace, object->name, object);
	cluster->events.source.put(cluster->events.ctx, object);
}

static void on_delete(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct cluster *cluster = ctx;
	set_dirty(cluster);
	secrets_refer(&cluster->secrets, kind, namespace, name, NULL);
	cluster->events.source.delete(cluster->events.ctx, kind, namespace, name);
}

static void on_problem(void *ctx, const char *path, unsigned line, const char *text)
{
	struct cluster *cluster = ctx;
	cluster->events.source.problem(cluster->events.ctx, path, line, text);
}

static void on_status(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct cluster *cluster = ctx;
	set_dirty(cluster);
	cluster->events.status(cluster->events.ctx, kind, namespace, name);
}

static void on_synced(void *ctx)
{
	struct cluster *cluster = ctx;
	BUG_ON(!cluster->unsynced);
	if (--cluster->unsynced || cluster->complete)
		return;
	cluster->complete = true;
	log_line(LOG_INFO, "cluster read", "server", cluster->access.server, NULL);
	set_dirty(cluster);
}

static void on_missing(void *ctx)
{
	struct cluster *cluster = ctx;
	discovery_now(cluster->discovery);
}

static void on_served(void *ctx, enum object_kind kind, const char *version, const char *plural)
{
	struct cluster *cluster = ctx;
	if (cluster->watches[kind])
		watch_serve(cluster->watches[kind], version, plural);
}

static void on_release(void *ctx, const char *version, bool experimental, const char *why)
{
	struct cluster *cluster = ctx;
	set_dirty(cluster);
	cluster->events.release(cluster->events.ctx, version, experimental, why);
}

static void on_silent(void *ctx, const char *why)
{
	struct cluster *cluster = ctx;
	log_line(LOG_WARN, "API server does not answer, connected anew", "error", why, NULL);
	kube_client_reset(cluster->client, why);
}

static struct watch *new_watch(struct cluster *cluster, enum object_kind kind)
{
	const struct watch_events events = {
	    {on_put, on_delete, NULL, on_problem, cluster}, on_synced, on_status, on_missing, cluster};
	cluster->unsynced++;
	cluster->open++;
	return watch_open(cluster->loop, cluster->client, kind, cluster->controller, &cluster->times, &events);
}

static struct watch *open_secret(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct watch *watch = new_watch(ctx, kind);
	watch_only(watch, namespace, name);
	watch_serve(watch, "v1", kind == KIND_SECRET ? "secrets" : "configmaps");
	return watch;
}

static void on_part_closed(void *ctx);

static void close_secret(void *ctx, struct watch *watch)
{
	struct cluster *cluster = ctx;
	if (!cluster->closed)
		watch_serve(watch, NULL, NULL);
	watch_close(watch, on_part_closed, cluster);
}

/* ---- beginning and end ---- */

int cluster_open(uv_loop_t *loop, const struct cluster_options *options, const struct cluster_events *events,
                 struct cluster **ret, struct err *reterr)
{
	struct cluster *cluster = xcalloc(1, sizeof(*cluster));
	const struct discovery_events discovery_events = {on_served, on_release, on_silent, cluster};
	int status = kube_access_load(&cluster->access, options->kubeconfig, options->context, reterr);
	if (!status) {
		status = kube_client_open(loop, &cluster->access, &cluster->client, reterr);
		if (status)
			kube_access_done(&cluster->access);
	}
	if (status) {
		free(cluster);
		return status;
	}
	cluster->events = *events;
	cluster->loop = loop;
	cluster->times = options->watch;
	cluster->controller = options->controller;
	cluster->secrets = (struct secrets){.open = open_secret, .close = close_secret, .ctx = cluster};
	uv_check_init(loop, &cluster->turn);
	uv_idle_init(loop, &cluster->hurry);
	cluster->turn.data = cluster->hurry.data = cluster;
	uv_check_start(&cluster->turn, on_turn);
	for (size_t i = 0; i < ARRAY_LEN(fixed_kinds); i++)
		cluster->watches[fixed_kinds[i].kind] = new_watch(cluster, fixed_kinds[i].kind);
	for (size_t i = 0; i < ARRAY_LEN(found_kinds); i++)
		cluster->watches[found_kinds[i]] = new_watch(cluster, found_kinds[i]);
	for (size_t i = 0; i < ARRAY_LEN(fixed_kinds); i++)
		watch_serve(cluster->watches[fixed_kinds[i].kind], fixed_kinds[i].version, fixed_kinds[i].plural);
	cluster->discovery = discovery_open(loop, cluster->client, &options->discovery, &discovery_events);
	*ret = cluster;
	return 0;
}

static void on_client_closed(void *ctx)
{
	struct cluster *cluster = ctx;
	void (*closed)(void *closed_ctx) = cluster->closed;
	void *closed_ctx = cluster->closed_ctx;
	kube_access_done(&cluster->access);
	free(cluster);
	closed(closed_ctx);
}

static void on_part_closed(void *ctx)
{
	struct cluster *cluster = ctx;
	if (!--cluster->open)
		kube_client_close(cluster->client, on_client_closed, cluster);
}

static void on_handle_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

void cluster_close(struct cluster *cluster, void (*cb)(void *ctx), void *ctx)
{
	cluster->closed = cb;
	cluster->closed_ctx = ctx;
	cluster->open += 3; /* beside the watches */
	secrets_done(&cluster->secrets);
	uv_close((uv_handle_t *)&cluster->turn, on_handle_closed);
	uv_close((uv_handle_t *)&cluster->hurry, on_handle_closed);
	discovery_close(cluster->discovery, on_part_closed, cluster);
	for (size_t kind = 0; kind < KIND_COUNT; kind++)
		if (cluster->watches[kind])
			watch_close(cluster->watches[kind], on_part_closed, cluster);
}

void cluster_describe(const struct cluster *cluster, struct buf *out)
{
	for (size_t kind = 0; kind < KIND_COUNT; kind++)
		if (cluster->watches[kind])
			watch_describe(cluster->watches[kind], out);
	for (const struct secret_watch *secret = cluster->secrets.watches; secret; secret = secret->hh.next)
		watch_describe(secret->watch, out);
}

struct kube_client *cluster_client(struct cluster *cluster)
{
	return cluster->client;
}

bool cluster_object_path(const struct cluster *cluster, enum object_kind kind, const char *namespace, const char *name,
                         struct buf *out)
{
	return cluster->watches[kind] && watch_object_path(cluster->watches[kind], namespace, name, out);
}

void cluster_figures(const struct cluster *cluster, void (*cb)(void *ctx, const struct watch_figures *figures), void *ctx)
{
	for (size_t kind = 0; kind < KIND_COUNT; kind++) {
		if (!cluster->watches[kind])
			continue;
		const struct watch_figures figures = watch_figures(cluster->watches[kind]);
		cb(ctx, &figures);
	}
}

bool cluster_seen(const struct cluster *cluster, enum object_kind kind, const char *namespace, const char *name,
                  struct watch_seen *ret)
{
	return cluster->watches[kind] && watch_seen(cluster->watches[kind], namespace, name, ret);
}

void cluster_wrote(struct cluster *cluster, enum object_kind kind, const char *namespace, const char *name,
                   uint64_t digest)
{
	watch_wrote(cluster->watches[kind], namespace, name, digest);
}
