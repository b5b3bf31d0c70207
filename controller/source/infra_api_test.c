/* infra_api against the fake API server: what is wanted gets there whatever the server does, once, and no more than is
 * needed. The wanted world is a list of documents; "as it should be" is that the server's object has the document's spec. */
#include "controller/source/infra_api.h"
#include "controller/source/kube_fake.h"
#include "hatchway/base/log.h"

#define MOST 200

static struct {
	struct kube_access access;
	struct kube_client *client;
	struct infra_api *api;
	char texts[MOST][160], said[160], noted[160];
	size_t n;       /* wanted Services s0 … */
	bool delete_s0; /* s0 is not wanted any more */
	bool clear_s0;  /* it has a field that is not ours */
	unsigned askings, sayings, most_open;
	bool closed;
	uint64_t random;
} t;

static unsigned roll(unsigned n)
{
	t.random ^= t.random << 13;
	t.random ^= t.random >> 7;
	t.random ^= t.random << 17;
	return (unsigned)(t.random >> 33) % n;
}

static const char *path_of(size_t i)
{
	static char path[80];
	snprintf(path, sizeof(path), "/api/v1/namespaces/n/services/s%zu", i);
	return path;
}

static void want(size_t i, int value)
{
	snprintf(t.texts[i], sizeof(t.texts[i]), "{\"metadata\":{\"name\":\"s%zu\",\"namespace\":\"n\"},\"spec\":{\"v\":%d}}", i,
	         value);
}

static bool is_right(size_t i)
{
	const struct fake_object *object = fake_find(path_of(i));
	json_t *wanted = fake_parse(t.texts[i]);
	bool right = object && json_equal(json_object_get(object->json, "spec"), json_object_get(wanted, "spec"));
	json_decref(wanted);
	return right;
}

static bool all_right(void)
{
	bool gone = !t.delete_s0 || !fake_find(path_of(0));
	for (size_t i = t.delete_s0; i < t.n; i++)
		if (!is_right(i))
			return false;
	return gone;
}

static void on_ask(void *ctx, infra_cb *cb, void *cb_ctx)
{
	t.askings++;
	if (t.clear_s0) {
		const struct infra_change clear = {.kind = INFRA_SERVICE, .verb = INFRA_CLEAR, .namespace = "n", .name = "s0",
		                                   .gateway = "g0", .text = "{\"spec\":{\"w\":null}}", .note = "s0 had w"};
		cb(cb_ctx, &clear);
		return;
	}
	for (size_t i = 0; i < t.n; i++) {
		char name[24], gateway[24];
		bool gone = t.delete_s0 && !i;
		if (gone ? !fake_find(path_of(0)) : is_right(i))
			continue;
		snprintf(name, sizeof(name), "s%zu", i);
		snprintf(gateway, sizeof(gateway), "g%zu", i / 2);
		const struct infra_change change = {.kind = INFRA_SERVICE,
		                                    .verb = gone ? INFRA_DELETE : INFRA_APPLY,
		                                    .namespace = "n",
		                                    .name = name,
		                                    .gateway = gateway,
		                                    .text = gone ? NULL : t.texts[i],
		                                    .uid = gone ? "the-uid" : NULL};
		cb(cb_ctx, &change);
	}
}

static void on_said(void *ctx, const char *namespace, const char *gateway, const char *text)
{
	t.sayings++;
	snprintf(t.said, sizeof(t.said), "%s/%s: %s", namespace, gateway, text ? text : "fine");
}

static void on_noted(void *ctx, const char *namespace, const char *gateway, const char *note)
{
	snprintf(t.noted, sizeof(t.noted), "%s/%s: %s", namespace, gateway, note);
	t.clear_s0 = false;
}

/* The watch: whatever a request has changed is soon told. */
static void on_request(const char *method, const char *path)
{
	unsigned n = 0;
	for (const struct fake_connection *c = fake.connections; c; c = c->next)
		n += !c->closing;
	if (n > t.most_open)
		t.most_open = n;
}

static void begin_with(unsigned answer_ms, unsigned grace_ms)
{
	const struct infra_api_times times = {.answer_ms = answer_ms, .pause_ms = 5, .retry_ms = 5, .retry_max_ms = 80, .away_ms = 20,
	                                      .grace_ms = grace_ms, .end_ms = 300, .calm_ms = 400};
	const struct infra_api_events events = {on_ask, on_said, on_noted, NULL};
	struct err err = {""};
	memset(&t, 0, sizeof(t));
	fake_open(&t.access);
	fake.before = on_request;
	assert_int_equal(kube_client_open(&fake.loop, &t.access, &t.client, &err), 0);
	t.api = infra_api_open(&fake.loop, t.client, &times, &events);
}

