/* What others do to the files, to the socket and to what HAProxy holds is noticed within a second or two, and made good. */
#define TESTBED_PORT 22400
#include "haproxy/testbed.h"
#include "haproxy/process.h"

#include <fcntl.h>

static void world(struct testbed *bed)
{
	image_set(bed->wanted, ITEM_BACKEND, "a.b:80", "http");
	image_set(bed->wanted, ITEM_SERVER, "a.b:80/p1", "127.0.0.1:22999 weight 3 ready");
	image_set(bed->wanted, ITEM_SERVER, "a.b:80/p2", "127.0.0.2:22999 weight 3 ready");
	image_set(bed->wanted, ITEM_SERVER, "a.b:80/e", "unix@/nowhere/500.sock weight 1 ready");
	image_set(bed->wanted, ITEM_PATH, "80/com.x#/", "a.b:80");
	image_set(bed->wanted, ITEM_REGEX, "a.*", "x");
	testbed_submit(bed);
	testbed_run_until(bed, testbed_settled, 10000);
}

static void PRINTF_LIKE(2, 3) shell(struct testbed *bed, const char *format, ...)
{
	char command[1000] = "", line[800];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "cd %s && %s", bed->dir, line);
	if (system(command))
		fail_msg("%s", command);
}

static void cli(struct testbed *bed, const char *line)
{
	shell(bed, "echo '%s' | timeout 5 socat - UNIX-CONNECT:haproxy.sock >/dev/null", line);
}

static bool there(struct testbed *bed, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", bed->dir, name);
	return !access(path, F_OK);
}

static struct haproxy_counters counters(struct testbed *bed)
{
	return sync_counters(bed->sync);
}

/* The next controller finds HAProxy as it should be. */
static void assert_healed(struct testbed *bed)
{
	testbed_run_until(bed, testbed_settled, 10000);
	testbed_close(bed, false);
	testbed_open(bed);
	testbed_submit(bed);
	testbed_run_until(bed, testbed_settled, 10000);
	assert_int_equal(counters(bed).commands, 0);
	assert_int_equal(counters(bed).reloads, 0);
	assert_images_equal(sync_held(bed->sync), bed->wanted);
}

static void test_undisturbed(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 4500);
	assert_int_equal(counters(bed).reads, 1);
	assert_int_equal(counters(bed).reloads, 0);
	testbed_end(bed);
}

static void test_changed_by_hand(void **state)
{
	static const char *const lines[] = {
		"clear map maps/path.map", "del map maps/path.map 80/com.x#/", "add map maps/host.map stray -",
		"clear map maps/regex-01.map", "add server a.b:80/mine 127.0.0.1:1", "set server a.b:80/p1 weight 7",
		"set server a.b:80/p2 state maint", "set server a.b:80/e weight 0",
		"disable server a.b:80/p1;wait 1s srv-removable a.b:80/p1;del server a.b:80/p1", "unpublish backend a.b:80",
	};
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		uint64_t reads = counters(bed).reads;
		cli(bed, lines[i]);
		testbed_sleep(bed, 1600);
		if (counters(bed).reads == reads)
			fail_msg("not noticed: %s", lines[i]);
		testbed_run_until(bed, testbed_settled, 10000);
		assert_images_equal(sync_held(bed->sync), bed->wanted);
	}
	assert_int_equal(counters(bed).reloads, 0);
	assert_healed(bed);
	testbed_end(bed);
}

/* A paused frontend is no part of what is read: it is enabled, and that is all. */
static void test_frontend_disabled(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	cli(bed, "disable frontend requests");
	shell(bed, "echo 'show stat requests 1 -1' | socat - UNIX-CONNECT:haproxy.sock | grep -q ,PAUSED,");
	testbed_sleep(bed, 1600);
	shell(bed, "! echo 'show stat -1 1 -1' | socat - UNIX-CONNECT:haproxy.sock | grep -q ,PAUSED,");
	assert_int_equal(counters(bed).reads, 1);
	testbed_end(bed);
}

static void test_socket_deleted(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	shell(bed, "rm haproxy.sock");
	testbed_sleep(bed, 2500);
	assert_true(there(bed, "haproxy.sock"));
	assert_int_equal(counters(bed).reloads, 2);
	assert_int_equal(counters(bed).starts, 1);
	cli(bed, "show info");
	assert_healed(bed);
	/* The same with no controller to see it. */
	testbed_close(bed, true);
	shell(bed, "rm haproxy.sock");
	testbed_open(bed);
	testbed_submit(bed);
	testbed_run_until(bed, testbed_settled, 10000);
	assert_int_equal(counters(bed).starts, 0);
	assert_true(there(bed, "haproxy.sock"));
	assert_healed(bed);
	testbed_sleep(bed, 2000);
	assert_true(there(bed, "haproxy.sock"));
	testbed_end(bed);
}

