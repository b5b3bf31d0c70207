/* Owns the memory folder: <digest of the path>.copy for each file, "births" for the objects' ages. Reads them at the
 * start, on the loop; writes them in one worker thread at a time. Never decides what is good: that is file.c's.
 *
 * A copy begins with a line "# <signature> <path>", then follows the file's text as it is. A file is copied only if it
 * still is what was read, by its signature before and after; a copy that has it already is left alone.
 *
 * births is an append-only log, written anew at every start: "+ Kind namespace/name seconds" and "- Kind
 * namespace/name"; of one object the last line counts. Lines that are anything else are skipped. */
#include "controller/source/file_memory.h"

#include "controller/source/write_all.h"
#include "controller/source/yaml.h"
#include "hatchway/base/buf.h"
#include "hatchway/base/hashed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/sha.h>
#include <time.h>
#include <unistd.h>

#define BIRTHS "births"
#define TEMPORARY ".memory.tmp"
#define COPY ".copy"
#define BATCH 64
#define SOON_MS 20
/* After a first burst of more than a batch: whoever starts with so much has better things to do with its processors. */
#define COPIES_MS 1000
#define BIRTHS_CEILING ((size_t)256 << 20)
#define LAST_SECOND 253402300799 /* of the year 9999 */
#define HEADER_CEILING (PATH_MAX + 32)

/* ---- shapes ---- */

struct birth {
	struct hashed hashed; /* by key */
	uint32_t key;         /* offset in the log */
	int64_t seconds;      /* 0: died */
};

/* What an earlier run knew; only until the first burst. */
struct births {
	char *text;
	struct birth *list;
	size_t n;
	struct hashed_set set;
};

struct copy {
	char *path;
	uint64_t signature;
};

/* One round of the worker, which owns it meanwhile. */
struct job {
	struct copy copies[BATCH];
	size_t n_copies;
	char **forgotten;
	size_t n_forgotten;
	struct buf lines;
	bool renew, sweep; /* lines are the whole log; copies of what is gone are removed */
	struct err err;    /* "": all is written */
};

struct file_memory {
	struct file_memory_events events;
	int fd;
	char *dir;
	char *base, *root; /* what makes paths absolute: the key of a copy must not depend on where we were started */
	struct births births;
	struct buf lines; /* of the log, to be written */
	char **forgotten;
	size_t n_forgotten, cap_forgotten;
	int64_t last, burst;   /* the youngest birth; this burst's time, 0: nobody has asked */
	uint64_t copies_at_ms; /* no copies and no sweep before */
	bool opened, renew, sweep, more, busy, closing, failing;
	uv_timer_t timer;
	uv_work_t work;
	struct job job;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

uint64_t file_signature(const struct stat *st)
{
	const int64_t parts[] = {
	    (int64_t)st->st_dev, (int64_t)st->st_ino, st->st_size,         st->st_mtim.tv_sec,
	    st->st_mtim.tv_nsec, st->st_ctim.tv_sec,  st->st_ctim.tv_nsec,
	};
	return hash_bytes(parts, sizeof(parts), 0);
}

/* ---- names of copies ---- */

static char *absolute(const struct file_memory *memory, const char *path)
{
	const char *base = path[0] == '/' ? "" : memory->base;
	size_t n = strlen(base), m = strlen(path) + 1;
	char *out = xmalloc(n + m);
	memcpy(out, base, n);
	memcpy(out + n, path, m);
	return out;
}

/* The header is one line. */
static bool is_plain(const char *path)
{
	size_t len = strlen(path);
	return len < PATH_MAX && !memchr(path, '\n', len);
}

static void copy_name(const char *path, char out[static 48])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	SHA256((const unsigned char *)path, strlen(path), digest);
	for (size_t i = 0; i < 16; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	strcpy(out + 32, COPY);
}

static bool is_copy(const char *name)
{
	return strlen(name) == 32 + strlen(COPY) && strcmp(name + 32, COPY) == 0;
}

struct header {
	char text[HEADER_CEILING + 1];
	const char *path;
	uint64_t signature;
	size_t size;
};

/* Opens the copy called name; -ENOENT also if it is none. */
static int open_copy(int dir, const char *name, struct header *header)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ssize_t n = pread(fd, header->text, HEADER_CEILING, 0);
	char *end = n > 19 ? memchr(header->text, '\n', (size_t)n) : NULL;
	if (!end || memcmp(header->text, "# ", 2) != 0 || header->text[18] != ' ') {
		close(fd);
		return -ENOENT;
	}
	*end = 0;
	header->size = (size_t)(end + 1 - header->text);
	header->signature = strtoull(header->text + 2, NULL, 16);
	header->path = header->text + 19;
	return fd;
}

