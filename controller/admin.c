/* The admin socket, both sides. Connections are few and short; each question has a ceiling and a deadline. */
#include "controller/admin.h"

#include "hatchway/base/log.h"
#include "hatchway/base/words.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#define QUESTION_LIMIT 65536
#define ANSWER_LIMIT ((size_t)256 << 20)
#define MAX_WORDS 128
#define DEADLINE_MS 10000
#define LOOK_MS 1000 /* is the socket still there? */

struct admin {
	uv_pipe_t *pipe; /* replaced when its file is gone */
	uv_timer_t look;
	char path[108];
	admin_answer *answer;
	void *ctx;
	struct client *clients;
	bool closing, closed_look;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

struct client {
	uv_pipe_t pipe;
	uv_timer_t deadline;
	uv_write_t write;
	struct admin *admin;
	struct client *next, *prev;
	struct buf question, answer;
	int handles;
};

static void admin_maybe_free(struct admin *admin)
{
	if (!admin->closed_look || admin->pipe || admin->clients)
		return;
	void (*closed)(void *) = admin->closed;
	void *ctx = admin->closed_ctx;
	free(admin);
	if (closed)
		closed(ctx);
}

static void client_handle_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;
	if (--client->handles)
		return;
	struct admin *admin = client->admin;
	buf_done(&client->question);
	buf_done(&client->answer);
	DL_DELETE(admin->clients, client);
	free(client);
	admin_maybe_free(admin);
}

static void client_close(struct client *client)
{
	if (uv_is_closing((uv_handle_t *)&client->pipe))
		return;
	uv_close((uv_handle_t *)&client->pipe, client_handle_closed);
	uv_close((uv_handle_t *)&client->deadline, client_handle_closed);
}

static void on_deadline(uv_timer_t *timer)
{
	client_close(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
	client_close(write->data);
}

static void answer_question(struct client *client)
{
	const char *words[MAX_WORDS], *next;
	struct arena scratch;
	struct buf text;
	arena_init(&scratch);
	buf_init(&text, ANSWER_LIMIT);
	int n = words_split(&scratch, client->question.data, words, MAX_WORDS, &next), code = 2;
	if (n < 1)
		buf_adds(&text, "not a question\n");
	else
		code = client->admin->answer(client->admin->ctx, words, n, &text);
	buf_addf(&client->answer, "%d\n", code);
	buf_add(&client->answer, text.data, text.len);
	buf_done(&text);
	arena_done(&scratch);
	uv_read_stop((uv_stream_t *)&client->pipe);
	client->write.data = client;
	uv_buf_t buffer = uv_buf_init(client->answer.data, (unsigned)client->answer.len);
	if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &buffer, 1, on_written))
		client_close(client);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	*ret = uv_buf_init(xmalloc(4096), 4096);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct client *client = stream->data;
	if (n > 0)
		buf_add(&client->question, buffer->base, (size_t)n);
	free(buffer->base);
	if (n < 0 || buf_failed(&client->question))
		client_close(client);
	else if (strchr(client->question.data, '\n'))
		answer_question(client);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct admin *admin = server->data;
	if (status < 0 || admin->closing)
		return;
	struct client *client = xcalloc(1, sizeof(*client));
	client->admin = admin;
	client->handles = 2;
	client->pipe.data = client->deadline.data = client;
	buf_init(&client->question, QUESTION_LIMIT);
	buf_init(&client->answer, ANSWER_LIMIT + 16);
	DL_APPEND(admin->clients, client);
	uv_pipe_init(server->loop, &client->pipe, 0);
	uv_timer_init(server->loop, &client->deadline);
	uv_timer_start(&client->deadline, on_deadline, DEADLINE_MS, 0);
	if (uv_accept(server, (uv_stream_t *)&client->pipe) ||
	    uv_read_start((uv_stream_t *)&client->pipe, on_alloc, on_read))
		client_close(client);
}

static void on_pipe_closed(uv_handle_t *handle)
{
	struct admin *admin = handle->data;
	if ((uv_handle_t *)admin->pipe == handle)
		admin->pipe = NULL;
	free(handle);
	admin_maybe_free(admin);
}

