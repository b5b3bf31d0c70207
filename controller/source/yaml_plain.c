/* Owns the line being read: its indentation and how far it is read. Recursive descent, a line at a time; -1 from any of
 * it means: leave the text to libyaml. */
#include "controller/source/yaml_plain.h"

#define DEPTH_CEILING 32
#define KEY_CEILING 500 /* libyaml has one too, of 1024 */

/* Instead of a column: */
#define BEGIN -1  /* nothing was read yet */
#define MARKER -2 /* --- */
#define END -3
#define UNKNOWN -4

/* FIRST may begin a plain scalar, and never means anything else; WORD goes on with it in keys and [] too. */
#define FIRST 1
#define WORD 2
static const uint8_t classes[256] = {
	['a' ... 'z'] = FIRST | WORD,
	['A' ... 'Z'] = FIRST | WORD,
	['0' ... '9'] = FIRST | WORD,
	['_'] = FIRST | WORD,
	['.'] = FIRST | WORD,
	['/'] = FIRST | WORD,
	['-'] = WORD,
	['+'] = FIRST,
	['~'] = FIRST,
	['^'] = FIRST,
	['$'] = FIRST,
	['('] = FIRST,
	['\\'] = FIRST,
};

static bool is_class(char c, uint8_t class)
{
	return classes[(unsigned char)c] & class;
}

/* ---- lines ---- */

/* To the next one that is not blank and not a comment. */
static void next_line(struct yaml_plain *plain)
{
	do {
		const char *begin = plain->next;
		if (begin == plain->end) {
			plain->column = END;
			return;
		}
		const char *newline = memchr(begin, '\n', (size_t)(plain->end - begin));
		plain->eol = newline ? newline : plain->end;
		plain->next = newline ? newline + 1 : plain->end;
		plain->line++;
		for (plain->at = begin; plain->at < plain->eol && *plain->at == ' ';)
			plain->at++;
		while (plain->eol > plain->at && plain->eol[-1] == ' ')
			plain->eol--;
		plain->column = (int)(plain->at - begin);
	} while (plain->at == plain->eol || *plain->at == '#');
	if (!plain->column && plain->eol - plain->at == 3 && memcmp(plain->at, "---", 3) == 0)
		plain->column = MARKER;
}

static void skip_blanks(struct yaml_plain *plain)
{
	while (plain->at < plain->eol && *plain->at == ' ')
		plain->at++;
}

static bool is_dash(const struct yaml_plain *plain)
{
	return plain->eol - plain->at > 1 && plain->at[0] == '-' && plain->at[1] == ' ';
}

/* ---- scalars ---- */

/* Behind the quoted text at `at`; NULL: it has an escape inside, or no end here. (Behind a quote that stands for itself
 * there is a quote, and nobody takes that.) */
static const char *quoted_end(const char *at, const char *eol)
{
	const char *end = memchr(at + 1, *at, (size_t)(eol - at - 1));
	return !end || (*at == '"' && memchr(at, '\\', (size_t)(end - at))) ? NULL : end + 1;
}

/* Behind a quoted text, or a word that is a plain scalar wherever it stands; NULL: neither. */
static const char *word_end(const char *at, const char *eol)
{
	if (at == eol)
		return NULL;
	if (*at == '"' || *at == '\'')
		return quoted_end(at, eol);
	if (!is_class(*at, FIRST) || !is_class(*at, WORD))
		return NULL;
	while (at < eol && is_class(*at, WORD))
		at++;
	return at;
}

/* Behind the rest of the line, if all of it is one plain scalar, or else NULL. */
static const char *rest_end(const char *at, const char *eol)
{
	if (!is_class(*at, FIRST) && !(*at == '-' && eol - at > 1 && is_class(at[1], FIRST)))
		return NULL;
	for (; at < eol; at++)
		if ((*at == ':' && (at + 1 == eol || at[1] == ' ')) || (*at == '#' && at[-1] == ' '))
			return NULL;
	return at;
}

static struct node *new_node(const struct yaml_plain *plain)
{
	struct node *node = arena_alloc(plain->tree->scratch, sizeof(*node));
	node->line = plain->line;
	return node;
}

static void take_scalar(struct yaml_plain *plain, const char *end, struct node *node)
{
	bool quoted = *plain->at == '"' || *plain->at == '\'';
	node->type = NODE_STRING;
	node->text = arena_strndup(plain->tree->scratch, plain->at + quoted, (size_t)(end - plain->at) - 2 * quoted);
	if (!quoted)
		yaml_tree_resolve(plain->tree, node);
	plain->at = end;
}

/* [] of words. */
static int take_flow(struct yaml_plain *plain, struct node *node)
{
	struct yaml_tree *tree = plain->tree;
	size_t base = tree->n;
	do {
		plain->at++;
		skip_blanks(plain);
		if (tree->n == base && plain->at < plain->eol && *plain->at == ']')
			break;
		const char *end = word_end(plain->at, plain->eol);
		if (!end)
			return -1;
		struct node *item = new_node(plain);
		take_scalar(plain, end, item);
		yaml_tree_push(tree, NULL, item);
		skip_blanks(plain);
	} while (plain->at < plain->eol && *plain->at == ',');
	if (plain->at == plain->eol || *plain->at != ']')
		return -1;
	plain->at++;
	yaml_tree_list(tree, node, base);
	tree->n = base;
	return 0;
}

