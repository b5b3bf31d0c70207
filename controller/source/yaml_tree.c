/* Owns the stack of children and the meaning of plain scalars. */
#include "controller/source/yaml_tree.h"

#include <errno.h>
#include <inttypes.h>

void yaml_tree_done(struct yaml_tree *tree)
{
	free(tree->values);
	free(tree->keys);
	*tree = (struct yaml_tree){0};
}

/* ---- children ---- */

void yaml_tree_push(struct yaml_tree *tree, const char *key, struct node *value)
{
	if (tree->n == tree->cap) {
		tree->cap = tree->cap ? 2 * tree->cap : 64;
		tree->values = xrealloc(tree->values, tree->cap * sizeof(*tree->values));
		tree->keys = xrealloc(tree->keys, tree->cap * sizeof(*tree->keys));
	}
	tree->keys[tree->n] = key;
	tree->values[tree->n++] = value;
}

void yaml_tree_list(const struct yaml_tree *tree, struct node *node, size_t base)
{
	node->type = NODE_LIST;
	node->n = tree->n - base;
	node->items = arena_array(tree->scratch, node->n, sizeof(*node->items));
	if (node->n)
		memcpy(node->items, tree->values + base, node->n * sizeof(*node->items));
}

void yaml_tree_map(const struct yaml_tree *tree, struct node *node, size_t base)
{
	yaml_tree_list(tree, node, base);
	node->type = NODE_MAP;
	node->keys = arena_array(tree->scratch, node->n, sizeof(*node->keys));
	if (node->n)
		memcpy(node->keys, tree->keys + base, node->n * sizeof(*node->keys));
}

static int cmp_key(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *yaml_tree_twice(const struct yaml_tree *tree, const struct node *map)
{
	if (map->n <= 16) {
		for (size_t i = 1; i < map->n; i++)
			for (size_t k = 0; k < i; k++)
				if (strcmp(map->keys[i], map->keys[k]) == 0)
					return map->keys[i];
		return NULL;
	}
	const char **sorted = arena_array(tree->scratch, map->n, sizeof(*sorted));
	memcpy(sorted, map->keys, map->n * sizeof(*sorted));
	qsort(sorted, map->n, sizeof(*sorted), cmp_key);
	for (size_t i = 1; i < map->n; i++)
		if (strcmp(sorted[i], sorted[i - 1]) == 0)
			return sorted[i];
	return NULL;
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

/* As a number is written, without anything before it. */
static bool is_decimal(const char *text)
{
	size_t n = strspn(text, "0123456789");
	return !text[n] && (*text != '0' || n == 1);
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
		if (!is_decimal(text))
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

void yaml_tree_resolve(const struct yaml_tree *tree, struct node *node)
{
	if (!resolve_word(node))
		resolve_number(tree->scratch, node);
}
