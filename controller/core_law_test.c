/* The law of core.h: after any walk of puts, deletes, updates and refusals, table, graph and status are those of a fresh
 * core given the same objects in any order; the changes told are exactly the difference of the tables; and the table is one
 * that table.h allows. The universe is small, so that references meet, miss and clash all the time.
 * HATCHWAY_SEED=n replays a walk; HATCHWAY_STEPS its length. */
#include "controller/core_world.h"
#include "controller/graph/condition.h"

#include <unistd.h>

static bool seen[CONDITION_COUNT]; /* by any walk, so that the universe is known to be rich enough */

/* ---- status as it stands after all callbacks ---- */

static void status_given(void *ctx, const struct core_status *status)
{
	struct walk *w = ctx;
	char key[256];
	int n = snprintf(key, sizeof(key), "\n%d %s/%s\n", (int)status->kind, status->namespace, status->name);
	bool deleted = strstr(w->deleted, key);
	memmove(key, key + 1, (size_t)n--);
	size_t i = 0;
	while (i < w->n_status && strncmp(w->status[i], key, (size_t)n) != 0)
		i++;
	if (i == w->n_status && !status->text)
		fail_msg("%s is gone, but was never there", key);
	if (i < w->n_status) {
		if (status->text && !deleted && strcmp(w->status[i] + n, status->text) == 0)
			fail_msg("%s was given again, unchanged", key);
		free(w->status[i]);
		w->status[i] = w->status[--w->n_status];
	}
	if (!status->text)
		return;
	size_t size = (size_t)n + strlen(status->text) + 1;
	w->status[w->n_status] = xmalloc(size);
	snprintf(w->status[w->n_status++], size, "%s%s", key, status->text);
}

static int cmp_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *status_text(struct walk *w)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	if (w->n_status > 1)
		qsort(w->status, w->n_status, sizeof(char *), cmp_text);
	for (size_t i = 0; i < w->n_status; i++)
		buf_adds(&out, w->status[i]);
	return buf_take(&out);
}

static char *people_text(const struct core *core)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	size_t n = core_status_table(core, &out);
	assert_int_equal(core_problems(core, &out), n);
	buf_addf(&out, "%zu\n", n);
	return buf_take(&out);
}

/* ---- infrastructure ---- */

static void add_infra(void *ctx, const struct infra_change *change)
{
	buf_addf(ctx, "%d %s %s/%s of %s%s%s: %s\n", (int)change->verb, infra_kind_name(change->kind), change->namespace,
	         change->name, change->gateway, change->uid ? " uid " : "", change->uid ? change->uid : "",
	         change->text ? change->text : "");
}

static char *infra_text(const struct core *core)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	core_infra(core, add_infra, &out);
	return buf_take(&out);
}

/* No two listeners are bound to one port, but with TLS for different names. */
static void check_binds(const struct table *table)
{
	size_t n;
	struct table_unit **units = table_sorted(table, TABLE_LISTENER, &n);
	for (size_t i = 0; i < n; i++) {
		const struct table_listener *a = (const struct table_listener *)units[i];
		const unsigned first = a->sni ? 24096 : 20000;
		assert_true(a->bind_port >= first && a->bind_port < first + 4096);
		for (size_t k = 0; k < i; k++) {
			const struct table_listener *b = (const struct table_listener *)units[k];
			assert_true(a->bind_port != b->bind_port || (a->sni && b->sni && strcmp(a->sni, b->sni) != 0));
		}
	}
	free(units);
}

/* ---- laws ---- */

static void mirror_changes(struct walk *w, const struct table_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		const struct table_change *c = &changes->list[i];
		const struct table_unit *unit = c->new ? c->new : c->old;
		struct table_unit *held = table_get(w->mirror, unit->kind, unit->key);
		assert_true(!held == !c->old);
		assert_true(!held || table_unit_equal(held, c->old));
		assert_false(c->old && c->new && table_unit_equal(c->old, c->new));
		if (c->new)
			table_put(w->mirror, table_unit_ref(c->new));
		else
			table_delete(w->mirror, unit->kind, unit->key);
	}
}

static int path_rank(enum table_path type)
{
	return type == TABLE_EXACT ? 0 : type == TABLE_REGEX ? 1 : 2;
}

static void check_host(const struct table *table, const struct table_host *host)
{
	assert_non_null(table_listener(table, host->listener));
	assert_true(!host->falls_to || table_host(table, host->listener, host->falls_to));
	for (size_t i = 0; i < host->n_entries; i++) {
		const struct table_entry *e = &host->entries[i];
		assert_non_null(table_rule(table, e->rule));
		if (!i)
			continue;
		const struct table_entry *before = e - 1;
		int c = path_rank(before->match.path_type) - path_rank(e->match.path_type);
		assert_true(c <= 0);
		if (!c && e->match.path_type == TABLE_PREFIX)
			assert_true(strlen(before->match.path) >= strlen(e->match.path));
	}
}

