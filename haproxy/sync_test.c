/* The whole half on a real HAProxy: apply, take over, files, faults. */
#define TESTBED_PORT 22100
#include "haproxy/testbed.h"

#include "haproxy/process.h"
#include "hatchway/base/log.h"

#include <sys/time.h>

static void apply_settle(struct testbed *bed)
{
	testbed_submit(bed);
	testbed_run_until(bed, testbed_settled, 20000);
	assert_string_equal(bed->refusals, "");
	assert_images_equal(sync_held(bed->sync), bed->wanted);
}

/* A fresh controller reads what is there; the image must be the one wanted, byte for byte, without a command. */
static void assert_held_by_haproxy(struct testbed *bed)
{
	if (bed->sync)
		testbed_close(bed, false);
	testbed_open(bed);
	apply_settle(bed);
	assert_int_equal(sync_counters(bed->sync).commands, 0);
	assert_int_equal(sync_counters(bed->sync).reloads, 0);
	assert_int_equal(sync_counters(bed->sync).starts, 0);
}

static void test_random_images(void **state)
{
	struct testbed *bed = *state;
	uint64_t seed = testbed_seed();

	testbed_open(bed);
	testbed_mutate(bed->wanted, &seed, 200, 30);
	apply_settle(bed);
	for (int i = 0; i < 20; i++) {
		testbed_mutate(bed->wanted, &seed, 1 + testbed_random(&seed) % 60, 30);
		testbed_submit(bed);
		if (i % 3)
			testbed_run_until(bed, testbed_applied, 10000);
		else
			testbed_run_until(bed, testbed_settled, 10000);
	}
	apply_settle(bed);
	assert_int_equal(sync_counters(bed->sync).reads, 1);
	assert_int_equal(sync_counters(bed->sync).reloads, 0);
	assert_held_by_haproxy(bed);
	testbed_end(bed);
}

/* HAProxy killed, master and all, while no controller lives: its files bring back what it held. */
static void test_restart_from_files(void **state)
{
	struct testbed *bed = *state;
	uint64_t seed = testbed_seed();

	testbed_open(bed);
	testbed_mutate(bed->wanted, &seed, 300, 40);
	apply_settle(bed);
	testbed_mutate(bed->wanted, &seed, 100, 40);
	apply_settle(bed);
	testbed_sleep(bed, 1000);
	testbed_close(bed, true);
	testbed_kill(bed, SIGKILL);
	testbed_open(bed);
	apply_settle(bed);
	assert_int_equal(sync_counters(bed->sync).starts, 1);
	assert_int_equal(sync_counters(bed->sync).reloads, 0);
	/* Files cannot say "drain": each such server costs its weight and its state, nothing else does. */
	size_t n, drains = 0;
	const struct item **items = image_sorted(bed->wanted, &n);
	for (size_t i = 0; i < n; i++)
		drains += items[i]->kind == ITEM_SERVER && strstr(items[i]->value, " drain") != NULL;
	free(items);
	assert_true(sync_counters(bed->sync).commands <= 2 * drains);
	/* What came from files can be changed and removed as what did not. */
	testbed_mutate(bed->wanted, &seed, 200, 40);
	apply_settle(bed);
	image_free(bed->wanted);
	bed->wanted = image_new();
	testbed_close(bed, false);
	testbed_open(bed);
	apply_settle(bed);
	assert_int_equal(image_count(sync_held(bed->sync), ITEM_BACKEND), 0);
	testbed_end(bed);
}

/* The same with the controller alive: it starts HAProxy again by itself. */
static void test_haproxy_killed(void **state)
{
	struct testbed *bed = *state;
	uint64_t seed = testbed_seed();

	testbed_open(bed);
	testbed_mutate(bed->wanted, &seed, 100, 20);
	apply_settle(bed);
	for (int i = 0; i < 4; i++) {
		int worker = testbed_pid(bed, "worker");
		assert_true(worker > 1);
		testbed_mutate(bed->wanted, &seed, 50, 20);
		if (i & 1)
			testbed_submit(bed);
		kill(worker, SIGKILL);
		if (i & 2)
			testbed_kill(bed, SIGKILL);
		testbed_mutate(bed->wanted, &seed, 50, 20);
		apply_settle(bed);
	}
	assert_int_equal(sync_counters(bed->sync).starts, 5);
	assert_held_by_haproxy(bed);
	testbed_end(bed);
}

