/* Owns one text in flight and what its answers say. Values of maps are not compared: who sets one by hand is found out at
 * the next reading. */
#include "haproxy/watch.h"

#define SERVERS 50 /* at 10,000 a round takes 200 s; each costs some µs on both sides */

struct watch {
	struct watch_options options;
	const char *servers[SERVERS]; /* keys, of held */
	size_t n_servers;
	size_t n_backends;            /* answers about servers; before them one on info, after them one on maps */
	struct reading reading;
	size_t n_regexes;
	struct err difference;        /* the first one */
	bool differs;
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

static void on_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct watch *watch = ctx;
	struct err err;

	if (!answer) {
		reader_info_line(text, &watch->reading.pid, &watch->reading.stopping, watch->reading.version);
		return;
	}
	if (answer > watch->n_backends) {
		check_map(watch, text);
		return;
	}
	char *line = xstrdup(text);
	if (*line == '[')
		differ(watch, "a backend is gone: ", text);
	else if (reader_server_line(&watch->reading, line, &err))
		differ(watch, "", err.text);
	free(line);
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
	while ((told = image_next(watch->reading.image, &cursor)))
		if (told->kind == ITEM_SERVER &&
		    !watch_same_server(image_get(watch->options.held, ITEM_SERVER, told->key), told))
			differ(watch, "a server is new, or has been changed: ", told->key);
}

static void on_done(void *ctx, size_t n_answers)
{
	struct watch *watch = ctx;

	if (watch->reading.stopping || watch->reading.pid != watch->options.pid)
		differ(watch, "another worker has taken over", "");
	/* `show map` ends its list with an empty line of its own. */
	if (n_answers < watch->n_backends + 2 || n_answers > watch->n_backends + 3)
		differ(watch, "the answers cannot be told apart", "");
	if (watch->n_regexes != image_count(watch->options.held, ITEM_REGEX))
		differ(watch, "another number of entries in the maps of regexes", "");
	check_servers(watch);
	watch->options.done(watch->options.ctx, watch->differs ? watch->difference.text : NULL);
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
	watch->reading.image = image_new();
	watch->reading.like = options->held;
	buf_init(&text, SESSION_LINE_MAX);
	buf_adds(&text, READER_INFO);
	ask_servers(watch, &text);
	buf_adds(&text, ";show map");
	BUG_ON(buf_failed(&text));
	session_send(session, text.data, text.len, &(struct session_call){.line = on_line, .done = on_done, .ctx = watch});
	buf_done(&text);
	return watch;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	reading_done(&watch->reading);
	free(watch);
}
