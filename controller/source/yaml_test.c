/* YAML text to trees, written back as one line of JSON-like text: what a scalar means, limits, errors and their lines.
 */
#include "controller/source/yaml_plain.h"
#include "controller/source/yaml.h"

#include "hatchway/base/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static void print_node(struct buf *out, const struct node *node, bool lines)
{
	static const char open[] = {[NODE_LIST] = '[', [NODE_MAP] = '{'},
	                  close[] = {[NODE_LIST] = ']', [NODE_MAP] = '}'};
	if (lines)
		buf_addf(out, "%u/", node->line);
	if (node->type == NODE_NULL) {
		buf_adds(out, "null");
	} else if (node->type == NODE_STRING) {
		buf_addf(out, "\"%s\"", node->text);
	} else if (node->type < NODE_STRING) {
		buf_adds(out, node->text);
	} else {
		buf_addc(out, open[node->type]);
		for (size_t i = 0; i < node->n; i++) {
			buf_adds(out, i ? "," : "");
			if (node->type == NODE_MAP)
				buf_addf(out, "%s:", node->keys[i]);
			print_node(out, node->items[i], lines);
		}
		buf_addc(out, close[node->type]);
	}
}

/* All documents, " | " between them; an error ends it with "line N: text". */
static char *parse_as(const char *text, size_t n, bool lines)
{
	struct buf out;
	buf_init(&out, 1 << 20);
	struct yaml *yaml = yaml_open_bytes(text, n);
	for (;;) {
		struct arena scratch;
		arena_init(&scratch);
		struct node *document;
		struct err err;
		unsigned line = 0;
		int status = yaml_next(yaml, &scratch, &document, &line, &err);
		if (status)
			buf_adds(&out, out.len ? " | " : "");
		if (status > 0)
			print_node(&out, document, lines);
		else if (status < 0)
			buf_addf(&out, "line %u: %s", line, err.text);
		arena_done(&scratch);
		if (status <= 0)
			break;
	}
	yaml_close(yaml);
	return buf_take(&out);
}

static char *parse(const char *text, size_t n)
{
	return parse_as(text, n, false);
}

/* Each node with its line. */
static char *parse_lines(const char *text, size_t n)
{
	return parse_as(text, n, true);
}

static void check(const char *text, const char *wanted)
{
	char *have = parse(text, strlen(text));
	if (strcmp(have, wanted) != 0)
		fail_msg("%s\nwanted %s\nhave   %s", text, wanted, have);
	free(have);
}

static void check_begins(const char *text, size_t n, const char *wanted)
{
	char *have = parse(text, n);
	if (strncmp(have, wanted, strlen(wanted)) != 0)
		fail_msg("wanted %s\nhave   %s", wanted, have);
	free(have);
}

static void test_scalars(void **state)
{
	check("[yes, No, on, OFF, true, FALSE, y, n]", "[true,false,true,false,true,false,true,false]");
	check("['yes', \"on\", 'null', '80', !!str 80, ! 80]", "[\"yes\",\"on\",\"null\",\"80\",\"80\",\"80\"]");
	check("[null, ~, Null, ]", "[null,null,null]");
	check("a:\nb: ~", "{a:null,b:null}");
	check("[80, -1, +7, 0x50, 0o17, 017, 0b11, 1_000, 80.0, 1e3, 0]", "[80,-1,7,80,15,15,3,1000,80,1000,0]");
	check("[1.5, 089, 18446744073709551615, 1e400]", "[1.5,89,18446744073709551615,1e400]");
	check("[v1, 10.0.0.1, 1.2.3, 0x, -, 1h, yess, 2026-11-23, 12:30, .]",
	      "[\"v1\",\"10.0.0.1\",\"1.2.3\",\"0x\",\"-\",\"1h\",\"yess\",\"2026-11-23\",\"12:30\",\".\"]");
	check("a: |\n  two\n  lines\n", "{a:\"two\nlines\n\"}");
	check("80: a\nyes: b\n", "{80:\"a\",true:\"b\"}");
	check("{\"json\": [1, {\"a\": \"\\u00e9\"}]}", "{json:[1,{a:\"\xc3\xa9\"}]}");
}

#define SMILE "\xf0\x9f\x98\x80"

