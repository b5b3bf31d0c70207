/* The pool of ports: its arithmetic; and on a real HAProxy: listeners come and go without a reload, it grows by one, a
 * port that is taken costs only itself, and the size survives the controller. */
#define TESTBED_PORT 22200
#include "haproxy/testbed.h"

#include "haproxy/pool.h"

#include <arpa/inet.h>

/* ---- arithmetic ---- */

static void assert_same(const struct pool *a, const struct pool *b)
{
	assert_int_equal(a->base, b->base);
	assert_int_equal(a->size, b->size);
	for (unsigned i = 0; i < a->size; i++)
		assert_int_equal(!a->errors[i], !b->errors[i]);
}

static void assert_parsed(const struct pool *pool)
{
	struct pool again = {0};
	struct buf mark;

	buf_init(&mark, 1 << 20);
	buf_adds(&mark, "hatchway-0123456789abcdef");
	pool_mark(pool, 1 << 20, &mark);
	buf_adds(&mark, "/:80/10.0.0.1:8080");
	pool_parse(&again, mark.data);
	assert_same(pool, &again);
	pool_done(&again);
	buf_done(&mark);
}

static void test_mark(void **state)
{
	uint64_t seed = testbed_seed();
	struct pool pool = {0};

	for (int i = 0; i < 200; i++) {
		pool.base = (uint16_t)(1 + testbed_random(&seed) % 65000);
		unsigned most = 65536u - pool.base;
		pool_resize(&pool, 1 + testbed_random(&seed) % (most < 300 ? most : 300));
		for (unsigned k = 0; k < pool.size; k++)
			pool.errors[k] = testbed_random(&seed) % 8 ? 0 : -EADDRINUSE;
		assert_parsed(&pool);
		pool_done(&pool);
	}
	static const char *const none[] = {"", "hatchway-1", "hatchway-1/:80", "hatchway-1/0+5", "hatchway-1/65535+9", "x/-5"};
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		pool_parse(&pool, none[i]);
		assert_int_equal(pool.size, 0);
	}
}

static void test_ranges(void **state)
{
	struct pool pool = {.base = 20000};
	size_t n;

	pool_resize(&pool, 8);
	pool.errors[0] = pool.errors[3] = pool.errors[4] = -EADDRINUSE;
	struct config_bind *list = pool_ranges(&pool, &n);
	assert_int_equal(n, 2);
	assert_int_equal(list[0].port, 20001);
	assert_int_equal(list[0].last, 20002);
	assert_int_equal(list[1].port, 20005);
	assert_int_equal(list[1].last, 20007);
	free(list);
	pool_done(&pool);
}

static void test_growth(void **state)
{
	struct pool pool = {.base = 20000};

	pool_resize(&pool, 64);
	pool.errors[63] = -EADDRINUSE;
	assert_false(pool_grow(&pool, 19999));
	assert_false(pool_grow(&pool, 20063));
	assert_false(pool_grow(&pool, 20128));
	assert_true(pool_grow(&pool, 20064));
	assert_int_equal(pool.size, 128);
	assert_true(pool_covers(&pool, 20063) && !pool_binds(&pool, 20063) && pool_binds(&pool, 20064));
	pool_resize(&pool, 3000);
	assert_true(pool_grow(&pool, 20000 + HAPROXY_POOL_TLS - 1));
	assert_int_equal(pool.size, HAPROXY_POOL_TLS);
	assert_false(pool_grow(&pool, 20000 + HAPROXY_POOL_TLS));
	pool_done(&pool);
	assert_false(pool_grow(&pool, 80));
}

/* ---- on HAProxy ---- */

struct listeners {
	struct sync_bind list[400];
	char keys[400][16];
	size_t n;
};

static void listener_item(struct testbed *bed, unsigned port, bool add)
{
	char key[16];

	snprintf(key, sizeof(key), "%u", port);
	if (add)
		image_set(bed->wanted, ITEM_LISTENER, key, key);
	else
		image_delete(bed->wanted, ITEM_LISTENER, key);
}

static void listeners_set(struct testbed *bed, struct listeners *listeners, unsigned first, size_t n)
{
	for (size_t i = 0; i < listeners->n; i++)
		listener_item(bed, listeners->list[i].port, false);
	listeners->n = n;
	for (size_t i = 0; i < n; i++) {
		snprintf(listeners->keys[i], sizeof(listeners->keys[i]), "%u", first + (unsigned)i);
		listeners->list[i] = (struct sync_bind){listeners->keys[i], "", (uint16_t)(first + i), false};
		listener_item(bed, listeners->list[i].port, true);
	}
	sync_submit(bed->sync, ++bed->generation, listeners->list, n);
	testbed_run_until(bed, testbed_applied, 10000);
}

#define SERVED 503 /* there is a listener, and no route: the small configuration of the tests */
#define CLOSED 0   /* bound, without a listener */
#define ABSENT -1  /* not bound */

static int answer_on(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	char answer[512] = "";
	int status = CLOSED, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return ABSENT;
	}
	/* A refused connection may be reset before the request is written. */
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0 && recv(fd, answer, sizeof(answer) - 1, 0) > 0 &&
	    sscanf(answer, "HTTP/1.%*d %d", &status) != 1)
		status = CLOSED;
	close(fd);
	return status;
}

