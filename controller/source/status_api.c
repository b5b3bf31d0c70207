/* Owns the documents that are not yet as the API server has them, each in an item:
 *
 *   due → (seen without any status: PATCH) or GET, merged → PATCH → gone, a Gateway's: rests
 *
 *   409                    GET again, a few times
 *   no answer, 429, 5xx    the whole pauses, and the item is due again
 *   403                    the kind is left for a while, its documents are asked for again then
 *   404                    the object is gone; tried again while the watch has not said so, for a server that has just started
 *                          does not know its CRDs yet
 *   other 4xx              named in the log; a document that differs is tried again
 *
 * An item that gets a newer document while it is being written is due again. A Gateway rests after a write, longer while
 * a burst of routes goes on, unless more has changed than how many routes it has. */
#include "controller/source/status_api.h"

#include "controller/object/schema.h"
#include "controller/source/back_off.h"
#include "controller/source/json.h"
#include "controller/source/yaml.h"
#include "hatchway/base/log.h"

#include <uthash.h>

/* Requests under way, and documents that wait for that. So few because 10,000 first statuses take an API server minutes
 * anyway, and every one that is written beside a user's change makes that change slower: with 16, changes during those
 * minutes were served at a p99 of 94 ms, with 2 at 15 (make bench-cluster FIGURES=busy), and most of it is the API
 * server's own time for the change. */
#define PARALLEL 2
#define AT_ONCE PARALLEL
#define CONFLICTS_MAX 5
#define ANSWER_CEILING (2u << 20)
#define BODY_CEILING (1u << 20)

enum state { ITEM_DUE, ITEM_READS, ITEM_WRITES, ITEM_RESTS, ITEM_HELD };

/* A condition that turns bad with what is being written. */
struct turn {
	struct turn *next;
	const char *reason, *message;
};

struct item {
	UT_hash_handle hh;
	struct status_api *api;
	enum object_kind kind;
	enum state state;
	bool dirty;              /* text is newer than what was or is being written */
	char *text;              /* the newest document; NULL: nothing of ours */
	uint64_t writing;        /* digest of what is, or of what is there already */
	uint64_t uncounted, text_uncounted; /* of it and of text, see status_digest_uncounted() */
	unsigned conflicts;      /* in a row */
	unsigned pace_ms;        /* of a Gateway's last rest */
	uint64_t rests_until_ms, quiet_at_ms; /* with something to write; with nothing, it is forgotten */
	struct kube_request *request;
	struct buf answer;
	struct arena scratch; /* turns and what they say */
	struct turn *turns;
	const char *namespace, *name;
	char key[]; /* kind, namespace, name */
};

