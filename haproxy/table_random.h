/* Random tables for property tests: few names and many collisions, so that small tables are full of overlaps.
 * For tests only. The same seed makes the same tables everywhere; HATCHWAY_SEED replays one. */
#ifndef HATCHWAY_HAPROXY_TABLE_RANDOM_H
#define HATCHWAY_HAPROXY_TABLE_RANDOM_H

#include "hatchway/table.h"

#include <stdbool.h>

struct dice {
	uint64_t state;
};

UNUSED static struct dice dice_new(uint64_t seed)
{
	const char *text = getenv("HATCHWAY_SEED");
	struct dice dice = {text ? strtoull(text, NULL, 0) : seed};
	fprintf(stderr, "HATCHWAY_SEED=%llu\n", (unsigned long long)dice.state);
	dice.state = (dice.state ^ 0x6a09e667f3bcc909ull) * 0xd1342543de82ef95ull;
	return dice;
}

static uint64_t dice_next(struct dice *dice)
{
	uint64_t z = dice->state += 0x9e3779b97f4a7c15ull;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static unsigned dice_below(struct dice *dice, unsigned n)
{
	return (unsigned)(dice_next(dice) % n);
}

static bool dice_one_in(struct dice *dice, unsigned n)
{
	return !dice_below(dice, n);
}

#define dice_pick(dice, list) ((list)[dice_below(dice, (unsigned)ARRAY_LEN(list))])

#define RANDOM_BACKENDS 8
#define RANDOM_RULES 14

static const char *const random_listeners[] = {"80", "127.0.0.2:80"};
static const char *const random_patterns[] = {"",      "*.b",   "*.a.b",     "a.b",     "x.a.b",
                                              "y.a.b", "10.0.0.1", "[::1]", "*.x.a.b", "b",
                                              "a.b.R4", "*.a.b.R0"};
/* What each falls to when it does: something less specific. */
static const char *const random_falls[] = {NULL, "", "*.b", "a.b.R4", "*.a.b", "*.b", "", "", "*.a.b", "", "*.a.b.R0", "*.b"};
static const char *const random_segments[] = {"a", "b", "A", "ab", "a;x", "a%20b", "%41", "!", "~", "a.b", "a,b", "$&'()*+=:@"};
static const char *const random_regexes[] = {"/a.*", "/[ab]+/.*", "/(a|b)", ".*b", "/a/?", "(/[a-z]+)\\1", "/a\\Qb c\\E|/ab", "(?i)/A"};

/* Endpoint j of backend i listens on first_port + i; one in six backends has none. */
UNUSED static struct table_unit *random_backend(struct dice *dice, unsigned i, uint16_t first_port)
{
	static const char *const names[] = {"p1", "p2", "p3", "p4"};
	struct table_endpoint endpoints[4];
	struct table_backend backend = {.endpoints = endpoints};
	char key[32];
	snprintf(key, sizeof(key), "ns.s%u:80", i);
	backend.unit.key = key;
	size_t most = dice_one_in(dice, 6) ? 0 : 1 + dice_below(dice, 4);
	for (size_t j = 0; j < most; j++)
		endpoints[backend.n_endpoints++] = (struct table_endpoint){
			.name = names[j], .address = "127.0.0.1", .port = (uint16_t)(first_port + i),
			.draining = dice_one_in(dice, 8)};
	return &table_backend_new(&backend)->unit;
}

static void random_refs(struct dice *dice, struct table_rule *rule, struct table_ref *refs, char keys[][32])
{
	static const uint32_t weights[] = {0, 1, 1, 1, 9, 10, 90, 99, 1000, 999999, 33};
	rule->refs = refs;
	rule->n_refs = dice_one_in(dice, 12) ? 0 : dice_one_in(dice, 3) ? 2 + dice_below(dice, 2) : 1;
	for (size_t i = 0; i < rule->n_refs; i++) {
		snprintf(keys[i], 32, "ns.s%u:80", dice_below(dice, RANDOM_BACKENDS + 1));
		refs[i] = (struct table_ref){.backend = dice_one_in(dice, 12) ? NULL : keys[i],
		                             .weight = rule->n_refs > 1 ? dice_pick(dice, weights) : 1};
	}
}

static void random_headers(struct dice *dice, struct table_headers *headers, struct table_header list[3])
{
	static const char *const values[] = {"1", "two words", "q\"uo;te\\", "%[src]", "", "a,b", "h\xc3\xa9"};
	list[0] = (struct table_header){"X-A", dice_pick(dice, values)};
	list[1] = (struct table_header){dice_one_in(dice, 2) ? "x-b" : "X-A", dice_pick(dice, values)};
	list[2] = (struct table_header){dice_one_in(dice, 2) ? "x-c" : "X-B", NULL};
	headers->set = &list[0];
	headers->add = &list[1];
	headers->remove = &list[2];
	headers->n_set = dice_below(dice, 2);
	headers->n_add = dice_below(dice, 2);
	headers->n_remove = dice_below(dice, 2);
}

static void random_redirect(struct dice *dice, struct table_redirect *redirect)
{
	static const uint16_t codes[] = {301, 302, 303, 307, 308};
	redirect->status = dice_pick(dice, codes);
	redirect->scheme = dice_one_in(dice, 2) ? "https" : NULL;
	redirect->port = dice_one_in(dice, 2) ? 8443 : 0;
}

static void random_rewrite(struct dice *dice, struct table_rewrite *rewrite)
{
	static const char *const paths[] = {"", "/", "/new", "/new/", "/n/w", "/w h\"?#x"};
	rewrite->hostname = dice_one_in(dice, 3) ? "inner.host" : NULL;
	rewrite->edit = (enum table_path_edit)dice_below(dice, 3);
	rewrite->path = dice_pick(dice, paths);
	rewrite->prefix = "/";
}

static const char *const random_origins[] = {"https://www.foo.com", "https://*.bar.com", "http://a:8080", "https://B.c:443",
                                             "http://*", "http://x.y:80"};

/* Three of the origins next to each other, or any. */
static struct table_cors random_cors(struct dice *dice)
{
	static const char *const methods[] = {"GET", "OPTIONS", "PUT"}, *const headers[] = {"x-1", "X-2"};
	static const char *const expose[] = {"x-3", "*"}, *const any[] = {"*"};
	struct table_cors cors = {.max_age = 1 + (int32_t)dice_below(dice, 3600), .credentials = dice_one_in(dice, 2)};
	const char *const *lists[] = {random_origins + dice_below(dice, 4), methods, headers, expose};
	const uint16_t most[] = {3, 3, 2, 2};
	for (size_t l = 0; l < TABLE_CORS_LISTS; l++) {
		cors.lists[l] = (struct table_names){(const char **)(uintptr_t)lists[l], (uint16_t)dice_below(dice, most[l] + 1u)};
		if (dice_one_in(dice, 3))
			cors.lists[l] = (struct table_names){(const char **)(uintptr_t)any, 1};
	}
	return cors;
}

UNUSED static struct table_unit *random_rule(struct dice *dice, unsigned i)
{
	struct table_edits own = {0};
	struct table_rule rule = {.origin = "ns.route", .edits = &own, .request_timeout_ms = -1, .backend_timeout_ms = -1};
	struct table_header request[3], response[3];
	struct table_cors cors;
	struct table_ref refs[4];
	struct table_edits edits[4] = {0};
	struct table_header edited[4][2][3];
	char key[16], keys[4][32];
	snprintf(key, sizeof(key), "r%u", i);
	rule.unit.key = key;
	if (dice_one_in(dice, 12)) {
		rule.action = TABLE_STATUS;
		rule.status = dice_one_in(dice, 2) ? 500 : 421;
		return &table_rule_new(&rule)->unit;
	}
	if (dice_one_in(dice, 5))
		rule.action = TABLE_REDIRECT;
	else
		random_refs(dice, &rule, refs, keys);
	if (rule.action == TABLE_REDIRECT)
		random_redirect(dice, &own.redirect);
	const bool rewritten = dice_one_in(dice, 3) || rule.action == TABLE_REDIRECT;
	if (rewritten)
		random_rewrite(dice, &own.rewrite);
	if (dice_one_in(dice, 3) && rule.action == TABLE_FORWARD)
		random_headers(dice, &own.request, request);
	if (dice_one_in(dice, 3))
		random_headers(dice, &own.response, response);
	for (size_t r = 0; r < rule.n_refs; r++) {
		if (!dice_one_in(dice, 5))
			continue;
		random_headers(dice, &edits[r].request, edited[r][0]);
		random_headers(dice, &edits[r].response, edited[r][1]);
		if (!rewritten && dice_one_in(dice, 2))
			random_rewrite(dice, &edits[r].rewrite);
		if (!rewritten && dice_one_in(dice, 3))
			random_redirect(dice, &edits[r].redirect);
		refs[r].edits = &edits[r];
	}
	bool edited_refs = false;
	for (size_t r = 0; r < rule.n_refs; r++)
		edited_refs |= refs[r].edits != NULL;
	struct table_session session = {.name = dice_one_in(dice, 2) ? "SID" : NULL, .header = dice_one_in(dice, 3),
	                                .absolute_ms = dice_one_in(dice, 3) ? 3600000 : -1, .idle_ms = dice_one_in(dice, 3) ? 60000 : -1};
	if (rule.action == TABLE_FORWARD && !edited_refs && dice_one_in(dice, 6))
		own.session = &session;
	/* Clients of the tests come from 127.0.0.1 and 127.0.0.2. */
	static const char *const networks[] = {"127.0.0.0/8", "127.0.0.2/32", "127.0.0.0/31", "10.0.0.0/8", "::/0", "0.0.0.0/0"};
	static const char *const users[] = {"anna:o3wf9UHesKhlTWu0Z+EazzjJgg1zofC1U1hjmO2n8vw=", "b c:oiYWJZw4CQgmdWpze671GDaoOy0BWLtHWE/RTHFVtJs="};
	struct table_guard guards[2] = {0};
	struct table_limit limits[2];
	struct table_auth auth = {"Staff only", "ns/f", {(const char **)(uintptr_t)users, 2}};
	if (dice_one_in(dice, 6)) {
		own.guards = guards;
		own.n_guards = 1 + dice_below(dice, 2);
	}
	for (size_t g = 0; g < own.n_guards; g++) {
		struct table_names *list = dice_one_in(dice, 2) ? &guards[g].allow : &guards[g].deny;
		unsigned first = dice_below(dice, 6);
		*list = (struct table_names){(const char **)(uintptr_t)(networks + first), (uint16_t)(1 + dice_below(dice, 6 - first))};
		/* More than any test asks for. */
		limits[g] = (struct table_limit){"ns/f", dice_one_in(dice, 2) ? "X-Key" : NULL, 1000000, (enum table_unit_of_time)g};
		guards[g].limit = dice_one_in(dice, 3) ? &limits[g] : NULL;
		guards[g].auth = dice_one_in(dice, 4) ? &auth : NULL;
	}
	struct table_retry retry = {.attempts = 2, .n_codes = 1, .codes = (uint16_t[]){503}, .backoff_ms = dice_one_in(dice, 2) ? 1 : -1};
	if (dice_one_in(dice, 6) && rule.action == TABLE_FORWARD)
		rule.retry = &retry;
	struct table_mirror mirrors[] = {{"ns.s1:80", 1, 2}, {NULL, 1, 1}, {"ns.s2:80", 1, 1}};
	if (dice_one_in(dice, 6) && rule.action == TABLE_FORWARD) {
		rule.mirrors = mirrors;
		rule.n_mirrors = 1 + dice_below(dice, 3);
	}
	if (dice_one_in(dice, 4)) {
		cors = random_cors(dice);
		rule.cors = &cors;
	}
	if (dice_one_in(dice, 6) && rule.action == TABLE_FORWARD)
		rule.request_timeout_ms = dice_one_in(dice, 2) ? 0 : 20000;
	return &table_rule_new(&rule)->unit;
}

UNUSED static void random_path(struct dice *dice, char *ret, size_t size)
{
	size_t n = 0;
	*ret = 0;
	for (unsigned i = dice_below(dice, 4); i-- > 0 && n < size;)
		n += (size_t)snprintf(ret + n, size - n, "/%s", dice_one_in(dice, 3) ? dice_pick(dice, random_segments)
		                                                                    : dice_one_in(dice, 2) ? "a" : "b");
	if ((dice_one_in(dice, 4) || !n) && n < size)
		snprintf(ret + n, size - n, "/");
}

static size_t prefix_length(const struct table_entry *entry)
{
	size_t n = strlen(entry->match.path);
	return n && entry->match.path[n - 1] == '/' ? n - 1 : n;
}

/* EXACT, REGEX, PREFIX by falling length: the contract of table_host. */
static int entry_cmp(const void *a, const void *b)
{
	static const int rank[] = {[TABLE_EXACT] = 0, [TABLE_REGEX] = 1, [TABLE_PREFIX] = 2};
	const struct table_entry *x = a, *y = b;
	int r = rank[x->match.path_type] - rank[y->match.path_type];
	if (r || x->match.path_type != TABLE_PREFIX)
		return r;
	return (prefix_length(x) < prefix_length(y)) - (prefix_length(x) > prefix_length(y));
}

struct random_entry {
	char path[200], rule[16];
	struct table_test headers[2], queries[2];
};

static void random_tests(struct dice *dice, struct table_match *match, struct random_entry *memory)
{
	static const struct table_test headers[] = {{"X-V", "v1", false}, {"x-v", "v2", false}, {"x-v", "v[0-9]+", true},
	                                            {"x-w", "a b;\"\\%", false}, {"X-V", "v1,v2", false}, {"x-w", ".*", true}};
	static const struct table_test queries[] = {{"q", "1", false}, {"q", "a b", false}, {"Q", "1", false},
	                                            {"q", "[0-9]+", true}, {"e", "", false}, {"a+b", "&=", false},
	                                            {"&", "1", false}};
	static const char *const methods[] = {"GET", "POST", "PUT"};
	match->method = dice_one_in(dice, 4) ? dice_pick(dice, methods) : NULL;
	match->headers = memory->headers;
	match->queries = memory->queries;
	match->n_headers = dice_one_in(dice, 3) ? 1 + dice_below(dice, 2) : 0;
	match->n_queries = dice_one_in(dice, 4) ? 1 + dice_below(dice, 2) : 0;
	for (size_t i = 0; i < match->n_headers; i++)
		memory->headers[i] = dice_pick(dice, headers);
	for (size_t i = 0; i < match->n_queries; i++)
		memory->queries[i] = dice_pick(dice, queries);
}

UNUSED static struct table_unit *random_host(struct dice *dice, const char *listener, unsigned pattern)
{
	struct random_entry memory[12];
	struct table_entry entries[12];
	char key[64];
	struct table_host host = {.listener = listener, .pattern = random_patterns[pattern], .entries = entries};
	snprintf(key, sizeof(key), "%s %s", listener, host.pattern);
	host.unit.key = key;
	host.falls_to = dice_one_in(dice, 3) ? random_falls[pattern] : NULL;
	host.n_entries = dice_below(dice, 12);
	for (size_t i = 0; i < host.n_entries; i++) {
		struct random_entry *m = &memory[i];
		random_path(dice, m->path, sizeof(m->path));
		snprintf(m->rule, sizeof(m->rule), "r%u", dice_below(dice, RANDOM_RULES + 1));
		entries[i] = (struct table_entry){.match = {.path_type = TABLE_PREFIX, .path = m->path}, .rule = m->rule};
		if (dice_one_in(dice, 3))
			entries[i].match.path_type = TABLE_EXACT;
		else if (dice_one_in(dice, 12))
			entries[i].match = (struct table_match){.path_type = TABLE_REGEX, .path = dice_pick(dice, random_regexes)};
		if (dice_one_in(dice, 2))
			random_tests(dice, &entries[i].match, m);
	}
	/* Insertion sort: stable, as the order inside one path is the table's. */
	for (size_t i = 1; i < host.n_entries; i++) {
		struct table_entry entry = entries[i];
		size_t j = i;
		for (; j && entry_cmp(&entries[j - 1], &entry) > 0; j--)
			entries[j] = entries[j - 1];
		entries[j] = entry;
	}
	return &table_host_new(&host)->unit;
}

UNUSED static struct table_unit *random_listener(const char *key, const char *address, uint16_t bind_port)
{
	struct table_listener listener = {.unit.key = key, .bind_address = address, .port = 80, .bind_port = bind_port,
	                                  .origin = "ns/gateway"};
	return &table_listener_new(&listener)->unit;
}

/* Replaces or deletes one random unit. */
UNUSED static void random_step(struct dice *dice, struct table *table, struct table_changes *changes, uint16_t first_port)
{
	char key[64];
	struct table_unit *unit = NULL;
	enum table_kind kind = (enum table_kind)(1 + dice_below(dice, 3));
	unsigned i;
	if (kind == TABLE_BACKEND) {
		snprintf(key, sizeof(key), "ns.s%u:80", i = dice_below(dice, RANDOM_BACKENDS));
		unit = dice_one_in(dice, 6) ? NULL : random_backend(dice, i, first_port);
	} else if (kind == TABLE_RULE) {
		snprintf(key, sizeof(key), "r%u", i = dice_below(dice, RANDOM_RULES));
		unit = dice_one_in(dice, 6) ? NULL : random_rule(dice, i);
	} else {
		const char *listener = dice_pick(dice, random_listeners);
		i = dice_below(dice, (unsigned)ARRAY_LEN(random_patterns));
		snprintf(key, sizeof(key), "%s %s", listener, random_patterns[i]);
		unit = dice_one_in(dice, 5) ? NULL : random_host(dice, listener, i);
	}
	table_change(table, changes, kind, key, unit);
}

#endif
