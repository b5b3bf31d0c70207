/* A strict HTTP/1.1 client: sends requests over N connections and counts every answer that is not the expected one and
 * every connection that failed, even where another client would quietly try again.
 *
 *   load --to 127.0.0.1:8080 --targets FILE [--connections 16] [--close] [--seconds S] [--requests N] [--rate R] [--once]
 *
 * FILE: one target a line, "HOST PATH STATUS TEXT": the answer must have this status and TEXT somewhere in it.
 * Targets are drawn at random; --once: each is asked exactly once, in order.
 * Ends after S seconds, N requests, or on SIGTERM; what is in flight is waited for. Then one JSON object on stdout.
 * A request counts as lost if its answer is wrong, or does not come: refused, reset, closed before its end, or 10 s late. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX 65536
#define TARGETS_MAX 20000
#define BODIES_MAX 256
#define BUCKETS 20000 /* of 50 us: one second; later ones share the last */
#define TIMEOUT_NS (10 * 1000000000ull)

struct target {
	char *request, *text;
	size_t request_size;
	unsigned status;
};

enum step { STEP_IDLE, STEP_CONNECTING, STEP_WAITING };

struct connection {
	int fd;
	enum step step;
	const struct target *target;
	uint64_t sent_ns;
	size_t used;
	char answer[ANSWER_MAX + 1];
};

struct body {
	char text[120];
	uint64_t n;
};

static struct {
	struct sockaddr_in to;
	struct target *targets;
	size_t n_targets;
	unsigned n_connections;
	bool close, once;
	double seconds, rate;
	uint64_t requests;
} options = { .n_connections = 16 };

static struct {
	uint64_t sent, ok, wrong_status, wrong_text, refused, cut, late, first_loss_ms;
	uint64_t by_status[600], latency[BUCKETS];
	struct body bodies[BODIES_MAX];
	size_t n_bodies;
} counts;

static int poller;
static uint64_t begin_ns;
static volatile sig_atomic_t stop;
static char first_loss[200];

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void on_signal(int number)
{
	stop = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(2);
}

static void read_targets(const char *path)
{
	FILE *in = fopen(path, "r");
	char line[4096], host[512], where[2048], text[1024];

	options.targets = calloc(TARGETS_MAX, sizeof(*options.targets));
	if (!in || !options.targets)
		fail("cannot read the targets");
	while (fgets(line, sizeof(line), in)) {
		struct target *target = &options.targets[options.n_targets];

		text[0] = 0;
		if (sscanf(line, "%511s %2047s %u %1023[^\n]", host, where, &target->status, text) < 3)
			fail("a target is HOST PATH STATUS TEXT");
		if (++options.n_targets > TARGETS_MAX)
			fail("too many targets");
		target->text = strdup(text);
		if (asprintf(&target->request, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", where, host,
		             options.close ? "Connection: close\r\n" : "") < 0)
			fail("out of memory");
		target->request_size = strlen(target->request);
	}
	fclose(in);
	if (!options.n_targets)
		fail("no targets");
}

static void lost(const struct connection *connection, uint64_t *counter, const char *how)
{
	if (!first_loss[0]) {
		counts.first_loss_ms = (now_ns() - begin_ns) / 1000000;
		snprintf(first_loss, sizeof(first_loss), "%s: %.120s", how, connection->used ? connection->answer : "(nothing)");
	}
	(*counter)++;
}

static void close_connection(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->step = STEP_IDLE;
}

static void send_request(struct connection *connection)
{
	connection->used = 0;
	connection->step = STEP_WAITING;
	if (send(connection->fd, connection->target->request, connection->target->request_size, MSG_NOSIGNAL) !=
	    (ssize_t)connection->target->request_size) {
		lost(connection, &counts.cut, "could not send");
		close_connection(connection);
	}
}

static void open_connection(struct connection *connection)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection };
	int on = 1;

	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connection->fd < 0)
		fail("no socket");
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event);
	connection->step = STEP_CONNECTING;
	if (connect(connection->fd, (struct sockaddr *)&options.to, sizeof(options.to)) && errno != EINPROGRESS) {
		lost(connection, &counts.refused, "refused");
		close_connection(connection);
	}
}

