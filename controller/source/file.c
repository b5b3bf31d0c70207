/* Owns the manifest folder: walking it, inotify, reading one file into objects, and the patience with files that
 * vanish. Reads YAML (yaml.h) and decodes (object_decode_manifest); who wins among files is claims.h's, what outlives
 * the process file_memory.h's.
 *
 * A save is read when its writer closes the file (IN_CLOSE_WRITE) or renames it into place (IN_MOVED_TO), at once. A
 * file that vanishes is given LEAVE_MS: many editors rename the old file away, or remove it, just before the new one is
 * there, and traffic must not notice. A symbolic link is read where it points to, but only the link itself is watched,
 * except that any change of a name beginning with ".." (a ConfigMap mount's ..data) has its folder walked again. */
#include "controller/source/file.h"

#include "controller/object/decode.h"
#include "controller/source/claims.h"
#include "controller/source/file_memory.h"
#include "controller/source/yaml.h"
#include "hatchway/base/hashed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#define LEAVE_MS 100
#define GONE_ROOT_MS 1000
#define DEPTH_CEILING 32
#define PROBLEM_CEILING 10 /* reported per file and reading */
#define WATCHED                                                                                                        \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |           \
	 IN_MOVE_SELF)

struct file {
	struct hashed hashed; /* by path */
	bool dirty : 1, seen : 1;
	bool known : 1;    /* it was read well, or its copy was, if there is one */
	bool recalled : 1; /* what it gives (in part) is of an earlier run */
	bool unsaved : 1;  /* read well, and not given to memory yet */
	struct giver giver;
	uint64_t signature; /* of what was read: when a walk sees the same, it need not be read again */
	uint64_t leave_at_ms;
	char path[];
};

struct folder {
	UT_hash_handle hh;    /* by path */
	UT_hash_handle hh_wd; /* by wd */
	int wd;
	unsigned depth;
	bool seen;
	bool broken; /* it could not be read, or cannot be watched */
	char path[];
};

struct file_source {
	uv_loop_t *loop; /* NULL: read once */
	uv_poll_t poll;
	uv_timer_t timer;
	int inotify; /* -1: read once */
	struct source_events events;
	struct claims *claims;
	struct file_memory *memory; /* NULL: of nothing */
	struct hashed_set files;
	size_t n_unsaved, save_bucket; /* where the search for the next one goes on */
	struct folder *folders, *folders_wd;
	struct file **dirty; /* in order of marking */
	size_t n_dirty, cap_dirty;
	bool root_gone, problems, loaded;
	unsigned closing;
	void (*closed)(void *ctx);
	void *closed_ctx;
	char root[];
};

/* ---- files ---- */

static void report(struct file_source *source, const char *path, unsigned line, const char *text)
{
	source->problems = true;
	source->events.problem(source->events.ctx, path, line, text);
}

static struct file *find_file(struct file_source *source, const char *path)
{
	struct file *file = hashed_first(&source->files, hashed_text(&source->files, path));
	while (file && strcmp(file->path, path) != 0)
		file = hashed_next(file);
	return file;
}

static struct file *get_file(struct file_source *source, const char *path)
{
	struct file *file = find_file(source, path);
	if (file)
		return file;
	size_t len = strlen(path);
	file = xcalloc(1, sizeof(*file) + len + 1);
	memcpy(file->path, path, len + 1);
	file->giver.path = file->path;
	hashed_add(&source->files, file, hashed_text(&source->files, path));
	return file;
}

static void set_unsaved(struct file_source *source, struct file *file, bool unsaved)
{
	if (file->unsaved == unsaved || !source->memory)
		return;
	/* The only one is found at once: its search must not cost what the folder is large. */
	if (unsaved && !source->n_unsaved)
		source->save_bucket = file->hashed.hash & (source->files.n_buckets - 1);
	file->unsaved = unsaved;
	source->n_unsaved += unsaved ? 1 : -(size_t)1;
}

