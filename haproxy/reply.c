/* Owns the list of answers we know. An answer we do not know is never taken for success. */
#include "haproxy/reply.h"

static const struct known {
	enum step_op op;
	int severity;
	const char *text;
	enum reply meaning;
} known[] = {
#define REPLY(step, severity, text, meaning) {STEP_##step, severity, text, REPLY_##meaning},
#include "haproxy/replies.def"
#undef REPLY
};

/* Commands that answer from HAProxy's buffer of messages: what other commands left there comes first, and when it is full
 * the command's own word is lost. They answer "[6]" only to say yes; no is "[3]", and "Unknown command" is no notice. */
static bool is_notice(const char *line)
{
	return (!strncmp(line, "Server ", 7) && strstr(line, " is ")) || !strncmp(line, "backend '", 9);
}

enum reply reply_parse(enum step_op op, const char *answer, const char **ret_text)
{
	int severity = 0;
	const char *text = answer, *last;

	if (answer[0] == '[' && answer[1] >= '0' && answer[1] <= '7' && !strncmp(answer + 2, "]: ", 3)) {
		severity = answer[1] - '0';
		text = answer + 5;
	}
	*ret_text = text;
	/* Notices that other things left behind ("Server x is going DOWN…") come before the command's own word. */
	last = strrchr(text, '\n');
	last = last ? last + 1 : text;
	/* The worker is on its way out. */
	if (severity == 3 && !strcmp(last, "Proxy is disabled."))
		return REPLY_SURPRISE;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (known[i].op != op || known[i].severity != severity)
			continue;
		if (severity == 6 && last != text && is_notice(text))
			return REPLY_OK;
		if (severity || *known[i].text ? !strncmp(last, known[i].text, strlen(known[i].text)) : !*text)
			return known[i].meaning;
	}
	/* Text without severity is from few commands only, and silence must be known. */
	return severity == 3 ? REPLY_REFUSED : REPLY_DOUBT;
}
