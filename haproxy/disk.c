/* Owns everything hatchway writes for HAProxy. The loop's thread decides what is written and hands over lines; a worker
 * thread reads the old file, merges and writes. The worker sees only its job, never an image.
 *
 * A file is lines sorted by key: the worker finds the place of a changed line by bisection and copies the rest as it is,
 * and nothing is to be done on the loop. Sorting puts "/" first: a backend's servers follow it directly. */
#include "haproxy/disk.h"

#include "haproxy/certs.h"
#include "haproxy/command.h"
#include "haproxy/put.h"
#include "hatchway/base/hash.h"
#include "hatchway/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARDS 256
#define FILES (MAPS + SHARDS)
#define FSYNC_MAX 8 /* more files than this are made durable together */

struct line {
	char *key;
	char *text; /* NULL: gone */
};

/* What is to happen to one file. */
struct patch {
	struct line *lines;
	size_t n, cap;
	bool ensure; /* make it if it is not there */
};

struct text {
	char *name, *text;
	bool dirty;
};

/* What a folder looked like after the last flush; files that come, go or are renamed change it. */
struct seen {
	ino_t inode;
	struct timespec changed;
};

static const char *const folders[] = {"maps", "backends", "certs"};

struct disk {
	uv_loop_t *loop;
	char *dir;
	struct seen seen[ARRAY_LEN(folders)];
	struct patch patches[FILES]; /* keys only, until flushed */
	struct text *texts;
	size_t n_texts;
	bool all, busy;
	bool certs;    /* changed */
	char *lists;   /* of certificates, that the configuration names: "certs/443.list\n…" */
	bool unsynced; /* written in a hurry: the disk may not have it yet */
};

/* A flush under way; the worker's own. */
struct job {
	uv_work_t work;
	struct disk *disk;
	char *dir;
	struct patch patches[FILES]; /* or */
	const struct item **items;   /* all there is */
	size_t n_items;
	const struct item **certs;   /* and all of those, if job.certs_too */
	size_t n_certs;
	bool certs_too;
	char *lists;
	bool hurry, unsynced;
	bool whole; /* everything is compared or made */
	struct text *texts;
	size_t n_texts;
	struct seen seen[ARRAY_LEN(folders)];
	struct buf strays; /* names, each with a newline */
	int error;
	struct err err;
	void (*cb)(void *ctx, int error, const char *why);
	void *ctx;
};

