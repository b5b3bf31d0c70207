/* The way from what HAProxy holds to what is wanted: an ordered list of steps. Pure: functions of their arguments.
 *
 * Laws, tested: the plan of equals is empty; applying every step to `held` gives `wanted` (a server whose address family
 * changes needs a second plan: it must go before it can come back); no step adds what is held or changes what is not. */
#ifndef HATCHWAY_HAPROXY_PLAN_H
#define HATCHWAY_HAPROXY_PLAN_H

#include "haproxy/image.h"
#include "hatchway/base/arena.h"

enum step_op {
#define STEP(name, kind, text, effect) STEP_##name,
#include "haproxy/steps.def"
#undef STEP
	STEP_OPS
};
extern const char *const step_names[STEP_OPS];
extern const enum item_kind step_kinds[STEP_OPS];

/* Steps from this one on wait until no request can need what they remove. */
#define STEP_FIRST_LATER STEP_DEL_RULE

/* The value of a held backend that takes no requests: made and not yet published, or on its way out. */
#define BACKEND_UNPUBLISHED "unpublished"
/* The address of a held server on a unix socket, whose path HAProxy does not tell: equal to any "unix@…", "abns@…". */
#define ADDRESS_UNIX "unix@"

struct step {
	enum step_op op;
	enum item_kind kind;
	const char *key;
	const char *value; /* wanted; of removals: held */
};

struct plan {
	struct arena arena;
	struct step *steps;
	size_t n, cap;
};

void plan_init(struct plan *plan);
void plan_done(struct plan *plan);

/* One thing of an image, by name. */
struct plan_key {
	enum item_kind kind;
	const char *key;
};

/* Adds the steps for `keys` (repeats allowed), or for everything if keys is NULL, and sorts. */
void plan_build(struct plan *plan, const struct image *held, const struct image *wanted, const struct plan_key *keys,
                size_t n_keys);

/* The step's effect on `held`, once HAProxy has done it. `wanted`, if not NULL, lends its item to save memory. */
void plan_apply(const struct step *step, struct image *held, const struct image *wanted);

/* One line per step: "add server sample.web:80/pod-1 127.0.0.1:80 weight 1 ready". */
void plan_dump(const struct plan *plan, struct buf *out);

/* The length of the backend's name at the head of a server's key. */
size_t server_key_backend(const char *key);

#endif
