/* The cluster source against an API server of our own in the same loop, which lists, watches, and fails in every way we
 * could think of. Plain HTTP/1.1, so that every byte of an answer is ours; the real one is e2e/cluster's. */
#include "controller/source/cluster.h"

#include "controller/source/json.h"

#include "hatchway/base/hash.h"
#include "hatchway/base/log.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OBJECTS_MAX 64
#define LOG_MAX 20000
#define SNAPSHOTS_MAX 4096

enum fault {
	NONE,
	STATUS_500,
	STATUS_429,
	STATUS_401,
	STATUS_403,
	STATUS_410,
	NOTHING,
	GARBAGE,
	CUT,
	DRIP,
	HANG,
	ERROR_410,
	ERROR_500,
	UNKNOWN_EVENT,
	FAULTS
};

/* ---- the API server ---- */

struct entry { /* of the log: one change */
	enum object_kind kind;
	unsigned rv;
	char *event;
};

struct thing {
	enum object_kind kind;
	char name[32];
	unsigned rv, generation, number;
	char *json;
};

struct connection {
	struct connection *next;
	uv_tcp_t tcp;
	uv_timer_t timer;
	struct buf in, out; /* out: what is dripped */
	size_t dripped;
	unsigned closing;
	bool watching;
	bool ignored; /* it asked while the server was frozen */
	enum object_kind kind;
	unsigned cut_after; /* events; 0: never */
};

static struct server {
	uv_tcp_t tcp;
	int port;
	unsigned rv, compacted, next_uid;
	struct thing things[OBJECTS_MAX];
	size_t n;
	struct entry log[LOG_MAX];
	size_t n_log;
	char *snapshots[SNAPSHOTS_MAX]; /* what is left of a list that was begun: items, one a line */
	unsigned snapshot_rv[SNAPSHOTS_MAX];
	size_t n_snapshots;
	struct connection *connections;
	char token[64];         /* "": anybody may come */
	bool serves_crds, beta; /* beta: only v1beta1 */
	bool hides_crds;        /* their own objects, which have the release */
	bool experimental;      /* the CRDs' channel */
	const char *parents;    /* of every route's status */
	bool forbidden[KIND_COUNT];
	bool frozen;     /* what is connected now is dead, but does not say so */
	unsigned faults; /* percent */
	uint64_t dice;
	unsigned requests, lists, watches;
} s;

static unsigned dice(unsigned n)
{
	s.dice = s.dice * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(s.dice >> 33) % n;
}

static void on_connection_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;
	if (--c->closing)
		return;
	for (struct connection **at = &s.connections; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			break;
		}
	}
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

static void close_connection(struct connection *c)
{
	if (c->closing)
		return;
	c->watching = false;
	c->closing = 2;
	uv_close((uv_handle_t *)&c->tcp, on_connection_closed);
	uv_close((uv_handle_t *)&c->timer, on_connection_closed);
}

static void drop_connections(void)
{
	for (struct connection *c = s.connections; c; c = c->next)
		close_connection(c);
}

static void send_bytes(struct connection *c, const char *bytes, size_t n)
{
	while (n && !c->closing) {
		uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n);
		int got = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
		if (got == UV_EAGAIN) {
			usleep(1000); /* the other end is in this very thread, but the kernel has room for all tests but
			                 the big one */
			buf_add(&c->out, bytes, n);
			return;
		}
		if (got < 0) {
			close_connection(c);
			return;
		}
		bytes += got;
		n -= (size_t)got;
	}
}

static void on_drip(uv_timer_t *timer)
{
	struct connection *c = timer->data;
	size_t left = c->out.len - c->dripped, n = left > 3 ? 1 + dice(3) : left;
	struct buf out = c->out;
	buf_init(&c->out, (size_t)64 << 20);
	send_bytes(c, out.data + c->dripped, n);
	buf_done(&c->out);
	c->out = out;
	c->dripped += n;
	if (c->dripped == c->out.len)
		close_connection(c);
}

/* All of it, then the end; or, with a fault, something else. */
static void answer(struct connection *c, int status, const char *more, const char *body, size_t n, enum fault fault)
{
	struct buf out;
	buf_init(&out, (size_t)64 << 20);
	buf_addf(&out, "HTTP/1.1 %d X\r\nConnection: close\r\n%s", status, more);
	if (fault != CUT || dice(2))
		buf_addf(&out, "Content-Length: %zu\r\n", n);
	buf_adds(&out, "\r\n");
	size_t head = out.len;
	buf_add(&out, body, n);
	if (fault == CUT)
		out.len = head + dice((unsigned)n + 1) / 2;
	if (fault == GARBAGE && n)
		for (size_t at = head; at < out.len; at += 1 + dice(20))
			out.data[at] = (char)dice(256);
	if (fault == DRIP) {
		c->out = out;
		uv_timer_start(&c->timer, on_drip, 1, 1);
		return;
	}
	send_bytes(c, out.data, out.len);
	close_connection(c);
	buf_done(&out);
}

static void answer_status(struct connection *c, int status, const char *more)
{
	char body[200];
	int n =
	    snprintf(body, sizeof(body), "{\"kind\":\"Status\",\"code\":%d,\"message\":\"said by the test\"}", status);
	answer(c, status, more, body, (size_t)n, NONE);
}

