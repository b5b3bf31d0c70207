/* An API server for tests, in the test's own loop: objects by path, GET, POST, DELETE and merge PATCH (also of /status;
 * an apply is one that may create), with the resource versions, conflicts and words of the real one (e2e/cluster tries
 * that one), and faults on demand. Plain HTTP/1.1, a connection for each request. A header with its code, so that only tests have it. */
#ifndef HATCHWAY_SOURCE_KUBE_FAKE_H
#define HATCHWAY_SOURCE_KUBE_FAKE_H

#include "controller/source/kube_client.h"

#include "hatchway/base/buf.h"

#include <jansson.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

enum fake_fault {
	FAKE_NONE,
	FAKE_500,
	FAKE_429, /* with Retry-After: 0 */
	FAKE_403,
	FAKE_422,
	FAKE_CONFLICT,  /* somebody else was faster */
	FAKE_NOTHING,   /* not carried out, not answered */
	FAKE_LOST,      /* carried out, not answered */
	FAKE_CUT,       /* carried out, half an answer */
	FAKE_HANG,      /* never answered */
	FAKE_FAULTS
};

struct fake_object {
	char path[1024];
	json_t *json;
};

struct fake_connection {
	struct fake_connection *next;
	uv_tcp_t tcp;
	struct buf in;
	bool closing;
};

static struct fake {
	uv_loop_t loop;
	uv_tcp_t tcp;
	uv_timer_t timer;
	bool timed_out;
	int port;
	unsigned rv;
	struct fake_object objects[256];
	size_t n;
	struct fake_connection *connections;
	/* What the next request meets; NULL: nothing. */
	enum fake_fault (*fault)(const char *method, const char *path);
	/* Before a request is carried out: somebody else may be at work. NULL */
	void (*before)(const char *method, const char *path);
	struct buf log; /* "METHOD path" a line */
	unsigned requests;
	char content_type[128], body[65536]; /* of the last request */
	size_t body_n;
} fake;

/* ---- objects ---- */

static json_t *fake_parse(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		fail_msg("%s in %s", error.text, text);
	return json;
}

static struct fake_object *fake_find(const char *path)
{
	for (size_t i = 0; i < fake.n; i++)
		if (!strcmp(fake.objects[i].path, path))
			return &fake.objects[i];
	return NULL;
}

static void fake_new_version(json_t *object)
{
	char text[16];
	snprintf(text, sizeof(text), "%u", ++fake.rv);
	json_object_set_new(json_object_get(object, "metadata"), "resourceVersion", json_string(text));
}

static inline json_t *fake_put(const char *path, const char *text)
{
	struct fake_object *object = fake_find(path);
	if (object)
		json_decref(object->json);
	assert_true(fake.n < sizeof(fake.objects) / sizeof(*fake.objects));
	object = object ? object : &fake.objects[fake.n++];
	snprintf(object->path, sizeof(object->path), "%s", path);
	object->json = fake_parse(text);
	fake_new_version(object->json);
	return object->json;
}

static inline void fake_remove(struct fake_object *object)
{
	json_decref(object->json);
	*object = fake.objects[--fake.n];
}

/* As text, sorted; freed by the caller. */
static inline char *fake_text(const char *path, const char *field)
{
	struct fake_object *object = fake_find(path);
	assert_non_null(object);
	json_t *json = field ? json_object_get(object->json, field) : object->json;
	return json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : strdup("");
}

/* RFC 7386 */
static void fake_merge(json_t *target, json_t *patch)
{
	const char *key;
	json_t *value;
	json_object_foreach(patch, key, value)
	{
		json_t *old = json_object_get(target, key);
		if (json_is_null(value)) {
			json_object_del(target, key);
		} else if (json_is_object(value)) {
			if (!json_is_object(old)) {
				json_object_set_new(target, key, json_object());
				old = json_object_get(target, key);
			}
			fake_merge(old, value);
		} else {
			json_object_set(target, key, value);
		}
	}
}

/* ---- answers ---- */

static void fake_on_closed(uv_handle_t *handle)
{
	struct fake_connection *c = handle->data;
	struct fake_connection **at = &fake.connections;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	buf_done(&c->in);
	free(c);
}

static void fake_close(struct fake_connection *c)
{
	if (!c->closing)
		uv_close((uv_handle_t *)&c->tcp, fake_on_closed);
	c->closing = true;
}

