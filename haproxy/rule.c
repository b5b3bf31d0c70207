/* A rule unit → letters and fields. Pure; the order of fields is shared with routing.cfg and nobody else. */
#include "haproxy/rule.h"

#include "haproxy/encode.h"

#include <errno.h>

/* Position in the value, counted from 1 as HAProxy's field() does, and the letter that tells it is there. */
enum field {
	FIELD_TARGET = 1, FIELD_RESPONSE_SET, FIELD_RESPONSE_ADD, FIELD_RESPONSE_DEL, FIELD_HOST, FIELD_PATH,
	FIELD_PREFIX_LENGTH, FIELD_PREFIX, FIELD_CODE, FIELD_SCHEME, FIELD_PORT, FIELD_CORS, FIELD_MIRROR, FIELD_RETRY,
	FIELD_SESSION, FIELD_REQUEST_SET, FIELD_REQUEST_ADD, FIELD_REQUEST_DEL, FIELD_TIMEOUT,
	FIELD_GUARD, FIELDS, /* hatchway.lua takes the last one for it */
};

static const char field_letters[FIELDS] = {
	[FIELD_TARGET] = 'w',        [FIELD_RESPONSE_SET] = 'S', [FIELD_RESPONSE_ADD] = 'A', [FIELD_RESPONSE_DEL] = 'D',
	[FIELD_HOST] = 'h',          [FIELD_PATH] = 'p',         [FIELD_PREFIX_LENGTH] = 'n', [FIELD_PREFIX] = 0,
	[FIELD_CODE] = 'c',          [FIELD_SCHEME] = 'u',       [FIELD_PORT] = 'q',         [FIELD_CORS] = 'o',
	[FIELD_MIRROR] = 'm',        [FIELD_SESSION] = 'k',
	[FIELD_RETRY] = 'y',         [FIELD_REQUEST_SET] = 's',  [FIELD_REQUEST_ADD] = 'a',  [FIELD_REQUEST_DEL] = 'd',
	[FIELD_TIMEOUT] = 't',       [FIELD_GUARD] = 'x',
};

const uint16_t rule_statuses[] = {404, 503, 500, 403, 421, 429, 501, 502, 504, 0};

#define USERS " users="

/* A day: HAProxy has no "never" that a rule could set. */
#define TIMEOUT_OFF_MS ((int64_t)24 * 3600 * 1000)

struct fields {
	struct arena *arena;
	const char *text[FIELDS]; /* NULL: not there */
};

bool rule_status_ok(uint16_t status)
{
	for (const uint16_t *p = rule_statuses; *p; p++)
		if (*p == status)
			return true;
	return false;
}

/* ---- headers ---- */

/* Host is the authority of the request: only one, and never none. It is edited as a rewrite is. */
static bool is_host(const struct table_header *header)
{
	return !strcasecmp(header->name, "host");
}

static int set_header_field(struct fields *fields, enum field field, const struct table_header *list, size_t n,
                            bool values, struct err *reterr)
{
	struct buf text;
	if (!n)
		return 0;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	int r = encode_headers(list, n, values, &text, reterr);
	if (!r && buf_failed(&text))
		r = err_set(reterr, -EINVAL, "headers are too long");
	fields->text[field] = arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
	return r;
}

/* The list without Host; of the request's, its value goes to *ret_host. */
static struct table_header *without_host(struct arena *arena, const struct table_header *list, size_t n, size_t *ret_n,
                                         const char **ret_host)
{
	struct table_header *rest = arena_array(arena, n + 1, sizeof(*rest));
	*ret_n = 0;
	for (size_t i = 0; i < n; i++) {
		if (is_host(&list[i]))
			*ret_host = list[i].value ? list[i].value : "";
		else
			rest[(*ret_n)++] = list[i];
	}
	return rest;
}

