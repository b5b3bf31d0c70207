/* Images: counted sets of shared, immutable items. Owns the items' memory and their text form; never talks to anyone.
 *
 * Open addressing with linear probing over pointers: at 10,000 routes an image has some 40,000 items and there are two
 * images, so that a slot costs 8 bytes and an item is one block shared by both. */
#include "haproxy/image.h"

#include "haproxy/digest.h"
#include "hatchway/base/hash.h"
#include "hatchway/base/words.h"
#include "hatchway/table.h"

const char *const item_kind_names[ITEM_KINDS] = {
	[ITEM_CA] = "ca",           [ITEM_CERT] = "cert",     [ITEM_SNI] = "sni",
	[ITEM_BACKEND] = "backend", [ITEM_SERVER] = "server", [ITEM_REGEX] = "regex", [ITEM_CHAIN] = "chain",
	[ITEM_RULE] = "rule",       [ITEM_PATH] = "path",     [ITEM_HOST] = "host",   [ITEM_NAME] = "name",
	[ITEM_LISTENER] = "listener",
};

const char *item_shown(enum item_kind kind, const char *value)
{
	return !*value || kind > ITEM_CERT ? value : kind == ITEM_CERT ? "(secret)" : "(PEM)";
}

struct image {
	struct item **slots; /* NULL: free */
	size_t n_slots; /* a power of two */
	size_t n;
	size_t counts[ITEM_KINDS];
	bool track;
	struct item **touched;
	size_t n_touched, cap_touched;
};

static struct item *item_new(enum item_kind kind, const char *key, uint32_t hash, const char *value)
{
	size_t n_key = strlen(key) + 1, n_value = strlen(value) + 1;
	struct item *item = xmalloc(sizeof(*item) + n_key + n_value);
	item->refs = 1;
	item->uses = 0;
	item->kind = (uint8_t)kind;
	item->hash = hash;
	memcpy(item->key, key, n_key);
	item->value = memcpy(item->key + n_key, value, n_value);
	return item;
}

static void item_unref(struct item *item)
{
	BUG_ON(!item->refs);
	if (!--item->refs)
		free(item);
}

static uint32_t item_hash(enum item_kind kind, const char *key)
{
	return (uint32_t)hash_bytes(key, strlen(key), (uint64_t)kind << 56);
}

struct image *image_new(void)
{
	struct image *image = xcalloc(1, sizeof(*image));
	image->n_slots = 64;
	image->slots = xcalloc(image->n_slots, sizeof(*image->slots));
	return image;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	image_touched_clear(image);
	for (size_t i = 0; i < image->n_slots; i++)
		if (image->slots[i])
			item_unref(image->slots[i]);
	free(image->touched);
	free(image->slots);
	free(image);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct item **image_slot(const struct image *image, enum item_kind kind, const char *key, uint32_t hash)
{
	size_t mask = image->n_slots - 1;
	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct item *item = image->slots[i];
		if (!item || (item->hash == hash && item->kind == kind && !strcmp(item->key, key)))
			return &image->slots[i];
	}
}

static void image_grow(struct image *image)
{
	struct item **old = image->slots;
	size_t n_old = image->n_slots;
	image->n_slots *= 2;
	image->slots = xcalloc(image->n_slots, sizeof(*image->slots));
	size_t mask = image->n_slots - 1;
	for (size_t i = 0; i < n_old; i++) {
		if (!old[i])
			continue;
		size_t at = old[i]->hash & mask;
		while (image->slots[at])
			at = (at + 1) & mask;
		image->slots[at] = old[i];
	}
	free(old);
}

static void image_touch(struct image *image, struct item *item)
{
	if (!image->track)
		return;
	if (image->n_touched == image->cap_touched) {
		image->cap_touched = image->cap_touched ? image->cap_touched * 2 : 64;
		image->touched = xrealloc(image->touched, image->cap_touched * sizeof(struct item *));
	}
	item->refs++;
	image->touched[image->n_touched++] = item;
}

/* Puts the item (a reference taken over) into the slot, in the place of what was there. */
static void image_place(struct image *image, struct item **slot, struct item *item)
{
	if (*slot) {
		item_unref(*slot);
	} else {
		image->counts[item->kind]++;
		if (++image->n * 5 > image->n_slots * 4) {
			image_grow(image);
			slot = image_slot(image, item->kind, item->key, item->hash);
		}
	}
	*slot = item;
	image_touch(image, item);
}

