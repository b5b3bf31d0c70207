/* What an answer of HAProxy means, by the command it answers. Pure. */
#ifndef HATCHWAY_HAPROXY_REPLY_H
#define HATCHWAY_HAPROXY_REPLY_H

#include "haproxy/plan.h"

enum reply {
	REPLY_OK,
	REPLY_BUSY,     /* not yet: connections are still there */
	REPLY_REFUSED,  /* this object cannot be; the others can */
	REPLY_SURPRISE, /* HAProxy holds something else than we believe */
	REPLY_DOUBT,    /* never heard: whatever happened, read again */
};

/* answer: all its lines, joined by "\n". *ret_text: the part for a person, inside answer. */
enum reply reply_parse(enum step_op op, const char *answer, const char **ret_text);

#endif