/* JSON's way to write what is beyond U+FFFF, there and nowhere else. */
static void test_surrogates(void **state)
{
	check("{\"a\": \"x\\ud83d\\uDE00y\\n\"}", "{a:\"x" SMILE "y\n\"}");
	check("# list\n---\n[\"\\uD83D\\ude00\\ud83d\\ude00\"]\n--- {\"\\ud83d\\ude00\": 1}\n",
	      "[\"" SMILE SMILE "\"] | {" SMILE ":1}");
	check("a: 1\n---\n{\"a\": \"\\\"\\\\\\ud83d\\ude00\"}", "{a:1} | {a:\"\"\\" SMILE "\"}");
	check("{\"a\": \"\\\\ud83d\\\\ude00\"}", "{a:\"\\ud83d\\ude00\"}");
	check("a: |\n  {\"x\": \"\\ud83d\\ude00\"}\n", "{a:\"{\"x\": \"\\ud83d\\ude00\"}\n\"}");
	check("{a: '\"\\ud83d\\ude00\"'}", "{a:\"\"\\ud83d\\ude00\"\"}");
	check("{\n\"a\": \"\\ud83d\"}",
	      "line 2: found invalid Unicode character escape code, while parsing a quoted scalar from line 2");
	check("{\n\"a\":\n\"\\ude00\\ud83d\"}",
	      "line 3: found invalid Unicode character escape code, while parsing a quoted scalar from line 3");
	check("[\"\\ud83d\\n\"]",
	      "line 1: found invalid Unicode character escape code, while parsing a quoted scalar from line 1");
	check_begins("[\"\\ud83d\\", 9, "line 1: ");
}

/* Wherever libyaml's buffer ends. */
static void test_surrogates_split(void **state)
{
	enum { LEAST = 16384 - 40, MOST = 16384 + 40 };
	static const char wanted[] = SMILE "\",\"\t\"]";
	static char text[MOST + 100];
	for (int n = LEAST; n < MOST; n++) {
		snprintf(text, sizeof(text), "[\"%*s\\ud83d\\ude00\",\"\\t\"]", n, "");
		char *have = parse(text, strlen(text));
		assert_true(strlen(have) > (size_t)n);
		assert_string_equal(have + strlen(have) - strlen(wanted), wanted);
		free(have);
	}
}

static void test_documents(void **state)
{
	check("", "");
	check("# only a comment\n", "");
	check("---\na: 1\n---\n---\nb: 2\n...\n", "{a:1} | null | {b:2}");
}

static void test_aliases(void **state)
{
	check("a: &x {p: 1}\nb: *x\n", "{a:{p:1},b:{p:1}}");
	check("base: &b {p: 1, q: 2}\nm:\n  <<: *b\n  q: 3\n", "{base:{p:1,q:2},m:{q:3,p:1}}");
	check("- &a {p: 1}\n- &b {p: 2, q: 2}\n- {<<: [*a, *b]}\n", "[{p:1},{p:2,q:2},{p:1,q:2}]");
	check("a: &a [*a]\n", "line 1: unknown anchor 'a' referenced");
	check("a: 1\n---\nb: *x\n", "{a:1} | line 3: unknown anchor 'x' referenced");
	check("<<: 1\n", "line 1: map merge requires map or sequence of maps as the value");
}

/* Nine levels of nine aliases would be 400 million nodes. */
static void test_bomb(void **state)
{
	struct buf text;
	buf_init(&text, 1 << 16);
	buf_adds(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 9; i++) {
		buf_addf(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 9; k++)
			buf_addf(&text, "%s*a%d", k ? "," : "", i - 1);
		buf_adds(&text, "]\n");
	}
	check_begins(text.data, text.len, "line 7: document too large");
	buf_done(&text);
}

static void test_depth(void **state)
{
	struct buf text;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 10000; i++)
		buf_addc(&text, '[');
	check_begins(text.data, text.len, "line 1: nested deeper than 64 levels");
	buf_clear(&text);
	buf_adds(&text, "- &a0 [x]\n");
	for (int i = 1; i < 100; i++)
		buf_addf(&text, "- &a%d [*a%d]\n", i, i - 1);
	check_begins(text.data, text.len, "line 63: nested deeper than 64 levels");
	buf_done(&text);
}

