/* Owns the order of questions by which the held image is read, and the parsing of each answer.
 * Every line is hostile: values in maps were once somebody's manifest, or were typed into socat. */
#include "haproxy/reader.h"

#include "haproxy/config.h"

#include <ctype.h>
#include <errno.h>
#include <strings.h>

#define READ_MAX ((size_t)512 << 20)

struct reader {
	struct session *session;
	void (*cb)(void *ctx, int error, const char *why, struct reading *reading);
	void *ctx;
	struct reading reading;
	unsigned order[MAPS]; /* which map the n-th answer is about */
	size_t n_maps;
	size_t n_lists; /* asked for so far */
	size_t first_list; /* of the text under way */
	int error;
	struct err err;
};

bool strings_have(const struct strings *strings, const char *text, size_t n)
{
	for (size_t i = 0; i < strings->n; i++)
		if (!strncmp(strings->list[i], text, n) && !strings->list[i][n])
			return true;
	return false;
}

void strings_done(struct strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		free(strings->list[i]);
	free(strings->list);
	*strings = (struct strings){0};
}

void reading_done(struct reading *reading)
{
	strings_done(&reading->lists);
	for (unsigned kind = 0; kind < ARRAY_LEN(reading->unfinished); kind++)
		free(reading->unfinished[kind]);
	for (unsigned i = 0; i < MAPS; i++)
		free(reading->maps.name[i]);
	image_free(reading->image);
	free(reading->extras);
	free(reading->description);
	*reading = (struct reading){0};
}

bool reader_is_ours(const char *backend)
{
	const char *dot = strchr(backend, '.');

	return dot && strchr(dot, ':');
}

/* ---- show info ---- */

void reader_info_line(const char *text, int *pid, bool *stopping, char version[48])
{
	if (!strncmp(text, "Pid: ", 5))
		*pid = atoi(text + 5);
	else if (!strncmp(text, "Stopping: ", 10))
		*stopping = atoi(text + 10) != 0;
	else if (!strncmp(text, "Version: ", 9))
		snprintf(version, 48, "%s", text + 9);
}

/* HAProxy has no others: what says so is no answer of its. Held, they could never be taken away again. */
static bool is_name(const char *s)
{
	return command_is_name(s, strlen(s));
}

static void hold(struct reading *reading, enum item_kind kind, const char *key, const char *value)
{
	const struct item *item = reading->like ? image_get(reading->like, kind, key) : NULL;

	if (item && !strcmp(item->value, value))
		image_share(reading->image, item);
	else
		image_set(reading->image, kind, key, value);
}

/* ---- show ssl crt-list, show ssl ca-file, show ssl cert, show ssl crt-list certs/443.list ---- */

static char *copy_of(const char *text, size_t n)
{
	char *copy = xcalloc(1, n + 1);

	return memcpy(copy, text, n);
}

void reader_list_line(struct reading *reading, const char *line)
{
	size_t n;
	const char *bind = command_list_bind(line, &n);

	if (!bind || strings_have(&reading->lists, bind, n))
		return;
	reading->lists.list = xrealloc(reading->lists.list, (reading->lists.n + 1) * sizeof(char *));
	reading->lists.list[reading->lists.n++] = copy_of(bind, n);
}

static void unfinished(struct reading *reading, enum item_kind kind, char *digest)
{
	free(reading->unfinished[kind]);
	reading->unfinished[kind] = digest;
}

/* What it holds is not told: "", until something uses it. */
void reader_cert_line(struct reading *reading, const char *line)
{
	size_t n;
	bool open = *line == '*';
	const char *digest = command_pem_digest(ITEM_CERT, line + open, &n);

	if (!digest || !strcmp(line + open, CONFIG_CERT_NONE))
		return;
	char *key = copy_of(digest, n);
	if (!open) {
		image_set(reading->image, ITEM_CERT, key, "");
		free(key);
	} else {
		unfinished(reading, ITEM_CERT, key);
	}
}

