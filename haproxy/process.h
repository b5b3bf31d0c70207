/* The HAProxy processes: one lock per state directory, the version, starting a master that outlives us, reloading it,
 * and whether a port can be bound. Never speaks the Runtime API. */
#ifndef HATCHWAY_HAPROXY_PROCESS_H
#define HATCHWAY_HAPROXY_PROCESS_H

#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

#include <uv.h>

/* Holds until the process ends or closes *ret_fd. -EBUSY: another hatchway uses this directory. */
MUST_CHECK int process_lock(const char *state_dir, int *ret_fd, struct err *reterr);
/* Is what *ret_fd holds still what the next hatchway would find? */
bool process_locked(const char *state_dir, int fd);

/* Runs `binary -v`, for a second or two at most. 0, or -ENOTSUP: older than 3.4. */
MUST_CHECK int process_version(const char *binary, struct err *reterr);

/* "3.4.7-1": 3.4 or newer? */
bool process_version_ok(const char *version);

/* Descriptors up to the hard limit, for what we start: HAProxy sizes itself by it. */
void process_raise_limits(void);

/* Could this be bound by a new process? address "" is every address. 0 or -errno. */
MUST_CHECK int process_probe(const char *address, uint16_t port);

/* A short exchange with something else; cb once, unless process_task_cancel() comes first. error 0: done. */
struct process_task;
typedef void process_cb(void *ctx, int error, const char *text);

/* Starts a master with `-W -D` in state_dir on haproxy.cfg and backends/; its words go to haproxy.log. It belongs to
 * nobody: our end is not its end. cb when it is ready, or -EIO and its last words. */
struct process_task *process_start(uv_loop_t *loop, const char *binary, const char *state_dir, process_cb *cb, void *ctx);

/* `reload` on state_dir/master.sock, which answers when the new worker is ready. -EIO and HAProxy's words: the old one
 * serves on. -ENOENT, -ECONNREFUSED: no master there. */
struct process_task *process_reload(uv_loop_t *loop, const char *state_dir, process_cb *cb, void *ctx);

/* Asks the master for its pid; text of cb is the number. */
struct process_task *process_master(uv_loop_t *loop, const char *state_dir, process_cb *cb, void *ctx);

/* The master of this worker: its parent, if that is the same program; else 0. For when the master socket is gone. */
int process_master_of(int worker);

void process_task_cancel(struct process_task *task);

#endif
