/* Lines of answers, as the reader takes them. */
#include "haproxy/reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#define SERVER(backend, name) "4 " backend " 1 " name " 127.0.0.1 2 0 1 1 100 1 0 0 0 0 0 0 - 8080 - 0 0 - - 0"
#define BACKEND(name) name ",BACKEND,0,0,0,0,1000,0,0,0,0,0,,0,0,0,0,UP,1"

static void check_line(int (*take)(struct reading *reading, char *line, struct err *reterr), const char *text, int wanted,
                       size_t held)
{
	struct reading reading = {.image = image_new(), .description = xstrdup("")};
	struct err err = {.text = ""};
	char *line = xstrdup(text);

	assert_int_equal(take(&reading, line, &err), wanted);
	assert_int_equal(image_count(reading.image, ITEM_SERVER) + image_count(reading.image, ITEM_BACKEND), held);
	free(line);
	reading_done(&reading);
}

/* HAProxy has no such names: a byte was lost on the way, and the answer is worth nothing. */
static void test_names(void **state)
{
	check_line(reader_server_line, SERVER("ns.a:80", "p1-h2c"), 0, 1);
	check_line(reader_server_line, SERVER("ns.a:80", "p1-h'c"), -EPROTO, 0);
	check_line(reader_server_line, SERVER("ns.'a:80", "p1"), -EPROTO, 0);
	check_line(reader_server_line, SERVER("theirs", "p1-h'c"), 0, 0);
	check_line(reader_stat_line, BACKEND("ns.a:80"), 0, 1);
	check_line(reader_stat_line, BACKEND("ns.'a:80"), -EPROTO, 0);
	check_line(reader_stat_line, BACKEND("theirs'"), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
