/* The running controller: source → core → HAProxy → status, on one libuv loop. Decides nothing itself; logs one line
 * for each thing that was decided. */
#include "controller/run.h"

#include "controller/admin.h"
#include "controller/condition_log.h"
#include "controller/refusal_log.h"
#include "controller/health.h"
#include "controller/question.h"
#include "controller/source/cluster.h"
#include "controller/source/file.h"
#include "controller/source/infra_api.h"
#include "controller/source/status_writer.h"
#include "controller/state_dir.h"
#include "controller/vitals.h"
#include "controller/writer.h"
#include "hatchway/base/log.h"

#include <malloc.h>
#include <signal.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

/* A change of as many units leaves holes in the heap that are worth giving back. */
#define BURST 1000

#define PROBLEMS_MAX 1000

struct problem;

/* A closed terminal (SIGHUP) ends it as properly as the others. */
static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP};

struct run {
	uv_loop_t loop;
	uv_signal_t signals[ARRAY_LEN(stop_signals)];
	uv_timer_t yield; /* until a burst's statuses go on */
	const struct options *options;
	char state_dir[4096];
	struct status_sink status; /* a folder's, or the writer's */
	struct writer *writer;     /* to the API server; NULL: none */
	struct core *core;
	struct haproxy *haproxy;
	struct admin *admin;
	struct health *health; /* NULL: no --health-address */
	struct vitals vitals;
	struct file_source *source; /* or cluster */
	struct cluster *cluster;
	struct infra_api *infra;      /* NULL: no --service */
	uint64_t infra_version;       /* asked for last */
	uint64_t submitted_at_ns, status_at_ns; /* the last change; the last status given to be written */
	bool served;                  /* the first generation is held: ready */
	bool down;                    /* status says that HAProxy serves nothing */
	bool burst;                   /* a big change was submitted, and its status is not all written yet */
	struct condition_log conditions;
	struct refusal_log refusals;
	struct problem *problems;     /* of files */
	uint64_t readings;            /* bursts of the source so far */
	int exit_code;
};

/* ---- status: only what HAProxy holds ---- */

static void on_status(void *ctx, const struct core_status *status)
{
	struct run *run = ctx;
	run->vitals.documents++;
	condition_log(&run->conditions, status);
	run->status.ops->add(run->status.ctx, status->kind, status->namespace, status->name, status->text);
}

/* A burst's thousands of statuses make way for changes: an API server that writes them takes longer over a change, and so do
 * we. They wait until nothing has changed for a moment, but not for ever. */
#define YIELD_NS (50 * UINT64_C(1000000))
#define YIELD_MAX_NS (250 * UINT64_C(1000000))

static void on_yield(uv_timer_t *timer);

static bool yields(struct run *run)
{
	const uint64_t now = uv_hrtime(), quiet = run->submitted_at_ns + YIELD_NS, latest = run->status_at_ns + YIELD_MAX_NS;
	const uint64_t until = quiet < latest ? quiet : latest;
	if (!run->burst || now >= until) {
		run->status_at_ns = now;
		return false;
	}
	uv_timer_start(&run->yield, on_yield, (until - now) / 1000000 + 1, 0);
	return true;
}

/* A few at a time, so that ten thousand of them never stand in the way of a change. While a newer generation is on its
 * way they wait for its applied(): what they would say is not held yet. While HAProxy is down there is nothing to wait for:
 * they say so. */
static void write_status(struct run *run)
{
	const struct status_sink *sink = &run->status;
	bool more = sink->ops != NULL;
	while (more && (run->down || run->vitals.applied == run->vitals.submitted) && !run->vitals.closing &&
	       !sink->ops->busy(sink->ctx) && !yields(run)) {
		more = core_status_changes(run->core, time(NULL), sink->ops->at_once, on_status, run);
		sink->ops->start(sink->ctx, !more);
	}
	if (!more)
		condition_log_end(&run->conditions);
	if (!more && run->burst)
		malloc_trim(0);
	run->burst &= more;
}

static void on_yield(uv_timer_t *timer)
{
	write_status(timer->data);
}

static void on_status_done(void *ctx)
{
	write_status(ctx);
}

static void on_status_failed(void *ctx, const char *kind, const char *namespace, const char *name, const char *error)
{
	struct run *run = ctx;
	run->vitals.failures++;
	log_line(LOG_WARN, "status not written", "kind", kind, "namespace", namespace, "name", name, "error", error, NULL);
}

