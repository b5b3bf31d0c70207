/* The reference matcher's walk, printed, and beside each unit what HAProxy refused of it. */
#include "controller/explain.h"

#include "controller/compile/compile.h"
#include "controller/graph/hostname.h"
#include "hatchway/base/words.h"

/* ---- the request ---- */

struct target {
	struct arena arena;
	struct table_request request;
	uint16_t port;
	const char *sni; /* NULL: http:// */
};

static int parse_url(struct target *target, const char *url, struct err *reterr)
{
	const char *rest = strstr(url, "://");
	bool tls = !strncmp(url, "https://", 8);
	target->port = tls ? 443 : 80;
	if (rest && !tls && strncmp(url, "http://", 7))
		return err_set(reterr, -EINVAL, "\"%s\": neither http:// nor https://", url);
	rest = rest ? rest + 3 : url;
	size_t n = strcspn(rest, "/?#");
	if (!n)
		return err_set(reterr, -EINVAL, "\"%s\": no host in it", url);
	if (memchr(rest, '@', n))
		return err_set(reterr, -EINVAL, "\"%s\": user and password are no part of a request; -H 'Authorization: …' is", url);
	target->request.host = arena_strndup(&target->arena, rest, n);
	const char *bracket = strchr(target->request.host, ']');
	const char *colon = strrchr(bracket ? bracket : target->request.host, ':');
	if (colon) {
		char *end;
		unsigned long port = strtoul(colon + 1, &end, 10);
		if (!colon[1] || *end || !port || port > 65535)
			return err_set(reterr, -EINVAL, "\"%s\": no such port", colon + 1);
		target->port = (uint16_t)port;
	}
	target->sni = tls ? arena_strndup(&target->arena, rest, colon ? (size_t)(colon - target->request.host) : n) : NULL;
	size_t n_path = strcspn(rest + n, "?#");
	target->request.path = n_path ? arena_strndup(&target->arena, rest + n, n_path) : "/";
	const char *query = rest + n + n_path;
	target->request.query = *query == '?' ? arena_strndup(&target->arena, query + 1, strcspn(query + 1, "#")) : "";
	return 0;
}

static void parse_headers(struct target *target, const char *const *headers, size_t n)
{
	struct table_header *list = arena_array(&target->arena, n + 1, sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		const char *colon = strchrnul(headers[i], ':');
		const char *value = *colon ? colon + 1 : colon;
		while (*value == ' ')
			value++;
		list[i].name = arena_strndup(&target->arena, headers[i], (size_t)(colon - headers[i]));
		list[i].value = value;
		if (!strcasecmp(list[i].name, "host"))
			target->request.host = value;
	}
	target->request.headers = list;
	target->request.n_headers = n;
}

/* Of several listeners on the port, the one that knows the host: in a cluster every Gateway may have a port 80. With TLS
 * first of all the one with the most specific hostname for the name asked for. */
static bool is_better(const struct table *table, const char *host, const struct table_listener *found,
                      const struct table_listener *listener)
{
	if (found && found->sni && listener->sni && strcmp(found->sni, listener->sni) != 0)
		return hostname_covers(found->sni, listener->sni);
	return !found || (!table_match_host(table, found->unit.key, host) && table_match_host(table, listener->unit.key, host));
}

