/* libmicrohttpd without threads: its epoll descriptor is polled by the loop, its time-outs are a timer of the loop.
 * Connections are few, short and small, whoever makes them. */
#include "controller/health.h"

#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 32
#define CONNECTION_MEMORY 16384
#define SILENCE_S 10
#define ANSWER_LIMIT ((size_t)1 << 20)

struct health {
	struct MHD_Daemon *daemon;
	struct health_events events;
	uv_poll_t poll;
	uv_timer_t timer;
	int open; /* handles */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type, struct buf *text)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(text->len, text->data, MHD_RESPMEM_MUST_COPY);
	BUG_ON(!response);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	enum MHD_Result result = MHD_queue_response(connection, code, response);
	MHD_destroy_response(response);
	return result;
}

/* MHD_AccessHandlerCallback: once for the head, once for its end; a body is nobody's business. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *body, size_t *n_body, void **seen)
{
	struct health *health = ctx;
	const char *type = "text/plain; charset=utf-8";
	unsigned code = MHD_HTTP_OK;
	struct buf text;
	if (!*seen || *n_body) {
		*seen = health;
		*n_body = 0;
		return MHD_YES;
	}
	buf_init(&text, ANSWER_LIMIT);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		code = MHD_HTTP_METHOD_NOT_ALLOWED;
		buf_adds(&text, "GET only\n");
	} else if (!strcmp(url, "/healthz")) {
		buf_adds(&text, "ok\n"); /* the loop turns: that is all there is to say */
	} else if (!strcmp(url, "/readyz")) {
		if (!health->events.ready(health->events.ctx, &text))
			code = MHD_HTTP_SERVICE_UNAVAILABLE;
	} else if (!strcmp(url, "/metrics")) {
		type = "text/plain; version=0.0.4; charset=utf-8";
		health->events.metrics(health->events.ctx, &text);
	} else {
		code = MHD_HTTP_NOT_FOUND;
		buf_adds(&text, "/healthz, /readyz or /metrics\n");
	}
	if (buf_failed(&text))
		code = MHD_HTTP_INTERNAL_SERVER_ERROR;
	enum MHD_Result result = answer(connection, code, type, &text);
	buf_done(&text);
	return result;
}

/* ---- the loop ---- */

static void turn(struct health *health);

static void on_time(uv_timer_t *timer)
{
	turn(timer->data);
}

static void turn(struct health *health)
{
	MHD_UNSIGNED_LONG_LONG ms;
	MHD_run(health->daemon);
	if (MHD_get_timeout(health->daemon, &ms) == MHD_YES)
		uv_timer_start(&health->timer, on_time, ms, 0);
	else
		uv_timer_stop(&health->timer);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	turn(poll->data);
}

/* ---- beginning and end ---- */

/* "ADDR:PORT" → its parts; false: not one. */
static bool split(const char *text, char *host, size_t size, const char **ret_port)
{
	const char *colon = strrchr(text, ':');
	bool bracketed = *text == '[';
	if (!colon || (bracketed && (colon == text + 1 || colon[-1] != ']')))
		return false;
	const char *from = text + bracketed;
	size_t n = (size_t)(colon - from) - bracketed;
	if (n >= size || (!bracketed && memchr(from, ':', n)))
		return false;
	memcpy(host, from, n);
	host[n] = 0;
	*ret_port = colon + 1;
	return true;
}

static bool is_port(const char *text)
{
	size_t n = strspn(text, "0123456789");
	return n && n < 6 && !text[n] && atoi(text) && atoi(text) <= 65535;
}

/* Numbers only: a name server has no say in where this listens. */
static int parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_size, struct err *reterr)
{
	const struct addrinfo hints = {
	        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *found = NULL;
	const char *port;
	char host[64];
	if (!split(text, host, sizeof(host), &port) || !is_port(port) ||
	    getaddrinfo(*host ? host : "::", port, &hints, &found))
		return err_set(reterr, -EINVAL, "--health-address: expected ADDR:PORT like :8081 or 127.0.0.1:8081, not \"%s\"",
		               text);
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	*ret_size = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int health_check_address(const char *address, struct err *reterr)
{
	struct sockaddr_storage ignored;
	socklen_t size;
	return parse(address, &ignored, &size, reterr);
}

static int listen_at(const struct sockaddr_storage *address, socklen_t size)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (address->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
	if (!bind(fd, (const struct sockaddr *)address, size) && !listen(fd, 128))
		return fd;
	int error = -errno;
	close(fd);
	return error;
}

/* A machine without IPv6 has no "::". */
static int listen_any(const char *text, struct err *reterr)
{
	struct sockaddr_storage address = {0};
	socklen_t size = 0;
	char v4[80];
	int fd = parse(text, &address, &size, reterr);
	if (fd)
		return fd;
	fd = listen_at(&address, size);
	if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && *text == ':') {
		snprintf(v4, sizeof(v4), "0.0.0.0%s", text);
		if (!parse(v4, &address, &size, reterr))
			fd = listen_at(&address, size);
	}
	return fd < 0 ? err_set(reterr, fd, "--health-address %s: %s", text, strerror(-fd)) : fd;
}

int health_open(uv_loop_t *loop, const char *address, const struct health_events *events, struct health **ret,
                struct err *reterr)
{
	int fd = listen_any(address, reterr);
	if (fd < 0)
		return fd;
	struct health *health = xcalloc(1, sizeof(*health));
	health->events = *events;
	health->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, health, MHD_OPTION_LISTEN_SOCKET, fd,
	                                  MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
	                                  (unsigned)SILENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                                  (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
	if (!health->daemon) {
		close(fd);
		free(health);
		return err_set(reterr, -ENOMEM, "--health-address %s: libmicrohttpd does not start", address);
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(health->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	BUG_ON(!info || uv_poll_init(loop, &health->poll, info->epoll_fd));
	uv_timer_init(loop, &health->timer);
	health->poll.data = health->timer.data = health;
	health->open = 2;
	uv_poll_start(&health->poll, UV_READABLE, on_poll);
	*ret = health;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct health *health = handle->data;
	if (--health->open)
		return;
	MHD_stop_daemon(health->daemon);
	void (*closed)(void *) = health->closed;
	void *ctx = health->closed_ctx;
	free(health);
	closed(ctx);
}

void health_close(struct health *health, void (*cb)(void *ctx), void *ctx)
{
	health->closed = cb;
	health->closed_ctx = ctx;
	uv_close((uv_handle_t *)&health->poll, on_closed);
	uv_close((uv_handle_t *)&health->timer, on_closed);
}