static void begin(void)
{
	begin_with(300, 40);
}

static bool is_closed(void)
{
	return t.closed;
}

static void on_closed(void *ctx)
{
	t.closed = true;
}

static void end(void)
{
	infra_api_close(t.api, on_closed, NULL);
	assert_true(fake_until(is_closed, 2000));
	t.closed = false;
	kube_client_close(t.client, on_closed, NULL);
	assert_true(fake_until(is_closed, 2000));
	fake_done(&t.access);
}

/* As the watch would: wakes it until all is right, and a little longer. */
static void converge(unsigned ms)
{
	for (uint64_t began = uv_now(&fake.loop); !all_right() && uv_now(&fake.loop) - began < ms;) {
		infra_api_wake(t.api);
		fake_until(all_right, 10);
	}
	assert_true(all_right());
	infra_api_wake(t.api);
	fake_until(fake_never, 120);
}

static unsigned requests_after(unsigned ms)
{
	unsigned before = fake.requests;
	fake_until(fake_never, ms);
	return fake.requests - before;
}

static enum fake_fault hang(const char *method, const char *path)
{
	return FAKE_HANG;
}

static void what_is_wanted_is_applied_once(void **state)
{
	begin();
	t.n = 1;
	want(0, 1);
	infra_api_wake(t.api);
	assert_int_equal(requests_after(60), 0); /* it does not lead */
	infra_api_lead(t.api, true);
	converge(2000);
	assert_string_equal(fake.log.data, "PATCH /api/v1/namespaces/n/services/s0\n");
	assert_string_equal(fake.content_type, "application/apply-patch+yaml");
	infra_api_wake(t.api);
	assert_int_equal(requests_after(100), 0);
	want(0, 2);
	converge(2000);
	assert_int_equal(fake.requests, 2);
	assert_int_equal(infra_api_counters(t.api).applied, 2);
	assert_int_equal(t.sayings, 0);
	end();
}

static void hands_are_put_right(void **state)
{
	begin();
	t.n = 1;
	want(0, 1);
	infra_api_lead(t.api, true);
	converge(2000);
	fake_put(path_of(0), "{\"metadata\":{},\"spec\":{\"v\":7}}");
	converge(2000);
	fake_remove(fake_find(path_of(0)));
	converge(2000);
	assert_int_equal(fake.requests, 3);
	t.delete_s0 = true;
	converge(2000);
	assert_string_equal(fake.body, "{\"preconditions\":{\"uid\":\"the-uid\"}}");
	assert_int_equal(infra_api_counters(t.api).deleted, 1);
	assert_int_equal(fake.requests, 4);
	end();
}

static bool has_noted(void)
{
	return *t.noted;
}

static void a_field_of_others_is_cleared_and_noted(void **state)
{
	begin();
	t.n = 1;
	want(0, 1);
	infra_api_lead(t.api, true);
	converge(2000);
	assert_string_equal(t.noted, "");
	t.clear_s0 = true;
	infra_api_wake(t.api);
	assert_true(fake_until(has_noted, 2000));
	infra_api_wake(t.api);
	requests_after(100);
	assert_int_equal(fake.requests, 2);
	assert_string_equal(fake.content_type, "application/merge-patch+json");
	assert_string_equal(fake.body, "{\"spec\":{\"w\":null}}");
	assert_string_equal(t.noted, "n/g0: s0 had w");
	end();
}

/* What is wanted when it ends is still written; a server that is away is not waited for long. */
static void the_end_waits_for_the_last_writes(void **state)
{
	begin();
	t.n = 40;
	for (size_t i = 0; i < t.n; i++)
		want(i, 1);
	infra_api_lead(t.api, true);
	converge(2000);
	for (size_t i = 0; i < t.n; i++)
		want(i, 2);
	end();
	assert_int_equal(fake.requests, 80);

	begin();
	t.n = 1;
	want(0, 1);
	infra_api_lead(t.api, true);
	converge(2000);
	want(0, 2);
	fake.fault = hang;
	uint64_t began = uv_hrtime();
	end();
	assert_in_range((uv_hrtime() - began) / 1000000, 250, 1500);
	assert_int_equal(fake.requests, 2);

	begin();
	t.n = 1;
	want(0, 1);
	end(); /* it does not lead */
	assert_int_equal(fake.requests, 0);
}

