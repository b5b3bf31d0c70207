/* The text form of tables: one line for a unit, one indented line for each of its parts. Golden files are made of it. */
#include "hatchway/table.h"

#include "hatchway/base/words.h"

static const char *const kind_names[] = {"listener", "backend", "rule", "host", "certificate", "ca"};
static const char *const protocol_names[] = {"http1", "h2c", "websocket"};
static const char *const action_names[] = {"forward", "redirect", "status"};
static const char *const path_names[] = {"prefix", "exact", "regex"};
static const char *const unit_names[] = {"second", "minute", "hour"};
static const char *const cors_names[] = {"origin", "method", "header", "expose"};

/* ---- dump ---- */

static void add_number(struct buf *out, const char *word, long long number)
{
	char text[32];
	snprintf(text, sizeof(text), "%lld", number);
	word_add(out, word);
	word_add(out, text);
}

static void add_pair(struct buf *out, const char *word, const char *value)
{
	word_add(out, word);
	word_add(out, value);
}

static void dump_part(struct buf *out, const char *word, const char *value)
{
	if (!value)
		return;
	buf_addc(out, '\t');
	add_pair(out, word, value);
	buf_addc(out, '\n');
}

static void dump_listener(const struct table_listener *listener, struct buf *out)
{
	if (*listener->bind_address)
		add_pair(out, "address", listener->bind_address);
	add_number(out, "port", listener->port);
	add_number(out, "bind", listener->bind_port);
	add_pair(out, "origin", listener->origin);
	if (listener->sni)
		add_pair(out, "tls", listener->sni);
	buf_addc(out, '\n');
	for (size_t i = 0; i < listener->n_certificates; i++)
		dump_part(out, "certificate", listener->certificates[i]);
}

static void dump_certificate(const struct table_certificate *certificate, struct buf *out)
{
	buf_addc(out, '\n');
	dump_part(out, certificate->ca_optional ? "ca-optional" : "ca", certificate->ca);
	for (size_t i = 0; i < certificate->n_names; i++)
		dump_part(out, "name", certificate->names[i]);
}

static void dump_backend(const struct table_backend *backend, struct buf *out)
{
	word_add(out, protocol_names[backend->protocol]);
	buf_addc(out, '\n');
	if (backend->tls) {
		dump_part(out, "tls", backend->tls->name);
		for (size_t i = 0; i < backend->tls->n_names; i++)
			dump_part(out, "name", backend->tls->names[i]);
		dump_part(out, "ca", backend->tls->ca);
		dump_part(out, "certificate", backend->tls->certificate);
	}
	for (size_t i = 0; i < backend->n_endpoints; i++) {
		const struct table_endpoint *endpoint = &backend->endpoints[i];
		char port[8];
		snprintf(port, sizeof(port), "%u", endpoint->port);
		buf_addc(out, '\t');
		add_pair(out, "endpoint", endpoint->name);
		add_pair(out, endpoint->address, port);
		if (endpoint->draining)
			word_add(out, "draining");
		buf_addc(out, '\n');
	}
}

static void dump_headers(const char *side, const char *verb, const struct table_header *list, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		buf_addc(out, '\t');
		add_pair(out, side, verb);
		word_add(out, list[i].name);
		if (list[i].value)
			word_add(out, list[i].value);
		buf_addc(out, '\n');
	}
}

static void dump_header_lists(const char *side, const struct table_headers *headers, struct buf *out)
{
	dump_headers(side, "set", headers->set, headers->n_set, out);
	dump_headers(side, "add", headers->add, headers->n_add, out);
	dump_headers(side, "remove", headers->remove, headers->n_remove, out);
}

static void dump_part_number(struct buf *out, const char *word, long long number, long long unset)
{
	if (number == unset)
		return;
	buf_addc(out, '\t');
	add_number(out, word, number);
	buf_addc(out, '\n');
}

