/* hatchway.sock: how `hatchway explain`, `status` and `dump` ask the running controller. One line of words in, text out,
 * closed. The first line of the answer is the exit code. The socket's file mode (600) is its only guard. */
#ifndef HATCHWAY_ADMIN_H
#define HATCHWAY_ADMIN_H

#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

#include <uv.h>

/* Answers one question; returns the exit code. words[0] is the command. */
typedef int admin_answer(void *ctx, const char **words, int n, struct buf *out);

struct admin;
MUST_CHECK int admin_open(uv_loop_t *loop, const char *path, admin_answer *answer, void *ctx, struct admin **ret,
                          struct err *reterr);
void admin_close(struct admin *admin, void (*cb)(void *ctx), void *ctx);

/* The other side, blocking: asks and prints the answer to standard output (standard error if it failed).
 * Returns the exit code, or -errno (-ENOENT, -ECONNREFUSED: nothing runs there). */
MUST_CHECK int admin_ask(const char *path, const char *const *words, int n);

#endif
