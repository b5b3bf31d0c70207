/* Is a user's regular expression one HAProxy may be given? */
#ifndef HATCHWAY_GRAPH_PATTERN_H
#define HATCHWAY_GRAPH_PATTERN_H

#include "hatchway/base/err.h"

/* 0, or -EINVAL with the reason in *reterr. */
MUST_CHECK int pattern_check(const char *pattern, struct err *reterr);

#endif
