/* Owns the child that starts a master, and the connections to the master socket.
 * HAProxy is started with -D: it leaves our session at once, so that it is nobody's child. */
#include "haproxy/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MASTER_ANSWER_MAX (1 << 20)
#define MASTER_DEADLINE_MS 60000

extern char **environ;

/* ---- small questions to the system ---- */

int process_lock(const char *state_dir, int *ret_fd, struct err *reterr)
{
	char path[4096];

	if ((size_t)snprintf(path, sizeof(path), "%s/hatchway.lock", state_dir) >= sizeof(path))
		return err_set(reterr, -ENAMETOOLONG, "%s is too long a path", state_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		int r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		err_set(reterr, r, r == -EBUSY ? "another hatchway is at work in %s; stop it, or use another --state-dir"
		                               : "%s cannot be locked", state_dir);
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

bool process_locked(const char *state_dir, int fd)
{
	struct stat held, named;
	char path[4096];

	snprintf(path, sizeof(path), "%.4000s/hatchway.lock", state_dir);
	if (stat(path, &named) || fstat(fd, &held))
		return errno != ENOENT;
	return held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

void process_raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		return;
}

/* What the child prints within ten seconds: the machine may be busy. */
static void read_briefly(int fd, struct buf *out)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint64_t end = uv_hrtime() + 10000000000u, now;
	char block[1024];

	/* A signal that interrupts is the loop's affair, later. */
	while ((now = uv_hrtime()) < end) {
		int ready = poll(&wait, 1, (int)((end - now) / 1000000) + 1);
		ssize_t n = ready > 0 ? read(fd, block, sizeof(block)) : ready;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf_add(out, block, (size_t)n);
	}
}

static int run_version(const char *binary, struct buf *out, struct err *reterr)
{
	posix_spawn_file_actions_t actions;
	char *argv[] = {xstrdup(binary), (char[]){"-v"}, NULL};
	int fds[2], status = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC)) {
		free(argv[0]);
		return err_set(reterr, -errno, "pipe: %s", strerror(errno));
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	int r = -posix_spawn(&pid, binary, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (r)
		err_set(reterr, r, "%s: %s", binary, strerror(-r));
	else
		read_briefly(fds[0], out);
	close(fds[0]);
	free(argv[0]);
	if (!r) {
		/* It has closed its output or had its time. */
		if (!out->len)
			kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	return r;
}

bool process_version_ok(const char *version)
{
	int major, minor;

	return sscanf(version, "%d.%d", &major, &minor) == 2 && (major > 3 || (major == 3 && minor >= 4));
}

int process_version(const char *binary, struct err *reterr)
{
	struct buf out;

	buf_init(&out, 65536);
	int r = run_version(binary, &out, reterr);
	const char *text = r ? NULL : strstr(out.data, "version ");
	if (!r && !text)
		r = err_set(reterr, -ENOTSUP, "%s does not say that it is HAProxy", binary);
	else if (!r && !process_version_ok(text + 8))
		r = err_set(reterr, -ENOTSUP, "%s is HAProxy %.*s; hatchway needs 3.4 or newer", binary,
		            (int)strcspn(text + 8, " -\n"), text + 8);
	buf_done(&out);
	return r;
}

static int probe_one(const char *address, uint16_t port)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to = {0};
	int one = 1;

	if (strchr(address, ':')) {
		to.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		if (inet_pton(AF_INET6, address, &to.v6.sin6_addr) != 1)
			return -EINVAL;
	} else {
		to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
		if (*address && inet_pton(AF_INET, address, &to.v4.sin_addr) != 1)
			return -EINVAL;
	}
	int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* As HAProxy does, so that connections of the last one in TIME_WAIT do not count; a listening socket does. */
	int r = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	                        (to.any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))) ||
	                        bind(fd, &to.any, to.any.sa_family == AF_INET6 ? sizeof(to.v6) : sizeof(to.v4)) ||
	                        listen(fd, 1)
	                ? -errno
	                : 0;
	close(fd);
	return r;
}

int process_probe(const char *address, uint16_t port)
{
	int r = probe_one(address, port);

	if (r || *address)
		return r;
	r = probe_one("::", port);
	return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL ? 0 : r;
}

/* ---- tasks ---- */

struct process_task {
	uv_process_t child;
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_connect_t connect;
	uv_write_t write;
	uv_shutdown_t shutdown;
	char *path; /* of the master socket */
	const char *question;
	void (*answered)(struct process_task *task);
	process_cb *cb; /* NULL: told, or cancelled */
	void *ctx;
	struct buf answer;
	char *log;
	off_t log_from;
	int handles;
	char block[4096];
};

