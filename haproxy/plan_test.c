/* The laws of plans over random images, and golden plans: testdata/NAME.held, NAME.wanted → NAME.plan. */
#define TESTBED_PORT 0
#include "haproxy/testbed.h"

#include "haproxy/plan.h"

#include <glob.h>

static void plan_is_empty(const struct image *held, const struct image *wanted)
{
	struct plan plan;

	plan_init(&plan);
	plan_build(&plan, held, wanted, NULL, 0);
	assert_int_equal(plan.n, 0);
	plan_done(&plan);
}

/* Every step must fit what is held at its time: nothing added twice, nothing changed or removed that is not there. */
static void step_fits(const struct step *step, const struct image *held)
{
	bool there = image_get(held, step->kind, step->key) != NULL;
	const char *name = step_names[step->op];

	if (!strncmp(name, "add ", 4))
		assert_false(there);
	else
		assert_true(there);
	if (step->op == STEP_DEL_SERVER)
		assert_non_null(strstr(image_get(held, step->kind, step->key)->value, "maint"));
	if (step->op == STEP_DEL_BACKEND)
		assert_string_equal(image_get(held, step->kind, step->key)->value, BACKEND_UNPUBLISHED);
}

/* No request can meet a path whose backend is not there yet, or gone already. */
static void order_holds(const struct plan *plan)
{
	for (size_t i = 1; i < plan->n; i++)
		assert_true(plan->steps[i - 1].op <= plan->steps[i].op);
	for (size_t i = 1; i < plan->n; i++) {
		const struct step *a = &plan->steps[i - 1], *b = &plan->steps[i];
		if (a->op != b->op || a->kind != ITEM_PATH)
			continue;
		if (a->op == STEP_DEL_PATH)
			assert_true(strlen(a->key) <= strlen(b->key));
		else
			assert_true(strlen(a->key) >= strlen(b->key));
	}
}

static void apply_all(struct image *held, const struct image *wanted, const struct plan_key *keys, size_t n)
{
	/* Twice: a server whose kind of address changes goes before it comes back. */
	for (int round = 0; round < 2; round++) {
		struct plan plan;
		plan_init(&plan);
		plan_build(&plan, held, wanted, keys, n);
		order_holds(&plan);
		for (size_t i = 0; i < plan.n; i++) {
			step_fits(&plan.steps[i], held);
			plan_apply(&plan.steps[i], held, wanted);
		}
		plan_done(&plan);
	}
}

static void test_laws(void **state)
{
	uint64_t seed = testbed_seed();

	for (int i = 0; i < 300; i++) {
		struct image *held = image_new(), *wanted = image_new();
		testbed_mutate(held, &seed, testbed_random(&seed) % 300, 20);
		testbed_mutate(wanted, &seed, testbed_random(&seed) % 300, 20);
		plan_is_empty(held, held);
		apply_all(held, wanted, NULL, 0);
		assert_images_equal(held, wanted);
		plan_is_empty(held, wanted);
		/* The touched keys are enough. */
		image_track(wanted, true);
		for (int k = 0; k < 3; k++) {
			size_t n;
			testbed_mutate(wanted, &seed, testbed_random(&seed) % 50, 20);
			const struct item *const *touched = image_touched(wanted, &n);
			struct plan_key *keys = xcalloc(n, sizeof(*keys));
			for (size_t j = 0; j < n; j++)
				keys[j] = (struct plan_key){touched[j]->kind, touched[j]->key};
			apply_all(held, wanted, keys, n);
			assert_images_equal(held, wanted);
			free(keys);
			image_touched_clear(wanted);
		}
		image_free(held);
		image_free(wanted);
	}
}

static bool takes(const struct image *image, const char *key)
{
	const struct item *item = image_get(image, ITEM_SERVER, key);
	struct server_value value;

	return item && server_value_parse(item->value, &value) && value.state == SERVER_READY && value.weight;
}

static bool any_takes(const struct image *image)
{
	for (char name[] = "a.b:80/p0"; name[8] < '6'; name[8]++)
		if (takes(image, name))
			return true;
	return false;
}

static void random_servers(struct image *image, uint64_t *seed)
{
	static const char *const states[] = {"ready", "ready", "drain"};

	image_set(image, ITEM_BACKEND, "a.b:80", "http");
	for (char name[] = "a.b:80/p0"; name[8] < '6'; name[8]++) {
		char value[100];
		uint32_t x = testbed_random(seed);
		snprintf(value, sizeof(value), "127.0.0.%u:80 weight %u %s", 1 + x % 2, x / 2 % 3, states[x / 6 % 3]);
		if (x / 18 % 3)
			image_set(image, ITEM_SERVER, name, value);
	}
}

/* Where a server takes requests before and after, one does all the time between. */
static void test_never_none(void **state)
{
	uint64_t seed = testbed_seed();
	int tried = 0;

	for (int i = 0; i < 2000; i++) {
		struct image *held = image_new(), *wanted = image_new();
		random_servers(held, &seed);
		random_servers(wanted, &seed);
		bool must = any_takes(held) && any_takes(wanted);
		struct plan plan;
		plan_init(&plan);
		plan_build(&plan, held, wanted, NULL, 0);
		tried += must;
		for (size_t k = 0; k < plan.n; k++) {
			plan_apply(&plan.steps[k], held, wanted);
			assert_true(!must || any_takes(held));
		}
		plan_done(&plan);
		image_free(held);
		image_free(wanted);
	}
	assert_true(tried > 500);
}

static char *slurp(const char *path)
{
	struct buf text;
	char block[4096];
	size_t n;
	FILE *f = fopen(path, "r");

	if (!f)
		return NULL;
	buf_init(&text, 1 << 20);
	while ((n = fread(block, 1, sizeof(block), f)) > 0)
		buf_add(&text, block, n);
	fclose(f);
	return buf_take(&text);
}

static void golden(const char *wanted_path)
{
	struct image *held = image_new(), *wanted = image_new();
	char path[300];
	int stem = (int)(strlen(wanted_path) - strlen(".wanted"));
	struct plan plan;
	struct buf out;
	struct err err;

	char *text = slurp(wanted_path);
	assert_non_null(text);
	assert_int_equal(image_parse(wanted, text, &err), 0);
	free(text);
	snprintf(path, sizeof(path), "%.*s.held", stem, wanted_path);
	text = slurp(path);
	if (text)
		assert_int_equal(image_parse(held, text, &err), 0);
	free(text);
	plan_init(&plan);
	plan_build(&plan, held, wanted, NULL, 0);
	buf_init(&out, 1 << 20);
	plan_dump(&plan, &out);
	snprintf(path, sizeof(path), "%.*s.plan", stem, wanted_path);
	if (getenv("HATCHWAY_BLESS")) {
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(out.data, 1, out.len, f), out.len);
		fclose(f);
	}
	text = slurp(path);
	assert_non_null(text);
	assert_string_equal(out.data, text);
	free(text);
	buf_done(&out);
	plan_done(&plan);
	image_free(held);
	image_free(wanted);
}

static void test_golden(void **state)
{
	glob_t found;

	assert_int_equal(glob("haproxy/testdata/*.wanted", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		golden(found.gl_pathv[i]);
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_laws),
		cmocka_unit_test(test_never_none),
		cmocka_unit_test(test_golden),
	};
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
