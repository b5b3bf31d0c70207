/* Owns one run of steps: the text in flight and the answers that came so far. Steps that must come before others are
 * never overtaken: texts go one after the other, and HAProxy takes a chain from left to right. */
#include "haproxy/apply.h"

#include "haproxy/reader.h"

/* Fewer adds to one map than this travel as commands on the common line: one text less. */
#define PAYLOAD_FROM 24
/* So does a single one that is longer than this: a payload has more room than a line. */
#define PAYLOAD_SIZE 4000
#define ANSWERS_MAX ((size_t)8 << 20)
#define NO_ANSWER SIZE_MAX

/* What became of one step of the text in flight. */
struct said {
	size_t answer; /* NO_ANSWER: it could not be said */
	size_t text;   /* then why, an offset into texts */
};

struct apply {
	struct session *session;
	struct apply_options options;
	struct apply_events events;
	const struct step *steps;
	size_t n;

	/* The text in flight covers steps [first, end). */
	size_t first, end;
	bool payload;     /* its last command has one: what follows is on a line of its own */
	bool shared;      /* and one answer for many steps */
	bool checks;      /* its last answer is `show info` */
	struct said *said;
	size_t cap_said;
	size_t n_answers; /* expected */
	size_t *answers;  /* by answer: offset into texts, 0 = silence */
	size_t cap_answers;
	struct buf texts; /* NUL-terminated strings; the first one is "" */

	int pid;
	bool stopping;
	char version[48];
};

static void send_next(struct apply *apply);

static void finish(struct apply *apply, enum apply_end end, const char *why)
{
	apply->events.done(apply->events.ctx, end, why);
}

/* ---- answers ---- */

static void on_line(void *ctx, size_t answer, const char *text, size_t len)
{
	struct apply *apply = ctx;

	if (answer >= apply->n_answers)
		return;
	if (apply->checks && answer == apply->n_answers - 1) {
		reader_info_line(text, &apply->pid, &apply->stopping, apply->version);
		return;
	}
	if (apply->answers[answer])
		apply->texts.data[apply->texts.len - 1] = '\n'; /* only the newest answer can have another line */
	else
		apply->answers[answer] = apply->texts.len;
	buf_add(&apply->texts, text, len + 1);
}

/* One payload, one answer: if it is not silence, nobody knows which lines were taken. */
static bool verdicts(struct apply *apply)
{
	for (size_t i = apply->first; i < apply->end; i++) {
		const struct step *step = &apply->steps[i];
		const struct said *said = &apply->said[i - apply->first];
		const char *text = apply->texts.data + said->text;
		enum reply reply = REPLY_REFUSED;

		if (said->answer != NO_ANSWER) {
			// NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): an answer that was said has its place
			reply = reply_parse(step->op, apply->texts.data + apply->answers[said->answer], &text);
			if (apply->shared && reply != REPLY_OK)
				return false;
		}
		apply->events.step(apply->events.ctx, step, reply, text);
	}
	return true;
}

static void on_done(void *ctx, size_t n_answers)
{
	struct apply *apply = ctx;
	bool checks = apply->checks;

	if (n_answers != apply->n_answers || buf_failed(&apply->texts)) {
		finish(apply, APPLY_DOUBT, "the answers cannot be told apart");
		return;
	}
	if (!verdicts(apply)) {
		finish(apply, APPLY_DOUBT, "HAProxy took a payload only in part");
		return;
	}
	apply->first = apply->end;
	if (checks && (apply->stopping || apply->pid != apply->options.pid))
		finish(apply, APPLY_DOUBT, "another worker has taken over");
	else if (checks)
		finish(apply, APPLY_DONE, "");
	else if (apply->events.more && !apply->events.more(apply->events.ctx))
		finish(apply, APPLY_STOPPED, "");
	else
		send_next(apply);
}

/* ---- texts ---- */

static struct said *said_at(struct apply *apply, size_t i)
{
	if (i >= apply->cap_said) {
		apply->cap_said = apply->cap_said ? apply->cap_said * 2 : 64;
		apply->said = xrealloc(apply->said, apply->cap_said * sizeof(*apply->said));
	}
	return &apply->said[i];
}

static void not_said(struct apply *apply, struct said *said, const struct err *err)
{
	*said = (struct said){NO_ANSWER, apply->texts.len};
	buf_add(&apply->texts, err->text, strlen(err->text) + 1);
}

static bool has_room(const struct apply *apply)
{
	size_t max = apply->options.max_steps;

	return apply->end < apply->n && (!max || apply->end - apply->first < max);
}

/* How many steps from `at` on are adds to one map. */
static size_t adds_from(const struct apply *apply, size_t at)
{
	size_t n = 0;

	if (apply->options.alone || !command_has_payload(&apply->steps[at]))
		return 0;
	unsigned map = map_of(apply->steps[at].kind, apply->steps[at].key);
	if (!apply->options.maps->name[map])
		return 0;
	for (; at < apply->n && apply->steps[at].op == apply->steps[at - n].op; at++, n++)
		if (map_of(apply->steps[at].kind, apply->steps[at].key) != map)
			break;
	return n;
}