static void test_errors(void **state)
{
	check("a: 1\nb: 2\na: 3\n", "line 1: key \"a\" is given twice in the map that begins here");
	check("x:\n  k0: 0\n  k1: 0\n  k2: 0\n  k3: 0\n  k4: 0\n  k5: 0\n  k6: 0\n  k7: 0\n  k8: 0\n  k9: 0\n  ka: 0\n"
	      "  kb: 0\n  kc: 0\n  kd: 0\n  ke: 0\n  kf: 0\n  k3: 1\n",
	      "line 2: key \"k3\" is given twice in the map that begins here");
	check("a: 1\n  b: 2\n", "line 2: mapping values are not allowed in this context");
	check("a: [1\nb: 2\n", "line 2: did not find expected ',' or ']', while parsing a flow sequence from line 1");
	check("a: \"x\\0y\"\n", "line 1: a string may not contain NUL");
	check("? [a]\n: 1\n", "line 1: a map's key must be a string");
	check("? ~\n: 1\n", "line 1: a map's key must be a string");
	check("a: !!binary aGk=\n", "line 1: tag tag:yaml.org,2002:binary does not fit or is not known");
	check("a: !!int x\n", "line 1: tag tag:yaml.org,2002:int does not fit or is not known");
	check("a: 1\n\tb: 2\n",
	      "line 2: found a tab character that violates indentation, while scanning a plain scalar from line 1");
	check_begins("a: \x01\n", 5, "line 1: control characters are not allowed");
	check_begins("a: \xff\xfe\n", 6, "line 1: invalid");
	check_begins("a: 1\nb: 2\nc: \xff\nd: 3\n", 21, "line 3: invalid");
	check_begins("a: 1\nb: |\n x\n y\xc3\x28\n", 19, "line 4: invalid");
}

/* Beyond what the reader takes in at once. */
static void test_far_errors(void **state)
{
	struct buf text;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 9999; i++)
		buf_adds(&text, "- some text\n");
	buf_adds(&text, "- \xff\n");
	for (int i = 0; i < 3000; i++)
		buf_adds(&text, "- some text\n");
	check_begins(text.data, text.len, "line 10000: invalid");
	buf_done(&text);
}

static void test_byte_order_mark(void **state)
{
	check("\xef\xbb\xbf"
	      "a: 1\n",
	      "{a:1}");
	check("\xef\xbb\xbf"
	      "# c\n{\"a\": 1}",
	      "{a:1}");
	check("\xef\xbb\xbf", "");
	check_begins("\xef\xbb\xbf"
	             "a: 1\nb: [\n",
	             12, "line 3: did not find");
	check_begins("\xef\xbb", 2, "line 1: incomplete");
}

static void test_lines(void **state)
{
	static const char text[] = "# c\n---\na: 1\nb:\n  c:\n  - x\n  - y: 2\n";
	struct yaml *yaml = yaml_open_bytes(text, strlen(text));
	struct arena scratch;
	arena_init(&scratch);
	struct node *document;
	struct err err;
	unsigned line;
	assert_int_equal(yaml_next(yaml, &scratch, &document, &line, &err), 1);
	assert_int_equal(document->line, 3);
	const struct node *list = document->items[1]->items[0];
	assert_int_equal(list->items[0]->line, 6);
	assert_int_equal(list->items[1]->items[0]->line, 7);
	assert_int_equal(list->line, 5); /* its key's, though it begins below */
	arena_done(&scratch);
	yaml_close(yaml);
}

/* ---- the two readers ---- */

/* What is known to be read without libyaml: how manifests are written. */
static void test_plain(void **state)
{
	static const char *const known[] = {
	    "a: b\n",
	    "# c\n\n---\napiVersion: v1 \nkind: Service\nmetadata:\n  name: x-1\n  labels:\n    a.b/c: 'd e'\n---\nkind: x",
	    "a:\n- b: 1\n  c: [\"127.0.0.1\", x , 'y']\n  d: []\n- - e\n  - {}\n  # c\nf: http://h/#x\n",
	    "{a: 1}\n",
	    "\"a\":\n  - \"b\": \"c: [#]\"\n    'd': -1\n",
	};
	static const int documents[] = {1, 2, 1, -1, 1};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		struct arena scratch;
		struct yaml_tree tree = {.scratch = &scratch};
		struct yaml_plain plain;
		struct node *document;
		int n = 0, status;
		arena_init(&scratch);
		yaml_plain_open(&plain, known[i], strlen(known[i]));
		while ((status = yaml_plain_next(&plain, &tree, &document)) > 0)
			n++;
		if ((status ? -1 : n) != documents[i])
			fail_msg("%d documents in\n%s", status ? -1 : n, known[i]);
		yaml_tree_done(&tree);
		arena_done(&scratch);
	}
}

