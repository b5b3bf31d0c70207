/* Owns a loop of its own, for as long as it writes. */
#include "haproxy/first.h"

#include "haproxy/binds.h"
#include "haproxy/disk.h"
#include "haproxy/process.h"

#include <errno.h>
#include <unistd.h>

struct result {
	int error;
	struct err *reterr;
};

static void on_written(void *ctx, int error, const char *why)
{
	struct result *result = ctx;

	result->error = error ? err_set(result->reterr, error, "%s", why) : 0;
}

static bool there(const struct sync_options *options, const char *name)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%.4000s/%s", options->state_dir, name) > 0 && !access(path, F_OK);
}

/* A configuration and the Lua it loads are of one version: without the one, the other is written again, too. */
static void add_texts(struct disk *disk, const struct sync_options *options, const struct sync_events *events)
{
	bool configured = there(options, "haproxy.cfg");
	struct binds binds;

	for (size_t i = 0; i < options->n_files; i++)
		if (!configured || !there(options, options->files[i].name))
			disk_text(disk, options->files[i].name, options->files[i].text);
	if (configured)
		return;
	binds_init(&binds, options->pool_base, options->pool_size);
	if (binds_probe(&binds, events))
		BUG_ON(true); /* nobody has asked for a port */
	disk_lists(disk, binds.lists);
	disk_text(disk, "haproxy.cfg", binds.text);
	binds_done(&binds);
}

static int write_all(const struct sync_options *options, const struct sync_events *events, struct err *reterr)
{
	struct result result = {.reterr = reterr};
	struct disk *disk;
	uv_loop_t loop;

	BUG_ON(uv_loop_init(&loop));
	int r = disk_open(&loop, options->state_dir, &disk, reterr);
	if (!r) {
		add_texts(disk, options, events);
		disk_flush(disk, NULL, false, on_written, &result);
		uv_run(&loop, UV_RUN_DEFAULT);
		disk_close(disk);
		r = result.error;
	}
	BUG_ON(uv_loop_close(&loop));
	return r;
}

int first_write(const struct sync_options *options, const struct sync_events *events, struct err *reterr)
{
	int lock_fd, r = sync_options_check(options, reterr);

	if (!r)
		r = process_lock(options->state_dir, &lock_fd, reterr);
	if (r)
		return r;
	r = write_all(options, events, reterr);
	close(lock_fd);
	return r;
}
