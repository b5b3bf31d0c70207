/* What is sent, against a server of our own. What is read is cluster_test.c's. */
#include "controller/source/kube_fake.h"

#include "hatchway/base/log.h"

#include <unistd.h>

static struct {
	struct kube_access access;
	struct kube_client *client;
	struct buf answer;
	struct kube_result result;
	char text[256];
	unsigned ends, began;
	bool closed;
	struct kube_request *victim; /* cancelled when bytes arrive */
} t;

static void on_began(void *ctx)
{
	t.began++;
}

static bool on_bytes(void *ctx, const char *bytes, size_t n)
{
	buf_add(&t.answer, bytes, n);
	if (t.victim)
		kube_cancel(t.victim);
	t.victim = NULL;
	return true;
}

static void on_end(void *ctx, const struct kube_result *result)
{
	t.ends++;
	t.result = *result;
	snprintf(t.text, sizeof(t.text), "%s", result->text);
}

static bool ended(void)
{
	return t.ends > 0;
}

static struct kube_request *begin(const char *method, const char *path, const char *type, const char *body)
{
	static const struct kube_deadlines deadlines = {1000, 1, 500};
	static const struct kube_request_events events = {on_began, on_bytes, on_end, NULL};
	t.ends = t.began = 0;
	buf_clear(&t.answer);
	return kube_send(t.client, method, path, type, body, body ? strlen(body) : 0, &deadlines, &events);
}

static void ask(const char *method, const char *path, const char *type, const char *body)
{
	begin(method, path, type, body);
	assert_true(fake_until(ended, 3000));
	assert_int_equal(t.ends, 1);
}

static int setup(void **state)
{
	struct err err;
	memset(&t, 0, sizeof(t));
	log_level = getenv("HATCHWAY_TEST_LOG") ? LOG_DEBUG : LOG_ERROR;
	fake_open(&t.access);
	buf_init(&t.answer, 1 << 20);
	return kube_client_open(&fake.loop, &t.access, &t.client, &err);
}

static void on_closed(void *ctx)
{
	t.closed = true;
}

static bool is_closed(void)
{
	return t.closed;
}

static int teardown(void **state)
{
	kube_client_close(t.client, on_closed, NULL);
	assert_true(fake_until(is_closed, 1000));
	buf_done(&t.answer);
	fake_done(&t.access);
	return 0;
}

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/ns/leases"

static void what_is_sent_arrives(void **state)
{
	ask("POST", LEASES, "application/json", "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"x\":\"\xc3\xa4\"}}");
	assert_int_equal(t.result.error, 0);
	assert_int_equal(t.result.status, 201);
	assert_int_equal(t.began, 1);
	assert_non_null(strstr(t.answer.data, "resourceVersion"));
	assert_string_equal(fake.content_type, "application/json");
	assert_string_equal(fake.body, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"x\":\"\xc3\xa4\"}}");
	ask("PATCH", LEASES "/a", "application/merge-patch+json", "{\"spec\":{\"x\":null,\"y\":1}}");
	assert_int_equal(t.result.status, 200);
	char *spec = fake_text(LEASES "/a", "spec");
	assert_string_equal(spec, "{\"y\":1}");
	free(spec);
	ask("DELETE", LEASES "/a", NULL, NULL);
	assert_int_equal(t.result.status, 200);
	assert_int_equal(fake.body_n, 0);
	assert_null(fake_find(LEASES "/a"));
	assert_string_equal(fake.log.data, "POST " LEASES "\nPATCH " LEASES "/a\nDELETE " LEASES "/a\n");
}

static void a_refusal_says_why(void **state)
{
	ask("PATCH", LEASES "/a", "application/merge-patch+json", "{}");
	assert_int_equal(t.result.error, 0);
	assert_int_equal(t.result.status, 404);
	assert_string_equal(t.text, "not found");
	assert_int_equal(t.began, 0);
	assert_int_equal(t.answer.len, 0);
}

/* Far more than a packet; an answer to a body is not asked for before it is sent (Expect), which the fake checks. */
static void big_bodies_go_through(void **state)
{
	struct buf body;
	buf_init(&body, 1 << 20);
	buf_adds(&body, "{\"metadata\":{\"name\":\"big\"},\"spec\":\"");
	while (body.len < 60000)
		buf_addc(&body, (char)('a' + body.len % 26));
	buf_adds(&body, "\"}");
	ask("POST", LEASES, "application/json", body.data);
	assert_int_equal(t.result.status, 201);
	assert_string_equal(fake.body, body.data);
	buf_done(&body);
}

static enum fake_fault next_fault;

static enum fake_fault give_fault(const char *method, const char *path)
{
	return next_fault;
}

static void every_fault_is_an_end(void **state)
{
	static const struct {
		enum fake_fault fault;
		int error;
		long status;
	} cases[] = {
	    {FAKE_500, 0, 500},      {FAKE_429, 0, 429},  {FAKE_403, 0, 403},  {FAKE_CONFLICT, 0, 409},
	    {FAKE_NOTHING, -EIO, 0}, {FAKE_LOST, -EIO, 0}, {FAKE_CUT, -EIO, 0}, {FAKE_HANG, -ETIMEDOUT, 0},
	};
	fake.fault = give_fault;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char body[128];
		next_fault = cases[i].fault;
		snprintf(body, sizeof(body), "{\"metadata\":{\"name\":\"x%zu\"}}", i);
		ask("POST", LEASES, "application/json", body);
		assert_int_equal(t.result.error, cases[i].error);
		assert_int_equal(t.result.status, cases[i].status);
		assert_true(*t.text);
		snprintf(body, sizeof(body), LEASES "/x%zu", i);
		assert_int_equal(fake_find(body) != NULL, cases[i].fault == FAKE_LOST || cases[i].fault == FAKE_CUT);
	}
}

static void a_cancelled_one_is_silent(void **state)
{
	kube_cancel(begin("POST", LEASES, "application/json", "{\"metadata\":{\"name\":\"a\"}}"));
	fake_until(fake_never, 50);
	struct kube_request *request = begin("POST", LEASES, "application/json", "{\"metadata\":{\"name\":\"b\"}}");
	fake.fault = give_fault;
	next_fault = FAKE_HANG;
	fake_until(fake_never, 50);
	kube_cancel(request);
	fake_until(fake_never, 50);
	assert_int_equal(t.ends, 0);
	assert_int_equal(fake.requests, 1);
}

static enum fake_fault hang_at_first(const char *method, const char *path)
{
	return fake.requests < 2 ? FAKE_HANG : FAKE_NONE;
}

/* As when a Gateway goes, and with it the watch of its Secret: curl is in the middle of something. */
static void one_cancels_another(void **state)
{
	fake.fault = hang_at_first;
	t.victim = begin("POST", LEASES, "application/json", "{\"metadata\":{\"name\":\"a\"}}");
	struct kube_request *victim = t.victim;
	t.victim = NULL;
	fake_until(fake_never, 50);
	begin("POST", LEASES, "application/json", "{\"metadata\":{\"name\":\"b\"}}");
	t.victim = victim;
	assert_true(fake_until(ended, 3000));
	fake_until(fake_never, 700);
	assert_int_equal(t.ends, 1);
	assert_int_equal(t.result.status, 201);
	ask("POST", LEASES, "application/json", "{\"metadata\":{\"name\":\"c\"}}");
	assert_int_equal(t.result.status, 201);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(what_is_sent_arrives), TEST(a_refusal_says_why),       TEST(big_bodies_go_through),
	    TEST(every_fault_is_an_end), TEST(a_cancelled_one_is_silent), TEST(one_cancels_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
