#include "controller/refusal_log.h"

#include "controller/condition_log.h"
#include "hatchway/base/bug.h"
#include "hatchway/base/log.h"

#include <string.h>

static int cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *told_of(const struct haproxy_refusal *refusal)
{
	size_t size = strlen(refusal->key) + strlen(refusal->text) + 16;
	char *told = xmalloc(size);
	snprintf(told, size, "%d %s %s", (int)refusal->kind, refusal->key, refusal->text);
	return told;
}

static void say_more(size_t fresh)
{
	char count[24];
	snprintf(count, sizeof(count), "%zu", fresh - CONDITION_LOG_MAX);
	log_line(LOG_WARN, "more refusals; `hatchway status` names them", "new", count, NULL);
}

size_t refusal_log(struct refusal_log *log, const struct haproxy_refusal *refusals, size_t n)
{
	char **told = n ? xcalloc(n, sizeof(*told)) : NULL;
	size_t fresh = 0;
	for (size_t i = 0; i < n; i++) {
		told[i] = told_of(&refusals[i]);
		if (log->n && bsearch(&told[i], log->told, log->n, sizeof(*told), cmp))
			continue;
		if (fresh++ < CONDITION_LOG_MAX)
			log_line(LOG_WARN, "refused", "object", refusals[i].key, "error", refusals[i].text, NULL);
	}
	if (fresh > CONDITION_LOG_MAX)
		say_more(fresh);
	if (n)
		qsort(told, n, sizeof(*told), cmp);
	refusal_log_done(log);
	*log = (struct refusal_log){told, n};
	return fresh;
}

void refusal_log_done(struct refusal_log *log)
{
	for (size_t i = 0; i < log->n; i++)
		free(log->told[i]);
	free(log->told);
	*log = (struct refusal_log){0};
}
