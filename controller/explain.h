/* `hatchway explain`: which listener, host, rule and backends answer a request, and why. Pure: a table and what the proxy refused
 * of it in, text out. */
#ifndef HATCHWAY_EXPLAIN_H
#define HATCHWAY_EXPLAIN_H

#include "hatchway/haproxy.h"
#include "hatchway/table.h"

struct explain_request {
	const char *url;            /* http://host[:port]/path?query or host/path */
	const char *method;
	const char *const *headers; /* "Name: value" */
	size_t n_headers;
	const char *listener;       /* key; NULL: the URL's port decides */
};

/* 0: some rule answers; 1: the answer is 404; -EINVAL: the request makes no sense (*reterr). What HAProxy refused of the
 * units in the request's way is told where it stands in that way. */
MUST_CHECK int explain(const struct table *table, const struct haproxy_refusal *refusals, size_t n_refusals,
                       const struct explain_request *request, struct buf *out, struct err *reterr);

#endif
