/* Steps over a session: packs them into few texts, takes the answers apart again, one verdict per step. It knows
 * neither images nor why; see sync.c. */
#ifndef HATCHWAY_HAPROXY_APPLY_H
#define HATCHWAY_HAPROXY_APPLY_H

#include "haproxy/command.h"
#include "haproxy/reply.h"
#include "haproxy/session.h"

enum apply_end {
	APPLY_DONE,    /* every step got its verdict, and the worker is alive and the one we know */
	APPLY_STOPPED, /* more() said no: the rest was not sent */
	APPLY_DOUBT,   /* answers that cannot be attributed, or a worker on its way out: read again */
};

struct apply_events {
	/* Once for each step, in order. REPLY_DOUBT and REPLY_SURPRISE do not end the run. */
	void (*step)(void *ctx, const struct step *step, enum reply reply, const char *text);
	bool (*more)(void *ctx); /* asked between texts; NULL: always */
	void (*done)(void *ctx, enum apply_end end, const char *why);
	void *ctx;
};

struct apply_options {
	const struct map_names *maps;
	int pid;          /* of the worker that must still be serving at the end */
	bool alone;       /* no payloads: one answer for each step, after one payload was refused */
	size_t max_steps; /* of one text; 0: as many as fit */
};

struct apply;

/* steps must live until done(). No callback after the session's closed(); then, and after done(), apply_free(). */
struct apply *apply_start(struct session *session, const struct step *steps, size_t n,
                          const struct apply_options *options, const struct apply_events *events);
void apply_free(struct apply *apply);

#endif