static bool refuse(struct connection *c, enum fault fault)
{
	static const int statuses[] = {
	    [STATUS_500] = 500, [STATUS_429] = 429, [STATUS_401] = 401, [STATUS_403] = 403, [STATUS_410] = 410};
	if (fault >= STATUS_500 && fault <= STATUS_410)
		answer_status(c, statuses[fault],
		              fault == STATUS_429 ? dice(10) ? "Retry-After: 0\r\n" : "Retry-After: 1\r\n" : "");
	else if (fault == NOTHING)
		close_connection(c);
	else if (fault != HANG)
		return false;
	return true;
}

static const char *plural_of(enum object_kind kind)
{
	static const char *const plurals[KIND_COUNT] = {
	    [KIND_NAMESPACE] = "namespaces",   [KIND_GATEWAYCLASS] = "gatewayclasses",      [KIND_GATEWAY] = "gateways",
	    [KIND_HTTPROUTE] = "httproutes",   [KIND_GRPCROUTE] = "grpcroutes",             [KIND_SERVICE] = "services",
	    [KIND_SECRET] = "secrets",         [KIND_REFERENCEGRANT] = "referencegrants",   [KIND_CONFIGMAP] = "configmaps",
	    [KIND_BACKENDTLSPOLICY] = "backendtlspolicies", [KIND_LISTENERSET] = "listenersets", [KIND_PARAMETERS] = "parameters", [KIND_FILTER] = "filters", [KIND_ENDPOINTSLICE] = "endpointslices"};
	return plurals[kind];
}

static void send_event(struct connection *c, const char *event)
{
	size_t n = strlen(event);
	if (c->cut_after && !--c->cut_after) {
		send_bytes(c, event, dice((unsigned)n));
		close_connection(c);
		return;
	}
	send_bytes(c, event, n);
}

static void answer_watch(struct connection *c, enum object_kind kind, unsigned from, enum fault fault)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
	s.watches++;
	if (from < s.compacted && !dice(2)) {
		answer_status(c, 410, "");
		return;
	}
	send_bytes(c, head, sizeof(head) - 1);
	if (from < s.compacted || fault == ERROR_410) {
		static const char event[] =
		    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n";
		send_bytes(c, event, sizeof(event) - 1);
		return;
	}
	if (fault == ERROR_500 || fault == UNKNOWN_EVENT || fault == GARBAGE) {
		const char *event = fault == ERROR_500
		                        ? "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"no\"}}\n"
		                    : fault == UNKNOWN_EVENT
		                        ? "{\"type\":\"WHAT\",\"object\":{\"metadata\":{\"resourceVersion\":\"1\"}}}\n"
		                        : "{\"type\":\"ADDED\",,}\n";
		send_bytes(c, event, strlen(event));
		return;
	}
	c->watching = true;
	c->kind = kind;
	c->cut_after = fault == CUT ? 1 + dice(4) : 0;
	for (size_t i = 0; i < s.n_log && !c->closing; i++)
		if (s.log[i].kind == kind && s.log[i].rv > from)
			send_event(c, s.log[i].event);
	if (!c->closing && !dice(3)) {
		char event[200];
		snprintf(event, sizeof(event),
		         "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"%u\"}}}\n", s.rv);
		send_event(c, event);
	}
}

static void answer_list(struct connection *c, unsigned limit, const char *rest, unsigned rv, enum fault fault)
{
	struct buf body, items;
	unsigned n = 0;
	s.lists++;
	buf_init(&body, (size_t)32 << 20);
	buf_init(&items, (size_t)32 << 20);
	for (; *rest && (!limit || n < limit); n++) {
		const char *end = strchr(rest, '\n');
		buf_addf(&items, "%s%.*s", n ? "," : "", (int)(end - rest), rest);
		rest = end + 1;
	}
	buf_addf(&body, "{\"metadata\":{\"resourceVersion\":\"%u\"", rv);
	if (*rest) {
		assert_true(s.n_snapshots < SNAPSHOTS_MAX);
		s.snapshots[s.n_snapshots] = xstrdup(rest);
		s.snapshot_rv[s.n_snapshots] = rv;
		/* What must be escaped in a URL is part of it. */
		buf_addf(&body, ",\"continue\":\"&=+/ %zu\"", s.n_snapshots++);
	}
	buf_addf(&body, "},\"items\":[%s]}", items.data);
	answer(c, 200, "", body.data, body.len, fault);
	buf_done(&body);
	buf_done(&items);
}

static unsigned parameter(const char *path, const char *name)
{
	const char *at = strstr(path, name);
	return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : 0;
}

static void answer_kind(struct connection *c, enum object_kind kind, const char *path)
{
	enum fault fault = dice(100) < s.faults ? (enum fault)dice(FAULTS) : NONE;
	if (s.forbidden[kind])
		fault = STATUS_403;
	if (refuse(c, fault))
		return;
	if (strstr(path, "watch=1")) {
		assert_non_null(strstr(path, "allowWatchBookmarks=true"));
		answer_watch(c, kind, parameter(path, "resourceVersion="), fault);
		return;
	}
	if (strstr(path, "continue=")) {
		unsigned token = parameter(path, "continue=%26%3D%2B%2F%20");
		assert_true(token < s.n_snapshots);
		if (s.snapshot_rv[token] < s.compacted)
			answer_status(c, 410, "");
		else
			answer_list(c, parameter(path, "limit="), s.snapshots[token], s.snapshot_rv[token], fault);
		return;
	}
	struct buf all;
	buf_init(&all, (size_t)32 << 20);
	for (size_t i = 0; i < s.n; i++)
		if (s.things[i].kind == kind)
			buf_addf(&all, "%s\n", s.things[i].json);
	answer_list(c, parameter(path, "limit="), all.data, s.rv, fault);
	buf_done(&all);
}