/* What stands on one line, up to its end. */
static int take_inline(struct yaml_plain *plain, struct node **ret)
{
	struct node *node = *ret = new_node(plain);
	if (*plain->at == '[') {
		if (take_flow(plain, node))
			return -1;
	} else if (plain->eol - plain->at == 2 && memcmp(plain->at, "{}", 2) == 0) {
		yaml_tree_map(plain->tree, node, plain->tree->n);
		plain->at = plain->eol;
	} else {
		bool quoted = *plain->at == '"' || *plain->at == '\'';
		const char *end = quoted ? quoted_end(plain->at, plain->eol) : rest_end(plain->at, plain->eol);
		if (!end)
			return -1;
		take_scalar(plain, end, node);
	}
	if (plain->at != plain->eol)
		return -1;
	next_line(plain);
	return 0;
}

/* ---- blocks ----
 *
 * Each ends at a line of another column than its own. If that is no column of a block around it either, nobody goes on
 * there, and the document does not end as it must. */

static int take_block(struct yaml_plain *plain, unsigned depth, struct node **ret);

/* Behind a key and its colon, or NULL. */
static const char *key_end(const struct yaml_plain *plain)
{
	const char *end = word_end(plain->at, plain->eol);
	if (!end || end == plain->eol || *end != ':' || end - plain->at > KEY_CEILING)
		return NULL;
	return end + 1 == plain->eol || end[1] == ' ' ? end + 1 : NULL;
}

static int take_list(struct yaml_plain *plain, unsigned depth, struct node *node)
{
	struct yaml_tree *tree = plain->tree;
	size_t base = tree->n;
	int column = plain->column;
	while (plain->column == column && is_dash(plain)) {
		struct node *item;
		const char *dash = plain->at++;
		skip_blanks(plain);
		plain->column += (int)(plain->at - dash);
		if (is_dash(plain) || key_end(plain) ? take_block(plain, depth, &item) : take_inline(plain, &item))
			return -1;
		yaml_tree_push(tree, NULL, item);
	}
	yaml_tree_list(tree, node, base);
	tree->n = base;
	return 0;
}

static int take_value(struct yaml_plain *plain, int column, unsigned depth, struct node **ret)
{
	skip_blanks(plain);
	if (plain->at < plain->eol)
		return take_inline(plain, ret);
	next_line(plain);
	/* A list may begin where its key does. */
	if (plain->column > column || (plain->column == column && is_dash(plain)))
		return take_block(plain, depth, ret);
	return -1;
}

static int take_map(struct yaml_plain *plain, unsigned depth, struct node *node)
{
	struct yaml_tree *tree = plain->tree;
	size_t base = tree->n;
	int column = plain->column;
	while (plain->column == column) {
		struct node key = {.line = plain->line}, *value;
		const char *end = key_end(plain);
		if (!end)
			return -1;
		take_scalar(plain, end - 1, &key);
		plain->at = end;
		if (key.type == NODE_NULL || take_value(plain, column, depth, &value))
			return -1;
		/* A field is where its key stands, also when its value begins below. */
		value->line = key.line;
		yaml_tree_push(tree, key.text, value);
	}
	yaml_tree_map(tree, node, base);
	tree->n = base;
	return yaml_tree_twice(tree, node) ? -1 : 0;
}

static int take_block(struct yaml_plain *plain, unsigned depth, struct node **ret)
{
	if (depth == DEPTH_CEILING)
		return -1;
	*ret = new_node(plain);
	return is_dash(plain) ? take_list(plain, depth + 1, *ret) : take_map(plain, depth + 1, *ret);
}

/* ---- documents ---- */

void yaml_plain_open(struct yaml_plain *plain, const char *text, size_t n)
{
	*plain = (struct yaml_plain){.next = text, .end = text + n, .column = BEGIN};
	for (size_t i = 0; i < n; i++)
		if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
			plain->column = UNKNOWN;
}

static int take_document(struct yaml_plain *plain, struct node **ret)
{
	if (plain->column == BEGIN)
		next_line(plain);
	if (plain->column == END)
		return 0;
	if (plain->column == MARKER)
		next_line(plain);
	/* An empty document is one too, but a rare one. */
	if (plain->column != 0 || take_block(plain, 0, ret))
		return -1;
	return plain->column == MARKER || plain->column == END ? 1 : -1;
}

int yaml_plain_next(struct yaml_plain *plain, struct yaml_tree *tree, struct node **ret)
{
	if (!plain->next || plain->column == UNKNOWN)
		return -1;
	plain->tree = tree;
	tree->n = 0;
	int status = take_document(plain, ret);
	if (status < 0)
		plain->column = UNKNOWN;
	return status;
}
