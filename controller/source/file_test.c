/* The folder source on real folders with a real loop: every way editors and kubelets have of changing a file. */
#include "controller/source/file.h"

#include "hatchway/base/buf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define OBJECTS_MAX 20000

static struct {
	uv_loop_t loop;
	char dir[64];
	struct file_source *source;
	struct source_events events;
	struct object *objects[OBJECTS_MAX]; /* what is there now */
	size_t n;
	struct buf seen; /* "+a:1 -b ! " since last taken: put name:generation, delete, settled */
	struct buf problems;
	bool open;
	bool memory; /* what an earlier run knew is kept, in memory_dir() */
} t;

/* ---- events ---- */

static struct object **find(enum object_kind kind, const char *namespace, const char *name)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.objects[i]->kind == kind && strcmp(t.objects[i]->namespace, namespace) == 0 &&
		    strcmp(t.objects[i]->name, name) == 0)
			return &t.objects[i];
	return NULL;
}

static void on_put(void *ctx, struct object *object)
{
	struct object **at = t.n < 2000 ? find(object->kind, object->namespace, object->name) : NULL;
	buf_addf(&t.seen, "+%s:%d ", object->name, (int)object->generation);
	if (at) {
		object_unref(*at);
		*at = object;
		return;
	}
	assert_true(t.n < OBJECTS_MAX);
	t.objects[t.n++] = object;
}

static void on_delete(void *ctx, enum object_kind kind, const char *namespace, const char *name)
{
	struct object **at = find(kind, namespace, name);
	assert_non_null(at);
	buf_addf(&t.seen, "-%s ", name);
	object_unref(*at);
	*at = t.objects[--t.n];
}

static void on_settled(void *ctx)
{
	buf_adds(&t.seen, "! ");
}

static void on_problem(void *ctx, const char *path, unsigned line, const char *text)
{
	buf_addf(&t.problems, "%s:%u: %s\n", path + strlen(t.dir), line, text ? text : "fine");
}

/* ---- the folder ---- */

