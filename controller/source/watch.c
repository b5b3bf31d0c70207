/* Owns one kind's cycle
 *
 *   idle → LIST page … page → WATCH → (ended: WATCH from the last version; 410: LIST; error: wait, the same)
 *
 * and the table of what was delivered, by which a list's differences are found. Objects are decoded one by one as their
 * bytes come in; nothing of a list is kept but the table. Never deletes an object because a request failed. */
#include "controller/source/watch.h"

#include "controller/object/schema.h"
#include "controller/source/back_off.h"
#include "controller/source/json.h"
#include "controller/source/known.h"
#include "hatchway/base/log.h"

#include <uthash.h>

#define TOKEN_CEILING 8192     /* of a continue token */
#define VERSION_CEILING 64     /* of a resourceVersion */
#define FAILURES_BEFORE_LIST 5 /* watches that failed in a row without one event: the version may be the reason */
#define SHORT_WATCH_MS 1000    /* one that ends sooner, and without an event, counts as failed */
#define EXPIRATIONS_AT_ONCE 2  /* answered with a list at once; more in a row are waited for */
#define EXPIRED_PAGES 2        /* lists that expired between pages: the next one is asked for whole */

enum state { WATCH_IDLE, WATCH_LIST, WATCH_WATCH, WATCH_WAIT };

/* An object of the cluster that could not be decoded, or was too big. */
struct refused {
	UT_hash_handle hh;
	bool seen; /* in the list that is being read */
	char path[];
};

struct watch {
	uv_loop_t *loop;
	struct kube_client *client;
	enum object_kind kind;
	const char *controller;
	struct watch_times times;
	struct watch_events events;
	char version[16], plural[64]; /* version "": not served */
	char *namespace, *name;       /* only this one; NULL: all */
	enum state state;
	struct kube_request *request;
	uv_timer_t timer;
	struct json_split split;
	bool splitting;
	struct known known;
	struct refused *refused;
	char at[VERSION_CEILING]; /* resourceVersion to go on from; "": list */
	char *page, *next_page; /* continue tokens: of the page asked for (NULL: the first), and what it says itself */
	char list_at[VERSION_CEILING];
	bool got_metadata, skipped, synced, forbidden, expired, got_event, failing;
	unsigned list_failures, watch_failures; /* in a row; a watch's end with an event, or when it has lasted */
	unsigned suspicions;                    /* watches in a row that failed perhaps for their version */
	unsigned expirations, expired_pages;
	uint64_t began_ms, retry_after_ms, forbidden_since_ms;
	struct err err; /* why the last request was no good */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static void go_on(struct watch *watch);

/* ---- what is told ---- */

static void set_synced(struct watch *watch)
{
	if (watch->synced)
		return;
	watch->synced = true;
	watch->events.synced(watch->events.ctx);
}

static void object_path(const struct watch *watch, const char *namespace, const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "%s %s%s%s", object_kind_name(watch->kind), namespace, *namespace ? "/" : "", name);
}

static void refuse(struct watch *watch, const char *namespace, const char *name, const char *text)
{
	char path[640];
	struct refused *refused;
	object_path(watch, namespace, name, path, sizeof(path));
	HASH_FIND_STR(watch->refused, path, refused);
	if (!refused) {
		size_t n = strlen(path);
		refused = xcalloc(1, sizeof(*refused) + n + 1);
		memcpy(refused->path, path, n + 1);
		HASH_ADD_KEYPTR(hh, watch->refused, refused->path, n, refused);
	}
	refused->seen = true;
	watch->events.source.problem(watch->events.source.ctx, path, 0, text);
}

static void drop_refused(struct watch *watch, struct refused *refused)
{
	HASH_DEL(watch->refused, refused);
	watch->events.source.problem(watch->events.source.ctx, refused->path, 0, NULL);
	free(refused);
}