/* to: "to-" of a reference's. */
static void dump_rewrite(const char *to, const struct table_rewrite *rewrite, struct buf *out)
{
	if (rewrite->hostname) {
		buf_addf(out, "\t%srewrite-host", to);
		word_add(out, rewrite->hostname);
		buf_addc(out, '\n');
	}
	if (rewrite->edit == TABLE_PATH_KEEP)
		return;
	buf_addf(out, "\t%s%s", to, rewrite->edit == TABLE_PATH_FULL ? "rewrite-path" : "rewrite-prefix");
	if (rewrite->edit == TABLE_PATH_PREFIX_EDIT)
		word_add(out, rewrite->prefix);
	word_add(out, rewrite->path);
	buf_addc(out, '\n');
}

static void dump_ref_redirect(const struct table_redirect *redirect, struct buf *out)
{
	if (!redirect->status)
		return;
	buf_addc(out, '\t');
	add_number(out, "to-redirect", redirect->status);
	if (redirect->scheme)
		add_pair(out, "scheme", redirect->scheme);
	if (redirect->port)
		add_number(out, "port", redirect->port);
	buf_addc(out, '\n');
}

static void dump_cors(const struct table_cors *cors, struct buf *out)
{
	if (!cors)
		return;
	buf_addc(out, '\t');
	word_add(out, "cors");
	add_number(out, "max-age", cors->max_age);
	if (cors->credentials)
		word_add(out, "credentials");
	buf_addc(out, '\n');
	for (size_t l = 0; l < TABLE_CORS_LISTS; l++)
		for (size_t i = 0; i < cors->lists[l].n; i++) {
			buf_addc(out, '\t');
			add_pair(out, "cors", cors_names[l]);
			word_add(out, cors->lists[l].names[i]);
			buf_addc(out, '\n');
		}
}

static void dump_retry(const struct table_retry *retry, struct buf *out)
{
	if (!retry)
		return;
	buf_addc(out, '\t');
	add_number(out, "retry", retry->attempts);
	if (retry->backoff_ms >= 0)
		add_number(out, "backoff", retry->backoff_ms);
	for (size_t i = 0; i < retry->n_codes; i++)
		add_number(out, "code", retry->codes[i]);
	buf_addc(out, '\n');
}

static void dump_session(const struct table_session *session, struct buf *out)
{
	if (!session)
		return;
	buf_addc(out, '\t');
	add_pair(out, "session", session->header ? "header" : "cookie");
	if (session->name)
		add_pair(out, "name", session->name);
	if (session->absolute_ms >= 0)
		add_number(out, "absolute", session->absolute_ms);
	if (session->idle_ms >= 0)
		add_number(out, "idle", session->idle_ms);
	if (session->permanent)
		word_add(out, "permanent");
	buf_addc(out, '\n');
}

static void dump_guard(const struct table_guard *guard, struct buf *out)
{
	buf_adds(out, "\tguard\n");
	for (size_t i = 0; i < guard->allow.n; i++)
		dump_part(out, "allow", guard->allow.names[i]);
	for (size_t i = 0; i < guard->deny.n; i++)
		dump_part(out, "deny", guard->deny.names[i]);
	if (guard->limit) {
		buf_addc(out, '\t');
		add_number(out, "limit", guard->limit->requests);
		add_pair(out, unit_names[guard->limit->unit], guard->limit->scope);
		if (guard->limit->header)
			add_pair(out, "header", guard->limit->header);
		buf_addc(out, '\n');
	}
	if (guard->auth) {
		buf_addc(out, '\t');
		add_pair(out, "auth", guard->auth->salt);
		add_pair(out, "realm", guard->auth->realm);
		buf_addc(out, '\n');
	}
	for (size_t i = 0; guard->auth && i < guard->auth->users.n; i++)
		dump_part(out, "user", guard->auth->users.names[i]);
}