static void hold_like(struct reading *reading, enum item_kind kind, const char *key, const char *value)
{
	const struct item *item = reading->like ? image_get(reading->like, kind, key) : NULL;

	if (item)
		image_share(reading->image, item);
	else
		image_set(reading->image, kind, key, value);
}

/* "certs/<digest>.ca - 2 certificate(s)". What is committed is whole, and its digest says what it is. */
void reader_ca_line(struct reading *reading, const char *line)
{
	size_t n = strcspn(line, " ");
	bool open = *line == '*', empty = !strncmp(line + n, " - 0 ", 5);
	char name[CERTS_NAME_MAX];

	if (n >= sizeof(name))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)n, line);
	const char *digest = command_pem_digest(ITEM_CA, name + open, &n);
	if (!digest)
		return;
	char *key = copy_of(digest, n);
	if (open)
		unfinished(reading, ITEM_CA, copy_of(digest, n));
	else if (empty)
		image_set(reading->image, ITEM_CA, key, "");
	else
		hold_like(reading, ITEM_CA, key, "");
	free(key);
}

/* "name name", or "[ca-file certs/<digest>.ca verify required] name name": as the value of the item. */
static void sni_value(const char *line, struct buf *out)
{
	const char *option = *line == '[' ? strstr(line, "ca-file ") : NULL, *end = *line == '[' ? strstr(line, "] ") : NULL;
	const char *optional = *line == '[' ? strstr(line, "verify optional") : NULL;
	char name[CERTS_NAME_MAX];
	size_t n;

	if (end)
		line = end + 2;
	if (option && option < end) {
		option += strlen("ca-file ");
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(option, " ]"), option);
		const char *ca = command_pem_digest(ITEM_CA, name, &n);
		if (ca)
			buf_addf(out, "[%s%.*s] ", optional && optional < end ? "?" : "", (int)n, ca);
	}
	buf_adds(out, line);
}

/* "certs/<digest>.pem [options] name name". What is used is whole, and its digest says what it is. */
void reader_sni_line(struct reading *reading, size_t list, const char *line)
{
	char name[CERTS_NAME_MAX], key[2 * CERTS_NAME_MAX];
	size_t n = strcspn(line, " "), n_digest;
	struct buf value;

	if (list >= reading->lists.n || n >= sizeof(name))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)n, line);
	const char *digest = command_pem_digest(ITEM_CERT, name, &n_digest);
	if (!digest)
		return;
	name[(size_t)(digest - name) + n_digest] = 0;
	snprintf(key, sizeof(key), "%s/%s", reading->lists.list[list], digest);
	buf_init(&value, SESSION_LINE_MAX);
	sni_value(line + n + (line[n] == ' '), &value);
	hold_like(reading, ITEM_SNI, key, buf_failed(&value) || !value.data ? "" : value.data);
	hold_like(reading, ITEM_CERT, digest, "");
	buf_done(&value);
}

/* ---- show map ---- */

/* "0 (maps/path.map) pattern loaded from file 'maps/path.map' used by map at … curr_ver=0 next_ver=0 entry_cnt=3": the name. */
static bool map_name(const char *line, const char **ret_name, size_t *ret_n)
{
	const char *open = strstr(line, " ("), *close = open ? strstr(open, ") ") : NULL;

	if (!close)
		return false;
	*ret_name = open + 2;
	*ret_n = (size_t)(close - *ret_name);
	return true;
}

int reader_map_named(const char *line)
{
	const char *name;
	size_t len;

	if (*line == '#' || !map_name(line, &name, &len))
		return -1;
	for (unsigned i = 0; i < MAPS; i++) {
		size_t n = strlen(map_file(i));
		if (len >= n && !memcmp(name + len - n, map_file(i), n) && (len == n || name[len - n - 1] == '/'))
			return (int)i;
	}
	return -1;
}