static void answer_discovery(struct connection *c, bool group)
{
	struct buf body;
	buf_init(&body, 1 << 16);
	if (group) {
		buf_addf(&body, "{\"kind\":\"APIGroup\",\"versions\":[{\"version\":\"v1beta1\"}%s]}",
		         s.beta ? "" : ",{\"version\":\"v1\"}");
	} else {
		buf_adds(&body,
		         "{\"resources\":[{\"name\":\"gateways/status\",\"kind\":\"Gateway\",\"verbs\":[\"get\"]}");
		for (enum object_kind kind = KIND_GATEWAYCLASS; kind <= KIND_BACKENDTLSPOLICY; kind++)
			buf_addf(&body, ",{\"name\":\"%s\",\"kind\":\"%s\",\"verbs\":[\"list\",\"watch\"]}",
			         plural_of(kind), object_kind_name(kind));
		buf_adds(&body, "]}");
	}
	answer(c, 200, "", body.data, body.len, NONE);
	buf_done(&body);
}

static void answer_release(struct connection *c)
{
	static const char standard[] = "{\"kind\":\"PartialObjectMetadata\",\"metadata\":{\"annotations\":{\"x\":"
	                               "\"{\\\"gateway.networking.k8s.io/bundle-version\\\":\\\"v1.1.0\\\"}\",\"gateway."
	                               "networking.k8s.io/bundle-version\":\"v1.6.3\"}}}",
	                  experimental[] = "{\"metadata\":{\"annotations\":{\"gateway.networking.k8s.io/bundle-version\":\"v1.6.3\","
	                                   "\"gateway.networking.k8s.io/channel\":\"experimental\"}}}";
	const char *body = s.experimental ? experimental : standard;
	assert_non_null(strstr(c->in.data, "as=PartialObjectMetadata"));
	answer(c, s.hides_crds ? 403 : 200, "", body, strlen(body), NONE);
}

static void on_request(struct connection *c)
{
	char path[512], authorization[128] = "", prefix[128];
	const char *bearer = strstr(c->in.data, "Authorization: Bearer ");
	assert_int_equal(sscanf(c->in.data, "GET %511s HTTP/1.1", path), 1);
	if (bearer)
		sscanf(bearer, "Authorization: Bearer %127s", authorization);
	s.requests++;
	c->ignored = s.frozen;
	if (s.frozen)
		return;
	if (*s.token && strcmp(s.token, authorization)) {
		answer_status(c, 401, "");
		return;
	}
	bool crds = !strncmp(path, "/apis/gateway.networking.k8s.io", 31);
	if (!strncmp(path, "/apis/hatchway.dev", 18)) {
		answer_status(c, 404, "");
		return;
	}
	if (crds && (!s.serves_crds || (s.beta && !strncmp(path + 31, "/v1/", 4)))) {
		answer_status(c, 404, "");
		return;
	}
	if (crds && (!path[31] || !strcmp(path + 31, "/v1") || !strcmp(path + 31, "/v1beta1"))) {
		answer_discovery(c, !path[31]);
		return;
	}
	if (strstr(path, "/customresourcedefinitions/gatewayclasses.gateway.networking.k8s.io")) {
		answer_release(c);
		return;
	}
	for (enum object_kind kind = 0; kind < KIND_COUNT; kind++) {
		const char *group = object_kind_group(kind);
		snprintf(prefix, sizeof(prefix), "%s%s/%s/%s", *group ? "/apis/" : "/api", group,
		         crds && s.beta ? "v1beta1" : "v1", plural_of(kind));
		size_t length = strlen(prefix);
		if (strncmp(path, prefix, length) || (path[length] && path[length] != '?'))
			continue;
		assert_true(kind != KIND_SECRET && kind != KIND_CONFIGMAP);
		answer_kind(c, kind, path);
		return;
	}
	fail_msg("asked for %s", path);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	static char room[65536];
	*ret = uv_buf_init(room, sizeof(room));
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct connection *c = stream->data;
	if (n < 0) {
		close_connection(c);
		return;
	}
	buf_add(&c->in, bytes->base, (size_t)n);
	if (!strstr(c->in.data, "\r\n\r\n"))
		return;
	on_request(c);
	buf_clear(&c->in);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct connection *c = xcalloc(1, sizeof(*c));
	buf_init(&c->in, 1 << 20);
	buf_init(&c->out, (size_t)64 << 20);
	assert_int_equal(status, 0);
	uv_tcp_init(server->loop, &c->tcp);
	uv_timer_init(server->loop, &c->timer);
	c->tcp.data = c->timer.data = c;
	c->next = s.connections;
	s.connections = c;
	assert_int_equal(uv_accept(server, (uv_stream_t *)&c->tcp), 0);
	uv_read_start((uv_stream_t *)&c->tcp, on_room, on_bytes);
}

/* ---- its objects ---- */

