/* The HAProxy half, seen from the controller: give it table changes, hear what became of them.
 *
 * It owns one running HAProxy 3.4 or newer: finds and adopts it, or (folder mode) starts a master that outlives the
 * controller; keeps one Runtime API connection; brings HAProxy to the table without reload, except when the set of binds
 * changes; keeps the files under state_dir true, so that HAProxy alone restarts into the last applied state.
 * Everything runs on the caller's libuv loop; nothing here blocks it. */
#ifndef HATCHWAY_HAPROXY_H
#define HATCHWAY_HAPROXY_H

#include "hatchway/table.h"

#include <uv.h>

struct haproxy;

/* A pool's ports end before its ports for TLS begin. */
#define HAPROXY_POOL_TLS 4096

struct haproxy_options {
	const char *state_dir;       /* absolute, exists, ours, mode 700; short enough for a unix socket's path */
	const char *binary;          /* HAProxy's path, or NULL: never start one (a Pod), only adopt the one at haproxy.sock,
	                              * whoever starts it, and whenever; its pids mean nothing here */
	/* Ports bound in advance, in a Pod: a listener whose bind_port lies in them needs no reload to come or go, and serves
	 * on every address. One in what a doubling would add doubles them, by one reload; they do not shrink while HAProxy runs,
	 * also not over a restart of ours. size 0: none. Those are for HTTP; as many for TLS are HAPROXY_POOL_TLS behind them. */
	uint16_t pool_base;
	unsigned pool_size;
	bool stop_on_exit;           /* haproxy_close() ends the HAProxy it uses: the demo */
	unsigned threads;            /* nbthread; 0 = HAProxy's own choice */
};

/* One object HAProxy (or the operating system: a bind) refused. The others were applied. */
struct haproxy_refusal {
	enum table_kind kind; /* the unit it concerns */
	const char *key;
	const char *text;     /* what was said, for a person; printable */
};

enum haproxy_state { HAPROXY_DOWN, HAPROXY_SYNCING, HAPROXY_SYNCED };

struct haproxy_events {
	/* HAProxy now serves everything submitted up to and including `generation`, but for what `refusals` lists (all that
	 * are outstanding, not only new ones). Called once per generation, and again with the same one when
	 * only the refusals have changed (a port has become free); several generations may be answered by one call. */
	void (*applied)(void *ctx, uint64_t generation, const struct haproxy_refusal *refusals, size_t n_refusals);
	/* Up, down, reading again; text is for a log line. */
	void (*state)(void *ctx, enum haproxy_state state, const char *text);
	void *ctx;
};

/* Figures since open, for logs, tests and metrics. */
struct haproxy_counters {
	uint64_t commands;         /* changing commands sent (a payload counts once for each of its lines) */
	uint64_t refused;
	uint64_t reloads, starts;  /* HAProxy reloaded, started by us */
	uint64_t reads;            /* times the whole held state was read */
	uint64_t pending_removals; /* held but not wanted, waiting to be removable */
};

/* Begins; the first applied() comes after the first submit and takes over whatever HAProxy holds.
 * 0, -errno with *reterr: unusable options, no HAProxy, too old. */
MUST_CHECK int haproxy_open(uv_loop_t *loop, const struct haproxy_options *options, const struct haproxy_events *events,
                            struct haproxy **ret, struct err *reterr);

/* Writes what a HAProxy started by somebody else (`haproxy -W -C STATE -S unix@master.sock -f haproxy.cfg -f backends`) needs in
 * state_dir, as far as it is missing: the configuration with the pool, empty maps, the folders. The first haproxy_open()
 * finds it to be its own. 0, or -errno with *reterr. */
MUST_CHECK int haproxy_init(const struct haproxy_options *options, struct err *reterr);

/* Adds changes to what is wanted; units are referenced as long as needed. Generations rise. The first submit is the
 * whole table as changes from nothing; until it comes nothing held is touched. */
void haproxy_submit(struct haproxy *haproxy, const struct table_changes *changes, uint64_t generation);

struct haproxy_counters haproxy_counters(const struct haproxy *haproxy);

/* Flushes files, then closes and frees; cb once, at the end. HAProxy goes on serving unless stop_on_exit. */
void haproxy_close(struct haproxy *haproxy, void (*cb)(void *ctx), void *ctx);

/* ---- offline, for `hatchway check`, `dump` and golden texts ---- */

/* What of the table no HAProxy would be given, because it cannot be expressed: the part of applied()'s refusals that needs
 * no HAProxy. Calls cb once, with all of them, valid until it returns. Pure. */
void haproxy_check(const struct table *table, void (*cb)(void *ctx, const struct haproxy_refusal *refusals, size_t n), void *ctx);

/* The image a table renders to; the commands from an empty HAProxy to it. Pure. */
void haproxy_dump_image(const struct table *table, struct buf *out);
void haproxy_dump_plan(const struct table *table, struct buf *out);

#endif
