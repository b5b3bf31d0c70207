/* Units, tables and changes; their text form stands in table_text.c, their meaning in match.c. */
#include "hatchway/table.h"

#include "hatchway/base/hash.h"

/* ---- copies: measured with one arena, placed into one block with another ---- */

static struct table_header *copy_headers(struct arena *a, const struct table_header *from, size_t n)
{
	struct table_header *to = arena_array(a, n, sizeof(*to));
	for (size_t i = 0; i < n; i++) {
		to[i].name = arena_strdup(a, from[i].name);
		to[i].value = arena_strdup(a, from[i].value);
	}
	return to;
}

static void copy_header_lists(struct arena *a, struct table_headers *to, const struct table_headers *from)
{
	to->set = copy_headers(a, from->set, from->n_set);
	to->add = copy_headers(a, from->add, from->n_add);
	to->remove = copy_headers(a, from->remove, from->n_remove);
}

static struct table_test *copy_tests(struct arena *a, const struct table_test *from, size_t n)
{
	struct table_test *to = arena_array(a, n, sizeof(*to));
	for (size_t i = 0; i < n; i++) {
		to[i] = from[i];
		to[i].name = arena_strdup(a, from[i].name);
		to[i].value = arena_strdup(a, from[i].value);
	}
	return to;
}

static const char **copy_texts(struct arena *a, const char *const *from, size_t n)
{
	const char **to = arena_array(a, n, sizeof(*to));
	for (size_t i = 0; i < n; i++)
		to[i] = arena_strdup(a, from[i]);
	return to;
}

static void *copy_listener(struct arena *a, const void *like)
{
	const struct table_listener *from = like;
	struct table_listener *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->unit.key = arena_strdup(a, from->unit.key);
	to->bind_address = arena_strdup(a, from->bind_address);
	to->origin = arena_strdup(a, from->origin);
	to->sni = arena_strdup(a, from->sni);
	to->certificates = copy_texts(a, from->certificates, from->n_certificates);
	return to;
}

static void *copy_certificate(struct arena *a, const void *like)
{
	const struct table_certificate *from = like;
	struct table_certificate *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->unit.key = arena_strdup(a, from->unit.key);
	to->ca = arena_strdup(a, from->ca);
	to->names = copy_texts(a, from->names, from->n_names);
	to->pem = arena_strdup(a, from->pem);
	return to;
}

static void *copy_ca(struct arena *a, const void *like)
{
	const struct table_ca *from = like;
	struct table_ca *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->unit.key = arena_strdup(a, from->unit.key);
	to->pem = arena_strdup(a, from->pem);
	return to;
}

static struct table_tls *copy_tls(struct arena *a, const struct table_tls *from)
{
	if (!from)
		return NULL;
	struct table_tls *to = arena_alloc(a, sizeof(*to));
	to->name = arena_strdup(a, from->name);
	to->names = copy_texts(a, from->names, from->n_names);
	to->n_names = from->n_names;
	to->ca = arena_strdup(a, from->ca);
	to->certificate = arena_strdup(a, from->certificate);
	return to;
}

static void *copy_backend(struct arena *a, const void *like)
{
	const struct table_backend *from = like;
	struct table_backend *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->unit.key = arena_strdup(a, from->unit.key);
	to->tls = copy_tls(a, from->tls);
	to->endpoints = arena_array(a, from->n_endpoints, sizeof(*to->endpoints));
	for (size_t i = 0; i < from->n_endpoints; i++) {
		to->endpoints[i] = from->endpoints[i];
		to->endpoints[i].name = arena_strdup(a, from->endpoints[i].name);
		to->endpoints[i].address = arena_strdup(a, from->endpoints[i].address);
	}
	return to;
}

const uint16_t table_retry_codes[] = {429, 500, 501, 502, 503, 504, 0};

static struct table_retry *copy_retry(struct arena *a, const struct table_retry *from)
{
	if (!from)
		return NULL;
	struct table_retry *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->codes = arena_array(a, from->n_codes, sizeof(*to->codes));
	for (size_t i = 0; i < from->n_codes; i++)
		to->codes[i] = from->codes[i];
	return to;
}

const struct table_edits table_no_edits;

static struct table_names copy_names(struct arena *a, const struct table_names *from)
{
	return (struct table_names){copy_texts(a, from->names, from->n), from->n};
}