static void accept_again(struct watch *watch, const char *namespace, const char *name)
{
	char path[640];
	struct refused *refused;
	if (!watch->refused)
		return;
	object_path(watch, namespace, name, path, sizeof(path));
	HASH_FIND_STR(watch->refused, path, refused);
	if (refused)
		drop_refused(watch, refused);
}

static bool is_same(const struct object *a, const struct object *b)
{
	return a->spec_hash == b->spec_hash && a->generation == b->generation && a->created == b->created &&
	       !strcmp(a->uid, b->uid) && a->version == b->version;
}

/* Takes the reference over. */
static void deliver(struct watch *watch, struct object *object, uint64_t version, struct status_seen status)
{
	struct known_entry *entry = known_find(&watch->known, object->namespace, object->name);
	if (entry && is_same(entry->object, object)) {
		object_unref(object);
	} else {
		entry = known_put(&watch->known, object);
		watch->events.source.put(watch->events.source.ctx, object_ref(object));
	}
	bool turned = entry->status != status.digest;
	entry->version = version;
	entry->seen = 1;
	entry->status = status.digest;
	entry->status_others = status.others;
	accept_again(watch, entry->object->namespace, entry->object->name);
	if (turned)
		watch->events.status(watch->events.ctx, watch->kind, entry->object->namespace, entry->object->name);
}

static void forget(struct watch *watch, const char *namespace, const char *name)
{
	struct known_entry *entry = known_find(&watch->known, namespace, name);
	accept_again(watch, namespace, name);
	if (!entry)
		return;
	struct object *object = object_ref(entry->object);
	known_remove(&watch->known, entry);
	watch->events.source.delete(watch->events.source.ctx, watch->kind, object->namespace, object->name);
	object_unref(object);
}

/* All objects, or those that the list just read does not have. */
static void forget_unseen(struct watch *watch, bool all)
{
	size_t n = 0;
	struct object **gone = xcalloc(watch->known.n, sizeof(*gone));
	for (size_t i = 0; i < watch->known.cap; i++) {
		const struct known_entry *entry = &watch->known.entries[i];
		if (entry->object && (all || !entry->seen))
			gone[n++] = object_ref(entry->object);
	}
	for (size_t i = 0; i < n; i++) {
		forget(watch, gone[i]->namespace, gone[i]->name);
		object_unref(gone[i]);
	}
	free(gone);
	struct refused *refused, *next;
	HASH_ITER(hh, watch->refused, refused, next)
	{
		if (all || !refused->seen)
			drop_refused(watch, refused);
	}
}

/* ---- one object's bytes ---- */

static uint64_t version_number(const char *text)
{
	char *end;
	if (!text || *text < '1' || *text > '9')
		return 0;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	return errno || *end || number >> 63 ? 0 : number;
}

/* Items of built-in kinds' lists do not say what they are: what was asked for is written into them. */
static const struct node *with_head(const struct watch *watch, const struct node *item, struct arena *scratch)
{
	struct node *out = arena_alloc(scratch, sizeof(*out)), *head[2];
	const char *group = object_kind_group(watch->kind);
	if (item->type != NODE_MAP)
		return item;
	for (size_t i = 0; i < ARRAY_LEN(head); i++) {
		head[i] = arena_alloc(scratch, sizeof(*head[i]));
		head[i]->type = NODE_STRING;
	}
	head[0]->text = arena_printf(scratch, "%s%s%s", group, *group ? "/" : "", watch->version);
	head[1]->text = object_kind_name(watch->kind);
	*out = (struct node){.type = NODE_MAP, .n = 2};
	out->keys = arena_array(scratch, item->n + 2, sizeof(*out->keys));
	out->items = arena_array(scratch, item->n + 2, sizeof(*out->items));
	for (size_t i = 0; i < ARRAY_LEN(head); i++) {
		static const char *const keys[] = {"apiVersion", "kind"};
		out->keys[i] = keys[i];
		out->items[i] = head[i];
	}
	for (size_t i = 0; i < item->n; i++) {
		if (!strcmp(item->keys[i], "apiVersion") || !strcmp(item->keys[i], "kind"))
			continue;
		out->keys[out->n] = item->keys[i];
		out->items[out->n++] = item->items[i];
	}
	return out;
}

