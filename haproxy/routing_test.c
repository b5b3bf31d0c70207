/* The routing program on the real HAProxy against the meaning of tables: random tables and requests, each answer held
 * against table_match() and what the winning rule says. Needs HATCHWAY_HAPROXY.
 *
 * One HAProxy for all: tables change by rewriting its maps through the socket, backends are only ever added. An echo server
 * thread listens on one port per backend and answers with that port and the request's head. */
#include "haproxy/command.h"
#include "haproxy/config.h"
#include "haproxy/h2_client.h"
#include "haproxy/render.h"
#include "haproxy/rule.h"
#include "haproxy/table_random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define BIND_PORT 21500
#define ECHO_PORT 21510 /* + backend */
#define ECHO_PORTS (RANDOM_BACKENDS + 2)
#define HEAD_LIMIT 32768

/* ---- echo server ---- */

static int listen_on(uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) || listen(fd, 128))
		fail_msg("port %u: %s", port, strerror(errno));
	return fd;
}

/* How the next requests to "/try" fail: with a status, by closing, or by silence. */
enum { FAIL_CLOSE = 0, FAIL_SILENT = 1 };
static atomic_int fails_left, fails_how, tries_seen;

/* false: not to fail any more. */
static bool echo_fails(int fd, bool *ret_open)
{
	int how = fails_how;
	char answer[100];
	tries_seen++;
	if (fails_left <= 0)
		return false;
	fails_left--;
	int n = snprintf(answer, sizeof(answer), "HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", how);
	*ret_open = how == FAIL_SILENT || (how != FAIL_CLOSE && write(fd, answer, (size_t)n) == n);
	return true;
}

/* How many requests each port had, and the last of one that said "x-keep". Read by the tests when they have settled. */
static atomic_int ports_seen[ECHO_PORTS];
static char kept[HEAD_LIMIT + 1];
static size_t kept_n; /* a body may hold zeros */
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

/* A connection, and what has come of its request. */
struct echo {
	int fd;
	uint16_t port;
	bool answered; /* a stream, before it has ended */
	size_t n;
	char head[HEAD_LIMIT + 1];
};

static void echo_note(const struct echo *echo)
{
	ports_seen[echo->port - ECHO_PORT]++;
	if (!strcasestr(echo->head, "\r\nx-keep:") || echo->port == ECHO_PORT)
		return;
	pthread_mutex_lock(&kept_lock);
	memcpy(kept, echo->head, echo->n + 1);
	kept_n = echo->n;
	pthread_mutex_unlock(&kept_lock);
}

/* Is the request whole? */
static bool echo_whole(const struct echo *echo)
{
	const char *head = echo->head, *end = strstr(head, "\r\n\r\n"), *length = strcasestr(head, "\r\ncontent-length: ");
	const char *chunked = strcasestr(head, "\r\ntransfer-encoding: chunked");
	if (end && chunked && chunked < end)
		return !memcmp(head + echo->n - 5, "0\r\n\r\n", 5);
	return end && echo->n >= (size_t)(end + 4 - head) + (length && length < end ? strtoul(length + 18, NULL, 10) : 0);
}

/* Is it to be answered with its head? */
static bool echo_streams(const struct echo *echo)
{
	return strstr(echo->head, " /stream") && strstr(echo->head, "\r\n\r\n");
}

static bool echo_answer(const struct echo *echo)
{
	static char answer[HEAD_LIMIT + 512];
	bool open;
	if (strstr(echo->head, " /try") && echo_fails(echo->fd, &open))
		return open;
	if (strstr(echo->head, "/slow"))
		return true; /* never answers */
	/* The next request must not come right behind a stream's end. */
	int length = snprintf(answer, sizeof(answer),
	                      "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\nX-A: server\r\nX-B: server\r\nX-C: server\r\n"
	                      "Access-Control-Allow-Origin: server\r\nAccess-Control-Max-Age: 1\r\n\r\n%u\n",
	                      echo_streams(echo) ? "Connection: close\r\n" : "", echo->n + 6, echo->port);
	memcpy(answer + length, echo->head, echo->n);
	return write(echo->fd, answer, (size_t)length + echo->n) == length + (ssize_t)echo->n;
}

/* What has come. A request is answered when it is whole. */
static bool echo_read(struct echo *echo)
{
	ssize_t r = read(echo->fd, echo->head + echo->n, HEAD_LIMIT - echo->n);
	if (r <= 0)
		return false;
	echo->n += (size_t)r;
	echo->head[echo->n] = 0;
	bool whole = echo_whole(echo);
	if ((whole || echo_streams(echo)) && !echo->answered) {
		echo->answered = true;
		echo_note(echo);
		if (!echo_answer(echo))
			return false;
	}
	if (whole) {
		echo->answered = false;
		echo->n = 0;
	}
	return true;
}

static struct echo *echo_new(int fd, uint16_t port)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	echo->fd = fd;
	echo->port = port;
	return echo;
}

static void *echo_serve(void *arg)
{
	struct pollfd fds[512];
	struct echo *echos[512];
	nfds_t n = ECHO_PORTS;
	for (nfds_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){.fd = ((int *)arg)[i], .events = POLLIN};
	while (poll(fds, n, -1) >= 0) {
		for (nfds_t i = n; i-- > 0;) {
			if (!fds[i].revents)
				continue;
			if (i < ECHO_PORTS && n < ARRAY_LEN(fds)) {
				fds[n] = (struct pollfd){.fd = accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC), .events = POLLIN};
				echos[n] = echo_new(fds[n].fd, (uint16_t)(ECHO_PORT + i));
				n++;
			} else if (i >= ECHO_PORTS && !echo_read(echos[i])) {
				close(fds[i].fd);
				free(echos[i]);
				fds[i] = fds[--n];
				echos[i] = echos[n];
			}
		}
	}
	return NULL;
}

/* ---- HAProxy ---- */

static char dir[] = "/tmp/hatchway-routing-XXXXXX";
static pid_t haproxy;
static struct image *loaded; /* backends and servers it has */