/* Its objects go, or fall to another file that gives them. */
static void drop_file(struct file_source *source, struct file *file)
{
	if (file->giver.broken || file->giver.n_lost)
		report(source, file->path, 0, NULL);
	file->giver.broken = true; /* claims need not report it fine once more */
	if (claims_replace(source->claims, &file->giver, NULL, 0, false) >= 0)
		BUG_ON("nothing cannot be given twice");
	set_unsaved(source, file, false);
	if (source->memory)
		file_memory_forget(source->memory, file->path);
	hashed_delete(&source->files, file);
	free(file);
}

static int cmp_path(const void *a, const void *b)
{
	return strcmp((*(struct file *const *)a)->path, (*(struct file *const *)b)->path);
}

static bool is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);
	return strncmp(path, folder, len) == 0 && path[len] == '/';
}

/* The files below a folder, or those that are leaving if it is NULL: by path, in an array to free(). */
static struct file **list_files(const struct file_source *source, const char *folder, size_t *ret_n)
{
	struct file **list = xcalloc(source->files.n, sizeof(struct file *));
	struct hashed_walk walk = {.set = &source->files};
	size_t n = 0;
	for (struct file *file; (file = hashed_walk(&walk));)
		if (folder ? is_below(file->path, folder) : file->giver.leaving)
			list[n++] = file;
	if (n)
		qsort(list, n, sizeof(struct file *), cmp_path);
	*ret_n = n;
	return list;
}

static void mark_dirty(struct file_source *source, struct file *file)
{
	if (file->dirty)
		return;
	file->dirty = true;
	file->giver.leaving = false;
	if (source->n_dirty == source->cap_dirty) {
		source->cap_dirty = source->cap_dirty ? source->cap_dirty * 2 : 16;
		source->dirty = xrealloc(source->dirty, source->cap_dirty * sizeof(struct file *));
	}
	source->dirty[source->n_dirty++] = file;
}

/* ---- leaving ---- */

static uint64_t now_ms(const struct file_source *source)
{
	return source->loop ? uv_now(source->loop) : 0;
}

static void on_timer(uv_timer_t *timer);

static void start_timer(struct file_source *source, uint64_t ms)
{
	if (source->loop && !source->closing && !uv_is_active((uv_handle_t *)&source->timer) &&
	    uv_timer_start(&source->timer, on_timer, ms, 0))
		BUG_ON("a timer of a live loop cannot fail to start");
}

static void leave(struct file_source *source, struct file *file)
{
	if (file->giver.leaving || file->dirty)
		return;
	file->giver.leaving = true;
	file->leave_at_ms = now_ms(source) + LEAVE_MS;
	claims_touch(source->claims, &file->giver);
	start_timer(source, LEAVE_MS);
}

/* ---- one file into objects ---- */

struct reading {
	struct file_source *source;
	struct file *file;
	bool copy; /* what is read is the file's copy in memory */
	struct given *given;
	size_t n, cap;
	unsigned n_problems;
};

static void recall(struct file_source *source, struct file *file);

/* What holds instead, for the problem's text. part: of one document, the others count. */
static const char *what_stays(const struct file *file, bool part)
{
	static const char *const texts[2][2] = {
	    {"; its last good content stays", "; its last good content, of an earlier run, stays"},
	    {"; nothing it gave before is taken back", "; nothing it gave in an earlier run is taken back"},
	};
	return file->giver.n ? texts[part][file->recalled] : "";
}

static void reading_problem(struct reading *reading, unsigned line, bool part, const char *text)
{
	struct file *file = reading->file;
	if (reading->copy || reading->n_problems++ >= PROBLEM_CEILING)
		return;
	if (!file->known)
		recall(reading->source, file);
	struct err err;
	err_set(&err, 0, "%s%s", text, what_stays(file, part));
	report(reading->source, file->path, line, err.text);
}

static void add_given(struct reading *reading, struct object *object, unsigned line)
{
	if (reading->n == reading->cap) {
		reading->cap = reading->cap ? 2 * reading->cap : 4;
		reading->given = xrealloc(reading->given, reading->cap * sizeof(*reading->given));
	}
	reading->given[reading->n++] = (struct given){object, line};
}