/* Somebody reloads by hand: our connection stays with the old worker, and must notice. */
static void test_foreign_reload(void **state)
{
	struct testbed *bed = *state;
	uint64_t seed = testbed_seed();
	char command[300];

	testbed_open(bed);
	testbed_mutate(bed->wanted, &seed, 100, 20);
	apply_settle(bed);
	snprintf(command, sizeof(command), "echo reload | timeout 5 socat - UNIX-CONNECT:%s/master.sock | grep -q Success=1",
	         bed->dir);
	assert_int_equal(system(command), 0);
	testbed_mutate(bed->wanted, &seed, 50, 20);
	apply_settle(bed);
	testbed_sleep(bed, 1500);
	testbed_mutate(bed->wanted, &seed, 50, 20);
	apply_settle(bed);
	assert_true(sync_counters(bed->sync).reads >= 2);
	assert_held_by_haproxy(bed);
	testbed_end(bed);
}

/* Things HAProxy holds that nobody wants: typed into socat, or left by a controller that died. */
static void test_foreign_contents(void **state)
{
	struct testbed *bed = *state;
	char command[1000];

	testbed_open(bed);
	image_set(bed->wanted, ITEM_BACKEND, "a.b:80", "http");
	image_set(bed->wanted, ITEM_SERVER, "a.b:80/p1", "127.0.0.1:22999 weight 3 ready");
	image_set(bed->wanted, ITEM_PATH, "80/com.x#/", "a.b:80");
	apply_settle(bed);
	testbed_close(bed, false);
	snprintf(command, sizeof(command),
	         "printf '%%s\\n' 'add map maps/path.map 80/com.x#/ other;add map maps/path.map 80/com.x#/ third;"
	         "add map maps/path.map stray x;add map maps/host.map \\#odd y;add backend left.over:1 from http;"
	         "add server left.over:1/s 127.0.0.1:1;unpublish backend a.b:80;set server a.b:80/p1 weight 9' "
	         "| timeout 5 socat - UNIX-CONNECT:%s/haproxy.sock >/dev/null && printf 'add map maps/host.map <<E\\n"
	         "a\\nb c\\n\\nE\\n' | timeout 5 socat - UNIX-CONNECT:%s/haproxy.sock >/dev/null", bed->dir, bed->dir);
	assert_int_equal(system(command), 0);
	testbed_open(bed);
	apply_settle(bed);
	assert_true(sync_counters(bed->sync).commands > 0);
	assert_held_by_haproxy(bed);
	testbed_end(bed);
}

/* Every byte, in keys and in values, and lengths up to and over the limit: HAProxy holds exactly what was meant, or the
 * item is refused by name; nothing else in HAProxy changes. */
static void put_hostile(struct testbed *bed, enum item_kind kind, int byte, size_t n)
{
	char *key = xcalloc(1, n + 100), *value = xcalloc(1, n + 100);

	snprintf(key, 100, "k%d%c%czz", byte, byte, byte);
	snprintf(value, 100, "v%c%c;quit;del backend a.b:80 <<%c", byte, byte, byte == ' ' || byte == '\t' ? 'x' : byte);
	memset(value + strlen(value), 'y', n);
	image_set(bed->wanted, kind, key, value);
	snprintf(key, 100, "plain%d", byte);
	image_set(bed->wanted, kind, key, value);
	free(key);
	free(value);
}

static size_t n_refusable(const struct image *image)
{
	size_t n, bad = 0;
	const struct item **items = image_sorted(image, &n);

	for (size_t i = 0; i < n; i++)
		bad += command_check((enum item_kind)items[i]->kind, items[i]->key, items[i]->value, NULL) != 0;
	free(items);
	return bad;
}

static void drop_refusable(struct image *image)
{
	size_t n;
	const struct item **items = image_sorted(image, &n);

	for (size_t i = 0; i < n; i++)
		if (command_check((enum item_kind)items[i]->kind, items[i]->key, items[i]->value, NULL))
			image_delete(image, (enum item_kind)items[i]->kind, items[i]->key);
	free(items);
}