static struct table_guard copy_guard(struct arena *a, const struct table_guard *from)
{
	struct table_guard to = {copy_names(a, &from->allow), copy_names(a, &from->deny), NULL, NULL};
	if (from->limit) {
		to.limit = arena_alloc(a, sizeof(*to.limit));
		*to.limit = *from->limit;
		to.limit->scope = arena_strdup(a, from->limit->scope);
		to.limit->header = arena_strdup(a, from->limit->header);
	}
	if (from->auth) {
		to.auth = arena_alloc(a, sizeof(*to.auth));
		to.auth->realm = arena_strdup(a, from->auth->realm);
		to.auth->salt = arena_strdup(a, from->auth->salt);
		to.auth->users = copy_names(a, &from->auth->users);
	}
	return to;
}

static struct table_edits *copy_edits(struct arena *a, const struct table_edits *from)
{
	if (!from)
		return NULL;
	struct table_edits *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	copy_header_lists(a, &to->request, &from->request);
	copy_header_lists(a, &to->response, &from->response);
	to->rewrite.hostname = arena_strdup(a, from->rewrite.hostname);
	to->rewrite.path = arena_strdup(a, from->rewrite.path);
	to->rewrite.prefix = arena_strdup(a, from->rewrite.prefix);
	to->redirect.scheme = arena_strdup(a, from->redirect.scheme);
	if (from->session) {
		to->session = arena_alloc(a, sizeof(*to->session));
		*to->session = *from->session;
		to->session->name = arena_strdup(a, from->session->name);
	}
	to->guards = arena_array(a, from->n_guards, sizeof(*to->guards));
	for (size_t i = 0; i < from->n_guards; i++)
		to->guards[i] = copy_guard(a, &from->guards[i]);
	return to;
}

static struct table_cors *copy_cors(struct arena *a, const struct table_cors *from)
{
	if (!from)
		return NULL;
	struct table_cors *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	for (size_t l = 0; l < TABLE_CORS_LISTS; l++)
		to->lists[l] = copy_names(a, &from->lists[l]);
	return to;
}

static void *copy_rule(struct arena *a, const void *like)
{
	const struct table_rule *from = like;
	struct table_rule *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->unit.key = arena_strdup(a, from->unit.key);
	to->origin = arena_strdup(a, from->origin);
	to->name = arena_strdup(a, from->name);
	to->edits = from->edits && from->edits != &table_no_edits ? copy_edits(a, from->edits) : &table_no_edits;
	to->cors = copy_cors(a, from->cors);
	to->retry = copy_retry(a, from->retry);
	to->mirrors = arena_array(a, from->n_mirrors, sizeof(*to->mirrors));
	for (size_t i = 0; i < from->n_mirrors; i++) {
		to->mirrors[i] = from->mirrors[i];
		to->mirrors[i].backend = arena_strdup(a, from->mirrors[i].backend);
	}
	to->refs = arena_array(a, from->n_refs, sizeof(*to->refs));
	for (size_t i = 0; i < from->n_refs; i++) {
		to->refs[i] = from->refs[i];
		to->refs[i].backend = arena_strdup(a, from->refs[i].backend);
		to->refs[i].edits = copy_edits(a, from->refs[i].edits);
	}
	return to;
}

/* text, as the end of `whole` if it is that: a host's pattern ends its key. */
static const char *tail_of(struct arena *a, const char *whole, const char *text)
{
	size_t n_whole = strlen(whole), n = strlen(text);
	bool is_tail = n <= n_whole && !strcmp(whole + n_whole - n, text);
	return is_tail ? whole + n_whole - n : arena_strdup(a, text);
}

static void *copy_host(struct arena *a, const void *like)
{
	const struct table_host *from = like;
	struct table_host *to = arena_alloc(a, sizeof(*to));
	*to = *from;
	to->unit.key = arena_strdup(a, from->unit.key);
	to->listener = arena_strdup(a, from->listener);
	to->pattern = tail_of(a, to->unit.key, from->pattern);
	to->falls_to = arena_strdup(a, from->falls_to);
	to->entries = arena_array(a, from->n_entries, sizeof(*to->entries));
	for (size_t i = 0; i < from->n_entries; i++) {
		const struct table_match *match = &from->entries[i].match;
		struct table_entry *entry = &to->entries[i];
		entry->match = *match;
		entry->match.path = arena_strdup(a, match->path);
		entry->match.path_regex = arena_strdup(a, match->path_regex);
		entry->match.method = arena_strdup(a, match->method);
		entry->match.headers = copy_tests(a, match->headers, match->n_headers);
		entry->match.queries = copy_tests(a, match->queries, match->n_queries);
		bool again = i && !strcmp(from->entries[i].rule, from->entries[i - 1].rule);
		entry->rule = again ? entry[-1].rule : arena_strdup(a, from->entries[i].rule);
	}
	return to;
}