int reader_maps_line(struct reading *reading, const char *line, struct err *reterr)
{
	const char *name;
	size_t len;
	int map = reader_map_named(line);

	if (*line == '#')
		return 0;
	if (!map_name(line, &name, &len))
		return err_set(reterr, -EPROTO, "show map said \"%.100s\"", line);
	if (map < 0)
		return 0;
	if (reading->maps.name[map])
		return err_set(reterr, -EPROTO, "HAProxy has two maps called %s", map_file((unsigned)map));
	reading->maps.name[map] = xcalloc(1, len + 1);
	memcpy(reading->maps.name[map], name, len);
	return 0;
}

static void extra_add(struct reading *reading, unsigned map, const char *pointer, size_t n)
{
	if (reading->n_extras == reading->cap_extras) {
		reading->cap_extras = reading->cap_extras ? reading->cap_extras * 2 : 8;
		reading->extras = xrealloc(reading->extras, reading->cap_extras * sizeof(*reading->extras));
	}
	struct reader_extra *extra = &reading->extras[reading->n_extras++];
	extra->map = map;
	snprintf(extra->pointer, sizeof(extra->pointer), "#%.*s", (int)n, pointer);
}

/* "0x7f3eeac79cc0 key value". A key typed with a newline in it comes as two lines: the second one is passed over, the
 * first one goes by its pointer. */
int reader_map_line(struct reading *reading, unsigned map, const char *line, struct err *reterr)
{
	size_t n = strncmp(line, "0x", 2) ? 0 : 2 + strspn(line + 2, "0123456789abcdef");

	if (line[0] == '[')
		return err_set(reterr, -EPROTO, "show map %s said \"%.100s\"", map_file(map), line);
	if (n < 3 || n > 20 || line[n] != ' ')
		return 0;
	const char *key = line + n + 1;
	size_t n_key = strcspn(key, " ");
	char *copy = xcalloc(1, strlen(key) + 1);
	memcpy(copy, key, strlen(key));
	copy[n_key] = 0;
	const char *value = key[n_key] ? copy + n_key + 1 : "";
	enum item_kind kind = map_kind(map);
	bool sound = !command_check(kind, copy, value, NULL) && map_of(kind, copy) == map;
	/* The first of duplicates is the one that look-ups find. */
	if (!sound || image_get(reading->image, kind, copy))
		extra_add(reading, map, line, n);
	else
		hold(reading, kind, copy, value);
	free(copy);
	return 0;
}

/* ---- show servers state ---- */

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && !strcmp(s + n - m, suffix);
}

/* A server's name tells that it speaks TLS, and a digest of how: what is wanted of that name is how. Its certificate is in
 * use, and so whole. */
static void hold_manner(struct reading *reading, const char *key, struct server_value *value)
{
	const struct item *item = reading->like ? image_get(reading->like, ITEM_SERVER, key) : NULL;
	struct server_value like;

	if (!item || !server_value_parse(item->value, &like))
		return;
	if (strstr(key, SERVER_HOP) && !strcmp(value->address, ADDRESS_UNIX))
		memcpy(value->address, like.address, sizeof(value->address));
	if (!*like.tls.name)
		return;
	value->tls = like.tls;
	if (strcmp(like.tls.cert, "-"))
		hold_like(reading, ITEM_CERT, like.tls.cert, "");
}

/* management.txt, "show servers state", version 1: be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state
 * srv_uweight … srv_fqdn(17) srv_port(18) … */
