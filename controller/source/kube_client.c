/* Owns curl's multi handle, its sockets as uv_poll handles and its one timer. curl says what to wait for, libuv waits,
 * and curl is told what has happened; nothing else may touch the sockets. curl must not be called from its own
 * callbacks, so requests' ends are told after it has returned, and requests begin and go soon after they are asked to. */
#include "controller/source/kube_client.h"

#include "controller/object/schema.h"
#include "controller/source/credential.h"
#include "controller/source/json.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define ERROR_BODY_CEILING (64u << 10)
#define RETRY_AFTER_CEILING_S 300
#define SOCKET_SILENCE_MS 20000 /* sent bytes not acknowledged for so long: the connection is dead */

struct kube_request {
	struct kube_request *next, **link; /* of the client's list */
	struct kube_client *client;
	struct kube_request_events events;
	struct kube_deadlines deadlines;
	CURL *easy; /* NULL: waits for a credential, or for the scout */
	struct curl_slist *headers;
	const char *accept;
	const char *method, *content_type; /* NULL: a GET; no body */
	char *body;                        /* as long as curl may send it, also once more */
	size_t body_n;
	struct buf error_body;
	uint64_t retry_after_ms;
	uint64_t round;
	bool stopped;   /* bytes() wants no more */
	bool cancelled; /* its owner hears of nothing any more; it goes soon */
	char error[CURL_ERROR_SIZE];
	char path[];
};

struct socket {
	uv_poll_t poll;
	struct kube_client *client;
	curl_socket_t fd;
};

/* What the server speaks. Found out by the first request alone, the scout: with HTTP/2 all others share its connection,
 * with HTTP/1.1 each needs one of its own, and curl told to wait for sharing (PIPEWAIT) would let watches starve. */
enum speaks { UNKNOWN, HTTP_1, HTTP_2 };

struct kube_client {
	uv_loop_t *loop;
	const struct kube_access *access;
	struct credential *credential;
	CURLM *multi;
	uv_timer_t timer; /* curl's */
	uv_timer_t soon;  /* there are new requests, or cancelled ones */
	struct kube_request *requests;
	uint64_t round; /* counts resets */
	enum speaks speaks;
	struct kube_request *scout; /* while it is unknown */
	char *origin;               /* scheme://host[:port][/path] as requested */
	struct curl_slist *connect_to;
	unsigned handles; /* open ones of ours, and the credential */
	bool closing;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* ---- ends ---- */

static void start_waiting(struct kube_client *client);

static void free_request(struct kube_request *request)
{
	if (request->client->scout == request)
		request->client->scout = NULL;
	if (request->easy) {
		curl_multi_remove_handle(request->client->multi, request->easy);
		curl_easy_cleanup(request->easy);
	}
	*request->link = request->next;
	if (request->next)
		request->next->link = request->link;
	curl_slist_free_all(request->headers);
	buf_done(&request->error_body);
	free(request->body);
	free(request);
}

static void end_request(struct kube_request *request, const struct kube_result *result)
{
	struct kube_request_events events = request->events;
	struct kube_client *client = request->client;
	const bool heard = !request->cancelled;
	free_request(request);
	if (heard)
		events.end(events.ctx, result);
	start_waiting(client);
}

static void on_soon(uv_timer_t *timer);

void kube_cancel(struct kube_request *request)
{
	request->cancelled = true;
	uv_timer_start(&request->client->soon, on_soon, 0, 0);
}

static bool is_success(long status)
{
	return status >= 200 && status < 300;
}

/* What an API server says in a Status object, else curl's or HTTP's words. */
static const char *reason(struct kube_request *request, CURLcode code, long status, struct arena *scratch)
{
	struct node *root;
	struct err err;
	const char *message = NULL;
	if (code && !request->stopped)
		return *request->error ? request->error : curl_easy_strerror(code);
	if (request->error_body.len &&
	    !json_node(request->error_body.data, request->error_body.len, scratch, &root, &err))
		message = node_text(root, "message");
	if (message && *message)
		return message;
	return is_success(status) ? "" : arena_printf(scratch, "HTTP status %ld", status);
}

static int error_of(const struct kube_request *request, CURLcode code)
{
	if (!code)
		return 0;
	if (request->stopped)
		return -ECANCELED;
	if (code == CURLE_OPERATION_TIMEDOUT)
		return -ETIMEDOUT;
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
		return -ECONNREFUSED;
	return -EIO;
}

static void on_done(struct kube_request *request, CURLcode code)
{
	struct arena scratch;
	struct kube_result result = {.error = error_of(request, code), .retry_after_ms = request->retry_after_ms};
	long status = 0;
	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	/* A refusal is one even if its body was too long or cut. */
	if (status >= 300)
		result.error = 0;
	result.status = result.error && result.error != -ECANCELED ? 0 : status;
	arena_init(&scratch);
	/* A copy: the request is gone before its end is told. */
	result.text = arena_strdup(&scratch, reason(request, result.error ? code : CURLE_OK, status, &scratch));
	if (status == 401)
		credential_refused(request->client->credential);
	end_request(request, &result);
	arena_done(&scratch);
}

static void tell_ends(struct kube_client *client)
{
	CURLMsg *message;
	int left;
	while (!client->closing && (message = curl_multi_info_read(client->multi, &left))) {
		struct kube_request *request;
		CURLcode code = message->data.result;
		if (message->msg != CURLMSG_DONE)
			continue;
		char *private;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		request = (struct kube_request *)(void *)private;
		on_done(request, code);
	}
}

/* ---- curl's sockets and timer on the loop ---- */

static void on_handle_closed(struct kube_client *client);

static void act(struct kube_client *client, curl_socket_t fd, int what)
{
	int running;
	curl_multi_socket_action(client->multi, fd, what, &running);
	tell_ends(client);
	start_waiting(client);
}

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
	struct socket *socket = poll->data;
	int what = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
	act(socket->client, socket->fd, status < 0 ? CURL_CSELECT_ERR : what);
}

