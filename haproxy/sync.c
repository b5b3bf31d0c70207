/* Owns the state machine that keeps HAProxy and the files true: which session, what is held, what is under way.
 * One thing is under way at a time (enum phase); whatever ends calls advance(), which decides what is next. What is wanted
 * may change at any time: it is a mark (`dirty`), never a queue.
 *
 * Any surprise ends in resync(): forget what is held, connect again, read, plan again. It never repairs by guessing. */
#include "haproxy/sync.h"

#include "haproxy/apply.h"
#include "haproxy/binds.h"
#include "haproxy/disk.h"
#include "haproxy/keyset.h"
#include "haproxy/process.h"
#include "haproxy/rule.h"
#include "haproxy/watch.h"
#include "hatchway/base/hash.h"
#include "hatchway/base/log.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <unistd.h>

/* Requests that looked up a route before a change are through with it by then. */
#define REMOVE_AFTER_MS 500
#define REMOVE_RETRY_MAX_MS 10000
#define REMOVE_AT_ONCE 200 /* so that a change never waits long behind removals */
#define DISK_AFTER_MS 250
/* After files could not be written: 1 s until the next try, then twice as long each time. */
#define DISK_AGAIN_MS 1000
#define DISK_AGAIN_MAX_MS 16000
#define WATCH_MS 1000     /* how long a reload by hand goes unnoticed */
#define REFUSED_RETRY_MS 5000
/* After a reload that failed, or changed nothing: 1 s until the next one, then twice as long each time. */
#define RELOAD_AGAIN_MS 1000
#define RELOAD_AGAIN_MAX_MS 300000
#define SURPRISES_MAX 3   /* the same surprise again and again is a refusal */
#define MASTER_TRIES 20
#define SOCKET_TRIES 22   /* with the socket's file away all the time: it does not come by itself */
/* Somebody else starts HAProxy: how soon it is found, and after how many looks the files are made good, in case that it
 * does not start because of them. */
#define ABSENT_RETRY_MS 100
#define ABSENT_FILES 30
/* Times 10 ms: for requests on their way, and then for the master's end. */
#define GRACE_POLLS 500
#define STOP_POLLS 300

enum phase {
	PHASE_WAIT,     /* no session; the timer brings the next try */
	PHASE_ABSENT,   /* nothing runs, and nothing is wanted yet */
	PHASE_MASTER,   /* asking whether a master is alive */
	PHASE_START,    /* files, then a new HAProxy */
	PHASE_CONNECT,
	PHASE_GREETED,  /* HAProxy is there; it is read once something is wanted, to compare with */
	PHASE_READ,
	PHASE_IDLE,     /* held is known */
	PHASE_APPLY,
	PHASE_REMOVE,   /* applying, in the background's turn */
	PHASE_WATCH,    /* only asking whether the worker is alive */
	PHASE_RELOAD,   /* files, then reload */
	PHASE_CLOSE,
};

struct sync {
	uv_loop_t *loop;
	struct sync_events events;
	char *state_dir, *binary, *socket;
	bool stop_on_exit;
	int lock_fd;

	enum phase phase;
	struct session *session;
	struct reader *reader;
	struct apply *apply;
	struct watch *watch;
	size_t watch_cursor;
	struct process_task *task;
	struct disk *disk;
	uv_timer_t retry, disk_timer, turn; /* turn: removals, refusals and the watch, in the idle phase */
	unsigned failures, master_tries;
	unsigned respell; /* reloads still to come that bring haproxy.sock back */
	int flush_error;      /* of the last flush */
	unsigned flush_tries; /* since the last one that was good */
	bool wiped; /* HAProxy did not start on the old files; they are empty now */
	bool trim;       /* the reading left much free memory between what stays */
	bool from_files; /* HAProxy has just started on what we wrote: the files need not be compared */

	struct image *held; /* NULL: not known */
	int pid;
	struct map_names maps;
	struct strings lists;
	char *unfinished[ITEM_SNI]; /* digest of a CA, of a certificate that must be forgotten first; NULL: none */
	struct reader_extra *extras;
	size_t n_extras;

	struct image *wanted;
	struct binds binds;
	uint64_t told_refusals;
	uint64_t generation, planned, told; /* submitted; in held once the apply is done; told by applied() */
	bool submitted, dirty, all, binds_new, refusals_new, flush_again;
	struct keyset refused, removals, again;
	struct plan plan;
	size_t max_steps;
	struct step *run;
	unsigned surprises;
	bool surprised, alone, synced;
	bool masterless; /* told that master.sock is gone */
	bool lockless;   /* told that the lock is another's */
	char *state_text; /* what was told last */
	enum haproxy_state state;
	uint64_t watch_due, retry_due, reload_due; /* no reload before */
	unsigned reload_tries;                     /* since what runs was last what is wanted */
	char *reload_why;                          /* the last one did not help */
	char *reload_to;                           /* the mark of the last one that was done */
	struct haproxy_counters counters;

	void (*close_cb)(void *ctx);
	void *close_ctx;
	int handles, stopping, stop_polls;
	bool abandoned;
};

static void advance(struct sync *sync);
static void connect_now(struct sync *sync);
static void start_haproxy(struct sync *sync);
static void close_step(struct sync *sync);

static uint64_t now_ms(const struct sync *sync)
{
	return uv_now(sync->loop);
}

static void tell_state(struct sync *sync, enum haproxy_state state, const char *text)
{
	sync->synced = state == HAPROXY_SYNCED;
	if (sync->state_text && sync->state == state && !strcmp(sync->state_text, text))
		return; /* no news */
	free(sync->state_text);
	sync->state_text = xstrdup(text);
	sync->state = state;
	sync->events.state(sync->events.ctx, state, text);
}

/* ---- leaving a session ---- */

static void drop_session(struct sync *sync)
{
	if (sync->session)
		session_close(sync->session);
	sync->session = NULL;
	reader_free(sync->reader);
	sync->reader = NULL;
	apply_free(sync->apply);
	sync->apply = NULL;
	watch_free(sync->watch);
	sync->watch = NULL;
	free(sync->run);
	sync->run = NULL;
	plan_done(&sync->plan);
}

static void on_retry(uv_timer_t *timer)
{
	connect_now(timer->data);
}