static void dump_rule(const struct table_rule *rule, struct buf *out)
{
	word_add(out, action_names[rule->action]);
	if (rule->action != TABLE_FORWARD)
		add_number(out, "code", rule->action == TABLE_REDIRECT ? rule->edits->redirect.status : rule->status);
	buf_addc(out, '\n');
	dump_part(out, "origin", rule->origin);
	dump_part(out, "name", rule->name);
	for (size_t i = 0; i < rule->edits->n_guards; i++)
		dump_guard(&rule->edits->guards[i], out);
	dump_cors(rule->cors, out);
	dump_header_lists("request", &rule->edits->request, out);
	dump_rewrite("", &rule->edits->rewrite, out);
	dump_part(out, "scheme", rule->edits->redirect.scheme);
	dump_part_number(out, "port", rule->edits->redirect.port, 0);
	dump_header_lists("response", &rule->edits->response, out);
	for (size_t i = 0; i < rule->n_mirrors; i++) {
		const struct table_mirror *mirror = &rule->mirrors[i];
		buf_addc(out, '\t');
		add_pair(out, "mirror", mirror->backend ? mirror->backend : "!500");
		add_number(out, "share", mirror->numerator);
		add_number(out, "of", mirror->denominator);
		buf_addc(out, '\n');
	}
	dump_retry(rule->retry, out);
	dump_session(rule->edits->session, out);
	dump_part_number(out, "request-timeout", rule->request_timeout_ms, -1);
	dump_part_number(out, "backend-timeout", rule->backend_timeout_ms, -1);
	for (size_t i = 0; i < rule->n_refs; i++) {
		buf_addc(out, '\t');
		add_pair(out, "to", rule->refs[i].backend ? rule->refs[i].backend : "!500");
		add_number(out, "weight", rule->refs[i].weight);
		buf_addc(out, '\n');
		if (!rule->refs[i].edits)
			continue;
		dump_header_lists("to-request", &rule->refs[i].edits->request, out);
		dump_header_lists("to-response", &rule->refs[i].edits->response, out);
		dump_rewrite("to-", &rule->refs[i].edits->rewrite, out);
		dump_ref_redirect(&rule->refs[i].edits->redirect, out);
	}
}

static void dump_tests(const char *what, const struct table_test *tests, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		add_pair(out, what, tests[i].name);
		add_pair(out, tests[i].regex ? "~" : "=", tests[i].value);
	}
}

static void dump_host(const struct table_host *host, struct buf *out)
{
	if (host->falls_to)
		add_pair(out, "falls-to", host->falls_to);
	buf_addc(out, '\n');
	for (size_t i = 0; i < host->n_entries; i++) {
		const struct table_match *match = &host->entries[i].match;
		buf_addc(out, '\t');
		add_pair(out, path_names[match->path_type], match->path);
		if (match->path_regex)
			add_pair(out, "path", match->path_regex);
		if (match->method)
			add_pair(out, "method", match->method);
		dump_tests("header", match->headers, match->n_headers, out);
		dump_tests("query", match->queries, match->n_queries, out);
		add_pair(out, "->", host->entries[i].rule);
		buf_addc(out, '\n');
	}
}

void table_unit_dump(const struct table_unit *unit, struct buf *out)
{
	word_add(out, kind_names[unit->kind]);
	if (unit->kind == TABLE_HOST) {
		const struct table_host *host = (const struct table_host *)unit;
		add_pair(out, host->listener, host->pattern);
		dump_host(host, out);
		return;
	}
	word_add(out, unit->key);
	if (unit->kind == TABLE_LISTENER)
		dump_listener((const struct table_listener *)unit, out);
	else if (unit->kind == TABLE_BACKEND)
		dump_backend((const struct table_backend *)unit, out);
	else if (unit->kind == TABLE_CERTIFICATE)
		dump_certificate((const struct table_certificate *)unit, out);
	else if (unit->kind == TABLE_CA)
		buf_addc(out, '\n');
	else
		dump_rule((const struct table_rule *)unit, out);
}

void table_dump(const struct table *table, struct buf *out)
{
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		size_t n;
		struct table_unit **list = table_sorted(table, (enum table_kind)kind, &n);
		for (size_t i = 0; i < n; i++)
			table_unit_dump(list[i], out);
		free(list);
	}
}

/* ---- parse ---- */

#define MAX_WORDS 256