static const struct table_listener *find_listener(const struct table *table, const struct explain_request *request,
                                                  const struct target *target, struct err *reterr)
{
	const uint16_t port = target->port;
	size_t n;
	struct table_unit **list = table_sorted(table, TABLE_LISTENER, &n);
	const struct table_listener *found = NULL;
	struct buf names;
	buf_init(&names, 400);
	/* The port as the Gateway has it, else as HAProxy binds it, else as --listener says. */
	for (int pass = 0; pass < 2 && !found; pass++) {
		for (size_t i = 0; i < n; i++) {
			const struct table_listener *listener = (const struct table_listener *)list[i];
			bool known = target->sni ? listener->sni && hostname_covers(listener->sni, target->sni) : !listener->sni;
			bool fits = request->listener ? !strcmp(request->listener, listener->unit.key)
			                              : known && (pass ? listener->bind_port : listener->port) == port;
			if (fits && is_better(table, target->request.host, found, listener))
				found = listener;
		}
	}
	for (size_t i = 0; i < n; i++)
		buf_addf(&names, " %s", list[i]->key);
	if (!found && request->listener)
		err_set(reterr, 0, "no listener %s; there are:%s", request->listener, n ? names.data : " none");
	else if (!found)
		err_set(reterr, 0, "no listener on port %u; there are:%s", port, n ? names.data : " none");
	free(list);
	buf_done(&names);
	return found;
}

/* ---- refusals ---- */

struct refused {
	const struct haproxy_refusal *list;
	size_t n;
	const struct explain_request *request;
};

/* What was said of the unit, or NULL. */
static const char *refusal_of(const struct refused *refused, enum table_kind kind, const char *key)
{
	for (size_t i = 0; i < refused->n; i++)
		if (refused->list[i].kind == kind && !strcmp(refused->list[i].key, key))
			return refused->list[i].text;
	return NULL;
}

/* ---- the walk ---- */

/* The reasons, each line indented. */
static void print_why(const struct explain_request *request, enum explain_why why, const char *key, size_t ref,
                      const char *indent, struct buf *out)
{
	struct buf text;
	if (!request->why)
		return;
	buf_init(&text, out->limit);
	request->why(request->why_ctx, why, key, ref, &text);
	for (const char *line = text.data, *end; (end = strchr(line, '\n')); line = end + 1)
		buf_addf(out, "%s%.*s\n", indent, (int)(end - line), line);
	buf_done(&text);
}

struct walk {
	const struct refused *refused;
	struct buf *out;
	size_t hosts;
};

static void print_host(void *ctx, const struct table_host *host)
{
	struct walk *walk = ctx;
	const char *refusal = refusal_of(walk->refused, TABLE_HOST, host->unit.key);
	walk->hosts++;
	const char *rank = strstr(host->pattern, HOST_RANK);
	if (rank)
		buf_addf(walk->out, "host      %.*s, the %ss that come next\n", (int)(rank - host->pattern), host->pattern,
		         strtoul(rank + strlen(HOST_RANK), NULL, 10) & 1 ? "GRPCRoute" : "HTTPRoute");
	else
		buf_addf(walk->out, "host      %s\n", *host->pattern ? host->pattern : "any (\"\")");
	if (refusal)
		buf_addf(walk->out, "          HAProxy refused some of this host, its answers may differ: %s\n", refusal);
}

static void print_entry(void *ctx, const struct table_entry *entry, const char *why)
{
	static const char *const types[] = {"prefix", "exact", "regex"};
	struct buf *out = ((struct walk *)ctx)->out;
	const struct table_match *match = &entry->match;
	buf_addf(out, "          %s %s", why ? "-" : "*", types[match->path_type]);
	word_add(out, match->path);
	if (match->path_regex)
		buf_addf(out, " path ~ \"%s\"", match->path_regex);
	if (match->method)
		buf_addf(out, " method %s", match->method);
	for (size_t i = 0; i < match->n_headers; i++)
		buf_addf(out, " header %s %s \"%s\"", match->headers[i].name, match->headers[i].regex ? "~" : "=",
		         match->headers[i].value);
	for (size_t i = 0; i < match->n_queries; i++)
		buf_addf(out, " query %s %s \"%s\"", match->queries[i].name, match->queries[i].regex ? "~" : "=",
		         match->queries[i].value);
	buf_addf(out, "  -> %s", entry->rule);
	if (why)
		buf_addf(out, "  (no: %s)\n", why);
	else
		buf_adds(out, "  matches\n");
}

/* ---- the answer ---- */

