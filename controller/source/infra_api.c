/* Owns a job for each object that is, or lately was, not as it should be:
 *
 *   wanted → under way → (done) wait for the watch → not wanted: forgotten after a calm while
 *               ↑            (failed) wait, twice as long each time
 *               └───────────────┘ */
#include "controller/source/infra_api.h"

#include "controller/source/back_off.h"
#include "hatchway/base/log.h"

#include <uthash.h>

#define AT_ONCE 16
#define PATIENCE 3 /* so often in a row something is applied without a pause */
#define NEVER UINT64_MAX

struct job {
	UT_hash_handle hh; /* by key; in the order they were asked for */
	struct infra_api *api;
	enum infra_kind kind;
	enum infra_verb verb;
	char *namespace, *name, *gateway, *text, *uid, *note; /* as in struct infra_change */
	struct kube_request *request;
	uint64_t due_ms, done_ms; /* loop's clock */
	unsigned failures, applied; /* in a row */
	uint64_t asking;            /* the last one that wanted it */
	bool said, again;           /* again: it has changed while it was under way */
	char key[];
};

struct infra_api {
	uv_loop_t *loop;
	struct kube_client *client;
	struct infra_api_times times;
	struct infra_api_events events;
	struct job *jobs;
	unsigned under_way;
	uv_timer_t asking, sending;
	uint64_t asked_ms, n_askings;
	bool leader, failing;
	struct infra_api_counters counters;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

struct infra_api_times infra_api_defaults(void)
{
	return (struct infra_api_times){
	    .answer_ms = 10000, .pause_ms = 20, .retry_ms = 100, .retry_max_ms = 60000, .away_ms = 5000,
	    .grace_ms = 2000, .end_ms = 2000, .calm_ms = 60000};
}

/* ---- jobs ---- */

static void job_free(struct job *job)
{
	HASH_DEL(job->api->jobs, job);
	if (job->request)
		kube_cancel(job->request);
	free(job->namespace);
	free(job->name);
	free(job->gateway);
	free(job->text);
	free(job->uid);
	free(job->note);
	free(job);
}

static struct job *job_of(struct infra_api *api, const struct infra_change *change)
{
	char key[1024];
	struct job *job;
	int n = snprintf(key, sizeof(key), "%d %s/%s", (int)change->kind, change->namespace, change->name);
	BUG_ON(n < 0 || (size_t)n >= sizeof(key));
	HASH_FIND_STR(api->jobs, key, job);
	if (job)
		return job;
	job = xcalloc(1, sizeof(*job) + (size_t)n + 1);
	memcpy(job->key, key, (size_t)n + 1);
	job->api = api;
	job->kind = change->kind;
	job->namespace = xstrdup(change->namespace);
	job->name = xstrdup(change->name);
	job->gateway = xstrdup(change->gateway);
	HASH_ADD_STR(api->jobs, key, job);
	return job;
}

/* By the last asking. */
static bool is_wanted(const struct job *job)
{
	return job->asking == job->api->n_askings;
}

static bool is_same(const char *a, const char *b)
{
	return !a || !b ? a == b : !strcmp(a, b);
}

/* A Gateway is told that all is well when nothing of it is refused any more. */
static void unsay(struct job *job)
{
	struct infra_api *api = job->api;
	if (!job->said)
		return;
	job->said = false;
	for (struct job *other = api->jobs; other; other = other->hh.next)
		if (other->said && !strcmp(other->gateway, job->gateway) && !strcmp(other->namespace, job->namespace))
			return;
	api->events.said(api->events.ctx, job->namespace, job->gateway, NULL);
}

/* Before the same is applied once more: others may have a will, too. */
static uint64_t pause_of(const struct job *job)
{
	const struct infra_api_times *times = &job->api->times;
	if (job->applied < PATIENCE)
		return 0;
	return back_off(job->applied - PATIENCE + 1, times->retry_ms, times->retry_max_ms);
}

/* ---- requests ---- */

static void send_due(struct infra_api *api);
static void end_if_done(struct infra_api *api);

/* Names are DNS names, as the API server itself demands: they need no escapes. */
static void add_path(struct buf *out, const struct job *job)
{
	static const struct {
		const char *group, *plural;
	} paths[] = {
#define X(id, name, path, plural) {path, plural},
	    INFRA_KINDS(X)
#undef X
	};
	buf_addf(out, "%s/namespaces/%s/%s/%s", paths[job->kind].group, job->namespace, paths[job->kind].plural, job->name);
}

static bool has_refused(long status)
{
	return status >= 400 && status < 500 && status != 401 && status != 404 && status != 409 && status != 429;
}

static void on_done(struct job *job)
{
	struct infra_api *api = job->api;
	bool deleted = job->verb == INFRA_DELETE;
	api->counters.applied += !deleted;
	api->counters.deleted += deleted;
	log_line(job->note ? LOG_WARN : LOG_INFO, deleted ? "deleted from the cluster" : "applied to the cluster", "kind",
	         infra_kind_name(job->kind), "namespace", job->namespace, "name", job->name, job->note ? "why" : NULL,
	         job->note, NULL);
	if (job->note)
		api->events.noted(api->events.ctx, job->namespace, job->gateway, job->note);
	job->failures = 0;
	job->applied++;
	job->done_ms = uv_now(api->loop);
	uint64_t pause = pause_of(job);
	job->due_ms = job->done_ms + (pause > api->times.grace_ms ? pause : api->times.grace_ms);
	api->failing = false;
	unsay(job);
}

static void on_failed(struct job *job, const struct kube_result *result)
{
	struct infra_api *api = job->api;
	bool refused = has_refused(result->status);
	uint64_t ms =
	    back_off(++job->failures, api->times.retry_ms, refused ? api->times.retry_max_ms : api->times.away_ms);
	api->counters.failures++;
	/* One line when the server goes away; what it refuses, once for each object. */
	bool told = refused ? job->failures > 1 : api->failing;
	log_line(told ? LOG_DEBUG : LOG_WARN, "not applied to the cluster", "kind", infra_kind_name(job->kind), "namespace",
	         job->namespace, "name", job->name, "error", result->text, NULL);
	api->failing |= !refused;
	if (refused && is_wanted(job)) {
		job->said = true;
		api->events.said(api->events.ctx, job->namespace, job->gateway, result->text);
	}
	job->due_ms = uv_now(api->loop) + (result->retry_after_ms > ms ? result->retry_after_ms : ms);
}

static void on_end(void *ctx, const struct kube_result *result)
{
	struct job *job = ctx;
	struct infra_api *api = job->api;
	bool done = !result->error && result->status >= 200 && result->status < 300;
	/* Gone, or another one of the same name. */
	bool gone = job->verb == INFRA_DELETE && !result->error && (result->status == 404 || result->status == 409);
	job->request = NULL;
	api->under_way--;
	api->counters.results[job->kind][job->verb][gone ? API_WRITTEN : api_result_of(result)]++;
	if (done || gone)
		on_done(job);
	else
		on_failed(job, result);
	if (job->again)
		job->due_ms = uv_now(api->loop);
	job->again = false;
	send_due(api);
	end_if_done(api);
}

static void send_job(struct job *job)
{
	static const struct {
		const char *method, *query, *type;
	} verbs[INFRA_VERB_COUNT] = {
	    [INFRA_APPLY] = {"PATCH", "?fieldManager=hatchway&force=true", "application/apply-patch+yaml"},
	    [INFRA_CLEAR] = {"PATCH", "?fieldManager=hatchway", "application/merge-patch+json"},
	    [INFRA_DELETE] = {"DELETE", "", "application/json"},
	};
	struct infra_api *api = job->api;
	const struct kube_deadlines deadlines = kube_within(api->times.answer_ms);
	const struct kube_request_events events = {NULL, NULL, on_end, job}; /* the watch tells what has become of it */
	struct buf path, only;
	buf_init(&path, 2048);
	buf_init(&only, 1024);
	add_path(&path, job);
	buf_adds(&path, verbs[job->verb].query);
	if (job->uid) /* it comes from the API server itself, and needs no escapes */
		buf_addf(&only, "{\"preconditions\":{\"uid\":\"%s\"}}", job->uid);
	const char *body = job->text ? job->text : only.data;
	job->due_ms = NEVER;
	api->under_way++;
	job->request = kube_send(api->client, verbs[job->verb].method, path.data, verbs[job->verb].type, body, strlen(body),
	                         &deadlines, &events);
	buf_done(&path);
	buf_done(&only);
}

static void on_sending(uv_timer_t *timer)
{
	send_due(timer->data);
}

static void send_due(struct infra_api *api)
{
	uint64_t now = uv_now(api->loop), next = NEVER;
	for (struct job *job = api->jobs; job && api->leader; job = job->hh.next) {
		if (!is_wanted(job) || job->request)
			continue;
		if (job->due_ms <= now && api->under_way < AT_ONCE)
			send_job(job);
		else if (job->due_ms > now && job->due_ms < next)
			next = job->due_ms;
	}
	if (next == NEVER)
		uv_timer_stop(&api->sending);
	else
		uv_timer_start(&api->sending, on_sending, next - now, 0);
}

/* ---- askings ---- */

static char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void on_wanted(void *ctx, const struct infra_change *change)
{
	struct infra_api *api = ctx;
	struct job *job = job_of(api, change);
	bool before = job->asking == api->n_askings - 1;
	uint64_t now = uv_now(api->loop);
	if (job->verb != change->verb || !is_same(job->text, change->text) || !is_same(job->uid, change->uid)) {
		free(job->text);
		free(job->uid);
		free(job->note);
		job->verb = change->verb;
		job->text = copy(change->text);
		job->uid = copy(change->uid);
		job->note = copy(change->note);
		job->failures = job->applied = 0;
		job->due_ms = now;
		job->again = job->request != NULL;
	} else if (!before && !job->request) {
		job->due_ms = now + pause_of(job); /* it was as it should be, and is not any more */
	}
	job->asking = api->n_askings;
}

static void forget_calm(struct infra_api *api)
{
	struct job *job, *next;
	uint64_t now = uv_now(api->loop);
	HASH_ITER(hh, api->jobs, job, next)
	{
		if (is_wanted(job))
			continue;
		unsay(job);
		job->failures = 0;
		if (!job->request && now - job->done_ms >= api->times.calm_ms)
			job_free(job);
	}
}

static void ask(struct infra_api *api)
{
	api->asked_ms = uv_now(api->loop);
	if (!api->leader)
		return;
	api->n_askings++;
	api->events.ask(api->events.ctx, on_wanted, api);
	forget_calm(api);
	send_due(api);
}

static void on_asking(uv_timer_t *timer)
{
	ask(timer->data);
}

void infra_api_wake(struct infra_api *api)
{
	uint64_t now = uv_now(api->loop), next = api->asked_ms + api->times.pause_ms;
	if (!uv_is_active((uv_handle_t *)&api->asking) && !api->closed)
		uv_timer_start(&api->asking, on_asking, next > now ? next - now : 0, 0);
}

/* ---- beginning and end ---- */

static void forget_all(struct infra_api *api)
{
	struct job *job, *next;
	HASH_ITER(hh, api->jobs, job, next)
	{
		job_free(job);
	}
	api->under_way = 0;
}

void infra_api_lead(struct infra_api *api, bool leader)
{
	if (leader == api->leader)
		return;
	api->leader = leader;
	uv_timer_stop(&api->sending);
	if (leader) {
		infra_api_wake(api);
		return;
	}
	for (struct job *job = api->jobs; job; job = job->hh.next)
		unsay(job); /* another one knows now */
	forget_all(api);
}

struct infra_api_counters infra_api_counters(const struct infra_api *api)
{
	return api->counters;
}

struct infra_api *infra_api_open(uv_loop_t *loop, struct kube_client *client, const struct infra_api_times *times,
                                 const struct infra_api_events *events)
{
	struct infra_api *api = xcalloc(1, sizeof(*api));
	api->loop = loop;
	api->client = client;
	api->times = *times;
	api->events = *events;
	api->n_askings = 1; /* a new job has seen none */
	uv_timer_init(loop, &api->asking);
	uv_timer_init(loop, &api->sending);
	api->asking.data = api->sending.data = api;
	return api;
}

static void on_sending_closed(uv_handle_t *handle)
{
	struct infra_api *api = handle->data;
	void (*closed)(void *ctx) = api->closed;
	void *ctx = api->closed_ctx;
	free(api);
	closed(ctx);
}

static void on_asking_closed(uv_handle_t *handle)
{
	struct infra_api *api = handle->data;
	uv_close((uv_handle_t *)&api->sending, on_sending_closed);
}

static void end(struct infra_api *api)
{
	forget_all(api);
	uv_close((uv_handle_t *)&api->asking, on_asking_closed);
}

static void end_if_done(struct infra_api *api)
{
	if (api->closed && !api->under_way && !uv_is_closing((uv_handle_t *)&api->asking))
		end(api);
}

static void on_end_overdue(uv_timer_t *timer)
{
	end(timer->data);
}

void infra_api_close(struct infra_api *api, void (*cb)(void *ctx), void *ctx)
{
	api->closed = cb;
	api->closed_ctx = ctx;
	uv_timer_start(&api->asking, on_end_overdue, api->times.end_ms, 0);
	ask(api);
	end_if_done(api);
}
