/* Owns the walk over a schema table. Reads a parsed document; never a decoded object. Messages are the API server's. */
#include "controller/object/schema.h"

#include "hatchway/base/hash.h"

#include <errno.h>
#include <inttypes.h>

struct schema_path {
	struct schema_path *up;
	const char *name; /* NULL: an index */
	size_t index;
};

static const char *const type_names[] = {"null", "boolean", "number", "string", "array", "object"};

/* ---- errors ---- */

static void path_text(const struct schema_path *path, char *out, size_t size)
{
	char head[256] = "";
	if (!path) {
		out[0] = 0;
		return;
	}
	if (path->up)
		path_text(path->up, head, sizeof(head));
	if (path->name)
		snprintf(out, size, "%s%s%.64s", head, head[0] ? "." : "", path->name);
	else
		snprintf(out, size, "%s[%zu]", head, path->index);
}

int schema_fail(struct schema_walk *walk, const struct node *at, const char *below, const char *fmt, ...)
{
	char path[256], text[400];
	path_text(walk->path, path, sizeof(path));
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	walk->line = at ? at->line : 0;
	if (!path[0] && below[0] == '.')
		below++;
	return err_set(walk->err, -EINVAL, "%s%s%s%s%s%s", walk->subject, walk->subject[0] ? ": " : "", path, below,
	               path[0] || below[0] ? ": " : "", text);
}

static int fail_type(struct schema_walk *walk, const struct node *in, const char *wanted)
{
	return schema_fail(walk, in, "", "Invalid value: \"%s\": must be of type %s: \"%s\"", type_names[in->type],
	                   wanted, type_names[in->type]);
}

/* ---- scalars ---- */

static void hash_text(struct schema_walk *walk, const char *text)
{
	walk->hash = hash_bytes(text, strlen(text) + 1, walk->hash);
}

static int check_choices(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	char list[200] = "";
	for (const char *const *choice = schema->choices; *choice; choice++) {
		if (strcmp(*choice, in->text) == 0)
			return 0;
		size_t len = strlen(list);
		snprintf(list + len, sizeof(list) - len, "%s\"%s\"", len ? ", " : "", *choice);
	}
	return schema_fail(walk, in, "", "Unsupported value: \"%.80s\": supported values: %s", in->text, list);
}

static int check_string(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	if (in->type != NODE_STRING)
		return fail_type(walk, in, "string");
	if (schema->max && strlen(in->text) > (size_t)schema->max && format_characters(in->text) > (size_t)schema->max)
		return schema_fail(walk, in, "", "Too long: may not be more than %" PRId64 " characters", schema->max);
	if (schema->min && format_characters(in->text) < (size_t)schema->min)
		return schema_fail(walk, in, "", "Invalid value: \"%.80s\": should be at least %" PRId64 " chars long",
		                   in->text, schema->min);
	if (schema->format && !schema->format->matches(in->text))
		return schema_fail(walk, in, "", "Invalid value: \"%.80s\": should match '%s'", in->text,
		                   schema->format->pattern);
	return schema->choices ? check_choices(walk, schema, in) : 0;
}

static bool parse_integer(const char *text, int64_t *ret)
{
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (errno || end == text || *end)
		return false;
	*ret = value;
	return true;
}

static int check_integer(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	int64_t value;
	if (in->type != NODE_NUMBER || !parse_integer(in->text, &value))
		return fail_type(walk, in, "integer");
	int64_t max = schema->max ? schema->max : INT32_MAX;
	if (value < schema->min)
		return schema_fail(walk, in, "", "Invalid value: %s: should be greater than or equal to %" PRId64,
		                   in->text, schema->min);
	if (value > max)
		return schema_fail(walk, in, "", "Invalid value: %s: should be less than or equal to %" PRId64,
		                   in->text, max);
	return 0;
}

static int check_scalar(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	switch (schema->type) {
	case SCHEMA_STRING:
		return check_string(walk, schema, in);
	case SCHEMA_INTEGER:
		return check_integer(walk, schema, in);
	case SCHEMA_BOOL:
		return in->type == NODE_BOOL ? 0 : fail_type(walk, in, "boolean");
	default:
		if (in->type == NODE_STRING)
			return 0;
		return in->type == NODE_NUMBER ? check_integer(walk, schema, in)
		                               : fail_type(walk, in, "integer or string");
	}
}

/* ---- lists, maps, objects ---- */

static struct node *new_node(struct schema_walk *walk, enum node_type type, unsigned line, size_t n)
{
	struct node *node = arena_alloc(walk->scratch, sizeof(*node));
	node->type = type;
	node->line = line;
	node->items = arena_array(walk->scratch, n, sizeof(*node->items));
	if (type == NODE_MAP)
		node->keys = arena_array(walk->scratch, n, sizeof(*node->keys));
	return node;
}