static char *make_json(const struct thing *thing, unsigned uid)
{
	struct buf out;
	const char *group = object_kind_group(thing->kind),
	           *namespace = object_kind_namespaced(thing->kind) ? "\"namespace\":\"ns\"," : "";
	buf_init(&out, 1 << 16);
	buf_adds(&out, "{");
	if (*group) /* the built-in kinds' items do not say what they are */
		buf_addf(&out, "\"apiVersion\":\"%s/%s\",\"kind\":\"%s\",", group, s.beta ? "v1beta1" : "v1",
		         object_kind_name(thing->kind));
	buf_addf(&out,
	         "\"metadata\":{\"name\":\"%s\",%s\"uid\":\"u%u\",\"resourceVersion\":\"%u\",\"generation\":%u,"
	         "\"creationTimestamp\":\"2026-11-23T15:00:00Z\",\"managedFields\":[{\"f:spec\":{}}]},",
	         thing->name, namespace, uid, thing->rv, thing->generation);
	if (thing->kind == KIND_HTTPROUTE)
		buf_addf(
		    &out,
		    "\"spec\":{\"parentRefs\":[{\"name\":\"g\"}],\"hostnames\":[\"%s\"]},\"status\":{\"parents\":[%s]}}",
		    thing->number == 666 ? "not a hostname"
		    : thing->number % 2  ? "a.example"
		                         : "b.example",
		    s.parents ? s.parents : "");
	else
		buf_addf(&out, "\"spec\":{\"ports\":[{\"port\":%u}]}}", 1 + thing->number % 60000);
	return buf_take(&out);
}

static struct thing *find_thing(enum object_kind kind, const char *name)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.things[i].kind == kind && !strcmp(s.things[i].name, name))
			return &s.things[i];
	return NULL;
}

static void log_change(enum object_kind kind, const char *type, const char *json)
{
	struct buf event;
	assert_true(s.n_log < LOG_MAX);
	buf_init(&event, (size_t)8 << 20);
	buf_addf(&event, "{\"type\":\"%s\",\"object\":%s}\n", type, json);
	s.log[s.n_log++] = (struct entry){kind, s.rv, buf_take(&event)};
	for (struct connection *c = s.connections, *next; c; c = next) {
		next = c->next;
		if (c->watching && c->kind == kind && !s.frozen)
			send_event(c, s.log[s.n_log - 1].event);
	}
}

static void put_thing(enum object_kind kind, const char *name, unsigned number)
{
	struct thing *thing = find_thing(kind, name);
	bool fresh = !thing;
	if (fresh) {
		assert_true(s.n < OBJECTS_MAX);
		thing = &s.things[s.n++];
		*thing = (struct thing){.kind = kind};
		snprintf(thing->name, sizeof(thing->name), "%s", name);
		s.next_uid++;
	}
	thing->rv = ++s.rv;
	thing->generation++;
	thing->number = number;
	free(thing->json);
	/* The uid is the name's hash and how often there was one: part of the JSON only. */
	thing->json = make_json(thing, fresh ? s.next_uid : (unsigned)hash_bytes(name, strlen(name), 0) % 1000);
	log_change(kind, fresh ? "ADDED" : "MODIFIED", thing->json);
}

static void delete_thing(enum object_kind kind, const char *name)
{
	struct thing *thing = find_thing(kind, name);
	char *json;
	assert_non_null(thing);
	thing->rv = ++s.rv;
	json = make_json(thing, 0);
	log_change(kind, "DELETED", json);
	free(json);
	free(thing->json);
	*thing = s.things[--s.n];
}

/* ---- the one who listens ---- */

static struct {
	uv_loop_t loop;
	uv_timer_t timer;
	struct cluster *cluster;
	struct object *objects[OBJECTS_MAX * 2];
	size_t n;
	struct buf seen, problems;
	char release[64];
	unsigned settled;
	bool unsettled; /* something was told after the last settled() */
	char dir[64];
	unsigned patience_s; /* how long watches are and may be silent; 0: 2 */
	bool timed_out, closed;
} t;

static void on_put(void *ctx, struct object *object)
{
	buf_addf(&t.seen, "+%s:%d ", object->name, (int)object->generation);
	t.unsettled = true;
	for (size_t i = 0; i < t.n; i++) {
		if (!object_cmp_key(t.objects[i], object)) {
			object_unref(t.objects[i]);
			t.objects[i] = object;
			return;
		}
	}
	assert_true(t.n < ARRAY_LEN(t.objects));
	t.objects[t.n++] = object;
}

static void on_delete(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	buf_addf(&t.seen, "-%s ", name);
	t.unsettled = true;
	assert_string_not_equal(name, "immortal");
	for (size_t i = 0; i < t.n; i++) {
		if (t.objects[i]->kind == kind && !strcmp(t.objects[i]->name, name) &&
		    !strcmp(t.objects[i]->namespace, namespace)) {
			object_unref(t.objects[i]);
			t.objects[i] = t.objects[--t.n];
			return;
		}
	}
	fail_msg("%s was deleted and is not known", name);
}

static void on_settled(void *ctx)
{
	t.settled++;
	t.unsettled = false;
	buf_adds(&t.seen, "! ");
}

static void on_problem(void *ctx, const char *path, unsigned line, const char *text)
{
	buf_addf(&t.problems, "%s: %s\n", path, text ? text : "fine");
}

static void on_status(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	buf_addf(&t.seen, "status:%s ", name);
	t.unsettled = true;
}

static void on_release(void *ctx, const char *version, bool experimental, const char *why)
{
	snprintf(t.release, sizeof(t.release), "%s%s", version ? version : why, experimental ? " experimental" : "");
	t.unsettled = true;
}

static void on_timer(uv_timer_t *timer)
{
	t.timed_out = true;
}