int file_memory_recall(const struct file_memory *memory, const char *path)
{
	struct header header = {.path = ""};
	char name[48], *key = absolute(memory, path);
	copy_name(key, name);
	int fd = open_copy(memory->fd, name, &header);
	if (fd >= 0 && (strcmp(header.path, key) != 0 || lseek(fd, (off_t)header.size, SEEK_SET) < 0)) {
		close(fd);
		fd = -ENOENT;
	}
	free(key);
	return fd;
}

static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);
	return strncmp(path, folder, len) == 0 && path[len] == '/';
}

static DIR *list_dir(int fd)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again < 0 ? NULL : fdopendir(again);
	if (!dir && again >= 0)
		close(again);
	return dir;
}

void file_memory_below(const struct file_memory *memory, const char *folder, void (*cb)(void *ctx, const char *path),
                       void *ctx)
{
	char *key = absolute(memory, folder);
	size_t skip = folder[0] == '/' ? 0 : strlen(memory->base);
	DIR *dir = list_dir(memory->fd);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		struct header header = {.path = ""};
		int fd = is_copy(entry->d_name) ? open_copy(memory->fd, entry->d_name, &header) : -ENOENT;
		if (fd < 0)
			continue;
		close(fd);
		if (is_below(header.path, key))
			cb(ctx, header.path + skip);
	}
	if (dir)
		closedir(dir);
	free(key);
}

/* ---- the worker: writing ---- */

