/* Entries → groups by path key → chains. Pure: everything comes from the arguments and goes to the scratch arena.
 *
 * Entries come as EXACT, then REGEX, then PREFIX by falling length. A request's path finds its longest key by itself, so
 * what a key must hold is the entries of that very path, then what else can still match: the regexes (behind EXACT, before
 * PREFIX), then the entries of every shorter prefix that covers it, longest first, then the less specific host. */
#include "haproxy/chain.h"

#include "haproxy/encode.h"

#include <errno.h>

/* One path key. parent: index of the longest prefix group that covers it, or -1. */
struct group {
	const char *key;     /* "/hello/" or "/hello/#", behind the host key */
	bool exact;
	size_t *entries, n_entries; /* in order */
	long parent;
	const char *tail;    /* reference or "?<id>" of this group's own entries and those behind; prefix groups only */
};

struct build {
	const struct table_host *host;
	chain_reference_fn *reference;
	void *ctx;
	struct arena *arena;
	struct chain_host *ret;
	struct group *groups;
	size_t n_groups, cap_paths, cap_chains, cap_regexes;
	const char *regexes; /* "?<id>" of the chain of regex entries, or NULL */
	const char *falls;   /* "?<id>" of the chain that only falls, or NULL */
};

/* Doubles an array in the arena; the old one stays behind as scratch. */
static void *grow(struct arena *arena, void *list, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return list;
	*cap = *cap ? *cap * 2 : 8;
	void *bigger = arena_array(arena, *cap, size);
	if (n)
		memcpy(bigger, list, n * size);
	return bigger;
}

const char *chain_host_key(const char *listener, const char *pattern, struct arena *scratch)
{
	struct buf b;
	buf_init(&b, ENCODE_KEY_LIMIT);
	buf_addf(&b, "%s/", listener);
	bool wildcard = pattern[0] == '*' && pattern[1] == '.';
	encode_reverse(wildcard ? pattern + 2 : pattern, &b);
	if (wildcard)
		buf_addc(&b, '.');
	else if (*pattern)
		buf_addc(&b, '#');
	const char *key = arena_strndup(scratch, b.data, b.len);
	buf_done(&b);
	return key;
}

static void refuse(struct build *b, const char *text)
{
	if (!b->ret->refusal)
		b->ret->refusal = arena_strdup(b->arena, text);
}

/* ---- chains ---- */

/* Words to be joined; the arena keeps them. */
struct words {
	const char **list;
	size_t n, cap;
};

static void words_add(struct build *b, struct words *words, const char *word)
{
	words->list = grow(b->arena, words->list, words->n, &words->cap, sizeof(*words->list));
	words->list[words->n++] = word;
}

static const char *chain_add(struct build *b, const struct buf *text)
{
	b->ret->chains = grow(b->arena, b->ret->chains, b->ret->n_chains, &b->cap_chains, sizeof(*b->ret->chains));
	struct chain_item *item = &b->ret->chains[b->ret->n_chains++];
	item->id = digest_of(text->data, text->len);
	item->text = arena_strndup(b->arena, text->data, text->len);
	return arena_printf(b->arena, "?%s", item->id.text);
}

/* The words as a reference: a chain, or several that continue each other where one value would be too long. */
static const char *words_reference(struct build *b, const struct words *words)
{
	if (words->n == 1 && words->list[0][0] == '>')
		return words->list[0] + 1;
	if (words->n == 1 && words->list[0][0] == '@')
		return arena_printf(b->arena, "?%s", words->list[0] + 1);
	const char *rest = NULL;
	size_t end = words->n;
	while (end) {
		size_t start = end, length = rest ? strlen(rest) : 0;
		while (start && (start == end || length + strlen(words->list[start - 1]) < ENCODE_VALUE_LIMIT))
			length += strlen(words->list[--start]) + 1;
		struct buf text;
		buf_init(&text, (size_t)2 * ENCODE_VALUE_LIMIT);
		for (size_t i = start; i < end; i++)
			buf_addf(&text, "%s%s", i == start ? "" : " ", words->list[i]);
		if (rest)
			buf_addf(&text, " @%s", rest + 1);
		rest = chain_add(b, &text);
		buf_done(&text);
		end = start;
	}
	return rest;
}

/* Ends with what a reference says. */
static void words_tail(struct build *b, struct words *words, const char *reference)
{
	if (reference)
		words_add(b, words, arena_printf(b->arena, *reference == '?' ? "@%s" : ">%s", reference + (*reference == '?')));
}

/* ---- tests ---- */