static void on_timer(uv_timer_t *timer)
{
	act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct socket *socket = handle->data;
	struct kube_client *client = socket->client;
	free(socket);
	on_handle_closed(client);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct kube_client *client = ctx;
	struct socket *socket = socket_ctx;
	if (what == CURL_POLL_REMOVE) {
		if (!socket)
			return 0;
		/* Also takes the descriptor out of epoll, before curl closes it. */
		uv_poll_stop(&socket->poll);
		uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
		curl_multi_assign(client->multi, fd, NULL);
		return 0;
	}
	if (!socket) {
		socket = xcalloc(1, sizeof(*socket));
		socket->client = client;
		socket->fd = fd;
		if (uv_poll_init_socket(client->loop, &socket->poll, fd)) {
			free(socket);
			return -1;
		}
		socket->poll.data = socket;
		client->handles++;
		curl_multi_assign(client->multi, fd, socket);
	}
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
	return uv_poll_start(&socket->poll, events, on_socket_ready) ? -1 : 0;
}

static int on_curl_timer(CURLM *multi, long ms, void *ctx)
{
	struct kube_client *client = ctx;
	if (client->closing)
		return 0;
	if (ms < 0)
		uv_timer_stop(&client->timer);
	else
		uv_timer_start(&client->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static CURLM *new_multi(struct kube_client *client)
{
	CURLM *multi = curl_multi_init();
	BUG_ON(!multi);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	return multi;
}

/* ---- one request ---- */

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct kube_request *request = ctx;
	long status = 0;
	if (request->cancelled)
		return 0;
	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	n *= size;
	if (!is_success(status)) {
		buf_add(&request->error_body, bytes, n);
		return buf_failed(&request->error_body) ? 0 : n;
	}
	request->stopped = request->events.bytes && !request->events.bytes(request->events.ctx, bytes, n);
	return request->stopped ? 0 : n;
}

/* The head has ended. */
static void on_head(struct kube_request *request)
{
	struct kube_client *client = request->client;
	long status = 0, version = 0;
	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(request->easy, CURLINFO_HTTP_VERSION, &version);
	if (status < 200)
		return; /* another head follows */
	client->speaks = version == CURL_HTTP_VERSION_2_0 ? HTTP_2 : HTTP_1;
	client->scout = NULL;
	if (is_success(status) && request->events.began && !request->cancelled)
		request->events.began(request->events.ctx);
}

/* Retry-After in seconds; as a date (which API servers do not send) it is not read. */
static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	static const char name[] = "retry-after:";
	struct kube_request *request = ctx;
	size_t length = n * size, at = sizeof(name) - 1;
	unsigned long seconds = 0;
	bool digits = false;
	if (length <= 2)
		on_head(request);
	if (length < at || strncasecmp(line, name, at))
		return length;
	while (at < length && line[at] == ' ')
		at++;
	for (; at < length && line[at] >= '0' && line[at] <= '9' && seconds <= RETRY_AFTER_CEILING_S;
	     at++, digits = true)
		seconds = seconds * 10 + (unsigned long)(line[at] - '0');
	if (digits)
		request->retry_after_ms = 1000 * (seconds > RETRY_AFTER_CEILING_S ? RETRY_AFTER_CEILING_S : seconds);
	return length;
}