static void on_status_again(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct run *run = ctx;
	core_status_again(run->core, kind, namespace, name);
}

static void on_release(void *ctx, const char *version, bool experimental, const char *why)
{
	struct run *run = ctx;
	log_line(version ? LOG_INFO : LOG_WARN, "Gateway API's CRDs", "version", version ? version : "unknown", "channel",
	         experimental ? "experimental" : "standard", "error", version ? "" : why, NULL);
	core_set_release(run->core, version, experimental, why);
}

/* ---- Gateways' Services and EndpointSlices ---- */

static void on_infra_ask(void *ctx, infra_cb *cb, void *cb_ctx)
{
	struct run *run = ctx;
	core_infra(run->core, cb, cb_ctx);
}

static void on_infra_said(void *ctx, const char *namespace, const char *gateway, const char *text)
{
	struct run *run = ctx;
	if (core_infra_said(run->core, namespace, gateway, text))
		write_status(run);
}

static void on_infra_noted(void *ctx, const char *namespace, const char *gateway, const char *note)
{
	struct run *run = ctx;
	if (run->writer)
		writer_warn(run->writer, KIND_GATEWAY, namespace, gateway, "InfrastructureRepaired", note);
}

/* HAProxy is not waited for: where its Pods are, and which are going, others must know also when this one's is away. */
static void write_infra(struct run *run)
{
	if (!run->infra || run->vitals.closing || run->infra_version == core_infra_version(run->core))
		return;
	run->infra_version = core_infra_version(run->core);
	infra_api_wake(run->infra);
}

/* ---- HAProxy ---- */

/* A change on its way is told of the Gateways it changes; of all there is only the first, and one that takes long. */
static void tell_held(struct run *run)
{
	const struct vitals *vitals = &run->vitals;
	const bool down = vitals->state == HAPROXY_DOWN && *vitals->detail;
	if (vitals->applied == vitals->submitted) {
		core_applied(run->core);
		core_held(run->core, true, NULL);
	} else if (!run->served || vitals_waiting_ms(vitals, uv_hrtime()) > VITALS_PATIENCE_MS) {
		core_held(run->core, false, down ? vitals->detail : "a change is on its way to it");
	}
}

static void on_applied(void *ctx, uint64_t generation, const struct haproxy_refusal *refusals, size_t n)
{
	struct run *run = ctx;
	char text[32], took[32];
	bool fresh = !run->served || generation != run->vitals.applied; /* or it was made good again */
	vitals_applied(&run->vitals, generation, n, uv_hrtime());
	tell_held(run);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)generation);
	snprintf(took, sizeof(took), "%.3f", (double)(uv_hrtime() - run->submitted_at_ns) / 1e6);
	if (fresh)
		log_line(LOG_INFO, run->served ? "applied" : "serving", "generation", text, "ms", took, NULL);
	else
		log_line(LOG_INFO, "applied again", "generation", text, NULL);
	run->served = true;
	refusal_log(&run->refusals, refusals, n);
	core_refused(run->core, refusals, n);
	write_status(run);
}

/* In a cluster other Pods' HAProxies may serve on, and this one's is told by its Pod's readiness. */
static void tell_down(struct run *run, enum haproxy_state state, const char *why)
{
	if (run->writer || state == HAPROXY_SYNCING)
		return;
	run->down = state == HAPROXY_DOWN;
	core_down(run->core, run->down ? why : NULL);
	if (run->down)
		write_status(run);
}

static void on_state(void *ctx, enum haproxy_state state, const char *text)
{
	static const char *const names[] = {"down", "syncing", "synced"};
	struct run *run = ctx;
	log_line(state == HAPROXY_DOWN ? LOG_WARN : LOG_DEBUG, "haproxy", "state", names[state], "detail", text, NULL);
	vitals_state(&run->vitals, state, text);
	if (state == HAPROXY_DOWN)
		core_held(run->core, false, text);
	tell_down(run, state, text);
}

/* ---- the source ---- */

static void on_put(void *ctx, struct object *object)
{
	struct run *run = ctx;
	if (run->served)
		log_line(LOG_INFO, "put", "kind", object_kind_name(object->kind), "namespace", object->namespace, "name",
		         object->name, NULL);
	core_put(run->core, object);
}

static void on_delete(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct run *run = ctx;
	log_line(LOG_INFO, "delete", "kind", object_kind_name(kind), "namespace", namespace, "name", name, NULL);
	core_delete(run->core, kind, namespace, name);
}

