/* Merging on texts: what is ours is replaced, what is not stays as it is. */
#include "controller/source/status_merge.h"

#include "controller/source/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct arena scratch;

static int setup(void **state)
{
	arena_init(&scratch);
	return 0;
}

static int teardown(void **state)
{
	arena_done(&scratch);
	return 0;
}

static struct node *parse(const char *text)
{
	struct node *node = NULL;
	struct err err;
	if (!text)
		return NULL;
	if (json_node(text, strlen(text), &scratch, &node, &err))
		fail_msg("%s in %s", err.text, text);
	return node;
}

static void merged(enum object_kind kind, const char *wanted, const char *old, const char *expected)
{
	struct buf out;
	buf_init(&out, 65536);
	status_merge(kind, parse(wanted), parse(old), "ours", "7", &scratch, &out);
	assert_string_equal(out.data, expected);
	/* What was merged is seen as what was wanted. */
	const struct node *result = parse(out.data);
	assert_true(status_see(kind, parse(wanted), "ours").digest ==
	            status_see(kind, result->items[1], "ours").digest);
	buf_done(&out);
}

#define HEAD "{\"metadata\":{\"resourceVersion\":\"7\"},\"status\":"
#define CONDITION(type, status, time) "{\"type\":\"" type "\",\"status\":\"" status "\",\"lastTransitionTime\":\"" time "\"}"
#define PARENT(controller, name, conditions)                                                                           \
	"{\"controllerName\":\"" controller "\",\"parentRef\":{\"name\":\"" name "\"},\"conditions\":[" conditions "]}"

static void others_parents_survive(void **state)
{
	/* Also what no version of the API has, and what is not even an object. */
	static const char other[] = "{\"controllerName\":\"other\",\"new\":[1,true,null,\"\\u0001\\\"\"],\"conditions\":[" CONDITION("Z", "True", "old") "]}";
	char old[1024], expected[1024];
	snprintf(old, sizeof(old), "{\"parents\":[%s,%s,%s]}", PARENT("ours", "g", ""), other, "\"what\"");
	snprintf(expected, sizeof(expected), HEAD "{\"parents\":[%s,\"what\",%s]}}", other, PARENT("ours", "h", ""));
	merged(KIND_HTTPROUTE, "{\"parents\":[" PARENT("ours", "h", "") "]}", old, expected);
	snprintf(expected, sizeof(expected), HEAD "{\"parents\":[%s,\"what\"]}}", other);
	merged(KIND_HTTPROUTE, NULL, old, expected);
	merged(KIND_HTTPROUTE, NULL, NULL, HEAD "{\"parents\":[]}}");
}

#define ANCESTOR(controller, name, conditions)                                                                         \
	"{\"ancestorRef\":{\"name\":\"" name "\"},\"conditions\":[" conditions "],\"controllerName\":\"" controller "\"}"

/* Of a policy: the same, and no more than the CRD allows, others' first. */
static void others_ancestors_survive(void **state)
{
	static const char other[] = ANCESTOR("other", "x", CONDITION("Z", "True", "old"));
	struct buf old, expected;
	buf_init(&old, 65536);
	buf_init(&expected, 65536);
	buf_addf(&old, "{\"ancestors\":[%s", ANCESTOR("ours", "g", CONDITION("A", "True", "old")));
	buf_adds(&expected, HEAD "{\"ancestors\":[");
	for (int i = 0; i < 15; i++) {
		buf_addf(&old, ",%s", other);
		buf_addf(&expected, "%s,", other);
	}
	buf_adds(&old, "]}");
	buf_adds(&expected, ANCESTOR("ours", "g", CONDITION("A", "True", "old")) "]}}");
	struct buf out;
	buf_init(&out, 65536);
	status_merge(KIND_BACKENDTLSPOLICY,
	             parse("{\"ancestors\":[" ANCESTOR("ours", "g", CONDITION("A", "True", "new")) "," ANCESTOR("ours", "h", "") "]}"),
	             parse(old.data), "ours", "7", &scratch, &out);
	assert_string_equal(out.data, expected.data);
	buf_done(&out);
	buf_done(&old);
	buf_done(&expected);
}

static void times_move_only_on_transition(void **state)
{
	merged(KIND_HTTPROUTE,
	       "{\"parents\":[" PARENT("ours", "g", CONDITION("A", "True", "new") "," CONDITION("B", "True", "new")) ","
	       PARENT("ours", "h", CONDITION("A", "True", "new")) "]}",
	       "{\"parents\":[" PARENT("other", "g", CONDITION("A", "True", "others")) ","
	       PARENT("ours", "g", CONDITION("B", "False", "old") "," CONDITION("A", "True", "old")) "]}",
	       HEAD "{\"parents\":[" PARENT("other", "g", CONDITION("A", "True", "others")) ","
	       PARENT("ours", "g", CONDITION("A", "True", "old") "," CONDITION("B", "True", "new")) ","
	       PARENT("ours", "h", CONDITION("A", "True", "new")) "]}}");
	merged(KIND_GATEWAY,
	       "{\"conditions\":[" CONDITION("A", "True", "new") "],\"listeners\":[{\"name\":\"x\",\"conditions\":["
	       CONDITION("A", "False", "new") "]},{\"name\":\"y\",\"conditions\":[" CONDITION("A", "False", "new") "]}]}",
	       "{\"conditions\":[" CONDITION("A", "Unknown", "old") "],\"listeners\":[{\"name\":\"y\",\"conditions\":["
	       CONDITION("A", "False", "old") "]}]}",
	       HEAD "{\"conditions\":[" CONDITION("A", "True", "new") "],\"listeners\":[{\"name\":\"x\",\"conditions\":["
	       CONDITION("A", "False", "new") "]},{\"name\":\"y\",\"conditions\":[" CONDITION("A", "False", "old") "]}]}}");
}

