/* Render: golden images; incremental equals from scratch; hostile strings stay where they are; weights. */
#include "haproxy/render.h"

#include "haproxy/chain.h"
#include "haproxy/config.h"
#include "haproxy/encode.h"
#include "haproxy/table_random.h"
#include "haproxy/weights.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void dump_scratch(const struct table *table, struct buf *out)
{
	struct table *empty = table_new();
	struct table_changes changes = {0};
	struct render *render = render_new();
	struct image *image = image_new();
	table_diff(empty, table, &changes);
	render_apply(render, changes.list, changes.n, image);
	buf_clear(out);
	image_dump(image, out);
	table_changes_done(&changes);
	render_free(render);
	image_free(image);
	table_free(empty);
}

static void incremental_equals_from_scratch(void **state)
{
	struct dice dice = dice_new(1);
	struct buf one, two;
	buf_init(&one, (size_t)16 << 20);
	buf_init(&two, (size_t)16 << 20);
	for (int walk = 0; walk < 60; walk++) {
		struct table *table = table_new();
		struct render *render = render_new();
		struct image *image = image_new();
		for (int step = 0; step < 60; step++) {
			struct table_changes changes = {0};
			for (unsigned i = 0; i <= dice_below(&dice, step ? 4 : 40); i++)
				random_step(&dice, table, &changes, 9000);
			render_apply(render, changes.list, changes.n, image);
			table_changes_done(&changes);
			buf_clear(&one);
			image_dump(image, &one);
			dump_scratch(table, &two);
			assert_string_equal(one.data, two.data);
		}
		struct table *empty = table_new();
		struct table_changes changes = {0};
		size_t n;
		table_diff(table, empty, &changes);
		render_apply(render, changes.list, changes.n, image);
		free(image_sorted(image, &n));
		assert_int_equal(n, 0);
		render_refusals(render, &n);
		assert_int_equal(n, 0);
		table_changes_done(&changes);
		table_free(empty);
		table_free(table);
		render_free(render);
		image_free(image);
	}
	buf_done(&one);
	buf_done(&two);
}

/* ---- golden ---- */

static void read_file(const char *path, struct buf *out)
{
	char bytes[4096];
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	for (size_t n; (n = fread(bytes, 1, sizeof(bytes), f)) > 0;)
		buf_add(out, bytes, n);
	fclose(f);
}

static void check_golden(const char *path, const struct buf *got)
{
	struct buf wanted;
	buf_init(&wanted, (size_t)16 << 20);
	if (getenv("HATCHWAY_BLESS")) {
		FILE *f = fopen(path, "we");
		assert_non_null(f);
		assert_int_equal(fwrite(got->data, 1, got->len, f), got->len);
		assert_int_equal(fclose(f), 0);
	}
	read_file(path, &wanted);
	if (strcmp(wanted.data, got->data))
		fail_msg("%s differs; HATCHWAY_BLESS=1 rewrites it. Got:\n%s", path, got->data);
	buf_done(&wanted);
}

static void add_refusals(const struct render *render, struct buf *out)
{
	size_t n;
	const struct haproxy_refusal *list = render_refusals(render, &n);
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "# refused: %s: %s\n", list[i].key, list[i].text);
}

static void golden_config(const struct table *table, const char *path)
{
	struct buf text;
	size_t n;
	struct table_unit **units = table_sorted(table, TABLE_LISTENER, &n);
	struct config_bind *binds = xcalloc(n, sizeof(*binds));
	for (size_t i = 0; i < n; i++) {
		const struct table_listener *listener = (const struct table_listener *)units[i];
		binds[i] = (struct config_bind){listener->bind_address, listener->bind_port, 0, listener->sni != NULL};
	}
	buf_init(&text, (size_t)1 << 20);
	config_render(&(struct config_input){.binds = binds, .n_binds = n, .instance = "0", .fd_limit = 20000,
	                                     .threads = 2, .ipv6 = true}, &text);
	check_golden(path, &text);
	buf_done(&text);
	free(binds);
	free(units);
}

static void golden_one(const char *path)
{
	struct buf text;
	struct err err;
	char other[256];
	struct table *table = table_new(), *empty = table_new();
	struct table_changes changes = {0};
	struct render *render = render_new();
	struct image *image = image_new();
	buf_init(&text, (size_t)16 << 20);
	read_file(path, &text);
	if (table_parse(table, text.data, &err))
		fail_msg("%s: %s", path, err.text);
	table_diff(empty, table, &changes);
	render_apply(render, changes.list, changes.n, image);
	buf_clear(&text);
	image_dump(image, &text);
	add_refusals(render, &text);
	snprintf(other, sizeof(other), "%.*s.image", (int)(strlen(path) - strlen(".table")), path);
	check_golden(other, &text);
	snprintf(other, sizeof(other), "%.*s.cfg", (int)(strlen(path) - strlen(".table")), path);
	golden_config(table, other);
	table_changes_done(&changes);
	render_free(render);
	image_free(image);
	table_free(table);
	table_free(empty);
	buf_done(&text);
}