static void *unit_new(enum table_kind kind, void *(*copy)(struct arena *, const void *), const void *like)
{
	struct arena arena;
	arena_init(&arena);
	copy(&arena, like);
	size_t size = arena_used(&arena);
	arena_done(&arena);
	void *memory = xmalloc(size);
	arena_fixed(&arena, memory, size);
	struct table_unit *unit = copy(&arena, like);
	unit->refs = 1;
	unit->kind = kind;
	return unit;
}

struct table_listener *table_listener_new(const struct table_listener *like)
{
	return unit_new(TABLE_LISTENER, copy_listener, like);
}

struct table_backend *table_backend_new(const struct table_backend *like)
{
	return unit_new(TABLE_BACKEND, copy_backend, like);
}

struct table_rule *table_rule_new(const struct table_rule *like)
{
	return unit_new(TABLE_RULE, copy_rule, like);
}

struct table_host *table_host_new(const struct table_host *like)
{
	return unit_new(TABLE_HOST, copy_host, like);
}

struct table_certificate *table_certificate_new(const struct table_certificate *like)
{
	return unit_new(TABLE_CERTIFICATE, copy_certificate, like);
}

struct table_ca *table_ca_new(const struct table_ca *like)
{
	return unit_new(TABLE_CA, copy_ca, like);
}

struct table_unit *table_unit_ref(struct table_unit *unit)
{
	if (unit)
		unit->refs++;
	return unit;
}

void table_unit_unref(struct table_unit *unit)
{
	if (!unit)
		return;
	BUG_ON(!unit->refs);
	if (!--unit->refs)
		free(unit);
}

bool table_unit_equal(const struct table_unit *a, const struct table_unit *b)
{
	if (!a || !b || a == b)
		return a == b;
	if (a->kind != b->kind || strcmp(a->key, b->key))
		return false;
	struct buf x, y;
	buf_init(&x, SIZE_MAX / 4);
	buf_init(&y, SIZE_MAX / 4);
	table_unit_dump(a, &x);
	table_unit_dump(b, &y);
	bool equal = x.len == y.len && !memcmp(x.data, y.data, x.len);
	buf_done(&x);
	buf_done(&y);
	return equal;
}

/* ---- the table: open addressing per kind ---- */

struct units {
	struct table_unit **slots;
	size_t n_slots, n; /* n_slots: a power of two */
};

struct table {
	struct units kinds[TABLE_KINDS];
};

struct table *table_new(void)
{
	struct table *table = xcalloc(1, sizeof(*table));
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		table->kinds[kind].n_slots = 16;
		table->kinds[kind].slots = xcalloc(16, sizeof(struct table_unit *));
	}
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		struct units *units = &table->kinds[kind];
		for (size_t i = 0; i < units->n_slots; i++)
			table_unit_unref(units->slots[i]);
		free(units->slots);
	}
	free(table);
}

static uint64_t key_hash(const char *key)
{
	return hash_bytes(key, strlen(key), 0);
}

static struct table_unit **units_slot(const struct units *units, const char *key)
{
	size_t mask = units->n_slots - 1;
	for (size_t i = key_hash(key) & mask;; i = (i + 1) & mask)
		if (!units->slots[i] || !strcmp(units->slots[i]->key, key))
			return &units->slots[i];
}

static void units_grow(struct units *units)
{
	struct units old = *units;
	units->n_slots *= 2;
	units->slots = xcalloc(units->n_slots, sizeof(struct table_unit *));
	for (size_t i = 0; i < old.n_slots; i++)
		if (old.slots[i])
			*units_slot(units, old.slots[i]->key) = old.slots[i];
	free(old.slots);
}

static void units_remove(struct units *units, struct table_unit **slot)
{
	size_t mask = units->n_slots - 1, hole = (size_t)(slot - units->slots);
	table_unit_unref(*slot);
	for (size_t i = (hole + 1) & mask; units->slots[i]; i = (i + 1) & mask) {
		size_t home = key_hash(units->slots[i]->key) & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			units->slots[hole] = units->slots[i];
			hole = i;
		}
	}
	units->slots[hole] = NULL;
	units->n--;
}

struct table_unit *table_get(const struct table *table, enum table_kind kind, const char *key)
{
	return *units_slot(&table->kinds[kind], key);
}

const struct table_listener *table_listener(const struct table *table, const char *key)
{
	return (struct table_listener *)table_get(table, TABLE_LISTENER, key);
}

const struct table_backend *table_backend(const struct table *table, const char *key)
{
	return (struct table_backend *)table_get(table, TABLE_BACKEND, key);
}

