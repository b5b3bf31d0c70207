/* Checks and encodings of users' strings; owns the list of what is allowed where. No memory but the caller's buffers. */
#include "haproxy/encode.h"

#include "haproxy/digest.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <pcre2.h>

#define HEADERS_LIMIT ((size_t)64 << 10)
#define REGEX_LIMIT 4096
/* Enough for honest expressions on a URL, and under a millisecond for hostile ones. */
#define REGEX_PREFIX "(*LIMIT_MATCH=500000)^(?:"
#define REGEX_SUFFIX ")\\z"

/* ASCII only: isalnum() would ask the locale. */
static bool is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* 1..limit bytes, each a letter, a digit or one of `others`. */
static bool made_of(const char *s, const char *others, size_t limit)
{
	size_t n = strnlen(s, limit + 1);
	if (!n || n > limit)
		return false;
	for (; *s; s++)
		if (!is_alnum((unsigned char)*s) && !strchr(others, *s))
			return false;
	return true;
}

bool encode_name_ok(const char *name)
{
	return made_of(name, "._:-", 512);
}

bool encode_listener_ok(const char *key)
{
	return made_of(key, "._:-[]@", 700);
}

bool encode_host_ok(const char *host)
{
	return made_of(host, "._:-[]", 512);
}

bool encode_pattern_ok(const char *pattern)
{
	if (!*pattern)
		return true;
	if (pattern[0] == '*' && pattern[1] == '.')
		pattern += 2;
	if (!made_of(pattern, "._:-[]", 512))
		return false;
	for (const char *p = pattern; *p; p++)
		if (*p == '.' && (p == pattern || !p[1] || p[1] == '.'))
			return false;
	return true;
}

bool encode_path_ok(const char *path)
{
	if (*path != '/' || strnlen(path, ENCODE_KEY_LIMIT) == ENCODE_KEY_LIMIT)
		return false;
	for (const unsigned char *p = (const unsigned char *)path; *p; p++)
		if (*p <= ' ' || *p >= 127 || *p == '#' || *p == '?')
			return false;
	return true;
}

bool encode_token_ok(const char *name)
{
	return made_of(name, "!#$%&'*+-.^_`|~", 256);
}

bool encode_address(const char *address, uint16_t port, struct buf *out)
{
	unsigned char bytes[16];
	char text[INET6_ADDRSTRLEN];
	int family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (!port || inet_pton(family, address, bytes) != 1 || !inet_ntop(family, bytes, text, sizeof(text)))
		return false;
	buf_addf(out, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
	return true;
}

bool encode_realm_ok(const char *realm)
{
	for (const char *c = realm; *c; c++)
		if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			return false;
	return *realm;
}

bool encode_network_ok(const char *network)
{
	unsigned char bytes[16];
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(network, '/');
	size_t n = slash ? (size_t)(slash - network) : sizeof(address), digits = slash ? strspn(slash + 1, "0123456789") : 0;
	if (n >= sizeof(address) || !digits || digits > 3 || slash[1 + digits])
		return false;
	memcpy(address, network, n);
	address[n] = 0;
	const bool six = strchr(address, ':');
	return inet_pton(six ? AF_INET6 : AF_INET, address, bytes) == 1 && atoi(slash + 1) <= (six ? 128 : 32);
}

void encode_reverse(const char *host, struct buf *out)
{
	for (size_t end = strlen(host); end;) {
		size_t start = end;
		while (start && host[start - 1] != '.')
			start--;
		buf_add(out, host + start, end - start);
		if (!start)
			break;
		buf_addc(out, '.');
		end = start - 1;
	}
}

void encode_text(const char *s, struct buf *out)
{
	for (; *s; s++) {
		if (is_alnum((unsigned char)*s) || strchr("._/*-", *s))
			buf_addc(out, *s);
		else
			buf_addf(out, "%%%02X", (unsigned char)*s);
	}
}

void encode_path(const char *path, struct buf *out)
{
	for (; *path; path++) {
		bool escape = *path == '%' && isxdigit((unsigned char)path[1]) && isxdigit((unsigned char)path[2]);
		if (escape || is_alnum((unsigned char)*path) || strchr("-._~!$&'()*+,;=:@/", *path))
			buf_addc(out, *path);
		else
			buf_addf(out, "%%%02X", (unsigned char)*path);
	}
}

/* ---- headers ---- */

/* These frame the message or belong to one connection; an edit could smuggle requests. */
static bool header_is_framing(const char *name)
{
	static const char *const framing[] = {
		"connection", "content-length", "http2-settings", "keep-alive", "proxy-connection",
		"te",         "trailer",        "transfer-encoding", "upgrade",
	};
	for (size_t i = 0; i < ARRAY_LEN(framing); i++)
		if (!strcasecmp(name, framing[i]))
			return true;
	return false;
}

static bool header_value_ok(const char *value)
{
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		if ((*p < ' ' && *p != '\t') || *p == 127)
			return false;
	return true;
}

/* HAProxy's variable-length integer (include/haproxy/intops.h): one byte below 240, then 7 bits each. */
static void add_varint(struct buf *out, uint64_t n)
{
	if (n < 240) {
		buf_addc(out, (char)n);
		return;
	}
	buf_addc(out, (char)(n | 240));
	n = (n - 240) >> 4;
	for (; n >= 128; n = (n - 128) >> 7)
		buf_addc(out, (char)(n | 128));
	buf_addc(out, (char)n);
}

static void add_sized(struct buf *out, const char *s)
{
	size_t n = strlen(s);
	add_varint(out, n);
	buf_add(out, s, n);
}

static void add_base64(struct buf *out, const char *data, size_t n)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < n; i += 3) {
		uint32_t word = 0;
		for (size_t j = 0; j < 3; j++)
			word = word << 8 | (i + j < n ? (unsigned char)data[i + j] : 0);
		for (size_t j = 0; j < 4; j++)
			buf_addc(out, i + j <= n ? alphabet[word >> (18 - 6 * j) & 63] : '=');
	}
}