static void fake_send(struct fake_connection *c, int status, const char *body, bool cut)
{
	struct buf out;
	buf_init(&out, (size_t)8 << 20);
	buf_addf(&out, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 %d X\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
	         status, status == 429 ? "Retry-After: 0\r\n" : "", strlen(body));
	buf_add(&out, body, cut ? strlen(body) / 2 : strlen(body));
	uv_buf_t bytes = uv_buf_init(out.data, (unsigned)out.len);
	assert_int_equal(uv_try_write((uv_stream_t *)&c->tcp, &bytes, 1), (int)out.len);
	buf_done(&out);
	fake_close(c);
}

static int fake_refuse(char **ret, int status, const char *why, const char *message)
{
	json_t *json = json_pack("{s:s,s:s,s:s,s:s,s:i}", "kind", "Status", "status", "Failure", "reason", why, "message",
	                         message, "code", status);
	*ret = json_dumps(json, 0);
	json_decref(json);
	return status;
}

static int fake_post(const char *path, const char *body, char **ret)
{
	char whole[1024];
	json_t *json = fake_parse(body);
	snprintf(whole, sizeof(whole), "%s/%s", path,
	         json_string_value(json_object_get(json_object_get(json, "metadata"), "name")));
	json_decref(json);
	if (fake_find(whole))
		return fake_refuse(ret, 409, "AlreadyExists", "it already exists");
	*ret = json_dumps(fake_put(whole, body), 0);
	return 201;
}

static int fake_patch(char *path, const char *body, char **ret)
{
	size_t n = strlen(path);
	bool status = n > 7 && !strcmp(path + n - 7, "/status");
	if (status)
		path[n - 7] = 0;
	struct fake_object *object = fake_find(path);
	bool apply = !strcmp(fake.content_type, "application/apply-patch+yaml");
	if (!object && apply) {
		*ret = json_dumps(fake_put(path, body), 0);
		return 201;
	}
	if (!object)
		return fake_refuse(ret, 404, "NotFound", "not found");
	if (!apply)
		assert_string_equal(fake.content_type, "application/merge-patch+json");
	json_t *patch = fake_parse(body), *metadata = json_object_get(patch, "metadata");
	json_t *wanted = json_object_get(metadata, "resourceVersion");
	if (wanted && !json_equal(wanted, json_object_get(json_object_get(object->json, "metadata"), "resourceVersion"))) {
		json_decref(patch);
		return fake_refuse(ret, 409, "Conflict", "the object has been modified");
	}
	json_t *next = json_deep_copy(object->json);
	if (!status)
		json_object_del(patch, "status");
	else
		json_object_del(patch, "spec");
	fake_merge(next, patch);
	if (!json_equal(next, object->json))
		fake_new_version(next);
	json_decref(object->json);
	object->json = next;
	json_decref(patch);
	*ret = json_dumps(next, 0);
	return 200;
}

static int fake_carry_out(const char *method, char *path, const char *body, char **ret)
{
	size_t n = strlen(path);
	bool get_status = !strcmp(method, "GET") && n > 7 && !strcmp(path + n - 7, "/status");
	if (get_status)
		path[n - 7] = 0; /* answered with the whole object */
	struct fake_object *object = fake_find(path);
	if (!strcmp(method, "POST"))
		return fake_post(path, body, ret);
	if (!strcmp(method, "PATCH"))
		return fake_patch(path, body, ret);
	if (!object)
		return fake_refuse(ret, 404, "NotFound", "not found");
	*ret = json_dumps(object->json, 0);
	if (!strcmp(method, "DELETE"))
		fake_remove(object);
	else
		assert_string_equal(method, "GET");
	return 200;
}

static void fake_answer(struct fake_connection *c, const char *method, char *path)
{
	static const int statuses[] = {[FAKE_500] = 500, [FAKE_429] = 429, [FAKE_403] = 403, [FAKE_422] = 422, [FAKE_CONFLICT] = 409};
	char *body = NULL;
	fake.requests++;
	buf_addf(&fake.log, "%s %s\n", method, path);
	if (fake.before)
		fake.before(method, path);
	enum fake_fault fault = fake.fault ? fake.fault(method, path) : FAKE_NONE;
	if (fault == FAKE_HANG)
		return;
	if (fault == FAKE_NOTHING) {
		fake_close(c);
		return;
	}
	int status = fault >= FAKE_500 && fault <= FAKE_CONFLICT
	                 ? fake_refuse(&body, statuses[fault], "Fault", "said by the test")
	                 : fake_carry_out(method, path, fake.body, &body);
	if (fault == FAKE_LOST)
		fake_close(c);
	else
		fake_send(c, status, body, fault == FAKE_CUT);
	free(body);
}