/* The next request of an idle connection, if there is to be one. */
static void next_request(struct connection *connection)
{
	static uint64_t seed = 88172645463325252ull;
	uint64_t now = now_ns();

	if (stop || (options.requests && counts.sent >= options.requests))
		return;
	if (options.rate > 0 && (double)counts.sent > (double)(now - begin_ns) / 1e9 * options.rate)
		return;
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	connection->target = &options.targets[(options.once ? counts.sent : seed) % options.n_targets];
	connection->sent_ns = now;
	connection->used = 0;
	counts.sent++;
	if (connection->fd < 0)
		open_connection(connection);
	else
		send_request(connection);
}

static void count_body(const char *body)
{
	size_t size = strcspn(body, "\r\n"), i;

	if (size >= sizeof(counts.bodies[0].text))
		size = sizeof(counts.bodies[0].text) - 1;
	for (i = 0; i < counts.n_bodies; i++) {
		if (strlen(counts.bodies[i].text) == size && !memcmp(counts.bodies[i].text, body, size))
			break;
	}
	if (i == BODIES_MAX)
		return;
	if (i == counts.n_bodies) {
		memcpy(counts.bodies[i].text, body, size);
		counts.n_bodies++;
	}
	counts.bodies[i].n++;
}

static void judge(struct connection *connection, unsigned status, const char *body)
{
	uint64_t bucket = (now_ns() - connection->sent_ns) / 50000;

	counts.latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
	counts.by_status[status < 600 ? status : 0]++;
	count_body(body);
	if (status != connection->target->status)
		lost(connection, &counts.wrong_status, connection->target->request);
	else if (!strstr(connection->answer, connection->target->text))
		lost(connection, &counts.wrong_text, connection->target->request);
	else
		counts.ok++;
}

/* True once the answer is complete; an answer without Content-Length ends with its connection. */
static bool complete(struct connection *connection, bool ended)
{
	char *head_end, *length;
	unsigned status;
	size_t body;
	bool closes;

	connection->answer[connection->used] = 0;
	head_end = strstr(connection->answer, "\r\n\r\n");
	if (!head_end || sscanf(connection->answer, "HTTP/1.%*c %u", &status) != 1)
		return false;
	*head_end = 0;
	length = strcasestr(connection->answer, "\r\ncontent-length:");
	closes = strcasestr(connection->answer, "\r\nconnection: close") != NULL;
	body = length ? strtoul(length + 17, NULL, 10) : 0;
	*head_end = '\r';
	if (length ? connection->used < (size_t)(head_end + 4 - connection->answer) + body : !ended)
		return false;
	judge(connection, status, head_end + 4);
	connection->step = STEP_IDLE;
	if (closes || ended || options.close)
		close_connection(connection);
	return true;
}

static void receive(struct connection *connection)
{
	ssize_t n;

	for (;;) {
		n = recv(connection->fd, connection->answer + connection->used, ANSWER_MAX - connection->used, 0);
		if (n <= 0)
			break;
		connection->used += (size_t)n;
		if (connection->step == STEP_WAITING && complete(connection, false)) {
			next_request(connection);
			return;
		}
	}
	if (n < 0 && errno == EAGAIN)
		return;
	if (connection->step == STEP_WAITING && !(n == 0 && complete(connection, true)))
		lost(connection, &counts.cut, "cut");
	close_connection(connection);
	next_request(connection);
}

static void on_event(struct connection *connection, uint32_t events)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (connection->fd < 0)
		return;
	if (connection->step == STEP_CONNECTING) {
		getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error) {
			lost(connection, &counts.refused, "refused");
			close_connection(connection);
			return;
		}
		if (events & EPOLLOUT)
			send_request(connection);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(connection);
}

/* Late ones, and those with nothing to do. Returns how many are busy. */
static unsigned tick(struct connection *connections)
{
	uint64_t now = now_ns();
	unsigned busy = 0, i;

	for (i = 0; i < options.n_connections; i++) {
		struct connection *connection = &connections[i];

		if (connection->step != STEP_IDLE && now - connection->sent_ns > TIMEOUT_NS) {
			lost(connection, &counts.late, "late");
			close_connection(connection);
		}
		if (connection->step == STEP_IDLE)
			next_request(connection);
		busy += connection->step != STEP_IDLE;
	}
	return busy;
}

