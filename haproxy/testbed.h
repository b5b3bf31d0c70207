/* For tests, which define TESTBED_PORT, their first port, before: a private directory, a loop, a small configuration, a sync on a real HAProxy. Not in the program. */
#ifndef HATCHWAY_HAPROXY_TESTBED_H
#define HATCHWAY_HAPROXY_TESTBED_H

#ifndef TESTBED_PORT
#define TESTBED_PORT 0
#endif

#include "haproxy/command.h"
#include "haproxy/sync.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct testbed {
	uv_loop_t loop;
	char dir[64];
	uint16_t port;
	struct image *wanted;
	struct sync *sync;
	uint64_t generation, applied;
	size_t n_refusals;
	char refusals[4096];
	char states[4096];
	bool closed, timed_out, stop_on_exit;
	size_t max_steps;
	uint16_t pool_base;
	unsigned pool_size;
	uint64_t until;
	uv_timer_t deadline;
};

/* haproxy's path; NULL: none given */
static inline const char *testbed_haproxy(void)
{
	const char *path = getenv("HATCHWAY_HAPROXY");

	if (!path || access(path, X_OK))
		fail_msg("HATCHWAY_HAPROXY names no HAProxy");
	return path;
}

static inline char *testbed_config(void *ctx, const struct config_bind *binds, size_t n)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_addf(&text, "global\n\tstats socket unix@haproxy.sock mode 600 level admin\n\tstats timeout 1h\n\tnbthread 2\n"
	                "defaults http\n\tmode http\n\tbalance roundrobin\n\ttimeout client 10s\n\ttimeout server 10s\n"
	                "\ttimeout connect 1s\nfrontend requests from http\n");
	for (size_t i = 0; i < n; i++)
		buf_addf(&text, "\tbind %s:%u-%u\n", binds[i].address, binds[i].port, config_last_port(&binds[i]));
	buf_addf(&text, "\ttcp-request connection set-var(sess.l) dst_port,map_str(maps/listener.map)\n"
	                "\ttcp-request connection reject unless { var(sess.l) -m found }\n"
	                "\thttp-request set-var-fmt(txn.k) \"%%[var(sess.l)]/%%[req.fhdr(host),host_only,reverse_dom]#\"\n"
	                "\thttp-request set-var-fmt(txn.k) \"%%[var(txn.k),map_beg_key(maps/host.map)]%%[path]/#\"\n"
	                "\thttp-request set-var(txn.r) var(txn.k),map_beg(maps/path.map)\n"
	                "\thttp-request set-var(txn.x) var(txn.r),map_beg(maps/name.map)\n"
	                "\thttp-request set-var(txn.x) var(txn.r),map_str(maps/rule.map)\n"
	                "\thttp-request set-var(txn.x) var(txn.r),map_str(maps/chain.map)\n");
	for (unsigned i = 0; i < REGEX_BUCKETS; i++)
		buf_addf(&text, "\thttp-request set-var(txn.x) var(txn.r),map_reg(maps/regex-%02u.map)\n", i);
	buf_addf(&text, "\tuse_backend %%[var(txn.r)] if { var(txn.r) -m found }\n"
	                "backend none from http\n\thttp-request return status 404\n");
	return buf_take(&text);
}

static inline void testbed_on_applied(void *ctx, uint64_t generation, const struct sync_refusal *refusals, size_t n)
{
	struct testbed *bed = ctx;
	size_t at = 0;

	bed->applied = generation;
	bed->n_refusals = n;
	bed->refusals[0] = 0;
	for (size_t i = 0; i < n && at < sizeof(bed->refusals); i++)
		at += (size_t)snprintf(bed->refusals + at, sizeof(bed->refusals) - at, "%s %s: %s\n",
		                       refusals[i].bind ? "bind" : item_kind_names[refusals[i].kind], refusals[i].key,
		                       refusals[i].text);
}

static inline void testbed_on_state(void *ctx, enum haproxy_state state, const char *text)
{
	struct testbed *bed = ctx;
	size_t n = strlen(bed->states);

	if (n > sizeof(bed->states) - 600)
		n = 0;
	snprintf(bed->states + n, sizeof(bed->states) - n, "%d %.500s\n", (int)state, text);
}

static inline void testbed_on_deadline(uv_timer_t *timer)
{
	struct testbed *bed = timer->data;

	bed->timed_out = true;
}