int encode_headers(const struct table_header *list, size_t n, bool values, struct buf *out, struct err *reterr)
{
	struct buf bytes;
	int r = 0;
	buf_init(&bytes, HEADERS_LIMIT);
	for (size_t i = 0; i < n && !r; i++) {
		if (!encode_token_ok(list[i].name))
			r = err_set(reterr, -EINVAL, "header name %.100s is not a token", list[i].name);
		else if (header_is_framing(list[i].name))
			r = err_set(reterr, -EINVAL, "header %s frames the message and cannot be edited", list[i].name);
		else if (values && !header_value_ok(list[i].value))
			r = err_set(reterr, -EINVAL, "value of header %s has control characters", list[i].name);
		add_sized(&bytes, list[i].name);
		if (values)
			add_sized(&bytes, list[i].value);
	}
	buf_add(&bytes, "\0", values ? 2 : 1);
	if (!r && buf_failed(&bytes))
		r = err_set(reterr, -EINVAL, "headers are too long");
	if (!r)
		add_base64(out, bytes.data, bytes.len);
	buf_done(&bytes);
	return r;
}

/* ---- regular expressions ---- */

static int regex_check(const char *text, struct err *reterr)
{
	int error;
	size_t offset;
	PCRE2_UCHAR why[128];
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &error, &offset, NULL);
	if (!code) {
		pcre2_get_error_message(error, why, sizeof(why));
		return err_set(reterr, -EINVAL, "regular expression: %s", (const char *)why);
	}
	pcre2_code_free(code);
	return 0;
}

int encode_regex(const char *pattern, struct buf *out, struct err *reterr)
{
	size_t n = strnlen(pattern, REGEX_LIMIT + 1), start = out->len;
	if (n > REGEX_LIMIT)
		return err_set(reterr, -EINVAL, "regular expression is longer than %d bytes", REGEX_LIMIT);
	int r = regex_check(pattern, reterr);
	if (r)
		return r;
	buf_adds(out, REGEX_PREFIX);
	buf_add(out, pattern, n);
	buf_adds(out, REGEX_SUFFIX);
	return regex_check(out->data + start, reterr);
}

void encode_hop_name(const char *instance, const struct table_backend *backend, const struct table_endpoint *endpoint,
              char ret[ENCODE_HOP_NAME])
{
	const struct table_tls *tls = backend->tls;
	struct buf all;

	buf_init(&all, SIZE_MAX / 4);
	buf_addf(&all, "%s %u %d %s %s %s", endpoint->address, endpoint->port, backend->protocol == TABLE_H2C, tls->name,
	         tls->ca ? tls->ca : "-", tls->certificate ? tls->certificate : "-");
	for (uint32_t i = 0; i < tls->n_names; i++)
		buf_addf(&all, "\n%s", tls->names[i]);
	snprintf(ret, ENCODE_HOP_NAME, "hatchway-%s-hop-%.16s", instance, digest_of(all.data, all.len).text);
	buf_done(&all);
}
