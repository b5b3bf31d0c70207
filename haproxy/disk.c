/* Owns everything hatchway writes for HAProxy. The loop's thread decides what is written and hands over lines; a worker
 * thread reads the old file, merges and writes. The worker sees only its job, never an image.
 *
 * A file is lines sorted by key, so that one changed route costs one pass over its file in the worker and nothing on the
 * loop. Sorting puts "/" first: a backend's servers follow it directly. */
#include "haproxy/disk.h"

#include "haproxy/command.h"
#include "hatchway/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARDS 256
#define FILES (MAPS + SHARDS)
#define FSYNC_MAX 8 /* more files than this are made durable together */
#define FILE_MAX ((size_t)1 << 30)

struct line {
	char *key;
	char *text; /* NULL: gone */
};

/* What is to happen to one file. */
struct patch {
	struct line *lines;
	size_t n, cap;
	bool ensure; /* make it if it is not there */
	bool whole; /* the lines are the whole file; else they replace those of their keys */
};

struct text {
	char *name, *text;
	bool dirty;
};

struct disk {
	uv_loop_t *loop;
	char *dir;
	struct patch patches[FILES]; /* keys only, until flushed */
	struct text *texts;
	size_t n_texts;
	bool all, busy;
};

/* A flush under way; the worker's own. */
struct job {
	uv_work_t work;
	struct disk *disk;
	char *dir;
	struct patch patches[FILES];
	struct text *texts;
	size_t n_texts;
	int error;
	struct err err;
	void (*cb)(void *ctx, int error, const char *why);
	void *ctx;
};

static unsigned file_of(enum item_kind kind, const char *key)
{
	if (kind > ITEM_SERVER)
		return map_of(kind, key);
	return MAPS + (unsigned)(hash_bytes(key, server_key_backend(key), 0) % SHARDS);
}

static void file_name(unsigned file, char name[64])
{
	if (file < MAPS)
		snprintf(name, 64, "maps/%s", map_file(file));
	else
		snprintf(name, 64, "backends/%02x.cfg", (file - MAPS) & 0xff);
}

static int key_cmp(const char *a, const char *b)
{
	for (;; a++, b++) {
		unsigned char x = (unsigned char)*a, y = (unsigned char)*b;
		if (x != y)
			return (x == '/' ? 1 : x) - (y == '/' ? 1 : y);
		if (!x)
			return 0;
	}
}

static int line_cmp(const void *a, const void *b)
{
	return key_cmp(((const struct line *)a)->key, ((const struct line *)b)->key);
}

/* ---- lines ---- */

static char *server_line(const struct item *item)
{
	struct server_value value;
	struct buf text;

	/* The path of a unix socket HAProxy does not tell, and nobody wants it. */
	if (!server_value_parse(item->value, &value) || !strcmp(value.address, ADDRESS_UNIX))
		return NULL;
	buf_init(&text, 4096);
	/* A file cannot say "drain"; no new requests is what matters of it. */
	buf_addf(&text, "\tserver %s %s weight %u%s%s", item->key + server_key_backend(item->key) + 1, value.address,
	         value.state == SERVER_DRAIN ? 0 : value.weight, value.h2c ? " proto h2" : "",
	         value.state == SERVER_MAINT ? " disabled" : "");
	return buf_take(&text);
}

static char *item_line(const struct item *item)
{
	struct buf text;

	if (!item)
		return NULL;
	if (item->kind == ITEM_SERVER)
		return server_line(item);
	buf_init(&text, 1 << 20);
	if (item->kind == ITEM_BACKEND)
		buf_addf(&text, "backend %s from http", item->key);
	else
		buf_addf(&text, "%s %s", item->key, item->value);
	return buf_take(&text);
}

static void patch_add(struct patch *patch, const char *key, char *text)
{
	if (patch->n == patch->cap) {
		patch->cap = patch->cap ? patch->cap * 2 : 8;
		patch->lines = xrealloc(patch->lines, patch->cap * sizeof(*patch->lines));
	}
	patch->lines[patch->n++] = (struct line){xstrdup(key), text};
}

static void patch_done(struct patch *patch)
{
	for (size_t i = 0; i < patch->n; i++) {
		free(patch->lines[i].key);
		free(patch->lines[i].text);
	}
	free(patch->lines);
	*patch = (struct patch){0};
}

