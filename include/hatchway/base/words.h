/* Lines of words, for every text we both write and read (dumps, golden files): a word stands bare where it is harmless,
 * else in double quotes with \" \\ \n \xHH. parse(dump(x)) = x for any bytes but NUL. */
#ifndef HATCHWAY_BASE_WORDS_H
#define HATCHWAY_BASE_WORDS_H

#include "hatchway/base/arena.h"
#include "hatchway/base/buf.h"

static inline bool word_is_bare(const char *s)
{
	if (!*s || *s == '#')
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s == 127 || *s == '"' || *s == '\\')
			return false;
	return true;
}

/* A blank in front, unless at the start of the line or after a tab. */
static inline void word_add(struct buf *b, const char *s)
{
	if (b->len && b->data[b->len - 1] != '\n' && b->data[b->len - 1] != '\t')
		buf_addc(b, ' ');
	if (word_is_bare(s)) {
		buf_adds(b, s);
		return;
	}
	buf_addc(b, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c == '\n')
			buf_adds(b, "\\n");
		else if (c < ' ' || c == 127)
			buf_addf(b, "\\x%02x", c);
		else
			buf_addc(b, (char)c);
	}
	buf_addc(b, '"');
}

static inline int word_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The line (up to "\n" or end) into words; returns how many, or -1: not well formed or more than max. Words live in the
 * arena. *ret_next: behind the line. A line whose first non-blank is "#" has no words. */
static inline int words_split(struct arena *a, const char *line, const char **words, int max, const char **ret_next)
{
	const char *end = strchrnul(line, '\n');
	int n = 0;
	*ret_next = *end ? end + 1 : end;
	for (const char *p = line;;) {
		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		if (p == end || (n == 0 && *p == '#'))
			return n;
		if (n == max)
			return -1;
		if (*p != '"') {
			const char *start = p;
			while (p < end && *p != ' ' && *p != '\t')
				p++;
			words[n++] = arena_strndup(a, start, (size_t)(p - start));
			continue;
		}
		char *out = arena_alloc(a, (size_t)(end - p));
		words[n++] = out;
		for (p++; p < end && *p != '"'; p++) {
			if (*p != '\\') {
				*out++ = *p;
			} else if (p + 1 < end && (p[1] == '"' || p[1] == '\\')) {
				*out++ = *++p;
			} else if (p + 1 < end && p[1] == 'n') {
				*out++ = '\n';
				p++;
			} else if (p + 3 < end && p[1] == 'x' && word_hex(p[2]) >= 0 && word_hex(p[3]) >= 0 &&
			           (word_hex(p[2]) || word_hex(p[3]))) {
				*out++ = (char)(word_hex(p[2]) * 16 + word_hex(p[3]));
				p += 3;
			} else {
				return -1;
			}
		}
		if (p == end)
			return -1;
		p++;
		if (p < end && *p != ' ' && *p != '\t')
			return -1;
	}
}

#endif