struct status_api {
	uv_loop_t *loop;
	struct status_api_place place;
	struct status_api_times times;
	struct status_api_events events;
	struct item *items;
	unsigned running;
	bool leader;
	bool given, turning; /* a batch was given; the next one waits for the loop's turn */
	unsigned failures;   /* of the server, in a row */
	uint64_t paused_until_ms;
	uint64_t forbidden_until_ms[KIND_COUNT];
	unsigned forbidden_ms[KIND_COUNT]; /* how long it was left last; 0: it may be written */
	uv_timer_t timer, turn;
	struct status_api_counters counters;
	unsigned handles;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static void pump(struct status_api *api);

static uint64_t now_ms(const struct status_api *api)
{
	return uv_now(api->loop);
}

/* ---- items ---- */

static size_t make_key(enum object_kind kind, const char *namespace, const char *name, char *ret, size_t size)
{
	int n = snprintf(ret, size, "%u/%s/%s", (unsigned)kind, namespace, name);
	return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

static struct item *find_item(struct status_api *api, const char *key, size_t n)
{
	struct item *item;
	HASH_FIND(hh, api->items, key, n, item);
	return item;
}

static struct item *new_item(struct status_api *api, enum object_kind kind, const char *namespace, const char *name,
                             const char *key, size_t n)
{
	size_t namespace_n = strlen(namespace) + 1, name_n = strlen(name) + 1;
	struct item *item = xcalloc(1, sizeof(*item) + n + 1 + namespace_n + name_n);
	item->api = api;
	item->kind = kind;
	memcpy(item->key, key, n + 1);
	item->namespace = memcpy(item->key + n + 1, namespace, namespace_n);
	item->name = memcpy(item->key + n + 1 + namespace_n, name, name_n);
	buf_init(&item->answer, ANSWER_CEILING);
	arena_init(&item->scratch);
	HASH_ADD_KEYPTR(hh, api->items, item->key, n, item);
	return item;
}

static void forget_turns(struct item *item)
{
	item->turns = NULL;
	arena_done(&item->scratch);
}

static void stop_request(struct item *item)
{
	if (!item->request)
		return;
	kube_cancel(item->request);
	item->request = NULL;
	item->api->running--;
}

static void free_item(struct item *item)
{
	stop_request(item);
	HASH_DEL(item->api->items, item);
	forget_turns(item);
	buf_done(&item->answer);
	free(item->text);
	free(item);
}

/* Somebody will have to say it again. */
static void give_back(struct item *item)
{
	struct status_api *api = item->api;
	bool wanted = item->state != ITEM_RESTS || item->dirty;
	enum object_kind kind = item->kind;
	char *namespace = xstrdup(item->namespace), *name = xstrdup(item->name);
	free_item(item);
	if (wanted)
		api->events.again(api->events.ctx, kind, namespace, name);
	free(namespace);
	free(name);
}

static void log_item(enum log_level level, const char *text, const struct item *item, const char *error)
{
	log_line(level, text, "kind", object_kind_name(item->kind), "namespace", item->namespace, "name", item->name,
	         error ? "error" : NULL, error, NULL);
}

/* ---- documents ---- */

/* The status of a document of ours; NULL: it cannot be read. */
static struct node *read_document(const char *text, struct arena *scratch)
{
	struct err err = {""};
	struct node *root = NULL;
	unsigned line;
	struct yaml *yaml = yaml_open_bytes(text, strlen(text));
	int ret = yaml_next(yaml, scratch, &root, &line, &err);
	yaml_close(yaml);
	if (ret < 1)
		log_line(LOG_ERROR, "status document not understood", "error", err.text, NULL);
	return ret < 1 ? NULL : (struct node *)(uintptr_t)node_get(root, "status");
}

static uint64_t digest_of(const struct status_api *api, enum object_kind kind, const char *text, uint64_t *ret_uncounted)
{
	struct arena scratch;
	uint64_t digest = 0, uncounted = 0;
	arena_init(&scratch);
	const struct node *status = text ? read_document(text, &scratch) : NULL;
	if (status)
		digest = status_see(kind, status, api->place.controller).digest;
	if (status && status_has_listeners(kind))
		uncounted = status_digest_uncounted(kind, status);
	arena_done(&scratch);
	*ret_uncounted = uncounted;
	return digest;
}

/* ---- the ends of requests ---- */

/* Longer with every failure. One line when it begins. */
static void pause_all(struct status_api *api, const struct kube_result *result)
{
	if (now_ms(api) < api->paused_until_ms)
		return; /* it was under way when another failed */
	log_line(api->failures ? LOG_DEBUG : LOG_WARN, "status not written, tried again", "error", result->text, NULL);
	uint64_t ms = back_off_jitter(back_off(++api->failures, api->times.retry_ms, api->times.retry_max_ms));
	api->paused_until_ms = now_ms(api) + (result->retry_after_ms > ms ? result->retry_after_ms : ms);
}

static void note_success(struct item *item)
{
	struct status_api *api = item->api;
	if (api->failures || api->forbidden_ms[item->kind])
		log_line(LOG_INFO, "status is written again", "kind", object_kind_name(item->kind), NULL);
	api->failures = 0;
	api->forbidden_ms[item->kind] = 0;
}

/* Of this kind nothing can be written, of others it may. A server that has just started does not know its roles yet: at
 * first it is left for a short time only. */
static void hold_kind(struct item *item, const char *why)
{
	struct status_api *api = item->api;
	unsigned *ms = &api->forbidden_ms[item->kind];
	if (!*ms)
		log_line(LOG_WARN, "status may not be written", "kind", object_kind_name(item->kind), "error", why, NULL);
	/* Only once for all that were under way. */
	if (!api->forbidden_until_ms[item->kind])
		*ms = *ms ? 2 * *ms : api->times.missing_ms;
	if (*ms > api->times.forbidden_max_ms)
		*ms = api->times.forbidden_max_ms;
	api->forbidden_until_ms[item->kind] = now_ms(api) + *ms;
	item->state = ITEM_HELD;
	item->dirty = true;
	free(item->text);
	item->text = NULL;
}

static void on_refused(struct item *item, const struct kube_result *result)
{
	struct status_api *api = item->api;
	bool server = result->error || result->status == 401 || result->status == 429 || result->status >= 500;
	api->counters.failures++;
	item->state = ITEM_DUE;
	item->dirty = true;
	forget_turns(item);
	if (server) {
		pause_all(api, result);
	} else if (result->status == 409 && ++item->conflicts <= CONFLICTS_MAX) {
		api->counters.conflicts++;
	} else if (result->status == 409) {
		item->conflicts = 0;
		pause_all(api, result);
	} else if (result->status == 403) {
		hold_kind(item, result->text);
	} else if (result->status == 404) {
		item->state = ITEM_RESTS;
		item->rests_until_ms = now_ms(api) + api->times.missing_ms;
	} else {
		log_item(LOG_WARN, "status refused", item, result->text);
		free_item(item);
	}
}

static void tell_turns(struct item *item)
{
	const struct status_api *api = item->api;
	struct watch_seen seen;
	if (!item->turns || !api->place.seen(api->place.ctx, item->kind, item->namespace, item->name, &seen))
		return;
	for (const struct turn *turn = item->turns; turn; turn = turn->next)
		api->events.turned(api->events.ctx, item->kind, item->namespace, item->name, seen.uid, turn->reason, turn->message);
}

static void rest(struct item *item)
{
	const struct status_api_times *times = &item->api->times;
	uint64_t now = now_ms(item->api);
	item->pace_ms = item->pace_ms ? 2 * item->pace_ms : times->pace_ms;
	if (item->pace_ms > times->pace_max_ms)
		item->pace_ms = times->pace_max_ms;
	item->rests_until_ms = now + item->pace_ms;
	item->quiet_at_ms = now + 2 * item->pace_ms;
	item->state = ITEM_RESTS;
	item->conflicts = 0;
}

/* It is as the document said that was written; a newer one may have come. */
static void settle_item(struct item *item)
{
	forget_turns(item);
	bool counts = status_has_listeners(item->kind);
	if (counts)
		rest(item);
	if (item->dirty && (!counts || item->text_uncounted != item->uncounted))
		item->state = ITEM_DUE;
	else if (!counts)
		free_item(item);
}

static void on_written(void *ctx, const struct kube_result *result)
{
	struct item *item = ctx;
	struct status_api *api = item->api;
	api->counters.results[item->kind][api_result_of(result)]++;
	item->request = NULL;
	api->running--;
	if (result->error || result->status >= 300) {
		on_refused(item, result);
	} else {
		note_success(item);
		api->place.wrote(api->place.ctx, item->kind, item->namespace, item->name, item->writing);
		tell_turns(item);
		settle_item(item);
	}
	pump(api);
	api->events.done(api->events.ctx);
}

/* ---- writing ---- */

static void add_turn(void *ctx, const char *type, const char *reason, const char *message)
{
	struct item *item = ctx;
	struct turn *turn = arena_alloc(&item->scratch, sizeof(*turn));
	*turn = (struct turn){item->turns, arena_strdup(&item->scratch, reason),
	                      arena_printf(&item->scratch, "%s: %s", type, message)};
	item->turns = turn;
}

static bool add_path(const struct item *item, const char *tail, struct buf *out)
{
	const struct status_api_place *place = &item->api->place;
	if (!place->path(place->ctx, item->kind, item->namespace, item->name, out))
		return false;
	buf_adds(out, tail);
	return !buf_failed(out);
}

static void send_patch(struct item *item, const char *path, const struct buf *body)
{
	struct status_api *api = item->api;
	const struct kube_deadlines deadlines = kube_within(api->times.answer_ms);
	const struct kube_request_events events = {NULL, NULL, on_written, item};
	item->state = ITEM_WRITES;
	item->dirty = false;
	api->counters.writes++;
	api->running++;
	item->request = kube_send(api->place.client, "PATCH", path, "application/merge-patch+json", body->data, body->len,
	                          &deadlines, &events);
}

/* object: as it was read, NULL: it has no status. False: it is so already, or can never be. */
static bool write_item(struct item *item, const struct node *object, const char *version, struct arena *scratch)
{
	const struct node *old = node_get(object, "status");
	const struct status_api *api = item->api;
	struct node *wanted = item->text ? read_document(item->text, scratch) : NULL;
	struct buf path, body;
	item->writing = status_see_object(item->kind, object, api->place.controller).digest;
	if (item->text && !wanted)
		return false;
	const uint64_t digest = status_see(item->kind, wanted, api->place.controller).digest;
	item->uncounted = item->text_uncounted;
	if (digest == item->writing)
		return false;
	buf_init(&path, 2048);
	buf_init(&body, BODY_CEILING);
	status_merge(item->kind, wanted, old, api->place.controller, version, scratch, &body);
	bool good = add_path(item, "/status?fieldManager=" STATUS_MANAGER, &path) && !buf_failed(&body);
	if (good) {
		if (wanted)
			status_turned(wanted, old, add_turn, item);
		item->writing = digest;
		send_patch(item, path.data, &body);
	} else if (buf_failed(&body)) {
		log_item(LOG_WARN, "status refused", item, "larger than 1 MiB");
	}
	buf_done(&path);
	buf_done(&body);
	return good;
}

static bool on_bytes(void *ctx, const char *bytes, size_t n)
{
	struct item *item = ctx;
	buf_add(&item->answer, bytes, n);
	return !buf_failed(&item->answer);
}

static void on_answer(struct item *item)
{
	struct status_api *api = item->api;
	struct arena scratch;
	struct node *root;
	struct err err;
	arena_init(&scratch);
	if (json_node(item->answer.data, item->answer.len, &scratch, &root, &err)) {
		log_item(LOG_WARN, "object not understood, its status stays", item, err.text);
		free_item(item);
	} else {
		const char *version = node_text(node_get(root, "metadata"), "resourceVersion");
		buf_done(&item->answer);
		if (!write_item(item, root, version ? version : "", &scratch)) {
			api->place.wrote(api->place.ctx, item->kind, item->namespace, item->name, item->writing);
			item->dirty = false;
			settle_item(item);
		}
	}
	arena_done(&scratch);
}

static void on_read(void *ctx, const struct kube_result *result)
{
	struct item *item = ctx;
	struct status_api *api = item->api;
	item->request = NULL;
	api->running--;
	if (result->error || result->status != 200)
		on_refused(item, result);
	else
		on_answer(item);
	pump(api);
	api->events.done(api->events.ctx);
}

static void read_item(struct item *item)
{
	struct status_api *api = item->api;
	const struct kube_deadlines deadlines = kube_within(api->times.answer_ms);
	const struct kube_request_events events = {NULL, on_bytes, on_read, item};
	struct buf path;
	buf_init(&path, 2048);
	if (!add_path(item, "/status", &path)) {
		free_item(item);
	} else {
		item->state = ITEM_READS;
		api->counters.reads++;
		api->running++;
		buf_clear(&item->answer);
		item->request = kube_get(api->place.client, path.data, &deadlines, &events);
	}
	buf_done(&path);
}

static void start_item(struct item *item)
{
	const struct status_api *api = item->api;
	struct arena scratch;
	struct watch_seen seen;
	char version[32];
	if (!api->place.seen(api->place.ctx, item->kind, item->namespace, item->name, &seen)) {
		free_item(item);
		return;
	}
	if (seen.status.digest || seen.status.others || !seen.version || item->conflicts) {
		read_item(item);
		return;
	}
	arena_init(&scratch);
	snprintf(version, sizeof(version), "%llu", (unsigned long long)seen.version);
	if (!write_item(item, NULL, version, &scratch))
		free_item(item);
	arena_done(&scratch);
}

/* ---- what is to be done now, and when to look again ---- */

static void on_timer(uv_timer_t *timer)
{
	struct status_api *api = timer->data;
	pump(api);
	api->events.done(api->events.ctx);
}

static void sooner(uint64_t *at, uint64_t candidate)
{
	if (!*at || candidate < *at)
		*at = candidate;
}

/* When the item is to be looked at again; 0: it needs no clock. It may be started, or be gone. */
static uint64_t pump_item(struct item *item, bool paused)
{
	struct status_api *api = item->api;
	if (item->state == ITEM_RESTS) {
		uint64_t until = item->dirty ? item->rests_until_ms : item->quiet_at_ms;
		if (now_ms(api) < until)
			return until;
		if (!item->dirty) {
			free_item(item);
			return 0;
		}
		item->state = ITEM_DUE;
	}
	if (item->state == ITEM_DUE && !paused && api->running < PARALLEL)
		start_item(item);
	return 0;
}

static void end_hold(struct status_api *api, enum object_kind kind)
{
	struct item *item, *next;
	api->forbidden_until_ms[kind] = 0;
	HASH_ITER(hh, api->items, item, next)
	{
		if (item->state == ITEM_HELD && item->kind == kind)
			give_back(item);
	}
}

static void pump(struct status_api *api)
{
	uint64_t now = now_ms(api), at = 0;
	bool paused = now < api->paused_until_ms;
	struct item *item, *next;
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++) {
		if (!api->forbidden_until_ms[kind])
			continue;
		if (now >= api->forbidden_until_ms[kind])
			end_hold(api, kind);
		else
			sooner(&at, api->forbidden_until_ms[kind]);
	}
	HASH_ITER(hh, api->items, item, next)
	{
		uint64_t again_at = pump_item(item, paused);
		if (again_at)
			sooner(&at, again_at);
	}
	if (paused)
		sooner(&at, api->paused_until_ms);
	if (at)
		uv_timer_start(&api->timer, on_timer, at > now ? at - now : 0, 0);
	else
		uv_timer_stop(&api->timer);
}

/* ---- the sink ---- */

static bool api_busy(void *ctx)
{
	const struct status_api *api = ctx;
	const struct item *item;
	unsigned waiting = 0;
	if (!api->leader || api->turning || now_ms(api) < api->paused_until_ms)
		return true;
	for (item = api->items; item; item = item->hh.next)
		waiting += item->state != ITEM_RESTS && item->state != ITEM_HELD;
	return waiting >= PARALLEL;
}

/* A class of ours that is gone: one of its name is another. What is under way cannot be undone. */
static void drop_item(struct item *item)
{
	if (item && item->request)
		item->dirty = false;
	else if (item)
		free_item(item);
}

/* Whether the object is there and has something else. */
static bool is_needed(const struct status_api *api, enum object_kind kind, const char *namespace, const char *name,
                      uint64_t digest)
{
	struct watch_seen seen;
	if (!api->place.seen(api->place.ctx, kind, namespace, name, &seen))
		return false;
	return digest != seen.status.digest;
}

static void set_text(struct item *item, const char *text, uint64_t uncounted)
{
	free(item->text);
	item->text = text ? xstrdup(text) : NULL;
	item->text_uncounted = uncounted;
	item->dirty = true;
	/* More than how many routes there are: that does not wait. */
	if (item->state == ITEM_RESTS && uncounted != item->uncounted)
		item->state = ITEM_DUE;
}

static void api_add(void *ctx, enum object_kind kind, const char *namespace, const char *name, const char *text)
{
	struct status_api *api = ctx;
	char key[640];
	size_t n = make_key(kind, namespace, name, key, sizeof(key));
	uint64_t uncounted, digest = digest_of(api, kind, text, &uncounted);
	api->given = true;
	if (!n)
		return;
	struct item *item = find_item(api, key, n);
	bool held = api->forbidden_until_ms[kind] != 0;
	if (!text && kind == KIND_GATEWAYCLASS) {
		drop_item(item);
		return;
	}
	if (!item && !is_needed(api, kind, namespace, name, digest))
		return;
	if (!item)
		item = new_item(api, kind, namespace, name, key, n);
	if (held && !item->request)
		item->state = ITEM_HELD;
	if (item->state != ITEM_HELD)
		set_text(item, text, uncounted);
}

static void on_turn(uv_timer_t *timer)
{
	struct status_api *api = timer->data;
	api->turning = false;
	api->events.done(api->events.ctx);
}

static void api_start(void *ctx, bool last)
{
	struct status_api *api = ctx;
	if (!api->given)
		return;
	api->given = false;
	api->turning = true;
	uv_timer_start(&api->turn, on_turn, 0, 0);
	pump(api);
}

static void api_close(void *ctx, void (*cb)(void *ctx), void *cb_ctx)
{
	status_api_close(ctx, cb, cb_ctx);
}

struct status_sink status_api_sink(struct status_api *api)
{
	static const struct status_sink_ops ops = {AT_ONCE, api_busy, api_add, api_start, api_close};
	return (struct status_sink){&ops, api};
}

/* ---- beginning and end ---- */

struct status_api_times status_api_defaults(void)
{
	return (struct status_api_times){.answer_ms = 10000,
	                                 .retry_ms = 100,
	                                 .retry_max_ms = 20000,
	                                 .forbidden_max_ms = 30000,
	                                 .missing_ms = 1000,
	                                 .pace_ms = 100,
	                                 .pace_max_ms = 2000};
}

struct status_api *status_api_open(uv_loop_t *loop, const struct status_api_place *place,
                                   const struct status_api_times *times, const struct status_api_events *events)
{
	struct status_api *api = xcalloc(1, sizeof(*api));
	api->loop = loop;
	api->place = *place;
	api->times = *times;
	api->events = *events;
	uv_timer_init(loop, &api->timer);
	uv_timer_init(loop, &api->turn);
	api->timer.data = api->turn.data = api;
	api->handles = 2;
	return api;
}

void status_api_lead(struct status_api *api, bool leader)
{
	if (leader == api->leader)
		return;
	api->leader = leader;
	while (api->items)
		give_back(api->items);
	if (leader)
		api->events.done(api->events.ctx);
}

struct status_api_counters status_api_counters(const struct status_api *api)
{
	return api->counters;
}

static void on_closed(uv_handle_t *handle)
{
	struct status_api *api = handle->data;
	void (*closed)(void *ctx) = api->closed;
	void *ctx = api->closed_ctx;
	if (--api->handles)
		return;
	free(api);
	closed(ctx);
}

void status_api_close(struct status_api *api, void (*cb)(void *ctx), void *ctx)
{
	api->closed = cb;
	api->closed_ctx = ctx;
	while (api->items)
		free_item(api->items);
	uv_close((uv_handle_t *)&api->timer, on_closed);
	uv_close((uv_handle_t *)&api->turn, on_closed);
}
