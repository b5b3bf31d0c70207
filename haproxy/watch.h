/* The look at HAProxy once a second: is it still the worker we know, and does it hold what we think? Cheap, so it counts
 * the entries of maps, and compares some servers and backends at a time: all of them are seen in turn. Sends only `show`, and
 * enables a frontend that is paused. */
#ifndef HATCHWAY_HAPROXY_WATCH_H
#define HATCHWAY_HAPROXY_WATCH_H

#include "haproxy/reader.h"

struct watch;

struct watch_options {
	int pid;                   /* of the worker we know */
	const struct image *held;  /* unchanged until done() */
	size_t *cursor;            /* how far the servers have been seen; 0 at first */
	/* difference: NULL, or what somebody else has done, for a log line. Not after the session's closed(). */
	void (*done)(void *ctx, const char *difference);
	void *ctx;
};

struct watch *watch_start(struct session *session, const struct watch_options *options);
/* At any time, also when done() was called. */
void watch_free(struct watch *watch);

/* Is HAProxy's item the one we hold? The path of a unix socket HAProxy does not tell. */
bool watch_same_server(const struct item *held, const struct item *told);

#endif
