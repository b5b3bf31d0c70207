/* Owns the building of trees from libyaml's events, and what plain scalars mean. Knows nothing of objects. */
#include "controller/source/yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>
#include <yaml.h>

#define ANCHOR_CEILING 256

struct anchor {
	const char *name;
	struct node *node;
	size_t weight;   /* nodes it stands for, aliases inside counted in full */
	unsigned height; /* levels below it, likewise */
};

struct yaml {
	yaml_parser_t parser;
	int fd;           /* -1: bytes */
	const char *text; /* of bytes: what is not read yet */
	size_t n_text;
	int read_errno;
	size_t bytes, newlines; /* read so far */

	/* of the document being read */
	struct arena *scratch;
	struct anchor anchors[ANCHOR_CEILING];
	size_t n_anchors, weight;
	unsigned depth, deepest;
	struct node **values; /* children of the nodes being built, a stack; keys beside them */
	const char **keys;
	size_t n_children, cap_children;
	unsigned line; /* of an error */
	struct err *err;
};

/* ---- opening ---- */

static ssize_t read_some(struct yaml *yaml, unsigned char *buffer, size_t size)
{
	ssize_t n;
	if (yaml->fd < 0) {
		n = (ssize_t)(size < yaml->n_text ? size : yaml->n_text);
		if (n)
			memcpy(buffer, yaml->text, (size_t)n);
		yaml->text += n;
		yaml->n_text -= (size_t)n;
		return n;
	}
	do
		n = read(yaml->fd, buffer, size);
	while (n < 0 && errno == EINTR);
	return n;
}

/* At the beginning: enough to know a byte order mark, which is dropped. libyaml drops one only if it may choose the
 * encoding, too. */
static ssize_t read_begin(struct yaml *yaml, unsigned char *buffer, size_t size)
{
	static const unsigned char mark[] = {0xef, 0xbb, 0xbf};
	size_t have = 0;
	while (have < sizeof(mark)) {
		ssize_t n = read_some(yaml, buffer + have, size - have);
		if (n < 0)
			return n;
		if (!n)
			return (ssize_t)have;
		have += (size_t)n;
	}
	if (memcmp(buffer, mark, sizeof(mark)) != 0)
		return (ssize_t)have;
	have -= sizeof(mark);
	memmove(buffer, buffer + sizeof(mark), have);
	return have ? (ssize_t)have : read_some(yaml, buffer, size);
}

static size_t count_newlines(const unsigned char *from, const unsigned char *to)
{
	size_t n = 0;
	while ((from = memchr(from, '\n', (size_t)(to - from)))) {
		from++;
		n++;
	}
	return n;
}

static int read_input(void *ctx, unsigned char *buffer, size_t size, size_t *ret_n)
{
	struct yaml *yaml = ctx;
	ssize_t n = yaml->bytes ? read_some(yaml, buffer, size) : read_begin(yaml, buffer, size);
	if (n < 0) {
		yaml->read_errno = errno;
		return 0;
	}
	yaml->bytes += (size_t)n;
	if (yaml->bytes > YAML_TEXT_CEILING) {
		yaml->read_errno = EFBIG;
		return 0;
	}
	yaml->newlines += count_newlines(buffer, buffer + n);
	*ret_n = (size_t)n;
	return 1;
}