static void on_closed(uv_handle_t *handle)
{
	struct process_task *task = handle->data;

	if (--task->handles)
		return;
	buf_done(&task->answer);
	free(task->path);
	free(task->log);
	free(task);
}

static void close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

static void tell(struct process_task *task, int error, const char *text)
{
	process_cb *cb = task->cb;

	task->cb = NULL;
	if (cb)
		cb(task->ctx, error, text);
}

static struct process_task *task_new(process_cb *cb, void *ctx)
{
	struct process_task *task = xcalloc(1, sizeof(*task));

	task->cb = cb;
	task->ctx = ctx;
	buf_init(&task->answer, MASTER_ANSWER_MAX);
	return task;
}

/* ---- start ---- */

/* HAProxy's last words about why it does not start: the alerts, without the chatter. */
static void last_words(struct process_task *task, char *out, size_t size)
{
	char *text = task->block;
	int fd = open(task->log, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(task->block) - 1, task->log_from);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	char *alert = strstr(text, "[ALERT]");
	if (alert) {
		char *colon = strstr(alert, " : ");
		alert = colon ? colon + 3 : alert;
		alert[strcspn(alert, "\n")] = 0;
	}
	snprintf(out, size, "HAProxy does not start: %s (see %s)", alert ? alert : "no reason told", task->log);
}

static void on_exit_child(uv_process_t *child, int64_t status, int signal)
{
	struct process_task *task = child->data;
	char why[1024] = "";

	if (status || signal)
		last_words(task, why, sizeof(why));
	close_handle((uv_handle_t *)&task->child);
	tell(task, status || signal ? -EIO : 0, why);
}

static void on_spawn_failed(uv_timer_t *timer)
{
	struct process_task *task = timer->data;

	close_handle((uv_handle_t *)timer);
	tell(task, -EIO, task->block);
}

struct process_task *process_start(uv_loop_t *loop, const char *binary, const char *state_dir, process_cb *cb, void *ctx)
{
	struct process_task *task = task_new(cb, ctx);
	struct buf log, master, name;
	struct stat st;

	buf_init(&log, 4096);
	buf_init(&master, 4096);
	buf_init(&name, 4096);
	buf_addf(&log, "%s/haproxy.log", state_dir);
	buf_addf(&master, "%s/master.sock,mode,600", state_dir);
	buf_adds(&name, binary);
	task->log = xstrdup(log.data);
	int fd = open(task->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0 && !fstat(fd, &st))
		task->log_from = st.st_size;
	char words[][16] = {"-W", "-D", "-S", "-f", "haproxy.cfg", "-f", "backends"};
	char *args[] = {name.data, words[0], words[1], words[2], master.data, words[3], words[4], words[5], words[6], NULL};
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_IGNORE},
		{.flags = fd < 0 ? UV_IGNORE : UV_INHERIT_FD, .data.fd = fd},
		{.flags = fd < 0 ? UV_IGNORE : UV_INHERIT_FD, .data.fd = fd},
	};
	int r = uv_spawn(loop, &task->child, &(uv_process_options_t){
		.exit_cb = on_exit_child, .file = binary, .args = args, .cwd = state_dir, .flags = UV_PROCESS_DETACHED,
		.stdio_count = 3, .stdio = stdio,
	});
	if (fd >= 0)
		close(fd);
	task->handles = 1;
	task->child.data = task;
	if (r) {
		/* Tell later, as with everything else. */
		uv_close((uv_handle_t *)&task->child, on_closed);
		task->handles++;
		BUG_ON(uv_timer_init(loop, &task->timer));
		task->timer.data = task;
		snprintf(task->block, sizeof(task->block), "%s: %s", binary, uv_strerror(r));
		uv_timer_start(&task->timer, on_spawn_failed, 0, 0);
	}
	buf_done(&log);
	buf_done(&master);
	buf_done(&name);
	return task;
}

/* ---- the master socket ---- */

static void master_end(struct process_task *task, int error, const char *text)
{
	close_handle((uv_handle_t *)&task->pipe);
	close_handle((uv_handle_t *)&task->timer);
	tell(task, error, text);
}

static void on_master_timer(uv_timer_t *timer)
{
	master_end(timer->data, -ETIMEDOUT, "the master does not answer");
}

static void reload_answered(struct process_task *task)
{
	char why[600];

	if (!strncmp(task->answer.data, "Success=1", 9)) {
		master_end(task, 0, "");
		return;
	}
	if (strncmp(task->answer.data, "Success=", 8)) {
		master_end(task, -ECONNRESET, "the HAProxy master broke off while it reloaded");
		return;
	}
	char *alert = strstr(task->answer.data, "[ALERT]");
	if (alert)
		alert[strcspn(alert, "\n")] = 0;
	snprintf(why, sizeof(why), "HAProxy refused to reload: %s", alert ? alert : "no reason told");
	master_end(task, -EIO, why);
}