struct parser {
	struct arena arena;
	struct table *table;
	enum table_kind kind; /* of the unit at hand; TABLE_KINDS: none yet */
	struct table_listener listener;
	struct table_backend backend;
	struct table_rule rule;
	struct table_edits edits; /* the rule's */
	struct table_host host;
	struct table_certificate certificate;
	struct table_ca ca;
	const char **words;
	int n, at;
};

static const char *next(struct parser *p)
{
	return p->at < p->n ? p->words[p->at++] : NULL;
}

static bool accept(struct parser *p, const char *word)
{
	if (p->at >= p->n || strcmp(p->words[p->at], word))
		return false;
	p->at++;
	return true;
}

static bool number(struct parser *p, long long max, long long *ret)
{
	const char *word = next(p);
	char *end;
	if (!word || !*word)
		return false;
	errno = 0;
	long long value = strtoll(word, &end, 10);
	if (*end || errno || value < 0 || value > max)
		return false;
	*ret = value;
	return true;
}

static bool name_of(struct parser *p, const char *const *names, int n, int *ret)
{
	for (*ret = 0; *ret < n; (*ret)++)
		if (accept(p, names[*ret]))
			return true;
	return false;
}

/* A list grows by doubling inside the parser's arena. */
static void *list_add(struct arena *a, void *list, size_t n, size_t size)
{
	if (n & (n - 1) && n)
		return list;
	char *bigger = arena_array(a, n ? n * 2 : 1, size);
	if (n)
		memcpy(bigger, list, n * size);
	return bigger;
}

static bool parse_listener(struct parser *p)
{
	long long port, bind;
	struct table_listener *listener = &p->listener;
	*listener = (struct table_listener){.unit.key = next(p), .bind_address = ""};
	if (accept(p, "address") && !(listener->bind_address = next(p)))
		return false;
	if (!accept(p, "port") || !number(p, 65535, &port) || !accept(p, "bind") || !number(p, 65535, &bind))
		return false;
	listener->port = (uint16_t)port;
	listener->bind_port = (uint16_t)bind;
	if (!accept(p, "origin") || !(listener->origin = next(p)))
		return false;
	return !accept(p, "tls") || (listener->sni = next(p));
}

static bool text_add(struct parser *p, const char *word, const char ***list, uint32_t *n)
{
	const char *text = accept(p, word) ? next(p) : NULL;
	if (!text)
		return false;
	*list = list_add(&p->arena, *list, *n, sizeof(text));
	(*list)[(*n)++] = text;
	return true;
}

static bool parse_certificate(struct parser *p)
{
	p->certificate = (struct table_certificate){.unit.key = next(p), .pem = ""};
	return p->certificate.unit.key;
}

static bool parse_certificate_part(struct parser *p)
{
	p->certificate.ca_optional |= accept(p, "ca-optional");
	if (p->certificate.ca_optional ? !p->certificate.ca : accept(p, "ca"))
		return (p->certificate.ca = next(p));
	return text_add(p, "name", &p->certificate.names, &p->certificate.n_names);
}

static bool parse_ca(struct parser *p)
{
	p->ca = (struct table_ca){.unit.key = next(p), .pem = ""};
	return p->ca.unit.key;
}

static bool parse_backend(struct parser *p)
{
	int protocol;
	p->backend = (struct table_backend){.unit.key = next(p)};
	if (!name_of(p, protocol_names, 3, &protocol))
		return false;
	p->backend.protocol = (enum table_protocol)protocol;
	return true;
}

static bool parse_backend_tls(struct parser *p)
{
	struct table_tls *tls = p->backend.tls;
	if (accept(p, "tls")) {
		tls = p->backend.tls = arena_alloc(&p->arena, sizeof(*tls));
		return (tls->name = next(p));
	}
	if (tls && text_add(p, "name", &tls->names, &tls->n_names))
		return true;
	if (tls && accept(p, "ca"))
		return (tls->ca = next(p));
	return tls && accept(p, "certificate") && (tls->certificate = next(p));
}