static void on_settled(void *ctx)
{
	struct run *run = ctx;
	struct table_changes changes = {0};
	run->readings++;
	core_update(run->core, &changes);
	/* The first submit is the whole table, also when it is empty: it takes over what HAProxy holds. */
	run->burst |= changes.n >= BURST;
	if (changes.n || !run->vitals.submitted) {
		run->submitted_at_ns = uv_hrtime();
		vitals_submitted(&run->vitals, run->vitals.submitted + 1, run->submitted_at_ns);
		tell_held(run);
		haproxy_submit(run->haproxy, &changes, run->vitals.submitted);
	}
	write_status(run);
	table_changes_done(&changes);
	write_infra(run);
}

/* What could not be read is shown by `status` as long as it is so. */
struct problem {
	struct problem *next;
	uint64_t reading; /* the burst of events it came with */
	unsigned line;
	char *path, *text;
};

/* Those of the path (NULL: all) that an earlier reading than `reading` found. */
static void problems_drop(struct run *run, const char *path, uint64_t reading)
{
	for (struct problem **at = &run->problems; *at;) {
		struct problem *problem = *at;
		if ((path && strcmp(problem->path, path)) || problem->reading >= reading) {
			at = &problem->next;
			continue;
		}
		*at = problem->next;
		run->vitals.problems--;
		free(problem->path);
		free(problem->text);
		free(problem);
	}
}

static void problem_add(struct run *run, const char *path, unsigned line, const char *text)
{
	struct problem **at = &run->problems;
	problems_drop(run, path, run->readings);
	for (size_t n = 0; *at; at = &(*at)->next)
		if (++n == PROBLEMS_MAX || (!strcmp((*at)->path, path) && !strcmp((*at)->text, text)))
			return;
	*at = xcalloc(1, sizeof(**at));
	run->vitals.problems++;
	**at = (struct problem){NULL, run->readings, line, xstrdup(path), xstrdup(text)};
}

static void problems_print(const struct run *run, struct buf *out)
{
	for (const struct problem *problem = run->problems; problem; problem = problem->next)
		if (problem->line)
			buf_addf(out, "%s:%u: %s\n", problem->path, problem->line, problem->text);
		else
			buf_addf(out, "%s: %s\n", problem->path, problem->text);
}

static void on_problem(void *ctx, const char *path, unsigned line, const char *text)
{
	struct run *run = ctx;
	char number[16];
	snprintf(number, sizeof(number), "%u", line);
	if (text) {
		problem_add(run, path, line, text);
		log_line(LOG_ERROR, "problem", "of", path, "line", number, "error", text, NULL);
	} else {
		problems_drop(run, path, UINT64_MAX);
		log_line(LOG_INFO, "fine again", "of", path, NULL);
	}
}

/* ---- questions ---- */

static int on_question(void *ctx, const char **words, int n, struct buf *out)
{
	struct run *run = ctx;
	if (n == 1 && !strcmp(words[0], "counters")) {
		struct haproxy_counters c = haproxy_counters(run->haproxy);
		buf_addf(out, "commands %llu\nrefused %llu\nreloads %llu\nstarts %llu\nreads %llu\npending_removals %llu\n",
		         (unsigned long long)c.commands, (unsigned long long)c.refused, (unsigned long long)c.reloads,
		         (unsigned long long)c.starts, (unsigned long long)c.reads, (unsigned long long)c.pending_removals);
		buf_addf(out, "generation %llu\napplied %llu\n", (unsigned long long)run->vitals.submitted,
		         (unsigned long long)run->vitals.applied);
		if (run->writer)
			writer_describe(run->writer, out);
		if (run->infra) {
			struct infra_api_counters i = infra_api_counters(run->infra);
			buf_addf(out, "infrastructure_applied %llu\ninfrastructure_deleted %llu\ninfrastructure_failures %llu\n",
			         (unsigned long long)i.applied, (unsigned long long)i.deleted, (unsigned long long)i.failures);
		}
		if (run->cluster)
			cluster_describe(run->cluster, out);
		return 0;
	}
	if (run->vitals.applied != run->vitals.submitted)
		tell_held(run);
	int code = question_answer(run->core, words, n, out);
	bool status = !strcmp(words[0], "status");
	if (run->problems && (status || !strcmp(words[0], "explain"))) {
		buf_adds(out, "\nNot read, and so not what is served:\n");
		problems_print(run, out);
	}
	return status && run->problems ? 1 : code;
}

