/* Images against a plain model, on seeded random walks. */
#include "haproxy/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

static unsigned long seed;

static void walk_equals_model(void **state)
{
	enum { N = 400 };
	unsigned count[N] = {0};
	char value[N] = {0}, key[16], text[2] = "";
	struct image *image = image_new();
	srand48((long)seed);
	for (int step = 0; step < 60000; step++) {
		int i = (int)(lrand48() % N);
		snprintf(key, sizeof(key), "k%d", i);
		text[0] = (char)('a' + lrand48() % 3);
		switch (lrand48() % 5) {
		case 0:
		case 1:
			image_add(image, ITEM_PATH, key, text);
			value[i] = text[0];
			count[i]++;
			break;
		case 2:
			if (count[i]) {
				image_drop(image, ITEM_PATH, key);
				count[i]--;
			}
			break;
		case 3:
			image_set(image, ITEM_PATH, key, text);
			value[i] = text[0];
			count[i] += !count[i];
			break;
		default:
			if (lrand48() % 8 == 0) {
				image_delete(image, ITEM_PATH, key);
				count[i] = 0;
			}
		}
		const struct item *item = image_get(image, ITEM_PATH, key);
		if (!item != !count[i] || (item && item->value[0] != value[i]))
			fail_msg("seed %lu step %d", seed, step);
	}
	size_t n = 0;
	for (int i = 0; i < N; i++)
		n += count[i] > 0;
	assert_int_equal(image_count(image, ITEM_PATH), n);
	struct buf once, twice;
	struct image *again = image_new();
	buf_init(&once, 1 << 20);
	buf_init(&twice, 1 << 20);
	image_dump(image, &once);
	assert_int_equal(image_parse(again, once.data, NULL), 0);
	image_dump(again, &twice);
	assert_string_equal(once.data, twice.data);
	buf_done(&once);
	buf_done(&twice);
	image_free(image);
	image_free(again);
}

static void touched_keys_are_listed(void **state)
{
	struct image *image = image_new(), *other = image_new();
	size_t n;
	image_add(image, ITEM_HOST, "a", "1");
	image_track(image, true);
	image_add(image, ITEM_HOST, "a", "1"); /* one more use is no change */
	image_drop(image, ITEM_HOST, "a");
	image_touched(image, &n);
	assert_int_equal(n, 0);
	image_set(image, ITEM_HOST, "a", "2");
	image_drop(image, ITEM_HOST, "a");
	const struct item *const *touched = image_touched(image, &n);
	assert_int_equal(n, 2);
	assert_string_equal(touched[1]->key, "a");
	image_touched_clear(image);
	image_add(image, ITEM_HOST, "b", "x");
	image_share(other, image_get(image, ITEM_HOST, "b"));
	image_free(image);
	assert_string_equal(image_get(other, ITEM_HOST, "b")->value, "x");
	image_free(other);
}

static void server_values(void **state)
{
	static const char *const good[] = {"127.0.0.1:5000 weight 1 ready", "[::1]:80 weight 256 drain h2c",
	                                   "unix@/state/500.sock weight 0 maint"};
	static const char *const bad[] = {"127.0.0.1:5000", "x weight 257 ready", "x weight 1 up", "x weight 1 ready h3",
	                                  "x weight 1 ready h2c more", ""};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct server_value value;
		struct buf out;
		buf_init(&out, 400);
		assert_true(server_value_parse(good[i], &value));
		server_value_dump(&value, &out);
		assert_string_equal(out.data, good[i]);
		buf_done(&out);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct server_value value;
		assert_false(server_value_parse(bad[i], &value));
	}
}

int main(void)
{
	const char *given = getenv("HATCHWAY_SEED");
	seed = given ? strtoul(given, NULL, 10) : (unsigned long)time(NULL);
	printf("seed %lu\n", seed);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_equals_model),
		cmocka_unit_test(touched_keys_are_listed),
		cmocka_unit_test(server_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