struct place {
	unsigned file;
	const struct item *item;
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

/* false: it has no line. */
static bool server_line(const struct item *item, struct buf *out)
{
	struct server_value value;

	/* The path of a unix socket HAProxy does not tell, and nobody wants it. */
	if (!server_value_parse(item->value, &value) || !strcmp(value.address, ADDRESS_UNIX))
		return false;
	/* What is on its way out must not need files that may be so, too. */
	if (*value.tls.name && value.state == SERVER_MAINT)
		return false;
	/* A file cannot say "drain"; no new requests is what matters of it. */
	buf_addf(out, "\tserver %s %s weight %u", item->key + server_key_backend(item->key) + 1, value.address,
	         value.state == SERVER_DRAIN ? 0 : value.weight);
	command_server_manner(item->key, &value, out);
	buf_adds(out, value.state == SERVER_MAINT ? " disabled" : "");
	return true;
}

/* What is wanted may be what HAProxy would not take; what is held never is. */
static bool item_line(const struct item *item, struct buf *out)
{
	if (command_check((enum item_kind)item->kind, item->key, item->value, NULL))
		return false;
	if (item->kind == ITEM_SERVER)
		return server_line(item, out);
	buf_adds(out, item->kind == ITEM_BACKEND ? "backend " : "");
	buf_adds(out, item->key);
	buf_adds(out, item->kind == ITEM_BACKEND ? " from " : " ");
	buf_adds(out, item->kind == ITEM_BACKEND ? backend_defaults(item->key) : item->value);
	return true;
}

static char *item_text(const struct item *item)
{
	struct buf text;

	buf_init(&text, 1 << 20);
	if (item && item_line(item, &text))
		return buf_take(&text);
	buf_done(&text);
	return NULL;
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
	if (kind <= ITEM_SNI)
		disk->certs = true;
	if (disk->all || kind <= ITEM_SNI)
		return;
	struct patch *patch = &disk->patches[file_of(kind, key)];
	/* A big change writes all of it: cheaper than remembering every key. */
	if (patch->n > 100000) {
		disk_touch_all(disk);
		return;
	}
	patch_add(patch, key, NULL);
}

void disk_touch_all(struct disk *disk)
{
	disk->all = disk->certs = true;
	for (unsigned i = 0; i < FILES; i++)
		patch_done(&disk->patches[i]);
	for (size_t i = 0; i < disk->n_texts; i++)
		disk->texts[i].dirty = true;
}

void disk_lists(struct disk *disk, const char *lists)
{
	if (!strcmp(disk->lists, lists))
		return;
	free(disk->lists);
	disk->lists = xstrdup(lists);
	disk->certs = true;
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
	if (disk->all || disk->certs || disk->unsynced)
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

static void look(const char *dir, struct seen seen[ARRAY_LEN(folders)])
{
	char path[4096];
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		seen[i] = (struct seen){0};
		if (snprintf(path, sizeof(path), "%.4000s/%s", dir, folders[i]) > 0 && !stat(path, &st))
			seen[i] = (struct seen){st.st_ino, st.st_mtim};
	}
}

bool disk_disturbed(const struct disk *disk)
{
	struct seen seen[ARRAY_LEN(folders)];
	char path[4096];

	if (disk->busy)
		return false;
	for (size_t i = 0; i < disk->n_texts; i++)
		if (snprintf(path, sizeof(path), "%.3000s/%s", disk->dir, disk->texts[i].name) > 0 && access(path, F_OK))
			return true;
	look(disk->dir, seen);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		if (seen[i].inode != disk->seen[i].inode || seen[i].changed.tv_sec != disk->seen[i].changed.tv_sec ||
		    seen[i].changed.tv_nsec != disk->seen[i].changed.tv_nsec)
			return true;
	return false;
}

char *disk_read_mark(const struct disk *disk)
{
	static const char word[] = "\tdescription ";
	char path[4096], *line = NULL, *mark = xstrdup("");
	size_t cap = 0;

	snprintf(path, sizeof(path), "%.4000s/haproxy.cfg", disk->dir);
	FILE *f = fopen(path, "re");
	while (f && getline(&line, &cap, f) >= 0) {
		if (strncmp(line, word, strlen(word)))
			continue;
		free(mark);
		mark = xstrdup(line + strlen(word));
		mark[strcspn(mark, "\n")] = 0;
	}
	if (f)
		fclose(f);
	free(line);
	return mark;
}

/* ---- the worker ---- */

/* The key of a line of a shard; backend: the section it stands in. false: a comment. */
static bool shard_key(const char *line, size_t n, char backend[1024], struct buf *key)
{
	size_t end = 8;

	buf_clear(key);
	if (n < 8)
		return false;
	while (end < n && line[end] != ' ')
		end++;
	if (!memcmp(line, "\tserver ", 8)) {
		buf_addf(key, "%s/%.*s", backend, (int)end - 8, line + 8);
		return true;
	}
	if (memcmp(line, "backend ", 8))
		return false;
	snprintf(backend, 1024, "%.*s", (int)end - 8, line + 8);
	buf_adds(key, backend);
	return true;
}

/* As key_cmp() of the line's key, up to the blank, and `key`. Comments are before everything. */
static int map_line_cmp(const char *line, const char *end, const char *key)
{
	if (line < end && *line == '#')
		return -1;
	for (;; line++, key++) {
		unsigned char x = line < end && *line != ' ' && *line != '\n' ? (unsigned char)*line : 0;
		unsigned char y = (unsigned char)*key;
		if (x != y)
			return (x == '/' ? 1 : x) - (y == '/' ? 1 : y);
		if (!x)
			return 0;
	}
}

/* The old file, read in parts: at 10,000 routes a map has a megabyte, of which one line is of interest. */
struct old {
	int fd; /* -1: there is none */
	off_t size;
	char *block;
	size_t cap;
};

#define BLOCK ((size_t)65536)

/* The line that byte `at` is part of, for the moment; the text begins at `low` or before. */
struct old_line {
	off_t from, to;
	const char *text, *end;
};

/* Where one line of a patch goes in the old file: it takes the place of [from, to), which is empty or one line. */
struct edit {
	off_t from, to;
	const struct line *line;
	bool changes;
};

static int old_open(struct old *old, const char *path, struct err *reterr)
{
	struct stat st;

	*old = (struct old){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (old->fd < 0)
		return errno == ENOENT ? -ENOENT : err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	if (fstat(old->fd, &st)) {
		int r = err_set(reterr, -errno, "%s: %s", path, strerror(errno));
		close(old->fd);
		return r;
	}
	old->size = st.st_size;
	old->cap = BLOCK;
	old->block = xmalloc(old->cap);
	return 0;
}

static void old_close(struct old *old)
{
	if (old->fd >= 0)
		close(old->fd);
	free(old->block);
}

/* All n bytes or an error: nobody else changes these files. */
static int old_read(struct old *old, off_t at, size_t n)
{
	if (n > old->cap) {
		old->cap = n;
		old->block = xrealloc(old->block, n);
	}
	for (size_t have = 0; have < n;) {
		ssize_t r = pread(old->fd, old->block + have, n - have, at + (off_t)have);
		if (r <= 0)
			return r ? -errno : -EIO;
		have += (size_t)r;
	}
	return 0;
}

static int old_line_at(struct old *old, off_t low, off_t at, struct old_line *ret)
{
	for (off_t around = 1024;; around *= 4) {
		off_t from = at - low > around ? at - around : low;
		off_t to = old->size - at > around ? at + around : old->size;
		int r = old_read(old, from, (size_t)(to - from));
		if (r)
			return r;
		const char *here = old->block + (at - from), *end = old->block + (to - from);
		const char *before = memrchr(old->block, '\n', (size_t)(at - from));
		const char *after = memchr(here, '\n', (size_t)(end - here));
		if ((!before && from > low) || (!after && to < old->size))
			continue;
		ret->text = before ? before + 1 : old->block;
		ret->end = after ? after : end;
		ret->from = from + (ret->text - old->block);
		ret->to = from + (ret->end - old->block) + (after != NULL);
		return 0;
	}
}

static bool line_changes(const struct line *line, const char *text, const char *end)
{
	size_t n = (size_t)(end - text);

	return !line->text || strlen(line->text) != n || memcmp(line->text, text, n);
}

/* The first line not before the key, from `low` on. */
static int find_line(struct old *old, off_t low, const char *key, struct edit *ret)
{
	struct old_line line;
	off_t high = old->size;
	int r, order;

	*ret = (struct edit){.from = high, .to = high};
	while (low < high) {
		r = old_line_at(old, low, low + (high - low) / 2, &line);
		if (r)
			return r;
		order = map_line_cmp(line.text, line.end, key);
		if (order < 0)
			low = line.to;
		else
			high = line.from;
		if (!order)
			*ret = (struct edit){.from = line.from, .to = line.to};
	}
	if (ret->from != low)
		*ret = (struct edit){.from = low, .to = low};
	return 0;
}

static int edit_map(struct old *old, const struct patch *patch, struct edit *edits)
{
	struct old_line line;
	off_t low = 0;
	int r = 0;

	for (size_t i = 0; i < patch->n && !r; i++) {
		struct edit *edit = &edits[i];
		r = find_line(old, low, patch->lines[i].key, edit);
		edit->line = &patch->lines[i];
		edit->changes = edit->line->text != NULL;
		if (!r && edit->to > edit->from) {
			r = old_line_at(old, edit->from, edit->from, &line);
			edit->changes = !r && line_changes(edit->line, line.text, line.end);
		}
		low = edit->to;
	}
	return r;
}

/* Shards are small, and a server's line does not tell its backend. */
static int edit_shard(struct old *old, const struct patch *patch, struct edit *edits)
{
	char backend[1024] = "";
	struct buf key;
	size_t i = 0;
	int r = old->size ? old_read(old, 0, (size_t)old->size) : 0;
	const char *text = old->size && !r ? old->block : "", *end = text + (r ? 0 : old->size), *next;

	buf_init(&key, 1 << 20);
	for (const char *line = text; line < end && i < patch->n; line = next) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		next = newline ? newline + 1 : end;
		if (!shard_key(line, (size_t)((newline ? newline : end) - line), backend, &key))
			continue;
		for (int order = -1; i < patch->n && order < 0;) {
			order = key_cmp(patch->lines[i].key, key.data);
			if (order > 0)
				break;
			const struct line *with = &patch->lines[i];
			edits[i++] = (struct edit){line - text, (order ? line : next) - text, with,
			                           order ? with->text != NULL : line_changes(with, line, newline ? newline : end)};
		}
	}
	for (; i < patch->n; i++)
		edits[i] = (struct edit){old->size, old->size, &patch->lines[i], patch->lines[i].text != NULL};
	buf_done(&key);
	return r;
}

static const char header[] = "# Written by hatchway from what HAProxy holds; changes made here are lost.\n";

static int copy_range(struct old *old, off_t from, off_t to, FILE *f)
{
	while (from < to) {
		size_t n = (size_t)(to - from) < BLOCK ? (size_t)(to - from) : BLOCK;
		int r = old_read(old, from, n);
		if (r)
			return r;
		fwrite(old->block, 1, n, f);
		from += (off_t)n;
	}
	return 0;
}

static int write_edits(FILE *f, struct old *old, const struct edit *edits, size_t n)
{
	off_t at = 0;
	int r = 0;

	if (!old->size)
		fputs(header, f);
	for (size_t i = 0; i < n && !r; i++) {
		r = copy_range(old, at, edits[i].from, f);
		at = edits[i].to;
		BUG_ON(!edits[i].line);
		if (edits[i].line->text) {
			fputs(edits[i].line->text, f);
			fputc('\n', f);
		}
	}
	return r ? r : copy_range(old, at, old->size, f);
}

static bool any_changes(const struct edit *edits, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (edits[i].changes)
			return true;
	return false;
}

static int patch_old(struct old *old, const char *path, const struct patch *patch, bool shard, bool durable,
                     bool *ret_written, struct err *reterr)
{
	struct edit *edits = xcalloc(patch->n, sizeof(*edits));
	int r = shard ? edit_shard(old, patch, edits) : edit_map(old, patch, edits);
	bool changes = !r && (any_changes(edits, patch->n) || patch->ensure);
	FILE *f = changes ? put_open(path, reterr) : NULL;

	if (f) {
		int closed;
		r = write_edits(f, old, edits, patch->n);
		closed = put_close(f, path, durable, reterr);
		*ret_written = !r && !closed;
		if (r)
			err_set(reterr, r, "%s: %s", path, strerror(-r));
		else
			r = closed;
	} else if (changes) {
		r = -EIO; /* put_open() has told */
	} else if (r) {
		err_set(reterr, r, "%s: %s", path, strerror(-r));
	}
	free(edits);
	return r;
}

/* *ret_written: there is something to put. */
static int patch_file(const char *path, const struct patch *patch, bool shard, bool durable, bool *ret_written,
                      struct err *reterr)
{
	struct old old;
	int r = old_open(&old, path, reterr);
	bool missing = r == -ENOENT;

