/* Owns the token: reads its file again at most every READ_MS and when it is refused; runs the plug-in when there is no
 * answer of it yet, when its answer ends, and when it is refused. One plug-in at a time, with a deadline. */
#include "controller/source/credential.h"

#include "controller/object/format.h"
#include "controller/object/schema.h"
#include "controller/source/json.h"

#include <time.h>
#include <unistd.h>

#define READ_MS 1000
#define EXEC_MS 60000
#define EXPIRY_MARGIN_S 10
#define ANSWER_CEILING (256u << 10)
#define ENV_CEILING 4096

struct credential {
	uv_loop_t *loop;
	const struct kube_access *access;
	void (*changed)(void *ctx);
	void *ctx;
	struct arena arena; /* the plug-in's last answer */
	char *token;
	struct kube_pem cert, key;
	int64_t expires;     /* Unix seconds; 0: never */
	uint64_t read_at_ms; /* 0: not yet */
	bool answered, failed;
	struct err err;
	uv_process_t process;
	uv_pipe_t out;
	uv_timer_t timer;
	unsigned running; /* handles of the plug-in that are open */
	struct buf answer;
	int64_t exit_status;
	bool timed_out, closing;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

struct credential *credential_open(uv_loop_t *loop, const struct kube_access *access, void (*changed)(void *ctx),
                                   void *ctx)
{
	struct credential *credential = xcalloc(1, sizeof(*credential));
	credential->loop = loop;
	credential->access = access;
	credential->changed = changed;
	credential->ctx = ctx;
	credential->cert = access->cert;
	credential->key = access->key;
	arena_init(&credential->arena);
	buf_init(&credential->answer, ANSWER_CEILING);
	if (access->token)
		credential->token = xstrdup(access->token);
	return credential;
}

static void on_deadline(uv_timer_t *timer);

static void finish_close(struct credential *credential)
{
	void (*closed)(void *ctx) = credential->closed;
	void *ctx = credential->closed_ctx;
	arena_done(&credential->arena);
	buf_done(&credential->answer);
	free(credential->token);
	free(credential);
	closed(ctx);
}

void credential_close(struct credential *credential, void (*cb)(void *ctx), void *ctx)
{
	credential->closing = true;
	credential->closed = cb;
	credential->closed_ctx = ctx;
	if (credential->running)
		on_deadline(&credential->timer);
	else
		finish_close(credential);
}

/* ---- a token file ---- */

static bool good_token(const char *token)
{
	for (const char *p = token; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p > '~')
			return false;
	return *token != 0;
}

static int read_token(struct credential *credential, struct err *reterr)
{
	struct arena scratch;
	const char *bytes;
	size_t n;
	uint64_t now = uv_now(credential->loop);
	if (credential->read_at_ms && now - credential->read_at_ms < READ_MS)
		return 1;
	arena_init(&scratch);
	int ret = kube_read_file(&scratch, credential->access->token_file, &bytes, &n, reterr);
	if (!ret) {
		while (n && (bytes[n - 1] == '\n' || bytes[n - 1] == '\r' || bytes[n - 1] == ' '))
			n--;
		char *token = xmalloc(n + 1);
		memcpy(token, bytes, n);
		token[n] = 0;
		if (good_token(token)) {
			free(credential->token);
			credential->token = token;
			credential->read_at_ms = now ? now : 1;
		} else {
			free(token);
			ret = err_set(reterr, -EINVAL, "%s: not a token", credential->access->token_file);
		}
	}
	arena_done(&scratch);
	/* The last token may still be good: a file that is away for a moment is no reason to stop. */
	return credential->token ? 1 : ret;
}

/* ---- a plug-in ---- */

static struct kube_pem keep_pem(struct credential *credential, const struct node *status, const char *field)
{
	const char *text = node_text(status, field);
	if (!text || !*text)
		return (struct kube_pem){NULL, NULL, 0};
	return (struct kube_pem){NULL, arena_strdup(&credential->arena, text), strlen(text)};
}

static int take_status(struct credential *credential, const struct node *root)
{
	const struct node *status = node_get(root, "status");
	const char *token = node_text(status, "token"), *expires = node_text(status, "expirationTimestamp");
	const char *cert = node_text(status, "clientCertificateData");
	if (!node_is(root, "kind", "ExecCredential") || (!token && !cert))
		return err_set(&credential->err, -EINVAL,
		               "the exec plug-in's answer is no ExecCredential with a token or certificate");
	if (token && !good_token(token))
		return err_set(&credential->err, -EINVAL, "the exec plug-in's token holds blanks");
	int64_t end = 0;
	if (expires && !format_timestamp(expires, &end))
		return err_set(&credential->err, -EINVAL, "the exec plug-in's expirationTimestamp is no time");
	arena_done(&credential->arena);
	free(credential->token);
	credential->token = token ? xstrdup(token) : NULL;
	credential->cert = cert ? keep_pem(credential, status, "clientCertificateData") : credential->access->cert;
	credential->key = cert ? keep_pem(credential, status, "clientKeyData") : credential->access->key;
	credential->expires = end;
	return 0;
}

static int take_answer(struct credential *credential)
{
	struct arena scratch;
	struct node *root;
	if (credential->timed_out)
		return err_set(&credential->err, -ETIMEDOUT, "the exec plug-in %s took too long",
		               credential->access->exec.command);
	if (credential->exit_status)
		return err_set(&credential->err, -EIO, "the exec plug-in %s failed: exit code %d",
		               credential->access->exec.command, (int)credential->exit_status);
	if (buf_failed(&credential->answer))
		return err_set(&credential->err, -EFBIG, "the exec plug-in's answer is too long");
	arena_init(&scratch);
	int ret = json_node(credential->answer.data, credential->answer.len, &scratch, &root, &credential->err);
	if (!ret)
		ret = take_status(credential, root);
	arena_done(&scratch);
	return ret;
}

static void on_part_closed(uv_handle_t *handle)
{
	struct credential *credential = handle->data;
	--credential->running;
	if (credential->running == 1 && !uv_is_closing((uv_handle_t *)&credential->timer))
		uv_close((uv_handle_t *)&credential->timer, on_part_closed);
	if (credential->running)
		return;
	if (credential->closing) {
		finish_close(credential);
		return;
	}
	credential->failed = take_answer(credential) != 0;
	credential->answered = !credential->failed;
	explicit_bzero(credential->answer.data, credential->answer.len);
	buf_clear(&credential->answer);
	credential->changed(credential->ctx);
}

static void close_part(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_part_closed);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal)
{
	struct credential *credential = process->data;
	credential->exit_status = status ? status : signal;
	close_part((uv_handle_t *)process);
	/* A grandchild may hold the pipe open; then the deadline ends it. */
	if (credential->exit_status)
		close_part((uv_handle_t *)&credential->out);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	static char room[16384];
	*ret = uv_buf_init(room, sizeof(room));
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct credential *credential = stream->data;
	if (n > 0) {
		buf_add(&credential->answer, bytes->base, (size_t)n);
		explicit_bzero(bytes->base, (size_t)n);
	} else if (n < 0) {
		close_part((uv_handle_t *)stream);
	}
}

