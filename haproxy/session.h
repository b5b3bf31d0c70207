/* One persistent Runtime API connection: connect, frame, bound, time out. It never knows what a command means.
 *
 * Framing (HAProxy 3.4, `prompt i`, management.txt 9.3): the answer of every command, also inside a `;` chain, ends with
 * an empty line. That alone cannot tell a lost answer from one with an empty line inside it, so each text is followed by
 * `echo <nonce>`: what stands before the nonce is the answers, and their number must be the number of commands. */
#ifndef HATCHWAY_HAPROXY_SESSION_H
#define HATCHWAY_HAPROXY_SESSION_H

#include "hatchway/base/buf.h"
#include "hatchway/base/err.h"

#include <uv.h>

/* A line of commands must be shorter than tune.bufsize (16384) less its reserve; a payload than 128 KB. */
#define SESSION_LINE_MAX 14000
#define SESSION_PAYLOAD_MAX 100000

struct session;

struct session_events {
	void (*ready)(void *ctx);
	/* Once, at any time after session_open(); the session is gone afterwards. why is for a log line. */
	void (*closed)(void *ctx, int error, const char *why);
	void *ctx;
};

/* What one text is answered with. `line` gets every line of every answer, in order, NUL-terminated, without newline;
 * `done` once, with the number of answers; neither after closed(). */
struct session_call {
	void (*line)(void *ctx, size_t answer, const char *text, size_t len);
	void (*done)(void *ctx, size_t n_answers);
	void *ctx;
	unsigned deadline_ms; /* without a byte from HAProxy; 0: 10 s */
	size_t max_bytes;     /* of all answers; 0: 4 MiB */
};

/* ready() comes when HAProxy has answered the greeting. */
struct session *session_open(uv_loop_t *loop, const char *path, const struct session_events *events);
bool session_ready(const struct session *session); /* greeted, and nothing in flight */

/* Sends one text and takes the answers. One at a time: session_ready() must hold.
 *   a chain: "a;b;c" without newline, under SESSION_LINE_MAX
 *   a payload: "add map m <<P\n…\nP\n", under SESSION_PAYLOAD_MAX */
void session_send(struct session *session, const char *text, size_t len, const struct session_call *call);

/* Ends it without any further callback. */
void session_close(struct session *session);

/* ---- framing alone, for tests and the fuzzer ---- */

struct frame {
	char nonce[40];
	struct buf line;      /* the unfinished line */
	size_t answers;       /* complete ones */
	size_t bytes, max_bytes;
	bool inside;          /* the current answer has lines already */
	bool ending;          /* the nonce was seen, its empty line not yet */
	bool finished;
};

void frame_start(struct frame *frame, const char *nonce, size_t max_bytes);
void frame_done(struct frame *frame);
/* Takes bytes; returns 0, or -EPROTO/-EMSGSIZE: what follows cannot be trusted. Stops calling when *stop becomes true. */
MUST_CHECK int frame_feed(struct frame *frame, const char *data, size_t n, const struct session_call *call,
                          const bool *stop, struct err *reterr);

#endif