	if (missing && !shard && !patch->ensure)
		return err_set(reterr, r, "%s has gone", path);
	if (r && !missing)
		return r;
	r = patch->ensure && !missing ? 0 : patch_old(&old, path, patch, shard, durable, ret_written, reterr);
	old_close(&old);
	return r;
}

/* ---- whole files ---- */

/* Text goes to a file, or is compared with one. */
struct sink {
	FILE *f;
	bool compare, same;
};

static void sink_add(struct sink *sink, const char *p, size_t n)
{
	char block[4096];

	if (!sink->compare) {
		fwrite(p, 1, n, sink->f);
		return;
	}
	while (n && sink->same) {
		size_t part = n < sizeof(block) ? n : sizeof(block);
		sink->same = fread(block, 1, part, sink->f) == part && !memcmp(block, p, part);
		p += part;
		n -= part;
	}
}

static bool of_backend(const struct item *server, const struct item *backend)
{
	size_t n = server_key_backend(server->key);

	return backend && !strncmp(server->key, backend->key, n) && !backend->key[n];
}

static void sink_items(struct sink *sink, const struct place *places, size_t n)
{
	const struct item *backend = NULL;
	struct buf line;

	sink_add(sink, header, strlen(header));
	buf_init(&line, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		const struct item *item = places[i].item;
		buf_clear(&line);
		/* A server without its backend has no place. */
		if ((item->kind == ITEM_SERVER && !of_backend(item, backend)) || !item_line(item, &line))
			continue;
		if (item->kind == ITEM_BACKEND)
			backend = item;
		buf_addc(&line, '\n');
		sink_add(sink, line.data, line.len);
	}
	buf_done(&line);
}

static bool file_is(const char *path, const struct place *places, size_t n, bool *ret_missing)
{
	struct sink sink = {.f = fopen(path, "re"), .compare = true, .same = true};

	*ret_missing = !sink.f && errno == ENOENT;
	if (!sink.f)
		return false;
	sink_items(&sink, places, n);
	bool same = sink.same && fgetc(sink.f) == EOF;
	fclose(sink.f);
	return same;
}

static int whole_file(const char *path, const struct place *places, size_t n, bool shard, bool *ret_written,
                      struct err *reterr)
{
	struct sink sink = {0};
	bool missing;

