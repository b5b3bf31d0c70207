/* Owns the text patterns of names, hosts, paths and durations as code. A regular expression engine would be shorter to
 * write and fifty times slower to run: 30,000 objects are checked at start, each with a dozen patterns. */
#include "controller/object/format.h"

#include <arpa/inet.h>
#include <string.h>
#include <time.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c);
}

static bool is_alnum(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(char c, const char *set)
{
	return c && strchr(set, c);
}

/* The end of the longest label at s, or NULL: what may follow a label is never part of one, so longest is right. */
static const char *skip_label(const char *s)
{
	const char *p = s;
	while (is_lower(*p) || *p == '-')
		p++;
	return p > s && is_lower(*s) && is_lower(p[-1]) ? p : NULL;
}

static const char *skip_domain(const char *s)
{
	const char *p = skip_label(s);
	while (p && *p == '.')
		p = skip_label(p + 1);
	return p;
}

static bool is_domain(const char *s)
{
	const char *end = skip_domain(s);
	return end && !*end;
}

static bool is_dashed_word(const char *s, bool (*inside)(char), bool (*first)(char))
{
	const char *p = s;
	while (inside(*p) || *p == '-')
		p++;
	return p > s && !*p && first(*s) && inside(p[-1]);
}

static bool is_small_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_letter(char c)
{
	return is_alnum(c) && !is_digit(c);
}

static bool matches_dns_label(const char *s)
{
	const char *end = skip_label(s);
	return end && !*end;
}

static bool matches_dns1035_label(const char *s)
{
	return is_dashed_word(s, is_lower, is_small_letter);
}

static bool matches_dns_subdomain(const char *s)
{
	return is_domain(s);
}

static bool matches_hostname(const char *s)
{
	return is_domain(strncmp(s, "*.", 2) == 0 ? s + 2 : s);
}

static bool matches_group(const char *s)
{
	return !*s || is_domain(s);
}

static bool matches_kind(const char *s)
{
	return is_dashed_word(s, is_alnum, is_letter);
}

static bool is_header_char(char c)
{
	return is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~");
}

static bool is_all(const char *s, bool (*is)(char))
{
	const char *p = s;
	while (is(*p))
		p++;
	return p > s && !*p;
}

static bool matches_header_name(const char *s)
{
	return is_all(s, is_header_char);
}

/* The first character past an identifier as C has it; NULL: there is none. */
static const char *skip_identifier(const char *s)
{
	if (!is_letter(*s) && *s != '_')
		return NULL;
	while (is_alnum(*s) || *s == '_')
		s++;
	return s;
}

static bool matches_grpc_service(const char *s)
{
	s = skip_identifier(s + (*s == '.'));
	while (s && *s == '.')
		s = skip_identifier(s + 1);
	return s && !*s;
}

static bool matches_grpc_method(const char *s)
{
	s = skip_identifier(s);
	return s && !*s;
}

/* The pattern's second half is not anchored at its start: any text may stand before the last letter of the domain. */
static bool matches_protocol(const char *s)
{
	if (is_dashed_word(s, is_alnum, is_alnum))
		return true;
	const char *slash = strrchr(s, '/');
	return slash && slash > s && is_lower(slash[-1]) && is_all(slash + 1, is_alnum);
}

static bool is_tail_char(char c)
{
	return is_alnum(c) || is_one_of(c, "/-._~%!$&'()*+,;=:");
}

static bool matches_address_type(const char *s)
{
	if (strncmp(s, "Hostname", 8) == 0 || strstr(s, "IPAddress") || strstr(s, "NamedAddress"))
		return true;
	for (const char *slash = strchr(s, '/'); slash; slash = strchr(slash + 1, '/'))
		if (slash > s && is_lower(slash[-1]) && is_all(slash + 1, is_tail_char))
			return true;
	return false;
}

static bool matches_controller_name(const char *s)
{
	const char *end = skip_domain(s);
	return end && *end == '/' && is_all(end + 1, is_tail_char);
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool matches_http_path(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++) {
		if (is_alnum(*s) || is_one_of(*s, "-/._~!$&'()*+,;=:@"))
			continue;
		if (*s != '%' || !is_hex(s[1]) || !is_hex(s[2]))
			return false;
		s += 2;
	}
	return true;
}

static bool is_origin_host(const char *s, const char *end)
{
	if (end - s == 1 && *s == '*')
		return true;
	if (end - s > 2 && s[0] == '*' && s[1] == '.')
		s += 2;
	if (s == end)
		return false;
	for (const char *p = s; p < end; p++) {
		if (*p == '.' ? p == s || p[-1] == '.' || p + 1 == end : !is_alnum(*p) && *p != '-')
			return false;
	}
	return true;
}

static bool matches_origin(const char *s)
{
	if (strcmp(s, "*") == 0)
		return true;
	if (strncmp(s, "http", 4) != 0)
		return false;
	s += s[4] == 's' ? 5 : 4;
	if (strncmp(s, "://", 3) != 0)
		return false;
	s += 3;
	const char *colon = strchr(s, ':');
	if (!colon)
		return is_origin_host(s, s + strlen(s));
	return is_origin_host(s, colon) && is_all(colon + 1, is_digit) && strlen(colon + 1) <= 5;
}

/* One part: up to five digits and a unit. NULL if there is none. */
static const char *duration_part(const char *s, int64_t *ms)
{
	int64_t n = 0;
	int digits = 0;
	for (; is_digit(*s) && digits < 6; s++, digits++)
		n = n * 10 + (*s - '0');
	if (digits < 1 || digits > 5)
		return NULL;
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t len = strlen(units[i].unit);
		if (strncmp(s, units[i].unit, len) == 0) {
			*ms += n * units[i].ms;
			return s + len;
		}
	}
	return NULL;
}

