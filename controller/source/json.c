/* Owns the scanner that finds where pieces begin and end, and the way from jansson's trees to neutral ones. The scanner
 * only counts brackets outside of strings: whether a piece is JSON is jansson's to say. */
#include "controller/source/json.h"

#include <jansson.h>

/* ---- splitting ---- */

void json_split_init(struct json_split *split, enum json_stream stream, json_piece_cb *cb, void *ctx)
{
	*split = (struct json_split){.stream = stream, .cb = cb, .ctx = ctx};
	buf_init(&split->held, JSON_PIECE_CEILING);
}

void json_split_done(struct json_split *split)
{
	buf_done(&split->held);
}

bool json_split_whole(const struct json_split *split)
{
	return !split->depth && (split->stream == JSON_EVENTS || split->ended);
}

static bool is_key(const struct json_split *split, const char *key)
{
	return split->key_n == strlen(key) && !memcmp(split->key, key, split->key_n);
}

/* Whether the value whose bracket was just read is a piece. */
static bool begins_piece(struct json_split *split, char bracket)
{
	if (split->stream == JSON_EVENTS)
		return split->depth == 1;
	if (split->depth == 2 && split->key_n) {
		split->in_items = bracket == '[' && is_key(split, "items");
		split->piece = JSON_METADATA;
		return bracket == '{' && is_key(split, "metadata");
	}
	split->piece = JSON_ITEM;
	return split->depth == 3 && split->in_items && bracket == '{';
}

static int end_piece(struct json_split *split, const char *start, const char *end)
{
	const char *bytes = start;
	size_t n = (size_t)(end - start);
	bool whole = n <= JSON_PIECE_CEILING;
	split->inside = false;
	if (split->held.len || buf_failed(&split->held)) {
		buf_add(&split->held, start, n);
		whole = !buf_failed(&split->held);
		bytes = split->held.data;
		n = split->held.len;
	}
	bool go_on = split->cb(split->ctx, split->piece, bytes, n, whole);
	/* A big piece's memory is not kept for the small ones that follow. */
	if (split->held.cap > 65536)
		buf_done(&split->held);
	else
		buf_clear(&split->held);
	return go_on ? 0 : -ECANCELED;
}

static int open_bracket(struct json_split *split, char c, const char *at, const char **start)
{
	if (split->depth == JSON_DEPTH_CEILING || (!split->depth && (c != '{' || split->ended)))
		return -EINVAL;
	split->depth++;
	if (!split->inside && begins_piece(split, c)) {
		split->inside = true;
		split->end_depth = split->depth - 1;
		*start = at;
	}
	split->key_n = 0;
	return 0;
}

static int close_bracket(struct json_split *split, const char *at, const char **start)
{
	if (!split->depth)
		return -EINVAL;
	split->depth--;
	if (split->depth == 1) {
		split->in_items = false;
		split->key_n = 0;
	}
	if (!split->depth && split->stream == JSON_LIST)
		split->ended = true;
	return split->inside && split->depth == split->end_depth ? end_piece(split, *start, at + 1) : 0;
}

/* Inside a string: everything but its end and, at depth 1, the name of a key is passed over. */
static void scan_string(struct json_split *split, char c)
{
	if (split->escape)
		split->escape = false;
	else if (c == '\\')
		split->escape = true;
	else if (c == '"')
		split->string = false;
	if (split->string && split->depth == 1) {
		if (split->key_n < sizeof(split->key))
			split->key[split->key_n] = c;
		split->key_n += split->key_n <= sizeof(split->key);
	}
}

static int scan_plain(struct json_split *split, const char *at, const char **start)
{
	switch (*at) {
	case '"':
		split->string = true;
		if (split->depth == 1)
			split->key_n = 0;
		return split->depth ? 0 : -EINVAL;
	case '{':
	case '[':
		return open_bracket(split, *at, at, start);
	case '}':
	case ']':
		return close_bracket(split, at, start);
	case ' ':
	case '\t':
	case '\r':
	case '\n':
		return 0;
	default:
		return split->depth ? 0 : -EINVAL;
	}
}

int json_split_feed(struct json_split *split, const char *bytes, size_t n)
{
	const char *start = bytes;
	const char *end = bytes + n;
	for (const char *at = bytes; at < end; at++) {
		int ret = 0;
		/* Most bytes are inside of strings that do not matter. */
		if (split->string && !split->escape && split->depth != 1)
			while (at < end - 1 && *at != '"' && *at != '\\')
				at++;
		if (split->string)
			scan_string(split, *at);
		else
			ret = scan_plain(split, at, &start);
		if (ret)
			return ret;
	}
	if (split->inside) {
		/* What fits is kept also of a piece that is too big: its beginning has its name. */
		size_t left = (size_t)(bytes + n - start);
		size_t room = split->held.limit - split->held.len;
		if (!buf_failed(&split->held) && left > room)
			buf_add(&split->held, start, room);
		buf_add(&split->held, start, left);
	}
	return 0;
}

/* ---- trees ---- */

static struct node *convert(const json_t *json, struct arena *scratch, const char *key, unsigned depth);