static void print_headers(const char *side, const struct table_headers *headers, struct buf *out)
{
	for (size_t i = 0; i < headers->n_set; i++)
		buf_addf(out, "          %s header set %s: %s\n", side, headers->set[i].name, headers->set[i].value);
	for (size_t i = 0; i < headers->n_add; i++)
		buf_addf(out, "          %s header add %s: %s\n", side, headers->add[i].name, headers->add[i].value);
	for (size_t i = 0; i < headers->n_remove; i++)
		buf_addf(out, "          %s header remove %s\n", side, headers->remove[i].name);
}

static void print_rewrite(const char *indent, const struct table_rewrite *rewrite, struct buf *out)
{
	if (rewrite->hostname)
		buf_addf(out, "%shost becomes %s\n", indent, rewrite->hostname);
	if (rewrite->edit == TABLE_PATH_FULL)
		buf_addf(out, "%spath becomes %s\n", indent, rewrite->path);
	if (rewrite->edit == TABLE_PATH_PREFIX_EDIT)
		buf_addf(out, "%spath prefix %s becomes \"%s\"\n", indent, rewrite->prefix, rewrite->path);
}

static void print_redirect(const struct table_redirect *redirect, struct buf *out)
{
	buf_addf(out, "%u redirect", redirect->status);
	if (redirect->scheme)
		buf_addf(out, ", scheme %s", redirect->scheme);
	if (redirect->port)
		buf_addf(out, ", port %u", redirect->port);
	buf_addc(out, '\n');
}

static void print_cors(const struct table_cors *cors, struct buf *out)
{
	static const char *const what[] = {"origins", "methods", "headers", "exposed headers"};
	if (cors)
		buf_addf(out, "          CORS: preflights are answered 204, max age %d s%s\n", cors->max_age,
		         cors->credentials ? ", with credentials" : "");
	for (size_t l = 0; cors && l < TABLE_CORS_LISTS; l++) {
		const struct table_names *list = &cors->lists[l];
		for (size_t i = 0; i < list->n; i++)
			buf_addf(out, "%s%s%s %s", i ? "," : "          CORS ", i ? "" : what[l], i ? "" : ":", list->names[i]);
		if (list->n)
			buf_addc(out, '\n');
	}
}

static void print_networks(const char *what, const struct table_names *list, struct buf *out)
{
	for (size_t i = 0; i < list->n; i++)
		buf_addf(out, "%s%s", i ? ", " : what, list->names[i]);
}

static void print_addresses(const struct table_guard *guard, struct buf *out)
{
	if (!guard->deny.n && !guard->allow.n)
		return;
	buf_adds(out, "          clients, else 403:");
	print_networks(" not of ", &guard->deny, out);
	buf_adds(out, guard->deny.n && guard->allow.n ? ";" : "");
	print_networks(" only of ", &guard->allow, out);
	buf_addc(out, '\n');
}

static void print_limit(const struct table_limit *limit, struct buf *out)
{
	static const char *const units[] = {"a second", "a minute", "an hour"};
	if (!limit)
		return;
	buf_addf(out, "          %u requests %s of one ", limit->requests, units[limit->unit]);
	if (limit->header)
		buf_addf(out, "value of header %s", limit->header);
	else
		buf_adds(out, "client");
	buf_addf(out, ", else 429; counted for %s\n", limit->scope);
}

static void print_guards(const struct table_edits *edits, struct buf *out)
{
	for (size_t i = 0; i < edits->n_guards; i++)
		print_addresses(&edits->guards[i], out);
	for (size_t i = 0; i < edits->n_guards; i++)
		print_limit(edits->guards[i].limit, out);
	for (size_t i = 0; i < edits->n_guards; i++)
		if (edits->guards[i].auth)
			buf_addf(out, "          users of realm \"%s\" (%u), else 401\n", edits->guards[i].auth->realm,
			         edits->guards[i].auth->users.n);
}

