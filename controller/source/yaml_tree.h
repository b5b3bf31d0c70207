/* What both readers of YAML build trees with: the children of nodes that are not finished, and what plain scalars mean.
 */
#ifndef HATCHWAY_SOURCE_YAML_TREE_H
#define HATCHWAY_SOURCE_YAML_TREE_H

#include "controller/object/decode.h"

struct yaml_tree {
	struct arena *scratch; /* of the document being read */
	struct node **values;  /* children of the nodes being built, a stack; keys beside them */
	const char **keys;
	size_t n, cap;
};

void yaml_tree_done(struct yaml_tree *tree);

void yaml_tree_push(struct yaml_tree *tree, const char *key, struct node *value);
/* The children from base on become the node's; they stay on the stack. */
void yaml_tree_list(const struct yaml_tree *tree, struct node *node, size_t base);
void yaml_tree_map(const struct yaml_tree *tree, struct node *node, size_t base);
/* A key that the map has twice, or NULL. */
const char *yaml_tree_twice(const struct yaml_tree *tree, const struct node *map);

/* Of a plain scalar, with text and NODE_STRING: gives it the type it means. */
void yaml_tree_resolve(const struct yaml_tree *tree, struct node *node);

#endif
