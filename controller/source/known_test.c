/* The table against a plain list, on random walks. */
#include "controller/source/known.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NAMES 200

static struct object *new_object(unsigned i)
{
	struct object *object = xcalloc(1, sizeof(*object) + 32);
	char *name = (char *)(object + 1);
	snprintf(name, 32, "name-%u", i / 2);
	object->refs = 1;
	object->namespace = i % 2 ? "a" : "b";
	object->name = name;
	return object;
}

static void a_random_walk_is_as_a_list(void **state)
{
	struct object *model[NAMES] = {0};
	struct known known;
	uint64_t dice = 1;
	size_t n = 0;
	known_init(&known, 42);
	for (unsigned step = 0; step < 20000; step++) {
		dice = dice * 6364136223846793005ull + 1442695040888963407ull;
		/* Fuller and emptier by turns. */
		unsigned i = (unsigned)(dice >> 33) % NAMES,
		         put = (unsigned)(dice >> 50) % 10 < (step / 2000 % 2 ? 3 : 7);
		struct object *probe = new_object(i);
		struct known_entry *entry = known_find(&known, probe->namespace, probe->name);
		assert_ptr_equal(entry ? entry->object : NULL, model[i]);
		if (put) {
			n += !model[i];
			model[i] = probe;
			entry = known_put(&known, probe);
			assert_ptr_equal(entry->object, probe);
			assert_true(!entry->version && !entry->seen);
		} else {
			if (entry) {
				known_remove(&known, entry);
				n--;
			}
			model[i] = NULL;
			object_unref(probe);
		}
		assert_int_equal(known.n, n);
	}
	known_done(&known);
	assert_null(known_find(&known, "a", "name-1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_random_walk_is_as_a_list)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