	if (file_is(path, places, n, &missing) || (missing && shard && !n))
		return 0;
	sink.f = put_open(path, reterr);
	if (!sink.f)
		return -EIO;
	sink_items(&sink, places, n);
	int r = put_close(sink.f, path, false, reterr);
	*ret_written = !r;
	return r;
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
		if (!touched[i] || job->hurry)
			continue;
		r = job_path(job, i ? "backends" : "maps", path);
		if (!r)
			r = put_sync_dir(path, &job->err);
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

static int place_cmp(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return key_cmp(x->item->key, y->item->key);
}

static int write_items(struct job *job, bool *written)
{
	struct place *places = xcalloc(job->n_items, sizeof(*places));
	char path[4096], name[64];
	size_t at = 0;
	int r = 0;

	for (size_t i = 0; i < job->n_items; i++)
		places[i] = (struct place){file_of((enum item_kind)job->items[i]->kind, job->items[i]->key), job->items[i]};
	if (job->n_items)
		qsort(places, job->n_items, sizeof(*places), place_cmp);
	for (unsigned i = 0; i < FILES && !r; i++) {
		size_t from = at;
		while (at < job->n_items && places[at].file == i)
			at++;
		file_name(i, name);
		r = job_path(job, name, path);
		if (!r)
			r = whole_file(path, places + from, at - from, i >= MAPS, &written[i], &job->err);
	}
	free(places);
	return r;
}

static int write_patches(struct job *job, bool *written, bool durable)
{
	char path[4096], name[64];
	int r = 0;

	for (unsigned i = 0; i < FILES && !r; i++) {
		struct patch *patch = &job->patches[i];
		if (!patch->n && !patch->ensure)
			continue;
		file_name(i, name);
		r = job_path(job, name, path);
		if (!r)
			r = patch_file(path, patch, i >= MAPS, durable, &written[i], &job->err);
	}
	return r;
}

static int make_folders(const char *dir, struct err *reterr)
{
	char path[4096];

	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_set(reterr, -errno, "%s: %s", dir, strerror(errno));
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, folders[i]) >= sizeof(path))
			return err_set(reterr, -ENAMETOOLONG, "%s is too long a path", dir);
		if (mkdir(path, 0700) && errno != EEXIST)
			return err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	}
	return 0;
}

