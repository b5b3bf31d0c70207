/* The admin socket's life: who is waited for at the end, and a file that somebody took away. */
#include "controller/admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

static int answer(void *ctx, const char **words, int n, struct buf *out)
{
	return 0;
}

static void on_time(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void run_for(uv_loop_t *loop, uv_timer_t *timer, uint64_t ms)
{
	uv_timer_start(timer, on_time, ms, 0);
	uv_run(loop, UV_RUN_DEFAULT);
}

/* Negative: nobody accepts there. */
static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

struct bed {
	char dir[40], path[64];
	uv_loop_t loop;
	uv_timer_t timer;
	struct admin *admin;
};

static void bed_open(struct bed *bed)
{
	struct err err = {""};
	strcpy(bed->dir, "/tmp/hatchway-admin-XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	snprintf(bed->path, sizeof(bed->path), "%s/hatchway.sock", bed->dir);
	assert_int_equal(uv_loop_init(&bed->loop), 0);
	uv_timer_init(&bed->loop, &bed->timer);
	assert_int_equal(admin_open(&bed->loop, bed->path, answer, NULL, &bed->admin, &err), 0);
}

static void bed_close(struct bed *bed)
{
	uv_close((uv_handle_t *)&bed->timer, NULL);
	uint64_t start = uv_hrtime();
	admin_close(bed->admin, NULL, NULL);
	uv_run(&bed->loop, UV_RUN_DEFAULT);
	assert_true(uv_hrtime() - start < 2000000000u);
	assert_int_equal(uv_loop_close(&bed->loop), 0);
	assert_int_equal(access(bed->path, F_OK), -1);
	assert_int_equal(rmdir(bed->dir), 0);
}

static void stop_waits_for_nobody(void **state)
{
	struct bed bed;
	bed_open(&bed);
	int idle = dial(bed.path), half = dial(bed.path);
	assert_true(idle >= 0 && half >= 0);
	assert_int_equal(send(half, "stat", 4, MSG_NOSIGNAL), 4);
	run_for(&bed.loop, &bed.timer, 50);
	bed_close(&bed);
	close(idle);
	close(half);
}

static void file_is_made_again(void **state)
{
	struct bed bed;
	bed_open(&bed);
	assert_int_equal(unlink(bed.path), 0);
	run_for(&bed.loop, &bed.timer, 2500);
	int again = dial(bed.path);
	assert_true(again >= 0);
	run_for(&bed.loop, &bed.timer, 50);
	bed_close(&bed);
	close(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(stop_waits_for_nobody), cmocka_unit_test(file_is_made_again)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
