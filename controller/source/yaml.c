/* Owns the building of trees from libyaml's events, and which of the two readers is asked: yaml_plain.h's as long as it
 * knows all it sees, and libyaml from the first document on where it does not. Knows nothing of objects. */
#include "controller/source/yaml.h"

#include "controller/source/surrogates.h"
#include "controller/source/yaml_plain.h"

#include <errno.h>
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
	struct yaml_tree tree;
	struct yaml_plain plain;
	size_t n_plain;   /* documents read by it */
	bool parsing;     /* libyaml reads: the parser is there */
	yaml_parser_t parser;
	char *begin;      /* of fd, to free() */
	const char *text; /* what the parser has not read yet; then comes fd */
	size_t n_text;
	int fd; /* -1: nothing */
	int read_errno;
	size_t bytes, newlines; /* read by the parser so far */
	struct surrogates surrogates;

	/* of the document being read */
	struct anchor anchors[ANCHOR_CEILING];
	size_t n_anchors, weight;
	unsigned depth, deepest;
	unsigned line; /* of an error */
	struct err *err;
};

/* ---- opening ---- */

static ssize_t read_fd(int fd, void *buffer, size_t size)
{
	ssize_t n;
	do
		n = read(fd, buffer, size);
	while (n < 0 && errno == EINTR);
	return n;
}