static bool parse_backend_part(struct parser *p)
{
	struct table_backend *backend = &p->backend;
	struct table_endpoint endpoint = {0};
	long long port;
	if (parse_backend_tls(p))
		return true;
	if (!accept(p, "endpoint") || !(endpoint.name = next(p)) || !(endpoint.address = next(p)) ||
	    !number(p, 65535, &port))
		return false;
	endpoint.port = (uint16_t)port;
	endpoint.draining = accept(p, "draining");
	backend->endpoints = list_add(&p->arena, backend->endpoints, backend->n_endpoints, sizeof(endpoint));
	backend->endpoints[backend->n_endpoints++] = endpoint;
	return true;
}

static bool parse_rule(struct parser *p)
{
	int action;
	long long code = 0;
	p->edits = table_no_edits;
	p->rule = (struct table_rule){
	        .unit.key = next(p), .origin = "", .edits = &p->edits, .request_timeout_ms = -1, .backend_timeout_ms = -1};
	if (!name_of(p, action_names, 3, &action))
		return false;
	p->rule.action = (enum table_action)action;
	if (action != TABLE_FORWARD && (!accept(p, "code") || !number(p, 599, &code)))
		return false;
	if (p->rule.action == TABLE_REDIRECT)
		p->edits.redirect.status = (uint16_t)code;
	else
		p->rule.status = (uint16_t)code;
	return true;
}

static bool parse_header(struct parser *p, struct table_headers *headers)
{
	struct table_header header = {0};
	struct table_header **list = &headers->remove;
	uint16_t *n = &headers->n_remove;
	if (accept(p, "set")) {
		list = &headers->set;
		n = &headers->n_set;
	} else if (accept(p, "add")) {
		list = &headers->add;
		n = &headers->n_add;
	} else if (!accept(p, "remove")) {
		return false;
	}
	if (!(header.name = next(p)) || (list != &headers->remove && !(header.value = next(p))))
		return false;
	*list = list_add(&p->arena, *list, *n, sizeof(header));
	(*list)[(*n)++] = header;
	return true;
}

/* "max-age 5 [credentials]" begins it, a list's name and one entry go on. */
static bool parse_cors(struct parser *p, struct table_rule *rule)
{
	long long age;
	int l;
	if (accept(p, "max-age")) {
		if (rule->cors || !number(p, INT32_MAX, &age))
			return false;
		rule->cors = arena_alloc(&p->arena, sizeof(*rule->cors));
		*rule->cors = (struct table_cors){.max_age = (int32_t)age, .credentials = accept(p, "credentials")};
		return true;
	}
	const char *name;
	if (!rule->cors || !name_of(p, cors_names, TABLE_CORS_LISTS, &l) || !(name = next(p)))
		return false;
	struct table_names *list = &rule->cors->lists[l];
	list->names = list_add(&p->arena, list->names, list->n, sizeof(name));
	list->names[list->n++] = name;
	return true;
}

static bool parse_ref(struct parser *p, struct table_rule *rule)
{
	struct table_ref ref = {.backend = next(p)};
	long long weight;
	if (!ref.backend || !accept(p, "weight") || !number(p, UINT32_MAX, &weight))
		return false;
	if (!strcmp(ref.backend, "!500"))
		ref.backend = NULL;
	ref.weight = (uint32_t)weight;
	rule->refs = list_add(&p->arena, rule->refs, rule->n_refs, sizeof(ref));
	rule->refs[rule->n_refs++] = ref;
	return true;
}

static bool timeout(struct parser *p, int64_t *ret_ms)
{
	long long ms;
	if (!number(p, INT64_MAX, &ms))
		return false;
	*ret_ms = ms;
	return true;
}

static bool parse_mirror(struct parser *p, struct table_rule *rule)
{
	struct table_mirror mirror = {.backend = next(p)};
	long long numerator, denominator;
	if (!mirror.backend || !accept(p, "share") || !number(p, INT32_MAX, &numerator) || !accept(p, "of") ||
	    !number(p, INT32_MAX, &denominator))
		return false;
	if (!strcmp(mirror.backend, "!500"))
		mirror.backend = NULL;
	mirror.numerator = (uint32_t)numerator;
	mirror.denominator = (uint32_t)denominator;
	rule->mirrors = list_add(&p->arena, rule->mirrors, rule->n_mirrors, sizeof(mirror));
	rule->mirrors[rule->n_mirrors++] = mirror;
	return true;
}