/* Linear probing without tombstones: whoever stands behind the hole and belongs before it moves up. */
static void image_remove(struct image *image, struct item **slot)
{
	size_t mask = image->n_slots - 1, hole = (size_t)(slot - image->slots);
	image_touch(image, *slot);
	image->counts[(*slot)->kind]--;
	image->n--;
	item_unref(*slot);
	for (size_t i = (hole + 1) & mask; image->slots[i]; i = (i + 1) & mask) {
		size_t home = image->slots[i]->hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			image->slots[hole] = image->slots[i];
			hole = i;
		}
	}
	image->slots[hole] = NULL;
}

const struct item *image_get(const struct image *image, enum item_kind kind, const char *key)
{
	return *image_slot(image, kind, key, item_hash(kind, key));
}

size_t image_count(const struct image *image, enum item_kind kind)
{
	return image->counts[kind];
}

static struct item *image_put(struct image *image, enum item_kind kind, const char *key, const char *value)
{
	uint32_t hash = item_hash(kind, key);
	struct item **slot = image_slot(image, kind, key, hash), *old = *slot;
	if (old && !strcmp(old->value, value))
		return old;
	struct item *item = item_new(kind, key, hash, value);
	item->uses = old ? old->uses : 0;
	image_place(image, slot, item);
	return item;
}

void image_add(struct image *image, enum item_kind kind, const char *key, const char *value)
{
	image_put(image, kind, key, value)->uses++;
}

void image_set(struct image *image, enum item_kind kind, const char *key, const char *value)
{
	struct item *item = image_put(image, kind, key, value);
	if (!item->uses)
		item->uses = 1;
}

/* For reference counts, which are nobody's contents. */
static struct item *item_ref(const struct item *item)
{
	union {
		const struct item *c;
		struct item *m;
	} both = {.c = item};
	both.m->refs++;
	return both.m;
}

void image_share(struct image *image, const struct item *shared)
{
	struct item **slot = image_slot(image, shared->kind, shared->key, shared->hash);
	if (*slot != shared)
		image_place(image, slot, item_ref(shared));
}

void image_drop(struct image *image, enum item_kind kind, const char *key)
{
	struct item **slot = image_slot(image, kind, key, item_hash(kind, key));
	BUG_ON(!*slot || !(*slot)->uses);
	if (!--(*slot)->uses)
		image_remove(image, slot);
}

void image_delete(struct image *image, enum item_kind kind, const char *key)
{
	struct item **slot = image_slot(image, kind, key, item_hash(kind, key));
	if (!*slot)
		return;
	image_remove(image, slot);
}

const struct item *image_next(const struct image *image, size_t *cursor)
{
	while (*cursor < image->n_slots) {
		const struct item *item = image->slots[(*cursor)++];
		if (item)
			return item;
	}
	return NULL;
}

const struct item **image_snapshot(const struct image *image, enum item_kind from, enum item_kind to, size_t *ret_n)
{
	size_t n = 0, room = 0, cursor = 0;
	for (unsigned kind = from; kind <= to; kind++)
		room += image->counts[kind];
	const struct item **list = xcalloc(room, sizeof(const struct item *)), *item;
	while (n < room && (item = image_next(image, &cursor)))
		if (item->kind >= from && item->kind <= to)
			list[n++] = item_ref(item);
	*ret_n = n;
	return list;
}

void image_snapshot_free(const struct item **items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct item *item = item_ref(items[i]);
		item->refs--;
		item_unref(item);
	}
	free(items);
}

void image_track(struct image *image, bool on)
{
	image->track = on;
}

const struct item *const *image_touched(const struct image *image, size_t *ret_n)
{
	*ret_n = image->n_touched;
	return (const struct item *const *)image->touched;
}

void image_touched_clear(struct image *image)
{
	for (size_t i = 0; i < image->n_touched; i++)
		item_unref(image->touched[i]);
	image->n_touched = 0;
	if (image->cap_touched > 1024) {
		free(image->touched);
		image->touched = NULL;
		image->cap_touched = 0;
	}
}

static int item_cmp(const void *a, const void *b)
{
	const struct item *const *x = a, *const *y = b;
	if ((*x)->kind != (*y)->kind)
		return (*x)->kind < (*y)->kind ? -1 : 1;
	return strcmp((*x)->key, (*y)->key);
}