/* "7f.cfg", and a file. */
static bool is_shard(const struct dirent *entry)
{
	const char *name = entry->d_name;

	return strspn(name, "0123456789abcdef") == 2 && !strcmp(name + 2, ".cfg") &&
	       (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN);
}

/* HAProxy loads what ends with .cfg, and does not start if it cannot: not even for a link to nothing. */
static int ignore_strays(struct job *job)
{
	char path[4096], to[4096 + 16];
	int r = job_path(job, "backends", path);
	DIR *dir = r ? NULL : opendir(path);
	struct dirent *entry;

	if (!dir)
		return err_set(&job->err, r ? r : -errno, "%s: %s", path, strerror(r ? -r : errno));
	while (!r && (entry = readdir(dir))) {
		const char *end = strrchr(entry->d_name, '.');
		if (*entry->d_name == '.' || !end || strcmp(end, ".cfg") || is_shard(entry))
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%.3000s/backends/%s", job->dir, entry->d_name) >= sizeof(path))
			continue;
		snprintf(to, sizeof(to), "%s.ignored", path);
		if (rename(path, to))
			r = err_set(&job->err, -errno, "%s: %s", path, strerror(errno));
		else
			buf_addf(&job->strays, "%s\n", entry->d_name);
	}
	closedir(dir);
	return r;
}

/* New contents are on the disk before their names are, but for what must be quick: HAProxy is waiting for it. */
static int write_files(struct job *job)
{
	bool written[FILES] = {0};
	size_t n = 0, n_written = 0;

	for (unsigned i = 0; i < FILES; i++)
		n += job->patches[i].n > 0;
	bool each = !job->hurry && !job->items && n < FSYNC_MAX;
	int r = job->items ? write_items(job, written) : write_patches(job, written, each);
	for (unsigned i = 0; i < FILES; i++)
		n_written += written[i];
	if (!r && job->hurry)
		job->unsynced |= n_written || job->n_texts;
	else if (!r && (job->unsynced || (n_written && !each)))
		r = sync_all(job);
	if (!r && !job->hurry)
		job->unsynced = false;
	return r ? r : put_patches(job, written);
}

