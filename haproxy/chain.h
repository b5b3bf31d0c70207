/* A host's ordered entries → path keys, and where a path alone does not decide, chains.
 *
 * A chain is text, content-addressed, read by hatchway.lua. Words, tried in order:
 *     m:GET,h:x-version=v2,h:agent~<regex id>,q:lang=en,p~<regex id>>sample.v2:80    all tests hold → that reference
 *     >sample.v1:80         always
 *     +<chain id>           that chain's words, then go on
 *     @<chain id>           that chain's words, and nothing after
 *     ^80/com.sample.       nothing matched: look the path up under this host key
 * Overlapping prefixes share their tails: the chain of /a/b ends in "@<chain of /a>". */
#ifndef HATCHWAY_HAPROXY_CHAIN_H
#define HATCHWAY_HAPROXY_CHAIN_H

#include "haproxy/digest.h"
#include "hatchway/table.h"

struct chain_path {
	const char *key, *value;
};

struct chain_item {
	struct digest id;
	const char *text;
};

/* Everything in the scratch arena. The path keys depend on the host alone, not on the references. */
struct chain_host {
	const char *key; /* the host key: "80/com.sample.www#" */
	const char *falls;       /* host key it falls to, or "-" */
	struct chain_path *paths;
	size_t n_paths;
	struct chain_item *chains, *regexes; /* may repeat */
	size_t n_chains, n_regexes;
	const char *refusal; /* of the first entry that could not be expressed, or NULL */
};

/* The reference of a rule, by its key: "sample.hello:80", "=t.<id>", "!500". */
typedef const char *chain_reference_fn(void *ctx, const char *rule);

/* "80/com.sample.www#", "80/com.sample." for "*.sample.com", "80/" for "". */
const char *chain_host_key(const char *listener, const char *pattern, struct arena *scratch);

/* false: listener or pattern cannot be a key, *reterr says why. */
MUST_CHECK bool chain_host_build(const struct table_host *host, chain_reference_fn *reference, void *ctx,
                                 struct arena *scratch, struct chain_host *ret, struct err *reterr);

#endif