static void wait_and_retry(struct sync *sync, uint64_t ms)
{
	sync->phase = PHASE_WAIT;
	uv_timer_start(&sync->retry, on_retry, ms, 0);
}

/* Twice as long each time. */
static uint64_t doubled(uint64_t first, unsigned times, uint64_t most)
{
	uint64_t ms = first << (times < 20 ? times : 20);

	return ms < most ? ms : most;
}

static uint64_t backoff(unsigned failures)
{
	return doubled(20, failures, 2000);
}

/* What is held is in doubt: read it again. The old image stays for the files' sake until the new one is there. */
static void resync(struct sync *sync, const char *why)
{
	if (sync->phase == PHASE_CLOSE)
		return;
	uv_timer_stop(&sync->turn);
	drop_session(sync);
	sync->all = true;
	sync->surprises++;
	tell_state(sync, HAPROXY_SYNCING, why);
	if (sync->surprises <= 1)
		connect_now(sync);
	else
		wait_and_retry(sync, backoff(sync->surprises));
}

static void on_session_closed(void *ctx, int error, const char *why)
{
	struct sync *sync = ctx;
	bool connecting = sync->phase == PHASE_CONNECT;

	sync->session = NULL;
	sync->pid = 0; /* it may have gone, and the number be another's */
	drop_session(sync);
	uv_timer_stop(&sync->turn);
	if (sync->phase == PHASE_RELOAD) {
		sync->all = true; /* on_reloaded() connects again */
		return;
	}
	if (!connecting) {
		/* HAProxy, and not what we said to it, may be gone: this is no surprise yet. */
		sync->all = true;
		tell_state(sync, HAPROXY_SYNCING, why);
		connect_now(sync);
		return;
	}
	if (error == -ENOENT || error == -ECONNREFUSED) {
		start_haproxy(sync);
		return;
	}
	sync->failures++;
	if (sync->failures == 1)
		tell_state(sync, HAPROXY_DOWN, why);
	wait_and_retry(sync, sync->binary ? backoff(sync->failures) : ABSENT_RETRY_MS);
}

/* ---- files ---- */

static void on_flushed(void *ctx, int error, const char *why);

