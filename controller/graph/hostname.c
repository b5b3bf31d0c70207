#include "controller/graph/hostname.h"

#include <string.h>

static bool is_wildcard(const char *s)
{
	return s[0] == '*' && s[1] == '.';
}

bool hostname_covers(const char *wide, const char *narrow)
{
	if (!*wide)
		return true;
	if (!is_wildcard(wide))
		return strcmp(wide, narrow) == 0;
	size_t n_suffix = strlen(wide + 1), n = strlen(narrow);
	if (n < n_suffix || strcmp(narrow + n - n_suffix, wide + 1) != 0)
		return false;
	/* ".a.b" is the end of narrow; something must stand in front: a label, or the "*" of a wildcard. */
	return n > n_suffix;
}

const char *hostname_intersect(const char *a, const char *b)
{
	return hostname_covers(a, b) ? b : hostname_covers(b, a) ? a : NULL;
}

const char *hostname_widen(const char *hostname, char *ret)
{
	if (!*hostname)
		return NULL;
	const char *dot = strchr(is_wildcard(hostname) ? hostname + 2 : hostname, '.');
	if (!dot) {
		ret[0] = 0;
		return ret;
	}
	size_t n = strlen(dot);
	memmove(ret + 1, dot, n + 1);
	ret[0] = '*';
	return ret;
}