/* ---- the end: infrastructure, status, source, admin socket, HAProxy's side, health, signals ---- */

static void close_signals(void *ctx)
{
	struct run *run = ctx;
	run->health = NULL;
	for (size_t i = 0; i < ARRAY_LEN(run->signals); i++)
		uv_close((uv_handle_t *)&run->signals[i], NULL);
	uv_close((uv_handle_t *)&run->yield, NULL);
}

/* To the end it says that this is the end. */
static void close_health(void *ctx)
{
	struct run *run = ctx;
	run->haproxy = NULL;
	run->vitals.haproxy = NULL;
	if (run->health)
		health_close(run->health, close_signals, run);
	else
		close_signals(run);
}

static void close_haproxy(void *ctx)
{
	struct run *run = ctx;
	run->admin = NULL;
	if (run->haproxy)
		haproxy_close(run->haproxy, close_health, run);
	else
		close_health(run);
}

static void close_admin(void *ctx)
{
	struct run *run = ctx;
	run->source = NULL;
	run->cluster = NULL;
	run->vitals.cluster = NULL;
	if (run->admin)
		admin_close(run->admin, close_haproxy, run);
	else
		close_haproxy(run);
}

static void close_source(void *ctx)
{
	struct run *run = ctx;
	run->status.ops = NULL;
	run->writer = NULL;
	run->vitals.writer = NULL;
	if (run->source)
		file_source_close(run->source, close_admin, run);
	else if (run->cluster)
		cluster_close(run->cluster, close_admin, run);
	else
		close_admin(run);
}

/* With it the lease is given up: nothing is written any more. */
static void close_status(void *ctx)
{
	struct run *run = ctx;
	run->infra = NULL;
	run->vitals.infra = NULL;
	if (run->writer)
		writer_close(run->writer, close_source, run);
	else if (run->status.ops)
		run->status.ops->close(run->status.ctx, close_source, run);
	else
		close_source(run);
}

static void begin_close(struct run *run)
{
	if (run->vitals.closing)
		return;
	run->vitals.closing = true;
	if (run->core)
		core_leave(run->core);
	if (run->infra)
		infra_api_close(run->infra, close_status, run);
	else
		close_status(run);
}

static void on_signal(uv_signal_t *signal, int number)
{
	log_line(LOG_INFO, "stopping", "signal", strsignal(number), NULL);
	begin_close(signal->data);
}

/* ---- the beginning ---- */

static int open_status_dir(struct run *run, struct err *reterr)
{
	const struct status_writer_events events = {on_status_done, on_status_failed, run};
	const struct options *options = run->options;
	struct status_dir *dir;
	char path[4096];
	if (!options->manifests && !options->status_dir)
		return 0;
	snprintf(path, sizeof(path), "%.4000s/.status", options->manifests);
	int ret = status_dir_open(options->status_dir ? options->status_dir : path, &dir, reterr);
	if (!ret)
		run->status = status_writer_open(&run->loop, dir, &events);
	return ret;
}

static void open_infra(struct run *run)
{
	const struct infra_api_times times = infra_api_defaults();
	const struct infra_api_events events = {on_infra_ask, on_infra_said, on_infra_noted, run};
	run->infra = infra_api_open(&run->loop, cluster_client(run->cluster), &times, &events);
	infra_api_lead(run->infra, !run->writer || writer_leads(run->writer));
}

static void on_leader(void *ctx, bool leader)
{
	struct run *run = ctx;
	if (run->infra)
		infra_api_lead(run->infra, leader);
}

static void open_writer(struct run *run)
{
	const struct options *options = run->options;
	const struct writer_options writer_options = {options->lease_name ? options->lease_namespace : NULL,
	                                              options->lease_name, options->identity};
	const struct writer_events events = {on_status_done, on_status_again, on_leader, run};
	run->writer = writer_open(&run->loop, run->cluster, &writer_options, &events);
	run->status = writer_sink(run->writer);
}

static bool on_ready(void *ctx, struct buf *out)
{
	const struct run *run = ctx;
	return vitals_ready(&run->vitals, uv_hrtime(), out);
}

static void on_metrics(void *ctx, struct buf *out)
{
	const struct run *run = ctx;
	vitals_metrics(&run->vitals, uv_hrtime(), out);
}