static void write_text(const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int connect_cli(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/haproxy.sock", dir);
	if (!connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		return fd;
	close(fd);
	return -1;
}

/* One command line, with its payload; an answer of severity 3 fails. */
static void cli(const char *text, size_t n)
{
	char answer[4096];
	size_t got = 0;
	int fd = connect_cli();
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	for (ssize_t r; got < sizeof(answer) - 1 && (r = read(fd, answer + got, sizeof(answer) - 1 - got)) > 0;)
		got += (size_t)r;
	answer[got] = 0;
	close(fd);
	if (strstr(answer, "[3]:") || strstr(answer, "Unknown"))
		fail_msg("HAProxy refused: %s\nto: %.2000s", answer, text);
}

static void start_haproxy(void)
{
	const char *binary = getenv("HATCHWAY_HAPROXY");
	char path[256];
	struct buf text;
	if (!binary || access(binary, X_OK))
		fail_msg("HATCHWAY_HAPROXY must name a HAProxy");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/maps", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (const char *const *map = config_maps; *map; map++)
		write_text(*map, "");
	const struct config_bind binds[] = {{"", BIND_PORT, 0, false}, {"127.0.0.2", BIND_PORT + 1, 0, false}};
	buf_init(&text, (size_t)1 << 20);
	char instance[32];
	snprintf(instance, sizeof(instance), "test%d", getpid());
	config_render(&(struct config_input){.binds = binds, .n_binds = 2, .instance = instance, .fd_limit = 2000,
	                                     .threads = 1, .root = !geteuid()}, &text);
	write_text("haproxy.cfg", text.data);
	write_text("hatchway.lua", config_lua);
	buf_done(&text);
	haproxy = fork();
	if (!haproxy) {
		char log[256];
		snprintf(log, sizeof(log), "%s/log", dir);
		int fd = open(log, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		execl(binary, binary, "-db", "-C", dir, "-f", "haproxy.cfg", (char *)NULL);
		_exit(127);
	}
	int fd = -1;
	for (int i = 0; i < 500 && fd < 0; i++) {
		usleep(10000);
		fd = connect_cli();
	}
	if (fd < 0)
		fail_msg("HAProxy did not start, see %s/log", dir);
	close(fd);
}

static int setup(void **state)
{
	static int fds[ECHO_PORTS];
	pthread_t thread;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < ECHO_PORTS; i++)
		fds[i] = listen_on((uint16_t)(ECHO_PORT + i));
	if (pthread_create(&thread, NULL, echo_serve, fds))
		return -1;
	loaded = image_new();
	start_haproxy();
	return 0;
}

static int teardown(void **state)
{
	int status;
	char command[300];
	if (haproxy > 0) {
		kill(haproxy, SIGTERM);
		waitpid(haproxy, &status, 0);
	}
	image_free(loaded);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return getenv("HATCHWAY_KEEP") ? 0 : system(command);
}

/* ---- loading an image ---- */

static void load_server(const char *key, const char *text, struct buf *out)
{
	struct server_value value;
	static const char *const states[] = {"ready", "drain", "maint"};
	const struct item *held = image_get(loaded, ITEM_SERVER, key);
	assert_true(server_value_parse(text, &value));
	if (held && !strcmp(held->value, text))
		return;
	if (!held) {
		buf_addf(out, "add server %s %s", key, value.address);
		command_server_manner(key, &value, out);
		buf_addc(out, ';');
	} else if (*value.address == '1')
		buf_addf(out, "set server %s addr 127.0.0.1 port %s;", key, strchr(value.address, ':') + 1);
	buf_addf(out, "set server %s weight %u;set server %s state %s\n", key, value.weight, key, states[value.state]);
	image_set(loaded, ITEM_SERVER, key, text);
}

/* What earlier tables had and this one has not takes no requests. */
static void stop_others(const struct image *image, struct buf *out)
{
	size_t n;
	const struct item **list = image_sorted(loaded, &n);
	for (size_t i = 0; i < n; i++) {
		if (list[i]->kind != ITEM_SERVER || image_get(image, ITEM_SERVER, list[i]->key) ||
		    !strcmp(list[i]->value, "127.0.0.1:1 weight 0 maint"))
			continue;
		buf_addf(out, "set server %s state maint\n", list[i]->key);
		image_set(loaded, ITEM_SERVER, list[i]->key, "127.0.0.1:1 weight 0 maint");
	}
	free(list);
}

static void load_commands(const struct buf *commands)
{
	for (const char *line = commands->data; *line; line = strchr(line, '\n') + 1)
		cli(line, (size_t)(strchr(line, '\n') - line) + 1);
}

static const char *item_map(const struct item *item)
{
	static const char *const maps[ITEM_KINDS] = {[ITEM_CHAIN] = "maps/chain.map", [ITEM_RULE] = "maps/rule.map",
	                                             [ITEM_PATH] = "maps/path.map", [ITEM_HOST] = "maps/host.map",
	                                             [ITEM_LISTENER] = "maps/listener.map"};
	if (item->kind == ITEM_REGEX) {
		for (const char *const *map = config_maps; *map; map++)
			if (!strncmp(*map, "maps/regex-", 11) &&
			    strtoul(*map + 11, NULL, 10) == (unsigned char)item->key[0] % CONFIG_REGEX_BUCKETS)
				return *map;
	}
	return maps[item->kind];
}

static void load_map(const struct item **list, size_t n, const char *map)
{
	struct buf text;
	buf_init(&text, (size_t)1 << 20);
	buf_addf(&text, "clear map %s\n", map);
	cli(text.data, text.len);
	buf_clear(&text);
	buf_addf(&text, "add map %s <<END\n", map);
	size_t empty = text.len;
	for (size_t i = 0; i < n; i++)
		if (list[i]->kind >= ITEM_REGEX && item_map(list[i]) && !strcmp(item_map(list[i]), map))
			buf_addf(&text, "%s %s\n", list[i]->key, list[i]->value);
	if (text.len > empty) {
		buf_adds(&text, "END\n");
		cli(text.data, text.len);
	}
	buf_done(&text);
}

static void load_image(const struct image *image)
{
	struct buf commands;
	size_t n;
	const struct item **list = image_sorted(image, &n);
	buf_init(&commands, (size_t)1 << 20);
	for (size_t i = 0; i < n; i++) {
		if (list[i]->kind == ITEM_BACKEND && !image_get(loaded, ITEM_BACKEND, list[i]->key)) {
			buf_addf(&commands, "add backend %s from %s;publish backend %s\n", list[i]->key, list[i]->value, list[i]->key);
			image_set(loaded, ITEM_BACKEND, list[i]->key, list[i]->value);
		}
		if (list[i]->kind == ITEM_SERVER)
			load_server(list[i]->key, list[i]->value, &commands);
	}
	stop_others(image, &commands);
	load_commands(&commands);
	for (const char *const *map = config_maps; *map; map++)
		load_map(list, n, *map);
	buf_done(&commands);
	free(list);
}

/* HATCHWAY_KEEP=1 leaves the directory and in it the last table, for whoever looks for the cause of a failure. */
static void keep_table(const struct table *table)
{
	struct buf text;
	buf_init(&text, (size_t)1 << 20);
	table_dump(table, &text);
	if (getenv("HATCHWAY_KEEP"))
		write_text("table", text.data);
	buf_done(&text);
}

static void load_table(const struct table *table)
{
	struct table *empty = table_new();
	struct table_changes changes = {0};
	struct render *render = render_new();
	struct image *image = image_new();
	char instance[32];
	snprintf(instance, sizeof(instance), "test%d", getpid());
	render_set_instance(render, instance);
	keep_table(table);
	table_diff(empty, table, &changes);
	render_apply(render, changes.list, changes.n, image);
	load_image(image);
	table_changes_done(&changes);
	render_free(render);
	image_free(image);
	table_free(empty);
}

/* ---- requests ---- */

struct answer {
	int status;
	char head[HEAD_LIMIT + 1]; /* status line and headers */
	char *body;                /* behind the head */
};

static int client_fds[2] = {-1, -1};

static int client_connect(bool second)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(second ? BIND_PORT + 1 : BIND_PORT),
	                          .sin_addr.s_addr = htonl(second ? 0x7f000002 : INADDR_LOOPBACK)};
	/* The client of the second listener is another: guards tell them apart. */
	const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = sin.sin_addr};
	struct timeval timeout = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (bind(fd, (const struct sockaddr *)&from, sizeof(from)))
		fail_msg("cannot bind a client: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)))
		fail_msg("cannot connect to HAProxy: %s", strerror(errno));
	return fd;
}

static bool read_answer(int fd, struct answer *ret)
{
	static char bytes[HEAD_LIMIT + 1];
	size_t n = 0;
	for (;;) {
		bytes[n] = 0;
		char *end = strstr(bytes, "\r\n\r\n"), *length = end ? strcasestr(bytes, "\r\ncontent-length: ") : NULL;
		if (end && n >= (size_t)(end + 4 - bytes) + (length && length < end ? strtoul(length + 18, NULL, 10) : 0)) {
			memcpy(ret->head, bytes, n + 1);
			ret->body = ret->head + (end + 2 - bytes);
			*ret->body = 0;
			ret->body += 2;
			ret->status = atoi(ret->head + 9);
			return true;
		}
		ssize_t r = read(fd, bytes + n, HEAD_LIMIT - n);
		if (r <= 0)
			return false;
		n += (size_t)r;
	}
}

static void ask(const struct table_request *request, struct answer *ret)
{
	struct buf text;
	bool second = strcmp(request->listener, "80") != 0;
	int *fd = &client_fds[second];
	buf_init(&text, HEAD_LIMIT);
	buf_addf(&text, "%s %s%s%s HTTP/1.1\r\nHost: %s\r\n", request->method, request->path, *request->query ? "?" : "",
	         request->query, request->host);
	for (size_t i = 0; i < request->n_headers; i++)
		buf_addf(&text, "%s: %s\r\n", request->headers[i].name, request->headers[i].value);
	buf_adds(&text, "Content-Length: 0\r\n\r\n");
	for (int tries = 0; tries < 2; tries++) {
		if (*fd < 0)
			*fd = client_connect(second);
		bool ok = write(*fd, text.data, text.len) == (ssize_t)text.len && read_answer(*fd, ret);
		if (!ok || strcasestr(ret->head, "\r\nconnection: close")) {
			close(*fd);
			*fd = -1;
		}
		if (ok) {
			buf_done(&text);
			return;
		}
	}
	fail_msg("no answer to:\n%s", text.data);
}

/* ---- what the answer should be ---- */

static bool backend_has(const struct table *table, const char *key)
{
	const struct table_backend *backend = key ? table_backend(table, key) : NULL;
	for (size_t i = 0; backend && i < backend->n_endpoints; i++)
		if (!backend->endpoints[i].draining)
			return true;
	return false;
}

static uint64_t rule_total(const struct table_rule *rule)
{
	uint64_t total = 0;
	for (size_t i = 0; i < rule->n_refs; i++)
		total += rule->refs[i].weight;
	return total;
}

/* Statuses that a forward may give: by the references that have weight. 200 means one of their ports. */
static bool status_possible(const struct table *table, const struct table_rule *rule, int status)
{
	if (!rule_total(rule))
		return status == 500;
	for (size_t i = 0; i < rule->n_refs; i++) {
		if (!rule->refs[i].weight)
			continue;
		const struct table_ref *ref = &rule->refs[i];
		int redirect = ref->edits ? ref->edits->redirect.status : 0;
		if (status == (!ref->backend ? 500 : redirect ? redirect : backend_has(table, ref->backend) ? 200 : 503))
			return true;
	}
	return false;
}

/* The path after the rewrite (prefix is always "/" in these tables). */
static void rewritten(const struct table_rewrite *rewrite, const char *path, struct buf *out)
{
	const char *to = rewrite->path;
	size_t n = to ? strlen(to) : 0;
	buf_clear(out);
	if (rewrite->edit == TABLE_PATH_KEEP) {
		buf_adds(out, path);
		return;
	}
	if (rewrite->edit == TABLE_PATH_PREFIX_EDIT && n && to[n - 1] == '/')
		n--;
	for (size_t i = 0; i < n; i++)
		buf_addf(out, strchr(" \"?#", to[i]) ? "%%%02X" : "%c", to[i]);
	if (rewrite->edit == TABLE_PATH_PREFIX_EDIT)
		buf_adds(out, path);
	if (!out->len)
		buf_addc(out, '/');
}

/* All lines of a header, joined by "|"; NULL buffer content "" if none. */
static void header_lines(const char *head, const char *name, struct buf *out)
{
	size_t n = strlen(name);
	buf_clear(out);
	for (const char *line = strstr(head, "\r\n"); line && line[2] && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, name, n) || line[2 + n] != ':')
			continue;
		const char *value = line + 2 + n + 1;
		value += *value == ' ';
		buf_addf(out, "<%.*s>", (int)(strstr(value, "\r\n") - value), value);
	}
}

static void apply_edit(struct buf *lines, const struct table_headers *headers, const char *name)
{
	for (size_t i = 0; i < headers->n_set; i++)
		if (!strcasecmp(headers->set[i].name, name)) {
			buf_clear(lines);
			buf_addf(lines, "<%s>", headers->set[i].value);
		}
	for (size_t i = 0; i < headers->n_add; i++)
		if (!strcasecmp(headers->add[i].name, name))
			buf_addf(lines, "<%s>", headers->add[i].value);
	for (size_t i = 0; i < headers->n_remove; i++)
		if (!strcasecmp(headers->remove[i].name, name))
			buf_clear(lines);
}

/* Are the headers what `before` becomes by the first edits, then the second (NULL: none)? */
static bool headers_are(const char *head, const struct table_headers *first, const struct table_headers *second,
                        const char *before)
{
	static const char *const names[] = {"x-a", "x-b", "x-c"};
	struct buf wanted, got;
	bool same = true;
	buf_init(&wanted, 4096);
	buf_init(&got, 4096);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		buf_clear(&wanted);
		buf_adds(&wanted, before);
		if (first)
			apply_edit(&wanted, first, names[i]);
		if (second)
			apply_edit(&wanted, second, names[i]);
		header_lines(head, names[i], &got);
		same &= !strcmp(wanted.data, got.data);
	}
	buf_done(&wanted);
	buf_done(&got);
	return same;
}