/* Turns of the loop until done() or the time is over; returns done(). */
static bool until(bool (*done)(void), unsigned ms)
{
	t.timed_out = false;
	uv_timer_start(&t.timer, on_timer, ms, 0);
	while (!done() && !t.timed_out)
		uv_run(&t.loop, UV_RUN_ONCE);
	uv_timer_stop(&t.timer);
	return done();
}

static bool never(void)
{
	return false;
}

static bool settled_once(void)
{
	return t.settled > 0;
}

static bool equal(void)
{
	if (t.n != s.n || t.unsettled || !t.settled)
		return false;
	for (size_t i = 0; i < t.n; i++) {
		const struct thing *thing = find_thing(t.objects[i]->kind, t.objects[i]->name);
		struct watch_seen seen = {0};
		if (!thing || thing->generation != t.objects[i]->generation ||
		    !cluster_seen(t.cluster, thing->kind, t.objects[i]->namespace, thing->name, &seen) ||
		    seen.version != thing->rv)
			return false;
	}
	return true;
}

static void write_file(const char *name, const char *text)
{
	char path[128], temporary[128 + 8];
	snprintf(path, sizeof(path), "%s/%s", t.dir, name);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	FILE *file = fopen(temporary, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(temporary, path), 0);
}

static struct cluster_options quick(void)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/config", t.dir);
	unsigned patience_s = t.patience_s ? t.patience_s : 2;
	return (struct cluster_options){
	    .kubeconfig = path,
	    .controller = "ours",
	    .discovery = {.poll_ms = 100, .missing_ms = 30, .answer_ms = 200},
	    .watch = {.connect_ms = 1000,
	              .list_silence_s = 2,
	              .list_total_ms = 3000,
	              .watch_s = patience_s,
	              .watch_silence_s = patience_s,
	              .retry_ms = 2,
	              .retry_max_ms = 20,
	              .forbidden_ms = 150,
	              .page = 3},
	};
}

static void open_cluster(const char *user)
{
	const struct cluster_events events = {
	    {on_put, on_delete, on_settled, on_problem, NULL}, on_status, on_release, NULL};
	struct cluster_options options = quick();
	char text[2048];
	struct err err = {""};
	snprintf(text, sizeof(text),
	         "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:%d/'}}]\nusers: [{name: u, user: {%s}}]\n"
	         "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
	         s.port, user);
	write_file("config", text);
	if (cluster_open(&t.loop, &options, &events, &t.cluster, &err))
		fail_msg("%s", err.text);
}

static void on_closed(void *ctx)
{
	t.closed = true;
}

static bool is_closed(void)
{
	return t.closed;
}

static void close_cluster(void)
{
	t.closed = false;
	cluster_close(t.cluster, on_closed, NULL);
	assert_true(until(is_closed, 2000));
	t.cluster = NULL;
}

static int setup(void **state)
{
	struct sockaddr_in address;
	int n = sizeof(address);
	memset(&t, 0, sizeof(t));
	memset(&s, 0, sizeof(s));
	s.serves_crds = true;
	s.rv = 100;
	buf_init(&t.seen, 1 << 20);
	buf_init(&t.problems, 1 << 20);
	strcpy(t.dir, "/tmp/hatchway-cluster-XXXXXX");
	log_level = getenv("HATCHWAY_TEST_LOG") ? LOG_DEBUG : LOG_ERROR;
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(t.dir) || uv_loop_init(&t.loop) || uv_ip4_addr("127.0.0.1", 0, &address))
		return -1;
	uv_timer_init(&t.loop, &t.timer);
	uv_tcp_init(&t.loop, &s.tcp);
	if (uv_tcp_bind(&s.tcp, (struct sockaddr *)&address, 0) ||
	    uv_listen((uv_stream_t *)&s.tcp, 64, on_connection) ||
	    uv_tcp_getsockname(&s.tcp, (struct sockaddr *)&address, &n))
		return -1;
	s.port = ntohs(address.sin_port);
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {"config", "token", "plugin"};
	char path[128];
	if (t.cluster)
		close_cluster();
	uv_close((uv_handle_t *)&t.timer, NULL);
	uv_close((uv_handle_t *)&s.tcp, NULL);
	drop_connections();
	uv_run(&t.loop, UV_RUN_DEFAULT);
	int ret = uv_loop_close(&t.loop); /* nothing was left open */
	while (t.n)
		object_unref(t.objects[--t.n]);
	while (s.n)
		free(s.things[--s.n].json);
	while (s.n_log)
		free(s.log[--s.n_log].event);
	while (s.n_snapshots)
		free(s.snapshots[--s.n_snapshots]);
	buf_done(&t.seen);
	buf_done(&t.problems);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", t.dir, files[i]);
		unlink(path);
	}
	rmdir(t.dir);
	return ret;
}

/* ---- what it does ---- */

static void put_some(unsigned n)
{
	char name[16];
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "x%u", i);
		put_thing(KIND_SERVICE, name, i);
		put_thing(KIND_HTTPROUTE, name, i);
	}
}

