/* Reads the plain part of YAML that almost every manifest is written in, several times as fast as libyaml: block maps
 * and lists, scalars and lists of scalars on one line, printable ASCII. It never reports an error and never guesses:
 * whatever it does not know for certain it leaves to libyaml, and what it reads, libyaml reads the same (yaml_test.c,
 * yaml_fuzz.c). */
#ifndef HATCHWAY_SOURCE_YAML_PLAIN_H
#define HATCHWAY_SOURCE_YAML_PLAIN_H

#include "controller/source/yaml_tree.h"

#define YAML_PLAIN_CEILING (64u << 10) /* bytes of a text: so no node ceiling can be reached */

struct yaml_plain {
	const char *next, *end; /* lines to come */
	const char *at, *eol;   /* of the line being read: what is left of it, without blanks around */
	int column;             /* of at; negative: see the .c */
	unsigned line;
	struct yaml_tree *tree;
};

/* text must outlive it. Zeroed, it knows nothing. */
void yaml_plain_open(struct yaml_plain *plain, const char *text, size_t n);
/* 1: *ret is the next document. 0: no more. -1: not known, and nothing after it. */
MUST_CHECK int yaml_plain_next(struct yaml_plain *plain, struct yaml_tree *tree, struct node **ret);

#endif