static const char *text_or_empty(const struct node *map, const char *key)
{
	const char *text = node_text(map, key);
	return text ? text : "";
}

static void take_object(struct watch *watch, const struct node *item, struct arena *scratch)
{
	const struct node *metadata = node_get(item, "metadata");
	const char *namespace = text_or_empty(metadata, "namespace"), *name = text_or_empty(metadata, "name");
	struct object *object;
	struct err err = {""};
	unsigned line = 0;
	if (object_decode(with_head(watch, item, scratch), &object, &line, &err) > 0) {
		deliver(watch, object, version_number(node_text(metadata, "resourceVersion")),
		        status_see_object(watch->kind, item, watch->controller));
		return;
	}
	/* What was known of it stays, and is not gone. */
	struct known_entry *entry = known_find(&watch->known, namespace, name);
	if (entry)
		entry->seen = 1;
	refuse(watch, namespace, name, *err.text ? err.text : "no object of this kind");
}

/* The name in the beginning of an object that is too big to be read: for people, it may be a label's. */
static void take_too_big(struct watch *watch, const char *bytes, size_t n)
{
	static const char *const fields[] = {"\"name\":\"", "\"namespace\":\""};
	char texts[2][254] = {"?", ""};
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const char *at = memmem(bytes, n, fields[i], strlen(fields[i]));
		if (!at)
			continue;
		at += strlen(fields[i]);
		size_t room = (size_t)(bytes + n - at), length = 0;
		while (length < room && length < sizeof(texts[i]) - 1 && at[length] != '"')
			length++;
		memcpy(texts[i], at, length);
		texts[i][length] = 0;
	}
	refuse(watch, texts[1], texts[0], "larger than 2 MiB: not read, its last state stays");
}

/* ---- a list ---- */

static void keep_version(char *at, const struct node *metadata)
{
	const char *version = node_text(metadata, "resourceVersion");
	if (version && *version && strlen(version) < VERSION_CEILING && !version[strspn(version, "0123456789")])
		strcpy(at, version);
}

static bool take_list_metadata(struct watch *watch, const struct node *metadata)
{
	const char *next = node_text(metadata, "continue");
	keep_version(watch->list_at, metadata);
	free(watch->next_page);
	watch->next_page = NULL;
	watch->got_metadata = true;
	if (!next || !*next)
		return true;
	if (strlen(next) > TOKEN_CEILING)
		return err_set(&watch->err, 0, "the continue token is too long"), false;
	watch->next_page = xstrdup(next);
	return true;
}

static int read_piece(struct watch *watch, const char *bytes, size_t n, struct arena *scratch, struct node **ret)
{
	int (*const read)(const char *, size_t, struct arena *, struct node **, struct err *) =
	    status_has_listeners(watch->kind) ? json_node : json_node_unmanaged;
	return read(bytes, n, scratch, ret, &watch->err);
}

static bool on_list_piece(void *ctx, enum json_piece piece, const char *bytes, size_t n, bool whole)
{
	struct watch *watch = ctx;
	struct arena scratch;
	struct node *node;
	bool good = true;
	if (!whole && piece == JSON_ITEM) {
		watch->skipped = true;
		take_too_big(watch, bytes, n);
		return true;
	}
	arena_init(&scratch);
	if (read_piece(watch, bytes, n, &scratch, &node))
		good = false;
	else if (piece == JSON_METADATA)
		good = take_list_metadata(watch, node);
	else
		take_object(watch, node, &scratch);
	arena_done(&scratch);
	return good;
}

static void set_page(struct watch *watch, char *token)
{
	free(watch->page);
	watch->page = token;
}

