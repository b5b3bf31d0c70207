/* The running controller: source → core → HAProxy → status, on one libuv loop. Decides nothing itself; logs one line
 * for each thing that was decided. */
#include "controller/run.h"

#include "controller/admin.h"
#include "controller/question.h"
#include "controller/source/cluster.h"
#include "controller/source/file.h"
#include "controller/source/status_dir.h"
#include "hatchway/base/log.h"

#include <signal.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS_AT_ONCE 16

struct run {
	uv_loop_t loop;
	uv_signal_t sigterm, sigint;
	uv_idle_t status_turn;
	const struct options *options;
	char state_dir[4096];
	struct status_dir *status_dir; /* NULL: a cluster, and no --status-dir */
	struct core *core;
	struct haproxy *haproxy;
	struct admin *admin;
	struct file_source *source; /* or cluster */
	struct cluster *cluster;
	uint64_t generation, applied; /* last submitted; last that HAProxy holds */
	uint64_t submitted_at_ns;
	bool served;                  /* the first generation is held: ready */
	bool swept;                   /* what an earlier run left in the status folder is gone */
	bool closing;
	int exit_code;
};

/* ---- status: only what HAProxy holds ---- */

static void on_status(void *ctx, const struct core_status *status)
{
	struct run *run = ctx;
	struct err err = {""};
	if (status_dir_write(run->status_dir, object_kind_name(status->kind), status->namespace, status->name, status->text,
	                     &err))
		log_line(LOG_WARN, "status not written", "kind", object_kind_name(status->kind), "namespace", status->namespace,
		         "name", status->name, "error", err.text, NULL);
}

/* A few at a time, so that ten thousand of them never stand in the way of a change. While a newer generation is on its
 * way they wait for its applied(): what they would say is not held yet. */
static void on_status_turn(uv_idle_t *idle)
{
	struct run *run = idle->data;
	struct err err = {""};
	if (run->applied == run->generation && core_status_changes(run->core, time(NULL), STATUS_AT_ONCE, on_status, run))
		return;
	uv_idle_stop(idle);
	if (run->applied != run->generation || run->swept)
		return;
	run->swept = true;
	if (status_dir_sweep(run->status_dir, &err))
		log_line(LOG_WARN, "old status not removed", "error", err.text, NULL);
}

static void write_status(struct run *run)
{
	if (run->status_dir)
		uv_idle_start(&run->status_turn, on_status_turn);
}

/* ---- HAProxy ---- */

static void on_applied(void *ctx, uint64_t generation, const struct haproxy_refusal *refusals, size_t n)
{
	struct run *run = ctx;
	char text[32], took[32];
	run->applied = generation;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)generation);
	snprintf(took, sizeof(took), "%.3f", (double)(uv_hrtime() - run->submitted_at_ns) / 1e6);
	log_line(LOG_INFO, run->served ? "applied" : "serving", "generation", text, "ms", took, NULL);
	run->served = true;
	for (size_t i = 0; i < n; i++)
		log_line(LOG_WARN, "refused", "object", refusals[i].key, "error", refusals[i].text, NULL);
	core_refused(run->core, refusals, n);
	write_status(run);
}

static void on_state(void *ctx, enum haproxy_state state, const char *text)
{
	static const char *const names[] = {"down", "syncing", "synced"};
	log_line(state == HAPROXY_DOWN ? LOG_WARN : LOG_DEBUG, "haproxy", "state", names[state], "detail", text, NULL);
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
	core_update(run->core, &changes);
	/* The first submit is the whole table, also when it is empty: it takes over what HAProxy holds. */
	if (changes.n || !run->generation) {
		run->submitted_at_ns = uv_hrtime();
		haproxy_submit(run->haproxy, &changes, ++run->generation);
	} else {
		write_status(run);
	}
	table_changes_done(&changes);
}

static void on_problem(void *ctx, const char *path, unsigned line, const char *text)
{
	char number[16];
	snprintf(number, sizeof(number), "%u", line);
	if (text)
		log_line(LOG_ERROR, "not read, its last good content stays", "of", path, "line", number, "error", text, NULL);
	else
		log_line(LOG_INFO, "fine again", "of", path, NULL);
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
		buf_addf(out, "generation %llu\napplied %llu\n", (unsigned long long)run->generation,
		         (unsigned long long)run->applied);
		if (run->cluster)
			cluster_describe(run->cluster, out);
		return 0;
	}
	return question_answer(run->core, words, n, out);
}

/* ---- the end: source, admin socket, HAProxy's side, signals ---- */

static void close_signals(void *ctx)
{
	struct run *run = ctx;
	run->haproxy = NULL;
	uv_close((uv_handle_t *)&run->sigterm, NULL);
	uv_close((uv_handle_t *)&run->sigint, NULL);
	uv_close((uv_handle_t *)&run->status_turn, NULL);
}

static void close_haproxy(void *ctx)
{
	struct run *run = ctx;
	run->admin = NULL;
	if (run->haproxy)
		haproxy_close(run->haproxy, close_signals, run);
	else
		close_signals(run);
}

