/* Table changes in, items of the wanted image out. Incremental: it keeps who uses what (rules → hosts, backends → rules),
 * so that a change costs what it touches. Law: after any changes the image equals one rendered from scratch.
 *
 * What the items mean to the routing program (haproxy/routing.cfg):
 *   path   key → reference: "<backend>" | "=<letters>.<rule id>" | "?<chain id>" | "!<status>"
 *   rule   "<rule id>" → "<backend>|<field>|…", content-addressed; the fields are listed in routing.cfg
 *   chain, regex   see haproxy/chain.h; a regex's value is %-encoded
 *   backend "sample.hello:80" for a Service port that a rule sends all its traffic to, "sample.route:split-<digest>" for a
 *   rule with several; both from the named defaults "http", or "grpc". */
#ifndef HATCHWAY_HAPROXY_RENDER_H
#define HATCHWAY_HAPROXY_RENDER_H

#include "haproxy/image.h"
#include "hatchway/haproxy.h"

struct render;

struct render *render_new(void);
void render_free(struct render *render);

/* Where the configuration's own 500 and 503 answer: "abns@hatchway-<instance>-500". Default "0"; before the first apply,
 * and the same as config_input.instance. [a-z0-9]{1,40} */
void render_set_instance(struct render *render, const char *instance);

/* Takes references to the units it needs. wanted must be the same image in every call and nobody else's. */
void render_apply(struct render *render, const struct table_change *list, size_t n, struct image *wanted);

/* What could not be expressed, by unit, in no special order; the affected requests answer 500. Valid until the next apply.
 * kind and key are those of the unit that holds the offending text. */
const struct haproxy_refusal *render_refusals(const struct render *render, size_t *ret_n);

#endif
