/* What core's tests share: objects out of YAML, and a core's whole state as text. */
#ifndef HATCHWAY_CORE_FIXTURE_H
#define HATCHWAY_CORE_FIXTURE_H

#include "controller/core.h"
#include "controller/object/decode.h"
#include "controller/source/yaml.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define FIXTURE_LIMIT ((size_t)64 << 20)
#define FIXTURE_NOW 1795000000 /* 2026-11-18T11:06:40Z */

/* Every object of the text goes to cb with its reference. A text the decoder refuses fails the test, unless
 * may_be_refused: a random object may be one an API server would not take. */
static inline size_t fixture_objects(const char *text, bool may_be_refused, void (*cb)(void *ctx, struct object *object),
                                     void *ctx)
{
	struct yaml *yaml = yaml_open_bytes(text, strlen(text));
	struct arena scratch;
	arena_init(&scratch);
	struct node *document;
	struct err err;
	unsigned line;
	size_t n = 0;
	int r;
	while ((r = yaml_next(yaml, &scratch, &document, &line, &err)) > 0) {
		struct object *object;
		int d = object_decode(document, &object, &line, &err);
		if (d < 0 && !may_be_refused)
			fail_msg("line %u: %s", line, err.text);
		if (d > 0)
			cb(ctx, object);
		n += d > 0;
		arena_done(&scratch);
	}
	if (r)
		fail_msg("line %u: %s\n%s", line, err.text, text);
	arena_done(&scratch);
	yaml_close(yaml);
	return n;
}

static inline void fixture_put(void *core, struct object *object)
{
	core_put(core, object);
}

/* Updates, and checks what the changes say against the tables before and after when given a copy of the former. */
static inline void fixture_update(struct core *core)
{
	struct table_changes changes = {0};
	core_update(core, &changes);
	table_changes_done(&changes);
}

static inline char *fixture_table(const struct core *core)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	table_dump(core_table(core), &out);
	return buf_take(&out);
}

static inline char *fixture_graph(const struct core *core)
{
	struct buf out;
	buf_init(&out, FIXTURE_LIMIT);
	core_dump_graph(core, &out);
	return buf_take(&out);
}

#endif