static int on_new_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	unsigned ms = SOCKET_SILENCE_MS;
	int probes = 3;
	/* A machine that went away without a word: found by the kernel. Where these are refused, deadlines remain. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	return CURL_SOCKOPT_OK;
}

static void add_header(struct kube_request *request, const char *line)
{
	struct curl_slist *list = curl_slist_append(request->headers, line);
	BUG_ON(!list);
	request->headers = list;
}

static void set_headers(struct kube_request *request, struct arena *scratch)
{
	const struct kube_access *access = request->client->access;
	const char *token = credential_token(request->client->credential);
	add_header(request, arena_printf(scratch, "Accept: %s", request->accept));
	if (token)
		add_header(request, arena_printf(scratch, "Authorization: Bearer %s", token));
	if (access->as)
		add_header(request, arena_printf(scratch, "Impersonate-User: %s", access->as));
	if (request->body) {
		add_header(request, arena_printf(scratch, "Content-Type: %s", request->content_type));
		add_header(request, "Expect:"); /* no round trip before a big body */
	}
	curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
	if (access->username) {
		curl_easy_setopt(request->easy, CURLOPT_USERNAME, access->username);
		curl_easy_setopt(request->easy, CURLOPT_PASSWORD, access->password ? access->password : "");
	}
}

static void set_pem(CURL *easy, const struct kube_pem *pem, CURLoption path, CURLoption blob)
{
	struct curl_blob bytes = {(void *)(uintptr_t)pem->bytes, pem->size, CURL_BLOB_COPY};
	if (pem->bytes)
		curl_easy_setopt(easy, blob, &bytes);
	else if (pem->path)
		curl_easy_setopt(easy, path, pem->path);
}

static void set_tls(struct kube_request *request)
{
	struct kube_client *client = request->client;
	const struct kube_access *access = client->access;
	CURL *easy = request->easy;
	set_pem(easy, &access->ca, CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB);
	if (access->ca.path || access->ca.bytes)
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* this one, and not what the machine trusts besides */
	set_pem(easy, credential_cert(client->credential), CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB);
	set_pem(easy, credential_key(client->credential), CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, access->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, access->insecure ? 0L : 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (client->connect_to)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, client->connect_to);
	if (access->proxy_url)
		curl_easy_setopt(easy, CURLOPT_PROXY, access->proxy_url);
}

static void set_method(struct kube_request *request)
{
	if (request->body) {
		curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_n);
		curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, request->body);
	}
	if (request->method)
		curl_easy_setopt(request->easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_deadlines(struct kube_request *request)
{
	CURL *easy = request->easy;
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->deadlines.connect_ms);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)request->deadlines.silence_s);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->deadlines.total_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
}

