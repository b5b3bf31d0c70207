#include "controller/vitals.h"

#include <string.h>

/* ---- what happens ---- */

void vitals_submitted(struct vitals *vitals, uint64_t generation, uint64_t now_ns)
{
	vitals->submitted = generation;
	if (!vitals->waiting_since_ns)
		vitals->waiting_since_ns = now_ns;
}

/* Also called again for the same generation, when only the refusals are others. One that is not the newest leaves a
 * younger one waiting, whose time is counted from here. */
void vitals_applied(struct vitals *vitals, uint64_t generation, size_t refusals, uint64_t now_ns)
{
	if (generation != vitals->applied && vitals->waiting_since_ns)
		histogram_add(&vitals->applies, (double)(now_ns - vitals->waiting_since_ns) / 1e9);
	vitals->applied = generation;
	vitals->waiting_since_ns = generation == vitals->submitted ? 0 : now_ns;
	vitals->refusals = refusals;
}

void vitals_state(struct vitals *vitals, enum haproxy_state state, const char *detail)
{
	vitals->state = state;
	snprintf(vitals->detail, sizeof(vitals->detail), "%s", detail ? detail : "");
}

/* ---- readiness ---- */

static void tell_unsynced(void *ctx, const struct watch_figures *figures)
{
	if (!figures->synced)
		buf_addf(ctx, " %s", object_kind_name(figures->kind));
}

static void tell_forbidden(void *ctx, const struct watch_figures *figures)
{
	if (figures->forbidden)
		buf_addf(ctx, "forbidden: %s may not be listed or watched\n", object_kind_name(figures->kind));
}

uint64_t vitals_waiting_ms(const struct vitals *vitals, uint64_t now_ns)
{
	return vitals->waiting_since_ns ? (now_ns - vitals->waiting_since_ns) / 1000000 : 0;
}

static bool is_ready(const struct vitals *vitals, uint64_t now_ns, struct buf *out)
{
	uint64_t waits_ms = vitals_waiting_ms(vitals, now_ns);
	if (vitals->closing) {
		buf_adds(out, "not ready: stopping\n");
	} else if (!vitals->submitted) {
		buf_adds(out, "not ready: the objects are not all read yet");
		if (vitals->cluster) {
			buf_addc(out, ':');
			cluster_figures(vitals->cluster, tell_unsynced, out);
		}
		buf_addc(out, '\n');
	} else if (vitals->state == HAPROXY_DOWN) {
		buf_addf(out, "not ready: HAProxy is down%s%s\n", *vitals->detail ? ": " : "", vitals->detail);
	} else if (!vitals->applied) {
		buf_adds(out, "not ready: HAProxy does not serve what was read yet\n");
	} else if (waits_ms > VITALS_PATIENCE_MS) {
		buf_addf(out, "not ready: a change has been waiting for HAProxy for %llu ms\n", (unsigned long long)waits_ms);
	} else {
		buf_adds(out, "ready\n");
		return true;
	}
	return false;
}

bool vitals_ready(const struct vitals *vitals, uint64_t now_ns, struct buf *out)
{
	bool ready = is_ready(vitals, now_ns, out);
	if (vitals->cluster)
		cluster_figures(vitals->cluster, tell_forbidden, out);
	return ready;
}

/* ---- figures ---- */

static void haproxy_metrics(const struct vitals *vitals, struct buf *out)
{
	metric(out, "hatchway_haproxy_up", "gauge", "1 while HAProxy answers on its stats socket.",
	       vitals->submitted && vitals->state != HAPROXY_DOWN);
	metric(out, "hatchway_haproxy_refused_objects", "gauge", "Parts of the table that HAProxy refuses.",
	       (double)vitals->refusals);
	if (!vitals->haproxy)
		return;
	struct haproxy_counters c = haproxy_counters(vitals->haproxy);
	metric(out, "hatchway_haproxy_commands_total", "counter", "Changing commands sent to HAProxy.", (double)c.commands);
	metric(out, "hatchway_haproxy_commands_refused_total", "counter", "Commands that HAProxy refused.",
	       (double)c.refused);
	metric(out, "hatchway_haproxy_reloads_total", "counter", "Reloads of HAProxy.", (double)c.reloads);
	metric(out, "hatchway_haproxy_starts_total", "counter", "HAProxy masters started.", (double)c.starts);
	metric(out, "hatchway_haproxy_reads_total", "counter", "Times all that HAProxy holds was read.", (double)c.reads);
	metric(out, "hatchway_haproxy_pending_removals", "gauge", "What is not wanted any more and cannot be removed yet.",
	       (double)c.pending_removals);
}