static void test_hostile(void **state)
{
	struct testbed *bed = *state;

	image_set(bed->wanted, ITEM_BACKEND, "a.b:80", "http");
	testbed_open(bed);
	for (int round = 0; round < 4; round++) {
		/* on command lines, one by one; in payloads; small and large */
		testbed_close(bed, false);
		image_free(bed->wanted);
		bed->wanted = image_new();
		image_set(bed->wanted, ITEM_BACKEND, "a.b:80", "http");
		bed->max_steps = round & 1;
		testbed_open(bed);
		apply_settle(bed);
		for (int byte = 1; byte < 256; byte++)
			put_hostile(bed, round & 1 ? ITEM_RULE : ITEM_PATH, byte, round & 2 ? 6000 + (size_t)byte * 40 : 0);
		testbed_submit(bed);
		testbed_run_until(bed, testbed_applied, 20000);
		size_t bad = n_refusable(bed->wanted);
		assert_true(bad > 20);
		assert_int_equal(bed->n_refusals, bad);
		drop_refusable(bed->wanted);
		apply_settle(bed);
		bed->max_steps = 0;
		assert_held_by_haproxy(bed);
		assert_non_null(image_get(sync_held(bed->sync), ITEM_BACKEND, "a.b:80"));
		/* And from files. */
		testbed_sleep(bed, 500);
		testbed_close(bed, false);
		testbed_kill(bed, SIGKILL);
		testbed_open(bed);
		apply_settle(bed);
		assert_int_equal(sync_counters(bed->sync).commands, 0);
	}
	testbed_end(bed);
}

/* What HAProxy itself refuses (here a regex that does not compile) costs only itself, also inside a payload. */
static void test_one_refused(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	for (int i = 0; i < 60; i++) {
		char key[32];
		snprintf(key, sizeof(key), i == 30 ? "h%d(" : "h%d", i);
		image_set(bed->wanted, ITEM_REGEX, key, "x");
	}
	image_set(bed->wanted, ITEM_BACKEND, "a.b:80", "http");
	image_set(bed->wanted, ITEM_SERVER, "a.b:80/p", "300.0.0.1:80 weight 1 ready");
	testbed_submit(bed);
	testbed_run_until(bed, testbed_applied, 10000);
	assert_int_equal(bed->n_refusals, 2);
	assert_non_null(strstr(bed->refusals, "regex h30("));
	assert_non_null(strstr(bed->refusals, "server a.b:80/p"));
	assert_int_equal(image_count(sync_held(bed->sync), ITEM_REGEX), 59);
	assert_int_equal(image_count(sync_held(bed->sync), ITEM_BACKEND), 1);
	image_delete(bed->wanted, ITEM_REGEX, "h30(");
	image_delete(bed->wanted, ITEM_SERVER, "a.b:80/p");
	apply_settle(bed);
	assert_held_by_haproxy(bed);
	testbed_end(bed);
}

/* Told to, the controller takes HAProxy with it, and says so when it is gone. */
static void test_stop_on_exit(void **state)
{
	struct testbed *bed = *state;

	bed->stop_on_exit = true;
	testbed_open(bed);
	image_set(bed->wanted, ITEM_BACKEND, "a.b:80", "http");
	apply_settle(bed);
	int pid = testbed_pid(bed, "master");
	assert_true(pid > 1);
	testbed_close(bed, false);
	assert_int_equal(kill(pid, 0), -1);
	testbed_end(bed);
}

/* Two controllers on one directory: the second is told. */
static void test_lock(void **state)
{
	struct testbed *bed = *state;
	struct image *other = image_new();
	struct sync *second;
	struct err err;

	testbed_open(bed);
	assert_int_equal(sync_open(&bed->loop, &(struct sync_options){.state_dir = bed->dir, .binary = testbed_haproxy()},
	                           &(struct sync_events){testbed_on_applied, testbed_on_state, testbed_config, bed}, other,
	                           &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another hatchway"));
	image_free(other);
	testbed_end(bed);
}

static void on_alarm(int number)
{
}

/* Signals that come while HAProxy tells its version change nothing. */
static void test_version_interrupted(void **state)
{
	struct itimerval often = {{0, 200}, {0, 200}}, never = {0};
	struct sigaction action = {.sa_handler = on_alarm}, old;
	struct err err;
	int r = 0;

	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 5 && !r; i++)
		r = process_version(testbed_haproxy(), &err);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	if (r)
		fail_msg("%s", err.text);
}

/* A port that is taken: the others go on, it is told, and comes when it is free. */
static void test_bind_refused(void **state)
{
	struct testbed *bed = *state;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(bed->port + 400)),
	                         .sin_addr = {htonl(INADDR_LOOPBACK)}};
	char one[16], two[16];

	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(one, sizeof(one), "%u", bed->port);
	snprintf(two, sizeof(two), "%u", bed->port + 400u);
	struct sync_bind binds[] = {{one, "127.0.0.1", bed->port, false}, {two, "127.0.0.1", (uint16_t)(bed->port + 400), false}};
	testbed_open(bed);
	sync_submit(bed->sync, ++bed->generation, binds, 1);
	testbed_run_until(bed, testbed_applied, 5000);
	assert_int_equal(bed->n_refusals, 0);
	sync_submit(bed->sync, ++bed->generation, binds, 2);
	testbed_run_until(bed, testbed_applied, 5000);
	assert_int_equal(bed->n_refusals, 1);
	assert_non_null(strstr(bed->refusals, "Address already in use"));
	assert_non_null(strstr(bed->refusals, "--port-map"));
	assert_int_equal(sync_counters(bed->sync).reloads, 0);
	close(fd);
	testbed_sleep(bed, 6000);
	assert_int_equal(bed->n_refusals, 0);
	assert_int_equal(sync_counters(bed->sync).reloads, 1);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	close(fd);
	testbed_end(bed);
}