/* "4711  master  0 [failed: 0] …" */
static void master_answered(struct process_task *task)
{
	char *word = strstr(task->answer.data, "master"), pid[16] = "";

	while (word && word > task->answer.data && word[-1] != '\n')
		word--;
	if (!word || sscanf(word, "%15[0-9]", pid) != 1)
		master_end(task, -EPROTO, "the master did not tell its pid");
	else
		master_end(task, 0, pid);
}

static void on_master_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct process_task *task = handle->data;

	*ret = uv_buf_init(task->block, sizeof(task->block));
}

static void on_master_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct process_task *task = stream->data;

	if (n > 0)
		buf_add(&task->answer, data->base, (size_t)n);
	else if (n == UV_EOF)
		task->answered(task);
	else if (n < 0)
		master_end(task, (int)n, uv_strerror((int)n));
}

static void on_master_connect(uv_connect_t *connect, int status)
{
	struct process_task *task = connect->data;
	union {
		const char *c;
		char *m;
	} question = {.c = task->question};
	uv_buf_t out = uv_buf_init(question.m, (unsigned)strlen(task->question));

	if (uv_is_closing((uv_handle_t *)&task->pipe))
		return;
	if (!status)
		status = uv_read_start((uv_stream_t *)&task->pipe, on_master_alloc, on_master_read);
	if (!status)
		status = uv_write(&task->write, (uv_stream_t *)&task->pipe, &out, 1, NULL);
	/* It closes after the answer only if we have said that no more comes; a reload closes by itself. */
	if (!status && task->answered != reload_answered)
		status = uv_shutdown(&task->shutdown, (uv_stream_t *)&task->pipe, NULL);
	if (status) {
		char why[400];
		snprintf(why, sizeof(why), "%s: %s; HAProxy serves on, but without its master it takes no new ports: restart HAProxy",
		         task->path, uv_strerror(status));
		master_end(task, status, why);
	}
}

static struct process_task *master_ask(uv_loop_t *loop, const char *state_dir, const char *question,
                                       void (*answered)(struct process_task *task), process_cb *cb, void *ctx)
{
	struct process_task *task = task_new(cb, ctx);
	struct buf path;

	task->question = question;
	task->answered = answered;
	buf_init(&path, 4096);
	buf_addf(&path, "%s/master.sock", state_dir);
	BUG_ON(uv_pipe_init(loop, &task->pipe, 0));
	BUG_ON(uv_timer_init(loop, &task->timer));
	task->handles = 2;
	task->pipe.data = task->timer.data = task->connect.data = task;
	uv_timer_start(&task->timer, on_master_timer, MASTER_DEADLINE_MS, 0);
	task->path = xstrdup(path.data);
	uv_pipe_connect(&task->connect, &task->pipe, path.data, on_master_connect);
	buf_done(&path);
	return task;
}

struct process_task *process_reload(uv_loop_t *loop, const char *state_dir, process_cb *cb, void *ctx)
{
	return master_ask(loop, state_dir, "reload\n", reload_answered, cb, ctx);
}

struct process_task *process_master(uv_loop_t *loop, const char *state_dir, process_cb *cb, void *ctx)
{
	return master_ask(loop, state_dir, "show proc\n", master_answered, cb, ctx);
}

/* "4711 (haproxy) S 4710 …": the parent. */
static int parent_of(int pid)
{
	char path[64], text[512] = "", *end;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	if (f && fgets(text, sizeof(text), f) && (end = strrchr(text, ')')) && sscanf(end, ") %*c %d", &parent) != 1)
		parent = 0;
	if (f)
		fclose(f);
	return parent;
}

/* Its program; false: it is not there, or not ours to see. */
static bool program_of(int pid, char out[4096])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	ssize_t n = pid > 1 ? readlink(path, out, 4095) : -1;
	out[n > 0 ? n : 0] = 0;
	return n > 0;
}

int process_master_of(int worker)
{
	char a[4096], b[4096];
	int master = worker > 1 ? parent_of(worker) : 0;

	return program_of(worker, a) && program_of(master, b) && !strcmp(a, b) ? master : 0;
}

/* A child on its way is not stopped: an HAProxy half started is worse than one started. */
void process_task_cancel(struct process_task *task)
{
	if (!task)
		return;
	task->cb = NULL;
	if (task->question) {
		close_handle((uv_handle_t *)&task->pipe);
		close_handle((uv_handle_t *)&task->timer);
	}
}
