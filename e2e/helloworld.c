/* The application of the walk-through, and the tests' looking glass: a small HTTP/1.1 server.
 *
 *   GET /hello        Hello version: v1, instance: NAME
 *   anything /echo…   JSON: what arrived (method, path, query, headers in order) and who answers
 *   anything else     404 with the instance's name, so that a wrong rewrite is seen
 *
 * NAME is --instance, else the host's (in Kubernetes: the Pod's). --delay-ms waits before every answer. --ports N: listens
 * on N ports from --port on, each an instance of its own (NAME-PORT); with --ports-per-version K the first K of them are version
 * r0, the next K r1 and so on. */
#include <arpa/inet.h>
#include <getopt.h>
#include <limits.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PORTS_MAX 1024

struct app {
	const char *version, *instance, *address;
	unsigned port, delay_ms;
};

struct options {
	struct app app;
	unsigned ports, ports_per_version;
};

static void json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; text && *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == '"' || c == '\\' || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

struct pairs {
	FILE *out;
	unsigned n;
};

static enum MHD_Result print_pair(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct pairs *pairs = ctx;

	fputs(pairs->n++ ? ", [" : "[", pairs->out);
	json_string(pairs->out, name);
	fputs(", ", pairs->out);
	json_string(pairs->out, value);
	fputc(']', pairs->out);
	return MHD_YES;
}

static void echo(FILE *out, const struct app *app, struct MHD_Connection *connection, const char *method, const char *path)
{
	struct pairs headers = { .out = out }, queries = { .out = out };

	fputs("{\"instance\": ", out);
	json_string(out, app->instance);
	fputs(", \"version\": ", out);
	json_string(out, app->version);
	fputs(", \"method\": ", out);
	json_string(out, method);
	fputs(", \"path\": ", out);
	json_string(out, path);
	fputs(", \"query\": [", out);
	MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, print_pair, &queries);
	fputs("], \"headers\": [", out);
	MHD_get_connection_values(connection, MHD_HEADER_KIND, print_pair, &headers);
	fputs("]}\n", out);
}

/* The path and query as they arrived: MHD unescapes the path it hands to the handler. */
static void *keep_uri(void *ctx, const char *uri, struct MHD_Connection *connection)
{
	char *path = strndup(uri, strcspn(uri, "?"));

	if (!path)
		abort();
	return path;
}

static void forget_uri(void *ctx, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode how)
{
	free(*request);
	*request = NULL;
}

static enum MHD_Result answer(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *body, size_t *body_size, void **request)
{
	const struct app *app = ctx;
	const char *path = *request;
	struct MHD_Response *response;
	enum MHD_Result result;
	unsigned status = MHD_HTTP_OK;
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	/* Called for every part of a body, then once more: only then it is time to answer. The "*" marks the first call. */
	if (path[0] != '*') {
		char *marked;

		if (asprintf(&marked, "*%s", path) < 0)
			abort();
		free(*request);
		*request = marked;
		return MHD_YES;
	}
	path++;
	if (*body_size) {
		*body_size = 0;
		return MHD_YES;
	}
	if (app->delay_ms)
		usleep(app->delay_ms * 1000);
	out = open_memstream(&text, &size);
	if (!out)
		abort();
	if (!strcmp(path, "/hello")) {
		fprintf(out, "Hello version: %s, instance: %s\n", app->version, app->instance);
	} else if (!strncmp(path, "/echo", 5)) {
		echo(out, app, connection, method, path);
	} else {
		status = MHD_HTTP_NOT_FOUND;
		fprintf(out, "%s has no %s\n", app->instance, path);
	}
	fclose(out);
	response = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
	MHD_add_response_header(response, "Content-Type", path[1] == 'e' ? "application/json" : "text/plain");
	MHD_add_response_header(response, "X-Instance", app->instance);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "address", required_argument, NULL, 'a' },  { "port", required_argument, NULL, 'p' },
		{ "version", required_argument, NULL, 'v' },  { "instance", required_argument, NULL, 'i' },
		{ "delay-ms", required_argument, NULL, 'd' }, { "ports", required_argument, NULL, 'n' },
		{ "ports-per-version", required_argument, NULL, 'k' }, { NULL, 0, NULL, 0 },
	};
	static char host[HOST_NAME_MAX + 1];
	struct options given = { .ports = 1 };
	struct app *app = &given.app;
	int c;

	gethostname(host, sizeof(host) - 1);
	*app = (struct app){ .version = "v1", .instance = host, .address = "127.0.0.1", .port = 5000 };
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'a')
			app->address = optarg;
		else if (c == 'p')
			app->port = (unsigned)atoi(optarg);
		else if (c == 'v')
			app->version = optarg;
		else if (c == 'i')
			app->instance = optarg;
		else if (c == 'd')
			app->delay_ms = (unsigned)atoi(optarg);
		else if (c == 'n')
			given.ports = (unsigned)atoi(optarg);
		else if (c == 'k')
			given.ports_per_version = (unsigned)atoi(optarg);
		else
			exit(2);
	}
	return given;
}

static struct MHD_Daemon *listen_as(struct app *app)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)app->port) };
	/* A delay holds up its thread, so then every connection has one. */
	unsigned how = app->delay_ms ? MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION
				     : MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL;
	struct MHD_Daemon *daemon = NULL;

	if (inet_pton(AF_INET, app->address, &at.sin_addr) == 1)
		daemon = MHD_start_daemon(how, 0, NULL, NULL, answer, app, MHD_OPTION_SOCK_ADDR, &at,
		                          MHD_OPTION_URI_LOG_CALLBACK, keep_uri, NULL, MHD_OPTION_NOTIFY_COMPLETED,
		                          forget_uri, NULL, MHD_OPTION_CONNECTION_LIMIT, 15000u,
		                          MHD_OPTION_CONNECTION_TIMEOUT, 300u, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
		                          MHD_OPTION_END);
	if (!daemon)
		fprintf(stderr, "helloworld: cannot listen on %s:%u\n", app->address, app->port);
	return daemon;
}

/* The i-th of several: its own port, name and perhaps version. */
static struct app *nth_app(const struct options *given, unsigned i)
{
	static struct app apps[PORTS_MAX];
	static char names[PORTS_MAX][256], versions[PORTS_MAX][16];

	apps[i] = given->app;
	apps[i].port += i;
	snprintf(names[i], sizeof(names[i]), "%s-%u", given->app.instance, apps[i].port);
	apps[i].instance = names[i];
	if (given->ports_per_version) {
		snprintf(versions[i], sizeof(versions[i]), "r%u", i / given->ports_per_version);
		apps[i].version = versions[i];
	}
	return &apps[i];
}

int main(int argc, char **argv)
{
	struct options given = parse_options(argc, argv);
	sigset_t end;
	struct rlimit files;
	int signal_number;
	unsigned i;

	/* A proxy of ten thousand Services keeps a connection for each. */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (given.ports > PORTS_MAX)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&end);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	for (i = 0; i < given.ports; i++) {
		if (!listen_as(given.ports > 1 ? nth_app(&given, i) : &given.app))
			return 1;
	}
	sigwait(&end, &signal_number);
	return 0;
}