static void print_retry(const struct table_retry *retry, struct buf *out)
{
	if (!retry)
		return;
	buf_addf(out, "          up to %u more tries on broken connections", retry->attempts);
	for (size_t i = 0; i < retry->n_codes; i++)
		buf_addf(out, ", %u", retry->codes[i]);
	if (retry->backoff_ms > 0)
		buf_addf(out, ", each after %lld ms", (long long)retry->backoff_ms);
	buf_addc(out, '\n');
}

static size_t without_slash(const char *path)
{
	size_t n = strlen(path);
	return n && path[n - 1] == '/' ? n - 1 : n;
}

/* The path of the location. */
static void print_path(const struct table_rewrite *rewrite, const char *path, struct buf *out)
{
	const char *to = rewrite->path ? rewrite->path : "";
	size_t begin = out->len;
	if (rewrite->edit == TABLE_PATH_FULL)
		buf_adds(out, to);
	else if (rewrite->edit == TABLE_PATH_PREFIX_EDIT)
		buf_addf(out, "%.*s%s", (int)without_slash(to), to, path + without_slash(rewrite->prefix ? rewrite->prefix : ""));
	else
		buf_adds(out, path);
	if (out->len == begin)
		buf_addc(out, '/');
}

static void print_location(const struct table_edits *edits, const char *indent, const struct table_request *request,
                           struct buf *out)
{
	const struct table_rewrite *rewrite = &edits->rewrite;
	const char *host = rewrite->hostname ? rewrite->hostname : request->host;
	size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	buf_addf(out, "%sLocation: %s://%.*s", indent, edits->redirect.scheme ? edits->redirect.scheme : "http", (int)n, host);
	if (edits->redirect.port)
		buf_addf(out, ":%u", edits->redirect.port);
	print_path(rewrite, request->path, out);
	buf_addf(out, "%s%s\n", *request->query ? "?" : "", request->query);
}

static void print_session(const struct table_session *session, struct buf *out)
{
	if (!session)
		return;
	buf_addf(out, "          sessions: a client stays with its endpoint by a %s, %s", session->header ? "header" : "cookie",
	         session->name ? session->name : "hatchway-…");
	if (session->absolute_ms >= 0)
		buf_addf(out, ", for %lld ms", (long long)session->absolute_ms);
	if (session->idle_ms >= 0)
		buf_addf(out, ", until it rests for %lld ms", (long long)session->idle_ms);
	buf_addc(out, '\n');
}

/* Where a reference's own filters lead: its redirect, or its rewrite. */
static void print_ref_lead(const struct table_edits *edits, const struct table_request *request, struct buf *out)
{
	if (!edits->redirect.status) {
		print_rewrite("            its own ", &edits->rewrite, out);
		return;
	}
	buf_adds(out, "            answers itself: ");
	print_redirect(&edits->redirect, out);
	print_location(edits, "            ", request, out);
}

static void print_backend(const struct table *table, const struct refused *refused, const struct table_request *request,
                          const struct table_rule *rule, size_t index, double share, struct buf *out)
{
	const struct table_ref *ref = &rule->refs[index];
	const struct table_backend *backend = ref->backend ? table_backend(table, ref->backend) : NULL;
	buf_addf(out, "          %-40s weight %-4u %6.2f %%", ref->backend ? ref->backend : "invalid reference: answers 500",
	         ref->weight, share);
	if (backend && !backend->n_endpoints)
		buf_adds(out, "  no ready endpoint: answers 503");
	buf_addc(out, '\n');
	if (ref->edits) {
		print_headers("  its own request", &ref->edits->request, out);
		print_headers("  its own response", &ref->edits->response, out);
		print_ref_lead(ref->edits, request, out);
	}
	if (!ref->backend)
		print_why(refused->request, WHY_REF, rule->unit.key, index, "            ", out);
	else if (backend && !backend->n_endpoints)
		print_why(refused->request, WHY_NO_ENDPOINT, ref->backend, 0, "            ", out);
	const char *refusal = ref->backend ? refusal_of(refused, TABLE_BACKEND, ref->backend) : NULL;
	if (refusal)
		buf_addf(out, "            HAProxy refused this backend or an endpoint of it: %s\n", refusal);
	for (size_t i = 0; backend && i < backend->n_endpoints; i++) {
		const struct table_endpoint *endpoint = &backend->endpoints[i];
		bool v6 = strchr(endpoint->address, ':');
		buf_addf(out, "            %s %s%s%s:%u%s\n", endpoint->name, v6 ? "[" : "", endpoint->address, v6 ? "]" : "",
		         endpoint->port, endpoint->draining ? " draining" : "");
	}
}

