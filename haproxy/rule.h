/* What a rule does to a request and its response, as one content-addressed value for maps/rule.map. */
#ifndef HATCHWAY_HAPROXY_RULE_H
#define HATCHWAY_HAPROXY_RULE_H

#include "haproxy/digest.h"
#include "hatchway/table.h"

struct rule_properties {
	const char *letters; /* which fields are there; "" = the rule is nothing but its backend */
	const char *value;   /* "<backend>|<field>|…", see routing.cfg */
	struct digest id;    /* of both */
};

/* By which HAProxy knows servers of sessions, between its backends and hatchway.lua; see defaults sticky. */
#define RULE_SERVER_COOKIE "hatchway-server"

/* Statuses that the configuration can answer by itself; 0 ends the list. */
extern const uint16_t rule_statuses[];
bool rule_status_ok(uint16_t status);

/* A value as it may be told in a log: not one with users. */
const char *rule_told(const char *value);

/* Does it ever send anything? */
bool rule_mirrors(const struct table_mirror *mirror);

/* target: a backend's name, or with draw the weighted choices. Everything in the scratch arena.
 * -EINVAL with *reterr: something in the rule cannot be expressed. */
MUST_CHECK int rule_properties(const struct table_rule *rule, const char *target, bool draw, struct arena *scratch,
                               struct rule_properties *ret, struct err *reterr);

#endif
