/* The three answers over real connections, the loop turning in this thread, the client in another. */
#include "controller/health.h"
#include "controller/metrics.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define ANSWER 65536

struct world {
	uv_loop_t loop;
	uv_async_t done;
	struct health *health;
	uint16_t port;
	const char *request;
	char answer[ANSWER];
	bool ready;
};

static bool is_ready(void *ctx, struct buf *out)
{
	const struct world *w = ctx;
	buf_adds(out, w->ready ? "ready\n" : "not ready: it rains\n");
	return w->ready;
}

static void own_metrics(void *ctx, struct buf *out)
{
	metric(out, "hatchway_own", "gauge", "Own.", 1.5);
	metric_family(out, "hatchway_others_total", "counter", "Others.");
	metric_sample(out, "hatchway_others_total", "of", "a\"b\\c\nd", 3);
}

/* ---- the client's thread ---- */

static void speak(struct world *w)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 5};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	size_t n = 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) ||
	    send(fd, w->request, strlen(w->request), MSG_NOSIGNAL) != (ssize_t)strlen(w->request))
		abort();
	for (ssize_t got; n < ANSWER - 1 && (got = recv(fd, w->answer + n, ANSWER - 1 - n, 0)) > 0;)
		n += (size_t)got;
	w->answer[n] = 0;
	close(fd);
}

static void client(void *ctx)
{
	struct world *w = ctx;
	speak(w);
	uv_async_send(&w->done);
}

static void on_done(uv_async_t *done)
{
	uv_stop(done->loop);
}

/* "GET /path" → the whole answer. */
static const char *ask(struct world *w, const char *head)
{
	char request[512];
	uv_thread_t thread;
	snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", head);
	w->request = request;
	assert_int_equal(uv_thread_create(&thread, client, w), 0);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_thread_join(&thread);
	return w->answer;
}

static void asks(struct world *w, const char *head, const char *status, const char *body)
{
	const char *answer = ask(w, head), *end = strstr(answer, "\r\n\r\n");
	if (strncmp(answer + strlen("HTTP/1.1 "), status, 3) != 0 || !end || strcmp(end + 4, body) != 0)
		fail_msg("%s: expected %s %s, got %s", head, status, body, answer);
}

/* ---- tests ---- */

static void on_gone(void *ctx)
{
	struct world *w = ctx;
	w->health = NULL;
	uv_close((uv_handle_t *)&w->done, NULL);
}

static struct world *open_world(void)
{
	struct world *w = xcalloc(1, sizeof(*w));
	const struct health_events events = {is_ready, own_metrics, w};
	char address[32];
	struct err err;
	uv_loop_init(&w->loop);
	uv_async_init(&w->loop, &w->done, on_done);
	int ret = -EADDRINUSE;
	for (w->port = 21000; ret == -EADDRINUSE && w->port < 21100; w->port++) {
		snprintf(address, sizeof(address), ":%u", w->port);
		ret = health_open(&w->loop, address, &events, &w->health, &err);
	}
	w->port--;
	assert_int_equal(ret, 0);
	return w;
}

static void close_world(struct world *w)
{
	health_close(w->health, on_gone, w);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_null(w->health);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
}

static void answers(void **state)
{
	struct world *w = open_world();
	asks(w, "GET /healthz", "200", "ok\n");
	asks(w, "GET /readyz", "503", "not ready: it rains\n");
	w->ready = true;
	asks(w, "GET /readyz?verbose", "200", "ready\n");
	asks(w, "HEAD /readyz", "200", "");
	asks(w, "GET /else", "404", "/healthz, /readyz or /metrics\n");
	asks(w, "POST /readyz", "405", "GET only\n");
	asks(w, "GET /metrics", "200",
	     "# HELP hatchway_own Own.\n# TYPE hatchway_own gauge\nhatchway_own 1.5\n"
	     "# HELP hatchway_others_total Others.\n# TYPE hatchway_others_total counter\n"
	     "hatchway_others_total{of=\"a\\\"b\\\\c\\nd\"} 3\n");
	assert_non_null(strstr(w->answer, "Content-Type: text/plain; version=0.0.4"));
	close_world(w);
}

/* A second one cannot have the port, and says so; a client in the middle of its request does not keep the end waiting. */
static void taken_and_closed(void **state)
{
	struct world *w = open_world();
	struct health *other = NULL;
	struct err err = {""};
	char address[32], expected[128];
	const struct health_events events = {is_ready, own_metrics, w};
	snprintf(address, sizeof(address), ":%u", w->port);
	assert_int_equal(health_open(&w->loop, address, &events, &other, &err), -EADDRINUSE);
	snprintf(expected, sizeof(expected), "--health-address :%u: Address already in use", w->port);
	assert_string_equal(err.text, expected);
	assert_null(other);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, "GET /he", 7, MSG_NOSIGNAL), 7);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	close_world(w);
	close(fd);
}

static void addresses(void **state)
{
	static const char *const good[] = {":8081", "127.0.0.1:80", "[::1]:65535", "[::]:1", "0.0.0.0:8081"};
	static const char *const bad[] = {"", ":", "8081", "localhost:80", ":0", ":65536", ":80x", "::1:80", "[::1]80", "[::1", ":-1", "1.2.3:x"};
	struct err err = {""};
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(health_check_address(good[i], &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (health_check_address(bad[i], &err) != -EINVAL)
			fail_msg("\"%s\" is taken for an address", bad[i]);
	assert_string_equal(err.text, "--health-address: expected ADDR:PORT like :8081 or 127.0.0.1:8081, not \"1.2.3:x\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(taken_and_closed),
					   cmocka_unit_test(addresses)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