static void end_page(struct watch *watch)
{
	watch->list_failures = 0;
	if (watch->next_page) {
		/* Only now: of a page that was cut in its middle the rest must still come. */
		set_page(watch, watch->next_page);
		watch->next_page = NULL;
		go_on(watch);
		return;
	}
	set_page(watch, NULL);
	/* Whose names could not be read may be any of those that were not seen. */
	if (!watch->skipped)
		forget_unseen(watch, false);
	snprintf(watch->at, sizeof(watch->at), "%s", watch->list_at);
	watch->expired_pages = 0;
	log_line(LOG_DEBUG, "listed", "kind", object_kind_name(watch->kind), "at", watch->at, NULL);
	set_synced(watch);
	go_on(watch);
}

/* ---- a watch ---- */

/* The ERROR event's object is a Status. */
static bool take_error(struct watch *watch, const struct node *status)
{
	const struct node *details = node_get(status, "details");
	int64_t code = node_integer(status, "code", 0), seconds = node_integer(details, "retryAfterSeconds", 0);
	const char *message = text_or_empty(status, "message");
	watch->expired = code == 410;
	watch->retry_after_ms = seconds > 0 && seconds <= 300 ? (uint64_t)seconds * 1000 : 0;
	err_set(&watch->err, 0, "%s", *message ? message : "the watch ended with an error");
	return false;
}

static bool take_event(struct watch *watch, const struct node *event, struct arena *scratch)
{
	const struct node *object = node_get(event, "object"), *metadata = node_get(object, "metadata");
	const char *type = text_or_empty(event, "type");
	if (!strcmp(type, "ERROR"))
		return take_error(watch, object);
	if (!strcmp(type, "ADDED") || !strcmp(type, "MODIFIED"))
		take_object(watch, object, scratch);
	else if (!strcmp(type, "DELETED"))
		forget(watch, text_or_empty(metadata, "namespace"), text_or_empty(metadata, "name"));
	else if (strcmp(type, "BOOKMARK"))
		return err_set(&watch->err, 0, "an event of an unknown type"), false;
	keep_version(watch->at, metadata);
	watch->got_event = true;
	watch->watch_failures = watch->suspicions = watch->expirations = 0;
	return true;
}

static void relist(struct watch *watch)
{
	watch->at[0] = 0;
	watch->suspicions = 0;
	set_page(watch, NULL);
}

static bool on_watch_piece(void *ctx, enum json_piece piece, const char *bytes, size_t n, bool whole)
{
	struct watch *watch = ctx;
	struct arena scratch;
	struct node *node;
	bool good = false;
	if (!whole) {
		bool deleted = n >= 64 && memmem(bytes, 64, "\"DELETED\"", 9);
		take_too_big(watch, bytes, n);
		if (deleted)
			relist(watch); /* which one, a list knows for certain */
		return !deleted;
	}
	arena_init(&scratch);
	if (!read_piece(watch, bytes, n, &scratch, &node))
		good = node->type == NODE_MAP && node_get(node, "object")
		           ? take_event(watch, node, &scratch)
		           : (err_set(&watch->err, 0, "no event"), false);
	arena_done(&scratch);
	return good;
}

/* ---- how requests end ---- */

static void on_timer(uv_timer_t *timer)
{
	go_on(timer->data);
}

static void wait(struct watch *watch, uint64_t ms)
{
	watch->state = WATCH_WAIT;
	BUG_ON(watch->request);
	uv_timer_start(&watch->timer, on_timer, ms, 0);
}

static uint64_t pause_after(const struct watch *watch, unsigned failures)
{
	return back_off_jitter(back_off(failures, watch->times.retry_ms, watch->times.retry_max_ms));
}

static void note_failure(struct watch *watch, const char *text)
{
	/* One line when it begins; while it lasts, only for those who want to know all. */
	log_line(watch->failing ? LOG_DEBUG : LOG_WARN, "kind not watched, its last state stays", "kind",
	         object_kind_name(watch->kind), "error", text, NULL);
	watch->failing = true;
	if (text != watch->err.text)
		err_set(&watch->err, 0, "%s", text);
}

