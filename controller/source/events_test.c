#include "controller/source/events.h"
#include "controller/source/kube_fake.h"

#include "hatchway/base/log.h"

#define EVENTS "/apis/events.k8s.io/v1/namespaces/ns/events"

static struct {
	struct kube_access access;
	struct kube_client *client;
	struct events *events;
	bool closed;
} t;

static int setup(void **state)
{
	const struct events_options options = {"hatchway.dev/controller", "me", 5000, 5, 40, 1000};
	struct err err;
	memset(&t, 0, sizeof(t));
	log_level = getenv("HATCHWAY_TEST_LOG") ? LOG_DEBUG : LOG_ERROR;
	fake_open(&t.access);
	assert_int_equal(kube_client_open(&fake.loop, &t.access, &t.client, &err), 0);
	t.events = events_open(&fake.loop, t.client, &options);
	return 0;
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
	events_close(t.events, on_closed, NULL);
	assert_true(fake_until(is_closed, 1000));
	t.closed = false;
	kube_client_close(t.client, on_closed, NULL);
	assert_true(fake_until(is_closed, 1000));
	fake_done(&t.access);
	return 0;
}

static void warn(const char *reason, const char *note)
{
	events_warn(t.events, KIND_HTTPROUTE, "ns", "r", "uid-1", reason, note);
}

static void run_for(unsigned ms)
{
	fake_until(fake_never, ms);
}

static unsigned expected;

static bool arrived(void)
{
	return fake.requests >= expected;
}

/* So many requests in all, and no more. */
static void requests_are(unsigned n)
{
	expected = n;
	assert_true(fake_until(arrived, 3000));
	run_for(30);
	assert_int_equal(fake.requests, n);
}

static unsigned ended;

static bool all_ended(void)
{
	const struct events_counters counters = events_counters(t.events);
	return counters.sent + counters.dropped >= ended;
}

static void one_is_as_describe_wants_it(void **state)
{
	warn("BackendNotFound", "ResolvedRefs: \"x\" \xc3\xa4");
	requests_are(1);
	assert_string_equal(fake.log.data, "POST " EVENTS "\n");
	json_t *event = fake_parse(fake.body);
	json_t *regarding = json_object_get(event, "regarding");
	assert_string_equal(json_string_value(json_object_get(regarding, "uid")), "uid-1");
	assert_string_equal(json_string_value(json_object_get(regarding, "apiVersion")), "gateway.networking.k8s.io/v1");
	assert_string_equal(json_string_value(json_object_get(event, "note")), "ResolvedRefs: \"x\" \xc3\xa4");
	assert_string_equal(json_string_value(json_object_get(event, "reportingInstance")), "me");
	assert_int_equal(strlen(json_string_value(json_object_get(event, "eventTime"))), 27);
	json_decref(event);
	events_warn(t.events, KIND_GATEWAYCLASS, "", "c", "uid-2", "X", "");
	requests_are(2);
	assert_non_null(strstr(fake.log.data, "POST /apis/events.k8s.io/v1/namespaces/default/events\n"));
}

static void the_same_is_not_said_twice_in_a_while(void **state)
{
	for (unsigned i = 0; i < 10; i++)
		warn("A", "note");
	warn("A", "other note");
	requests_are(2);
	run_for(1200);
	warn("A", "note");
	requests_are(3);
}

static void many_are_few(void **state)
{
	char note[16];
	for (unsigned i = 0; i < 100; i++) {
		snprintf(note, sizeof(note), "%u", i);
		warn("A", note);
	}
	assert_int_equal(events_counters(t.events).dropped, 95);
	requests_are(5);
	run_for(50);
	warn("A", "later");
	requests_are(6);
}

static void long_ones_are_cut(void **state)
{
	char name[254], note[4097];
	memset(name, 'n', sizeof(name) - 1);
	name[253] = 0;
	for (size_t i = 0; i < 4096; i += 2)
		memcpy(note + i, "\xc3\xa4", 2);
	note[0] = 'x';
	note[1] = 'y';
	note[4096] = 0;
	events_warn(t.events, KIND_GATEWAY, "ns", name, "uid", "R", note + 1);
	requests_are(1);
	json_t *event = fake_parse(fake.body); /* is UTF-8, or could not be parsed */
	assert_in_range(json_string_length(json_object_get(event, "note")), 1000, 1024);
	assert_in_range(json_string_length(json_object_get(json_object_get(event, "metadata"), "name")), 221, 253);
	json_decref(event);
}

static enum fake_fault next_fault;

static enum fake_fault give_fault(const char *method, const char *path)
{
	return next_fault;
}

static void what_fails_is_dropped_and_the_next_one_sent(void **state)
{
	fake.fault = give_fault;
	next_fault = FAKE_403;
	warn("A", "1");
	warn("A", "2");
	ended = 2;
	assert_true(fake_until(all_ended, 3000));
	next_fault = FAKE_NONE;
	warn("A", "3");
	ended = 3;
	assert_true(fake_until(all_ended, 3000));
	assert_int_equal(events_counters(t.events).sent, 1);
	assert_int_equal(events_counters(t.events).dropped, 2);
	next_fault = FAKE_HANG;
	warn("A", "4"); /* the end does not wait for it */
	run_for(20);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(one_is_as_describe_wants_it), TEST(the_same_is_not_said_twice_in_a_while),
	    TEST(many_are_few),                TEST(long_ones_are_cut),
	    TEST(what_fails_is_dropped_and_the_next_one_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