static bool parse_retry(struct parser *p, struct table_rule *rule)
{
	struct table_retry retry = {.backoff_ms = -1};
	long long attempts, value;
	if (!number(p, TABLE_RETRY_ATTEMPTS, &attempts))
		return false;
	retry.attempts = (uint8_t)attempts;
	if (accept(p, "backoff")) {
		if (!number(p, INT64_MAX, &value))
			return false;
		retry.backoff_ms = value;
	}
	while (accept(p, "code")) {
		if (!number(p, 599, &value))
			return false;
		retry.codes = list_add(&p->arena, retry.codes, retry.n_codes, sizeof(*retry.codes));
		retry.codes[retry.n_codes++] = (uint16_t)value;
	}
	rule->retry = arena_alloc(&p->arena, sizeof(retry));
	*rule->retry = retry;
	return true;
}

static bool parse_session(struct parser *p, struct table_edits *edits)
{
	struct table_session session = {.absolute_ms = -1, .idle_ms = -1, .header = accept(p, "header")};
	if (edits->session || (!session.header && !accept(p, "cookie")))
		return false;
	if (accept(p, "name") && !(session.name = next(p)))
		return false;
	if (accept(p, "absolute") && !timeout(p, &session.absolute_ms))
		return false;
	if (accept(p, "idle") && !timeout(p, &session.idle_ms))
		return false;
	session.permanent = accept(p, "permanent");
	edits->session = arena_alloc(&p->arena, sizeof(session));
	*edits->session = session;
	return true;
}

/* "guard" begins one, what it is made of goes on. */
static bool parse_guard(struct parser *p, struct table_edits *edits)
{
	edits->guards = list_add(&p->arena, edits->guards, edits->n_guards, sizeof(*edits->guards));
	edits->guards[edits->n_guards++] = (struct table_guard){0};
	return true;
}

static bool parse_name(struct parser *p, struct table_names *list)
{
	const char *name = next(p);
	if (!name || list->n == UINT16_MAX)
		return false;
	list->names = list_add(&p->arena, list->names, list->n, sizeof(name));
	list->names[list->n++] = name;
	return true;
}

static bool parse_limit(struct parser *p, struct table_guard *guard)
{
	struct table_limit limit = {.unit = TABLE_SECOND};
	long long requests;
	if (guard->limit || !number(p, UINT32_MAX, &requests))
		return false;
	limit.requests = (uint32_t)requests;
	while (limit.unit < TABLE_UNITS_OF_TIME && !accept(p, unit_names[limit.unit]))
		limit.unit++;
	if (limit.unit == TABLE_UNITS_OF_TIME || !(limit.scope = next(p)))
		return false;
	if (accept(p, "header") && !(limit.header = next(p)))
		return false;
	guard->limit = arena_alloc(&p->arena, sizeof(limit));
	*guard->limit = limit;
	return true;
}

static bool parse_auth(struct parser *p, struct table_guard *guard)
{
	struct table_auth auth = {.salt = next(p)};
	if (guard->auth || !auth.salt || !accept(p, "realm") || !(auth.realm = next(p)))
		return false;
	guard->auth = arena_alloc(&p->arena, sizeof(auth));
	*guard->auth = auth;
	return true;
}

/* Of the guard before it. */
static bool parse_guard_part(struct parser *p, struct table_edits *edits, bool *ret_known)
{
	struct table_guard *last = edits->n_guards ? &edits->guards[edits->n_guards - 1] : NULL;
	*ret_known = last;
	if (last && accept(p, "allow"))
		return parse_name(p, &last->allow);
	if (last && accept(p, "deny"))
		return parse_name(p, &last->deny);
	if (last && accept(p, "limit"))
		return parse_limit(p, last);
	if (last && accept(p, "auth"))
		return parse_auth(p, last);
	if (last && last->auth && accept(p, "user"))
		return parse_name(p, &last->auth->users);
	*ret_known = false;
	return false;
}