void disk_touch(struct disk *disk, enum item_kind kind, const char *key)
{
	struct patch *patch = &disk->patches[file_of(kind, key)];

	if (disk->all)
		return;
	/* A big change writes all of it: cheaper than remembering every key. */
	if (patch->n > 100000) {
		disk_touch_all(disk);
		return;
	}
	patch_add(patch, key, NULL);
}

void disk_touch_all(struct disk *disk)
{
	disk->all = true;
	for (unsigned i = 0; i < FILES; i++)
		patch_done(&disk->patches[i]);
}

void disk_text(struct disk *disk, const char *name, const char *text)
{
	for (size_t i = 0; i < disk->n_texts; i++) {
		struct text *t = &disk->texts[i];
		if (strcmp(t->name, name))
			continue;
		if (strcmp(t->text, text)) {
			free(t->text);
			t->text = xstrdup(text);
			t->dirty = true;
		}
		return;
	}
	disk->texts = xrealloc(disk->texts, (disk->n_texts + 1) * sizeof(*disk->texts));
	disk->texts[disk->n_texts++] = (struct text){xstrdup(name), xstrdup(text), true};
}

bool disk_dirty(const struct disk *disk)
{
	if (disk->all)
		return true;
	for (unsigned i = 0; i < FILES; i++)
		if (disk->patches[i].n)
			return true;
	for (size_t i = 0; i < disk->n_texts; i++)
		if (disk->texts[i].dirty)
			return true;
	return false;
}

bool disk_busy(const struct disk *disk)
{
	return disk->busy;
}

/* ---- the worker ---- */

static int read_file(const char *path, struct buf *out, struct err *reterr)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *block;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	block = xmalloc(65536);
	while ((n = read(fd, block, 65536)) > 0)
		buf_add(out, block, (size_t)n);
	int r = n < 0 ? err_set(reterr, -errno, "%s: %s", path, strerror(errno)) : 0;
	free(block);
	close(fd);
	return r;
}

static int write_all(int fd, const char *data, size_t n, bool durable)
{
	while (n) {
		ssize_t w = write(fd, data, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		data += w;
		n -= (size_t)w;
	}
	return durable && fsync(fd) ? -errno : 0;
}

static int tmp_name(const char *path, char tmp[4096], struct err *reterr)
{
	if ((size_t)snprintf(tmp, 4096, "%s.tmp", path) >= 4096)
		return err_set(reterr, -ENAMETOOLONG, "%s: too long", path);
	return 0;
}

/* Under its temporary name; put_file() makes it the file. */
static int write_file(const char *path, const struct buf *text, bool durable, struct err *reterr)
{
	char tmp[4096];
	int named = tmp_name(path, tmp, reterr);

	if (named)
		return named;
	if (buf_failed(text))
		return err_set(reterr, -EFBIG, "%s: too long", path);
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(reterr, -errno, "%s: %s", tmp, strerror(errno));
	int r = write_all(fd, text->data, text->len, durable);
	if (close(fd) && !r)
		r = -errno;
	return r ? err_set(reterr, r, "%s: %s", path, strerror(-r)) : 0;
}

static int put_file(const char *path, struct err *reterr)
{
	char tmp[4096];
	int r = tmp_name(path, tmp, reterr);

	if (!r && rename(tmp, path))
		r = err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	return r;
}

/* The key of a line of a file of ours; backend: the section it stands in. NULL: a comment. */
static bool line_key(const char *line, size_t n, bool shard, char backend[1024], struct buf *key)
{
	size_t end = 0;

	buf_clear(key);
	if (!n || *line == '#')
		return false;
	if (shard && *line == '\t') {
		if (n < 8 || memcmp(line, "\tserver ", 8))
			return false;
		while (8 + end < n && line[8 + end] != ' ')
			end++;
		buf_addf(key, "%s/%.*s", backend, (int)end, line + 8);
	} else if (shard) {
		if (n < 8 || memcmp(line, "backend ", 8))
			return false;
		while (8 + end < n && line[8 + end] != ' ')
			end++;
		snprintf(backend, 1024, "%.*s", (int)end, line + 8);
		buf_adds(key, backend);
	} else {
		while (end < n && line[end] != ' ')
			end++;
		buf_add(key, line, end);
	}
	return true;
}

static void add_line(struct buf *out, const struct line *line)
{
	if (!line->text)
		return;
	buf_adds(out, line->text);
	buf_addc(out, '\n');
}

/* Old lines, less those of the patch's keys, and the patch's, in order. */
static void merge(const struct buf *old, const struct patch *patch, bool shard, struct buf *out)
{
	char backend[1024] = "";
	struct buf key;
	size_t i = 0;

	buf_init(&key, 1 << 20);
	for (const char *p = old->data, *end = p + old->len; p < end;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline ? newline : end) - p);
		if (line_key(p, n, shard, backend, &key)) {
			int order = 1;
			for (; i < patch->n && (order = key_cmp(patch->lines[i].key, key.data)) < 0; i++)
				add_line(out, &patch->lines[i]);
			if (i == patch->n || order > 0) {
				buf_add(out, p, n);
				buf_addc(out, '\n');
			}
		}
		p += n + 1;
	}
	for (; i < patch->n; i++)
		add_line(out, &patch->lines[i]);
	buf_done(&key);
}

