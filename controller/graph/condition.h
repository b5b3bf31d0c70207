/* One condition of an object: which of conditions.def, and what it says. */
#ifndef HATCHWAY_GRAPH_CONDITION_H
#define HATCHWAY_GRAPH_CONDITION_H

#include "hatchway/base/buf.h"

enum condition_id {
	CONDITION_NONE,
#define CONDITION(id, type, status, reason, good, text) COND_##id,
#include "controller/graph/conditions.def"
#undef CONDITION
	CONDITION_COUNT
};

struct condition_kind {
	const char *type, *reason, *text;
	bool status;
	bool good; /* as one would like it; what is not is told by `hatchway check` */
};

const struct condition_kind *condition_kind(enum condition_id id);

struct condition {
	uint8_t id;    /* enum condition_id; 0: none */
	char *message; /* malloc'ed; NULL: the kind's own text */
};

/* The one way to make a condition; fmt NULL: the kind's own text. Control characters become '?', and what is longer than
 * CONDITION_MESSAGE ends in "…". */
#define CONDITION_MESSAGE 4096
PRINTF_LIKE(3, 4) void condition_set(struct condition *c, enum condition_id id, const char *fmt, ...);
void condition_done(struct condition *c);
void condition_copy(struct condition *to, const struct condition *from);
const char *condition_text(const struct condition *c);

/* "Accepted=False PortUnavailable: message" */
void condition_dump(const struct condition *c, struct buf *out);

#endif