static void object_metrics(const struct core *core, struct buf *out)
{
	metric_family(out, "hatchway_objects", "gauge", "Objects known.");
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++)
		metric_sample(out, "hatchway_objects", "kind", object_kind_name(kind), (double)core_objects(core, kind));
	metric_family(out, "hatchway_bad_conditions", "gauge", "Conditions that are not as one would like them.");
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++)
		if (object_kind_has_status(kind))
			metric_sample(out, "hatchway_bad_conditions", "kind", object_kind_name(kind),
			              (double)core_bad_conditions(core, kind));
}

static void watch_state(void *ctx, const struct watch_figures *figures)
{
	static const char *const states[] = {"not served", "listing", "watching", "waiting"};
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		buf_addf(ctx, "hatchway_watch_state{kind=\"%s\",state=\"%s\"} %d\n", object_kind_name(figures->kind), states[i],
		         strcmp(states[i], figures->state) == 0);
	}
}

static void watch_forbidden(void *ctx, const struct watch_figures *figures)
{
	metric_sample(ctx, "hatchway_watch_forbidden", "kind", object_kind_name(figures->kind), figures->forbidden);
}

static void watch_refused(void *ctx, const struct watch_figures *figures)
{
	metric_sample(ctx, "hatchway_watch_unreadable_objects", "kind", object_kind_name(figures->kind),
	              (double)figures->refused);
}

static void cluster_metrics(const struct cluster *cluster, struct buf *out)
{
	metric_family(out, "hatchway_watch_state", "gauge", "1 for the state that the watch of a kind is in.");
	cluster_figures(cluster, watch_state, out);
	metric_family(out, "hatchway_watch_forbidden", "gauge", "1 while the API server forbids to list or watch the kind.");
	cluster_figures(cluster, watch_forbidden, out);
	metric_family(out, "hatchway_watch_unreadable_objects", "gauge", "Objects that could not be read.");
	cluster_figures(cluster, watch_refused, out);
}

static void infra_metrics(const struct infra_api *infra, struct buf *out)
{
	static const char name[] = "hatchway_infrastructure_writes_total";
	static const char *const verbs[INFRA_VERB_COUNT] = {"apply", "clear", "delete"};
	const struct infra_api_counters counters = infra_api_counters(infra);
	metric_family(out, name, "counter", "Writes of what stands for Gateways to the API server, by kind, verb and result.");
	for (enum infra_kind kind = 0; kind < INFRA_KIND_COUNT; kind++)
		for (enum infra_verb verb = 0; verb < INFRA_VERB_COUNT; verb++)
			for (enum api_result r = 0; r < API_RESULT_COUNT; r++)
				buf_addf(out, "%s{kind=\"%s\",verb=\"%s\",result=\"%s\"} %llu\n", name, infra_kind_name(kind), verbs[verb],
				         api_result_name(r), (unsigned long long)counters.results[kind][verb][r]);
}

void vitals_metrics(const struct vitals *vitals, uint64_t now_ns, struct buf *out)
{
	struct buf ignored;
	buf_init(&ignored, 65536);
	metric(out, "hatchway_ready", "gauge", "1 when /readyz says so.", vitals_ready(vitals, now_ns, &ignored));
	buf_done(&ignored);
	metric(out, "hatchway_generations_submitted", "gauge", "The newest generation of the routing table.",
	       (double)vitals->submitted);
	metric(out, "hatchway_generations_applied", "gauge", "The generation that HAProxy serves.", (double)vitals->applied);
	metric_histogram(out, "hatchway_apply_duration_seconds", "From a change of the routing table until HAProxy serves it.",
	                 &vitals->applies);
	haproxy_metrics(vitals, out);
	if (vitals->core)
		object_metrics(vitals->core, out);
	metric(out, "hatchway_problems", "gauge", "What could not be read, as `hatchway status` lists it.",
	       (double)vitals->problems);
	metric(out, "hatchway_status_documents_total", "counter", "Status documents that were new.",
	       (double)vitals->documents);
	metric(out, "hatchway_status_failures_total", "counter", "Status documents that could not be written to the folder.",
	       (double)vitals->failures);
	if (vitals->cluster)
		cluster_metrics(vitals->cluster, out);
	if (vitals->writer)
		writer_metrics(vitals->writer, out);
	if (vitals->infra)
		infra_metrics(vitals->infra, out);
	metric_process(out, HATCHWAY_VERSION);
}