/* Loading and reading take more than what stays. */
static void give_back_memory(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

static void on_disk_timer(uv_timer_t *timer)
{
	struct sync *sync = timer->data;

	if (disk_busy(sync->disk))
		sync->flush_again = true;
	else if (sync->held)
		disk_flush(sync->disk, sync->held, false, on_flushed, sync);
}

static void disk_soon(struct sync *sync, uint64_t ms)
{
	if (!uv_is_active((uv_handle_t *)&sync->disk_timer))
		uv_timer_start(&sync->disk_timer, on_disk_timer, ms, 0);
}

static void after_flush(struct sync *sync, int error, const char *why);

/* A disk that is full stays so for a while, and is told about once. */
static uint64_t count_flush(struct sync *sync, int error, const char *why)
{
	uint64_t ms = doubled(DISK_AGAIN_MS, sync->flush_tries, DISK_AGAIN_MAX_MS);

	if (error && error != sync->flush_error)
		log_line(LOG_ERROR, "files not written", "error", why, (const char *)NULL);
	else if (!error && sync->flush_error)
		log_line(LOG_INFO, "files are written again", (const char *)NULL);
	sync->flush_error = error;
	sync->flush_tries = error ? sync->flush_tries + 1 : 0;
	return error ? ms : DISK_AFTER_MS;
}

static void on_flushed(void *ctx, int error, const char *why)
{
	struct sync *sync = ctx;

	if (sync->abandoned) {
		close_step(sync);
		return;
	}
	uint64_t again_ms = count_flush(sync, error, why);
	if (sync->phase == PHASE_START || sync->phase == PHASE_RELOAD || sync->phase == PHASE_CLOSE) {
		after_flush(sync, error, why);
		return;
	}
	if (sync->trim)
		give_back_memory();
	sync->trim = false;
	if (error || sync->flush_again || disk_dirty(sync->disk))
		disk_soon(sync, again_ms);
	sync->flush_again = false;
}

/* The files of an HAProxy never seen are those of what is wanted: it comes up complete. */
static void flush_all(struct sync *sync)
{
	const struct image *image = sync->held ? sync->held : sync->submitted ? sync->wanted : NULL;

	disk_flush(sync->disk, image, sync->phase == PHASE_START, on_flushed, sync);
}

/* Everything known, now; after_flush() goes on. Waits for a flush under way first, and flushes again after it. */
static void flush_now(struct sync *sync)
{
	uv_timer_stop(&sync->disk_timer);
	if (!disk_busy(sync->disk))
		flush_all(sync);
	else
		sync->flush_again = true;
}

static void on_started(void *ctx, int error, const char *why);
static void on_reloaded(void *ctx, int error, const char *why);

static void after_flush(struct sync *sync, int error, const char *why)
{
	if (sync->flush_again) {
		sync->flush_again = false;
		flush_all(sync);
		return;
	}
	if (sync->phase == PHASE_CLOSE) {
		sync->abandoned |= error != 0; /* the disk is full: that will not change now */
		close_step(sync);
	} else if (sync->phase == PHASE_START) {
		if (!sync->binary)
			wait_and_retry(sync, ABSENT_RETRY_MS);
		else if (error)
			on_started(sync, error, why);
		else
			sync->task = process_start(sync->loop, sync->binary, sync->state_dir, on_started, sync);
	} else if (error) {
		on_reloaded(sync, error, why);
	} else {
		sync->task = process_reload(sync->loop, sync->state_dir, on_reloaded, sync);
	}
}

/* ---- starting and reloading ---- */

/* True: everything ends, and so does this. */
static bool task_ended(struct sync *sync)
{
	sync->task = NULL;
	if (sync->phase != PHASE_CLOSE)
		return false;
	close_step(sync);
	return true;
}

static void on_started(void *ctx, int error, const char *why)
{
	struct sync *sync = ctx;

	if (task_ended(sync))
		return;
	if (!error) {
		sync->counters.starts++;
		sync->failures = 0;
		sync->wiped = false;
		sync->from_files = true;
		log_line(LOG_INFO, "HAProxy started", (const char *)NULL);
		connect_now(sync);
		return;
	}
	sync->failures++;
	tell_state(sync, HAPROXY_DOWN, why);
	/* Files of another version, or damaged: HAProxy gets everything through its socket instead. */
	if (!sync->wiped) {
		sync->wiped = true;
		image_free(sync->held);
		sync->held = image_new();
		disk_touch_all(sync->disk);
	}
	wait_and_retry(sync, backoff(sync->failures));
}

/* The same configuration with another name for haproxy.sock, to free(). */
static char *respelled(const char *text)
{
	static const char name[] = "unix@haproxy.sock";
	const char *at = strstr(text, name);
	struct buf out;

	buf_init(&out, (size_t)16 << 20);
	if (!at)
		at = text + strlen(text);
	buf_add(&out, text, (size_t)(at - text));
	if (*at)
		buf_addf(&out, "unix@./haproxy.sock%s", at + strlen(name));
	return buf_take(&out);
}

static void put_config(struct sync *sync, const char *text)
{
	disk_lists(sync->disk, sync->binds.lists);
	disk_text(sync->disk, "haproxy.cfg", text);
}

static void begin_reload(struct sync *sync)
{
	sync->phase = PHASE_RELOAD;
	uv_timer_stop(&sync->turn);
	if (!sync->respell)
		log_line(LOG_INFO, "reloading HAProxy for new binds", "from", sync->binds.running, "to", sync->binds.mark,
		         (const char *)NULL);
	char *text = sync->respell == 2 ? respelled(sync->binds.text) : NULL;
	put_config(sync, text ? text : sync->binds.text);
	free(text);
	flush_now(sync);
}

static bool socket_gone(const struct sync *sync)
{
	return access(sync->socket, F_OK) && errno == ENOENT;
}

/* A reload hands the socket on as it is, without its file. Under another spelling it is another socket, and made; the second
 * reload goes back to the name that everybody knows. */
static void heal_socket(struct sync *sync)
{
	log_line(LOG_WARN, "haproxy.sock is gone; HAProxy reloads twice to make it again", (const char *)NULL);
	sync->respell = 2;
	begin_reload(sync);
}

/* What runs cannot be asked, but haproxy.cfg says it. Without that, its own ports would be taken for somebody else's. */
static bool may_heal_unseen(struct sync *sync)
{
	char *mark;

	if (!sync->submitted || sync->reload_due > now_ms(sync))
		return false;
	mark = disk_read_mark(sync->disk);
	binds_running(&sync->binds, mark);
	free(mark);
	if (!*sync->binds.running)
		return false;
	sync->refusals_new |= binds_probe(&sync->binds, &sync->events);
	return true;
}

/* Files that HAProxy can start from, by us or, if there is no binary, by whoever starts it. */
static void begin_start(struct sync *sync)
{
	sync->phase = PHASE_START;
	binds_running(&sync->binds, "");
	sync->refusals_new |= binds_probe(&sync->binds, &sync->events);
	put_config(sync, sync->binds.text);
	flush_now(sync);
}

static void wait_for_haproxy(struct sync *sync)
{
	if (!sync->failures++)
		tell_state(sync, HAPROXY_DOWN, "no HAProxy at the socket; waiting for it");
	if (sync->failures != ABSENT_FILES || !sync->submitted) {
		wait_and_retry(sync, ABSENT_RETRY_MS);
		return;
	}
	tell_state(sync, HAPROXY_DOWN, "still no HAProxy at the socket; its files are written again, in case that they keep it away");
	disk_touch_all(sync->disk);
	begin_start(sync);
}

static void on_master(void *ctx, int error, const char *text)
{
	struct sync *sync = ctx;

	if (task_ended(sync))
		return;
	/* A master without worker socket: its worker is on its way, or hangs. A second HAProxy would only take the ports. */
	if (!error) {
		if (++sync->master_tries == MASTER_TRIES)
			tell_state(sync, HAPROXY_DOWN, "the HAProxy master is alive, but its worker is not");
		if (sync->master_tries >= SOCKET_TRIES && socket_gone(sync) && may_heal_unseen(sync)) {
			heal_socket(sync);
			return;
		}
		wait_and_retry(sync, sync->master_tries < MASTER_TRIES ? 50 : 1000);
		return;
	}
	sync->master_tries = 0;
	if (!sync->binary) {
		wait_for_haproxy(sync);
		return;
	}
	if (!sync->submitted) {
		tell_state(sync, HAPROXY_DOWN, "HAProxy is not running");
		sync->phase = PHASE_ABSENT; /* until sync_submit() */
		return;
	}
	begin_start(sync);
}

static void start_haproxy(struct sync *sync)
{
	sync->phase = PHASE_MASTER;
	sync->task = process_master(sync->loop, sync->state_dir, on_master, sync);
}

/* Another reload would end like the last one: it waits, and who needs it is told why. */
static void reload_is_vain(struct sync *sync, const char *why)
{
	char seconds[32];

	snprintf(seconds, sizeof(seconds), "%.0f", (double)(sync->reload_due - now_ms(sync)) / 1000);
	log_line(LOG_ERROR, "the reload did not help", "error", why, "again_in_s", seconds, (const char *)NULL);
	free(sync->reload_why);
	sync->reload_why = xstrdup(why);
}

static void on_reloaded(void *ctx, int error, const char *why)
{
	struct sync *sync = ctx;

	if (task_ended(sync))
		return;
	sync->reload_due = now_ms(sync) + doubled(RELOAD_AGAIN_MS, sync->reload_tries++, RELOAD_AGAIN_MAX_MS);
	if (!error) {
		sync->counters.reloads++;
		if (sync->respell && --sync->respell) {
			begin_reload(sync);
			return;
		}
		free(sync->reload_to);
		sync->reload_to = xstrdup(sync->binds.mark);
		sync->from_files = true;
		drop_session(sync);
		sync->all = true;
		connect_now(sync);
		return;
	}
	/* The old worker serves on as it is; the file must say what runs. */
	sync->respell = 0;
	reload_is_vain(sync, why);
	sync->binds_new = true;
	if (!sync->session) {
		connect_now(sync);
		return;
	}
	sync->phase = PHASE_IDLE;
	advance(sync);
}

/* Which binds can be had, and whether what runs has them. */
static void check_binds(struct sync *sync)
{
	sync->binds_new = false;
	sync->refusals_new |= binds_probe(&sync->binds, &sync->events);
	sync->retry_due = now_ms(sync) + REFUSED_RETRY_MS;
	/* What the reload went for has changed since: another one is not in vain. */
	bool helped = sync->reload_to && !strcmp(sync->reload_to, sync->binds.running);
	if (!socket_gone(sync) && (helped || !binds_differ(&sync->binds))) {
		sync->reload_tries = 0;
		sync->reload_due = 0;
		free(sync->reload_why);
		sync->reload_why = NULL;
	} else if (binds_differ(&sync->binds) && sync->reload_due > now_ms(sync)) {
		if (!sync->reload_why)
			reload_is_vain(sync, "HAProxy reloads, but not to haproxy.cfg of the state directory; how was it started?");
		binds_refuse_new(&sync->binds, sync->reload_why, &sync->events);
		sync->refusals_new = true;
	}
	/* What runs is also what is on the disk, whatever happened to the file. */
	if (sync->reload_tries || !binds_differ(&sync->binds))
		put_config(sync, sync->binds.text);
	if (disk_dirty(sync->disk))
		disk_soon(sync, DISK_AFTER_MS);
}

/* ---- connecting and reading ---- */

static void on_read(void *ctx, int error, const char *why, struct reading *reading)
{
	struct sync *sync = ctx;

	sync->counters.reads++;
	if (error || reading->stopping) {
		/* After a reload the old worker may still answer for a moment. */
		char *text = xstrdup(error ? why : "the worker that answers is being replaced");
		reading_done(reading);
		resync(sync, text);
		free(text);
		return;
	}
	if (!process_version_ok(reading->version)) {
		char text[128];
		snprintf(text, sizeof(text), "the HAProxy at the socket is %s; hatchway needs 3.4 or newer", reading->version);
		reading_done(reading);
		drop_session(sync);
		tell_state(sync, HAPROXY_DOWN, text);
		wait_and_retry(sync, REFUSED_RETRY_MS);
		return;
	}
	reader_free(sync->reader);
	sync->reader = NULL;
	for (unsigned i = 0; i < MAPS; i++)
		free(sync->maps.name[i]);
	sync->maps = reading->maps;
	memset(&reading->maps, 0, sizeof(reading->maps));
	strings_done(&sync->lists);
	sync->lists = reading->lists;
	reading->lists = (struct strings){0};
	for (unsigned kind = 0; kind < ARRAY_LEN(sync->unfinished); kind++) {
		free(sync->unfinished[kind]);
		sync->unfinished[kind] = reading->unfinished[kind];
		reading->unfinished[kind] = NULL;
	}
	image_free(sync->held);
	sync->held = reading->image;
	reading->image = NULL;
	free(sync->extras);
	sync->extras = reading->extras;
	sync->n_extras = reading->n_extras;
	reading->extras = NULL;
	sync->pid = reading->pid;
	binds_running(&sync->binds, reading->description);
	reading_done(reading);
	keyset_clear(&sync->removals);
	keyset_clear(&sync->refused);
	keyset_clear(&sync->again);
	if (!sync->from_files)
		disk_touch_all(sync->disk);
	sync->from_files = false;
	sync->trim = true;
	if (disk_dirty(sync->disk))
		disk_soon(sync, DISK_AFTER_MS);
	sync->all = true;
	sync->binds_new = true;
	sync->failures = sync->master_tries = 0;
	sync->watch_due = now_ms(sync) + WATCH_MS;
	sync->phase = PHASE_IDLE;
	advance(sync);
}

static void read_held(struct sync *sync)
{
	sync->phase = PHASE_READ;
	sync->reader = reader_start(sync->session, sync->wanted, on_read, sync);
}

static void on_ready(void *ctx)
{
	struct sync *sync = ctx;

	if (sync->submitted)
		read_held(sync);
	else
		sync->phase = PHASE_GREETED;
}

static void connect_now(struct sync *sync)
{
	sync->phase = PHASE_CONNECT;
	sync->session = session_open(sync->loop, sync->socket,
	                             &(struct session_events){.ready = on_ready, .closed = on_session_closed, .ctx = sync});
}

/* ---- verdicts ---- */

static void refuse(struct sync *sync, const struct step *step, const char *text)
{
	struct keyed *entry = keyset_put(&sync->refused, step->kind, step->key);

	sync->counters.refused++;
	free(entry->text);
	entry->text = xstrdup(text);
	sync->refusals_new = true;
	/* It may have come into a file with what was wanted. */
	disk_touch(sync->disk, step->kind, step->key);
	disk_soon(sync, DISK_AFTER_MS);
	if (sync->retry_due <= now_ms(sync))
		sync->retry_due = now_ms(sync) + REFUSED_RETRY_MS;
}

/* A server whose backend was refused a moment ago has no one to blame but it. */
static const char *backend_refused(const struct sync *sync, const struct step *step)
{
	char name[512];
	size_t n = server_key_backend(step->key);

	if (step->kind != ITEM_SERVER || n >= sizeof(name))
		return NULL;
	memcpy(name, step->key, n);
	name[n] = 0;
	struct keyed *entry = keyset_get(&sync->refused, ITEM_BACKEND, name);
	return entry ? entry->text : NULL;
}

static void postpone(struct sync *sync, const struct step *step, bool refused)
{
	struct keyed *entry = keyset_put(&sync->removals, step->kind, step->key);
	uint64_t ms = doubled(REMOVE_AFTER_MS, entry->tries++, REMOVE_RETRY_MAX_MS);

	entry->due = now_ms(sync) + (refused ? REMOVE_RETRY_MAX_MS : ms);
}

static void took(struct sync *sync, const struct step *step)
{
	plan_apply(step, sync->held, sync->wanted);
	if (step->op <= STEP_ABORT_CA)
		return;
	disk_touch(sync->disk, step->kind, step->key);
	disk_soon(sync, DISK_AFTER_MS);
	if (step->op < STEP_FIRST_LATER || image_get(sync->held, step->kind, step->key))
		return;
	keyset_delete(&sync->removals, step->kind, step->key);
	/* It had to go so that it can come back as something else. */
	if (image_get(sync->wanted, step->kind, step->key)) {
		keyset_put(&sync->again, step->kind, step->key);
		sync->dirty = true;
	}
}

static void on_step(void *ctx, const struct step *step, enum reply reply, const char *text)
{
	struct sync *sync = ctx;
	const char *because = backend_refused(sync, step);

	sync->counters.commands++;
	log_line(LOG_DEBUG, "step", "step", step_names[step->op], "of", step->key, "value", rule_told(item_shown(step->kind, step->value)),
	         "said", text, (const char *)NULL);
	if (reply == REPLY_OK) {
		took(sync, step);
	} else if (reply == REPLY_BUSY) {
		postpone(sync, step, false);
	} else if (reply == REPLY_REFUSED || because || sync->surprises >= SURPRISES_MAX) {
		log_line(LOG_WARN, "HAProxy refuses", "step", step_names[step->op], "of", step->key, "text", because ? because : text,
		         (const char *)NULL);
		if (step->op >= STEP_FIRST_LATER)
			postpone(sync, step, true);
		else
			refuse(sync, step, because ? because : text);
	} else {
		log_line(LOG_WARN, "unexpected answer", "step", step_names[step->op], "of", step->key, "text", text,
		         (const char *)NULL);
		sync->surprised = true;
		if (step->op >= STEP_FIRST_LATER)
			postpone(sync, step, false);
	}
}

static bool on_more(void *ctx)
{
	struct sync *sync = ctx;

	return sync->phase != PHASE_REMOVE || !sync->dirty;
}

static void on_applied(void *ctx, enum apply_end end, const char *why)
{
	struct sync *sync = ctx;
	bool foreground = sync->phase == PHASE_APPLY;
	char *reason = xstrdup(why);

	apply_free(sync->apply);
	sync->apply = NULL;
	free(sync->run);
	sync->run = NULL;
	plan_done(&sync->plan);
	sync->watch_due = now_ms(sync) + WATCH_MS;
	if (end == APPLY_DOUBT || sync->surprised) {
		sync->alone |= end == APPLY_DOUBT;
		sync->surprised = false;
		resync(sync, *reason ? reason : "HAProxy holds something else than expected");
	} else {
		sync->alone &= !foreground;
		sync->phase = PHASE_IDLE;
		advance(sync);
	}
	free(reason);
}

static void apply_run(struct sync *sync, enum phase phase, const struct step *steps, size_t n, size_t max_steps)
{
	sync->phase = phase;
	uv_timer_stop(&sync->turn);
	sync->apply = apply_start(
		sync->session, steps, n,
		&(struct apply_options){.maps = &sync->maps, .pid = sync->pid, .alone = sync->alone, .max_steps = max_steps},
		&(struct apply_events){.step = on_step, .more = on_more, .done = on_applied, .ctx = sync});
}

/* ---- the foreground ---- */

static void key_add(struct plan_key **keys, size_t *n, size_t *cap, enum item_kind kind, const char *key)
{
	if (*n == *cap) {
		*cap = *cap ? *cap * 2 : 64;
		*keys = xrealloc(*keys, *cap * sizeof(**keys));
	}
	(*keys)[(*n)++] = (struct plan_key){kind, key};
}

static void keys_of_set(const struct keyset *set, struct plan_key **keys, size_t *n, size_t *cap)
{
	for (struct keyed *entry = set->first; entry; entry = entry->hh.next)
		key_add(keys, n, cap, entry->kind, entry->key);
}

/* A unix server's path is not told by HAProxy; once it counts as equal, held says what wanted says. */
static void adopt_address(struct sync *sync, const char *key)
{
	const struct item *have = image_get(sync->held, ITEM_SERVER, key);
	const struct item *want = image_get(sync->wanted, ITEM_SERVER, key);
	struct server_value value, to;
	struct buf text;

	if (!have || !want || strncmp(have->value, ADDRESS_UNIX " ", sizeof(ADDRESS_UNIX)) ||
	    !server_value_parse(have->value, &value) || !server_value_parse(want->value, &to) ||
	    (strncmp(to.address, "unix@", 5) && strncmp(to.address, "abns@", 5)))
		return;
	memcpy(value.address, to.address, sizeof(value.address));
	buf_init(&text, 512);
	server_value_dump(&value, &text);
	image_set(sync->held, ITEM_SERVER, key, text.data);
	disk_touch(sync->disk, ITEM_SERVER, key);
	buf_done(&text);
}

static void adopt_addresses(struct sync *sync)
{
	const struct item *item;
	size_t cursor = 0;

	while ((item = image_next(sync->wanted, &cursor)))
		if (item->kind == ITEM_SERVER)
			adopt_address(sync, item->key);
}

static void plan_touched(struct sync *sync)
{
	struct plan_key *keys = NULL;
	size_t n = 0, cap = 0, n_touched;
	const struct item *const *touched = image_touched(sync->wanted, &n_touched);

	for (size_t i = 0; i < n_touched; i++)
		key_add(&keys, &n, &cap, touched[i]->kind, touched[i]->key);
	keys_of_set(&sync->refused, &keys, &n, &cap);
	keys_of_set(&sync->again, &keys, &n, &cap);
	for (size_t i = 0; i < n; i++)
		if (keys[i].kind == ITEM_SERVER)
			adopt_address(sync, keys[i].key);
	if (n)
		plan_build(&sync->plan, sync->held, sync->wanted, keys, n);
	free(keys);
}

static void plan_everything(struct sync *sync)
{
	adopt_addresses(sync);
	plan_build(&sync->plan, sync->held, sync->wanted, NULL, 0);
	/* From here on only what is touched. */
	image_track(sync->wanted, true);
}

/* A bind that is still to come. What it needs is planned again when HAProxy has it, and has been read. */
static bool waits_for_reload(const struct sync *sync, const struct step *step)
{
	return step->op == STEP_ADD_SNI && !strings_have(&sync->lists, step->key, strcspn(step->key, "/"));
}

static bool has_unfinished(const struct sync *sync)
{
	return sync->unfinished[ITEM_CA] || sync->unfinished[ITEM_CERT];
}

static size_t forget_unfinished(struct sync *sync, struct step *run)
{
	static const enum step_op aborts[] = {[ITEM_CA] = STEP_ABORT_CA, [ITEM_CERT] = STEP_ABORT_CERT};
	size_t n = 0;

	for (unsigned kind = 0; kind < ARRAY_LEN(aborts); kind++) {
		if (sync->unfinished[kind])
			run[n++] = (struct step){aborts[kind], (enum item_kind)kind, arena_strdup(&sync->plan.arena, sync->unfinished[kind]), ""};
		free(sync->unfinished[kind]);
		sync->unfinished[kind] = NULL;
	}
	return n;
}

/* Extras first, then the plan up to what must wait; that goes on the list of removals. */
static size_t make_run(struct sync *sync)
{
	struct plan *plan = &sync->plan;
	size_t n = 0, n_now = 0;

	while (n_now < plan->n && plan->steps[n_now].op < STEP_FIRST_LATER)
		n_now++;
	for (size_t i = n_now; i < plan->n; i++) {
		struct keyed *entry = keyset_put(&sync->removals, plan->steps[i].kind, plan->steps[i].key);
		if (!entry->due)
			entry->due = now_ms(sync) + REMOVE_AFTER_MS;
	}
	sync->run = xcalloc(sync->n_extras + ARRAY_LEN(sync->unfinished) + n_now, sizeof(*sync->run));
	for (size_t i = 0; i < sync->n_extras; i++) {
		const struct reader_extra *extra = &sync->extras[i];
		sync->run[n++] = (struct step){STEP_DROP_EXTRA, map_kind(extra->map), arena_strdup(&plan->arena, extra->pointer),
		                               arena_printf(&plan->arena, "%u", extra->map)};
	}
	sync->n_extras = 0;
	n += forget_unfinished(sync, sync->run + n);
	for (size_t i = 0; i < n_now; i++)
		if (!waits_for_reload(sync, &plan->steps[i]))
			sync->run[n++] = plan->steps[i];
	return n;
}

static void apply_wanted(struct sync *sync)
{
	plan_init(&sync->plan);
	if (sync->all)
		plan_everything(sync);
	else
		plan_touched(sync);
	image_touched_clear(sync->wanted);
	if (keyset_count(&sync->refused))
		sync->refusals_new = true;
	keyset_clear(&sync->refused);
	keyset_clear(&sync->again);
	sync->dirty = sync->all = false;
	sync->planned = sync->generation;
	size_t n = make_run(sync);
	if (n) {
		apply_run(sync, PHASE_APPLY, sync->run, n, sync->max_steps);
		return;
	}
	free(sync->run);
	sync->run = NULL;
	plan_done(&sync->plan);
}

/* ---- the background ---- */

static size_t keys_due(struct sync *sync, struct plan_key **keys)
{
	size_t n = 0, cap = 0;

	for (struct keyed *entry = sync->removals.first; entry && n < REMOVE_AT_ONCE; entry = entry->hh.next)
		if (entry->due <= now_ms(sync))
			key_add(keys, &n, &cap, entry->kind, entry->key);
	return n;
}

/* Wanted again in the meantime, or gone: nothing to remove any more. */
static void forget_removals(struct sync *sync, const struct plan_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool planned = false;
		for (size_t k = 0; k < sync->plan.n && !planned; k++) {
			const struct step *step = &sync->plan.steps[k];
			planned = step->op >= STEP_FIRST_LATER && step->kind == keys[i].kind && !strcmp(step->key, keys[i].key);
		}
		if (!planned)
			keyset_delete(&sync->removals, keys[i].kind, keys[i].key);
	}
}

