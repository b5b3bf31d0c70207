/* For command_test.c and command_fuzz.c: what HAProxy's command line would make of a text, written from its manual
 * (management.txt 9.3: ";" and newline end a command, "\" takes the next character as it is, blanks separate words, a
 * last word "<<X" begins a payload that ends at the line X) and not from command.c. */
#ifndef HATCHWAY_HAPROXY_COMMAND_CHECK_H
#define HATCHWAY_HAPROXY_COMMAND_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define CHECK_WORDS 64

struct check_command {
	char bytes[40000];
	size_t n_bytes;
	const char *words[CHECK_WORDS];
	int n_words;
	const char *payload; /* inside the text; NULL: none */
	size_t n_payload;
};

/* The next command of *text; false at the end of it, or when it cannot be one (ok false). */
static inline bool check_next(const char **text, struct check_command *ret, bool *ok)
{
	const char *p = *text;
	bool inside = false;

	ret->n_words = 0;
	ret->n_bytes = 0;
	ret->payload = NULL;
	*ok = true;
	if (!*p)
		return false;
	while (*p && *p != ';' && *p != '\n') {
		if (*p == ' ' || *p == '\t') {
			if (inside)
				ret->bytes[ret->n_bytes++] = 0;
			inside = false;
			p++;
			continue;
		}
		if (!inside) {
			if (ret->n_words == CHECK_WORDS)
				return *ok = false;
			ret->words[ret->n_words++] = ret->bytes + ret->n_bytes;
			inside = true;
		}
		if (*p == '\\' && p[1])
			p++;
		if (*p == '\n' || ret->n_bytes + 2 > sizeof(ret->bytes))
			return *ok = false;
		ret->bytes[ret->n_bytes++] = *p++;
	}
	if (inside)
		ret->bytes[ret->n_bytes++] = 0;
	const char *last = ret->n_words ? ret->words[ret->n_words - 1] : "";
	if (*p == '\n' && !strncmp(last, "<<", 2)) {
		const char *mark = last + 2;
		size_t n = strlen(mark);
		ret->payload = ++p;
		while (*p) {
			const char *end = strchr(p, '\n');
			if (!end)
				return *ok = false;
			if ((size_t)(end - p) == n && !memcmp(p, mark, n)) {
				ret->n_payload = (size_t)(p - ret->payload);
				ret->n_words--;
				*text = end + 1;
				return true;
			}
			p = end + 1;
		}
		return *ok = false;
	}
	*text = *p ? p + 1 : p;
	return true;
}

#endif