static const struct node *map_get(const struct node *map, const char *key)
{
	for (size_t i = 0; map->type == NODE_MAP && i < map->n; i++)
		if (strcmp(map->keys[i], key) == 0)
			return map->items[i];
	return NULL;
}

static void read_object(struct reading *reading, const struct node *document)
{
	struct object *object;
	struct err err;
	unsigned line = document->line;
	int status = object_decode_manifest(document, &object, &line, &err);
	if (status > 0)
		add_given(reading, object, document->line);
	else if (status < 0)
		reading_problem(reading, line, true, err.text);
}

static bool is_string(const struct node *node)
{
	return node && node->type == NODE_STRING && *node->text;
}

/* A document is an object, or a List of them as `kubectl get -o yaml` writes it; an empty one is nothing. */
static void read_document(struct reading *reading, const struct node *document, bool in_list)
{
	if (document->type == NODE_NULL)
		return;
	const struct node *kind = map_get(document, "kind"), *items = map_get(document, "items");
	if (document->type != NODE_MAP) {
		reading_problem(reading, document->line, true,
		                "not an object: a map with apiVersion and kind is needed");
	} else if (!is_string(kind)) {
		reading_problem(reading, document->line, true, "Object 'Kind' is missing");
	} else if (!is_string(map_get(document, "apiVersion"))) {
		reading_problem(reading, document->line, true, "Object 'apiVersion' is missing");
	} else if (!in_list && items && items->type == NODE_LIST && strlen(kind->text) >= 4 &&
	           strcmp(kind->text + strlen(kind->text) - 4, "List") == 0) {
		for (size_t i = 0; i < items->n; i++)
			read_document(reading, items->items[i], true);
	} else {
		read_object(reading, document);
	}
}

/* 0, or -errno if the text as such cannot be read: then nothing of it counts. */
static int read_stream(struct reading *reading, int fd)
{
	struct yaml *yaml = yaml_open_fd(fd);
	int status;
	for (;;) {
		struct arena scratch;
		arena_init(&scratch);
		struct node *document;
		struct err err;
		unsigned line = 0;
		status = yaml_next(yaml, &scratch, &document, &line, &err);
		if (status > 0)
			read_document(reading, document, false);
		else if (status < 0)
			reading_problem(reading, line, false, err.text);
		arena_done(&scratch);
		if (status <= 0)
			break;
	}
	yaml_close(yaml);
	return status;
}

static int open_regular(const char *path, struct stat *st, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_set(err, -errno, "cannot be opened: %s", strerror(errno));
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode))
		return fd;
	close(fd);
	return err_set(err, -EINVAL, "not a regular file");
}

static void drop_given(struct reading *reading)
{
	for (size_t i = 0; i < reading->n; i++)
		object_unref(reading->given[i].object);
}

/* What the file gave when an earlier run read it well, as if it had been read now. */
static void recall(struct file_source *source, struct file *file)
{
	file->known = true;
	int fd = source->memory ? file_memory_recall(source->memory, file->path) : -ENOENT;
	if (fd < 0)
		return;
	struct reading reading = {.source = source, .file = file, .copy = true};
	int status = read_stream(&reading, fd);
	close(fd);
	if (status < 0)
		drop_given(&reading);
	else /* an object given twice in it was so then, too */
		(void)claims_replace(source->claims, &file->giver, reading.given, reading.n, false);
	file->recalled = status >= 0;
	free(reading.given);
}

static void give(struct reading *reading, struct file *file)
{
	/* From here on claims may report the file fine: it must know whether it is. */
	bool was_broken = file->giver.broken, well = !reading->n_problems;
	file->giver.broken = !well;
	long twice = claims_replace(reading->source->claims, &file->giver, reading->given, reading->n, !well);
	if (twice >= 0) {
		file->giver.broken = true;
		report(reading->source, file->path, reading->given[twice].line,
		       "this object is given twice in this file; the first counts");
	}
	if (was_broken && !file->giver.broken && !file->giver.n_lost)
		report(reading->source, file->path, 0, NULL);
	if (well) {
		file->known = true;
		file->recalled = false;
	}
}