static void print_forward(const struct table *table, const struct refused *refused, const struct table_request *request,
                          const struct table_rule *rule, struct buf *out)
{
	double sum = 0;
	for (size_t i = 0; i < rule->n_refs; i++)
		sum += rule->refs[i].weight;
	if (sum <= 0) {
		buf_adds(out, "answer    500: no backend to send it to\n");
		print_why(refused->request, WHY_NOWHERE, rule->unit.key, 0, "          ", out);
		return;
	}
	print_guards(rule->edits, out);
	print_cors(rule->cors, out);
	print_headers("request", &rule->edits->request, out);
	print_rewrite("          ", &rule->edits->rewrite, out);
	for (size_t i = 0; i < rule->n_mirrors; i++)
		buf_addf(out, "          mirrored to %s, %u of %u\n",
		         rule->mirrors[i].backend ? rule->mirrors[i].backend : "nobody: invalid reference",
		         rule->mirrors[i].numerator, rule->mirrors[i].denominator);
	print_retry(rule->retry, out);
	print_session(rule->edits->session, out);
	if (rule->request_timeout_ms > 0)
		buf_addf(out, "          request timeout %lld ms\n", (long long)rule->request_timeout_ms);
	if (rule->backend_timeout_ms > 0)
		buf_addf(out, "          backend request timeout %lld ms\n", (long long)rule->backend_timeout_ms);
	print_headers("response", &rule->edits->response, out);
	buf_adds(out, "answer    forwarded to\n");
	for (size_t i = 0; i < rule->n_refs; i++)
		print_backend(table, refused, request, rule, i, 100.0 * rule->refs[i].weight / sum, out);
}

static void print_rule(const struct table *table, const struct refused *refused, const struct table_request *request,
                       const char *key, struct buf *out)
{
	const char *refusal = refusal_of(refused, TABLE_RULE, key);
	const struct table_rule *rule = table_rule(table, key);
	buf_addf(out, "rule      %s", key);
	if (rule && rule->name)
		buf_addf(out, " (%s)", rule->name);
	buf_addc(out, '\n');
	if (!rule) {
		buf_adds(out, "answer    500: the rule cannot be served\n");
	} else if (refusal) {
		buf_addf(out, "answer    500: HAProxy refused this rule: %s\n", refusal);
	} else if (rule->action == TABLE_STATUS) {
		buf_addf(out, "answer    %u\n", rule->status);
		print_why(refused->request, WHY_RULE, key, 0, "          ", out);
	} else if (rule->action == TABLE_REDIRECT && !*request->host && !rule->edits->rewrite.hostname) {
		buf_adds(out, "answer    400: a redirect needs a Host\n");
	} else if (rule->action == TABLE_REDIRECT) {
		print_guards(rule->edits, out);
		print_cors(rule->cors, out);
		print_rewrite("          ", &rule->edits->rewrite, out);
		print_headers("response", &rule->edits->response, out);
		buf_adds(out, "answer    ");
		print_redirect(&rule->edits->redirect, out);
		print_location(rule->edits, "          ", request, out);
	} else {
		print_forward(table, refused, request, rule, out);
	}
}