static void close_admin(void *ctx)
{
	struct run *run = ctx;
	run->source = NULL;
	run->cluster = NULL;
	if (run->admin)
		admin_close(run->admin, close_haproxy, run);
	else
		close_haproxy(run);
}

static void begin_close(struct run *run)
{
	if (run->closing)
		return;
	run->closing = true;
	if (run->source)
		file_source_close(run->source, close_admin, run);
	else if (run->cluster)
		cluster_close(run->cluster, close_admin, run);
	else
		close_admin(run);
}

static void on_signal(uv_signal_t *signal, int number)
{
	log_line(LOG_INFO, "stopping", "signal", number == SIGINT ? "SIGINT" : "SIGTERM", NULL);
	begin_close(signal->data);
}

/* ---- the beginning ---- */

/* mkdir -p with mode 700 for what is made; ret is the absolute path. */
static int make_dir(const char *path, char *ret, size_t size, struct err *reterr)
{
	char text[4096], real[4096 + 1];
	if (strlen(path) >= sizeof(text))
		return err_set(reterr, -ENAMETOOLONG, "%s: too long", path);
	strcpy(text, path);
	for (char *p = text + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char c = *p;
		*p = 0;
		if (mkdir(text, 0700) && errno != EEXIST)
			return err_set(reterr, -errno, "%s: %s", text, strerror(errno));
		*p = c;
		if (!c)
			break;
	}
	if (!realpath(text, real) || strlen(real) >= size)
		return err_set(reterr, -errno, "%s: %s", text, strerror(errno));
	strcpy(ret, real);
	return 0;
}

static int open_status_dir(struct run *run, struct err *reterr)
{
	const struct options *options = run->options;
	char path[4096];
	if (!options->manifests && !options->status_dir)
		return 0;
	snprintf(path, sizeof(path), "%.4000s/.status", options->manifests);
	return status_dir_open(options->status_dir ? options->status_dir : path, &run->status_dir, reterr);
}

static int open_source(struct run *run, struct err *reterr)
{
	const struct options *options = run->options;
	const struct source_events events = {on_put, on_delete, on_settled, on_problem, run};
	struct cluster_options cluster = cluster_defaults();
	if (options->manifests)
		return file_source_open(&run->loop, options->manifests, &events, &run->source, reterr);
	cluster.kubeconfig = options->kubeconfig;
	cluster.context = options->context;
	return cluster_open(&run->loop, &cluster, &events, &run->cluster, reterr);
}

static int open_all(struct run *run, struct err *reterr)
{
	const struct options *options = run->options;
	const struct haproxy_options haproxy_options = {
		.state_dir = run->state_dir,
		.binary = options->haproxy,
		.stop_on_exit = options->stop_on_exit,
		.threads = options->threads,
	};
	const struct haproxy_events haproxy_events = {on_applied, on_state, run};
	struct core_options core_options;
	char path[4096 + 32];
	int ret = make_dir(options->state_dir, run->state_dir, sizeof(run->state_dir), reterr);
	if (!ret && options->manifests && access(options->manifests, R_OK | X_OK))
		ret = err_set(reterr, -errno, "%s: %s", options->manifests, strerror(errno));
	if (!ret)
		ret = open_status_dir(run, reterr);
	if (ret)
		return ret;
	options_core(options, &core_options);
	run->core = core_new(&core_options);
	if (!options->haproxy)
		return err_set(reterr, -ENOENT, "no HAProxy found: name one, 3.4 or newer, with --haproxy PATH");
	ret = haproxy_open(&run->loop, &haproxy_options, &haproxy_events, &run->haproxy, reterr);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/hatchway.sock", run->state_dir);
	ret = admin_open(&run->loop, path, on_question, run, &run->admin, reterr);
	if (ret)
		return ret;
	return open_source(run, reterr);
}

int run(const struct options *options)
{
	struct run *run = xcalloc(1, sizeof(*run));
	struct err err = {""};
	run->options = options;
	BUG_ON(uv_loop_init(&run->loop));
	uv_signal_init(&run->loop, &run->sigterm);
	uv_signal_init(&run->loop, &run->sigint);
	uv_idle_init(&run->loop, &run->status_turn);
	run->status_turn.data = run;
	run->sigterm.data = run->sigint.data = run;
	uv_signal_start(&run->sigterm, on_signal, SIGTERM);
	uv_signal_start(&run->sigint, on_signal, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (open_all(run, &err)) {
		fprintf(stderr, "hatchway: %s\n", err.text);
		run->exit_code = 1;
		begin_close(run);
	} else {
		log_line(LOG_INFO, "running", "version", HATCHWAY_VERSION, "manifests", options->manifests ? options->manifests : "of the cluster",
		         "state",
		         run->state_dir, "haproxy", options->haproxy, NULL);
	}
	uv_run(&run->loop, UV_RUN_DEFAULT);
	BUG_ON(uv_loop_close(&run->loop));
	if (run->status_dir)
		status_dir_close(run->status_dir);
	core_free(run->core);
	int code = run->exit_code;
	free(run);
	return code;
}