static bool parse_port(struct parser *p, uint16_t *ret)
{
	long long port;
	if (!number(p, 65535, &port))
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* What a rule may have, and a reference with "to-" before it. *ret_known: the line was such a one. */
static bool parse_edit(struct parser *p, const char *to, struct table_edits *edits, bool *ret_known)
{
	static const char *const verbs[] = {"request", "response", "rewrite-host", "rewrite-path", "rewrite-prefix"};
	const char *word = p->words[p->at];
	size_t n = strlen(to), verb = 0;
	*ret_known = false;
	if (strncmp(word, to, n) != 0)
		return false;
	while (verb < ARRAY_LEN(verbs) && strcmp(word + n, verbs[verb]) != 0)
		verb++;
	if (verb == ARRAY_LEN(verbs))
		return false;
	*ret_known = true;
	p->at++;
	if (verb < 2)
		return parse_header(p, verb ? &edits->response : &edits->request);
	if (verb == 2)
		return (edits->rewrite.hostname = next(p));
	edits->rewrite.edit = verb == 3 ? TABLE_PATH_FULL : TABLE_PATH_PREFIX_EDIT;
	if (verb == 4 && !(edits->rewrite.prefix = next(p)))
		return false;
	return (edits->rewrite.path = next(p));
}

static bool parse_ref_redirect(struct parser *p, struct table_redirect *redirect)
{
	if (!parse_port(p, &redirect->status)) /* as wide as a port */
		return false;
	if (accept(p, "scheme") && !(redirect->scheme = next(p)))
		return false;
	return !accept(p, "port") || parse_port(p, &redirect->port);
}

/* Of the reference before it. */
static bool parse_ref_edit(struct parser *p, struct table_rule *rule, bool *ret_known)
{
	struct table_ref *ref = rule->n_refs ? &rule->refs[rule->n_refs - 1] : NULL;
	*ret_known = false;
	if (!ref || strncmp(p->words[p->at], "to-", 3) != 0)
		return false;
	if (!ref->edits)
		ref->edits = arena_alloc(&p->arena, sizeof(*ref->edits));
	if (!accept(p, "to-redirect"))
		return parse_edit(p, "to-", ref->edits, ret_known);
	*ret_known = true;
	return parse_ref_redirect(p, &ref->edits->redirect);
}

static bool parse_rule_part(struct parser *p)
{
	struct table_rule *rule = &p->rule;
	bool known;
	bool ok = parse_edit(p, "", &p->edits, &known);
	if (!known)
		ok = parse_ref_edit(p, rule, &known);
	if (!known)
		ok = parse_guard_part(p, &p->edits, &known);
	if (known)
		return ok;
	if (accept(p, "origin"))
		return (rule->origin = next(p));
	if (accept(p, "name"))
		return (rule->name = next(p));
	if (accept(p, "mirror"))
		return parse_mirror(p, rule);
	if (accept(p, "retry"))
		return parse_retry(p, rule);
	if (accept(p, "session"))
		return parse_session(p, &p->edits);
	if (accept(p, "cors"))
		return parse_cors(p, rule);
	if (accept(p, "guard"))
		return parse_guard(p, &p->edits);
	if (accept(p, "scheme"))
		return (p->edits.redirect.scheme = next(p));
	if (accept(p, "request-timeout"))
		return timeout(p, &rule->request_timeout_ms);
	if (accept(p, "backend-timeout"))
		return timeout(p, &rule->backend_timeout_ms);
	if (accept(p, "to"))
		return parse_ref(p, rule);
	return accept(p, "port") && parse_port(p, &p->edits.redirect.port);
}

static bool parse_host(struct parser *p)
{
	struct table_host *host = &p->host;
	*host = (struct table_host){.listener = next(p)};
	host->pattern = next(p);
	if (!host->listener || !host->pattern)
		return false;
	host->unit.key = arena_printf(&p->arena, "%s %s", host->listener, host->pattern);
	return !accept(p, "falls-to") || (host->falls_to = next(p));
}

static bool parse_test(struct parser *p, struct table_test **list, uint16_t *n)
{
	struct table_test test = {.name = next(p)};
	test.regex = accept(p, "~");
	if (!test.name || (!test.regex && !accept(p, "=")) || !(test.value = next(p)))
		return false;
	*list = list_add(&p->arena, *list, *n, sizeof(test));
	(*list)[(*n)++] = test;
	return true;
}

static bool parse_host_part(struct parser *p)
{
	struct table_host *host = &p->host;
	struct table_entry entry = {0};
	struct table_match *match = &entry.match;
	int type;
	if (!name_of(p, path_names, 3, &type) || !(match->path = next(p)))
		return false;
	match->path_type = (enum table_path)type;
	if (accept(p, "path") && !(match->path_regex = next(p)))
		return false;
	if (accept(p, "method") && !(match->method = next(p)))
		return false;
	while (p->at < p->n && !accept(p, "->")) {
		if (accept(p, "header") ? !parse_test(p, &match->headers, &match->n_headers)
		                        : !accept(p, "query") || !parse_test(p, &match->queries, &match->n_queries))
			return false;
	}
	if (!(entry.rule = next(p)))
		return false;
	host->entries = list_add(&p->arena, host->entries, host->n_entries, sizeof(entry));
	host->entries[host->n_entries++] = entry;
	return true;
}

/* The unit at hand is whole: into the table with it. */
static void parse_end(struct parser *p)
{
	if (p->kind == TABLE_LISTENER)
		table_put(p->table, &table_listener_new(&p->listener)->unit);
	else if (p->kind == TABLE_BACKEND)
		table_put(p->table, &table_backend_new(&p->backend)->unit);
	else if (p->kind == TABLE_RULE)
		table_put(p->table, &table_rule_new(&p->rule)->unit);
	else if (p->kind == TABLE_HOST)
		table_put(p->table, &table_host_new(&p->host)->unit);
	else if (p->kind == TABLE_CERTIFICATE)
		table_put(p->table, &table_certificate_new(&p->certificate)->unit);
	else if (p->kind == TABLE_CA)
		table_put(p->table, &table_ca_new(&p->ca)->unit);
	p->kind = TABLE_KINDS;
}

static bool parse_unit(struct parser *p)
{
	int kind;
	parse_end(p);
	if (!name_of(p, kind_names, TABLE_KINDS, &kind))
		return false;
	bool ok = kind == TABLE_LISTENER      ? parse_listener(p)
	          : kind == TABLE_BACKEND     ? parse_backend(p)
	          : kind == TABLE_RULE        ? parse_rule(p)
	          : kind == TABLE_CERTIFICATE ? parse_certificate(p)
	          : kind == TABLE_CA          ? parse_ca(p)
	                                      : parse_host(p);
	if (ok)
		p->kind = (enum table_kind)kind;
	return ok;
}

static bool parse_part(struct parser *p)
{
	if (p->kind == TABLE_BACKEND)
		return parse_backend_part(p);
	if (p->kind == TABLE_RULE)
		return parse_rule_part(p);
	if (p->kind == TABLE_LISTENER)
		return text_add(p, "certificate", &p->listener.certificates, &p->listener.n_certificates);
	if (p->kind == TABLE_CERTIFICATE)
		return parse_certificate_part(p);
	return p->kind == TABLE_HOST && parse_host_part(p);
}

int table_parse(struct table *table, const char *text, struct err *reterr)
{
	const char *words[MAX_WORDS];
	struct parser p = {.table = table, .kind = TABLE_KINDS, .words = words};
	int ret = 0;
	arena_init(&p.arena);
	for (int line = 1; *text && !ret; line++) {
		bool part = *text == '\t';
		p.n = words_split(&p.arena, text, words, MAX_WORDS, &text);
		p.at = 0;
		if (p.n == 0)
			continue;
		if (p.n < 0 || !(part ? parse_part(&p) : parse_unit(&p)) || p.at != p.n)
			ret = err_set(reterr, -EINVAL, "line %d: not a table line", line);
	}
	if (!ret)
		parse_end(&p);
	arena_done(&p.arena);
	return ret;
}
