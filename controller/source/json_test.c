/* The splitter must say the same wherever the stream is cut, and nothing hostile may pass its bounds. */
#include "controller/source/json.h"

#include "controller/object/schema.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct pieces {
	struct buf text;
	unsigned n, stop_at;
};

static bool on_piece(void *ctx, enum json_piece piece, const char *bytes, size_t n, bool whole)
{
	struct pieces *pieces = ctx;
	buf_addf(&pieces->text, "%s%s:", piece == JSON_ITEM ? "item" : "metadata", whole ? "" : "(cut)");
	buf_add(&pieces->text, bytes, n > 80 ? 80 : n);
	buf_addc(&pieces->text, '\n');
	return ++pieces->n != pieces->stop_at;
}

/* In steps of `step` bytes; returns feed's answer, or 1 if the stream may not end there. */
static int split(enum json_stream stream, const char *text, size_t n, size_t step, struct pieces *pieces)
{
	struct json_split s;
	int ret = 0;
	buf_init(&pieces->text, 1 << 20);
	pieces->n = 0;
	json_split_init(&s, stream, on_piece, pieces);
	for (size_t at = 0; !ret && at < n; at += step) {
		/* A copy of exactly these bytes, so that reading beyond them is seen. */
		size_t length = n - at < step ? n - at : step;
		char *copy = xmalloc(length);
		memcpy(copy, text + at, length);
		ret = json_split_feed(&s, copy, length);
		free(copy);
	}
	if (!ret && !json_split_whole(&s))
		ret = 1;
	json_split_done(&s);
	return ret;
}

static void check(enum json_stream stream, const char *text, int wanted_ret, const char *wanted)
{
	for (size_t step = 1; step <= strlen(text); step++) {
		struct pieces pieces = {0};
		assert_int_equal(split(stream, text, strlen(text), step, &pieces), wanted_ret);
		assert_string_equal(pieces.text.data, wanted);
		buf_done(&pieces.text);
	}
}

static void lists_are_cut_into_items(void **state)
{
	check(JSON_LIST,
	      "{\"kind\":\"XList\",\"metadata\":{\"resourceVersion\":\"7\",\"items\":[{}]},\"items\":[{\"a\":\"}]\\\"{"
	      "\"}, {\"b\":[{}]}]}\n",
	      0, "metadata:{\"resourceVersion\":\"7\",\"items\":[{}]}\nitem:{\"a\":\"}]\\\"{\"}\nitem:{\"b\":[{}]}\n");
	check(JSON_LIST, "{\"items\":null,\"metadata\":{}}", 0, "metadata:{}\n");
	check(JSON_LIST, "{\"items\":[1,\"x\",[{}],{}],\"other\":{\"items\":[{}]},\"more\":[{}]}", 0, "item:{}\n");
	check(JSON_LIST, "{\"itemsandmuchmorethansixteen\":[{}],\"item\":[{}]}", 0, "");
}

static void lists_that_are_cut_or_no_json_are_found(void **state)
{
	check(JSON_LIST, "{\"items\":[{\"a\":1},{\"b\"", 1, "item:{\"a\":1}\n");
	check(JSON_LIST, "", 1, "");
	check(JSON_LIST, "{}{}", -EINVAL, "");
	check(JSON_LIST, "[]", -EINVAL, "");
	check(JSON_LIST, "<html>", -EINVAL, "");
	check(JSON_EVENTS, "}", -EINVAL, "");
	check(JSON_EVENTS, "\"x\"", -EINVAL, "");
}

static void watches_are_cut_into_events(void **state)
{
	check(JSON_EVENTS, "{\"type\":\"A\"}\n{\"b\":{}}\n\n", 0, "item:{\"type\":\"A\"}\nitem:{\"b\":{}}\n");
	check(JSON_EVENTS, "{\"type\":\"A\"}{\"b", 1, "item:{\"type\":\"A\"}\n");
	check(JSON_EVENTS, "{\"a\":1}\ngarbage", -EINVAL, "item:{\"a\":1}\n");
}

static void the_callback_can_stop(void **state)
{
	struct pieces pieces = {.stop_at = 2};
	assert_int_equal(split(JSON_EVENTS, "{}{}{}", 6, 6, &pieces), -ECANCELED);
	assert_int_equal(pieces.n, 2);
	buf_done(&pieces.text);
}

static void what_is_too_big_is_passed_over(void **state)
{
	struct buf text;
	static const size_t steps[] = {1000, 16384, (size_t)8 << 20};
	buf_init(&text, (size_t)8 << 20);
	buf_adds(&text, "{\"items\":[{\"name\":\"big\",\"x\":\"");
	for (size_t i = 0; i < JSON_PIECE_CEILING; i++)
		buf_addc(&text, 'y');
	buf_adds(&text, "\"},{\"name\":\"small\"}]}");
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct pieces pieces = {0};
		assert_int_equal(split(JSON_LIST, text.data, text.len, steps[i], &pieces), 0);
		assert_int_equal(pieces.n, 2);
		assert_non_null(strstr(pieces.text.data, "item(cut):{\"name\":\"big\""));
		assert_non_null(strstr(pieces.text.data, "item:{\"name\":\"small\"}"));
		buf_done(&pieces.text);
	}
	buf_done(&text);
}