static bool remove_some(struct sync *sync)
{
	struct plan_key *keys = NULL;
	size_t n = keys_due(sync, &keys);

	if (!n)
		return false;
	plan_init(&sync->plan);
	plan_build(&sync->plan, sync->held, sync->wanted, keys, n);
	forget_removals(sync, keys, n);
	free(keys);
	if (!sync->plan.n) {
		plan_done(&sync->plan);
		return false;
	}
	apply_run(sync, PHASE_REMOVE, sync->plan.steps, sync->plan.n, 100);
	return true;
}

/* ---- the watch ---- */

static void on_watched(void *ctx, const char *difference)
{
	struct sync *sync = ctx;
	char *why = difference ? xstrdup(difference) : NULL;

	watch_free(sync->watch);
	sync->watch = NULL;
	sync->watch_due = now_ms(sync) + WATCH_MS;
	if (why) {
		log_line(LOG_WARN, "somebody else has changed HAProxy; it is read again", "what", why, (const char *)NULL);
		resync(sync, why);
	} else {
		sync->surprises = 0; /* a second of peace */
		sync->phase = PHASE_IDLE;
		advance(sync);
	}
	free(why);
}

/* Once, when it has gone: whoever needs the next reload shall not be the first to hear of it. */
static void look_for_master(struct sync *sync)
{
	char path[128];

	snprintf(path, sizeof(path), "%.100s/master.sock", sync->state_dir);
	bool gone = access(path, F_OK) && errno == ENOENT;
	if (gone && !sync->masterless)
		log_line(LOG_ERROR, "master.sock is gone; HAProxy serves on, but takes no new ports until it is restarted", "file", path,
		         (const char *)NULL);
	sync->masterless = gone;
}