static const char header[] = "# Written by hatchway from what HAProxy holds; changes made here are lost.\n";

/* *ret_written: there is something to put. */
static int patch_file(const char *path, const struct patch *patch, bool shard, bool durable, bool *ret_written,
                      struct err *reterr)
{
	struct buf old, text;
	bool same = false;

	buf_init(&old, FILE_MAX);
	buf_init(&text, FILE_MAX);
	int r = read_file(path, &old, reterr);
	if (r == -ENOENT && !patch->whole && !patch->ensure && !shard) {
		err_set(reterr, r, "%s has gone", path);
	} else if ((patch->ensure && !r) || (r == -ENOENT && shard && !patch->n)) {
		r = 0;
		same = true;
	} else if (!r || r == -ENOENT) {
		buf_adds(&text, header);
		if (patch->whole)
			for (size_t i = 0; i < patch->n; i++)
				add_line(&text, &patch->lines[i]);
		else
			merge(&old, patch, shard, &text);
		same = !r && old.len == text.len && !memcmp(old.data, text.data, old.len);
		r = same ? 0 : write_file(path, &text, durable, reterr);
	}
	*ret_written = !r && !same;
	buf_done(&old);
	buf_done(&text);
	return r;
}

static int sync_dir(const char *path, struct err *reterr)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r ? err_set(reterr, r, "%s: %s", path, strerror(-r)) : 0;
}

static int job_path(const struct job *job, const char *name, char path[4096])
{
	return (size_t)snprintf(path, 4096, "%s/%s", job->dir, name) < 4096 ? 0 : -ENAMETOOLONG;
}

static int put_patches(struct job *job, const bool *written)
{
	bool touched[2] = {0};
	char path[4096], name[64];
	int r = 0;

	for (unsigned i = 0; i < FILES && !r; i++) {
		if (!written[i])
			continue;
		touched[i >= MAPS] = true;
		file_name(i, name);
		r = job_path(job, name, path);
		if (!r)
			r = put_file(path, &job->err);
	}
	for (int i = 0; i < 2 && !r; i++) {
		if (!touched[i])
			continue;
		r = job_path(job, i ? "backends" : "maps", path);
		if (!r)
			r = sync_dir(path, &job->err);
	}
	return r;
}