static inline void testbed_run_until(struct testbed *bed, bool (*done)(struct testbed *bed), unsigned ms)
{
	bed->timed_out = false;
	uv_update_time(&bed->loop);
	uv_timer_start(&bed->deadline, testbed_on_deadline, ms, 0);
	while (!done(bed) && !bed->timed_out)
		uv_run(&bed->loop, UV_RUN_ONCE);
	uv_timer_stop(&bed->deadline);
	if (bed->timed_out)
		fail_msg("%s: not done within %u ms; states: %s refusals: %s", bed->dir, ms, bed->states, bed->refusals);
}

static inline bool testbed_applied(struct testbed *bed)
{
	return bed->applied == bed->generation;
}

static inline bool testbed_settled(struct testbed *bed)
{
	return bed->applied == bed->generation && sync_idle(bed->sync);
}

static inline bool testbed_closed(struct testbed *bed)
{
	return bed->closed;
}

static inline bool testbed_never(struct testbed *bed)
{
	return false;
}

static inline void testbed_sleep(struct testbed *bed, unsigned ms)
{
	bed->timed_out = false;
	uv_update_time(&bed->loop);
	uv_timer_start(&bed->deadline, testbed_on_deadline, ms, 0);
	while (!bed->timed_out)
		uv_run(&bed->loop, UV_RUN_ONCE);
}

static inline void testbed_open(struct testbed *bed)
{
	struct err err;
	int r = sync_open(&bed->loop,
	                  &(struct sync_options){.state_dir = bed->dir, .binary = testbed_haproxy(),
	                                         .pool_base = bed->pool_base,
	                                         .pool_size = bed->pool_size,
	                                         .stop_on_exit = bed->stop_on_exit, .max_steps = bed->max_steps},
	                  &(struct sync_events){testbed_on_applied, testbed_on_state, testbed_config, bed}, bed->wanted,
	                  &bed->sync, &err);

	if (r)
		fail_msg("%s", err.text);
	bed->closed = false;
	bed->applied = 0;
}

static inline void testbed_submit(struct testbed *bed)
{
	char key[16];

	snprintf(key, sizeof(key), "%u", bed->port);
	sync_submit(bed->sync, ++bed->generation, &(struct sync_bind){key, "127.0.0.1", bed->port, false}, 1);
}

static inline void testbed_on_closed(void *ctx)
{
	((struct testbed *)ctx)->closed = true;
}

static inline void testbed_close(struct testbed *bed, bool abandon)
{
	if (abandon)
		sync_abandon(bed->sync, testbed_on_closed, bed);
	else
		sync_close(bed->sync, testbed_on_closed, bed);
	testbed_run_until(bed, testbed_closed, 10000);
	bed->sync = NULL;
}

static inline int testbed_pid(struct testbed *bed, const char *kind)
{
	char command[300], line[200] = "";

	snprintf(command, sizeof(command), "echo 'show proc' | timeout 5 socat - UNIX-CONNECT:%s/master.sock 2>/dev/null", bed->dir);
	FILE *p = popen(command, "r");
	int pid = 0;
	while (p && fgets(line, sizeof(line), p)) {
		char word[32];
		int n;
		if (sscanf(line, "%d %31s", &n, word) == 2 && !strcmp(word, kind)) {
			pid = n;
			break;
		}
	}
	if (p)
		pclose(p);
	return pid;
}

/* Ends the HAProxy of this bed, by the pid its own master tells. */
static inline void testbed_kill(struct testbed *bed, int signal)
{
	int pid = testbed_pid(bed, "master"), worker = testbed_pid(bed, "worker");

	if (pid > 1)
		kill(pid, signal);
	if (worker > 1 && signal == SIGKILL)
		kill(worker, signal);
	for (int i = 0; i < 200 && ((pid > 1 && !kill(pid, 0)) || (worker > 1 && !kill(worker, 0))); i++)
		usleep(10000);
}