static void golden_images(void **state)
{
	glob_t found;
	assert_int_equal(glob("haproxy/testdata/*.table", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		golden_one(found.gl_pathv[i]);
	globfree(&found);
}

/* ---- a weight is a weight ---- */

static void weights_change_only_values(void **state)
{
	static const char form[] = "backend ns.a:80 http1\n\tendpoint a1 127.0.0.1 1\n"
	                           "backend ns.b:80 http1\n\tendpoint b1 127.0.0.1 2\n"
	                           "rule r forward\n\torigin ns.route\n\tto ns.a:80 weight %d\n\tto ns.b:80 weight %d\n"
	                           "host 80 \"\"\n\tprefix / -> r\n";
	struct table *before = table_new(), *after = table_new(), *empty = table_new();
	struct table_changes changes = {0};
	struct render *render = render_new();
	struct image *image = image_new();
	char text[512];
	size_t n;
	snprintf(text, sizeof(text), form, 90, 10);
	assert_int_equal(table_parse(before, text, NULL), 0);
	snprintf(text, sizeof(text), form, 100, 0);
	assert_int_equal(table_parse(after, text, NULL), 0);
	table_diff(empty, before, &changes);
	render_apply(render, changes.list, changes.n, image);
	table_changes_done(&changes);
	image_track(image, true);
	changes = (struct table_changes){0};
	table_diff(before, after, &changes);
	render_apply(render, changes.list, changes.n, image);
	const struct item *const *touched = image_touched(image, &n);
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(touched[i]->kind, ITEM_SERVER);
	table_changes_done(&changes);
	render_free(render);
	image_free(image);
	table_free(before);
	table_free(after);
	table_free(empty);
}

static void weights_come_near(void **state)
{
	struct dice dice = dice_new(2);
	unsigned solved = 0;
	for (int round = 0; round < 20000; round++) {
		struct weights_group groups[5];
		size_t n = 1 + dice_below(&dice, 5);
		double total = 0, sum = 0;
		for (size_t i = 0; i < n; i++) {
			groups[i] = (struct weights_group){.share = dice_below(&dice, 101), .servers = 1 + dice_below(&dice, 20)};
			total += (double)groups[i].share;
		}
		if (total <= 0 || !weights_solve(groups, n))
			continue;
		solved++;
		for (size_t i = 0; i < n; i++)
			sum += (double)groups[i].weight * groups[i].servers;
		for (size_t i = 0; i < n; i++) {
			double wanted = (double)groups[i].share / total, got = (double)groups[i].weight * groups[i].servers / sum;
			assert_true(groups[i].weight <= 256 && !groups[i].share == !groups[i].weight);
			assert_true(fabs(got - wanted) <= 0.005 * wanted + 1e-12);
		}
	}
	assert_true(solved > 10000);
	struct weights_group canary[] = {{.share = 90, .servers = 3}, {.share = 10, .servers = 2}};
	assert_true(weights_solve(canary, 2));
	assert_int_equal(canary[0].weight * 3 * 10, canary[1].weight * 2 * 90);
	struct weights_group tiny[] = {{.share = 999999, .servers = 1}, {.share = 1, .servers = 1}};
	assert_false(weights_solve(tiny, 2));
}

/* ---- hostile strings ---- */

static const char *const hostile[] = {
	"a b", "a;show info", "a\\", "a\nset map x", "a\r\nX: y", "\"", "'", "%[src]", "\x01", "\x7f", "\xff", "#", "a|b", "a,b>c",
	"${HOME}", "?x", "=x", "!500", "^80/", "../../etc", "*", "*.*.a", ".", "..", "a..b", "-",
};

/* A key is one word of printable bytes; a value has no control characters and fits. */
static void check_image(const struct image *image)
{
	size_t n;
	const struct item **list = image_sorted(image, &n);
	for (size_t i = 0; i < n; i++) {
		const unsigned char *p = (const unsigned char *)list[i]->key;
		assert_true(*p && *p != '#' && strlen(list[i]->key) <= 6000);
		for (; *p; p++)
			assert_true(*p > ' ' && *p < 127);
		assert_true(strlen(list[i]->value) < 15000);
		for (p = (const unsigned char *)list[i]->value; *p; p++)
			assert_true(*p >= ' ' && *p < 127);
		if (list[i]->kind == ITEM_BACKEND || list[i]->kind == ITEM_SERVER)
			assert_null(strpbrk(list[i]->key, " ;\\\"'#%$"));
	}
	free(list);
}

static void apply_one(struct render *render, struct image *image, struct table_unit *unit)
{
	struct table_change change = {.new = unit};
	render_apply(render, &change, 1, image);
	table_unit_unref(unit);
	check_image(image);
}

static void hostile_with(const char *s)
{
	struct render *render = render_new();
	struct image *image = image_new();
	char *value = xstrdup(s);
	struct table_endpoint endpoint = {value, "127.0.0.1", 1, false}, address = {"p", value, 1, false};
	struct table_header header = {value, "v"}, text = {"x", value};
	struct table_edits edits = {.request = {.set = &header, .n_set = 1}, .response = {.add = &text, .n_add = 1}};
	struct table_ref refs[] = {{.backend = value, .weight = 1}, {.backend = "ns.b:80", .weight = 1, .edits = &edits}};
	struct table_test test = {value, value, false}, regex = {value, value, true};
	struct table_entry entries[] = {
		{{.path_type = TABLE_EXACT, .path = value, .headers = &test, .n_headers = 1}, "r1"},
		{{.path_type = TABLE_EXACT, .path = "/x", .method = value, .queries = &test, .n_queries = 1}, "r2"},
		{{.path_type = TABLE_REGEX, .path = value, .headers = &regex, .n_headers = 1}, "r3"},
		{{.path_type = TABLE_PREFIX, .path = value}, "r4"},
	};
	apply_one(render, image, &table_host_new(&(struct table_host){.unit.key = "80 a", .listener = "80", .pattern = "a",
	          .entries = entries, .n_entries = 4})->unit);
	apply_one(render, image, &table_host_new(&(struct table_host){.unit.key = "80 x", .listener = "80", .pattern = value,
	          .falls_to = value, .entries = entries, .n_entries = 4})->unit);
	apply_one(render, image, &table_host_new(&(struct table_host){.unit.key = "x y", .listener = value, .pattern = "y",
	          .entries = entries, .n_entries = 4})->unit);
	apply_one(render, image, &table_backend_new(&(struct table_backend){.unit.key = value, .endpoints = &endpoint,
	          .n_endpoints = 1})->unit);
	apply_one(render, image, &table_backend_new(&(struct table_backend){.unit.key = "ns.b:80", .endpoints = &address,
	          .n_endpoints = 1})->unit);
	struct table_rule rule = {.unit.key = "r1", .origin = value, .refs = refs, .n_refs = 2, .request_timeout_ms = -1,
	                          .backend_timeout_ms = -1};
	apply_one(render, image, &table_rule_new(&rule)->unit);
	rule.unit.key = "r2";
	rule.origin = "ns.r";
	rule.edits = &(struct table_edits){.request = {.set = &header, .n_set = 1, .add = &text, .n_add = 1},
	                                   .rewrite = {.hostname = value, .edit = TABLE_PATH_FULL, .path = value}};
	apply_one(render, image, &table_rule_new(&rule)->unit);
	struct table_edits redirect = {.redirect = {.status = 302, .scheme = value}};
	rule = (struct table_rule){.unit.key = "r3", .origin = "ns.r", .action = TABLE_REDIRECT, .edits = &redirect};
	rule.edits = &(struct table_edits){.rewrite = {.edit = TABLE_PATH_PREFIX_EDIT, .path = value, .prefix = "/"}};
	apply_one(render, image, &table_rule_new(&rule)->unit);
	rule.unit.key = "r4";
	redirect.redirect.scheme = NULL;
	rule.edits = &(struct table_edits){.response = {.add = &text, .n_add = 1}};
	apply_one(render, image, &table_rule_new(&rule)->unit);
	apply_one(render, image, random_listener(value, value, 1));
	free(value);
	render_free(render);
	image_free(image);
}

static void hostile_strings_stay(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++)
		hostile_with(hostile[i]);
	char *large = xcalloc(1, (64 << 10) + 1);
	for (const char *c = "a/ \\;%\n\xff"; *c; c++) {
		memset(large, *c, 64 << 10);
		hostile_with(large);
	}
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights_come_near),     cmocka_unit_test(weights_change_only_values),
		cmocka_unit_test(hostile_strings_stay),  cmocka_unit_test(incremental_equals_from_scratch),
		cmocka_unit_test(golden_images),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