static void on_deadline(uv_timer_t *timer)
{
	struct credential *credential = timer->data;
	credential->timed_out = true;
	if (!uv_is_closing((uv_handle_t *)&credential->process))
		uv_process_kill(&credential->process, SIGKILL); /* gone already is as good */
	close_part((uv_handle_t *)&credential->out);
}

/* KUBERNETES_EXEC_INFO as the plug-in protocol has it. The server's URL comes from our own kubeconfig. */
static const char *exec_info(struct arena *arena, const struct kube_access *access)
{
	const char *cluster = "";
	if (access->exec.cluster_info)
		cluster = arena_printf(arena, ",\"cluster\":{\"server\":\"%s\",\"insecure-skip-tls-verify\":%s}",
		                       access->server, access->insecure ? "true" : "false");
	return arena_printf(arena,
	                    "KUBERNETES_EXEC_INFO={\"apiVersion\":\"%s\",\"kind\":\"ExecCredential\","
	                    "\"spec\":{\"interactive\":false%s}}",
	                    access->exec.api_version, cluster);
}

static char **make_env(struct arena *arena, const struct kube_access *access)
{
	size_t n = 0;
	char **env = arena_array(arena, ENV_CEILING + access->exec.n_env + 2, sizeof(*env));
	/* The first of a name counts for most programs: ours go in front. */
	env[n++] = arena_strdup(arena, exec_info(arena, access));
	for (size_t i = 0; i < access->exec.n_env; i++)
		env[n++] = arena_strdup(arena, access->exec.env[i]);
	for (size_t i = 0; i < ENV_CEILING && environ[i]; i++)
		if (strncmp(environ[i], "KUBERNETES_EXEC_INFO=", 21))
			env[n++] = arena_strdup(arena, environ[i]);
	return env;
}

