/* Hostile items through command.c: whatever they hold, the text is exactly one command with exactly the words meant, or
 * the item is refused. Payloads likewise: one line each, key and value intact. */
#include "haproxy/command.h"
#include "haproxy/command_check.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct map_names maps = {.name = {
	(char[]){"m0"}, (char[]){"m1"}, (char[]){"m2"}, (char[]){"m3"}, (char[]){"m4"}, (char[]){"m5"}, (char[]){"m6"},
	(char[]){"m7"}, (char[]){"maps/chain.map"}, (char[]){"maps/rule map"}, (char[]){"m\\;p"}, (char[]){"h"}, (char[]){"n"}, (char[]){"l"},
}};

static void check_map_words(const struct step *step, const struct check_command *command)
{
	BUG_ON(command->n_words < 4);
	BUG_ON(strcmp(command->words[1], "map"));
	BUG_ON(strcmp(command->words[2], maps.name[map_of(step->kind, step->key)]));
	BUG_ON(strcmp(command->words[3], step->key));
	if (!strcmp(command->words[0], "del"))
		BUG_ON(command->n_words != 4);
	else
		BUG_ON(command->n_words != 5 || strcmp(command->words[4], step->value));
}

/* "del ssl cert certs/DIGEST.pem", "del ssl crt-list certs/BIND.list certs/DIGEST.pem" */
static void check_cert_words(const struct step *step, const struct check_command *command)
{
	const char *digest = step->kind == ITEM_SNI ? strchr(step->key, '/') + 1 : step->key;
	char name[CERTS_NAME_MAX];

	BUG_ON(command->n_words != (step->kind == ITEM_SNI ? 5 : 4) || strcmp(command->words[1], "ssl"));
	command_pem_name(step->kind == ITEM_CA ? ITEM_CA : ITEM_CERT, digest, name);
	BUG_ON(strcmp(command->words[command->n_words - 1], name));
}

static void check_line(const struct step *step)
{
	static struct check_command command;
	struct buf text;
	struct err err;
	bool ok;

	buf_init(&text, 100000);
	if (!command_line(step, &maps, &text, &err)) {
		const char *p = text.data;
		BUG_ON(!check_next(&p, &command, &ok) || !ok || *p);
		BUG_ON(command.payload);
		if (step->op == STEP_DROP_EXTRA)
			BUG_ON(command.n_words != 4 || strcmp(command.words[3], step->key));
		else if (step->kind >= ITEM_REGEX)
			check_map_words(step, &command);
		else if (step->kind <= ITEM_SNI)
			check_cert_words(step, &command);
		else /* "set server b/s …", "add backend b …" */
			BUG_ON(command.n_words < 3 || strcmp(command.words[2], step->key));
	}
	buf_done(&text);
}

/* Of one command, nothing behind it; a certificate's place in a list is one line. */
static void check_whole_payload(const struct step *step)
{
	static struct check_command command;
	struct buf text;
	struct err err;
	bool ok;

	buf_init(&text, 100000);
	if (!command_payload(step, &text, &err)) {
		const char *p = text.data;
		BUG_ON(!check_next(&p, &command, &ok) || !ok || *p || !command.payload);
		BUG_ON(command.n_words != 4 || strcmp(command.words[1], "ssl"));
		if (step->kind == ITEM_SNI)
			BUG_ON(memchr(command.payload, '\n', command.n_payload) != command.payload + command.n_payload - 1);
		else
			BUG_ON(strncmp(command.payload, step->value, command.n_payload) || step->value[command.n_payload]);
	}
	buf_done(&text);
}

static void check_payload(const struct step *step)
{
	static struct check_command command;
	struct buf text;
	struct err err;
	bool ok;

	buf_init(&text, 100000);
	command_payload_start(map_of(step->kind, step->key), &maps, &text);
	if (!command_payload_line(step, &text, &err)) {
		command_payload_end(&text);
		const char *p = text.data;
		BUG_ON(!check_next(&p, &command, &ok) || !ok || *p || !command.payload);
		size_t n = strlen(step->key);
		BUG_ON(memchr(command.payload, '\n', command.n_payload) != command.payload + command.n_payload - 1);
		BUG_ON(strncmp(command.payload, step->key, n) || command.payload[n] != ' ');
		BUG_ON(strncmp(command.payload + n + 1, step->value, strlen(step->value)));
		BUG_ON(strcspn(command.payload, " \t") != n);
	}
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 16000)
		return 0;
	/* op, then the key up to the first NUL, then the value */
	enum step_op op = (enum step_op)(data[0] % STEP_OPS);
	char *text = xcalloc(1, size + 1);
	memcpy(text, data + 1, size - 1);
	size_t n = strlen(text);
	struct step step = {op, step_kinds[op], text, n + 1 < size ? text + n + 1 : ""};
	if (command_is_payload(&step))
		check_whole_payload(&step);
	else
		check_line(&step);
	if (command_has_payload(&step))
		check_payload(&step);
	free(text);
	return 0;
}