static const char *path_of(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", t.dir, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static const char *memory_dir(void)
{
	static char path[80];
	snprintf(path, sizeof(path), "%s-memory", t.dir);
	return path;
}

/* A Service with one port: enough to be told apart. Four texts may live at once. */
static const char *service(const char *name, int port)
{
	static char texts[4][256];
	static unsigned next;
	char *text = texts[next++ % 4];
	snprintf(text, sizeof(texts[0]),
	         "apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\nspec:\n  ports:\n  - port: %d\n---\n", name,
	         port);
	return text;
}

static void remove_file(const char *name)
{
	assert_int_equal(unlink(path_of(name)), 0);
}

static void move(const char *from, const char *to)
{
	assert_int_equal(rename(path_of(from), path_of(to)), 0);
}

static void make_dir(const char *name)
{
	assert_int_equal(mkdir(path_of(name), 0755), 0);
}

/* ---- expectations ---- */

static void on_alarm(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* Runs the loop for ms. */
static void run_ms(unsigned ms)
{
	bool over = false;
	uv_timer_t timer;
	timer.data = &over;
	uv_update_time(&t.loop);
	assert_int_equal(uv_timer_init(&t.loop, &timer), 0);
	assert_int_equal(uv_timer_start(&timer, on_alarm, ms, 0), 0);
	while (!over)
		uv_run(&t.loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&t.loop, UV_RUN_NOWAIT);
}

static void expect_buf(struct buf *have, const char *wanted)
{
	if (strcmp(have->data, wanted) != 0)
		fail_msg("wanted \"%s\"\nhave   \"%s\"", wanted, have->data);
	buf_clear(have);
}

/* What one turn of the loop brings, without waiting. */
static void expect_now(const char *wanted)
{
	uv_run(&t.loop, UV_RUN_NOWAIT);
	expect_buf(&t.seen, wanted);
}

/* What comes until everything that vanished is believed gone. */
static void expect_later(const char *wanted)
{
	run_ms(180);
	expect_buf(&t.seen, wanted);
}

/* In wanted, DIR stands for the folder. */
static void expect_problem(const char *wanted)
{
	struct buf text;
	buf_init(&text, 1 << 16);
	for (const char *at; (at = strstr(wanted, "DIR")); wanted = at + 3) {
		buf_add(&text, wanted, (size_t)(at - wanted));
		buf_adds(&text, t.dir);
	}
	buf_adds(&text, wanted);
	expect_buf(&t.problems, text.data);
	buf_done(&text);
}

static void open_source(const char *wanted)
{
	struct err err;
	int status = file_source_open(&t.loop, t.dir, t.memory ? memory_dir() : NULL, &t.events, &t.source, &err);
	if (status)
		fail_msg("%s", err.text);
	t.open = true;
	expect_buf(&t.seen, wanted);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw);

static void on_closed(void *ctx);

/* As if the controller ended, with all its work done or at once; what it delivered is forgotten. */
static void close_source(unsigned after_ms)
{
	bool closed = false;
	if (after_ms)
		run_ms(after_ms);
	file_source_close(t.source, on_closed, &closed);
	while (!closed)
		uv_run(&t.loop, UV_RUN_ONCE);
	t.open = false;
	while (t.n)
		object_unref(t.objects[--t.n]);
	buf_clear(&t.seen);
	buf_clear(&t.problems);
}

static int setup(void **state)
{
	memset(&t, 0, sizeof(t));
	buf_init(&t.seen, 1 << 22);
	buf_init(&t.problems, 1 << 20);
	/* In memory if there is such a place: other programs' disk traffic would make the sizes test slow. */
	snprintf(t.dir, sizeof(t.dir), "%s/hatchway-file-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	t.events = (struct source_events){on_put, on_delete, on_settled, on_problem, NULL};
	return !mkdtemp(t.dir) || uv_loop_init(&t.loop);
}

static int setup_memory(void **state)
{
	int status = setup(state);
	t.memory = true;
	return status;
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static int teardown(void **state)
{
	bool closed = !t.open;
	if (t.open)
		file_source_close(t.source, on_closed, &closed);
	uv_run(&t.loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < t.n; i++)
		object_unref(t.objects[i]);
	buf_done(&t.seen);
	buf_done(&t.problems);
	nftw(t.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	nftw(memory_dir(), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return !closed || uv_loop_close(&t.loop);
}

/* ---- saving ---- */

static void test_open(void **state)
{
	make_dir("sub");
	write_file("b.yaml", service("b", 1));
	write_file("a.yml", service("a", 1));
	write_file("sub/c.json", "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"c\"}}");
	write_file("no.txt", service("x", 1));
	write_file(".hidden.yaml", service("x", 1));
	write_file("b.yaml~", service("x", 1));
	write_file("empty.yaml", "");
	open_source("+a:1 +b:1 +c:1 ! ");
	expect_problem("");
	expect_later("");
}

static void test_missing_folder(void **state)
{
	struct err err;
	struct file_source *source;
	assert_int_equal(file_source_open(&t.loop, path_of("none"), NULL, &t.events, &source, &err), -ENOENT);
	assert_non_null(strstr(err.text, "none: No such file or directory"));
	assert_int_equal(file_source_read(path_of("none"), &t.events, &err), -ENOENT);
}

static void test_write_in_place(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	write_file("a.yaml", service("a", 2));
	expect_now("+a:2 ! ");
	write_file("a.yaml", service("a", 2));
	expect_now("");
	write_file("new.yaml", service("b", 1));
	expect_now("+b:1 ! ");
	int fd = open(path_of("a.yaml"), O_WRONLY | O_TRUNC);
	expect_now("");
	assert_true(write(fd, "apiVersion: v1\nkind: Serv", 25) == 25);
	expect_later(""); /* half of it is nobody's business */
	close(fd);
	expect_now("-a ! "); /* apiVersion v1, kind Serv: not a kind we read */
	expect_problem("");
}

static void test_tmp_and_rename(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	write_file(".a.yaml.swp", "not: [yaml");
	write_file("a.yaml.tmp", service("a", 2));
	expect_now("");
	move("a.yaml.tmp", "a.yaml");
	expect_now("+a:2 ! ");
	expect_problem("");
	expect_later("");
}

/* vim with backup: the file is renamed away, a new one written under its name, the backup removed. */
static void test_vim_backup(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	move("a.yaml", "a.yaml~");
	expect_now("");
	write_file("a.yaml", service("a", 2));
	remove_file("a.yaml~");
	expect_now("+a:2 ! ");
	expect_later("");
}

/* A slow writer: renamed away, created, and not closed before patience ends. */
static void test_slow_rewrite(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	move("a.yaml", "a.yaml~");
	int fd = open(path_of("a.yaml"), O_WRONLY | O_CREAT, 0644);
	expect_later("");
	const char *text = service("a", 2);
	assert_true(write(fd, text, strlen(text)) > 0);
	expect_later("");
	close(fd);
	expect_now("+a:2 ! ");
	expect_later("");
}

static void test_delete_and_create(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	remove_file("a.yaml");
	expect_now("");
	write_file("a.yaml", service("a", 1));
	expect_now("");
	expect_later("");
	remove_file("a.yaml");
	expect_later("-a ! ");
	write_file("a.yaml", service("a", 1));
	expect_now("+a:1 ! ");
}

static void test_links(void **state)
{
	write_file("target.txt", service("a", 1));
	open_source("! ");
	assert_int_equal(link(path_of("target.txt"), path_of("hard.yaml")), 0);
	expect_now("+a:1 ! ");
	remove_file("hard.yaml");
	expect_later("-a ! ");
	assert_int_equal(symlink("target.txt", path_of("soft.yaml")), 0);
	expect_now("+a:1 ! ");
	assert_int_equal(symlink(".", path_of("loop")), 0);
	expect_now("");
	expect_problem("");
}

/* As kubelet writes a ConfigMap volume. */
static void test_config_map_mount(void **state)
{
	make_dir("..1");
	write_file("..1/a.yaml", service("a", 1));
	write_file("..1/b.yaml", service("b", 1));
	assert_int_equal(symlink("..1", path_of("..data")), 0);
	assert_int_equal(symlink("..data/a.yaml", path_of("a.yaml")), 0);
	assert_int_equal(symlink("..data/b.yaml", path_of("b.yaml")), 0);
	open_source("+a:1 +b:1 ! ");
	make_dir("..2");
	write_file("..2/a.yaml", service("a", 2));
	write_file("..2/b.yaml", service("b", 1));
	assert_int_equal(symlink("..2", path_of("..data_tmp")), 0);
	move("..data_tmp", "..data");
	expect_now("+a:2 ! ");
	remove_file("..1/a.yaml");
	remove_file("..1/b.yaml");
	assert_int_equal(rmdir(path_of("..1")), 0);
	expect_later("");
	expect_problem("");
}

/* ---- folders ---- */

static void test_folders(void **state)
{
	open_source("! ");
	make_dir("x");
	make_dir("x/y");
	write_file("x/y/a.yaml", service("a", 1));
	expect_now("+a:1 ! ");
	write_file("x/y/a.yaml", service("a", 2));
	expect_now("+a:2 ! ");
	move("x", "z");
	expect_now("");
	expect_later("");
	expect_problem("");
	write_file("z/y/a.yaml", service("a", 3));
	expect_now("+a:3 ! ");
	remove_file("z/y/a.yaml");
	assert_int_equal(rmdir(path_of("z/y")), 0);
	assert_int_equal(rmdir(path_of("z")), 0);
	expect_later("-a ! ");
	make_dir("z");
	write_file("z/a.yaml", service("a", 1));
	expect_now("+a:1 ! ");
	move("z", ".z");
	expect_later("-a ! ");
	move(".z", "z");
	expect_now("+a:1 ! ");
}

static void test_root_comes_back(void **state)
{
	char away[80];
	snprintf(away, sizeof(away), "%s-away", t.dir);
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	assert_int_equal(rename(t.dir, away), 0);
	expect_now("! ");
	expect_problem(":0: the folder is gone; it is read again when it is back\n");
	assert_int_equal(rename(away, t.dir), 0);
	write_file("b.yaml", service("b", 1));
	run_ms(1200);
	expect_buf(&t.seen, "+b:1 ! ");
	expect_problem(":0: fine\n");
	write_file("b.yaml", service("b", 2));
	expect_now("+b:2 ! ");
}

/* ---- content ---- */

static void test_broken(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	write_file("a.yaml", "a: [1\n");
	expect_now("! ");
	expect_problem(
	    "/a.yaml:2: did not find expected ',' or ']', while parsing a flow sequence from line 1; its last "
	    "good content stays\n");
	write_file("a.yaml", service("a", 1));
	expect_now("! ");
	expect_problem("/a.yaml:0: fine\n");
	/* One object is refused: it stays as it was, the others go on, and what is not there any more stays too. */
	char text[800];
	snprintf(text, sizeof(text), "%s%s%s", service("a", 0), service("b", 2), service("c", 3));
	write_file("a.yaml", text);
	expect_now("+b:1 +c:1 ! ");
	expect_problem("/a.yaml:7: Service default/a: spec.ports[0].port: Invalid value: 0: should be greater than or "
	               "equal to 1; nothing it gave before is taken back\n");
	write_file("a.yaml", service("b", 2));
	expect_now("-c -a ! ");
	expect_problem("/a.yaml:0: fine\n");
	write_file("a.yaml", "kind: Service\n");
	expect_now("! ");
	expect_problem("/a.yaml:1: Object 'apiVersion' is missing; nothing it gave before is taken back\n");
	remove_file("a.yaml");
	expect_later("-b ! ");
	expect_problem("/a.yaml:0: fine\n");
}

static void test_list(void **state)
{
	open_source("! ");
	write_file(
	    "l.yaml",
	    "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: x}}\n- "
	    "{apiVersion: v1, "
	    "kind: Pod, metadata: {name: p}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: z}}\n- {kind: List, "
	    "apiVersion: v1, items: []}\n");
	expect_now("+x:1 +z:1 ! ");
	expect_problem("");
}

static void test_generation(void **state)
{
	open_source("! ");
	write_file("a.yaml",
	           "{apiVersion: v1, kind: Service, metadata: {name: a, generation: 5}, spec: {ports: [{port: 1}]}}");
	expect_now("+a:5 ! ");
	write_file("a.yaml", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 2}]}}");
	expect_now("+a:6 ! ");
	write_file("a.yaml", "{apiVersion: v1, kind: Service, metadata: {name: a, labels: {x: z}, annotations: {p: "
	                     "q}}, spec: {ports: [{port: 2}]}}");
	expect_now("");
	write_file("n.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: space}}");
	expect_now("+space:1 ! ");
	write_file("n.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: space, labels: {x: z}}}");
	expect_now("+space:1 ! ");
}

static void test_two_files(void **state)
{
	write_file("b.yaml", service("s", 2));
	open_source("+s:1 ! ");
	write_file("c.yaml", service("s", 3));
	expect_now("");
	expect_problem("/c.yaml:1: Service default/s is already given by DIR/b.yaml; this one is ignored\n");
	write_file("a.yaml", service("s", 1));
	expect_now("+s:2 ! ");
	expect_problem("/b.yaml:1: Service default/s is already given by DIR/a.yaml; this one is ignored\n");
	remove_file("a.yaml");
	expect_now("+s:3 ! "); /* no need to wait: another file has it */
	expect_later("");
	expect_problem("/b.yaml:0: fine\n");
	remove_file("b.yaml");
	expect_now("+s:4 ! ");
	expect_problem("/c.yaml:0: fine\n");
	remove_file("c.yaml");
	expect_later("-s ! ");
	expect_problem("");
	write_file("d.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: q}}\n---\n{apiVersion: v1, kind: "
	                     "Namespace, metadata: {name: q}}\n");
	expect_now("+q:1 ! ");
	expect_problem("/d.yaml:3: this object is given twice in this file; the first counts\n");
}

/* An object moves from one file to another: nobody sees it gone. */
static void test_moved_object(void **state)
{
	write_file("a.yaml", service("s", 1));
	open_source("+s:1 ! ");
	move("a.yaml", "b.yaml");
	expect_now("");
	expect_later("");
	expect_problem("");
	write_file("c.yaml", service("s", 2));
	write_file("b.yaml", "");
	expect_now("+s:2 ! ");
}

static void test_unreadable(void **state)
{
	make_dir("dir.yaml");
	assert_int_equal(mkfifo(path_of("fifo.yaml"), 0644), 0);
	assert_int_equal(symlink("nowhere", path_of("dangling.yaml")), 0);
	open_source("! ");
	expect_problem("");
	write_file("b.yaml", "\xff\xfe\x00");
	uv_run(&t.loop, UV_RUN_NOWAIT);
	assert_int_equal(strncmp(t.problems.data, "/b.yaml:1: ", 11), 0);
}

/* ---- memory ---- */

static size_t count_copies(void)
{
	size_t n = 0;
	DIR *dir = opendir(memory_dir());
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += strstr(entry->d_name, ".copy") != NULL;
	closedir(dir);
	return n;
}

#define SOON 150
#define AFTER_FIRST 1300

static void test_memory_broken_at_start(void **state)
{
	char text[800];
	write_file("a.yaml", service("a", 1));
	write_file("b.yaml", service("b", 1));
	snprintf(text, sizeof(text), "\xef\xbb\xbf%s%s", service("c", 1), service("d", 1));
	write_file("c.yaml", text);
	open_source("+a:1 +b:1 +c:1 +d:1 ! ");
	write_file("a.yaml", service("a", 7));
	expect_now("+a:2 ! ");
	close_source(AFTER_FIRST);
	assert_int_equal(count_copies(), 3);
	/* One is no YAML, one is no file that can be read, of one an object is refused. */
	write_file("a.yaml", "a: [1\n");
	remove_file("b.yaml");
	assert_int_equal(mkfifo(path_of("b.yaml"), 0644), 0);
	snprintf(text, sizeof(text), "%s%s", service("c", 0), service("d", 9));
	write_file("c.yaml", text);
	open_source("+a:1 +c:1 +d:1 ! ");
	assert_int_equal(((struct service *)*find(KIND_SERVICE, "default", "a"))->ports[0].port, 7);
	assert_int_equal(((struct service *)*find(KIND_SERVICE, "default", "c"))->ports[0].port, 1);
	assert_int_equal(((struct service *)*find(KIND_SERVICE, "default", "d"))->ports[0].port, 9);
	expect_problem(
	    "/a.yaml:2: did not find expected ',' or ']', while parsing a flow sequence from line 1; its last "
	    "good content, of an earlier run, stays\n"
	    "/c.yaml:7: Service default/c: spec.ports[0].port: Invalid value: 0: should be greater than or "
	    "equal to 1; nothing it gave in an earlier run is taken back\n");
	/* Still broken the time after that; then mended. */
	close_source(AFTER_FIRST);
	open_source("+a:1 +c:1 +d:1 ! ");
	buf_clear(&t.problems);
	write_file("a.yaml", service("a", 8));
	expect_now("+a:2 ! ");
	expect_problem("/a.yaml:0: fine\n");
	write_file("a.yaml", "a: [1\n");
	expect_now("! ");
	expect_problem(
	    "/a.yaml:2: did not find expected ',' or ']', while parsing a flow sequence from line 1; its last "
	    "good content stays\n");
}

/* Broken right after the very first start, and the controller is killed: what was read is not lost. */
static void test_memory_broken_soon(void **state)
{
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	run_ms(SOON);
	write_file("a.yaml", "a: [1\n");
	expect_now("! ");
	close_source(SOON);
	open_source("+a:1 ! ");
}

/* chmod 0 of files and folders, seen as somebody whom modes bind. */
static void test_memory_unreadable(void **state)
{
	assert_int_equal(chmod(t.dir, 0755), 0);
	assert_int_equal(mkdir(memory_dir(), 0777), 0);
	assert_int_equal(chmod(memory_dir(), 0777), 0);
	make_dir("dir");
	write_file("a.yaml", service("a", 1));
	write_file("dir/b.yaml", service("b", 1));
	open_source("+a:1 +b:1 ! ");
	close_source(AFTER_FIRST);
	assert_int_equal(chmod(path_of("a.yaml"), 0), 0);
	assert_int_equal(chmod(path_of("dir"), 0), 0);
	DIR *copies = opendir(memory_dir());
	for (struct dirent *entry; (entry = readdir(copies));)
		assert_int_equal(fchmodat(dirfd(copies), entry->d_name, entry->d_name[0] == '.' ? 0777 : 0644, 0), 0);
	closedir(copies);
	setfsuid(65534);
	open_source("+a:1 +b:1 ! ");
	assert_non_null(strstr(t.problems.data,
	                       "/a.yaml:0: cannot be opened: Permission denied; its last good content, of "
	                       "an earlier run, stays\n"));
	assert_non_null(strstr(t.problems.data, "/dir/b.yaml:0: cannot be opened: Permission denied; its last good "
	                                        "content, of an earlier run, stays\n"));
	buf_clear(&t.problems);
	setfsuid(geteuid());
	write_file("a.yaml", service("a", 2));
	assert_int_equal(chmod(path_of("a.yaml"), 0644), 0);
	assert_int_equal(chmod(path_of("dir"), 0755), 0);
	run_ms(SOON);
	expect_buf(&t.seen, "+a:2 ! ");
	expect_problem("/dir:0: fine\n/a.yaml:0: fine\n/dir/b.yaml:0: fine\n");
	/* While it runs: a walk over everything (as a ConfigMap's new version brings it) must not take them for gone.
	 */
	assert_int_equal(chmod(path_of("dir"), 0), 0);
	assert_int_equal(symlink("x", path_of("..data")), 0);
	setfsuid(65534);
	run_ms(2 * SOON);
	setfsuid(geteuid());
	expect_buf(&t.seen, "! ");
	assert_non_null(strstr(t.problems.data, "/dir:0: "));
	assert_int_equal(t.n, 2);
}

/* What vanished while nobody looked is gone, with its copy; what vanishes later, too. */
static void test_memory_forgets(void **state)
{
	write_file("a.yaml", service("a", 1));
	write_file("b.yaml", service("b", 1));
	write_file("bad.yaml", "a: [1\n");
	open_source("+a:1 +b:1 ! ");
	expect_problem("/bad.yaml:2: did not find expected ',' or ']', while parsing a flow sequence from line 1\n");
	close_source(AFTER_FIRST);
	assert_int_equal(count_copies(), 2);
	remove_file("b.yaml");
	open_source("+a:1 ! ");
	run_ms(AFTER_FIRST);
	assert_int_equal(count_copies(), 1);
	write_file("c.yaml", service("c", 1));
	run_ms(SOON);
	assert_int_equal(count_copies(), 2);
	remove_file("a.yaml");
	run_ms(100 + SOON);
	assert_int_equal(count_copies(), 1);
	/* Written and broken at once: the last good copy is an older one, never the broken text. */
	write_file("c.yaml", service("c", 2));
	uv_run(&t.loop, UV_RUN_NOWAIT);
	write_file("c.yaml", "c: [1\n");
	close_source(SOON);
	open_source("+c:1 ! ");
}

/* Whatever stands in the folder. */
static void test_memory_hostile(void **state)
{
	static const char *const texts[] = {"", "# ", "# 0000000000000000 \n", "# 0123456789abcdef /etc/passwd\n[",
	                                    "no header at all, but long enough to be one\n"};
	char name[200], text[200];
	write_file("a.yaml", service("a", 1));
	open_source("+a:1 ! ");
	close_source(AFTER_FIRST);
	DIR *dir = opendir(memory_dir());
	char copy[64] = "";
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strstr(entry->d_name, ".copy"))
			snprintf(copy, sizeof(copy), "%.60s", entry->d_name);
	closedir(dir);
	write_file("a.yaml", "a: [1\n");
	snprintf(name, sizeof(name), "../%s/%s", strrchr(memory_dir(), '/') + 1, copy);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		write_file(name, texts[i]);
		open_source("! ");
		close_source(0);
	}
	/* The file's own copy, spoilt. */
	snprintf(text, sizeof(text), "# 0000000000000000 %s/a.yaml\n}{", t.dir);
	write_file(name, text);
	open_source("! ");
	close_source(0);
	snprintf(text, sizeof(text), "../%s/births", strrchr(memory_dir(), '/') + 1);
	write_file(text, "\n+\n+ \n-\n- \n+ Gateway\n+ 5\n+ Gateway a/b 99999999999999999999\n+ Gateway a/b -1\n"
	                 "+ Gateway a/b\n+ Gateway default/g 5\n+ HTTPRoute default/r 12345x\n+ Gateway cut/off 12");
	write_file("g.yaml", "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g}, spec: "
	                     "{gatewayClassName: c, listeners: [{name: l, port: 1, protocol: HTTP}]}}");
	open_source("+g:1 ! ");
	assert_int_equal((*find(KIND_GATEWAY, "default", "g"))->created, 5);
}

/* ---- ages ---- */

static const char *gateway(const char *name, int port, const char *metadata)
{
	static char texts[4][400];
	static unsigned next;
	char *text = texts[next++ % 4];
	snprintf(text, sizeof(texts[0]),
	         "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: %s%s}, spec: "
	         "{gatewayClassName: c, listeners: [{name: l, port: %d, protocol: HTTP}]}}\n",
	         name, metadata, port);
	return text;
}

static int64_t created(const char *name)
{
	struct object **object = find(KIND_GATEWAY, "default", name);
	assert_non_null(object);
	return (*object)->created;
}

static void test_ages(void **state)
{
	int64_t begin = time(NULL);
	write_file("m.yaml", gateway("m", 1, ""));
	write_file("p.yaml", gateway("p", 1, ""));
	write_file("o.yaml", gateway("old", 1, ", creationTimestamp: '1970-01-01T00:01:40Z'"));
	write_file("s.yaml", service("s", 1));
	open_source("+m:1 +old:1 +p:1 +s:1 ! ");
	int64_t first = created("m");
	assert_true(first >= begin && first <= time(NULL));
	assert_int_equal(created("p"), first);
	assert_int_equal(created("old"), 100);
	assert_int_equal((*find(KIND_SERVICE, "default", "s"))->created, 0);
	/* In the same second, but later. */
	write_file("a.yaml", gateway("a", 1, ""));
	expect_now("+a:1 ! ");
	assert_true(created("a") > first);
	/* A change, a move, a broken text, another file's turn: none makes it younger. */
	write_file("m.yaml", gateway("m", 2, ""));
	expect_now("+m:2 ! ");
	move("m.yaml", "l.yaml");
	expect_now("");
	write_file("l.yaml", "x: [");
	expect_now("! ");
	write_file("k.yaml", gateway("m", 3, ""));
	expect_now("+m:3 ! ");
	assert_int_equal(created("m"), first);
	remove_file("l.yaml");
	expect_later("! ");
	/* The API server drops the date of a deleted object; so do we. */
	remove_file("p.yaml");
	expect_later("-p ! ");
	int64_t before = created("a");
	write_file("p.yaml", gateway("p", 1, ""));
	expect_now("+p:1 ! ");
	assert_true(created("p") > before);
	/* A date that is taken out of the text stays. */
	write_file("o.yaml", gateway("old", 1, ""));
	expect_now("");
	int64_t a = created("a"), p = created("p");
	close_source(SOON);
	write_file("b.yaml", gateway("b", 1, ""));
	write_file("0.yaml", gateway("c", 1, ""));
	open_source("+c:1 +a:1 +b:1 +m:1 +old:1 +p:1 +s:1 ! ");
	assert_int_equal(created("m"), first);
	assert_int_equal(created("a"), a);
	assert_int_equal(created("p"), p);
	assert_int_equal(created("old"), 100);
	assert_true(created("b") > p);
	assert_int_equal(created("b"), created("c"));
	int64_t b = created("b");
	close_source(AFTER_FIRST);
	open_source("+c:1 +a:1 +b:1 +m:1 +old:1 +p:1 +s:1 ! ");
	assert_int_equal(created("m"), first);
	assert_int_equal(created("b"), b);
	/* An object that ended does not come back from the log. */
	remove_file("a.yaml");
	run_ms(AFTER_FIRST);
	close_source(SOON);
	write_file("a.yaml", gateway("a", 1, ""));
	open_source("+c:1 +a:1 +b:1 +m:1 +old:1 +p:1 +s:1 ! ");
	assert_true(created("a") > b);
	close_source(0);
	/* Nobody remembers: all are equally old. */
	struct err err;
	assert_int_equal(file_source_read(t.dir, &t.events, &err), 0);
	assert_int_equal(created("m"), 0);
	assert_int_equal(created("a"), 0);
}

static void test_not_a_directory(void **state)
{
	struct err err;
	write_file("a.yaml", service("a", 1));
	assert_int_equal(file_source_open(&t.loop, path_of("a.yaml"), NULL, &t.events, &t.source, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "a.yaml: not a directory"));
	assert_int_equal(file_source_read(path_of("a.yaml"), &t.events, &err), -ENOTDIR);
	assert_int_equal(file_source_check(path_of("a.yaml"), &err), -ENOTDIR);
	assert_int_equal(file_source_check(t.dir, &err), 0);
	assert_int_equal(file_source_open(&t.loop, t.dir, path_of("no/memory"), &t.events, &t.source, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no/memory: cannot be created"));
}

/* ---- laws and sizes ---- */

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int cmp_object(const void *a, const void *b)
{
	return object_cmp_key(*(struct object *const *)a, *(struct object *const *)b);
}

static void dump_objects(struct buf *out)
{
	qsort(t.objects, t.n, sizeof(t.objects[0]), cmp_object);
	for (size_t i = 0; i < t.n; i++)
		buf_addf(out, "%s %s/%s %016llx\n", object_kind_name(t.objects[i]->kind), t.objects[i]->namespace,
		         t.objects[i]->name, (unsigned long long)t.objects[i]->spec_hash);
}

static void forget_objects(void)
{
	while (t.n)
		object_unref(t.objects[--t.n]);
}

/* The same objects, in any order, in any split over files and folders, are the same set. */
static void test_any_split(void **state)
{
	enum { N = 60, ROUNDS = 20 };
	struct buf first, now;
	buf_init(&first, 1 << 20);
	buf_init(&now, 1 << 20);
	for (int round = 0; round < ROUNDS; round++) {
		struct buf files[7];
		int order[N] = {0};
		for (size_t i = 0; i < ARRAY_LEN(files); i++)
			buf_init(&files[i], 1 << 20);
		for (int i = 0; i < N; i++) {
			int k = (int)(next_random() % (uint64_t)(i + 1));
			order[i] = order[k];
			order[k] = i;
		}
		char name[32];
		for (int i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "s%d", order[i]);
			buf_adds(&files[next_random() % ARRAY_LEN(files)], service(name, 1 + order[i]));
		}
		snprintf(name, sizeof(name), "r%d", round);
		make_dir(name);
		for (size_t i = 0; i < ARRAY_LEN(files); i++) {
			snprintf(name, sizeof(name), "r%d/%zu.yaml", round, i);
			write_file(name, files[i].data);
			buf_done(&files[i]);
		}
		snprintf(name, sizeof(name), "r%d", round);
		struct err err;
		assert_int_equal(file_source_read(path_of(name), &t.events, &err), 0);
		assert_int_equal(t.n, N);
		dump_objects(round ? &now : &first);
		if (round)
			assert_string_equal(now.data, first.data);
		buf_clear(&now);
		forget_objects();
	}
	expect_problem("");
	buf_done(&first);
	buf_done(&now);
}

/* Random changes, then: what was delivered piece by piece is what a fresh reading gives. */
static void test_random_walk(void **state)
{
	open_source("! ");
	for (int step = 0; step < 300; step++) {
		char file[32], other[32], name[32];
		snprintf(file, sizeof(file), "f%d.yaml", (int)(next_random() % 5));
		snprintf(other, sizeof(other), "f%d.yaml", (int)(next_random() % 5));
		snprintf(name, sizeof(name), "s%d", (int)(next_random() % 6));
		switch (next_random() % 6) {
		case 0:
			unlink(path_of(file));
			break;
		case 1:
			rename(path_of(file), path_of(other));
			break;
		case 2:
			write_file("tmp", service(name, 1 + (int)(next_random() % 9)));
			move("tmp", file);
			break;
		default:
			write_file(file, service(name, 1 + (int)(next_random() % 9)));
		}
		if (next_random() % 3 == 0)
			uv_run(&t.loop, UV_RUN_NOWAIT);
	}
	run_ms(250);
	struct buf walked, fresh;
	buf_init(&walked, 1 << 20);
	buf_init(&fresh, 1 << 20);
	dump_objects(&walked);
	forget_objects();
	struct err err;
	assert_int_equal(file_source_read(t.dir, &t.events, &err), 0);
	dump_objects(&fresh);
	if (strcmp(walked.data, fresh.data) != 0)
		fail_msg("walked\n%s\nfresh\n%s", walked.data, fresh.data);
	buf_done(&walked);
	buf_done(&fresh);
}

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Generous bounds: they catch a square, not a slow machine. */
static void test_many_files(void **state)
{
	enum { N = 10000 };
	char name[32], object[32];
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%05d.yaml", i);
		snprintf(object, sizeof(object), "s%d", i);
		write_file(name, service(object, 80));
	}
	struct err err;
	double begin = now_s();
	assert_int_equal(file_source_open(&t.loop, t.dir, t.memory ? memory_dir() : NULL, &t.events, &t.source, &err),
	                 0);
	double opened = now_s();
	t.open = true;
	assert_int_equal(t.n, N);
	buf_clear(&t.seen);
	double best = 1;
	for (int i = 0; i < 20; i++) {
		write_file("f05000.yaml", service("s5000", 81 + i));
		double saved = now_s();
		uv_run(&t.loop, UV_RUN_NOWAIT);
		double took = now_s() - saved;
		best = took < best ? took : best;
		snprintf(name, sizeof(name), "+s5000:%d ! ", 2 + i);
		expect_buf(&t.seen, name);
		t.n--; /* on_put appends when there are many */
		object_unref(t.objects[t.n]);
	}
	printf("%d files opened in %.3f s; one save in %.0f us\n", N, opened - begin, best * 1e6);
	assert_true(opened - begin < 10);
	assert_true(best < 0.02);
	/* More events than the kernel's queue holds: nothing may be missed. */
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%05d.yaml", i);
		snprintf(object, sizeof(object), "s%d", i);
		write_file(name, service(object, 7000));
		snprintf(name, sizeof(name), "g%05d.yaml", i);
		write_file(name, "");
	}
	run_ms(300);
	size_t puts = 0;
	for (const char *at = t.seen.data; (at = strchr(at, '+')); at++)
		puts++;
	assert_int_equal(puts, N);
}

