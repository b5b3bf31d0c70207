/* Refusals are told once, not with every change. */
#include "controller/refusal_log.h"

#include "hatchway/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void told_once(void **state)
{
	struct refusal_log log = {0};
	const struct haproxy_refusal both[] = {{TABLE_RULE, "b/r/0", "too long"}, {TABLE_HOST, "80 a.b", "too many"}};
	const struct haproxy_refusal other = {TABLE_RULE, "b/r/0", "no name of a header"};
	assert_int_equal(refusal_log(&log, both, 2), 2);
	assert_int_equal(refusal_log(&log, both, 2), 0);
	assert_int_equal(refusal_log(&log, &both[1], 1), 0);
	assert_int_equal(refusal_log(&log, both, 2), 1); /* it was good meanwhile */
	assert_int_equal(refusal_log(&log, &other, 1), 1);
	assert_int_equal(refusal_log(&log, NULL, 0), 0);
	assert_int_equal(refusal_log(&log, &other, 1), 1);
	refusal_log_done(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(told_once)};
	log_level = LOG_ERROR;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