static void many_go_a_few_at_a_time(void **state)
{
	begin_with(5000, 5000); /* two hundred take their time on a busy machine, and none may be taken for lost */
	t.n = MOST;
	for (size_t i = 0; i < t.n; i++)
		want(i, 1);
	infra_api_lead(t.api, true);
	converge(10000);
	assert_int_equal(fake.requests, MOST);
	assert_in_range(t.most_open, 2, 16);
	end();
}

static enum fake_fault refuse_all(const char *method, const char *path)
{
	return FAKE_422;
}

static bool has_said(void)
{
	return t.sayings;
}

static void refusals_are_told_and_taken_back(void **state)
{
	begin();
	t.n = 2; /* both of g0 */
	want(0, 1);
	want(1, 1);
	fake.fault = refuse_all;
	infra_api_lead(t.api, true);
	assert_true(fake_until(has_said, 2000));
	assert_string_equal(t.said, "n/g0: said by the test");
	assert_in_range(requests_after(400), 4, 40); /* slower and slower */
	fake.fault = NULL;
	converge(2000);
	assert_string_equal(t.said, "n/g0: fine");
	end();
}

/* A refusal is the Gateway's no longer when nobody wants the object, or another one leads. */
static void what_is_not_wanted_is_not_told(void **state)
{
	begin();
	t.n = 1;
	want(0, 1);
	fake.fault = refuse_all;
	infra_api_lead(t.api, true);
	assert_true(fake_until(has_said, 2000));
	t.n = 0;
	infra_api_wake(t.api);
	requests_after(50);
	assert_string_equal(t.said, "n/g0: fine");
	t.n = 1;
	t.sayings = 0;
	infra_api_wake(t.api);
	assert_true(fake_until(has_said, 2000));
	assert_string_equal(t.said, "n/g0: said by the test");
	infra_api_lead(t.api, false);
	assert_string_equal(t.said, "n/g0: fine");
	assert_int_equal(requests_after(200), 0);
	end();
}

/* Somebody else changes it back each time. */
static void change_back(const char *method, const char *path)
{
	if (fake_find(path_of(0)))
		fake_put(path_of(0), "{\"metadata\":{},\"spec\":{\"v\":7}}");
}

static void a_quarrel_calms_down(void **state)
{
	begin();
	t.n = 1;
	want(0, 1);
	infra_api_lead(t.api, true);
	converge(2000);
	for (unsigned i = 0; i < 60; i++) {
		change_back(NULL, NULL);
		infra_api_wake(t.api);
		fake_until(fake_never, 10);
	}
	assert_in_range(fake.requests, 4, 20);
	end();
}

static enum fake_fault any_fault(const char *method, const char *path)
{
	return roll(3) ? FAKE_NONE : (enum fake_fault)roll(FAKE_FAULTS);
}

static void whatever_the_server_does(void **state)
{
	const char *given = getenv("HATCHWAY_SEED");
	uint64_t first = given ? strtoull(given, NULL, 10) : 1;
	for (uint64_t seed = first; seed < first + (given ? 1 : 8); seed++) {
		print_message("  HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
		begin();
		t.random = seed * 0x9e3779b97f4a7c15ull + 1;
		t.n = 20;
		fake.fault = any_fault;
		for (size_t i = 0; i < t.n; i++)
			want(i, 0);
		infra_api_lead(t.api, true);
		for (unsigned round = 0; round < 5; round++) {
			for (unsigned i = 0; i < 8; i++)
				want(roll(20), (int)roll(3));
			if (!roll(3)) {
				infra_api_lead(t.api, false);
				infra_api_lead(t.api, true);
			}
			infra_api_wake(t.api);
			fake_until(fake_never, roll(60));
		}
		converge(20000);
		fake.fault = NULL;
		infra_api_wake(t.api);
		requests_after(400);
		assert_true(all_right());
		infra_api_wake(t.api);
		assert_int_equal(requests_after(200), 0);
		end();
	}
}

int main(void)
{
	log_level = LOG_ERROR;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wanted_is_applied_once), cmocka_unit_test(hands_are_put_right),
		cmocka_unit_test(the_end_waits_for_the_last_writes),
		cmocka_unit_test(a_field_of_others_is_cleared_and_noted),
		cmocka_unit_test(many_go_a_few_at_a_time),        cmocka_unit_test(refusals_are_told_and_taken_back),
		cmocka_unit_test(what_is_not_wanted_is_not_told), cmocka_unit_test(a_quarrel_calms_down),
		cmocka_unit_test(whatever_the_server_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
