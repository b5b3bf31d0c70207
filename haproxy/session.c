/* Owns the socket to HAProxy, its one text in flight and that text's deadline; reads and writes nothing else.
 * Never interprets an answer: see reply.c. Never retries: the owner opens a new session and reads HAProxy again. */
#include "haproxy/session.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

#define LINE_CEILING (256 * 1024)
#define READ_SIZE 65536

struct session {
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_connect_t connect;
	struct session_events events;
	struct session_call call;
	struct frame frame;
	char *path;
	char *rest; /* what uv_try_write() left */
	uv_write_t write;
	uint64_t nonce, serial, heard;
	int open_handles;
	bool busy, greeted, closing, writing;
	char input[READ_SIZE];
};

/* ---- framing ---- */

void frame_start(struct frame *frame, const char *nonce, size_t max_bytes)
{
	struct buf line = frame->line;

	*frame = (struct frame){.line = line, .max_bytes = max_bytes};
	snprintf(frame->nonce, sizeof(frame->nonce), "%s", nonce);
	if (!frame->line.data)
		buf_init(&frame->line, LINE_CEILING);
	buf_clear(&frame->line);
}

void frame_done(struct frame *frame)
{
	if (frame->line.data)
		buf_done(&frame->line);
	frame->line.data = NULL;
}

static bool is_nonce(const struct frame *frame, const char *line, size_t n)
{
	/* "[6]: " once severities are on, bare in answer to the greeting of an HAProxy that ignored it */
	size_t skip = n > 5 && line[0] == '[' && line[2] == ']' ? 5 : 0;

	return n - skip == strlen(frame->nonce) && !memcmp(line + skip, frame->nonce, n - skip);
}

static int frame_line(struct frame *frame, const char *line, size_t n, const struct session_call *call,
                      struct err *reterr)
{
	if (frame->finished)
		return err_set(reterr, -EPROTO, "HAProxy said more than it was asked");
	if (frame->ending) {
		if (n)
			return err_set(reterr, -EPROTO, "the end mark is not followed by an empty line");
		frame->finished = true;
	} else if (!n) {
		frame->answers++;
		frame->inside = false;
	} else if (!frame->inside && is_nonce(frame, line, n)) {
		frame->ending = true;
	} else {
		frame->inside = true;
		if (call->line)
			call->line(call->ctx, frame->answers, line, n);
	}
	return 0;
}

int frame_feed(struct frame *frame, const char *data, size_t n, const struct session_call *call, const bool *stop,
               struct err *reterr)
{
	const char *end = data + n;

	frame->bytes += n;
	if (frame->bytes > frame->max_bytes)
		return err_set(reterr, -EMSGSIZE, "an answer is longer than %zu bytes", frame->max_bytes);
	while (data < end && !*stop) {
		const char *newline = memchr(data, '\n', (size_t)(end - data));
		buf_add(&frame->line, data, (size_t)((newline ? newline : end) - data));
		if (buf_failed(&frame->line))
			return err_set(reterr, -EMSGSIZE, "a line of an answer is longer than %d bytes", LINE_CEILING);
		if (!newline)
			break;
		if (memchr(frame->line.data, 0, frame->line.len))
			return err_set(reterr, -EPROTO, "an answer has a NUL byte");
		int r = frame_line(frame, frame->line.data, frame->line.len, call, reterr);
		if (r)
			return r;
		buf_clear(&frame->line);
		data = newline + 1;
	}
	return 0;
}

/* ---- the connection ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct session *session = handle->data;

	if (--session->open_handles)
		return;
	frame_done(&session->frame);
	free(session->path);
	free(session->rest);
	free(session);
}

void session_close(struct session *session)
{
	if (session->closing)
		return;
	session->closing = true;
	uv_close((uv_handle_t *)&session->pipe, on_handle_closed);
	uv_close((uv_handle_t *)&session->timer, on_handle_closed);
}

static void fail(struct session *session, int error, const char *why)
{
	if (session->closing)
		return;
	session_close(session);
	session->events.closed(session->events.ctx, error, why);
}

static unsigned deadline_of(const struct session *session)
{
	return session->call.deadline_ms ? session->call.deadline_ms : 10000;
}

/* One timer, moved lazily: arming it for every answer would cost more than the answer. */
static void on_timer(uv_timer_t *timer)
{
	struct session *session = timer->data;
	uint64_t quiet = uv_now(timer->loop) - session->heard;
	unsigned deadline = deadline_of(session);

	if (!session->busy)
		return;
	if (quiet >= deadline) {
		struct err err;
		err_set(&err, 0, "no answer for %u ms", deadline);
		fail(session, -ETIMEDOUT, err.text);
		return;
	}
	uv_timer_start(timer, on_timer, deadline - quiet, 0);
}

