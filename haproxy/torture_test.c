/* Faults, each at every place: the connection cut, held up, cut short or garbled at the n-th answer; the controller gone
 * after the k-th command. Whatever happens, HAProxy holds what is wanted in the end, without a reload. */
#define TESTBED_PORT 22140
#include "haproxy/testbed.h"

enum fault { CUT, SHORT, GARBLE, EXTRA, DELAY, FAULTS };
static const char *const fault_names[] = {"cut", "short", "garble", "extra", "delay"};

/* Stands at haproxy.sock, and passes everything on to real.sock and back, but for one answer. */
struct proxy {
	struct testbed *bed;
	uv_pipe_t server;
	char path[100];
	enum fault fault;
	int at, seen;
	bool hit;
	int open; /* handles */
};

struct side {
	uv_pipe_t pipe;
	uv_connect_t connect;
	struct side *other;
	struct proxy *proxy;
	bool is_haproxy, ready;
	char block[65536];
	char early[4096];
	size_t n_early;
	uv_timer_t timer;
};

struct letter {
	uv_write_t write;
	char bytes[];
};

static void on_gone(uv_handle_t *handle)
{
	struct side *side = handle->data;

	side->proxy->open--;
	if (handle == (uv_handle_t *)&side->pipe) {
		if (side->other)
			side->other->other = NULL;
		uv_close((uv_handle_t *)&side->timer, on_gone);
	} else {
		free(side);
	}
}

static void hang_up(struct side *side)
{
	struct side *other = side->other;

	if (!uv_is_closing((uv_handle_t *)&side->pipe))
		uv_close((uv_handle_t *)&side->pipe, on_gone);
	if (other && !uv_is_closing((uv_handle_t *)&other->pipe))
		uv_close((uv_handle_t *)&other->pipe, on_gone);
}

static void on_sent(uv_write_t *write, int status)
{
	free(write->data);
}

static void forward(struct side *to, const char *bytes, size_t n)
{
	struct letter *letter;

	if (!to || uv_is_closing((uv_handle_t *)&to->pipe) || !n)
		return;
	if (to->is_haproxy && !to->ready) {
		assert_true(to->n_early + n <= sizeof(to->early));
		memcpy(to->early + to->n_early, bytes, n);
		to->n_early += n;
		return;
	}
	letter = xmalloc(sizeof(*letter) + n);
	memcpy(letter->bytes, bytes, n);
	letter->write.data = letter;
	uv_buf_t out = uv_buf_init(letter->bytes, (unsigned)n);
	if (uv_write(&letter->write, (uv_stream_t *)&to->pipe, &out, 1, on_sent))
		free(letter);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct side *side = handle->data;

	*ret = uv_buf_init(side->block, sizeof(side->block));
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *data);

static void on_delayed(uv_timer_t *timer)
{
	struct side *side = timer->data;

	if (!uv_is_closing((uv_handle_t *)&side->pipe))
		uv_read_start((uv_stream_t *)&side->pipe, on_alloc, on_bytes);
}

static void do_fault(struct side *side, char *bytes, size_t n)
{
	side->proxy->hit = true;
	switch (side->proxy->fault) {
	case CUT:
		hang_up(side);
		break;
	case SHORT:
		forward(side->other, bytes, n / 2);
		hang_up(side);
		break;
	case GARBLE:
		bytes[n / 2] ^= 0x15;
		forward(side->other, bytes, n);
		break;
	case EXTRA:
		forward(side->other, "[6]: what nobody asked\n\n", 24);
		forward(side->other, bytes, n);
		break;
	default:
		uv_read_stop((uv_stream_t *)&side->pipe);
		uv_timer_start(&side->timer, on_delayed, 150, 0);
		forward(side->other, bytes, n);
	}
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct side *side = stream->data;
	struct proxy *proxy = side->proxy;

	if (n < 0)
		hang_up(side);
	else if (n > 0 && side->is_haproxy && proxy->at >= 0 && proxy->seen++ == proxy->at)
		do_fault(side, data->base, (size_t)n);
	else if (n > 0)
		forward(side->other, data->base, (size_t)n);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct side *side = connect->data;

	if (status) {
		hang_up(side);
		return;
	}
	side->ready = true;
	uv_read_start((uv_stream_t *)&side->pipe, on_alloc, on_bytes);
	forward(side, side->early, side->n_early);
}

static struct side *side_new(struct proxy *proxy)
{
	struct side *side = xcalloc(1, sizeof(*side));

	side->proxy = proxy;
	uv_pipe_init(&proxy->bed->loop, &side->pipe, 0);
	uv_timer_init(&proxy->bed->loop, &side->timer);
	side->pipe.data = side->timer.data = side->connect.data = side;
	proxy->open += 2;
	return side;
}

