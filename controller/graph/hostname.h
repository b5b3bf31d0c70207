/* Gateway API hostnames: "a.b", "*.a.b", and "" for any. A wildcard stands for one or more labels (a suffix match). */
#ifndef HATCHWAY_GRAPH_HOSTNAME_H
#define HATCHWAY_GRAPH_HOSTNAME_H

#include <stdbool.h>
#include <stddef.h>

/* Every name `narrow` stands for, `wide` stands for too. Equal hostnames cover each other. */
bool hostname_covers(const char *wide, const char *narrow);

/* The names both stand for: always one of the two, or NULL for none. */
const char *hostname_intersect(const char *a, const char *b);

/* The next less specific pattern: "a.b.c" → "*.b.c" → "*.c" → "" → NULL. Writes into ret (room for strlen + 2). */
const char *hostname_widen(const char *hostname, char *ret);

#endif