static ssize_t read_some(struct yaml *yaml, unsigned char *buffer, size_t size)
{
	if (!yaml->n_text)
		return yaml->fd < 0 ? 0 : read_fd(yaml->fd, buffer, size);
	size_t n = size < yaml->n_text ? size : yaml->n_text;
	memcpy(buffer, yaml->text, n);
	yaml->text += n;
	yaml->n_text -= n;
	return (ssize_t)n;
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

/* 1, or 0: yaml->read_errno. *ret_n: what came of it; nothing at the end only. */
static int read_passed(struct yaml *yaml, unsigned char *buffer, size_t size, size_t *ret_n)
{
	unsigned char *in = buffer + SURROGATES_HELD;
	BUG_ON(size <= 2 * SURROGATES_HELD); /* libyaml's buffer is of 16 KB */
	size -= SURROGATES_HELD;
	for (*ret_n = 0; !*ret_n;) {
		ssize_t n = yaml->bytes ? read_some(yaml, in, size) : read_begin(yaml, in, size);
		if (n < 0)
			yaml->read_errno = errno;
		else if ((yaml->bytes += (size_t)n) > YAML_TEXT_CEILING)
			yaml->read_errno = EFBIG;
		if (yaml->read_errno)
			return 0;
		if (!n) {
			*ret_n = surrogates_end(&yaml->surrogates, (char *)buffer);
			break;
		}
		*ret_n = surrogates_pass(&yaml->surrogates, (const char *)in, (size_t)n, (char *)buffer);
	}
	return 1;
}

static int read_input(void *ctx, unsigned char *buffer, size_t size, size_t *ret_n)
{
	struct yaml *yaml = ctx;
	if (!read_passed(yaml, buffer, size, ret_n))
		return 0;
	yaml->newlines += count_newlines(buffer, buffer + *ret_n);
	return 1;
}

static void begin_parser(struct yaml *yaml)
{
	if (!yaml_parser_initialize(&yaml->parser)) {
		fprintf(stderr, "out of memory: yaml parser\n");
		abort();
	}
	yaml->parsing = true;
	yaml_parser_set_encoding(&yaml->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input(&yaml->parser, read_input, yaml);
}

struct yaml *yaml_open_bytes(const void *bytes, size_t n)
{
	struct yaml *yaml = xcalloc(1, sizeof(*yaml));
	yaml->fd = -1;
	yaml->text = bytes;
	yaml->n_text = n;
	if (n > YAML_TEXT_CEILING)
		yaml->read_errno = EFBIG;
	else if (n <= YAML_PLAIN_CEILING)
		yaml_plain_open(&yaml->plain, bytes, n);
	return yaml;
}

struct yaml *yaml_open_fd(int fd)
{
	char *begin = xmalloc(YAML_PLAIN_CEILING + 1);
	size_t have = 0;
	ssize_t n;
	do {
		n = read_fd(fd, begin + have, YAML_PLAIN_CEILING + 1 - have);
		have += n > 0 ? (size_t)n : 0;
	} while (n > 0 && have <= YAML_PLAIN_CEILING);
	int read_errno = n < 0 ? errno : 0;
	struct yaml *yaml = yaml_open_bytes(begin, have);
	yaml->begin = begin;
	yaml->fd = fd;
	yaml->read_errno = read_errno;
	return yaml;
}

void yaml_close(struct yaml *yaml)
{
	if (!yaml)
		return;
	if (yaml->parsing)
		yaml_parser_delete(&yaml->parser);
	yaml_tree_done(&yaml->tree);
	free(yaml->begin);
	free(yaml);
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
	yaml_tree_resolve(&yaml->tree, node);
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
	node->text = arena_strndup(yaml->tree.scratch, text, n);
	if (event->data.scalar.tag)
		return apply_tag(yaml, event->data.scalar.tag, node);
	if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		yaml_tree_resolve(&yaml->tree, node);
	return 0;
}

static int build_list(struct yaml *yaml, struct node *node)
{
	size_t base = yaml->tree.n;
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
		yaml_tree_push(&yaml->tree, NULL, item);
	}
	yaml_tree_list(&yaml->tree, node, base);
	yaml->tree.n = base;
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
	for (size_t i = base; i < yaml->tree.n; i++)
		if (strcmp(yaml->tree.keys[i], key) == 0)
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
			yaml_tree_push(&yaml->tree, from->keys[i], from->items[i]);
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

static int finish_map(struct yaml *yaml, struct node *node, size_t base, const struct node *merged)
{
	/* The own pairs first, alone: a key given twice is an error, a key given again by a merge is not. */
	for (int pass = 0; pass < (merged ? 2 : 1); pass++) {
		if (pass) {
			int status = merge(yaml, base, merged);
			if (status)
				return status;
		}
		yaml_tree_map(&yaml->tree, node, base);
		const char *twice = pass ? NULL : yaml_tree_twice(&yaml->tree, node);
		if (twice)
			return fail(yaml, node->line, "key \"%.80s\" is given twice in the map that begins here",
			            twice);
	}
	yaml->tree.n = base;
	return 0;
}

static int build_map(struct yaml *yaml, struct node *node)
{
	size_t base = yaml->tree.n;
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
			yaml_tree_push(&yaml->tree, key, value);
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
	struct node *node = arena_alloc(yaml->tree.scratch, sizeof(*node));
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
		    (struct anchor){arena_strdup(yaml->tree.scratch, anchor), node, yaml->weight - before, height};
	*ret = node;
	return 0;
}

static int build_document(struct yaml *yaml, struct node **ret)
{
	yaml->n_anchors = yaml->tree.n = yaml->weight = 0;
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

/* Up to the end of an event of this type, or of everything. 1: it was there. */
static int skip_to(struct yaml *yaml, yaml_event_type_t type)
{
	for (;;) {
		yaml_event_t event;
		int status = next_event(yaml, &event);
		if (status)
			return status;
		yaml_event_type_t is = event.type;
		yaml_event_delete(&event);
		if (is == type || is == YAML_STREAM_END_EVENT || is == YAML_NO_EVENT)
			return is == type;
	}
}

/* From here on libyaml reads, behind the documents that it need not. */
static int take_over(struct yaml *yaml)
{
	int status = 1;
	begin_parser(yaml);
	for (size_t i = 0; i < yaml->n_plain && status > 0; i++)
		status = skip_to(yaml, YAML_DOCUMENT_END_EVENT);
	BUG_ON(!status);
	return status < 0 ? status : 0;
}

static int parse_next(struct yaml *yaml, struct node **ret)
{
	int status = yaml->read_errno ? fail_parser(yaml) : 0;
	if (!status && !yaml->parsing)
		status = take_over(yaml);
	if (!status)
		status = skip_to(yaml, YAML_DOCUMENT_START_EVENT);
	return status > 0 ? build_document(yaml, ret) : status;
}

int yaml_next(struct yaml *yaml, struct arena *scratch, struct node **ret, unsigned *ret_line, struct err *reterr)
{
	yaml->tree.scratch = scratch;
	yaml->err = reterr;
	int status = yaml->parsing || yaml->read_errno ? -1 : yaml_plain_next(&yaml->plain, &yaml->tree, ret);
	if (status >= 0) {
		yaml->n_plain += (size_t)status;
		return status;
	}
	status = parse_next(yaml, ret);
	if (status < 0 && ret_line)
		*ret_line = yaml->line;
	return status;
}
