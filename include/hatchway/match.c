/* The meaning of a table, plainly: this is the definition that HAProxy's answers are held against and that `hatchway
 * explain` prints. Slow on purpose; compiles its regular expressions each time. */
#include "hatchway/table.h"

#include <ctype.h>
#include <pcre2.h>

#define HOST_LIMIT 1024
#define MAX_FALLS 128 /* a name has fewer labels: more is a table that goes in circles */
#define VALUE_LIMIT ((size_t)1 << 20)

/* Lower case, without port and one trailing dot; false: too long to be a host. "[::1]:80" is "[::1]". */
static bool normalize_host(const char *host, char *ret, size_t size)
{
	const char *end = *host == '[' ? strchrnul(host, ']') : strchrnul(host, ':');
	if (*host == '[' && *end)
		end++;
	size_t n = (size_t)(end - host);
	if (n && host[n - 1] == '.')
		n--;
	if (n >= size)
		return false;
	for (size_t i = 0; i < n; i++)
		ret[i] = (char)tolower((unsigned char)host[i]);
	ret[n] = 0;
	return true;
}

const struct table_host *table_match_host(const struct table *table, const char *listener, const char *host)
{
	char name[HOST_LIMIT], pattern[HOST_LIMIT + 2];
	const struct table_host *found;
	if (!normalize_host(host, name, sizeof(name)))
		return table_host(table, listener, "");
	if (*name && (found = table_host(table, listener, name)))
		return found;
	for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
		snprintf(pattern, sizeof(pattern), "*%s", dot);
		if ((found = table_host(table, listener, pattern)))
			return found;
	}
	return table_host(table, listener, "");
}

static bool regex_matches(const char *regex, const char *value)
{
	int error;
	size_t offset;
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED,
	                                 &error, &offset, NULL);
	if (!code)
		return false;
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	BUG_ON(!data);
	int n = pcre2_match(code, (PCRE2_SPTR)value, strlen(value), 0, 0, data, NULL);
	pcre2_match_data_free(data);
	pcre2_code_free(code);
	return n >= 0;
}

static bool path_matches(const struct table_match *match, const char *path)
{
	size_t n = strlen(match->path);
	if (match->path_type == TABLE_EXACT)
		return !strcmp(path, match->path);
	if (match->path_type == TABLE_REGEX)
		return regex_matches(match->path, path);
	if (n && match->path[n - 1] == '/')
		n--;
	return !strncmp(path, match->path, n) && (path[n] == 0 || path[n] == '/') &&
	       (!match->path_regex || regex_matches(match->path_regex, path));
}

static bool value_matches(const struct table_test *test, const char *value)
{
	return test->regex ? regex_matches(test->value, value) : !strcmp(test->value, value);
}

static bool header_matches(const struct table_test *test, const struct table_request *request)
{
	struct buf value;
	bool there = false;
	buf_init(&value, VALUE_LIMIT);
	for (size_t i = 0; i < request->n_headers; i++) {
		if (strcasecmp(request->headers[i].name, test->name))
			continue;
		if (there)
			buf_addc(&value, ',');
		buf_adds(&value, request->headers[i].value);
		there = true;
	}
	bool ok = there && !buf_failed(&value) && value_matches(test, value.data);
	buf_done(&value);
	return ok;
}

/* plus: what a "+" stands for. */
static void percent_decode(const char *from, size_t n, char plus, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		unsigned int byte;
		if (from[i] == '%' && i + 2 < n && isxdigit((unsigned char)from[i + 1]) &&
		    isxdigit((unsigned char)from[i + 2]) && sscanf((char[]){from[i + 1], from[i + 2], 0}, "%x", &byte) == 1) {
			buf_addc(out, (char)byte);
			i += 2;
		} else {
			buf_addc(out, from[i] == '+' ? plus : from[i]);
		}
	}
}

static bool is_whole_text(const struct buf *buf)
{
	return !buf_failed(buf) && strlen(buf->data) == buf->len;
}

/* Gateway API, HTTPQueryParamMatch.name: "an exact string match" in the sense of RFC 7230 section 2.7.3, to which an
 * octet and its percent-encoding are the same. No name has a blank, so "+" is not one. */
static bool is_named(const char *name, const char *from, size_t n)
{
	struct buf decoded;
	buf_init(&decoded, VALUE_LIMIT);
	percent_decode(from, n, '+', &decoded);
	bool same = is_whole_text(&decoded) && !strcmp(decoded.data, name);
	buf_done(&decoded);
	return same;
}

static bool query_matches(const struct table_test *test, const char *query)
{
	for (const char *p = query; *p;) {
		const char *end = strchrnul(p, '&');
		const char *equals = memchr(p, '=', (size_t)(end - p));
		if (is_named(test->name, p, (size_t)((equals ? equals : end) - p))) {
			struct buf value;
			buf_init(&value, VALUE_LIMIT);
			if (equals)
				percent_decode(equals + 1, (size_t)(end - equals - 1), ' ', &value);
			bool ok = is_whole_text(&value) && value_matches(test, value.data);
			buf_done(&value);
			return ok;
		}
		p = *end ? end + 1 : end;
	}
	return false;
}

/* NULL: it matches; else what does not hold. */
static const char *entry_fails(const struct table_match *match, const struct table_request *request, char *why,
                               size_t size)
{
	if (!path_matches(match, request->path))
		return "path";
	if (match->method && strcmp(match->method, request->method))
		return "method";
	for (size_t i = 0; i < match->n_headers; i++) {
		if (!header_matches(&match->headers[i], request)) {
			snprintf(why, size, "header %s", match->headers[i].name);
			return why;
		}
	}
	for (size_t i = 0; i < match->n_queries; i++) {
		if (!query_matches(&match->queries[i], request->query)) {
			snprintf(why, size, "query parameter %s", match->queries[i].name);
			return why;
		}
	}
	return NULL;
}

const struct table_entry *table_match(const struct table *table, const struct table_request *request,
                                      const struct table_walk *walk)
{
	const struct table_host *host = table_match_host(table, request->listener, request->host);
	char text[300];
	for (int depth = 0; host && depth < MAX_FALLS; depth++) {
		if (walk && walk->host)
			walk->host(walk->ctx, host);
		for (size_t i = 0; i < host->n_entries; i++) {
			const char *why = entry_fails(&host->entries[i].match, request, text, sizeof(text));
			if (walk && walk->entry)
				walk->entry(walk->ctx, &host->entries[i], why);
			if (!why)
				return &host->entries[i];
		}
		host = host->falls_to ? table_host(table, host->listener, host->falls_to) : NULL;
	}
	return NULL;
}