static int open_temporary(const struct file_memory *memory)
{
	int fd = openat(memory->fd, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* Closes fd. name NULL: thrown away. */
static int finish_temporary(const struct file_memory *memory, int fd, int status, const char *name)
{
	if (close(fd) && !status)
		status = -errno;
	if (!status && name && renameat(memory->fd, TEMPORARY, memory->fd, name))
		status = -errno;
	if (status || !name)
		(void)unlinkat(memory->fd, TEMPORARY, 0); /* the first error is the one to tell */
	return status;
}

/* 1: all of in; 0: it cannot be read, or is too big; -errno: out cannot be written. */
static int copy_text(int in, int out)
{
	char buffer[16 * 1024];
	size_t total = 0;
	for (;;) {
		ssize_t n = read(in, buffer, sizeof(buffer));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		total += (size_t)n;
		if (total > YAML_TEXT_CEILING)
			return 0;
		int status = write_all(out, buffer, (size_t)n);
		if (status)
			return status;
	}
}

static bool still_is(int fd, uint64_t signature)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && file_signature(&st) == signature;
}

static bool has_copy(const struct file_memory *memory, const char *name, const struct copy *copy)
{
	struct header header;
	int fd = open_copy(memory->fd, name, &header);
	if (fd < 0)
		return false;
	close(fd);
	return header.signature == copy->signature && strcmp(header.path, copy->path) == 0;
}

static int write_copy(const struct file_memory *memory, const char *name, const struct copy *copy, int in)
{
	char head[32];
	int out = open_temporary(memory);
	if (out < 0)
		return out;
	snprintf(head, sizeof(head), "# %016" PRIx64 " ", copy->signature);
	int status = write_all(out, head, strlen(head));
	if (!status)
		status = write_all(out, copy->path, strlen(copy->path));
	if (!status)
		status = write_all(out, "\n", 1);
	if (!status)
		status = copy_text(in, out);
	bool whole = status > 0 && still_is(in, copy->signature);
	return finish_temporary(memory, out, status < 0 ? status : 0, whole ? name : NULL);
}

/* A file that has changed since it was read is none of our business: it is read again, and comes again if it is good.
 */
static int save(const struct file_memory *memory, const struct copy *copy)
{
	char name[48];
	int in = open(copy->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), status = 0;
	if (in < 0)
		return 0;
	copy_name(copy->path, name);
	if (still_is(in, copy->signature) && !has_copy(memory, name, copy))
		status = write_copy(memory, name, copy, in);
	close(in);
	return status;
}

static int remove_copy(const struct file_memory *memory, const char *path)
{
	char name[48];
	copy_name(path, name);
	return unlinkat(memory->fd, name, 0) && errno != ENOENT ? -errno : 0;
}

/* Of files that went away while nobody looked, or are of another folder. */
static int sweep(const struct file_memory *memory)
{
	DIR *dir = list_dir(memory->fd);
	if (!dir)
		return -errno;
	int status = 0;
	for (struct dirent *entry; !status && (entry = readdir(dir));) {
		struct header header = {.path = ""};
		struct stat st;
		if (!is_copy(entry->d_name))
			continue;
		int fd = open_copy(memory->fd, entry->d_name, &header);
		if (fd >= 0)
			close(fd);
		bool stays = fd >= 0 && is_below(header.path, memory->root) &&
		             (lstat(header.path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR));
		if (!stays && unlinkat(memory->fd, entry->d_name, 0) && errno != ENOENT)
			status = -errno;
	}
	closedir(dir);
	return status;
}

static int write_lines(const struct file_memory *memory, const struct job *job)
{
	if (job->renew) {
		int fd = open_temporary(memory);
		return fd < 0 ? fd
		              : finish_temporary(memory, fd, write_all(fd, job->lines.data, job->lines.len), BIRTHS);
	}
	if (!job->lines.len)
		return 0;
	int fd = openat(memory->fd, BIRTHS, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int status = write_all(fd, job->lines.data, job->lines.len);
	return close(fd) && !status ? -errno : status;
}

static void note(struct job *job, int status, const char *what)
{
	if (status && !job->err.text[0])
		err_set(&job->err, 0, "%s cannot be remembered: %s", what, strerror(-status));
}

/* In the worker. Removals first: a file that is to be copied is there again. */
static void do_job(struct file_memory *memory)
{
	struct job *job = &memory->job;
	note(job, write_lines(memory, job), "the age of objects");
	if (job->sweep)
		note(job, sweep(memory), "that files are gone");
	for (size_t i = 0; i < job->n_forgotten; i++)
		note(job, remove_copy(memory, job->forgotten[i]), "that a file is gone");
	for (size_t i = 0; i < job->n_copies; i++)
		note(job, save(memory, &job->copies[i]), "the content of a file");
}

static void on_work(uv_work_t *work)
{
	do_job(work->data);
}

/* ---- the loop's side ---- */

static void free_forgotten(char **paths, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
	free(paths);
}

static void take_copies(struct file_memory *memory)
{
	struct job *job = &memory->job;
	const char *path;
	uint64_t signature;
	job->sweep = memory->sweep;
	memory->sweep = false;
	memory->more = true;
	while (job->n_copies < BATCH && (memory->more = memory->events.next(memory->events.ctx, &path, &signature))) {
		char *key = absolute(memory, path);
		if (is_plain(key))
			job->copies[job->n_copies++] = (struct copy){key, signature};
		else
			free(key);
	}
}

static void take_job(struct file_memory *memory, bool copies)
{
	memory->job = (struct job){
	    .forgotten = memory->forgotten,
	    .n_forgotten = memory->n_forgotten,
	    .lines = memory->lines,
	    .renew = memory->renew,
	};
	memory->forgotten = NULL;
	memory->n_forgotten = memory->cap_forgotten = 0;
	memory->renew = false;
	buf_init(&memory->lines, BIRTHS_CEILING);
	if (copies)
		take_copies(memory);
}

static void end_job(struct file_memory *memory)
{
	struct job *job = &memory->job;
	for (size_t i = 0; i < job->n_copies; i++)
		free(job->copies[i].path);
	free_forgotten(job->forgotten, job->n_forgotten);
	buf_done(&job->lines);
	bool failing = job->err.text[0];
	if (failing != memory->failing)
		memory->events.problem(memory->events.ctx, memory->dir, failing ? job->err.text : NULL);
	memory->failing = failing;
}

static void begin_work(struct file_memory *memory);

static void after_work(uv_work_t *work, int status)
{
	struct file_memory *memory = work->data;
	BUG_ON(status); /* it is never cancelled */
	memory->busy = false;
	end_job(memory);
	begin_work(memory);
}

static bool has_notes(const struct file_memory *memory)
{
	return memory->lines.len || memory->n_forgotten || memory->renew;
}

static bool has_copies(const struct file_memory *memory)
{
	return memory->more || memory->sweep;
}

static void free_births(struct births *births)
{
	free(births->text);
	free(births->list);
	if (births->set.buckets)
		hashed_done(&births->set);
	*births = (struct births){0};
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct file_memory *memory = handle->data;
	void (*closed)(void *) = memory->closed;
	void *ctx = memory->closed_ctx;
	close(memory->fd);
	free_births(&memory->births);
	buf_done(&memory->lines);
	free_forgotten(memory->forgotten, memory->n_forgotten);
	free(memory->dir);
	free(memory->base);
	free(memory->root);
	free(memory);
	closed(ctx);
}

/* The last round is short, and nobody waits any more: on the loop. Nothing of it before all has been delivered once:
 * then the log is not whole. */
static void end_work(struct file_memory *memory)
{
	if (memory->opened && (has_notes(memory) || has_copies(memory))) {
		take_job(memory, true);
		do_job(memory);
		end_job(memory);
	}
	uv_close((uv_handle_t *)&memory->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *timer)
{
	begin_work(timer->data);
}

static void start_timer(struct file_memory *memory, uint64_t ms)
{
	uv_timer_t *timer = &memory->timer;
	if (!uv_is_active((uv_handle_t *)timer) || uv_timer_get_due_in(timer) > ms)
		BUG_ON(uv_timer_start(timer, on_timer, ms, 0));
}

static void begin_work(struct file_memory *memory)
{
	uint64_t now = uv_now(memory->timer.loop);
	bool copies = has_copies(memory) && now >= memory->copies_at_ms;
	if (memory->closing) {
		end_work(memory);
	} else if (has_notes(memory) || copies) {
		take_job(memory, copies);
		memory->busy = true;
		BUG_ON(uv_queue_work(memory->timer.loop, &memory->work, on_work, after_work));
	} else if (has_copies(memory)) {
		start_timer(memory, memory->copies_at_ms - now);
	}
}

void file_memory_settled(struct file_memory *memory, size_t n_copies)
{
	bool first = !memory->opened;
	if (first) {
		memory->opened = memory->renew = memory->sweep = true;
		uv_update_time(memory->timer.loop); /* the first burst takes its time */
		memory->copies_at_ms = uv_now(memory->timer.loop) + (n_copies > BATCH ? COPIES_MS : 0);
		free_births(&memory->births);
	}
	memory->burst = 0;
	memory->more |= n_copies > 0;
	if (!memory->busy && !memory->closing && (has_notes(memory) || has_copies(memory)))
		start_timer(memory, first ? 0 : SOON_MS);
}

void file_memory_forget(struct file_memory *memory, const char *path)
{
	if (memory->n_forgotten == memory->cap_forgotten) {
		memory->cap_forgotten = memory->cap_forgotten ? 2 * memory->cap_forgotten : 16;
		memory->forgotten = xrealloc(memory->forgotten, memory->cap_forgotten * sizeof(char *));
	}
	memory->forgotten[memory->n_forgotten++] = absolute(memory, path);
}

/* ---- births ---- */

bool file_memory_dates(enum object_kind kind)
{
	return kind == KIND_GATEWAY || kind == KIND_LISTENERSET || object_kind_is_route(kind);
}

static struct birth *find_birth(const struct births *births, const char *key)
{
	struct birth *birth = births->n ? hashed_first(&births->set, hashed_text(&births->set, key)) : NULL;
	while (birth && strcmp(births->text + birth->key, key) != 0)
		birth = hashed_next(birth);
	return birth;
}

int64_t file_memory_born(struct file_memory *memory, const struct object *object, int64_t since)
{
	char key[640];
	snprintf(key, sizeof(key), "%s %s/%s", object_kind_name(object->kind), object->namespace, object->name);
	const struct birth *birth = since ? NULL : find_birth(&memory->births, key);
	if (birth)
		since = birth->seconds;
	if (!since && !memory->burst) {
		int64_t now = time(NULL);
		memory->burst = now > memory->last ? now : memory->last + 1;
		if (memory->burst > LAST_SECOND)
			memory->burst = LAST_SECOND;
		memory->last = memory->burst;
	}
	if (!since)
		since = memory->burst;
	buf_addf(&memory->lines, "+ %s %" PRId64 "\n", key, since);
	return since;
}

void file_memory_died(struct file_memory *memory, const struct object *object)
{
	buf_addf(&memory->lines, "- %s %s/%s\n", object_kind_name(object->kind), object->namespace, object->name);
}

static bool parse_seconds(const char *text, int64_t *ret)
{
	size_t n = strspn(text, "0123456789");
	if (!n || n > 12 || text[n])
		return false;
	*ret = strtoll(text, NULL, 10);
	return *ret > 0 && *ret <= LAST_SECOND;
}

/* One line, its newline already a NUL. */
static void read_birth(struct file_memory *memory, char *line)
{
	struct births *births = &memory->births;
	int64_t seconds = 0;
	char *key = line + 2, *end = strrchr(line, ' ');
	bool born = line[0] == '+'; // NOLINT(clang-analyzer-core.UndefinedBinaryOperatorResult): as much as was read
	if ((!born && line[0] != '-') || line[1] != ' ' || (born && (end <= key || !parse_seconds(end + 1, &seconds))))
		return;
	if (born)
		*end = 0;
	if (seconds > memory->last)
		memory->last = seconds;
	struct birth *birth = find_birth(births, key);
	if (!birth) {
		birth = &births->list[births->n++];
		birth->key = (uint32_t)(key - births->text);
		hashed_add(&births->set, birth, hashed_text(&births->set, key));
	}
	birth->seconds = seconds;
}

static void read_births(struct file_memory *memory, size_t size)
{
	struct births *births = &memory->births;
	size_t n_lines = 0;
	for (const char *at = births->text; (at = memchr(at, '\n', (size_t)(births->text + size - at))); at++)
		n_lines++;
	births->list = xcalloc(n_lines, sizeof(*births->list));
	hashed_init(&births->set);
	/* A line that was cut has no newline. */
	for (char *line = births->text, *end; (end = memchr(line, '\n', (size_t)(births->text + size - line)));
	     line = end + 1) {
		*end = 0;
		read_birth(memory, line);
	}
}

static int load_births(struct file_memory *memory, struct err *reterr)
{
	struct stat st = {0};
	int fd = openat(memory->fd, BIRTHS, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return 0;
	int status = fd < 0 || fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : 0;
	if (!status && (size_t)st.st_size > BIRTHS_CEILING)
		status = -EFBIG;
	size_t have = 0;
	ssize_t n = 1;
	if (!status)
		memory->births.text = xmalloc((size_t)st.st_size + 1);
	while (!status && n && have < (size_t)st.st_size) {
		n = read(fd, memory->births.text + have, (size_t)st.st_size - have);
		if (n < 0)
			status = -errno;
		else
			have += (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	if (status)
		return err_set(reterr, status, "%s/" BIRTHS ": %s", memory->dir, strerror(-status));
	read_births(memory, have);
	return 0;
}

/* ---- opening, closing ---- */

/* "" if it cannot be known: then root is absolute, or the copies are found from here only. */
static char *current_folder(void)
{
	char path[PATH_MAX];
	if (!getcwd(path, sizeof(path) - 1))
		return xstrdup("");
	size_t len = strlen(path);
	if (path[len - 1] != '/')
		strcpy(path + len, "/");
	return xstrdup(path);
}

int file_memory_open(uv_loop_t *loop, const char *dir, const char *root, const struct file_memory_events *events,
                     struct file_memory **ret, struct err *reterr)
{
	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_set(reterr, -errno, "%s: cannot be created: %s", dir, strerror(errno));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(reterr, -errno, "%s: %s", dir, strerror(errno));
	struct file_memory *memory = xcalloc(1, sizeof(*memory));
	memory->events = *events;
	memory->fd = fd;
	memory->dir = xstrdup(dir);
	memory->base = current_folder();
	memory->root = absolute(memory, root);
	buf_init(&memory->lines, BIRTHS_CEILING);
	int status = load_births(memory, reterr);
	if (status) {
		close(fd);
		free_births(&memory->births);
		free(memory->dir);
		free(memory->base);
		free(memory->root);
		free(memory);
		return status;
	}
	BUG_ON(uv_timer_init(loop, &memory->timer));
	memory->timer.data = memory->work.data = memory;
	*ret = memory;
	return 0;
}

void file_memory_close(struct file_memory *memory, void (*cb)(void *ctx), void *ctx)
{
	memory->closed = cb;
	memory->closed_ctx = ctx;
	memory->closing = true;
	uv_timer_stop(&memory->timer);
	if (!memory->busy)
		end_work(memory);
}
