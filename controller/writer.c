/* Owns the three writers and the order they end in: the lease last, so that nobody else begins before we have ended. */
#include "controller/writer.h"

#include "controller/core.h"
#include "controller/metrics.h"
#include "controller/source/events.h"
#include "controller/source/lease.h"
#include "controller/source/status_api.h"

struct writer {
	struct cluster *cluster;
	struct writer_events events;
	struct status_api *status;
	struct events *warnings;
	struct lease *lease; /* NULL: none is needed */
	bool leader;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* ---- what the cluster knows ---- */

static bool object_path(void *ctx, enum object_kind kind, const char *namespace, const char *name, struct buf *out)
{
	return cluster_object_path(ctx, kind, namespace, name, out);
}

static bool object_seen(void *ctx, enum object_kind kind, const char *namespace, const char *name, struct watch_seen *ret)
{
	return cluster_seen(ctx, kind, namespace, name, ret);
}

static void object_wrote(void *ctx, enum object_kind kind, const char *namespace, const char *name, uint64_t digest)
{
	cluster_wrote(ctx, kind, namespace, name, digest);
}

/* ---- what the three say ---- */

static void on_done(void *ctx)
{
	struct writer *writer = ctx;
	writer->events.status_done(writer->events.ctx);
}

static void on_again(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct writer *writer = ctx;
	writer->events.status_again(writer->events.ctx, kind, namespace, name);
}

static void on_turned(void *ctx, enum object_kind kind, const char *namespace, const char *name, const char *uid,
                      const char *reason, const char *message)
{
	struct writer *writer = ctx;
	events_warn(writer->warnings, kind, namespace, name, uid, reason, message);
}

static void on_leader(void *ctx, bool leader)
{
	struct writer *writer = ctx;
	writer->leader = leader;
	status_api_lead(writer->status, leader);
	writer->events.leader(writer->events.ctx, leader);
}

/* ---- beginning and end ---- */

struct writer *writer_open(uv_loop_t *loop, struct cluster *cluster, const struct writer_options *options,
                           const struct writer_events *events)
{
	struct writer *writer = xcalloc(1, sizeof(*writer));
	struct kube_client *client = cluster_client(cluster);
	const struct status_api_place place = {client, CONTROLLER_NAME, object_path, object_seen, object_wrote, cluster};
	const struct status_api_events status_events = {on_done, on_again, on_turned, writer};
	const struct status_api_times times = status_api_defaults();
	struct events_options warnings = events_defaults();
	struct lease_options lease = lease_defaults();
	writer->cluster = cluster;
	writer->events = *events;
	writer->status = status_api_open(loop, &place, &times, &status_events);
	warnings.controller = CONTROLLER_NAME;
	warnings.identity = options->identity;
	writer->warnings = events_open(loop, client, &warnings);
	writer->leader = !options->lease_name;
	if (writer->leader) {
		status_api_lead(writer->status, true);
		return writer;
	}
	lease.namespace = options->lease_namespace;
	lease.name = options->lease_name;
	lease.identity = options->identity;
	writer->lease = lease_open(loop, client, &lease, on_leader, writer);
	return writer;
}

struct status_sink writer_sink(struct writer *writer)
{
	return status_api_sink(writer->status);
}

void writer_warn(struct writer *writer, enum object_kind kind, const char *namespace, const char *name, const char *reason,
                 const char *note)
{
	struct watch_seen seen;
	if (cluster_seen(writer->cluster, kind, namespace, name, &seen))
		events_warn(writer->warnings, kind, namespace, name, seen.uid, reason, note);
}

bool writer_leads(const struct writer *writer)
{
	return writer->leader;
}

void writer_describe(const struct writer *writer, struct buf *out)
{
	const struct status_api_counters status = status_api_counters(writer->status);
	const struct events_counters warnings = events_counters(writer->warnings);
	buf_addf(out, "leader %d\nstatus_writes %llu\nstatus_reads %llu\nstatus_conflicts %llu\nstatus_failures %llu\n",
	         writer->leader, (unsigned long long)status.writes, (unsigned long long)status.reads,
	         (unsigned long long)status.conflicts, (unsigned long long)status.failures);
	buf_addf(out, "events %llu\nevents_dropped %llu\n", (unsigned long long)warnings.sent,
	         (unsigned long long)warnings.dropped);
	if (writer->lease)
		buf_addf(out, "lease held by %s\n", *lease_holder(writer->lease) ? lease_holder(writer->lease) : "nobody");
}

void writer_metrics(const struct writer *writer, struct buf *out)
{
	const struct status_api_counters status = status_api_counters(writer->status);
	const struct events_counters warnings = events_counters(writer->warnings);
	metric(out, "hatchway_leader", "gauge", "1 while this one writes status, Events and infrastructure: it holds the Lease, or needs none.",
	       writer->leader);
	metric_family(out, "hatchway_status_writes_total", "counter", "Writes of status to the API server, by kind and result.");
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++)
		for (enum api_result r = 0; r < API_RESULT_COUNT && object_kind_has_status(kind); r++)
			buf_addf(out, "hatchway_status_writes_total{kind=\"%s\",result=\"%s\"} %llu\n", object_kind_name(kind),
			         api_result_name(r), (unsigned long long)status.results[kind][r]);
	metric_family(out, "hatchway_events_total", "counter", "Events for the API server, by result.");
	metric_sample(out, "hatchway_events_total", "result", "written", (double)warnings.sent);
	metric_sample(out, "hatchway_events_total", "result", "dropped", (double)warnings.dropped);
}

static void on_all_closed(void *ctx)
{
	struct writer *writer = ctx;
	void (*closed)(void *closed_ctx) = writer->closed;
	void *closed_ctx = writer->closed_ctx;
	free(writer);
	closed(closed_ctx);
}

static void close_lease(void *ctx)
{
	struct writer *writer = ctx;
	if (writer->lease)
		lease_close(writer->lease, on_all_closed, writer);
	else
		on_all_closed(writer);
}

static void close_warnings(void *ctx)
{
	struct writer *writer = ctx;
	events_close(writer->warnings, close_lease, writer);
}

void writer_close(struct writer *writer, void (*cb)(void *ctx), void *ctx)
{
	writer->closed = cb;
	writer->closed_ctx = ctx;
	status_api_close(writer->status, close_warnings, writer);
}