static void read_file(struct file_source *source, struct file *file)
{
	struct reading reading = {.source = source, .file = file};
	struct stat st;
	struct err err;
	int fd = open_regular(file->path, &st, &err);
	if (fd == -ENOENT && lstat(file->path, &st) != 0) {
		leave(source, file); /* came and went, all in one burst */
		return;
	}
	int status = fd;
	if (fd >= 0) {
		file->signature = file_signature(&st);
		status = read_stream(&reading, fd);
		close(fd);
	} else {
		reading_problem(&reading, 0, false, err.text);
	}
	if (status < 0) {
		drop_given(&reading);
		file->giver.broken = true;
	} else {
		give(&reading, file);
	}
	/* What memory would copy now is not what was good. */
	set_unsaved(source, file, !reading.n_problems);
	free(reading.given);
}

/* ---- folders ---- */

static struct folder *find_folder(struct file_source *source, const char *path)
{
	struct folder *folder;
	HASH_FIND(hh, source->folders, path, strlen(path), folder);
	return folder;
}

static struct folder *find_wd(struct file_source *source, int wd)
{
	struct folder *folder;
	HASH_FIND(hh_wd, source->folders_wd, &wd, sizeof(wd), folder);
	return folder;
}

/* unwatch false: the kernel has dropped the watch, or another folder has it now. */
static void drop_folder(struct file_source *source, struct folder *folder, bool unwatch)
{
	if (unwatch && folder->wd >= 0)
		(void)inotify_rm_watch(source->inotify, folder->wd); /* fails only if it is gone already */
	HASH_DELETE(hh, source->folders, folder);
	if (folder->wd >= 0)
		HASH_DELETE(hh_wd, source->folders_wd, folder);
	free(folder);
}

static struct folder *add_folder(struct file_source *source, const char *path, int wd, unsigned depth)
{
	size_t len = strlen(path);
	struct folder *folder = xcalloc(1, sizeof(*folder) + len + 1);
	memcpy(folder->path, path, len + 1);
	folder->wd = wd;
	folder->depth = depth;
	folder->seen = true;
	HASH_ADD_KEYPTR(hh, source->folders, folder->path, len, folder);
	if (wd >= 0)
		HASH_ADD(hh_wd, source->folders_wd, wd, sizeof(wd), folder);
	return folder;
}