static bool matches_duration(const char *s)
{
	int64_t ms = 0;
	for (int parts = 0; parts < 4; parts++) {
		s = duration_part(s, &ms);
		if (!s)
			return false;
		if (!*s)
			return true;
	}
	return false;
}

static bool is_name_char(char c)
{
	return is_alnum(c) || c == '-' || c == '_' || c == '.';
}

static bool matches_qualified_name(const char *s)
{
	const char *slash = strchr(s, '/');
	if (slash) {
		if (skip_domain(s) != slash)
			return false;
		s = slash + 1;
	}
	size_t len = strlen(s);
	return len <= 63 && is_all(s, is_name_char) && is_alnum(s[0]) && is_alnum(s[len - 1]);
}

static bool matches_label_value(const char *s)
{
	return !*s || (is_all(s, is_name_char) && is_alnum(s[0]) && is_alnum(s[strlen(s) - 1]));
}

static bool matches_data_key(const char *s)
{
	return is_all(s, is_name_char);
}

/* No more than what it is made of: see graph_network(). */
static bool matches_network(const char *s)
{
	size_t n = strspn(s, "0123456789abcdefABCDEF:."), digits = s[n] == '/' ? strspn(s + n + 1, "0123456789") : 0;
	return n && digits >= 1 && digits <= 3 && !s[n + 1 + digits];
}