static void check_headers(const char *head, const struct table_headers *headers, const char *before)
{
	if (!headers_are(head, headers, NULL, before))
		fail_msg("headers are not as the rule says:\n%s", head);
}

/* Did the backend see this path and this host? */
static bool target_is(const struct table_rewrite *rewrite, const struct table_request *request, const char *line)
{
	struct buf path, wanted, got;
	char host[300];
	buf_init(&path, HEAD_LIMIT);
	buf_init(&wanted, HEAD_LIMIT);
	buf_init(&got, HEAD_LIMIT);
	rewritten(rewrite, request->path, &path);
	buf_addf(&wanted, "%s %s%s%s HTTP/1.1\r\n", request->method, path.data, *request->query ? "?" : "", request->query);
	header_lines(line, "host", &got);
	snprintf(host, sizeof(host), "<%s>", rewrite->hostname ? rewrite->hostname : request->host);
	bool same = !strncmp(line, wanted.data, wanted.len) && !strcmp(got.data, host);
	buf_done(&path);
	buf_done(&wanted);
	buf_done(&got);
	return same;
}

static bool location_is(const struct table_edits *edits, const struct table_request *request, const struct answer *answer)
{
	struct buf path, wanted, got;
	const struct table_redirect *redirect = &edits->redirect;
	char host[300], port[16] = "";
	buf_init(&path, HEAD_LIMIT);
	buf_init(&wanted, HEAD_LIMIT);
	buf_init(&got, HEAD_LIMIT);
	snprintf(host, sizeof(host), "%s", edits->rewrite.hostname ? edits->rewrite.hostname : request->host);
	for (char *p = host; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	char *colon = strrchr(host, ':');
	if (colon && !strchr(colon, ']'))
		*colon = 0;
	if (redirect->port)
		snprintf(port, sizeof(port), ":%u", redirect->port);
	rewritten(&edits->rewrite, request->path, &path);
	buf_addf(&wanted, "<%s://%s%s%s%s%s>", redirect->scheme ? redirect->scheme : "http", host, port, path.data,
	         *request->query ? "?" : "", request->query);
	header_lines(answer->head, "location", &got);
	bool same = answer->status == redirect->status && !strcmp(got.data, wanted.data);
	buf_done(&path);
	buf_done(&wanted);
	buf_done(&got);
	return same;
}

static bool leads(const struct table_edits *edits)
{
	return edits->rewrite.hostname || edits->rewrite.edit != TABLE_PATH_KEEP;
}

/* Did the reference give this answer, as far as filters tell? */
static bool ref_answered(const struct table *table, const struct table_rule *rule, const struct table_ref *ref,
                         const struct table_request *request, const struct answer *answer)
{
	bool has = backend_has(table, ref->backend), up = answer->status == 200;
	const char *line = up ? strchr(answer->body, '\n') + 1 : "";
	const struct table_edits *own = ref->edits ? ref->edits : &table_no_edits;
	if (!ref->weight || !ref->backend)
		return false;
	if (own->redirect.status)
		return location_is(own, request, answer) && headers_are(answer->head, &own->response, &rule->edits->response, "");
	const struct table_rewrite *rewrite = leads(own) ? &own->rewrite : &rule->edits->rewrite;
	if (has != up || (up && !target_is(rewrite, request, line)))
		return false;
	if (up && atoi(ref->backend + strlen("ns.s")) + ECHO_PORT != atoi(answer->body))
		return false;
	return headers_are(answer->head, ref->edits ? &ref->edits->response : NULL, &rule->edits->response, up ? "<server>" : "") &&
	       (!up || headers_are(line, &rule->edits->request, ref->edits ? &ref->edits->request : NULL, ""));
}

/* A client without a token gets one, from whoever answers; how servers are known inside is seen by nobody. */
static void check_session(const struct table_rule *rule, const struct answer *answer)
{
	const struct table_session *session = rule->edits->session;
	struct buf got;
	buf_init(&got, 4096);
	if (strcasestr(answer->head, "hatchway-server") || strcasestr(answer->body, "hatchway-server"))
		fail_msg("what is between us is seen by others:\n%s\n%s", answer->head, answer->body);
	header_lines(answer->head, "set-cookie", &got);
	bool cookie = session && !session->header && answer->status == 200;
	if (cookie ? !strstr(got.data, session->name ? "<SID=" : "<hatchway-") : got.len > 0)
		fail_msg("not the cookies that rule %s gives:\n%s", rule->unit.key, answer->head);
	header_lines(answer->head, "sid", &got);
	if (session && session->header && session->name && answer->status == 200)
		assert_true(got.len > 20);
	buf_done(&got);
}

static void check_forward(const struct table *table, const struct table_rule *rule, const struct table_request *request,
                          const struct answer *answer)
{
	bool found = false;
	if (!status_possible(table, rule, answer->status))
		fail_msg("status %d is not possible for rule %s", answer->status, rule->unit.key);
	check_session(rule, answer);
	for (size_t i = 0; i < rule->n_refs; i++)
		found |= ref_answered(table, rule, &rule->refs[i], request, answer);
	if (answer->status != 500 && !found)
		fail_msg("no reference of rule %s answers like this:\n%s\n%s", rule->unit.key, answer->head, answer->body);
	if (answer->status != 200)
		return;
	const char *line = strchr(answer->body, '\n') + 1;
	struct buf got;
	buf_init(&got, 4096);
	header_lines(line, "x-forwarded-proto", &got);
	assert_string_equal(got.data, "<http>");
	header_lines(line, "x-forwarded-for", &got);
	assert_string_equal(got.data, strcmp(request->listener, "80") ? "<127.0.0.2>" : "<127.0.0.1>");
	buf_done(&got);
}

static void check_redirect(const struct table_rule *rule, const struct table_request *request, const struct answer *answer)
{
	if (!location_is(rule->edits, request, answer))
		fail_msg("not the redirect of rule %s:\n%s", rule->unit.key, answer->head);
	check_headers(answer->head, &rule->edits->response, "");
}

/* ---- CORS: the filter's text, read a second time ---- */

static const char *header_of(const struct table_request *request, const char *name)
{
	for (size_t i = 0; i < request->n_headers; i++)
		if (!strcasecmp(request->headers[i].name, name))
			return request->headers[i].value;
	return NULL;
}

/* Without the port that the scheme has anyway. */
static void plain_origin(const char *origin, char *ret, size_t size)
{
	snprintf(ret, size, "%s", origin);
	bool https = !strncasecmp(ret, "https:", 6);
	char *port = strrchr(ret, ':');
	if (!strcmp(port, https ? ":443" : ":80"))
		*port = 0;
}

static bool origin_matches(const char *entry, const char *origin)
{
	char want[300], have[300];
	if (!strcmp(entry, "*"))
		return true;
	if (!strcmp(origin, "null"))
		return false;
	plain_origin(entry, want, sizeof(want));
	plain_origin(origin, have, sizeof(have));
	char *star = strchr(want, '*');
	if (!star)
		return !strcasecmp(want, have);
	size_t n = (size_t)(star - want), n_rest = strlen(star + 1), n_have = strlen(have);
	if (strncasecmp(want, have, n) || n_have <= n + n_rest || strcasecmp(have + n_have - n_rest, star + 1))
		return false;
	return !strchr(have + n, ':') || strchr(star + 1, ':'); /* the star stands for names only */
}

static bool cors_allows(const struct table_cors *cors, const char *origin)
{
	for (size_t i = 0; origin && i < cors->lists[TABLE_CORS_ORIGIN].n; i++)
		if (origin_matches(cors->lists[TABLE_CORS_ORIGIN].names[i], origin))
			return true;
	return false;
}

static bool is_star(const struct table_names *list)
{
	return list->n == 1 && !strcmp(list->names[0], "*");
}

static void check_line(const char *head, const char *name, const char *wanted)
{
	struct buf got;
	char line[400] = "";
	buf_init(&got, 4096);
	header_lines(head, name, &got);
	if (wanted && *wanted)
		snprintf(line, sizeof(line), "<%s>", wanted);
	if (strcmp(got.data, line) != 0)
		fail_msg("%s: got %s, wanted %s", name, got.data, line);
	buf_done(&got);
}

/* The list as a header; of "*" what was asked for. "": no such header. */
static const char *joined(const struct table_names *list, const char *asked)
{
	static char text[400];
	*text = 0;
	if (!asked)
		return "";
	for (size_t i = 0; i < list->n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? ", " : "", list->names[i]);
	return is_star(list) ? asked : text;
}

static void check_cors(const struct table_cors *cors, const struct table_request *request, const struct answer *answer,
                       bool preflight)
{
	const char *origin = header_of(request, "origin");
	bool open = is_star(&cors->lists[TABLE_CORS_ORIGIN]) && !cors->credentials;
	bool allowed = open || cors_allows(cors, origin), asked = preflight && allowed;
	struct table_names expose = cors->lists[TABLE_CORS_EXPOSE];
	char age[16];
	snprintf(age, sizeof(age), "%d", cors->max_age);
	if (cors->credentials && expose.n && !strcmp(expose.names[expose.n - 1], "*"))
		expose.n--;
	const char *listed = is_star(&expose) ? "*" : joined(&expose, "");
	check_line(answer->head, "vary", open ? NULL : "Origin");
	check_line(answer->head, "access-control-allow-origin", open ? "*" : allowed ? origin : NULL);
	check_line(answer->head, "access-control-allow-credentials", allowed && cors->credentials ? "true" : NULL);
	check_line(answer->head, "access-control-expose-headers", allowed ? listed : NULL);
	check_line(answer->head, "access-control-max-age", asked ? age : NULL);
	check_line(answer->head, "access-control-allow-methods",
	           asked ? joined(&cors->lists[TABLE_CORS_METHOD], header_of(request, "access-control-request-method")) : NULL);
	check_line(answer->head, "access-control-allow-headers",
	           asked ? joined(&cors->lists[TABLE_CORS_HEADER], header_of(request, "access-control-request-headers")) : NULL);
}

/* No valid reference with a weight: 500, whatever else the rule says. */
static bool is_nowhere(const struct table_rule *rule)
{
	bool valid = false;
	for (size_t i = 0; i < rule->n_refs; i++)
		valid |= rule->refs[i].backend != NULL;
	return rule->action == TABLE_STATUS || (rule->action == TABLE_FORWARD && (!valid || !rule_total(rule)));
}

static bool is_preflight(const struct table_request *request)
{
	return !strcmp(request->method, "OPTIONS") && header_of(request, "origin") &&
	       header_of(request, "access-control-request-method");
}

/* true: answered here, there is nothing else to check. */
static bool check_rule_cors(const struct table_rule *rule, const struct table_request *request, const struct answer *answer)
{
	if (is_nowhere(rule))
		return false;
	if (!rule->cors) {
		check_line(answer->head, "access-control-allow-origin", answer->status == 200 ? "server" : NULL);
		return false;
	}
	check_cors(rule->cors, request, answer, is_preflight(request));
	if (!is_preflight(request))
		return false;
	assert_int_equal(answer->status, 204);
	check_headers(answer->head, &rule->edits->response, "");
	return true;
}

static bool is_inside(const struct table_names *list, struct in_addr client)
{
	for (size_t i = 0; i < list->n; i++) {
		char address[INET6_ADDRSTRLEN];
		struct in_addr network;
		snprintf(address, sizeof(address), "%.*s", (int)strcspn(list->names[i], "/"), list->names[i]);
		int bits = atoi(strchr(list->names[i], '/') + 1);
		uint32_t mask = bits ? htonl(UINT32_MAX << (32 - bits)) : 0;
		if (!strchr(address, ':') && inet_pton(AF_INET, address, &network) == 1 &&
		    (client.s_addr & mask) == (network.s_addr & mask))
			return true;
	}
	return false;
}

/* By those of the rule; a preflight, too. */
static bool is_kept_out(const struct table_rule *rule, const struct table_request *request)
{
	const struct in_addr client = {htonl(strcmp(request->listener, "80") ? 0x7f000002 : INADDR_LOOPBACK)};
	for (size_t i = 0; i < rule->edits->n_guards; i++) {
		const struct table_guard *guard = &rule->edits->guards[i];
		if (is_inside(&guard->deny, client) || (guard->allow.n && !is_inside(&guard->allow, client)))
			return true;
	}
	return false;
}

/* None of the requests shows who it is of. Browsers cannot with a preflight. */
static bool is_unknown(const struct table_rule *rule, const struct table_request *request)
{
	bool unknown = false;
	for (size_t i = 0; i < rule->edits->n_guards; i++)
		unknown |= rule->edits->guards[i].auth != NULL;
	return unknown && !(rule->cors && is_preflight(request));
}

static void check_answer(const struct table *table, const struct table_request *request, const struct answer *answer)
{
	const struct table_entry *entry = table_match(table, request, NULL);
	const struct table_rule *rule = entry ? table_rule(table, entry->rule) : NULL;
	if (!entry)
		assert_int_equal(answer->status, 404);
	else if (!rule)
		assert_int_equal(answer->status, 500);
	else if (!is_nowhere(rule) && is_kept_out(rule, request))
		assert_int_equal(answer->status, 403);
	else if (!is_nowhere(rule) && is_unknown(rule, request))
		assert_int_equal(answer->status, 401);
	else if (check_rule_cors(rule, request, answer))
		return;
	else if (rule->action == TABLE_STATUS)
		assert_int_equal(answer->status, rule->status);
	else if (rule->action == TABLE_REDIRECT)
		check_redirect(rule, request, answer);
	else
		check_forward(table, rule, request, answer);
}

/* ---- the law ---- */

static void ask_one(struct dice *dice, const struct table *table)
{
	static const char *const hosts[] = {"a.b", "A.b:80", "a.b.", "x.a.b", "X.A.B.:8080", "y.a.b", "z.a.b", "q.z.a.b", "b", "c.b",
	                                    "q.x.a.b", "nothing", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:80", "ab", "a.b.c",
	                                    "xa.b", "-", "a_b.b"};
	static const char *const methods[] = {"GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "OPTIONS"};
	static const char *const origins[] = {"https://www.foo.com", "https://foo.com", "https://a.b.bar.com", "https://bar.com",
	                                      "http://x.bar.com", "https://x.bar.com:443", "https://x.bar.com:8443", "null",
	                                      "http://A:8080", "http://a", "https://b.c", "http://anything.at.all",
	                                      "http://x.y:81", "https://xbar.com"};

	static const struct table_header lines[] = {{"X-V", "v1"}, {"x-v", "v2"}, {"X-v", "v3 "}, {"X-W", "a b;\"\\%"},
	                                            {"X-W", ""}, {"X-V", "v1,v2"}};
	static const char *const queries[] = {"q=1", "q=a+b", "q=a%20b", "Q=1", "q=2&q=1", "e", "e=", "a+b=%26%3D", "q=%zz&e", "x&&q=1",
	                                      "q=%00", "q=1%0a", "=", "q", "aq=1&q=12", "%71=1", "%71=2&q=1", "a%2bb=%26%3D",
	                                      "%71%00=1", "%7=1&%51=1", "a%20b=%26%3D", "%26=1&&=1"};
	char path[400];
	struct table_header headers[6];
	struct table_request request = {.listener = dice_pick(dice, random_listeners), .host = dice_pick(dice, hosts),
	                                .method = dice_pick(dice, methods), .path = path, .headers = headers,
	                                .query = dice_one_in(dice, 2) ? "" : dice_pick(dice, queries)};
	static struct answer answer;
	random_path(dice, path, 200);
	if (dice_one_in(dice, 10))
		strcat(path, dice_one_in(dice, 2) ? "/" : "//");
	request.n_headers = dice_below(dice, 4);
	for (size_t i = 0; i < request.n_headers; i++)
		headers[i] = dice_pick(dice, lines);
	if (dice_one_in(dice, 2))
		headers[request.n_headers++] = (struct table_header){"Origin", dice_pick(dice, origins)};
	if (dice_one_in(dice, 2))
		headers[request.n_headers++] = (struct table_header){"Access-Control-Request-Method", dice_pick(dice, methods)};
	if (dice_one_in(dice, 3))
		headers[request.n_headers++] = (struct table_header){"access-control-request-headers", "x-1, x-9"};
	ask(&request, &answer);
	/* Optional blanks around a value are not part of it. */
	for (size_t i = 0; i < request.n_headers; i++)
		if (!strcmp(headers[i].value, "v3 "))
			headers[i].value = "v3";
	if (getenv("HATCHWAY_VERBOSE"))
		fprintf(stderr, "%s %s %s %s?%s -> %d\n", request.listener, request.method, request.host, path, request.query,
		        answer.status);
	check_answer(table, &request, &answer);
}

static struct table *random_whole(struct dice *dice)
{
	struct table *table = table_new();
	char key[32];
	table_put(table, random_listener("80", "", BIND_PORT));
	table_put(table, random_listener("127.0.0.2:80", "127.0.0.2", BIND_PORT + 1));
	for (unsigned i = 0; i < RANDOM_BACKENDS; i++)
		table_put(table, random_backend(dice, i, ECHO_PORT));
	for (unsigned i = 0; i < RANDOM_RULES; i++)
		table_put(table, random_rule(dice, i));
	for (unsigned l = 0; l < ARRAY_LEN(random_listeners); l++) {
		for (unsigned i = 0; i < ARRAY_LEN(random_patterns); i++)
			if (!dice_one_in(dice, 3))
				table_put(table, random_host(dice, random_listeners[l], i));
	}
	snprintf(key, sizeof(key), "r%u", dice_below(dice, RANDOM_RULES));
	table_delete(table, TABLE_RULE, key);
	return table;
}

static void haproxy_does_what_the_table_means(void **state)
{
	const char *rounds = getenv("HATCHWAY_ROUNDS");
	struct dice dice = dice_new(3);
	for (int i = 0; i < (rounds ? atoi(rounds) : 150); i++) {
		struct table *table = random_whole(&dice);
		load_table(table);
		for (int j = 0; j < 60; j++)
			ask_one(&dice, table);
		table_free(table);
	}
}

/* ---- shares ---- */

static struct table *parse(const char *text)
{
	struct err err;
	struct table *table = table_new();
	if (table_parse(table, text, &err))
		fail_msg("%s", err.text);
	return table;
}

/* How many of n requests were answered with each status or, where it is 200, port - ECHO_PORT. */
static void count(const char *path, int n, unsigned statuses[600], unsigned ports[ECHO_PORTS])
{
	static struct answer answer;
	struct table_request request = {.listener = "80", .host = "a", .method = "GET", .path = path, .query = ""};
	memset(statuses, 0, 600 * sizeof(*statuses));
	memset(ports, 0, ECHO_PORTS * sizeof(*ports));
	for (int i = 0; i < n; i++) {
		ask(&request, &answer);
		statuses[answer.status]++;
		if (answer.status == 200)
			ports[atoi(answer.body) - ECHO_PORT]++;
	}
}

static const char shares_text[] =
	"listener 80 port 80 bind 21500 origin ns/g\n"
	"backend ns.v1:80 http1\n\tendpoint a 127.0.0.1 21510\n\tendpoint b 127.0.0.1 21510\n\tendpoint c 127.0.0.1 21510\n"
	"backend ns.v2:80 http1\n\tendpoint d 127.0.0.1 21511\n\tendpoint e 127.0.0.1 21511 draining\n"
	"backend ns.none:80 http1\n"
	"rule canary forward\n\torigin ns.canary\n\tto ns.v1:80 weight 90\n\tto ns.v2:80 weight 10\n"
	"rule broken forward\n\torigin ns.broken\n\tto ns.v1:80 weight 7\n\tto !500 weight 2\n\tto ns.none:80 weight 1\n"
	"rule tiny forward\n\torigin ns.tiny\n\tto ns.v1:80 weight 999\n\tto ns.v2:80 weight 1\n"
	"rule edited forward\n\torigin ns.edited\n\tto ns.v1:80 weight 3\n\tto-request set X-A one\n\tto ns.v1:80 weight 2\n"
	"\tto-response set X-A two\n\tto ns.v2:80 weight 4\n\tto !500 weight 1\n\tto-request set X-A none\n"
	"rule gone forward\n\torigin ns.gone\n\tto ns.none:80 weight 1\n"
	"host 80 \"\"\n\tprefix /canary -> canary\n\tprefix /broken -> broken\n\tprefix /tiny -> tiny\n\tprefix /gone -> gone\n"
	"\tprefix /edited -> edited\n";

static void shares_are_exact(void **state)
{
	unsigned statuses[600], ports[ECHO_PORTS];
	struct table *table = parse(shares_text);
	load_table(table);
	count("/canary", 1000, statuses, ports);
	assert_int_equal(ports[0], 900);
	assert_int_equal(ports[1], 100);
	count("/broken", 1000, statuses, ports);
	assert_int_equal(ports[0], 700);
	assert_int_equal(statuses[500], 200);
	assert_int_equal(statuses[503], 100);
	count("/tiny", 2000, statuses, ports); /* no integers up to 256 give this: drawn */
	assert_int_equal(ports[0], 1998);
	assert_int_equal(ports[1], 2);
	count("/edited", 1000, statuses, ports); /* filters of their own: drawn */
	assert_int_equal(ports[0], 500);
	assert_int_equal(ports[1], 400);
	assert_int_equal(statuses[500], 100);
	count("/gone", 1, statuses, ports);
	assert_int_equal(statuses[503], 1);
	table_free(table);
}

/* ---- sessions ---- */

#define SESSIONS(weight_1, weight_2, endpoint_b)                                                                        \
	"listener 80 port 80 bind 21500 origin ns/g\n"                                                                  \
	"backend ns.v1:80 http1\n\tendpoint a 127.0.0.1 21510\n" endpoint_b                                             \
	"backend ns.v2:80 http1\n\tendpoint c 127.0.0.1 21512\n"                                                        \
	"rule s forward\n\torigin ns.s\n\tsession cookie name S\n\tto ns.v1:80 weight " weight_1 "\n\tto ns.v2:80 weight " weight_2 "\n" \
	"rule other forward\n\torigin ns.other\n\tsession cookie name S absolute 60000 permanent\n\tto ns.v1:80 weight 1\n" \
	"rule h forward\n\torigin ns.h\n\tsession header name X-S idle 60000\n\tto ns.v1:80 weight 1\n\tto !500 weight 1\n" \
	"host 80 \"\"\n\tprefix /other -> other\n\tprefix /h -> h\n\tprefix /s -> s\n"

static void load_text(const char *text)
{
	struct table *table = parse(text);
	load_table(table);
	table_free(table);
}

/* One request with this header; the server's number or the status. ret_token: what came of that name ("S=…" or "X-S"), or "". */
static int visit(const char *path, const char *header, const char *value, char ret_token[200])
{
	static struct answer answer;
	const struct table_header headers[] = {{header, value}, {"Cookie", "app=1"}};
	struct table_request request = {.listener = "80", .host = "a", .method = "GET", .path = path, .query = "",
	                                .headers = headers, .n_headers = value ? 2 : 0};
	ask(&request, &answer);
	if (strcasestr(answer.head, "hatchway-server") || strcasestr(answer.body, "hatchway-server"))
		fail_msg("what is between us is seen by others:\n%s\n%s", answer.head, answer.body);
	const char *name = strcmp(path, "/h") ? "\r\nset-cookie: " : "\r\nx-s: ", *line = strcasestr(answer.head, name);
	snprintf(ret_token, 200, "%.*s", line ? (int)strcspn(line + strlen(name), "\r;") : 0, line ? line + strlen(name) : "");
	return answer.status == 200 ? atoi(answer.body) - ECHO_PORT : answer.status;
}

static void stays(const char *path, const char *header, const char *token, int server)
{
	char again[200];
	for (int i = 0; i < 5; i++) {
		int got = visit(path, header, token, again);
		if (got != server || (!strcmp(header, "Cookie") && *again))
			fail_msg("%s with %s went to %d, not %d, and was given %s", path, token, got, server, again);
	}
}

static void sessions_stay(void **state)
{
	char tokens[3][200] = {"", "", ""}, token[200], other[200], all[230];
	int seen[3] = {0, 0, 0};
	load_text(SESSIONS("8", "2", "\tendpoint b 127.0.0.1 21511\n"));
	for (int i = 0; i < 100; i++) {
		int server = visit("/s", "Cookie", NULL, token);
		assert_in_range(server, 0, 2);
		assert_memory_equal(token, "S=", 2);
		seen[server]++;
		if (*tokens[server])
			assert_string_equal(token, tokens[server]); /* nothing of the client, and no time, is in it */
		strcpy(tokens[server], token);
	}
	assert_int_equal(seen[0], 40);
	assert_int_equal(seen[1], 40);
	assert_int_equal(seen[2], 20);
	for (int server = 0; server < 3; server++)
		stays("/s", "Cookie", tokens[server], server);

	/* Weights are for new sessions. */
	load_text(SESSIONS("0", "1", "\tendpoint b 127.0.0.1 21511\n"));
	for (int server = 0; server < 3; server++)
		stays("/s", "Cookie", tokens[server], server);
	for (int i = 0; i < 10; i++)
		assert_int_equal(visit("/s", "Cookie", NULL, token), 2);
	load_text(SESSIONS("1", "0", "\tendpoint b 127.0.0.1 21511 draining\n"));
	for (int server = 0; server < 3; server++)
		stays("/s", "Cookie", tokens[server], server);
	for (int i = 0; i < 10; i++)
		assert_int_equal(visit("/s", "Cookie", NULL, token), 0);

	/* One whose server is gone begins anew; the others do not notice. */
	load_text(SESSIONS("1", "1", ""));
	stays("/s", "Cookie", tokens[0], 0);
	stays("/s", "Cookie", tokens[2], 2);
	int moved = visit("/s", "Cookie", tokens[1], token);
	assert_true(moved == 0 || moved == 2);
	assert_string_equal(token, tokens[moved]);
	load_text(SESSIONS("1", "1", "\tendpoint b 127.0.0.1 21511\n"));
	stays("/s", "Cookie", tokens[1], 1);

	/* Tokens of others, and made up ones. */
	visit("/other", "Cookie", tokens[1], other);
	assert_true(*other && strncmp(other, tokens[0], 12) != 0);
	static const char *const forged[] = {"S=", "S=x", "S=127.0.0.1:21511", "S=%00", "S=\"a\"", "S=a-b-c", "app=S"};
	for (size_t i = 0; i < ARRAY_LEN(forged); i++) {
		assert_in_range(visit("/s", "Cookie", forged[i], token), 0, 2);
		assert_true(*token);
	}
	snprintf(all, sizeof(all), "a=1; %s; b=2", tokens[1]);
	stays("/s", "Cookie", all, 1);
}

static void sessions_end(void **state)
{
	char token[200], old[200], again[200];
	load_text(SESSIONS("1", "1", "\tendpoint b 127.0.0.1 21511\n"));
	int server = visit("/other", "Cookie", NULL, token);
	stays("/other", "Cookie", token, server);
	snprintf(old, sizeof(old), "%.*s-%x", (int)strcspn(token, "-"), token, (unsigned)time(NULL) - 61);
	visit("/other", "Cookie", old, again);
	assert_true(*again && strcmp(again, old) != 0);
	snprintf(old, sizeof(old), "%.*s-%x", (int)strcspn(token, "-"), token, (unsigned)time(NULL) + 3600);
	visit("/other", "Cookie", old, again);
	assert_true(*again && strcmp(again, old) != 0);
	/* The half that is an invalid reference keeps nobody; a header comes with every answer. */
	for (int i = 0; i < 10; i++) {
		server = visit("/h", "X-S", NULL, token);
		assert_true(server == 500 ? !*token : *token != 0);
		if (server != 500)
			stays("/h", "X-S", token, server);
	}
	while (visit("/h", "X-S", NULL, token) == 500)
		;
	snprintf(old, sizeof(old), "%.*s-%x-%x", (int)strcspn(token, "-"), token, (unsigned)time(NULL) - 600, (unsigned)time(NULL) - 61);
	int fails = 0;
	for (int i = 0; i < 10; i++)
		fails += visit("/h", "X-S", old, again) == 500;
	assert_int_equal(fails, 5);
}

/* ---- guards ---- */

static const char guards_text[] =
	"listener 80 port 80 bind 21500 origin ns/g\n"
	"backend ns.s:80 http1\n\tendpoint e 127.0.0.1 21510\n"
	"rule in forward\n\torigin ns.r\n\tguard\n\tallow 127.0.0.0/8\n\tto ns.s:80 weight 1\n"
	"rule out forward\n\torigin ns.r\n\tguard\n\tallow 127.0.0.0/8\n\tdeny 127.0.0.1/32\n\tto ns.s:80 weight 1\n"
	"rule two forward\n\torigin ns.r\n\tguard\n\tallow 0.0.0.0/0\n\tguard\n\tdeny 127.0.0.0/31\n\tto ns.s:80 weight 1\n"
	"rule six forward\n\torigin ns.r\n\tguard\n\tallow ::/0\n\tto ns.s:80 weight 1\n"
	"rule move redirect code 302\n\torigin ns.r\n\tguard\n\tdeny 127.0.0.0/8\n\trewrite-host other\n"
	"rule cors forward\n\torigin ns.r\n\tguard\n\tdeny 127.0.0.0/8\n\tcors max-age 5\n\tcors origin http://o\n\tto ns.s:80 weight 1\n"
	"rule refused forward\n\torigin ns.r\n\tguard\n\tdeny 127.0.0.0/8;allow=0.0.0.0/0\n\tto ns.s:80 weight 1\n"
	"host 80 \"\"\n\tprefix /refused -> refused\n\tprefix /cors -> cors\n\tprefix /move -> move\n\tprefix /two -> two\n"
	"\tprefix /six -> six\n\tprefix /out -> out\n\tprefix /in -> in\n";

static int guarded(const char *method, const char *path, const char *name, const char *value, struct answer *answer)
{
	const struct table_header headers[] = {{name, value}, {"Access-Control-Request-Method", "PUT"}};
	const struct table_request request = {.listener = "80", .host = "a", .method = method, .path = path, .query = "",
	                                      .headers = headers, .n_headers = !name ? 0 : strcmp(name, "Origin") ? 1 : 2};
	ask(&request, answer);
	return answer->status;
}

#define ANNA "3zamuaZGU5D0CJd68ZrTSkJ+l4gZXER+Roa7esaijNQ="
#define ZOE "n/On6SruMHyswGxS3+1DtRVVP4jg7wbKB+xbUh0NCno="
/* "secret" is anna's password, "b:c d" is zoe's; digests made with openssl. */
static const char admitted_text[] =
	"listener 80 port 80 bind 21500 origin ns/g\n"
	"listener 127.0.0.2:80 address 127.0.0.2 port 80 bind 21501 origin ns/g\n"
	"backend ns.s:80 http1\n\tendpoint e 127.0.0.1 21510\n"
	"rule three forward\n\torigin ns.r\n\tguard\n\tlimit 3 hour ns/three\n\tto ns.s:80 weight 1\n"
	"rule same redirect code 302\n\torigin ns.r\n\tguard\n\tlimit 5 hour ns/three\n\trewrite-host other\n"
	"rule key forward\n\torigin ns.r\n\tguard\n\tlimit 2 minute ns/key header X-Key\n\tguard\n\tlimit 100 hour ns/all\n\tto ns.s:80 weight 1\n"
	"rule short forward\n\torigin ns.r\n\tguard\n\tlimit 1 second ns/short\n\tto ns.s:80 weight 1\n"
	"rule staff forward\n\torigin ns.r\n\tguard\n\tauth ns/staff realm \"Staff only\"\n"
	"\tuser anna:" ANNA "\n\tuser \"z \xc3\xb6:" ZOE "\"\n\tcors max-age 5\n\tcors origin http://o\n\tto ns.s:80 weight 1\n"
	"rule guess forward\n\torigin ns.r\n\tguard\n\tlimit 2 hour ns/guess\n\tauth ns/staff realm x\n\tuser anna:" ANNA "\n\tto ns.s:80 weight 1\n"
	"rule asked forward\n\torigin ns.r\n\tguard\n\tlimit 1 hour ns/asked\n\tcors max-age 5\n\tcors origin http://o\n\tto ns.s:80 weight 1\n"
	"rule both forward\n\torigin ns.r\n\tguard\n\tlimit 2 hour ns/x\n\tguard\n\tlimit 2 hour ns/y\n\tto ns.s:80 weight 1\n"
	"rule realm forward\n\torigin ns.r\n\tguard\n\tauth ns/staff realm \"a\\\"b\"\n\tuser anna:" ANNA "\n\tto ns.s:80 weight 1\n"
	"host 80 \"\"\n\tprefix /three -> three\n\tprefix /staff -> staff\n\tprefix /short -> short\n\tprefix /realm -> realm\n"
	"\tprefix /guess -> guess\n\tprefix /asked -> asked\n\tprefix /same -> same\n\tprefix /both -> both\n\tprefix /key -> key\n"
	"host 127.0.0.2:80 \"\"\n\tprefix /three -> three\n";

static int asked_of(const char *listener, const char *path, const char *name, const char *value, struct answer *answer)
{
	const struct table_header headers[] = {{name, value}};
	const struct table_request request = {.listener = listener, .host = "a", .method = "GET", .path = path, .query = "",
	                                      .headers = headers, .n_headers = name ? 1 : 0};
	ask(&request, answer);
	return answer->status;
}

static void limits_hold(void **state)
{
	static struct answer answer;
	load_text(admitted_text);
	/* Of one client; those that are refused do not count, and rules of one scope count together. */
	for (int i = 0; i < 6; i++)
		assert_int_equal(asked_of("80", "/three", NULL, NULL, &answer), i < 3 ? 200 : 429);
	check_line(answer.head, "retry-after", "3600");
	assert_string_equal(answer.body, "too many requests\n");
	for (int i = 0; i < 4; i++)
		assert_int_equal(asked_of("80", "/same", NULL, NULL, &answer), i < 2 ? 302 : 429);
	check_line(answer.head, "retry-after", "3600");
	/* Another client, and what one says of itself. */
	assert_int_equal(asked_of("127.0.0.2:80", "/three", NULL, NULL, &answer), 200);
	assert_int_equal(asked_of("80", "/three", "X-Forwarded-For", "1.2.3.4", &answer), 429);
	assert_int_equal(asked_of("80", "/three", "Content-Type", "application/grpc", &answer), 200);
	check_line(answer.head, "grpc-status", "8");
	/* By a header, of any length, in any case of its name; without it, by the address. A second unit of time counts, too. */
	static char long_one[300], other[300];
	memset(long_one, 'x', sizeof(long_one) - 1);
	memcpy(other, long_one, sizeof(other));
	other[298] = 'y';
	const char *const keys[] = {"a", "b", long_one, other, "x y", "x z"};
	for (size_t k = 0; k < ARRAY_LEN(keys); k++)
		for (int i = 0; i < 3; i++)
			assert_int_equal(asked_of("80", "/key", i ? "x-key" : "X-KEY", keys[k], &answer), i < 2 ? 200 : 429);
	check_line(answer.head, "retry-after", "60");
	for (int i = 0; i < 3; i++)
		assert_int_equal(asked_of("80", "/key", NULL, NULL, &answer), i < 2 ? 200 : 429);
	/* Time heals: one a second is let in each second. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(asked_of("80", "/short", NULL, NULL, &answer), 200);
		assert_int_equal(asked_of("80", "/short", NULL, NULL, &answer), 429);
		check_line(answer.head, "retry-after", "1");
		usleep(1050000);
	}
	/* Preflights do not count. */
	for (int i = 0; i < 4; i++)
		assert_int_equal(guarded("OPTIONS", "/asked", "Origin", "http://o", &answer), 204);
	assert_int_equal(guarded("GET", "/asked", "Origin", "http://o", &answer), 200);
	assert_int_equal(guarded("GET", "/asked", "Origin", "http://o", &answer), 429);
	check_line(answer.head, "access-control-allow-origin", "http://o");
	assert_int_equal(asked_of("80", "/both", NULL, NULL, &answer), 500);
}

static void users_are_known(void **state)
{
	static struct answer answer;
	/* The scheme in any case; a password with ":" and a blank; a name beyond ASCII. */
	static const char *const good[] = {"Basic YW5uYTpzZWNyZXQ=", "bAsIC YW5uYTpzZWNyZXQ=", "Basic eiDDtjpiOmMgZA=="};
	/* anna:secre, anna:, anna:secret\n, anna, :secret, nobody, zoe with anna's, the verifier itself, and no base64 at all. */
	static const char *const bad[] = {"Basic YW5uYTpzZWNyZQ==", "Basic YW5uYTo=", "Basic YW5uYTpzZWNyZXQK", "Basic YW5uYQ==",
	                                  "Basic OnNlY3JldA==", "Basic bm9ib2R5OnNlY3JldA==", "Basic eiDDtjpzZWNyZXQ=",
	                                  ("Basic " ANNA), "Basic %", "Basic", "Basic ", "Bearer YW5uYTpzZWNyZXQ=", "YW5uYTpzZWNyZXQ=", ""};
	load_text(admitted_text);
	assert_int_equal(asked_of("80", "/staff", NULL, NULL, &answer), 401);
	check_line(answer.head, "www-authenticate", "Basic realm=\"Staff only\", charset=\"UTF-8\"");
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_int_equal(asked_of("80", "/staff", "Authorization", good[i], &answer), 200);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(asked_of("80", "/staff", "Authorization", bad[i], &answer), 401);
	assert_int_equal(asked_of("80", "/staff", "Content-Type", "application/grpc", &answer), 200);
	check_line(answer.head, "grpc-status", "16");
	/* Two headers: one of them could be another's. */
	const struct table_header twice[] = {{"Authorization", good[0]}, {"Authorization", good[0]}};
	ask(&(const struct table_request){.listener = "80", .host = "a", .method = "GET", .path = "/staff", .query = "", .headers = twice,
	                                  .n_headers = 2}, &answer);
	assert_int_equal(answer.status, 401);
	/* Browsers show nothing with a preflight, and scripts may read that a password is wanted. */
	assert_int_equal(guarded("OPTIONS", "/staff", "Origin", "http://o", &answer), 204);
	assert_int_equal(guarded("GET", "/staff", "Origin", "http://o", &answer), 401);
	check_line(answer.head, "access-control-allow-origin", "http://o");
	/* Whoever guesses is counted before being asked. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(asked_of("80", "/guess", "Authorization", bad[0], &answer), i < 2 ? 401 : 429);
	assert_int_equal(asked_of("80", "/guess", "Authorization", good[0], &answer), 429);
	assert_int_equal(asked_of("80", "/realm", "Authorization", good[0], &answer), 500);
}

static void guards_keep_out(void **state)
{
	static struct answer answer;
	static const char *const grpc[] = {"application/grpc", "application/grpc+proto", "Application/GRPC; x=y"};
	load_text(guards_text);
	assert_int_equal(guarded("GET", "/in", NULL, NULL, &answer), 200);
	/* deny before allow; every guard; an IPv4 client is of no IPv6 network; a redirect and a preflight tell nothing either. */
	static const char *const closed[] = {"/out", "/two", "/six", "/move", "/cors"};
	for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
		assert_int_equal(guarded("GET", closed[i], NULL, NULL, &answer), 403);
		assert_string_equal(answer.body, "refused by a filter of the route\n");
	}
	assert_int_equal(guarded("OPTIONS", "/cors", "Origin", "http://o", &answer), 403);
	/* Whoever may read the answer may read this one. */
	check_line(answer.head, "access-control-allow-origin", "http://o");
	/* What could end a list is no network, and its rule lets nobody in. */
	assert_int_equal(guarded("GET", "/refused", NULL, NULL, &answer), 500);
	/* What clients say of themselves does not count. */
	assert_int_equal(guarded("GET", "/out", "X-Forwarded-For", "127.0.0.9", &answer), 403);
	for (size_t i = 0; i < ARRAY_LEN(grpc); i++) {
		assert_int_equal(guarded("POST", "/out", "Content-Type", grpc[i], &answer), 200);
		check_line(answer.head, "grpc-status", "7");
		check_line(answer.head, "content-type", "application/grpc");
	}
	assert_int_equal(guarded("POST", "/out", "Content-Type", "application/grpcx", &answer), 403);
}

/* ---- deadlines ---- */

static long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A port that never answers a SYN: its queue is full. */
static void fill_backlog(uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = listen_on(port);
	assert_int_equal(listen(fd, 0), 0);
	for (int i = 0; i < 4; i++) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(!connect(client, (struct sockaddr *)&sin, sizeof(sin)) || errno == EINPROGRESS);
	}
}

