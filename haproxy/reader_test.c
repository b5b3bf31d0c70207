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

static const char *value_of(const struct reading *reading, enum item_kind kind, const char *key)
{
	const struct item *item = image_get(reading->image, kind, key);

	return item ? item->value : NULL;
}

static void test_certificates(void **state)
{
	struct reading reading = {.image = image_new(), .like = image_new(), .description = xstrdup("")};

	image_set((struct image *)(uintptr_t)reading.like, ITEM_CA, "a1", "PEM");
	reader_ca_line(&reading, "# transaction");
	reader_ca_line(&reading, "*certs/a3.ca - 1 certificate(s)");
	reader_ca_line(&reading, "certs/a1.ca - 2 certificate(s)");
	reader_ca_line(&reading, "certs/a2.ca - 1 certificate(s)");
	reader_ca_line(&reading, "certs/a3.ca - 0 certificate(s)");
	reader_ca_line(&reading, "/etc/ssl/certs - 140 certificate(s)");
	assert_int_equal(image_count(reading.image, ITEM_CA), 3);
	assert_string_equal(value_of(&reading, ITEM_CA, "a1"), "PEM");
	assert_string_equal(value_of(&reading, ITEM_CA, "a2"), "");
	assert_string_equal(value_of(&reading, ITEM_CA, "a3"), "");
	assert_string_equal(reading.unfinished[ITEM_CA], "a3");
	reader_list_line(&reading, "certs/443.list");
	reader_sni_line(&reading, 0, "certs/c1.pem a.b *.a.b");
	reader_sni_line(&reading, 0, "certs/c2.pem [verify required ca-file certs/a1.ca] a.b");
	assert_string_equal(value_of(&reading, ITEM_SNI, "443/c1"), "a.b *.a.b");
	assert_string_equal(value_of(&reading, ITEM_SNI, "443/c2"), "[a1] a.b");
	reader_sni_line(&reading, 0, "certs/c3.pem [ca-file certs/a1.ca verify optional] a.b");
	assert_string_equal(value_of(&reading, ITEM_SNI, "443/c3"), "[?a1] a.b");
	image_free((struct image *)(uintptr_t)reading.like);
	reading_done(&reading);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_certificates)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
