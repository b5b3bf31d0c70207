/* Owns where in the text it is, a character at a time, and what is held back of an escape. */
#include "controller/source/surrogates.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The four digits at `at`. */
static unsigned long unit(const char *at)
{
	char digits[5] = {at[0], at[1], at[2], at[3], 0};
	return strtoul(digits, NULL, 16);
}

/* May what is held, c the last of it, become a pair? */
static bool goes_on(const struct surrogates *s, char c)
{
	switch (s->n_held) {
	case 1:
	case 7:
		return c == '\\';
	case 2:
	case 8:
		return c == 'u';
	case 6:
		return isxdigit((unsigned char)c) && unit(s->held + 2) >> 10 == 0xd800 >> 10;
	case 12:
		return isxdigit((unsigned char)c) && unit(s->held + 8) >> 10 == 0xdc00 >> 10;
	default:
		return isxdigit((unsigned char)c);
	}
}

static char *flush(struct surrogates *s, size_t n, char *out)
{
	memcpy(out, s->held, n);
	s->n_held = 0;
	return out + n;
}

static char *one_escape(struct surrogates *s, char *out)
{
	char text[11];
	unsigned long code = 0x10000 + ((unit(s->held + 2) - 0xd800) << 10) + (unit(s->held + 8) - 0xdc00);
	snprintf(text, sizeof(text), "\\U%08lX", code);
	memcpy(out, text, 10);
	s->n_held = 0;
	return out + 10;
}

/* A line that begins with --- begins a document. */
static void mark_line(struct surrogates *s, char c)
{
	if (c == '\n')
		s->dashes = 0;
	else if (s->dashes < 3)
		s->dashes = c == '-' ? s->dashes + 1 : 4;
	if (s->dashes == 3) {
		s->where = TEXT_BEGIN;
		s->dashes = 4;
	}
}

static void step(struct surrogates *s, char c)
{
	const bool marker = c == '-' && s->dashes < 4;
	mark_line(s, c);
	switch (s->where) {
	case TEXT_BEGIN:
		if (c == '{' || c == '[') {
			s->where = TEXT_JSON;
			s->depth = 1;
		} else if (c == '#') {
			s->where = TEXT_COMMENT;
		} else if (!marker && !isspace((unsigned char)c)) {
			s->where = TEXT_YAML;
		}
		break;
	case TEXT_COMMENT:
		if (c == '\n')
			s->where = TEXT_BEGIN;
		break;
	case TEXT_JSON:
		s->depth += c == '{' || c == '[';
		s->depth -= c == '}' || c == ']';
		if (c == '"')
			s->where = TEXT_STRING;
		else if (!s->depth || c == '\'' || c == '#') /* its end, or no JSON */
			s->where = TEXT_YAML;
		break;
	case TEXT_STRING:
		if (c == '"')
			s->where = TEXT_JSON;
		break;
	case TEXT_YAML:
		break;
	}
}

/* What stands behind a lone \ means itself, also a quote. */
static char *take(struct surrogates *s, char c, char *out)
{
	if (s->n_held || (s->where == TEXT_STRING && c == '\\')) {
		s->held[s->n_held++] = c;
		s->dashes = 4;
		if (goes_on(s, c))
			return s->n_held == SURROGATES_HELD ? one_escape(s, out) : out;
		const bool escaped = s->n_held == 2 || s->n_held == 8, digits = isxdigit((unsigned char)c);
		if (escaped || digits)
			return flush(s, s->n_held, out);
		out = flush(s, s->n_held - 1, out);
		return take(s, c, out); /* NOLINT(misc-no-recursion): nothing is held any more */
	}
	step(s, c);
	*out++ = c;
	return out;
}

size_t surrogates_pass(struct surrogates *surrogates, const char *in, size_t n, char *out)
{
	char *at = out;
	for (size_t i = 0; i < n; i++)
		at = take(surrogates, in[i], at);
	return (size_t)(at - out);
}

size_t surrogates_end(struct surrogates *surrogates, char out[static SURROGATES_HELD])
{
	return (size_t)(flush(surrogates, surrogates->n_held, out) - out);
}