static int take_port(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_ANY)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void pool_open(struct testbed *bed, unsigned size)
{
	bed->pool_base = (uint16_t)(22300 + (bed->port - TESTBED_PORT) * 220);
	bed->pool_size = size;
	testbed_open(bed);
}

static uint64_t reloads(struct testbed *bed)
{
	return sync_counters(bed->sync).reloads;
}

static void test_no_reload(void **state)
{
	struct testbed *bed = *state;
	struct listeners *listeners = xcalloc(1, sizeof(*listeners));

	pool_open(bed, 64);
	listeners_set(bed, listeners, bed->pool_base, 1);
	assert_int_equal(answer_on(bed->pool_base), SERVED);
	for (unsigned i = 0; i < 100; i++) {
		listeners_set(bed, listeners, bed->pool_base, 1 + i % 64);
		assert_int_equal(answer_on(bed->pool_base), SERVED);
		assert_int_equal(answer_on(bed->pool_base + i % 64), SERVED);
	}
	listeners_set(bed, listeners, bed->pool_base, 0);
	assert_int_equal(answer_on(bed->pool_base), CLOSED);
	assert_int_equal(answer_on(bed->pool_base + 63u), CLOSED);
	assert_int_equal(reloads(bed), 0);
	assert_int_equal(sync_counters(bed->sync).reads, 1);
	free(listeners);
	testbed_end(bed);
}

static void test_grows_once_and_stays(void **state)
{
	struct testbed *bed = *state;
	struct listeners *listeners = xcalloc(1, sizeof(*listeners));

	pool_open(bed, 4);
	listeners_set(bed, listeners, bed->pool_base, 4);
	assert_int_equal(reloads(bed), 0);
	listeners_set(bed, listeners, bed->pool_base, 5);
	assert_int_equal(reloads(bed), 1);
	assert_int_equal(answer_on(bed->pool_base + 4), SERVED);
	listeners_set(bed, listeners, bed->pool_base, 8);
	assert_int_equal(reloads(bed), 1);
	/* Twice too small: still one reload. */
	listeners_set(bed, listeners, bed->pool_base, 27);
	assert_int_equal(reloads(bed), 2);
	assert_int_equal(answer_on(bed->pool_base + 26), SERVED);
	listeners_set(bed, listeners, bed->pool_base, 1);
	assert_int_equal(reloads(bed), 2);
	/* The next controller is told 4 and finds 32. */
	testbed_close(bed, false);
	pool_open(bed, 4);
	listeners_set(bed, listeners, bed->pool_base, 1);
	listeners_set(bed, listeners, bed->pool_base, 32);
	assert_int_equal(answer_on(bed->pool_base + 31), SERVED);
	assert_int_equal(reloads(bed), 0);
	assert_int_equal(sync_counters(bed->sync).starts, 0);
	/* One far away has a bind of its own. */
	listeners_set(bed, listeners, bed->pool_base + 200u, 1);
	assert_int_equal(reloads(bed), 1);
	assert_int_equal(answer_on(bed->pool_base + 200u), SERVED);
	assert_int_equal(answer_on(bed->pool_base + 199u), ABSENT);
	free(listeners);
	testbed_end(bed);
}

/* A port of the pool that is taken: the others go on, it is named to who wants it, and it comes when it is free. */
static void test_port_taken(void **state)
{
	struct testbed *bed = *state;
	struct listeners *listeners = xcalloc(1, sizeof(*listeners));
	char name[32];

	pool_open(bed, 8);
	int fd = take_port(bed->pool_base + 2u), other = take_port(bed->pool_base + 7u);
	listeners_set(bed, listeners, bed->pool_base, 2);
	assert_string_equal(bed->refusals, "");
	listeners_set(bed, listeners, bed->pool_base, 4);
	assert_int_equal(reloads(bed), 0);
	assert_int_equal(bed->n_refusals, 1);
	snprintf(name, sizeof(name), "port %u ", bed->pool_base + 2u);
	assert_non_null(strstr(bed->refusals, name));
	assert_non_null(strstr(bed->refusals, "--pool-ports"));
	assert_int_equal(answer_on(bed->pool_base + 3u), SERVED);
	/* The next controller sees it the same way. */
	testbed_close(bed, false);
	pool_open(bed, 8);
	listeners_set(bed, listeners, bed->pool_base, 4);
	assert_int_equal(bed->n_refusals, 1);
	assert_int_equal(reloads(bed), 0);
	/* Nobody wants the last one: that it is free now is no reason to reload. */
	close(other);
	close(fd);
	testbed_sleep(bed, 6000);
	assert_int_equal(bed->n_refusals, 0);
	assert_int_equal(reloads(bed), 1);
	assert_int_equal(answer_on(bed->pool_base + 2u), SERVED);
	testbed_sleep(bed, 6000);
	assert_int_equal(reloads(bed), 1);
	free(listeners);
	testbed_end(bed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_growth),
		testbed_test(test_no_reload),
		testbed_test(test_grows_once_and_stays),
		testbed_test(test_port_taken),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