static size_t payload_run(const struct apply *apply, size_t at)
{
	const struct step *step = &apply->steps[at];
	size_t n = adds_from(apply, at);

	return n >= PAYLOAD_FROM || (n && strlen(step->key) + strlen(step->value) > PAYLOAD_SIZE) ? n : 0;
}

static void compose_payload(struct apply *apply, size_t run, struct buf *text)
{
	const struct step *step = &apply->steps[apply->first];
	size_t limit = apply->first + run, said_any = 0;

	apply->payload = apply->shared = true;
	command_payload_start(map_of(step->kind, step->key), apply->options.maps, text);
	for (; apply->end < limit && has_room(apply); apply->end++) {
		struct said *said = said_at(apply, apply->end - apply->first);
		struct err err;
		step = &apply->steps[apply->end];
		if (text->len + strlen(step->key) + strlen(step->value) + 16 > SESSION_PAYLOAD_MAX && said_any)
			break;
		if (command_payload_line(step, text, &err)) {
			not_said(apply, said, &err);
			continue;
		}
		*said = (struct said){0};
		said_any++;
	}
	command_payload_end(text);
	apply->n_answers = 1;
	/* HAProxy does not like a payload of nothing. */
	if (!said_any) {
		buf_clear(text);
		apply->n_answers = 0;
	}
}

/* One step that is a payload by itself. */
static void compose_own(struct apply *apply, struct buf *text)
{
	struct said *said = said_at(apply, 0);
	struct err err;

	apply->end++;
	if (command_payload(&apply->steps[apply->first], text, &err)) {
		not_said(apply, said, &err);
		return;
	}
	apply->payload = true;
	*said = (struct said){apply->n_answers++, 0};
}

static void compose_chain(struct apply *apply, struct buf *text)
{
	struct buf command;

	buf_init(&command, SESSION_PAYLOAD_MAX);
	for (; has_room(apply); apply->end++) {
		struct said *said = said_at(apply, apply->end - apply->first);
		struct err err;
		if (apply->end > apply->first && (command_is_payload(&apply->steps[apply->end]) || payload_run(apply, apply->end)))
			break;
		buf_clear(&command);
		int r = command_line(&apply->steps[apply->end], apply->options.maps, &command, &err);
		if (!r && command.len > SESSION_LINE_MAX)
			r = err_set(&err, -1, "%zu bytes are more than HAProxy takes for one command", command.len);
		if (!r && text->len + command.len + 1 > SESSION_LINE_MAX && text->len)
			break;
		if (r) {
			not_said(apply, said, &err);
			continue;
		}
		if (text->len)
			buf_addc(text, ';');
		buf_add(text, command.data, command.len);
		*said = (struct said){apply->n_answers++, 0};
	}
	buf_done(&command);
}

/* The last text ends with the question whether this worker is still the one that serves. */
static void add_check(struct apply *apply, struct buf *text)
{
	apply->checks = true;
	apply->n_answers++;
	if (text->len && !apply->payload)
		buf_addc(text, ';');
	buf_adds(text, READER_INFO);
	if (apply->payload)
		buf_addc(text, '\n');
}

static void send_next(struct apply *apply)
{
	struct buf text;

	buf_init(&text, SESSION_PAYLOAD_MAX + SESSION_LINE_MAX);
	buf_clear(&apply->texts);
	buf_addc(&apply->texts, 0);
	apply->end = apply->first;
	apply->n_answers = 0;
	apply->payload = apply->shared = apply->checks = false;
	size_t run = apply->first < apply->n ? payload_run(apply, apply->first) : 0;
	if (apply->first < apply->n && command_is_payload(&apply->steps[apply->first]))
		compose_own(apply, &text);
	else if (run)
		compose_payload(apply, run, &text);
	else
		compose_chain(apply, &text);
	if (apply->end == apply->n)
		add_check(apply, &text);
	BUG_ON(buf_failed(&text));
	if (apply->n_answers > apply->cap_answers) {
		apply->cap_answers = apply->n_answers * 2;
		apply->answers = xrealloc(apply->answers, apply->cap_answers * sizeof(*apply->answers));
	}
	if (!text.len) {
		buf_done(&text);
		verdicts(apply);
		apply->first = apply->end;
		send_next(apply);
		return;
	}
	BUG_ON(!apply->answers);
	memset(apply->answers, 0, apply->n_answers * sizeof(*apply->answers));
	session_send(apply->session, text.data, text.len,
	             &(struct session_call){.line = on_line, .done = on_done, .ctx = apply, .max_bytes = ANSWERS_MAX});
	buf_done(&text);
}

struct apply *apply_start(struct session *session, const struct step *steps, size_t n,
                          const struct apply_options *options, const struct apply_events *events)
{
	struct apply *apply = xcalloc(1, sizeof(*apply));

	apply->session = session;
	apply->options = *options;
	apply->events = *events;
	apply->steps = steps;
	apply->n = n;
	buf_init(&apply->texts, 2 * ANSWERS_MAX);
	send_next(apply);
	return apply;
}

void apply_free(struct apply *apply)
{
	if (!apply)
		return;
	buf_done(&apply->texts);
	free(apply->said);
	free(apply->answers);
	free(apply);
}