static void start(struct kube_request *request)
{
	struct kube_client *client = request->client;
	struct arena scratch;
	CURL *easy = request->easy = curl_easy_init();
	BUG_ON(!easy);
	request->round = client->round;
	if (client->speaks == UNKNOWN)
		client->scout = request;
	arena_init(&scratch);
	curl_easy_setopt(easy, CURLOPT_URL, arena_printf(&scratch, "%s%s", client->origin, request->path));
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, client->speaks == HTTP_2 ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's head is not the server's */
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "hatchway/" HATCHWAY_VERSION);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	set_headers(request, &scratch);
	set_method(request);
	set_tls(request);
	set_deadlines(request);
	arena_done(&scratch);
	BUG_ON(curl_multi_add_handle(client->multi, easy));
}

static bool may_start(const struct kube_client *client)
{
	return !client->closing && (client->speaks != UNKNOWN || !client->scout);
}

/* Those that wait, if they need not any more. A credential that failed is told to all who wait. */
static void start_waiting(struct kube_client *client)
{
	struct err err = {""};
	struct kube_request *request = client->requests;
	while (request && may_start(client)) {
		struct kube_request *next = request->next;
		int ready = request->easy || request->cancelled ? 1 : credential_ready(client->credential, &err);
		if (!ready)
			return;
		if (ready < 0) {
			/* Its end may start and cancel any: who asks anew asks the plug-in anew. */
			const struct kube_result result = {.error = ready, .text = err.text};
			end_request(request, &result);
			return;
		}
		if (!request->easy && !request->cancelled)
			start(request);
		request = next;
	}
}

static void on_soon(uv_timer_t *timer)
{
	struct kube_client *client = timer->data;
	for (struct kube_request *request = client->requests, *next; request; request = next) {
		next = request->next;
		if (request->cancelled)
			free_request(request);
	}
	start_waiting(client);
}

static void on_credential(void *ctx)
{
	start_waiting(ctx);
}

struct kube_deadlines kube_within(unsigned ms)
{
	return (struct kube_deadlines){.connect_ms = ms, .silence_s = ms / 1000 + 1, .total_ms = ms};
}

static struct kube_request *new_request(struct kube_client *client, const char *path,
                                        const struct kube_deadlines *deadlines, const struct kube_request_events *events)
{
	size_t n = strlen(path) + 1;
	struct kube_request *request = xcalloc(1, sizeof(*request) + n);
	BUG_ON(client->closing);
	memcpy(request->path, path, n);
	request->client = client;
	request->accept = "application/json";
	request->events = *events;
	request->deadlines = *deadlines;
	buf_init(&request->error_body, ERROR_BODY_CEILING);
	request->next = client->requests;
	request->link = &client->requests;
	if (request->next)
		request->next->link = &request->next;
	client->requests = request;
	/* Not here: the caller may be one of curl's callbacks, and must not be told of a failure before it has this. */
	uv_timer_start(&client->soon, on_soon, 0, 0);
	return request;
}

struct kube_request *kube_get(struct kube_client *client, const char *path, const struct kube_deadlines *deadlines,
                              const struct kube_request_events *events)
{
	return new_request(client, path, deadlines, events);
}

struct kube_request *kube_get_metadata(struct kube_client *client, const char *path,
                                       const struct kube_deadlines *deadlines, const struct kube_request_events *events)
{
	struct kube_request *request = new_request(client, path, deadlines, events);
	request->accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
	return request;
}

struct kube_request *kube_send(struct kube_client *client, const char *method, const char *path, const char *content_type,
                               const char *body, size_t n, const struct kube_deadlines *deadlines,
                               const struct kube_request_events *events)
{
	struct kube_request *request = new_request(client, path, deadlines, events);
	request->method = method;
	request->content_type = content_type;
	if (body) {
		request->body = xmalloc(n + 1);
		memcpy(request->body, body, n);
		request->body_n = n;
	}
	return request;
}

void kube_client_reset(struct kube_client *client, const char *why)
{
	CURLM *old = client->multi;
	uint64_t round = client->round;
	struct kube_request *request;
	for (request = client->requests; request; request = request->next)
		if (request->easy)
			curl_multi_remove_handle(old, request->easy);
	client->multi = new_multi(client);
	client->speaks = strncmp(client->origin, "http://", 7) ? UNKNOWN : HTTP_1;
	client->scout = NULL;
	client->round++;
	curl_multi_cleanup(old);
	for (;;) {
		for (request = client->requests; request && (!request->easy || request->round > round);
		     request = request->next)
			;
		if (!request)
			return;
		const struct kube_result result = {.error = -ETIMEDOUT, .text = why};
		end_request(request, &result);
	}
}