/* "~<id>"; false: refused. */
static bool add_regex(struct build *b, const char *pattern, struct buf *word)
{
	struct buf regex, text;
	struct err err;
	buf_init(&regex, (size_t)2 * ENCODE_VALUE_LIMIT);
	buf_init(&text, ENCODE_VALUE_LIMIT);
	int r = encode_regex(pattern, &regex, &err);
	encode_text(regex.data, &text);
	if (!r && buf_failed(&text))
		r = err_set(&err, -EINVAL, "regular expression is too long");
	if (r) {
		refuse(b, err.text);
	} else {
		b->ret->regexes = grow(b->arena, b->ret->regexes, b->ret->n_regexes, &b->cap_regexes,
		                       sizeof(*b->ret->regexes));
		struct chain_item *item = &b->ret->regexes[b->ret->n_regexes++];
		item->id = digest_of(text.data, text.len);
		item->text = arena_strndup(b->arena, text.data, text.len);
		buf_addf(word, "~%s", item->id.text);
	}
	buf_done(&regex);
	buf_done(&text);
	return !r;
}

static void add_lower(const char *s, struct buf *out)
{
	for (; *s; s++)
		buf_addc(out, (char)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s));
}

static bool add_test(struct build *b, const struct table_test *test, bool header, struct buf *word)
{
	struct buf name;
	buf_init(&name, ENCODE_VALUE_LIMIT);
	if (header)
		add_lower(test->name, &name);
	else
		buf_adds(&name, test->name);
	buf_addf(word, "%s%c:", word->len ? "," : "", header ? 'h' : 'q');
	encode_text(name.data, word);
	bool ok = !buf_failed(&name);
	buf_done(&name);
	if (!ok || test->regex)
		return ok && add_regex(b, test->value, word);
	buf_addc(word, '=');
	encode_text(test->value, word);
	return true;
}

/* false: an entry of this path that needs no test. */
static bool entry_conditional(const struct table_match *match)
{
	return match->path_type == TABLE_REGEX || match->path_regex || match->method || match->n_headers || match->n_queries;
}

/* false: the tests cannot be expressed. */
static bool add_tests(struct build *b, const struct table_match *match, struct buf *word)
{
	bool ok = true;
	if (match->method) {
		buf_adds(word, "m:");
		encode_text(match->method, word);
	}
	const char *regex = match->path_type == TABLE_REGEX ? match->path : match->path_regex;
	if (regex) {
		buf_addf(word, "%sp", word->len ? "," : "");
		ok = add_regex(b, regex, word);
	}
	for (size_t i = 0; i < match->n_headers && ok; i++)
		ok = add_test(b, &match->headers[i], true, word);
	for (size_t i = 0; i < match->n_queries && ok; i++)
		ok = add_test(b, &match->queries[i], false, word);
	return ok;
}

/* An entry whose tests cannot be expressed answers 500 whatever they say: too many errors, but never another's route. */
static void words_entry(struct build *b, struct words *words, const struct table_entry *entry)
{
	struct buf word;
	buf_init(&word, ENCODE_VALUE_LIMIT / 2);
	bool ok = add_tests(b, &entry->match, &word);
	if (ok)
		buf_addf(&word, ">%s", b->reference(b->ctx, entry->rule));
	if (ok && buf_failed(&word))
		refuse(b, "the tests of a match are too long");
	words_add(b, words, ok && !buf_failed(&word) ? arena_strndup(b->arena, word.data, word.len) : ">!500");
	buf_done(&word);
}

/* ---- groups ---- */

static const char *entry_path_key(const struct table_match *match, struct arena *arena)
{
	size_t n = strlen(match->path);
	if (match->path_type == TABLE_EXACT)
		return arena_printf(arena, "%s/#", match->path);
	return arena_printf(arena, "%s/", n && match->path[n - 1] == '/' ? arena_strndup(arena, match->path, n - 1) : match->path);
}

struct keyed {
	const char *key;
	size_t entry;
};

static int keyed_cmp(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;
	int r = strcmp(x->key, y->key);
	return r ? r : (x->entry > y->entry) - (x->entry < y->entry);
}

/* Every entry with a path of its own, sorted by key, then as they came. */
static struct keyed *sort_entries(struct build *b, size_t *ret_n)
{
	struct keyed *list = arena_array(b->arena, b->host->n_entries + 1, sizeof(*list));
	size_t n = 0;
	for (size_t i = 0; i < b->host->n_entries; i++) {
		const struct table_match *match = &b->host->entries[i].match;
		if (match->path_type == TABLE_REGEX)
			continue;
		if (!encode_path_ok(match->path)) {
			refuse(b, "a path that no request can have");
			continue;
		}
		list[n++] = (struct keyed){entry_path_key(match, b->arena), i};
	}
	qsort(list, n, sizeof(*list), keyed_cmp);
	*ret_n = n;
	return list;
}

/* In this order a covering prefix stands before what it covers, so that the chain of parents is a stack. */
static long find_parent(const struct build *b, long candidate, const char *key)
{
	while (candidate >= 0) {
		const struct group *group = &b->groups[candidate];
		if (!group->exact && !strncmp(group->key, key, strlen(group->key)))
			return candidate;
		candidate = group->parent;
	}
	return -1;
}