/* Who has never read one of these must not begin: it would serve nothing, and say so in everybody's status. */
static bool is_needed(enum object_kind kind)
{
	return kind == KIND_GATEWAYCLASS || kind == KIND_GATEWAY || object_kind_is_route(kind) || kind == KIND_SERVICE ||
	       kind == KIND_ENDPOINTSLICE;
}

static void note_forbidden(struct watch *watch)
{
	uint64_t now = uv_now(watch->loop);
	if (!watch->forbidden)
		watch->forbidden_since_ms = now;
	watch->forbidden = true;
	/* An API server that has just started forbids everything for a moment: it does not know its roles yet. */
	if (!is_needed(watch->kind) && now - watch->forbidden_since_ms >= watch->times.forbidden_ms)
		set_synced(watch);
}

/* 410: listed from the beginning. Between pages, and again: as one answer. The first times at once. */
static void on_expired(struct watch *watch)
{
	log_line(LOG_INFO, "too old to go on, listed again", "kind", object_kind_name(watch->kind), NULL);
	watch->expirations++;
	watch->expired_pages += watch->state == WATCH_LIST;
	relist(watch);
	if (watch->expirations > EXPIRATIONS_AT_ONCE)
		wait(watch, pause_after(watch, watch->expirations - EXPIRATIONS_AT_ONCE));
	else
		go_on(watch);
}

/* A server that is away, starting, busy or does not know us has not looked at the version. */
static bool version_may_be_bad(const struct kube_result *result)
{
	static const long others[] = {401, 403, 404, 429, 502, 503};
	if (!result->status)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (result->status == others[i])
			return false;
	return true;
}

static void on_failed(struct watch *watch, const struct kube_result *result)
{
	const char *text = *watch->err.text ? watch->err.text : result->text;
	uint64_t after = result->retry_after_ms ? result->retry_after_ms : watch->retry_after_ms;
	unsigned failures = watch->state == WATCH_LIST ? ++watch->list_failures : ++watch->watch_failures;
	note_failure(watch, *text ? text : "the answer was cut");
	if (result->status == 403)
		note_forbidden(watch);
	if (result->status == 404)
		watch->events.missing(watch->events.ctx);
	if (watch->state == WATCH_WATCH && version_may_be_bad(result) && ++watch->suspicions >= FAILURES_BEFORE_LIST)
		relist(watch);
	uint64_t ms = pause_after(watch, failures);
	wait(watch, after > ms ? after : ms);
}

static void note_success(struct watch *watch)
{
	if (watch->failing)
		log_line(LOG_INFO, "kind watched again", "kind", object_kind_name(watch->kind), NULL);
	watch->failing = watch->forbidden = false;
	watch->err.text[0] = 0;
}

static bool on_bytes(void *ctx, const char *bytes, size_t n)
{
	struct watch *watch = ctx;
	int ret = json_split_feed(&watch->split, bytes, n);
	if (ret == -EINVAL)
		err_set(&watch->err, 0, "the answer is no stream of JSON objects");
	return !ret;
}

/* The answer is 200: for a watch, it stands. */
static void on_began(void *ctx)
{
	struct watch *watch = ctx;
	if (watch->state == WATCH_WATCH)
		note_success(watch);
}

static void stop_splitting(struct watch *watch)
{
	if (watch->splitting)
		json_split_done(&watch->split);
	watch->splitting = false;
}

static void on_list_end(struct watch *watch, const struct kube_result *result, bool whole)
{
	if (result->status == 410) {
		on_expired(watch);
	} else if (!result->error && result->status == 200 && whole && watch->got_metadata) {
		end_page(watch);
	} else {
		on_failed(watch, result);
	}
}

static void on_watch_end(struct watch *watch, const struct kube_result *result, bool whole)
{
	bool lasted = watch->got_event || uv_now(watch->loop) - watch->began_ms >= SHORT_WATCH_MS;
	if (watch->expired || result->status == 410) {
		on_expired(watch);
	} else if (!result->error && result->status == 200 && whole && lasted) {
		watch->watch_failures = watch->suspicions = watch->expirations = 0;
		go_on(watch); /* the server's own time-out */
	} else {
		on_failed(watch, result);
	}
}

