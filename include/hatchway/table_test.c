/* Tables: text form, changes, meaning. */
#include "hatchway/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const char table_text[] =
	"listener 80 port 80 bind 8080 origin sample-ingress/sample-gateway\n"
	"listener 10.0.0.1:80 address 10.0.0.1 port 80 bind 80 origin a/b\n"
	"backend sample.helloworld:5000 h2c\n"
	"\tendpoint helloworld-v1-x 127.0.0.1 5001\n"
	"\tendpoint helloworld-v2-y ::1 5002 draining\n"
	"rule sample/helloworld/0 forward\n"
	"\torigin sample.helloworld\n"
	"\tname canary\n"
	"\trequest set X-A \"a \\\"quoted\\\" \\\\ value\\x0d\\n\"\n"
	"\trequest remove X-B\n"
	"\trewrite-host internal\n"
	"\trewrite-prefix /hello \"\"\n"
	"\tresponse add X-C 1\n"
	"\trequest-timeout 500\n"
	"\tbackend-timeout 0\n"
	"\tto sample.helloworld:5000 weight 90\n"
	"\tto !500 weight 10\n"
	"rule sample/helloworld/1 redirect code 301\n"
	"\torigin sample.helloworld\n"
	"\trewrite-path /new\n"
	"\tscheme https\n"
	"\tport 8443\n"
	"host 80 \"\"\n"
	"\tprefix / -> sample/helloworld/0\n"
	"host 80 *.sample.com falls-to \"\"\n"
	"\texact /hello method GET header X-Version = 2 query q ~ [0-9]+ -> sample/helloworld/0\n"
	"\tregex \"/v[12] x\" -> sample/helloworld/1\n"
	"\tprefix /hello/ -> sample/helloworld/1\n"
	"host 80 helloworld.sample.com\n"
	"certificate c1\n"
	"\tca a1\n"
	"\tname *.sample.com\n"
	"certificate c2\n"
	"\tca-optional a1\n"
	"\tname *\n"
	"ca a1\n";

static struct table *parse(const char *text)
{
	struct err err;
	struct table *table = table_new();
	if (table_parse(table, text, &err))
		fail_msg("%s", err.text);
	return table;
}

static void parse_of_dump_is_the_same(void **state)
{
	struct table *table = parse(table_text);
	struct buf once, twice;
	buf_init(&once, 1 << 20);
	buf_init(&twice, 1 << 20);
	table_dump(table, &once);
	struct table *again = parse(once.data);
	table_dump(again, &twice);
	assert_string_equal(once.data, twice.data);
	struct table_changes changes = {0};
	table_diff(table, again, &changes);
	assert_int_equal(changes.n, 0);
	/* Sorting is all a dump changes here: 10.0.0.1:80 stands before 80. */
	assert_int_equal(once.len, strlen(table_text));
	table_changes_done(&changes);
	table_free(table);
	table_free(again);
	buf_done(&once);
	buf_done(&twice);
}

static void bad_text_names_its_line(void **state)
{
	static const char *const bad[] = {
		"host 80\n",
		"listener 80 port 80 bind 8080 origin\n",
		"listener 80 port 80 bind 99999 origin x\n",
		"rule x forward\n\tto y weight -1\n",
		"rule x redirect\n",
		"\tprefix / -> x\n",
		"host 80 a\n\tprefix / ->\n",
		"host 80 a\n\tprefix \"/ -> x\n",
		"backend b http1 more\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {""};
		struct table *table = table_new();
		assert_int_equal(table_parse(table, bad[i], &err), -EINVAL);
		assert_non_null(strstr(err.text, "line "));
		table_free(table);
	}
}

static void change_lists_only_differences(void **state)
{
	struct table *table = parse(table_text), *empty = table_new();
	struct table_changes changes = {0}, all = {0};
	table_change(table, &changes, TABLE_BACKEND, "sample.helloworld:5000",
	             &table_backend_new(table_backend(table, "sample.helloworld:5000"))->unit);
	assert_int_equal(changes.n, 0);
	struct table_backend less = *table_backend(table, "sample.helloworld:5000");
	less.n_endpoints = 1;
	table_change(table, &changes, TABLE_BACKEND, less.unit.key, &table_backend_new(&less)->unit);
	table_change(table, &changes, TABLE_BACKEND, less.unit.key, NULL);
	assert_int_equal(changes.n, 1);
	assert_non_null(changes.list[0].old);
	assert_null(changes.list[0].new);
	assert_null(table_backend(table, less.unit.key));
	table_diff(empty, table, &all);
	assert_int_equal(all.n, 10);
	table_changes_done(&changes);
	table_changes_done(&all);
	table_free(table);
	table_free(empty);
}