static void deadlines_hold(void **state)
{
	static struct answer answer;
	static const char *const paths[] = {"/slow", "/far"};
	struct table_request request = {.listener = "80", .host = "a", .method = "GET", .query = ""};
	struct table *table = parse("listener 80 port 80 bind 21500 origin ns/g\n"
	                            "backend ns.near:80 http1\n\tendpoint a 127.0.0.1 21510\n"
	                            "backend ns.far:80 http1\n\tendpoint a 127.0.0.1 21530\n"
	                            "rule slow forward\n\torigin ns.slow\n\trequest-timeout 600\n\tto ns.near:80 weight 1\n"
	                            "rule far forward\n\torigin ns.far\n\tbackend-timeout 600\n\tto ns.far:80 weight 1\n"
	                            "host 80 \"\"\n\tprefix /slow -> slow\n\tprefix /far -> far\n");
	fill_backlog(21530);
	load_table(table);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		long start = now_ms();
		request.path = paths[i];
		ask(&request, &answer);
		long took = now_ms() - start;
		if (answer.status != 504 || took < 400 || took > 2000)
			fail_msg("%s: status %d after %ld ms", paths[i], answer.status, took);
	}
	table_free(table);
}

/* ---- retries ---- */

static const char retries_text[] =
	"listener 80 port 80 bind 21500 origin ns/g\n"
	"backend ns.a:80 http1\n\tendpoint a 127.0.0.1 21510\n\tendpoint b 127.0.0.1 21510\n"
	"backend ns.b:80 http1\n\tendpoint a 127.0.0.1 21511\n"
	"rule code forward\n\torigin ns.code\n\tretry 3 code 500\n\tto ns.a:80 weight 1\n"
	"rule all forward\n\torigin ns.all\n\tretry 2 code 500 code 502 code 503 code 504\n\tto ns.a:80 weight 1\n"
	"\tto ns.b:80 weight 1\n"
	"rule conn forward\n\torigin ns.conn\n\tretry 2\n\tto ns.a:80 weight 1\n\tto-request set X-A b\n"
	"rule late forward\n\torigin ns.late\n\tretry 2\n\tbackend-timeout 200\n\tto ns.a:80 weight 1\n"
	"rule end forward\n\torigin ns.end\n\tretry 9 code 500\n\trequest-timeout 500\n\tbackend-timeout 200\n"
	"\tto ns.a:80 weight 1\n"
	"rule pause forward\n\torigin ns.pause\n\tretry 2 backoff 150 code 500\n\tto ns.a:80 weight 1\n"
	"rule cut forward\n\torigin ns.cut\n\tretry 9 backoff 200 code 500\n\trequest-timeout 500\n\tto ns.a:80 weight 1\n"
	"host 80 \"\"\n\tprefix /try/pause -> pause\n\tprefix /try/code -> code\n\tprefix /try/conn -> conn\n"
	"\tprefix /try/late -> late\n\tprefix /try/all -> all\n\tprefix /try/end -> end\n\tprefix /try/cut -> cut\n";

