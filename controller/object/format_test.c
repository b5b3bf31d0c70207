/* Holds every hand-written pattern to the regular expression it stands for, on random near misses. */
#include "controller/object/format.h"

#include "hatchway/base/bug.h"

#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define ROUNDS 40000

static uint64_t seed;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Pieces of valid texts, so that random strings come near to valid ones. */
static const char *const pieces[] = {
    "a",
    "b9",
    "Z",
    "0",
    "-",
    ".",
    "/",
    "*",
    "*.",
    ":",
    "_",
    "~",
    "%",
    "%2",
    "%aF",
    "#",
    " ",
    "\n",
    "\t",
    "|",
    "http",
    "https",
    "://",
    "://*",
    "99999",
    "1h",
    "5ms",
    "30s",
    "2m",
    "h",
    "com",
    "example.com",
    "Hostname",
    "IPAddress",
    "NamedAddress",
    "hatchway.dev/",
    "!",
    "$",
    "\xc3\xa9",
    "X-Header",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "@",
    "System",
    "::/",
    "10.1.0.0/1",
    "Staff only!",
    "a\\b",
    "~\"",
    "\x7f",
};

static void random_text(uint64_t *state, char *out, size_t size)
{
	size_t n = next_random(state) % 6, len = 0;
	out[0] = 0;
	for (size_t i = 0; i < n; i++) {
		const char *piece = pieces[next_random(state) % ARRAY_LEN(pieces)];
		if (len + strlen(piece) + 1 > size)
			break;
		strcpy(out + len, piece);
		len += strlen(piece);
	}
}

static bool regex_matches(pcre2_code *code, pcre2_match_data *data, const char *text)
{
	return pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, data, NULL) >= 0;
}

static void hold(const char *name, const struct format *format)
{
	int error;
	PCRE2_SIZE at;
	pcre2_code *code =
	    pcre2_compile((PCRE2_SPTR)format->pattern, PCRE2_ZERO_TERMINATED, PCRE2_DOLLAR_ENDONLY, &error, &at, NULL);
	assert_non_null(code);
	pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
	uint64_t state = seed;
	size_t valid = 0;
	for (int i = 0; i < ROUNDS; i++) {
		char text[400];
		random_text(&state, text, sizeof(text));
		bool wanted = regex_matches(code, data, text), have = format->matches(text);
		if (wanted != have)
			fail_msg("%s: \"%s\": pattern says %d, we say %d (HATCHWAY_SEED=%llu)", name, text, wanted,
			         have, (unsigned long long)seed);
		valid += wanted;
	}
	/* A law that never sees a valid text proves nothing. */
	assert_true(valid > 20);
	pcre2_match_data_free(data);
	pcre2_code_free(code);
}

static void test_patterns(void **state)
{
#define X(name, pattern) hold(#name, &format_##name);
	FORMATS(X)
#undef X
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {{"0s", 0},      {"10s", 10000},         {"1h30m", 5400000},
	             {"500ms", 500}, {"1h2m3s4ms", 3723004}, {"1s1s", 2000}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(format_duration.matches(cases[i].text));
		assert_int_equal(format_duration_ms(cases[i].text), cases[i].ms);
	}
	static const char *const refused[] = {"",        "10",         "1d", "1.5s", "-1s",
	                                      "100000s", "1s1s1s1s1s", "s",  "1us",  " 1s"};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_false(format_duration.matches(refused[i]));
}

static void test_timestamps(void **state)
{
	int64_t seconds;
	assert_true(format_timestamp("1970-01-01T00:00:00Z", &seconds));
	assert_int_equal(seconds, 0);
	assert_true(format_timestamp("2026-11-23T15:04:05.5+02:00", &seconds));
	assert_int_equal(seconds, 1795439045);
	static const char *const refused[] = {"",
	                                      "2026-11-23",
	                                      "2026-13-01T00:00:00Z",
	                                      "2026-11-23T24:00:00Z",
	                                      "2026-11-23T15:04:05",
	                                      "2026-11-23T15:04:05Zx",
	                                      "2026-11-23T15:04:05.Z"};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_false(format_timestamp(refused[i], &seconds));
}

static void test_base64(void **state)
{
	char out[16] = "";
	assert_int_equal(format_base64("aGVsbG8=", out), 5);
	assert_memory_equal(out, "hello", 5);
	assert_int_equal(format_base64("aGVs\nbG8h\n", out), 6);
	assert_memory_equal(out, "hello!", 6);
	assert_int_equal(format_base64("", NULL), 0);
	assert_int_equal(format_base64("YQ==", out), 1);
	static const char *const refused[] = {"a", "aa", "aaa", "a===", "aa=a", "aa==a", "a-_a", "aaaa=", "aa =="};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_int_equal(format_base64(refused[i], NULL), -1);
}

static void test_addresses(void **state)
{
	assert_true(format_is_ipv4("10.0.0.1"));
	assert_false(format_is_ipv4("10.0.0.01"));
	assert_false(format_is_ipv4("10.0.0"));
	assert_true(format_is_ipv6("fd00::1"));
	assert_false(format_is_ipv6("fe80::1%eth0"));
	assert_int_equal(format_characters("a\xc3\xa9z"), 3);
}

int main(void)
{
	const char *given = getenv("HATCHWAY_SEED");
	seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	seed = seed ? seed : 1;
	printf("HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_patterns), cmocka_unit_test(test_durations), cmocka_unit_test(test_timestamps),
	    cmocka_unit_test(test_base64),   cmocka_unit_test(test_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