static void on_look_closed(uv_handle_t *handle)
{
	struct admin *admin = handle->data;
	admin->closed_look = true;
	admin_maybe_free(admin);
}

/* Whoever still asks is not waited for. */
static void close_handles(struct admin *admin)
{
	struct client *client;
	admin->closing = true;
	DL_FOREACH(admin->clients, client)
		client_close(client);
	uv_close((uv_handle_t *)admin->pipe, on_pipe_closed);
	uv_close((uv_handle_t *)&admin->look, on_look_closed);
}

static int admin_listen(struct admin *admin)
{
	admin->pipe = xcalloc(1, sizeof(*admin->pipe));
	uv_pipe_init(admin->look.loop, admin->pipe, 0);
	admin->pipe->data = admin;
	mode_t mask = umask(0177);
	int error = uv_pipe_bind(admin->pipe, admin->path);
	umask(mask);
	return error ? error : uv_listen((uv_stream_t *)admin->pipe, 16, on_connection);
}

/* A cleaner of /tmp, or a hasty hand, takes the file away; nobody could ask any more. */
static void on_look(uv_timer_t *timer)
{
	struct admin *admin = timer->data;
	if (!access(admin->path, F_OK) || errno != ENOENT)
		return;
	uv_close((uv_handle_t *)admin->pipe, on_pipe_closed);
	int error = admin_listen(admin);
	if (!error)
		log_line(LOG_WARN, "made again", "socket", admin->path, NULL);
}

int admin_open(uv_loop_t *loop, const char *path, admin_answer *answer, void *ctx, struct admin **ret, struct err *reterr)
{
	struct admin *admin = xcalloc(1, sizeof(*admin));
	if (strlen(path) >= sizeof(admin->path)) {
		free(admin);
		return err_set(reterr, -ENAMETOOLONG, "%s: too long for a unix socket; choose a shorter --state-dir", path);
	}
	strcpy(admin->path, path);
	admin->answer = answer;
	admin->ctx = ctx;
	unlink(path); /* the lock on the state folder says nobody else is using it */
	uv_timer_init(loop, &admin->look);
	admin->look.data = admin;
	int error = admin_listen(admin);
	if (error) {
		err_set(reterr, error, "%s: %s", path, uv_strerror(error));
		close_handles(admin);
		return error;
	}
	uv_timer_start(&admin->look, on_look, LOOK_MS, LOOK_MS);
	*ret = admin;
	return 0;
}

void admin_close(struct admin *admin, void (*cb)(void *ctx), void *ctx)
{
	admin->closed = cb;
	admin->closed_ctx = ctx;
	unlink(admin->path);
	close_handles(admin);
}

/* ---- asking ---- */

static int ask(int fd, const char *question, size_t n, struct buf *answer)
{
	char piece[16384];
	while (n) {
		ssize_t sent = send(fd, question, n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR)
			return -errno;
		if (sent > 0) {
			question += sent;
			n -= (size_t)sent;
		}
	}
	for (;;) {
		ssize_t got = recv(fd, piece, sizeof(piece), 0);
		if (got == 0)
			return 0;
		if (got > 0)
			buf_add(answer, piece, (size_t)got);
		else if (errno != EINTR)
			return -errno;
	}
}

int admin_ask(const char *path, const char *const *words, int n)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct buf question, answer;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int error = -errno;
		close(fd);
		return error;
	}
	buf_init(&question, QUESTION_LIMIT);
	buf_init(&answer, ANSWER_LIMIT + 16);
	for (int i = 0; i < n; i++)
		word_add(&question, words[i]);
	buf_addc(&question, '\n');
	int code = ask(fd, question.data, question.len, &answer);
	close(fd);
	char *text = strchr(answer.data, '\n');
	if (code == 0 && !text)
		code = -EPROTO;
	if (code == 0) {
		code = atoi(answer.data);
		fputs(text + 1, code > 1 ? stderr : stdout);
	}
	buf_done(&question);
	buf_done(&answer);
	return code;
}