static void on_end(void *ctx, const struct kube_result *result)
{
	struct watch *watch = ctx;
	bool whole = json_split_whole(&watch->split);
	watch->request = NULL;
	stop_splitting(watch);
	if (watch->state == WATCH_LIST)
		on_list_end(watch, result, whole);
	else
		on_watch_end(watch, result, whole);
}

/* ---- requests ---- */

static void add_escaped(struct buf *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
		    c == '_' || c == '.')
			buf_addc(out, *text);
		else
			buf_addf(out, "%%%02X", c);
	}
}

static void add_version(const struct watch *watch, struct buf *out)
{
	const char *group = object_kind_group(watch->kind);
	buf_addf(out, "%s%s/%s", *group ? "/apis/" : "/api", group, watch->version);
}

static void add_path(const struct watch *watch, struct buf *out)
{
	add_version(watch, out);
	if (watch->namespace) {
		buf_adds(out, "/namespaces/");
		add_escaped(out, watch->namespace);
	}
	buf_addf(out, "/%s", watch->plural);
}

static void add_selector(const struct watch *watch, struct buf *out)
{
	if (!watch->name)
		return;
	buf_adds(out, "&fieldSelector=metadata.name%3D");
	add_escaped(out, watch->name);
}

bool watch_object_path(const struct watch *watch, const char *namespace, const char *name, struct buf *out)
{
	if (!*watch->version)
		return false;
	add_version(watch, out);
	if (*namespace) {
		buf_adds(out, "/namespaces/");
		add_escaped(out, namespace);
	}
	buf_addf(out, "/%s/", watch->plural);
	add_escaped(out, name);
	return true;
}

static void send_request(struct watch *watch, const char *path, const struct kube_deadlines *deadlines, bool list)
{
	const struct kube_request_events events = {on_began, on_bytes, on_end, watch};
	json_split_init(&watch->split, list ? JSON_LIST : JSON_EVENTS, list ? on_list_piece : on_watch_piece, watch);
	watch->splitting = true;
	watch->state = list ? WATCH_LIST : WATCH_WATCH;
	watch->got_metadata = watch->expired = watch->got_event = false;
	watch->retry_after_ms = 0;
	watch->err.text[0] = 0;
	watch->began_ms = uv_now(watch->loop);
	watch->request = kube_get(watch->client, path, deadlines, &events);
}

static void start_list(struct watch *watch)
{
	const struct kube_deadlines deadlines = {watch->times.connect_ms, watch->times.list_silence_s,
	                                         watch->times.list_total_ms};
	struct buf path;
	buf_init(&path, 4 * TOKEN_CEILING);
	add_path(watch, &path);
	buf_addf(&path, "?limit=%u", watch->expired_pages < EXPIRED_PAGES ? watch->times.page : 0);
	add_selector(watch, &path);
	if (watch->page) {
		buf_adds(&path, "&continue=");
		add_escaped(&path, watch->page);
	} else {
		known_unsee(&watch->known);
		watch->skipped = false;
		for (struct refused *refused = watch->refused; refused; refused = refused->hh.next)
			refused->seen = false;
	}
	send_request(watch, path.data, &deadlines, true);
	buf_done(&path);
}

static void start_watch(struct watch *watch)
{
	unsigned seconds = watch->times.watch_s + (unsigned)(random_number() % (watch->times.watch_s + 1));
	const struct kube_deadlines deadlines = {watch->times.connect_ms, watch->times.watch_silence_s,
	                                         (seconds + 30) * 1000};
	struct buf path;
	buf_init(&path, 1024);
	add_path(watch, &path);
	buf_addf(&path, "?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s", seconds, watch->at);
	add_selector(watch, &path);
	send_request(watch, path.data, &deadlines, false);
	buf_done(&path);
}