static const struct retry_case {
	const char *path, *method;
	int how, fails, status, tries, at_least, at_most; /* ms */
} retry_cases[] = {
	{"/try/code", "GET", 500, 2, 200, 3, 0, 1000},    {"/try/code", "GET", 500, 4, 500, 4, 0, 1000},
	{"/try/code", "GET", 503, 2, 503, 1, 0, 1000},    {"/try/code", "GET", 425, 1, 425, 1, 0, 1000},
	{"/try/code", "POST", 500, 1, 500, 1, 0, 1000},   {"/try/code", "PUT", 500, 1, 200, 2, 0, 1000},
	{"/try/code", "GET", 404, 1, 404, 1, 0, 1000},    {"/try/all", "GET", 502, 1, 200, 2, 0, 1000},
	{"/try/all", "GET", 503, 3, 503, 3, 0, 1000},     {"/try/all", "GET", 504, 2, 200, 3, 0, 1000},
	{"/try/conn", "GET", FAIL_CLOSE, 2, 200, 3, 0, 1000}, {"/try/conn", "GET", FAIL_CLOSE, 3, 503, 3, 0, 1000},
	{"/try/conn", "GET", 500, 1, 500, 1, 0, 1000},    {"/try/late", "GET", FAIL_SILENT, 2, 200, 3, 380, 1000},
	{"/try/late", "GET", FAIL_SILENT, 3, 504, 3, 580, 1200}, {"/try/end", "GET", FAIL_SILENT, 9, 504, 3, 480, 700},
	{"/try/pause", "GET", 500, 2, 200, 3, 295, 900},  {"/try/cut", "GET", 500, 9, 504, 3, 480, 700},
};