/* Its file was deleted, perhaps with the whole directory: the next hatchway would find it free. */
static void look_for_lock(struct sync *sync)
{
	struct err err;
	int fd;

	if (process_locked(sync->state_dir, sync->lock_fd))
		return;
	int r = process_lock(sync->state_dir, &fd, &err);
	if (!r) {
		close(sync->lock_fd);
		sync->lock_fd = fd;
		log_line(LOG_WARN, "made again", "file", "hatchway.lock", (const char *)NULL);
	} else if (!sync->lockless) {
		log_line(LOG_ERROR, "hatchway.lock is lost", "error", err.text, (const char *)NULL);
	}
	sync->lockless = r != 0;
}

/* Files, the socket's name, and what HAProxy holds: has somebody else been at them? */
static void watch_all(struct sync *sync)
{
	sync->watch_due = now_ms(sync) + WATCH_MS;
	/* While files cannot be written there is nothing to compare: the next flush does it. */
	if (!sync->flush_error && disk_disturbed(sync->disk)) {
		log_line(LOG_WARN, "somebody else has been at the files of the state directory; they are compared", (const char *)NULL);
		disk_touch_all(sync->disk);
		disk_soon(sync, 0);
	}
	look_for_master(sync);
	look_for_lock(sync);
	if (socket_gone(sync) && sync->reload_due <= now_ms(sync)) {
		heal_socket(sync);
		return;
	}
	sync->phase = PHASE_WATCH;
	sync->watch = watch_start(sync->session, &(struct watch_options){.pid = sync->pid, .held = sync->held,
	                                                                .cursor = &sync->watch_cursor, .done = on_watched,
	                                                                .ctx = sync});
}