static void add_pair(struct node *map, const char *key, const struct node *value)
{
	map->keys[map->n] = key;
	/* The canonical tree is only read; node's items are not const because its builder fills them in. */
	map->items[map->n++] = (struct node *)(uintptr_t)value;
}

static const struct node *apply_at(struct schema_walk *walk, const struct schema *schema, const struct node *in,
                                   const char *name, size_t index)
{
	struct schema_path here = {walk->path, name, index};
	walk->path = &here;
	const struct node *out = schema_apply(walk, schema, in);
	walk->path = here.up;
	return out;
}

static int check_unique(struct schema_walk *walk, const struct schema *schema, const struct node *list)
{
	for (size_t i = 1; i < list->n; i++) {
		for (size_t k = 0; k < i; k++) {
			if (!*schema->unique) {
				if (!node_equal(list->items[i], list->items[k]))
					continue;
				char below[32];
				snprintf(below, sizeof(below), "[%zu]", i);
				return schema_fail(walk, list->items[i], below, "Duplicate value: \"%.80s\"",
				                   list->items[i]->text);
			}
			const struct node *a = node_get(list->items[i], schema->unique);
			if (!node_equal(a, node_get(list->items[k], schema->unique)))
				continue;
			char below[32];
			snprintf(below, sizeof(below), "[%zu]", i);
			return schema_fail(walk, list->items[i], below, "Duplicate value: {\"%s\":\"%.80s\"}",
			                   schema->unique, a ? a->text : "");
		}
	}
	return 0;
}

static const struct node *apply_list(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	if (in->type != NODE_LIST)
		return fail_type(walk, in, "array"), NULL;
	if (schema->max && in->n > (size_t)schema->max)
		return schema_fail(walk, in, "", "Too many: %zu: must have at most %" PRId64 " items", in->n,
		                   schema->max),
		       NULL;
	if (in->n < (size_t)schema->min)
		return schema_fail(walk, in, "", "Invalid value: %zu: should have at least %" PRId64 " items", in->n,
		                   schema->min),
		       NULL;
	struct node *out = new_node(walk, NODE_LIST, in->line, in->n);
	hash_text(walk, "[");
	for (size_t i = 0; i < in->n; i++) {
		const struct node *item = apply_at(walk, schema->items, in->items[i], NULL, i);
		if (!item)
			return NULL;
		out->items[out->n++] = (struct node *)(uintptr_t)item;
	}
	hash_text(walk, "]");
	return schema->unique && check_unique(walk, schema, out) ? NULL : out;
}

/* Pairs are hashed apart and summed: the order of a map's keys means nothing. */
static const struct node *apply_map(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	if (in->type != NODE_MAP)
		return fail_type(walk, in, "object"), NULL;
	if (schema->max && in->n > (size_t)schema->max)
		return schema_fail(walk, in, "", "Too many: %zu: must have at most %" PRId64 " items", in->n,
		                   schema->max),
		       NULL;
	struct node *out = new_node(walk, NODE_MAP, in->line, in->n);
	uint64_t before = walk->hash, sum = 0;
	for (size_t i = 0; i < in->n; i++) {
		if (in->items[i]->type == NODE_NULL)
			continue;
		if (schema->format && !schema->format->matches(in->keys[i]))
			return schema_fail(walk, in->items[i], "", "Invalid value: \"%.80s\": should match '%s'",
			                   in->keys[i], schema->format->pattern),
			       NULL;
		walk->hash = 0;
		hash_text(walk, in->keys[i]);
		const struct node *value = apply_at(walk, schema->items, in->items[i], in->keys[i], 0);
		if (!value)
			return NULL;
		sum += walk->hash;
		add_pair(out, in->keys[i], value);
	}
	walk->hash = hash_bytes(&sum, sizeof(sum), before);
	return out;
}

/* What stands for a field that is not given. *ret stays NULL if nothing does. */
static int absent_field(struct schema_walk *walk, const struct schema_field *field, const struct node *in,
                        const struct node **ret)
{
	if (field->presence == SCHEMA_REQUIRED) {
		char below[72];
		snprintf(below, sizeof(below), ".%s", field->name);
		return schema_fail(walk, in, below, "Required value");
	}
	if (field->fallback) {
		struct node *node = arena_alloc(walk->scratch, sizeof(*node));
		node->type = field->schema->type == SCHEMA_INTEGER ? NODE_NUMBER : NODE_STRING;
		node->line = in->line;
		node->text = field->fallback;
		*ret = node;
	} else if (field->presence == SCHEMA_DEFAULT_EMPTY) {
		struct node *empty = new_node(walk, NODE_MAP, in->line, 0);
		*ret = empty;
		if (field->schema->type == SCHEMA_LIST) {
			struct node *list = new_node(walk, NODE_LIST, in->line, 1);
			list->items[list->n++] = empty;
			*ret = list;
		}
	}
	return 0;
}