static struct yaml *open_parser(void)
{
	struct yaml *yaml = xcalloc(1, sizeof(*yaml));
	if (!yaml_parser_initialize(&yaml->parser)) {
		fprintf(stderr, "out of memory: yaml parser\n");
		abort();
	}
	yaml_parser_set_encoding(&yaml->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input(&yaml->parser, read_input, yaml);
	yaml->fd = -1;
	return yaml;
}

struct yaml *yaml_open_bytes(const void *bytes, size_t n)
{
	struct yaml *yaml = open_parser();
	if (n > YAML_TEXT_CEILING)
		yaml->read_errno = EFBIG;
	yaml->text = bytes;
	yaml->n_text = n;
	return yaml;
}

struct yaml *yaml_open_fd(int fd)
{
	struct yaml *yaml = open_parser();
	yaml->fd = fd;
	return yaml;
}

void yaml_close(struct yaml *yaml)
{
	if (!yaml)
		return;
	yaml_parser_delete(&yaml->parser);
	free(yaml->values);
	free(yaml->keys);
	free(yaml);
}

/* ---- plain scalars ---- */

static bool is_word(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

/* What may be a bool or null begins with one of these; most scalars do not. */
static bool resolve_word(struct node *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const trues[] = {"y",    "Y",    "yes", "Yes", "YES", "true",
	                                    "True", "TRUE", "on",  "On",  "ON",  NULL};
	static const char *const falses[] = {"n",     "N",     "no",  "No",  "NO",  "false",
	                                     "False", "FALSE", "off", "Off", "OFF", NULL};
	if (strlen(node->text) > 5 || (*node->text && !strchr("~nNyYtToOfF", *node->text)))
		return false;
	if (is_word(node->text, nulls)) {
		node->type = NODE_NULL;
	} else if (is_word(node->text, trues)) {
		node->type = NODE_BOOL;
		node->text = "true";
	} else if (is_word(node->text, falses)) {
		node->type = NODE_BOOL;
		node->text = "false";
	} else {
		return false;
	}
	return true;
}

/* Go's strconv.ParseInt(text, 0, 64): 0x, 0o, 0b and leading-zero octal. */
static bool parse_whole(const char *text, bool *ret_negative, uint64_t *ret)
{
	const char *p = text;
	*ret_negative = *p == '-';
	if (*p == '-' || *p == '+')
		p++;
	int base = 10;
	if (p[0] == '0' && p[1]) {
		char mark = p[1] | 0x20;
		base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
		p += mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1;
	}
	char *end;
	if (!((*p >= '0' && *p <= '9') || (base == 16 && strchr("abcdefABCDEF", *p) && *p)))
		return false;
	errno = 0;
	*ret = strtoull(p, &end, base);
	return !errno && !*end;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(const char *p)
{
	p += *p == '-' || *p == '+';
	size_t whole = strspn(p, "0123456789");
	p += whole;
	if (*p == '.') {
		size_t fraction = strspn(p + 1, "0123456789");
		if (!whole && !fraction)
			return false;
		p += 1 + fraction;
	} else if (!whole) {
		return false;
	}
	if (*p != 'e' && *p != 'E')
		return !*p;
	p++;
	p += *p == '-' || *p == '+';
	size_t exponent = strspn(p, "0123456789");
	return exponent && !p[exponent];
}

static void resolve_number(struct arena *scratch, struct node *node)
{
	char plain[64];
	size_t n = 0;
	const char *text = node->text;
	if (!strchr("0123456789+-.", *text) || strlen(text) >= sizeof(plain))
		return;
	for (const char *p = text; *p; p++)
		if (*p != '_')
			plain[n++] = *p;
	plain[n] = 0;
	bool negative;
	uint64_t whole;
	if (parse_whole(plain, &negative, &whole)) {
		node->type = NODE_NUMBER;
		node->text = arena_printf(scratch, "%s%" PRIu64, negative && whole ? "-" : "", whole);
		return;
	}
	if (!is_float(plain))
		return;
	double value = strtod(plain, NULL);
	node->type = NODE_NUMBER;
	if (value == (double)(int64_t)(value > 1e15 || value < -1e15 ? 0 : value))
		node->text = arena_printf(scratch, "%" PRId64, (int64_t)value);
}

static void resolve_plain(struct arena *scratch, struct node *node)
{
	if (!resolve_word(node))
		resolve_number(scratch, node);
}

/* ---- building ---- */

PRINTF_LIKE(3, 4) static int fail(struct yaml *yaml, unsigned line, const char *fmt, ...)
{
	char text[300];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	yaml->line = line;
	return err_set(yaml->err, -EINVAL, "%s", text);
}

static int fail_parser(struct yaml *yaml)
{
	const yaml_parser_t *parser = &yaml->parser;
	if (yaml->read_errno) {
		yaml->line = 0;
		return err_set(yaml->err, -yaml->read_errno, "%s", strerror(yaml->read_errno));
	}
	if (parser->error == YAML_MEMORY_ERROR) {
		fprintf(stderr, "out of memory: yaml\n");
		abort();
	}
	unsigned line = (unsigned)parser->problem_mark.line + 1;
	/* The reader is ahead of the parser, by what it has decoded; its raw buffer begins with the byte it stumbled
	 * at. */
	if (parser->error == YAML_READER_ERROR)
		line =
		    (unsigned)(yaml->newlines - count_newlines(parser->raw_buffer.pointer, parser->raw_buffer.last)) +
		    1;
	const char *problem = parser->problem ? parser->problem : "cannot be parsed";
	if (!parser->context)
		return fail(yaml, line, "%s", problem);
	return fail(yaml, line, "%s, %s from line %u", problem, parser->context,
	            (unsigned)parser->context_mark.line + 1);
}

static int next_event(struct yaml *yaml, yaml_event_t *event)
{
	return yaml_parser_parse(&yaml->parser, event) ? 0 : fail_parser(yaml);
}

static void push_child(struct yaml *yaml, const char *key, struct node *value)
{
	if (yaml->n_children == yaml->cap_children) {
		yaml->cap_children = yaml->cap_children ? 2 * yaml->cap_children : 64;
		yaml->values = xrealloc(yaml->values, yaml->cap_children * sizeof(*yaml->values));
		yaml->keys = xrealloc(yaml->keys, yaml->cap_children * sizeof(*yaml->keys));
	}
	yaml->keys[yaml->n_children] = key;
	yaml->values[yaml->n_children++] = value;
}

static int add_weight(struct yaml *yaml, unsigned line, size_t weight)
{
	yaml->weight += weight;
	if (yaml->weight > YAML_NODE_CEILING)
		return fail(yaml, line, "document too large: more than %u nodes", YAML_NODE_CEILING);
	return 0;
}

static int build_node(struct yaml *yaml, yaml_event_t *event, struct node **ret);

static int build_next(struct yaml *yaml, struct node **ret)
{
	yaml_event_t event;
	int status = next_event(yaml, &event);
	if (status)
		return status;
	status = build_node(yaml, &event, ret);
	yaml_event_delete(&event);
	return status;
}

static bool has_tag(const yaml_char_t *tag, const char *name)
{
	static const char prefix[] = "tag:yaml.org,2002:";
	const char *text = (const char *)tag;
	return strncmp(text, prefix, strlen(prefix)) == 0 && strcmp(text + strlen(prefix), name) == 0;
}

/* !!str keeps a string; the other standard tags must be what the text resolves to anyway. */
static int apply_tag(struct yaml *yaml, const yaml_char_t *tag, struct node *node)
{
	static const char *const names[] = {[NODE_NULL] = "null", [NODE_BOOL] = "bool", [NODE_NUMBER] = "int"};
	if (has_tag(tag, "str") || strcmp((const char *)tag, "!") == 0)
		return 0;
	resolve_plain(yaml->scratch, node);
	if (node->type < NODE_STRING && has_tag(tag, names[node->type]))
		return 0;
	if (node->type == NODE_NUMBER && has_tag(tag, "float"))
		return 0;
	return fail(yaml, node->line, "tag %.60s does not fit or is not known", (const char *)tag);
}

static int build_scalar(struct yaml *yaml, const yaml_event_t *event, struct node *node)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t n = event->data.scalar.length;
	if (memchr(text, 0, n))
		return fail(yaml, node->line, "a string may not contain NUL");
	node->type = NODE_STRING;
	node->text = arena_strndup(yaml->scratch, text, n);
	if (event->data.scalar.tag)
		return apply_tag(yaml, event->data.scalar.tag, node);
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		resolve_plain(yaml->scratch, node);
	return 0;
}

static int build_list(struct yaml *yaml, struct node *node)
{
	size_t base = yaml->n_children;
	for (;;) {
		yaml_event_t event;
		int status = next_event(yaml, &event);
		if (status)
			return status;
		bool end = event.type == YAML_SEQUENCE_END_EVENT;
		struct node *item;
		if (!end)
			status = build_node(yaml, &event, &item);
		yaml_event_delete(&event);
		if (status)
			return status;
		if (end)
			break;
		push_child(yaml, NULL, item);
	}
	node->type = NODE_LIST;
	node->n = yaml->n_children - base;
	node->items = arena_array(yaml->scratch, node->n, sizeof(*node->items));
	if (node->n)
		memcpy(node->items, yaml->values + base, node->n * sizeof(*node->items));
	yaml->n_children = base;
	return 0;
}

/* ---- maps ---- */

static int build_key(struct yaml *yaml, yaml_event_t *event, const char **ret, bool *ret_merge)
{
	struct node *key;
	bool scalar = event->type == YAML_SCALAR_EVENT;
	*ret_merge = scalar && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	             strcmp((const char *)event->data.scalar.value, "<<") == 0;
	int status = build_node(yaml, event, &key);
	if (status)
		return status;
	if (key->type == NODE_LIST || key->type == NODE_MAP || key->type == NODE_NULL)
		return fail(yaml, key->line, "a map's key must be a string");
	*ret = key->text;
	return 0;
}

static bool has_key(const struct yaml *yaml, size_t base, const char *key)
{
	for (size_t i = base; i < yaml->n_children; i++)
		if (strcmp(yaml->keys[i], key) == 0)
			return true;
	return false;
}

/* YAML 1.1 merge: what the map itself says, or an earlier merge, wins. Bounded by the map's own ceiling: pairs count.
 */
static int merge_map(struct yaml *yaml, size_t base, const struct node *from, unsigned line)
{
	if (from->type != NODE_MAP)
		return fail(yaml, line, "map merge requires map or sequence of maps as the value");
	if (from->n > 1000)
		return fail(yaml, line, "map merge of more than 1000 keys");
	for (size_t i = 0; i < from->n; i++)
		if (!has_key(yaml, base, from->keys[i]))
			push_child(yaml, from->keys[i], from->items[i]);
	return 0;
}

static int merge(struct yaml *yaml, size_t base, const struct node *from)
{
	if (from->type != NODE_LIST)
		return merge_map(yaml, base, from, from->line);
	if (from->n > 16)
		return fail(yaml, from->line, "map merge of more than 16 maps");
	for (size_t i = 0; i < from->n; i++) {
		int status = merge_map(yaml, base, from->items[i], from->line);
		if (status)
			return status;
	}
	return 0;
}

static int cmp_key(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *duplicate_key(struct yaml *yaml, const struct node *map)
{
	if (map->n <= 16) {
		for (size_t i = 1; i < map->n; i++)
			for (size_t k = 0; k < i; k++)
				if (strcmp(map->keys[i], map->keys[k]) == 0)
					return map->keys[i];
		return NULL;
	}
	const char **sorted = arena_array(yaml->scratch, map->n, sizeof(*sorted));
	memcpy(sorted, map->keys, map->n * sizeof(*sorted));
	qsort(sorted, map->n, sizeof(*sorted), cmp_key);
	for (size_t i = 1; i < map->n; i++)
		if (strcmp(sorted[i], sorted[i - 1]) == 0)
			return sorted[i];
	return NULL;
}

static int finish_map(struct yaml *yaml, struct node *node, size_t base, const struct node *merged)
{
	/* The own pairs first, alone: a key given twice is an error, a key given again by a merge is not. */
	node->type = NODE_MAP;
	for (int pass = 0; pass < (merged ? 2 : 1); pass++) {
		if (pass) {
			int status = merge(yaml, base, merged);
			if (status)
				return status;
		}
		node->n = yaml->n_children - base;
		node->items = arena_array(yaml->scratch, node->n, sizeof(*node->items));
		node->keys = arena_array(yaml->scratch, node->n, sizeof(*node->keys));
		if (!node->n)
			continue;
		memcpy(node->items, yaml->values + base, node->n * sizeof(*node->items));
		memcpy(node->keys, yaml->keys + base, node->n * sizeof(*node->keys));
		const char *twice = pass ? NULL : duplicate_key(yaml, node);
		if (twice)
			return fail(yaml, node->line, "key \"%.80s\" is given twice in the map that begins here",
			            twice);
	}
	yaml->n_children = base;
	return 0;
}

static int build_map(struct yaml *yaml, struct node *node)
{
	size_t base = yaml->n_children;
	const struct node *merged = NULL;
	for (;;) {
		yaml_event_t event;
		int status = next_event(yaml, &event);
		if (status)
			return status;
		bool end = event.type == YAML_MAPPING_END_EVENT, is_merge = false;
		const char *key = NULL;
		unsigned key_line = (unsigned)event.start_mark.line + 1;
		if (!end)
			status = build_key(yaml, &event, &key, &is_merge);
		yaml_event_delete(&event);
		if (status || end)
			return status ? status : finish_map(yaml, node, base, merged);
		struct node *value;
		status = build_next(yaml, &value);
		if (status)
			return status;
		/* A field is where its key stands, also when its value begins below. */
		if (value->line > key_line)
			value->line = key_line;
		if (is_merge && merged)
			return fail(yaml, value->line, "key \"<<\" is given twice");
		if (is_merge)
			merged = value;
		else
			push_child(yaml, key, value);
	}
}

/* ---- nodes ---- */

static int reach_depth(struct yaml *yaml, unsigned depth, unsigned line)
{
	if (depth > yaml->deepest)
		yaml->deepest = depth;
	return depth > YAML_DEPTH_CEILING ? fail(yaml, line, "nested deeper than %u levels", YAML_DEPTH_CEILING) : 0;
}

static int build_alias(struct yaml *yaml, const char *name, unsigned line, struct node **ret)
{
	for (size_t i = yaml->n_anchors; i-- > 0;) {
		if (strcmp(yaml->anchors[i].name, name) != 0)
			continue;
		*ret = yaml->anchors[i].node;
		if (reach_depth(yaml, yaml->depth + yaml->anchors[i].height, line))
			return -EINVAL;
		return add_weight(yaml, line, yaml->anchors[i].weight);
	}
	return fail(yaml, line, "unknown anchor '%.60s' referenced", name);
}

static int build_inside(struct yaml *yaml, const yaml_event_t *event, struct node *node)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return build_scalar(yaml, event, node);
	case YAML_SEQUENCE_START_EVENT:
		return build_list(yaml, node);
	case YAML_MAPPING_START_EVENT:
		return build_map(yaml, node);
	default:
		return fail(yaml, node->line, "unexpected end of a list or map");
	}
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

static int build_node(struct yaml *yaml, yaml_event_t *event, struct node **ret)
{
	unsigned line = (unsigned)event->start_mark.line + 1;
	if (event->type == YAML_ALIAS_EVENT)
		return build_alias(yaml, (const char *)event->data.alias.anchor, line, ret);
	size_t before = yaml->weight;
	unsigned deepest = yaml->deepest, depth = yaml->depth;
	if (add_weight(yaml, line, 1))
		return -EINVAL;
	struct node *node = arena_alloc(yaml->scratch, sizeof(*node));
	node->line = line;
	yaml->deepest = depth;
	yaml->depth = depth + 1;
	int status = reach_depth(yaml, depth + 1, line);
	if (!status)
		status = build_inside(yaml, event, node);
	yaml->depth = depth;
	if (status)
		return status;
	unsigned height = yaml->deepest - depth;
	if (yaml->deepest < deepest)
		yaml->deepest = deepest;
	/* Known only from here on: a node cannot contain itself. */
	const char *anchor = (const char *)event_anchor(event);
	if (anchor && yaml->n_anchors == ANCHOR_CEILING)
		return fail(yaml, line, "more than %d anchors", ANCHOR_CEILING);
	if (anchor)
		yaml->anchors[yaml->n_anchors++] =
		    (struct anchor){arena_strdup(yaml->scratch, anchor), node, yaml->weight - before, height};
	*ret = node;
	return 0;
}

static int build_document(struct yaml *yaml, struct node **ret)
{
	yaml->n_anchors = yaml->n_children = yaml->weight = 0;
	yaml->depth = yaml->deepest = 0;
	int status = build_next(yaml, ret);
	if (status)
		return status;
	yaml_event_t event;
	status = next_event(yaml, &event); /* the document's end */
	if (!status)
		yaml_event_delete(&event);
	return status ? status : 1;
}

int yaml_next(struct yaml *yaml, struct arena *scratch, struct node **ret, unsigned *ret_line, struct err *reterr)
{
	yaml->scratch = scratch;
	yaml->err = reterr;
	int status = yaml->read_errno ? fail_parser(yaml) : 0;
	bool document = false, end = false;
	while (!status && !document && !end) {
		yaml_event_t event;
		status = next_event(yaml, &event);
		if (status)
			break;
		document = event.type == YAML_DOCUMENT_START_EVENT;
		end = event.type == YAML_STREAM_END_EVENT || event.type == YAML_NO_EVENT;
		yaml_event_delete(&event);
	}
	if (document)
		status = build_document(yaml, ret);
	if (status < 0 && ret_line)
		*ret_line = yaml->line;
	return status;
}
