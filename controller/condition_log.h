/* What `run` logs of conditions: a line when one turns bad (warn) or good again (info). At most CONDITION_LOG_MAX for all
 * objects looked at in one go, so that a start with thousands of them stays readable; the rest is counted. */
#ifndef HATCHWAY_CONDITION_LOG_H
#define HATCHWAY_CONDITION_LOG_H

#include "controller/core.h"

#define CONDITION_LOG_MAX 100

struct condition_log {
	size_t lines, bad; /* since condition_log_end(); bad: turned bad, and not told */
};

void condition_log(struct condition_log *log, const struct core_status *status);
/* Every object has been looked at. */
void condition_log_end(struct condition_log *log);

#endif