static void retry_one(const struct retry_case *c)
{
	static struct answer answer;
	struct table_request request = {.listener = "80", .host = "a", .method = c->method, .path = c->path, .query = ""};
	fails_left = c->fails;
	fails_how = c->how;
	tries_seen = 0;
	long start = now_ms();
	ask(&request, &answer);
	long took = now_ms() - start;
	if (answer.status != c->status || tries_seen != c->tries || took < c->at_least || took > c->at_most)
		fail_msg("%s %s failing with %d: status %d after %d tries and %ld ms", c->method, c->path, c->how,
		         answer.status, tries_seen, took);
	if (strcasestr(answer.head, "x-hatchway") || strcasestr(answer.body, "x-hatchway"))
		fail_msg("what is between us is seen by others:\n%s\n%s", answer.head, answer.body);
	fails_left = 0;
}

static void retries_are_made(void **state)
{
	struct table *table = parse(retries_text);
	load_table(table);
	for (size_t i = 0; i < ARRAY_LEN(retry_cases); i++)
		retry_one(&retry_cases[i]);
	table_free(table);
}

/* ---- mirrors ---- */

static void raw(const char *text, struct answer *ret)
{
	int fd = client_connect(false);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_true(read_answer(fd, ret));
	close(fd);
}

static void wait_seen(unsigned port, int n)
{
	for (int i = 0; i < 300 && ports_seen[port] < n; i++)
		usleep(10000);
	usleep(50000); /* one too many would come by now */
	if (ports_seen[port] != n)
		fail_msg("port %u had %d requests instead of %d", port, ports_seen[port], n);
}