static void text_done(struct session *session)
{
	struct session_call call = session->call;
	size_t answers = session->frame.answers;

	session->busy = false;
	if (session->greeted) {
		call.done(call.ctx, answers);
		return;
	}
	if (answers != 2) {
		fail(session, -EPROTO, "the greeting was answered strangely: not an HAProxy 3.4 Runtime API socket?");
		return;
	}
	session->greeted = true;
	session->events.ready(session->events.ctx);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct session *session = handle->data;

	*ret = uv_buf_init(session->input, READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct session *session = stream->data;
	struct err err;

	if (session->closing || n == 0)
		return;
	if (n < 0) {
		fail(session, (int)n, n == UV_EOF ? "HAProxy closed the connection" : uv_strerror((int)n));
		return;
	}
	session->heard = uv_now(stream->loop);
	if (!session->busy) {
		fail(session, -EPROTO, "HAProxy spoke without being asked");
		return;
	}
	int r = frame_feed(&session->frame, data->base, (size_t)n, &session->call, &session->closing, &err);
	if (session->closing)
		return;
	if (r)
		fail(session, r, err.text);
	else if (session->frame.finished)
		text_done(session);
}

static void on_written(uv_write_t *write, int status)
{
	struct session *session = write->data;

	free(session->rest);
	session->rest = NULL;
	session->writing = false;
	if (status < 0)
		fail(session, status, uv_strerror(status));
}

/* Mostly all of it goes into the socket's buffer at once; the loop carries on with what did not. */
static void transmit(struct session *session, char *text, size_t len)
{
	uv_buf_t out = uv_buf_init(text, (unsigned)len);
	int n = uv_try_write((uv_stream_t *)&session->pipe, &out, 1);

	session->rest = text;
	if (n == (int)len) {
		free(session->rest);
		session->rest = NULL;
		return;
	}
	if (n < 0)
		n = 0;
	out = uv_buf_init(text + n, (unsigned)(len - (size_t)n));
	session->write.data = session;
	session->writing = true;
	/* An error here is met again, as a read error or the deadline, outside of the caller's frames. */
	if (uv_write(&session->write, (uv_stream_t *)&session->pipe, &out, 1, on_written))
		session->writing = false;
}

static void start_text(struct session *session, const char *text, size_t len, const struct session_call *call)
{
	struct buf out;
	char nonce[40];

	BUG_ON(session->busy || session->writing || session->closing);
	snprintf(nonce, sizeof(nonce), "hatchway-%016" PRIx64 "-%" PRIu64, session->nonce, ++session->serial);
	buf_init(&out, SESSION_PAYLOAD_MAX + SESSION_LINE_MAX);
	buf_add(&out, text, len);
	buf_addf(&out, "%secho %s\n", text[len - 1] == '\n' ? "" : ";", nonce);
	BUG_ON(buf_failed(&out));
	session->call = *call;
	session->busy = true;
	session->heard = uv_now(session->pipe.loop);
	frame_start(&session->frame, nonce, call->max_bytes ? call->max_bytes : (size_t)4 << 20);
	if (!uv_is_active((uv_handle_t *)&session->timer))
		uv_timer_start(&session->timer, on_timer, deadline_of(session), 0);
	size_t n = out.len;
	transmit(session, buf_take(&out), n);
}

void session_send(struct session *session, const char *text, size_t len, const struct session_call *call)
{
	BUG_ON(!session->greeted || !len);
	start_text(session, text, len, call);
}

bool session_ready(const struct session *session)
{
	return session->greeted && !session->busy && !session->closing;
}

static void on_connect(uv_connect_t *connect, int status)
{
	struct session *session = connect->data;
	static const char greeting[] = "prompt i;set severity-output number";

	if (session->closing)
		return;
	if (status < 0) {
		fail(session, status, uv_strerror(status));
		return;
	}
	int r = uv_read_start((uv_stream_t *)&session->pipe, on_alloc, on_read);
	if (r) {
		fail(session, r, uv_strerror(r));
		return;
	}
	start_text(session, greeting, sizeof(greeting) - 1, &(struct session_call){.deadline_ms = 5000});
}

struct session *session_open(uv_loop_t *loop, const char *path, const struct session_events *events)
{
	struct session *session = xcalloc(1, sizeof(*session));

	session->events = *events;
	session->path = xstrdup(path);
	/* Only has to differ from what HAProxy says by itself or repeats from data written before we came. */
	if (getrandom(&session->nonce, sizeof(session->nonce), 0) != (ssize_t)sizeof(session->nonce))
		session->nonce = uv_hrtime();
	BUG_ON(uv_pipe_init(loop, &session->pipe, 0));
	BUG_ON(uv_timer_init(loop, &session->timer));
	session->open_handles = 2;
	session->pipe.data = session->timer.data = session->connect.data = session;
	uv_pipe_connect(&session->connect, &session->pipe, session->path, on_connect);
	return session;
}
