/* What `run` logs of refusals: a line when one is new, or says something else; not with every change that leaves it as it is. At most
 * CONDITION_LOG_MAX in one go, the rest is counted. */
#ifndef HATCHWAY_REFUSAL_LOG_H
#define HATCHWAY_REFUSAL_LOG_H

#include "hatchway/haproxy.h"

struct refusal_log {
	char **told; /* as they were the last time, sorted */
	size_t n;
};

/* refusals: all that stand now. The count of new ones. */
size_t refusal_log(struct refusal_log *log, const struct haproxy_refusal *refusals, size_t n);
void refusal_log_done(struct refusal_log *log);

#endif