static const char mirrors_text[] =
	"listener 80 port 80 bind 21500 origin ns/g\n"
	"backend ns.a:80 http1\n\tendpoint a 127.0.0.1 21510\n"
	"backend ns.b:80 http1\n\tendpoint a 127.0.0.1 21511\n"
	"backend ns.c:80 http1\n\tendpoint a 127.0.0.1 21512\n"
	"backend ns.dead:80 http1\n\tendpoint a 127.0.0.1 21599\n"
	"rule m forward\n\torigin ns.m\n\trequest set X-A rule\n\trequest remove X-Gone\n\trewrite-path /new\n"
	"\tmirror ns.b:80 share 1 of 4\n\tmirror !500 share 1 of 1\n\tmirror ns.dead:80 share 1 of 1\n"
	"\tmirror ns.c:80 share 100 of 100\n\tto ns.a:80 weight 1\n"
	"backend ns.hung:80 http1\n\tendpoint a 127.0.0.1 21598\n"
	"rule hung forward\n\torigin ns.m\n\tmirror ns.hung:80 share 1 of 1\n\tto ns.a:80 weight 1\n"
	"host 80 \"\"\n\tprefix /hung -> hung\n\tprefix /m -> m\n";

/* Its copies are on their way until their time is over: others must have room. */
static void mirrors_may_hang(void **state)
{
	static struct answer answer;
	int hung = listen_on(21598);
	struct table_request request = {.listener = "80", .host = "a", .method = "GET", .path = "/hung", .query = ""};
	load_text(mirrors_text);
	for (int i = 0; i < 250; i++) {
		ask(&request, &answer);
		assert_int_equal(answer.status, 200);
	}
	for (size_t i = 0; i < ECHO_PORTS; i++)
		ports_seen[i] = 0;
	request.path = "/m";
	ask(&request, &answer);
	wait_seen(2, 1);
	close(hung);
}

static void mirrors_are_sent(void **state)
{
	static struct answer answer;
	struct table_request request = {.listener = "80", .host = "a", .method = "GET", .path = "/m", .query = "q=1"};
	struct table *table = parse(mirrors_text);
	load_table(table);
	for (size_t i = 0; i < ECHO_PORTS; i++)
		ports_seen[i] = 0;
	long start = now_ms();
	for (int i = 0; i < 40; i++) {
		ask(&request, &answer);
		assert_int_equal(answer.status, 200);
	}
	if (now_ms() - start > 2000)
		fail_msg("mirrors delayed 40 requests by %ld ms", now_ms() - start);
	wait_seen(0, 40);
	wait_seen(1, 10);
	wait_seen(2, 40);
	raw("POST /m HTTP/1.1\r\nHost: a\r\n\r\n", &answer);
	wait_seen(2, 41);
	raw("PATCH /m?q=2 HTTP/1.1\r\nHost: h.org:80\r\nX-Gone: 1\r\nX-Keep: 1\r\nX-Keep: 2\r\nX-Forwarded-For: 9.9.9.9\r\n"
	    "Content-Length: 5\r\n\r\nhello", &answer);
	assert_int_equal(answer.status, 200);
	wait_seen(2, 42);
	pthread_mutex_lock(&kept_lock);
	static const char *const parts[] = {"PATCH /new?q=2 HTTP/1.1\r\n", "\r\nhost: h.org:80\r\n", "\r\nx-a: rule\r\n",
	                                    "\r\nx-keep: 1\r\nx-keep: 2\r\n", "\r\nx-forwarded-for: 9.9.9.9\r\n",
	                                    "\r\nx-forwarded-for: 127.0.0.1\r\n", "\r\nx-forwarded-proto: http\r\n",
	                                    "\r\ncontent-length: 5\r\n", "\r\n\r\nhello"};
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (!strcasestr(kept, parts[i]))
			fail_msg("the copy has no %s:\n%s", parts[i], kept);
	if (strcasestr(kept, "x-gone") || strcasestr(kept, "hatchway"))
		fail_msg("the copy has too much:\n%s", kept);
	pthread_mutex_unlock(&kept_lock);
	table_free(table);
}