static void depth_has_a_ceiling(void **state)
{
	char text[3 * JSON_DEPTH_CEILING];
	struct pieces pieces = {0};
	struct arena scratch;
	struct node *node;
	struct err err;
	memset(text, '[', sizeof(text));
	text[0] = '{';
	assert_int_equal(split(JSON_EVENTS, text, sizeof(text), 7, &pieces), -EINVAL);
	buf_done(&pieces.text);
	memset(text, '[', JSON_DEPTH_CEILING + 2);
	memset(text + JSON_DEPTH_CEILING + 2, ']', JSON_DEPTH_CEILING + 2);
	arena_init(&scratch);
	assert_int_equal(json_node(text, 2 * (JSON_DEPTH_CEILING + 2), &scratch, &node, &err), -EINVAL);
	arena_done(&scratch);
}

static void managed_fields_are_cut_out_whole(void **state)
{
	static const char *const tails[] = {"[]", "[{\"a\":\"]}\\\"]\",\"b\":[[1],{}]}]", "[[],[]]"};
	struct arena scratch;
	struct node *node;
	struct err err;
	char text[256];
	arena_init(&scratch);
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		snprintf(text, sizeof(text), "{\"a\":\"\\\"managedFields\\\":[\",\"metadata\":{\"managedFields\":%s,\"name\":\"x\"}}", tails[i]);
		assert_int_equal(json_node_unmanaged(text, strlen(text), &scratch, &node, &err), 0);
		assert_string_equal(node_text(node, "a"), "\"managedFields\":[");
		assert_int_equal(node_count(node_get(node, "metadata"), "managedFields"), 0);
		assert_string_equal(node_text(node_get(node, "metadata"), "name"), "x");
	}
	static const char *const bad[] = {"{\"managedFields\":[", "{\"managedFields\":[\"\\", "{\"managedFields\":[}", "{\"managedFields\":[]"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(json_node_unmanaged(bad[i], strlen(bad[i]), &scratch, &node, &err), -EINVAL);
	arena_done(&scratch);
}

static void trees_have_what_decoders_read(void **state)
{
	static const char text[] =
	    "{\"metadata\":{\"name\":\"x\",\"managedFields\":[{\"manager\":\"a\"},{\"manager\":\"b\",\"fieldsV1\":{\"f:status\":{\"f:conditions\":{}}}}],\"annotations\":{"
	    "\"kubectl.kubernetes.io/last-applied-configuration\":\"{}\",\"a\":\"b\"}},"
	    "\"n\":-5,\"t\":true,\"r\":1.5,\"z\":null,\"spec\":{\"annotations\":{\"k\":\"\\u00e4\"}}}";
	struct arena scratch;
	struct node *node, *unmanaged;
	struct err err;
	arena_init(&scratch);
	assert_int_equal(json_node(text, strlen(text), &scratch, &node, &err), 0);
	const struct node *metadata = node_get(node, "metadata");
	assert_int_equal(metadata->n, 3);
	assert_int_equal(node_count(metadata, "managedFields"), 1);
	assert_string_equal(node_text(node_get(metadata, "managedFields")->items[0], "manager"), "b");
	assert_int_equal(node_count(metadata, "annotations"), 1);
	assert_int_equal(json_node_unmanaged(text, strlen(text), &scratch, &unmanaged, &err), 0);
	assert_int_equal(unmanaged->n, node->n);
	assert_int_equal(node_count(node_get(unmanaged, "metadata"), "managedFields"), 0);
	assert_string_equal(node_text(node_get(unmanaged, "metadata"), "name"), "x");
	assert_string_equal(node_text(node_get(metadata, "annotations"), "a"), "b");
	assert_string_equal(node_text(metadata, "name"), "x");
	assert_string_equal(node_text(node, "n"), "-5");
	assert_string_equal(node_text(node, "r"), "1.5");
	assert_true(node_bool(node, "t", false));
	assert_int_equal(node_get(node, "z")->type, NODE_NULL);
	assert_string_equal(node_text(node_get(node_get(node, "spec"), "annotations"), "k"), "\xc3\xa4");
	static const char *const bad[] = {
	    "{\"a\":1,\"a\":2}",           "{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}", "{\"a\":\"\xff\"}", "{", "",
	    "{\"a\":99999999999999999999}"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(json_node(bad[i], strlen(bad[i]), &scratch, &node, &err), -EINVAL);
	arena_done(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists_are_cut_into_items),       cmocka_unit_test(lists_that_are_cut_or_no_json_are_found),
	    cmocka_unit_test(watches_are_cut_into_events),    cmocka_unit_test(the_callback_can_stop),
	    cmocka_unit_test(what_is_too_big_is_passed_over), cmocka_unit_test(depth_has_a_ceiling),
	    cmocka_unit_test(managed_fields_are_cut_out_whole),
	    cmocka_unit_test(trees_have_what_decoders_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
