/* The help of the built program: every command has a page with examples, every flag is in the overview. */
#include "controller/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <cmocka.h>

#define TEXT 65536

/* What `hatchway ARGS` prints; it must end with `code`. */
static const char *said(const char *args, int code)
{
	static char text[TEXT];
	char command[4096];
	const char *binary = getenv("HATCHWAY_BINARY");
	assert_non_null(binary);
	snprintf(command, sizeof(command), "'%s' %s 2>&1", binary, args);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	int status = pclose(f);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
	return text;
}

static void every_command_has_a_page(void **state)
{
	static const char *const commands[] = {"run", "init", "check", "explain", "status", "dump", "counters"};
	char args[64], usage[64];
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		snprintf(args, sizeof(args), "%s --help", commands[i]);
		snprintf(usage, sizeof(usage), "usage: hatchway %s ", commands[i]);
		const char *text = said(args, 0);
		assert_int_equal(strncmp(text, usage, strlen(usage)), 0);
		assert_non_null(strstr(text, "\nexample"));
		assert_non_null(strstr(text, "  --state-dir DIR "));
		snprintf(args, sizeof(args), "help %s", commands[i]);
		assert_int_equal(strncmp(said(args, 0), usage, strlen(usage)), 0);
		snprintf(usage, sizeof(usage), "\n  %s ", commands[i]);
		assert_non_null(strstr(said("--help", 0), usage));
	}
	assert_non_null(strstr(said("nonsense --help", 2), "no command \"nonsense\""));
	assert_non_null(strstr(said("help nonsense", 2), "no command \"nonsense\""));
}

static void every_flag_is_told(void **state)
{
	char flag[64];
	const char *name, *variable, *text = said("--help", 0);
	for (size_t i = 0; (name = options_flag(i, &variable)); i++) {
		snprintf(flag, sizeof(flag), "--%s", name);
		if (strcmp(name, "help") != 0 && !strstr(text, flag))
			fail_msg("%s is not in the help", flag);
		if (variable && !strstr(text, variable))
			fail_msg("%s is not in the help", variable);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_command_has_a_page), cmocka_unit_test(every_flag_is_told)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
