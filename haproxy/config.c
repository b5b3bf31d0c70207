/* haproxy.cfg from the embedded program: global section, binds, and what the program repeats. Never a route. */
#include "haproxy/config.h"

#include "haproxy/encode.h"
#include "haproxy/rule.h"

/* haproxy/routing.cfg and haproxy/hatchway.lua, see CMakeLists.txt. */
extern const char text_routing_cfg[], text_hatchway_lua[];

const char *const config_lua = text_hatchway_lua;

const char *const config_maps[] = {
	"maps/listener.map", "maps/name.map",     "maps/host.map",     "maps/path.map",     "maps/rule.map",     "maps/chain.map",
	"maps/regex-00.map", "maps/regex-01.map", "maps/regex-02.map", "maps/regex-03.map", "maps/regex-04.map",
	"maps/regex-05.map", "maps/regex-06.map", "maps/regex-07.map", NULL,
};

/* Binds, pollers, pipes, the sockets of the Runtime API, idle connections to servers being replaced. */
#define FD_RESERVE 500
#define MAXCONN_LIMIT 200000
/* How often a request may fall from one host to a less specific one; as many as a name has labels, in practice fewer. */
#define FALLS 8

unsigned config_maxconn(uint64_t fd_limit, size_t n_ports)
{
	uint64_t others = FD_RESERVE + 2 * (uint64_t)n_ports;
	if (fd_limit <= others + 200)
		return 100;
	uint64_t n = (fd_limit - others) / 2;
	return n > MAXCONN_LIMIT ? MAXCONN_LIMIT : (unsigned)n;
}

static void render_limits(const struct config_input *input, struct buf *out)
{
	size_t n_ports = 0;

	for (size_t i = 0; i < input->n_binds; i++)
		n_ports += config_last_port(&input->binds[i]) - input->binds[i].port + 1u;
	if (input->fd_limit)
		buf_addf(out, "\t# Of %llu file descriptors, two for each connection.\n\tmaxconn %u\n",
		         (unsigned long long)input->fd_limit, config_maxconn(input->fd_limit, n_ports));
	else
		buf_addf(out, "\t# Connections: as many as the limit of descriptors allows, and not more than %d.\n"
		              "\tfd-hard-limit %zu\n", MAXCONN_LIMIT, 2 * MAXCONN_LIMIT + FD_RESERVE + 2 * n_ports);
}

static void render_global(const struct config_input *input, struct buf *out)
{
	buf_adds(out, "# Written by hatchway; changes made here are lost. Routes are not in this file: see maps/ and backends/.\n"
	              "global\n"
	              "\t# The Runtime API, for hatchway and for you: socat - unix-connect:haproxy.sock\n"
	              "\tstats socket unix@haproxy.sock mode 600 level admin severity-output number\n"
	              "\tstats timeout 1h\n");
	render_limits(input, out);
	if (input->threads)
		buf_addf(out, "\tnbthread %u\n", input->threads);
	if (input->root)
		buf_adds(out, "\t# Started by root: said aloud, or HAProxy warns.\n\tuid 0\n\tgid 0\n\tchroot /\n");
	buf_addf(out, "\t# Workers of before a reload end at last.\n"
	              "\thard-stop-after 30m\n"
	              "\ttune.lua.bool-sample-conversion normal\n"
	              "\ttune.lua.openlibs string,table,math\n"
	              "\tlua-load-per-thread hatchway.lua abns@hatchway-%s-mirrors\n\n", input->instance);
}

/* ---- binds ---- */

struct line {
	char text[400];
};