static void print_certificate(const struct table *table, const struct refused *refused, const char *key, struct buf *out)
{
	const struct table_certificate *certificate = table_certificate(table, key);
	const char *refusal = refusal_of(refused, TABLE_CERTIFICATE, key);
	buf_addf(out, "          certificate %s for", key);
	for (uint32_t i = 0; certificate && i < certificate->n_names; i++)
		buf_addf(out, " %s", certificate->names[i]);
	if (certificate && certificate->ca)
		buf_adds(out, certificate->ca_optional ? "; clients are asked for a certificate" : "; clients must show a certificate");
	buf_addf(out, "%s%s\n", refusal ? ": HAProxy refused it: " : "", refusal ? refusal : "");
}

static bool is_token(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~");
	return n && !text[n];
}

static bool is_printable(const char *text)
{
	while (*text > ' ' && *text < 0x7f)
		text++;
	return !*text;
}

/* What HAProxy's parser says 400 to before it looks for a route; NULL: nothing. */
static const char *bad_request(const struct table_request *request)
{
	if (!is_token(request->method) || !strcmp(request->method, "CONNECT"))
		return "such a method";
	if (!is_printable(request->host) || strpbrk(request->host, "#,/?@\\"))
		return "such a Host";
	if (*request->host == '[' ? !strchr(request->host, ']') : strpbrk(request->host, "[]") != NULL)
		return "such a Host";
	if (!is_printable(request->path) || !is_printable(request->query))
		return "a path with anything but printable ASCII (percent-encode it)";
	return NULL;
}

int explain(const struct table *table, const struct haproxy_refusal *refusals, size_t n_refusals,
            const struct explain_request *request, struct buf *out, struct err *reterr)
{
	const struct refused refused = {refusals, n_refusals, request};
	struct walk to = {&refused, out, 0};
	struct target target = {.request = {.host = "", .method = request->method, .path = "/", .query = ""}};
	const struct table_walk walk = {print_host, print_entry, &to};
	arena_init(&target.arena);
	int ret = parse_url(&target, request->url, reterr);
	parse_headers(&target, request->headers, request->n_headers);
	const struct table_listener *listener = ret ? NULL : find_listener(table, request, &target, reterr);
	if (!listener) {
		if (!ret)
			print_why(request, WHY_NO_LISTENER, "", 0, "", out);
		arena_done(&target.arena);
		return -EINVAL;
	}
	target.request.listener = listener->unit.key;
	buf_addf(out, "request   %s http%s://%s%s%s%s\n", target.request.method, target.sni ? "s" : "",
	         target.request.host, target.request.path,
	         *target.request.query ? "?" : "", target.request.query);
	buf_addf(out, "listener  %s (port %u, bound to %s%s%u, from %s)\n", listener->unit.key, listener->port,
	         listener->bind_address, *listener->bind_address ? ":" : "port ", listener->bind_port, listener->origin);
	if (listener->sni)
		buf_addf(out, "          TLS, for the name %s\n", *listener->sni ? listener->sni : "any (\"\")");
	for (uint32_t i = 0; i < listener->n_certificates; i++)
		print_certificate(table, &refused, listener->certificates[i], out);
	const char *bad = bad_request(&target.request);
	const struct table_entry *entry = bad ? NULL : table_match(table, &target.request, &walk);
	const char *refusal = refusal_of(&refused, TABLE_LISTENER, listener->unit.key);
	if (bad && !refusal)
		buf_addf(out, "answer    400: HAProxy itself takes no request with %s\n", bad);
	else if (refusal)
		buf_addf(out, "answer    none: HAProxy does not listen there: %s\n", refusal);
	else if (entry)
		print_rule(table, &refused, &target.request, entry->rule, out);
	else
		buf_adds(out, "answer    404: no rule matches\n");
	if (!refusal && !bad && !to.hosts) {
		buf_addf(out, "          no listener of port %u has such a hostname\n", listener->port);
		print_why(request, WHY_NO_LISTENER, "", 0, "          ", out);
	}
	arena_done(&target.arena);
	return entry ? 0 : 1;
}
