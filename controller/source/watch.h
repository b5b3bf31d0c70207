/* One kind of a cluster kept up to date: LIST in pages, then WATCH from there, for ever. Every way it can end leads
 * back to a watch from the last version seen, or to a list whose differences are told. */
#ifndef HATCHWAY_SOURCE_WATCH_H
#define HATCHWAY_SOURCE_WATCH_H

#include "controller/source/kube_client.h"
#include "controller/source/source.h"
#include "controller/source/status_merge.h"
#include "hatchway/base/buf.h"

struct watch_events {
	struct source_events source; /* put, delete, problem; settled() is the owner's */
	/* All there is has been told for the first time (or nothing can be said, and will not be soon). */
	void (*synced)(void *ctx);
	/* Our part of an object's status is another than it was, or than what was written; told after put(). */
	void (*status)(void *ctx, enum object_kind kind, const char *namespace, const char *name);
	/* 404: ask again what is served. */
	void (*missing)(void *ctx);
	void *ctx;
};

struct watch_times {
	unsigned connect_ms;
	unsigned list_silence_s, list_total_ms; /* of one page */
	unsigned watch_s;                       /* how long a watch shall last: this, and up to as much again */
	unsigned watch_silence_s;               /* servers send a bookmark every minute */
	unsigned retry_ms, retry_max_ms;        /* back-off: doubles between the two */
	unsigned forbidden_ms;                  /* forbidden for so long from the beginning: the others need not wait, unless nothing
	                                           can be served without the kind */
	unsigned page;                          /* objects of one LIST; 0: all */
};

/* What is known of an object beside itself, as it was delivered last. */
struct watch_seen {
	uint64_t version; /* metadata.resourceVersion; 0: not known */
	const char *uid;  /* until something else is delivered */
	struct status_seen status;
};

struct watch;
/* controller: whose the status is that counts as ours; must outlive it. */
struct watch *watch_open(uv_loop_t *loop, struct kube_client *client, enum object_kind kind, const char *controller,
                         const struct watch_times *times, const struct watch_events *events);
void watch_close(struct watch *watch, void (*cb)(void *ctx), void *ctx);
/* Before it begins: only this object, of a namespace. */
void watch_only(struct watch *watch, const char *namespace, const char *name);
/* Begins, or goes on with this version. NULL: the kind is not served any more; all its objects are told as deleted. */
void watch_serve(struct watch *watch, const char *version, const char *plural);
struct watch_figures {
	enum object_kind kind;
	const char *state; /* "not served", "listing", "watching" or "waiting" (to try again) */
	bool forbidden, synced; /* synced: told once, or given up for now */
	size_t objects, refused; /* refused: could not be read */
};
struct watch_figures watch_figures(const struct watch *watch);
/* One line for people: kind, state, objects, why it does not go on. */
void watch_describe(const struct watch *watch, struct buf *out);
/* Appends the URL path of one object; false: the kind is not served. */
bool watch_object_path(const struct watch *watch, const char *namespace, const char *name, struct buf *out);
/* False: there is no such object. */
bool watch_seen(const struct watch *watch, const char *namespace, const char *name, struct watch_seen *ret);
/* We have written a status of this digest. */
void watch_wrote(struct watch *watch, const char *namespace, const char *name, uint64_t digest);

#endif