/* One call for all that was written: hundreds of fsync() one after the other take seconds. */
static int sync_all(struct job *job)
{
	int fd = open(job->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || syncfs(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r ? err_set(&job->err, r, "%s: %s", job->dir, strerror(-r)) : 0;
}

static int write_patches(struct job *job)
{
	bool written[FILES] = {0};
	char path[4096], name[64];
	size_t n = 0, n_written = 0;
	int r = 0;

	for (unsigned i = 0; i < FILES; i++)
		n += job->patches[i].n > 0;
	for (unsigned i = 0; i < FILES && !r; i++) {
		struct patch *patch = &job->patches[i];
		if (!patch->n && !patch->whole && !patch->ensure)
			continue;
		if (patch->n)
			qsort(patch->lines, patch->n, sizeof(*patch->lines), line_cmp);
		file_name(i, name);
		r = job_path(job, name, path);
		if (!r)
			r = patch_file(path, patch, i >= MAPS, n < FSYNC_MAX, &written[i], &job->err);
		n_written += written[i];
	}
	if (!r && n_written && n >= FSYNC_MAX)
		r = sync_all(job);
	return r ? r : put_patches(job, written);
}

static int write_texts(struct job *job)
{
	char path[4096];
	int r = 0;

	for (size_t i = 0; i < job->n_texts && !r; i++) {
		struct buf text;
		buf_init(&text, FILE_MAX);
		buf_adds(&text, job->texts[i].text);
		r = job_path(job, job->texts[i].name, path);
		if (!r)
			r = write_file(path, &text, true, &job->err);
		if (!r)
			r = put_file(path, &job->err);
		buf_done(&text);
	}
	return r || !job->n_texts ? r : sync_dir(job->dir, &job->err);
}

static void on_work(uv_work_t *work)
{
	struct job *job = work->data;

	job->error = write_patches(job);
	if (!job->error)
		job->error = write_texts(job);
}

static void after_work(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct disk *disk = job->disk;

	disk->busy = false;
	for (unsigned i = 0; i < FILES; i++)
		patch_done(&job->patches[i]);
	for (size_t i = 0; i < job->n_texts; i++) {
		free(job->texts[i].name);
		free(job->texts[i].text);
	}
	if (job->error) {
		disk_touch_all(disk);
		for (size_t i = 0; i < disk->n_texts; i++)
			disk->texts[i].dirty = true;
	}
	job->cb(job->ctx, job->error, job->error ? job->err.text : "");
	free(job->texts);
	free(job->dir);
	free(job);
}

/* ---- flush ---- */

static void take_all(struct job *job, const struct image *held)
{
	size_t n;
	const struct item **items = image_sorted(held, &n);

	for (unsigned i = 0; i < FILES; i++)
		job->patches[i].whole = true;
	for (size_t i = 0; i < n; i++) {
		char *text = item_line(items[i]);
		if (text)
			patch_add(&job->patches[file_of(items[i]->kind, items[i]->key)], items[i]->key, text);
	}
	free(items);
}

static void take_touched(struct job *job, struct disk *disk, const struct image *held)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct patch *patch = &disk->patches[i];
		if (!patch->n)
			continue;
		qsort(patch->lines, patch->n, sizeof(*patch->lines), line_cmp);
		for (size_t k = 0; k < patch->n; k++) {
			const char *key = patch->lines[k].key;
			if (k && !strcmp(key, patch->lines[k - 1].key))
				continue;
			enum item_kind kind = i < MAPS ? map_kind(i) : strchr(key, '/') ? ITEM_SERVER : ITEM_BACKEND;
			patch_add(&job->patches[i], key, item_line(image_get(held, kind, key)));
		}
		patch_done(patch);
	}
}

void disk_flush(struct disk *disk, const struct image *held, void (*cb)(void *ctx, int error, const char *why), void *ctx)
{
	struct job *job = xcalloc(1, sizeof(*job));

	BUG_ON(disk->busy);
	disk->busy = true;
	job->disk = disk;
	job->dir = xstrdup(disk->dir);
	job->cb = cb;
	job->ctx = ctx;
	job->work.data = job;
	if (!held)
		for (unsigned i = 0; i < MAPS; i++)
			job->patches[i].ensure = true;
	else if (disk->all)
		take_all(job, held);
	else
		take_touched(job, disk, held);
	if (held)
		disk->all = false;
	job->texts = xcalloc(disk->n_texts, sizeof(*job->texts));
	for (size_t i = 0; i < disk->n_texts; i++) {
		struct text *text = &disk->texts[i];
		if (!text->dirty)
			continue;
		text->dirty = false;
		job->texts[job->n_texts++] = (struct text){xstrdup(text->name), xstrdup(text->text), true};
	}
	BUG_ON(uv_queue_work(disk->loop, &job->work, on_work, after_work));
}

int disk_open(uv_loop_t *loop, const char *state_dir, struct disk **ret, struct err *reterr)
{
	static const char *const folders[] = {"maps", "backends"};
	char path[4096];

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", state_dir, folders[i]) >= sizeof(path))
			return err_set(reterr, -ENAMETOOLONG, "%s is too long a path", state_dir);
		if (mkdir(path, 0700) && errno != EEXIST)
			return err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	}
	struct disk *disk = xcalloc(1, sizeof(*disk));
	disk->loop = loop;
	disk->dir = xstrdup(state_dir);
	disk->all = true;
	*ret = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	BUG_ON(disk->busy);
	for (unsigned i = 0; i < FILES; i++)
		patch_done(&disk->patches[i]);
	for (size_t i = 0; i < disk->n_texts; i++) {
		free(disk->texts[i].name);
		free(disk->texts[i].text);
	}
	free(disk->texts);
	free(disk->dir);
	free(disk);
}