static void a_gateways_other_fields_and_conditions_survive(void **state)
{
	merged(KIND_GATEWAY, "{\"conditions\":[" CONDITION("A", "True", "new") "],\"listeners\":[]}",
	       "{\"addresses\":[{\"value\":\"1.2.3.4\"}],\"future\":1,\"conditions\":[" CONDITION("policy.example/X", "True", "t") ","
	       CONDITION("A", "True", "old") "," CONDITION("Gone", "True", "old") "]}",
	       HEAD "{\"addresses\":null,\"conditions\":[" CONDITION("policy.example/X", "True", "t") ","
	       CONDITION("A", "True", "old") "],\"listeners\":[]}}");
}

static uint64_t digest(enum object_kind kind, const char *text)
{
	return status_see(kind, parse(text), "ours").digest;
}

static void digests_tell_what_is_ours_apart(void **state)
{
	assert_true(!digest(KIND_HTTPROUTE, NULL));
	assert_true(!digest(KIND_HTTPROUTE, "{\"parents\":\"?\"}"));
	assert_true(!digest(KIND_HTTPROUTE, "{\"parents\":[" PARENT("other", "g", "") "]}"));
	assert_true(status_see(KIND_HTTPROUTE, parse("{\"parents\":[" PARENT("other", "g", "") "]}"), "ours").others);
	uint64_t one = digest(KIND_HTTPROUTE, "{\"parents\":[" PARENT("ours", "g", CONDITION("A", "True", "new")) "]}");
	assert_true(one && one == digest(KIND_HTTPROUTE, "{\"parents\":[" PARENT("other", "g", "") ","
	                                                 PARENT("ours", "g", CONDITION("A", "True", "old")) "]}"));
	assert_true(one != digest(KIND_HTTPROUTE, "{\"parents\":[" PARENT("ours", "g", CONDITION("A", "False", "new")) "]}"));
	assert_true(one != digest(KIND_HTTPROUTE, "{\"parents\":[" PARENT("ours", "h", CONDITION("A", "True", "new")) "]}"));
	/* Fields in any order, and one that is not ours. */
	assert_true(digest(KIND_GATEWAY, "{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":1}],\"conditions\":[]}") ==
	            digest(KIND_GATEWAY, "{\"conditions\":[],\"x\":1,\"listeners\":[{\"attachedRoutes\":1,\"name\":\"x\"}]}"));
	assert_true(digest(KIND_GATEWAY, "{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":1}]}") !=
	            digest(KIND_GATEWAY, "{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":2}]}"));
	assert_true(status_digest_uncounted(KIND_GATEWAY, parse("{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":1}]}")) ==
	            status_digest_uncounted(KIND_GATEWAY, parse("{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":2}]}")));
	assert_true(digest(KIND_GATEWAY, "{\"attachedListenerSets\":1}") != digest(KIND_GATEWAY, "{\"attachedListenerSets\":2}"));
	assert_true(object_kind_has_status(KIND_GATEWAY) && !object_kind_has_status(KIND_SERVICE) && !digest(KIND_SERVICE, "{\"conditions\":[]}"));
}

static void a_listener_sets_status_is_a_gateways_without_addresses(void **state)
{
	static const char one[] = "{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":1}]}", two[] = "{\"listeners\":[{\"name\":\"x\",\"attachedRoutes\":2}]}";
	assert_true(status_has_listeners(KIND_GATEWAY) && status_has_listeners(KIND_LISTENERSET) && !status_has_listeners(KIND_HTTPROUTE));
	assert_true(digest(KIND_LISTENERSET, one) && digest(KIND_LISTENERSET, one) != digest(KIND_LISTENERSET, two));
	assert_true(status_digest_uncounted(KIND_LISTENERSET, parse(one)) == status_digest_uncounted(KIND_LISTENERSET, parse(two)));
	assert_true(!digest(KIND_LISTENERSET, "{\"addresses\":[{\"value\":\"1.2.3.4\"}]}"));
	merged(KIND_LISTENERSET,
	       "{\"conditions\":[" CONDITION("Accepted", "True", "new") "],\"listeners\":[{\"name\":\"x\",\"conditions\":["
	       CONDITION("A", "True", "new") "]}]}",
	       "{\"conditions\":[" CONDITION("Accepted", "Unknown", "old") "," CONDITION("a.b/X", "True", "t") "],\"listeners\":[{\"name\":\"x\",\"conditions\":["
	       CONDITION("A", "True", "old") "]}]}",
	       HEAD "{\"conditions\":[" CONDITION("a.b/X", "True", "t") "," CONDITION("Accepted", "True", "new") "],\"listeners\":[{\"name\":\"x\",\"conditions\":["
	       CONDITION("A", "True", "old") "]}]}}");
}

