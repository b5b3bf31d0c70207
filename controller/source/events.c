/* Owns a short queue, one request at a time, and hashes of what was said lately. */
#include "controller/source/events.h"

#include "controller/object/json_write.h"
#include "controller/source/back_off.h"
#include "controller/source/lease.h"
#include "hatchway/base/hash.h"
#include "hatchway/base/log.h"

#define QUEUE_MAX 64
#define RECENT_MAX 256
#define NOTE_MAX 1024 /* the API's limits, in bytes */
#define REASON_MAX 128

struct event {
	struct event *next;
	char *path, *body;
};

struct recent {
	uint64_t hash, at_ms;
};

struct events {
	uv_loop_t *loop;
	struct kube_client *client;
	struct events_options options;
	struct event *first, **last;
	unsigned queued;
	struct kube_request *request; /* of the first */
	struct recent recent[RECENT_MAX]; /* a ring */
	unsigned recent_at;
	uint64_t spent_until_ms; /* what was sent is paid for until then, refill_ms each; burst may be owed */
	uint64_t seed, serial;
	bool failing;
	struct events_counters counters;
	uv_idle_t handle; /* never started: closing takes a turn of the loop */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* ---- whether it is said ---- */

static bool said_lately(struct events *events, const char *const *texts, size_t n)
{
	uint64_t hash = events->seed, now = uv_now(events->loop);
	for (size_t i = 0; i < n; i++)
		hash = hash_bytes(texts[i], strlen(texts[i]) + 1, hash);
	for (size_t i = 0; i < RECENT_MAX; i++)
		if (events->recent[i].hash == hash && now - events->recent[i].at_ms < events->options.again_ms)
			return true;
	events->recent[events->recent_at] = (struct recent){hash, now};
	events->recent_at = (events->recent_at + 1) % RECENT_MAX;
	return false;
}

static bool may_spend(struct events *events)
{
	uint64_t now = uv_now(events->loop), refill = events->options.refill_ms;
	uint64_t from = events->spent_until_ms > now ? events->spent_until_ms : now;
	if (from + refill > now + refill * events->options.burst)
		return false;
	events->spent_until_ms = from + refill;
	return true;
}

/* ---- what is said ---- */

static void add_field(struct buf *out, const char *name, const char *value, size_t limit)
{
	char text[NOTE_MAX + 1];
	size_t n = strlen(value);
	if (n > limit) {
		/* Never in the middle of a character. */
		for (n = limit; n && ((unsigned char)value[n] & 0xc0) == 0x80; n--)
			;
	}
	memcpy(text, value, n);
	text[n] = 0;
	if (out->data[out->len - 1] != '{')
		buf_addc(out, ',');
	json_write_text(out, name);
	buf_addc(out, ':');
	json_write_text(out, text);
}

static void write_event(struct events *events, enum object_kind kind, const char *namespace, const char *name,
                        const char *uid, const char *reason, const char *note, struct buf *out)
{
	uv_timeval64_t now;
	char time[32], unique[300], version[128];
	BUG_ON(uv_gettimeofday(&now));
	lease_time(now.tv_sec, (unsigned)now.tv_usec, time);
	/* A name is at most 253 long, and the object's may be that already. */
	snprintf(unique, sizeof(unique), "%.220s.%llx%04llx", name, (unsigned long long)now.tv_sec,
	         (unsigned long long)(events->seed + events->serial++) & 0xffff);
	snprintf(version, sizeof(version), "%s/v1", object_kind_group(kind));
	buf_adds(out, "{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{");
	add_field(out, "name", unique, 253);
	add_field(out, "namespace", *namespace ? namespace : "default", 63);
	buf_adds(out, "},\"regarding\":{");
	add_field(out, "apiVersion", version, 128);
	add_field(out, "kind", object_kind_name(kind), 63);
	if (*namespace)
		add_field(out, "namespace", namespace, 63);
	add_field(out, "name", name, 253);
	add_field(out, "uid", uid, 128);
	buf_adds(out, "}");
	add_field(out, "eventTime", time, 32);
	add_field(out, "reportingController", events->options.controller, 128);
	add_field(out, "reportingInstance", events->options.identity, 128);
	add_field(out, "type", "Warning", 16);
	add_field(out, "action", "Check", 16);
	add_field(out, "reason", reason, REASON_MAX);
	add_field(out, "note", note, NOTE_MAX);
	buf_addc(out, '}');
}

/* ---- sending ---- */

static void send_first(struct events *events);

static void drop_first(struct events *events)
{
	struct event *event = events->first;
	events->first = event->next;
	if (!events->first)
		events->last = &events->first;
	events->queued--;
	free(event->path);
	free(event->body);
	free(event);
}

static void on_sent(void *ctx, const struct kube_result *result)
{
	struct events *events = ctx;
	bool good = !result->error && result->status < 300;
	events->request = NULL;
	events->counters.sent += good;
	events->counters.dropped += !good;
	if (!good)
		log_line(events->failing ? LOG_DEBUG : LOG_WARN, "event not written", "error", result->text, NULL);
	events->failing = !good;
	drop_first(events);
	send_first(events);
}

static void send_first(struct events *events)
{
	const struct kube_deadlines deadlines = kube_within(events->options.answer_ms);
	const struct kube_request_events request_events = {NULL, NULL, on_sent, events};
	const struct event *event = events->first;
	if (event)
		events->request = kube_send(events->client, "POST", event->path, "application/json", event->body,
		                            strlen(event->body), &deadlines, &request_events);
}

void events_warn(struct events *events, enum object_kind kind, const char *namespace, const char *name, const char *uid,
                 const char *reason, const char *note)
{
	const char *const texts[] = {uid, reason, note};
	struct buf path, body;
	if (said_lately(events, texts, ARRAY_LEN(texts)))
		return;
	if (events->queued == QUEUE_MAX || !may_spend(events)) {
		events->counters.dropped++;
		return;
	}
	buf_init(&path, 512);
	buf_init(&body, 16384);
	buf_addf(&path, "/apis/events.k8s.io/v1/namespaces/%s/events", *namespace ? namespace : "default");
	write_event(events, kind, namespace, name, uid, reason, note, &body);
	BUG_ON(buf_failed(&path) || buf_failed(&body)); /* every part has its limit */
	struct event *event = xcalloc(1, sizeof(*event));
	event->path = buf_take(&path);
	event->body = buf_take(&body);
	*events->last = event;
	events->last = &event->next;
	events->queued++;
	if (!events->request)
		send_first(events);
}

/* ---- beginning and end ---- */

struct events_options events_defaults(void)
{
	return (struct events_options){.answer_ms = 10000, .burst = 50, .refill_ms = 1000, .again_ms = 600000};
}

struct events *events_open(uv_loop_t *loop, struct kube_client *client, const struct events_options *options)
{
	struct events *events = xcalloc(1, sizeof(*events));
	events->loop = loop;
	events->client = client;
	events->options = *options;
	events->last = &events->first;
	events->seed = random_number();
	uv_idle_init(loop, &events->handle);
	events->handle.data = events;
	return events;
}

static void on_closed(uv_handle_t *handle)
{
	struct events *events = handle->data;
	void (*closed)(void *ctx) = events->closed;
	void *ctx = events->closed_ctx;
	free(events);
	closed(ctx);
}

void events_close(struct events *events, void (*cb)(void *ctx), void *ctx)
{
	events->closed = cb;
	events->closed_ctx = ctx;
	if (events->request)
		kube_cancel(events->request);
	while (events->first)
		drop_first(events);
	uv_close((uv_handle_t *)&events->handle, on_closed);
}

struct events_counters events_counters(const struct events *events)
{
	return events->counters;
}