int reader_server_line(struct reading *reading, char *line, struct err *reterr)
{
	enum { BE_NAME = 1, NAME = 3, ADDR = 4, ADMIN = 6, WEIGHT = 7, PORT = 18, FIELDS };
	/* SRV_ADMF_*: forced or inherited maintenance, no address; "disabled" in a file (0x04) alone is only history */
	enum { MAINT = 0x01 | 0x02 | 0x20, DRAIN = 0x08 | 0x10 };
	char *field[FIELDS] = {0}, *save = NULL;
	int n = 0;

	if (*line == '#' || !strcmp(line, "1"))
		return 0;
	for (char *p = strtok_r(line, " ", &save); p && n < FIELDS; p = strtok_r(NULL, " ", &save))
		field[n++] = p;
	if (n < FIELDS)
		return err_set(reterr, -EPROTO, "show servers state said \"%.100s\"", line);
	if (!reader_is_ours(field[BE_NAME]))
		return 0;
	int admin = atoi(field[ADMIN]);
	struct server_value value = {
		.weight = (unsigned)atoi(field[WEIGHT]),
		.state = admin & MAINT ? SERVER_MAINT : admin & DRAIN ? SERVER_DRAIN : SERVER_READY,
		.h2c = has_suffix(field[NAME], "-h2c"),
	};
	const char *addr = field[ADDR];
	if (!strcmp(addr, "-"))
		snprintf(value.address, sizeof(value.address), ADDRESS_UNIX);
	else
		snprintf(value.address, sizeof(value.address), strchr(addr, ':') ? "[%s]:%s" : "%s:%s", addr, field[PORT]);
	struct buf key, text;
	buf_init(&key, 4096);
	buf_init(&text, 1024);
	buf_addf(&key, "%s/%s", field[BE_NAME], field[NAME]);
	hold_manner(reading, key.data, &value);
	server_value_dump(&value, &text);
	if (value.weight <= 256 && server_value_parse(text.data, &value) && is_name(field[BE_NAME]) && is_name(field[NAME]))
		hold(reading, ITEM_SERVER, key.data, text.data);
	else
		n = 0;
	buf_done(&key);
	buf_done(&text);
	return n ? 0 : err_set(reterr, -EPROTO, "show servers state: a server that is none, in %.100s", field[BE_NAME]);
}

/* ---- show stat, backends only: the one place that tells whether a backend is published ---- */

int reader_stat_line(struct reading *reading, char *line, struct err *reterr)
{
	enum { STATUS = 17 };
	char *p = line, *status = NULL;

	if (*line == '#')
		return strstr(line, ",status,") ? 0 : err_set(reterr, -EPROTO, "show stat has no status");
	for (int i = 0; p && i <= STATUS; i++) {
		if (i == STATUS)
			status = p;
		p = strchr(p, ',');
		if (p)
			*p++ = 0;
	}
	if (!status || !p)
		return err_set(reterr, -EPROTO, "show stat said \"%.100s\"", line);
	if (!reader_is_ours(line))
		return 0;
	if (!is_name(line))
		return err_set(reterr, -EPROTO, "show stat: \"%.100s\" is not a backend's name", line);
	hold(reading, ITEM_BACKEND, line, strstr(status, "(UNPUB)") ? BACKEND_UNPUBLISHED : backend_defaults(line));
	return 0;
}

/* ---- the questions ---- */

static void finish(struct reader *reader)
{
	struct reading reading = reader->reading;

	reader->reading = (struct reading){0};
	reader->cb(reader->ctx, reader->error, reader->err.text, &reading);
}

static void on_contents_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct reader *reader = ctx;
	struct reading *reading = &reader->reading;

	if (reader->error)
		return;
	if (answer < reader->n_maps) {
		reader->error = reader_map_line(reading, reader->order[answer], text, &reader->err);
		return;
	}
	char *line = xstrdup(text);
	if (answer == reader->n_maps)
		reader->error = reader_server_line(reading, line, &reader->err);
	else
		reader->error = reader_stat_line(reading, line, &reader->err);
	free(line);
}

static void on_sni_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct reader *reader = ctx;

	reader_sni_line(&reader->reading, reader->first_list + answer, text);
}

static void ask_lists(struct reader *reader);

static void on_lists(void *ctx, size_t n_answers)
{
	struct reader *reader = ctx;

	if (n_answers != reader->n_lists - reader->first_list)
		reader->error = err_set(&reader->err, -EPROTO, "%zu answers to questions about lists of certificates", n_answers);
	if (!reader->error && reader->n_lists < reader->reading.lists.n)
		ask_lists(reader);
	else
		finish(reader);
}