static uint64_t random_below(uint64_t *seed, uint64_t n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (*seed >> 33) % n;
}

/* Lines that go together more often than not, and then something small gone wrong. */
static void random_text(uint64_t *seed, struct buf *text)
{
	static const char *const parts[] = {
	    "a",  "b:", "c: ", "- ", "-",     "---",    "---\n", "...", "# x",   " #",  "\"q\"",  "'q'",  "\"", "'",    "''",
	    "{}", "[",  "]",   ",",  ":",     ": ",     "80",    "-1",  "1_0",   "0x1", "yes",    "null", "~",  ".",    "/a/b",
	    "*",  "&x", "?",   "? ", "!",     "|",      ">",     "<<: ", "%",    "\\",  "\t",     "$(x)", "-x", "+7",   "1.0",
	    "[]", "\n", "a b", "[x, y]", "on: ", "'k': ", "\"k\": ", "http://x:80/#y",
	};
	static const char *const lines[][2] = {
	    {"k", ": v"},  {"k", ":"},     {"k", ":"}, {"- k", ": v"},        {"- k", ":"},           {"- v", ""},
	    {"- - v", ""}, {"---\nk", ": v"}, {"# ", ""}, {"'k", "': \"v\""}, {"k", ": [a, 'b']"},
	};
	unsigned indent = 0;
	for (uint64_t n = 1 + random_below(seed, 8); n; n--) {
		unsigned number = (unsigned)random_below(seed, 9);
		buf_addf(text, "%*s", (int)indent, "");
		const char *const *line = lines[random_below(seed, ARRAY_LEN(lines))];
		buf_addf(text, "%s%u%s", line[0], number, line[1]);
		buf_adds(text, random_below(seed, 20) ? "\n" : "");
		unsigned indents[] = {indent, indent, indent + 2, indent - indent % 4, indent / 2, 0};
		indent = indents[random_below(seed, ARRAY_LEN(indents))];
	}
	for (uint64_t n = random_below(seed, 3); n; n--) {
		struct buf changed;
		size_t at = random_below(seed, text->len + 1), left = text->len - at;
		size_t gone = random_below(seed, 4) ? 0 : random_below(seed, left + 1);
		buf_init(&changed, 1 << 16);
		buf_add(&changed, text->data, at);
		buf_adds(&changed, random_below(seed, 5) ? parts[random_below(seed, ARRAY_LEN(parts))] : "  ");
		buf_add(&changed, text->data + at + gone, left - gone);
		buf_done(text);
		*text = changed;
	}
}

/* A byte order mark means nothing, and only libyaml knows it. */
static void test_same(void **state)
{
	const char *given = getenv("HATCHWAY_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003u;
	print_message("HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
	for (int i = 0; i < 100000; i++) {
		struct buf text, marked;
		buf_init(&text, 1 << 16);
		buf_init(&marked, 1 << 16);
		buf_adds(&text, "");
		random_text(&seed, &text);
		buf_adds(&marked, "\xef\xbb\xbf");
		buf_add(&marked, text.data, text.len);
		char *have = parse_lines(text.data, text.len), *wanted = parse_lines(marked.data, marked.len);
		if (strcmp(have, wanted) != 0)
			fail_msg("%s\nwanted %s\nhave   %s", text.data, wanted, have);
		free(have);
		free(wanted);
		buf_done(&text);
		buf_done(&marked);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scalars), cmocka_unit_test(test_documents),
	    cmocka_unit_test(test_surrogates), cmocka_unit_test(test_surrogates_split),  cmocka_unit_test(test_aliases),
	    cmocka_unit_test(test_bomb),    cmocka_unit_test(test_depth),      cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_lines),   cmocka_unit_test(test_far_errors), cmocka_unit_test(test_byte_order_mark),
	    cmocka_unit_test(test_plain),   cmocka_unit_test(test_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