static size_t memory_used(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static const char *route(int i)
{
	static char text[400];
	snprintf(
	    text, sizeof(text),
	    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: route-%05d\n  namespace: "
	    "some-namespace\nspec:\n  parentRefs:\n  - name: g\n",
	    i);
	return text;
}

/* Remembering many files must not be noticed: neither by the loop nor in memory. */
static void test_many_copies(void **state)
{
	enum { N = 10000 };
	char name[32];
	struct err err;
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%05d.yaml", i);
		write_file(name, route(i));
	}
	t.memory = false;
	size_t empty = memory_used();
	double begin = now_s();
	assert_int_equal(file_source_open(&t.loop, t.dir, NULL, &t.events, &t.source, &err), 0);
	double without = now_s() - begin;
	size_t without_used = memory_used() - empty;
	close_source(0);
	buf_done(&t.seen);
	empty = memory_used();
	begin = now_s();
	assert_int_equal(file_source_open(&t.loop, t.dir, memory_dir(), &t.events, &t.source, &err), 0);
	t.open = true;
	double with = now_s() - begin;
	size_t with_used = memory_used() - empty, most = 0;
	double longest = 0;
	begin = now_s();
	while (count_copies() < N && now_s() - begin < 60) {
		for (int i = 0; i < 20; i++) {
			double turn = now_s();
			uv_run(&t.loop, UV_RUN_NOWAIT);
			turn = now_s() - turn;
			longest = turn > longest ? turn : longest;
			size_t used = memory_used() - empty;
			most = used > most ? used : most;
			usleep(500);
		}
	}
	run_ms(50);
	printf("%d copies: opened in %.3f s (%.3f s without), longest turn of the loop %.1f ms; %zu kB more after "
	       "opening, "
	       "%zu at most, %zd in the end\n",
	       N, with, without, longest * 1e3, (with_used - without_used) / 1024, (most - without_used) / 1024,
	       (ssize_t)(memory_used() - empty - without_used) / 1024);
	assert_int_equal(count_copies(), N);
	assert_true(longest < 0.05);
	assert_true(most < without_used + (3 << 19));
	assert_true(memory_used() - empty < without_used + (200 << 10));
}