/* ---- requests ---- */

static void fake_on_request(struct fake_connection *c, const char *body, size_t n)
{
	char method[16], path[512];
	const char *type = strstr(c->in.data, "Content-Type: ");
	assert_int_equal(sscanf(c->in.data, "%15s %511[^ ?]", method, path), 2);
	assert_true(n < sizeof(fake.body));
	memcpy(fake.body, body, n);
	fake.body[n] = 0;
	fake.body_n = n;
	fake.content_type[0] = 0;
	if (type && type < body)
		assert_int_equal(sscanf(type, "Content-Type: %127[^\r]", fake.content_type), 1);
	assert_null(strstr(c->in.data, "Expect:"));
	fake_answer(c, method, path);
}

static void fake_on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	static char room[65536];
	*ret = uv_buf_init(room, sizeof(room));
}

static void fake_on_bytes(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
	struct fake_connection *c = stream->data;
	if (got < 0) {
		fake_close(c);
		return;
	}
	buf_add(&c->in, bytes->base, (size_t)got);
	const char *end = strstr(c->in.data, "\r\n\r\n"), *length = strstr(c->in.data, "Content-Length: ");
	size_t n = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
	if (end && c->in.len >= (size_t)(end + 4 - c->in.data) + n && !c->closing)
		fake_on_request(c, end + 4, n);
}

static void fake_on_connection(uv_stream_t *server, int status)
{
	struct fake_connection *c = xcalloc(1, sizeof(*c));
	assert_int_equal(status, 0);
	buf_init(&c->in, 1 << 20);
	uv_tcp_init(server->loop, &c->tcp);
	c->tcp.data = c;
	c->next = fake.connections;
	fake.connections = c;
	assert_int_equal(uv_accept(server, (uv_stream_t *)&c->tcp), 0);
	uv_read_start((uv_stream_t *)&c->tcp, fake_on_room, fake_on_bytes);
}

/* ---- beginning, turning and end ---- */

static inline void fake_open(struct kube_access *access)
{
	struct sockaddr_in address;
	int n = sizeof(address);
	memset(&fake, 0, sizeof(fake));
	buf_init(&fake.log, 1 << 20);
	fake.rv = 100;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(uv_loop_init(&fake.loop), 0);
	assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
	uv_timer_init(&fake.loop, &fake.timer);
	uv_tcp_init(&fake.loop, &fake.tcp);
	assert_int_equal(uv_tcp_bind(&fake.tcp, (struct sockaddr *)&address, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&fake.tcp, 64, fake_on_connection), 0);
	assert_int_equal(uv_tcp_getsockname(&fake.tcp, (struct sockaddr *)&address, &n), 0);
	fake.port = ntohs(address.sin_port);
	*access = (struct kube_access){.token = "x"};
	arena_init(&access->arena);
	access->server = arena_printf(&access->arena, "http://127.0.0.1:%d", fake.port);
}

static void fake_on_timer(uv_timer_t *timer)
{
	fake.timed_out = true;
}

/* Turns of the loop until done() or the time is over; returns done(). */
static inline bool fake_until(bool (*done)(void), unsigned ms)
{
	fake.timed_out = false;
	/* It repeats: a turn that runs it first and waits then must not wait for ever. */
	uv_timer_start(&fake.timer, fake_on_timer, ms, 1);
	while (!done() && !fake.timed_out)
		uv_run(&fake.loop, UV_RUN_ONCE);
	uv_timer_stop(&fake.timer);
	/* On a busy machine the time may be over before its bytes have been read. */
	for (unsigned i = 0; i < 20 && !done(); i++)
		uv_run(&fake.loop, UV_RUN_NOWAIT);
	return done();
}

static inline bool fake_never(void)
{
	return false;
}

/* Everything of the test's own is closed. Fails if a handle was left open. */
static inline void fake_done(struct kube_access *access)
{
	uv_close((uv_handle_t *)&fake.timer, NULL);
	uv_close((uv_handle_t *)&fake.tcp, NULL);
	for (struct fake_connection *c = fake.connections; c; c = c->next)
		fake_close(c);
	uv_run(&fake.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&fake.loop), 0);
	while (fake.n)
		json_decref(fake.objects[--fake.n].json);
	buf_done(&fake.log);
	kube_access_done(access);
}

#endif