/* ---- what is next ---- */

/* The same for the same refusals in any order. */
static uint64_t refusals_hash(const struct sync_refusal *list, size_t n)
{
	uint64_t hash = n;

	for (size_t i = 0; i < n; i++)
		hash ^= hash_bytes(list[i].text, strlen(list[i].text),
		                   hash_bytes(list[i].key, strlen(list[i].key), list[i].bind ? 99 : (uint64_t)list[i].kind));
	return hash;
}

static void tell_applied(struct sync *sync)
{
	size_t n = 0, max = keyset_count(&sync->refused) + sync->binds.n;
	struct sync_refusal *list = xcalloc(max, sizeof(*list));

	for (struct keyed *entry = sync->refused.first; entry; entry = entry->hh.next)
		list[n++] = (struct sync_refusal){.kind = entry->kind, .key = entry->key, .text = entry->text};
	for (size_t i = 0; i < sync->binds.n; i++)
		if (sync->binds.list[i].refused)
			list[n++] = (struct sync_refusal){.bind = true, .key = sync->binds.list[i].key, .text = sync->binds.list[i].refused};
	uint64_t hash = refusals_hash(list, n);
	bool news = sync->told != sync->planned || sync->told_refusals != hash || !sync->synced;
	sync->told = sync->planned;
	sync->told_refusals = hash;
	sync->refusals_new = false;
	if (!news) {
		free(list);
		return;
	}
	if (!sync->synced)
		tell_state(sync, HAPROXY_SYNCED, "HAProxy holds what is wanted");
	sync->events.applied(sync->events.ctx, sync->told, list, n);
	free(list);
}

