/* The routing program on the real HAProxy against the meaning of tables: random tables and requests, each answer held
 * against table_match() and what the winning rule says. Needs HATCHWAY_HAPROXY.
 *
 * One HAProxy for all: tables change by rewriting its maps through the socket, backends are only ever added. An echo server
 * thread listens on one port per backend and answers with that port and the request's head. */
#include "haproxy/config.h"
#include "haproxy/render.h"
#include "haproxy/rule.h"
#include "haproxy/table_random.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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

/* One request head in, one answer out; requests here have no bodies. */
static bool echo_answer(int fd, uint16_t port)
{
	static char head[HEAD_LIMIT + 1], answer[HEAD_LIMIT + 256];
	size_t n = 0;
	head[0] = 0;
	while (!strstr(head, "\r\n\r\n")) {
		ssize_t r = read(fd, head + n, HEAD_LIMIT - n);
		if (r <= 0)
			return false;
		n += (size_t)r;
		head[n] = 0;
	}
	if (strstr(head, "/slow"))
		return true; /* never answers */
	int length = snprintf(answer, sizeof(answer),
	                      "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nX-A: server\r\nX-B: server\r\nX-C: server\r\n\r\n%u\n%s",
	                      n + 6, port, head);
	return write(fd, answer, (size_t)length) == length;
}

