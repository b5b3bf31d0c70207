/* Status files on a real folder: where they land, that they are whole, that hostile names go nowhere, and the sweep. */
#include "controller/source/status_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	strcpy(root, "/tmp/hatchway-status-XXXXXX");
	return !mkdtemp(root);
}

static int teardown(void **state)
{
	return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
	static char path[800];
	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static struct status_dir *open_dir(void)
{
	struct status_dir *dir;
	struct err err;
	if (status_dir_open(path_of("status"), &dir, &err))
		fail_msg("%s", err.text);
	return dir;
}

static void put(struct status_dir *dir, const char *kind, const char *namespace, const char *name, const char *text)
{
	struct err err;
	if (status_dir_write(dir, kind, namespace, name, text, &err))
		fail_msg("%s", err.text);
}

static void expect(const char *name, const char *wanted)
{
	char text[256] = "";
	FILE *file = fopen(path_of(name), "r");
	if (!wanted) {
		assert_null(file);
		return;
	}
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	assert_string_equal(text, wanted);
}

/* The files in the folder, each of which must hold text unless that is NULL. */
static int count_files(const char *folder, const char *text)
{
	int n = 0;
	DIR *dir = opendir(path_of(folder));
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		char name[600];
		if (entry->d_name[0] == '.')
			continue;
		n++;
		snprintf(name, sizeof(name), "%s/%s", folder, entry->d_name);
		if (text)
			expect(name, text);
	}
	closedir(dir);
	return n;
}

static void test_write(void **state)
{
	struct status_dir *dir = open_dir();
	put(dir, "HTTPRoute", "sample", "a.b", "one\n");
	expect("status/HTTPRoute/sample/a.b.yaml", "one\n");
	put(dir, "HTTPRoute", "sample", "a.b", "two\n");
	expect("status/HTTPRoute/sample/a.b.yaml", "two\n");
	put(dir, "GatewayClass", "", "hatchway", "three\n");
	expect("status/GatewayClass/hatchway.yaml", "three\n");
	put(dir, "HTTPRoute", "sample", "a.b", NULL);
	expect("status/HTTPRoute/sample/a.b.yaml", NULL);
	put(dir, "HTTPRoute", "sample", "a.b", NULL);
	put(dir, "Gateway", "nowhere", "x", NULL);
	expect("status/HTTPRoute/sample/.status.tmp", NULL);
	assert_int_not_equal(access(path_of("status/Gateway"), F_OK), 0);
	status_dir_close(dir);
}

static void test_hostile_names(void **state)
{
	static const char *const names[] = {"", "..", ".", ".hidden", "a/b", "../x", "/etc/x", "a\nb"};
	struct status_dir *dir = open_dir();
	char text_long[300];
	memset(text_long, 'a', sizeof(text_long));
	text_long[254] = 0;
	struct err err;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(status_dir_write(dir, "Kind", "ns", names[i], "x", &err), -EINVAL);
		assert_int_equal(status_dir_write(dir, names[i], "ns", "name", "x", &err), -EINVAL);
		if (*names[i])
			assert_int_equal(status_dir_write(dir, "Kind", names[i], "name", NULL, &err), -EINVAL);
	}
	assert_int_equal(status_dir_write(dir, "Kind", "ns", text_long, "x", &err), -EINVAL);
	status_dir_close(dir);
}

/* Kubernetes' longest names and ".yaml" are more than a file name may have. */
static void test_long_names(void **state)
{
	char a[254], b[254], path[600];
	struct status_dir *dir = open_dir();
	struct err err;
	memset(a, 'a', sizeof(a));
	a[253] = 0;
	strcpy(b, a);
	b[252] = 'b';
	put(dir, "HTTPRoute", "ns", a, "one");
	put(dir, "HTTPRoute", "ns", b, "two");
	put(dir, "HTTPRoute", "ns", a + 3, "whole");
	snprintf(path, sizeof(path), "status/HTTPRoute/ns/%s.yaml", a + 3);
	expect(path, "whole");
	assert_int_equal(count_files("status/HTTPRoute/ns", NULL), 3);
	status_dir_close(dir);
	dir = open_dir();
	put(dir, "HTTPRoute", "ns", a, "again"); /* the same file, so the other goes */
	assert_int_equal(status_dir_sweep(dir, &err), 0);
	assert_int_equal(count_files("status/HTTPRoute/ns", "again"), 1);
	put(dir, "HTTPRoute", "ns", a, NULL);
	assert_int_equal(count_files("status/HTTPRoute/ns", NULL), 0);
	status_dir_close(dir);
}

/* A link planted where a folder or the temporary file belongs is not followed. */
static void test_links(void **state)
{
	struct status_dir *dir = open_dir();
	struct err err;
	assert_int_equal(symlink("/tmp", path_of("status/Kind")), 0);
	assert_true(status_dir_write(dir, "Kind", "", "x", "y", &err) < 0);
	put(dir, "Other", "", "x", "y");
	assert_int_equal(symlink("../../victim", path_of("status/Other/.status.tmp")), 0);
	assert_int_equal(status_dir_write(dir, "Other", "", "x", "z", &err), -ELOOP);
	expect("victim", NULL);
	status_dir_close(dir);
}

static void test_sweep(void **state)
{
	struct status_dir *dir = open_dir();
	put(dir, "HTTPRoute", "old", "gone", "x");
	put(dir, "HTTPRoute", "sample", "stays", "x");
	put(dir, "HTTPRoute", "sample", "gone", "x");
	put(dir, "GatewayClass", "", "gone", "x");
	status_dir_close(dir);
	int fd = open(path_of("status/HTTPRoute/note.txt"), O_CREAT | O_WRONLY, 0644);
	assert_true(fd >= 0);
	close(fd);
	dir = open_dir();
	put(dir, "HTTPRoute", "sample", "stays", "y");
	struct err err;
	assert_int_equal(status_dir_sweep(dir, &err), 0);
	expect("status/HTTPRoute/sample/stays.yaml", "y");
	expect("status/HTTPRoute/sample/gone.yaml", NULL);
	expect("status/HTTPRoute/note.txt", "");
	assert_int_not_equal(access(path_of("status/HTTPRoute/old"), F_OK), 0);
	assert_int_not_equal(access(path_of("status/GatewayClass"), F_OK), 0);
	put(dir, "GatewayClass", "", "again", "z");
	expect("status/GatewayClass/again.yaml", "z");
	status_dir_close(dir);
}

#define ON_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {ON_FOLDER(test_write), ON_FOLDER(test_hostile_names),
	                                   ON_FOLDER(test_long_names), ON_FOLDER(test_links), ON_FOLDER(test_sweep)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