#define UNKNOWN "{\"conditions\":[" CONDITION("Accepted", "Unknown", "old") "," CONDITION("Programmed", "Unknown", "old") "]}"
#define BY(manager, type)                                                                                              \
	"{\"metadata\":{\"managedFields\":[{\"manager\":\"" manager "\",\"fieldsV1\":{\"f:status\":{\"f:conditions\":"                   \
	"{\"k:{\\\"type\\\":\\\"" type "\\\"}\":{\"f:message\":{}}}}}}]},\"status\":{\"conditions\":[" CONDITION("Accepted", "True", "t") "]}}"

static uint64_t object_digest(const char *text)
{
	return status_see_object(KIND_GATEWAY, parse(text), "ours").digest;
}

/* A Gateway whose class has another controller now is as one that is new, unless that one has judged it already. */
static void a_gateways_status_is_of_who_judged_it_last(void **state)
{
	assert_true(!digest(KIND_GATEWAY, UNKNOWN));
	assert_true(digest(KIND_GATEWAY, "{\"conditions\":[" CONDITION("Accepted", "True", "old") "]}"));
	assert_true(object_digest(BY("hatchway", "Accepted")));
	assert_true(object_digest(BY("other", "example.com/X")));
	assert_true(!object_digest(BY("other", "Accepted")));
	assert_true(object_digest("{\"metadata\":{\"managedFields\":[1,{\"manager\":2,\"fieldsV1\":{\"f:status\":[]}}]},"
	                          "\"status\":{\"conditions\":[" CONDITION("Accepted", "True", "t") "]}}"));
	assert_true(status_see(KIND_GATEWAY, parse("{\"conditions\":[" CONDITION("a.b/X", "True", "t") "]}"), "ours").others);
	merged(KIND_GATEWAY, NULL, "{\"addresses\":[],\"conditions\":[" CONDITION("Accepted", "True", "t") "],\"listeners\":[]}",
	       HEAD "{\"addresses\":null,\"conditions\":null,\"listeners\":null}}");
	merged(KIND_GATEWAY, NULL, "{\"conditions\":[" CONDITION("a.b/X", "True", "t") "," CONDITION("Accepted", "True", "t") "]}",
	       HEAD "{\"conditions\":[" CONDITION("a.b/X", "True", "t") "]}}");
}

static void note_turn(void *ctx, const char *type, const char *reason, const char *message)
{
	buf_addf(ctx, "%s %s %s;", type, reason, message);
}

#define FULL(type, status, reason, message)                                                                            \
	"{\"type\":\"" type "\",\"status\":\"" status "\",\"reason\":\"" reason "\",\"message\":\"" message "\"}"

static void turned(const char *wanted, const char *old, const char *expected)
{
	struct buf out;
	buf_init(&out, 4096);
	status_turned(parse(wanted), parse(old), note_turn, &out);
	assert_string_equal(out.data, expected);
	buf_done(&out);
}

static void only_what_turns_bad_is_told(void **state)
{
	static const char bad[] = "{\"conditions\":[" FULL("Accepted", "False", "No", "x") "," FULL("Conflicted", "True", "C", "y")
	                          "," FULL("Programmed", "True", "P", "z") "]}";
	turned(bad, NULL, "Accepted No x;Conflicted C y;");
	turned(bad, bad, "");
	turned(bad, "{\"conditions\":[" FULL("Accepted", "True", "Yes", "") "," FULL("Conflicted", "True", "C", "other") "]}",
	       "Accepted No x;Conflicted C y;");
	turned("{\"conditions\":[" FULL("Programmed", "False", "AddressNotAssigned", "") "],\"listeners\":[{\"name\":\"l\",\"conditions\":["
	       FULL("Programmed", "False", "Pending", "") "," FULL("Programmed", "False", "Refused", "r") "]}]}", NULL, "Programmed Refused r;");
	turned("{\"conditions\":[" FULL("Conflicted", "False", "N", "") "," FULL("Accepted", "True", "A", "") "]}", bad, "");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(others_parents_survive),
	    TEST(others_ancestors_survive),          TEST(times_move_only_on_transition),
	    TEST(a_gateways_other_fields_and_conditions_survive), TEST(digests_tell_what_is_ours_apart),
	    TEST(a_listener_sets_status_is_a_gateways_without_addresses),
	    TEST(a_gateways_status_is_of_who_judged_it_last),     TEST(only_what_turns_bad_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