/* HAProxy alone comes back from the files. */
static void assert_files_good(struct testbed *bed)
{
	testbed_close(bed, true);
	testbed_kill(bed, SIGKILL);
	shell(bed, "%s -c -f haproxy.cfg -f backends >/dev/null 2>&1", testbed_haproxy());
	testbed_open(bed);
	testbed_submit(bed);
	testbed_run_until(bed, testbed_settled, 10000);
	assert_int_equal(counters(bed).commands, 0);
	assert_int_equal(counters(bed).starts, 1);
}

static void test_files_removed(void **state)
{
	static const char *const names[] = {"maps", "maps/path.map", "backends", "haproxy.cfg"};
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		shell(bed, "rm -r %s", names[i]);
		testbed_sleep(bed, 1800);
		assert_true(there(bed, names[i]));
	}
	assert_int_equal(counters(bed).reloads, 0);
	assert_files_good(bed);
	testbed_end(bed);
}

static void test_stray_files(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	shell(bed, "echo nonsense >backends/mine.cfg && ln -s nowhere backends/link.cfg && echo kept >backends/notes");
	testbed_sleep(bed, 1800);
	assert_false(there(bed, "backends/mine.cfg"));
	assert_true(there(bed, "backends/mine.cfg.ignored"));
	assert_true(there(bed, "backends/notes"));
	assert_files_good(bed);
	/* Left there while nothing runs. */
	testbed_close(bed, true);
	testbed_kill(bed, SIGKILL);
	shell(bed, "echo nonsense >backends/mine.cfg");
	testbed_open(bed);
	testbed_submit(bed);
	testbed_run_until(bed, testbed_settled, 10000);
	assert_int_equal(counters(bed).commands, 0);
	assert_int_equal(counters(bed).starts, 1);
	testbed_end(bed);
}

/* An HAProxy that reloads, but to another file: it is not reloaded over and over, and the listener says why. */
static void test_reload_in_vain(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	testbed_close(bed, false);
	testbed_kill(bed, SIGTERM);
	shell(bed, "cp haproxy.cfg other.cfg && %s -W -D -S %s/master.sock,mode,600 -f other.cfg -f backends >/dev/null 2>&1",
	      testbed_haproxy(), bed->dir);
	testbed_open(bed);
	char one[16], two[16];
	snprintf(one, sizeof(one), "%u", bed->port);
	snprintf(two, sizeof(two), "%u", bed->port + 100u);
	struct sync_bind binds[] = {{one, "127.0.0.1", bed->port, false}, {two, "127.0.0.1", (uint16_t)(bed->port + 100), false}};
	sync_submit(bed->sync, ++bed->generation, binds, 2);
	testbed_run_until(bed, testbed_applied, 5000);
	testbed_sleep(bed, 6000);
	assert_in_range(counters(bed).reloads, 2, 4);
	assert_int_equal(bed->n_refusals, 1);
	assert_non_null(strstr(bed->refusals, "how was it started"));
	/* What can be done is done. */
	image_set(bed->wanted, ITEM_PATH, "80/com.y#/", "a.b:80");
	sync_submit(bed->sync, ++bed->generation, NULL, 0);
	testbed_run_until(bed, testbed_applied, 500);
	testbed_end(bed);
}

/* ---- what cannot be made good at once ---- */

/* What is logged in `ms`, counted in lines. */
static unsigned lines_logged(struct testbed *bed, unsigned ms)
{
	FILE *f = tmpfile();
	int before = dup(2), c;
	unsigned n = 0;

	assert_non_null(f);
	dup2(fileno(f), 2);
	testbed_sleep(bed, ms);
	dup2(before, 2);
	close(before);
	rewind(f);
	while ((c = fgetc(f)) != EOF) {
		fputc(c, stderr);
		n += c == '\n';
	}
	fclose(f);
	return n;
}

/* Neither words nor work without end; HAProxy serves on, and what is at its socket is done. */
/* Not that the next hatchway comes beside this one. */
static void test_lock_deleted(void **state)
{
	struct testbed *bed = *state;
	struct err err;
	int fd;

	testbed_open(bed);
	world(bed);
	shell(bed, "rm hatchway.lock");
	testbed_sleep(bed, 1600);
	assert_true(there(bed, "hatchway.lock"));
	assert_int_equal(process_lock(bed->dir, &fd, &err), -EBUSY);
	testbed_end(bed);
}