static int write_texts(struct job *job)
{
	char path[4096];
	int r = 0;

	for (size_t i = 0; i < job->n_texts && !r; i++) {
		r = job_path(job, job->texts[i].name, path);
		if (!r)
			r = put_text(path, job->texts[i].text, !job->hurry, &job->err);
	}
	return r || !job->n_texts || job->hurry ? r : put_sync_dir(job->dir, &job->err);
}

/* Before the configuration that names them. */
static int write_certs(struct job *job)
{
	bool written = false;
	int r = certs_write(job->dir, job->certs, job->n_certs, job->lists, !job->hurry, &written, &job->err);

	job->unsynced |= job->hurry && written;
	return r;
}

static void on_work(uv_work_t *work)
{
	struct job *job = work->data;

	job->error = make_folders(job->dir, &job->err);
	if (!job->error && job->whole)
		job->error = ignore_strays(job);
	/* What backends and lists name comes before them. */
	if (!job->error && job->certs_too)
		job->error = write_certs(job);
	if (!job->error)
		job->error = write_files(job);
	if (!job->error)
		job->error = write_texts(job);
	if (!job->error && job->certs_too && job->certs)
		certs_clean(job->dir, job->certs, job->n_certs, job->lists);
	look(job->dir, job->seen);
}

static void tell_strays(struct job *job)
{
	char *save = NULL;

	for (char *name = strtok_r(job->strays.data, "\n", &save); name; name = strtok_r(NULL, "\n", &save))
		log_line(LOG_WARN, "a file in backends/ is not hatchway's, and HAProxy would load it; it was given another name", "file",
		         name, "suffix", ".ignored", (const char *)NULL);
	buf_done(&job->strays);
}

static void after_work(uv_work_t *work, int status)
{
	struct job *job = work->data;
	struct disk *disk = job->disk;

	disk->busy = false;
	disk->unsynced |= job->unsynced;
	memcpy(disk->seen, job->seen, sizeof(disk->seen));
	tell_strays(job);
	for (unsigned i = 0; i < FILES; i++)
		patch_done(&job->patches[i]);
	image_snapshot_free(job->items, job->n_items);
	image_snapshot_free(job->certs, job->n_certs);
	free(job->lists);
	for (size_t i = 0; i < job->n_texts; i++) {
		free(job->texts[i].name);
		free(job->texts[i].text);
	}
	if (job->error)
		disk_touch_all(disk);
	job->cb(job->ctx, job->error, job->error ? job->err.text : "");
	free(job->texts);
	free(job->dir);
	free(job);
}

/* ---- flush ---- */

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
			patch_add(&job->patches[i], key, item_text(image_get(held, kind, key)));
		}
		patch_done(patch);
	}
}

void disk_flush(struct disk *disk, const struct image *held, bool hurry,
                void (*cb)(void *ctx, int error, const char *why), void *ctx)
{
	struct job *job = xcalloc(1, sizeof(*job));

	BUG_ON(disk->busy);
	disk->busy = true;
	job->hurry = hurry;
	job->unsynced = disk->unsynced;
	disk->unsynced = false;
	job->disk = disk;
	job->dir = xstrdup(disk->dir);
	job->cb = cb;
	job->ctx = ctx;
	job->work.data = job;
	job->whole = !held || disk->all;
	buf_init(&job->strays, 1 << 20);
	if (!held)
		for (unsigned i = 0; i < MAPS; i++)
			job->patches[i].ensure = true;
	else if (disk->all)
		job->items = image_snapshot(held, ITEM_BACKEND, ITEM_LISTENER, &job->n_items);
	else
		take_touched(job, disk, held);
	job->certs_too = !held || disk->certs;
	job->lists = xstrdup(disk->lists);
	if (held && disk->certs)
		job->certs = image_snapshot(held, ITEM_CA, ITEM_SNI, &job->n_certs);
	if (held)
		disk->all = disk->certs = false;
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
	int r = make_folders(state_dir, reterr);

	if (r)
		return r;
	struct disk *disk = xcalloc(1, sizeof(*disk));
	disk->loop = loop;
	disk->dir = xstrdup(state_dir);
	disk->all = disk->certs = true;
	disk->lists = xstrdup("");
	look(state_dir, disk->seen);
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
	free(disk->lists);
	free(disk->dir);
	free(disk);
}