const struct item **image_sorted(const struct image *image, size_t *ret_n)
{
	const struct item **list = xcalloc(image->n, sizeof(const struct item *)), *item;
	size_t n = 0, cursor = 0;
	while ((item = image_next(image, &cursor)))
		list[n++] = item;
	if (n)
		qsort(list, n, sizeof(const struct item *), item_cmp);
	*ret_n = n;
	return list;
}

void image_dump(const struct image *image, struct buf *out)
{
	size_t n;
	const struct item **list = image_sorted(image, &n);
	for (size_t i = 0; i < n; i++) {
		word_add(out, item_kind_names[list[i]->kind]);
		word_add(out, list[i]->key);
		word_add(out, item_shown((enum item_kind)list[i]->kind, list[i]->value));
		buf_addc(out, '\n');
	}
	free(list);
}

int image_parse(struct image *image, const char *text, struct err *reterr)
{
	struct arena scratch;
	int line = 0;
	arena_init(&scratch);
	while (*text) {
		const char *words[3];
		int n = words_split(&scratch, text, words, 3, &text), kind = 0;
		line++;
		if (n == 0)
			continue;
		while (n == 3 && kind < ITEM_KINDS && strcmp(words[0], item_kind_names[kind]))
			kind++;
		if (n != 3 || kind == ITEM_KINDS) {
			arena_done(&scratch);
			return err_set(reterr, -EINVAL, "line %d: expected `kind key value`", line);
		}
		image_set(image, (enum item_kind)kind, words[1], words[2]);
	}
	arena_done(&scratch);
	return 0;
}

/* ---- backends ---- */

static bool ends_with(const char *s, size_t n, const char *end)
{
	size_t m = strlen(end);
	return n > m && !memcmp(s + n - m, end, m);
}

static bool is_sticky(const char *backend, size_t n)
{
	return ends_with(backend, n, BACKEND_STICKY) || ends_with(backend, n, BACKEND_STICKY TABLE_GRPC);
}

const char *backend_defaults(const char *name)
{
	size_t n = strlen(name);
	bool grpc = ends_with(name, n, TABLE_GRPC);
	if (is_sticky(name, n))
		return grpc ? "sticky-grpc" : "sticky";
	return grpc ? "grpc" : "http";
}

const char *server_cookie(const char *key, char ret[SERVER_COOKIE])
{
	const size_t n = strcspn(key, "/");
	const char *name = key + n + !!key[n];
	if (!is_sticky(key, n) || !strcmp(name, SERVER_ERROR "500") || !strcmp(name, SERVER_ERROR "503"))
		return NULL;
	const struct digest digest = digest_of(name, strlen(name));
	memcpy(ret, digest.text, SERVER_COOKIE - 1);
	ret[SERVER_COOKIE - 1] = 0;
	return ret;
}

/* ---- server values ---- */

static const char *const server_state_names[] = {"ready", "drain", "maint"};

void server_value_dump(const struct server_value *value, struct buf *out)
{
	buf_addf(out, "%s weight %u %s%s", value->address, value->weight, server_state_names[value->state],
	         value->h2c ? " h2c" : "");
	if (*value->tls.name)
		buf_addf(out, " tls %s %s %s", value->tls.name, value->tls.ca, value->tls.cert);
}

/* What stands behind the state; it has no other blanks than these. */
static bool parse_manner(const char *text, struct server_value *value)
{
	int end = 0;
	value->h2c = !strncmp(text, " h2c", 4);
	text += value->h2c ? 4 : 0;
	if (!*text)
		return true;
	return sscanf(text, " tls %253s %64s %64s%n", value->tls.name, value->tls.ca, value->tls.cert, &end) == 3 && !text[end];
}

bool server_value_parse(const char *text, struct server_value *ret)
{
	char state[16] = "";
	struct server_value value = {0};
	int end = 0;
	int n = sscanf(text, "%159s weight %3u %15s%n", value.address, &value.weight, state, &end);
	if (n < 3 || value.weight > 256 || !parse_manner(text + end, &value))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(server_state_names); i++) {
		if (strcmp(state, server_state_names[i]))
			continue;
		value.state = (enum server_state)i;
		*ret = value;
		return true;
	}
	return false;
}