static int open_health(struct run *run, struct err *reterr)
{
	const struct health_events events = {on_ready, on_metrics, run};
	const char *address = run->options->health_address;
	return address ? health_open(&run->loop, address, &events, &run->health, reterr) : 0;
}

static int open_source(struct run *run, struct err *reterr)
{
	const struct options *options = run->options;
	const struct cluster_events events = {
		{on_put, on_delete, on_settled, on_problem, run}, on_status_again, on_release, run};
	struct cluster_options cluster = cluster_defaults();
	char memory[4096 + 32];
	snprintf(memory, sizeof(memory), "%s/manifests", run->state_dir);
	if (options->manifests)
		return file_source_open(&run->loop, options->manifests, memory, &events.source, &run->source, reterr);
	cluster.kubeconfig = options->kubeconfig;
	cluster.context = options->context;
	cluster.controller = CONTROLLER_NAME;
	int ret = cluster_open(&run->loop, &cluster, &events, &run->cluster, reterr);
	if (!ret && !run->status.ops)
		open_writer(run);
	if (!ret && options->service_name)
		open_infra(run);
	return ret;
}

static int open_all(struct run *run, struct err *reterr)
{
	const struct options *options = run->options;
	const struct haproxy_options haproxy_options = {
		.state_dir = run->state_dir,
		.binary = options->haproxy,
		.pool_base = options->pool_base,
		.pool_size = options->pool_size,
		.stop_on_exit = options->stop_on_exit,
		.threads = options->threads,
	};
	const struct haproxy_events haproxy_events = {on_applied, on_state, run};
	struct core_options core_options;
	char path[4096 + 32];
	int ret = state_dir_make(options->state_dir, run->state_dir, sizeof(run->state_dir), reterr);
	if (!ret && options->manifests)
		ret = file_source_check(options->manifests, reterr);
	if (!ret)
		ret = open_status_dir(run, reterr);
	if (ret)
		return ret;
	options_core(options, &core_options);
	if (!options->manifests) { /* in a cluster, what exists is written down */
		core_options.implicit_class = NULL;
		core_options.implicit_namespaces = false;
	}
	run->core = core_new(&core_options);
	if (!options->haproxy && !options->adopt)
		return err_set(reterr, -ENOENT, "no HAProxy found: name one, 3.4 or newer, with --haproxy PATH");
	ret = haproxy_open(&run->loop, &haproxy_options, &haproxy_events, &run->haproxy, reterr);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/hatchway.sock", run->state_dir);
	ret = admin_open(&run->loop, path, on_question, run, &run->admin, reterr);
	if (ret)
		return ret;
	ret = open_health(run, reterr);
	if (!ret)
		ret = open_source(run, reterr);
	run->vitals.core = run->core;
	run->vitals.haproxy = run->haproxy;
	run->vitals.cluster = run->cluster;
	run->vitals.writer = run->writer;
	run->vitals.infra = run->infra;
	return ret;
}

/* One arena for the few threads there are. Big blocks live apart from the heap and go back when freed: without the fixed
 * threshold glibc would soon take them from the heap too, and every burst would leave its high-water mark. */
static void tune_heap(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_TRIM_THRESHOLD, 512 * 1024);
}

int run(const struct options *options)
{
	tune_heap();
	struct run *run = xcalloc(1, sizeof(*run));
	struct err err = {""};
	run->options = options;
	BUG_ON(uv_loop_init(&run->loop));
	uv_timer_init(&run->loop, &run->yield);
	run->yield.data = run;
	for (size_t i = 0; i < ARRAY_LEN(run->signals); i++) {
		uv_signal_init(&run->loop, &run->signals[i]);
		run->signals[i].data = run;
		uv_signal_start(&run->signals[i], on_signal, stop_signals[i]);
	}
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (open_all(run, &err)) {
		fprintf(stderr, "hatchway: %s\n", err.text);
		run->exit_code = 1;
		begin_close(run);
	} else {
		log_line(LOG_INFO, "running", "version", HATCHWAY_VERSION, "manifests", options->manifests ? options->manifests : "of the cluster",
		         "state",
		         run->state_dir, "haproxy", options->adopt ? "none" : options->haproxy, NULL);
	}
	uv_run(&run->loop, UV_RUN_DEFAULT);
	BUG_ON(uv_loop_close(&run->loop));
	core_free(run->core);
	refusal_log_done(&run->refusals);
	problems_drop(run, NULL, UINT64_MAX);
	int code = run->exit_code;
	free(run);
	return code;
}