static int set_request_headers(struct fields *fields, const struct table_rule *rule, const char **ret_host, struct err *reterr)
{
	size_t n_set, n_add;
	struct table_header *set = without_host(fields->arena, rule->edits->request.set, rule->edits->request.n_set, &n_set, ret_host);
	struct table_header *add = without_host(fields->arena, rule->edits->request.add, rule->edits->request.n_add, &n_add, ret_host);
	for (size_t i = 0; i < rule->edits->request.n_remove; i++)
		if (is_host(&rule->edits->request.remove[i]))
			return err_set(reterr, -EINVAL, "the Host header cannot be removed");
	int r = set_header_field(fields, FIELD_REQUEST_SET, set, n_set, true, reterr);
	if (!r)
		r = set_header_field(fields, FIELD_REQUEST_ADD, add, n_add, true, reterr);
	if (!r)
		r = set_header_field(fields, FIELD_REQUEST_DEL, rule->edits->request.remove, rule->edits->request.n_remove, false, reterr);
	return r;
}

static int set_response_headers(struct fields *fields, const struct table_rule *rule, struct err *reterr)
{
	const struct table_headers *headers = &rule->edits->response;
	int r = set_header_field(fields, FIELD_RESPONSE_SET, headers->set, headers->n_set, true, reterr);
	if (!r)
		r = set_header_field(fields, FIELD_RESPONSE_ADD, headers->add, headers->n_add, true, reterr);
	if (!r)
		r = set_header_field(fields, FIELD_RESPONSE_DEL, headers->remove, headers->n_remove, false, reterr);
	return r;
}

/* ---- the rest ---- */

static size_t without_slash(const char *path)
{
	size_t n = strlen(path);
	return n && path[n - 1] == '/' ? n - 1 : n;
}

static const char *path_text(struct fields *fields, const char *path, size_t n)
{
	struct buf text;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	if (n && *path != '/')
		buf_addc(&text, '/');
	encode_path(arena_strndup(fields->arena, path, n), &text);
	const char *ret = buf_failed(&text) ? NULL : arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
	return ret;
}

static int set_path(struct fields *fields, const struct table_rewrite *rewrite, struct err *reterr)
{
	const char *path = rewrite->path ? rewrite->path : "";
	if (rewrite->edit == TABLE_PATH_FULL) {
		fields->text[FIELD_PATH] = *path ? path_text(fields, path, strlen(path)) : "/";
		return fields->text[FIELD_PATH] ? 0 : err_set(reterr, -EINVAL, "the new path is too long");
	}
	if (rewrite->edit == TABLE_PATH_PREFIX_EDIT) {
		size_t n = rewrite->prefix ? without_slash(rewrite->prefix) : 0;
		fields->text[FIELD_PREFIX_LENGTH] = arena_printf(fields->arena, "%zu", n);
		fields->text[FIELD_PREFIX] = path_text(fields, path, without_slash(path));
		return fields->text[FIELD_PREFIX] ? 0 : err_set(reterr, -EINVAL, "the new prefix is too long");
	}
	return 0;
}

static int set_host(struct fields *fields, const char *host, struct err *reterr)
{
	if (host && !encode_host_ok(host))
		return err_set(reterr, -EINVAL, "\"%.200s\" cannot be a Host", host);
	fields->text[FIELD_HOST] = host;
	return 0;
}