/* ---- beginning and end ---- */

/* With tls-server-name the URL bears that name, and connections go where the kubeconfig says. */
static int make_origin(struct kube_client *client, struct err *reterr)
{
	const struct kube_access *access = client->access;
	char *host = NULL, *port = NULL, line[1024];
	CURLU *url = curl_url();
	BUG_ON(!url);
	CURLUcode bad = curl_url_set(url, CURLUPART_URL, access->server, 0);
	if (!bad && access->tls_server_name) {
		bad = curl_url_get(url, CURLUPART_HOST, &host, 0) ||
		      curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ||
		      curl_url_set(url, CURLUPART_HOST, access->tls_server_name, 0);
		snprintf(line, sizeof(line), "::%s:%s", host ? host : "", port ? port : "");
		client->connect_to = curl_slist_append(NULL, line);
	}
	char *whole = NULL;
	if (!bad)
		bad = curl_url_get(url, CURLUPART_URL, &whole, 0);
	if (!bad) {
		size_t n = strlen(whole);
		while (n && whole[n - 1] == '/')
			n--;
		client->origin = xcalloc(n + 1, 1);
		memcpy(client->origin, whole, n);
	}
	curl_free(host);
	curl_free(port);
	curl_free(whole);
	curl_url_cleanup(url);
	return bad ? err_set(reterr, -EINVAL, "server %s: no URL", access->server) : 0;
}

static void *our_calloc(size_t n, size_t size)
{
	return xcalloc(n, size);
}

static int init_curl(struct err *reterr)
{
	static bool done;
	const curl_version_info_data *have = curl_version_info(CURLVERSION_NOW);
	if (!done && curl_global_init_mem(CURL_GLOBAL_DEFAULT, xmalloc, free, xrealloc, xstrdup, our_calloc))
		return err_set(reterr, -EIO, "libcurl cannot be initialized");
	done = true;
	if (!(have->features & CURL_VERSION_SSL))
		return err_set(reterr, -EPROTONOSUPPORT, "libcurl %s without TLS", have->version);
	return 0;
}

int kube_client_open(uv_loop_t *loop, const struct kube_access *access, struct kube_client **ret, struct err *reterr)
{
	struct kube_client *client = xcalloc(1, sizeof(*client));
	client->access = access;
	client->loop = loop;
	int status = init_curl(reterr);
	if (!status)
		status = make_origin(client, reterr);
	if (status) {
		curl_slist_free_all(client->connect_to);
		free(client->origin);
		free(client);
		return status;
	}
	uv_timer_init(loop, &client->timer);
	uv_timer_init(loop, &client->soon);
	client->timer.data = client->soon.data = client;
	client->handles = 3;
	client->credential = credential_open(loop, access, on_credential, client);
	client->multi = new_multi(client);
	client->speaks = strncmp(client->origin, "http://", 7) ? UNKNOWN : HTTP_1;
	*ret = client;
	return 0;
}

static void on_handle_closed(struct kube_client *client)
{
	if (--client->handles || !client->closing)
		return;
	void (*closed)(void *ctx) = client->closed;
	void *ctx = client->closed_ctx;
	curl_slist_free_all(client->connect_to);
	free(client->origin);
	free(client);
	closed(ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_handle_closed(handle->data);
}

static void on_credential_closed(void *ctx)
{
	on_handle_closed(ctx);
}

void kube_client_close(struct kube_client *client, void (*cb)(void *ctx), void *ctx)
{
	client->closing = true;
	while (client->requests)
		free_request(client->requests);
	client->closed = cb;
	client->closed_ctx = ctx;
	curl_multi_cleanup(client->multi);
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
	uv_close((uv_handle_t *)&client->soon, on_timer_closed);
	credential_close(client->credential, on_credential_closed, client);
}