static void on_turn(uv_timer_t *timer)
{
	advance(timer->data);
}

static void sleep_until_next(struct sync *sync)
{
	uint64_t now = now_ms(sync), due = sync->watch_due;

	for (struct keyed *entry = sync->removals.first; entry; entry = entry->hh.next)
		if (entry->due < due)
			due = entry->due;
	if ((keyset_count(&sync->refused) || binds_refused(&sync->binds)) && sync->retry_due < due)
		due = sync->retry_due;
	if (sync->reload_why && sync->reload_due < due)
		due = sync->reload_due;
	uv_timer_start(&sync->turn, on_turn, due > now ? due - now : 0, 0);
}

static void retry_refused(struct sync *sync)
{
	uint64_t now = now_ms(sync);

	if (sync->reload_why && sync->reload_due <= now) {
		free(sync->reload_why);
		sync->reload_why = NULL;
		sync->binds_new = true;
	}
	if (sync->retry_due > now)
		return;
	sync->retry_due = now + REFUSED_RETRY_MS;
	if (binds_refused(&sync->binds))
		sync->binds_new = true;
	if (keyset_count(&sync->refused))
		sync->dirty = true;
}

/* In the idle phase with a session: does the most urgent thing, or sleeps. */
static void advance(struct sync *sync)
{
	if (sync->phase != PHASE_IDLE)
		return;
	if (!sync->submitted)
		return;
	retry_refused(sync);
	if (sync->binds_new)
		check_binds(sync);
	bool foreign = !sync->maps.name[MAP_PATH];
	if (!foreign && (sync->dirty || sync->all || sync->n_extras || has_unfinished(sync))) {
		apply_wanted(sync);
		if (sync->phase != PHASE_IDLE)
			return;
	}
	if (binds_differ(&sync->binds) && sync->reload_due <= now_ms(sync)) {
		begin_reload(sync);
		return;
	}
	if (foreign) {
		drop_session(sync);
		tell_state(sync, HAPROXY_DOWN, "the HAProxy at the socket has another configuration and does not reload to ours");
		wait_and_retry(sync, REFUSED_RETRY_MS);
		return;
	}
	if (sync->told != sync->planned || sync->refusals_new || !sync->synced)
		tell_applied(sync);
	if (sync->phase != PHASE_IDLE || remove_some(sync))
		return;
	if (sync->dirty) {
		advance(sync);
		return;
	}
	if (sync->watch_due <= now_ms(sync))
		watch_all(sync);
	else
		sleep_until_next(sync);
}

void sync_submit(struct sync *sync, uint64_t generation, const struct sync_bind *binds, size_t n_binds)
{
	sync->generation = generation;
	sync->dirty = true;
	if (binds) {
		binds_want(&sync->binds, binds, n_binds);
		sync->binds_new = true;
		/* It may be just what was in the way. */
		if (sync->reload_due > now_ms(sync) + RELOAD_AGAIN_MS)
			sync->reload_due = now_ms(sync) + RELOAD_AGAIN_MS;
	}
	sync->submitted = true;
	if (sync->phase == PHASE_GREETED)
		read_held(sync);
	else if (sync->phase == PHASE_ABSENT)
		connect_now(sync);
	else
		advance(sync);
}

struct haproxy_counters sync_counters(const struct sync *sync)
{
	struct haproxy_counters counters = sync->counters;

	counters.pending_removals = keyset_count(&sync->removals);
	return counters;
}

const struct image *sync_held(const struct sync *sync)
{
	return sync->held;
}

bool sync_idle(const struct sync *sync)
{
	return (sync->phase == PHASE_IDLE || sync->phase == PHASE_WATCH) && !sync->dirty && !sync->all &&
	       !keyset_count(&sync->removals);
}

/* ---- open and close ---- */

static void timer_init(struct sync *sync, uv_timer_t *timer)
{
	BUG_ON(uv_timer_init(sync->loop, timer));
	timer->data = sync;
	sync->handles++;
}