static int start_plugin(struct credential *credential, struct err *reterr)
{
	const struct kube_exec *exec = &credential->access->exec;
	struct arena scratch;
	arena_init(&scratch);
	char **args = arena_array(&scratch, exec->n_args + 2, sizeof(*args));
	args[0] = arena_strdup(&scratch, exec->command);
	for (size_t i = 0; i < exec->n_args; i++)
		args[i + 1] = arena_strdup(&scratch, exec->args[i]);
	uv_pipe_init(credential->loop, &credential->out, 0);
	uv_timer_init(credential->loop, &credential->timer);
	credential->out.data = credential->timer.data = credential->process.data = credential;
	uv_stdio_container_t io[] = {
	    {.flags = UV_IGNORE},
	    {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data = {.stream = (uv_stream_t *)&credential->out}},
	    {.flags = UV_INHERIT_FD, .data = {.fd = STDERR_FILENO}},
	};
	uv_process_options_t options = {
	    .exit_cb = on_exit_of,
	    .file = args[0],
	    .args = args,
	    .env = make_env(&scratch, credential->access),
	    .stdio_count = ARRAY_LEN(io),
	    .stdio = io,
	};
	credential->timed_out = false;
	credential->failed = credential->answered = false;
	int ret = uv_spawn(credential->loop, &credential->process, &options);
	credential->running = 3;
	if (ret) {
		/* on_part_closed() of the three tells it. */
		credential->exit_status = 127;
		close_part((uv_handle_t *)&credential->process);
		close_part((uv_handle_t *)&credential->out);
	} else {
		uv_timer_start(&credential->timer, on_deadline, EXEC_MS, 0);
		uv_read_start((uv_stream_t *)&credential->out, on_room, on_output);
	}
	arena_done(&scratch);
	return 0;
}

/* ---- both ---- */

int credential_ready(struct credential *credential, struct err *reterr)
{
	if (credential->access->token_file)
		return read_token(credential, reterr);
	if (!credential->access->exec.command)
		return 1;
	if (credential->running)
		return 0;
	if (credential->failed) {
		credential->failed = false; /* told once; the next one who asks starts it again */
		return err_set(reterr, -EACCES, "%s", credential->err.text);
	}
	if (credential->answered && (!credential->expires || time(NULL) < credential->expires - EXPIRY_MARGIN_S))
		return 1;
	return start_plugin(credential, reterr);
}

const char *credential_token(const struct credential *credential)
{
	return credential->token;
}

const struct kube_pem *credential_cert(const struct credential *credential)
{
	return &credential->cert;
}

const struct kube_pem *credential_key(const struct credential *credential)
{
	return &credential->key;
}

void credential_refused(struct credential *credential)
{
	credential->read_at_ms = 0;
	credential->answered = false;
}