static void run(struct connection *connections)
{
	struct epoll_event events[256];
	uint64_t last_tick = 0;

	for (;;) {
		int n, i;
		uint64_t now = now_ns();

		if (options.seconds > 0 && (double)(now - begin_ns) / 1e9 > options.seconds)
			stop = 1;
		if (now - last_tick > 1000000) {
			last_tick = now;
			if (!tick(connections) && (stop || (options.requests && counts.sent >= options.requests)))
				return;
		}
		n = epoll_wait(poller, events, 256, 1);
		for (i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
	}
}

static double percentile_ms(double part)
{
	uint64_t all = 0, seen = 0;
	size_t i;

	for (i = 0; i < BUCKETS; i++)
		all += counts.latency[i];
	for (i = 0; i < BUCKETS && all; i++) {
		seen += counts.latency[i];
		if ((double)seen >= part * (double)all)
			break;
	}
	return (double)(i + 1) * 0.05;
}

static void json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == '"' || c == '\\' || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void report(void)
{
	uint64_t wrong = counts.wrong_status + counts.wrong_text + counts.refused + counts.cut + counts.late;
	size_t i;
	const char *comma = "";

	printf("{\"sent\": %lu, \"ok\": %lu, \"lost\": %lu, \"wrong_status\": %lu, \"wrong_text\": %lu, \"refused\": %lu, "
	       "\"cut\": %lu, \"late\": %lu, ", counts.sent, counts.ok, wrong, counts.wrong_status, counts.wrong_text,
	       counts.refused, counts.cut, counts.late);
	printf("\"seconds\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"first_loss_ms\": %lu, \"first_loss\": ",
	       (double)(now_ns() - begin_ns) / 1e9, percentile_ms(0.5), percentile_ms(0.99), counts.first_loss_ms);
	json_string(first_loss);
	printf(", \"statuses\": {");
	for (i = 0; i < 600; i++) {
		if (counts.by_status[i]) {
			printf("%s\"%zu\": %lu", comma, i, counts.by_status[i]);
			comma = ", ";
		}
	}
	printf("}, \"bodies\": {");
	for (i = 0; i < counts.n_bodies; i++) {
		fputs(i ? ", " : "", stdout);
		json_string(counts.bodies[i].text);
		printf(": %lu", counts.bodies[i].n);
	}
	printf("}}\n");
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "to", required_argument, NULL, 't' },       { "targets", required_argument, NULL, 'f' },
		{ "connections", required_argument, NULL, 'c' }, { "close", no_argument, NULL, 'C' },
		{ "seconds", required_argument, NULL, 's' },  { "requests", required_argument, NULL, 'n' },
		{ "rate", required_argument, NULL, 'r' },     { "once", no_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	const char *targets = NULL;
	char *colon;
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (c == 't' && (colon = strchr(optarg, ':'))) {
			*colon = 0;
			options.to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
			inet_pton(AF_INET, optarg, &options.to.sin_addr);
		} else if (c == 'f')
			targets = optarg;
		else if (c == 'c')
			options.n_connections = (unsigned)atoi(optarg);
		else if (c == 'C')
			options.close = true;
		else if (c == 's')
			options.seconds = atof(optarg);
		else if (c == 'n')
			options.requests = strtoull(optarg, NULL, 10);
		else if (c == 'o')
			options.once = true;
		else if (c == 'r')
			options.rate = atof(optarg);
		else
			fail("see the head of load.c");
	}
	if (!targets || !options.to.sin_port || !options.n_connections)
		fail("--to and --targets are needed");
	read_targets(targets);
	if (options.once)
		options.requests = options.n_targets;
}

int main(int argc, char **argv)
{
	struct connection *connections;
	unsigned i;

	parse_options(argc, argv);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	connections = calloc(options.n_connections, sizeof(*connections));
	poller = epoll_create1(0);
	if (!connections || poller < 0)
		fail("out of memory");
	for (i = 0; i < options.n_connections; i++)
		connections[i].fd = -1;
	begin_ns = now_ns();
	run(connections);
	report();
	free(connections);
	return 0;
}