int sync_options_check(const struct sync_options *options, struct err *reterr)
{
	/* sockaddr_un: 108 bytes; "/haproxy.sock" is the longest of the names that HAProxy adds ".<pid>.tmp" to. */
	if (options->state_dir[0] != '/' || strlen(options->state_dir) > 70)
		return err_set(reterr, -EINVAL, "the state directory must be an absolute path of at most 70 bytes: %s",
		               options->state_dir);
	if (options->pool_size && (!options->pool_base || options->pool_size > HAPROXY_POOL_TLS ||
	                           options->pool_base + HAPROXY_POOL_TLS + options->pool_size > 65536u))
		return err_set(reterr, -EINVAL, "a pool of %u ports from %u on: it has at most %d, and as many for HTTPS from %u on; ports "
		               "are 1 to 65535", options->pool_size, options->pool_base, HAPROXY_POOL_TLS,
		               options->pool_base + HAPROXY_POOL_TLS);
	return 0;
}

/* HAProxy is started in the state directory. A name without a slash is looked for in PATH. */
static char *absolute(const char *binary)
{
	char *path = strchr(binary, '/') ? realpath(binary, NULL) : NULL;

	return path ? path : xstrdup(binary);
}

int sync_open(uv_loop_t *loop, const struct sync_options *options, const struct sync_events *events,
              struct image *wanted, struct sync **ret, struct err *reterr)
{
	struct disk *disk;
	int lock_fd, r = sync_options_check(options, reterr);

	if (!r && options->binary)
		r = process_version(options->binary, reterr);
	if (!r)
		r = process_lock(options->state_dir, &lock_fd, reterr);
	if (r)
		return r;
	r = disk_open(loop, options->state_dir, &disk, reterr);
	if (r) {
		close(lock_fd);
		return r;
	}
	process_raise_limits();
	/* HAProxy may die while we write to it; that is an error number, not our end. */
	signal(SIGPIPE, SIG_IGN);
	struct sync *sync = xcalloc(1, sizeof(*sync));
	sync->loop = loop;
	sync->events = *events;
	sync->state_dir = xstrdup(options->state_dir);
	sync->binary = options->binary ? absolute(options->binary) : NULL;
	sync->socket = xcalloc(1, strlen(options->state_dir) + 32);
	sprintf(sync->socket, "%s/haproxy.sock", options->state_dir);
	sync->stop_on_exit = options->stop_on_exit;
	sync->lock_fd = lock_fd;
	sync->disk = disk;
	sync->wanted = wanted;
	sync->max_steps = options->max_steps;
	binds_init(&sync->binds, options->pool_base, options->pool_size);
	for (size_t i = 0; i < options->n_files; i++)
		disk_text(disk, options->files[i].name, options->files[i].text);
	timer_init(sync, &sync->retry);
	timer_init(sync, &sync->disk_timer);
	timer_init(sync, &sync->turn);
	connect_now(sync);
	*ret = sync;
	return 0;
}

static void sync_free(struct sync *sync)
{
	for (unsigned i = 0; i < MAPS; i++)
		free(sync->maps.name[i]);
	image_free(sync->held);
	free(sync->extras);
	strings_done(&sync->lists);
	for (unsigned kind = 0; kind < ARRAY_LEN(sync->unfinished); kind++)
		free(sync->unfinished[kind]);
	keyset_clear(&sync->refused);
	keyset_clear(&sync->removals);
	keyset_clear(&sync->again);
	binds_done(&sync->binds);
	disk_close(sync->disk);
	close(sync->lock_fd);
	free(sync->state_dir);
	free(sync->reload_why);
	free(sync->reload_to);
	free(sync->state_text);
	free(sync->binary);
	free(sync->socket);
	free(sync);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct sync *sync = handle->data;

	if (--sync->handles)
		return;
	void (*cb)(void *ctx) = sync->close_cb;
	void *ctx = sync->close_ctx;
	sync_free(sync);
	cb(ctx);
}

static void close_handles(struct sync *sync)
{
	uv_close((uv_handle_t *)&sync->retry, on_handle_closed);
	uv_close((uv_handle_t *)&sync->disk_timer, on_handle_closed);
	uv_close((uv_handle_t *)&sync->turn, on_handle_closed);
}

/* Until the master has gone: its sockets and ports are free then. */
static void on_stopping(uv_timer_t *timer)
{
	struct sync *sync = timer->data;

	sync->stop_polls++;
	if (kill(sync->stopping, sync->stop_polls == GRACE_POLLS ? SIGTERM : 0) || sync->stop_polls > GRACE_POLLS + STOP_POLLS)
		close_handles(sync);
}

/* SIGUSR1: nothing new, and what is on its way may end. */
static void on_master_to_stop(void *ctx, int error, const char *text)
{
	struct sync *sync = ctx;
	int pid = error ? sync->binary ? process_master_of(sync->pid) : 0 : atoi(text);

	sync->task = NULL;
	if (error && pid <= 1 && sync->pid && !kill(sync->pid, 0))
		log_line(LOG_ERROR, "HAProxy is not stopped: it serves on", "error", text, (const char *)NULL);
	sync->stopping = pid;
	if (pid > 1 && !kill(pid, SIGUSR1))
		uv_timer_start(&sync->retry, on_stopping, 10, 10);
	else
		close_handles(sync);
}

/* Everything that was under way has ended, one after the other: files, the master, the handles. */
static void close_step(struct sync *sync)
{
	if (disk_busy(sync->disk) || sync->task)
		return;
	if (!sync->abandoned && sync->held && disk_dirty(sync->disk)) {
		disk_flush(sync->disk, sync->held, false, on_flushed, sync);
		return;
	}
	if (sync->stop_on_exit) {
		sync->task = process_master(sync->loop, sync->state_dir, on_master_to_stop, sync);
		return;
	}
	close_handles(sync);
}

void sync_close(struct sync *sync, void (*cb)(void *ctx), void *ctx)
{
	BUG_ON(sync->phase == PHASE_CLOSE);
	sync->phase = PHASE_CLOSE;
	sync->close_cb = cb;
	sync->close_ctx = ctx;
	drop_session(sync);
	uv_timer_stop(&sync->retry);
	uv_timer_stop(&sync->disk_timer);
	uv_timer_stop(&sync->turn);
	close_step(sync);
}

void sync_abandon(struct sync *sync, void (*cb)(void *ctx), void *ctx)
{
	sync->abandoned = true;
	sync->stop_on_exit = false;
	process_task_cancel(sync->task);
	sync->task = NULL;
	sync_close(sync, cb, ctx);
}
