#include "controller/status/status.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Words and numbers that a YAML reader would not take for text. */
static bool looks_typed(const char *s)
{
	static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(s, words[i]) == 0)
			return true;
	return isdigit((unsigned char)*s) || *s == '.';
}

static bool is_plain(const char *s)
{
	size_t n = strlen(s);
	if (!n || !isalnum((unsigned char)*s) || looks_typed(s) || s[n - 1] == ' ')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(" ._-/;,()=+[]", *s))
			return false;
	return true;
}

void yaml_text(struct buf *out, const char *text)
{
	if (is_plain(text)) {
		buf_adds(out, text);
		return;
	}
	buf_addc(out, '"');
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;
		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 32 || c == 127)
			buf_addf(out, "\\x%02x", c);
		else
			buf_addc(out, (char)c);
	}
	buf_addc(out, '"');
}
