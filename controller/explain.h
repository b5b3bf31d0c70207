/* `hatchway explain`: which listener, host, rule and backends answer a request, and why. Pure: a table in, text out. */
#ifndef HATCHWAY_EXPLAIN_H
#define HATCHWAY_EXPLAIN_H

#include "hatchway/table.h"

struct explain_request {
	const char *url;            /* http://host[:port]/path?query or host/path */
	const char *method;
	const char *const *headers; /* "Name: value" */
	size_t n_headers;
	const char *listener;       /* key; NULL: the URL's port decides */
};

/* 0: some rule answers; 1: the answer is 404; -EINVAL: the request makes no sense (*reterr). */
MUST_CHECK int explain(const struct table *table, const struct explain_request *request, struct buf *out, struct err *reterr);

#endif