static inline void testbed_init(struct testbed *bed, uint16_t port)
{
	memset(bed, 0, sizeof(*bed));
	strcpy(bed->dir, "/tmp/hatchway-test-XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	bed->port = port;
	bed->wanted = image_new();
	assert_int_equal(uv_loop_init(&bed->loop), 0);
	uv_timer_init(&bed->loop, &bed->deadline);
	bed->deadline.data = bed;
}

static inline void testbed_done(struct testbed *bed)
{
	char command[100];

	testbed_kill(bed, SIGTERM);
	/* A test that failed in its midst leaves handles behind, and whoever they belong to. */
	bool failed = bed->sync != NULL;
	uv_close((uv_handle_t *)&bed->deadline, NULL);
	if (!failed) {
		uv_run(&bed->loop, UV_RUN_DEFAULT);
		assert_int_equal(uv_loop_close(&bed->loop), 0);
	}
	image_free(bed->wanted);
	snprintf(command, sizeof(command), "rm -rf %s", bed->dir);
	assert_int_equal(system(command), 0);
}

/* For cmocka: one bed per test, also when the test fails. */
static inline int testbed_setup(void **state)
{
	static uint16_t port = TESTBED_PORT;
	struct testbed *bed = xcalloc(1, sizeof(*bed));

	testbed_init(bed, port++);
	*state = bed;
	return 0;
}

/* Ends a test that has not failed. */
static inline void testbed_end(struct testbed *bed)
{
	if (bed->sync)
		testbed_close(bed, true);
}

#define testbed_test(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

static inline int testbed_teardown(void **state)
{
	testbed_done(*state);
	free(*state);
	return 0;
}



static inline void assert_images_equal(const struct image *a, const struct image *b)
{
	struct buf x, y;

	buf_init(&x, (size_t)256 << 20);
	buf_init(&y, (size_t)256 << 20);
	image_dump(a, &x);
	image_dump(b, &y);
	if (strcmp(x.data, y.data)) {
		size_t i = 0;
		while (x.data[i] && x.data[i] == y.data[i])
			i++;
		while (i && x.data[i - 1] != '\n')
			i--;
		fail_msg("images differ:\n%.300s\n---\n%.300s", x.data + i, y.data + i);
	}
	buf_done(&x);
	buf_done(&y);
}

/* ---- random images ---- */

static inline uint32_t testbed_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static inline uint64_t testbed_seed(void)
{
	const char *text = getenv("HATCHWAY_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();

	print_message("HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* A random step from what `image` is to something else: about n changes, among `range` things of each kind. */
static inline void testbed_mutate(struct image *image, uint64_t *seed, unsigned n, unsigned range)
{
	static const char *const tails[] = {"a", "b;c", "b\\", "a\\;d", "(?i)x{2}", "%[x]", "<<END", "\"q\"", "'", "#", "{y}", "-"};

	for (unsigned i = 0; i < n; i++) {
		char key[200], value[200];
		unsigned x = testbed_random(seed) % range, what = testbed_random(seed) % 12, y = testbed_random(seed);
		const char *tail = tails[y / 7 % ARRAY_LEN(tails)];
		bool gone = testbed_random(seed) % 3 == 0;
		if (what < 5) {
			snprintf(key, sizeof(key), "ns.svc%u:80", x);
			if (what == 0 && gone) {
				image_delete(image, ITEM_BACKEND, key);
				for (unsigned k = 0; k < 8; k++) {
					snprintf(key, sizeof(key), "ns.svc%u:80/p%u%s", x, k, k & 1 ? "-h2c" : "");
					image_delete(image, ITEM_SERVER, key);
				}
				continue;
			}
			image_set(image, ITEM_BACKEND, key, "http");
			snprintf(key, sizeof(key), "ns.svc%u:80/p%u%s", x, y % 8, y & 1 ? "-h2c" : "");
			unsigned form = y / 8 % 10;
			struct server_value server = {.weight = y / 64 % 257, .state = (enum server_state)(y / 1024 % 3), .h2c = y & 1};
			if (form < 6)
				snprintf(server.address, sizeof(server.address), "127.0.0.%u:%u", 1 + y / 4096 % 3, 22900 + y / 8192 % 3);
			else if (form < 9)
				snprintf(server.address, sizeof(server.address), "[::1]:%u", 22900 + y / 8192 % 3);
			else
				snprintf(server.address, sizeof(server.address), "unix@/nowhere/error-500.sock");
			struct buf text;
			buf_init(&text, 512);
			server_value_dump(&server, &text);
			if (gone)
				image_delete(image, ITEM_SERVER, key);
			else
				image_set(image, ITEM_SERVER, key, text.data);
			buf_done(&text);
			continue;
		}
		enum item_kind kind = (enum item_kind)(ITEM_REGEX + (int)(what % 6));
		/* a regex's value is the pattern's verdict; its key must be a regex */
		if (kind == ITEM_REGEX)
			snprintf(key, sizeof(key), "%c%u(;|%%)\\.", 'a' + (int)(x % 26), x);
		else
			snprintf(key, sizeof(key), "80/com.x%u#/%s/%u/", x, tail, x % 7);
		snprintf(value, sizeof(value), "v%u%s %s", y % 5, tail, tail);
		if (gone)
			image_delete(image, kind, key);
		else
			image_set(image, kind, key, value);
	}
}

#endif