static int set_redirect(struct fields *fields, const struct table_redirect *redirect, struct err *reterr)
{
	static const uint16_t codes[] = {301, 302, 303, 307, 308};
	bool known = false;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		known |= codes[i] == redirect->status;
	if (!known)
		return err_set(reterr, -EINVAL, "%u is no redirect status", redirect->status);
	const char *scheme = redirect->scheme;
	if (scheme && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		return err_set(reterr, -EINVAL, "\"%.20s\" is no redirect scheme", scheme);
	fields->text[FIELD_CODE] = arena_printf(fields->arena, "%u", redirect->status);
	fields->text[FIELD_SCHEME] = scheme;
	if (redirect->port)
		fields->text[FIELD_PORT] = arena_printf(fields->arena, ":%u", redirect->port);
	return 0;
}

/* "age=5 credentials=true origin=http%3A//a,http%3A//b method=GET …", read by hatchway.lua. */
static int set_cors(struct fields *fields, const struct table_cors *cors, struct err *reterr)
{
	static const char *const names[] = {"origin", "method", "header", "expose"};
	struct buf text;
	if (!cors)
		return 0;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	buf_addf(&text, "age=%d%s", cors->max_age, cors->credentials ? " credentials=true" : "");
	for (size_t l = 0; l < TABLE_CORS_LISTS; l++)
		for (size_t i = 0; i < cors->lists[l].n; i++) {
			buf_addf(&text, i ? "," : " %s=", names[l]);
			encode_text(cors->lists[l].names[i], &text);
		}
	int r = buf_failed(&text) ? err_set(reterr, -EINVAL, "the CORS filter is too long") : 0;
	fields->text[FIELD_CORS] = arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
	return r;
}

/* "20/100:sample.v2:5000 1/2:sample.v3:5000" */
static int set_mirrors(struct fields *fields, const struct table_rule *rule, struct err *reterr)
{
	struct buf text;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	for (size_t i = 0; i < rule->n_mirrors; i++)
		if (rule_mirrors(&rule->mirrors[i]))
			buf_addf(&text, "%s%u/%u:%s", text.len ? " " : "", rule->mirrors[i].numerator,
			         rule->mirrors[i].denominator, rule->mirrors[i].backend);
	int r = buf_failed(&text) ? err_set(reterr, -EINVAL, "the mirrors are too long") : 0;
	if (text.len)
		fields->text[FIELD_MIRROR] = arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
	return r;
}

const char *rule_told(const char *value)
{
	return strstr(value, USERS) ? "(with users)" : value;
}

bool rule_mirrors(const struct table_mirror *mirror)
{
	return mirror->backend && encode_name_ok(mirror->backend) && mirror->numerator && mirror->denominator;
}

/* The nearer of the two deadlines; 0 switches one off, and both off is off. */
static void set_timeout(struct fields *fields, const struct table_rule *rule)
{
	int64_t a = rule->request_timeout_ms, b = rule->backend_timeout_ms;
	int64_t ms = a > 0 && b > 0 ? (a < b ? a : b) : a > 0 ? a : b > 0 ? b : a == 0 || b == 0 ? TIMEOUT_OFF_MS : -1;
	if (ms > 0)
		fields->text[FIELD_TIMEOUT] = arena_printf(fields->arena, "%lld", (long long)(ms < TIMEOUT_OFF_MS ? ms : TIMEOUT_OFF_MS));
}

static void add_ms(struct buf *out, int64_t ms)
{
	buf_addc(out, ';');
	if (ms > 0)
		buf_addf(out, "%lld", (long long)(ms < TIMEOUT_OFF_MS ? ms : TIMEOUT_OFF_MS));
}

/* "<attempts>;<codes>;<ms of one try>;<ms of all>;<ms between two>": what is not given is empty. */
static void set_retry(struct fields *fields, const struct table_rule *rule)
{
	struct buf text;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	buf_addf(&text, "%u;", rule->retry->attempts);
	for (size_t i = 0; i < rule->retry->n_codes; i++)
		buf_addf(&text, "%s%u", i ? "," : "", rule->retry->codes[i]);
	add_ms(&text, rule->backend_timeout_ms);
	add_ms(&text, rule->request_timeout_ms);
	add_ms(&text, rule->retry->backoff_ms);
	fields->text[FIELD_RETRY] = arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
}

static void add_seconds(struct buf *out, int64_t ms)
{
	if (ms >= 0)
		buf_addf(out, "%lld", (long long)((ms + 999) / 1000));
	buf_addc(out, ';');
}

/* The name of a header or cookie, and none of HAProxy's or ours. */
static int check_session_name(const struct table_session *session, struct err *reterr)
{
	const struct table_header header = {session->name, ""};
	struct buf text;
	if (!session->name)
		return 0;
	if (!strcasecmp(session->name, session->header ? "set-cookie" : RULE_SERVER_COOKIE) ||
	    (session->header && is_host(&header)))
		return err_set(reterr, -EINVAL, "a session cannot be named \"%s\"", session->name);
	if (!session->header)
		return encode_token_ok(session->name) ? 0 : err_set(reterr, -EINVAL, "\"%.100s\" is no name of a cookie", session->name);
	buf_init(&text, ENCODE_VALUE_LIMIT);
	int r = encode_headers(&header, 1, true, &text, reterr);
	buf_done(&text);
	return r;
}

/* "<mark>;cookie|header;<absolute s>;<idle s>;[permanent];<name>": a mark tells rules apart, and stays when others come and go. */
static int set_session(struct fields *fields, const struct table_rule *rule, struct err *reterr)
{
	const struct table_session *session = rule->edits->session;
	if (!session)
		return 0;
	int r = check_session_name(session, reterr);
	if (r)
		return r;
	const char *key = rule->unit.key;
	const char *who = rule->name ? arena_printf(fields->arena, "%s %s", rule->origin, rule->name)
	                             : arena_printf(fields->arena, "%.*s", (int)strcspn(key, "@"), key);
	struct digest digest = digest_of(who, strlen(who));
	struct buf text;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	buf_addf(&text, "%.10s;%s;", digest.text, session->header ? "header" : "cookie");
	add_seconds(&text, session->absolute_ms);
	add_seconds(&text, session->idle_ms);
	buf_adds(&text, session->permanent ? "permanent;" : ";");
	encode_text(session->name ? session->name : arena_printf(fields->arena, "hatchway-%.10s", digest.text), &text);
	fields->text[FIELD_SESSION] = arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
	return 0;
}

static int add_networks(struct buf *out, const char *word, const struct table_names *list, struct err *reterr)
{
	for (size_t i = 0; i < list->n; i++) {
		if (!encode_network_ok(list->names[i]))
			return err_set(reterr, -EINVAL, "\"%.60s\" is no network", list->names[i]);
		buf_addf(out, i ? ",%s" : " %s=%s", i ? list->names[i] : word, list->names[i]);
	}
	return 0;
}

/* Of a length that leaves room for a client in the tables of routing.cfg; it is read by people, so the longest only are cut. */
static void add_scope(struct buf *out, const char *scope)
{
	enum { room = 76, kept = 50 };
	struct digest digest = digest_of(scope, strlen(scope));
	char text[room + 1];
	if (strlen(scope) <= room)
		snprintf(text, sizeof(text), "%s", scope);
	else
		snprintf(text, sizeof(text), "%.*s~%.20s", kept, scope, digest.text);
	encode_text(text, out);
}

/* " limit=<requests>:<unit>:<scope>[:<header>]" */
static int add_limit(struct buf *out, const struct table_limit *limit, struct err *reterr)
{
	static const char *const units[] = {"second", "minute", "hour"};
	if (!limit)
		return 0;
	if (limit->header && !encode_token_ok(limit->header))
		return err_set(reterr, -EINVAL, "\"%.100s\" is no name of a header", limit->header);
	buf_addf(out, " limit=%u:%s:", limit->requests, units[limit->unit]);
	add_scope(out, limit->scope);
	if (limit->header) {
		buf_addc(out, ':');
		encode_text(limit->header, out);
	}
	return 0;
}

/* " realm=<text> salt=<text> users=<name>:<verifier>,…" */
static int add_auth(struct buf *out, const struct table_auth *auth, struct err *reterr)
{
	static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
	if (!auth)
		return 0;
	if (!encode_realm_ok(auth->realm))
		return err_set(reterr, -EINVAL, "the realm cannot be told");
	buf_adds(out, " realm=");
	encode_text(auth->realm, out);
	buf_adds(out, " salt=");
	encode_text(auth->salt, out);
	for (size_t i = 0; i < auth->users.n; i++) {
		const char *user = auth->users.names[i], *colon = strchr(user, ':');
		if (!colon || colon == user || strspn(colon + 1, base64) != 44 || colon[45])
			return err_set(reterr, -EINVAL, "user %zu of realm \"%s\" is none", i, auth->realm);
		buf_adds(out, i ? "," : USERS);
		struct arena scratch;
		arena_init(&scratch);
		encode_text(arena_strndup(&scratch, user, (size_t)(colon - user)), out);
		arena_done(&scratch);
		buf_adds(out, colon);
	}
	return 0;
}

static bool has_two_limits(const struct table_edits *edits)
{
	unsigned seen = 0, twice = 0;
	for (size_t i = 0; i < edits->n_guards; i++) {
		unsigned bit = edits->guards[i].limit ? 1u << edits->guards[i].limit->unit : 0;
		twice |= seen & bit;
		seen |= bit;
	}
	return twice;
}

/* "guard allow=10.0.0.0/8,2001:db8::/32 deny=10.1.0.0/16;guard limit=… realm=…", read by hatchway.lua. */
static int set_guards(struct fields *fields, const struct table_edits *edits, struct err *reterr)
{
	struct buf text;
	int r = 0;
	if (!edits->n_guards)
		return 0;
	buf_init(&text, ENCODE_VALUE_LIMIT);
	for (size_t i = 0; i < edits->n_guards && !r; i++) {
		buf_addf(&text, "%sguard", i ? ";" : "");
		r = add_networks(&text, "allow", &edits->guards[i].allow, reterr);
		if (!r)
			r = add_networks(&text, "deny", &edits->guards[i].deny, reterr);
		if (!r)
			r = add_limit(&text, edits->guards[i].limit, reterr);
		if (!r)
			r = add_auth(&text, edits->guards[i].auth, reterr);
	}
	if (!r && has_two_limits(edits))
		r = err_set(reterr, -EINVAL, "two limits have one unit of time");
	if (!r && buf_failed(&text))
		r = err_set(reterr, -EINVAL, "addresses and users come to more than %d bytes as HAProxy is told them: fewer of them, or shorter names",
		            ENCODE_VALUE_LIMIT);
	fields->text[FIELD_GUARD] = arena_strndup(fields->arena, text.data, text.len);
	buf_done(&text);
	return r;
}

static int join(struct fields *fields, bool draw, struct rule_properties *ret, struct err *reterr)
{
	char letters[FIELDS + 1] = "";
	size_t n_letters = 0;
	int last = FIELD_TARGET, r = 0;
	struct buf value, both;
	buf_init(&value, ENCODE_VALUE_LIMIT);
	buf_init(&both, (size_t)2 * ENCODE_VALUE_LIMIT);
	for (int i = FIELD_TARGET; i < FIELDS; i++) {
		if (!fields->text[i])
			continue;
		while (last < i) {
			buf_addc(&value, '|');
			last++;
		}
		buf_adds(&value, fields->text[i]);
		if (field_letters[i] && (i != FIELD_TARGET || draw))
			letters[n_letters++] = field_letters[i];
	}
	buf_addf(&both, "%s %s", letters, value.data);
	if (buf_failed(&value))
		r = err_set(reterr, -EINVAL, "the rule's filters are too long together");
	ret->letters = arena_strdup(fields->arena, letters);
	ret->value = arena_strdup(fields->arena, value.data);
	ret->id = digest_of(both.data, both.len);
	buf_done(&value);
	buf_done(&both);
	return r;
}

int rule_properties(const struct table_rule *rule, const char *target, bool draw, struct arena *scratch,
                    struct rule_properties *ret, struct err *reterr)
{
	struct fields fields = {.arena = scratch};
	const char *host = NULL;
	int r = 0;
	if (rule->action == TABLE_FORWARD) {
		fields.text[FIELD_TARGET] = target;
		r = set_request_headers(&fields, rule, &host, reterr);
		if (!r)
			r = set_mirrors(&fields, rule, reterr);
		if (!r)
			r = set_session(&fields, rule, reterr);
		if (rule->retry)
			set_retry(&fields, rule);
		else
			set_timeout(&fields, rule);
	} else {
		fields.text[FIELD_TARGET] = "-";
	}
	if (!r)
		r = set_guards(&fields, rule->edits, reterr);
	if (!r && (rule->action == TABLE_REDIRECT || rule->edits->redirect.status))
		r = set_redirect(&fields, &rule->edits->redirect, reterr);
	if (!r)
		r = set_response_headers(&fields, rule, reterr);
	if (!r)
		r = set_cors(&fields, rule->cors, reterr);
	if (!r)
		r = set_path(&fields, &rule->edits->rewrite, reterr);
	if (!r)
		r = set_host(&fields, rule->edits->rewrite.hostname ? rule->edits->rewrite.hostname : host, reterr);
	return r ? r : join(&fields, draw, ret, reterr);
}