static void check_listener(const struct table *table, const struct table_listener *listener)
{
	assert_true(!listener->sni == !listener->n_certificates);
	for (size_t i = 0; i < listener->n_certificates; i++) {
		const struct table_certificate *certificate = table_certificate(table, listener->certificates[i]);
		assert_non_null(certificate);
		assert_true(!certificate->ca || table_ca(table, certificate->ca));
	}
}

static void check_rule(const struct table *table, const struct table_rule *rule)
{
	for (size_t i = 0; i < rule->n_refs; i++)
		assert_true(!rule->refs[i].backend || table_backend(table, rule->refs[i].backend));
}

/* Endpoints sorted by unique names. */
static void check_backend(const struct table_backend *backend)
{
	for (size_t i = 1; i < backend->n_endpoints; i++)
		assert_true(strcmp(backend->endpoints[i - 1].name, backend->endpoints[i].name) < 0);
}

static void check_table(const struct table *table)
{
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		size_t n;
		struct table_unit **units = table_sorted(table, (enum table_kind)kind, &n);
		for (size_t i = 0; i < n; i++) {
			if (kind == TABLE_HOST)
				check_host(table, (const struct table_host *)units[i]);
			else if (kind == TABLE_LISTENER)
				check_listener(table, (const struct table_listener *)units[i]);
			else if (kind == TABLE_RULE)
				check_rule(table, (const struct table_rule *)units[i]);
			else if (kind == TABLE_BACKEND)
				check_backend((const struct table_backend *)units[i]);
		}
		free(units);
	}
}

static void same(const char *what, char *got, char *expected)
{
	if (strcmp(got, expected) != 0)
		fail_msg("%s: incremental:\n%s\nfrom scratch:\n%s", what, got, expected);
	free(got);
	free(expected);
}

#define REFUSALS 16

/* Sometimes the proxy refuses some units of the table: rules the most, so that routes lose all of theirs; or something
 * nobody wants. */
static size_t some_refusals(struct walk *w, struct haproxy_refusal *refusals)
{
	size_t n = 0;
	for (int kind = 0; kind < TABLE_KINDS; kind++) {
		size_t n_units;
		struct table_unit **units = table_sorted(core_table(w->core), (enum table_kind)kind, &n_units);
		unsigned most = kind == TABLE_RULE ? 8 : 2;
		for (unsigned k = n_units && !roll(w, 3) ? 1 + roll(w, most) : 0; k; k--) {
			const char *key = units[roll(w, (unsigned)n_units)]->key;
			const char *text = roll(w, 2) ? "no" : "never";
			refusals[n++] = (struct haproxy_refusal){(enum table_kind)kind, key, text};
		}
		free(units);
	}
	if (!roll(w, 8)) {
		const char *key = PICK(w, "a/r1/99", "a/r1/0@9", "7f00aa.p", "a/gone/0");
		refusals[n++] = (struct haproxy_refusal){TABLE_RULE, key, "no"};
	}
	BUG_ON(n > REFUSALS);
	return n;
}

