/* What is logged of conditions, and that it is never more than so much. */
#include "controller/condition_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static const struct core_condition bad = {"listener http", "Accepted", "PortUnavailable", "port 80 is taken", false, false, false},
				   good = {"", "Accepted", "Accepted", "The Gateway is valid", true, true, false},
				   gone = {"", "PartiallyInvalid", "UnsupportedValue", "", true, true, true};

/* What `work` wrote to standard error, in lines; the clock in front of each is cut off. */
static char *caught(void (*work)(void))
{
	char *text = NULL, *line = NULL;
	size_t size = 0, room = 0;
	FILE *file = tmpfile(), *out = open_memstream(&text, &size);
	assert_non_null(file);
	fflush(stderr);
	int kept = dup(2);
	dup2(fileno(file), 2);
	work();
	fflush(stderr);
	dup2(kept, 2);
	close(kept);
	rewind(file);
	while (getline(&line, &room, file) > 0)
		fputs(strchr(line, ' ') ? strchr(line, ' ') + 1 : line, out);
	free(line);
	fclose(file);
	fclose(out);
	return text;
}

static void tell(struct condition_log *log, const struct core_condition *condition)
{
	condition_log(log, &(struct core_status){KIND_GATEWAY, "s", "gw", "", condition, 1});
}

static void tell_three(void)
{
	struct condition_log log = {0};
	tell(&log, &bad);
	tell(&log, &good);
	tell(&log, &gone);
	condition_log_end(&log);
}

static void says_object_condition_reason_message(void **state)
{
	char *text = caught(tell_three);
	assert_string_equal(
		text,
		"warn  condition kind=Gateway namespace=s name=gw of=\"listener http\" type=Accepted status=False "
		"reason=PortUnavailable message=\"port 80 is taken\"\n"
		"info  condition good again kind=Gateway namespace=s name=gw of=\"\" type=Accepted status=True reason=Accepted "
		"message=\"The Gateway is valid\"\n"
		"info  condition gone kind=Gateway namespace=s name=gw type=PartiallyInvalid reason=UnsupportedValue\n");
	free(text);
}

static void tell_thousands(void)
{
	struct condition_log log = {0};
	for (size_t i = 0; i < 5000; i++)
		tell(&log, i % 2 ? &good : &bad);
	condition_log_end(&log);
	tell(&log, &bad);
	condition_log_end(&log);
}

static void counts_what_is_too_much(void **state)
{
	char *text = caught(tell_thousands);
	size_t lines = 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, CONDITION_LOG_MAX + 2);
	assert_non_null(strstr(text, "changed=4900 bad=2450\nwarn  condition kind=Gateway"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_object_condition_reason_message), cmocka_unit_test(counts_what_is_too_much)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
