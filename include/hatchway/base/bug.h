/* What every room may assume of the language: our own bugs stop the process, out of memory too.
 *
 * Kubernetes (or the shell) restarts the controller and HAProxy serves on meanwhile, so an abort is cheaper than a
 * wrong change. Nothing a user writes may reach a BUG_ON: users' mistakes become conditions, the world's become errno. */
#ifndef HATCHWAY_BASE_BUG_H
#define HATCHWAY_BASE_BUG_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Always on, in release builds too. */
#define BUG_ON(cond)                                                                                                   \
	do {                                                                                                           \
		if (__builtin_expect(!!(cond), 0)) {                                                                   \
			fprintf(stderr, "BUG: %s:%d: %s\n", __FILE__, __LINE__, #cond);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* Allocation never returns NULL: it dies with one line. Free with free(). */
static inline void *xrealloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);
	if (!q) {
		fprintf(stderr, "out of memory: %zu bytes\n", n);
		abort();
	}
	return q;
}

static inline void *xcalloc(size_t n, size_t size)
{
	void *q = calloc(n ? n : 1, size ? size : 1);
	if (!q) {
		fprintf(stderr, "out of memory: %zu x %zu bytes\n", n, size);
		abort();
	}
	return q;
}

static inline void *xmalloc(size_t n)
{
	return xrealloc(NULL, n);
}

static inline char *xstrdup(const char *s)
{
	size_t n = strlen(s) + 1;
	return memcpy(xmalloc(n), s, n);
}

#endif