static bool has_field(const struct schema *schema, const char *name)
{
	const struct schema_field *field = schema->fields;
	while (field->name && strcmp(field->name, name) != 0)
		field++;
	return field->name;
}

/* What every document has beside what its kind's table names. */
static bool is_head(const char *name)
{
	static const char *const names[] = {"apiVersion", "kind", "metadata", "status"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* A typo must not become a route without its backends. */
static int check_known(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	for (size_t i = 0; i < in->n; i++) {
		if (has_field(schema, in->keys[i]) || (!walk->path && is_head(in->keys[i])))
			continue;
		char path[256];
		path_text(walk->path, path, sizeof(path));
		walk->line = in->items[i]->line;
		return err_set(walk->err, -EINVAL, "%s%sunknown field \"%s%s%.64s\"", walk->subject,
		               walk->subject[0] ? ": " : "", path, path[0] ? "." : "", in->keys[i]);
	}
	return 0;
}

static const struct node *apply_object(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	if (in->type != NODE_MAP)
		return fail_type(walk, in, "object"), NULL;
	if (walk->strict && check_known(walk, schema, in))
		return NULL;
	size_t n = 0;
	while (schema->fields[n].name)
		n++;
	struct node *out = new_node(walk, NODE_MAP, in->line, n);
	for (const struct schema_field *field = schema->fields; field->name; field++) {
		const struct node *value = node_get(in, field->name);
		/* Nulls of fields that are not nullable are pruned, then defaulted. */
		if (value && value->type == NODE_NULL)
			value = NULL;
		if (!value && absent_field(walk, field, in, &value))
			return NULL;
		if (!value)
			continue;
		hash_text(walk, field->name);
		value = apply_at(walk, field->schema, value, field->name, 0);
		if (!value)
			return NULL;
		add_pair(out, field->name, value);
	}
	hash_text(walk, "}");
	return out;
}

static void hash_any(struct schema_walk *walk, const struct node *in)
{
	hash_text(walk, in->text ? in->text : type_names[in->type]);
	for (size_t i = 0; i < in->n; i++) {
		if (in->type == NODE_MAP)
			hash_text(walk, in->keys[i]);
		hash_any(walk, in->items[i]);
	}
}

const struct node *schema_apply(struct schema_walk *walk, const struct schema *schema, const struct node *in)
{
	const struct node *out = in;
	switch (schema->type) {
	case SCHEMA_LIST:
		out = apply_list(walk, schema, in);
		break;
	case SCHEMA_MAP:
		out = apply_map(walk, schema, in);
		break;
	case SCHEMA_OBJECT:
		out = apply_object(walk, schema, in);
		break;
	case SCHEMA_ANY:
		hash_any(walk, in);
		break;
	default:
		if (check_scalar(walk, schema, in))
			return NULL;
		hash_text(walk, in->text);
	}
	return out && schema->check && schema->check(walk, out) ? NULL : out;
}

/* ---- reading ---- */

const struct node *node_get(const struct node *map, const char *key)
{
	if (!map || map->type != NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (strcmp(map->keys[i], key) == 0)
			return map->items[i];
	return NULL;
}

const char *node_text(const struct node *map, const char *key)
{
	const struct node *node = node_get(map, key);
	return node ? node->text : NULL;
}

bool node_is(const struct node *map, const char *key, const char *text)
{
	const char *have = node_text(map, key);
	return have && strcmp(have, text) == 0;
}

int64_t node_integer(const struct node *map, const char *key, int64_t absent)
{
	const char *text = node_text(map, key);
	int64_t value;
	return text && parse_integer(text, &value) ? value : absent;
}

bool node_bool(const struct node *map, const char *key, bool absent)
{
	const char *text = node_text(map, key);
	return text ? strcmp(text, "true") == 0 : absent;
}

size_t node_count(const struct node *map, const char *key)
{
	const struct node *node = node_get(map, key);
	return node ? node->n : 0;
}

bool node_equal(const struct node *a, const struct node *b)
{
	const char *x = a ? a->text : NULL, *y = b ? b->text : NULL;
	return x && y ? strcmp(x, y) == 0 : x == y;
}
