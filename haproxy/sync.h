/* Keeps one running HAProxy equal to a wanted image and a set of binds, and the files equal to HAProxy. All on images;
 * the table's half of haproxy.h is in haproxy.c. */
#ifndef HATCHWAY_HAPROXY_SYNC_H
#define HATCHWAY_HAPROXY_SYNC_H

#include "haproxy/config.h"
#include "haproxy/image.h"
#include "hatchway/haproxy.h"

struct sync;

struct sync_bind {
	const char *key;     /* the table's listener */
	const char *address; /* "" = every address */
	uint16_t port;
	bool tls;
};

/* What HAProxy or the system would not take. */
struct sync_refusal {
	bool bind; /* key is a bind's */
	enum item_kind kind;
	const char *key;
	const char *text;
};

struct sync_events {
	void (*applied)(void *ctx, uint64_t generation, const struct sync_refusal *refusals, size_t n);
	void (*state)(void *ctx, enum haproxy_state state, const char *text);
	/* The configuration with these binds, to free(). A function of its arguments: compared with what runs. */
	char *(*config)(void *ctx, const struct config_bind *binds, size_t n);
	void *ctx;
};

struct sync_file {
	const char *name, *text;
};

struct sync_options {
	const char *state_dir, *binary; /* as in struct haproxy_options */
	uint16_t pool_base;
	unsigned pool_size;
	bool stop_on_exit;
	const struct sync_file *files; /* that the configuration loads: Lua */
	size_t n_files;
	size_t max_steps; /* commands in one text, for tests of what happens between two; 0: as many as fit */
};

/* Can these be used? */
MUST_CHECK int sync_options_check(const struct sync_options *options, struct err *reterr);

/* `wanted` will track its touched keys; it is changed by the caller only right before sync_submit(), and outlives the sync. */
MUST_CHECK int sync_open(uv_loop_t *loop, const struct sync_options *options, const struct sync_events *events,
                         struct image *wanted, struct sync **ret, struct err *reterr);
/* wanted has changed. binds: all of them, or NULL: as before. */
void sync_submit(struct sync *sync, uint64_t generation, const struct sync_bind *binds, size_t n_binds);
struct haproxy_counters sync_counters(const struct sync *sync);
void sync_close(struct sync *sync, void (*cb)(void *ctx), void *ctx);

/* ---- for tests ---- */
const struct image *sync_held(const struct sync *sync);
bool sync_idle(const struct sync *sync); /* nothing is left to do, removals included */
/* As if the controller were killed now: sockets and timers go, nothing is flushed or told. cb when all handles are closed. */
void sync_abandon(struct sync *sync, void (*cb)(void *ctx), void *ctx);

#endif