static void test_directory_moved(void **state)
{
	struct testbed *bed = *state;
	int master;

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	master = testbed_pid(bed, "master");
	assert_true(master > 1);
	shell(bed, "mv $PWD $PWD.away");
	clock_t before = clock();
	unsigned lines = lines_logged(bed, 6000);
	double cpu = (double)(clock() - before) / CLOCKS_PER_SEC;
	image_set(bed->wanted, ITEM_PATH, "80/com.y#/", "a.b:80");
	sync_submit(bed->sync, ++bed->generation, NULL, 0);
	uint64_t generation = bed->generation;
	testbed_sleep(bed, 500);
	bool there_again = there(bed, "haproxy.cfg");
	testbed_close(bed, true);
	kill(master, SIGTERM);
	shell(bed, "rm -rf $PWD.away");
	assert_int_equal(bed->applied, generation);
	assert_true(there_again);
	assert_in_range(lines, 1, 12);
	assert_true(cpu < 1);
}

static void test_files_refused(void **state)
{
	struct testbed *bed = *state;

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	shell(bed, "rm -r maps haproxy.sock && touch maps");
	unsigned lines = lines_logged(bed, 6000);
	assert_in_range(lines, 2, 12);
	assert_int_equal(counters(bed).reloads, 0);
	shell(bed, "rm maps");
	testbed_sleep(bed, 9000);
	assert_true(there(bed, "maps/path.map"));
	assert_true(there(bed, "haproxy.sock"));
	assert_healed(bed);
	testbed_end(bed);
}

/* The newer ones follow the first reload; nobody is told of a trouble that is none. */
static void test_binds_during_reload(void **state)
{
	struct testbed *bed = *state;
	char keys[3][16];
	struct sync_bind binds[3];

	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%u", bed->port + 100 * i);
		binds[i] = (struct sync_bind){keys[i], "127.0.0.1", (uint16_t)(bed->port + 100 * i), false};
	}
	sync_submit(bed->sync, ++bed->generation, binds, 2);
	testbed_sleep(bed, 10);
	assert_int_equal(counters(bed).reloads, 0);
	uint64_t from = uv_hrtime();
	sync_submit(bed->sync, ++bed->generation, binds, 3);
	testbed_run_until(bed, testbed_applied, 5000);
	assert_int_equal(bed->n_refusals, 0);
	assert_int_equal(counters(bed).reloads, 2);
	assert_true(uv_hrtime() - from < 1000000000u);
	testbed_end(bed);
}

/* Nothing can be reloaded then: it is said before somebody needs it, names the file, and the end finds the master. */
static void test_master_socket_deleted(void **state)
{
	struct testbed *bed = *state;
	char keys[2][16];
	struct sync_bind binds[2];

	bed->stop_on_exit = true;
	testbed_open(bed);
	world(bed);
	testbed_sleep(bed, 500);
	int master = testbed_pid(bed, "master"), worker = testbed_pid(bed, "worker");
	assert_int_equal(process_master_of(worker), master);
	shell(bed, "rm master.sock");
	unsigned lines = lines_logged(bed, 2500);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%u", bed->port + 100 * i);
		binds[i] = (struct sync_bind){keys[i], "127.0.0.1", (uint16_t)(bed->port + 100 * i), false};
	}
	sync_submit(bed->sync, ++bed->generation, binds, 2);
	testbed_run_until(bed, testbed_applied, 5000);
	testbed_close(bed, false);
	bool left = !kill(master, 0);
	if (left)
		kill(master, SIGTERM);
	assert_int_equal(lines, 1);
	assert_non_null(strstr(bed->refusals, "master.sock"));
	assert_non_null(strstr(bed->refusals, "restart HAProxy"));
	assert_false(left);
	testbed_end(bed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		testbed_test(test_undisturbed),
		testbed_test(test_changed_by_hand),
		testbed_test(test_frontend_disabled),
		testbed_test(test_lock_deleted),
		testbed_test(test_socket_deleted),
		testbed_test(test_files_removed),
		testbed_test(test_stray_files),
		testbed_test(test_reload_in_vain),
		testbed_test(test_directory_moved),
		testbed_test(test_files_refused),
		testbed_test(test_binds_during_reload),
		testbed_test(test_master_socket_deleted),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("heal", tests, NULL, NULL);
}
