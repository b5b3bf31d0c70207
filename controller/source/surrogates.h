/* JSON writes what is beyond U+FFFF as two escapes, "\ud83d\ude00"; YAML knows only "\U0001F600", and libyaml refuses the
 * two. On the way to it they become one. Only inside the strings of a document that is JSON from its first { or [ on:
 * elsewhere the same characters may be text that means itself. What is no pair stays, and libyaml names its line. */
#ifndef HATCHWAY_SOURCE_SURROGATES_H
#define HATCHWAY_SOURCE_SURROGATES_H

#include <stddef.h>

#define SURROGATES_HELD 12

/* Zeroed: at the beginning of a text. */
struct surrogates {
	enum { TEXT_BEGIN, TEXT_COMMENT, TEXT_YAML, TEXT_JSON, TEXT_STRING } where;
	unsigned depth;               /* of open { and [ */
	unsigned dashes;              /* a line's first characters so far; 4: other ones came */
	char held[SURROGATES_HELD];   /* what may become a pair */
	size_t n_held;
};

/* The n bytes at `in` to `out`, which may overlap if out + SURROGATES_HELD <= in; returns how many came. */
size_t surrogates_pass(struct surrogates *surrogates, const char *in, size_t n, char *out);
/* After the last: what is held still. */
size_t surrogates_end(struct surrogates *surrogates, char out[static SURROGATES_HELD]);

#endif