const struct table_rule *table_rule(const struct table *table, const char *key)
{
	return (struct table_rule *)table_get(table, TABLE_RULE, key);
}

const struct table_host *table_host(const struct table *table, const char *listener, const char *pattern)
{
	struct buf key;
	buf_init(&key, SIZE_MAX / 4);
	buf_addf(&key, "%s %s", listener, pattern);
	struct table_unit *unit = table_get(table, TABLE_HOST, key.data);
	buf_done(&key);
	return (struct table_host *)unit;
}

const struct table_certificate *table_certificate(const struct table *table, const char *key)
{
	return (struct table_certificate *)table_get(table, TABLE_CERTIFICATE, key);
}

const struct table_ca *table_ca(const struct table *table, const char *key)
{
	return (struct table_ca *)table_get(table, TABLE_CA, key);
}

void table_put(struct table *table, struct table_unit *unit)
{
	struct units *units = &table->kinds[unit->kind];
	struct table_unit **slot = units_slot(units, unit->key);
	if (*slot) {
		table_unit_unref(*slot);
		*slot = unit;
		return;
	}
	*slot = unit;
	if (++units->n * 4 > units->n_slots * 3)
		units_grow(units);
}

void table_delete(struct table *table, enum table_kind kind, const char *key)
{
	struct table_unit **slot = units_slot(&table->kinds[kind], key);
	if (*slot)
		units_remove(&table->kinds[kind], slot);
}

size_t table_count(const struct table *table, enum table_kind kind)
{
	return table->kinds[kind].n;
}

static int unit_cmp(const void *a, const void *b)
{
	const struct table_unit *const *x = a, *const *y = b;
	return strcmp((*x)->key, (*y)->key);
}

struct table_unit **table_sorted(const struct table *table, enum table_kind kind, size_t *ret_n)
{
	const struct units *units = &table->kinds[kind];
	struct table_unit **list = xcalloc(units->n, sizeof(struct table_unit *));
	size_t n = 0;
	for (size_t i = 0; i < units->n_slots; i++)
		if (units->slots[i])
			list[n++] = units->slots[i];
	if (n)
		qsort(list, n, sizeof(struct table_unit *), unit_cmp);
	*ret_n = n;
	return list;
}

/* ---- changes ---- */

static void changes_append(struct table_changes *changes, struct table_unit *old, struct table_unit *new)
{
	if (changes->n == changes->cap) {
		changes->cap = changes->cap ? changes->cap * 2 : 16;
		changes->list = xrealloc(changes->list, changes->cap * sizeof(*changes->list));
	}
	changes->list[changes->n++] = (struct table_change){table_unit_ref(old), table_unit_ref(new)};
}

void table_change(struct table *table, struct table_changes *changes, enum table_kind kind, const char *key,
                  struct table_unit *unit)
{
	struct table_unit *old = table_get(table, kind, key);
	BUG_ON(unit && (unit->kind != kind || strcmp(unit->key, key)));
	if (table_unit_equal(old, unit)) {
		table_unit_unref(unit);
		return;
	}
	/* The unit was changed before in this list: what it was in the beginning stays. Searching is from the end, where a
	 * second change of one unit nearly always is; lists are as long as a change is big. */
	struct table_change *earlier = NULL;
	for (size_t i = changes->n; i && old; i--) {
		if (changes->list[i - 1].new == old) {
			earlier = &changes->list[i - 1];
			break;
		}
	}
	if (earlier) {
		table_unit_unref(earlier->new);
		earlier->new = table_unit_ref(unit);
	} else {
		changes_append(changes, old, unit);
	}
	if (unit)
		table_put(table, unit);
	else
		table_delete(table, kind, key);
}

void table_diff(const struct table *from, const struct table *to, struct table_changes *changes)
{
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		size_t n;
		struct table_unit **list = table_sorted(from, (enum table_kind)kind, &n);
		for (size_t i = 0; i < n; i++)
			if (!table_get(to, (enum table_kind)kind, list[i]->key))
				changes_append(changes, list[i], NULL);
		free(list);
		list = table_sorted(to, (enum table_kind)kind, &n);
		for (size_t i = 0; i < n; i++) {
			struct table_unit *old = table_get(from, (enum table_kind)kind, list[i]->key);
			if (!table_unit_equal(old, list[i]))
				changes_append(changes, old, list[i]);
		}
		free(list);
	}
}

void table_changes_done(struct table_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		table_unit_unref(changes->list[i].old);
		table_unit_unref(changes->list[i].new);
	}
	free(changes->list);
	*changes = (struct table_changes){0};
}