static void many_units_come_and_go(void **state)
{
	struct table *table = table_new();
	char key[32];
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "b%d", i);
		table_put(table, &table_backend_new(&(struct table_backend){.unit.key = key})->unit);
	}
	for (int i = 0; i < 3000; i += 3) {
		snprintf(key, sizeof(key), "b%d", i);
		table_delete(table, TABLE_BACKEND, key);
	}
	assert_int_equal(table_count(table, TABLE_BACKEND), 2000);
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "b%d", i);
		assert_int_equal(table_backend(table, key) != NULL, i % 3 != 0);
	}
	table_free(table);
}

struct match_case {
	const char *host, *method, *path, *query;
	struct table_header header;
	const char *rule; /* NULL: 404 */
};

static void meaning(void **state)
{
	static const char text[] =
		"host 80 \"\"\n"
		"\tprefix / -> any\n"
		"host 80 *.b.c falls-to \"\"\n"
		"\texact /x method GET -> x-get\n"
		"\tregex /r/[0-9]+ -> regex\n"
		"\tprefix /p header V = 1,2 -> joined\n"
		"\tprefix /p query q = \"a b\" -> query\n"
		"\tprefix /p/ query n ~ [0-9]+ -> number\n"
		"\tprefix /p query a+b = 1 -> plus\n"
		"\tprefix /p query a&b = 1 -> reserved\n"
		"host 80 a.b.c\n"
		"\tprefix /only -> only\n";
	static const struct match_case cases[] = {
		{"a.b.c", "GET", "/only", "", {0}, "only"},
		{"A.B.c.:8080", "GET", "/only/x", "", {0}, "only"},
		{"a.b.c", "GET", "/onlyx", "", {0}, NULL},
		{"a.b.c", "GET", "/", "", {0}, NULL}, /* does not fall */
		{"b.c", "GET", "/x", "", {0}, "any"},
		{"z.b.c", "GET", "/x", "", {0}, "x-get"},
		{"z.y.b.c", "GET", "/x", "", {0}, "x-get"},
		{"z.b.c", "POST", "/x", "", {0}, "any"},
		{"z.b.c", "GET", "/X", "", {0}, "any"},
		{"z.b.c", "GET", "/x/", "", {0}, "any"},
		{"z.b.c", "GET", "/r/12", "", {0}, "regex"},
		{"z.b.c", "GET", "/r/12x", "", {0}, "any"},
		{"z.b.c", "GET", "/p", "", {"v", "1,2"}, "joined"},
		{"z.b.c", "GET", "/p", "", {"v", "1"}, "any"},
		{"z.b.c", "GET", "/p/q", "q=a%20b&q=c", {0}, "query"},
		{"z.b.c", "GET", "/p", "x=1&q=a+b", {0}, "query"},
		{"z.b.c", "GET", "/p", "q=c&q=a+b", {0}, "any"},
		{"z.b.c", "GET", "/p", "%71=a+b", {0}, "query"},
		{"z.b.c", "GET", "/p", "%71=c&q=a+b", {0}, "any"}, /* the first of that name counts, however it is written */
		{"z.b.c", "GET", "/p", "%71%00=a+b", {0}, "any"},
		{"z.b.c", "GET", "/p", "%7=a+b", {0}, "any"},
		{"z.b.c", "GET", "/p", "a+b=1", {0}, "plus"}, /* no name has a blank: "+" stands for itself */
		{"z.b.c", "GET", "/p", "a%2Bb=1", {0}, "plus"},
		{"z.b.c", "GET", "/p", "a%20b=1", {0}, "any"},
		{"z.b.c", "GET", "/p", "a%26b=1", {0}, "reserved"},
		{"z.b.c", "GET", "/p", "a&b=1", {0}, "any"},
		{"z.b.c", "GET", "/p/1", "n=42", {0}, "number"},
		{"z.b.c", "GET", "/p/1", "n=42x", {0}, "any"},
		{"[::1]:80", "GET", "/", "", {0}, "any"},
		{"", "GET", "/", "", {0}, "any"},
	};
	struct table *table = parse(text);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct match_case *c = &cases[i];
		struct table_header header = c->header;
		const struct table_entry *entry = table_match(
			table,
			&(struct table_request){"80", c->host, c->method, c->path, c->query, &header, header.name != NULL}, NULL);
		const char *rule = entry ? entry->rule : NULL;
		if (!c->rule != !rule || (rule && strcmp(rule, c->rule)))
			fail_msg("%s %s%s?%s: %s, expected %s", c->method, c->host, c->path, c->query, rule ? rule : "404",
			         c->rule ? c->rule : "404");
	}
	table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_of_dump_is_the_same), cmocka_unit_test(bad_text_names_its_line),
		cmocka_unit_test(change_lists_only_differences), cmocka_unit_test(many_units_come_and_go),
		cmocka_unit_test(meaning),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