static bool started(struct testbed *bed)
{
	return sync_counters(bed->sync).starts > 0;
}

static double seconds(void)
{
	return (double)uv_hrtime() / 1e9;
}

/* 10,000 backends with a server each, under the descriptor limit; and how long things take. */
static void test_ten_thousand(void **state)
{
	struct testbed *bed = *state;

	for (int i = 0; i < 10000; i++) {
		char key[100], value[100];
		snprintf(key, sizeof(key), "ns%d.svc%d:80", i % 100, i);
		image_set(bed->wanted, ITEM_BACKEND, key, "http");
		snprintf(value, sizeof(value), "80/com.example.host%d#/", i);
		image_set(bed->wanted, ITEM_PATH, value, key);
		snprintf(value, sizeof(value), "80/com.example.host%d#", i);
		image_set(bed->wanted, ITEM_HOST, value, "-");
		strcat(key, "/pod-1");
		image_set(bed->wanted, ITEM_SERVER, key, "127.0.0.1:22999 weight 1 ready");
	}
	testbed_open(bed);
	image_touched_clear(bed->wanted);
	double start = seconds();
	testbed_submit(bed);
	testbed_run_until(bed, testbed_applied, 20000);
	print_message("10,000 routes into an empty HAProxy, its start included: %.3f s\n", seconds() - start);
	assert_string_equal(bed->refusals, "");
	double sum = 0;
	for (int i = 0; i < 100; i++) {
		char key[100];
		snprintf(key, sizeof(key), "80/com.example.new%d#/", i);
		image_set(bed->wanted, ITEM_PATH, key, "ns0.svc0:80");
		snprintf(key, sizeof(key), "80/com.example.new%d#", i);
		image_set(bed->wanted, ITEM_HOST, key, "-");
		start = seconds();
		sync_submit(bed->sync, ++bed->generation, NULL, 0);
		testbed_run_until(bed, testbed_applied, 1000);
		sum += seconds() - start;
	}
	print_message("one more route: %.3f ms\n", sum * 10);
	testbed_sleep(bed, 1500);
	testbed_close(bed, false);
	start = seconds();
	testbed_open(bed);
	testbed_submit(bed);
	testbed_run_until(bed, testbed_applied, 20000);
	print_message("taking over 10,000 routes: %.3f s\n", seconds() - start);
	assert_int_equal(sync_counters(bed->sync).commands, 0);
	testbed_sleep(bed, 1500);
	testbed_kill(bed, SIGKILL);
	start = seconds();
	testbed_run_until(bed, started, 20000);
	sync_submit(bed->sync, ++bed->generation, NULL, 0);
	testbed_run_until(bed, testbed_applied, 20000);
	print_message("killed with 10,000 routes, until all are back: %.3f s, %d commands\n", seconds() - start,
	              (int)sync_counters(bed->sync).commands);
	testbed_end(bed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		testbed_test(test_random_images),
		testbed_test(test_restart_from_files),
		testbed_test(test_haproxy_killed),
		testbed_test(test_foreign_reload),
		testbed_test(test_foreign_contents),
		testbed_test(test_hostile),
		testbed_test(test_one_refused),
		testbed_test(test_stop_on_exit),
		testbed_test(test_lock),
		testbed_test(test_version_interrupted),
		testbed_test(test_bind_refused),
		testbed_test(test_ten_thousand),
	};
	if (getenv("HATCHWAY_DEBUG"))
		log_level = LOG_DEBUG;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