static void *echo_serve(void *arg)
{
	struct pollfd fds[512];
	uint16_t ports[512];
	nfds_t n = ECHO_PORTS;
	for (nfds_t i = 0; i < n; i++) {
		fds[i] = (struct pollfd){.fd = ((int *)arg)[i], .events = POLLIN};
		ports[i] = (uint16_t)(ECHO_PORT + i);
	}
	while (poll(fds, n, -1) >= 0) {
		for (nfds_t i = n; i-- > 0;) {
			if (!fds[i].revents)
				continue;
			if (i < ECHO_PORTS && n < ARRAY_LEN(fds)) {
				fds[n] = (struct pollfd){.fd = accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC), .events = POLLIN};
				ports[n++] = ports[i];
			} else if (i >= ECHO_PORTS && !echo_answer(fds[i].fd, ports[i])) {
				close(fds[i].fd);
				fds[i] = fds[--n];
				ports[i] = ports[n];
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
	if (!held)
		buf_addf(out, "add server %s %s%s;", key, value.address, value.h2c ? " proto h2" : "");
	else if (*value.address == '1')
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
	struct timeval timeout = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
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
		if (status == (!rule->refs[i].backend ? 500 : backend_has(table, rule->refs[i].backend) ? 200 : 503))
			return true;
	}
	return false;
}

static bool port_possible(const struct table *table, const struct table_rule *rule, int port)
{
	for (size_t i = 0; i < rule->n_refs; i++)
		if (rule->refs[i].weight && rule->refs[i].backend && backend_has(table, rule->refs[i].backend) &&
		    atoi(rule->refs[i].backend + strlen("ns.s")) + ECHO_PORT == port)
			return true;
	return false;
}

/* The path after the rule's rewrite (prefix is always "/" in these tables). */
static void rewritten(const struct table_rule *rule, const char *path, struct buf *out)
{
	const char *to = rule->rewrite.path;
	size_t n = to ? strlen(to) : 0;
	buf_clear(out);
	if (rule->rewrite.edit == TABLE_PATH_KEEP) {
		buf_adds(out, path);
		return;
	}
	if (rule->rewrite.edit == TABLE_PATH_PREFIX_EDIT && n && to[n - 1] == '/')
		n--;
	for (size_t i = 0; i < n; i++)
		buf_addf(out, strchr(" \"?#", to[i]) ? "%%%02X" : "%c", to[i]);
	if (rule->rewrite.edit == TABLE_PATH_PREFIX_EDIT)
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

static void check_headers(const char *head, const struct table_headers *headers, const char *before)
{
	static const char *const names[] = {"x-a", "x-b", "x-c"};
	struct buf wanted, got;
	buf_init(&wanted, 4096);
	buf_init(&got, 4096);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		buf_clear(&wanted);
		buf_adds(&wanted, before);
		apply_edit(&wanted, headers, names[i]);
		header_lines(head, names[i], &got);
		assert_string_equal(wanted.data, got.data);
	}
	buf_done(&wanted);
	buf_done(&got);
}

static void check_target(const struct table_rule *rule, const struct table_request *request, const char *line)
{
	struct buf path, wanted;
	buf_init(&path, HEAD_LIMIT);
	buf_init(&wanted, HEAD_LIMIT);
	rewritten(rule, request->path, &path);
	buf_addf(&wanted, "%s %s%s%s HTTP/1.1\r\n", request->method, path.data, *request->query ? "?" : "", request->query);
	if (strncmp(line, wanted.data, wanted.len))
		fail_msg("the backend saw %.300s, wanted %s", line, wanted.data);
	buf_done(&path);
	buf_done(&wanted);
}

static void check_forward(const struct table *table, const struct table_rule *rule, const struct table_request *request,
                          const struct answer *answer)
{
	if (!status_possible(table, rule, answer->status))
		fail_msg("status %d is not possible for rule %s", answer->status, rule->unit.key);
	if (answer->status != 500)
		check_headers(answer->head, &rule->response, answer->status == 200 ? "<server>" : "");
	if (answer->status != 200)
		return;
	if (!port_possible(table, rule, atoi(answer->body)))
		fail_msg("port %d is not possible for rule %s", atoi(answer->body), rule->unit.key);
	const char *line = strchr(answer->body, '\n') + 1;
	struct buf got;
	char wanted[300];
	buf_init(&got, 4096);
	check_target(rule, request, line);
	check_headers(line, &rule->request, "");
	header_lines(line, "host", &got);
	snprintf(wanted, sizeof(wanted), "<%s>", rule->rewrite.hostname ? rule->rewrite.hostname : request->host);
	assert_string_equal(got.data, wanted);
	header_lines(line, "x-forwarded-proto", &got);
	assert_string_equal(got.data, "<http>");
	header_lines(line, "x-forwarded-for", &got);
	assert_string_equal(got.data, "<127.0.0.1>");
	buf_done(&got);
}

static void check_redirect(const struct table_rule *rule, const struct table_request *request, const struct answer *answer)
{
	struct buf path, wanted, got;
	char host[300], port[16] = "";
	buf_init(&path, HEAD_LIMIT);
	buf_init(&wanted, HEAD_LIMIT);
	buf_init(&got, HEAD_LIMIT);
	snprintf(host, sizeof(host), "%s", rule->rewrite.hostname ? rule->rewrite.hostname : request->host);
	for (char *p = host; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
	char *colon = strrchr(host, ':');
	if (colon && !strchr(colon, ']'))
		*colon = 0;
	if (rule->redirect_port)
		snprintf(port, sizeof(port), ":%u", rule->redirect_port);
	rewritten(rule, request->path, &path);
	buf_addf(&wanted, "<%s://%s%s%s%s%s>", rule->redirect_scheme ? rule->redirect_scheme : "http", host, port, path.data,
	         *request->query ? "?" : "", request->query);
	assert_int_equal(answer->status, rule->status);
	header_lines(answer->head, "location", &got);
	assert_string_equal(got.data, wanted.data);
	check_headers(answer->head, &rule->response, "");
	buf_done(&path);
	buf_done(&wanted);
	buf_done(&got);
}

static void check_answer(const struct table *table, const struct table_request *request, const struct answer *answer)
{
	const struct table_entry *entry = table_match(table, request, NULL);
	const struct table_rule *rule = entry ? table_rule(table, entry->rule) : NULL;
	if (!entry)
		assert_int_equal(answer->status, 404);
	else if (!rule)
		assert_int_equal(answer->status, 500);
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
	static const char *const methods[] = {"GET", "GET", "POST", "PUT", "DELETE"};
	static const struct table_header lines[] = {{"X-V", "v1"}, {"x-v", "v2"}, {"X-v", "v3 "}, {"X-W", "a b;\"\\%"},
	                                            {"X-W", ""}, {"X-V", "v1,v2"}};
	static const char *const queries[] = {"q=1", "q=a+b", "q=a%20b", "Q=1", "q=2&q=1", "e", "e=", "a+b=%26%3D", "q=%zz&e", "x&&q=1",
	                                      "q=%00", "q=1%0a", "=", "q", "aq=1&q=12", "%71=1", "%71=2&q=1", "a%2bb=%26%3D",
	                                      "%71%00=1", "%7=1&%51=1", "a%20b=%26%3D", "%26=1&&=1"};
	char path[400];
	struct table_header headers[3];
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
	"rule gone forward\n\torigin ns.gone\n\tto ns.none:80 weight 1\n"
	"host 80 \"\"\n\tprefix /canary -> canary\n\tprefix /broken -> broken\n\tprefix /tiny -> tiny\n\tprefix /gone -> gone\n";

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
	count("/gone", 1, statuses, ports);
	assert_int_equal(statuses[503], 1);
	table_free(table);
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
		cmocka_unit_test(deadlines_hold),
		cmocka_unit_test(long_requests_pass),
		cmocka_unit_test(haproxy_does_what_the_table_means),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
