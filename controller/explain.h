/* `hatchway explain`: which listener, host, rule and backends answer a request, and why. Pure: a table and what the proxy refused
 * of it in, text out; the reasons behind the table come from whoever made it. */
#ifndef HATCHWAY_EXPLAIN_H
#define HATCHWAY_EXPLAIN_H

#include "hatchway/haproxy.h"
#include "hatchway/table.h"

/* A rule that is not served; a rule without backends, or with weights 0 only; a backendRef without backend; a backend
 * without endpoint; no listener on the port, or none with such a hostname. */
enum explain_why { WHY_RULE, WHY_NOWHERE, WHY_REF, WHY_NO_ENDPOINT, WHY_NO_LISTENER };

struct explain_request {
	const char *url;            /* http://host[:port]/path?query or host/path */
	const char *method;
	const char *const *headers; /* "Name: value" */
	size_t n_headers;
	const char *listener;       /* key; NULL: the URL's port decides, and its host among several */
	/* Appends lines; NULL: nobody knows. key: of the rule or backend; ref: index of the backendRef. */
	void (*why)(void *ctx, enum explain_why why, const char *key, size_t ref, struct buf *out);
	void *why_ctx;
};

/* 0: some rule answers; 1: the answer is 404; -EINVAL: the request makes no sense (*reterr), or
 * nobody listens there (the same, and what there is in `out`). What HAProxy refused of the
 * units in the request's way is told where it stands in that way. */
MUST_CHECK int explain(const struct table *table, const struct haproxy_refusal *refusals, size_t n_refusals,
                       const struct explain_request *request, struct buf *out, struct err *reterr);

#endif