static bool same_inode(const char *a, const char *b)
{
	struct stat x, y;
	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Whether the folder is to be walked under this path: a folder reached twice (a loop of links) is walked once. */
static bool watch_folder(struct file_source *source, const char *path, unsigned depth)
{
	int wd = -1;
	if (source->inotify >= 0) {
		wd = inotify_add_watch(source->inotify, path, WATCHED | IN_ONLYDIR);
		if (wd < 0 && source->loop) {
			struct err err;
			err_set(&err, 0, "changes in this folder cannot be seen: %s", strerror(errno));
			report(source, path, 0, err.text);
		}
	}
	struct folder *other = wd >= 0 ? find_wd(source, wd) : NULL;
	if (other && strcmp(other->path, path) != 0) {
		if (same_inode(other->path, path))
			return false;
		drop_folder(source, other, false); /* it was moved here */
	}
	struct folder *folder = find_folder(source, path);
	if (folder && folder->wd == wd) {
		folder->seen = true;
		return true;
	}
	bool broken = folder && folder->broken;
	if (folder)
		drop_folder(source, folder, true);
	add_folder(source, path, wd, depth)->broken = broken;
	return true;
}

static bool is_ignored(const char *name)
{
	size_t len = strlen(name);
	return !len || name[0] == '.' || name[len - 1] == '~';
}

static bool is_manifest(const char *name)
{
	const char *dot = strrchr(name, '.');
	return dot && !is_ignored(name) &&
	       (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0 || strcmp(dot, ".json") == 0);
}

static char *join(const char *folder, const char *name)
{
	size_t a = strlen(folder), b = strlen(name);
	char *path = xmalloc(a + b + 2);
	memcpy(path, folder, a);
	path[a] = '/';
	memcpy(path + a + 1, name, b + 1);
	return path;
}

static int walk_folder(struct file_source *source, const char *path, unsigned depth, struct err *reterr);

static void walk_file(struct file_source *source, const char *path, const struct stat *st)
{
	struct file *file = get_file(source, path);
	file->seen = true;
	if (file->giver.leaving) {
		file->giver.leaving = false;
		claims_touch(source->claims, &file->giver);
	}
	if (file_signature(st) != file->signature)
		mark_dirty(source, file);
}

static void walk_unreadable(struct file_source *source, const char *path)
{
	struct file *file = get_file(source, path);
	file->seen = true;
	if (file->giver.leaving)
		claims_touch(source->claims, &file->giver);
	mark_dirty(source, file); /* reading it will tell why it cannot be read */
}

static void on_remembered(void *ctx, const char *path)
{
	walk_unreadable(ctx, path);
}

/* Of a folder that cannot be read at the start, memory knows what was in it. */
static void set_folder_broken(struct file_source *source, const char *path, bool broken)
{
	struct folder *folder = find_folder(source, path);
	if (broken && !source->loaded && source->memory)
		file_memory_below(source->memory, path, on_remembered, source);
	if (!folder || folder->broken == broken)
		return;
	folder->broken = broken;
	if (!broken)
		report(source, path, 0, NULL);
}

static void walk_entry(struct file_source *source, const char *folder, const char *name, unsigned depth)
{
	if (is_ignored(name))
		return;
	char *path = join(folder, name);
	struct stat st;
	struct err err;
	if (stat(path, &st) == 0) {
		if (S_ISREG(st.st_mode) && is_manifest(name))
			walk_file(source, path, &st);
		else if (S_ISDIR(st.st_mode) && walk_folder(source, path, depth + 1, &err))
			report(source, path, 0, err.text);
	} else if (is_manifest(name) && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) {
		walk_unreadable(source, path);
	}
	free(path);
}

static int cmp_entry(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int walk_folder(struct file_source *source, const char *path, unsigned depth, struct err *reterr)
{
	if (depth > DEPTH_CEILING)
		return err_set(reterr, -ELOOP, "folders nested deeper than %d levels are not read", DEPTH_CEILING);
	/* Watch first, then look: what comes between is seen twice, not never. */
	if (!watch_folder(source, path, depth))
		return 0;
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, cmp_entry);
	if (n < 0) {
		n = -errno;
		set_folder_broken(source, path, true);
		return err_set(reterr, n, "%s: %s", path, strerror(-n));
	}
	set_folder_broken(source, path, false);
	for (int i = 0; i < n; i++) {
		walk_entry(source, path, entries[i]->d_name, depth);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

/* The folder at path moved away or was found to be gone: watches follow inodes, so they must be taken back. */
static void leave_below(struct file_source *source, const char *path, bool unseen_only)
{
	struct folder *folder, *next_folder;
	HASH_ITER(hh, source->folders, folder, next_folder)
	if ((is_below(folder->path, path) || (!unseen_only && strcmp(folder->path, path) == 0)) &&
	    !(unseen_only && folder->seen))
		drop_folder(source, folder, true);
	size_t n;
	struct file **files = list_files(source, path, &n);
	for (size_t i = 0; i < n; i++)
		if (!(unseen_only && files[i]->seen))
			leave(source, files[i]);
	free(files);
}

static void walk_again(struct file_source *source, const char *path, unsigned depth)
{
	struct folder *folder, *next_folder;
	HASH_ITER(hh, source->folders, folder, next_folder)
	if (is_below(folder->path, path))
		folder->seen = false;
	struct hashed_walk walk = {.set = &source->files};
	for (struct file *file; (file = hashed_walk(&walk));)
		if (is_below(file->path, path))
			file->seen = false;
	struct err err;
	if (walk_folder(source, path, depth, &err))
		report(source, path, 0, err.text);
	else
		leave_below(source, path, true);
}

/* ---- bursts ---- */

static void read_dirty(struct file_source *source)
{
	for (size_t i = 0; i < source->n_dirty; i++) {
		source->dirty[i]->dirty = false;
		read_file(source, source->dirty[i]);
	}
	free(source->dirty);
	source->dirty = NULL;
	source->n_dirty = source->cap_dirty = 0;
}

static void deliver(struct file_source *source, bool always)
{
	read_dirty(source);
	bool any = claims_deliver(source->claims);
	if (any || source->problems || always)
		source->events.settled(source->events.ctx);
	source->problems = false;
	if (source->memory)
		file_memory_settled(source->memory, source->n_unsaved);
}

/* A file that cannot be looked at, say for its folder's mode, is not gone. */
static bool is_gone(const char *path)
{
	struct stat st;
	if (stat(path, &st) == 0)
		return !S_ISREG(st.st_mode);
	return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
}

static void leave_now(struct file_source *source)
{
	uint64_t now = now_ms(source), next = 0;
	size_t n;
	struct file **files = list_files(source, NULL, &n);
	for (size_t i = 0; i < n; i++) {
		struct file *file = files[i];
		if (file->leave_at_ms > now) {
			if (!next || file->leave_at_ms < next)
				next = file->leave_at_ms;
		} else if (!is_gone(file->path)) {
			/* If it is being written anew, it is read when its writer closes it. */
			file->giver.leaving = false;
			claims_touch(source->claims, &file->giver);
		} else {
			drop_file(source, file);
		}
	}
	free(files);
	if (next)
		start_timer(source, next - now);
}

static void look_for_root(struct file_source *source)
{
	struct stat st;
	if (stat(source->root, &st) == 0 && S_ISDIR(st.st_mode)) {
		source->root_gone = false;
		report(source, source->root, 0, NULL);
		walk_again(source, source->root, 0);
	} else {
		start_timer(source, GONE_ROOT_MS);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct file_source *source = timer->data;
	leave_now(source);
	if (source->root_gone)
		look_for_root(source);
	deliver(source, false);
}

/* ---- inotify ---- */

static void on_root_gone(struct file_source *source)
{
	struct folder *root = find_folder(source, source->root);
	if (root)
		drop_folder(source, root, true);
	if (!source->root_gone)
		report(source, source->root, 0, "the folder is gone; it is read again when it is back");
	source->root_gone = true;
	start_timer(source, GONE_ROOT_MS);
}

static void on_folder_event(struct file_source *source, const struct folder *parent, const char *path, uint32_t mask)
{
	struct err err;
	const struct folder *folder = find_folder(source, path);
	if (mask & (IN_CREATE | IN_MOVED_TO)) {
		if (walk_folder(source, path, parent->depth + 1, &err))
			report(source, path, 0, err.text);
	} else if (mask & IN_ATTRIB) {
		if (folder && folder->broken)
			walk_again(source, path, folder->depth);
	} else if (mask & IN_MOVED_FROM) {
		leave_below(source, path, false);
	}
	/* A removed folder was empty: its files have told of themselves, its watch ends with IN_IGNORED. */
}

/* Does a name that has just come stand for something whole? A link does at once; a file when its last writer closes it,
 * which a read lease tells (fcntl(2), F_SETLEASE: refused while anybody has the file open for writing). Then no
 * IN_CLOSE_WRITE will come: it was a hard link, or the writer was quicker than we are. */
static bool is_whole(const char *path)
{
	struct stat st;
	if (lstat(path, &st))
		return false;
	if (!S_ISREG(st.st_mode))
		return S_ISLNK(st.st_mode);
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool whole = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
	close(fd); /* gives the lease back */
	return whole || st.st_nlink > 1;
}

static void on_file_event(struct file_source *source, const char *path, uint32_t mask)
{
	struct file *file = find_file(source, path);
	if (mask & (IN_DELETE | IN_MOVED_FROM)) {
		if (file)
			leave(source, file);
	} else if (mask & (IN_CLOSE_WRITE | IN_MOVED_TO) || (mask & IN_CREATE && is_whole(path)) ||
	           (mask & IN_ATTRIB && file && file->giver.broken)) {
		file = get_file(source, path);
		if (file->giver.leaving)
			claims_touch(source->claims, &file->giver);
		mark_dirty(source, file);
	}
}

static void on_named_event(struct file_source *source, const struct folder *folder, const char *name, uint32_t mask)
{
	if (strncmp(name, "..", 2) == 0) {
		if (mask & (IN_CREATE | IN_MOVED_TO) && !(mask & IN_ISDIR)) {
			char *again = xstrdup(folder->path);
			walk_again(source, again, folder->depth);
			free(again);
		}
		return;
	}
	if (is_ignored(name))
		return;
	char *path = join(folder->path, name);
	struct stat st;
	if (mask & IN_ISDIR)
		on_folder_event(source, folder, path, mask);
	else if (is_manifest(name))
		on_file_event(source, path, mask);
	else if (mask & (IN_CREATE | IN_MOVED_TO) && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		on_folder_event(source, folder, path, mask); /* a link to a folder */
	else if (mask & (IN_DELETE | IN_MOVED_FROM) && find_folder(source, path))
		leave_below(source, path, false);
	free(path);
}

static void on_event(struct file_source *source, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW) {
		walk_again(source, source->root, 0);
		return;
	}
	struct folder *folder = find_wd(source, event->wd);
	if (!folder)
		return;
	if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) {
		if (!folder->depth)
			on_root_gone(source);
		else if (!(event->mask & IN_MOVE_SELF))
			drop_folder(source, folder, false);
	} else if (event->len) {
		on_named_event(source, folder, event->name, event->mask);
	}
}

static void on_poll(uv_poll_t *poll, int status, int flags)
{
	struct file_source *source = poll->data;
	char buffer[64 * 1024] __attribute__((aligned(__alignof__(struct inotify_event))));
	/* Bounded: others live on this loop too, and the descriptor stays readable. */
	for (int i = 0; i < 32; i++) {
		ssize_t n = read(source->inotify, buffer, sizeof(buffer));
		if (n <= 0)
			break;
		for (char *at = buffer; at < buffer + n;) {
			const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
			on_event(source, event);
			at += sizeof(*event) + event->len;
		}
	}
	deliver(source, false);
}

/* ---- memory ---- */

/* Goes round the buckets; when the set has grown meanwhile, some files have their turn in the next round. */
static bool next_unsaved(void *ctx, const char **ret_path, uint64_t *ret_signature)
{
	struct file_source *source = ctx;
	while (source->n_unsaved) {
		struct hashed_walk walk = {.set = &source->files, .bucket = source->save_bucket};
		for (struct file *file; (file = hashed_walk(&walk));) {
			if (!file->unsaved)
				continue;
			set_unsaved(source, file, false);
			source->save_bucket = walk.bucket - 1; /* there may be more in it */
			*ret_path = file->path;
			*ret_signature = file->signature;
			return true;
		}
		source->save_bucket = 0;
	}
	return false;
}

static void on_memory_problem(void *ctx, const char *dir, const char *text)
{
	struct file_source *source = ctx;
	source->events.problem(source->events.ctx, dir, 0, text);
}

static int open_memory(struct file_source *source, uv_loop_t *loop, const char *dir, struct err *reterr)
{
	const struct file_memory_events events = {next_unsaved, on_memory_problem, source};
	return dir ? file_memory_open(loop, dir, source->root, &events, &source->memory, reterr) : 0;
}

/* ---- opening, closing ---- */

static void free_source(struct file_source *source)
{
	struct hashed_walk walk = {.set = &source->files};
	for (struct file *file; (file = hashed_walk(&walk));) {
		claims_forget(&file->giver);
		free(file);
	}
	hashed_done(&source->files);
	free(source->dirty);
	struct folder *folder, *next_folder;
	HASH_ITER(hh, source->folders, folder, next_folder)
	drop_folder(source, folder, false);
	if (source->claims)
		claims_free(source->claims);
	if (source->inotify >= 0)
		close(source->inotify);
	free(source);
}

static struct file_source *new_source(const char *dir, const struct source_events *events)
{
	size_t len = strlen(dir);
	while (len > 1 && dir[len - 1] == '/')
		len--;
	struct file_source *source = xcalloc(1, sizeof(*source) + len + 1);
	memcpy(source->root, dir, len);
	source->inotify = -1;
	source->events = *events;
	hashed_init(&source->files);
	return source;
}

static int read_all(struct file_source *source, struct err *reterr)
{
	source->claims = claims_new(&source->events, source->memory);
	int status = walk_folder(source, source->root, 0, reterr);
	source->loaded = true;
	if (!status)
		deliver(source, true);
	return status;
}

static int open_inotify(struct file_source *source, uv_loop_t *loop, struct err *reterr)
{
	source->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (source->inotify < 0)
		return err_set(reterr, -errno, "inotify: %s", strerror(errno));
	int status = uv_poll_init(loop, &source->poll, source->inotify);
	if (status)
		return err_set(reterr, status, "inotify: %s", uv_strerror(status));
	source->loop = loop;
	source->poll.data = source->timer.data = source;
	BUG_ON(uv_timer_init(loop, &source->timer));
	return 0;
}

int file_source_check(const char *dir, struct err *reterr)
{
	struct stat st;
	int status = stat(dir, &st) ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (!status && access(dir, R_OK | X_OK))
		status = -errno;
	if (status == -ENOTDIR)
		return err_set(reterr, status, "%s: not a directory", dir);
	return status ? err_set(reterr, status, "%s: %s", dir, strerror(-status)) : 0;
}

int file_source_open(uv_loop_t *loop, const char *dir, const char *memory_dir, const struct source_events *events,
                     struct file_source **ret, struct err *reterr)
{
	int status = file_source_check(dir, reterr);
	if (status)
		return status;
	struct file_source *source = new_source(dir, events);
	status = open_inotify(source, loop, reterr);
	if (status) {
		free_source(source);
		return status;
	}
	status = open_memory(source, loop, memory_dir, reterr);
	if (!status)
		status = read_all(source, reterr);
	if (!status)
		status = uv_poll_start(&source->poll, UV_READABLE, on_poll);
	if (status) {
		file_source_close(source, NULL, NULL);
		return status;
	}
	*ret = source;
	return 0;
}

static void close_one(struct file_source *source)
{
	if (--source->closing)
		return;
	void (*closed)(void *) = source->closed;
	void *ctx = source->closed_ctx;
	free_source(source);
	if (closed)
		closed(ctx);
}

static void on_close(uv_handle_t *handle)
{
	close_one(handle->data);
}

static void on_memory_closed(void *ctx)
{
	close_one(ctx);
}

void file_source_close(struct file_source *source, void (*cb)(void *ctx), void *ctx)
{
	source->closed = cb;
	source->closed_ctx = ctx;
	source->closing = source->memory ? 3 : 2;
	if (source->memory)
		file_memory_close(source->memory, on_memory_closed, source);
	uv_close((uv_handle_t *)&source->poll, on_close);
	uv_close((uv_handle_t *)&source->timer, on_close);
}

int file_source_read(const char *dir, const struct source_events *events, struct err *reterr)
{
	int status = file_source_check(dir, reterr);
	if (status)
		return status;
	struct file_source *source = new_source(dir, events);
	/* Watches tell folders apart that links lead to twice; without them a loop of links ends at DEPTH_CEILING. */
	source->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	status = read_all(source, reterr);
	free_source(source);
	return status;
}