static void lists_in_pages_then_watches(void **state)
{
	put_some(10);
	open_cluster("token: x");
	assert_true(until(settled_once, 3000));
	assert_int_equal(t.settled, 1); /* not before all is there */
	assert_true(equal());
	assert_true(s.lists >= 2 * 4); /* pages of 3 */
	buf_clear(&t.seen);
	put_thing(KIND_HTTPROUTE, "x3", 4);
	assert_true(until(equal, 1000));
	assert_string_equal(t.seen.data, "+x3:2 ! ");
	buf_clear(&t.seen);
	delete_thing(KIND_SERVICE, "x3");
	assert_true(until(equal, 1000));
	assert_string_equal(t.seen.data, "-x3 ! ");
	const struct object *object = t.objects[0];
	assert_int_equal(object->created, 1795446000);
	assert_true(*object->uid == 'u');
}

static void a_burst_is_few_steps(void **state)
{
	open_cluster("token: x");
	assert_true(until(settled_once, 3000));
	until(never, 100); /* the watches stand */
	t.settled = 0;
	put_some(25);
	assert_true(until(equal, 1000));
	assert_true(t.settled >= 1 && t.settled <= 6);
}

static void what_did_not_change_is_not_told(void **state)
{
	put_some(3);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	buf_clear(&t.seen);
	s.rv++;
	s.compacted = s.rv; /* the watches end after 2 to 4 s, and all is listed again */
	unsigned lists = s.lists;
	drop_connections();
	until(never, 300);
	assert_true(s.lists > lists);
	assert_string_equal(t.seen.data, "");
	assert_true(equal());
}

static void what_went_while_away_is_deleted(void **state)
{
	put_some(5);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	drop_connections();
	delete_thing(KIND_SERVICE, "x0");
	put_thing(KIND_SERVICE, "new", 7);
	put_thing(KIND_SERVICE, "x1", 9);
	s.rv++;
	s.compacted = s.rv;
	buf_clear(&t.seen);
	assert_true(until(equal, 2000));
	assert_non_null(strstr(t.seen.data, "-x0 "));
	assert_non_null(strstr(t.seen.data, "+new:1 "));
	assert_non_null(strstr(t.seen.data, "+x1:2 "));
	assert_null(strstr(t.seen.data, "x2"));
}

/* ---- what is served ---- */

static void kinds_come_and_go(void **state)
{
	s.serves_crds = false;
	put_thing(KIND_SERVICE, "x", 1);
	open_cluster("token: x");
	assert_true(until(settled_once, 3000)); /* the others need not wait */
	s.serves_crds = true;
	put_thing(KIND_HTTPROUTE, "r", 1);
	assert_true(until(equal, 2000));
	s.serves_crds = false;
	drop_connections();
	delete_thing(KIND_HTTPROUTE, "r");
	assert_true(until(equal, 3000));
	s.serves_crds = true;
	put_thing(KIND_HTTPROUTE, "r", 2);
	assert_true(until(equal, 2000));
}

static void an_old_version_is_good_enough(void **state)
{
	s.beta = true;
	put_thing(KIND_HTTPROUTE, "r", 1);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	assert_int_equal(t.objects[0]->version, VERSION_V1BETA1);
}

static void who_writes_is_told_the_path(void **state)
{
	struct buf path;
	s.beta = true;
	put_some(1);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	buf_init(&path, 1024);
	assert_true(cluster_object_path(t.cluster, KIND_HTTPROUTE, "ns", "a/b", &path));
	assert_string_equal(path.data, "/apis/gateway.networking.k8s.io/v1beta1/namespaces/ns/httproutes/a%2Fb");
	buf_clear(&path);
	assert_true(cluster_object_path(t.cluster, KIND_NAMESPACE, "", "n", &path));
	assert_string_equal(path.data, "/api/v1/namespaces/n");
	assert_false(cluster_object_path(t.cluster, KIND_SECRET, "ns", "n", &path));
	assert_non_null(cluster_client(t.cluster));
	buf_done(&path);
}

static void the_release_is_told_first(void **state)
{
	put_some(1);
	open_cluster("token: x");
	assert_true(until(settled_once, 3000));
	assert_string_equal(t.release, "v1.6.3");
	close_cluster();
	s.hides_crds = true;
	t.settled = 0;
	open_cluster("token: x");
	assert_true(until(settled_once, 3000)); /* nobody needs the right to read it */
	assert_string_equal(t.release, "HTTP status 403");
}

static void the_experimental_channel_is_told(void **state)
{
	s.experimental = true;
	put_some(1);
	open_cluster("token: x");
	assert_true(until(settled_once, 3000));
	assert_string_equal(t.release, "v1.6.3 experimental");
}

#define PARENT(controller, reason)                                                                                     \
	"{\"parentRef\":{\"name\":\"g\"},\"controllerName\":\"" controller "\",\"conditions\":[{\"type\":\"A\","       \
	"\"status\":\"True\",\"reason\":\"" reason "\",\"lastTransitionTime\":\"2026-11-23T15:00:00Z\"}]}"

static struct watch_seen seen_route(void)
{
	struct watch_seen seen = {0};
	assert_true(cluster_seen(t.cluster, KIND_HTTPROUTE, "ns", "r", &seen));
	return seen;
}

