/* Owns one text in flight and what its answers say. Values of maps are not compared: who sets one by hand is found out at
 * the next reading. */
#include "haproxy/watch.h"

#include "hatchway/base/log.h"

#define SERVERS 50 /* at 10,000 a round takes 200 s; each costs some µs on both sides */
#define ANSWERS_MAX ((size_t)512 << 20)

struct watch {
	struct watch_options options;
	const char *servers[SERVERS]; /* keys, of held */
	size_t n_servers;
	size_t n_backends;            /* answers about servers; before them one on info, after them one on figures, one on maps */
	struct reading reading;
	size_t n_regexes;
	struct err difference;        /* the first one */
	bool differs;
	struct session *session;
	struct buf paused;            /* "enable frontend NAME" for each that is */
};


static void differ(struct watch *watch, const char *what, const char *of)
{
	if (!watch->differs)
		err_set(&watch->difference, 0, "%s%.200s", what, of);
	watch->differs = true;
}

/* ---- answers ---- */

static void check_map(struct watch *watch, const char *line)
{
	int map = reader_map_named(line);
	const char *count = strstr(line, "entry_cnt=");

	if (map < 0 || !count)
		return;
	/* Regexes lie in several maps; they are counted together. */
	if (map < REGEX_BUCKETS)
		watch->n_regexes += strtoul(count + 10, NULL, 10);
	else if (strtoul(count + 10, NULL, 10) != image_count(watch->options.held, map_kind((unsigned)map)))
		differ(watch, "another number of entries in ", map_file((unsigned)map));
}

/* "requests,FRONTEND,…,PAUSED,…": nothing is accepted, and no reading would bring it back. */
static void check_frontend(struct watch *watch, const char *line)
{
	size_t n = strcspn(line, ",");

	if (strncmp(line + n, ",FRONTEND,", 10) == 0 && strstr(line, ",PAUSED,") && command_is_name(line, n))
		buf_addf(&watch->paused, "%senable frontend %.*s", watch->paused.len ? ";" : "", (int)n, line);
}

static void check_backend(struct watch *watch, bool servers, const char *text)
{
	char *line = xstrdup(text);
	struct err err;

	if (*line == '[')
		differ(watch, "a backend is gone: ", text);
	else if (servers ? reader_server_line(&watch->reading, line, &err) : reader_stat_line(&watch->reading, line, &err))
		differ(watch, "", err.text);
	free(line);
}

static void on_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct watch *watch = ctx;

	if (!answer) {
		reader_info_line(text, &watch->reading.pid, &watch->reading.stopping, watch->reading.version);
	} else if (answer > watch->n_backends + 1) {
		check_map(watch, text);
	} else {
		if (answer > watch->n_backends)
			check_frontend(watch, text);
		check_backend(watch, answer <= watch->n_backends, text);
	}
}

bool watch_same_server(const struct item *held, const struct item *told)
{
	struct server_value a, b;

	if (!held || held == told || !strcmp(held->value, told->value))
		return held;
	return server_value_parse(held->value, &a) && server_value_parse(told->value, &b) &&
	       (!strncmp(a.address, "unix@", 5) || !strncmp(a.address, "abns@", 5)) && !strcmp(b.address, ADDRESS_UNIX) &&
	       a.weight == b.weight && a.state == b.state && a.h2c == b.h2c;
}

static void check_servers(struct watch *watch)
{
	const struct item *told;
	size_t cursor = 0;

	for (size_t i = 0; i < watch->n_servers; i++)
		if (!image_get(watch->reading.image, ITEM_SERVER, watch->servers[i]))
			differ(watch, "a server is gone: ", watch->servers[i]);
	while ((told = image_next(watch->reading.image, &cursor))) {
		const struct item *held = image_get(watch->options.held, told->kind, told->key);
		if (told->kind == ITEM_SERVER && !watch_same_server(held, told))
			differ(watch, "a server is new, or has been changed: ", told->key);
		else if (told->kind == ITEM_BACKEND && (!held || strcmp(held->value, told->value) != 0))
			differ(watch, "a backend is published no more, or again: ", told->key);
	}
}

static void tell(struct watch *watch)
{
	watch->options.done(watch->options.ctx, watch->differs ? watch->difference.text : NULL);
}

static void on_enabled(void *ctx, size_t n_answers)
{
	tell(ctx);
}

/* What HAProxy says to it does not matter: the next look sees whether it helped. */
static void ignore_line(void *ctx, size_t answer, const char *text, size_t len)
{
}

static void enable(struct watch *watch)
{
	const struct buf *text = &watch->paused;

	log_line(LOG_WARN, "somebody else has disabled a frontend", "sent", text->data, (const char *)NULL);
	session_send(watch->session, text->data, text->len, &(struct session_call){.line = ignore_line, .done = on_enabled, .ctx = watch});
}

static void on_done(void *ctx, size_t n_answers)
{
	struct watch *watch = ctx;
	size_t n = watch->n_backends + 3;

	if (watch->reading.stopping || watch->reading.pid != watch->options.pid)
		differ(watch, "another worker has taken over", "");
	/* `show map` ends its list with an empty line of its own. */
	if (n_answers < n || n_answers > n + 1)
		differ(watch, "the answers cannot be told apart", "");
	if (watch->n_regexes != image_count(watch->options.held, ITEM_REGEX))
		differ(watch, "another number of entries in the maps of regexes", "");
	check_servers(watch);
	if (watch->paused.len)
		enable(watch);
	else
		tell(watch);
}

/* ---- the text ---- */

static bool is_asked(const struct watch *watch, const char *key)
{
	size_t n = server_key_backend(key);

	for (size_t i = 0; i < watch->n_servers; i++)
		if (!strncmp(watch->servers[i], key, n + 1))
			return true;
	return false;
}

/* The next servers of held, and the backends they are in; from the beginning again after the last. */
static void ask_servers(struct watch *watch, struct buf *text)
{
	const struct item *item = NULL;

	while (watch->n_servers < SERVERS && text->len < SESSION_LINE_MAX - 1000 &&
	       (item = image_next(watch->options.held, watch->options.cursor))) {
		if (item->kind != ITEM_SERVER)
			continue;
		if (!is_asked(watch, item->key)) {
			buf_addf(text, ";show servers state %.*s", (int)server_key_backend(item->key), item->key);
			watch->n_backends++;
		}
		watch->servers[watch->n_servers++] = item->key;
	}
	if (!item)
		*watch->options.cursor = 0;
}

struct watch *watch_start(struct session *session, const struct watch_options *options)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));
	struct buf text;

	watch->options = *options;
	watch->session = session;
	buf_init(&watch->paused, SESSION_LINE_MAX);
	watch->reading.image = image_new();
	watch->reading.like = options->held;
	buf_init(&text, SESSION_LINE_MAX);
	buf_adds(&text, READER_INFO);
	/* Frontends are few. That of one backend costs HAProxy as much as of all, so they come with every round of servers. */
	bool backends = !*options->cursor;
	ask_servers(watch, &text);
	buf_adds(&text, backends ? ";show stat -1 3 -1;show map" : ";show stat -1 1 -1;show map");
	BUG_ON(buf_failed(&text));
	session_send(session, text.data, text.len, &(struct session_call){.line = on_line, .done = on_done, .ctx = watch, .max_bytes = ANSWERS_MAX});
	buf_done(&text);
	return watch;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	reading_done(&watch->reading);
	buf_done(&watch->paused);
	free(watch);
}
