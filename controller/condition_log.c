#include "controller/condition_log.h"

#include "hatchway/base/log.h"

static void log_one(const struct core_status *status, const struct core_condition *condition)
{
	log_line(condition->good ? LOG_INFO : LOG_WARN, condition->good ? "condition good again" : "condition", "kind",
	         object_kind_name(status->kind), "namespace", status->namespace, "name", status->name, "of", condition->of,
	         "type", condition->type, "status", condition->status ? "True" : "False", "reason", condition->reason,
	         "message", condition->message, NULL);
}

/* One that is gone, being bad, is good: its old status and reason would only mislead. */
static void log_gone(const struct core_status *status, const struct core_condition *condition)
{
	log_line(LOG_INFO, "condition gone", "kind", object_kind_name(status->kind), "namespace", status->namespace, "name",
	         status->name, "type", condition->type, "reason", condition->reason, NULL);
}

void condition_log(struct condition_log *log, const struct core_status *status)
{
	for (size_t i = 0; i < status->n_news; i++) {
		const struct core_condition *condition = &status->news[i];
		if (log->lines++ >= CONDITION_LOG_MAX)
			log->bad += !condition->good;
		else if (condition->gone)
			log_gone(status, condition);
		else
			log_one(status, condition);
	}
}

void condition_log_end(struct condition_log *log)
{
	char lines[24], bad[24];
	if (log->lines > CONDITION_LOG_MAX) {
		snprintf(lines, sizeof(lines), "%zu", log->lines - CONDITION_LOG_MAX);
		snprintf(bad, sizeof(bad), "%zu", log->bad);
		log_line(LOG_WARN, "more conditions; `hatchway status` names them", "changed", lines, "bad", bad, NULL);
	}
	*log = (struct condition_log){0};
}