/* Of managedFields, which are as large as the object itself, only who has written conditions is of use. */
static bool wrote_conditions(const json_t *entry)
{
	return json_object_get(json_object_get(json_object_get(entry, "fieldsV1"), "f:status"), "f:conditions");
}

/* Nobody reads it, and it is as large as the object itself. */
static bool left_out(const char *parent, const char *key)
{
	return parent && !strcmp(parent, "annotations") && !strcmp(key, "kubectl.kubernetes.io/last-applied-configuration");
}

static bool convert_map(const json_t *json, struct arena *scratch, const char *parent, unsigned depth,
                        struct node *node)
{
	size_t room = json_object_size(json);
	void *iterator;
	/* jansson takes const only in part of its interface; nothing here is changed. */
	json_t *map = (json_t *)(uintptr_t)json;
	node->items = arena_array(scratch, room, sizeof(*node->items));
	node->keys = arena_array(scratch, room, sizeof(*node->keys));
	for (iterator = json_object_iter(map); iterator; iterator = json_object_iter_next(map, iterator)) {
		const char *key = json_object_iter_key(iterator);
		if (left_out(parent, key))
			continue;
		node->keys[node->n] = arena_strdup(scratch, key);
		node->items[node->n] = convert(json_object_iter_value(iterator), scratch, key, depth);
		if (!node->items[node->n++])
			return false;
	}
	return true;
}

static bool convert_list(const json_t *json, struct arena *scratch, const char *key, unsigned depth, struct node *node)
{
	const size_t n = json_array_size(json);
	const bool managers = key && !strcmp(key, "managedFields");
	node->items = arena_array(scratch, n, sizeof(*node->items));
	for (size_t i = 0; i < n; i++) {
		const json_t *item = json_array_get(json, i);
		if (managers && !wrote_conditions(item))
			continue;
		node->items[node->n] = convert(item, scratch, NULL, depth);
		if (!node->items[node->n++])
			return false;
	}
	return true;
}

static struct node *convert(const json_t *json, struct arena *scratch, const char *key, unsigned depth)
{
	struct node *node = arena_alloc(scratch, sizeof(*node));
	if (depth == JSON_DEPTH_CEILING)
		return NULL;
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		node->type = NODE_MAP;
		return convert_map(json, scratch, key, depth + 1, node) ? node : NULL;
	case JSON_ARRAY:
		node->type = NODE_LIST;
		return convert_list(json, scratch, key, depth + 1, node) ? node : NULL;
	case JSON_STRING:
		node->type = NODE_STRING;
		node->text = arena_strndup(scratch, json_string_value(json), json_string_length(json));
		return node;
	case JSON_INTEGER:
		node->type = NODE_NUMBER;
		node->text = arena_printf(scratch, "%lld", (long long)json_integer_value(json));
		return node;
	case JSON_REAL:
		node->type = NODE_NUMBER;
		node->text = arena_printf(scratch, "%.17g", json_real_value(json));
		return node;
	case JSON_TRUE:
	case JSON_FALSE:
		node->type = NODE_BOOL;
		node->text = json_is_true(json) ? "true" : "false";
		return node;
	default:
		node->type = NODE_NULL;
		return node;
	}
}

static void use_our_memory(void)
{
	static bool done;
	if (!done)
		json_set_alloc_funcs(xmalloc, free); /* out of memory is our death, not an error of the text */
	done = true;
}

int json_node(const char *bytes, size_t n, struct arena *scratch, struct node **ret, struct err *reterr)
{
	json_error_t error;
	use_our_memory();
	json_t *json = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &error);
	if (!json)
		return err_set(reterr, -EINVAL, "no JSON: %s", error.text);
	struct node *node = convert(json, scratch, NULL, 0);
	json_decref(json);
	if (!node)
		return err_set(reterr, -EINVAL, "nested more than %u deep", JSON_DEPTH_CEILING);
	*ret = node;
	return 0;
}

/* ---- without managedFields ---- */

/* Behind the bracket that closes the one at `at`; NULL: none does. */
static const char *behind_bracket(const char *at, const char *end)
{
	unsigned depth = 0;
	for (bool string = false; at < end; at++) {
		if (string && *at == '\\')
			at += at + 1 < end;
		else if (*at == '"')
			string = !string;
		else if (!string && (*at == '[' || *at == '{'))
			depth++;
		else if (!string && (*at == ']' || *at == '}') && !--depth)
			return at + 1;
	}
	return NULL;
}

int json_node_unmanaged(const char *bytes, size_t n, struct arena *scratch, struct node **ret, struct err *reterr)
{
	/* Quotes inside of a string are escaped: this is a key wherever it stands. */
	static const char key[] = "\"managedFields\":[";
	const char *end = bytes + n;
	const char *list = memmem(bytes, n, key, strlen(key));
	const char *rest = list ? behind_bracket(list + strlen(key) - 1, end) : NULL;
	if (!rest)
		return json_node(bytes, n, scratch, ret, reterr);
	const size_t head = (size_t)(list - bytes) + strlen(key), tail = (size_t)(end - rest) + 1;
	char *text = xmalloc(head + tail);
	memcpy(text, bytes, head);
	memcpy(text + head, rest - 1, tail);
	int result = json_node(text, head + tail, scratch, ret, reterr);
	free(text);
	return result;
}
