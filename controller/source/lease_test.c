/* Two candidates on one API server of our own, in quick time. */
#include "controller/source/kube_fake.h"
#include "controller/source/lease.h"

#include "hatchway/base/log.h"

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
#define QUICK {.namespace = "ns", .name = "l", .duration_ms = 1000, .renew_ms = 600, .retry_ms = 50}

struct candidate {
	struct lease *lease;
	const char *identity;
	bool leader, closed;
	unsigned changes;
};

static struct {
	struct kube_access access;
	struct kube_client *client;
	struct candidate a, b;
	bool closed;
} t;

static void on_changed(void *ctx, bool leader)
{
	struct candidate *c = ctx;
	c->leader = leader;
	c->changes++;
	assert_false(t.a.leader && t.b.leader);
}

static void start(struct candidate *c, const char *identity)
{
	struct lease_options options = QUICK;
	*c = (struct candidate){.identity = identity};
	options.identity = identity;
	c->lease = lease_open(&fake.loop, t.client, &options, on_changed, c);
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static bool a_closed(void)
{
	return t.a.closed;
}

static bool b_closed(void)
{
	return t.b.closed;
}

static bool client_closed(void)
{
	return t.closed;
}

static void stop(struct candidate *c)
{
	lease_close(c->lease, on_closed, &c->closed);
	assert_true(fake_until(c == &t.a ? a_closed : b_closed, 3000));
	c->lease = NULL;
	c->leader = false;
}

static bool a_leads(void)
{
	return t.a.leader;
}

static bool a_does_not_lead(void)
{
	return !t.a.leader;
}

static bool b_leads(void)
{
	return t.b.leader;
}

static int setup(void **state)
{
	struct err err;
	memset(&t, 0, sizeof(t));
	log_level = getenv("HATCHWAY_TEST_LOG") ? LOG_DEBUG : LOG_ERROR;
	fake_open(&t.access);
	return kube_client_open(&fake.loop, &t.access, &t.client, &err);
}

static int teardown(void **state)
{
	fake.fault = NULL;
	if (t.a.lease)
		stop(&t.a);
	if (t.b.lease)
		stop(&t.b);
	kube_client_close(t.client, on_closed, &t.closed);
	assert_true(fake_until(client_closed, 1000));
	fake_done(&t.access);
	return 0;
}

static const char *spec(const char *field)
{
	json_t *value = json_object_get(json_object_get(fake_find(LEASES "/l")->json, "spec"), field);
	return json_is_string(value) ? json_string_value(value) : "";
}

static long number(const char *field)
{
	return (long)json_integer_value(json_object_get(json_object_get(fake_find(LEASES "/l")->json, "spec"), field));
}

static void the_first_one_leads_and_renews(void **state)
{
	start(&t.a, "a");
	assert_true(fake_until(a_leads, 1000));
	assert_string_equal(spec("holderIdentity"), "a");
	assert_int_equal(number("leaseDurationSeconds"), 1);
	assert_int_equal(number("leaseTransitions"), 0);
	assert_int_equal(strlen(spec("renewTime")), strlen("2026-11-23T15:04:05.000006Z"));
	char first[64], acquired[64];
	strcpy(first, spec("renewTime"));
	strcpy(acquired, spec("acquireTime"));
	start(&t.b, "b");
	fake_until(fake_never, 1500);
	assert_true(t.a.leader && !t.b.changes && t.a.changes == 1);
	assert_string_not_equal(spec("renewTime"), first);
	assert_string_equal(spec("acquireTime"), acquired);
	assert_string_equal(lease_holder(t.b.lease), "a");
}

static void a_clean_end_hands_over_at_once(void **state)
{
	start(&t.a, "a");
	assert_true(fake_until(a_leads, 1000));
	start(&t.b, "b");
	fake_until(fake_never, 100);
	stop(&t.a);
	assert_string_equal(spec("holderIdentity"), "");
	assert_true(fake_until(b_leads, 200)); /* its duration is 1,000 */
	assert_int_equal(number("leaseTransitions"), 1);
}

/* Whatever its clock said. */
static void a_dead_holder_is_waited_for(void **state)
{
	fake_put(LEASES "/l", "{\"metadata\":{\"name\":\"l\",\"labels\":{\"keep\":\"this\"}},\"spec\":{\"holderIdentity\":\"dead\","
	                      "\"leaseDurationSeconds\":1,\"renewTime\":\"2001-01-01T00:00:00.000000Z\",\"leaseTransitions\":7}}");
	start(&t.a, "a");
	assert_false(fake_until(a_leads, 800));
	assert_true(fake_until(a_leads, 800));
	assert_int_equal(number("leaseTransitions"), 8);
	char *metadata = fake_text(LEASES "/l", "metadata");
	assert_non_null(strstr(metadata, "\"keep\":\"this\""));
	free(metadata);
}

static enum fake_fault everything(const char *method, const char *path)
{
	return FAKE_HANG;
}

static void who_cannot_renew_stops_before_another_begins(void **state)
{
	start(&t.a, "a");
	assert_true(fake_until(a_leads, 1000));
	fake.fault = everything;
	assert_false(fake_until(a_does_not_lead, 350));
	assert_true(fake_until(a_does_not_lead, 500));
	fake.fault = NULL;
	assert_true(fake_until(a_leads, 1000));
}

static void who_lost_it_knows(void **state)
{
	start(&t.a, "a");
	assert_true(fake_until(a_leads, 1000));
	json_object_set_new(json_object_get(fake_find(LEASES "/l")->json, "spec"), "holderIdentity", json_string("somebody"));
	fake_new_version(fake_find(LEASES "/l")->json);
	assert_true(fake_until(a_does_not_lead, 300));
	assert_string_equal(spec("holderIdentity"), "somebody");
}

static void an_end_without_a_server_is_not_long(void **state)
{
	start(&t.a, "a");
	assert_true(fake_until(a_leads, 1000));
	fake.fault = everything;
	stop(&t.a);
}

static uint64_t state_of_dice;

static enum fake_fault any(const char *method, const char *path)
{
	static const enum fake_fault faults[] = {FAKE_500, FAKE_429, FAKE_CONFLICT, FAKE_NOTHING, FAKE_LOST, FAKE_CUT};
	state_of_dice = state_of_dice * 6364136223846793005ull + 1442695040888963407ull;
	return state_of_dice >> 62 ? FAKE_NONE : faults[(state_of_dice >> 40) % 6];
}

/* on_changed() sees that never two lead. */
static void with_any_faults_one_leads(void **state)
{
	state_of_dice = 42;
	fake.fault = any;
	for (unsigned i = 0; i < 6; i++) {
		start(&t.a, "a");
		start(&t.b, "b");
		fake_until(fake_never, 300);
		stop(i % 2 ? &t.a : &t.b);
		stop(i % 2 ? &t.b : &t.a);
	}
	fake.fault = NULL;
	start(&t.b, "b");
	assert_true(fake_until(b_leads, 3000));
}

static void times_are_as_kubernetes_writes_them(void **state)
{
	char text[32];
	lease_time(1795446000, 6, text);
	assert_string_equal(text, "2026-11-23T15:00:00.000006Z");
	lease_time(0, 999999, text);
	assert_string_equal(text, "1970-01-01T00:00:00.999999Z");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(the_first_one_leads_and_renews),
	    TEST(a_clean_end_hands_over_at_once),
	    TEST(a_dead_holder_is_waited_for),
	    TEST(who_cannot_renew_stops_before_another_begins),
	    TEST(who_lost_it_knows),
	    TEST(an_end_without_a_server_is_not_long),
	    TEST(with_any_faults_one_leads),
	    cmocka_unit_test(times_are_as_kubernetes_writes_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
