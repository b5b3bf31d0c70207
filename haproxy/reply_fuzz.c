/* HAProxy's side, hostile: framing in any pieces, every line of every `show`, every answer. Nothing crashes, framing does
 * not depend on how bytes are cut, and only the exact words mean success. */
#include "haproxy/reader.h"
#include "haproxy/reply.h"
#include "haproxy/session.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	struct buf text;
};

static void on_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct seen *seen = ctx;

	BUG_ON(strlen(text) != len || strchr(text, '\n'));
	buf_addf(&seen->text, "%zu:", answer);
	buf_add(&seen->text, text, len);
	buf_addc(&seen->text, '\n');
}

static int frame(const char *data, size_t size, size_t piece, struct seen *seen, struct frame *ret)
{
	struct session_call call = {.line = on_line, .ctx = seen};
	bool stop = false;
	struct err err;
	int r = 0;

	frame_start(ret, "N", 1 << 20);
	for (size_t at = 0; at < size && !r; at += piece)
		r = frame_feed(ret, data + at, piece < size - at ? piece : size - at, &call, &stop, &err);
	return r;
}

static void check_framing(const char *data, size_t size)
{
	struct seen whole, pieces;
	struct frame a = {0}, b = {0};

	buf_init(&whole.text, 1 << 22);
	buf_init(&pieces.text, 1 << 22);
	int x = frame(data, size, size, &whole, &a), y = frame(data, size, 1 + size % 7, &pieces, &b);
	BUG_ON(x != y);
	if (!x)
		BUG_ON(a.finished != b.finished || a.answers != b.answers || strcmp(whole.text.data, pieces.text.data));
	frame_done(&a);
	frame_done(&b);
	buf_done(&whole.text);
	buf_done(&pieces.text);
}

static void check_reading(const char *text)
{
	struct reading reading = {.image = image_new()};
	struct err err;
	char version[48];
	bool stopping;
	int pid;

	for (unsigned map = 0; map < MAPS; map++)
		if (reader_map_line(&reading, map, text, &err))
			BUG_ON(!*err.text);
	if (reader_maps_line(&reading, text, &err))
		BUG_ON(!*err.text);
	for (int which = 0; which < 2; which++) {
		char *line = xstrdup(text);
		if (which ? reader_server_line(&reading, line, &err) : reader_stat_line(&reading, line, &err))
			BUG_ON(!*err.text);
		free(line);
	}
	reader_info_line(text, &pid, &stopping, version);
	/* What was read can be said and planned. */
	size_t n;
	const struct item **items = image_sorted(reading.image, &n);
	for (size_t i = 0; i < n; i++) {
		struct server_value value;
		bool backend = items[i]->kind == ITEM_BACKEND;
		if (backend || items[i]->kind == ITEM_SERVER)
			BUG_ON(!command_is_name(items[i]->key, backend ? strlen(items[i]->key) : server_key_backend(items[i]->key)));
		if (items[i]->kind == ITEM_SERVER)
			BUG_ON(!server_value_parse(items[i]->value, &value));
		else if (!backend)
			BUG_ON(command_check((enum item_kind)items[i]->kind, items[i]->key, items[i]->value, &err));
	}
	free(items);
	reading_done(&reading);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *person;

	if (!size || size > 100000)
		return 0;
	check_framing((const char *)data, size);
	char *text = xcalloc(1, size + 1);
	memcpy(text, data, size);
	for (int op = 0; op < STEP_OPS; op++) {
		reply_parse((enum step_op)op, text, &person);
		BUG_ON(person < text || person > text + size);
	}
	text[strcspn(text, "\n")] = 0;
	check_reading(text);
	free(text);
	return 0;
}