/* As many as a line has room for. */
static void ask_lists(struct reader *reader)
{
	const struct strings *lists = &reader->reading.lists;
	char name[CERTS_NAME_MAX];
	struct buf text;

	buf_init(&text, SESSION_LINE_MAX);
	reader->first_list = reader->n_lists;
	for (; reader->n_lists < lists->n && text.len + CERTS_NAME_MAX + 32 < SESSION_LINE_MAX; reader->n_lists++) {
		const char *bind = lists->list[reader->n_lists];
		command_list_name(bind, strlen(bind), name);
		buf_addf(&text, "%sshow ssl crt-list %s", text.len ? ";" : "", name);
	}
	BUG_ON(buf_failed(&text));
	session_send(reader->session, text.data, text.len,
	             &(struct session_call){.line = on_sni_line, .done = on_lists, .ctx = reader, .max_bytes = READ_MAX});
	buf_done(&text);
}

static void on_contents(void *ctx, size_t n_answers)
{
	struct reader *reader = ctx;

	if (!reader->error && n_answers != reader->n_maps + 2)
		reader->error = err_set(&reader->err, -EPROTO, "%zu answers to %zu questions", n_answers, reader->n_maps + 2);
	if (!reader->error && reader->reading.lists.n)
		ask_lists(reader);
	else
		finish(reader);
}

/* One text for everything, so that nothing of ours can come between two answers. */
static void ask_contents(struct reader *reader)
{
	struct buf text;

	buf_init(&text, SESSION_LINE_MAX);
	for (unsigned i = 0; i < MAPS; i++) {
		if (!reader->reading.maps.name[i])
			continue;
		reader->order[reader->n_maps++] = i;
		command_show_map(i, &reader->reading.maps, &text);
		buf_addc(&text, ';');
	}
	buf_adds(&text, "show servers state;show stat -1 2 -1");
	BUG_ON(buf_failed(&text));
	session_send(reader->session, text.data, text.len,
	             &(struct session_call){.line = on_contents_line, .done = on_contents, .ctx = reader,
	                                    .max_bytes = READ_MAX});
	buf_done(&text);
}

static void on_overview_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct reader *reader = ctx;
	struct reading *reading = &reader->reading;

	if (answer == 0 && !strncasecmp(text, "description: ", 13)) {
		free(reading->description);
		reading->description = xstrdup(text + 13);
	} else if (answer == 0) {
		reader_info_line(text, &reading->pid, &reading->stopping, reading->version);
	}
	if (answer == 1)
		reader_list_line(reading, text);
	if (answer == 2)
		reader_ca_line(reading, text);
	if (answer == 3)
		reader_cert_line(reading, text);
	if (answer == 4 && !reader->error)
		reader->error = reader_maps_line(reading, text, &reader->err);
}

static void on_overview(void *ctx, size_t n_answers)
{
	struct reader *reader = ctx;

	/* `show map` ends its list with an empty line of its own. */
	if (!reader->error && (n_answers < 5 || n_answers > 6 || reader->reading.pid <= 0))
		reader->error = err_set(&reader->err, -EPROTO, "show info did not tell a pid");
	if (reader->error)
		finish(reader);
	else
		ask_contents(reader);
}

struct reader *reader_start(struct session *session, const struct image *like,
                            void (*cb)(void *ctx, int error, const char *why, struct reading *reading), void *ctx)
{
	struct reader *reader = xcalloc(1, sizeof(*reader));

	reader->session = session;
	reader->cb = cb;
	reader->ctx = ctx;
	reader->reading.image = image_new();
	reader->reading.like = like;
	reader->reading.description = xstrdup("");
	static const char overview[] = READER_INFO ";show ssl crt-list;show ssl ca-file;show ssl cert;show map";
	session_send(session, overview, strlen(overview),
	             &(struct session_call){.line = on_overview_line, .done = on_overview, .ctx = reader});
	return reader;
}

void reader_free(struct reader *reader)
{
	if (!reader)
		return;
	reading_done(&reader->reading);
	free(reader);
}