static size_t times(const char *text, const char *what)
{
	size_t n = 0;
	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* Some attachedRoutes is above 0 exactly if some route tells Accepted=True; none has wrapped around. */
static void check_attached(const struct walk *w)
{
	size_t accepted = 0, attached = 0;
	for (size_t i = 0; i < w->n_status; i++) {
		const char *text = strchr(w->status[i], '\n');
		if (strstr(text, "\nkind: HTTPRoute\n") || strstr(text, "\nkind: GRPCRoute\n"))
			accepted += times(text, "reason: Accepted\n      status: \"True\"");
		const bool counts = strstr(text, "\nkind: Gateway\n") || strstr(text, "\nkind: ListenerSet\n");
		for (const char *p = text; counts && (p = strstr(p, "attachedRoutes: ")); p++) {
			unsigned long n = strtoul(p + strlen("attachedRoutes: "), NULL, 10);
			assert_true(n <= WORLD);
			attached += n;
		}
	}
	assert_true(!accepted == !attached);
}

static void note_reasons(const char *status)
{
	for (int id = COND_CLASS_ACCEPTED; id < CONDITION_COUNT; id++) {
		const struct condition_kind *kind = condition_kind((enum condition_id)id);
		char text[256];
		for (int indent = 4; indent < 7; indent += 2) {
			snprintf(text, sizeof(text), "%*sreason: %s\n%*sstatus: \"%s\"\n%*stype: %s\n", indent, "", kind->reason,
			         indent, "", kind->status ? "True" : "False", indent, "", kind->type);
			seen[id] |= strstr(status, text) != NULL;
		}
	}
}

static void compare_with_scratch(struct walk *w)
{
	struct haproxy_refusal refusals[REFUSALS];
	size_t n = some_refusals(w, refusals);
	struct walk fresh = {.core = core_for_walk(w->cluster)};
	const char *said = PICK(w, NULL, "quota", "forbidden");
	for (size_t i = w->n; i > 1; i--) { /* any order */
		size_t j = roll(w, (unsigned)i);
		struct object *object = w->world[j];
		w->world[j] = w->world[i - 1];
		w->world[i - 1] = object;
	}
	for (size_t i = 0; i < w->n; i++)
		core_put(fresh.core, object_ref(w->world[i]));
	fixture_update(fresh.core);
	core_refused(fresh.core, refusals, n);
	core_refused(w->core, refusals, n);
	static const struct {
		const char *version;
		bool experimental;
	} releases[] = {{"v1.6.3", false}, {"v1.6.3", true}, {"v1.1.0", false}, {"v1.7.0", true}, {NULL, false}};
	unsigned r = roll(w, ARRAY_LEN(releases));
	core_set_release(w->core, releases[r].version, releases[r].experimental, "forbidden");
	core_set_release(fresh.core, releases[r].version, releases[r].experimental, "forbidden");
	core_infra_said(w->core, "a", "g1", said);
	core_infra_said(fresh.core, "a", "g1", said);
	core_status_changes(w->core, FIXTURE_NOW, SIZE_MAX, status_given, w);
	w->deleted[0] = 0;
	core_status_changes(fresh.core, FIXTURE_NOW, SIZE_MAX, status_given, &fresh);
	for (size_t i = 0; i < w->n_status; i++)
		note_reasons(w->status[i]);
	check_attached(w);
	same("table", fixture_table(w->core), fixture_table(fresh.core));
	same("graph", fixture_graph(w->core), fixture_graph(fresh.core));
	same("status", status_text(w), status_text(&fresh));
	same("infrastructure", infra_text(w->core), infra_text(fresh.core));
	if (w->cluster)
		check_binds(core_table(w->core));
	same("for people", people_text(w->core), people_text(fresh.core));
	for (size_t i = 0; i < fresh.n_status; i++)
		free(fresh.status[i]);
	core_free(fresh.core);
}

static void update(struct walk *w)
{
	struct table_changes changes = {0};
	core_update(w->core, &changes);
	mirror_changes(w, &changes);
	table_changes_done(&changes);
	struct buf mirror;
	buf_init(&mirror, FIXTURE_LIMIT);
	table_dump(w->mirror, &mirror);
	same("changes", buf_take(&mirror), fixture_table(w->core));
}

static void walk(uint64_t seed, unsigned steps, bool cluster)
{
	struct buf text;
	buf_init(&text, TEXT);
	struct walk w = {.random = seed * 0x9e3779b97f4a7c15ull + 1, .core = core_for_walk(cluster), .mirror = table_new(), .text = &text,
	                 .cluster = cluster};
	for (unsigned i = 0; i < 30; i++)
		step(&w);
	for (unsigned i = 0; i < steps; i++) {
		for (unsigned k = 1 + roll(&w, 3); k; k--)
			step(&w);
		update(&w);
		check_table(core_table(w.core));
		if (!roll(&w, 3))
			compare_with_scratch(&w);
	}
	compare_with_scratch(&w);
	while (w.n) {
		core_delete(w.core, w.world[0]->kind, w.world[0]->namespace, w.world[0]->name);
		world_drop(&w, 0);
	}
	update(&w);
	compare_with_scratch(&w);
	assert_int_equal(w.n_status, 0);
	core_free(w.core);
	table_free(w.mirror);
	buf_done(&text);
}

static void test_incremental_is_from_scratch(void **state)
{
	const char *given = getenv("HATCHWAY_SEED"), *steps = getenv("HATCHWAY_STEPS");
	uint64_t first = given ? strtoull(given, NULL, 10) : 1;
	for (uint64_t seed = first; seed < first + (given ? 1 : 20); seed++) {
		print_message("  HATCHWAY_SEED=%llu\n", (unsigned long long)seed);
		for (int cluster = 0; cluster < 2; cluster++)
			walk(seed, steps ? (unsigned)strtoul(steps, NULL, 10) : 150, cluster);
	}
	/* The universe is too small for so many; listener-set-many is not. */
	seen[COND_LISTENER_TOO_MANY] = true;
	for (int id = COND_CLASS_ACCEPTED; !given && !steps && id < CONDITION_COUNT; id++)
		if (!seen[id])
			fail_msg("no walk met %s %s", condition_kind((enum condition_id)id)->type,
			         condition_kind((enum condition_id)id)->reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_incremental_is_from_scratch)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
