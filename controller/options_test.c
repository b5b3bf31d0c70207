/* Flags, environment variables, and what is said of wrong ones. */
#include "controller/options.h"

#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static int parse(struct options *options, struct err *err, const char *line)
{
	static char copy[512], *argv[32];
	int argc = 0;
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	optind = 0;
	return options_parse(options, argc, argv, err);
}

static void flags_are_read(void **state)
{
	struct options options;
	struct err err = {""};
	assert_int_equal(parse(&options, &err,
	                       "run --manifests d --state-dir s --status-dir t --haproxy h --class c --threads 2 --lease n-s/l.1 --identity i "
	                       "--port-map 80:8080,443:8443 --pool-ports 20000:64 --service a-b/c --haproxy-stop-on-exit word"), 0);
	assert_string_equal(options.manifests, "d");
	assert_string_equal(options.state_dir, "s");
	assert_string_equal(options.status_dir, "t");
	assert_string_equal(options.haproxy, "h");
	assert_string_equal(options.class, "c");
	assert_string_equal(options.lease_namespace, "n-s");
	assert_string_equal(options.lease_name, "l.1");
	assert_string_equal(options.identity, "i");
	assert_int_equal(options.threads, 2);
	assert_int_equal(options.n_port_map, 2);
	assert_int_equal(options.port_map[1].port, 443);
	assert_int_equal(options.port_map[1].bind_port, 8443);
	assert_int_equal(options.pool_base, 20000);
	assert_int_equal(options.pool_size, 64);
	assert_string_equal(options.service_namespace, "a-b");
	assert_string_equal(options.service_name, "c");
	assert_true(options.stop_on_exit);
	assert_int_equal(options.n_words, 1);
	assert_string_equal(options.words[0], "word");
	assert_int_equal(parse(&options, &err, "explain -X POST -H A:1 --header B:2 x/y"), 0);
	assert_string_equal(options.method, "POST");
	assert_int_equal(options.n_headers, 2);
	assert_int_equal(parse(&options, &err, "run --help"), 1);
	assert_int_equal(parse(&options, &err, "run --haproxy none"), 0);
	assert_null(options.haproxy);
	assert_true(options.adopt);
	assert_int_equal(parse(&options, &err, "run --haproxy none --haproxy ./none"), 0);
	assert_string_equal(options.haproxy, "./none");
	assert_false(options.adopt);
}

static void the_environment_counts_and_flags_win(void **state)
{
	struct options options;
	struct err err = {""};
	setenv("HATCHWAY_CLASS", "from-environment", 1);
	setenv("HATCHWAY_HAPROXY_STOP_ON_EXIT", "false", 1);
	assert_int_equal(parse(&options, &err, "run"), 0);
	assert_string_equal(options.class, "from-environment");
	assert_null(options.lease_name);
	assert_true(*options.identity);
	assert_false(options.stop_on_exit);
	assert_int_equal(parse(&options, &err, "run --class flag"), 0);
	assert_string_equal(options.class, "flag");
	unsetenv("HATCHWAY_CLASS");
	unsetenv("HATCHWAY_HAPROXY_STOP_ON_EXIT");
}

static void wrong_flags_are_named(void **state)
{
	static const char *const cases[][2] = {
		{"run --port-map 80", "--port-map: expected PORT:BOUND,… like 80:8080,443:8443, not \"80\""},
		{"run --port-map 80:70000", "--port-map: expected PORT:BOUND,… like 80:8080,443:8443, not \"80:70000\""},
		{"run --port-map 0:1", "--port-map: expected PORT:BOUND,… like 80:8080,443:8443, not \"0:1\""},
		{"run --port-map 80:1,80:2", "--port-map: a port is in two pairs of \"80:1,80:2\""},
		{"run --port-map 80:1,81:1", "--port-map: a port is in two pairs of \"80:1,81:1\""},
		{"run --pool-ports 20000", "--pool-ports: expected BASE:SIZE like 20000:64, ports up to 65535, not \"20000\""},
		{"run --pool-ports 65000:537", "--pool-ports: expected BASE:SIZE like 20000:64, ports up to 65535, not \"65000:537\""},
		{"run --service hatchway", "--service: expected NAMESPACE/NAME, not \"hatchway\""},
		{"run --service a/b/c", "--service: expected NAMESPACE/NAME, not \"a/b/c\""},
		{"run --service a/b.c", "--service: expected NAMESPACE/NAME, not \"a/b.c\""},
		{"run --service a/-b", "--service: expected NAMESPACE/NAME, not \"a/-b\""},
		{"run --haproxy none --haproxy-stop-on-exit",
		 "--haproxy-stop-on-exit: the HAProxy of --haproxy none is not ours to end"},
		{"run --threads many", "--threads: a number from 0 to 1024, not \"many\""},
		{"run --lease name", "--lease: NAMESPACE/NAME, not \"name\""},
		{"run --lease a.b/c", "--lease: NAMESPACE/NAME, not \"a.b/c\""},
		{"run --lease a/b/c", "--lease: NAMESPACE/NAME, not \"a/b/c\""},
		{"run --lease a/", "--lease: NAMESPACE/NAME, not \"a/\""},
		{"run --manifests", "--manifests: needs a value"},
		{"run --nonsense", "--nonsense: no such flag; see hatchway --help"},
		{"run --log-level loud", "--log-level: error, warn, info or debug, not \"loud\""},
		{"run --port-map 80:8080,", "--port-map: expected PORT:BOUND,… like 80:8080,443:8443, not \"80:8080,\""},
		{"run --port-map=", "--port-map: expected PORT:BOUND,… like 80:8080,443:8443, not \"\""},
		{"run --pool-ports 20000:0", "--pool-ports: expected BASE:SIZE like 20000:64, ports up to 65535, not \"20000:0\""},
		{"run --class=", "--class: the name of a GatewayClass, not \"\""},
		{"run --class A", "--class: the name of a GatewayClass, not \"A\""},
		{"explain -H :x u", "-H: expected 'Name: value', not \":x\""},
		{"explain -H x u", "-H: expected 'Name: value', not \"x\""},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct options options;
		struct err err = {""};
		assert_int_equal(parse(&options, &err, cases[i][0]), -EINVAL);
		assert_string_equal(err.text, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_are_read),
		cmocka_unit_test(the_environment_counts_and_flags_win),
		cmocka_unit_test(wrong_flags_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