#define ON_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define WITH_MEMORY(test) cmocka_unit_test_setup_teardown(test, setup_memory, teardown)

int main(void)
{
	const char *seed = getenv("HATCHWAY_SEED");
	random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	random_state = random_state ? random_state : 1;
	printf("HATCHWAY_SEED=%llu\n", (unsigned long long)random_state);
	const struct CMUnitTest tests[] = {
	    ON_FOLDER(test_open),
	    ON_FOLDER(test_missing_folder),
	    ON_FOLDER(test_write_in_place),
	    ON_FOLDER(test_tmp_and_rename),
	    ON_FOLDER(test_vim_backup),
	    ON_FOLDER(test_slow_rewrite),
	    ON_FOLDER(test_delete_and_create),
	    ON_FOLDER(test_links),
	    ON_FOLDER(test_config_map_mount),
	    ON_FOLDER(test_folders),
	    ON_FOLDER(test_root_comes_back),
	    ON_FOLDER(test_broken),
	    ON_FOLDER(test_list),
	    ON_FOLDER(test_generation),
	    ON_FOLDER(test_two_files),
	    ON_FOLDER(test_moved_object),
	    ON_FOLDER(test_unreadable),
	    ON_FOLDER(test_not_a_directory),
	    WITH_MEMORY(test_memory_broken_at_start),
	    WITH_MEMORY(test_memory_broken_soon),
	    WITH_MEMORY(test_memory_unreadable),
	    WITH_MEMORY(test_memory_forgets),
	    WITH_MEMORY(test_memory_hostile),
	    WITH_MEMORY(test_ages),
	    ON_FOLDER(test_any_split),
	    ON_FOLDER(test_random_walk),
	    ON_FOLDER(test_many_files),
	    WITH_MEMORY(test_many_copies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