static void our_status_is_followed(void **state)
{
	s.parents = PARENT("other", "X");
	put_thing(KIND_HTTPROUTE, "r", 1);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	assert_string_equal(t.seen.data, "+r:1 ! "); /* others' is not ours to follow */
	assert_true(!seen_route().status.digest && seen_route().status.others);
	buf_clear(&t.seen);
	s.parents = PARENT("other", "X") "," PARENT("ours", "X");
	put_thing(KIND_HTTPROUTE, "r", 3);
	assert_true(until(equal, 1000));
	assert_string_equal(t.seen.data, "+r:2 status:r ! ");
	uint64_t digest = seen_route().status.digest;
	/* What we write comes back without a word; what somebody else makes of it does not. */
	buf_clear(&t.seen);
	s.parents = PARENT("ours", "Y");
	cluster_wrote(t.cluster, KIND_HTTPROUTE, "ns", "r", digest);
	put_thing(KIND_HTTPROUTE, "r", 5);
	assert_true(until(equal, 1000));
	assert_string_equal(t.seen.data, "+r:3 status:r ! ");
	assert_true(seen_route().status.digest != digest && !seen_route().status.others);
	buf_clear(&t.seen);
	s.parents = PARENT("ours", "X");
	cluster_wrote(t.cluster, KIND_HTTPROUTE, "ns", "r", digest);
	put_thing(KIND_HTTPROUTE, "r", 7);
	assert_true(until(equal, 1000));
	assert_string_equal(t.seen.data, "+r:4 ! ");
}

/* ---- who we are ---- */

static void tokens_rotate(void **state)
{
	char user[128];
	strcpy(s.token, "first");
	write_file("token", "first\n");
	put_some(2);
	snprintf(user, sizeof(user), "tokenFile: token");
	open_cluster(user);
	assert_true(until(equal, 3000));
	strcpy(s.token, "second");
	write_file("token", "second\n");
	drop_connections();
	put_thing(KIND_SERVICE, "x0", 5);
	assert_true(until(equal, 3000));
}

static void plugins_give_tokens(void **state)
{
	char path[128], script[1024];
	strcpy(s.token, "made-1");
	snprintf(script, sizeof(script),
	         "#!/bin/sh\n[ \"$EXTRA\" = yes ] && [ \"$1\" = arg ] || exit 1\n"
	         "case $KUBERNETES_EXEC_INFO in *ExecCredential*) ;; *) exit 1 ;; esac\n"
	         "token=$(cat %s/token)\n"
	         "echo "
	         "'{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/"
	         "v1\",\"status\":{\"token\":\"'$token'\"}}'\n",
	         t.dir);
	write_file("token", "made-1");
	write_file("plugin", script);
	snprintf(path, sizeof(path), "%s/plugin", t.dir);
	assert_int_equal(chmod(path, 0700), 0);
	put_some(2);
	open_cluster("exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, args: [arg], env: [{name: "
	             "EXTRA, value: 'yes'}]}");
	assert_true(until(equal, 4000));
	strcpy(s.token, "made-2");
	write_file("token", "made-2");
	drop_connections();
	put_thing(KIND_SERVICE, "x0", 5);
	assert_true(until(equal, 4000)); /* refused: the plug-in is asked again */
}

static void a_plugin_that_fails_is_asked_again(void **state)
{
	char path[128];
	strcpy(s.token, "x");
	write_file("plugin", "#!/bin/sh\nexit 3\n");
	snprintf(path, sizeof(path), "%s/plugin", t.dir);
	assert_int_equal(chmod(path, 0700), 0);
	open_cluster("exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin}");
	assert_false(until(settled_once, 300));
	write_file("plugin", "#!/bin/sh\necho '{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"x\"}}'\n");
	assert_int_equal(chmod(path, 0700), 0);
	assert_true(until(settled_once, 4000));
}

static void one_forbidden_kind_stops_nobody(void **state)
{
	s.forbidden[KIND_REFERENCEGRANT] = true;
	put_some(2);
	open_cluster("token: x");
	assert_true(until(settled_once, 3000));
	assert_true(equal());
	struct buf out;
	buf_init(&out, 65536);
	cluster_describe(t.cluster, &out);
	assert_non_null(strstr(out.data, "watch ReferenceGrant v1 waiting objects 0 forbidden: said by the test"));
	buf_done(&out);
	/* A right that is taken away takes nothing back of what is known; given back, all goes on. */
	s.forbidden[KIND_SERVICE] = true;
	drop_connections();
	delete_thing(KIND_SERVICE, "x1");
	assert_false(until(equal, 200));
	put_thing(KIND_HTTPROUTE, "more", 3);
	s.forbidden[KIND_SERVICE] = s.forbidden[KIND_REFERENCEGRANT] = false;
	assert_true(until(equal, 2000));
}

static void without_its_routes_it_does_not_begin(void **state)
{
	s.forbidden[KIND_HTTPROUTE] = true;
	put_some(2);
	open_cluster("token: x");
	assert_false(until(settled_once, 1000));
	s.forbidden[KIND_HTTPROUTE] = false;
	assert_true(until(settled_once, 3000));
	assert_true(equal());
}

/* ---- what is wrong with objects ---- */

static bool problem_told(void)
{
	return t.problems.len > 0;
}

static void refused_objects_keep_their_last_state(void **state)
{
	put_thing(KIND_HTTPROUTE, "good", 1);
	put_thing(KIND_HTTPROUTE, "bad", 1);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	buf_clear(&t.seen);
	put_thing(KIND_HTTPROUTE, "bad", 666);
	assert_true(until(problem_told, 1000));
	assert_non_null(strstr(t.problems.data, "HTTPRoute ns/bad: HTTPRoute ns/bad: spec.hostnames[0]"));
	put_thing(KIND_HTTPROUTE, "good", 2);
	until(never, 100);
	assert_string_equal(t.seen.data, "+good:2 ! ");
	/* Neither does a list take it away. */
	s.compacted = ++s.rv;
	drop_connections();
	until(never, 200);
	assert_null(strstr(t.seen.data, "bad"));
	buf_clear(&t.problems);
	put_thing(KIND_HTTPROUTE, "bad", 3);
	assert_true(until(equal, 2000));
	assert_string_equal(t.problems.data, "HTTPRoute ns/bad: fine\n");
}

