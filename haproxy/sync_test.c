/* The whole half on a real HAProxy: apply, take over, files, faults. */
#include "haproxy/testbed.h"

#define PORT 22100

static void test_start_apply_takeover(void **state)
{
	struct testbed bed;
	uint64_t seed = testbed_seed();

	testbed_init(&bed, PORT);
	testbed_open(&bed);
	testbed_mutate(bed.wanted, &seed, 200, 30);
	testbed_submit(&bed);
	testbed_run_until(&bed, testbed_settled, 10000);
	assert_string_equal(bed.refusals, "");
	assert_images_equal(sync_held(bed.sync), bed.wanted);
	for (int i = 0; i < 20; i++) {
		testbed_mutate(bed.wanted, &seed, 1 + testbed_random(&seed) % 60, 30);
		testbed_submit(&bed);
		if (i % 3 == 0)
			testbed_run_until(&bed, testbed_settled, 10000);
		else
			testbed_run_until(&bed, testbed_applied, 10000);
	}
	testbed_run_until(&bed, testbed_settled, 10000);
	assert_string_equal(bed.refusals, "");
	assert_images_equal(sync_held(bed.sync), bed.wanted);
	assert_int_equal(sync_counters(bed.sync).reads, 1);
	assert_int_equal(sync_counters(bed.sync).reloads, 0);
	/* Another controller: reads the same, has nothing to do. */
	testbed_close(&bed, false);
	testbed_open(&bed);
	testbed_submit(&bed);
	testbed_run_until(&bed, testbed_settled, 10000);
	assert_images_equal(sync_held(bed.sync), bed.wanted);
	assert_int_equal(sync_counters(bed.sync).commands, 0);
	assert_int_equal(sync_counters(bed.sync).reloads, 0);
	assert_int_equal(sync_counters(bed.sync).starts, 0);
	testbed_done(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_apply_takeover),
	};
	return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
