/* When the controller calls itself ready, and the form of its figures. */
#include "controller/core_fixture.h"
#include "controller/vitals.h"

#include <ctype.h>

#define MS 1000000ull

static void says(const struct vitals *vitals, uint64_t now_ns, bool ready, const char *expected)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	assert_int_equal(vitals_ready(vitals, now_ns, &out), ready);
	assert_string_equal(out.data, expected);
	buf_done(&out);
}

static void ready_while_all_is_served(void **state)
{
	struct vitals vitals = {0};
	says(&vitals, 1, false, "not ready: the objects are not all read yet\n");
	vitals_submitted(&vitals, 1, 10 * MS);
	says(&vitals, 11 * MS, false, "not ready: HAProxy is down\n");
	vitals_state(&vitals, HAPROXY_SYNCING, "reading");
	says(&vitals, 11 * MS, false, "not ready: HAProxy does not serve what was read yet\n");
	vitals_applied(&vitals, 1, 0, 12 * MS);
	says(&vitals, 13 * MS, true, "ready\n");
	vitals_submitted(&vitals, 2, 20 * MS);
	vitals_submitted(&vitals, 3, 30 * MS);
	says(&vitals, 31 * MS, true, "ready\n"); /* a change on its way */
	says(&vitals, 2500 * MS, false, "not ready: a change has been waiting for HAProxy for 2480 ms\n");
	vitals_applied(&vitals, 2, 0, 2500 * MS);
	says(&vitals, 2501 * MS, true, "ready\n");
	vitals_applied(&vitals, 3, 1, 2502 * MS);
	vitals_applied(&vitals, 3, 0, 9000 * MS); /* other refusals, the same generation */
	says(&vitals, 99000 * MS, true, "ready\n");
	vitals_state(&vitals, HAPROXY_DOWN, "it would not start");
	says(&vitals, 99000 * MS, false, "not ready: HAProxy is down: it would not start\n");
	vitals_state(&vitals, HAPROXY_SYNCED, "");
	vitals.closing = true;
	says(&vitals, 99000 * MS, false, "not ready: stopping\n");
	assert_int_equal(vitals.applies.counts[2], 2); /* 2 ms, 2 ms */
	assert_int_equal(vitals.applies.counts[HISTOGRAM_BUCKETS - 1], 1); /* 2480 ms */
}

/* Each line is a comment or a sample of the family above it; families come once; what a scraper insists on. */
static void check_format(char *text)
{
	char family[128] = "", *save = NULL;
	size_t families = 0;
	struct buf seen;
	buf_init(&seen, FIXTURE_LIMIT);
	assert_int_equal(text[strlen(text) - 1], '\n');
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char type[32];
		if (sscanf(line, "# TYPE %127s %31s", family, type) == 2) {
			char word[160];
			bool total = strlen(family) > 6 && !strcmp(family + strlen(family) - 6, "_total");
			snprintf(word, sizeof(word), " %s ", family);
			assert_int_equal(!strcmp(type, "counter"), total);
			assert_null(strstr(seen.data, word));
			buf_adds(&seen, word);
			families++;
		} else if (*line != '#') {
			char *value = strrchr(line, ' '), *end;
			assert_non_null(value);
			strtod(value + 1, &end);
			assert_int_equal(*end, 0);
			assert_int_equal(strncmp(line, family, strlen(family)), 0);
			assert_true(islower((unsigned char)*line));
		} else {
			assert_int_equal(strncmp(line, "# HELP ", 7), 0);
		}
	}
	assert_true(families > 10);
	buf_done(&seen);
}

static void figures_are_well_formed(void **state)
{
	struct core *core = core_new(&(struct core_options){.implicit_class = "hatchway"});
	struct vitals vitals = {.core = core};
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	fixture_objects("{apiVersion: v1, kind: Service, metadata: {name: web, namespace: s}, spec: {ports: [{port: 80}]}}", false,
	                fixture_put, core);
	vitals_submitted(&vitals, 1, 10 * MS);
	vitals_applied(&vitals, 1, 0, 17 * MS);
	vitals_metrics(&vitals, 20 * MS, &out);
	assert_non_null(strstr(out.data, "\nhatchway_objects{kind=\"Service\"} 1\n"));
	assert_non_null(strstr(out.data, "\nhatchway_objects{kind=\"HTTPRoute\"} 0\n"));
	assert_non_null(strstr(out.data, "\nhatchway_apply_duration_seconds_bucket{le=\"0.005\"} 0\n"
	                                 "hatchway_apply_duration_seconds_bucket{le=\"0.01\"} 1\n"));
	assert_non_null(strstr(out.data, "{le=\"+Inf\"} 1\nhatchway_apply_duration_seconds_sum 0.007\n"
	                                 "hatchway_apply_duration_seconds_count 1\n"));
	assert_non_null(strstr(out.data, "\nhatchway_generations_applied 1\n"));
	assert_null(strstr(out.data, "process_resident_memory_bytes 0\n"));
	assert_null(strstr(out.data, "process_open_fds 0\n"));
	check_format(out.data);
	buf_done(&out);
	core_free(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ready_while_all_is_served), cmocka_unit_test(figures_are_well_formed)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