static void on_client(uv_stream_t *server, int status)
{
	struct proxy *proxy = server->data;
	struct side *client = side_new(proxy), *haproxy = side_new(proxy);
	char path[100];

	client->other = haproxy;
	haproxy->other = client;
	haproxy->is_haproxy = true;
	assert_int_equal(uv_accept(server, (uv_stream_t *)&client->pipe), 0);
	uv_read_start((uv_stream_t *)&client->pipe, on_alloc, on_bytes);
	snprintf(path, sizeof(path), "%s/real.sock", proxy->bed->dir);
	uv_pipe_connect(&haproxy->connect, &haproxy->pipe, path, on_connected);
}

static void proxy_open(struct proxy *proxy, struct testbed *bed)
{
	char real[100];

	memset(proxy, 0, sizeof(*proxy));
	proxy->bed = bed;
	proxy->at = -1;
	snprintf(proxy->path, sizeof(proxy->path), "%s/haproxy.sock", bed->dir);
	snprintf(real, sizeof(real), "%s/real.sock", bed->dir);
	assert_int_equal(rename(proxy->path, real), 0);
	uv_pipe_init(&bed->loop, &proxy->server, 0);
	proxy->server.data = proxy;
	assert_int_equal(uv_pipe_bind(&proxy->server, proxy->path), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&proxy->server, 8, on_client), 0);
}

static void proxy_close(struct proxy *proxy)
{
	uv_close((uv_handle_t *)&proxy->server, NULL);
	for (int i = 0; i < 100 && proxy->open; i++)
		testbed_sleep(proxy->bed, 10);
	assert_int_equal(proxy->open, 0);
}

static void settle(struct testbed *bed, bool removals)
{
	testbed_submit(bed);
	testbed_run_until(bed, removals ? testbed_settled : testbed_applied, 30000);
	assert_string_equal(bed->refusals, "");
}

/* What HAProxy really holds, asked by a controller that knows nothing. */
static void assert_truth(struct testbed *bed)
{
	testbed_close(bed, true);
	testbed_open(bed);
	settle(bed, true);
	assert_images_equal(sync_held(bed->sync), bed->wanted);
	assert_int_equal(sync_counters(bed->sync).commands, 0);
	assert_int_equal(sync_counters(bed->sync).reloads, 0);
}

static void test_answers(void **state)
{
	struct testbed *bed = *state;
	struct proxy proxy;
	uint64_t seed = testbed_seed();

	testbed_open(bed);
	settle(bed, true);
	testbed_close(bed, true);
	proxy_open(&proxy, bed);
	bed->max_steps = 4;
	testbed_open(bed);
	settle(bed, true);
	for (int fault = 0; fault < FAULTS; fault++) {
		for (int at = 0;; at++) {
			proxy.fault = (enum fault)fault;
			proxy.seen = 0;
			proxy.at = at;
			proxy.hit = false;
			testbed_mutate(bed->wanted, &seed, 60, 20);
			/* Every other time with the greeting and the reading in front. */
			if (at & 1) {
				testbed_close(bed, true);
				testbed_open(bed);
			}
			settle(bed, false);
			bool hit = proxy.hit;
			proxy.at = -1;
			settle(bed, fault == 0);
			if (!hit) {
				print_message("%s: %d answers\n", fault_names[fault], at);
				assert_true(at > 0);
				break;
			}
		}
		settle(bed, true);
		assert_images_equal(sync_held(bed->sync), bed->wanted);
		assert_truth(bed);
	}
	testbed_close(bed, true);
	proxy_close(&proxy);
	testbed_end(bed);
}

static bool said_enough(struct testbed *bed)
{
	return sync_counters(bed->sync).commands >= bed->until || bed->applied == bed->generation;
}

static void test_controller_gone(void **state)
{
	struct testbed *bed = *state;
	uint64_t seed = testbed_seed();
	bool all = false;
	unsigned k;

	bed->max_steps = 1;
	testbed_open(bed);
	testbed_mutate(bed->wanted, &seed, 50, 15);
	settle(bed, true);
	for (k = 1; !all && k < 150; k++) {
		testbed_mutate(bed->wanted, &seed, 70, 15);
		bed->until = sync_counters(bed->sync).commands + k;
		testbed_submit(bed);
		testbed_run_until(bed, said_enough, 10000);
		all = bed->applied == bed->generation;
		testbed_close(bed, true);
		bed->max_steps = 0;
		testbed_open(bed);
		settle(bed, k % 10 == 0);
		assert_int_equal(sync_counters(bed->sync).reloads, 0);
		assert_int_equal(sync_counters(bed->sync).starts, 0);
		if (k % 10 == 0)
			assert_truth(bed);
		bed->max_steps = 1;
		testbed_close(bed, true);
		testbed_open(bed);
		settle(bed, false);
	}
	print_message("gone after each of %u commands\n", k - 1);
	assert_true(all);
	settle(bed, true);
	assert_truth(bed);
	testbed_end(bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		testbed_test(test_answers),
		testbed_test(test_controller_gone),
	};
	return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