static bool is_realm_char(char c)
{
	return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* Of a quoted string, RFC 9110, 5.6.4: what needs no backslash. */
static bool matches_realm(const char *s)
{
	return *s && is_all(s, is_realm_char);
}

/* The pattern's end is not anchored: whatever follows "scheme://" is good. */
static bool matches_absolute_uri(const char *s)
{
	size_t n = strcspn(s, ":/?#");
	return n && strncmp(s + n, "://", 3) == 0;
}

static bool matches_well_known_ca(const char *s)
{
	return strcmp(s, "System") == 0 || (strchr(s, '/') && matches_qualified_name(s));
}

#define X(name, text) const struct format format_##name = {matches_##name, text};
FORMATS(X)
#undef X

bool format_is_ipv4(const char *s)
{
	struct in_addr addr;
	return inet_pton(AF_INET, s, &addr) == 1;
}

bool format_is_ipv6(const char *s)
{
	struct in6_addr addr;
	return inet_pton(AF_INET6, s, &addr) == 1;
}

int64_t format_duration_ms(const char *s)
{
	int64_t ms = 0;
	while (s && *s)
		s = duration_part(s, &ms);
	return ms;
}

/* Exactly n digits at *s; -1 if there are not. */
static int take_digits(const char **s, int n)
{
	int value = 0;
	for (int i = 0; i < n; i++, (*s)++) {
		if (!is_digit(**s))
			return -1;
		value = value * 10 + (**s - '0');
	}
	return value;
}

static bool take(const char **s, char c)
{
	bool there = **s == c;
	*s += there;
	return there;
}

/* "Z" or "+02:00" at the end of the text; seconds east of Greenwich. */
static bool take_zone(const char **s, int64_t *ret_offset)
{
	if (take(s, 'Z') || take(s, 'z')) {
		*ret_offset = 0;
		return true;
	}
	char sign = **s;
	if (sign != '+' && sign != '-')
		return false;
	(*s)++;
	int hours = take_digits(s, 2);
	if (hours < 0 || hours > 23 || !take(s, ':'))
		return false;
	int minutes = take_digits(s, 2);
	if (minutes < 0 || minutes > 59)
		return false;
	*ret_offset = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return true;
}

static bool take_date(const char **s, struct tm *tm)
{
	tm->tm_year = take_digits(s, 4) - 1900;
	if (tm->tm_year < -1900 || !take(s, '-'))
		return false;
	tm->tm_mon = take_digits(s, 2) - 1;
	if (tm->tm_mon < 0 || tm->tm_mon > 11 || !take(s, '-'))
		return false;
	tm->tm_mday = take_digits(s, 2);
	return tm->tm_mday >= 1 && tm->tm_mday <= 31;
}

static bool take_time(const char **s, struct tm *tm)
{
	tm->tm_hour = take_digits(s, 2);
	if (tm->tm_hour < 0 || tm->tm_hour > 23 || !take(s, ':'))
		return false;
	tm->tm_min = take_digits(s, 2);
	if (tm->tm_min < 0 || tm->tm_min > 59 || !take(s, ':'))
		return false;
	tm->tm_sec = take_digits(s, 2);
	return tm->tm_sec >= 0 && tm->tm_sec <= 60;
}

bool format_timestamp(const char *s, int64_t *ret_seconds)
{
	struct tm tm = {0};
	int64_t offset;
	if (!take_date(&s, &tm) || !(take(&s, 'T') || take(&s, 't')) || !take_time(&s, &tm))
		return false;
	if (take(&s, '.')) {
		if (!is_digit(*s))
			return false;
		while (is_digit(*s))
			s++;
	}
	if (!take_zone(&s, &offset) || *s)
		return false;
	*ret_seconds = (int64_t)timegm(&tm) - offset;
	return true;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Padding ends the text: what follows it may only be line breaks and, after one "=", the second one. */
static bool base64_ends(const char *s, int digits)
{
	int pads = 0;
	for (; *s; s++) {
		if (*s == '=')
			pads++;
		else if (*s != '\n' && *s != '\r')
			return false;
	}
	return digits + pads == 4 && pads <= 2;
}

long format_base64(const char *s, char *out)
{
	long n = 0;
	int digits = 0;
	uint32_t group = 0;
	for (; *s && *s != '='; s++) {
		if (*s == '\n' || *s == '\r')
			continue;
		int digit = base64_digit(*s);
		if (digit < 0)
			return -1;
		group = group << 6 | (uint32_t)digit;
		if (++digits < 4)
			continue;
		for (int i = 0; i < 3; i++, n++)
			if (out)
				out[n] = (char)(group >> (16 - 8 * i));
		digits = 0;
		group = 0;
	}
	if (!*s)
		return digits ? -1 : n;
	if (!base64_ends(s, digits))
		return -1;
	group <<= 6 * (4 - digits);
	for (int i = 0; i < digits - 1; i++, n++)
		if (out)
			out[n] = (char)(group >> (16 - 8 * i));
	return n;
}

size_t format_characters(const char *s)
{
	size_t n = 0;
	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}