static void go_on(struct watch *watch)
{
	BUG_ON(watch->request);
	watch->state = WATCH_IDLE;
	if (!*watch->version)
		return;
	if (*watch->at)
		start_watch(watch);
	else
		start_list(watch);
}

/* ---- the owner's ---- */

void watch_only(struct watch *watch, const char *namespace, const char *name)
{
	watch->namespace = xstrdup(namespace);
	watch->name = xstrdup(name);
}

void watch_serve(struct watch *watch, const char *version, const char *plural)
{
	if (watch->request)
		kube_cancel(watch->request);
	watch->request = NULL;
	stop_splitting(watch);
	uv_timer_stop(&watch->timer);
	relist(watch);
	snprintf(watch->version, sizeof(watch->version), "%s", version ? version : "");
	snprintf(watch->plural, sizeof(watch->plural), "%s", plural ? plural : "");
	watch->list_failures = watch->watch_failures = watch->expirations = watch->expired_pages = 0;
	if (version) {
		log_line(LOG_DEBUG, "kind is served", "kind", object_kind_name(watch->kind), "version", version, NULL);
		go_on(watch);
		return;
	}
	if (!watch->name)
		log_line(LOG_WARN, "kind is not served", "kind", object_kind_name(watch->kind), NULL);
	watch->state = WATCH_IDLE;
	forget_unseen(watch, true);
	set_synced(watch);
}

struct watch_figures watch_figures(const struct watch *watch)
{
	static const char *const names[] = {"not served", "listing", "watching", "waiting"};
	return (struct watch_figures){
	        .kind = watch->kind,
	        .state = names[watch->state],
	        .forbidden = watch->forbidden,
	        .synced = watch->synced,
	        .objects = watch->known.n,
	        .refused = HASH_COUNT(watch->refused),
	};
}

void watch_describe(const struct watch *watch, struct buf *out)
{
	buf_addf(out, "watch %s %s %s objects %zu%s%s%s\n", object_kind_name(watch->kind),
	         *watch->version ? watch->version : "-", watch_figures(watch).state, watch->known.n,
	         watch->forbidden ? " forbidden" : "", watch->failing ? ": " : "",
	         watch->failing ? watch->err.text : "");
}

bool watch_seen(const struct watch *watch, const char *namespace, const char *name, struct watch_seen *ret)
{
	const struct known_entry *entry = known_find(&watch->known, namespace, name);
	if (!entry)
		return false;
	*ret = (struct watch_seen){entry->version, entry->object->uid, {entry->status, entry->status_others}};
	return true;
}

void watch_wrote(struct watch *watch, const char *namespace, const char *name, uint64_t digest)
{
	struct known_entry *entry = known_find(&watch->known, namespace, name);
	if (entry)
		entry->status = digest & UINT64_MAX >> 1;
}

struct watch *watch_open(uv_loop_t *loop, struct kube_client *client, enum object_kind kind, const char *controller,
                         const struct watch_times *times, const struct watch_events *events)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));
	watch->loop = loop;
	watch->client = client;
	watch->kind = kind;
	watch->controller = controller;
	watch->times = *times;
	watch->events = *events;
	known_init(&watch->known, random_number());
	uv_timer_init(loop, &watch->timer);
	watch->timer.data = watch;
	return watch;
}

static void on_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;
	struct refused *refused, *next;
	void (*closed)(void *ctx) = watch->closed;
	void *ctx = watch->closed_ctx;
	known_done(&watch->known);
	HASH_ITER(hh, watch->refused, refused, next)
	{
		HASH_DEL(watch->refused, refused);
		free(refused);
	}
	free(watch->page);
	free(watch->next_page);
	free(watch->namespace);
	free(watch->name);
	free(watch);
	closed(ctx);
}

void watch_close(struct watch *watch, void (*cb)(void *ctx), void *ctx)
{
	watch->closed = cb;
	watch->closed_ctx = ctx;
	if (watch->request)
		kube_cancel(watch->request);
	watch->request = NULL;
	stop_splitting(watch);
	uv_close((uv_handle_t *)&watch->timer, on_closed);
}
