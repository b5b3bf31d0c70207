/* Compiles with the engine HAProxy has, alone and as it will be wrapped: a pattern must not be able to close the group it
 * is put in, nor to switch on options, quoting or verbs that reach beyond its end. */
#include "controller/graph/pattern.h"

#include <errno.h>
#include <pcre2.h>

static int compile(const char *text, struct err *reterr)
{
	int code;
	PCRE2_SIZE at;
	pcre2_code *re = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
	if (re) {
		pcre2_code_free(re);
		return 0;
	}
	char why[160] = "";
	pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
	return err_set(reterr, -EINVAL, "%s (at character %zu)", why, (size_t)at + 1);
}

static int forbidden(const char *pattern, struct err *reterr)
{
	for (const char *p = pattern; *p; p++) {
		if (p[0] == '(' && p[1] == '*' && p[2] && !(p[2] >= 'a' && p[2] <= 'z'))
			return err_set(reterr, -EINVAL, "verbs such as (*ACCEPT) are not allowed");
		if (p[0] != '\\' || !p[1])
			continue;
		if (p[1] == 'Q' || p[1] == 'E')
			return err_set(reterr, -EINVAL, "quoting by \\Q…\\E is not allowed");
		p++;
	}
	return 0;
}

int pattern_check(const char *pattern, struct err *reterr)
{
	int r = forbidden(pattern, reterr);
	if (!r)
		r = compile(pattern, reterr);
	if (r)
		return r;
	size_t n = strlen(pattern) + sizeof("^(?:)$");
	char *wrapped = xmalloc(n);
	snprintf(wrapped, n, "^(?:%s)$", pattern);
	r = compile(wrapped, NULL);
	free(wrapped);
	return r ? err_set(reterr, -EINVAL, "an option such as (?x) or a comment reaches beyond the pattern's end") : 0;
}