static char *too_big(const char *name)
{
	struct buf json;
	buf_init(&json, (size_t)8 << 20);
	buf_addf(&json,
	         "{\"metadata\":{\"labels\":{\"name\":\"x0\"},\"name\":\"%s\",\"namespace\":\"ns\"},\"spec\":{\"x\":\"",
	         name);
	for (size_t i = 0; i < JSON_PIECE_CEILING; i++)
		buf_addc(&json, 'y');
	buf_adds(&json, "\"}}");
	return buf_take(&json);
}

static bool one_less(void)
{
	return t.n == 3;
}

static void what_is_too_big_is_named_and_stays(void **state)
{
	put_some(2);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	struct thing *thing = find_thing(KIND_SERVICE, "x1");
	free(thing->json);
	thing->json = too_big("x1");
	s.compacted = ++s.rv;
	drop_connections();
	assert_true(until(problem_told, 3000));
	until(never, 200);
	/* The name found may be a label's: nobody is deleted for not having been seen. */
	assert_string_equal(t.problems.data, "Service ns/x0: larger than 2 MiB: not read, its last state stays\n");
	assert_int_equal(t.n, 4);
	s.rv++;
	log_change(KIND_SERVICE, "DELETED", thing->json);
	free(thing->json);
	*thing = s.things[--s.n];
	assert_true(until(one_less, 3000));
	assert_true(until(equal, 3000));
	assert_non_null(strstr(t.problems.data, "Service ns/x0: fine\n"));
}

/* ---- what is wrong with the server ---- */

/* A machine that goes away without a word: what was connected stays silent for ever, who asks while it is away is turned
 * down when it is back. */
static void a_dead_connection_is_found(void **state)
{
	t.patience_s = 60; /* only the questions in between can find it */
	put_some(2);
	open_cluster("token: x");
	assert_true(until(equal, 3000));
	until(never, 50);
	s.frozen = true;
	for (struct connection *c = s.connections; c; c = c->next)
		c->watching = false;
	until(never, 800);
	s.frozen = false;
	for (struct connection *c = s.connections; c; c = c->next)
		if (c->ignored)
			close_connection(c);
	put_thing(KIND_SERVICE, "x0", 9);
	assert_true(until(equal, 3000));
}

static void closing_at_any_time_leaves_nothing(void **state)
{
	put_some(5);
	for (unsigned turns = 0; turns < 40; turns++) {
		open_cluster("token: x");
		for (unsigned i = 0; i < turns; i++)
			uv_run(&t.loop, UV_RUN_NOWAIT);
		close_cluster();
	}
}

static void random_walk(uint64_t seed)
{
	char name[16];
	s.dice = seed;
	s.faults = 60;
	put_thing(KIND_SERVICE, "immortal", 1);
	put_thing(KIND_HTTPROUTE, "immortal", 1);
	open_cluster("token: x");
	for (unsigned i = 0; i < 150; i++) {
		enum object_kind kind = dice(2) ? KIND_SERVICE : KIND_HTTPROUTE;
		snprintf(name, sizeof(name), "x%u", dice(12));
		if (find_thing(kind, name) && !dice(3))
			delete_thing(kind, name);
		else
			put_thing(kind, name, dice(50));
		if (!dice(20))
			put_thing(kind, "immortal", dice(50));
		if (!dice(25))
			s.compacted = s.rv;
		if (!dice(10) && s.connections)
			close_connection(s.connections);
		until(never, dice(8));
	}
	s.faults = 0;
	if (!until(equal, 15000)) {
		struct buf out;
		buf_init(&out, 65536);
		cluster_describe(t.cluster, &out);
		fail_msg("not the same in the end; HATCHWAY_SEED=%llu\n%s", (unsigned long long)seed, out.data);
	}
}

static void whatever_fails_it_converges(void **state)
{
	const char *given = getenv("HATCHWAY_SEED");
	for (uint64_t seed = 1; seed <= (given ? 1 : 6); seed++) {
		random_walk(given ? strtoull(given, NULL, 10) : seed * 7919);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(lists_in_pages_then_watches),
	    TEST(a_burst_is_few_steps),
	    TEST(what_did_not_change_is_not_told),
	    TEST(what_went_while_away_is_deleted),
	    TEST(kinds_come_and_go),
	    TEST(an_old_version_is_good_enough),
	    TEST(who_writes_is_told_the_path),
	    TEST(the_release_is_told_first),
	    TEST(the_experimental_channel_is_told),
	    TEST(our_status_is_followed),
	    TEST(tokens_rotate),
	    TEST(plugins_give_tokens),
	    TEST(a_plugin_that_fails_is_asked_again),
	    TEST(one_forbidden_kind_stops_nobody),
	    TEST(without_its_routes_it_does_not_begin),
	    TEST(refused_objects_keep_their_last_state),
	    TEST(what_is_too_big_is_named_and_stays),
	    TEST(a_dead_connection_is_found),
	    TEST(closing_at_any_time_leaves_nothing),
	    TEST(whatever_fails_it_converges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
