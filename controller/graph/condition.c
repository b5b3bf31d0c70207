#include "controller/graph/condition.h"

static const struct condition_kind kinds[CONDITION_COUNT] = {
#define TRUE true
#define FALSE false
#define CONDITION(id, type, status, reason, good, text) [COND_##id] = {type, reason, text, status, good},
#include "controller/graph/conditions.def"
#undef CONDITION
#undef TRUE
#undef FALSE
};

const struct condition_kind *condition_kind(enum condition_id id)
{
	BUG_ON(id <= CONDITION_NONE || id >= CONDITION_COUNT);
	return &kinds[id];
}

/* The cut never splits a UTF-8 character. */
static void tidy(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	size_t n = strlen(text);
	if (n < CONDITION_MESSAGE)
		return;
	n = CONDITION_MESSAGE - 4;
	while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	memcpy(text + n, "…", sizeof("…"));
}

void condition_set(struct condition *c, enum condition_id id, const char *fmt, ...)
{
	condition_done(c);
	c->id = (uint8_t)id;
	if (!fmt)
		return;
	char text[CONDITION_MESSAGE + 1];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	tidy(text);
	c->message = xstrdup(text);
}

void condition_done(struct condition *c)
{
	free(c->message);
	*c = (struct condition){0};
}

void condition_copy(struct condition *to, const struct condition *from)
{
	condition_done(to);
	to->id = from->id;
	to->message = from->message ? xstrdup(from->message) : NULL;
}

const char *condition_text(const struct condition *c)
{
	return c->message ? c->message : condition_kind(c->id)->text;
}

void condition_dump(const struct condition *c, struct buf *out)
{
	const struct condition_kind *kind = condition_kind(c->id);
	buf_addf(out, "%s=%s %s", kind->type, kind->status ? "True" : "False", kind->reason);
	if (*condition_text(c))
		buf_addf(out, ": %s", condition_text(c));
}