/* What comes in pieces: `first`, and after so many ms `second`. */
static void raw_late(const char *first, unsigned ms, const char *second, struct answer *ret)
{
	int fd = client_connect(false), on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	assert_int_equal(write(fd, first, strlen(first)), strlen(first));
	usleep(ms * 1000);
	assert_int_equal(write(fd, second, strlen(second)), strlen(second));
	assert_true(read_answer(fd, ret));
	close(fd);
}

static void raw_long(size_t length, struct answer *ret)
{
	struct buf text;
	buf_init(&text, HEAD_LIMIT);
	buf_addf(&text, "POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%0*d", length, (int)length, 7);
	raw(text.data, ret);
	buf_done(&text);
	assert_int_equal(ret->status, 200);
}

/* A copy is made of what is whole, and short, soon enough; nothing is refused for being late. */
static void whole_requests_are_mirrored(void **state)
{
	static const char chunks[] = "POST /m HTTP/1.1\r\nHost: a\r\nX-Keep: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
	static const char expecting[] = "POST /m HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
	static const char length[] = "POST /m HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe";
	static struct answer answer;
	char text[sizeof(chunks) + 16];
	load_text(mirrors_text);
	for (size_t i = 0; i < ECHO_PORTS; i++)
		ports_seen[i] = 0;
	snprintf(text, sizeof(text), "%s3\r\nyou\r\n0\r\n\r\n", chunks);
	raw(text, &answer);
	assert_int_equal(answer.status, 200);
	wait_seen(2, 1);
	pthread_mutex_lock(&kept_lock);
	if (!strcasestr(kept, "\r\ntransfer-encoding: chunked\r\n") || !strstr(kept, "\r\n\r\n8\r\nhelloyou\r\n0\r\n\r\n"))
		fail_msg("not the chunks of the request:\n%s", kept);
	pthread_mutex_unlock(&kept_lock);
	raw_late(chunks, 300, "0\r\n\r\n", &answer);
	assert_int_equal(answer.status, 200);
	wait_seen(2, 1);
	raw_late(length, 300, "llo", &answer);
	assert_int_equal(answer.status, 200);
	wait_seen(2, 2);
	raw_late(length, 1500, "llo", &answer);
	assert_int_equal(answer.status, 200);
	wait_seen(2, 2);
	/* Who asks before sending a body is answered by the Service, or goes on after a while: not copied, and not refused either. */
	raw_late(expecting, 300, "hello", &answer);
	assert_int_equal(answer.status, 200);
	wait_seen(2, 2);
	raw_long(12000, &answer);
	wait_seen(2, 3);
	raw_long(12001, &answer);
	wait_seen(2, 3);
	wait_seen(0, 7);
}

/* Copies come back to HAProxy, over HTTP/2, and go from there to ns.c. */
static const char calls_text[] =
	"listener 80 port 80 bind 21500 origin ns/g\n"
	"backend ns.a:80-grpc http1\n\tendpoint a 127.0.0.1 21510\n"
	"backend ns.b:80-grpc h2c\n\tendpoint a 127.0.0.1 21500\n"
	"backend ns.c:80 http1\n\tendpoint a 127.0.0.1 21512\n"
	"rule call forward\n\torigin ns.m\n\trewrite-prefix /call /\n\tmirror ns.b:80-grpc share 1 of 1\n\tto ns.a:80-grpc weight 1\n"
	"rule half forward\n\torigin ns.m\n\trewrite-prefix /half /\n\tmirror ns.b:80-grpc share 1 of 2\n\tto ns.a:80-grpc weight 1\n"
	"rule rare forward\n\torigin ns.m\n\trewrite-prefix /rare /\n\tmirror ns.b:80-grpc share 1 of 1000000\n"
	"\tto ns.a:80-grpc weight 1\n"
	"rule copied forward\n\torigin ns.m\n\tto ns.c:80 weight 1\n"
	"host 80 \"\"\n\tprefix /call -> call\n\tprefix /half -> half\n\tprefix /rare -> rare\n\tprefix / -> copied\n";

static const char call_body[] = "\0\0\0\0\5he\0\r\n";

/* Sends a call's headers and, ms later, its body; without end the client may go on. */
static int call_open(const char *path, unsigned ms, bool end)
{
	const struct table_header headers[] = {{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "a"},
	                                       {"content-type", "application/grpc"}, {"te", "trailers"}, {"x-keep", "1"}};
	int fd = client_connect(false), on = 1;
	struct buf text;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	buf_init(&text, HEAD_LIMIT);
	h2_request(&text, headers, ARRAY_LEN(headers), false);
	if (ms) {
		assert_int_equal(write(fd, text.data, text.len), text.len);
		buf_clear(&text);
		usleep(ms * 1000);
	}
	h2_data(&text, call_body, sizeof(call_body) - 1, end);
	assert_int_equal(write(fd, text.data, text.len), text.len);
	buf_done(&text);
	return fd;
}

static void call(const char *path, unsigned ms)
{
	int fd = call_open(path, ms, true);
	assert_true(h2_await(fd, H2_DATA));
	close(fd);
}

/* A stream that is open for a while. After how many ms is it answered? */
static long hold(const char *path)
{
	struct buf end;
	long start = now_ms();
	int fd = call_open(path, 0, false);
	assert_true(h2_await(fd, H2_HEADERS));
	long took = now_ms() - start;
	buf_init(&end, HEAD_LIMIT);
	usleep(50000);
	h2_data(&end, call_body, sizeof(call_body) - 1, true);
	assert_int_equal(write(fd, end.data, end.len), end.len);
	buf_done(&end);
	close(fd);
	return took;
}

/* The least of some, for a machine that has other things to do, too. */
static long hold_some(const char *path)
{
	long least = hold(path);
	for (int i = 0; i < 4; i++) {
		long took = hold(path);
		least = took < least ? took : least;
	}
	return least;
}

static void check_copied_call(void)
{
	static const char *const parts[] = {"POST /copy HTTP/1.1\r\n", "\r\ncontent-type: application/grpc\r\n", "\r\nte: trailers\r\n"};
	struct buf body;
	buf_init(&body, 100);
	buf_adds(&body, "\r\n\r\nA\r\n");
	buf_add(&body, call_body, sizeof(call_body) - 1);
	buf_adds(&body, "\r\n0\r\n\r\n");
	pthread_mutex_lock(&kept_lock);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (!strcasestr(kept, parts[i]))
			fail_msg("the copy has no %s:\n%s", parts[i], kept);
	if (strcasestr(kept, "content-length") || strcasestr(kept, "hatchway"))
		fail_msg("the copy has too much:\n%s", kept);
	if (kept_n < body.len || memcmp(kept + kept_n - body.len, body.data, body.len) != 0)
		fail_msg("the copy has another body:\n%s", kept);
	pthread_mutex_unlock(&kept_lock);
	buf_done(&body);
}

/* A call is mirrored; a stream is not, and hardly held up. */
static void calls_are_mirrored(void **state)
{
	load_text(calls_text);
	for (size_t i = 0; i < ECHO_PORTS; i++)
		ports_seen[i] = 0;
	call("/call/copy", 0);
	wait_seen(2, 1);
	check_copied_call();
	/* Its body comes when HAProxy has seen its headers: in time, if this machine is not too busy. */
	for (int i = 0; i < 10 && ports_seen[2] == 1; i++) {
		call("/call/copy", 4);
		usleep(100000);
	}
	assert_int_equal(ports_seen[2], 2);
	long took = hold_some("/call/stream"), untouched = hold_some("/rare/stream");
	fprintf(stderr, "a stream was held up for %ld ms, one that is not mirrored for %ld ms\n", took, untouched);
	wait_seen(2, 2);
	assert_in_range(took, 0, 100);
	assert_in_range(untouched, 0, 20);
	/* A share is one of what can be copied: the streams between do not take it away. */
	for (int i = 0; i < 10; i++) {
		call("/half/copy", 0);
		hold("/half/stream");
	}
	wait_seen(2, 2 + 9);
}

/* ---- lengths ---- */

static void long_requests_pass(void **state)
{
	static struct answer answer;
	static char path[9000];
	struct table *table = parse("listener 80 port 80 bind 21500 origin ns/g\n"
	                            "backend ns.near:80 http1\n\tendpoint a 127.0.0.1 21510\n"
	                            "rule r forward\n\torigin ns.r\n\tto ns.near:80 weight 1\n"
	                            "host 80 \"\"\n\tprefix /p -> r\n\tprefix /c header x = y -> r\n");
	struct table_header header = {"x", "y"};
	struct table_request request = {.listener = "80", .host = "a", .method = "GET", .query = "", .path = path,
	                                .headers = &header, .n_headers = 1};
	load_table(table);
	for (const char *c = "pc"; *c; c++) {
		memset(path, '/', sizeof(path) - 1);
		path[1] = *c;
		ask(&request, &answer);
		assert_int_equal(answer.status, 200);
	}
	table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_are_exact),
		cmocka_unit_test(sessions_stay),
		cmocka_unit_test(sessions_end),
		cmocka_unit_test(guards_keep_out),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(users_are_known),
		cmocka_unit_test(deadlines_hold),
		cmocka_unit_test(retries_are_made),
		cmocka_unit_test(mirrors_are_sent),
		cmocka_unit_test(mirrors_may_hang),
		cmocka_unit_test(whole_requests_are_mirrored),
		cmocka_unit_test(calls_are_mirrored),
		cmocka_unit_test(long_requests_pass),
		cmocka_unit_test(haproxy_does_what_the_table_means),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