static int line_cmp(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

static bool make_line(const char *address, const struct config_bind *bind, struct line *ret)
{
	struct buf text;
	buf_init(&text, sizeof(ret->text) - 1);
	bool ok = encode_address(address, bind->port, &text);
	if (config_last_port(bind) > bind->port)
		buf_addf(&text, "-%u", bind->last);
	buf_adds(&text, strchr(address, ':') ? " v6only" : "");
	snprintf(ret->text, sizeof(ret->text), "%s", text.data);
	ok &= !buf_failed(&text);
	buf_done(&text);
	return ok;
}

void config_bind_name(const char *address, uint16_t port, char out[CONFIG_BIND_NAME])
{
	snprintf(out, CONFIG_BIND_NAME, *address ? "%.50s:%u" : "%.50s%u", address, port);
}

/* A line for each port, with both families on it: they share the certificates in HAProxy's memory, too. */
static size_t make_tls_lines(const struct config_input *input, const struct config_bind *bind, struct line *ret)
{
	bool any = !*bind->address;
	size_t n = 0;

	for (unsigned port = bind->port; port <= config_last_port(bind); port++) {
		const struct config_bind one = {bind->address, (uint16_t)port, 0, true};
		struct line first, second = {""};
		char name[CONFIG_BIND_NAME];
		if (!make_line(any ? "0.0.0.0" : bind->address, &one, &first) || (any && input->ipv6 && !make_line("::", &one, &second)))
			continue;
		config_bind_name(bind->address, (uint16_t)port, name);
		snprintf(ret[n++].text, sizeof(ret->text), "%.90s%s%.90s ssl crt " CONFIG_CERT_NONE " crt-list certs/%s.list alpn h2,http/1.1 ca-ignore-err all crt-ignore-err all",
		         first.text, *second.text ? "," : "", second.text, name);
	}
	return n;
}

static void render_binds(const struct config_input *input, struct buf *out)
{
	size_t n = 0, room = 0;
	for (size_t i = 0; i < input->n_binds; i++)
		room += input->binds[i].tls ? config_last_port(&input->binds[i]) - input->binds[i].port + 1u : 2;
	struct line *list = xcalloc(room, sizeof(*list));
	for (size_t i = 0; i < input->n_binds; i++) {
		const struct config_bind *bind = &input->binds[i];
		bool any = !*bind->address;
		if (bind->tls) {
			n += make_tls_lines(input, bind, &list[n]);
			continue;
		}
		n += make_line(any ? "0.0.0.0" : bind->address, bind, &list[n]);
		if (any && input->ipv6)
			n += make_line("::", bind, &list[n]);
	}
	if (n)
		qsort(list, n, sizeof(*list), line_cmp);
	for (size_t i = 0; i < n; i++)
		if (!i || line_cmp(&list[i - 1], &list[i]))
			buf_addf(out, "\tbind %s\n", list[i].text);
	free(list);
}

/* ---- what the program repeats ---- */

static void render_errors(const struct config_input *input, struct buf *out)
{
	for (int status = 500; status <= 503; status += 3)
		buf_addf(out, "\tbind abns@hatchway-%s-%d name error-%d\n", input->instance, status, status);
}

static void render_again(const struct config_input *input, struct buf *out)
{
	for (int i = 0; i < FALLS; i++)
		buf_adds(out, "\thttp-request set-var(txn.r) path if { var(txn.r) -m str ^ }\n"
		              "\thttp-request lua.hatchway_choose if { var(txn.r) -m beg / } look chain\n");
}

static void render_tries(const struct config_input *input, struct buf *out)
{
	buf_addf(out, "\tserver tries abns@hatchway-%s-tries\n", input->instance);
}

static void render_tries_bind(const struct config_input *input, struct buf *out)
{
	buf_addf(out, "\tbind abns@hatchway-%s-tries\n", input->instance);
}

static void render_mirrors_bind(const struct config_input *input, struct buf *out)
{
	buf_addf(out, "\tbind abns@hatchway-%s-mirrors\n", input->instance);
}

static void render_codes(const struct config_input *input, struct buf *out)
{
	for (const uint16_t *code = table_retry_codes; *code; code++)
		buf_addf(out, "\thttp-after-response set-header X-Hatchway-Status %u if { server_status %u } "
		              "{ var(txn.y),field(2,;) -m sub %u }\n", *code, *code, *code);
}

static void render_tried(const struct config_input *input, struct buf *out)
{
	for (const uint16_t *code = table_retry_codes; *code; code++)
		buf_addf(out, "\thttp-after-response set-status %u if { res.hdr(x-hatchway-status) %u }\n", *code, *code);
}

static void render_statuses(const struct config_input *input, struct buf *out)
{
	for (const uint16_t *p = rule_statuses; *p; p++)
		if (*p != 404 && *p != 500 && *p != 503)
			buf_addf(out, "\thttp-request return status %u content-type text/plain string \"refused by a route\\n\""
			              " if { var(txn.r) -m str !%u }\n", *p, *p);
}

static void render_regexes(const struct config_input *input, struct buf *out)
{
	for (int i = 0; i < CONFIG_REGEX_BUCKETS; i++)
		buf_addf(out, "\tacl named str(),map_str(maps/regex-%02d.map) -m found\n", i);
}

/* The lines of a section of defaults: HAProxy lets none that has rules be inherited from. */
static void render_section(const char *head, struct buf *out)
{
	const char *line = strstr(text_routing_cfg, head);
	BUG_ON(!line);
	for (line += strlen(head); *line != '\n'; line = strchr(line, '\n') + 1)
		if (strncmp(line, "\t#", 2) != 0)
			buf_add(out, line, strcspn(line, "\n") + 1);
}

static void render_as_http(const struct config_input *input, struct buf *out)
{
	render_section("\ndefaults http from servers\n", out);
}

static void render_as_grpc(const struct config_input *input, struct buf *out)
{
	render_section("\ndefaults grpc from servers\n", out);
}

static const struct mark {
	const char *line;
	void (*render)(const struct config_input *input, struct buf *out);
} marks[] = {
	{"@binds@\n", render_binds},       {"@errors@\n", render_errors},   {"@again@\n", render_again},
	{"@statuses@\n", render_statuses}, {"@regexes@\n", render_regexes}, {"@tries@\n", render_tries},
	{"@tries-bind@\n", render_tries_bind}, {"@codes@\n", render_codes}, {"@tried@\n", render_tried},
	{"@mirrors-bind@\n", render_mirrors_bind}, {"@as http@\n", render_as_http}, {"@as grpc@\n", render_as_grpc},
};

void config_render(const struct config_input *input, struct buf *out)
{
	BUG_ON(!encode_name_ok(input->instance));
	render_global(input, out);
	for (const char *line = text_routing_cfg; *line;) {
		const char *end = strchrnul(line, '\n');
		size_t n = (size_t)(end - line) + (*end == '\n');
		const struct mark *mark = NULL;
		for (size_t i = 0; i < ARRAY_LEN(marks); i++)
			if (strlen(marks[i].line) == n && !strncmp(marks[i].line, line, n))
				mark = &marks[i];
		if (mark)
			mark->render(input, out);
		else
			buf_add(out, line, n);
		line += n;
	}
}