static void make_groups(struct build *b)
{
	size_t n;
	struct keyed *list = sort_entries(b, &n);
	b->groups = arena_array(b->arena, n + 1, sizeof(*b->groups));
	size_t *entries = arena_array(b->arena, n + 1, sizeof(*entries));
	for (size_t i = 0; i < n; i++) {
		entries[i] = list[i].entry;
		struct group *last = b->n_groups ? &b->groups[b->n_groups - 1] : NULL;
		if (last && !strcmp(last->key, list[i].key)) {
			last->n_entries++;
			continue;
		}
		struct group *group = &b->groups[b->n_groups];
		group->key = list[i].key;
		group->exact = b->host->entries[list[i].entry].match.path_type == TABLE_EXACT;
		group->entries = &entries[i];
		group->n_entries = 1;
		group->parent = find_parent(b, (long)b->n_groups - 1, group->key);
		b->n_groups++;
	}
}

/* ---- values ---- */

/* The group's entries up to the first without a test; true if there is one. */
static bool words_group(struct build *b, struct words *words, const struct group *group)
{
	for (size_t i = 0; i < group->n_entries; i++) {
		const struct table_entry *entry = &b->host->entries[group->entries[i]];
		words_entry(b, words, entry);
		if (!entry_conditional(&entry->match))
			return true;
	}
	return false;
}

static const char *tail_of(const struct build *b, long group)
{
	return group < 0 ? b->falls : b->groups[group].tail;
}

static void make_tail(struct build *b, struct group *group)
{
	struct words words = {0};
	if (!words_group(b, &words, group))
		words_tail(b, &words, tail_of(b, group->parent));
	group->tail = words_reference(b, &words);
}

static void words_regexes(struct build *b, struct words *words)
{
	if (b->regexes)
		words_add(b, words, arena_printf(b->arena, "+%s", b->regexes + 1));
}

static const char *exact_value(struct build *b, const struct group *group)
{
	struct words words = {0};
	if (!words_group(b, &words, group)) {
		words_regexes(b, &words);
		words_tail(b, &words, tail_of(b, group->parent));
	}
	return words_reference(b, &words);
}

/* What a prefix key holds, and what a path under no key of the host (tail = falls) finds. */
static const char *prefix_value(struct build *b, const char *tail)
{
	if (!b->regexes)
		return tail;
	struct words words = {0};
	words_regexes(b, &words);
	words_tail(b, &words, tail);
	return words_reference(b, &words);
}

static void add_path(struct build *b, const char *key, const char *value)
{
	b->ret->paths = grow(b->arena, b->ret->paths, b->ret->n_paths, &b->cap_paths, sizeof(*b->ret->paths));
	b->ret->paths[b->ret->n_paths++] = (struct chain_path){arena_printf(b->arena, "%s%s", b->ret->key, key), value};
}

static void make_regexes(struct build *b)
{
	struct words words = {0};
	for (size_t i = 0; i < b->host->n_entries; i++)
		if (b->host->entries[i].match.path_type == TABLE_REGEX)
			words_entry(b, &words, &b->host->entries[i]);
	if (!words.n)
		return;
	/* A first word that always matches (a refused one) would make this a plain reference. */
	if (words.n == 1 && words.list[0][0] == '>')
		words_add(b, &words, ">!500");
	b->regexes = words_reference(b, &words);
}

static void make_falls(struct build *b)
{
	if (!b->host->falls_to)
		return;
	struct words words = {0};
	words_add(b, &words, arena_printf(b->arena, "^%s", b->ret->falls));
	b->falls = words_reference(b, &words);
}

bool chain_host_build(const struct table_host *host, chain_reference_fn *reference, void *ctx, struct arena *scratch,
                      struct chain_host *ret, struct err *reterr)
{
	*ret = (struct chain_host){.falls = "-"};
	struct build b = {.host = host, .reference = reference, .ctx = ctx, .arena = scratch, .ret = ret};
	if (!encode_listener_ok(host->listener) || !encode_pattern_ok(host->pattern) ||
	    (host->falls_to && !encode_pattern_ok(host->falls_to))) {
		err_set(reterr, -EINVAL, "\"%.200s\" cannot be a host", host->pattern);
		return false;
	}
	ret->key = chain_host_key(host->listener, host->pattern, scratch);
	if (host->falls_to)
		ret->falls = chain_host_key(host->listener, host->falls_to, scratch);
	make_groups(&b);
	make_regexes(&b);
	make_falls(&b);
	bool root = false;
	for (size_t i = 0; i < b.n_groups; i++) {
		struct group *group = &b.groups[i];
		if (!group->exact)
			make_tail(&b, group);
		add_path(&b, group->key, group->exact ? exact_value(&b, group) : prefix_value(&b, group->tail));
		root |= !strcmp(group->key, "/");
	}
	if (!root && (b.regexes || b.falls))
		add_path(&b, "/", prefix_value(&b, b.falls));
	return true;
}
